//! Where a replica can go, found without looking at every node.
//!
//! In a cluster of thousands most nodes would do. So a few are drawn, weighted by free space, from the racks that are
//! the least crowded, and the less loaded one of two that fit is taken. Only if none of those drawn fits, or the cluster
//! is small, all nodes are looked at (see `placement`).

use dfs_types::Millis;
use rand::{Rng, RngExt};

use super::Namespace;
use super::chunk_map::{Chunk, Urgency};
use super::placement::{Candidate, choose};
use crate::cluster::{Cluster, NodeIndex, Place, Possible, crowd};

/// Nodes up to which all are looked at.
const SMALL: usize = 64;
/// Nodes drawn for one replica.
const DRAWS: usize = 12;
/// Times per tick that all nodes of a large cluster are looked at.
const SCANS: u32 = 16;

/// The nodes of one rack that replicas can go to, as of the last tick.
#[derive(Debug)]
struct Rack {
    zone: u64,
    /// The whole location.
    location: u64,
    /// Each node and the free MiB of it and those before it.
    nodes: Vec<(NodeIndex, u64)>,
    weight: u64,
}

/// Where replicas can go, as of the last tick.
#[derive(Debug, Default)]
pub(super) struct Terrain {
    racks: Vec<Rack>,
    /// Nodes by host, sorted.
    hosts: Vec<(u64, NodeIndex)>,
    /// How many hosts, racks and zones replicas can be spread over.
    pub(super) possible: Possible,
    /// How often all nodes were looked at since the last tick.
    scans: u32,
}

impl Terrain {
    /// Whether drawing is worth it.
    pub(super) fn is_large(&self) -> bool {
        self.hosts.len() > SMALL
    }

    /// Draws a node for a replica away from `placed`, of those that `fits` takes.
    fn draw(
        &self,
        rng: &mut impl Rng,
        placed: &[Place],
        fits: impl Fn(NodeIndex) -> Option<Candidate>,
    ) -> Option<Candidate> {
        // Nobody is on this host.
        let crowd = |rack: &Rack| crowd(Place { host: 0, zone: rack.zone, rack: rack.location }, placed);
        let least = self.racks.iter().map(crowd).min()?;
        let free: Vec<&Rack> = self.racks.iter().filter(|rack| crowd(rack) == least).collect();
        let weight: u64 = free.iter().map(|rack| rack.weight).sum();
        let mut found: Option<Candidate> = None;
        for _ in 0..DRAWS {
            let mut left = rng.random_range(0..weight.max(1));
            let rack = free.iter().find(|rack| {
                let hit = left < rack.weight;
                left -= if hit { 0 } else { rack.weight };
                hit
            })?;
            let at = rack.nodes.partition_point(|(_, sum)| *sum <= left);
            let drawn = rack.nodes.get(at).and_then(|(node, _)| fits(*node));
            let Some(drawn) = drawn.filter(|it| placed.iter().all(|place| place.host != it.place.host))
            else {
                continue;
            };
            match found {
                None => found = Some(drawn),
                Some(first) if first.node == drawn.node => {}
                Some(first) => return Some(if drawn.load < first.load { drawn } else { first }),
            }
        }
        found
    }

    /// A node on the host, of those that `fits` takes.
    fn on_host(&self, host: u64, fits: impl Fn(NodeIndex) -> Option<Candidate>) -> Option<Candidate> {
        let from = self.hosts.partition_point(|(there, _)| *there < host);
        let here = self.hosts.iter().skip(from).take_while(|(there, _)| *there == host);
        here.filter_map(|(_, node)| fits(*node)).min_by_key(|candidate| candidate.load)
    }

    /// Draws up to `count` nodes; `None` if that does not find all of them.
    pub(super) fn draw_all(
        &self,
        rng: &mut impl Rng,
        mut placed: Vec<Place>,
        count: usize,
        local: Option<u64>,
        fits: impl Fn(NodeIndex) -> Option<Candidate>,
    ) -> Option<Vec<NodeIndex>> {
        let mut chosen: Vec<NodeIndex> = Vec::new();
        while chosen.len() < count {
            let fits = |node: NodeIndex| fits(node).filter(|_| !chosen.contains(&node));
            let here = local.filter(|_| chosen.is_empty()).and_then(|host| self.on_host(host, fits));
            let drawn = here.or_else(|| self.draw(rng, &placed, fits))?;
            placed.push(drawn.place);
            chosen.push(drawn.node);
        }
        Some(chosen)
    }
}

