//! A disk that fills up ends one NameNode, and the others go on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dfs_namenode::api::Namenode;
use dfs_namenode::run::{Running, sentence};
use dfs_types::{ErrorCode, Mode};
use futures_util::future::join_all;

use crate::group::Place;
use crate::support::{origin, path, until, writable};

/// A small file system in memory.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where mounting is not permitted.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let options = format!("size={size}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).status();
        if mounted.is_ok_and(|status| status.success()) {
            return Some(Self(at.to_owned()));
        }
        eprintln!("skipped: this test mounts a small tmpfs, which is not allowed here");
        None
    }

    /// Somebody else takes all the room that is left.
    fn fill(&self) {
        let _full = fs::write(self.0.join("other"), vec![1; 64 << 20]);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.0).status();
        assert!(std::thread::panicking() || unmounted.unwrap().success());
    }
}

fn copy_files(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, name) = {
            let entry = entry.unwrap();
            (entry.path(), entry.file_name())
        };
        if from.is_dir() {
            copy_files(&from, &to.join(name));
        } else {
            fs::copy(&from, to.join(name)).unwrap();
        }
    }
}

async fn leader(all: &[Running]) -> usize {
    until("a leader", || async { all.iter().position(|running| running.namenode().term().1) }).await
}

/// A group, and one of it that does not lead and was stopped.
async fn group_and_victim(place: &Place) -> (Vec<Running>, usize) {
    let mut all = place.group().await;
    let lead = leader(&all).await;
    writable(all[lead].namenode()).await;
    let victim = (lead + 1) % 3;
    all.remove(victim).stop().await.unwrap();
    (all, victim)
}

/// Some megabytes for the log, and nothing for the database.
async fn fill_log(namenode: &Namenode) {
    let long = ["none"; 35].map(|name| name.repeat(25)).join("/");
    for _ in 0..10 {
        let deletes = (0..64).map(|number| {
            let at = path(&format!("/{number}/{long}"));
            async move { namenode.delete(origin(), at, false, None).await }
        });
        for answer in join_all(deletes).await {
            if let Err(error) = answer {
                assert_eq!(error.code, ErrorCode::NotFound, "{error}");
            }
        }
    }
}

async fn make_directories(namenode: &Namenode, name: &str) {
    let made = (0..200).map(|number| {
        let at = path(&format!("/{name}/{number}"));
        async move { namenode.mkdir(origin(), at, Mode::DIRECTORY, true).await.unwrap() }
    });
    join_all(made).await;
}

/// Checks what the victim says when it ends, and that the others don't need it.
async fn ended(victim: Running, others: &[Running], says: &[&str]) {
    let said = sentence(&victim.stop().await.unwrap_err());
    for words in says {
        assert!(said.contains(words), "{said}");
    }
    make_directories(others[leader(others).await].namenode(), "without-it").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_the_log_ends_one_namenode() {
    let place = Place::new(3);
    let (mut all, index) = group_and_victim(&place).await;
    let (log, kept) = (place.dir(index).join("log"), place.dir(index).join("kept"));
    fs::rename(&log, &kept).unwrap();
    // Room for one segment, not for two.
    let Some(disk) = SmallDisk::mount(&log, "12m") else { return };
    for entry in fs::read_dir(&kept).unwrap() {
        let segment = entry.unwrap().path();
        if segment.extension().is_some_and(|extension| extension == "seg") {
            fs::copy(&segment, log.join(segment.file_name().unwrap())).unwrap();
        }
    }
    let victim = place.start(index).await;
    let lead = leader(&all).await;
    until("the disk to be full", || async {
        fill_log(all[lead].namenode()).await;
        victim.namenode().health().err()
    })
    .await;
    ended(victim, &all, &["can't grow, the disk is full: make room and start this NameNode again"]).await;

    // With room it goes on with what it has.
    fs::remove_dir_all(&kept).unwrap();
    copy_files(&log, &kept);
    drop(disk);
    fs::remove_dir(&log).unwrap();
    fs::rename(&kept, &log).unwrap();
    all.push(place.start(index).await);
    let applied = all[lead].namenode().applied();
    until("it to catch up", || async { (all[2].namenode().applied() >= applied).then_some(()) }).await;
    for running in all {
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_under_the_database_ends_one_namenode() {
    let place = Place::new(3);
    let (mut all, index) = group_and_victim(&place).await;
    let kept = place.dir(index).with_extension("kept");
    fs::rename(place.dir(index), &kept).unwrap();
    let Some(disk) = SmallDisk::mount(&place.dir(index), "40m") else { return };
    copy_files(&kept, &place.dir(index));
    let victim = place.start(index).await;
    disk.fill();
    let lead = leader(&all).await;
    let round = std::cell::Cell::new(0);
    until("the disk to be full", || async {
        round.set(round.get() + 1);
        make_directories(all[lead].namenode(), &format!("round-{}", round.get())).await;
        victim.namenode().health().err()
    })
    .await;
    ended(victim, &all, &["database", "full", "make room"]).await;

    fs::remove_file(place.dir(index).join("other")).unwrap();
    all.push(place.start(index).await);
    let applied = all[lead].namenode().applied();
    until("it to catch up", || async { (all[2].namenode().applied() >= applied).then_some(()) }).await;
    for running in all {
        running.stop().await.unwrap();
    }
}
