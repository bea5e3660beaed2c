//! Permission checks, as POSIX and HDFS make them. Pure.

use dfs_types::names::SUPERGROUP;
use dfs_types::{Acl, AclKind, Caller, ErrorCode, FsError, FsPath, FsResult, Perm, XattrName, XattrSpace};

use super::inode::Inode;

/// What somebody wants to do with an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// Read a file.
    Read,
    /// Change a file, or a directory's entries.
    Write,
    /// Look something up in a directory.
    Execute,
    /// List a directory.
    ReadExecute,
    /// Remove a directory with all its entries.
    All,
}

impl Access {
    fn perm(self) -> Perm {
        Perm::truncate(match self {
            Self::Read => 0o4,
            Self::Write => 0o2,
            Self::Execute => 0o1,
            Self::ReadExecute => 0o5,
            Self::All => 0o7,
        })
    }

    /// HDFS's name for it, which tools know.
    fn name(self) -> &'static str {
        match self {
            Self::Read => "READ",
            Self::Write => "WRITE",
            Self::Execute => "EXECUTE",
            Self::ReadExecute => "READ_EXECUTE",
            Self::All => "ALL",
        }
    }
}

/// Where an inode is, for the message of a refusal: the first `depth` parts of `path`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// A path that leads through the inode.
    pub path: &'a FsPath,
    /// How many of its parts lead to it.
    pub depth: usize,
}

impl Place<'_> {
    /// The inode's own path as text.
    pub(crate) fn text(&self) -> String {
        if self.depth == 0 {
            return "/".to_owned();
        }
        self.path.parts().take(self.depth).fold(String::new(), |text, part| text + "/" + part)
    }
}

/// On whose behalf something is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Authority<'a> {
    /// The caller; `None` for the NameNode itself.
    pub caller: Option<&'a Caller>,
    /// The user who runs the NameNode.
    pub superuser: &'a str,
}

