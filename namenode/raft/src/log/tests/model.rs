//! Random histories beside a plain vector.

use proptest::prelude::*;

use super::{Content, Entry, EntryLog, HardState, Options, hard_state};
use crate::log::FileLog;

#[derive(Debug, Clone)]
enum Step {
    /// Appends entries of these sizes, in place of the last `back` ones as far as they are not committed.
    Append {
        back: u64,
        sizes: Vec<usize>,
        state: Option<(u64, u64)>,
    },
    /// Term and vote alone.
    Vote(u64, u64),
    /// Commits this many more.
    Commit(u64),
    /// Trims to this many before the commit index.
    Trim(u64),
    /// Goes on this far after the last entry.
    Reset(u64),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let size = prop_oneof![4 => 0..600_usize, 1 => 4000..6000_usize];
    let append = (0..6_u64, prop::collection::vec(size, 1..5), prop::option::of((0..5_u64, 0..4_u64)));
    prop_oneof![
        8 => append.prop_map(|(back, sizes, state)| Step::Append { back, sizes, state }),
        1 => (0..5_u64, 0..4_u64).prop_map(|(term, vote)| Step::Vote(term, vote)),
        4 => (0..8_u64).prop_map(Step::Commit),
        3 => (0..4_u64).prop_map(Step::Trim),
        1 => (0..20_u64).prop_map(Step::Reset),
        3 => Just(Step::Reopen),
    ]
}

/// What the log should say. Index `start.0 + 1 + n` is at `entries[n]`.
struct Model {
    start: (u64, u64),
    entries: Vec<Entry>,
    state: HardState,
    term: u64,
}

impl Model {
    fn last(&self) -> u64 {
        self.start.0 + self.entries.len() as u64
    }

    fn new_entries(&mut self, back: u64, sizes: &[usize]) -> Vec<Entry> {
        self.term += 1;
        let first = (self.last() + 1).saturating_sub(back).max(self.state.commit + 1);
        let indexes = first..first + sizes.len() as u64;
        let entries: Vec<_> = indexes.zip(sizes).map(|(i, size)| super::entry(i, self.term, *size)).collect();
        self.entries.truncate((first - self.start.0 - 1) as usize);
        self.entries.extend_from_slice(&entries);
        entries
    }

    fn trim(&mut self, index: u64) {
        if index > self.start.0 {
            let gone = self.entries.drain(..(index - self.start.0) as usize);
            self.start = gone.last().map_or(self.start, |entry| (entry.index, entry.term));
        }
    }

    fn check(&self, log: &FileLog) -> Result<(), TestCaseError> {
        // A log that was opened again may have more at the front.
        prop_assert!(log.start().0 <= self.start.0);
        prop_assert_eq!(log.last_index(), self.last());
        prop_assert_eq!(log.term(self.start.0), Some(self.start.1));
        prop_assert_eq!(log.term(self.last() + 1), None);
        prop_assert_eq!(&log.entries(self.start.0 + 1, u64::MAX, u64::MAX), &self.entries);
        let state = log.hard_state();
        prop_assert_eq!((state.term, state.vote), (self.state.term, self.state.vote));
        prop_assert!(log.start().0 <= state.commit && state.commit <= self.state.commit);
        let Content { start, entries, .. } = super::content(log);
        for (before, entry) in (start.0..).zip(&entries) {
            prop_assert_eq!((entry.index, log.term(entry.index)), (before + 1, Some(entry.term)));
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_log_is_a_vector_that_survives(steps in prop::collection::vec(step(), 1..60)) {
        let dir = tempfile::tempdir().unwrap();
        let options = Options { segment_bytes: 4 << 10 };
        let mut log = FileLog::open(dir.path(), options).unwrap();
        let mut model =
            Model { start: (0, 0), entries: Vec::new(), state: HardState::default(), term: 0 };
        for step in steps {
            match step {
                Step::Append { back, sizes, state } => {
                    let entries = model.new_entries(back, &sizes);
                    let state = state.map(|(term, vote)| hard_state(term, vote, model.state.commit));
                    log.append(state.as_ref(), &entries).unwrap();
                    model.state = state.unwrap_or(model.state);
                }
                Step::Vote(term, vote) => {
                    model.state = hard_state(term, vote, model.state.commit);
                    log.append(Some(&model.state), &[]).unwrap();
                }
                Step::Commit(more) => {
                    model.state.commit = (model.state.commit + more).min(model.last());
                    log.append(Some(&model.state), &[]).unwrap();
                }
                Step::Trim(before) => {
                    let index = model.state.commit.saturating_sub(before);
                    log.trim(index).unwrap();
                    model.trim(index);
                }
                Step::Reset(after) => {
                    model.term += 1;
                    model.start = (model.last() + after, model.term);
                    model.entries.clear();
                    model.state.commit = model.start.0;
                    log.reset(model.start.0, model.start.1).unwrap();
                }
                Step::Reopen => {
                    drop(log);
                    log = FileLog::open(dir.path(), options).unwrap();
                }
            }
            model.check(&log)?;
        }
    }
}
