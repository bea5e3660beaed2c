//! Where a chunk of a file is.

use crate::{ChunkId, Endpoint, GenStamp, Layout};

/// A chunk of a file and the nodes that hold it, or shall hold it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocatedChunk {
    /// The chunk.
    pub chunk: ChunkId,
    /// Its version.
    pub generation: GenStamp,
    /// Its position among the file's chunks.
    pub index: u64,
    /// Of its first byte in the file.
    pub offset: u64,
    /// Where in the chunk the file's bytes begin.
    pub chunk_offset: u64,
    /// How the chunk's bytes lie.
    pub layout: Layout,
    /// Its bytes; of one being written those that readers may count on, 0 while unknown.
    pub length: u64,
    /// The nodes, best first.
    pub nodes: Vec<Endpoint>,
    /// Whether it is being written: its length may still change.
    pub under_construction: bool,
    /// Whether every known replica is bad.
    pub corrupt: bool,
}
