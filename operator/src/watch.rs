//! What is known of the API server's objects: one watch for each kind, limited to ours, and what each change concerns.

mod seen;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::sync::{Arc, Mutex, PoisonError};

use dfs_daemon::Shutdown;
use dfs_kubernetes::crd::DfsCluster;
use dfs_kubernetes::names::{FIELD_MANAGER, LABEL_CLUSTER, LABEL_MANAGED_BY};
use futures_util::StreamExt as _;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{
    ConfigMap, Node, PersistentVolumeClaim, Pod, PodStatus, Service, ServiceAccount,
};
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::reflector::{ObjectRef, Store, reflector, store};
use kube::runtime::watcher::{Config, Event, watcher};
use kube::{Api, Client, Resource, ResourceExt as _};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::apply::fingerprint;
use crate::build::Machine;
use crate::metrics::Metrics;
use crate::observe::{ClaimView, PodView, SetView};

use seen::Seen;

/// A `DfsCluster`, or why it can't be read: one that another version wrote must not stop the watch of all.
pub type Guarded = DeserializeGuard<DfsCluster>;
/// Only the metadata of objects whose content the operator does not need to see.
pub type Meta<K> = PartialObjectMeta<K>;

/// Changes that wait to be looked at; beyond that the watches wait.
const MAX_TRIGGERS: usize = 1_024;

/// Which namespaces are looked after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// All.
    Everywhere,
    /// One.
    Namespace(String),
}

/// What is known.
pub struct Caches {
    /// What people ask for.
    pub clusters: Store<Guarded>,
    /// The pods' controllers.
    pub sets: Store<StatefulSet>,
    /// The pods.
    pub pods: Store<Pod>,
    /// Their claims.
    pub claims: Store<PersistentVolumeClaim>,
    /// Services.
    pub services: Store<Meta<Service>>,
    /// Topologies.
    pub config_maps: Store<Meta<ConfigMap>>,
    /// Accounts.
    pub accounts: Store<Meta<ServiceAccount>>,
    /// Budgets.
    pub budgets: Store<Meta<PodDisruptionBudget>>,
    /// Machines; `None` if the operator may not read them.
    pub machines: Option<Store<Meta<Node>>>,
}

/// Starts the watches; the changes of clusters and their objects come as references to the clusters.
pub fn start(
    client: &Client,
    scope: &Scope,
    with_machines: bool,
    metrics: &Metrics,
    shutdown: &Shutdown,
) -> (Caches, mpsc::Receiver<ObjectRef<Guarded>>) {
    let (triggers, receiver) = mpsc::channel(MAX_TRIGGERS);
    let watches = Watches {
        client: client.clone(),
        scope: scope.clone(),
        metrics: metrics.clone(),
        shutdown: shutdown.clone(),
        triggers,
    };
    let clusters = watches.clusters();
    let machines = with_machines.then(|| watches.machines(clusters.clone()));
    let caches = Caches {
        sets: watches.owned(strip_set, |set| hash((fingerprint(&set.metadata), SetView::new(set)))),
        pods: watches.owned(strip_pod, essence_of_pod),
        claims: watches.owned(|_claim| {}, essence_of_claim),
        services: watches.owned(|_meta| {}, |meta| fingerprint(&meta.metadata)),
        config_maps: watches.owned(|_meta| {}, |meta| fingerprint(&meta.metadata)),
        accounts: watches.owned(|_meta| {}, |meta| fingerprint(&meta.metadata)),
        budgets: watches.owned(|_meta| {}, |meta| fingerprint(&meta.metadata)),
        clusters,
        machines,
    };
    (caches, receiver)
}

impl Caches {
    /// Waits until all that is there has been read. `false` if a watch ended instead.
    pub async fn ready(&self) -> bool {
        let Self { clusters, sets, pods, claims, services, config_maps, accounts, budgets, machines } = self;
        let known = [
            clusters.wait_until_ready().await.is_ok(),
            sets.wait_until_ready().await.is_ok(),
            pods.wait_until_ready().await.is_ok(),
            claims.wait_until_ready().await.is_ok(),
            services.wait_until_ready().await.is_ok(),
            config_maps.wait_until_ready().await.is_ok(),
            accounts.wait_until_ready().await.is_ok(),
            budgets.wait_until_ready().await.is_ok(),
            match machines {
                Some(machines) => machines.wait_until_ready().await.is_ok(),
                None => true,
            },
        ];
        known.iter().all(|known| *known)
    }

    /// Where machines are; `None` if the operator may not know.
    pub fn machine_labels(&self) -> Option<BTreeMap<String, Machine>> {
        let machines = self.machines.as_ref()?;
        Some(machines.state().iter().map(|node| (node.name_any(), node.labels().clone())).collect())
    }
}

