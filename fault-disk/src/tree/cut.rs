//! What a power cut leaves.

use std::collections::{BTreeMap, HashMap};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::inode::{Inode, Kind};
use super::names::Change;
use super::{ROOT, Tree};

/// Chances with which something unsynced survives; which one holds is drawn for each cut.
const CHANCES: [f64; 4] = [0.0, 0.2, 0.5, 0.9];

/// What a power cut took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lost {
    /// Pages (4 KiB) whose last bytes were not synced and did not survive, whole.
    pub pages: u64,
    /// Names whose making, renaming or removing was not synced and did not survive.
    pub names: u64,
}

impl Tree {
    /// Cuts the power: programs have nothing open any more, and see what the disk has. Of what was not synced an
    /// arbitrary part, which `seed` chooses, is there nevertheless.
    pub(crate) fn cut(&mut self, seed: u64) -> Lost {
        let mut random = SmallRng::seed_from_u64(seed);
        let keep = CHANCES[random.random_range(0..CHANCES.len())];
        let mut lost = Lost { names: self.cut_names(keep, &mut random), pages: 0 };
        for inode in std::mem::take(&mut self.dirty) {
            if let Some(Inode { kind: Kind::File(content), .. }) = self.inodes.get_mut(&inode)
                && content.is_dirty()
            {
                // One file may be there as a whole and another one not at all.
                let keep = [0.0, keep, 1.0][random.random_range(0..3)];
                lost.pages += content.cut(keep, &mut random);
            }
        }
        self.see_the_disk();
        lost
    }

    fn cut_names(&mut self, keep: f64, random: &mut SmallRng) -> u64 {
        let changes = self.pending.take();
        // As a journal does it, or as if each directory were written back on its own.
        let journal = random.random_bool(0.5).then(|| random.random_range(0..=changes.len()));
        let mut lost = 0;
        for (number, change) in changes.into_iter().enumerate() {
            let kept = match journal {
                Some(count) => number < count,
                None => random.random_bool(keep),
            };
            if kept && self.can_store(&change) {
                self.store(&change);
            } else {
                lost += 1;
                self.let_go(change.inodes().collect());
            }
        }
        lost
    }

    /// Whether the disk's names are such that the change can be done to them alone.
    fn can_store(&self, change: &Change) -> bool {
        change.0.iter().all(|slot| match self.inodes.get(&slot.directory) {
            Some(Inode { kind: Kind::Directory { stored, .. }, .. }) => {
                stored.get(&slot.name).copied() == slot.before
                    && slot.after.is_none_or(|inode| !self.holds(inode, slot.directory))
            }
            _ => false,
        })
    }

    /// Whether, on the disk, `inner` is `outer` or lies below it.
    fn holds(&self, outer: u64, inner: u64) -> bool {
        let mut waiting = vec![outer];
        while let Some(inode) = waiting.pop() {
            if inode == inner {
                return true;
            }
            if let Some(Inode { kind: Kind::Directory { stored, .. }, .. }) = self.inodes.get(&inode) {
                waiting.extend(stored.values());
            }
        }
        false
    }

    /// Programs see what the disk has, and what no name leads to is gone.
    fn see_the_disk(&mut self) {
        let mut former = std::mem::take(&mut self.inodes);
        let (mut found, mut names) = (HashMap::new(), BTreeMap::from([(ROOT, 1)]));
        let mut waiting = vec![ROOT];
        while let Some(number) = waiting.pop() {
            let Some(mut inode) = former.remove(&number) else { continue };
            if let Kind::Directory { entries, stored } = &mut inode.kind {
                entries.clone_from(stored);
                for child in stored.values() {
                    *names.entry(*child).or_insert(0) += 1;
                    waiting.push(*child);
                }
            }
            (inode.handles, inode.counted) = (0, (0, 0));
            found.insert(number, inode);
        }
        for (number, inode) in &mut found {
            inode.names = names.get(number).copied().unwrap_or(0);
            inode.held = inode.names;
        }
        (self.inodes, self.used, self.retained) = (found, 0, 0);
        let numbers: Vec<u64> = self.inodes.keys().copied().collect();
        for number in numbers {
            self.settle(number);
        }
    }
}
