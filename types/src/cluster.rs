//! What clients are told of the whole cluster.

use crate::ClusterId;

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
