//! Who may write which file, and for how long without a word.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dfs_types::{InodeId, Millis};

/// The leases of all open files.
#[derive(Debug, Default)]
pub(super) struct Leases {
    holders: BTreeMap<String, Holder>,
    files: BTreeMap<InodeId, String>,
    /// No lease can pass its hard limit before this time.
    quiet_until: Millis,
}

#[derive(Debug)]
struct Holder {
    /// When it was heard of last.
    renewed: Millis,
    /// When its silence was last reported.
    reported: Option<Millis>,
    files: BTreeSet<InodeId>,
}

impl Holder {
    /// Since when the next hard limit runs.
    fn since(&self) -> Millis {
        self.reported.unwrap_or(self.renewed)
    }
}

impl Leases {
    /// Gives a file to a holder, who is thereby heard of.
    pub(super) fn take(&mut self, inode: InodeId, holder: String, now: Millis) {
        self.release(inode);
        let entry = self.holders.entry(holder.clone()).or_insert_with(|| Holder {
            renewed: now,
            reported: None,
            files: BTreeSet::new(),
        });
        (entry.renewed, entry.reported) = (now, None);
        entry.files.insert(inode);
        self.files.insert(inode, holder);
    }

    /// A holder is alive. One without files is of no interest.
    pub(super) fn renew(&mut self, holder: &str, now: Millis) {
        if let Some(holder) = self.holders.get_mut(holder) {
            (holder.renewed, holder.reported) = (now, None);
        }
    }

    /// All holders count as alive now.
    pub(super) fn renew_all(&mut self, now: Millis) {
        for holder in self.holders.values_mut() {
            (holder.renewed, holder.reported) = (now, None);
        }
    }

    /// A file is closed or gone.
    pub(super) fn release(&mut self, inode: InodeId) {
        let Some(name) = self.files.remove(&inode) else {
            return;
        };
        if let Some(holder) = self.holders.get_mut(&name) {
            holder.files.remove(&inode);
            if holder.files.is_empty() {
                self.holders.remove(&name);
            }
        }
    }

    /// Time during which this process stood still and could not be told of renewals.
    pub(super) fn forgive(&mut self, stalled: Duration) {
        for holder in self.holders.values_mut() {
            holder.renewed = holder.renewed.plus(stalled);
            holder.reported = holder.reported.map(|at| at.plus(stalled));
        }
    }

    /// Files whose holder has been silent for another `hard` interval.
    pub(super) fn expired(&mut self, hard: Duration, now: Millis) -> Vec<(InodeId, String)> {
        // New and renewed leases only pass the limit later than those there were, so most ticks end here.
        if now < self.quiet_until {
            return Vec::new();
        }
        let mut expired = Vec::new();
        self.quiet_until = now.plus(hard);
        for (name, holder) in &mut self.holders {
            if now.since(holder.since()) >= hard {
                holder.reported = Some(now);
                expired.extend(holder.files.iter().map(|inode| (*inode, name.clone())));
            }
            self.quiet_until = self.quiet_until.min(holder.since().plus(hard));
        }
        expired
    }

    /// Age of the lease on a file; `None` if nobody has it open.
    pub(super) fn age(&self, inode: InodeId, now: Millis) -> Option<Duration> {
        let holder = self.holders.get(self.files.get(&inode)?)?;
        Some(now.since(holder.renewed))
    }

    /// Number of open files.
    pub(super) fn files(&self) -> usize {
        self.files.len()
    }

    /// Broken rules.
    pub(super) fn violations(&self) -> Vec<String> {
        let mut found = Vec::new();
        for (inode, name) in &self.files {
            if self.holders.get(name).is_none_or(|holder| !holder.files.contains(inode)) {
                found.push(format!("file {inode} is not among those of its holder {name}"));
            }
        }
        let held: usize = self.holders.values().map(|holder| holder.files.len()).sum();
        if held != self.files.len() {
            found.push(format!("holders have {held} files, but {} are open", self.files.len()));
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HARD: Duration = Duration::from_mins(5);

    fn at(seconds: u64) -> Millis {
        Millis(seconds * 1_000)
    }

    #[test]
    fn silence_is_reported_once_an_interval() {
        let mut leases = Leases::default();
        leases.take(InodeId(1), "a".into(), at(0));
        leases.take(InodeId(2), "a".into(), at(10));
        leases.take(InodeId(3), "b".into(), at(20));
        let mut seen = Vec::new();
        for second in 0..700 {
            if second == 200 {
                leases.renew("b", at(second));
            }
            for (inode, _) in leases.expired(HARD, at(second)) {
                seen.push((inode.0, second));
            }
        }
        assert_eq!(seen, [(1, 310), (2, 310), (3, 500), (1, 610), (2, 610)]);
    }

    #[test]
    fn a_file_has_one_holder() {
        let mut leases = Leases::default();
        leases.take(InodeId(1), "a".into(), at(0));
        leases.take(InodeId(1), "b".into(), at(5));
        assert_eq!(leases.age(InodeId(1), at(6)), Some(Duration::from_secs(1)));
        assert_eq!((leases.files(), leases.holders.len()), (1, 1));
        leases.release(InodeId(1));
        assert_eq!((leases.age(InodeId(1), at(6)), leases.files()), (None, 0));
        assert_eq!(leases.violations(), Vec::<String>::new());
    }

    #[test]
    fn standing_still_ages_no_lease() {
        let mut leases = Leases::default();
        leases.take(InodeId(1), "a".into(), at(0));
        leases.forgive(HARD);
        assert_eq!(leases.expired(HARD, at(301)), []);
        assert_eq!(leases.expired(HARD, at(600)).len(), 1);
    }
}
