//! Every change of the namespace and of what is replicated beside it, as a value.
//!
//! Applying an edit is deterministic: the time is inside the [`Proposal`], ids and generation stamps come from
//! counters that are themselves part of the state, and nothing is read from a clock or a random generator. So the
//! same proposals in the same order give the same database on every NameNode.

pub use dfs_namenode_core::Balancing;
use dfs_namenode_core::{Event, NodeRecord};
use dfs_types::format::FIRST_LEVEL;
use dfs_types::limits::{BYTES_PER_CHECKSUM, MAX_CHUNK_SIZE, MAX_REPLICATION, MIN_CHUNK_SIZE};
use dfs_types::{
    AclChange, Caller, ChunkId, ClusterSetting, CreateMode, FileStatus, FsError, FsPath, FsResult, GenStamp,
    InodeId, LimitChange, Millis, Mode, NodeDuty, NodeId, RequestId, Xattr, XattrName, XattrSetFlag,
};
pub use dfs_types::{Extent, Publication};

/// An edit with what its application needs to know besides.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Who holds a file's lease while the NameNode recovers it; no client may use the name.
pub const RECOVERY_HOLDER: &str = "NameNode recovery";

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Makes a directory; an existing one is fine only with `parents`.
    Mkdir {
        /// The directory.
        path: FsPath,
        /// Its permission bits; missing parents get the same and what their owner needs to use them.
        mode: CreateMode,
        /// Makes missing parents too.
        parents: bool,
    },
    /// Opens a new file for writing.
    Create {
        /// The file.
        path: FsPath,
        /// Who writes it: the name of the lease's holder.
        holder: String,
        /// Its permission bits.
        mode: CreateMode,
        /// Replicas wanted of each chunk.
        replication: u32,
        /// Bytes of a full chunk.
        chunk_size: u64,
        /// An existing file gives way, even one that is being written.
        overwrite: bool,
        /// Makes missing parents.
        parents: bool,
        /// The file goes away, instead of being closed, if its writer does before it is closed.
        temporary: bool,
    },
    /// Opens a closed file for writing at its end. The chunks that it has stay as they are: what is written goes into new
    /// ones.
    Append {
        /// The file.
        path: FsPath,
        /// Who writes it: the name of the lease's holder.
        holder: String,
    },
    /// Takes everything after a place from a closed file.
    Truncate {
        /// The file.
        path: FsPath,
        /// The bytes that stay; more than there are is refused.
        length: u64,
    },
    /// Moves the chunks of files to the end of another in the same directory; the files that had them go away. All of them
    /// are closed.
    Concat {
        /// The file that gets them.
        target: FsPath,
        /// The others, in order.
        sources: Vec<FsPath>,
    },
    /// Commits the previous chunk's length and adds the next chunk.
    AddChunk {
        /// The file.
        inode: InodeId,
        /// Who writes it.
        holder: String,
        /// The last chunk as the writer finished it; `None` if there is none yet.
        previous: Option<Extent>,
        /// The nodes that the new chunk is written to; empty: not known, as below level [`PIPELINES`].
        pipeline: Vec<NodeId>,
    },
    /// Drops the last chunk.
    AbandonChunk {
        /// The file.
        inode: InodeId,
        /// Who writes it.
        holder: String,
        /// The last chunk.
        chunk: ChunkId,
    },
    /// Records how much of an open chunk readers may count on. Less than before changes nothing: it is an older
    /// call that comes late.
    CommitLength {
        /// The file.
        inode: InodeId,
        /// Who writes it.
        holder: String,
        /// One of the last two chunks, its present generation, and the length.
        extent: Extent,
    },
    /// Commits the last chunk's length, while the file stays open: from then on its replicas can be copied.
    CommitChunk {
        /// The file.
        inode: InodeId,
        /// Who writes it.
        holder: String,
        /// The last chunk as the writer finished it.
        extent: Extent,
    },
    /// Commits the last chunk and closes the file, and perhaps moves it. The same call again finds the file closed and
    /// succeeds.
    Complete {
        /// The file.
        inode: InodeId,
        /// Who writes it.
        holder: String,
        /// The last chunk as the writer finished it; `None` for an empty file.
        last: Option<Extent>,
        /// Where it goes at the same moment; `None`: it stays where it is.
        publish: Option<Publication>,
    },
    /// Removes an open file, wherever it is.
    Discard {
        /// The file.
        inode: InodeId,
        /// Who writes it.
        holder: String,
    },
    /// Takes a new generation stamp for a chunk; the chunk keeps its own until [`Edit::UpdatePipeline`].
    NewGeneration {
        /// The file.
        inode: InodeId,
        /// Who writes it.
        holder: String,
        /// One of the last two chunks.
        chunk: ChunkId,
    },
    /// Gives a chunk a generation stamp taken before, and the length acknowledged so far.
    UpdatePipeline {
        /// The file.
        inode: InodeId,
        /// Who writes it.
        holder: String,
        /// One of the last two chunks, the new generation, and the length acknowledged.
        extent: Extent,
        /// The nodes that it is written to from now on, as in [`Edit::AddChunk`].
        pipeline: Vec<NodeId>,
    },
    /// Moves a file or directory; an existing file or empty directory of the same kind gives way with `overwrite`.
    Rename {
        /// What to move.
        from: FsPath,
        /// Its new path.
        to: FsPath,
        /// Whether something that is there gives way.
        overwrite: bool,
    },
    /// Removes a file or directory.
    Delete {
        /// What to remove.
        path: FsPath,
        /// Whether a directory may have entries.
        recursive: bool,
        /// Deletes only this inode: another one at the path counts as nothing.
        expected: Option<InodeId>,
    },
    /// Moves a file or directory into its user's trash, or removes it if there is none or it is there already.
    Trash {
        /// What to remove.
        path: FsPath,
        /// Whether a directory may have entries.
        recursive: bool,
        /// Removes only this inode: another one at the path counts as nothing.
        expected: Option<InodeId>,
    },
    /// Says how long what is removed below a directory is kept in the trash.
    SetTrash {
        /// The directory.
        path: FsPath,
        /// How long, in milliseconds; 0: nothing is kept.
        keep: LimitChange,
    },
    /// Does what is due in a user's trash by the group's clock: what was removed last becomes a checkpoint, and what was kept
    /// long enough goes.
    TendTrash {
        /// The user's trash.
        root: FsPath,
        /// What a checkpoint is to be called.
        checkpoint: String,
    },
    /// Limits what the tree at a directory may take.
    SetQuota {
        /// The directory.
        path: FsPath,
        /// Its limit of files and directories, itself among them; 0 is refused.
        names: LimitChange,
        /// Its limit of bytes with all replicas.
        space: LimitChange,
    },
    /// Sets the replicas wanted of a file's chunks.
    SetReplication {
        /// The file.
        path: FsPath,
        /// Replicas wanted.
        replication: u32,
    },
    /// Sets permission bits.
    SetMode {
        /// The file or directory.
        path: FsPath,
        /// Its new bits.
        mode: Mode,
    },
    /// Sets owner and group; only a superuser gives files away.
    SetOwner {
        /// The file or directory.
        path: FsPath,
        /// The new owner, if it changes.
        owner: Option<String>,
        /// The new group, if it changes.
        group: Option<String>,
    },
    /// Sets times to any value.
    SetTimes {
        /// The file or directory.
        path: FsPath,
        /// The new modification time, if it changes.
        mtime: Option<Millis>,
        /// The new access time, if it changes; directories have none.
        atime: Option<Millis>,
    },
    /// Sets the times to the present one, which is a matter of writing and not of owning.
    Touch {
        /// The file or directory.
        path: FsPath,
    },
    /// Changes the ACL, which only the owner may.
    ChangeAcl {
        /// The file or directory.
        path: FsPath,
        /// What becomes of it.
        change: AclChange,
    },
    /// Sets an extended attribute.
    SetXattr {
        /// The file or directory.
        path: FsPath,
        /// The attribute.
        xattr: Xattr,
        /// Whether it may, or must, be there already.
        flag: XattrSetFlag,
    },
    /// Removes an extended attribute.
    RemoveXattr {
        /// The file or directory.
        path: FsPath,
        /// The attribute.
        name: XattrName,
    },
    /// Takes the lease from its holder for recovery and takes new generation stamps for the last two chunks, which are
    /// those whose replicas may not be finalized. A file without chunks is closed at once, a temporary one removed.
    BeginRecovery {
        /// The file.
        inode: InodeId,
        /// Only while it is he who has the lease; `None`, as below level [`APPENDS`]: whoever has it.
        holder: Option<String>,
    },
    /// Ends the recovery of a chunk; length 0 drops the chunk. The last one closes the file.
    CommitRecovery {
        /// The chunk, the generation [`Edit::BeginRecovery`] took last, and the length agreed; for a committed chunk that
        /// turned out to be complete its own generation.
        extent: Extent,
        /// No node has all that was flushed, and none will: the file ends with what there is.
        lossy: bool,
    },
    /// Frees at most `limit` inodes of deleted trees together with their chunks.
    Reap {
        /// Most inodes freed by this edit.
        limit: u32,
    },
    /// Says what DataNodes are to be used for.
    SetNodeDuty {
        /// Which nodes; whether there are such nodes is not known here.
        nodes: Vec<NodeId>,
        /// What for; maintenance ends at a Unix time.
        duty: NodeDuty,
    },
    /// Switches the balancer on, or with `None` off.
    SetBalancer {
        /// How it works.
        settings: Option<Balancing>,
    },
    /// Switches the balancer off if it still works like this: it has no more to do.
    EndBalancer {
        /// How it worked.
        settings: Balancing,
    },
    /// Switches safe mode on until it is switched off, or off.
    SetSafeMode {
        /// On or off.
        on: bool,
    },
    /// Changes a setting of the cluster.
    SetSetting {
        /// Which one.
        setting: ClusterSetting,
        /// Its value; `None`: the default.
        value: Option<u64>,
    },
    /// Forgets outcomes that are too old for retries, where no other edits come along that would.
    PurgeOutcomes {
        /// Most outcomes forgotten by this edit.
        limit: u32,
    },
    /// Remembers what DataNodes are and when they were heard of; those that were forgotten stay so.
    RecordNodes {
        /// Which nodes.
        nodes: Vec<NodeSeen>,
    },
    /// Forgets DataNodes for good.
    ForgetNodes {
        /// Which nodes.
        nodes: Vec<NodeId>,
    },
    /// Raises the cluster's feature level, and brings the tables to it. A level that is reached already is fine.
    RaiseLevel {
        /// The new level.
        to: u16,
    },
}

