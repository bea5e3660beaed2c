//! What others may know of the cluster.

use dfs_types::{GenStamp, NodeId};

/// One chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkView {
    /// Its version.
    pub generation: GenStamp,
    /// Its length; `None` while it is being written.
    pub length: Option<u64>,
    /// Replicas wanted.
    pub replication: u32,
    /// Nodes with a good replica; none while it is being written.
    pub good: Vec<NodeId>,
    /// Nodes with a replica known to be damaged, torn or of another length.
    pub corrupt: Vec<NodeId>,
    /// Nodes it is being written to, in order.
    pub pipeline: Vec<NodeId>,
    /// Whether its replicas share a host, a rack or a zone although there are others.
    pub misplaced: bool,
}

/// Chunks that wait to be copied, by how badly they need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Queues {
    /// With one good replica left.
    pub last_copy: u64,
    /// With at most a third of the replicas left.
    pub few: u64,
    /// With some replicas missing.
    pub some: u64,
    /// With all replicas, but sharing a host, a rack or a zone although there are others.
    pub misplaced: u64,
}

/// Sums over the whole cluster. Chunks being written count only in `chunks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Chunks.
    pub chunks: u64,
    /// Chunks with at least one good replica, but fewer than wanted.
    pub under_replicated: u64,
    /// Those of them that can have more replicas on the nodes that are there, and were not written just now.
    pub healable: u64,
    /// Chunks with more good replicas than wanted.
    pub over_replicated: u64,
    /// Chunks without any known replica that is good or corrupt.
    pub missing: u64,
    /// Chunks of which only corrupt replicas are known.
    pub corrupt: u64,
    /// Chunks with one good replica that want more; they are under-replicated too.
    pub only_one_copy: u64,
    /// Chunks that wait for copies, or have some under way but not enough; known to the leader only.
    pub queued: Queues,
    /// Copies ordered and not seen yet.
    pub pending_copies: u64,
    /// Bytes of them.
    pub pending_copy_bytes: u64,
    /// Replicas whose deletion is ordered and not seen yet.
    pub pending_deletions: u64,
    /// Chunks that have the replicas wanted, but sharing a host, a rack or a zone although there are others; known to
    /// the leader only.
    pub misplaced: u64,
    /// Replicas kept though no such chunk was ever made.
    pub quarantined: u64,
    /// Files open for writing.
    pub open_files: u64,
    /// Recoveries that wait for a replica with everything acknowledged; known to the leader only.
    pub waiting_recoveries: u64,
    /// Live nodes.
    pub live_nodes: u64,
    /// Stale nodes.
    pub stale_nodes: u64,
    /// Dead nodes.
    pub dead_nodes: u64,
    /// Bytes of the file systems of all volumes in use of nodes that are not dead, each counted once.
    pub capacity: u64,
    /// Bytes of replicas on them.
    pub used: u64,
    /// Bytes that new replicas may take there.
    pub available: u64,
}
