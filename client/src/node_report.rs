//! What is told of one DataNode.

use std::time::Duration;

use dfs_proto::convert::{incomplete, node_state, volume};
use dfs_proto::v1;
use dfs_types::{DutyState, Endpoint, FsResult, Millis, NodeState, Space, Volume, VolumeHealth};

/// One DataNode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeReport {
    /// Which, and where.
    pub node: Endpoint,
    /// Whether it is heard of.
    pub state: NodeState,
    /// Time since its last heartbeat.
    pub silent: Duration,
    /// Its volumes.
    pub volumes: Vec<Volume>,
    /// Replicas it holds.
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
    /// How far what it is to be used for is.
    pub duty: DutyState,
    /// Chunks to be copied before it is decommissioned or in maintenance.
    pub depending_chunks: u64,
    /// Unix time at which its maintenance ends, if it is in maintenance or about to be.
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

pub(crate) fn node_report(report: v1::NodeReport) -> FsResult<NodeReport> {
    let duty = report.duty().try_into()?;
    let state = node_state(report.state())?;
    Ok(NodeReport {
        node: report.node.ok_or_else(|| incomplete("node.node"))?.try_into()?,
        state,
        silent: Duration::from_millis(report.silent_ms),
        volumes: report.volumes.into_iter().map(volume).collect::<FsResult<_>>()?,
        replicas: report.replicas,
        active_writes: report.active_writes,
        active_reads: report.active_reads,
        active_copies: report.active_copies,
        version: report.version,
        reported: report.reported,
        duty,
        depending_chunks: report.depending_chunks,
        maintenance_until: (report.maintenance_until_ms != 0).then_some(Millis(report.maintenance_until_ms)),
    })
}
