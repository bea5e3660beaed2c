//! Files whose writer is gone.

use std::path::Path;
use std::sync::Arc;

use dfs_namenode::api::Namenode;
use dfs_namenode::api::writing::{NewFile, OpenedBy};
use dfs_namenode::run::Running;
use dfs_namenode::store::edit::RECOVERY_HOLDER;
use dfs_namenode_core::Command;
use dfs_types::{
    ErrorCode, FsPath, FsckEntry, FsckSummary, GenStamp, LeaseRecovery, LocatedChunk, Mode, ReplicaState,
    WaitingChunk,
};
use futures_util::StreamExt;
use tempfile::tempdir;

use crate::support::{
    FakeNode, HOLDER, Writer, caller, create, extent, fresh, nodes, origin, path, start, until, writable,
};

const SHORT_LEASES: [&str; 6] =
    ["--heartbeat-interval", "100ms", "--lease-soft-limit", "300ms", "--lease-hard-limit", "600ms"];

/// An open file with one chunk of which all nodes have `length` bytes.
async fn half_written(namenode: &Namenode, nodes: &mut [FakeNode], length: u64) -> LocatedChunk {
    let writer = Writer::create(namenode, "/half").await;
    let chunk = writer.add(None).await.unwrap();
    for node in nodes {
        node.hold(namenode, (chunk.chunk, chunk.generation), length, ReplicaState::Rbw).await;
    }
    chunk
}

/// Waits for the order to recover, and who got it.
async fn ordered(namenode: &Namenode, nodes: &[FakeNode]) -> (usize, GenStamp, usize) {
    until("the order to recover", || async {
        for (index, node) in nodes.iter().enumerate() {
            for order in node.heartbeat(namenode).await.commands {
                if let Command::Recover { new_generation, holders, .. } = order {
                    return Some((index, new_generation, holders.len()));
                }
            }
        }
        None
    })
    .await
}

/// Does what the order asks for: all holders finalize `length` bytes.
async fn obey(namenode: &Namenode, nodes: &mut [FakeNode], chunk: &LocatedChunk, length: u64) {
    let (primary, generation, holders) = ordered(namenode, nodes).await;
    assert_eq!(holders, nodes.len());
    assert!(generation > chunk.generation);
    for node in nodes.iter_mut() {
        node.hold(namenode, (chunk.chunk, generation), length, ReplicaState::Finalized).await;
    }
    let holders: Vec<_> = nodes.iter().map(FakeNode::id).collect();
    let sender = nodes[primary].sender;
    let reception =
        namenode.commit_recovery(sender, chunk.chunk, generation, length, &holders).await.unwrap();
    assert!(!reception.register);
}

async fn recover(namenode: &Namenode, at: &str) -> LeaseRecovery {
    namenode.recover_lease(&caller("root"), &path(at), "other", false).await.unwrap()
}

async fn closed(namenode: &Namenode, at: &str) -> u64 {
    until("the file to be closed", || async {
        let status = namenode.stat(&caller("root"), &path(at)).await.unwrap();
        (!status.open).then_some(status.length)
    })
    .await
}

