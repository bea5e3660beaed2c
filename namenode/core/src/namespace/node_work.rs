//! What a namespace knows of one node's replicas, and what it wants of it.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use dfs_types::{ChunkId, GenStamp, Millis, ReplicaRecord};

use super::chunk_set::ChunkSet;
use super::intake::Intake;
use crate::Config;
use crate::cluster::NodeIndex;

/// One node's reports and orders, as far as they concern this namespace.
#[derive(Debug, Default)]
pub(super) struct NodeWork {
    /// Whether its duty, if it is not in service, is carried out.
    pub(super) duty_done: bool,
    /// When that was last looked into in vain.
    pub(super) checked: Millis,
    /// Chunks that depend on it, while it is not in service.
    pub(super) depending: u64,
    /// Lists of its chunks that are still to be gone through.
    pub(super) reviews: u32,
    /// Which of its messages are taken in, and how far its full report has come.
    pub(super) intake: Intake,
    /// When it let its turn to report pass, if it did; others come first for a while.
    pub(super) passed: Option<Millis>,
    /// Whether its full report is in, and nothing it said since was missed.
    pub(super) reported: bool,
    /// This process obeys no leader of an older term, as it says.
    pub(super) fence: u64,
    /// The same as of its last full report.
    pub(super) reported_fence: u64,
    /// Chunks it had before its process was replaced, until its report comes or the wait is over.
    pub(super) awaited: Option<Awaited>,
    /// Copies it is to send.
    pub(super) sending: Streams,
    /// Copies it is to receive.
    pub(super) receiving: Streams,
    /// Copies of the balancer among both.
    pub(super) moving: u32,
    /// When it may take part in the next move of a chunk.
    pub(super) moves_again: Millis,
    /// Chunks of which it is to send copies; not yet told.
    pub(super) copy_orders: VecDeque<ChunkId>,
    /// Chunks it is to recover; not yet told.
    pub(super) recovery_orders: VecDeque<ChunkId>,
    pub(super) deletions: Deletions,
    /// Replicas of this process that a reader found damaged: they stay so until they are replaced, or until another
    /// leader, who does not know of it, may have replaced them.
    pub(super) corrupt: BTreeMap<ChunkId, GenStamp>,
    /// Replicas of chunks that this namespace has not made yet: it lags behind its leader, or was restored from an old
    /// backup.
    pub(super) quarantined: BTreeMap<ChunkId, ReplicaRecord>,
}

/// The same of every node in the cluster's table.
#[derive(Debug, Default)]
pub(super) struct Work {
    of: Vec<Option<Box<NodeWork>>>,
}

impl Work {
    /// Of a node that came, nothing is known yet.
    pub(super) fn add(&mut self, index: NodeIndex) {
        let at = usize::from(index.0);
        if self.of.len() <= at {
            self.of.resize_with(at + 1, || None);
        }
        if let Some(of) = self.of.get_mut(at) {
            *of = Some(Box::default());
        }
    }

    /// The node is gone.
    pub(super) fn remove(&mut self, index: NodeIndex) {
        if let Some(of) = self.of.get_mut(usize::from(index.0)) {
            *of = None;
        }
    }

    pub(super) fn get(&self, index: NodeIndex) -> Option<&NodeWork> {
        self.of.get(usize::from(index.0))?.as_deref()
    }

    pub(super) fn get_mut(&mut self, index: NodeIndex) -> Option<&mut NodeWork> {
        self.of.get_mut(usize::from(index.0))?.as_deref_mut()
    }

    /// Of all nodes, in the order of their indexes.
    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeIndex, &NodeWork)> {
        let of = self.of.iter().enumerate();
        of.filter_map(|(at, of)| Some((NodeIndex(at as u16), of.as_deref()?)))
    }

    /// Of all nodes, to change.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (NodeIndex, &mut NodeWork)> {
        let of = self.of.iter_mut().enumerate();
        of.filter_map(|(at, of)| Some((NodeIndex(at as u16), of.as_deref_mut()?)))
    }
}

/// Chunks a node is expected to report again.
#[derive(Debug)]
pub(super) struct Awaited {
    /// Until when.
    pub(super) until: Millis,
    /// Which.
    pub(super) chunks: ChunkSet,
}

/// How much may be under way in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    /// Most copies.
    pub(super) count: u32,
    /// Most bytes, unless it is one copy.
    pub(super) bytes: u64,
}

impl Allowance {
    /// What one node may send, or receive, at most.
    pub(super) fn of_node(config: &Config) -> Self {
        Self { count: config.max_copies_per_node, bytes: config.max_copy_bytes_per_node }
    }

    /// What the whole cluster may copy at most.
    pub(super) fn of_cluster(config: &Config) -> Self {
        Self { count: config.max_copies, bytes: config.max_copy_bytes }
    }

