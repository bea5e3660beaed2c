//! What belongs to the cluster, whichever namespaces its nodes hold replicas of: who the DataNodes are, whether they are
//! alive, what they are used for, where they stand and which volumes they have.
//!
//! Nothing here knows a chunk, a file or a leader: a namespace looks at this, and several could look at the same.

mod liveness;
mod node;
mod registry;
mod topology;

use std::collections::BTreeMap;

use dfs_types::{Millis, NodeDuty, NodeId};

pub(crate) use self::liveness::Found;
use self::liveness::Nodes;
pub(crate) use self::node::{Node, NodeIndex, VolumeSlot};
pub(crate) use self::registry::Absent;
use self::registry::Registry;
pub(crate) use self::topology::{Place, Possible, crowd, spread};
use crate::{Config, NodeState, NodeStats, Target};

/// The DataNodes.
#[derive(Debug)]
pub(crate) struct Cluster {
    config: Config,
    /// When this process began to hear nodes.
    began: Millis,
    nodes: Nodes,
    registry: Registry,
    /// What administrators want; nodes in service are not in it. A node need not be registered.
    duties: BTreeMap<NodeId, NodeDuty>,
}

/// Who registered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Registered {
    /// A node that was not in the table.
    New(NodeIndex),
    /// The process that is known already.
    Same,
    /// Another process of a node that was this before.
    Replaced(NodeIndex, NodeState),
    /// One too many: the table is full only after 65,536 nodes within a day, and the node asks again until one is forgotten.
    NoPlace,
}

/// What a heartbeat changed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Heard {
    pub(crate) index: NodeIndex,
    /// What the node was before.
    pub(crate) was: NodeState,
    /// Whether it stands elsewhere now.
    pub(crate) moved: bool,
}

impl Cluster {
    /// No nodes.
    pub(crate) fn new(config: Config, now: Millis) -> Self {
        let (registry, duties) = (Registry::default(), BTreeMap::new());
        Self { config, began: now, nodes: Nodes::new(now), registry, duties }
    }

    /// A process of a node introduces itself.
    pub(crate) fn register(
        &mut self,
        id: NodeId,
        incarnation: u128,
        version: String,
        stats: &NodeStats,
        now: Millis,
    ) -> Registered {
        let duty = self.duty_of(id);
        let fresh = |version| Node { duty, ..Node::new(id, incarnation, version, stats.clone(), now) };
        let Some(index) = self.nodes.find(id) else {
            return self.nodes.add(fresh(version)).map_or(Registered::NoPlace, Registered::New);
        };
        match self.nodes.get_mut(index) {
            Some(node) if node.incarnation != incarnation => {
                let was = node.state;
                *node = fresh(version);
                Registered::Replaced(index, was)
            }
            _ => Registered::Same,
        }
    }

    /// A registered node is alive; `None` if it is not known.
    pub(crate) fn hear(&mut self, id: NodeId, stats: NodeStats, now: Millis) -> Option<Heard> {
        let index = self.nodes.find(id)?;
        let node = self.nodes.get_mut(index)?;
        let (place, was) = (node.place, node.state);
        node.hear(stats, now);
        node.state = NodeState::Live;
        Some(Heard { index, was, moved: node.place != place })
    }

    /// Time passed.
    pub(crate) fn tick(&mut self, now: Millis) -> Found {
        self.nodes.tick(&self.config, now)
    }

    /// A node's disks are gone for good. Answers its index and what it was before, if it was heard of lately.
    pub(crate) fn lose(&mut self, id: NodeId) -> Option<(NodeIndex, NodeState)> {
        let Some(index) = self.nodes.find(id) else {
            self.registry.lose(id);
            return None;
        };
        let node = self.nodes.get_mut(index)?;
        Some((index, std::mem::replace(&mut node.state, NodeState::Dead)))
    }

