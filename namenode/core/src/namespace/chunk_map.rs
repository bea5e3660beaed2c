//! Which chunks there are, and who holds which replica of them.
//!
//! Made for tens of millions of chunks: a committed chunk with good replicas only takes 33 bytes in a table, and each
//! replica one or two in its node's set. Everything unusual (chunks being written, bad replicas) is in a side table.
//! Counts of what is wrong are kept with every change, so that nobody ever goes through all chunks for them.

use std::ops::{Range, RangeInclusive};

use dfs_types::{ChunkId, GenStamp, Millis, ReplicaRecord, ReplicaState};

use super::chunk_set::ChunkSet;
use super::chunk_table::ChunkTable;
use super::node_list::NodeList;
use super::tally::{Class, Classes, Tally};
use crate::cluster::{NodeIndex, VolumeSlot};
use crate::hash::IdMap;

/// The length of a chunk that has none yet.
const OPEN: u32 = u32::MAX;

/// What is known of one chunk.
#[derive(Debug, Clone)]
pub(super) struct Chunk {
    /// Its version.
    pub(super) generation: GenStamp,
    /// Its length, or [`OPEN`].
    length: u32,
    /// Replicas wanted.
    pub(super) replication: u16,
    /// Which ring of the replication queue it is in, if any; owned by `replication`.
    pub(super) queued: Option<Urgency>,
    /// Whether it is in the ring of chunks with replicas to delete; owned by `deletion`.
    pub(super) untidy: bool,
    /// Nodes with a good replica; empty while the chunk is open.
    good: NodeList,
}

/// How badly a chunk needs a copy, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// One good replica is left.
    LastCopy,
    /// At most a third of the replicas is left.
    Few,
    /// Some are missing.
    Some,
    /// None is missing, but they share a host, a rack or a zone without need.
    Crowded,
}

impl Urgency {
    /// All urgencies, the worst first.
    pub(super) const ALL: [Self; 4] = [Self::LastCopy, Self::Few, Self::Some, Self::Crowded];
}

impl Chunk {
    /// Its length, if it is committed.
    pub(super) fn length(&self) -> Option<u64> {
        (self.length != OPEN).then_some(u64::from(self.length))
    }

    /// Nodes with a good replica.
    pub(super) fn good(&self) -> &[NodeIndex] {
        self.good.as_slice()
    }

    /// Replicas wanted.
    pub(super) fn wanted(&self) -> usize {
        usize::from(self.replication)
    }

    /// What a replica is worth.
    pub(super) fn judge(&self, generation: GenStamp, length: u64, state: ReplicaState) -> Verdict {
        if generation < self.generation {
            return Verdict::Stale;
        }
        match (state, self.length()) {
            (ReplicaState::Corrupt, _) => Verdict::Corrupt,
            _ if generation > self.generation => Verdict::Candidate,
            (ReplicaState::Finalized, Some(committed)) if committed == length => Verdict::Good,
            // A process that stopped in the middle can't finish what it wrote.
            (ReplicaState::Finalized | ReplicaState::Rwr, Some(_)) => Verdict::Corrupt,
            // Finalizing may be under way.
            (ReplicaState::Rbw, Some(_))
            | (ReplicaState::Finalized | ReplicaState::Rbw | ReplicaState::Rwr, None) => Verdict::Candidate,
        }
    }
}

/// What a replica is worth to its chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Finalized, of the chunk's generation and committed length.
    Good,
    /// May become good: the chunk is open, the replica still written, or its generation newer.
    Candidate,
    /// Of an older generation.
    Stale,
    /// Damaged, torn or of another length.
    Corrupt,
}

/// A replica that is not simply good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Odd {
    /// Who holds it.
    pub(super) node: NodeIndex,
    /// On which of the node's volumes.
    pub(super) slot: VolumeSlot,
    /// As reported, or `Corrupt` if a reader found it so.
    pub(super) state: ReplicaState,
    /// Its deletion is ordered or about to be: it no longer counts as anything.
    pub(super) doomed: bool,
    /// Its version.
    pub(super) generation: GenStamp,
    /// Its length in bytes.
    pub(super) length: u64,
}

