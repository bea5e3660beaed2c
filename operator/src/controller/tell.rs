//! Telling how a cluster is: its status, and events.

use std::time::{Duration, Instant};

use dfs_kubernetes::ClusterName;
use dfs_kubernetes::crd::{DfsCluster, DfsClusterStatus, condition, reason};
use dfs_kubernetes::forward::said;
use dfs_kubernetes::names::FIELD_MANAGER;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::core::error_boundary::InvalidObject;
use kube::core::{ApiResource, DynamicObject};
use kube::runtime::controller::Action;
use kube::{Api, Resource as _};
use serde_json::{Value, json};
use tracing::warn;

use super::{Context, Failure};
use crate::events;
use crate::status::{self, Facts};

/// Field manager of what is told of a spec that can't be read: as another one's it leaves the rest of the status alone.
const REFUSAL_MANAGER: &str = "dfs-operator-refusal";
/// How long the status is believed to be what was written: then what is there is looked at, if the watch has told it.
const BELIEVED: Duration = Duration::from_mins(1);

/// A status that was written, and how long ago if that is known.
pub(super) struct Last {
    pub(super) status: DfsClusterStatus,
    age: Option<Duration>,
}

impl Context {
    /// The status as it was written last.
    pub(super) fn last_status(&self, name: &ClusterName, cluster: &DfsCluster) -> Last {
        let written =
            self.memories.of(name, cluster.metadata.uid.as_deref(), |memory| memory.written.clone());
        match written.map(|(status, when)| (status, when.elapsed())) {
            Some((status, age)) if age < BELIEVED => Last { status, age: Some(age) },
            Some(_) | None => Last { status: cluster.status.clone().unwrap_or_default(), age: None },
        }
    }

    /// Writes the status and tells what changed, if anything did that does not have time. Answers with the status as it is
    /// written, and when what is not told yet may be told.
    pub(super) async fn tell(
        &self,
        name: &ClusterName,
        cluster: &DfsCluster,
        facts: &Facts<'_>,
        last: Last,
    ) -> Result<(DfsClusterStatus, Option<Duration>), Failure> {
        let old = last.status;
        let new = status::status(facts, &old);
        let Some(patience) = status::patience(&old, &new) else {
            return Ok((old, None));
        };
        let left = left_of(patience, last.age);
        if left.is_some() {
            return Ok((old, left));
        }
        self.write(name, &new).await.map_err(|error| Failure(said(&error)))?;
        self.memories.of(name, cluster.metadata.uid.as_deref(), |memory| {
            memory.written = Some((new.clone(), Instant::now()));
        });
        for news in events::changes(&old, &new) {
            events::publish(&self.recorder, cluster, news).await;
        }
        Ok((new, None))
    }

    async fn write(&self, name: &ClusterName, status: &DfsClusterStatus) -> Result<(), kube::Error> {
        let api: Api<DfsCluster> = Api::namespaced(self.client.clone(), &name.namespace);
        let patch = json!({
            "apiVersion": DfsCluster::api_version(&()), "kind": DfsCluster::kind(&()),
            "metadata": { "name": name.name, "namespace": name.namespace },
            "status": status,
        });
        api.patch_status(&name.name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&patch))
            .await?;
        self.metrics.status_patched();
        Ok(())
    }

    /// Tells of a cluster that this operator can't read: a newer one may have written it.
    pub(super) async fn refuse(&self, invalid: &InvalidObject) -> Result<Action, Failure> {
        let meta = &invalid.metadata;
        let (Some(namespace), Some(name)) = (&meta.namespace, &meta.name) else {
            return Ok(Action::await_change());
        };
        let (key, uid) = (ClusterName::new(namespace, name), meta.uid.as_deref());
        if self.memories.of(&key, uid, |memory| memory.refused) == meta.generation {
            return Ok(Action::await_change());
        }
        warn!(cluster = %key, error = invalid.error, "a DfsCluster can't be read");
        // Untyped: as a DfsCluster the answer could not be read either.
        let resource = ApiResource::erase::<DfsCluster>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), namespace, &resource);
        let there = api.get(name).await.map_err(|error| Failure(said(&error)))?;
        let patch = refusal(meta, &invalid.error, &there.data, Timestamp::now());
        let applied =
            api.patch_status(name, &PatchParams::apply(REFUSAL_MANAGER).force(), &Patch::Apply(&patch)).await;
        applied.map_err(|error| Failure(said(&error)))?;
        self.memories.of(&key, uid, |memory| {
            memory.refused = meta.generation;
            memory.written = None;
        });
        Ok(Action::await_change())
    }
}

/// How long what is told may still stay as it was written so long ago, if that is known.
fn left_of(patience: Duration, age: Option<Duration>) -> Option<Duration> {
    patience.checked_sub(age?).filter(|left| !left.is_zero())
}

/// What is written of a cluster that can't be read: one condition, which keeps its time while it says the same.
fn refusal(meta: &ObjectMeta, error: &str, there: &Value, now: Timestamp) -> Value {
    let conditions = there["status"]["conditions"].as_array();
    let before = conditions
        .into_iter()
        .flatten()
        .find(|known| known["type"] == condition::PROGRESSING && known["status"] == "False")
        .and_then(|known| known["lastTransitionTime"].as_str()?.parse::<Timestamp>().ok());
    let condition = Condition {
        type_: condition::PROGRESSING.to_owned(),
        status: "False".to_owned(),
        reason: reason::INVALID_SPEC.to_owned(),
        message: format!("the operator can't read the spec ({error}): is the operator older than it?"),
        last_transition_time: Time(before.unwrap_or(now)),
        observed_generation: meta.generation,
    };
    json!({
        "apiVersion": DfsCluster::api_version(&()), "kind": DfsCluster::kind(&()),
        "metadata": { "name": meta.name, "namespace": meta.namespace },
        "status": { "conditions": [condition] },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_not_be_told_yet_has_its_time() {
        let seconds = Duration::from_secs;
        assert_eq!(left_of(seconds(10), Some(seconds(4))), Some(seconds(6)));
        for (patience, age) in [(10, Some(10)), (10, Some(11)), (0, Some(0)), (10, None)] {
            assert_eq!(left_of(seconds(patience), age.map(seconds)), None, "{patience} {age:?}");
        }
    }

    #[test]
    fn a_refusal_keeps_the_time_of_a_condition_that_stays() {
        let meta = ObjectMeta { generation: Some(4), ..ObjectMeta::default() };
        let now = "2026-01-02T00:00:00Z".parse().unwrap();
        let told = |status: &str| {
            let there = json!({ "status": { "conditions": [
                { "type": "Available", "status": "False", "lastTransitionTime": "2025-01-01T00:00:00Z" },
                { "type": "Progressing", "status": status, "lastTransitionTime": "2026-01-01T00:00:00Z" },
            ] } });
            refusal(&meta, "no", &there, now)["status"]["conditions"][0].clone()
        };
        assert_eq!(told("False")["lastTransitionTime"], "2026-01-01T00:00:00Z");
        assert_eq!(told("True")["lastTransitionTime"], "2026-01-02T00:00:00Z");
        assert_eq!(
            (&told("True")["reason"], &told("True")["observedGeneration"]),
            (&json!("InvalidSpec"), &json!(4))
        );
        assert_eq!(refusal(&meta, "no", &Value::Null, now)["status"]["conditions"][0]["status"], "False");
    }
}
