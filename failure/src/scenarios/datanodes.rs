//! DataNodes that stop, die and come back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use dfs_client::{CreateOptions, Dfs, NodeState};
use dfs_e2e::wait;
use dfs_types::{ErrorCode, FsPath};

use super::{Scenario, USUAL, busiest, tree};
use crate::cluster::Daemon;
use crate::files::{Files, options};
use crate::health::{self, Fsck, patience};
use crate::stage::{Played, Stage, Told, degraded, done, told};
use crate::traffic::Traffic;

/// How long a client tries where it is known that it can't succeed.
const IN_VAIN: Duration = Duration::from_secs(4);
/// How often copying is looked at.
const LOOK: Duration = Duration::from_millis(20);

pub(super) fn list() -> Vec<Scenario> {
    const GROUP: &str = "DataNodes";
    vec![
        Scenario {
            name: "one-datanode",
            group: GROUP,
            title: "one DataNode is stopped: nobody notices, and it comes back",
            needs: &[],
            shape: USUAL,
            leaves_whole: true,
            play: |stage| Box::pin(one_datanode(stage)),
        },
        Scenario {
            name: "several-datanodes",
            group: GROUP,
            title: "DataNodes die up to and past what replication can survive",
            needs: &[],
            shape: USUAL,
            leaves_whole: true,
            play: |stage| Box::pin(several_datanodes(stage)),
        },
        Scenario {
            name: "automatic-recovery",
            group: GROUP,
            title: "a DataNode is killed: found out, made up for, and its surplus goes when it is back",
            needs: &[],
            shape: USUAL,
            leaves_whole: true,
            play: |stage| Box::pin(automatic_recovery(stage)),
        },
    ]
}

/// Writes one more file.
async fn upload(stage: &Stage, name: &str) -> Result<()> {
    let path = stage.path(name)?;
    Ok(stage.files.put(&stage.dfs, &path, stage.content(500_000), options()).await?)
}

async fn one_datanode(stage: &Stage) -> Played {
    let before = stage.fill_with(8, 700_000).await?;
    let traffic = Traffic::begin(stage, "meanwhile", 1).await?;
    let (victim, since) = stage
        .step("a DataNode is stopped", async {
            let victim = busiest(stage, &before).await?;
            let held = health::node(&stage.dfs, stage.cluster.as_ref(), victim).await?.replicas;
            stage.cluster.stop(victim).await?;
            told((victim, Instant::now()), format!("{victim}, which holds {held} replicas"))
        })
        .await?;
    stage.all_is_there("every file is read from the other replicas").await?;
    stage.recovered(since);
    stage.step("new files are taken", async { done(upload(stage, "without-it").await?) }).await?;
    stage
        .step("the NameNode gives it up when its grace is over", async {
            health::until_state(&stage.dfs, stage.cluster.as_ref(), victim, NodeState::Dead).await?;
            stage.measure(|measures| measures.detection = Some(since.elapsed()));
            done(())
        })
        .await?;
    stage
        .step("its replicas are made anew on the others", async {
            let report = wait::until("no chunk is below target", patience(), || async {
                let report = stage.dfs.report().await?;
                ensure!(report.under_replicated == 0, "{} chunks are below target", report.under_replicated);
                anyhow::Ok(report)
            })
            .await?;
            stage.measure(|measures| measures.replication = Some(since.elapsed()));
            told((), format!("{} chunks", report.chunks))
        })
        .await?;
    traffic.end(stage).await?;
    comes_back(stage, victim, &before).await
}

/// A DataNode is started again, and what is too much then goes.
async fn comes_back(stage: &Stage, node: Daemon, before: &Fsck) -> Played {
    stage
        .step("it comes back", async {
            stage.cluster.start(&[node]).await?;
            health::until_state(&stage.dfs, stage.cluster.as_ref(), node, NodeState::Live).await?;
            let surplus = stage.dfs.report().await?.over_replicated;
            told((), format!("{node} is live, {surplus} chunks have more replicas than they want"))
        })
        .await?;
    stage
        .step("surplus replicas go", async {
            let after = health::until_clean(&stage.dfs).await?;
            stage.measure(|measures| measures.copied_bytes += after.copied_since(before));
            told((), health::numbers(&after.summary))
        })
        .await
}

/// A client that gives up soon.
async fn hasty(stage: &Stage) -> Result<Dfs> {
    let builder = stage.cluster.client().await?;
    Ok(builder.call_budget(IN_VAIN).transfer_budget(IN_VAIN).connect().await?)
}

