//! `dfs balancer`.

use std::time::{Duration, Instant};

use dfs_client::{BalancerAction, BalancerStatus, Dfs};
use dfs_types::{ErrorCode, FsError};
use indicatif::ProgressBar;
use serde::Serialize;

use crate::context::Context;
use crate::exit::Outcome;
use crate::global::Format;
use crate::output::Out;
use crate::size;

/// How often the balancer is looked at while waiting.
const POLL: Duration = Duration::from_millis(500);

/// How `dfs balancer` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The NameNode moves chunks from DataNodes that are fuller than the average to emptier ones, and ends by itself when all
are within the threshold or nothing more can be moved. It goes on under another leader.

Examples:
  dfs balancer start --threshold 5% --bandwidth 100m --wait
  dfs balancer status")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Starts it, or lets it go on with other settings.
    Start {
        /// How far a node's used share may lie from the average, in per cent of its space [default: 10%].
        #[arg(long, value_name = "PERCENT", value_parser = permille)]
        threshold: Option<u32>,
        /// Most bytes a second that a node sends or receives for it [default: 64MiB].
        #[arg(long, value_name = "SIZE", value_parser = size::parse)]
        bandwidth: Option<u64>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Shows how it gets on.
    Status {
        #[command(flatten)]
        wait: Wait,
    },
    /// Stops it; moves under way are finished.
    Stop,
}

#[derive(Debug, clap::Args)]
struct Wait {
    /// Wait until it ends.
    #[arg(short, long)]
    wait: bool,
    /// How long to wait at most.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "24h")]
    timeout: Duration,
}

#[derive(Serialize)]
struct Shown {
    running: bool,
    balanced: bool,
    threshold_permille: u32,
    bytes_per_second: u64,
    moved_chunks: u64,
    moved_bytes: u64,
    pending_moves: u64,
    bytes_to_move: u64,
    mean_permille: u32,
    lowest_permille: u32,
    highest_permille: u32,
}

/// Reads `10%`, `10` or `2.5%` as thousandths.
fn permille(text: &str) -> Result<u32, String> {
    let number = text.trim().trim_end_matches('%').trim();
    let percent: f64 = number.parse().map_err(|_| format!("'{text}' is no percentage: write 10% or 2.5%"))?;
    let permille = (percent * 10.0).round();
    if (1.0..=1_000.0).contains(&permille) {
        Ok(permille as u32)
    } else {
        Err(format!("'{text}' is not possible: use 0.1% to 100%"))
    }
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let (action, wait) = match self.command {
            Command::Start { threshold, bandwidth, wait } => {
                let (threshold_permille, bytes_per_second) = (threshold, bandwidth);
                (BalancerAction::Start { threshold_permille, bytes_per_second }, Some(wait))
            }
            Command::Status { wait } => (BalancerAction::Status, Some(wait)),
            Command::Stop => (BalancerAction::Stop, None),
        };
        let mut status = dfs.balancer(action).await?;
        if let Some(Wait { timeout, .. }) = wait.filter(|wait| wait.wait) {
            status = until_ended(&dfs, timeout).await?;
        }
        let mut out = Out::new();
        if context.global.output == Format::Json {
            out.json(&shown(status))?;
        } else {
            out.line(&text(&status))?;
        }
        out.flush()
    }
}

async fn until_ended(dfs: &Dfs, limit: Duration) -> Outcome<BalancerStatus> {
    let deadline = Instant::now() + limit;
    // Draws nothing where nobody looks.
    let bar = ProgressBar::new_spinner();
    loop {
        let status = dfs.balancer(BalancerAction::Status).await?;
        if !status.running {
            bar.finish_and_clear();
            return Ok(status);
        }
        if Instant::now() >= deadline {
            bar.finish_and_clear();
            let message = format!("it still runs after {limit:?}: {}", sentence(&status));
            return Err(FsError::new(ErrorCode::TimedOut, message).into());
        }
        bar.set_message(sentence(&status));
        bar.tick();
        tokio::time::sleep(POLL).await;
    }
}

/// How it gets on, in one line.
pub(super) fn sentence(status: &BalancerStatus) -> String {
    let BalancerStatus { moved_chunks, pending_moves, .. } = status;
    let state = match (status.running, status.balanced) {
        (true, _) => "running",
        (false, true) => "off, balanced",
        (false, false) => "off, not balanced",
    };
    if !status.running && *moved_chunks == 0 {
        return state.to_owned();
    }
    format!(
        "{state}: {moved_chunks} chunks ({}) moved, {pending_moves} under way, about {} left",
        size::human(status.moved_bytes),
        size::human(status.bytes_to_move)
    )
}

fn percent(permille: u32) -> String {
    format!("{:.1}%", f64::from(permille) / 10.0)
}

fn text(status: &BalancerStatus) -> String {
    let rows = [
        ("Balancer:", sentence(status)),
        (
            "Use:",
            format!(
                "{} on average, {} to {} (within {} is balanced)",
                percent(status.mean_permille),
                percent(status.lowest_permille),
                percent(status.highest_permille),
                percent(status.threshold_permille)
            ),
        ),
        ("Pace:", format!("at most {} a second and node", size::human(status.bytes_per_second))),
    ];
    let rows = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    crate::output::table(Vec::new(), rows, &[])
}

fn shown(status: BalancerStatus) -> Shown {
    let BalancerStatus {
        running,
        threshold_permille,
        bytes_per_second,
        moved_chunks,
        moved_bytes,
        pending_moves,
        bytes_to_move,
        mean_permille,
        lowest_permille,
        highest_permille,
        balanced,
    } = status;
    Shown {
        running,
        balanced,
        threshold_permille,
        bytes_per_second,
        moved_chunks,
        moved_bytes,
        pending_moves,
        bytes_to_move,
        mean_permille,
        lowest_permille,
        highest_permille,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_read() {
        for (text, expected) in [("10%", 100), ("10", 100), ("2.5 %", 25), ("0.1%", 1), ("100%", 1_000)] {
            assert_eq!(permille(text), Ok(expected), "{text}");
        }
        for text in ["", "%", "0", "-5%", "101%", "ten", "NaN", "inf"] {
            assert!(permille(text).is_err(), "{text}");
        }
    }

    #[test]
    fn it_is_told_in_one_line() {
        let mut status = BalancerStatus {
            running: true,
            threshold_permille: 100,
            bytes_per_second: 64 << 20,
            moved_chunks: 3,
            moved_bytes: 3 << 20,
            pending_moves: 2,
            bytes_to_move: 1 << 30,
            mean_permille: 400,
            lowest_permille: 12,
            highest_permille: 700,
            balanced: false,
        };
        assert_eq!(sentence(&status), "running: 3 chunks (3.0 MiB) moved, 2 under way, about 1.0 GiB left");
        assert!(text(&status).contains("40.0% on average, 1.2% to 70.0% (within 10.0% is balanced)"));
        (status.running, status.moved_chunks, status.balanced) = (false, 0, true);
        assert_eq!(sentence(&status), "off, balanced");
    }
}
