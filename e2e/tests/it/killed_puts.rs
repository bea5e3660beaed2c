//! `dfs put` that is killed in the middle: nothing of it stays, under no name, and its name can be used again.

use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dfs_client::{Dfs, DirectoryEntry, FsckEntry};
use dfs_e2e::{content, wait};
use dfs_local::{LocalCluster, Options, TestCluster, programs};
use dfs_types::FsPath;
use futures_util::TryStreamExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// Leases end soon here; the rest is margin for slow machines.
const PATIENCE: Duration = Duration::from_mins(2);
const CHUNK: usize = 1 << 20;
/// Puts that are killed at any moment, at least.
const FEWEST: usize = 12;
/// So many of which none was killed while it wrote are no test.
const MOST: usize = 100;

async fn cluster(namenodes: u16) -> Result<TestCluster> {
    let args = ["--heartbeat-interval", "200ms", "--lease-soft-limit", "2s", "--lease-hard-limit", "5s"];
    let namenode_args = args.map(str::to_owned).to_vec();
    Ok(TestCluster::start(Options { namenodes, namenode_args, ..Options::default() }).await?)
}

/// `dfs put SOURCE TARGET` with small chunks.
async fn put(cluster: &LocalCluster, source: &str, target: &str) -> Result<Child> {
    let child = Command::new(programs()?.join("dfs"))
        .args(["put", "-f", "--chunk-size", &CHUNK.to_string(), source, target])
        .args(["--namenode", &cluster.namenode_addresses().await?.join(",")])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    Ok(child)
}

fn path(text: &str) -> FsPath {
    FsPath::parse(text).expect("a valid path")
}

/// What is in the directory, hidden or not.
async fn entries(dfs: &Dfs) -> Result<Vec<DirectoryEntry>> {
    Ok(dfs.list(&path("/d")).try_collect().await?)
}

/// Files that fsck finds, as their paths, and those of them that are open.
async fn fsck(dfs: &Dfs) -> Result<(Vec<String>, u64)> {
    let mut found = dfs.fsck(&FsPath::root()).await?;
    let (mut files, mut open) = (Vec::new(), 0);
    while let Some(entry) = found.try_next().await? {
        if let FsckEntry::File(file) = entry {
            open += u64::from(file.status.open);
            files.push(file.path.to_string());
        }
    }
    Ok((files, open))
}

/// Waits until there are just these files, each of this content, wherever one looks.
async fn only(dfs: &Dfs, names: &[String], data: &[u8]) -> Result<()> {
    wait::until("what was begun to be gone", PATIENCE, || async {
        let found = entries(dfs).await?;
        let found: Vec<_> = found.into_iter().map(|entry| entry.name).collect();
        ensure!(found == names, "{found:?} instead of {names:?}");
        Ok(())
    })
    .await?;
    let (files, open) = fsck(dfs).await?;
    ensure!(open == 0 && files.len() == names.len(), "{files:?}, {open} of them open");
    let sum = dfs.content_summary(&FsPath::root()).await?;
    ensure!(sum.files == names.len() as u64 && sum.length == (names.len() * data.len()) as u64, "{sum:?}");
    for name in names {
        let mut read = Vec::new();
        dfs.open(&path(&format!("/d/{name}"))).await?.read_to_end(&mut read).await?;
        ensure!(read == data, "{name} has other bytes than were put");
    }
    Ok(())
}

/// Begins to put so much, and kills the command when all of it is with the cluster.
async fn kill_after(cluster: &LocalCluster, dfs: &Dfs, target: &str, length: usize) -> Result<()> {
    let mut child = put(cluster, "-", target).await?;
    let mut input = child.stdin.take().context("its input is piped")?;
    input.write_all(&content::bytes(1, length)).await?;
    wait::until("the bytes to arrive", PATIENCE, || async {
        let found = entries(dfs).await?;
        let begun = found.iter().filter(|entry| entry.status.open && entry.name.starts_with('.'));
        // The command reads whole chunks ahead, and the length of those before the last is known. Of puts that were killed
        // before there may be shorter ones.
        let whole = ((length / CHUNK).saturating_sub(1) * CHUNK) as u64;
        let longest = begun.map(|entry| entry.status.length).max().context("nothing is open")?;
        ensure!(longest >= whole, "{longest} bytes");
        Ok(())
    })
    .await?;
    child.kill().await?;
    // Had its input ended before, it would have been complete.
    drop(input);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_put_leaves_nothing() -> Result<()> {
    let cluster = cluster(1).await?;
    let dfs = cluster.client().await?;
    dfs.mkdir_all(&path("/d"), dfs_types::Mode::DIRECTORY).await?;
    for length in [0, 1_000, 2 * CHUNK + 1_000, 3 * CHUNK] {
        kill_after(&cluster, &dfs, "/d/x", length).await?;
    }
    only(&dfs, &[], &[]).await?;

    // A file is killed at any moment: it is there as a whole or not at all.
    let seed = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let folder = tempfile::tempdir()?;
    let (source, data) = (folder.path().join("source"), content::bytes(2, CHUNK + 500));
    std::fs::write(&source, &data)?;
    let source = source.to_str().context("a folder with a UTF-8 name")?;
    // So long a whole one takes here, so that most are killed in the middle.
    let began = Instant::now();
    let whole = put(&cluster, source, "/d/whole").await?.wait().await?;
    ensure!(whole.success(), "a whole put: {whole}");
    dfs.delete(&path("/d/whole"), false).await?;
    let whole = began.elapsed();
    let (mut number, mut begun) = (0, 0);
    while number < FEWEST || begun == 0 {
        ensure!(number < MOST, "no put of {MOST} was killed while its file was open");
        let mut child = put(&cluster, source, &format!("/d/{number}")).await?;
        let moment = whole.mul_f64(random.random_range(0.0..1.2));
        // Whichever comes first.
        let _ended = tokio::time::timeout(moment, child.wait()).await;
        child.kill().await?;
        let target = format!(".{number}.");
        let found = entries(&dfs).await?;
        begun += found.iter().filter(|entry| entry.status.open && entry.name.starts_with(&target)).count();
        number += 1;
    }
    let complete: Vec<String> = wait::until("hidden files to be gone", PATIENCE, || async {
        let found = entries(&dfs).await?;
        ensure!(found.iter().all(|entry| !entry.name.starts_with('.')), "{found:?}");
        anyhow::Ok(found.into_iter().map(|entry| entry.name).collect())
    })
    .await?;
    only(&dfs, &complete, &data).await?;

    // Every name can be used.
    for number in 0..number {
        let status = put(&cluster, source, &format!("/d/{number}")).await?.wait().await?;
        ensure!(status.success(), "putting it again: {status}");
    }
    let mut all: Vec<String> = (0..number).map(|number| number.to_string()).collect();
    all.sort();
    only(&dfs, &all, &data).await
}

#[tokio::test(flavor = "multi_thread")]
async fn another_leader_finds_what_a_killed_put_left() -> Result<()> {
    let cluster = cluster(3).await?;
    let dfs = cluster.client().await?;
    dfs.mkdir_all(&path("/d"), dfs_types::Mode::DIRECTORY).await?;
    kill_after(&cluster, &dfs, "/d/x", CHUNK + 1_000).await?;
    cluster.kill(cluster.leader().await?).await?;
    only(&dfs, &[], &[]).await
}
