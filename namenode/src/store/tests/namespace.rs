//! Semantics of edits that name paths, and permissions.

use dfs_namenode_core::Event;
use dfs_types::{Caller, ErrorCode, InodeId, Layout, Millis, Mode};

use super::{Fixture, NOW, by, create, delete, mkdir, path, rename, root, user};
use crate::store::edit::{Edit, Outcome};

use ErrorCode::{
    AlreadyExists, InvalidArgument, IsADirectory, NotADirectory, NotEmpty, NotFound, PermissionDenied,
};

fn strict_mkdir(at: &str) -> Edit {
    Edit::Mkdir { path: path(at), mode: Mode::DIRECTORY.into(), parents: false }
}

fn overwriting(at: &str, holder: &str) -> Edit {
    match create(at, holder) {
        Edit::Create { path, holder, mode, replication, chunk_size, parents, temporary, .. } => {
            Edit::Create { path, holder, mode, replication, chunk_size, parents, temporary, overwrite: true }
        }
        other => other,
    }
}

#[test]
fn mkdir_like_posix() {
    let fixture = Fixture::new();
    assert_eq!(fixture.code(strict_mkdir("/a/b")), NotFound);
    fixture.ok(strict_mkdir("/a"));
    assert_eq!(fixture.code(strict_mkdir("/a")), AlreadyExists);
    fixture.ok(mkdir("/a"));
    fixture.ok(mkdir("/"));
    assert_eq!(fixture.code(strict_mkdir("/")), AlreadyExists);
    fixture.ok(mkdir("/a/b/c/d"));
    assert_eq!(fixture.stat("/a/b").unwrap().children, 1);
    fixture.new_file("/a/f", "w");
    assert_eq!(fixture.code(mkdir("/a/f")), AlreadyExists);
    assert_eq!(fixture.code(mkdir("/a/f/x")), NotADirectory);
    assert_eq!(fixture.stat("/a/f/x").unwrap_err().code, NotADirectory);
    let narrow = Edit::Mkdir { path: path("/p/q"), mode: Mode::new(0o055).unwrap().into(), parents: true };
    fixture.ok(narrow);
    assert_eq!(fixture.stat("/p").unwrap().mode.bits(), 0o355, "the owner can go on below");
    assert_eq!(fixture.stat("/p/q").unwrap().mode.bits(), 0o055);
    fixture.check_invariants();
}

#[test]
fn create_checks_what_it_is_given() {
    let fixture = Fixture::new();
    let with = |replication, chunk_size, holder: &str| Edit::Create {
        path: path("/f"),
        holder: holder.to_owned(),
        mode: Mode::FILE.into(),
        replication,
        chunk_size,
        overwrite: false,
        parents: false,
        temporary: false,
    };
    for wrong in [
        with(0, 512, "w"),
        with(513, 512, "w"),
        with(1, 0, "w"),
        with(1, 513, "w"),
        with(1, 4 << 30, "w"),
        with(1, 512, ""),
        with(1, 512, &"w".repeat(256)),
        with(1, 512, crate::store::edit::RECOVERY_HOLDER),
    ] {
        assert_eq!(fixture.code(wrong), InvalidArgument);
    }
    assert_eq!(fixture.code(create("/", "w")), IsADirectory);
    fixture.ok(mkdir("/d"));
    assert_eq!(fixture.code(create("/d", "w")), IsADirectory);
    assert_eq!(fixture.code(overwriting("/d", "w")), IsADirectory);
    let status = match fixture.ok(create("/d/new/f", "w")) {
        Outcome::Status(status) => status,
        other => panic!("{other:?}"),
    };
    assert!(status.open && status.length == 0 && status.mtime == NOW && status.atime == NOW);
    assert_eq!(fixture.stat("/d/new").unwrap().mode.bits(), 0o755, "made above a file of mode 644");
    assert_eq!(fixture.code(create("/d/new/f/x", "w")), NotADirectory);
    fixture.check_invariants();
}

