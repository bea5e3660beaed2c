//! The edits of writers and of recovery.

use dfs_types::{ChunkId, ErrorCode, FileKind, FsPath, Millis};

use super::{CHUNK, Model, ModelChunk, ModelResult, Node};
use crate::store::edit::{APPENDS, Edit, Extent, Outcome, RECOVERY_HOLDER};

use ErrorCode::{InvalidArgument, IsADirectory, LeaseConflict, NotFound, StaleChunk};

impl Model {
    /// What such an edit does.
    pub(super) fn write(&mut self, edit: &Edit, now: Millis) -> ModelResult<Option<Outcome>> {
        match edit {
            Edit::Append { path, holder } => {
                let node = self.closed(path)?;
                node.chunks.iter_mut().for_each(|chunk| chunk.pipeline.clear());
                (node.holder, node.inherited) = (Some(holder.clone()), Some(node.chunks.len()));
                Ok(Some(Outcome::Status(self.status(path.as_str()))))
            }
            Edit::Truncate { path, length } => {
                let node = self.closed(path)?;
                if *length > node.length() {
                    return Err(InvalidArgument);
                }
                if *length < node.length() {
                    cut(node, *length);
                    node.mtime = now;
                }
                Ok(Some(Outcome::Done))
            }
            Edit::Concat { target, sources } => self.concat(target, sources, now),
            Edit::AddChunk { inode, holder, previous, pipeline } => {
                let node = self.held(*inode, holder)?;
                if previous.is_none() && !node.chunks.is_empty() {
                    return Err(StaleChunk);
                }
                let before = node.space() as i64;
                let mut finished = node.clone();
                fix_last(&mut finished, *previous)?;
                let after = finished.space() + CHUNK * u64::from(node.replication);
                let at = self.place_of(*inode);
                self.check_quota(&at, 0, after as i64 - before, None)?;
                let node = self.file_of(*inode)?;
                *node = finished;
                let (index, offset) = (node.chunks.len() as u64, node.length());
                let (chunk, generation) = (ChunkId(self.next_chunk), self.take_generation());
                self.next_chunk += 1;
                let pipeline = pipeline.clone();
                let added = ModelChunk {
                    id: chunk,
                    generation,
                    length: None,
                    readable: 0,
                    cut_from: None,
                    recovery: None,
                    pipeline,
                };
                let chunks = &mut self.file_of(*inode)?.chunks;
                // Who wrote a settled chunk is forgotten, also if it is among the last two again later.
                chunks.iter_mut().rev().skip(1).for_each(|settled| settled.pipeline.clear());
                chunks.push(added);
                Ok(Some(Outcome::ChunkAdded { chunk, generation, index, offset }))
            }
            Edit::AbandonChunk { inode, holder, chunk } => {
                let node = self.held(*inode, holder)?;
                let empty =
                    |last: &&ModelChunk| last.id == *chunk && last.length.is_none() && last.readable == 0;
                node.chunks.last().filter(empty).ok_or(StaleChunk)?;
                node.chunks.pop();
                Ok(Some(Outcome::Done))
            }
            Edit::CommitLength { inode, holder, extent } => {
                let chunk = self.recent(*inode, holder, extent.chunk)?;
                if extent.generation != chunk.generation
                    || chunk.length.is_some_and(|known| extent.length > known)
                {
                    return Err(StaleChunk);
                }
                if chunk.length.is_none() && extent.length > 1_024 {
                    return Err(InvalidArgument);
                }
                chunk.readable = chunk.readable.max(extent.length);
                Ok(Some(Outcome::Done))
            }
            Edit::CommitChunk { inode, holder, extent } => {
                let node = self.held(*inode, holder)?;
                fix_last(node, Some(*extent))?;
                Ok(Some(Outcome::Done))
            }
            Edit::Complete { inode, holder, last, publish: Some(publish) } => {
                let node = self.held(*inode, holder)?;
                let mut finished = node.clone();
                fix_last(&mut finished, *last)?;
                let from = self.place_of(*inode);
                // A rename that is refused changes nothing, and nothing else may have changed then.
                self.rename(&from, &publish.to, publish.overwrite, now)?;
                let node = self.file_of(*inode)?;
                let mtime = publish.mtime.unwrap_or(now);
                *node = Node { holder: None, temporary: false, inherited: None, mtime, ..finished };
                Ok(Some(Outcome::Status(self.status(publish.to.as_str()))))
            }
            Edit::Discard { inode, holder } => {
                if self.held(*inode, holder)?.inherited.is_some() {
                    return Err(InvalidArgument);
                }
                let at = self.place_of(*inode);
                self.remove(&at, now);
                Ok(Some(Outcome::Done))
            }
            Edit::Complete { inode, holder, last, publish: None } => {
                let appends = self.level >= APPENDS;
                let node = self.file_of(*inode)?;
                let others = if node.holder.is_some() { node.inherited.unwrap_or(0) } else { usize::MAX };
                let is_old = |said: Extent| {
                    node.chunks.iter().take(others).any(|chunk| {
                        let whole = chunk.cut_from.or(chunk.length);
                        (chunk.id, chunk.generation, whole)
                            == (said.chunk, said.generation, Some(said.length))
                    })
                };
                if appends && last.is_some_and(is_old) {
                    let at = self.place_of(*inode);
                    return Ok(Some(Outcome::Status(self.status(at.as_str()))));
                }
                let end = node.chunks.last().and_then(|chunk| {
                    chunk.length.map(|length| Extent {
                        chunk: chunk.id,
                        generation: chunk.generation,
                        length,
                    })
                });
                if node.holder.is_some() || end != *last {
                    let node = self.held(*inode, holder)?;
                    fix_last(node, *last)?;
                    close(node, now);
                }
                let id = *inode;
                let at =
                    self.nodes.iter().find(|(_, node)| node.id == id).map(|(key, _)| key.clone()).unwrap();
                Ok(Some(Outcome::Status(self.status(&at))))
            }
            Edit::NewGeneration { inode, holder, chunk } => {
                self.recent(*inode, holder, *chunk)?;
                Ok(Some(Outcome::Generation(self.take_generation())))
            }
            Edit::UpdatePipeline { inode, holder, extent, pipeline } => {
                let next = self.next_generation;
                let chunk = self.recent(*inode, holder, extent.chunk)?;
                if extent.generation <= chunk.generation {
                    return Err(StaleChunk);
                }
                if extent.generation.0 >= next {
                    return Err(InvalidArgument);
                }
                match chunk.length {
                    Some(known) if extent.length > known => return Err(StaleChunk),
                    Some(_) => {}
                    None if extent.length > 1_024 => return Err(InvalidArgument),
                    None if extent.length < chunk.readable => return Err(StaleChunk),
                    None => chunk.readable = extent.length,
                }
                chunk.generation = extent.generation;
                if !chunk.pipeline.is_empty() {
                    let more: Vec<_> =
                        pipeline.iter().filter(|node| !chunk.pipeline.contains(node)).copied().collect();
                    chunk.pipeline.extend(more);
                }
                Ok(Some(Outcome::Done))
            }
            Edit::BeginRecovery { inode, holder } => {
                let node = self.file_of(*inode)?;
                if node.holder.is_none() {
                    return Ok(Some(Outcome::Recovery { closed: true, chunks: Vec::new() }));
                }
                if let Some(holder) = holder {
                    self.held(*inode, holder)?;
                }
                let node = self.file_of(*inode)?;
                if node.temporary {
                    let at = self.place_of(*inode);
                    self.remove(&at, now);
                    return Ok(Some(Outcome::Recovery { closed: true, chunks: Vec::new() }));
                }
                let (inherited, all) = (node.inherited.unwrap_or(0), node.chunks.len());
                if inherited == all {
                    close(node, now);
                    return Ok(Some(Outcome::Recovery { closed: true, chunks: Vec::new() }));
                }
                let mut chunks = Vec::new();
                for index in all.saturating_sub(2).max(inherited)..all {
                    let stamp = self.take_generation();
                    let chunk = &mut self.file_of(*inode)?.chunks[index];
                    chunk.recovery = Some(stamp);
                    chunks.push(Extent { chunk: chunk.id, generation: stamp, length: chunk.readable });
                }
                self.file_of(*inode)?.holder = Some(RECOVERY_HOLDER.to_owned());
                Ok(Some(Outcome::Recovery { closed: false, chunks }))
            }
            Edit::CommitRecovery { extent, lossy } => {
                let has = |node: &&mut Node| node.chunks.iter().any(|chunk| chunk.id == extent.chunk);
                let node = self.nodes.values_mut().find(has).ok_or(NotFound)?;
                let chunk = node.chunks.iter_mut().find(|chunk| chunk.id == extent.chunk).unwrap();
                if chunk.length == Some(extent.length) && chunk.generation == extent.generation {
                    if chunk.recovery.take().is_some() {
                        close_recovered(node, now);
                    }
                    return Ok(Some(Outcome::Done));
                }
                if chunk.recovery != Some(extent.generation) {
                    return Err(StaleChunk);
                }
                if extent.length > 1_024 {
                    return Err(InvalidArgument);
                }
                let known = chunk.length.unwrap_or(u64::MAX);
                if (extent.length < chunk.readable && !lossy) || extent.length > known {
                    return Err(StaleChunk);
                }
                let lost = chunk.length.is_some_and(|known| extent.length < known);
                chunk.generation = extent.generation;
                (chunk.length, chunk.readable, chunk.recovery) = (Some(extent.length), extent.length, None);
                let at = node.chunks.iter().position(|chunk| chunk.id == extent.chunk).unwrap();
                if lost {
                    node.chunks.truncate(at + 1);
                }
                if extent.length == 0 {
                    node.chunks.pop();
                }
                close_recovered(node, now);
                Ok(Some(Outcome::Done))
            }
            other => panic!("not an edit of a writer: {other:?}"),
        }
    }
}

