//! What everything that speaks to Kubernetes shares: the `DfsCluster` resource and the names of what belongs to it.

pub mod names;

pub use names::ClusterName;
