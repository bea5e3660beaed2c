//! Bits that flip on disks, behind everybody's back.

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use dfs_client::{CreateOptions, FsckChunk};
use dfs_e2e::wait;
use dfs_types::{ErrorCode, FsPath};

use super::{Scenario, USUAL};
use crate::cluster::{Capability, Daemon};
use crate::files::{Files, Kept, options};
use crate::health::{self, Fsck, patience};
use crate::stage::{Played, Stage, Told, degraded, done, told};

pub(super) fn list() -> Vec<Scenario> {
    let scenario = |name, title, play| Scenario {
        name,
        group: "Silent corruption",
        title,
        needs: &[Capability::Disk],
        shape: USUAL,
        leaves_whole: true,
        play,
    };
    vec![
        scenario("corrupt-one", "one of three replicas is damaged: never returned, and replaced", |stage| {
            Box::pin(some_damaged(stage, 1))
        }),
        scenario(
            "corrupt-two",
            "two of three replicas are damaged: the last good one makes the others anew",
            |stage| Box::pin(some_damaged(stage, 2)),
        ),
        scenario(
            "corrupt-all",
            "all replicas are damaged: an error in words, never wrong bytes, nothing deleted",
            |stage| Box::pin(all_damaged(stage)),
        ),
    ]
}

/// Files that are damaged: which replica of a chunk readers are sent to first is the same for all of them, so that one file
/// might show nothing.
const FILES: usize = 10;

/// A file of one chunk with three replicas.
struct Precious {
    path: FsPath,
    kept: Kept,
    chunk: FsckChunk,
    nodes: Vec<Daemon>,
}

/// Stores so many of them.
async fn precious(stage: &Stage, count: usize) -> Result<Vec<Precious>> {
    let mut stored = Vec::new();
    for number in 1..=count {
        let (path, kept) = (stage.path(&format!("precious-{number}"))?, stage.content(200_000));
        let options = CreateOptions { replication: Some(3), ..options() };
        stage.files.put(&stage.dfs, &path, kept, options).await?;
        stored.push((path, kept));
    }
    let fsck = health::until_clean(&stage.dfs).await?;
    let mut found = Vec::new();
    for (path, kept) in stored {
        let chunk = fsck.chunks.iter().find(|(of, _)| of == path.as_str());
        let (_, chunk) = chunk.with_context(|| format!("{path} has no chunk"))?.clone();
        let mut nodes = Vec::new();
        for node in &chunk.nodes {
            nodes.push(health::daemon_at(stage.cluster.as_ref(), &node.address()).await?);
        }
        found.push(Precious { path, kept, chunk, nodes });
    }
    Ok(found)
}

/// Reads all of them with a new client, and compares every byte.
async fn compare(stage: &Stage, files: &[Precious]) -> Result<()> {
    let dfs = stage.cluster.client().await?.connect().await?;
    for file in files {
        Files::compare(&dfs, &file.path, file.kept).await?;
    }
    Ok(())
}

/// The DataNodes that have the file's chunk on a disk; fails if a replica is not as it was written.
async fn good_on_disk(stage: &Stage, file: &Precious) -> Result<Vec<Daemon>> {
    let (content, mut good) = (file.kept.content(), Vec::new());
    for node in stage.datanodes().await? {
        if let Some(bytes) = stage.cluster.stored(node, file.chunk.chunk).await? {
            ensure!(bytes == content, "{node} still has a bad replica of {}", file.path);
            good.push(node);
        }
    }
    Ok(good)
}

