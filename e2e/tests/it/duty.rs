//! DataNodes are taken out and back, and filled evenly, while the cluster works.

use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use dfs_client::{
    BalancerAction, CreateOptions, Dfs, Duty, DutyState, FsckEntry, FsckFile, FsckSummary, NodeReport,
    NodeState,
};
use dfs_e2e::{content, wait};
use dfs_local::{Daemon, Lifetime, LocalCluster, Options, TestCluster, programs};
use dfs_types::{ErrorCode, FsPath, NodeId};
use futures_util::TryStreamExt;
use tokio::sync::watch;

use crate::faults::{self, SmallDisk, get, path, put};

/// Recovery is quick here; the rest is margin for slow machines.
const PATIENCE: Duration = Duration::from_mins(2);
/// Bytes of a chunk.
const CHUNK: u64 = 1 << 20;

/// As elsewhere; and a node that is stopped cleanly is missed as soon as one that is killed.
fn quick() -> Options {
    let mut options = faults::quick();
    options.namenode_args.extend(["--restart-grace", "3s"].map(str::to_owned));
    options
}

fn of(replication: u32) -> CreateOptions {
    CreateOptions { chunk_size: Some(CHUNK), replication: Some(replication), ..CreateOptions::default() }
}

/// Puts a few files; answers what is in them.
async fn fill(dfs: &Dfs, count: u64, length: usize, replication: u32) -> Result<Vec<(FsPath, Vec<u8>)>> {
    let mut files = Vec::new();
    for number in 0..count {
        let (at, data) = (path(&format!("/kept-{number}")), content::bytes(number, length));
        put(dfs, &at, &data, of(replication)).await?;
        files.push((at, data));
    }
    Ok(files)
}

async fn all_there(dfs: &Dfs, files: &[(FsPath, Vec<u8>)]) -> Result<()> {
    for (at, data) in files {
        ensure!(get(dfs, at).await? == *data, "{at} has other bytes");
    }
    Ok(())
}

async fn fsck(dfs: &Dfs, at: &FsPath) -> Result<(Vec<FsckFile>, FsckSummary)> {
    let mut entries = dfs.fsck(at).await?;
    let mut files = Vec::new();
    while let Some(entry) = entries.try_next().await? {
        match entry {
            FsckEntry::File(file) => files.push(file),
            FsckEntry::Summary(summary) => return Ok((files, summary)),
        }
    }
    bail!("fsck ended without a summary")
}

/// Checks that every chunk has exactly the replicas wanted.
async fn clean(dfs: &Dfs) -> Result<()> {
    let (_, summary) = fsck(dfs, &FsPath::root()).await?;
    let FsckSummary { under_replicated, over_replicated, missing, corrupt, healthy, .. } = summary;
    ensure!(healthy && under_replicated + over_replicated + missing + corrupt == 0, "{summary:?}");
    Ok(())
}

async fn node(dfs: &Dfs, id: NodeId) -> Result<NodeReport> {
    let nodes = dfs.report().await?.nodes;
    nodes.into_iter().find(|node| node.node.id == id).with_context(|| format!("{id} is not known"))
}

/// The id of a DataNode of the local cluster.
async fn id_of(cluster: &LocalCluster, daemon: Daemon) -> Result<NodeId> {
    let status = cluster.status().await?;
    let address = status.into_iter().find(|status| status.daemon == daemon).and_then(|status| status.address);
    let address = address.with_context(|| format!("{daemon} has no address"))?;
    let nodes = cluster.client().await?.report().await?.nodes;
    let found = nodes.into_iter().find(|node| node.node.address() == address);
    Ok(found.with_context(|| format!("{address} is not registered"))?.node.id)
}

async fn until_duty(dfs: &Dfs, id: NodeId, wanted: DutyState) -> Result<()> {
    wait::until(&format!("{wanted:?}"), PATIENCE, || async {
        let node = node(dfs, id).await?;
        ensure!(node.duty == wanted, "it is {:?}, {} chunks depend on it", node.duty, node.depending_chunks);
        Ok(())
    })
    .await
}

async fn until_state(dfs: &Dfs, id: NodeId, wanted: NodeState) -> Result<()> {
    wait::until(&format!("{wanted:?}"), PATIENCE, || async {
        let found = node(dfs, id).await?.state;
        ensure!(found == wanted, "it is {found:?}");
        Ok(())
    })
    .await
}

/// Puts files and reads them back until told to stop; answers them.
async fn traffic(dfs: Dfs, stop: watch::Receiver<bool>) -> Result<Vec<(FsPath, Vec<u8>)>> {
    let mut files: Vec<(FsPath, Vec<u8>)> = Vec::new();
    while !*stop.borrow() {
        let number = files.len() as u64;
        let (at, data) = (path(&format!("/busy-{number}")), content::bytes(1_000 + number, 1_500_000));
        put(&dfs, &at, &data, of(3)).await.with_context(|| format!("putting {at}"))?;
        files.push((at, data));
        let (at, data) = &files[files.len() / 2];
        ensure!(
            get(&dfs, at).await.with_context(|| format!("getting {at}"))? == *data,
            "{at} has other bytes"
        );
    }
    Ok(files)
}

