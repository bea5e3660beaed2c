//! What is known of every replica of the node. Plain state: no I/O, no clock; the store locks it for moments.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use dfs_types::limits::CHECKSUM_BYTES;
use dfs_types::{ChunkId, GenStamp, ReplicaRecord, VolumeId};
use tokio_util::sync::CancellationToken;

use super::replica::{Replica, State};
use super::second::Duplicates;

/// Who orders a deletion, and what he could know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeletionOrder {
    /// The term in which he leads.
    pub(crate) term: u64,
    /// How many replicas had come when he was last asked for orders.
    pub(crate) births: u64,
}

/// The right to write one replica, as the index and the session share it.
#[derive(Debug, Default)]
pub(crate) struct Slot {
    /// Asks the session to let go.
    pub(crate) stop: CancellationToken,
    /// The session has let go.
    pub(crate) released: CancellationToken,
}

/// What is known of a replica beyond its place and length while it can change.
#[derive(Debug, Default)]
pub(crate) struct Open {
    /// Checksum of the odd bytes at the end, if the length is no multiple of 512. The file may already have one over
    /// more bytes.
    pub(crate) tail: Option<[u8; CHECKSUM_BYTES]>,
    /// Who writes it now.
    pub(crate) writer: Option<Arc<Slot>>,
    /// Generation of the highest recovery that has begun; sessions with a lower one are refused.
    pub(crate) promised: GenStamp,
}

/// The scrubber's order: what was never verified comes first, of that the newest; then what was verified longest ago.
type Rank = (Option<u32>, Reverse<GenStamp>, ChunkId);

/// All replicas of the node: of each chunk the one that counts, and apart from these, second ones.
#[derive(Debug, Default)]
pub(crate) struct Index {
    replicas: BTreeMap<ChunkId, Replica>,
    open: HashMap<ChunkId, Open>,
    /// Number of replicas on each volume.
    counts: HashMap<u16, u64>,
    /// The finalized ones, as the scrubber takes them.
    ranks: BTreeSet<Rank>,
    /// How many of these were verified since the process started.
    verified: u64,
    /// Replicas that are to be deleted, and the term of the leader who ordered it. An order is for the replica that
    /// was there when it came, never for one that came since.
    orders: HashMap<ChunkId, (GenStamp, u64)>,
    /// How many replicas have come so far.
    births: u64,
    /// Replicas whose files are just being removed: under the same names nothing may come meanwhile.
    leaving: HashMap<ChunkId, Replica>,
    /// Second replicas of chunks, found at start.
    pub(crate) duplicates: Duplicates,
}

impl Index {
    /// The replica of a chunk.
    pub(crate) fn get(&self, chunk: ChunkId) -> Option<&Replica> {
        self.replicas.get(&chunk)
    }

    /// Changes the replica of a chunk, and answers with what it is then; `None` if there is none.
    pub(crate) fn change(&mut self, chunk: ChunkId, change: impl FnOnce(&mut Replica)) -> Option<Replica> {
        let replica = self.replicas.get_mut(&chunk)?;
        let before = *replica;
        change(replica);
        let after = *replica;
        self.unrank(chunk, &before);
        self.rank(chunk, &after);
        Some(after)
    }

    fn rank(&mut self, chunk: ChunkId, replica: &Replica) {
        if replica.state == State::Finalized {
            self.ranks.insert((replica.verified, Reverse(replica.generation), chunk));
            self.verified += u64::from(replica.verified.is_some());
        }
    }

    fn unrank(&mut self, chunk: ChunkId, replica: &Replica) {
        if self.ranks.remove(&(replica.verified, Reverse(replica.generation), chunk)) {
            self.verified -= u64::from(replica.verified.is_some());
        }
    }

    /// How many replicas have come so far: whoever decides anything knows of these at most.
    pub(crate) fn births(&self) -> u64 {
        self.births
    }

