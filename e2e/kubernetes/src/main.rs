//! `dfs-kubernetes-test`: the failure suite and further checks on a real Kubernetes.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "only for tests and measurements: it may end where nobody takes what it says"
)]

mod ground;
mod hold;
mod objects;
mod pods;
mod scenarios;
mod site;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use dfs_failure::report::Report;
use dfs_failure::show::Screen;
use dfs_failure::{Plan, Site as _, health, menu, run};
use tokio::signal::unix::{SignalKind, signal};

use crate::ground::{Ground, Wanted};
use crate::site::Kubernetes;

/// Breaks clusters on Kubernetes in every way that pods and machines can, and shows that they survive.
///
/// Without KUBECONFIG it makes a cluster with kind and removes it in the end. With one it installs the operator there, and
/// works in namespaces of its own. Machines are stopped and networks cut only where kind made them.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "\
Exit status: 0 nothing was wrong, 1 something was, 2 it could not be tried, 130 it was interrupted.

Examples:
  dfs-kubernetes-test                                       everything, on a cluster of its own
  KUBECONFIG=~/.kube/config dfs-kubernetes-test --run first-life,scale-up --keep"
)]
struct Cli {
    /// Scenarios to run: 'all', names or numbers.
    #[arg(long, env = "E2E", value_name = "NAMES", default_value = "all")]
    run: String,
    /// How often.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rounds: u32,
    /// Folder for failures.md, failures.json, failures.xml (JUnit) and the logs of clusters that failed.
    #[arg(long, value_name = "DIR", default_value = "e2e-report")]
    report: PathBuf,
    /// Only list the scenarios.
    #[arg(long)]
    list: bool,
    /// Image of all pods.
    #[arg(long, value_name = "NAME:TAG", default_value = "dfs:dev")]
    image: String,
    /// Image of the release before, for scenarios that upgrade [default: they are skipped].
    #[arg(long, value_name = "NAME:TAG")]
    earlier_image: Option<String>,
    /// Image of the nodes that kind makes [default: kind's own choice].
    #[arg(long, env = "KIND_IMAGE", value_name = "IMAGE")]
    kind_image: Option<String>,
    /// Workers of the cluster that kind makes.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=20))]
    workers: u16,
    /// Leave everything as it is in the end.
    #[arg(long)]
    keep: bool,
    /// Folder of the operator's chart.
    #[arg(long, value_name = "DIR", default_value = "charts/dfs-operator")]
    chart: PathBuf,
    /// The program `dfs` as people call it [default: the one beside this program].
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// How long healing of anything may take.
    #[arg(long, value_name = "TIME", default_value = "2m", value_parser = humantime::parse_duration)]
    patience: Duration,
}

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    if cli.list {
        print!("{}", menu::list(scenarios::all()));
        return ExitCode::SUCCESS;
    }
    let ended = tokio::select! {
        outcome = play(cli) => outcome,
        () = interrupted() => {
            eprintln!("interrupted: what was made is left; the next run removes it");
            return ExitCode::from(130);
        }
    };
    match ended {
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
    let (Ok(mut interrupt), Ok(mut terminate)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

async fn play(cli: Cli) -> Result<bool> {
    let chosen = menu::choose(scenarios::all(), &cli.run)?;
    health::set_patience(cli.patience);
    let wanted = Wanted {
        image: cli.image,
        earlier_image: cli.earlier_image,
        kind_image: cli.kind_image,
        workers: cli.workers,
        keep: cli.keep,
        chart: cli.chart,
        program: cli.program,
    };
    let screen = Arc::new(Screen::stdout());
    let ground = Arc::new(Ground::prepare(&wanted).await.context("preparing the Kubernetes cluster")?);
    screen.say(&format!("   on {}", ground.name()));
    let plan = Plan { scenarios: chosen, rounds: cli.rounds, folder: cli.report };
    let good = play_on(&ground, &screen, &plan).await;
    // Whatever came of it, nothing is left.
    match Arc::try_unwrap(ground) {
        Ok(ground) => {
            if let Some(kubeconfig) = ground.leave().await? {
                screen.say(&format!("   the cluster is kept: KUBECONFIG={}", kubeconfig.display()));
            }
        }
        Err(_) => screen.say("   a cluster is still in use: what was made is left"),
    }
    good
}

async fn play_on(ground: &Arc<Ground>, screen: &Arc<Screen>, plan: &Plan) -> Result<bool> {
    let site = Kubernetes::new(Arc::clone(ground));
    site.clean().await?;
    let report = Report { site: site.name(), scenarios: run(&site, screen, plan).await };
    report.show(screen);
    let files = report.write(&plan.folder).context("writing the report")?;
    let files: Vec<_> = files.iter().map(|file| file.display().to_string()).collect();
    screen.say(&format!("   report: {}", files.join(", ")));
    Ok(report.is_good())
}
