//! Benchmarks of a local cluster, beside what this machine can do. Nothing here asserts a time.

mod limits;
mod metadata;
mod namespace;
mod process;
mod rig;
mod table;
mod transfer;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use clap::{Parser, ValueEnum};

use crate::rig::Rig;
use crate::table::Results;

/// Measures put, get, metadata operations and a namespace of a million files, each as a share of the limit of this
/// machine that binds it.
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
    /// Folder for clusters and files; it should lie on the disk that is to be measured.
    #[arg(long, default_value = "data")]
    data: PathBuf,
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
}

#[tokio::main]
async fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let wanted = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    std::fs::create_dir_all(&arguments.data)?;
    let bytes = arguments.mebibytes << 20;

    eprintln!("measuring the machine …");
    let scratch = tempfile::tempdir_in(&arguments.data)?;
    let memory =
        if std::path::Path::new("/dev/shm").is_dir() { "/dev/shm".into() } else { std::env::temp_dir() };
    let limits = limits::measure(scratch.path(), &memory, bytes)?;
    let mut results = Results {
        started: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        command: std::env::args().collect::<Vec<_>>().join(" "),
        cores: std::thread::available_parallelism()?.get(),
        limits,
        rows: Vec::new(),
        memory: Vec::new(),
        figures: Vec::new(),
    };

    if wanted(Part::Large) || wanted(Part::Small) || wanted(Part::Metadata) {
        let rig = Rig::start(&arguments.data).await?;
        let measured = on_cluster(&rig, &arguments, &mut results, wanted).await;
        rig.stop().await?;
        measured?;
    }
    if wanted(Part::Namespace) {
        eprintln!("filling a namespace with {} files …", arguments.files);
        results.figures = namespace::measure(&arguments.data, arguments.files).await?;
    }

    println!("{}", results.markdown());
    if let Some(folder) = arguments.json.parent() {
        std::fs::create_dir_all(folder)?;
    }
    std::fs::write(&arguments.json, serde_json::to_vec_pretty(&results)?)
        .with_context(|| format!("writing {}", arguments.json.display()))?;
    eprintln!("kept as {}", arguments.json.display());
    Ok(())
}

async fn on_cluster(
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
    if wanted(Part::Metadata) {
        eprintln!("measuring metadata operations …");
        results.rows.extend(metadata::operations(rig, &limits).await?);
    }
    Ok(())
}
