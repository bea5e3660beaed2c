//! [`FsError`] as an [`io::Error`], for `AsyncRead` and `AsyncWrite`, and with more context.

use std::io;

use dfs_types::{ErrorCode, FsError};

/// The I/O error that carries `error` as its source; its kind is the nearest one.
pub(crate) fn to_io(error: FsError) -> io::Error {
    let kind = match error.code {
        ErrorCode::NotFound => io::ErrorKind::NotFound,
        ErrorCode::AlreadyExists => io::ErrorKind::AlreadyExists,
        ErrorCode::NotADirectory => io::ErrorKind::NotADirectory,
        ErrorCode::IsADirectory => io::ErrorKind::IsADirectory,
        ErrorCode::NotEmpty => io::ErrorKind::DirectoryNotEmpty,
        ErrorCode::PermissionDenied => io::ErrorKind::PermissionDenied,
        ErrorCode::InvalidArgument => io::ErrorKind::InvalidInput,
        ErrorCode::NoSpace | ErrorCode::NotEnoughNodes => io::ErrorKind::StorageFull,
        ErrorCode::QuotaExceeded => io::ErrorKind::QuotaExceeded,
        ErrorCode::Corrupt => io::ErrorKind::InvalidData,
        ErrorCode::TimedOut => io::ErrorKind::TimedOut,
        ErrorCode::Unsupported => io::ErrorKind::Unsupported,
        ErrorCode::LeaseConflict
        | ErrorCode::RecoveryInProgress
        | ErrorCode::SafeMode
        | ErrorCode::NotLeader
        | ErrorCode::StaleChunk
        | ErrorCode::WrongCluster
        | ErrorCode::NotRegistered
        | ErrorCode::Unavailable
        | ErrorCode::Busy
        | ErrorCode::Io
        | ErrorCode::Internal => io::ErrorKind::Other,
    };
    io::Error::new(kind, error)
}

/// The same error with `context` before its message.
pub(crate) fn context(context: &str, error: FsError) -> FsError {
    FsError::new(error.code, format!("{context}: {}", error.message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_io_error_keeps_the_code() {
        for code in ErrorCode::ALL {
            let io = to_io(FsError::new(code, "text"));
            let back = io.get_ref().and_then(|inner| inner.downcast_ref::<FsError>()).unwrap();
            assert_eq!(back.code, code);
        }
        assert_eq!(to_io(FsError::not_found("/x")).kind(), io::ErrorKind::NotFound);
    }
}
