//! Files whose writer is gone.

use dfs_namenode::api::cluster::Order;
use dfs_namenode::api::{LocatedChunk, Namenode};
use dfs_types::{ErrorCode, GenStamp, ReplicaState};
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
            for order in node.heartbeat(namenode).await.orders {
                if let Order::Recover { new_generation, holders, .. } = order {
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

    let refused = namenode.recover_lease(&caller("eve"), &path("/half"), "other").await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::PermissionDenied);
    assert!(!namenode.recover_lease(&caller("root"), &path("/half"), "other").await.unwrap());
    // Asking again does not start over.
    assert!(!namenode.recover_lease(&caller("root"), &path("/half"), "other").await.unwrap());
    obey(namenode, &mut datanodes, &chunk, 500).await;
    assert!(namenode.recover_lease(&caller("root"), &path("/half"), "other").await.unwrap());
    assert_eq!(closed(namenode, "/half").await, 500);
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
    assert!(!namenode.recover_lease(&caller("root"), &path("/f"), "other").await.unwrap());
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
    assert!(!running.namenode().recover_lease(&caller("root"), &path("/half"), "other").await.unwrap());
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
    assert!(!namenode.recover_lease(&caller("root"), &path("/half"), "other").await.unwrap());
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