/// What only some chunks have.
#[derive(Debug, Clone, Default)]
pub(super) struct Side {
    /// Nodes the chunk is being written to, in order.
    pub(super) pipeline: Vec<NodeIndex>,
    /// Replicas that are not simply good.
    pub(super) odd: Vec<Odd>,
    /// Committed lately: left alone until then.
    pub(super) settles: Option<Millis>,
}

impl Side {
    fn is_empty(&self) -> bool {
        self.pipeline.is_empty() && self.odd.is_empty() && self.settles.is_none()
    }
}

/// Numbers of replicas in service that [`Counts::lacking`] tells apart; the last one stands for all larger ones.
const TOLD_APART: usize = 8;

/// Sums over all chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Counts {
    /// Chunks with a length.
    pub(super) committed: u64,
    /// Chunks being written.
    pub(super) open: u64,
    /// Committed chunks without any replica that is good or corrupt.
    pub(super) missing: u64,
    /// Committed chunks of which only corrupt replicas are known.
    pub(super) corrupt: u64,
    /// Committed chunks with one good replica that want more.
    pub(super) one_copy: u64,
    /// Committed chunks with some, but too few good replicas on nodes that are to keep them.
    pub(super) under: u64,
    /// Those of them that are not left alone, by how many good replicas are on nodes in service.
    lacking: [u64; TOLD_APART],
    /// Committed chunks with too many good replicas on nodes in service.
    pub(super) over: u64,
}

impl Counts {
    /// What one chunk adds to the sums.
    fn of(chunk: &Chunk, side: &Side, classes: &Classes) -> Self {
        let mut counts = Self::default();
        if chunk.length().is_none() {
            counts.open = 1;
            return counts;
        }
        counts.committed = 1;
        let (good, wanted) = (chunk.good.len(), chunk.wanted());
        if good == 0 {
            let corrupt = side.odd.iter().any(|odd| {
                !odd.doomed && chunk.judge(odd.generation, odd.length, odd.state) == Verdict::Corrupt
            });
            counts.corrupt = u64::from(corrupt);
            counts.missing = u64::from(!corrupt);
        } else {
            counts.one_copy = u64::from(good == 1 && wanted > 1);
            let tally = classes.tally(chunk.good().iter().copied());
            counts.under = u64::from(classes.lacking(tally, wanted) > 0);
            if side.settles.is_none()
                && let Some(lacking) = counts.lacking.get_mut(tally.service.min(TOLD_APART - 1))
            {
                *lacking = counts.under;
            }
            counts.over = u64::from(tally.service > wanted);
        }
        counts
    }

    fn change(&mut self, before: &Self, after: &Self) {
        let Self { committed, open, missing, corrupt, one_copy, under, lacking, over } = self;
        for (sum, (before, after)) in lacking.iter_mut().zip(before.lacking.iter().zip(after.lacking)) {
            *sum = *sum - before + after;
        }
        for (sum, before, after) in [
            (committed, before.committed, after.committed),
            (open, before.open, after.open),
            (missing, before.missing, after.missing),
            (corrupt, before.corrupt, after.corrupt),
            (one_copy, before.one_copy, after.one_copy),
            (under, before.under, after.under),
            (over, before.over, after.over),
        ] {
            *sum = *sum - before + after;
        }
    }

    /// Chunks with too few replicas that can have more on so many nodes: a node holds one replica of a chunk at most.
    pub(super) fn healable(&self, nodes: usize) -> u64 {
        self.lacking.iter().take(nodes).sum()
    }
}

/// What became of a reported replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Recorded {
    /// No such chunk.
    Unknown,
    /// It is recorded; `gained`: its chunk has one more good (or, if open, finalized) replica.
    Known { gained: bool },
}

/// The chunks and their replicas.
#[derive(Debug, Default)]
pub(super) struct ChunkMap {
    chunks: ChunkTable<Chunk>,
    side: IdMap<ChunkId, Side>,
    /// For each node, the chunks it holds any replica of.
    held: Vec<ChunkSet>,
    counts: Counts,
    /// What each node's replicas count for.
    classes: Classes,
    /// Every chunk ever made has a smaller id.
    next: ChunkId,
    /// Ids below `next` that only a lost future of this namespace may have used.
    lost: Vec<Range<ChunkId>>,
}

