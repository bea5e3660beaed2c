//! Disks of NameNodes that stand still or are full.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dfs_client::{MemberRole, NamenodeMember};
use dfs_e2e::wait;
use dfs_types::ErrorCode;

use super::Scenario;
use crate::cluster::{Capability, Daemon, Shape};
use crate::files::options;
use crate::health::patience;
use crate::stage::{Played, Stage, done, told};
use crate::traffic::Traffic;

/// A group of NameNodes with disks of the suite's own.
const GROUP_WITH_DISKS: Shape = Shape { disks: true, ..Shape::new(3, 3) };

pub(super) fn list() -> Vec<Scenario> {
    const GROUP: &str = "NameNodes";
    vec![
        Scenario {
            name: "namenode-log-hangs",
            group: GROUP,
            title: "the disk of the leader stands still: another one leads, and no client sees an error",
            needs: &[Capability::HangingDisk],
            shape: GROUP_WITH_DISKS,
            leaves_whole: true,
            play: |stage| Box::pin(log_hangs(stage)),
        },
        Scenario {
            name: "namenode-disk-full",
            group: GROUP,
            title: "NameNodes' disks are full: another one leads, then only deleting goes on, until there is room",
            needs: &[Capability::FullDisk],
            shape: GROUP_WITH_DISKS,
            leaves_whole: true,
            play: |stage| Box::pin(disk_full(stage)),
        },
    ]
}

/// Waits until another NameNode leads.
async fn until_another_leads(stage: &Stage, former: Daemon) -> Result<Daemon> {
    wait::until("another NameNode leads", patience(), || async {
        let now = stage.cluster.leader().await?;
        ensure!(now != former, "{former} is still taken for the leader");
        anyhow::Ok(now)
    })
    .await
}

/// What the group says of a NameNode.
async fn member(stage: &Stage, daemon: Daemon) -> Result<NamenodeMember> {
    let address = stage.cluster.address(daemon).await?;
    let group = stage.cluster.client().await?.namenodes().await?;
    ensure!(group.by_leader, "no leader tells it");
    group.members.into_iter().find(|member| member.address == address).context("it is no member any more")
}

/// Waits until the group says this of a NameNode that does not lead.
async fn until_noted(stage: &Stage, daemon: Daemon, words: &str) -> Result<String> {
    wait::until("the group says what is wrong with it", patience(), || async {
        let member = member(stage, daemon).await?;
        ensure!(member.role != MemberRole::Leader, "it is taken for the leader");
        let note = member.note.context("nothing is said of it")?;
        ensure!(note.contains(words), "it says: {note}");
        anyhow::Ok(note)
    })
    .await
}

/// Waits until nothing is said of a NameNode and it has everything.
async fn until_well(stage: &Stage, daemon: Daemon) -> Result<()> {
    wait::until("it has caught up and nothing is wrong with it", patience(), || async {
        let member = member(stage, daemon).await?;
        ensure!(member.note.is_none() && member.lag < 100, "{member:?}");
        anyhow::Ok(())
    })
    .await
}

/// Something has just happened to the disk of the leader, `victim`: another one leads soon, and is of use.
async fn another_takes_over(stage: &Stage, victim: Daemon) -> Played {
    let since = Instant::now();
    stage
        .step("another NameNode leads, and files are written", async {
            let now = until_another_leads(stage, victim).await?;
            stage.measure(|measures| measures.detection = Some(since.elapsed()));
            let path = stage.path("by-another")?;
            stage.files.put(&stage.dfs, &path, stage.content(1_000), options()).await?;
            let took = stage.recovered(since);
            told((), format!("{now} after {:.1} s", took.as_secs_f64()))
        })
        .await
}

