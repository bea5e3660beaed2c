//! What a DataNode is used for.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Millis;

/// What an administrator wants a DataNode to be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum NodeDuty {
    /// For everything.
    #[default]
    InService,
    /// For nothing, for good: what it holds is copied elsewhere first.
    Decommission,
    /// For nothing, for a while: what it holds counts on, and its silence costs no copying.
    Maintenance {
        /// When it is in service again by itself, in the clock of whoever uses this value: Unix time in edits, the
        /// decisions' monotonic time in events.
        until: Millis,
    },
}

/// What an administrator asks a DataNode to be used for, from now on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Duty {
    /// For everything.
    InService,
    /// For nothing, for good: what it holds is copied elsewhere first.
    Decommission,
    /// For nothing, for a while: its silence costs no copying.
    Maintenance {
        /// How long, in whole milliseconds.
        lasts: Duration,
    },
}

/// How far a DataNode's duty is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DutyState {
    /// It is used for everything.
    #[default]
    InService,
    /// What it holds is being copied elsewhere.
    Decommissioning,
    /// No chunk, open ones included, depends on it: it may be taken away.
    Decommissioned,
    /// What only nodes in maintenance hold is being copied elsewhere.
    EnteringMaintenance,
    /// It may be stopped until its maintenance ends.
    InMaintenance,
}
