//! Where nodes stand and how well a set of them is spread.

use std::collections::BTreeSet;

use crate::NodeStats;
use crate::hash::of_text;

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
    /// The place of a node that says this.
    pub(crate) fn of(stats: &NodeStats) -> Self {
        let NodeStats { address, machine, .. } = stats;
        let location = address.location.trim_matches('/');
        let zone = location.split('/').next().unwrap_or_default();
        let machine = if machine.is_empty() { &address.host } else { machine };
        Self { host: of_text(machine), zone: of_text(zone), rack: of_text(location) }
    }
}

/// How crowded a place is by others already chosen. The smaller the better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Crowd {
    /// Others on the host.
    pub(crate) host: usize,
    /// Whether the zone has any, then the rack: as many of them as possible are to have one.
    zone_used: bool,
    rack_used: bool,
    zone: usize,
    rack: usize,
}

/// How crowded a place is by `others`.
pub(crate) fn crowd(place: Place, others: &[Place]) -> Crowd {
    let (mut host, mut zone, mut rack) = (0, 0, 0);
    for other in others {
        host += usize::from(place.host == other.host);
        zone += usize::from(place.zone == other.zone);
        rack += usize::from(place.rack == other.rack);
    }
    Crowd { host, zone_used: zone > 0, rack_used: rack > 0, zone, rack }
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

/// Over how many places replicas can be spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Possible {
    zones: usize,
    racks: usize,
    hosts: usize,
}

/// More places than that make no difference: hardly any chunk has more replicas.
const MANY: usize = 16;

impl Possible {
    /// As many as there are among these, or [`MANY`].
    pub(crate) fn of(places: impl Iterator<Item = Place>) -> Self {
        let (zones, racks, hosts) = spread(places);
        Self { zones: zones.min(MANY), racks: racks.min(MANY), hosts: hosts.min(MANY) }
    }

