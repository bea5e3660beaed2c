//! Nodes that come back with what is out of date, and orders that cross each other.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use dfs_client::NodeState;
use dfs_e2e::wait;

use super::{DISKS, Scenario, USUAL, busiest};
use crate::cluster::{Capability, Daemon};
use crate::files::{CHUNK, options};
use crate::health::{self, Fsck, patience};
use crate::stage::{Played, Stage, done, told};

/// Bytes a second of disks on which copying takes a while.
const SLOW: u64 = 512 << 10;
/// How often a node reports everything again in a report storm.
const STORMS: usize = 3;

pub(super) fn list() -> Vec<Scenario> {
    const GROUP: &str = "Out of date";
    vec![
        Scenario {
            name: "stale-generation",
            group: GROUP,
            title: "a DataNode comes back with replicas of an older generation and of deleted files",
            needs: &[Capability::Disk],
            shape: USUAL,
            leaves_whole: true,
            play: |stage| Box::pin(stale_generation(stage)),
        },
        Scenario {
            name: "delete-while-copying",
            group: GROUP,
            title: "files are deleted while their chunks are copied: nothing comes back, nothing else is deleted",
            needs: &[Capability::Disk, Capability::SlowDisk],
            shape: DISKS,
            leaves_whole: true,
            play: |stage| Box::pin(delete_while_copying(stage)),
        },
        Scenario {
            name: "report-storm",
            group: GROUP,
            title: "every DataNode registers and reports all its chunks at once, again and again",
            needs: &[],
            shape: USUAL,
            leaves_whole: true,
            play: |stage| Box::pin(report_storm(stage)),
        },
    ]
}

async fn stale_generation(stage: &Stage) -> Played {
    stage.fill_with(2, 700_000).await?;
    let (path, kept, victim) = stage
        .step("a DataNode dies in the middle of a chunk, which goes on under a later generation", async {
            let (path, kept) = (stage.path("goes-on")?, stage.content(CHUNK as usize));
            let mut writer = stage.dfs.create(&path, options()).await?;
            writer.write_bytes(kept.content().slice(..100_000)).await?;
            writer.hsync().await?;
            let located = stage.dfs.locate(&path, 0..1).await?;
            let node =
                located.chunks.first().and_then(|chunk| chunk.nodes.first()).context("it lies nowhere")?;
            let victim = health::daemon_at(stage.cluster.as_ref(), &node.address()).await?;
            stage.cluster.kill(&[victim]).await?;
            writer.write_bytes(kept.content().slice(100_000..)).await?;
            writer.close().await?;
            stage.files.keep(path.clone(), kept);
            told((path, kept, victim), victim.to_string())
        })
        .await?;
    stage
        .step("files are deleted while it is away", async {
            for number in 1..=2 {
                let path = stage.path(&format!("file-{number}"))?;
                stage.files.let_go(&path);
                stage.dfs.delete(&path, false).await?;
            }
            done(())
        })
        .await?;
    stage
        .step("it comes back: its old replicas are neither served nor kept", async {
            stage.cluster.start(&[victim]).await?;
            health::until_state(&stage.dfs, stage.cluster.as_ref(), victim, NodeState::Live).await?;
            only_what_belongs(stage, &[victim]).await?;
            crate::files::Files::compare(&stage.dfs, &path, kept).await?;
            done(())
        })
        .await
}

/// Waits until these DataNodes hold exactly the replicas that the file check knows of.
async fn only_what_belongs(stage: &Stage, nodes: &[Daemon]) -> Result<usize> {
    wait::until("nothing else lies on the disks", patience(), || async {
        let fsck = Fsck::run(&stage.dfs).await?;
        fsck.clean()?;
        let mut count = 0;
        for node in nodes {
            let address = stage.cluster.address(*node).await?;
            for replica in stage.cluster.replicas(*node).await? {
                let belongs = fsck.chunks.iter().any(|(_, chunk)| {
                    chunk.chunk == replica.chunk
                        && chunk.generation == replica.generation
                        && chunk.length == replica.length
                        && chunk.nodes.iter().any(|holder| holder.address() == address)
                });
                ensure!(
                    belongs,
                    "{node} still has chunk {} (generation {})",
                    replica.chunk,
                    replica.generation
                );
                count += 1;
            }
        }
        anyhow::Ok(count)
    })
    .await
}

