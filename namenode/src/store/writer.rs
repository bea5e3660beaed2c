//! The one thread that writes the database: applies what was committed, in large transactions, tells the sink, and then
//! answers who proposed it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dfs_types::{ClusterSettings, ErrorCode, FsError, FsResult, Millis};
use tokio::sync::{oneshot, watch};

use super::apply::{BatchError, State, apply_entries};
use super::cache::Cache;
use super::counters::Counters;
use super::edit::{Applied, Change, Outcome};
use super::position::Position;
use super::record::{Content, LogEntry, Record};
use super::space::Room;
use super::{Error, Observer, Residences, Sink};

/// Work that may wait before the log's thread waits itself. More than a leader ever has under way: it must not wait, as
/// then its heartbeats would.
const QUEUE: usize = 8_192;

/// How long a follower gathers entries for a transaction: it makes few large ones, and nobody waits for them.
const GATHER: Duration = Duration::from_millis(5);
/// Pause before the next try on a disk without room.
const ROOM_RETRY: Duration = Duration::from_millis(500);

/// Where the answer to a proposal goes.
pub(crate) type Answer = oneshot::Sender<FsResult<Outcome>>;

/// What the thread is given.
pub(crate) enum Work {
    /// A committed entry.
    Entry {
        /// The entry.
        entry: LogEntry,
        /// Who waits for its proposals, in their order, if anybody does.
        answers: Vec<Answer>,
        /// Whether it is a leader's, whose clients wait; a follower has time to gather more.
        urgent: bool,
    },
    /// Everything is replaced by a snapshot; answers how far the log is applied then.
    Install(PathBuf, SyncSender<FsResult<Position>>),
}

/// What the writer lets others see.
pub(crate) struct Progress {
    /// Why nothing is written any more.
    failure: OnceLock<String>,
    counters: Mutex<Counters>,
    /// When the oldest outcome was kept, by the group's clock; and when that was found out.
    oldest_outcome: Mutex<(Option<u64>, Instant)>,
    residences: Mutex<Residences>,
    commits: AtomicU64,
    /// Index of the entry applied last.
    applied: watch::Sender<u64>,
    /// Index of the last entry that the database itself has noted.
    stored: AtomicU64,
    /// The cluster's feature level, as of the last commit.
    level: AtomicU16,
    settings: Mutex<ClusterSettings>,
    task: Mutex<Task>,
    closing: AtomicBool,
}

/// What the thread is at.
#[derive(Debug, Clone, Copy, Default)]
struct Task {
    /// Since when it has been at a transaction.
    since: Option<Instant>,
    /// It waits for room.
    full: bool,
}

impl Progress {
    fn new(state: &State) -> Self {
        Self {
            failure: OnceLock::new(),
            counters: Mutex::new(state.counters()),
            oldest_outcome: Mutex::new((state.oldest_outcome(), Instant::now())),
            residences: Mutex::new(Residences::of(state)),
            commits: AtomicU64::new(0),
            applied: watch::Sender::new(state.position().applied),
            stored: AtomicU64::new(state.stored()),
            level: AtomicU16::new(state.level()),
            settings: Mutex::new(state.settings()),
            task: Mutex::default(),
            closing: AtomicBool::new(false),
        }
    }

    /// `Err` says why nothing is written any more.
    pub(crate) fn health(&self) -> Result<(), String> {
        self.failure.get().map_or(Ok(()), |failure| Err(failure.clone()))
    }

    /// Nothing is written any more. Only the first failure is the cause; answers that one.
    pub(crate) fn fail(&self, why: &str) -> &str {
        self.failure.get_or_init(|| why.to_owned())
    }

    /// How long the thread has been at a transaction, and whether it waits for room to go on with it.
    pub(crate) fn task(&self) -> (Option<Duration>, bool) {
        let task = *self.task.lock().unwrap_or_else(PoisonError::into_inner);
        (task.since.map(|since| since.elapsed()), task.full)
    }