async fn log_hangs(stage: &Stage) -> Played {
    stage.fill_with(4, 700_000).await?;
    let traffic = Traffic::begin(stage, "meanwhile", 3).await?;
    let victim = stage
        .step("the disk of the leader answers nothing more", async {
            let leader = stage.cluster.leader().await?;
            stage.cluster.hang_volume(leader, 1).await?;
            told(leader, leader.to_string())
        })
        .await?;
    another_takes_over(stage, victim).await?;
    stage
        .step("the first one is told of with the reason, and takes itself for no leader", async {
            let note = until_noted(stage, victim, "has not finished a write").await?;
            told((), note)
        })
        .await?;
    stage
        .step("when its disk goes on, it catches up by itself", async {
            stage.cluster.heal().await?;
            until_well(stage, victim).await?;
            done(stage.cluster.wait_ready().await?)
        })
        .await?;
    traffic.end(stage).await
}

async fn disk_full(stage: &Stage) -> Played {
    stage.fill_with(6, 700_000).await?;
    let victim = stage
        .step("nothing more fits on the disk of the leader", async {
            let leader = stage.cluster.leader().await?;
            stage.cluster.fill(leader).await?;
            told(leader, leader.to_string())
        })
        .await?;
    another_takes_over(stage, victim).await?;
    stage
        .step("the first one is told of with the reason", async {
            let note = until_noted(stage, victim, "full").await?;
            told((), note)
        })
        .await?;
    stage
        .step("every NameNode's disk is full, and a new file is refused, in words", async {
            for number in 1..=stage.cluster.shape().namenodes {
                stage.cluster.fill(Daemon::NameNode(number)).await?;
            }
            let budget = Duration::from_secs(4);
            let dfs =
                stage.cluster.client().await?.call_budget(budget).transfer_budget(budget).connect().await?;
            let error = wait::until("it is refused", patience(), || async {
                let path = stage.path("too-much")?;
                let made =
                    dfs.create(&path, dfs_client::CreateOptions { overwrite: true, ..options() }).await;
                let Err(error) = made else { bail!("it was taken, though no disk has room") };
                ensure!(error.code == ErrorCode::NoSpace, "{} is the wrong error: {error}", error.code);
                ensure!(error.message.contains("full"), "it does not say what is wrong: {error}");
                anyhow::Ok(error)
            })
            .await?;
            told((), error.to_string())
        })
        .await?;
    stage
        .step("renaming, deleting and handing over go on", async {
            let (from, to) = (stage.path("file-1")?, stage.path("renamed")?);
            stage.dfs.rename(&from, &to, false).await?;
            let kept = stage.files.let_go(&from).context("the first file is known")?;
            stage.files.keep(to, kept);
            let gone = stage.path("file-2")?;
            stage.files.let_go(&gone).context("the second file is known")?;
            stage.dfs.delete(&gone, false).await?;
            let leader = stage.dfs.transfer_leader(None).await?;
            told((), format!("NameNode {leader} leads now"))
        })
        .await?;
    stage
        .step("NameNodes that are killed and stopped start again on their full disks", async {
            let all: Vec<_> = (1..=stage.cluster.shape().namenodes).map(Daemon::NameNode).collect();
            stage.cluster.kill(&all).await?;
            stage.cluster.start(&all).await?;
            for daemon in all {
                stage.cluster.stop(daemon).await?;
                stage.cluster.start(&[daemon]).await?;
            }
            done(stage.cluster.leader().await?)
        })
        .await?;
    stage.all_is_there("every file is read").await?;
    stage
        .step("when there is room again, files are taken again", async {
            stage.cluster.heal().await?;
            let (path, kept) = (stage.path("again")?, stage.content(700_000));
            wait::until("a file is taken", patience(), || {
                let options = dfs_client::CreateOptions { overwrite: true, ..options() };
                stage.files.put(&stage.dfs, &path, kept, options)
            })
            .await?;
            for number in 1..=stage.cluster.shape().namenodes {
                until_well(stage, Daemon::NameNode(number)).await?;
            }
            done(stage.cluster.wait_ready().await?)
        })
        .await
}
