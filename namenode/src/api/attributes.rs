//! ACLs and extended attributes.

use dfs_types::limits::MAX_XATTRS;
use dfs_types::{AclChange, AclStatus, Caller, FsError, FsPath, FsResult, Xattr, XattrName, XattrSetFlag};

use super::{Namenode, Origin};
use crate::store::edit::Edit;

impl Namenode {
    /// The ACL of a file or directory.
    pub async fn acl(&self, caller: &Caller, path: &FsPath) -> FsResult<AclStatus> {
        self.store.acl(caller, path).await
    }

    /// Changes an ACL.
    pub async fn change_acl(&self, origin: Origin, path: FsPath, change: AclChange) -> FsResult<()> {
        change.check()?;
        self.propose_done(origin, Edit::ChangeAcl { path, change }).await
    }

    /// Extended attributes of a file or directory: those of these names, or if there are none all that the caller may see.
    pub async fn xattrs(
        &self,
        caller: &Caller,
        path: &FsPath,
        names: Vec<XattrName>,
    ) -> FsResult<Vec<Xattr>> {
        if names.len() > MAX_XATTRS {
            return Err(FsError::invalid(format!(
                "{} XAttrs can't be asked for at once: name up to {MAX_XATTRS}",
                names.len()
            )));
        }
        self.store.xattrs(caller, path, names).await
    }

    /// Sets an extended attribute.
    pub async fn set_xattr(
        &self,
        origin: Origin,
        path: FsPath,
        xattr: Xattr,
        flag: XattrSetFlag,
    ) -> FsResult<()> {
        xattr.check()?;
        self.propose_done(origin, Edit::SetXattr { path, xattr, flag }).await
    }

    /// Removes an extended attribute.
    pub async fn remove_xattr(&self, origin: Origin, path: FsPath, name: XattrName) -> FsResult<()> {
        self.propose_done(origin, Edit::RemoveXattr { path, name }).await
    }
}
