//! What can go wrong with a local cluster.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use dfs_types::FsError;

use crate::daemon::{Daemon, MAX_NAMENODES};

/// Result with [`LocalError`].
pub type Result<T> = std::result::Result<T, LocalError>;

/// Why an operation on a local cluster failed.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// Reading or writing a file of the data directory failed.
    #[error("cannot {action} {path}")]
    File {
        /// What was tried: `read`, `create` …
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// `cluster.json` or `addresses.json` does not say what it should.
    #[error("{path} is damaged: stop the cluster's processes by hand and remove the file")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// The record was written by another version of this program.
    #[error(
        "{path} has format version {found}, this program knows {known}: use the program that started the cluster"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: u32,
        /// What this program writes.
        known: u32,
    },
    /// A daemon's program is not there.
    #[error(
        "the program '{name}' is not in {directory}: build it with 'cargo build --bins' or name its folder"
    )]
    NoProgram {
        /// Name of the executable.
        name: &'static str,
        /// Where it was looked for.
        directory: PathBuf,
    },
    /// A process could not be started, watched or signalled.
    #[error("cannot {action} {daemon}")]
    Process {
        /// What was tried.
        action: &'static str,
        /// Which daemon.
        daemon: Daemon,
        /// Why.
        source: io::Error,
    },
    /// A process ended by itself and said why.
    #[error("{daemon} ended by itself: {said}\nWhat it did before is in {log}")]
    Ended {
        /// Which daemon.
        daemon: Daemon,
        /// All that it said.
        said: String,
        /// Its log file.
        log: PathBuf,
    },
    /// A process ended by itself, without a word, while the cluster was waited for.
    #[error("{daemon} ended by itself; the end of {log}:\n{tail}")]
    Died {
        /// Which daemon.
        daemon: Daemon,
        /// Its log file.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// The deadline passed.
    #[error("{what} within {within:?}; the end of {log}:\n{tail}")]
    NotReady {
        /// What did not come about, as the start of a sentence.
        what: String,
        /// How long it was waited for.
        within: Duration,
        /// The log file of the process that is behind.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// A process went on after SIGKILL.
    #[error("{0} (pid {1}) does not end, not even by SIGKILL: look at it with 'ps'")]
    Unkillable(Daemon, u32),
    /// A process had to be killed.
    #[error("{0} did not stop within {1:?} of SIGTERM and was killed: see its log")]
    Disobeyed(Daemon, Duration),
    /// The daemon is not part of this cluster, or does not run.
    #[error("{0} does not run")]
    NotRunning(Daemon),
    /// Another process works on the same data directory.
    #[error("another command works on {0}: try again when it is done")]
    Locked(PathBuf),
    /// A port number would not be one.
    #[error(
        "{0} has no port between 1 and 65535 when the first NameNode's is {1}: choose another one for the first NameNode"
    )]
    Ports(Daemon, u16),
    /// A group of so many NameNodes can't be started.
    #[error("{0} NameNodes are asked for: 1 to {MAX_NAMENODES} can be started, usual are 1 and 3")]
    Namenodes(u16),
    /// A member of a group would get another address.
    #[error("{daemon} is known to its group as {known} and can't move to port {port}: start it where it was")]
    Moved {
        /// Which NameNode.
        daemon: Daemon,
        /// Its address.
        known: String,
        /// Where it was to listen now.
        port: u16,
    },
    /// Nobody can reach a daemon where it is said to be.
    #[error("{daemon} is to be known as '{address}': write HOST:PORT")]
    Advertise {
        /// Which daemon.
        daemon: Daemon,
        /// What was given.
        address: String,
    },
    /// No NameNode leads the others.
    #[error("no NameNode leads after {0:?}: a majority of them must run, see 'dfs local status'")]
    NoLeader(Duration),
    /// The daemon must be stopped first.
    #[error("{0} runs: stop it first")]
    Runs(Daemon),
    /// Every port that free ones are taken from is in use.
    #[error(
        "no port from 12000 to 31999 is free: stop something that listens there, or choose ports yourself"
    )]
    NoFreePort,
    /// The directory has no cluster in it.
    #[error("{0} holds no local cluster (there is no cluster.json)")]
    NoCluster(PathBuf),
    /// The directory may not be removed while processes use it.
    #[error("the cluster in {0} runs: stop it first with 'dfs local down'")]
    StillRuns(PathBuf),
    /// No NameNode answered, or one refused.
    #[error("the NameNode at {address} does not answer as it should")]
    Client {
        /// Its address; several with commas between them.
        address: String,
        /// What it said.
        source: FsError,
    },
    /// Clocks can't be set.
    #[error("libfaketime, which sets the daemons' clocks, is missing: run 'make setup'")]
    NoFakeTime,
    /// A task of this process was lost.
    #[error("a background task of this process failed")]
    Task(#[from] tokio::task::JoinError),
}