#[test]
fn create_over_a_file_that_is_written() {
    let fixture = Fixture::new();
    let old = fixture.new_file("/f", "alice");
    fixture.ok(Edit::AddChunk { inode: old, holder: "alice".into(), previous: None, pipeline: Vec::new() });
    let error = fixture.run(create("/f", "bob")).unwrap_err();
    assert_eq!(error.code, AlreadyExists);
    assert!(error.message.contains("written by alice"), "{}", error.message);
    fixture.take_events();

    let new = match fixture.ok(overwriting("/f", "bob")) {
        Outcome::Status(status) => status.inode,
        other => panic!("{other:?}"),
    };
    let chunk = dfs_types::ChunkId::FIRST;
    assert_eq!(
        fixture.take_events(),
        [
            Event::LeaseReleased { inode: old },
            Event::ChunkRemoved { chunk },
            Event::LeaseTaken { inode: new, holder: "bob".into() },
        ]
    );
    assert_eq!(
        fixture.code(Edit::AddChunk {
            inode: old,
            holder: "alice".into(),
            previous: None,
            pipeline: Vec::new()
        }),
        NotFound
    );
    assert_eq!(fixture.stat("/").unwrap().children, 1);
    fixture.check_invariants();
}

#[test]
fn rename_like_posix() {
    let fixture = Fixture::new();
    for directory in ["/d/sub", "/e", "/full/x"] {
        fixture.ok(mkdir(directory));
    }
    fixture.new_file("/f", "w");
    fixture.new_file("/g", "w");
    for (from, to, overwrite, code) in [
        ("/none", "/x", false, NotFound),
        ("/none", "/none", false, NotFound),
        ("/f", "/none/x", false, NotFound),
        ("/f", "/g/x", false, NotADirectory),
        ("/f/x", "/y", false, NotADirectory),
        ("/f", "/g", false, AlreadyExists),
        ("/f", "/e", true, IsADirectory),
        ("/e", "/f", true, NotADirectory),
        ("/e", "/full", true, NotEmpty),
        ("/d/sub", "/d", true, NotEmpty),
        ("/d", "/d/sub/x", false, InvalidArgument),
        ("/", "/x", false, InvalidArgument),
        ("/f", "/", true, InvalidArgument),
    ] {
        assert_eq!(fixture.code(rename(from, to, overwrite)), code, "{from} to {to}");
    }
    fixture.ok(rename("/f", "/f", false));
    fixture.ok(rename("/f", "/g", true));
    fixture.ok(rename("/d", "/e", true));
    fixture.ok(rename("/e/sub", "/sub", false));
    assert_eq!(fixture.names("/"), ["e", "full", "g", "sub"]);
    assert_eq!(fixture.stat("/e").unwrap().children, 0);
    assert_eq!(fixture.stat("/").unwrap().children, 4);
    fixture.check_invariants();
}

#[test]
fn delete_like_posix() {
    let fixture = Fixture::new();
    fixture.ok(mkdir("/d/sub"));
    let gently = |at: &str| Edit::Delete { path: path(at), recursive: false, expected: None };
    assert_eq!(fixture.ok(gently("/none")), Outcome::Deleted(false));
    assert_eq!(fixture.ok(gently("/none/below")), Outcome::Deleted(false));
    assert_eq!(fixture.code(gently("/d")), NotEmpty);
    assert_eq!(fixture.code(delete("/")), InvalidArgument);
    let inode = fixture.stat("/d/sub").unwrap().inode;
    let only = |expected| Edit::Delete { path: path("/d/sub"), recursive: false, expected: Some(expected) };
    assert_eq!(fixture.ok(only(InodeId(inode.0 + 1))), Outcome::Deleted(false), "another one is there");
    assert_eq!(fixture.stat("/d/sub").unwrap().inode, inode);
    assert_eq!(fixture.ok(only(inode)), Outcome::Deleted(true));
    assert_eq!(fixture.ok(only(inode)), Outcome::Deleted(false));
    fixture.ok(mkdir("/d/sub"));
    assert_eq!(fixture.ok(only(inode)), Outcome::Deleted(false), "its name was taken by another");
    assert_eq!(fixture.ok(gently("/d/sub")), Outcome::Deleted(true));
    assert_eq!(fixture.ok(gently("/d")), Outcome::Deleted(true));
    assert_eq!(fixture.stat("/d").unwrap_err().code, NotFound);
    fixture.check_invariants();
}