    /// This NameNode stops: what waits for room is given up.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    fn set_task(&self, task: Task) {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = task;
    }

    /// The counters as of the last commit.
    pub(crate) fn counters(&self) -> Counters {
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Age of the oldest outcome kept for retries, in a group that has had a leader since the last commit.
    pub(crate) fn oldest_outcome(&self) -> Option<Duration> {
        let (oldest, since) = *self.oldest_outcome.lock().unwrap_or_else(PoisonError::into_inner);
        let age = self.counters().clock.saturating_sub(oldest?);
        Some(Duration::from_millis(age) + since.elapsed())
    }

    /// The group's clock, in a group that has had a leader since the last commit.
    pub(crate) fn clock(&self) -> Millis {
        let (_, since) = *self.oldest_outcome.lock().unwrap_or_else(PoisonError::into_inner);
        Millis(self.counters().clock).plus(since.elapsed())
    }

    /// The members and where they are, as of the last commit.
    pub(crate) fn residences(&self) -> Residences {
        self.residences.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Transactions committed since the start.
    pub(crate) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Index of the entry applied last.
    pub(crate) fn applied_now(&self) -> u64 {
        *self.applied.borrow()
    }

    /// Index of the entry applied last, and its changes.
    pub(crate) fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }

    /// Index of the last entry that the database itself has noted: the log needs nothing before.
    pub(crate) fn stored(&self) -> u64 {
        self.stored.load(Ordering::Acquire)
    }

    /// The cluster's feature level, as of the last commit.
    pub(crate) fn level(&self) -> u16 {
        self.level.load(Ordering::Acquire)
    }

    /// The settings of the cluster as a whole, as of the last commit.
    pub(crate) fn settings(&self) -> ClusterSettings {
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, state: &State, members_changed: bool) {
        self.level.store(state.level(), Ordering::Release);
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = state.settings();
        self.stored.store(state.stored(), Ordering::Release);
        *self.counters.lock().unwrap_or_else(PoisonError::into_inner) = state.counters();
        *self.oldest_outcome.lock().unwrap_or_else(PoisonError::into_inner) =
            (state.oldest_outcome(), Instant::now());
        if members_changed {
            *self.residences.lock().unwrap_or_else(PoisonError::into_inner) = Residences::of(state);
        }
        self.applied.send_replace(state.position().applied);
    }
}

/// The handle. Dropping it ends the thread after all that waits is applied and answered.
pub(crate) struct Writer {
    queue: Option<SyncSender<Work>>,
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
        room: Arc<Room>,
    ) -> Result<Self, Error> {
        let progress = Arc::new(Progress::new(&state));
        let (queue, work) = sync_channel(QUEUE);
        let run = Run {
            state,
            cache,
            sink,
            observer,
            room,
            progress: progress.clone(),
            max_batch: max_batch.max(1),
            stopped: false,
        };
        let thread = std::thread::Builder::new()
            .name("meta-writer".to_owned())
            .spawn(move || run.until_closed(&work))
            .map_err(Error::Thread)?;
        Ok(Self { queue: Some(queue), thread: Some(thread), progress })
    }

    /// What the writer lets others see.
    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// The way to the thread, for the log's thread alone.
    pub(crate) fn queue(&self) -> Option<SyncSender<Work>> {
        self.queue.clone()
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        self.progress.close();
        let Some(thread) = self.thread.take() else {
            return;
        };
        // The sink may own the last handle of the store: then the thread ends by itself.
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the writer thread had panicked");
        }
    }
}

/// The thread's state.
struct Run {
    state: State,
    cache: Arc<Cache>,
    sink: Sink,
    observer: Option<Arc<dyn Observer>>,
    room: Arc<Room>,
    progress: Arc<Progress>,
    max_batch: usize,
    /// There was no room for something and this NameNode stops: the next start applies what comes from then on.
    stopped: bool,
}

impl Run {
    fn until_closed(mut self, queue: &Receiver<Work>) {
        let (mut entries, mut answers) = (Vec::new(), Vec::new());
        let mut proposals = 0;
        let mut next = queue.recv().ok();
        let mut deadline = Instant::now() + GATHER;
        while let Some(work) = next {
            match work {
                Work::Entry { entry, answers: waiting, urgent } => {
                    proposals += self::proposals(&entry);
                    answers.push(waiting);
                    entries.push(entry);
                    let until = if urgent { Instant::now() } else { Instant::now() + GATHER };
                    deadline = deadline.min(until);
                }
                Work::Install(snapshot, done) => {
                    self.commit(&mut entries, &mut answers);
                    proposals = 0;
                    let installed = self.install(&snapshot);
                    // The log's thread waits for it, unless it panicked.
                    let _gone = done.send(installed);
                }
            }
            let left = deadline.saturating_duration_since(Instant::now());
            next = match proposals < self.max_batch {
                true if left.is_zero() || entries.is_empty() => queue.try_recv().ok(),
                true => queue.recv_timeout(left).ok(),
                false => None,
            };
            if next.is_none() {
                self.commit(&mut entries, &mut answers);
                (proposals, deadline) = (0, Instant::now() + GATHER);
                next = queue.recv().ok();
            }
        }
        if self.progress.health().is_ok()
            && let Err(error) = self.state.close()
        {
            tracing::warn!(%error, "closing the namespace database failed, its log is replayed at the next start");
        }
    }

