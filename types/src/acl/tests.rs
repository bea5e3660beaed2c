use proptest::prelude::*;

use super::*;

fn entries(text: &str) -> Vec<AclEntry> {
    AclEntry::parse_list(text).unwrap()
}

fn keys(text: &str) -> Vec<AclKey> {
    AclKey::parse_list(text).unwrap()
}

fn mode(bits: u32) -> Mode {
    Mode::new(bits).unwrap()
}

/// A whole ACL, with commas, as mode and what is beside it.
fn whole(text: &str) -> (Mode, Option<Acl>) {
    split(map_of(entries(text)).unwrap(), mode(0))
}

fn text(mode: Mode, acl: Option<&Acl>) -> String {
    let shown: Vec<_> =
        entries_of(mode, acl).into_iter().map(|(key, perm)| AclEntry { key, perm }.to_string()).collect();
    shown.join(",")
}

/// What becomes of a whole ACL of a directory; the error if it is refused.
fn after(before: &str, change: &AclChange) -> String {
    let (mode, acl) = whole(before);
    match change.apply(mode, acl.as_ref(), true) {
        Ok((mode, acl)) => text(mode, acl.as_ref()),
        Err(error) => error.message,
    }
}

const MINIMAL_ACL: &str = "user::rwx,group::r-x,other::---";

#[test]
fn entries_are_read_in_their_long_and_short_forms() {
    for (short, long) in [
        ("u:bob:rwx", "user:bob:rwx"),
        ("user::r-x", "user::r-x"),
        ("g:staff:r", "group:staff:r--"),
        ("m::rx", "mask::r-x"),
        ("m:rx", "mask::r-x"),
        ("o:-", "other::---"),
        ("other::7", "other::rwx"),
        ("d:u:bob:x", "default:user:bob:--x"),
        ("default:group::w", "default:group::-w-"),
    ] {
        assert_eq!(short.parse::<AclEntry>().unwrap().to_string(), long);
    }
    for wrong in [
        "",
        "bob:rwx",
        "user",
        "user:bob",
        "user:bob:rwxr",
        "user:bob:q",
        "user:bob:r:x",
        "d:",
        "user:bob:8",
        "x::r",
    ] {
        assert!(wrong.parse::<AclEntry>().is_err(), "{wrong}");
    }
    for (short, long) in
        [("u:bob", "user:bob"), ("mask", "mask:"), ("d:g:", "default:group:"), ("u", "user:")]
    {
        assert_eq!(AclKey::parse(short).unwrap().to_string(), long);
    }
    assert!(AclKey::parse("user:bob:rwx").is_err(), "what is removed has no permissions");
    assert_eq!(entries("u::rwx, g::r").len(), 2);
}

#[test]
fn entries_are_merged_as_in_hdfs() {
    for (before, spec, expected) in [
        // A mask comes with the first named entry: all that the group class has.
        (MINIMAL_ACL, "user:bob:rw-", "user::rwx,user:bob:rw-,group::r-x,mask::rwx,other::---"),
        // It is calculated anew, unless it is said.
        (
            "user::rwx,user:bob:rw-,group::r--,mask::rw-,other::---",
            "user:bob:r--",
            "user::rwx,user:bob:r--,group::r--,mask::r--,other::---",
        ),
        (
            "user::rwx,user:bob:rw-,group::r--,mask::rw-,other::---",
            "user:bob:rwx,mask::r--",
            "user::rwx,user:bob:rwx,group::r--,mask::r--,other::---",
        ),
        ("user::rwx,group::r-x,other::---", "mask::r--", "user::rwx,group::r-x,mask::r--,other::---"),
        // What is not touched keeps its mask.
        (
            "user::rwx,user:bob:rwx,group::r-x,mask::r--,other::---",
            "default:user:eve:r--",
            "user::rwx,user:bob:rwx,group::r-x,mask::r--,other::---,default:user::rwx,default:user:eve:r--,\
             default:group::r-x,default:mask::r-x,default:other::---",
        ),
        // Base entries only: still no more than a mode.
        (MINIMAL_ACL, "user::r--,other::r--", "user::r--,group::r-x,other::r--"),
        (
            MINIMAL_ACL,
            "default:user::rwx",
            "user::rwx,group::r-x,other::---,default:user::rwx,default:group::r-x,default:other::---",
        ),
    ] {
        assert_eq!(after(before, &AclChange::Modify(entries(spec))), expected, "{before} and {spec}");
    }
}

