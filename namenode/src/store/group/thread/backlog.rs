//! Committed entries on their way to the writer. The log's thread never waits for it: others would hear nothing meanwhile,
//! and a writer that waits for room on its disk waits for hours.

use std::collections::VecDeque;
use std::sync::mpsc::{SyncSender, TrySendError};

use crate::store::writer::{Answer, Work};

/// Entries that may wait to be applied before a follower takes no more of them: half of what the writer's queue has room
/// for.
const MAX_ENTRIES: usize = 4_096;
/// The same in bytes.
const MAX_BYTES: u64 = 64 << 20;

/// The writer has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ended;

/// What was handed over and is not applied yet.
#[derive(Default)]
pub(super) struct Backlog {
    /// What the writer's queue has no room for.
    unsent: VecDeque<Work>,
    /// Index and bytes of each entry.
    unapplied: VecDeque<(u64, u64)>,
    bytes: u64,
}

impl Backlog {
    /// Takes an entry of so many bytes, which goes to the writer with the next [`Backlog::pass_on`].
    pub(super) fn add(&mut self, index: u64, bytes: u64, work: Work) {
        self.unapplied.push_back((index, bytes));
        self.bytes += bytes;
        self.unsent.push_back(work);
    }

    /// Gives the writer as much as it has room for.
    pub(super) fn pass_on(&mut self, writer: &SyncSender<Work>) -> Result<(), Ended> {
        while let Some(work) = self.unsent.pop_front() {
            match writer.try_send(work) {
                Ok(()) => {}
                Err(TrySendError::Full(work)) => {
                    self.unsent.push_front(work);
                    return Ok(());
                }
                Err(TrySendError::Disconnected(_)) => return Err(Ended),
            }
        }
        Ok(())
    }

    /// Everything up to `index` is applied.
    pub(super) fn applied(&mut self, index: u64) {
        while let Some((_, bytes)) = self.unapplied.pop_front_if(|(unapplied, _)| *unapplied <= index) {
            self.bytes -= bytes;
        }
    }

    /// Whether so much waits that more would only fill memory.
    pub(super) fn is_large(&self) -> bool {
        self.unapplied.len() >= MAX_ENTRIES || self.bytes > MAX_BYTES
    }

    /// Whether something waits for room in the writer's queue.
    pub(super) fn waits(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Forgets what the writer was not given: a snapshot has all of it. Answers who waited for that.
    pub(super) fn give_up(&mut self) -> Vec<Answer> {
        let answers = self.unsent.drain(..).flat_map(|work| match work {
            Work::Entry { entry: _, answers, urgent: _ } => answers,
            Work::Install(..) => Vec::new(),
        });
        answers.collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::sync_channel;

    use super::*;
    use crate::store::record::{Content, LogEntry};

    fn work(index: u64) -> Work {
        let entry = LogEntry { index, term: 1, content: Content::Nothing };
        Work::Entry { entry, answers: Vec::new(), urgent: false }
    }

    #[test]
    fn a_writer_that_does_nothing_holds_nobody_up_and_gets_all_in_order() {
        let (writer, queue) = sync_channel(2);
        let mut backlog = Backlog::default();
        for index in 1..=5 {
            backlog.add(index, 10, work(index));
            assert_eq!(backlog.pass_on(&writer), Ok(()));
        }
        assert!(backlog.waits());
        let mut seen = Vec::new();
        while let Ok(Work::Entry { entry, .. }) = queue.try_recv() {
            seen.push(entry.index);
            backlog.applied(entry.index);
            assert_eq!(backlog.pass_on(&writer), Ok(()));
        }
        assert_eq!(seen, [1, 2, 3, 4, 5]);
        assert!(!backlog.waits() && backlog.bytes == 0);
        drop(queue);
        backlog.add(6, 10, work(6));
        assert_eq!(backlog.pass_on(&writer), Err(Ended));
    }

    #[test]
    fn many_entries_or_many_bytes_are_too_much() {
        let mut backlog = Backlog::default();
        for index in 1..=MAX_ENTRIES as u64 {
            assert!(!backlog.is_large());
            backlog.add(index, 1, work(index));
        }
        assert!(backlog.is_large());
        backlog.applied(1);
        assert!(!backlog.is_large());
        backlog.add(u64::MAX, MAX_BYTES, work(u64::MAX));
        backlog.applied(MAX_ENTRIES as u64);
        assert!(!backlog.is_large());
        backlog.add(u64::MAX, 1, work(u64::MAX));
        assert!(backlog.is_large());
    }
}
