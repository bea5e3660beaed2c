//! Which replicas are deleted: those too many, and bad ones once enough good ones exist.
//!
//! Only good replicas on healthy disks of nodes that are live, not stopping, fully reported and settled (see `leadership`) count when
//! deciding, and the decision is checked again when the order is handed out: what may be the last usable data is never
//! deleted. Replicas are too many only on nodes in service: those on nodes that leave stay there, and those on nodes in
//! maintenance may be needed as soon as it is over. A replica whose deletion was told and then recalled can be read and copied, but justifies no other
//! deletion: its node may still carry out the old order.

use std::cmp::Reverse;
use std::time::Duration;

use dfs_types::{ChunkId, GenStamp, Millis};

use super::Namespace;
use super::chunk_map::{Chunk, Odd, Verdict};
use super::tally::Class;
use crate::cluster::{Cluster, Node, NodeIndex, spread};

/// Chunks looked at per tick: bounds the time a tick takes.
const LOOKED_AT: usize = 4_096;

/// How long a copy may take for which a bad replica made room, before another one goes.
const COPY_OWED: Duration = Duration::from_mins(5);

/// A chunk of which a bad replica went before there were enough good ones.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owed {
    /// Good replicas there were then: the copy is there when there are more.
    good: usize,
    until: Millis,
}

/// Whether a replica may be deleted now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sentence {
    /// Go on.
    Execute,
    /// It is needed after all.
    Spare,
    /// It is not known whether it is still there: wait for the node's report.
    Wait,
}

fn verdict(chunk: &Chunk, odd: &Odd) -> Verdict {
    chunk.judge(odd.generation, odd.length, odd.state)
}

/// Whether a replica is one that is deleted as soon as enough good ones exist.
fn is_bad(chunk: &Chunk, odd: &Odd) -> bool {
    !odd.doomed && matches!(verdict(chunk, odd), Verdict::Stale | Verdict::Corrupt)
}

impl Namespace {
    /// Whether the chunk has replicas to delete.
    pub(super) fn is_untidy(&self, id: ChunkId) -> bool {
        let Some(chunk) = self.map.get(id).filter(|_| self.map.is_settled(id)) else {
            return false;
        };
        self.map.tally(chunk.good().iter().copied()).service > chunk.wanted()
            || self.map.odd(id).iter().any(|odd| is_bad(chunk, odd))
    }

    /// Good replicas that no order told earlier may still delete.
    pub(super) fn firm<'a>(&'a self, id: ChunkId, chunk: &'a Chunk) -> impl Iterator<Item = NodeIndex> + 'a {
        let recalled = move |index: NodeIndex| {
            self.work.get(index).is_some_and(|work| work.deletions.is_recalled(id, chunk.generation))
        };
        chunk.good().iter().copied().filter(move |index| !recalled(*index))
    }

    /// Good replicas that can be relied on when others are deleted. Nodes in maintenance may be stopped at any time.
    fn reliable(&self, cluster: &Cluster, id: ChunkId, chunk: &Chunk) -> Vec<NodeIndex> {
        let stays = |index: &NodeIndex| self.map.classes().of(*index) != Class::Maintenance;
        let reliable = |index: &NodeIndex| {
            self.is_reliable(cluster, *index) && self.is_on_healthy_disk(cluster, id, *index)
        };
        self.firm(id, chunk).filter(|index| stays(index) && reliable(index)).collect()
    }

    /// Those of them that make others surplus.
    fn lasting(&self, cluster: &Cluster, id: ChunkId, chunk: &Chunk) -> Vec<NodeIndex> {
        let mut nodes = self.reliable(cluster, id, chunk);
        nodes.retain(|index| self.map.classes().of(*index) == Class::Service);
        nodes
    }

