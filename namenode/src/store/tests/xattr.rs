//! Extended attributes: who sets and sees them, how many there are, and when they go.

use dfs_types::limits::{MAX_XATTR_BYTES, MAX_XATTRS};
use dfs_types::{Caller, ErrorCode, FsResult, Mode, Xattr, XattrName, XattrSetFlag};

use super::{Fixture, by, create, delete, mkdir, path, rename, root, user};
use crate::store::edit::{Edit, Extent, Outcome};

fn set_with(at: &str, name: &str, value: &[u8], flag: XattrSetFlag) -> Edit {
    Edit::SetXattr {
        path: path(at),
        xattr: Xattr { name: name.parse().unwrap(), value: value.to_vec() },
        flag,
    }
}

fn set(at: &str, name: &str) -> Edit {
    set_with(at, name, b"v", XattrSetFlag::CreateOrReplace)
}

fn remove(at: &str, name: &str) -> Edit {
    Edit::RemoveXattr { path: path(at), name: name.parse().unwrap() }
}

fn get(fixture: &Fixture, caller: &Caller, at: &str, names: &[&str]) -> FsResult<Vec<(String, Vec<u8>)>> {
    let names: Vec<XattrName> = names.iter().map(|name| name.parse().unwrap()).collect();
    let found = fixture.wait(fixture.store().xattrs(caller, &path(at), names))?;
    Ok(found.into_iter().map(|xattr| (xattr.name.to_string(), xattr.value)).collect())
}

fn names(fixture: &Fixture, caller: &Caller, at: &str) -> Vec<String> {
    get(fixture, caller, at, &[]).unwrap().into_iter().map(|(name, _)| name).collect()
}

/// The code of a refusal.
fn refused(fixture: &Fixture, caller: &Caller, edit: Edit) -> ErrorCode {
    fixture.propose(by(Some(caller.clone()), edit)).unwrap_err().code
}

fn own(fixture: &Fixture, at: &str, owner: &str, bits: u32) {
    fixture.ok(Edit::SetOwner { path: path(at), owner: Some(owner.into()), group: None });
    fixture.ok(Edit::SetMode { path: path(at), mode: Mode::new(bits).unwrap() });
}

#[test]
fn attributes_are_set_replaced_and_removed() {
    use XattrSetFlag::{Create, CreateOrReplace, Replace};
    let mut fixture = Fixture::new();
    fixture.ok(mkdir("/d"));
    fixture.ok(set_with("/d", "user.b", b"1", CreateOrReplace));
    assert_eq!(fixture.code(set_with("/d", "user.b", b"2", Create)), ErrorCode::AlreadyExists);
    assert_eq!(fixture.code(set_with("/d", "user.a", b"2", Replace)), ErrorCode::NotFound);
    fixture.ok(set_with("/d", "user.b", b"", Replace));
    fixture.ok(set_with("/d", "user.a", &[0, 255], Create));
    fixture.close();
    fixture.open();
    let (a, b) = (("user.a".to_owned(), vec![0, 255]), ("user.b".to_owned(), vec![]));
    assert_eq!(get(&fixture, &root(), "/d", &[]).unwrap(), [a.clone(), b.clone()]);
    assert_eq!(get(&fixture, &root(), "/d", &["user.b"]).unwrap(), [b]);
    let missing = get(&fixture, &root(), "/d", &["user.a", "user.c"]).unwrap_err();
    assert_eq!((missing.code, missing.message.as_str()), (ErrorCode::NotFound, "/d has no XAttr user.c"));
    fixture.check_invariants();
    fixture.ok(remove("/d", "user.b"));
    assert_eq!(fixture.code(remove("/d", "user.b")), ErrorCode::NotFound);
    assert_eq!(get(&fixture, &root(), "/d", &[]).unwrap(), [a]);
    fixture.ok(remove("/d", "user.a"));
    assert_eq!(fixture.number("SELECT count(*) FROM inode WHERE extras != 0"), 0);
    fixture.check_invariants();
}

#[test]
fn who_may_write_sets_attributes_of_users_and_who_may_read_sees_them() {
    let fixture = Fixture::new();
    fixture.new_file("/f", "w");
    own(&fixture, "/f", "ann", 0o604);
    let (ann, bob) = (user("ann", &[]), user("bob", &[]));
    fixture.propose(by(Some(ann.clone()), set("/f", "user.a"))).unwrap();
    assert_eq!(names(&fixture, &bob, "/f"), ["user.a"]);
    assert_eq!(refused(&fixture, &bob, set("/f", "user.b")), ErrorCode::PermissionDenied);
    assert_eq!(refused(&fixture, &bob, remove("/f", "user.a")), ErrorCode::PermissionDenied);
    own(&fixture, "/f", "ann", 0o602);
    fixture.propose(by(Some(bob.clone()), set("/f", "user.b"))).unwrap();
    assert_eq!(get(&fixture, &bob, "/f", &[]).unwrap_err().code, ErrorCode::PermissionDenied);

    // Everybody may write a sticky directory, so only its owner sets anything.
    fixture.ok(mkdir("/tmp"));
    own(&fixture, "/tmp", "ann", 0o1777);
    assert_eq!(refused(&fixture, &bob, set("/tmp", "user.a")), ErrorCode::PermissionDenied);
    fixture.propose(by(Some(ann), set("/tmp", "user.a"))).unwrap();
    assert_eq!(refused(&fixture, &bob, remove("/tmp", "user.a")), ErrorCode::PermissionDenied);
    fixture.check_invariants();
}

