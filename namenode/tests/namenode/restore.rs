//! A NameNode that goes on from a backup, and DataNodes that know more than it does.

use std::io::Write;
use std::path::{Path, PathBuf};

use dfs_daemon::Shutdown;
use dfs_namenode::api::Namenode;
use dfs_namenode::config::RestoreArgs;
use dfs_namenode::run::{Running, restore};
use dfs_namenode_core::Command;
use dfs_proto::v1;
use dfs_proto::v1::backup_part::Kind;
use dfs_proto::v1::namenodes_client::NamenodesClient;
use dfs_types::checksum::crc32c;
use dfs_types::{ErrorCode, ReplicaState};
use tempfile::tempdir;

use crate::support::{FakeNode, Writer, caller, config, extent, fresh, nodes, path, put, until, writable};

/// Fetches a backup over the port, as `dfs admin backup` does.
async fn back_up(running: &Running, to: &Path) -> u64 {
    let url = format!("http://{}", running.addresses().rpc);
    let mut client = NamenodesClient::connect(url).await.unwrap();
    let context = v1::Context {
        caller: Some(v1::Caller { user: "root".into(), groups: vec![] }),
        ..v1::Context::default()
    };
    let mut parts = client.backup(v1::BackupRequest { context: Some(context) }).await.unwrap().into_inner();
    let Some(Kind::Header(header)) = parts.message().await.unwrap().unwrap().kind else {
        panic!("no header")
    };
    let mut data = Vec::new();
    while let Some(part) = parts.message().await.unwrap() {
        match part.kind.unwrap() {
            Kind::Data(part) => data.extend(part),
            Kind::Trailer(trailer) => assert_eq!(trailer.crc32c, crc32c(&data)),
            Kind::Header(_) => panic!("a second header"),
        }
    }
    assert_eq!(data.len() as u64, header.length);
    assert_eq!(header.cluster, running.namenode().defaults().cluster.as_bytes());
    std::fs::File::create_new(to).unwrap().write_all(&data).unwrap();
    header.applied
}

async fn is_there(namenode: &Namenode, at: &str) -> bool {
    namenode.stat(&caller("root"), &path(at)).await.is_ok()
}

/// Starts a restored NameNode, to which the nodes report what they have.
async fn begin(dir: PathBuf, backup: &Path, datanodes: &[FakeNode]) -> Running {
    restore(&RestoreArgs { dir: dir.clone(), backup: backup.to_owned() }).unwrap();
    let running = Running::start(config(&dir, &[]), Shutdown::new()).await.unwrap();
    running.namenode().admit(None).await.unwrap();
    for datanode in datanodes {
        datanode.join(running.namenode()).await;
    }
    writable(running.namenode()).await;
    running
}

