//! How long clients wait when the leader of three NameNodes is killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dfs_client::{CreateOptions, Dfs};
use dfs_types::{FsPath, FsResult, Mode};
use tokio::io::AsyncWriteExt;

use crate::rig::Rig;
use crate::table::Figure;

/// Clients that do metadata operations.
const CLIENTS: usize = 8;
/// Calm before each kill, in which the group is whole and at work.
const CALM: Duration = Duration::from_secs(1);
/// Within this time after a kill the NameNodes must be whole again.
const PATIENCE: Duration = Duration::from_mins(1);
/// Bytes written at once by the running put.
const PIECE: usize = 256 << 10;
/// Pause between two such pieces.
const PACE: Duration = Duration::from_millis(50);
/// Bytes of a chunk: transfers ask the NameNode often.
const CHUNK: u64 = 1 << 20;
/// Bytes of the file that is fetched again and again.
const FETCHED: usize = 16 << 20;

/// What the clients tell.
#[derive(Debug, Default)]
struct Log {
    over: AtomicBool,
    /// When each metadata operation began and succeeded.
    done: Mutex<Vec<(Instant, Instant)>>,
    errors: Mutex<Vec<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Log {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn failed(&self, what: &str, error: impl std::fmt::Display) {
        lock(&self.errors).push(format!("{what}: {error}"));
    }
}

/// What one kill cost.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Cost {
    /// Longest time in which no metadata operation of any client succeeded.
    gap: Duration,
    /// Longest that a single operation took.
    wait: Duration,
}

/// The cost of what happened from `from` to `to`.
fn cost(done: &[(Instant, Instant)], from: Instant, to: Instant) -> Cost {
    let within: Vec<_> = done.iter().filter(|(_, end)| (from..to).contains(end)).collect();
    let mut ends: Vec<Instant> = within.iter().map(|(_, end)| *end).chain([from, to]).collect();
    ends.sort_unstable();
    let gap = ends.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default();
    let wait = within.iter().map(|(begin, end)| *end - *begin).max().unwrap_or_default();
    Cost { gap, wait }
}

fn options() -> CreateOptions {
    CreateOptions { chunk_size: Some(CHUNK), overwrite: true, ..CreateOptions::default() }
}

async fn one_operation(dfs: &Dfs, client: usize, number: u64) -> FsResult<()> {
    let entry = |kind| FsPath::parse(&format!("/failover-{client}/{kind}{}", number / 4));
    match number % 4 {
        0 => dfs.mkdir(&entry("a")?, Mode::DIRECTORY).await.map(drop),
        1 => dfs.rename(&entry("a")?, &entry("b")?, false).await,
        2 => dfs.stat(&entry("b")?).await.map(drop),
        _ => dfs.delete(&entry("b")?, false).await.map(drop),
    }
}

async fn operate(dfs: Dfs, client: usize, log: Arc<Log>) {
    for number in 0.. {
        if log.is_over() {
            return;
        }
        let begin = Instant::now();
        match one_operation(&dfs, client, number).await {
            Ok(()) => lock(&log.done).push((begin, Instant::now())),
            Err(error) => log.failed("a metadata operation", error),
        }
    }
}

/// Writes one file for as long as it goes on; another one after an error.
async fn put(dfs: Dfs, log: Arc<Log>) {
    while !log.is_over() {
        if let Err(error) = put_once(&dfs, &log).await {
            log.failed("the running put", error);
        }
    }
}

async fn put_once(dfs: &Dfs, log: &Log) -> Result<()> {
    let mut writer = dfs.create(&FsPath::parse("/failover-put")?, options()).await?;
    let piece = vec![7; PIECE];
    while !log.is_over() {
        writer.write_all(&piece).await?;
        tokio::time::sleep(PACE).await;
    }
    writer.close().await?;
    Ok(())
}