#[test]
fn attributes_that_are_not_of_users_are_for_superusers_or_for_nobody() {
    let fixture = Fixture::new();
    fixture.new_file("/f", "w");
    own(&fixture, "/f", "ann", 0o777);
    let ann = user("ann", &[]);
    for name in ["trusted.a", "raw.a"] {
        assert_eq!(refused(&fixture, &ann, set("/f", name)), ErrorCode::PermissionDenied, "{name}");
        fixture.propose(by(Some(root()), set("/f", name))).unwrap();
        let seen = get(&fixture, &ann, "/f", &[name]).unwrap_err();
        assert_eq!(seen.code, ErrorCode::PermissionDenied, "{name}");
        assert_eq!(refused(&fixture, &ann, remove("/f", name)), ErrorCode::PermissionDenied, "{name}");
    }
    for name in ["security.a", "system.a"] {
        // As the NameNode itself.
        fixture.ok(set("/f", name));
        for caller in [&ann, &root()] {
            assert_eq!(refused(&fixture, caller, set("/f", name)), ErrorCode::PermissionDenied, "{name}");
            let seen = get(&fixture, caller, "/f", &[name]).unwrap_err();
            assert_eq!(seen.code, ErrorCode::PermissionDenied, "{name}");
        }
    }
    fixture.ok(set("/f", "user.a"));
    assert_eq!(names(&fixture, &ann, "/f"), ["user.a"]);
    assert_eq!(names(&fixture, &root(), "/f"), ["user.a", "trusted.a", "raw.a"]);
}

#[test]
fn there_are_no_more_and_no_larger_ones_than_allowed() {
    let fixture = Fixture::new();
    fixture.ok(mkdir("/d"));
    let large = vec![7; MAX_XATTR_BYTES];
    let flag = XattrSetFlag::CreateOrReplace;
    assert_eq!(fixture.code(set_with("/d", "user.a", &large, flag)), ErrorCode::InvalidArgument);
    fixture.ok(set_with("/d", "user.a", &large[1..], flag));
    for number in 1..MAX_XATTRS {
        fixture.ok(set("/d", &format!("user.{number}")));
    }
    assert_eq!(fixture.code(set("/d", "trusted.one-more")), ErrorCode::InvalidArgument);
    fixture.ok(set("/d", "user.1"));
    fixture.ok(remove("/d", "user.2"));
    fixture.ok(set("/d", "trusted.one-more"));
    assert_eq!(names(&fixture, &root(), "/d").len(), MAX_XATTRS);
    fixture.check_invariants();
}

#[test]
fn attributes_move_and_go_with_their_file() {
    let fixture = Fixture::new();
    for at in ["/d/a", "/d/b", "/tree/deep/c", "/d/many"] {
        let inode = fixture.new_file(at, "w");
        fixture.ok(set(at, "user.a"));
        let add = Edit::AddChunk { inode, holder: "w".into(), previous: None, pipeline: vec![] };
        let Outcome::ChunkAdded { chunk, generation, .. } = fixture.ok(add) else { panic!("no chunk") };
        let last = Some(Extent { chunk, generation, length: 9 });
        fixture.ok(Edit::Complete { inode, holder: "w".into(), last, publish: None });
    }
    fixture.ok(set("/tree", "user.a"));
    let left = || fixture.number("SELECT count(*) FROM xattr");
    assert_eq!(left(), 5);
    fixture.ok(Edit::Truncate { path: path("/d/a"), length: 3 });
    fixture.ok(rename("/d/a", "/moved", false));
    assert_eq!(names(&fixture, &root(), "/moved"), ["user.a"]);
    fixture.check_invariants();
    // What gives way, what is handed over, what is deleted, and what is reaped.
    fixture.ok(rename("/moved", "/d/b", true));
    assert_eq!(left(), 4);
    fixture.ok(Edit::Concat { target: path("/d/b"), sources: vec![path("/d/many")] });
    assert_eq!(left(), 3);
    fixture.check_invariants();
    fixture.ok(delete("/d/b"));
    assert_eq!(left(), 2);
    fixture.ok(delete("/tree"));
    assert_eq!(left(), 2);
    fixture.check_invariants();
    while fixture.ok(Edit::Reap { limit: 1 }) != (Outcome::Reaped { inodes: 0, more: false }) {}
    assert_eq!(left(), 0);
    fixture.check_invariants();
}

#[test]
fn a_cluster_of_an_earlier_level_has_no_attributes() {
    let fixture = Fixture::at_level(2);
    fixture.ok(mkdir("/d"));
    assert_eq!(fixture.code(set("/d", "user.a")), ErrorCode::Unsupported);
    assert_eq!(fixture.code(remove("/d", "user.a")), ErrorCode::Unsupported);
    assert_eq!(get(&fixture, &root(), "/d", &[]).unwrap(), []);
    assert_eq!(get(&fixture, &root(), "/d", &["user.a"]).unwrap_err().code, ErrorCode::NotFound);
    fixture.ok(create("/d/f", "w"));
    fixture.ok(Edit::RaiseLevel { to: 3 });
    fixture.ok(set("/d/f", "user.a"));
    fixture.ok(delete("/d/f"));
    fixture.check_invariants();
}
