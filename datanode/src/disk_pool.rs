//! Threads that do a volume's disk work, so that a slow disk stalls neither sockets nor the other volumes.
//!
//! A disk that hangs keeps its threads for as long as it likes; nothing can take them back. So each thread notes since
//! when it has heard nothing from the disk, and whoever waits for a job looks at the oldest of these notes: see
//! [`DiskPool::age`]. Time in which the process itself stood still is no time that the disk took: see [`Clock`].

use std::any::Any;
use std::cell::RefCell;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};
use tracing::error;

/// Jobs that may wait per thread; whoever submits more waits, which pushes back to the network.
const QUEUE_PER_THREAD: usize = 64;

type Job = Box<dyn FnOnce() + Send>;

/// What is to be dropped by a disk thread. There is no more of it than there are open files.
type Left = Mutex<Vec<Box<dyn Any + Send>>>;

/// The pool is closed, or the job panicked: there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the disk threads of the volume have stopped")]
pub(crate) struct Stopped;

/// Longest time between two looks at the clock of a process that runs: somebody looks four times a second.
const STOOD_STILL: Duration = Duration::from_secs(2);

/// Counts the time in which the process has run. One that was stopped (by a signal, with its control group, with its whole
/// machine) has asked its disks nothing meanwhile, and knows nothing of them.
#[derive(Debug)]
struct Clock(Mutex<Ran>);

#[derive(Debug)]
struct Ran {
    /// The last look.
    seen: Instant,
    /// How long the process had run by then.
    ran: Duration,
}

impl Clock {
    fn start(now: Instant) -> Self {
        Self(Mutex::new(Ran { seen: now, ran: Duration::ZERO }))
    }

    /// How long the process has run at `now`.
    fn at(&self, now: Instant) -> Duration {
        let mut clock = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(clock.seen);
        if passed <= STOOD_STILL {
            clock.ran += passed;
        }
        clock.seen = clock.seen.max(now);
        clock.ran
    }
}

/// Since when, by the pool's clock, a thread has been waiting for the disk; `None`: it has no job.
#[derive(Debug)]
struct Note {
    clock: Arc<Clock>,
    since: Mutex<Option<Duration>>,
}

impl Note {
    fn begin(&self) {
        self.set(Some(self.clock.at(Instant::now())));
    }

