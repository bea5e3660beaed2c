//! Edits of a writer who holds a file's lease.

use dfs_namenode_core::Event;
use dfs_types::limits::MAX_CHUNKS_PER_FILE;
use dfs_types::{ChunkId, ErrorCode, FsError, FsResult, GenStamp, InodeId, Layout, NodeId};

use super::Step;
use super::usage::charged_of;
use crate::store::chunk::Chunk;
use crate::store::edit::{APPENDS, Extent, Outcome, PIPELINES, Publication};
use crate::store::inode::{Inode, is_attached, path_of};
use crate::store::stop::Stop;
use crate::store::usage::Usage;
use crate::store::{lease, pipeline};

/// Most nodes noted of one chunk.
const MAX_KNOWN: usize = 64;

pub(super) fn stale(message: String) -> FsError {
    FsError::new(ErrorCode::StaleChunk, message)
}

/// Finds what the writer says of the file's last chunk: nothing if there is none, and otherwise what may become its final
/// length.
fn finished(file: &Inode, last: Option<Chunk>, said: Option<Extent>) -> FsResult<Option<(Chunk, Extent)>> {
    match (last, said) {
        (None, None) => Ok(None),
        (Some(last), Some(said)) if said.chunk == last.id => {
            check_final(file, &last, said)?;
            Ok(Some((last, said)))
        }
        (last, said) => Err(not_the_last(last.as_ref(), said)),
    }
}

/// Whether `extent` may become the final length of `chunk`, which is the last of `file`.
fn check_final(file: &Inode, chunk: &Chunk, extent: Extent) -> FsResult<()> {
    if extent.generation != chunk.generation {
        return Err(stale(format!(
            "chunk {} has generation {}, not {}",
            chunk.id, chunk.generation, extent.generation
        )));
    }
    if let Some(length) = chunk.length
        && length != extent.length
    {
        return Err(stale(format!("chunk {} has {length} bytes, not {}", chunk.id, extent.length)));
    }
    if extent.length == 0 || extent.length > file.chunk_size {
        return Err(FsError::invalid(format!(
            "chunk {} can't have {} bytes: abandon an empty chunk, and fill others up to {} bytes",
            chunk.id, extent.length, file.chunk_size
        )));
    }
    if extent.length < chunk.readable {
        return Err(stale(format!(
            "readers count on {} bytes of chunk {}, it can't end after {}",
            chunk.readable, chunk.id, extent.length
        )));
    }
    Ok(())
}

impl Step<'_, '_> {
    /// Who holds a file's lease.
    pub(super) fn holder(&self, inode: InodeId) -> Result<Option<String>, Stop> {
        Ok(lease::holder(self.connection, inode)?)
    }

    /// An inode that is in the namespace. The way up is only walked while there are deleted trees at all.
    pub(super) fn attached(&self, id: InodeId) -> Result<Inode, Stop> {
        let inode = Inode::by_id(self.connection, id)?.ok_or_else(|| lease::gone(id))?;
        if self.counters.garbage > 0 && !is_attached(self.connection, &inode)? {
            return Err(lease::gone(id).into());
        }
        Ok(inode)
    }

    /// The file that `holder` has open.
    fn held(&self, id: InodeId, holder: &str) -> Result<Inode, Stop> {
        let inode = self.attached(id)?;
        lease::check(id, holder, self.holder(id)?.as_deref())?;
        Ok(inode)
    }

    /// The extents of an open file that were there before its writer came: `None` if he made it.
    pub(super) fn inherited(&self, file: InodeId) -> Result<Option<u64>, Stop> {
        if *self.level < APPENDS { Ok(None) } else { Ok(lease::inherited(self.connection, file)?) }
    }

    /// The last two chunks of an open file, the last one first, as far as they are its writer's: the one being written and
    /// the one whose replicas may still be being finished.
    pub(super) fn own_last_two(&self, file: InodeId) -> Result<Vec<Chunk>, Stop> {
        let first = self.inherited(file)?.unwrap_or(0);
        let mut recent = Chunk::last_two(self.connection, file)?;
        recent.retain(|chunk| chunk.index >= first);
        Ok(recent)
    }

