//! A member's disk: a log that may be slow or fail in the middle of an append, and the state that entries were applied
//! to.

use std::collections::VecDeque;
use std::path::PathBuf;

use dfs_namenode_raft::{ConfState, Entry, EntryLog, EntryType, HardState, log};

/// A log in memory. What is durable survives a crash of the member, and of what was taken since any part from the front.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryLog {
    /// As the member sees it.
    read: Image,
    /// As it is on the disk.
    disk: Image,
    waiting: VecDeque<Write>,
    appended: u64,
    durable: u64,
    /// Whether writes wait until [`MemoryLog::write`]; else the disk is as fast as memory.
    pub(crate) slow: bool,
    /// The crash that is to come: the append after so many ends the process, with or without having been written.
    pub(crate) crash: Option<(u32, bool)>,
}

#[derive(Debug, Clone)]
enum Write {
    Append(Option<HardState>, Vec<Entry>),
    Trim(u64),
}

#[derive(Debug, Clone, Default)]
struct Image {
    hard_state: HardState,
    start: (u64, u64),
    entries: Vec<Entry>,
}

impl Image {
    fn last_index(&self) -> u64 {
        self.start.0 + self.entries.len() as u64
    }

    fn term(&self, index: u64) -> Option<u64> {
        if index == self.start.0 {
            return Some(self.start.1);
        }
        let position = index.checked_sub(self.start.0 + 1)?;
        self.entries.get(position as usize).map(|entry| entry.term)
    }

    fn perform(&mut self, write: &Write) {
        match write {
            Write::Append(hard_state, entries) => {
                if let Some(hard_state) = hard_state {
                    self.hard_state = hard_state.clone();
                }
                for entry in entries {
                    assert!(
                        entry.index > self.start.0 && entry.index <= self.last_index() + 1,
                        "a gap in the log"
                    );
                    self.entries.truncate((entry.index - self.start.0 - 1) as usize);
                    self.entries.push(entry.clone());
                }
            }
            Write::Trim(index) => {
                if let Some(term) = self.term(*index) {
                    self.entries.drain(..(index - self.start.0) as usize);
                    self.start = (*index, term);
                }
            }
        }
    }

    fn reset(&mut self, start: (u64, u64)) {
        self.start = start;
        self.entries.clear();
    }
}

fn crashed() -> log::Error {
    log::Error::Damaged {
        path: PathBuf::from("simulated"),
        offset: 0,
        what: "the process ends here".to_owned(),
    }
}

impl MemoryLog {
    /// Writes that are not durable yet.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The disk performs the next writes, and what takes no time before the one after.
    pub(crate) fn write(&mut self, count: usize) {
        let mut left = count;
        while let Some(write) = self.waiting.pop_front_if(|next| left > 0 || matches!(next, Write::Trim(_))) {
            self.disk.perform(&write);
            if matches!(write, Write::Append(..)) {
                self.durable += 1;
                left = left.saturating_sub(1);
            }
        }
    }

    /// The process ends; what was not written is gone.
    pub(crate) fn lose(&mut self) {
        self.waiting.clear();
        (self.read, self.durable, self.slow) = (self.disk.clone(), self.appended, false);
    }

    fn give(&mut self, write: Write) {
        self.read.perform(&write);
        self.waiting.push_back(write);
        self.write(if self.slow { 0 } else { usize::MAX });
    }
}

impl EntryLog for MemoryLog {
    fn hard_state(&self) -> HardState {
        self.read.hard_state.clone()
    }

    fn start(&self) -> (u64, u64) {
        self.read.start
    }

    fn last_index(&self) -> u64 {
        self.read.last_index()
    }

    fn term(&self, index: u64) -> Option<u64> {
        self.read.term(index)
    }

    fn entries(&self, low: u64, high: u64, max_bytes: u64) -> Vec<Entry> {
        let mut bytes = 0;
        let wanted = self.read.entries.iter().filter(|entry| (low..high).contains(&entry.index));
        wanted
            .take_while(|entry| {
                let first = bytes == 0;
                bytes += 1 + entry.data.len() as u64;
                first || bytes <= max_bytes
            })
            .cloned()
            .collect()
    }

    fn append(&mut self, hard_state: Option<&HardState>, entries: &[Entry]) -> Result<(), log::Error> {
        let ends = match &mut self.crash {
            Some((0, written)) => Some(*written),
            Some((appends, _)) => {
                *appends -= 1;
                None
            }
            None => None,
        };
        if ends == Some(false) {
            return Err(crashed());
        }
        let promise = |hard_state: &HardState| (hard_state.term, hard_state.vote);
        let promises = hard_state.is_some_and(|given| promise(given) != promise(&self.read.hard_state));
        let commits = |given: &HardState| {
            let range = self.read.hard_state.commit + 1..=given.commit;
            let changes = |entry: &Entry| entry.get_entry_type() != EntryType::EntryNormal;
            self.read.entries.iter().any(|entry| range.contains(&entry.index) && changes(entry))
        };
        if promises || !entries.is_empty() || hard_state.is_some_and(commits) {
            self.appended += 1;
            self.give(Write::Append(hard_state.cloned(), entries.to_vec()));
        } else if let Some(hard_state) = hard_state {
            // As the log in files: a commit index alone is not written.
            self.read.hard_state = hard_state.clone();
        }
        if ends == Some(true) { Err(crashed()) } else { Ok(()) }
    }

    fn appended(&self) -> u64 {
        self.appended
    }

    fn durable(&self) -> u64 {
        self.durable
    }

    fn flush(&mut self) -> Result<(), log::Error> {
        self.write(usize::MAX);
        Ok(())
    }

    fn reset(&mut self, index: u64, term: u64) -> Result<(), log::Error> {
        self.write(usize::MAX);
        self.read.reset((index, term));
        self.disk.reset((index, term));
        Ok(())
    }

    fn trim(&mut self, index: u64) -> Result<(), log::Error> {
        self.give(Write::Trim(index));
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.read.entries.iter().map(|entry| entry.data.len() as u64).sum()
    }
}

/// What entries are applied to: the list of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct State {
    /// Index, term and data of everything applied.
    pub(crate) history: Vec<(u64, u64, Vec<u8>)>,
    /// Index and term of the entry applied last.
    pub(crate) applied: (u64, u64),
    /// The members as of then.
    pub(crate) members: ConfState,
    /// Index of a snapshot that this state came from.
    pub(crate) installed: (u64, u64),
}