async fn some_damaged(stage: &Stage, count: usize) -> Played {
    stage.fill_with(3, 700_000).await?;
    let files = stage
        .step(&format!("store {FILES} files with three replicas"), async {
            done(precious(stage, FILES).await?)
        })
        .await?;
    stage
        .step(&format!("bits of {count} of the replicas of each flip on the disk"), async {
            for file in &files {
                for node in &file.nodes[..count] {
                    stage.cluster.corrupt(*node, file.chunk.chunk).await?;
                }
            }
            degraded((), format!("{} good of 3", 3 - count))
        })
        .await?;
    let since = Instant::now();
    stage
        .step("whoever reads gets the right bytes", async {
            for _ in 0..3 {
                compare(stage, &files).await?;
            }
            stage.recovered(since);
            told((), "3 clients")
        })
        .await?;
    stage
        .step("the damage is found, and good replicas take the place of the bad ones", async {
            wait::until("three good replicas on disk, and no bad one", patience(), || async {
                // Reading finds what the scrubber has not come to yet.
                compare(stage, &files).await?;
                let fsck = Fsck::run(&stage.dfs).await?;
                fsck.clean()?;
                for file in &files {
                    let good = good_on_disk(stage, file).await?.len();
                    ensure!(good == 3, "{good} good replicas of {}", file.path);
                }
                anyhow::Ok(())
            })
            .await?;
            let took = since.elapsed();
            stage.measure(|measures| {
                measures.replication = Some(took);
                let bytes: u64 = files.iter().map(|file| file.chunk.length).sum();
                measures.copied_bytes += bytes * count as u64;
            });
            done(())
        })
        .await?;
    stage.step("each of them is served", each_is_served(stage, &files)).await
}

/// Reads one of the files from each of its replicas.
async fn each_is_served(stage: &Stage, files: &[Precious]) -> Result<Told> {
    let file = files.first().context("there are files")?;
    let nodes = good_on_disk(stage, file).await?;
    for node in &nodes {
        let others: Vec<_> = nodes.iter().copied().filter(|other| other != node).collect();
        stage.cluster.kill(&others).await?;
        let read = Files::compare(&stage.dfs, &file.path, file.kept).await;
        stage.cluster.start(&others).await?;
        stage.cluster.wait_ready().await?;
        read?;
    }
    told((), "a file was read from each with the others killed")
}

async fn all_damaged(stage: &Stage) -> Played {
    stage.fill_with(3, 700_000).await?;
    let Precious { path, kept, chunk, nodes } = stage
        .step("store a file with three replicas", async {
            done(precious(stage, 1).await?.pop().context("one was stored")?)
        })
        .await?;
    stage
        .step("bits of all of them flip on the disk", async {
            for node in &nodes {
                stage.cluster.corrupt(*node, chunk.chunk).await?;
            }
            // It is damage that is expected: the file is not what was acknowledged any more.
            stage.files.let_go(&path);
            degraded((), "no good one of 3")
        })
        .await?;
    stage
        .step("whoever reads gets an error in words, and never wrong bytes", async {
            let dfs = stage
                .cluster
                .client()
                .await?
                .transfer_budget(std::time::Duration::from_secs(4))
                .connect()
                .await?;
            let read = dfs.open(&path).await?.read_all().await;
            let Err(error) = read else { bail!("bytes were returned, though every replica is damaged") };
            ensure!(
                matches!(error.code, ErrorCode::Corrupt | ErrorCode::Unavailable),
                "{} is the wrong error: {error}",
                error.code
            );
            told((), error.to_string())
        })
        .await?;
    stage
        .step("the cluster tells the file as corrupt", async {
            let fsck = wait::until("the chunk is known as corrupt", patience(), || async {
                // Every read finds another bad replica, and so does the scrubber.
                let dfs = stage
                    .cluster
                    .client()
                    .await?
                    .transfer_budget(std::time::Duration::from_secs(2))
                    .connect()
                    .await?;
                if let Ok(bytes) = dfs.open(&path).await?.read_all().await {
                    ensure!(bytes == kept.content(), "WRONG BYTES were returned");
                }
                let fsck = Fsck::run(&stage.dfs).await?;
                ensure!(fsck.summary.corrupt == 1, "{}", health::numbers(&fsck.summary));
                anyhow::Ok(fsck)
            })
            .await?;
            ensure!(!fsck.summary.healthy, "the file check says that all is healthy");
            told((), health::numbers(&fsck.summary))
        })
        .await?;
    stage
        .step("no bad replica is deleted: a person may still save something", async {
            for node in &nodes {
                let there = stage.cluster.replicas(*node).await?;
                ensure!(
                    there.iter().any(|replica| replica.chunk == chunk.chunk),
                    "{node} deleted its replica"
                );
            }
            done(())
        })
        .await?;
    stage
        .step("the file is removed, and with it the damage", async {
            stage.dfs.delete(&path, false).await?;
            let fsck = health::until_clean(&stage.dfs).await?;
            told((), health::numbers(&fsck.summary))
        })
        .await
}
