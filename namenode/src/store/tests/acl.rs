//! ACLs: whom they let do what, what new files and directories get, and who may change them.

use dfs_types::{
    Acl, AclChange, AclEntry, AclKey, AclKind, AclScope, AclStatus, Caller, CreateMode, ErrorCode, FsPath,
    Mode, Perm,
};
use proptest::prelude::*;

use super::{Fixture, by, create, delete, mkdir, path, rename, root, user};
use crate::store::access::{Access, Authority, Place};
use crate::store::edit::Edit;
use crate::store::inode::Inode;

fn modify(at: &str, entries: &str) -> Edit {
    change(at, AclChange::Modify(AclEntry::parse_list(entries).unwrap()))
}

fn change(at: &str, change: AclChange) -> Edit {
    Edit::ChangeAcl { path: path(at), change }
}

fn chmod(at: &str, bits: u32) -> Edit {
    Edit::SetMode { path: path(at), mode: Mode::new(bits).unwrap() }
}

/// The entries of a file or directory with commas between them.
fn shown(fixture: &Fixture, at: &str) -> String {
    let status = fixture.wait(fixture.store().acl(&root(), &path(at))).unwrap();
    assert_eq!(status.status, fixture.stat(at).unwrap());
    assert_eq!(status.status.has_acl, status.acl.is_some());
    let entries: Vec<_> = status.entries().iter().map(|(entry, _)| entry.to_string()).collect();
    entries.join(",")
}

fn lists(fixture: &Fixture, caller: &Caller, at: &str) -> bool {
    match fixture.wait(fixture.store().list(caller, &path(at), "", 10)) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.code, ErrorCode::PermissionDenied);
            false
        }
    }
}

#[test]
fn entries_decide_who_has_access() {
    let fixture = Fixture::new();
    fixture.ok(mkdir("/d"));
    fixture.ok(chmod("/d", 0o750));
    let (bob, eve) = (user("bob", &["staff"]), user("eve", &["crew", "guests"]));
    assert!(!lists(&fixture, &bob, "/d") && !lists(&fixture, &eve, "/d"));
    fixture.ok(modify("/d", "user:bob:r-x"));
    assert!(lists(&fixture, &bob, "/d") && !lists(&fixture, &eve, "/d"));
    fixture.ok(modify("/d", "group:crew:---,group:guests:r-x"));
    assert!(lists(&fixture, &eve, "/d"), "one group that lets her is enough");
    assert_eq!(
        shown(&fixture, "/d"),
        "user::rwx,user:bob:r-x,group::r-x,group:crew:---,group:guests:r-x,mask::r-x,other::---"
    );

    // The group bits are the mask: chmod is for all that it limits.
    fixture.ok(chmod("/d", 0o710));
    assert!(!lists(&fixture, &bob, "/d") && !lists(&fixture, &eve, "/d"));
    let error = fixture.wait(fixture.store().list(&bob, &path("/d"), "", 10)).unwrap_err();
    assert!(error.message.ends_with("inode=\"/d\":hdfs:supergroup:drwx--x---+"), "{error}");
    fixture.ok(modify("/d", "mask::rwx"));
    assert!(lists(&fixture, &bob, "/d"));
    assert_eq!(fixture.stat("/d").unwrap().mode, Mode::new(0o770).unwrap());

    // Who is named is not one of the others.
    fixture.ok(modify("/d", "user:bob:---,other::rwx"));
    assert!(!lists(&fixture, &bob, "/d"));
    fixture.ok(change("/d", AclChange::Remove));
    assert!(lists(&fixture, &bob, "/d"));
    assert_eq!(shown(&fixture, "/d"), "user::rwx,group::r-x,other::rwx");
    assert_eq!(fixture.number("SELECT count(*) FROM inode WHERE acl IS NOT NULL"), 0);
    fixture.check_invariants();
}

