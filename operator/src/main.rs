//! The operator's process.

use std::process::ExitCode;

use anyhow::Context as _;
use dfs_operator::config::{Cli, Command};
use dfs_program::{command_line, panics, streams};

// Each cluster is little work, and memory counts where there are many other pods.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    panics::told_by(streams::tell_and_go);
    let cli: Cli = match command_line::parse() {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    let result = match cli.command {
        Command::Run(args) => match dfs_operator::run::logs(&args) {
            Ok(log) => match dfs_operator::run::run(args).await {
                Ok(()) => Ok(()),
                Err(error) => {
                    log.last_word(&format!("{error:#}"));
                    return ExitCode::FAILURE;
                }
            },
            Err(error) => Err(error.into()),
        },
        Command::Crd => print_definition(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            streams::tell_and_go(format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn print_definition() -> anyhow::Result<()> {
    let definition = serde_json::to_string_pretty(&dfs_kubernetes::crd::definition())?;
    streams::print(&format!("{definition}\n")).context("standard output can't be written")
}