#[test]
fn entries_are_removed_as_in_hdfs() {
    let with_bob = "user::rwx,user:bob:rw-,group::r--,mask::rw-,other::---";
    for (before, spec, expected) in [
        // The mask stays until it is removed too.
        (with_bob, "user:bob", "user::rwx,group::r--,mask::r--,other::---"),
        (with_bob, "user:bob,mask", "user::rwx,group::r--,other::---"),
        (with_bob, "user:eve", with_bob),
        (
            with_bob,
            "mask",
            "Invalid ACL: mask is required and cannot be deleted: remove the named entries too",
        ),
        (with_bob, "other", "Invalid ACL: the user, group and other entries are required: give all three"),
        (
            "user::rwx,group::r--,other::---,default:user::rwx,default:user:bob:r--,default:group::r--,default:mask::r--,\
             default:other::---",
            "default:user:bob,default:mask",
            "user::rwx,group::r--,other::---,default:user::rwx,default:group::r--,default:other::---",
        ),
        // Required default entries come back from those of access.
        (
            "user::rwx,group::r--,other::---,default:user::r--,default:group::r--,default:other::---",
            "default:user",
            "user::rwx,group::r--,other::---,default:user::rwx,default:group::r--,default:other::---",
        ),
    ] {
        assert_eq!(after(before, &AclChange::RemoveEntries(keys(spec))), expected, "{before} and {spec}");
    }
    let both = "user::rwx,user:bob:rw-,group::r--,mask::rw-,other::---,default:user::rwx,default:group::r-x,\
                default:other::---";
    assert_eq!(
        after(both, &AclChange::Remove),
        "user::rwx,group::r--,other::---",
        "the group's own bits are back"
    );
    assert_eq!(after(both, &AclChange::RemoveDefault), with_bob);
    assert_eq!(after(MINIMAL_ACL, &AclChange::Remove), MINIMAL_ACL);
}

#[test]
fn entries_are_replaced_by_scope_as_in_hdfs() {
    let both = "user::rwx,user:bob:rw-,group::r--,mask::rw-,other::---,default:user::rwx,default:group::r-x,\
                default:other::---";
    for (before, spec, expected) in [
        (
            both,
            "user::rw-,group::r--,other::r--",
            "user::rw-,group::r--,other::r--,default:user::rwx,default:group::r-x,default:other::---",
        ),
        (
            both,
            "default:group::rwx",
            "user::rwx,user:bob:rw-,group::r--,mask::rw-,other::---,default:user::rwx,default:group::rwx,\
             default:other::---",
        ),
        (
            MINIMAL_ACL,
            "user::rwx,user:bob:r--,group::r--,other::---",
            "user::rwx,user:bob:r--,group::r--,mask::r--,other::---",
        ),
        (
            MINIMAL_ACL,
            "user:bob:r--",
            "Invalid ACL: the user, group and other entries are required: give all three",
        ),
        (
            MINIMAL_ACL,
            "user::rwx,user::r--,group::r--,other::---",
            "Invalid ACL: multiple entries with same scope, type and name: give each once",
        ),
    ] {
        assert_eq!(after(before, &AclChange::Set(entries(spec))), expected, "{before} and {spec}");
    }
    assert_eq!(after(both, &AclChange::Set(Vec::new())), "user::rwx,group::r--,other::---");
}

