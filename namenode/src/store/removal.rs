//! Whether somebody may remove a whole tree.
//!
//! Who removes a directory empties it, and so each one below it: he needs every right on each that has entries, and in a
//! sticky one only takes out what is his, as in HDFS. Else only directories are looked at, which an index finds among
//! whatever number of files; a superuser's trees are not looked at at all.

use std::sync::Arc;

use dfs_types::{Caller, FsPath, InodeId};
use rusqlite::Connection;

use super::access::{Access, Authority, Place};
use super::inode::{Inode, entries};
use super::snapshot::Snapshot;
use super::stop::Stop;

/// Directories, and entries of sticky ones, that one edit looks at: some ten milliseconds.
pub(crate) const MOST_IN_ONE_EDIT: usize = 4_096;
/// What one step of a check on a reader looks at, so that none holds a state of the database for long.
const MOST_IN_ONE_STEP: usize = 4_096;

/// A directory that is being looked at.
#[derive(Debug)]
struct Level {
    directory: Inode,
    path: FsPath,
    /// The name up to which its entries were looked at; `None`: it was not begun.
    done: Option<String>,
}

/// A check under way.
#[derive(Debug)]
pub(crate) struct Removal {
    todo: Vec<Level>,
}

impl Removal {
    /// Of the tree that begins with `top`.
    pub(crate) fn of(top: &Arc<Inode>, path: &FsPath) -> Self {
        Self { todo: vec![Level { directory: Inode::clone(top), path: path.clone(), done: None }] }
    }

    /// The directory that it begins with, if it was not begun yet.
    pub(crate) fn top(&self) -> Option<InodeId> {
        self.todo.first().map(|level| level.directory.id)
    }

    /// Whether everything was looked at.
    pub(crate) fn is_done(&self) -> bool {
        self.todo.is_empty()
    }

    /// Looks at `most` more entries; fails with the first that the caller may not take out, or directory that he may not
    /// empty.
    pub(crate) fn go_on(
        &mut self,
        connection: &Connection,
        authority: Authority<'_>,
        most: usize,
    ) -> Result<(), Stop> {
        let mut left = most;
        while left > 0
            && let Some(Level { directory, path, done }) = self.todo.pop()
        {
            left -= 1;
            // To remove an empty one, rights on the directory above it are enough.
            if directory.children == 0 {
                continue;
            }
            if done.is_none() {
                authority.check(&directory, Access::All, place(&path))?;
            }
            let sticky = authority.is_held_by_sticky(&directory);
            let (after, limit) = (done.unwrap_or_default(), left.max(1));
            let entries = if sticky {
                entries(connection, directory.id, &after, limit)?
            } else {
                directories(connection, directory.id, &after, limit)?
            };
            let last = entries.last().filter(|_| entries.len() == limit).map(|last| last.name.clone());
            let listed = entries.len();
            let mut below = Vec::new();
            for entry in entries {
                // A path that is too long only matters for a message, which may as well name the directory above.
                let path = path.join(&entry.name).unwrap_or_else(|_| path.clone());
                if sticky {
                    authority.check_sticky(&directory, &entry, place(&path))?;
                }
                if entry.is_directory() {
                    below.push(Level { directory: entry, path, done: None });
                }
            }
            if let Some(last) = last {
                self.todo.push(Level { directory, path, done: Some(last) });
            }
            // Directories count when it is their turn.
            left = left.saturating_sub(listed - below.len());
            self.todo.append(&mut below);
        }
        Ok(())
    }
}

fn place(path: &FsPath) -> Place<'_> {
    Place { path, depth: path.parts().count() }
}

/// At most `limit` directories in a directory after a name, in the order of their names.
fn directories(
    connection: &Connection,
    parent: InodeId,
    after: &str,
    limit: usize,
) -> rusqlite::Result<Vec<Inode>> {
    connection
        .prepare_cached(
            "SELECT * FROM inode INDEXED BY inode_directory \
             WHERE parent = ?1 AND kind = 1 AND name > ?2 ORDER BY name",
        )?
        .query_map((parent.0 as i64, after), Inode::from_row)?
        .take(limit)
        .collect()
}

impl Snapshot<'_> {
    /// Begins to check whether the caller may remove the tree at `path`; nothing is there to check if it is gone.
    pub(crate) fn begin_removal(&self, caller: &Caller, path: &FsPath) -> Result<Removal, Stop> {
        Ok(match self.resolve(caller, path)?.target() {
            Some(top) if top.is_directory() => Removal::of(top, path),
            Some(_) | None => Removal { todo: Vec::new() },
        })
    }

    /// Goes on with a check for one step.
    pub(crate) fn go_on_removing(&self, caller: &Caller, mut removal: Removal) -> Result<Removal, Stop> {
        removal.go_on(self.connection, self.authority(caller), MOST_IN_ONE_STEP)?;
        Ok(removal)
    }

    /// At most `limit` parts of a directory that is too large to be removed at once: directories in it, or if it has none
    /// what else is in it. None if another inode is at its path.
    pub(crate) fn parts(
        &self,
        caller: &Caller,
        path: &FsPath,
        directory: InodeId,
        limit: usize,
    ) -> Result<Vec<(FsPath, InodeId)>, Stop> {
        let found = self.resolve(caller, path)?;
        let is_meant = |top: &Inode| top.is_directory() && top.id == directory;
        if !found.target().is_some_and(|top| is_meant(top)) {
            return Ok(Vec::new());
        }
        let mut parts = directories(self.connection, directory, "", limit)?;
        if parts.is_empty() {
            parts = entries(self.connection, directory, "", limit)?;
        }
        // What is so deep that no path names it is removed with what is above it.
        Ok(parts.iter().filter_map(|part| Some((path.join(&part.name).ok()?, part.id))).collect())
    }
}
