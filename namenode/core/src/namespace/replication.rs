//! Which chunks need copies, and in what order.
//!
//! A chunk that wants replicas, or wants them elsewhere, is in one of four rings, the most endangered first. Each tick
//! goes round the rings and plans what streams and targets allow (see `copies`); a chunk that can't be served now just
//! waits for its next turn.

use std::collections::BTreeMap;

use dfs_types::{ChunkId, Millis};

use super::Namespace;
use super::chunk_map::Urgency;
use super::copies::Copying;
use super::node_work::Streams;
use super::ring::Ring;
use super::tally::Tally;
use crate::Queues;
use crate::cluster::Cluster;

/// What is to be copied.
#[derive(Debug, Default)]
pub(super) struct Replication {
    last_copy: Ring,
    few: Ring,
    some: Ring,
    crowded: Ring,
    pub(super) copies: BTreeMap<ChunkId, Vec<Copying>>,
    /// All of them together.
    pub(super) running: Streams,
    /// No copy at all is planned until then.
    pub(super) quiet_until: Millis,
    /// Only last copies are copied until then.
    pub(super) storm_until: Millis,
}

impl Replication {
    pub(super) fn ring(&mut self, urgency: Urgency) -> &mut Ring {
        match urgency {
            Urgency::LastCopy => &mut self.last_copy,
            Urgency::Few => &mut self.few,
            Urgency::Some => &mut self.some,
            Urgency::Crowded => &mut self.crowded,
        }
    }

    /// How many chunks are in each ring.
    pub(super) fn queues(&self) -> Queues {
        let length = |ring: &Ring| ring.len() as u64;
        Queues {
            last_copy: length(&self.last_copy),
            few: length(&self.few),
            some: length(&self.some),
            misplaced: length(&self.crowded),
        }
    }

    /// In which ring a chunk is, found without its own note of it.
    pub(super) fn find(&self, chunk: ChunkId) -> Vec<Urgency> {
        let rings = [&self.last_copy, &self.few, &self.some, &self.crowded];
        let found = Urgency::ALL.into_iter().zip(rings).filter(|(_, ring)| ring.contains(chunk));
        found.map(|(urgency, _)| urgency).collect()
    }

    /// Chunks in all rings.
    pub(super) fn queued(&self) -> usize {
        self.last_copy.len() + self.few.len() + self.some.len() + self.crowded.len()
    }

    /// Chunks whose replicas only lie badly.
    pub(super) fn crowded(&self) -> usize {
        self.crowded.len()
    }

    /// Copies of a chunk under way.
    pub(super) fn coming(&self, id: ChunkId) -> &[Copying] {
        self.copies.get(&id).map_or(&[], Vec::as_slice)
    }
}

/// How badly a chunk of which `lacking` replicas are missing needs more. What is copied only because a node is to be
/// taken out of service is in no danger.
fn urgency(tally: Tally, lacking: usize, coming: usize, wanted: usize) -> Option<Urgency> {
    let there = tally.all();
    if coming >= lacking {
        None
    } else if there == 0 || (there == 1 && wanted > 1) {
        Some(Urgency::LastCopy)
    } else if there * 3 <= wanted {
        Some(Urgency::Few)
    } else {
        Some(Urgency::Some)
    }
}

impl Namespace {
    /// How badly a chunk needs a copy, seen from what is known of it.
    pub(super) fn urgency_of(&self, cluster: &Cluster, id: ChunkId) -> Option<Urgency> {
        let chunk = self.map.get(id).filter(|chunk| !chunk.good().is_empty() && self.map.is_settled(id))?;
        let tally = self.map.tally(self.firm(id, chunk));
        let lacking = self.map.classes().lacking(tally, chunk.wanted());
        if lacking > 0 {
            return urgency(tally, lacking, self.on_its_way(id), chunk.wanted());
        }
        self.is_crowded(cluster, chunk).then_some(Urgency::Crowded)
    }

