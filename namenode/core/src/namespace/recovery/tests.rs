//! Recoveries in a cluster of events.

use std::time::Duration;

use dfs_types::{Layout, NodeId, ReplicaRecord, VolumeHealth};

use super::*;
use crate::test_support::{GENERATION, LENGTH, Rig, node_id, number, record};
use crate::{Event, NodeStats};

const NEW: GenStamp = GenStamp(GENERATION.0 + 5);

fn wanted(rig: &mut Rig) -> Vec<Effect> {
    wanted_with(rig, 0)
}

fn wanted_with(rig: &mut Rig, acknowledged: u64) -> Vec<Effect> {
    wanted_of(rig, acknowledged, &[])
}

/// The namespace remembers that the chunk was written to these nodes.
fn wanted_of(rig: &mut Rig, acknowledged: u64, pipeline: &[u16]) -> Vec<Effect> {
    let pipeline = pipeline.iter().map(|n| node_id(*n)).collect();
    rig.apply(Event::RecoveryWanted { chunk: ChunkId(10), new_generation: NEW, acknowledged, pipeline })
}

/// The recovery ordered, from whom, and with which holders.
fn ordered(rig: &mut Rig) -> Option<(u16, Vec<u16>)> {
    let nodes: Vec<u16> = (0..8).collect();
    nodes.into_iter().find_map(|n| {
        let commands = rig.core.take_commands(node_id(n), rig.now);
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
    assert!(!rig.core.recovery_may_lose(ChunkId(10), LENGTH));
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
    rig.apply(Event::ChunkLoaded { chunk, generation, length, layout: Layout::Replicated { replicas: 3 } });
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
            missing: Vec::new(),
            loss_accepted: false,
        };
        let expected = Effect::RecoveryWaits { waiting: waiting.clone() };
        let told = effects.iter().filter(|effect| **effect == expected);
        assert_eq!((gives_up(&effects), told.count()), (false, 1));
        assert_eq!(rig.core.waiting_recoveries().collect::<Vec<_>>(), [waiting]);
        assert_eq!(rig.core.totals(rig.now).waiting_recoveries, 1);

        rig.join(4, crate::test_support::stats(4));
        rig.report(4, vec![of_state(ReplicaState::Rwr)]);
        rig.run(Duration::from_secs(1), &[4]);
        assert_eq!(ordered(&mut rig), Some((4, vec![4])));
        assert!(!rig.core.recovery_may_lose(ChunkId(10), LENGTH));
        rig.commit_as(10, NEW);
        assert_eq!(rig.core.totals(rig.now).waiting_recoveries, 0);
        rig.check();
    }
}

#[test]
fn what_nobody_counts_on_is_dropped_by_a_namenode_that_knows_no_node() {
    let mut rig = restarted(0, false);
    assert!(!gives_up(&rig.run(Duration::from_secs(119), &[])));
    assert!(gives_up(&rig.run(Duration::from_secs(2), &[])));
    assert_eq!(rig.core.totals(rig.now).waiting_recoveries, 0);
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
    assert_eq!(rig.core.nodes(rig.now).len(), 1, "the others are forgotten");
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
        assert!(!rig.core.recovery_may_lose(ChunkId(10), LENGTH));
        let best = rig.core.waiting_recovery(ChunkId(10)).unwrap().best;
        assert_eq!(best, Some((node_id(1), LENGTH - 1)));
        rig.join(3, crate::test_support::stats(3));
        accept_loss(&mut rig);
        rig.run(Duration::from_secs(5), &[0, 1, 2, 3]);
        assert_eq!(ordered(&mut rig), None, "one has not told what it has");
        rig.report(3, vec![]);
        rig.run(Duration::from_secs(1), &[0, 1, 2, 3]);
        let commands: Vec<_> = (0..3).flat_map(|n| rig.core.take_commands(node_id(n), rig.now)).collect();
        let [Command::Recover { acknowledged, .. }] = commands[..] else { panic!("{commands:?}") };
        assert_eq!(acknowledged, LENGTH - 1, "no more is lost than must be");
        assert!(rig.core.recovery_may_lose(ChunkId(10), LENGTH - 1));
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
    assert!(rig.core.recovery_may_lose(ChunkId(10), LENGTH - 1));
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
    assert!(!rig.core.recovery_may_lose(ChunkId(10), LENGTH));
    rig.check();
}

