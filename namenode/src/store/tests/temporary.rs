//! Files that are only there to be published, and trees that somebody may not remove.

use dfs_namenode_core::Event;
use dfs_types::{Caller, ChunkId, ErrorCode, FsPath, GenStamp, InodeId, Millis, Mode};

use super::{Fixture, NOW, by, create, delete, mkdir, path, rename, request, root, user};
use crate::store::edit::{Edit, Extent, Outcome, Proposal, Publication, RECOVERY_HOLDER};

use ErrorCode::{AlreadyExists, LeaseConflict, NotFound, PermissionDenied};

const LAST: Extent = Extent { chunk: ChunkId::FIRST, generation: GenStamp::FIRST, length: 100 };

fn temporary(at: &str) -> Edit {
    let Edit::Create { path, holder, mode, replication, chunk_size, overwrite, parents, .. } =
        create(at, "w")
    else {
        panic!("not a create")
    };
    Edit::Create { path, holder, mode, replication, chunk_size, overwrite, parents, temporary: true }
}

fn publication(to: &str, overwrite: bool) -> Publication {
    Publication { to: path(to), overwrite, mtime: None, atime: None }
}

fn publish(inode: InodeId, last: Option<Extent>, publication: Publication) -> Edit {
    Edit::Complete { inode, holder: "w".into(), last, publish: Some(publication) }
}

/// A temporary file with a chunk that is being written, of which 10 bytes are synced.
fn half_written(fixture: &Fixture, at: &str) -> InodeId {
    let Outcome::Status(status) = fixture.ok(temporary(at)) else { panic!("no status") };
    let inode = status.inode;
    fixture.ok(Edit::AddChunk { inode, holder: "w".into(), previous: None, pipeline: Vec::new() });
    fixture.ok(Edit::CommitLength { inode, holder: "w".into(), extent: Extent { length: 10, ..LAST } });
    inode
}

#[test]
fn a_temporary_file_whose_writer_is_gone_is_removed_and_not_closed() {
    let fixture = Fixture::new();
    let inode = half_written(&fixture, "/d/.x");
    fixture.ok(rename("/d", "/e", false));
    fixture.take_events();
    let recovered = fixture.ok(Edit::BeginRecovery { inode, holder: None });
    assert_eq!(recovered, Outcome::Recovery { closed: true, chunks: Vec::new() });
    assert_eq!(
        fixture.take_events(),
        [Event::LeaseReleased { inode }, Event::ChunkRemoved { chunk: ChunkId::FIRST }]
    );
    assert!(fixture.names("/e").is_empty());
    assert_eq!(fixture.stat("/e").unwrap().children, 0);
    assert_eq!(fixture.code(Edit::BeginRecovery { inode, holder: None }), NotFound);
    fixture.check_invariants();

    // Another one is closed, as ever.
    let inode = fixture.new_file("/e/y", "w");
    fixture.ok(Edit::BeginRecovery { inode, holder: None });
    assert!(!fixture.stat("/e/y").unwrap().open);
    fixture.check_invariants();
}

#[test]
fn what_is_published_is_closed_and_named_at_once() {
    let fixture = Fixture::new();
    fixture.new_file("/d/old", "other");
    let inode = half_written(&fixture, "/d/.x");
    let refused = fixture.run(publish(inode, Some(LAST), publication("/d/old", false))).unwrap_err();
    assert_eq!(refused.code, AlreadyExists);
    assert_eq!(fixture.code(publish(inode, Some(LAST), publication("/none/old", true))), NotFound);
    assert!(fixture.stat("/d/.x").unwrap().open, "a refusal changes nothing");
    fixture.check_invariants();

    let times = Publication { mtime: Some(Millis(7)), atime: Some(Millis(8)), ..publication("/d/old", true) };
    let once = Proposal { request: Some(request(1)), ..by(None, publish(inode, Some(LAST), times)) };
    let Outcome::Status(status) = fixture.propose(once.clone()).unwrap() else { panic!("no status") };
    assert_eq!((status.inode, status.open, status.length), (inode, false, 100));
    assert_eq!((status.mtime, status.atime), (Millis(7), Millis(8)));
    assert_eq!(fixture.names("/d"), ["old"]);
    assert_eq!(fixture.stat("/d/old").unwrap(), status);
    assert_eq!(fixture.stat("/d").unwrap().children, 1);
    fixture.check_invariants();
    // A lost answer is given again, wherever the file is by now.
    fixture.ok(rename("/d/old", "/elsewhere", false));
    assert_eq!(fixture.propose(once).unwrap(), Outcome::Status(status));
    assert_eq!(fixture.code(publish(inode, Some(LAST), publication("/d/new", false))), LeaseConflict);
    // It is a file like others now.
    assert_eq!(
        fixture.ok(Edit::BeginRecovery { inode, holder: None }),
        Outcome::Recovery { closed: true, chunks: Vec::new() }
    );
    assert!(fixture.stat("/elsewhere").is_ok());

    // Its own name is fine too, and then the time is the present.
    let inode = fixture.new_file("/d/own", "w");
    fixture.ok(publish(inode, None, publication("/d/own", false)));
    assert_eq!(fixture.stat("/d/own").unwrap().mtime, NOW);
    fixture.check_invariants();
}

