//! What users do in a script, drawn at random.

use std::fmt::Write as _;

use dfs_e2e::content;
use dfs_types::{CreateMode, FsPath, LimitChange, Mode, XattrSetFlag};
use rand::RngExt as _;
use rand::rngs::SmallRng;

use crate::faults::path;

/// A user with his groups, as both clusters are to know them.
#[derive(Debug, Clone, Copy)]
pub(super) struct User {
    pub(super) name: &'static str,
    pub(super) groups: &'static [&'static str],
}

/// Users beside the superuser.
pub(super) const USERS: [User; 3] = [
    User { name: "ann", groups: &["staff", "users"] },
    User { name: "bob", groups: &["users"] },
    User { name: "eve", groups: &[] },
];

/// A way to change an ACL; what it needs is text as `setfacl` takes it.
#[derive(Debug, Clone)]
pub(super) enum AclWish {
    Set(String),
    Modify(String),
    RemoveEntries(String),
    Remove,
    RemoveDefault,
}

/// One thing that a user does.
#[derive(Debug, Clone)]
pub(super) enum Operation {
    MakeDirectories {
        path: FsPath,
        mode: CreateMode,
    },
    /// `content` is its length in bytes.
    Create {
        path: FsPath,
        overwrite: bool,
        mode: CreateMode,
        replication: u32,
        chunk_size: u64,
        content: usize,
    },
    /// `content` is the number of bytes.
    Append {
        path: FsPath,
        content: usize,
    },
    Truncate {
        path: FsPath,
        length: u64,
    },
    Concat {
        target: FsPath,
        sources: Vec<FsPath>,
    },
    Rename {
        from: FsPath,
        to: FsPath,
        overwrite: bool,
    },
    Delete {
        path: FsPath,
        recursive: bool,
    },
    SetMode {
        path: FsPath,
        mode: Mode,
    },
    SetOwner {
        path: FsPath,
        owner: Option<&'static str>,
        group: Option<&'static str>,
    },
    SetReplication {
        path: FsPath,
        replication: u32,
    },
    SetTimes {
        path: FsPath,
        mtime: Option<u64>,
        atime: Option<u64>,
    },
    ChangeAcl {
        path: FsPath,
        wish: AclWish,
    },
    SetXattr {
        path: FsPath,
        name: &'static str,
        value: Vec<u8>,
        flag: XattrSetFlag,
    },
    RemoveXattr {
        path: FsPath,
        name: &'static str,
    },
    SetQuota {
        path: FsPath,
        names: LimitChange,
        space: LimitChange,
    },
    Stat {
        path: FsPath,
    },
    List {
        path: FsPath,
    },
    Read {
        path: FsPath,
    },
    Xattrs {
        path: FsPath,
    },
}

impl Operation {
    /// What it does, in words.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::MakeDirectories { .. } => "make directories",
            Self::Create { .. } => "create",
            Self::Append { .. } => "append",
            Self::Truncate { .. } => "truncate",
            Self::Concat { .. } => "concat",
            Self::Rename { .. } => "rename",
            Self::Delete { .. } => "delete",
            Self::SetMode { .. } => "set mode",
            Self::SetOwner { .. } => "set owner",
            Self::SetReplication { .. } => "set replication",
            Self::SetTimes { .. } => "set times",
            Self::ChangeAcl { .. } => "change acl",
            Self::SetXattr { .. } => "set xattr",
            Self::RemoveXattr { .. } => "remove xattr",
            Self::SetQuota { .. } => "set quota",
            Self::Stat { .. } => "stat",
            Self::List { .. } => "list",
            Self::Read { .. } => "read",
            Self::Xattrs { .. } => "xattrs",
        }
    }
}

/// Names at each depth: few, so that operations meet.
const NAMES: [&[&str]; 3] = [&["a", "b", "c"], &["a", "b"], &["a", "b"]];
const MODES: [u32; 10] = [0o777, 0o777, 0o777, 0o755, 0o750, 0o770, 0o700, 0o1777, 0o640, 0o555];
const OWNERS: [Option<&str>; 4] = [None, Some("ann"), Some("bob"), Some("eve")];
const GROUPS: [Option<&str>; 4] = [None, Some("staff"), Some("users"), Some("supergroup")];
const XATTRS: [&str; 5] = ["user.a", "user.a", "user.b", "trusted.a", "system.a"];
/// Entries of ACLs; no two with the same key are neighbours, so that neighbours may be in one list.
const ENTRIES: [&str; 16] = [
    "user:ann:rwx",
    "user:bob:r-x",
    "user:eve:---",
    "group:staff:rwx",
    "group:users:r--",
    "mask::r-x",
    "user::rw-",
    "group::r-x",
    "other::---",
    "default:user:bob:rwx",
    "default:group:users:r-x",
    "default:mask::r--",
    "default:other::---",
    "default:user::rwx",
    "group::rwx",
    "mask::rwx",
];
/// What a list that takes the place of all others must have.
const BASE_ENTRIES: &str = "user::rwx,group::r-x,other::r--";

