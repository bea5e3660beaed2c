//! Members come, go and are replaced.

use dfs_types::ErrorCode;

use super::{SHORT_LOG, World, until};
use crate::store::group::Request;
use crate::store::tests::mkdir;

#[test]
fn a_member_with_an_empty_directory_takes_the_place_of_the_one_that_had_it() {
    let mut world = World::of_three(SHORT_LOG);
    let lost = (2..=3).find(|id| *id != world.leader()).unwrap();
    let address = world.lead().group().residences().addresses[&lost].clone();
    let alive = world.request(&Request::Join(address.clone())).unwrap_err();
    assert_eq!(alive.code, ErrorCode::AlreadyExists);
    assert!(alive.message.contains(&format!("NameNode {lost} at {address} is alive")), "{alive}");

    world.fill("before", 500);
    world.stop(lost);
    std::fs::remove_dir_all(world.directory(lost)).unwrap();
    // The leader believes that it is gone after a moment of silence.
    let joined = until("the silence to be noticed", || {
        match world.wait(world.lead().group().request(Request::Join(address.clone()))) {
            Ok(id) => Some(id),
            Err(error) => {
                assert_eq!(error.code, ErrorCode::AlreadyExists, "{error}");
                world.ok(&mkdir("/meanwhile"));
                None
            }
        }
    });
    assert_eq!(joined, 4, "an id is never used again");
    world.fill("learning", 500);
    let cluster = world.net.cluster;
    let beginning = crate::store::directory::Beginning::Member { cluster, id: joined };
    drop(crate::store::directory::Directory::make(&world.directory(joined), beginning).unwrap());
    world.start(joined);
    let remaining = 2 + 3 - lost;
    world.await_voters(&[1, remaining, joined]);
    let residences = world.lead().group().residences();
    assert_eq!(residences.addresses.get(&joined), Some(&address));
    assert_eq!(residences.addresses.get(&lost), None);
    world.check_all_equal();
}

#[test]
fn a_joiner_that_never_heard_its_answer_asks_again() {
    let mut world = World::new(u64::MAX);
    let first = world.request(&Request::Join("two:1".to_owned())).unwrap();
    // It never began; its next try is answered as soon as it is taken out again.
    let second = world.join("two:1");
    assert!(second > first);
    world.await_voters(&[1, second]);
    let members = world.lead().group().residences();
    assert!(members.addresses.values().filter(|address| *address == "two:1").count() == 1);
    world.check_all_equal();
}

#[test]
fn a_member_that_is_removed_says_so_and_stops() {
    let mut world = World::of_three(u64::MAX);
    let leader = world.leader();
    let refused = world.request(&Request::Remove(leader)).unwrap_err();
    assert!(refused.message.contains("dfs admin transfer-leader"), "{refused}");
    assert_eq!(world.request(&Request::Remove(77)).unwrap_err().code, ErrorCode::NotFound);

    let removed = (1..=3).find(|id| *id != leader).unwrap();
    assert_eq!(world.request(&Request::Remove(removed)), Ok(removed));
    let said = until("it to stop", || world.members[&removed].health().err());
    assert!(said.contains("removed from its group") && said.contains("remove its directory"), "{said}");
    let answer = world.wait(world.members[&removed].propose(super::by(None, mkdir("/x")))).unwrap_err();
    assert_eq!(answer.code, ErrorCode::Unavailable, "{answer}");
    world.stop(removed);
    let left: Vec<u64> = (1..=3).filter(|id| *id != removed).collect();
    world.await_voters(&left);
    world.check_all_equal();

    let again = world.join("four:1");
    let mut voters = left.clone();
    voters.push(again);
    world.await_voters(&voters);
    world.check_all_equal();
}

#[test]
fn two_members_become_one_again() {
    let mut world = World::new(u64::MAX);
    let second = world.join("two:1");
    world.await_voters(&[1, second]);
    world.request(&Request::Remove(second)).unwrap();
    world.stop(second);
    world.await_voters(&[1]);
    world.ok(&mkdir("/alone"));
    assert!(world.lead().group().surely_leads().is_some());
}

#[test]
fn an_address_can_change() {
    let world = World::of_three(u64::MAX);
    assert_eq!(world.request(&Request::Move(3, "elsewhere:2".to_owned())), Ok(3));
    assert_eq!(world.lead().group().residences().addresses[&3], "elsewhere:2");
    assert_eq!(
        world.request(&Request::Move(9, "elsewhere:2".to_owned())).unwrap_err().code,
        ErrorCode::NotFound
    );
}
