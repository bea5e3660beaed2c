//! What is known of one DataNode.

use std::collections::{BTreeMap, VecDeque};
use std::ops::RangeInclusive;
use std::time::Duration;

use dfs_types::{ChunkId, GenStamp, Millis, NodeDuty, NodeId, ReplicaRecord, Space, VolumeHealth};

use crate::chunk_set::ChunkSet;
use crate::intake::Intake;
use crate::promises::Promised;
use crate::topology::Place;
use crate::{Config, NodeState, NodeStats, Volume};

/// One DataNode, as it is known by its id.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: NodeId,
    /// Which process of it registered last.
    pub(crate) incarnation: u128,
    pub(crate) version: String,
    pub(crate) stats: NodeStats,
    pub(crate) place: Place,
    pub(crate) state: NodeState,
    /// What it is used for.
    pub(crate) duty: NodeDuty,
    /// Whether its duty, if it is not in service, is carried out.
    pub(crate) duty_done: bool,
    /// When that was last looked into in vain.
    pub(crate) checked: Millis,
    /// Chunks that depend on it, while it is not in service.
    pub(crate) depending: u64,
    /// Lists of its chunks that are still to be gone through.
    pub(crate) reviews: u32,
    /// How often this process was dead and came back lately, and when it died last.
    pub(crate) deaths: u32,
    pub(crate) died: Millis,
    /// When it was heard of last.
    pub(crate) seen: Millis,
    /// The same, as the namespace remembers it of a dead node.
    pub(crate) noted: Option<Millis>,
    /// Which of its messages are taken in, and how far its full report has come.
    pub(crate) intake: Intake,
    /// When it let its turn to report pass, if it did; others come first for a while.
    pub(crate) passed: Option<Millis>,
    /// Whether its full report is in, and nothing it said since was missed.
    pub(crate) reported: bool,
    /// This process obeys no leader of an older term, as it says.
    pub(crate) fence: u64,
    /// The same as of its last full report.
    pub(crate) reported_fence: u64,
    /// Chunks it had before its process was replaced, until its report comes or the wait is over.
    pub(crate) awaited: Option<Awaited>,
    /// Copies it is to send.
    pub(crate) sending: Streams,
    /// Copies it is to receive.
    pub(crate) receiving: Streams,
    /// Copies of the balancer among both.
    pub(crate) moving: u32,
    /// When it may take part in the next move of a chunk.
    pub(crate) moves_again: Millis,
    /// Chunks of which it is to send copies; not yet told.
    pub(crate) copy_orders: VecDeque<ChunkId>,
    /// Chunks it is to recover; not yet told.
    pub(crate) recovery_orders: VecDeque<ChunkId>,
    pub(crate) deletions: Deletions,
    /// Replicas of this process that a reader found damaged: they stay so until they are replaced, or until another
    /// leader, who does not know of it, may have replaced them.
    pub(crate) corrupt: BTreeMap<ChunkId, GenStamp>,
    /// Replicas of chunks that this namespace has not made yet: it lags behind its leader, or was restored from an old
    /// backup.
    pub(crate) quarantined: BTreeMap<ChunkId, ReplicaRecord>,
}

/// Chunks a node is expected to report again.
#[derive(Debug)]
pub(crate) struct Awaited {
    /// Until when.
    pub(crate) until: Millis,
    /// Which.
    pub(crate) chunks: ChunkSet,
}

impl Node {
    pub(crate) fn new(id: NodeId, incarnation: u128, version: String, stats: NodeStats, now: Millis) -> Self {
        Self {
            id,
            incarnation,
            version,
            place: Place::of(&stats),
            stats,
            state: NodeState::Live,
            duty: NodeDuty::InService,
            duty_done: false,
            checked: Millis::default(),
            depending: 0,
            reviews: 0,
            deaths: 0,
            died: Millis::default(),
            seen: now,
            noted: None,
            intake: Intake::default(),
            passed: None,
            reported: false,
            fence: 0,
            reported_fence: 0,
            awaited: None,
            sending: Streams::default(),
            receiving: Streams::default(),
            moving: 0,
            moves_again: Millis::default(),
            copy_orders: VecDeque::new(),
            recovery_orders: VecDeque::new(),
            deletions: Deletions::default(),
            corrupt: BTreeMap::new(),
            quarantined: BTreeMap::new(),
        }
    }

