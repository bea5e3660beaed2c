//! What belongs to a namespace: its chunks and who holds them, its leases, and what is to be done for them.
//!
//! It looks at the [`Cluster`] and never changes it.

mod balancer;
mod chunk_map;
mod chunk_set;
mod chunk_table;
mod commands;
mod copies;
mod deletion;
mod duty;
mod intake;
mod invariants;
mod leadership;
mod lease;
mod node_list;
mod node_work;
mod nodes;
mod placement;
mod promises;
mod quarantine;
mod recovery;
mod replication;
mod reports;
mod review;
mod ring;
mod safemode;
mod tally;
mod targets;
mod views;

use std::collections::VecDeque;
use std::ops::Range;

use dfs_types::{ChunkId, GenStamp, InodeId, Millis, NodeId, SafeModeStatus};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use self::balancer::Balancer;
use self::chunk_map::ChunkMap;
use self::chunk_set::ChunkSet;
use self::deletion::Owed;
use self::duty::Dependents;
use self::lease::Leases;
use self::node_work::{Awaited, NodeWork, Work};
pub use self::placement::{Placement, PlacementError, PlacementRequest};
use self::promises::Promises;
pub use self::promises::Ticket;
use self::recovery::Recoveries;
use self::replication::Replication;
use self::review::{Reviews, Why};
use self::ring::Ring;
use self::safemode::{SafeMode, needed};
use self::targets::Terrain;
use crate::cluster::{Cluster, Found, Heard, NodeIndex};
use crate::hash::{IdMap, IdSet};
use crate::{Balancing, Config, Effect, NodeState};

/// A namespace's chunks, leases and plans.
#[derive(Debug)]
pub(crate) struct Namespace {
    config: Config,
    rng: Xoshiro256PlusPlus,
    map: ChunkMap,
    /// What each node reported, and what it is to do.
    work: Work,
    safe_mode: SafeMode,
    /// The term in which this NameNode leads, if it does.
    term: Option<u64>,
    leases: Leases,
    replication: Replication,
    /// Chunks with replicas to delete.
    untidy: Ring,
    /// Chunks for which a copy is waited for before a further bad replica goes.
    owed: IdMap<ChunkId, Owed>,
    recoveries: Recoveries,
    /// Chunks committed lately, and until when they are left alone; in this order.
    settling: VecDeque<(Millis, ChunkId)>,
    /// How many nodes are expected to report a chunk again.
    expected: IdMap<ChunkId, u16>,
    /// Chunks of which some node may have a replica in quarantine.
    foreign: IdSet<ChunkId>,
    reviews: Reviews,
    terrain: Terrain,
    dependents: Dependents,
    balancer: Balancer,
    promises: Promises,
    /// Nodes whose turn it is to report, and when they last got on with it.
    turns: Vec<(NodeIndex, Millis)>,
}

impl Namespace {
    /// An empty one that follows, in safe mode.
    pub(crate) fn new(config: Config, seed: u64) -> Self {
        Self {
            map: ChunkMap::new(config.maintenance_min_replicas as usize),
            config,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            work: Work::default(),
            safe_mode: SafeMode::new(),
            term: None,
            leases: Leases::default(),
            replication: Replication::default(),
            untidy: Ring::default(),
            owed: IdMap::default(),
            recoveries: Recoveries::new(),
            settling: VecDeque::new(),
            expected: IdMap::default(),
            foreign: IdSet::default(),
            reviews: Reviews::default(),
            terrain: Terrain::default(),
            dependents: Dependents::default(),
            balancer: Balancer::default(),
            promises: Promises::default(),
            turns: Vec::new(),
        }
    }

    /// All chunks were told.
    pub(crate) fn loaded(&mut self, cluster: &Cluster, now: Millis) {
        self.safe_mode.loaded();
        self.check_safe_mode(cluster, now);
    }

    /// Every chunk ever made has an id below `next`.
    pub(crate) fn set_next_chunk(&mut self, next: ChunkId) {
        self.map.raise_next(next);
    }

    /// Chunks with these ids may have been made in a future that was lost.
    pub(crate) fn add_lost_chunks(&mut self, ids: Range<ChunkId>) {
        self.map.add_lost(ids);
    }

