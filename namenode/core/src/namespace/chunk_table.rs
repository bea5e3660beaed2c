//! A table by chunk in little memory.
//!
//! Chunk ids are given out one after the other, so most of those next to each other exist. A block has the chunks of
//! [`BLOCK`] such ids side by side, each with one byte for its id; a hash map of ids would take eight, and leave a third of its
//! places free.

use std::collections::hash_map::Entry;

use dfs_types::ChunkId;

use crate::hash::IdMap;

/// Ids of a block: as many as one byte tells apart.
const BLOCK: usize = 1 << 8;
/// Places that a block has room for when it is begun.
const FIRST_PLACES: usize = 4;

/// Values by chunk.
#[derive(Debug)]
pub(super) struct ChunkTable<T> {
    blocks: IdMap<u64, Block<T>>,
}

/// The chunks whose ids begin alike, in the order of their ids.
#[derive(Debug)]
struct Block<T> {
    ids: Vec<u8>,
    values: Vec<T>,
}

impl<T> Default for ChunkTable<T> {
    fn default() -> Self {
        Self { blocks: IdMap::default() }
    }
}

/// Which block a chunk is in, and which of its ids it is.
fn split(id: ChunkId) -> (u64, u8) {
    (id.0 >> BLOCK.trailing_zeros(), id.0 as u8)
}

impl<T> ChunkTable<T> {
    /// The chunk's value.
    pub(super) fn get(&self, id: ChunkId) -> Option<&T> {
        let (block, low) = split(id);
        let block = self.blocks.get(&block)?;
        block.values.get(block.find(low).ok()?)
    }

    /// The chunk's value, to change it.
    pub(super) fn get_mut(&mut self, id: ChunkId) -> Option<&mut T> {
        let (block, low) = split(id);
        let block = self.blocks.get_mut(&block)?;
        let at = block.find(low).ok()?;
        block.values.get_mut(at)
    }

    /// Whether there is such a chunk.
    pub(super) fn contains(&self, id: ChunkId) -> bool {
        self.get(id).is_some()
    }

    /// Adds a chunk, or gives it another value.
    pub(super) fn insert(&mut self, id: ChunkId, value: T) {
        let (block, low) = split(id);
        self.blocks.entry(block).or_insert_with(Block::new).insert(low, value);
    }

    /// Takes a chunk out.
    pub(super) fn remove(&mut self, id: ChunkId) -> Option<T> {
        let (block, low) = split(id);
        let Entry::Occupied(mut entry) = self.blocks.entry(block) else { return None };
        let removed = entry.get_mut().remove(low);
        if entry.get().ids.is_empty() {
            entry.remove();
        }
        removed
    }

    /// All of them, in no order that means anything, but the same in every run.
    pub(super) fn iter(&self) -> impl Iterator<Item = (ChunkId, &T)> {
        self.blocks.iter().flat_map(|(high, block)| {
            let first = high << BLOCK.trailing_zeros();
            let ids = block.ids.iter().map(move |low| ChunkId(first | u64::from(*low)));
            ids.zip(&block.values)
        })
    }
}

impl<T> Block<T> {
    fn new() -> Self {
        Self { ids: Vec::with_capacity(FIRST_PLACES), values: Vec::with_capacity(FIRST_PLACES) }
    }

    /// Where an id is, or where it would be.
    fn find(&self, low: u8) -> Result<usize, usize> {
        if self.ids.len() == BLOCK {
            return Ok(usize::from(low));
        }
        // In a namespace that was only written to, the last block is the only one that is not full.
        match self.ids.last() {
            Some(last) if *last < low => Err(self.ids.len()),
            _ => self.ids.binary_search(&low),
        }
    }

    fn insert(&mut self, low: u8, value: T) {
        match self.find(low) {
            Ok(at) => {
                if let Some(there) = self.values.get_mut(at) {
                    *there = value;
                }
            }
            Err(at) => {
                self.make_room();
                self.ids.insert(at, low);
                self.values.insert(at, value);
            }
        }
    }

    fn remove(&mut self, low: u8) -> Option<T> {
        let at = self.find(low).ok()?;
        self.ids.remove(at);
        let removed = self.values.remove(at);
        if self.ids.len() < self.ids.capacity() / 2 {
            let places = with_room(self.ids.len());
            self.ids.shrink_to(places);
            self.values.shrink_to(places);
        }
        Some(removed)
    }

    /// Grows by less than a vector would: what is free is paid for by every block.
    fn make_room(&mut self) {
        let length = self.ids.len();
        if length == self.ids.capacity() || length == self.values.capacity() {
            let more = with_room(length) - length;
            self.ids.reserve_exact(more);
            self.values.reserve_exact(more);
        }
    }
}

/// Places for so many chunks and some more.
fn with_room(length: usize) -> usize {
    (length + length / 4).max(length + FIRST_PLACES).min(BLOCK)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u64, u32),
        Remove(u64),
    }

    fn a_step() -> impl Strategy<Value = Step> {
        // Within some blocks next to each other and far apart.
        let id = (0_u64..3, 0_u64..300).prop_map(|(far, near)| (far << 40) + near);
        (id, any::<Option<u32>>())
            .prop_map(|(id, value)| value.map_or(Step::Remove(id), |value| Step::Insert(id, value)))
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(steps in proptest::collection::vec(a_step(), 0..600)) {
            let (mut table, mut model) = (ChunkTable::default(), BTreeMap::new());
            for step in steps {
                match step {
                    Step::Insert(id, value) => {
                        table.insert(ChunkId(id), value);
                        model.insert(ChunkId(id), value);
                    }
                    Step::Remove(id) => prop_assert_eq!(table.remove(ChunkId(id)), model.remove(&ChunkId(id))),
                }
            }
            let found: BTreeMap<ChunkId, u32> = table.iter().map(|(id, value)| (id, *value)).collect();
            prop_assert_eq!(&found, &model);
            for id in (0..300).flat_map(|near| (0..3_u64).map(move |far| ChunkId((far << 40) + near))) {
                prop_assert_eq!(table.get(id), model.get(&id));
                prop_assert_eq!(table.contains(id), model.contains_key(&id));
                prop_assert_eq!(table.get_mut(id).copied(), model.get(&id).copied());
            }
        }
    }

    #[test]
    fn a_full_block_has_no_place_too_many_and_an_emptied_one_gives_them_back() {
        let mut table = ChunkTable::default();
        for id in 0..BLOCK as u64 {
            table.insert(ChunkId(id), id);
        }
        let places = |table: &ChunkTable<u64>| {
            table.blocks.values().map(|block| block.values.capacity()).sum::<usize>()
        };
        assert_eq!(places(&table), BLOCK);
        for id in 10..BLOCK as u64 {
            table.remove(ChunkId(id));
        }
        assert!(places(&table) <= 20, "{} places for 10 chunks", places(&table));
        for id in 0..10 {
            table.remove(ChunkId(id));
        }
        assert!(table.blocks.is_empty());
    }
}
