//! The log with a thread of its own for the disk.
//!
//! Whoever owns the log takes entries, reads them and goes on at once; the thread writes and syncs them in their order
//! and says how far it is. So the member keeps speaking to the others while its disk works, and knows how long the disk
//! has been at it: a disk that is slow costs time, one that stands still costs this member the lead and nothing else.
//!
//! Two things are not errors here. *No room*: the thread asks for some ([`Hooks::make_room`]) and tries again until
//! there is some; trimming, which makes room, goes first meanwhile. *A failed disk*: nothing more becomes durable, as if
//! it stood still, and [`Condition::failure`] tells why, so that the owner can hand over what it has before it ends.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use raft::eraftpb::{Entry, HardState};

use super::file::repeat;
use super::view::{View, data_bytes};
use super::{EntryLog, Error, FileLog};

/// Pause before the next try on a disk without room.
const ROOM_RETRY: Duration = Duration::from_millis(200);

/// What the thread tells and asks its owner; called on the thread.
pub struct Hooks {
    /// Something has become durable (`Some`: how long that took), or the condition has changed.
    pub progress: Box<dyn Fn(Option<Duration>) + Send>,
    /// The disk is full: whether there may be room now because something was given up.
    pub make_room: Box<dyn Fn() -> bool + Send>,
}

impl std::fmt::Debug for Hooks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hooks").finish_non_exhaustive()
    }
}

/// Tells how the disk of a [`DiskLog`] is, to anybody.
#[derive(Debug, Clone)]
pub struct Gauge(Arc<Shared>);

impl Gauge {
    /// How it is.
    pub fn condition(&self) -> Condition {
        let State { since, full, failure, backlog } = &*self.0.state();
        Condition {
            busy: since.map(|since| since.elapsed()),
            full: *full,
            failure: failure.as_ref().map(repeat),
            backlog: *backlog,
        }
    }
}

/// How the disk is.
#[derive(Debug, Default)]
pub struct Condition {
    /// How long it has been at what it does now; `None` if it does nothing.
    pub busy: Option<Duration>,
    /// It waits for room.
    pub full: bool,
    /// Why nothing becomes durable any more.
    pub failure: Option<Error>,
    /// Bytes of entries that wait to become durable.
    pub backlog: u64,
}

#[derive(Debug, Default)]
struct State {
    since: Option<Instant>,
    full: bool,
    failure: Option<Error>,
    backlog: u64,
}

#[derive(Debug, Default)]
struct Shared {
    durable: AtomicU64,
    state: Mutex<State>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Job {
    Append {
        hard_state: Option<HardState>,
        entries: Vec<Entry>,
        bytes: u64,
    },
    Trim(u64),
    Reset {
        start: (u64, u64),
        done: SyncSender<Result<(), Error>>,
    },
    /// Tells that everything before is done.
    Flush(SyncSender<()>),
}

/// An [`EntryLog`] whose appends become durable later, in their order. Dropping it waits for the thread, which ends after
/// what was taken is durable, or can't be.
#[derive(Debug)]
pub struct DiskLog {
    view: View,
    hard_state: HardState,
    appended: u64,
    jobs: Option<Sender<Job>>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl DiskLog {
    /// Starts the thread.
    pub fn start(log: FileLog, hooks: Hooks) -> std::io::Result<Self> {
        let (view, hard_state) = (log.view.clone(), log.hard_state.clone());
        let shared = Arc::new(Shared::default());
        // As long as the owner lets it be: it looks at the backlog.
        let (jobs, queue) = channel();
        let disk = Disk { log, hooks, shared: Arc::clone(&shared), queue, waiting: VecDeque::new() };
        let thread =
            std::thread::Builder::new().name("meta-log-disk".to_owned()).spawn(move || disk.run())?;
        Ok(Self { view, hard_state, appended: 0, jobs: Some(jobs), shared, thread: Some(thread) })
    }

    /// How the disk is.
    pub fn condition(&self) -> Condition {
        self.gauge().condition()
    }

    /// For those who want to know that without this log.
    pub fn gauge(&self) -> Gauge {
        Gauge(Arc::clone(&self.shared))
    }

    fn give(&self, job: Job) -> Result<(), Error> {
        let given = self.jobs.as_ref().map(|jobs| jobs.send(job));
        match given {
            Some(Ok(())) => Ok(()),
            Some(Err(_)) | None => Err(self.shared.state().failure.as_ref().map_or_else(ended, repeat)),
        }
    }
}

/// The thread has panicked.
fn ended() -> Error {
    let source = std::io::Error::other("its thread has ended");
    Error::Io { action: "writing", path: "the log".into(), source }
}

impl EntryLog for DiskLog {
    fn hard_state(&self) -> HardState {
        self.hard_state.clone()
    }

    fn start(&self) -> (u64, u64) {
        self.view.start()
    }

    fn last_index(&self) -> u64 {
        self.view.last().0
    }

    fn term(&self, index: u64) -> Option<u64> {
        self.view.term(index)
    }

    fn entries(&self, low: u64, high: u64, max_bytes: u64) -> Vec<Entry> {
        self.view.entries(low, high, max_bytes)
    }