/// The feature level from which on the nodes of an open chunk's pipeline are part of the namespace.
pub const PIPELINES: u16 = 2;

/// The feature level from which on the namespace remembers DataNodes and their volumes.
pub const REGISTRY: u16 = 2;

/// The feature level from which on closed files are appended to, truncated and concatenated.
pub const APPENDS: u16 = 3;

/// The feature level from which on it is counted what the tree below each directory takes, and directories have quotas.
pub const QUOTAS: u16 = 3;

/// The feature level from which on removed files are kept in the trash.
pub const TRASHES: u16 = 3;

/// The feature level from which on files and directories have ACLs and extended attributes.
pub const ATTRIBUTES: u16 = 3;

/// The feature level from which on the cluster has settings beside the balancer's and safe mode.
pub const SETTINGS: u16 = 3;

/// A DataNode as the namespace is to remember it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSeen {
    /// The node.
    pub id: NodeId,
    /// What it is.
    pub record: NodeRecord,
    /// Unix time at which it was heard of last.
    pub seen: Millis,
}

/// What a successful edit answers. Kept for retries of the same request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing to tell.
    Done,
    /// The file or directory as it is now (mkdir, create, complete).
    Status(FileStatus),
    /// A chunk was added.
    ChunkAdded {
        /// The chunk.
        chunk: ChunkId,
        /// Its generation stamp.
        generation: GenStamp,
        /// Its number within the file, from 0.
        index: u64,
        /// Where in the file it begins, in bytes.
        offset: u64,
    },
    /// A generation stamp was taken.
    Generation(GenStamp),
    /// Whether there was something to delete.
    Deleted(bool),
    /// It was moved into the trash, and there to this path.
    Trashed(FsPath),
    /// Nothing was deleted: to see whether the caller may, too many directories would have to be looked at in one edit.
    DeleteInParts,
    /// Recovery: closed already, or which chunks must be recovered with which stamps.
    Recovery {
        /// The file is closed.
        closed: bool,
        /// The chunks to recover in order, their new stamps, and the bytes of each that readers count on.
        chunks: Vec<Extent>,
    },
    /// Deleted trees were freed, in part or wholly.
    Reaped {
        /// Inodes freed.
        inodes: u32,
        /// Whether more wait.
        more: bool,
    },
}

