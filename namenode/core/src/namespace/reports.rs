//! What nodes say of their replicas.

use dfs_types::{ChunkId, GenStamp, Millis, NodeId, ReplicaRecord, ReplicaState};

use super::Namespace;
use super::chunk_map::{Odd, Recorded, Verdict};
use super::intake::Fresh;
use super::node_work::retain;
use crate::cluster::{Cluster, NodeIndex, VolumeSlot};
use crate::{Effect, Report, Slice};

/// Most chunks that one slice takes from a node: it may have lost a disk, and nothing else is done meanwhile.
const GONE: usize = 8_192;

impl Namespace {
    /// A node tells of its replicas. What it said before counts, and what came late does not.
    pub(crate) fn reported(
        &mut self,
        cluster: &Cluster,
        id: NodeId,
        report: &Report,
        now: Millis,
        effects: &mut Vec<Effect>,
    ) {
        // What a dead node says is left for the full report it is asked for once its heartbeats are back.
        let Some(index) = cluster.find(id).filter(|index| !cluster.is_dead(*index)) else {
            return;
        };
        let Report { after, changes, slice } = report;
        let Some(work) = self.work.get_mut(index) else {
            return;
        };
        let Fresh { known, gap } = work.intake.changes(*after, changes.len());
        // What it has may differ from what is known here in more than what it says now.
        work.reported &= !gap;
        for (at, (record, deleted)) in changes.iter().enumerate().skip(known) {
            if *deleted {
                self.replica_deleted(cluster, index, record.chunk, record.generation);
            } else {
                let number = after.saturating_add(at as u64).saturating_add(1);
                if self.take_record(cluster, index, *record, number) {
                    effects.push(Effect::ReplicaGained { chunk: record.chunk });
                }
            }
        }
        let number = after.saturating_add(changes.len() as u64);
        if let Some(slice) = slice
            && self.work.get(index).is_some_and(|work| work.intake.is_newest(number))
        {
            self.take_slice(cluster, index, slice, number, now, effects);
        }
    }

    /// Of the chunks in a range of ids a node has these replicas and no others, as of the change of this number.
    fn take_slice(
        &mut self,
        cluster: &Cluster,
        index: NodeIndex,
        slice: &Slice,
        number: u64,
        now: Millis,
        effects: &mut Vec<Effect>,
    ) {
        let Slice { first, last, fence, replicas } = slice;
        // Of two generations of one chunk the later one counts.
        let mut replicas = replicas.clone();
        replicas.sort_unstable_by_key(|record| (record.chunk, record.generation));
        replicas.retain(|record| (*first..=*last).contains(&record.chunk));
        let is_there = |chunk: ChunkId| replicas.binary_search_by_key(&chunk, |record| record.chunk).is_ok();
        let Some((last, gone)) = self.missing(index, (*first, *last), is_there) else {
            return;
        };
        let ids = *first..=last;
        for chunk in gone {
            self.end_expectation_of(index, chunk);
            self.promises.gone(index, chunk);
            self.map.forget(chunk, index, None);
            self.refile(cluster, chunk);
        }
        if let Some(work) = self.work.get_mut(index) {
            work.deletions.retain(&ids, is_there);
            retain(&mut work.corrupt, &ids, is_there);
            retain(&mut work.quarantined, &ids, |_| false);
        }
        for record in replicas.iter().take_while(|record| record.chunk <= last) {
            self.end_expectation_of(index, record.chunk);
            if self.take_record(cluster, index, *record, number) && self.may_be_awaited(record.chunk) {
                effects.push(Effect::ReplicaGained { chunk: record.chunk });
            }
        }
        self.keep_turn(index, now);
        if let Some(work) = self.work.get_mut(index)
            && let Some(fence) = work.intake.cover(*first, last, *fence)
        {
            (work.reported, work.reported_fence) = (true, fence);
            self.end_turn(index);
            self.end_expectations(cluster, index);
        }
    }

    /// Chunks with these ids that a node had, or was expected to have, and that are not there; and up to which id that was
    /// looked at: of more than [`GONE`] the others wait for the next slice. `None` if the range is empty.
    fn missing(
        &self,
        index: NodeIndex,
        (first, last): (ChunkId, ChunkId),
        is_there: impl Fn(ChunkId) -> bool,
    ) -> Option<(ChunkId, Vec<ChunkId>)> {
        if first > last {
            return None;
        }
        let ids = first..=last;
        let held = self.map.held_in(index, ids.clone()).filter(|id| !is_there(*id)).take(GONE + 1);
        let awaited = self.work.get(index).and_then(|work| work.awaited.as_ref());
        let awaited = awaited.into_iter().flat_map(|awaited| awaited.chunks.range(ids.clone()));
        let mut gone: Vec<ChunkId> = held.chain(awaited.filter(|id| !is_there(*id)).take(GONE + 1)).collect();
        gone.sort_unstable();
        gone.dedup();
        let further = gone.get(GONE).copied();
        gone.truncate(GONE);
        let last = further.map_or(last, |further| ChunkId(further.0.saturating_sub(1)));
        Some((last, gone))
    }

