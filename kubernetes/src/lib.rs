//! What everything that speaks to Kubernetes shares: the `DfsCluster` resource, the names of what belongs to it, and the way
//! to its pods.

pub mod access;
pub mod crd;
pub mod forward;
pub mod names;

pub use crd::{DfsCluster, DfsClusterSpec, DfsClusterStatus};
pub use names::ClusterName;