impl Outcome {
    /// The feature level that a program must know to read all of it.
    pub fn level(&self) -> u16 {
        match self {
            Self::Trashed(_) => TRASHES,
            Self::Status(status) if status.has_acl => ATTRIBUTES,
            Self::Done
            | Self::Status(_)
            | Self::ChunkAdded { .. }
            | Self::Generation(_)
            | Self::Deleted(_)
            | Self::DeleteInParts
            | Self::Recovery { .. }
            | Self::Reaped { .. } => FIRST_LEVEL,
        }
    }
}

impl Edit {
    /// The feature level that a cluster must have for this edit, and a program must know to apply it.
    pub fn level(&self) -> u16 {
        match self {
            Self::RaiseLevel { to } => *to,
            Self::RecordNodes { .. } | Self::ForgetNodes { .. } => REGISTRY,
            Self::Append { .. } | Self::Truncate { .. } | Self::Concat { .. } => APPENDS,
            Self::SetQuota { .. } => QUOTAS,
            Self::Trash { .. } | Self::SetTrash { .. } | Self::TendTrash { .. } => TRASHES,
            Self::ChangeAcl { .. } | Self::SetXattr { .. } | Self::RemoveXattr { .. } => ATTRIBUTES,
            Self::Mkdir { mode, .. } | Self::Create { mode, .. } => {
                if mode.unmasked.is_some() {
                    ATTRIBUTES
                } else {
                    FIRST_LEVEL
                }
            }
            Self::SetSetting { .. } => SETTINGS,
            Self::BeginRecovery { holder, .. } => {
                if holder.is_some() {
                    APPENDS
                } else {
                    FIRST_LEVEL
                }
            }
            Self::AddChunk { pipeline, .. } | Self::UpdatePipeline { pipeline, .. } => {
                if pipeline.is_empty() { FIRST_LEVEL } else { PIPELINES }
            }
            // By name, so that a new kind, which no earlier program knows, is not taken for one of the first level.
            Self::AbandonChunk { .. }
            | Self::CommitLength { .. }
            | Self::CommitChunk { .. }
            | Self::Complete { .. }
            | Self::Discard { .. }
            | Self::NewGeneration { .. }
            | Self::Rename { .. }
            | Self::Delete { .. }
            | Self::SetReplication { .. }
            | Self::SetMode { .. }
            | Self::SetOwner { .. }
            | Self::SetTimes { .. }
            | Self::Touch { .. }
            | Self::CommitRecovery { .. }
            | Self::Reap { .. }
            | Self::PurgeOutcomes { .. }
            | Self::SetNodeDuty { .. }
            | Self::SetBalancer { .. }
            | Self::EndBalancer { .. }
            | Self::SetSafeMode { .. } => FIRST_LEVEL,
        }
    }

