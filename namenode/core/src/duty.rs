//! What nodes are used for: in service, being decommissioned, or in maintenance.
//!
//! ```text
//!               Decommission                      nothing depends on it: proven
//!  InService ------------------> Decommissioning ------------------------------> Decommissioned
//!   ^  ^  '--------------------> EnteringMaintenance --------------------------> InMaintenance
//!   |  '---- InService ----------------'   '------------ InService, or its time is over ----'
//! ```
//!
//! Which chunks depend on such a node is noted with every change of a chunk. That counts what reports say, as everything
//! does; so before a duty is declared done, all that the node holds is looked at once more, and only replicas count of
//! which it is certain that no order of an earlier leader still deletes them.

use std::collections::BTreeMap;
use std::time::Duration;

use dfs_types::{ChunkId, DutyState, Millis, NodeDuty, NodeId};

use crate::chunk_map::{Chunk, Verdict};
use crate::cluster::Cluster;
use crate::hash::IdMap;
use crate::node::Node;
use crate::node_list::{NodeIndex, NodeList};
use crate::review::Why;
use crate::tally::{Class, Tally};
use crate::{Effect, NodeState};

/// What administrators want; nodes in service are not in it. A node need not be registered.
pub(crate) type Duties = BTreeMap<NodeId, NodeDuty>;
/// For each chunk that depends on nodes that are not in service, which these are.
pub(crate) type Dependents = IdMap<ChunkId, NodeList>;

/// Time after which it is tried again to prove that nothing depends on a node.
const CHECK_AGAIN: Duration = Duration::from_secs(2);

