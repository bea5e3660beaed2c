//! A member's disk: a log that may fail in the middle of an append, and the state that entries were applied to.

use std::path::PathBuf;

use dfs_namenode_raft::{ConfState, Entry, EntryLog, HardState, log};

/// A log in memory. What was appended survives a crash of the member.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryLog {
    hard_state: HardState,
    start: (u64, u64),
    entries: Vec<Entry>,
    /// The crash that is to come: the append after so many ends the process, with or without having been written.
    pub(crate) crash: Option<(u32, bool)>,
}

fn crashed() -> log::Error {
    log::Error::Damaged {
        path: PathBuf::from("simulated"),
        offset: 0,
        what: "the process ends here".to_owned(),
    }
}

impl EntryLog for MemoryLog {
    fn hard_state(&self) -> HardState {
        self.hard_state.clone()
    }

    fn start(&self) -> (u64, u64) {
        self.start
    }

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

    fn entries(&self, low: u64, high: u64, max_bytes: u64) -> Vec<Entry> {
        let mut bytes = 0;
        let wanted = self.entries.iter().filter(|entry| (low..high).contains(&entry.index));
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
        if let Some(hard_state) = hard_state {
            self.hard_state = hard_state.clone();
        }
        for entry in entries {
            assert!(entry.index > self.start.0 && entry.index <= self.last_index() + 1, "a gap in the log");
            self.entries.truncate((entry.index - self.start.0 - 1) as usize);
            self.entries.push(entry.clone());
        }
        if ends == Some(true) { Err(crashed()) } else { Ok(()) }
    }

    fn reset(&mut self, index: u64, term: u64) -> Result<(), log::Error> {
        self.start = (index, term);
        self.entries.clear();
        Ok(())
    }

    fn trim(&mut self, index: u64) -> Result<(), log::Error> {
        if let Some(term) = self.term(index) {
            self.entries.drain(..(index - self.start.0) as usize);
            self.start = (index, term);
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.entries.iter().map(|entry| entry.data.len() as u64).sum()
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
