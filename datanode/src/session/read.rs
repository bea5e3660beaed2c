//! A read session: a replica's bytes as packets, with read-ahead.

use std::sync::Arc;
use std::time::Instant;

use dfs_daemon::budget::Grant;
use dfs_types::{ChunkId, FsError, FsResult, GenStamp};
use futures_util::stream::{self, Stream, StreamExt};

use crate::memory::ReadAhead;
use crate::metrics::{Active, Metrics};
use crate::store::Store;
use crate::volume::reader::{Piece, Reader, split};

/// Which bytes are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// The chunk.
    pub(crate) chunk: ChunkId,
    /// The oldest generation that will do.
    pub(crate) generation: GenStamp,
    /// The first byte.
    pub(crate) offset: u64,
    /// How many; zero: to the end.
    pub(crate) length: u64,
    /// Bytes of a packet; zero: as the server likes.
    pub(crate) packet_bytes: u64,
}

/// Opens a replica. Answers how many bytes of it can be read, and those that are wanted, in whole checksum units, read no
/// further ahead than `ahead` allows. `grant` and `held` are kept until the stream ends; a read that hangs keeps the grant.
pub(crate) async fn open<H: Send + 'static>(
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    wanted: Wanted,
    (grant, ahead): (Arc<Grant>, ReadAhead),
    held: H,
) -> FsResult<(u64, impl Stream<Item = FsResult<Piece>> + Send + 'static)> {
    let Wanted { chunk, generation, offset, length, packet_bytes } = wanted;
    let reader = Arc::new(store.reader(chunk, generation).await?);
    let readable = reader.length();
    if offset > readable {
        return Err(FsError::invalid(format!(
            "byte {offset} is asked for, but chunk {chunk} has {readable} bytes"
        )));
    }
    let packet = match packet_bytes {
        0 => ahead.packet,
        wish => wish.min(ahead.packet),
    };
    let active = Active::count(&metrics, "read");
    let pieces = stream::iter(split(readable, offset, length, packet)).map(move |range| {
        let _counted = (&active, &held);
        // Not before it begins: one that only waits for a disk that hangs has no bytes.
        let memory = Arc::downgrade(&grant);
        let (store, reader, metrics) = (Arc::clone(&store), Arc::clone(&reader), Arc::clone(&metrics));
        async move {
            let start = Instant::now();
            let read = move |reader: &Reader| {
                let _until_read = memory.upgrade();
                reader.read(range)
            };
            let piece = store.read_with(&reader, read).await?;
            metrics.read_seconds.observe(start.elapsed().as_secs_f64());
            metrics.read_bytes.inc_by(piece.data.len() as u64);
            metrics.packets_read.inc();
            Ok(piece)
        }
    });
    // After an error nothing more of this replica is worth sending.
    let pieces = pieces.buffered(ahead.packets).scan(false, |failed, piece: FsResult<Piece>| {
        let goes_on = !*failed;
        *failed = piece.is_err();
        std::future::ready(goes_on.then_some(piece))
    });
    Ok((readable, pieces))
}