impl Authority<'_> {
    /// The caller if his permissions count, which a superuser's do not.
    fn bound(&self) -> Option<&Caller> {
        self.caller.filter(|caller| {
            caller.user != self.superuser && !caller.groups.iter().any(|group| group == SUPERGROUP)
        })
    }

    /// Who owns what is made now.
    pub(crate) fn user(&self) -> &str {
        self.caller.map_or(self.superuser, |caller| &caller.user)
    }

    /// Whether permissions do not count.
    pub(crate) fn is_super(&self) -> bool {
        self.bound().is_none()
    }

    /// Checks the permissions that apply to the caller: the owner's, else those of an ACL's entries, or without one the
    /// group's, else the others'.
    pub(crate) fn check(&self, inode: &Inode, access: Access, place: Place<'_>) -> FsResult<()> {
        let Some(caller) = self.bound() else {
            return Ok(());
        };
        if may(caller, inode, access.perm()) {
            return Ok(());
        }
        let kind = if inode.is_directory() { 'd' } else { '-' };
        let more = if inode.acl.is_some() { "+" } else { "" };
        Err(denied(format!(
            "Permission denied: user={}, access={}, inode=\"{}\":{}:{}:{kind}{}{more}",
            caller.user,
            access.name(),
            place.text(),
            inode.owner,
            inode.group,
            inode.mode,
        )))
    }

    /// Whether the sticky bit of a directory keeps the caller from taking out what is not his.
    pub(crate) fn is_held_by_sticky(&self, directory: &Inode) -> bool {
        directory.mode.is_sticky() && self.bound().is_some_and(|caller| caller.user != directory.owner)
    }

    /// In a sticky directory only the entry's owner or the directory's may remove or rename an entry.
    pub(crate) fn check_sticky(&self, directory: &Inode, entry: &Inode, place: Place<'_>) -> FsResult<()> {
        let Some(caller) = self.bound() else {
            return Ok(());
        };
        if !directory.mode.is_sticky() || caller.user == directory.owner || caller.user == entry.owner {
            return Ok(());
        }
        Err(denied(format!(
            "Permission denied by sticky bit: user={}, path=\"{}\":{}:{}: only its owner {} or the directory's \
             owner {} may remove it",
            caller.user,
            place.text(),
            entry.owner,
            entry.group,
            entry.owner,
            directory.owner,
        )))
    }

    /// Only the owner passes.
    pub(crate) fn check_owner(&self, inode: &Inode, place: Place<'_>) -> FsResult<()> {
        let Some(caller) = self.bound().filter(|caller| caller.user != inode.owner) else {
            return Ok(());
        };
        Err(denied(format!(
            "Permission denied: user={} is not the owner of inode=\"{}\", {} is",
            caller.user,
            place.text(),
            inode.owner
        )))
    }

    /// Only a superuser changes an owner, and an owner may give a file to a group he is in.
    pub(crate) fn check_giving(
        &self,
        inode: &Inode,
        owner: Option<&str>,
        group: Option<&str>,
        place: Place<'_>,
    ) -> FsResult<()> {
        self.check_owner(inode, place)?;
        let Some(caller) = self.bound() else {
            return Ok(());
        };
        if owner.is_some_and(|owner| owner != inode.owner) {
            return Err(denied(format!(
                "Permission denied: user={} is no superuser and can't change the owner of \"{}\"",
                caller.user,
                place.text()
            )));
        }
        match group {
            Some(group) if group != inode.group && !caller.groups.iter().any(|own| own == group) => {
                Err(denied(format!(
                    "Permission denied: user={} is not in the group {group} and can't give it \"{}\"",
                    caller.user,
                    place.text()
                )))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether the caller may have to do with extended attributes of this name, whatever they are of: superusers with all but
    /// those that the file system itself sets, others with those of users.
    pub(crate) fn check_xattr(&self, name: &XattrName) -> FsResult<()> {
        let (may, why) = match name.space() {
            XattrSpace::User => (true, ""),
            XattrSpace::Trusted | XattrSpace::Raw => (self.is_super(), "it is for superusers"),
            XattrSpace::Security | XattrSpace::System => {
                (self.caller.is_none(), "it is for the file system itself")
            }
        };
        if may {
            return Ok(());
        }
        Err(denied(format!("Permission denied: user={} can't use the XAttr {name}: {why}", self.user())))
    }

    /// Whether the caller may set or remove an extended attribute that [`Authority::check_xattr`] lets him have to do with: as
    /// he may write the inode, but in a sticky directory, which everybody may write, only as its owner.
    pub(crate) fn check_setting_xattr(
        &self,
        inode: &Inode,
        name: &XattrName,
        place: Place<'_>,
    ) -> FsResult<()> {
        match name.space() {
            XattrSpace::User if inode.is_directory() && inode.mode.is_sticky() => {
                self.check_owner(inode, place)
            }
            XattrSpace::User => self.check(inode, Access::Write, place),
            // A superuser's.
            XattrSpace::Trusted | XattrSpace::Security | XattrSpace::System | XattrSpace::Raw => Ok(()),
        }
    }

    /// Only a superuser passes; `what` says what was tried.
    pub(crate) fn check_super(&self, what: &str) -> FsResult<()> {
        match self.bound() {
            None => Ok(()),
            Some(caller) => Err(denied(format!(
                "Permission denied: user={} is no superuser, which {what} needs",
                caller.user
            ))),
        }
    }
}

/// Whether permissions let the caller do all that is wanted.
fn may(caller: &Caller, inode: &Inode, wanted: Perm) -> bool {
    let class = |shift: u32| Perm::truncate(inode.mode.bits() >> shift);
    if caller.user == inode.owner {
        return class(6).implies(wanted);
    }
    if let Some(acl) = inode.acl.as_deref().filter(|acl| !acl.access().is_empty()) {
        return by_entries(caller, inode, acl, class(3), wanted).unwrap_or(class(0).implies(wanted));
    }
    let shift = if caller.groups.contains(&inode.group) { 3 } else { 0 };
    class(shift).implies(wanted)
}

/// What the entries of named users and of groups say of a caller who is not the owner; `None` if none of them is his. Of
/// several groups one that lets him do it is enough.
fn by_entries(caller: &Caller, inode: &Inode, acl: &Acl, mask: Perm, wanted: Perm) -> Option<bool> {
    let mut found = None;
    for entry in acl.access() {
        let granted = entry.perm.and(mask).implies(wanted);
        let name = entry.key.name.as_ref();
        match entry.key.kind {
            AclKind::User if name.is_some_and(|name| *name == caller.user) => return Some(granted),
            AclKind::Group if caller.groups.contains(name.unwrap_or(&inode.group)) => {
                if granted {
                    return Some(true);
                }
                found = Some(false);
            }
            AclKind::User | AclKind::Group | AclKind::Mask | AclKind::Other => {}
        }
    }
    found
}

fn denied(message: String) -> FsError {
    FsError::new(ErrorCode::PermissionDenied, message)
}