#[test]
fn what_is_made_in_a_directory_gets_its_default_acl_and_not_the_umask() {
    let mut fixture = Fixture::new();
    fixture.ok(mkdir("/d"));
    fixture.ok(modify("/d", "default:user:bob:rwx,default:group::r-x"));
    let masked = |mode, unmasked| CreateMode {
        mode: Mode::new(mode).unwrap(),
        unmasked: Some(Mode::new(unmasked).unwrap()),
    };
    let mkdir = |at: &str, parents| Edit::Mkdir { path: path(at), mode: masked(0o750, 0o777), parents };
    let create = |at: &str| {
        let Edit::Create { path, holder, replication, chunk_size, overwrite, parents, temporary, .. } =
            create(at, "w")
        else {
            panic!("no create")
        };
        let mode = masked(0o640, 0o666);
        Edit::Create { path, holder, mode, replication, chunk_size, overwrite, parents, temporary }
    };
    let default =
        "default:user::rwx,default:user:bob:rwx,default:group::r-x,default:mask::rwx,default:other::r-x";
    for at in ["/d/made", "/d/on/the/way"] {
        fixture.ok(mkdir(at, true));
    }
    for at in ["/d/made", "/d/on", "/d/on/the", "/d/on/the/way"] {
        let access = "user::rwx,user:bob:rwx,group::r-x,mask::rwx,other::r-x";
        assert_eq!(shown(&fixture, at), format!("{access},{default}"), "{at}");
    }
    for at in ["/d/file", "/d/above/file"] {
        fixture.ok(create(at));
        assert_eq!(shown(&fixture, at), "user::rw-,user:bob:rwx,group::r-x,mask::rw-,other::r--", "{at}");
    }
    assert!(shown(&fixture, "/d/above").ends_with(default));
    // Without one the umask counts.
    fixture.ok(mkdir("/plain", false));
    assert_eq!(shown(&fixture, "/plain"), "user::rwx,group::r-x,other::---");

    fixture.ok(rename("/d/made", "/moved", false));
    fixture.close();
    fixture.open();
    assert!(shown(&fixture, "/moved").ends_with(default), "it has its own");
    fixture.ok(change("/moved", AclChange::RemoveDefault));
    assert_eq!(shown(&fixture, "/moved"), "user::rwx,user:bob:rwx,group::r-x,mask::rwx,other::r-x");
    fixture.ok(delete("/d"));
    fixture.check_invariants();
}

#[test]
fn default_entries_alone_change_nobodys_access() {
    let fixture = Fixture::new();
    fixture.ok(mkdir("/d"));
    fixture.ok(chmod("/d", 0o750));
    fixture.ok(Edit::SetOwner { path: path("/d"), owner: None, group: Some("staff".into()) });
    fixture.ok(modify("/d", "default:user:eve:rwx"));
    assert!(lists(&fixture, &user("bob", &["staff"]), "/d"));
    assert!(!lists(&fixture, &user("eve", &[]), "/d"));
    let file = change("/d/f", AclChange::Modify(AclEntry::parse_list("default:user:eve:r").unwrap()));
    fixture.ok(create("/d/f", "w"));
    assert_eq!(fixture.code(file), ErrorCode::InvalidArgument);
    fixture.check_invariants();
}

#[test]
fn only_the_owner_changes_an_acl_and_whoever_gets_there_sees_it() {
    let fixture = Fixture::new();
    fixture.ok(mkdir("/d/private"));
    fixture.ok(Edit::SetOwner { path: path("/d/private"), owner: Some("ann".into()), group: None });
    fixture.ok(chmod("/d/private", 0o700));
    let (ann, eve) = (user("ann", &[]), user("eve", &[]));
    let granted = modify("/d/private", "user:bob:r-x");
    let refused = fixture.propose(by(Some(eve.clone()), granted.clone())).unwrap_err();
    assert_eq!(refused.code, ErrorCode::PermissionDenied);
    fixture.propose(by(Some(ann), granted)).unwrap();
    assert!(fixture.wait(fixture.store().acl(&eve, &path("/d/private"))).unwrap().acl.is_some());
    fixture.ok(chmod("/d", 0o700));
    let refused = fixture.wait(fixture.store().acl(&eve, &path("/d/private"))).unwrap_err();
    assert_eq!(refused.code, ErrorCode::PermissionDenied);
    assert_eq!(fixture.code(modify("/none", "user:bob:r")), ErrorCode::NotFound);
}

