//! Copies: which are ordered now, at what pace, and what becomes of them.
//!
//! A copy counts until its target reports the replica, one of its nodes goes, or its time is over. What is under way is
//! bounded for each node and for the whole cluster. On nodes that clients use it is less and slower, except for last
//! copies: those go first, everywhere, as fast as they can.

use std::time::Duration;

use dfs_types::{ChunkId, Millis};

use super::Namespace;
use super::chunk_map::{Chunk, Urgency};
use super::node_work::Allowance;
use super::tally::Class;
use crate::Config;
use crate::cluster::{Cluster, NodeIndex, spread};

/// Chunks looked at in each ring per tick: bounds the time a tick takes.
const LOOKED_AT: usize = 4_096;
/// Chunks without any target after which a ring waits for the next tick.
const FRUITLESS: usize = 256;
/// Bytes of a copy without a pace of its own that get one more second.
const BYTES_PER_SECOND: u64 = 8 << 20;
/// Clients' sessions on a node that slow its copies down once more.
const SESSIONS: u32 = 4;
/// Copies go no slower than this part of what one does on a node with a single session.
const SLOWEST: u64 = 8;

/// A copy ordered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Copying {
    pub(super) source: NodeIndex,
    pub(super) target: NodeIndex,
    pub(super) bytes: u64,
    /// Its pace; 0: as fast as it goes.
    pub(super) bytes_per_second: u64,
    /// When it is given up.
    pub(super) deadline: Millis,
    /// Whether the source was told.
    pub(super) told: bool,
    /// Whether the balancer wants it.
    pub(super) moves: bool,
}

/// How long a copy may take.
pub(super) fn patience(config: &Config, bytes: u64, bytes_per_second: u64) -> Duration {
    let slow = if bytes_per_second == 0 { BYTES_PER_SECOND } else { (bytes_per_second / 2).max(1) };
    config.copy_timeout + Duration::from_secs(bytes / slow.min(BYTES_PER_SECOND))
}

/// What came of planning one chunk.
#[derive(Debug, PartialEq, Eq)]
enum Planned {
    /// Copies were ordered, or none are needed right now.
    Fine,
    /// No holder can send one now.
    NoSource,
    /// No node can take one now.
    NoTarget,
    /// The cluster copies as much as it may.
    Enough,
}

impl Namespace {
    /// Ends the chunk's copies for which `ends` says so, and frees their streams.
    pub(super) fn end_copies(&mut self, id: ChunkId, ends: impl Fn(&Copying) -> bool) {
        let Some(copies) = self.replication.copies.get_mut(&id) else {
            return;
        };
        copies.retain(|copy| {
            let ended = ends(copy);
            if ended {
                self.replication.running.end(copy.bytes);
                if let Some(source) = self.work.get_mut(copy.source) {
                    source.sending.end(copy.bytes);
                    source.moving -= u32::from(copy.moves);
                }
                if let Some(target) = self.work.get_mut(copy.target) {
                    target.receiving.end(copy.bytes);
                    target.moving -= u32::from(copy.moves);
                }
            }
            !ended
        });
        if copies.is_empty() {
            self.replication.copies.remove(&id);
        }
    }

    /// Ends copies whose source has no good replica any more, or whose target has one.
    pub(super) fn end_void_copies(&mut self, id: ChunkId) {
        if self.replication.copies.contains_key(&id) {
            let good = self.map.get(id).map(|chunk| chunk.good().to_vec()).unwrap_or_default();
            self.end_copies(id, |copy| !good.contains(&copy.source) || good.contains(&copy.target));
        }
    }

    /// A node is gone or its process was replaced: its copies, either way, come to nothing.
    pub(super) fn end_copies_of(&mut self, cluster: &Cluster, node: NodeIndex) {
        self.end_copies_where(cluster, |copy| copy.source == node || copy.target == node);
    }

    /// Gives up copies whose time is over.
    pub(super) fn end_overdue_copies(&mut self, cluster: &Cluster, now: Millis) {
        self.end_copies_where(cluster, |copy| copy.deadline <= now);
    }

