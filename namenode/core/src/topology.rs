//! Where nodes stand and how well a set of them is spread.

use std::collections::BTreeSet;

use dfs_types::{ChunkId, NodeDuty};

use crate::cluster::Cluster;
use crate::hash::of_text;
use crate::node::Node;
use crate::{Address, NodeState};

/// A node's host, zone and rack, as numbers that are equal where the names are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Place {
    /// The machine.
    pub(crate) host: u64,
    /// First part of the location.
    pub(crate) zone: u64,
    /// The whole location.
    pub(crate) rack: u64,
}

impl Place {
    /// The place of an address.
    pub(crate) fn of(address: &Address) -> Self {
        let location = address.location.trim_matches('/');
        let zone = location.split('/').next().unwrap_or_default();
        Self { host: of_text(&address.host), zone: of_text(zone), rack: of_text(location) }
    }
}

/// How crowded a place is by others already chosen: on the same host, in the same zone, in the same rack. The
/// smaller the better, the host first.
pub(crate) fn crowd(place: Place, others: &[Place]) -> (usize, usize, usize) {
    let count = |same: fn(Place, Place) -> bool| others.iter().filter(|other| same(place, **other)).count();
    (count(|a, b| a.host == b.host), count(|a, b| a.zone == b.zone), count(|a, b| a.rack == b.rack))
}

/// How many distinct zones, racks and hosts there are. The larger the better, zones first.
pub(crate) fn spread(places: impl Iterator<Item = Place>) -> (usize, usize, usize) {
    let (mut zones, mut racks, mut hosts) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for place in places {
        zones.insert(place.zone);
        racks.insert(place.rack);
        hosts.insert(place.host);
    }
    (zones.len(), racks.len(), hosts.len())
}

impl Cluster {
    /// Whether a chunk's replicas share a host, rack or zone although there are others.
    pub(crate) fn is_misplaced(&self, id: ChunkId) -> bool {
        let Some(chunk) = self.map.get(id) else {
            return false;
        };
        let there = |node: &&Node| node.state != NodeState::Dead && node.duty == NodeDuty::InService;
        let places: Vec<Place> = chunk
            .good()
            .iter()
            .filter_map(|index| self.nodes.get(*index))
            .filter(there)
            .map(|node| node.place)
            .collect();
        let (zones, racks, hosts) =
            spread(self.nodes.iter().map(|(_, node)| node).filter(there).map(|node| node.place));
        let possible = |most: usize| most.min(places.len());
        spread(places.iter().copied()) != (possible(zones), possible(racks), possible(hosts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(host: &str, location: &str) -> Place {
        Place::of(&Address { host: host.into(), data_port: 1, http_port: 2, location: location.into() })
    }

    #[test]
    fn zones_and_racks_are_parts_of_the_location() {
        let (a, b, c) = (place("h1", "/z1/r1"), place("h2", "/z1/r2/"), place("h3", "/z2/r1"));
        assert_eq!(crowd(a, &[b, c]), (0, 1, 0));
        assert_eq!(crowd(a, &[a, b, c]), (1, 2, 1));
        assert_eq!(spread([a, b, c].into_iter()), (2, 3, 3));
        assert_eq!(crowd(place("h1", ""), &[place("h1", ""), place("h2", "")]), (1, 2, 2));
    }
}
