//! One simulated DataNode.

use std::collections::VecDeque;

use dfs_namenode_core::{Address, NodeStats, Volume};
use dfs_types::{Millis, NodeId, StorageType, VolumeHealth, VolumeId};
use uuid::Uuid;

use crate::disk::Disk;
use crate::settings::Settings;

/// What a node's process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Process {
    /// It runs and is heard of.
    Up,
    /// It runs, but nobody hears of it.
    CutOff,
    /// It does not run; its disks keep what they have.
    Down,
    /// It and its disks are gone for good.
    Lost,
}

/// A DataNode.
#[derive(Debug)]
pub(crate) struct DataNode {
    pub(crate) id: NodeId,
    pub(crate) process: Process,
    /// Which process of it runs.
    pub(crate) incarnation: u128,
    /// Whether this process has registered.
    pub(crate) registered: bool,
    /// It said that it is stopping.
    pub(crate) stopping: bool,
    /// Term of the leader that it obeys.
    pub(crate) fence: u64,
    /// Whether it is dead to the NameNode.
    pub(crate) dead: bool,
    /// Whether it came back after it was dead: it may be given more time than others from then on.
    pub(crate) came_back: bool,
    /// When the NameNode heard of it last.
    pub(crate) heard: Option<Millis>,
    pub(crate) disk: Disk,
    /// Bytes of the disks.
    pub(crate) capacity: u64,
    /// How many changes were told.
    pub(crate) told: u64,
    /// Chunks that came or (`true`) went, to be told.
    pub(crate) changes: Vec<(u32, bool)>,
    /// Deletions it was told.
    pub(crate) deleting: VecDeque<u32>,
    /// Whether its full report is on its way.
    pub(crate) reporting: bool,
    address: Address,
}

/// The id of a node; ids begin at 1.
pub(crate) fn id_of(node: usize) -> NodeId {
    NodeId(Uuid::from_u128(node as u128 + 1))
}

/// The number of a node.
pub(crate) fn number_of(id: NodeId) -> usize {
    (id.0.as_u128() as usize).wrapping_sub(1)
}

impl DataNode {
    pub(crate) fn new(settings: &Settings, node: usize, disk: Disk, capacity: u64) -> Self {
        let topology = format!("/zone-{}/rack-{}", settings.zone(node), settings.rack(node));
        Self {
            id: id_of(node),
            process: Process::Down,
            incarnation: 1,
            registered: false,
            stopping: false,
            fence: 0,
            dead: false,
            came_back: false,
            heard: None,
            disk,
            capacity,
            told: 0,
            changes: Vec::new(),
            deleting: VecDeque::new(),
            reporting: false,
            address: Address {
                host: format!("host-{node}"),
                data_port: 9_001,
                http_port: 9_864,
                location: topology,
            },
        }
    }

    /// What the replicas take of the disks, from 0 to 1.
    pub(crate) fn use_share(&self, settings: &Settings) -> f64 {
        self.disk.len() as f64 * settings.chunk_bytes as f64 / self.capacity.max(1) as f64
    }

    /// What its heartbeat says.
    pub(crate) fn stats(&self, settings: &Settings, clients: (u32, u32), copies: u32) -> NodeStats {
        let used = self.disk.len() as u64 * settings.chunk_bytes;
        let volume = Volume {
            id: VolumeId(self.id.0),
            path: "/data".to_owned(),
            file_system: None,
            storage: StorageType::Disk,
            health: VolumeHealth::Healthy,
            capacity: self.capacity,
            used,
            available: self.capacity.saturating_sub(used),
            replicas: self.disk.len() as u64,
        };
        NodeStats {
            address: self.address.clone(),
            machine: String::new(),
            volumes: vec![volume],
            active_writes: clients.1,
            active_reads: clients.0,
            active_copies: copies,
            stopping: self.stopping,
            as_of: self.told + self.changes.len() as u64,
        }
    }
}
