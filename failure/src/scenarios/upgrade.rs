//! NameNodes of two releases in one group.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dfs_client::{Dfs, Upgrade};
use dfs_e2e::wait;
use dfs_types::ErrorCode;

use super::Scenario;
use crate::cluster::{Capability, Daemon, Shape};
use crate::health::patience;
use crate::stage::{Played, Stage, done, told};
use crate::traffic::Traffic;

/// Three NameNodes and four DataNodes, begun by the release before.
const BEFORE: Shape = Shape { earlier: true, ..Shape::new(3, 4) };
/// Times that the upgrade is finalized while NameNodes die.
const KILLS: u16 = 3;
/// How long a member that must not start may take to say so.
const REFUSED_WITHIN: Duration = Duration::from_secs(30);

pub(super) fn list() -> Vec<Scenario> {
    vec![Scenario {
        name: "rolling-upgrade",
        group: "Upgrades",
        title: "NameNodes are replaced by a new release one by one, back, and again, and the upgrade is finalized",
        needs: &[Capability::Releases],
        shape: BEFORE,
        leaves_whole: false,
        play: |stage| Box::pin(rolling(stage)),
    }]
}

fn namenodes() -> impl DoubleEndedIterator<Item = Daemon> {
    (1..=BEFORE.namenodes).map(Daemon::NameNode)
}

/// Replaces a NameNode's program, as a rolling change does: it is stopped and started, and all are waited for.
async fn replace(stage: &Stage, namenode: Daemon, earlier: bool) -> Result<()> {
    stage.cluster.stop(namenode).await?;
    stage.cluster.set_release(namenode, earlier).await?;
    stage.cluster.start(&[namenode]).await?;
    stage.cluster.wait_ready().await
}

/// Waits until all members say what the leader knows of them.
async fn all_known(dfs: &Dfs, what: &str, is: impl Fn(&Upgrade) -> bool) -> Result<Upgrade> {
    wait::until(what, patience(), || async {
        let upgrade = dfs.upgrade().await?;
        ensure!(is(&upgrade), "it is {upgrade:?}");
        anyhow::Ok(upgrade)
    })
    .await
}

/// Lets the leadership go to a NameNode of the new, or of the earlier, release.
async fn lead(stage: &Stage, knows: u32) -> Result<()> {
    wait::until("a leader of that release", patience(), || async {
        let group = stage.dfs.namenodes().await?;
        let leader = group.leader().context("nobody leads")?;
        if leader.level == Some(knows) {
            return anyhow::Ok(());
        }
        let other = group.members.iter().find(|member| member.level == Some(knows));
        let other = other.context("none of that release is known yet")?.id;
        stage.dfs.transfer_leader(Some(other)).await?;
        anyhow::Ok(())
    })
    .await
}

async fn is_refused(dfs: &Dfs) -> Result<String> {
    match dfs.finalize_upgrade().await {
        Ok(upgrade) => anyhow::bail!("it was finalized: {upgrade:?}"),
        Err(error) => {
            ensure!(error.code == ErrorCode::InvalidArgument, "{error}");
            Ok(error.message)
        }
    }
}

