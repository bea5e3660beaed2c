//! A bounded pool of threads that read the database, each with its own connection.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use dfs_types::{ErrorCode, FsError, FsResult};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::Error;
use super::cache::Cache;
use super::schema;
use super::snapshot::Snapshot;
use super::stop::Stop;
use super::writer::Progress;

/// Most reads that wait for a thread. A read takes some ten microseconds, so this is far less than a second.
const MAX_WAITING: usize = 8 << 10;

type Job = Box<dyn FnOnce(&mut Reader) + Send>;

/// What one thread works with.
struct Reader {
    connection: Connection,
    cache: Arc<Cache>,
    superuser: Arc<str>,
    progress: Arc<Progress>,
}

impl Reader {
    /// Answers a query. Whoever meets damage ends this NameNode: another one has the same without it.
    fn answer<T>(&mut self, query: impl FnOnce(&Snapshot<'_>) -> Result<T, Stop>) -> FsResult<T> {
        self.query(query).map_err(|stop| {
            let is_damage = matches!(&stop, Stop::Broken(error) if schema::is_damage(error));
            let error = stop.into_answer();
            if is_damage {
                tracing::error!(error = error.message, "this NameNode stops");
                self.progress.fail(&error.message);
            }
            error
        })
    }

    /// Runs `query` on one state of the database, and caches the inodes it met.
    fn query<T>(&mut self, query: impl FnOnce(&Snapshot<'_>) -> Result<T, Stop>) -> Result<T, Stop> {
        // Before the transaction begins to read: see `cache`.
        let epoch = self.cache.epoch();
        let transaction = self.connection.transaction()?;
        let snapshot = Snapshot::new(&transaction, &self.superuser);
        let result = query(&snapshot);
        self.cache.insert(epoch, snapshot.into_met());
        result
    }
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    closed: bool,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

impl Queue {
    /// Queues a job unless too many wait.
    fn push(&self, job: Job) -> FsResult<()> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.jobs.len() >= MAX_WAITING {
            return Err(FsError::new(
                ErrorCode::Busy,
                format!("{MAX_WAITING} reads of the namespace wait already: try again shortly"),
            ));
        }
        waiting.jobs.push_back(job);
        drop(waiting);
        self.changed.notify_one();
        Ok(())
    }

    /// The next job; `None` when the queue is closed and empty.
    fn pop(&self) -> Option<Job> {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |waiting: &mut Waiting| waiting.jobs.is_empty() && !waiting.closed;
        let mut waiting = self.changed.wait_while(waiting, idle).unwrap_or_else(PoisonError::into_inner);
        waiting.jobs.pop_front()
    }

    fn close(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.changed.notify_all();
    }
}

/// The pool. Dropping it ends the threads after the jobs that wait.
pub(crate) struct Readers {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

impl Readers {
    /// Starts `count` threads. `progress` is told when the database turns out to be damaged.
    pub(crate) fn start(
        database: &Path,
        count: usize,
        cache: &Arc<Cache>,
        superuser: &Arc<str>,
        progress: &Arc<Progress>,
    ) -> Result<Self, Error> {
        let mut readers = Self { queue: Arc::default(), threads: Vec::new() };
        for index in 0..count.max(1) {
            let mut reader = Reader {
                connection: schema::open_reader(database)?,
                cache: cache.clone(),
                superuser: superuser.clone(),
                progress: progress.clone(),
            };
            let queue = readers.queue.clone();
            let run = move || {
                while let Some(job) = queue.pop() {
                    job(&mut reader);
                }
            };
            let thread = std::thread::Builder::new().name(format!("meta-reader-{index}")).spawn(run);
            readers.threads.push(thread.map_err(Error::Thread)?);
        }
        Ok(readers)
    }

    /// Runs `query` on a thread of the pool, on one state of the database: the present one or one newer than the
    /// call.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Snapshot<'_>) -> Result<T, Stop> + Send + 'static,
    ) -> FsResult<T> {
        let (answer, answered) = oneshot::channel();
        self.queue.push(Box::new(move |reader| {
            // Nobody waits any more: a query that costs nothing is the cheapest.
            if !answer.is_closed() {
                // A caller that stopped waiting in the meantime needs no answer.
                let _ = answer.send(reader.answer(query));
            }
        }))?;
        answered
            .await
            .map_err(|_| FsError::internal("a reader of the namespace died: look at the NameNode's log"))?
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.queue.close();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a reader thread had panicked");
            }
        }
    }
}
