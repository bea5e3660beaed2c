//! What the decision code is told, what it answers, and what it orders DataNodes to do.

use std::time::Duration;

use dfs_types::{
    Address, ChunkId, DutyState, GenStamp, InodeId, Layout, NodeDuty, NodeId, NodeState, ReplicaRecord,
    StorageType, Volume, VolumeHealth, VolumeId,
};

/// What the namespace remembers of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VolumeRecord {
    /// The volume.
    pub id: VolumeId,
    /// Directory on the node.
    pub path: String,
    /// What its storage is.
    pub storage: StorageType,
    /// Bytes of its file system.
    pub capacity: u64,
}

impl VolumeRecord {
    /// The volume as it is shown while its node is not heard of.
    pub(crate) fn unheard(&self) -> Volume {
        let Self { id, path, storage, capacity } = self.clone();
        let health = VolumeHealth::Healthy;
        Volume { id, path, file_system: None, storage, health, capacity, used: 0, available: 0, replicas: 0 }
    }
}

/// What the namespace remembers of a DataNode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRecord {
    /// Where it was last.
    pub address: Address,
    /// The machine it ran on; empty if its host says that.
    pub machine: String,
    /// The release of its program.
    pub release: String,
    /// Its volumes.
    pub volumes: Vec<VolumeRecord>,
}

/// A node, and the type of its storage on which a replica is, or shall be; `None`: on any, or it is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// The node.
    pub node: NodeId,
    /// Its storage.
    pub storage: Option<StorageType>,
}

impl From<NodeId> for Target {
    fn from(node: NodeId) -> Self {
        Self { node, storage: None }
    }
}

/// What a node says with each heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStats {
    /// Where it is.
    pub address: Address,
    /// The machine it runs on; empty if its host says that.
    pub machine: String,
    /// Its volumes.
    pub volumes: Vec<Volume>,
    /// Write sessions under way.
    pub active_writes: u32,
    /// Read sessions under way.
    pub active_reads: u32,
    /// Copies it sends.
    pub active_copies: u32,
    /// It is stopping cleanly and will be back.
    pub stopping: bool,
    /// The free space of its volumes is as of the change of this number, or later; see [`Report`].
    pub as_of: u64,
}

/// A message of a DataNode about its replicas: all changes after a number, in order, and perhaps a slice of its full
/// report. A process numbers the changes of its replicas 1, 2, 3 …
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// The number of the last change before these.
    pub after: u64,
    /// Replicas that came, changed or (`true`) went.
    pub changes: Vec<(ReplicaRecord, bool)>,
    /// As of the last of these changes.
    pub slice: Option<Slice>,
}

/// Every replica of the chunks in a range of ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// The first id.
    pub first: ChunkId,
    /// The last id; the largest there is in the last slice of a full report.
    pub last: ChunkId,
    /// As in a heartbeat, from before the node looked at these replicas.
    pub fence: u64,
    /// Sorted by chunk.
    pub replicas: Vec<ReplicaRecord>,
}

impl Slice {
    /// A full report in one piece.
    pub fn whole(fence: u64, replicas: Vec<ReplicaRecord>) -> Self {
        Self { first: ChunkId(0), last: ChunkId(u64::MAX), fence, replicas }
    }
}

/// How the balancer works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Balancing {
    /// How far a node's used share of its space may lie from that of all nodes together, in thousandths.
    pub threshold_permille: u32,
    /// Most bytes that a node sends, and most that it receives, for balancing.
    pub bytes_per_second: u64,
}

