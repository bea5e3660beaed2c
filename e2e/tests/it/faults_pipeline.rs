//! DataNodes that die or hang while a file is written or read: at every stage, whatever their position.
//!
//! The pipeline of three nodes is in an order that the test does not choose; each of the three is hit in turn.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dfs_client::{CreateOptions, Dfs, FileWriter};
use dfs_e2e::{content, wait};
use dfs_local::{Daemon, Options, TestCluster};
use dfs_types::FsPath;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PATIENCE: Duration = Duration::from_mins(1);
const NODES: u16 = 3;

/// Nodes are not taken for dead here, so that only what the pipeline itself notices counts.
async fn cluster() -> Result<TestCluster> {
    let namenode_args = ["--heartbeat-interval", "200ms", "--stale-after", "1m", "--dead-after", "10m"]
        .map(str::to_owned)
        .to_vec();
    Ok(TestCluster::start(Options { datanodes: NODES, namenode_args, ..Options::default() }).await?)
}

/// A client that holds nothing against any node yet, and gives up a pipeline soon but never a read.
async fn client(cluster: &TestCluster) -> Result<Dfs> {
    let addresses = cluster.namenode_addresses().await?;
    let builder = addresses.into_iter().fold(Dfs::builder(), dfs_client::Builder::namenode);
    let (soon, never) = (Duration::from_secs(6), Duration::from_hours(1));
    Ok(builder.ack_timeout(soon).stall_timeout(never).connect().await?)
}

fn path(text: &str) -> FsPath {
    FsPath::parse(text).expect("a valid path")
}

async fn get(dfs: &Dfs, path: &FsPath) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    dfs.open(path).await?.read_to_end(&mut data).await?;
    Ok(data)
}

/// Ports of the nodes that have the file's only chunk.
async fn holders(dfs: &Dfs, path: &FsPath) -> Result<Vec<u16>> {
    let located = dfs.locate(path, 0..u64::MAX).await?;
    let chunk = located.chunks.first().context("the file has a chunk")?;
    let mut ports: Vec<u16> = chunk.nodes.iter().map(|node| node.at.data_port).collect();
    ports.sort_unstable();
    Ok(ports)
}

async fn ports(cluster: &TestCluster, but: Daemon) -> Result<Vec<u16>> {
    let all = cluster.status().await?.into_iter();
    let others = all.filter(|status| matches!(status.daemon, Daemon::DataNode(_)) && status.daemon != but);
    let port = |address: String| address.rsplit_once(':')?.1.parse().ok();
    let mut ports: Vec<u16> = others.filter_map(|status| status.address.and_then(port)).collect();
    ports.sort_unstable();
    Ok(ports)
}

/// What is done to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blow {
    Kill,
    Pause,
}

impl Blow {
    async fn strike(self, cluster: &TestCluster, node: Daemon) -> Result<()> {
        match self {
            Self::Kill => cluster.kill(node).await?,
            Self::Pause => cluster.pause(node).await?,
        }
        Ok(())
    }

    /// Brings the node back, and waits until it is of use again.
    async fn undo(self, cluster: &TestCluster, node: Daemon, number: u16) -> Result<()> {
        match self {
            Self::Kill => cluster.start(node).await?,
            Self::Pause => cluster.resume(node).await?,
        }
        // A file that needs all nodes: each may have lost its place for a moment only.
        let probe = path(&format!("/probe{self:?}{number}"));
        let options = || CreateOptions { overwrite: true, ..CreateOptions::default() };
        let dfs = client(cluster).await?;
        wait::until("the node takes part again", PATIENCE, || async {
            let mut writer = dfs.create(&probe, options()).await?;
            writer.write_all(b"probe").await?;
            writer.close().await?;
            let there = holders(&dfs, &probe).await?.len();
            ensure!(there == usize::from(NODES), "{there} nodes");
            Ok(())
        })
        .await
    }
}

/// The node struck is out of the chunk, no other one is, and every byte is there.
async fn check(cluster: &TestCluster, dfs: &Dfs, file: &FsPath, data: &[u8], struck: Daemon) -> Result<()> {
    let (there, expected) = (holders(dfs, file).await?, ports(cluster, struck).await?);
    ensure!(there == expected, "{struck:?} was struck: nodes {there:?} have the chunk, not {expected:?}");
    ensure!(get(dfs, file).await? == data, "wrong bytes were returned");
    Ok(())
}

