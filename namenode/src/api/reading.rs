//! Where a file's bytes are.

use dfs_namenode_core::{Core, Event};
use dfs_types::{
    Caller, ChunkId, ErrorCode, FileStatus, FsError, FsPath, FsResult, GenStamp, InodeId, LocatedChunk,
    Millis, NodeId,
};

use super::{Namenode, resolve};
use crate::store::ChunkRow;

/// Most chunks in one answer; with [`LOCATED_NODES`] it keeps the answer below the message limit.
const LOCATED_CHUNKS: usize = 20_000;
/// Most nodes over all chunks of one answer.
const LOCATED_NODES: usize = 100_000;
/// How often a file that is being moved is looked for.
const MOVES: usize = 4;
/// Most bad replicas in one message.
const MAX_BAD_REPLICAS: usize = 1_024;

/// A replica that somebody found to be bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadReplica {
    /// The chunk.
    pub chunk: ChunkId,
    /// The replica's version.
    pub generation: GenStamp,
    /// Where it is.
    pub node: NodeId,
}

impl Namenode {
    /// The chunks that overlap `[offset, offset + length)` with their nodes, best first for a reader on
    /// `reader_host`. Of a very large file the answer has the first chunks only: whoever needs more asks
    /// again from the end of the last one.
    pub async fn locate(
        &self,
        caller: &Caller,
        path: &FsPath,
        offset: u64,
        length: u64,
        reader_host: Option<String>,
    ) -> FsResult<(FileStatus, Vec<LocatedChunk>)> {
        let (status, rows) = self.store.file(caller, path, offset, length).await?;
        self.note_access(&status);
        let chunks = self
            .engine
            .with(move |turn| {
                let mut nodes = 0;
                rows.into_iter()
                    .take(LOCATED_CHUNKS)
                    .map_while(|row| {
                        let located = locate_chunk(turn.core, &row, reader_host.as_deref(), turn.now);
                        let room = nodes < LOCATED_NODES;
                        nodes += located.nodes.len();
                        room.then_some(located)
                    })
                    .collect()
            })
            .await?;
        Ok((status, chunks))
    }

    /// As [`Namenode::locate`], of a file that somebody has open since it was at `path`: wherever it is by now, if he may go
    /// there.
    pub async fn locate_open(
        &self,
        caller: &Caller,
        (path, inode): (&FsPath, InodeId),
        offset: u64,
        length: u64,
        reader_host: Option<String>,
    ) -> FsResult<(FileStatus, Vec<LocatedChunk>)> {
        for _ in 0..MOVES {
            let now = self.store.path_of(inode).await?.ok_or_else(|| {
                FsError::new(ErrorCode::NotFound, format!("{path} was deleted while it was read"))
            })?;
            match self.locate(caller, &now, offset, length, reader_host.clone()).await {
                Ok((status, chunks)) if status.inode == inode => return Ok((status, chunks)),
                // It was moved meanwhile.
                Ok(_) => {}
                Err(error) if error.code == ErrorCode::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Err(FsError::new(ErrorCode::Busy, format!("what was {path} is moved all the time: try again")))
    }

    /// Readers found these replicas to be bad.
    pub async fn report_bad_replicas(&self, replicas: Vec<BadReplica>) -> FsResult<()> {
        if replicas.len() > MAX_BAD_REPLICAS {
            return Err(FsError::invalid(format!(
                "{} bad replicas in one message: at most {MAX_BAD_REPLICAS} are allowed",
                replicas.len()
            )));
        }
        self.engine
            .with(move |turn| {
                for BadReplica { chunk, generation, node } in replicas {
                    turn.apply(Event::ReplicaCorrupt { chunk, generation, node });
                }
            })
            .await
    }
}

/// What the cluster knows of one of a file's chunks.
fn locate_chunk(core: &Core, row: &ChunkRow, reader_host: Option<&str>, now: Millis) -> LocatedChunk {
    let nodes = core.locate(row.chunk, reader_host, now);
    let only_bad = || core.chunk(row.chunk).is_some_and(|view| !view.corrupt.is_empty());
    LocatedChunk {
        chunk: row.chunk,
        generation: row.generation,
        index: row.index,
        offset: row.offset,
        chunk_offset: row.chunk_offset,
        layout: row.layout,
        length: row.length.unwrap_or(row.readable),
        under_construction: row.length.is_none(),
        corrupt: nodes.is_empty() && only_bad(),
        nodes: resolve(core, nodes),
    }
}