    /// Whether a file may wait for this chunk's replicas to be closed. Spares a million effects per full report.
    fn may_be_awaited(&self, id: ChunkId) -> bool {
        let few = |good: usize| good <= self.config.min_replicas as usize;
        !self.map.is_settled(id)
            || (self.decides() && self.map.get(id).is_some_and(|chunk| few(chunk.good().len())))
    }

    /// Records one replica, told by the change of this number; `true` if its chunk has one more good replica.
    fn take_record(
        &mut self,
        cluster: &Cluster,
        index: NodeIndex,
        mut record: ReplicaRecord,
        number: u64,
    ) -> bool {
        let (leads, reported) = (self.term.is_some(), record);
        let may_be_foreign = self.map.may_be_foreign(record.chunk);
        let Some(work) = self.work.get_mut(index) else {
            return false;
        };
        let ReplicaRecord { chunk: id, generation, length: _, state, volume } = record;
        // A node that knows of the damage itself will also know when it is over.
        let unknown_to_node = |found: &GenStamp| *found == generation && state != ReplicaState::Corrupt;
        if work.corrupt.get(&id).is_some_and(unknown_to_node) {
            record.state = ReplicaState::Corrupt;
        } else {
            work.corrupt.remove(&id);
        }
        self.promises.told(index, &reported, number);
        work.deletions.replaced_by(id, generation);
        let doomed = work.deletions.contains(id, generation);
        let slot = cluster.get(index).map_or(VolumeSlot::UNKNOWN, |node| node.slot(volume));
        match self.map.record((index, slot), &record, doomed) {
            Recorded::Unknown => {
                if may_be_foreign {
                    work.quarantined.insert(id, reported);
                    self.foreign.insert(id);
                } else if leads {
                    work.deletions.add(id, generation);
                }
                false
            }
            Recorded::Known { gained } => {
                if state != ReplicaState::Rbw {
                    self.end_copies(id, |copy| copy.target == index);
                }
                self.settle_early(cluster, id);
                self.refile(cluster, id);
                gained
            }
        }
    }

    /// A chunk has just been made: replicas of it that were reported before count now.
    pub(super) fn end_quarantine(&mut self, cluster: &Cluster, id: ChunkId, effects: &mut Vec<Effect>) {
        if !self.foreign.remove(&id) {
            return;
        }
        let waiting = self.work.iter_mut().filter(|(_, work)| !work.quarantined.is_empty());
        let known: Vec<_> =
            waiting.filter_map(|(index, work)| Some((index, work.quarantined.remove(&id)?))).collect();
        for (index, record) in known {
            // Nothing was promised for a chunk that was not known.
            if self.take_record(cluster, index, record, 0) {
                effects.push(Effect::ReplicaGained { chunk: id });
            }
        }
    }

    fn replica_deleted(&mut self, cluster: &Cluster, index: NodeIndex, id: ChunkId, generation: GenStamp) {
        if let Some(work) = self.work.get_mut(index) {
            work.deletions.done(id, generation);
            if work.corrupt.get(&id) == Some(&generation) {
                work.corrupt.remove(&id);
            }
            if work.quarantined.get(&id).is_some_and(|record| record.generation == generation) {
                work.quarantined.remove(&id);
            }
        }
        self.promises.gone(index, id);
        self.map.forget(id, index, Some(generation));
        self.refile(cluster, id);
    }

    /// A reader found a replica that does not match its checksums. The reader's own memory may be at fault: its word
    /// does not take the last replica there is to read, only the node's own does.
    pub(crate) fn replica_corrupt(
        &mut self,
        cluster: &Cluster,
        id: ChunkId,
        generation: GenStamp,
        node: NodeId,
    ) {
        let Some(index) = cluster.find(node) else {
            return;
        };
        if !self.is_readable_without(id, index) {
            return;
        }
        if self.map.mark_corrupt(id, index, generation) {
            if let Some(work) = self.work.get_mut(index) {
                work.corrupt.insert(id, generation);
            }
            self.refile(cluster, id);
        }
    }

    /// Whether a chunk can be read without this node's replica, and will be for as long as nothing else happens.
    fn is_readable_without(&self, id: ChunkId, index: NodeIndex) -> bool {
        let Some(chunk) = self.map.get(id) else {
            return false;
        };
        if chunk.length().is_some() {
            return self.firm(id, chunk).any(|other| other != index);
        }
        let fit = |odd: &Odd| {
            !odd.doomed && chunk.judge(odd.generation, odd.length, odd.state) == Verdict::Candidate
        };
        self.map.odd(id).iter().any(|odd| odd.node != index && fit(odd))
    }
}

