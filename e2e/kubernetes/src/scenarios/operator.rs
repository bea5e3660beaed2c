//! What the operator does, and what comes of its death in the middle of it.

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use dfs_e2e::wait;
use dfs_failure::health::patience;
use dfs_failure::stage::{Played, Stage, done, told};
use dfs_failure::traffic::Traffic;
use dfs_failure::{Cluster as _, Scenario};
use dfs_kubernetes::crd::{condition, reason};
use dfs_kubernetes::names::Component;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Event, Pod, Service};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::ResourceExt as _;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

use super::{GROUP, SMALL, cluster};
use crate::objects::is_ready;
use crate::pods::Pods;

pub(super) fn list() -> Vec<Scenario> {
    const NAME: &str = "Operator";
    vec![
        Scenario {
            name: "rolled",
            group: NAME,
            title: "a change of the spec, then a rollout restart, replaces all pods one by one under load",
            needs: &[],
            shape: GROUP,
            leaves_whole: true,
            play: |stage| Box::pin(rolled(stage)),
        },
        Scenario {
            name: "operator-killed",
            group: NAME,
            title: "the operator is killed while it makes, grows and rolls a cluster: the next one goes on",
            needs: &[],
            shape: SMALL,
            leaves_whole: false,
            play: |stage| Box::pin(killed(stage)),
        },
        Scenario {
            name: "scale-down-refused",
            group: NAME,
            title: "fewer DataNodes are asked for: refused in words, and nothing is lost",
            needs: &[],
            shape: GROUP,
            leaves_whole: true,
            play: |stage| Box::pin(scale_down_refused(stage)),
        },
        Scenario {
            name: "drift-repaired",
            group: NAME,
            title: "what the operator made is deleted and changed behind its back: it is made good",
            needs: &[],
            shape: SMALL,
            leaves_whole: true,
            play: |stage| Box::pin(drift_repaired(stage)),
        },
    ]
}

/// Waits until every pod is another one, and all serve; fails as soon as more than one of a role does not.
async fn until_all_replaced(pods: &Pods) -> Result<usize> {
    let mut before = pods.uids(Component::NameNode).await?;
    before.extend(pods.uids(Component::DataNode).await?);
    wait::until("every pod is replaced", 3 * patience(), || async {
        let mut left = 0;
        for component in [Component::NameNode, Component::DataNode] {
            let wanted = ListParams::default().labels(&pods.name.component_selector(component));
            let found = pods.api::<Pod>().list(&wanted).await?.items;
            left += found.iter().filter(|pod| pod.uid().as_ref() == before.get(&pod.name_any())).count();
        }
        ensure!(left == 0, "{left} are the same");
        anyhow::Ok(())
    })
    .await?;
    pods.settle(patience()).await?;
    Ok(before.len())
}

