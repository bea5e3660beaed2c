//! The command line of the DataNode's process.

use std::io;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use dfs_daemon::{LogFile, LogFormat, Shutdown, limits, telemetry};
use dfs_program::{command_line, panics, streams};

use crate::headers::HeadersArgs;
use crate::{Config, DataNode, config, headers};

/// Stores chunks of files and serves them
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the DataNode until it gets SIGTERM or SIGINT
    Run(Box<Config>),
    /// Print what the headers of replicas say of their files, for a rebuild of the namespace
    Headers(HeadersArgs),
}

/// What the process does, and how it ends.
pub fn main() -> ExitCode {
    panics::told_by(streams::tell_and_go);
    let Cli { command } = match command_line::parse() {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    match command {
        Command::Run(config) => run_daemon(*config),
        Command::Headers(args) => print_headers(&args),
    }
}

fn print_headers(args: &HeadersArgs) -> ExitCode {
    match headers::print(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(headers::Error::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::from(command_line::BROKEN_PIPE)
        }
        Err(error) => {
            streams::tell(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run_daemon(config: Config) -> ExitCode {
    let format = match config.log_format {
        config::LogFormat::Text => LogFormat::Text,
        config::LogFormat::Json => LogFormat::Json,
    };
    let file = config.log_file.clone();
    let file = file.map(|path| LogFile { path, max_bytes: config.log_max_bytes, files: config.log_files });
    let log = match telemetry::init(config.log.as_deref(), format, file) {
        Ok(log) => log,
        Err(error) => {
            streams::tell_and_go(format!("error: {:#}", anyhow::Error::from(error)));
            return ExitCode::FAILURE;
        }
    };
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.last_word(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(config: Config) -> anyhow::Result<()> {
    limits::raise_open_files();
    let shutdown = Shutdown::new();
    shutdown.on_signals().context("cannot watch for signals")?;
    let node = DataNode::start(config, prometheus::Registry::new(), shutdown).await?;
    Ok(node.ended().await?)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn variables_that_are_set_to_nothing_are_not_read() {
        let empty = |command| command_line::without_empty(command, &|_| Some(OsString::new()));
        assert!(!command_line::variables(&Cli::command()).is_empty());
        assert_eq!(command_line::variables(&empty(Cli::command())), []);
        let full = command_line::without_empty(Cli::command(), &|_| Some("x".into()));
        assert_eq!(command_line::variables(&full), command_line::variables(&Cli::command()));
    }
}
