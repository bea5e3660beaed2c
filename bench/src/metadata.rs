//! Metadata operations per second, by number of clients.

use std::time::{Duration, Instant};

use anyhow::Result;
use dfs_client::{CreateOptions, Dfs};
use dfs_types::{FsPath, Mode};
use futures_util::TryStreamExt;
use hdrhistogram::Histogram;

use crate::limits::Limits;
use crate::rig::Rig;
use crate::table::{Row, Unit};
use crate::yardsticks::Yardsticks;

/// Numbers of clients.
pub(crate) const CLIENTS: [usize; 3] = [1, 8, 32];
/// Entries of the directory that is listed.
const LISTED: usize = 10_000;
/// Seconds that each kind of operation is given.
const TIME: Duration = Duration::from_secs(3);

/// One kind of operation; the number tells its paths apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    Mkdir,
    Create,
    Stat,
    Rename,
    Delete,
}

impl Work {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Mkdir => "mkdir",
            Self::Create => "create + close",
            Self::Stat => "stat",
            Self::Rename => "rename",
            Self::Delete => "delete",
        }
    }
}

fn path(text: String) -> Result<FsPath> {
    Ok(FsPath::parse(&text)?)
}

async fn perform(
    dfs: &Dfs,
    work: Work,
    client: usize,
    number: usize,
    files: usize,
    round: &str,
) -> Result<()> {
    match work {
        Work::Mkdir => {
            dfs.mkdir(&path(format!("/bench/{round}-{client}/d{number}"))?, Mode::DIRECTORY).await?;
        }
        Work::Create => {
            let file = path(format!("/bench/{round}-{client}/f{number}"))?;
            dfs.create(&file, CreateOptions::default()).await?.close().await?;
        }
        Work::Stat => {
            dfs.stat(&path(format!("/bench/{round}-{client}/f{}", number % files))?).await?;
        }
        Work::Rename => {
            let from = path(format!("/bench/{round}-{client}/f{number}"))?;
            dfs.rename(&from, &path(format!("/bench/{round}-{client}/r{number}"))?, false).await?;
        }
        Work::Delete => {
            dfs.delete(&path(format!("/bench/{round}-{client}/r{number}"))?, false).await?;
        }
    }
    Ok(())
}

/// Runs one kind of operation with every client, `counts` each or until the time is up; `files` exist already.
/// Returns operations of each client, time, and latencies in microseconds.
pub(crate) async fn measure(
    clients: &[Dfs],
    work: Work,
    counts: &[usize],
    files: &[usize],
    round: &str,
    time: Duration,
) -> Result<(Vec<usize>, Duration, Histogram<u64>)> {
    let start = Instant::now();
    let deadline = start + time;
    let mut tasks = Vec::new();
    for (client, ((dfs, count), files)) in clients.iter().zip(counts).zip(files).enumerate() {
        let (dfs, count, files, round) = (dfs.clone(), *count, *files, round.to_owned());
        tasks.push(tokio::spawn(async move {
            let mut latencies = Histogram::<u64>::new(3)?;
            let mut done = 0;
            while done < count && Instant::now() < deadline {
                let begin = Instant::now();
                perform(&dfs, work, client, done, files, &round).await?;
                latencies.record(begin.elapsed().as_micros() as u64)?;
                done += 1;
            }
            anyhow::Ok((done, latencies))
        }));
    }
    let mut done = Vec::new();
    let mut all = Histogram::<u64>::new(3)?;
    for task in tasks {
        let (count, latencies) = task.await??;
        done.push(count);
        all.add(latencies)?;
    }
    Ok((done, start.elapsed(), all))
}

/// What no system that answers over this network, and that syncs what it acknowledges, could exceed. Many clients share an
/// fsync, one client waits for it alone.
fn limit(
    work: Work,
    clients: usize,
    limits: &Limits,
    yardsticks: &Yardsticks,
) -> Option<(&'static str, f64)> {
    let echo = yardsticks.grpc(clients)?;
    let synced = 1.0 / (1.0 / echo + 1.0 / limits.fsyncs_per_second);
    Some(match (work, clients) {
        (Work::Stat, _) => ("tonic echo", echo),
        (Work::Create, 1) => ("2 × (echo + fsync)", synced / 2.0),
        (Work::Create, _) => ("2 tonic echoes", echo / 2.0),
        (_, 1) => ("echo + fsync", synced),
        (_, _) => ("tonic echo", echo),
    })
}

