//! Where the chunks of a file are.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dfs_proto::convert::replica_record;
use dfs_proto::v1;
use dfs_proto::v1::namespace_client::NamespaceClient;
use dfs_types::{ErrorCode, FileStatus, FsError, FsPath, FsResult, InodeId, LocatedChunk, ReplicaState};
use tonic::transport::Channel;

use crate::handle::{Dfs, Inner};
use crate::namespace::status;
use crate::retry::Patience;

/// Chunks located with one call.
const SPAN: u64 = 64;
/// Located chunks kept of one open file.
const MAX_CACHED: usize = 4_096;
/// Largest file offset.
const MAX_OFFSET: u64 = i64::MAX as u64;
/// Time for asking a DataNode how much of an open chunk can be read.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);

/// A file's attributes and the chunks of a range of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locations {
    /// The file.
    pub status: FileStatus,
    /// Chunks that overlap the range, in order.
    pub chunks: Vec<LocatedChunk>,
}

impl Dfs {
    /// The chunks that overlap `range` (bytes of the file) and the nodes that hold them.
    ///
    /// ```no_run
    /// # async fn example(dfs: dfs_client::Dfs) -> dfs_types::FsResult<()> {
    /// let path = dfs_types::FsPath::parse("/a")?;
    /// for chunk in dfs.locate(&path, 0..1 << 30).await?.chunks {
    ///     println!("{} at {:?}", chunk.chunk, chunk.nodes);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub async fn locate(&self, path: &FsPath, range: Range<u64>) -> FsResult<Locations> {
        let patience = self.inner.settings.call();
        let mut all = locate(&self.inner, patience, Freshness::Seen, (path, None), range.clone()).await?;
        // One answer has room for so many.
        while let Some(last) = all.chunks.last()
            && let end = last.offset + last.length
            && end < range.end.min(all.status.length)
        {
            let more = locate(&self.inner, patience, Freshness::Seen, (path, None), end..range.end).await?;
            let goes_on = more.chunks.last().is_some_and(|chunk| chunk.offset + chunk.length > end);
            if more.status.inode != all.status.inode || !goes_on {
                break;
            }
            all.chunks.extend(more.chunks);
        }
        Ok(all)
    }
}

/// How new locations must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Freshness {
    /// As new as what this client has seen.
    Seen,
    /// What the leader knows now.
    Latest,
}

/// Asks where a file's chunks are; with `inode` those of that file, which was at the path, wherever it is by now.
async fn locate(
    dfs: &Inner,
    patience: Patience,
    freshness: Freshness,
    (path, inode): (&FsPath, Option<InodeId>),
    range: Range<u64>,
) -> FsResult<Locations> {
    let inode = inode.unwrap_or_default().0;
    let offset = range.start.min(MAX_OFFSET);
    let length = range.end.min(MAX_OFFSET).saturating_sub(offset);
    let call = |mut client: NamespaceClient<Channel>, context| {
        let request =
            v1::LocateRequest { context: Some(context), path: path.to_string(), offset, length, inode };
        async move { client.locate(request).await }
    };
    let reply = match freshness {
        Freshness::Seen => dfs.namenode.look(patience, call).await?,
        Freshness::Latest => dfs.namenode.namespace(patience, call).await?,
    };
    let chunks = reply.chunks.into_iter().map(LocatedChunk::try_from).collect::<FsResult<_>>()?;
    Ok(Locations { status: status(reply.status)?, chunks })
}

/// A file open for reading: its locations as far as they are known.
#[derive(Debug)]
pub(crate) struct ReadSource {
    pub(crate) dfs: Arc<Inner>,
    pub(crate) path: FsPath,
    pub(crate) inode: InodeId,
    /// Bytes that can be read.
    pub(crate) length: u64,
    chunk_size: u64,
    located: Mutex<BTreeMap<u64, LocatedChunk>>,
}

