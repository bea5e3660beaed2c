//! Benchmarks of a local cluster, beside what this machine can do. Nothing here asserts a time.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "only for tests and measurements: it may end where nobody takes what it says"
)]

mod compare;
mod degraded;
mod failover;
mod limits;
mod metadata;
mod namespace;
mod process;
mod recovery;
mod results;
mod rig;
mod table;
mod transfer;
mod yardsticks;

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::compare::Comparison;
use crate::results::Results;
use crate::rig::Rig;

/// Measures put, get, metadata operations and a namespace of a million files, each as a share of the limit of this
/// machine that binds it, how long clients wait when the leading
/// NameNode is killed, and how long it takes to replicate again what a DataNode held.
#[derive(Debug, Parser)]
struct Arguments {
    /// What to measure; all if not given.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Size of the large file and of the data the limits are measured with, in MiB.
    #[arg(long, default_value_t = 1_024)]
    mebibytes: u64,
    /// How often the large file is put and fetched.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Files of the large namespace.
    #[arg(long, default_value_t = 1_000_000)]
    files: u64,
    /// NameNodes of the clusters whose metadata operations are measured, one after the other.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 3], value_parser = clap::value_parser!(u16).range(1..))]
    namenodes: Vec<u16>,
    /// How often the leader is killed.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..))]
    kills: u16,
    /// Data of the cluster that loses a DataNode, in GiB before replication.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1_024))]
    lost_gibibytes: u64,
    /// Folder for clusters and files; it should lie on the disk that is to be measured.
    #[arg(long, default_value = "data")]
    data: PathBuf,
    /// Folder of other programs, such as those of an earlier release: instead of all else, metadata operations of both are
    /// measured in turns.
    #[arg(long, value_name = "FOLDER")]
    compare: Option<PathBuf>,
    /// How many pairs of turns each kind of work is given by `--compare`.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pairs: u16,
    /// Answers the yardsticks' echoes instead of measuring anything.
    #[arg(long, hide = true)]
    serve_echo: bool,
    /// Where to write the results as JSON.
    #[arg(long, default_value = "bench-results/latest.json")]
    json: PathBuf,
}

/// A part of the benchmark.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// One large file.
    Large,
    /// A thousand small files.
    Small,
    /// Metadata operations.
    Metadata,
    /// A large namespace.
    Namespace,
    /// New commands while one of three NameNodes is dead.
    Degraded,
    /// Three NameNodes whose leader is killed.
    Failover,
    /// Four DataNodes of which one is killed.
    Recovery,
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if arguments.serve_echo {
        return yardsticks::serve().await;
    }
    if let Some(others) = &arguments.compare {
        return compared(&arguments, others).await;
    }
    let wanted = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    std::fs::create_dir_all(&arguments.data)?;
    let bytes = arguments.mebibytes << 20;

    eprintln!("measuring the machine …");
    let scratch = tempfile::tempdir_in(&arguments.data)?;
    let memory =
        if std::path::Path::new("/dev/shm").is_dir() { "/dev/shm".into() } else { std::env::temp_dir() };
    limits::touch_memory(bytes)?;
    let limits = limits::measure(scratch.path(), &memory, bytes)?;
    let (yardsticks, rows) = yardsticks::measure(scratch.path(), &metadata::CLIENTS).await?;
    let mut results = Results {
        started: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        command: std::env::args().collect::<Vec<_>>().join(" "),
        cores: std::thread::available_parallelism()?.get(),
        limits,
        yardsticks,
        rows,
        memory: Vec::new(),
        figures: Vec::new(),
    };

    if wanted(Part::Large) || wanted(Part::Small) {
        let rig = Rig::start(&arguments.data, 1, 3).await?;
        let measured = transfers(&rig, &arguments, &mut results, wanted).await;
        rig.stop().await?;
        measured?;
    }
    for namenodes in arguments.namenodes.iter().copied().filter(|_| wanted(Part::Metadata)) {
        eprintln!("measuring metadata operations of {namenodes} NameNodes …");
        let rig = Rig::start(&arguments.data, namenodes, 3).await?;
        let measured = metadata::operations(&rig, namenodes, &results.limits, &results.yardsticks).await;
        rig.stop().await?;
        results.rows.extend(measured?);
    }
    if wanted(Part::Namespace) {
        eprintln!("filling a namespace with {} files …", arguments.files);
        results.figures.extend(namespace::measure(&arguments.data, arguments.files).await?);
    }
    if wanted(Part::Degraded) {
        eprintln!("listing with one of three NameNodes dead …");
        let rig = Rig::start(&arguments.data, 3, 3).await?;
        let measured = degraded::measure(&rig).await;
        rig.stop().await?;
        results.figures.extend(measured?);
    }
    let mut errors = Vec::new();
    if wanted(Part::Failover) {
        eprintln!("killing the leader of three NameNodes {} times …", arguments.kills);
        let rig = Rig::start(&arguments.data, 3, 3).await?;
        let measured = failover::measure(&rig, arguments.kills).await;
        rig.stop().await?;
        let (figures, seen) = measured?;
        results.figures.extend(figures);
        errors = seen;
    }

    if wanted(Part::Recovery) {
        eprintln!("killing one of {} DataNodes, twice …", recovery::DATANODES);
        let rig = Rig::start(&arguments.data, 1, recovery::DATANODES).await?;
        let measured = recovery::measure(&rig, &results.limits, arguments.lost_gibibytes << 30).await;
        rig.stop().await?;
        results.figures.extend(measured?);
    }

    println!("{}", results.markdown());
    keep(&arguments.json, &results)?;
    ensure!(errors.is_empty(), "clients saw errors when the leader was killed:\n{}", errors.join("\n"));
    Ok(())
}

async fn compared(arguments: &Arguments, others: &Path) -> Result<()> {
    std::fs::create_dir_all(&arguments.data)?;
    let compared = compare::operations(&arguments.data, others, usize::from(arguments.pairs)).await?;
    let cells = compared.iter().map(Comparison::cells).collect();
    println!("{}", table::grid(&Comparison::TITLES, cells));
    keep(&arguments.json, &compared)
}

/// Writes results as JSON.
fn keep(json: &Path, results: &impl Serialize) -> Result<()> {
    if let Some(folder) = json.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(json, serde_json::to_vec_pretty(results)?)
        .with_context(|| format!("writing {}", json.display()))?;
    eprintln!("kept as {}", json.display());
    Ok(())
}

async fn transfers(
    rig: &Rig,
    arguments: &Arguments,
    results: &mut Results,
    wanted: impl Fn(Part) -> bool,
) -> Result<()> {
    let limits = results.limits.clone();
    if wanted(Part::Large) {
        eprintln!("putting and getting a large file …");
        let (rows, memory) =
            transfer::large(rig, &limits, arguments.mebibytes << 20, arguments.rounds).await?;
        results.rows.extend(rows);
        results.memory.extend(memory);
    }
    if wanted(Part::Small) {
        eprintln!("putting and getting small files …");
        results.rows.extend(transfer::small(rig, &limits).await?);
    }
    Ok(())
}