impl Namespace {
    /// Looks where replicas can go now. If they can be spread over more or fewer places than before, all chunks are
    /// looked at again.
    pub(super) fn survey(&mut self, cluster: &Cluster) {
        let mut eligible: Vec<(Place, NodeIndex, u64)> = Vec::new();
        for (index, node) in cluster.iter().filter(|(_, node)| node.is_target()) {
            let room = self.room(cluster, index, 0) >> 20;
            if room > 0 {
                eligible.push((node.place(), index, room));
            }
        }
        eligible.sort_unstable_by_key(|(place, index, _)| (place.zone, place.rack, *index));
        let mut racks: Vec<Rack> = Vec::new();
        for (place, index, room) in &eligible {
            if racks.last().is_none_or(|last| last.location != place.rack) {
                racks.push(Rack { zone: place.zone, location: place.rack, nodes: Vec::new(), weight: 0 });
            }
            if let Some(rack) = racks.last_mut() {
                rack.weight += room;
                rack.nodes.push((*index, rack.weight));
            }
        }
        let mut hosts: Vec<(u64, NodeIndex)> =
            eligible.iter().map(|(place, index, _)| (place.host, *index)).collect();
        hosts.sort_unstable();
        let possible = cluster.possible();
        let changed = possible != self.terrain.possible;
        self.terrain = Terrain { racks, hosts, possible, scans: 0 };
        if changed && self.decides() {
            self.review_all(cluster);
        }
    }

    /// Nodes that can receive a copy of a chunk of which they are not `taken` for anything, away from those `near`.
    pub(super) fn copy_targets(
        &mut self,
        cluster: &Cluster,
        (taken, near): (&[NodeIndex], &[NodeIndex]),
        (bytes, urgency): (u64, Urgency),
        count: usize,
        now: Millis,
    ) -> Vec<NodeIndex> {
        let placed = cluster.places(near);
        let fits = |index: NodeIndex| self.as_copy_target(cluster, index, taken, bytes, urgency, now);
        if self.terrain.is_large() {
            let mut rng = self.rng.clone();
            let drawn = self.terrain.draw_all(&mut rng, placed.clone(), count, None, fits);
            self.rng = rng;
            if let Some(drawn) = drawn {
                return drawn;
            }
            if self.terrain.scans >= SCANS {
                return Vec::new();
            }
            self.terrain.scans += 1;
        }
        let indexes = cluster.iter().map(|(index, _)| index);
        let candidates: Vec<Candidate> = indexes
            .filter_map(|index| self.as_copy_target(cluster, index, taken, bytes, urgency, now))
            .collect();
        choose(&mut self.rng, candidates, placed, count, None)
    }

    /// A node as a target of a copy, if it can be one.
    fn as_copy_target(
        &self,
        cluster: &Cluster,
        index: NodeIndex,
        taken: &[NodeIndex],
        bytes: u64,
        urgency: Urgency,
        now: Millis,
    ) -> Option<Candidate> {
        let node = cluster.get(index)?;
        // One that has not reported yet may well have the chunk.
        let work = self.work.get(index)?;
        let fits = node.is_target()
            && work.reported
            && !taken.contains(&index)
            && work.receiving.has_room(bytes, self.node_allowance(cluster, index, urgency));
        let room = if fits { self.room(cluster, index, bytes) } else { 0 };
        let load = self.load(cluster, index, now);
        (room > 0).then_some(Candidate { node: index, place: node.place(), room, load })
    }

    /// Whether a committed chunk has the replicas wanted, all on nodes in service, but they share a host, a rack or a
    /// zone although there are others.
    pub(super) fn is_crowded(&self, cluster: &Cluster, chunk: &Chunk) -> bool {
        let good = chunk.good();
        let service = self.map.tally(good.iter().copied()).service;
        service == good.len() && service == chunk.wanted() && service > 1 && self.shares_places(cluster, good)
    }

