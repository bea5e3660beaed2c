//! The entries in memory.

use std::collections::VecDeque;

use raft::eraftpb::{Entry, EntryType};

/// Entries without gaps after a start.
#[derive(Debug, Clone)]
pub(super) struct View {
    start: (u64, u64),
    entries: VecDeque<Entry>,
    bytes: u64,
}

impl View {
    /// No entries, to go on after `start`: index and term.
    pub(super) fn new(start: (u64, u64)) -> Self {
        Self { start, entries: VecDeque::new(), bytes: 0 }
    }

    /// Index and term of the entry before the first one.
    pub(super) fn start(&self) -> (u64, u64) {
        self.start
    }

    /// Index and term of the last entry, or of the start.
    pub(super) fn last(&self) -> (u64, u64) {
        self.entries.back().map_or(self.start, |entry| (entry.index, entry.term))
    }

    /// Bytes of data of all entries.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Term of an entry or of the start.
    pub(super) fn term(&self, index: u64) -> Option<u64> {
        match index.checked_sub(self.start.0)? {
            0 => Some(self.start.1),
            after => Some(self.entries.get(usize::try_from(after - 1).ok()?)?.term),
        }
    }

    /// Entries `low..high`, as many as fit `max_bytes`, at least one.
    pub(super) fn entries(&self, low: u64, high: u64, max_bytes: u64) -> Vec<Entry> {
        let first = self.start.0 + 1;
        let count = self.entries.len();
        let place =
            |index: u64| usize::try_from(index.saturating_sub(first)).map_or(count, |at| at.min(count));
        let mut room = max_bytes;
        let mut found = Vec::new();
        for entry in self.entries.range(place(low)..place(high).max(place(low))) {
            match room.checked_sub(data_bytes(entry)) {
                Some(rest) => room = rest,
                None if found.is_empty() => room = 0,
                None => break,
            }
            found.push(entry.clone());
        }
        found
    }

    /// Whether an entry after `after`, up to `until`, changes the members.
    pub(super) fn changes_members(&self, after: u64, until: u64) -> bool {
        let changes = |entry: &&Entry| entry.get_entry_type() != EntryType::EntryNormal;
        let known = self.entries.iter().rev().skip_while(|entry| entry.index > until);
        known.take_while(|entry| entry.index > after).any(|entry| changes(&entry))
    }

    /// Adds an entry, in place of all from its index on. `false` if it would leave a gap.
    ///
    /// An entry at or before the start becomes the start: that is met only when segments are read again of which earlier
    /// ones were dropped, and everything up to there was trimmed.
    #[must_use]
    pub(super) fn put(&mut self, entry: Entry) -> bool {
        if entry.index > self.last().0 + 1 {
            return false;
        }
        while self.entries.back().is_some_and(|last| last.index >= entry.index) {
            self.bytes -= self.entries.pop_back().as_ref().map_or(0, data_bytes);
        }
        if entry.index <= self.start.0 {
            self.start = (entry.index, entry.term);
        } else {
            self.bytes += data_bytes(&entry);
            self.entries.push_back(entry);
        }
        true
    }

    /// Forgets entries up to `index`.
    pub(super) fn trim(&mut self, index: u64) {
        while let Some(first) = self.entries.pop_front_if(|first| first.index <= index) {
            self.bytes -= data_bytes(&first);
            self.start = (first.index, first.term);
        }
    }
}

/// Bytes of what an entry carries.
pub(super) fn data_bytes(entry: &Entry) -> u64 {
    (entry.data.len() + entry.context.len()) as u64
}
