//! Changes of replicas on their way to the NameNodes: one queue for each, in the order the changes happened.
//!
//! Whoever changes the index pushes the change while it holds the index's lock. So a full report, which reads the index
//! after it emptied the queue, covers every change it took out, and every later one follows it.

use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use dfs_types::ReplicaRecord;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

/// Changes that may wait for an unreachable NameNode before they are dropped in favour of a full report.
const MAX_WAITING: usize = 100_000;

/// A replica came or changed, or (`deleted`) went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    /// The replica.
    pub(crate) replica: ReplicaRecord,
    /// It is gone.
    pub(crate) deleted: bool,
}

/// Everything a queue held at one moment.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// In order.
    pub(crate) changes: Vec<Change>,
    /// Told when the NameNode knows the changes.
    waiters: Vec<oneshot::Sender<()>>,
}

impl Batch {
    /// The NameNode knows the changes.
    pub(crate) fn accepted(self) {
        for waiter in self.waiters {
            // Whoever waited may have gone; the NameNode knows all the same.
            let _ = waiter.send(());
        }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    batch: Batch,
    full: bool,
    /// A full report is on its way.
    full_sent: bool,
    /// The last report failed.
    silent: bool,
    registered: bool,
}

/// The changes that one NameNode has not been told of.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    wake: Notify,
}

impl Queue {
    fn with<T>(&self, with: impl FnOnce(&mut Waiting) -> T) -> T {
        with(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn push(&self, change: Change, waiter: Option<oneshot::Sender<()>>) {
        self.with(|waiting| {
            // A full report will tell of it anyway.
            if !waiting.full {
                waiting.batch.changes.push(change);
            }
            if waiting.batch.changes.len() > MAX_WAITING {
                waiting.batch.changes = Vec::new();
                waiting.full = true;
            }
            waiting.batch.waiters.retain(|waiter| !waiter.is_closed());
            waiting.batch.waiters.extend(waiter);
        });
        self.wake.notify_one();
    }

    /// The NameNode asks for a full report. One on its way will do; if not, it asks again.
    pub(crate) fn full_wanted(&self) {
        if !self.with(|waiting| waiting.full_sent) {
            self.want_full();
        }
    }

    /// Asks for a full report.
    pub(crate) fn want_full(&self) {
        self.with(|waiting| waiting.full = true);
        self.wake.notify_one();
    }

    /// Notes whether the NameNode knows this process.
    pub(crate) fn set_registered(&self, registered: bool) {
        self.with(|waiting| waiting.registered = registered);
        self.wake.notify_one();
    }

    /// Whether the NameNode knows this process.
    pub(crate) fn is_registered(&self) -> bool {
        self.with(|waiting| waiting.registered)
    }

    /// Takes everything out; `true` if a full report is to be sent instead of the changes.
    pub(crate) fn take(&self) -> (Batch, bool) {
        self.with(|waiting| {
            waiting.full_sent = waiting.full;
            (std::mem::take(&mut waiting.batch), std::mem::take(&mut waiting.full))
        })
    }

    /// What was taken out was sent, and answered or not.
    pub(crate) fn sent(&self, answered: bool) {
        self.with(|waiting| (waiting.full_sent, waiting.silent) = (false, !answered));
    }

    /// Whether the NameNode knows this process and took the last report.
    fn is_listening(&self) -> bool {
        self.with(|waiting| waiting.registered && !waiting.silent)
    }

    /// Puts back what could not be sent, ahead of what came since.
    pub(crate) fn put_back(&self, mut batch: Batch, full: bool) {
        self.with(|waiting| {
            let later = std::mem::take(&mut waiting.batch);
            batch.changes.extend(later.changes);
            batch.waiters.extend(later.waiters);
            waiting.batch = batch;
            waiting.full |= full;
            if waiting.full {
                waiting.batch.changes = Vec::new();
            }
        });
    }

    /// Waits until there may be something to do.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }
}

/// The queues of all NameNodes. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reports {
    queues: Arc<RwLock<Vec<Arc<Queue>>>>,
}

/// A change that the NameNodes are being told of.
#[derive(Debug)]
pub(crate) struct Told {
    /// Of each NameNode that listens.
    waits: Vec<oneshot::Receiver<()>>,
}

impl Told {
    /// Waits until most of those that listen know, at most `limit`. Answers whether they do. The change stays queued either
    /// way.
    pub(crate) async fn wait(self, limit: Duration) -> bool {
        let enough = match self.waits.len() {
            0 => 0,
            listening => listening / 2 + 1,
        };
        let known = async {
            let mut waits: FuturesUnordered<_> = self.waits.into_iter().collect();
            let mut known = 0;
            while known < enough {
                match waits.next().await {
                    Some(Ok(())) => known += 1,
                    // Its NameNode is not reported to any more.
                    Some(Err(_)) => {}
                    None => return false,
                }
            }
            true
        };
        timeout(limit, known).await.unwrap_or(false)
    }
}

impl Reports {
    fn queues(&self) -> RwLockReadGuard<'_, Vec<Arc<Queue>>> {
        self.queues.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a NameNode's queue. What changed before is in the full report that every NameNode gets first.
    pub(crate) fn add(&self, queue: Arc<Queue>) {
        self.queues.write().unwrap_or_else(PoisonError::into_inner).push(queue);
    }

