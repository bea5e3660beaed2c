//! What clients are told of the whole cluster.

use crate::{BalancerStatus, ClusterId, NodeReport, Quota, SafeModeStatus, WaitingChunk};

/// What the cluster is, and what it uses where a request does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    /// The cluster's id.
    pub cluster: ClusterId,
    /// Bytes of a full chunk, unless asked for otherwise.
    pub chunk_size: u64,
    /// Replicas of a file's chunks, unless asked for otherwise.
    pub replication: u32,
    /// Finalized replicas a chunk needs before its file may be closed.
    pub min_replicas: u32,
    /// Whether changes are refused now.
    pub safe_mode: bool,
}

/// Capacity and health of the whole, in bytes and numbers of chunks and nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FsStats {
    /// Bytes of all volumes.
    pub capacity: u64,
    /// Bytes of replicas.
    pub used: u64,
    /// Bytes that new replicas may take.
    pub remaining: u64,
    /// Chunks with too few good replicas.
    pub under_replicated: u64,
    /// Chunks of which no replica is known.
    pub missing: u64,
    /// Chunks of which only bad replicas are known.
    pub corrupt: u64,
    /// All chunks.
    pub chunks: u64,
    /// Nodes that are not dead.
    pub live_nodes: u64,
    /// Nodes that count as gone.
    pub dead_nodes: u64,
}

/// The whole cluster: its nodes, and how many there are of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterReport {
    /// The cluster's id.
    pub cluster: ClusterId,
    /// State of safe mode.
    pub safe_mode: SafeModeStatus,
    /// Every DataNode known.
    pub nodes: Vec<NodeReport>,
    /// Number of files.
    pub files: u64,
    /// Number of directories.
    pub directories: u64,
    /// Number of chunks.
    pub chunks: u64,
    /// Chunks with too few replicas.
    pub under_replicated: u64,
    /// Those of them that can have more on the DataNodes that are there.
    pub healable: u64,
    /// Chunks with too many.
    pub over_replicated: u64,
    /// Chunks without any.
    pub missing: u64,
    /// Chunks of which only corrupt replicas are known.
    pub corrupt: u64,
    /// Copies ordered and not done.
    pub pending_copies: u64,
    /// Deletions ordered and not done.
    pub pending_deletions: u64,
    /// Files open for writing.
    pub open_files: u64,
    /// Chunks with a single good replica where more are wanted.
    pub only_one_copy: u64,
    /// Version of the NameNode's software.
    pub version: String,
    /// Chunks that have their replicas, but share a host, rack or zone without need.
    pub misplaced: u64,
    /// Replicas of chunks that the namespace does not know, kept until a person decides.
    pub quarantined: u64,
    /// How the balancer gets on.
    pub balancer: BalancerStatus,
    /// Chunks whose recovery waits for a replica with everything that was acknowledged.
    pub waiting_recoveries: u64,
    /// The first of them; empty for all but superusers.
    pub waiting: Vec<WaitingChunk>,
}

/// What the tree at a path holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ContentSummary {
    /// Bytes of all files.
    pub length: u64,
    /// Number of files.
    pub files: u64,
    /// Number of directories, the top one included.
    pub directories: u64,
    /// Bytes of all files times their wanted replicas; a chunk that is being written counts as a full one.
    pub space: u64,
    /// What the directory at the path may take at most.
    pub quota: Quota,
}
