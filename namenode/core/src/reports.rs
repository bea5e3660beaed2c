//! What nodes say of their replicas.

use dfs_types::{ChunkId, GenStamp, NodeId, ReplicaRecord, ReplicaState};

use crate::Effect;
use crate::NodeState;
use crate::chunk_map::{Odd, Recorded, Verdict};
use crate::cluster::Cluster;
use crate::node_list::NodeIndex;

impl Cluster {
    /// The index of a node whose reports count. What a dead node says is left for the full report it is asked for
    /// once its heartbeats are back.
    fn reporter(&self, id: NodeId) -> Option<NodeIndex> {
        let index = self.nodes.find(id)?;
        self.nodes.get(index).filter(|node| node.state != NodeState::Dead).map(|_| index)
    }

    /// A node has these replicas and no others.
    pub(crate) fn full_report(
        &mut self,
        id: NodeId,
        fence: u64,
        mut replicas: Vec<ReplicaRecord>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(index) = self.reporter(id) else {
            return;
        };
        // Of two generations of one chunk the later one counts.
        if !replicas.is_sorted_by_key(|record| (record.chunk, record.generation)) {
            replicas.sort_unstable_by_key(|record| (record.chunk, record.generation));
        }
        let is_there = |chunk: ChunkId| replicas.binary_search_by_key(&chunk, |record| record.chunk).is_ok();
        let gone: Vec<ChunkId> = self.map.held(index).filter(|chunk| !is_there(*chunk)).collect();
        for chunk in gone {
            self.map.forget(chunk, index, None);
            self.refile(chunk);
        }
        self.end_expectations(index, is_there);
        if let Some(node) = self.nodes.get_mut(index) {
            node.deletions.retain(is_there);
            node.corrupt.retain(|chunk, _| is_there(*chunk));
            node.quarantined.clear();
            node.reported = true;
            node.reported_fence = fence;
        }
        for record in &replicas {
            if self.take_record(index, *record) && self.may_be_awaited(record.chunk) {
                effects.push(Effect::ReplicaGained { chunk: record.chunk });
            }
        }
    }

    /// Whether a file may wait for this chunk's replicas to be closed. Spares a million effects per full report.
    fn may_be_awaited(&self, id: ChunkId) -> bool {
        let few = |good: usize| good <= self.config.min_replicas as usize;
        !self.map.is_settled(id)
            || (self.decides() && self.map.get(id).is_some_and(|chunk| few(chunk.good().len())))
    }

    /// Some of a node's replicas came, changed or went.
    pub(crate) fn replicas_changed(
        &mut self,
        id: NodeId,
        changes: &[(ReplicaRecord, bool)],
        effects: &mut Vec<Effect>,
    ) {
        let Some(index) = self.reporter(id) else {
            return;
        };
        for (record, deleted) in changes {
            if *deleted {
                self.replica_deleted(index, record.chunk, record.generation);
            } else if self.take_record(index, *record) {
                effects.push(Effect::ReplicaGained { chunk: record.chunk });
            }
        }
    }

    /// Records one replica; `true` if its chunk has one more good replica.
    fn take_record(&mut self, index: NodeIndex, mut record: ReplicaRecord) -> bool {
        let (leads, reported) = (self.term.is_some(), record);
        let may_be_foreign = self.map.may_be_foreign(record.chunk);
        let Some(node) = self.nodes.get_mut(index) else {
            return false;
        };
        let ReplicaRecord { chunk: id, generation, length: _, state } = record;
        // A node that knows of the damage itself will also know when it is over.
        let unknown_to_node = |found: &GenStamp| *found == generation && state != ReplicaState::Corrupt;
        if node.corrupt.get(&id).is_some_and(unknown_to_node) {
            record.state = ReplicaState::Corrupt;
        } else {
            node.corrupt.remove(&id);
        }
        node.deletions.replaced_by(id, generation);
        let doomed = node.deletions.contains(id, generation);
        match self.map.record(index, &record, doomed) {
            Recorded::Unknown => {
                if may_be_foreign {
                    node.quarantined.insert(id, reported);
                    self.foreign.insert(id);
                } else if leads {
                    node.deletions.add(id, generation);
                }
                false
            }
            Recorded::Known { gained } => {
                if state != ReplicaState::Rbw {
                    self.end_copies(id, |copy| copy.target == index);
                }
                self.settle_early(id);
                self.refile(id);
                gained
            }
        }
    }

