//! Edits that change where a closed file ends. Chunks are never changed by them: a file that is appended to gets new ones,
//! one that is truncated shows less of its last one, and concatenated files hand theirs over.

use std::collections::BTreeSet;
use std::sync::Arc;

use dfs_namenode_core::Event;
use dfs_types::limits::{MAX_CHUNKS_PER_FILE, MAX_CONCATENATED};
use dfs_types::{ErrorCode, FsError, FsPath, FsResult, InodeId};

use super::Step;
use super::namespace::check_holder;
use super::tree::CHUNKS_AT_ONCE;
use crate::store::access::Access;
use crate::store::chunk::Chunk;
use crate::store::edit::{Change, Outcome};
use crate::store::inode::{Extras, GARBAGE, Inode};
use crate::store::stop::Stop;
use crate::store::usage::Usage;

/// A file whose chunks are to be handed over.
struct Source {
    file: Arc<Inode>,
    extents: u64,
}

impl Step<'_, '_> {
    pub(super) fn append(&mut self, path: &FsPath, holder: &str) -> Result<Outcome, Stop> {
        check_holder(holder)?;
        let found = self.resolve(path)?;
        let file = found.existing_file()?;
        self.authority.check(file, Access::Write, found.place())?;
        self.check_closed(file, path)?;
        let inherited = self.extents(file.id)?;
        let open = Inode { open: true, ..file.as_ref().clone() };
        self.write(
            "UPDATE inode SET open = 1 WHERE parent = ?1 AND name = ?2",
            (open.parent.0 as i64, &open.name),
        )?;
        self.write(
            "INSERT INTO lease (inode, holder, since, temporary, inherited) VALUES (?1, ?2, ?3, 0, ?4)",
            (open.id.0 as i64, holder, self.now.0 as i64, inherited as i64),
        )?;
        self.counters.open_files += 1;
        self.emit(Event::LeaseTaken { inode: open.id, holder: holder.to_owned() });
        let status = open.status();
        self.view.put(open);
        Ok(Outcome::Status(status))
    }

    pub(super) fn truncate(&mut self, path: &FsPath, length: u64) -> Result<Outcome, Stop> {
        let found = self.resolve(path)?;
        let file = found.existing_file()?;
        self.authority.check(file, Access::Write, found.place())?;
        self.check_closed(file, path)?;
        if length > file.length {
            return Err(FsError::invalid(format!(
                "{path} has {} bytes and can't be truncated to {length}: truncating only shortens",
                file.length
            ))
            .into());
        }
        if length == file.length {
            return Ok(Outcome::Done);
        }
        self.cut_chunks(file, length)?;
        let last = Chunk::last(self.connection, file.id)?.filter(|last| last.end() > length);
        if let Some(last) = last {
            self.write(
                "UPDATE extent SET length = ?3 WHERE inode = ?1 AND idx = ?2",
                (file.id.0 as i64, last.index as i64, (length - last.start) as i64),
            )?;
        }
        self.end_at(file, length)?;
        Ok(Outcome::Done)
    }

    /// Takes the chunks that begin at `length` or later from a file. Many of them wait to be reaped, as those of a large
    /// file that is deleted do.
    fn cut_chunks(&mut self, file: &Inode, length: u64) -> Result<(), Stop> {
        // Looked for from the end: it costs what is cut off, and not what stays.
        let kept: Option<i64> = self
            .connection
            .prepare_cached("SELECT max(idx) FROM extent WHERE inode = ?1 AND start < ?2")?
            .query_row((file.id.0 as i64, length as i64), |row| row.get(0))?;
        let first = kept.map_or(0, |last| last + 1);
        let gone = self.extents(file.id)?.saturating_sub(first as u64);
        if gone <= CHUNKS_AT_ONCE {
            if gone > 0 {
                self.remove_chunks(file.id, gone)?;
            }
            return Ok(());
        }
        let id = self.take_inode();
        let rest = Inode {
            parent: GARBAGE,
            name: id.to_string(),
            id,
            open: false,
            extras: Extras::default(),
            acl: None,
            ..file.clone()
        };
        self.insert(&rest)?;
        self.counters.garbage += 1;
        self.write(
            "UPDATE extent SET inode = ?3 WHERE inode = ?1 AND idx >= ?2",
            (file.id.0 as i64, first, id.0 as i64),
        )?;
        self.emit(Change::Garbage);
        Ok(())
    }

