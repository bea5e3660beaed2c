//! Finding the API server and a `DfsCluster` from where a person sits: by kubeconfig, as `kubectl` does.

use std::time::Duration;

use dfs_client::Builder;
use kube::api::ListParams;
use kube::config::KubeConfigOptions;
use kube::{Api, Client, Config, ResourceExt as _};

use crate::crd::DfsCluster;
use crate::forward::{Forward, in_words};
use crate::names::ClusterName;

/// Longest that the API server may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest that one answer may take. Not a setting of the connection: a port-forward may be idle for longer.
const PATIENCE: Duration = Duration::from_secs(30);
/// Clusters of one answer of a listing.
const PAGE: u32 = 500;

/// An API server, and the namespace that is meant where none is named.
#[derive(Clone)]
pub struct Access {
    /// Speaks to the API server.
    pub client: Client,
    /// The namespace.
    pub namespace: String,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("namespace", &self.namespace).finish_non_exhaustive()
    }
}

/// Why a cluster is not found. The sentences are complete: whoever shows them needs no cause.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// There is no way to an API server.
    #[error("no kubeconfig can be used ({0}): set KUBECONFIG, or name a context with --context")]
    NoConfig(String),
    /// The API server does not answer.
    #[error("the Kubernetes API server can't be reached: {0}")]
    Unreachable(String),
    /// The API server refused.
    #[error("the Kubernetes API server refused: {0}")]
    Refused(String),
    /// The API server does not know what a `DfsCluster` is.
    #[error("this Kubernetes cluster has no DfsClusters: install the operator first")]
    NoOperator,
    /// There is no such cluster.
    #[error("there is no DfsCluster {0}: 'dfs cluster list --all-namespaces' shows what there is")]
    NotFound(ClusterName),
    /// None was named, and there is none.
    #[error("there is no DfsCluster in namespace '{0}': name another one with --namespace")]
    None(String),
    /// None was named, and there are several.
    #[error("there are several DfsClusters in namespace '{namespace}' ({names}): name one with --cluster")]
    Several {
        /// Where.
        namespace: String,
        /// Which.
        names: String,
    },
}

impl Access {
    /// The API server of the kubeconfig's `context` (its current one if none is named), or of the pod this runs in.
    pub async fn find(context: Option<&str>, namespace: Option<&str>) -> Result<Self, AccessError> {
        let unusable = |error: &dyn std::error::Error| AccessError::NoConfig(in_words(error));
        let config = match context {
            None => Config::infer().await.map_err(|error| unusable(&error))?,
            Some(context) => {
                let options =
                    KubeConfigOptions { context: Some(context.to_owned()), ..KubeConfigOptions::default() };
                Config::from_kubeconfig(&options).await.map_err(|error| unusable(&error))?
            }
        };
        Self::of(config, namespace)
    }

    /// The API server of this configuration.
    pub fn of(mut config: Config, namespace: Option<&str>) -> Result<Self, AccessError> {
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        let namespace = namespace.map_or_else(|| config.default_namespace.clone(), str::to_owned);
        let client = Client::try_from(config).map_err(|error| AccessError::NoConfig(in_words(&error)))?;
        Ok(Self { client, namespace })
    }

    /// The cluster's full name.
    pub fn name(&self, cluster: &str) -> ClusterName {
        ClusterName::new(&self.namespace, cluster)
    }

    /// The cluster with this name, or the only one of the namespace.
    pub async fn cluster(&self, name: Option<&str>) -> Result<DfsCluster, AccessError> {
        let Some(name) = name else { return self.only().await };
        let api: Api<DfsCluster> = Api::namespaced(self.client.clone(), &self.namespace);
        if let Some(cluster) = answer(api.get_opt(name)).await? {
            return Ok(cluster);
        }
        // The API server says the same of a resource it does not know at all. Whoever may not list, it knows.
        match answer(api.list_metadata(&ListParams::default().limit(1))).await {
            Ok(_) | Err(AccessError::Refused(_)) => Err(AccessError::NotFound(self.name(name))),
            Err(error) => Err(error),
        }
    }