    fn append(&mut self, hard_state: Option<&HardState>, entries: &[Entry]) -> Result<(), Error> {
        let promise = |hard_state: &HardState| (hard_state.term, hard_state.vote);
        let promises = hard_state.is_some_and(|given| promise(given) != promise(&self.hard_state));
        let commits = |given: &HardState| self.view.changes_members(self.hard_state.commit, given.commit);
        // A commit index alone is kept in memory only.
        if promises || !entries.is_empty() || hard_state.is_some_and(commits) {
            let bytes = entries.iter().map(data_bytes).sum();
            self.shared.state().backlog += bytes;
            self.give(Job::Append { hard_state: hard_state.cloned(), entries: entries.to_vec(), bytes })?;
            self.appended += 1;
        }
        if let Some(hard_state) = hard_state {
            self.hard_state = hard_state.clone();
            self.hard_state.commit = self.hard_state.commit.max(self.view.start().0);
        }
        for entry in entries {
            // The thread refuses what leaves a gap.
            let _ = self.view.put(entry.clone());
        }
        Ok(())
    }

    fn appended(&self) -> u64 {
        self.appended
    }

    fn durable(&self) -> u64 {
        self.shared.durable.load(Ordering::Acquire)
    }

    fn flush(&mut self) -> Result<(), Error> {
        let (done, flushed) = sync_channel(1);
        self.give(Job::Flush(done))?;
        flushed.recv().map_err(|_| self.shared.state().failure.as_ref().map_or_else(ended, repeat))
    }

    fn reset(&mut self, index: u64, term: u64) -> Result<(), Error> {
        let (done, reset) = sync_channel(1);
        self.give(Job::Reset { start: (index, term), done })?;
        reset.recv().map_err(|_| ended())??;
        self.view = View::new((index, term));
        self.hard_state.commit = self.hard_state.commit.max(index);
        Ok(())
    }

    /// At once in memory, on disk some time later.
    fn trim(&mut self, index: u64) -> Result<(), Error> {
        let index = index.min(self.view.last().0);
        self.give(Job::Trim(index))?;
        self.view.trim(index);
        self.hard_state.commit = self.hard_state.commit.max(self.view.start().0);
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.view.bytes()
    }
}

impl Drop for DiskLog {
    fn drop(&mut self) {
        self.jobs = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread of the log's disk had panicked");
        }
    }
}

/// The thread's side.
struct Disk {
    log: FileLog,
    hooks: Hooks,
    shared: Arc<Shared>,
    queue: Receiver<Job>,
    /// Jobs that came while there was no room.
    waiting: VecDeque<Job>,
}

impl Disk {
    fn run(mut self) {
        while let Some(job) = self.waiting.pop_front().or_else(|| self.queue.recv().ok()) {
            self.shared.state().since = Some(Instant::now());
            let done = self.perform(job);
            let mut state = self.shared.state();
            (state.since, state.full) = (None, false);
            if let Err(error) = done {
                // Nothing that comes after can be performed either; those who give more find out by the condition.
                state.failure = Some(error);
                drop(state);
                (self.hooks.progress)(None);
                while self.queue.recv().is_ok() {}
                return;
            }
        }
    }

    fn perform(&mut self, job: Job) -> Result<(), Error> {
        match job {
            Job::Append { hard_state, entries, bytes } => {
                self.when_there_is_room(|log| log.append(hard_state.as_ref(), &entries))?;
                self.shared.state().backlog -= bytes;
                self.shared.durable.fetch_add(1, Ordering::Release);
                (self.hooks.progress)(Some(self.log.last_sync()));
                Ok(())
            }
            Job::Trim(index) => self.trim(index),
            Job::Flush(done) => {
                // Whoever asked waits for it.
                let _gone = done.send(());
                Ok(())
            }
            Job::Reset { start: (index, term), done } => {
                let reset = self.when_there_is_room(|log| log.reset(index, term));
                let answer = match &reset {
                    Ok(()) => Ok(()),
                    Err(error) => Err(repeat(error)),
                };
                // Whoever asked waits for it.
                let _gone = done.send(answer);
                reset
            }
        }
    }

    fn trim(&mut self, index: u64) -> Result<(), Error> {
        match self.log.trim(index) {
            // What could be removed is. The rest goes with the next trim.
            Ok(()) | Err(Error::Full { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Does `work`, again and again while the disk is full.
    fn when_there_is_room(
        &mut self,
        mut work: impl FnMut(&mut FileLog) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut tried = false;
        loop {
            let full = match work(&mut self.log) {
                Err(error @ Error::Full { .. }) => error,
                done => return done,
            };
            if (self.hooks.make_room)() && !std::mem::replace(&mut tried, true) {
                continue;
            }
            let newly = !std::mem::replace(&mut self.shared.state().full, true);
            if newly {
                tracing::warn!(error = %full, "the log waits for room on its disk");
                (self.hooks.progress)(None);
            }
            match self.queue.recv_timeout(ROOM_RETRY) {
                Ok(Job::Trim(index)) => self.trim(index)?,
                Ok(job) => self.waiting.push_back(job),
                Err(RecvTimeoutError::Timeout) => {}
                // Nobody was told that it is durable.
                Err(RecvTimeoutError::Disconnected) => return Err(full),
            }
        }
    }
}