    /// Notes that exactly this version is to be deleted. `false` if it is not here, if it came after the first `births`
    /// replicas (then the order is for one that was here before it, and was told twice), or if that was noted already.
    pub(crate) fn order_deletion(
        &mut self,
        chunk: ChunkId,
        generation: GenStamp,
        order: DeletionOrder,
    ) -> bool {
        let DeletionOrder { term, births } = order;
        let there = |replica: &Replica| {
            replica.generation == generation && replica.state != State::Incoming && replica.birth <= births
        };
        if !self.get(chunk).is_some_and(there) {
            return false;
        }
        let before = self.orders.get(&chunk).filter(|(ordered, _)| *ordered == generation);
        let term = before.map_or(term, |(_, newer)| term.max(*newer));
        self.orders.insert(chunk, (generation, term)).is_none()
    }

    /// Takes the order to delete the chunk's replica out.
    pub(crate) fn take_order(&mut self, chunk: ChunkId) -> Option<(GenStamp, u64)> {
        self.orders.remove(&chunk)
    }

    /// Whether the files of a replica of this chunk are being removed.
    pub(crate) fn is_leaving(&self, chunk: ChunkId) -> bool {
        self.leaving.contains_key(&chunk)
    }

    /// Removes a replica whose files are about to be removed.
    pub(crate) fn leave(&mut self, chunk: ChunkId) {
        if let Some(replica) = self.remove(chunk) {
            self.leaving.insert(chunk, replica);
        }
    }

    /// The files of this replica are removed, or can't be. Answers whether that was still waited for: not if its volume
    /// failed meanwhile.
    pub(crate) fn left(&mut self, chunk: ChunkId, birth: u64) -> bool {
        let waited = self.leaving.get(&chunk).is_some_and(|replica| replica.birth == birth);
        if waited {
            self.leaving.remove(&chunk);
        }
        waited
    }

    /// Forgets the replicas whose files are just being removed from this volume, which has failed.
    pub(crate) fn forget_leaving(&mut self, volume: u16) -> Vec<(ChunkId, Replica)> {
        self.leaving.extract_if(|_, replica| replica.volume == volume).collect()
    }

    /// Adds or replaces a replica.
    pub(crate) fn insert(&mut self, chunk: ChunkId, replica: Replica) {
        self.orders.remove(&chunk);
        self.births += 1;
        let replica = Replica { birth: self.births, ..replica };
        *self.counts.entry(replica.volume).or_default() += 1;
        if let Some(old) = self.replicas.insert(chunk, replica) {
            self.uncount(old.volume);
            self.unrank(chunk, &old);
        }
        self.rank(chunk, &replica);
    }

    fn uncount(&mut self, volume: u16) {
        if let Some(count) = self.counts.get_mut(&volume) {
            *count -= 1;
        }
    }

    /// Number of replicas on a volume.
    pub(crate) fn count(&self, volume: u16) -> u64 {
        self.counts.get(&volume).copied().unwrap_or(0)
    }

    /// Forgets a replica and whatever was promised about it.
    pub(crate) fn remove(&mut self, chunk: ChunkId) -> Option<Replica> {
        self.open.remove(&chunk);
        self.orders.remove(&chunk);
        let removed = self.replicas.remove(&chunk);
        if let Some(replica) = &removed {
            self.uncount(replica.volume);
            self.unrank(chunk, replica);
        }
        removed
    }

    /// What is known of a replica that can change; nothing for most.
    pub(crate) fn open(&self, chunk: ChunkId) -> Option<&Open> {
        self.open.get(&chunk)
    }

    /// The same, to be changed.
    pub(crate) fn open_mut(&mut self, chunk: ChunkId) -> &mut Open {
        self.open.entry(chunk).or_default()
    }

    /// Forgets what is only known of replicas that can change.
    pub(crate) fn close(&mut self, chunk: ChunkId) {
        self.open.remove(&chunk);
    }

    /// Lines of a full report from the chunk `first` on, at most `limit`, by chunk; `id` names a volume.
    pub(crate) fn page(
        &self,
        first: ChunkId,
        limit: usize,
        id: impl Fn(u16) -> VolumeId,
    ) -> Vec<ReplicaRecord> {
        let replicas = self.replicas.range(first..);
        let lines = replicas.filter_map(|(chunk, replica)| replica.record(*chunk, id(replica.volume)));
        lines.take(limit).collect()
    }

