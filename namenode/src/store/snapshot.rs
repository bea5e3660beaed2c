//! Queries on one state of the database.

use std::cell::RefCell;
use std::sync::Arc;

use dfs_types::limits::LIST_PAGE;
use dfs_types::{AclStatus, Caller, ChunkId, Extent, FileStatus, FsPath, InodeId, NodeId, Xattr, XattrName};
use rusqlite::Connection;

use super::access::{Access, Authority};
use super::chunk::{Chunk, chunk_columns};
use super::inode::{Inode, entries, is_attached, path_of};
use super::resolve::{Resolved, resolve};
use super::stop::Stop;
use super::{ChunkRow, OpenFile, OpenOwner};
use super::{lease, pipeline, xattr};

/// A read transaction, and the inodes met in it.
pub(crate) struct Snapshot<'a> {
    pub(super) connection: &'a Connection,
    superuser: &'a str,
    met: RefCell<Vec<Arc<Inode>>>,
}

impl<'a> Snapshot<'a> {
    /// Reads through `connection`, which has a transaction open.
    pub(crate) fn new(connection: &'a Connection, superuser: &'a str) -> Self {
        Self { connection, superuser, met: RefCell::default() }
    }

    /// The inodes on the paths that were walked, for the cache.
    pub(crate) fn into_met(self) -> Vec<Arc<Inode>> {
        self.met.into_inner()
    }

    pub(super) fn authority<'c>(&'c self, caller: &'c Caller) -> Authority<'c> {
        Authority { caller: Some(caller), superuser: self.superuser }
    }

