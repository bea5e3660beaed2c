//! What an upgrade waits for.

use anyhow::{Context as _, Result, ensure};
use dfs_client::Upgrade;
use dfs_e2e::wait;
use dfs_failure::Cluster as _;
use dfs_failure::cluster::Daemon;
use dfs_failure::health::patience;
use dfs_failure::stage::Stage;
use dfs_kubernetes::crd::condition;
use dfs_kubernetes::names::Component;
use dfs_types::format::FIRST_LEVEL;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::ResourceExt as _;
use kube::api::ListParams;

use super::{BEFORE, Uids, levels};
use crate::ground::PodImage;
use crate::pods::Pods;
use crate::scenarios::program::dfs;

/// Starts in vain after which nobody can say that the operator was not there yet.
const IN_VAIN: i32 = 2;

/// The pods of the cluster, all of which must have been made for this image.
pub(super) async fn all_run(pods: &Pods, image: &PodImage) -> Result<usize> {
    let (wanted, image) = (ListParams::default().labels(&pods.name.selector()), image.to_string());
    let found = pods.api::<Pod>().list(&wanted).await?.items;
    for pod in &found {
        let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
        let other = containers.filter_map(|container| container.image.as_ref()).find(|of| **of != image);
        ensure!(other.is_none(), "{} runs {other:?}", pod.name_any());
    }
    let all = usize::from(BEFORE.namenodes + BEFORE.datanodes);
    ensure!(found.len() == all, "{} pods of {all} are there", found.len());
    Ok(all)
}

/// Waits until the cluster is at this level, and every NameNode says of itself that it knows levels up to that one.
pub(super) async fn known(stage: &Stage, level: u32, knows: u32) -> Result<Upgrade> {
    wait::until("all NameNodes to say what they know", patience(), || async {
        let upgrade = stage.dfs.upgrade().await?;
        let all = upgrade.members.iter().all(|member| member.level == Some(knows));
        ensure!((upgrade.level, upgrade.highest) == (level, knows), "it is {upgrade:?}");
        ensure!(all && upgrade.hindrance.is_none(), "it is {upgrade:?}");
        anyhow::Ok(upgrade)
    })
    .await
}

/// Calls `dfs admin upgrade` as a person does, until it says this.
pub(super) async fn says(pods: &Pods, command: &str, wanted: &str) -> Result<String> {
    let mut words = vec!["admin", "upgrade", command];
    words.extend((command == "finalize").then_some("--yes"));
    wait::until(&format!("'dfs {}' to say '{wanted}'", words.join(" ")), patience(), || async {
        let (said, _) = dfs(pods, &words).await?;
        let said = String::from_utf8_lossy(&said).into_owned();
        ensure!(said.contains(wanted), "it says: {said}");
        anyhow::Ok(said.lines().next().unwrap_or_default().to_owned())
    })
    .await
}

/// Waits until a pod of this role is another one than before, and its process runs; answers with whose it is.
pub(super) async fn one_is_new(pods: &Pods, component: Component, before: &Uids) -> Result<Daemon> {
    let wanted = ListParams::default().labels(&pods.name.component_selector(component));
    wait::until("another pod of a role to run", patience(), || async {
        let found = pods.api::<Pod>().list(&wanted).await?.items;
        let new = found.iter().find(|pod| {
            let runs =
                |status: &ContainerStatus| status.state.as_ref().is_some_and(|state| state.running.is_some());
            pod.uid().as_ref() != before.get(&pod.name_any()) && containers(pod).any(runs)
        });
        pods.daemon(&new.context("none does")?.name_any()).context("it is no pod of this cluster")
    })
    .await
}

fn containers(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten())
}

/// Waits until the last NameNode that is not replaced leads no more; answers with the one that leads in its place.
pub(super) async fn the_last_is_to_go(pods: &Pods, before: &Uids) -> Result<Daemon> {
    wait::until("the leadership to leave the last NameNode that is not replaced", 2 * patience(), || async {
        let now = pods.uids(Component::NameNode).await?;
        let old: Vec<_> = before.iter().filter(|(pod, uid)| now.get(*pod) == Some(uid)).collect();
        ensure!(old.len() <= 1, "{} are not replaced", old.len());
        let leader = pods.leader().await?;
        ensure!(old.iter().all(|(pod, _)| **pod != pods.pod(leader)), "{leader} leads");
        anyhow::Ok(leader)
    })
    .await
}

/// Waits until a NameNode's pod that is another one than before was started several times in vain.
pub(super) async fn started_in_vain(pods: &Pods, before: &Uids) -> Result<String> {
    let wanted = ListParams::default().labels(&pods.name.component_selector(Component::NameNode));
    wait::until("a NameNode to be started in vain", patience(), || async {
        let found = pods.api::<Pod>().list(&wanted).await?.items;
        let new = found.iter().find(|pod| pod.uid().as_ref() != before.get(&pod.name_any()));
        let new = new.context("no NameNode was replaced")?;
        let starts = containers(new).map(|status| status.restart_count).max().unwrap_or_default();
        ensure!(starts >= IN_VAIN, "{} was started anew {starts} times", new.name_any());
        anyhow::Ok(new.name_any())
    })
    .await
}

/// Waits until the condition has the NameNode's own words.
pub(super) async fn the_condition_says_why(pods: &Pods, pod: &str) -> Result<String> {
    let (before, now) = levels();
    let words = [pod.to_owned(), format!("level {now}"), format!("levels {FIRST_LEVEL} to {before}")];
    wait::until("Progressing to say why", patience(), || async {
        let status = pods.resource().await?.status.unwrap_or_default();
        ensure!(status.is(condition::AVAILABLE), "it is not available");
        let found = status.condition(condition::PROGRESSING).context("there is no condition")?;
        for word in &words {
            ensure!(found.message.contains(word), "'{word}' is not in: {}", found.message);
        }
        anyhow::Ok(found.message.clone())
    })
    .await
}
