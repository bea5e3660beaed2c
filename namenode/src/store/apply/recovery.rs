//! Edits that close a file whose writer is gone.

use dfs_namenode_core::Event;
use dfs_types::{ChunkId, ErrorCode, FsError, GenStamp, InodeId};

use super::Step;
use super::chunks::stale;
use crate::store::access::{Access, Place};
use crate::store::chunk::Chunk;
use crate::store::edit::{Extent, Outcome, RECOVERY_HOLDER};
use crate::store::inode::{Inode, path_of};
use crate::store::lease;
use crate::store::stop::Stop;

impl Step<'_, '_> {
    pub(super) fn begin_recovery(&mut self, id: InodeId, holder: Option<&str>) -> Result<Outcome, Stop> {
        let file = self.attached(id)?;
        self.check_writing(&file)?;
        if let Some(holder) = holder.filter(|_| file.open) {
            lease::check(id, holder, self.holder(id)?.as_deref())?;
        }
        if !file.open {
            return Ok(Outcome::Recovery { closed: true, chunks: Vec::new() });
        }
        if lease::is_temporary(self.connection, id)? {
            // Nobody was promised anything of it, and nobody would ever finish it.
            self.remove_open(&file)?;
            return Ok(Outcome::Recovery { closed: true, chunks: Vec::new() });
        }
        // A writer goes on to the next chunk before the nodes have finalized the one before, but no further.
        let mut recent = self.own_last_two(id)?;
        recent.reverse();
        if recent.is_empty() {
            let length = Chunk::last(self.connection, id)?.map_or(0, |last| last.end());
            self.close(&file, length)?;
            return Ok(Outcome::Recovery { closed: true, chunks: Vec::new() });
        }
        let mut chunks = Vec::with_capacity(recent.len());
        for chunk in recent {
            // Each attempt has its own stamp; what an older attempt may still report is refused.
            let stamp = self.take_generation();
            self.write("UPDATE chunk SET recovery = ?2 WHERE id = ?1", (chunk.id.0 as i64, stamp.0 as i64))?;
            chunks.push(Extent { chunk: chunk.id, generation: stamp, length: chunk.readable });
        }
        if self.holder(id)?.as_deref() != Some(RECOVERY_HOLDER) {
            // A recovery that is begun anew goes on since the first time.
            self.write(
                "UPDATE lease SET holder = ?2, since = ?3 WHERE inode = ?1",
                (id.0 as i64, RECOVERY_HOLDER, self.now.0 as i64),
            )?;
            self.emit(Event::LeaseTaken { inode: id, holder: RECOVERY_HOLDER.to_owned() });
        }
        Ok(Outcome::Recovery { closed: false, chunks })
    }

    /// Whether the caller may write the file, whose place only matters for the message.
    fn check_writing(&self, file: &Inode) -> Result<(), Stop> {
        if self.authority.is_super() {
            return Ok(());
        }
        let path = path_of(self.connection, file)?.ok_or_else(|| lease::gone(file.id))?;
        let depth = path.parts().count();
        let place = Place { path: &path, depth };
        Ok(self.authority.check(file, Access::Write, place)?)
    }

    pub(super) fn commit_recovery(&mut self, extent: Extent, lossy: bool) -> Result<Outcome, Stop> {
        self.authority.check_super("ending a recovery")?;
        let (inode, index) =
            Chunk::owner(self.connection, extent.chunk)?.ok_or_else(|| no_file(extent.chunk))?;
        let file = self.attached(inode)?;
        let chunk = Chunk::at(self.connection, inode, index)?.ok_or_else(|| no_file(extent.chunk))?;
        if chunk.length == Some(extent.length) && chunk.generation == extent.generation {
            if chunk.recovery.is_some() {
                self.keep_as_it_is(&chunk, extent)?;
                self.close_recovered(&file)?;
            }
            return Ok(Outcome::Done);
        }
        check_attempt(&chunk, extent.generation)?;
        if extent.length > file.chunk_size {
            return Err(FsError::invalid(format!(
                "chunk {} can't have {} bytes: the file's chunks have up to {}",
                chunk.id, extent.length, file.chunk_size
            ))
            .into());
        }
        // What was acknowledged may still be on a node that is away: the file stays open until it is back, unless an
        // administrator accepted the loss.
        if extent.length < chunk.readable && !lossy {
            return Err(stale(format!(
                "readers count on {} bytes of chunk {}, the recovery found only {}: start the DataNodes that have the \
                 rest",
                chunk.readable, chunk.id, extent.length
            ))
            .into());
        }
        if let Some(length) = chunk.length {
            if extent.length > length {
                return Err(stale(format!(
                    "chunk {} was committed with {length} bytes, the recovery found {}",
                    chunk.id, extent.length
                ))
                .into());
            }
            if extent.length < length {
                self.remove_after(&file, &chunk)?;
            }
        }

        if extent.length == 0 {
            self.remove_last(&file, &chunk)?;
        } else {
            self.fix_length(&file, &chunk, extent)?;
        }
        self.close_recovered(&file)?;
        Ok(Outcome::Done)
    }

    /// Removes what follows a chunk that lost its end: there are no holes in a file.
    fn remove_after(&mut self, file: &Inode, chunk: &Chunk) -> Result<(), Stop> {
        let last = Chunk::last(self.connection, file.id)?.filter(|last| last.index > chunk.index);
        last.map_or(Ok(()), |last| self.remove_last(file, &last))
    }

    /// Ends the recovery of a committed chunk whose replicas turned out to be complete.
    fn keep_as_it_is(&mut self, chunk: &Chunk, extent: Extent) -> Result<(), Stop> {
        self.write("UPDATE chunk SET recovery = NULL WHERE id = ?1", [chunk.id.0 as i64])?;
        let Extent { chunk, generation, length } = extent;
        self.emit(Event::ChunkCommitted { chunk, generation, length });
        Ok(())
    }

    /// Closes the file unless another of its chunks is still being recovered. Either way it ends where its chunks do.
    fn close_recovered(&mut self, file: &Inode) -> Result<(), Stop> {
        let recent = Chunk::last_two(self.connection, file.id)?;
        let length = recent.first().map_or(0, Chunk::end);
        if recent.iter().any(|chunk| chunk.recovery.is_some()) {
            return self.set_length(file, length);
        }
        self.close(file, length)
    }
}

/// Only the last attempt's result counts. A chunk has an attempt only while its file is open and it is not recovered.
fn check_attempt(chunk: &Chunk, generation: GenStamp) -> Result<(), FsError> {
    match chunk.recovery {
        Some(stamp) if stamp == generation => Ok(()),
        Some(stamp) => Err(stale(format!(
            "chunk {} is being recovered as generation {stamp}, the result of {generation} is too old",
            chunk.id
        ))),
        None => Err(stale(format!("chunk {} is not being recovered", chunk.id))),
    }
}

fn no_file(chunk: ChunkId) -> FsError {
    FsError::new(ErrorCode::NotFound, format!("chunk {chunk} belongs to no file any more"))
}
