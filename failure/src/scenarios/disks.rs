//! Disks that are full, fail, or come back empty.

use std::time::Instant;

use anyhow::{Context, bail, ensure};
use dfs_client::NodeState;
use dfs_e2e::wait;
use dfs_types::{ErrorCode, VolumeHealth};

use super::{DISKS, Scenario, USUAL, busiest};
use crate::cluster::Capability;
use crate::files::options;
use crate::health::{self, patience};
use crate::stage::{Played, Stage, degraded, done, told};

pub(super) fn list() -> Vec<Scenario> {
    const GROUP: &str = "Disks";
    vec![
        Scenario {
            name: "disks-full",
            group: GROUP,
            title: "every disk of every DataNode is full: an error in words, nothing is lost, and deleting helps",
            needs: &[Capability::FullDisk],
            shape: DISKS,
            leaves_whole: true,
            play: |stage| Box::pin(disks_full(stage)),
        },
        Scenario {
            name: "volume-lost",
            group: GROUP,
            title: "one of two volumes fails under a running DataNode: it goes on with the other",
            needs: &[Capability::FailingDisk],
            shape: DISKS,
            leaves_whole: false,
            play: |stage| Box::pin(volume_lost(stage)),
        },
        Scenario {
            name: "wiped-node",
            group: GROUP,
            title: "a DataNode loses its disks and comes back with empty ones",
            needs: &[],
            shape: USUAL,
            leaves_whole: false,
            play: |stage| Box::pin(wiped(stage)),
        },
    ]
}

async fn disks_full(stage: &Stage) -> Played {
    stage.fill_with(4, 700_000).await?;
    stage
        .step("nothing more fits on any disk", async {
            for node in stage.datanodes().await? {
                stage.cluster.fill(node).await?;
            }
            done(())
        })
        .await?;
    let since = Instant::now();
    stage
        .step("a new file is refused, in words", async {
            let (path, kept) = (stage.path("too-much")?, stage.content(4 << 20));
            let dfs = stage.cluster.client().await?.call_budget(std::time::Duration::from_secs(4));
            let dfs = dfs.transfer_budget(std::time::Duration::from_secs(4)).connect().await?;
            let Err(error) = stage.files.put(&dfs, &path, kept, options()).await else {
                bail!("it was taken, though no disk has room")
            };
            ensure!(
                matches!(error.code, ErrorCode::NoSpace | ErrorCode::NotEnoughNodes),
                "{} is the wrong error: {error}",
                error.code
            );
            let words = ["space", "room", "full"];
            ensure!(
                words.iter().any(|word| error.message.contains(word)),
                "it does not say what is wrong: {error}"
            );
            told((), error.to_string())
        })
        .await?;
    stage.all_is_there("what was there before is read").await?;
    stage
        .step("metadata can still be changed", async {
            let (from, to) = (stage.path("file-1")?, stage.path("renamed")?);
            stage.dfs.rename(&from, &to, false).await?;
            let kept = stage.files.let_go(&from).context("the first file is known")?;
            stage.files.keep(to, kept);
            done(())
        })
        .await?;
    stage
        .step("every DataNode is still alive", async {
            let report = stage.dfs.report().await?;
            let live = report.nodes.iter().filter(|node| node.state == NodeState::Live).count();
            ensure!(live == report.nodes.len(), "{live} of {} are live", report.nodes.len());
            let free: u64 =
                report.nodes.iter().flat_map(|node| &node.volumes).map(|volume| volume.available).sum();
            degraded((), format!("{live} live, {free} bytes free"))
        })
        .await?;
    stage
        .step("when there is room again, files are taken again", async {
            stage.cluster.heal().await?;
            let path = stage.path("again")?;
            let kept = stage.content(700_000);
            wait::until("a file is taken", patience(), || {
                stage.files.put(
                    &stage.dfs,
                    &path,
                    kept,
                    dfs_client::CreateOptions { overwrite: true, ..options() },
                )
            })
            .await?;
            stage.recovered(since);
            done(())
        })
        .await
}

