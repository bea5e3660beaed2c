//! The names, labels and addresses of everything that belongs to a `DfsCluster`. The operator makes the objects, the CLI
//! and the tests find them: all of them ask here.

use std::collections::BTreeMap;
use std::fmt;

use dfs_types::names::{DATANODE_PORT, NAMENODE_PORT};

/// Field manager of everything the operator applies.
pub const FIELD_MANAGER: &str = "dfs-operator";
/// Label with the name of the cluster an object belongs to; the operator's watches select by it.
pub const LABEL_CLUSTER: &str = "dfs.dev/cluster";
/// Label with the name of the pool a DataNode belongs to.
pub const LABEL_POOL: &str = "dfs.dev/pool";
/// Recommended label with the application's name.
pub const LABEL_NAME: &str = "app.kubernetes.io/name";
/// Recommended label with the name of the cluster.
pub const LABEL_INSTANCE: &str = "app.kubernetes.io/instance";
/// Recommended label with what part of the cluster an object is.
pub const LABEL_COMPONENT: &str = "app.kubernetes.io/component";
/// Recommended label with what the object is part of.
pub const LABEL_PART_OF: &str = "app.kubernetes.io/part-of";
/// Recommended label with who manages the object.
pub const LABEL_MANAGED_BY: &str = "app.kubernetes.io/managed-by";
/// Recommended label with the image's tag; in metadata only, never in a selector.
pub const LABEL_VERSION: &str = "app.kubernetes.io/version";
/// User who may do anything in a cluster's file system; the operator speaks as this one.
pub const SUPERUSER: &str = "dfs";
/// Annotation of a pod template that `kubectl rollout restart` sets.
pub const ANNOTATION_RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";

/// Container of a NameNode's pod.
pub const NAMENODE_CONTAINER: &str = "namenode";
/// Container of a DataNode's pod.
pub const DATANODE_CONTAINER: &str = "datanode";
/// Claim template of the NameNodes.
pub const METADATA_VOLUME: &str = "metadata";
/// Key of the topology ConfigMap.
pub const TOPOLOGY_KEY: &str = "topology";
/// Directory where a DataNode's pod finds [`TOPOLOGY_KEY`].
pub const TOPOLOGY_DIR: &str = "/etc/dfs";
/// Key of the ConfigMap with the groups of users.
pub const GROUPS_KEY: &str = "groups";
/// Directory where a NameNode's pod finds [`GROUPS_KEY`].
pub const GROUPS_DIR: &str = "/etc/dfs";
/// Directory where a NameNode's pod finds its volume.
pub const METADATA_DIR: &str = "/metadata";
/// Directory below which a DataNode's pod finds its volumes.
pub const VOLUMES_DIR: &str = "/volumes";

/// Names of ports, the same in Services, pods, probes and monitors.
pub mod port {
    /// Our gRPC and Hadoop's RPC, of a NameNode.
    pub const RPC: &str = "rpc";
    /// Our gRPC and Hadoop's data transfer, of a DataNode.
    pub const DATA: &str = "data";
    /// Metrics, health and status.
    pub const HTTP: &str = "http";
}

/// Longest name of a StatefulSet whose pods can still carry their revision in a label: the label's value is the name, a dash
/// and up to ten characters, and must have at most 63.
pub const MAX_STATEFUL_SET_NAME: usize = 52;
/// Longest sum of the lengths of a cluster's and a pool's name; see [`MAX_STATEFUL_SET_NAME`].
pub const MAX_CLUSTER_AND_POOL_NAME: usize = MAX_STATEFUL_SET_NAME - "-datanode-".len();
/// Longest name of a cluster: room for a pool of two letters, and for `NAME-namenode`.
pub const MAX_CLUSTER_NAME: usize = MAX_CLUSTER_AND_POOL_NAME - 2;
/// Longest name of a pool.
pub const MAX_POOL_NAME: usize = 30;