    /// Whether replicas at these places could be spread better.
    pub(crate) fn allows_better_than(self, places: &[Place]) -> bool {
        let most = |possible: usize| possible.min(places.len());
        let (zones, racks, hosts) = spread(places.iter().copied());
        zones < most(self.zones) || racks < most(self.racks) || hosts < most(self.hosts)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dfs_types::{ChunkId, NodeId};

    use super::*;
    use crate::Event;
    use crate::test_support::{Rig, TERM, node_id, number, stats};

    fn place(host: &str, location: &str) -> Place {
        let mut stats = stats(0);
        (stats.address.host, stats.address.location) = (host.into(), location.into());
        Place::of(&stats)
    }

    #[test]
    fn zones_and_racks_are_parts_of_the_location() {
        let (a, b, c) = (place("h1", "/z1/r1"), place("h2", "/z1/r2/"), place("h3", "/z2/r1"));
        let numbers = |crowd: Crowd| (crowd.host, crowd.zone, crowd.rack);
        assert_eq!(numbers(crowd(a, &[b, c])), (0, 1, 0));
        assert_eq!(numbers(crowd(a, &[a, b, c])), (1, 2, 1));
        assert_eq!(spread([a, b, c].into_iter()), (2, 3, 3));
        assert_eq!(numbers(crowd(place("h1", ""), &[place("h1", ""), place("h2", "")])), (1, 2, 2));
        let (other_rack, third_rack) = (place("h4", "/z2/r2"), place("h5", "/z1/r3"));
        let crowded = crowd(c, &[a, b, c]);
        assert!(crowd(other_rack, &[a, b, c]) < crowded);
        assert!(crowd(third_rack, &[a, b, c]) < crowded, "a rack of its own before an even number a zone");
    }

    #[test]
    fn nodes_on_one_machine_share_it_whatever_they_are_called() {
        let on = |host: &str, machine: &str| {
            let mut stats = stats(0);
            (stats.address.host, stats.machine) = (host.into(), machine.into());
            Place::of(&stats).host
        };
        assert_eq!(on("pod-0", "worker-1"), on("pod-1", "worker-1"));
        assert_ne!(on("pod-0", "worker-1"), on("pod-0", "worker-2"));
        assert_eq!(on("worker-1", ""), on("pod-0", "worker-1"), "without one it is the host");
    }

    #[test]
    fn a_node_that_moves_to_another_machine_takes_its_chunks_along() {
        let mut rig = Rig::default();
        let on = |n: u16, machine: &str| NodeStats { machine: machine.into(), ..stats(n) };
        for (n, machine) in [(0, "a"), (1, "a"), (2, "b")] {
            rig.join(n, on(n, machine));
            rig.report(n, vec![]);
        }
        rig.chunk(10, 2, &[0, 2]);
        rig.out_of_safe_mode();
        rig.run(Duration::from_millis(500), &[]);
        assert_eq!(rig.core.totals(rig.now).misplaced, 0);
        for (n, machine) in [(0, "a"), (1, "b"), (2, "a")] {
            rig.apply(Event::HeartbeatSeen { node: node_id(n), fence: TERM, stats: on(n, machine) });
        }
        rig.run(Duration::from_millis(500), &[]);
        assert_eq!(rig.core.totals(rig.now).misplaced, 1, "both replicas are on machine a now");
    }

    #[test]
    fn only_what_is_possible_is_expected() {
        let all = [place("h1", "/a/1"), place("h2", "/a/1"), place("h3", "/a/2"), place("h4", "/b/1")];
        let [first, second, third, fourth] = all;
        let possible = Possible::of(all.into_iter());
        assert!(
            possible.allows_better_than(&[first, second]) && possible.allows_better_than(&[first, third])
        );
        assert!(!possible.allows_better_than(&[first, fourth]) && !possible.allows_better_than(&[first]));
        assert!(possible.allows_better_than(&[first, second, fourth]), "rack 2 of zone a is free");
        assert!(!possible.allows_better_than(&[first, third, fourth]) && !possible.allows_better_than(&all));
        let one_rack = Possible::of([first, second].into_iter());
        assert!(!one_rack.allows_better_than(&[first, second]));
    }

    /// Nodes 0 to 5, two in each of three racks, of which the last is in a zone of its own.
    fn racks() -> Rig {
        let mut rig = Rig::default();
        for n in 0..6 {
            let mut stats = stats(n);
            stats.address.location = ["/a/1", "/a/2", "/b/3"][usize::from(n / 2)].into();
            rig.join(n, stats);
            rig.report(n, vec![]);
        }
        rig
    }

    fn rack_of(node: NodeId) -> u16 {
        number(node) / 2
    }

    fn racks_of(rig: &Rig, id: u64) -> BTreeSet<u16> {
        rig.core.chunk(ChunkId(id)).unwrap().good.into_iter().map(rack_of).collect()
    }

    #[test]
    fn a_misplaced_chunk_is_copied_away_and_then_trimmed() {
        let mut rig = racks();
        rig.chunk(10, 3, &[0, 1, 2]);
        rig.chunk(11, 2, &[0, 4]);
        rig.chunk(12, 1, &[0]);
        rig.chunk(13, 3, &[0, 1]);
        rig.out_of_safe_mode();
        rig.run(Duration::from_millis(500), &[]);
        assert_eq!(rig.core.totals(rig.now).misplaced, 1, "13 is under-replicated first of all");
        assert!(rig.core.chunk(ChunkId(10)).unwrap().misplaced);
        assert!(!rig.core.chunk(ChunkId(11)).unwrap().misplaced);
        rig.obey(10, &[0, 1, 2, 3, 4, 5]);
        assert_eq!(rig.core.totals(rig.now).misplaced, 0);
        for id in [10, 13] {
            assert_eq!(rig.core.chunk(ChunkId(id)).unwrap().good.len(), 3);
            assert_eq!(racks_of(&rig, id).len(), 3, "chunk {id}");
        }
        assert_eq!(rig.copied, 3, "13 first gets a third replica");
    }

    #[test]
    fn nothing_is_copied_that_would_lie_no_better() {
        let mut rig = racks();
        rig.chunk(10, 3, &[0, 1, 2]);
        rig.out_of_safe_mode();
        let mut full = stats(4);
        full.address.location = "/b/3".into();
        full.volumes[0].available = 0;
        for n in [4, 5] {
            let mut stats = full.clone();
            stats.address.host = format!("host-{n}");
            rig.apply(Event::HeartbeatSeen { node: node_id(n), fence: TERM, stats });
        }
        rig.obey(20, &[0, 1, 2, 3, 4, 5]);
        assert_eq!((rig.copied, rig.core.totals(rig.now).misplaced), (0, 1), "rack 3 is full");
    }

    #[test]
    fn racks_that_come_and_go_change_what_is_misplaced() {
        let mut rig = racks();
        (10..20).for_each(|id| rig.chunk(id, 2, &[0, 4]));
        rig.out_of_safe_mode();
        let first = [0, 1, 2, 3];
        rig.obey(60, &first);
        assert_eq!(rig.core.totals(rig.now).dead_nodes, 2);
        assert!((10..20).all(|id| racks_of(&rig, id) == BTreeSet::from([0, 1])), "zone b is gone");
        assert_eq!(rig.core.totals(rig.now).misplaced, 0);
        for n in [4, 5] {
            rig.beat(&[n]);
            rig.report(n, vec![]);
        }
        rig.run(Duration::from_secs(1), &[0, 1, 2, 3, 4, 5]);
        assert_eq!(rig.core.totals(rig.now).misplaced, 10, "it is back, empty");
        rig.obey(30, &[0, 1, 2, 3, 4, 5]);
        assert!((10..20).all(|id| racks_of(&rig, id).contains(&2)));
        assert_eq!(rig.core.totals(rig.now).misplaced, 0);
    }

    #[test]
    fn a_node_that_comes_back_at_another_place_takes_its_chunks_along() {
        let mut rig = racks();
        (10..20).for_each(|id| rig.chunk(id, 2, &[0, 4]));
        rig.out_of_safe_mode();
        rig.run(Duration::from_secs(1), &[0, 1, 2, 3, 4, 5]);
        assert_eq!(rig.core.totals(rig.now).misplaced, 0);
        let mut stats = stats(4);
        stats.address.location = "/a/1".into();
        rig.apply(Event::HeartbeatSeen { node: node_id(4), fence: TERM, stats });
        rig.run(Duration::from_millis(500), &[0, 1, 2, 3, 4, 5]);
        assert_eq!(rig.core.totals(rig.now).misplaced, 10, "now both replicas are in rack 1");
        rig.obey(30, &[0, 1, 2, 3, 4, 5]);
        assert_eq!(rig.core.totals(rig.now).misplaced, 0);
        assert!((10..20).all(|id| rig.core.chunk(ChunkId(id)).unwrap().good.contains(&node_id(5))));
    }
}
