//! What a watch has told of already, so that only news is passed on.

use std::collections::HashMap;

use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher::Event;
use kube::{Resource, ResourceExt as _};

use super::Guarded;

type Cluster = ObjectRef<Guarded>;

/// What objects of one kind were when they were seen last, by namespace and name.
#[derive(Default)]
pub(super) struct Seen {
    known: HashMap<Name, (u64, Cluster)>,
    /// The same from before the watch broke, as long as it is being begun again.
    before: HashMap<Name, (u64, Cluster)>,
}

type Name = (Option<String>, String);

impl Seen {
    /// The clusters for which an event is news.
    pub(super) fn concerned<K: Resource>(
        &mut self,
        event: &Event<K>,
        essence: fn(&K) -> u64,
        concerns: &impl Fn(&K) -> Option<Cluster>,
    ) -> Vec<Cluster> {
        match event {
            Event::Apply(object) | Event::InitApply(object) => {
                let name = name_of(object);
                let before = self.known.remove(&name).or_else(|| self.before.remove(&name));
                let now = concerns(object).map(|cluster| (essence(object), cluster));
                if let Some(now) = &now {
                    self.known.insert(name, now.clone());
                }
                if before == now {
                    return Vec::new();
                }
                let mut concerned: Vec<_> =
                    [before, now].into_iter().flatten().map(|(_, cluster)| cluster).collect();
                concerned.dedup();
                concerned
            }
            Event::Delete(object) => {
                let name = name_of(object);
                let known = self.known.remove(&name).map(|(_, cluster)| cluster);
                known.or_else(|| concerns(object)).into_iter().collect()
            }
            Event::Init => {
                self.before.extend(self.known.drain());
                Vec::new()
            }
            // What was not told of again went away while nobody watched.
            Event::InitDone => self.before.drain().map(|(_, (_, cluster))| cluster).collect(),
        }
    }
}

fn name_of<K: Resource>(object: &K) -> Name {
    (object.meta().namespace.clone(), object.name_any())
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::ConfigMap;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

    use super::*;

    fn object(name: &str, version: &str) -> ConfigMap {
        let metadata = ObjectMeta {
            name: Some(name.to_owned()),
            resource_version: Some(version.to_owned()),
            ..ObjectMeta::default()
        };
        ConfigMap { metadata, ..ConfigMap::default() }
    }

    fn told(seen: &mut Seen, event: &Event<ConfigMap>) -> Vec<String> {
        let essence = |object: &ConfigMap| object.resource_version().unwrap().parse().unwrap();
        let concerns = |object: &ConfigMap| Some(Cluster::new(&object.name_any()).within("prod"));
        seen.concerned(event, essence, &concerns).into_iter().map(|cluster| cluster.name).collect()
    }

    #[test]
    fn only_news_is_passed_on() {
        let mut seen = Seen::default();
        assert_eq!(told(&mut seen, &Event::Init), [""; 0]);
        assert_eq!(told(&mut seen, &Event::InitApply(object("a", "1"))), ["a"]);
        assert_eq!(told(&mut seen, &Event::InitApply(object("b", "1"))), ["b"]);
        assert_eq!(told(&mut seen, &Event::InitDone), [""; 0]);
        assert_eq!(told(&mut seen, &Event::Apply(object("a", "1"))), [""; 0], "nothing that matters");
        assert_eq!(told(&mut seen, &Event::Apply(object("a", "2"))), ["a"]);
        assert_eq!(told(&mut seen, &Event::Delete(object("a", "2"))), ["a"]);
        assert_eq!(told(&mut seen, &Event::Apply(object("a", "2"))), ["a"], "it is there again");
        // The watch breaks; `b` goes meanwhile.
        assert_eq!(told(&mut seen, &Event::Init), [""; 0]);
        assert_eq!(told(&mut seen, &Event::InitApply(object("a", "2"))), [""; 0]);
        assert_eq!(told(&mut seen, &Event::InitDone), ["b"]);
    }
}
