//! DataNodes: registration, reports, orders.

use dfs_namenode::api::cluster::Order;
use dfs_namenode::api::reading::BadReplica;
use dfs_types::{ClusterId, ErrorCode, GenStamp, NodeId, ReplicaRecord, ReplicaState};
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
    let changes = namenode.incremental_report(old.sender, Vec::new()).await.unwrap();
    assert!(changes.register);
    assert!(namenode.report().await.unwrap().nodes.iter().all(|node| !node.reported));
    assert!(!new.report(namenode).await.register);
    assert!(namenode.report().await.unwrap().nodes.iter().all(|node| node.reported));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_report_must_be_sorted_and_of_one_process() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let (one, two) = (FakeNode::new(1), FakeNode::new(2));
    let record = |chunk| ReplicaRecord {
        chunk: dfs_types::ChunkId(chunk),
        generation: GenStamp(1_001),
        length: 1,
        state: ReplicaState::Finalized,
    };
    let mut report = namenode.begin_report(one.sender, 0).await.unwrap();
    report.add(one.sender, vec![record(5), record(6)]).unwrap();
    for (sender, page) in
        [(one.sender, vec![record(4)]), (one.sender, vec![record(9), record(8)]), (two.sender, vec![])]
    {
        assert_eq!(report.add(sender, page).unwrap_err().code, ErrorCode::InvalidArgument);
    }
    let page = vec![record(7); dfs_types::limits::REPORT_PAGE + 1];
    assert_eq!(report.add(one.sender, page).unwrap_err().code, ErrorCode::InvalidArgument);
    drop(report);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn deleted_files_become_orders_to_delete() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let mut datanodes = nodes(namenode, 3).await;
    let chunk = put(namenode, &mut datanodes, "/d/f", 9).await;
    assert!(namenode.delete(origin(), path("/d"), true, None).await.unwrap());
    assert!(!namenode.delete(origin(), path("/d"), true, None).await.unwrap(), "it is gone");

    let node = &datanodes[0];
    let deleted = until("the order to delete", || async {
        node.heartbeat(namenode).await.orders.into_iter().find_map(|order| match order {
            Order::Delete { replicas } => Some(replicas),
            Order::Copy { .. } | Order::Recover { .. } => None,
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
            for order in node.heartbeat(namenode).await.orders {
                if let Order::Copy { chunk: copied, length: 9, targets, .. } = order {
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
    assert_eq!(targets[0].address, fourth.stats.address);
    running.stop().await.unwrap();
}
