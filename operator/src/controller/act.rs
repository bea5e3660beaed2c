//! Doing what was planned.

use std::collections::BTreeSet;

use dfs_kubernetes::ClusterName;
use dfs_kubernetes::crd::DfsCluster;
use dfs_kubernetes::forward::said;
use dfs_kubernetes::names::FIELD_MANAGER;
use dfs_types::ErrorCode;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use kube::Api;
use kube::api::{DeleteParams, EvictParams, Patch, PatchParams, Preconditions};
use serde_json::json;
use tracing::debug;

use super::Context;
use crate::events;
use crate::plan::{Plan, Refusal, Step, Wait, Work};

/// What became of a step that did not fail.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Became {
    /// It was done, or was done already.
    Done,
    /// Something else has to happen first.
    Held(String),
    /// It can't be done, and needs a person.
    Refused(String),
}

impl Context {
    /// Does what is planned. What turns out to be impossible for now leaves the plan; what failed is the answer, in words.
    pub(super) async fn act(&self, name: &ClusterName, cluster: &DfsCluster, plan: &mut Plan) -> Vec<String> {
        let mut failures = Vec::new();
        let mut small = BTreeSet::new();
        for step in std::mem::take(&mut plan.steps) {
            // The first claim tells of all, and a template that is larger than the claims would hide that they did not grow.
            if let Step::GrowClaim { set, .. } | Step::RemakeSet { set, .. } = &step
                && small.contains(set)
            {
                continue;
            }
            match self.perform(name, cluster, &step).await {
                Ok(Became::Done) => events::publish(&self.recorder, cluster, events::done(&step)).await,
                Ok(Became::Held(what)) => {
                    plan.waiting.insert(0, Wait { work: Work::Rolling, what });
                    continue;
                }
                Ok(Became::Refused(what)) => {
                    plan.refused.push(Refusal::InvalidSpec(what));
                    if let Step::GrowClaim { set, .. } = step {
                        small.insert(set);
                    }
                    continue;
                }
                Err(why) => {
                    failures.push(why);
                    if let Step::GrowClaim { set, .. } = &step {
                        small.insert(set.clone());
                    }
                }
            }
            plan.steps.push(step);
        }
        failures
    }

    /// Does one thing. That it was done already is no error.
    async fn perform(&self, name: &ClusterName, cluster: &DfsCluster, step: &Step) -> Result<Became, String> {
        let namenodes = cluster.spec.name_node.replicas;
        debug!(cluster = %name, ?step, "performing");
        let (label, result) = match step {
            Step::ReplacePod { pod, uid } => ("replace_pod", self.evict(name, pod, uid).await),
            Step::MoveLeader { from: _ } => {
                let moved = self.files.move_leader(name, namenodes).await;
                ("move_leader", moved.map(|()| Became::Done).map_err(|error| error.message))
            }
            Step::AnnounceLoss { nodes } => {
                let ids: Vec<_> = nodes.iter().map(|(id, _)| *id).collect();
                let told = self.files.announce_loss(name, namenodes, &ids).await;
                ("announce_loss", told.map(|()| Became::Done).map_err(|error| error.message))
            }
            Step::ForgetNodes { nodes } => {
                let ids: Vec<_> = nodes.iter().map(|(id, _)| *id).collect();
                let told = self.files.forget_nodes(name, namenodes, &ids).await;
                let became = match told {
                    Ok(()) => Ok(Became::Done),
                    // Below the level at which DataNodes are remembered, or while a file may need what they had.
                    Err(error) if matches!(error.code, ErrorCode::Unsupported | ErrorCode::Busy) => {
                        Ok(Became::Held(format!("lost DataNodes to be forgotten: {}", error.message)))
                    }
                    Err(error) => Err(error.message),
                };
                ("forget_nodes", became)
            }
            Step::GrowClaim { set: _, claim, size } => {
                ("grow_claim", self.grow(name, cluster, claim, size).await)
            }
            Step::RemakeSet { set, uid } => {
                let api: Api<StatefulSet> = Api::namespaced(self.client.clone(), &name.namespace);
                let without_pods = DeleteParams::orphan().preconditions(only(uid));
                ("remake_set", gone(api.delete(set, &without_pods).await.map(|_| ())))
            }
        };
        if result == Ok(Became::Done) {
            self.metrics.step(label);
        }
        result
    }