#[test]
fn publishing_needs_the_rights_of_a_rename() {
    let fixture = Fixture::new();
    let alice = user("alice", &[]);
    fixture.ok(mkdir("/closed"));
    fixture.ok(mkdir("/open"));
    fixture.ok(Edit::SetMode { path: path("/open"), mode: Mode::new(0o777).unwrap() });
    let Outcome::Status(status) = fixture.propose(by(Some(alice.clone()), temporary("/open/.x"))).unwrap()
    else {
        panic!("no status")
    };
    let to = |at: &str| by(Some(alice.clone()), publish(status.inode, None, publication(at, false)));
    assert_eq!(fixture.propose(to("/closed/x")).unwrap_err().code, PermissionDenied);
    fixture.propose(to("/open/x")).unwrap();
    assert_eq!(fixture.names("/open"), ["x"]);
}

#[test]
fn a_writer_discards_his_file_wherever_it_is() {
    let fixture = Fixture::new();
    let inode = half_written(&fixture, "/d/.x");
    let discard = |holder: &str| Edit::Discard { inode, holder: holder.to_owned() };
    assert_eq!(fixture.code(discard("mallory")), LeaseConflict);
    assert_eq!(fixture.code(discard(RECOVERY_HOLDER)), LeaseConflict);
    fixture.ok(rename("/d", "/e", false));
    fixture.ok(discard("w"));
    assert!(fixture.names("/e").is_empty());
    assert_eq!(fixture.code(discard("w")), NotFound);
    fixture.check_invariants();
}

#[test]
fn a_large_temporary_file_goes_in_parts() {
    let fixture = Fixture::new();
    let Outcome::Status(status) = fixture.ok(temporary("/.x")) else { panic!("no status") };
    let inode = status.inode;
    let mut previous = None;
    for index in 0..300 {
        fixture.ok(Edit::AddChunk { inode, holder: "w".into(), previous, pipeline: Vec::new() });
        let (chunk, generation) = (ChunkId(ChunkId::FIRST.0 + index), GenStamp(GenStamp::FIRST.0 + index));
        previous = Some(Extent { chunk, generation, length: 1_024 });
    }
    fixture.ok(Edit::BeginRecovery { inode, holder: None });
    assert!(fixture.names("/").is_empty());
    while fixture.ok(Edit::Reap { limit: 3 }) != (Outcome::Reaped { inodes: 0, more: false }) {}
    assert_eq!(fixture.store().counts().files, 0);
    fixture.check_invariants();
}

/// Gives a directory to somebody.
fn give(fixture: &Fixture, at: &str, owner: &str, mode: u32) {
    fixture.ok(Edit::SetOwner { path: path(at), owner: Some(owner.to_owned()), group: None });
    fixture.ok(Edit::SetMode { path: path(at), mode: Mode::new(mode).unwrap() });
}

/// `/alice` is hers, and in it are, empty or not, directories of bob's.
fn mixed_tree() -> (Fixture, Caller) {
    let (fixture, alice) = (Fixture::new(), user("alice", &[]));
    fixture.ok(mkdir("/alice/sub/bobs/full"));
    for at in ["/alice", "/alice/sub"] {
        give(&fixture, at, "alice", 0o755);
    }
    give(&fixture, "/alice/sub/bobs", "bob", 0o755);
    (fixture, alice)
}

#[test]
fn nobody_removes_a_tree_with_a_directory_that_he_may_not_empty() {
    let (fixture, alice) = mixed_tree();
    let remove = |at: &str| fixture.propose(by(Some(alice.clone()), delete(at)));
    let refused = remove("/alice/sub").unwrap_err();
    assert_eq!(
        refused.message,
        "Permission denied: user=alice, access=ALL, inode=\"/alice/sub/bobs\":bob:supergroup:drwxr-xr-x"
    );
    assert_eq!(remove("/alice/sub/bobs").unwrap_err().code, PermissionDenied);
    assert!(fixture.stat("/alice/sub/bobs/full").is_ok());
    // An empty one is hers to remove, as the directory above it is.
    fixture.ok(delete("/alice/sub/bobs/full"));
    assert_eq!(remove("/alice/sub").unwrap(), Outcome::Deleted(true));

    let (fixture, _) = mixed_tree();
    assert_eq!(fixture.propose(by(Some(root()), delete("/alice"))).unwrap(), Outcome::Deleted(true));
    fixture.check_invariants();
}

