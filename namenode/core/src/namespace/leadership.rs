//! Following and leading.
//!
//! A NameNode that follows takes in edits and reports, so that it knows the chunk map at once when it is to lead, but
//! it orders nothing. Orders of earlier leaders may still be on their way to DataNodes when a new one begins: what a
//! node had then may be deleted by them. So a node's replicas justify no deletion until the node is *settled*: it has
//! said that it obeys nobody older, and after that what it has.
//!
//! ```text
//!             LeadershipTaken{T}                        heartbeat: fence >= T       full report: fence >= T
//!  following ------------------> leading, all unsettled ---------------------> (a report is wanted) -----> settled in T
//!      ^------ LeadershipLost ------'
//! ```

use dfs_types::{ChunkId, Millis, NodeId};

use super::Namespace;
use super::node_work::{NodeWork, Streams};
use crate::cluster::{Cluster, NodeIndex};

impl Namespace {
    /// The term in which this NameNode leads; `None` while it follows.
    pub(crate) fn leads(&self) -> Option<u64> {
        self.term
    }

    /// Whether anything is decided at all: it is not while another NameNode leads, nor in safe mode.
    pub(super) fn decides(&self) -> bool {
        self.term.is_some() && !self.safe_mode.is_on()
    }

    pub(crate) fn leadership_taken(&mut self, cluster: &Cluster, term: u64, now: Millis) {
        self.forget_orders();
        self.term = Some(term);
        // Renewals went to the earlier leader.
        self.leases.renew_all(now);
        self.refile_all(cluster);
    }

    pub(crate) fn leadership_lost(&mut self, cluster: &Cluster) {
        self.term = None;
        self.forget_orders();
        self.refile_all(cluster);
    }

    /// Nodes will not carry out what is ordered but not done: it belongs to an earlier term. What readers said goes
    /// too: another leader may act, and this one not see all of it.
    fn forget_orders(&mut self) {
        self.recoveries.clear();
        self.replication.copies.clear();
        self.replication.running = Streams::default();
        self.balancer.forget_moves();
        self.owed.clear();
        self.promises.forget();
        let mut spared = Vec::new();
        for (index, work) in self.work.iter_mut() {
            (work.sending, work.receiving, work.moving) = (Streams::default(), Streams::default(), 0);
            work.copy_orders.clear();
            work.recovery_orders.clear();
            work.corrupt.clear();
            spared.extend(work.deletions.forget().into_iter().map(|chunk| (index, chunk)));
        }
        for (index, chunk) in spared {
            self.map.spare(chunk, index);
        }
    }

    /// Whether what is known of the node's replicas can no longer be changed by an earlier leader's orders.
    pub(super) fn is_settled_node(&self, work: &NodeWork) -> bool {
        self.term.is_some_and(|term| work.fence >= term && work.reported_fence >= term)
    }

    /// Whether a node's replicas can be relied on when others are to be deleted.
    pub(super) fn is_reliable(&self, cluster: &Cluster, index: NodeIndex) -> bool {
        self.is_known(cluster, index) && self.work.get(index).is_some_and(|work| self.is_settled_node(work))
    }

    /// Whether the node is registered and its full report is not in, or may have been overtaken by orders of an
    /// earlier leader that it no longer obeys.
    pub(crate) fn owes_report(&self, cluster: &Cluster, node: NodeId) -> bool {
        cluster.find(node).and_then(|index| self.work.get(index)).is_some_and(|work| {
            let fenced = self.term.is_some_and(|term| work.fence >= term);
            !work.reported || (fenced && !self.is_settled_node(work))
        })
    }

