//! The trash: where removed files are kept for a while, with the names that Hadoop's shell knows.

use crate::{FsPath, InodeId, Millis};

/// The directory of a user's trash.
pub const TRASH: &str = ".Trash";
/// What was deleted last, in a user's trash.
pub const CURRENT: &str = "Current";
/// The directory with the users' homes, in the root.
pub const HOMES: &str = "user";

/// A user's trash for a part of the namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trash {
    /// The directory with [`CURRENT`] and the checkpoints. It need not be there.
    pub root: FsPath,
    /// How long what is removed is kept at least; 0: it is not.
    pub keep: Millis,
}

/// [`CURRENT`] or a checkpoint of a user's trash, with something in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrashContent {
    /// Where it is. Below it, what was removed has the path that it had.
    pub path: FsPath,
    /// The directory.
    pub inode: InodeId,
    /// Whose it is.
    pub owner: String,
    /// For how long its time has been counted; `None`: not yet.
    pub age: Option<Millis>,
    /// How long it is still kept at least; `None`: for ever.
    pub left: Option<Millis>,
}

/// What became of something that was to be removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// There was nothing.
    Nothing,
    /// It is gone.
    Deleted,
    /// It is in the trash, there at this path.
    Trashed(FsPath),
}

/// Whether a name is that of a checkpoint, as Hadoop and this file system make them: `yyMMddHHmmss`, in older ones without
/// the seconds, and perhaps a number after a dash.
pub fn is_checkpoint(name: &str) -> bool {
    let (time, number) = name.split_once('-').unwrap_or((name, "1"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (time.len() == 10 || time.len() == 12) && is_number(time) && is_number(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_times_are_names_of_checkpoints() {
        for name in ["2512011440", "251201144039", "251201144039-1"] {
            assert!(is_checkpoint(name), "{name}");
        }
        for name in
            ["", "Current", "25120114403", "2512011440aa", "251201144039-", "251201144039-x", "-251201144039"]
        {
            assert!(!is_checkpoint(name), "{name}");
        }
    }
}
