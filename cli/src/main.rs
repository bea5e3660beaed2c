//! `dfs`: the file system's command line. One file a command under `cmd`.

mod args;
mod cmd;
mod confirm;
mod exit;
mod glob;
mod local;
mod mode;
mod output;
mod reach;
mod remote;
mod size;
mod transfer;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches};
use dfs_types::names::ENV_LOG;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command, Context};
use crate::exit::{Failure, Outcome, print_error};

/// How long an interrupted command may clean up.
const CLEAN_UP_PATIENCE: Duration = Duration::from_secs(10);
/// How long work on files may go on after the command, to remove what is half done. A read of standard input can't be
/// cancelled and is not waited for any longer.
const LAST_PATIENCE: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    let cli = parse();
    start_logs(cli.global.verbose);
    let name = cli.command.name();
    let outcome = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(cli.command, &Context::new(cli.global)));
            runtime.shutdown_timeout(LAST_PATIENCE);
            outcome
        }
        Err(error) => Err(Failure::Other(format!("cannot start the runtime: {error}"))),
    };
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    if let Some(message) = failure.message() {
        print_error(name, &message);
    }
    ExitCode::from(failure.status())
}

/// The command line; a wrong one, or a question for help, ends the program here.
fn parse() -> Cli {
    let called = std::env::args_os().next();
    let plugin =
        called.as_deref().map(Path::new).and_then(Path::file_stem).is_some_and(|name| name == reach::PLUGIN);
    let mut command = Cli::command();
    if plugin {
        command = command.name("kubectl dfs").bin_name("kubectl dfs");
    }
    let parsed = command.try_get_matches().and_then(|matches| Cli::from_arg_matches(&matches));
    let mut cli = parsed.unwrap_or_else(|error| error.exit());
    cli.global.plugin = plugin;
    cli
}

/// Runs the command until it is done or the user interrupts it; a second interruption ends the clean-up too.
async fn run(command: Command, context: &Context) -> Outcome {
    let signals = (signal(SignalKind::interrupt()), signal(SignalKind::terminate()));
    let (Ok(mut interrupt), Ok(mut terminate)) = signals else {
        return Err(Failure::Other("cannot watch for signals".to_owned()));
    };
    let command = command.run(context);
    tokio::pin!(command);
    tokio::select! {
        outcome = &mut command => return outcome,
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    context.stop.cancel();
    tokio::select! {
        outcome = &mut command => outcome,
        () = tokio::time::sleep(CLEAN_UP_PATIENCE) => Err(Failure::Interrupted),
        _ = interrupt.recv() => Err(Failure::Interrupted),
        _ = terminate.recv() => Err(Failure::Interrupted),
    }
}

fn start_logs(verbose: u8) {
    let level = match verbose {
        0 => "off",
        1 => "dfs_client=debug,dfs_kubernetes=debug,dfs_cli=debug,warn",
        _ => "dfs_client=trace,dfs_kubernetes=trace,dfs_cli=trace,info",
    };
    let filter = EnvFilter::try_from_env(ENV_LOG).unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
