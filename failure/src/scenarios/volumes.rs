//! What happens to one volume of a DataNode, mostly behind its back, while the node and its other volume go on.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dfs_client::{NodeReport, NodeState};
use dfs_e2e::wait;
use dfs_types::VolumeHealth;

use super::{DISKS, Scenario, USUAL, busiest};
use crate::cluster::{Capability, Daemon, Shape};
use crate::health::{self, Fsck, patience};
use crate::stage::{Played, Stage, done, told};

/// Two small disks for each DataNode, and little patience with them.
const HANGING: Shape = Shape { disk_patience: (Duration::from_secs(2), Duration::from_secs(20)), ..DISKS };
/// Files that are written while something is wrong: enough that each disk would get some.
const FILES: usize = 12;
/// Two directories for each DataNode.
const TWO: Shape = Shape { volumes: 2, ..USUAL };

pub(super) fn list() -> Vec<Scenario> {
    const GROUP: &str = "Volumes";
    vec![
        Scenario {
            name: "hung-volume",
            group: GROUP,
            title: "one of two disks of a DataNode hangs, comes back, and hangs for good: nobody waits for it",
            needs: &[Capability::HangingDisk],
            shape: HANGING,
            leaves_whole: false,
            play: |stage| Box::pin(hung(stage)),
        },
        Scenario {
            name: "disk-filled-by-others",
            group: GROUP,
            title: "something else fills the disks of a DataNode: it serves and deletes what it has, also after a restart",
            needs: &[Capability::FullDisk, Capability::Disk],
            shape: DISKS,
            leaves_whole: true,
            play: |stage| Box::pin(filled_by_others(stage)),
        },
        Scenario {
            name: "replica-removed",
            group: GROUP,
            title: "somebody removes replicas from the disk of a running DataNode: they are made anew",
            needs: &[Capability::Disk, Capability::Volumes],
            shape: TWO,
            leaves_whole: true,
            play: |stage| Box::pin(replica_removed(stage)),
        },
        Scenario {
            name: "volume-emptied",
            group: GROUP,
            title: "somebody empties one of two volumes of a running DataNode: it is out of use and stays so after a restart",
            needs: &[Capability::Volumes],
            shape: TWO,
            leaves_whole: false,
            play: |stage| Box::pin(emptied(stage)),
        },
        Scenario {
            name: "volumes-exchanged",
            group: GROUP,
            title: "volumes of two DataNodes are exchanged: neither uses the other's, running or at a start",
            needs: &[Capability::Volumes],
            shape: TWO,
            leaves_whole: false,
            play: |stage| Box::pin(exchanged(stage)),
        },
    ]
}

/// Waits until so many of a node's volumes are like that, while it is alive, and answers what it is told as.
async fn until_volumes(
    stage: &Stage,
    node: Daemon,
    health: VolumeHealth,
    count: usize,
) -> Result<NodeReport> {
    let what = format!("{count} volumes of {node} are told as {}", health.name());
    wait::until(&what, patience(), || async {
        let found = health::node(&stage.dfs, stage.cluster.as_ref(), node).await?;
        let those = found.volumes_that_are(health);
        ensure!(those == count, "{those} are");
        ensure!(found.state == NodeState::Live, "the node is {:?}", found.state);
        anyhow::Ok(found)
    })
    .await
}

