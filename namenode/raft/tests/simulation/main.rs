//! Whole groups in virtual time with crashes, pauses, partitions, clocks of different speed, lost, doubled and late
//! messages, members that come, go and lose their disks. One seed is one run; `DFS_SEED=n` repeats one.

#![cfg(not(feature = "seeded-bug"))]
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a simulation that can't go on is a failed test"
)]

mod disk;
mod world;

use std::time::Duration;

use dfs_namenode_raft::MembershipChange;
use rand::RngExt;
use rand::seq::IndexedRandom;

use world::{Seen, Weather, World};

/// Seeds of a run in CI, and with `DFS_LONG=1`.
const SEEDS: (u64, u64) = (2_000, 20_000);
const STEP: Duration = Duration::from_millis(20);

/// Grows the group of one to three.
fn grow(world: &mut World) {
    for _ in 0..2 {
        let joined = (0..500).find_map(|_| {
            world.run_until(world.now.plus(STEP));
            world.join()
        });
        let id = joined.expect("a leader takes members in");
        promote(world, id, None);
    }
}

fn promote(world: &mut World, id: u64, replaced: Option<u64>) {
    for _ in 0..2_000 {
        start_all(world);
        world.run_until(world.now.plus(STEP));
        let Some((_, members)) = world.leader() else { continue };
        if members.voters.contains(&id) && members.voters_outgoing.is_empty() {
            return;
        }
        if !members.learners.contains(&id) {
            // The leader that took it in was deposed before that was committed.
            world.change(MembershipChange::AddLearner(id));
        } else if world.is_caught_up(id) {
            world.change(MembershipChange::Promote { id, replaced });
        }
    }
    panic!("{id} does not become a voter: {} {:?}", world.describe(), world.leader());
}

fn start_all(world: &mut World) {
    for id in world.down() {
        world.start(id);
    }
}

/// A member of three loses its disk; a new one takes its place.
fn replace(world: &mut World) {
    let Some((leader, members)) = world.leader() else { return };
    let others: Vec<u64> = members.voters.iter().copied().filter(|id| *id != leader).collect();
    let Some(lost) = others.choose(&mut world.rng).copied() else { return };
    world.wipe(lost);
    mend(world);
    let joined = (0..1_000).find_map(|_| {
        start_all(world);
        world.run_until(world.now.plus(STEP));
        world.join()
    });
    promote(world, joined.expect("a leader takes a new member in"), Some(lost));
}

/// One fault, or the end of one.
fn disturb(world: &mut World) {
    let up = world.up();
    let one = up.choose(&mut world.rng).copied();
    match world.rng.random_range(0..100) {
        0..8 if up.len() > 1 => one.into_iter().for_each(|id| world.crash(id)),
        8..12 => one.into_iter().for_each(|id| world.crash_in_append(id)),
        12..30 => {
            let down = world.down();
            down.choose(&mut world.rng).copied().into_iter().for_each(|id| world.start(id));
        }
        30..38 => {
            let time = Duration::from_millis(world.rng.random_range(1..3_000));
            if let Some(id) = one {
                world.pause(id, time);
            }
        }
        38..46 => {
            // One direction, or both.
            let other = up.choose(&mut world.rng).copied();
            let both = world.rng.random_bool(0.5);
            if let (Some(a), Some(b)) = (one, other) {
                world.cut.insert((a, b));
                if both {
                    world.cut.insert((b, a));
                }
            }
        }
        46..50 => {
            // The leader alone: the others elect another while it may still think that it leads.
            if let Some((leader, members)) = world.leader() {
                for other in members.voters {
                    world.cut.extend([(leader, other), (other, leader)]);
                }
            }
        }
        50..60 => world.cut.clear(),
        60..66 => one.into_iter().for_each(|id| world.hand_over(id)),
        66..72 => {
            let lost = world.rng.random_range(0.0..0.3);
            world.weather = Weather { lost, doubled: 0.1, late: world.rng.random_range(0.0..0.2) };
        }
        72..78 => world.weather = Weather::default(),
        78..82 => restart_a_follower_while_another_looks_for_votes(world),
        82..88 => {
            // From a little slow to standing still.
            let slowest = [20, 400, 5_000].choose(&mut world.rng).copied().unwrap_or(1);
            let time = Duration::from_millis(world.rng.random_range(1..=slowest));
            if let Some(id) = one {
                world.slow_disk(id, time);
            }
        }
        88..94 => one.into_iter().for_each(|id| world.slow_disk(id, Duration::ZERO)),
        _ => {}
    }
}

