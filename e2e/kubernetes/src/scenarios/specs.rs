//! What can't be: refused by the API server, or answered by a condition, in words; nothing is lost by it.

use anyhow::{Context as _, Result, bail, ensure};
use dfs_e2e::wait;
use dfs_failure::Scenario;
use dfs_failure::health::patience;
use dfs_failure::stage::{Played, Stage, done, told};
use dfs_kubernetes::crd::{DfsCluster, condition, reason};
use dfs_kubernetes::names::Component;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ListParams, PostParams};
use serde_json::{Value, json};

use super::{SMALL, cluster};
use crate::objects::delete;
use crate::pods::Pods;

pub(super) fn list() -> Vec<Scenario> {
    vec![Scenario {
        name: "wrong-specs",
        group: "Operator",
        title: "what can't be is asked for: refused or answered in words, and nothing is lost",
        needs: &[],
        shape: SMALL,
        leaves_whole: true,
        play: |stage| Box::pin(wrong_specs(stage)),
    }]
}

/// A change that makes a spec wrong, and what the API server says to it.
type Wrong = (&'static str, Value, &'static str);

/// Where in a DfsCluster, with which value, new ones are refused.
fn new_ones() -> Vec<Wrong> {
    let pool =
        |name: &str| json!({ "name": name, "replicas": 3, "volumes": [{ "name": "d1", "size": "1Gi" }] });
    vec![
        ("/metadata/name", json!("Wrong"), "lowercase"),
        ("/metadata/name", json!("1st"), "begin it with a small letter"),
        ("/metadata/name", json!("main-datanode"), "use one that does not end in"),
        ("/metadata/name", json!("a".repeat(41)), "longer than 40 characters"),
        ("/spec", json!({}), "dataNodePools: Required value"),
        ("/spec/replication", json!(0), "greater than or equal to 1"),
        ("/spec/replication", json!(513), "less than or equal to 512"),
        ("/spec/replication", json!("three"), "must be of type integer"),
        ("/spec/minReplicas", json!(4), "minReplicas is larger than replication"),
        ("/spec/nameNode/replicas", json!(2), "write 3 NameNodes"),
        ("/spec/nameNode/storage/size", json!("10"), "write a unit"),
        ("/spec/nameNode/storage/size", json!("much"), "should match"),
        ("/spec/dataNodePools", json!([]), "should have at least 1 items"),
        ("/spec/dataNodePools", json!([pool("a"), pool("a")]), "Duplicate value"),
        ("/spec/dataNodePools/0/name", json!("A pool"), "should match"),
        ("/spec/dataNodePools/0/replicas", json!(-1), "greater than or equal to 0"),
        ("/spec/dataNodePools/0/volumes", json!([]), "should have at least 1 items"),
        ("/spec/dataNodePools/0/volumes/0/name", json!("data-1"), "should match"),
        ("/spec/dataNodePools/0/volumes/0/size", json!("1Mi"), "write a unit"),
        ("/spec/dataNodePools/0/reserve", json!("10%"), "should match"),
        ("/spec/image/repository", json!("two words"), "should match"),
        ("/spec/image/tag", json!("v1 beta"), "should match"),
        ("/spec/repair/deadAfter", json!("5s"), "deadAfter must be more than 5s"),
        ("/spec/repair/deadAfter", json!("soon"), "should match"),
        ("/spec/repair/restartGrace", json!("0s"), "restartGrace must be more than 0s"),
        ("/spec/log/level", json!("Loud"), "Unsupported value"),
        ("/spec/commonMetadata/labels", json!({ "dfs.dev/cluster": "other" }), "use another prefix"),
    ]
}

/// Where in the cluster that runs, with which value, changes are refused.
fn changes() -> Vec<Wrong> {
    let volume = |name: &str, class: Option<&str>| {
        let mut volume = json!({ "name": name, "size": "1Gi" });
        if let Some(class) = class {
            volume["storageClassName"] = class.into();
        }
        volume
    };
    vec![
        ("/spec/nameNode/replicas", json!(3), "can't be changed yet"),
        ("/spec/nameNode/storage/storageClassName", json!("other"), "storageClassName can't be changed"),
        (
            "/spec/dataNodePools/0/volumes",
            json!([volume("d1", Some("other"))]),
            "storageClassName can't be changed",
        ),
        (
            "/spec/dataNodePools/0/volumes",
            json!([volume("d1", None), volume("d2", None)]),
            "chosen when it is made",
        ),
        ("/spec/dataNodePools/0/volumes", json!([volume("d2", None)]), "chosen when it is made"),
    ]
}

/// What the API server takes and the operator does not obey in the cluster that runs: where, which value, the reason and
/// the words of the condition.
fn disobeyed(claims_can_grow: bool) -> Vec<(&'static str, Value, &'static str, &'static str)> {
    let mut all = vec![
        ("/spec/dataNodePools/0/replicas", json!(2), reason::SCALE_DOWN_REFUSED, "set replicas to 3"),
        ("/spec/dataNodePools/0/volumes/0/size", json!("512Mi"), reason::INVALID_SPEC, "can't shrink"),
        ("/spec/nameNode/storage/size", json!("512Mi"), reason::INVALID_SPEC, "can't shrink"),
    ];
    if !claims_can_grow {
        let size = "/spec/dataNodePools/0/volumes/0/size";
        all.push((size, json!("2Gi"), reason::INVALID_SPEC, "set the size back"));
    }
    all
}

/// New clusters that can never be: where, which value, and what they are said to wait for.
fn hopeless() -> Vec<Wrong> {
    vec![
        ("/spec/image", json!({ "tag": "none-such", "pullPolicy": "Never" }), "ErrImageNeverPull"),
        (
            "/spec/nameNode/storage/storageClassName",
            json!("none-such"),
            "waits for a volume of StorageClass none-such",
        ),
        ("/spec/nameNode/template/nodeSelector", json!({ "none-such": "yes" }), "node affinity/selector"),
    ]
}

