//! DataNodes that are slow, silent for a while, or come and go.

use std::time::{Duration, Instant};

use anyhow::ensure;
use dfs_client::NodeState;
use dfs_e2e::wait;

use super::{DISKS, Scenario, USUAL, busiest};
use crate::cluster::Capability;
use crate::files::{Files, options};
use crate::health::{self, patience};
use crate::stage::{Played, Stage, degraded, done, told};
use crate::traffic::Traffic;

/// Bytes a second of a disk that is about to die.
const SLOW: u64 = 64 << 10;
/// How often a DataNode goes and comes.
const FLAPS: usize = 4;

pub(super) fn list() -> Vec<Scenario> {
    const GROUP: &str = "Slow and flapping";
    vec![
        Scenario {
            name: "silent-node",
            group: GROUP,
            title: "a DataNode is held (SIGSTOP) with its connections open: clients pass it by",
            needs: &[Capability::Pause],
            shape: USUAL,
            leaves_whole: true,
            play: |stage| Box::pin(silent(stage)),
        },
        Scenario {
            name: "flapping-node",
            group: GROUP,
            title: "a DataNode dies and returns again and again: nothing is copied in vain for long",
            needs: &[],
            shape: USUAL,
            leaves_whole: true,
            play: |stage| Box::pin(flapping(stage)),
        },
        Scenario {
            name: "slow-disk",
            group: GROUP,
            title: "the disk of a DataNode becomes a thousand times slower",
            needs: &[Capability::SlowDisk],
            shape: DISKS,
            leaves_whole: true,
            play: |stage| Box::pin(slow_disk(stage)),
        },
    ]
}

async fn silent(stage: &Stage) -> Played {
    let before = stage.fill_with(6, 700_000).await?;
    let victim = stage
        .step("a DataNode is held in the middle of what it does", async {
            let victim = busiest(stage, &before).await?;
            stage.cluster.pause(victim).await?;
            told(victim, victim.to_string())
        })
        .await?;
    let since = Instant::now();
    stage.all_is_there("reads turn to other replicas").await?;
    stage.recovered(since);
    stage
        .step("new files are written around it", async {
            let path = stage.path("around")?;
            stage.files.put(&stage.dfs, &path, stage.content(700_000), options()).await?;
            done(())
        })
        .await?;
    stage
        .step("it is found to be stale, and later dead", async {
            health::until_state(&stage.dfs, stage.cluster.as_ref(), victim, NodeState::Dead).await?;
            stage.measure(|measures| measures.detection = Some(since.elapsed()));
            done(())
        })
        .await?;
    stage.replicated_again(since, &before).await?;
    stage
        .step("it goes on, and nothing that it says is out of date", async {
            stage.cluster.resume(victim).await?;
            health::until_state(&stage.dfs, stage.cluster.as_ref(), victim, NodeState::Live).await?;
            done(())
        })
        .await
}

async fn flapping(stage: &Stage) -> Played {
    let before = stage.fill_with(6, 700_000).await?;
    let victim = stage.step("choose a DataNode", async { done(busiest(stage, &before).await?) }).await?;
    let traffic = Traffic::begin(stage, "meanwhile", 1).await?;
    stage
        .step(&format!("{victim} dies and returns {FLAPS} times"), async {
            for _ in 0..FLAPS {
                stage.cluster.kill(&[victim]).await?;
                // Silent for long enough to be stale, not for long enough to be dead.
                wait::until("it is stale", patience(), || async {
                    let state = health::node(&stage.dfs, stage.cluster.as_ref(), victim).await?.state;
                    ensure!(state != NodeState::Live, "it is {state:?}");
                    anyhow::Ok(())
                })
                .await?;
                stage.cluster.start(&[victim]).await?;
                health::until_state(&stage.dfs, stage.cluster.as_ref(), victim, NodeState::Live).await?;
            }
            done(())
        })
        .await?;
    traffic.end(stage).await?;
    stage
        .step("hardly anything was copied for it", async {
            let after = health::until_clean(&stage.dfs).await?;
            let old: u64 = before.chunks.iter().map(|(_, chunk)| chunk.length).sum();
            let old_chunks: std::collections::BTreeSet<_> =
                before.chunks.iter().map(|(_, chunk)| chunk.chunk).collect();
            let there = before.placed();
            let placed = after.placed();
            let moved = placed
                .difference(&there)
                .filter(|(_, chunk, _)| old_chunks.contains(chunk))
                .map(|(_, _, bytes)| bytes)
                .sum::<u64>();
            stage.measure(|measures| measures.copied_bytes += moved);
            ensure!(
                moved <= old,
                "{moved} bytes of {old} were copied for a node that was never away for long"
            );
            told((), format!("{moved} bytes"))
        })
        .await
}

async fn slow_disk(stage: &Stage) -> Played {
    let before = stage.fill_with(6, 700_000).await?;
    let victim = stage
        .step("the disk of a DataNode becomes very slow", async {
            let victim = busiest(stage, &before).await?;
            stage.cluster.throttle(victim, SLOW).await?;
            told(victim, format!("{victim}: {} KiB/s", SLOW >> 10))
        })
        .await?;
    let since = Instant::now();
    stage.all_is_there("every file is read, from other replicas where that is faster").await?;
    stage.recovered(since);
    stage
        .step("new files are written", async {
            let began = Instant::now();
            for number in 1..=3 {
                let path = stage.path(&format!("slowly-{number}"))?;
                let kept = stage.content(600_000);
                stage.files.put(&stage.dfs, &path, kept, options()).await?;
                Files::compare(&stage.dfs, &path, kept).await?;
            }
            let took = began.elapsed();
            if took > Duration::from_secs(10) {
                return degraded((), format!("3 files took {:.1} s", took.as_secs_f64()));
            }
            told((), format!("3 files took {:.1} s", took.as_secs_f64()))
        })
        .await?;
    stage
        .step("it is alive all the time: slow is not dead", async {
            let state = health::node(&stage.dfs, stage.cluster.as_ref(), victim).await?.state;
            ensure!(state == NodeState::Live, "{victim} is {state:?}");
            done(())
        })
        .await
}
