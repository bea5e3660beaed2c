//! The owner of all state: events in, effects out.

use std::collections::VecDeque;
use std::ops::Range;

use dfs_types::{ChunkId, GenStamp, Layout, Millis, NodeId};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use crate::balancer::Balancer;
use crate::chunk_map::ChunkMap;
use crate::chunk_set::ChunkSet;
use crate::deletion::Owed;
use crate::duty::{Dependents, Duties};
use crate::hash::{IdMap, IdSet};
use crate::lease::Leases;
use crate::liveness::Nodes;
use crate::node::{Awaited, Node};
use crate::node_list::NodeIndex;
use crate::promises::Promises;
use crate::recovery::Recoveries;
use crate::registry::Registry;
use crate::replication::Replication;
use crate::review::{Reviews, Why};
use crate::ring::Ring;
use crate::safemode::{SafeMode, needed};
use crate::tally::Class;
use crate::targets::Terrain;
use crate::{Config, Effect, Event, NodeState, NodeStats, SafeModeView};

/// What the NameNode knows and decides about chunks, nodes and leases.
///
/// Every call takes the time of one monotonic clock. [`Event::Tick`] must come about twice a second: a longer gap
/// than [`Config::stall_after`] is taken for this process having stood still, and forgiven to nodes and writers.
#[derive(Debug)]
pub struct Cluster {
    pub(crate) config: Config,
    pub(crate) rng: Xoshiro256PlusPlus,
    pub(crate) map: ChunkMap,
    /// When this process began to hear nodes.
    pub(crate) began: Millis,
    pub(crate) nodes: Nodes,
    pub(crate) registry: Registry,
    pub(crate) safe_mode: SafeMode,
    /// The term in which this NameNode leads, if it does.
    pub(crate) term: Option<u64>,
    pub(crate) leases: Leases,
    pub(crate) replication: Replication,
    /// Chunks with replicas to delete.
    pub(crate) untidy: Ring,
    /// Chunks for which a copy is waited for before a further bad replica goes.
    pub(crate) owed: IdMap<ChunkId, Owed>,
    pub(crate) recoveries: Recoveries,
    /// Chunks committed lately, and until when they are left alone; in this order.
    settling: VecDeque<(Millis, ChunkId)>,
    /// How many nodes are expected to report a chunk again.
    pub(crate) expected: IdMap<ChunkId, u16>,
    /// Chunks of which some node may have a replica in quarantine.
    pub(crate) foreign: IdSet<ChunkId>,
    pub(crate) reviews: Reviews,
    pub(crate) terrain: Terrain,
    pub(crate) duties: Duties,
    pub(crate) dependents: Dependents,
    pub(crate) balancer: Balancer,
    pub(crate) promises: Promises,
    /// Nodes whose turn it is to report, and when they last got on with it.
    pub(crate) turns: Vec<(NodeIndex, Millis)>,
}

impl Cluster {
    /// An empty cluster that follows, in safe mode. The same seed and the same calls give the same decisions.
    pub fn new(config: Config, seed: u64, now: Millis) -> Self {
        Self {
            map: ChunkMap::new(config.maintenance_min_replicas as usize),
            config,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            began: now,
            nodes: Nodes::new(now),
            registry: Registry::default(),
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
            duties: Duties::new(),
            dependents: Dependents::default(),
            balancer: Balancer::default(),
            promises: Promises::default(),
            turns: Vec::new(),
        }
    }

    /// All chunks of the namespace were told by [`Event::ChunkLoaded`]: from now on safe mode ends when enough of
    /// them have a reported replica; at once if there are none. The effect that tells so comes with the next event.
    pub fn loaded(&mut self, now: Millis) {
        self.safe_mode.loaded();
        self.check_safe_mode(now);
    }

    /// Tells that every chunk ever made has an id below `next`: replicas of others are of chunks that this NameNode does
    /// not know yet, and are kept.
    pub fn set_next_chunk(&mut self, next: ChunkId) {
        self.map.raise_next(next);
    }

    /// Tells that this namespace was restored from a backup, after which chunks with these ids may have been made:
    /// replicas of them are kept, although no file has them.
    pub fn add_lost_chunks(&mut self, ids: Range<ChunkId>) {
        self.map.add_lost(ids);
    }

