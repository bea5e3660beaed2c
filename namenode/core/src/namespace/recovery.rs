//! Recovery of chunks whose writer is gone.
//!
//! One holder of a replica, the primary, is told to agree with the others on a length and to finalize. If nothing
//! comes of it in time, another is told. A recovery ends when the chunk is committed or removed.
//!
//! A chunk whose length the writer had committed may need one too: the writer goes on to the next chunk before the
//! nodes have finalized this one.
//!
//! A recovery never ends with fewer bytes than were acknowledged: without a replica of that length it waits. That every
//! node known here has none is no proof, as a node that is away may not be known here at all. Two things let it end with
//! the longest replica there is: every node of the pipeline, which the namespace remembers, is there with all its volumes
//! and has said what it holds; or an administrator's word ([`Event::LossAccepted`](crate::Event::LossAccepted)).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dfs_types::{ChunkId, GenStamp, Millis, NodeId, ReplicaState};

use super::Namespace;
use super::chunk_map::{Chunk, Odd, Verdict};
use crate::cluster::{Cluster, NodeIndex};
use crate::{Command, Effect, NodeState, WaitingRecovery};

/// One recovery under way.
#[derive(Debug)]
pub(super) struct Recovery {
    new_generation: GenStamp,
    /// Bytes that readers count on.
    acknowledged: u64,
    /// The nodes that the chunk was written to last; empty: not known.
    pipeline: Vec<NodeId>,
    /// An administrator accepts that it ends with fewer, if it must.
    loss_accepted: bool,
    /// Bytes that the last order asked for: fewer than `acknowledged` only if a loss is certain or accepted.
    floor: u64,
    since: Millis,
    /// Nodes that were primary once, in this round.
    tried: BTreeSet<NodeIndex>,
    /// Who is primary, since when.
    primary: Option<(NodeIndex, Millis)>,
    /// When its end was last proposed. The proposal may fail, so it is made again.
    proposed: Option<Millis>,
    /// No node that can be asked may have all that was acknowledged, or all were asked in vain.
    waits: bool,
    /// Since when every node of the pipeline has said that it has less.
    lost_since: Option<Millis>,
}

/// All recoveries under way.
pub(super) type Recoveries = BTreeMap<ChunkId, Recovery>;

/// What a recovery can work with.
#[derive(Debug, Default, PartialEq, Eq)]
struct Holders {
    /// Nodes that have, or may have, a replica that is fit for use; the best first.
    fit: Vec<NodeIndex>,
    /// Whether there are replicas that are not.
    unfit: bool,
}

/// Who is to be primary.
#[derive(Debug, Clone, Copy)]
struct Primary {
    node: NodeIndex,
    /// All that can be asked were, since the last round began.
    new_round: bool,
}

impl Recovery {
    /// Whether its end was not proposed lately.
    fn may_propose(&self, timeout: Duration, now: Millis) -> bool {
        self.proposed.is_none_or(|at| now.since(at) >= timeout)
    }
}

impl Namespace {
    /// A chunk is to be recovered under a new version.
    pub(crate) fn recovery_wanted(
        &mut self,
        id: ChunkId,
        new_generation: GenStamp,
        (acknowledged, pipeline): (u64, Vec<NodeId>),
        now: Millis,
    ) {
        if self.term.is_none() || self.map.get(id).is_none() {
            return;
        }
        let earlier = self.recoveries.get(&id);
        let recovery = Recovery {
            new_generation,
            acknowledged,
            pipeline,
            loss_accepted: earlier.is_some_and(|earlier| earlier.loss_accepted),
            floor: acknowledged,
            since: earlier.map_or(now, |earlier| earlier.since),
            tried: BTreeSet::new(),
            primary: None,
            proposed: None,
            waits: earlier.is_some_and(|earlier| earlier.waits),
            lost_since: None,
        };
        self.recoveries.insert(id, recovery);
    }

    /// An administrator accepts that a chunk's recovery ends with less than was acknowledged. Those who may have all of
    /// it are asked once more before that.
    pub(crate) fn loss_accepted(&mut self, id: ChunkId) {
        if let Some(recovery) = self.recoveries.get_mut(&id) {
            recovery.loss_accepted = true;
            recovery.tried.clear();
        }
    }

