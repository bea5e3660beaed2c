//! Threads that do a volume's disk work, so that a slow disk stalls neither sockets nor the other volumes.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};
use tracing::error;

/// Jobs that may wait per thread; whoever submits more waits, which pushes back to the network.
const QUEUE_PER_THREAD: usize = 64;

type Job = Box<dyn FnOnce() + Send>;

/// The pool is closed, or the job panicked: there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the disk threads of the volume have stopped")]
pub(crate) struct Stopped;

/// A bounded pool of threads. The threads end when the pool is dropped or closed and the queue is empty.
#[derive(Debug)]
pub(crate) struct DiskPool {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    unfinished: Arc<AtomicUsize>,
    ended: tokio::sync::Mutex<Vec<oneshot::Receiver<()>>>,
}

impl DiskPool {
    /// Starts `threads` threads whose names begin with `name`.
    pub(crate) fn start(name: &str, threads: usize) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>(threads * QUEUE_PER_THREAD);
        let queue = Arc::new(Mutex::new(queue));
        let mut ended = Vec::with_capacity(threads);
        for number in 0..threads {
            let queue = Arc::clone(&queue);
            let (end, has_ended) = oneshot::channel();
            std::thread::Builder::new().name(format!("{name}-{number}")).spawn(move || {
                work(&queue);
                // Nobody may be waiting for the end; that is fine.
                let _ = end.send(());
            })?;
            ended.push(has_ended);
        }
        let unfinished = Arc::default();
        Ok(Self { jobs: Mutex::new(Some(jobs)), unfinished, ended: tokio::sync::Mutex::new(ended) })
    }

    /// Jobs that wait or are being done.
    pub(crate) fn jobs(&self) -> usize {
        self.unfinished.load(Ordering::Relaxed)
    }

    /// Runs `job` on one of the threads and waits for its result. The job runs to its end even if the caller stops
    /// waiting.
    pub(crate) async fn run<T, F>(&self, job: F) -> Result<T, Stopped>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (answer, result) = oneshot::channel();
        let sender = self.jobs.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Stopped)?;
        let unfinished = Unfinished::count(&self.unfinished);
        let job: Job = Box::new(move || {
            let _until_done = unfinished;
            // The caller may have stopped waiting; the work is done all the same.
            let _ = answer.send(job());
        });
        sender.send(job).await.map_err(|_| Stopped)?;
        drop(sender);
        result.await.map_err(|_| Stopped)
    }

    /// Takes no further job, and waits until those submitted are done and the threads have ended.
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

fn work(queue: &Mutex<mpsc::Receiver<Job>>) {
    loop {
        // One idle thread waits inside the receiver, the others for the lock around it.
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some(job) = job else { return };
        if catch_unwind(AssertUnwindSafe(job)).is_err() {
            error!("a disk job panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn jobs_run_and_a_panic_costs_only_its_own() {
        let pool = DiskPool::start("test", 1).unwrap();
        assert_eq!(pool.run(|| 7).await, Ok(7));
        assert_eq!(pool.run(|| panic!("on purpose")).await, Err::<(), _>(Stopped));
        assert_eq!(pool.run(|| 8).await, Ok(8));
        pool.close().await;
        assert_eq!(pool.jobs(), 0, "a job that panics is over too");
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
}
