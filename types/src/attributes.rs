//! POSIX attributes and who asks.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::limits::{MAX_GROUPS, MAX_PRINCIPAL_BYTES};
use crate::{FsError, FsResult, InodeId, Millis};

/// Permission bits, including the sticky bit: `0o0000` to `0o1777` (HDFS has no setuid and setgid either).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Mode(u32);

impl Mode {
    /// Mode of a new directory before the client's umask.
    pub const DIRECTORY: Self = Self(0o755);
    /// Mode of a new file before the client's umask.
    pub const FILE: Self = Self(0o644);
    /// The bits a mode may have.
    pub const MASK: u32 = 0o1777;

    /// The mode with these bits, or an error if there are others.
    pub fn new(bits: u32) -> FsResult<Self> {
        if bits & !Self::MASK == 0 {
            Ok(Self(bits))
        } else {
            Err(FsError::invalid(format!("mode {bits:o} is out of range: use 0 to 1777 (octal)")))
        }
    }

    /// The mode with these bits; those that no mode has are dropped.
    pub const fn truncate(bits: u32) -> Self {
        Self(bits & Self::MASK)
    }

    /// The bits.
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// Whether only an entry's owner may remove it from this directory.
    pub const fn is_sticky(self) -> bool {
        self.0 & 0o1000 != 0
    }
}

impl fmt::Display for Mode {
    /// As `ls -l` shows it, without the kind: `rwxr-xr-t`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, who) in [(6, 0), (3, 1), (0, 2)] {
            let bits = self.0 >> shift;
            let execute = match (who == 2 && self.is_sticky(), bits & 1 != 0) {
                (true, true) => 't',
                (true, false) => 'T',
                (false, true) => 'x',
                (false, false) => '-',
            };
            let read = if bits & 4 != 0 { 'r' } else { '-' };
            let write = if bits & 2 != 0 { 'w' } else { '-' };
            write!(f, "{read}{write}{execute}")?;
        }
        Ok(())
    }
}

/// Permission bits of something new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreateMode {
    /// The bits, less its creator's umask.
    pub mode: Mode,
    /// The bits before the umask: what counts if the directory has a default ACL. `None`: the same.
    pub unmasked: Option<Mode>,
}

impl CreateMode {
    /// The bits that a default ACL limits.
    pub fn unmasked(self) -> Mode {
        self.unmasked.unwrap_or(self.mode)
    }
}

impl From<Mode> for CreateMode {
    fn from(mode: Mode) -> Self {
        Self { mode, unmasked: None }
    }
}

/// What an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// A file.
    File,
    /// A directory.
    Directory,
}

/// What `stat` tells of one file or directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStatus {
    /// Its id.
    pub inode: InodeId,
    /// File or directory.
    pub kind: FileKind,
    /// Owner's user name.
    pub owner: String,
    /// Group name.
    pub group: String,
    /// Permission bits.
    pub mode: Mode,
    /// Last modification, Unix time.
    pub mtime: Millis,
    /// Last access, Unix time; zero for directories.
    pub atime: Millis,
    /// Bytes; for an open file those known to the NameNode (complete chunks and the last reported length). Zero for
    /// directories.
    pub length: u64,
    /// Replicas wanted of each chunk; zero for directories.
    pub replication: u32,
    /// Bytes of a full chunk; zero for directories.
    pub chunk_size: u64,
    /// Entries of a directory; zero for files.
    pub children: u64,
    /// Whether a writer has the file open.
    pub open: bool,
    /// Whether it has an ACL that says more than the permission bits.
    pub has_acl: bool,
}

impl FileStatus {
    /// Whether this is a directory.
    pub fn is_directory(&self) -> bool {
        self.kind == FileKind::Directory
    }
}

/// Who asks: as in HDFS's simple authentication, a name the client asserts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caller {
    /// User name.
    pub user: String,
    /// Names of the groups the user is in, the primary one first.
    pub groups: Vec<String>,
}

impl Caller {
    /// Checks the names' lengths and characters.
    pub fn new(user: String, groups: Vec<String>) -> FsResult<Self> {
        if groups.len() > MAX_GROUPS {
            return Err(FsError::invalid(format!(
                "the caller is in {} groups: at most {MAX_GROUPS} are allowed",
                groups.len()
            )));
        }
        check_principal("user", &user)?;
        groups.iter().try_for_each(|group| check_principal("group", group))?;
        Ok(Self { user, groups })
    }
}

/// Checks a user, group or client name; `what` names it in the error.
pub fn check_principal(what: &str, name: &str) -> FsResult<()> {
    if name.is_empty() || name.len() > MAX_PRINCIPAL_BYTES {
        return Err(FsError::invalid(format!(
            "the {what} name has {} bytes: 1 to {MAX_PRINCIPAL_BYTES} are allowed",
            name.len()
        )));
    }
    if name.chars().any(|character| character.is_control() || character == ':') {
        return Err(FsError::invalid(format!("the {what} name {name:?} has a control character or ':'")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_look_like_ls() {
        for (bits, text) in [
            (0o755, "rwxr-xr-x"),
            (0o644, "rw-r--r--"),
            (0o1777, "rwxrwxrwt"),
            (0o1776, "rwxrwxrwT"),
            (0, "---------"),
        ] {
            assert_eq!(Mode::new(bits).unwrap().to_string(), text);
        }
        assert!(Mode::new(0o4755).is_err());
    }

    #[test]
    fn names_with_colons_or_newlines_are_refused() {
        assert!(Caller::new("alice".into(), vec!["staff".into()]).is_ok());
        for user in ["", "a:b", "a\nb"] {
            assert!(Caller::new(user.into(), vec![]).is_err(), "{user:?}");
        }
    }
}
