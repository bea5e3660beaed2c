//! Edits that break a rule, which is a bug: they are refused, and everything else goes on.

use dfs_types::ErrorCode;
use futures_util::future::join_all;

use super::group::World;
use super::{Fixture, by, create, mkdir, path};
use crate::store::edit::Edit;

fn poison(kind: &str) -> Edit {
    Edit::Touch { path: path(&format!("/poison/{kind}")) }
}

#[test]
fn its_neighbours_in_a_batch_are_done() {
    for kind in ["refused", "constraint"] {
        let mut fixture = Fixture::new();
        let edits =
            [mkdir("/a"), create("/a/f", "w"), poison(kind), mkdir("/b"), poison(kind), mkdir("/b/c")];
        let store = fixture.store();
        let done = fixture.wait(join_all(edits.map(|edit| store.propose(by(None, edit)))));
        let codes: Vec<_> = done.into_iter().map(|done| done.err().map(|error| error.code)).collect();
        let refused = Some(ErrorCode::Internal);
        assert_eq!(codes, [None, None, refused, None, refused, None]);
        fixture.check_invariants();
        assert_eq!(fixture.names("/"), ["a", "b"]);
        fixture.close();
        fixture.open();
        fixture.check_invariants();
        assert_eq!(fixture.names("/b"), ["c"]);
        assert!(fixture.new_file("/new", "w").0 > 0);
    }
}

#[test]
fn every_member_refuses_it_and_the_group_goes_on() {
    let mut world = World::of_three(u64::MAX);
    let away = (1..=3).find(|id| *id != world.leader()).unwrap();
    world.stop(away);
    for round in 0..3 {
        for kind in ["refused", "constraint"] {
            let store = world.lead().clone();
            let error = world.wait(store.propose(by(None, poison(kind)))).unwrap_err();
            assert_eq!(error.code, ErrorCode::Internal, "{error}");
        }
        world.fill(&format!("round-{round}"), 50);
    }
    // It applies all of them at once.
    world.start(away);
    world.check_all_equal();
    assert!(world.members.values().all(|store| store.group().health().is_ok()));
}
