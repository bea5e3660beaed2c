//! What the operator costs: nothing is written while nothing changes, and it stays small however much it looks after.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use dfs_e2e::wait;
use dfs_failure::Scenario;
use dfs_failure::health::patience;
use dfs_failure::stage::{Played, Stage, told};
use dfs_kubernetes::crd::DfsCluster;
use futures_util::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Namespace, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt as _};
use serde_json::json;

use super::{SMALL, cluster};
use crate::objects::LABEL;
use crate::pods::{MANAGER, Pods};

/// Clusters that are looked after at once.
const MANY: usize = 200;
/// Requests of this test to the API server at a time.
const AT_ONCE: usize = 16;
/// Looks at clusters, after which one can say that nothing was written.
const LOOKS: f64 = 6.0;
/// Most memory of an operator with next to nothing to do, in bytes.
const MEMORY: f64 = 50.0 * 1024.0 * 1024.0;
/// Longest that many clusters may take.
const LONG: Duration = Duration::from_mins(5);

pub(super) fn list() -> Vec<Scenario> {
    const NAME: &str = "What the operator costs";
    vec![
        Scenario {
            name: "idle",
            group: NAME,
            title: "nothing changes: the operator looks, and writes nothing",
            needs: &[],
            shape: SMALL,
            leaves_whole: true,
            play: |stage| Box::pin(idle(stage)),
        },
        Scenario {
            name: "many-clusters",
            group: NAME,
            title: "200 DfsClusters are asked for, none of which finds a machine",
            needs: &[],
            shape: SMALL,
            leaves_whole: true,
            play: |stage| Box::pin(many(stage)),
        },
    ]
}

/// What the operator tells of itself.
struct Told(String);

impl Told {
    async fn by(pods: &Pods) -> Result<Self> {
        pods.ground.operator_metrics().await.map(Self)
    }

    /// The sum of a metric over its labels.
    fn sum(&self, metric: &str) -> Result<f64> {
        let values = self.0.lines().filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            let name = name.split_once('{').map_or(name, |(name, _)| name);
            (name == metric).then(|| value.parse::<f64>())
        });
        Ok(values.sum::<Result<f64, _>>()?)
    }

    fn looks(&self) -> Result<f64> {
        self.sum("dfs_operator_reconciles_total")
    }

    /// Everything it sent to be written, but for its Lease. It made a cluster before, so that is something.
    fn writes(&self) -> Result<f64> {
        let [objects, statuses, steps] = ["objects_applied_total", "status_patches_total", "steps_total"]
            .map(|kind| self.sum(&format!("dfs_operator_{kind}")));
        let (objects, statuses) = (objects?, statuses?);
        ensure!(objects > 0.0 && statuses > 0.0, "it does not tell what it wrote");
        Ok(objects + statuses + steps?)
    }

    fn memory(&self) -> Result<f64> {
        let bytes = self.sum("process_resident_memory_bytes")?;
        ensure!(bytes > 0.0, "it does not tell what memory it takes");
        Ok(bytes)
    }
}

/// Waits until the operator has looked so often again, and fails if it wrote anything meanwhile.
async fn looked_without_writing(pods: &Pods, times: f64, limit: Duration) -> Result<Duration> {
    let (before, began) = (Told::by(pods).await?, Instant::now());
    let after = wait::until("the operator looks again", limit, || async {
        let now = Told::by(pods).await?;
        let looks = now.looks()? - before.looks()?;
        ensure!(looks >= times, "it looked {looks} times");
        anyhow::Ok(now)
    })
    .await?;
    let writes = after.writes()? - before.writes()?;
    ensure!(writes == 0.0, "it wrote {writes} times");
    Ok(began.elapsed())
}

/// The versions of what an operator could have written in a cluster's namespace.
async fn versions(pods: &Pods) -> Result<BTreeMap<String, String>> {
    async fn of<K>(pods: &Pods, all: &mut BTreeMap<String, String>) -> Result<()>
    where
        K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
            + Clone
            + serde::de::DeserializeOwned
            + std::fmt::Debug,
    {
        for object in pods.api::<K>().list(&ListParams::default()).await? {
            let name = format!("{} {}", K::kind(&()), object.name_any());
            all.insert(name, object.resource_version().context("an object without a version")?);
        }
        Ok(())
    }
    let mut all = BTreeMap::new();
    of::<DfsCluster>(pods, &mut all).await?;
    of::<StatefulSet>(pods, &mut all).await?;
    of::<Service>(pods, &mut all).await?;
    of::<PodDisruptionBudget>(pods, &mut all).await?;
    of::<ServiceAccount>(pods, &mut all).await?;
    of::<ConfigMap>(pods, &mut all).await?;
    of::<Event>(pods, &mut all).await?;
    Ok(all)
}

