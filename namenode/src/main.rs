//! The NameNode process.

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};
use dfs_namenode::config::{Cli, Command, Config};
use dfs_namenode::run;

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Format(args) => run::format(&args),
        Command::Run(args) => match Config::new(*args) {
            Ok(config) => run::run(config),
            Err(error) => Cli::command().error(ErrorKind::ValueValidation, error).exit(),
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", run::sentence(&error));
            ExitCode::FAILURE
        }
    }
}
