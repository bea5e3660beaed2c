//! Requests that are wrong, and bytes that are not what they should be.

use bytes::Bytes;
use dfs_proto::{convert, v1};
use dfs_types::ErrorCode::{
    self, AlreadyExists, Corrupt, InvalidArgument, NoSpace, NotFound, StaleChunk, WrongCluster,
};
use dfs_types::{ClusterId, NodeId, limits};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::cluster::{FakeNamenode, Node, cluster, until};
use crate::wire::{
    GENERATION, Writing, bytes, connect, header, packet, read, read_range, read_request, write,
};

#[tokio::test]
async fn bad_headers_are_refused_by_the_node_they_are_about() {
    let (namenode, nodes) = cluster(2).await;
    let [a, b] = [&nodes[0], &nodes[1]];
    let good = header(namenode.cluster, &[a], 1);
    let stranger = ClusterId::random().as_bytes().to_vec();
    let missing = v1::Node { id: NodeId::random().as_bytes().to_vec(), ..b.endpoint() };
    let cases: [(v1::WriteHeader, ErrorCode, u32); 10] = [
        (v1::WriteHeader { cluster: vec![1; 3], ..good.clone() }, InvalidArgument, 0),
        (v1::WriteHeader { cluster: stranger, ..good.clone() }, WrongCluster, 0),
        (v1::WriteHeader { target: b.id.as_bytes().to_vec(), ..good.clone() }, WrongCluster, 0),
        (v1::WriteHeader { stage: 99, ..good.clone() }, InvalidArgument, 0),
        (v1::WriteHeader { chunk_size: 0, ..good.clone() }, InvalidArgument, 0),
        (v1::WriteHeader { chunk_size: u64::MAX, ..good.clone() }, InvalidArgument, 0),
        (v1::WriteHeader { generation: 0, ..good.clone() }, InvalidArgument, 0),
        (v1::WriteHeader { bytes_per_checksum: 0, ..good.clone() }, InvalidArgument, 0),
        (v1::WriteHeader { downstream: vec![b.endpoint(); 16], ..good.clone() }, InvalidArgument, 0),
        (v1::WriteHeader { downstream: vec![missing], ..good.clone() }, WrongCluster, 1),
    ];
    for (header, code, position) in cases {
        let (error, failed) = Writing::open(a, header.clone()).await.err().unwrap();
        assert_eq!((error.code, failed), (code, position), "{header:?}: {error}");
    }
    for first in [
        v1::WriteRequest { kind: None },
        v1::WriteRequest { kind: Some(v1::write_request::Kind::Packet(packet(0, 0, b"x"))) },
    ] {
        match Writing::begin(a, first).await.reply().await {
            Some(v1::write_reply::Kind::Setup(setup)) => {
                assert_eq!(setup.error.map(|error| error.code), Some(InvalidArgument.number()));
            }
            other => panic!("{other:?}"),
        }
    }
    until("nothing is left", || a.files(1).is_empty() && b.files(1).is_empty()).await;
    write(namenode.cluster, &[a, b], 1, b"fine").await;
    let (error, _) = Writing::open(a, good).await.err().unwrap();
    assert_eq!(error.code, AlreadyExists);
}

