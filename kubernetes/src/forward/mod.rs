//! The way to a cluster's pods through the API server's port-forward: for clients outside of the Kubernetes cluster, who
//! need nothing but a kubeconfig.
//!
//! NameNodes and DataNodes are known by the addresses they announce, `POD.SERVICE.NAMESPACE.svc:PORT`. [`Forward`] takes
//! such an address apart and opens a port-forward to that pod each time a connection is needed, so a connection to a pod
//! that was replaced by another one of the same name is simply opened again.

mod stream;

use std::fmt;

use dfs_client::{Builder, Connector, Dfs};
use futures_util::future::BoxFuture;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, Client};
use tonic::transport::{Channel, Endpoint, Error as TransportError};
use tower::service_fn;

use crate::names::{ClusterName, PodHost, pod_ordinal};

pub use stream::PodStream;

/// Opens connections to the pods of one cluster, and to nothing else: an address that leads elsewhere is refused, whoever
/// announced it.
#[derive(Clone)]
pub struct Forward {
    pods: Api<Pod>,
    cluster: ClusterName,
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// Why there is no connection to a pod. The sentence is complete: whoever shows it needs no cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// The address is not one of the cluster's.
    #[error(
        "'{address}' is no address of a pod of the DfsCluster {cluster}: nothing else is reached through its API server"
    )]
    Foreign {
        /// What was to be reached.
        address: String,
        /// Whose pods can be.
        cluster: ClusterName,
    },
    /// There is no such pod at present.
    #[error("there is no pod '{0}' at present")]
    NoPod(String),
    /// The API server does not let this user forward ports.
    #[error(
        "forwarding to pod '{pod}' is forbidden ({why}): ask for the verb 'create' on 'pods/portforward'"
    )]
    Forbidden {
        /// The pod.
        pod: String,
        /// What the API server says.
        why: String,
    },
    /// The port-forward failed otherwise.
    #[error("forwarding to pod '{pod}' failed: {why}")]
    Failed {
        /// The pod.
        pod: String,
        /// What the API server says, or the way to it.
        why: String,
    },
}

impl Forward {
    /// The way to the pods of `cluster`.
    pub fn new(client: Client, cluster: ClusterName) -> Self {
        Self { pods: Api::namespaced(client, &cluster.namespace), cluster }
    }

    /// A client of the cluster, which has this many NameNodes, yet to be connected. It begins with the pod `leader`, if
    /// one is known that leads.
    pub fn builder(client: Client, cluster: &ClusterName, namenodes: u32, leader: Option<&str>) -> Builder {
        let mut pods: Vec<u32> = (0..namenodes).collect();
        pods.sort_by_key(|ordinal| leader != Some(&*cluster.namenode_pod(*ordinal)));
        let addresses: Vec<_> = pods.into_iter().map(|ordinal| cluster.namenode_address(ordinal)).collect();
        let forward = std::sync::Arc::new(Self::new(client, cluster.clone()));
        addresses.into_iter().fold(Dfs::builder().connector(forward), Builder::namenode)
    }

    /// Opens a connection to `address`, which must be a pod's of this cluster.
    pub async fn open(&self, address: &str) -> Result<PodStream, ForwardError> {
        let (pod, port) = target(&self.cluster, address)?;
        let mut forwarder =
            self.pods.portforward(&pod, &[port]).await.map_err(|error| refusal(&pod, error))?;
        let (Some(stream), Some(refused)) = (forwarder.take_stream(port), forwarder.take_error(port)) else {
            let why = format!("port {port} was not opened");
            return Err(ForwardError::Failed { pod, why });
        };
        tracing::debug!(pod, port, "forwarding");
        Ok(PodStream::new(pod, forwarder, stream, Box::pin(refused)))
    }
}

impl Connector for Forward {
    fn connect<'a>(
        &'a self,
        endpoint: Endpoint,
        address: &'a str,
    ) -> BoxFuture<'a, Result<Channel, TransportError>> {
        let (forward, address) = (self.clone(), address.to_owned());
        Box::pin(async move {
            // Called again whenever the channel finds its connection broken.
            let open = service_fn(move |_| {
                let (forward, address) = (forward.clone(), address.clone());
                async move { forward.open(&address).await.map(TokioIo::new) }
            });
            endpoint.connect_with_connector(open).await
        })
    }
}

/// The pod and port that an address of `cluster` names.
fn target(cluster: &ClusterName, address: &str) -> Result<(String, u16), ForwardError> {
    let foreign = || ForwardError::Foreign { address: address.to_owned(), cluster: cluster.clone() };
    let (host, port) = address.rsplit_once(':').ok_or_else(foreign)?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(foreign)?;
    let host = PodHost::parse(host).ok_or_else(foreign)?;
    // A prefix of names is not enough: cluster `a` must not lead to the pods of a cluster `a-namenode-0`.
    let (Some((set, _)), Some(_)) = (host.pod.rsplit_once('-'), pod_ordinal(host.pod)) else {
        return Err(foreign());
    };
    let ours = if host.service == cluster.namenode_service() {
        set == cluster.namenodes()
    } else if host.service == cluster.datanode_service() {
        set.strip_prefix(&cluster.pool("")).is_some_and(|pool| !pool.is_empty())
    } else {
        false
    };
    if !ours || host.namespace != cluster.namespace {
        return Err(foreign());
    }
    Ok((host.pod.to_owned(), port))
}

fn refusal(pod: &str, error: kube::Error) -> ForwardError {
    let pod = pod.to_owned();
    match error {
        kube::Error::Api(status) if status.code == 404 => ForwardError::NoPod(pod),
        kube::Error::Api(status) if status.code == 403 => {
            ForwardError::Forbidden { pod, why: status.message.clone() }
        }
        kube::Error::Api(status) => ForwardError::Failed { pod, why: status.message.clone() },
        error => ForwardError::Failed { pod, why: in_words(&error) },
    }
}

/// An error with all its causes, each once.
pub fn in_words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// An error of the API server's client: the API server's own words, if it has any.
pub fn said(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        other => in_words(other),
    }
}

#[cfg(test)]
mod tests;
