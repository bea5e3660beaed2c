//! Which chunks need copies, in what order, and which copies are under way.
//!
//! A chunk that wants replicas is in one of three rings, the most endangered first. Each tick goes round the rings
//! and plans what streams and targets allow; a chunk that can't be served now just waits for its next turn. A copy
//! counts until its target reports the replica, one of its nodes goes, or its time is over.

use std::collections::BTreeMap;
use std::time::Duration;

use dfs_types::{ChunkId, Millis};

use crate::chunk_map::Urgency;
use crate::cluster::Cluster;
use crate::node_list::NodeIndex;
use crate::placement::{Candidate, choose};
use crate::ring::Ring;

/// Chunks looked at in each ring per tick: bounds the time a tick takes.
const LOOKED_AT: usize = 4_096;
/// Chunks without any target after which a ring waits for the next tick; looking for targets is the dear part.
const FRUITLESS: usize = 256;
/// Bytes of a copy that get one more second.
const BYTES_PER_SECOND: u64 = 8 << 20;

/// A copy ordered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Copying {
    pub(crate) source: NodeIndex,
    pub(crate) target: NodeIndex,
    pub(crate) bytes: u64,
    /// Its pace; 0: as fast as it goes.
    pub(crate) bytes_per_second: u64,
    /// When it is given up.
    pub(crate) deadline: Millis,
    /// Whether the source was told.
    pub(crate) told: bool,
}

/// What is to be copied.
#[derive(Debug, Default)]
pub(crate) struct Replication {
    last_copy: Ring,
    few: Ring,
    some: Ring,
    pub(crate) copies: BTreeMap<ChunkId, Vec<Copying>>,
    /// No copy at all is planned until then.
    pub(crate) quiet_until: Millis,
    /// Only last copies are copied until then.
    pub(crate) storm_until: Millis,
}

impl Replication {
    pub(crate) fn ring(&mut self, urgency: Urgency) -> &mut Ring {
        match urgency {
            Urgency::LastCopy => &mut self.last_copy,
            Urgency::Few => &mut self.few,
            Urgency::Some => &mut self.some,
        }
    }

    /// In which ring a chunk is, found without its own note of it.
    pub(crate) fn find(&self, chunk: ChunkId) -> Vec<Urgency> {
        let rings =
            [(Urgency::LastCopy, &self.last_copy), (Urgency::Few, &self.few), (Urgency::Some, &self.some)];
        rings.into_iter().filter(|(_, ring)| ring.contains(chunk)).map(|(urgency, _)| urgency).collect()
    }

    /// Chunks in all rings.
    pub(crate) fn queued(&self) -> usize {
        self.last_copy.len() + self.few.len() + self.some.len()
    }
}

/// How badly a chunk with `firm` replicas and `coming` copies needs more to have `wanted`.
fn urgency(firm: usize, coming: usize, wanted: usize) -> Option<Urgency> {
    if firm + coming >= wanted {
        None
    } else if firm <= 1 {
        Some(Urgency::LastCopy)
    } else if firm * 3 <= wanted {
        Some(Urgency::Few)
    } else {
        Some(Urgency::Some)
    }
}

/// What came of planning one chunk.
#[derive(Debug, PartialEq, Eq)]
enum Planned {
    /// Copies were ordered, or none are needed right now.
    Fine,
    /// No holder can send one now.
    NoSource,
    /// No node can take one now.
    NoTarget,
}

impl Cluster {
    /// How badly a chunk needs a copy, seen from what is known of it.
    pub(crate) fn urgency_of(&self, id: ChunkId) -> Option<Urgency> {
        let chunk = self.map.get(id).filter(|_| self.map.is_settled(id))?;
        let coming = self.replication.copies.get(&id).map_or(0, Vec::len);
        let has_source = !chunk.good().is_empty();
        urgency(self.firm(id, chunk).count(), coming, chunk.wanted()).filter(|_| has_source)
    }

