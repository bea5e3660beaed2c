//! Fewer DataNodes than there are: not yet.

use super::{Plan, Planner};
use dfs_kubernetes::names::Component;

impl Planner<'_> {
    /// Tells of DataNodes that the spec asks to be taken away. They stay: what they hold would have to be copied first.
    pub(super) fn scale(&self, plan: &mut Plan) {
        for (name, set) in &self.observed.sets {
            if set.component != Component::DataNode {
                continue;
            }
            let Some(pool) = &set.pool else { continue };
            let wanted = self.spec.data_node_pools.iter().find(|wanted| wanted.name == *pool);
            match wanted {
                Some(wanted) if wanted.replicas >= set.replicas => {}
                Some(wanted) => plan.refused.push(format!(
                    "pool {pool} keeps its {} DataNodes although {} are asked for: taking DataNodes away is not supported \
                     yet, so set replicas to {}",
                    set.replicas, wanted.replicas, set.replicas
                )),
                None => plan.refused.push(format!(
                    "pool {pool} was taken out of the spec, but StatefulSet {name} and its {} DataNodes stay: taking \
                     DataNodes away is not supported yet, so put the pool back",
                    set.replicas
                )),
            }
        }
    }
}
