//! What people ask for.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::pod::{ObjectMetadata, PodTemplate};
use super::status::DfsClusterStatus;
use super::storage::{Storage, Volume};

/// What is asked for of a distributed file system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "dfs.dev",
    version = "v1alpha1",
    kind = "DfsCluster",
    plural = "dfsclusters",
    singular = "dfscluster",
    shortname = "dfsc",
    category = "all",
    namespaced,
    status = "DfsClusterStatus",
    derive = "PartialEq",
    doc = "A distributed file system: NameNodes keep the namespace, DataNodes keep the chunks of files.",
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("the name begins objects of many kinds: begin it with a small letter and use only small letters, digits and dashes"),
    validation = Rule::new("!self.metadata.name.endsWith('-namenode') && !self.metadata.name.endsWith('-datanode')")
        .message("the name ends as names of other DfsClusters' objects do: use one that does not end in -namenode or -datanode"),
    validation = Rule::new("size(self.metadata.name) <= 40")
        .message("the name is longer than 40 characters: names of pods are made of it"),
    validation = Rule::new("self.spec.dataNodePools.all(pool, size(self.metadata.name) + size(pool.name) <= 42)")
        .message("the names of the cluster and of a pool have more than 42 characters together: names of pods are made of them"),
    printcolumn(name = "Available", type_ = "string", json_path = ".status.conditions[?(@.type==\"Available\")].status"),
    printcolumn(name = "Degraded", type_ = "string", json_path = ".status.conditions[?(@.type==\"Degraded\")].status"),
    printcolumn(name = "Progressing", type_ = "string", json_path = ".status.conditions[?(@.type==\"Progressing\")].reason", priority = 1),
    printcolumn(name = "Leader", type_ = "string", json_path = ".status.nameNodes.leader"),
    printcolumn(name = "NameNodes", type_ = "integer", json_path = ".status.nameNodes.ready"),
    printcolumn(name = "DataNodes", type_ = "integer", json_path = ".status.dataNodes.ready"),
    printcolumn(name = "Used%", type_ = "integer", json_path = ".status.capacity.usedPercent"),
    printcolumn(name = "Under-replicated", type_ = "integer", json_path = ".status.chunks.underReplicated"),
    printcolumn(name = "Waiting for", type_ = "string", json_path = ".status.waitingFor"),
    printcolumn(name = "Image", type_ = "string", json_path = ".status.image", priority = 1),
    printcolumn(name = "Chunks", type_ = "integer", json_path = ".status.chunks.total", priority = 1),
    printcolumn(name = "One copy", type_ = "integer", json_path = ".status.chunks.onlyOneCopy", priority = 1),
    printcolumn(name = "Missing", type_ = "integer", json_path = ".status.chunks.missing", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(
    validation = Rule::new("!has(self.minReplicas) || self.minReplicas <= self.replication")
        .message("minReplicas is larger than replication: a file could never be closed")
        .field_path(".minReplicas")
)]
#[serde(rename_all = "camelCase")]
pub struct DfsClusterSpec {
    /// Image of all pods. What is not given is as of the operator's own image.
    #[serde(default, skip_serializing_if = "Image::is_empty")]
    pub image: Image,
    /// The operator changes nothing while this is true; it goes on to report the status.
    #[serde(default)]
    pub paused: bool,
    /// Replicas of a file whose creator does not say otherwise.
    #[serde(default = "default_replication")]
    #[schemars(range(min = 1, max = 512))]
    pub replication: u32,
    /// Replicas of each chunk that must be synced before a file is closed; the others follow. By default 2, or
    /// `replication` if that is less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 512))]
    pub min_replicas: Option<u32>,
    /// The NameNodes.
    #[serde(default)]
    pub name_node: NameNode,
    /// The DataNodes, in pools of like ones: one StatefulSet each. A pool is for example a zone, or machines with other
    /// disks.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    #[schemars(length(min = 1, max = 32))]
    pub data_node_pools: Vec<DataNodePool>,
    /// How replicas are placed.
    #[serde(default)]
    pub placement: Placement,
    /// When lost replicas are made anew.
    #[serde(default)]
    pub repair: Repair,
    /// What the pods log.
    #[serde(default)]
    pub log: Log,
    /// Labels and annotations to add to all objects made for this cluster, but not to its pods.
    #[serde(default, skip_serializing_if = "ObjectMetadata::is_empty")]
    pub common_metadata: ObjectMetadata,
}

fn default_replication() -> u32 {
    dfs_types::limits::DEFAULT_REPLICATION
}

impl DfsClusterSpec {
    /// Replicas of each chunk that must be synced before a file is closed.
    pub fn effective_min_replicas(&self) -> u32 {
        self.min_replicas.unwrap_or(dfs_types::limits::DEFAULT_MIN_REPLICAS.min(self.replication))
    }

