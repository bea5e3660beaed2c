//! What is known of one DataNode, whatever it holds.

use std::time::Duration;

use dfs_types::{Millis, NodeDuty, NodeId, Space, StorageType, VolumeHealth, VolumeId};

use crate::cluster::topology::Place;
use crate::{NodeState, NodeStats, Volume};

/// A node's place in the table of nodes; two bytes, since every replica of the chunk map has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct NodeIndex(pub(crate) u16);

/// Which of a node's volumes: its place in the node's own list, for as long as its process lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct VolumeSlot(pub(crate) u8);

impl VolumeSlot {
    /// The node did not say which, or it has more volumes than one byte can count.
    pub(crate) const UNKNOWN: Self = Self(u8::MAX);
}

/// A node that was dead and came back is watched for so long.
pub(super) const FLAPPING: Duration = Duration::from_mins(10);

/// One DataNode, as it is known by its id.
#[derive(Debug)]
pub(crate) struct Node {
    pub(super) id: NodeId,
    /// Which process of it registered last.
    pub(super) incarnation: u128,
    pub(super) version: String,
    pub(super) stats: NodeStats,
    /// Every volume that this process has named; what a [`VolumeSlot`] points to.
    pub(super) volumes: Vec<VolumeId>,
    pub(super) place: Place,
    pub(super) state: NodeState,
    /// What it is used for.
    pub(super) duty: NodeDuty,
    /// How often this process was dead and came back lately, and when it died last.
    pub(super) deaths: u32,
    pub(super) died: Millis,
    /// When it was heard of last.
    pub(super) seen: Millis,
    /// The same, as the replicated state remembers it of a dead node.
    pub(super) noted: Option<Millis>,
}

impl Node {
    pub(super) fn new(id: NodeId, incarnation: u128, version: String, stats: NodeStats, now: Millis) -> Self {
        let mut volumes = Vec::new();
        note_volumes(&mut volumes, &stats);
        Self {
            id,
            incarnation,
            version,
            place: Place::of(&stats),
            volumes,
            stats,
            state: NodeState::Live,
            duty: NodeDuty::InService,
            deaths: 0,
            died: Millis::default(),
            seen: now,
            noted: None,
        }
    }

    /// Takes over what a heartbeat says.
    pub(super) fn hear(&mut self, stats: NodeStats, now: Millis) {
        if (&self.stats.address, &self.stats.machine) != (&stats.address, &stats.machine) {
            self.place = Place::of(&stats);
        }
        note_volumes(&mut self.volumes, &stats);
        self.stats = stats;
        self.seen = now;
    }

    pub(crate) fn id(&self) -> NodeId {
        self.id
    }

    /// Which process of it registered last.
    pub(crate) fn incarnation(&self) -> u128 {
        self.incarnation
    }

    /// The release of its program.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// What it said last.
    pub(crate) fn stats(&self) -> &NodeStats {
        &self.stats
    }

    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// As the last tick, or a later heartbeat, left it.
    pub(crate) fn state(&self) -> NodeState {
        self.state
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.state == NodeState::Dead
    }

    /// What it is used for.
    pub(crate) fn duty(&self) -> NodeDuty {
        self.duty
    }

    /// When it was heard of last.
    pub(crate) fn seen(&self) -> Millis {
        self.seen
    }

    /// Whether it can be given work: alive, and not about to stop.
    pub(crate) fn is_usable(&self) -> bool {
        self.state == NodeState::Live && !self.stats.stopping
    }

    /// Whether it can be given replicas: it has work, and is to be used.
    pub(crate) fn is_target(&self) -> bool {
        self.is_usable() && self.duty == NodeDuty::InService
    }

    /// Whether it is there and to be used, though it may not be heard of just now.
    pub(crate) fn is_in_use(&self) -> bool {
        self.state != NodeState::Dead && self.duty == NodeDuty::InService
    }

    /// How often it has been dead lately and come back.
    pub(crate) fn recent_deaths(&self, now: Millis) -> u32 {
        if now.since(self.died) < FLAPPING { self.deaths } else { 0 }
    }

    /// The space of its volumes together.
    pub(crate) fn space(&self) -> Space {
        Space::sum(self.stats.volumes.iter().map(Volume::space))
    }

    /// Where in the node's list a volume is.
    pub(crate) fn slot(&self, volume: Option<VolumeId>) -> VolumeSlot {
        let at = volume.and_then(|volume| self.volumes.iter().position(|there| *there == volume));
        at.and_then(|at| u8::try_from(at).ok()).map_or(VolumeSlot::UNKNOWN, VolumeSlot)
    }

    /// One of its volumes, as it said last.
    pub(crate) fn volume(&self, slot: VolumeSlot) -> Option<&Volume> {
        let id = self.volumes.get(usize::from(slot.0))?;
        self.stats.volumes.iter().find(|volume| volume.id == *id)
    }

    /// How the disk under a volume is. If it is not known which volume that is, as it is under any of those in use.
    pub(crate) fn health(&self, slot: VolumeSlot) -> VolumeHealth {
        match self.volume(slot) {
            Some(volume) => volume.health,
            // It had it, and names it no more.
            None if usize::from(slot.0) < self.volumes.len() => VolumeHealth::Failed,
            None if self.stats.volumes.iter().any(|volume| volume.health == VolumeHealth::Suspect) => {
                VolumeHealth::Suspect
            }
            None => VolumeHealth::Healthy,
        }
    }

    /// Whether the disks of all its volumes answer.
    pub(crate) fn is_healthy(&self) -> bool {
        self.stats.volumes.iter().all(|volume| volume.health == VolumeHealth::Healthy)
    }

    /// Bytes that can still be promised beside what is `taken` already, or 0 if no healthy volume has room for `bytes` more.
    pub(crate) fn room(&self, bytes: u64, taken: u64) -> u64 {
        room(self.stats.volumes.iter(), bytes, taken)
    }

    /// The same of its volumes of one type.
    pub(crate) fn room_on(&self, storage: StorageType, bytes: u64, taken: u64) -> u64 {
        room(self.stats.volumes.iter().filter(|volume| volume.storage == storage), bytes, taken)
    }

    /// Free share of all volumes, in parts of 65,536.
    pub(crate) fn free_share(&self) -> u64 {
        let Space { capacity, used: _, available } = self.space();
        let share = (u128::from(available) * 65_536).checked_div(u128::from(capacity));
        share.map_or(0, |share| share.min(65_536) as u64)
    }
}

/// Notes which volumes a node has. One that is taken out of use keeps its place.
fn note_volumes(known: &mut Vec<VolumeId>, stats: &NodeStats) {
    for volume in &stats.volumes {
        if known.len() < usize::from(VolumeSlot::UNKNOWN.0) && !known.contains(&volume.id) {
            known.push(volume.id);
        }
    }
}

fn room<'a>(volumes: impl Iterator<Item = &'a Volume> + Clone, bytes: u64, taken: u64) -> u64 {
    let healthy = volumes.clone().filter(|volume| volume.health == VolumeHealth::Healthy);
    let largest = healthy.map(|volume| volume.available).max().unwrap_or(0);
    let free = Space::sum(volumes.map(Volume::space)).available.saturating_sub(taken);
    if largest < bytes || free < bytes { 0 } else { free.max(1) }
}
