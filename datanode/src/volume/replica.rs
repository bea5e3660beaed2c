//! What is known of one replica of the node.

use dfs_types::{ChunkId, GenStamp, ReplicaRecord, ReplicaState, VolumeId};

use super::layout::Place;

/// State of a replica here. As [`ReplicaState`], and one more that no one else is told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// A copy that is coming in from another DataNode.
    Incoming,
    /// Being written, or its writer went away.
    Rbw,
    /// Was being written when the process stopped.
    Rwr,
    /// Complete.
    Finalized,
    /// Found damaged.
    Corrupt,
}

/// One replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Replica {
    /// Which of the node's volumes has it.
    pub(crate) volume: u16,
    /// Its generation.
    pub(crate) generation: GenStamp,
    /// Bytes that are written and can be read.
    pub(crate) length: u64,
    /// Its state.
    pub(crate) state: State,
    /// Where its files are.
    pub(crate) place: Place,
    /// Seconds since the process started when its checksums were last found good; `None` before.
    pub(crate) verified: Option<u32>,
    /// Which of all replicas that came it is; the index counts them.
    pub(crate) birth: u64,
}

impl Replica {
    /// The line of a report about it; `None` for one that is not reported.
    pub(crate) fn record(&self, chunk: ChunkId, volume: VolumeId) -> Option<ReplicaRecord> {
        let state = match self.state {
            State::Incoming => return None,
            State::Rbw => ReplicaState::Rbw,
            State::Rwr => ReplicaState::Rwr,
            State::Finalized => ReplicaState::Finalized,
            State::Corrupt => ReplicaState::Corrupt,
        };
        let (generation, length) = (self.generation, self.length);
        Some(ReplicaRecord { chunk, generation, length, state, volume: Some(volume) })
    }
}