impl Model {
    /// The file at a path, which nobody writes.
    fn closed(&mut self, at: &FsPath) -> ModelResult<&mut Node> {
        if self.get(at)?.kind == FileKind::Directory {
            return Err(IsADirectory);
        }
        let node = self.nodes.get_mut(at.as_str()).unwrap();
        if node.holder.is_some() { Err(LeaseConflict) } else { Ok(node) }
    }

    fn concat(&mut self, target: &FsPath, sources: &[FsPath], now: Millis) -> ModelResult<Option<Outcome>> {
        if sources.is_empty() {
            return Err(InvalidArgument);
        }
        self.closed(target)?;
        for (number, source) in sources.iter().enumerate() {
            let is_empty = self.closed(source)?.length() == 0;
            let is_strange = source == target || source.parent() != target.parent();
            if is_empty || is_strange || sources[..number].contains(source) {
                return Err(InvalidArgument);
            }
        }
        let replication = self.nodes[target.as_str()].replication;
        let dearer = sources.iter().map(|source| {
            let node = &self.nodes[source.as_str()];
            node.length() as i64 * (i64::from(replication) - i64::from(node.replication))
        });
        self.check_quota(target, 0, dearer.sum(), None)?;
        for source in sources {
            let chunks = self.nodes.remove(source.as_str()).unwrap().chunks;
            self.nodes.get_mut(target.as_str()).unwrap().chunks.extend(chunks);
        }
        self.nodes.get_mut(target.as_str()).unwrap().mtime = now;
        self.touch_parent(target, now);
        Ok(Some(Outcome::Done))
    }
}

