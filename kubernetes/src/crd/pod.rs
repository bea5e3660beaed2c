//! How the pods of a role differ from the default.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Affinity, Toleration, TopologySpreadConstraint};
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Labels and annotations to add.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("!has(self.labels) || self.labels.all(key, !key.startsWith('dfs.dev/') && !key.startsWith('app.kubernetes.io/'))")
        .message("labels that begin with 'dfs.dev/' or 'app.kubernetes.io/' are the operator's: use another prefix")
        .field_path(".labels"),
    validation = Rule::new("!has(self.annotations) || self.annotations.all(key, !key.startsWith('dfs.dev/'))")
        .message("annotations that begin with 'dfs.dev/' are the operator's: use another prefix")
        .field_path(".annotations")
)]
#[serde(rename_all = "camelCase")]
pub struct ObjectMetadata {
    /// Labels to add. Those that begin with `dfs.dev/` or `app.kubernetes.io/` are the operator's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub labels: BTreeMap<String, String>,
    /// Annotations to add. Those that begin with `dfs.dev/` are the operator's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
}

impl ObjectMetadata {
    /// Whether nothing is to be added.
    pub fn is_empty(&self) -> bool {
        let Self { labels, annotations } = self;
        labels.is_empty() && annotations.is_empty()
    }
}

/// Where and how the pods of a role run. Changing any of it replaces the pods one by one.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PodTemplate {
    /// Labels and annotations to add to the pods.
    #[serde(default, skip_serializing_if = "ObjectMetadata::is_empty")]
    pub metadata: ObjectMetadata,
    /// Labels a machine must have to run the pods.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub node_selector: BTreeMap<String, String>,
    /// Taints of machines that the pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub tolerations: Vec<Toleration>,
    /// Further rules about the machines and about pods beside which these run, instead of the default: in different zones and
    /// on different machines as far as possible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub affinity: Option<Affinity>,
    /// How the pods are spread, instead of the default: over machines as far as possible. A constraint without
    /// `labelSelector` counts the pods of the same role.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Name of the PriorityClass of the pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
}

impl PodTemplate {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
