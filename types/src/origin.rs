//! Which file a chunk is of, and what one must know of that file to have it again.

use crate::{ChunkId, FsPath, GenStamp, InodeId, Millis, Mode};

/// A closed file, and where in it a chunk lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Where the file is.
    pub path: FsPath,
    /// Its owner.
    pub owner: String,
    /// Its group.
    pub group: String,
    /// Its permission bits.
    pub mode: Mode,
    /// Its last modification.
    pub mtime: Millis,
    /// Replicas wanted of its chunks.
    pub replication: u32,
    /// Bytes of a full chunk.
    pub chunk_size: u64,
    /// Its bytes: whether all of its chunks were found can be told from this.
    pub file_length: u64,
    /// Where in the file the chunk begins, in bytes.
    pub offset: u64,
}

/// A chunk of a closed file, as the namespace has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkOrigin {
    /// The chunk.
    pub chunk: ChunkId,
    /// Its version.
    pub generation: GenStamp,
    /// Its bytes.
    pub length: u64,
    /// The file.
    pub inode: InodeId,
    /// Which of the file's chunks it is.
    pub index: u64,
    /// The file's facts.
    pub origin: Origin,
}