/// The objects of a store that belong to a cluster.
pub fn of_cluster<K>(store: &Store<K>, namespace: &str, cluster: &str) -> Vec<Arc<K>>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    store
        .state()
        .into_iter()
        .filter(|object| {
            object.meta().namespace.as_deref() == Some(namespace)
                && object.labels().get(LABEL_CLUSTER).is_some_and(|name| name == cluster)
        })
        .collect()
}

/// The metadata of an object, as last seen.
pub fn live<K>(store: &Store<K>, meta: &ObjectMeta) -> Option<ObjectMeta>
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    let reference = ObjectRef::<K>::new(meta.name.as_deref()?).within(meta.namespace.as_deref()?);
    Some(store.get(&reference)?.meta().clone())
}

struct Watches {
    client: Client,
    scope: Scope,
    metrics: Metrics,
    shutdown: Shutdown,
    triggers: mpsc::Sender<ObjectRef<Guarded>>,
}

impl Watches {
    fn api<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(&self) -> Api<K> {
        match &self.scope {
            Scope::Everywhere => Api::all(self.client.clone()),
            Scope::Namespace(namespace) => Api::namespaced(self.client.clone(), namespace),
        }
    }

    fn clusters(&self) -> Store<Guarded> {
        let own = |cluster: &Guarded| Some(ObjectRef::from_obj(cluster));
        self.watch(
            self.api(),
            Config::default(),
            |_cluster| {},
            |cluster| essence_of_cluster(cluster.meta()),
            own,
        )
    }

    /// Watches objects that the operator made.
    fn owned<K>(&self, strip: fn(&mut K), essence: fn(&K) -> u64) -> Store<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
            + Clone
            + Debug
            + DeserializeOwned
            + Send
            + Sync
            + 'static,
    {
        let ours = Config::default().labels(&format!("{LABEL_MANAGED_BY}={FIELD_MANAGER},{LABEL_CLUSTER}"));
        self.watch(self.api(), ours, strip, essence, |object| {
            let cluster = object.labels().get(LABEL_CLUSTER)?;
            Some(ObjectRef::new(cluster).within(object.meta().namespace.as_deref()?))
        })
    }

    /// Watches objects. Who is concerned is told only of changes of their essence: all else a cluster is looked at for anyhow,
    /// sooner or later.
    fn watch<K>(
        &self,
        api: Api<K>,
        config: Config,
        strip: fn(&mut K),
        essence: fn(&K) -> u64,
        concerns: impl Fn(&K) -> Option<ObjectRef<Guarded>> + Send + 'static,
    ) -> Store<K>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let (reader, writer) = store();
        let events = watcher(api, config).default_backoff().modify(move |object: &mut K| {
            object.managed_fields_mut().clear();
            strip(object);
        });
        let mut events = Box::pin(reflector(writer, events));
        let (triggers, metrics, shutdown) =
            (self.triggers.clone(), self.metrics.clone(), self.shutdown.clone());
        self.shutdown.spawn(async move {
            let mut seen = Seen::default();
            loop {
                let event = tokio::select! {
                    event = events.next() => event,
                    () = shutdown.requested() => return,
                };
                match event {
                    Some(Ok(event)) => {
                        for cluster in seen.concerned(&event, essence, &concerns) {
                            if triggers.send(cluster).await.is_err() {
                                return;
                            }
                        }
                    }
                    Some(Err(error)) => {
                        metrics.watch_failed(&K::kind(&()));
                        warn!(kind = %K::kind(&()), %error, "a watch broke and is begun again");
                    }
                    None => return,
                }
            }
        });
        reader
    }

    /// Watches the labels of machines; a change concerns all clusters.
    fn machines(&self, clusters: Store<Guarded>) -> Store<Meta<Node>> {
        let (reader, writer) = store();
        let api: Api<Meta<Node>> = Api::all(self.client.clone());
        let events = watcher(api, Config::default()).default_backoff().modify(strip_node);
        let mut events = Box::pin(reflector(writer, events));
        let (triggers, metrics, shutdown) =
            (self.triggers.clone(), self.metrics.clone(), self.shutdown.clone());
        let known: Mutex<BTreeMap<String, Machine>> = Mutex::default();
        self.shutdown.spawn(async move {
            loop {
                let event = tokio::select! {
                    event = events.next() => event,
                    () = shutdown.requested() => return,
                };
                let changed = match event {
                    Some(Ok(Event::Apply(node) | Event::InitApply(node))) => {
                        let labels = node.labels().clone();
                        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                        known.insert(node.name_any(), labels.clone()).is_none_or(|before| before != labels)
                    }
                    Some(Ok(Event::Delete(node))) => known
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .remove(&node.name_any())
                        .is_some(),
                    Some(Ok(Event::Init | Event::InitDone)) => false,
                    Some(Err(error)) => {
                        metrics.watch_failed("Node");
                        warn!(%error, "the watch of machines broke and is begun again");
                        false
                    }
                    None => return,
                };
                if changed {
                    debug!("a machine or its labels changed");
                    for cluster in clusters.state() {
                        if triggers.send(ObjectRef::from_obj(&*cluster)).await.is_err() {
                            return;
                        }
                    }
                }
            }
        });
        reader
    }
}