/// Sets the field at a JSON pointer; the objects on its way are made.
fn set(object: &mut Value, path: &str, value: Value) {
    let at = path.trim_start_matches('/').split('/').fold(object, |at, part| match part.parse::<usize>() {
        Ok(index) => &mut at[index],
        Err(_) => &mut at[part],
    });
    *at = value;
}

/// A DfsCluster like the one that runs.
fn like(pods: &Pods, name: &str) -> Value {
    json!({
        "apiVersion": "dfs.dev/v1alpha1", "kind": "DfsCluster", "metadata": { "name": name }, "spec": pods.spec(),
    })
}

/// Fails unless the API server refused, and said this.
fn refused<T>(outcome: Result<T>, says: &str) -> Result<()> {
    let Err(error) = outcome else { bail!("it was taken") };
    match error.downcast_ref() {
        Some(kube::Error::Api(status)) if matches!(status.code, 400 | 422) => {
            ensure!(status.message.contains(says), "'{}' does not say '{says}'", status.message);
            Ok(())
        }
        _ => Err(error),
    }
}

async fn wrong_specs(stage: &Stage) -> Played {
    stage.fill_with(4, 700_000).await?;
    let before = stage
        .step("the cluster is as asked for", async {
            let pods = cluster(stage)?;
            pods.settle(patience()).await?;
            done((pods.uids(Component::NameNode).await?, pods.uids(Component::DataNode).await?))
        })
        .await?;
    stage
        .step("new DfsClusters are refused by the API server", async {
            let (pods, all) = (cluster(stage)?, new_ones());
            for (path, value, says) in &all {
                let mut object = like(pods, "wrong");
                set(&mut object, path, value.clone());
                refused(create(pods, &object).await, says).with_context(|| format!("{path} = {value}"))?;
            }
            told((), format!("{} of {}, each in words that say why", all.len(), all.len()))
        })
        .await?;
    stage
        .step("changes of the one that runs are refused by the API server", async {
            let (pods, all) = (cluster(stage)?, changes());
            for (path, value, says) in &all {
                refused(change(pods, path, value.clone()).await, says)
                    .with_context(|| format!("{path} = {value}"))?;
            }
            told((), format!("{} of {}", all.len(), all.len()))
        })
        .await?;
    stage
        .step("what it takes and can't be is not obeyed, and the status says why", async {
            let pods = cluster(stage)?;
            let all = disobeyed(claims_can_grow(pods).await?);
            for (path, value, why, says) in &all {
                change(pods, path, value.clone()).await?;
                until_said(pods, &pods.name.name, why, says)
                    .await
                    .with_context(|| format!("{path} = {value}"))?;
                pods.apply(pods.spec()).await?;
                pods.settle(patience()).await?;
            }
            told((), format!("{} of {}", all.len(), all.len()))
        })
        .await?;
    stage
        .step("new ones that wait for what will never be say for what", async {
            let (pods, all) = (cluster(stage)?, hopeless());
            for (number, (path, value, says)) in all.iter().enumerate() {
                // Claims outlive a cluster, so the next one has another name.
                let name = format!("hopeless{number}");
                let mut object = like(pods, &name);
                set(&mut object, path, value.clone());
                create(pods, &object).await?;
                let waits = until_said(pods, &name, reason::PODS_STARTING, says).await;
                delete(&pods.clusters(), &name, &DeleteParams::default()).await?;
                waits.with_context(|| format!("{path} = {value}"))?;
            }
            told((), format!("{} of {}", all.len(), all.len()))
        })
        .await?;
    stage
        .step("no pod of the one that runs was touched", async {
            let pods = cluster(stage)?;
            let now = (pods.uids(Component::NameNode).await?, pods.uids(Component::DataNode).await?);
            ensure!(now == before, "{now:?} were {before:?}");
            done(())
        })
        .await?;
    stage.all_is_there("every file is there").await
}

async fn create(pods: &Pods, object: &Value) -> Result<DynamicObject> {
    // Not our type, which could not even hold some of them.
    let kind = ApiResource::erase::<DfsCluster>(&());
    let api: Api<DynamicObject> = Api::namespaced_with(pods.ground.client(), &pods.name.namespace, &kind);
    Ok(api.create(&PostParams::default(), &serde_json::from_value(object.clone())?).await?)
}

/// Asks for the spec of the cluster that runs with one field changed.
async fn change(pods: &Pods, path: &str, value: Value) -> Result<()> {
    let mut object = like(pods, &pods.name.name);
    set(&mut object, path, value);
    pods.apply(object["spec"].take()).await
}

/// Whether claims like the cluster's can grow.
async fn claims_can_grow(pods: &Pods) -> Result<bool> {
    let classes = Api::<StorageClass>::all(pods.ground.client()).list(&ListParams::default()).await?;
    Ok(classes.iter().any(|class| class.allow_volume_expansion == Some(true)))
}

/// Waits until the condition Progressing of a DfsCluster has this reason and says this.
async fn until_said(pods: &Pods, name: &str, why: &str, says: &str) -> Result<()> {
    wait::until(&format!("{why} with '{says}'"), patience(), || async {
        let found = pods.clusters().get(name).await?;
        let status = found.status.unwrap_or_default();
        ensure!(status.observed_generation == found.metadata.generation, "it was not looked at");
        let found = status.condition(condition::PROGRESSING).context("there is no condition")?;
        ensure!(found.reason == why && found.message.contains(says), "{}: {}", found.reason, found.message);
        anyhow::Ok(())
    })
    .await
}
