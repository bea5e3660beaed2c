//! The one thread that writes: drains what waits, commits once, tells the sink, and then answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dfs_types::{ErrorCode, FsError, FsResult};
use tokio::sync::{mpsc, oneshot};

use super::apply::{BatchError, Counters, State, apply_batch};
use super::cache::Cache;
use super::edit::{Applied, Change, Outcome, Proposal};
use super::{Error, Observer, Sink};

/// Proposals that wait for the writer before further proposers wait themselves.
const QUEUE: usize = 4_096;
/// Longest wait for room in the queue. Then thousands wait already, and the caller's own deadline is near.
const MAX_WAIT: Duration = Duration::from_secs(10);

struct Waiting {
    proposal: Proposal,
    answer: oneshot::Sender<FsResult<Outcome>>,
}

/// What the writer lets others see.
#[derive(Default)]
pub(crate) struct Progress {
    /// Why nothing is written any more.
    failure: OnceLock<String>,
    counters: Mutex<Counters>,
    commits: AtomicU64,
}

impl Progress {
    /// `Err` says why nothing is written any more.
    pub(crate) fn health(&self) -> Result<(), String> {
        self.failure.get().map_or(Ok(()), |failure| Err(failure.clone()))
    }

    /// The counters as of the last commit.
    pub(crate) fn counters(&self) -> Counters {
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Batches committed since the start.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    fn publish(&self, counters: Counters) {
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner) = counters;
    }
}

/// The handle. Dropping it ends the thread after all that waits is committed and answered.
pub(crate) struct Writer {
    queue: Option<mpsc::Sender<Waiting>>,
    thread: Option<JoinHandle<()>>,
    progress: Arc<Progress>,
}

impl Writer {
    /// Starts the thread.
    pub(crate) fn start(
        state: State,
        cache: Arc<Cache>,
        max_batch: usize,
        sink: Sink,
        observer: Option<Arc<dyn Observer>>,
    ) -> Result<Self, Error> {
        let progress = Arc::new(Progress::default());
        progress.publish(state.counters());
        let (queue, proposals) = mpsc::channel(QUEUE);
        let run =
            Run { state, cache, sink, observer, progress: progress.clone(), max_batch: max_batch.max(1) };
        let thread = std::thread::Builder::new()
            .name("meta-writer".to_owned())
            .spawn(move || run.until_closed(proposals))
            .map_err(Error::Thread)?;
        Ok(Self { queue: Some(queue), thread: Some(thread), progress })
    }

    /// What the writer lets others see.
    pub(crate) fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Applies a proposal; answers after it is durable and the sink was told.
    pub(crate) async fn propose(&self, proposal: Proposal) -> FsResult<Outcome> {
        let queue = self.queue.as_ref().ok_or_else(stopped)?;
        let room = match queue.try_reserve() {
            Ok(room) => room,
            Err(mpsc::error::TrySendError::Full(())) => tokio::time::timeout(MAX_WAIT, queue.reserve())
                .await
                .map_err(|_| {
                    FsError::new(
                        ErrorCode::Busy,
                        format!("{QUEUE} changes of the namespace wait already: try again shortly"),
                    )
                })?
                .map_err(|_| stopped())?,
            Err(mpsc::error::TrySendError::Closed(())) => return Err(stopped()),
        };
        let (answer, answered) = oneshot::channel();
        room.send(Waiting { proposal, answer });
        answered.await.map_err(|_| stopped())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        let Some(thread) = self.thread.take() else {
            return;
        };
        // The sink may own the last handle of the store: then the thread ends by itself.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the writer thread had panicked");
        }
    }
}

fn stopped() -> FsError {
    FsError::internal("the namespace's writer has stopped: look at the NameNode's log and restart it")
}

/// The thread's state.
struct Run {
    state: State,
    cache: Arc<Cache>,
    sink: Sink,
    observer: Option<Arc<dyn Observer>>,
    progress: Arc<Progress>,
    max_batch: usize,
}

impl Run {
    fn until_closed(mut self, mut proposals: mpsc::Receiver<Waiting>) {
        let mut batch = Vec::with_capacity(self.max_batch);
        while proposals.blocking_recv_many(&mut batch, self.max_batch) > 0 {
            let (proposals, answers): (Vec<_>, Vec<_>) =
                batch.drain(..).map(|waiting| (waiting.proposal, waiting.answer)).unzip();
            let results = match self.commit(&proposals) {
                Ok(applied) => self.tell(applied),
                Err(error) => vec![Err(error); answers.len()],
            };
            for (answer, result) in answers.into_iter().zip(results) {
                // The proposer may have stopped waiting; the edit stands.
                let _ = answer.send(result);
            }
        }
        if self.progress.health().is_ok()
            && let Err(error) = self.state.close()
        {
            tracing::warn!(%error, "closing the namespace database failed, its log is replayed at the next start");
        }
    }

    /// Commits a batch. After the first failure nothing is tried again: what is on disk is not known, and only a
    /// restart reads it back.
    fn commit(&mut self, proposals: &[Proposal]) -> FsResult<Vec<Applied>> {
        self.progress.health().map_err(FsError::internal)?;
        let begun = Instant::now();
        match apply_batch(&mut self.state, &self.cache, proposals) {
            Ok(applied) => {
                self.progress.publish(self.state.counters());
                self.progress.commits.fetch_add(1, Ordering::Relaxed);
                if let Some(observer) = &self.observer {
                    observer.on_commit(proposals.len(), begun.elapsed());
                }
                Ok(applied)
            }
            Err(error) => {
                let (BatchError::Sqlite(_) | BatchError::HalfDone(_)) = &error;
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::error!(%error, cause, "writing the namespace failed, no change is accepted any more");
                let failure = format!(
                    "{error} ({cause}), and no change is accepted any more: check the disk and restart the NameNode"
                );
                let failure = self.progress.failure.get_or_init(|| failure);
                Err(FsError::internal(failure.clone()))
            }
        }
    }

    /// Passes the changes on in order, and keeps what the proposers are told.
    fn tell(&mut self, applied: Vec<Applied>) -> Vec<FsResult<Outcome>> {
        let mut changes: Vec<Change> = Vec::new();
        let results = applied
            .into_iter()
            .map(|applied| {
                applied.map(|(outcome, mut own)| {
                    changes.append(&mut own);
                    outcome
                })
            })
            .collect();
        if !changes.is_empty() {
            (self.sink)(changes);
        }
        results
    }
}
