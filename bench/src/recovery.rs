//! How long it takes until everything has its replicas again after one of four DataNodes was killed, and what that costs
//! clients meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dfs_client::{ClusterReport, CreateOptions, Dfs, FsckEntry, FsckSummary, NodeState};
use dfs_local::Daemon;
use dfs_types::{FsPath, Mode};
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::limits::Limits;
use crate::rig::Rig;
use crate::table::Figure;

/// DataNodes of the cluster, as in the measurements of peers.
pub(crate) const DATANODES: u16 = 4;
/// Bytes of each file that is to be replicated again.
const FILE: u64 = 256 << 20;
/// Bytes written or read at once.
const PIECE: usize = 1 << 20;
/// Bytes of each file that clients write and read meanwhile.
const FOREGROUND: u64 = 64 << 20;
/// How long clients work before the kill: what they do then is what they are compared with.
const BASE: Duration = Duration::from_secs(10);
/// How often the state is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// Within this time everything must have its replicas again.
const PATIENCE: Duration = Duration::from_mins(10);

/// Where what is to be replicated lies.
const FOLDER: &str = "/recovery";

/// When what was seen, counted from the kill.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Times {
    /// The node was taken for dead.
    detected: Duration,
    /// Everything had its replicas again.
    replicated: Duration,
}

/// Bytes that clients have moved.
#[derive(Debug, Default)]
struct Moved {
    over: AtomicBool,
    put: AtomicU64,
    got: AtomicU64,
}

