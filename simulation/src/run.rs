//! Runs one scenario from the first chunk loaded to the end.

use std::time::{Duration, Instant};

use dfs_types::Millis;

use crate::namenode::{Decisions, Meter, memory};
use crate::node::Process;
use crate::outcome::{Balance, Costs, Outcome, Work, seconds};
use crate::scenario::Scenario;
use crate::settings::Settings;
use crate::world::{STEP, Tally, World};

/// Steps between two looks at what the scenario does next, and whether all is well.
const LOOK: u64 = 5;
/// Chunks up to which the NameNode's own rules, which go through all chunks, are checked.
const SMALL: u32 = 200_000;
/// Steps between two such checks.
const RARELY: u64 = 300;
/// How long a cluster may take until all is well before anything happened.
const CALM: Duration = Duration::from_mins(5);

/// Runs `scenario`; `progress` is told what is going on.
pub fn run(
    scenario: Scenario,
    settings: Settings,
    deadline: Duration,
    decisions: Box<dyn Decisions>,
    progress: &mut dyn FnMut(String),
) -> Outcome {
    let began = Instant::now();
    progress(format!("places {} chunks on {} nodes", settings.chunks, settings.nodes));
    let mut world = World::new(settings, decisions);
    let (without, _) = memory();
    progress(format!("the DataNodes take {} MiB; the NameNode loads its chunks", without >> 20));
    world.load();
    let mut calm = true;
    if scenario == Scenario::ColdStart {
        world.loaded();
    } else {
        progress("the DataNodes report".to_owned());
        world.warm_start();
        calm = become_calm(&mut world);
    }
    let with = memory().0;
    progress(format!("the NameNode takes {} MiB; the scenario begins", with.saturating_sub(without) >> 20));

    let mut before = Before::new(&mut world);
    let converged = calm && play(scenario, &mut world, deadline, &before, progress);
    if scenario == Scenario::ColdStart {
        before.namenode = memory().0.saturating_sub(without);
    } else {
        before.namenode = with.saturating_sub(without);
    }
    before.outcome(scenario, &mut world, converged, began.elapsed())
}

/// Time passes until all is well and the NameNode no longer waits for late reports.
fn become_calm(world: &mut World) -> bool {
    let (quiet, end) = (world.now.plus(2 * world.settings.config.report_grace), world.now.plus(CALM));
    while world.now < quiet || !world.is_as_it_should_be() {
        if world.now >= end {
            world.rules.broken(world.now, || "all is not well before anything happened".to_owned());
            return false;
        }
        world.step();
    }
    true
}

fn play(
    scenario: Scenario,
    world: &mut World,
    deadline: Duration,
    before: &Before,
    progress: &mut dyn FnMut(String),
) -> bool {
    let mut script = scenario.script(world);
    let (mut step, mut all_done) = (0_u64, false);
    while world.now.since(before.began) < deadline {
        if step.is_multiple_of(LOOK) {
            all_done = all_done || script.drive(world);
            if all_done && world.is_as_it_should_be() {
                check_own_rules(world);
                return true;
            }
        }
        if step.is_multiple_of(RARELY) {
            check_own_rules(world);
        }
        world.step();
        step += 1;
        if step.is_multiple_of(60_000 / STEP.as_millis() as u64) {
            let (time, tally) = (world.now.since(before.began).as_secs(), &world.tally);
            let totals = world.decisions.totals(world.now);
            progress(format!(
                "{time} s: {} copies, {} deletions, {} reports, {} chunks short",
                tally.copies, tally.deletions, tally.reports, totals.under_replicated
            ));
        }
    }
    false
}

/// The NameNode's own rules, in small clusters.
fn check_own_rules(world: &mut World) {
    if world.settings.chunks <= SMALL {
        for violation in world.decisions.violations() {
            world.rules.broken(world.now, || violation);
        }
    }
}

/// How it was when the scenario began.
struct Before {
    began: Millis,
    balance: Balance,
    meter: Meter,
    /// Bytes of memory of the decisions.
    namenode: u64,
}

fn balance(world: &World) -> Balance {
    let there = world.nodes.iter().filter(|node| node.process != Process::Lost);
    Balance::of(&there.map(|node| node.use_share(&world.settings)).collect::<Vec<_>>())
}

fn all(meter: &Meter) -> Duration {
    meter.kinds().iter().map(|(_, spent)| spent.all).sum()
}

impl Before {
    fn new(world: &mut World) -> Self {
        let digest = world.tally.digest;
        world.tally = Tally { digest, ..Tally::default() };
        Self { began: world.now, balance: balance(world), meter: world.meter, namenode: 0 }
    }

    fn costs(&self, world: &World, virtual_time: Duration, real: Duration) -> Costs {
        let millions = world.truth.chunks().max(1) as f64 / 1e6;
        let (start, scenario) = (all(&self.meter), all(&world.meter).saturating_sub(all(&self.meter)));
        let work = world.meter.kinds().into_iter().map(|(kind, spent)| Work {
            kind,
            calls: spent.calls,
            seconds: seconds(spent.all),
            longest_ms: 1e3 * seconds(spent.longest),
        });
        Costs {
            work: work.collect(),
            start_seconds_per_million_chunks: seconds(start) / millions,
            scenario_seconds: seconds(scenario),
            scenario_seconds_per_million_chunks: seconds(scenario) / millions,
            scenario_ms_per_virtual_second: 1e3 * seconds(scenario) / seconds(virtual_time).max(1e-3),
            bytes_per_chunk: self.namenode as f64 / world.truth.chunks().max(1) as f64,
            namenode_mib: self.namenode >> 20,
            peak_mib: memory().1 >> 20,
            real_seconds: seconds(real),
        }
    }

    fn outcome(&self, scenario: Scenario, world: &mut World, converged: bool, real: Duration) -> Outcome {
        let since = |at: Option<Millis>| at.map(|at| seconds(at.since(self.began)));
        let virtual_time = world.now.since(self.began);
        let (settings, seen, tally) = (&world.settings, world.network.seen(), &world.tally);
        Outcome {
            scenario: scenario.name(),
            nodes: settings.nodes,
            chunks: settings.chunks,
            replication: settings.replication,
            chunk_mib: settings.chunk_bytes >> 20,
            seed: settings.seed,
            converged,
            seconds: seconds(virtual_time),
            first_death: since(tally.first_death),
            last_death: since(tally.last_death),
            deaths: tally.deaths,
            safe_mode_ended: since(tally.safe_mode_ended),
            full_replication: since(tally.last_short),
            most_short: tally.most_short,
            chunks_gone: world.truth.gone(),
            chunks_written: world.truth.chunks() - u64::from(settings.chunks),
            copies: tally.copies,
            failed_copies: tally.failed_copies,
            moved_gib: seen.moved / f64::from(1 << 30),
            deletions: tally.deletions,
            full_reports: tally.reports,
            balance_before: self.balance,
            balance_after: balance(world),
            balanced: tally.balanced,
            most_sending: seen.sending,
            most_receiving: seen.receiving,
            most_copies: seen.copies,
            most_sent_mb: seen.sent / 1e6,
            most_received_mb: seen.received / 1e6,
            clients_slowed: seen.clients_slowed(),
            rules_broken: world.rules.count(),
            broken: world.rules.found().to_vec(),
            digest: format!("{:016x}", tally.digest),
            costs: self.costs(world, virtual_time, real),
        }
    }
}
