//! `dfs-simulation`: what happens to a cluster that nobody has at hand.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "only for tests and measurements: it may end where nobody takes what it says"
)]

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, ValueEnum};
use dfs_namenode_core::Core;
use dfs_simulation::{Scenario, Settings, run};

/// Bytes that a chunk takes at most: in the NameNode's map while that doubles, in its nodes' sets of chunks, and on the
/// simulated disks.
const CHUNK_MEMORY: u64 = 150;
/// Bytes that must stay free for others.
const SPARE_MEMORY: u64 = 1 << 30;

/// Simulates thousands of DataNodes and millions of chunks in virtual time around the NameNode's real decisions, and
/// prints how long recovery takes, what is moved and what it costs. Ends with 1 if a rule was broken or not all was well
/// before the deadline.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// What happens.
    #[arg(long, value_parser = PossibleValuesParser::new(Scenario::ALL.map(|(name, _)| name)).map(|name| scenario(&name)))]
    scenario: Scenario,
    /// DataNodes.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u16).range(4..=60_000))]
    nodes: u16,
    /// Chunks, with three replicas each.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000_000))]
    chunks: u32,
    /// Everything random follows from it.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// DataNodes of one rack.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u16).range(1..))]
    rack_size: u16,
    /// Zones, to which racks belong in turn.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    zones: u16,
    /// Mean number of clients that read from a node at a time, and of those that write to it; each wants 50 MB/s.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(..=100))]
    clients: u8,
    /// Nodes of a hundred with twice or 0.7 times the usual disks.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u8).range(..=100))]
    uneven_percent: u8,
    /// Minutes of virtual time after which all must be well; depends on the scenario if not given.
    #[arg(long)]
    deadline_minutes: Option<u64>,
    /// Simulate as many chunks as the free memory allows, and say so, instead of refusing.
    #[arg(long)]
    fit: bool,
    /// How to print the outcome.
    #[arg(short, long, value_enum, default_value_t = Format::Table)]
    output: Format,
}

/// How to print the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Lines for people.
    Table,
    /// One object.
    Json,
}

fn scenario(name: &str) -> Scenario {
    Scenario::ALL
        .iter()
        .find(|(known, _)| *known == name)
        .map_or(Scenario::NodeLost, |(_, scenario)| *scenario)
}

/// Bytes of memory that new processes may use; `None` where the system does not tell.
fn free_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? << 10)
}

/// The number of chunks to simulate: what is wanted, or less if the memory is too small and that is fine.
fn chunks(arguments: &Arguments) -> Result<u32> {
    let free = free_memory().unwrap_or(u64::MAX).saturating_sub(SPARE_MEMORY);
    let most = u32::try_from(free / CHUNK_MEMORY).unwrap_or(u32::MAX);
    if arguments.chunks <= most {
        return Ok(arguments.chunks);
    }
    ensure!(
        arguments.fit,
        "{} chunks need about {} MiB of memory, {} MiB are free: give --chunks {most} or less, or --fit",
        arguments.chunks,
        (u64::from(arguments.chunks) * CHUNK_MEMORY) >> 20,
        free >> 20
    );
    eprintln!("simulates {most} chunks instead of {}: no more fit into the free memory", arguments.chunks);
    Ok(most.max(1))
}

fn simulate(arguments: &Arguments) -> Result<ExitCode> {
    let usual = Settings::new(arguments.nodes, chunks(arguments)?, arguments.seed);
    let settings = Settings {
        rack_size: arguments.rack_size,
        zones: arguments.zones,
        clients: arguments.clients,
        uneven_percent: arguments.uneven_percent,
        uplink_rate: usual.network_rate * f64::from(arguments.rack_size) / 4.0,
        ..usual
    };
    let deadline = arguments.deadline_minutes.map(Duration::from_mins);
    let deadline = deadline.unwrap_or(arguments.scenario.deadline());
    let decisions = Core::new(settings.config.clone(), settings.seed, Settings::BEGINNING);
    let mut progress = |what: String| eprintln!("{what}");
    let outcome = run(arguments.scenario, settings, deadline, Box::new(decisions), &mut progress);
    let text = match arguments.output {
        Format::Table => outcome.table(),
        Format::Json => serde_json::to_string_pretty(&outcome).context("writing the outcome as JSON")? + "\n",
    };
    std::io::stdout().write_all(text.as_bytes()).context("writing the outcome")?;
    Ok(if outcome.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn main() -> Result<ExitCode> {
    simulate(&Arguments::parse())
}
