//! Volumes that grow.

use dfs_kubernetes::ClusterName;
use dfs_kubernetes::crd::size_in_bytes;
use dfs_kubernetes::names::METADATA_VOLUME;

use super::{Plan, Planner, Step, Work};

impl Planner<'_> {
    /// Claims first, then the template of those that are made later: it can't be changed in place.
    pub(super) fn grow(&self, plan: &mut Plan) {
        let storage = &self.spec.name_node.storage;
        self.grow_set(plan, &self.name.namenodes(), &[(METADATA_VOLUME, &storage.size)]);
        for pool in &self.spec.data_node_pools {
            let volumes: Vec<_> =
                pool.volumes.iter().map(|volume| (volume.name.as_str(), volume.size.as_str())).collect();
            self.grow_set(plan, &self.name.pool(&pool.name), &volumes);
        }
    }

    fn grow_set(&self, plan: &mut Plan, name: &str, volumes: &[(&str, &str)]) {
        let Some(set) = self.observed.sets.get(name) else { return };
        let mut template_is_small = false;
        for (volume, size) in volumes {
            let Some(bytes) = size_in_bytes(size) else { continue };
            template_is_small |= set.claim_sizes.get(*volume).is_some_and(|small| *small < bytes);
            for (pod, _) in self.pods_of(name, set.replicas) {
                let claim = ClusterName::claim(volume, &pod);
                let Some(view) = self.observed.claims.get(&claim) else { continue };
                if view.requested < bytes {
                    plan.steps.push(Step::GrowClaim { claim, size: (*size).to_owned() });
                } else if view.capacity > 0 && view.capacity < bytes {
                    plan.wait(Work::Resizing, format!("claim {claim} to grow to {size}"));
                }
            }
        }
        if template_is_small {
            plan.steps.push(Step::RemakeSet { set: name.to_owned(), uid: set.uid.clone() });
        }
    }
}
