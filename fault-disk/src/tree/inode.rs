//! A file or directory.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::SystemTime;

use super::content::{Content, PAGE};

/// What an inode is.
#[derive(Debug)]
pub(super) enum Kind {
    File(Content),
    Directory {
        /// As programs see it.
        entries: BTreeMap<OsString, u64>,
        /// As the disk has it.
        stored: BTreeMap<OsString, u64>,
    },
}

impl Kind {
    pub(super) fn directory() -> Self {
        Self::Directory { entries: BTreeMap::new(), stored: BTreeMap::new() }
    }
}

/// Whose it is and what for. These are durable at once: nothing that is tested here relies on when they are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access {
    pub(crate) perm: u16,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

/// What `stat` tells.
#[derive(Debug, Clone)]
pub(crate) struct Attributes {
    pub(crate) inode: u64,
    pub(crate) is_directory: bool,
    pub(crate) size: u64,
    /// Of 512 bytes each.
    pub(crate) blocks: u64,
    pub(crate) names: u32,
    pub(crate) access: Access,
    pub(crate) read: SystemTime,
    pub(crate) modified: SystemTime,
}

/// What `chmod`, `chown` and `utimes` change.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct NewAttributes {
    pub(crate) perm: Option<u16>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    pub(crate) read: Option<SystemTime>,
    pub(crate) modified: Option<SystemTime>,
}

/// A file or directory, with everything that keeps it.
#[derive(Debug)]
pub(super) struct Inode {
    pub(super) kind: Kind,
    pub(super) access: Access,
    pub(super) read: SystemTime,
    pub(super) modified: SystemTime,
    /// Names that programs see.
    pub(super) names: u32,
    /// Names that the disk has, and changes of names that are not on it yet and speak of this.
    pub(super) held: u32,
    /// Open files.
    pub(super) handles: u32,
    /// What the tree's totals contain of it: pages that count as used, and pages that only the disk still has.
    pub(super) counted: (u64, u64),
}

impl Inode {
    pub(super) fn new(kind: Kind, access: Access) -> Self {
        let now = SystemTime::now();
        let (names, held, handles) = (0, 0, 0);
        Self { kind, access, read: now, modified: now, names, held, handles, counted: (0, 0) }
    }

    /// Whether programs can reach it.
    fn is_live(&self) -> bool {
        self.names > 0 || self.handles > 0
    }

    pub(super) fn is_kept(&self) -> bool {
        self.is_live() || self.held > 0
    }

    /// Pages that count as used, and pages that only the disk still has.
    pub(super) fn pages(&self) -> (u64, u64) {
        match &self.kind {
            Kind::File(content) if self.is_live() => (content.pages(), content.kept()),
            Kind::File(content) => (0, content.pages() + content.kept()),
            Kind::Directory { .. } => (0, 0),
        }
    }

    pub(super) fn attributes(&self, inode: u64) -> Attributes {
        let (is_directory, size, pages) = match &self.kind {
            Kind::File(content) => (false, content.size(), content.pages()),
            Kind::Directory { .. } => (true, PAGE as u64, 1),
        };
        Attributes {
            inode,
            is_directory,
            size,
            blocks: pages * (PAGE / 512) as u64,
            names: self.names,
            access: self.access,
            read: self.read,
            modified: self.modified,
        }
    }

    pub(super) fn set(&mut self, new: NewAttributes) {
        let NewAttributes { perm, uid, gid, read, modified } = new;
        self.access.perm = perm.unwrap_or(self.access.perm);
        self.access.uid = uid.unwrap_or(self.access.uid);
        self.access.gid = gid.unwrap_or(self.access.gid);
        self.read = read.unwrap_or(self.read);
        self.modified = modified.unwrap_or(self.modified);
    }
}