    /// Brings the rings up to date with a chunk that changed in any way. Nothing is queued in safe mode or by a
    /// follower: all is looked at when that ends.
    pub(crate) fn refile(&mut self, id: ChunkId) {
        self.end_void_copies(id);
        if !self.decides() {
            return;
        }
        let (urgency, untidy) = (self.urgency_of(id), self.is_untidy(id));
        let Some(chunk) = self.map.get_mut(id) else {
            return;
        };
        if chunk.queued != urgency {
            if let Some(was) = chunk.queued {
                self.replication.ring(was).remove(id);
            }
            if let Some(is) = urgency {
                self.replication.ring(is).insert(id);
            }
            chunk.queued = urgency;
        }
        if chunk.untidy != untidy {
            if untidy {
                self.untidy.insert(id);
            } else {
                self.untidy.remove(id);
            }
            chunk.untidy = untidy;
        }
    }

    /// Looks at every chunk; for the end of safe mode and the beginning or end of leadership.
    pub(crate) fn refile_all(&mut self) {
        for urgency in [Urgency::LastCopy, Urgency::Few, Urgency::Some] {
            self.replication.ring(urgency).clear();
        }
        self.untidy.clear();
        for chunk in self.map.all_mut() {
            chunk.queued = None;
            chunk.untidy = false;
        }
        if !self.decides() {
            return;
        }
        let wanting = |id: &ChunkId| self.urgency_of(*id).is_some() || self.is_untidy(*id);
        let wanting: Vec<ChunkId> = self.map.ids().filter(wanting).collect();
        for id in wanting {
            self.refile(id);
        }
    }

    /// A chunk is gone: nothing is to be done for it.
    pub(crate) fn unfile(&mut self, id: ChunkId) {
        self.end_copies(id, |_| true);
        for urgency in [Urgency::LastCopy, Urgency::Few, Urgency::Some] {
            self.replication.ring(urgency).remove(id);
        }
        self.untidy.remove(id);
    }

    /// Ends the chunk's copies for which `ends` says so, and frees their streams.
    pub(crate) fn end_copies(&mut self, id: ChunkId, ends: impl Fn(&Copying) -> bool) {
        let Some(copies) = self.replication.copies.get_mut(&id) else {
            return;
        };
        copies.retain(|copy| {
            let ended = ends(copy);
            if ended {
                if let Some(source) = self.nodes.get_mut(copy.source) {
                    source.sending.end(copy.bytes);
                }
                if let Some(target) = self.nodes.get_mut(copy.target) {
                    target.receiving.end(copy.bytes);
                }
            }
            !ended
        });
        if copies.is_empty() {
            self.replication.copies.remove(&id);
        }
    }

    /// Ends copies whose source has no good replica any more, or whose target has one.
    fn end_void_copies(&mut self, id: ChunkId) {
        if self.replication.copies.contains_key(&id) {
            let good = self.map.get(id).map(|chunk| chunk.good().to_vec()).unwrap_or_default();
            self.end_copies(id, |copy| !good.contains(&copy.source) || good.contains(&copy.target));
        }
    }

    /// A node is gone or its process was replaced: its copies, either way, come to nothing.
    pub(crate) fn end_copies_of(&mut self, node: NodeIndex) {
        let concerns = |copy: &Copying| copy.source == node || copy.target == node;
        self.end_copies_where(concerns);
    }

    /// Gives up copies whose time is over.
    pub(crate) fn end_overdue_copies(&mut self, now: Millis) {
        self.end_copies_where(|copy| copy.deadline <= now);
    }

    fn end_copies_where(&mut self, ends: impl Fn(&Copying) -> bool) {
        let ending = self.replication.copies.iter().filter(|(_, copies)| copies.iter().any(&ends));
        let ending: Vec<ChunkId> = ending.map(|(id, _)| *id).collect();
        for id in ending {
            self.end_copies(id, &ends);
            self.refile(id);
        }
    }

