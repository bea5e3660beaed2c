//! The trash.

use std::time::{Duration, Instant};

use dfs_types::{Caller, ErrorCode, InodeId, LimitChange, Millis, Mode};

use super::{Fixture, NOW, by, create, delete, mkdir, path, user};
use crate::store::edit::{Edit, Outcome, Proposal, TRASHES};

fn trash(at: &str) -> Edit {
    Edit::Trash { path: path(at), recursive: true, expected: None }
}

fn keep(at: &str, millis: u64) -> Edit {
    Edit::SetTrash { path: path(at), keep: LimitChange::Set(millis) }
}

fn ann() -> Caller {
    user("ann", &["staff"])
}

/// A namespace in which everybody may make things in `/open`.
fn open() -> Fixture {
    let fixture = Fixture::new();
    fixture.ok(Edit::Mkdir { path: path("/open"), mode: Mode::new(0o777).unwrap().into(), parents: false });
    fixture
}

impl Fixture {
    fn trashed(&self, caller: &Caller, at: &str) -> String {
        match self.propose(by(Some(caller.clone()), trash(at))).unwrap() {
            Outcome::Trashed(to) => to.to_string(),
            other => panic!("{at} is not in the trash: {other:?}"),
        }
    }
}

#[test]
fn what_is_removed_is_in_its_users_trash_under_the_path_that_it_had() {
    let fixture = open();
    let file = by(Some(ann()), create("/open/d/f", "w"));
    fixture.propose(file).unwrap();
    assert_eq!(fixture.trashed(&ann(), "/open/d/f"), "/user/ann/.Trash/Current/open/d/f");
    let status = |at: &str| fixture.wait(fixture.store().stat(&super::root(), &path(at))).unwrap();
    assert_eq!((status("/user").owner.as_str(), status("/user").mode.bits()), ("hdfs", 0o755));
    for own in
        ["/user/ann", "/user/ann/.Trash", "/user/ann/.Trash/Current", "/user/ann/.Trash/Current/open/d"]
    {
        assert_eq!((status(own).owner.as_str(), status(own).mode.bits()), ("ann", 0o700), "{own}");
    }
    // Again, and then a directory where a file was removed.
    fixture.propose(by(Some(ann()), create("/open/d/f", "w"))).unwrap();
    let later = Proposal { now: Millis(NOW.0 + 5), ..by(Some(ann()), trash("/open/d/f")) };
    let again = format!("/user/ann/.Trash/Current/open/d/f{}", NOW.0 + 5);
    assert_eq!(fixture.propose(later), Ok(Outcome::Trashed(path(&again))));
    fixture.propose(by(Some(ann()), create("/open/d/f/g", "w"))).unwrap();
    let below = format!("/user/ann/.Trash/Current/open/d/f{}/g", NOW.0);
    assert_eq!(fixture.trashed(&ann(), "/open/d/f/g"), below);
    // In the trash it is removed for good.
    let gone = fixture.propose(by(Some(ann()), trash("/user/ann/.Trash/Current/open/d/f")));
    assert_eq!(gone, Ok(Outcome::Deleted(true)));
    assert_eq!(fixture.propose(by(Some(ann()), trash("/open/none"))), Ok(Outcome::Deleted(false)));
    fixture.check_invariants();
}

#[test]
fn nobody_removes_what_he_could_not_move_or_into_anothers_trash() {
    let fixture = open();
    let refused = |caller: Caller, at: &str| fixture.propose(by(Some(caller), trash(at))).unwrap_err();
    fixture.ok(mkdir("/closed/d"));
    assert_eq!(refused(ann(), "/closed/d").code, ErrorCode::PermissionDenied);
    // Bob waits where Ann's trash will be.
    fixture.ok(Edit::Mkdir { path: path("/user"), mode: Mode::new(0o777).unwrap().into(), parents: false });
    let bob = user("bob", &[]);
    let trap =
        Edit::Mkdir { path: path("/user/ann/.Trash"), mode: Mode::new(0o777).unwrap().into(), parents: true };
    fixture.propose(by(Some(bob), trap)).unwrap();
    fixture.propose(by(Some(ann()), create("/open/f", "w"))).unwrap();
    let error = refused(ann(), "/open/f");
    assert_eq!(error.code, ErrorCode::PermissionDenied);
    assert!(error.message.contains("belongs to bob") && error.message.contains("--skip-trash"), "{error}");
    fixture.ok(Edit::SetOwner { path: path("/user/ann/.Trash"), owner: Some("ann".into()), group: None });
    fixture.trashed(&ann(), "/open/f");
    fixture.check_invariants();
}

