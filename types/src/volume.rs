//! What NameNodes and clients know of a DataNode's volumes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{FileSystemId, VolumeId};

/// How a volume's disk is. In the order of concern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeHealth {
    /// It works.
    #[default]
    Healthy,
    /// Its disk has not answered for some seconds: no new replicas go there, and other replicas are read first. It is
    /// healthy again when the disk answers.
    Suspect,
    /// It is out of use until its DataNode is restarted; its replicas are lost to the cluster.
    Failed,
}

impl VolumeHealth {
    /// Every value.
    pub const ALL: [Self; 3] = [Self::Healthy, Self::Suspect, Self::Failed];

    /// Its name in metrics and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Suspect => "suspect",
            Self::Failed => "failed",
        }
    }
}

/// What a volume's storage is, by HDFS's names; its fourth, `PROVIDED`, is kept for storage outside the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum StorageType {
    /// A spinning disk, or nobody said anything.
    #[default]
    Disk,
    /// A solid state disk.
    Ssd,
    /// Dense storage for what is hardly read.
    Archive,
}

impl StorageType {
    /// Every value.
    pub const ALL: [Self; 3] = [Self::Disk, Self::Ssd, Self::Archive];

    /// Its name in options, metrics and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disk => "DISK",
            Self::Ssd => "SSD",
            Self::Archive => "ARCHIVE",
        }
    }

    /// The type of this name, in whatever case.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|storage| storage.name().eq_ignore_ascii_case(name))
    }
}

/// Whether a DataNode is heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeState {
    /// Heard of lately.
    Live,
    /// Silent for a while: last choice for reads, none for writes.
    Stale,
    /// Silent for so long that its replicas no longer count.
    Dead,
}

impl NodeState {
    /// Its name in metrics, tables and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Stale => "stale",
            Self::Dead => "dead",
        }
    }
}

/// One volume, as its DataNode says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    /// The volume.
    pub id: VolumeId,
    /// Directory on the node.
    pub path: String,
    /// The file system it is on, if its node knows.
    pub file_system: Option<FileSystemId>,
    /// What its storage is.
    pub storage: StorageType,
    /// How its disk is.
    pub health: VolumeHealth,
    /// Bytes of the file system.
    pub capacity: u64,
    /// Bytes of replicas.
    pub used: u64,
    /// Bytes that new replicas may take.
    pub available: u64,
    /// Number of replicas.
    pub replicas: u64,
}

impl Volume {
    /// Its bytes, to be summed up with those of others: [`Space::sum`] counts a shared disk once.
    pub fn space(&self) -> VolumeSpace {
        let Self { id: _, path: _, file_system, storage: _, health, capacity, used, available, replicas: _ } =
            self;
        VolumeSpace {
            file_system: *file_system,
            health: *health,
            capacity: *capacity,
            used: *used,
            available: *available,
        }
    }
}

/// Bytes of one volume, as its DataNode says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VolumeSpace {
    /// The file system it is on; `None` if its DataNode does not know, and then it is taken for one of its own.
    pub file_system: Option<FileSystemId>,
    /// How it is: a failed one has no bytes, a suspect one none available.
    pub health: VolumeHealth,
    /// Bytes of the file system.
    pub capacity: u64,
    /// Bytes of replicas.
    pub used: u64,
    /// Bytes that new replicas may take.
    pub available: u64,
}

/// Bytes of several volumes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    /// Bytes of their file systems, each counted once.
    pub capacity: u64,
    /// Bytes of replicas.
    pub used: u64,
    /// Bytes that new replicas may take; what volumes of one file system share is counted once.
    pub available: u64,
}

impl Space {
    /// The sum over volumes, of any nodes. A file system that several of them are on is counted once: its capacity is
    /// that of each, and what is available to one is taken from the others.
    pub fn sum(volumes: impl IntoIterator<Item = VolumeSpace>) -> Self {
        let mut sum = Self::default();
        let mut shared = BTreeMap::<FileSystemId, (u64, Option<u64>)>::new();
        let in_use = volumes.into_iter().filter(|volume| volume.health != VolumeHealth::Failed);
        for VolumeSpace { file_system, health, capacity, used, available } in in_use {
            sum.used = sum.used.saturating_add(used);
            let available = (health == VolumeHealth::Healthy).then_some(available);
            if let Some(id) = file_system {
                let (all, free) = shared.entry(id).or_default();
                *all = (*all).max(capacity);
                // Each knows what it has promised itself; the least is true for all.
                *free = match (*free, available) {
                    (Some(before), Some(available)) => Some(before.min(available)),
                    (before, available) => before.or(available),
                };
            } else {
                sum.capacity = sum.capacity.saturating_add(capacity);
                sum.available = sum.available.saturating_add(available.unwrap_or(0));
            }
        }
        for (capacity, available) in shared.into_values() {
            sum.capacity = sum.capacity.saturating_add(capacity);
            sum.available = sum.available.saturating_add(available.unwrap_or(0));
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(disk: Option<u8>, health: VolumeHealth, available: u64) -> VolumeSpace {
        let file_system = disk.and_then(|disk| FileSystemId::from_bytes(&[disk; 16]));
        VolumeSpace { file_system, health, capacity: 100, used: 10, available }
    }

    #[test]
    fn each_disk_is_counted_once() {
        use VolumeHealth::{Failed, Healthy, Suspect};
        for (volumes, expected) in [
            (vec![], (0, 0, 0)),
            (vec![volume(Some(1), Healthy, 50), volume(Some(1), Healthy, 40)], (100, 20, 40)),
            (vec![volume(Some(1), Healthy, 50), volume(Some(2), Healthy, 40)], (200, 20, 90)),
            (vec![volume(None, Healthy, 50), volume(None, Healthy, 40)], (200, 20, 90)),
            (vec![volume(Some(1), Healthy, 50), volume(Some(2), Failed, 40)], (100, 10, 50)),
            (vec![volume(Some(1), Suspect, 50), volume(None, Suspect, 40)], (200, 20, 0)),
            (vec![volume(Some(1), Suspect, 50), volume(Some(1), Healthy, 40)], (100, 20, 40)),
        ] {
            let Space { capacity, used, available } = Space::sum(volumes.clone());
            assert_eq!((capacity, used, available), expected, "{volumes:?}");
        }
    }
}
