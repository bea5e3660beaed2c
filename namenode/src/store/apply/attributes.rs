//! Edits of ACLs and extended attributes.

use dfs_types::limits::MAX_XATTRS;
use dfs_types::{Acl, AclChange, ErrorCode, FsError, FsPath, FsResult, Xattr, XattrName, XattrSetFlag};

use super::Step;
use crate::store::edit::Outcome;
use crate::store::format::encode_acl;
use crate::store::inode::Extras;
use crate::store::stop::Stop;
use crate::store::xattr;

impl Step<'_, '_> {
    pub(super) fn change_acl(&mut self, path: &FsPath, change: &AclChange) -> Result<Outcome, Stop> {
        let found = self.resolve(path)?;
        let inode = found.existing()?;
        self.authority.check_owner(inode, found.place())?;
        let (mode, acl) = change.apply(inode.mode, inode.acl.as_deref(), inode.is_directory())?;
        let stored = acl.as_ref().map(stored_acl).transpose()?;
        self.view.forget(inode);
        self.write(
            "UPDATE inode SET mode = ?3, acl = ?4 WHERE parent = ?1 AND name = ?2",
            (inode.parent.0 as i64, &inode.name, mode.bits(), stored),
        )?;
        Ok(Outcome::Done)
    }

    pub(super) fn set_xattr(
        &mut self,
        path: &FsPath,
        xattr: &Xattr,
        flag: XattrSetFlag,
    ) -> Result<Outcome, Stop> {
        xattr.check()?;
        let name = &xattr.name;
        self.authority.check_xattr(name)?;
        let found = self.resolve(path)?;
        let inode = found.existing()?;
        self.authority.check_setting_xattr(inode, name, found.place())?;
        let present = xattr::names(self.connection, inode)?;
        let exists = present.contains(name);
        check_flag(path, name, flag, exists)?;
        if !exists && present.len() >= MAX_XATTRS {
            return Err(FsError::invalid(format!(
                "{path} has {MAX_XATTRS} XAttrs already, which is the limit: remove one first"
            ))
            .into());
        }
        self.write(
            "INSERT OR REPLACE INTO xattr (inode, space, name, value) VALUES (?1, ?2, ?3, ?4)",
            (inode.id.0 as i64, xattr::space_number(name.space()), name.name(), &xattr.value),
        )?;
        self.set_extras(inode, inode.extras.with(Extras::XATTRS, true))?;
        Ok(Outcome::Done)
    }

    pub(super) fn remove_xattr(&mut self, path: &FsPath, name: &XattrName) -> Result<Outcome, Stop> {
        self.authority.check_xattr(name)?;
        let found = self.resolve(path)?;
        let inode = found.existing()?;
        self.authority.check_setting_xattr(inode, name, found.place())?;
        let present = xattr::names(self.connection, inode)?;
        if !present.contains(name) {
            return Err(xattr::absent(path, name).into());
        }
        self.write(
            "DELETE FROM xattr WHERE inode = ?1 AND space = ?2 AND name = ?3",
            (inode.id.0 as i64, xattr::space_number(name.space()), name.name()),
        )?;
        self.set_extras(inode, inode.extras.with(Extras::XATTRS, present.len() > 1))?;
        Ok(Outcome::Done)
    }
}

/// An ACL as the database has it.
pub(super) fn stored_acl(acl: &Acl) -> FsResult<Vec<u8>> {
    // An ACL's limits are far below an envelope's.
    encode_acl(acl).map_err(|error| FsError::internal(error.to_string()))
}

fn check_flag(path: &FsPath, name: &XattrName, flag: XattrSetFlag, exists: bool) -> FsResult<()> {
    match flag {
        XattrSetFlag::Create if exists => Err(FsError::new(
            ErrorCode::AlreadyExists,
            format!("{path} has the XAttr {name} already: ask for it to be replaced"),
        )),
        XattrSetFlag::Replace if !exists => Err(xattr::absent(path, name)),
        XattrSetFlag::CreateOrReplace | XattrSetFlag::Create | XattrSetFlag::Replace => Ok(()),
    }
}