    /// Finds a primary for each recovery that has none or whose primary takes too long.
    pub(super) fn drive_recoveries(&mut self, cluster: &Cluster, now: Millis, effects: &mut Vec<Effect>) {
        if self.term.is_none() {
            return;
        }
        let decides = self.decides();
        let ids: Vec<ChunkId> = self.recoveries.keys().copied().collect();
        for id in ids {
            if decides {
                self.drive_recovery(cluster, id, now, effects);
            } else {
                self.watch_recovery(cluster, id, now, effects);
            }
        }
    }

    /// In safe mode nothing is ordered, but who waits for nodes that do not come is told so.
    fn watch_recovery(&mut self, cluster: &Cluster, id: ChunkId, now: Millis, effects: &mut Vec<Effect>) {
        let Some(recovery) = self.recoveries.get(&id) else {
            return;
        };
        let acknowledged = recovery.acknowledged;
        if recovery.waits || acknowledged == 0 || !self.restart_is_over(recovery, now) {
            return;
        }
        let holders = self.holders_to_recover(cluster, id, recovery.since, acknowledged, now);
        if self.is_complete(id).is_some()
            || self.primary(cluster, id, recovery, &holders, acknowledged).is_some()
        {
            return;
        }
        if let Some(recovery) = self.recoveries.get_mut(&id) {
            recovery.waits = true;
        }
        effects.extend(self.waiting_recovery(cluster, id).map(|waiting| Effect::RecoveryWaits { waiting }));
    }

    fn drive_recovery(&mut self, cluster: &Cluster, id: ChunkId, now: Millis, effects: &mut Vec<Effect>) {
        let timeout = self.config.recovery_timeout;
        if let Some((generation, length)) = self.is_complete(id) {
            let recovery = self.recoveries.get_mut(&id);
            if let Some(recovery) = recovery.filter(|recovery| recovery.may_propose(timeout, now)) {
                recovery.proposed = Some(now);
                effects.push(Effect::RecoveryNeedless { chunk: id, generation, length });
            }
            return;
        }
        let Some(recovery) = self.recoveries.get(&id) else {
            return;
        };
        let asked =
            |(node, since): (NodeIndex, Millis)| cluster.is_usable(node) && now.since(since) < timeout;
        if recovery.primary.is_some_and(asked) {
            return;
        }
        let acknowledged = recovery.acknowledged;
        let mut holders = self.holders_to_recover(cluster, id, recovery.since, acknowledged, now);
        let (mut floor, mut primary) =
            (acknowledged, self.primary(cluster, id, recovery, &holders, acknowledged));
        let in_vain = acknowledged > 0 && primary.is_none_or(|primary| primary.new_round);
        // What a heartbeat says of a volume may come after what a report says of its replicas: until the next ones.
        let lost_since = recovery.lost_since.or(Some(now)).filter(|_| {
            primary.is_none() && recovery.acknowledged > 0 && self.loss_is_certain(cluster, id, recovery, now)
        });
        let lost = lost_since.is_some_and(|since| now.since(since) >= self.config.stale_after);
        if in_vain && (lost || self.may_end_with_less(cluster, recovery, now)) {
            floor = self.best(id).map_or(0, |(_, length)| length.min(acknowledged));
            holders = self.holders_to_recover(cluster, id, recovery.since, floor, now);
            primary = self.primary(cluster, id, recovery, &holders, floor);
        }
        let hopeless =
            primary.is_none() && self.is_hopeless(cluster, (recovery, lost), &holders, timeout, now);
        let begins_to_wait = in_vain && !recovery.waits;
        let Some(recovery) = self.recoveries.get_mut(&id) else {
            return;
        };
        recovery.floor = floor;
        recovery.lost_since = lost_since;
        recovery.waits |= in_vain;
        recovery.primary = primary.map(|primary| (primary.node, now));
        if let Some(Primary { node, new_round }) = primary {
            if new_round {
                recovery.tried.clear();
            }
            recovery.tried.insert(node);
            if let Some(work) = self.work.get_mut(node) {
                work.recovery_orders.push_back(id);
            }
        } else if hopeless {
            recovery.proposed = Some(now);
            recovery.floor = 0;
            let new_generation = recovery.new_generation;
            effects.push(Effect::NothingToRecover { chunk: id, new_generation });
        }
        if begins_to_wait && let Some(waiting) = self.waiting_recovery(cluster, id) {
            effects.push(Effect::RecoveryWaits { waiting });
        }
    }