    /// One of the file's last two chunks, unless it is inherited.
    fn recent(&self, file: &Inode, chunk: ChunkId) -> Result<Chunk, Stop> {
        let recent = self.own_last_two(file.id)?;
        recent.into_iter().find(|candidate| candidate.id == chunk).ok_or_else(|| {
            stale(format!("chunk {chunk} is not one of the last two chunks of file {}", file.id)).into()
        })
    }

    /// Fixes the length of the file's last chunk, which was checked with [`check_final`].
    pub(super) fn fix_length(&mut self, file: &Inode, chunk: &Chunk, extent: Extent) -> Result<(), Stop> {
        if chunk.length.is_some() && chunk.generation == extent.generation {
            return Ok(());
        }
        self.charge_bytes(file, 0, extent.length as i64 - charged_of(file, chunk) as i64)?;
        self.write(
            "UPDATE chunk SET generation = ?2, length = ?3, readable = ?3, recovery = NULL WHERE id = ?1",
            (chunk.id.0 as i64, extent.generation.0 as i64, extent.length as i64),
        )?;
        self.emit(Event::ChunkCommitted {
            chunk: chunk.id,
            generation: extent.generation,
            length: extent.length,
        });
        Ok(())
    }

    pub(super) fn set_length(&mut self, file: &Inode, length: u64) -> Result<(), Stop> {
        if length == file.length {
            return Ok(());
        }
        self.charge_bytes(file, length as i64 - file.length as i64, 0)?;
        self.view.forget(file);
        self.write(
            "UPDATE inode SET length = ?3 WHERE parent = ?1 AND name = ?2",
            (file.parent.0 as i64, &file.name, length as i64),
        )?;
        Ok(())
    }

    /// Ends the lease and fixes the file's length.
    pub(super) fn close(&mut self, file: &Inode, length: u64) -> Result<(), Stop> {
        self.charge_bytes(file, length as i64 - file.length as i64, 0)?;
        self.view.forget(file);
        self.write(
            "UPDATE inode SET length = ?3, mtime = ?4, open = 0 WHERE parent = ?1 AND name = ?2",
            (file.parent.0 as i64, &file.name, length as i64, self.now.0 as i64),
        )?;
        self.release_lease(file)
    }

    pub(super) fn add_chunk(
        &mut self,
        id: InodeId,
        holder: &str,
        previous: Option<Extent>,
        pipeline: &[NodeId],
    ) -> Result<Outcome, Stop> {
        let file = self.held(id, holder)?;
        let last = finished(&file, Chunk::last(self.connection, id)?, previous)?;
        let (index, start) =
            last.as_ref().map_or((0, 0), |(last, previous)| (last.index + 1, last.start + previous.length));
        if index >= MAX_CHUNKS_PER_FILE {
            return Err(FsError::invalid(format!(
                "file {id} has {MAX_CHUNKS_PER_FILE} chunks, which is the most: use a larger chunk size"
            ))
            .into());
        }
        let fixed =
            last.as_ref().map_or(0, |(last, said)| said.length as i64 - charged_of(&file, last) as i64);
        let space = fixed.wrapping_add(file.chunk_size as i64).wrapping_mul(i64::from(file.replication));
        self.check_quota(file.parent, Usage { space, ..Usage::default() })?;

        if let Some((last, previous)) = last {
            self.fix_length(&file, &last, previous)?;
            self.forget_pipelines_before(id, last.id)?;
        }
        self.set_length(&file, start)?;
        self.charge_bytes(&file, 0, file.chunk_size as i64)?;
        let (chunk, generation) = (self.take_chunk(), self.take_generation());
        let layout = Layout::Replicated { replicas: file.replication };
        let (number, replicas) = layout.to_stored();
        self.write(
            "INSERT INTO chunk (id, generation, length, readable, recovery, refs, layout, replicas) \
             VALUES (?1, ?2, NULL, 0, NULL, 1, ?3, ?4)",
            (chunk.0 as i64, generation.0 as i64, number, replicas),
        )?;
        self.write(
            "INSERT INTO extent (inode, idx, chunk, start, at, length) VALUES (?1, ?2, ?3, ?4, 0, NULL)",
            (id.0 as i64, index as i64, chunk.0 as i64, start as i64),
        )?;
        self.set_pipeline(id, chunk, pipeline)?;
        self.emit(Event::ChunkAdded { chunk, generation, layout });
        Ok(Outcome::ChunkAdded { chunk, generation, index, offset: start })
    }