    /// Takes in what happened; answers what follows.
    pub fn apply(&mut self, event: Event, now: Millis) -> Vec<Effect> {
        let mut effects = Vec::new();
        match event {
            Event::Registered { node, incarnation, version, stats } => {
                self.registered(node, incarnation, version, stats, now, &mut effects);
            }
            Event::HeartbeatSeen { node, fence, stats } => {
                self.heard_of(node, fence, stats, now, &mut effects);
            }
            Event::Reported { node, report } => self.reported(node, &report, now, &mut effects),
            Event::ReplicaCorrupt { chunk, generation, node } => {
                self.replica_corrupt(chunk, generation, node);
            }
            Event::ChunkLoaded { chunk, generation, length, layout: Layout::Replicated { replicas } } => {
                self.map.add(chunk, generation, length, replicas);
                self.end_quarantine(chunk, &mut effects);
            }
            Event::ChunkAdded { chunk, generation, layout: Layout::Replicated { replicas } } => {
                self.map.add(chunk, generation, None, replicas);
                self.end_quarantine(chunk, &mut effects);
            }
            Event::ChunkCommitted { chunk, generation, length } => {
                self.committed(chunk, generation, length, now, &mut effects);
            }
            Event::GenerationChanged { chunk, generation } => {
                self.map.set_generation(chunk, generation);
                self.refile(chunk);
            }
            Event::ChunkRemoved { chunk } => self.removed(chunk),
            Event::LayoutChanged { chunk, layout: Layout::Replicated { replicas } } => {
                self.map.set_replication(chunk, replicas);
                self.refile(chunk);
            }
            Event::PipelineSet { chunk, nodes } => {
                let nodes: Vec<NodeIndex> = nodes.iter().filter_map(|node| self.nodes.find(*node)).collect();
                self.promises.keep_only(chunk, &nodes);
                self.map.set_pipeline(chunk, nodes);
                self.refile(chunk);
            }
            Event::LeaseTaken { inode, holder } => self.leases.take(inode, holder, now),
            Event::LeaseRenewed { holder } => self.leases.renew(&holder, now),
            Event::LeaseReleased { inode } => self.leases.release(inode),
            Event::RecoveryWanted { chunk, new_generation, acknowledged, pipeline } => {
                self.recovery_wanted(chunk, new_generation, (acknowledged, pipeline), now);
            }
            Event::LossAccepted { chunk } => self.loss_accepted(chunk),
            Event::LeadershipTaken { term } => self.leadership_taken(term, now),
            Event::LeadershipLost => self.leadership_lost(),
            Event::DutySet { node, duty } => self.duty_set(node, duty, &mut effects),
            Event::BalancerSet { settings } => self.balancer.set(settings, now),
            Event::NodeRecorded { node, record, silence } => self.node_recorded(node, record, silence, now),
            Event::NodeForgotten { node } => self.node_forgotten(node, &mut effects),
            Event::LossAnnounced { node } => self.loss_announced(node, &mut effects),
            Event::SafeModeSet { on } => {
                if self.safe_mode.set(on, self.term.is_some()) {
                    self.safe_mode_ended(now);
                }
            }
            Event::Tick => self.tick(now, &mut effects),
        }
        self.check_safe_mode(now);
        effects.extend(self.safe_mode.announce().map(|on| Effect::SafeModeChanged { on }));
        effects
    }

    fn registered(
        &mut self,
        id: NodeId,
        incarnation: u128,
        version: String,
        stats: NodeStats,
        now: Millis,
        effects: &mut Vec<Effect>,
    ) {
        let known = self.nodes.find(id).and_then(|index| Some((index, self.nodes.get(index)?.incarnation)));
        match known {
            None => {
                let mut node = Node::new(id, incarnation, version, stats, now);
                // Remembered from before it came.
                node.duty = self.duties.get(&id).copied().unwrap_or_default();
                // The table is full only after 65,536 nodes within a day; the node asks again until one is forgotten.
                let duty = node.duty;
                if let Some(index) = self.nodes.add(node) {
                    self.map.set_class(index, duty.into());
                    effects.push(Effect::NodeChanged { node: id, state: NodeState::Live });
                }
            }
            Some((_, same)) if same == incarnation => self.heard_of(id, 0, stats, now, effects),
            Some((index, _)) => {
                let fresh = Node::new(id, incarnation, version, stats, now);
                let was = self.replace_process(index, fresh, now);
                if was != Some(NodeState::Live) {
                    effects.push(Effect::NodeChanged { node: id, state: NodeState::Live });
                }
            }
        }
    }

