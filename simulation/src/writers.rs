//! Clients that write new chunks.

use std::time::Duration;

use dfs_namenode_core::{Event, PlacementRequest};
use dfs_types::Layout;
use rand::RngExt;

use crate::node::number_of;
use crate::world::{GENERATION, Timer, World, chunk_id};

impl World {
    /// A client begins to write a chunk; `false` if no node can take it.
    pub(crate) fn write_chunk(&mut self) -> bool {
        let request = PlacementRequest {
            count: u32::from(self.settings.replication),
            bytes: self.settings.chunk_bytes,
            writer_host: None,
            existing: Vec::new(),
            exclude: Vec::new(),
            storage: Vec::new(),
        };
        let (now, replicas) = (self.now, u32::from(self.settings.replication));
        let layout = Layout::Replicated { replicas };
        let decisions = &mut self.decisions;
        let chosen = self.meter.placement.measure(1, || decisions.choose_targets(&request, now));
        let Ok(placement) = chosen else {
            return false;
        };
        let (nodes, ticket) = (placement.nodes(), placement.ticket);
        let number = self.truth.add_chunk();
        let (chunk, generation) = (chunk_id(number), GENERATION);
        self.meter.rest.measure(2, || {
            decisions.apply(Event::ChunkAdded { chunk, generation, layout }, now);
            decisions.bind_placement(ticket, chunk);
            decisions.apply(Event::PipelineSet { chunk, nodes: nodes.clone() }, now);
        });
        let numbers: Vec<usize> = nodes.into_iter().map(number_of).collect();
        for node in &numbers {
            self.note(9, *node, number);
        }
        let time = Duration::from_millis(self.rng.random_range(500..3_000));
        self.set_timer(time, Timer::Written(number, numbers));
        true
    }

    /// A chunk is written and fsynced: its nodes and its client tell so.
    pub(crate) fn written(&mut self, chunk: u32, nodes: &[usize]) {
        for node in nodes {
            if self.is_up(*node) {
                self.gain(*node, chunk);
            }
        }
        self.tell_changes();
        let (now, decisions) = (self.now, &mut self.decisions);
        let (id, generation, length) = (chunk_id(chunk), GENERATION, self.settings.chunk_bytes);
        let event = Event::ChunkCommitted { chunk: id, generation, length };
        let effects = self.meter.rest.measure(1, || decisions.apply(event, now));
        self.follow(effects);
    }
}
