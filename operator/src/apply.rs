//! Bringing objects to the API server: by server-side apply, and only when something differs from what was applied last.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use dfs_kubernetes::forward::said;
use dfs_kubernetes::names::{FIELD_MANAGER, LABEL_CLUSTER, LABEL_MANAGED_BY};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::metrics::Metrics;

/// What identifies an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    kind: String,
    namespace: String,
    cluster: String,
    name: String,
}

/// What was applied, and what the API server made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Done {
    wanted: u64,
    live: u64,
}

/// Why an object was not applied.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// It changed after it was seen: what was decided may be wrong, and is decided anew.
    #[error("{0} changed meanwhile")]
    Stale(String),
    /// Somebody else made it, or another `DfsCluster` owns it.
    #[error("{0} belongs to somebody else: rename it or the DfsCluster")]
    Foreign(String),
    /// A `DfsCluster` that is gone owns it.
    #[error("{0} belongs to a deleted DfsCluster of the same name, and goes with it")]
    Former(String),
    /// The API server refused, or could not be reached.
    #[error("{}", said(.0))]
    Api(#[from] kube::Error),
}

/// Applies objects.
pub struct Applier {
    client: Client,
    metrics: Metrics,
    done: Mutex<HashMap<Key, Done>>,
}

impl Applier {
    /// Nothing is known to be applied yet.
    pub fn new(client: Client, metrics: Metrics) -> Self {
        Self { client, metrics, done: Mutex::default() }
    }

    /// Applies `object` unless just that was applied before and nobody has changed the object since: `live` is its
    /// metadata as last seen. What others manage of the object stays, and so does an object of somebody else. Answers with the
    /// object as it became if something was sent.
    pub async fn apply<K>(&self, object: &K, live: Option<ObjectMeta>) -> Result<Option<K>, ApplyError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let meta = object.meta();
        let cluster = meta.labels.as_ref().and_then(|labels| labels.get(LABEL_CLUSTER));
        let key = Key {
            kind: K::kind(&()).into_owned(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            cluster: cluster.cloned().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        };
        let what = format!("{} {}", key.kind, key.name);
        let api: Api<K> = Api::namespaced(self.client.clone(), &key.namespace);
        let live = match live {
            Some(live) => Some(live),
            // The watches see labelled objects only: what seems to be missing may be another one's.
            None => api.get_metadata_opt(&key.name).await?.map(|there| there.metadata),
        };
        match live.as_ref().map_or(Belongs::Here, |live| belongs(meta, live)) {
            Belongs::Here => {}
            Belongs::Former => return Err(ApplyError::Former(what)),
            Belongs::Elsewhere => return Err(ApplyError::Foreign(what)),
        }
        let wanted = wanted(object).map_err(kube::Error::SerdeError)?;
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        if done.is_some() && done == live.as_ref().map(|live| Done { wanted, live: fingerprint(live) }) {
            return Ok(None);
        }
        let mut object = object.clone();
        object.meta_mut().resource_version = live.and_then(|live| live.resource_version);
        let parameters = PatchParams::apply(FIELD_MANAGER).force();
        let applied = match api.patch(&key.name, &parameters, &Patch::Apply(&object)).await {
            Err(kube::Error::Api(status)) if status.code == 409 => return Err(ApplyError::Stale(what)),
            result => result?,
        };
        self.metrics.applied(&key.kind);
        let done = Done { wanted, live: fingerprint(applied.meta()) };
        self.done.lock().unwrap_or_else(PoisonError::into_inner).insert(key, done);
        Ok(Some(applied))
    }

    /// Forgets what was applied in the name of a cluster that is gone: its objects go too.
    pub fn forget(&self, namespace: &str, cluster: &str) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.retain(|key, _| key.namespace != namespace || key.cluster != cluster);
    }
}

/// Whose an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Belongs {
    /// The cluster's that it is wanted for, or nobody's any more: it was left behind and carries the cluster's labels.
    Here,
    /// A deleted one's of the same name.
    Former,
    /// Another one's.
    Elsewhere,
}

