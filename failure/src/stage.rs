//! What a scenario plays on: the cluster, a client, the files it must not lose, and the lines it writes.

use std::fmt;
use std::future::Future;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dfs_client::Dfs;
use dfs_e2e::wait;
use dfs_types::{ErrorCode, FsPath};

use crate::cluster::{Cluster, Daemon};
use crate::files::{Files, Kept, options};
use crate::health::{self, Fsck, patience};
use crate::outcome::{Mark, Measures, Step};
use crate::show::{Screen, bytes_in_words};

/// A step has gone wrong and was told; nothing after it can be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped;

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a step went wrong")
    }
}

impl std::error::Error for Stopped {}

/// How a scenario ends: its steps say what went wrong.
pub type Played<T = ()> = std::result::Result<T, Stopped>;

/// What a step found.
#[derive(Debug)]
pub struct Told<T = ()> {
    value: T,
    degraded: bool,
    note: String,
}

/// As expected, and there is nothing to add.
pub fn done<T>(value: T) -> Result<Told<T>> {
    Ok(Told { value, degraded: false, note: String::new() })
}

/// As expected, with a note for the line.
pub fn told<T>(value: T, note: impl Into<String>) -> Result<Told<T>> {
    Ok(Told { value, degraded: false, note: note.into() })
}

/// As expected, but less than it should be in the end; the note has the numbers.
pub fn degraded<T>(value: T, note: impl Into<String>) -> Result<Told<T>> {
    Ok(Told { value, degraded: true, note: note.into() })
}

/// What was written down of one scenario.
#[derive(Debug, Default)]
struct Record {
    steps: Vec<Step>,
    measures: Measures,
}

/// One scenario on one cluster.
pub struct Stage {
    /// What it is done to.
    pub cluster: Arc<dyn Cluster>,
    /// A client.
    pub dfs: Dfs,
    /// The files that were acknowledged.
    pub files: Arc<Files>,
    /// Directory of this scenario; nothing else is written to.
    pub root: FsPath,
    /// A local folder of this scenario.
    pub folder: PathBuf,
    screen: Arc<Screen>,
    record: Mutex<Record>,
    seeds: AtomicU64,
}

