//! What others may know of the cluster.

use std::time::Duration;

use dfs_types::{ChunkId, DutyState, GenStamp, InodeId, Millis, NodeDuty, NodeId, ReplicaState, Space};

use crate::chunk_map::{ChunkMap, Odd, Verdict};
use crate::cluster::Cluster;
use crate::hash::{mix, of_text};
use crate::node::Node;
use crate::node_list::NodeIndex;
use crate::{Address, NodeState, Volume};

/// One chunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChunkView {
    /// Its version.
    pub generation: GenStamp,
    /// Its length; `None` while it is being written.
    pub length: Option<u64>,
    /// Replicas wanted.
    pub replication: u32,
    /// Nodes with a good replica; none while it is being written.
    pub good: Vec<NodeId>,
    /// Nodes with a replica known to be damaged, torn or of another length.
    pub corrupt: Vec<NodeId>,
    /// Nodes it is being written to, in order.
    pub pipeline: Vec<NodeId>,
    /// Whether its replicas share a host, a rack or a zone although there are others.
    pub misplaced: bool,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Its id.
    pub id: NodeId,
    /// Where it is.
    pub address: Address,
    /// Its software's version.
    pub version: String,
    /// Live, stale or dead.
    pub state: NodeState,
    /// Time since it was heard of.
    pub silence: Duration,
    /// Its volumes.
    pub volumes: Vec<Volume>,
    /// Replicas it is known to hold of chunks that exist.
    pub replicas: u64,
    /// Write sessions under way.
    pub active_writes: u32,
    /// Read sessions under way.
    pub active_reads: u32,
    /// Copies it sends.
    pub active_copies: u32,
    /// Whether its full report is in.
    pub reported: bool,
    /// What it is used for, and how far that is.
    pub duty: DutyState,
    /// Chunks to be copied (or, if open, to be closed) before it is decommissioned or in maintenance.
    pub depending_chunks: u64,
    /// When its maintenance ends, if it is in maintenance or about to be.
    pub maintenance_until: Option<Millis>,
}

/// The balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BalancerView {
    /// Whether it moves chunks.
    pub running: bool,
    /// How far a node's used share of its space may lie from the mean, in thousandths.
    pub threshold_permille: u32,
    /// Most bytes that a node sends, and most that it receives, for balancing.
    pub bytes_per_second: u64,
    /// Chunks moved since it was started or this NameNode began to lead.
    pub moved_chunks: u64,
    /// Bytes of them.
    pub moved_bytes: u64,
    /// Moves under way.
    pub pending_moves: u64,
    /// Bytes that lie above or below the threshold.
    pub bytes_to_move: u64,
    /// Used share of the space of all nodes in service, in thousandths.
    pub mean_permille: u32,
    /// The same of the emptiest node.
    pub lowest_permille: u32,
    /// The same of the fullest node.
    pub highest_permille: u32,
    /// Whether every node in service is within the threshold.
    pub balanced: bool,
}

/// Chunks that wait to be copied, by how badly they need it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Queues {
    /// With one good replica left.
    pub last_copy: u64,
    /// With at most a third of the replicas left.
    pub few: u64,
    /// With some replicas missing.
    pub some: u64,
    /// With all replicas, but sharing a host, a rack or a zone although there are others.
    pub misplaced: u64,
}

/// Sums over the whole cluster. Chunks being written count only in `chunks`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Chunks.
    pub chunks: u64,
    /// Chunks with at least one good replica, but fewer than wanted.
    pub under_replicated: u64,
    /// Those of them that can have more replicas on the nodes that are there, and were not written just now.
    pub healable: u64,
    /// Chunks with more good replicas than wanted.
    pub over_replicated: u64,
    /// Chunks without any known replica that is good or corrupt.
    pub missing: u64,
    /// Chunks of which only corrupt replicas are known.
    pub corrupt: u64,
    /// Chunks with one good replica that want more; they are under-replicated too.
    pub only_one_copy: u64,
    /// Chunks that wait for copies, or have some under way but not enough; known to the leader only.
    pub queued: Queues,
    /// Copies ordered and not seen yet.
    pub pending_copies: u64,
    /// Bytes of them.
    pub pending_copy_bytes: u64,
    /// Replicas whose deletion is ordered and not seen yet.
    pub pending_deletions: u64,
    /// Chunks that have the replicas wanted, but sharing a host, a rack or a zone although there are others; known to
    /// the leader only.
    pub misplaced: u64,
    /// Replicas kept though no such chunk was ever made.
    pub quarantined: u64,
    /// Files open for writing.
    pub open_files: u64,
    /// Recoveries that wait for a replica with everything acknowledged; known to the leader only.
    pub waiting_recoveries: u64,
    /// Live nodes.
    pub live_nodes: u64,
    /// Stale nodes.
    pub stale_nodes: u64,
    /// Dead nodes.
    pub dead_nodes: u64,
    /// Bytes of the file systems of all volumes in use of nodes that are not dead, each counted once.
    pub capacity: u64,
    /// Bytes of replicas on them.
    pub used: u64,
    /// Bytes that new replicas may take there.
    pub available: u64,
}

