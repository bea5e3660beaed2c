//! What a run did, counted.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use dfs_e2e::cell::{Answer, Operation};

use super::nemesis::Fault;
use super::round::Story;

/// How operations of one kind ended.
#[derive(Debug, Default)]
struct Ends {
    done: u64,
    refused: u64,
    unknown: u64,
}

/// Counts of a whole run.
#[derive(Debug, Default)]
pub(super) struct Tally {
    rounds: u64,
    cells: u64,
    used_up: u64,
    operations: BTreeMap<&'static str, Ends>,
    faults: BTreeMap<Fault, u64>,
    longest: Duration,
}

fn kind(operation: Operation) -> &'static str {
    match operation {
        Operation::Create(..) => "create",
        Operation::Mkdir(..) => "mkdir",
        Operation::Delete(_) => "delete",
        Operation::Abandon(..) => "abandon",
        Operation::Rename { overwrite: false, .. } => "rename",
        Operation::Rename { overwrite: true, .. } => "rename over",
        Operation::Stat(_) => "stat",
        Operation::List => "list",
    }
}

impl Tally {
    /// Adds a round.
    pub(super) fn add(&mut self, stories: &[Story], used_up: bool, faults: &[Fault]) {
        self.rounds += 1;
        self.cells += stories.len() as u64;
        self.used_up += u64::from(used_up);
        for record in stories.iter().flat_map(|story| &story.records) {
            let ends = self.operations.entry(kind(record.operation)).or_default();
            match record.answered {
                None => ends.unknown += 1,
                Some((_, Answer::Refused(_) | Answer::Removed(false) | Answer::Found(None))) => {
                    ends.refused += 1;
                }
                Some((
                    _,
                    Answer::Done | Answer::Removed(true) | Answer::Found(Some(_)) | Answer::Listed(_),
                )) => {
                    ends.done += 1;
                }
            }
        }
        for fault in faults {
            *self.faults.entry(*fault).or_default() += 1;
        }
    }

    /// Notes how long a search took.
    pub(super) fn searched(&mut self, time: Duration) {
        self.longest = self.longest.max(time);
    }

    /// Operations that took effect, or saw something.
    pub(super) fn done(&self) -> u64 {
        self.operations.values().map(|ends| ends.done).sum()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} rounds, {} cells ({} rounds used all)", self.rounds, self.cells, self.used_up)?;
        for (kind, Ends { done, refused, unknown }) in &self.operations {
            writeln!(f, "{kind:12} {done:8} done {refused:8} without effect {unknown:6} unknown")?;
        }
        for (fault, count) in &self.faults {
            writeln!(f, "{fault:12?} {count:8}")?;
        }
        write!(f, "longest check {:.1?}", self.longest)
    }
}
