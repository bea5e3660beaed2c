//! Recovery of chunks whose writer is gone.
//!
//! One holder of a replica, the primary, is told to agree with the others on a length and to finalize. If nothing
//! comes of it in time, another is told. A recovery ends when the chunk is committed or removed.
//!
//! A chunk whose length the writer had committed may need one too: the writer goes on to the next chunk before the
//! nodes have finalized this one.
//!
//! A recovery never ends with fewer bytes than were acknowledged: without a replica of that length it waits. That every
//! node known here has none is no proof, as a node that is away may not be known here at all. Only an administrator's
//! word ([`Event::LossAccepted`](crate::Event::LossAccepted)) lets it end with the longest replica there is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dfs_types::{ChunkId, GenStamp, Millis, NodeId, ReplicaState};

use crate::chunk_map::{Chunk, Odd, Verdict};
use crate::cluster::Cluster;
use crate::node::Node;
use crate::node_list::NodeIndex;
use crate::{Command, Effect, NodeState};

/// One recovery under way.
#[derive(Debug)]
pub(crate) struct Recovery {
    new_generation: GenStamp,
    /// Bytes that readers count on.
    acknowledged: u64,
    /// An administrator accepts that it ends with fewer, if it must.
    loss_accepted: bool,
    /// Bytes that the last order asked for: fewer than `acknowledged` only if that is accepted.
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
}

/// All recoveries under way.
pub(crate) type Recoveries = BTreeMap<ChunkId, Recovery>;

/// A recovery that waits for a replica with everything acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingRecovery {
    /// Which chunk.
    pub chunk: ChunkId,
    /// Bytes that the replica must have.
    pub acknowledged: u64,
    /// The longest replica known, and its length in bytes as its node last told it.
    pub best: Option<(NodeId, u64)>,
    /// Whether an administrator accepted that it ends with that.
    pub loss_accepted: bool,
}

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

