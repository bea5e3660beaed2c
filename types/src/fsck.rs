//! What the file check finds.

use crate::{ChunkId, Endpoint, FileStatus, FsPath, GenStamp, RecoveryWait};

/// One part of what the file check finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FsckEntry {
    /// A file, or a part of one with very many chunks.
    File(FsckFile),
    /// The sums over everything; the last entry.
    Summary(FsckSummary),
}

/// A file as the file check found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsckFile {
    /// Where it is.
    pub path: FsPath,
    /// Its attributes.
    pub status: FileStatus,
    /// Its chunks in order, at most some thousand; further ones come in further entries of the same path.
    pub chunks: Vec<FsckChunk>,
}

/// A chunk as the file check found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FsckChunk {
    /// The chunk.
    pub chunk: ChunkId,
    /// Its version.
    pub generation: GenStamp,
    /// Its bytes.
    pub length: u64,
    /// Replicas wanted.
    pub expected: u32,
    /// Nodes with a good replica; while it is being written, its pipeline in order.
    pub nodes: Vec<Endpoint>,
    /// How many of these are being decommissioned: their replicas can be read and don't count.
    pub leaving: u32,
    /// Replicas known to be bad.
    pub corrupt: u32,
    /// Whether it is being written.
    pub under_construction: bool,
    /// Whether its replicas share a host, rack or zone without need.
    pub misplaced: bool,
    /// What its recovery waits for, if it does.
    pub wait: Option<RecoveryWait>,
}

/// The sums over everything checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FsckSummary {
    /// Files.
    pub files: u64,
    /// Directories, the one asked for included.
    pub directories: u64,
    /// Chunks.
    pub chunks: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Chunks with fewer good replicas than wanted, but at least one.
    pub under_replicated: u64,
    /// Chunks with more good replicas than wanted.
    pub over_replicated: u64,
    /// Chunks of which no replica is known.
    pub missing: u64,
    /// Chunks of which only bad replicas are known.
    pub corrupt: u64,
    /// Files being written.
    pub open_files: u64,
    /// Good replicas.
    pub replicas: u64,
    /// Whether every complete chunk has a good replica, and no recovery waits for one.
    pub healthy: bool,
    /// Chunks that have their replicas, but share a host, rack or zone without need.
    pub misplaced: u64,
    /// Chunks whose recovery waits for a replica with everything that was acknowledged.
    pub waiting: u64,
}