    /// Chunks being copied to a node.
    pub(super) fn copied_to(&self, node: NodeIndex) -> impl Iterator<Item = ChunkId> {
        let copies = self.replication.copies.iter();
        copies.filter(move |(_, copies)| copies.iter().any(|copy| copy.target == node)).map(|(id, _)| *id)
    }

    fn end_copies_where(&mut self, cluster: &Cluster, ends: impl Fn(&Copying) -> bool) {
        let ending = self.replication.copies.iter().filter(|(_, copies)| copies.iter().any(&ends));
        let ending: Vec<ChunkId> = ending.map(|(id, _)| *id).collect();
        for id in ending {
            self.end_copies(id, &ends);
            self.refile(cluster, id);
        }
    }

    /// Goes round the rings and orders what can be copied now.
    pub(super) fn plan_copies(&mut self, cluster: &Cluster, now: Millis) {
        if !self.decides() || now < self.replication.quiet_until {
            return;
        }
        for urgency in Urgency::ALL {
            if urgency != Urgency::LastCopy && now < self.replication.storm_until {
                break;
            }
            let mut fruitless = 0;
            let turns = self.replication.ring(urgency).len().min(LOOKED_AT);
            for _ in 0..turns {
                let Some(id) = self.replication.ring(urgency).next() else {
                    break;
                };
                match self.plan_chunk(cluster, id, urgency, now) {
                    Planned::Fine | Planned::NoSource => {}
                    Planned::NoTarget => fruitless += 1,
                    Planned::Enough => break,
                }
                if fruitless == FRUITLESS {
                    break;
                }
            }
        }
    }

    fn plan_chunk(&mut self, cluster: &Cluster, id: ChunkId, urgency: Urgency, now: Millis) -> Planned {
        let Some((chunk, bytes)) = self.map.get(id).and_then(|chunk| Some((chunk, chunk.length()?))) else {
            return Planned::Fine;
        };
        let tally = self.map.tally(self.firm(id, chunk));
        let lacking = match urgency {
            Urgency::Crowded => 1,
            Urgency::LastCopy | Urgency::Few | Urgency::Some => {
                self.map.classes().lacking(tally, chunk.wanted())
            }
        };
        let wanted = lacking.saturating_sub(self.on_its_way(id));
        if wanted == 0 {
            return Planned::Fine;
        }
        if !self.replication.running.has_room(bytes, self.cluster_allowance(urgency)) {
            return Planned::Enough;
        }
        let good = chunk.good().to_vec();
        let Some(source) = self.best_source(cluster, id, bytes, urgency, now) else {
            return Planned::NoSource;
        };
        let streams = self.work.get(source).map_or(0, |work| {
            self.node_allowance(cluster, source, urgency).count.saturating_sub(work.sending.count).max(1)
        });
        let coming = self.replication.coming(id).iter().map(|copy| copy.target);
        // What leaves is no reason to stay away.
        let stays = |index: &NodeIndex| self.map.classes().of(*index) != Class::Leaving;
        let near: Vec<NodeIndex> = good.iter().copied().filter(stays).chain(coming.clone()).collect();
        let taken: Vec<NodeIndex> = self.map.holders(id).chain(coming).collect();
        let mut targets =
            self.copy_targets(cluster, (&taken, &near), (bytes, urgency), wanted.min(streams as usize), now);
        if urgency == Urgency::Crowded {
            targets.retain(|target| Self::would_spread(cluster, &good, *target));
        }
        if targets.is_empty() {
            return Planned::NoTarget;
        }
        for target in targets {
            self.order_copy(cluster, id, (source, target), bytes, urgency, now);
        }
        self.refile(cluster, id);
        Planned::Fine
    }

