//! Closing files whose writer is gone, and what that waits for.

use crate::{ChunkId, Endpoint, FsPath, Millis, NodeId};

/// What the recovery of a chunk waits for: no replica with all that readers count on is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryWait {
    /// Unix time at which its file was taken from its writer; a restart or another leader does not change it.
    pub since: Millis,
    /// Bytes that a replica must have: readers count on them.
    pub expected: u64,
    /// Where the longest replica known is, and its bytes; `None` if no node has told of any.
    pub best: Option<(Endpoint, u64)>,
    /// The nodes it was written to that have not said what they hold; where they are only of those that are known.
    pub missing: Vec<(NodeId, Option<Endpoint>)>,
    /// Whether an administrator accepted that the recovery ends with that.
    pub loss_accepted: bool,
}

impl RecoveryWait {
    /// What people are told of each missing node: its address, or else its id.
    pub fn missing_names(&self) -> Vec<String> {
        let name = |(id, node): &(NodeId, Option<Endpoint>)| {
            node.as_ref().map_or_else(|| id.to_string(), Endpoint::address)
        };
        self.missing.iter().map(name).collect()
    }
}

/// A chunk whose recovery waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingChunk {
    /// Its file.
    pub path: FsPath,
    /// The chunk.
    pub chunk: ChunkId,
    /// For what.
    pub wait: RecoveryWait,
}

/// How far the recovery of a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRecovery {
    /// The file is closed.
    pub closed: bool,
    /// Those of its chunks whose recovery waits.
    pub waiting: Vec<WaitingChunk>,
}