async fn started(dfs: &Dfs, file: &FsPath, data: &[u8]) -> Result<FileWriter> {
    let mut writer = dfs.create(file, CreateOptions::default()).await?;
    writer.write_all(data).await?;
    // Every node of the pipeline has it now.
    writer.hflush().await?;
    Ok(writer)
}

async fn at_setup(blow: Blow) -> Result<()> {
    let cluster = cluster().await?;
    let data = content::bytes(1, 1 << 20);
    for number in 1..=NODES {
        let dfs = client(&cluster).await?;
        let (node, file) = (Daemon::DataNode(number), path(&format!("/setup{number}")));
        blow.strike(&cluster, node).await?;
        let mut writer = dfs.create(&file, CreateOptions::default()).await?;
        writer.write_all(&data).await?;
        writer.close().await?;
        check(&cluster, &dfs, &file, &data, node).await?;
        blow.undo(&cluster, node, number).await?;
    }
    Ok(())
}

async fn amid_data(blow: Blow) -> Result<()> {
    let cluster = cluster().await?;
    let data = content::bytes(2, 12 << 20);
    for number in 1..=NODES {
        let dfs = client(&cluster).await?;
        let (node, file) = (Daemon::DataNode(number), path(&format!("/data{number}")));
        let mut writer = started(&dfs, &file, &data[..1 << 20]).await?;
        blow.strike(&cluster, node).await?;
        writer.write_all(&data[1 << 20..]).await?;
        writer.close().await?;
        check(&cluster, &dfs, &file, &data, node).await?;
        blow.undo(&cluster, node, number).await?;
    }
    Ok(())
}

async fn at_close(blow: Blow) -> Result<()> {
    let cluster = cluster().await?;
    let data = content::bytes(3, (1 << 20) + 77);
    for number in 1..=NODES {
        let dfs = client(&cluster).await?;
        let (node, file) = (Daemon::DataNode(number), path(&format!("/close{number}")));
        let writer = started(&dfs, &file, &data).await?;
        // Only the end is left to be acknowledged, and this node can't.
        cluster.pause(node).await?;
        let close = async { Ok::<_, anyhow::Error>(writer.close().await?) };
        if blow == Blow::Kill {
            tokio::try_join!(close, blow.strike(&cluster, node))?;
        } else {
            close.await?;
        }
        check(&cluster, &dfs, &file, &data, node).await?;
        blow.undo(&cluster, node, number).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_at_setup_costs_only_its_own_place() -> Result<()> {
    at_setup(Blow::Kill).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hangs_at_setup_costs_only_its_own_place() -> Result<()> {
    at_setup(Blow::Pause).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_amid_data_costs_only_its_own_place() -> Result<()> {
    amid_data(Blow::Kill).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hangs_amid_data_costs_only_its_own_place() -> Result<()> {
    amid_data(Blow::Pause).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_at_close_costs_only_its_own_place() -> Result<()> {
    at_close(Blow::Kill).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hangs_at_close_costs_only_its_own_place() -> Result<()> {
    at_close(Blow::Pause).await
}

/// A node that stops in the middle of a read is overtaken by another replica, long before the read would be given up.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hangs_amid_a_read_is_overtaken() -> Result<()> {
    let cluster = cluster().await?;
    let dfs = client(&cluster).await?;
    let file = path("/read");
    // More than what is on its way to a reader that does not read.
    let data = content::bytes(4, 64 << 20);
    let mut writer = dfs.create(&file, CreateOptions::default()).await?;
    writer.write_all(&data).await?;
    writer.close().await?;
    for number in 1..=NODES {
        let mut reader = dfs.open(&file).await?;
        let mut start = vec![0; 1 << 20];
        reader.read_exact(&mut start).await?;
        cluster.pause(Daemon::DataNode(number)).await?;
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).await?;
        ensure!([start, rest].concat() == data, "wrong bytes were returned");
        // And from its beginning, with the node among those to choose from.
        ensure!(get(&dfs, &file).await? == data, "wrong bytes were returned");
        cluster.resume(Daemon::DataNode(number)).await?;
    }
    Ok(())
}
