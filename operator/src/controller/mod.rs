//! Reconciling one cluster: look, build, apply, ask the file system, plan, act, tell.
//!
//! All decisions are made elsewhere, by pure functions; here they are fed and obeyed.

mod act;
mod memory;
mod tell;

use std::sync::Arc;
use std::time::{Duration, Instant};

use dfs_kubernetes::crd::{DfsCluster, condition};
use dfs_kubernetes::{ClusterName, names};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::runtime::events::Recorder;
use kube::{Client, Resource as _, ResourceExt as _};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::apply::{Applier, ApplyError};
use crate::build::{self, DefaultImage, Objects, Present};
use crate::filesystem::FileSystems;
use crate::metrics::{Metrics, Outcome};
use crate::observe::{ClaimView, Files, Observed, PodView, SetView};
use crate::plan;
use crate::status::{self, Facts};
use crate::watch::{Caches, Guarded, live, of_cluster};

pub use memory::Memories;

/// How often a cluster is looked at in which nothing happens: what its file system tells comes by no watch.
const SETTLED: Duration = Duration::from_secs(10);
/// How often one is looked at in which something happens.
const BUSY: Duration = Duration::from_secs(2);
/// How often one is looked at that has no file system yet: its pods' changes come by watch.
const UNBORN: Duration = Duration::from_mins(1);
/// Longest pause between two tries after failures.
const MAX_BACKOFF: Duration = Duration::from_mins(2);
/// Longest that one look at a cluster may take, with all that is done about it.
const PATIENCE: Duration = Duration::from_mins(1);

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
    pub memories: Memories,
}

/// A reconciliation failed; it is tried again.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Failure(String);

/// What became of the objects.
#[derive(Debug, Default)]
struct Applied {
    /// What failed, in words.
    failures: Vec<String>,
    /// StatefulSets that were sent, as they became.
    sets: Vec<StatefulSet>,
    /// What is not any more as it was seen, so that nothing can be decided.
    stale: Option<String>,
}

/// Brings one cluster a step nearer to what is asked for.
pub async fn reconcile(cluster: Arc<Guarded>, context: Arc<Context>) -> Result<Action, Failure> {
    let started = Instant::now();
    let done = timeout(PATIENCE, async {
        match &cluster.0 {
            Ok(cluster) if cluster.metadata.deletion_timestamp.is_some() => {
                Ok((Action::await_change(), Outcome::Settled))
            }
            Ok(cluster) => context.reconcile(cluster).await,
            Err(invalid) => context.refuse(invalid).await.map(|action| (action, Outcome::Settled)),
        }
    });
    // Else one request without an answer would hold up a cluster for ever.
    let late = |_| Err(Failure(format!("the API server did not answer within {PATIENCE:?}")));
    let result = done.await.unwrap_or_else(late);
    let outcome = result.as_ref().map_or(Outcome::Failed, |(_, outcome)| *outcome);
    context.metrics.reconciled(outcome, started.elapsed());
    result.map(|(action, _)| action)
}

/// When to try again after a failure.
pub fn after_failure(cluster: Arc<Guarded>, failure: &Failure, context: Arc<Context>) -> Action {
    let meta = cluster.meta();
    let (Some(namespace), Some(name)) = (&meta.namespace, &meta.name) else { return Action::await_change() };
    let name = ClusterName::new(namespace, name);
    let failures = context.memories.of(&name, meta.uid.as_deref(), |memory| {
        memory.failures = memory.failures.saturating_add(1);
        memory.failures
    });
    let pause = Duration::from_secs(1 << failures.min(8)).min(MAX_BACKOFF);
    warn!(cluster = %name, %failure, failures, ?pause, "reconciling failed");
    Action::requeue(pause)
}

