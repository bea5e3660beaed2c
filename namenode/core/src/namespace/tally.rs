//! What a replica counts for, depending on what its node is used for.
//!
//! Replicas on nodes in service count. Those on nodes being decommissioned don't, though they can be read and copied.
//! Those on nodes in maintenance do, as long as enough others exist that are not.

use crate::cluster::NodeIndex;
use dfs_types::NodeDuty;

/// What a node's replicas count for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Class {
    /// They count.
    #[default]
    Service,
    /// They count if others do.
    Maintenance,
    /// They don't.
    Leaving,
}

impl From<NodeDuty> for Class {
    fn from(duty: NodeDuty) -> Self {
        match duty {
            NodeDuty::InService => Self::Service,
            NodeDuty::Maintenance { .. } => Self::Maintenance,
            NodeDuty::Decommission => Self::Leaving,
        }
    }
}

/// Replicas of a chunk by class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    /// On nodes in service.
    pub(super) service: usize,
    /// On nodes in maintenance.
    pub(super) maintenance: usize,
    /// On nodes being decommissioned.
    pub(super) leaving: usize,
}

impl Tally {
    /// All of them.
    pub(super) fn all(self) -> usize {
        self.service + self.maintenance + self.leaving
    }
}

/// The class of every node: one byte each, so that sums over chunks are quick.
#[derive(Debug, Default)]
pub(super) struct Classes {
    of: Vec<Class>,
    /// How many nodes are not in service.
    unusual: usize,
    /// Replicas that must be on nodes in service for those in maintenance to count.
    outside_maintenance: usize,
}

impl Classes {
    pub(super) fn new(outside_maintenance: usize) -> Self {
        Self { outside_maintenance, ..Self::default() }
    }

    /// A node's class.
    pub(super) fn of(&self, node: NodeIndex) -> Class {
        self.of.get(usize::from(node.0)).copied().unwrap_or_default()
    }

    /// Whether some node is not in service.
    pub(super) fn has_unusual(&self) -> bool {
        self.unusual > 0
    }

    pub(super) fn set(&mut self, node: NodeIndex, class: Class) {
        let at = usize::from(node.0);
        if self.of.len() <= at {
            self.of.resize(at + 1, Class::default());
        }
        if let Some(was) = self.of.get_mut(at) {
            self.unusual -= usize::from(*was != Class::Service);
            self.unusual += usize::from(class != Class::Service);
            *was = class;
        }
    }

    /// How many of these nodes are of which class.
    pub(super) fn tally(&self, nodes: impl Iterator<Item = NodeIndex>) -> Tally {
        let mut tally = Tally::default();
        if !self.has_unusual() {
            tally.service = nodes.count();
            return tally;
        }
        for node in nodes {
            match self.of(node) {
                Class::Service => tally.service += 1,
                Class::Maintenance => tally.maintenance += 1,
                Class::Leaving => tally.leaving += 1,
            }
        }
        tally
    }

    /// Replicas missing on nodes in service if `wanted` are wanted.
    pub(super) fn lacking(&self, tally: Tally, wanted: usize) -> usize {
        wanted.saturating_sub(tally.service + tally.maintenance).max(self.lacking_outside(tally, wanted))
    }

    /// Replicas missing on nodes in service for those on nodes in maintenance to count.
    pub(super) fn lacking_outside(&self, tally: Tally, wanted: usize) -> usize {
        if tally.maintenance == 0 {
            return 0;
        }
        self.outside_maintenance.min(wanted).saturating_sub(tally.service)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maintenance_counts_if_others_do_and_leaving_never() {
        let classes = Classes::new(1);
        let lacking =
            |service, maintenance, leaving| classes.lacking(Tally { service, maintenance, leaving }, 3);
        assert_eq!([lacking(3, 0, 0), lacking(2, 0, 1), lacking(0, 0, 3)], [0, 1, 3]);
        assert_eq!([lacking(2, 1, 0), lacking(1, 2, 0), lacking(0, 3, 0)], [0, 0, 1]);
        assert_eq!([lacking(1, 1, 0), lacking(0, 1, 2), lacking(4, 0, 0)], [1, 2, 0]);
        let none = Classes::new(5).lacking(Tally { service: 0, maintenance: 1, leaving: 0 }, 1);
        assert_eq!(none, 1, "no more than the chunk wants");
    }

    #[test]
    fn the_unusual_ones_are_counted() {
        let mut classes = Classes::new(1);
        let (a, b) = (NodeIndex(3), NodeIndex(1));
        classes.set(a, Class::Leaving);
        classes.set(b, Class::Maintenance);
        let tally = classes.tally([a, b, NodeIndex(9)].into_iter());
        assert_eq!(tally, Tally { service: 1, maintenance: 1, leaving: 1 });
        classes.set(a, Class::Service);
        assert!(classes.has_unusual());
        classes.set(b, Class::Service);
        assert!(!classes.has_unusual());
        assert_eq!(classes.tally([a, b].into_iter()).service, 2);
    }
}
