//! The cluster and its namespace as one: events in, effects out.

use std::ops::Range;
use std::time::Duration;

use dfs_types::{
    Address, BalancerStatus, ChunkId, Command, DutyState, GenStamp, InodeId, Layout, Millis, NodeDuty,
    NodeId, NodeReport, QuarantinedChunk, SafeModeStatus,
};

use crate::cluster::{Cluster, Registered};
use crate::event::{Effect, Event, NodeRecord, NodeStats, Target};
use crate::namespace::Namespace;
use crate::view::{ChunkView, Totals};
use crate::{Config, NodeState, Placement, PlacementError, PlacementRequest, Ticket, WaitingRecovery};

/// What the NameNode knows and decides about nodes, chunks and leases.
///
/// What belongs to the cluster, its nodes and their volumes, is apart from what belongs to the namespace, which looks at it.
///
/// Every call takes the time of one monotonic clock. [`Event::Tick`] must come about twice a second: a longer gap
/// than [`Config::stall_after`] is taken for this process having stood still, and forgiven to nodes and writers.
#[derive(Debug)]
pub struct Core {
    cluster: Cluster,
    namespace: Namespace,
}

impl Core {
    /// An empty cluster that follows, in safe mode. The same seed and the same calls give the same decisions.
    pub fn new(config: Config, seed: u64, now: Millis) -> Self {
        Self { cluster: Cluster::new(config.clone(), now), namespace: Namespace::new(config, seed) }
    }

    /// All chunks of the namespace were told by [`Event::ChunkLoaded`]: from now on safe mode ends when enough of
    /// them have a reported replica; at once if there are none. The effect that tells so comes with the next event.
    pub fn loaded(&mut self, now: Millis) {
        self.namespace.loaded(&self.cluster, now);
    }

    /// Tells that every chunk ever made has an id below `next`: replicas of others are of chunks that this NameNode does
    /// not know yet, and are kept.
    pub fn set_next_chunk(&mut self, next: ChunkId) {
        self.namespace.set_next_chunk(next);
    }

    /// Tells that this namespace was restored from a backup, after which chunks with these ids may have been made:
    /// replicas of them are kept, although no file has them.
    pub fn add_lost_chunks(&mut self, ids: Range<ChunkId>) {
        self.namespace.add_lost_chunks(ids);
    }