impl Context {
    async fn reconcile(&self, cluster: &DfsCluster) -> Result<(Action, Outcome), Failure> {
        let Some(name) = build::cluster_name(cluster) else {
            return Ok((Action::await_change(), Outcome::Settled));
        };
        let (sets, mut observed) = self.look(&name);
        let mut applied = Applied::default();
        if !cluster.spec.paused {
            let present = Present {
                sets: sets.iter().map(|set| (set.name_any(), StatefulSet::clone(set))).collect(),
                kept: observed.kept(),
                machines: self.caches.machine_labels(),
            };
            if let Some(mut objects) = build::objects(cluster, &self.default_image, &present) {
                let unfit = plan::unfit(&name, &cluster.spec, &observed);
                objects.sets.retain(|set| !unfit.contains_key(&set.name_any()));
                applied = self.apply(&objects).await;
            }
        }
        if let Some(what) = applied.stale {
            debug!(cluster = %name, what, "looking again");
            return Ok((Action::requeue(BUSY), Outcome::Waiting));
        }
        // What was seen before does not tell of what was just asked for.
        observed.sets.extend(applied.sets.iter().filter_map(SetView::new));
        observed.files = self.ask(&name, cluster, &observed).await;
        let last = self.last_status(&name, cluster);
        let mut plan = plan::plan(&name, &cluster.spec, &observed, last.status.cluster_id.as_deref());
        let mut failures = applied.failures;
        // What could not be applied must not be spread by replacing pods.
        if failures.is_empty() {
            failures = self.act(&name, cluster, &mut plan).await;
        }
        let failure = (!failures.is_empty()).then(|| failures.join("; "));
        let now = Timestamp::now();
        let since = self.memories.of(&name, cluster.metadata.uid.as_deref(), |memory| {
            memory.since.note(status::passing(&name, &cluster.spec, &observed), now);
            memory.since.clone()
        });
        let facts = Facts {
            name: &name,
            spec: &cluster.spec,
            generation: cluster.metadata.generation,
            observed: &observed,
            plan: &plan,
            failure: failure.as_deref(),
            image: build::image(&cluster.spec, &self.default_image),
            since: &since,
            now,
        };
        let (status, untold) = self.tell(&name, cluster, &facts, last).await?;
        if let Some(failure) = failure {
            return Err(Failure(failure));
        }
        self.memories.of(&name, cluster.metadata.uid.as_deref(), |memory| memory.failures = 0);
        let healthy = status.is(condition::AVAILABLE) && !status.is(condition::DEGRADED);
        // What passes soon may also not pass.
        let calm = since.is_empty() && observed.files.told().is_none_or(|files| !files.is_uneasy());
        let (pause, outcome) = match (&observed.files, plan.is_idle() && healthy && calm) {
            (_, true) => (SETTLED, Outcome::Settled),
            (Files::NotAsked, false) => (UNBORN, Outcome::Waiting),
            (Files::Silent(_) | Files::Told(_), false) => (BUSY, Outcome::Waiting),
        };
        // A pod that waits for what will never be causes no further change: that is told all the same.
        Ok((Action::requeue(untold.map_or(pause, |left| pause.min(left))), outcome))
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
            claims: claims.iter().filter_map(|claim| ClaimView::new(claim, now)).collect(),
            files: Files::NotAsked,
        };
        (sets, observed)
    }

    /// Applies what differs; each object is tried.
    async fn apply(&self, objects: &Objects) -> Applied {
        let Objects { service_account, topology, services, budgets, sets } = objects;
        let (caches, applier) = (&self.caches, &self.applier);
        let mut applied = Applied::default();
        let account = live(&caches.accounts, &service_account.metadata);
        applied.note(applier.apply(service_account, account).await);
        if let Some(topology) = topology {
            let there = live(&caches.config_maps, &topology.metadata);
            applied.note(applier.apply(topology, there).await);
        }
        for service in services {
            let there = live(&caches.services, &service.metadata);
            applied.note(applier.apply(service, there).await);
        }
        for budget in budgets {
            let there = live(&caches.budgets, &budget.metadata);
            applied.note(applier.apply(budget, there).await);
        }
        // Last, so that pods find all they need.
        for set in sets {
            let there = live(&caches.sets, &set.metadata);
            let sent = applied.note(applier.apply(set, there).await);
            applied.sets.extend(sent);
        }
        applied
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

    /// Forgets a cluster that is gone.
    pub fn forget(&self, name: &ClusterName) {
        self.memories.forget(name);
        self.files.forget(name);
        self.applier.forget(&name.namespace, &name.name);
    }
}

impl Applied {
    /// Notes how it went with one object; answers with what was sent.
    fn note<K>(&mut self, result: Result<Option<K>, ApplyError>) -> Option<K> {
        match result {
            Ok(sent) => return sent,
            Err(ApplyError::Stale(what)) => self.stale = Some(what),
            Err(error) => self.failures.push(error.to_string()),
        }
        None
    }
}