    /// Goes round the rings and orders what can be copied now.
    pub(crate) fn plan_copies(&mut self, now: Millis) {
        if !self.decides() || now < self.replication.quiet_until {
            return;
        }
        for urgency in [Urgency::LastCopy, Urgency::Few, Urgency::Some] {
            if urgency != Urgency::LastCopy && now < self.replication.storm_until {
                break;
            }
            let mut fruitless = 0;
            let turns = self.replication.ring(urgency).len().min(LOOKED_AT);
            for _ in 0..turns {
                let Some(id) = self.replication.ring(urgency).next() else {
                    break;
                };
                if self.plan_chunk(id, now) == Planned::NoTarget {
                    fruitless += 1;
                }
                if fruitless == FRUITLESS {
                    break;
                }
            }
        }
    }

    fn plan_chunk(&mut self, id: ChunkId, now: Millis) -> Planned {
        let Some((chunk, bytes)) = self.map.get(id).and_then(|chunk| Some((chunk, chunk.length()?))) else {
            return Planned::Fine;
        };
        let good = chunk.good();
        let coming = self.replication.copies.get(&id).map_or(&[][..], Vec::as_slice);
        let expected = self
            .nodes
            .iter()
            .filter(|(_, node)| node.awaited.as_ref().is_some_and(|awaited| awaited.chunks.contains(&id)));
        let wanted =
            chunk.wanted().saturating_sub(self.firm(id, chunk).count() + coming.len() + expected.count());
        if wanted == 0 {
            return Planned::Fine;
        }
        let source = good
            .iter()
            .filter_map(|index| Some((*index, self.nodes.get(*index)?)))
            .filter(|(_, node)| node.is_usable() && node.sending.has_room(bytes, &self.config));
        let Some((source, sender)) = source.min_by_key(|(_, node)| (node.sending.count, node.load(now)))
        else {
            return Planned::NoSource;
        };
        let streams = self.config.max_copies_per_node.saturating_sub(sender.sending.count).max(1) as usize;
        let taken: Vec<NodeIndex> =
            self.map.holders(id).chain(coming.iter().map(|copy| copy.target)).collect();
        let near: Vec<NodeIndex> =
            good.iter().copied().chain(coming.iter().map(|copy| copy.target)).collect();
        let candidates = self.copy_targets(&taken, bytes, now);
        let placed = near.iter().filter_map(|index| self.nodes.get(*index)).map(|node| node.place).collect();
        let targets = choose(&mut self.rng, candidates, placed, wanted.min(streams), None);
        if targets.is_empty() {
            return Planned::NoTarget;
        }
        self.order_copies(id, source, &targets, bytes, now);
        self.refile(id);
        Planned::Fine
    }

    /// Nodes that can receive a copy of a chunk they have nothing of.
    fn copy_targets(&self, taken: &[NodeIndex], bytes: u64, now: Millis) -> Vec<Candidate> {
        let fit = self.nodes.iter().filter(|(index, node)| {
            // One that has not reported yet may well have the chunk.
            node.is_known() && !taken.contains(index) && node.receiving.has_room(bytes, &self.config)
        });
        let candidates = fit.map(|(index, node)| Candidate {
            node: index,
            place: node.place,
            room: node.room(bytes, now),
            load: node.load(now),
        });
        candidates.filter(|candidate| candidate.room > 0).collect()
    }

    fn order_copies(
        &mut self,
        id: ChunkId,
        source: NodeIndex,
        targets: &[NodeIndex],
        bytes: u64,
        now: Millis,
    ) {
        let patience = self.config.copy_timeout + Duration::from_secs(bytes / BYTES_PER_SECOND);
        for target in targets {
            let Some(sender) = self.nodes.get_mut(source) else {
                return;
            };
            // A pipeline to several targets is one stream each for the limits: the worst case.
            if !sender.sending.has_room(bytes, &self.config) {
                break;
            }
            sender.sending.start(bytes);
            if sender.copy_orders.back() != Some(&id) {
                sender.copy_orders.push_back(id);
            }
            if let Some(receiver) = self.nodes.get_mut(*target) {
                receiver.receiving.start(bytes);
            }
            let deadline = now.plus(patience);
            let copy = Copying { source, target: *target, bytes, bytes_per_second: 0, deadline, told: false };
            self.replication.copies.entry(id).or_default().push(copy);
        }
    }
}