    /// The holder with the least to send that can send one more; one whose disk does not answer only if there is no other.
    fn best_source(
        &self,
        cluster: &Cluster,
        id: ChunkId,
        bytes: u64,
        urgency: Urgency,
        now: Millis,
    ) -> Option<NodeIndex> {
        let good = self.map.get(id).map(Chunk::good).unwrap_or_default();
        let usable = |index: &NodeIndex| cluster.is_usable(*index);
        let is_sound = |index: &NodeIndex| self.is_on_healthy_disk(cluster, id, *index);
        // One that is only busy now is waited for.
        let any_sound = good.iter().any(|index| usable(index) && is_sound(index));
        let able = good.iter().filter(|index| usable(index) && (!any_sound || is_sound(index)));
        let able = able.filter_map(|index| {
            let sending = self.work.get(*index)?.sending;
            let free = sending.has_room(bytes, self.node_allowance(cluster, *index, urgency));
            free.then_some((*index, sending.count))
        });
        able.min_by_key(|(index, sending)| (*sending, self.load(cluster, *index, now)))
            .map(|(index, _)| index)
    }

    /// Whether the places of these replicas and one more at `target`, without the one missed least, are better than
    /// those they have.
    fn would_spread(cluster: &Cluster, good: &[NodeIndex], target: NodeIndex) -> bool {
        let spread_of = |nodes: &[NodeIndex]| spread(cluster.places(nodes).into_iter());
        let mut more = good.to_vec();
        more.push(target);
        Self::most_dispensable(cluster, &more, None, Millis::default()).is_some_and(|goes| {
            more.retain(|index| *index != goes);
            spread_of(&more) > spread_of(good)
        })
    }

    /// What a node may send, or receive, for a chunk of this urgency.
    pub(super) fn node_allowance(&self, cluster: &Cluster, index: NodeIndex, urgency: Urgency) -> Allowance {
        let all = Allowance::of_node(&self.config);
        match urgency {
            Urgency::LastCopy => all,
            Urgency::Few | Urgency::Some if self.foreground(cluster, index) == 0 => all,
            Urgency::Few | Urgency::Some | Urgency::Crowded => all.part(1, 2),
        }
    }

    /// What the cluster may copy for a chunk of this urgency: the most urgent ones always find some room.
    pub(super) fn cluster_allowance(&self, urgency: Urgency) -> Allowance {
        let all = Allowance::of_cluster(&self.config);
        match urgency {
            Urgency::LastCopy => all,
            Urgency::Few | Urgency::Some => all.part(7, 8),
            Urgency::Crowded => all.part(1, 2),
        }
    }

    /// The pace of a copy between two nodes, so that their clients keep most of what they have; 0: as fast as it goes.
    pub(super) fn pace(
        &self,
        cluster: &Cluster,
        urgency: Urgency,
        source: NodeIndex,
        target: NodeIndex,
    ) -> u64 {
        let sessions = self.foreground(cluster, source).max(self.foreground(cluster, target));
        if urgency == Urgency::LastCopy || sessions == 0 {
            return 0;
        }
        let most = self.config.busy_copy_bytes_per_second;
        (most / u64::from(1 + sessions / SESSIONS)).max(most / SLOWEST).max(1)
    }

    fn order_copy(
        &mut self,
        cluster: &Cluster,
        id: ChunkId,
        (source, target): (NodeIndex, NodeIndex),
        bytes: u64,
        urgency: Urgency,
        now: Millis,
    ) {
        // A pipeline to several targets is one stream each for the limits: the worst case.
        let Some(sender) = self.work.get(source) else {
            return;
        };
        let fits = sender.sending.has_room(bytes, self.node_allowance(cluster, source, urgency))
            && self.replication.running.has_room(bytes, self.cluster_allowance(urgency));
        if fits {
            let pace = self.pace(cluster, urgency, source, target);
            self.start_copy(id, (source, target), bytes, pace, false, now);
        }
    }

    /// Orders a copy.
    pub(super) fn start_copy(
        &mut self,
        id: ChunkId,
        (source, target): (NodeIndex, NodeIndex),
        bytes: u64,
        bytes_per_second: u64,
        moves: bool,
        now: Millis,
    ) {
        let Some(sender) = self.work.get_mut(source) else {
            return;
        };
        sender.sending.start(bytes);
        sender.moving += u32::from(moves);
        if sender.copy_orders.back() != Some(&id) {
            sender.copy_orders.push_back(id);
        }
        if let Some(receiver) = self.work.get_mut(target) {
            receiver.receiving.start(bytes);
            receiver.moving += u32::from(moves);
        }
        self.replication.running.start(bytes);
        let deadline = now.plus(patience(&self.config, bytes, bytes_per_second));
        let copy = Copying { source, target, bytes, bytes_per_second, deadline, told: false, moves };
        self.replication.copies.entry(id).or_default().push(copy);
    }
}