/// An extended attribute's value in text, as HDFS has it.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold("0x".to_owned(), |mut text, byte| {
        // Writing to a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What is written when so many bytes are.
pub(super) fn written(length: usize) -> Vec<u8> {
    content::bytes(length as u64, length)
}

/// What scripts begin with, so that there is room for the rest.
const DIRECTORIES: [&str; 2] = ["a/a", "b"];
/// Steps of a script that only make files and directories, for the others to have something to do with.
const MAKING: usize = 12;

/// Draws the steps of a script, all below a directory.
pub(super) struct Generator<'a> {
    random: &'a mut SmallRng,
    base: FsPath,
    /// Where something may be by now.
    made: Vec<FsPath>,
    steps: usize,
}

impl<'a> Generator<'a> {
    /// Of a script below `base`.
    pub(super) fn new(random: &'a mut SmallRng, base: FsPath) -> Self {
        Self { random, base, made: Vec::new(), steps: 0 }
    }

    /// Who acts next: `None` for the superuser.
    pub(super) fn user(&mut self) -> Option<usize> {
        let drawn = self.random.random_range(0..USERS.len() + 3);
        (drawn < USERS.len()).then_some(drawn)
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.random.random_range(0..of.len())]
    }

    /// Mostly one where there may be something.
    fn path(&mut self) -> FsPath {
        if !self.made.is_empty() && self.random.random_bool(0.8) {
            return self.made[self.random.random_range(0..self.made.len())].clone();
        }
        self.any_path()
    }

    fn any_path(&mut self) -> FsPath {
        let depth = self.one(&[1, 1, 2, 2, 2, 3]);
        self.path_at(depth)
    }

    fn path_at(&mut self, depth: usize) -> FsPath {
        let mut text = self.base.to_string();
        for names in NAMES.into_iter().take(depth) {
            text += "/";
            text += self.one(names);
        }
        path(&text)
    }

    /// A path, or sometimes the directory of the test.
    fn path_or_base(&mut self) -> FsPath {
        if self.random.random_bool(0.1) { self.base.clone() } else { self.path() }
    }

    fn mode(&mut self) -> Mode {
        Mode::truncate(self.one(&MODES))
    }

    fn create_mode(&mut self) -> CreateMode {
        let unmasked = self.mode();
        let umask = self.one(&[0, 0o022, 0o027]);
        let mode = Mode::truncate(unmasked.bits() & !umask);
        CreateMode { mode, unmasked: self.random.random_bool(0.7).then_some(unmasked) }
    }

    /// Without the sticky bit, which Java clients of HDFS do not send for a file.
    fn file_mode(&mut self) -> CreateMode {
        let CreateMode { mode, unmasked } = self.create_mode();
        let plain = |mode: Mode| Mode::truncate(mode.bits() & 0o777);
        CreateMode { mode: plain(mode), unmasked: unmasked.map(plain) }
    }

    fn content(&mut self) -> usize {
        self.one(&[0, 1, 300, 512, 700, 1_024, 1_500])
    }

    fn limit(&mut self, limits: &[u64]) -> LimitChange {
        match self.random.random_range(0..4) {
            0 => LimitChange::Keep,
            1 => LimitChange::Clear,
            _ => LimitChange::Set(self.one(limits)),
        }
    }

    fn acl_wish(&mut self) -> AclWish {
        let first = self.random.random_range(0..ENTRIES.len());
        let entries = &ENTRIES[first..(first + self.random.random_range(1..4)).min(ENTRIES.len())];
        let modified = entries.join(",");
        match self.random.random_range(0..10) {
            0 => AclWish::Remove,
            1 => AclWish::RemoveDefault,
            2 | 3 => {
                let keys = entries.iter().filter_map(|entry| entry.rsplit_once(':'));
                AclWish::RemoveEntries(keys.map(|(key, _)| key).collect::<Vec<_>>().join(","))
            }
            4 => AclWish::Set(modified),
            5 | 6 => {
                let named = ENTRIES[..6].join(",");
                AclWish::Set(format!(
                    "{BASE_ENTRIES},{}",
                    if first % 2 == 0 { named.as_str() } else { ENTRIES[9] }
                ))
            }
            _ => AclWish::Modify(modified),
        }
    }

    /// The next operation.
    pub(super) fn next(&mut self) -> Operation {
        self.steps += 1;
        let operation = self.operation();
        match &operation {
            Operation::MakeDirectories { path, .. }
            | Operation::Create { path, .. }
            | Operation::Rename { to: path, .. } => self.made.push(path.clone()),
            _ => {}
        }
        operation
    }

    fn operation(&mut self) -> Operation {
        if let Some(directory) = DIRECTORIES.get(self.steps - 1) {
            let path = path(&format!("{}/{directory}", self.base));
            return Operation::MakeDirectories { path, mode: Mode::truncate(0o777).into() };
        }
        let kinds = if self.steps <= MAKING { 30 } else { 100 };
        match self.random.random_range(0..kinds) {
            0..6 => Operation::MakeDirectories { path: self.any_path(), mode: self.create_mode() },
            6..30 => Operation::Create {
                path: self.any_path(),
                overwrite: self.random.random_bool(0.4),
                mode: self.file_mode(),
                replication: self.one(&[1, 1, 2, 3]),
                chunk_size: self.one(&[512, 1_024]),
                content: self.content(),
            },
            30..33 => Operation::Append { path: self.path(), content: self.content() },
            33..36 => {
                let length = self.one(&[0, 1, 512, 512, 1_024, 1_100]);
                Operation::Truncate { path: self.path(), length }
            }
            36..44 => self.concat(),
            44..54 => Operation::Rename {
                from: self.path(),
                to: self.any_path(),
                overwrite: self.random.random_bool(0.5),
            },
            54..60 => Operation::Delete { path: self.path(), recursive: self.random.random_bool(0.5) },
            60..66 => Operation::SetMode { path: self.path(), mode: self.mode() },
            66..71 => {
                let (owner, group) = (self.one(&OWNERS), self.one(&GROUPS));
                // One of both must be said.
                let group = if owner.is_none() { group.or(Some("users")) } else { group };
                Operation::SetOwner { path: self.path(), owner, group }
            }
            71..73 => Operation::SetReplication { path: self.path(), replication: self.one(&[1, 2, 3]) },
            73..75 => {
                let (mtime, atime) =
                    (self.one(&[None, Some(1_000), Some(2_000)]), self.one(&[None, Some(3_000)]));
                Operation::SetTimes { path: self.path(), mtime, atime }
            }
            75..80 => Operation::ChangeAcl { path: self.path(), wish: self.acl_wish() },
            80..86 => Operation::SetXattr {
                path: self.path(),
                name: self.one(&XATTRS),
                value: vec![self.random.random(); self.one(&[0, 1, 5])],
                flag: self.one(&[XattrSetFlag::CreateOrReplace, XattrSetFlag::Create, XattrSetFlag::Replace]),
            },
            86..90 => Operation::RemoveXattr { path: self.path(), name: self.one(&XATTRS) },
            90..92 => Operation::SetQuota {
                path: self.path_or_base(),
                names: self.limit(&[1, 2, 4, 6]),
                space: self.limit(&[512, 1_024, 4_096]),
            },
            92..94 => Operation::Stat { path: self.path_or_base() },
            94..96 => Operation::List { path: self.path_or_base() },
            96..98 => Operation::Read { path: self.path() },
            _ => Operation::Xattrs { path: self.path_or_base() },
        }
    }

    /// Mostly of neighbours, as otherwise it is always refused.
    fn concat(&mut self) -> Operation {
        let target = self.path();
        let mut neighbours = self.made.clone();
        neighbours.retain(|path| path.parent() == target.parent() && *path != target);
        let mut sources = Vec::new();
        for _ in 0..self.one(&[1, 1, 2]) {
            let neighbour = self.random.random_range(0..neighbours.len() + 1);
            sources.push(neighbours.get(neighbour).cloned().unwrap_or_else(|| self.path()));
        }
        Operation::Concat { target, sources }
    }
}