    /// Who of the holders is to be primary of a recovery that ends with `floor` bytes at least. Nobody, if none of them may
    /// have that many: it would make a short replica the latest.
    fn primary(
        &self,
        cluster: &Cluster,
        id: ChunkId,
        recovery: &Recovery,
        holders: &Holders,
        floor: u64,
    ) -> Option<Primary> {
        let mut usable = holders.fit.iter().copied().filter(|index| cluster.is_usable(*index)).peekable();
        let first = *usable.peek().filter(|_| self.may_have(id, &holders.fit, floor))?;
        let untried = usable.find(|index| !recovery.tried.contains(index));
        Some(Primary { node: untried.unwrap_or(first), new_round: untried.is_none() })
    }

    /// Whether a recovery without a primary ends with nothing: no byte was acknowledged, or an administrator accepts that
    /// none of them is there.
    fn is_hopeless(
        &self,
        cluster: &Cluster,
        (recovery, lost): (&Recovery, bool),
        holders: &Holders,
        timeout: Duration,
        now: Millis,
    ) -> bool {
        if !holders.fit.is_empty() || !recovery.may_propose(timeout, now) {
            return false;
        }
        if lost || self.may_end_with_less(cluster, recovery, now) {
            return true;
        }
        // Damaged ones of which nobody counts on a byte are what a power cut leaves of a replica just begun.
        let all_live = || cluster.iter().all(|(_, node)| node.state() == NodeState::Live);
        recovery.acknowledged == 0
            && self.restart_is_over(recovery, now)
            && self.all_have_told(cluster)
            && (!holders.unfit || all_live())
    }

    /// Whether a node that restarted when the recovery began would be back by now.
    fn restart_is_over(&self, recovery: &Recovery, now: Millis) -> bool {
        now.since(recovery.since) >= self.config.restart_grace
    }

    /// Whether every node that the chunk was written to has said what it holds, from all its volumes. What none of them has
    /// then, nobody has. Never of a committed chunk: there may be copies of it anywhere. Nor while there is a damaged replica:
    /// it may be one that could not be read, or that only a reader calls so.
    fn loss_is_certain(&self, cluster: &Cluster, id: ChunkId, recovery: &Recovery, now: Millis) -> bool {
        let is_open = self.map.get(id).is_some_and(|chunk| chunk.length().is_none());
        is_open
            && !recovery.pipeline.is_empty()
            && !self.map.odd(id).iter().any(|odd| odd.state == ReplicaState::Corrupt)
            && self.restart_is_over(recovery, now)
            && recovery.pipeline.iter().all(|node| self.has_told_all(cluster, *node))
    }

    /// Whether a node is there and has said what all its volumes hold, or will never say anything again.
    fn has_told_all(&self, cluster: &Cluster, node: NodeId) -> bool {
        cluster.is_forgotten(node) || cluster.find(node).is_some_and(|index| self.told_all(cluster, index))
    }

    /// Whether an administrator accepted a loss, and all that may be heard of has been: a word given early saves the
    /// wait for the replicas that are lost, not the one for those that are not.
    fn may_end_with_less(&self, cluster: &Cluster, recovery: &Recovery, now: Millis) -> bool {
        recovery.loss_accepted && self.restart_is_over(recovery, now) && self.all_have_told(cluster)
    }

