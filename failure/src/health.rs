//! How the cluster is, as its public client sees it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use dfs_client::{Dfs, FsckChunk, FsckEntry, FsckSummary, NodeReport, NodeState};
use dfs_e2e::wait;
use dfs_types::{ChunkId, FsPath, NodeId};
use futures_util::TryStreamExt as _;

use crate::cluster::{Cluster, Daemon};

/// How long healing of anything may take, unless somebody says otherwise. Generous: machines of all kinds run this.
const PATIENCE: Duration = Duration::from_secs(90);

static CHOSEN: OnceLock<Duration> = OnceLock::new();

/// How long healing of anything may take.
pub fn patience() -> Duration {
    CHOSEN.get().copied().unwrap_or(PATIENCE)
}

/// Lets the whole process wait for so long; only the first call counts.
pub fn set_patience(limit: Duration) {
    CHOSEN.get_or_init(|| limit);
}

/// A file check as a whole.
#[derive(Debug, Clone)]
pub struct Fsck {
    /// The sums.
    pub summary: FsckSummary,
    /// Every chunk of every file, by path.
    pub chunks: Vec<(String, FsckChunk)>,
}

impl Fsck {
    /// Checks everything below `/`.
    pub async fn run(dfs: &Dfs) -> Result<Self> {
        let entries: Vec<FsckEntry> = dfs.fsck(&FsPath::root()).await?.try_collect().await?;
        let mut summary = None;
        let mut chunks = Vec::new();
        for entry in entries {
            match entry {
                FsckEntry::File(file) => {
                    chunks.extend(file.chunks.into_iter().map(|chunk| (file.path.to_string(), chunk)));
                }
                FsckEntry::Summary(sum) => summary = Some(sum),
            }
        }
        Ok(Self { summary: summary.context("the file check ended without a summary")?, chunks })
    }

    /// Where the replicas are: node, chunk, bytes. A node that lost its disks is another one, at the same address.
    pub fn placed(&self) -> BTreeSet<(NodeId, ChunkId, u64)> {
        let replicas = self
            .chunks
            .iter()
            .flat_map(|(_, chunk)| chunk.nodes.iter().map(|node| (node.id, chunk.chunk, chunk.length)));
        replicas.collect()
    }

    /// Bytes of replicas that lie where none lay `before`.
    pub fn copied_since(&self, before: &Self) -> u64 {
        let there = before.placed();
        self.placed().difference(&there).map(|(_, _, bytes)| bytes).sum()
    }

    /// Fails, with the numbers, unless every chunk has exactly the replicas it wants and nothing is open.
    pub fn clean(&self) -> Result<()> {
        let sum = &self.summary;
        let replicas = sum.under_replicated + sum.over_replicated + sum.missing + sum.corrupt;
        let off = replicas + sum.misplaced + sum.open_files;
        ensure!(off == 0, "{}", numbers(sum));
        Ok(())
    }
}

/// What is not as it should be, in words.
pub fn numbers(sum: &FsckSummary) -> String {
    let parts = [
        ("under-replicated", sum.under_replicated),
        ("over-replicated", sum.over_replicated),
        ("missing", sum.missing),
        ("corrupt", sum.corrupt),
        ("misplaced", sum.misplaced),
        ("open files", sum.open_files),
        ("waiting", sum.waiting),
    ];
    let parts: Vec<_> = parts
        .iter()
        .filter(|(_, number)| *number > 0)
        .map(|(what, number)| format!("{number} {what}"))
        .collect();
    format!("{} chunks, {} replicas, {}", sum.chunks, sum.replicas, parts.join(", "))
        .trim_end_matches(", ")
        .to_owned()
}

/// Waits until a file check finds nothing to complain of, and no copy or deletion is under way.
pub async fn until_clean(dfs: &Dfs) -> Result<Fsck> {
    wait::until("a clean file check", patience(), || async {
        let fsck = Fsck::run(dfs).await?;
        fsck.clean()?;
        // Only now: what the file check does not count any more has been ordered, and is told here until it is done.
        let report = dfs.report().await?;
        ensure!(
            report.pending_copies == 0 && report.pending_deletions == 0,
            "{} copies and {} deletions are under way",
            report.pending_copies,
            report.pending_deletions
        );
        anyhow::Ok(fsck)
    })
    .await
}

/// What the NameNode says of this DataNode.
pub async fn node(dfs: &Dfs, cluster: &dyn Cluster, node: Daemon) -> Result<NodeReport> {
    let address = cluster.address(node).await?;
    let report = dfs.report().await?;
    // One that lost its disk is there twice: as it was, and as it is.
    let mut found: Vec<_> =
        report.nodes.into_iter().filter(|found| found.node.address() == address).collect();
    found.sort_by_key(|found| found.silent);
    let first = found.into_iter().next();
    first.with_context(|| format!("the NameNode does not know {node} ({address})"))
}

/// Waits until the NameNode says this of a DataNode.
pub async fn until_state(dfs: &Dfs, cluster: &dyn Cluster, daemon: Daemon, state: NodeState) -> Result<()> {
    wait::until(&format!("{daemon} is {state:?}"), patience(), || async {
        let found = node(dfs, cluster, daemon).await?;
        ensure!(
            found.state == state && (state != NodeState::Live || found.reported),
            "it is {:?}",
            found.state
        );
        anyhow::Ok(())
    })
    .await
}

/// Waits until no chunk has a replica on the node with this id.
pub async fn until_without(dfs: &Dfs, id: NodeId) -> Result<()> {
    wait::until("no chunk is said to lie on the lost disk", patience(), || async {
        let fsck = Fsck::run(dfs).await?;
        let left =
            fsck.chunks.iter().filter(|(_, chunk)| chunk.nodes.iter().any(|node| node.id == id)).count();
        ensure!(left == 0, "{left} are");
        anyhow::Ok(())
    })
    .await
}

/// How many chunks have how many replicas.
pub fn by_replicas(fsck: &Fsck) -> BTreeMap<usize, u64> {
    let mut counts = BTreeMap::new();
    for (_, chunk) in &fsck.chunks {
        *counts.entry(chunk.nodes.len()).or_default() += 1;
    }
    counts
}

/// The daemon with this address.
pub async fn daemon_at(cluster: &dyn Cluster, address: &str) -> Result<Daemon> {
    for daemon in cluster.daemons().await? {
        if matches!(daemon, Daemon::DataNode(_)) && cluster.address(daemon).await? == address {
            return Ok(daemon);
        }
    }
    bail!("no DataNode is known as {address}")
}
