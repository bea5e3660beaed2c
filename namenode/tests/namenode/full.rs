//! A disk that fills up is a state: growth ends, another NameNode leads if it can, and with room all goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use dfs_daemon::Shutdown;
use dfs_namenode::api::Namenode;
use dfs_namenode::run::Running;
use dfs_namenode::store::DiskState;
use dfs_types::{ErrorCode, Mode};
use futures_util::future::join_all;
use tempfile::tempdir;

use crate::group::Place;
use crate::support::{caller, config, fresh, get, origin, path, until, writable};

/// A small file system in memory.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where mounting is not permitted.
    pub(crate) fn mount(at: &Path, size: &str) -> Option<Self> {
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

    /// The same, but for so many bytes.
    pub(crate) fn fill_but(&self, bytes: u64) {
        self.fill();
        let file = fs::File::options().write(true).open(self.0.join("other")).unwrap();
        let taken = file.metadata().unwrap().len();
        file.set_len(taken - bytes).unwrap();
    }

    /// And once more what became free since.
    fn fill_again(&self) {
        let _full = fs::write(self.0.join("another"), vec![1; 64 << 20]);
    }

    /// They go away.
    pub(crate) fn empty(&self) {
        for name in ["other", "another"] {
            let _gone = fs::remove_file(self.0.join(name));
        }
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
        } else if name != "reserve" {
            // That suits the size of the disk that it is on.
            fs::copy(&from, to.join(name)).unwrap();
        }
    }
}

pub(crate) async fn leader(all: &[Running]) -> usize {
    until("a leader", || async { all.iter().position(|running| running.namenode().term().1) }).await
}

/// A group, and one of it that does not lead and was stopped.
pub(crate) async fn group_and_victim(place: &Place) -> (Vec<Running>, usize) {
    let mut all = place.group().await;
    let lead = leader(&all).await;
    writable(all[lead].namenode()).await;
    let victim = (lead + 1) % 3;
    all.remove(victim).stop().await.unwrap();
    (all, victim)
}

