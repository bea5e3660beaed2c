//! A namespace of a million one-chunk files, or several: memory, start-up and size on disk.
//!
//! The edits go straight into the store, as the NameNode's own would; the DataNodes are three that only register and
//! report, so that the chunk map holds three replicas of every chunk without three million files on this disk.

mod multiply;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dfs_client::{Dfs, SafeModeAction};
use dfs_namenode::store::directory::Directory;
use dfs_namenode::store::edit::{Edit, Extent, Outcome, Proposal};
use dfs_namenode::store::{Options, Store};
use dfs_proto::v1;
use dfs_proto::v1::cluster_client::ClusterClient;
use dfs_types::limits::{DEFAULT_CHUNK_SIZE, REPORT_PAGE};
use dfs_types::{ChunkId, ClusterId, FsPath, GenStamp, Millis, Mode};
use serde::Deserialize;

use crate::process;
use crate::table::Figure;

/// Most files that are made by edits, as clients make them; more are copies of their rows.
const BY_EDITS: u64 = 1_000_000;
/// Files of one directory.
const PER_DIRECTORY: u64 = 1_000;
/// Proposals under way at once.
const PARALLEL: usize = 256;
/// DataNodes that report.
const NODES: u8 = 3;
/// Bytes of each file.
const LENGTH: u64 = 4_096;
/// Content summaries whose median is told.
const SUMMARIES: usize = 101;
/// Time within which a NameNode with a million files must answer; far more than it takes.
const PATIENCE: Duration = Duration::from_mins(5);

#[derive(Deserialize)]
struct Addresses {
    rpc: String,
}

/// Ends the NameNode with its owner.
struct NameNode(Child);

impl Drop for NameNode {
    fn drop(&mut self) {
        if let Err(error) = self.0.kill().and_then(|()| self.0.wait().map(drop)) {
            eprintln!("the NameNode could not be stopped: {error}");
        }
    }
}

/// Fills a namespace with `files` files, starts a NameNode on it and lets three DataNodes report.
pub(crate) async fn measure(root: &Path, files: u64) -> Result<Vec<Figure>> {
    let folder = tempfile::tempdir_in(root)?;
    let directory = folder.path().join("namenode");
    let mut figures = Vec::new();
    let mut figure = |name: String, value: f64, unit| figures.push(Figure { name, value, unit });

    ensure!(
        files <= BY_EDITS || files.is_multiple_of(BY_EDITS),
        "--files above {BY_EDITS} must be a multiple of it"
    );
    let start = Instant::now();
    let edits = fill(&directory, files.min(BY_EDITS)).await?;
    let seconds = start.elapsed().as_secs_f64();
    figure(format!("edits per second while filling ({PARALLEL} at once)"), edits as f64 / seconds, "/s");
    if files > BY_EDITS {
        let directory = directory.clone();
        tokio::task::spawn_blocking(move || multiply::multiply(&directory, files / BY_EDITS)).await??;
    }
    figure(format!("database with {files} files"), size(&directory)? as f64, "bytes");

    let start = Instant::now();
    let (child, address) = launch(&directory).await?;
    let pid = child.0.id();
    let dfs = Dfs::connect(address.clone()).await?;
    dfs.stat(&FsPath::parse("/d0/f0")?).await?;
    let last = files - 1;
    dfs.stat(&FsPath::parse(&format!("/d{}/f{}", last / PER_DIRECTORY, last % PER_DIRECTORY))?).await?;
    figure("start until it serves reads".to_owned(), start.elapsed().as_secs_f64(), "s");
    figure("memory before reports".to_owned(), process::usage(pid)?.memory as f64, "bytes");

    let mut looks = Vec::with_capacity(SUMMARIES);
    for _ in 0..SUMMARIES {
        let look = Instant::now();
        let sum = dfs.content_summary(&FsPath::root()).await?;
        looks.push(look.elapsed());
        ensure!(sum.files == files, "the summary has {} files", sum.files);
    }
    looks.sort();
    figure(format!("content summary of {files} files"), looks[SUMMARIES / 2].as_secs_f64() * 1e6, "us");

    let report = Instant::now();
    let cluster = dfs.defaults().await?.cluster;
    let replicas = chunks(&dfs, files).await?;
    let fetched = report.elapsed();
    for node in 1..=NODES {
        self::report(&address, cluster, node, &replicas).await?;
    }
    wait_writable(&dfs).await?;
    let seconds = report.elapsed().saturating_sub(fetched).as_secs_f64();
    figure(format!("full reports of {NODES} DataNodes until safe mode is off"), seconds, "s");
    let usage = process::usage(pid)?;
    figure(
        format!("memory with {files} files and {} replicas", files * u64::from(NODES)),
        usage.memory as f64,
        "bytes",
    );
    figure(
        "memory of a file of one chunk and its replicas".to_owned(),
        usage.memory as f64 / files as f64,
        "bytes",
    );
    figure("memory at its peak".to_owned(), usage.peak_memory as f64, "bytes");
    Ok(figures)
}

fn proposal(edit: Edit) -> Proposal {
    Proposal { request: None, caller: None, now: Millis(1_700_000_000_000), edit }
}

