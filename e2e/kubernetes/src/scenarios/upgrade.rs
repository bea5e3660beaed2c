//! A cluster goes from one release to the next by the image of its `DfsCluster` alone, back, and on for good.

mod until;

use std::collections::BTreeMap;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use dfs_e2e::wait;
use dfs_failure::Cluster as _;
use dfs_failure::Scenario;
use dfs_failure::cluster::{Capability, Shape};
use dfs_failure::health::patience;
use dfs_failure::stage::{Played, Stage, told};
use dfs_failure::traffic::Traffic;
use dfs_kubernetes::crd::{condition, reason};
use dfs_kubernetes::names::Component;
use dfs_types::format::LEVEL;
use serde_json::json;

use super::operator::roll;
use super::{GROUP, cluster};
use crate::ground::PodImage;
use crate::pods::Pods;

/// Three NameNodes and four DataNodes, begun by the release before.
const BEFORE: Shape = Shape { earlier: true, ..GROUP };

pub(super) fn list() -> Vec<Scenario> {
    vec![Scenario {
        name: "upgrade",
        group: "Upgrades",
        title: "the image is changed to the new release under load, back, again with kills, and the upgrade is finalized",
        needs: &[Capability::Images],
        shape: BEFORE,
        leaves_whole: false,
        play: |stage| Box::pin(upgrade(stage)),
    }]
}

/// The highest feature level that the release before knows, and that this one knows.
fn levels() -> (u32, u32) {
    (u32::from(LEVEL) - 1, u32::from(LEVEL))
}

async fn upgrade(stage: &Stage) -> Played {
    stage.fill_with(6, 700_000).await?;
    let (before, now) = levels();
    let (earlier, present) = stage
        .step("all pods are of the release before, and the cluster is at its level", async {
            let pods = cluster(stage)?;
            let (earlier, present) =
                (pods.ground.images.before()?.clone(), pods.ground.images.present.clone());
            until::all_run(pods, &earlier).await?;
            until::known(stage, before, before).await?;
            told((earlier, present), format!("level {before}"))
        })
        .await?;
    let traffic = Traffic::begin(stage, "meanwhile", 2).await?;
    stage
        .step("the image is the new release's: pods are replaced one by one, and the level stays", async {
            let note = roll_to(stage, &present).await?;
            until::known(stage, before, now).await?;
            until::says(cluster(stage)?, "status", "'dfs admin upgrade finalize' raises it").await?;
            told((), note)
        })
        .await?;
    stage
        .step("the image is the one before again: all go back", async {
            let note = roll_to(stage, &earlier).await?;
            until::known(stage, before, before).await?;
            told((), note)
        })
        .await?;
    stage
        .step("and the new one again, while pods and the operator are killed", async {
            let note = roll_with_kills(stage, &present).await?;
            until::known(stage, before, now).await?;
            told((), note)
        })
        .await?;
    finalize(stage).await?;
    refused(stage, &earlier, &present).await?;
    traffic.end(stage).await
}

/// Asks for another image, and waits until the status says that pods are brought to it.
async fn ask_for(pods: &Pods, image: &PodImage) -> Result<()> {
    pods.change(json!({ "image": image.spec() })).await?;
    let image = image.to_string();
    wait::until("the status to tell of the new image", patience(), || async {
        let status = pods.resource().await?.status.unwrap_or_default();
        ensure!(status.image.as_ref() == Some(&image), "it has {:?}", status.image);
        let found = status.condition(condition::PROGRESSING).context("there is no condition")?;
        ensure!(
            found.status == "True" && found.reason == reason::ROLLING,
            "{}: {}",
            found.reason,
            found.message
        );
        anyhow::Ok(())
    })
    .await
}

/// Changes the image and waits until every pod was replaced by one of it, never two of a role at once.
async fn roll_to(stage: &Stage, image: &PodImage) -> Result<String> {
    let (pods, began) = (cluster(stage)?, Instant::now());
    let (rolled, asked) = tokio::join!(Box::pin(roll(stage)), Box::pin(ask_for(pods, image)));
    asked?;
    let (replaced, namenodes, datanodes) = rolled?;
    ensure!(
        namenodes <= 1 && datanodes <= 1,
        "{namenodes} NameNodes and {datanodes} DataNodes were away at once"
    );
    until::all_run(pods, image).await?;
    Ok(format!("{replaced} pods in {:.1} s, one at a time", began.elapsed().as_secs_f64()))
}

