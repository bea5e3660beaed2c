//! The operator's process.

use std::process::ExitCode;

use clap::Parser as _;
use dfs_operator::config::{Cli, Command};

// Each cluster is little work, and memory counts where there are many other pods.
#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(args) => dfs_operator::run::run(args).await,
        Command::Crd => print_definition(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print_definition() -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(&dfs_kubernetes::crd::definition())?);
    Ok(())
}
