//! Who waits for finalized replicas.

use std::collections::HashMap;

use dfs_namenode_core::Core;
use dfs_types::{ChunkId, GenStamp};
use tokio::sync::oneshot;

/// So many good finalized replicas of one version of a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Need {
    /// The chunk.
    pub chunk: ChunkId,
    /// Its version.
    pub generation: GenStamp,
    /// Replicas.
    pub count: usize,
}

impl Need {
    /// Whether the cluster has that many.
    pub fn is_met(&self, core: &Core) -> bool {
        core.finalized(self.chunk, self.generation) >= self.count
    }
}

/// Everyone who waits. An entry goes when its needs are met, or at the next sweep after its owner gave up.
#[derive(Debug, Default)]
pub(super) struct Waiters {
    last: u64,
    by_chunk: HashMap<ChunkId, Vec<(u64, Need)>>,
    open: HashMap<u64, Waiter>,
}

#[derive(Debug)]
struct Waiter {
    unmet: usize,
    done: oneshot::Sender<()>,
}

impl Waiters {
    /// Answers `done` when all needs are met; at once if they are already.
    pub(super) fn add(&mut self, needs: Vec<Need>, done: oneshot::Sender<()>, core: &Core) {
        self.last += 1;
        let mut unmet = 0;
        for need in needs.into_iter().filter(|need| !need.is_met(core)) {
            self.by_chunk.entry(need.chunk).or_default().push((self.last, need));
            unmet += 1;
        }
        if unmet == 0 {
            // The asker may have given up meanwhile.
            let _gone = done.send(());
        } else {
            self.open.insert(self.last, Waiter { unmet, done });
        }
    }

    /// Looks again at those who wait for `chunk`.
    pub(super) fn gained(&mut self, chunk: ChunkId, core: &Core) {
        let Some(mut waiting) = self.by_chunk.remove(&chunk) else { return };
        waiting.retain(|(waiter, need)| {
            let met = need.is_met(core);
            if met {
                self.met(*waiter);
            }
            !met
        });
        if !waiting.is_empty() {
            self.by_chunk.insert(chunk, waiting);
        }
    }

    fn met(&mut self, id: u64) {
        let Some(waiter) = self.open.get_mut(&id) else { return };
        waiter.unmet -= 1;
        if waiter.unmet == 0
            && let Some(waiter) = self.open.remove(&id)
        {
            let _gone = waiter.done.send(());
        }
    }

    /// Forgets those who gave up.
    pub(super) fn sweep(&mut self) {
        self.open.retain(|_, waiter| !waiter.done.is_closed());
        let open = &self.open;
        self.by_chunk.retain(|_, waiting| {
            waiting.retain(|(waiter, _)| open.contains_key(waiter));
            !waiting.is_empty()
        });
    }
}