    /// Another process of the same node: what it holds is unknown until it reports, but most likely what it held.
    fn replace_process(&mut self, index: NodeIndex, mut fresh: Node, now: Millis) -> Option<NodeState> {
        self.end_death_reviews(index);
        self.end_copies_of(index);
        self.promises.forget_node(index);
        self.end_turn(index);
        let held = self.map.forget_node(index);
        let mut chunks = held.clone();
        chunks.append(self.end_expectation(index));
        self.expect(&chunks);
        if !chunks.is_empty() {
            fresh.awaited = Some(Awaited { until: now.plus(self.config.report_grace), chunks });
        }
        let node = self.nodes.get_mut(index)?;
        let was = node.state;
        (fresh.duty, fresh.duty_done, fresh.checked) = (node.duty, node.duty_done, node.checked);
        (fresh.depending, fresh.reviews) = (node.depending, node.reviews);
        *node = fresh;
        for id in held.iter() {
            self.refile(id);
        }
        Some(was)
    }

    /// A node is expected to report these chunks again: they are not copied as long as it may.
    fn expect(&mut self, chunks: &ChunkSet) {
        for id in chunks.iter() {
            *self.expected.entry(id).or_default() += 1;
        }
    }

    /// A node is not expected to report anything any more; answers what it had been.
    fn end_expectation(&mut self, index: NodeIndex) -> ChunkSet {
        let awaited = self.nodes.get_mut(index).and_then(|node| node.awaited.take());
        let chunks = awaited.map(|awaited| awaited.chunks).unwrap_or_default();
        for id in chunks.iter() {
            self.no_longer_expect(id);
        }
        chunks
    }