    /// Whether it makes the namespace larger, which a disk that is nearly full has no room for. What only finishes, moves
    /// or removes something is always taken.
    pub fn grows(&self) -> bool {
        match self {
            Self::Mkdir { .. }
            | Self::Create { .. }
            | Self::Append { .. }
            | Self::AddChunk { .. }
            // These make directories.
            | Self::Trash { .. }
            | Self::SetTrash { .. }
            | Self::SetXattr { .. } => true,
            Self::ChangeAcl { change, .. } => change.grows(),
            Self::AbandonChunk { .. }
            | Self::CommitLength { .. }
            | Self::CommitChunk { .. }
            | Self::Complete { .. }
            | Self::NewGeneration { .. }
            | Self::UpdatePipeline { .. }
            | Self::Truncate { .. }
            | Self::Concat { .. }
            | Self::Rename { .. }
            | Self::Discard { .. }
            | Self::Delete { .. }
            | Self::TendTrash { .. }
            | Self::SetQuota { .. }
            | Self::SetReplication { .. }
            | Self::SetMode { .. }
            | Self::SetOwner { .. }
            | Self::SetTimes { .. }
            | Self::Touch { .. }
            | Self::RemoveXattr { .. }
            | Self::BeginRecovery { .. }
            | Self::CommitRecovery { .. }
            | Self::Reap { .. }
            | Self::PurgeOutcomes { .. }
            | Self::SetNodeDuty { .. }
            | Self::SetBalancer { .. }
            | Self::EndBalancer { .. }
            | Self::SetSafeMode { .. }
            | Self::SetSetting { .. }
            | Self::RecordNodes { .. }
            | Self::ForgetNodes { .. }
            | Self::RaiseLevel { .. } => false,
        }
    }
}