#[cfg(test)]
mod tests {
    use dfs_types::ReplicaState;

    use super::*;
    use crate::namespace::node_work::Streams;
    use crate::test_support::{LENGTH, Rig, TERM, node_id, number, record, stats};
    use crate::{Command, NodeStats};

    /// Targets of each copy ordered from node `n`.
    fn copies(rig: &mut Rig, n: u16) -> Vec<(u64, Vec<u16>)> {
        let commands = rig.core.take_commands(node_id(n), rig.now);
        let copies = commands.into_iter().filter_map(|command| match command {
            Command::Copy { chunk, targets, .. } => {
                Some((chunk.0, targets.iter().map(|id| number(*id)).collect()))
            }
            Command::Delete { .. } | Command::Recover { .. } => None,
        });
        copies.collect()
    }

    #[test]
    fn a_dead_nodes_chunks_are_copied_the_last_ones_first() {
        let config = Config { max_copies_per_node: 1, ..Config::default() };
        let mut rig = Rig::new(config, 1);
        rig.join_all(5);
        rig.chunk(10, 3, &[0, 1, 2]);
        rig.chunk(11, 2, &[0, 4]);
        rig.out_of_safe_mode();
        rig.run(Duration::from_secs(20), &[0, 1, 2, 3]);
        assert_eq!(copies(&mut rig, 0).len(), 1);
        assert_eq!(rig.core.totals(rig.now).pending_copies, 1);
        assert_eq!(rig.core.totals(rig.now).under_replicated, 1);
        rig.check();
    }

    #[test]
    fn copies_are_not_sent_from_a_disk_that_does_not_answer_while_there_is_another() {
        let config = Config { max_copies_per_node: 1, ..Config::default() };
        let mut rig = Rig::new(config, 1);
        rig.join_all(6);
        let mut slow = stats(0);
        slow.volumes[0].health = dfs_types::VolumeHealth::Suspect;
        rig.apply(crate::Event::HeartbeatSeen { node: node_id(0), fence: TERM, stats: slow });
        (10..20).for_each(|id| rig.chunk(id, 3, &[0, 1]));
        rig.chunk(30, 2, &[0]);
        rig.out_of_safe_mode();
        rig.run(Duration::from_secs(2), &[0, 1, 2, 3, 4, 5]);
        assert_eq!(copies(&mut rig, 1).len(), 1);
        let from_slow: Vec<u64> = copies(&mut rig, 0).into_iter().map(|(chunk, _)| chunk).collect();
        assert_eq!(from_slow, [30], "there is no other of this one");
        rig.check();
    }

    #[test]
    fn a_copy_that_never_comes_is_planned_again() {
        let mut rig = Rig::with_nodes(3);
        rig.chunk(10, 2, &[0]);
        rig.out_of_safe_mode();
        rig.run(Duration::from_secs(1), &[0, 1, 2]);
        let first = copies(&mut rig, 0);
        assert_eq!(first.len(), 1);
        rig.run(Duration::from_secs(29), &[0, 1, 2]);
        assert_eq!(copies(&mut rig, 0), [], "it may still come");
        rig.run(Duration::from_secs(3), &[0, 1, 2]);
        let second = copies(&mut rig, 0);
        assert_eq!(second.len(), 1);
        let target = second[0].1[0];
        rig.changed(target, record(10, ReplicaState::Finalized));
        assert_eq!(rig.core.totals(rig.now).pending_copies, 0);
        rig.run(Duration::from_secs(1), &[0, 1, 2]);
        assert_eq!(copies(&mut rig, 0), []);
        rig.check();
    }

    #[test]
    fn a_chunk_that_cannot_be_copied_blocks_nobody() {
        let mut rig = Rig::with_nodes(3);
        // These are everywhere already and want more than there are nodes.
        (100..1_000).for_each(|id| rig.chunk(id, 5, &[0, 1, 2]));
        rig.chunk(5_000, 3, &[0, 1]);
        rig.out_of_safe_mode();
        rig.run(Duration::from_secs(3), &[0, 1, 2]);
        let planned: Vec<_> = copies(&mut rig, 0).into_iter().chain(copies(&mut rig, 1)).collect();
        assert_eq!(planned, [(5_000, vec![2])]);
        rig.check();
    }

