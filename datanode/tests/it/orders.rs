//! Copies, deletions and recoveries that the NameNode orders.

use dfs_proto::v1;
use dfs_types::ReplicaState::{Finalized, Rbw};
use v1::command::Kind;

use crate::cluster::{Node, cluster, until};
use crate::wire::{GENERATION, Writing, bytes, connect, header, packet, read, write};

pub(crate) fn copy(chunk: u64, generation: u64, length: u64, targets: &[&Node]) -> Kind {
    Kind::Copy(v1::CopyCommand {
        extent: Some(v1::ChunkExtent { chunk, generation, length }),
        targets: targets.iter().map(|node| node.endpoint()).collect(),
        bytes_per_second: 0,
    })
}

pub(crate) fn delete(chunk: u64, generation: u64) -> Kind {
    Kind::Delete(v1::DeleteCommand { replicas: vec![v1::DeletedReplica { chunk, generation }] })
}

fn recover(chunk: u64, new_generation: u64, acknowledged: u64, holders: &[&Node]) -> Kind {
    let holders = holders.iter().map(|node| node.endpoint()).collect();
    Kind::Recover(v1::RecoverCommand { chunk, new_generation, acknowledged, holders })
}

#[tokio::test]
async fn copies_are_made_and_exact_replicas_deleted() {
    let (namenode, nodes) = cluster(3).await;
    let [a, b, c] = [&nodes[0], &nodes[1], &nodes[2]];
    let data = bytes(1_500_001);
    write(namenode.cluster, &[a], 1, &data).await;
    write(namenode.cluster, &[a], 2, &[]).await;
    namenode.order(a, copy(1, GENERATION, 1_500_001, &[b, c]));
    namenode.order(a, copy(2, GENERATION, 0, &[b]));
    for node in [b, c] {
        namenode.told(node, 1, Some((GENERATION, 1_500_001, Finalized))).await;
        assert!(read(namenode.cluster, node, 1).await.unwrap() == data);
    }
    namenode.told(b, 2, Some((GENERATION, 0, Finalized))).await;

    namenode.order(a, delete(1, GENERATION + 1));
    namenode.order(a, delete(77, GENERATION));
    namenode.order(b, delete(1, GENERATION));
    namenode.told(b, 1, None).await;
    assert!(b.files(1).is_empty());
    until("space is free again", || namenode.with(|known| known.heartbeats[&b.id].volumes[0].used == 0))
        .await;
    // Another version was not meant; the later order shows that the earlier one has been looked at.
    namenode.order(a, delete(2, GENERATION));
    namenode.told(a, 2, None).await;
    assert_eq!(namenode.replica(a, 1), Some((GENERATION, 1_500_001, Finalized)));
}

#[tokio::test]
async fn a_rotten_replica_is_not_copied() {
    let (namenode, nodes) = cluster(2).await;
    let [a, b] = [&nodes[0], &nodes[1]];
    write(namenode.cluster, &[a], 1, &bytes(1 << 20)).await;
    let file = a.data_file(1);
    let mut rotten = std::fs::read(&file).unwrap();
    rotten[600_000] ^= 1;
    std::fs::write(&file, rotten).unwrap();
    namenode.order(a, copy(1, GENERATION, 1 << 20, &[b]));
    namenode.told(a, 1, Some((GENERATION, 1 << 20, dfs_types::ReplicaState::Corrupt))).await;
    until("nothing is left of the copy", || b.files(1).is_empty()).await;
    assert_eq!(namenode.replica(b, 1), None);
}

#[tokio::test]
async fn the_chunk_of_a_lost_writer_is_recovered_to_what_all_have() {
    let (namenode, nodes) = cluster(3).await;
    let [a, b, c] = [&nodes[0], &nodes[1], &nodes[2]];
    let data = bytes(1 << 20);
    // Three writers, so that the replicas differ in length; one of them still hangs on.
    let mut hanging = Vec::new();
    for (node, length) in [(a, 520_000), (b, 500_100), (c, 500_200)] {
        let mut writing = Writing::open(node, header(namenode.cluster, &[node], 1)).await.unwrap();
        writing.put(v1::Packet { flush: true, ..packet(0, 0, &data[..length]) }).await.unwrap();
        hanging.push(writing);
    }
    hanging.truncate(1);
    namenode.order(b, recover(1, GENERATION + 5, 500_100, &[a, b, c]));
    until("the recovery is committed", || namenode.with(|known| !known.commits.is_empty())).await;
    let commit = namenode.with(|known| known.commits.remove(0));
    assert_eq!((commit.chunk, commit.new_generation, commit.length), (1, GENERATION + 5, 500_100));
    assert_eq!(commit.holders.len(), 3);
    for node in &nodes {
        assert_eq!(namenode.replica(node, 1), Some((GENERATION + 5, 500_100, Finalized)));
        assert!(read(namenode.cluster, node, 1).await.unwrap() == data[..500_100]);
    }
    // The writer that hung on is out, and cannot come back under a generation from before.
    assert!(hanging[0].reply().await.is_none());
    let late = v1::WriteHeader {
        generation: GENERATION + 4,
        stage: v1::WriteStage::Recover.into(),
        ..header(namenode.cluster, &[a], 1)
    };
    assert!(Writing::open(a, late).await.is_err());
    // Ordered again (the answer was lost), it comes to the same.
    namenode.order(c, recover(1, GENERATION + 6, 500_100, &[a, b, c]));
    until("the recovery is committed again", || namenode.with(|known| !known.commits.is_empty())).await;
    let commit = namenode.with(|known| known.commits.remove(0));
    assert_eq!((commit.length, commit.holders.len()), (500_100, 3));
}