#[test]
fn what_is_another_s_stays_in_a_sticky_directory() {
    let (fixture, alice) = mixed_tree();
    give(&fixture, "/alice/sub/bobs", "bob", 0o1777);
    let remove = |at: &str| fixture.propose(by(Some(alice.clone()), delete(at)));
    let refused = remove("/alice/sub").unwrap_err();
    assert!(refused.message.contains("sticky bit"), "{}", refused.message);
    assert!(refused.message.contains("\"/alice/sub/bobs/full\""), "{}", refused.message);
    give(&fixture, "/alice/sub/bobs/full", "alice", 0o755);
    assert_eq!(remove("/alice/sub").unwrap(), Outcome::Deleted(true));
    fixture.check_invariants();
}

/// Makes directories `0`, `1` … of alice's in `/alice/many`, with shared commits.
fn many(fixture: &Fixture, alice: &Caller, count: usize) {
    let store = fixture.store();
    let made = (0..count)
        .map(|number| store.propose(by(Some(alice.clone()), mkdir(&format!("/alice/many/{number}/x")))));
    for made in fixture.wait(futures_util::future::join_all(made)) {
        made.unwrap();
    }
}

#[test]
fn too_many_directories_for_one_edit_are_left_to_several() {
    let (fixture, alice) = (Fixture::new(), user("alice", &[]));
    fixture.ok(mkdir("/alice"));
    give(&fixture, "/alice", "alice", 0o755);
    many(&fixture, &alice, 2_100);
    let remove = |at: &str| fixture.propose(by(Some(alice.clone()), delete(at)));
    let store = fixture.store();
    // 2,100 directories with one in each are more than an edit looks at.
    assert_eq!(remove("/alice/many").unwrap(), Outcome::DeleteInParts);
    assert_eq!(fixture.stat("/alice/many").unwrap().children, 2_100);
    let many_now = fixture.stat("/alice/many").unwrap().inode;
    assert_eq!(fixture.wait(store.check_removal(&alice, &path("/alice/many"))).unwrap(), Some(many_now));
    let parts = fixture.wait(store.parts(&alice, &path("/alice/many"), many_now, 200)).unwrap();
    assert_eq!((parts.len(), &parts[1].0), (200, &path("/alice/many/1")));
    assert_eq!(fixture.stat("/alice/many/1").unwrap().inode, parts[1].1);
    for (part, _) in &parts {
        assert_eq!(remove(part.as_str()).unwrap(), Outcome::Deleted(true));
    }
    // What took the place of a part, or of all, is none.
    fixture.propose(by(Some(alice.clone()), mkdir("/alice/many/1"))).unwrap();
    let (at, expected) = (path("/alice/many/1"), Some(parts[1].1));
    let former = Edit::Delete { path: at, recursive: true, expected };
    assert_eq!(fixture.propose(by(Some(alice.clone()), former)).unwrap(), Outcome::Deleted(false));
    assert_eq!(remove("/alice/many").unwrap(), Outcome::Deleted(true));
    assert_eq!(fixture.wait(store.check_removal(&alice, &path("/alice/many"))).unwrap(), None);
    fixture.propose(by(Some(alice.clone()), mkdir("/alice/many/new"))).unwrap();
    assert!(fixture.wait(store.parts(&alice, &path("/alice/many"), many_now, 9)).unwrap().is_empty());

    // Wherever the one is that is another's, it is found, and a superuser does not look.
    many(&fixture, &alice, 2_100);
    give(&fixture, "/alice/many/999", "bob", 0o755);
    let refused = fixture.wait(store.check_removal(&alice, &path("/alice"))).unwrap_err();
    assert_eq!(refused.code, PermissionDenied);
    assert!(refused.message.contains("/alice/many/999"), "{}", refused.message);
    assert_eq!(fixture.ok(delete("/alice")), Outcome::Deleted(true));
}

#[test]
fn who_may_write_may_touch_and_only_the_owner_makes_times_up() {
    let (fixture, bob) = (Fixture::new(), user("bob", &[]));
    fixture.new_file("/f", "w");
    give(&fixture, "/f", "alice", 0o666);
    fixture.ok(mkdir("/d"));
    give(&fixture, "/d", "alice", 0o777);
    let later = Millis(NOW.0 + 5);
    let at_later = |edit: Edit| fixture.propose(Proposal { now: later, ..by(Some(bob.clone()), edit) });
    let touch = |at: &str| Edit::Touch { path: path(at) };
    at_later(touch("/f")).unwrap();
    at_later(touch("/d")).unwrap();
    let (file, directory) = (fixture.stat("/f").unwrap(), fixture.stat("/d").unwrap());
    assert_eq!((file.mtime, file.atime), (later, later));
    assert_eq!((directory.mtime, directory.atime), (later, Millis(0)));
    let times = |at: &FsPath| Edit::SetTimes { path: at.clone(), mtime: Some(later), atime: None };
    assert_eq!(at_later(times(&path("/f"))).unwrap_err().code, PermissionDenied);
    give(&fixture, "/f", "alice", 0o644);
    assert_eq!(at_later(touch("/f")).unwrap_err().code, PermissionDenied);
    // An owner need not be able to write.
    give(&fixture, "/f", "bob", 0o400);
    at_later(touch("/f")).unwrap();
    at_later(times(&path("/f"))).unwrap();
}