impl ChunkMap {
    /// No chunks. Of one with replicas on nodes in maintenance so many must be elsewhere.
    pub(super) fn new(outside_maintenance: usize) -> Self {
        Self { classes: Classes::new(outside_maintenance), ..Self::default() }
    }

    /// Changes what a node's replicas count for. Goes through them.
    pub(super) fn set_class(&mut self, node: NodeIndex, class: Class) {
        if self.classes.of(node) == class {
            return;
        }
        let before = self.counts_of_held(node);
        self.classes.set(node, class);
        let after = self.counts_of_held(node);
        self.counts.change(&before, &after);
    }

    /// What the chunks of which a node has any replica add to the sums.
    fn counts_of_held(&self, node: NodeIndex) -> Counts {
        let (mut sum, nothing) = (Counts::default(), Side::default());
        for id in self.held(node) {
            if let Some(chunk) = self.chunks.get(id) {
                let side = self.side.get(&id).unwrap_or(&nothing);
                sum.change(&Counts::default(), &Counts::of(chunk, side, &self.classes));
            }
        }
        sum
    }

    /// What each node's replicas count for.
    pub(super) fn classes(&self) -> &Classes {
        &self.classes
    }

    /// How many of these nodes' replicas count for what.
    pub(super) fn tally(&self, nodes: impl Iterator<Item = NodeIndex>) -> Tally {
        self.classes.tally(nodes)
    }

    /// Chunks whose pipeline the node is in.
    pub(super) fn pipelined(&self, node: NodeIndex) -> impl Iterator<Item = ChunkId> {
        self.side.iter().filter(move |(_, side)| side.pipeline.contains(&node)).map(|(id, _)| *id)
    }

    /// Adds a chunk that has no replicas yet. One that is known already stays as it is.
    pub(super) fn add(&mut self, id: ChunkId, generation: GenStamp, length: Option<u64>, replication: u32) {
        self.raise_next(ChunkId(id.0.saturating_add(1)));
        if self.chunks.contains(id) {
            return;
        }
        let chunk = Chunk {
            generation,
            length: length.map_or(OPEN, shorten),
            replication: narrow(replication),
            queued: None,
            untidy: false,
            good: NodeList::default(),
        };
        self.counts.change(&Counts::default(), &Counts::of(&chunk, &Side::default(), &self.classes));
        self.chunks.insert(id, chunk);
    }

    /// Removes a chunk; answers who holds which version of it.
    pub(super) fn remove(&mut self, id: ChunkId) -> Vec<(NodeIndex, GenStamp)> {
        let Some(chunk) = self.chunks.remove(id) else {
            return Vec::new();
        };
        let side = self.side.remove(&id).unwrap_or_default();
        self.counts.change(&Counts::of(&chunk, &side, &self.classes), &Counts::default());
        let good = chunk.good().iter().map(|node| (*node, chunk.generation));
        let holders: Vec<_> = good.chain(side.odd.iter().map(|odd| (odd.node, odd.generation))).collect();
        for (node, _) in &holders {
            held_of(&mut self.held, *node).remove(id);
        }
        holders
    }

    /// Fixes a chunk's version and length and judges its replicas anew. `false` if that changes nothing.
    pub(super) fn commit(&mut self, id: ChunkId, generation: GenStamp, length: u64) -> bool {
        self.edit(id, |chunk, side, _| {
            if chunk.generation == generation && chunk.length() == Some(length) {
                return false;
            }
            let was = (chunk.generation, chunk.length().unwrap_or_default());
            (chunk.generation, chunk.length) = (generation, shorten(length));
            let good = std::mem::take(&mut chunk.good);
            let odd = std::mem::take(&mut side.odd);
            let good = good.iter().map(|(node, slot)| Odd {
                node,
                slot,
                state: ReplicaState::Finalized,
                doomed: false,
                generation: was.0,
                length: was.1,
            });
            good.chain(odd).for_each(|replica| place(chunk, side, replica));
            true
        })
        .unwrap_or_default()
    }

    /// Gives an open chunk another version.
    pub(super) fn set_generation(&mut self, id: ChunkId, generation: GenStamp) {
        self.edit(id, |chunk, _, _| {
            if chunk.length().is_none() {
                chunk.generation = generation;
            }
        });
    }

