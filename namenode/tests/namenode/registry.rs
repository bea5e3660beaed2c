//! DataNodes that are remembered, and forgotten, over the port.

use std::path::Path;

use dfs_proto::v1;
use dfs_types::{ErrorCode, NodeId, StorageType};
use rusqlite::{Connection, OpenFlags};
use tempfile::tempdir;

use crate::duty::Admin;
use crate::support::{FakeNode, fresh, nodes, start, until};

/// A node is dead soon after it fell silent.
const QUICK: [&str; 6] = ["--heartbeat-interval", "50ms", "--stale-after", "300ms", "--dead-after", "600ms"];

/// A number that the database on the disk has.
fn number(dir: &Path, sql: &str) -> i64 {
    let path = dir.join("namespace.db");
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

async fn recorded(dir: &Path, sql: &str) {
    until("what nodes say to be recorded", || async { (number(dir, sql) == 1).then_some(()) }).await;
}

/// Every node that is listed, with its state.
async fn listed(admin: &mut Admin) -> Vec<(NodeId, v1::NodeState)> {
    let nodes = admin.report().await.nodes;
    let id = |node: &v1::NodeReport| NodeId::from_bytes(&node.node.as_ref().unwrap().id).unwrap();
    let mut listed: Vec<_> = nodes.iter().map(|node| (id(node), node.state())).collect();
    listed.sort_unstable_by_key(|(id, _)| *id);
    listed
}

#[tokio::test]
async fn nodes_are_remembered_on_change_and_over_restarts() {
    let dir = tempdir().unwrap();
    let running = fresh(dir.path(), &[]).await;
    let mut datanodes = nodes(running.namenode(), 2).await;
    recorded(dir.path(), "SELECT count(*) = 2 FROM node").await;
    let edits = number(dir.path(), "SELECT edits FROM counter");
    for _ in 0..100 {
        for node in &datanodes {
            node.heartbeat(running.namenode()).await;
        }
    }
    datanodes[0].stats.volumes[0].storage = StorageType::Ssd;
    datanodes[0].stats.address.http_port = 77;
    datanodes[0].heartbeat(running.namenode()).await;
    recorded(
        dir.path(),
        "SELECT count(*) FROM node JOIN volume ON node = node.id WHERE http_port = 77 AND storage = 1",
    )
    .await;
    assert_eq!(number(dir.path(), "SELECT edits FROM counter"), edits + 1, "heartbeats write nothing");
    running.stop().await.unwrap();

    let running = start(dir.path(), &[]).await.unwrap();
    running.namenode().admit(None).await.unwrap();
    let mut admin = Admin::of(&running, "root").await;
    let stale = v1::NodeState::Stale;
    assert_eq!(listed(&mut admin).await, [(datanodes[0].id(), stale), (datanodes[1].id(), stale)]);
    let report = admin.report().await;
    let of_first = |node: &&v1::NodeReport| node.node.as_ref().unwrap().id == datanodes[0].id().as_bytes();
    let first = report.nodes.iter().find(of_first).unwrap();
    assert_eq!(first.node.as_ref().unwrap().http_port, 77);
    assert_eq!(first.volumes[0].storage_type(), v1::StorageType::Ssd);
    datanodes[0].join(running.namenode()).await;
    assert_eq!(listed(&mut admin).await[0], (datanodes[0].id(), v1::NodeState::Live));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn only_a_dead_node_is_forgotten_and_then_for_good() {
    let dir = tempdir().unwrap();
    let running = fresh(dir.path(), &QUICK).await;
    let datanodes = nodes(running.namenode(), 2).await;
    let (gone, stays) = (&datanodes[0], &datanodes[1]);
    let mut admin = Admin::of(&running, "root").await;
    gone.heartbeat(running.namenode()).await;
    assert_eq!(admin.forget(&[gone.id()]).await, Err(ErrorCode::Busy));
    let stranger = NodeId::from_bytes(&[99; 16]).unwrap();
    assert_eq!(admin.forget(&[stranger]).await, Err(ErrorCode::NotFound));
    assert_eq!(admin.forget(&[]).await, Err(ErrorCode::InvalidArgument));
    let mut eve = Admin::of(&running, "eve").await;
    assert_eq!(eve.forget(&[gone.id()]).await, Err(ErrorCode::PermissionDenied));
    until("the node to be dead", || async {
        stays.heartbeat(running.namenode()).await;
        let mut admin = Admin::of(&running, "root").await;
        (listed(&mut admin).await[0].1 == v1::NodeState::Dead).then_some(())
    })
    .await;
    assert_eq!(admin.forget(&[gone.id(), stranger]).await, Err(ErrorCode::NotFound), "all or none");
    assert_eq!(admin.forget(&[gone.id()]).await, Ok(()));
    refused(gone, &running).await;
    until("it to be listed no more", || async {
        let mut admin = Admin::of(&running, "root").await;
        (listed(&mut admin).await.len() == 1).then_some(())
    })
    .await;
    assert_eq!(admin.forget(&[gone.id()]).await, Ok(()), "as a retry");
    running.stop().await.unwrap();

    let running = start(dir.path(), &QUICK).await.unwrap();
    running.namenode().admit(None).await.unwrap();
    refused(gone, &running).await;
    stays.join(running.namenode()).await;
    assert_eq!(listed(&mut Admin::of(&running, "root").await).await.len(), 1);
    running.stop().await.unwrap();
}

/// The node is not taken in, and told why.
async fn refused(node: &FakeNode, running: &dfs_namenode::run::Running) {
    let error = node.register(running.namenode(), None).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    assert!(error.message.contains("forget") && error.message.contains("empty volumes"), "{error}");
    assert!(node.heartbeat(running.namenode()).await.reception.register, "it has to register, in vain");
}
