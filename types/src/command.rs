//! What the leading NameNode orders a DataNode to do.

use crate::{ChunkId, GenStamp, NodeId};

/// An order to a DataNode, carried by the reply to its heartbeat. `N` names the nodes in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command<N = NodeId> {
    /// Send your finalized replica to these nodes.
    Copy {
        /// Which chunk.
        chunk: ChunkId,
        /// Its version.
        generation: GenStamp,
        /// Its length.
        length: u64,
        /// Whereto.
        targets: Vec<N>,
        /// Pace of this copy; 0: as fast as it goes.
        bytes_per_second: u64,
    },
    /// Delete exactly these replicas.
    Delete {
        /// Chunk and version of each.
        replicas: Vec<(ChunkId, GenStamp)>,
    },
    /// Agree with the other holders on the chunk's length and finalize it under the new version.
    Recover {
        /// Which chunk.
        chunk: ChunkId,
        /// The new version.
        new_generation: GenStamp,
        /// Bytes that the chunk has at least.
        acknowledged: u64,
        /// All holders, the commanded node among them.
        holders: Vec<N>,
    },
}

impl<N> Command<N> {
    /// The same command with other values for the nodes that it names.
    pub fn map_nodes<M>(self, map: impl FnOnce(Vec<N>) -> Vec<M>) -> Command<M> {
        match self {
            Self::Copy { chunk, generation, length, targets, bytes_per_second } => {
                Command::Copy { chunk, generation, length, targets: map(targets), bytes_per_second }
            }
            Self::Delete { replicas } => Command::Delete { replicas },
            Self::Recover { chunk, new_generation, acknowledged, holders } => {
                Command::Recover { chunk, new_generation, acknowledged, holders: map(holders) }
            }
        }
    }
}
