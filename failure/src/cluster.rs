//! What a driver does to a cluster, whatever it is made of.

use std::any::Any;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use dfs_client::Builder;
pub use dfs_local::{Daemon, Party};
use dfs_types::{ChunkId, GenStamp};

/// Something that not every driver can do, or not everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Capability {
    /// Hold a daemon ([`Cluster::pause`]).
    Pause,
    /// Cut the network ([`Cluster::part`]).
    Network,
    /// Read and change what lies on a DataNode's disk ([`Cluster::replicas`], [`Cluster::stored`], [`Cluster::corrupt`]).
    Disk,
    /// Let a disk be full ([`Cluster::fill`]).
    FullDisk,
    /// Let the disk that all daemons log to be full ([`Cluster::fill_logs`]).
    FullLogDisk,
    /// Let a disk fail ([`Cluster::lose_volume`]).
    FailingDisk,
    /// Let a disk be slow ([`Cluster::throttle`]).
    SlowDisk,
    /// Let a disk hang ([`Cluster::hang_volume`]).
    HangingDisk,
    /// Remove files of volumes and exchange volumes behind a DataNode's back ([`Cluster::remove_replica`],
    /// [`Cluster::empty_volume`], [`Cluster::exchange_volumes`]).
    Volumes,
    /// Forget what was never synced ([`Cluster::power_cut`]).
    PowerCut,
    /// Set a daemon's clock ([`Cluster::skew`]).
    Clock,
    /// Run the NameNode's program of the release before ([`Shape::earlier`], [`Cluster::set_release`]).
    Releases,
    /// Begin with an image of the release before ([`Shape::earlier`]), and change the image of all pods.
    Images,
    /// Add a DataNode ([`Cluster::add_datanode`]).
    Grow,
    /// Give the NameNode the metadata of a backup ([`Cluster::restore`]).
    Restore,
    /// Say where each DataNode is ([`Shape::topology`]).
    Topology,
    /// Reach the daemons by their addresses, from a process of the suite's own.
    Addresses,
}

/// Times by which the NameNode judges: short ones, so that nobody has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Times {
    /// Interval of heartbeats.
    pub heartbeat: Duration,
    /// Silence after which a DataNode is stale.
    pub stale_after: Duration,
    /// Silence after which it is dead.
    pub dead_after: Duration,
    /// How long an announced restart may take, and copying is held back when many vanish at once.
    pub restart_grace: Duration,
    /// Age of a lease from which another client may take a file over.
    pub lease_soft: Duration,
    /// Age of a lease after which the NameNode closes a file.
    pub lease_hard: Duration,
}

/// The usual times of the suite.
pub const TIMES: Times = Times {
    heartbeat: Duration::from_millis(200),
    stale_after: Duration::from_millis(1_500),
    dead_after: Duration::from_secs(4),
    restart_grace: Duration::from_secs(6),
    lease_soft: Duration::from_secs(2),
    lease_hard: Duration::from_mins(5),
};

/// Bytes of each disk of a cluster whose disks can be full.
pub const DISK_BYTES: u64 = 48 << 20;

/// How a cluster is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    /// NameNodes.
    pub namenodes: u16,
    /// DataNodes.
    pub datanodes: u16,
    /// Volumes of each.
    pub volumes: u16,
    /// `/ZONE/RACK` of each DataNode; none is the same as all in one.
    pub topology: &'static [&'static str],
    /// Whether disks are small (each [`DISK_BYTES`]) and can be full, fail, be slow and lose power.
    pub disks: bool,
    /// Whether all daemons log to a disk of the suite's own, which can be full.
    pub log_disk: bool,
    /// Whether clocks can be set.
    pub clocks: bool,
    /// Whether its NameNodes begin with the program of the release before.
    pub earlier: bool,
    /// Times by which the NameNode judges.
    pub times: Times,
    /// Silence of a disk after which its volume is suspect, and after which it has failed.
    pub disk_patience: (Duration, Duration),
}

impl Shape {
    /// A shape of so many daemons, with nothing special.
    pub const fn new(namenodes: u16, datanodes: u16) -> Self {
        Self {
            namenodes,
            datanodes,
            volumes: 1,
            topology: &[],
            disks: false,
            log_disk: false,
            clocks: false,
            earlier: false,
            times: TIMES,
            disk_patience: (Duration::from_secs(5), Duration::from_secs(50)),
        }
    }
}

/// Who hears whom no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// Neither side hears the other.
    BothWays,
    /// What the first side sends does not arrive; what it is sent does.
    OneWay,
}

/// A replica as it lies on a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredReplica {
    /// Of which chunk.
    pub chunk: ChunkId,
    /// Of which version.
    pub generation: GenStamp,
    /// Bytes of data.
    pub length: u64,
}

/// A running cluster that things can be done to. Daemons are called `namenode-1`, `datanode-2` …
///
/// A driver may have scenarios of its own for what only it can do: they find it again as [`Any`].
#[async_trait]
pub trait Cluster: Any + Send + Sync {
    /// How it was built; DataNodes that were added later are not counted.
    fn shape(&self) -> &Shape;

