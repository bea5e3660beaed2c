//! What the disks of one DataNode hold, in four bytes a replica.

use std::collections::BTreeSet;

/// Changes after which they are merged into the sorted list, besides a sixteenth of it.
const FEW: usize = 4_096;

/// The chunks of which a node has a replica, by number. Nearly all are in one sorted list; what changed since it was
/// made is kept beside it.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    sorted: Vec<u32>,
    added: BTreeSet<u32>,
    removed: BTreeSet<u32>,
}

impl Disk {
    /// A disk with these chunks, in ascending order and none twice.
    pub(crate) fn of(sorted: Vec<u32>) -> Self {
        Self { sorted, added: BTreeSet::new(), removed: BTreeSet::new() }
    }

    /// Number of replicas.
    pub(crate) fn len(&self) -> usize {
        self.sorted.len() - self.removed.len() + self.added.len()
    }

    /// Whether the chunk is here.
    pub(crate) fn contains(&self, chunk: u32) -> bool {
        self.added.contains(&chunk)
            || (self.sorted.binary_search(&chunk).is_ok() && !self.removed.contains(&chunk))
    }

    /// Adds a chunk; `false` if it was here.
    pub(crate) fn insert(&mut self, chunk: u32) -> bool {
        let new = if self.sorted.binary_search(&chunk).is_ok() {
            self.removed.remove(&chunk)
        } else {
            self.added.insert(chunk)
        };
        self.merge_if_many();
        new
    }

    /// Takes a chunk out; `false` if it was not here.
    pub(crate) fn remove(&mut self, chunk: u32) -> bool {
        let was = self.added.remove(&chunk)
            || (self.sorted.binary_search(&chunk).is_ok() && self.removed.insert(chunk));
        self.merge_if_many();
        was
    }

    /// All chunks, ascending.
    pub(crate) fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        let mut kept = self.sorted.iter().copied().filter(|chunk| !self.removed.contains(chunk)).peekable();
        let mut added = self.added.iter().copied().peekable();
        std::iter::from_fn(move || match (kept.peek(), added.peek()) {
            (Some(old), Some(new)) if new < old => added.next(),
            (Some(_), _) => kept.next(),
            (None, _) => added.next(),
        })
    }

    /// Empties it; answers what was there.
    pub(crate) fn take(&mut self) -> Vec<u32> {
        let all = self.iter().collect();
        *self = Self::default();
        all
    }

    fn merge_if_many(&mut self) {
        if self.added.len() + self.removed.len() > FEW + self.sorted.len() / 16 {
            *self = Self::of(self.iter().collect());
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::rngs::Xoshiro256PlusPlus;
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn behaves_like_a_set() {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut model: BTreeSet<u32> = (0..1_000).map(|n| n * 7).collect();
        let mut disk = Disk::of(model.iter().copied().collect());
        for round in 0..30_000 {
            let chunk = rng.random_range(0..20_000);
            assert_eq!(disk.contains(chunk), model.contains(&chunk));
            if rng.random_range(0..3) > 0 {
                assert_eq!(disk.insert(chunk), model.insert(chunk));
            } else {
                assert_eq!(disk.remove(chunk), model.remove(&chunk));
            }
            assert_eq!(disk.len(), model.len());
            if round % 1_000 == 0 {
                assert!(disk.iter().eq(model.iter().copied()));
            }
        }
        assert!(disk.take().into_iter().eq(model));
        assert_eq!(disk.len(), 0);
    }
}