    /// DataNodes of all pools.
    pub fn data_nodes(&self) -> u32 {
        self.data_node_pools.iter().map(|pool| pool.replicas).sum()
    }
}

/// Which image the pods run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// Repository, with the registry's host if it has one. By default the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), regex(pattern = "^[^\\s:@]+(:[0-9]+/[^\\s:@]+)?$"))]
    pub repository: Option<String>,
    /// Tag, or digest after an `@`. By default the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 140),
        regex(pattern = "^([A-Za-z0-9_][A-Za-z0-9_.-]*|@sha256:[0-9a-f]{64})$")
    )]
    pub tag: Option<String>,
    /// When a machine pulls the image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_policy: Option<PullPolicy>,
    /// Names of Secrets with the credentials of the registry.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 253)))]
    pub pull_secrets: Vec<String>,
}

impl Image {
    /// Whether everything is as of the operator's image.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// When a machine pulls an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// At each start of a pod.
    Always,
    /// Only if it has none.
    IfNotPresent,
    /// Never.
    Never,
}

impl PullPolicy {
    /// As Kubernetes calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// The NameNodes, which keep the namespace as one group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("self.replicas == 1 || self.replicas == 3")
        .message("write 3 NameNodes, of which one may fail at any moment, or 1")
        .field_path(".replicas"),
    validation = Rule::new("self.replicas == oldSelf.replicas")
        .message("the number of NameNodes is chosen when the cluster is made and can't be changed yet")
        .field_path(".replicas"),
    validation = Rule::new("self.electionTimeout == oldSelf.electionTimeout")
        .message("electionTimeout is chosen when the cluster is made: while NameNodes had different ones, a leader could not know how long nobody else leads")
        .field_path(".electionTimeout"),
    validation = Rule::new("duration(self.electionTimeout) >= duration('100ms') && duration(self.electionTimeout) <= duration('1m')")
        .message("electionTimeout must be 100ms to 1m")
        .field_path(".electionTimeout"),
    validation = Rule::new("!has(self.heartbeatInterval) || (duration(self.heartbeatInterval) >= duration('10ms') && duration(self.heartbeatInterval) + duration(self.heartbeatInterval) <= duration(self.electionTimeout))")
        .message("heartbeatInterval must be 10ms to half of electionTimeout")
        .field_path(".heartbeatInterval")
)]
#[serde(rename_all = "camelCase")]
pub struct NameNode {
    /// How many: 3, of which one may fail at any moment, or 1. It can't be changed yet.
    #[serde(default = "default_namenodes")]
    pub replicas: u32,
    /// Where each of them keeps the namespace.
    #[serde(default)]
    pub storage: Storage,
    /// Free bytes of that, such as `2Gi`, below which nothing new can be made, while deleting, closing and renaming go on.
    /// By default 5 %, at most 1Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), regex(pattern = "^[0-9]+(Ki|Mi|Gi|Ti)?$"))]
    pub min_free: Option<String>,
    /// A leader that is silent for so long is replaced, after up to as long again. Longer where machines stand still now and
    /// then, or are far apart.
    #[serde(default = "default_election_timeout")]
    #[schemars(length(min = 2, max = 20), regex(pattern = "^([0-9]+(ms|s|m|h))+$"))]
    pub election_timeout: String,
    /// How often a leader tells the others that it is there. By default five times in an election timeout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 20), regex(pattern = "^([0-9]+(ms|s|m|h))+$"))]
    pub heartbeat_interval: Option<String>,
    /// Name of a ConfigMap whose key `groups` says which groups users are in, in the format of /etc/group. A change of it
    /// counts after about a minute. By default what each request says is believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$"))]
    pub groups_config_map: Option<String>,
    /// CPU and memory of each; by default 100m and 256Mi are requested, without limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Where and how their pods run.
    #[serde(default, skip_serializing_if = "PodTemplate::is_empty")]
    pub template: PodTemplate,
}

fn default_namenodes() -> u32 {
    3
}

fn default_election_timeout() -> String {
    "500ms".to_owned()
}

impl Default for NameNode {
    fn default() -> Self {
        Self {
            replicas: default_namenodes(),
            storage: Storage::default(),
            min_free: None,
            election_timeout: default_election_timeout(),
            heartbeat_interval: None,
            groups_config_map: None,
            resources: None,
            template: PodTemplate::default(),
        }
    }
}

/// DataNodes that a pool may have, as its schema says too.
pub const MAX_DATANODES: u32 = 5_000;

