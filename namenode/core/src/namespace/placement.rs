//! Which nodes get the replicas of a new chunk, or further copies of an old one.
//!
//! Hard rules first: a node that is not live, is stopping, not in service, excluded or has no room is never chosen, and
//! none twice. Then the least crowded place wins: a host of its own, then a zone, then a rack of its own. Among equals two
//! are drawn, weighted by free space, and the less loaded one is taken: space evens out, and no node is everybody's favourite.

use dfs_types::{ChunkId, Millis, NodeId, StorageType};
use rand::{Rng, RngExt};

use super::Namespace;
use super::promises::Ticket;
use crate::cluster::{Cluster, NodeIndex, Place, crowd};
use crate::hash::of_text;
use crate::{NodeState, Target};

/// What a pipeline needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacementRequest {
    /// Nodes wanted.
    pub count: u32,
    /// Bytes that the replica on each of them may take.
    pub bytes: u64,
    /// Host of the writer: a node there gets the first replica.
    pub writer_host: Option<String>,
    /// Nodes that hold the chunk already: not chosen again, and kept away from.
    pub existing: Vec<NodeId>,
    /// Nodes that must not be chosen, such as those the writer can't reach.
    pub exclude: Vec<NodeId>,
    /// Types of storage that the replicas may be on, the best first: a later one is taken where no node has room on those
    /// before. Empty: any, which the nodes choose themselves.
    pub storage: Vec<StorageType>,
}

/// Nodes that were chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The nodes, in the order of the pipeline, and the storage that each is to use.
    pub targets: Vec<Target>,
    /// The promise of room on them: to be bound to the chunk, or given up.
    pub ticket: Ticket,
}

impl Placement {
    /// The nodes, in the order of the pipeline.
    pub fn nodes(&self) -> Vec<NodeId> {
        self.targets.iter().map(|target| target.node).collect()
    }
}

/// Why no node can be chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// No node is left after the hard rules.
    #[error(
        "no DataNode can take a chunk of {bytes} bytes{}: {live} are live and in service, of these {excluded} are in use for \
         the chunk or out of reach of the writer and {full} have no room; add DataNodes or free space",
        on(.storage)
    )]
    NoNode {
        /// Bytes wanted on each node.
        bytes: u64,
        /// Types of storage that they may be on; empty: any.
        storage: Vec<StorageType>,
        /// Nodes that are live, not stopping, and in service.
        live: usize,
        /// Live nodes that hold the chunk or are excluded.
        excluded: usize,
        /// Further live nodes without a healthy volume, of such storage, that has room.
        full: usize,
    },
}

/// The storage that was asked for, as a part of a sentence.
fn on(storage: &[StorageType]) -> String {
    let names: Vec<&str> = storage.iter().copied().map(StorageType::name).collect();
    if names.is_empty() { String::new() } else { format!(" on storage of type {}", names.join(" or ")) }
}

/// A node that keeps the hard rules.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) node: NodeIndex,
    pub(super) place: Place,
    /// Bytes free, more than none.
    pub(super) room: u64,
    /// Work at hand.
    pub(super) load: u64,
}

/// Whether a node can be chosen.
#[derive(Debug)]
enum Suitability {
    /// It is not live, about to stop, or not in service.
    Away,
    /// The request says no.
    Excluded,
    /// It has no room.
    Full,
    /// It can.
    Fits(Candidate),
}

/// Chooses up to `count` of the candidates, away from the places `placed` already; the first on the host `local`, if
/// one is there.
pub(super) fn choose(
    rng: &mut impl Rng,
    mut candidates: Vec<Candidate>,
    mut placed: Vec<Place>,
    count: usize,
    local: Option<u64>,
) -> Vec<NodeIndex> {
    let mut chosen = Vec::new();
    while chosen.len() < count {
        let here = local.filter(|_| chosen.is_empty());
        let Some(at) = here
            .and_then(|host| better_of_two(rng, &candidates, |candidate| candidate.place.host == host))
            .or_else(|| {
                let least = candidates.iter().map(|candidate| crowd(candidate.place, &placed)).min()?;
                better_of_two(rng, &candidates, |candidate| crowd(candidate.place, &placed) == least)
            })
        else {
            break;
        };
        let candidate = candidates.swap_remove(at);
        placed.push(candidate.place);
        chosen.push(candidate.node);
    }
    chosen
}

