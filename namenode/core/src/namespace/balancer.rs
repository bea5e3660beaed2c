//! Evens out how full nodes are.
//!
//! A chunk goes from a node that is fuller than the others to one that is emptier: it is copied first, and when the
//! target reported it, the source's replica is surplus and is deleted as any other. No move lets a chunk lie on fewer
//! hosts, racks or zones than before. Each node sends, or receives, no more than it may on average: it pauses for the time
//! that the bytes of a move take. Whoever copies for a better reason takes no part.
//!
//! It ends by itself when every node is within the threshold, or when nothing could be moved for long.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dfs_types::{BalancerStatus, ChunkId, Millis};
use rand::RngExt;

use super::Namespace;
use super::chunk_map::{Chunk, Urgency};
use super::tally::Class;
use crate::cluster::{Cluster, Node, NodeIndex, Place, spread};
use crate::{Balancing, Effect};

/// Chunks drawn from a node at a time, to be moved one after the other.
const SAMPLE: usize = 256;
/// Replicas gone through per tick for that: bounds the time a tick takes.
const LOOKED_AT: usize = 131_072;
/// Chunks of one source tried per tick.
const TRIED: usize = 16;
/// Sources in a row of which nothing can be moved, after which the next tick goes on with others.
const FRUITLESS: usize = 64;
/// Targets tried for one chunk.
const TARGETS: usize = 8;
/// A node may move as much as it does in this time at once.
const BURST: Duration = Duration::from_secs(1);
/// A source's chunks are drawn anew after that time if no target is found for them.
const DRAW_AGAIN: Duration = Duration::from_secs(10);

/// A chunk being moved.
#[derive(Debug, Clone, Copy)]
struct Move {
    from: NodeIndex,
    to: NodeIndex,
    bytes: u64,
    /// Whether it has arrived, and only the source's replica is still to go.
    arrived: bool,
}

/// The balancer's settings, what it does and what it has done.
#[derive(Debug, Default)]
pub(super) struct Balancer {
    settings: Balancing,
    running: bool,
    moved_chunks: u64,
    moved_bytes: u64,
    moves: BTreeMap<ChunkId, Move>,
    /// When the last move began, or the balancer.
    moved: Millis,
    /// When something was on its way to change how full nodes are, last.
    stirred: Millis,
    /// For each source, chunks to move next, and when they were drawn.
    samples: BTreeMap<NodeIndex, (Millis, Vec<ChunkId>)>,
}

impl Balancer {
    /// Starts or stops it.
    pub(super) fn set(&mut self, settings: Option<Balancing>, now: Millis) {
        if let Some(settings) = settings {
            if !self.running {
                (self.moved_chunks, self.moved_bytes) = (0, 0);
            }
            self.settings = settings;
        }
        self.running = settings.is_some();
        (self.moved, self.stirred) = (now, now);
        self.samples.clear();
    }

    /// Which node's replica of a chunk goes because it was moved elsewhere.
    pub(super) fn moved_from(&self, id: ChunkId) -> Option<NodeIndex> {
        self.moves.get(&id).map(|it| it.from)
    }

    /// Copies ordered by another leader come to nothing here.
    pub(super) fn forget_moves(&mut self) {
        self.moves.clear();
        self.samples.clear();
    }
}

/// A node that takes part, and how full it will be.
#[derive(Debug, Clone, Copy)]
struct Space {
    node: NodeIndex,
    used: u64,
    all: u64,
}