    /// Replicas of a chunk that are being copied, or that a node which began anew is expected to report. A copy to a node
    /// that went out of service meanwhile goes on, and its stream counts, but it is of no use.
    pub(super) fn on_its_way(&self, id: ChunkId) -> usize {
        let expected = self.expected.get(&id).map_or(0, |nodes| usize::from(*nodes));
        let targets = self.replication.coming(id).iter().map(|copy| copy.target);
        self.map.tally(targets).service + expected
    }

    /// Brings the rings, and what is known of nodes that are to leave, up to date with a chunk that changed in any way.
    /// Nothing is queued in safe mode or by a follower: all is looked at when that ends.
    pub(super) fn refile(&mut self, cluster: &Cluster, id: ChunkId) {
        self.end_void_copies(id);
        if !self.decides() {
            return;
        }
        self.note_dependents(id);
        let (urgency, untidy) = (self.urgency_of(cluster, id), self.is_untidy(id));
        let Some(chunk) = self.map.get_mut(id) else {
            return;
        };
        if chunk.queued != urgency {
            if let Some(was) = chunk.queued {
                self.replication.ring(was).remove(id);
            }
            if let Some(is) = urgency {
                self.replication.ring(is).insert(id);
            }
            chunk.queued = urgency;
        }
        if chunk.untidy != untidy {
            if untidy {
                self.untidy.insert(id);
            } else {
                self.untidy.remove(id);
            }
            chunk.untidy = untidy;
        }
    }

    /// Looks at every chunk; for the end of safe mode and the beginning or end of leadership.
    pub(super) fn refile_all(&mut self, cluster: &Cluster) {
        for urgency in Urgency::ALL {
            for id in self.replication.ring(urgency).clear() {
                if let Some(chunk) = self.map.get_mut(id) {
                    chunk.queued = None;
                }
            }
        }
        for id in self.untidy.clear() {
            if let Some(chunk) = self.map.get_mut(id) {
                chunk.untidy = false;
            }
        }
        self.survey(cluster);
        // Every chunk is looked at here.
        self.forget_reviews();
        self.forget_duty_progress();
        if !self.decides() {
            return;
        }
        let unusual = self.map.classes().has_unusual();
        let wanting =
            |id: &ChunkId| unusual || self.urgency_of(cluster, *id).is_some() || self.is_untidy(*id);
        let wanting: Vec<ChunkId> = self.map.ids().filter(wanting).collect();
        for id in wanting {
            self.refile(cluster, id);
        }
    }

    /// A chunk is gone: nothing is to be done for it.
    pub(super) fn unfile(&mut self, id: ChunkId) {
        self.end_copies(id, |_| true);
        for urgency in Urgency::ALL {
            self.replication.ring(urgency).remove(id);
        }
        self.untidy.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fewer_replicas_are_more_urgent() {
        let of = |service, leaving, coming, wanted: usize| {
            let tally = Tally { service, maintenance: 0, leaving };
            urgency(tally, wanted.saturating_sub(service), coming, wanted)
        };
        assert_eq!(of(1, 0, 0, 3), Some(Urgency::LastCopy));
        assert_eq!(of(2, 0, 0, 6), Some(Urgency::Few));
        assert_eq!(of(2, 0, 0, 3), Some(Urgency::Some));
        assert_eq!(of(0, 0, 0, 1), Some(Urgency::LastCopy), "the only one may go any moment");
        assert_eq!(of(0, 1, 0, 2), Some(Urgency::LastCopy), "one copy is one copy");
        assert_eq!(of(0, 1, 0, 1), Some(Urgency::Some), "the node leaves, but is there");
        assert_eq!(of(0, 3, 0, 3), Some(Urgency::Some));
        for (firm, coming, wanted) in [(3, 0, 3), (2, 1, 3), (4, 0, 3), (1, 0, 1), (0, 1, 1)] {
            assert_eq!(of(firm, 0, coming, wanted), None, "{firm} {coming} {wanted}");
        }
    }
}
