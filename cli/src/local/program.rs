//! This very program as a child process, as a person would call it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use dfs_types::names::{ENV_FOLLOWER_READS, ENV_LOG, ENV_NAMENODE, ENV_USER};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::exit::{Failure, Outcome};

/// Longest that one call may take.
const PATIENCE: Duration = Duration::from_mins(5);
/// Most bytes of output that are kept of a call.
const MAX_OUTPUT: u64 = 64 << 20;

/// The program and the cluster it is to use.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    path: PathBuf,
    /// Options that lead to the cluster.
    connection: Vec<String>,
    /// Who it acts as, unless a call says otherwise; none: whoever runs this.
    user: Option<String>,
}

/// How a call ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Exit status; `None` if a signal ended it.
    pub(crate) status: Option<i32>,
    /// What it wrote to standard output.
    pub(crate) stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub(crate) stderr: String,
}

impl Program {
    /// This program for the cluster that these options lead to, as this user.
    pub(crate) fn new(connection: Vec<String>, user: Option<String>) -> Outcome<Self> {
        let path = std::env::current_exe()
            .map_err(|error| Failure::Other(format!("cannot find this program: {error}")))?;
        Ok(Self { path, connection, user })
    }

    /// Whether the cluster is reached through an API server.
    pub(crate) fn is_on_kubernetes(&self) -> bool {
        !self.connection.iter().any(|option| option.starts_with("--namenode"))
    }

    /// Starts it with all its streams piped. It is killed when the returned child is dropped.
    pub(crate) fn spawn(&self, arguments: &[String]) -> Result<Child, String> {
        let mut command = Command::new(&self.path);
        command
            .args(&self.connection)
            .args(arguments)
            .env_remove(ENV_NAMENODE)
            .env_remove(ENV_USER)
            .env_remove(ENV_FOLLOWER_READS)
            .env_remove(ENV_LOG);
        if let Some(user) = &self.user {
            command.env(ENV_USER, user);
        }
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", self.path.display()))
    }

    /// Runs it to its end with `input` as standard input.
    pub(crate) async fn run(&self, arguments: &[String], input: &[u8]) -> Result<Ended, String> {
        let mut child = self.spawn(arguments)?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let feed = async {
            if let Some(mut stdin) = stdin {
                // A program that does not read its input is not wrong for that.
                let _ = stdin.write_all(input).await;
            }
        };
        let (mut output, mut errors) = (Vec::new(), Vec::new());
        let ended = async {
            let take_output = async {
                match stdout {
                    Some(stdout) => stdout.take(MAX_OUTPUT).read_to_end(&mut output).await.map(drop),
                    None => Ok(()),
                }
            };
            let take_errors = async {
                match stderr {
                    Some(stderr) => stderr.take(MAX_OUTPUT).read_to_end(&mut errors).await.map(drop),
                    None => Ok(()),
                }
            };
            let ((), output, errors) = tokio::join!(feed, take_output, take_errors);
            output.and(errors)?;
            child.wait().await
        };
        let line = arguments.join(" ");
        let status = tokio::time::timeout(PATIENCE, ended)
            .await
            .map_err(|_| format!("'dfs {line}' did not end within {PATIENCE:?}"))?
            .map_err(|error| format!("'dfs {line}': {error}"))?;
        Ok(Ended {
            status: status.code(),
            stdout: output,
            stderr: String::from_utf8_lossy(&errors).into_owned(),
        })
    }
}