#[test]
fn an_acl_has_no_more_than_its_limit() {
    let named =
        |count: usize| (0..count).map(|number| format!("user:u{number}:r--")).collect::<Vec<_>>().join(",");
    // Beside them are four: of the owner, the group, the others, and the mask.
    let fits = AclChange::Modify(entries(&named(MAX_ACL_ENTRIES - 4)));
    assert!(fits.apply(mode(0o750), None, false).is_ok());
    let over = AclChange::Modify(entries(&named(MAX_ACL_ENTRIES - 3)));
    let refused = over.apply(mode(0o750), None, false).unwrap_err();
    assert!(refused.message.contains("33 access entries, which exceeds maximum of 32"), "{refused}");
    assert!(over.check().is_ok(), "what else there is, is not known yet");
    assert!(AclChange::Modify(entries(&named(MAX_ACL_ENTRIES + 1))).check().is_err());
    let refused =
        AclChange::Modify(entries("default:user:bob:r--")).apply(mode(0o640), None, false).unwrap_err();
    assert!(refused.message.contains("only directories may have a default ACL"), "{refused}");
    let named_mask = AclKey { name: Some("bob".into()), ..AclKey::unnamed(AclScope::Access, AclKind::Mask) };
    assert!(AclChange::RemoveEntries(vec![named_mask]).check().is_err());
}

#[test]
fn the_sticky_bit_stays() {
    let (now, acl) = AclChange::Modify(entries("user:bob:r--")).apply(mode(0o1770), None, true).unwrap();
    assert_eq!(now, mode(0o1770));
    assert_eq!(AclChange::Remove.apply(now, acl.as_ref(), true).unwrap(), (mode(0o1770), None));
}

#[test]
fn what_is_made_in_a_directory_has_its_default_acl() {
    let base = "user::rwx,group::r-x,other::---";
    for (default, wanted, directory, expected) in [
        // Only the mode: the default entries limit it, and it limits them.
        (
            "default:user::rwx,default:group::r-x,default:other::r-x",
            0o666,
            false,
            "user::rw-,group::r--,other::r--",
        ),
        (
            "default:user::rwx,default:group::r-x,default:other::---",
            0o777,
            true,
            "user::rwx,group::r-x,other::---,default:user::rwx,default:group::r-x,default:other::---",
        ),
        // The mode limits the mask, and not what the entries say.
        (
            "default:user::rwx,default:user:bob:rwx,default:group::r-x,default:mask::rwx,default:other::---",
            0o640,
            false,
            "user::rw-,user:bob:rwx,group::r-x,mask::r--,other::---",
        ),
        (
            "default:user::r-x,default:user:bob:rwx,default:group::r-x,default:mask::rw-,default:other::--x",
            0o777,
            true,
            "user::r-x,user:bob:rwx,group::r-x,mask::rw-,other::--x,default:user::r-x,default:user:bob:rwx,\
             default:group::r-x,default:mask::rw-,default:other::--x",
        ),
    ] {
        let (_, parent) = whole(&format!("{base},{default}"));
        let (mode, acl) = parent.unwrap().inherited(mode(wanted), directory).unwrap();
        assert_eq!(text(mode, acl.as_ref()), expected, "{default} and {wanted:o}");
    }
    let (_, parent) = whole("user::rwx,user:bob:r--,group::r--,mask::r--,other::---");
    assert_eq!(parent.unwrap().inherited(mode(0o777), true), None);
}

#[test]
fn what_the_mask_leaves_is_told() {
    let status = |bits| FileStatus {
        inode: crate::InodeId(9),
        kind: crate::FileKind::Directory,
        owner: "ann".into(),
        group: "staff".into(),
        mode: mode(bits),
        mtime: crate::Millis(0),
        atime: crate::Millis(0),
        length: 0,
        replication: 0,
        chunk_size: 0,
        children: 0,
        open: false,
        has_acl: true,
    };
    let (now, acl) = whole(
        "user::rwx,user:bob:rwx,group::r-x,mask::r--,other::--x,default:user::rwx,default:user:eve:rwx,default:group::r-x,\
         default:mask::-w-,default:other::---",
    );
    let shown = AclStatus { status: status(now.bits()), acl };
    let effective: Vec<_> =
        shown.entries().iter().map(|(entry, effective)| format!("{}{effective}", entry.key)).collect();
    assert_eq!(
        effective.join(","),
        "user:rwx,user:bobr--,group:r--,mask:r--,other:--x,default:user:rwx,default:user:eve-w-,default:group:---,\
         default:mask:-w-,default:other:---"
    );
    let plain = AclStatus { status: status(0o750), acl: None };
    assert_eq!(plain.entries().len(), 3);
}

