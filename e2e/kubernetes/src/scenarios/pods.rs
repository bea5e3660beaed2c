//! Pods that are deleted, with and without a word, while clients work.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use dfs_client::{MemberRole, NamenodeMember};
use dfs_e2e::wait;
use dfs_failure::cluster::Daemon;
use dfs_failure::files::options;
use dfs_failure::health::{self, patience};
use dfs_failure::scenarios::busiest;
use dfs_failure::stage::{Played, Stage, done, told};
use dfs_failure::traffic::Traffic;
use dfs_failure::{Cluster as _, Scenario, Shape};
use dfs_kubernetes::names::Component;
use kube::api::DeleteParams;

use super::{GROUP, cluster};

/// One NameNode, and a DataNode more than there are replicas.
const FOUR: Shape = Shape::new(1, 4);

pub(super) fn list() -> Vec<Scenario> {
    const NAME: &str = "Pods";
    vec![
        Scenario {
            name: "pod-deleted",
            group: NAME,
            title: "a DataNode's pod is deleted: nothing is copied, nobody notices",
            needs: &[],
            shape: FOUR,
            leaves_whole: true,
            play: |stage| Box::pin(deleted(stage, How::Politely)),
        },
        Scenario {
            name: "pod-deleted-by-force",
            group: NAME,
            title: "a DataNode is killed and its pod deleted by force: nobody notices",
            needs: &[],
            shape: FOUR,
            leaves_whole: true,
            play: |stage| Box::pin(deleted(stage, How::ByForce)),
        },
        Scenario {
            name: "claim-deleted",
            group: NAME,
            title: "a DataNode's pod and claim are deleted: it comes back empty, and its replicas are made anew",
            needs: &[],
            shape: FOUR,
            leaves_whole: false,
            play: |stage| Box::pin(deleted(stage, How::WithItsClaim)),
        },
        Scenario {
            name: "leader-pod-deleted",
            group: NAME,
            title: "of three NameNodes the leader's pod is deleted under load, then killed: how long nobody is served",
            needs: &[],
            shape: GROUP,
            leaves_whole: true,
            play: |stage| Box::pin(leader_deleted(stage)),
        },
        Scenario {
            name: "namenode-claim-deleted",
            group: NAME,
            title: "of three NameNodes the leader's pod and claim are deleted: it joins the others anew",
            needs: &[],
            shape: GROUP,
            leaves_whole: true,
            play: |stage| Box::pin(namenode_lost(stage)),
        },
    ]
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Politely,
    ByForce,
    WithItsClaim,
}

/// Deletes the pod of a daemon, and answers with who it was.
async fn delete(stage: &Stage, daemon: Daemon, how: How) -> Result<String> {
    let pods = cluster(stage)?;
    let component = match daemon {
        Daemon::NameNode(_) => Component::NameNode,
        Daemon::DataNode(_) => Component::DataNode,
    };
    let mut uids = pods.uids(component).await?;
    let uid = uids.remove(&pods.pod(daemon)).with_context(|| format!("{daemon} has no pod"))?;
    match how {
        How::Politely => {
            crate::objects::delete(
                &pods.api::<k8s_openapi::api::core::v1::Pod>(),
                &pods.pod(daemon),
                &DeleteParams::default(),
            )
            .await?;
        }
        How::ByForce => pods.crash(daemon).await?,
        How::WithItsClaim => pods.lose(daemon).await?,
    }
    Ok(uid)
}

async fn deleted(stage: &Stage, how: How) -> Played {
    let before = stage.fill_with(8, 700_000).await?;
    let traffic = Traffic::begin(stage, "meanwhile", 1).await?;
    let (victim, id, uid, since) = stage
        .step("the pod is deleted", async {
            let victim = busiest(stage, &before).await?;
            let id = health::node(&stage.dfs, stage.cluster.as_ref(), victim).await?.node.id;
            let uid = delete(stage, victim, how).await?;
            told((victim, id, uid, Instant::now()), victim.to_string())
        })
        .await?;
    stage
        .step("another one takes its place and serves", async {
            cluster(stage)?.until_replaced(victim, &uid).await?;
            let took = stage.recovered(since);
            told((), format!("{:.1} s", took.as_secs_f64()))
        })
        .await?;
    traffic.end(stage).await?;
    let after = stage
        .step("every chunk has all its replicas", async {
            if how == How::WithItsClaim {
                health::until_without(&stage.dfs, id).await?;
            }
            let after = health::until_clean(&stage.dfs).await?;
            let took = since.elapsed();
            stage.measure(|measures| measures.replication = Some(took));
            told(after, format!("{:.1} s after the loss", took.as_secs_f64()))
        })
        .await?;
    if how == How::Politely {
        stage
            .step("nothing was copied", async {
                let copied = after.copied_since(&before);
                // What was written meanwhile lies where nothing lay before.
                let chunks: Vec<_> = before.chunks.iter().map(|(_, chunk)| chunk.chunk).collect();
                let moved = after
                    .chunks
                    .iter()
                    .filter(|(_, chunk)| chunks.contains(&chunk.chunk))
                    .filter(|(_, chunk)| {
                        let was = before.chunks.iter().find(|(_, was)| was.chunk == chunk.chunk);
                        let ids = |chunk: &dfs_client::FsckChunk| {
                            chunk.nodes.iter().map(|node| node.id).collect::<BTreeSet<_>>()
                        };
                        was.is_some_and(|(_, was)| ids(was) != ids(chunk))
                    })
                    .count();
                ensure!(moved == 0, "{moved} chunks lie elsewhere now, {copied} bytes");
                done(())
            })
            .await?;
    }
    Ok(())
}