/// Runs `dfs` against the cluster; answers its exit status and what it printed.
async fn dfs_command(cluster: &LocalCluster, words: &[&str]) -> Result<(Option<i32>, String)> {
    let mut command = Command::new(programs()?.join("dfs"));
    command.args(words).args(["--namenode", &cluster.namenode_addresses().await?.join(",")]);
    let output = tokio::task::spawn_blocking(move || command.stdin(Stdio::null()).output()).await??;
    let text = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8(text)?))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_decommissioned_under_load_while_leaders_change() -> Result<()> {
    let cluster = TestCluster::start(Options { namenodes: 3, datanodes: 4, ..quick() }).await?;
    let dfs = cluster.client().await?;
    let files = fill(&dfs, 6, 3 << 20, 3).await?;
    let daemon = Daemon::DataNode(2);
    let id = id_of(&cluster, daemon).await?;
    let (stop, stopped) = watch::channel(false);
    let busy = tokio::spawn(traffic(cluster.client().await?, stopped));

    let report = dfs.set_node_duty(&[id], Duty::Decommission).await?;
    ensure!(report.warnings.is_empty(), "three nodes are enough: {:?}", report.warnings);
    let leader = cluster.leader().await?;
    cluster.kill(leader).await?;
    until_duty(&dfs, id, DutyState::Decommissioned).await?;
    ensure!(cluster.leader().await? != leader, "another one leads");
    stop.send(true)?;
    let busy = busy.await??;
    ensure!(!busy.is_empty(), "nothing was written meanwhile");

    // It holds nothing that anybody needs.
    cluster.stop(daemon).await?;
    all_there(&dfs, &files).await?;
    all_there(&dfs, &busy).await?;
    until_state(&dfs, id, NodeState::Dead).await?;
    clean(&dfs).await?;
    let (files_found, _) = fsck(&dfs, &FsPath::root()).await?;
    let on_it =
        |file: &FsckFile| file.chunks.iter().any(|chunk| chunk.nodes.iter().any(|node| node.id == id));
    ensure!(!files_found.iter().any(on_it), "nothing is on it any more");

    cluster.start(leader).await?;
    cluster.start(daemon).await?;
    until_state(&dfs, id, NodeState::Live).await?;
    ensure!(node(&dfs, id).await?.duty != DutyState::InService, "it was not taken back");
    dfs.set_node_duty(&[id], Duty::InService).await?;
    until_duty(&dfs, id, DutyState::InService).await?;
    wait::until("surplus replicas to be gone", PATIENCE, || clean(&dfs)).await?;
    all_there(&dfs, &files).await?;
    all_there(&dfs, &busy).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_in_maintenance_costs_no_copying() -> Result<()> {
    let cluster = TestCluster::start(Options { datanodes: 4, ..quick() }).await?;
    let dfs = cluster.client().await?;
    let files = fill(&dfs, 6, 3 << 20, 2).await?;
    let single = (path("/single"), content::bytes(99, 2 << 20));
    put(&dfs, &single.0, &single.1, of(1)).await?;
    let daemon = Daemon::DataNode(3);
    let id = id_of(&cluster, daemon).await?;
    let places = async |at: &FsPath| -> Result<Vec<Vec<NodeId>>> {
        let (files, _) = fsck(&dfs, at).await?;
        let ids = |chunk: &dfs_client::FsckChunk| {
            let mut ids: Vec<NodeId> = chunk.nodes.iter().map(|node| node.id).collect();
            ids.retain(|node| *node != id);
            ids.sort_unstable();
            ids
        };
        Ok(files.iter().flat_map(|file| &file.chunks).map(ids).collect())
    };

    dfs.set_node_duty(&[id], Duty::Maintenance { lasts: Duration::from_hours(1) }).await?;
    until_duty(&dfs, id, DutyState::InMaintenance).await?;
    let until_ms = node(&dfs, id).await?.maintenance_until;
    ensure!(until_ms.is_some(), "it is known when it ends");
    let mut before = Vec::new();
    for (at, _) in &files {
        before.push(places(at).await?);
    }
    cluster.stop(daemon).await?;
    all_there(&dfs, &files).await?;
    // What was only there was copied before.
    ensure!(get(&dfs, &single.0).await? == single.1);
    // Longer than a node in service would be missed: a file that wants more replicas now gets them meanwhile.
    wait::until("the node to be silent for long", PATIENCE, || async {
        let silent = node(&dfs, id).await?.silent;
        ensure!(silent > Duration::from_secs(6), "for {silent:?}");
        Ok(())
    })
    .await?;
    // The one on the node in maintenance may be one of the three.
    dfs.set_replication(&single.0, 3).await?;
    wait::until("copies that are wanted to be made", PATIENCE, || async {
        let replicas = places(&single.0).await?;
        ensure!(replicas.iter().all(|nodes| nodes.len() >= 2), "{replicas:?}");
        Ok(())
    })
    .await?;
    for ((at, _), before) in files.iter().zip(&before) {
        ensure!(places(at).await? == *before, "{at} was copied");
    }

    cluster.start(daemon).await?;
    until_state(&dfs, id, NodeState::Live).await?;
    dfs.set_node_duty(&[id], Duty::InService).await?;
    until_duty(&dfs, id, DutyState::InService).await?;
    wait::until("everything to be as wanted", PATIENCE, || clean(&dfs)).await?;
    all_there(&dfs, &files).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_node_gets_its_share() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: mounting a small file system needs root");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let options = Options {
        datanodes: 3,
        lifetime: Lifetime::Scoped,
        datanode_args: ["--reserve", "1048576"].map(str::to_owned).to_vec(),
        ..quick()
    };
    let cluster = LocalCluster::new(folder.path(), &options)?;
    let mut disks = Vec::new();
    for number in 1..=4 {
        disks.push(SmallDisk::mount(&cluster.directory(Daemon::DataNode(number)), 96)?);
    }
    cluster.up(&options).await?;
    let outcome = balance(&cluster, &Options { datanodes: 4, ..options }).await;
    cluster.down().await?;
    outcome
}