    /// Removes a NameNode's queue: nobody waits for it any more.
    pub(crate) fn remove(&self, queue: &Arc<Queue>) {
        self.queues
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|there| !Arc::ptr_eq(there, queue));
        // Those who wait for it stop doing so.
        drop(queue.take());
    }

    /// Changes that the NameNode furthest behind has not been told of.
    pub(crate) fn waiting(&self) -> usize {
        let lengths =
            self.queues().iter().map(|queue| queue.with(|waiting| waiting.batch.changes.len())).max();
        lengths.unwrap_or_default()
    }

    /// Tells every NameNode of a change, soon.
    pub(crate) fn push(&self, change: Change) {
        for queue in self.queues().iter() {
            queue.push(change, None);
        }
    }

    /// The same, for someone who wants to know when most of those that listen have been told. One that did not answer
    /// lately delays nobody.
    pub(crate) fn push_awaited(&self, change: Change) -> Told {
        let queues = self.queues();
        let waits = queues.iter().filter_map(|queue| {
            let (waiter, told) = oneshot::channel();
            let listens = queue.is_listening();
            queue.push(change, listens.then_some(waiter));
            listens.then_some(told)
        });
        Told { waits: waits.collect() }
    }
}

#[cfg(test)]
mod tests {
    use dfs_types::{ChunkId, GenStamp, ReplicaState};

    use super::*;

    fn change(chunk: u64) -> Change {
        let replica = ReplicaRecord {
            chunk: ChunkId(chunk),
            generation: GenStamp(1),
            length: 1,
            state: ReplicaState::Finalized,
        };
        Change { replica, deleted: false }
    }

    fn chunks(batch: &Batch) -> Vec<u64> {
        batch.changes.iter().map(|change| change.replica.chunk.0).collect()
    }

    fn with_queues<const COUNT: usize>() -> (Reports, [Arc<Queue>; COUNT]) {
        let (reports, queues) = (Reports::default(), [(); COUNT].map(|()| Arc::<Queue>::default()));
        for queue in &queues {
            reports.add(Arc::clone(queue));
        }
        (reports, queues)
    }

    #[test]
    fn what_is_put_back_stays_in_order() {
        let (reports, [queue]) = with_queues();
        reports.push(change(1));
        let (batch, full) = queue.take();
        reports.push(change(2));
        queue.put_back(batch, full);
        let (batch, full) = queue.take();
        assert_eq!((chunks(&batch), full), (vec![1, 2], false));
    }

    #[test]
    fn too_many_changes_become_a_full_report() {
        let (reports, [queue]) = with_queues();
        for chunk in 0..=MAX_WAITING as u64 + 5 {
            reports.push(change(chunk));
        }
        let (batch, full) = queue.take();
        assert_eq!((batch.changes.len(), full), (0, true));
    }

    #[test]
    fn a_full_report_on_its_way_is_not_repeated() {
        let (_reports, [queue]) = with_queues();
        queue.full_wanted();
        assert!(queue.take().1);
        queue.full_wanted();
        queue.sent(true);
        assert!(!queue.take().1);
        queue.full_wanted();
        assert!(queue.take().1);
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_when_told_or_late() {
        let (reports, [first, second]) = with_queues();
        first.set_registered(true);
        let told = reports.push_awaited(change(1));
        assert_eq!(chunks(&second.take().0), [1], "the other one is told too, only not waited for");
        let (batch, _) = first.take();
        first.put_back(batch, false);
        first.take().0.accepted();
        assert!(told.wait(Duration::from_secs(1)).await);

        let late = reports.push_awaited(change(2));
        assert!(!late.wait(Duration::from_secs(1)).await);
        assert_eq!(chunks(&first.take().0), [2]);
    }

    #[tokio::test(start_paused = true)]
    async fn most_namenodes_are_enough() {
        let (reports, queues) = with_queues::<3>();
        let told = reports.push_awaited(change(1));
        assert!(told.wait(Duration::ZERO).await, "none knows this process: nobody waits for them");
        for queue in &queues {
            queue.set_registered(true);
            let _before = queue.take();
        }
        let [one, two] = [(); 2].map(|()| reports.push_awaited(change(2)));
        queues[0].take().0.accepted();
        assert!(!one.wait(Duration::from_secs(1)).await, "one of three");
        queues[1].take().0.accepted();
        assert!(two.wait(Duration::from_secs(1)).await, "two of three");
        queues[0].sent(false);
        queues[1].sent(false);
        let told = reports.push_awaited(change(3));
        queues[2].take().0.accepted();
        assert!(told.wait(Duration::from_secs(1)).await, "the others did not answer lately");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_namenode_that_is_gone() {
        let (reports, [first, second, third]) = with_queues();
        for queue in [&first, &second, &third] {
            queue.set_registered(true);
        }
        let told = reports.push_awaited(change(1));
        third.take().0.accepted();
        reports.remove(&second);
        reports.push(change(2));
        assert!(chunks(&second.take().0).is_empty());
        let (batch, _) = first.take();
        assert_eq!(chunks(&batch), [1, 2]);
        batch.accepted();
        assert!(told.wait(Duration::from_secs(1)).await);
    }
}