#[tokio::test]
async fn what_came_after_the_backup_is_kept_on_the_datanodes() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &["--heartbeat-interval", "100ms"]).await;
    let namenode = running.namenode();
    let mut datanodes = nodes(namenode, 3).await;
    let kept = put(namenode, &mut datanodes, "/kept", 500).await;
    let half = Writer::create(namenode, "/half").await;
    let (open, file) = (half.add(None).await.unwrap(), half.file.clone());
    let backup = dir.path().join("backup");
    let applied = back_up(&running, &backup).await;
    assert!(applied <= namenode.applied());
    let lost = put(namenode, &mut datanodes, "/lost", 600).await;
    let (term, cluster) = (namenode.term().0, namenode.defaults().cluster);
    running.stop().await.unwrap();

    let running = begin(dir.path().join("restored"), &backup, &datanodes).await;
    let namenode = running.namenode();
    assert_eq!(namenode.defaults().cluster, cluster);
    assert!(namenode.term().0 > term, "DataNodes obey it");
    assert!(is_there(namenode, "/kept").await && !is_there(namenode, "/lost").await);
    let (_, located) = namenode.locate(&caller("root"), &path("/kept"), 0, 500, None).await.unwrap();
    assert_eq!((located[0].chunk, located[0].nodes.len()), (kept.chunk, 3));

    // Its chunk is nobody's and its replicas stay; whatever is made now has other ids.
    let new = put(namenode, &mut datanodes, "/new", 700).await;
    assert!(new.chunk > lost.chunk && new.generation > lost.generation);
    let writer = Writer { namenode, file };
    for datanode in &mut datanodes {
        datanode.hold(namenode, (open.chunk, open.generation), 5, ReplicaState::Finalized).await;
    }
    writer.complete(Some(extent(&open, 5))).await.unwrap();
    let quarantined = || async { namenode.report().await.unwrap().totals.quarantined };
    assert_eq!(quarantined().await, 3);
    namenode.delete(crate::support::origin(), path("/kept"), false, None).await.unwrap();
    let deleted = std::cell::RefCell::new(Vec::new());
    until("the other chunk to be deleted everywhere", || async {
        for datanode in &datanodes {
            for order in datanode.heartbeat(namenode).await.commands {
                if let Command::Delete { replicas } = order {
                    deleted.borrow_mut().extend(replicas);
                }
            }
        }
        (deleted.borrow().len() >= 3).then_some(())
    })
    .await;
    assert_eq!(deleted.into_inner(), vec![(kept.chunk, kept.generation); 3], "nothing else is deleted");
    assert_eq!(quarantined().await, 3);

    // Nor after a restart, nor after a backup of the restored one.
    let second = dir.path().join("backup-2");
    back_up(&running, &second).await;
    running.stop().await.unwrap();
    let running = begin(dir.path().join("restored-again"), &second, &datanodes).await;
    assert_eq!(running.namenode().report().await.unwrap().totals.quarantined, 3);
    assert!(is_there(running.namenode(), "/new").await);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_backup_is_for_administrators() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let denied = running.namenode().back_up(&caller("eve")).await.unwrap_err();
    assert_eq!(denied.code, ErrorCode::PermissionDenied);
    let backup = running.namenode().back_up(&caller("root")).await.unwrap();
    let parts = || {
        let entries = std::fs::read_dir(dir.path().join("nn")).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("backup-")).count()
    };
    assert_eq!(parts(), 1);
    let second = running.namenode().back_up(&caller("root")).await.unwrap_err();
    assert_eq!(second.code, ErrorCode::Busy, "each takes the room of the whole database");
    drop(backup);
    assert_eq!(parts(), 0, "it takes no room when it was sent");
    running.namenode().back_up(&caller("root")).await.unwrap();
    running.stop().await.unwrap();
}

#[tokio::test]
async fn no_backup_is_made_where_it_would_take_the_last_room() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &["--min-free", "9999999t"]).await;
    let refused = running.namenode().back_up(&caller("root")).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NoSpace);
    assert!(refused.message.contains("make room"), "{refused}");
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_namenode_grows_to_a_group_again() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let mut datanodes = nodes(running.namenode(), 3).await;
    put(running.namenode(), &mut datanodes, "/kept", 500).await;
    let backup = dir.path().join("backup");
    back_up(&running, &backup).await;
    running.stop().await.unwrap();

    let place = crate::group::Place::new(2);
    restore(&RestoreArgs { dir: place.dir(0), backup }).unwrap();
    let all = place.group().await;
    let applied = all[0].namenode().applied();
    let early = all[1].namenode().admit(Some(applied)).await.unwrap_err();
    assert_eq!(early.code, ErrorCode::NotLeader, "it knows no replicas yet");
    for datanode in &datanodes {
        datanode.join(all[1].namenode()).await;
    }
    until("it to have everything", || async { all[1].namenode().admit(Some(applied)).await.ok() }).await;
    assert!(is_there(all[1].namenode(), "/kept").await);
    for running in all {
        running.stop().await.unwrap();
    }
}