/// Who was there, by the names of pods.
type Uids = BTreeMap<String, String>;

/// Changes the image, and kills whoever matters most at the moment.
async fn roll_with_kills(stage: &Stage, image: &PodImage) -> Result<String> {
    let (pods, began) = (cluster(stage)?, Instant::now());
    let (namenodes, datanodes) =
        (pods.uids(Component::NameNode).await?, pods.uids(Component::DataNode).await?);
    ask_for(pods, image).await?;
    let mut killed = Vec::new();
    // One that has just begun to be of the new release.
    let first = until::one_is_new(pods, Component::NameNode, &namenodes).await?;
    pods.crash(first).await?;
    killed.push(first);
    // The one that the operator has just had lead, and the operator, which was about to replace the one that led before.
    let leader = until::the_last_is_to_go(pods, &namenodes).await?;
    pods.crash(leader).await?;
    pods.ground.kill_operator().await?;
    killed.push(leader);
    let datanode = until::one_is_new(pods, Component::DataNode, &datanodes).await?;
    pods.crash(datanode).await?;
    killed.push(datanode);
    pods.ground.operator_ready().await?;
    wait::until("every pod is of the new image", 3 * patience(), || until::all_run(pods, image)).await?;
    pods.settle(patience()).await?;
    let killed: Vec<_> = killed.iter().map(ToString::to_string).collect();
    Ok(format!("{:.1} s; killed: {}, the operator", began.elapsed().as_secs_f64(), killed.join(", ")))
}

/// Finalizes the upgrade while the leader is killed, then as a person does.
async fn finalize(stage: &Stage) -> Played {
    stage
        .step("the upgrade is finalized while the leader is killed", async {
            let (pods, (_, now)) = (cluster(stage)?, levels());
            let leader = pods.leader().await?;
            let uids = pods.uids(Component::NameNode).await?;
            let uid = uids.get(&pods.pod(leader)).context("the leader has no pod")?;
            let client = stage.dfs.clone();
            let asked = tokio::spawn(async move { client.finalize_upgrade().await });
            pods.crash(leader).await?;
            // What it answers does not matter: it may be done or refused.
            let _answer = asked.await?;
            pods.until_replaced(leader, uid).await?;
            let finalized =
                format!("the cluster is at feature level {now}, the highest that its leader knows");
            until::says(pods, "finalize", &finalized).await?;
            until::known(stage, now, now).await?;
            told((), until::says(pods, "status", &finalized).await?)
        })
        .await
}

/// Asks for the release before, which can't be any more, and then for this one.
async fn refused(stage: &Stage, earlier: &PodImage, present: &PodImage) -> Played {
    let (victim, others) = stage
        .step("the image before is refused in words, by one NameNode; the others serve", async {
            let pods = cluster(stage)?;
            pods.settle(patience()).await?;
            let before = all_uids(pods).await?;
            ask_for(pods, earlier).await?;
            let victim = until::started_in_vain(pods, &before).await?;
            let why = until::the_condition_says_why(pods, &victim).await?;
            let mut others = all_uids(pods).await?;
            others.retain(|pod, _| *pod != victim);
            ensure!(others.iter().all(|(pod, uid)| before.get(pod) == Some(uid)), "another pod was replaced");
            stage.put_files("by-two", 2, 100_000).await?;
            told((victim, others), why)
        })
        .await?;
    stage
        .step("the new image again: that NameNode comes back, and no other pod is touched", async {
            let (pods, began) = (cluster(stage)?, Instant::now());
            pods.change(json!({ "image": present.spec() })).await?;
            pods.settle(patience()).await?;
            until::all_run(pods, present).await?;
            let mut after = all_uids(pods).await?;
            after.remove(&victim);
            ensure!(after == others, "another pod was replaced");
            until::known(stage, levels().1, levels().1).await?;
            told((), format!("{:.1} s", began.elapsed().as_secs_f64()))
        })
        .await
}

async fn all_uids(pods: &Pods) -> Result<Uids> {
    let mut all = pods.uids(Component::NameNode).await?;
    all.extend(pods.uids(Component::DataNode).await?);
    Ok(all)
}
