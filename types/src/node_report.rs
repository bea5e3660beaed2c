//! What is told of one DataNode.

use std::time::Duration;

use crate::{DutyState, Endpoint, Millis, NodeState, Space, Volume, VolumeHealth};

/// One DataNode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReport {
    /// Which, and where; no storage is meant.
    pub node: Endpoint,
    /// Whether it is heard of.
    pub state: NodeState,
    /// Time since it was heard of.
    pub silent: Duration,
    /// Its volumes.
    pub volumes: Vec<Volume>,
    /// Replicas it is known to hold of chunks that exist.
    pub replicas: u64,
    /// Write sessions under way.
    pub active_writes: u32,
    /// Read sessions under way.
    pub active_reads: u32,
    /// Copies it sends.
    pub active_copies: u32,
    /// Version of its software.
    pub version: String,
    /// Whether its full report is in.
    pub reported: bool,
    /// What it is used for, and how far that is.
    pub duty: DutyState,
    /// Chunks to be copied (or, if open, to be closed) before it is decommissioned or in maintenance.
    pub depending_chunks: u64,
    /// When its maintenance ends, if it is in maintenance or about to be: in Unix time, but for the NameNode's decisions
    /// in their monotonic time, which its API turns into Unix time before it tells anybody.
    pub maintenance_until: Option<Millis>,
}

impl NodeReport {
    /// The space of its volumes together.
    pub fn space(&self) -> Space {
        Space::sum(self.volumes.iter().map(Volume::space))
    }

    /// How many of its volumes are like that.
    pub fn volumes_that_are(&self, health: VolumeHealth) -> usize {
        self.volumes.iter().filter(|volume| volume.health == health).count()
    }
}

/// DataNodes after their duty was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DutyReport {
    /// Those heard of lately, in the order asked for.
    pub nodes: Vec<NodeReport>,
    /// Why it may not come to its end, one sentence each.
    pub warnings: Vec<String>,
}
