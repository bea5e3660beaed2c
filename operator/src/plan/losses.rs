//! DataNodes that never come back.

use dfs_client::NodeState;

use super::{Plan, Planner, Step};

impl Planner<'_> {
    /// A DataNode is what is written on its volumes. When its pod serves as another DataNode, the volumes are gone, and
    /// waiting for the old one is of no use.
    pub(super) fn losses(&self, plan: &mut Plan) {
        let Some(files) = self.observed.files.told() else { return };
        let nodes: Vec<_> = files
            .nodes
            .iter()
            .filter(|node| node.state == NodeState::Stale)
            .filter_map(|node| {
                let pod = node.pod.as_deref()?;
                let replaced =
                    files.serving().any(|other| other.id != node.id && other.pod.as_deref() == Some(pod));
                replaced.then(|| (node.id, pod.to_owned()))
            })
            .collect();
        if !nodes.is_empty() {
            plan.steps.push(Step::AnnounceLoss { nodes });
        }
    }
}