    /// Takes over what a heartbeat says.
    pub(crate) fn hear(&mut self, stats: NodeStats, now: Millis) {
        if (&self.stats.address, &self.stats.machine) != (&stats.address, &stats.machine) {
            self.place = Place::of(&stats);
        }
        self.stats = stats;
        self.seen = now;
    }

    /// Whether it can be given work: alive, and not about to stop.
    pub(crate) fn is_usable(&self) -> bool {
        self.state == NodeState::Live && !self.stats.stopping
    }

    /// Whether it can be given replicas: it has work, and is to be used.
    pub(crate) fn is_target(&self) -> bool {
        self.is_usable() && self.duty == NodeDuty::InService
    }

    /// Whether it is there and to be used, though it may not be heard of just now.
    pub(crate) fn is_in_use(&self) -> bool {
        self.state != NodeState::Dead && self.duty == NodeDuty::InService
    }

    /// Clients' sessions, as it said: those of copies it receives are not theirs.
    pub(crate) fn foreground(&self) -> u32 {
        let writes = self.stats.active_writes.saturating_sub(self.receiving.count);
        self.stats.active_reads.saturating_add(writes)
    }

    /// How often it has been dead lately and come back.
    pub(crate) fn recent_deaths(&self, now: Millis) -> u32 {
        if now.since(self.died) < FLAPPING { self.deaths } else { 0 }
    }

    /// Whether it can be given work, and what it has is known.
    pub(crate) fn is_known(&self) -> bool {
        self.is_usable() && self.reported
    }

    /// The space of its volumes together.
    pub(crate) fn space(&self) -> Space {
        Space::sum(self.stats.volumes.iter().map(Volume::space))
    }

    /// Whether it is there and has said what all its volumes hold, up to its last heartbeat.
    pub(crate) fn has_told_all(&self) -> bool {
        let is_healthy = |volume: &Volume| volume.health == VolumeHealth::Healthy;
        self.state == NodeState::Live
            && self.reported
            && self.intake.has_taken(self.stats.as_of)
            && self.stats.volumes.iter().all(is_healthy)
    }

    /// Whether the disk of one of its volumes does not answer: what it is asked for may be there.
    pub(crate) fn has_suspect_volume(&self) -> bool {
        self.stats.volumes.iter().any(|volume| volume.health == VolumeHealth::Suspect)
    }

    /// Bytes that can still be promised beside what is `promised`, or 0 if no healthy volume has room for `bytes` more.
    pub(crate) fn room(&self, bytes: u64, promised: Promised) -> u64 {
        let healthy = self.stats.volumes.iter().filter(|volume| volume.health == VolumeHealth::Healthy);
        let largest = healthy.map(|volume| volume.available).max().unwrap_or(0);
        let free = self.space().available;
        let free = free.saturating_sub(promised.bytes).saturating_sub(self.receiving.bytes);
        if largest < bytes || free < bytes { 0 } else { free.max(1) }
    }

    /// Work at hand: what it said itself and what was given to it since.
    pub(crate) fn load(&self, promised: Promised, now: Millis) -> u64 {
        let said = u64::from(self.stats.active_writes) + u64::from(self.stats.active_copies);
        said + u64::from(self.stats.active_reads) / 2
            + u64::from(self.receiving.count)
            + promised.writes
            + FLAPPING_LOAD * u64::from(self.recent_deaths(now))
    }

    /// Free share of all volumes, in parts of 65,536.
    pub(crate) fn free_share(&self) -> u64 {
        let Space { capacity, used: _, available } = self.space();
        let share = (u128::from(available) * 65_536).checked_div(u128::from(capacity));
        share.map_or(0, |share| share.min(65_536) as u64)
    }
}

/// A node that was dead and came back is watched for so long.
pub(crate) const FLAPPING: Duration = Duration::from_mins(10);
/// Each such death counts as this much work: others are preferred.
const FLAPPING_LOAD: u64 = 16;

/// How much may be under way in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Allowance {
    /// Most copies.
    pub(crate) count: u32,
    /// Most bytes, unless it is one copy.
    pub(crate) bytes: u64,
}

impl Allowance {
    /// What one node may send, or receive, at most.
    pub(crate) fn of_node(config: &Config) -> Self {
        Self { count: config.max_copies_per_node, bytes: config.max_copy_bytes_per_node }
    }

    /// What the whole cluster may copy at most.
    pub(crate) fn of_cluster(config: &Config) -> Self {
        Self { count: config.max_copies, bytes: config.max_copy_bytes }
    }

