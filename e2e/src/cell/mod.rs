//! A *cell*: a directory with a handful of names, on which a few clients work at once, as a linearizable object.
//!
//! Every entry is made with permission bits that no other entry of its cell is made with. They are its [`Mark`]: whoever
//! sees an entry knows which operation made it, even if nobody ever learned how that operation ended. An operation that
//! took effect twice, or after it was undone, shows.

mod identities;
mod model;

pub use identities::Identities;
pub use model::{Answer, Cell, Name, Operation, State};

use dfs_types::{FileKind, FileStatus, Mode};

/// Names of a cell: few, so that operations meet.
pub const NAMES: u8 = 4;
/// Marks there are in a cell.
pub const MARKS: u16 = 0o1000;

/// What tells the operation that made an entry from all others of its cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(u16);

impl Mark {
    /// The mark of this number; `None` from [`MARKS`] on.
    pub fn new(number: u16) -> Option<Self> {
        (number < MARKS).then_some(Self(number))
    }

    /// The permission bits that stand for it.
    pub fn mode(self) -> Mode {
        Mode::truncate(self.0.into())
    }
}

/// One entry of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Entry {
    /// File or directory.
    pub kind: FileKind,
    /// What made it.
    pub mark: Mark,
}

impl Entry {
    /// What an entry with these attributes is.
    pub fn of(status: &FileStatus) -> Self {
        Self { kind: status.kind, mark: Mark(status.mode.bits() as u16) }
    }
}
