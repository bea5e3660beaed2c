//! Space and work promised to writers that the nodes' heartbeats do not show yet.
//!
//! ```text
//!  choose_targets       the chunk is made        its replica is reported,      a heartbeat as of change 8 or later:
//!  ────────────> placed ────────────────> bound ── change number 8 ──> told ── it counts what is reserved, or used ──> over
//!                   └── refused, too old ──┴── given up: the chunk is gone, the pipeline has other nodes ──────────────^
//! ```
//!
//! A DataNode reserves what a replica may still take before it reports it, and says with each heartbeat up to which
//! change its free space is told. So each byte is counted once: here until then, by the node from then on.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use dfs_types::checksum::stored_bytes;
use dfs_types::{ChunkId, Millis, ReplicaRecord, ReplicaState, StorageType};

use crate::cluster::NodeIndex;
use crate::hash::IdMap;

/// Nodes chosen for a chunk that is not made yet. It must be bound to one or given up; what is neither is forgotten after
/// [`PLACED`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket(u64);

/// Longer than any request for a chunk takes.
const PLACED: Duration = Duration::from_mins(1);

#[derive(Debug)]
struct Placed {
    nodes: Vec<(NodeIndex, Option<StorageType>)>,
    bytes: u64,
    at: Millis,
}

/// What a node may still have to take in for a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Promise {
    node: NodeIndex,
    /// The storage that it is to use there, if that was said.
    storage: Option<StorageType>,
    bytes: u64,
    /// The number of the change that told of the replica: heartbeats as of it or later show it.
    told: Option<u64>,
    /// The replica is complete: it is no work any more.
    done: bool,
}

/// What is promised on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Promised {
    /// Bytes.
    pub(super) bytes: u64,
    /// Replicas still to be written.
    pub(super) writes: u64,
}

/// One node's promises.
#[derive(Debug, Default)]
struct OfNode {
    sum: Promised,
    /// Bytes of it on storage of each type, as far as that was said; in the order of [`StorageType::ALL`].
    by_storage: [u64; StorageType::ALL.len()],
    /// Up to which change its last heartbeat tells its free space.
    shown: u64,
    /// Replicas it told of, by the number of the change.
    told: VecDeque<(u64, ChunkId)>,
}

/// All promises.
#[derive(Debug, Default)]
pub(super) struct Promises {
    last: u64,
    placed: BTreeMap<u64, Placed>,
    bound: IdMap<ChunkId, Vec<Promise>>,
    nodes: Vec<OfNode>,
}

impl Promises {
    /// What is promised on a node.
    pub(super) fn on(&self, node: NodeIndex) -> Promised {
        self.nodes.get(usize::from(node.0)).map(|node| node.sum).unwrap_or_default()
    }

    /// Bytes of it that are to go on storage of this type.
    pub(super) fn on_storage(&self, node: NodeIndex, storage: StorageType) -> u64 {
        let of = self.nodes.get(usize::from(node.0));
        of.and_then(|of| of.by_storage.get(storage as usize)).copied().unwrap_or_default()
    }

    fn of(&mut self, node: NodeIndex) -> &mut OfNode {
        let at = usize::from(node.0);
        if self.nodes.len() <= at {
            self.nodes.resize_with(at + 1, OfNode::default);
        }
        self.nodes.get_mut(at).expect("the table was just made long enough")
    }

    fn add(&mut self, (node, storage): (NodeIndex, Option<StorageType>), bytes: u64, writes: u64) {
        let of = self.of(node);
        of.sum.bytes = of.sum.bytes.saturating_add(bytes);
        of.sum.writes = of.sum.writes.saturating_add(writes);
        if let Some(sum) = storage.and_then(|storage| of.by_storage.get_mut(storage as usize)) {
            *sum = sum.saturating_add(bytes);
        }
    }

    fn take(&mut self, (node, storage): (NodeIndex, Option<StorageType>), bytes: u64, writes: u64) {
        let of = self.of(node);
        of.sum.bytes = of.sum.bytes.saturating_sub(bytes);
        of.sum.writes = of.sum.writes.saturating_sub(writes);
        if let Some(sum) = storage.and_then(|storage| of.by_storage.get_mut(storage as usize)) {
            *sum = sum.saturating_sub(bytes);
        }
    }

