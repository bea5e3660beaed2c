//! What Kubernetes objects a `DfsCluster` means. Pure: a spec and what is there already in, objects out.

mod budgets;
mod datanodes;
mod namenodes;
mod pods;
mod services;
mod topology;

use std::collections::BTreeMap;

use dfs_kubernetes::crd::{DfsCluster, DfsClusterSpec, PullPolicy};
use dfs_kubernetes::names::{LABEL_VERSION, port};
use dfs_kubernetes::{ClusterName, names};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Service, ServiceAccount};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource as _;

use crate::observe::requested;

pub use topology::{Machine, lines};

/// The image that pods run where a spec does not say: the operator's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DefaultImage {
    /// Repository, with the registry's host if it has one.
    pub repository: String,
    /// What follows: a colon and a tag, or an `@` and a digest.
    pub tag: String,
    /// When a machine pulls it.
    pub pull_policy: PullPolicy,
}

impl DefaultImage {
    /// Reads `REPOSITORY[:TAG|@DIGEST]`.
    pub fn parse(image: &str, pull_policy: PullPolicy) -> Option<Self> {
        let (repository, tag) = if let Some((repository, digest)) = image.split_once('@') {
            (repository, format!("@{digest}"))
        } else {
            let name = image.rfind('/').map_or(0, |slash| slash + 1);
            match image.get(name..)?.find(':') {
                Some(colon) => (image.get(..name + colon)?, image.get(name + colon + 1..)?.to_owned()),
                None => (image, "latest".to_owned()),
            }
        };
        let usable = !repository.is_empty() && !tag.is_empty() && !image.contains(char::is_whitespace);
        usable.then(|| Self { repository: repository.to_owned(), tag, pull_policy })
    }
}

/// What of the present state the objects depend on.
#[derive(Debug, Clone, Default)]
pub struct Present {
    /// StatefulSets that are there, by name: what can't be changed of them stays, and none loses pods.
    pub sets: BTreeMap<String, StatefulSet>,
    /// Pods that each of them has by what is left of them, also while it is not there itself.
    pub kept: BTreeMap<String, u32>,
    /// Machines and where they are; `None` if nobody may know.
    pub machines: Option<BTreeMap<String, Machine>>,
}

/// Everything a cluster consists of.
#[derive(Debug, Clone, PartialEq)]
pub struct Objects {
    /// The pods' account, which has no rights.
    pub service_account: ServiceAccount,
    /// Where each machine is, if that is known.
    pub topology: Option<ConfigMap>,
    /// Names of pods, and the way in.
    pub services: Vec<Service>,
    /// How many pods may be evicted at once.
    pub budgets: Vec<PodDisruptionBudget>,
    /// The pods.
    pub sets: Vec<StatefulSet>,
}

/// A cluster on its way to objects.
#[derive(Debug)]
pub(crate) struct Builder<'a> {
    name: ClusterName,
    spec: &'a DfsClusterSpec,
    owner: Option<OwnerReference>,
    default_image: &'a DefaultImage,
}

/// The cluster a resource stands for; `None` if it has no name yet.
pub fn cluster_name(cluster: &DfsCluster) -> Option<ClusterName> {
    let namespace = cluster.metadata.namespace.as_deref()?;
    Some(ClusterName::new(namespace, cluster.metadata.name.as_deref()?))
}

/// The objects of `cluster`.
pub fn objects(cluster: &DfsCluster, default_image: &DefaultImage, present: &Present) -> Option<Objects> {
    let builder = Builder {
        name: cluster_name(cluster)?,
        spec: &cluster.spec,
        owner: cluster.controller_owner_ref(&()),
        default_image,
    };
    let mut sets = vec![builder.namenodes()];
    sets.extend(
        cluster.spec.data_node_pools.iter().map(|pool| builder.pool(pool, present.machines.is_some())),
    );
    for set in &mut sets {
        keep_what_can_not_change(set, present);
    }
    Some(Objects {
        service_account: builder.service_account(),
        topology: present.machines.as_ref().map(|machines| builder.topology(machines)),
        services: builder.services(),
        budgets: builder.budgets(),
        sets,
    })
}

/// The image that the pods of `spec` run.
pub fn image(spec: &DfsClusterSpec, default: &DefaultImage) -> String {
    let repository = spec.image.repository.as_deref().unwrap_or(&default.repository);
    let tag = spec.image.tag.as_deref().unwrap_or(&default.tag);
    if tag.starts_with('@') { format!("{repository}{tag}") } else { format!("{repository}:{tag}") }
}

