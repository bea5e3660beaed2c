//! Numbers of a client's calls, and which of them have no answer yet.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use dfs_types::CallId;

/// The calls of one client.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last: u64,
    /// Calls that may be sent once more.
    open: BTreeSet<u64>,
}

/// A call; when this is dropped it is answered or given up, and never sent again.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    calls: &'a Calls,
    /// Its number, from 1 on.
    pub(crate) id: CallId,
    /// The lowest of the calls without an answer when it began; it may be this one.
    pub(crate) lowest_unanswered: CallId,
}

impl Calls {
    fn with<T>(&self, with: impl FnOnce(&mut State) -> T) -> T {
        with(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A new call.
    pub(crate) fn begin(&self) -> Call<'_> {
        let (id, lowest) = self.with(|state| {
            state.last += 1;
            state.open.insert(state.last);
            (state.last, state.open.first().copied().unwrap_or(state.last))
        });
        Call { calls: self, id: CallId(id), lowest_unanswered: CallId(lowest) }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.calls.with(|state| state.open.remove(&self.id.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_call_without_an_answer_is_told() {
        let calls = Calls::default();
        let one = calls.begin();
        let two = calls.begin();
        assert_eq!((one.id, two.id, two.lowest_unanswered), (CallId(1), CallId(2), CallId(1)));
        drop(one);
        let three = calls.begin();
        assert_eq!(three.lowest_unanswered, CallId(2), "the second may still be sent again");
        drop((two, three));
        let four = calls.begin();
        assert_eq!((four.id, four.lowest_unanswered), (CallId(4), CallId(4)));
    }
}