impl Cluster {
    /// A chunk is to be recovered under a new version.
    pub(crate) fn recovery_wanted(
        &mut self,
        id: ChunkId,
        new_generation: GenStamp,
        acknowledged: u64,
        now: Millis,
    ) {
        if self.term.is_none() || self.map.get(id).is_none() {
            return;
        }
        let earlier = self.recoveries.get(&id);
        let recovery = Recovery {
            new_generation,
            acknowledged,
            loss_accepted: earlier.is_some_and(|earlier| earlier.loss_accepted),
            floor: acknowledged,
            since: earlier.map_or(now, |earlier| earlier.since),
            tried: BTreeSet::new(),
            primary: None,
            proposed: None,
            waits: earlier.is_some_and(|earlier| earlier.waits),
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
    pub(crate) fn drive_recoveries(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        if self.term.is_none() {
            return;
        }
        let decides = self.decides();
        let ids: Vec<ChunkId> = self.recoveries.keys().copied().collect();
        for id in ids {
            if decides {
                self.drive_recovery(id, now, effects);
            } else {
                self.watch_recovery(id, now, effects);
            }
        }
    }

    /// In safe mode nothing is ordered, but who waits for nodes that do not come is told so.
    fn watch_recovery(&mut self, id: ChunkId, now: Millis, effects: &mut Vec<Effect>) {
        let Some(recovery) = self.recoveries.get(&id) else {
            return;
        };
        let acknowledged = recovery.acknowledged;
        if recovery.waits || acknowledged == 0 || !self.restart_is_over(recovery, now) {
            return;
        }
        let holders = self.holders_to_recover(id, recovery.since, acknowledged, now);
        if self.is_complete(id).is_some() || self.primary(id, recovery, &holders, acknowledged).is_some() {
            return;
        }
        if let Some(recovery) = self.recoveries.get_mut(&id) {
            recovery.waits = true;
        }
        effects.extend(self.waiting_recovery(id).map(|waiting| Effect::RecoveryWaits { waiting }));
    }

    fn drive_recovery(&mut self, id: ChunkId, now: Millis, effects: &mut Vec<Effect>) {
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
            |(node, since): (NodeIndex, Millis)| self.can_be_asked(node) && now.since(since) < timeout;
        if recovery.primary.is_some_and(asked) {
            return;
        }
        let acknowledged = recovery.acknowledged;
        let mut holders = self.holders_to_recover(id, recovery.since, acknowledged, now);
        let (mut floor, mut primary) = (acknowledged, self.primary(id, recovery, &holders, acknowledged));
        let in_vain = acknowledged > 0 && primary.is_none_or(|primary| primary.new_round);
        if in_vain && self.may_end_with_less(recovery, now) {
            floor = self.best(id).map_or(0, |(_, length)| length.min(acknowledged));
            holders = self.holders_to_recover(id, recovery.since, floor, now);
            primary = self.primary(id, recovery, &holders, floor);
        }
        let hopeless = primary.is_none() && self.is_hopeless(recovery, &holders, timeout, now);
        let begins_to_wait = in_vain && !recovery.waits;
        let Some(recovery) = self.recoveries.get_mut(&id) else {
            return;
        };
        recovery.floor = floor;
        recovery.waits |= in_vain;
        recovery.primary = primary.map(|primary| (primary.node, now));
        if let Some(Primary { node, new_round }) = primary {
            if new_round {
                recovery.tried.clear();
            }
            recovery.tried.insert(node);
            if let Some(node) = self.nodes.get_mut(node) {
                node.recovery_orders.push_back(id);
            }
        } else if hopeless {
            recovery.proposed = Some(now);
            recovery.floor = 0;
            let new_generation = recovery.new_generation;
            effects.push(Effect::NothingToRecover { chunk: id, new_generation });
        }
        if begins_to_wait && let Some(waiting) = self.waiting_recovery(id) {
            effects.push(Effect::RecoveryWaits { waiting });
        }
    }

    fn can_be_asked(&self, index: NodeIndex) -> bool {
        self.nodes.get(index).is_some_and(Node::is_usable)
    }

    /// Who of the holders is to be primary of a recovery that ends with `floor` bytes at least. Nobody, if none of them may
    /// have that many: it would make a short replica the latest.
    fn primary(&self, id: ChunkId, recovery: &Recovery, holders: &Holders, floor: u64) -> Option<Primary> {
        let mut usable = holders.fit.iter().copied().filter(|index| self.can_be_asked(*index)).peekable();
        let first = *usable.peek().filter(|_| self.may_have(id, &holders.fit, floor))?;
        let untried = usable.find(|index| !recovery.tried.contains(index));
        Some(Primary { node: untried.unwrap_or(first), new_round: untried.is_none() })
    }

    /// Whether a recovery without a primary ends with nothing: no byte was acknowledged, or an administrator accepts that
    /// none of them is there.
    fn is_hopeless(&self, recovery: &Recovery, holders: &Holders, timeout: Duration, now: Millis) -> bool {
        if !holders.fit.is_empty() || !recovery.may_propose(timeout, now) {
            return false;
        }
        if self.may_end_with_less(recovery, now) {
            return true;
        }
        // Damaged ones of which nobody counts on a byte are what a power cut leaves of a replica just begun.
        let all_live = || self.nodes.iter().all(|(_, node)| node.state == NodeState::Live);
        recovery.acknowledged == 0
            && self.restart_is_over(recovery, now)
            && self.all_have_told()
            && (!holders.unfit || all_live())
    }

    /// Whether a node that restarted when the recovery began would be back by now.
    fn restart_is_over(&self, recovery: &Recovery, now: Millis) -> bool {
        now.since(recovery.since) >= self.config.restart_grace
    }

    /// Whether an administrator accepted a loss, and all that may be heard of has been: a word given early saves the
    /// wait for the replicas that are lost, not the one for those that are not.
    fn may_end_with_less(&self, recovery: &Recovery, now: Millis) -> bool {
        recovery.loss_accepted && self.restart_is_over(recovery, now) && self.all_have_told()
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
    fn all_have_told(&self) -> bool {
        self.nodes.iter().all(|(_, node)| node.state == NodeState::Dead || node.reported)
    }

    /// The longest replica that is not damaged, of whatever generation, as far as lengths are known.
    fn best(&self, id: ChunkId) -> Option<(NodeIndex, u64)> {
        let chunk = self.map.get(id)?;
        let good = chunk.good().iter().map(|index| (*index, chunk.length().unwrap_or_default()));
        let sound = |odd: &&Odd| odd.state != ReplicaState::Corrupt && !odd.doomed;
        let odd = self.map.odd(id).iter().filter(sound).map(|odd| (odd.node, odd.length));
        good.chain(odd).max_by_key(|(_, length)| *length)
    }

    /// Whether the chunk's recovery may end with less than readers count on.
    pub fn recovery_may_lose(&self, chunk: ChunkId) -> bool {
        self.recoveries.get(&chunk).is_some_and(|recovery| recovery.floor < recovery.acknowledged)
    }

    /// What the recovery of a chunk waits for; `None` if none does.
    pub fn waiting_recovery(&self, chunk: ChunkId) -> Option<WaitingRecovery> {
        let recovery = self.recoveries.get(&chunk).filter(|recovery| recovery.waits)?;
        Some(WaitingRecovery {
            chunk,
            acknowledged: recovery.acknowledged,
            best: self.best(chunk).and_then(|(index, length)| Some((self.nodes.get(index)?.id, length))),
            loss_accepted: recovery.loss_accepted,
        })
    }

    /// How many recoveries wait.
    pub(crate) fn waiting_count(&self) -> usize {
        self.recoveries.values().filter(|recovery| recovery.waits).count()
    }

    /// Every recovery that waits, ordered by chunk.
    pub fn waiting_recoveries(&self) -> impl Iterator<Item = WaitingRecovery> {
        self.recoveries.keys().filter_map(|chunk| self.waiting_recovery(*chunk))
    }

    /// Who can take part in a recovery that ends with `floor` bytes at least: holders of replicas of the chunk's
    /// generation, complete ones first, then members of its pipeline whose report of it may be on the way. If none of
    /// them may have that many for as long as a restart takes, replicas of the latest older generation are better than
    /// nothing: a chunk's bytes never change, so one that is long enough has what was acknowledged later.
    fn holders_to_recover(&self, id: ChunkId, since: Millis, floor: u64, now: Millis) -> Holders {
        let (Some(chunk), odd) = (self.map.get(id), self.map.odd(id)) else {
            return Holders::default();
        };
        let good = chunk.good().iter().filter_map(|index| {
            let writes = self.nodes.get(*index)?.stats.active_writes;
            Some((ReplicaState::Finalized, writes, *index))
        });
        let mut ranked: Vec<_> = self.ranked(chunk, odd, Verdict::Candidate, floor);
        ranked.extend(good);
        let pipeline = self.map.side(id).map_or(&[][..], |side| &side.pipeline);
        let alive =
            |index: &&NodeIndex| self.nodes.get(**index).is_some_and(|node| node.state != NodeState::Dead);
        let unreported = pipeline
            .iter()
            .filter(|index| odd.iter().all(|odd| odd.node != **index) && !chunk.good().contains(index))
            .filter(alive)
            .map(|index| (ReplicaState::Corrupt, 0, *index));
        ranked.extend(unreported);
        let current: Vec<NodeIndex> = ranked.iter().map(|(_, _, index)| *index).collect();
        if !self.may_have(id, &current, floor) && now.since(since) >= self.config.restart_grace {
            let stale = |odd: &&Odd| {
                odd.state != ReplicaState::Corrupt
                    && chunk.judge(odd.generation, odd.length, odd.state) == Verdict::Stale
                    && !is_short(odd, floor)
            };
            let latest = odd.iter().filter(stale).map(|odd| odd.generation).max();
            let of_latest: Vec<Odd> =
                odd.iter().filter(stale).filter(|odd| Some(odd.generation) == latest).copied().collect();
            ranked.extend(self.ranked(chunk, &of_latest, Verdict::Stale, floor));
        }
        ranked.sort_unstable();
        let fit: Vec<NodeIndex> = ranked.into_iter().map(|(_, _, index)| index).collect();
        Holders { unfit: odd.iter().any(|odd| !fit.contains(&odd.node)), fit }
    }

    /// Replicas of this worth, ranked by state and their node's load.
    fn ranked(
        &self,
        chunk: &Chunk,
        odd: &[Odd],
        worth: Verdict,
        floor: u64,
    ) -> Vec<(ReplicaState, u32, NodeIndex)> {
        let worthy = odd.iter().filter(|odd| !odd.doomed && is_fit(chunk, odd, worth, floor));
        let ranked = worthy.filter_map(|odd| {
            let node = self.nodes.get(odd.node)?;
            Some((odd.state, node.stats.active_writes, odd.node))
        });
        ranked.collect()
    }

    /// The order to a primary, unless another has become it.
    pub(crate) fn recovery_command(&self, id: ChunkId, primary: NodeIndex, now: Millis) -> Option<Command> {
        let recovery = self.recoveries.get(&id)?;
        recovery.primary.filter(|(index, _)| *index == primary)?;
        let holders = self.holders_to_recover(id, recovery.since, recovery.floor, now).fit;
        holders.contains(&primary).then(|| Command::Recover {
            chunk: id,
            new_generation: recovery.new_generation,
            acknowledged: recovery.floor,
            holders: self.nodes.ids(&holders),
        })
    }

    /// A node is gone for good.
    pub(crate) fn forget_in_recoveries(&mut self, node: NodeIndex) {
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
mod tests {
    use std::time::Duration;

    use dfs_types::{NodeId, ReplicaRecord};

    use super::*;
    use crate::Event;
    use crate::test_support::{GENERATION, LENGTH, Rig, node_id, number, record};

    const NEW: GenStamp = GenStamp(GENERATION.0 + 5);

    fn wanted(rig: &mut Rig) -> Vec<Effect> {
        wanted_with(rig, 0)
    }

    fn wanted_with(rig: &mut Rig, acknowledged: u64) -> Vec<Effect> {
        rig.apply(Event::RecoveryWanted { chunk: ChunkId(10), new_generation: NEW, acknowledged })
    }

    /// The recovery ordered, from whom, and with which holders.
    fn ordered(rig: &mut Rig) -> Option<(u16, Vec<u16>)> {
        let nodes: Vec<u16> = (0..8).collect();
        nodes.into_iter().find_map(|n| {
            let commands = rig.cluster.take_commands(node_id(n), rig.now);
            commands.into_iter().find_map(|command| match command {
                Command::Recover { new_generation, holders, .. } => {
                    assert_eq!(new_generation, NEW);
                    let mut holders: Vec<u16> = holders.iter().map(|id: &NodeId| number(*id)).collect();
                    holders.sort_unstable();
                    Some((n, holders))
                }
                Command::Copy { .. } | Command::Delete { .. } => None,
            })
        })
    }

    fn of_state(state: ReplicaState) -> ReplicaRecord {
        record(10, state)
    }

    #[test]
    fn the_best_replicas_node_is_primary_then_the_next() {
        let mut rig = Rig::with_nodes(4);
        rig.out_of_safe_mode();
        rig.open_chunk(10, 3, &[]);
        rig.changed(0, of_state(ReplicaState::Rwr));
        rig.changed(1, of_state(ReplicaState::Rbw));
        rig.changed(2, of_state(ReplicaState::Corrupt));
        wanted(&mut rig);
        let all = [0, 1, 2, 3];
        rig.run(Duration::from_millis(500), &all);
        assert_eq!(ordered(&mut rig), Some((1, vec![0, 1])));
        rig.run(Duration::from_secs(29), &all);
        assert_eq!(ordered(&mut rig), None);
        rig.run(Duration::from_secs(2), &all);
        assert_eq!(ordered(&mut rig), Some((0, vec![0, 1])));
        rig.run(Duration::from_secs(31), &all);
        assert_eq!(ordered(&mut rig), Some((1, vec![0, 1])), "a new round");
        rig.commit_as(10, NEW);
        rig.run(Duration::from_mins(1), &all);
        assert_eq!(ordered(&mut rig), None);
        rig.check();
    }

    #[test]
    fn pipeline_members_take_part_before_they_report() {
        let mut rig = Rig::with_nodes(3);
        rig.out_of_safe_mode();
        rig.open_chunk(10, 3, &[0, 1]);
        wanted(&mut rig);
        rig.run(Duration::from_millis(500), &[0, 1, 2]);
        assert_eq!(ordered(&mut rig), Some((0, vec![0, 1])));
        rig.check();
    }

    #[test]
    fn a_dead_primary_is_replaced_at_once() {
        let mut rig = Rig::with_nodes(3);
        rig.out_of_safe_mode();
        rig.open_chunk(10, 3, &[]);
        rig.changed(0, of_state(ReplicaState::Rbw));
        rig.changed(1, of_state(ReplicaState::Rwr));
        wanted(&mut rig);
        rig.run(Duration::from_millis(500), &[0, 1, 2]);
        assert_eq!(ordered(&mut rig).unwrap().0, 0);
        rig.run(Duration::from_secs(6), &[1, 2]);
        assert_eq!(ordered(&mut rig).unwrap().0, 1);
    }

    #[test]
    fn nothing_is_given_up_before_a_restart_could_bring_it_back() {
        let mut rig = Rig::with_nodes(3);
        rig.out_of_safe_mode();
        rig.open_chunk(10, 3, &[2]);
        wanted(&mut rig);
        let effects = rig.run(Duration::from_secs(119), &[0, 1]);
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::NothingToRecover { .. })));
        let effects = rig.run(Duration::from_secs(3), &[0, 1]);
        let given_up = Effect::NothingToRecover { chunk: ChunkId(10), new_generation: NEW };
        assert_eq!(effects.iter().filter(|effect| **effect == given_up).count(), 1);
        rig.apply(Event::ChunkRemoved { chunk: ChunkId(10) });
        assert_eq!(rig.run(Duration::from_mins(1), &[0, 1]), []);
        rig.check();
    }

    #[test]
    fn it_waits_for_a_replica_that_has_what_was_acknowledged() {
        let mut rig = Rig::with_nodes(3);
        rig.out_of_safe_mode();
        rig.open_chunk(10, 3, &[]);
        let of_length = |length| ReplicaRecord { length, ..of_state(ReplicaState::Rwr) };
        rig.changed(0, of_length(99));
        wanted_with(&mut rig, 100);
        let effects = rig.run(Duration::from_mins(5), &[0, 1]);
        assert_eq!(ordered(&mut rig), None);
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::NothingToRecover { .. })));
        assert!(!rig.cluster.recovery_may_lose(ChunkId(10)));
        rig.changed(1, of_length(100));
        rig.run(Duration::from_secs(1), &[0, 1]);
        assert_eq!(ordered(&mut rig).map(|(_, holders)| holders), Some(vec![0, 1]));
        rig.check();
    }

    fn needless(effects: &[Effect]) -> bool {
        let (chunk, generation) = (ChunkId(10), GENERATION);
        effects.contains(&Effect::RecoveryNeedless { chunk, generation, length: LENGTH })
    }

    fn gives_up(effects: &[Effect]) -> bool {
        effects.iter().any(|effect| matches!(effect, Effect::NothingToRecover { .. }))
    }

    /// A NameNode that has just started: of the chunk it only knows what the namespace says.
    fn restarted(acknowledged: u64, committed: bool) -> Rig {
        let mut rig = Rig::default();
        let (chunk, generation, length) = (ChunkId(10), GENERATION, committed.then_some(LENGTH));
        rig.apply(Event::ChunkLoaded { chunk, generation, length, replication: 3 });
        rig.out_of_safe_mode();
        wanted_with(&mut rig, acknowledged);
        rig
    }

    #[test]
    fn what_was_acknowledged_is_waited_for_when_no_node_is_known() {
        for committed in [false, true] {
            let mut rig = restarted(LENGTH, committed);
            let effects = rig.run(Duration::from_hours(30), &[]);
            let waiting = WaitingRecovery {
                chunk: ChunkId(10),
                acknowledged: LENGTH,
                best: None,
                loss_accepted: false,
            };
            let told = effects.iter().filter(|effect| **effect == Effect::RecoveryWaits { waiting });
            assert_eq!((gives_up(&effects), told.count()), (false, 1));
            assert_eq!(rig.cluster.waiting_recoveries().collect::<Vec<_>>(), [waiting]);
            assert_eq!(rig.cluster.totals(rig.now).waiting_recoveries, 1);

            rig.join(4, crate::test_support::stats(4));
            rig.report(4, vec![of_state(ReplicaState::Rwr)]);
            rig.run(Duration::from_secs(1), &[4]);
            assert_eq!(ordered(&mut rig), Some((4, vec![4])));
            assert!(!rig.cluster.recovery_may_lose(ChunkId(10)));
            rig.commit_as(10, NEW);
            assert_eq!(rig.cluster.totals(rig.now).waiting_recoveries, 0);
            rig.check();
        }
    }

    #[test]
    fn what_nobody_counts_on_is_dropped_by_a_namenode_that_knows_no_node() {
        let mut rig = restarted(0, false);
        assert!(!gives_up(&rig.run(Duration::from_secs(119), &[])));
        assert!(gives_up(&rig.run(Duration::from_secs(2), &[])));
        assert_eq!(rig.cluster.totals(rig.now).waiting_recoveries, 0);
    }

    #[test]
    fn what_was_acknowledged_is_waited_for_when_its_nodes_are_forgotten() {
        let mut rig = Rig::with_nodes(4);
        rig.out_of_safe_mode();
        rig.open_chunk(10, 3, &[0, 1, 2]);
        for n in 0..3 {
            rig.changed(n, of_state(ReplicaState::Rbw));
        }
        rig.run(Duration::from_hours(25), &[3]);
        assert_eq!(rig.cluster.nodes(rig.now).len(), 1, "the others are forgotten");
        wanted_with(&mut rig, LENGTH);
        assert!(!gives_up(&rig.run(Duration::from_mins(30), &[3])));
        rig.apply(Event::LeadershipTaken { term: 2 });
        wanted_with(&mut rig, LENGTH);
        assert!(!gives_up(&rig.run(Duration::from_mins(30), &[3])), "another leader waits too");
        rig.join(1, crate::test_support::stats(1));
        rig.report(1, vec![of_state(ReplicaState::Rwr)]);
        rig.run(Duration::from_secs(1), &[1, 3]);
        assert_eq!(ordered(&mut rig), Some((1, vec![1])));
        rig.check();
    }

    fn accept_loss(rig: &mut Rig) {
        rig.apply(Event::LossAccepted { chunk: ChunkId(10) });
    }

    #[test]
    fn less_than_acknowledged_takes_an_administrators_word() {
        for committed in [false, true] {
            let mut rig = Rig::with_nodes(3);
            rig.out_of_safe_mode();
            rig.open_chunk(10, 3, &[]);
            if committed {
                rig.commit(10);
            }
            rig.changed(0, ReplicaRecord { length: LENGTH - 2, ..of_state(ReplicaState::Rwr) });
            rig.changed(1, ReplicaRecord { length: LENGTH - 1, ..of_state(ReplicaState::Rwr) });
            wanted_with(&mut rig, LENGTH);
            rig.run(Duration::from_hours(1), &[0, 1, 2]);
            assert_eq!(ordered(&mut rig), None, "although every node has told what it has");
            assert!(!rig.cluster.recovery_may_lose(ChunkId(10)));
            let best = rig.cluster.waiting_recovery(ChunkId(10)).unwrap().best;
            assert_eq!(best, Some((node_id(1), LENGTH - 1)));
            rig.join(3, crate::test_support::stats(3));
            accept_loss(&mut rig);
            rig.run(Duration::from_secs(5), &[0, 1, 2, 3]);
            assert_eq!(ordered(&mut rig), None, "one has not told what it has");
            rig.report(3, vec![]);
            rig.run(Duration::from_secs(1), &[0, 1, 2, 3]);
            let commands: Vec<_> =
                (0..3).flat_map(|n| rig.cluster.take_commands(node_id(n), rig.now)).collect();
            let [Command::Recover { acknowledged, .. }] = commands[..] else { panic!("{commands:?}") };
            assert_eq!(acknowledged, LENGTH - 1, "no more is lost than must be");
            assert!(rig.cluster.recovery_may_lose(ChunkId(10)));
            rig.check();
        }
    }

    #[test]
    fn an_accepted_loss_of_everything_drops_the_chunk_once_the_nodes_have_told() {
        let mut rig = restarted(LENGTH, false);
        rig.join(0, crate::test_support::stats(0));
        rig.run(Duration::from_mins(5), &[0]);
        accept_loss(&mut rig);
        assert!(!gives_up(&rig.run(Duration::from_secs(5), &[0])), "it has not told what it has");
        rig.report(0, vec![of_state(ReplicaState::Corrupt)]);
        assert!(gives_up(&rig.run(Duration::from_secs(1), &[0])));
        assert!(rig.cluster.recovery_may_lose(ChunkId(10)));
        rig.check();
    }

    /// A pipeline that went on without node 0, on nodes that are lost: node 0 has everything, or as much as there is.
    fn left_behind(length: u64, others: &[u64]) -> Rig {
        let mut rig = Rig::with_nodes(4);
        rig.out_of_safe_mode();
        rig.open_chunk(10, 3, &[]);
        let older = GenStamp(GENERATION.0 - 1);
        rig.changed(0, ReplicaRecord { generation: older, length, ..of_state(ReplicaState::Rwr) });
        for (n, length) in (1..).zip(others) {
            rig.changed(n, ReplicaRecord { length: *length, ..of_state(ReplicaState::Rwr) });
        }
        wanted_with(&mut rig, LENGTH);
        accept_loss(&mut rig);
        rig
    }

    #[test]
    fn a_loss_accepted_at_once_does_not_lose_an_older_replica_with_everything() {
        let mut rig = left_behind(LENGTH, &[]);
        let effects = rig.run(Duration::from_secs(119), &[0, 3]);
        assert_eq!((ordered(&mut rig), gives_up(&effects)), (None, false), "a restart may bring others back");
        rig.run(Duration::from_secs(2), &[0, 3]);
        assert_eq!(ordered(&mut rig), Some((0, vec![0])));
        assert!(!rig.cluster.recovery_may_lose(ChunkId(10)));
        rig.check();
    }

    #[test]
    fn an_accepted_loss_ends_with_the_longest_replica_of_whatever_generation() {
        let mut rig = left_behind(LENGTH - 1, &[100]);
        rig.run(Duration::from_secs(125), &[0, 1, 2, 3]);
        let best = rig.cluster.waiting_recovery(ChunkId(10)).unwrap().best;
        assert_eq!(best, Some((node_id(0), LENGTH - 1)));
        let commands: Vec<_> =
            (0..4).flat_map(|n| rig.cluster.take_commands(node_id(n), rig.now)).collect();
        let [Command::Recover { acknowledged, ref holders, .. }] = commands[..] else {
            panic!("{commands:?}")
        };
        assert_eq!(acknowledged, LENGTH - 1, "what the report shows as best");
        assert!(holders.contains(&node_id(0)));
        rig.check();
    }

    #[test]
    fn in_safe_mode_it_is_told_that_a_recovery_waits() {
        let mut rig = Rig::default();
        for id in [10, 11] {
            let (chunk, generation, length) = (ChunkId(id), GENERATION, (id == 11).then_some(LENGTH));
            rig.apply(Event::ChunkLoaded { chunk, generation, length, replication: 3 });
        }
        wanted_with(&mut rig, LENGTH);
        let waits = |effect: &Effect| matches!(effect, Effect::RecoveryWaits { .. });
        assert_eq!(rig.run(Duration::from_secs(119), &[]).iter().filter(|e| waits(e)).count(), 0);
        assert_eq!(rig.run(Duration::from_mins(5), &[]).iter().filter(|e| waits(e)).count(), 1);
        assert_eq!(rig.cluster.totals(rig.now).waiting_recoveries, 1);
        assert!(!rig.cluster.decides());
        rig.check();
    }

    #[test]
    fn an_accepted_loss_loses_nothing_that_is_there() {
        let mut rig = restarted(LENGTH, false);
        rig.run(Duration::from_mins(5), &[]);
        accept_loss(&mut rig);
        rig.join(0, crate::test_support::stats(0));
        rig.report(0, vec![of_state(ReplicaState::Rwr)]);
        rig.run(Duration::from_secs(1), &[0]);
        assert_eq!(ordered(&mut rig), Some((0, vec![0])));
        assert!(!rig.cluster.recovery_may_lose(ChunkId(10)));
        // The word is kept when the recovery is begun anew, and forgotten by the next leader.
        wanted_with(&mut rig, LENGTH);
        rig.run(Duration::from_secs(1), &[0]);
        assert!(rig.cluster.waiting_recovery(ChunkId(10)).unwrap().loss_accepted);
        rig.apply(Event::LeadershipTaken { term: 2 });
        wanted_with(&mut rig, LENGTH);
        rig.gone(0, of_state(ReplicaState::Rwr));
        assert!(!gives_up(&rig.run(Duration::from_mins(10), &[0])));
        rig.check();
    }

    #[test]
    fn a_recovery_that_every_holder_failed_waits_too() {
        let mut rig = Rig::with_nodes(2);
        rig.out_of_safe_mode();
        rig.open_chunk(10, 2, &[]);
        // Only the node itself knows how much of it there is.
        rig.changed(0, ReplicaRecord { length: 0, ..of_state(ReplicaState::Rbw) });
        wanted_with(&mut rig, LENGTH);
        rig.run(Duration::from_secs(20), &[0, 1]);
        assert!(ordered(&mut rig).is_some());
        assert_eq!(rig.cluster.totals(rig.now).waiting_recoveries, 0, "it may have everything");
        rig.run(Duration::from_secs(20), &[0, 1]);
        assert!(ordered(&mut rig).is_some());
        assert_eq!(rig.cluster.totals(rig.now).waiting_recoveries, 1);
        rig.check();
    }

    #[test]
    fn an_older_replica_with_everything_is_better_than_a_short_one() {
        let mut rig = Rig::with_nodes(2);
        rig.out_of_safe_mode();
        rig.open_chunk(10, 2, &[]);
        rig.changed(0, ReplicaRecord { length: LENGTH - 1, ..of_state(ReplicaState::Rwr) });
        let older = GenStamp(GENERATION.0 - 1);
        rig.changed(1, ReplicaRecord { generation: older, ..of_state(ReplicaState::Rwr) });
        wanted_with(&mut rig, LENGTH);
        rig.run(Duration::from_secs(119), &[0, 1]);
        assert_eq!(ordered(&mut rig), None, "a restart may bring a newer one back");
        rig.run(Duration::from_secs(2), &[0, 1]);
        assert_eq!(ordered(&mut rig).map(|(_, holders)| holders), Some(vec![0, 1]));
        rig.check();
    }

    #[test]
    fn damaged_replicas_are_given_up_only_if_nobody_counts_on_them() {
        let (all, one_silent): (&[u16], &[u16]) = (&[0, 1, 2], &[0, 1]);
        for (acknowledged, alive, expected) in [(0, all, true), (1, all, false), (0, one_silent, false)] {
            let mut rig = Rig::with_nodes(3);
            rig.out_of_safe_mode();
            rig.open_chunk(10, 3, &[]);
            for node in [0, 1, 2] {
                rig.changed(node, of_state(ReplicaState::Corrupt));
            }
            wanted_with(&mut rig, acknowledged);
            let effects = rig.run(Duration::from_mins(5), alive);
            let given_up = Effect::NothingToRecover { chunk: ChunkId(10), new_generation: NEW };
            assert_eq!(effects.contains(&given_up), expected, "{acknowledged} {alive:?}");
            assert_eq!(ordered(&mut rig), None);
            rig.check();
        }
    }

    #[test]
    fn a_committed_chunk_that_no_node_finalized_is_recovered() {
        let mut rig = Rig::with_nodes(4);
        rig.out_of_safe_mode();
        rig.open_chunk(10, 3, &[]);
        rig.commit(10);
        let all = [0, 1, 2, 3];
        wanted_with(&mut rig, LENGTH);
        let effects = rig.run(Duration::from_mins(1), &all);
        assert_eq!((ordered(&mut rig), needless(&effects)), (None, false), "nobody has a replica");
        assert!(!effects.iter().any(|effect| matches!(effect, Effect::NothingToRecover { .. })));
        // As after a crash of all of them: one has too little.
        let short = ReplicaRecord { length: LENGTH - 1, ..of_state(ReplicaState::Rwr) };
        rig.changed(2, short);
        rig.run(Duration::from_secs(1), &all);
        assert_eq!(ordered(&mut rig), None);
        rig.changed(0, of_state(ReplicaState::Rwr));
        rig.changed(1, of_state(ReplicaState::Rwr));
        rig.run(Duration::from_secs(1), &all);
        assert_eq!(ordered(&mut rig).map(|(_, holders)| holders), Some(vec![0, 1]));
        rig.commit_as(10, NEW);
        assert_eq!(rig.cluster.chunk(ChunkId(10)).unwrap().generation, NEW);
        rig.check();
    }

    #[test]
    fn a_committed_chunk_that_is_complete_needs_no_recovery() {
        let mut rig = Rig::with_nodes(3);
        rig.out_of_safe_mode();
        rig.open_chunk(10, 3, &[0, 1]);
        rig.changed(0, of_state(ReplicaState::Finalized));
        rig.changed(1, of_state(ReplicaState::Rbw));
        rig.commit(10);
        wanted_with(&mut rig, LENGTH);
        let effects = rig.run(Duration::from_secs(1), &[0, 1, 2]);
        assert!(!needless(&effects), "one is not finalized");
        assert_eq!(ordered(&mut rig), Some((0, vec![0, 1])));
        rig.changed(1, of_state(ReplicaState::Finalized));
        let effects = rig.run(Duration::from_secs(1), &[0, 1, 2]);
        assert!(needless(&effects));
        assert!(!needless(&rig.run(Duration::from_secs(28), &[0, 1, 2])), "the proposal takes its time");
        assert!(needless(&rig.run(Duration::from_secs(3), &[0, 1, 2])), "the proposal failed");
        assert_eq!(ordered(&mut rig), None);
        rig.commit_as(10, GENERATION);
        assert!(!needless(&rig.run(Duration::from_mins(1), &[0, 1, 2])), "that was it");
        rig.check();
    }

    #[test]
    fn an_older_replica_is_better_than_nothing() {
        let mut rig = Rig::with_nodes(3);
        rig.out_of_safe_mode();
        rig.open_chunk(10, 3, &[2]);
        let mut old = of_state(ReplicaState::Rwr);
        old.generation = GenStamp(GENERATION.0 - 1);
        rig.changed(0, old);
        wanted(&mut rig);
        rig.run(Duration::from_secs(119), &[0, 1]);
        assert_eq!(ordered(&mut rig).map(|(primary, _)| primary), None);
        rig.run(Duration::from_secs(2), &[0, 1]);
        assert_eq!(ordered(&mut rig), Some((0, vec![0])));
    }
}