async fn rolling(stage: &Stage) -> Played {
    stage.fill_with(4, 700_000).await?;
    let before = stage
        .step("the level is the earlier release's, and that is finalized", async {
            let Upgrade { level, highest, .. } = stage.dfs.upgrade().await?;
            ensure!(level == highest, "level {level}, and the program knows {highest}");
            told(level, format!("level {level}"))
        })
        .await?;
    let traffic = Traffic::begin(stage, "meanwhile", 2).await?;
    let first = Daemon::NameNode(1);
    stage
        .step("one NameNode is of the new release", async { done(replace(stage, first, false).await?) })
        .await?;
    stage
        .step("both releases lead in turn, and nothing of the new level is written", async {
            for knows in [before + 1, before, before + 1] {
                lead(stage, knows).await?;
                let level = stage.dfs.upgrade().await?.level;
                ensure!(level == before, "it is at level {level}");
            }
            let why = wait::until("a leader of the new release to refuse it", patience(), || async {
                // Leaders change when they like.
                lead(stage, before + 1).await?;
                is_refused(&stage.dfs).await
            })
            .await?;
            told((), why)
        })
        .await?;
    stage
        .step("all of them are, one after the other, and the DataNodes are restarted", async {
            for namenode in namenodes().skip(1) {
                replace(stage, namenode, false).await?;
            }
            for number in 1..=BEFORE.datanodes {
                stage.cluster.stop(Daemon::DataNode(number)).await?;
                stage.cluster.start(&[Daemon::DataNode(number)]).await?;
                stage.cluster.wait_ready().await?;
            }
            done(())
        })
        .await?;
    stage
        .step("all go back to the earlier release", async {
            for namenode in namenodes().rev() {
                replace(stage, namenode, true).await?;
            }
            let Upgrade { level, highest, .. } = stage.dfs.upgrade().await?;
            ensure!((level, highest) == (before, before), "level {level}, and the program knows {highest}");
            done(())
        })
        .await?;
    stage
        .step("all are of the new release again, and it is not finalized while one is away", async {
            for namenode in namenodes() {
                replace(stage, namenode, false).await?;
            }
            let known = |upgrade: &Upgrade| upgrade.highest == before + 1 && upgrade.hindrance.is_none();
            all_known(&stage.dfs, "all to be of the new release", known).await?;
            let away = follower(stage).await?;
            stage.cluster.kill(&[away]).await?;
            let gone = |upgrade: &Upgrade| upgrade.hindrance.is_some();
            all_known(&stage.dfs, "the one that is away to be missed", gone).await?;
            let why = is_refused(&stage.dfs).await?;
            stage.cluster.start(&[away]).await?;
            stage.cluster.wait_ready().await?;
            told((), why)
        })
        .await?;
    finalize(stage, before).await?;
    stage
        .step("the earlier release is refused from then on, in words", async {
            let namenode = follower(stage).await?;
            stage.cluster.stop(namenode).await?;
            stage.cluster.set_release(namenode, true).await?;
            let refused = tokio::time::timeout(REFUSED_WITHIN, stage.cluster.start(&[namenode])).await;
            let error = refused.context("it neither started nor said why not")?;
            let error = error.err().context("it started")?;
            let says = format!("{error:#}");
            for word in [format!("level {}", before + 1), format!("levels 1 to {before}")] {
                ensure!(says.contains(&word), "it says: {says}");
            }
            stage.cluster.set_release(namenode, false).await?;
            stage.cluster.start(&[namenode]).await?;
            stage.cluster.wait_ready().await?;
            done(())
        })
        .await?;
    traffic.end(stage).await?;
    stage.all_is_there("every file is there").await
}

/// A NameNode that does not lead.
async fn follower(stage: &Stage) -> Result<Daemon> {
    let leader = stage.cluster.leader().await?;
    namenodes().find(|namenode| *namenode != leader).context("there is only one NameNode")
}

/// Finalizes the upgrade while leaders and followers are killed.
async fn finalize(stage: &Stage, before: u32) -> Played {
    stage
        .step("the upgrade is finalized while NameNodes are killed", async {
            for kill in 0..KILLS {
                let victim =
                    if kill % 2 == 0 { stage.cluster.leader().await? } else { follower(stage).await? };
                let dfs = stage.dfs.clone();
                let asked = tokio::spawn(async move { dfs.finalize_upgrade().await });
                stage.cluster.kill(&[victim]).await?;
                // What it answers does not matter: it may be done or refused.
                let _answer = asked.await?;
                stage.cluster.start(&[victim]).await?;
                stage.cluster.wait_ready().await?;
            }
            let upgrade = wait::until("the upgrade to be finalized", patience(), || async {
                Ok::<_, anyhow::Error>(stage.dfs.finalize_upgrade().await?)
            })
            .await?;
            ensure!(upgrade.level == before + 1, "it is at level {}", upgrade.level);
            told((), format!("level {}", upgrade.level))
        })
        .await
}