    /// A part of it, at least one copy.
    pub(crate) fn part(self, numerator: u32, denominator: u32) -> Self {
        let bytes = self.bytes / u64::from(denominator) * u64::from(numerator);
        Self { count: (self.count * numerator / denominator).max(1), bytes }
    }

    /// Whether it has no room for more than these.
    pub(crate) fn is_exceeded_by(self, streams: Streams) -> bool {
        streams.count > 1 && (streams.count > self.count || streams.bytes > self.bytes)
    }
}

/// Copies under way in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Streams {
    /// How many.
    pub(crate) count: u32,
    /// Bytes of their chunks.
    pub(crate) bytes: u64,
}

impl Streams {
    /// Whether another copy of `bytes` may start.
    pub(crate) fn has_room(self, bytes: u64, allowance: Allowance) -> bool {
        self.count == 0
            || (self.count < allowance.count && self.bytes.saturating_add(bytes) <= allowance.bytes)
    }

    pub(crate) fn start(&mut self, bytes: u64) {
        self.count += 1;
        self.bytes += bytes;
    }

    pub(crate) fn end(&mut self, bytes: u64) {
        self.count -= 1;
        self.bytes -= bytes;
    }
}

/// Replicas a node is to delete. One that was told stays here until the node says that it is gone; a chunk is in one
/// of the three.
#[derive(Debug, Default)]
pub(crate) struct Deletions {
    waiting: BTreeMap<ChunkId, GenStamp>,
    told: BTreeMap<ChunkId, (GenStamp, Millis)>,
    /// Told, and no longer wanted: the node may still do it at any time.
    recalled: BTreeMap<ChunkId, (GenStamp, Millis)>,
}

/// An order to delete a replica that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) chunk: ChunkId,
    pub(crate) generation: GenStamp,
    /// Whether the node may have it already.
    pub(crate) again: bool,
}

/// Of the entries for chunks with these ids keeps those for which `keeps` says so; looks at no others.
pub(crate) fn retain<T>(
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
    pub(crate) fn add(&mut self, chunk: ChunkId, generation: GenStamp) {
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
    pub(crate) fn take_back(&mut self, due: Due) {
        self.waiting.remove(&due.chunk);
        let told = self.told.remove(&due.chunk).filter(|_| due.again);
        self.recalled.extend(told.map(|told| (due.chunk, told)));
    }

    /// The node says that this version is gone: whatever was ordered for it is done.
    pub(crate) fn done(&mut self, chunk: ChunkId, generation: GenStamp) {
        self.keep(chunk, |ordered| ordered != generation);
    }

    /// The node says that it has this version: orders for any other are over.
    pub(crate) fn replaced_by(&mut self, chunk: ChunkId, generation: GenStamp) {
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
    pub(crate) fn is_recalled(&self, chunk: ChunkId, generation: GenStamp) -> bool {
        self.recalled.get(&chunk).is_some_and(|(ordered, _)| *ordered == generation)
    }

    pub(crate) fn contains(&self, chunk: ChunkId, generation: GenStamp) -> bool {
        self.generation(chunk) == Some(generation)
    }

    /// Which version of the chunk is to be deleted.
    pub(crate) fn generation(&self, chunk: ChunkId) -> Option<GenStamp> {
        let told = || self.told.get(&chunk).map(|(generation, _)| *generation);
        self.waiting.get(&chunk).copied().or_else(told)
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.told.len()
    }

    /// Of the orders for chunks with these ids keeps those for chunks that are still there.
    pub(crate) fn retain(&mut self, ids: &RangeInclusive<ChunkId>, is_there: impl Fn(ChunkId) -> bool) {
        retain(&mut self.waiting, ids, &is_there);
        retain(&mut self.told, ids, &is_there);
        retain(&mut self.recalled, ids, &is_there);
    }

    /// Drops all orders, told or not; answers the chunks whose replicas were to be deleted.
    pub(crate) fn forget(&mut self) -> Vec<ChunkId> {
        let Self { waiting, told, recalled: _ } = std::mem::take(self);
        waiting.into_keys().chain(told.into_keys()).collect()
    }

    /// The node is gone: only what it may already have been told must be remembered.
    pub(crate) fn drop_waiting(&mut self) {
        self.waiting.clear();
    }

    /// Up to `limit` replicas to tell the node now; those told more than `retry` ago come again.
    pub(crate) fn tell(&mut self, limit: usize, retry: Duration, now: Millis) -> Vec<Due> {
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