    /// Reliable replicas below which no bad one is deleted: all that are wanted, so that at least one was copied, and
    /// with that read whole, after the bad one was found. That those there were before are good is only what nobody has
    /// disproved yet. But not more than there are nodes that could have one while the bad ones, doomed or not, are in the
    /// way.
    fn floor(&self, cluster: &Cluster, id: ChunkId, chunk: &Chunk) -> usize {
        let in_the_way = |index: NodeIndex| {
            let bad = |odd: &Odd| matches!(verdict(chunk, odd), Verdict::Stale | Verdict::Corrupt);
            self.map.odd(id).iter().any(|odd| odd.node == index && bad(odd))
        };
        let places = self.work.iter().filter(|(index, work)| {
            let there = self.is_known(cluster, *index) && !work.deletions.is_recalled(id, chunk.generation);
            let has_one = chunk.good().contains(index);
            // One on a disk that does not answer can't be relied on, and no other can come there.
            let counts_on = |index| self.is_on_healthy_disk(cluster, id, index);
            let counts = match self.map.classes().of(*index) {
                Class::Service if has_one => counts_on(*index),
                Class::Service => !in_the_way(*index) && self.has_room(cluster, *index, chunk, 0),
                Class::Leaving => has_one && counts_on(*index),
                Class::Maintenance => false,
            };
            there && counts
        });
        places.take(chunk.wanted()).count().max(1)
    }

    /// Whether a replica of the chunk fits on the node, of which so many bytes there are given up for it.
    fn has_room(&self, cluster: &Cluster, index: NodeIndex, chunk: &Chunk, given_up: u64) -> bool {
        let bytes = chunk.length().unwrap_or(0).saturating_sub(given_up);
        self.room(cluster, index, bytes) > 0
    }

    /// The bad replicas that may go: all once there are as many good ones as are wanted, else one that makes room for
    /// a copy, which shows that what is left can be read before the next one goes.
    fn bad_to_doom(&mut self, cluster: &Cluster, id: ChunkId, now: Millis) -> Vec<NodeIndex> {
        let odd = self.map.odd(id);
        let Some(chunk) = self.map.get(id).filter(|chunk| odd.iter().any(|odd| is_bad(chunk, odd))) else {
            return Vec::new();
        };
        let reliable = self.reliable(cluster, id, chunk).len();
        if reliable < self.floor(cluster, id, chunk) {
            return Vec::new();
        }
        let bad = odd.iter().filter(|odd| is_bad(chunk, odd));
        if reliable >= chunk.wanted() {
            let all = bad.map(|odd| odd.node).collect();
            self.owed.remove(&id);
            return all;
        }
        let good = chunk.good().len();
        if self.owed.get(&id).is_some_and(|owed| good <= owed.good && now < owed.until) {
            return Vec::new();
        }
        // Those of nodes that can't take a copy only go with the rest.
        let can_take = |odd: &&Odd| {
            cluster.get(odd.node).is_some_and(Node::is_target)
                && self.has_room(cluster, odd.node, chunk, odd.length)
        };
        let Some(one) = bad.filter(can_take).map(|odd| odd.node).next() else {
            return Vec::new();
        };
        self.owed.insert(id, Owed { good, until: now.plus(COPY_OWED) });
        vec![one]
    }

    /// Goes round the untidy chunks and dooms what may go.
    pub(super) fn tidy(&mut self, cluster: &Cluster, now: Millis) {
        if !self.decides() {
            return;
        }
        self.owed.retain(|_, owed| now < owed.until);
        for _ in 0..self.untidy.len().min(LOOKED_AT) {
            let Some(id) = self.untidy.next() else {
                return;
            };
            self.tidy_chunk(cluster, id, now);
        }
    }

    fn tidy_chunk(&mut self, cluster: &Cluster, id: ChunkId, now: Millis) {
        let mut doomed = self.bad_to_doom(cluster, id, now);
        let Some(chunk) = self.map.get(id) else {
            return;
        };
        // A copy under way may have read what would be deleted, and may fail.
        if !self.replication.copies.contains_key(&id) {
            let mut lasting = self.lasting(cluster, id, chunk);
            if lasting.len() >= chunk.wanted() {
                let firm: Vec<NodeIndex> = self.firm(id, chunk).collect();
                let recalled = chunk.good().iter().copied().filter(|index| !firm.contains(index));
                doomed.extend(recalled.filter(|index| self.is_reliable(cluster, *index)));
            }
            let moved_from = self.balancer.moved_from(id);
            while lasting.len() > chunk.wanted()
                && let Some(node) = Self::most_dispensable(cluster, &lasting, moved_from, now)
            {
                lasting.retain(|there| *there != node);
                doomed.push(node);
            }
        }
        for node in doomed {
            self.doom(id, node);
        }
        self.refile(cluster, id);
    }

