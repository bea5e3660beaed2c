//! What a namespace makes of the cluster's nodes: how well each is known here, and how much it has to do.

use dfs_types::{ChunkId, DutyState, Millis, NodeDuty, StorageType, VolumeHealth};

use super::Namespace;
use crate::NodeState;
use crate::cluster::{Cluster, Node, NodeIndex};

/// A death and a return count as this much work: other nodes are preferred.
const FLAPPING_LOAD: u64 = 16;

impl Namespace {
    /// Whether a node can be given work, and what it has is known.
    pub(super) fn is_known(&self, cluster: &Cluster, index: NodeIndex) -> bool {
        self.work.get(index).is_some_and(|work| work.reported)
            && cluster.get(index).is_some_and(Node::is_usable)
    }

    /// Whether a node is there and has said what all its volumes hold, up to its last heartbeat.
    pub(super) fn told_all(&self, cluster: &Cluster, index: NodeIndex) -> bool {
        let (Some(node), Some(work)) = (cluster.get(index), self.work.get(index)) else {
            return false;
        };
        node.state() == NodeState::Live
            && work.reported
            && work.intake.has_taken(node.stats().as_of)
            && node.is_healthy()
    }

    /// Bytes that can still be promised on a node, or 0 if no healthy volume there has room for `bytes` more.
    pub(super) fn room(&self, cluster: &Cluster, index: NodeIndex, bytes: u64) -> u64 {
        self.room_on(cluster, index, None, bytes)
    }

    /// The same on its volumes of one type.
    pub(super) fn room_on(
        &self,
        cluster: &Cluster,
        index: NodeIndex,
        storage: Option<StorageType>,
        bytes: u64,
    ) -> u64 {
        let Some(node) = cluster.get(index) else {
            return 0;
        };
        let coming = self.work.get(index).map_or(0, |work| work.receiving.bytes);
        let promised = self.promises.on(index);
        // What is promised on any volume counts for the node alone: where it comes to lie is the node's choice.
        let room = node.room(bytes, promised.bytes.saturating_add(coming));
        match storage {
            None => room,
            Some(storage) => room.min(node.room_on(storage, bytes, self.promises.on_storage(index, storage))),
        }
    }

    /// Whether the disk under a node's replica of a chunk answers.
    pub(super) fn is_on_healthy_disk(&self, cluster: &Cluster, id: ChunkId, index: NodeIndex) -> bool {
        let health = |node: &Node| node.health(self.map.slot(id, index));
        cluster.get(index).map(health) == Some(VolumeHealth::Healthy)
    }

    /// Work at hand on a node: what it said itself and what was given to it since.
    pub(super) fn load(&self, cluster: &Cluster, index: NodeIndex, now: Millis) -> u64 {
        let (Some(node), Some(work)) = (cluster.get(index), self.work.get(index)) else {
            return 0;
        };
        let stats = node.stats();
        let said = u64::from(stats.active_writes) + u64::from(stats.active_copies);
        said + u64::from(stats.active_reads) / 2
            + u64::from(work.receiving.count)
            + self.promises.on(index).writes
            + FLAPPING_LOAD * u64::from(node.recent_deaths(now))
    }

    /// Clients' sessions on a node, as it said: those of copies it receives are not theirs.
    pub(super) fn foreground(&self, cluster: &Cluster, index: NodeIndex) -> u32 {
        let (Some(node), Some(work)) = (cluster.get(index), self.work.get(index)) else {
            return 0;
        };
        let writes = node.stats().active_writes.saturating_sub(work.receiving.count);
        node.stats().active_reads.saturating_add(writes)
    }

    /// How far a node's duty is carried out here.
    pub(crate) fn duty_state(&self, cluster: &Cluster, index: NodeIndex) -> DutyState {
        let (Some(node), Some(work)) = (cluster.get(index), self.work.get(index)) else {
            return DutyState::InService;
        };
        let free = work.depending == 0 || node.is_dead();
        // The word once given for maintenance stands: the node may be off.
        match (node.duty(), work.duty_done) {
            (NodeDuty::InService, _) => DutyState::InService,
            (NodeDuty::Decommission, true) if free => DutyState::Decommissioned,
            (NodeDuty::Decommission, _) => DutyState::Decommissioning,
            (NodeDuty::Maintenance { .. }, false) => DutyState::EnteringMaintenance,
            (NodeDuty::Maintenance { .. }, true) => DutyState::InMaintenance,
        }
    }
}