#[tokio::test]
async fn a_file_is_recovered_on_demand() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let mut datanodes = nodes(namenode, 3).await;
    let chunk = half_written(namenode, &mut datanodes, 500).await;

    let refused = namenode.recover_lease(&caller("eve"), &path("/half"), "other", false).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::PermissionDenied);
    assert!(!recover(namenode, "/half").await.closed);
    // Asking again does not start over.
    assert!(!recover(namenode, "/half").await.closed);
    obey(namenode, &mut datanodes, &chunk, 500).await;
    assert!(recover(namenode, "/half").await.closed);
    assert_eq!(closed(namenode, "/half").await, 500);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn only_the_writer_gives_a_file_up() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let Writer { file: OpenedBy { inode, holder }, .. } = Writer::create(namenode, "/empty").await;
    // Nobody else, and not by the name that the NameNode's own recoveries have.
    for other in ["other", RECOVERY_HOLDER] {
        namenode.release_lease(OpenedBy { inode, holder: other.to_owned() }).await.unwrap();
        assert!(namenode.stat(&caller("root"), &path("/empty")).await.unwrap().open, "{other}");
    }
    for _ in 0..2 {
        namenode.release_lease(OpenedBy { inode, holder: holder.clone() }).await.unwrap();
        assert!(!namenode.stat(&caller("root"), &path("/empty")).await.unwrap().open);
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn the_old_writer_can_not_go_on() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let mut datanodes = nodes(namenode, 3).await;
    let writer = Writer::create(namenode, "/f").await;
    let chunk = writer.add(None).await.unwrap();
    for node in &mut datanodes {
        node.finalize(namenode, &chunk, 5).await;
    }
    assert!(!recover(namenode, "/f").await.closed);
    for error in [
        writer.add(Some(extent(&chunk, 5))).await.unwrap_err(),
        writer.complete(Some(extent(&chunk, 5))).await.unwrap_err(),
        namenode.new_generation(origin(), writer.file.clone(), chunk.chunk).await.unwrap_err(),
    ] {
        assert_eq!(error.code, ErrorCode::LeaseConflict, "{error}");
    }
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_silent_writers_file_is_closed_after_the_hard_limit() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &SHORT_LEASES).await;
    let namenode = running.namenode();
    let mut datanodes = nodes(namenode, 3).await;
    let chunk = half_written(namenode, &mut datanodes, 70).await;
    obey(namenode, &mut datanodes, &chunk, 70).await;
    assert_eq!(closed(namenode, "/half").await, 70);

    // A file without a chunk is closed without anybody's help.
    create(namenode, "/empty", HOLDER).await.unwrap();
    assert_eq!(closed(namenode, "/empty").await, 0);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn another_client_takes_over_after_the_soft_limit() {
    let dir = tempdir().unwrap();
    let flags = ["--heartbeat-interval", "100ms", "--lease-soft-limit", "3s"];
    let running = fresh(&dir.path().join("nn"), &flags).await;
    let namenode = running.namenode();
    let mut datanodes = nodes(namenode, 3).await;
    let chunk = half_written(namenode, &mut datanodes, 8).await;
    let early = create(namenode, "/half", "other").await.unwrap_err();
    assert_ne!(early.code, ErrorCode::RecoveryInProgress, "{early}");

    until("the soft limit", || async {
        let error = create(namenode, "/half", "other").await.unwrap_err();
        (error.code == ErrorCode::RecoveryInProgress).then_some(())
    })
    .await;
    obey(namenode, &mut datanodes, &chunk, 8).await;
    assert_eq!(closed(namenode, "/half").await, 8);
    let exists = create(namenode, "/half", "other").await.unwrap_err();
    assert_eq!(exists.code, ErrorCode::AlreadyExists);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn renewing_keeps_the_file_open() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &SHORT_LEASES).await;
    let namenode = running.namenode();
    create(namenode, "/kept", HOLDER).await.unwrap();
    create(namenode, "/lost", "silent").await.unwrap();
    until("the other file to be closed", || async {
        namenode.renew_lease(HOLDER.to_owned()).await.unwrap();
        let status = namenode.stat(&caller("root"), &path("/lost")).await.unwrap();
        (!status.open).then_some(())
    })
    .await;
    assert!(namenode.stat(&caller("root"), &path("/kept")).await.unwrap().open);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_recovery_goes_on_after_a_restart() {
    let dir = tempdir().unwrap();
    let place = dir.path().join("nn");
    let running = fresh(&place, &[]).await;
    let mut datanodes = nodes(running.namenode(), 3).await;
    let chunk = half_written(running.namenode(), &mut datanodes, 30).await;
    assert!(!recover(running.namenode(), "/half").await.closed);
    running.stop().await.unwrap();

    let running = start(&place, &[]).await.unwrap();
    let namenode = running.namenode();
    writable(namenode).await;
    for node in &mut datanodes {
        node.restart();
        node.join(namenode).await;
    }
    obey(namenode, &mut datanodes, &chunk, 30).await;
    assert_eq!(closed(namenode, "/half").await, 30);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn an_old_attempts_result_is_refused() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let mut datanodes = nodes(namenode, 3).await;
    let chunk = half_written(namenode, &mut datanodes, 30).await;
    assert!(!recover(namenode, "/half").await.closed);
    let (primary, generation, _) = ordered(namenode, &datanodes).await;
    let sender = datanodes[primary].sender;
    let holders = [datanodes[primary].id()];
    let stale = GenStamp(generation.0 - 1);
    let old = namenode.commit_recovery(sender, chunk.chunk, stale, 30, &holders).await.unwrap_err();
    assert_eq!(old.code, ErrorCode::StaleChunk, "{old}");
    let odd = namenode.commit_recovery(sender, chunk.chunk, generation, 0, &holders).await.unwrap_err();
    assert_eq!(odd.code, ErrorCode::InvalidArgument);
    let mut stranger = sender;
    stranger.incarnation += 1;
    let unknown = namenode.commit_recovery(stranger, chunk.chunk, generation, 30, &holders).await.unwrap();
    assert!(unknown.register);
    assert!(namenode.stat(&caller("root"), &path("/half")).await.unwrap().open);
    running.stop().await.unwrap();
}