    /// Removes and answers those replicas of `volume` that are among the next `limit` of all after `after`, and where to
    /// go on; nowhere if there are no more. A volume has millions: whoever takes them out lets others in between.
    pub(crate) fn take_out(
        &mut self,
        volume: u16,
        after: Option<ChunkId>,
        limit: usize,
    ) -> (Vec<TakenOut>, Option<ChunkId>) {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.replicas.range((from, Bound::Unbounded)).take(limit);
        let next: Vec<(ChunkId, u16)> = next.map(|(chunk, replica)| (*chunk, replica.volume)).collect();
        let last = next.last().map(|(chunk, _)| *chunk).filter(|_| next.len() == limit);
        let here = next.into_iter().filter(|(_, on)| *on == volume).map(|(chunk, _)| chunk);
        let taken = here.filter_map(|chunk| {
            let writer = self.open.get(&chunk).and_then(|open| open.writer.clone());
            self.remove(chunk).map(|replica| TakenOut { chunk, replica, writer })
        });
        (taken.collect(), last)
    }

    /// The replicas whose checksums should be looked at next, at most `limit`: of those never looked at the newest
    /// first (they had the least time to prove themselves), then those last looked at before `due`, longest ago first.
    pub(crate) fn due_for_verification(&self, due: u32, limit: usize) -> Vec<(ChunkId, GenStamp)> {
        due_among(self.ranks.iter(), due, limit)
    }

    /// How many finalized replicas there are, and how many of them were verified since the process started.
    pub(crate) fn verified_count(&self) -> (u64, u64) {
        (self.ranks.len() as u64, self.verified)
    }
}

/// A replica that [`Index::take_out`] removed.
#[derive(Debug)]
pub(crate) struct TakenOut {
    /// The chunk.
    pub(crate) chunk: ChunkId,
    /// What it was.
    pub(crate) replica: Replica,
    /// Who was writing it.
    pub(crate) writer: Option<Arc<Slot>>,
}

