//! Changes of replicas on their way to the NameNodes: one queue for each, in the order the changes happened.
//!
//! The process numbers its changes, for all NameNodes alike. Whoever changes the index pushes the change while it holds
//! the index's lock. So a slice of a full report, which is read under that lock together with everything in the queue, is
//! exactly what the node has as of the last change that goes with it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dfs_types::{ChunkId, ReplicaRecord};
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

/// Changes that may wait for an unreachable NameNode. If there are more all are dropped: it finds numbers missing, and asks
/// for a full report.
const MAX_WAITING: usize = 100_000;

/// A replica came or changed, or (`deleted`) went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change {
    /// The replica.
    pub(crate) replica: ReplicaRecord,
    /// It is gone.
    pub(crate) deleted: bool,
}

/// A change in a queue.
#[derive(Debug)]
struct Entry {
    change: Change,
    /// Told when the NameNode knows the change.
    waiter: Option<oneshot::Sender<()>>,
}

/// Changes that go out together.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// The number of the last change before them.
    pub(crate) after: u64,
    entries: VecDeque<Entry>,
}

impl Batch {
    /// The changes, in order.
    pub(crate) fn changes(&self) -> impl Iterator<Item = Change> {
        self.entries.iter().map(|entry| entry.change)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn last(&self) -> u64 {
        self.after + self.entries.len() as u64
    }

    /// The NameNode knows the changes.
    pub(crate) fn accepted(self) {
        for waiter in self.entries.into_iter().filter_map(|entry| entry.waiter) {
            // Whoever waited may have gone; the NameNode knows all the same.
            let _ = waiter.send(());
        }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    batch: Batch,
    /// From which chunk on the NameNode wants the full report.
    wanted: Option<ChunkId>,
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

    /// Begins after the change of this number.
    fn begin(&self, after: u64) {
        self.with(|waiting| waiting.batch = Batch { after, ..Batch::default() });
    }

    fn push(&self, change: Change, waiter: Option<oneshot::Sender<()>>) {
        self.with(|waiting| {
            let batch = &mut waiting.batch;
            batch.entries.push_back(Entry { change, waiter });
            if batch.entries.len() > MAX_WAITING {
                *batch = Batch { after: batch.last(), ..Batch::default() };
            }
        });
        self.wake.notify_one();
    }

    /// The NameNode said, elsewhere than in its answers to reports, from where on it wants a full report. One under way
    /// goes on where those answers say.
    pub(crate) fn report_wanted(&self, from: ChunkId) {
        self.with(|waiting| waiting.wanted = waiting.wanted.or(Some(from)));
        self.wake.notify_one();
    }

    /// From which chunk on the NameNode wants the full report, if it does.
    pub(crate) fn wanted(&self) -> Option<ChunkId> {
        self.with(|waiting| waiting.wanted)
    }

    /// Notes whether the NameNode knows this process, and wants its full report.
    pub(crate) fn set_registered(&self, registered: bool, wanted: Option<ChunkId>) {
        self.with(|waiting| (waiting.registered, waiting.wanted) = (registered, wanted));
        self.wake.notify_one();
    }

    /// Whether the NameNode knows this process.
    pub(crate) fn is_registered(&self) -> bool {
        self.with(|waiting| waiting.registered)
    }

    /// Takes up to `limit` changes out, and says whether these are all.
    pub(crate) fn take(&self, limit: usize) -> (Batch, bool) {
        self.with(|waiting| {
            let count = waiting.batch.entries.len().min(limit);
            let entries = waiting.batch.entries.drain(..count).collect();
            let batch = Batch { after: waiting.batch.after, entries };
            waiting.batch.after = batch.last();
            (batch, waiting.batch.entries.is_empty())
        })
    }

    /// What was taken out was answered, and the NameNode wants the full report to go on from this chunk, if it does.
    pub(crate) fn answered(&self, wanted: Option<ChunkId>) {
        self.with(|waiting| (waiting.silent, waiting.wanted) = (false, wanted));
    }

    /// What was taken out was not answered.
    pub(crate) fn unanswered(&self) {
        self.with(|waiting| waiting.silent = true);
    }

    /// Whether the NameNode knows this process and took the last report.
    fn is_listening(&self) -> bool {
        self.with(|waiting| waiting.registered && !waiting.silent)
    }

    /// Puts back what could not be sent, ahead of what came since.
    pub(crate) fn put_back(&self, mut batch: Batch) {
        self.with(|waiting| {
            // Else those in between were dropped.
            if batch.last() == waiting.batch.after {
                batch.entries.append(&mut waiting.batch.entries);
                waiting.batch = batch;
            }
        });
    }

    /// Waits until there may be something to do.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }
}

#[derive(Debug, Default)]
struct Queues {
    /// Changes there were so far.
    count: u64,
    list: Vec<Arc<Queue>>,
}

/// The queues of all NameNodes. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reports {
    queues: Arc<Mutex<Queues>>,
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
    fn with<T>(&self, with: impl FnOnce(&mut Queues) -> T) -> T {
        with(&mut self.queues.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds a NameNode's queue. What changed before is in the full report that it asks for.
    pub(crate) fn add(&self, queue: Arc<Queue>) {
        self.with(|queues| {
            queue.begin(queues.count);
            queues.list.push(queue);
        });
    }

    /// Removes a NameNode's queue: nobody waits for it any more.
    pub(crate) fn remove(&self, queue: &Arc<Queue>) {
        self.with(|queues| queues.list.retain(|there| !Arc::ptr_eq(there, queue)));
        // Those who wait for it stop doing so.
        drop(queue.take(usize::MAX));
    }

    /// The number of the last change.
    pub(crate) fn count(&self) -> u64 {
        self.with(|queues| queues.count)
    }

    /// Changes that the NameNode furthest behind has not been told of.
    pub(crate) fn waiting(&self) -> usize {
        let length = |queue: &Arc<Queue>| queue.with(|waiting| waiting.batch.entries.len());
        self.with(|queues| queues.list.iter().map(length).max()).unwrap_or_default()
    }

    /// Tells every NameNode of a change, soon.
    pub(crate) fn push(&self, change: Change) {
        self.with(|queues| {
            queues.count += 1;
            for queue in &queues.list {
                queue.push(change, None);
            }
        });
    }

    /// The same, for someone who wants to know when most of those that listen have been told. One that did not answer
    /// lately delays nobody.
    pub(crate) fn push_awaited(&self, change: Change) -> Told {
        let waits = self.with(|queues| {
            queues.count += 1;
            let waits = queues.list.iter().filter_map(|queue| {
                let (waiter, told) = oneshot::channel();
                let listens = queue.is_listening();
                queue.push(change, listens.then_some(waiter));
                listens.then_some(told)
            });
            waits.collect()
        });
        Told { waits }
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
            volume: None,
        };
        Change { replica, deleted: false }
    }

    fn chunks(batch: &Batch) -> Vec<u64> {
        batch.changes().map(|change| change.replica.chunk.0).collect()
    }

    fn with_queues<const COUNT: usize>() -> (Reports, [Arc<Queue>; COUNT]) {
        let (reports, queues) = (Reports::default(), [(); COUNT].map(|()| Arc::<Queue>::default()));
        for queue in &queues {
            reports.add(Arc::clone(queue));
        }
        (reports, queues)
    }

    fn take(queue: &Queue) -> Batch {
        queue.take(usize::MAX).0
    }

    #[test]
    fn what_is_put_back_stays_in_order() {
        let (reports, [queue]) = with_queues();
        reports.push(change(1));
        let batch = take(&queue);
        reports.push(change(2));
        queue.put_back(batch);
        let batch = take(&queue);
        assert_eq!((batch.after, chunks(&batch)), (0, vec![1, 2]));
        assert_eq!(take(&queue).after, 2);
    }

    #[test]
    fn batches_are_cut_and_numbered() {
        let (reports, [queue]) = with_queues();
        (1..=5).for_each(|chunk| reports.push(change(chunk)));
        let late = Arc::<Queue>::default();
        reports.add(Arc::clone(&late));
        let (first, all) = queue.take(3);
        assert_eq!((first.after, chunks(&first), all), (0, vec![1, 2, 3], false));
        let (rest, all) = queue.take(3);
        assert_eq!((rest.after, chunks(&rest), all), (3, vec![4, 5], true));
        reports.push(change(6));
        let batch = take(&late);
        assert_eq!((batch.after, chunks(&batch)), (5, vec![6]), "all NameNodes see the same numbers");
        assert_eq!(reports.count(), 6);
    }

    #[test]
    fn of_too_many_changes_the_numbers_are_missing() {
        let (reports, [queue]) = with_queues();
        reports.push(change(1));
        let batch = take(&queue);
        for chunk in 0..=MAX_WAITING as u64 + 5 {
            reports.push(change(chunk));
        }
        queue.put_back(batch);
        let batch = take(&queue);
        assert_eq!(
            (batch.after, batch.changes().count()),
            (MAX_WAITING as u64 + 2, 5),
            "not with a hole in them"
        );
    }

    #[test]
    fn answers_to_reports_say_where_to_go_on() {
        let (_reports, [queue]) = with_queues();
        queue.report_wanted(ChunkId(0));
        queue.answered(Some(ChunkId(9)));
        queue.report_wanted(ChunkId(0));
        assert_eq!(queue.wanted(), Some(ChunkId(9)), "a heartbeat was answered before");
        queue.unanswered();
        assert_eq!(queue.wanted(), Some(ChunkId(9)), "no answer");
        queue.answered(None);
        assert_eq!(queue.wanted(), None);
        queue.set_registered(true, Some(ChunkId(0)));
        assert_eq!(queue.wanted(), Some(ChunkId(0)));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_when_told_or_late() {
        let (reports, [first, second]) = with_queues();
        first.set_registered(true, None);
        let told = reports.push_awaited(change(1));
        assert_eq!(chunks(&take(&second)), [1], "the other one is told too, only not waited for");
        let batch = take(&first);
        first.put_back(batch);
        take(&first).accepted();
        assert!(told.wait(Duration::from_secs(1)).await);

        let late = reports.push_awaited(change(2));
        assert!(!late.wait(Duration::from_secs(1)).await);
        assert_eq!(chunks(&take(&first)), [2]);
    }

    #[tokio::test(start_paused = true)]
    async fn most_namenodes_are_enough() {
        let (reports, queues) = with_queues::<3>();
        let told = reports.push_awaited(change(1));
        assert!(told.wait(Duration::ZERO).await, "none knows this process: nobody waits for them");
        for queue in &queues {
            queue.set_registered(true, None);
            let _before = take(queue);
        }
        let [one, two] = [(); 2].map(|()| reports.push_awaited(change(2)));
        take(&queues[0]).accepted();
        assert!(!one.wait(Duration::from_secs(1)).await, "one of three");
        take(&queues[1]).accepted();
        assert!(two.wait(Duration::from_secs(1)).await, "two of three");
        queues[0].unanswered();
        queues[1].unanswered();
        let told = reports.push_awaited(change(3));
        take(&queues[2]).accepted();
        assert!(told.wait(Duration::from_secs(1)).await, "the others did not answer lately");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_a_namenode_that_is_gone() {
        let (reports, [first, second, third]) = with_queues();
        for queue in [&first, &second, &third] {
            queue.set_registered(true, None);
        }
        let told = reports.push_awaited(change(1));
        take(&third).accepted();
        reports.remove(&second);
        reports.push(change(2));
        assert!(chunks(&take(&second)).is_empty());
        let batch = take(&first);
        assert_eq!(chunks(&batch), [1, 2]);
        batch.accepted();
        assert!(told.wait(Duration::from_secs(1)).await);
    }
}
