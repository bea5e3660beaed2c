//! Directory entries as the transaction under way has them, without asking the database for those on every path.
//!
//! An entry is looked for in three places: among those this transaction changed, in the readers' cache, which has what was
//! committed last, and in the database. So **every change of a row of `inode` that a path may lead to is noted here**
//! ([`View::put`] or [`View::forget`]) before anything is looked up again; the commit's fence drops the same entries from
//! the cache.

use std::collections::HashMap;
use std::sync::Arc;

use dfs_types::InodeId;
use rusqlite::Connection;

use crate::store::cache::{Cache, Fence, Key};
use crate::store::inode::{ABOVE_ROOT, Inode};

/// What one transaction sees.
pub(super) struct View<'a> {
    cache: &'a Cache,
    /// The entries it changed, with what they are now; `None` where only the database knows.
    changed: HashMap<Key, Option<Arc<Inode>>>,
}

impl<'a> View<'a> {
    /// Of a transaction that has changed nothing.
    pub(super) fn new(cache: &'a Cache) -> Self {
        Self { cache, changed: HashMap::new() }
    }

    /// The entry `name` of a directory.
    pub(super) fn entry(
        &self,
        connection: &Connection,
        parent: InodeId,
        name: &str,
    ) -> rusqlite::Result<Option<Arc<Inode>>> {
        let changed = self.changed.get(&Key { parent, name: name.into() });
        if let Some(Some(inode)) = changed {
            return Ok(Some(inode.clone()));
        }
        if changed.is_none()
            && let Some(inode) = self.cache.get(parent, name)
        {
            return Ok(Some(inode));
        }
        let found = Inode::by_name(connection, parent, name)?.map(Arc::new);
        if let Some(inode) = &found
            && changed.is_none()
            && inode.is_directory()
        {
            // Not changed, so it is what was committed; and as nobody else commits, it still is.
            self.cache.insert(self.cache.epoch(), vec![inode.clone()]);
        }
        Ok(found)
    }

    /// An entry is new, or is now like this.
    pub(super) fn put(&mut self, inode: Inode) {
        self.changed.insert(key(&inode), Some(Arc::new(inode)));
    }

    /// An entry changes or goes; what it is then is for the database to say.
    pub(super) fn forget(&mut self, inode: &Inode) {
        self.changed.insert(key(inode), None);
    }

    /// Something that was noted has been taken back: what the entries are now is for the database to say.
    pub(super) fn doubt(&mut self) {
        self.changed.values_mut().for_each(|known| *known = None);
    }

    /// The root is given an owner.
    pub(super) fn forget_root(&mut self) {
        self.changed.insert(Key { parent: ABOVE_ROOT, name: "".into() }, None);
    }

    /// A directory as it is now, if this transaction changed it and knows.
    pub(super) fn changed(&self, inode: &Inode) -> Option<&Arc<Inode>> {
        self.changed.get(&key(inode))?.as_ref()
    }

    /// Keeps the cache from showing what this transaction changed, for the time of its commit.
    pub(super) fn fence(&self) -> Fence<'a> {
        self.cache.fence(self.changed.keys())
    }

    /// After the commit: more is likely to be looked for in the directories it changed.
    pub(super) fn committed(self) {
        let directories = self.changed.into_values().flatten().filter(|inode| inode.is_directory()).collect();
        self.cache.insert(self.cache.epoch(), directories);
    }
}

fn key(inode: &Inode) -> Key {
    Key { parent: inode.parent, name: inode.name.as_str().into() }
}
