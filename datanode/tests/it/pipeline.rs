//! Writing through pipelines, reading back, and going on after something broke.

use dfs_proto::v1;
use dfs_types::ReplicaState::{Finalized, Rbw};
use dfs_types::checksum::crc32c;
use dfs_types::{ErrorCode, limits};

use crate::cluster::{Node, cluster, until};
use crate::wire::{
    GENERATION, Writing, bytes, connect, header, packet, read, read_range, read_request, write,
};

#[tokio::test]
async fn what_is_written_through_three_nodes_is_read_from_each() {
    let (namenode, nodes) = cluster(3).await;
    let [a, b, c] = [&nodes[0], &nodes[1], &nodes[2]];
    for (chunk, length) in (1..).zip([0, 1, 511, 512, 513, 65_536, 700_001, 3 << 20]) {
        let data = bytes(length);
        write(namenode.cluster, &[a, b, c], chunk, &data).await;
        for node in &nodes {
            // Without waiting: the last acknowledgement comes after the report.
            let told = namenode.replica(node, chunk);
            assert_eq!(told, Some((GENERATION, length as u64, Finalized)));
            assert!(read(namenode.cluster, node, chunk).await.unwrap() == data, "{length}");
        }
    }
    // Parts, at any offset, in packets of any size.
    let data = bytes(700_001);
    for (offset, length, packet_bytes) in [
        (0, 1, 0),
        (1, 1, 512),
        (511, 2, 1),
        (512, 512, 512),
        (699_999, 2, 0),
        (700_001, 0, 0),
        (3_000, 400_000, 70_000),
    ] {
        let request =
            v1::ReadRequest { offset, length, packet_bytes, ..read_request(namenode.cluster, c, 7) };
        let end = if length == 0 { data.len() } else { (offset + length) as usize };
        assert!(read_range(c, request).await.unwrap() == data[offset as usize..end], "{offset} {length}");
    }
    let beyond = v1::ReadRequest { offset: 700_002, ..read_request(namenode.cluster, c, 7) };
    assert_eq!(read_range(c, beyond).await.unwrap_err().code, ErrorCode::InvalidArgument);
}

#[tokio::test]
async fn the_checksum_of_a_range_is_that_of_its_bytes() {
    let (namenode, nodes) = cluster(1).await;
    let data = bytes(100_300);
    write(namenode.cluster, &[&nodes[0]], 1, &data).await;
    let mut client = connect(&nodes[0]).await;
    let request = |length| v1::ChecksumRequest {
        cluster: namenode.cluster.as_bytes().to_vec(),
        target: nodes[0].id.as_bytes().to_vec(),
        chunk: 1,
        generation: GENERATION,
        length,
    };
    for length in [1, 511, 512, 1_000, 100_299, 100_300] {
        let reply = client.checksum(request(length)).await.unwrap().into_inner();
        assert_eq!((reply.crc32c, reply.length), (crc32c(&data[..length as usize]), length));
    }
    let whole = client.checksum(request(0)).await.unwrap().into_inner();
    assert_eq!((whole.crc32c, whole.length), (crc32c(&data), 100_300));
    assert!(client.checksum(request(100_301)).await.is_err());
}

#[tokio::test]
async fn flushed_tails_are_readable_at_once_and_grow() {
    let (namenode, nodes) = cluster(2).await;
    let data = bytes(5_000);
    let mut writing =
        Writing::open(&nodes[0], header(namenode.cluster, &[&nodes[0], &nodes[1]], 1)).await.unwrap();
    let mut flushed = 0;
    for (sequence, end) in (0..).zip([1, 100, 512, 700, 701, 1_024, 1_900, 4_097]) {
        let start = flushed / 512 * 512;
        let tail = packet(sequence, start, &data[start..end]);
        writing.put(v1::Packet { flush: true, sync: end == 701, ..tail }).await.unwrap();
        flushed = end;
        for node in &nodes {
            assert_eq!(read(namenode.cluster, node, 1).await.unwrap(), data[..end], "{end}");
        }
    }
    // An empty packet says that the writer is alive, and another one ends the chunk at the odd byte.
    writing.put(packet(8, flushed, &[])).await.unwrap();
    writing.put(v1::Packet { last: true, ..packet(9, flushed, &[]) }).await.unwrap();
    for node in &nodes {
        assert_eq!(namenode.replica(node, 1), Some((GENERATION, 4_097, Finalized)));
        assert_eq!(read(namenode.cluster, node, 1).await.unwrap(), data[..4_097]);
    }
}

