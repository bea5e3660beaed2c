//! Write and read sessions, independent of the wire: gRPC is the first, others are thin as well.

pub(crate) mod read;
pub(crate) mod write;

use std::time::Duration;

use dfs_types::{ChunkId, ClusterId, Endpoint, FsError, GenStamp, InodeId, NodeId, StorageType};

/// Why a write session is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// A client writes a new chunk.
    Create,
    /// A client goes on after its pipeline broke.
    Recover {
        /// Bytes that the replica must have.
        min_length: u64,
    },
    /// Another DataNode sends a complete copy.
    Copy,
    /// Another DataNode sends what is written so far; the replica stays open.
    Transfer,
}

/// How a write session begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// The cluster the sender means.
    pub(crate) cluster: ClusterId,
    /// The node the sender means.
    pub(crate) target: NodeId,
    /// The chunk.
    pub(crate) chunk: ChunkId,
    /// Its generation.
    pub(crate) generation: GenStamp,
    /// The file.
    pub(crate) inode: InodeId,
    /// Which of the file's chunks this is.
    pub(crate) index: u64,
    /// The file's path.
    pub(crate) path: String,
    /// Bytes at most.
    pub(crate) chunk_size: u64,
    /// Bytes that the writer means to write, at most `chunk_size`: room for them is reserved.
    pub(crate) expected_length: u64,
    /// Why the session is opened.
    pub(crate) stage: Stage,
    /// Make the replica durable before the last packet is acknowledged.
    pub(crate) sync: bool,
    /// Whereto the packets go from here, next first.
    pub(crate) downstream: Vec<Endpoint>,
    /// Storage that the replica shall be on here, if there is room; `None`: any.
    pub(crate) storage: Option<StorageType>,
    /// The lease holder, for logs.
    pub(crate) holder: String,
    /// How long the sender waits for the acknowledgement of a packet that does not sync.
    pub(crate) patience: Duration,
}

impl Header {
    /// How long this node waits for the next one: so much less than its sender that this one is sure to learn of the
    /// failure before it loses its own patience, and the same for each node further down.
    pub(crate) fn patience_onward(&self) -> Duration {
        let further = self.downstream.len() as u32;
        self.patience * further / (further + 1)
    }
}

/// What went wrong in a pipeline, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// What.
    pub(crate) error: FsError,
    /// Position of the node that failed, 0 being the one that answers.
    pub(crate) position: u32,
}

impl Failure {
    /// This node fails.
    pub(crate) fn here(error: impl Into<FsError>) -> Self {
        Self { error: error.into(), position: 0 }
    }

    /// The same failure seen from one node further up.
    pub(crate) fn one_further(self) -> Self {
        Self { position: self.position.saturating_add(1), ..self }
    }
}

/// What a write session answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Once, first: whether every node is ready.
    Setup(Result<(), Failure>),
    /// Once for each packet, in order.
    Ack {
        /// Of the packet.
        sequence: u64,
        /// Whether all nodes have it; after a failure the session ends.
        result: Result<(), Failure>,
    },
}
