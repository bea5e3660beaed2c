//! DataNodes that never come back.

use super::{Plan, Planner, Step};

impl Planner<'_> {
    /// Waiting for a DataNode whose volumes are gone is of no use.
    pub(super) fn losses(&self, plan: &mut Plan) {
        let Some(files) = self.observed.files.told() else { return };
        let nodes: Vec<_> = files.lost().map(|(id, pod)| (id, pod.to_owned())).collect();
        if !nodes.is_empty() {
            plan.steps.push(Step::AnnounceLoss { nodes });
        }
    }
}