    pub(super) fn abandon_chunk(
        &mut self,
        id: InodeId,
        holder: &str,
        chunk: ChunkId,
    ) -> Result<Outcome, Stop> {
        let file = self.held(id, holder)?;
        let last = Chunk::last(self.connection, id)?.filter(|last| last.id == chunk).ok_or_else(|| {
            stale(format!("chunk {chunk} is not the last chunk of file {id}: only that can be abandoned"))
        })?;
        if last.length.is_some() || last.readable > 0 {
            return Err(stale(format!(
                "chunk {chunk} has {} bytes that readers count on: it can't be abandoned",
                last.readable
            ))
            .into());
        }
        self.remove_last(&file, &last)?;
        Ok(Outcome::Done)
    }

    /// Removes a file's last chunk.
    pub(super) fn remove_last(&mut self, file: &Inode, last: &Chunk) -> Result<(), Stop> {
        self.charge_bytes(file, 0, -(charged_of(file, last) as i64))?;
        self.write(
            "DELETE FROM extent WHERE inode = ?1 AND idx = ?2",
            (file.id.0 as i64, last.index as i64),
        )?;
        self.set_pipeline(file.id, last.id, &[])?;
        self.release_chunk(last.id)
    }

    /// Notes the nodes that a chunk is written to; none are known below the level that has them.
    fn set_pipeline(&mut self, file: InodeId, chunk: ChunkId, nodes: &[NodeId]) -> Result<(), Stop> {
        if *self.level < PIPELINES {
            return Ok(());
        }
        let (file, chunk) = (file.0 as i64, chunk.0 as i64);
        if nodes.is_empty() {
            self.write("DELETE FROM pipeline WHERE inode = ?1 AND chunk = ?2", (file, chunk))?;
        } else {
            self.write(
                "INSERT OR REPLACE INTO pipeline (inode, chunk, nodes) VALUES (?1, ?2, ?3)",
                (file, chunk, pipeline::packed(nodes)),
            )?;
        }
        Ok(())
    }

    /// Notes further nodes that a chunk is written to. Those that its writer gave up stay: they may have all that was
    /// acknowledged so far. Of one begun below the level that has pipelines they are not known, and so none are noted.
    fn add_to_pipeline(&mut self, file: InodeId, chunk: ChunkId, nodes: &[NodeId]) -> Result<(), Stop> {
        if *self.level < PIPELINES {
            return Ok(());
        }
        let Some(mut known) = pipeline::of_chunk(self.connection, file, chunk)? else { return Ok(()) };
        let more: Vec<NodeId> = nodes.iter().filter(|node| !known.contains(node)).copied().collect();
        if more.is_empty() {
            return Ok(());
        }
        known.extend(more);
        // That so many have answered will hardly ever be proven.
        let known = if known.len() > MAX_KNOWN { &[][..] } else { &known };
        self.set_pipeline(file, chunk, known)
    }

    /// The chunks of a file before this one are settled: who wrote them does not matter any more. Ids of a file's chunks
    /// rise.
    fn forget_pipelines_before(&mut self, file: InodeId, chunk: ChunkId) -> Result<(), Stop> {
        if *self.level >= PIPELINES {
            let numbers = (file.0 as i64, chunk.0 as i64);
            self.write("DELETE FROM pipeline WHERE inode = ?1 AND chunk < ?2", numbers)?;
        }
        Ok(())
    }

