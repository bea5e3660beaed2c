//! An [`EntryLog`] as the library wants to see it.

use std::cell::Cell;

use raft::eraftpb::{ConfState, Entry, Snapshot};
use raft::{GetEntriesContext, RaftState, Storage, StorageError};

use crate::EntryLog;

/// The log, and what the library asks for besides entries.
#[derive(Debug)]
pub(crate) struct LogStorage<L> {
    pub(crate) log: L,
    /// Members as of the last entry that was applied when the process started.
    pub(crate) members: ConfState,
    /// Index up to which entries were applied when the process started.
    pub(crate) applied: u64,
    /// A snapshot that can be sent.
    pub(crate) offered: Option<Snapshot>,
    /// Set when a member needs a snapshot and none is offered.
    pub(crate) wanted: Cell<bool>,
}

impl<L: EntryLog> Storage for LogStorage<L> {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let mut hard_state = self.log.hard_state();
        // The commit index is not written by itself; what was applied was committed.
        hard_state.commit = hard_state.commit.max(self.applied).min(self.log.last_index());
        // A log that begins after a snapshot was in the term of its beginning.
        let last_term = self.log.term(self.log.last_index()).unwrap_or_default();
        if hard_state.term < last_term {
            (hard_state.term, hard_state.vote) = (last_term, 0);
        }
        Ok(RaftState::new(hard_state, self.members.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.log.start().0 {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        if high > self.log.last_index() + 1 {
            return Err(raft::Error::Store(StorageError::Unavailable));
        }
        Ok(self.log.entries(low, high, max_size.into().unwrap_or(u64::MAX)))
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index < self.log.start().0 {
            return Err(raft::Error::Store(StorageError::Compacted));
        }
        self.log.term(index).ok_or(raft::Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.log.start().0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.log.last_index())
    }

    fn snapshot(&self, request_index: u64, to: u64) -> raft::Result<Snapshot> {
        // One that ends before the log begins would leave a gap.
        let least = request_index.max(self.log.start().0);
        match &self.offered {
            Some(snapshot) if snapshot.get_metadata().index >= least && knows(snapshot, to) => {
                Ok(snapshot.clone())
            }
            Some(_) | None => {
                self.wanted.set(true);
                Err(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable))
            }
        }
    }
}

/// Whether a member belongs to the group as of the snapshot: one that does not would refuse it.
fn knows(snapshot: &Snapshot, id: u64) -> bool {
    let members = snapshot.get_metadata().get_conf_state();
    members.voters.contains(&id) || members.learners.contains(&id)
}