async fn volume_lost(stage: &Stage) -> Played {
    let before = stage.fill_with(8, 700_000).await?;
    let victim = stage
        .step("one volume of a DataNode fails every request", async {
            let victim = busiest(stage, &before).await?;
            stage.cluster.lose_volume(victim, 1).await?;
            told(victim, format!("{victim}, volume 1 of 2"))
        })
        .await?;
    let since = Instant::now();
    stage.all_is_there("every file is read").await?;
    stage.recovered(since);
    stage
        .step("new files are written", async {
            for number in 1..=4 {
                let path = stage.path(&format!("without-it-{number}"))?;
                stage.files.put(&stage.dfs, &path, stage.content(700_000), options()).await?;
            }
            done(())
        })
        .await?;
    stage
        .step("the volume is told as failed, and the node as alive", async {
            let found = wait::until("the NameNode knows of it", patience(), || async {
                let found = health::node(&stage.dfs, stage.cluster.as_ref(), victim).await?;
                let failed = found.volumes_that_are(VolumeHealth::Failed);
                ensure!(failed == 1, "{failed} volumes are told as failed");
                ensure!(found.state == NodeState::Live, "the node is {:?}", found.state);
                anyhow::Ok(found)
            })
            .await?;
            stage.measure(|measures| measures.detection = Some(since.elapsed()));
            degraded(
                (),
                format!(
                    "1 of {} volumes failed, {} replicas are left there",
                    found.volumes.len(),
                    found.replicas
                ),
            )
        })
        .await?;
    stage.replicated_again(since, &before).await?;
    stage
        .step("the disk is mended and the DataNode restarted: the volume is used again", async {
            stage.cluster.heal().await?;
            stage.cluster.stop(victim).await?;
            stage.cluster.start(&[victim]).await?;
            stage.cluster.wait_ready().await?;
            let count = wait::until("no volume is told as failed", patience(), || async {
                let found = health::node(&stage.dfs, stage.cluster.as_ref(), victim).await?;
                let failed = found.volumes_that_are(VolumeHealth::Failed);
                ensure!(failed == 0 && found.volumes.len() == 2, "{failed} of {}", found.volumes.len());
                anyhow::Ok(found.volumes.len())
            })
            .await?;
            told((), format!("{count} volumes"))
        })
        .await
}

async fn wiped(stage: &Stage) -> Played {
    let before = stage.fill_with(8, 700_000).await?;
    let (victim, old) = stage
        .step("a DataNode is killed and its disks are replaced by empty ones", async {
            let victim = busiest(stage, &before).await?;
            let old = health::node(&stage.dfs, stage.cluster.as_ref(), victim).await?.node.id;
            stage.cluster.kill(&[victim]).await?;
            stage.cluster.wipe(victim).await?;
            told((victim, old), victim.to_string())
        })
        .await?;
    let since = Instant::now();
    stage
        .step("it comes back as another node", async {
            stage.cluster.start(&[victim]).await?;
            wait::until("it is live under another id", patience(), || async {
                let found = health::node(&stage.dfs, stage.cluster.as_ref(), victim).await?;
                // Until it registers, the one that was killed a moment ago is known at its address.
                ensure!(found.node.id != old, "it has the id of the node whose replicas are gone");
                ensure!(found.state == NodeState::Live && found.reported, "it is {:?}", found.state);
                anyhow::Ok(())
            })
            .await?;
            stage.recovered(since);
            done(())
        })
        .await?;
    stage.all_is_there("every file is read").await?;
    stage
        .step("the replicas it had are known to be lost", async {
            done(health::until_without(&stage.dfs, old).await?)
        })
        .await?;
    stage.measure(|measures| measures.detection = Some(since.elapsed()));
    stage.replicated_again(since, &before).await.map(drop)
}
