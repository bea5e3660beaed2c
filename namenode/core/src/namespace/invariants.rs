//! Rules that hold after every event.

use std::collections::BTreeMap;

use dfs_types::ChunkId;

use super::Namespace;
use super::chunk_map::Verdict;
use super::node_list::NodeList;
use super::node_work::{Allowance, Streams};
use super::tally::Class;
use crate::cluster::{Cluster, Node, NodeIndex};

impl Namespace {
    /// Every broken rule, in words; empty if all is well. Goes through all chunks: for tests and for a rare check in
    /// production.
    pub(crate) fn violations(&self, cluster: &Cluster) -> Vec<String> {
        let mut found = self.leases.violations();
        if self.map.counts() != self.map.recount() {
            found.push(format!("counts are {:?}, but {:?} is there", self.map.counts(), self.map.recount()));
        }
        let (mut queued, mut held) = (0, BTreeMap::<NodeIndex, usize>::new());
        for id in self.map.ids() {
            self.check_chunk(cluster, id, &mut queued, &mut held, &mut found);
        }
        if queued != self.replication.queued() {
            found.push(format!("{queued} chunks say they are queued, {} are", self.replication.queued()));
        }
        self.check_nodes(&held, &mut found);
        self.check_copies(&mut found);
        self.check_duties(cluster, &mut found);
        let quarantined = self.work.iter().flat_map(|(_, work)| work.quarantined.keys());
        if quarantined.into_iter().any(|id| !self.foreign.contains(id)) {
            found.push("a replica in quarantine will not be found when its chunk comes".to_owned());
        }
        if !self.promises.is_consistent() {
            found.push("the space promised on a node is not that of its promises".to_owned());
        }
        if self.turns.len() > self.config.report_turns {
            found.push(format!("{} nodes report at the same time", self.turns.len()));
        }
        for id in self.recoveries.keys() {
            if self.map.get(*id).is_none() {
                found.push(format!("chunk {id} is recovered though it is gone"));
            }
        }
        found
    }

    fn check_chunk(
        &self,
        cluster: &Cluster,
        id: ChunkId,
        queued: &mut usize,
        held: &mut BTreeMap<NodeIndex, usize>,
        found: &mut Vec<String>,
    ) {
        let Some(chunk) = self.map.get(id) else {
            return;
        };
        let mut holders: Vec<NodeIndex> = self.map.holders(id).collect();
        for index in &holders {
            *held.entry(*index).or_default() += 1;
            let reviewed = self.work.get(*index).is_none_or(|work| work.reviews == 0);
            if cluster.is_dead(*index) && reviewed {
                found.push(format!("chunk {id} counts a replica on dead node {}", index.0));
            }
        }
        let count = holders.len();
        holders.sort_unstable();
        holders.dedup();
        if holders.len() != count {
            found.push(format!("chunk {id} has two replicas on one node"));
        }
        if chunk.length().is_none() && !chunk.good().is_empty() {
            found.push(format!("chunk {id} is open and has good replicas"));
        }
        for index in chunk.good() {
            let ordered = self.work.get(*index).and_then(|work| work.deletions.generation(id));
            if ordered == Some(chunk.generation) {
                found.push(format!("chunk {id} counts the replica that node {} is to delete", index.0));
            }
        }
        for odd in self.map.odd(id) {
            let verdict = chunk.judge(odd.generation, odd.length, odd.state);
            if verdict == Verdict::Good && !odd.doomed {
                found.push(format!("chunk {id} does not count the good replica on node {}", odd.node.0));
            }
            let ordered = self.work.get(odd.node).and_then(|work| work.deletions.generation(id));
            if odd.doomed != (ordered == Some(odd.generation)) {
                found.push(format!("chunk {id} on node {}: doomed and ordered differ", odd.node.0));
            }
        }
        *queued += usize::from(chunk.queued.is_some());
        let coming = self.replication.coming(id).iter().map(|copy| copy.target);
        holders.extend(coming);
        holders.extend(self.map.side(id).iter().flat_map(|side| &side.pipeline));
        let under_review = holders.iter().any(|index| self.is_under_review(*index));
        let dependents = self.dependents.get(&id).map_or(&[][..], NodeList::as_slice);
        if self.decides() && !under_review && dependents != self.dependents_of(id).as_slice() {
            found.push(format!("chunk {id} does not know which nodes it depends on"));
        }
        if self.replication.find(id) != chunk.queued.into_iter().collect::<Vec<_>>()
            || self.untidy.contains(id) != chunk.untidy
        {
            found.push(format!("chunk {id} is not in the rings it says it is in"));
        }
        let up_to_date = chunk.queued == self.urgency_of(cluster, id) && chunk.untidy == self.is_untidy(id);
        if self.decides() && !up_to_date && !under_review {
            found.push(format!(
                "chunk {id} is queued as {:?}, wants {:?}",
                chunk.queued,
                self.urgency_of(cluster, id)
            ));
        }
    }