/// Short leases, and little patience with DataNodes that are away.
const SHORT: [&str; 8] = [
    "--heartbeat-interval",
    "100ms",
    "--lease-soft-limit",
    "300ms",
    "--lease-hard-limit",
    "600ms",
    "--restart-grace",
    "1s",
];

/// A NameNode that was restarted after everybody who knew of `/half` was gone: its writer, which was told that 500 bytes of
/// it are kept, and its DataNodes. Nobody was told of any byte of `/unsynced`.
async fn alone(place: &Path) -> (Running, Vec<FakeNode>, LocatedChunk) {
    let running = fresh(place, &SHORT).await;
    let namenode = running.namenode();
    let mut datanodes = nodes(namenode, 3).await;
    let writer = Writer::create(namenode, "/half").await;
    let chunk = writer.add(None).await.unwrap();
    for node in &mut datanodes {
        node.hold(namenode, (chunk.chunk, chunk.generation), 500, ReplicaState::Rbw).await;
    }
    namenode.commit_length(origin(), writer.file.clone(), extent(&chunk, 500)).await.unwrap();
    Writer::create(namenode, "/unsynced").await.add(None).await.unwrap();
    running.stop().await.unwrap();
    datanodes.iter_mut().for_each(FakeNode::restart);
    let running = start(place, &SHORT).await.unwrap();
    writable(running.namenode()).await;
    (running, datanodes, chunk)
}

async fn waiting(namenode: &Namenode) -> WaitingChunk {
    until("a recovery that waits", || async {
        namenode.waiting_chunks(&caller("root"), 10).await.unwrap().pop()
    })
    .await
}

async fn checked(namenode: &Arc<Namenode>) -> FsckSummary {
    let entries: Vec<_> = Arc::clone(namenode).fsck(caller("root"), FsPath::root()).collect().await;
    match entries.into_iter().last() {
        Some(Ok(FsckEntry::Summary(summary))) => summary,
        other => panic!("the last entry is {other:?}"),
    }
}

