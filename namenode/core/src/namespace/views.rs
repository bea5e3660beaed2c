//! What others may know.

use dfs_types::{
    ChunkId, DutyState, Endpoint, GenStamp, InodeId, Millis, NodeDuty, NodeReport, ReplicaState, Space,
    StorageType, VolumeHealth,
};

use super::Namespace;
use super::chunk_map::{ChunkMap, Odd, Verdict};
use crate::cluster::{Absent, Cluster, Node, NodeIndex};
use crate::event::VolumeRecord;
use crate::hash::{mix, of_text};
use crate::{ChunkView, NodeState, Target, Totals, Volume};

impl Namespace {
    /// A chunk; `None` if there is none of this id.
    pub(crate) fn chunk(&self, cluster: &Cluster, id: ChunkId) -> Option<ChunkView> {
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
            good: cluster.ids(chunk.good()),
            corrupt: cluster.ids(&corrupt),
            pipeline: cluster.ids(pipeline),
            misplaced: chunk.good().len() > 1 && self.shares_places(cluster, chunk.good()),
        })
    }

    /// Good finalized replicas of this generation of a chunk; while it is being written, those of whatever length.
    pub(crate) fn finalized(&self, id: ChunkId, generation: GenStamp) -> usize {
        self.map.finalized(id, generation)
    }

    /// Where to read a chunk from, best first; see [`Core::locate`](crate::Core::locate).
    pub(crate) fn locate(
        &self,
        cluster: &Cluster,
        id: ChunkId,
        reader_host: Option<&str>,
        now: Millis,
    ) -> Vec<Target> {
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
                let (node, slot) = (cluster.get(index)?, self.map.slot(id, index));
                let state = cluster.state_at(node, now);
                let sound = node.health(slot) == VolumeHealth::Healthy;
                let unsure = state != NodeState::Live || node.stats().stopping || !sound;
                let target = cluster.target(index, slot)?;
                let archive = target.storage == Some(StorageType::Archive);
                let remote = here != Some(node.place().host);
                // Equals take turns from chunk to chunk.
                let turn = mix(id.0 ^ mix(u64::from(index.0)));
                let rank = (unsure, archive, remote, self.load(cluster, index, now), turn, target.node);
                (state != NodeState::Dead).then_some((rank, target))
            })
            .collect();
        ranked.sort_unstable_by_key(|(rank, _)| *rank);
        ranked.into_iter().map(|(_, target)| target).collect()
    }

    /// All nodes of the cluster's table, and those that are only remembered.
    pub(crate) fn nodes(&self, cluster: &Cluster, now: Millis) -> Vec<NodeReport> {
        let view = |(index, node): (NodeIndex, &Node)| {
            let stats = node.stats();
            NodeReport {
                node: Endpoint { id: node.id(), at: stats.address.clone(), storage: None },
                state: cluster.state_at(node, now),
                silent: now.since(node.seen()),
                volumes: stats.volumes.clone(),
                replicas: self.map.held_count(index) as u64,
                active_writes: stats.active_writes,
                active_reads: stats.active_reads,
                active_copies: stats.active_copies,
                version: node.version().to_owned(),
                reported: self.work.get(index).is_some_and(|work| work.reported),
                duty: self.duty_state(cluster, index),
                depending_chunks: self.depending(cluster, index),
                maintenance_until: match node.duty() {
                    NodeDuty::Maintenance { until } => Some(until),
                    NodeDuty::InService | NodeDuty::Decommission => None,
                },
            }
        };
        let absent = cluster.absent(self.nothing_lost(), now).map(absent_view);
        cluster.iter().map(view).chain(absent).collect()
    }

    /// Whether every committed chunk has a good replica.
    pub(super) fn nothing_lost(&self) -> bool {
        let counts = self.map.counts();
        counts.missing + counts.corrupt == 0
    }

    /// Sums over the whole cluster. Goes through the nodes, but not through the chunks.
    pub(crate) fn totals(&self, cluster: &Cluster, now: Millis) -> Totals {
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
        let targets = cluster.iter().filter(|(_, node)| node.is_target());
        totals.healable = counts.healable(targets.count());
        let mut volumes = Vec::new();
        for (index, node) in cluster.iter() {
            match cluster.state_at(node, now) {
                NodeState::Live => totals.live_nodes += 1,
                NodeState::Stale => totals.stale_nodes += 1,
                NodeState::Dead => {
                    totals.dead_nodes += 1;
                    continue;
                }
            }
            if let Some(work) = self.work.get(index) {
                totals.pending_copies += u64::from(work.sending.count);
                totals.pending_deletions += work.deletions.len() as u64;
                totals.quarantined += work.quarantined.len() as u64;
            }
            volumes.extend(node.stats().volumes.iter().map(Volume::space));
        }
        let absent = cluster.absent(self.nothing_lost(), now);
        for Absent { state, .. } in absent.filter(|absent| absent.duty != DutyState::Decommissioned) {
            *(if state == NodeState::Dead { &mut totals.dead_nodes } else { &mut totals.stale_nodes }) += 1;
        }
        // Over all nodes at once: several may be on one disk.
        let space = Space::sum(volumes);
        (totals.capacity, totals.used, totals.available) = (space.capacity, space.used, space.available);
        totals
    }

    /// Whether another client may take this file over: its writer has been silent for the soft limit, or it has
    /// none.
    pub(crate) fn lease_expired_soft(&self, inode: InodeId, now: Millis) -> bool {
        self.leases.age(inode, now).is_none_or(|age| age >= self.config.lease_soft_limit)
    }
}

