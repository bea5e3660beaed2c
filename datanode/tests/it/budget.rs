//! Memory, sessions and connections have limits, and above them others wait.

use std::time::Duration;

use dfs_proto::v1;
use dfs_types::ErrorCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::cluster::{FakeNamenode, Node, until};
use crate::wire::{GENERATION, Writing, bytes, header, packet, read};

/// Memory of the nodes in these tests: room for a handful of sessions.
const MEMORY: u64 = 20 << 20;
/// Pipelines that begin at the same time.
const WRITERS: usize = 200;

/// The value of a metric of a node.
async fn metric(node: &Node, name: &str) -> u64 {
    let mut stream = TcpStream::connect(node.http).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("{name} is not in {page}")).parse().unwrap()
}

async fn small_nodes(count: usize) -> (FakeNamenode, Vec<Node>) {
    // Clients and nodes share one process here.
    dfs_daemon::limits::raise_open_files();
    let namenode = FakeNamenode::start().await;
    let mut nodes = Vec::new();
    for _ in 0..count {
        nodes.push(Node::start_with(&namenode, 1, &["--memory", &MEMORY.to_string()]).await);
    }
    (namenode, nodes)
}

/// Pipelines that begin at each of three nodes and go round, many more than there is memory for: whoever finds no room is
/// told so and comes again, everybody ends, and no node gives more memory than it has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pipelines_beyond_the_memory_wait_and_all_of_them_end() {
    let (namenode, nodes) = small_nodes(3).await;
    let (cluster, nodes) = (namenode.cluster, std::sync::Arc::new(nodes));
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        let nodes = std::sync::Arc::clone(&nodes);
        writers.spawn(async move {
            let route: Vec<&Node> = (0..3).map(|hop| &nodes[(number + hop) % 3]).collect();
            let data = bytes(200_000 + number);
            for chunk in (number as u64 + 1..).step_by(WRITERS) {
                match Writing::open(route[0], header(cluster, &route, chunk)).await {
                    Ok(mut writing) => {
                        writing.finish(0, 0, &data, 64 << 10).await.unwrap();
                        return (number, chunk);
                    }
                    Err((error, _)) => assert_eq!(error.code, ErrorCode::Busy, "{error}"),
                }
            }
            unreachable!("chunks do not run out");
        });
    }
    while let Some(written) = writers.join_next().await {
        let (number, chunk) = written.unwrap();
        let last = &nodes[(number + 2) % 3];
        assert!(read(cluster, last, chunk).await.unwrap() == bytes(200_000 + number), "{number}");
    }
    for node in nodes.iter() {
        let (peak, total) = (
            metric(node, "dfs_datanode_memory_peak_bytes").await,
            metric(node, "dfs_datanode_memory_budget_bytes").await,
        );
        assert!(total == MEMORY && peak <= total && peak > total / 2, "{peak} of {total}");
        let taken = || metric(node, "dfs_datanode_memory_taken_bytes");
        while taken().await > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Writers that hold all memory and write nothing: one that has something to write gets room, and those go on when they have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_writers_make_way_and_go_on_later() {
    let (namenode, nodes) = small_nodes(1).await;
    let (cluster, node) = (namenode.cluster, &nodes[0]);
    let data = bytes(100_000);
    let mut idle = Vec::new();
    let mut chunk = 1;
    loop {
        match Writing::open(node, header(cluster, &[node], chunk)).await {
            Ok(mut writing) => {
                writing.put(packet(0, 0, &data[..51_200])).await.unwrap();
                idle.push((chunk, writing));
            }
            Err((error, position)) => {
                assert_eq!((error.code, position), (ErrorCode::Busy, 0), "{error}");
                break;
            }
        }
        chunk += 1;
        assert!(chunk < 100, "{MEMORY} bytes are not enough for so many sessions");
    }
    // It is refused until they have been idle for long enough.
    let deadline = tokio::time::Instant::now() + Duration::from_mins(2);
    let mut writing = loop {
        chunk += 1;
        match Writing::open(node, header(cluster, &[node], chunk)).await {
            Ok(writing) => break writing,
            Err((error, _)) => assert_eq!(error.code, ErrorCode::Busy),
        }
        assert!(tokio::time::Instant::now() < deadline, "idle writers do not make way");
    };
    writing.finish(0, 0, &data, 64 << 10).await.unwrap();
    let mut made_way = 0;
    for (chunk, mut writing) in idle {
        writing.send(v1::Packet { last: true, ..packet(1, 51_200, &data[51_200..]) }).await;
        let Err((error, position)) = writing.ack(1).await else { continue };
        assert_eq!((error.code, position), (ErrorCode::Busy, 0), "{error}");
        made_way += 1;
        let mut again = v1::WriteHeader {
            generation: GENERATION + 1,
            min_length: 51_200,
            stage: v1::WriteStage::Recover.into(),
            ..header(cluster, &[node], chunk)
        };
        let mut writing = loop {
            match Writing::open(node, again.clone()).await {
                Ok(writing) => break writing,
                Err((error, _)) => assert_eq!(error.code, ErrorCode::Busy, "{error}"),
            }
            again.generation += 1;
        };
        writing.finish(0, 51_200, &data[51_200..], 64 << 10).await.unwrap();
        assert!(read(cluster, node, chunk).await.unwrap() == data);
    }
    assert!(made_way > 0);
    assert_eq!(metric(node, "dfs_datanode_idle_writers_total").await, made_way);
}

/// A node that has all bytes of a chunk and waits for the NameNode needs no room for more.
#[tokio::test]
async fn memory_comes_back_when_the_last_packet_is_there() {
    let (namenode, nodes) = small_nodes(1).await;
    let node = &nodes[0];
    let mut writing = Writing::open(node, header(namenode.cluster, &[node], 1)).await.unwrap();
    writing.put(packet(0, 0, &bytes(51_200))).await.unwrap();
    let taken = || metric(node, "dfs_datanode_memory_taken_bytes");
    assert!(taken().await > 1 << 20);
    namenode.with(|known| known.hangs_on_reports = true);
    writing.send(v1::Packet { last: true, ..packet(1, 51_200, &[]) }).await;
    // The window of its stream.
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    while taken().await != 128 << 10 {
        assert!(tokio::time::Instant::now() < deadline, "it keeps more than it needs");
    }
    namenode.with(|known| known.hangs_on_reports = false);
    writing.ack(1).await.unwrap();
}

/// A sender that goes while its session waits for memory takes its place in the queue along.
#[tokio::test]
async fn who_is_gone_waits_for_no_memory() {
    let (namenode, nodes) = small_nodes(1).await;
    let (cluster, node) = (namenode.cluster, &nodes[0]);
    let mut held = Vec::new();
    for chunk in 1.. {
        match Writing::open(node, header(cluster, &[node], chunk)).await {
            Ok(writing) => held.push(writing),
            Err(_) => break,
        }
    }
    let refused = || metric(node, "dfs_datanode_memory_refused_total");
    let before = refused().await;
    let waiting = async |count| {
        let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
        while metric(node, "dfs_datanode_memory_waiting").await != count {
            assert!(tokio::time::Instant::now() < deadline, "{count} sessions wait");
        }
    };
    let first = v1::write_request::Kind::Header(header(cluster, &[node], 1_000));
    let writing = Writing::begin(node, v1::WriteRequest { kind: Some(first) }).await;
    waiting(1).await;
    drop(writing);
    waiting(0).await;
    assert_eq!(refused().await, before, "it was not there until it was refused");
}

/// Connections that say nothing cost the node nothing that others need.
#[tokio::test]
async fn silent_connections_do_not_stop_others() {
    let (namenode, nodes) = small_nodes(1).await;
    let node = &nodes[0];
    let mut silent = Vec::new();
    for _ in 0..300 {
        silent.push(TcpStream::connect(node.data).await.unwrap());
    }
    let data = bytes(100_000);
    crate::wire::write(namenode.cluster, &[node], 1, &data).await;
    assert!(read(namenode.cluster, node, 1).await.unwrap() == data);
    let connections = "dfs_datanode_connections{port=\"data\"}";
    while metric(node, connections).await < silent.len() as u64 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    silent.clear();
    while metric(node, connections).await > 10 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    until("the node still reports", || namenode.replica(node, 1).is_some()).await;
}