impl Stage {
    /// A stage on this cluster, which is whole and empty.
    pub async fn new(
        cluster: Arc<dyn Cluster>,
        screen: Arc<Screen>,
        name: &str,
        folder: PathBuf,
    ) -> Result<Self> {
        let dfs = cluster.client().await?.connect().await.context("connecting a client")?;
        let root = FsPath::parse(&format!("/{name}"))?;
        dfs.mkdir_all(&root, dfs_types::Mode::DIRECTORY).await?;
        Ok(Self {
            cluster,
            dfs,
            files: Arc::default(),
            root,
            folder,
            screen,
            record: Mutex::default(),
            seeds: AtomicU64::new(1),
        })
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does one step and writes its line. After one that went wrong the scenario ends.
    pub async fn step<T>(&self, title: &str, work: impl Future<Output = Result<Told<T>>>) -> Played<T> {
        let began = Instant::now();
        let (mark, note, value) = match work.await {
            Ok(Told { value, degraded: false, note }) => (Mark::Good, note, Ok(value)),
            Ok(Told { value, degraded: true, note }) => (Mark::Degraded, note, Ok(value)),
            Err(error) => (Mark::Wrong, format!("{error:#}"), Err(Stopped)),
        };
        let step = Step { title: title.to_owned(), mark, note, took: began.elapsed() };
        self.screen.step(&step);
        self.record().steps.push(step);
        value
    }

    /// Notes numbers.
    pub fn measure(&self, note: impl FnOnce(&mut Measures)) {
        note(&mut self.record().measures);
    }

    /// Ends the record.
    pub(crate) fn take_record(&self) -> (Vec<Step>, Measures) {
        let record = std::mem::take(&mut *self.record());
        (record.steps, record.measures)
    }

    /// A path below this scenario's directory.
    pub fn path(&self, name: &str) -> Result<FsPath> {
        Ok(self.root.join(name)?)
    }

    /// Content that no other file has.
    pub fn content(&self, length: usize) -> Kept {
        Kept { seed: self.seeds.fetch_add(1, Ordering::Relaxed), length }
    }

    /// Writes so many files of so many bytes each, `name-1` and so on.
    pub async fn put_files(&self, name: &str, count: usize, length: usize) -> Result<()> {
        for number in 1..=count {
            let path = self.path(&format!("{name}-{number}"))?;
            self.files.put(&self.dfs, &path, self.content(length), options()).await?;
        }
        Ok(())
    }

    /// The usual start: files whose chunks all have their replicas. Answers with where those are.
    pub async fn fill_with(&self, count: usize, length: usize) -> Played<Fsck> {
        let title = format!("store {count} files of {}", bytes_in_words(length as u64));
        self.step(&title, async {
            self.put_files("file", count, length).await?;
            let fsck = health::until_clean(&self.dfs).await?;
            let note = health::numbers(&fsck.summary);
            told(fsck, note)
        })
        .await
    }

    /// Reads every acknowledged file and compares every byte, and says so.
    pub async fn all_is_there(&self, title: &str) -> Played {
        self.step(title, async {
            let compared = self.files.compare_all(&self.dfs).await?;
            let bytes = bytes_in_words(compared.bytes);
            told((), format!("{} files, {bytes}, every byte as written", compared.files))
        })
        .await
    }

    /// Waits until every chunk has its replicas, and shows what there was to do. `since` the failure, which found the
    /// cluster as `before`.
    pub async fn replicated_again(&self, since: Instant, before: &Fsck) -> Played<Fsck> {
        self.step("every chunk has all its replicas again", async {
            let after = health::until_clean(&self.dfs).await?;
            let (took, copied) = (since.elapsed(), after.copied_since(before));
            self.measure(|measures| {
                measures.replication = Some(took);
                measures.copied_bytes += copied;
            });
            let note =
                format!("{} copied, {:.1} s after the failure", bytes_in_words(copied), took.as_secs_f64());
            told(after, note)
        })
        .await
    }

    /// Waits until the cluster says that something is missing, and how much: a line in yellow.
    pub async fn shows_damage(&self, since: Instant) -> Played {
        self.step("the cluster says what is missing", async {
            let report = wait::until("chunks with too few replicas are told", patience(), || async {
                let report = self.dfs.report().await?;
                ensure!(
                    report.under_replicated + report.missing + report.corrupt > 0,
                    "it finds nothing missing"
                );
                anyhow::Ok(report)
            })
            .await?;
            let took = since.elapsed();
            self.measure(|measures| measures.detection = measures.detection.or(Some(took)));
            degraded(
                (),
                format!(
                    "{} of {} chunks are below target, {} of them with one replica left, {} without any",
                    report.under_replicated, report.chunks, report.only_one_copy, report.missing
                ),
            )
        })
        .await
    }

    /// The end of every scenario: all that is wrong is ended, all daemons run, every acknowledged file is compared, and
    /// the file check is clean.
    pub(crate) async fn finish(&self) -> Played {
        self.step("everything that was broken is mended", async {
            self.cluster.heal().await?;
            let all = self.cluster.daemons().await?;
            for daemon in &all {
                // One that does not run has nothing to go on with, and is started below.
                let _ = self.cluster.resume(*daemon).await;
            }
            self.cluster.start(&all).await?;
            self.cluster.wait_ready().await?;
            told((), format!("{} daemons run", all.len()))
        })
        .await?;
        self.all_is_there("every acknowledged file is there").await?;
        self.step("the file check is clean", async {
            let fsck = health::until_clean(&self.dfs).await?;
            told((), health::numbers(&fsck.summary))
        })
        .await
    }

    /// Removes what the scenario made, so that the next one finds an empty cluster.
    pub(crate) async fn clear(&self) -> Result<()> {
        self.dfs.delete(&self.root, true).await?;
        // What was removed while something failed need not have come back.
        match self.dfs.trash_contents(false).await {
            Err(error) if error.code == ErrorCode::Unsupported => {}
            contents => {
                for content in contents? {
                    self.dfs.empty_trash(&content).await?;
                }
            }
        }
        wait::until("the scenario's chunks are deleted", patience(), || async {
            let report = self.dfs.report().await?;
            let left = report.chunks + report.pending_deletions + report.pending_copies;
            ensure!(left == 0, "{left} chunks, copies or deletions are left");
            anyhow::Ok(())
        })
        .await
    }

    /// How long it took since then, noted as the time until clients were served again.
    pub fn recovered(&self, since: Instant) -> Duration {
        let took = since.elapsed();
        self.measure(|measures| measures.recovery = Some(took));
        took
    }

    /// The DataNodes that run, in order.
    pub async fn datanodes(&self) -> Result<Vec<Daemon>> {
        let all = self.cluster.daemons().await?;
        Ok(all.into_iter().filter(|daemon| matches!(daemon, Daemon::DataNode(_))).collect())
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").field("root", &self.root).finish_non_exhaustive()
    }
}