/// Looks all the time at how many pods of a role do not serve, until it is dropped; answers with the most at once.
async fn most_away(
    pods: &Pods,
    component: Component,
    wanted: usize,
    most: &std::sync::atomic::AtomicUsize,
) -> Result<()> {
    let selector = ListParams::default().labels(&pods.name.component_selector(component));
    loop {
        let ready = pods.api::<Pod>().list(&selector).await?.items.iter().filter(|pod| is_ready(pod)).count();
        most.fetch_max(wanted.saturating_sub(ready), std::sync::atomic::Ordering::Relaxed);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

/// Waits until all pods were replaced, and answers with how many, and how many of each role were away at most at once.
pub(super) async fn roll(stage: &Stage) -> Result<(usize, usize, usize)> {
    let pods = cluster(stage)?;
    let shape = pods.shape();
    let (namenodes, datanodes) =
        (std::sync::atomic::AtomicUsize::new(0), std::sync::atomic::AtomicUsize::new(0));
    let replaced = tokio::select! {
        replaced = until_all_replaced(pods) => replaced?,
        ended = most_away(pods, Component::NameNode, shape.namenodes.into(), &namenodes) => {
            ended?;
            0
        }
        ended = most_away(pods, Component::DataNode, shape.datanodes.into(), &datanodes) => {
            ended?;
            0
        }
    };
    Ok((replaced, namenodes.into_inner(), datanodes.into_inner()))
}

async fn rolled(stage: &Stage) -> Played {
    stage.fill_with(6, 700_000).await?;
    let traffic = Traffic::begin(stage, "meanwhile", 1).await?;
    for (title, by_spec) in [("what pods log is changed", true), ("'kubectl rollout restart'", false)] {
        stage
            .step(title, async {
                let (pods, began) = (cluster(stage)?, Instant::now());
                let asked = async {
                    if by_spec {
                        pods.change(json!({ "log": { "level": "Info" } })).await.map(drop)
                    } else {
                        restart(pods).await
                    }
                };
                let (rolled, asked) = tokio::join!(Box::pin(roll(stage)), Box::pin(asked));
                asked?;
                let (replaced, namenodes, datanodes) = rolled?;
                ensure!(
                    namenodes <= 1 && datanodes <= 1,
                    "{namenodes} NameNodes and {datanodes} DataNodes were away at once"
                );
                told((), format!("{replaced} pods in {:.1} s, one at a time", began.elapsed().as_secs_f64()))
            })
            .await?;
    }
    traffic.end(stage).await
}

/// What `kubectl rollout restart` does to each StatefulSet.
async fn restart(pods: &Pods) -> Result<()> {
    let now = k8s_openapi::jiff::Timestamp::now().to_string();
    let patch = json!({ "spec": { "template": { "metadata": { "annotations": {
        dfs_kubernetes::names::ANNOTATION_RESTARTED_AT: now,
    } } } } });
    let api = pods.api::<StatefulSet>();
    for set in api.list(&ListParams::default().labels(&pods.name.selector())).await? {
        api.patch(&set.name_any(), &PatchParams::default(), &Patch::Merge(&patch)).await?;
    }
    Ok(())
}

async fn killed(stage: &Stage) -> Played {
    stage.fill_with(4, 700_000).await?;
    stage
        .step("a second cluster is asked for, and the operator killed again and again", async {
            let pods = cluster(stage)?;
            let name = format!("{}b", pods.name.name);
            let other = Pods::create(std::sync::Arc::clone(&pods.ground), &name, &SMALL).await?;
            let made = async {
                for _ in 0..3 {
                    pods.ground.kill_operator().await?;
                    pods.ground.operator_ready().await?;
                }
                other.settle(2 * patience()).await
            };
            let made = made.await;
            other.remove().await?;
            made?;
            done(())
        })
        .await?;
    stage
        .step("a DataNode is added, and the operator killed", async {
            let (pods, began) = (cluster(stage)?, Instant::now());
            pods.scale(4).await?;
            pods.ground.kill_operator().await?;
            pods.settle(2 * patience()).await?;
            told((), format!("{:.1} s", began.elapsed().as_secs_f64()))
        })
        .await?;
    stage
        .step("pods are rolled, and the operator killed after each", async {
            let pods = cluster(stage)?;
            let before = pods.uids(Component::DataNode).await?;
            pods.change(json!({ "log": { "level": "Info" } })).await?;
            for wanted in 1..=2 {
                wait::until("another pod is replaced", patience(), || async {
                    let now = pods.uids(Component::DataNode).await?;
                    let replaced = now.iter().filter(|(pod, uid)| before.get(*pod) != Some(uid)).count();
                    ensure!(replaced >= wanted, "{replaced} are");
                    anyhow::Ok(())
                })
                .await?;
                pods.ground.kill_operator().await?;
            }
            pods.settle(3 * patience()).await?;
            let now = pods.uids(Component::DataNode).await?;
            ensure!(now.iter().all(|(pod, uid)| before.get(pod) != Some(uid)), "not all pods were replaced");
            done(())
        })
        .await
}

async fn scale_down_refused(stage: &Stage) -> Played {
    stage.fill_with(4, 700_000).await?;
    stage
        .step("a DataNode less is asked for, and the status says no", async {
            let pods = cluster(stage)?;
            let before = pods.uids(Component::DataNode).await?;
            pods.scale(u32::try_from(before.len())? - 1).await?;
            let message = wait::until("the condition says so", patience(), || async {
                let status = pods.resource().await?.status.unwrap_or_default();
                let found =
                    status.condition(condition::PROGRESSING).context("there is no condition")?.clone();
                ensure!(found.reason == reason::SCALE_DOWN_REFUSED, "{}: {}", found.reason, found.message);
                anyhow::Ok(found.message)
            })
            .await?;
            ensure!(pods.uids(Component::DataNode).await? == before, "a pod is gone");
            told((), message)
        })
        .await?;
    stage
        .step("an event says so too", async {
            let pods = cluster(stage)?;
            let text = wait::until("there is an event", patience(), || async {
                let events = pods.api::<Event>().list(&ListParams::default()).await?.items;
                let found = events
                    .into_iter()
                    .find(|event| event.reason.as_deref() == Some(reason::SCALE_DOWN_REFUSED));
                found.and_then(|event| event.message).context("there is none")
            })
            .await?;
            told((), text)
        })
        .await?;
    stage
        .step("as many as before are asked for", async {
            let pods = cluster(stage)?;
            pods.scale(pods.shape().datanodes.into()).await?;
            done(pods.settle(patience()).await?)
        })
        .await
}

async fn drift_repaired(stage: &Stage) -> Played {
    stage.fill_with(2, 300_000).await?;
    stage
        .step("Services and budgets are deleted", async {
            let pods = cluster(stage)?;
            let params = (DeleteParams::default(), ListParams::default().labels(&pods.name.selector()));
            let (services, budgets) = (pods.api::<Service>(), pods.api::<PodDisruptionBudget>());
            let (had, limits) =
                (services.list(&params.1).await?.items.len(), budgets.list(&params.1).await?.items.len());
            for service in services.list(&params.1).await? {
                crate::objects::delete(&services, &service.name_any(), &params.0).await?;
            }
            budgets.delete_collection(&params.0, &params.1).await?;
            wait::until("they are there again", patience(), || async {
                let now =
                    (services.list(&params.1).await?.items.len(), budgets.list(&params.1).await?.items.len());
                ensure!(now == (had, limits), "{now:?} of {:?}", (had, limits));
                anyhow::Ok(())
            })
            .await?;
            told((), format!("{had} Services and {limits} budgets were made again"))
        })
        .await?;
    stage
        .step("a StatefulSet is scaled behind the operator's back", async {
            let pods = cluster(stage)?;
            let (api, name) = (pods.api::<StatefulSet>(), pods.name.pool(crate::pods::POOL));
            // More would be kept: there might be replicas on them already.
            let patch = json!({ "spec": { "replicas": 2 } });
            api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await?;
            wait::until("it is as the DfsCluster says", patience(), || async {
                let replicas = api.get(&name).await?.spec.and_then(|spec| spec.replicas);
                ensure!(replicas == Some(3), "it has {replicas:?} replicas");
                anyhow::Ok(())
            })
            .await?;
            done(pods.settle(patience()).await?)
        })
        .await
}