    /// Has a pod go as a drain would: never while another one is away that a budget counts.
    async fn evict(&self, name: &ClusterName, pod: &str, uid: &str) -> Result<Became, String> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), &name.namespace);
        let very_one = EvictParams {
            delete_options: Some(DeleteParams::default().preconditions(only(uid))),
            ..EvictParams::default()
        };
        evicted(pod, api.evict(pod, &very_one).await.map(|_| ()))
    }

    async fn grow(
        &self,
        name: &ClusterName,
        cluster: &DfsCluster,
        claim: &str,
        size: &str,
    ) -> Result<Became, String> {
        let uid = cluster.metadata.uid.as_deref();
        if let Some(why) = self.memories.of(name, uid, |memory| memory.growth_refused(claim, size)) {
            return Ok(Became::Refused(why));
        }
        let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &name.namespace);
        let patch = json!({ "spec": { "resources": { "requests": { "storage": size } } } });
        let parameters =
            PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        let became =
            grown(claim, size, api.patch(claim, &parameters, &Patch::Merge(patch)).await.map(|_| ()));
        if let Ok(Became::Refused(why)) = &became {
            self.memories.of(name, uid, |memory| memory.refuse_growth(claim, size, why));
        }
        became
    }
}

fn only(uid: &str) -> Preconditions {
    Preconditions { resource_version: None, uid: Some(uid.to_owned()) }
}

/// Deleting what is gone, or what another one took the place of, is done already.
fn gone(result: Result<(), kube::Error>) -> Result<Became, String> {
    match result {
        Ok(()) => Ok(Became::Done),
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(Became::Done),
        Err(error) => Err(said(&error)),
    }
}

/// A budget that allows no eviction at present is no failure.
fn evicted(pod: &str, result: Result<(), kube::Error>) -> Result<Became, String> {
    match result {
        Err(kube::Error::Api(status)) if status.code == 429 => {
            Ok(Became::Held(format!("its PodDisruptionBudget to let pod {pod} go ({})", status.message)))
        }
        other => gone(other),
    }
}

/// What does not let a claim grow does not change by itself.
fn grown(claim: &str, size: &str, result: Result<(), kube::Error>) -> Result<Became, String> {
    match result {
        Ok(()) => Ok(Became::Done),
        Err(kube::Error::Api(status)) if matches!(status.code, 403 | 422) => Ok(Became::Refused(format!(
            "claim {claim} can't grow to {size} ({}): set the size back, or let its StorageClass expand volumes",
            status.message
        ))),
        Err(error) => Err(said(&error)),
    }
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn refused(code: u16) -> Result<(), kube::Error> {
        Err(kube::Error::Api(Box::new(Status { code, message: "words".to_owned(), ..Status::default() })))
    }

    #[test]
    fn a_budget_holds_a_roll_up_and_is_no_failure() {
        let what = "its PodDisruptionBudget to let pod a-0 go (words)".to_owned();
        assert_eq!(evicted("a-0", refused(429)), Ok(Became::Held(what)));
        assert_eq!(evicted("a-0", refused(409)), Ok(Became::Done), "another one took its place");
        assert_eq!(evicted("a-0", refused(404)), Ok(Became::Done));
        assert!(evicted("a-0", refused(500)).is_err());
    }

    #[test]
    fn a_claim_that_may_not_grow_needs_a_person() {
        for code in [403, 422] {
            let Ok(Became::Refused(why)) = grown("d0-a-0", "20Gi", refused(code)) else { panic!("{code}") };
            assert!(
                why.contains("d0-a-0") && why.contains("words") && why.contains("set the size back"),
                "{why}"
            );
        }
        assert!(grown("d0-a-0", "20Gi", refused(500)).is_err(), "it is tried again");
    }
}
