//! Which closed files chunks are of: what DataNodes write beside their replicas, so that the namespace could be made again
//! from these.

use std::collections::HashMap;

use dfs_types::{ChunkId, ChunkOrigin, FsPath, InodeId, Origin};

use super::chunk::Chunk;
use super::inode::{Inode, path_of};
use super::snapshot::Snapshot;
use super::stop::Stop;

impl Snapshot<'_> {
    /// The files of these chunks; those of open and deleted ones are left out.
    pub(crate) fn origins(&self, chunks: &[ChunkId]) -> Result<Vec<ChunkOrigin>, Stop> {
        // Chunks that a node has asked for together are often of one file.
        let mut files = HashMap::<InodeId, Option<(Inode, FsPath)>>::new();
        let mut origins = Vec::with_capacity(chunks.len());
        for id in chunks.iter().copied() {
            let Some((inode, index)) = Chunk::owner(self.connection, id)? else { continue };
            let file = match files.get(&inode) {
                Some(file) => file,
                None => &*files.entry(inode).or_insert(self.closed_file(inode)?),
            };
            let (Some((file, path)), Some(chunk)) = (file, Chunk::at(self.connection, inode, index)?) else {
                continue;
            };
            origins.extend(origin(file, path, &chunk));
        }
        Ok(origins)
    }

    /// A file that is closed and in the namespace, and where it is.
    fn closed_file(&self, id: InodeId) -> Result<Option<(Inode, FsPath)>, Stop> {
        let Some(file) = Inode::by_id(self.connection, id)?.filter(|file| !file.open) else {
            return Ok(None);
        };
        let path = path_of(self.connection, &file)?;
        Ok(path.map(|path| (file, path)))
    }
}

fn origin(file: &Inode, path: &FsPath, chunk: &Chunk) -> Option<ChunkOrigin> {
    let origin = Origin {
        path: path.clone(),
        owner: file.owner.clone(),
        group: file.group.clone(),
        mode: file.mode,
        mtime: file.mtime,
        replication: file.replication,
        chunk_size: file.chunk_size,
        file_length: file.length,
        offset: chunk.start,
    };
    Some(ChunkOrigin {
        chunk: chunk.id,
        generation: chunk.generation,
        length: chunk.whole?,
        inode: file.id,
        index: chunk.index,
        origin,
    })
}