    /// A chunk has just been made: replicas of it that were reported before count now.
    pub(crate) fn end_quarantine(&mut self, id: ChunkId, effects: &mut Vec<Effect>) {
        if !self.foreign.remove(&id) {
            return;
        }
        let waiting = self.nodes.iter_mut().filter(|(_, node)| !node.quarantined.is_empty());
        let known: Vec<_> =
            waiting.filter_map(|(index, node)| Some((index, node.quarantined.remove(&id)?))).collect();
        for (index, record) in known {
            if self.take_record(index, record) {
                effects.push(Effect::ReplicaGained { chunk: id });
            }
        }
    }

    fn replica_deleted(&mut self, index: NodeIndex, id: ChunkId, generation: GenStamp) {
        if let Some(node) = self.nodes.get_mut(index) {
            node.deletions.done(id, generation);
            if node.corrupt.get(&id) == Some(&generation) {
                node.corrupt.remove(&id);
            }
            if node.quarantined.get(&id).is_some_and(|record| record.generation == generation) {
                node.quarantined.remove(&id);
            }
        }
        self.map.forget(id, index, Some(generation));
        self.refile(id);
    }

    /// A reader found a replica that does not match its checksums. The reader's own memory may be at fault: its word
    /// does not take the last replica there is to read, only the node's own does.
    pub(crate) fn replica_corrupt(&mut self, id: ChunkId, generation: GenStamp, node: NodeId) {
        let Some(index) = self.nodes.find(node) else {
            return;
        };
        if !self.is_readable_without(id, index) {
            return;
        }
        if self.map.mark_corrupt(id, index, generation) {
            if let Some(node) = self.nodes.get_mut(index) {
                node.corrupt.insert(id, generation);
            }
            self.refile(id);
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
    use dfs_types::{ChunkId, GenStamp, ReplicaRecord, ReplicaState};

    use crate::test_support::{GENERATION, LENGTH, Rig, node_id, record};
    use crate::{Effect, Event};

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
        assert_eq!(rig.cluster.totals(rig.now).quarantined, 2, "one deletion was of another version");
        let (chunk, generation) = (ChunkId(10), GENERATION);
        let effects = rig.apply(Event::ChunkAdded { chunk, generation, replication: 3 });
        assert_eq!(gained(&effects), 2);
        assert_eq!(rig.cluster.finalized(chunk, generation), 2);
        rig.commit(10);
        assert_eq!(rig.cluster.chunk(chunk).unwrap().good, [node_id(0), node_id(1)]);
        assert_eq!(rig.cluster.totals(rig.now).quarantined, 0);
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
            let view = rig.cluster.chunk(ChunkId(10)).unwrap();
            assert!(view.corrupt.is_empty() && !view.good.contains(&node_id(1)), "{view:?}");
            assert_eq!(rig.cluster.totals(rig.now).pending_deletions, 0, "it may be the right one");
            rig.apply(Event::GenerationChanged { chunk: ChunkId(10), generation: LATER });
            let effects = rig.commit_as(10, LATER);
            assert_eq!(gained(&effects), 1);
            let view = rig.cluster.chunk(ChunkId(10)).unwrap();
            assert_eq!((view.generation, view.length), (LATER, Some(LENGTH)));
            assert_eq!(view.good, [node_id(1), node_id(2)], "committed before: {committed}");
            rig.check();
        }
    }
}
