//! Chunks whose files a NameNode is to be asked for: those that were finalized a moment ago, or whose files were still open
//! when it was asked.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dfs_types::ChunkId;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Most chunks that wait; what finds no room is found by the scrubber.
const MAX_WAITING: usize = 16 << 10;
/// How long after it was finalized a chunk is asked for: by then most files are closed, and others have come along.
const FIRST: Duration = Duration::from_secs(1);
/// Longest pause before a chunk is asked for again.
const LONGEST: Duration = Duration::from_mins(5);

/// A chunk that is due, to be given back if nothing is known of it yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Due {
    /// The chunk.
    pub(crate) chunk: ChunkId,
    /// How often it was asked for.
    tries: u32,
}

impl Due {
    /// One that was not asked for yet.
    pub(crate) fn new(chunk: ChunkId) -> Self {
        Self { chunk, tries: 0 }
    }
}

/// They, by when they are due. Plain state: the time is told.
#[derive(Debug, Default)]
struct Waiting {
    by_time: BTreeSet<(Instant, Due)>,
    by_chunk: HashMap<ChunkId, (Instant, Due)>,
}

impl Waiting {
    /// Adds a chunk, for which what is known of it begins anew. `false`: there is no room.
    fn add(&mut self, now: Instant, due: Due) -> bool {
        if let Some(before) = self.by_chunk.remove(&due.chunk) {
            self.by_time.remove(&before);
        }
        if self.by_chunk.len() >= MAX_WAITING {
            return false;
        }
        let pause = FIRST.saturating_mul(1_u32.checked_shl(due.tries).unwrap_or(u32::MAX)).min(LONGEST);
        let entry = (now + pause, due);
        self.by_chunk.insert(due.chunk, entry);
        self.by_time.insert(entry);
        true
    }

    fn take(&mut self, now: Instant, limit: usize) -> Vec<Due> {
        let mut taken = Vec::new();
        while taken.len() < limit
            && let Some(entry) = self.by_time.first().copied().filter(|(at, _)| *at <= now)
        {
            self.by_time.remove(&entry);
            self.by_chunk.remove(&entry.1.chunk);
            taken.push(entry.1);
        }
        taken
    }
}

/// The chunks.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    waiting: Mutex<Waiting>,
    added: Notify,
}

impl Wanted {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a chunk that has just become what it is; drops it if too many wait.
    pub(crate) fn add(&self, chunk: ChunkId) {
        self.put(Due::new(chunk));
    }

    /// Adds one again that nothing was known of yet, to be asked for after a longer pause.
    pub(crate) fn again(&self, due: Due) {
        self.put(Due { tries: due.tries.saturating_add(1), ..due });
    }

    fn put(&self, due: Due) {
        if self.waiting().add(Instant::now(), due) {
            self.added.notify_one();
        }
    }

    /// How many wait.
    pub(crate) fn count(&self) -> usize {
        self.waiting().by_chunk.len()
    }

    /// Waits until some are due, and takes at most `limit` of them out.
    pub(crate) async fn due(&self, limit: usize) -> Vec<Due> {
        loop {
            let next = {
                let mut waiting = self.waiting();
                let due = waiting.take(Instant::now(), limit);
                if !due.is_empty() {
                    return due;
                }
                waiting.by_time.first().map(|(at, _)| *at)
            };
            match next {
                Some(at) => tokio::select! {
                    () = sleep_until(at) => {}
                    () = self.added.notified() => {}
                },
                None => self.added.notified().await,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunks(due: &[Due]) -> Vec<u64> {
        due.iter().map(|due| due.chunk.0).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn chunks_are_due_after_pauses_that_double() {
        let (wanted, start) = (Wanted::default(), Instant::now());
        wanted.add(ChunkId(7));
        let mut asked = Vec::new();
        for _ in 0..11 {
            let due = wanted.due(10).await;
            assert_eq!(chunks(&due), [7]);
            asked.push(start.elapsed().as_secs());
            wanted.again(due[0]);
        }
        assert_eq!(asked, [1, 3, 7, 15, 31, 63, 127, 255, 511, 811, 1_111]);
        wanted.add(ChunkId(7));
        assert_eq!(wanted.count(), 1, "it became something else meanwhile");
        wanted.due(10).await;
        assert_eq!(start.elapsed().as_secs(), 1_112);
    }

    #[tokio::test(start_paused = true)]
    async fn some_are_taken_at_a_time_and_what_finds_no_room_is_dropped() {
        let wanted = Wanted::default();
        for chunk in 0..MAX_WAITING as u64 + 5 {
            wanted.add(ChunkId(chunk));
        }
        assert_eq!(wanted.count(), MAX_WAITING);
        wanted.add(ChunkId(3));
        assert_eq!(wanted.count(), MAX_WAITING, "it was there");
        assert_eq!(wanted.due(100).await.len(), 100);
        assert_eq!(wanted.count(), MAX_WAITING - 100);
    }

    #[tokio::test(start_paused = true)]
    async fn a_chunk_that_comes_wakes_whoever_waits() {
        let wanted = std::sync::Arc::new(Wanted::default());
        let waits = std::sync::Arc::clone(&wanted);
        let waiting = tokio::spawn(async move { waits.due(10).await });
        tokio::task::yield_now().await;
        wanted.add(ChunkId(1));
        assert_eq!(chunks(&waiting.await.unwrap()), [1]);
    }
}