/// The power of two choices among the candidates that qualify.
fn better_of_two(
    rng: &mut impl Rng,
    candidates: &[Candidate],
    qualifies: impl Fn(&Candidate) -> bool,
) -> Option<usize> {
    let mut group: Vec<usize> =
        candidates.iter().enumerate().filter(|(_, it)| qualifies(it)).map(|(at, _)| at).collect();
    let first = draw(rng, candidates, &mut group)?;
    let Some(second) = draw(rng, candidates, &mut group) else {
        return Some(first);
    };
    let load = |at: usize| candidates.get(at).map(|candidate| candidate.load);
    Some(if load(second) < load(first) { second } else { first })
}

/// Takes one out of the group, with a chance that grows with its room.
fn draw(rng: &mut impl Rng, candidates: &[Candidate], group: &mut Vec<usize>) -> Option<usize> {
    // In MiB, so that the sum over all nodes fits.
    let weight = |at: &usize| candidates.get(*at).map_or(0, |candidate| (candidate.room >> 20) + 1);
    let sum: u64 = group.iter().map(weight).sum();
    if sum == 0 {
        return None;
    }
    let mut left = rng.random_range(0..sum);
    let drawn = group.iter().position(|at| {
        let weight = weight(at);
        let hit = left < weight;
        left = left.saturating_sub(weight);
        hit
    })?;
    Some(group.swap_remove(drawn))
}

impl Namespace {
    /// Chooses nodes for the pipeline of a new chunk, or further ones for one that lost some; at least one, and
    /// fewer than wanted if there are no more. Room on them is promised, so that a burst of requests does not fill one
    /// node: until the replica shows in the node's own figures, or is given up.
    pub(crate) fn choose_targets(
        &mut self,
        cluster: &Cluster,
        request: &PlacementRequest,
        now: Millis,
    ) -> Result<Placement, PlacementError> {
        let types: Vec<Option<StorageType>> = match &request.storage[..] {
            [] => vec![None],
            types => types.iter().copied().map(Some).collect(),
        };
        let mut chosen: Vec<(NodeIndex, Option<StorageType>)> = Vec::new();
        for storage in types {
            let more = self.choose_on(cluster, request, (storage, &chosen), now);
            chosen.extend(more.into_iter().map(|node| (node, storage)));
            if chosen.len() >= request.count as usize {
                break;
            }
        }
        if chosen.is_empty() {
            return Err(self.nobody(cluster, request, now));
        }
        let target = |(node, storage): &(NodeIndex, Option<StorageType>)| {
            Some(Target { node: cluster.get(*node)?.id(), storage: *storage })
        };
        let targets = chosen.iter().filter_map(target).collect();
        Ok(Placement { targets, ticket: self.promises.place(chosen, request.bytes, now) })
    }

    /// Chooses nodes with room on storage of this type, beside those chosen for better ones.
    fn choose_on(
        &mut self,
        cluster: &Cluster,
        request: &PlacementRequest,
        (storage, chosen): (Option<StorageType>, &[(NodeIndex, Option<StorageType>)]),
        now: Millis,
    ) -> Vec<NodeIndex> {
        let near = request.existing.iter().filter_map(|id| cluster.find(*id));
        let near: Vec<NodeIndex> = near.chain(chosen.iter().map(|(node, _)| *node)).collect();
        let placed = cluster.places(&near);
        let local = request.writer_host.as_deref().filter(|_| placed.is_empty()).map(of_text);
        let count = (request.count as usize).saturating_sub(chosen.len());
        let fits = |index: NodeIndex| match self.as_target(cluster, index, (request, storage), now) {
            Suitability::Fits(candidate) if !near.contains(&index) => Some(candidate),
            Suitability::Fits(_) | Suitability::Away | Suitability::Excluded | Suitability::Full => None,
        };
        let mut rng = self.rng.clone();
        let drawn = if self.terrain.is_large() {
            self.terrain.draw_all(&mut rng, placed.clone(), count, local, fits)
        } else {
            None
        };
        let more = drawn.unwrap_or_else(|| {
            let candidates = cluster.iter().filter_map(|(index, _)| fits(index)).collect();
            choose(&mut rng, candidates, placed, count, local)
        });
        self.rng = rng;
        more
    }