    /// A client with connections of its own, yet to be connected.
    async fn client(&self) -> Result<Builder>;

    /// `HOST:PORT` under which the NameNodes know a DataNode.
    async fn address(&self, node: Daemon) -> Result<String>;

    /// The NameNode that leads.
    async fn leader(&self) -> Result<Daemon>;

    /// All daemons there are, running or not.
    async fn daemons(&self) -> Result<Vec<Daemon>>;

    /// Waits until all daemons that run are ready.
    async fn wait_ready(&self) -> Result<()>;

    /// Starts daemons, at once, and waits until they listen. Those that run are left alone.
    async fn start(&self, nodes: &[Daemon]) -> Result<()>;

    /// Stops a daemon as an administrator does: it can say goodbye.
    async fn stop(&self, node: Daemon) -> Result<()>;

    /// Ends daemons at the same moment, without a word.
    async fn kill(&self, nodes: &[Daemon]) -> Result<()>;

    /// Holds a daemon: its connections stay, and it says nothing.
    async fn pause(&self, node: Daemon) -> Result<()>;

    /// Lets it go on.
    async fn resume(&self, node: Daemon) -> Result<()>;

    /// Keeps what each of `ones` sends from each of `others`, silently; both ways if `cut` says so.
    async fn part(&self, ones: &[Party], others: &[Party], cut: Cut) -> Result<()>;

    /// Ends everything that is wrong with network, disks and clocks. Daemons are left as they are.
    async fn heal(&self) -> Result<()>;

    /// The finalized replicas on a DataNode's disks.
    async fn replicas(&self, node: Daemon) -> Result<Vec<StoredReplica>>;

    /// The bytes of a chunk's replica as they lie on a DataNode's disk; `None`: it has none.
    async fn stored(&self, node: Daemon, chunk: ChunkId) -> Result<Option<Vec<u8>>>;

    /// Flips bits of a replica on a DataNode's disk, behind its back.
    async fn corrupt(&self, node: Daemon, chunk: ChunkId) -> Result<()>;

    /// Lets no more byte fit on a daemon's disks.
    async fn fill(&self, node: Daemon) -> Result<()>;

    /// Lets no more byte fit on the disk that all daemons log to.
    async fn fill_logs(&self) -> Result<()>;

    /// Lets every access to a volume fail (the first one is 1).
    async fn lose_volume(&self, node: Daemon, volume: u16) -> Result<()>;

    /// Replaces a stopped daemon's disks by empty ones.
    async fn wipe(&self, node: Daemon) -> Result<()>;

    /// Lets a daemon's disks carry at most so many bytes a second.
    async fn throttle(&self, node: Daemon, bytes_per_second: u64) -> Result<()>;

    /// Lets a volume's disk answer nothing until [`Cluster::heal`] (the first one is 1).
    async fn hang_volume(&self, node: Daemon, volume: u16) -> Result<()>;

    /// Removes the files of a chunk's replica from a DataNode's disk, behind its back.
    async fn remove_replica(&self, node: Daemon, chunk: ChunkId) -> Result<()>;

    /// Removes all that lies on a volume, behind its DataNode's back (the first one is 1).
    async fn empty_volume(&self, node: Daemon, volume: u16) -> Result<()>;

    /// The names of what lies on a volume.
    async fn on_volume(&self, node: Daemon, volume: u16) -> Result<Vec<String>>;

    /// Puts the volumes of this number of two DataNodes into each other's places, behind their backs.
    async fn exchange_volumes(&self, one: Daemon, other: Daemon, volume: u16) -> Result<()>;

    /// Sets a daemon's clock so many seconds fast (or slow, below zero).
    async fn skew(&self, node: Daemon, seconds: i64) -> Result<()>;

    /// Says whether a NameNode runs the program of the release before from its next start on.
    async fn set_release(&self, node: Daemon, earlier: bool) -> Result<()>;

    /// Takes the power from daemons at the same moment: they end, and their disks forget what was never synced.
    async fn power_cut(&self, nodes: &[Daemon]) -> Result<()>;

    /// Adds an empty DataNode and waits until it is ready.
    async fn add_datanode(&self) -> Result<Daemon>;

    /// Replaces a stopped NameNode's metadata by those of a backup, which a client wrote to this file.
    async fn restore(&self, node: Daemon, backup: &Path) -> Result<()>;

    /// Copies what the daemons logged into a folder, for those who look for the reason of something.
    async fn save_logs(&self, folder: &Path) -> Result<()>;

    /// Ends it and removes all of it. A driver also does so, as far as it can, when it is dropped.
    async fn remove(&self) -> Result<()>;
}

/// A place where clusters can be built.
#[async_trait]
pub trait Site: Send + Sync {
    /// For people: where this is.
    fn name(&self) -> String;

    /// Why this can't be done here; `None`: it can.
    fn lacks(&self, capability: Capability) -> Option<String>;

    /// Longest that one scenario may take: far more than any needs.
    fn limit(&self) -> Duration {
        Duration::from_mins(8)
    }

    /// Builds a cluster of this shape and waits until it is ready.
    async fn build(&self, shape: &Shape) -> Result<Arc<dyn Cluster>>;
}
