//! A disk that stands still: its NameNode gives up the lead, says why, and goes on when the disk does.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dfs_fault_disk::{FaultDisk, Settings, Throttle};
use dfs_namenode::store::DiskState;
use dfs_types::{ErrorCode, Mode};

use crate::full::{caught_up, group_and_victim, lead_with, leader, make_directories, note, stop};
use crate::group::Place;
use crate::support::{get, origin, path, until};

/// Puts the log of a NameNode that is stopped on a disk of its own. The database stays where it is: this process serves
/// the disk, and must not have files of it in its memory.
fn disk_for_the_log(directory: &Path) -> Option<(FaultDisk, PathBuf)> {
    if let Err(lacking) = FaultDisk::available() {
        eprintln!("skipped: {lacking}");
        return None;
    }
    let (log, kept) = (directory.join("log"), directory.join("kept"));
    fs::rename(&log, &kept).unwrap();
    let disk = FaultDisk::mount(&log, Settings { capacity: 256 << 20, ..Settings::default() }).unwrap();
    for entry in fs::read_dir(&kept).unwrap() {
        let segment = entry.unwrap();
        fs::copy(segment.path(), log.join(segment.file_name())).unwrap();
    }
    Some((disk, kept))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_log_stands_still_hands_over_and_comes_back() {
    let place = Place::new(3);
    let (others, index) = group_and_victim(&place).await;
    let Some((disk, _kept)) = disk_for_the_log(&place.dir(index)) else { return };
    let disk = Arc::new(disk);
    let victim = place.start(index).await;
    let id = victim.namenode().group_status().borrow().id;
    caught_up(&victim, &others).await;
    lead_with(&victim, &others).await;
    let standstill = Throttle { bytes_per_second: 0, latency: Duration::from_hours(1) };
    disk.throttle(Some(standstill));
    // It is in the log before anybody knows that the disk does nothing; the others have it, and so it comes to pass.
    let namenode = Arc::clone(victim.namenode());
    let asked = tokio::spawn(async move {
        namenode.mkdir(origin(), path("/asked-of-the-first"), Mode::DIRECTORY, true).await
    });
    let lead = leader(&others).await;
    make_directories(others[lead].namenode(), "without-it").await;
    assert!(!victim.namenode().term().1, "it does not say that it leads");
    let lost = asked.await.unwrap().unwrap_err();
    assert!(matches!(lost.code, ErrorCode::NotLeader | ErrorCode::Unavailable), "{lost}");

    until("it to say why", || async { (victim.namenode().disk().state == DiskState::Stalled).then_some(()) })
        .await;
    until("readiness to say so", || async {
        let page = get(victim.addresses().http, "/readyz").await;
        (page.starts_with("HTTP/1.1 503") && page.contains("has not finished a write")).then_some(())
    })
    .await;
    until("the leader to say so", || async {
        note(&others, id).await.filter(|note| note.contains("has not finished a write"))
    })
    .await;
    let refused = || async {
        victim
            .namenode()
            .mkdir(origin(), path("/x"), Mode::DIRECTORY, true)
            .await
            .err()
            .map(|error| error.code)
    };
    until("changes to be refused at once", || async {
        refused().await.filter(|code| *code == ErrorCode::Unavailable)
    })
    .await;

    disk.throttle(None);
    caught_up(&victim, &others).await;
    until("it to be ready", || async {
        get(victim.addresses().http, "/readyz").await.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
    until("all to be well", || async { note(&others, id).await.is_none().then_some(()) }).await;
    victim.stop().await.unwrap();
    stop(others).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_log_fails_ends_and_another_one_leads() {
    let place = Place::new(3);
    let (others, index) = group_and_victim(&place).await;
    let Some((disk, _kept)) = disk_for_the_log(&place.dir(index)) else { return };
    let victim = place.start(index).await;
    caught_up(&victim, &others).await;
    lead_with(&victim, &others).await;
    disk.fail_io(true).unwrap();
    let asked = victim.namenode().mkdir(origin(), path("/lost"), Mode::DIRECTORY, true).await;
    assert!(asked.is_err());
    let lead = leader(&others).await;
    make_directories(others[lead].namenode(), "without-it").await;
    let said = until("it to end", || async { victim.namenode().health().err() }).await;
    assert!(said.contains("check the disk"), "{said}");
    victim.stop().await.unwrap_err();
    disk.fail_io(false).unwrap();
    stop(others).await;
}