    /// The room of a placement is for this chunk.
    pub(crate) fn bind_placement(&mut self, ticket: Ticket, chunk: ChunkId) {
        if self.map.get(chunk).is_some() {
            self.promises.bind(ticket, chunk);
        } else {
            self.promises.give_up(ticket);
        }
    }

    /// Nothing comes of a placement.
    pub(crate) fn give_up_placement(&mut self, ticket: Ticket) {
        self.promises.give_up(ticket);
    }

    /// Why no node keeps the hard rules.
    fn nobody(&self, cluster: &Cluster, request: &PlacementRequest, now: Millis) -> PlacementError {
        let (mut live, mut excluded, mut full) = (0, 0, 0);
        for (index, _) in cluster.iter() {
            match self.as_target(cluster, index, (request, None), now) {
                Suitability::Away => continue,
                Suitability::Excluded => excluded += 1,
                // It may have room, but on storage of another type.
                Suitability::Full | Suitability::Fits(_) => full += 1,
            }
            live += 1;
        }
        PlacementError::NoNode {
            bytes: request.bytes,
            storage: request.storage.clone(),
            live,
            excluded,
            full,
        }
    }

    fn as_target(
        &self,
        cluster: &Cluster,
        index: NodeIndex,
        (request, storage): (&PlacementRequest, Option<StorageType>),
        now: Millis,
    ) -> Suitability {
        let Some(node) = cluster
            .get(index)
            .filter(|node| node.is_target() && cluster.state_at(node, now) == NodeState::Live)
        else {
            return Suitability::Away;
        };
        if request.existing.contains(&node.id()) || request.exclude.contains(&node.id()) {
            return Suitability::Excluded;
        }
        let room = self.room_on(cluster, index, storage, request.bytes);
        if room == 0 {
            return Suitability::Full;
        }
        let load = self.load(cluster, index, now);
        Suitability::Fits(Candidate { node: index, place: node.place(), room, load })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use dfs_types::{Layout, VolumeHealth, VolumeId};
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::Xoshiro256PlusPlus;

    use super::*;
    use dfs_types::ReplicaState;

    use crate::test_support::{GENERATION, Rig, TERM, node_id, number, record, stats};
    use crate::{Event, NodeStats, Volume};

    fn request(count: u32) -> PlacementRequest {
        PlacementRequest {
            count,
            bytes: 64 << 20,
            writer_host: None,
            existing: vec![],
            exclude: vec![],
            storage: vec![],
        }
    }

    #[test]
    fn hosts_then_zones_then_racks_are_spread() {
        for seed in 0..50 {
            let mut rig = Rig::seeded(seed);
            // Two nodes a host, two hosts a rack, two racks a zone, two zones.
            for n in 0..16 {
                let mut stats = stats(n);
                stats.address.host = format!("host-{}", n / 2);
                stats.address.location = format!("/zone-{}/rack-{}", n / 8, n / 4);
                rig.join(n, stats);
            }
            let chosen = rig.core.choose_targets(&request(4), rig.now).unwrap().nodes();
            let numbers: Vec<u16> = chosen.iter().map(|id| number(*id)).collect();
            let distinct = |by: u16| numbers.iter().map(|n| n / by).collect::<BTreeSet<_>>().len();
            assert_eq!((distinct(2), distinct(4), distinct(8)), (4, 4, 2), "{numbers:?}");
        }
    }

    #[test]
    fn one_host_for_all_is_fine() {
        let mut rig = Rig::with_nodes(3);
        for n in 0..3 {
            let mut stats = stats(n);
            stats.address.host = "127.0.0.1".into();
            rig.apply(Event::HeartbeatSeen { node: node_id(n), fence: TERM, stats });
        }
        let mut wanted = request(3);
        wanted.writer_host = Some("127.0.0.1".into());
        let chosen: BTreeSet<_> =
            rig.core.choose_targets(&wanted, rig.now).unwrap().nodes().into_iter().collect();
        assert_eq!(chosen.len(), 3);
        assert_eq!(rig.core.choose_targets(&request(5), rig.now).unwrap().nodes().len(), 3, "all there are");
    }

    #[test]
    fn the_writers_own_node_is_first() {
        let mut rig = Rig::with_nodes(10);
        for n in 0..10 {
            let mut wanted = request(3);
            wanted.writer_host = Some(stats(n).address.host);
            assert_eq!(rig.core.choose_targets(&wanted, rig.now).unwrap().nodes().first(), Some(&node_id(n)));
        }
    }

    #[test]
    fn a_volume_whose_disk_does_not_answer_gets_nothing_until_it_does() {
        let mut rig = Rig::with_nodes(1);
        for (health, fits) in [(VolumeHealth::Suspect, false), (VolumeHealth::Healthy, true)] {
            let mut stats = stats(0);
            stats.volumes[0].health = health;
            rig.apply(Event::HeartbeatSeen { node: node_id(0), fence: TERM, stats });
            assert_eq!(rig.core.choose_targets(&request(1), rig.now).is_ok(), fits, "{health:?}");
        }
    }

    /// Node `n` with a volume of each of these types.
    fn stats_with(n: u16, types: &[(StorageType, u64)]) -> NodeStats {
        let mut stats = stats(n);
        let volume = stats.volumes.remove(0);
        for (at, (storage, available)) in types.iter().enumerate() {
            let id = VolumeId::from_bytes(&u128::from(1_000 + 10 * n + at as u16).to_be_bytes()).unwrap();
            stats.volumes.push(Volume { id, storage: *storage, available: *available, ..volume.clone() });
        }
        stats
    }

    #[test]
    fn storage_is_chosen_by_type_and_the_next_one_where_there_is_none() {
        use StorageType::{Archive, Disk, Ssd};
        let mut rig = Rig::default();
        let (large, none) = (1 << 40, 0);
        for (n, types) in [
            (0, &[(Disk, large), (Ssd, large)][..]),
            (1, &[(Disk, large)]),
            (2, &[(Ssd, none), (Disk, large)]),
            (3, &[(Ssd, large)]),
            (4, &[(Archive, large)]),
        ] {
            rig.join(n, stats_with(n, types));
            rig.report(n, vec![]);
        }
        let chosen = |rig: &mut Rig, storage: &[StorageType]| {
            let wanted = PlacementRequest { storage: storage.to_vec(), ..request(3) };
            let placement = rig.core.choose_targets(&wanted, rig.now).unwrap();
            rig.core.give_up_placement(placement.ticket);
            let mut on: Vec<(u16, Option<StorageType>)> =
                placement.targets.iter().map(|target| (number(target.node), target.storage)).collect();
            on.sort_unstable();
            on
        };
        assert_eq!(chosen(&mut rig, &[Ssd]), [(0, Some(Ssd)), (3, Some(Ssd))], "there are two");
        assert_eq!(chosen(&mut rig, &[Disk]), [(0, Some(Disk)), (1, Some(Disk)), (2, Some(Disk))]);
        let mut fallen_back = chosen(&mut rig, &[Ssd, Archive]);
        assert_eq!(fallen_back.pop(), Some((4, Some(Archive))));
        assert_eq!(fallen_back, [(0, Some(Ssd)), (3, Some(Ssd))]);
        assert!(chosen(&mut rig, &[]).iter().all(|(_, storage)| storage.is_none()));
        let nowhere = PlacementRequest { storage: vec![Archive], exclude: vec![node_id(4)], ..request(1) };
        let error = rig.core.choose_targets(&nowhere, rig.now).unwrap_err();
        let expected =
            PlacementError::NoNode { bytes: 64 << 20, storage: vec![Archive], live: 5, excluded: 1, full: 4 };
        assert_eq!(error, expected);
        assert!(
            error.to_string().contains("67108864 bytes on storage of type ARCHIVE: 5 are live"),
            "{error}"
        );
    }

    #[test]
    fn what_is_promised_on_a_type_is_not_promised_there_again() {
        let mut rig = Rig::default();
        rig.join(0, stats_with(0, &[(StorageType::Ssd, 100 << 20), (StorageType::Disk, 1 << 40)]));
        let on = |storage| PlacementRequest { storage: vec![storage], ..request(1) };
        rig.core.choose_targets(&on(StorageType::Ssd), rig.now).unwrap();
        assert!(
            rig.core.choose_targets(&on(StorageType::Ssd), rig.now).is_err(),
            "64 of 100 MiB are promised"
        );
        assert!(rig.core.choose_targets(&on(StorageType::Disk), rig.now).is_ok());
    }

    #[test]
    fn volumes_of_one_disk_have_its_room_once() {
        let mut rig = Rig::with_nodes(1);
        let mut shared = stats(0);
        shared.volumes[0].available = 100 << 20;
        shared.volumes[0].file_system = dfs_types::FileSystemId::from_bytes(&[1; 16]);
        shared.volumes.push(shared.volumes[0].clone());
        rig.apply(Event::HeartbeatSeen { node: node_id(0), fence: TERM, stats: shared });
        assert!(rig.core.choose_targets(&request(1), rig.now).is_ok());
        assert!(rig.core.choose_targets(&request(1), rig.now).is_err(), "64 of 100 MiB are promised");
    }

    #[test]
    fn the_error_counts_who_could_not_be_chosen() {
        let mut rig = Rig::with_nodes(5);
        let mut full = stats(0);
        full.volumes[0].available = 1;
        rig.apply(Event::HeartbeatSeen { node: node_id(0), fence: TERM, stats: full });
        let mut failed = stats(1);
        failed.volumes[0].health = VolumeHealth::Failed;
        rig.apply(Event::HeartbeatSeen { node: node_id(1), fence: TERM, stats: failed });
        let mut stopping = stats(2);
        stopping.stopping = true;
        rig.apply(Event::HeartbeatSeen { node: node_id(2), fence: TERM, stats: stopping });
        let mut wanted = request(1);
        wanted.existing = vec![node_id(3)];
        wanted.exclude = vec![node_id(4)];
        let error = rig.core.choose_targets(&wanted, rig.now).unwrap_err();
        let PlacementError::NoNode { bytes, storage: _, live, excluded, full } = error.clone();
        assert_eq!((bytes, live, excluded, full), (64 << 20, 4, 2, 2));
        assert!(error.to_string().contains("4 are live and in service, of these 2 are in use"), "{error}");
    }

    #[test]
    fn a_silent_node_is_not_chosen_even_before_the_next_tick() {
        let mut rig = Rig::with_nodes(2);
        rig.apply(Event::Tick);
        rig.now = rig.now.plus(Duration::from_millis(2_500));
        rig.beat(&[0]);
        rig.apply(Event::Tick);
        rig.now = rig.now.plus(Duration::from_millis(2_500));
        assert_eq!(rig.core.choose_targets(&request(2), rig.now).unwrap().nodes(), [node_id(0)]);
    }

    /// Three nodes with room for ten chunks each.
    fn small() -> Rig {
        let mut rig = Rig::default();
        for n in 0..3 {
            let mut stats = stats(n);
            stats.volumes[0].available = 640 << 20;
            rig.join(n, stats);
        }
        rig
    }

    #[test]
    fn a_burst_does_not_overfill_a_node() {
        let mut rig = small();
        let mut given = Vec::new();
        while let Ok(Placement { targets, ticket }) = rig.core.choose_targets(&request(1), rig.now) {
            assert_eq!(targets.len(), 1);
            given.push(ticket);
            assert!(given.len() <= 30);
        }
        assert_eq!(given.len(), 30, "ten chunks fit on each of three nodes");
        for _ in 0..3 {
            rig.run(Duration::from_secs(6), &[0, 1, 2]);
            assert!(rig.core.choose_targets(&request(1), rig.now).is_err(), "none has come yet, all may");
        }
        rig.core.give_up_placement(given.pop().unwrap());
        assert!(rig.core.choose_targets(&request(1), rig.now).is_ok(), "one will not come");
        rig.run(Duration::from_mins(1), &[0, 1, 2]);
        assert!(rig.core.choose_targets(&request(1), rig.now).is_ok(), "nobody came for them");
        rig.check();
    }

    #[test]
    fn small_files_one_after_the_other_need_no_heartbeat_in_between() {
        let mut rig = small();
        rig.out_of_safe_mode();
        for chunk in 100..1_100 {
            let placement = rig.core.choose_targets(&request(3), rig.now).unwrap();
            rig.write_chunk(chunk, placement, 1_024);
        }
        rig.check();
    }

    #[test]
    fn what_is_given_up_can_be_had_again() {
        let mut rig = small();
        rig.out_of_safe_mode();
        for chunk in 100..1_100 {
            let placement = rig.core.choose_targets(&request(3), rig.now).unwrap();
            let (nodes, ticket) = (placement.nodes(), placement.ticket);
            assert_eq!(nodes.len(), 3);
            rig.apply(Event::ChunkAdded {
                chunk: ChunkId(chunk),
                generation: GENERATION,
                layout: Layout::Replicated { replicas: 3 },
            });
            rig.core.bind_placement(ticket, ChunkId(chunk));
            rig.apply(Event::PipelineSet { chunk: ChunkId(chunk), nodes });
            rig.apply(Event::ChunkRemoved { chunk: ChunkId(chunk) });
        }
        rig.check();
    }

    #[test]
    fn what_a_heartbeat_shows_is_not_counted_twice() {
        let mut rig = small();
        rig.out_of_safe_mode();
        let placement = rig.core.choose_targets(&request(3), rig.now).unwrap();
        let (nodes, ticket) = (placement.nodes(), placement.ticket);
        rig.apply(Event::ChunkAdded {
            chunk: ChunkId(10),
            generation: GENERATION,
            layout: Layout::Replicated { replicas: 3 },
        });
        rig.core.bind_placement(ticket, ChunkId(10));
        rig.apply(Event::PipelineSet { chunk: ChunkId(10), nodes });
        for n in 0..3 {
            rig.changed(n, record(10, ReplicaState::Rbw));
            let mut stats = stats(n);
            // The replica may still take 64 MiB, and nine more fit beside it.
            stats.volumes[0].available = 576 << 20;
            stats.as_of = rig.number(n);
            rig.apply(Event::HeartbeatSeen { node: node_id(n), fence: TERM, stats });
        }
        let fits = std::iter::from_fn(|| rig.core.choose_targets(&request(3), rig.now).ok()).count();
        assert_eq!(fits, 9);
        rig.check();
    }

    #[test]
    fn space_and_load_decide() {
        let place = |host| Place { host, zone: 0, rack: 0 };
        let candidates = vec![
            Candidate { node: NodeIndex(0), place: place(0), room: 900 << 20, load: 0 },
            Candidate { node: NodeIndex(1), place: place(1), room: 100 << 20, load: 0 },
            Candidate { node: NodeIndex(2), place: place(2), room: 900 << 20, load: 9 },
        ];
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let mut taken = [0; 3];
        for _ in 0..2_000 {
            for node in choose(&mut rng, candidates.clone(), vec![], 1, None) {
                taken[usize::from(node.0)] += 1;
            }
        }
        let [idle, small, busy] = taken;
        assert!(idle > 5 * small && small > busy, "{taken:?}");
        assert_eq!(busy, 0, "of two that are drawn the busier one never wins");
    }

    proptest! {
        #[test]
        fn hard_rules_hold_and_hosts_are_distinct_if_they_can_be(
            seed in any::<u64>(),
            hosts in proptest::collection::vec(0_u16..8, 1..24),
            unfit in proptest::collection::vec(0_u8..6, 24),
            count in 1_u32..8,
        ) {
            let mut rig = Rig::seeded(seed);
            let mut wanted = request(count);
            let mut fit = BTreeSet::new();
            for (n, host) in hosts.iter().enumerate() {
                let mut stats = stats(n as u16);
                stats.address.host = format!("host-{host}");
                match unfit[n] {
                    0 => stats.stopping = true,
                    1 => stats.volumes[0].health = VolumeHealth::Failed,
                    2 => wanted.exclude.push(node_id(n as u16)),
                    _ => { fit.insert(node_id(n as u16)); }
                }
                rig.join(n as u16, stats);
            }
            let fit_hosts: BTreeSet<u16> =
                fit.iter().map(|id| hosts[usize::from(number(*id))]).collect();
            match rig.core.choose_targets(&wanted, rig.now) {
                Ok(placement) => {
                    let chosen = placement.nodes();
                    let distinct: BTreeSet<_> = chosen.iter().copied().collect();
                    prop_assert_eq!(distinct.len(), chosen.len());
                    prop_assert!(distinct.is_subset(&fit));
                    prop_assert_eq!(chosen.len(), fit.len().min(count as usize));
                    let on: BTreeSet<u16> =
                        chosen.iter().map(|id| hosts[usize::from(number(*id))]).collect();
                    prop_assert_eq!(on.len(), fit_hosts.len().min(count as usize));
                }
                Err(_) => prop_assert!(fit.is_empty()),
            }
        }
    }
}
