//! The balancer alone: nothing breaks, so everything that happens is its doing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dfs_namenode_core::{Balancing, Event};
use dfs_types::ChunkId;
use rand::RngExt;

use super::{Bytes, LENGTH, World};

const RATE: u64 = 32 << 20;

/// Distinct zones, racks and hosts of the nodes with an intact replica.
fn spread(world: &World, id: ChunkId) -> (usize, usize, usize) {
    spread_of(world, &world.intact(id))
}

fn spread_of(world: &World, nodes: &[usize]) -> (usize, usize, usize) {
    let distinct = |of: &dyn Fn(usize) -> String| nodes.iter().map(|n| of(*n)).collect::<BTreeSet<_>>().len();
    let zone = |n: usize| world.nodes[n].site.location.split('/').nth(1).unwrap_or_default().to_owned();
    (
        distinct(&zone),
        distinct(&|n| world.nodes[n].site.location.clone()),
        distinct(&|n| world.nodes[n].site.host.clone()),
    )
}

/// A chunk that could go from one node to another to some use, without lying at fewer places.
fn possible_move(world: &World, mean: u32, threshold: u32) -> Option<(ChunkId, usize, usize)> {
    let share = |n: usize| {
        let node = &world.nodes[n];
        (node.disk.len() as u64 * LENGTH * 1_000 / node.site.capacity) as u32
    };
    let beyond = |n: usize| share(n).abs_diff(mean) > threshold;
    let all = || 0..world.nodes.len();
    let pairs = all().flat_map(|from| all().map(move |to| (from, to)));
    let useful =
        pairs.filter(|(from, to)| share(*from) > mean && share(*to) < mean && (beyond(*from) || beyond(*to)));
    let mut moves =
        useful.flat_map(|(from, to)| world.nodes[from].disk.keys().map(move |id| (*id, from, to)));
    moves.find(|(id, from, to)| {
        let before = world.intact(*id);
        let after: Vec<usize> = before.iter().copied().filter(|n| n != from).chain([*to]).collect();
        let (was, is) = (spread_of(world, &before), spread_of(world, &after));
        !before.contains(to) && is.0 >= was.0 && is.1 >= was.1 && is.2 >= was.2
    })
}

/// A cluster that has settled, with a few nodes that came later and are empty.
fn settled(seed: u64) -> World {
    let mut world = World::new(seed, 1, 12 + seed as usize % 8, 150);
    let later = world.nodes.len() - 3;
    for n in later..world.nodes.len() {
        let moving: Vec<ChunkId> = world.nodes[n].disk.keys().copied().collect();
        world.nodes[n].disk.clear();
        for id in moving {
            if let Some(other) = (0..later).find(|other| !world.nodes[*other].disk.contains_key(&id)) {
                world.nodes[other].disk.insert(id, Bytes::Intact);
            }
        }
    }
    // Small disks, so that a chunk makes a difference.
    for node in &mut world.nodes {
        node.site.capacity = LENGTH * world.rng.random_range(60..200);
    }
    while !world.is_converged() {
        world.step(false);
        assert!(world.now.0 < 40_000_000, "seed {seed}: {:?}", world.core().totals(world.now));
    }
    world
}

fn balance(seed: u64) {
    let mut world = settled(seed);
    let settings = Balancing { threshold_permille: 100, bytes_per_second: RATE };
    world.commit(Event::BalancerSet { settings: Some(settings) });
    let (before, began) = (world.core().balancer(), world.now);
    let mut best: BTreeMap<ChunkId, (usize, usize, usize)> =
        world.chunks.keys().map(|id| (*id, spread(&world, *id))).collect();
    while world.core().balancer().running {
        world.step(false);
        world.check_kept();
        for (id, best) in &mut best {
            let (zones, racks, hosts) = spread(&world, *id);
            if world.intact(*id).len() > world.chunks[id] as usize {
                // The source's replica is still there.
                continue;
            }
            assert!(
                zones >= best.0 && racks >= best.1 && hosts >= best.2,
                "seed {seed}: chunk {id} lay at {best:?}, now {:?}",
                (zones, racks, hosts)
            );
            *best = (zones, racks, hosts);
        }
        assert!(world.now.since(began) < Duration::from_hours(2), "seed {seed}: it does not end");
    }
    let ended = world.now;
    while !world.is_converged() {
        world.step(false);
        assert!(world.now.since(ended) < Duration::from_mins(10), "seed {seed}: it leaves surplus behind");
    }
    assert_eq!(world.core().violations(), Vec::<String>::new(), "seed {seed}");
    let after = world.core().balancer();
    let more = possible_move(&world, after.mean_permille, after.threshold_permille);
    assert!(after.balanced || more.is_none(), "seed {seed}: {after:?}, but {more:?} can move");
    assert!(after.moved_chunks > 0 || before.balanced, "seed {seed}: {before:?} became {after:?}");
    assert_eq!(after.moved_bytes, after.moved_chunks * LENGTH);
    world.check_converged();
}

fn balance_all(half: u64) {
    let seeds = if super::is_long() { 200 } else { 12 };
    (half * seeds..(half + 1) * seeds).for_each(balance);
}

#[test]
fn balancing_ends_balanced_and_never_lessens_the_spread_first_half() {
    balance_all(0);
}

#[test]
fn balancing_ends_balanced_and_never_lessens_the_spread_second_half() {
    balance_all(1);
}