    async fn only(&self) -> Result<DfsCluster, AccessError> {
        let mut all = self.clusters(Some(&self.namespace)).await?;
        match (all.pop(), all.len()) {
            (None, _) => Err(AccessError::None(self.namespace.clone())),
            (Some(only), 0) => Ok(only),
            (Some(last), _) => {
                all.push(last);
                let names: Vec<_> = all.iter().map(kube::ResourceExt::name_any).collect();
                let (namespace, names) = (self.namespace.clone(), names.join(", "));
                Err(AccessError::Several { namespace, names })
            }
        }
    }

    /// The clusters of a namespace, or of all of them.
    pub async fn clusters(&self, namespace: Option<&str>) -> Result<Vec<DfsCluster>, AccessError> {
        let api: Api<DfsCluster> = match namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        let (mut all, mut page) = (Vec::new(), ListParams::default().limit(PAGE));
        loop {
            let listed = answer(api.list(&page)).await?;
            all.extend(listed.items);
            match listed.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page = page.continue_token(&token),
                None => return Ok(all),
            }
        }
    }

    /// A client of a cluster's file system, yet to be connected: every connection is a port-forward.
    pub fn builder(&self, cluster: &DfsCluster) -> Builder {
        let name = ClusterName::new(cluster.namespace().unwrap_or_default(), cluster.name_any());
        let leader = cluster.status.as_ref().and_then(|status| status.name_nodes.as_ref()?.leader.as_deref());
        Forward::builder(self.client.clone(), &name, cluster.spec.name_node.replicas, leader)
    }
}

/// Waits for an answer of the API server, but not for ever.
pub async fn answer<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, AccessError> {
    match tokio::time::timeout(PATIENCE, request).await {
        Ok(answered) => answered.map_err(refusal),
        Err(_) => Err(AccessError::Unreachable(format!("no answer within {PATIENCE:?}"))),
    }
}

fn refusal(error: kube::Error) -> AccessError {
    match error {
        // Where no object was asked for, it is the resource itself that does not exist.
        kube::Error::Api(status) if status.code == 404 => AccessError::NoOperator,
        kube::Error::Api(status) => AccessError::Refused(status.message.clone()),
        error => AccessError::Unreachable(in_words(&error)),
    }
}

#[cfg(test)]
mod tests {
    use http::{Request, Response, StatusCode};
    use kube::client::Body;
    use serde_json::{Value, json};
    use tower::service_fn;

    use super::*;

    /// A way to an API server that answers as `answers` says.
    fn access(answers: impl Fn(&str) -> (StatusCode, Value) + Clone + Send + 'static) -> Access {
        let serve = service_fn(move |request: Request<Body>| {
            let (status, said) = answers(&request.uri().to_string());
            let mut response = Response::new(Body::from(said.to_string().into_bytes()));
            *response.status_mut() = status;
            async move { Ok::<_, std::convert::Infallible>(response) }
        });
        Access { client: Client::new(serve, "prod"), namespace: "prod".to_owned() }
    }

    fn refused(status: StatusCode) -> (StatusCode, Value) {
        let reason = if status == StatusCode::NOT_FOUND { "NotFound" } else { "Forbidden" };
        (status, json!({ "status": "Failure", "message": "no", "reason": reason, "code": status.as_u16() }))
    }

    #[tokio::test]
    async fn who_may_not_list_is_told_all_the_same_that_there_is_no_such_cluster() {
        let named = |uri: &str| uri.contains("/dfsclusters/main");
        let code = move |uri: &str| if named(uri) { StatusCode::NOT_FOUND } else { StatusCode::FORBIDDEN };
        let found = access(move |uri| refused(code(uri))).cluster(Some("main")).await;
        assert_eq!(found.unwrap_err(), AccessError::NotFound(ClusterName::new("prod", "main")));
        let found = access(|_| refused(StatusCode::NOT_FOUND)).cluster(Some("main")).await;
        assert_eq!(found.unwrap_err(), AccessError::NoOperator);
    }

    #[tokio::test]
    async fn long_listings_are_read_to_their_end() {
        let listed = access(|uri| {
            let (name, more) = if uri.contains("continue=next") { ("b", "") } else { ("a", "next") };
            let item = json!({ "metadata": { "name": name }, "spec": { "dataNodePools": [] } });
            (StatusCode::OK, json!({ "metadata": { "continue": more }, "items": [item] }))
        });
        let names: Vec<_> =
            listed.clusters(None).await.unwrap().iter().map(kube::ResourceExt::name_any).collect();
        assert_eq!(names, ["a", "b"]);
    }
}
