//! Writes on the tree that several edits share. Nothing here refuses anything.

use std::sync::Arc;

use dfs_namenode_core::Event;
use dfs_types::{ChunkId, CreateMode, FileKind, InodeId, Layout, Millis};

use super::attributes::stored_acl;
use super::{Step, reach};
use crate::store::column::number;
use crate::store::edit::{Change, PIPELINES};
use crate::store::inode::{Extras, GARBAGE, Inode, kind_number};
use crate::store::stop::Stop;
use crate::store::usage::Usage;

/// Most chunks of a file removed together with it; a larger file waits to be reaped, so that one edit never makes
/// all others wait for long.
pub(super) const CHUNKS_AT_ONCE: u64 = 256;

impl Step<'_, '_> {
    /// The row of a new inode that only lacks what is special to its kind. A default ACL of its directory takes the place of
    /// the umask.
    pub(super) fn draft(&mut self, directory: &Inode, name: &str, kind: FileKind, mode: CreateMode) -> Inode {
        let inherited = directory
            .acl
            .as_ref()
            .and_then(|acl| acl.inherited(mode.unmasked(), kind == FileKind::Directory));
        let (mode, acl) = inherited.unwrap_or((mode.mode, None));
        Inode {
            parent: directory.id,
            name: name.to_owned(),
            id: self.take_inode(),
            kind,
            owner: self.authority.user().to_owned(),
            group: directory.group.clone(),
            mode,
            mtime: self.now,
            atime: Millis::default(),
            replication: 0,
            chunk_size: 0,
            length: 0,
            children: 0,
            open: false,
            below: 0,
            extras: Extras::default(),
            acl: acl.map(Arc::new),
        }
    }

    pub(super) fn insert(&mut self, inode: &Inode) -> Result<(), Stop> {
        self.insert_row(inode)?;
        match inode.kind {
            FileKind::File => self.charge(inode.parent, Usage { files: 1, ..Usage::default() }),
            FileKind::Directory => {
                self.begin_usage(inode, 0);
                self.charge(inode.parent, Usage::DIRECTORY)
            }
        }
    }

    /// As [`Step::insert`]; what it takes is charged by the caller.
    pub(super) fn insert_row(&mut self, inode: &Inode) -> Result<(), Stop> {
        let Inode {
            parent,
            name,
            id,
            kind,
            owner,
            group,
            mode,
            mtime,
            atime,
            replication,
            chunk_size,
            length,
            children,
            open,
            below,
            // Nothing new has any.
            extras: _,
            acl,
        } = inode;
        self.write(
            "INSERT INTO inode (parent, name, id, kind, owner, grp, mode, mtime, atime, replication, chunk_size, length, \
             children, open, below) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
            (
                parent.0 as i64,
                name,
                id.0 as i64,
                kind_number(*kind),
                owner,
                group,
                mode.bits(),
                mtime.0 as i64,
                atime.0 as i64,
                replication,
                *chunk_size as i64,
                *length as i64,
                *children as i64,
                open,
                *below as i64,
            ),
        )?;
        if let Some(acl) = acl {
            // Apart, as not every level has the column.
            self.write(
                "UPDATE inode SET acl = ?3 WHERE parent = ?1 AND name = ?2",
                (parent.0 as i64, name, stored_acl(acl)?),
            )?;
        }
        match kind {
            FileKind::File => self.counters.files += 1,
            FileKind::Directory => self.counters.directories += 1,
        }
        self.view.put(inode.clone());
        Ok(())
    }

    /// Makes the directories `names`, each in the one before, the first in `directory`; answers the last one, below which
    /// a path that is longer by `further` bytes is about to be made.
    pub(super) fn make_directories(
        &mut self,
        directory: &Inode,
        names: &[&str],
        further: u64,
        mode: CreateMode,
    ) -> Result<Inode, Stop> {
        let mut at = directory.clone();
        let mut below = names.iter().copied().map(reach::longer_by).sum::<u64>() + further;
        for (made_so_far, name) in names.iter().copied().enumerate() {
            below -= reach::longer_by(name);
            let made = Inode { below, ..self.draft(&at, name, FileKind::Directory, mode) };
            self.insert_row(&made)?;
            self.begin_usage(&made, (names.len() - 1 - made_so_far) as i64);
            self.count_entries(&at, 1)?;
            at = made;
        }
        // Once for all of them: their own sums are right already.
        self.charge(directory.id, Usage { directories: names.len() as i64, ..Usage::default() })?;
        Ok(at)
    }

    /// A directory gained (or lost) entries.
    pub(super) fn count_entries(&mut self, directory: &Inode, by: i64) -> Result<(), Stop> {
        // Within an edit it may have been counted before.
        let now = self.view.changed(directory).map_or(directory, Arc::as_ref);
        let children = now.children.saturating_add_signed(by);
        let counted = Inode { children, mtime: self.now, ..now.clone() };
        self.write(
            "UPDATE inode SET children = ?3, mtime = ?4 WHERE parent = ?1 AND name = ?2",
            (counted.parent.0 as i64, &counted.name, children as i64, self.now.0 as i64),
        )?;
        self.view.put(counted);
        Ok(())
    }

