//! How a command ends: the error that goes to the terminal and the exit status.
//!
//! | status | meaning |
//! | --- | --- |
//! | 0 | done |
//! | 1 | failed, or (trees, several paths) some of it failed |
//! | 2 | the command line is wrong |
//! | 3 | a path or node named on the command line does not exist |
//! | 4 | the cluster can't be reached, or not in time |
//! | 130 | interrupted (Ctrl-C, SIGTERM, or SIGHUP) |
//! | 141 | whoever read the output is gone (as after SIGPIPE) |

use std::fmt;
use std::io;
use std::path::Path;

use dfs_local::LocalError;
use dfs_program::streams;
use dfs_program::terminal::{harmless, one_line};
use dfs_types::path::PathError;
use dfs_types::{ErrorCode, FsError};

/// Result with [`Failure`].
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

/// Why a command ended without success.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The file system said no.
    Fs(FsError),
    /// Something else went wrong; the sentence says what.
    Other(String),
    /// The arguments can't be meant.
    Usage(String),
    /// A daemon of this machine failed; what it said last is told in its own lines.
    Local(String),
    /// Each failure has been printed already; this is the status of them all.
    Reported(u8),
    /// The user wants no more.
    Interrupted,
    /// Standard output was closed by its reader.
    BrokenPipe,
}

impl Failure {
    /// The exit status.
    pub(crate) fn status(&self) -> u8 {
        match self {
            Self::Fs(error) => status_of(error.code),
            Self::Other(_) | Self::Local(_) => 1,
            Self::Usage(_) => 2,
            Self::Reported(status) => *status,
            Self::Interrupted => 130,
            Self::BrokenPipe => 141,
        }
    }

    /// What to tell; `None` if everything has been told or nobody listens.
    pub(crate) fn message(&self) -> Option<String> {
        match self {
            Self::Fs(error) => Some(error.message.clone()),
            Self::Other(message) | Self::Usage(message) | Self::Local(message) => Some(message.clone()),
            Self::Interrupted => Some("interrupted".to_owned()),
            Self::Reported(_) | Self::BrokenPipe => None,
        }
    }

    /// Prints what there is to tell.
    pub(crate) fn tell(&self, command: &str) {
        match (self, self.message()) {
            (Self::Local(_), Some(message)) => {
                streams::tell(&harmless(&format!("dfs: {command}: {message}")));
            }
            (_, Some(message)) => print_error(command, &message),
            (_, None) => {}
        }
    }

    /// A failure of a local file, which is named.
    pub(crate) fn file(path: &Path, error: &io::Error) -> Self {
        Self::Other(format!("{}: {error}", path.display()))
    }

    /// A failure of standard output.
    pub(crate) fn output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::BrokenPipe
        } else {
            Self::Other(format!("standard output: {error}"))
        }
    }
}

fn status_of(code: ErrorCode) -> u8 {
    match code {
        ErrorCode::NotFound => 3,
        ErrorCode::Unavailable | ErrorCode::TimedOut | ErrorCode::NotLeader => 4,
        ErrorCode::AlreadyExists
        | ErrorCode::NotADirectory
        | ErrorCode::IsADirectory
        | ErrorCode::NotEmpty
        | ErrorCode::PermissionDenied
        | ErrorCode::InvalidArgument
        | ErrorCode::LeaseConflict
        | ErrorCode::RecoveryInProgress
        | ErrorCode::SafeMode
        | ErrorCode::NotEnoughNodes
        | ErrorCode::NoSpace
        | ErrorCode::Corrupt
        | ErrorCode::StaleChunk
        | ErrorCode::WrongCluster
        | ErrorCode::NotRegistered
        | ErrorCode::Busy
        | ErrorCode::Io
        | ErrorCode::Unsupported
        | ErrorCode::Internal
        | ErrorCode::QuotaExceeded => 1,
    }
}

impl From<FsError> for Failure {
    fn from(error: FsError) -> Self {
        Self::Fs(error)
    }
}