async fn hung(stage: &Stage) -> Played {
    let before = stage.fill_with(8, 700_000).await?;
    let victim = stage.step("choose a DataNode", async { done(busiest(stage, &before).await?) }).await?;
    stage
        .step("a disk that hangs is suspect, and healthy again by itself when it goes on", async {
            stage.cluster.hang_volume(victim, 1).await?;
            until_volumes(stage, victim, VolumeHealth::Suspect, 1).await?;
            stage.cluster.heal().await?;
            let found = until_volumes(stage, victim, VolumeHealth::Healthy, 2).await?;
            told((), format!("{victim}, {} replicas stayed", found.replicas))
        })
        .await?;
    let since = Instant::now();
    stage
        .step("it hangs again: files are written all the same", async {
            stage.cluster.hang_volume(victim, 1).await?;
            stage.put_files("meanwhile", FILES, 300_000).await?;
            done(())
        })
        .await?;
    stage.all_is_there("and read").await?;
    stage.recovered(since);
    stage
        .step("it hangs for good: the volume has failed, the node is alive", async {
            until_volumes(stage, victim, VolumeHealth::Failed, 1).await?;
            stage.measure(|measures| measures.detection = Some(since.elapsed()));
            done(())
        })
        .await?;
    stage
        .step("what is deleted goes from the other disks", async {
            let path = stage.path("file-1")?;
            stage.files.let_go(&path).context("the first file is known")?;
            stage.dfs.delete(&path, false).await?;
            wait::until("no deletion is under way", patience(), || async {
                let pending = stage.dfs.report().await?.pending_deletions;
                ensure!(pending == 0, "{pending} are");
                anyhow::Ok(())
            })
            .await?;
            done(())
        })
        .await?;
    stage.replicated_again(since, &before).await?;
    back_in_use(stage, victim).await
}

/// The disk is mended and the node started anew.
async fn back_in_use(stage: &Stage, victim: Daemon) -> Played {
    stage
        .step("the disk is mended and the DataNode restarted: the volume is used again", async {
            stage.cluster.heal().await?;
            stage.cluster.stop(victim).await?;
            stage.cluster.start(&[victim]).await?;
            stage.cluster.wait_ready().await?;
            until_volumes(stage, victim, VolumeHealth::Healthy, 2).await?;
            done(())
        })
        .await
}

async fn filled_by_others(stage: &Stage) -> Played {
    let before = stage.fill_with(8, 700_000).await?;
    let victim = stage
        .step("not one byte more fits on the disks of a DataNode", async {
            let victim = busiest(stage, &before).await?;
            stage.cluster.fill(victim).await?;
            told(victim, victim.to_string())
        })
        .await?;
    stage
        .step("files are written on the others", async {
            stage.put_files("meanwhile", FILES, 300_000).await?;
            done(())
        })
        .await?;
    stage
        .step("it is killed and started again, and has all that it had", async {
            stage.cluster.kill(&[victim]).await?;
            stage.cluster.fill(victim).await?;
            stage.cluster.start(&[victim]).await?;
            stage.cluster.wait_ready().await?;
            let after = health::until_clean(&stage.dfs).await?;
            told((), health::numbers(&after.summary))
        })
        .await?;
    stage
        .step("what is deleted goes from the full disks too", async {
            let path = stage.path("file-1")?;
            let gone = chunks_of(&before, path.as_str());
            ensure!(!gone.is_empty(), "the first file has no chunk");
            stage.files.let_go(&path).context("the first file is known")?;
            stage.dfs.delete(&path, false).await?;
            wait::until("its replicas are gone", patience(), || async {
                let left = stage.cluster.replicas(victim).await?;
                let left = left.iter().filter(|replica| gone.contains(&replica.chunk)).count();
                ensure!(left == 0, "{left} are there");
                anyhow::Ok(())
            })
            .await?;
            done(())
        })
        .await?;
    stage.all_is_there("every file is read").await
}

fn chunks_of(fsck: &Fsck, path: &str) -> Vec<dfs_types::ChunkId> {
    fsck.chunks.iter().filter(|(of, _)| of == path).map(|(_, chunk)| chunk.chunk).collect()
}