#[cfg(test)]
mod tests {
    use dfs_types::ReplicaState;

    use super::*;
    use crate::test_support::{LENGTH, Rig, node_id, number, record};
    use crate::{Command, Config};

    #[test]
    fn fewer_replicas_are_more_urgent() {
        assert_eq!(urgency(1, 0, 3), Some(Urgency::LastCopy));
        assert_eq!(urgency(2, 0, 6), Some(Urgency::Few));
        assert_eq!(urgency(2, 0, 3), Some(Urgency::Some));
        assert_eq!(urgency(0, 0, 1), Some(Urgency::LastCopy), "the only one may go any moment");
        for (firm, coming, wanted) in [(3, 0, 3), (2, 1, 3), (4, 0, 3), (1, 0, 1), (0, 1, 1)] {
            assert_eq!(urgency(firm, coming, wanted), None, "{firm} {coming} {wanted}");
        }
    }

    /// Targets of each copy ordered from node `n`.
    fn copies(rig: &mut Rig, n: u16) -> Vec<(u64, Vec<u16>)> {
        let commands = rig.cluster.take_commands(node_id(n), rig.now);
        let copies = commands.into_iter().filter_map(|command| match command {
            Command::Copy { chunk, targets, .. } => {
                Some((chunk.0, targets.iter().map(|id| number(*id)).collect()))
            }
            Command::Delete { .. } | Command::Recover { .. } => None,
        });
        copies.collect()
    }

    #[test]
    fn a_dead_nodes_chunks_are_copied_the_last_ones_first() {
        let config = Config { max_copies_per_node: 1, ..Config::default() };
        let mut rig = Rig::new(config, 1);
        rig.join_all(5);
        rig.chunk(10, 3, &[0, 1, 2]);
        rig.chunk(11, 2, &[0, 4]);
        rig.out_of_safe_mode();
        rig.run(Duration::from_secs(20), &[0, 1, 2, 3]);
        assert_eq!(copies(&mut rig, 0).len(), 1);
        assert_eq!(rig.cluster.totals(rig.now).pending_copies, 1);
        assert_eq!(rig.cluster.totals(rig.now).under_replicated, 1);
        rig.check();
    }

    #[test]
    fn a_copy_that_never_comes_is_planned_again() {
        let mut rig = Rig::with_nodes(3);
        rig.chunk(10, 2, &[0]);
        rig.out_of_safe_mode();
        rig.run(Duration::from_secs(1), &[0, 1, 2]);
        let first = copies(&mut rig, 0);
        assert_eq!(first.len(), 1);
        rig.run(Duration::from_secs(29), &[0, 1, 2]);
        assert_eq!(copies(&mut rig, 0), [], "it may still come");
        rig.run(Duration::from_secs(3), &[0, 1, 2]);
        let second = copies(&mut rig, 0);
        assert_eq!(second.len(), 1);
        let target = second[0].1[0];
        rig.changed(target, record(10, ReplicaState::Finalized));
        assert_eq!(rig.cluster.totals(rig.now).pending_copies, 0);
        rig.run(Duration::from_secs(1), &[0, 1, 2]);
        assert_eq!(copies(&mut rig, 0), []);
        rig.check();
    }

