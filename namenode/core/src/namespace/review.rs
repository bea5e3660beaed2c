//! Lists of chunks that are gone through some at a time, because something changed for all of them: a node died, its
//! duty or its place changed, or there are other racks now.
//!
//! A node may hold a million replicas, and a whole rack may go at once: each tick looks at a bounded number.

use std::collections::{BTreeSet, VecDeque};

use dfs_types::ChunkId;

use super::Namespace;
use crate::cluster::{Cluster, NodeIndex};

/// Chunks looked at per tick: a few hundred milliseconds at most.
const LOOKED_AT: usize = 131_072;

/// What is in no hurry counts as so many chunks.
const UNHURRIED: usize = 4;

/// Why a node's chunks are gone through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The node is dead: its replicas are forgotten.
    Died,
    /// What is to be done for them may have changed.
    Changed,
    /// They may lie badly, because there are other places now. That is in no hurry.
    OtherPlaces,
    /// To make sure that none of them depends on the node.
    Proof,
}

/// Chunks of a node to go through.
#[derive(Debug)]
struct Review {
    node: NodeIndex,
    why: Why,
    chunks: Vec<ChunkId>,
}

/// What is to be gone through.
#[derive(Debug, Default)]
pub(super) struct Reviews {
    queue: VecDeque<Review>,
    /// Nodes whose chunks may lie badly because there are other places now: when nothing else is to be done.
    later: BTreeSet<NodeIndex>,
}

impl Namespace {
    /// Has a node's chunks gone through.
    pub(super) fn review(&mut self, index: NodeIndex, why: Why, further: Vec<ChunkId>) {
        let mut chunks = further;
        chunks.extend(self.map.held(index));
        if let Some(work) = self.work.get_mut(index) {
            work.reviews += 1;
            self.reviews.queue.push_back(Review { node: index, why, chunks });
        }
    }

    /// Has all chunks gone through, without hurry.
    pub(super) fn review_all(&mut self, cluster: &Cluster) {
        self.reviews.later = cluster.iter().map(|(index, _)| index).collect();
    }

    /// The node is heard of again: what is left of its replicas is believed in until its report comes.
    pub(super) fn end_death_reviews(&mut self, index: NodeIndex) {
        let Some(work) = self.work.get_mut(index) else {
            return;
        };
        self.reviews.queue.retain(|review| {
            let ends = review.node == index && review.why == Why::Died;
            work.reviews -= u32::from(ends);
            !ends
        });
    }

    /// Nothing that was begun is of use any more: every chunk is looked at anyway, or nothing is decided.
    pub(super) fn forget_reviews(&mut self) {
        for review in std::mem::take(&mut self.reviews.queue) {
            if review.why == Why::Died {
                self.reviews.queue.push_back(review);
            } else if let Some(work) = self.work.get_mut(review.node) {
                work.reviews -= 1;
            }
        }
        self.reviews.later.clear();
    }

    /// Whether chunks on this node are still to be looked at.
    pub(super) fn is_under_review(&self, index: NodeIndex) -> bool {
        self.reviews.later.contains(&index) || self.work.get(index).is_some_and(|work| work.reviews > 0)
    }

    /// Chunks on this node still to be looked at, for another reason than a proof.
    pub(super) fn unreviewed(&self, index: NodeIndex) -> usize {
        let concerns = |review: &&Review| review.node == index && review.why != Why::Proof;
        self.reviews.queue.iter().filter(concerns).map(|review| review.chunks.len()).sum()
    }

    /// Goes on with what is to be gone through; answers the nodes that no chunk depends on.
    pub(super) fn go_on_reviewing(&mut self, cluster: &Cluster) -> Vec<NodeIndex> {
        let (mut left, mut proven) = (LOOKED_AT, Vec::new());
        while left > 0 {
            let Some(mut review) = self.reviews.queue.pop_front() else {
                let Some(node) = self.reviews.later.pop_first() else {
                    break;
                };
                self.review(node, Why::OtherPlaces, Vec::new());
                // An empty list costs something, too.
                left -= 1;
                continue;
            };
            let cost = if review.why == Why::OtherPlaces { UNHURRIED } else { 1 };
            let mut refuted = false;
            while left > 0
                && !refuted
                && let Some(id) = review.chunks.pop()
            {
                left = left.saturating_sub(cost);
                refuted = !self.review_chunk(cluster, id, review.node, review.why);
            }
            if refuted || review.chunks.is_empty() {
                if let Some(work) = self.work.get_mut(review.node) {
                    work.reviews -= 1;
                }
                proven.extend((review.why == Why::Proof && !refuted).then_some(review.node));
            } else {
                self.reviews.queue.push_front(review);
            }
        }
        proven
    }

    /// `false` if the proof failed.
    fn review_chunk(&mut self, cluster: &Cluster, id: ChunkId, index: NodeIndex, why: Why) -> bool {
        match why {
            Why::Died => {
                self.map.forget(id, index, None);
                self.refile(cluster, id);
            }
            Why::Changed | Why::OtherPlaces => self.refile(cluster, id),
            Why::Proof => return self.is_provably_free_of(cluster, id, index),
        }
        true
    }

    /// A dead node's replicas no longer count.
    pub(crate) fn died(&mut self, cluster: &Cluster, index: NodeIndex) {
        self.end_expectations(cluster, index);
        self.end_copies_of(cluster, index);
        self.promises.forget_node(index);
        self.end_turn(index);
        if let Some(work) = self.work.get_mut(index) {
            work.reported = false;
            work.intake.begin_again();
            work.copy_orders.clear();
            work.recovery_orders.clear();
            work.deletions.drop_waiting();
            work.quarantined.clear();
        }
        let pipelined: Vec<ChunkId> = self.map.pipelined(index).collect();
        for id in pipelined {
            if self.settle_early(cluster, id) {
                self.refile(cluster, id);
            }
        }
        self.review(index, Why::Died, Vec::new());
    }
}