#[test]
fn attributes_are_set() {
    let fixture = Fixture::new();
    let file = fixture.new_file("/d/f", "w");
    fixture.ok(Edit::AddChunk { inode: file, holder: "w".into(), previous: None, pipeline: Vec::new() });
    fixture.take_events();
    fixture.ok(Edit::SetReplication { path: path("/d/f"), replication: 5 });
    let chunk = dfs_types::ChunkId::FIRST;
    assert_eq!(
        fixture.take_events(),
        [Event::LayoutChanged { chunk, layout: Layout::Replicated { replicas: 5 } }]
    );
    fixture.ok(Edit::SetReplication { path: path("/d/f"), replication: 5 });
    assert_eq!(fixture.take_events(), []);
    assert_eq!(fixture.code(Edit::SetReplication { path: path("/d"), replication: 5 }), IsADirectory);
    assert_eq!(fixture.code(Edit::SetReplication { path: path("/d/f"), replication: 0 }), InvalidArgument);
    let times =
        |at: &str| Edit::SetTimes { path: path(at), mtime: Some(Millis(1)), atime: Some(Millis(u64::MAX)) };
    fixture.ok(times("/d/f"));
    fixture.ok(times("/d"));
    fixture.ok(Edit::SetMode { path: path("/d/f"), mode: Mode::new(0o1700).unwrap() });
    fixture.ok(Edit::SetOwner { path: path("/d/f"), owner: Some("u".into()), group: None });
    fixture.ok(Edit::SetOwner { path: path("/d/f"), owner: None, group: Some("g".into()) });
    let status = fixture.stat("/d/f").unwrap();
    assert_eq!((status.owner.as_str(), status.group.as_str()), ("u", "g"));
    assert_eq!((status.mtime, status.atime, status.mode.bits()), (Millis(1), Millis(u64::MAX), 0o1700));
    assert_eq!((status.replication, fixture.stat("/d").unwrap().atime), (5, Millis(0)));
    let colon = Edit::SetOwner { path: path("/d/f"), owner: Some("a:b".into()), group: None };
    assert_eq!(fixture.code(colon), InvalidArgument);
}

/// Makes `/open` (777), `/tmp` (1777), `/alice` (alice:staff 750) with `f` (640), `sub` and `sub/x` in it.
fn shared_tree() -> Fixture {
    let fixture = Fixture::new();
    for (at, mode) in [("/open", 0o777), ("/tmp", 0o1777), ("/alice", 0o755)] {
        fixture.ok(strict_mkdir(at));
        fixture.ok(Edit::SetMode { path: path(at), mode: Mode::new(mode).unwrap() });
    }
    let give =
        Edit::SetOwner { path: path("/alice"), owner: Some("alice".into()), group: Some("staff".into()) };
    fixture.ok(give);
    let alice = user("alice", &["staff"]);
    for edit in
        [mkdir("/alice/sub/x"), create("/alice/f", "w"), create("/tmp/a", "w"), create("/open/a", "w")]
    {
        fixture.propose(by(Some(alice.clone()), edit)).unwrap();
    }
    fixture.ok(Edit::SetMode { path: path("/alice/f"), mode: Mode::new(0o640).unwrap() });
    fixture.ok(Edit::SetMode { path: path("/alice"), mode: Mode::new(0o750).unwrap() });
    fixture
}

