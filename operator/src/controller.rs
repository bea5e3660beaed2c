//! Reconciling one cluster: look, build, apply, ask the file system, plan, act, tell.
//!
//! All decisions are made elsewhere, by pure functions; here they are fed and obeyed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use dfs_kubernetes::crd::{DfsCluster, DfsClusterStatus, condition, reason};
use dfs_kubernetes::names::FIELD_MANAGER;
use dfs_kubernetes::{ClusterName, names};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use kube::core::error_boundary::InvalidObject;
use kube::runtime::controller::Action;
use kube::runtime::events::Recorder;
use kube::{Api, Client, Resource as _, ResourceExt as _};
use serde_json::json;
use tracing::{debug, warn};

use crate::apply::Applier;
use crate::build::{self, DefaultImage, Objects, Present};
use crate::events;
use crate::filesystem::FileSystems;
use crate::metrics::{Metrics, Outcome};
use crate::observe::{ClaimView, Files, Observed, PodView, SetView};
use crate::plan::{self, Plan, Step};
use crate::status::{self, Facts};
use crate::watch::{Caches, Guarded, live, of_cluster};

/// How often a cluster is looked at in which nothing happens: what its file system tells comes by no watch.
const SETTLED: Duration = Duration::from_secs(10);
/// How often one is looked at in which something happens.
const BUSY: Duration = Duration::from_secs(2);
/// How often one is looked at that has no file system yet: its pods' changes come by watch.
const UNBORN: Duration = Duration::from_mins(1);
/// How often bytes and chunks that come and go are written down.
const NUMBERS: Duration = Duration::from_mins(1);
/// Longest pause between two tries after failures.
const MAX_BACKOFF: Duration = Duration::from_mins(2);

/// What all reconciliations share.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// What is known of it.
    pub caches: Caches,
    /// What was applied.
    pub applier: Applier,
    /// The clusters' file systems.
    pub files: FileSystems,
    /// Events.
    pub recorder: Recorder,
    /// Metrics.
    pub metrics: Metrics,
    /// Image of pods whose spec does not say.
    pub default_image: DefaultImage,
    /// What is remembered of each cluster from one time to the next.
    pub memory: Mutex<HashMap<ClusterName, Memory>>,
}

/// What is remembered of a cluster. Losing it costs nothing but a few requests.
#[derive(Debug, Clone, Default)]
pub struct Memory {
    failures: u32,
    /// Generation of a spec that can't be read, which was told.
    refused: Option<i64>,
    /// The status as written last, and when: the watch tells of it only later.
    written: Option<(DfsClusterStatus, Instant)>,
}

/// A reconciliation failed; it is tried again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

/// Brings one cluster a step nearer to what is asked for.
pub async fn reconcile(cluster: Arc<Guarded>, context: Arc<Context>) -> Result<Action, Failure> {
    let started = Instant::now();
    let result = match &cluster.0 {
        Ok(cluster) if cluster.metadata.deletion_timestamp.is_some() => {
            Ok((Action::await_change(), Outcome::Settled))
        }
        Ok(cluster) => context.reconcile(cluster).await,
        Err(invalid) => context.refuse(invalid).await.map(|action| (action, Outcome::Settled)),
    };
    let outcome = result.as_ref().map_or(Outcome::Failed, |(_, outcome)| *outcome);
    context.metrics.reconciled(outcome, started.elapsed());
    result.map(|(action, _)| action)
}

/// When to try again after a failure.
pub fn after_failure(cluster: Arc<Guarded>, failure: &Failure, context: Arc<Context>) -> Action {
    let Some(name) = name_of(&cluster) else { return Action::await_change() };
    let mut memory = context.memory.lock().unwrap_or_else(PoisonError::into_inner);
    let failures = &mut memory.entry(name.clone()).or_default().failures;
    *failures = failures.saturating_add(1);
    let pause = Duration::from_secs(1 << (*failures).min(8)).min(MAX_BACKOFF);
    warn!(cluster = %name, %failure, failures, ?pause, "reconciling failed");
    Action::requeue(pause)
}

fn name_of(cluster: &Guarded) -> Option<ClusterName> {
    let meta = cluster.meta();
    Some(ClusterName::new(meta.namespace.as_deref()?, meta.name.as_deref()?))
}

/// What an error of the API server means, in its own words.
pub fn in_words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => {
            let mut text = other.to_string();
            let mut source = std::error::Error::source(other);
            while let Some(cause) = source {
                let cause_text = cause.to_string();
                if !text.contains(&cause_text) {
                    text = format!("{text}: {cause_text}");
                }
                source = cause.source();
            }
            text
        }
    }
}