    #[test]
    fn a_chunk_that_cannot_be_copied_blocks_nobody() {
        let mut rig = Rig::with_nodes(3);
        // These are everywhere already and want more than there are nodes.
        (100..1_000).for_each(|id| rig.chunk(id, 5, &[0, 1, 2]));
        rig.chunk(5_000, 3, &[0, 1]);
        rig.out_of_safe_mode();
        rig.run(Duration::from_secs(3), &[0, 1, 2]);
        let planned: Vec<_> = copies(&mut rig, 0).into_iter().chain(copies(&mut rig, 1)).collect();
        assert_eq!(planned, [(5_000, vec![2])]);
        rig.check();
    }

    #[test]
    fn a_chunk_just_committed_is_left_alone() {
        let mut rig = Rig::with_nodes(4);
        rig.out_of_safe_mode();
        rig.open_chunk(10, 3, &[0, 1, 2]);
        rig.changed(0, record(10, ReplicaState::Finalized));
        rig.commit(10);
        rig.run(Duration::from_millis(9_500), &[0, 1, 2, 3]);
        assert_eq!(copies(&mut rig, 0), []);
        rig.changed(1, record(10, ReplicaState::Finalized));
        rig.run(Duration::from_secs(1), &[0, 1, 2, 3]);
        let planned: Vec<_> = copies(&mut rig, 0).into_iter().chain(copies(&mut rig, 1)).collect();
        assert_eq!(planned.len(), 1, "the grace is over and one replica missing");
        rig.check();
    }

    #[test]
    fn a_process_replaced_costs_no_copying() {
        let mut rig = Rig::with_nodes(4);
        (10..20).for_each(|id| rig.chunk(id, 3, &[0, 1, 2]));
        rig.out_of_safe_mode();
        rig.rejoin(1, 2);
        rig.rejoin(2, 2);
        assert!(rig.cluster.wants_report(node_id(1)));
        assert_eq!(rig.cluster.totals(rig.now).only_one_copy, 10, "they are forgotten");
        rig.run(Duration::from_secs(10), &[0, 1, 2, 3]);
        rig.report(1, (10..20).map(|id| record(id, ReplicaState::Finalized)).collect());
        rig.run(Duration::from_secs(3), &[0, 1, 2, 3]);
        assert_eq!(rig.cluster.totals(rig.now).pending_copies, 0);
        rig.run(Duration::from_secs(5), &[0, 1, 2, 3]);
        assert!(rig.cluster.totals(rig.now).pending_copies > 0, "node 2 takes too long");
        rig.check();
    }

    #[test]
    fn in_a_storm_only_last_copies_are_copied() {
        let mut rig = Rig::with_nodes(9);
        rig.chunk(10, 3, &[0, 1, 8]);
        rig.chunk(11, 3, &[0, 7, 8]);
        rig.out_of_safe_mode();
        let alive = [0, 1, 2, 3, 4, 5];
        rig.run(Duration::from_secs(20), &alive);
        assert_eq!(rig.cluster.totals(rig.now).dead_nodes, 3);
        assert_eq!(copies(&mut rig, 0).iter().map(|copy| copy.0).collect::<Vec<_>>(), [11]);
        assert_eq!(copies(&mut rig, 1), []);
        rig.run(Duration::from_mins(2), &alive);
        let planned: Vec<_> = copies(&mut rig, 0).into_iter().chain(copies(&mut rig, 1)).collect();
        assert!(planned.iter().any(|copy| copy.0 == 10), "{planned:?}");
        rig.check();
    }

    #[test]
    fn a_long_copy_has_more_time() {
        let mut rig = Rig::with_nodes(2);
        rig.add_chunk(10, LENGTH, 2);
        rig.report(0, vec![record(10, ReplicaState::Finalized)]);
        rig.out_of_safe_mode();
        rig.run(Duration::from_secs(1), &[0, 1]);
        let deadline = rig.cluster.replication.copies[&ChunkId(10)][0].deadline;
        let least = Duration::from_secs(30 + LENGTH / BYTES_PER_SECOND);
        assert!(deadline.since(rig.now) + Duration::from_secs(1) >= least);
    }
}