impl Cluster {
    /// An administrator decides what a node is used for.
    pub(crate) fn duty_set(&mut self, id: NodeId, duty: NodeDuty, effects: &mut Vec<Effect>) {
        if duty == NodeDuty::InService {
            self.duties.remove(&id);
        } else {
            self.duties.insert(id, duty);
        }
        let Some(index) = self.nodes.find(id) else {
            return;
        };
        let Some(node) = self.nodes.get_mut(index) else {
            return;
        };
        let was = Class::from(std::mem::replace(&mut node.duty, duty));
        if was == Class::from(duty) {
            // At most its maintenance lasts longer or shorter.
            return;
        }
        (node.duty_done, node.checked) = (false, Millis::default());
        effects.push(Effect::DutyChanged { node: id, state: node.duty_state() });
        self.map.set_class(index, duty.into());
        if self.decides() {
            let mut further: Vec<ChunkId> = self.map.pipelined(index).collect();
            further.extend(self.copied_to(index));
            self.review(index, Why::Changed, further);
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

    /// Declares duties done of nodes that were just proven to be free, and has others looked into.
    pub(crate) fn further_duties(&mut self, proven: &[NodeIndex], now: Millis, effects: &mut Vec<Effect>) {
        if !self.decides() {
            return;
        }
        let concerned: Vec<NodeIndex> = self.duties.keys().filter_map(|id| self.nodes.find(*id)).collect();
        for index in concerned {
            let counts = self.map.counts();
            let nothing_lost = counts.missing + counts.corrupt == 0;
            let Some(node) = self.nodes.get_mut(index) else {
                continue;
            };
            // What a dead node held is known only from what is missing now.
            let free = node.depending == 0 && (node.state != NodeState::Dead || nothing_lost);
            if node.duty_done {
                if !free && node.state != NodeState::Dead && node.duty == NodeDuty::Decommission {
                    node.duty_done = false;
                    effects.push(Effect::DutyChanged { node: node.id, state: node.duty_state() });
                }
                continue;
            }
            let known = node.state == NodeState::Dead || node.reported;
            if free && known && proven.contains(&index) {
                node.duty_done = true;
                effects.push(Effect::DutyChanged { node: node.id, state: node.duty_state() });
            } else if free && known && now.since(node.checked) >= CHECK_AGAIN && !self.is_under_review(index)
            {
                if let Some(node) = self.nodes.get_mut(index) {
                    node.checked = now;
                }
                self.review(index, Why::Proof, Vec::new());
            }
        }
    }

    /// A new leader relies on nothing that an earlier one found out.
    pub(crate) fn forget_duty_progress(&mut self) {
        self.dependents.clear();
        for (_, node) in self.nodes.iter_mut() {
            (node.depending, node.duty_done, node.checked) = (0, false, Millis::default());
        }
    }

    /// Notes which nodes that are not in service a chunk depends on now.
    pub(crate) fn note_dependents(&mut self, id: ChunkId) {
        if self.dependents.is_empty() && !self.map.classes().has_unusual() {
            return;
        }
        let is = self.dependents_of(id);
        for index in is.as_slice() {
            if let Some(node) = self.nodes.get_mut(*index) {
                node.depending += 1;
            }
        }
        let was = match is.len() {
            0 => self.dependents.remove(&id),
            _ => self.dependents.insert(id, is),
        };
        for index in was.unwrap_or_default().as_slice() {
            if let Some(node) = self.nodes.get_mut(*index) {
                node.depending -= 1;
            }
        }
    }

    /// Nodes that are not in service on which a chunk depends.
    pub(crate) fn dependents_of(&self, id: ChunkId) -> NodeList {
        let mut dependents = NodeList::default();
        let Some(chunk) = self.map.get(id) else {
            return dependents;
        };
        let pipeline = self.map.side(id).map_or(&[][..], |side| &side.pipeline);
        let tally = self.map.tally(self.firm(id, chunk));
        for index in self.map.holders(id).chain(pipeline.iter().copied()) {
            if self.depends(id, chunk, index, tally) && !dependents.contains(index) {
                dependents.push(index);
            }
        }
        dependents
    }

    /// Whether a chunk with so many replicas depends on a node, if that is not in service.
    fn depends(&self, id: ChunkId, chunk: &Chunk, index: NodeIndex, tally: Tally) -> bool {
        let classes = self.map.classes();
        let class = classes.of(index);
        if class == Class::Service {
            return false;
        }
        let odd = self.map.odd(id).iter().find(|odd| odd.node == index);
        let verdict = odd.map(|odd| chunk.judge(odd.generation, odd.length, odd.state));
        if !self.map.is_settled(id) {
            // Its writer goes on with it, or its lease will be recovered.
            let written = self.map.side(id).is_some_and(|side| side.pipeline.contains(&index));
            return written || chunk.good().contains(&index) || verdict == Some(Verdict::Candidate);
        }
        if !chunk.good().contains(&index) {
            // Bad bytes may be all that is left.
            return odd.is_some_and(|odd| !odd.doomed) && tally.all() == 0;
        }
        match class {
            Class::Service => false,
            Class::Leaving => classes.lacking(tally, chunk.wanted()) > 0,
            Class::Maintenance => classes.lacking_outside(tally, chunk.wanted()) > 0,
        }
    }

    /// Whether a chunk does not depend on a node, even if only replicas count that are certain to stay.
    pub(crate) fn is_provably_free_of(&self, id: ChunkId, index: NodeIndex) -> bool {
        let Some(chunk) = self.map.get(id) else {
            return true;
        };
        let classes = self.map.classes();
        let certain = |at: &NodeIndex| classes.of(*at) != Class::Service || self.is_reliable(*at);
        let tally = self.map.tally(self.firm(id, chunk).filter(certain));
        !self.depends(id, chunk, index, tally)
    }

    /// Chunks that depend on a node that is not in service, as far as is known; those not yet looked at included.
    pub(crate) fn depending(&self, index: NodeIndex, node: &Node) -> u64 {
        if node.duty == NodeDuty::InService || node.duty_done {
            return node.depending;
        }
        let counts = self.map.counts();
        let lost = if node.state == NodeState::Dead { counts.missing + counts.corrupt } else { 0 };
        node.depending + self.unreviewed(index) as u64 + lost
    }
}

impl Node {
    /// How far the node's duty is carried out.
    pub(crate) fn duty_state(&self) -> DutyState {
        let free = self.depending == 0 || self.state == NodeState::Dead;
        // The word once given for maintenance stands: the node may be off.
        match (self.duty, self.duty_done) {
            (NodeDuty::InService, _) => DutyState::InService,
            (NodeDuty::Decommission, true) if free => DutyState::Decommissioned,
            (NodeDuty::Decommission, _) => DutyState::Decommissioning,
            (NodeDuty::Maintenance { .. }, false) => DutyState::EnteringMaintenance,
            (NodeDuty::Maintenance { .. }, true) => DutyState::InMaintenance,
        }
    }
}
