//! What to do next, and what is waited for. Pure: the spec and what is there in, steps out. The steps leave nothing to choose
//! to whoever performs them, and each is harmless when it is performed twice.

mod claims;
mod datanodes;
mod losses;
mod namenodes;
mod scale;

use dfs_kubernetes::ClusterName;
use dfs_kubernetes::crd::DfsClusterSpec;
use dfs_types::NodeId;

use crate::observe::{Observed, PodView, SetView};

pub use claims::unfit;

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Evict a pod: its StatefulSet makes it anew from the present template.
    ReplacePod {
        /// Its name.
        pod: String,
        /// That very pod, not one that took its place.
        uid: String,
    },
    /// Have another NameNode lead.
    MoveLeader {
        /// Pod of the one that leads.
        from: String,
    },
    /// Tell the NameNodes that these DataNodes never come back, so that their replicas are made anew at once.
    AnnounceLoss {
        /// Which, with the pod that each of them was.
        nodes: Vec<(NodeId, String)>,
    },
    /// Have these DataNodes forgotten: nothing is expected of them any more.
    ForgetNodes {
        /// Which, with the pod that each of them was.
        nodes: Vec<(NodeId, String)>,
    },
    /// Ask for a larger volume.
    GrowClaim {
        /// StatefulSet of its pod.
        set: String,
        /// The claim.
        claim: String,
        /// As the spec writes it.
        size: String,
    },
    /// Delete a StatefulSet but not its pods, so that it is made anew with what can't be changed in place.
    RemakeSet {
        /// Its name.
        set: String,
        /// That very one.
        uid: String,
    },
}

/// What to do, and why there is not more of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// To be done now, in this order.
    pub steps: Vec<Step>,
    /// What has to happen before anything more can be done.
    pub waiting: Vec<Wait>,
    /// What of the spec is not obeyed.
    pub refused: Vec<Refusal>,
}

/// Something of the spec that is not obeyed, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Fewer pods than there are.
    ScaleDown(String),
    /// What can't be.
    InvalidSpec(String),
    /// Anything: the NameNodes serve another file system.
    OtherFileSystem(String),
}

impl Refusal {
    /// What, and what to do about it.
    pub fn words(&self) -> &str {
        match self {
            Self::ScaleDown(words) | Self::InvalidSpec(words) | Self::OtherFileSystem(words) => words,
        }
    }
}

/// Something that has to happen first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    /// Which kind of work it holds up.
    pub work: Work,
    /// What, in words.
    pub what: String,
}

/// Kinds of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Pods are replaced one by one.
    Rolling,
    /// Claims grow.
    Resizing,
    /// Pods start.
    Starting,
}

impl Plan {
    fn wait(&mut self, work: Work, what: impl Into<String>) {
        self.waiting.push(Wait { work, what: what.into() });
    }

    /// Whether there is nothing to do and nothing to wait for.
    pub fn is_idle(&self) -> bool {
        self.steps.is_empty() && self.waiting.is_empty()
    }

    /// The work that is under way, the first of those that make others wait.
    pub fn work(&self) -> Option<Work> {
        let step = |step: &Step| match step {
            Step::ReplacePod { .. } | Step::MoveLeader { .. } => Some(Work::Rolling),
            Step::GrowClaim { .. } | Step::RemakeSet { .. } => Some(Work::Resizing),
            Step::AnnounceLoss { .. } | Step::ForgetNodes { .. } => None,
        };
        self.steps.iter().filter_map(step).chain(self.waiting.iter().map(|wait| wait.work)).min()
    }
}

/// Plans for one cluster.
pub(crate) struct Planner<'a> {
    name: &'a ClusterName,
    spec: &'a DfsClusterSpec,
    observed: &'a Observed,
}

/// What to do next for a cluster whose file system had the id `known`, if it is known.
pub fn plan(name: &ClusterName, spec: &DfsClusterSpec, observed: &Observed, known: Option<&str>) -> Plan {
    let planner = Planner { name, spec, observed };
    let mut plan = Plan::default();
    if let Some(words) = other_file_system(observed, known) {
        plan.refused.push(Refusal::OtherFileSystem(words));
        return plan;
    }
    if spec.paused {
        return plan;
    }
    planner.losses(&mut plan);
    planner.scale(&mut plan);
    planner.grow(&mut plan);
    // NameNodes first: new DataNodes may say what old NameNodes do not understand.
    if planner.roll_namenodes(&mut plan) {
        planner.roll_datanodes(&mut plan);
    }
    planner.starting(&mut plan);
    planner.forget(&mut plan);
    plan
}

