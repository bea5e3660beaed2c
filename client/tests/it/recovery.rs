//! Writing while nodes fail.

use std::time::Duration;

use dfs_client::{CreateOptions, Dfs, FileWriter};
use dfs_types::ErrorCode;
use tokio::io::AsyncWriteExt as _;

use crate::datanode::Faults;
use crate::fake::{CHUNK, Cluster, content, path};

const LENGTH: usize = 2 * CHUNK as usize + 300_000;

async fn write(dfs: &Dfs, data: &[u8]) -> FileWriter {
    let mut writer = dfs.create(&path("/a"), CreateOptions::default()).await.unwrap();
    for part in data.chunks(200_000) {
        writer.write_all(part).await.unwrap();
    }
    writer
}

/// Writes a file of several chunks while one node fails, and checks what is stored.
async fn survives(node: usize, faults: Faults, nodes: u8, replicas: usize) -> Cluster {
    let cluster = Cluster::start(nodes).await;
    cluster.set(node, faults);
    let dfs = cluster.builder().ack_timeout(Duration::from_millis(400)).connect().await.unwrap();
    let data = content(LENGTH);
    let writer = write(&dfs, &data).await;
    let status = writer.close().await.unwrap();
    assert_eq!(status.length, LENGTH as u64);
    cluster.assert_stored("/a", &data, replicas);
    cluster
}

#[tokio::test]
async fn a_node_that_refuses_setup_is_replaced() {
    for node in 0..3 {
        let cluster = survives(node, Faults { refuse_setup: true, ..Faults::default() }, 4, 3).await;
        assert!(cluster.nodes[node].replicas.lock().unwrap().values().all(|replica| !replica.finalized));
    }
}

#[tokio::test]
async fn nodes_that_failed_are_tried_again_when_no_others_are_left() {
    let cluster = Cluster::start(2).await;
    cluster.set(1, Faults { refuse_setup: true, ..Faults::default() });
    let dfs = cluster.connect().await;
    let data = content(LENGTH);
    let writing = async {
        let writer = write(&dfs, &data).await;
        writer.close().await.unwrap();
    };
    let restarting = async {
        // Long enough to be refused a few times, as by a DataNode that restarts.
        tokio::time::sleep(Duration::from_millis(700)).await;
        cluster.set(1, Faults::default());
    };
    tokio::join!(writing, restarting);
    cluster.assert_stored("/a", &data, 2);
}

#[tokio::test]
async fn a_dead_node_is_replaced_at_setup() {
    for node in 0..3 {
        survives(node, Faults { dead: true, ..Faults::default() }, 4, 3).await;
    }
}

#[tokio::test]
async fn a_node_may_die_at_any_packet() {
    for node in 0..3 {
        for packet in 0..8 {
            let faults = Faults { die_at_packet: Some(packet), ..Faults::default() };
            survives(node, faults, 3, 2).await;
        }
    }
}

#[tokio::test]
async fn a_node_may_die_at_the_last_packet() {
    for node in 0..3 {
        survives(node, Faults { die_at_last: true, ..Faults::default() }, 3, 2).await;
    }
}

#[tokio::test]
async fn a_lost_last_acknowledgement_reopens_finalized_replicas() {
    let cluster = survives(0, Faults { lose_last_ack: true, ..Faults::default() }, 3, 2).await;
    assert!(!cluster.nodes[0].faults.lock().unwrap().lose_last_ack, "the fault happened");
}

#[tokio::test]
async fn a_pipeline_without_acknowledgements_is_taken_for_broken() {
    survives(0, Faults { mute: true, ..Faults::default() }, 4, 2).await;
}

#[tokio::test]
async fn further_nodes_join_when_too_few_remain() {
    let cluster = Cluster::start(5).await;
    cluster.set(1, Faults { die_at_packet: Some(1), ..Faults::default() });
    cluster.set(2, Faults { die_at_packet: Some(2), ..Faults::default() });
    let dfs = cluster.connect().await;
    let data = content(LENGTH);
    write(&dfs, &data).await.close().await.unwrap();
    cluster.assert_stored("/a", &data, 2);
    let first = &cluster.file("/a").unwrap().chunks[0];
    assert!(cluster.nodes[3].replicas.lock().unwrap().contains_key(&first.id), "node 3 joined chunk 0");
}

#[tokio::test]
async fn flushed_bytes_survive_a_node() {
    let cluster = Cluster::start(3).await;
    let dfs = cluster.connect().await;
    let data = content(300_000);
    let mut writer = dfs.create(&path("/a"), CreateOptions::default()).await.unwrap();
    writer.write_all(&data[..1_300]).await.unwrap();
    writer.hflush().await.unwrap();
    cluster.set(0, Faults { dead: true, ..Faults::default() });
    writer.write_all(&data[1_300..]).await.unwrap();
    writer.hsync().await.unwrap();
    writer.close().await.unwrap();
    cluster.assert_stored("/a", &data, 2);
}

#[tokio::test]
async fn when_every_node_dies_the_error_says_so_in_time() {
    let cluster = Cluster::start(3).await;
    for node in 0..3 {
        cluster.set(node, Faults { die_at_packet: Some(2), ..Faults::default() });
    }
    let dfs = cluster.connect().await;
    let closing = async {
        let mut writer = dfs.create(&path("/a"), CreateOptions::default()).await?;
        writer.write_bytes(content(LENGTH).into()).await?;
        writer.close().await
    };
    let error = tokio::time::timeout(Duration::from_mins(2), closing).await.unwrap().unwrap_err();
    assert!(matches!(error.code, ErrorCode::Unavailable | ErrorCode::NotEnoughNodes), "{error:?}");
    assert!(error.message.contains("writing /a") && error.message.contains("given up"), "{error}");
}