impl Space {
    /// The space of a node that takes part in balancing.
    fn of(index: NodeIndex, node: &Node) -> Option<Self> {
        let space = if node.is_in_use() { node.space() } else { dfs_types::Space::default() };
        let (used, all) = (space.used, space.used.saturating_add(space.available));
        (all > 0).then_some(Self { node: index, used, all })
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

impl Namespace {
    /// How the balancer gets on. Goes through the nodes.
    pub(crate) fn balancer(&self, cluster: &Cluster) -> BalancerStatus {
        let spaces: Vec<Space> = cluster.iter().filter_map(|(index, node)| Space::of(index, node)).collect();
        let mean = Space::mean(&spaces);
        let shares = || spaces.iter().map(|space| space.permille());
        let Balancer { settings, running, moved_chunks, moved_bytes, moves, .. } = &self.balancer;
        let threshold = settings.threshold_permille;
        let surplus = |space: &Space| {
            let beyond = space.permille().saturating_sub(mean.saturating_add(threshold));
            (u128::from(space.all) * u128::from(beyond) / 1_000) as u64
        };
        let want = |space: &Space| {
            let below = mean.saturating_sub(threshold).saturating_sub(space.permille());
            (u128::from(space.all) * u128::from(below) / 1_000) as u64
        };
        // What nodes say of their disks may be anything.
        let sum = |of: &dyn Fn(&Space) -> u64| spaces.iter().map(of).fold(0, u64::saturating_add);
        BalancerStatus {
            running: *running,
            threshold_permille: threshold,
            bytes_per_second: settings.bytes_per_second,
            moved_chunks: *moved_chunks,
            moved_bytes: *moved_bytes,
            pending_moves: moves.len() as u64,
            bytes_to_move: sum(&surplus).max(sum(&want)),
            mean_permille: mean,
            lowest_permille: shares().min().unwrap_or_default(),
            highest_permille: shares().max().unwrap_or_default(),
            balanced: shares().all(|share| share.abs_diff(mean) <= threshold),
        }
    }

    /// Finds out which moves have arrived, ended or failed.
    pub(super) fn watch_moves(&mut self, now: Millis) {
        let watched: Vec<(ChunkId, Move)> = self.balancer.moves.iter().map(|(id, it)| (*id, *it)).collect();
        for (id, it) in watched {
            let good = self.map.get(id).map(Chunk::good).unwrap_or_default();
            let on_its_way = self.replication.coming(id).iter().any(|copy| copy.moves);
            let (at_source, at_target) = (good.contains(&it.from), good.contains(&it.to));
            if at_target && !it.arrived {
                self.balancer.moved_chunks += 1;
                self.balancer.moved_bytes += it.bytes;
                self.balancer.moved = now;
                if let Some(it) = self.balancer.moves.get_mut(&id) {
                    it.arrived = true;
                }
            }
            let source_goes = at_target && at_source && self.is_untidy(id);
            if !on_its_way && !source_goes {
                self.balancer.moves.remove(&id);
            }
        }
    }

    /// Orders what is to be moved next.
    pub(super) fn plan_moves(&mut self, cluster: &Cluster, now: Millis, effects: &mut Vec<Effect>) {
        if !self.balancer.running
            || !self.decides()
            || now < self.replication.quiet_until.max(self.replication.storm_until)
        {
            return;
        }
        let spaces = self.spaces_after_moves(cluster);
        let mean = Space::mean(&spaces);
        let threshold = self.balancer.settings.threshold_permille;
        let balanced = spaces.iter().all(|space| space.permille().abs_diff(mean) <= threshold);
        let idle = self.balancer.moves.is_empty();
        if !idle || self.is_deleting(cluster) {
            self.balancer.stirred = now;
        }
        // How full nodes are is known only when all have told it since.
        let known = now.since(self.balancer.stirred) >= self.config.stale_after;
        let given_up = now.since(self.balancer.moved) >= self.config.balancer_patience;
        if idle && ((balanced && known) || given_up) {
            self.balancer.running = false;
            self.balancer.samples.clear();
            effects.push(Effect::BalancerEnded { balanced });
            return;
        }
        if balanced {
            return;
        }
        let (mut above, mut below): (Vec<Space>, Vec<Space>) = (Vec::new(), Vec::new());
        for space in spaces {
            match space.permille().cmp(&mean) {
                Ordering::Greater => above.push(space),
                Ordering::Less => below.push(space),
                Ordering::Equal => {}
            }
        }
        above.sort_by_key(|space| Reverse((space.permille(), space.node)));
        below.sort_by_key(|space| (space.permille(), space.node));
        let beyond = |space: &Space| space.permille().abs_diff(mean) > threshold;
        let (over, under) = (above.iter().any(beyond), below.iter().any(beyond));
        above.retain(|space| under || beyond(space));
        below.retain(|space| over || beyond(space));
        self.move_between(cluster, above, below, beyond, now);
    }

    /// Whether surplus replicas are still to go.
    fn is_deleting(&self, cluster: &Cluster) -> bool {
        let ordered = |(index, node): (NodeIndex, &Node)| {
            node.is_in_use() && self.work.get(index).is_some_and(|work| work.deletions.len() > 0)
        };
        self.untidy.len() > 0 || cluster.iter().any(ordered)
    }

    /// How full nodes will be when the moves under way are done.
    fn spaces_after_moves(&self, cluster: &Cluster) -> Vec<Space> {
        let mut change = BTreeMap::<NodeIndex, (u64, u64)>::new();
        for it in self.balancer.moves.values() {
            change.entry(it.from).or_default().0 += it.bytes;
            if !it.arrived {
                change.entry(it.to).or_default().1 += it.bytes;
            }
        }
        let spaces = cluster.iter().filter_map(|(index, node)| Space::of(index, node));
        let after = spaces.map(|space| {
            let (less, more) = change.get(&space.node).copied().unwrap_or_default();
            Space { used: space.used.saturating_sub(less).saturating_add(more), ..space }
        });
        after.collect()
    }

    /// Moves chunks between nodes of which at least one is beyond the threshold.
    fn move_between(
        &mut self,
        cluster: &Cluster,
        mut above: Vec<Space>,
        mut below: Vec<Space>,
        beyond: impl Fn(&Space) -> bool,
        now: Millis,
    ) {
        let sources: BTreeSet<NodeIndex> = above.iter().map(|space| space.node).collect();
        self.balancer.samples.retain(|node, _| sources.contains(node));
        below.retain(|space| self.may_move(cluster, space.node, now));
        // Everyone has a turn, though some can move nothing.
        if !above.is_empty() {
            let first = self.rng.random_range(0..above.len());
            above.rotate_left(first);
        }
        let (mut looked_at, mut fruitless) = (0, 0);
        for mut source in above {
            let enough = self.balancer.moves.len() >= self.config.max_moves as usize;
            if enough || below.is_empty() || fruitless >= FRUITLESS {
                return;
            }
            if !self.may_move(cluster, source.node, now) || !self.has_sample(&source, &mut looked_at, now) {
                continue;
            }
            fruitless += 1;
            for _ in 0..TRIED {
                let sample = self.balancer.samples.get_mut(&source.node);
                let Some(id) = sample.and_then(|(_, chunks)| chunks.pop()) else {
                    break;
                };
                let useful = |target: &Space| beyond(&source) || beyond(target);
                let Some((at, bytes)) = self.move_chunk(cluster, id, source.node, &below, useful, now) else {
                    continue;
                };
                fruitless = 0;
                source.used = source.used.saturating_sub(bytes);
                if let Some(target) = below.get_mut(at) {
                    target.used = target.used.saturating_add(bytes);
                    if !self.may_move(cluster, target.node, now) {
                        below.remove(at);
                    }
                }
                if !self.may_move(cluster, source.node, now) {
                    break;
                }
            }
        }
    }

    /// Whether some of a source's chunks are drawn; draws them if that is due and this tick has time for it.
    fn has_sample(&mut self, source: &Space, looked_at: &mut usize, now: Millis) -> bool {
        let again = |(at, chunks): &(Millis, Vec<ChunkId>)| chunks.is_empty() && now.since(*at) >= DRAW_AGAIN;
        if self.balancer.samples.get(&source.node).is_none_or(again) {
            if *looked_at >= LOOKED_AT {
                return false;
            }
            *looked_at += self.map.held_count(source.node);
            let chunks = self.sample(source.node);
            self.balancer.samples.insert(source.node, (now, chunks));
        }
        true
    }

    /// Some of the node's chunks, each with the same chance.
    fn sample(&mut self, node: NodeIndex) -> Vec<ChunkId> {
        let mut chunks: Vec<ChunkId> = Vec::new();
        for (seen, id) in self.map.held(node).enumerate() {
            if chunks.len() < SAMPLE {
                chunks.push(id);
            } else if let Some(place) = chunks.get_mut(self.rng.random_range(0..=seen)) {
                *place = id;
            }
        }
        chunks
    }

    /// Whether a node may take part in another move now.
    fn may_move(&self, cluster: &Cluster, index: NodeIndex, now: Millis) -> bool {
        self.work.get(index).is_some_and(|work| {
            let for_others = work.sending.count + work.receiving.count > work.moving;
            let has_paused = work.moves_again <= now.plus(BURST);
            let is_target = cluster.get(index).is_some_and(Node::is_target);
            is_target && self.is_reliable(cluster, index) && !for_others && has_paused
        })
    }

    /// Orders a chunk to be moved, if it can be; answers to which of the nodes below the mean, and how much.
    fn move_chunk(
        &mut self,
        cluster: &Cluster,
        id: ChunkId,
        from: NodeIndex,
        below: &[Space],
        useful: impl Fn(&Space) -> bool,
        now: Millis,
    ) -> Option<(usize, u64)> {
        let chunk = self.map.get(id).filter(|_| self.map.is_settled(id))?;
        let calm = chunk.queued.is_none() && !chunk.untidy && self.on_its_way(id) == 0;
        let bytes = chunk.length().filter(|bytes| *bytes > 0)?;
        let good = chunk.good().to_vec();
        let firm = self.firm(id, chunk).any(|index| index == from);
        if !calm || !firm || !self.has_room_to_move(cluster, from, bytes, true) {
            return None;
        }
        let holders: Vec<NodeIndex> = self.map.holders(id).collect();
        let fits = |this: &Self, at: usize| {
            let Some(to) = below.get(at).filter(|space| useful(space)).map(|space| space.node) else {
                return false;
            };
            !holders.contains(&to)
                && this.may_move(cluster, to, now)
                && this.has_room_to_move(cluster, to, bytes, false)
                && this.room(cluster, to, bytes) > 0
                && this.keeps_spread(cluster, &good, from, to)
        };
        // The emptiest ones often can't, because they just took one.
        let mut found = None;
        for _ in 0..TARGETS.min(below.len()) {
            let at = self.rng.random_range(0..below.len());
            found = found.or(Some(at).filter(|at| fits(self, *at)));
        }
        let at = found.or_else(|| (0..TARGETS.min(below.len())).find(|at| fits(self, *at)))?;
        let to = below.get(at)?.node;
        self.start_move(cluster, id, (from, to), bytes, now);
        Some((at, bytes))
    }

    fn start_move(
        &mut self,
        cluster: &Cluster,
        id: ChunkId,
        (from, to): (NodeIndex, NodeIndex),
        bytes: u64,
        now: Millis,
    ) {
        let most = self.balancer.settings.bytes_per_second.max(1);
        let paces = [most, self.pace(cluster, Urgency::Crowded, from, to)];
        let pace = paces.into_iter().filter(|pace| *pace > 0).min().unwrap_or(most);
        self.start_copy(id, (from, to), bytes, pace, true, now);
        let pause = Duration::from_millis((u128::from(bytes) * 1_000 / u128::from(most)) as u64);
        for end in [from, to] {
            if let Some(work) = self.work.get_mut(end) {
                work.moves_again = work.moves_again.max(now).plus(pause);
            }
        }
        self.balancer.moves.insert(id, Move { from, to, bytes, arrived: false });
        self.balancer.moved = now;
        self.refile(cluster, id);
    }

    fn has_room_to_move(&self, cluster: &Cluster, index: NodeIndex, bytes: u64, sends: bool) -> bool {
        let running = self.replication.running;
        self.work.get(index).is_some_and(|work| {
            let streams = if sends { work.sending } else { work.receiving };
            streams.has_room(bytes, self.node_allowance(cluster, index, Urgency::Crowded))
                && running.has_room(bytes, self.cluster_allowance(Urgency::Crowded))
        })
    }

    /// Whether a chunk lies on no fewer hosts, racks and zones after a move. Replicas on nodes that leave don't count.
    fn keeps_spread(&self, cluster: &Cluster, good: &[NodeIndex], from: NodeIndex, to: NodeIndex) -> bool {
        let place = |index: NodeIndex| {
            cluster.get(index).filter(|_| self.map.classes().of(index) != Class::Leaving).map(Node::place)
        };
        let before: Vec<Place> = good.iter().filter_map(|index| place(*index)).collect();
        let stay = good.iter().filter(|index| **index != from);
        let after: Vec<Place> = stay.copied().chain([to]).filter_map(place).collect();
        let (zones, racks, hosts) = spread(before.into_iter());
        let (zones_after, racks_after, hosts_after) = spread(after.into_iter());
        zones_after >= zones && racks_after >= racks && hosts_after >= hosts
    }
}

#[cfg(test)]
mod tests {
    use dfs_types::{Layout, ReplicaState};

    use super::*;
    use crate::test_support::{LENGTH, Rig, TERM, node_id, record, stats};
    use crate::{Command, Config, Event, PlacementRequest};

    const ALL: [u16; 4] = [0, 1, 2, 3];

    fn start(rig: &mut Rig, bytes_per_second: u64) {
        let settings = Balancing { threshold_permille: 100, bytes_per_second };
        rig.apply(Event::BalancerSet { settings: Some(settings) });
    }

    /// Tells how full nodes are, by the replicas they have; each has room for 100.
    fn tell(rig: &mut Rig, nodes: &[u16]) {
        for n in nodes {
            let index = rig.core.index(node_id(*n));
            let used = rig.core.namespace().map.held_count(index) as u64 * LENGTH;
            let mut stats = stats(*n);
            stats.volumes[0].used = used;
            stats.volumes[0].available = 100 * LENGTH - used;
            rig.apply(Event::HeartbeatSeen { node: node_id(*n), fence: TERM, stats });
        }
    }

    /// Nodes 0 and 1 hold 80 chunks each, 2 and 3 none.
    fn lopsided(config: Config) -> Rig {
        let mut rig = Rig::new(config, 1);
        rig.join_all(4);
        (100..180).for_each(|id| rig.chunk(id, 2, &[0, 1]));
        tell(&mut rig, &ALL);
        rig.out_of_safe_mode();
        rig
    }

    fn run(rig: &mut Rig, seconds: u64) -> Vec<Effect> {
        let mut effects = Vec::new();
        for _ in 0..seconds {
            effects.extend(rig.obey(1, &ALL));
            tell(rig, &ALL);
        }
        effects
    }

    #[test]
    fn no_figures_of_a_node_are_too_large() {
        let mut rig = Rig::default();
        for n in 0..3 {
            let mut stats = stats(n);
            let volume = &mut stats.volumes[0];
            (volume.capacity, volume.available) = (u64::MAX, if n == 0 { 0 } else { u64::MAX });
            (volume.used, volume.replicas) = (if n == 0 { u64::MAX } else { 0 }, u64::MAX);
            stats.volumes.push(stats.volumes[0].clone());
            (stats.active_writes, stats.active_reads, stats.active_copies) = (u32::MAX, u32::MAX, u32::MAX);
            stats.as_of = u64::MAX;
            rig.join(n, stats);
            rig.report(n, vec![]);
        }
        for id in 10..40 {
            rig.chunk(id, 1, &[0]);
        }
        rig.out_of_safe_mode();
        let settings = Balancing { threshold_permille: u32::MAX, bytes_per_second: u64::MAX };
        for settings in [settings, Balancing { threshold_permille: 0, ..settings }] {
            rig.apply(Event::BalancerSet { settings: Some(settings) });
            rig.run(Duration::from_secs(20), &[0, 1, 2]);
            rig.core.balancer();
        }
        let request = PlacementRequest {
            count: 3,
            bytes: 1 << 63,
            writer_host: None,
            existing: vec![],
            exclude: vec![],
            storage: vec![],
        };
        assert_eq!(rig.core.choose_targets(&request, rig.now).unwrap().nodes().len(), 2, "one is full");
        assert!(rig.core.choose_targets(&request, rig.now).is_err(), "all of it is promised");
        rig.core.totals(rig.now);
        rig.check();
    }

    #[test]
    fn it_ends_when_all_are_within_the_threshold() {
        let mut rig = lopsided(Config::default());
        let view = rig.core.balancer();
        assert_eq!((view.mean_permille, view.lowest_permille, view.highest_permille), (400, 0, 800));
        assert_eq!((view.running, view.balanced, view.bytes_to_move), (false, false, 60 * LENGTH));
        run(&mut rig, 5);
        assert_eq!(rig.copied, 0, "it was not started");
        start(&mut rig, 1 << 40);
        let effects = run(&mut rig, 60);
        assert_eq!(effects, [Effect::BalancerEnded { balanced: true }]);
        let view = rig.core.balancer();
        assert!(view.balanced && !view.running, "{view:?}");
        assert!(view.lowest_permille >= 300 && view.highest_permille <= 500, "{view:?}");
        assert_eq!((view.moved_chunks, view.moved_bytes), (rig.copied as u64, rig.copied as u64 * LENGTH));
        assert!((60..=70).contains(&view.moved_chunks), "no more than it takes: {view:?}");
        for id in 100..180 {
            assert_eq!(rig.core.chunk(ChunkId(id)).unwrap().good.len(), 2);
        }
        let copied = rig.copied;
        run(&mut rig, 30);
        assert_eq!(rig.copied, copied);
    }

    #[test]
    fn each_node_keeps_its_pace() {
        let mut rig = lopsided(Config::default());
        // One chunk a second.
        start(&mut rig, LENGTH);
        run(&mut rig, 20);
        // Two nodes send: what may burst in the first second comes on top.
        assert!((38..=44).contains(&rig.copied), "{}", rig.copied);
        let view = rig.core.balancer();
        assert!(view.running && !view.balanced, "{view:?}");
        rig.apply(Event::BalancerSet { settings: None });
        let copied = rig.copied;
        run(&mut rig, 20);
        assert!(rig.copied <= copied + 4, "it was stopped");
        assert_eq!(rig.core.balancer().pending_moves, 0);
        rig.check();
    }

    #[test]
    fn its_copies_have_its_pace() {
        let mut rig = lopsided(Config::default());
        start(&mut rig, 3 * LENGTH);
        rig.run(Duration::from_millis(500), &ALL);
        let commands: Vec<Command> =
            ALL.iter().flat_map(|n| rig.core.take_commands(node_id(*n), rig.now)).collect();
        assert!(!commands.is_empty());
        for command in commands {
            let Command::Copy { bytes_per_second, .. } = command else {
                unreachable!("only copies are due: {command:?}")
            };
            assert_eq!(bytes_per_second, 3 * LENGTH);
        }
        assert!(rig.core.balancer().pending_moves > 0);
        rig.check();
    }

    #[test]
    fn it_gives_up_what_it_cannot_move() {
        let mut rig = lopsided(Config::default());
        // Every chunk is to be everywhere.
        for id in 100..180 {
            rig.changed(2, record(id, ReplicaState::Finalized));
            rig.apply(Event::LayoutChanged {
                chunk: ChunkId(id),
                layout: Layout::Replicated { replicas: 3 },
            });
        }
        rig.apply(Event::DutySet { node: node_id(3), duty: dfs_types::NodeDuty::Decommission });
        for (n, available) in [(0, 10), (1, 10), (2, 500)] {
            let mut stats = stats(n);
            stats.volumes[0].used = 80 * LENGTH;
            stats.volumes[0].available = available * LENGTH;
            rig.apply(Event::HeartbeatSeen { node: node_id(n), fence: TERM, stats });
        }
        start(&mut rig, 1 << 40);
        assert_eq!(
            rig.obey(290, &ALL),
            [Effect::DutyChanged { node: node_id(3), state: dfs_types::DutyState::Decommissioned }]
        );
        assert!(rig.core.balancer().running, "it goes on trying");
        assert_eq!(rig.obey(30, &ALL), [Effect::BalancerEnded { balanced: false }]);
        assert_eq!(rig.copied, 0);
    }

    #[test]
    fn repair_comes_first() {
        let mut rig = lopsided(Config::default());
        // Something is always to be copied from and to everyone, and never arrives.
        (200..280).for_each(|id| rig.chunk(id, 3, &[0, 1]));
        rig.run(Duration::from_secs(1), &ALL);
        start(&mut rig, 1 << 40);
        rig.run(Duration::from_secs(5), &ALL);
        assert_eq!(rig.core.balancer().pending_moves, 0);
        assert!(rig.core.totals(rig.now).pending_copies > 0);
        rig.check();
    }

    #[test]
    fn a_new_leader_goes_on() {
        let mut rig = lopsided(Config::default());
        start(&mut rig, LENGTH);
        run(&mut rig, 3);
        rig.apply(Event::LeadershipLost);
        let copied = rig.copied;
        run(&mut rig, 5);
        assert_eq!(rig.copied, copied, "a follower moves nothing");
        rig.apply(Event::LeadershipTaken { term: TERM + 1 });
        rig.fence = TERM + 1;
        tell(&mut rig, &ALL);
        for n in ALL {
            rig.beat(&[n]);
            let index = rig.core.index(node_id(n));
            let held: Vec<_> = rig
                .core
                .namespace()
                .map
                .held(index)
                .map(|id| record(id.0, ReplicaState::Finalized))
                .collect();
            rig.report(n, held);
        }
        run(&mut rig, 5);
        assert!(rig.copied > copied);
        rig.check();
    }
}