    /// From which chunk on the node shall go on with its full report, if it owes one and it is its turn. Few report at
    /// the same time: slices wait for each other, and everything else waits for them. A turn passes when nothing comes of it.
    /// What a dead node says counts only after its heartbeats are back.
    pub(crate) fn wants_report(&mut self, cluster: &Cluster, node: NodeId, now: Millis) -> Option<ChunkId> {
        let index = cluster.find(node)?;
        if cluster.is_dead(index) || !self.owes_report(cluster, node) {
            self.end_turn(index);
            return None;
        }
        let patience = self.config.report_patience;
        for (late, _) in self.turns.extract_if(.., |(_, since)| now.since(*since) >= patience) {
            if let Some(work) = self.work.get_mut(late) {
                work.passed = Some(now);
            }
        }
        let work = self.work.get(index)?;
        let has_turn = self.turns.iter().any(|(other, _)| *other == index);
        let waits = work.passed.is_some_and(|passed| now.since(passed) < patience);
        if !has_turn && (waits || self.turns.len() >= self.config.report_turns) {
            return None;
        }
        let next = work.intake.next();
        if !has_turn {
            self.turns.push((index, now));
        }
        Some(next)
    }

    /// A slice of the node's report came: it keeps its turn.
    pub(super) fn keep_turn(&mut self, index: NodeIndex, now: Millis) {
        if let Some((_, since)) = self.turns.iter_mut().find(|(other, _)| *other == index) {
            *since = now;
        }
    }