impl ReadSource {
    /// Opens the file: learns its length, of a file being written up to the last flush, and its first locations.
    pub(crate) async fn open(dfs: Arc<Inner>, path: &FsPath) -> FsResult<(Self, FileStatus)> {
        let patience = dfs.settings.call();
        let Locations { mut status, chunks } =
            locate(&dfs, patience, Freshness::Seen, (path, None), 0..1).await?;
        if status.is_directory() {
            return Err(FsError::new(ErrorCode::IsADirectory, format!("{path} is a directory")));
        }
        if status.open {
            status.length = readable_length(&dfs, path, &status).await?;
        }
        let source = Self {
            path: path.clone(),
            inode: status.inode,
            length: status.length,
            chunk_size: status.chunk_size.max(1),
            located: Mutex::default(),
            dfs,
        };
        source.remember(chunks);
        Ok((source, status))
    }

    /// The chunk that holds the byte at `offset`; asks the leader anew if `refresh`.
    pub(crate) async fn chunk_at(&self, offset: u64, refresh: bool) -> FsResult<LocatedChunk> {
        if !refresh && let Some(chunk) = self.known(offset) {
            return Ok(chunk);
        }
        let end =
            offset.saturating_add(self.chunk_size.saturating_mul(SPAN)).min(self.length.max(offset + 1));
        let patience = self.dfs.settings.transfer();
        let freshness = if refresh { Freshness::Latest } else { Freshness::Seen };
        let located =
            locate(&self.dfs, patience, freshness, (&self.path, Some(self.inode)), offset..end).await?;
        if located.status.inode != self.inode {
            let text = format!("{} was replaced by another file while it was read", self.path);
            return Err(FsError::new(ErrorCode::NotFound, text));
        }
        self.remember(located.chunks);
        self.known(offset).ok_or_else(|| {
            FsError::new(
                ErrorCode::Unavailable,
                format!("the NameNode knows no chunk of {} at byte {offset}", self.path),
            )
        })
    }

    fn known(&self, offset: u64) -> Option<LocatedChunk> {
        let located = self.located.lock().unwrap_or_else(PoisonError::into_inner);
        let (_, chunk) = located.range(..=offset).next_back()?;
        (offset < self.end_of(chunk)).then(|| chunk.clone())
    }

    /// Where the chunk's readable bytes end in the file; the last chunk of an open file has no length of its own.
    pub(crate) fn end_of(&self, chunk: &LocatedChunk) -> u64 {
        if chunk.under_construction { self.length } else { (chunk.offset + chunk.length).min(self.length) }
    }

    fn remember(&self, chunks: Vec<LocatedChunk>) {
        let mut located = self.located.lock().unwrap_or_else(PoisonError::into_inner);
        if located.len() + chunks.len() > MAX_CACHED {
            located.clear();
        }
        located.extend(chunks.into_iter().map(|chunk| (chunk.offset, chunk)));
    }
}

/// How much of a file being written can be read: what the NameNode knows, or more if a DataNode with the last chunk
/// says so.
async fn readable_length(dfs: &Inner, path: &FsPath, status: &FileStatus) -> FsResult<u64> {
    let known = status.length;
    let tail = known.saturating_sub(1)..known.saturating_add(status.chunk_size.saturating_mul(2));
    let located = locate(dfs, dfs.settings.call(), Freshness::Seen, (path, Some(status.inode)), tail).await?;
    let Some(chunk) = located.chunks.iter().rfind(|chunk| chunk.under_construction) else {
        return Ok(located.status.length);
    };
    for node in dfs.nodes.ranked(&chunk.nodes) {
        let request = v1::GetReplicaRequest {
            cluster: dfs.cluster.as_bytes().to_vec(),
            target: node.id.as_bytes().to_vec(),
            chunk: chunk.chunk.0,
        };
        let answer = dfs
            .nodes
            .call(&node, QUESTION_TIMEOUT, |mut client| async move { client.get_replica(request).await })
            .await;
        let Ok(v1::GetReplicaReply { replica: Some(replica) }) = answer else { continue };
        let replica = replica_record(replica, &[])?;
        if replica.generation >= chunk.generation && replica.state != ReplicaState::Corrupt {
            return Ok(known.max(chunk.offset.saturating_add(replica.length)));
        }
    }
    Ok(known)
}