    /// Sets how many replicas are wanted.
    pub(super) fn set_replication(&mut self, id: ChunkId, replication: u32) {
        self.edit(id, |chunk, _, _| chunk.replication = narrow(replication));
    }

    /// Sets the nodes an open chunk is being written to.
    pub(super) fn set_pipeline(&mut self, id: ChunkId, nodes: Vec<NodeIndex>) {
        self.edit(id, |chunk, side, _| {
            if chunk.length().is_none() {
                side.pipeline = nodes;
            }
        });
    }

    /// Leaves a committed chunk alone until `until`.
    pub(super) fn settle(&mut self, id: ChunkId, until: Millis) {
        self.edit(id, |_, side, _| side.settles = Some(until));
    }

    /// Ends the time a chunk was left alone, if it is over; answers whether it is.
    pub(super) fn settled(&mut self, id: ChunkId, now: Millis) -> bool {
        let over = self.side.get(&id).and_then(|side| side.settles).is_some_and(|until| until <= now);
        if over {
            self.end_settling(id);
        }
        over
    }

    /// Ends the time a chunk was left alone.
    pub(super) fn end_settling(&mut self, id: ChunkId) {
        self.edit(id, |_, side, _| {
            side.settles = None;
            side.pipeline.clear();
        });
    }

    /// The nodes a chunk that is left alone was written to and whose replicas are not known to be good. `None`: it is not
    /// left alone, or nobody knows where it was written.
    pub(super) fn awaited(&self, id: ChunkId) -> Option<impl Iterator<Item = NodeIndex>> {
        let side = self.side.get(&id).filter(|side| side.settles.is_some() && !side.pipeline.is_empty())?;
        let good = self.chunks.get(id).map_or(&[][..], Chunk::good);
        Some(side.pipeline.iter().copied().filter(|node| !good.contains(node)))
    }

    /// Records a node's replica, on this volume of it, in place of what was known of it.
    pub(super) fn record(
        &mut self,
        (node, slot): (NodeIndex, VolumeSlot),
        record: &ReplicaRecord,
        doomed: bool,
    ) -> Recorded {
        let recorded = self.edit(record.chunk, |chunk, side, held| {
            let had = counts_as_finalized(chunk, side, node);
            take_out(chunk, side, node);
            let ReplicaRecord { chunk: id, generation, length, state, volume: _ } = *record;
            place(chunk, side, Odd { node, slot, state, doomed, generation, length });
            held_of(held, node).insert(id);
            !had && counts_as_finalized(chunk, side, node)
        });
        recorded.map_or(Recorded::Unknown, |gained| Recorded::Known { gained })
    }

    /// Forgets a node's replica, if it is of this generation (or whatever it is, for `None`).
    pub(super) fn forget(&mut self, id: ChunkId, node: NodeIndex, generation: Option<GenStamp>) {
        self.edit(id, |chunk, side, held| {
            let there = generation_at(chunk, side, node);
            if there.is_some() && (generation.is_none() || generation == there) {
                take_out(chunk, side, node);
                held_of(held, node).remove(id);
            }
        });
    }

    /// Forgets all of a node's replicas; answers of which chunks.
    pub(super) fn forget_node(&mut self, node: NodeIndex) -> ChunkSet {
        let chunks = std::mem::take(held_of(&mut self.held, node));
        for id in chunks.iter() {
            self.edit(id, |chunk, side, _| take_out(chunk, side, node));
        }
        chunks
    }

    /// Marks a replica as one to be deleted; answers its generation.
    pub(super) fn doom(&mut self, id: ChunkId, node: NodeIndex) -> Option<GenStamp> {
        self.set_doomed(id, node, true)
    }

    /// Takes back [`doom`](Self::doom).
    pub(super) fn spare(&mut self, id: ChunkId, node: NodeIndex) {
        self.set_doomed(id, node, false);
    }

    fn set_doomed(&mut self, id: ChunkId, node: NodeIndex, doomed: bool) -> Option<GenStamp> {
        self.edit(id, |chunk, side, _| {
            let mut replica = replica_at(chunk, side, node)?;
            take_out(chunk, side, node);
            replica.doomed = doomed;
            place(chunk, side, replica);
            Some(replica.generation)
        })
        .flatten()
    }

