//! The checksum of a whole file, composed from its replicas' without moving the data.

use std::sync::Arc;
use std::time::Duration;

use dfs_proto::v1;
use dfs_types::{ErrorCode, FsError, FsPath, FsResult, LocatedChunk, checksum};
use futures_util::stream::{self, TryStreamExt as _};

use crate::handle::Dfs;
use crate::locate::ReadSource;
use crate::retry::Backoff;

/// Chunks asked for at the same time.
const CONCURRENT: usize = 8;
/// Time for one chunk on one node, which reads its stored checksums.
const CHUNK_TIMEOUT: Duration = Duration::from_secs(30);

/// The checksum of a file's bytes. It does not depend on chunk size or replication, so that any two files of equal
/// content have equal checksums, on any cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileChecksum {
    /// CRC32C of all bytes.
    pub crc32c: u32,
    /// Number of bytes.
    pub length: u64,
    /// CRC32C of each chunk's bytes, in order.
    pub chunks: Vec<u32>,
}

impl Dfs {
    /// The CRC32C of a file's bytes.
    pub async fn checksum(&self, path: &FsPath) -> FsResult<FileChecksum> {
        let (source, _) = ReadSource::open(Arc::clone(&self.inner), path).await?;
        let source = &source;
        let chunks = stream::try_unfold(0, |offset| async move {
            if offset >= source.length {
                return Ok(None);
            }
            let chunk = source.chunk_at(offset, false).await?;
            let end = source.end_of(&chunk);
            Ok::<_, FsError>(Some((chunk, end)))
        });
        chunks
            .map_ok(|chunk| chunk_checksum(source, chunk))
            .try_buffered(CONCURRENT)
            .try_fold(FileChecksum { crc32c: 0, length: 0, chunks: Vec::new() }, |mut sum, part| async move {
                sum.crc32c = checksum::combine(sum.crc32c, part.crc32c, part.length);
                sum.length += part.length;
                sum.chunks.push(part.crc32c);
                Ok(sum)
            })
            .await
    }
}

/// The checksum of a chunk's readable bytes, from the first node that answers.
async fn chunk_checksum(source: &ReadSource, mut chunk: LocatedChunk) -> FsResult<v1::ChecksumReply> {
    let dfs = &source.dfs;
    let offset = chunk.offset;
    if chunk.chunk_offset > 0 {
        let text = format!(
            "{} is one of several files in a chunk, of which DataNodes tell no checksums",
            source.path
        );
        return Err(FsError::new(ErrorCode::Unsupported, text));
    }
    let mut backoff = Backoff::new(dfs.settings.call_budget);
    loop {
        let length = source.end_of(&chunk) - offset;
        let mut reasons = Vec::new();
        for node in dfs.nodes.ranked(&chunk.nodes) {
            let request = v1::ChecksumRequest {
                cluster: dfs.cluster.as_bytes().to_vec(),
                target: node.id.as_bytes().to_vec(),
                chunk: chunk.chunk.0,
                generation: chunk.generation.0,
                length,
            };
            let answer = dfs
                .nodes
                .call(&node, CHUNK_TIMEOUT, |mut client| async move { client.checksum(request).await })
                .await;
            match answer {
                Ok(reply) if reply.length == length => return Ok(reply),
                Ok(reply) => reasons.push(format!("{node}: has {} of {length} bytes", reply.length)),
                Err(error) => reasons.push(format!("{node}: {error}")),
            }
        }
        if !backoff.pause().await {
            let text = format!(
                "no node answered with the checksum of chunk {} of {} ({})",
                chunk.chunk,
                source.path,
                reasons.join("; ")
            );
            return Err(FsError::new(ErrorCode::Unavailable, text));
        }
        chunk = source.chunk_at(offset, true).await?;
    }
}
