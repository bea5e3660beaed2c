//! What an entry of the replicated log holds.

use super::edit::Proposal;
use super::position::Members;
use dfs_types::Millis;

/// Proposals that share an entry, and what their leader decided for all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Batch {
    /// Time that the group has had a leader, as this one counts it.
    pub clock: Millis,
    /// The user who may do anything.
    pub superuser: String,
    /// In order.
    pub proposals: Vec<Proposal>,
}

/// Where a member is; travels with the change that takes it in, or by itself when it moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Residence {
    /// The member.
    pub id: u64,
    /// `HOST:PORT`.
    pub address: String,
}

/// An entry's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    /// Changes of the namespace.
    Edits(Batch),
    /// A member's address.
    Moved(Residence),
}

/// A committed entry as it is applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LogEntry {
    /// Its index; one more than the entry's before.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// What it does.
    pub content: Content,
}

/// What a committed entry does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Content {
    /// Nothing; a new leader's first entry.
    Nothing,
    /// What was proposed.
    Record(Record),
    /// The members are these from now on; perhaps one is new.
    Members(Members, Option<Residence>),
}
