//! The one error that crosses process borders, and its codes.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What went wrong, for programs: clients branch on it, protocols map it, metrics count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u32)]
pub enum ErrorCode {
    /// No such file, directory, chunk or node.
    NotFound = 1,
    /// Something of that name exists already.
    AlreadyExists = 2,
    /// A directory is needed but a file (or nothing) is there.
    NotADirectory = 3,
    /// A file is needed but a directory is there.
    IsADirectory = 4,
    /// A directory still has entries.
    NotEmpty = 5,
    /// The caller's user may not do this.
    PermissionDenied = 6,
    /// The request itself is wrong.
    InvalidArgument = 7,
    /// The file's lease is held by another client, or no longer by this one.
    LeaseConflict = 8,
    /// Recovery of the file's last chunk is under way; try again shortly.
    RecoveryInProgress = 9,
    /// The NameNode is in safe mode; it takes no changes yet.
    SafeMode = 10,
    /// This NameNode does not lead; ask another.
    NotLeader = 11,
    /// Too few live DataNodes, or none with room, for what is asked.
    NotEnoughNodes = 12,
    /// No space is left where the bytes should go.
    NoSpace = 13,
    /// Bytes do not match their checksum.
    Corrupt = 14,
    /// The chunk's generation, length or state is not what the request says.
    StaleChunk = 15,
    /// Another cluster's node or directory.
    WrongCluster = 16,
    /// The node is not registered; it must register again.
    NotRegistered = 17,
    /// Nothing answered, or the connection broke; trying again may help.
    Unavailable = 18,
    /// The deadline passed.
    TimedOut = 19,
    /// A limit of the server is reached; try again later.
    Busy = 20,
    /// Reading or writing a local file failed.
    Io = 21,
    /// The server does not know this operation.
    Unsupported = 22,
    /// A bug or damaged state in the server.
    Internal = 23,
    /// A directory would take more than its quota lets it.
    QuotaExceeded = 24,
}

impl ErrorCode {
    /// Every code, in the order of its number.
    pub const ALL: [Self; 24] = [
        Self::NotFound,
        Self::AlreadyExists,
        Self::NotADirectory,
        Self::IsADirectory,
        Self::NotEmpty,
        Self::PermissionDenied,
        Self::InvalidArgument,
        Self::LeaseConflict,
        Self::RecoveryInProgress,
        Self::SafeMode,
        Self::NotLeader,
        Self::NotEnoughNodes,
        Self::NoSpace,
        Self::Corrupt,
        Self::StaleChunk,
        Self::WrongCluster,
        Self::NotRegistered,
        Self::Unavailable,
        Self::TimedOut,
        Self::Busy,
        Self::Io,
        Self::Unsupported,
        Self::Internal,
        Self::QuotaExceeded,
    ];

    /// The number that stands for this code on the wire.
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The code a number stands for; [`ErrorCode::Internal`] for a number this version does not know.
    pub fn from_number(number: u32) -> Self {
        Self::ALL.into_iter().find(|code| code.number() == number).unwrap_or(Self::Internal)
    }

    /// The code as a metric label or JSON value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::AlreadyExists => "already_exists",
            Self::NotADirectory => "not_a_directory",
            Self::IsADirectory => "is_a_directory",
            Self::NotEmpty => "not_empty",
            Self::PermissionDenied => "permission_denied",
            Self::InvalidArgument => "invalid_argument",
            Self::LeaseConflict => "lease_conflict",
            Self::RecoveryInProgress => "recovery_in_progress",
            Self::SafeMode => "safe_mode",
            Self::NotLeader => "not_leader",
            Self::NotEnoughNodes => "not_enough_nodes",
            Self::NoSpace => "no_space",
            Self::Corrupt => "corrupt",
            Self::StaleChunk => "stale_chunk",
            Self::WrongCluster => "wrong_cluster",
            Self::NotRegistered => "not_registered",
            Self::Unavailable => "unavailable",
            Self::TimedOut => "timed_out",
            Self::Busy => "busy",
            Self::Io => "io",
            Self::Unsupported => "unsupported",
            Self::Internal => "internal",
            Self::QuotaExceeded => "quota_exceeded",
        }
    }

    /// Whether the same request may succeed if sent again, unchanged, a little later.
    pub const fn is_transient(self) -> bool {
        matches!(
            self,
            Self::RecoveryInProgress | Self::SafeMode | Self::NotLeader | Self::Unavailable | Self::Busy
        )
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An error as it crosses a process border: a code for programs and one sentence for people that says what is
/// wrong and, where there is something to do, what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct FsError {
    /// For programs.
    pub code: ErrorCode,
    /// For people.
    pub message: String,
}

impl FsError {
    /// An error of this code and message.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// `path` does not exist.
    pub fn not_found(path: &(impl fmt::Display + ?Sized)) -> Self {
        Self::new(ErrorCode::NotFound, format!("no such file or directory: {path}"))
    }

    /// The request is wrong.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::InvalidArgument, message)
    }

    /// A bug or damaged state.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Internal, message)
    }
}

impl From<crate::path::PathError> for FsError {
    fn from(error: crate::path::PathError) -> Self {
        Self::invalid(error.to_string())
    }
}

/// Result with [`FsError`].
pub type FsResult<T> = Result<T, FsError>;

/// An error with its causes in one sentence; a cause that the text before names already is not repeated.
pub fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_survive_the_wire() {
        for (index, code) in ErrorCode::ALL.into_iter().enumerate() {
            assert_eq!(code.number() as usize, index + 1);
            assert_eq!(ErrorCode::from_number(code.number()), code);
        }
        assert_eq!(ErrorCode::from_number(9_999), ErrorCode::Internal);
    }
}