async fn idle(stage: &Stage) -> Played {
    stage.fill_with(2, 300_000).await?;
    let before = stage
        .step("the last of what was stored is told", async {
            let pods = cluster(stage)?;
            // What comes and goes is written within a minute.
            let quiet = wait::until("nothing is written any more", 2 * patience(), || {
                looked_without_writing(pods, LOOKS, patience())
            });
            let took = quiet.await?;
            told(versions(pods).await?, format!("{LOOKS} looks in {:.0} s", took.as_secs_f64()))
        })
        .await?;
    stage
        .step("the operator looks again and again, and no object has another version", async {
            let pods = cluster(stage)?;
            let took = looked_without_writing(pods, LOOKS, patience()).await?;
            let after = versions(pods).await?;
            let changed: BTreeSet<_> = before
                .keys()
                .chain(after.keys())
                .filter(|object| before.get(*object) != after.get(*object))
                .map(String::as_str)
                .collect();
            ensure!(changed.is_empty(), "these came, changed or went: {changed:?}");
            told((), format!("{} objects, {:.0} s", after.len(), took.as_secs_f64()))
        })
        .await?;
    stage
        .step("it needs less than 50 MiB of memory", async {
            let memory = Told::by(cluster(stage)?).await?.memory()?;
            ensure!(memory < MEMORY, "it takes {}", mebibytes(memory));
            told((), mebibytes(memory))
        })
        .await
}

fn mebibytes(bytes: f64) -> String {
    format!("{:.1} MiB", bytes / 1024.0 / 1024.0)
}

/// One of many: as small as can be, and for machines that there are none of.
fn nowhere(name: &str) -> serde_json::Value {
    let template = json!({ "nodeSelector": { LABEL: "nowhere" } });
    json!({
        "apiVersion": "dfs.dev/v1alpha1", "kind": "DfsCluster", "metadata": { "name": name },
        "spec": {
            "replication": 1,
            "nameNode": { "replicas": 1, "storage": { "size": "1Gi" }, "template": template },
            "dataNodePools": [{
                "name": "a", "replicas": 1, "volumes": [{ "name": "d1", "size": "1Gi" }], "template": template,
            }],
        },
    })
}

async fn many(stage: &Stage) -> Played {
    let (pods, namespace, before) = stage
        .step("a namespace for them", async {
            let pods = cluster(stage)?;
            let namespace = format!("{}-many", pods.name.namespace);
            let made = json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": { "name": namespace, "labels": { LABEL: "yes" } },
            });
            let namespaces: Api<Namespace> = Api::all(pods.ground.client());
            namespaces.patch(&namespace, &PatchParams::apply(MANAGER), &Patch::Apply(&made)).await?;
            let before = Told::by(pods).await?.sum("dfs_operator_clusters")?;
            told((pods, namespace, before), format!("beside {before} DfsClusters"))
        })
        .await?;
    let played = asked_for(stage, pods, &namespace).await;
    stage
        .step("they are deleted, and the operator forgets them", async {
            let namespaces: Api<Namespace> = Api::all(pods.ground.client());
            crate::objects::delete(&namespaces, &namespace, &DeleteParams::default()).await?;
            let began = Instant::now();
            wait::until("the namespace is gone", LONG, || async {
                ensure!(namespaces.get_opt(&namespace).await?.is_none(), "it is there");
                let left = Told::by(pods).await?.sum("dfs_operator_clusters")?;
                ensure!(left <= before, "the operator looks after {left} clusters");
                anyhow::Ok(())
            })
            .await?;
            let memory = Told::by(pods).await?.memory()?;
            told((), format!("{:.0} s, then {}", began.elapsed().as_secs_f64(), mebibytes(memory)))
        })
        .await?;
    played
}

async fn asked_for(stage: &Stage, pods: &Pods, namespace: &str) -> Played {
    stage
        .step("each has its StatefulSets and its status", async {
            let clusters: &Api<DfsCluster> = &Api::namespaced(pods.ground.client(), namespace);
            let began = Instant::now();
            futures_util::stream::iter(0..MANY)
                .map(|number| async move {
                    let name = format!("many{number}");
                    let params = PatchParams::apply(MANAGER);
                    clusters.patch(&name, &params, &Patch::Apply(&nowhere(&name))).await
                })
                .buffer_unordered(AT_ONCE)
                .try_for_each(|_| async { Ok(()) })
                .await?;
            let asked = began.elapsed();
            let sets: Api<StatefulSet> = Api::namespaced(pods.ground.client(), namespace);
            wait::until("all are looked after", LONG, || async {
                let all = clusters.list(&ListParams::default()).await?.items;
                let seen = |cluster: &&DfsCluster| {
                    let status = cluster.status.as_ref();
                    status.is_some_and(|status| status.observed_generation == cluster.metadata.generation)
                };
                let (seen, sets) =
                    (all.iter().filter(seen).count(), sets.list_metadata(&ListParams::default()).await?);
                let wanted = (MANY, 2 * MANY);
                ensure!((seen, sets.items.len()) == wanted, "{seen}, {} StatefulSets", sets.items.len());
                anyhow::Ok(())
            })
            .await?;
            let memory = Told::by(pods).await?.memory()?;
            let (asked, took) = (asked.as_secs_f64(), began.elapsed().as_secs_f64());
            told((), format!("{took:.1} s, {asked:.1} s of it to ask; {}", mebibytes(memory)))
        })
        .await?;
    stage
        .step("then nothing is written for them any more", async {
            let quiet = wait::until("nothing is written any more", LONG, || {
                looked_without_writing(pods, MANY as f64, patience())
            });
            let took = quiet.await?;
            let memory = Told::by(pods).await?.memory()?;
            told((), format!("{MANY} looks in {:.0} s; {}", took.as_secs_f64(), mebibytes(memory)))
        })
        .await
}
