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

use std::time::Duration;

use dfs_types::{ChunkId, Millis, NodeDuty};

use super::Namespace;
use super::chunk_map::{Chunk, Verdict};
use super::node_list::NodeList;
use super::review::Why;
use super::tally::{Class, Tally};
use crate::Effect;
use crate::cluster::{Cluster, NodeIndex, VolumeSlot};
use crate::hash::IdMap;

/// For each chunk that depends on nodes that are not in service, which these are.
pub(super) type Dependents = IdMap<ChunkId, NodeList>;

/// Time after which it is tried again to prove that nothing depends on a node.
const CHECK_AGAIN: Duration = Duration::from_secs(2);

impl Namespace {
    /// An administrator has decided that a node is used for something else than before.
    pub(crate) fn duty_set(
        &mut self,
        cluster: &Cluster,
        index: NodeIndex,
        was: NodeDuty,
        effects: &mut Vec<Effect>,
    ) {
        let (Some(node), Some(work)) = (cluster.get(index), self.work.get_mut(index)) else {
            return;
        };
        let (id, is) = (node.id(), Class::from(node.duty()));
        if is == Class::from(was) {
            // At most its maintenance lasts longer or shorter.
            return;
        }
        (work.duty_done, work.checked) = (false, Millis::default());
        effects.push(Effect::DutyChanged { node: id, state: self.duty_state(cluster, index) });
        self.map.set_class(index, is);
        if self.decides() {
            let mut further: Vec<ChunkId> = self.map.pipelined(index).collect();
            further.extend(self.copied_to(index));
            self.review(index, Why::Changed, further);
        }
    }

    /// Declares duties done of nodes that were just proven to be free, and has others looked into.
    pub(super) fn further_duties(
        &mut self,
        cluster: &Cluster,
        proven: &[NodeIndex],
        now: Millis,
        effects: &mut Vec<Effect>,
    ) {
        if !self.decides() {
            return;
        }
        let concerned: Vec<NodeIndex> = cluster.leaving().collect();
        let nothing_lost = self.nothing_lost();
        for index in concerned {
            let (Some(node), Some(work)) = (cluster.get(index), self.work.get_mut(index)) else {
                continue;
            };
            // What a dead node held is known only from what is missing now.
            let free = work.depending == 0 && (!node.is_dead() || nothing_lost);
            let was_done = work.duty_done;
            if was_done {
                work.duty_done = free || node.is_dead() || node.duty() != NodeDuty::Decommission;
            } else {
                let may_be_done = free && (node.is_dead() || work.reported);
                work.duty_done = may_be_done && proven.contains(&index);
                let due = may_be_done && !work.duty_done && now.since(work.checked) >= CHECK_AGAIN;
                if due && !self.is_under_review(index) {
                    if let Some(work) = self.work.get_mut(index) {
                        work.checked = now;
                    }
                    self.review(index, Why::Proof, Vec::new());
                }
            }
            if self.work.get(index).is_some_and(|work| work.duty_done != was_done) {
                effects.push(Effect::DutyChanged { node: node.id(), state: self.duty_state(cluster, index) });
            }
        }
    }

    /// A new leader relies on nothing that an earlier one found out.
    pub(super) fn forget_duty_progress(&mut self) {
        self.dependents.clear();
        for (_, work) in self.work.iter_mut() {
            (work.depending, work.duty_done, work.checked) = (0, false, Millis::default());
        }
    }

    /// Notes which nodes that are not in service a chunk depends on now.
    pub(super) fn note_dependents(&mut self, id: ChunkId) {
        if self.dependents.is_empty() && !self.map.classes().has_unusual() {
            return;
        }
        let is = self.dependents_of(id);
        for index in is.as_slice() {
            if let Some(work) = self.work.get_mut(*index) {
                work.depending += 1;
            }
        }
        let was = match is.len() {
            0 => self.dependents.remove(&id),
            _ => self.dependents.insert(id, is),
        };
        for index in was.unwrap_or_default().as_slice() {
            if let Some(work) = self.work.get_mut(*index) {
                work.depending -= 1;
            }
        }
    }