    /// Generation and length of a committed chunk that has a good replica and none that is still to be finalized.
    fn is_complete(&self, id: ChunkId) -> Option<(GenStamp, u64)> {
        let chunk = self.map.get(id)?;
        let length = chunk.length().filter(|_| !chunk.good().is_empty())?;
        let unfinished = |odd: &Odd| !odd.doomed && is_fit(chunk, odd, Verdict::Candidate, length);
        (!self.map.odd(id).iter().any(unfinished)).then_some((chunk.generation, length))
    }

    /// Whether at least one of these nodes' replicas may have that many bytes. One being written, or not reported yet,
    /// may. A recovery without it would make a short replica the latest, and the right one too old once it is back.
    fn may_have(&self, id: ChunkId, nodes: &[NodeIndex], bytes: u64) -> bool {
        let odd = self.map.odd(id);
        nodes.iter().any(|index| !odd.iter().any(|odd| odd.node == *index && is_short(odd, bytes)))
    }

    /// Whether every node known that may be heard of has said what it holds.
    fn all_have_told(&self, cluster: &Cluster) -> bool {
        self.work.iter().all(|(index, work)| work.reported || cluster.is_dead(index))
    }

    /// The longest replica that is not damaged, of whatever generation, as far as lengths are known.
    fn best(&self, id: ChunkId) -> Option<(NodeIndex, u64)> {
        let chunk = self.map.get(id)?;
        let good = chunk.good().iter().map(|index| (*index, chunk.length().unwrap_or_default()));
        let sound = |odd: &&Odd| odd.state != ReplicaState::Corrupt && !odd.doomed;
        let odd = self.map.odd(id).iter().filter(sound).map(|odd| (odd.node, odd.length));
        good.chain(odd).max_by_key(|(_, length)| *length)
    }

    /// Whether the chunk's recovery may end with so many bytes although readers count on more: not with fewer than it was
    /// last asked for. An answer to an earlier order, or of nodes that lost a disk meanwhile, is no proof.
    pub(crate) fn recovery_may_lose(&self, chunk: ChunkId, length: u64) -> bool {
        self.recoveries
            .get(&chunk)
            .is_some_and(|recovery| recovery.floor < recovery.acknowledged && length >= recovery.floor)
    }

    /// What the recovery of a chunk waits for; `None` if none does.
    pub(crate) fn waiting_recovery(&self, cluster: &Cluster, chunk: ChunkId) -> Option<WaitingRecovery> {
        let recovery = self.recoveries.get(&chunk).filter(|recovery| recovery.waits)?;
        Some(WaitingRecovery {
            chunk,
            acknowledged: recovery.acknowledged,
            best: self.best(chunk).and_then(|(index, length)| Some((cluster.get(index)?.id(), length))),
            missing: recovery
                .pipeline
                .iter()
                .copied()
                .filter(|node| !self.has_told_all(cluster, *node))
                .collect(),
            loss_accepted: recovery.loss_accepted,
        })
    }

    /// How many recoveries wait.
    pub(super) fn waiting_count(&self) -> usize {
        self.recoveries.values().filter(|recovery| recovery.waits).count()
    }

    /// Every recovery that waits, ordered by chunk.
    pub(crate) fn waiting_recoveries(&self, cluster: &Cluster) -> impl Iterator<Item = WaitingRecovery> {
        self.recoveries.keys().filter_map(|chunk| self.waiting_recovery(cluster, *chunk))
    }

