//! Where the cluster is that a command works with: at addresses, or on Kubernetes.

use dfs_kubernetes::access::{Access, AccessError};
use dfs_types::address::Addresses;
use dfs_types::names::NAMENODE_PORT;
use dfs_types::{ErrorCode, FsError};

use crate::exit::{Failure, Outcome};
use crate::global::Global;

/// Name of this program as a plugin of `kubectl`.
pub(crate) const PLUGIN: &str = "kubectl-dfs";

/// How a cluster is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reach {
    /// By the `HOST:PORT` of NameNodes.
    Addresses(Vec<String>),
    /// Through the API server of a Kubernetes cluster.
    Kubernetes {
        /// The DfsCluster; none: the only one of the namespace.
        cluster: Option<String>,
        /// Where it is; none: where the kubeconfig says.
        namespace: Option<String>,
    },
}

impl Reach {
    /// In a word, for people.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Addresses(addresses) => addresses.join(","),
            Self::Kubernetes { cluster, namespace } => {
                let parts = [namespace.as_deref(), cluster.as_deref()];
                let parts: Vec<_> = parts.into_iter().flatten().collect();
                if parts.is_empty() { "kubernetes".to_owned() } else { parts.join("/") }
            }
        }
    }

    /// The error of a connection that failed, with where to look next.
    pub(crate) fn explained(&self, error: FsError) -> FsError {
        match self {
            Self::Kubernetes { .. } if error.code == ErrorCode::Unavailable => FsError::new(
                error.code,
                format!("{}; 'dfs cluster status' says how the cluster is", error.message),
            ),
            Self::Kubernetes { .. } | Self::Addresses(_) => error,
        }
    }
}

impl Global {
    /// How the cluster is reached, by all that was said.
    pub(crate) fn reach(&self) -> Reach {
        let kubernetes = self.cluster.is_some() || self.namespace.is_some() || self.context.is_some();
        if kubernetes || (self.plugin && self.namenodes.is_empty()) {
            Reach::Kubernetes { cluster: self.cluster.clone(), namespace: self.namespace.clone() }
        } else if self.namenodes.is_empty() {
            Reach::Addresses(vec![format!("127.0.0.1:{NAMENODE_PORT}")])
        } else {
            Reach::Addresses(self.namenodes.iter().flat_map(|Addresses(list)| list.clone()).collect())
        }
    }

    /// The API server.
    pub(crate) async fn access(&self) -> Outcome<Access> {
        Ok(Access::find(self.context.as_deref(), self.namespace.as_deref()).await?)
    }

    /// The options with which another call of this program reaches the same cluster.
    pub(crate) fn connection(&self) -> Vec<String> {
        match self.reach() {
            Reach::Addresses(addresses) => vec![format!("--namenode={}", addresses.join(","))],
            Reach::Kubernetes { cluster, namespace } => {
                let options =
                    [("cluster", cluster), ("namespace", namespace), ("context", self.context.clone())];
                options
                    .into_iter()
                    .filter_map(|(option, value)| value.map(|value| format!("--{option}={value}")))
                    .collect()
            }
        }
    }
}

impl From<AccessError> for Failure {
    fn from(error: AccessError) -> Self {
        let code = match &error {
            AccessError::NoConfig(_) | AccessError::Unreachable(_) => ErrorCode::Unavailable,
            AccessError::Refused(_) => ErrorCode::PermissionDenied,
            AccessError::NoOperator | AccessError::NotFound(_) | AccessError::None(_) => ErrorCode::NotFound,
            AccessError::Several { .. } => return Self::Usage(error.to_string()),
        };
        FsError::new(code, error.to_string()).into()
    }
}