    #[test]
    fn a_chunk_just_committed_is_left_alone() {
        let mut rig = Rig::with_nodes(4);
        rig.out_of_safe_mode();
        rig.open_chunk(10, 3, &[0, 1, 2]);
        rig.changed(0, record(10, ReplicaState::Finalized));
        rig.commit(10);
        rig.run(Duration::from_millis(9_500), &[0, 1, 2, 3]);
        assert_eq!(copies(&mut rig, 0), []);
        rig.changed(1, record(10, ReplicaState::Finalized));
        rig.run(Duration::from_secs(1), &[0, 1, 2, 3]);
        let planned: Vec<_> = copies(&mut rig, 0).into_iter().chain(copies(&mut rig, 1)).collect();
        assert_eq!(planned.len(), 1, "the grace is over and one replica missing");
        rig.check();
    }

    #[test]
    fn a_chunk_just_committed_waits_only_for_those_that_may_report() {
        for reported in [&[0, 1, 2][..], &[0, 1], &[0]] {
            let mut rig = Rig::with_nodes(5);
            rig.out_of_safe_mode();
            rig.open_chunk(10, 3, &[0, 1, 2]);
            for n in reported {
                rig.changed(*n, record(10, ReplicaState::Finalized));
            }
            rig.commit(10);
            for lost in [1, 2] {
                assert_eq!(rig.core.totals(rig.now).pending_copies, 0);
                rig.apply(crate::Event::LossAnnounced { node: node_id(lost) });
            }
            rig.run(Duration::from_millis(500), &[0, 3, 4]);
            assert_eq!(copies(&mut rig, 0).len(), 1, "{reported:?}");
            rig.check();
        }
    }

    #[test]
    fn a_process_replaced_costs_no_copying() {
        let mut rig = Rig::with_nodes(4);
        (10..20).for_each(|id| rig.chunk(id, 3, &[0, 1, 2]));
        rig.out_of_safe_mode();
        rig.rejoin(1, 2);
        rig.rejoin(2, 2);
        assert!(rig.core.owes_report(node_id(1)));
        assert_eq!(rig.core.totals(rig.now).only_one_copy, 10, "they are forgotten");
        rig.run(Duration::from_secs(10), &[0, 1, 2, 3]);
        rig.report(1, (10..20).map(|id| record(id, ReplicaState::Finalized)).collect());
        rig.run(Duration::from_secs(3), &[0, 1, 2, 3]);
        assert_eq!(rig.core.totals(rig.now).pending_copies, 0);
        rig.run(Duration::from_secs(5), &[0, 1, 2, 3]);
        assert!(rig.core.totals(rig.now).pending_copies > 0, "node 2 takes too long");
        rig.check();
    }

    #[test]
    fn in_a_storm_only_last_copies_are_copied() {
        let mut rig = Rig::with_nodes(9);
        rig.chunk(10, 3, &[0, 1, 8]);
        rig.chunk(11, 3, &[0, 7, 8]);
        rig.out_of_safe_mode();
        let alive = [0, 1, 2, 3, 4, 5];
        rig.run(Duration::from_secs(20), &alive);
        assert_eq!(rig.core.totals(rig.now).dead_nodes, 3);
        assert_eq!(copies(&mut rig, 0).iter().map(|copy| copy.0).collect::<Vec<_>>(), [11]);
        assert_eq!(copies(&mut rig, 1), []);
        rig.run(Duration::from_mins(2), &alive);
        let planned: Vec<_> = copies(&mut rig, 0).into_iter().chain(copies(&mut rig, 1)).collect();
        assert!(planned.iter().any(|copy| copy.0 == 10), "{planned:?}");
        rig.check();
    }