    fn set(&self, since: Option<Duration>) {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn get(&self) -> Option<Duration> {
        *self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

thread_local! {
    /// The note of this disk thread; none on any other thread.
    static OWN: RefCell<Option<Arc<Note>>> = const { RefCell::new(None) };
}

/// Says that the disk has answered the job of this thread: for jobs of many steps, whose age is that of the step. Does
/// nothing on other threads.
pub(crate) fn disk_answered() {
    OWN.with_borrow(|note| {
        if let Some(note) = note {
            note.begin();
        }
    });
}

/// A bounded pool of threads. The threads end when the pool is dropped or closed and the queue is empty.
#[derive(Debug)]
pub(crate) struct DiskPool {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    unfinished: Arc<AtomicUsize>,
    clock: Arc<Clock>,
    notes: Vec<Arc<Note>>,
    left: Arc<Left>,
    ended: tokio::sync::Mutex<Vec<oneshot::Receiver<()>>>,
}

impl DiskPool {
    /// Starts `threads` threads whose names begin with `name`.
    pub(crate) fn start(name: &str, threads: usize) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>(threads * QUEUE_PER_THREAD);
        let queue = Arc::new(Mutex::new(queue));
        let left = Arc::<Left>::default();
        let clock = Arc::new(Clock::start(Instant::now()));
        let (mut ended, mut notes) = (Vec::with_capacity(threads), Vec::with_capacity(threads));
        for number in 0..threads {
            let (queue, left) = (Arc::clone(&queue), Arc::clone(&left));
            let note = Arc::new(Note { clock: Arc::clone(&clock), since: Mutex::default() });
            notes.push(Arc::clone(&note));
            let (end, has_ended) = oneshot::channel();
            std::thread::Builder::new().name(format!("{name}-{number}")).spawn(move || {
                work(&queue, &left, &note);
                // Nobody may be waiting for the end; that is fine.
                let _ = end.send(());
            })?;
            ended.push(has_ended);
        }
        let (unfinished, ended) = (Arc::default(), tokio::sync::Mutex::new(ended));
        Ok(Self { jobs: Mutex::new(Some(jobs)), unfinished, clock, notes, left, ended })
    }

    /// Jobs that wait or are being done.
    pub(crate) fn jobs(&self) -> usize {
        self.unfinished.load(Ordering::Relaxed)
    }

    /// How long the process has run since this pool was started, as far as somebody looked; at `now`.
    pub(crate) fn ran(&self, now: Instant) -> Duration {
        self.clock.at(now)
    }

    /// How long, at `now`, the disk has owed an answer to the job that has waited longest; `None`: there is no such job.
    pub(crate) fn age(&self, now: Instant) -> Option<Duration> {
        let ran = self.ran(now);
        let oldest = self.notes.iter().filter_map(|note| note.get()).min();
        oldest.map(|since| ran.saturating_sub(since))
    }

    /// Whether a thread has nothing to do.
    pub(crate) fn has_idle_thread(&self) -> bool {
        self.notes.iter().any(|note| note.get().is_none())
    }

    /// Runs `job` on one of the threads and waits for its result. The job runs to its end even if the caller stops
    /// waiting.
    pub(crate) async fn run<T, F>(&self, job: F) -> Result<T, Stopped>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        self.submit(job, false).await
    }

    /// As [`DiskPool::run`], for a job that changes nothing: it is not begun if nobody waits for its result any more.
    pub(crate) async fn ask<T, F>(&self, job: F) -> Result<T, Stopped>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        self.submit(job, true).await
    }

    async fn submit<T, F>(&self, job: F, only_if_wanted: bool) -> Result<T, Stopped>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let sender = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Stopped)?;
        let unfinished = Unfinished::count(&self.unfinished);
        let job: Job = Box::new(move || {
            let _until_done = unfinished;
            if only_if_wanted && answer.is_closed() {
                return;
            }
            // The caller may have stopped waiting; the work is done all the same.
            let _ = answer.send(job());
        });
        sender.send(job).await.map_err(|_| Stopped)?;
        drop(sender);
        result.await.map_err(|_| Stopped)
    }

    /// Drops a value that has open files on one of the threads, soon: closing a file may take as long as anything else that
    /// a disk does.
    pub(crate) fn drop_later<T: Send + 'static>(&self, value: T) {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(value));
        if let Some(jobs) = &*self.jobs.lock().unwrap_or_else(PoisonError::into_inner) {
            // A full queue means that a thread comes by before long.
            let _ = jobs.try_send(Box::new(|| ()));
        }
    }

    /// Takes no further job, and waits until those submitted are done and the threads have ended. With a disk that
    /// hangs this never ends: the caller has a limit.
    pub(crate) async fn close(&self) {
        drop(self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take());
        for thread in self.ended.lock().await.drain(..) {
            // An error means that the thread is gone, which is what is waited for.
            let _ = thread.await;
        }
    }
}

/// One job that waits or is being done.
struct Unfinished(Arc<AtomicUsize>);

