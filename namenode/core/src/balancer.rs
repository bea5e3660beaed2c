//! Evens out how full nodes are.

use dfs_types::NodeDuty;

use crate::cluster::Cluster;
use crate::node::Node;
use crate::{BalancerView, Balancing, NodeState};

/// The balancer's settings and what it has done.
#[derive(Debug, Default)]
pub(crate) struct Balancer {
    settings: Balancing,
    running: bool,
    moved_chunks: u64,
    moved_bytes: u64,
}

impl Balancer {
    /// Starts or stops it.
    pub(crate) fn set(&mut self, settings: Option<Balancing>) {
        *self = Self {
            settings: settings.unwrap_or(self.settings),
            running: settings.is_some(),
            ..Self::default()
        };
    }
}

impl Cluster {
    /// How the balancer gets on. Goes through the nodes.
    pub fn balancer(&self) -> BalancerView {
        let space: Vec<Space> = self.nodes.iter().filter_map(|(_, node)| Space::of(node)).collect();
        let mean = Space::mean(&space);
        let shares = || space.iter().map(|space| space.permille());
        let Balancer { settings, running, moved_chunks, moved_bytes } = self.balancer;
        let (threshold, distance) = (settings.threshold_permille, |share: u32| share.abs_diff(mean));
        let excess = |space: &Space| {
            let beyond = distance(space.permille()).saturating_sub(threshold);
            (u128::from(space.all) * u128::from(beyond) / 1_000) as u64
        };
        BalancerView {
            running,
            threshold_permille: threshold,
            bytes_per_second: settings.bytes_per_second,
            moved_chunks,
            moved_bytes,
            pending_moves: 0,
            bytes_to_move: space.iter().map(excess).sum(),
            mean_permille: mean,
            lowest_permille: shares().min().unwrap_or_default(),
            highest_permille: shares().max().unwrap_or_default(),
            balanced: shares().all(|share| distance(share) <= threshold),
        }
    }
}

/// Used and usable bytes of a node.
#[derive(Debug, Clone, Copy)]
struct Space {
    used: u64,
    all: u64,
}

impl Space {
    /// The space of a node that takes part in balancing.
    fn of(node: &Node) -> Option<Self> {
        let takes_part = node.state != NodeState::Dead && node.duty == NodeDuty::InService;
        let healthy = node.stats.volumes.iter().filter(|volume| takes_part && !volume.failed);
        let (used, all) = healthy.fold((0_u64, 0_u64), |(used, all), volume| {
            let usable = volume.used.saturating_add(volume.available);
            (used.saturating_add(volume.used), all.saturating_add(usable))
        });
        (all > 0).then_some(Self { used, all })
    }

    fn permille(self) -> u32 {
        share(u128::from(self.used), u128::from(self.all))
    }

    fn mean(spaces: &[Self]) -> u32 {
        let sum = |of: fn(&Self) -> u64| spaces.iter().map(|space| u128::from(of(space))).sum();
        share(sum(|space| space.used), sum(|space| space.all))
    }
}

/// `used` of `all`, in thousandths.
fn share(used: u128, all: u128) -> u32 {
    (used * 1_000).checked_div(all).map_or(0, |share| share as u32)
}
