//! What is simulated: how large, on which machines.

use dfs_namenode_core::Config;
use dfs_types::{Millis, limits};

/// The cluster to simulate. Numbers of the machines are those of a storage node with a dozen hard disks and a
/// 10 Gbit/s network, in racks whose uplinks are oversubscribed four times.
#[derive(Debug, Clone)]
pub struct Settings {
    /// DataNodes; at least 4.
    pub nodes: u16,
    /// Chunks there are at the beginning.
    pub chunks: u32,
    /// Replicas wanted of each.
    pub replication: u8,
    /// Bytes of each chunk.
    pub chunk_bytes: u64,
    /// Everything random follows from it.
    pub seed: u64,
    /// DataNodes of one rack.
    pub rack_size: u16,
    /// Zones, to which racks belong in turn.
    pub zones: u16,
    /// Share of the mean node's disks that the first chunks fill, in percent.
    pub fill_percent: u8,
    /// Nodes of a hundred whose disks are not of the usual size, but twice or 0.7 times as large.
    pub uneven_percent: u8,
    /// Bytes per second that the disks of a node read and write together.
    pub disk_rate: f64,
    /// Bytes per second that a node sends, and that it receives.
    pub network_rate: f64,
    /// Bytes per second that leave a rack, and that enter it.
    pub uplink_rate: f64,
    /// Mean number of clients that read from a node at a time, and of those that write to it.
    pub clients: u8,
    /// Bytes per second that each of them wants.
    pub client_rate: f64,
    /// Copies of a thousand that break off on the way.
    pub failing_copies: u16,
    /// Replicas of full reports that the NameNode takes in per second.
    pub report_rate: u32,
    /// What the decisions depend on.
    pub config: Config,
}

impl Settings {
    /// What the NameNode's clock shows when it starts.
    pub const BEGINNING: Millis = Millis(1_000_000);

    /// A cluster of this size with everything else as usual.
    pub fn new(nodes: u16, chunks: u32, seed: u64) -> Self {
        let (rack_size, network_rate) = (40, 1.25e9);
        Self {
            nodes,
            chunks,
            replication: limits::DEFAULT_REPLICATION as u8,
            chunk_bytes: limits::DEFAULT_CHUNK_SIZE,
            seed,
            rack_size,
            zones: 5,
            fill_percent: 60,
            uneven_percent: 20,
            disk_rate: 1.5e9,
            network_rate,
            uplink_rate: f64::from(rack_size) * network_rate / 4.0,
            clients: 1,
            client_rate: 50e6,
            failing_copies: 1,
            report_rate: 2_000_000,
            // `report_rate` sets the pace of reports here.
            config: Config { report_turns: usize::MAX, ..Config::default() },
        }
    }

    /// Bytes of a usual node's disks.
    pub(crate) fn capacity(&self) -> u64 {
        let replicas = u64::from(self.chunks) * u64::from(self.replication);
        let mean = replicas * self.chunk_bytes / u64::from(self.nodes.max(1));
        // A small cluster's nodes have room for a few chunks more than their share.
        mean * 100 / u64::from(self.fill_percent.max(1)) + 64 * self.chunk_bytes
    }

    pub(crate) fn rack(&self, node: usize) -> usize {
        node / usize::from(self.rack_size.max(1))
    }

    pub(crate) fn zone(&self, node: usize) -> usize {
        self.rack(node) % usize::from(self.zones.max(1))
    }

    pub(crate) fn racks(&self) -> usize {
        usize::from(self.nodes).div_ceil(usize::from(self.rack_size.max(1)))
    }
}

/// Spreads the bits of `value` over all 64 (the finalizer of SplitMix64).
pub(crate) const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