async fn leader_deleted(stage: &Stage) -> Played {
    stage.fill_with(4, 700_000).await?;
    for (how, title) in [
        (How::Politely, "the leader's pod is deleted"),
        (How::ByForce, "the next leader is killed and its pod deleted by force"),
    ] {
        let traffic = Traffic::begin(stage, &format!("meanwhile-{how:?}"), 2).await?;
        stage
            .step(title, async {
                let pods = cluster(stage)?;
                let leader = stage.cluster.leader().await?;
                let since = Instant::now();
                let uid = delete(stage, leader, how).await?;
                let path = stage.path(&format!("by-another-{how:?}"))?;
                stage.files.put(&stage.dfs, &path, stage.content(1_000), options()).await?;
                let took = since.elapsed();
                stage.measure(|measures| measures.recovery = measures.recovery.max(Some(took)));
                wait::until("another one leads", patience(), || async {
                    let now = pods.leader().await?;
                    ensure!(now != leader, "{leader} is still taken for the leader");
                    anyhow::Ok(())
                })
                .await?;
                pods.until_replaced(leader, &uid).await?;
                pods.wait_ready().await?;
                told((), format!("{leader}; a file was taken {:.2} s after the order", took.as_secs_f64()))
            })
            .await?;
        traffic.end(stage).await?;
    }
    Ok(())
}

async fn namenode_lost(stage: &Stage) -> Played {
    stage.fill_with(6, 700_000).await?;
    let traffic = Traffic::begin(stage, "meanwhile", 1).await?;
    let (victim, uid, before, since) = stage
        .step("the leader's pod is deleted, and its claim", async {
            let before = stage.dfs.namenodes().await?;
            let victim = stage.cluster.leader().await?;
            let uid = delete(stage, victim, How::WithItsClaim).await?;
            told((victim, uid, before, Instant::now()), victim.to_string())
        })
        .await?;
    stage
        .step("it is empty, joins the two others anew and votes", async {
            let pods = cluster(stage)?;
            pods.until_replaced(victim, &uid).await?;
            let after = wait::until("three vote, one of them new", patience(), || async {
                let group = stage.dfs.namenodes().await?;
                let votes = |member: &NamenodeMember| {
                    matches!(member.role, MemberRole::Leader | MemberRole::Follower)
                };
                let votes: BTreeSet<_> =
                    group.members.iter().filter(|member| votes(member)).map(|member| member.id).collect();
                let known = before.members.iter().filter(|member| votes.contains(&member.id)).count();
                ensure!((votes.len(), known, group.members.len()) == (3, 2, 3), "{:?}", group.members);
                anyhow::Ok(group)
            })
            .await?;
            let took = stage.recovered(since);
            let new = after.members.iter().map(|member| member.id).max().context("nobody is there")?;
            told((), format!("as member {new}, {:.1} s after the loss", took.as_secs_f64()))
        })
        .await?;
    traffic.end(stage).await?;
    stage
        .step("it can lead", async {
            let pods = cluster(stage)?;
            let group = stage.dfs.namenodes().await?;
            let new = group.members.iter().map(|member| member.id).max();
            stage.dfs.transfer_leader(new).await?;
            wait::until("it leads", patience(), || async {
                let leader = pods.leader().await?;
                ensure!(leader == victim, "{leader} does");
                anyhow::Ok(())
            })
            .await?;
            done(())
        })
        .await?;
    stage.all_is_there("every file is there").await
}
