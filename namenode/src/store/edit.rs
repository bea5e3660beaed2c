//! Every change of the namespace, as a value.
//!
//! Applying an edit is deterministic: the time is inside the [`Proposal`], ids and generation stamps come from
//! counters that are themselves part of the state, and nothing is read from a clock or a random generator. So the
//! same proposals in the same order give the same database on every NameNode.

use dfs_types::{
    Caller, ChunkId, FileStatus, FsPath, FsResult, GenStamp, InodeId, Millis, Mode, RequestId,
};
use serde::{Deserialize, Serialize};

/// An edit with what its application needs to know besides.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    /// The client's request, for which the outcome is kept; `None` for the NameNode's own edits.
    pub request: Option<RequestId>,
    /// On whose behalf; permissions are checked against it. `None`: the NameNode itself, which may do anything.
    pub caller: Option<Caller>,
    /// Unix time at which the edit was proposed.
    pub now: Millis,
    /// The change.
    pub edit: Edit,
}

/// A chunk with the version and length the writer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    /// The chunk.
    pub chunk: ChunkId,
    /// Its generation stamp.
    pub generation: GenStamp,
    /// Its length in bytes.
    pub length: u64,
}

/// One change of the namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Edit {
    /// Makes a directory; an existing one is fine only with `parents`.
    Mkdir { path: FsPath, mode: Mode, parents: bool },
    /// Opens a new file for writing.
    Create {
        path: FsPath,
        holder: String,
        mode: Mode,
        replication: u32,
        chunk_size: u64,
        overwrite: bool,
        parents: bool,
    },
    /// Commits the previous chunk's length and adds the next chunk.
    AddChunk { inode: InodeId, holder: String, previous: Option<Extent> },
    /// Drops the last chunk.
    AbandonChunk { inode: InodeId, holder: String, chunk: ChunkId },
    /// Records how much of an open chunk readers may count on.
    CommitLength { inode: InodeId, holder: String, extent: Extent },
    /// Commits the last chunk and closes the file.
    Complete { inode: InodeId, holder: String, last: Option<Extent> },
    /// Takes a new generation stamp for a chunk; the chunk keeps its own until [`Edit::UpdatePipeline`].
    NewGeneration { inode: InodeId, holder: String, chunk: ChunkId },
    /// Gives a chunk a generation stamp taken before, and the length acknowledged so far.
    UpdatePipeline { inode: InodeId, holder: String, extent: Extent },
    /// Moves a file or directory; an existing file or empty directory of the same kind gives way with `overwrite`.
    Rename { from: FsPath, to: FsPath, overwrite: bool },
    /// Removes a file or directory.
    Delete { path: FsPath, recursive: bool },
    /// Sets the replicas wanted of a file's chunks.
    SetReplication { path: FsPath, replication: u32 },
    /// Sets permission bits.
    SetMode { path: FsPath, mode: Mode },
    /// Sets owner and group; only a superuser gives files away.
    SetOwner { path: FsPath, owner: Option<String>, group: Option<String> },
    /// Sets times.
    SetTimes { path: FsPath, mtime: Option<Millis>, atime: Option<Millis> },
    /// Takes the lease from its holder for recovery and takes a new generation stamp for the last chunk. A file
    /// whose chunks all have a length is closed at once.
    BeginRecovery { inode: InodeId },
    /// Ends the recovery of a chunk; length 0 drops the chunk. Closes the file.
    CommitRecovery { extent: Extent },
    /// Frees at most `limit` inodes of deleted trees together with their chunks.
    Reap { limit: u32 },
}

/// What a successful edit answers. Kept for retries of the same request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Nothing to tell.
    Done,
    /// The file or directory as it is now (mkdir, create, complete).
    Status(FileStatus),
    /// A chunk was added.
    ChunkAdded { chunk: ChunkId, generation: GenStamp, index: u64, offset: u64 },
    /// A generation stamp was taken.
    Generation(GenStamp),
    /// Whether there was something to delete.
    Deleted(bool),
    /// Recovery: closed already, or which chunk must be recovered with which stamp.
    Recovery { closed: bool, chunk: Option<(ChunkId, GenStamp)> },
    /// Inodes freed, and whether more wait.
    Reaped { inodes: u32, more: bool },
}

/// What an edit did that the chunk map and the leases must follow. Not kept: they are rebuilt from the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A chunk was added to an open file.
    ChunkAdded { chunk: ChunkId, generation: GenStamp, inode: InodeId, replication: u32 },
    /// A chunk's length is now fixed; its replicas of another length or older generation are bad.
    ChunkCommitted { chunk: ChunkId, generation: GenStamp, length: u64 },
    /// A chunk has a new generation stamp and is still being written.
    GenerationChanged { chunk: ChunkId, generation: GenStamp },
    /// A chunk belongs to no file any more.
    ChunkRemoved { chunk: ChunkId },
    /// A chunk's wanted replicas changed.
    ReplicationChanged { chunk: ChunkId, replication: u32 },
    /// A client holds a file open now.
    LeaseTaken { inode: InodeId, holder: String },
    /// The file is closed or gone.
    LeaseReleased { inode: InodeId },
    /// A deleted tree waits to be reaped.
    Garbage,
}

/// Result of applying one proposal.
pub type Applied = FsResult<(Outcome, Vec<Change>)>;
