//! `dfs-failure-test`: runs the failure suite on a cluster of its own.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "only for tests and measurements: it may end where nobody takes what it says"
)]

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use dfs_failure::local::LocalSite;
use dfs_failure::report::Report;
use dfs_failure::show::Screen;
use dfs_failure::{Plan, Site, health, menu, run, scenarios, writer};
use dfs_local::{Earlier, Programs};
use tokio::signal::unix::{SignalKind, signal};

/// Breaks a cluster in every way that is known, and shows that it survives.
///
/// Clusters are built in temporary directories on free ports and removed again; others are not touched. On a terminal
/// a menu is shown; without one, or if scenarios are named, they run at once.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Exit status: 0 nothing was wrong, 1 something was, 2 it was typed wrong, 130 it was interrupted.

Examples:
  dfs-failure-test                             the menu
  dfs-failure-test --run all                   everything
  dfs-failure-test --run one-datanode,namenode --rounds 10"
)]
struct Cli {
    /// Scenarios to run: 'all', names or numbers.
    #[arg(long, env = "FAILURE_TEST", value_name = "NAMES")]
    run: Option<String>,
    /// How often.
    #[arg(long, env = "ROUNDS", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Folder for failures.md, failures.json, failures.xml (JUnit) and the logs of clusters that failed.
    #[arg(long, env = "FAILURE_REPORT", value_name = "DIR")]
    report: Option<PathBuf>,
    /// Only list the scenarios.
    #[arg(long)]
    list: bool,
    /// Run the daemons with this bug, which is in their programs '-broken'.
    #[arg(long, value_name = "BUG", hide = true)]
    seeded_bug: Option<String>,
    /// The release before is the NameNode's program '-broken' with this for a bug, such as 'level-before'.
    #[arg(long, value_name = "BUG", hide = true)]
    earlier: Option<String>,
    /// How long healing of anything may take.
    #[arg(long, value_name = "TIME", hide = true, value_parser = humantime::parse_duration)]
    patience: Option<Duration>,
    #[command(subcommand)]
    inner: Option<Inner>,
}

#[derive(Debug, Subcommand)]
enum Inner {
    /// A client that is to be killed; scenarios start it.
    #[command(hide = true)]
    Writer(writer::Args),
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Inner::Writer(args)) = cli.inner {
        return ended(writer::run(args).await.map(|()| true));
    }
    if cli.list {
        print!("{}", menu::list(scenarios::all()));
        return ExitCode::SUCCESS;
    }
    // What is dropped here kills its processes and removes its files.
    tokio::select! {
        outcome = play(cli) => ended(outcome),
        () = interrupted() => {
            eprintln!("interrupted: the cluster is removed");
            ExitCode::from(130)
        }
    }
}

fn ended(outcome: Result<bool>) -> ExitCode {
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Returns when somebody wants this to end.
async fn interrupted() {
    let (Ok(mut int), Ok(mut term), Ok(mut hangup)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()), signal(SignalKind::hangup()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
        _ = hangup.recv() => {}
    }
}

async fn play(cli: Cli) -> Result<bool> {
    let all = scenarios::all();
    let chosen = match &cli.run {
        Some(typed) => menu::choose(all, typed)?,
        None if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() => {
            let asked = tokio::task::spawn_blocking(|| {
                menu::ask(scenarios::all(), &mut std::io::stdin().lock(), &mut std::io::stdout())
            });
            match asked.await?? {
                Some(chosen) => chosen,
                None => return Ok(true),
            }
        }
        None => all.iter().collect(),
    };
    let folder = match cli.report {
        Some(folder) => folder,
        None => std::env::current_dir()?.join("failure-report"),
    };
    if let Some(limit) = cli.patience {
        health::set_patience(limit);
    }
    let usual = Programs::usual(dfs_local::programs()?);
    let earlier = cli.earlier.map(|bug| Earlier {
        namenode: format!("{}-broken", usual.namenode),
        environment: vec![("DFS_SEEDED_BUG".to_owned(), bug)],
    });
    let usual = Programs { earlier, ..usual };
    let site = LocalSite::of(match cli.seeded_bug {
        Some(bug) => Programs {
            namenode: format!("{}-broken", usual.namenode),
            datanode: format!("{}-broken", usual.datanode),
            environment: vec![("DFS_SEEDED_BUG".to_owned(), bug)],
            ..usual
        },
        None => usual,
    });
    let screen = Arc::new(Screen::stdout());
    let plan = Plan { scenarios: chosen, rounds: cli.rounds, folder: folder.clone() };
    let report = Report { site: site.name(), scenarios: run(&site, &screen, &plan).await };
    report.show(&screen);
    let files = report.write(&folder).context("writing the report")?;
    screen.say(&format!(
        "   report: {}",
        files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
    ));
    Ok(report.is_good())
}
