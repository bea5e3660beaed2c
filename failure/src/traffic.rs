//! Clients that work while something fails.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dfs_client::Dfs;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::files::{Files, Kept, options};
use crate::stage::{Played, Stage, done, told};

/// Bytes of each file that is written meanwhile.
const LENGTH: usize = 300 << 10;
/// Seeds of these files begin here, above those of the stage's own.
const SEEDS: u64 = 1 << 32;
/// Of so many files one is appended to, truncated and put together.
const IN_PARTS: u64 = 3;
/// Most errors whose text is kept.
const MAX_ERRORS: usize = 20;
/// Pause between two operations of one client.
const PACE: Duration = Duration::from_millis(20);

/// What the clients did.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Files written and acknowledged.
    pub written: u64,
    /// Files read, each with the right bytes.
    pub read: u64,
    /// Operations that failed.
    pub failed: u64,
    /// The first errors, in words.
    pub errors: Vec<String>,
    /// The longest that one operation took.
    pub longest: Duration,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.written += other.written;
        self.read += other.read;
        self.failed += other.failed;
        self.errors.extend(other.errors);
        self.errors.truncate(MAX_ERRORS);
        self.longest = self.longest.max(other.longest);
    }

    /// In words, for a line.
    pub fn words(&self) -> String {
        format!(
            "{} files written and {} read meanwhile, {} errors, the slowest took {:.1} s",
            self.written,
            self.read,
            self.failed,
            self.longest.as_secs_f64()
        )
    }

    /// Fails unless there was work, and all of it succeeded.
    pub fn without_error(&self) -> Result<()> {
        ensure!(self.failed == 0, "{} operations failed: {}", self.failed, self.errors.join("; "));
        ensure!(self.written > 0 && self.read > 0, "hardly anything was done: {}", self.words());
        Ok(())
    }
}

/// Writers and readers at work. Dropping it ends them at once.
#[derive(Debug)]
pub struct Traffic {
    stop: watch::Sender<bool>,
    clients: JoinSet<Result<Tally>>,
}

impl Traffic {
    async fn start(stage: &Stage, name: &str, writers: u64) -> Result<Self> {
        let (stop, stopped) = watch::channel(false);
        let mut clients = JoinSet::new();
        for writer in 0..writers {
            let dfs = stage.cluster.client().await?.connect().await?;
            let root = stage.path(&format!("{name}-{writer}"))?;
            let (files, stopped) = (Arc::clone(&stage.files), stopped.clone());
            clients.spawn(async move {
                let mut tally = Tally::default();
                let mut number = 0;
                while !*stopped.borrow() {
                    number += 1;
                    let path = root.join(&number.to_string())?;
                    let kept = Kept { seed: SEEDS * (writer + 1) + number, length: LENGTH };
                    let began = Instant::now();
                    let written = if number % IN_PARTS == 0 {
                        files.put_in_parts(&dfs, &path, kept, options()).await
                    } else {
                        files.put(&dfs, &path, kept, options()).await
                    };
                    note(
                        &mut tally,
                        began,
                        written.map_err(|error| format!("writing {path}: {error}")),
                        true,
                    );
                    tokio::time::sleep(PACE).await;
                }
                Ok(tally)
            });
        }
        let dfs = stage.cluster.client().await?.connect().await?;
        let files = Arc::clone(&stage.files);
        clients.spawn(read_on(dfs, files, stopped));
        Ok(Self { stop, clients })
    }

    /// Starts so many writers, each with a connection of its own, and one reader of what is there: a step.
    pub async fn begin(stage: &Stage, name: &str, writers: u64) -> Played<Self> {
        let title = "clients read and write all the time";
        stage.step(title, async { done(Self::start(stage, name, writers).await?) }).await
    }

    /// [`Traffic::stop`] as a step, which is wrong if a client saw an error.
    pub async fn end(self, stage: &Stage) -> Played {
        let tally = async {
            let tally = self.stop(stage).await?;
            tally.without_error()?;
            told((), tally.words())
        };
        stage.step("no client saw an error", tally).await
    }

    /// Lets every client end what it is doing, and sums up. Errors are also noted as the stage's.
    pub async fn stop(mut self, stage: &Stage) -> Result<Tally> {
        self.stop.send_replace(true);
        let mut sum = Tally::default();
        while let Some(tally) = self.clients.join_next().await {
            sum.add(tally.context("a client of the suite ended")??);
        }
        stage.measure(|measures| measures.client_errors += sum.failed);
        Ok(sum)
    }
}

async fn read_on(dfs: Dfs, files: Arc<Files>, stopped: watch::Receiver<bool>) -> Result<Tally> {
    let (mut tally, mut turn) = (Tally::default(), 0);
    while !*stopped.borrow() {
        let all = files.all();
        if !all.is_empty() {
            turn = (turn + 1) % all.len();
            let (path, kept) = &all[turn];
            let began = Instant::now();
            let read = Files::compare(&dfs, path, *kept).await;
            note(&mut tally, began, read.map_err(|error| format!("reading {path}: {error:#}")), false);
        }
        tokio::time::sleep(PACE).await;
    }
    Ok(tally)
}

fn note(tally: &mut Tally, began: Instant, outcome: Result<(), String>, writes: bool) {
    tally.longest = tally.longest.max(began.elapsed());
    match outcome {
        Ok(()) if writes => tally.written += 1,
        Ok(()) => tally.read += 1,
        Err(error) => {
            tally.failed += 1;
            if tally.errors.len() < MAX_ERRORS {
                tally.errors.push(error);
            }
        }
    }
}