#[test]
fn a_tree_with_the_trash_in_it_stays() {
    let fixture = open();
    fixture.ok(create("/open/f", "w"));
    fixture.ok(trash("/open/f"));
    for at in ["/user", "/user/hdfs"] {
        let error = fixture.run(trash(at)).unwrap_err();
        assert!(
            error.message.contains("/user/hdfs/.Trash is in") && error.message.contains("--skip-trash"),
            "{error}"
        );
    }
    assert_eq!(fixture.ok(trash("/user/hdfs/.Trash")), Outcome::Deleted(true));
    fixture.ok(Edit::Reap { limit: 99 });
    fixture.check_invariants();
}

#[test]
fn a_directory_can_keep_its_own_for_another_time_or_not_at_all() {
    let fixture = open();
    let of = |at: &str| fixture.wait(fixture.store().trash_of(&ann(), &path(at))).unwrap();
    assert_eq!(
        (of("/open/f").root.to_string(), of("/open/f").keep),
        ("/user/ann/.Trash".into(), Millis(86_400_000))
    );
    fixture.ok(keep("/open", 5_000));
    assert_eq!(
        (of("/open/f").root.to_string(), of("/open/f").keep),
        ("/open/.Trash/ann".into(), Millis(5_000))
    );
    assert_eq!(of("/open").root.to_string(), "/user/ann/.Trash", "it is not below itself");
    fixture.propose(by(Some(ann()), create("/open/f", "w"))).unwrap();
    assert_eq!(fixture.trashed(&ann(), "/open/f"), "/open/.Trash/ann/Current/open/f");
    let status = |at: &str| fixture.wait(fixture.store().stat(&super::root(), &path(at))).unwrap();
    assert_eq!(
        (status("/open/.Trash").owner.as_str(), status("/open/.Trash").mode.bits()),
        ("hdfs", 0o1_777)
    );
    assert_eq!(
        (status("/open/.Trash/ann").owner.as_str(), status("/open/.Trash/ann").mode.bits()),
        ("ann", 0o700)
    );

    fixture.ok(keep("/open", 0));
    fixture.propose(by(Some(ann()), create("/open/f", "w"))).unwrap();
    assert_eq!(fixture.propose(by(Some(ann()), trash("/open/f"))), Ok(Outcome::Deleted(true)));
    fixture.ok(keep("/", 7_000));
    fixture.ok(Edit::SetTrash { path: path("/open"), keep: LimitChange::Clear });
    assert_eq!(
        (of("/open/f").root.to_string(), of("/open/f").keep),
        ("/user/ann/.Trash".into(), Millis(7_000))
    );

    let own = by(Some(ann()), keep("/open", 0));
    assert_eq!(fixture.propose(own).unwrap_err().code, ErrorCode::PermissionDenied);
    assert_eq!(fixture.code(keep("/open", u64::MAX)), ErrorCode::InvalidArgument);
    assert_eq!(fixture.code(keep("/open/.Trash", 5)), ErrorCode::InvalidArgument);
    let old = Fixture::at_level(TRASHES - 1);
    assert_eq!(old.code(trash("/a")), ErrorCode::Unsupported);
    let looked = old.wait(old.store().trash_of(&ann(), &path("/a"))).map(drop);
    assert_eq!(looked.unwrap_err().code, ErrorCode::Unsupported);
    assert_eq!(old.wait(old.store().trash(Millis(0))).unwrap_err().code, ErrorCode::Unsupported);
    fixture.check_invariants();
}