    pub(super) fn end_turn(&mut self, index: NodeIndex) {
        self.turns.retain(|(other, _)| *other != index);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dfs_types::{ChunkId, GenStamp, InodeId, ReplicaState};

    use crate::test_support::{GENERATION, Rig, TERM, node_id, record, stats};
    use crate::{Command, Effect, Event};

    const NEXT: u64 = TERM + 1;

    fn commands(rig: &mut Rig, nodes: u16) -> Vec<Command> {
        (0..nodes).flat_map(|n| rig.core.take_commands(node_id(n), rig.now)).collect()
    }

    /// Everything there is to decide: a copy, a surplus replica, a stale one, garbage, a recovery, an old lease.
    fn busy() -> Rig {
        let mut rig = Rig::with_nodes(4);
        rig.chunk(10, 2, &[0]);
        rig.chunk(11, 1, &[0, 1]);
        rig.chunk(12, 1, &[2]);
        rig.changed(3, record(12, ReplicaState::Corrupt));
        rig.chunk(13, 1, &[3]);
        rig.open_chunk(14, 1, &[1]);
        rig.apply(Event::LeaseTaken { inode: InodeId(1), holder: "a".into() });
        rig.out_of_safe_mode();
        rig
    }

    fn want_recovery(rig: &mut Rig) {
        rig.apply(Event::RecoveryWanted {
            chunk: ChunkId(14),
            new_generation: GenStamp(GENERATION.0 + 1),
            acknowledged: 0,
            pipeline: Vec::new(),
        });
    }

    #[test]
    fn a_follower_decides_nothing() {
        let all = [0, 1, 2, 3];
        let mut rig = busy();
        rig.apply(Event::LeadershipLost);
        rig.apply(Event::ChunkRemoved { chunk: ChunkId(13) });
        want_recovery(&mut rig);
        let effects = rig.run(Duration::from_mins(10), &all);
        assert_eq!((effects, commands(&mut rig, 4)), (vec![], vec![]));
        let totals = rig.core.totals(rig.now);
        assert_eq!((totals.pending_copies, totals.pending_deletions), (0, 0));
        assert_eq!((rig.core.leads(), totals.over_replicated), (None, 1), "but it knows");
        rig.check();
    }

    #[test]
    fn a_new_leader_decides_from_what_it_knows() {
        let all = [0, 1, 2, 3];
        let mut rig = busy();
        rig.apply(Event::LeadershipLost);
        rig.run(Duration::from_mins(10), &all);
        rig.apply(Event::LeadershipTaken { term: NEXT });
        assert_eq!(rig.core.leads(), Some(NEXT));
        want_recovery(&mut rig);
        let effects = rig.run(Duration::from_secs(2), &all);
        assert!(
            !effects.iter().any(|effect| matches!(effect, Effect::LeaseExpired { .. })),
            "it was renewed"
        );
        let kinds: Vec<_> = commands(&mut rig, 4).into_iter().collect();
        assert!(kinds.iter().any(|command| matches!(command, Command::Copy { .. })), "{kinds:?}");
        assert!(kinds.iter().any(|command| matches!(command, Command::Recover { .. })), "{kinds:?}");
        assert!(!kinds.iter().any(|command| matches!(command, Command::Delete { .. })), "{kinds:?}");
        rig.check();
    }

    #[test]
    fn nothing_is_deleted_because_of_a_node_that_may_obey_an_older_leader() {
        let mut rig = Rig::with_nodes(2);
        rig.chunk(11, 1, &[0, 1]);
        rig.out_of_safe_mode();
        rig.apply(Event::LeadershipTaken { term: NEXT });
        let both = [0, 1];
        rig.run(Duration::from_secs(30), &both);
        assert_eq!(commands(&mut rig, 2), [], "their heartbeats tell the old fence");
        assert!(!rig.core.owes_report(node_id(0)), "a report would be too early");
        rig.fence = NEXT;
        rig.run(Duration::from_secs(1), &both);
        assert!(rig.core.owes_report(node_id(0)) && rig.core.owes_report(node_id(1)));
        let replicas = vec![record(11, ReplicaState::Finalized)];
        for n in both {
            // A report that began before the fence rose, and a proper one.
            rig.report_as(n, TERM, replicas.clone());
            assert!(rig.core.owes_report(node_id(n)));
            rig.run(Duration::from_secs(1), &both);
            assert_eq!(commands(&mut rig, 2), []);
            rig.report(n, replicas.clone());
            assert!(!rig.core.owes_report(node_id(n)));
        }
        rig.run(Duration::from_secs(1), &both);
        assert!(matches!(commands(&mut rig, 2)[..], [Command::Delete { .. }]));
        rig.check();
    }

    #[test]
    fn orders_of_an_earlier_leadership_are_forgotten() {
        let mut rig = busy();
        want_recovery(&mut rig);
        rig.run(Duration::from_secs(1), &[0, 1, 2, 3]);
        let told = rig.core.take_commands(node_id(0), rig.now);
        assert!(!told.is_empty());
        let before = rig.core.totals(rig.now);
        assert!(before.pending_copies == 1 && before.pending_deletions > 0, "{before:?}");
        rig.apply(Event::LeadershipTaken { term: NEXT });
        let after = rig.core.totals(rig.now);
        assert_eq!((after.pending_copies, after.pending_deletions), (0, 0));
        assert_eq!(rig.core.chunk(ChunkId(11)).unwrap().good.len(), 2, "it may be there for long");
        assert_eq!(commands(&mut rig, 4), []);
        rig.check();
    }

    #[test]
    fn another_process_of_a_node_is_unsettled_again() {
        let mut rig = Rig::with_nodes(2);
        rig.chunk(11, 1, &[0, 1]);
        let replicas = vec![record(11, ReplicaState::Finalized)];
        rig.out_of_safe_mode();
        for n in [0, 1] {
            let (node, version) = (node_id(n), "1".to_owned());
            rig.apply(Event::Registered { node, incarnation: 2, version, stats: stats(n) });
            rig.report_as(n, 0, replicas.clone());
        }
        assert!(!rig.core.owes_report(node_id(0)));
        for n in [0, 1] {
            rig.run(Duration::from_secs(1), &[0, 1]);
            assert!(rig.core.owes_report(node_id(n)));
            assert_eq!(commands(&mut rig, 2), []);
            rig.report(n, replicas.clone());
        }
        rig.run(Duration::from_secs(1), &[0, 1]);
        assert!(matches!(commands(&mut rig, 2)[..], [Command::Delete { .. }]));
        rig.check();
    }
}
