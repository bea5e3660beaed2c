//! The status of a cluster, from what is there. Pure; time is an argument.

use dfs_kubernetes::ClusterName;
use dfs_kubernetes::crd::{
    Capacity, Chunks, DataNodeStatus, DfsClusterSpec, DfsClusterStatus, NameNodeStatus, PoolStatus,
    condition, reason,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use crate::observe::{Files, FilesView, Observed, PodView};
use crate::plan::{Plan, Step, Work};

/// So long a pod may take to serve before anybody is told that it is down, in seconds.
const STARTING_GRACE: i64 = 90;
/// Longest message of a condition that API servers take.
const MAX_MESSAGE: usize = 32_768;
/// Most pods that a message names.
const MAX_NAMED: usize = 5;

/// What a status is made of.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The cluster.
    pub name: &'a ClusterName,
    /// What is asked for.
    pub spec: &'a DfsClusterSpec,
    /// Generation of the spec.
    pub generation: Option<i64>,
    /// What is there.
    pub observed: &'a Observed,
    /// What is to be done, or `None` if nothing could be planned.
    pub plan: &'a Plan,
    /// Why not all of it could be done.
    pub failure: Option<&'a str>,
    /// What the pods run.
    pub image: String,
    /// The present moment.
    pub now: Timestamp,
}

/// The type, status, reason and message of a condition.
struct Verdict {
    kind: &'static str,
    status: &'static str,
    reason: &'static str,
    message: String,
}

/// The status of a cluster whose status was `old`. What nobody can tell at the moment stays.
pub fn status(facts: &Facts<'_>, old: &DfsClusterStatus) -> DfsClusterStatus {
    let files = facts.observed.files.told();
    let verdicts = [facts.available(old), facts.progressing(), facts.degraded(old)];
    let conditions =
        verdicts.into_iter().map(|verdict| settle(verdict, old, facts.generation, facts.now)).collect();
    DfsClusterStatus {
        observed_generation: facts.generation,
        cluster_id: files.map(|files| files.cluster.to_string()).or_else(|| old.cluster_id.clone()),
        image: Some(facts.image.clone()),
        waiting_for: facts.waiting_for(),
        safe_mode: files.map(|files| files.safe_mode).or(old.safe_mode),
        name_nodes: Some(facts.name_nodes()),
        data_nodes: Some(facts.data_nodes()),
        pools: facts.pools(),
        capacity: files.map(capacity).or_else(|| old.capacity.clone()),
        chunks: files.map(chunks).or_else(|| old.chunks.clone()),
        conditions,
    }
}

/// Whether `new` tells of more than files that come and go.
pub fn differs(old: &DfsClusterStatus, new: &DfsClusterStatus) -> bool {
    let essence = |status: &DfsClusterStatus| DfsClusterStatus {
        capacity: status.capacity.as_ref().map(|capacity| Capacity { used_bytes: 0, ..capacity.clone() }),
        chunks: status.chunks.as_ref().map(|chunks| Chunks { total: 0, ..chunks.clone() }),
        ..status.clone()
    };
    essence(old) != essence(new)
}

/// Keeps the time of the last transition while the status of the condition is the same.
fn settle(verdict: Verdict, old: &DfsClusterStatus, generation: Option<i64>, now: Timestamp) -> Condition {
    let Verdict { kind, status, reason, message } = verdict;
    let before = old.condition(kind).filter(|before| before.status == status);
    // Conditions have whole seconds; what is written must be what is read back.
    let now = Timestamp::from_second(now.as_second()).unwrap_or(now);
    Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.chars().take(MAX_MESSAGE).collect(),
        observed_generation: generation,
        last_transition_time: before.map_or(Time(now), |before| before.last_transition_time.clone()),
    }
}

fn capacity(files: &FilesView) -> Capacity {
    let percent = (u128::from(files.used) * 100).checked_div(u128::from(files.capacity)).unwrap_or(0);
    Capacity {
        total_bytes: files.capacity,
        used_bytes: files.used,
        used_percent: u32::try_from(percent).unwrap_or(u32::MAX),
    }
}

fn chunks(files: &FilesView) -> Chunks {
    Chunks {
        total: files.chunks,
        under_replicated: files.under_replicated,
        only_one_copy: files.only_one_copy,
        missing: files.missing,
        corrupt: files.corrupt,
    }
}

