//! Replacing the pods of NameNodes: one at a time, the leader last and only after another one leads.

use dfs_types::MemberRole;

use super::{Plan, Planner, Standing, Step, Work, is_away};

impl Planner<'_> {
    /// Plans the next step. Answers whether all NameNodes run what the spec asks for and serve.
    pub(super) fn roll_namenodes(&self, plan: &mut Plan) -> bool {
        let name = self.name.namenodes();
        let Some(set) = self.observed.sets.get(&name) else { return false };
        let pods: Vec<_> = self.observed.pods_of(&name, set.replicas).collect();
        let outdated: Vec<_> = pods
            .iter()
            .filter_map(|(name, pod)| Some((name, (*pod)?)))
            .filter(|(name, pod)| self.standing(name, pod, set) == Standing::Outdated)
            .collect();
        if set.revision.is_none() {
            // A set that was just made has nothing to replace.
            let made = pods.iter().all(|(_, pod)| pod.is_none());
            let work = if made { Work::Starting } else { Work::Rolling };
            plan.wait(work, format!("StatefulSet {name} to take over its template"));
            return false;
        }
        let away: Vec<_> = pods.iter().filter(|(_, pod)| is_away(*pod)).collect();
        // One that does not serve is replaced first: it may be what an earlier, wrong spec left. Where several do not, most of them
        // may only wait for each other.
        let broken = outdated.iter().find(|(name, pod)| {
            !pod.ready
                && !pod.terminating
                && (pod.trouble.is_some() || away.iter().all(|(other, _)| other == *name))
        });
        if let Some((name, pod)) = broken {
            plan.steps.push(Step::ReplacePod { pod: (*name).clone(), uid: pod.uid.clone() });
            return false;
        }
        if let Some((name, pod)) = away.first() {
            if !outdated.is_empty() {
                self.until_it_serves(plan, "NameNode", name, *pod, set);
            }
            return false;
        }
        let Some((first, pod)) = outdated.first() else { return true };
        if set.replicas == 1 {
            plan.steps.push(Step::ReplacePod { pod: (*first).clone(), uid: pod.uid.clone() });
            return false;
        }
        let Some(files) = self.observed.files.told() else {
            plan.wait(Work::Rolling, "an answer of the NameNodes before the next one is replaced");
            return false;
        };
        let Some(leader) = files.leader().and_then(|leader| leader.pod.as_deref()) else {
            plan.wait(Work::Rolling, "a NameNode to lead before the next one is replaced");
            return false;
        };
        // Each of the pods must be a voter that keeps up, else the group could be left without a majority.
        let votes = |pod: &str| {
            files.members.iter().any(|member| {
                member.pod.as_deref() == Some(pod)
                    && matches!(member.role, MemberRole::Leader | MemberRole::Follower)
            })
        };
        if let Some((name, _)) = pods.iter().find(|(name, _)| !votes(name)) {
            plan.wait(Work::Rolling, format!("NameNode {name} to catch up before the next one is replaced"));
            return false;
        }
        let follower = outdated.iter().find(|(name, _)| name.as_str() != leader);
        plan.steps.push(match follower {
            Some((name, pod)) => Step::ReplacePod { pod: (*name).clone(), uid: pod.uid.clone() },
            None => Step::MoveLeader { from: leader.to_owned() },
        });
        false
    }
}
