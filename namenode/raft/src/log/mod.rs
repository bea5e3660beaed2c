//! The log of one member: entries, and the term and vote that go with them.
//!
//! Nothing else of a member must survive a crash besides the database that committed entries were applied to.
//! [`FileLog`] is the files, and writes while its caller waits; [`DiskLog`] gives it a thread, so that a disk that is slow,
//! full or stands still holds up nothing but the appends themselves.

mod disk;
mod file;
mod frame;
mod recovery;
mod segment;
#[cfg(test)]
mod tests;
mod view;

use std::io;
use std::path::PathBuf;

use raft::eraftpb::{Entry, HardState};

pub use disk::{Condition, DiskLog, Gauge, Hooks};
pub use file::{FileLog, Options};
pub use segment::remove_blanks;

/// Why a log can't be used any more.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that was synced can't be read back: this member has forgotten what it promised.
    #[error(
        "the log {path} is damaged at byte {offset}: {what}: replace this member: remove its directory and start it \
         again with the addresses of the others (docs/operations/namenodes.md)"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// The disk has no room. Nothing has changed: the same can be tried again when there is some.
    #[error("the log {path} can't grow, the disk is full: make room")]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// The operating system refused something.
    #[error("{action} {path} failed: check the disk and the permissions")]
    Io {
        /// What was done.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A durable sequence of entries without gaps. After an error other than [`Error::Full`] nothing more may be appended:
/// what is on disk is not known.
pub trait EntryLog {
    /// Term, vote and commit index as appended last; the commit index may be older than what was committed.
    fn hard_state(&self) -> HardState;

    /// Index and term of the entry before the first one: `(0, 0)` for a new log.
    fn start(&self) -> (u64, u64);

    /// Index of the last entry; that of [`EntryLog::start`] if there is none.
    fn last_index(&self) -> u64;

    /// Term of an entry or of the start; `None` outside of them.
    fn term(&self, index: u64) -> Option<u64>;

    /// Entries `low..high`, as many from the front as fit `max_bytes` of data, at least one. Indexes out of range are
    /// left out.
    fn entries(&self, low: u64, high: u64, max_bytes: u64) -> Vec<Entry>;

    /// Takes entries and, if given, term and vote, all or nothing. An entry whose index is there already replaces it and
    /// everything after it. Entries follow the last one or replace. From now on they can be read; they are durable when
    /// [`EntryLog::durable`] has reached what [`EntryLog::appended`] answers now.
    fn append(&mut self, hard_state: Option<&HardState>, entries: &[Entry]) -> Result<(), Error>;

    /// Appends taken since the log was opened, for a log that makes them durable later.
    fn appended(&self) -> u64 {
        0
    }

    /// How many of them are durable, in their order.
    fn durable(&self) -> u64 {
        0
    }

    /// Waits until all that was appended is durable.
    fn flush(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// Forgets all entries and goes on after `index`, which has `term`. Durable when it returns, and so is all before.
    fn reset(&mut self, index: u64, term: u64) -> Result<(), Error>;

    /// Forgets entries up to `index`, as far as that is possible; they are never asked for again.
    fn trim(&mut self, index: u64) -> Result<(), Error>;

    /// Bytes of data of all entries, for the decision to trim.
    fn bytes(&self) -> u64;
}