fn row(name: &str, clients: usize, done: usize, time: Duration, latencies: &Histogram<u64>) -> Row {
    Row {
        work: format!("{name}, {clients} clients"),
        rate: done as f64 / time.as_secs_f64(),
        unit: Unit::PerSecond,
        seconds: time.as_secs_f64(),
        limit: None,
        p50_us: Some(latencies.value_at_quantile(0.5)),
        p99_us: Some(latencies.value_at_quantile(0.99)),
        cpu_seconds: None,
    }
}

/// Every kind of operation at every number of clients, on a group of so many NameNodes.
pub(crate) async fn operations(
    rig: &Rig,
    namenodes: u16,
    limits: &Limits,
    yardsticks: &Yardsticks,
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let setup = rig.client().await?;
    for count in CLIENTS {
        let round = format!("n{count}");
        let mut clients = Vec::new();
        for client in 0..count {
            setup.mkdir_all(&path(format!("/bench/{round}-{client}"))?, Mode::DIRECTORY).await?;
            clients.push(rig.client().await?);
        }
        let (unbounded, none) = (vec![usize::MAX; count], vec![0; count]);
        let mut files = none.clone();
        for (work, bounded) in [
            (Work::Mkdir, false),
            (Work::Create, false),
            (Work::Stat, false),
            (Work::Rename, true),
            (Work::Delete, true),
        ] {
            let counts = if bounded { &files } else { &unbounded };
            let (done, time, latencies) = measure(&clients, work, counts, &files, &round, TIME).await?;
            let limit = limit(work, count, limits, yardsticks);
            rows.push(Row { limit, ..row(work.name(), count, done.iter().sum(), time, &latencies) });
            if matches!(work, Work::Create | Work::Rename) {
                anyhow::ensure!(!done.contains(&0), "a client could not {} a single file", work.name());
                files = done;
            }
        }
    }
    rows.extend(list(rig, &setup).await?);
    setup.delete(&path("/bench".to_owned())?, true).await?;
    if namenodes > 1 {
        for row in &mut rows {
            row.work = format!("{}, {namenodes} NameNodes", row.work);
        }
    }
    Ok(rows)
}

/// Lists one large directory again and again.
async fn list(rig: &Rig, setup: &Dfs) -> Result<Vec<Row>> {
    let directory = path("/bench/listed".to_owned())?;
    setup.mkdir(&directory, Mode::DIRECTORY).await?;
    let mut tasks = Vec::new();
    for worker in 0..8 {
        let (dfs, directory) = (setup.clone(), directory.clone());
        tasks.push(tokio::spawn(async move {
            for number in (worker..LISTED).step_by(8) {
                dfs.mkdir(&directory.join(&format!("entry-{number:05}"))?, Mode::DIRECTORY).await?;
            }
            anyhow::Ok(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    let mut rows = Vec::new();
    for count in CLIENTS {
        let start = Instant::now();
        let deadline = start + TIME;
        let mut tasks = Vec::new();
        for _ in 0..count {
            let (dfs, directory) = (rig.client().await?, directory.clone());
            tasks.push(tokio::spawn(async move {
                let mut latencies = Histogram::<u64>::new(3)?;
                while Instant::now() < deadline {
                    let begin = Instant::now();
                    let entries: Vec<_> = dfs.list(&directory).try_collect().await?;
                    anyhow::ensure!(entries.len() == LISTED, "{} entries", entries.len());
                    latencies.record(begin.elapsed().as_micros() as u64)?;
                }
                anyhow::Ok(latencies)
            }));
        }
        let mut all = Histogram::<u64>::new(3)?;
        for task in tasks {
            all.add(task.await??)?;
        }
        let name = format!("list of {LISTED} entries");
        rows.push(row(&name, count, all.len() as usize, start.elapsed(), &all));
    }
    Ok(rows)
}