    /// A node has said whether it has a chunk that it was expected to report.
    pub(crate) fn end_expectation_of(&mut self, index: NodeIndex, id: ChunkId) {
        let Some(node) = self.nodes.get_mut(index) else {
            return;
        };
        let Some(awaited) = &mut node.awaited else {
            return;
        };
        let was_expected = awaited.chunks.remove(id);
        if awaited.chunks.is_empty() {
            node.awaited = None;
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
    pub(crate) fn end_expectations(&mut self, index: NodeIndex) {
        for id in self.end_expectation(index).iter() {
            self.refile(id);
        }
    }

    fn heard_of(&mut self, id: NodeId, fence: u64, stats: NodeStats, now: Millis, effects: &mut Vec<Effect>) {
        let Some(index) = self.nodes.find(id) else {
            return;
        };
        let Some(node) = self.nodes.get_mut(index) else {
            return;
        };
        let place = node.place;
        let as_of = stats.as_of;
        node.hear(stats, now);
        node.fence = node.fence.max(fence);
        let (moved, revived) = (node.place != place, node.state != NodeState::Live);
        let was_dead = node.state == NodeState::Dead;
        node.state = NodeState::Live;
        self.promises.shown(index, as_of);
        if revived {
            effects.push(Effect::NodeChanged { node: id, state: NodeState::Live });
        }
        if was_dead {
            self.end_death_reviews(index);
        }
        if moved && self.decides() {
            self.survey();
            self.review(index, Why::Changed, Vec::new());
        }
    }

    fn committed(
        &mut self,
        id: ChunkId,
        generation: GenStamp,
        length: u64,
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
        self.settle_early(id);
        self.refile(id);
        if self.map.finalized(id, generation) > 0 {
            effects.push(Effect::ReplicaGained { chunk: id });
        }
    }

    /// A committed chunk is left alone only as long as a node of its pipeline may still report its replica. Answers whether
    /// that is over now.
    pub(crate) fn settle_early(&mut self, id: ChunkId) -> bool {
        let alive = |node: NodeIndex| self.nodes.get(node).is_some_and(|node| node.state != NodeState::Dead);
        let over = self.map.awaited(id).is_some_and(|mut awaited| !awaited.any(alive));
        if over {
            self.map.end_settling(id);
            self.promises.close(id);
        }
        over
    }

    fn removed(&mut self, id: ChunkId) {
        self.unfile(id);
        self.recoveries.remove(&id);
        self.promises.close(id);
        let holders = self.map.remove(id);
        self.note_dependents(id);
        for (index, generation) in holders {
            // A follower that comes to lead gets everyone's report again, and finds them then.
            if self.term.is_some()
                && let Some(node) = self.nodes.get_mut(index)
            {
                node.deletions.add(id, generation);
            }
        }
    }

    fn tick(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let found = self.nodes.tick(&self.config, now);
        self.leases.forgive(found.stalled);
        if found.storm {
            self.replication.storm_until = now.plus(self.config.restart_grace);
        }
        for (index, _) in found.changed {
            let Some((node, state)) = self.nodes.get(index).map(|node| (node.id, node.state)) else {
                continue;
            };
            if state == NodeState::Dead {
                self.died(index);
            }
            effects.push(Effect::NodeChanged { node, state });
        }
        self.end_maintenance(now, effects);
        self.end_waits(now);
        self.end_overdue_copies(now);
        self.promises.expire(now);
        self.forget_dead(now);
        if self.decides() {
            let expired = self.leases.expired(self.config.lease_hard_limit, now);
            effects.extend(expired.into_iter().map(|(inode, holder)| Effect::LeaseExpired { inode, holder }));
        }
        self.drive_recoveries(now, effects);
        let proven = self.go_on_reviewing();
        self.further_duties(&proven, now, effects);
        self.survey();
        self.watch_moves(now);
        self.tidy(now);
        self.plan_copies(now);
        self.plan_moves(now, effects);
    }

    /// A node's disks are gone.
    pub(crate) fn loss_announced(&mut self, id: NodeId, effects: &mut Vec<Effect>) {
        let Some(index) = self.nodes.find(id) else {
            return self.remembered_lost(id);
        };
        let was = self.nodes.get(index).map(|node| node.state);
        self.died(index);
        if was != Some(NodeState::Dead) {
            effects.push(Effect::NodeChanged { node: id, state: NodeState::Dead });
        }
    }

    /// Ends what was put off until now.
    fn end_waits(&mut self, now: Millis) {
        let over = |node: &Node| node.awaited.as_ref().is_some_and(|awaited| awaited.until <= now);
        let over: Vec<NodeIndex> =
            self.nodes.iter().filter(|(_, node)| over(node)).map(|(index, _)| index).collect();
        for index in over {
            self.end_expectations(index);
        }
        while let Some((_, id)) = self.settling.pop_front_if(|(until, _)| *until <= now) {
            if self.map.settled(id, now) {
                self.promises.close(id);
            }
            self.refile(id);
        }
    }

    fn forget_dead(&mut self, now: Millis) {
        let mut expired = self.nodes.expired(&self.config, now);
        let is_forgotten = |node: &Node| node.state == NodeState::Dead && self.is_forgotten(node.id);
        expired.extend(self.nodes.iter().filter(|(_, node)| is_forgotten(node)).map(|(index, _)| index));
        for index in expired {
            if self.is_under_review(index) {
                continue;
            }
            let pipelined: Vec<ChunkId> = self.map.pipelined(index).collect();
            self.map.drop_from_pipelines(index);
            for id in pipelined {
                self.refile(id);
            }
            // In safe mode that noted nothing, and the node is gone for good.
            let depending = self.dependents.iter().filter(|(_, nodes)| nodes.contains(index));
            let depending: Vec<ChunkId> = depending.map(|(id, _)| *id).collect();
            for id in depending {
                self.note_dependents(id);
            }
            self.forget_in_recoveries(index);
            self.map.set_class(index, Class::Service);
            self.promises.forget_node(index);
            self.end_turn(index);
            self.nodes.remove(index);
        }
    }

    /// Committed chunks with a reported replica, and how many of them there must be for safe mode to end. A bad one counts:
    /// what a writer had not finished when everything was killed gets no better by waiting, only by its recovery.
    fn progress(&self) -> (u64, u64) {
        let counts = self.map.counts();
        let reported = counts.committed - counts.missing;
        (reported, needed(counts.committed, self.config.safe_mode_threshold))
    }

    fn check_safe_mode(&mut self, now: Millis) {
        let (reported, needed) = self.progress();
        if self.safe_mode.check(reported, needed) {
            self.safe_mode_ended(now);
        }
    }

    fn safe_mode_ended(&mut self, now: Millis) {
        // Those who have not reported yet most likely will in a moment.
        if self.map.counts().committed > 0 {
            self.replication.quiet_until = now.plus(self.config.report_grace);
        }
        self.refile_all();
    }

    /// Whether safe mode is on, and what it waits for.
    pub fn safe_mode(&self) -> SafeModeView {
        let (reported, needed) = self.progress();
        self.safe_mode.view(reported, needed)
    }
}
