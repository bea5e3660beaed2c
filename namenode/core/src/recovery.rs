//! Recovery of chunks whose writer is gone.
//!
//! One holder of a replica, the primary, is told to agree with the others on a length and to finalize. If nothing
//! comes of it in time, another is told. A recovery ends when the chunk is committed or removed.
//!
//! A chunk whose length the writer had committed may need one too: the writer goes on to the next chunk before the
//! nodes have finalized this one.
//!
//! A recovery ends with all that readers count on, and waits for a node that has it. Only if every node there is has said
//! what it holds, and none has it, does it end with less: what was flushed but never synced can go when all machines lose
//! their power. What was synced is on the disk of each of them.

use std::collections::{BTreeMap, BTreeSet};

use dfs_types::{ChunkId, GenStamp, Millis, ReplicaState};

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
    /// Bytes with which it may end at present.
    floor: u64,
    since: Millis,
    /// Nodes that were primary once, in this round.
    tried: BTreeSet<NodeIndex>,
    /// Who is primary, since when.
    primary: Option<(NodeIndex, Millis)>,
    /// When it was last found that there is nothing to recover.
    hopeless: Option<Millis>,
}

/// All recoveries under way.
pub(crate) type Recoveries = BTreeMap<ChunkId, Recovery>;

/// What a recovery can work with.
#[derive(Debug, Default, PartialEq, Eq)]
struct Holders {
    /// Nodes that have, or may have, a replica that is fit for use; the best first.
    fit: Vec<NodeIndex>,
    /// Whether there are replicas that are not.
    unfit: bool,
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
        let since = self.recoveries.get(&id).map_or(now, |recovery| recovery.since);
        let recovery = Recovery {
            new_generation,
            acknowledged,
            floor: acknowledged,
            since,
            tried: BTreeSet::new(),
            primary: None,
            hopeless: None,
        };
        self.recoveries.insert(id, recovery);
    }

    /// Finds a primary for each recovery that has none or whose primary takes too long.
    pub(crate) fn drive_recoveries(&mut self, now: Millis, effects: &mut Vec<Effect>) {
        if !self.decides() {
            return;
        }
        let ids: Vec<ChunkId> = self.recoveries.keys().copied().collect();
        for id in ids {
            self.drive_recovery(id, now, effects);
        }
    }

    fn drive_recovery(&mut self, id: ChunkId, now: Millis, effects: &mut Vec<Effect>) {
        let timeout = self.config.recovery_timeout;
        if let Some((generation, length)) = self.is_complete(id) {
            self.recoveries.remove(&id);
            effects.push(Effect::RecoveryNeedless { chunk: id, generation, length });
            return;
        }
        let Some(recovery) = self.recoveries.get(&id) else {
            return;
        };
        let usable = |index: NodeIndex| self.nodes.get(index).is_some_and(Node::is_usable);
        let asked = |since: Millis| now.since(since) < timeout;
        if recovery.primary.is_some_and(|(node, since)| usable(node) && asked(since)) {
            return;
        }
        let certain = self.all_is_known(recovery.since, now);
        let floor = if certain { 0 } else { recovery.acknowledged };
        let holders = self.holders_to_recover(id, recovery.since, floor, now);
        let enough = self.may_have(id, &holders.fit, floor);
        let mut usable =
            holders.fit.iter().copied().filter(|_| enough).filter(|index| usable(*index)).peekable();
        let primary = usable.peek().copied();
        let primary = usable
            .find(|index| !recovery.tried.contains(index))
            .map_or(primary.map(|index| (index, true)), |index| Some((index, false)));
        // Damaged ones of which nobody counts on a byte are what a power cut leaves of a replica just begun.
        let nothing = holders.fit.is_empty() && (!holders.unfit || (certain && recovery.acknowledged == 0));
        let hopeless = nothing
            && (certain || recovery.acknowledged == 0)
            && recovery.hopeless.is_none_or(|at| now.since(at) >= timeout)
            && self.nothing_will_turn_up(recovery.since, now);
        let Some(recovery) = self.recoveries.get_mut(&id) else {
            return;
        };
        recovery.floor = floor;
        recovery.primary = primary.map(|(index, _)| (index, now));
        if let Some((index, new_round)) = primary {
            if new_round {
                recovery.tried.clear();
            }
            recovery.tried.insert(index);
            if let Some(node) = self.nodes.get_mut(index) {
                node.recovery_orders.push_back(id);
            }
        } else if hopeless {
            recovery.hopeless = Some(now);
            let new_generation = recovery.new_generation;
            effects.push(Effect::NothingToRecover { chunk: id, new_generation });
        }
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
        let is_short = |odd: &Odd| odd.state != ReplicaState::Rbw && odd.length < bytes;
        nodes.iter().any(|index| !odd.iter().any(|odd| odd.node == *index && is_short(odd)))
    }

    /// Whether every node that could hold a replica has said what it holds, or had the time of a restart to do so.
    fn nothing_will_turn_up(&self, since: Millis, now: Millis) -> bool {
        let silent = |state: NodeState, reported: bool| state == NodeState::Dead || reported;
        now.since(since) >= self.config.restart_grace
            && self.nodes.iter().all(|(_, node)| silent(node.state, node.reported))
    }

    /// Whether every node that was heard of has said what it holds, after the time of a restart.
    fn all_is_known(&self, since: Millis, now: Millis) -> bool {
        let says_all = |node: &Node| node.state == NodeState::Live && node.reported;
        now.since(since) >= self.config.restart_grace && self.nodes.iter().all(|(_, node)| says_all(node))
    }

    /// Whether the chunk's recovery may end with less than readers count on.
    pub fn recovery_may_lose(&self, chunk: ChunkId) -> bool {
        self.recoveries.get(&chunk).is_some_and(|recovery| recovery.floor < recovery.acknowledged)
    }

    /// Who can take part in a recovery that ends with `floor` bytes at least: holders of replicas of the chunk's generation, complete ones first, then
    /// members of its pipeline whose report of it may be on the way. If there are none for as long as a restart
    /// takes, replicas of the latest older generation are better than nothing.
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
        if ranked.is_empty() && now.since(since) >= self.config.restart_grace {
            let stale = |odd: &&Odd| {
                odd.state != ReplicaState::Corrupt
                    && chunk.judge(odd.generation, odd.length, odd.state) == Verdict::Stale
            };
            let latest = odd.iter().filter(stale).map(|odd| odd.generation).max();
            let of_latest: Vec<Odd> =
                odd.iter().filter(stale).filter(|odd| Some(odd.generation) == latest).copied().collect();
            ranked = self.ranked(chunk, &of_latest, Verdict::Stale, floor);
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

    #[test]
    fn what_no_node_has_is_given_up_when_each_has_said_so() {
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
            rig.run(Duration::from_secs(119), &[0, 1, 2]);
            assert_eq!(ordered(&mut rig), None, "a restart may bring it back");
            rig.run(Duration::from_secs(2), &[0, 1, 2]);
            assert_eq!(ordered(&mut rig).map(|(_, holders)| holders), Some(vec![0, 1]));
            assert!(rig.cluster.recovery_may_lose(ChunkId(10)));
            rig.check();
        }
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
        assert!(!needless(&rig.run(Duration::from_mins(1), &[0, 1, 2])), "once is enough");
        assert_eq!(ordered(&mut rig), None);
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