/// What part of a cluster an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Component {
    /// Keeps the namespace.
    NameNode,
    /// Keeps chunks.
    DataNode,
}

impl Component {
    /// The value of [`LABEL_COMPONENT`].
    pub fn label(self) -> &'static str {
        match self {
            Self::NameNode => "namenode",
            Self::DataNode => "datanode",
        }
    }
}

/// One cluster of one namespace, and the names that follow from it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterName {
    /// Namespace of the `DfsCluster` and of all that belongs to it.
    pub namespace: String,
    /// Name of the `DfsCluster`.
    pub name: String,
}

impl fmt::Display for ClusterName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

impl ClusterName {
    /// The cluster `name` of `namespace`.
    pub fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// StatefulSet of the NameNodes.
    pub fn namenodes(&self) -> String {
        format!("{}-namenode", self.name)
    }

    /// Pod of the NameNode with this ordinal.
    pub fn namenode_pod(&self, ordinal: u32) -> String {
        format!("{}-{ordinal}", self.namenodes())
    }

    /// Headless Service of the NameNodes.
    pub fn namenode_service(&self) -> String {
        self.namenodes()
    }

    /// Service for clients inside the Kubernetes cluster.
    pub fn client_service(&self) -> String {
        self.name.clone()
    }

    /// StatefulSet of a pool's DataNodes.
    pub fn pool(&self, pool: &str) -> String {
        format!("{}-datanode-{pool}", self.name)
    }

    /// Pod of the DataNode with this ordinal in a pool.
    pub fn datanode_pod(&self, pool: &str, ordinal: u32) -> String {
        format!("{}-{ordinal}", self.pool(pool))
    }

    /// Headless Service of all DataNodes.
    pub fn datanode_service(&self) -> String {
        format!("{}-datanode", self.name)
    }

    /// ConfigMap with where each Kubernetes node is.
    pub fn topology(&self) -> String {
        format!("{}-topology", self.name)
    }

    /// ServiceAccount of all pods; it has no rights.
    pub fn service_account(&self) -> String {
        format!("{}-dfs", self.name)
    }

    /// Claim of a volume of a pod.
    pub fn claim(volume: &str, pod: &str) -> String {
        format!("{volume}-{pod}")
    }

    /// Host under which other pods reach a NameNode's pod: without the cluster's domain, which the resolver's search list
    /// adds.
    pub fn namenode_host(&self, pod: &str) -> String {
        format!("{pod}.{}.{}.svc", self.namenode_service(), self.namespace)
    }

    /// Host under which other pods reach a DataNode's pod.
    pub fn datanode_host(&self, pod: &str) -> String {
        format!("{pod}.{}.{}.svc", self.datanode_service(), self.namespace)
    }

    /// `HOST:PORT` of the first `replicas` NameNodes, in the order all of them are told.
    pub fn namenode_addresses(&self, replicas: u32) -> Vec<String> {
        (0..replicas).map(|ordinal| self.namenode_address(ordinal)).collect()
    }

    /// `HOST:PORT` of the NameNode of this ordinal.
    pub fn namenode_address(&self, ordinal: u32) -> String {
        format!("{}:{NAMENODE_PORT}", self.namenode_host(&self.namenode_pod(ordinal)))
    }

    /// `HOST:PORT` under which a DataNode's pod announces itself.
    pub fn datanode_address(&self, pod: &str) -> String {
        format!("{}:{DATANODE_PORT}", self.datanode_host(pod))
    }

    /// Label selector of everything that belongs to the cluster.
    pub fn selector(&self) -> String {
        format!("{LABEL_CLUSTER}={}", self.name)
    }

    /// Label selector of the pods of one part of the cluster.
    pub fn component_selector(&self, component: Component) -> String {
        format!("{},{LABEL_COMPONENT}={}", self.selector(), component.label())
    }