    #[test]
    fn a_long_copy_has_more_time() {
        let mut rig = Rig::with_nodes(2);
        rig.add_chunk(10, LENGTH, 2);
        rig.report(0, vec![record(10, ReplicaState::Finalized)]);
        rig.out_of_safe_mode();
        rig.run(Duration::from_secs(1), &[0, 1]);
        let deadline = rig.core.namespace().replication.copies[&ChunkId(10)][0].deadline;
        let least = Duration::from_secs(30 + LENGTH / BYTES_PER_SECOND);
        assert!(deadline.since(rig.now) + Duration::from_secs(1) >= least);
    }

    /// Orders of every node.
    fn all_copies(rig: &mut Rig, nodes: u16) -> Vec<(u16, Command)> {
        let commands = (0..nodes).flat_map(|n| {
            let commands = rig.core.take_commands(node_id(n), rig.now);
            commands.into_iter().map(move |command| (n, command))
        });
        commands.filter(|(_, command)| matches!(command, Command::Copy { .. })).collect()
    }

    #[test]
    fn a_lost_volumes_chunks_are_copied_at_once() {
        let mut rig = Rig::with_nodes(4);
        (10..15).for_each(|id| rig.chunk(id, 2, &[0, 1]));
        rig.out_of_safe_mode();
        let gone = (10..15).map(|id| (record(id, ReplicaState::Finalized), true)).collect();
        rig.tell(0, gone, None);
        rig.run(Duration::from_millis(500), &[0, 1, 2, 3]);
        assert_eq!(copies(&mut rig, 1).len(), 5);
        rig.check();
    }

    #[test]
    fn an_announced_loss_is_not_waited_for() {
        let mut rig = Rig::with_nodes(4);
        (10..15).for_each(|id| rig.chunk(id, 2, &[0, 1]));
        rig.out_of_safe_mode();
        let effects = rig.apply(crate::Event::LossAnnounced { node: node_id(0) });
        let state = crate::NodeState::Dead;
        assert_eq!(effects, [crate::Effect::NodeChanged { node: node_id(0), state }]);
        rig.run(Duration::from_millis(500), &[1, 2, 3]);
        assert_eq!(copies(&mut rig, 1).len(), 5);
        assert_eq!(rig.apply(crate::Event::LossAnnounced { node: node_id(9) }), [], "nobody knows it");
        // It was the wrong node.
        rig.beat(&[0]);
        assert!(rig.core.owes_report(node_id(0)));
        rig.report(0, (10..15).map(|id| record(id, ReplicaState::Finalized)).collect());
        assert_eq!(rig.core.totals(rig.now).under_replicated, 0);
        rig.check();
    }

    #[test]
    fn a_chunk_deleted_while_it_is_copied_leaves_nothing() {
        let mut rig = Rig::with_nodes(3);
        rig.chunk(10, 2, &[0]);
        rig.out_of_safe_mode();
        rig.run(Duration::from_millis(500), &[0, 1, 2]);
        let target = copies(&mut rig, 0)[0].1[0];
        rig.apply(crate::Event::ChunkRemoved { chunk: ChunkId(10) });
        assert_eq!(rig.core.totals(rig.now).pending_copies, 0);
        rig.changed(target, record(10, ReplicaState::Finalized));
        let deleted = |rig: &mut Rig, n| {
            let commands = rig.core.take_commands(node_id(n), rig.now);
            let delete = Command::Delete { replicas: vec![(ChunkId(10), crate::test_support::GENERATION)] };
            commands == [delete]
        };
        assert!(deleted(&mut rig, 0) && deleted(&mut rig, target));
        rig.check();
    }

    #[test]
    fn the_cluster_copies_no_more_than_it_may() {
        let config = Config { max_copies: 8, max_copy_bytes: 4 * LENGTH, ..Config::default() };
        let mut rig = Rig::new(config, 1);
        rig.join_all(6);
        (10..60).for_each(|id| rig.chunk(id, 3, &[0, 1]));
        rig.out_of_safe_mode();
        rig.run(Duration::from_secs(2), &[0, 1, 2, 3, 4, 5]);
        assert_eq!(
            rig.core.namespace().replication.running,
            Streams { count: 3, bytes: 3 * LENGTH },
            "seven eighths"
        );
        rig.chunk(100, 2, &[5]);
        rig.run(Duration::from_secs(2), &[0, 1, 2, 3, 4, 5]);
        assert_eq!(rig.core.namespace().replication.running.count, 4);
        assert!(!copies(&mut rig, 5).is_empty(), "there is room for last copies");
        rig.check();
    }