    /// Applies a batch and answers. After the first failure nothing is tried again: what is on disk is not known, and
    /// only a restart reads it back.
    fn commit(&mut self, entries: &mut Vec<LogEntry>, answers: &mut Vec<Vec<Answer>>) {
        if entries.is_empty() {
            return;
        }
        let begun = Instant::now();
        let batch = std::mem::take(entries);
        let mut waiting = std::mem::take(answers).into_iter();
        let results = match self.apply(&batch) {
            Ok(applied) => self.tell(&batch, applied),
            Err(error) => {
                for answer in waiting.flatten() {
                    // The proposer may have stopped waiting.
                    let _gone = answer.send(Err(error.clone()));
                }
                return;
            }
        };
        if let Some(observer) = &self.observer {
            observer.on_commit(results.len(), begun.elapsed());
        }
        let mut results = results.into_iter();
        for entry in &batch {
            let own: Vec<_> = results.by_ref().take(proposals(entry)).collect();
            for (answer, result) in waiting.next().unwrap_or_default().into_iter().zip(own) {
                // The proposer may have stopped waiting; the edit stands.
                let _gone = answer.send(result);
            }
        }
    }

    fn apply(&mut self, batch: &[LogEntry]) -> FsResult<Vec<Applied>> {
        let applied = self.when_there_is_room(|state, cache| apply_entries(state, cache, batch))?;
        self.progress.commits.fetch_add(1, Ordering::Relaxed);
        Ok(applied)
    }

    /// Does `work`, again and again while the disk is full. After a failure nothing is done any more.
    fn when_there_is_room<T>(
        &mut self,
        mut work: impl FnMut(&mut State, &Cache) -> Result<T, BatchError>,
    ) -> FsResult<T> {
        self.progress.health().map_err(unavailable)?;
        if self.stopped {
            return Err(stopping());
        }
        let since = Some(Instant::now());
        self.progress.set_task(Task { since, full: false });
        self.state.spare_room(self.room.is_low());
        let mut tries = 0;
        let done = loop {
            match work(&mut self.state, &self.cache) {
                Err(error) if error.is_full() && self.state.begin_sparing() => {
                    self.state.roll_back().map_err(|error| self.fail(&error))?;
                    continue;
                }
                Err(error) if error.is_full() => self.await_room(&error, since, tries)?,
                done => break done,
            }
            tries += 1;
            self.progress.set_task(Task { since, full: tries > 1 });
        };
        self.progress.set_task(Task::default());
        done.map_err(|error| self.fail(&error))
    }

    /// What is committed must be applied, also when there is no room for it yet: asks for room, and copies SQLite's log into
    /// the database, so that the log can begin anew in the room that it has. Waits before all tries but the first. Fails
    /// when this NameNode stops: then it is applied after the next start.
    fn await_room(&mut self, full: &BatchError, since: Option<Instant>, tries: u32) -> FsResult<()> {
        if tries > 0 {
            let cause = dfs_types::error::sentence(full);
            self.progress.set_task(Task { since, full: true });
            if self.progress.closing.load(Ordering::Acquire) {
                tracing::warn!(
                    cause,
                    "stopping while changes wait for room: the next start goes on with them"
                );
                self.stopped = true;
                return Err(stopping());
            }
            if tries == 1 {
                tracing::warn!(cause, "the namespace database waits for room on its disk");
            }
            std::thread::sleep(ROOM_RETRY);
        }
        self.room.make_room();
        self.state.roll_back().map_err(|error| self.fail(&error))
    }

    /// Passes the changes on in order, then lets everybody know how far it went; answers what the proposers are told.
    fn tell(&mut self, batch: &[LogEntry], applied: Vec<Applied>) -> Vec<FsResult<Outcome>> {
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
        let changes_members = |entry: &LogEntry| {
            matches!(entry.content, Content::Members(..) | Content::Record(Record::Moved(_)))
        };
        self.progress.publish(&self.state, batch.iter().any(changes_members));
        results
    }

    fn install(&mut self, snapshot: &std::path::Path) -> FsResult<Position> {
        self.when_there_is_room(|state, cache| state.replace(cache, snapshot))?;
        (self.sink)(vec![Change::Replaced]);
        self.progress.publish(&self.state, true);
        Ok(self.state.position().clone())
    }

    fn fail(&self, error: &BatchError) -> FsError {
        let cause = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        tracing::error!(%error, cause, "writing the namespace failed, this NameNode stops");
        let failure = format!(
            "{error} ({cause}): make room if the disk is full; if the database is damaged, replace this NameNode \
             (docs/operations/namenodes.md) or restore a backup"
        );
        unavailable(self.progress.fail(&failure).to_owned())
    }
}

/// What was proposed may be committed and stand: asked again with the same request id, another NameNode knows.
fn unavailable(why: String) -> FsError {
    FsError::new(ErrorCode::Unavailable, why)
}

fn stopping() -> FsError {
    unavailable("the NameNode is stopping, and its disk has no room: try again shortly".to_owned())
}

/// Proposals in an entry.
fn proposals(entry: &LogEntry) -> usize {
    match &entry.content {
        Content::Record(Record::Edits(batch)) => batch.proposals.len(),
        Content::Record(Record::Moved(_)) | Content::Nothing | Content::Members(..) => 0,
    }
}