    /// Marks a replica of this generation as damaged; `false` if there is none.
    pub(super) fn mark_corrupt(&mut self, id: ChunkId, node: NodeIndex, generation: GenStamp) -> bool {
        self.edit(id, |chunk, side, _| {
            let Some(mut replica) = replica_at(chunk, side, node) else {
                return false;
            };
            if replica.generation != generation {
                return false;
            }
            take_out(chunk, side, node);
            replica.state = ReplicaState::Corrupt;
            place(chunk, side, replica);
            true
        })
        .unwrap_or_default()
    }

    /// The chunk.
    pub(super) fn get(&self, id: ChunkId) -> Option<&Chunk> {
        self.chunks.get(id)
    }

    /// The chunk, to change where it is queued.
    pub(super) fn get_mut(&mut self, id: ChunkId) -> Option<&mut Chunk> {
        self.chunks.get_mut(id)
    }

    /// What is unusual about a chunk.
    pub(super) fn side(&self, id: ChunkId) -> Option<&Side> {
        self.side.get(&id)
    }

    /// The chunk's replicas that are not simply good.
    pub(super) fn odd(&self, id: ChunkId) -> &[Odd] {
        self.side.get(&id).map_or(&[], |side| &side.odd)
    }

    /// On which of the node's volumes its replica of the chunk is; not known if it has none.
    pub(super) fn slot(&self, id: ChunkId, node: NodeIndex) -> VolumeSlot {
        let odd = || self.odd(id).iter().find(|odd| odd.node == node).map(|odd| odd.slot);
        self.chunks
            .get(id)
            .and_then(|chunk| chunk.good.slot(node))
            .or_else(odd)
            .unwrap_or(VolumeSlot::UNKNOWN)
    }

    /// Everyone who holds any replica of the chunk.
    pub(super) fn holders(&self, id: ChunkId) -> impl Iterator<Item = NodeIndex> {
        let good = self.chunks.get(id).map_or(&[][..], Chunk::good);
        good.iter().copied().chain(self.odd(id).iter().map(|odd| odd.node))
    }

    /// Whether the chunk is committed and its time of being left alone is over.
    pub(super) fn is_settled(&self, id: ChunkId) -> bool {
        self.chunks.get(id).is_some_and(|chunk| chunk.length != OPEN)
            && self.side.get(&id).is_none_or(|side| side.settles.is_none())
    }

    /// Good finalized replicas of this generation; while the chunk is open, finalized ones of whatever length.
    pub(super) fn finalized(&self, id: ChunkId, generation: GenStamp) -> usize {
        let Some(chunk) = self.chunks.get(id) else {
            return 0;
        };
        match chunk.length() {
            Some(_) if chunk.generation == generation => chunk.good.len(),
            Some(_) => 0,
            None => {
                let finalized = |odd: &&Odd| {
                    !odd.doomed && odd.state == ReplicaState::Finalized && odd.generation == generation
                };
                self.odd(id).iter().filter(finalized).count()
            }
        }
    }

    /// Chunks of which the node holds any replica.
    pub(super) fn held(&self, node: NodeIndex) -> impl Iterator<Item = ChunkId> {
        self.held.get(usize::from(node.0)).into_iter().flat_map(ChunkSet::iter)
    }

    /// Those of them with these ids, in order.
    pub(super) fn held_in(
        &self,
        node: NodeIndex,
        ids: RangeInclusive<ChunkId>,
    ) -> impl Iterator<Item = ChunkId> {
        self.held.get(usize::from(node.0)).into_iter().flat_map(move |held| held.range(ids.clone()))
    }

    /// Number of replicas the node holds.
    pub(super) fn held_count(&self, node: NodeIndex) -> usize {
        self.held.get(usize::from(node.0)).map_or(0, ChunkSet::len)
    }

    /// All chunks.
    pub(super) fn ids(&self) -> impl Iterator<Item = ChunkId> {
        self.chunks.iter().map(|(id, _)| id)
    }

    /// Takes a node that is gone for good out of every pipeline.
    pub(super) fn drop_from_pipelines(&mut self, node: NodeIndex) {
        self.side.retain(|_, side| {
            side.pipeline.retain(|there| *there != node);
            !side.is_empty()
        });
    }