async fn replica_removed(stage: &Stage) -> Played {
    let before = stage.fill_with(6, 700_000).await?;
    let (victim, removed) = stage
        .step("replicas of a DataNode are removed behind its back", async {
            let victim = busiest(stage, &before).await?;
            let all = stage.cluster.replicas(victim).await?;
            let removed: Vec<_> = all.iter().map(|replica| replica.chunk).take(2).collect();
            for chunk in &removed {
                stage.cluster.remove_replica(victim, *chunk).await?;
            }
            ensure!(!removed.is_empty(), "{victim} has none");
            told((victim, removed.clone()), format!("{} of {victim}", removed.len()))
        })
        .await?;
    let since = Instant::now();
    stage.all_is_there("every file is read").await?;
    stage
        .step("the loss is noticed: nobody counts on what is not there", async {
            wait::until("every replica that is told of is on its disk", patience(), || async {
                let fsck = Fsck::run(&stage.dfs).await?;
                let address = stage.cluster.address(victim).await?;
                let stored = stage.cluster.replicas(victim).await?;
                for chunk in &removed {
                    let told = fsck.chunks.iter().any(|(_, found)| {
                        found.chunk == *chunk && found.nodes.iter().any(|node| node.address() == address)
                    });
                    let there = stored.iter().any(|replica| replica.chunk == *chunk);
                    ensure!(told == there, "chunk {chunk}: told {told}, there {there}");
                }
                anyhow::Ok(())
            })
            .await?;
            stage.measure(|measures| measures.detection = Some(since.elapsed()));
            done(())
        })
        .await?;
    stage.replicated_again(since, &before).await.map(drop)
}

async fn emptied(stage: &Stage) -> Played {
    let before = stage.fill_with(8, 700_000).await?;
    let victim = stage
        .step("a volume of a running DataNode is emptied", async {
            let victim = busiest(stage, &before).await?;
            stage.cluster.empty_volume(victim, 2).await?;
            told(victim, format!("{victim}, volume 2 of 2"))
        })
        .await?;
    let since = Instant::now();
    stage
        .step("the volume is told as failed, and the node is alive", async {
            until_volumes(stage, victim, VolumeHealth::Failed, 1).await?;
            stage.measure(|measures| measures.detection = Some(since.elapsed()));
            done(())
        })
        .await?;
    stage.all_is_there("every file is read").await?;
    stage.replicated_again(since, &before).await?;
    stage
        .step("after a restart it is still out of use, and nothing was written there", async {
            stage.cluster.stop(victim).await?;
            stage.cluster.start(&[victim]).await?;
            stage.cluster.wait_ready().await?;
            // It has opened its volumes now; what is told of them may still be from before.
            let there = stage.cluster.on_volume(victim, 2).await?;
            ensure!(there.is_empty(), "it has {} now", there.join(", "));
            until_volumes(stage, victim, VolumeHealth::Failed, 1).await?;
            done(())
        })
        .await
}

async fn exchanged(stage: &Stage) -> Played {
    let before = stage.fill_with(8, 700_000).await?;
    let (one, other) = stage
        .step("the second volumes of two running DataNodes are exchanged", async {
            let one = busiest(stage, &before).await?;
            let other = stage.datanodes().await?.into_iter().find(|node| *node != one);
            let other = other.context("there are more")?;
            stage.cluster.exchange_volumes(one, other, 2).await?;
            told((one, other), format!("{one} and {other}"))
        })
        .await?;
    let since = Instant::now();
    stage
        .step("both tell them as failed", async {
            for node in [one, other] {
                until_volumes(stage, node, VolumeHealth::Failed, 1).await?;
            }
            stage.measure(|measures| measures.detection = Some(since.elapsed()));
            done(())
        })
        .await?;
    stage.all_is_there("every file is read").await?;
    stage.replicated_again(since, &before).await?;
    stage
        .step("neither starts with the other's volume", async {
            for node in [one, other] {
                stage.cluster.stop(node).await?;
            }
            for node in [one, other] {
                if stage.cluster.start(&[node]).await.is_ok() {
                    bail!("{node} uses a volume of another node");
                }
            }
            done(())
        })
        .await?;
    stage
        .step("in their own places they are used again, with what they had", async {
            stage.cluster.exchange_volumes(one, other, 2).await?;
            stage.cluster.start(&[one, other]).await?;
            stage.cluster.wait_ready().await?;
            for node in [one, other] {
                until_volumes(stage, node, VolumeHealth::Healthy, 2).await?;
            }
            done(())
        })
        .await
}