/// Whose the object `live` is that would become `wanted`.
fn belongs(wanted: &ObjectMeta, live: &ObjectMeta) -> Belongs {
    let (ours, theirs) = (controller(wanted), controller(live));
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours.uid == theirs.uid => Belongs::Here,
        (Some(ours), Some(theirs)) if (&ours.kind, &ours.name) == (&theirs.kind, &theirs.name) => {
            Belongs::Former
        }
        (_, Some(_)) => Belongs::Elsewhere,
        (_, None) => {
            let label =
                |meta: &ObjectMeta, key| meta.labels.as_ref().and_then(|labels| labels.get(key).cloned());
            let same = |key| label(wanted, key).is_some_and(|ours| label(live, key) == Some(ours));
            if same(LABEL_CLUSTER) && same(LABEL_MANAGED_BY) { Belongs::Here } else { Belongs::Elsewhere }
        }
    }
}

fn controller(meta: &ObjectMeta) -> Option<&OwnerReference> {
    meta.owner_references.iter().flatten().find(|owner| owner.controller == Some(true))
}

fn wanted<K: Serialize>(object: &K) -> Result<u64, serde_json::Error> {
    let mut hasher = DefaultHasher::new();
    serde_json::to_vec(object)?.hash(&mut hasher);
    Ok(hasher.finish())
}