    /// Sums over all chunks.
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// The sums, counted from scratch.
    pub(super) fn recount(&self) -> Counts {
        let (mut counts, nothing) = (Counts::default(), Side::default());
        for (id, chunk) in self.chunks.iter() {
            let side = self.side.get(&id).unwrap_or(&nothing);
            counts.change(&Counts::default(), &Counts::of(chunk, side, &self.classes));
        }
        counts
    }

    /// Whether a chunk of this id may be one that this namespace never had: it is not made yet, or was made in a future
    /// that was lost.
    pub(super) fn may_be_foreign(&self, id: ChunkId) -> bool {
        id >= self.next || self.lost.iter().any(|ids| ids.contains(&id))
    }

    /// Ids that may have been used in a future that was lost.
    pub(super) fn add_lost(&mut self, ids: Range<ChunkId>) {
        self.raise_next(ids.end);
        self.lost.push(ids);
    }

    /// Chunks below `next` have been made.
    pub(super) fn raise_next(&mut self, next: ChunkId) {
        self.next = self.next.max(next);
    }

    /// Changes a chunk and keeps the sums right.
    fn edit<R>(
        &mut self,
        id: ChunkId,
        change: impl FnOnce(&mut Chunk, &mut Side, &mut Vec<ChunkSet>) -> R,
    ) -> Option<R> {
        let chunk = self.chunks.get_mut(id)?;
        let mut side = self.side.remove(&id).unwrap_or_default();
        let before = Counts::of(chunk, &side, &self.classes);
        let result = change(chunk, &mut side, &mut self.held);
        self.counts.change(&before, &Counts::of(chunk, &side, &self.classes));
        if !side.is_empty() {
            self.side.insert(id, side);
        }
        Some(result)
    }
}

/// Lengths are at most [`dfs_types::limits::MAX_CHUNK_SIZE`], which fits.
fn shorten(length: u64) -> u32 {
    u32::try_from(length).map_or(OPEN - 1, |length| length.min(OPEN - 1))
}

/// Replications are at most [`dfs_types::limits::MAX_REPLICATION`], which fits.
fn narrow(replication: u32) -> u16 {
    u16::try_from(replication).unwrap_or(u16::MAX)
}

fn held_of(held: &mut Vec<ChunkSet>, node: NodeIndex) -> &mut ChunkSet {
    let at = usize::from(node.0);
    if held.len() <= at {
        held.resize_with(at + 1, ChunkSet::default);
    }
    held.get_mut(at).expect("the table was just made long enough")
}

/// The node's replica as it is known.
fn replica_at(chunk: &Chunk, side: &Side, node: NodeIndex) -> Option<Odd> {
    if let Some(slot) = chunk.good.slot(node) {
        let (generation, length) = (chunk.generation, u64::from(chunk.length));
        return Some(Odd { node, slot, state: ReplicaState::Finalized, doomed: false, generation, length });
    }
    side.odd.iter().find(|odd| odd.node == node).copied()
}

fn generation_at(chunk: &Chunk, side: &Side, node: NodeIndex) -> Option<GenStamp> {
    replica_at(chunk, side, node).map(|replica| replica.generation)
}

fn take_out(chunk: &mut Chunk, side: &mut Side, node: NodeIndex) {
    if !chunk.good.remove(node) {
        side.odd.retain(|odd| odd.node != node);
    }
}

/// Puts a replica where it belongs.
fn place(chunk: &mut Chunk, side: &mut Side, replica: Odd) {
    let verdict = chunk.judge(replica.generation, replica.length, replica.state);
    if verdict == Verdict::Good && !replica.doomed {
        chunk.good.push(replica.node, replica.slot);
    } else {
        side.odd.push(replica);
    }
}