    pub(super) fn resolve<'p>(&self, caller: &Caller, path: &'p FsPath) -> Result<Resolved<'p>, Stop> {
        resolve(path, self.authority(caller), |parent, name| {
            let found = Inode::by_name(self.connection, parent, name)?.map(Arc::new);
            self.met.borrow_mut().extend(found.clone());
            Ok(found)
        })
    }

    /// One file or directory.
    pub(crate) fn stat(&self, caller: &Caller, path: &FsPath) -> Result<FileStatus, Stop> {
        Ok(self.resolve(caller, path)?.existing()?.status())
    }

    /// An ACL; see [`super::Store::acl`].
    pub(crate) fn acl(&self, caller: &Caller, path: &FsPath) -> Result<AclStatus, Stop> {
        let found = self.resolve(caller, path)?;
        let inode = found.existing()?;
        Ok(AclStatus { status: inode.status(), acl: inode.acl.as_deref().cloned() })
    }

    /// Extended attributes; see [`super::Store::xattrs`].
    pub(crate) fn xattrs(
        &self,
        caller: &Caller,
        path: &FsPath,
        names: &[XattrName],
    ) -> Result<Vec<Xattr>, Stop> {
        let authority = self.authority(caller);
        names.iter().try_for_each(|name| authority.check_xattr(name))?;
        let found = self.resolve(caller, path)?;
        let inode = found.existing()?;
        authority.check(inode, Access::Read, found.place())?;
        let mut all = xattr::all(self.connection, inode)?;
        if names.is_empty() {
            all.retain(|xattr| authority.check_xattr(&xattr.name).is_ok());
            return Ok(all);
        }
        if let Some(absent) = names.iter().find(|name| !all.iter().any(|xattr| xattr.name == **name)) {
            return Err(xattr::absent(path, absent).into());
        }
        all.retain(|xattr| names.contains(&xattr.name));
        Ok(all)
    }

    /// A page of a directory; see [`super::Store::list`].
    pub(crate) fn list(
        &self,
        caller: &Caller,
        path: &FsPath,
        start_after: &str,
        limit: usize,
    ) -> Result<(Vec<(String, FileStatus)>, bool), Stop> {
        let found = self.resolve(caller, path)?;
        let inode = found.existing()?;
        if !inode.is_directory() {
            return Ok((vec![(String::new(), inode.status())], false));
        }
        self.authority(caller).check(inode, Access::ReadExecute, found.place())?;
        let limit = limit.clamp(1, LIST_PAGE);
        let mut entries = self.entries(inode.id, start_after, limit + 1)?;
        let more = entries.len() > limit;
        entries.truncate(limit);
        let page = entries.into_iter().map(|entry| (entry.name.clone(), entry.status())).collect();
        Ok((page, more))
    }

    /// Entries of a directory in the order of their names' bytes.
    pub(super) fn entries(
        &self,
        directory: InodeId,
        start_after: &str,
        limit: usize,
    ) -> Result<Vec<Inode>, Stop> {
        Ok(entries(self.connection, directory, start_after, limit)?)
    }

    /// A file and its chunks that overlap `[offset, offset + length)`.
    pub(crate) fn file(
        &self,
        caller: &Caller,
        path: &FsPath,
        offset: u64,
        length: u64,
    ) -> Result<(FileStatus, Vec<ChunkRow>), Stop> {
        let found = self.resolve(caller, path)?;
        let file = found.existing_file()?;
        self.authority(caller).check(file, Access::Read, found.place())?;
        Ok((file.status(), self.chunks_between(file, offset, offset.saturating_add(length))?))
    }

    /// The file in the namespace that `holder` has open.
    pub(crate) fn held(&self, id: InodeId, holder: &str) -> Result<Inode, Stop> {
        let file = Inode::by_id(self.connection, id)?.ok_or_else(|| lease::gone(id))?;
        if !is_attached(self.connection, &file)? {
            return Err(lease::gone(id).into());
        }
        lease::check(id, holder, lease::holder(self.connection, id)?.as_deref())?;
        Ok(file)
    }

    /// The file that `holder` writes, with the chunks that are his. `appends`: the cluster's level has them.
    pub(crate) fn open_file(&self, id: InodeId, holder: &str, appends: bool) -> Result<OpenFile, Stop> {
        let file = self.held(id, holder)?;
        let inherited = if appends { lease::inherited(self.connection, id)? } else { None };
        let chunks = self.chunks_from(id, inherited.unwrap_or(0), u64::MAX)?;
        Ok(OpenFile { status: file.status(), chunks })
    }

    /// The last chunks of a file, at most two.
    pub(crate) fn recent_chunks(&self, id: InodeId) -> Result<Vec<ChunkId>, Stop> {
        Ok(Chunk::last_two(self.connection, id)?.into_iter().map(|chunk| chunk.id).collect())
    }

    /// Who writes a file; see [`super::Store::holder`].
    pub(crate) fn holder(&self, id: InodeId) -> Result<Option<String>, Stop> {
        Ok(lease::holder(self.connection, id)?)
    }

    /// The last chunk of a file and how many it has; see [`super::Store::end_of`].
    pub(crate) fn end_of(&self, id: InodeId) -> Result<Option<(Extent, u64)>, Stop> {
        let last = Chunk::last(self.connection, id)?;
        Ok(last.map(|Chunk { id: chunk, generation, index, length, readable, .. }| {
            (Extent { chunk, generation, length: length.unwrap_or(readable) }, index + 1)
        }))
    }

    /// The nodes that a file's last chunks are written to, see [`super::Store::pipelines`].
    pub(crate) fn pipelines(&self, id: InodeId) -> Result<Vec<(ChunkId, Vec<NodeId>)>, Stop> {
        Ok(pipeline::of_file(self.connection, id)?)
    }

    /// Where a file is that is open and was written to one of these nodes; see [`super::Store::open_on`].
    pub(crate) fn open_on(&self, nodes: &[NodeId]) -> Result<Option<FsPath>, Stop> {
        match pipeline::written_to(self.connection, nodes)? {
            Some(inode) => self.path_of(inode),
            None => Ok(None),
        }
    }

    /// The open files of these chunks, see [`super::Store::open_owners`].
    pub(crate) fn open_owners(&self, chunks: &[ChunkId]) -> Result<Vec<OpenOwner>, Stop> {
        let mut owners = Vec::with_capacity(chunks.len());
        for chunk in chunks.iter().copied() {
            let Some((inode, _)) = Chunk::owner(self.connection, chunk)? else { continue };
            let held_since = lease::since(self.connection, inode)?;
            if let (Some(path), Some(held_since)) = (self.path_of(inode)?, held_since) {
                owners.push(OpenOwner { chunk, path, held_since });
            }
        }
        Ok(owners)
    }

    /// Where an inode is.
    pub(crate) fn path_of(&self, id: InodeId) -> Result<Option<FsPath>, Stop> {
        match Inode::by_id(self.connection, id)? {
            Some(inode) => Ok(path_of(self.connection, &inode)?),
            None => Ok(None),
        }
    }

    /// All chunks of a file.
    pub(super) fn chunks(&self, file: InodeId) -> Result<Vec<ChunkRow>, Stop> {
        self.chunks_from(file, 0, u64::MAX)
    }

    fn chunks_between(&self, file: &Inode, begin: u64, end: u64) -> Result<Vec<ChunkRow>, Stop> {
        if begin >= end {
            return Ok(Vec::new());
        }
        let Some(last) = Chunk::last(self.connection, file.id)? else {
            return Ok(Vec::new());
        };
        // No chunk is longer than a full one, so the first one wanted is not before this; it is this one if all
        // before are full, else it is found by halving.
        let mut low = (begin / file.chunk_size.max(1)).min(last.index);
        let mut high = last.index;
        while low < high {
            let middle = low + (high - low) / 2;
            match Chunk::at(self.connection, file.id, middle)? {
                Some(chunk) if chunk.length.is_some() && chunk.end() <= begin => low = middle + 1,
                Some(_) | None => high = middle,
            }
        }
        let mut chunks = self.chunks_from(file.id, low, end)?;
        // Only of the last chunk the end may be before `begin`.
        chunks.retain(|chunk| chunk.length.is_none_or(|length| chunk.offset + length > begin));
        Ok(chunks)
    }

    /// Chunks from a number on that begin before byte `end`.
    fn chunks_from(&self, file: InodeId, first: u64, end: u64) -> Result<Vec<ChunkRow>, Stop> {
        let end = i64::try_from(end).unwrap_or(i64::MAX);
        let rows = self
            .connection
            .prepare_cached(concat!(
                "SELECT ",
                chunk_columns!(),
                " WHERE e.inode = ?1 AND e.idx >= ?2 ORDER BY e.idx"
            ))?
            .query_map((file.0 as i64, first as i64), Chunk::from_row)?
            .take_while(|chunk| chunk.as_ref().map_or(true, |chunk| (chunk.start as i64) < end))
            .map(|chunk| chunk.map(ChunkRow::from))
            .collect::<rusqlite::Result<_>>()?;
        Ok(rows)
    }
}
