//! Logs: levels by flag or environment, text for people or JSON for machines, to standard error or to a file. Whoever logs
//! never waits and never fails: see [`dfs_program::lines`].

use std::error::Error as StdError;
use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::Duration;

use dfs_program::streams::{self, StandardError};
use dfs_program::{Lines, RotatedFile, command_line, panics};
use dfs_types::names::ENV_LOG;
use tracing::{error, warn};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::SubscriberBuilder;

/// How long the last lines may take to be written when the process ends.
const LAST_LINES: Duration = Duration::from_secs(2);

/// How long a process waits at start for its log file, to say at once if it can't be opened.
const OPENING: Duration = Duration::from_secs(1);

/// Bytes of a log file, unless another limit is set.
pub const LOG_MAX_BYTES: u64 = 16 << 20;
/// Fewest bytes of a log file: some hundred lines, so that renaming is rare.
pub const LOG_MIN_BYTES: u64 = 64 << 10;
/// Log files that are kept, unless another number is set.
pub const LOG_FILES: u32 = 4;

/// The process's log, once there is one.
static LINES: OnceLock<Lines> = OnceLock::new();

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The filter or the subscriber could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directives are not understood.
    #[error(
        "the log filter '{directives}' is not understood: write for example 'info' or 'info,dfs_datanode=debug'"
    )]
    Filter {
        /// What was given.
        directives: String,
        /// Why not.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Another subscriber is installed already.
    #[error("logging is set up already in this process")]
    Installed(#[source] Box<dyn StdError + Send + Sync>),
    /// No thread can be had.
    #[error("no thread can be started for the log")]
    Thread(#[source] io::Error),
}

/// A file for log lines, and how much it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFile {
    /// Where it is; full ones get `.1`, `.2` … after their names.
    pub path: PathBuf,
    /// Most bytes of one.
    pub max_bytes: u64,
    /// Most files, the one being written included.
    pub files: u32,
}

/// The process's log. When it is dropped, lines that wait are written, unless that takes longer than two seconds.
#[derive(Debug)]
#[must_use = "the last lines are written when it is dropped"]
pub struct Log {
    lines: Lines,
    to_file: bool,
}

impl Log {
    /// Says why the process ends: on standard error, where whoever started it looks, and in the log if that is a file.
    pub fn last_word(self, reason: &str) {
        if self.to_file {
            error!(error = reason, "ended");
        }
        drop(self);
        streams::tell_and_go(format!("error: {reason}"));
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.lines.flush(LAST_LINES);
    }
}

/// Lines on their way to a file, and why it can't be written yet, if it can't. It is opened by the thread that writes: its
/// disk may hang, or nobody may read what is a pipe.
fn lines_to(file: LogFile) -> io::Result<(Lines, Option<String>)> {
    let LogFile { path, max_bytes, files } = file;
    let target = RotatedFile::new(path.clone(), max_bytes, files);
    let (lines, opened) = Lines::start_opening(target, RotatedFile::open, OPENING)?;
    let why = match opened {
        Some(Ok(())) => None,
        Some(Err(error)) => Some(error.to_string()),
        None => Some("it does not answer".to_owned()),
    };
    Ok((lines, why.map(|why| format!("the log {} can't be opened yet: {why}", path.display()))))
}

/// Installs the process's log subscriber, by which panics are told too. `directives` (a flag) wins over the environment's
/// [`ENV_LOG`]; without both the level is `info`. Without `file` lines go to standard error. A file that can't be opened is
/// no error: it is opened as soon as it can be.
pub fn init(directives: Option<&str>, format: LogFormat, file: Option<LogFile>) -> Result<Log, Error> {
    let from_env = command_line::variable(ENV_LOG);
    let directives = directives.or(from_env.as_deref()).unwrap_or("info");
    let filter = EnvFilter::builder()
        .parse(directives)
        .map_err(|source| Error::Filter { directives: directives.to_owned(), source })?;
    let to_file = file.is_some();
    let (lines, closed) = match file {
        None => Lines::start(StandardError).map(|lines| (lines, None)),
        Some(file) => lines_to(file),
    }
    .map_err(Error::Thread)?;
    let builder = SubscriberBuilder::default()
        .with_env_filter(filter)
        .with_writer(lines.clone())
        // It would go to standard error, and panic where that does not work.
        .log_internal_errors(false)
        .with_ansi(!to_file && io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(Error::Installed)?;
    panics::told_by(|panic| error!("{panic}"));
    // The subscriber is the first, so this is too.
    let _first = LINES.set(lines.clone());
    if let Some(why) = closed {
        streams::tell(&format!("warning: {why}"));
        warn!("{why}");
    }
    Ok(Log { lines, to_file })
}

/// Lines of the process's log that could not be written.
pub fn dropped_lines() -> u64 {
    LINES.get().map_or(0, Lines::dropped)
}