impl Context {
    async fn reconcile(&self, cluster: &DfsCluster) -> Result<(Action, Outcome), Failure> {
        let Some(name) = build::cluster_name(cluster) else {
            return Ok((Action::await_change(), Outcome::Settled));
        };
        let (sets, mut observed) = self.look(&name);
        let mut failures = Vec::new();
        if !cluster.spec.paused {
            let present = Present {
                sets: sets.iter().map(|set| (set.name_any(), StatefulSet::clone(set))).collect(),
                machines: self.caches.machine_labels(),
            };
            if let Some(objects) = build::objects(cluster, &self.default_image, &present) {
                failures = self.apply(&objects).await;
            }
        }
        observed.files = self.ask(&name, cluster, &observed).await;
        let plan =
            if cluster.spec.paused { Plan::default() } else { plan::plan(&name, &cluster.spec, &observed) };
        // What could not be applied must not be spread by replacing pods.
        if failures.is_empty() {
            let mut claims_grow = true;
            for step in &plan.steps {
                // A template that is larger than the claims would hide that they did not grow.
                if matches!(step, Step::RemakeSet { .. }) && !claims_grow {
                    continue;
                }
                match self.perform(&name, cluster, step).await {
                    Ok(()) => events::publish(&self.recorder, cluster, events::done(step)).await,
                    Err(why) => {
                        claims_grow &= !matches!(step, Step::GrowClaim { .. });
                        failures.push(why);
                    }
                }
            }
        }
        let failure = (!failures.is_empty()).then(|| failures.join("; "));
        let facts = Facts {
            name: &name,
            spec: &cluster.spec,
            generation: cluster.metadata.generation,
            observed: &observed,
            plan: &plan,
            failure: failure.as_deref(),
            image: build::image(&cluster.spec, &self.default_image),
            now: Timestamp::now(),
        };
        let status = self.tell(&name, cluster, &facts).await?;
        if let Some(failure) = failure {
            return Err(Failure(failure));
        }
        if let Some(memory) = self.memory.lock().unwrap_or_else(PoisonError::into_inner).get_mut(&name) {
            memory.failures = 0;
        }
        let healthy = status.is(condition::AVAILABLE) && !status.is(condition::DEGRADED);
        let (pause, outcome) = match (&observed.files, plan.is_idle() && healthy) {
            (_, true) => (SETTLED, Outcome::Settled),
            (Files::NotAsked, false) => (UNBORN, Outcome::Waiting),
            (Files::Silent(_) | Files::Told(_), false) => (BUSY, Outcome::Waiting),
        };
        Ok((Action::requeue(pause), outcome))
    }

    /// What is there, but for the file system.
    fn look(&self, name: &ClusterName) -> (Vec<Arc<StatefulSet>>, Observed) {
        let now = Timestamp::now();
        let (namespace, cluster) = (&name.namespace, &name.name);
        let sets = of_cluster(&self.caches.sets, namespace, cluster);
        let pods = of_cluster(&self.caches.pods, namespace, cluster);
        let claims = of_cluster(&self.caches.claims, namespace, cluster);
        let observed = Observed {
            sets: sets.iter().filter_map(|set| SetView::new(set)).collect(),
            pods: pods.iter().filter_map(|pod| PodView::new(pod, now)).collect(),
            claims: claims.iter().filter_map(|claim| ClaimView::new(claim)).collect(),
            files: Files::NotAsked,
        };
        (sets, observed)
    }

    /// Applies what differs. Answers with what failed, in words; each object is tried.
    async fn apply(&self, objects: &Objects) -> Vec<String> {
        let Objects { service_account, topology, services, budgets, sets } = objects;
        let caches = &self.caches;
        let mut results = Vec::new();
        let account = live(&caches.accounts, &service_account.metadata);
        results.push(self.applier.apply(service_account, account.as_ref()).await);
        if let Some(topology) = topology {
            let there = live(&caches.config_maps, &topology.metadata);
            results.push(self.applier.apply(topology, there.as_ref()).await);
        }
        for service in services {
            let there = live(&caches.services, &service.metadata);
            results.push(self.applier.apply(service, there.as_ref()).await);
        }
        for budget in budgets {
            let there = live(&caches.budgets, &budget.metadata);
            results.push(self.applier.apply(budget, there.as_ref()).await);
        }
        // Last, so that pods find all they need.
        for set in sets {
            let there = live(&caches.sets, &set.metadata);
            results.push(self.applier.apply(set, there.as_ref()).await);
        }
        results.into_iter().filter_map(|result| result.err().map(|error| in_words(&error))).collect()
    }

    /// What the file system tells, if a NameNode could be there to tell it.
    async fn ask(&self, name: &ClusterName, cluster: &DfsCluster, observed: &Observed) -> Files {
        let namenodes = observed.pods.values().filter(|pod| pod.component == names::Component::NameNode);
        let serves = namenodes.into_iter().any(|pod| pod.ready && !pod.terminating);
        if !serves {
            self.files.forget(name);
            return Files::NotAsked;
        }
        self.files.ask(name, cluster.spec.name_node.replicas).await
    }