    /// Whether replicas on these nodes share a host, a rack or a zone although there are others.
    pub(super) fn shares_places(&self, cluster: &Cluster, nodes: &[NodeIndex]) -> bool {
        let places = cluster.places(nodes);
        self.terrain.possible.allows_better_than(&places)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use dfs_types::{ChunkId, NodeId};

    use crate::test_support::{Rig, node_id, number, stats};
    use crate::{Command, PlacementRequest};

    const NODES: u16 = 200;

    /// Two nodes a host, ten a rack, fifty a zone; every tenth has four times the space.
    fn large(seed: u64) -> (Rig, Vec<u16>) {
        let mut rig = Rig::seeded(seed);
        for n in 0..NODES {
            let mut stats = stats(n);
            stats.address.host = format!("host-{}", n / 2);
            stats.address.location = format!("/zone-{}/rack-{}", n / 50, n / 10);
            stats.volumes[0].available = if n % 10 == 0 { 4 << 36 } else { 1 << 36 };
            rig.join(n, stats);
            rig.report(n, vec![]);
        }
        rig.out_of_safe_mode();
        let all: Vec<u16> = (0..NODES).collect();
        rig.run(Duration::from_millis(500), &all);
        assert!(rig.core.namespace().terrain.is_large());
        (rig, all)
    }

    fn request(count: u32, host: Option<String>) -> PlacementRequest {
        PlacementRequest {
            count,
            bytes: 1,
            writer_host: host,
            existing: vec![],
            exclude: vec![],
            storage: vec![],
        }
    }

    fn distinct(nodes: &[NodeId], by: u16) -> usize {
        nodes.iter().map(|id| number(*id) / by).collect::<BTreeSet<_>>().len()
    }

    #[test]
    fn what_is_drawn_is_spread_and_follows_space() {
        let (mut rig, all) = large(3);
        let (mut roomy, mut sum, mut written) = (0, 0, Vec::new());
        for turn in 0..300 {
            let placement = rig.core.choose_targets(&request(3, None), rig.now).unwrap();
            let (chosen, ticket) = (placement.nodes(), placement.ticket);
            written.push(ticket);
            assert_eq!([distinct(&chosen, 1), distinct(&chosen, 10), distinct(&chosen, 50)], [3, 3, 3]);
            roomy += chosen.iter().filter(|id| number(**id).is_multiple_of(10)).count();
            sum += chosen.len();
            if turn % 10 == 0 {
                written.drain(..).for_each(|ticket| rig.core.give_up_placement(ticket));
                rig.run(Duration::from_secs(7), &all);
            }
        }
        // A tenth of the nodes has four thirteenths of the space.
        assert!(roomy * 100 > 22 * sum && roomy * 100 < 40 * sum, "{roomy} of {sum}");
        let five = rig.core.choose_targets(&request(5, None), rig.now).unwrap().nodes();
        assert_eq!([distinct(&five, 2), distinct(&five, 10), distinct(&five, 50)], [5, 5, 4]);
        assert_eq!(rig.core.namespace().terrain.scans, 0, "nobody looked at all nodes");
    }

    #[test]
    fn the_hard_rules_hold_between_ticks() {
        let (mut rig, all) = large(4);
        let refused: Vec<u16> = (0..NODES).filter(|n| n % 50 > 2).collect();
        for n in &refused {
            let mut stats = stats(*n);
            stats.address.location = format!("/zone-{}/rack-{}", n / 50, n / 10);
            stats.stopping = true;
            let event = crate::Event::HeartbeatSeen { node: node_id(*n), fence: rig.fence, stats };
            rig.apply(event);
        }
        // Only three nodes a zone are left, on two hosts, and the last tick knew of fifty.
        for _ in 0..50 {
            let chosen = rig.core.choose_targets(&request(4, None), rig.now).unwrap().nodes();
            assert!(chosen.iter().all(|id| !refused.contains(&number(*id))), "{chosen:?}");
            assert_eq!(distinct(&chosen, 50), 4);
        }
        let mut wanted = request(3, Some("host-25".into()));
        let chosen = rig.core.choose_targets(&wanted, rig.now).unwrap().nodes();
        assert_eq!(number(chosen[0]) / 2, 25, "the writer's host comes first");
        wanted.exclude = vec![node_id(50), node_id(51)];
        wanted.existing = vec![node_id(0)];
        let chosen = rig.core.choose_targets(&wanted, rig.now).unwrap().nodes();
        assert!(chosen.iter().all(|id| ![0, 50, 51].contains(&number(*id))), "{chosen:?}");
        rig.run(Duration::from_millis(500), &all);
    }

    #[test]
    fn copies_in_a_large_cluster_are_spread() {
        let (mut rig, all) = large(5);
        (1_000..1_100).for_each(|id| rig.chunk(id, 3, &[(id % 200) as u16]));
        rig.run(Duration::from_millis(500), &all);
        let mut copied = 0;
        for n in &all {
            for command in rig.core.take_commands(node_id(*n), rig.now) {
                let Command::Copy { targets, .. } = command else {
                    unreachable!("only copies are due: {command:?}")
                };
                copied += 1;
                let nodes: Vec<NodeId> = targets.into_iter().chain([node_id(*n)]).collect();
                assert_eq!([distinct(&nodes, 2), distinct(&nodes, 10), distinct(&nodes, 50)], [3, 3, 3]);
            }
        }
        assert_eq!(copied, 100);
        rig.check();
        assert!(!rig.core.chunk(ChunkId(1_000)).unwrap().misplaced);
    }
}
