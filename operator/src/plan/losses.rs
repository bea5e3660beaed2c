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
}
