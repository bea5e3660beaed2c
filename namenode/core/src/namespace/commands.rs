//! What a node is told with the reply to its heartbeat.

use dfs_types::{ChunkId, Millis, NodeId};

use super::Namespace;
use super::copies::patience;
use crate::Command;
use crate::cluster::{Cluster, NodeIndex};

/// Recoveries one reply orders at most.
const RECOVERIES: usize = 64;

impl Namespace {
    /// Orders for a node, to be called for each reply to its heartbeat. Their number is bounded: by the copies and
    /// deletions allowed at a time, and by 64 recoveries. Nothing is ordered in
    /// safe mode, nor by a follower.
    pub(crate) fn take_commands(&mut self, cluster: &Cluster, node: NodeId, now: Millis) -> Vec<Command> {
        let Some(index) = cluster.find(node) else {
            return Vec::new();
        };
        if cluster.is_dead(index) || !self.decides() {
            return Vec::new();
        }
        let mut commands = self.recovery_commands(cluster, index, now);
        commands.extend(self.copy_commands(cluster, index, now));
        let replicas = self.deletions_to_tell(cluster, index, now);
        if !replicas.is_empty() {
            commands.push(Command::Delete { replicas });
        }
        commands
    }

    fn recovery_commands(&mut self, cluster: &Cluster, index: NodeIndex, now: Millis) -> Vec<Command> {
        let mut commands = Vec::new();
        while commands.len() < RECOVERIES
            && let Some(id) = self.work.get_mut(index).and_then(|work| work.recovery_orders.pop_front())
        {
            commands.extend(self.recovery_command(cluster, id, index, now));
        }
        commands
    }

    fn copy_commands(&mut self, cluster: &Cluster, index: NodeIndex, now: Millis) -> Vec<Command> {
        let Some(work) = self.work.get_mut(index) else {
            return Vec::new();
        };
        let orders = std::mem::take(&mut work.copy_orders);
        orders.into_iter().filter_map(|id| self.copy_command(cluster, id, index, now)).collect()
    }

    /// The order for the chunk's copies the node has not been told of yet; `None` if they were called off.
    fn copy_command(
        &mut self,
        cluster: &Cluster,
        id: ChunkId,
        source: NodeIndex,
        now: Millis,
    ) -> Option<Command> {
        let chunk = self.map.get(id)?;
        let (generation, length) = (chunk.generation, chunk.length()?);
        let copies = self.replication.copies.get_mut(&id)?;
        let untold = copies.iter_mut().filter(|copy| copy.source == source && !copy.told);
        let (mut targets, mut paces) = (Vec::new(), Vec::new());
        for copy in untold {
            copy.told = true;
            // Its time begins now: it may have waited long for this heartbeat.
            copy.deadline = now.plus(patience(&self.config, copy.bytes, copy.bytes_per_second));
            targets.push(copy.target);
            paces.push(copy.bytes_per_second);
        }
        // They are one stream; 0 means the most.
        let slowest = paces.iter().copied().filter(|pace| *pace > 0).min();
        let bytes_per_second = slowest.filter(|_| !paces.contains(&0)).unwrap_or_default();
        let targets = cluster.ids(&targets);
        let copy = Command::Copy { chunk: id, generation, length, targets, bytes_per_second };
        (!paces.is_empty()).then_some(copy)
    }
}
