//! Every scenario in small, on several seeds; and that broken decisions are found.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod altered;
mod broken;
mod scenarios;

use std::time::Duration;

use dfs_namenode_core::Core;
use dfs_simulation::{Costs, Decisions, Outcome, Scenario, Settings, run};

/// Small racks, so that a few nodes have many.
fn settings(nodes: u16, chunks: u32, seed: u64) -> Settings {
    Settings { rack_size: 6, ..Settings::new(nodes, chunks, seed) }
}

fn cluster(settings: &Settings) -> Core {
    Core::new(settings.config.clone(), settings.seed, Settings::BEGINNING)
}

/// Runs a scenario; what it cost is left out, so that outcomes can be compared.
fn outcome(
    scenario: Scenario,
    settings: Settings,
    deadline: Duration,
    decisions: Box<dyn Decisions>,
) -> Outcome {
    let outcome = run(scenario, settings, deadline, decisions, &mut |_| ());
    Outcome { costs: Costs::default(), ..outcome }
}

/// A scenario with the real decisions.
fn play(scenario: Scenario, settings: Settings) -> Outcome {
    let decisions = Box::new(cluster(&settings));
    outcome(scenario, settings, scenario.deadline(), decisions)
}

/// Seeds to try: more of them if there is time (`DFS_LONG=1`).
fn seeds() -> std::ops::Range<u64> {
    let long = std::env::var_os("DFS_LONG").is_some_and(|long| long == "1");
    1..if long { 31 } else { 4 }
}
