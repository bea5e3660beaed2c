//! The cache of (directory, name) → inode, and the protocol that keeps it from ever showing an old value after a
//! newer one.
//!
//! The **epoch** is even between commits and odd while one runs. The writer ([`Cache::fence`]) makes it odd, waits
//! for inserts under way, drops every key its transaction touched, commits, and makes the epoch even. So:
//!
//! * A reader inserts what it read from SQLite only if the epoch was even before its read and is the same at the
//!   insert: then no commit came between and the value is the present one.
//! * While the epoch has one value, all that the cache holds belongs to one state of the database. During an odd
//!   epoch nothing is inserted, and what is left is the same before and after the commit, except touched keys that
//!   are not yet dropped; those are only there before the commit. So a walk of several keys that sees the same epoch
//!   at its start and at its end saw one state, which was the present one at some moment of the walk.
//! * Absent entries are not cached: only SQLite says that something does not exist.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use dfs_types::InodeId;
use quick_cache::Equivalent;

use super::inode::Inode;

/// Names a directory entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// The directory.
    pub parent: InodeId,
    /// The entry's name.
    pub name: Box<str>,
}

/// A [`Key`] that borrows its name; hashes alike.
#[derive(Hash)]
struct KeyRef<'a> {
    parent: InodeId,
    name: &'a str,
}

impl Equivalent<Key> for KeyRef<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.parent == key.parent && *self.name == *key.name
    }
}

/// Shared by the writer, which invalidates, and the readers, which fill.
pub(crate) struct Cache {
    entries: quick_cache::sync::Cache<Key, Arc<Inode>>,
    epoch: AtomicU64,
    /// Read-locked by inserts; the writer takes it once after making the epoch odd, so that no insert that saw the
    /// even epoch is still under way when it drops keys.
    inserting: RwLock<()>,
}

/// A moment of the cache's life, to tell later whether a commit came between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Epoch(u64);

impl Cache {
    /// A cache of about `entries` inodes.
    pub(crate) fn new(entries: usize) -> Self {
        Self {
            entries: quick_cache::sync::Cache::new(entries.max(1)),
            epoch: AtomicU64::new(0),
            inserting: RwLock::new(()),
        }
    }

    /// The present epoch.
    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::SeqCst))
    }

    /// Runs `read`, which gets several entries; `None` if a commit began or ended meanwhile, as then they need not
    /// belong to one state.
    pub(crate) fn in_one_state<T>(&self, read: impl FnOnce() -> T) -> Option<T> {
        let before = self.epoch();
        let result = read();
        (self.epoch() == before).then_some(result)
    }

    /// What is cached of an entry.
    pub(crate) fn get(&self, parent: InodeId, name: &str) -> Option<Arc<Inode>> {
        self.entries.get(&KeyRef { parent, name })
    }

    /// Keeps what was read from SQLite after `read_at`, unless a commit began since.
    pub(crate) fn insert(&self, read_at: Epoch, found: Vec<Arc<Inode>>) {
        if read_at.0 % 2 == 1 {
            return;
        }
        let _inserting = self.inserting.read().unwrap_or_else(PoisonError::into_inner);
        if self.epoch() != read_at {
            return;
        }
        for inode in found {
            let key = Key { parent: inode.parent, name: inode.name.as_str().into() };
            self.entries.insert(key, inode);
        }
    }

    /// Begins a commit that changes `touched`; the commit must happen before the fence is dropped. There is only
    /// one writer, so fences never overlap.
    pub(crate) fn fence<'k>(&self, touched: impl IntoIterator<Item = &'k Key>) -> Fence<'_> {
        self.epoch.fetch_add(1, Ordering::SeqCst);
        drop(self.inserting.write().unwrap_or_else(PoisonError::into_inner));
        for key in touched {
            self.entries.remove(key);
        }
        Fence { cache: self }
    }

    /// Begins a commit that may change everything, as [`Cache::fence`] begins one.
    pub(crate) fn fence_all(&self) -> Fence<'_> {
        let fence = self.fence(&[]);
        self.entries.clear();
        fence
    }
}

/// A commit under way.
pub(crate) struct Fence<'a> {
    cache: &'a Cache,
}

impl Drop for Fence<'_> {
    fn drop(&mut self) {
        self.cache.epoch.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::inode::{ABOVE_ROOT, Inode};

    fn root() -> Vec<Arc<Inode>> {
        vec![Arc::new(Inode::bare())]
    }

    #[test]
    fn a_walk_that_a_commit_crosses_counts_for_nothing() {
        let cache = Cache::new(10);
        assert_eq!(cache.in_one_state(|| 5), Some(5));
        assert_eq!(cache.in_one_state(|| drop(cache.fence(&[]))), None);
        let mut fence = None;
        assert_eq!(cache.in_one_state(|| fence = Some(cache.fence(&[]))), None);
        assert_eq!(cache.in_one_state(|| 5), Some(5), "while a commit runs");
        assert_eq!(cache.in_one_state(|| fence = None), None);
    }

    #[test]
    fn what_was_read_before_a_commit_is_not_kept_after_it() {
        let cache = Cache::new(10);
        let before = cache.epoch();
        let fence = cache.fence(&[]);
        let during = cache.epoch();
        cache.insert(before, root());
        cache.insert(during, root());
        drop(fence);
        cache.insert(before, root());
        cache.insert(during, root());
        assert!(cache.get(ABOVE_ROOT, "").is_none());
        cache.insert(cache.epoch(), root());
        assert!(cache.get(ABOVE_ROOT, "").is_some());
    }
}
