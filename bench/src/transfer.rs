//! Large and small files through the real `dfs` command.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::limits::Limits;
use crate::process::{self, Usage};
use crate::rig::Rig;
use crate::table::{Memory, Row, Unit};

/// Files of the small workload.
const SMALL_FILES: usize = 1_000;
/// Bytes of each.
const SMALL_BYTES: usize = 64 << 10;
/// How often a running client's memory is looked at.
const SAMPLE: Duration = Duration::from_millis(20);

/// What one run of the command took.
struct Run {
    time: Duration,
    client: Usage,
    server_cpu: f64,
}

/// The `dfs` that was built with this program.
pub(crate) fn dfs_program() -> Result<PathBuf> {
    let folder = std::env::current_exe()?;
    let program = folder.parent().context("the program lies in a folder")?.join("dfs");
    ensure!(program.exists(), "{} is missing: run `make build`", program.display());
    Ok(program)
}

async fn run(rig: &Rig, arguments: &[&str]) -> Result<Run> {
    let before = rig.server_cpu().await?;
    let namenode = rig.cluster.namenode_addresses().await?.join(",");
    let start = Instant::now();
    let mut child = Command::new(dfs_program()?)
        .args(["--namenode", &namenode])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    let mut client = Usage::default();
    let status = loop {
        // The last sample before the end is what counts: both figures only grow.
        if let Ok(usage) = process::usage(child.id())
            && usage.peak_memory > 0
        {
            client = usage;
        }
        if let Some(status) = child.try_wait()? {
            break status;
        }
        tokio::time::sleep(SAMPLE).await;
    };
    let time = start.elapsed();
    ensure!(status.success(), "dfs {} failed: {status}", arguments.join(" "));
    Ok(Run { time, client, server_cpu: rig.server_cpu().await? - before })
}

fn row(work: &str, amount: f64, unit: Unit, run: &Run, limit: Option<(&'static str, f64)>) -> Row {
    Row {
        work: work.to_owned(),
        rate: amount / run.time.as_secs_f64(),
        unit,
        seconds: run.time.as_secs_f64(),
        limit,
        p50_us: None,
        p99_us: None,
        cpu_seconds: Some((run.client.cpu.as_secs_f64(), run.server_cpu)),
    }
}

fn write_noise(path: &Path, bytes: u64, seed: u64) -> Result<()> {
    let mut state = seed | 1;
    let mut buffer = vec![0_u8; 1 << 20];
    let mut file = File::create(path)?;
    let mut left = bytes;
    while left > 0 {
        for word in buffer.chunks_exact_mut(8) {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            word.copy_from_slice(&state.to_le_bytes());
        }
        let now = left.min(buffer.len() as u64) as usize;
        file.write_all(&buffer[..now])?;
        left -= now as u64;
    }
    Ok(())
}

fn same(left: &Path, right: &Path) -> Result<bool> {
    Ok(fs::read(left)? == fs::read(right)?)
}

/// One file of `bytes`: put with and without fsync, get.
pub(crate) async fn large(
    rig: &Rig,
    limits: &Limits,
    bytes: u64,
    rounds: usize,
) -> Result<(Vec<Row>, Vec<Memory>)> {
    let source = rig.disk.join("large");
    write_noise(&source, bytes, 1)?;
    let source_name = source.to_str().context("a UTF-8 path")?;
    let copy = rig.memory.path().join("large");
    let copy_name = copy.to_str().context("a UTF-8 path")?;
    let size = bytes as f64;
    let mut rows = Vec::new();
    let mut peak = Usage::default();
    for round in 1..=rounds {
        let synced = run(rig, &["put", "-f", source_name, "/bench-large"]).await?;
        let limit = ("raw pipeline ×3 + fsync", limits.pipeline_fsync);
        rows.push(row(
            &format!("put, fsync on close #{round}"),
            size,
            Unit::BytesPerSecond,
            &synced,
            Some(limit),
        ));
        let buffered = run(rig, &["put", "-f", "--no-sync", source_name, "/bench-large"]).await?;
        let limit = ("raw pipeline ×3", limits.pipeline);
        rows.push(row(
            &format!("put, no fsync #{round}"),
            size,
            Unit::BytesPerSecond,
            &buffered,
            Some(limit),
        ));
        let get = run(rig, &["get", "-f", "/bench-large", copy_name]).await?;
        rows.push(row(
            &format!("get #{round}"),
            size,
            Unit::BytesPerSecond,
            &get,
            Some(("raw fetch", limits.fetch)),
        ));
        ensure!(same(&source, &copy)?, "what came back is not what was put");
        fs::remove_file(&copy)?;
        for run in [synced, buffered, get] {
            if run.client.peak_memory > peak.peak_memory {
                peak = run.client;
            }
        }
    }
    let mut memory = vec![Memory { process: "client of the large file".to_owned(), usage: peak }];
    for (daemon, usage) in rig.usages().await? {
        memory.push(Memory { process: format!("{daemon} after the large file"), usage });
    }
    fs::remove_file(source)?;
    run(rig, &["rm", "--skip-trash", "/bench-large"]).await?;
    Ok((rows, memory))
}

/// Many small files, as a tree.
pub(crate) async fn small(rig: &Rig, limits: &Limits) -> Result<Vec<Row>> {
    let source = rig.disk.join("small");
    fs::create_dir(&source)?;
    for index in 0..SMALL_FILES {
        write_noise(&source.join(format!("f{index:04}")), SMALL_BYTES as u64, index as u64 + 7)?;
    }
    let source_name = source.to_str().context("a UTF-8 path")?;
    let copy = rig.memory.path().join("small");
    let copy_name = copy.to_str().context("a UTF-8 path")?;
    let files = SMALL_FILES as f64;
    let name = |work: &str| format!("{work} {SMALL_FILES} × 64 KiB, -j 8");
    // Three replicas, each of which syncs its data, its checksums and a directory.
    let synced_limit = ("9 fsyncs a file", limits.fsyncs_per_second / 9.0);
    let mut rows = Vec::new();
    let put = run(rig, &["put", "-r", "-j", "8", source_name, "/bench-small"]).await?;
    rows.push(row(&name("put, fsync,"), files, Unit::PerSecond, &put, Some(synced_limit)));
    let get = run(rig, &["get", "-r", "-j", "8", "/bench-small", copy_name]).await?;
    rows.push(row(&name("get"), files, Unit::PerSecond, &get, None));
    for index in 0..SMALL_FILES {
        let name = format!("f{index:04}");
        ensure!(same(&source.join(&name), &copy.join(&name))?, "{name} came back different");
    }
    run(rig, &["rm", "-r", "--skip-trash", "/bench-small"]).await?;
    let put = run(rig, &["put", "-r", "-j", "8", "--no-sync", source_name, "/bench-small"]).await?;
    rows.push(row(&name("put, no fsync,"), files, Unit::PerSecond, &put, None));
    run(rig, &["rm", "-r", "--skip-trash", "/bench-small"]).await?;
    Ok(rows)
}
