//! Keeps what the tree below each directory takes, and sees that no quota is exceeded.
//!
//! Everything that comes or goes below a directory changes the numbers of all above it. Within a transaction they are
//! changed in memory, and each is written once at its end: many edits in one directory cost its ancestors one statement
//! each.

use std::collections::HashMap;

use dfs_types::{ErrorCode, FsError, FsPath, InodeId, LimitChange, Quota};
use rusqlite::{Connection, OptionalExtension};

use super::Step;
use crate::store::chunk::Chunk;
use crate::store::column::number;
use crate::store::edit::{Outcome, QUOTAS};
use crate::store::inode::{ABOVE_ROOT, Extras, GARBAGE, Inode, path_of};
use crate::store::resolve::Resolved;
use crate::store::stop::Stop;
use crate::store::usage::{self, Usage};

/// What directories take, as one transaction sees it.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// What it read or changed.
    usages: HashMap<InodeId, Entry>,
    /// What is above directories on the way up.
    above: HashMap<InodeId, Above>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    usage: Usage,
    changed: bool,
}

/// What the way up needs to know of a directory.
#[derive(Debug, Clone, Copy)]
struct Above {
    parent: InodeId,
    has_quota: bool,
}

impl Ledger {
    /// What is below a directory.
    fn usage(&mut self, connection: &Connection, directory: InodeId) -> rusqlite::Result<Usage> {
        if let Some(entry) = self.usages.get(&directory) {
            return Ok(entry.usage);
        }
        let usage = usage::of(connection, directory)?;
        self.usages.insert(directory, Entry { usage, changed: false });
        Ok(usage)
    }

    /// Something came to what is below a directory, or went.
    fn add(&mut self, connection: &Connection, directory: InodeId, change: Usage) -> rusqlite::Result<()> {
        if let Some(entry) = self.usages.get_mut(&directory) {
            *entry = Entry { usage: entry.usage.plus(change), changed: true };
            return Ok(());
        }
        let usage = usage::of(connection, directory)?.plus(change);
        self.usages.insert(directory, Entry { usage, changed: true });
        Ok(())
    }

    fn above(&mut self, connection: &Connection, directory: InodeId) -> rusqlite::Result<Option<Above>> {
        if let Some(above) = self.above.get(&directory) {
            return Ok(Some(*above));
        }
        let found = connection
            .prepare_cached("SELECT parent, extras FROM inode WHERE id = ?1")?
            .query_row([directory.0 as i64], |row| {
                let extras = Extras::from_bits(row.get(1)?);
                Ok(Above { parent: InodeId(number(row, 0)?), has_quota: extras.has(Extras::QUOTA) })
            })
            .optional()?;
        self.above.extend(found.map(|found| (directory, found)));
        Ok(found)
    }

    /// Writes what changed.
    pub(super) fn store(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        for (directory, entry) in self.usages.iter_mut().filter(|(_, entry)| entry.changed) {
            usage::set(connection, *directory, entry.usage)?;
            entry.changed = false;
        }
        Ok(())
    }

    /// Something that was noted has been taken back: the database knows.
    pub(super) fn doubt(&mut self) {
        *self = Self::default();
    }
}

/// Bytes that a chunk of a file can have.
pub(super) fn charged_of(file: &Inode, chunk: &Chunk) -> u64 {
    chunk.length.unwrap_or(file.chunk_size)
}

impl Step<'_, '_> {
    fn counts_usage(&self) -> bool {
        *self.level >= QUOTAS
    }

    /// What a file or directory adds to those above it.
    pub(super) fn weight(&mut self, inode: &Inode) -> Result<Usage, Stop> {
        if !self.counts_usage() {
            return Ok(Usage::default());
        }
        if inode.is_directory() {
            return Ok(self.ledger.usage(self.connection, inode.id)?.plus(Usage::DIRECTORY));
        }
        Ok(usage::of_file(self.connection, inode)?)
    }