#[cfg(test)]
mod tests {
    use dfs_types::{ChunkId, GenStamp, Layout, NodeId, ReplicaRecord, ReplicaState};

    use super::GONE;
    use crate::test_support::{GENERATION, LENGTH, Rig, TERM, node_id, record, stats};
    use crate::{Effect, Event, Report, Slice};

    const LATER: GenStamp = GenStamp(GENERATION.0 + 3);

    fn gained(effects: &[Effect]) -> usize {
        effects.iter().filter(|effect| **effect == Effect::ReplicaGained { chunk: ChunkId(10) }).count()
    }

    #[test]
    fn replicas_reported_before_their_chunk_is_known_count_as_soon_as_it_is() {
        let mut rig = Rig::with_nodes(4);
        rig.apply(Event::LeadershipLost);
        for n in 0..3 {
            rig.changed(n, record(10, ReplicaState::Rbw));
            rig.changed(n, record(10, ReplicaState::Finalized));
        }
        let stale = ReplicaRecord { generation: GenStamp(GENERATION.0 - 1), ..record(10, ReplicaState::Rbw) };
        rig.gone(1, stale);
        rig.gone(2, record(10, ReplicaState::Finalized));
        assert_eq!(rig.core.totals(rig.now).quarantined, 2, "one deletion was of another version");
        let (chunk, generation) = (ChunkId(10), GENERATION);
        let effects =
            rig.apply(Event::ChunkAdded { chunk, generation, layout: Layout::Replicated { replicas: 3 } });
        assert_eq!(gained(&effects), 2);
        assert_eq!(rig.core.finalized(chunk, generation), 2);
        rig.commit(10);
        assert_eq!(rig.core.chunk(chunk).unwrap().good, [node_id(0), node_id(1)]);
        assert_eq!(rig.core.totals(rig.now).quarantined, 0);
        rig.check();
    }

    #[test]
    fn a_version_newer_than_known_is_judged_when_it_becomes_known() {
        for committed in [false, true] {
            let mut rig = Rig::with_nodes(3);
            rig.out_of_safe_mode();
            if committed {
                rig.chunk(10, 2, &[0]);
            } else {
                rig.open_chunk(10, 2, &[0]);
            }
            let later = ReplicaRecord { generation: LATER, ..record(10, ReplicaState::Finalized) };
            rig.changed(1, later);
            rig.report(2, vec![later]);
            rig.run(std::time::Duration::from_mins(1), &[0, 1, 2]);
            let view = rig.core.chunk(ChunkId(10)).unwrap();
            assert!(view.corrupt.is_empty() && !view.good.contains(&node_id(1)), "{view:?}");
            assert_eq!(rig.core.totals(rig.now).pending_deletions, 0, "it may be the right one");
            rig.apply(Event::GenerationChanged { chunk: ChunkId(10), generation: LATER });
            let effects = rig.commit_as(10, LATER);
            assert_eq!(gained(&effects), 1);
            let view = rig.core.chunk(ChunkId(10)).unwrap();
            assert_eq!((view.generation, view.length), (LATER, Some(LENGTH)));
            assert_eq!(view.good, [node_id(1), node_id(2)], "committed before: {committed}");
            rig.check();
        }
    }

    fn slice(first: u64, last: u64, fence: u64, replicas: &[ReplicaRecord]) -> Slice {
        Slice { first: ChunkId(first), last: ChunkId(last), fence, replicas: replicas.to_vec() }
    }

    fn good(rig: &Rig, id: u64) -> Vec<NodeId> {
        rig.core.chunk(ChunkId(id)).unwrap().good
    }

    #[test]
    fn changes_between_the_slices_of_a_report_count_whatever_the_slices_say() {
        let mut rig = Rig::with_nodes(2);
        (10..20).for_each(|id| rig.chunk(id, 2, &[1]));
        rig.rejoin(0, 2);
        let fine = |id| record(id, ReplicaState::Finalized);
        rig.tell(0, vec![], Some(slice(0, 12, TERM, &[fine(10), fine(11), fine(12)])));
        assert!(rig.core.owes_report(node_id(0)));
        assert_eq!(rig.core.wants_report(node_id(0), rig.now), Some(ChunkId(13)));
        // One that a slice told goes, and one of a later slice comes and is told again by it.
        rig.tell(0, vec![(fine(11), true), (fine(15), false)], None);
        rig.tell(
            0,
            vec![(fine(16), false)],
            Some(slice(13, u64::MAX, TERM, &[fine(13), fine(15), fine(16)])),
        );
        assert!(!rig.core.owes_report(node_id(0)));
        assert_eq!(rig.core.wants_report(node_id(0), rig.now), None);
        let has: Vec<u64> = (10..20).filter(|id| good(&rig, *id).contains(&node_id(0))).collect();
        assert_eq!(has, [10, 12, 13, 15, 16]);
        rig.check();
    }

