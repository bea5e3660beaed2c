//! What a DataNode says of one replica.

use serde::{Deserialize, Serialize};

use crate::{ChunkId, GenStamp, VolumeId};

/// State of one replica on a DataNode's volume.
///
/// ```text
///            write session opens           last packet synced, renamed
///   (none) ----------------------> Rbw ----------------------------------> Finalized
///                                   |  process restarts          ^             |  bad checksum,
///                                   v                            |             v  wrong length
///                                  Rwr ------- recovered --------'          Corrupt
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ReplicaState {
    /// Complete, and synced unless its writer asked for less.
    Finalized,
    /// Being written, or left by its writer ("replica being written").
    Rbw,
    /// Was being written when the process stopped ("replica waiting to be recovered").
    Rwr,
    /// Found damaged; never served, deleted only when the NameNode says so.
    Corrupt,
}

/// One line of a chunk report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ReplicaRecord {
    /// The chunk.
    pub chunk: ChunkId,
    /// The replica's generation stamp.
    pub generation: GenStamp,
    /// Bytes of data in the replica.
    pub length: u64,
    /// The replica's state.
    pub state: ReplicaState,
    /// The volume that it is on, if its node says.
    pub volume: Option<VolumeId>,
}