    /// Something in `directory` came, went or changed.
    pub(super) fn charge(&mut self, directory: InodeId, change: Usage) -> Result<(), Stop> {
        if !self.counts_usage() || change == Usage::default() {
            return Ok(());
        }
        self.wrote = true;
        let mut at = directory;
        while !is_top(at) {
            self.ledger.add(self.connection, at, change)?;
            let Some(above) = self.ledger.above(self.connection, at)? else { break };
            at = above.parent;
        }
        Ok(())
    }

    /// The bytes of a file's chunks changed, or those that readers may count on.
    pub(super) fn charge_bytes(&mut self, file: &Inode, length: i64, charged: i64) -> Result<(), Stop> {
        let space = charged.wrapping_mul(i64::from(file.replication));
        self.charge(file.parent, Usage { length, space, ..Usage::default() })
    }

    /// A new directory, which has so many others below it, or is about to.
    pub(super) fn begin_usage(&mut self, directory: &Inode, directories: i64) {
        if self.counts_usage() {
            let usage = Usage { directories, ..Usage::default() };
            self.ledger.usages.insert(directory.id, Entry { usage, changed: true });
            self.note_parent(directory, directory.parent);
        }
    }

    /// A directory goes with its row.
    pub(super) fn end_usage(&mut self, directory: &Inode) -> Result<(), Stop> {
        if !self.counts_usage() {
            return Ok(());
        }
        self.ledger.usages.remove(&directory.id);
        self.ledger.above.remove(&directory.id);
        self.write("DELETE FROM usage WHERE inode = ?1", [directory.id.0 as i64])?;
        Ok(())
    }

    /// An inode goes, and with it what else there is of it.
    pub(super) fn remove_extras(&mut self, inode: &Inode) -> Result<(), Stop> {
        let tables = [
            (Extras::QUOTA, "DELETE FROM quota WHERE inode = ?1"),
            (Extras::TRASH, "DELETE FROM trash WHERE inode = ?1"),
            (Extras::XATTRS, "DELETE FROM xattr WHERE inode = ?1"),
            (Extras::CHECKPOINT, "DELETE FROM checkpoint WHERE inode = ?1"),
        ];
        for (_, statement) in tables.into_iter().filter(|(extra, _)| inode.extras.has(*extra)) {
            self.write(statement, [inode.id.0 as i64])?;
        }
        Ok(())
    }

    /// A directory is in another one from now on.
    pub(super) fn note_parent(&mut self, directory: &Inode, parent: InodeId) {
        if directory.is_directory() {
            let has_quota = directory.extras.has(Extras::QUOTA);
            self.ledger.above.insert(directory.id, Above { parent, has_quota });
        }
    }

    /// Refuses what would let a directory from `directory` up take more than its quota. Nothing that takes less is refused,
    /// whatever there is already.
    pub(super) fn check_quota(&mut self, directory: InodeId, change: Usage) -> Result<(), Stop> {
        self.check_quota_up_to(directory, change, &[])
    }

    /// As [`Step::check_quota`], for a move: those that it is below already take no more than before.
    pub(super) fn check_quota_up_to(
        &mut self,
        directory: InodeId,
        change: Usage,
        shared: &[InodeId],
    ) -> Result<(), Stop> {
        if !self.counts_usage() || (change.names() <= 0 && change.space <= 0) {
            return Ok(());
        }
        let mut at = directory;
        while !is_top(at) && !shared.contains(&at) {
            let Some(above) = self.ledger.above(self.connection, at)? else { break };
            if above.has_quota {
                self.check_limits(at, change)?;
            }
            at = above.parent;
        }
        Ok(())
    }

