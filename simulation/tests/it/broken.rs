//! Broken decisions must not go unnoticed.

use std::time::Duration;

use dfs_namenode_core::{Command, Core};
use dfs_simulation::{Outcome, Scenario, Settings};
use dfs_types::{ChunkId, GenStamp, NodeId};

use crate::altered::Altered;
use crate::{cluster, outcome, settings};

/// A lost node of a small cluster whose orders are altered.
fn node_lost(alter: impl FnMut(NodeId, Vec<Command>) -> Vec<Command> + 'static) -> Outcome {
    let settings = settings(30, 3_000, 1);
    let decisions = Altered { core: cluster(&settings), alter };
    outcome(Scenario::NodeLost, settings, Duration::from_mins(5), Box::new(decisions))
}

/// The node that the scenario destroys: the first one.
fn lost_node() -> NodeId {
    NodeId::from_bytes(&1_u128.to_be_bytes()).unwrap()
}

#[test]
fn the_real_decisions_pass() {
    let outcome = node_lost(|_, commands| commands);
    assert!(outcome.is_good(), "{}", outcome.table());
}

#[test]
fn orders_that_are_dropped_are_missed() {
    let outcome = node_lost(|_, _| Vec::new());
    assert!(!outcome.converged && outcome.rules_broken == 0, "{}", outcome.table());
}

#[test]
fn the_last_replica_deleted_is_found() {
    let mut victims: Vec<(ChunkId, GenStamp)> = Vec::new();
    let outcome = node_lost(move |_, mut commands| {
        for command in &commands {
            if let Command::Copy { chunk, generation, .. } = command
                && victims.len() < 5
            {
                victims.push((*chunk, *generation));
            }
        }
        // Whoever has it deletes it.
        commands.push(Command::Delete { replicas: victims.clone() });
        commands
    });
    assert!(outcome.rules_broken > 0, "{}", outcome.table());
    assert!(outcome.broken.iter().any(|broken| broken.contains("of which no replica would be left")));
    assert!(outcome.broken.iter().any(|broken| broken.contains("deletes the last replica")));
    assert!(!outcome.is_good() && outcome.table().contains("deletes the last replica"));
}

#[test]
fn an_order_that_involves_a_dead_node_is_found() {
    let outcome = node_lost(|_, mut commands| {
        for command in &mut commands {
            if let Command::Copy { targets, .. } = command {
                *targets = vec![lost_node()];
            }
        }
        commands
    });
    assert!(outcome.broken.iter().any(|broken| broken.contains("which is dead")), "{}", outcome.table());
}

#[test]
fn an_order_for_a_dead_node_is_found() {
    let outcome = node_lost(|node, mut commands| {
        if node == lost_node() {
            commands.push(Command::Delete { replicas: Vec::new() });
        }
        commands
    });
    assert!(
        outcome.broken.iter().any(|broken| broken.contains("is dead and has 1 orders")),
        "{}",
        outcome.table()
    );
}

#[test]
fn too_many_copies_at_a_time_are_found() {
    // The NameNode believes in other limits than the rules do.
    let settings = settings(30, 3_000, 1);
    let mut careless = settings.config.clone();
    careless.max_copy_bytes_per_node *= 8;
    let decisions = Core::new(careless, 1, Settings::BEGINNING);
    let outcome = outcome(Scenario::NodeLost, settings, Duration::from_mins(5), Box::new(decisions));
    assert!(outcome.broken.iter().any(|broken| broken.contains("2 are allowed")), "{}", outcome.table());
}