    /// The node whose replica is missed least: the others are spread best, the balancer has moved it away, the node comes
    /// and goes, or is the fullest.
    pub(super) fn most_dispensable(
        cluster: &Cluster,
        nodes: &[NodeIndex],
        moved_from: Option<NodeIndex>,
        now: Millis,
    ) -> Option<NodeIndex> {
        let rank = |index: &NodeIndex| {
            let others = nodes.iter().filter(|other| *other != index);
            let places = others.filter_map(|other| cluster.get(*other)).map(Node::place);
            let node = cluster.get(*index);
            // Whoever was away once has as much right as others.
            let deaths = node.map_or(0, |node| node.recent_deaths(now).saturating_sub(1));
            let free = node.map_or(0, Node::free_share);
            (spread(places), moved_from == Some(*index), deaths, Reverse(free), *index)
        };
        nodes.iter().copied().max_by_key(rank)
    }

    fn doom(&mut self, id: ChunkId, node: NodeIndex) {
        if let Some(generation) = self.map.doom(id, node)
            && let Some(work) = self.work.get_mut(node)
        {
            work.deletions.add(id, generation);
        }
    }

    /// Replicas a node is told to delete now.
    pub(super) fn deletions_to_tell(
        &mut self,
        cluster: &Cluster,
        index: NodeIndex,
        now: Millis,
    ) -> Vec<(ChunkId, GenStamp)> {
        let (limit, retry) = (self.config.delete_batch, self.config.delete_retry);
        let Some(work) = self.work.get_mut(index) else {
            return Vec::new();
        };
        let mut telling = work.deletions.tell(limit, retry, now);
        telling.retain(|due| match self.sentence(cluster, due.chunk, index) {
            Sentence::Execute => true,
            Sentence::Wait => false,
            Sentence::Spare => {
                if let Some(work) = self.work.get_mut(index) {
                    work.deletions.take_back(*due);
                }
                self.map.spare(due.chunk, index);
                self.owed.remove(&due.chunk);
                self.refile(cluster, due.chunk);
                false
            }
        });
        telling.into_iter().map(|due| (due.chunk, due.generation)).collect()
    }