    fn check_limits(&mut self, directory: InodeId, change: Usage) -> Result<(), Stop> {
        let Quota { names, space } = usage::quota(self.connection, directory)?;
        let usage = self.ledger.usage(self.connection, directory)?.plus(Usage::DIRECTORY);
        let after = usage.plus(change);
        if let Some(limit) = names.filter(|limit| change.names() > 0 && exceeds(after.names(), *limit)) {
            let place = self.place_of(directory)?;
            return Err(exceeded(format!(
                "the quota of {place} is {limit} files and directories, and there would be {}: delete some, or ask an \
                 administrator for more (dfs quota show {place})",
                after.names()
            )));
        }
        if let Some(limit) = space.filter(|limit| change.space > 0 && exceeds(after.space, *limit)) {
            let place = self.place_of(directory)?;
            return Err(exceeded(format!(
                "the space quota of {place} is {limit} bytes with all replicas, and {} would be needed: delete something, \
                 or ask an administrator for more (dfs quota show {place})",
                after.space
            )));
        }
        Ok(())
    }

    fn place_of(&self, directory: InodeId) -> Result<FsPath, Stop> {
        let inode = Inode::by_id(self.connection, directory)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        Ok(path_of(self.connection, &inode)?.unwrap_or_else(FsPath::root))
    }

    /// Whether all of `moved` may go from one directory to another, where something may give way.
    pub(super) fn check_quota_of_move(
        &mut self,
        moved: &Inode,
        target: &Resolved<'_>,
        source: &Resolved<'_>,
    ) -> Result<(), Stop> {
        let directory = target.existing_parent()?.id;
        if !self.counts_usage() || directory == moved.parent {
            return Ok(());
        }
        let mut change = self.weight(moved)?;
        if let Some(replaced) = target.target() {
            change = change.plus(self.weight(replaced)?.negative());
        }
        let shared: Vec<InodeId> = source.chain().map(|inode| inode.id).collect();
        self.check_quota_up_to(directory, change, &shared)
    }

    pub(super) fn set_quota(
        &mut self,
        path: &FsPath,
        names: LimitChange,
        space: LimitChange,
    ) -> Result<Outcome, Stop> {
        self.authority.check_super("changing a quota")?;
        if names == LimitChange::Set(0) {
            return Err(FsError::invalid(
                "a quota of 0 files and directories is not possible: with 1 the directory stays empty",
            )
            .into());
        }
        let found = self.resolve(path)?;
        let directory = found.existing_directory()?;
        let present = usage::quota(self.connection, directory.id)?;
        let quota = Quota { names: names.after(present.names), space: space.after(present.space) };
        let limited = quota != Quota::default();
        let id = directory.id.0 as i64;
        if limited {
            self.write(
                "INSERT OR REPLACE INTO quota (inode, names, space) VALUES (?1, ?2, ?3)",
                (id, quota.names.map(|limit| limit as i64), quota.space.map(|limit| limit as i64)),
            )?;
        } else {
            self.write("DELETE FROM quota WHERE inode = ?1", [id])?;
        }
        let extras = directory.extras.with(Extras::QUOTA, limited);
        self.set_extras(directory, extras)?;
        Ok(Outcome::Done)
    }

    /// What else there is of an inode changed.
    pub(super) fn set_extras(&mut self, inode: &Inode, extras: Extras) -> Result<(), Stop> {
        if extras == inode.extras {
            return Ok(());
        }
        self.view.forget(inode);
        self.write(
            "UPDATE inode SET extras = ?3 WHERE parent = ?1 AND name = ?2",
            (inode.parent.0 as i64, &inode.name, extras.bits()),
        )?;
        let changed = Inode { extras, ..inode.clone() };
        self.note_parent(&changed, inode.parent);
        Ok(())
    }
}

/// Whether something is no directory of the namespace.
fn is_top(id: InodeId) -> bool {
    matches!(id, ABOVE_ROOT | GARBAGE)
}

fn exceeds(taken: i64, limit: u64) -> bool {
    taken > 0 && taken as u64 > limit
}

fn exceeded(message: String) -> Stop {
    FsError::new(ErrorCode::QuotaExceeded, message).into()
}