    pub(super) fn concat(&mut self, target: &FsPath, sources: &[FsPath]) -> Result<Outcome, Stop> {
        if sources.is_empty() || sources.len() > MAX_CONCATENATED {
            return Err(FsError::invalid(format!(
                "{} files can't be concatenated at once: name 1 to {MAX_CONCATENATED}",
                sources.len()
            ))
            .into());
        }
        let found = self.resolve(target)?;
        let file = found.existing_file()?;
        self.authority.check(file, Access::Write, found.place())?;
        self.check_closed(file, target)?;
        let (mut index, mut start) = (self.extents(file.id)?, file.length);
        let sources = self.sources(file, target, sources)?;
        if sources.iter().map(|source| source.extents).sum::<u64>() + index > MAX_CHUNKS_PER_FILE {
            return Err(FsError::invalid(format!(
                "{target} would have more than {MAX_CHUNKS_PER_FILE} chunks, which is the most: concatenate fewer files"
            ))
            .into());
        }
        let dearer = sources.iter().fold(0_i64, |space, Source { file: source, .. }| {
            let more = i64::from(file.replication) - i64::from(source.replication);
            space.wrapping_add((source.length as i64).wrapping_mul(more))
        });
        self.check_quota(file.parent, Usage { space: dearer, ..Usage::default() })?;

        for Source { file: source, extents } in &sources {
            self.write(
                "UPDATE extent SET inode = ?2, idx = idx + ?3, start = start + ?4 WHERE inode = ?1",
                (source.id.0 as i64, file.id.0 as i64, index as i64, start as i64),
            )?;
            self.view.forget(source);
            self.remove_row(source)?;
            index += extents;
            start += source.length;
        }
        for Source { file: source, .. } in &sources {
            let weight = self.weight(source)?;
            self.charge(file.parent, weight.negative())?;
        }
        if sources.iter().any(|source| source.file.replication != file.replication) {
            self.replicate_chunks(file.id, file.replication)?;
        }
        self.count_entries(found.existing_parent()?, -(sources.len() as i64))?;
        self.end_at(file, start)?;
        Ok(Outcome::Done)
    }

    /// The files to be handed over to `file`, in order, if they all can be.
    fn sources(&self, file: &Inode, target: &FsPath, paths: &[FsPath]) -> Result<Vec<Source>, Stop> {
        let mut seen = BTreeSet::new();
        let mut sources = Vec::with_capacity(paths.len());
        for path in paths {
            let found = self.resolve(path)?;
            let source = found.existing_file()?;
            self.authority.check(source, Access::Read, found.place())?;
            self.check_removing(&found, source)?;
            self.check_closed(source, path)?;
            check_source(source, file, path, target)?;
            if !seen.insert(source.id) {
                return Err(FsError::invalid(format!("{path} is named twice: name it once")).into());
            }
            sources.push(Source { file: source.clone(), extents: self.extents(source.id)? });
        }
        Ok(sources)
    }

    /// How many extents a file has: their numbers have no gaps.
    fn extents(&self, file: InodeId) -> Result<u64, Stop> {
        Ok(Chunk::last(self.connection, file)?.map_or(0, |last| last.index + 1))
    }

    fn check_closed(&self, file: &Inode, path: &FsPath) -> Result<(), Stop> {
        if !file.open {
            return Ok(());
        }
        let holder = self.holder(file.id)?.unwrap_or_else(|| "somebody".to_owned());
        let text = format!("{path} is being written by {holder}: wait until it is closed");
        Err(FsError::new(ErrorCode::LeaseConflict, text).into())
    }

    /// A closed file now ends at `length`.
    fn end_at(&mut self, file: &Inode, length: u64) -> Result<(), Stop> {
        let change = length as i64 - file.length as i64;
        self.charge_bytes(file, change, change)?;
        self.view.forget(file);
        self.write(
            "UPDATE inode SET length = ?3, mtime = ?4 WHERE parent = ?1 AND name = ?2",
            (file.parent.0 as i64, &file.name, length as i64, self.now.0 as i64),
        )?;
        Ok(())
    }
}

/// Whether the chunks of `source` may become those of `target`.
fn check_source(source: &Inode, target: &Inode, path: &FsPath, to: &FsPath) -> FsResult<()> {
    if source.id == target.id {
        return Err(FsError::invalid(format!("{path} can't be appended to itself: leave it out")));
    }
    if source.parent != target.parent {
        return Err(FsError::invalid(format!(
            "{path} is in another directory than {to}: move it there first"
        )));
    }
    if source.length == 0 {
        return Err(FsError::invalid(format!("{path} is empty: leave it out")));
    }
    if source.chunk_size > target.chunk_size {
        return Err(FsError::invalid(format!(
            "{path} has chunks of up to {} bytes, {to} of up to {}: concatenate it with files of larger chunks",
            source.chunk_size, target.chunk_size
        )));
    }
    Ok(())
}