    /// Does one thing. That it was done already is no error.
    async fn perform(&self, name: &ClusterName, cluster: &DfsCluster, step: &Step) -> Result<(), String> {
        let namenodes = cluster.spec.name_node.replicas;
        debug!(cluster = %name, ?step, "performing");
        let (label, result) = match step {
            Step::ReplacePod { pod, uid } => {
                let api: Api<Pod> = Api::namespaced(self.client.clone(), &name.namespace);
                let very_one = DeleteParams::default().preconditions(only(uid));
                ("replace_pod", gone(api.delete(pod, &very_one).await.map(|_| ())))
            }
            Step::MoveLeader { from: _ } => {
                let moved = self.files.move_leader(name, namenodes).await;
                ("move_leader", moved.map_err(|error| error.message))
            }
            Step::AnnounceLoss { nodes } => {
                let ids: Vec<_> = nodes.iter().map(|(id, _)| *id).collect();
                let told = self.files.announce_loss(name, namenodes, &ids).await;
                ("announce_loss", told.map_err(|error| error.message))
            }
            Step::GrowClaim { claim, size } => {
                let api: Api<PersistentVolumeClaim> = Api::namespaced(self.client.clone(), &name.namespace);
                let patch = json!({ "spec": { "resources": { "requests": { "storage": size } } } });
                let parameters =
                    PatchParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
                let grown = api.patch(claim, &parameters, &Patch::Merge(patch)).await;
                ("grow_claim", grown.map(|_| ()).map_err(|error| in_words(&error)))
            }
            Step::RemakeSet { set, uid } => {
                let api: Api<StatefulSet> = Api::namespaced(self.client.clone(), &name.namespace);
                let without_pods = DeleteParams::orphan().preconditions(only(uid));
                ("remake_set", gone(api.delete(set, &without_pods).await.map(|_| ())))
            }
        };
        if result.is_ok() {
            self.metrics.step(label);
        }
        result
    }

    /// Writes the status and tells what changed, if anything did.
    async fn tell(
        &self,
        name: &ClusterName,
        cluster: &DfsCluster,
        facts: &Facts<'_>,
    ) -> Result<DfsClusterStatus, Failure> {
        let written = {
            let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.get(name).and_then(|memory| memory.written.clone())
        };
        let (old, when) = match written {
            Some((status, when)) => (status, Some(when)),
            None => (cluster.status.clone().unwrap_or_default(), None),
        };
        let new = status::status(facts, &old);
        let due = when.is_none_or(|when| when.elapsed() >= NUMBERS);
        if new == old || !(status::differs(&old, &new) || due) {
            return Ok(old);
        }
        self.write(name, &new).await.map_err(|error| Failure(in_words(&error)))?;
        {
            let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            memory.entry(name.clone()).or_default().written = Some((new.clone(), Instant::now()));
        }
        for news in events::changes(&old, &new) {
            events::publish(&self.recorder, cluster, news).await;
        }
        Ok(new)
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
    async fn refuse(&self, invalid: &InvalidObject) -> Result<Action, Failure> {
        let meta = &invalid.metadata;
        let (Some(namespace), Some(name)) = (&meta.namespace, &meta.name) else {
            return Ok(Action::await_change());
        };
        let key = ClusterName::new(namespace, name);
        let told = |memory: &HashMap<ClusterName, Memory>| memory.get(&key).and_then(|memory| memory.refused);
        if told(&self.memory.lock().unwrap_or_else(PoisonError::into_inner)) == meta.generation {
            return Ok(Action::await_change());
        }
        warn!(cluster = %key, error = invalid.error, "a DfsCluster can't be read");
        let message =
            format!("the operator can't read the spec ({}): is the operator older than it?", invalid.error);
        let now = Timestamp::now();
        let patch = json!({
            "apiVersion": DfsCluster::api_version(&()), "kind": DfsCluster::kind(&()),
            "metadata": { "name": name, "namespace": namespace },
            "status": { "conditions": [{
                "type": condition::PROGRESSING, "status": "False", "reason": reason::INVALID_SPEC, "message": message,
                "lastTransitionTime": k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(now),
                "observedGeneration": meta.generation,
            }] },
        });
        // Untyped: as a DfsCluster the answer could not be read either.
        let resource = kube::core::ApiResource::erase::<DfsCluster>(&());
        let api: Api<kube::core::DynamicObject> =
            Api::namespaced_with(self.client.clone(), namespace, &resource);
        let applied =
            api.patch_status(name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(&patch)).await;
        applied.map_err(|error| Failure(in_words(&error)))?;
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.entry(key).or_default().refused = meta.generation;
        Ok(Action::await_change())
    }

    /// Forgets a cluster that is gone.
    pub fn forget(&self, name: &ClusterName) {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        self.files.forget(name);
        self.applier.forget(&name.namespace, &name.name);
    }
}

fn only(uid: &str) -> Preconditions {
    Preconditions { resource_version: None, uid: Some(uid.to_owned()) }
}

/// Deleting what is gone, or what another one took the place of, is done already.
fn gone(result: Result<(), kube::Error>) -> Result<(), String> {
    match result {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        other => other.map_err(|error| in_words(&error)),
    }
}
