//! A disk without any room: it is started on all the same and serves reads, changes are refused in the end, it stops
//! cleanly, and with room all goes on.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dfs_daemon::Shutdown;
use dfs_namenode::api::Namenode;
use dfs_namenode::run::Running;
use dfs_namenode::store::DiskState;
use dfs_types::{ErrorCode, Mode};
use tempfile::tempdir;
use tokio::time::timeout;

use crate::full::{SmallDisk, make_directories};
use crate::support::{caller, config, fresh, origin, path, until};

async fn left(namenode: &Namenode) -> usize {
    namenode.list(&caller("root"), &path("/kept"), None, 0).await.unwrap().0.len()
}

/// Deletes one after the other, without patience, until one is refused; answers how many were asked for.
async fn delete_until_refused(namenode: &Namenode) -> u32 {
    let number = AtomicU32::new(0);
    let refused = until("a deletion to be refused", || async {
        let at = path(&format!("/kept/{}", number.fetch_add(1, Ordering::Relaxed)));
        let deleted = namenode.delete(origin(), at, true, None);
        timeout(Duration::from_millis(700), deleted).await.ok()?.err()
    })
    .await;
    assert_eq!(refused.code, ErrorCode::NoSpace, "{refused}");
    assert!(refused.message.contains("full") && refused.message.contains("make room"), "{refused}");
    number.into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_namenode_without_any_room_serves_reads_refuses_changes_and_stops() {
    let home = tempdir().unwrap();
    let mount = home.path().join("disk");
    let Some(disk) = SmallDisk::mount(&mount, "60m") else { return };
    let dir = mount.join("nn");
    let running = fresh(&dir, &[]).await;
    make_directories(running.namenode(), "kept").await;
    running.stop().await.unwrap();
    for spent in ["reserve", "log/spare"] {
        let _gone = fs::remove_file(dir.join(spent));
    }
    // SQLite's index of its log, and too little for a transaction.
    disk.fill_but(40 << 10);

    // Each start leaves entries that change nothing for the next one.
    for _ in 0..3 {
        let running = Running::start(config(&dir, &[]), Shutdown::new()).await.unwrap();
        until("it to serve", || async { running.namenode().admit(None).await.ok() }).await;
        assert!(running.namenode().stat(&caller("root"), &path("/kept/0")).await.is_ok());
        assert_eq!(left(running.namenode()).await, 200);
        running.stop().await.unwrap();
        assert!(dir.join("reserve").exists(), "what closing has made free is kept");
    }

    let running = Running::start(config(&dir, &[]), Shutdown::new()).await.unwrap();
    let namenode = running.namenode();
    until("it to serve", || async { namenode.admit(None).await.ok() }).await;
    let asked = delete_until_refused(namenode).await;
    assert!(asked > 3);
    let seen = namenode.disk();
    assert_eq!((seen.state, seen.busy), (DiskState::Full, Duration::ZERO));
    assert_eq!(left(namenode).await, 200, "reads go on");
    running.stop().await.unwrap();
    assert!(dir.join("reserve").exists(), "it has closed its database");

    let running = Running::start(config(&dir, &[]), Shutdown::new()).await.unwrap();
    disk.empty();
    let namenode = running.namenode();
    until("it to serve", || async { namenode.admit(None).await.ok() }).await;
    // Those that got into the log; nobody waits for the others any more.
    let done = 200 - left(namenode).await;
    assert!((1..=2).contains(&done), "{done}");
    until("growth", || async { namenode.mkdir(origin(), path("/new"), Mode::DIRECTORY, true).await.ok() })
        .await;
    running.stop().await.unwrap();
    drop(disk);
}