    /// Takes an entry out of the namespace; the directory's count is the caller's business. A file's lease ends at
    /// once; a directory with entries and a file with many chunks wait to be reaped.
    pub(super) fn remove_entry(&mut self, inode: &Inode) -> Result<(), Stop> {
        self.view.forget(inode);
        let weight = self.weight(inode)?;
        self.charge(inode.parent, weight.negative())?;
        let at_once = match inode.kind {
            FileKind::Directory => inode.children == 0,
            FileKind::File => {
                self.release_lease(inode)?;
                self.remove_chunks(inode.id, CHUNKS_AT_ONCE)?
            }
        };
        if at_once {
            return self.remove_row(inode);
        }
        self.detach(inode)?;
        self.emit(Change::Garbage);
        Ok(())
    }

    /// Takes an open file out of the namespace, wherever it is.
    pub(super) fn remove_open(&mut self, file: &Inode) -> Result<(), Stop> {
        let directory =
            Inode::by_id(self.connection, file.parent)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        self.remove_entry(file)?;
        self.count_entries(&directory, -1)
    }

    /// Moves an inode with all below it under the parent of deleted trees, in constant time.
    pub(super) fn detach(&mut self, inode: &Inode) -> Result<(), Stop> {
        self.write(
            "UPDATE inode SET parent = ?3, name = ?4 WHERE parent = ?1 AND name = ?2",
            (inode.parent.0 as i64, &inode.name, GARBAGE.0 as i64, inode.id.to_string()),
        )?;
        self.note_parent(inode, GARBAGE);
        self.counters.garbage += 1;
        Ok(())
    }

    /// Removes an inode that has neither entries nor chunks nor a lease.
    pub(super) fn remove_row(&mut self, inode: &Inode) -> Result<(), Stop> {
        self.write(
            "DELETE FROM inode WHERE parent = ?1 AND name = ?2",
            (inode.parent.0 as i64, &inode.name),
        )?;
        self.remove_extras(inode)?;
        match inode.kind {
            FileKind::File => self.counters.files -= 1,
            FileKind::Directory => {
                self.counters.directories -= 1;
                self.end_usage(inode)?;
            }
        }
        if inode.parent == GARBAGE {
            self.counters.garbage -= 1;
        }
        Ok(())
    }

    /// Removes at most `limit` of a file's chunks, the last ones first; whether none is left.
    pub(super) fn remove_chunks(&mut self, inode: InodeId, limit: u64) -> Result<bool, Stop> {
        let last: Vec<(u64, ChunkId)> = self
            .connection
            .prepare_cached("SELECT idx, chunk FROM extent WHERE inode = ?1 ORDER BY idx DESC")?
            .query_map([inode.0 as i64], |row| Ok((number(row, 0)?, ChunkId(number(row, 1)?))))?
            .take(limit as usize)
            .collect::<rusqlite::Result<_>>()?;
        let Some(&(lowest, _)) = last.last() else {
            return Ok(true);
        };
        self.write("DELETE FROM extent WHERE inode = ?1 AND idx >= ?2", (inode.0 as i64, lowest as i64))?;
        for (_, chunk) in last {
            self.release_chunk(chunk)?;
        }
        Ok(lowest == 0)
    }

    /// An extent of the chunk is gone; with the last one the chunk goes.
    pub(super) fn release_chunk(&mut self, chunk: ChunkId) -> Result<(), Stop> {
        if self.write("DELETE FROM chunk WHERE id = ?1 AND refs = 1", [chunk.0 as i64])? == 1 {
            self.emit(Event::ChunkRemoved { chunk });
            return Ok(());
        }
        self.write("UPDATE chunk SET refs = refs - 1 WHERE id = ?1", [chunk.0 as i64])?;
        self.fit_replicas(chunk)
    }

    /// The chunk is to have as many replicas as that of its files wants that wants most.
    pub(super) fn fit_replicas(&mut self, chunk: ChunkId) -> Result<(), Stop> {
        let wanted =
            "SELECT max(i.replication) FROM extent e CROSS JOIN inode i ON i.id = e.inode WHERE e.chunk = ?1";
        let replicas: u32 =
            self.connection.prepare_cached(wanted)?.query_row([chunk.0 as i64], |row| row.get(0))?;
        let changed = self.write(
            "UPDATE chunk SET replicas = ?2 WHERE id = ?1 AND replicas != ?2",
            (chunk.0 as i64, replicas),
        )?;
        if changed == 1 {
            self.emit(Event::LayoutChanged { chunk, layout: Layout::Replicated { replicas } });
        }
        Ok(())
    }

    /// Ends the lease of a file that goes away or is closed, if it has one.
    pub(super) fn release_lease(&mut self, inode: &Inode) -> Result<(), Stop> {
        // The row of a large file that is reaped in parts still says `open` after its lease is gone.
        if inode.open && self.write("DELETE FROM lease WHERE inode = ?1", [inode.id.0 as i64])? == 1 {
            self.counters.open_files -= 1;
            if *self.level >= PIPELINES {
                self.write("DELETE FROM pipeline WHERE inode = ?1", [inode.id.0 as i64])?;
            }
            self.emit(Event::LeaseReleased { inode: inode.id });
        }
        Ok(())
    }
}
