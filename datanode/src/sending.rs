//! A replica of this node on its way to other nodes: a copy, or what is written so far.

use std::pin::pin;
use std::sync::Arc;

use dfs_types::limits::{MIN_CHUNK_SIZE, SYNC_PATIENCE};
use dfs_types::{ChunkId, Endpoint, ErrorCode, FsError, FsResult, GenStamp};
use futures_util::stream::{self, StreamExt};

use crate::metrics::Active;
use crate::pace::Pace;
use crate::peer::Downstream;
use crate::session::write::Context;
use crate::session::{Failure, Header, Stage};
use crate::volume::reader::{Reader, split};
use crate::volume::writer::Packet;
use crate::wire::DEFAULT_PATIENCE;

/// A replica of this node that is to be sent to others.
#[derive(Debug, Clone)]
pub(crate) struct Sending {
    /// The chunk.
    pub(crate) chunk: ChunkId,
    /// The replica's generation here.
    pub(crate) generation: GenStamp,
    /// The generation of the copies.
    pub(crate) new_generation: GenStamp,
    /// [`Stage::Copy`] or [`Stage::Transfer`].
    pub(crate) stage: Stage,
    /// Whereto, as one pipeline.
    pub(crate) targets: Vec<Endpoint>,
    /// How fast at most; 0 for no limit.
    pub(crate) bytes_per_second: u64,
}

/// Sends a replica, checked against its checksums, to other nodes. Answers its length when all of them have it.
pub(crate) async fn send(context: &Context, sending: Sending) -> FsResult<u64> {
    let Sending { chunk, generation, new_generation, stage, targets, bytes_per_second } = sending;
    let Some((next, rest)) = targets.split_first() else {
        return Err(FsError::invalid("no node is given to send the replica to"));
    };
    let (grant, ahead) = context.memory.copy(targets.len()).await?;
    let grant = Arc::new(grant);
    let _active = Active::count(&context.metrics, "copy");
    let reader = Arc::new(context.store.reader(chunk, generation).await?);
    if reader.generation != generation || (stage == Stage::Copy && !reader.finalized) {
        let why = format!("chunk {chunk} has no finalized replica of generation {generation} here");
        return Err(FsError::new(ErrorCode::StaleChunk, why));
    }
    let length = reader.length();
    let header = Header {
        cluster: context.store.cluster,
        target: next.id,
        chunk,
        generation: new_generation,
        inode: reader.header.inode,
        index: reader.header.index,
        path: reader.header.path.clone(),
        chunk_size: length.max(MIN_CHUNK_SIZE),
        expected_length: length,
        stage,
        sync: true,
        downstream: rest.to_vec(),
        storage: next.storage,
        holder: String::new(),
        patience: DEFAULT_PATIENCE,
    };
    let at = |failure: Failure| {
        let node = targets.get(failure.position as usize).map_or_else(String::new, Endpoint::address);
        FsError::new(failure.error.code, format!("{node}: {}", failure.error.message))
    };
    let (packets, mut acks) = Downstream::open(&context.peers, next, header, 1).await.map_err(at)?.split();
    let mut ranges: Vec<_> = split(length, 0, 0, ahead.packet).collect();
    if ranges.is_empty() {
        ranges.push(0..0);
    }
    let count = ranges.len() as u64;
    let push = async {
        let read = |range| {
            let (reader, memory) = (Arc::clone(&reader), Arc::downgrade(&grant));
            let verified = move |reader: &Reader| {
                let _until_read = memory.upgrade();
                reader.read_verified(range)
            };
            async move { context.store.read_with(&reader, verified).await }
        };
        let mut pieces = pin!(stream::iter(ranges.into_iter().map(read)).buffered(ahead.packets));
        let mut pace = Pace::new(bytes_per_second);
        for sequence in 0.. {
            let Some(piece) = pieces.next().await else { break };
            let piece = piece.inspect_err(|_| {
                context.metrics.checksum_failures.with_label_values(&["copy"]).inc();
            })?;
            pace.take(piece.data.len() as u64).await;
            let packet = Packet {
                sequence,
                offset: piece.offset,
                data: piece.data,
                checksums: piece.checksums,
                last: sequence + 1 == count,
                flush: false,
                sync: false,
            };
            if packets.send(packet).await.is_err() {
                // The acknowledgements say why.
                break;
            }
        }
        Ok::<(), FsError>(())
    };
    let confirm = async {
        for sequence in 0..count {
            let limit =
                if sequence + 1 == count { DEFAULT_PATIENCE * SYNC_PATIENCE } else { DEFAULT_PATIENCE };
            acks.next(sequence, limit).await.map_err(at)?;
        }
        Ok(())
    };
    tokio::try_join!(push, confirm)?;
    Ok(length)
}