/// Says so if the NameNodes serve another file system than the one with the id `known`: all of them lost their claims and began
/// anew, and the DataNodes hold what belongs to the old one.
fn other_file_system(observed: &Observed, known: Option<&str>) -> Option<String> {
    let (known, served) = (known?, observed.files.told()?.cluster.to_string());
    (known != served).then(|| {
        format!(
            "the NameNodes serve the file system {served}, and the DataNodes hold the chunks of {known}: restore the NameNodes' \
             claims or a backup, or make the DfsCluster anew if the old files are not needed"
        )
    })
}

/// So long a kubelet has for growing a file system under a running pod, in seconds; some drivers can't, and need a new one.
const ONLINE_GROWTH: i64 = 300;

/// How a pod stands to its StatefulSet's template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Made from the present template.
    Current,
    /// Made from an older one, or its volumes grow only when it starts anew.
    Outdated,
    /// Nobody knows yet: the StatefulSet's controller has not seen the last change.
    Unknown,
}

/// Whether a pod that is to be there does not serve, or will not for long.
fn is_away(pod: Option<&PodView>) -> bool {
    pod.is_none_or(|pod| !pod.ready || pod.terminating)
}

impl Planner<'_> {
    fn standing(&self, name: &str, pod: &PodView, set: &SetView) -> Standing {
        match &set.revision {
            Some(revision) if *revision != pod.revision || self.must_restart(name, pod, set) => {
                Standing::Outdated
            }
            Some(_) => Standing::Current,
            None => Standing::Unknown,
        }
    }

    /// Whether a volume of the pod has been waiting in vain for its file system to grow, since the pod has been there.
    fn must_restart(&self, name: &str, pod: &PodView, set: &SetView) -> bool {
        let claims = set
            .claims
            .keys()
            .filter_map(|volume| self.observed.claims.get(&ClusterName::claim(volume, name)));
        claims.filter_map(|claim| claim.unfinished).any(|waits| waits >= ONLINE_GROWTH && pod.age > waits)
    }

    /// Names of the StatefulSets of the spec: the NameNodes', then the pools'.
    fn sets(&self) -> Vec<String> {
        let pools = self.spec.data_node_pools.iter().map(|pool| self.name.pool(&pool.name));
        std::iter::once(self.name.namenodes()).chain(pools).collect()
    }

    /// The claim that a pod waits for: its scheduler does not say which, nor that a StorageClass is misspelled.
    fn volume_awaited(&self, pod: &str, set: &SetView) -> Option<String> {
        set.claims.iter().find_map(|(volume, template)| {
            let claim = ClusterName::claim(volume, pod);
            self.observed.claims.get(&claim).filter(|view| view.capacity == 0)?;
            Some(match &template.class {
                Some(class) => format!("; claim {claim} waits for a volume of StorageClass {class}"),
                None => format!("; claim {claim} waits for a volume of the default StorageClass"),
            })
        })
    }

    /// What keeps a pod from serving, as far as anybody says.
    fn trouble(&self, name: &str, pod: &PodView, set: &SetView) -> Option<String> {
        let trouble = pod.trouble.as_ref()?;
        Some(format!("{trouble}{}", self.volume_awaited(name, set).unwrap_or_default()))
    }

    /// Holds a roll up until a pod serves, and says what keeps it: it may be the image that is rolled out.
    fn until_it_serves(&self, plan: &mut Plan, role: &str, name: &str, pod: Option<&PodView>, set: &SetView) {
        let trouble = pod.and_then(|pod| self.trouble(name, pod, set));
        let trouble = trouble.map(|trouble| format!(" ({trouble})")).unwrap_or_default();
        plan.wait(Work::Rolling, format!("{role} {name} to serve before the next one is replaced{trouble}"));
    }

    /// Tells of pods that do not serve yet, if nothing else tells of them.
    fn starting(&self, plan: &mut Plan) {
        for set in self.sets() {
            let Some(view) = self.observed.sets.get(&set) else {
                plan.wait(Work::Starting, format!("StatefulSet {set}"));
                continue;
            };
            for (name, pod) in self.observed.pods_of(&set, view.replicas) {
                let what = match pod {
                    Some(pod) if pod.ready => continue,
                    Some(pod) => match self.trouble(&name, pod, view) {
                        Some(trouble) => format!("pod {name}: {trouble}"),
                        None => format!("pod {name} to serve"),
                    },
                    None => format!("pod {name} to be made"),
                };
                let told = plan.waiting.iter().any(|wait| wait.what.contains(&name));
                if !told {
                    plan.wait(Work::Starting, what);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
