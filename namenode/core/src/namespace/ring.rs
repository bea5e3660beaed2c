//! A set of chunks that is gone through in turn, so that one that can't be served never blocks the others.

use std::collections::BTreeSet;
use std::ops::Bound;

use dfs_types::ChunkId;

/// Chunks to look at, each in its turn.
#[derive(Debug, Default)]
pub(super) struct Ring {
    chunks: BTreeSet<ChunkId>,
    last: Option<ChunkId>,
}

impl Ring {
    /// Adds a chunk.
    pub(super) fn insert(&mut self, chunk: ChunkId) {
        self.chunks.insert(chunk);
    }

    /// Takes a chunk out.
    pub(super) fn remove(&mut self, chunk: ChunkId) {
        self.chunks.remove(&chunk);
    }

    /// Whether the chunk is here.
    pub(super) fn contains(&self, chunk: ChunkId) -> bool {
        self.chunks.contains(&chunk)
    }

    /// Number of chunks.
    pub(super) fn len(&self) -> usize {
        self.chunks.len()
    }

    /// Takes all out; answers them.
    pub(super) fn clear(&mut self) -> BTreeSet<ChunkId> {
        std::mem::take(&mut self.chunks)
    }

    /// The chunk after the one returned last; it stays in the ring.
    pub(super) fn next(&mut self) -> Option<ChunkId> {
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let next =
            self.chunks.range((after, Bound::Unbounded)).next().or_else(|| self.chunks.first()).copied();
        self.last = next;
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_gets_its_turn_whatever_comes_and_goes() {
        let mut ring = Ring::default();
        assert_eq!(ring.next(), None);
        for id in [5, 1, 3] {
            ring.insert(ChunkId(id));
        }
        assert_eq!([ring.next(), ring.next()], [Some(ChunkId(1)), Some(ChunkId(3))]);
        ring.remove(ChunkId(3));
        ring.insert(ChunkId(4));
        let seen: Vec<_> = (0..4).filter_map(|_| ring.next()).map(|chunk| chunk.0).collect();
        assert_eq!(seen, [4, 5, 1, 4]);
        assert!(ring.contains(ChunkId(5)) && !ring.contains(ChunkId(3)));
        assert_eq!(ring.len(), 3);
    }
}