async fn delete_while_copying(stage: &Stage) -> Played {
    let before = stage.fill_with(16, 700_000).await?;
    let victim = stage
        .step("a DataNode is killed", async {
            let victim = busiest(stage, &before).await?;
            stage.cluster.kill(&[victim]).await?;
            for node in stage.datanodes().await? {
                // Copying takes long enough for files to be deleted in the middle of it.
                stage.cluster.throttle(node, SLOW).await?;
            }
            told(victim, victim.to_string())
        })
        .await?;
    let since = Instant::now();
    stage
        .step("every other file is deleted while chunks are copied", async {
            wait::until("copies are under way", patience(), || async {
                let report = stage.dfs.report().await?;
                ensure!(
                    report.pending_copies > 0,
                    "none yet, {} chunks are below target",
                    report.under_replicated
                );
                anyhow::Ok(())
            })
            .await?;
            stage.measure(|measures| measures.detection = Some(since.elapsed()));
            for number in (1..=16).step_by(2) {
                let path = stage.path(&format!("file-{number}"))?;
                stage.files.let_go(&path);
                stage.dfs.delete(&path, false).await?;
            }
            let pending = stage.dfs.report().await?.pending_copies;
            stage.cluster.heal().await?;
            told((), format!("8 of 16 files, {pending} copies were still under way"))
        })
        .await?;
    stage.replicated_again(since, &before).await?;
    stage
        .step("it comes back with what was deleted meanwhile: nothing of it stays anywhere", async {
            stage.cluster.start(&[victim]).await?;
            health::until_state(&stage.dfs, stage.cluster.as_ref(), victim, NodeState::Live).await?;
            let count = only_what_belongs(stage, &stage.datanodes().await?).await?;
            told((), format!("{count} replicas on all disks"))
        })
        .await
}

async fn report_storm(stage: &Stage) -> Played {
    // Chunks as small as can be, so that there are many.
    stage
        .step("store a file of 800 chunks and some others", async {
            let path = stage.path("many-chunks")?;
            let options = dfs_client::CreateOptions { chunk_size: Some(512), ..options() };
            stage.files.put(&stage.dfs, &path, stage.content(512 * 800), options).await?;
            stage.put_files("file", 4, 700_000).await?;
            told((), health::numbers(&health::until_clean(&stage.dfs).await?.summary))
        })
        .await?;
    let nodes = stage.step("all DataNodes", async { done(stage.datanodes().await?) }).await?;
    for storm in 1..=STORMS {
        let since = Instant::now();
        stage
            .step(&format!("storm {storm}: all of them are killed and come back at once"), async {
                stage.cluster.kill(&nodes).await?;
                stage.cluster.start(&nodes).await?;
                wait::until("the NameNode answers, and all have reported", patience(), || async {
                    let report = stage.dfs.report().await?;
                    let reported =
                        report.nodes.iter().filter(|node| node.reported && node.state == NodeState::Live);
                    let reported = reported.count();
                    ensure!(reported == nodes.len() && report.missing == 0, "{reported} have reported");
                    anyhow::Ok(())
                })
                .await?;
                told((), format!("all is known after {:.1} s", stage.recovered(since).as_secs_f64()))
            })
            .await?;
    }
    stage
        .step("nothing was copied or deleted for it", async {
            let fsck = health::until_clean(&stage.dfs).await?;
            told((), health::numbers(&fsck.summary))
        })
        .await
}
