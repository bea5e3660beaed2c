//! DataNodes that never come back.

use dfs_client::NodeState;

use super::{Plan, Planner, Step};

impl Planner<'_> {
    /// Waiting for a DataNode whose volumes are gone is of no use.
    pub(super) fn losses(&self, plan: &mut Plan) {
        let Some(files) = self.observed.files.told() else { return };
        // The others are given up already.
        let silent = files.lost().filter(|(node, _)| node.state == NodeState::Stale);
        let nodes: Vec<_> = silent.map(|(node, pod)| (node.id, pod.to_owned())).collect();
        if !nodes.is_empty() {
            plan.steps.push(Step::AnnounceLoss { nodes });
        }
    }

    /// A DataNode whose volumes are gone is forgotten when nothing lacks what it had. There is no way back, and no hurry:
    /// only when there is nothing else to do.
    pub(super) fn forget(&self, plan: &mut Plan) {
        let Some(files) = self.observed.files.told() else { return };
        let lacks = files.missing + files.corrupt + files.healable + files.waiting_recoveries;
        if lacks > 0 || files.safe_mode || !plan.steps.is_empty() || !plan.waiting.is_empty() {
            return;
        }
        let dead = files.lost().filter(|(node, _)| node.state == NodeState::Dead);
        let nodes: Vec<_> = dead.map(|(node, pod)| (node.id, pod.to_owned())).collect();
        if !nodes.is_empty() {
            plan.steps.push(Step::ForgetNodes { nodes });
        }
    }
}
