//! How long the paths below a directory are, so that no move makes one longer than a path may be.
//!
//! Of each directory `below` is known: at least the bytes by which the longest path below it is longer than its own. Being
//! relative, it stays true when something above is moved. What is made or moved raises it on the way up; nothing lowers it
//! but a count, which is made when a move would be refused otherwise. So a move costs no walk through the tree, and every
//! entry has a path: listings, walks and checks reach all of it.

use std::sync::Arc;

use dfs_types::limits::MAX_PATH_BYTES;
use dfs_types::{FileKind, FsError, FsPath, InodeId};

use super::Step;
use crate::store::column::number;
use crate::store::inode::{Inode, kind_number};
use crate::store::resolve::Resolved;
use crate::store::stop::Stop;

/// Most entries that are counted when a move would be refused: all other edits wait meanwhile.
const COUNTED: usize = 10_000;

/// Bytes by which a name makes a path longer.
pub(super) fn longer_by(name: &str) -> u64 {
    1 + name.len() as u64
}

impl Step<'_, '_> {
    /// Something is about to be at the path, and reaches `below` bytes further: the directories above it are told.
    pub(super) fn reach_down(&mut self, found: &Resolved<'_>, below: u64) -> Result<(), Stop> {
        // The root can't be moved, so nobody asks.
        for (directory, between) in found.directories_above() {
            let now = self.view.changed(directory).map_or(directory.as_ref(), Arc::as_ref);
            let needed = between + below;
            if now.below >= needed {
                continue;
            }
            let raised = Inode { below: needed, ..now.clone() };
            self.write(
                "UPDATE inode SET below = ?3 WHERE parent = ?1 AND name = ?2",
                (raised.parent.0 as i64, &raised.name, needed as i64),
            )?;
            self.view.put(raised);
        }
        Ok(())
    }

    /// How far what is below an inode reaches, if it may be moved from one path to another.
    pub(super) fn reach_when_moved(&self, moved: &Inode, from: &FsPath, to: &FsPath) -> Result<u64, Stop> {
        let room = (MAX_PATH_BYTES - to.as_str().len()) as u64;
        if moved.below <= room {
            return Ok(moved.below);
        }
        // What made it so long may be gone.
        match self.count_below(moved.id)? {
            Some(below) if below <= room => Ok(below),
            below => Err(FsError::invalid(format!(
                "{from} can't be moved to {to}: {} below it would be {} bytes long, at most {MAX_PATH_BYTES} are allowed",
                if below.is_some() { "a path" } else { "paths" },
                below.unwrap_or(moved.below) + to.as_str().len() as u64
            ))
            .into()),
        }
    }

    /// How far what is below a directory reaches; `None` if there is too much to be counted.
    fn count_below(&self, directory: InodeId) -> Result<Option<u64>, Stop> {
        let (mut longest, mut counted) = (0, 0);
        let mut left = vec![(directory, 0)];
        while let Some((directory, above)) = left.pop() {
            let mut statement = self
                .connection
                .prepare_cached("SELECT id, kind, length(CAST(name AS BLOB)) FROM inode WHERE parent = ?1")?;
            let mut rows = statement.query([directory.0 as i64])?;
            while let Some(row) = rows.next()? {
                counted += 1;
                if counted > COUNTED {
                    return Ok(None);
                }
                let length = above + 1 + number(row, 2)?;
                longest = longest.max(length);
                if row.get::<_, i64>(1)? == kind_number(FileKind::Directory) {
                    left.push((InodeId(number(row, 0)?), length));
                }
            }
        }
        Ok(Some(longest))
    }
}