#[test]
fn permissions_of_edits() {
    let alice = user("alice", &["staff"]);
    let colleague = user("carol", &["staff"]);
    let stranger = user("bob", &["guests"]);
    let admin = user("dan", &["guests", "supergroup"]);
    let chmod = |at: &str| Edit::SetMode { path: path(at), mode: Mode::new(0o700).unwrap() };
    let setrep = |at: &str| Edit::SetReplication { path: path(at), replication: 2 };
    let times = |at: &str| Edit::SetTimes { path: path(at), mtime: Some(Millis(1)), atime: None };
    let chown = |owner: Option<&str>, group: Option<&str>| Edit::SetOwner {
        path: path("/alice/f"),
        owner: owner.map(str::to_owned),
        group: group.map(str::to_owned),
    };
    let table: Vec<(Edit, &Caller, bool)> = vec![
        (mkdir("/x"), &stranger, false),
        (mkdir("/x"), &admin, true),
        (mkdir("/open/x"), &stranger, true),
        (mkdir("/alice/x"), &alice, true),
        (mkdir("/alice/x"), &colleague, false),
        (mkdir("/alice/x"), &stranger, false),
        (mkdir("/alice/sub"), &colleague, true),
        (mkdir("/alice/sub"), &stranger, false),
        (create("/alice/new", "w"), &colleague, false),
        (create("/alice/new/deep", "w"), &alice, true),
        (overwriting("/open/a", "w"), &stranger, false),
        (overwriting("/open/a", "w"), &alice, true),
        (overwriting("/tmp/a", "w"), &stranger, false),
        (rename("/open/a", "/open/b", false), &stranger, true),
        (rename("/tmp/a", "/tmp/b", false), &stranger, false),
        (rename("/tmp/a", "/tmp/b", false), &alice, true),
        (rename("/open/a", "/tmp/a", true), &stranger, false),
        (rename("/open/a", "/alice/a", false), &colleague, false),
        (rename("/alice/f", "/open/f", false), &colleague, false),
        (rename("/alice/f", "/open/f", false), &alice, true),
        (delete("/open/a"), &stranger, true),
        (delete("/tmp/a"), &stranger, false),
        (delete("/tmp/a"), &alice, true),
        (delete("/alice/sub"), &colleague, false),
        (delete("/alice"), &alice, false),
        (delete("/alice/sub"), &alice, true),
        (setrep("/alice/f"), &alice, true),
        (setrep("/alice/f"), &colleague, false),
        (chmod("/alice/f"), &alice, true),
        (chmod("/alice/f"), &colleague, false),
        (chmod("/alice/f"), &admin, true),
        (times("/alice/f"), &alice, true),
        (times("/open/a"), &stranger, false),
        (Edit::Touch { path: path("/open") }, &stranger, true),
        (Edit::Touch { path: path("/open/a") }, &stranger, false),
        (Edit::Touch { path: path("/open/a") }, &alice, true),
        (chown(Some("bob"), None), &alice, false),
        (chown(Some("alice"), None), &alice, true),
        (chown(None, Some("staff")), &alice, true),
        (chown(None, Some("guests")), &alice, false),
        (chown(None, Some("staff")), &colleague, false),
        (chown(Some("bob"), Some("guests")), &admin, true),
        (Edit::Reap { limit: 1 }, &alice, false),
        (Edit::Reap { limit: 1 }, &admin, true),
        (Edit::PurgeOutcomes { limit: 1 }, &alice, false),
        (Edit::PurgeOutcomes { limit: 1 }, &admin, true),
    ];
    // One tree for all refusals, which must leave it as it is; a fresh one for each edit that is allowed.
    let fixture = shared_tree();
    let before = super::dump(&fixture.directory().join("namespace.db"));
    for (edit, caller, allowed) in table {
        let said = format!("{edit:?} by {}", caller.user);
        let proposal = by(Some(caller.clone()), edit);
        if allowed {
            shared_tree().propose(proposal).unwrap_or_else(|error| panic!("{said}: {error}"));
        } else {
            assert_eq!(fixture.propose(proposal).expect_err(&said).code, PermissionDenied, "{said}");
        }
    }
    assert_eq!(super::dump(&fixture.directory().join("namespace.db")), before);
}

