//! The command line of the DataNode's process.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use dfs_daemon::{LogFormat, Shutdown, limits, telemetry};

use crate::{Config, DataNode, config};

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
}

/// What the process does, and how it ends.
pub fn main() -> ExitCode {
    let Cli { command: Command::Run(config) } = Cli::parse();
    match run(*config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(config: Config) -> anyhow::Result<()> {
    let format = match config.log_format {
        config::LogFormat::Text => LogFormat::Text,
        config::LogFormat::Json => LogFormat::Json,
    };
    telemetry::init(config.log.as_deref(), format)?;
    limits::raise_open_files();
    let shutdown = Shutdown::new();
    shutdown.on_signals().context("cannot watch for signals")?;
    let node = DataNode::start(config, prometheus::Registry::new(), shutdown).await?;
    Ok(node.ended().await?)
}
