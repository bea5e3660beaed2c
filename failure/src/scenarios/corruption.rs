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
use crate::stage::{Played, Stage, degraded, done, told};

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

/// One file of one chunk: where its replicas are.
async fn one_chunk(stage: &Stage) -> Result<(FsPath, Kept, FsckChunk, Vec<Daemon>)> {
    let (path, kept) = (stage.path("precious")?, stage.content(200_000));
    stage.files.put(&stage.dfs, &path, kept, CreateOptions { replication: Some(3), ..options() }).await?;
    let fsck = health::until_clean(&stage.dfs).await?;
    let found = fsck.chunks.into_iter().find(|(of, _)| of == path.as_str());
    let (_, chunk) = found.context("the file has a chunk")?;
    let mut nodes = Vec::new();
    for node in &chunk.nodes {
        nodes.push(health::daemon_at(stage.cluster.as_ref(), &node.address()).await?);
    }
    Ok((path, kept, chunk, nodes))
}

async fn some_damaged(stage: &Stage, count: usize) -> Played {
    stage.fill_with(3, 700_000).await?;
    let (path, kept, chunk, nodes) = stage
        .step("store a file with three replicas", async {
            let found = one_chunk(stage).await?;
            let holders = format!("on {:?}", found.3.iter().map(ToString::to_string).collect::<Vec<_>>());
            told(found, holders)
        })
        .await?;
    stage
        .step(&format!("bits of {count} of them flip on the disk"), async {
            for node in &nodes[..count] {
                stage.cluster.corrupt(*node, chunk.chunk).await?;
            }
            degraded((), format!("{} good of 3", 3 - count))
        })
        .await?;
    let since = Instant::now();
    stage
        .step("whoever reads gets the right bytes", async {
            for _ in 0..6 {
                // Each client chooses a replica for itself.
                let dfs = stage.cluster.client().await?.connect().await?;
                Files::compare(&dfs, &path, kept).await?;
            }
            stage.recovered(since);
            told((), "6 clients")
        })
        .await?;
    stage
        .step("the damage is found, and good replicas take the place of the bad ones", async {
            wait::until("three good replicas on disk, and no bad one", patience(), || async {
                // Reading finds what the scrubber has not come to yet.
                let dfs = stage.cluster.client().await?.connect().await?;
                Files::compare(&dfs, &path, kept).await?;
                let fsck = Fsck::run(&stage.dfs).await?;
                fsck.clean()?;
                let (content, mut good) = (kept.content(), 0);
                for node in stage.datanodes().await? {
                    if let Some(bytes) = stage.cluster.stored(node, chunk.chunk).await? {
                        ensure!(bytes == content, "{node} still has a bad one");
                        good += 1;
                    }
                }
                ensure!(good == 3, "{good} good ones");
                anyhow::Ok(())
            })
            .await?;
            let took = since.elapsed();
            stage.measure(|measures| {
                measures.replication = Some(took);
                measures.copied_bytes += chunk.length * count as u64;
            });
            done(())
        })
        .await?;
    stage
        .step("each of them is served", async {
            let mut nodes = Vec::new();
            for node in stage.datanodes().await? {
                if stage.cluster.stored(node, chunk.chunk).await?.is_some() {
                    nodes.push(node);
                }
            }
            for node in &nodes {
                let others: Vec<_> = nodes.iter().copied().filter(|other| other != node).collect();
                stage.cluster.kill(&others).await?;
                let read = Files::compare(&stage.dfs, &path, kept).await;
                stage.cluster.start(&others).await?;
                stage.cluster.wait_ready().await?;
                read?;
            }
            told((), "each read with the others killed")
        })
        .await
}

async fn all_damaged(stage: &Stage) -> Played {
    stage.fill_with(3, 700_000).await?;
    let (path, kept, chunk, nodes) =
        stage.step("store a file with three replicas", async { done(one_chunk(stage).await?) }).await?;
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