    pub(super) fn commit_length(
        &mut self,
        id: InodeId,
        holder: &str,
        extent: Extent,
    ) -> Result<Outcome, Stop> {
        let file = self.held(id, holder)?;
        let chunk = self.recent(&file, extent.chunk)?;
        if extent.generation != chunk.generation {
            return Err(stale(format!(
                "chunk {} has generation {}, not {}",
                chunk.id, chunk.generation, extent.generation
            ))
            .into());
        }
        check_acknowledged(&file, &chunk, extent.length)?;
        if extent.length > chunk.readable {
            self.write(
                "UPDATE chunk SET readable = ?2 WHERE id = ?1",
                (chunk.id.0 as i64, extent.length as i64),
            )?;
            self.set_length(&file, chunk.start + extent.length)?;
        }
        Ok(Outcome::Done)
    }

    pub(super) fn commit_chunk(
        &mut self,
        id: InodeId,
        holder: &str,
        extent: Extent,
    ) -> Result<Outcome, Stop> {
        let file = self.held(id, holder)?;
        if let Some((last, extent)) = finished(&file, Chunk::last(self.connection, id)?, Some(extent))? {
            self.fix_length(&file, &last, extent)?;
            self.set_length(&file, last.start + extent.length)?;
        }
        Ok(Outcome::Done)
    }

    pub(super) fn complete(
        &mut self,
        id: InodeId,
        holder: &str,
        extent: Option<Extent>,
        publish: Option<&Publication>,
    ) -> Result<Outcome, Stop> {
        let file = self.attached(id)?;
        let last = Chunk::last(self.connection, id)?;
        let inherited = self.inherited(id)?;
        if publish.is_none() && self.is_closed_already(&file, last.as_ref(), inherited, extent)? {
            return Ok(Outcome::Status(file.status()));
        }
        lease::check(id, holder, self.holder(id)?.as_deref())?;
        // Nothing was written behind what was there.
        let unchanged = last.as_ref().filter(|last| inherited.is_some_and(|count| last.index < count));
        let (last, length) = if let (Some(unchanged), None) = (unchanged, extent) {
            (None, unchanged.end())
        } else {
            let last = finished(&file, last, extent)?;
            let length = last.as_ref().map_or(0, |(last, extent)| last.start + extent.length);
            (last, length)
        };
        let Some(publication) = publish else {
            self.finish_file(&file, last, length)?;
            return Ok(Outcome::Status(self.status(id)?));
        };

        let from = path_of(self.connection, &file)?.ok_or_else(|| lease::gone(id))?;
        let planned = self.plan_move(&from, &publication.to, publication.overwrite)?;
        self.finish_file(&file, last, length)?;
        let mut closed = Inode { length, mtime: self.now, open: false, ..file };
        if let Some(planned) = planned {
            closed = self.move_entry(&closed, &planned)?;
        }
        let Publication { to: _, overwrite: _, mtime, atime } = publication;
        if mtime.is_some() || atime.is_some() {
            self.write_times(&closed, mtime.unwrap_or(closed.mtime), atime.unwrap_or(closed.atime))?;
        }
        Ok(Outcome::Status(self.status(id)?))
    }

    /// Whether a writer closes what he, or a recovery, has closed already: the file ends as he says, or did so before it was
    /// appended to.
    fn is_closed_already(
        &self,
        file: &Inode,
        last: Option<&Chunk>,
        inherited: Option<u64>,
        said: Option<Extent>,
    ) -> Result<bool, Stop> {
        if !file.open && !file.is_directory() && is_final(last, said) {
            return Ok(true);
        }
        // Before there were appends, only a closed file's last chunk could be meant.
        let first_own = if file.open { inherited.unwrap_or(0) } else { u64::MAX };
        let Some(said) = said.filter(|_| *self.level >= APPENDS && first_own > 0) else { return Ok(false) };
        let chunk = Chunk::of(self.connection, file.id, said.chunk)?.filter(|chunk| chunk.index < first_own);
        Ok(chunk.is_some_and(|chunk| chunk.generation == said.generation && chunk.whole == Some(said.length)))
    }

    /// Fixes the length of the last chunk and closes the file.
    fn finish_file(&mut self, file: &Inode, last: Option<(Chunk, Extent)>, length: u64) -> Result<(), Stop> {
        if let Some((last, extent)) = last {
            self.fix_length(file, &last, extent)?;
        }
        self.close(file, length)
    }

