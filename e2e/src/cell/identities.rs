//! Which inode stands for which entry.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;

use dfs_types::InodeId;

use super::Mark;

/// What has been seen of inode ids: one entry has one for as long as it exists, and no other entry ever has it.
#[derive(Debug, Default)]
pub struct Identities {
    inodes: HashMap<(usize, Mark), InodeId>,
    owners: HashMap<InodeId, (usize, Mark)>,
}

impl Identities {
    /// Notes that the entry with `mark` of this cell was seen with an inode id. Fails if that contradicts what was seen
    /// before.
    pub fn note(&mut self, cell: usize, mark: Mark, inode: InodeId) -> Result<(), String> {
        let entry = (cell, mark);
        let known = *self.inodes.entry(entry).or_insert(inode);
        if known != inode {
            return Err(format!("{mark:?} of cell {cell} was inode {known} and is inode {inode}"));
        }
        match self.owners.entry(inode) {
            Slot::Vacant(slot) => {
                slot.insert(entry);
                Ok(())
            }
            Slot::Occupied(slot) if *slot.get() == entry => Ok(()),
            Slot::Occupied(slot) => {
                let (other, other_mark) = slot.get();
                Err(format!(
                    "inode {inode} is {mark:?} of cell {cell} and was {other_mark:?} of cell {other}: an id was given \
                     twice"
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_given_once_and_kept() {
        let mark = |number| Mark::new(number).unwrap();
        let mut seen = Identities::default();
        assert_eq!(seen.note(1, mark(1), InodeId(7)), Ok(()));
        assert_eq!(seen.note(1, mark(1), InodeId(7)), Ok(()));
        assert_eq!(seen.note(1, mark(2), InodeId(8)), Ok(()));
        assert_eq!(seen.note(2, mark(1), InodeId(9)), Ok(()));
        assert!(seen.note(1, mark(1), InodeId(10)).unwrap_err().contains("was inode 7"));
        assert!(seen.note(2, mark(3), InodeId(8)).unwrap_err().contains("given twice"));
    }
}