impl Moved {
    fn now(&self) -> (Instant, u64, u64) {
        (Instant::now(), self.put.load(Ordering::Relaxed), self.got.load(Ordering::Relaxed))
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

/// Bytes a second put and got between two moments.
fn rates(from: (Instant, u64, u64), to: (Instant, u64, u64)) -> (f64, f64) {
    let seconds = (to.0 - from.0).as_secs_f64();
    ((to.1 - from.1) as f64 / seconds, (to.2 - from.2) as f64 / seconds)
}

/// Bytes that do not compress.
fn noise(seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(PIECE);
    while bytes.len() < PIECE {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes
}

async fn write(dfs: &Dfs, path: &FsPath, bytes: u64, moved: &AtomicU64) -> Result<()> {
    let piece = noise(bytes);
    let mut writer = dfs.create(path, CreateOptions { overwrite: true, ..CreateOptions::default() }).await?;
    for _ in 0..bytes / PIECE as u64 {
        writer.write_all(&piece).await?;
        moved.fetch_add(PIECE as u64, Ordering::Relaxed);
    }
    writer.close().await?;
    Ok(())
}

async fn put_again_and_again(dfs: Dfs, moved: Arc<Moved>) -> Result<()> {
    let path = FsPath::parse("/foreground-put")?;
    while !moved.is_over() {
        write(&dfs, &path, FOREGROUND, &moved.put).await?;
    }
    Ok(())
}

async fn get_again_and_again(dfs: Dfs, moved: Arc<Moved>) -> Result<()> {
    let path = FsPath::parse("/foreground-get")?;
    let mut buffer = vec![0; PIECE];
    while !moved.is_over() {
        let mut reader = dfs.open(&path).await?;
        loop {
            let read = reader.read(&mut buffer).await?;
            if read == 0 {
                break;
            }
            moved.got.fetch_add(read as u64, Ordering::Relaxed);
        }
    }
    Ok(())
}

async fn summary(dfs: &Dfs) -> Result<FsckSummary> {
    let mut entries = dfs.fsck(&FsPath::parse(FOLDER)?).await?;
    while let Some(entry) = entries.next().await {
        if let FsckEntry::Summary(summary) = entry? {
            return Ok(summary);
        }
    }
    bail!("fsck ended without its summary")
}

async fn node(dfs: &Dfs, id: dfs_types::NodeId) -> Result<dfs_client::NodeReport> {
    let report = dfs.report().await?;
    report.nodes.into_iter().find(|node| node.node.id == id).context("a DataNode was forgotten")
}

/// Waits until every chunk has three replicas and nobody has one too many.
async fn steady(dfs: &Dfs, live: usize) -> Result<ClusterReport> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (report, checked) = (dfs.report().await?, summary(dfs).await?);
        let serving = report.nodes.iter().filter(|node| node.state == NodeState::Live).count();
        if serving == live && checked.under_replicated + checked.over_replicated == 0 {
            return Ok(report);
        }
        ensure!(Instant::now() < deadline, "not steady: {serving} DataNodes are live, {checked:?}");
        tokio::time::sleep(LOOK).await;
    }
}

/// Kills a DataNode and waits until all it held is elsewhere; `at_detection` is called when its death is seen.
async fn kill(rig: &Rig, dfs: &Dfs, number: u16, mut at_detection: impl FnMut()) -> Result<(Times, u64)> {
    let report = steady(dfs, DATANODES.into()).await?;
    let daemon = Daemon::DataNode(number);
    let address = rig
        .cluster
        .status()
        .await?
        .into_iter()
        .find(|status| status.daemon == daemon)
        .and_then(|status| status.address)
        .context("the DataNode has an address")?;
    let victim = report
        .nodes
        .into_iter()
        .find(|node| address.ends_with(&format!(":{}", node.node.at.data_port)))
        .context("the DataNode is in the report")?;
    let held = victim.volumes.iter().map(|volume| volume.used).sum();
    let id = victim.node.id;
    let start = Instant::now();
    rig.cluster.kill(daemon).await?;
    while node(dfs, id).await?.state != NodeState::Dead {
        ensure!(start.elapsed() < PATIENCE, "nobody noticed the death of {daemon}");
        tokio::time::sleep(LOOK).await;
    }
    let detected = start.elapsed();
    at_detection();
    while summary(dfs).await?.under_replicated > 0 {
        ensure!(start.elapsed() < PATIENCE, "not all is replicated again: {:?}", summary(dfs).await?);
        tokio::time::sleep(LOOK).await;
    }
    Ok((Times { detected, replicated: start.elapsed() }, held))
}

/// Puts `bytes`, kills a DataNode without, then another with clients at work.
pub(crate) async fn measure(rig: &Rig, limits: &Limits, bytes: u64) -> Result<Vec<Figure>> {
    let dfs = rig.client().await?;
    dfs.mkdir_all(&FsPath::parse(FOLDER)?, Mode::DIRECTORY).await?;
    let written = AtomicU64::new(0);
    for file in 0..bytes.div_ceil(FILE) {
        write(&dfs, &FsPath::parse(&format!("{FOLDER}/{file}"))?, FILE, &written).await?;
    }
    write(&dfs, &FsPath::parse("/foreground-get")?, FOREGROUND, &written).await?;

    let mut figures = Vec::new();
    let (times, held) = kill(rig, &dfs, DATANODES, || {}).await?;
    tell(&mut figures, "idle cluster", times, held, limits);
    rig.cluster.start(Daemon::DataNode(DATANODES)).await?;
    steady(&dfs, DATANODES.into()).await?;

    let moved = Arc::new(Moved::default());
    let clients = [
        tokio::spawn(put_again_and_again(rig.client().await?, moved.clone())),
        tokio::spawn(get_again_and_again(rig.client().await?, moved.clone())),
    ];
    let begun = moved.now();
    tokio::time::sleep(BASE).await;
    let before = rates(begun, moved.now());
    let mut detected = moved.now();
    let killed = kill(rig, &dfs, 1, || detected = moved.now()).await;
    let during = rates(detected, moved.now());
    moved.over.store(true, Ordering::Relaxed);
    for client in clients {
        client.await?.context("a client saw an error")?;
    }
    let (times, held) = killed?;
    tell(&mut figures, "with a put and a get running", times, held, limits);
    let mut figure = |name: &str, value, unit| figures.push(Figure { name: name.to_owned(), value, unit });
    figure("the running put while copying, of before", during.0 / before.0, "×");
    figure("the running get while copying, of before", during.1 / before.1, "×");
    Ok(figures)
}

fn tell(figures: &mut Vec<Figure>, how: &str, times: Times, held: u64, limits: &Limits) {
    let copying = times.replicated.saturating_sub(times.detected).as_secs_f64();
    let rate = held as f64 / copying.max(LOOK.as_secs_f64());
    // Each byte is read from the page cache, sent over loopback, written and synced.
    let limit = limits.disk_write_fsync.min(limits.loopback);
    let mebibyte = (1_u64 << 20) as f64;
    let mut figure =
        |name: String, value, unit| figures.push(Figure { name: format!("{name}, {how}"), value, unit });
    figure("DataNode killed until taken for dead".to_owned(), times.detected.as_secs_f64(), "s");
    figure("DataNode killed until all replicated".to_owned(), times.replicated.as_secs_f64(), "s");
    figure("copied".to_owned(), held as f64 / mebibyte, "MiB");
    figure("copying".to_owned(), rate / mebibyte, "MiB/s");
    figure("copying, share of disk or loopback".to_owned(), rate / limit, "×");
}