    #[test]
    fn what_comes_late_changes_nothing() {
        let mut rig = Rig::with_nodes(2);
        (10..13).for_each(|id| rig.chunk(id, 2, &[1]));
        let fine = |id| record(id, ReplicaState::Finalized);
        let after = rig.number(0);
        let late = |changes: Vec<(ReplicaRecord, bool)>, slice| Event::Reported {
            node: node_id(0),
            report: Report { after, changes, slice },
        };
        let came = vec![(fine(10), false), (fine(11), false)];
        rig.tell(0, came.clone(), None);
        rig.tell(0, vec![(fine(10), true), (fine(12), false)], None);
        // The same once more, alone and with a slice from before anything of it.
        rig.apply(late(came.clone(), None));
        rig.apply(late(vec![], Some(slice(0, u64::MAX, TERM, &[]))));
        rig.apply(late(came, Some(slice(0, u64::MAX, TERM, &[fine(10), fine(11)]))));
        let has: Vec<u64> = (10..13).filter(|id| good(&rig, *id).contains(&node_id(0))).collect();
        assert_eq!(has, [11, 12]);
        assert!(!rig.core.owes_report(node_id(0)), "nothing is missing");
        rig.check();
    }

    #[test]
    fn after_missing_changes_everything_is_reported_again() {
        let mut rig = Rig::with_nodes(2);
        rig.chunk(10, 2, &[0, 1]);
        rig.out_of_safe_mode();
        let (node, after) = (node_id(0), rig.number(0) + 5);
        rig.apply(Event::Reported { node, report: Report { after, ..Report::default() } });
        assert!(rig.core.owes_report(node));
        assert_eq!(good(&rig, 10).len(), 2, "what is known of it is believed in as long");
        let report = Report { after, changes: vec![], slice: Some(slice(0, u64::MAX, TERM, &[])) };
        rig.apply(Event::Reported { node, report });
        assert!(!rig.core.owes_report(node));
        assert_eq!(good(&rig, 10), [node_id(1)]);
        rig.check();
    }

    #[test]
    fn a_slice_takes_a_bounded_number_of_replicas_away() {
        let (mut rig, more) = (Rig::with_nodes(2), 10);
        let all = 10..10 + (2 * GONE + more) as u64;
        for id in all.clone() {
            rig.add_chunk(id, LENGTH, 1);
        }
        let there = all.clone().map(|id| record(id, ReplicaState::Finalized)).collect();
        rig.report(0, there);
        for (times, left) in [(1, GONE + more), (2, more), (3, 0)] {
            rig.rejoin(0, 2);
            let next = rig.core.wants_report(node_id(0), rig.now).unwrap();
            rig.tell(0, vec![], Some(slice(next.0, u64::MAX, TERM, &[])));
            let expected = rig.core.namespace().expected.len();
            assert_eq!(expected, left, "after {times} slices");
            assert_eq!(rig.core.owes_report(node_id(0)), left > 0);
        }
        rig.check();
    }

    #[test]
    fn a_turn_that_is_not_used_passes() {
        let mut rig = Rig::default();
        (0..6).for_each(|n| rig.join(n, stats(n)));
        let turns = |rig: &mut Rig| -> Vec<u16> {
            (0..6).filter(|n| rig.core.wants_report(node_id(*n), rig.now).is_some()).collect()
        };
        assert_eq!(turns(&mut rig), [0, 1, 2, 3]);
        rig.report(1, vec![]);
        assert_eq!(turns(&mut rig), [0, 2, 3, 4]);
        rig.run(std::time::Duration::from_secs(6), &[0, 1, 2, 3, 4, 5]);
        rig.tell(2, vec![], Some(slice(0, 9, TERM, &[])));
        rig.run(std::time::Duration::from_secs(5), &[0, 1, 2, 3, 4, 5]);
        assert_eq!(turns(&mut rig), [2, 5], "0, 3 and 4 let theirs pass, and wait for a while");
        rig.run(std::time::Duration::from_secs(9), &[0, 1, 2, 3, 4, 5]);
        rig.tell(2, vec![], Some(slice(10, 19, TERM, &[])));
        rig.run(std::time::Duration::from_secs(2), &[0, 1, 2, 3, 4, 5]);
        assert_eq!(turns(&mut rig), [0, 2, 3, 4]);
        rig.check();
    }
}
