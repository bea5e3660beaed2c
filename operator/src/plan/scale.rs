//! Fewer pods than there are: not yet.

use super::{Plan, Planner, Refusal};
use dfs_kubernetes::names::Component;

impl Planner<'_> {
    /// Tells of pods that the spec asks to be taken away. They stay: what they hold would have to be copied first.
    pub(super) fn scale(&self, plan: &mut Plan) {
        for (name, set) in &self.observed.sets {
            let words = match (set.component, &set.pool) {
                (Component::NameNode, _) => self.too_many_namenodes(set.replicas),
                (Component::DataNode, Some(pool)) => self.too_many_datanodes(name, pool, set.replicas),
                (Component::DataNode, None) => None,
            };
            plan.refused.extend(words.map(Refusal::ScaleDown));
        }
    }

    /// The schema does not let their number change, but a cluster may have had more in an earlier life.
    fn too_many_namenodes(&self, there: u32) -> Option<String> {
        let wanted = self.spec.name_node.replicas;
        (wanted < there).then(|| {
            format!("the {there} NameNodes stay although {wanted} is asked for, as their claims are there: make the DfsCluster anew \
                     with {there}, or without these claims")
        })
    }

    fn too_many_datanodes(&self, name: &str, pool: &str, there: u32) -> Option<String> {
        match self.spec.data_node_pools.iter().find(|wanted| wanted.name == pool) {
            Some(wanted) if wanted.replicas >= there => None,
            Some(wanted) => Some(format!(
                "pool {pool} keeps its {there} DataNodes although {} are asked for: taking DataNodes away is not supported \
                 yet, so set replicas to {there}",
                wanted.replicas
            )),
            None => Some(format!(
                "pool {pool} was taken out of the spec, but StatefulSet {name} and its {there} DataNodes stay: taking \
                 DataNodes away is not supported yet, so put the pool back"
            )),
        }
    }
}