async fn balance(cluster: &LocalCluster, larger: &Options) -> Result<()> {
    let dfs = cluster.client().await?;
    let files = fill(&dfs, 16, 4 << 20, 2).await?;
    cluster.up(larger).await?;
    let added = id_of(cluster, Daemon::DataNode(4)).await?;
    // What the nodes use is known from their heartbeats.
    wait::until("the new node to be known as the emptiest", PATIENCE, || async {
        let status = dfs.balancer(BalancerAction::Status).await?;
        ensure!(!status.running && status.lowest_permille < status.mean_permille, "{status:?}");
        Ok(())
    })
    .await?;
    let start = BalancerAction::Start { threshold_permille: Some(60), bytes_per_second: Some(32 << 20) };
    ensure!(dfs.balancer(start).await?.running, "it was started");
    let status = wait::until("the balancer to end", PATIENCE, || async {
        let status = dfs.balancer(BalancerAction::Status).await?;
        ensure!(!status.running, "{status:?}");
        Ok(status)
    })
    .await?;
    ensure!(status.balanced && status.moved_chunks > 0, "{status:?}");
    wait::until("the nodes to be even, and the new one to have its share", PATIENCE, || async {
        let status = dfs.balancer(BalancerAction::Status).await?;
        ensure!(status.highest_permille - status.lowest_permille <= 120, "{status:?}");
        ensure!(node(&dfs, added).await?.replicas > 0, "the new node has no replica");
        Ok(())
    })
    .await?;
    wait::until("surplus replicas to be gone", PATIENCE, || clean(&dfs)).await?;
    all_there(&dfs, &files).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_what_is_wrong_and_what_is() -> Result<()> {
    let cluster = TestCluster::start(Options { datanodes: 3, ..quick() }).await?;
    let dfs = cluster.client().await?;
    fill(&dfs, 1, 2 << 20, 2).await?;
    let says = async |words: &str, status: i32, part: &str| -> Result<()> {
        let (found, text) = dfs_command(&cluster, &words.split(' ').collect::<Vec<_>>()).await?;
        ensure!(found == Some(status) && text.contains(part), "dfs {words}: {found:?}: {text}");
        Ok(())
    };
    let id = id_of(&cluster, Daemon::DataNode(1)).await?.to_string();
    says("admin node list", 0, "in-service").await?;
    says("admin node decommission nosuch", 3, "no DataNode 'nosuch'").await?;
    says("admin node decommission ffffffff-0000-4000-8000-000000000001", 3, "nothing was changed").await?;
    says("admin node decommission nosuch --user eve", 3, "no DataNode").await?;
    says(&format!("admin node decommission {id} --user eve"), 1, "eve may not").await?;
    says(&format!("admin node maintenance {id} --for 1000d"), 1, "not possible").await?;
    says(&format!("admin node lost {id} --yes"), 1, "only the loss of one that is stopped").await?;
    says(&format!("admin node lost {id}"), 2, "--yes").await?;
    says("admin quarantine list", 0, "").await?;
    says("admin quarantine delete --yes", 0, "0 replicas").await?;
    says("admin quarantine delete 7 --yes", 3, "no replica of these chunks").await?;
    says("balancer status", 0, "Balancer:").await?;
    says("balancer start --bandwidth 1", 1, "too few").await?;
    says("report", 0, "Quarantined:").await?;
    says("fsck / --list open,missing", 0, "HEALTHY").await?;

    // Of two in service three replicas can't be: told, and done all the same.
    let prefix = &id[..13];
    says(&format!("admin node decommission {prefix} --wait --timeout 2m"), 0, "only 2 DataNodes").await?;
    says("admin node list", 0, "decommissioned").await?;
    says("fsck /", 0, "HEALTHY").await?;
    says(&format!("admin node recommission {prefix}"), 0, "in-service").await?;
    let refused = dfs.set_node_duty(&[], Duty::Decommission).await;
    ensure!(refused.is_err_and(|error| error.code == ErrorCode::InvalidArgument));
    Ok(())
}