    /// An administrator decides what a node is used for. Answers its index and what it was used for before, if it was
    /// heard of lately.
    pub(crate) fn set_duty(&mut self, id: NodeId, duty: NodeDuty) -> Option<(NodeIndex, NodeDuty)> {
        if duty == NodeDuty::InService {
            self.duties.remove(&id);
        } else {
            self.duties.insert(id, duty);
        }
        let index = self.nodes.find(id)?;
        let node = self.nodes.get_mut(index)?;
        Some((index, std::mem::replace(&mut node.duty, duty)))
    }

    /// What an administrator wants a node to be used for.
    pub(crate) fn duty_of(&self, id: NodeId) -> NodeDuty {
        self.duties.get(&id).copied().unwrap_or_default()
    }

    /// The nodes in the table that are not to be in service.
    pub(crate) fn leaving(&self) -> impl Iterator<Item = NodeIndex> {
        self.duties.keys().filter_map(|id| self.nodes.find(*id))
    }

    /// Nodes whose maintenance is over.
    pub(crate) fn maintenance_over(&self, now: Millis) -> Vec<NodeId> {
        let over = |duty: &NodeDuty| matches!(duty, NodeDuty::Maintenance { until } if *until <= now);
        self.duties.iter().filter(|(_, duty)| over(duty)).map(|(id, _)| *id).collect()
    }

    /// Dead nodes whose place in the table can be given up.
    pub(crate) fn expired(&self, now: Millis) -> Vec<NodeIndex> {
        let over = |node: &Node| {
            let long = now.since(node.seen) >= self.config.forget_after;
            node.is_dead() && (long || self.is_forgotten(node.id))
        };
        self.nodes.iter().filter(|(_, node)| over(node)).map(|(index, _)| index).collect()
    }

    /// Gives a node's place in the table up.
    pub(crate) fn remove(&mut self, index: NodeIndex) {
        self.nodes.remove(index);
    }

    /// The index of a registered node.
    pub(crate) fn find(&self, id: NodeId) -> Option<NodeIndex> {
        self.nodes.find(id)
    }

    pub(crate) fn get(&self, index: NodeIndex) -> Option<&Node> {
        self.nodes.get(index)
    }

    /// The node of this id.
    pub(crate) fn by_id(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(self.nodes.find(id)?)
    }

    /// All nodes, in the order of their indexes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeIndex, &Node)> {
        self.nodes.iter()
    }

    /// The ids of these nodes.
    pub(crate) fn ids(&self, nodes: &[NodeIndex]) -> Vec<NodeId> {
        nodes.iter().filter_map(|node| self.get(*node)).map(|node| node.id).collect()
    }

    /// The places of these nodes.
    pub(crate) fn places(&self, nodes: &[NodeIndex]) -> Vec<Place> {
        nodes.iter().filter_map(|node| self.get(*node)).map(|node| node.place).collect()
    }

    /// A node with the storage there that its replica is on.
    pub(crate) fn target(&self, index: NodeIndex, slot: VolumeSlot) -> Option<Target> {
        let node = self.get(index)?;
        Some(Target { node: node.id, storage: node.volume(slot).map(|volume| volume.storage) })
    }

    /// Whether a node can be given work.
    pub(crate) fn is_usable(&self, index: NodeIndex) -> bool {
        self.get(index).is_some_and(Node::is_usable)
    }

    /// Whether a node is known to be dead.
    pub(crate) fn is_dead(&self, index: NodeIndex) -> bool {
        self.get(index).is_none_or(Node::is_dead)
    }

    /// What a node is at `now`: as the last tick left it, or stale if it has been silent for long enough since.
    pub(crate) fn state_at(&self, node: &Node, now: Millis) -> NodeState {
        self.nodes.state_at(node, &self.config, now)
    }

    /// Over how many places the nodes in use let replicas be spread.
    pub(crate) fn possible(&self) -> Possible {
        Possible::of(self.nodes.iter().map(|(_, node)| node).filter(|node| node.is_in_use()).map(Node::place))
    }

    /// Whether nodes that were there when this process began have had the time to be heard of.
    fn is_fresh(&self, now: Millis) -> bool {
        now.since(self.began) < self.config.dead_after
    }
}