/// The restarted one has forgotten that it followed a leader a moment ago; that leader may still rely on it.
fn restart_a_follower_while_another_looks_for_votes(world: &mut World) {
    let Some((leader, members)) = world.leader() else { return };
    let others: Vec<u64> = members.voters.iter().copied().filter(|id| *id != leader).collect();
    if let [one, other] = others[..]
        && world.up().contains(&other)
    {
        world.cut.extend([(leader, one), (one, leader)]);
        let time = Duration::from_millis(world.rng.random_range(400..900));
        world.run_until(world.now.plus(time));
        if world.up().contains(&other) {
            world.crash(other);
            world.start(other);
        }
    }
}

/// Ends all faults of the network and of disks.
fn mend(world: &mut World) {
    world.cut.clear();
    world.weather = Weather::default();
    for id in world.up() {
        world.slow_disk(id, Duration::ZERO);
    }
}

/// Heals everything and waits until all agree.
fn heal(world: &mut World) {
    mend(world);
    for _ in 0..1_000 {
        start_all(world);
        world.run_until(world.now.plus(STEP));
        if world.broken.is_some() || world.is_agreed() {
            return;
        }
    }
    world.broken = Some(format!("no agreement 20 s after everything healed: {}", world.describe()));
}

/// Runs one seed; the broken rule, if one is.
fn run(seed: u64) -> Result<Seen, String> {
    let mut world = World::new(seed);
    grow(&mut world);
    for round in 0..400 {
        if world.rng.random_bool(0.3) {
            disturb(&mut world);
        }
        if round == 250 && seed.is_multiple_of(4) {
            replace(&mut world);
        }
        for id in world.up() {
            if world.rng.random_bool(0.7) {
                world.propose(id);
            }
            world.read(id);
        }
        world.run_until(world.now.plus(STEP));
        if let Some(broken) = world.broken.take() {
            return Err(broken);
        }
    }
    heal(&mut world);
    match world.broken.take() {
        Some(broken) => Err(broken),
        None => Ok(world.seen),
    }
}

fn seeds() -> std::ops::Range<u64> {
    if let Some(seed) = std::env::var("DFS_SEED").ok().and_then(|seed| seed.parse().ok()) {
        return seed..seed + 1;
    }
    0..if std::env::var_os("DFS_LONG").is_some() { SEEDS.1 } else { SEEDS.0 }
}

#[test]
fn no_seed_breaks_a_rule() {
    let mut all = Seen::default();
    for seed in seeds() {
        let seen = run(seed).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
        all.acknowledged += seen.acknowledged;
        all.reads += seen.reads;
        all.elections += seen.elections;
        all.crashes += seen.crashes;
        all.snapshots += seen.snapshots;
    }
    println!("{} seeds: {all:?}", seeds().count());
    assert!(
        all.acknowledged > 0 && all.reads > 0 && all.elections > 0 && all.crashes > 0 && all.snapshots > 0
    );
}

/// A group of three, and the member that leads it.
fn three() -> (World, u64) {
    let mut world = World::new(3);
    grow(&mut world);
    heal(&mut world);
    let (leader, _) = world.leader().unwrap();
    (world, leader)
}

#[test]
fn disks_slower_than_the_election_timeout_cost_nobody_the_lead() {
    let (mut world, leader) = three();
    let elections = world.seen.elections;
    for id in world.up() {
        world.slow_disk(id, Duration::from_millis(700));
    }
    let acknowledged = world.seen.acknowledged;
    for _ in 0..20 {
        world.propose(leader);
        world.run_until(world.now.plus(Duration::from_secs(1)));
    }
    assert_eq!((world.broken.take(), world.seen.elections), (None, elections));
    assert_eq!(world.leader().map(|(id, _)| id), Some(leader));
    assert!(world.seen.acknowledged >= acknowledged + 15, "{:?}", world.seen);
}

#[test]
fn a_leader_whose_disk_stands_still_hands_over_and_commits_what_the_others_have() {
    let (mut world, leader) = three();
    world.slow_disk(leader, Duration::from_hours(1));
    world.propose(leader);
    world.run_until(world.now.plus(Duration::from_secs(2)));
    assert_eq!(world.leader().map(|(id, _)| id), Some(leader), "it speaks to the others all the while");
    let other = world.up().into_iter().find(|id| *id != leader).unwrap();
    world.hand_over(other);
    world.run_until(world.now.plus(Duration::from_secs(1)));
    assert_eq!(world.leader().map(|(id, _)| id), Some(other));
    let acknowledged = world.seen.acknowledged;
    world.propose(other);
    world.run_until(world.now.plus(Duration::from_secs(1)));
    assert!(world.seen.acknowledged > acknowledged);
    assert_eq!(world.broken.take(), None);
}

#[test]
fn a_seed_repeats_itself() {
    assert_eq!(run(7), run(7));
}