#[test]
fn what_was_kept_long_enough_goes_and_nothing_else() {
    let fixture = open();
    fixture.ok(keep("/", 48));
    fixture.ok(create("/open/f", "w"));
    fixture.ok(trash("/open/f"));
    let root = "/user/hdfs/.Trash";
    fixture.ok(mkdir("/user/hdfs/.Trash/notes"));
    fixture.ok(mkdir("/user/hdfs/.Trash/251201144039-7"));
    let tend = || {
        fixture.ok(Edit::TendTrash { root: path(root), checkpoint: "251201144039".into() });
        fixture.check_invariants();
        fixture.names(root)
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    let until = |what: &[&str]| {
        while tend() != what {
            assert!(Instant::now() < deadline, "{:?} instead of {what:?}", fixture.names(root));
            std::thread::sleep(Duration::from_millis(1));
        }
    };
    until(&["251201144039", "251201144039-7", "notes"]);
    assert_eq!(fixture.names("/user/hdfs/.Trash/251201144039"), ["open"]);
    // What was removed since is a checkpoint of its own, when that name is free.
    until(&["notes"]);
    let seen = fixture.wait(fixture.store().trash(Millis(0))).unwrap();
    assert_eq!((seen.due.len(), seen.contents.len()), (0, 0));

    // Switched off, nothing goes.
    fixture.ok(create("/open/g", "w"));
    fixture.ok(trash("/open/g"));
    fixture.ok(keep("/", 0));
    for _ in 0..100 {
        assert_eq!(tend(), ["Current", "notes"]);
    }
    let seen = fixture.wait(fixture.store().trash(Millis(u64::MAX))).unwrap();
    assert_eq!((seen.due.len(), seen.contents[0].left), (0, None));
    let own = by(Some(ann()), Edit::TendTrash { root: path(root), checkpoint: "251201144039".into() });
    assert_eq!(fixture.propose(own).unwrap_err().code, ErrorCode::PermissionDenied);
    let none = Edit::TendTrash { root: path("/open"), checkpoint: "251201144039".into() };
    assert_eq!(fixture.code(none), ErrorCode::InvalidArgument);
}

#[test]
fn what_is_kept_in_a_home_is_kept_as_long_as_was_said() {
    let fixture = open();
    fixture.ok(create("/open/f", "w"));
    fixture.ok(trash("/open/f"));
    // For what is removed below /user, which has a trash of its own from now on.
    fixture.ok(keep("/user", 24));
    let of = |at: &str| fixture.wait(fixture.store().trash_of(&ann(), &path(at))).unwrap();
    assert_eq!(of("/user/x").root.to_string(), "/user/.Trash/ann");
    assert_eq!(of("/open/x").keep, Millis(86_400_000));
    let root = path("/user/hdfs/.Trash");
    for _ in 0..50 {
        std::thread::sleep(Duration::from_millis(1));
        fixture.ok(Edit::TendTrash { root: root.clone(), checkpoint: "251201144039".into() });
    }
    assert_eq!(fixture.names("/user/hdfs/.Trash"), ["Current"]);
    let error = fixture.run(keep("/user/hdfs", 5_000)).unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    assert!(error.message.contains("has the trash"), "{error}");
    fixture.check_invariants();
}

#[test]
fn nothing_is_put_into_what_is_anothers() {
    let fixture = open();
    let (bob, mallory) = (user("bob", &[]), user("mallory", &[]));
    let of_bob =
        Edit::Mkdir { path: path("/open/b"), mode: Mode::new(0o755).unwrap().into(), parents: false };
    fixture.propose(by(Some(bob), of_bob)).unwrap();
    // She may move it, as she may write the directory that it is in.
    assert_eq!(fixture.trashed(&mallory, "/open/b"), "/user/mallory/.Trash/Current/open/b");
    fixture.propose(by(Some(mallory.clone()), create("/open/b/evil", "w"))).unwrap();
    let beside = format!("/user/mallory/.Trash/Current/open/b{}/evil", NOW.0);
    assert_eq!(fixture.trashed(&mallory, "/open/b/evil"), beside);
    assert_eq!(fixture.names("/user/mallory/.Trash/Current/open/b"), Vec::<String>::new());
    fixture.check_invariants();
}

#[test]
fn the_place_of_everybodys_trash_is_the_superusers() {
    let fixture = open();
    let trap =
        Edit::Mkdir { path: path("/open/.Trash"), mode: Mode::new(0o700).unwrap().into(), parents: false };
    fixture.propose(by(Some(user("mallory", &[])), trap)).unwrap();
    let error = fixture.run(keep("/open", 5_000)).unwrap_err();
    assert!(error.message.contains("/open/.Trash is there"), "{error}");
    fixture.ok(delete("/open/.Trash"));
    fixture.ok(keep("/open", 5_000));
    assert_eq!(fixture.names("/open"), [".Trash"], "it is there before anybody else makes one");
    // Somebody who may gives it another owner.
    fixture.ok(Edit::SetOwner { path: path("/open/.Trash"), owner: Some("mallory".into()), group: None });
    fixture.propose(by(Some(ann()), create("/open/f", "w"))).unwrap();
    let error = fixture.propose(by(Some(ann()), trash("/open/f"))).unwrap_err();
    assert_eq!(error.code, ErrorCode::PermissionDenied);
    assert!(error.message.contains("sticky bit") && error.message.contains("--skip-trash"), "{error}");
    fixture.check_invariants();
}

#[test]
fn only_what_was_meant_is_removed() {
    let fixture = open();
    fixture.ok(mkdir("/open/d/e"));
    let without = Edit::Trash { path: path("/open/d"), recursive: false, expected: None };
    assert_eq!(fixture.code(without), ErrorCode::NotEmpty);
    let inode = fixture.wait(fixture.store().stat(&super::root(), &path("/open/d"))).unwrap().inode;
    let meant = |inode| Edit::Trash { path: path("/open/d"), recursive: true, expected: Some(inode) };
    assert_eq!(fixture.ok(meant(InodeId(inode.0 + 1))), Outcome::Deleted(false));
    assert!(matches!(fixture.ok(meant(inode)), Outcome::Trashed(_)));
    // A directory that is only called so is none.
    fixture.ok(mkdir("/open/.Trash/mine"));
    assert!(matches!(fixture.ok(trash("/open/.Trash/mine")), Outcome::Trashed(_)));
    // What can't be kept because of a quota can be deleted all the same.
    fixture.ok(create("/open/f", "w"));
    let full = LimitChange::Set(1);
    fixture.ok(Edit::SetQuota { path: path("/user"), names: full, space: LimitChange::Keep });
    let error = fixture.run(trash("/open/f")).unwrap_err();
    assert_eq!(error.code, ErrorCode::QuotaExceeded);
    assert!(error.message.ends_with("delete it for good with --skip-trash"), "{error}");
    fixture.check_invariants();
}

#[test]
fn what_is_too_long_for_a_checkpoint_keeps_nobody_busy() {
    let fixture = open();
    // A checkpoint is due after a 24th of it: long enough to be seen not to be.
    fixture.ok(keep("/", 24 * 200));
    let current = "/user/hdfs/.Trash/Current";
    // As a client moves it there: to the last byte of a path.
    let mut deep = current.to_owned();
    while deep.len() + 2 < dfs_types::limits::MAX_PATH_BYTES {
        deep.push_str("/x");
    }
    fixture.ok(mkdir(&deep));
    let due = || {
        let now = fixture.store().clock();
        fixture.wait(fixture.store().trash(now)).unwrap().due.len()
    };
    let tend = || Edit::TendTrash { root: path("/user/hdfs/.Trash"), checkpoint: "251201144039".into() };
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut rested = false;
    while !rested {
        assert!(Instant::now() < deadline, "it is always due");
        fixture.ok(tend());
        rested = due() == 0;
    }
    assert_eq!(fixture.names("/user/hdfs/.Trash"), ["Current"]);
    fixture.check_invariants();
}