#[test]
fn an_accepted_loss_ends_with_the_longest_replica_of_whatever_generation() {
    let mut rig = left_behind(LENGTH - 1, &[100]);
    rig.run(Duration::from_secs(125), &[0, 1, 2, 3]);
    let best = rig.core.waiting_recovery(ChunkId(10)).unwrap().best;
    assert_eq!(best, Some((node_id(0), LENGTH - 1)));
    let commands: Vec<_> = (0..4).flat_map(|n| rig.core.take_commands(node_id(n), rig.now)).collect();
    let [Command::Recover { acknowledged, ref holders, .. }] = commands[..] else { panic!("{commands:?}") };
    assert_eq!(acknowledged, LENGTH - 1, "what the report shows as best");
    assert!(holders.contains(&node_id(0)));
    rig.check();
}

#[test]
fn in_safe_mode_it_is_told_that_a_recovery_waits() {
    let mut rig = Rig::default();
    for id in [10, 11] {
        let (chunk, generation, length) = (ChunkId(id), GENERATION, (id == 11).then_some(LENGTH));
        rig.apply(Event::ChunkLoaded {
            chunk,
            generation,
            length,
            layout: Layout::Replicated { replicas: 3 },
        });
    }
    wanted_with(&mut rig, LENGTH);
    let waits = |effect: &Effect| matches!(effect, Effect::RecoveryWaits { .. });
    assert_eq!(rig.run(Duration::from_secs(119), &[]).iter().filter(|e| waits(e)).count(), 0);
    assert_eq!(rig.run(Duration::from_mins(5), &[]).iter().filter(|e| waits(e)).count(), 1);
    assert_eq!(rig.core.totals(rig.now).waiting_recoveries, 1);
    assert!(!rig.core.namespace().decides());
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
    assert!(!rig.core.recovery_may_lose(ChunkId(10), LENGTH));
    // The word is kept when the recovery is begun anew, and forgotten by the next leader.
    wanted_with(&mut rig, LENGTH);
    rig.run(Duration::from_secs(1), &[0]);
    assert!(rig.core.waiting_recovery(ChunkId(10)).unwrap().loss_accepted);
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
    assert_eq!(rig.core.totals(rig.now).waiting_recoveries, 0, "it may have everything");
    rig.run(Duration::from_secs(20), &[0, 1]);
    assert!(ordered(&mut rig).is_some());
    assert_eq!(rig.core.totals(rig.now).waiting_recoveries, 1);
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
    assert_eq!(rig.core.chunk(ChunkId(10)).unwrap().generation, NEW);
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

#[test]
fn a_loss_is_certain_when_every_node_it_was_written_to_has_answered() {
    let mut rig = restarted(LENGTH, false);
    wanted_of(&mut rig, LENGTH, &[4, 5]);
    rig.join(4, crate::test_support::stats(4));
    rig.report(4, vec![]);
    rig.join(6, crate::test_support::stats(6));
    rig.report(6, vec![]);
    assert!(!gives_up(&rig.run(Duration::from_hours(30), &[4, 6])), "node 5 may have it");
    let waiting = rig.core.waiting_recovery(ChunkId(10)).unwrap();
    assert_eq!(waiting.missing, [node_id(5)]);

    rig.join(5, crate::test_support::stats(5));
    assert!(!gives_up(&rig.run(Duration::from_mins(30), &[4, 5, 6])), "it has not said what it holds");
    rig.report(5, vec![]);
    let soon = rig.core.namespace().config.stale_after.saturating_sub(Duration::from_secs(1));
    assert!(!gives_up(&rig.run(soon, &[4, 5, 6])), "a heartbeat may still say that a disk has failed");
    assert!(gives_up(&rig.run(Duration::from_secs(2), &[4, 5, 6])));
    assert!(rig.core.recovery_may_lose(ChunkId(10), LENGTH - 1));
    rig.check();
}

#[test]
fn a_committed_chunk_may_have_copies_elsewhere() {
    let mut rig = restarted(LENGTH, true);
    wanted_of(&mut rig, LENGTH, &[4]);
    rig.join(4, crate::test_support::stats(4));
    rig.report(4, vec![]);
    assert!(!gives_up(&rig.run(Duration::from_hours(30), &[4])));
}

#[test]
fn what_is_left_of_acknowledged_bytes_is_kept_when_a_loss_is_certain() {
    let mut rig = restarted(LENGTH, false);
    wanted_of(&mut rig, LENGTH, &[4, 5]);
    let short = ReplicaRecord { length: LENGTH - 7, ..of_state(ReplicaState::Rwr) };
    for (n, replicas) in [(4, vec![short]), (5, vec![])] {
        rig.join(n, crate::test_support::stats(n));
        rig.report(n, replicas);
    }
    rig.run(Duration::from_secs(119), &[4, 5]);
    assert_eq!(ordered(&mut rig), None, "a node may have restarted without one of its volumes");
    let certain = rig.core.namespace().config.stale_after;
    rig.run(certain + Duration::from_secs(2), &[4, 5]);
    assert_eq!(ordered(&mut rig), Some((4, vec![4])));
    let may_end_with = |length| rig.core.recovery_may_lose(ChunkId(10), length);
    assert!(may_end_with(LENGTH - 7) && !may_end_with(LENGTH - 8), "an earlier order's answer is no proof");
    rig.check();
}

#[test]
fn a_damaged_replica_may_be_what_is_waited_for() {
    let mut rig = restarted(LENGTH, false);
    wanted_of(&mut rig, LENGTH, &[4]);
    rig.join(4, crate::test_support::stats(4));
    rig.report(4, vec![of_state(ReplicaState::Corrupt)]);
    assert!(!gives_up(&rig.run(Duration::from_hours(30), &[4])));
}

#[test]
fn a_leader_that_saw_the_pipeline_ends_the_waiting_too() {
    let mut rig = Rig::with_nodes(4);
    rig.out_of_safe_mode();
    rig.open_chunk(10, 3, &[0, 1]);
    wanted_of(&mut rig, LENGTH, &[0, 1]);
    assert!(gives_up(&rig.run(Duration::from_mins(10), &[0, 1, 2, 3])), "both say that they have nothing");
    rig.check();
}

#[test]
fn changes_that_are_on_their_way_are_waited_for() {
    let mut rig = restarted(LENGTH, false);
    wanted_of(&mut rig, LENGTH, &[4]);
    let ahead = NodeStats { as_of: 7, ..crate::test_support::stats(4) };
    rig.join(4, ahead.clone());
    rig.report(4, vec![]);
    for _ in 0..600 {
        rig.now = rig.now.plus(Duration::from_secs(1));
        rig.apply(Event::HeartbeatSeen { node: node_id(4), fence: 1, stats: ahead.clone() });
        assert!(!gives_up(&rig.apply(Event::Tick)));
    }
}

#[test]
fn a_node_with_a_failed_volume_has_not_answered() {
    for health in [VolumeHealth::Failed, VolumeHealth::Suspect] {
        let mut rig = restarted(LENGTH, false);
        wanted_of(&mut rig, LENGTH, &[4]);
        let mut stats = crate::test_support::stats(4);
        stats.volumes[0].health = health;
        rig.join(4, stats.clone());
        rig.report(4, vec![]);
        for _ in 0..600 {
            rig.now = rig.now.plus(Duration::from_secs(1));
            let seen = Event::HeartbeatSeen { node: node_id(4), fence: 1, stats: stats.clone() };
            rig.apply(seen);
            assert!(!gives_up(&rig.apply(Event::Tick)));
        }
        assert_eq!(rig.core.waiting_recovery(ChunkId(10)).unwrap().missing, [node_id(4)]);
    }
}

#[test]
fn who_was_forgotten_is_not_waited_for() {
    let mut rig = Rig::with_nodes(3);
    rig.out_of_safe_mode();
    rig.open_chunk(10, 2, &[]);
    wanted_of(&mut rig, LENGTH, &[0, 1]);
    let effects = rig.run(Duration::from_mins(10), &[1, 2]);
    assert!(!gives_up(&effects));
    assert_eq!(rig.core.waiting_recovery(ChunkId(10)).unwrap().missing, [node_id(0)]);
    rig.apply(Event::NodeForgotten { node: node_id(0) });
    assert!(gives_up(&rig.run(Duration::from_mins(1), &[1, 2])));
    rig.check();
}
