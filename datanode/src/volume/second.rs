//! Second replicas of chunks that the node has: on a disk, but not those that count.

use std::collections::BTreeMap;
use std::ops::Bound;

use dfs_types::ChunkId;

use super::replica::Replica;

/// A replica on a disk that is not the one that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Duplicate {
    /// The chunk.
    pub(crate) chunk: ChunkId,
    /// The replica.
    pub(crate) replica: Replica,
}

/// All of them. A volume that comes back may have millions.
#[derive(Debug, Default)]
pub(crate) struct Duplicates(BTreeMap<ChunkId, Vec<Replica>>);

impl Duplicates {
    /// Notes one.
    pub(crate) fn insert(&mut self, duplicate: Duplicate) {
        self.0.entry(duplicate.chunk).or_default().push(duplicate.replica);
    }

    /// Whether exactly this one is here.
    pub(crate) fn contains(&self, duplicate: &Duplicate) -> bool {
        self.0.get(&duplicate.chunk).is_some_and(|all| all.contains(&duplicate.replica))
    }

    /// Forgets one.
    pub(crate) fn remove(&mut self, duplicate: &Duplicate) {
        if let Some(all) = self.0.get_mut(&duplicate.chunk) {
            all.retain(|one| *one != duplicate.replica);
            if all.is_empty() {
                self.0.remove(&duplicate.chunk);
            }
        }
    }

    /// Forgets those on a volume that has failed.
    pub(crate) fn forget(&mut self, volume: u16) {
        self.0.retain(|_, all| {
            all.retain(|one| one.volume != volume);
            !all.is_empty()
        });
    }

    /// Those of the next `limit` chunks after `after`, in order.
    pub(crate) fn page(&self, after: Option<ChunkId>, limit: usize) -> Vec<Duplicate> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let chunks = self.0.range((from, Bound::Unbounded)).take(limit);
        let of_chunk = |(chunk, all): (&ChunkId, &Vec<Replica>)| {
            let chunk = *chunk;
            all.iter().map(|replica| Duplicate { chunk, replica: *replica }).collect::<Vec<_>>()
        };
        chunks.flat_map(of_chunk).collect()
    }
}