    fn end(&mut self, promise: Promise) {
        self.take((promise.node, promise.storage), promise.bytes, u64::from(!promise.done));
    }

    /// Promises `bytes` on each of these nodes, and on storage of that type if one is said.
    pub(super) fn place(
        &mut self,
        nodes: Vec<(NodeIndex, Option<StorageType>)>,
        bytes: u64,
        now: Millis,
    ) -> Ticket {
        for node in &nodes {
            self.add(*node, bytes, 1);
        }
        self.last += 1;
        self.placed.insert(self.last, Placed { nodes, bytes, at: now });
        Ticket(self.last)
    }

    /// Nothing comes of the placement.
    pub(super) fn give_up(&mut self, ticket: Ticket) {
        self.take_placed(ticket.0);
    }

    /// Takes a placement and its sums back.
    fn take_placed(&mut self, ticket: u64) -> Option<Placed> {
        let placed = self.placed.remove(&ticket)?;
        for node in &placed.nodes {
            self.take(*node, placed.bytes, 1);
        }
        Some(placed)
    }

    /// The placement is for this chunk.
    pub(super) fn bind(&mut self, ticket: Ticket, chunk: ChunkId) {
        let Some(Placed { nodes, bytes, at: _ }) = self.take_placed(ticket.0) else {
            return;
        };
        for (node, storage) in nodes {
            self.drop_where(chunk, |promise| promise.node == node);
            let promise = Promise { node, storage, bytes, told: None, done: false };
            self.bound.entry(chunk).or_default().push(promise);
            self.add((node, storage), bytes, 1);
        }
    }

    fn drop_where(&mut self, chunk: ChunkId, goes: impl Fn(&Promise) -> bool) {
        let Some(promises) = self.bound.get_mut(&chunk) else {
            return;
        };
        let over: Vec<Promise> = promises.extract_if(.., |promise| goes(promise)).collect();
        if promises.is_empty() {
            self.bound.remove(&chunk);
        }
        for promise in over {
            self.end(promise);
        }
    }

    /// The chunk is being written to these nodes and no others. What others told of counts until their heartbeats show it.
    pub(super) fn keep_only(&mut self, chunk: ChunkId, nodes: &[NodeIndex]) {
        self.drop_where(chunk, |promise| promise.told.is_none() && !nodes.contains(&promise.node));
    }

    /// Nobody begins a replica of the chunk any more.
    pub(super) fn close(&mut self, chunk: ChunkId) {
        self.keep_only(chunk, &[]);
    }

    /// A node tells of its replica of a chunk, by the change of this `number`.
    pub(super) fn told(&mut self, node: NodeIndex, record: &ReplicaRecord, number: u64) {
        let Some(promise) = self
            .bound
            .get_mut(&record.chunk)
            .and_then(|promises| promises.iter_mut().find(|promise| promise.node == node))
        else {
            return;
        };
        let before = *promise;
        match record.state {
            ReplicaState::Rbw => {}
            ReplicaState::Finalized => {
                promise.bytes = promise.bytes.min(stored_bytes(record.length));
                promise.done = true;
            }
            ReplicaState::Rwr | ReplicaState::Corrupt => {
                self.drop_where(record.chunk, |promise| promise.node == node);
                return;
            }
        }
        promise.told = Some(number);
        let after = *promise;
        self.end(before);
        self.add((node, after.storage), after.bytes, u64::from(!after.done));
        let of = self.of(node);
        if number <= of.shown {
            self.drop_where(record.chunk, |promise| promise.node == node);
        } else {
            of.told.push_back((number, record.chunk));
        }
    }

    /// A node has nothing of the chunk any more.
    pub(super) fn gone(&mut self, node: NodeIndex, chunk: ChunkId) {
        self.drop_where(chunk, |promise| promise.node == node);
    }

    /// A node's heartbeat tells its free space as of the change of this `number`.
    pub(super) fn shown(&mut self, node: NodeIndex, number: u64) {
        let of = self.of(node);
        of.shown = number;
        while let Some((_, chunk)) = self.of(node).told.pop_front_if(|(told, _)| *told <= number) {
            // It may have told more of the same replica since.
            let shown = |told: Option<u64>| told.is_some_and(|told| told <= number);
            self.drop_where(chunk, |promise| promise.node == node && shown(promise.told));
        }
    }