/// Makes one directory with its files; returns the number of edits.
async fn fill_directory(store: Store, number: u64, files: u64) -> Result<u64> {
    let directory = FsPath::parse(&format!("/d{number}"))?;
    let mkdir = Edit::Mkdir { path: directory.clone(), mode: Mode::DIRECTORY.into(), parents: false };
    store.propose(proposal(mkdir)).await?;
    for file in 0..files {
        let holder = format!("bench-{number}");
        let create = Edit::Create {
            path: directory.join(&format!("f{file}"))?,
            holder: holder.clone(),
            mode: Mode::FILE.into(),
            replication: NODES.into(),
            chunk_size: DEFAULT_CHUNK_SIZE,
            overwrite: false,
            parents: false,
            temporary: false,
        };
        let Outcome::Status(status) = store.propose(proposal(create)).await? else {
            bail!("create answers with a status")
        };
        let inode = status.inode;
        let add = Edit::AddChunk { inode, holder: holder.clone(), previous: None, pipeline: Vec::new() };
        let Outcome::ChunkAdded { chunk, generation, .. } = store.propose(proposal(add)).await? else {
            bail!("a chunk is added")
        };
        let last = Some(Extent { chunk, generation, length: LENGTH });
        store.propose(proposal(Edit::Complete { inode, holder, last, publish: None })).await?;
    }
    Ok(1 + 3 * files)
}

async fn fill(directory: &Path, files: u64) -> Result<u64> {
    let formatted = Directory::format(directory, ClusterId::random())?;
    let options = Options {
        superuser: "root".to_owned(),
        readers: 2,
        cache_entries: 100_000,
        max_batch: 512,
        min_free: None,
        group: dfs_namenode::store::group::Options::default(),
        observer: None,
    };
    let store = Store::open(formatted, options, Box::new(|_| ()))?;
    store.group().lead().await?;
    let mut tasks = tokio::task::JoinSet::new();
    let mut edits = 0;
    for number in 0..files.div_ceil(PER_DIRECTORY) {
        while tasks.len() >= PARALLEL {
            edits += tasks.join_next().await.context("a task is there")???;
        }
        let count = PER_DIRECTORY.min(files - number * PER_DIRECTORY);
        tasks.spawn(fill_directory(store.clone(), number, count));
    }
    while let Some(done) = tasks.join_next().await {
        edits += done??;
    }
    Ok(edits)
}

fn size(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        bytes += entry?.metadata()?.len();
    }
    Ok(bytes)
}

async fn launch(directory: &Path) -> Result<(NameNode, String)> {
    let program = std::env::current_exe()?.with_file_name("dfs-namenode");
    let child = Command::new(&program)
        .args(["run", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--log", "warn", "--dir"])
        .arg(directory)
        .stdin(Stdio::null())
        .spawn()
        .with_context(|| format!("starting {}", program.display()))?;
    let mut child = NameNode(child);
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Ok(text) = std::fs::read(directory.join("addresses.json")) {
            let addresses: Addresses = serde_json::from_slice(&text)?;
            return Ok((child, addresses.rpc));
        }
        ensure!(child.0.try_wait()?.is_none(), "the NameNode ended at once");
        ensure!(Instant::now() < deadline, "the NameNode does not listen");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Every chunk of the namespace, as a DataNode would report it. They were allocated in one run, so the first and the
/// number of them say it all; a sample proves it.
async fn chunks(dfs: &Dfs, files: u64) -> Result<Vec<v1::ReplicaRecord>> {
    let records: Vec<v1::ReplicaRecord> = (0..files)
        .map(|index| v1::ReplicaRecord {
            chunk: ChunkId::FIRST.0 + index,
            generation: GenStamp::FIRST.0 + index,
            length: LENGTH,
            state: v1::ReplicaState::Finalized.into(),
            volume: 1,
        })
        .collect();
    let sample = dfs.locate(&FsPath::parse("/d0/f0")?, 0..LENGTH).await?;
    let chunk = sample.chunks.first().context("the file has a chunk")?;
    ensure!(
        records.iter().any(|record| record.chunk == chunk.chunk.0 && record.generation == chunk.generation.0),
        "chunk {} with generation {} is not among those reported",
        chunk.chunk,
        chunk.generation
    );
    Ok(records)
}

async fn report(address: &str, cluster: ClusterId, node: u8, replicas: &[v1::ReplicaRecord]) -> Result<()> {
    let mut client = ClusterClient::connect(format!("http://{address}")).await?;
    let (id, incarnation) = (vec![node; 16], vec![node + 100; 16]);
    let volume = v1::VolumeStatus {
        id: vec![node; 16],
        path: "none".to_owned(),
        health: v1::VolumeHealth::Healthy.into(),
        capacity: 1 << 44,
        used: 1 << 40,
        available: 1 << 43,
        replicas: replicas.len() as u64,
        file_system: Vec::new(),
        storage_type: v1::StorageType::Disk.into(),
    };
    client
        .register(v1::RegisterRequest {
            cluster: cluster.as_bytes().to_vec(),
            node: Some(v1::Node {
                id: id.clone(),
                host: "127.0.0.1".to_owned(),
                data_port: u32::from(node),
                http_port: u32::from(node),
                location: String::new(),
                storage_type: None,
            }),
            incarnation: incarnation.clone(),
            version: "bench".to_owned(),
            volumes: vec![volume],
            machine: String::new(),
        })
        .await?;
    let mut first = 0;
    for page in replicas.chunks(REPORT_PAGE) {
        let ends = page.last().map(|record| record.chunk) == replicas.last().map(|record| record.chunk);
        let last = page.last().filter(|_| !ends).map_or(u64::MAX, |record| record.chunk);
        let slice = v1::ReportSlice { first, last, replicas: page.to_vec(), fence: 0 };
        let (node, incarnation) = (id.clone(), incarnation.clone());
        client
            .report_replicas(v1::ReplicaReport {
                node,
                incarnation,
                after: 0,
                changes: Vec::new(),
                slice: Some(slice),
                volumes: vec![id.clone()],
            })
            .await?;
        first = last.saturating_add(1);
    }
    Ok(())
}

async fn wait_writable(dfs: &Dfs) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while dfs.safe_mode(SafeModeAction::Get).await?.on {
        ensure!(Instant::now() < deadline, "safe mode does not end");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
