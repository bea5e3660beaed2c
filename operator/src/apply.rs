//! Bringing objects to the API server: by server-side apply, and only when something differs from what was applied last.

use std::collections::HashMap;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use dfs_kubernetes::names::FIELD_MANAGER;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
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
    name: String,
}

/// What was applied, and what the API server made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Done {
    wanted: u64,
    live: u64,
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
    /// metadata as last seen. What others manage of the object stays.
    pub async fn apply<K>(&self, object: &K, live: Option<&ObjectMeta>) -> Result<(), kube::Error>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + Serialize
            + DeserializeOwned,
    {
        let meta = object.meta();
        let key = Key {
            kind: K::kind(&()).into_owned(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: meta.name.clone().unwrap_or_default(),
        };
        let wanted = wanted(object).map_err(kube::Error::SerdeError)?;
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        if done.is_some() && done == live.map(|live| Done { wanted, live: fingerprint(live) }) {
            return Ok(());
        }
        let api: Api<K> = Api::namespaced(self.client.clone(), &key.namespace);
        let applied =
            api.patch(&key.name, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(object)).await?;
        self.metrics.applied(&key.kind);
        let done = Done { wanted, live: fingerprint(applied.meta()) };
        self.done.lock().unwrap_or_else(PoisonError::into_inner).insert(key, done);
        Ok(())
    }

    /// Forgets what was applied in the name of a cluster that is gone: its objects go too.
    pub fn forget(&self, namespace: &str, cluster: &str) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.retain(|key, _| key.namespace != namespace || !key.name.starts_with(cluster));
    }
}

fn wanted<K: Serialize>(object: &K) -> Result<u64, serde_json::Error> {
    let mut hasher = DefaultHasher::new();
    serde_json::to_vec(object)?.hash(&mut hasher);
    Ok(hasher.finish())
}

/// Changes whenever somebody changes the object. Its status does not count where Kubernetes tells that apart, by a
/// generation.
fn fingerprint(meta: &ObjectMeta) -> u64 {
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
}