    /// A node's process is gone, and with it what it had reserved.
    pub(super) fn forget_node(&mut self, node: NodeIndex) {
        self.bound.retain(|_, promises| {
            promises.retain(|promise| promise.node != node);
            !promises.is_empty()
        });
        for placed in self.placed.values_mut() {
            placed.nodes.retain(|(other, _)| *other != node);
        }
        *self.of(node) = OfNode::default();
    }

    /// Nothing that was promised counts any more: another NameNode leads, or did.
    pub(super) fn forget(&mut self) {
        let last = self.last;
        *self = Self { last, ..Self::default() };
    }

    /// Gives up placements that nobody came back for.
    pub(super) fn expire(&mut self, now: Millis) {
        while let Some(ticket) = self
            .placed
            .first_key_value()
            .filter(|(_, placed)| now.since(placed.at) >= PLACED)
            .map(|(ticket, _)| *ticket)
        {
            self.take_placed(ticket);
        }
    }

    /// Whether the sums are those of the promises.
    pub(super) fn is_consistent(&self) -> bool {
        let mut sums: BTreeMap<NodeIndex, (Promised, [u64; StorageType::ALL.len()])> = BTreeMap::new();
        let placed =
            self.placed.values().flat_map(|placed| placed.nodes.iter().map(|on| (*on, placed.bytes, 1)));
        let bound = self
            .bound
            .values()
            .flatten()
            .map(|promise| ((promise.node, promise.storage), promise.bytes, u64::from(!promise.done)));
        for ((node, storage), bytes, writes) in placed.chain(bound) {
            let (sum, by_storage) = sums.entry(node).or_default();
            (sum.bytes, sum.writes) = (sum.bytes + bytes, sum.writes + writes);
            if let Some(sum) = storage.and_then(|storage| by_storage.get_mut(storage as usize)) {
                *sum += bytes;
            }
        }
        let counted = |(at, of): (usize, &OfNode)| {
            (of.sum, of.by_storage) == sums.get(&NodeIndex(at as u16)).copied().unwrap_or_default()
        };
        self.nodes.iter().enumerate().all(counted)
    }
}

#[cfg(test)]
mod tests {
    use dfs_types::GenStamp;

    use super::*;

    const NODE: NodeIndex = NodeIndex(2);
    const OTHER: NodeIndex = NodeIndex(0);
    const ID: ChunkId = ChunkId(7);
    const CHUNK: u64 = 64 << 20;

    fn on(nodes: &[NodeIndex]) -> Vec<(NodeIndex, Option<StorageType>)> {
        nodes.iter().map(|node| (*node, None)).collect()
    }

    fn record(length: u64, state: ReplicaState) -> ReplicaRecord {
        ReplicaRecord { chunk: ID, generation: GenStamp(1), length, state, volume: None }
    }

    fn promised(bytes: u64, writes: u64) -> Promised {
        Promised { bytes, writes }
    }

    fn bound() -> Promises {
        let mut promises = Promises::default();
        let ticket = promises.place(on(&[NODE, OTHER]), CHUNK, Millis(0));
        promises.bind(ticket, ID);
        promises
    }

    #[test]
    fn a_complete_replica_counts_what_it_takes_until_a_heartbeat_shows_it() {
        let mut promises = bound();
        assert_eq!(promises.on(NODE), promised(CHUNK, 1));
        promises.told(NODE, &record(0, ReplicaState::Rbw), 4);
        assert_eq!(promises.on(NODE), promised(CHUNK, 1), "no heartbeat tells what is reserved for it");
        promises.told(NODE, &record(1_024, ReplicaState::Finalized), 5);
        assert_eq!(promises.on(NODE), promised(stored_bytes(1_024), 0));
        promises.shown(NODE, 4);
        assert_eq!(promises.on(NODE), promised(stored_bytes(1_024), 0), "it tells of the first change only");
        promises.shown(NODE, 5);
        assert_eq!((promises.on(NODE), promises.on(OTHER)), (promised(0, 0), promised(CHUNK, 1)));
        assert!(promises.is_consistent());
    }

