//! The time in which the NameNode takes no changes, as DataNodes have not reported enough.

/// How safe mode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SafeModeStatus {
    /// Whether it is on.
    pub on: bool,
    /// Whether an administrator switched it on: it does not end by itself.
    pub manual: bool,
    /// Committed chunks with a reported good replica.
    pub reported: u64,
    /// Committed chunks that must have one before it ends by itself.
    pub needed: u64,
}

/// What to do about safe mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SafeModeAction {
    /// Only tell.
    Get,
    /// Switch it on.
    Enter,
    /// Switch it off.
    Leave,
}