#[tokio::test]
async fn unsynced_writes_complete_too() {
    let (namenode, nodes) = cluster(1).await;
    let data = bytes(10_000);
    let header = v1::WriteHeader { sync: false, ..header(namenode.cluster, &[&nodes[0]], 1) };
    Writing::open(&nodes[0], header).await.unwrap().finish(0, 0, &data, 4_096).await.unwrap();
    assert_eq!(read(namenode.cluster, &nodes[0], 1).await.unwrap(), data);
}

/// Writes 512 KiB and a flushed tail of 100 bytes through all nodes, and hangs up.
async fn begin(cluster: dfs_types::ClusterId, nodes: &[&Node], data: &[u8]) -> Writing {
    let mut writing = Writing::open(nodes[0], header(cluster, nodes, 1)).await.unwrap();
    writing.put(packet(0, 0, &data[..512 << 10])).await.unwrap();
    let tail = packet(1, 512 << 10, &data[512 << 10..(512 << 10) + 100]);
    writing.put(v1::Packet { flush: true, ..tail }).await.unwrap();
    writing
}

#[tokio::test]
async fn a_dead_node_is_named_and_the_others_go_on() {
    let (namenode, mut nodes) = cluster(3).await;
    let data = bytes(2 << 20);
    let acked = (512 << 10) + 100;
    let mut writing = begin(namenode.cluster, &[&nodes[0], &nodes[1], &nodes[2]], &data).await;
    nodes[1].kill();
    let (error, failed) =
        writing.put(packet(2, 512 << 10, &data[512 << 10..(512 << 10) + 512])).await.unwrap_err();
    assert_eq!((error.code, failed), (ErrorCode::Unavailable, 1));

    let [a, c] = [&nodes[0], &nodes[2]];
    let recover = v1::WriteHeader {
        generation: GENERATION + 1,
        stage: v1::WriteStage::Recover.into(),
        min_length: acked,
        ..header(namenode.cluster, &[a, c], 1)
    };
    let mut writing = Writing::open(a, recover).await.unwrap();
    writing.finish(0, 512 << 10, &data[512 << 10..], 100 * 512).await.unwrap();
    for node in [a, c] {
        assert_eq!(namenode.replica(node, 1), Some((GENERATION + 1, 2 << 20, Finalized)));
        assert!(read(namenode.cluster, node, 1).await.unwrap() == data);
        let names: Vec<_> = node.files(1).iter().map(|file| file.file_name().unwrap().to_owned()).collect();
        assert_eq!(names, ["1_1002.chunk", "1_1002.crc"]);
    }
    // A dead node in a new pipeline is named by its position too.
    let refused = Writing::open(a, header(namenode.cluster, &[a, c, &nodes[1]], 2)).await;
    assert_eq!(refused.err().map(|(_, failed)| failed), Some(2));
    until("nothing is left of the pipeline that was not set up", || {
        a.files(2).is_empty() && c.files(2).is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_pipeline_that_breaks_before_its_first_byte_goes_on_too() {
    let (namenode, mut nodes) = cluster(2).await;
    let mut writing =
        Writing::open(&nodes[0], header(namenode.cluster, &[&nodes[0], &nodes[1]], 1)).await.unwrap();
    nodes[1].kill();
    // An empty packet, so that nothing is written here either.
    let (_, failed) = writing.put(packet(0, 0, &[])).await.unwrap_err();
    assert_eq!(failed, 1);
    let recover = v1::WriteHeader {
        generation: GENERATION + 1,
        stage: v1::WriteStage::Recover.into(),
        ..header(namenode.cluster, &[&nodes[0]], 1)
    };
    let data = bytes(10_000);
    Writing::open(&nodes[0], recover).await.unwrap().finish(0, 0, &data, 4_096).await.unwrap();
    assert_eq!(read(namenode.cluster, &nodes[0], 1).await.unwrap(), data);
}

#[tokio::test]
async fn a_new_session_takes_the_replica_over_from_one_that_hangs() {
    let (namenode, nodes) = cluster(1).await;
    let data = bytes(2 << 20);
    let _hanging = begin(namenode.cluster, &[&nodes[0]], &data).await;
    let recover = v1::WriteHeader {
        generation: GENERATION + 1,
        stage: v1::WriteStage::Recover.into(),
        min_length: 512 << 10,
        ..header(namenode.cluster, &[&nodes[0]], 1)
    };
    // What was never acknowledged may be cut.
    let mut writing = Writing::open(&nodes[0], recover.clone()).await.unwrap();
    writing.finish(0, 512 << 10, &data[512 << 10..(512 << 10) + 50], 4_096).await.unwrap();
    let length = (512 << 10) + 50;
    assert_eq!(namenode.replica(&nodes[0], 1), Some((GENERATION + 1, length, Finalized)));
    assert!(read(namenode.cluster, &nodes[0], 1).await.unwrap() == data[..length as usize]);

    // The client that missed the last acknowledgement goes on under the next generation.
    let again = v1::WriteHeader { generation: GENERATION + 2, min_length: length, ..recover.clone() };
    let mut writing = Writing::open(&nodes[0], again).await.unwrap();
    until("it is open again", || namenode.replica(&nodes[0], 1) == Some((GENERATION + 2, length, Rbw))).await;
    writing.finish(0, 512 << 10, &data[512 << 10..], 512 << 10).await.unwrap();
    assert!(read(namenode.cluster, &nodes[0], 1).await.unwrap() == data);

    for (refused, code) in [
        (v1::WriteHeader { generation: GENERATION + 2, ..recover.clone() }, ErrorCode::StaleChunk),
        (
            v1::WriteHeader { generation: GENERATION + 3, min_length: 3 << 20, ..recover.clone() },
            ErrorCode::StaleChunk,
        ),
        (v1::WriteHeader { chunk: 77, ..recover }, ErrorCode::NotFound),
    ] {
        let (error, failed) = Writing::open(&nodes[0], refused).await.err().unwrap();
        assert_eq!((error.code, failed), (code, 0), "{error}");
    }
}

#[tokio::test]
async fn a_node_joins_a_pipeline_by_a_transfer() {
    let (namenode, nodes) = cluster(3).await;
    let [a, b, c] = [&nodes[0], &nodes[1], &nodes[2]];
    let data = bytes(2 << 20);
    begin(namenode.cluster, &[a], &data).await.hang_up();
    let request = v1::TransferRequest {
        cluster: namenode.cluster.as_bytes().to_vec(),
        target: a.id.as_bytes().to_vec(),
        chunk: 1,
        generation: GENERATION,
        new_generation: GENERATION + 1,
        to: vec![b.endpoint(), c.endpoint()],
    };
    let length = connect(a).await.transfer(request).await.unwrap().into_inner().length;
    assert_eq!(length, (512 << 10) + 100);
    for node in [b, c] {
        assert_eq!(namenode.replica(node, 1), Some((GENERATION + 1, length, Rbw)));
    }
    let recover = v1::WriteHeader {
        generation: GENERATION + 1,
        stage: v1::WriteStage::Recover.into(),
        min_length: length,
        ..header(namenode.cluster, &[a, b, c], 1)
    };
    let mut writing = Writing::open(a, recover).await.unwrap();
    writing.finish(0, 512 << 10, &data[512 << 10..], 512 << 10).await.unwrap();
    for node in &nodes {
        assert_eq!(namenode.replica(node, 1), Some((GENERATION + 1, 2 << 20, Finalized)));
        assert!(read(namenode.cluster, node, 1).await.unwrap() == data);
    }
}

#[tokio::test]
async fn many_streams_at_once_all_complete() {
    let (namenode, nodes) = cluster(3).await;
    let data = bytes(512 << 10);
    let writes = (0..40_u64).map(|number| {
        let order: Vec<&Node> = (0..3).map(|step| &nodes[(number as usize + step) % 3]).collect();
        let (cluster, data) = (namenode.cluster, &data);
        async move { write(cluster, &order, 100 + number, data).await }
    });
    futures_util::future::join_all(writes).await;
    for node in &nodes {
        let count = namenode.with(|known| {
            known.replicas[&node.id].values().filter(|record| record.state == Finalized).count()
        });
        assert_eq!(count, 40);
    }
    assert!(data.len() < limits::PACKET_BYTES * 4, "several packets a chunk");
}