    /// Takes in what happened; answers what follows.
    pub fn apply(&mut self, event: Event, now: Millis) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.take_in(event, now, &mut effects);
        self.namespace.check_safe_mode(&self.cluster, now);
        effects.extend(self.namespace.announce_safe_mode().map(|on| Effect::SafeModeChanged { on }));
        effects
    }

    fn take_in(&mut self, event: Event, now: Millis, effects: &mut Vec<Effect>) {
        let Self { cluster, namespace } = self;
        match event {
            Event::Registered { node, incarnation, version, stats } => {
                self.registered(node, incarnation, version, stats, now, effects);
            }
            Event::HeartbeatSeen { node, fence, stats } => self.heard(node, fence, stats, now, effects),
            Event::NodeRecorded { node, record, silence } => cluster.remember(node, record, silence, now),
            Event::NodeForgotten { node } => {
                cluster.forget(node);
                if cluster.by_id(node).is_some_and(|node| !node.is_dead()) {
                    self.lost(node, effects);
                }
            }
            Event::LossAnnounced { node } => self.lost(node, effects),
            Event::DutySet { node, duty } => self.set_duty(node, duty, effects),
            Event::Tick => self.tick(now, effects),
            Event::Reported { node, report } => namespace.reported(cluster, node, &report, now, effects),
            Event::ReplicaCorrupt { chunk, generation, node } => {
                namespace.replica_corrupt(cluster, chunk, generation, node);
            }
            Event::ChunkLoaded { chunk, generation, length, layout: Layout::Replicated { replicas } } => {
                namespace.added(cluster, chunk, (generation, length), replicas, effects);
            }
            Event::ChunkAdded { chunk, generation, layout: Layout::Replicated { replicas } } => {
                namespace.added(cluster, chunk, (generation, None), replicas, effects);
            }
            Event::ChunkCommitted { chunk, generation, length } => {
                namespace.committed(cluster, chunk, (generation, length), now, effects);
            }
            Event::GenerationChanged { chunk, generation } => {
                namespace.generation_changed(cluster, chunk, generation);
            }
            Event::ChunkRemoved { chunk } => namespace.removed(chunk),
            Event::LayoutChanged { chunk, layout: Layout::Replicated { replicas } } => {
                namespace.replication_changed(cluster, chunk, replicas);
            }
            Event::PipelineSet { chunk, nodes } => namespace.pipeline_set(cluster, chunk, &nodes),
            Event::LeaseTaken { inode, holder } => namespace.lease_taken(inode, holder, now),
            Event::LeaseRenewed { holder } => namespace.lease_renewed(&holder, now),
            Event::LeaseReleased { inode } => namespace.lease_released(inode),
            Event::RecoveryWanted { chunk, new_generation, acknowledged, pipeline } => {
                namespace.recovery_wanted(chunk, new_generation, (acknowledged, pipeline), now);
            }
            Event::LossAccepted { chunk } => namespace.loss_accepted(chunk),
            Event::LeadershipTaken { term } => namespace.leadership_taken(cluster, term, now),
            Event::LeadershipLost => namespace.leadership_lost(cluster),
            Event::BalancerSet { settings } => namespace.set_balancer(settings, now),
            Event::SafeModeSet { on } => namespace.set_safe_mode(cluster, on, now),
        }
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
        let came = match self.cluster.register(id, incarnation, version, &stats, now) {
            Registered::New(index) => {
                self.namespace.joined(&self.cluster, index);
                true
            }
            Registered::Replaced(index, was) => {
                self.namespace.process_replaced(&self.cluster, index, now);
                was != NodeState::Live
            }
            Registered::Same => return self.heard(id, 0, stats, now, effects),
            Registered::NoPlace => false,
        };
        if came {
            effects.push(Effect::NodeChanged { node: id, state: NodeState::Live });
        }
    }

    fn heard(&mut self, id: NodeId, fence: u64, stats: NodeStats, now: Millis, effects: &mut Vec<Effect>) {
        let as_of = stats.as_of;
        let Some(heard) = self.cluster.hear(id, stats, now) else {
            return;
        };
        if heard.was != NodeState::Live {
            effects.push(Effect::NodeChanged { node: id, state: NodeState::Live });
        }
        self.namespace.heard(&self.cluster, &heard, fence, as_of);
    }

    /// A node's disks are gone.
    fn lost(&mut self, id: NodeId, effects: &mut Vec<Effect>) {
        let Some((index, was)) = self.cluster.lose(id) else {
            return;
        };
        self.namespace.died(&self.cluster, index);
        if was != NodeState::Dead {
            effects.push(Effect::NodeChanged { node: id, state: NodeState::Dead });
        }
    }

    fn set_duty(&mut self, id: NodeId, duty: NodeDuty, effects: &mut Vec<Effect>) {
        if let Some((index, was)) = self.cluster.set_duty(id, duty) {
            self.namespace.duty_set(&self.cluster, index, was, effects);
        }
    }

    fn tick(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        let found = self.cluster.tick(now);
        self.namespace.nodes_changed(&self.cluster, &found, now, effects);
        for id in self.cluster.maintenance_over(now) {
            self.set_duty(id, NodeDuty::InService, effects);
        }
        for index in self.cluster.expired(now) {
            if self.namespace.let_go(&self.cluster, index) {
                self.cluster.remove(index);
            }
        }
        self.namespace.tick(&self.cluster, now, effects);
    }

    /// Orders for a node, to be called for each reply to its heartbeat. Their number is bounded: by the copies and
    /// deletions allowed at a time, and by 64 recoveries. Nothing is ordered in
    /// safe mode, nor by a follower.
    pub fn take_commands(&mut self, node: NodeId, now: Millis) -> Vec<Command> {
        self.namespace.take_commands(&self.cluster, node, now)
    }

    /// Chooses nodes for the pipeline of a new chunk, or further ones for one that lost some; at least one, and
    /// fewer than wanted if there are no more. Room on them is promised, so that a burst of requests does not fill one
    /// node: until the replica shows in the node's own figures, or is given up.
    pub fn choose_targets(
        &mut self,
        request: &PlacementRequest,
        now: Millis,
    ) -> Result<Placement, PlacementError> {
        self.namespace.choose_targets(&self.cluster, request, now)
    }

    /// The room of a placement is for this chunk.
    pub fn bind_placement(&mut self, ticket: Ticket, chunk: ChunkId) {
        self.namespace.bind_placement(ticket, chunk);
    }

    /// Nothing comes of a placement.
    pub fn give_up_placement(&mut self, ticket: Ticket) {
        self.namespace.give_up_placement(ticket);
    }

    /// The term in which this NameNode leads; `None` while it follows.
    pub fn leads(&self) -> Option<u64> {
        self.namespace.leads()
    }

    /// Whether safe mode is on, and what it waits for.
    pub fn safe_mode(&self) -> SafeModeStatus {
        self.namespace.safe_mode()
    }

    /// Whether the node is registered and its full report is not in, or may have been overtaken by orders of an
    /// earlier leader that it no longer obeys.
    pub fn owes_report(&self, node: NodeId) -> bool {
        self.namespace.owes_report(&self.cluster, node)
    }

    /// From which chunk on the node shall go on with its full report, if it owes one and it is its turn. Few report at
    /// the same time: slices wait for each other, and everything else waits for them. A turn passes when nothing comes of it.
    /// What a dead node says counts only after its heartbeats are back.
    pub fn wants_report(&mut self, node: NodeId, now: Millis) -> Option<ChunkId> {
        self.namespace.wants_report(&self.cluster, node, now)
    }

    /// Quarantined chunks after `after`, ordered by id, at most `limit`; and whether there are more. Goes through all of
    /// them.
    pub fn quarantine(&self, after: ChunkId, limit: usize) -> (Vec<QuarantinedChunk<NodeId>>, bool) {
        self.namespace.quarantine(&self.cluster, after, limit)
    }

    /// Orders up to `limit` quarantined replicas to be deleted, of these chunks (sorted) or, if there are none, of all;
    /// answers how many. Fewer than `limit` means that all are ordered. Nothing is ordered by a follower or in safe mode.
    ///
    /// A replica that its node reports once more before it is deleted is quarantined again until it is gone.
    pub fn delete_quarantined(&mut self, chunks: &[ChunkId], limit: usize) -> usize {
        self.namespace.delete_quarantined(chunks, limit)
    }

    /// Whether the chunk's recovery may end with so many bytes although readers count on more: not with fewer than it was
    /// last asked for. An answer to an earlier order, or of nodes that lost a disk meanwhile, is no proof.
    pub fn recovery_may_lose(&self, chunk: ChunkId, length: u64) -> bool {
        self.namespace.recovery_may_lose(chunk, length)
    }

    /// What the recovery of a chunk waits for; `None` if none does.
    pub fn waiting_recovery(&self, chunk: ChunkId) -> Option<WaitingRecovery> {
        self.namespace.waiting_recovery(&self.cluster, chunk)
    }

    /// Every recovery that waits, ordered by chunk.
    pub fn waiting_recoveries(&self) -> impl Iterator<Item = WaitingRecovery> {
        self.namespace.waiting_recoveries(&self.cluster)
    }

    /// Whether another client may take this file over: its writer has been silent for the soft limit, or it has
    /// none.
    pub fn lease_expired_soft(&self, inode: InodeId, now: Millis) -> bool {
        self.namespace.lease_expired_soft(inode, now)
    }

    /// Whether an administrator has forgotten the node for good.
    pub fn is_forgotten(&self, node: NodeId) -> bool {
        self.cluster.is_forgotten(node)
    }

    /// Whether the node is known: heard of lately, or remembered.
    pub fn is_known(&self, node: NodeId) -> bool {
        self.cluster.is_known(node)
    }

    /// Where a node is or was.
    pub fn endpoint(&self, node: NodeId) -> Option<&Address> {
        self.cluster.endpoint(node)
    }

    /// At most so many nodes of which the replicated state should remember what they say now, or that they are dead: what
    /// that is, and how long ago they were heard of.
    pub fn to_record(&self, limit: usize, now: Millis) -> Vec<(NodeId, NodeRecord, Duration)> {
        self.cluster.to_record(limit, now)
    }

    /// Whether this process of the node is the one that registered last, and the node was not forgotten.
    pub fn is_current(&self, node: NodeId, incarnation: u128) -> bool {
        let same = self.cluster.by_id(node).is_some_and(|known| known.incarnation() == incarnation);
        same && !self.cluster.is_forgotten(node)
    }

    /// How far the duty of a registered node is; any other is in service.
    pub fn duty(&self, node: NodeId) -> DutyState {
        self.cluster
            .find(node)
            .map_or(DutyState::InService, |index| self.namespace.duty_state(&self.cluster, index))
    }

    /// A chunk; `None` if there is none of this id.
    pub fn chunk(&self, id: ChunkId) -> Option<ChunkView> {
        self.namespace.chunk(&self.cluster, id)
    }

    /// Good finalized replicas of this generation of a chunk; while it is being written, those of whatever length.
    pub fn finalized(&self, id: ChunkId, generation: GenStamp) -> usize {
        self.namespace.finalized(id, generation)
    }

    /// Where to read a chunk from, best first: live nodes before stale or stopping ones and before replicas whose disk does
    /// not answer; then other storage before `ARCHIVE`; then the reader's host; then less loaded nodes. While it is being
    /// written, the nodes of its pipeline and others with a replica of its generation. Empty if no replica is known to be
    /// fit for reading.
    pub fn locate(&self, id: ChunkId, reader_host: Option<&str>, now: Millis) -> Vec<Target> {
        self.namespace.locate(&self.cluster, id, reader_host, now)
    }

    /// All nodes that registered within the last day, dead ones too, and those that are remembered. The end of a maintenance is
    /// in the clock of `now`.
    pub fn nodes(&self, now: Millis) -> Vec<NodeReport> {
        self.namespace.nodes(&self.cluster, now)
    }

    /// Sums over the whole cluster. Goes through the nodes, but not through the chunks.
    pub fn totals(&self, now: Millis) -> Totals {
        self.namespace.totals(&self.cluster, now)
    }

    /// How the balancer gets on. Goes through the nodes.
    pub fn balancer(&self) -> BalancerStatus {
        self.namespace.balancer(&self.cluster)
    }

    /// Every broken rule, in words; empty if all is well. Goes through all chunks: for tests and for a rare check in
    /// production.
    pub fn violations(&self) -> Vec<String> {
        self.namespace.violations(&self.cluster)
    }
}

#[cfg(test)]
impl Core {
    pub(crate) fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    pub(crate) fn index(&self, node: NodeId) -> crate::cluster::NodeIndex {
        self.cluster.find(node).unwrap()
    }

    /// What a node said last.
    pub(crate) fn said(&self, node: NodeId) -> Option<NodeStats> {
        self.cluster.by_id(node).map(|node| node.stats().clone())
    }

    /// Copies are planned from now on.
    pub(crate) fn end_quiet_time(&mut self, now: Millis) {
        self.namespace.end_quiet_time(now);
    }

    /// Whether a node's replica of a chunk is to be deleted.
    pub(crate) fn is_doomed(&self, chunk: u64, n: u16) -> bool {
        let index = self.cluster.find(crate::test_support::node_id(n));
        index.is_some_and(|index| self.namespace.is_doomed(ChunkId(chunk), index))
    }
}
