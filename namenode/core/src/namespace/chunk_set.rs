//! A set of chunks in the order of their ids, so that a slice of a report can be compared with its part of the set.
//!
//! Every replica of the cluster is in one, so it is made of compressed bitmaps: one or two bytes a chunk where many ids next
//! to each other are in the set, a bit where nearly all are.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use dfs_types::ChunkId;
use roaring::RoaringBitmap;

/// Chunks, in order.
#[derive(Debug, Clone, Default)]
pub(super) struct ChunkSet {
    /// By the upper half of the id; none is empty.
    parts: BTreeMap<u32, RoaringBitmap>,
    count: usize,
}

fn split(id: ChunkId) -> (u32, u32) {
    ((id.0 >> 32) as u32, id.0 as u32)
}

fn join(high: u32, low: u32) -> ChunkId {
    ChunkId((u64::from(high) << 32) | u64::from(low))
}

impl ChunkSet {
    /// Adds a chunk.
    pub(super) fn insert(&mut self, id: ChunkId) {
        let (high, low) = split(id);
        self.count += usize::from(self.parts.entry(high).or_default().insert(low));
    }

    /// Takes a chunk out; `false` if it is not in the set.
    pub(super) fn remove(&mut self, id: ChunkId) -> bool {
        let (high, low) = split(id);
        let Some(part) = self.parts.get_mut(&high) else { return false };
        let was_there = part.remove(low);
        self.count -= usize::from(was_there);
        if part.is_empty() {
            self.parts.remove(&high);
        }
        was_there
    }

    /// Number of chunks.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All chunks, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = ChunkId> {
        self.parts.iter().flat_map(|(high, part)| part.iter().map(|low| join(*high, low)))
    }

    /// The chunks with these ids, in order.
    pub(super) fn range(&self, ids: RangeInclusive<ChunkId>) -> impl Iterator<Item = ChunkId> {
        let (first, last) = (split(*ids.start()), split(*ids.end()));
        // A range that ends before it begins is empty.
        let parts = (first <= last).then(|| self.parts.range(first.0..=last.0));
        parts.into_iter().flatten().flat_map(move |(high, part)| {
            let from = if *high == first.0 { first.1 } else { 0 };
            let to = if *high == last.0 { last.1 } else { u32::MAX };
            part.range(from..=to).map(|low| join(*high, low))
        })
    }

    /// Adds all of another set.
    pub(super) fn append(&mut self, other: Self) {
        for (high, part) in other.parts {
            *self.parts.entry(high).or_default() |= part;
        }
        self.count = self.parts.values().map(|part| part.len() as usize).sum();
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn an_id() -> impl Strategy<Value = ChunkId> {
        (0_u64..3, 0_u64..40).prop_map(|(high, low)| ChunkId((high << 32) + low * low))
    }

    fn ids(most: usize) -> impl Strategy<Value = Vec<ChunkId>> {
        proptest::collection::vec(an_id(), 0..most)
    }

    fn set(of: &[ChunkId]) -> ChunkSet {
        let mut set = ChunkSet::default();
        for id in of {
            set.insert(*id);
        }
        set
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(added in ids(80), removed in ids(80), other in ids(40), first in an_id(), last in an_id()) {
            let (mut found, mut model) = (set(&added), added.iter().copied().collect::<BTreeSet<_>>());
            for id in removed {
                prop_assert_eq!(found.remove(id), model.remove(&id));
            }
            found.append(set(&other));
            model.extend(other);
            prop_assert_eq!(found.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!((found.len(), found.is_empty()), (model.len(), model.is_empty()));
            let within = model.iter().copied().filter(|id| (first..=last).contains(id));
            prop_assert_eq!(found.range(first..=last).collect::<Vec<_>>(), within.collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_range_to_the_last_id_there_is_has_everything_after_its_first() {
        let all = [ChunkId(0), ChunkId(u64::from(u32::MAX)), ChunkId(1 << 32), ChunkId(u64::MAX)];
        assert_eq!(set(&all).range(ChunkId(1)..=ChunkId(u64::MAX)).collect::<Vec<_>>(), all[1..]);
    }
}
