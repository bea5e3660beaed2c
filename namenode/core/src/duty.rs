//! What nodes are used for: in service, being decommissioned, or in maintenance.

use std::collections::BTreeMap;

use dfs_types::{ChunkId, DutyState, Millis, NodeDuty, NodeId};

use crate::Effect;
use crate::cluster::Cluster;
use crate::node::Node;
use crate::node_list::NodeIndex;

/// What administrators want; nodes in service are not in it. A node need not be registered.
pub(crate) type Duties = BTreeMap<NodeId, NodeDuty>;

impl Cluster {
    /// An administrator decides what a node is used for.
    pub(crate) fn duty_set(&mut self, id: NodeId, duty: NodeDuty, effects: &mut Vec<Effect>) {
        if duty == NodeDuty::InService {
            self.duties.remove(&id);
        } else {
            self.duties.insert(id, duty);
        }
        let node = self.nodes.find(id).and_then(|index| self.nodes.get_mut(index));
        if let Some(node) = node
            && node.duty != duty
        {
            node.duty = duty;
            effects.push(Effect::DutyChanged { node: id, state: node.duty_state() });
        }
    }

    /// Nodes whose maintenance is over are in service again.
    pub(crate) fn end_maintenance(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let over = |duty: &NodeDuty| matches!(duty, NodeDuty::Maintenance { until } if *until <= now);
        let ended: Vec<NodeId> =
            self.duties.iter().filter(|(_, duty)| over(duty)).map(|(id, _)| *id).collect();
        for id in ended {
            self.duty_set(id, NodeDuty::InService, effects);
        }
    }
}

impl Cluster {
    /// Chunks of the node that would have too few replicas without it.
    pub(crate) fn depending(&self, index: NodeIndex) -> u64 {
        let leaves = self.nodes.get(index).is_some_and(|node| node.duty != NodeDuty::InService);
        let serves =
            |index: &NodeIndex| self.nodes.get(*index).is_some_and(|node| node.duty == NodeDuty::InService);
        let depends = |id: &ChunkId| {
            self.map
                .get(*id)
                .is_some_and(|chunk| chunk.good().iter().filter(|at| serves(at)).count() < chunk.wanted())
        };
        if leaves { self.map.held(index).filter(depends).count() as u64 } else { 0 }
    }
}

impl Node {
    /// How far the node's duty is carried out.
    pub(crate) fn duty_state(&self) -> DutyState {
        match self.duty {
            NodeDuty::InService => DutyState::InService,
            NodeDuty::Decommission => DutyState::Decommissioning,
            NodeDuty::Maintenance { .. } => DutyState::EnteringMaintenance,
        }
    }
}