/// Takes over what the API server would not change, and never takes pods away: what they hold would have to be moved
/// first.
fn keep_what_can_not_change(set: &mut StatefulSet, present: &Present) {
    let (Some(name), Some(wanted)) = (&set.metadata.name, &mut set.spec) else { return };
    let kept = present.kept.get(name).and_then(|kept| i32::try_from(*kept).ok());
    wanted.replicas = wanted.replicas.max(kept);
    let Some(there) = present.sets.get(name).and_then(|there| there.spec.as_ref()) else { return };
    wanted.replicas = wanted.replicas.max(there.replicas);
    wanted.pod_management_policy.clone_from(&there.pod_management_policy);
    wanted.service_name.clone_from(&there.service_name);
    wanted.selector.clone_from(&there.selector);
    // The order of templates can't be changed either.
    let place = |name: &Option<String>| {
        there.volume_claim_templates.iter().flatten().position(|claim| claim.metadata.name == *name)
    };
    wanted.volume_claim_templates.iter_mut().for_each(|claims| {
        claims.sort_by_key(|claim| place(&claim.metadata.name));
    });
    // Only sizes that differ: the API server writes all else its own way, which would look like something new to apply.
    for claim in wanted.volume_claim_templates.iter_mut().flatten() {
        let mut theirs = there.volume_claim_templates.iter().flatten();
        let Some(same) = theirs.find(|other| other.metadata.name == claim.metadata.name) else { continue };
        if requested(claim) != requested(same)
            && let (Some(spec), Some(same)) = (&mut claim.spec, &same.spec)
        {
            spec.resources.clone_from(&same.resources);
        }
    }
}

impl Builder<'_> {
    /// Metadata of one of the cluster's objects.
    fn metadata(&self, name: String) -> ObjectMeta {
        let extra = &self.spec.common_metadata;
        let mut labels = extra.labels.clone();
        labels.extend(self.name.cluster_labels());
        if let Some(version) = self.version() {
            labels.insert(LABEL_VERSION.to_owned(), version);
        }
        ObjectMeta {
            name: Some(name),
            namespace: Some(self.name.namespace.clone()),
            labels: Some(labels),
            annotations: (!extra.annotations.is_empty()).then(|| extra.annotations.clone()),
            owner_references: self.owner.clone().map(|owner| vec![owner]),
            ..ObjectMeta::default()
        }
    }

    /// The image's tag, if a label can hold it.
    fn version(&self) -> Option<String> {
        let tag = self.spec.image.tag.as_deref().unwrap_or(&self.default_image.tag);
        let fits = tag.len() <= 63
            && !tag.starts_with('@')
            && tag.ends_with(|last: char| last.is_ascii_alphanumeric())
            && tag.starts_with(|first: char| first.is_ascii_alphanumeric());
        fits.then(|| tag.to_owned())
    }

    fn service_account(&self) -> ServiceAccount {
        ServiceAccount {
            metadata: self.metadata(self.name.service_account()),
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        }
    }

    fn namenode_addresses(&self) -> String {
        self.name.namenode_addresses(self.spec.name_node.replicas).join(",")
    }
}

/// `(name, number)` of the ports of a NameNode's pod.
fn namenode_ports() -> [(&'static str, u16); 2] {
    use dfs_types::names::{NAMENODE_HTTP_PORT, NAMENODE_PORT};
    [(port::RPC, NAMENODE_PORT), (port::HTTP, NAMENODE_HTTP_PORT)]
}

/// `(name, number)` of the ports of a DataNode's pod.
fn datanode_ports() -> [(&'static str, u16); 2] {
    use dfs_types::names::{DATANODE_HTTP_PORT, DATANODE_PORT};
    [(port::DATA, DATANODE_PORT), (port::HTTP, DATANODE_HTTP_PORT)]
}

/// A flag and its value.
fn flag(name: &str, value: impl std::fmt::Display) -> String {
    format!("--{name}={value}")
}

/// The directory in which a DataNode's pod finds a volume.
fn volume_dir(volume: &str) -> String {
    format!("{}/{volume}", names::VOLUMES_DIR)
}

#[cfg(test)]
pub(crate) mod tests;
