//! Networks that fall apart, and clocks that do.

use std::time::{Duration, Instant};

use anyhow::ensure;
use dfs_client::NodeState;

use super::{GROUP, Scenario, USUAL};
use crate::cluster::{Capability, Cut, Daemon, Party, Shape};
use crate::health;
use crate::stage::{Played, Stage, degraded, done, told};
use crate::traffic::Traffic;

/// How long clients work while something is cut off.
const WHILE: Duration = Duration::from_secs(3);
/// How wrong a clock may be, in seconds.
const HOURS: i64 = 3_600;

pub(super) fn list() -> Vec<Scenario> {
    const NAME: &str = "Network and clocks";
    vec![
        Scenario {
            name: "datanodes-cut-off",
            group: NAME,
            title: "the NameNode loses two DataNodes that clients still reach and write to",
            needs: &[Capability::Network],
            shape: USUAL,
            leaves_whole: true,
            play: |stage| Box::pin(datanodes_cut_off(stage)),
        },
        Scenario {
            name: "leader-cut-off",
            group: NAME,
            title: "the leading NameNode is cut off from everybody, then only hears and is not heard",
            needs: &[Capability::Network],
            shape: GROUP,
            leaves_whole: true,
            play: |stage| Box::pin(leader_cut_off(stage)),
        },
        Scenario {
            name: "wrong-clocks",
            group: NAME,
            title: "the clocks of the NameNode and a DataNode jump by hours: nobody is declared dead",
            needs: &[Capability::Clock],
            shape: Shape { clocks: true, ..Shape::new(1, 3) },
            leaves_whole: true,
            play: |stage| Box::pin(wrong_clocks(stage)),
        },
    ]
}

async fn datanodes_cut_off(stage: &Stage) -> Played {
    let before = stage.fill_with(8, 700_000).await?;
    let traffic = Traffic::begin(stage, "meanwhile", 2).await?;
    let lost = [Daemon::DataNode(1), Daemon::DataNode(2)];
    stage
        .step("the network between the NameNode and two DataNodes breaks", async {
            cut_off(stage, &lost).await?;
            told((), "clients and the other DataNodes still reach them")
        })
        .await?;
    let since = Instant::now();
    stage.all_is_there("every file is read").await?;
    stage
        .step("the NameNode gives both up", async {
            for node in lost {
                health::until_state(&stage.dfs, stage.cluster.as_ref(), node, NodeState::Dead).await?;
            }
            stage.measure(|measures| measures.detection = Some(since.elapsed()));
            done(())
        })
        .await?;
    traffic.end(stage).await?;
    stage.all_is_there("every file is read without both").await?;
    stage
        .step("new files are taken", async {
            let path = stage.path("without-both")?;
            stage.files.put(&stage.dfs, &path, stage.content(700_000), crate::files::options()).await?;
            done(())
        })
        .await?;
    stage.replicated_again(since, &before).await?;
    stage
        .step("the network is back, both are live again and surplus goes", async {
            let healed = Instant::now();
            stage.cluster.heal().await?;
            for node in lost {
                health::until_state(&stage.dfs, stage.cluster.as_ref(), node, NodeState::Live).await?;
            }
            let took = stage.recovered(healed);
            let fsck = health::until_clean(&stage.dfs).await?;
            told((), format!("after {:.1} s; {}", took.as_secs_f64(), health::numbers(&fsck.summary)))
        })
        .await
}

/// Neither the NameNode nor these DataNodes hear the other.
async fn cut_off(stage: &Stage, nodes: &[Daemon]) -> anyhow::Result<()> {
    let namenode = Party::Daemon(Daemon::NameNode(1));
    let nodes: Vec<Party> = nodes.iter().copied().map(Party::Daemon).collect();
    stage.cluster.part(&nodes, &[namenode], Cut::BothWays).await
}

async fn leader_cut_off(stage: &Stage) -> Played {
    stage.fill_with(4, 700_000).await?;
    let traffic = Traffic::begin(stage, "meanwhile", 2).await?;
    for (cut, title) in [
        (Cut::BothWays, "the leader is cut off from everybody"),
        (Cut::OneWay, "the leader hears and is not heard"),
    ] {
        stage
            .step(title, async {
                let all = stage.cluster.daemons().await?;
                let leader = stage.cluster.leader().await?;
                let mut others: Vec<_> =
                    all.into_iter().filter(|daemon| *daemon != leader).map(Party::Daemon).collect();
                others.push(Party::Clients);
                let since = Instant::now();
                stage.cluster.part(&[Party::Daemon(leader)], &others, cut).await?;
                let path = stage.path(&format!("without-{cut:?}"))?;
                stage.files.put(&stage.dfs, &path, stage.content(1_000), crate::files::options()).await?;
                let took = stage.recovered(since);
                stage.measure(|measures| measures.detection = Some(took));
                // Others lead by now; how it takes being back after a while is what is tried.
                tokio::time::sleep(WHILE).await;
                stage.cluster.heal().await?;
                stage.cluster.wait_ready().await?;
                let now = stage.cluster.leader().await?;
                ensure!(now != leader || took < WHILE, "nobody else led");
                told((), format!("{leader}; another one served after {:.1} s", took.as_secs_f64()))
            })
            .await?;
    }
    traffic.end(stage).await
}

async fn wrong_clocks(stage: &Stage) -> Played {
    stage.fill_with(4, 700_000).await?;
    let traffic = Traffic::begin(stage, "meanwhile", 1).await?;
    for hours in [10, -10, 0] {
        stage
            .step(&format!("both clocks are {hours:+} hours wrong"), async {
                for daemon in [Daemon::NameNode(1), Daemon::DataNode(1)] {
                    stage.cluster.skew(daemon, hours * HOURS).await?;
                }
                // Time enough for everything that is measured in heartbeats to go wrong.
                tokio::time::sleep(WHILE).await;
                let report = stage.dfs.report().await?;
                let live = report.nodes.iter().filter(|node| node.state == NodeState::Live).count();
                ensure!(live == report.nodes.len(), "{live} of {} DataNodes are live", report.nodes.len());
                if hours == 0 {
                    told((), "right again")
                } else {
                    degraded((), format!("{live} DataNodes are live"))
                }
            })
            .await?;
    }
    traffic.end(stage).await
}