    /// Nodes that are not in service on which a chunk depends.
    pub(super) fn dependents_of(&self, id: ChunkId) -> NodeList {
        let mut dependents = NodeList::default();
        let Some(chunk) = self.map.get(id) else {
            return dependents;
        };
        let pipeline = self.map.side(id).map_or(&[][..], |side| &side.pipeline);
        let tally = self.map.tally(self.firm(id, chunk));
        for index in self.map.holders(id).chain(pipeline.iter().copied()) {
            if self.depends(id, chunk, index, tally) && !dependents.contains(index) {
                dependents.push(index, VolumeSlot::UNKNOWN);
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
    pub(super) fn is_provably_free_of(&self, cluster: &Cluster, id: ChunkId, index: NodeIndex) -> bool {
        let Some(chunk) = self.map.get(id) else {
            return true;
        };
        let classes = self.map.classes();
        let certain = |at: &NodeIndex| {
            let is_sound = || self.is_reliable(cluster, *at) && self.is_on_healthy_disk(cluster, id, *at);
            classes.of(*at) != Class::Service || is_sound()
        };
        let tally = self.map.tally(self.firm(id, chunk).filter(certain));
        !self.depends(id, chunk, index, tally)
    }

    /// Chunks that depend on a node that is not in service, as far as is known; those not yet looked at included.
    pub(super) fn depending(&self, cluster: &Cluster, index: NodeIndex) -> u64 {
        let (Some(node), Some(work)) = (cluster.get(index), self.work.get(index)) else {
            return 0;
        };
        if node.duty() == NodeDuty::InService || work.duty_done {
            return work.depending;
        }
        let counts = self.map.counts();
        let lost = if node.is_dead() { counts.missing + counts.corrupt } else { 0 };
        work.depending + self.unreviewed(index) as u64 + lost
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dfs_types::{DutyState, ReplicaState};

    use super::*;
    use crate::Event;
    use crate::test_support::{Rig, TERM, node_id, record, stats};

    const ALL: [u16; 5] = [0, 1, 2, 3, 4];

    fn set(rig: &mut Rig, n: u16, duty: NodeDuty) -> Vec<Effect> {
        rig.apply(Event::DutySet { node: node_id(n), duty })
    }

    fn maintenance(rig: &Rig, seconds: u64) -> NodeDuty {
        NodeDuty::Maintenance { until: rig.now.plus(Duration::from_secs(seconds)) }
    }

    /// The node's state, and how many chunks depend on it.
    fn state(rig: &Rig, n: u16) -> (DutyState, u64) {
        let view = rig.core.nodes(rig.now).into_iter().find(|view| view.node.id == node_id(n)).unwrap();
        (view.duty, view.depending_chunks)
    }

    fn good(rig: &Rig, id: u64) -> usize {
        rig.core.chunk(ChunkId(id)).unwrap().good.len()
    }

    #[test]
    fn a_decommissioned_nodes_chunks_are_all_elsewhere() {
        let mut rig = Rig::with_nodes(5);
        (10..40).for_each(|id| rig.chunk(id, 1 + id as u32 % 3, &[0, 1, 2][..=(id as usize % 3)]));
        rig.out_of_safe_mode();
        let effects = set(&mut rig, 0, NodeDuty::Decommission);
        let changed = |state| Effect::DutyChanged { node: node_id(0), state };
        assert_eq!(effects, [changed(DutyState::Decommissioning)]);
        assert_eq!(state(&rig, 0), (DutyState::Decommissioning, 30), "nothing is proven yet");
        assert_eq!(rig.core.totals(rig.now).under_replicated, 30);
        let effects = rig.obey(20, &ALL);
        assert_eq!(effects, [changed(DutyState::Decommissioned)]);
        assert_eq!(state(&rig, 0), (DutyState::Decommissioned, 0));
        for id in 10..40 {
            let view = rig.core.chunk(ChunkId(id)).unwrap();
            let elsewhere = view.good.iter().filter(|node| **node != node_id(0)).count();
            assert_eq!(elsewhere, view.replication as usize);
            assert!(view.good.contains(&node_id(0)), "nothing is deleted there");
        }
        // It is in service again: surplus goes, and nothing else.
        set(&mut rig, 0, NodeDuty::InService);
        assert_eq!(rig.core.totals(rig.now).over_replicated, 30);
        rig.obey(20, &ALL);
        for id in 10..40 {
            let view = rig.core.chunk(ChunkId(id)).unwrap();
            assert_eq!(view.good.len(), view.replication as usize);
        }
        assert_eq!(state(&rig, 0), (DutyState::InService, 0));
    }

    #[test]
    fn a_node_that_leaves_gets_nothing_new() {
        let mut rig = Rig::with_nodes(4);
        rig.out_of_safe_mode();
        set(&mut rig, 0, NodeDuty::Decommission);
        let until = maintenance(&rig, 100);
        set(&mut rig, 1, until);
        let request = crate::PlacementRequest {
            count: 4,
            bytes: 1,
            writer_host: Some(stats(0).address.host),
            existing: vec![],
            exclude: vec![],
            storage: vec![],
        };
        let mut chosen = rig.core.choose_targets(&request, rig.now).unwrap().nodes();
        chosen.sort_unstable();
        assert_eq!(chosen, [node_id(2), node_id(3)]);
        rig.chunk(10, 4, &[2]);
        rig.obey(10, &ALL[..4]);
        assert_eq!(rig.core.chunk(ChunkId(10)).unwrap().good, [node_id(2), node_id(3)]);
    }

    #[test]
    fn an_open_chunk_keeps_its_node() {
        let mut rig = Rig::with_nodes(5);
        rig.out_of_safe_mode();
        rig.open_chunk(10, 2, &[0, 1]);
        set(&mut rig, 0, NodeDuty::Decommission);
        rig.obey(10, &ALL);
        assert_eq!(state(&rig, 0), (DutyState::Decommissioning, 1), "it is in the pipeline");
        rig.changed(0, record(10, ReplicaState::Finalized));
        rig.changed(1, record(10, ReplicaState::Finalized));
        rig.commit(10);
        assert_eq!(state(&rig, 0), (DutyState::Decommissioning, 1), "its copy is still to be made");
        rig.obey(15, &ALL);
        assert_eq!(state(&rig, 0), (DutyState::Decommissioned, 0));
        rig.open_chunk(11, 2, &[2, 0]);
        assert_eq!(state(&rig, 0), (DutyState::Decommissioning, 1), "its writer knew it from before");
        rig.apply(Event::PipelineSet { chunk: ChunkId(11), nodes: vec![node_id(2)] });
        rig.obey(5, &ALL);
        assert_eq!(state(&rig, 0), (DutyState::Decommissioned, 0));
    }

    #[test]
    fn what_an_earlier_leader_may_still_delete_proves_nothing() {
        let mut rig = Rig::with_nodes(2);
        rig.chunk(10, 1, &[0, 1]);
        rig.out_of_safe_mode();
        rig.apply(Event::LeadershipTaken { term: TERM + 1 });
        set(&mut rig, 0, NodeDuty::Decommission);
        rig.run(Duration::from_secs(20), &[0, 1]);
        assert_eq!(state(&rig, 0), (DutyState::Decommissioning, 0), "node 1 may have been told to delete it");
        rig.fence = TERM + 1;
        rig.beat(&[0, 1]);
        rig.report(1, vec![record(10, ReplicaState::Finalized)]);
        rig.run(Duration::from_secs(5), &[0, 1]);
        assert_eq!(state(&rig, 0).0, DutyState::Decommissioned);
        rig.check();
    }

    #[test]
    fn the_last_bytes_of_a_chunk_are_not_given_away() {
        let mut rig = Rig::with_nodes(3);
        rig.chunk(10, 2, &[0]);
        rig.changed(0, record(10, ReplicaState::Corrupt));
        rig.out_of_safe_mode();
        set(&mut rig, 0, NodeDuty::Decommission);
        rig.run(Duration::from_secs(10), &ALL[..3]);
        assert_eq!(state(&rig, 0), (DutyState::Decommissioning, 1));
        rig.changed(1, record(10, ReplicaState::Finalized));
        rig.obey(10, &ALL[..3]);
        assert_eq!(state(&rig, 0).0, DutyState::Decommissioned);
    }

    #[test]
    fn a_dead_node_may_go_unless_something_is_missing() {
        let mut rig = Rig::with_nodes(4);
        rig.chunk(10, 2, &[0, 1]);
        rig.chunk(11, 1, &[0]);
        rig.out_of_safe_mode();
        rig.run(Duration::from_secs(20), &[1, 2, 3]);
        set(&mut rig, 0, NodeDuty::Decommission);
        rig.obey(10, &[1, 2, 3]);
        assert_eq!(state(&rig, 0), (DutyState::Decommissioning, 1), "chunk 11 may be there");
        rig.apply(Event::ChunkRemoved { chunk: ChunkId(11) });
        rig.obey(5, &[1, 2, 3]);
        assert_eq!(state(&rig, 0), (DutyState::Decommissioned, 0));
    }

    #[test]
    fn maintenance_costs_only_the_copies_of_what_is_nowhere_else() {
        let others = [1, 2, 3, 4];
        let mut rig = Rig::with_nodes(5);
        (10..30).for_each(|id| rig.chunk(id, 3, &[0, 1, 2]));
        rig.chunk(30, 1, &[0]);
        rig.out_of_safe_mode();
        let until = maintenance(&rig, 300);
        set(&mut rig, 0, until);
        assert_eq!(rig.core.totals(rig.now).under_replicated, 1);
        rig.obey(10, &ALL);
        assert_eq!(state(&rig, 0), (DutyState::InMaintenance, 0));
        assert_eq!(good(&rig, 30), 2);
        // Silent for minutes: nothing is copied, it is not dead.
        rig.obey(200, &others);
        assert_eq!(rig.core.totals(rig.now).dead_nodes, 0);
        assert!((10..30).all(|id| good(&rig, id) == 3));
        // Two of three are in maintenance now: one elsewhere is enough.
        let until = maintenance(&rig, 80);
        set(&mut rig, 1, until);
        rig.obey(10, &others);
        assert_eq!(state(&rig, 1).0, DutyState::InMaintenance);
        assert!((10..30).all(|id| good(&rig, id) == 3));
        set(&mut rig, 2, until);
        assert_eq!(rig.core.totals(rig.now).under_replicated, 20, "all three would be in maintenance");
        rig.obey(30, &others);
        assert_eq!(state(&rig, 2).0, DutyState::InMaintenance);
        assert!((10..30).all(|id| good(&rig, id) == 4));
        // It is over: node 0 is silent and dead at once, the others serve again.
        rig.obey(70, &others);
        assert_eq!(state(&rig, 0).0, DutyState::InService);
        assert_eq!(rig.core.totals(rig.now).dead_nodes, 1);
        rig.obey(60, &others);
        assert!((10..30).all(|id| good(&rig, id) == 3));
        assert_eq!(good(&rig, 30), 1);
    }

    #[test]
    fn a_duty_is_remembered_for_a_node_that_comes_later() {
        let mut rig = Rig::with_nodes(2);
        rig.out_of_safe_mode();
        assert_eq!(set(&mut rig, 2, NodeDuty::Decommission), []);
        rig.join(2, stats(2));
        rig.report(2, vec![]);
        rig.chunk(10, 3, &[0]);
        rig.obey(5, &[0, 1, 2]);
        assert_eq!(state(&rig, 2).0, DutyState::Decommissioned);
        assert_eq!(good(&rig, 10), 2);
        rig.rejoin(2, 7);
        assert_eq!(state(&rig, 2).0, DutyState::Decommissioned, "another process of it too");
        set(&mut rig, 3, NodeDuty::Decommission);
        set(&mut rig, 3, NodeDuty::InService);
        rig.join(3, stats(3));
        assert_eq!(state(&rig, 3).0, DutyState::InService);
        rig.check();
    }
}