    fn check_nodes(&self, held: &BTreeMap<NodeIndex, usize>, found: &mut Vec<String>) {
        for (index, work) in self.work.iter() {
            let (known, counted) =
                (self.map.held_count(index), held.get(&index).copied().unwrap_or_default());
            if known != counted {
                found.push(format!("node {} holds {known} replicas, chunks say {counted}", index.0));
            }
            for streams in [work.sending, work.receiving] {
                if Allowance::of_node(&self.config).is_exceeded_by(streams) {
                    found.push(format!("node {} has too many copies: {streams:?}", index.0));
                }
            }
        }
    }

    fn check_duties(&self, cluster: &Cluster, found: &mut Vec<String>) {
        let mut depending = BTreeMap::<NodeIndex, u64>::new();
        for index in self.dependents.values().flat_map(NodeList::as_slice) {
            *depending.entry(*index).or_default() += 1;
        }
        let mut expected = BTreeMap::<ChunkId, u16>::new();
        for (index, work) in self.work.iter() {
            if work.depending != depending.remove(&index).unwrap_or_default() {
                found
                    .push(format!("{} chunks depend on node {}, but others say so", work.depending, index.0));
            }
            let is_used_as_meant = |node: &Node| {
                self.map.classes().of(index) == Class::from(node.duty())
                    && node.duty() == cluster.duty_of(node.id())
            };
            if !cluster.get(index).is_some_and(is_used_as_meant) {
                found.push(format!("node {} is not used for what it is meant for", index.0));
            }
            for id in work.awaited.iter().flat_map(|awaited| awaited.chunks.iter()) {
                *expected.entry(id).or_default() += 1;
            }
        }
        if !depending.is_empty() {
            found.push("chunks depend on a node that is gone".to_owned());
        }
        if expected.len() != self.expected.len()
            || expected.iter().any(|(id, nodes)| self.expected.get(id) != Some(nodes))
        {
            found.push("the chunks expected are not those awaited".to_owned());
        }
    }

    fn check_copies(&self, found: &mut Vec<String>) {
        let (mut sending, mut receiving) =
            (BTreeMap::<NodeIndex, Streams>::new(), BTreeMap::<NodeIndex, Streams>::new());
        let (mut running, mut moving) = (Streams::default(), BTreeMap::<NodeIndex, u32>::new());
        for (id, copies) in &self.replication.copies {
            for copy in copies {
                running.start(copy.bytes);
                for end in [copy.source, copy.target] {
                    *moving.entry(end).or_default() += u32::from(copy.moves);
                }
                sending.entry(copy.source).or_default().start(copy.bytes);
                receiving.entry(copy.target).or_default().start(copy.bytes);
                let good = self.map.get(*id).is_some_and(|chunk| chunk.good().contains(&copy.source));
                if !good {
                    found.push(format!("chunk {id} is copied from a node without a good replica"));
                }
            }
        }
        for (index, work) in self.work.iter() {
            let expected =
                (sending.remove(&index).unwrap_or_default(), receiving.remove(&index).unwrap_or_default());
            let moving = moving.remove(&index).unwrap_or_default();
            if (work.sending, work.receiving, work.moving) != (expected.0, expected.1, moving) {
                found.push(format!("node {}: streams are not those of its copies", index.0));
            }
        }
        if running != self.replication.running || Allowance::of_cluster(&self.config).is_exceeded_by(running)
        {
            found.push(format!("{running:?} is under way, {:?} is noted", self.replication.running));
        }
        if !sending.is_empty() || !receiving.is_empty() {
            found.push("a node that is gone takes part in copies".to_owned());
        }
    }
}