/// Whether the node's replica is one that [`ChunkMap::finalized`] counts.
fn counts_as_finalized(chunk: &Chunk, side: &Side, node: NodeIndex) -> bool {
    if chunk.length().is_some() {
        return chunk.good.contains(node);
    }
    side.odd.iter().any(|odd| {
        odd.node == node
            && !odd.doomed
            && odd.state == ReplicaState::Finalized
            && odd.generation == chunk.generation
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ChunkId = ChunkId(7);

    fn on(node: u16) -> (NodeIndex, VolumeSlot) {
        (NodeIndex(node), VolumeSlot(node as u8))
    }

    fn record(generation: u64, length: u64, state: ReplicaState) -> ReplicaRecord {
        ReplicaRecord { chunk: ID, generation: GenStamp(generation), length, state, volume: None }
    }

    #[test]
    fn a_bucket_takes_40_bytes() {
        assert_eq!(size_of::<(ChunkId, Chunk)>(), 40);
    }

    #[test]
    fn replicas_are_judged_when_the_length_is_known() {
        let mut map = ChunkMap::default();
        map.add(ID, GenStamp(2), None, 3);
        for (node, generation, length, state) in [
            (0, 2, 10, ReplicaState::Finalized),
            (1, 2, 9, ReplicaState::Finalized),
            (2, 1, 10, ReplicaState::Finalized),
            (3, 2, 10, ReplicaState::Rbw),
            (4, 3, 10, ReplicaState::Finalized),
        ] {
            map.record(on(node), &record(generation, length, state), false);
        }
        assert_eq!(map.finalized(ID, GenStamp(2)), 2);
        assert_eq!(map.counts(), Counts { open: 1, ..Counts::default() });

        assert!(map.commit(ID, GenStamp(2), 10));
        assert!(!map.commit(ID, GenStamp(2), 10), "nothing new");
        let chunk = map.get(ID).unwrap().clone();
        assert_eq!(chunk.good(), [NodeIndex(0)]);
        let verdicts: Vec<_> = map
            .odd(ID)
            .iter()
            .map(|odd| (odd.node.0, chunk.judge(odd.generation, odd.length, odd.state)))
            .collect();
        let expected =
            [(1, Verdict::Corrupt), (2, Verdict::Stale), (3, Verdict::Candidate), (4, Verdict::Candidate)];
        assert_eq!(verdicts, expected);
        let mut lacking = [0; TOLD_APART];
        lacking[1] = 1;
        assert_eq!(
            map.counts(),
            Counts { committed: 1, one_copy: 1, under: 1, lacking, ..Counts::default() }
        );
        assert_eq!((map.counts().healable(1), map.counts().healable(2)), (0, 1));

        let gained = map.record(on(3), &record(2, 10, ReplicaState::Finalized), false);
        assert_eq!(gained, Recorded::Known { gained: true });
        let again = map.record(on(3), &record(2, 10, ReplicaState::Finalized), false);
        assert_eq!(again, Recorded::Known { gained: false });
    }

    #[test]
    fn an_old_deletion_does_not_remove_a_newer_replica() {
        let mut map = ChunkMap::default();
        map.add(ID, GenStamp(2), Some(10), 1);
        map.record(on(0), &record(2, 10, ReplicaState::Finalized), false);
        map.forget(ID, NodeIndex(0), Some(GenStamp(1)));
        assert_eq!(map.finalized(ID, GenStamp(2)), 1);
        map.forget(ID, NodeIndex(0), Some(GenStamp(2)));
        assert_eq!(map.finalized(ID, GenStamp(2)), 0);
        assert_eq!((map.counts().missing, map.held_count(NodeIndex(0))), (1, 0));
    }

    #[test]
    fn what_is_only_corrupt_is_not_missing() {
        let mut map = ChunkMap::default();
        map.add(ID, GenStamp(2), Some(10), 1);
        map.record(on(0), &record(2, 10, ReplicaState::Finalized), false);
        assert!(!map.mark_corrupt(ID, NodeIndex(0), GenStamp(1)));
        assert!(map.mark_corrupt(ID, NodeIndex(0), GenStamp(2)));
        assert_eq!((map.counts().corrupt, map.counts().missing), (1, 0));
        assert_eq!(map.forget_node(NodeIndex(0)).len(), 1);
        assert_eq!((map.counts().corrupt, map.counts().missing), (0, 1));
    }

    #[test]
    fn a_spared_replica_is_good_again() {
        let mut map = ChunkMap::default();
        map.add(ID, GenStamp(2), Some(10), 1);
        map.record(on(0), &record(2, 10, ReplicaState::Finalized), false);
        assert_eq!(map.doom(ID, NodeIndex(0)), Some(GenStamp(2)));
        assert!(map.odd(ID)[0].doomed);
        assert_eq!(map.counts().missing, 1);
        map.spare(ID, NodeIndex(0));
        assert_eq!(map.get(ID).unwrap().good(), [NodeIndex(0)]);
    }
}