#[tokio::test]
async fn bad_packets_end_the_session_and_write_nothing() {
    let (namenode, nodes) = cluster(2).await;
    let [a, b] = [&nodes[0], &nodes[1]];
    let data = bytes(1_024);
    let good = packet(1, 512, &data[512..]);
    let huge = bytes(limits::MAX_PACKET_BYTES + 512);
    let cases = [
        (v1::Packet { sequence: 7, ..good.clone() }, None),
        (v1::Packet { offset: 500, ..good.clone() }, Some(InvalidArgument)),
        (v1::Packet { offset: 1_024, ..good.clone() }, Some(InvalidArgument)),
        (v1::Packet { offset: u64::MAX - 511, ..good.clone() }, Some(InvalidArgument)),
        (packet(1, 512, &data[512..600]), Some(InvalidArgument)),
        (packet(1, 512, &huge), Some(InvalidArgument)),
        (v1::Packet { checksums: Bytes::new(), ..good.clone() }, Some(Corrupt)),
        (v1::Packet { data: Bytes::from(vec![0; 512]), ..good.clone() }, Some(Corrupt)),
    ];
    for (chunk, (bad, code)) in (10..).zip(cases) {
        let mut writing = Writing::open(a, header(namenode.cluster, &[a, b], chunk)).await.unwrap();
        writing.put(v1::Packet { flush: true, ..packet(0, 0, &data[..512]) }).await.unwrap();
        writing.send(bad).await;
        match (writing.reply().await, code) {
            (Some(v1::write_reply::Kind::Ack(ack)), Some(code)) => {
                let error = convert::from_detail(&ack.error.unwrap());
                // Every node checks, so the first one says it.
                assert_eq!((error.code, ack.failed), (code, 0), "{chunk}: {error}");
                assert_eq!(writing.reply().await, None);
            }
            (None, None) => {}
            (reply, code) => panic!("{chunk}: {reply:?} instead of {code:?}"),
        }
        for node in [a, b] {
            assert_eq!(read(namenode.cluster, node, chunk).await.unwrap(), data[..512]);
        }
    }
}

#[tokio::test]
async fn bad_reads_are_refused() {
    let (namenode, nodes) = cluster(1).await;
    let node = &nodes[0];
    write(namenode.cluster, &[node], 1, &bytes(1_000)).await;
    let good = read_request(namenode.cluster, node, 1);
    for (request, code) in [
        (v1::ReadRequest { cluster: Vec::new(), ..good.clone() }, InvalidArgument),
        (v1::ReadRequest { cluster: vec![1; 16], ..good.clone() }, WrongCluster),
        (v1::ReadRequest { target: vec![1; 16], ..good.clone() }, WrongCluster),
        (v1::ReadRequest { chunk: 2, ..good.clone() }, NotFound),
        (v1::ReadRequest { generation: GENERATION + 1, ..good.clone() }, StaleChunk),
        (v1::ReadRequest { offset: u64::MAX, ..good.clone() }, InvalidArgument),
    ] {
        assert_eq!(read_range(node, request).await.unwrap_err().code, code);
    }
    let older = v1::ReadRequest { generation: 1, packet_bytes: u32::MAX, length: u64::MAX, ..good };
    assert_eq!(read_range(node, older).await.unwrap(), bytes(1_000));
    let replica = v1::GetReplicaRequest {
        cluster: namenode.cluster.as_bytes().to_vec(),
        target: node.id.as_bytes().to_vec(),
        chunk: 1,
    };
    let reply = connect(node).await.get_replica(replica).await.unwrap().into_inner();
    assert_eq!(reply.replica.map(|replica| replica.length), Some(1_000));
}

#[tokio::test]
async fn garbage_on_the_data_port_hurts_nobody() {
    let (namenode, nodes) = cluster(1).await;
    for garbage in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 3_000], b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\xff\xff"]
    {
        let mut socket = tokio::net::TcpStream::connect(nodes[0].data).await.unwrap();
        socket.write_all(garbage).await.unwrap();
        let mut answer = Vec::new();
        // The node hangs up, whatever it says before.
        let end = tokio::time::timeout(std::time::Duration::from_mins(1), socket.read_to_end(&mut answer));
        let _ = end.await.unwrap();
    }
    write(namenode.cluster, &[&nodes[0]], 1, b"fine").await;
    assert_eq!(read(namenode.cluster, &nodes[0], 1).await.unwrap(), b"fine");
}

#[tokio::test]
async fn a_volume_below_its_reserve_takes_nothing() {
    let namenode = FakeNamenode::start().await;
    let full = Node::start_with(&namenode, 1, &["--reserve", "1000000t"]).await;
    let roomy = Node::start(&namenode).await;
    let (error, failed) =
        Writing::open(&roomy, header(namenode.cluster, &[&roomy, &full], 1)).await.err().unwrap();
    assert_eq!((error.code, failed), (NoSpace, 1));
    let heartbeat = namenode.with(|known| known.heartbeats[&full.id].clone());
    assert_eq!(heartbeat.volumes[0].available, 0);
    assert!(heartbeat.volumes[0].capacity > 0);
}
