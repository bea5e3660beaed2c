//! Replacing the pods of DataNodes: one at a time in the whole cluster, and only while nothing is in want.

use super::{Plan, Planner, Standing, Step, Work, is_away};

impl Planner<'_> {
    /// Plans the next step.
    pub(super) fn roll_datanodes(&self, plan: &mut Plan) {
        let mut outdated = Vec::new();
        let mut away = Vec::new();
        let mut all = Vec::new();
        for pool in &self.spec.data_node_pools {
            let name = self.name.pool(&pool.name);
            let Some(set) = self.observed.sets.get(&name) else { continue };
            if set.revision.is_none() {
                plan.wait(Work::Rolling, format!("StatefulSet {name} to take over its template"));
                return;
            }
            for (name, pod) in self.observed.pods_of(&name, set.replicas) {
                if is_away(pod) {
                    away.push((name.clone(), pod, set));
                }
                if let Some(pod) = pod
                    && self.standing(&name, pod, set) == Standing::Outdated
                {
                    outdated.push((name.clone(), pod));
                }
                all.push(name);
            }
        }
        let Some((next, pod)) = outdated.first() else { return };
        // One that does not serve is replaced first: it may be what an earlier, wrong spec left, and its chunks are in want
        // anyhow. Unless it can't run at all, only while all others serve: else it may just not have reported yet to a
        // NameNode that began to lead.
        let broken = outdated.iter().find(|(name, pod)| {
            let others = || all.iter().filter(|other| *other != name);
            let alone =
                || away.iter().all(|(other, ..)| other == name) && self.not_at_rest(others()).is_none();
            !pod.ready && !pod.terminating && (pod.trouble.is_some() || alone())
        });
        if let Some((name, pod)) = broken {
            plan.steps.push(Step::ReplacePod { pod: name.clone(), uid: pod.uid.clone() });
            return;
        }
        if let Some((name, pod, set)) = away.first() {
            self.until_it_serves(plan, "DataNode", name, *pod, set);
            return;
        }
        match self.holds_up(&all) {
            Some(what) => plan.wait(Work::Rolling, format!("{what} before the next DataNode is replaced")),
            None => plan.steps.push(Step::ReplacePod { pod: next.clone(), uid: pod.uid.clone() }),
        }
    }

    /// What has to happen before a DataNode that serves may go.
    fn holds_up(&self, pods: &[String]) -> Option<String> {
        self.not_at_rest(pods.iter()).or_else(|| {
            // What can't have more replicas than it has will not have them later.
            let healable = self.observed.files.told().map_or(0, |files| files.healable);
            (healable > 0).then(|| format!("{healable} under-replicated chunks to be copied"))
        })
    }

    /// What has to happen before anybody can say that all these pods' DataNodes serve.
    fn not_at_rest<'b>(&self, mut pods: impl Iterator<Item = &'b String>) -> Option<String> {
        let Some(files) = self.observed.files.told() else {
            return Some("an answer of the NameNodes".to_owned());
        };
        if files.safe_mode {
            return Some("the end of safe mode".to_owned());
        }
        let silent = pods.find(|pod| !files.serves(pod))?;
        Some(format!("DataNode {silent} to report what it holds"))
    }
}