#[tokio::test]
async fn recovery_goes_on_without_the_dead_and_drops_what_has_no_byte() {
    let (namenode, mut nodes) = cluster(3).await;
    let data = bytes(10_000);
    let mut writing =
        Writing::open(&nodes[0], header(namenode.cluster, &[&nodes[0], &nodes[1], &nodes[2]], 1))
            .await
            .unwrap();
    writing.put(v1::Packet { sync: true, ..packet(0, 0, &data) }).await.unwrap();
    let _empty =
        Writing::open(&nodes[0], header(namenode.cluster, &[&nodes[0], &nodes[1]], 2)).await.unwrap();
    nodes[2].kill();
    let [a, b, c] = [&nodes[0], &nodes[1], &nodes[2]];
    namenode.told(a, 2, Some((GENERATION, 0, Rbw))).await;
    namenode.order(a, recover(1, GENERATION + 1, 10_000, &[a, b, c]));
    namenode.order(a, recover(2, GENERATION + 2, 0, &[a, b]));
    until("both are committed", || namenode.with(|known| known.commits.len() == 2)).await;
    let mut commits = namenode.with(|known| std::mem::take(&mut known.commits));
    commits.sort_by_key(|commit| commit.chunk);
    assert_eq!((commits[0].length, commits[0].holders.len()), (10_000, 2));
    assert_eq!((commits[1].length, commits[1].holders.len()), (0, 0));
    assert_eq!(read(namenode.cluster, b, 1).await.unwrap(), data);
}

#[tokio::test]
async fn a_recovery_that_was_not_prepared_is_not_finished() {
    let (namenode, nodes) = cluster(1).await;
    let node = &nodes[0];
    let mut writing = Writing::open(node, header(namenode.cluster, &[node], 1)).await.unwrap();
    writing.put(v1::Packet { flush: true, ..packet(0, 0, &bytes(1_000)) }).await.unwrap();
    let mut client = connect(node).await;
    let (cluster, target) = (namenode.cluster.as_bytes().to_vec(), node.id.as_bytes().to_vec());
    let finish = |new_generation, length| v1::FinishRecoveryRequest {
        cluster: cluster.clone(),
        target: target.clone(),
        chunk: 1,
        new_generation,
        length,
    };
    let prepare = |chunk, new_generation| v1::PrepareRecoveryRequest {
        cluster: cluster.clone(),
        target: target.clone(),
        chunk,
        new_generation,
    };
    assert!(client.finish_recovery(finish(GENERATION + 1, 500)).await.is_err());
    let nothing = client.prepare_recovery(prepare(5, GENERATION + 1)).await.unwrap().into_inner();
    assert_eq!(nothing.replica, None);
    assert!(client.prepare_recovery(prepare(1, GENERATION - 1)).await.is_err());
    let there = client.prepare_recovery(prepare(1, GENERATION + 2)).await.unwrap().into_inner();
    assert_eq!(there.replica.map(|replica| replica.length), Some(1_000));
    assert!(client.prepare_recovery(prepare(1, GENERATION + 1)).await.is_err(), "a newer one has begun");
    assert!(client.finish_recovery(finish(GENERATION + 1, 500)).await.is_err());
    assert!(client.finish_recovery(finish(GENERATION + 2, 2_000)).await.is_err());
    client.finish_recovery(finish(GENERATION + 2, 700)).await.unwrap();
    client.finish_recovery(finish(GENERATION + 2, 700)).await.unwrap();
    assert_eq!(read(namenode.cluster, node, 1).await.unwrap(), bytes(1_000)[..700]);
}
