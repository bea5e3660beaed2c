//! The table of nodes, and which of them are live, stale or dead.
//!
//! ```text
//!            silent for stale_after        silent for dead_after (longer if it said it is stopping, is in
//!                                          maintenance, or was dead lately and came back)
//!   Live ------------------------> Stale ------------------------------------------------------> Dead
//!     ^------------ heartbeat -------'                                                             |
//!     ^------------ heartbeat; a full report is wanted --------------------------------------------'
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use dfs_types::{Millis, NodeDuty, NodeId};

use crate::cluster::node::{Node, NodeIndex};
use crate::{Config, NodeState};

/// Nodes that die within this time die at once.
const MOMENT: Duration = Duration::from_secs(10);
/// Fewer nodes that vanish are no storm, whatever share of all they are.
const STORM_NODES: usize = 3;
/// Vanished nodes must be more than one in this many for a storm.
const STORM_SHARE: usize = 5;

/// All nodes that registered.
#[derive(Debug)]
pub(super) struct Nodes {
    slots: Vec<Option<Box<Node>>>,
    index: BTreeMap<NodeId, NodeIndex>,
    /// Time of the last tick.
    ticked: Millis,
    /// When nodes died lately.
    vanished: VecDeque<Millis>,
}

/// What a tick found out.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Nodes whose state changed, and from what.
    pub(crate) changed: Vec<(NodeIndex, NodeState)>,
    /// So many nodes vanished at once that something else than the nodes must be broken.
    pub(crate) storm: bool,
    /// Time during which this process stood still.
    pub(crate) stalled: Duration,
}

impl Nodes {
    pub(super) fn new(now: Millis) -> Self {
        Self { slots: Vec::new(), index: BTreeMap::new(), ticked: now, vanished: VecDeque::new() }
    }

    /// The index of a registered node.
    pub(super) fn find(&self, id: NodeId) -> Option<NodeIndex> {
        self.index.get(&id).copied()
    }

    pub(super) fn get(&self, index: NodeIndex) -> Option<&Node> {
        self.slots.get(usize::from(index.0))?.as_deref()
    }

    pub(super) fn get_mut(&mut self, index: NodeIndex) -> Option<&mut Node> {
        self.slots.get_mut(usize::from(index.0))?.as_deref_mut()
    }

    /// All nodes, in the order of their indexes.
    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeIndex, &Node)> {
        let slots = self.slots.iter().enumerate();
        slots.filter_map(|(at, node)| Some((NodeIndex(at as u16), node.as_deref()?)))
    }

    /// All nodes, to change.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (NodeIndex, &mut Node)> {
        let slots = self.slots.iter_mut().enumerate();
        slots.filter_map(|(at, node)| Some((NodeIndex(at as u16), node.as_deref_mut()?)))
    }

    /// Adds a node; `None` if there are as many as two bytes can count.
    pub(super) fn add(&mut self, node: Node) -> Option<NodeIndex> {
        let free = self.slots.iter().position(Option::is_none).unwrap_or(self.slots.len());
        let index = NodeIndex(u16::try_from(free).ok()?);
        self.index.insert(node.id, index);
        let node = Some(Box::new(node));
        match self.slots.get_mut(free) {
            Some(slot) => *slot = node,
            None => self.slots.push(node),
        }
        Some(index)
    }

    /// Removes a node.
    pub(super) fn remove(&mut self, index: NodeIndex) {
        if let Some(node) = self.slots.get_mut(usize::from(index.0)).and_then(Option::take) {
            self.index.remove(&node.id);
        }
    }

    /// What a node is at `now`: as the last tick left it, or stale if it has been silent for long enough since.
    pub(super) fn state_at(&self, node: &Node, config: &Config, now: Millis) -> NodeState {
        let stalled = now.since(self.ticked) >= config.stall_after;
        if node.state == NodeState::Live && !stalled && now.since(node.seen) >= config.stale_after {
            NodeState::Stale
        } else {
            node.state
        }
    }

    /// Declares nodes stale and dead.
    pub(super) fn tick(&mut self, config: &Config, now: Millis) -> Found {
        let gap = now.since(self.ticked);
        let stalled = if gap >= config.stall_after { gap } else { Duration::ZERO };
        self.ticked = now;
        let mut changed = Vec::new();
        for (index, node) in self.iter_mut() {
            // Heartbeats that came while this process stood still are yet to be read.
            if node.state != NodeState::Dead {
                node.seen = node.seen.plus(stalled).min(now);
            }
            let silence = now.since(node.seen);
            let state = if node.state == NodeState::Dead || silence >= patience(node, config, now) {
                NodeState::Dead
            } else if silence >= config.stale_after {
                NodeState::Stale
            } else {
                NodeState::Live
            };
            if state != node.state {
                changed.push((index, node.state));
                node.state = state;
                if state == NodeState::Dead {
                    node.deaths = node.recent_deaths(now) + 1;
                    node.died = now;
                }
            }
        }
        let storm = self.is_storm(&changed, now);
        Found { changed, storm, stalled }
    }

    fn is_storm(&mut self, changed: &[(NodeIndex, NodeState)], now: Millis) -> bool {
        let died = |index: NodeIndex| self.get(index).is_some_and(|node| node.state == NodeState::Dead);
        let deaths = changed.iter().filter(|(index, _)| died(*index)).count();
        while self.vanished.front().is_some_and(|at| now.since(*at) >= MOMENT) {
            self.vanished.pop_front();
        }
        self.vanished.extend(std::iter::repeat_n(now, deaths));
        let alive = self.iter().filter(|(_, node)| node.state != NodeState::Dead).count();
        let vanished = self.vanished.len();
        deaths > 0 && vanished >= STORM_NODES && vanished * STORM_SHARE > alive + vanished
    }
}