#[test]
fn a_cluster_of_an_earlier_level_has_no_acls() {
    let fixture = Fixture::at_level(2);
    fixture.ok(mkdir("/d"));
    assert_eq!(fixture.code(modify("/d", "user:bob:r-x")), ErrorCode::Unsupported);
    let mode = CreateMode { mode: Mode::DIRECTORY, unmasked: Some(Mode::DIRECTORY) };
    let unmasked = Edit::Mkdir { path: path("/e"), mode, parents: false };
    assert_eq!(fixture.code(unmasked.clone()), ErrorCode::Unsupported);
    assert_eq!(shown(&fixture, "/d"), "user::rwx,group::r-x,other::r-x");
    fixture.ok(Edit::RaiseLevel { to: 3 });
    fixture.ok(modify("/d", "user:bob:r-x"));
    fixture.ok(unmasked);
    fixture.check_invariants();
}

const NAMES: [&str; 3] = ["ann", "bob", "eve"];
const GROUPS: [&str; 3] = ["staff", "crew", "guests"];

fn inode(mode: Mode, acl: Option<Acl>) -> Inode {
    Inode {
        owner: NAMES[0].into(),
        group: GROUPS[0].into(),
        mode,
        acl: acl.map(std::sync::Arc::new),
        ..Inode::bare()
    }
}

/// What POSIX says, from the entries as they are shown.
fn expected(inode: &Inode, caller: &Caller, wanted: Perm) -> bool {
    let status = AclStatus { status: inode.status(), acl: inode.acl.as_deref().cloned() };
    let entries = status.entries();
    let effective = |kind, name: Option<&str>| {
        let key = AclKey { scope: AclScope::Access, kind, name: name.map(str::to_owned) };
        entries.iter().find(|(entry, _)| entry.key == key).map(|(_, effective)| *effective)
    };
    if caller.user == inode.owner {
        return effective(AclKind::User, None).unwrap().implies(wanted);
    }
    if let Some(named) = effective(AclKind::User, Some(&caller.user)) {
        return named.implies(wanted);
    }
    let mut groups: Vec<Perm> =
        caller.groups.iter().filter_map(|group| effective(AclKind::Group, Some(group))).collect();
    if caller.groups.contains(&inode.group) {
        groups.extend(effective(AclKind::Group, None));
    }
    if groups.is_empty() {
        return effective(AclKind::Other, None).unwrap().implies(wanted);
    }
    groups.iter().any(|group| group.implies(wanted))
}

fn entry() -> impl Strategy<Value = AclEntry> {
    let of = prop_oneof![
        3 => proptest::sample::select(&NAMES[..]).prop_map(|name| (AclKind::User, Some(name))),
        3 => proptest::sample::select(&GROUPS[..]).prop_map(|name| (AclKind::Group, Some(name))),
        1 => Just((AclKind::Group, None)),
        1 => Just((AclKind::Mask, None)),
        1 => Just((AclKind::Other, None)),
    ];
    let scope = prop_oneof![4 => Just(AclScope::Access), 1 => Just(AclScope::Default)];
    (scope, of, 0_u32..8).prop_map(|(scope, (kind, name), perm)| AclEntry {
        key: AclKey { scope, kind, name: name.map(str::to_owned) },
        perm: Perm::truncate(perm),
    })
}

proptest! {
    #[test]
    fn access_is_what_posix_says(
        bits in 0_u32..=0o1777,
        entries in proptest::collection::vec(entry(), 0..6),
        chmod in proptest::option::of(0_u32..=0o777),
        user in proptest::sample::select(&NAMES[..]),
        groups in proptest::sample::subsequence(&GROUPS[..], 0..=3),
    ) {
        // Those that are no ACL leave things as they are.
        let change = AclChange::Modify(entries);
        let (mode, acl) =
            change.apply(Mode::new(bits).unwrap(), None, true).unwrap_or((Mode::new(bits).unwrap(), None));
        let inode = inode(chmod.map_or(mode, Mode::truncate), acl);
        let caller = super::user(user, &groups);
        let authority = Authority { caller: Some(&caller), superuser: super::SUPERUSER };
        let at = FsPath::parse("/f").unwrap();
        for (access, perm) in [
            (Access::Read, "r"), (Access::Write, "w"), (Access::Execute, "x"), (Access::ReadExecute, "rx"), (Access::All, "rwx"),
        ] {
            let allowed = authority.check(&inode, access, Place { path: &at, depth: 1 }).is_ok();
            prop_assert_eq!(allowed, expected(&inode, &caller, perm.parse().unwrap()), "{} {:?}", perm, inode);
        }
    }
}
