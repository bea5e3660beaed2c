//! Starting, registering, stopping, and being refused.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use dfs_daemon::Shutdown;
use dfs_datanode::DataNode;
use dfs_types::ReplicaState::Finalized;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::cluster::{FakeNamenode, Node, cluster, config, until};
use crate::wire::{GENERATION, Writing, bytes, header, packet, read, write};

pub(crate) async fn get(node: &Node, path: &str) -> String {
    get_from(node.http, path).await
}

/// The same of an address.
pub(crate) async fn get_from(http: SocketAddr, path: &str) -> String {
    let mut socket = tokio::net::TcpStream::connect(http).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_node_tells_where_it_is_while_it_runs() {
    let (namenode, mut nodes) = cluster(1).await;
    let node = &mut nodes[0];
    let file = node.volumes[0].join("addresses.json");
    let addresses: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(addresses["rpc"], node.data.to_string());
    assert_eq!(addresses["http"], node.http.to_string());
    assert_eq!(addresses["pid"], std::process::id());
    let deadline = Instant::now() + Duration::from_mins(1);
    while !get(node, "/readyz").await.starts_with("HTTP/1.1 200") {
        assert!(Instant::now() < deadline);
    }
    write(namenode.cluster, &[node], 1, &bytes(5_000)).await;
    let metrics = get(node, "/metrics").await;
    for line in ["dfs_datanode_written_bytes_total 5000", "dfs_datanode_fsync_seconds_count 1"] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    node.stop().await;
    assert!(!file.exists());
    let last = namenode.with(|known| known.heartbeats[&node.id].clone());
    assert!(last.stopping);
}

#[tokio::test]
async fn a_stop_lets_sessions_end() {
    let (namenode, mut nodes) = cluster(1).await;
    let node = &mut nodes[0];
    let data = bytes(2_000);
    let mut writing = Writing::open(node, header(namenode.cluster, &[node], 1)).await.unwrap();
    writing.put(packet(0, 0, &data[..512])).await.unwrap();
    let stopping = node.stop();
    let finishing = async {
        until("the stop is known", || {
            namenode.with(|known| known.heartbeats.values().any(|heartbeat| heartbeat.stopping))
        })
        .await;
        writing.finish(1, 512, &data[512..], 512).await.unwrap();
    };
    tokio::join!(stopping, finishing);
    assert_eq!(namenode.replica(&nodes[0], 1), Some((GENERATION, 2_000, Finalized)));
    let node = nodes.remove(0).restart(&namenode).await;
    assert_eq!(read(namenode.cluster, &node, 1).await.unwrap(), data);
}

#[tokio::test]
async fn a_namenode_that_forgot_is_told_everything_again() {
    let (namenode, nodes) = cluster(1).await;
    write(namenode.cluster, &[&nodes[0]], 1, &bytes(10)).await;
    namenode.with(|known| {
        known.incarnations.clear();
        known.replicas.clear();
        known.reported.clear();
    });
    namenode.told(&nodes[0], 1, Some((GENERATION, 10, Finalized))).await;
    write(namenode.cluster, &[&nodes[0]], 2, &bytes(10)).await;
    assert_eq!(namenode.replica(&nodes[0], 2), Some((GENERATION, 10, Finalized)));
}

#[tokio::test]
async fn a_restarted_node_is_the_same_node_at_another_port() {
    let (namenode, mut nodes) = cluster(1).await;
    let node = nodes.remove(0);
    let (id, before) = (node.id, namenode.with(|known| known.incarnations.clone()));
    write(namenode.cluster, &[&node], 1, &bytes(10)).await;
    let node = node.restart(&namenode).await;
    assert_eq!(node.id, id);
    assert_ne!(namenode.with(|known| known.incarnations.clone()), before);
    assert_eq!(read(namenode.cluster, &node, 1).await.unwrap(), bytes(10));
}

#[tokio::test]
async fn another_clusters_namenode_ends_the_node() {
    let (namenode, mut nodes) = cluster(1).await;
    let mut node = nodes.remove(0);
    node.stop().await;
    let other = FakeNamenode::start().await;
    let config = config(other.address, &[&node.volumes[0]], &[]);
    let node = DataNode::start(config, prometheus::Registry::new(), Shutdown::new()).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_mins(1), node.ended()).await.unwrap();
    let message = ended.unwrap_err().to_string();
    assert!(message.contains(&other.cluster.to_string()), "{message}");
    assert_ne!(other.cluster, namenode.cluster);
}

/// Runs the binary to its end, which must come soon.
fn run(volume: &Path, more: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_dfs-datanode"))
        .arg("run")
        .arg("--volume")
        .arg(volume)
        .args(["--namenode", "127.0.0.1:1", "--http", "127.0.0.1:0"])
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().unwrap()
}

#[tokio::test]
async fn mistakes_end_the_process_with_one_sentence() {
    let (_namenode, nodes) = cluster(2).await;
    let fresh = tempfile::tempdir().unwrap();
    let file = fresh.path().join("file");
    std::fs::write(&file, b"x").unwrap();
    let taken = nodes[0].data.to_string();
    let free = ["--listen", "127.0.0.1:0"];
    for (volume, more, says) in [
        (nodes[0].volumes[0].as_path(), &free[..], "in use by another process"),
        (fresh.path(), &["--listen", &taken][..], "the port is in use"),
        (file.as_path(), &free[..], "cannot create the directory"),
    ] {
        let output = run(volume, more);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let last = stderr.lines().last().unwrap();
        assert!(last.starts_with("error: ") && last.contains(says), "{stderr}");
    }
}

#[tokio::test]
async fn the_process_stops_cleanly_on_sigterm() {
    let namenode = FakeNamenode::start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_dfs-datanode"))
        .arg("run")
        .env("DFS_DATANODE_VOLUME", dir.path())
        .env("DFS_DATANODE_NAMENODE", namenode.address.to_string())
        .env("DFS_DATANODE_LISTEN", "127.0.0.1:0")
        .env("DFS_DATANODE_HTTP", "127.0.0.1:0")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    until("the process is known", || namenode.with(|known| !known.reported.is_empty())).await;
    assert!(dir.path().join("addresses.json").exists());
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let mut status = None;
    until("the process has ended", || {
        status = child.try_wait().unwrap();
        status.is_some()
    })
    .await;
    assert_eq!(status.unwrap().code(), Some(0));
    assert!(!dir.path().join("addresses.json").exists());
    assert!(namenode.with(|known| known.heartbeats.values().all(|heartbeat| heartbeat.stopping)));
}

#[tokio::test]
async fn volumes_of_two_nodes_are_not_mixed() {
    let (namenode, mut nodes) = cluster(2).await;
    for node in &mut nodes {
        node.stop().await;
    }
    let config = config(namenode.address, &[&nodes[0].volumes[0], &nodes[1].volumes[0]], &[]);
    let refused = DataNode::start(config, prometheus::Registry::new(), Shutdown::new()).await;
    let message = refused.unwrap_err().to_string();
    assert!(message.contains("belongs to node"), "{message}");
}
