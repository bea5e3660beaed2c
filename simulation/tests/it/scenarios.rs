//! What each scenario must come to.

use dfs_simulation::{Outcome, Scenario, Settings};

use crate::{play, seeds, settings};

const NODES: u16 = 60;
const CHUNKS: u32 = 10_000;

/// Runs the scenario on every seed; each ends well.
fn all_good(scenario: Scenario, check: impl Fn(&Outcome)) {
    for seed in seeds() {
        let outcome = play(scenario, settings(NODES, CHUNKS, seed));
        assert!(outcome.is_good(), "{}", outcome.table());
        check(&outcome);
    }
}

#[test]
fn a_lost_nodes_chunks_are_copied_once() {
    all_good(Scenario::NodeLost, |outcome| {
        assert_eq!((outcome.deaths, outcome.chunks_gone), (1, 0));
        // A node more or less than its share.
        assert!((400..600).contains(&outcome.most_short), "{}", outcome.table());
        assert_eq!((outcome.copies, outcome.deletions), (outcome.most_short, 0), "{}", outcome.table());
        assert!(outcome.full_replication > outcome.first_death);
    });
}

#[test]
fn a_lost_rack_loses_no_chunk() {
    all_good(Scenario::RackLost, |outcome| {
        assert_eq!((outcome.deaths, outcome.chunks_gone), (6, 0));
        // One copied to a poor place because the good ones were busy is moved later.
        let moved = outcome.copies - outcome.most_short;
        assert!(moved < 30 && moved == outcome.deletions, "{}", outcome.table());
    });
}

#[test]
fn announced_restarts_cost_no_copies() {
    all_good(Scenario::RollingRestart, |outcome| {
        assert_eq!((outcome.deaths, outcome.copies, outcome.deletions), (0, 0, 0), "{}", outcome.table());
        assert_eq!(outcome.full_reports, u64::from(NODES));
    });
}

#[test]
fn a_cold_start_ends_safe_mode_and_copies_nothing() {
    all_good(Scenario::ColdStart, |outcome| {
        assert!(outcome.safe_mode_ended.is_some_and(|seconds| seconds > 20.0), "{}", outcome.table());
        assert_eq!((outcome.copies, outcome.full_reports), (0, u64::from(NODES)), "{}", outcome.table());
    });
}

#[test]
fn flapping_nodes_leave_no_trace() {
    for seed in seeds() {
        // Two nodes flap.
        let outcome = play(Scenario::Flapping, settings(120, 3_000, seed));
        assert!(outcome.is_good(), "{}", outcome.table());
        assert!(outcome.deaths > 3 && outcome.deletions > 0, "{}", outcome.table());
    }
}

#[test]
fn the_same_seed_does_the_same() {
    for (_, scenario) in Scenario::ALL {
        let [first, second] = [(); 2].map(|()| play(scenario, settings(30, 1_000, 5)));
        assert_eq!(first, second);
        let other = play(scenario, settings(30, 1_000, 6));
        assert_ne!(first.digest, other.digest, "another seed does something else");
    }
}

#[test]
fn copies_that_fail_are_made_again() {
    let failing = Settings { failing_copies: 100, ..settings(NODES, CHUNKS, 1) };
    let outcome = play(Scenario::NodeLost, failing);
    assert!(outcome.is_good(), "{}", outcome.table());
    assert!(outcome.failed_copies > 50, "{}", outcome.table());
    assert_eq!(outcome.copies, outcome.most_short);
}

#[test]
fn a_decommissioned_rack_can_be_taken_away() {
    all_good(Scenario::Decommission, |outcome| {
        assert!(outcome.copies >= 2_500, "{}", outcome.table());
        assert_eq!((outcome.chunks_gone, outcome.deletions), (0, 0), "{}", outcome.table());
    });
}

#[test]
fn the_balancer_evens_nodes_out() {
    for seed in seeds() {
        let outcome = play(Scenario::Balancer, settings(30, 2_000, seed));
        assert!(outcome.is_good(), "{}", outcome.table());
        assert_eq!(outcome.balanced, Some(true), "{}", outcome.table());
        let (before, after) = (&outcome.balance_before, &outcome.balance_after);
        assert!(after.deviation < before.deviation && after.most < before.most, "{}", outcome.table());
        // Ten percent to each side, and a chunk more.
        assert!(after.most < after.mean + 12.0 && after.least > after.mean - 12.0, "{}", outcome.table());
        assert_eq!(outcome.copies, outcome.deletions, "{}", outcome.table());
    }
}
