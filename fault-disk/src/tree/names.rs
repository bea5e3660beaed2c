//! Names that were changed and are not synced yet.

use std::collections::BTreeSet;
use std::ffi::OsString;

/// One name of a directory and what it leads to before and after a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) directory: u64,
    pub(super) name: OsString,
    pub(super) before: Option<u64>,
    pub(super) after: Option<u64>,
}

/// What one system call changed: one name, or two of a rename. It reaches the disk as a whole or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change(pub(super) Vec<Slot>);

impl Change {
    fn concerns(&self, directory: u64) -> bool {
        self.0.iter().any(|slot| slot.directory == directory)
    }

    /// Every inode it speaks of.
    pub(super) fn inodes(&self) -> impl Iterator<Item = u64> {
        self.0.iter().flat_map(|slot| [slot.before, slot.after]).flatten()
    }
}

/// The changes that are not on the disk, oldest first.
#[derive(Debug, Default)]
pub(super) struct Pending(Vec<Change>);

impl Pending {
    pub(super) fn push(&mut self, change: Change) {
        self.0.push(change);
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn take(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.0)
    }

    /// Takes the changes of a directory out, and with each those before it of the same names.
    pub(super) fn take_of(&mut self, directory: u64) -> Vec<Change> {
        let mut names = BTreeSet::new();
        let mut wanted = vec![false; self.0.len()];
        for (change, wanted) in self.0.iter().zip(&mut wanted).rev() {
            let known = |slot: &Slot| names.contains(&(slot.directory, slot.name.clone()));
            if change.concerns(directory) || change.0.iter().any(known) {
                *wanted = true;
                names.extend(change.0.iter().map(|slot| (slot.directory, slot.name.clone())));
            }
        }
        let mut wanted = wanted.into_iter();
        self.0.extract_if(.., |_| wanted.next().unwrap_or(false)).collect()
    }
}