/// What an edit did that the engine must follow. Not kept: what it knows is rebuilt from the database.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The decisions are told this.
    Event(Event),
    /// A DataNode has another duty.
    DutySet {
        /// Which node.
        node: NodeId,
        /// Its duty, with a Unix time.
        duty: NodeDuty,
    },
    /// A DataNode is remembered.
    NodeRecorded {
        /// Which node.
        node: NodeId,
        /// What it is.
        record: NodeRecord,
        /// Unix time at which it was heard of last.
        seen: Millis,
    },
    /// A deleted tree waits to be reaped.
    Garbage,
    /// A snapshot took the place of everything: what was derived from the database must be read again.
    Replaced,
}

impl From<Event> for Change {
    fn from(event: Event) -> Self {
        Self::Event(event)
    }
}

/// Result of applying one proposal.
pub type Applied = FsResult<(Outcome, Vec<Change>)>;

/// Checks a wanted number of replicas.
pub(crate) fn check_replication(replication: u32) -> FsResult<()> {
    if (1..=MAX_REPLICATION).contains(&replication) {
        return Ok(());
    }
    Err(FsError::invalid(format!(
        "a replication of {replication} is not possible: use 1 to {MAX_REPLICATION}"
    )))
}

/// Checks how large a file's chunks shall be, in bytes.
pub(crate) fn check_chunk_size(size: u64) -> FsResult<()> {
    let unit = BYTES_PER_CHECKSUM as u64;
    if (MIN_CHUNK_SIZE..=MAX_CHUNK_SIZE).contains(&size) && size.is_multiple_of(unit) {
        return Ok(());
    }
    Err(FsError::invalid(format!(
        "a chunk size of {size} bytes is not possible: use a multiple of {unit} from {MIN_CHUNK_SIZE} to \
         {MAX_CHUNK_SIZE}"
    )))
}
