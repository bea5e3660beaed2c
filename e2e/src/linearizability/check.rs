//! The search.

use std::collections::HashSet;

use super::entries::{Entries, Index, Kind};
use super::failure::{Failure, Prefix};
use super::{History, Model};

/// The set of operations that have been given their moment.
type Done = Vec<u64>;

/// Looks for moments of all answered operations of `history`, which begins in the state `initial`. Answers how many
/// steps that took, at most `budget`.
///
/// ```
/// use std::time::Duration;
///
/// use dfs_e2e::linearizability::{Model, Record, check};
///
/// /// A number that can be read and set.
/// #[derive(Debug)]
/// struct Register;
///
/// #[derive(Debug, Clone)]
/// enum Operation {
///     Read,
///     Write(u32),
/// }
///
/// impl Model for Register {
///     type State = u32;
///     type Operation = Operation;
///     type Answer = u32;
///
///     fn step(state: &u32, operation: &Operation, answer: Option<&u32>) -> Option<u32> {
///         let next = match operation {
///             Operation::Read => *state,
///             Operation::Write(value) => *value,
///         };
///         answer.is_none_or(|answer| *answer == next).then_some(next)
///     }
/// }
///
/// let at = Duration::from_millis;
/// let write = Record {
///     client: 0,
///     operation: Operation::Write(7),
///     called: at(0),
///     answered: Some((at(1), 7)),
/// };
/// let read = |answer| Record {
///     client: 1,
///     operation: Operation::Read,
///     called: at(2),
///     answered: Some((at(3), answer)),
/// };
/// assert!(check::<Register>(&0, &[write.clone(), read(7)], 1_000).is_ok());
/// assert!(check::<Register>(&0, &[write, read(0)], 1_000).is_err());
/// ```
pub fn check<M: Model>(initial: &M::State, history: &History<M>, budget: u64) -> Result<u64, Failure> {
    let mut search = Search::<M>::new(initial.clone(), history);
    for steps in 0..=budget {
        match search.advance() {
            Progress::Going => {}
            Progress::Linearizable => return Ok(steps),
            Progress::Exhausted => return Err(Failure::violation::<M>(initial, history, &search.furthest)),
        }
    }
    Err(Failure::Undecided { budget, operations: history.len() })
}

enum Progress {
    Going,
    /// Every answered operation has its moment. The others may never take effect.
    Linearizable,
    /// Nothing is left to be tried.
    Exhausted,
}

struct Search<'a, M: Model> {
    history: &'a History<M>,
    entries: Entries,
    state: M::State,
    done: Done,
    /// Answered operations without a moment.
    left: usize,
    /// The calls that were given their moments, in that order, each with the state before it.
    path: Vec<(Index, M::State)>,
    /// Configurations that were reached before: what follows is the same however they were reached.
    seen: HashSet<(Done, M::State)>,
    /// What is looked at next.
    at: Index,
    /// The longest order found, for the message.
    furthest: Prefix,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(initial: M::State, history: &'a History<M>) -> Self {
        let entries = Entries::new(history);
        let at = entries.next(Entries::HEAD);
        Self {
            history,
            entries,
            state: initial,
            done: vec![0; history.len().div_ceil(64)],
            left: history.iter().filter(|record| record.answered.is_some()).count(),
            path: Vec::new(),
            seen: HashSet::new(),
            at,
            furthest: Prefix::default(),
        }
    }

    fn advance(&mut self) -> Progress {
        if self.left == 0 {
            return Progress::Linearizable;
        }
        match self.entries.kind(self.at) {
            Kind::Call(operation, answer) => {
                if !self.try_now(operation, answer.is_some()) {
                    self.at = self.entries.next(self.at);
                }
                Progress::Going
            }
            // An operation has been answered that has no moment yet, and no other can come first: one of the moments
            // given before is wrong.
            Kind::Answer(operation) => {
                self.note(operation);
                self.go_back()
            }
            Kind::Head => self.go_back(),
        }
    }

    /// Gives the operation whose call is looked at its moment now, if it can be and if that leads to anything new.
    fn try_now(&mut self, operation: usize, answered: bool) -> bool {
        let record = &self.history[operation];
        let answer = record.answered.as_ref().map(|(_, answer)| answer);
        let Some(next) = M::step(&self.state, &record.operation, answer) else { return false };
        if !answered && next == self.state {
            // An unknown operation without effect says nothing now and may have one later.
            return false;
        }
        set(&mut self.done, operation, true);
        if !self.seen.insert((self.done.clone(), next.clone())) {
            set(&mut self.done, operation, false);
            return false;
        }
        self.left -= usize::from(answered);
        self.entries.take_out(self.at);
        self.path.push((self.at, std::mem::replace(&mut self.state, next)));
        self.at = self.entries.next(Entries::HEAD);
        true
    }

    /// Takes back the last moment given and tries what comes after it.
    fn go_back(&mut self) -> Progress {
        let Some((call, state)) = self.path.pop() else { return Progress::Exhausted };
        if let Kind::Call(operation, answer) = self.entries.kind(call) {
            set(&mut self.done, operation, false);
            self.left += usize::from(answer.is_some());
        }
        self.entries.put_back(call);
        self.state = state;
        self.at = self.entries.next(call);
        Progress::Going
    }

    /// Keeps the longest order found so far and the operation it can't explain.
    fn note(&mut self, stuck: usize) {
        if self.furthest.stuck.is_none() || self.path.len() > self.furthest.order.len() {
            let operation = |call: &Index| match self.entries.kind(*call) {
                Kind::Call(operation, _) | Kind::Answer(operation) => Some(operation),
                Kind::Head => None,
            };
            let order = self.path.iter().filter_map(|(call, _)| operation(call)).collect();
            self.furthest = Prefix { order, stuck: Some(stuck) };
        }
    }
}

fn set(done: &mut Done, operation: usize, value: bool) {
    let bit = 1 << (operation % 64);
    if value {
        done[operation / 64] |= bit;
    } else {
        done[operation / 64] &= !bit;
    }
}