    /// A part of it, at least one copy.
    pub(super) fn part(self, numerator: u32, denominator: u32) -> Self {
        let bytes = self.bytes / u64::from(denominator) * u64::from(numerator);
        Self { count: (self.count * numerator / denominator).max(1), bytes }
    }

    /// Whether it has no room for more than these.
    pub(super) fn is_exceeded_by(self, streams: Streams) -> bool {
        streams.count > 1 && (streams.count > self.count || streams.bytes > self.bytes)
    }
}

/// Copies under way in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Streams {
    /// How many.
    pub(super) count: u32,
    /// Bytes of their chunks.
    pub(super) bytes: u64,
}

impl Streams {
    /// Whether another copy of `bytes` may start.
    pub(super) fn has_room(self, bytes: u64, allowance: Allowance) -> bool {
        self.count == 0
            || (self.count < allowance.count && self.bytes.saturating_add(bytes) <= allowance.bytes)
    }

    pub(super) fn start(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }

    pub(super) fn end(&mut self, bytes: u64) {
        self.count -= 1;
        self.bytes -= bytes;
    }
}

/// Replicas a node is to delete. One that was told stays here until the node says that it is gone; a chunk is in one
/// of the three.
#[derive(Debug, Default)]
pub(super) struct Deletions {
    waiting: BTreeMap<ChunkId, GenStamp>,
    told: BTreeMap<ChunkId, (GenStamp, Millis)>,
    /// Told, and no longer wanted: the node may still do it at any time.
    recalled: BTreeMap<ChunkId, (GenStamp, Millis)>,
}

/// An order to delete a replica that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) chunk: ChunkId,
    pub(super) generation: GenStamp,
    /// Whether the node may have it already.
    pub(super) again: bool,
}

/// Of the entries for chunks with these ids keeps those for which `keeps` says so; looks at no others.
pub(super) fn retain<T>(
    map: &mut BTreeMap<ChunkId, T>,
    ids: &RangeInclusive<ChunkId>,
    keeps: impl Fn(ChunkId) -> bool,
) {
    let going: Vec<ChunkId> = map.range(ids.clone()).map(|(id, _)| *id).filter(|id| !keeps(*id)).collect();
    for id in going {
        map.remove(&id);
    }
}

impl Deletions {
    /// Orders a replica to be deleted.
    pub(super) fn add(&mut self, chunk: ChunkId, generation: GenStamp) {
        if self.contains(chunk, generation) {
            return;
        }
        self.told.remove(&chunk);
        match self.recalled.remove(&chunk) {
            Some(told) if told.0 == generation => {
                self.told.insert(chunk, told);
            }
            Some(_) | None => {
                self.waiting.insert(chunk, generation);
            }
        }
    }

    /// Takes an order that was due back. One that the node may have stays known as recalled.
    pub(super) fn take_back(&mut self, due: Due) {
        self.waiting.remove(&due.chunk);
        let told = self.told.remove(&due.chunk).filter(|_| due.again);
        self.recalled.extend(told.map(|told| (due.chunk, told)));
    }

    /// The node says that this version is gone: whatever was ordered for it is done.
    pub(super) fn done(&mut self, chunk: ChunkId, generation: GenStamp) {
        self.keep(chunk, |ordered| ordered != generation);
    }

    /// The node says that it has this version: orders for any other are over.
    pub(super) fn replaced_by(&mut self, chunk: ChunkId, generation: GenStamp) {
        self.keep(chunk, |ordered| ordered == generation);
    }

    fn keep(&mut self, chunk: ChunkId, keeps: impl Fn(GenStamp) -> bool) {
        if self.waiting.get(&chunk).is_some_and(|ordered| !keeps(*ordered)) {
            self.waiting.remove(&chunk);
        }
        for orders in [&mut self.told, &mut self.recalled] {
            if orders.get(&chunk).is_some_and(|(ordered, _)| !keeps(*ordered)) {
                orders.remove(&chunk);
            }
        }
    }

    /// Whether the node may still delete this replica though that is no longer wanted.
    pub(super) fn is_recalled(&self, chunk: ChunkId, generation: GenStamp) -> bool {
        self.recalled.get(&chunk).is_some_and(|(ordered, _)| *ordered == generation)
    }

    pub(super) fn contains(&self, chunk: ChunkId, generation: GenStamp) -> bool {
        self.generation(chunk) == Some(generation)
    }

    /// Which version of the chunk is to be deleted.
    pub(super) fn generation(&self, chunk: ChunkId) -> Option<GenStamp> {
        let told = || self.told.get(&chunk).map(|(generation, _)| *generation);
        self.waiting.get(&chunk).copied().or_else(told)
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len() + self.told.len()
    }