/// Lets one lead instead of any of the others.
pub(crate) async fn lead_with(victim: &Running, others: &[Running]) {
    let id = victim.namenode().group_status().borrow().id;
    until("it to lead", || async {
        if let Some(lead) = others.iter().find(|running| running.namenode().term().1) {
            // It may be behind as yet.
            let _later = lead.namenode().transfer_leader(&caller("root"), id).await;
        }
        victim.namenode().term().1.then_some(())
    })
    .await;
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

pub(crate) async fn make_directories(namenode: &Namenode, name: &str) {
    let made = (0..200).map(|number| {
        let at = path(&format!("/{name}/{number}"));
        async move { namenode.mkdir(origin(), at, Mode::DIRECTORY, true).await.unwrap() }
    });
    join_all(made).await;
}

/// What the one that leads says of a member.
pub(crate) async fn note(all: &[Running], id: u64) -> Option<String> {
    let members = all[leader(all).await].namenode().members();
    members.into_iter().find(|member| member.id == id)?.note
}

pub(crate) async fn caught_up(victim: &Running, all: &[Running]) {
    let applied = all[leader(all).await].namenode().applied();
    until("it to catch up", || async { (victim.namenode().applied() >= applied).then_some(()) }).await;
}

pub(crate) async fn stop(all: Vec<Running>) {
    for running in all {
        running.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_on_a_small_disk_is_trimmed_when_there_is_no_more_room() {
    let place = Place::new(3);
    let (all, index) = group_and_victim(&place).await;
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
    for _ in 0..10 {
        fill_log(all[lead].namenode()).await;
        caught_up(&victim, &all).await;
    }
    assert_eq!(victim.namenode().health(), Ok(()));
    victim.stop().await.unwrap();

    // With another disk it goes on with what it has.
    fs::remove_dir_all(&kept).unwrap();
    copy_files(&log, &kept);
    drop(disk);
    fs::remove_dir(&log).unwrap();
    fs::rename(&kept, &log).unwrap();
    let victim = place.start(index).await;
    caught_up(&victim, &all).await;
    victim.stop().await.unwrap();
    stop(all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_on_a_full_disk_waits_and_goes_on_when_there_is_room() {
    let place = Place::new(3);
    let (all, index) = group_and_victim(&place).await;
    let kept = place.dir(index).with_extension("kept");
    fs::rename(place.dir(index), &kept).unwrap();
    let Some(disk) = SmallDisk::mount(&place.dir(index), "40m") else { return };
    copy_files(&kept, &place.dir(index));
    let victim = place.start(index).await;
    let id = victim.namenode().group_status().borrow().id;
    disk.fill();
    let lead = leader(&all).await;
    let round = std::cell::Cell::new(0);
    until("changes to wait for room", || async {
        round.set(round.get() + 1);
        make_directories(all[lead].namenode(), &format!("round-{}", round.get())).await;
        (victim.namenode().disk().state == DiskState::Full).then_some(())
    })
    .await;
    until("the leader to say so", || async {
        note(&all, id).await.filter(|note| note.contains("full") && note.contains("make room"))
    })
    .await;
    until("readiness to say so", || async {
        let page = get(victim.addresses().http, "/readyz").await;
        (page.starts_with("HTTP/1.1 503") && page.contains("full")).then_some(())
    })
    .await;
    assert_eq!(victim.namenode().health(), Ok(()), "it is a state and not an end");

    disk.empty();
    caught_up(&victim, &all).await;
    until("all to be well", || async { note(&all, id).await.is_none().then_some(()) }).await;
    victim.stop().await.unwrap();
    drop(disk);
    stop(all).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_fills_up_hands_over() {
    let place = Place::new(3);
    let (mut all, index) = group_and_victim(&place).await;
    let kept = place.dir(index).with_extension("kept");
    fs::rename(place.dir(index), &kept).unwrap();
    let Some(disk) = SmallDisk::mount(&place.dir(index), "40m") else { return };
    copy_files(&kept, &place.dir(index));
    let victim = place.start(index).await;
    lead_with(&victim, &all).await;
    disk.fill();
    let lead = leader(&all).await;
    make_directories(all[lead].namenode(), "without-it").await;
    assert!(!victim.namenode().term().1);
    all.push(victim);
    stop(all).await;
    drop(disk);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_only_namenode_serves_reads_and_deletions_on_a_full_disk_also_when_it_starts_there() {
    let home = tempdir().unwrap();
    let mount = home.path().join("disk");
    let Some(disk) = SmallDisk::mount(&mount, "60m") else { return };
    let dir = mount.join("nn");
    let running = fresh(&dir, &[]).await;
    make_directories(running.namenode(), "kept").await;
    until("the reserve", || async { dir.join("reserve").exists().then_some(()) }).await;
    disk.fill();
    let refused = until("growth to be refused", || async {
        running.namenode().mkdir(origin(), path("/new"), Mode::DIRECTORY, true).await.err()
    })
    .await;
    assert_eq!(refused.code, ErrorCode::NoSpace);
    assert!(refused.message.contains("nearly full") && refused.message.contains("make room"), "{refused}");
    let error = running.namenode().back_up(&caller("root")).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NoSpace, "{error}");

    let deletions = |namenode: Arc<Namenode>, numbers: std::ops::Range<u32>| async move {
        for number in numbers {
            let at = path(&format!("/kept/{number}"));
            assert_eq!(namenode.delete(origin(), at, true, None).await, Ok(true));
        }
        let (from, to) = (path("/kept"), path("/moved"));
        namenode.rename(origin(), from.clone(), to.clone(), false).await.unwrap();
        namenode.rename(origin(), to, from, false).await.unwrap();
    };
    until("readiness to say so", || async {
        let page = get(running.addresses().http, "/readyz").await;
        (page.starts_with("HTTP/1.1 200") && page.contains("nearly full")).then_some(())
    })
    .await;
    running.stop().await.unwrap();

    // What stopping has made free is taken by others too; what it needs now is the reserve.
    disk.fill_again();
    let running = Running::start(config(&dir, &[]), Shutdown::new()).await.unwrap();
    running.namenode().admit(None).await.unwrap();
    writable(running.namenode()).await;
    assert!(running.namenode().stat(&caller("root"), &path("/kept/199")).await.is_ok());
    deletions(running.namenode().clone(), 0..50).await;
    let refused = running.namenode().mkdir(origin(), path("/new"), Mode::DIRECTORY, true).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NoSpace);

    disk.empty();
    until("growth to be taken again", || async {
        running.namenode().mkdir(origin(), path("/new"), Mode::DIRECTORY, true).await.ok()
    })
    .await;
    until("the reserve to be made again", || async { dir.join("reserve").exists().then_some(()) }).await;
    running.stop().await.unwrap();
    drop(disk);
}