    /// A node has come into the cluster's table.
    pub(crate) fn joined(&mut self, cluster: &Cluster, index: NodeIndex) {
        self.work.add(index);
        if let Some(node) = cluster.get(index) {
            self.map.set_class(index, node.duty().into());
        }
    }

    /// Another process of the same node: what it holds is unknown until it reports, but most likely what it held.
    pub(crate) fn process_replaced(&mut self, cluster: &Cluster, index: NodeIndex, now: Millis) {
        self.end_death_reviews(index);
        self.end_copies_of(cluster, index);
        self.promises.forget_node(index);
        self.end_turn(index);
        let held = self.map.forget_node(index);
        let mut chunks = held.clone();
        chunks.append(self.end_expectation(index));
        self.expect(&chunks);
        let Some(work) = self.work.get_mut(index) else {
            return;
        };
        let until = now.plus(self.config.report_grace);
        *work = NodeWork {
            duty_done: work.duty_done,
            checked: work.checked,
            depending: work.depending,
            reviews: work.reviews,
            awaited: (!chunks.is_empty()).then_some(Awaited { until, chunks }),
            ..NodeWork::default()
        };
        for id in held.iter() {
            self.refile(cluster, id);
        }
    }

    /// A node was heard of, and says which leaders it obeys and up to which change it tells its free space.
    pub(crate) fn heard(&mut self, cluster: &Cluster, heard: &Heard, fence: u64, as_of: u64) {
        let Heard { index, was, moved } = *heard;
        if let Some(work) = self.work.get_mut(index) {
            work.fence = work.fence.max(fence);
        }
        self.promises.shown(index, as_of);
        if was == NodeState::Dead {
            self.end_death_reviews(index);
        }
        if moved && self.decides() {
            self.survey(cluster);
            self.review(index, Why::Changed, Vec::new());
        }
    }

    /// What the cluster's tick found out.
    pub(crate) fn nodes_changed(
        &mut self,
        cluster: &Cluster,
        found: &Found,
        now: Millis,
        effects: &mut Vec<Effect>,
    ) {
        self.leases.forgive(found.stalled);
        if found.storm {
            self.replication.storm_until = now.plus(self.config.restart_grace);
        }
        for (index, _) in &found.changed {
            let Some((node, state)) = cluster.get(*index).map(|node| (node.id(), node.state())) else {
                continue;
            };
            if state == NodeState::Dead {
                self.died(cluster, *index);
            }
            effects.push(Effect::NodeChanged { node, state });
        }
    }

    /// A dead node's place in the cluster's table is to be given up; `false`: not yet.
    pub(crate) fn let_go(&mut self, cluster: &Cluster, index: NodeIndex) -> bool {
        if self.is_under_review(index) {
            return false;
        }
        let pipelined: Vec<ChunkId> = self.map.pipelined(index).collect();
        self.map.drop_from_pipelines(index);
        for id in pipelined {
            self.refile(cluster, id);
        }
        // In safe mode that noted nothing, and the node is gone for good.
        let depending = self.dependents.iter().filter(|(_, nodes)| nodes.contains(index));
        let depending: Vec<ChunkId> = depending.map(|(id, _)| *id).collect();
        for id in depending {
            self.note_dependents(id);
        }
        self.forget_in_recoveries(index);
        self.map.set_class(index, tally::Class::Service);
        self.promises.forget_node(index);
        self.end_turn(index);
        self.work.remove(index);
        true
    }

    /// Time passed.
    pub(crate) fn tick(&mut self, cluster: &Cluster, now: Millis, effects: &mut Vec<Effect>) {
        self.end_waits(cluster, now);
        self.end_overdue_copies(cluster, now);
        self.promises.expire(now);
        if self.decides() {
            let expired = self.leases.expired(self.config.lease_hard_limit, now);
            effects.extend(expired.into_iter().map(|(inode, holder)| Effect::LeaseExpired { inode, holder }));
        }
        self.drive_recoveries(cluster, now, effects);
        let proven = self.go_on_reviewing(cluster);
        self.further_duties(cluster, &proven, now, effects);
        self.survey(cluster);
        self.watch_moves(now);
        self.tidy(cluster, now);
        self.plan_copies(cluster, now);
        self.plan_moves(cluster, now, effects);
    }

