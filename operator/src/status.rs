//! The status of a cluster, from what is there. Pure; time is an argument.

mod degraded;
mod since;

use std::time::Duration;

use dfs_kubernetes::ClusterName;
use dfs_kubernetes::crd::{
    Capacity, Chunks, DataNodeStatus, DfsClusterSpec, DfsClusterStatus, NameNodeStatus, PoolStatus,
    condition, reason,
};
use dfs_kubernetes::names::Component;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

use crate::observe::{Files, FilesView, Observed, PodView};
use crate::plan::{Plan, Refusal, Step, Work};

pub use since::{Since, passing};

/// How long what is told in words may be older than what is seen.
const WORDS: Duration = Duration::from_secs(10);
/// How long bytes and chunks that come and go may be.
const NUMBERS: Duration = Duration::from_mins(1);
/// Longest message of a condition that API servers take.
const MAX_MESSAGE: usize = 32_768;

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
    /// What is to be done, without what turned out to be impossible for now.
    pub plan: &'a Plan,
    /// Why not all of it could be done.
    pub failure: Option<&'a str>,
    /// Since when what may pass by itself has been so.
    pub since: &'a Since,
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
        // For life: that another one is served now is no reason to forget it.
        cluster_id: old.cluster_id.clone().or_else(|| files.map(|files| files.cluster.to_string())),
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

/// How old `old` may be before `new` is written in its place; `None` if both say the same. Else a cluster in which much changes
/// would have its status written, and be looked at again for that, without end.
pub fn patience(old: &DfsClusterStatus, new: &DfsClusterStatus) -> Option<Duration> {
    let without_numbers = |status: &DfsClusterStatus| DfsClusterStatus {
        capacity: status.capacity.as_ref().map(|_| Capacity::default()),
        chunks: status.chunks.as_ref().map(|chunks| {
            let Chunks { total: _, under_replicated, only_one_copy, missing, corrupt } = chunks;
            let some = |number: &u64| u64::from(*number > 0);
            Chunks {
                total: 0,
                under_replicated: some(under_replicated),
                only_one_copy: some(only_one_copy),
                missing: some(missing),
                corrupt: some(corrupt),
            }
        }),
        ..status.clone()
    };
    let essence = |status: &DfsClusterStatus| DfsClusterStatus {
        waiting_for: status.waiting_for.as_ref().map(|_| String::new()),
        conditions: status
            .conditions
            .iter()
            .map(|condition| Condition { message: String::new(), ..condition.clone() })
            .collect(),
        ..without_numbers(status)
    };
    if essence(old) != essence(new) {
        Some(Duration::ZERO)
    } else if without_numbers(old) != without_numbers(new) {
        Some(WORDS)
    } else {
        (old != new).then_some(NUMBERS)
    }
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

impl Facts<'_> {
    /// How many of these pods serve, and how many of them run what is asked for.
    fn count(&self, set: &str, replicas: u32) -> (u32, u32) {
        let revision = self.observed.sets.get(set).and_then(|set| set.revision.as_ref());
        let pods: Vec<_> = self.observed.pods_of(set, replicas).collect();
        let serving = || {
            let there = pods.iter().filter_map(|(name, pod)| Some((name, (*pod)?)));
            there.filter(|(name, pod)| pod.ready && !pod.terminating && self.has_reported(name, pod))
        };
        let updated = serving().filter(|(_, pod)| revision == Some(&pod.revision)).count();
        (serving().count() as u32, updated as u32)
    }

    /// Whether the DataNode of a pod has told all it holds, as far as anybody can tell.
    fn has_reported(&self, name: &str, pod: &PodView) -> bool {
        let told = self.observed.files.told();
        pod.component == Component::NameNode || told.is_none_or(|files| files.serves(name))
    }

    /// Words of the one refusal that concerns everything.
    fn other_file_system(&self) -> Option<&str> {
        self.plan.refused.iter().find_map(|refusal| match refusal {
            Refusal::OtherFileSystem(words) => Some(words.as_str()),
            Refusal::ScaleDown(_) | Refusal::InvalidSpec(_) => None,
        })
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
            Step::GrowClaim { claim, size, set: _ } => Some(format!("claim {claim} to grow to {size}")),
            Step::RemakeSet { set, .. } => Some(format!("StatefulSet {set} to be made anew")),
            Step::AnnounceLoss { .. } | Step::ForgetNodes { .. } => None,
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
        if let Some(words) = self.other_file_system() {
            return verdict("False", reason::CLUSTER_ID_CHANGED, words.to_owned());
        }
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
        let refused: Vec<_> = self.plan.refused.iter().map(Refusal::words).collect();
        let refused = refused.join("; ");
        let why = match (self.plan.work(), self.plan.refused.first()) {
            (Some(Work::Rolling), _) => reason::ROLLING,
            (Some(Work::Resizing), _) => reason::RESIZING,
            (Some(Work::Starting), _) => reason::PODS_STARTING,
            (None, Some(first)) => {
                let why = match first {
                    Refusal::ScaleDown(_) => reason::SCALE_DOWN_REFUSED,
                    Refusal::InvalidSpec(_) => reason::INVALID_SPEC,
                    Refusal::OtherFileSystem(_) => reason::CLUSTER_ID_CHANGED,
                };
                return verdict("False", why, refused);
            }
            (None, None) => {
                return verdict("False", reason::COMPLETE, "everything is as asked for".to_owned());
            }
        };
        let mut message = format!("waiting for {}", self.waiting_for().unwrap_or_default());
        if !refused.is_empty() {
            message = format!("{message}; {refused}");
        }
        verdict("True", why, message)
    }
}

#[cfg(test)]
mod tests;