/// Silence after which a node is dead. One in maintenance is not before that ends; one that announced a restart, or
/// comes and goes, has more time, or its chunks would be copied over and over.
fn patience(node: &Node, config: &Config, now: Millis) -> Duration {
    if matches!(node.duty, NodeDuty::Maintenance { .. }) {
        return Duration::MAX;
    }
    let most = config.restart_grace.max(config.dead_after);
    if node.stats.stopping {
        return most;
    }
    config.dead_after.saturating_mul(1 << node.recent_deaths(now).min(8)).min(most)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::node::FLAPPING;
    use crate::test_support::{node_id, stats};

    fn nodes(count: u16) -> Nodes {
        let mut nodes = Nodes::new(Millis(0));
        for n in 0..count {
            nodes.add(Node::new(node_id(n), 1, "1".into(), stats(n), Millis(0))).unwrap();
        }
        nodes
    }

    /// Ticks twice a second from the last tick to `until` (milliseconds).
    fn run(nodes: &mut Nodes, until: u64) -> Vec<(u16, NodeState, u64)> {
        let (config, mut seen) = (Config::default(), Vec::new());
        while nodes.ticked.0 < until {
            let now = nodes.ticked.plus(Duration::from_millis(500));
            for (index, _) in nodes.tick(&config, now).changed {
                seen.push((index.0, nodes.get(index).unwrap().state, now.0));
            }
        }
        seen
    }

    #[test]
    fn silence_makes_stale_then_dead() {
        let mut nodes = nodes(1);
        let seen = run(&mut nodes, 20_000);
        assert_eq!(seen, [(0, NodeState::Stale, 5_000), (0, NodeState::Dead, 15_000)]);
    }

    #[test]
    fn an_announced_restart_has_more_time() {
        let mut nodes = nodes(1);
        nodes.get_mut(NodeIndex(0)).unwrap().stats.stopping = true;
        let seen = run(&mut nodes, 130_000);
        assert_eq!(seen, [(0, NodeState::Stale, 5_000), (0, NodeState::Dead, 120_000)]);
    }

    #[test]
    fn a_node_in_maintenance_is_not_dead() {
        let mut nodes = nodes(1);
        nodes.get_mut(NodeIndex(0)).unwrap().duty = NodeDuty::Maintenance { until: Millis(500_000) };
        assert_eq!(run(&mut nodes, 400_000), [(0, NodeState::Stale, 5_000)]);
        nodes.get_mut(NodeIndex(0)).unwrap().duty = NodeDuty::InService;
        assert_eq!(run(&mut nodes, 400_500), [(0, NodeState::Dead, 400_500)]);
    }

    #[test]
    fn a_node_that_comes_and_goes_has_more_and_more_time() {
        let mut nodes = nodes(1);
        let mut deaths = Vec::new();
        for _ in 0..5 {
            let back = nodes.ticked;
            let node = nodes.get_mut(NodeIndex(0)).unwrap();
            (node.seen, node.state) = (back, NodeState::Live);
            let died = run(&mut nodes, back.0 + 130_000).pop().unwrap();
            deaths.push((died.1, died.2 - back.0));
        }
        let after = |seconds: u64| (NodeState::Dead, seconds * 1_000);
        assert_eq!(deaths, [after(15), after(30), after(60), after(120), after(120)]);
        let calm = nodes.ticked.0 + FLAPPING.as_millis() as u64;
        let node = nodes.get_mut(NodeIndex(0)).unwrap();
        (node.seen, node.state, nodes.ticked) = (Millis(calm), NodeState::Live, Millis(calm));
        assert_eq!(run(&mut nodes, calm + 20_000).pop(), Some((0, NodeState::Dead, calm + 15_000)));
    }

    #[test]
    fn time_this_process_stood_still_is_not_the_nodes_silence() {
        let (mut nodes, config) = (nodes(2), Config::default());
        run(&mut nodes, 1_000);
        let found = nodes.tick(&config, Millis(60_000));
        assert!(found.changed.is_empty(), "{found:?}");
        assert_eq!(found.stalled, Duration::from_secs(59));
        assert_eq!(run(&mut nodes, 64_000).len(), 2, "but from then on it counts");
    }

    #[test]
    fn many_nodes_that_vanish_at_once_are_a_storm() {
        for (alive, dying, storm) in [(10, 2, false), (10, 3, true), (12, 3, false), (0, 3, true)] {
            let (mut nodes, config) = (nodes(alive + dying), Config::default());
            let mut stormy = false;
            for at in (500..16_000).step_by(500) {
                for n in dying..alive + dying {
                    nodes.get_mut(NodeIndex(n)).unwrap().seen = Millis(at);
                }
                stormy |= nodes.tick(&config, Millis(at)).storm;
            }
            assert_eq!(stormy, storm, "{dying} of {}", alive + dying);
        }
    }

    #[test]
    fn a_slot_is_used_again() {
        let mut nodes = nodes(3);
        nodes.remove(NodeIndex(1));
        assert_eq!(nodes.find(node_id(1)), None);
        let node = Node::new(node_id(9), 1, "1".into(), stats(9), Millis(0));
        assert_eq!(nodes.add(node), Some(NodeIndex(1)));
        assert_eq!(nodes.get(nodes.find(node_id(9)).unwrap()).unwrap().id, node_id(9));
    }
}