/// What is known of a node that is only remembered.
fn absent_view(absent: Absent<'_>) -> NodeReport {
    let Absent { id, record, silence, state, duty, maintenance_until } = absent;
    NodeReport {
        node: Endpoint { id, at: record.address.clone(), storage: None },
        state,
        silent: silence,
        volumes: record.volumes.iter().map(VolumeRecord::unheard).collect(),
        replicas: 0,
        active_writes: 0,
        active_reads: 0,
        active_copies: 0,
        version: record.release.clone(),
        reported: false,
        duty,
        depending_chunks: 0,
        maintenance_until,
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
    use std::time::Duration;

    use dfs_types::{ReplicaRecord, VolumeId};

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
            let nodes = rig.core.locate(ChunkId(10), Some(host), rig.now);
            nodes.iter().map(|target| number(target.node)).collect::<Vec<_>>()
        };
        assert_eq!(located("nowhere"), [1, 3, 2, 0]);
        assert_eq!(located(&stats(2).address.host), [2, 1, 3, 0]);
        assert_eq!(located(&stats(0).address.host), [1, 3, 2, 0], "a silent one is last");
        let mut suspect = stats(1);
        suspect.volumes[0].health = VolumeHealth::Suspect;
        rig.apply(Event::HeartbeatSeen { node: node_id(1), fence: TERM, stats: suspect });
        let located = rig.core.locate(ChunkId(10), None, rig.now);
        let first: Vec<u16> = located[..2].iter().map(|target| number(target.node)).collect();
        assert_eq!(first, [3, 2], "one with a disk that does not answer is among the last");
    }

    #[test]
    fn a_replica_is_as_good_as_the_volume_it_is_on() {
        let mut rig = Rig::default();
        let volume = |n: u16, at: u8| {
            VolumeId::from_bytes(&[n as u8 + 1, at, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7])
        };
        let with = |n: u16, storage: StorageType, health: [VolumeHealth; 2]| {
            let mut stats = stats(n);
            let like = stats.volumes.remove(0);
            for (at, health) in (0..2).zip(health) {
                stats.volumes.push(Volume { id: volume(n, at).unwrap(), storage, health, ..like.clone() });
            }
            stats
        };
        use VolumeHealth::{Failed, Healthy, Suspect};
        for (n, storage) in [(0, StorageType::Disk), (1, StorageType::Ssd), (2, StorageType::Archive)] {
            rig.join(n, with(n, storage, [Healthy, Healthy]));
            rig.report(n, vec![]);
        }
        rig.add_chunk(10, LENGTH, 3);
        for n in 0..3 {
            rig.changed(n, ReplicaRecord { volume: volume(n, 1), ..record(10, ReplicaState::Finalized) });
        }
        let located = |rig: &Rig| -> Vec<(u16, Option<StorageType>)> {
            let targets = rig.core.locate(ChunkId(10), None, rig.now);
            targets.into_iter().map(|target| (number(target.node), target.storage)).collect()
        };
        assert_eq!(located(&rig)[2], (2, Some(StorageType::Archive)), "what is for hardly ever is last");
        let on_its = rig.core.locate(ChunkId(10), Some(&stats(2).address.host), rig.now);
        assert_eq!(number(on_its[2].node), 2, "also for a reader beside it");
        let beat = |rig: &mut Rig, n: u16, storage, health| {
            let stats = with(n, storage, health);
            rig.apply(Event::HeartbeatSeen { node: node_id(n), fence: TERM, stats });
        };
        beat(&mut rig, 1, StorageType::Ssd, [Suspect, Healthy]);
        assert_ne!(located(&rig)[2].0, 1, "it is on the other volume");
        for health in [Suspect, Failed] {
            beat(&mut rig, 1, StorageType::Ssd, [Healthy, health]);
            assert_eq!(located(&rig)[2], (1, Some(StorageType::Ssd)), "{health:?}");
        }
        beat(&mut rig, 1, StorageType::Ssd, [Healthy, Healthy]);
        assert_ne!(located(&rig)[2].0, 1);
        rig.check();
    }

    #[test]
    fn an_open_chunk_is_read_from_its_pipeline() {
        let mut rig = Rig::with_nodes(4);
        rig.open_chunk(10, 3, &[2, 0]);
        rig.changed(0, record(10, ReplicaState::Corrupt));
        rig.changed(1, record(10, ReplicaState::Rbw));
        let mut located: Vec<u16> =
            rig.core.locate(ChunkId(10), None, rig.now).iter().map(|it| number(it.node)).collect();
        located.sort_unstable();
        assert_eq!(located, [1, 2]);
        let view = rig.core.chunk(ChunkId(10)).unwrap();
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
        let totals = rig.core.totals(rig.now);
        let chunks = (totals.chunks, totals.under_replicated, totals.only_one_copy, totals.missing);
        assert_eq!(chunks, (4, 2, 1, 1));
        assert_eq!(totals.healable, 1, "two nodes can't hold three replicas");
        assert_eq!((totals.live_nodes, totals.dead_nodes, totals.open_files), (2, 1, 1));
        assert_eq!(totals.capacity, 2 * stats(0).volumes[0].capacity);
        let nodes = rig.core.nodes(rig.now);
        let states: Vec<_> = nodes.iter().map(|node| (node.state, node.replicas, node.reported)).collect();
        assert_eq!(
            states,
            [(NodeState::Live, 2, true), (NodeState::Live, 1, true), (NodeState::Dead, 0, false)]
        );
        assert!(rig.core.is_current(node_id(0), 1) && !rig.core.is_current(node_id(0), 2));
        assert_eq!(rig.core.endpoint(node_id(1)), Some(&stats(1).address));
        assert_eq!(rig.core.endpoint(node_id(9)), None);
    }

    #[test]
    fn a_silent_writers_file_may_be_taken_over() {
        let mut rig = Rig::with_nodes(0);
        rig.apply(Event::LeaseTaken { inode: InodeId(1), holder: "a".into() });
        assert!(!rig.core.lease_expired_soft(InodeId(1), rig.now.plus(Duration::from_secs(59))));
        assert!(rig.core.lease_expired_soft(InodeId(1), rig.now.plus(Duration::from_mins(1))));
        assert!(rig.core.lease_expired_soft(InodeId(2), rig.now), "nobody writes it");
    }
}
