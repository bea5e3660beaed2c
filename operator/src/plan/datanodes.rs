//! Replacing the pods of DataNodes: one at a time in the whole cluster, and only while nothing is in want.

use super::{Plan, Planner, Standing, Step, Work, standing};

impl Planner<'_> {
    /// Plans the next step.
    pub(super) fn roll_datanodes(&self, plan: &mut Plan) {
        let mut outdated = Vec::new();
        let mut away = None;
        let mut all = Vec::new();
        for pool in &self.spec.data_node_pools {
            let name = self.name.pool(&pool.name);
            let Some(set) = self.observed.sets.get(&name) else { continue };
            if set.revision.is_none() {
                plan.wait(Work::Rolling, format!("StatefulSet {name} to take over its template"));
                return;
            }
            for (name, pod) in self.pods_of(&name, set.replicas) {
                if pod.is_none_or(|pod| !pod.ready || pod.terminating) {
                    away.get_or_insert(name.clone());
                }
                if let Some(pod) = pod
                    && standing(pod, set) == Standing::Outdated
                {
                    outdated.push((name.clone(), pod));
                }
                all.push(name);
            }
        }
        let Some((next, pod)) = outdated.first() else { return };
        // One that does not serve is replaced first: it may be what an earlier, wrong spec left.
        if let Some((name, pod)) = outdated.iter().find(|(_, pod)| !pod.ready && !pod.terminating) {
            plan.steps.push(Step::ReplacePod { pod: name.clone(), uid: pod.uid.clone() });
            return;
        }
        if let Some(name) = away {
            plan.wait(Work::Rolling, format!("DataNode {name} to serve before the next one is replaced"));
            return;
        }
        match self.holds_up(&all) {
            Some(what) => plan.wait(Work::Rolling, format!("{what} before the next DataNode is replaced")),
            None => plan.steps.push(Step::ReplacePod { pod: next.clone(), uid: pod.uid.clone() }),
        }
    }

    /// What has to happen before a DataNode may go.
    fn holds_up(&self, pods: &[String]) -> Option<String> {
        let Some(files) = self.observed.files.told() else {
            return Some("an answer of the NameNodes".to_owned());
        };
        if files.safe_mode {
            return Some("the end of safe mode".to_owned());
        }
        if let Some(pod) = pods.iter().find(|pod| !files.serves(pod)) {
            return Some(format!("DataNode {pod} to report what it holds"));
        }
        // With fewer DataNodes than replicas are wanted the want never ends.
        let can_heal = files.serving().count() >= self.spec.replication as usize;
        if files.under_replicated > 0 && can_heal {
            return Some(format!("{} under-replicated chunks to be copied", files.under_replicated));
        }
        None
    }
}