impl Default for Balancing {
    fn default() -> Self {
        Self { threshold_permille: 100, bytes_per_second: 64 << 20 }
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The namespace remembers this of a node, which had not been heard of for so long.
    NodeRecorded {
        /// Which node.
        node: NodeId,
        /// What is remembered.
        record: NodeRecord,
        /// How long.
        silence: Duration,
    },
    /// An administrator has forgotten a node: it is taken in no more, and nothing waits for what it had.
    NodeForgotten {
        /// Which node.
        node: NodeId,
    },
    /// A DataNode process introduced itself. Its earlier replicas are forgotten until its full report comes.
    Registered {
        /// Which node.
        node: NodeId,
        /// Which process of it.
        incarnation: u128,
        /// Its software's version.
        version: String,
        /// Its state.
        stats: NodeStats,
    },
    /// A registered DataNode is alive.
    HeartbeatSeen {
        /// Which node.
        node: NodeId,
        /// Highest term of a leader it has heard of: it obeys no older one.
        fence: u64,
        /// Its state.
        stats: NodeStats,
    },
    /// A DataNode tells of its replicas.
    Reported {
        /// Which node.
        node: NodeId,
        /// What it tells.
        report: Report,
    },
    /// A reader found a replica that does not match its checksums. Not believed of the last replica that can be read:
    /// that takes the node's own record of it.
    ReplicaCorrupt {
        /// Which chunk.
        chunk: ChunkId,
        /// Which version.
        generation: GenStamp,
        /// Where.
        node: NodeId,
    },
    /// At start, before anything else: a chunk of the namespace. `length` is `None` while it is being written.
    ChunkLoaded {
        /// Which chunk.
        chunk: ChunkId,
        /// Its version.
        generation: GenStamp,
        /// Its length.
        length: Option<u64>,
        /// How its bytes lie.
        layout: Layout,
    },
    /// A chunk was added to an open file.
    ChunkAdded {
        /// Which chunk.
        chunk: ChunkId,
        /// Its version.
        generation: GenStamp,
        /// How its bytes lie.
        layout: Layout,
    },
    /// A chunk's length is fixed: replicas of another length or an older generation are bad from now on.
    ChunkCommitted {
        /// Which chunk.
        chunk: ChunkId,
        /// Its version.
        generation: GenStamp,
        /// Its length.
        length: u64,
    },
    /// A chunk being written has a new version.
    GenerationChanged {
        /// Which chunk.
        chunk: ChunkId,
        /// The new version.
        generation: GenStamp,
    },
    /// A chunk belongs to no file any more.
    ChunkRemoved {
        /// Which chunk.
        chunk: ChunkId,
    },
    /// A chunk's bytes are to lie otherwise: more or fewer replicas are wanted.
    LayoutChanged {
        /// Which chunk.
        chunk: ChunkId,
        /// How they are to lie now.
        layout: Layout,
    },
    /// The pipeline of a chunk being written now consists of these nodes.
    PipelineSet {
        /// Which chunk.
        chunk: ChunkId,
        /// Its nodes.
        nodes: Vec<NodeId>,
    },
    /// A file was opened for writing (also sent at start for each open file).
    LeaseTaken {
        /// Which file.
        inode: InodeId,
        /// By whom.
        holder: String,
    },
    /// A holder is alive.
    LeaseRenewed {
        /// Who.
        holder: String,
    },
    /// A file is closed or gone.
    LeaseReleased {
        /// Which file.
        inode: InodeId,
    },
    /// One of an open file's last chunks must be recovered under a new version; the core sends a [`Command::Recover`](dfs_types::Command::Recover) to one
    /// holder of a replica and, if nothing comes of it, to another.
    RecoveryWanted {
        /// Which chunk.
        chunk: ChunkId,
        /// The new version.
        new_generation: GenStamp,
        /// Bytes of it that readers count on: it never ends with fewer, unless that is accepted or every node of the
        /// pipeline has answered. Of a committed chunk all.
        acknowledged: u64,
        /// The nodes that it was written to last, as the namespace has them; empty: they are not known.
        pipeline: Vec<NodeId>,
    },
    /// An administrator accepts that the recovery of a chunk ends with less than was acknowledged. Forgotten with the
    /// leadership.
    LossAccepted {
        /// Which chunk.
        chunk: ChunkId,
    },
    /// This NameNode leads from now on. What was ordered before is forgotten, leases are renewed, and no node is
    /// relied on for deletions until it has said that it obeys this leader and then what it has.
    LeadershipTaken {
        /// Larger than in any earlier leadership, of whichever NameNode.
        term: u64,
    },
    /// Another NameNode leads, or none: nothing is decided here any more.
    LeadershipLost,
    /// An administrator wants a node, registered or not, to be used for this. Also sent at start, for each node that is
    /// not in service.
    DutySet {
        /// Which node.
        node: NodeId,
        /// What for.
        duty: NodeDuty,
    },
    /// The balancer is started (or its settings change), or stopped. Also sent at start, if it runs.
    BalancerSet {
        /// How it is to work; `None` stops it.
        settings: Option<Balancing>,
    },
    /// A node's disks are gone for good: what it held is copied at once. Should it be heard of again all the same, it
    /// is asked what it has.
    LossAnnounced {
        /// Which node.
        node: NodeId,
    },
    /// An administrator switched safe mode.
    SafeModeSet {
        /// On or off.
        on: bool,
    },
    /// Time passed; sent about twice a second.
    Tick,
}

/// A recovery that waits for a replica with everything acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingRecovery {
    /// Which chunk.
    pub chunk: ChunkId,
    /// Bytes that the replica must have.
    pub acknowledged: u64,
    /// The longest replica known, and its length in bytes as its node last told it.
    pub best: Option<(NodeId, u64)>,
    /// The nodes it was written to that have not said what they hold, or have a volume that can't be asked. Empty also if
    /// the nodes are not known.
    pub missing: Vec<NodeId>,
    /// Whether an administrator accepted that it ends with that.
    pub loss_accepted: bool,
}

/// What follows from an event, to be performed by the engine around this crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The number of good finalized replicas of a chunk grew.
    ReplicaGained {
        /// Which chunk.
        chunk: ChunkId,
    },
    /// A lease is older than its hard limit: recover the file.
    LeaseExpired {
        /// Which file.
        inode: InodeId,
        /// Whose lease.
        holder: String,
    },
    /// A recovery has no replica to work with, and needs none: commit it with length 0.
    NothingToRecover {
        /// Which chunk.
        chunk: ChunkId,
        /// The new version.
        new_generation: GenStamp,
    },
    /// A recovery has no replica with all that was acknowledged, and waits for one from now on.
    RecoveryWaits {
        /// For what.
        waiting: WaitingRecovery,
    },
    /// A committed chunk that was to be recovered has been finalized meanwhile: commit it as it is.
    RecoveryNeedless {
        /// Which chunk.
        chunk: ChunkId,
        /// Its version.
        generation: GenStamp,
        /// Its length.
        length: u64,
    },
    /// A node became live, stale or dead.
    NodeChanged {
        /// Which node.
        node: NodeId,
        /// What it is now.
        state: NodeState,
    },
    /// A node's duty changed or got further.
    DutyChanged {
        /// Which node.
        node: NodeId,
        /// How far it is now.
        state: DutyState,
    },
    /// The balancer has no more to do and ended: it is not to be started again by the next leader.
    BalancerEnded {
        /// Whether every node is within the threshold; else what remains can't be moved.
        balanced: bool,
    },
    /// Safe mode began or ended.
    SafeModeChanged {
        /// On or off.
        on: bool,
    },
}