    /// Labels that select: they never change in an object's life.
    pub fn selector_labels(&self, component: Component, pool: Option<&str>) -> BTreeMap<String, String> {
        let mut labels = self.cluster_labels();
        labels.insert(LABEL_COMPONENT.to_owned(), component.label().to_owned());
        if let Some(pool) = pool {
            labels.insert(LABEL_POOL.to_owned(), pool.to_owned());
        }
        // Who manages an object is no part of what it is.
        labels.remove(LABEL_MANAGED_BY);
        labels.remove(LABEL_PART_OF);
        labels
    }

    /// Labels of everything that belongs to the cluster.
    pub fn cluster_labels(&self) -> BTreeMap<String, String> {
        [
            (LABEL_NAME, "dfs"),
            (LABEL_INSTANCE, self.name.as_str()),
            (LABEL_PART_OF, "dfs"),
            (LABEL_MANAGED_BY, FIELD_MANAGER),
            (LABEL_CLUSTER, self.name.as_str()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
    }
}

/// What a host of the form `POD.SERVICE.NAMESPACE.svc[.DOMAIN]` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodHost<'a> {
    /// Name of the pod.
    pub pod: &'a str,
    /// Name of its headless Service.
    pub service: &'a str,
    /// Namespace of both.
    pub namespace: &'a str,
}

impl<'a> PodHost<'a> {
    /// Reads `host`; `None` if it is no pod's.
    pub fn parse(host: &'a str) -> Option<Self> {
        let mut labels = host.split('.');
        let (pod, service, namespace) = (labels.next()?, labels.next()?, labels.next()?);
        let complete = labels.next() == Some("svc") && ![pod, service, namespace].contains(&"");
        complete.then_some(Self { pod, service, namespace })
    }
}

/// The ordinal of a StatefulSet's pod.
pub fn pod_ordinal(pod: &str) -> Option<u32> {
    pod.rsplit_once('-')?.1.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name() -> ClusterName {
        ClusterName::new("prod", "main")
    }

    #[test]
    fn names_are_what_the_manual_says() {
        let name = name();
        assert_eq!(name.to_string(), "prod/main");
        assert_eq!(name.namenode_pod(2), "main-namenode-2");
        assert_eq!(name.datanode_pod("hot", 10), "main-datanode-hot-10");
        assert_eq!(name.namenode_addresses(1), ["main-namenode-0.main-namenode.prod.svc:9000"]);
        assert_eq!(
            name.datanode_address("main-datanode-hot-0"),
            "main-datanode-hot-0.main-datanode.prod.svc:9001"
        );
        assert_eq!(ClusterName::claim("d0", "main-datanode-hot-0"), "d0-main-datanode-hot-0");
        assert_eq!(
            name.component_selector(Component::DataNode),
            "dfs.dev/cluster=main,app.kubernetes.io/component=datanode"
        );
    }

    #[test]
    fn selectors_are_part_of_the_labels() {
        let name = name();
        let selector = name.selector_labels(Component::DataNode, Some("hot"));
        assert_eq!(selector.get(LABEL_POOL).map(String::as_str), Some("hot"));
        assert!(!selector.contains_key(LABEL_VERSION));
        assert!(!name.selector_labels(Component::NameNode, None).contains_key(LABEL_POOL));
    }

    #[test]
    fn hosts_are_read_back() {
        let name = name();
        let host = name.datanode_host("main-datanode-hot-0");
        let read = PodHost::parse(&host).unwrap();
        assert_eq!(read, PodHost { pod: "main-datanode-hot-0", service: "main-datanode", namespace: "prod" });
        assert_eq!(PodHost::parse(&format!("{host}.cluster.local")), Some(read));
        for other in ["", "localhost", "10.0.0.1", "a.b.c", "a.b.c.com", ".b.c.svc", "a..c.svc"] {
            assert_eq!(PodHost::parse(other), None, "{other}");
        }
        assert_eq!(pod_ordinal("main-datanode-hot-12"), Some(12));
        assert_eq!(pod_ordinal("main"), None);
    }
}