/// DataNodes that are alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("size(self.volumes) == size(oldSelf.volumes) && self.volumes.all(volume, oldSelf.volumes.exists(old, old.name == volume.name))")
        .message("a pool's volumes are chosen when it is made: add a pool with other ones")
        .field_path(".volumes")
)]
#[serde(rename_all = "camelCase")]
pub struct DataNodePool {
    /// Name of the pool: small letters, digits and dashes.
    #[schemars(length(min = 1, max = 30), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub name: String,
    /// How many DataNodes. Fewer than there are is not obeyed yet, as their data would have to be moved first: the
    /// condition Progressing says so.
    #[schemars(range(min = 0, max = 5000))]
    pub replicas: u32,
    /// Volumes of each DataNode: one claim each. They can't be added or taken away later.
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    #[schemars(length(min = 1, max = 32))]
    pub volumes: Vec<Volume>,
    /// Bytes to leave free on each volume, such as `10Gi`. By default 5 %, at most 1Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), regex(pattern = "^[0-9]+(Ki|Mi|Gi|Ti)?$"))]
    pub reserve: Option<String>,
    /// CPU and memory of each DataNode; by default 100m and 256Mi are requested, without limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Where and how their pods run.
    #[serde(default, skip_serializing_if = "PodTemplate::is_empty")]
    pub template: PodTemplate,
}

/// How replicas are placed: always on different machines, then in different zones, then in different racks, as far as
/// there are any.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Label of machines that names their zone.
    #[serde(default = "default_zone_label")]
    #[schemars(length(min = 1, max = 317))]
    pub zone_label: String,
    /// Label of machines that names their rack, if they have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 317))]
    pub rack_label: Option<String>,
}

fn default_zone_label() -> String {
    "topology.kubernetes.io/zone".to_owned()
}

impl Default for Placement {
    fn default() -> Self {
        Self { zone_label: default_zone_label(), rack_label: None }
    }
}

/// When replicas are made anew. A loss that is certain (a claim is gone) is repaired at once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[x_kube(
    validation = Rule::new("duration(self.deadAfter) > duration('5s') && duration(self.deadAfter) < duration('720h')")
        .message("deadAfter must be more than 5s and less than 720h")
        .field_path(".deadAfter"),
    validation = Rule::new("duration(self.restartGrace) > duration('0s') && duration(self.restartGrace) < duration('720h')")
        .message("restartGrace must be more than 0s and less than 720h")
        .field_path(".restartGrace")
)]
#[serde(rename_all = "camelCase")]
pub struct Repair {
    /// Silence of a DataNode, nobody knows why, after which its replicas are made anew.
    #[serde(default = "default_dead_after")]
    #[schemars(length(min = 2, max = 20), regex(pattern = "^([0-9]+(ms|s|m|h))+$"))]
    pub dead_after: String,
    /// How long a DataNode that stopped cleanly may stay away before its replicas are made anew.
    #[serde(default = "default_restart_grace")]
    #[schemars(length(min = 2, max = 20), regex(pattern = "^([0-9]+(ms|s|m|h))+$"))]
    pub restart_grace: String,
}

fn default_dead_after() -> String {
    "15s".to_owned()
}

/// Longer than the NameNode's own default: a pod may have to be scheduled and its volume attached anew.
fn default_restart_grace() -> String {
    "5m".to_owned()
}

impl Default for Repair {
    fn default() -> Self {
        Self { dead_after: default_dead_after(), restart_grace: default_restart_grace() }
    }
}

/// What the pods log.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Log {
    /// How much is logged.
    #[serde(default)]
    pub level: LogLevel,
    /// How log lines look: JSON objects, or text for people.
    #[serde(default)]
    pub format: LogFormat,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// And what may become a problem.
    Warn,
    /// And what happens.
    #[default]
    Info,
    /// And why.
    Debug,
    /// And everything.
    Trace,
}

impl LogLevel {
    /// As a log filter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    #[default]
    Json,
}

impl LogFormat {
    /// As the flag of our programs wants it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl DataNodePool {
    /// A pool that says nothing but what it must.
    pub fn new(name: impl Into<String>, replicas: u32, volumes: Vec<Volume>) -> Self {
        Self {
            name: name.into(),
            replicas,
            volumes,
            reserve: None,
            resources: None,
            template: PodTemplate::default(),
        }
    }
}

impl DfsClusterSpec {
    /// A spec that says nothing but what it must.
    pub fn new(data_node_pools: Vec<DataNodePool>) -> Self {
        Self {
            image: Image::default(),
            paused: false,
            replication: default_replication(),
            min_replicas: None,
            name_node: NameNode::default(),
            data_node_pools,
            placement: Placement::default(),
            repair: Repair::default(),
            log: Log::default(),
            common_metadata: ObjectMetadata { labels: BTreeMap::new(), annotations: BTreeMap::new() },
        }
    }
}
