//! How the simulated cluster begins: its namespace is loaded, and its nodes run already, or not.

use dfs_namenode_core::Event;
use dfs_types::Layout;

use crate::node::Process;
use crate::world::{GENERATION, TERM, World, chunk_id};

/// Chunks whose loading is measured at once.
const LOADED: u32 = 1 << 16;

impl World {
    /// The NameNode leads and loads the chunks of its namespace.
    pub(crate) fn load(&mut self) {
        let (now, decisions) = (self.now, &mut self.decisions);
        self.meter.rest.measure(1, || decisions.apply(Event::LeadershipTaken { term: TERM }, now));
        let length = Some(self.settings.chunk_bytes);
        let layout = Layout::Replicated { replicas: u32::from(self.settings.replication) };
        let chunks = self.settings.chunks;
        for first in (0..chunks).step_by(LOADED as usize) {
            let last = first.saturating_add(LOADED).min(chunks);
            self.meter.loading.measure(u64::from(last - first), || {
                for chunk in first..last {
                    let (chunk, generation) = (chunk_id(chunk), GENERATION);
                    decisions.apply(Event::ChunkLoaded { chunk, generation, length, layout }, now);
                }
            });
        }
    }

    /// All is loaded: safe mode may end.
    pub(crate) fn loaded(&mut self) {
        let (now, next, decisions) = (self.now, chunk_id(self.settings.chunks), &mut self.decisions);
        self.meter.loading.measure(1, || decisions.loaded(next, now));
    }

    /// All nodes run, have registered and reported: what a cluster is like that has run for long.
    pub(crate) fn warm_start(&mut self) {
        for node in 0..self.nodes.len() {
            if let Some(it) = self.nodes.get_mut(node) {
                it.process = Process::Up;
            }
            self.register(node);
        }
        // Heartbeats before and after the NameNode's term is known: reports of nodes that know it are relied on.
        for turn in 0..20 {
            self.beat(turn);
        }
        while let Some(node) = self.report_queue.pop_front() {
            self.report(node);
        }
        self.loaded();
    }
}