/// Reads all files: those with a replica on a node that runs must be right, of the others each must be an error in
/// words or right.
async fn read_what_can_be(stage: &Stage, fsck: &Fsck, dead: &[String]) -> Result<(usize, Vec<String>)> {
    let dfs = hasty(stage).await?;
    let (mut right, mut errors) = (0, Vec::new());
    for (path, kept) in stage.files.all() {
        let lost = fsck.chunks.iter().any(|(of, chunk)| {
            *of == path.as_str() && chunk.nodes.iter().all(|node| dead.contains(&node.address()))
        });
        match Files::compare(&dfs, &path, kept).await {
            Ok(()) => right += 1,
            Err(error) if lost => {
                let text = format!("{error:#}");
                ensure!(!text.contains("WRONG BYTES"), "{text}");
                errors.push(text);
            }
            Err(error) => bail!("{path} has replicas on nodes that run, and: {error:#}"),
        }
    }
    Ok((right, errors))
}

async fn several_datanodes(stage: &Stage) -> Played {
    stage.fill_with(8, 700_000).await?;
    let fragile = stage
        .step("store a file with a single replica, the first to be lost", async {
            let path = stage.path("fragile")?;
            let options = CreateOptions { replication: Some(1), ..options() };
            stage.files.put(&stage.dfs, &path, stage.content(200_000), options).await?;
            done(path)
        })
        .await?;
    let (order, fsck) = stage
        .step("choose in which order DataNodes die", async {
            let fsck = health::until_clean(&stage.dfs).await?;
            let holder = holder_of(&fsck, &fragile)?;
            let first = health::daemon_at(stage.cluster.as_ref(), &holder).await?;
            let mut order = vec![first];
            order.extend(stage.datanodes().await?.into_iter().filter(|node| *node != first));
            told((order.clone(), fsck), order.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
        })
        .await?;
    let since = Instant::now();
    two_die(stage, &order, &fsck, &fragile).await?;
    stage.shows_damage(since).await?;
    third_dies(stage, &order).await?;
    fourth_dies(stage, &order).await?;
    stage
        .step("all DataNodes return", async {
            stage.cluster.start(&order).await?;
            stage.cluster.wait_ready().await?;
            done(())
        })
        .await?;
    stage.all_is_there("everything can be read again").await?;
    stage.recovered(since);
    stage.replicated_again(since, &fsck).await?;
    Ok(())
}

fn holder_of(fsck: &Fsck, path: &FsPath) -> Result<String> {
    let chunk = fsck.chunks.iter().find(|(of, _)| of == path.as_str()).map(|(_, chunk)| chunk);
    let node = chunk.and_then(|chunk| chunk.nodes.first());
    node.map(dfs_client::Endpoint::address).with_context(|| format!("{path} lies nowhere"))
}

/// As many as replication survives: only what had a single replica is lost.
async fn two_die(stage: &Stage, order: &[Daemon], fsck: &Fsck, fragile: &FsPath) -> Played {
    let dead = stage
        .step("two of five DataNodes are killed at once", async {
            let mut dead = Vec::new();
            for node in &order[..2] {
                dead.push(stage.cluster.address(*node).await?);
            }
            stage.cluster.kill(&order[..2]).await?;
            told(dead, format!("{} and {}", order[0], order[1]))
        })
        .await?;
    stage
        .step("what has a replica left is read, what has none is an error in words", async {
            let (right, errors) = read_what_can_be(stage, fsck, &dead).await?;
            let [error] = errors.as_slice() else { bail!("only {fragile} is lost, but: {errors:?}") };
            ensure!(
                error.contains("replica") || error.contains("node"),
                "the error does not say what is wrong: {error}"
            );
            told((), format!("{right} files are right; one: {error}"))
        })
        .await?;
    stage.step("new files are taken", async { done(upload(stage, "on-three").await?) }).await
}

/// Two nodes are left: as many as `min_replicas`.
async fn third_dies(stage: &Stage, order: &[Daemon]) -> Played {
    stage
        .step("a third one is killed", async {
            stage.cluster.kill(&order[2..3]).await?;
            // Until then the NameNode would choose it, and the writer have to find out.
            until_not_live(stage, order[2]).await?;
            told((), order[2].to_string())
        })
        .await?;
    stage
        .step("new files are taken, with as few replicas as may be", async {
            upload(stage, "on-two").await?;
            let fsck = Fsck::run(&stage.dfs).await?;
            let least = fsck.chunks.iter().filter(|(path, _)| path.ends_with("/on-two"));
            let replicas = least.map(|(_, chunk)| chunk.nodes.len()).min().unwrap_or(0);
            ensure!(replicas == 2, "it has {replicas} replicas, not 2");
            degraded((), "2 replicas of 3")
        })
        .await
}

/// One node is left: less than `min_replicas`.
async fn fourth_dies(stage: &Stage, order: &[Daemon]) -> Played {
    stage
        .step("a fourth one is killed", async {
            stage.cluster.kill(&order[3..4]).await?;
            until_not_live(stage, order[3]).await?;
            told((), order[3].to_string())
        })
        .await?;
    stage
        .step("new files are refused, in words", async {
            let (dfs, path) = (hasty(stage).await?, stage.path("refused")?);
            let put = stage.files.put(&dfs, &path, stage.content(500_000), options()).await;
            let Err(error) = put else { bail!("it was taken, though only one DataNode runs") };
            ensure!(error.code == ErrorCode::NotEnoughNodes, "{} is the wrong error: {error}", error.code);
            told((), format!("{error}"))
        })
        .await
}

async fn until_not_live(stage: &Stage, node: Daemon) -> Result<()> {
    wait::until(&format!("the NameNode notices that {node} is silent"), patience(), || async {
        let state = health::node(&stage.dfs, stage.cluster.as_ref(), node).await?.state;
        ensure!(state != NodeState::Live, "it is taken for live");
        anyhow::Ok(())
    })
    .await
}

async fn automatic_recovery(stage: &Stage) -> Played {
    stage.fill_with(48, 700_000).await?;
    stage
        .step("store files with two replicas, which are more urgent when one is lost", async {
            for number in 1..=12 {
                let path = stage.path(&format!("two-{number}"))?;
                let options = CreateOptions { replication: Some(2), ..options() };
                stage.files.put(&stage.dfs, &path, stage.content(500_000), options).await?;
            }
            done(())
        })
        .await?;
    let (victim, before, names) = stage
        .step("choose a DataNode", async {
            let before = health::until_clean(&stage.dfs).await?;
            let victim = busiest(stage, &before).await?;
            let names = tree(&stage.dfs, &FsPath::root()).await?;
            told((victim, before, names), victim.to_string())
        })
        .await?;
    let since = Instant::now();
    stage.step("kill -9", async { done(stage.cluster.kill(&[victim]).await?) }).await?;
    stage
        .step("heartbeats are missed, and the node is given up", async {
            health::until_state(&stage.dfs, stage.cluster.as_ref(), victim, NodeState::Dead).await?;
            stage.measure(|measures| measures.detection = Some(since.elapsed()));
            done(())
        })
        .await?;
    stage
        .step("chunks with one replica left are copied first, then the others", copied_in_order(stage))
        .await?;
    stage.replicated_again(since, &before).await?;
    stage.all_is_there("every file is as it was").await?;
    comes_back(stage, victim, &before).await?;
    stage
        .step("the namespace is the same", async {
            ensure!(tree(&stage.dfs, &FsPath::root()).await? == names, "files changed");
            told((), format!("{} names", names.len()))
        })
        .await
}

/// Waits until no chunk is below target, and fails if those with a replica to spare get theirs before those with one left.
async fn copied_in_order(stage: &Stage) -> Result<Told> {
    let below = || async {
        let report = stage.dfs.report().await?;
        anyhow::Ok((report.only_one_copy, report.under_replicated - report.only_one_copy))
    };
    let since = Instant::now();
    let (urgent_first, others_first) = below().await?;
    let mut others_left = None;
    loop {
        let (urgent, others) = below().await?;
        ensure!(
            urgent * 2 <= urgent_first || others * 2 >= others_first,
            "{urgent} of {urgent_first} chunks still have one replica, and only {others} of {others_first} others lack any"
        );
        if urgent == 0 {
            others_left.get_or_insert((others, since.elapsed()));
        }
        if urgent + others == 0 {
            break;
        }
        ensure!(since.elapsed() < patience(), "{urgent} chunks have one replica, {others} others too few");
        tokio::time::sleep(LOOK).await;
    }
    match others_left {
        Some((others, after)) if others > 0 && urgent_first > 0 => {
            let note = format!(
                "{urgent_first} of them after {:.1} s, when {others} of {others_first} others were still to be copied",
                after.as_secs_f64()
            );
            told((), note)
        }
        Some(_) | None => degraded((), "all were done before anybody could see which came first"),
    }
}
