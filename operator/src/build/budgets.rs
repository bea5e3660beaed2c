//! How many pods may be evicted at once.

use dfs_kubernetes::names::Component;
use k8s_openapi::api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::Builder;

impl Builder<'_> {
    /// One pod of each role at a time. A pod that does not serve anyhow never holds up a drain.
    pub(super) fn budgets(&self) -> Vec<PodDisruptionBudget> {
        [(Component::NameNode, self.name.namenodes()), (Component::DataNode, self.name.datanode_service())]
            .into_iter()
            .map(|(component, name)| PodDisruptionBudget {
                metadata: self.metadata(name),
                spec: Some(PodDisruptionBudgetSpec {
                    max_unavailable: Some(IntOrString::Int(1)),
                    selector: Some(LabelSelector {
                        match_labels: Some(self.name.selector_labels(component, None)),
                        ..LabelSelector::default()
                    }),
                    unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
                    ..PodDisruptionBudgetSpec::default()
                }),
                ..PodDisruptionBudget::default()
            })
            .collect()
    }
}
