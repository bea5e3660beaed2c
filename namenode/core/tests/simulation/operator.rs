//! Administrators: they take nodes out of service and back, wipe those that are said to be free, move machines, start and
//! stop the balancer, and sometimes tell of a loss.

use dfs_namenode_core::{Balancing, Event};
use dfs_types::{DutyState, Millis, NodeDuty};
use rand::RngExt;

use super::{LENGTH, Process, SimNode, World, node_id};

/// Where a node is, and how large.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) host: String,
    pub(crate) location: String,
    pub(crate) capacity: u64,
}

impl World {
    /// Nodes in zones and racks, some of them on the same host; no two clusters are alike.
    pub(crate) fn build(&mut self, namenodes: usize, nodes: usize, chunks: u64) {
        if self.seed.is_multiple_of(2) {
            self.config.max_copies = 12;
        }
        let (zones, racks) = (self.rng.random_range(1..=3), self.rng.random_range(1..=3));
        let a_host = self.rng.random_range(1..=2);
        // Whatever is lost, the others have room for all.
        let least = 4 * chunks + 200;
        for n in 0..nodes {
            let (rack, capacity) = (n / a_host % (zones * racks), self.rng.random_range(least..3 * least));
            let site = Site {
                host: format!("host-{}", n / a_host),
                location: location(rack, zones),
                capacity: capacity * LENGTH,
            };
            self.nodes.push(SimNode::new(namenodes, site));
        }
    }

    pub(crate) fn has_duty(&self, n: usize) -> bool {
        self.duty(n) != NodeDuty::InService
    }

    /// What administrators wanted last, as it was committed.
    fn duty(&self, n: usize) -> NodeDuty {
        let of_node = self.log.iter().rev().find_map(|event| match event {
            Event::DutySet { node, duty } if *node == node_id(n) => Some(*duty),
            _ => None,
        });
        match of_node {
            Some(NodeDuty::Maintenance { until }) if until <= self.now => NodeDuty::InService,
            duty => duty.unwrap_or_default(),
        }
    }

    /// Nodes that are there and in service, running or not.
    pub(crate) fn in_service(&self) -> usize {
        let serves = |n: &usize| self.nodes[*n].process != Process::Lost && !self.has_duty(*n);
        (0..self.nodes.len()).filter(serves).count()
    }

    fn set_duty(&mut self, n: usize, duty: NodeDuty) {
        self.commit(Event::DutySet { node: node_id(n), duty });
    }

    /// One thing an administrator may do.
    pub(crate) fn operate(&mut self, n: usize, later: Millis) {
        let state = self.core().nodes(self.now).into_iter().find(|report| report.node.id == node_id(n));
        let state = state.map(|node| node.duty).unwrap_or_default();
        // Nobody puts a node back into service that he has just wiped.
        let exists = self.nodes[n].process != Process::Lost;
        let spare = exists && self.in_service() > 6;
        match self.rng.random_range(0..10) {
            0 | 1 if spare => self.set_duty(n, NodeDuty::Decommission),
            2 if spare => self.set_duty(n, NodeDuty::Maintenance { until: later }),
            3 if exists => self.set_duty(n, NodeDuty::InService),
            4 => {
                let settings = Balancing { threshold_permille: 20, ..Balancing::default() };
                self.commit(Event::BalancerSet { settings: Some(settings) });
            }
            5 => self.commit(Event::BalancerSet { settings: None }),
            6 if self.nodes[n].process == Process::Up => {
                let other = self.rng.random_range(0..self.nodes.len());
                let location = self.nodes[other].site.location.clone();
                self.nodes[n].site.location = location;
                self.nodes[n].site.host = format!("host-{n}-{}", self.now);
                self.stop(n, Process::Down(later), false);
            }
            // It is said that nothing depends on it: it goes at once.
            7..=9 if state == DutyState::Decommissioned => self.stop(n, Process::Lost, true),
            7..=9 if state == DutyState::InMaintenance => self.stop(n, Process::Down(later), false),
            _ => {}
        }
    }

    /// Sometimes the leader is told that a disk is gone.
    pub(crate) fn announce_loss(&mut self, n: usize) {
        if self.rng.random_range(0..2) == 0 {
            self.apply(Event::LossAnnounced { node: node_id(n) });
        }
    }

    /// The last decisions: every node serves again, or those that are to go stay away.
    pub(crate) fn calm_operator(&mut self) {
        for n in 0..self.nodes.len() {
            if self.seed % 4 < 2 && self.has_duty(n) && self.nodes[n].process != Process::Lost {
                self.set_duty(n, NodeDuty::InService);
            }
        }
    }

    /// Whether every node that is to go may go, and no maintenance lasts.
    pub(crate) fn duties_are_done(&self) -> bool {
        let views = self.core().nodes(self.now);
        let mut running = self.nodes.iter().enumerate().filter(|(_, node)| node.process != Process::Lost);
        running.all(|(n, _)| {
            let state = views.iter().find(|view| view.node.id == node_id(n)).map(|view| view.duty);
            match self.duty(n) {
                NodeDuty::InService => state.is_none_or(|state| state == DutyState::InService),
                NodeDuty::Decommission => state == Some(DutyState::Decommissioned),
                NodeDuty::Maintenance { .. } => false,
            }
        })
    }
}

fn location(rack: usize, zones: usize) -> String {
    format!("/zone-{}/rack-{rack}", rack % zones)
}
