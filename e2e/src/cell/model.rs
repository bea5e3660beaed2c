//! What the operations on a cell shall do.

use std::fmt;

use dfs_types::{ErrorCode, FileKind};

use super::{Entry, Mark, NAMES};
use crate::linearizability::Model;

/// A name in a cell, below [`NAMES`].
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name(pub u8);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "n{}", self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The entries of a cell by their names.
pub type State = [Option<Entry>; NAMES as usize];

/// What a client asks of a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Make a file; there must be nothing of that name.
    Create(Name, Mark),
    /// Make a directory; there must be nothing of that name.
    Mkdir(Name, Mark),
    /// Remove what has the name.
    Delete(Name),
    /// Remove what has the name if it is this entry: what a writer does with a file that it can't finish.
    Abandon(Name, Mark),
    /// Give an entry another name.
    Rename {
        /// The name it has.
        from: Name,
        /// The name it gets.
        to: Name,
        /// Whether an entry of the same kind gives way.
        overwrite: bool,
    },
    /// See what has the name.
    Stat(Name),
    /// See all.
    List,
}

/// What a client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// It was done.
    Done,
    /// A removal was done; whether there was anything.
    Removed(bool),
    /// What has the name.
    Found(Option<Entry>),
    /// All entries.
    Listed(State),
    /// It was not done, for this reason.
    Refused(ErrorCode),
}

/// The model of a cell.
#[derive(Debug)]
pub struct Cell;

impl Model for Cell {
    type State = State;
    type Operation = Operation;
    type Answer = Answer;

    fn step(state: &State, operation: &Operation, answer: Option<&Answer>) -> Option<State> {
        let mut next = *state;
        let expected = apply(&mut next, *operation);
        answer.is_none_or(|answer| *answer == expected).then_some(next)
    }
}

fn apply(state: &mut State, operation: Operation) -> Answer {
    match operation {
        Operation::Create(name, mark) => make(state, name, Entry { kind: FileKind::File, mark }),
        Operation::Mkdir(name, mark) => make(state, name, Entry { kind: FileKind::Directory, mark }),
        Operation::Delete(name) => Answer::Removed(state[at(name)].take().is_some()),
        Operation::Abandon(name, mark) => {
            state[at(name)].take_if(|entry| entry.mark == mark);
            Answer::Done
        }
        Operation::Rename { from, to, overwrite } => rename(state, from, to, overwrite),
        Operation::Stat(name) => Answer::Found(state[at(name)]),
        Operation::List => Answer::Listed(*state),
    }
}

fn at(name: Name) -> usize {
    name.0.into()
}

fn make(state: &mut State, name: Name, entry: Entry) -> Answer {
    let place = &mut state[at(name)];
    match place {
        Some(Entry { kind: FileKind::Directory, .. }) if entry.kind == FileKind::File => {
            Answer::Refused(ErrorCode::IsADirectory)
        }
        Some(_) => Answer::Refused(ErrorCode::AlreadyExists),
        None => {
            *place = Some(entry);
            Answer::Done
        }
    }
}

fn rename(state: &mut State, from: Name, to: Name, overwrite: bool) -> Answer {
    let Some(moved) = state[at(from)] else { return Answer::Refused(ErrorCode::NotFound) };
    if from == to {
        return Answer::Done;
    }
    let refused = match state[at(to)] {
        None => None,
        Some(_) if !overwrite => Some(ErrorCode::AlreadyExists),
        Some(replaced) => match (moved.kind, replaced.kind) {
            (FileKind::File, FileKind::Directory) => Some(ErrorCode::IsADirectory),
            (FileKind::Directory, FileKind::File) => Some(ErrorCode::NotADirectory),
            (FileKind::File, FileKind::File) | (FileKind::Directory, FileKind::Directory) => None,
        },
    };
    if let Some(code) = refused {
        return Answer::Refused(code);
    }
    state[at(from)] = None;
    state[at(to)] = Some(moved);
    Answer::Done
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Name = Name(0);
    const B: Name = Name(1);

    fn mark(number: u16) -> Mark {
        Mark::new(number).unwrap()
    }

    fn run(operations: &[(Operation, Answer)]) -> State {
        operations.iter().fold(State::default(), |state, (operation, answer)| {
            Cell::step(&state, operation, Some(answer))
                .unwrap_or_else(|| panic!("{operation:?} does not answer {answer:?} in {state:?}"))
        })
    }

    fn rename(from: Name, to: Name, overwrite: bool) -> Operation {
        Operation::Rename { from, to, overwrite }
    }

    #[test]
    fn entries_keep_their_marks_through_renames() {
        let moved = Entry { kind: FileKind::File, mark: mark(1) };
        let state = run(&[
            (Operation::Create(A, mark(1)), Answer::Done),
            (Operation::Create(A, mark(2)), Answer::Refused(ErrorCode::AlreadyExists)),
            (Operation::Create(B, mark(3)), Answer::Done),
            (rename(A, B, false), Answer::Refused(ErrorCode::AlreadyExists)),
            (rename(A, A, true), Answer::Done),
            (rename(A, B, true), Answer::Done),
            (rename(A, B, true), Answer::Refused(ErrorCode::NotFound)),
            (Operation::Stat(A), Answer::Found(None)),
            (Operation::Stat(B), Answer::Found(Some(moved))),
        ]);
        assert_eq!(state, [None, Some(moved), None, None]);
    }

    #[test]
    fn files_and_directories_do_not_replace_each_other() {
        let state = run(&[
            (Operation::Create(A, mark(1)), Answer::Done),
            (Operation::Mkdir(B, mark(2)), Answer::Done),
            (Operation::Create(B, mark(3)), Answer::Refused(ErrorCode::IsADirectory)),
            (Operation::Mkdir(A, mark(4)), Answer::Refused(ErrorCode::AlreadyExists)),
            (rename(A, B, true), Answer::Refused(ErrorCode::IsADirectory)),
            (rename(B, A, true), Answer::Refused(ErrorCode::NotADirectory)),
            (rename(B, A, false), Answer::Refused(ErrorCode::AlreadyExists)),
            (Operation::Delete(A), Answer::Removed(true)),
            (Operation::Delete(A), Answer::Removed(false)),
            (rename(B, A, false), Answer::Done),
        ]);
        assert_eq!(state[0], Some(Entry { kind: FileKind::Directory, mark: mark(2) }));
        assert!(Cell::step(&state, &Operation::List, Some(&Answer::Listed(State::default()))).is_none());
    }

    #[test]
    fn only_the_own_file_is_abandoned() {
        let state = run(&[
            (Operation::Create(A, mark(1)), Answer::Done),
            (Operation::Abandon(A, mark(2)), Answer::Done),
            (Operation::Abandon(B, mark(1)), Answer::Done),
            (Operation::Delete(A), Answer::Removed(true)),
            (Operation::Create(A, mark(3)), Answer::Done),
            (Operation::Abandon(A, mark(1)), Answer::Done),
        ]);
        assert_eq!(state[0].map(|entry| entry.mark), Some(mark(3)));
        let unknown = Cell::step(&state, &Operation::Abandon(A, mark(3)), None);
        assert_eq!(unknown, Some(State::default()));
    }
}
