//! Replicas of chunks that this namespace does not know but may have known: it was restored from an old backup. They
//! are kept until a person decides.

use std::collections::BTreeMap;

use dfs_types::{ChunkId, NodeId, QuarantinedChunk, ReplicaRecord};

use super::Namespace;
use crate::cluster::{Cluster, Node};

impl Namespace {
    /// Quarantined chunks after `after`, ordered by id, at most `limit`; and whether there are more. Goes through all of
    /// them.
    pub(crate) fn quarantine(
        &self,
        cluster: &Cluster,
        after: ChunkId,
        limit: usize,
    ) -> (Vec<QuarantinedChunk<NodeId>>, bool) {
        let mut first: BTreeMap<ChunkId, Vec<(NodeId, ReplicaRecord)>> = BTreeMap::new();
        let mut more = false;
        for (index, work) in self.work.iter() {
            let Some(node) = cluster.get(index).map(Node::id) else { continue };
            for (chunk, record) in work.quarantined.iter().filter(|(chunk, _)| **chunk > after) {
                let ends_before = first.last_key_value().is_some_and(|(last, _)| last < chunk);
                if first.len() == limit && ends_before {
                    more = true;
                    continue;
                }
                first.entry(*chunk).or_default().push((node, *record));
                if first.len() > limit {
                    first.pop_last();
                    more = true;
                }
            }
        }
        let chunks = first.into_iter().map(|(chunk, replicas)| QuarantinedChunk { chunk, replicas });
        (chunks.collect(), more)
    }

    /// Orders up to `limit` quarantined replicas to be deleted, of these chunks (sorted) or, if there are none, of all;
    /// answers how many. Fewer than `limit` means that all are ordered. Nothing is ordered by a follower or in safe mode.
    ///
    /// A replica that its node reports once more before it is deleted is quarantined again until it is gone.
    pub(crate) fn delete_quarantined(&mut self, chunks: &[ChunkId], limit: usize) -> usize {
        if !self.decides() {
            return 0;
        }
        let mut ordered = 0;
        for (_, work) in self.work.iter_mut() {
            let meant = |chunk: &ChunkId| chunks.is_empty() || chunks.binary_search(chunk).is_ok();
            let due: Vec<ChunkId> =
                work.quarantined.keys().copied().filter(meant).take(limit - ordered).collect();
            ordered += due.len();
            for chunk in due {
                if let Some(record) = work.quarantined.remove(&chunk) {
                    work.deletions.add(chunk, record.generation);
                }
            }
        }
        ordered
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use dfs_types::{GenStamp, ReplicaState};

    use super::*;
    use crate::test_support::{GENERATION, Rig, node_id, record};
    use crate::{Command, Event};

    fn deleted(rig: &mut Rig, n: u16) -> Vec<(ChunkId, GenStamp)> {
        let commands = rig.core.take_commands(node_id(n), rig.now);
        let deleted = commands.into_iter().filter_map(|command| match command {
            Command::Delete { replicas } => Some(replicas),
            Command::Copy { .. } | Command::Recover { .. } => None,
        });
        deleted.flatten().collect()
    }

    /// Chunks 100 to 104 are lost, each on two of three nodes.
    fn restored() -> Rig {
        let mut rig = Rig::with_nodes(3);
        rig.chunk(10, 1, &[0]);
        rig.core.add_lost_chunks(ChunkId(100)..ChunkId(200));
        rig.out_of_safe_mode();
        for id in 100..105 {
            for n in [id % 3, (id + 1) % 3] {
                rig.changed(n as u16, record(id, ReplicaState::Finalized));
            }
        }
        rig
    }

    #[test]
    fn the_quarantine_is_told_page_by_page() {
        let rig = restored();
        let mut after = ChunkId(0);
        let mut seen = Vec::new();
        loop {
            let (page, more) = rig.core.quarantine(after, 2);
            assert!(page.len() == 2 || !more);
            after = page.last().unwrap().chunk;
            seen.extend(page);
            if !more {
                break;
            }
        }
        let ids: Vec<u64> = seen.iter().map(|chunk| chunk.chunk.0).collect();
        assert_eq!(ids, [100, 101, 102, 103, 104]);
        for QuarantinedChunk { chunk, replicas } in seen {
            let expected =
                ReplicaRecord { generation: GENERATION, ..record(chunk.0, ReplicaState::Finalized) };
            let mut nodes: Vec<NodeId> = replicas.iter().map(|(node, _)| *node).collect();
            nodes.sort_unstable();
            let mut holders = [node_id((chunk.0 % 3) as u16), node_id(((chunk.0 + 1) % 3) as u16)];
            holders.sort_unstable();
            assert_eq!(nodes, holders);
            assert!(replicas.iter().all(|(_, record)| *record == expected));
        }
        assert_eq!(rig.core.quarantine(ChunkId(104), 2), (vec![], false));
    }

    #[test]
    fn only_what_a_person_names_is_deleted() {
        let mut rig = restored();
        assert_eq!(rig.core.delete_quarantined(&[ChunkId(10), ChunkId(101)], 100), 2);
        assert_eq!(deleted(&mut rig, 2), [(ChunkId(101), GENERATION)]);
        assert_eq!(deleted(&mut rig, 0), [(ChunkId(101), GENERATION)], "both replicas of it");
        assert_eq!(deleted(&mut rig, 1), []);
        // Reported again before it is gone, it is seen again until it is.
        rig.changed(2, record(101, ReplicaState::Finalized));
        assert_eq!(rig.core.totals(rig.now).quarantined, 9);
        rig.gone(2, record(101, ReplicaState::Finalized));
        assert_eq!(rig.core.totals(rig.now).quarantined, 8);
        rig.run(Duration::from_mins(2), &[0, 1, 2]);
        assert_eq!(rig.core.totals(rig.now).quarantined, 8, "the others stay");
        rig.check();
    }

    #[test]
    fn all_are_deleted_in_slices() {
        let mut rig = restored();
        let slices: Vec<usize> = (0..3).map(|_| rig.core.delete_quarantined(&[], 6)).collect();
        assert_eq!(slices, [6, 4, 0]);
        let all: usize = (0..3).map(|n| deleted(&mut rig, n).len()).sum();
        assert_eq!((all, rig.core.totals(rig.now).quarantined), (10, 0));
        assert_eq!(rig.core.chunk(ChunkId(10)).unwrap().good.len(), 1);
        rig.check();
    }

    #[test]
    fn a_follower_deletes_nothing() {
        let mut rig = restored();
        rig.apply(Event::LeadershipLost);
        assert_eq!(rig.core.delete_quarantined(&[], 100), 0);
        assert_eq!(rig.core.totals(rig.now).quarantined, 10);
    }
}