/// Changes whenever somebody changes the object. Its status does not count where Kubernetes tells that apart, by a
/// generation.
pub(crate) fn fingerprint(meta: &ObjectMeta) -> u64 {
    let mut hasher = DefaultHasher::new();
    meta.uid.hash(&mut hasher);
    match meta.generation {
        Some(generation) => {
            generation.hash(&mut hasher);
            meta.labels.hash(&mut hasher);
            meta.annotations.hash(&mut hasher);
            for owner in meta.owner_references.iter().flatten() {
                (&owner.uid, owner.controller).hash(&mut hasher);
            }
        }
        None => meta.resource_version.hash(&mut hasher),
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use http::{Method, Request, Response, StatusCode};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::client::Body;
    use prometheus::Registry;
    use serde_json::{Value, json};
    use tower::service_fn;

    use super::*;

    fn meta(generation: Option<i64>, version: &str) -> ObjectMeta {
        ObjectMeta {
            uid: Some("u".to_owned()),
            generation,
            resource_version: Some(version.to_owned()),
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn a_status_is_no_change_where_there_is_a_generation() {
        assert_eq!(fingerprint(&meta(Some(1), "5")), fingerprint(&meta(Some(1), "6")));
        assert_ne!(fingerprint(&meta(Some(1), "5")), fingerprint(&meta(Some(2), "6")));
        assert_ne!(fingerprint(&meta(None, "5")), fingerprint(&meta(None, "6")));
        let mut labelled = meta(Some(1), "5");
        labelled.labels = Some([("a".to_owned(), "b".to_owned())].into());
        assert_ne!(fingerprint(&meta(Some(1), "5")), fingerprint(&labelled));
    }

    fn owned(uid: &str, kind: &str, name: &str) -> ObjectMeta {
        let owner = OwnerReference {
            uid: uid.to_owned(),
            kind: kind.to_owned(),
            name: name.to_owned(),
            controller: Some(true),
            ..OwnerReference::default()
        };
        ObjectMeta { owner_references: Some(vec![owner]), ..ObjectMeta::default() }
    }

    #[test]
    fn objects_of_others_are_left_alone() {
        let labels = |cluster: &str| {
            let labels = [(LABEL_CLUSTER, cluster), (LABEL_MANAGED_BY, FIELD_MANAGER)];
            labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
        };
        let mut wanted = owned("u", "DfsCluster", "main");
        wanted.labels = Some(labels("main"));
        let left_behind = ObjectMeta { labels: Some(labels("main")), ..ObjectMeta::default() };
        let other_label = ObjectMeta { labels: Some(labels("main-namenode")), ..ObjectMeta::default() };
        let mut other_owner = owned("v", "DfsCluster", "main-namenode");
        other_owner.labels = Some(labels("main"));
        for (live, whose) in [
            // Whoever took our labels away did not take the object away.
            (owned("u", "DfsCluster", "main"), Belongs::Here),
            (left_behind, Belongs::Here),
            (owned("v", "DfsCluster", "main"), Belongs::Former),
            (other_owner, Belongs::Elsewhere),
            (owned("v", "Deployment", "main"), Belongs::Elsewhere),
            (other_label, Belongs::Elsewhere),
            (ObjectMeta::default(), Belongs::Elsewhere),
        ] {
            assert_eq!(belongs(&wanted, &live), whose, "{live:?}");
        }
    }

    /// An API server that knows this object, or none, and answers patches with this code. What it is sent is noted.
    fn server(there: Option<Value>, code: StatusCode) -> (Applier, Arc<Mutex<Vec<Value>>>) {
        let sent: Arc<Mutex<Vec<Value>>> = Arc::default();
        let notes = Arc::clone(&sent);
        let serve = service_fn(move |request: Request<Body>| {
            let (there, notes) = (there.clone(), Arc::clone(&notes));
            async move {
                let status = |code: StatusCode, reason: &str| {
                    (
                        code,
                        json!({ "status": "Failure", "reason": reason, "message": "no", "code": code.as_u16() }),
                    )
                };
                let (code, said) = if request.method() == Method::PATCH {
                    let bytes = request.into_body().collect_bytes().await.unwrap();
                    let patch: Value = serde_json::from_slice(&bytes).unwrap();
                    notes.lock().unwrap().push(patch.clone());
                    let mut made = patch;
                    made["metadata"]["resourceVersion"] = json!("6");
                    if code.is_success() { (code, made) } else { status(code, "Conflict") }
                } else {
                    there.map_or_else(
                        || status(StatusCode::NOT_FOUND, "NotFound"),
                        |there| (StatusCode::OK, there),
                    )
                };
                let mut response = Response::new(Body::from(said.to_string().into_bytes()));
                *response.status_mut() = code;
                Ok::<_, std::convert::Infallible>(response)
            }
        });
        let metrics = Metrics::on(&Metrics::meter(&Registry::new())).unwrap();
        (Applier::new(Client::new(serve, "prod"), metrics), sent)
    }

    fn config_map() -> ConfigMap {
        let metadata = ObjectMeta {
            name: Some("main-topology".to_owned()),
            namespace: Some("prod".to_owned()),
            ..owned("u", "DfsCluster", "main")
        };
        ConfigMap { metadata, ..ConfigMap::default() }
    }

    #[tokio::test]
    async fn what_is_sent_carries_the_version_that_was_seen_and_is_sent_once() {
        let (applier, sent) = server(None, StatusCode::OK);
        let made = applier.apply(&config_map(), None).await.unwrap().unwrap();
        assert_eq!(sent.lock().unwrap()[0]["metadata"].get("resourceVersion"), None, "it is new");
        assert!(applier.apply(&config_map(), Some(made.metadata)).await.unwrap().is_none());
        let changed = ObjectMeta { resource_version: Some("7".to_owned()), ..config_map().metadata };
        assert!(applier.apply(&config_map(), Some(changed)).await.unwrap().is_some());
        let sent = sent.lock().unwrap();
        assert_eq!((sent.len(), &sent[1]["metadata"]["resourceVersion"]), (2, &json!("7")));
    }

    #[tokio::test]
    async fn what_changed_meanwhile_or_is_not_ours_is_not_written() {
        let (applier, _) = server(None, StatusCode::CONFLICT);
        let stale = applier.apply(&config_map(), Some(config_map().metadata)).await.unwrap_err();
        assert!(matches!(stale, ApplyError::Stale(_)), "{stale}");
        let there = json!({
            "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
            "metadata": { "name": "main-topology", "labels": { "app": "mine" } },
        });
        let (applier, sent) = server(Some(there), StatusCode::OK);
        let foreign = applier.apply(&config_map(), None).await.unwrap_err();
        assert_eq!(
            foreign.to_string(),
            "ConfigMap main-topology belongs to somebody else: rename it or the DfsCluster"
        );
        assert_eq!(sent.lock().unwrap().len(), 0);
    }
}
