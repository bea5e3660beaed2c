//! Chunks as writers speak of them.

use crate::{ChunkId, FsPath, GenStamp, Millis};

/// A chunk with the version and length that somebody means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Extent {
    /// The chunk.
    pub chunk: ChunkId,
    /// Its generation stamp.
    pub generation: GenStamp,
    /// Its length in bytes.
    pub length: u64,
}

/// What closing a file does at the same moment, so that nobody ever sees one without the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publication {
    /// Its new path; the directory must exist.
    pub to: FsPath,
    /// Whether a file that is there gives way.
    pub overwrite: bool,
    /// Its modification time; `None`: the present one.
    pub mtime: Option<Millis>,
    /// Its access time; `None`: it stays.
    pub atime: Option<Millis>,
}
