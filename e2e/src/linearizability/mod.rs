//! A linearizability checker.
//!
//! A history of concurrent operations is *linearizable* if each of them can be given one moment between its call and
//! its answer so that, carried out one after the other in the order of those moments, every one answers what it was
//! seen to answer (Herlihy, Wing: Linearizability: A Correctness Condition for Concurrent Objects). An operation whose
//! outcome is unknown (it timed out, or its client went away) may take effect at any moment after its call, or never.
//!
//! The search ([`check()`]) is that of Wing and Gong (Testing and Verifying Concurrent Objects) with Lowe's memory of
//! configurations (Testing for Linearizability), as in Knossos and Porcupine: it takes exponential time at worst, so it
//! has a budget of steps, and a history that can't be decided within it is an error, never a pass.

mod check;
mod entries;
mod failure;
#[cfg(test)]
mod tests;

use std::fmt::Debug;
use std::hash::Hash;
use std::time::Duration;

pub use check::check;
pub use failure::Failure;

/// What an object shall do, one operation after the other.
pub trait Model {
    /// The object.
    type State: Clone + Eq + Hash + Debug;
    /// What a client asks of it.
    type Operation: Clone + Debug;
    /// What the client is told.
    type Answer: Clone + Debug;

    /// The state after `operation` answered `answer` in `state`; `None` if it can't answer so there.
    ///
    /// An absent answer means that nobody knows it: then every state must have a successor, which is `state` itself if
    /// the operation fails there or only reads.
    fn step(
        state: &Self::State,
        operation: &Self::Operation,
        answer: Option<&Self::Answer>,
    ) -> Option<Self::State>;
}

/// One operation of a history. Times are of one clock for the whole history and never go back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record<O, A> {
    /// Who asked; for people only.
    pub client: usize,
    /// What was asked.
    pub operation: O,
    /// Before it was asked.
    pub called: Duration,
    /// After it was answered, and the answer; `None`: the outcome is not known.
    pub answered: Option<(Duration, A)>,
}

/// A history of operations on an object of the model `M`, in any order.
pub type History<M> = [Record<<M as Model>::Operation, <M as Model>::Answer>];