fn hash(what: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

/// What of a cluster people change: its status is the operator's own.
fn essence_of_cluster(meta: &ObjectMeta) -> u64 {
    let ends = meta.deletion_timestamp.is_some();
    hash((&meta.uid, meta.generation, &meta.labels, &meta.annotations, ends))
}

fn essence_of_pod(pod: &Pod) -> u64 {
    let view = PodView::new(pod, Timestamp::UNIX_EPOCH);
    hash(view.map(|(_, view)| PodView { age: 0, ..view }))
}

fn essence_of_claim(claim: &PersistentVolumeClaim) -> u64 {
    let view = ClaimView::new(claim, Timestamp::UNIX_EPOCH);
    hash(view.map(|(_, view)| ClaimView { unfinished: view.unfinished.map(|_| 0), ..view }))
}

/// Keeps of a machine what tells where it is.
fn strip_node(node: &mut Meta<Node>) {
    node.metadata.managed_fields = None;
    node.metadata.annotations = None;
}

/// Fails if the operator may not read the labels of machines.
pub async fn may_read_machines(client: &Client) -> Result<(), kube::Error> {
    let api: Api<Meta<Node>> = Api::all(client.clone());
    api.list(&kube::api::ListParams::default().limit(1)).await.map(|_| ())
}

/// The template is what a set mostly consists of, and only its revision matters.
fn strip_set(set: &mut StatefulSet) {
    if let Some(spec) = &mut set.spec {
        spec.template = k8s_openapi::api::core::v1::PodTemplateSpec::default();
    }
}

/// Keeps of a pod whether it runs.
fn strip_pod(pod: &mut Pod) {
    pod.metadata.annotations = None;
    pod.spec = None;
    pod.status = pod.status.take().map(|status| PodStatus {
        conditions: status.conditions,
        container_statuses: status.container_statuses,
        ..PodStatus::default()
    });
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_operator_writes_itself_is_no_change() {
        let cluster = |generation: i64, version: &str| ObjectMeta {
            generation: Some(generation),
            resource_version: Some(version.to_owned()),
            ..ObjectMeta::default()
        };
        assert_eq!(essence_of_cluster(&cluster(1, "5")), essence_of_cluster(&cluster(1, "6")));
        assert_ne!(essence_of_cluster(&cluster(1, "5")), essence_of_cluster(&cluster(2, "6")));
        let labelled =
            ObjectMeta { labels: Some([("a".to_owned(), "b".to_owned())].into()), ..cluster(1, "5") };
        assert_ne!(essence_of_cluster(&cluster(1, "5")), essence_of_cluster(&labelled));
    }

    #[test]
    fn pods_and_claims_change_when_their_views_do() {
        let pod = |version: &str, ready: &str| -> Pod {
            serde_json::from_value(json!({
                "metadata": {
                    "name": "a-0", "uid": "u", "resourceVersion": version,
                    "creationTimestamp": "2026-01-01T00:00:00Z",
                    "labels": { "app.kubernetes.io/component": "datanode" },
                },
                "status": { "conditions": [{ "type": "Ready", "status": ready }] },
            }))
            .unwrap()
        };
        assert_eq!(essence_of_pod(&pod("1", "True")), essence_of_pod(&pod("2", "True")));
        assert_ne!(essence_of_pod(&pod("1", "True")), essence_of_pod(&pod("2", "False")));
        let claim = |version: &str, size: &str| -> PersistentVolumeClaim {
            serde_json::from_value(json!({
                "metadata": { "name": "d0-a-0", "resourceVersion": version },
                "spec": { "resources": { "requests": { "storage": size } } },
            }))
            .unwrap()
        };
        assert_eq!(essence_of_claim(&claim("1", "1Gi")), essence_of_claim(&claim("2", "1Gi")));
        assert_ne!(essence_of_claim(&claim("1", "1Gi")), essence_of_claim(&claim("2", "2Gi")));
    }
}