    /// Checks once more whether a replica that is to be deleted is not needed.
    fn sentence(&self, cluster: &Cluster, id: ChunkId, index: NodeIndex) -> Sentence {
        let Some(chunk) = self.map.get(id) else {
            return Sentence::Execute;
        };
        let Some(odd) = self.map.odd(id).iter().find(|odd| odd.node == index && odd.doomed) else {
            return Sentence::Wait;
        };
        let dispensable = match verdict(chunk, odd) {
            Verdict::Good => self.lasting(cluster, id, chunk).len() >= chunk.wanted(),
            Verdict::Stale | Verdict::Corrupt => {
                self.reliable(cluster, id, chunk).len() >= self.floor(cluster, id, chunk)
            }
            Verdict::Candidate => return Sentence::Spare,
        };
        if dispensable { Sentence::Execute } else { Sentence::Spare }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dfs_types::{GenStamp, NodeDuty, ReplicaState, VolumeHealth};

    use super::*;
    use crate::test_support::{GENERATION, LENGTH, Rig, node_id, record, stats};
    use crate::{Command, Event};

    /// Chunks node `n` is told to delete.
    fn deleted(rig: &mut Rig, n: u16) -> Vec<u64> {
        let commands = rig.core.take_commands(node_id(n), rig.now);
        let deleted = commands.into_iter().filter_map(|command| match command {
            Command::Delete { replicas } => Some(replicas),
            Command::Copy { .. } | Command::Recover { .. } => None,
        });
        deleted.flatten().map(|(chunk, _)| chunk.0).collect()
    }

    #[test]
    fn surplus_goes_where_it_is_missed_least() {
        let mut rig = Rig::default();
        for (n, host, available) in [(0, "a", 900), (1, "b", 500), (2, "b", 100), (3, "c", 50)] {
            let mut stats = stats(n);
            stats.address.host = host.into();
            stats.volumes[0].available = available << 20;
            rig.join(n, stats);
            rig.report(n, vec![]);
        }
        rig.add_chunk(10, LENGTH, 3);
        (0..4).for_each(|n| rig.changed(n, record(10, ReplicaState::Finalized)));
        rig.out_of_safe_mode();
        rig.run(Duration::from_millis(500), &[]);
        let told: Vec<_> = (0..4).map(|n| deleted(&mut rig, n)).collect();
        assert_eq!(told, [vec![], vec![], vec![10], vec![]], "two share host b, and 2 is the fuller");
        assert_eq!(rig.core.totals(rig.now).pending_deletions, 1);
        rig.gone(2, record(10, ReplicaState::Finalized));
        assert_eq!(rig.core.totals(rig.now).pending_deletions, 0);
        rig.check();
    }

    #[test]
    fn a_silent_nodes_replica_does_not_count_as_surplus() {
        let mut rig = Rig::with_nodes(4);
        rig.chunk(10, 3, &[0, 1, 2]);
        rig.out_of_safe_mode();
        rig.run(Duration::from_secs(7), &[0, 1, 3]);
        rig.changed(3, record(10, ReplicaState::Finalized));
        rig.run(Duration::from_secs(3), &[0, 1, 3]);
        let told: Vec<_> = (0..4).flat_map(|n| deleted(&mut rig, n)).collect();
        assert_eq!((told, rig.core.totals(rig.now).over_replicated), (vec![], 1));
        rig.run(Duration::from_secs(1), &[0, 1, 2, 3]);
        let told: Vec<_> = (0..4).flat_map(|n| deleted(&mut rig, n)).collect();
        assert_eq!(told, [10]);
        rig.check();
    }

    #[test]
    fn a_replica_on_a_disk_that_does_not_answer_makes_no_other_surplus() {
        let mut rig = Rig::with_nodes(4);
        rig.chunk(10, 3, &[0, 1, 2, 3]);
        rig.out_of_safe_mode();
        let said = |health| {
            let mut stats = stats(0);
            stats.volumes[0].health = health;
            Event::HeartbeatSeen { node: node_id(0), fence: crate::test_support::TERM, stats }
        };
        rig.apply(said(VolumeHealth::Suspect));
        rig.run(Duration::from_secs(2), &[0, 1, 2, 3]);
        let told: Vec<_> = (0..4).flat_map(|n| deleted(&mut rig, n)).collect();
        assert_eq!((told, rig.core.totals(rig.now).over_replicated), (vec![], 1));
        rig.apply(said(VolumeHealth::Healthy));
        rig.run(Duration::from_secs(2), &[0, 1, 2, 3]);
        let told: Vec<_> = (0..4).flat_map(|n| deleted(&mut rig, n)).collect();
        assert_eq!(told, [10]);
        rig.check();
    }

    #[test]
    fn a_disk_that_does_not_answer_keeps_no_bad_replica_in_the_way() {
        let mut rig = Rig::with_nodes(3);
        rig.chunk(10, 3, &[0, 1, 2]);
        rig.out_of_safe_mode();
        let mut slow = stats(0);
        slow.volumes[0].health = VolumeHealth::Suspect;
        rig.apply(Event::HeartbeatSeen { node: node_id(0), fence: crate::test_support::TERM, stats: slow });
        rig.changed(2, record(10, ReplicaState::Corrupt));
        rig.run(Duration::from_secs(2), &[0, 1, 2]);
        assert_eq!(deleted(&mut rig, 2), [10], "nowhere else is room for a third one");
        rig.gone(2, record(10, ReplicaState::Corrupt));
        rig.obey(10, &[0, 1, 2]);
        assert_eq!(rig.core.chunk(ChunkId(10)).unwrap().good.len(), 3);
        rig.check();
    }

    #[test]
    fn a_corrupt_replica_goes_only_after_enough_good_ones_exist() {
        let mut rig = Rig::with_nodes(4);
        rig.chunk(10, 3, &[0, 1]);
        rig.out_of_safe_mode();
        rig.corrupt(10, 0);
        assert_eq!(rig.core.chunk(ChunkId(10)).unwrap().corrupt, [node_id(0)]);
        rig.run(Duration::from_secs(2), &[0, 1, 2, 3]);
        assert_eq!(deleted(&mut rig, 0), [0_u64; 0]);
        rig.changed(2, record(10, ReplicaState::Finalized));
        rig.run(Duration::from_secs(1), &[0, 1, 2, 3]);
        assert_eq!(deleted(&mut rig, 0), [0_u64; 0], "a third can be made first");
        rig.changed(3, record(10, ReplicaState::Finalized));
        rig.run(Duration::from_secs(1), &[0, 1, 2, 3]);
        assert_eq!(deleted(&mut rig, 0), [10]);
        rig.check();
    }

    #[test]
    fn of_replicas_found_bad_one_after_the_other_none_goes() {
        let mut rig = Rig::with_nodes(5);
        let all = [0, 1, 2, 3, 4];
        rig.chunk(10, 3, &[0, 1, 2]);
        rig.out_of_safe_mode();
        for n in 0..3 {
            rig.changed(n, record(10, ReplicaState::Corrupt));
            // No copy comes about, as whoever shall send it finds its own replica bad.
            for _ in 0..4 {
                rig.run(Duration::from_millis(500), &all);
                let told: Vec<_> = all.iter().flat_map(|n| deleted(&mut rig, *n)).collect();
                assert_eq!(told, [0_u64; 0], "with {} found", n + 1);
            }
        }
        assert_eq!(rig.core.totals(rig.now).corrupt, 1);
        rig.check();
    }

    #[test]
    fn where_only_bad_ones_leave_room_one_goes_at_a_time() {
        let mut rig = Rig::with_nodes(3);
        let all = [0, 1, 2];
        rig.chunk(10, 3, &all);
        rig.out_of_safe_mode();
        (0..2).for_each(|n| rig.changed(n, record(10, ReplicaState::Corrupt)));
        rig.run(Duration::from_secs(1), &all);
        let gone: Vec<u16> = (0..3).filter(|n| !deleted(&mut rig, *n).is_empty()).collect();
        assert_eq!(gone.len(), 1);
        rig.gone(gone[0], record(10, ReplicaState::Corrupt));
        rig.run(Duration::from_secs(1), &all);
        let told: Vec<_> = all.iter().flat_map(|n| deleted(&mut rig, *n)).collect();
        assert_eq!(told, [0_u64; 0], "the copy that shows what is left as readable comes first");
        rig.check();
    }

    #[test]
    fn a_copy_that_does_not_come_about_takes_no_further_bad_one_along() {
        let mut rig = Rig::with_nodes(1);
        for n in 1..3 {
            let mut full = stats(n);
            full.volumes[0].available = 0;
            rig.join(n, full);
            rig.report(n, vec![]);
        }
        let all = [0, 1, 2];
        rig.chunk(10, 3, &all);
        rig.out_of_safe_mode();
        (1..3).for_each(|n| rig.changed(n, record(10, ReplicaState::Corrupt)));
        rig.run(Duration::from_secs(1), &all);
        let gone: Vec<u16> = (1..3).filter(|n| !deleted(&mut rig, *n).is_empty()).collect();
        assert_eq!(gone.len(), 1);
        rig.gone(gone[0], record(10, ReplicaState::Corrupt));
        // The room that it had is not told of for a while.
        rig.run(Duration::from_mins(1), &all);
        let told: Vec<_> = all.iter().flat_map(|n| deleted(&mut rig, *n)).collect();
        assert_eq!(told, [0_u64; 0]);
        rig.check();
    }

    #[test]
    fn a_bad_replica_on_a_node_in_maintenance_is_not_waited_for() {
        let mut rig = Rig::with_nodes(3);
        rig.chunk(10, 3, &[0, 1, 2]);
        rig.out_of_safe_mode();
        let until = rig.now.plus(Duration::from_hours(5));
        rig.apply(Event::DutySet { node: node_id(0), duty: NodeDuty::Maintenance { until } });
        rig.changed(0, record(10, ReplicaState::Corrupt));
        rig.run(Duration::from_secs(20), &[1, 2]);
        rig.changed(1, record(10, ReplicaState::Corrupt));
        rig.run(Duration::from_secs(2), &[1, 2]);
        assert_eq!(deleted(&mut rig, 1), [10]);
        assert_eq!(deleted(&mut rig, 0), [0_u64; 0], "it could not take the copy");
        rig.check();
    }

    #[test]
    fn a_node_without_room_is_no_place_to_wait_for() {
        let mut rig = Rig::with_nodes(2);
        let mut full = stats(2);
        full.volumes[0].available = LENGTH / 2;
        rig.join(2, full);
        rig.report(2, vec![]);
        rig.chunk(10, 3, &[0, 1]);
        rig.out_of_safe_mode();
        rig.corrupt(10, 0);
        rig.run(Duration::from_secs(1), &[0, 1, 2]);
        assert_eq!(deleted(&mut rig, 0), [10], "its own room is needed for the copy");
        rig.check();
    }

    #[test]
    fn a_corrupt_replica_stays_so_until_it_is_replaced() {
        let mut rig = Rig::with_nodes(2);
        rig.chunk(10, 2, &[0, 1]);
        rig.out_of_safe_mode();
        rig.corrupt(10, 0);
        rig.gone(1, record(10, ReplicaState::Finalized));
        rig.report(0, vec![record(10, ReplicaState::Finalized)]);
        rig.run(Duration::from_secs(20), &[1]);
        rig.beat(&[0]);
        rig.report(0, vec![record(10, ReplicaState::Finalized)]);
        let totals = rig.core.totals(rig.now);
        assert_eq!((totals.corrupt, totals.missing), (1, 0), "even after the node was dead");
        rig.run(Duration::from_secs(100), &[0, 1]);
        assert_eq!(deleted(&mut rig, 0), [0_u64; 0], "the only one is never deleted");
        rig.gone(0, record(10, ReplicaState::Finalized));
        rig.changed(0, record(10, ReplicaState::Finalized));
        assert_eq!(rig.core.totals(rig.now).corrupt, 0);
        rig.check();
    }

    #[test]
    fn a_node_knows_best_when_damage_it_found_itself_is_over() {
        let mut rig = Rig::with_nodes(2);
        rig.chunk(10, 2, &[0, 1]);
        rig.corrupt(10, 0);
        rig.changed(0, record(10, ReplicaState::Corrupt));
        assert_eq!(rig.core.chunk(ChunkId(10)).unwrap().corrupt, [node_id(0)]);
        // Its replacement was ordered by another NameNode while this one did not hear of the node.
        rig.report(0, vec![record(10, ReplicaState::Finalized)]);
        assert_eq!(rig.core.chunk(ChunkId(10)).unwrap().good.len(), 2);
        rig.check();
    }

    #[test]
    fn stale_replicas_go_and_removed_chunks_too() {
        let mut rig = Rig::with_nodes(3);
        rig.chunk(10, 2, &[0, 1]);
        rig.chunk(11, 2, &[0, 1]);
        let mut stale = record(10, ReplicaState::Rwr);
        stale.generation = GenStamp(GENERATION.0 - 1);
        rig.changed(2, stale);
        rig.apply(Event::ChunkRemoved { chunk: ChunkId(11) });
        rig.run(Duration::from_secs(1), &[0, 1, 2]);
        assert_eq!(deleted(&mut rig, 2), [0_u64; 0], "nothing is deleted in safe mode");
        rig.out_of_safe_mode();
        rig.run(Duration::from_secs(1), &[0, 1, 2]);
        assert_eq!([deleted(&mut rig, 0), deleted(&mut rig, 1), deleted(&mut rig, 2)], [[11], [11], [10]]);
        rig.check();
    }

    #[test]
    fn unknown_chunks_are_deleted_but_not_those_from_the_future() {
        let mut rig = Rig::with_nodes(1);
        rig.core.set_next_chunk(ChunkId(100));
        rig.out_of_safe_mode();
        rig.report(0, vec![record(99, ReplicaState::Finalized), record(100, ReplicaState::Finalized)]);
        assert_eq!(rig.core.totals(rig.now).quarantined, 1);
        rig.run(Duration::from_secs(1), &[0]);
        assert_eq!(deleted(&mut rig, 0), [99]);
        rig.check();
    }

    #[test]
    fn what_was_made_in_a_lost_future_is_kept_and_never_taken_for_good() {
        let mut rig = Rig::with_nodes(2);
        rig.core.set_next_chunk(ChunkId(300));
        rig.core.add_lost_chunks(ChunkId(100)..ChunkId(200));
        rig.core.add_lost_chunks(ChunkId(210)..ChunkId(220));
        rig.out_of_safe_mode();
        let finalized = |chunk| record(chunk, ReplicaState::Finalized);
        let ids = [99, 100, 199, 200, 209, 210, 219, 220, 299, 300];
        rig.report(0, ids.map(finalized).to_vec());
        for id in ids {
            rig.changed(1, finalized(id));
        }
        rig.run(Duration::from_secs(1), &[0, 1]);
        for node in 0..2 {
            assert_eq!(deleted(&mut rig, node), [99, 200, 209, 220, 299]);
        }
        assert_eq!(rig.core.totals(rig.now).quarantined, 10);
        // A file of the restored namespace gets ids that nobody had before.
        rig.chunk(300, 1, &[0]);
        assert_eq!(rig.core.totals(rig.now).quarantined, 8);
        assert!(rig.core.chunk(ChunkId(100)).is_none());
        rig.check();
    }

    #[test]
    fn a_doomed_replica_that_is_needed_again_is_spared() {
        let mut rig = Rig::with_nodes(3);
        rig.chunk(10, 1, &[0, 1]);
        rig.out_of_safe_mode();
        rig.run(Duration::from_millis(500), &[0, 1, 2]);
        let doomed = (0..2).find(|n| rig.core.is_doomed(10, *n)).unwrap();
        rig.changed(1 - doomed, record(10, ReplicaState::Corrupt));
        assert_eq!(deleted(&mut rig, doomed), [0_u64; 0]);
        assert_eq!(rig.core.chunk(ChunkId(10)).unwrap().good, [node_id(doomed)]);
        rig.check();
    }

    #[test]
    fn bad_replicas_on_every_other_node_make_room_for_good_ones() {
        for (nodes, bad) in [(2, 1), (3, 2)] {
            let mut rig = Rig::with_nodes(nodes);
            let all: Vec<u16> = (0..nodes).collect();
            rig.chunk(10, u32::from(nodes), &all);
            rig.out_of_safe_mode();
            for n in 0..bad {
                rig.changed(n, record(10, ReplicaState::Corrupt));
            }
            rig.obey(300, &all);
            let view = rig.core.chunk(ChunkId(10)).unwrap();
            assert_eq!((view.good.len(), view.corrupt.len()), (all.len(), 0), "{nodes} nodes");
        }
    }

    #[test]
    fn without_a_reliable_good_replica_no_bad_one_goes() {
        let mut rig = Rig::with_nodes(2);
        rig.chunk(10, 2, &[0, 1]);
        rig.out_of_safe_mode();
        rig.changed(1, record(10, ReplicaState::Corrupt));
        // Silent, but not dead: its replica still counts as good.
        rig.run(Duration::from_secs(7), &[1]);
        assert_eq!(deleted(&mut rig, 1), [0_u64; 0]);
        rig.run(Duration::from_secs(1), &[0, 1]);
        assert_eq!(deleted(&mut rig, 1), [10]);
    }

    #[test]
    fn a_readers_word_does_not_take_the_last_replica() {
        let mut rig = Rig::with_nodes(2);
        rig.chunk(10, 2, &[0, 1]);
        rig.open_chunk(11, 2, &[]);
        rig.changed(0, record(11, ReplicaState::Rbw));
        rig.changed(1, record(11, ReplicaState::Rbw));
        for chunk in [10, 11] {
            rig.corrupt(chunk, 0);
            rig.corrupt(chunk, 1);
            let located = rig.core.locate(ChunkId(chunk), None, rig.now);
            let nodes: Vec<_> = located.iter().map(|target| target.node).collect();
            assert_eq!(nodes, [node_id(1)], "chunk {chunk}");
            rig.changed(1, record(chunk, ReplicaState::Corrupt));
            assert_eq!(rig.core.locate(ChunkId(chunk), None, rig.now), []);
        }
        rig.check();
    }

    /// Chunk 10, of which one replica is wanted, after an order to delete its second one was told, not carried out
    /// and recalled because the other node was dead. Answers the node that was told.
    fn recalled(rig: &mut Rig) -> u16 {
        rig.chunk(10, 1, &[0, 1]);
        rig.out_of_safe_mode();
        rig.run(Duration::from_millis(500), &[0, 1]);
        let told = (0..2).find(|n| !deleted(rig, *n).is_empty()).unwrap();
        rig.run(Duration::from_secs(61), &[told]);
        assert_eq!(deleted(rig, told), [0_u64; 0]);
        assert_eq!(rig.core.chunk(ChunkId(10)).unwrap().good, [node_id(told)]);
        told
    }

    #[test]
    fn a_recalled_order_may_still_be_carried_out() {
        let mut rig = Rig::with_nodes(2);
        let told = recalled(&mut rig);
        rig.corrupt(10, told);
        rig.beat(&[1 - told]);
        rig.report(1 - told, vec![record(10, ReplicaState::Finalized)]);
        rig.corrupt(10, 1 - told);
        rig.run(Duration::from_secs(1), &[0, 1]);
        assert!(!rig.core.is_doomed(10, 1 - told), "it would be the last one");
        assert!(rig.core.is_doomed(10, told));
        rig.check();
        rig.gone(told, record(10, ReplicaState::Finalized));
        assert_eq!(rig.core.chunk(ChunkId(10)).unwrap().good, [node_id(1 - told)]);
        rig.check();
    }

    #[test]
    fn a_recalled_replica_is_copied_and_then_goes() {
        let mut rig = Rig::with_nodes(3);
        let told = recalled(&mut rig);
        rig.beat(&[2]);
        rig.report(2, vec![]);
        rig.obey(120, &[told, 2]);
        assert_eq!(rig.core.chunk(ChunkId(10)).unwrap().good, [node_id(2)]);
    }

    #[test]
    fn another_process_knows_no_recalled_orders() {
        let mut rig = Rig::with_nodes(2);
        let told = recalled(&mut rig);
        rig.rejoin(told, 2);
        rig.report(told, vec![record(10, ReplicaState::Finalized)]);
        rig.run(Duration::from_secs(20), &[told]);
        assert_eq!(rig.core.totals(rig.now).pending_copies, 0);
        assert_eq!(rig.core.namespace().replication.queued(), 0, "it counts again");
        rig.check();
    }

    #[test]
    fn an_order_the_node_may_have_does_not_count_as_a_replica_again() {
        let mut rig = Rig::with_nodes(2);
        rig.chunk(10, 1, &[0, 1]);
        rig.out_of_safe_mode();
        rig.run(Duration::from_millis(500), &[0, 1]);
        let told = (0..2).find(|n| !deleted(&mut rig, *n).is_empty()).unwrap();
        // The node is dead for a while, comes back, and has not got round to deleting yet.
        rig.run(Duration::from_secs(16), &[1 - told]);
        rig.beat(&[told]);
        rig.report(told, vec![record(10, ReplicaState::Finalized)]);
        assert_eq!(rig.core.chunk(ChunkId(10)).unwrap().good, [node_id(1 - told)]);
        rig.run(Duration::from_secs(1), &[0, 1]);
        assert_eq!(deleted(&mut rig, 1 - told), [0_u64; 0]);
        rig.check();
    }
}