/// The first `limit` of these ranks that are due. Takes no more of them than it answers, and one.
fn due_among<'a>(ranks: impl Iterator<Item = &'a Rank>, due: u32, limit: usize) -> Vec<(ChunkId, GenStamp)> {
    let waiting = ranks.take_while(|(verified, ..)| verified.is_none_or(|at| at < due));
    waiting.take(limit).map(|(_, Reverse(generation), chunk)| (*chunk, *generation)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::layout::Place;
    use super::*;

    fn replica(generation: u64, state: State, verified: Option<u32>) -> Replica {
        Replica {
            volume: 0,
            generation: GenStamp(generation),
            length: 1,
            state,
            place: Place::Current,
            verified,
            birth: 0,
        }
    }

    #[test]
    fn pages_are_sorted_and_leave_out_what_comes_in() {
        let mut index = Index::default();
        for chunk in [5, 3, 9, 7] {
            index.insert(ChunkId(chunk), replica(1, State::Finalized, None));
        }
        index.insert(ChunkId(4), replica(1, State::Incoming, None));
        let chunks = |first, limit| -> Vec<u64> {
            index
                .page(ChunkId(first), limit, |_| VolumeId::random())
                .iter()
                .map(|record| record.chunk.0)
                .collect()
        };
        assert_eq!(chunks(0, 2), [3, 5]);
        assert_eq!(chunks(6, 2), [7, 9]);
        assert_eq!(chunks(10, 2), Vec::<u64>::new());
    }

    #[test]
    fn an_order_is_for_the_replica_that_was_there() {
        let (mut index, chunk) = (Index::default(), ChunkId(1));
        let of = |term, births| DeletionOrder { term, births };
        assert!(!index.order_deletion(chunk, GenStamp(1), of(5, 9)), "it is not here");
        index.insert(chunk, replica(1, State::Finalized, None));
        assert!(!index.order_deletion(chunk, GenStamp(2), of(5, 1)), "another version");
        assert!(index.order_deletion(chunk, GenStamp(1), of(5, 1)));
        assert!(!index.order_deletion(chunk, GenStamp(1), of(6, 1)), "told twice");
        assert!(!index.order_deletion(chunk, GenStamp(1), of(5, 1)), "late");
        assert_eq!((index.take_order(chunk), index.take_order(chunk)), (Some((GenStamp(1), 6)), None));
        assert!(index.order_deletion(chunk, GenStamp(1), of(6, 1)));
        index.leave(chunk);
        assert!(index.is_leaving(chunk));
        assert!(!index.left(chunk, 9), "another one's files");
        assert!(index.left(chunk, 1));
        assert!(!index.is_leaving(chunk));
        index.insert(chunk, replica(1, State::Finalized, None));
        assert_eq!(index.take_order(chunk), None, "it was copied back");
        assert!(!index.order_deletion(chunk, GenStamp(1), of(6, 1)), "told twice, and meant the one before");
        assert!(index.order_deletion(chunk, GenStamp(1), of(6, index.births())));
    }

    #[test]
    fn the_newest_unverified_comes_first_then_the_longest_ago() {
        let mut index = Index::default();
        index.insert(ChunkId(1), replica(10, State::Finalized, Some(50)));
        index.insert(ChunkId(2), replica(11, State::Finalized, None));
        index.insert(ChunkId(3), replica(12, State::Finalized, None));
        index.insert(ChunkId(4), replica(13, State::Rbw, None));
        index.insert(ChunkId(5), replica(14, State::Corrupt, None));
        index.insert(ChunkId(6), replica(15, State::Finalized, Some(40)));
        let order = |due, limit| -> Vec<u64> {
            index.due_for_verification(due, limit).iter().map(|(chunk, _)| chunk.0).collect()
        };
        assert_eq!(order(100, 10), [3, 2, 6, 1]);
        assert_eq!(order(100, 3), [3, 2, 6]);
        assert_eq!(order(45, 10), [3, 2, 6]);
        assert_eq!(index.verified_count(), (4, 2));
        // Whatever changes a replica changes its place in the order.
        index.change(ChunkId(3), |replica| replica.verified = Some(60));
        index.change(ChunkId(2), |replica| replica.state = State::Corrupt);
        index.change(ChunkId(4), |replica| replica.state = State::Finalized);
        index.remove(ChunkId(6));
        index.insert(ChunkId(1), replica(20, State::Finalized, None));
        let order = |due, limit| -> Vec<u64> {
            index.due_for_verification(due, limit).iter().map(|(chunk, _)| chunk.0).collect()
        };
        assert_eq!(order(100, 10), [1, 4, 3]);
        assert_eq!(index.verified_count(), (3, 1));
    }

    #[test]
    fn looking_for_work_costs_what_it_finds_whatever_there_is() {
        let mut index = Index::default();
        for chunk in 0..50_000 {
            index.insert(ChunkId(chunk), replica(chunk, State::Finalized, Some(1_000 + chunk as u32 % 7)));
        }
        for (due, limit, found) in [(0, 256, 0), (1_001, 256, 256), (1_001, usize::MAX, 7_143)] {
            let mut visited = 0;
            let ranks = index.ranks.iter().inspect(|_| visited += 1);
            let chunks = due_among(ranks, due, limit);
            assert_eq!(chunks, index.due_for_verification(due, limit));
            assert_eq!(chunks.len(), found);
            assert!(visited <= found + 1, "{visited} entries were looked at for {found}");
        }
    }

    #[test]
    fn a_volume_is_taken_out_some_at_a_time() {
        let mut index = Index::default();
        for chunk in 0..10 {
            let volume = u16::from(chunk % 3 == 0);
            index.insert(ChunkId(chunk), Replica { volume, ..replica(1, State::Finalized, None) });
        }
        index.open_mut(ChunkId(9)).writer = Some(Arc::default());
        let (mut taken, mut after) = (Vec::new(), None);
        for looks in 1.. {
            let (some, next) = index.take_out(1, after, 4);
            assert!(some.len() <= 4);
            taken.extend(some.iter().map(|one| (one.chunk.0, one.writer.is_some())));
            after = next;
            if after.is_none() {
                assert_eq!(looks, 3);
                break;
            }
        }
        assert_eq!(taken, [(0, false), (3, false), (6, false), (9, true)]);
        assert_eq!((index.count(0), index.count(1), index.verified_count()), (6, 0, (6, 0)));
    }
}