    #[test]
    fn a_replica_that_a_heartbeat_has_shown_already_is_not_counted_twice() {
        let mut promises = bound();
        promises.shown(NODE, 9);
        promises.told(NODE, &record(0, ReplicaState::Rbw), 9);
        assert_eq!(promises.on(NODE), promised(0, 0));
        promises.told(NODE, &record(5, ReplicaState::Finalized), 10);
        assert_eq!(promises.on(NODE), promised(0, 0), "what was reserved for it still counts there");
    }

    #[test]
    fn what_is_promised_on_one_type_of_storage_counts_there() {
        let mut promises = Promises::default();
        let ssd = StorageType::Ssd;
        let first = promises.place(vec![(NODE, Some(ssd))], 10, Millis(0));
        let second = promises.place(on(&[NODE]), 7, Millis(0));
        let sums = |promises: &Promises| {
            (promises.on(NODE).bytes, StorageType::ALL.map(|storage| promises.on_storage(NODE, storage)))
        };
        assert_eq!(sums(&promises), (17, [0, 10, 0]));
        promises.bind(first, ID);
        promises.give_up(second);
        assert_eq!(sums(&promises), (10, [0, 10, 0]));
        promises.told(NODE, &record(1, ReplicaState::Finalized), 1);
        assert_eq!(sums(&promises), (stored_bytes(1).min(10), [0, stored_bytes(1).min(10), 0]));
        promises.shown(NODE, 1);
        assert_eq!(sums(&promises), (0, [0, 0, 0]));
    }

    #[test]
    fn what_is_given_up_is_given_back() {
        let mut promises = Promises::default();
        let ticket = promises.place(on(&[NODE]), CHUNK, Millis(0));
        promises.give_up(ticket);
        promises.bind(ticket, ID);
        assert_eq!(promises.on(NODE), promised(0, 0), "it is over");

        let mut promises = bound();
        promises.keep_only(ID, &[OTHER]);
        assert_eq!((promises.on(NODE), promises.on(OTHER)), (promised(0, 0), promised(CHUNK, 1)));
        promises.close(ID);
        assert_eq!(promises.on(OTHER), promised(0, 0));

        for state in [ReplicaState::Corrupt, ReplicaState::Rwr] {
            let mut promises = bound();
            promises.told(NODE, &record(9, state), 1);
            promises.gone(OTHER, ID);
            assert_eq!((promises.on(NODE), promises.on(OTHER)), (promised(0, 0), promised(0, 0)));
            assert!(promises.is_consistent());
        }
    }

    #[test]
    fn a_reported_replica_counts_though_its_chunk_is_closed() {
        let mut promises = bound();
        promises.told(NODE, &record(1_024, ReplicaState::Finalized), 3);
        promises.close(ID);
        assert_eq!(promises.on(NODE), promised(stored_bytes(1_024), 0));
        promises.shown(NODE, 3);
        assert_eq!(promises.on(NODE), promised(0, 0));
    }

    #[test]
    fn a_placement_that_nobody_comes_back_for_is_forgotten() {
        let mut promises = Promises::default();
        promises.place(on(&[NODE]), CHUNK, Millis(0));
        promises.place(on(&[NODE]), CHUNK, Millis(10));
        promises.expire(Millis(59_999));
        assert_eq!(promises.on(NODE).writes, 2);
        promises.expire(Millis(60_000));
        assert_eq!(promises.on(NODE), promised(CHUNK, 1));
    }

    #[test]
    fn another_process_has_reserved_nothing() {
        let mut promises = bound();
        promises.place(on(&[NODE, OTHER]), 10, Millis(0));
        promises.shown(NODE, 9);
        promises.forget_node(NODE);
        assert_eq!((promises.on(NODE), promises.on(OTHER)), (promised(0, 0), promised(CHUNK + 10, 2)));
        assert!(promises.is_consistent());
        let ticket = promises.place(on(&[NODE]), 10, Millis(0));
        promises.bind(ticket, ID);
        promises.told(NODE, &record(0, ReplicaState::Rbw), 1);
        assert_eq!(promises.on(NODE), promised(10, 1), "its numbers begin again");
    }
}