/// Safe mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SafeModeView {
    /// Whether it is on.
    pub on: bool,
    /// Whether an administrator switched it on: it does not end by itself.
    pub manual: bool,
    /// Committed chunks with a reported good replica.
    pub reported: u64,
    /// Committed chunks that must have one before it ends by itself.
    pub needed: u64,
}

impl Cluster {
    /// A chunk; `None` if there is none of this id.
    pub fn chunk(&self, id: ChunkId) -> Option<ChunkView> {
        let chunk = self.map.get(id)?;
        let corrupt = self.map.odd(id).iter().filter(|odd| {
            !odd.doomed && chunk.judge(odd.generation, odd.length, odd.state) == Verdict::Corrupt
        });
        let corrupt: Vec<NodeIndex> = corrupt.map(|odd| odd.node).collect();
        let pipeline = self.map.side(id).map_or(&[][..], |side| &side.pipeline);
        Some(ChunkView {
            generation: chunk.generation,
            length: chunk.length(),
            replication: u32::from(chunk.replication),
            good: self.nodes.ids(chunk.good()),
            corrupt: self.nodes.ids(&corrupt),
            pipeline: self.nodes.ids(pipeline),
            misplaced: chunk.good().len() > 1 && self.shares_places(chunk.good()),
        })
    }

    /// Good finalized replicas of this generation of a chunk; while it is being written, those of whatever length.
    pub fn finalized(&self, id: ChunkId, generation: GenStamp) -> usize {
        self.map.finalized(id, generation)
    }