    /// Who can take part in a recovery that ends with `floor` bytes at least: holders of replicas of the chunk's
    /// generation, complete ones first, then members of its pipeline whose report of it may be on the way. If none of
    /// them may have that many for as long as a restart takes, replicas of the latest older generation are better than
    /// nothing: a chunk's bytes never change, so one that is long enough has what was acknowledged later.
    fn holders_to_recover(
        &self,
        cluster: &Cluster,
        id: ChunkId,
        since: Millis,
        floor: u64,
        now: Millis,
    ) -> Holders {
        let (Some(chunk), odd) = (self.map.get(id), self.map.odd(id)) else {
            return Holders::default();
        };
        let good = chunk.good().iter().filter_map(|index| {
            let writes = cluster.get(*index)?.stats().active_writes;
            Some((ReplicaState::Finalized, writes, *index))
        });
        let mut ranked: Vec<_> = Self::ranked(cluster, chunk, odd, Verdict::Candidate, floor);
        ranked.extend(good);
        let pipeline = self.map.side(id).map_or(&[][..], |side| &side.pipeline);
        // Once a node that restarted would be back, one that has told all has no report of it on the way.
        let restarted = now.since(since) >= self.config.restart_grace;
        let alive = |index: &&NodeIndex| {
            !(cluster.is_dead(**index) || (restarted && self.told_all(cluster, **index)))
        };
        let unreported = pipeline
            .iter()
            .filter(|index| odd.iter().all(|odd| odd.node != **index) && !chunk.good().contains(index))
            .filter(alive)
            .map(|index| (ReplicaState::Corrupt, 0, *index));
        ranked.extend(unreported);
        let current: Vec<NodeIndex> = ranked.iter().map(|(_, _, index)| *index).collect();
        if !self.may_have(id, &current, floor) && restarted {
            let stale = |odd: &&Odd| {
                odd.state != ReplicaState::Corrupt
                    && chunk.judge(odd.generation, odd.length, odd.state) == Verdict::Stale
                    && !is_short(odd, floor)
            };
            let latest = odd.iter().filter(stale).map(|odd| odd.generation).max();
            let of_latest: Vec<Odd> =
                odd.iter().filter(stale).filter(|odd| Some(odd.generation) == latest).copied().collect();
            ranked.extend(Self::ranked(cluster, chunk, &of_latest, Verdict::Stale, floor));
        }
        ranked.sort_unstable();
        let fit: Vec<NodeIndex> = ranked.into_iter().map(|(_, _, index)| index).collect();
        Holders { unfit: odd.iter().any(|odd| !fit.contains(&odd.node)), fit }
    }

    /// Replicas of this worth, ranked by state and their node's load.
    fn ranked(
        cluster: &Cluster,
        chunk: &Chunk,
        odd: &[Odd],
        worth: Verdict,
        floor: u64,
    ) -> Vec<(ReplicaState, u32, NodeIndex)> {
        let worthy = odd.iter().filter(|odd| !odd.doomed && is_fit(chunk, odd, worth, floor));
        let ranked = worthy.filter_map(|odd| {
            let node = cluster.get(odd.node)?;
            Some((odd.state, node.stats().active_writes, odd.node))
        });
        ranked.collect()
    }

    /// The order to a primary, unless another has become it.
    pub(super) fn recovery_command(
        &self,
        cluster: &Cluster,
        id: ChunkId,
        primary: NodeIndex,
        now: Millis,
    ) -> Option<Command> {
        let recovery = self.recoveries.get(&id)?;
        recovery.primary.filter(|(index, _)| *index == primary)?;
        let holders = self.holders_to_recover(cluster, id, recovery.since, recovery.floor, now).fit;
        holders.contains(&primary).then(|| Command::Recover {
            chunk: id,
            new_generation: recovery.new_generation,
            acknowledged: recovery.floor,
            holders: cluster.ids(&holders),
        })
    }

    /// A node is gone for good.
    pub(super) fn forget_in_recoveries(&mut self, node: NodeIndex) {
        for recovery in self.recoveries.values_mut() {
            recovery.tried.remove(&node);
            recovery.primary = recovery.primary.filter(|(index, _)| *index != node);
        }
    }
}

/// Whether a replica is known to have fewer bytes: one being written may have more by now.
fn is_short(odd: &Odd, bytes: u64) -> bool {
    odd.state != ReplicaState::Rbw && odd.length < bytes
}

/// Whether a recovery can use a replica of this worth. One that waits since its node restarted can never become good by
/// itself, but is as good as any if it has `floor` bytes of its committed chunk.
fn is_fit(chunk: &Chunk, odd: &Odd, worth: Verdict, floor: u64) -> bool {
    let verdict = chunk.judge(odd.generation, odd.length, odd.state);
    let waits = odd.state == ReplicaState::Rwr && verdict == Verdict::Corrupt && odd.length >= floor;
    verdict == worth || (waits && worth == Verdict::Candidate)
}

#[cfg(test)]
mod tests;