    /// Of the orders for chunks with these ids keeps those for chunks that are still there.
    pub(super) fn retain(&mut self, ids: &RangeInclusive<ChunkId>, is_there: impl Fn(ChunkId) -> bool) {
        retain(&mut self.waiting, ids, &is_there);
        retain(&mut self.told, ids, &is_there);
        retain(&mut self.recalled, ids, &is_there);
    }

    /// Drops all orders, told or not; answers the chunks whose replicas were to be deleted.
    pub(super) fn forget(&mut self) -> Vec<ChunkId> {
        let Self { waiting, told, recalled: _ } = std::mem::take(self);
        waiting.into_keys().chain(told.into_keys()).collect()
    }

    /// The node is gone: only what it may already have been told must be remembered.
    pub(super) fn drop_waiting(&mut self) {
        self.waiting.clear();
    }

    /// Up to `limit` replicas to tell the node now; those told more than `retry` ago come again.
    pub(super) fn tell(&mut self, limit: usize, retry: Duration, now: Millis) -> Vec<Due> {
        let overdue = self.told.iter_mut().filter(|(_, (_, told))| now.since(*told) >= retry);
        let mut due = Vec::new();
        for (chunk, (generation, told)) in overdue.take(limit) {
            *told = now;
            due.push(Due { chunk: *chunk, generation: *generation, again: true });
        }
        // A node that does not get on with deleting is not told ever more.
        let most = (10 * limit).saturating_sub(self.told.len());
        let limit = limit.min(due.len() + most);
        while due.len() < limit
            && let Some((chunk, generation)) = self.waiting.pop_first()
        {
            self.told.insert(chunk, (generation, now));
            due.push(Due { chunk, generation, again: false });
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletions_are_told_in_batches_and_again_when_overdue() {
        let retry = Duration::from_mins(1);
        let mut deletions = Deletions::default();
        (0..5).for_each(|id| deletions.add(ChunkId(id), GenStamp(1)));
        assert_eq!(deletions.tell(3, retry, Millis(0)).len(), 3);
        assert_eq!(deletions.tell(3, retry, Millis(1_000)).len(), 2);
        assert_eq!(deletions.tell(3, retry, Millis(2_000)).len(), 0);
        deletions.done(ChunkId(0), GenStamp(2));
        assert_eq!(deletions.len(), 5, "it has another version");
        deletions.done(ChunkId(0), GenStamp(1));
        let again = |id| Due { chunk: ChunkId(id), generation: GenStamp(1), again: true };
        assert_eq!(deletions.tell(9, retry, Millis(60_000)), [again(1), again(2)]);
        deletions.add(ChunkId(3), GenStamp(2));
        let replaced = Due { chunk: ChunkId(3), generation: GenStamp(2), again: false };
        assert_eq!(deletions.tell(9, retry, Millis(60_001)), [replaced]);
        assert_eq!(deletions.len(), 4);
    }

    #[test]
    fn an_order_taken_back_is_remembered_if_the_node_may_have_it() {
        let (id, generation, retry) = (ChunkId(1), GenStamp(1), Duration::from_mins(1));
        let mut deletions = Deletions::default();
        deletions.add(id, generation);
        let first = deletions.tell(1, retry, Millis(0))[0];
        deletions.take_back(first);
        assert!(!deletions.is_recalled(id, generation), "it was not sent");
        deletions.add(id, generation);
        assert_eq!(deletions.tell(1, retry, Millis(0)), [first]);
        let second = deletions.tell(1, retry, Millis(60_000))[0];
        deletions.take_back(second);
        assert!(deletions.is_recalled(id, generation) && !deletions.contains(id, generation));
        deletions.drop_waiting();
        deletions.replaced_by(id, generation);
        deletions.add(id, generation);
        assert!(deletions.contains(id, generation) && !deletions.is_recalled(id, generation));
        let again = deletions.tell(1, retry, Millis(120_000))[0];
        assert!(again.again, "it was told long ago");
        deletions.take_back(again);
        deletions.done(id, generation);
        assert!(!deletions.is_recalled(id, generation));
    }

    #[test]
    fn a_single_large_copy_is_fine() {
        let allowance = Allowance { count: 2, bytes: 10 };
        let mut streams = Streams::default();
        assert!(streams.has_room(100, allowance));
        streams.start(6);
        assert!(streams.has_room(4, allowance) && !streams.has_room(5, allowance));
        streams.start(1);
        assert!(!streams.has_room(0, allowance) && !allowance.is_exceeded_by(streams));
        streams.start(4);
        assert!(allowance.is_exceeded_by(streams));
        streams.end(4);
        streams.end(6);
        assert_eq!(streams, Streams { count: 1, bytes: 1 });
    }
}
