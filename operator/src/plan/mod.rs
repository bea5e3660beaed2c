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

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Delete a pod: its StatefulSet makes it anew from the present template.
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
    /// Ask for a larger volume.
    GrowClaim {
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
    /// What of the spec is not obeyed, in words.
    pub refused: Vec<String>,
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
            Step::AnnounceLoss { .. } => None,
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

/// What to do next for a cluster.
pub fn plan(name: &ClusterName, spec: &DfsClusterSpec, observed: &Observed) -> Plan {
    let planner = Planner { name, spec, observed };
    let mut plan = Plan::default();
    planner.losses(&mut plan);
    planner.scale(&mut plan);
    planner.grow(&mut plan);
    // NameNodes first: new DataNodes may say what old NameNodes do not understand.
    if planner.roll_namenodes(&mut plan) {
        planner.roll_datanodes(&mut plan);
    }
    planner.starting(&mut plan);
    plan
}

/// How a pod stands to its StatefulSet's template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Made from the present template.
    Current,
    /// Made from an older one.
    Outdated,
    /// Nobody knows yet: the StatefulSet's controller has not seen the last change.
    Unknown,
}

fn standing(pod: &PodView, set: &SetView) -> Standing {
    match &set.revision {
        Some(revision) if *revision == pod.revision => Standing::Current,
        Some(_) => Standing::Outdated,
        None => Standing::Unknown,
    }
}

impl<'a> Planner<'a> {
    /// The pods of a StatefulSet that are to be there, with those that are missing.
    fn pods_of(&self, set: &str, replicas: u32) -> impl Iterator<Item = (String, Option<&'a PodView>)> {
        let pods = &self.observed.pods;
        let set = set.to_owned();
        (0..replicas).map(move |ordinal| {
            let name = format!("{set}-{ordinal}");
            let pod = pods.get(&name);
            (name, pod)
        })
    }

    /// Names of the StatefulSets of the spec: the NameNodes', then the pools'.
    fn sets(&self) -> Vec<String> {
        let pools = self.spec.data_node_pools.iter().map(|pool| self.name.pool(&pool.name));
        std::iter::once(self.name.namenodes()).chain(pools).collect()
    }

    /// Tells of pods that do not serve yet, if nothing else tells of them.
    fn starting(&self, plan: &mut Plan) {
        for set in self.sets() {
            let Some(view) = self.observed.sets.get(&set) else {
                plan.wait(Work::Starting, format!("StatefulSet {set}"));
                continue;
            };
            for (name, pod) in self.pods_of(&set, view.replicas) {
                let what = match pod {
                    Some(pod) if pod.ready => continue,
                    Some(PodView { trouble: Some(trouble), .. }) => format!("pod {name}: {trouble}"),
                    Some(_) => format!("pod {name} to serve"),
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