impl From<PathError> for Failure {
    fn from(error: PathError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<LocalError> for Failure {
    fn from(error: LocalError) -> Self {
        Self::Local(chain(&error))
    }
}

impl From<tokio::task::JoinError> for Failure {
    fn from(error: tokio::task::JoinError) -> Self {
        Self::Other(format!("a background task failed: {error}"))
    }
}

/// The error and its causes as one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}

/// Failures of a command that goes on with its other paths: each is printed at once, the exit status is decided last.
#[derive(Debug)]
pub(crate) struct Failures {
    command: &'static str,
    status: Option<u8>,
    count: u64,
}

impl Failures {
    /// None yet, of this command.
    pub(crate) fn of(command: &'static str) -> Self {
        Self { command, status: None, count: 0 }
    }

    /// Prints a failure and goes on; an interruption or a closed output ends the command instead.
    pub(crate) fn note(&mut self, failure: Failure) -> Outcome {
        if matches!(failure, Failure::Interrupted | Failure::BrokenPipe) {
            return Err(failure);
        }
        let status = failure.status();
        // Different kinds of failures have only "failed" in common.
        self.status = Some(self.status.map_or(status, |former| if former == status { status } else { 1 }));
        self.count += 1;
        failure.tell(self.command);
        Ok(())
    }

    /// Goes on after a failure and gives the value of a success.
    pub(crate) fn keep<T>(&mut self, outcome: Outcome<T>) -> Outcome<Option<T>> {
        match outcome {
            Ok(value) => Ok(Some(value)),
            Err(failure) => self.note(failure).map(|()| None),
        }
    }

    /// The end of the command.
    pub(crate) fn finish(self) -> Outcome {
        if self.count > 1 {
            print_error(self.command, &format!("{} failures", self.count));
        }
        self.status.map_or(Ok(()), |status| Err(Failure::Reported(status)))
    }
}

/// One line on standard error, in the form all errors have: nothing that is named in it begins another.
pub(crate) fn print_error(command: &str, message: &(impl fmt::Display + ?Sized)) {
    streams::tell(&one_line(&format!("dfs: {command}: {message}")));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fs(code: ErrorCode) -> Failure {
        FsError::new(code, "x").into()
    }

    #[test]
    fn statuses_are_the_documented_ones() {
        for (failure, status) in [
            (fs(ErrorCode::NotFound), 3),
            (fs(ErrorCode::Unavailable), 4),
            (fs(ErrorCode::TimedOut), 4),
            (fs(ErrorCode::PermissionDenied), 1),
            (Failure::Usage("x".to_owned()), 2),
            (Failure::Interrupted, 130),
            (Failure::output(io::ErrorKind::BrokenPipe.into()), 141),
            (Failure::output(io::ErrorKind::StorageFull.into()), 1),
        ] {
            assert_eq!(failure.status(), status, "{failure:?}");
        }
    }

    #[test]
    fn failures_of_one_kind_keep_their_status_and_mixed_ones_are_one() {
        let mut same = Failures::of("rm");
        same.note(fs(ErrorCode::NotFound)).unwrap();
        same.note(fs(ErrorCode::NotFound)).unwrap();
        assert_eq!(same.finish().unwrap_err().status(), 3);

        let mut mixed = Failures::of("rm");
        mixed.note(fs(ErrorCode::NotFound)).unwrap();
        mixed.note(fs(ErrorCode::NotEmpty)).unwrap();
        assert_eq!(mixed.count, 2);
        assert_eq!(mixed.finish().unwrap_err().status(), 1);

        assert!(Failures::of("rm").finish().is_ok());
    }

    #[test]
    fn an_interruption_is_not_swallowed() {
        let mut failures = Failures::of("rm");
        assert!(failures.note(Failure::Interrupted).is_err());
        assert!(failures.note(Failure::BrokenPipe).is_err());
        assert_eq!(failures.count, 0);
    }
}
