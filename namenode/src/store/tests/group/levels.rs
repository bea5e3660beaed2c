//! The feature level of a group.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use dfs_types::NodeId;
use dfs_types::format::{FIRST_LEVEL, LEVEL};

use super::{SHORT_LOG, World, until};
use crate::store::edit::{Edit, Outcome};
use crate::store::tests::{by, create, mkdir};

fn of_three_at_first_level() -> World {
    let mut world = World::at_level(FIRST_LEVEL, SHORT_LOG);
    world.join("two:1");
    world.join("three:1");
    world.await_voters(&[1, 2, 3]);
    world
}

fn open_with_pipeline(world: &World, name: &str) {
    let Outcome::Status(status) = world.ok(&create(name, "w")) else { panic!("no file") };
    let pipeline = vec![NodeId::from_bytes(&[7; 16]).unwrap()];
    world.ok(&Edit::AddChunk { inode: status.inode, holder: "w".into(), previous: None, pipeline });
}

#[test]
fn a_new_member_has_the_level_of_its_group() {
    let world = of_three_at_first_level();
    assert!(world.members.values().all(|store| store.level() == FIRST_LEVEL));
}

#[test]
fn the_level_is_raised_while_edits_go_on() {
    let world = of_three_at_first_level();
    let (stop, store) = (Arc::new(AtomicBool::new(false)), world.lead().clone());
    let stopped = Arc::clone(&stop);
    let writing = world.runtime.spawn(async move {
        let mut number = 0;
        while !stopped.load(Ordering::SeqCst) {
            number += 1;
            store.propose(by(None, mkdir(&format!("/meanwhile/{number}")))).await.unwrap();
        }
    });
    world.fill("before", 100);
    world.ok(&Edit::RaiseLevel { to: LEVEL });
    open_with_pipeline(&world, "/open");
    world.fill("after", 100);
    stop.store(true, Ordering::SeqCst);
    world.wait(writing).unwrap();
    world.check_all_equal();
    assert!(world.members.values().all(|store| store.level() == LEVEL));
}

#[test]
fn one_that_was_away_is_raised_by_the_log_and_by_a_snapshot() {
    let mut world = of_three_at_first_level();
    let away = (1..=3).find(|id| *id != world.leader()).unwrap();
    world.stop(away);
    world.ok(&Edit::RaiseLevel { to: LEVEL });
    open_with_pipeline(&world, "/open");
    world.start(away);
    world.check_all_equal();
    assert_eq!(world.members[&away].level(), LEVEL);

    let new = world.join("four:1");
    until("the new one to have the level", || (world.members[&new].level() == LEVEL).then_some(()));
    world.check_all_equal();
}