    /// There is a chunk of this generation and, if it is committed, length.
    pub(crate) fn added(
        &mut self,
        cluster: &Cluster,
        id: ChunkId,
        (generation, length): (GenStamp, Option<u64>),
        replicas: u32,
        effects: &mut Vec<Effect>,
    ) {
        self.map.add(id, generation, length, replicas);
        self.end_quarantine(cluster, id, effects);
    }

    /// A chunk being written has a new version.
    pub(crate) fn generation_changed(&mut self, cluster: &Cluster, id: ChunkId, generation: GenStamp) {
        self.map.set_generation(id, generation);
        self.refile(cluster, id);
    }

    /// More or fewer replicas of a chunk are wanted.
    pub(crate) fn replication_changed(&mut self, cluster: &Cluster, id: ChunkId, replicas: u32) {
        self.map.set_replication(id, replicas);
        self.refile(cluster, id);
    }

    /// A chunk being written is written to these nodes.
    pub(crate) fn pipeline_set(&mut self, cluster: &Cluster, id: ChunkId, nodes: &[NodeId]) {
        let nodes: Vec<NodeIndex> = nodes.iter().filter_map(|node| cluster.find(*node)).collect();
        self.promises.keep_only(id, &nodes);
        self.map.set_pipeline(id, nodes);
        self.refile(cluster, id);
    }

    /// A file was opened for writing.
    pub(crate) fn lease_taken(&mut self, inode: InodeId, holder: String, now: Millis) {
        self.leases.take(inode, holder, now);
    }

    /// A holder of leases is alive.
    pub(crate) fn lease_renewed(&mut self, holder: &str, now: Millis) {
        self.leases.renew(holder, now);
    }

    /// A file is closed or gone.
    pub(crate) fn lease_released(&mut self, inode: InodeId) {
        self.leases.release(inode);
    }

    /// The balancer is started, or stopped.
    pub(crate) fn set_balancer(&mut self, settings: Option<Balancing>, now: Millis) {
        self.balancer.set(settings, now);
    }

    /// An administrator switched safe mode.
    pub(crate) fn set_safe_mode(&mut self, cluster: &Cluster, on: bool, now: Millis) {
        if self.safe_mode.set(on, self.term.is_some()) {
            self.safe_mode_ended(cluster, now);
        }
    }

    /// Whether safe mode is on, if that has changed since this was asked last.
    pub(crate) fn announce_safe_mode(&mut self) -> Option<bool> {
        self.safe_mode.announce()
    }

    /// A chunk has a length from now on.
    pub(crate) fn committed(
        &mut self,
        cluster: &Cluster,
        id: ChunkId,
        (generation, length): (GenStamp, u64),
        now: Millis,
        effects: &mut Vec<Effect>,
    ) {
        self.recoveries.remove(&id);
        if !self.map.commit(id, generation, length) {
            // Committed before, and opened again since: nothing more is written to it.
            self.promises.close(id);
            return;
        }
        let until = now.plus(self.config.finalize_grace);
        self.map.settle(id, until);
        self.settling.push_back((until, id));
        self.settle_early(cluster, id);
        self.refile(cluster, id);
        if self.map.finalized(id, generation) > 0 {
            effects.push(Effect::ReplicaGained { chunk: id });
        }
    }

    /// A committed chunk is left alone only as long as a node of its pipeline may still report its replica. Answers whether
    /// that is over now.
    fn settle_early(&mut self, cluster: &Cluster, id: ChunkId) -> bool {
        let alive = |node: NodeIndex| !cluster.is_dead(node);
        let over = self.map.awaited(id).is_some_and(|mut awaited| !awaited.any(alive));
        if over {
            self.map.end_settling(id);
            self.promises.close(id);
        }
        over
    }

    /// A chunk belongs to no file any more.
    pub(crate) fn removed(&mut self, id: ChunkId) {
        self.unfile(id);
        self.recoveries.remove(&id);
        self.promises.close(id);
        let holders = self.map.remove(id);
        self.note_dependents(id);
        for (index, generation) in holders {
            // A follower that comes to lead gets everyone's report again, and finds them then.
            if self.term.is_some()
                && let Some(work) = self.work.get_mut(index)
            {
                work.deletions.add(id, generation);
            }
        }
    }