    /// Nodes to read a chunk from, best first: live before stale or stopping ones and those with a disk that does not
    /// answer, then one on the reader's host, then less loaded ones. While it is being written, the nodes of its pipeline and others with a replica of its
    /// generation. Empty if no replica is known to be fit for reading.
    pub fn locate(&self, id: ChunkId, reader_host: Option<&str>, now: Millis) -> Vec<NodeId> {
        let Some(chunk) = self.map.get(id) else {
            return Vec::new();
        };
        let readable = match chunk.length() {
            Some(_) => chunk.good().to_vec(),
            None => readable_while_open(&self.map, id),
        };
        let here = reader_host.map(of_text);
        let mut ranked: Vec<_> = readable
            .into_iter()
            .filter_map(|index| {
                let node = self.nodes.get(index)?;
                let state = self.nodes.state_at(node, &self.config, now);
                let unsure = state != NodeState::Live || node.stats.stopping || node.has_suspect_volume();
                let remote = here != Some(node.place.host);
                // Equals take turns from chunk to chunk.
                let turn = mix(id.0 ^ mix(u64::from(index.0)));
                let dead = state == NodeState::Dead;
                (!dead).then_some(((unsure, remote, node.load(self.promises.on(index), now), turn), node.id))
            })
            .collect();
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, node)| node).collect()
    }

    /// Whether this process of the node is the one that registered last, and the node was not forgotten.
    pub fn is_current(&self, node: NodeId, incarnation: u128) -> bool {
        self.nodes
            .by_id(node)
            .is_some_and(|known| known.incarnation == incarnation && !self.is_forgotten(node))
    }

    /// How far the duty of a registered node is; any other is in service.
    pub fn duty(&self, node: NodeId) -> DutyState {
        self.nodes.by_id(node).map_or(DutyState::InService, Node::duty_state)
    }

    /// All nodes that registered within the last day, dead ones too, and those that are remembered.
    pub fn nodes(&self, now: Millis) -> Vec<NodeView> {
        let views = self.nodes.iter().map(|(index, node)| NodeView {
            id: node.id,
            address: node.stats.address.clone(),
            version: node.version.clone(),
            state: self.nodes.state_at(node, &self.config, now),
            silence: now.since(node.seen),
            volumes: node.stats.volumes.clone(),
            replicas: self.map.held_count(index) as u64,
            active_writes: node.stats.active_writes,
            active_reads: node.stats.active_reads,
            active_copies: node.stats.active_copies,
            reported: node.reported,
            duty: node.duty_state(),
            depending_chunks: self.depending(index, node),
            maintenance_until: match node.duty {
                NodeDuty::Maintenance { until } => Some(until),
                NodeDuty::InService | NodeDuty::Decommission => None,
            },
        });
        views.chain(self.absent_views(now)).collect()
    }

    /// Sums over the whole cluster. Goes through the nodes, but not through the chunks.
    pub fn totals(&self, now: Millis) -> Totals {
        let counts = self.map.counts();
        let mut totals = Totals {
            chunks: counts.committed + counts.open,
            under_replicated: counts.under,
            over_replicated: counts.over,
            missing: counts.missing,
            corrupt: counts.corrupt,
            only_one_copy: counts.one_copy,
            misplaced: self.replication.crowded() as u64,
            queued: self.replication.queues(),
            pending_copy_bytes: self.replication.running.bytes,
            open_files: self.leases.files() as u64,
            waiting_recoveries: self.waiting_count() as u64,
            ..Totals::default()
        };
        let targets = self.nodes.iter().filter(|(_, node)| node.is_target());
        totals.healable = counts.healable(targets.count());
        let mut volumes = Vec::new();
        for (_, node) in self.nodes.iter() {
            match self.nodes.state_at(node, &self.config, now) {
                NodeState::Live => totals.live_nodes += 1,
                NodeState::Stale => totals.stale_nodes += 1,
                NodeState::Dead => {
                    totals.dead_nodes += 1;
                    continue;
                }
            }
            totals.pending_copies += u64::from(node.sending.count);
            totals.pending_deletions += node.deletions.len() as u64;
            totals.quarantined += node.quarantined.len() as u64;
            volumes.extend(node.stats.volumes.iter().map(Volume::space));
        }
        for state in self.missed(now) {
            *(if state == NodeState::Dead { &mut totals.dead_nodes } else { &mut totals.stale_nodes }) += 1;
        }
        // Over all nodes at once: several may be on one disk.
        let space = Space::sum(volumes);
        (totals.capacity, totals.used, totals.available) = (space.capacity, space.used, space.available);
        totals
    }

    /// Whether another client may take this file over: its writer has been silent for the soft limit, or it has
    /// none.
    pub fn lease_expired_soft(&self, inode: InodeId, now: Millis) -> bool {
        self.leases.age(inode, now).is_none_or(|age| age >= self.config.lease_soft_limit)
    }
}

/// Nodes an open chunk can be read from.
fn readable_while_open(map: &ChunkMap, id: ChunkId) -> Vec<NodeIndex> {
    let (Some(chunk), odd) = (map.get(id), map.odd(id)) else {
        return Vec::new();
    };
    let fit = |odd: &Odd| {
        !odd.doomed
            && odd.state != ReplicaState::Corrupt
            && chunk.judge(odd.generation, odd.length, odd.state) == Verdict::Candidate
    };
    let mut nodes: Vec<NodeIndex> = odd.iter().filter(|odd| fit(odd)).map(|odd| odd.node).collect();
    let pipeline = map.side(id).map_or(&[][..], |side| &side.pipeline);
    // Their reports may be on the way.
    nodes.extend(pipeline.iter().filter(|index| odd.iter().all(|odd| odd.node != **index)));
    nodes
}

#[cfg(test)]
mod tests {
    use dfs_types::VolumeHealth;

    use super::*;
    use crate::Event;
    use crate::test_support::{LENGTH, Rig, TERM, node_id, number, record, stats};

