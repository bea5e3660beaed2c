//! Volumes: how they grow, and what of them can't be as the spec says.

use std::collections::BTreeMap;

use dfs_kubernetes::ClusterName;
use dfs_kubernetes::crd::{DfsClusterSpec, size_in_bytes};
use dfs_kubernetes::names::METADATA_VOLUME;

use super::{Plan, Planner, Refusal, Step, Work};
use crate::observe::{Observed, TemplateView};

/// A volume as the spec wants it.
struct Wanted<'a> {
    name: &'a str,
    size: &'a str,
    class: Option<&'a str>,
}

/// A StatefulSet as the spec wants it.
struct WantedSet<'a> {
    name: String,
    replicas: u32,
    volumes: Vec<Wanted<'a>>,
}

fn wanted<'a>(name: &ClusterName, spec: &'a DfsClusterSpec) -> Vec<WantedSet<'a>> {
    let storage = &spec.name_node.storage;
    let metadata =
        Wanted { name: METADATA_VOLUME, size: &storage.size, class: storage.storage_class_name.as_deref() };
    let namenodes =
        WantedSet { name: name.namenodes(), replicas: spec.name_node.replicas, volumes: vec![metadata] };
    let pools = spec.data_node_pools.iter().map(|pool| {
        let volumes = pool.volumes.iter().map(|volume| Wanted {
            name: &volume.name,
            size: &volume.size,
            class: volume.storage_class_name.as_deref(),
        });
        WantedSet { name: name.pool(&pool.name), replicas: pool.replicas, volumes: volumes.collect() }
    });
    std::iter::once(namenodes).chain(pools).collect()
}

/// StatefulSets that have other volumes than the spec says, and why that can't be. It comes from a pool that was taken out and
/// put back: no rule of the schema sees that. With pods of other volumes they would not be valid.
pub fn unfit(name: &ClusterName, spec: &DfsClusterSpec, observed: &Observed) -> BTreeMap<String, String> {
    let mut unfit = BTreeMap::new();
    for set in wanted(name, spec) {
        let Some(there) = observed.sets.get(&set.name) else { continue };
        let has: BTreeMap<&str, Option<&str>> =
            there.claims.iter().map(|(name, template)| (name.as_str(), template.class.as_deref())).collect();
        let asked: BTreeMap<_, _> = set.volumes.iter().map(|volume| (volume.name, volume.class)).collect();
        if has != asked {
            let why = format!(
                "StatefulSet {} has the volumes {}, not {}, and keeps them: write these, or use another name for the pool",
                set.name,
                listed(&has),
                listed(&asked)
            );
            unfit.insert(set.name, why);
        }
    }
    unfit
}

fn listed(volumes: &BTreeMap<&str, Option<&str>>) -> String {
    let texts: Vec<_> = volumes
        .iter()
        .map(|(name, class)| {
            class.map_or_else(|| (*name).to_owned(), |class| format!("{name} of class {class}"))
        })
        .collect();
    texts.join(" and ")
}

impl Planner<'_> {
    /// Claims first, then the template of those that are made later: it can't be changed in place.
    pub(super) fn grow(&self, plan: &mut Plan) {
        let unfit = unfit(self.name, self.spec, self.observed);
        for set in wanted(self.name, self.spec) {
            match unfit.get(&set.name) {
                Some(why) => plan.refused.push(Refusal::InvalidSpec(why.clone())),
                None => self.grow_set(plan, &set),
            }
        }
        for pool in &self.spec.data_node_pools {
            let unreadable = pool.reserve.as_deref().filter(|reserve| size_in_bytes(reserve).is_none());
            plan.refused.extend(unreadable.map(|reserve| {
                let name = &pool.name;
                Refusal::InvalidSpec(format!("pool {name} can't reserve '{reserve}': write for example 10Gi"))
            }));
        }
    }

    fn grow_set(&self, plan: &mut Plan, wanted: &WantedSet<'_>) {
        let Some(set) = self.observed.sets.get(&wanted.name) else { return };
        let mut template_is_small = false;
        for Wanted { name: volume, size, class: _ } in &wanted.volumes {
            let Some(bytes) = size_in_bytes(size) else {
                let what = format!(
                    "volume {volume} of {} can't have the size '{size}': write for example 10Gi",
                    wanted.name
                );
                plan.refused.push(Refusal::InvalidSpec(what));
                continue;
            };
            let template: Option<&TemplateView> = set.claims.get(*volume);
            template_is_small |=
                template.and_then(|template| template.bytes).is_some_and(|small| small < bytes);
            for (pod, _) in self.observed.pods_of(&wanted.name, set.replicas) {
                let claim = ClusterName::claim(volume, &pod);
                let Some(view) = self.observed.claims.get(&claim) else { continue };
                if view.requested < bytes {
                    let (set, size) = (wanted.name.clone(), (*size).to_owned());
                    plan.steps.push(Step::GrowClaim { set, claim, size });
                } else if view.requested > bytes {
                    let asked = quantity(view.requested);
                    let what = format!(
                        "claim {claim} asks for {asked} and can't shrink: write at least {asked}, not {size}"
                    );
                    plan.refused.push(Refusal::InvalidSpec(what));
                } else if view.capacity > 0 && view.capacity < bytes {
                    plan.wait(Work::Resizing, format!("claim {claim} to grow to {size}"));
                }
            }
        }
        // Made anew with more pods than the spec asks for, it must not be: between its end and its beginning only what is left
        // of them tells how many there are.
        if template_is_small && set.replicas <= wanted.replicas {
            plan.steps.push(Step::RemakeSet { set: wanted.name.clone(), uid: set.uid.clone() });
        }
    }
}

/// Bytes as people write them, without rounding.
fn quantity(bytes: u64) -> String {
    let units = [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
    let fits = units.into_iter().find(|(_, shift)| bytes > 0 && bytes.trailing_zeros() >= *shift);
    fits.map_or_else(|| bytes.to_string(), |(unit, shift)| format!("{}{unit}", bytes >> shift))
}
