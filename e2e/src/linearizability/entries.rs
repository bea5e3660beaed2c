//! The calls and answers of a history in the order of their times, as a list from which an operation is taken out, and
//! put in again, in constant time.

use std::time::Duration;

use super::Record;

/// Index of an entry. The list's head comes first and is no entry of the history.
pub(super) type Index = usize;

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Before the first and after the last entry.
    Head,
    /// The operation was called; with the entry of its answer, if there is one.
    Call(usize, Option<Index>),
    /// The operation was answered.
    Answer(usize),
}

#[derive(Debug)]
struct Node {
    kind: Kind,
    next: Index,
    previous: Index,
}

/// The list, a ring through its head.
#[derive(Debug)]
pub(super) struct Entries {
    nodes: Vec<Node>,
}

impl Entries {
    pub(super) const HEAD: Index = 0;

    /// All calls and answers. Those of the same time count as concurrent: calls come first.
    pub(super) fn new<O, A>(history: &[Record<O, A>]) -> Self {
        let mut events: Vec<(Duration, bool, usize)> = Vec::with_capacity(2 * history.len());
        for (operation, record) in history.iter().enumerate() {
            events.push((record.called, false, operation));
            if let Some((time, _)) = &record.answered {
                // An answer never comes before its call, whatever the clock says.
                events.push((*time.max(&record.called), true, operation));
            }
        }
        events.sort_unstable();
        let count = events.len() + 1;
        let mut calls = vec![Self::HEAD; history.len()];
        let mut nodes = vec![Node { kind: Kind::Head, next: 1 % count, previous: count - 1 }];
        for (position, (_, answer, operation)) in events.into_iter().enumerate() {
            let index = position + 1;
            let kind = if answer {
                nodes[calls[operation]].kind = Kind::Call(operation, Some(index));
                Kind::Answer(operation)
            } else {
                calls[operation] = index;
                Kind::Call(operation, None)
            };
            nodes.push(Node { kind, next: (index + 1) % count, previous: index - 1 });
        }
        Self { nodes }
    }

    pub(super) fn kind(&self, index: Index) -> Kind {
        self.nodes[index].kind
    }

    pub(super) fn next(&self, index: Index) -> Index {
        self.nodes[index].next
    }

    /// Takes a call and its answer out.
    pub(super) fn take_out(&mut self, call: Index) {
        self.unlink(call);
        if let Kind::Call(_, Some(answer)) = self.nodes[call].kind {
            self.unlink(answer);
        }
    }

    /// Puts them back; the last one taken out must be the first put back.
    pub(super) fn put_back(&mut self, call: Index) {
        if let Kind::Call(_, Some(answer)) = self.nodes[call].kind {
            self.link(answer);
        }
        self.link(call);
    }

    fn unlink(&mut self, index: Index) {
        let Node { next, previous, .. } = self.nodes[index];
        self.nodes[previous].next = next;
        self.nodes[next].previous = previous;
    }

    fn link(&mut self, index: Index) {
        let Node { next, previous, .. } = self.nodes[index];
        self.nodes[previous].next = index;
        self.nodes[next].previous = index;
    }
}