    #[test]
    fn reading_is_best_from_live_then_near_then_idle_nodes() {
        let mut rig = Rig::with_nodes(4);
        rig.chunk(10, 4, &[0, 1, 2, 3]);
        rig.apply(Event::Tick);
        rig.run(Duration::from_secs(6), &[1, 2, 3]);
        for (n, reads) in [(1, 0), (2, 40), (3, 20)] {
            let mut stats = stats(n);
            stats.active_reads = reads;
            rig.apply(Event::HeartbeatSeen { node: node_id(n), fence: TERM, stats });
        }
        let located = |host: &str| {
            let nodes = rig.cluster.locate(ChunkId(10), Some(host), rig.now);
            nodes.iter().map(|id| number(*id)).collect::<Vec<_>>()
        };
        assert_eq!(located("nowhere"), [1, 3, 2, 0]);
        assert_eq!(located(&stats(2).address.host), [2, 1, 3, 0]);
        assert_eq!(located(&stats(0).address.host), [1, 3, 2, 0], "a silent one is last");
        let mut suspect = stats(1);
        suspect.volumes[0].health = VolumeHealth::Suspect;
        rig.apply(Event::HeartbeatSeen { node: node_id(1), fence: TERM, stats: suspect });
        let located = rig.cluster.locate(ChunkId(10), None, rig.now);
        assert_eq!(
            located[..2],
            [node_id(3), node_id(2)],
            "one with a disk that does not answer is among the last"
        );
    }

    #[test]
    fn an_open_chunk_is_read_from_its_pipeline() {
        let mut rig = Rig::with_nodes(4);
        rig.open_chunk(10, 3, &[2, 0]);
        rig.changed(0, record(10, ReplicaState::Corrupt));
        rig.changed(1, record(10, ReplicaState::Rbw));
        let mut located: Vec<u16> =
            rig.cluster.locate(ChunkId(10), None, rig.now).iter().map(|id| number(*id)).collect();
        located.sort_unstable();
        assert_eq!(located, [1, 2]);
        let view = rig.cluster.chunk(ChunkId(10)).unwrap();
        assert_eq!((view.length, view.pipeline), (None, vec![node_id(2), node_id(0)]));
    }

    #[test]
    fn totals_and_nodes_say_what_is_there() {
        let mut rig = Rig::with_nodes(3);
        rig.chunk(10, 3, &[0, 1]);
        rig.chunk(11, 2, &[0]);
        rig.add_chunk(12, LENGTH, 1);
        rig.open_chunk(13, 1, &[0]);
        rig.apply(Event::LeaseTaken { inode: InodeId(1), holder: "a".into() });
        rig.out_of_safe_mode();
        rig.run(Duration::from_secs(16), &[0, 1]);
        let totals = rig.cluster.totals(rig.now);
        let chunks = (totals.chunks, totals.under_replicated, totals.only_one_copy, totals.missing);
        assert_eq!(chunks, (4, 2, 1, 1));
        assert_eq!(totals.healable, 1, "two nodes can't hold three replicas");
        assert_eq!((totals.live_nodes, totals.dead_nodes, totals.open_files), (2, 1, 1));
        assert_eq!(totals.capacity, 2 * stats(0).volumes[0].capacity);
        let nodes = rig.cluster.nodes(rig.now);
        let states: Vec<_> = nodes.iter().map(|node| (node.state, node.replicas, node.reported)).collect();
        assert_eq!(
            states,
            [(NodeState::Live, 2, true), (NodeState::Live, 1, true), (NodeState::Dead, 0, false)]
        );
        assert!(rig.cluster.is_current(node_id(0), 1) && !rig.cluster.is_current(node_id(0), 2));
        assert_eq!(rig.cluster.endpoint(node_id(1)), Some(&stats(1).address));
        assert_eq!(rig.cluster.endpoint(node_id(9)), None);
    }

    #[test]
    fn a_silent_writers_file_may_be_taken_over() {
        let mut rig = Rig::with_nodes(0);
        rig.apply(Event::LeaseTaken { inode: InodeId(1), holder: "a".into() });
        assert!(!rig.cluster.lease_expired_soft(InodeId(1), rig.now.plus(Duration::from_secs(59))));
        assert!(rig.cluster.lease_expired_soft(InodeId(1), rig.now.plus(Duration::from_mins(1))));
        assert!(rig.cluster.lease_expired_soft(InodeId(2), rig.now), "nobody writes it");
    }
}