    /// A node is expected to report these chunks again: they are not copied as long as it may.
    fn expect(&mut self, chunks: &ChunkSet) {
        for id in chunks.iter() {
            *self.expected.entry(id).or_default() += 1;
        }
    }

    /// A node is not expected to report anything any more; answers what it had been.
    fn end_expectation(&mut self, index: NodeIndex) -> ChunkSet {
        let awaited = self.work.get_mut(index).and_then(|work| work.awaited.take());
        let chunks = awaited.map(|awaited| awaited.chunks).unwrap_or_default();
        for id in chunks.iter() {
            self.no_longer_expect(id);
        }
        chunks
    }

    /// A node has said whether it has a chunk that it was expected to report.
    fn end_expectation_of(&mut self, index: NodeIndex, id: ChunkId) {
        let Some(work) = self.work.get_mut(index) else {
            return;
        };
        let Some(awaited) = &mut work.awaited else {
            return;
        };
        let was_expected = awaited.chunks.remove(id);
        if awaited.chunks.is_empty() {
            work.awaited = None;
        }
        if was_expected {
            self.no_longer_expect(id);
        }
    }

    /// One node less is expected to report the chunk.
    fn no_longer_expect(&mut self, id: ChunkId) {
        if let Some(nodes) = self.expected.get_mut(&id) {
            *nodes -= 1;
            if *nodes == 0 {
                self.expected.remove(&id);
            }
        }
    }

    /// Nothing is expected of a node any more; the chunks are looked at again.
    fn end_expectations(&mut self, cluster: &Cluster, index: NodeIndex) {
        for id in self.end_expectation(index).iter() {
            self.refile(cluster, id);
        }
    }

    /// Ends what was put off until now.
    fn end_waits(&mut self, cluster: &Cluster, now: Millis) {
        let over = |work: &NodeWork| work.awaited.as_ref().is_some_and(|awaited| awaited.until <= now);
        let over: Vec<NodeIndex> =
            self.work.iter().filter(|(_, work)| over(work)).map(|(index, _)| index).collect();
        for index in over {
            self.end_expectations(cluster, index);
        }
        while let Some((_, id)) = self.settling.pop_front_if(|(until, _)| *until <= now) {
            if self.map.settled(id, now) {
                self.promises.close(id);
            }
            self.refile(cluster, id);
        }
    }

    /// Committed chunks with a reported replica, and how many of them there must be for safe mode to end. A bad one counts:
    /// what a writer had not finished when everything was killed gets no better by waiting, only by its recovery.
    fn progress(&self) -> (u64, u64) {
        let counts = self.map.counts();
        let reported = counts.committed - counts.missing;
        (reported, needed(counts.committed, self.config.safe_mode_threshold))
    }

    /// Ends safe mode if enough is known.
    pub(crate) fn check_safe_mode(&mut self, cluster: &Cluster, now: Millis) {
        let (reported, needed) = self.progress();
        if self.safe_mode.check(reported, needed) {
            self.safe_mode_ended(cluster, now);
        }
    }

    fn safe_mode_ended(&mut self, cluster: &Cluster, now: Millis) {
        // Those who have not reported yet most likely will in a moment.
        if self.map.counts().committed > 0 {
            self.replication.quiet_until = now.plus(self.config.report_grace);
        }
        self.refile_all(cluster);
    }

    /// Whether safe mode is on, and what it waits for.
    pub(crate) fn safe_mode(&self) -> SafeModeStatus {
        let (reported, needed) = self.progress();
        self.safe_mode.view(reported, needed)
    }
}

#[cfg(test)]
impl Namespace {
    pub(crate) fn end_quiet_time(&mut self, now: Millis) {
        self.replication.quiet_until = now;
    }

    pub(crate) fn is_doomed(&self, id: ChunkId, index: NodeIndex) -> bool {
        self.map.odd(id).iter().any(|odd| odd.node == index && odd.doomed)
    }
}