/// Some names, and how many more there are.
fn named(names: &[&str]) -> String {
    let shown = names.iter().take(MAX_NAMED).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(MAX_NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

impl Facts<'_> {
    /// Pods of a StatefulSet that are asked for: name, and the pod if it is there.
    fn pods(&self, set: &str, replicas: u32) -> Vec<(String, Option<&PodView>)> {
        (0..replicas)
            .map(|ordinal| {
                let name = format!("{set}-{ordinal}");
                let pod = self.observed.pods.get(&name);
                (name, pod)
            })
            .collect()
    }

    /// How many of these pods serve, and how many of them run what is asked for.
    fn count(&self, set: &str, replicas: u32) -> (u32, u32) {
        let revision = self.observed.sets.get(set).and_then(|set| set.revision.as_ref());
        let pods = self.pods(set, replicas);
        let serving = || pods.iter().filter_map(|(_, pod)| *pod).filter(|pod| pod.ready && !pod.terminating);
        let updated = serving().filter(|pod| revision == Some(&pod.revision)).count();
        (serving().count() as u32, updated as u32)
    }

    fn name_nodes(&self) -> NameNodeStatus {
        let desired = self.spec.name_node.replicas;
        let (ready, updated) = self.count(&self.name.namenodes(), desired);
        let leader = self.observed.files.told().and_then(|files| files.leader()?.pod.clone());
        NameNodeStatus { desired, ready, updated, leader }
    }

    fn pools(&self) -> Vec<PoolStatus> {
        self.spec
            .data_node_pools
            .iter()
            .map(|pool| {
                let set = self.name.pool(&pool.name);
                // Those that are there although fewer are asked for do serve.
                let kept = self.observed.sets.get(&set).map_or(0, |set| set.replicas);
                let (ready, updated) = self.count(&set, pool.replicas.max(kept));
                PoolStatus { name: pool.name.clone(), desired: pool.replicas, ready, updated }
            })
            .collect()
    }

    fn data_nodes(&self) -> DataNodeStatus {
        self.pools().iter().fold(DataNodeStatus::default(), |sum, pool| DataNodeStatus {
            desired: sum.desired + pool.desired,
            ready: sum.ready + pool.ready,
            updated: sum.updated + pool.updated,
        })
    }

    fn waiting_for(&self) -> Option<String> {
        if self.spec.paused {
            return None;
        }
        let step = self.plan.steps.iter().find_map(|step| match step {
            Step::ReplacePod { pod, .. } => Some(format!("pod {pod} to be replaced")),
            Step::MoveLeader { from } => Some(format!("another NameNode to lead than {from}")),
            Step::GrowClaim { claim, size } => Some(format!("claim {claim} to grow to {size}")),
            Step::RemakeSet { set, .. } => Some(format!("StatefulSet {set} to be made anew")),
            Step::AnnounceLoss { .. } => None,
        });
        step.or_else(|| self.plan.waiting.first().map(|wait| wait.what.clone()))
    }

    fn available(&self, old: &DfsClusterStatus) -> Verdict {
        let verdict =
            |status, reason, message: String| Verdict { kind: condition::AVAILABLE, status, reason, message };
        let files = match &self.observed.files {
            Files::Told(files) => files,
            Files::NotAsked if old.cluster_id.is_none() => {
                return verdict("False", reason::STARTING, "no NameNode serves yet".to_owned());
            }
            Files::NotAsked => return verdict("False", reason::NO_LEADER, "no NameNode serves".to_owned()),
            Files::Silent(why) => return verdict("False", reason::NO_LEADER, why.clone()),
        };
        let Some(leader) = files.leader() else {
            return verdict("False", reason::NO_LEADER, "no NameNode leads".to_owned());
        };
        if files.safe_mode {
            let message = "the file system is in safe mode: it can be read, and takes no writes".to_owned();
            return verdict("False", reason::SAFE_MODE, message);
        }
        let (serving, needed) = (files.serving().count(), self.spec.effective_min_replicas());
        if serving < needed as usize {
            let message = format!("{serving} DataNodes serve, and a file needs {needed} to be closed");
            return verdict("False", reason::TOO_FEW_DATA_NODES, message);
        }
        let leader = leader.pod.as_deref().unwrap_or("a NameNode");
        verdict("True", reason::SERVING, format!("{leader} leads, {serving} DataNodes serve"))
    }

    fn progressing(&self) -> Verdict {
        let verdict = |status, reason, message: String| Verdict {
            kind: condition::PROGRESSING,
            status,
            reason,
            message,
        };
        if self.spec.paused {
            let message = "the spec says paused: nothing is changed until it does not".to_owned();
            return verdict("False", reason::PAUSED, message);
        }
        if let Some(failure) = self.failure {
            return verdict("False", reason::RECONCILE_FAILED, failure.to_owned());
        }
        let (asked, needed) = (self.spec.data_nodes(), self.spec.effective_min_replicas());
        if asked < needed {
            let message = format!(
                "{asked} DataNodes are asked for, and a file needs {needed} to be closed: ask for more, or lower minReplicas"
            );
            return verdict("False", reason::INVALID_SPEC, message);
        }
        if !self.plan.refused.is_empty() {
            return verdict("False", reason::SCALE_DOWN_REFUSED, self.plan.refused.join("; "));
        }
        let why = match self.plan.work() {
            Some(Work::Rolling) => reason::ROLLING,
            Some(Work::Resizing) => reason::RESIZING,
            Some(Work::Starting) => reason::PODS_STARTING,
            None => {
                return verdict("False", reason::COMPLETE, "everything is as asked for".to_owned());
            }
        };
        let what = self.waiting_for().unwrap_or_default();
        verdict("True", why, format!("waiting for {what}"))
    }

    fn degraded(&self, old: &DfsClusterStatus) -> Verdict {
        let verdict =
            |status, reason, message: String| Verdict { kind: condition::DEGRADED, status, reason, message };
        let mut wrongs: Vec<(&'static str, String)> = Vec::new();
        if let Some(files) = self.observed.files.told() {
            let FilesView { missing, corrupt, under_replicated, only_one_copy, .. } = files;
            if *missing > 0 {
                let message = format!("{missing} chunks have no replica: 'dfs fsck /' names their files");
                wrongs.push((reason::CHUNKS_MISSING, message));
            }
            if *corrupt > 0 {
                let message =
                    format!("{corrupt} chunks have no good replica: 'dfs fsck /' names their files");
                wrongs.push((reason::CHUNKS_CORRUPT, message));
            }
            if *under_replicated > 0 {
                let mut message = format!(
                    "{under_replicated} chunks have too few replicas, {only_one_copy} of them only one"
                );
                let (asked, wanted) = (self.spec.data_nodes(), self.spec.replication);
                if asked < wanted {
                    message = format!("{message}: {asked} DataNodes can't hold {wanted} replicas");
                }
                wrongs.push((reason::UNDER_REPLICATED, message));
            }
            let failed: u64 = files.serving().map(|node| node.failed_volumes).sum();
            if failed > 0 {
                let message = format!("{failed} volumes failed: 'dfs report' names them");
                wrongs.push((reason::VOLUME_FAILED, message));
            }
        }
        // Before the file system was there for the first time pods are not down, they have not been up.
        if old.cluster_id.is_some() {
            let sets = std::iter::once((
                reason::NAME_NODE_DOWN,
                self.name.namenodes(),
                self.spec.name_node.replicas,
            ));
            let pools = self.spec.data_node_pools.iter();
            let pools = pools.map(|pool| (reason::DATA_NODE_DOWN, self.name.pool(&pool.name), pool.replicas));
            for (why, set, replicas) in sets.chain(pools) {
                let pods = self.pods(&set, replicas);
                let down: Vec<_> = pods
                    .iter()
                    .filter(|(_, pod)| pod.is_some_and(|pod| !pod.ready && pod.age > STARTING_GRACE))
                    .map(|(name, _)| name.as_str())
                    .collect();
                if !down.is_empty() {
                    wrongs.push((why, format!("{} not ready: {}", plural(down.len()), named(&down))));
                }
            }
        }
        let reason = wrongs.first().map(|(reason, _)| *reason);
        match (reason, &self.observed.files) {
            (Some(reason), _) => {
                let messages: Vec<_> = wrongs.into_iter().map(|(_, message)| message).collect();
                verdict("True", reason, messages.join("; "))
            }
            (None, Files::Told(_)) => verdict("False", reason::HEALTHY, "nothing is in want".to_owned()),
            (None, Files::NotAsked | Files::Silent(_)) => {
                verdict("Unknown", reason::UNKNOWN, "the file system has not told".to_owned())
            }
        }
    }
}

fn plural(pods: usize) -> String {
    if pods == 1 { "1 pod is".to_owned() } else { format!("{pods} pods are") }
}

#[cfg(test)]
mod tests;
