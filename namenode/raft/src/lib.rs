//! One member of the group of NameNodes: the replicated log that edits go through.
//!
//! * [`Member`] drives the library `raft` (a pure state machine) with virtual time, an [`EntryLog`] and an [`Outlet`]: no
//!   thread, no socket, no clock, so that a simulation can run a whole group in one thread.
//! * [`log`] is what a member must never forget: its entries and its vote, in files of its own, which a thread writes.
//! * `lease` tells how long a leader may answer reads without asking the others again.
//!
//! What an entry means is not known here: it is bytes.

mod lease;
pub mod log;
mod member;
mod storage;

pub use log::{DiskLog, EntryLog, FileLog};
pub use member::{
    Committed, Envelope, Member, MembershipChange, NotLeading, Outlet, Position, Role, Settings, Status,
};
pub use raft::eraftpb::{ConfState, Entry, EntryType, HardState, Message, MessageType, Snapshot};

/// Time of a monotonic clock in nanoseconds. Only differences mean anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Nanos(pub u64);

impl Nanos {
    /// This much later.
    #[must_use]
    pub fn plus(self, time: std::time::Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// Time since `earlier`; zero if that is later.
    pub fn since(self, earlier: Self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Numbers of the library's message and entry types, as they are on the wire.
pub mod number {
    use protobuf::ProtobufEnum;
    use raft::eraftpb::{EntryType, MessageType};

    /// The number of a message type.
    pub fn of_message(kind: MessageType) -> u32 {
        kind.value().unsigned_abs()
    }

    /// The message type with this number.
    pub fn message(number: u32) -> Option<MessageType> {
        MessageType::from_i32(i32::try_from(number).ok()?)
    }

    /// The number of an entry type.
    pub fn of_entry(kind: EntryType) -> u32 {
        kind.value().unsigned_abs()
    }

    /// The entry type with this number.
    pub fn entry(number: u32) -> Option<EntryType> {
        EntryType::from_i32(i32::try_from(number).ok()?)
    }
}