#[test]
fn permissions_of_reads_and_the_message() {
    let fixture = shared_tree();
    let (colleague, stranger) = (user("carol", &["staff"]), user("bob", &["guests"]));
    let store = fixture.store();
    for _ in 0..2 {
        // The second round is served by the cache.
        let error = fixture.wait(store.stat(&stranger, &path("/alice/f"))).unwrap_err();
        assert_eq!(
            error.message,
            "Permission denied: user=bob, access=EXECUTE, inode=\"/alice\":alice:staff:drwxr-x---"
        );
        fixture.wait(store.stat(&stranger, &path("/alice"))).unwrap();
        fixture.wait(store.stat(&colleague, &path("/alice/f"))).unwrap();
    }
    fixture.wait(store.list(&colleague, &path("/alice"), "", 10)).unwrap();
    let error = fixture.wait(store.list(&stranger, &path("/alice"), "", 10)).unwrap_err();
    assert!(error.message.contains("access=READ_EXECUTE, inode=\"/alice\""), "{}", error.message);
    fixture.wait(store.file(&colleague, &path("/alice/f"), 0, 1)).unwrap();
    fixture.ok(Edit::SetMode { path: path("/alice/f"), mode: Mode::new(0o600).unwrap() });
    let error = fixture.wait(store.file(&colleague, &path("/alice/f"), 0, 1)).unwrap_err();
    assert!(
        error.message.contains("access=READ, inode=\"/alice/f\":alice:staff:-rw-------"),
        "{}",
        error.message
    );
    // Sums are of what is below, whoever may look at it.
    assert_eq!(fixture.wait(store.content_summary(&stranger, &path("/"))).unwrap().files, 3);
    assert_eq!(
        fixture.wait(store.content_summary(&stranger, &path("/alice"))).unwrap_err().code,
        PermissionDenied
    );
    assert_eq!(
        fixture.wait(store.walk_files(&stranger, &path("/"), None, 99)).unwrap_err().code,
        PermissionDenied
    );
    fixture.wait(store.content_summary(&root(), &path("/"))).unwrap();
}

#[test]
fn new_entries_get_the_directory_s_group() {
    let fixture = shared_tree();
    let status = fixture.stat("/alice/sub/x").unwrap();
    assert_eq!((status.owner.as_str(), status.group.as_str()), ("alice", "staff"));
    assert_eq!(fixture.stat("/open/a").unwrap().group, "supergroup");
}

/// A path of so many names of 250 bytes below another.
fn deep(top: &str, names: usize) -> String {
    format!("{top}{}", format!("/{}", "x".repeat(250)).repeat(names))
}

#[test]
fn no_move_makes_a_path_too_long_and_nothing_gets_out_of_sight() {
    let fixture = Fixture::new();
    fixture.ok(create(&format!("{}/f", deep("/s", 15)), "w"));
    fixture.ok(mkdir(&deep("/t", 2)));
    let seen = || {
        let sum = fixture.wait(fixture.store().content_summary(&root(), &path("/"))).unwrap();
        let (files, next) = fixture.wait(fixture.store().walk_files(&root(), &path("/"), None, 10)).unwrap();
        let files: Vec<String> = files.into_iter().map(|file| file.path.to_string()).collect();
        assert_eq!((next, sum.files, files.len()), (None, 1, 1));
        files
    };
    let before = seen();
    let far = format!("{}/s", deep("/t", 2));
    let refused = fixture.run(rename("/s", &far, false)).unwrap_err();
    assert_eq!(refused.code, InvalidArgument);
    assert!(refused.message.contains("4096"), "{}", refused.message);
    assert_eq!(seen(), before);

    // What is there may be moved as long as it fits, and what it is moved into knows of it.
    fixture.ok(mkdir("/u"));
    fixture.ok(rename("/s", "/u/s", false));
    assert_eq!(seen(), [before[0].replacen("/s", "/u/s", 1)]);
    assert_eq!(fixture.code(rename("/u", &deep("/t", 2), true)), InvalidArgument);
    fixture.check_invariants();

    // What made it so long is gone.
    fixture.ok(delete(&deep("/u/s", 5)));
    fixture.ok(rename("/u/s", &far, false));
    fixture.check_invariants();
}
