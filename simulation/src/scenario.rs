//! What happens to the cluster.

use std::ops::Range;
use std::time::Duration;

use dfs_namenode_core::Event;
use dfs_types::{Millis, NodeDuty};
use rand::RngExt;

use crate::node::{Process, id_of};
use crate::world::{Timer, World};

/// Chunks that clients begin to write in half a second.
const WRITTEN: u32 = 50;

/// Something that happens to a cluster, after which all must become as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scenario {
    /// One node is lost with its disks.
    NodeLost,
    /// A rack is lost with its disks.
    RackLost,
    /// All nodes are restarted, rack by rack; each says that it is stopping.
    RollingRestart,
    /// All nodes begin to run at once while the NameNode waits for them in safe mode.
    ColdStart,
    /// One node in a hundred is cut off and heard of again, over and over, for ten minutes.
    Flapping,
    /// A rack is decommissioned.
    Decommission,
    /// Clients write a fiftieth more chunks, and then the balancer is started.
    Balancer,
}

impl Scenario {
    /// All of them with their names.
    pub const ALL: [(&'static str, Self); 7] = [
        ("node-lost", Self::NodeLost),
        ("rack-lost", Self::RackLost),
        ("rolling-restart", Self::RollingRestart),
        ("cold-start", Self::ColdStart),
        ("flapping", Self::Flapping),
        ("decommission", Self::Decommission),
        ("balancer", Self::Balancer),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, it)| *it == self).map_or("", |(name, _)| name)
    }

    /// Time after which all must be as it should be.
    pub fn deadline(self) -> Duration {
        match self {
            Self::NodeLost | Self::ColdStart | Self::Flapping => Duration::from_mins(30),
            Self::RackLost | Self::Decommission => Duration::from_hours(2),
            Self::RollingRestart => Duration::from_hours(6),
            Self::Balancer => Duration::from_hours(48),
        }
    }

    pub(crate) fn script(self, world: &World) -> Box<dyn Script> {
        let rack = usize::from(world.settings.rack_size);
        match self {
            Self::NodeLost => Box::new(Loss { nodes: 0..1 }),
            Self::RackLost => Box::new(Loss { nodes: 0..rack.min(world.nodes.len()) }),
            Self::RollingRestart => Box::new(Rolling { next: 0, current: 0..0 }),
            Self::ColdStart => Box::new(ColdStart { begun: false }),
            Self::Flapping => Box::new(Flapping { until: None }),
            Self::Decommission => {
                Box::new(Decommission { nodes: 0..rack.min(world.nodes.len()), ordered: false })
            }
            Self::Balancer => {
                Box::new(Balancing { to_write: world.settings.chunks.div_ceil(50), started: false })
            }
        }
    }
}

/// Makes a scenario happen.
pub(crate) trait Script {
    /// Twice a second: does what is due; `true` if nothing further will happen.
    fn drive(&mut self, world: &mut World) -> bool;
}

/// Nodes are lost for good.
struct Loss {
    nodes: Range<usize>,
}

impl Script for Loss {
    fn drive(&mut self, world: &mut World) -> bool {
        std::mem::take(&mut self.nodes).for_each(|node| world.lose(node));
        true
    }
}

/// One rack after the other is restarted.
struct Rolling {
    next: usize,
    current: Range<usize>,
}

impl Script for Rolling {
    fn drive(&mut self, world: &mut World) -> bool {
        if !self.current.clone().all(|node| world.is_settled(node)) {
            return false;
        }
        let end = (self.next + usize::from(world.settings.rack_size)).min(world.nodes.len());
        self.current = std::mem::replace(&mut self.next, end)..end;
        for node in self.current.clone() {
            if let Some(it) = world.node(node) {
                it.stopping = true;
            }
            // A heartbeat tells that it stops; a restart takes a while.
            let stops = Duration::from_millis(world.rng.random_range(1_500..4_000));
            let takes = Duration::from_millis(world.rng.random_range(10_000..30_000));
            world.set_timer(stops, Timer::Stop(node));
            world.set_timer(stops + takes, Timer::Start(node));
        }
        self.current.is_empty()
    }
}

/// Nobody runs, and then everybody does.
struct ColdStart {
    begun: bool,
}

