//! The scrubber: reads every replica again and again, slowly, and reports those that do not match their checksums.

use std::sync::Arc;
use std::time::Duration;

use dfs_types::limits::DESCRIBED_CHUNKS;
use dfs_types::{ChunkId, GenStamp};
use tokio::sync::mpsc::Sender;
use tokio::time::sleep;
use tracing::debug;

use crate::metrics::Metrics;
use crate::origins::Look;
use crate::pace::Pace;
use crate::store::Store;
use crate::volume::Error;
use crate::volume::reader::{Reader, split};

/// Bytes read at once; a multiple of 512.
const PIECE_BYTES: u64 = 512 << 10;
/// Replicas chosen at once: new ones wait for no more than these.
const BATCH: usize = DESCRIBED_CHUNKS;
/// Longest pause between looks for something to do.
const IDLE: Duration = Duration::from_secs(10);

/// Reads replicas without end, at most `rate` bytes a second, each one once per `interval`. Those that are right are then
/// `verified`: whoever takes these may hold the scrubber up.
pub(crate) async fn run(
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    rate: u64,
    interval: Duration,
    verified: Sender<Vec<Look>>,
) {
    let mut pace = Pace::new(rate);
    loop {
        let due = store.due_for_verification(interval, BATCH);
        let chosen = due.len();
        let mut unread = chosen;
        let mut looks = Vec::with_capacity(chosen);
        for (chunk, generation) in due {
            match verify(&store, &metrics, chunk, generation, &mut pace).await {
                Ok(reader) => looks.push(Look { chunk, lacks_origin: reader.header.lacks_origin() }),
                Err(Error::Corrupt { .. }) => {
                    metrics.checksum_failures.with_label_values(&["scrub"]).inc();
                }
                // Its disk does not answer just now. Nothing is known of it.
                Err(Error::Silent(_)) => continue,
                // It went away or changed; it comes again if it is still there.
                Err(error) => debug!(%chunk, %generation, %error, "replica not verified"),
            }
            store.mark_verified(chunk, generation);
            unread -= 1;
        }
        // An error means that the process is ending.
        if !looks.is_empty() && verified.send(looks).await.is_err() {
            return;
        }
        if unread == chosen {
            // There was nothing to do, or nothing that could be done.
            sleep(interval.min(IDLE)).await;
        }
    }
}

/// Reads a replica from its first byte to its last. Fails if anything does not match its checksum. Answers it as it was
/// opened.
pub(crate) async fn verify(
    store: &Arc<Store>,
    metrics: &Metrics,
    chunk: ChunkId,
    generation: GenStamp,
    pace: &mut Pace,
) -> Result<Arc<Reader>, Error> {
    let reader = Arc::new(store.reader(chunk, generation).await?);
    for range in split(reader.length(), 0, 0, PIECE_BYTES) {
        let bytes = range.end - range.start;
        pace.take(bytes).await;
        store.read_with(&reader, move |reader| reader.read_verified(range)).await?;
        metrics.scrubbed_bytes.inc_by(bytes);
    }
    Ok(reader)
}
