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
        if let Some(node) = self.nodes.get_mut(index) {
            node.deletions.retain(is_there);
            node.corrupt.retain(|chunk, _| is_there(*chunk));
            node.quarantined.clear();
            node.awaited = None;
            node.reported = true;
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
            || (!self.safe_mode.is_on() && self.map.get(id).is_some_and(|chunk| few(chunk.good().len())))
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
        let next = self.map.next();
        let Some(node) = self.nodes.get_mut(index) else {
            return false;
        };
        let ReplicaRecord { chunk: id, generation, length: _, state } = record;
        match node.corrupt.get(&id) {
            Some(found) if *found == generation => record.state = ReplicaState::Corrupt,
            Some(_) => {
                node.corrupt.remove(&id);
            }
            None => {}
        }
        if state == ReplicaState::Corrupt {
            node.corrupt.insert(id, generation);
        }
        node.deletions.replaced_by(id, generation);
        let doomed = node.deletions.contains(id, generation);
        match self.map.record(index, &record, doomed) {
            Recorded::Unknown => {
                if id >= next {
                    node.quarantined.insert(id);
                } else {
                    node.deletions.add(id, generation);
                }
                false
            }
            Recorded::Known { gained } => {
                if state != ReplicaState::Rbw {
                    self.end_copies(id, |copy| copy.target == index);
                }
                self.refile(id);
                gained
            }
        }
    }

    fn replica_deleted(&mut self, index: NodeIndex, id: ChunkId, generation: GenStamp) {
        if let Some(node) = self.nodes.get_mut(index) {
            node.deletions.done(id, generation);
            if node.corrupt.get(&id) == Some(&generation) {
                node.corrupt.remove(&id);
            }
            node.quarantined.remove(&id);
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