impl Script for ColdStart {
    fn drive(&mut self, world: &mut World) -> bool {
        if !std::mem::replace(&mut self.begun, true) {
            for node in 0..world.nodes.len() {
                let after = Duration::from_millis(world.rng.random_range(0..30_000));
                world.set_timer(after, Timer::Start(node));
            }
        }
        true
    }
}

/// Some nodes come and go.
struct Flapping {
    until: Option<Millis>,
}

impl Script for Flapping {
    fn drive(&mut self, world: &mut World) -> bool {
        let until = *self.until.get_or_insert(world.now.plus(Duration::from_mins(10)));
        if world.now >= until {
            return true;
        }
        for node in (0..world.nodes.len()).step_by(100) {
            // Once in half a minute, for a time that may or may not be long enough to be dead.
            if world.is_up(node) && world.rng.random_range(0..60) == 0 {
                let gone = Duration::from_millis(world.rng.random_range(2_000..40_000));
                let stops = world.rng.random_range(0..3) == 0;
                world.stop(node, if stops { Process::Down } else { Process::CutOff });
                world.set_timer(gone, Timer::Start(node));
            }
        }
        false
    }
}

/// Nodes are to be taken away.
struct Decommission {
    nodes: Range<usize>,
    ordered: bool,
}

impl Script for Decommission {
    fn drive(&mut self, world: &mut World) -> bool {
        if !std::mem::replace(&mut self.ordered, true) {
            for node in self.nodes.clone() {
                world.administer(Event::DutySet { node: id_of(node), duty: NodeDuty::Decommission });
            }
        }
        let gone = world.tally.decommissioned as usize;
        if gone < self.nodes.len() {
            return false;
        }
        world.check_without(self.nodes.clone());
        true
    }
}

/// Clients write, and then nodes are made even.
struct Balancing {
    to_write: u32,
    started: bool,
}

impl Script for Balancing {
    fn drive(&mut self, world: &mut World) -> bool {
        for _ in 0..self.to_write.min(WRITTEN) {
            self.to_write -= u32::from(world.write_chunk());
        }
        if self.to_write > 0 || world.has_timers() {
            return false;
        }
        if !std::mem::replace(&mut self.started, true) {
            let settings = Some(dfs_namenode_core::Balancing::default());
            world.administer(Event::BalancerSet { settings });
            return false;
        }
        !world.decisions.balancer().running
    }
}

impl World {
    /// An administrator wants something.
    fn administer(&mut self, event: Event) {
        let (now, decisions) = (self.now, &mut self.decisions);
        let effects = self.meter.rest.measure(1, || decisions.apply(event, now));
        self.follow(effects);
    }

    /// Every chunk has the replicas wanted without these nodes, which are then taken away.
    fn check_without(&mut self, nodes: Range<usize>) {
        let mut depending = 0_u64;
        for node in nodes {
            self.stop(node, Process::Lost);
            let chunks = self.nodes.get_mut(node).map(|node| node.disk.take()).unwrap_or_default();
            for chunk in chunks {
                self.truth.lose(chunk);
                depending += u64::from(self.truth.intact(chunk) < self.settings.replication);
            }
        }
        if depending > 0 {
            self.rules
                .broken(self.now, || format!("{depending} replicas are missed on decommissioned nodes"));
        }
    }

    /// Whether a node runs, and the NameNode knows what it has.
    pub(crate) fn is_settled(&self, node: usize) -> bool {
        self.nodes.get(node).is_none_or(|it| {
            it.process == Process::Lost
                || (it.process == Process::Up
                    && it.registered
                    && !it.stopping
                    && !it.reporting
                    && !self.decisions.owes_report(it.id))
        })
    }

    /// Whether nothing is under way any more, and every chunk has the replicas it should have, on the disks and in the
    /// NameNode's eyes. Chunks whose replicas were all lost stay missing.
    pub(crate) fn is_as_it_should_be(&self) -> bool {
        let busy = self.truth.short() > 0
            || self.has_timers()
            || !self.network.transfers().is_empty()
            || !self.changed.is_empty()
            || self.decisions.in_safe_mode();
        if busy || !(0..self.nodes.len()).all(|node| self.is_settled(node)) {
            return false;
        }
        let totals = self.decisions.totals(self.now);
        let wrong = totals.under_replicated
            + totals.over_replicated
            + totals.corrupt
            + totals.pending_copies
            + totals.pending_deletions;
        wrong == 0 && totals.missing == self.truth.gone() && self.truth.surplus() == 0
    }
}
