//! What is remembered of clusters from one look to the next. Losing it costs nothing but a few requests.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use dfs_kubernetes::ClusterName;
use dfs_kubernetes::crd::DfsClusterStatus;

use crate::status::Since;

/// How long the refusal of a claim's growth is believed: nobody tells when a StorageClass changes its mind.
const GROWTH: Duration = Duration::from_mins(1);

/// What is remembered of one cluster.
#[derive(Debug, Clone, Default)]
pub(super) struct Memory {
    uid: Option<String>,
    pub(super) failures: u32,
    /// Generation of a spec that can't be read, which was told.
    pub(super) refused: Option<i64>,
    /// The status as written last, and when: the watch tells of it only later.
    pub(super) written: Option<(DfsClusterStatus, Instant)>,
    /// Since when what may pass by itself has been so.
    pub(super) since: Since,
    /// Claims that were not allowed to grow, by name.
    growth: HashMap<String, Refusal>,
}

/// That a claim may not grow.
#[derive(Debug, Clone)]
struct Refusal {
    size: String,
    why: String,
    when: Instant,
}

impl Memory {
    /// Why this claim may not have this size, if that was said not long ago.
    pub(super) fn growth_refused(&self, claim: &str, size: &str) -> Option<String> {
        let refusal = self.growth.get(claim).filter(|refusal| refusal.size == size)?;
        (refusal.when.elapsed() < GROWTH).then(|| refusal.why.clone())
    }

    /// Remembers why this claim may not have this size.
    pub(super) fn refuse_growth(&mut self, claim: &str, size: &str, why: &str) {
        let (size, why) = (size.to_owned(), why.to_owned());
        self.growth.insert(claim.to_owned(), Refusal { size, why, when: Instant::now() });
    }
}

/// What is remembered of all clusters.
#[derive(Debug, Default)]
pub struct Memories(Mutex<HashMap<ClusterName, Memory>>);

impl Memories {
    /// Looks at or changes what is remembered of a cluster; nothing is of another one that had its name.
    pub(super) fn of<T>(
        &self,
        name: &ClusterName,
        uid: Option<&str>,
        look: impl FnOnce(&mut Memory) -> T,
    ) -> T {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = all.entry(name.clone()).or_default();
        if memory.uid.as_deref() != uid {
            *memory = Memory { uid: uid.map(str::to_owned), ..Memory::default() };
        }
        look(memory)
    }

    /// Forgets a cluster.
    pub(super) fn forget(&self, name: &ClusterName) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_remembered_of_another_cluster_of_the_same_name() {
        let (memories, name) = (Memories::default(), ClusterName::new("prod", "main"));
        memories.of(&name, Some("a"), |memory| memory.failures = 3);
        assert_eq!(memories.of(&name, Some("a"), |memory| memory.failures), 3);
        assert_eq!(memories.of(&name, Some("b"), |memory| memory.failures), 0);
    }

    #[test]
    fn a_refused_growth_is_known_for_that_size_only() {
        let mut memory = Memory::default();
        memory.refuse_growth("d0", "20Gi", "no");
        assert_eq!(memory.growth_refused("d0", "20Gi").as_deref(), Some("no"));
        assert_eq!(memory.growth_refused("d0", "30Gi"), None);
        assert_eq!(memory.growth_refused("d1", "20Gi"), None);
    }
}