impl Unfinished {
    fn count(jobs: &Arc<AtomicUsize>) -> Self {
        jobs.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(jobs))
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn work(queue: &Mutex<mpsc::Receiver<Job>>, left: &Left, note: &Arc<Note>) {
    OWN.set(Some(Arc::clone(note)));
    loop {
        // One idle thread waits inside the receiver, the others for the lock around it.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(job) = job else { return };
        note.begin();
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            error!("a disk job panicked");
        }
        loop {
            let value = left.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(value) = value else { break };
            disk_answered();
            drop(value);
        }
        note.set(None);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc as std_mpsc;

    use super::*;

    #[tokio::test]
    async fn jobs_run_and_a_panic_costs_only_its_own() {
        let pool = DiskPool::start("test", 1).unwrap();
        assert_eq!(pool.run(|| 7).await, Ok(7));
        assert_eq!(pool.run(|| panic!("on purpose")).await, Err::<(), _>(Stopped));
        assert_eq!(pool.run(|| 8).await, Ok(8));
        pool.close().await;
        assert_eq!(pool.jobs(), 0, "a job that panics is over too");
        assert_eq!(pool.age(Instant::now()), None);
    }

    #[tokio::test]
    async fn what_a_stopped_process_does_not_hear_is_not_the_disks_fault() {
        let pool = Arc::new(DiskPool::start("test", 1).unwrap());
        let (go, wait) = std_mpsc::channel::<()>();
        let (began, begins) = oneshot::channel();
        let hangs = {
            let pool = Arc::clone(&pool);
            let job = move || {
                began.send(Instant::now()).unwrap();
                wait.recv()
            };
            tokio::spawn(async move { pool.run(job).await })
        };
        let mut now = begins.await.unwrap();
        let age = |now| pool.age(now).unwrap();
        let look = Duration::from_millis(250);
        for _ in 0..8 {
            now += look;
            age(now);
        }
        let before = age(now);
        assert!(before >= 8 * look, "it runs: {before:?}");
        now += Duration::from_hours(1);
        assert_eq!(age(now), before, "it was stopped");
        assert_eq!(age(now + look), before + look, "and goes on");
        go.send(()).unwrap();
        hangs.await.unwrap().unwrap().unwrap();
    }

    #[tokio::test]
    async fn closing_finishes_what_was_submitted() {
        let pool = Arc::new(DiskPool::start("test", 2).unwrap());
        let done = Arc::new(AtomicUsize::new(0));
        let jobs: Vec<_> = (0..50)
            .map(|_| {
                let (pool, done) = (Arc::clone(&pool), Arc::clone(&done));
                async move { pool.run(move || done.fetch_add(1, Ordering::SeqCst)).await }
            })
            .collect();
        futures_util::future::join_all(jobs).await;
        pool.close().await;
        assert_eq!(done.load(Ordering::SeqCst), 50);
        assert_eq!(pool.run(|| ()).await, Err(Stopped));
    }

    #[tokio::test]
    async fn a_job_is_as_old_as_its_step_and_what_nobody_waits_for_is_not_read() {
        let pool = Arc::new(DiskPool::start("test", 1).unwrap());
        assert_eq!((pool.age(Instant::now()), pool.has_idle_thread()), (None, true));
        let (go, wait) = std_mpsc::channel::<()>();
        let (began, begins) = oneshot::channel();
        let (stepped, steps) = oneshot::channel();
        let hangs = {
            let pool = Arc::clone(&pool);
            tokio::spawn(async move {
                let job = move || {
                    began.send(Instant::now()).unwrap();
                    wait.recv().unwrap();
                    disk_answered();
                    stepped.send(Instant::now()).unwrap();
                    wait.recv().unwrap();
                };
                pool.run(job).await
            })
        };
        let began = begins.await.unwrap();
        assert!(!pool.has_idle_thread());
        let second = Duration::from_secs(1);
        assert!(pool.age(began + second).is_some_and(|age| age >= second), "it began before it said so");

        let read = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&read);
        let ask = pool.ask(move || count.fetch_add(1, Ordering::SeqCst));
        assert!(tokio::time::timeout(Duration::from_millis(1), ask).await.is_err(), "the only thread hangs");

        go.send(()).unwrap();
        let stepped = steps.await.unwrap();
        let before = stepped.max(began + second);
        assert!(pool.age(before).is_some_and(|age| age <= before - began), "the step is younger");
        go.send(()).unwrap();
        hangs.await.unwrap().unwrap();
        assert_eq!(pool.run(|| ()).await, Ok(()));
        assert_eq!(read.load(Ordering::SeqCst), 0, "nobody waited for it any more");
    }
}
