//! A set of chunks in the order of their ids, so that a slice of a report can be compared with its part of the set.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use dfs_types::ChunkId;

/// Chunks, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct ChunkSet(BTreeSet<ChunkId>);

impl ChunkSet {
    /// Adds a chunk.
    pub(crate) fn insert(&mut self, id: ChunkId) {
        self.0.insert(id);
    }

    /// Takes a chunk out; `false` if it is not in the set.
    pub(crate) fn remove(&mut self, id: ChunkId) -> bool {
        self.0.remove(&id)
    }

    /// Number of chunks.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All chunks, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = ChunkId> {
        self.0.iter().copied()
    }

    /// The chunks with these ids, in order.
    pub(crate) fn range(&self, ids: RangeInclusive<ChunkId>) -> impl Iterator<Item = ChunkId> {
        self.0.range(ids).copied()
    }

    /// Adds all of another set.
    pub(crate) fn append(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }
}
