//! Since when things have been so that pass by themselves most of the time: nobody is to be told of them at once.

use std::collections::{BTreeMap, BTreeSet};

use dfs_kubernetes::ClusterName;
use dfs_kubernetes::crd::DfsClusterSpec;
use k8s_openapi::jiff::Timestamp;

use crate::observe::{Files, Observed};

/// That chunks have too few replicas.
pub(super) const WANT: &str = "want";

/// Since when things have been so, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Since(BTreeMap<String, Timestamp>);

impl Since {
    /// Notes all that is so now.
    pub fn note(&mut self, things: BTreeSet<String>, now: Timestamp) {
        self.0.retain(|thing, _| things.contains(thing));
        for thing in things {
            self.0.entry(thing).or_insert(now);
        }
    }

    /// Whether nothing is so.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// For how many seconds this has been so.
    pub(super) fn seconds(&self, thing: &str, now: Timestamp) -> i64 {
        self.0.get(thing).map_or(0, |since| now.as_second().saturating_sub(since.as_second()))
    }
}

/// What is so now: [`WANT`], and the names of pods that are missing.
pub fn passing(name: &ClusterName, spec: &DfsClusterSpec, observed: &Observed) -> BTreeSet<String> {
    let pools = spec.data_node_pools.iter().map(|pool| (name.pool(&pool.name), pool.replicas));
    let sets = std::iter::once((name.namenodes(), spec.name_node.replicas)).chain(pools);
    let pods = sets.flat_map(|(set, replicas)| (0..replicas).map(move |ordinal| format!("{set}-{ordinal}")));
    let mut things: BTreeSet<_> = pods.filter(|pod| !observed.pods.contains_key(pod)).collect();
    let in_want = match &observed.files {
        Files::Told(files) => files.in_want(spec),
        // It may still be so.
        Files::Silent(_) => true,
        Files::NotAsked => false,
    };
    if in_want {
        things.insert(WANT.to_owned());
    }
    things
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_back_begins_anew() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let things = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let mut since = Since::default();
        since.note(things(&["a", "b"]), at(10));
        since.note(things(&["a"]), at(20));
        since.note(things(&["a", "b"]), at(30));
        assert_eq!(
            (since.seconds("a", at(40)), since.seconds("b", at(40)), since.seconds("c", at(40))),
            (30, 10, 0)
        );
    }
}