async fn get(dfs: Dfs, path: FsPath, log: Arc<Log>) {
    while !log.is_over() {
        let fetched = async { dfs.open(&path).await?.read_all().await }.await;
        match fetched {
            Ok(bytes) if bytes.len() == FETCHED => {}
            Ok(bytes) => log.failed("a running get", format!("{} bytes came", bytes.len())),
            Err(error) => log.failed("a running get", error),
        }
    }
}

/// Kills the leader so many times. Answers what it cost, and the errors that clients saw.
pub(crate) async fn measure(rig: &Rig, kills: u16) -> Result<(Vec<Figure>, Vec<String>)> {
    let setup = rig.client().await?;
    let fetched = FsPath::parse("/failover-get")?;
    let mut writer = setup.create(&fetched, options()).await?;
    writer.write_all(&vec![3; FETCHED]).await?;
    writer.close().await?;

    let log = Arc::new(Log::default());
    let mut tasks = Vec::new();
    for client in 0..CLIENTS {
        setup.mkdir_all(&FsPath::parse(&format!("/failover-{client}"))?, Mode::DIRECTORY).await?;
        tasks.push(tokio::spawn(operate(rig.client().await?, client, Arc::clone(&log))));
    }
    tasks.push(tokio::spawn(put(rig.client().await?, Arc::clone(&log))));
    tasks.push(tokio::spawn(get(rig.client().await?, fetched, Arc::clone(&log))));
    let killed = kill(rig, kills, &log).await;
    log.over.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await?;
    }
    let costs = killed?;
    let (operations, errors) = (lock(&log.done).len(), std::mem::take(&mut *lock(&log.errors)));
    Ok((figures(&costs, operations, errors.len()), errors))
}

async fn kill(rig: &Rig, kills: u16, log: &Log) -> Result<Vec<Cost>> {
    let mut costs = Vec::new();
    for number in 1..=kills {
        tokio::time::sleep(CALM).await;
        let leader = rig.cluster.leader().await?;
        let from = Instant::now();
        rig.cluster.kill(leader).await?;
        let next = rig.cluster.leader().await?;
        ensure!(next != leader, "{leader} was killed and still leads");
        rig.cluster.start(leader).await?;
        rig.cluster.wait_ready(PATIENCE).await?;
        let cost = cost(&lock(&log.done), from, Instant::now());
        eprintln!("kill {number}, of {leader}: no success for {:.2?}, longest {:.2?}", cost.gap, cost.wait);
        costs.push(cost);
    }
    Ok(costs)
}

fn figures(costs: &[Cost], operations: usize, errors: usize) -> Vec<Figure> {
    let kills = costs.len();
    let mut figures = Vec::new();
    let mut figure = |name: String, value: f64, unit| figures.push(Figure { name, value, unit });
    let gaps = costs.iter().map(|cost| cost.gap.as_secs_f64()).collect();
    let waits = costs.iter().map(|cost| cost.wait.as_secs_f64()).collect();
    let kinds: [(&str, Vec<f64>); 2] =
        [("no metadata operation succeeded", gaps), ("slowest metadata operation", waits)];
    for (name, mut times) in kinds {
        times.sort_unstable_by(f64::total_cmp);
        figure(format!("{name}, p50 of {kills} kills of the leader"), times[kills / 2], "s");
        figure(format!("{name}, longest of {kills} kills"), times[kills - 1], "s");
    }
    figure(format!("metadata operations of {CLIENTS} clients meanwhile"), operations as f64, "operations");
    figure("seen by them, a running put and a running get".to_owned(), errors as f64, "errors");
    figures
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_the_longest_silence_and_the_longest_wait() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let done =
            [(at(0), at(10)), (at(5), at(20)), (at(15), at(820)), (at(12), at(700)), (at(900), at(2_000))];
        let cost = cost(&done, at(15), at(1_000));
        assert_eq!(cost, Cost { gap: Duration::from_millis(680), wait: Duration::from_millis(805) });
    }

    #[test]
    fn a_kill_without_any_success_costs_all_its_time() {
        let start = Instant::now();
        let end = start + Duration::from_secs(3);
        assert_eq!(cost(&[], start, end).gap, Duration::from_secs(3));
    }
}