    #[test]
    fn clients_slow_copies_down_but_not_last_ones() {
        let pace = |reads: u32, replicas: &[u16]| {
            let mut rig = Rig::with_nodes(3);
            for n in 0..3 {
                let stats = NodeStats { active_reads: reads, ..stats(n) };
                rig.apply(crate::Event::HeartbeatSeen { node: node_id(n), fence: TERM, stats });
            }
            rig.chunk(10, 3, replicas);
            rig.out_of_safe_mode();
            rig.run(Duration::from_millis(500), &[0, 1, 2]);
            let ordered = all_copies(&mut rig, 3);
            let [(_, Command::Copy { bytes_per_second, .. })] = &ordered[..] else {
                unreachable!("one copy: {ordered:?}")
            };
            *bytes_per_second
        };
        let most = Config::default().busy_copy_bytes_per_second;
        assert_eq!(pace(0, &[0, 1]), 0);
        assert_eq!([pace(1, &[0, 1]), pace(4, &[0, 1]), pace(1_000, &[0, 1])], [most, most / 2, most / 8]);
        assert_eq!(pace(1_000, &[0]), 0, "the last copy");
    }

    #[test]
    fn fewer_copies_run_where_clients_are() {
        let running = |reads: u32| {
            let mut rig = Rig::with_nodes(3);
            let stats = NodeStats { active_reads: reads, ..stats(2) };
            rig.apply(crate::Event::HeartbeatSeen { node: node_id(2), fence: TERM, stats });
            (10..60).for_each(|id| rig.chunk(id, 3, &[0, 1]));
            rig.out_of_safe_mode();
            rig.run(Duration::from_secs(1), &[0, 1, 2]);
            rig.core.namespace().replication.running.count
        };
        let most = Config::default().max_copies_per_node;
        assert_eq!([running(0), running(1)], [most, most / 2]);
    }

    #[test]
    fn sources_share_the_work() {
        let mut rig = Rig::with_nodes(8);
        (10..26).for_each(|id| rig.chunk(id, 4, &[0, 1, 2]));
        rig.out_of_safe_mode();
        rig.run(Duration::from_millis(500), &[0, 1, 2, 3, 4, 5, 6, 7]);
        let by_source: Vec<usize> = (0..3).map(|n| copies(&mut rig, n).len()).collect();
        assert_eq!(by_source.iter().sum::<usize>(), 16);
        assert!(by_source.iter().all(|count| (5..=6).contains(count)), "{by_source:?}");
        rig.check();
    }

    /// Copies that it takes if node 0 is silent for so many seconds, over and over.
    fn copied_by_flapping(silence: u64) -> usize {
        let mut rig = Rig::with_nodes(6);
        (10..30).for_each(|id| rig.chunk(id, 3, &[0, 1, 2]));
        rig.out_of_safe_mode();
        let others = [1, 2, 3, 4, 5];
        let mut there: Vec<_> = (10..30).map(|id| record(id, ReplicaState::Finalized)).collect();
        for _ in 0..10 {
            rig.obey(silence, &others);
            rig.beat(&[0]);
            if rig.core.owes_report(node_id(0)) {
                rig.report(0, there.clone());
            }
            rig.obey(10, &[0, 1, 2, 3, 4, 5]);
            let holds = |id: u64| rig.core.chunk(ChunkId(id)).unwrap().good.contains(&node_id(0));
            there.retain(|record| holds(record.chunk.0));
        }
        rig.check();
        rig.copied
    }

    #[test]
    fn a_flapping_nodes_chunks_are_not_copied_over_and_over() {
        assert_eq!(copied_by_flapping(14), 0);
        assert_eq!(copied_by_flapping(20), 20, "after its first death it is given more time");
        // Its second death shows that it comes and goes: what is too many then goes from it.
        let copied = copied_by_flapping(50);
        assert!((20..=40).contains(&copied), "{copied}");
    }
}
