//! DataNodes: registration, reports, commands.

use dfs_namenode::api::cluster::Reception;
use dfs_namenode::api::reading::BadReplica;
use dfs_namenode_core::Command;
use dfs_namenode_core::Slice;
use dfs_types::{ChunkId, ClusterId, ErrorCode, GenStamp, NodeId, ReplicaRecord, ReplicaState};
use tempfile::tempdir;

use crate::support::{FakeNode, caller, fresh, nodes, origin, path, put, until};

#[tokio::test]
async fn a_node_joins_its_own_cluster_only() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &["--heartbeat-interval", "250ms"]).await;
    let namenode = running.namenode();
    let node = FakeNode::new(1);
    let ours = namenode.defaults().cluster;

    let theirs = ClusterId::random();
    let refused = node.register(namenode, Some(theirs)).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::WrongCluster);
    assert!(refused.message.contains(&theirs.to_string()) && refused.message.contains(&ours.to_string()));
    assert!(node.heartbeat(namenode).await.reception.register, "a refused node is not registered");

    let welcome = node.register(namenode, None).await.unwrap();
    assert_eq!((welcome.cluster, welcome.heartbeat_interval.as_millis()), (ours, 250));
    assert!(node.register(namenode, Some(ours)).await.is_ok());
    running.stop().await.unwrap();
}

#[tokio::test]
async fn what_an_earlier_process_says_is_not_taken_in() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let old = FakeNode::new(1);
    old.join(namenode).await;
    let mut new = FakeNode::new(1);
    new.restart();
    new.register(namenode, None).await.unwrap();

    assert!(old.report(namenode).await.register);
    assert!(old.heartbeat(namenode).await.reception.register);
    let changes = old.tell(namenode, Vec::new(), None).await.unwrap();
    assert!(changes.register);
    assert!(namenode.report().await.unwrap().nodes.iter().all(|node| !node.reported));
    assert!(!new.report(namenode).await.register);
    assert!(namenode.report().await.unwrap().nodes.iter().all(|node| node.reported));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_report_must_be_sorted_and_within_bounds() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let node = FakeNode::new(1);
    let record = |chunk| ReplicaRecord {
        chunk: ChunkId(chunk),
        generation: GenStamp(1_001),
        length: 1,
        state: ReplicaState::Finalized,
        volume: None,
    };
    let many = vec![record(7); dfs_types::limits::REPORT_PAGE + 1];
    let changes = many.iter().map(|record| (*record, false)).collect();
    assert_eq!(node.tell(namenode, changes, None).await.unwrap_err().code, ErrorCode::InvalidArgument);
    for (first, last, replicas) in [
        (5, 9, vec![record(4)]),
        (5, 9, vec![record(10)]),
        (0, 9, vec![record(9), record(8)]),
        (1, 0, vec![]),
        (0, 9, many),
    ] {
        let slice = Slice { first: ChunkId(first), last: ChunkId(last), fence: 0, replicas };
        let refused = node.tell(namenode, vec![], Some(slice)).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::InvalidArgument, "{refused}");
    }
    running.stop().await.unwrap();
}

/// Nothing that closes a file waits for the rest of a full report.
#[tokio::test]
async fn a_file_is_closed_while_its_nodes_still_report() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let mut all = nodes(namenode, 3).await;
    for (at, name) in ["/a", "/b", "/c"].into_iter().enumerate() {
        put(namenode, &mut all, name, 10 + at as u64).await;
    }
    for node in &mut all {
        node.restart();
        node.register(namenode, None).await.unwrap();
        node.heartbeat(namenode).await;
        let first = *node.replicas.keys().next().unwrap();
        let reception = node.report_slice(namenode, ChunkId(0), first).await;
        assert_eq!(reception.report_from, Some(ChunkId(first.0 + 1)), "the rest of its report is wanted");
    }
    put(namenode, &mut all, "/meanwhile", 99).await;
    assert!(namenode.report().await.unwrap().nodes.iter().all(|node| !node.reported));
    for node in &all {
        let next = node.heartbeat(namenode).await.reception.report_from.unwrap();
        let reception = node.report_slice(namenode, next, ChunkId(u64::MAX)).await;
        assert_eq!(reception, Reception::default());
    }
    let report = namenode.report().await.unwrap();
    assert!(report.nodes.iter().all(|node| node.reported));
    assert_eq!((report.totals.chunks, report.totals.under_replicated, report.totals.missing), (4, 0, 0));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn few_nodes_report_at_the_same_time() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let all: Vec<FakeNode> = (1..=6).map(FakeNode::new).collect();
    let mut wanted = Vec::new();
    for node in &all {
        wanted.extend(node.register(namenode, None).await.unwrap().report_from);
    }
    assert_eq!(wanted, [ChunkId(0); 4]);
    assert_eq!(all[5].heartbeat(namenode).await.reception.report_from, None, "it is not its turn");
    all[0].heartbeat(namenode).await;
    assert_eq!(all[0].report(namenode).await, Reception::default());
    assert_eq!(all[5].heartbeat(namenode).await.reception.report_from, Some(ChunkId(0)));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn deleted_files_become_commands_to_delete() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let mut datanodes = nodes(namenode, 3).await;
    let chunk = put(namenode, &mut datanodes, "/d/f", 9).await;
    assert!(namenode.delete(origin(), path("/d"), true, None).await.unwrap());
    assert!(!namenode.delete(origin(), path("/d"), true, None).await.unwrap(), "it is gone");

    let node = &datanodes[0];
    let deleted = until("the order to delete", || async {
        node.heartbeat(namenode).await.commands.into_iter().find_map(|order| match order {
            Command::Delete { replicas } => Some(replicas),
            Command::Copy { .. } | Command::Recover { .. } => None,
        })
    })
    .await;
    assert_eq!(deleted, [(chunk.chunk, chunk.generation)]);
    let report = namenode.report().await.unwrap();
    assert_eq!((report.counts.files, report.counts.directories, report.totals.chunks), (0, 1, 0));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_bad_replica_is_copied_anew() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let mut datanodes = nodes(namenode, 3).await;
    let chunk = put(namenode, &mut datanodes, "/f", 9).await;
    let bad = datanodes[1].id();
    let fourth = FakeNode::new(4);
    fourth.join(namenode).await;
    let replica = BadReplica { chunk: chunk.chunk, generation: chunk.generation, node: bad };
    namenode.report_bad_replicas(vec![replica]).await.unwrap();

    let (_, located) = namenode.locate(&caller("root"), &path("/f"), 0, 9, None).await.unwrap();
    let at: Vec<NodeId> = located[0].nodes.iter().map(|node| node.id).collect();
    assert!(at.len() == 2 && !at.contains(&bad), "{at:?}");
    let targets = until("the order to copy", || async {
        for node in &datanodes {
            for order in node.heartbeat(namenode).await.commands {
                if let Command::Copy { chunk: copied, length: 9, targets, .. } = order {
                    assert_eq!(copied, chunk.chunk);
                    return Some(targets);
                }
            }
        }
        fourth.heartbeat(namenode).await;
        None
    })
    .await;
    assert_eq!(targets.iter().map(|node| node.id).collect::<Vec<_>>(), [fourth.id()]);
    assert_eq!(targets[0].at, fourth.stats.address);
    running.stop().await.unwrap();
}