    pub(super) fn discard(&mut self, id: InodeId, holder: &str) -> Result<Outcome, Stop> {
        let file = self.held(id, holder)?;
        if self.inherited(id)?.is_some() {
            return Err(FsError::invalid(format!(
                "file {id} was there before it was appended to: close it, or delete it by its path"
            ))
            .into());
        }
        self.remove_open(&file)?;
        Ok(Outcome::Done)
    }

    pub(super) fn new_generation(
        &mut self,
        id: InodeId,
        holder: &str,
        chunk: ChunkId,
    ) -> Result<Outcome, Stop> {
        let file = self.held(id, holder)?;
        self.recent(&file, chunk)?;
        Ok(Outcome::Generation(self.take_generation()))
    }

    pub(super) fn update_pipeline(
        &mut self,
        id: InodeId,
        holder: &str,
        extent: Extent,
        pipeline: &[NodeId],
    ) -> Result<Outcome, Stop> {
        let file = self.held(id, holder)?;
        let chunk = self.recent(&file, extent.chunk)?;
        if extent.generation <= chunk.generation {
            return Err(stale(format!(
                "chunk {} has generation {} already, {} is not newer: take a new one",
                chunk.id, chunk.generation, extent.generation
            ))
            .into());
        }
        if extent.generation >= GenStamp(self.counters.next_generation) {
            return Err(FsError::invalid(format!(
                "generation {} was never given out: take a new one",
                extent.generation
            ))
            .into());
        }
        check_acknowledged(&file, &chunk, extent.length)?;
        // A final length stays; its replicas are only finished under the new generation.
        if chunk.length.is_none() && extent.length < chunk.readable {
            return Err(stale(format!(
                "readers count on {} bytes of chunk {}, only {} are acknowledged",
                chunk.readable, chunk.id, extent.length
            ))
            .into());
        }

        let readable = chunk.readable.max(extent.length);
        self.write(
            "UPDATE chunk SET generation = ?2, readable = ?3 WHERE id = ?1",
            (chunk.id.0 as i64, extent.generation.0 as i64, readable as i64),
        )?;
        self.add_to_pipeline(id, chunk.id, pipeline)?;
        self.emit(Event::GenerationChanged { chunk: chunk.id, generation: extent.generation });
        match chunk.length {
            None => self.set_length(&file, chunk.start + readable)?,
            Some(length) => {
                self.emit(Event::ChunkCommitted { chunk: chunk.id, generation: extent.generation, length });
            }
        }
        Ok(Outcome::Done)
    }
}

/// Whether `length` bytes of a chunk can be acknowledged.
fn check_acknowledged(file: &Inode, chunk: &Chunk, length: u64) -> FsResult<()> {
    match chunk.length {
        Some(known) if length > known => {
            Err(stale(format!("chunk {} ends after {known} bytes, it has no {length}", chunk.id)))
        }
        None if length > file.chunk_size => Err(FsError::invalid(format!(
            "chunk {} can't have {length} bytes: the file's chunks have up to {}",
            chunk.id, file.chunk_size
        ))),
        Some(_) | None => Ok(()),
    }
}

/// Whether a closed file ends as the writer says.
fn is_final(last: Option<&Chunk>, extent: Option<Extent>) -> bool {
    match (last, extent) {
        (None, None) => true,
        (Some(last), Some(extent)) => {
            extent.chunk == last.id
                && extent.generation == last.generation
                && Some(extent.length) == last.length
        }
        (None, Some(_)) | (Some(_), None) => false,
    }
}

/// The error that the writer does not know the file's last chunk.
fn not_the_last(last: Option<&Chunk>, said: Option<Extent>) -> FsError {
    let name = |chunk: Option<ChunkId>| chunk.map_or_else(|| "none".to_owned(), |chunk| chunk.to_string());
    stale(format!(
        "the file's last chunk is {}, the writer says {}",
        name(last.map(|last| last.id)),
        name(said.map(|said| said.chunk))
    ))
}