fn perm() -> impl Strategy<Value = Perm> {
    (0_u32..8).prop_map(Perm::truncate)
}

fn any_key() -> impl Strategy<Value = AclKey> {
    let scope = prop_oneof![Just(AclScope::Access), Just(AclScope::Default)];
    let of = prop_oneof![
        3 => (prop_oneof![Just(AclKind::User), Just(AclKind::Group)], "[a-d]")
            .prop_map(|(kind, name)| (kind, Some(name))),
        1 => prop_oneof![
            Just(AclKind::User),
            Just(AclKind::Group),
            Just(AclKind::Mask),
            Just(AclKind::Other)
        ]
        .prop_map(|kind| (kind, None)),
    ];
    (scope, of).prop_map(|(scope, (kind, name))| AclKey { scope, kind, name })
}

fn any_entries() -> impl Strategy<Value = Vec<AclEntry>> {
    proptest::collection::btree_map(any_key(), perm(), 0..8)
        .prop_map(|map| map.into_iter().map(|(key, perm)| AclEntry { key, perm }).collect())
}

fn any_change() -> impl Strategy<Value = AclChange> {
    prop_oneof![
        2 => any_entries().prop_map(AclChange::Set),
        6 => any_entries().prop_map(AclChange::Modify),
        3 => proptest::collection::vec(any_key(), 0..4).prop_map(AclChange::RemoveEntries),
        1 => Just(AclChange::Remove),
        1 => Just(AclChange::RemoveDefault),
    ]
}

proptest! {
    /// Whatever is done to it, an ACL is one: with its required entries, with a mask where there are names, and the same after
    /// it was taken apart and put together.
    #[test]
    fn changes_leave_an_acl_whole(bits in 0_u32..=0o1777, changes in proptest::collection::vec(any_change(), 1..12)) {
        let (mut now, mut acl) = (mode(bits), None);
        for change in changes {
            let Ok((mode, changed)) = change.apply(now, acl.as_ref(), true) else { continue };
            let all = entries_of(mode, changed.as_ref());
            prop_assert!(check_whole(&all).is_ok());
            for scope in [AclScope::Access, AclScope::Default] {
                let has_names = all.keys().any(|key| key.scope == scope && key.name.is_some());
                let mask = all.get(&AclKey::unnamed(scope, AclKind::Mask));
                prop_assert!(!has_names || mask.is_some());
            }
            prop_assert_eq!(split(all.clone(), mode), (mode, changed.clone()));
            let stored = changed.as_ref().map(|acl| acl.entries().to_vec()).unwrap_or_default();
            prop_assert_eq!(Acl::from_entries(stored).unwrap(), changed.clone());
            prop_assert_eq!(mode.is_sticky(), now.is_sticky());
            // Saying what is there changes nothing.
            let said: Vec<_> = all.into_iter().map(|(key, perm)| AclEntry { key, perm }).collect();
            prop_assert_eq!(AclChange::Set(said).apply(mode, changed.as_ref(), true).unwrap(), (mode, changed.clone()));
            (now, acl) = (mode, changed);
        }
    }
}

#[test]
fn names_have_a_limit_together() {
    let named = |at: usize| format!("user:{}:r--", format!("{at:02}").repeat(100));
    let spec = |count: usize| (0..count).map(named).collect::<Vec<_>>().join(",");
    let set = |count| AclChange::Modify(entries(&spec(count))).apply(mode(0o640), None, false);
    assert!(set(10).is_ok());
    let error = set(11).unwrap_err();
    assert!(error.message.contains("2200 bytes") && error.message.contains("2048"), "{error}");
}