#[tokio::test]
async fn what_was_synced_is_waited_for_by_a_namenode_that_knows_no_datanode() {
    let dir = tempdir().unwrap();
    let place = dir.path().join("nn");
    let (running, mut datanodes, chunk) = alone(&place).await;
    let namenode = running.namenode();
    let first = waiting(namenode).await;
    assert_eq!((first.path.as_str(), first.chunk, first.wait.expected), ("/half", chunk.chunk, 500));
    assert_eq!((&first.wait.best, first.wait.loss_accepted), (&None, false));
    // Its recovery began no later, so all limits that it knows are over too.
    assert_eq!(closed(namenode, "/unsynced").await, 0);
    assert!(namenode.stat(&caller("root"), &path("/half")).await.unwrap().open);
    assert_eq!(
        recover(namenode, "/half").await,
        LeaseRecovery { closed: false, waiting: vec![first.clone()] }
    );
    assert_eq!(namenode.waiting_chunks(&caller("eve"), 10).await.unwrap(), [], "paths are not for everybody");
    let report = namenode.report().await.unwrap();
    assert_eq!((report.totals.waiting_recoveries, report.totals.chunks), (1, 1));
    let summary = checked(namenode).await;
    assert_eq!((summary.waiting, summary.open_files, summary.healthy), (1, 1, false));
    running.stop().await.unwrap();

    let running = start(&place, &SHORT).await.unwrap();
    let namenode = running.namenode();
    writable(namenode).await;
    assert_eq!(waiting(namenode).await, first, "it waits since the same time");
    for node in &mut datanodes {
        node.now_has(500, ReplicaState::Rwr);
        node.join(namenode).await;
    }
    obey(namenode, &mut datanodes, &chunk, 500).await;
    assert_eq!(closed(namenode, "/half").await, 500);
    assert!(checked(namenode).await.healthy);
    assert_eq!(namenode.report().await.unwrap().totals.waiting_recoveries, 0);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_superuser_accepts_a_loss_and_no_more_is_lost_than_must_be() {
    let dir = tempdir().unwrap();
    let (running, mut datanodes, chunk) = alone(&dir.path().join("nn")).await;
    let namenode = running.namenode();
    datanodes.truncate(1);
    let [node] = &mut datanodes[..] else { panic!("one is left") };
    node.now_has(300, ReplicaState::Rwr);
    node.join(namenode).await;
    let best = until("the short replica to be known", || async { waiting(namenode).await.wait.best }).await;
    assert_eq!((best.0.id, best.1), (node.id(), 300));
    let accept = |user: &'static str| async move {
        namenode.recover_lease(&caller(user), &path("/half"), "other", true).await
    };
    assert_eq!(accept("eve").await.unwrap_err().code, ErrorCode::PermissionDenied);
    assert!(node.heartbeat(namenode).await.commands.is_empty(), "nothing was accepted");
    let recovery = accept("root").await.unwrap();
    assert!(!recovery.closed && recovery.waiting[0].wait.loss_accepted, "{recovery:?}");
    obey(namenode, &mut datanodes, &chunk, 300).await;
    assert_eq!(closed(namenode, "/half").await, 300);
    assert!(accept("root").await.unwrap().closed);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_silent_writers_temporary_file_is_gone_after_the_hard_limit() {
    let dir = tempdir().unwrap();
    let place = dir.path().join("nn");
    let running = fresh(&place, &[]).await;
    let namenode = running.namenode();
    let mut datanodes = nodes(namenode, 3).await;
    let status = namenode.create(origin(), temporary("/.x")).await.unwrap();
    let writer = Writer { namenode, file: OpenedBy::new(status.inode, HOLDER.to_owned()).unwrap() };
    let chunk = writer.add(None).await.unwrap();
    for node in &mut datanodes {
        node.hold(namenode, (chunk.chunk, chunk.generation), 70, ReplicaState::Rbw).await;
    }
    namenode.commit_length(origin(), writer.file.clone(), extent(&chunk, 70)).await.unwrap();
    running.stop().await.unwrap();

    // Whoever leads after that knows what the file is for, and needs no DataNode to let go of it.
    let running = start(&place, &SHORT_LEASES).await.unwrap();
    let namenode = running.namenode();
    writable(namenode).await;
    until("the file to be gone", || async {
        let error = namenode.stat(&caller("root"), &path("/.x")).await.err();
        error.map(|error| assert_eq!(error.code, ErrorCode::NotFound))
    })
    .await;
    assert_eq!(namenode.fs_stats().await.unwrap().chunks, 0);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_silent_writers_temporary_file_makes_room_after_the_soft_limit() {
    let dir = tempdir().unwrap();
    let flags = ["--heartbeat-interval", "100ms", "--lease-soft-limit", "300ms", "--lease-hard-limit", "1h"];
    let running = fresh(&dir.path().join("nn"), &flags).await;
    let namenode = running.namenode();
    let first = namenode.create(origin(), temporary("/.x")).await.unwrap();
    let second = until("the name to be free", || async {
        match namenode.create(origin(), NewFile { holder: "other".to_owned(), ..temporary("/.x") }).await {
            Ok(status) => Some(status),
            Err(error) => {
                assert_eq!(error.code, ErrorCode::AlreadyExists, "{error}");
                None
            }
        }
    })
    .await;
    assert!(second.open && second.inode > first.inode);
    running.stop().await.unwrap();
}

fn temporary(at: &str) -> NewFile {
    NewFile {
        path: path(at),
        holder: HOLDER.to_owned(),
        mode: Mode::FILE.into(),
        replication: None,
        chunk_size: None,
        overwrite: false,
        parents: false,
        temporary: true,
    }
}