/// Lets a file end at `length`.
fn cut(node: &mut Node, length: u64) {
    let mut start = 0;
    node.chunks.retain_mut(|chunk| {
        let left = length.saturating_sub(start);
        start += chunk.readable;
        if chunk.readable > left {
            chunk.cut_from = chunk.cut_from.or(chunk.length);
            (chunk.length, chunk.readable) = (Some(left), left);
        }
        left > 0
    });
}

fn close(node: &mut Node, now: Millis) {
    (node.holder, node.temporary, node.inherited, node.mtime) = (None, false, None, now);
}

/// Closes a file of which no chunk is being recovered any more.
fn close_recovered(node: &mut Node, now: Millis) {
    if node.chunks.iter().all(|chunk| chunk.recovery.is_none()) {
        close(node, now);
    }
}

/// Gives a file's last chunk the length the writer says.
fn fix_last(node: &mut Node, said: Option<Extent>) -> ModelResult<()> {
    // Nothing was written behind what was there.
    if said.is_none() && node.inherited.is_some_and(|count| count == node.chunks.len()) {
        return Ok(());
    }
    let (chunk, said) = match (node.chunks.last_mut(), said) {
        (None, None) => return Ok(()),
        (Some(chunk), Some(said)) if chunk.id == said.chunk => (chunk, said),
        _ => return Err(StaleChunk),
    };
    if said.generation != chunk.generation || chunk.length.is_some_and(|length| length != said.length) {
        return Err(StaleChunk);
    }
    if !(1..=1_024).contains(&said.length) {
        return Err(InvalidArgument);
    }
    if said.length < chunk.readable {
        return Err(StaleChunk);
    }
    (chunk.length, chunk.readable) = (Some(said.length), said.length);
    Ok(())
}
