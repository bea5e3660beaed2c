//! Freeing deleted trees, a bounded number of inodes at a time.

use dfs_types::{FileKind, InodeId};

use super::Step;
use crate::store::edit::Outcome;
use crate::store::inode::{GARBAGE, Inode};
use crate::store::stop::Stop;

/// Most chunks one edit frees; a larger file is freed by several.
const MAX_CHUNKS: u64 = 8 << 10;

/// What one edit may still do.
struct Budget {
    /// Inodes looked at: freed, or moved to the top of the deleted trees.
    inodes: u32,
    chunks: u64,
}

impl Step<'_, '_> {
    pub(super) fn reap(&mut self, limit: u32) -> Result<Outcome, Stop> {
        self.authority.check_super("freeing deleted trees")?;
        let mut budget = Budget { inodes: limit, chunks: MAX_CHUNKS };
        let mut freed = 0;
        while budget.inodes > 0 && budget.chunks > 0 {
            let Some(top) = self.first_below(GARBAGE, 1)?.pop() else {
                break;
            };
            freed += self.reap_tree(&top, &mut budget)?;
        }
        Ok(Outcome::Reaped { inodes: freed, more: self.counters.garbage > 0 })
    }

    /// Frees a deleted tree as far as the budget goes: files at once, while directories with entries become trees
    /// of their own, so that no depth makes an edit long.
    fn reap_tree(&mut self, top: &Inode, budget: &mut Budget) -> Result<u32, Stop> {
        if top.kind == FileKind::File {
            return self.reap_file(top, budget);
        }
        let mut freed = 0;
        for entry in self.first_below(top.id, budget.inodes)? {
            if budget.inodes == 0 || budget.chunks == 0 {
                return Ok(freed);
            }
            if entry.kind == FileKind::File {
                freed += self.reap_file(&entry, budget)?;
            } else {
                budget.inodes -= 1;
                if entry.children > 0 {
                    self.detach(&entry)?;
                } else {
                    self.remove_row(&entry)?;
                    freed += 1;
                }
            }
        }
        if budget.inodes > 0 && self.first_below(top.id, 1)?.is_empty() {
            budget.inodes -= 1;
            self.remove_row(top)?;
            freed += 1;
        }
        Ok(freed)
    }

    fn reap_file(&mut self, file: &Inode, budget: &mut Budget) -> Result<u32, Stop> {
        self.release_lease(file)?;
        let before = self.changes.len();
        let all = self.remove_chunks(file.id, budget.chunks)?;
        budget.chunks = budget.chunks.saturating_sub((self.changes.len() - before) as u64);
        if !all {
            return Ok(0);
        }
        budget.inodes -= 1;
        self.remove_row(file)?;
        Ok(1)
    }

    fn first_below(&self, parent: InodeId, limit: u32) -> Result<Vec<Inode>, Stop> {
        let rows = self
            .connection
            .prepare_cached("SELECT * FROM inode WHERE parent = ?1 ORDER BY name")?
            .query_map([parent.0 as i64], Inode::from_row)?
            .take(limit as usize)
            .collect::<rusqlite::Result<_>>()?;
        Ok(rows)
    }
}
