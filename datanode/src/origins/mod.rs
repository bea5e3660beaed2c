//! What files the replicas here are of: asks the leading NameNode, and has the headers say it, so that the namespace could be
//! made again from the DataNodes' disks alone.
//!
//! ```text
//! replica finalized ──> wanted, a moment later ──┐
//!                         ^  file is still open  ├──> ask for some, ──> compare, rewrite those that differ
//! scrubber verified it ──> looks ────────────────┘    one question at a time        one at a time
//! ```
//!
//! It is there for the day when all else is lost, and must cost nobody anything before: it rests for longer than its disk
//! work takes, leaves everything for later that is not well, and never stops a writer.

pub(crate) mod wanted;

use std::sync::Arc;
use std::time::Duration;

use dfs_types::format::ORIGINS;
use dfs_types::limits::DESCRIBED_CHUNKS;
use dfs_types::{ChunkId, ErrorCode, FsError, FsResult};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use crate::group::Group;
use crate::metrics::{Metrics, result_label};
use crate::namenode::Described;
use crate::reporter::Backoff;
use crate::store::Store;
use crate::store::headers::Renewed;
use crate::volume::Error;
use wanted::Due;

/// Replicas that the scrubber verified and that wait to be looked at: these many batches.
const MAX_BATCHES: usize = 1;
/// Pause between two questions.
const PAUSE: Duration = Duration::from_millis(250);
/// How often a question about replicas that the scrubber has verified is tried.
const TRIES: usize = 4;
/// How many times longer than writing a header the rest after it is, and the longest such rest.
const REST: (u32, Duration) = (3, Duration::from_secs(5));

/// A replica that the scrubber has verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Look {
    /// The chunk.
    pub(crate) chunk: ChunkId,
    /// Nothing is said of its file.
    pub(crate) lacks_origin: bool,
}

/// Keeps the headers up to date.
#[derive(Debug)]
pub(crate) struct Keeper {
    store: Arc<Store>,
    group: Arc<Group>,
    metrics: Arc<Metrics>,
    looks: mpsc::Receiver<Vec<Look>>,
}

impl Keeper {
    /// A new one, and where the scrubber says what it has verified, at most [`DESCRIBED_CHUNKS`] at once.
    pub(crate) fn new(
        store: Arc<Store>,
        group: Arc<Group>,
        metrics: Arc<Metrics>,
    ) -> (Self, mpsc::Sender<Vec<Look>>) {
        let (verified, looks) = mpsc::channel(MAX_BATCHES);
        (Self { store, group, metrics, looks }, verified)
    }

    /// Does so without end.
    pub(crate) async fn run(mut self) {
        loop {
            tokio::select! {
                Some(looks) = self.looks.recv() => {
                    // Then the scrubber is as quick as it was without all this.
                    if !self.may_write() {
                        continue;
                    }
                    self.look(&looks).await;
                }
                due = self.store.wanted.due(DESCRIBED_CHUNKS) => self.ask_for(due).await,
            }
            self.metrics.origins_wanted.set(self.store.wanted.count() as i64);
            sleep(PAUSE).await;
        }
    }

    /// Whether headers may say anything of files.
    fn may_write(&self) -> bool {
        self.store.level() >= ORIGINS
    }

    /// Asks for chunks that have waited.
    async fn ask_for(&self, due: Vec<Due>) {
        let here: Vec<Due> = due.into_iter().filter(|due| self.store.is_finalized(due.chunk)).collect();
        let chunks: Vec<ChunkId> = here.iter().map(|due| due.chunk).collect();
        let done = match self.describe(&chunks).await {
            Ok(described) => self.renew(described).await,
            Err(error) => {
                debug!(%error, chunks = chunks.len(), "what files these are of is asked later");
                Vec::new()
            }
        };
        let undone = here.into_iter().filter(|due| !done.contains(&due.chunk));
        undone.for_each(|due| self.store.wanted.again(due));
    }

    /// Asks for chunks whose replicas were just verified. Those of open files have time until they are verified again, unless
    /// nothing at all is said of them.
    async fn look(&self, looks: &[Look]) {
        let chunks: Vec<ChunkId> = looks.iter().map(|look| look.chunk).collect();
        let mut backoff = Backoff::new();
        let mut done = Vec::new();
        for _ in 0..TRIES {
            match self.describe(&chunks).await {
                Ok(described) => {
                    done = self.renew(described).await;
                    break;
                }
                Err(error) => debug!(%error, "what files verified replicas are of is not known now"),
            }
            sleep(backoff.next(rand::random())).await;
        }
        let lacking = looks.iter().filter(|look| look.lacks_origin && !done.contains(&look.chunk));
        lacking.for_each(|look| self.store.wanted.add(look.chunk));
    }

    /// Asks the leading NameNode.
    async fn describe(&self, chunks: &[ChunkId]) -> FsResult<Described> {
        if chunks.is_empty() {
            return Ok(Described::default());
        }
        let unasked = |why: &str| Err(FsError::new(ErrorCode::Unavailable, why));
        if !self.may_write() {
            return unasked("the cluster's feature level does not have it");
        }
        let Some(leader) = self.group.leader() else { return unasked("no leading NameNode is known") };
        let described = leader.describe(chunks).await;
        self.metrics.origins_asked.with_label_values(&[result_label(&described)]).inc();
        described
    }

    /// Has the headers say what was told. Answers the chunks of which they do now.
    async fn renew(&self, described: Described) -> Vec<ChunkId> {
        let Described { told, origins } = described;
        let mut done = Vec::with_capacity(origins.len());
        for of in origins {
            let (chunk, began) = (of.chunk, Instant::now());
            let renewed = self.store.renew_header(of, told).await;
            let result = match &renewed {
                Ok(Renewed::Written) => Some("done"),
                Err(Error::NoSpace(_) | Error::Full(_)) => Some("no_room"),
                // It says so; or it changes just now, or its disk is not well, and it is asked for again.
                Ok(Renewed::Current)
                | Err(
                    Error::NotFound(_)
                    | Error::Stale { .. }
                    | Error::Unfit { .. }
                    | Error::Held(_)
                    | Error::Promised { .. }
                    | Error::OutOfUse(_)
                    | Error::Silent(_),
                ) => None,
                Err(error) => {
                    warn!(%chunk, %error, "the header of a replica could not be written");
                    Some("failed")
                }
            };
            if let Some(result) = result {
                self.metrics.headers_written.with_label_values(&[result]).inc();
                let (times, longest) = REST;
                sleep(began.elapsed().saturating_mul(times).min(longest)).await;
            }
            if renewed.is_ok() {
                done.push(chunk);
            }
        }
        done
    }
}
