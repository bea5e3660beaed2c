//! One table between [`ErrorCode`] and gRPC's codes.

use std::error::Error as _;

use dfs_types::{ErrorCode, FsError};
use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use crate::v1::ErrorDetail;

/// Metadata key of a status that carries the number of an [`ErrorCode`].
const CODE_KEY: &str = "dfs-error-code";

fn grpc_code(code: ErrorCode) -> Code {
    match code {
        ErrorCode::NotFound => Code::NotFound,
        ErrorCode::AlreadyExists => Code::AlreadyExists,
        ErrorCode::PermissionDenied => Code::PermissionDenied,
        ErrorCode::InvalidArgument => Code::InvalidArgument,
        ErrorCode::NotADirectory
        | ErrorCode::IsADirectory
        | ErrorCode::NotEmpty
        | ErrorCode::LeaseConflict
        | ErrorCode::StaleChunk
        | ErrorCode::WrongCluster
        | ErrorCode::NotRegistered
        | ErrorCode::NotLeader => Code::FailedPrecondition,
        ErrorCode::RecoveryInProgress | ErrorCode::SafeMode | ErrorCode::Unavailable => Code::Unavailable,
        ErrorCode::NotEnoughNodes | ErrorCode::NoSpace | ErrorCode::Busy | ErrorCode::QuotaExceeded => {
            Code::ResourceExhausted
        }
        ErrorCode::Corrupt => Code::DataLoss,
        ErrorCode::TimedOut => Code::DeadlineExceeded,
        ErrorCode::Unsupported => Code::Unimplemented,
        ErrorCode::Io | ErrorCode::Internal => Code::Internal,
    }
}

/// The status that carries `error` to a gRPC client.
pub fn to_status(error: FsError) -> Status {
    let mut status = Status::new(grpc_code(error.code), error.message);
    status.metadata_mut().insert(CODE_KEY, MetadataValue::from(error.code.number()));
    status
}

/// The error a status carries; one that no server of ours made (the transport's own) gets the nearest code.
pub fn from_status(status: &Status) -> FsError {
    let ours = status
        .metadata()
        .get(CODE_KEY)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.parse().ok())
        .map(ErrorCode::from_number);
    if let Some(code) = ours {
        return FsError::new(code, status.message());
    }
    if status.code() == Code::Unimplemented {
        let text = "the server does not know this operation: are client and server of the same version?";
        return FsError::new(ErrorCode::Unsupported, text);
    }
    let code = match status.code() {
        Code::DeadlineExceeded => ErrorCode::TimedOut,
        Code::InvalidArgument | Code::OutOfRange => ErrorCode::InvalidArgument,
        Code::ResourceExhausted => ErrorCode::Busy,
        Code::PermissionDenied | Code::Unauthenticated => ErrorCode::PermissionDenied,
        // With a source it was made here and not by the server: a connection that was closed, not a failed request.
        Code::Internal if status.source().is_some() => ErrorCode::Unavailable,
        Code::Internal | Code::DataLoss => ErrorCode::Internal,
        // Connections that break mid-call surface as Unknown, Cancelled or Aborted.
        _ => ErrorCode::Unavailable,
    };
    let mut message = status.message().to_owned();
    let mut source = status.source();
    while let Some(cause) = source {
        let text = cause.to_string();
        if !message.contains(&text) {
            message = if message.is_empty() { text } else { format!("{message}: {text}") };
        }
        source = cause.source();
    }
    if message.is_empty() {
        status.code().description().clone_into(&mut message);
    }
    FsError::new(code, message)
}

/// A server's answer lacks `what`.
pub fn incomplete(what: &str) -> FsError {
    FsError::internal(format!(
        "the server's answer lacks '{what}': are client and server of the same version?"
    ))
}

/// The message that carries `error` inside a stream.
pub fn to_detail(error: &FsError) -> ErrorDetail {
    ErrorDetail { code: error.code.number(), message: error.message.clone() }
}

/// The error a message inside a stream carries.
pub fn from_detail(detail: &ErrorDetail) -> FsError {
    FsError::new(ErrorCode::from_number(detail.code), detail.message.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_both_ways() {
        for code in ErrorCode::ALL {
            let error = FsError::new(code, format!("about {code}"));
            assert_eq!(from_status(&to_status(error.clone())), error);
            assert_eq!(from_detail(&to_detail(&error)), error);
        }
    }

    #[test]
    fn foreign_statuses_get_the_nearest_code() {
        assert_eq!(from_status(&Status::unavailable("gone")).code, ErrorCode::Unavailable);
        assert_eq!(from_status(&Status::deadline_exceeded("late")).code, ErrorCode::TimedOut);
        assert_eq!(from_status(&Status::unknown("reset")).code, ErrorCode::Unavailable);
        assert_eq!(from_status(&Status::internal("a bug")).code, ErrorCode::Internal);
        let mut closed = Status::internal("h2 protocol error");
        closed.set_source(std::sync::Arc::new(std::io::Error::other("GOAWAY")));
        assert_eq!(from_status(&closed).code, ErrorCode::Unavailable);
    }
}
