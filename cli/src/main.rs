//! `dfs`: the file system's command line. One file a command under `cmd`.

mod args;
mod cmd;
mod confirm;
mod context;
mod exit;
mod glob;
mod global;
mod habits;
mod local;
mod mode;
mod output;
mod reach;
mod remote;
mod remote_path;
mod size;
mod transfer;
mod xattr_value;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use clap::CommandFactory;
use dfs_program::streams::StandardError;
use dfs_program::{Lines, command_line, panics};
use dfs_types::names::ENV_LOG;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command};
use crate::context::Context;
use crate::exit::{Failure, Outcome, print_error};

/// How long an interrupted command may clean up.
const CLEAN_UP_PATIENCE: Duration = Duration::from_secs(10);
/// How long work on files may go on after the command, to remove what is half done. A read of standard input can't be
/// cancelled and is not waited for any longer.
const LAST_PATIENCE: Duration = Duration::from_millis(200);
/// How long the last lines of the log may take.
const LAST_LINES: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    panics::told_by(|panic| print_error("internal error", &panic));
    let cli = match parse() {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    let log = start_log(cli.global.verbose);
    let name = cli.command.name();
    let umask = umask();
    let outcome = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => {
            let outcome = runtime.block_on(run(cli.command, &Context::new(cli.global, umask)));
            runtime.shutdown_timeout(LAST_PATIENCE);
            outcome
        }
        Err(error) => Err(Failure::Other(format!("cannot start the runtime: {error}"))),
    };
    if let Ok(log) = log {
        log.flush(LAST_LINES);
    }
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    failure.tell(name);
    ExitCode::from(failure.status())
}

/// The command line, or the status with which the program ends: it is wrong, or a question for help.
fn parse() -> Result<Cli, ExitCode> {
    let called = std::env::args_os().next();
    let plugin =
        called.as_deref().map(Path::new).and_then(Path::file_stem).is_some_and(|name| name == reach::PLUGIN);
    let mut command = Cli::command();
    if plugin {
        command = command.name("kubectl dfs").bin_name("kubectl dfs");
    }
    let mut cli: Cli = command_line::parse_as(command, habits::understood)?;
    cli.global.plugin = plugin;
    Ok(cli)
}

/// Permission bits that this process gives to nothing new. It can only be read by setting it, so before any thread starts.
fn umask() -> u32 {
    let umask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(umask);
    umask.bits()
}

/// Runs the command until it is done or the user interrupts it; a second interruption ends the clean-up too.
async fn run(command: Command, context: &Context) -> Outcome {
    let mut interruptions = Interruptions::watch()
        .map_err(|error| Failure::Other(format!("cannot watch for signals: {error}")))?;
    let command = command.run(context);
    tokio::pin!(command);
    tokio::select! {
        outcome = &mut command => return outcome,
        () = interruptions.next() => {}
    }
    context.stop.cancel();
    tokio::select! {
        outcome = &mut command => outcome,
        () = tokio::time::sleep(CLEAN_UP_PATIENCE) => Err(Failure::Interrupted),
        () = interruptions.next() => Err(Failure::Interrupted),
    }
}

/// Signals by which the user, or what runs this program, wants no more. One that it was started to ignore (`nohup`,
/// `trap '' INT`) is to be survived. Shells without job control have their jobs in the background ignore INT and QUIT, so that
/// these outlive an interruption of something else; whoever interrupts a script wants none of its transfers, though.
struct Interruptions {
    interrupt: Option<Signal>,
    terminate: Option<Signal>,
    /// The terminal is gone.
    hang_up: Option<Signal>,
}

impl Interruptions {
    fn watch() -> io::Result<Self> {
        // Without `unsafe`, only here can be read what happens to a signal.
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let ignored = |kind: SignalKind| ignores(&status, kind.as_raw_value());
        let unless_ignored = |kind: SignalKind| (!ignored(kind)).then(|| signal(kind)).transpose();
        let interrupt = SignalKind::interrupt();
        let in_background = ignored(interrupt) && ignored(SignalKind::quit());
        Ok(Self {
            interrupt: if in_background { Some(signal(interrupt)?) } else { unless_ignored(interrupt)? },
            terminate: unless_ignored(SignalKind::terminate())?,
            hang_up: unless_ignored(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        let Self { interrupt, terminate, hang_up } = self;
        tokio::select! {
            () = received(interrupt) => {}
            () = received(terminate) => {}
            () = received(hang_up) => {}
        }
    }
}

/// Waits for a signal; for ever, if it is ignored.
async fn received(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}

/// Whether this `/proc/PID/status` says that a signal is ignored.
fn ignores(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask & (1 << (signal - 1)) != 0
}

/// What is logged goes to standard error, unless nobody takes it there.
fn start_log(verbose: u8) -> io::Result<Lines> {
    let level = match verbose {
        0 => "off",
        1 => "dfs_client=debug,dfs_kubernetes=debug,dfs_cli=debug,warn",
        _ => "dfs_client=trace,dfs_kubernetes=trace,dfs_cli=trace,info",
    };
    let chosen = command_line::variable(ENV_LOG).and_then(|directives| EnvFilter::try_new(directives).ok());
    let filter = chosen.unwrap_or_else(|| EnvFilter::new(level));
    let lines = Lines::start(StandardError)?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(lines.clone())
        .with_ansi(io::stderr().is_terminal())
        .log_internal_errors(false)
        .init();
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_seen() {
        let status =
            |mask: &str| format!("Name:\tdfs\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\nSigCgt:\t1\n");
        assert!(ignores(&status("0000000000000001"), 1));
        assert!(ignores(&status("0000000000001003"), 1));
        assert!(!ignores(&status("0000000000001000"), 1));
        assert!(!ignores("", 1));
    }
}
