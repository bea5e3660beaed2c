//! Directories, names and attributes.

use dfs_types::limits::LIST_PAGE;
use dfs_types::{
    Caller, CreateMode, Defaults, FileStatus, FsError, FsPath, FsResult, InodeId, LimitChange, Millis, Mode,
};
use futures_util::stream::{self, StreamExt as _};

use super::{Namenode, Origin, reused_request};
use crate::store::edit::{ATTRIBUTES, Edit, Outcome, check_replication};

/// Parts of a tree that are removed before it is looked at again.
const PARTS: usize = 1_024;
/// Those that are removed at the same time: they share commits.
const CONCURRENT_PARTS: usize = 32;

impl Namenode {
    /// Cluster id and defaults.
    pub fn defaults(&self) -> Defaults {
        Defaults {
            cluster: self.cluster,
            chunk_size: self.settings.default_chunk_size,
            replication: self.settings.default_replication,
            min_replicas: self.settings.min_replicas,
            safe_mode: self.engine.safe_mode(),
        }
    }

    /// Attributes of a file or directory.
    pub async fn stat(&self, caller: &Caller, path: &FsPath) -> FsResult<FileStatus> {
        self.store.stat(caller, path).await
    }

    /// A page of a directory, ordered by name, beginning after `start_after`, and whether more follow. A file
    /// lists as itself with an empty name. `limit` 0 and those above the server's page mean the server's
    /// page.
    pub async fn list(
        &self,
        caller: &Caller,
        path: &FsPath,
        start_after: Option<&str>,
        limit: usize,
    ) -> FsResult<(Vec<(String, FileStatus)>, bool)> {
        let limit = if limit == 0 { LIST_PAGE } else { limit.min(LIST_PAGE) };
        self.store.list(caller, path, start_after.unwrap_or_default(), limit).await
    }

    /// Makes a directory; with `parents` also those above it, and then an existing one is fine.
    pub async fn mkdir(
        &self,
        origin: Origin,
        path: FsPath,
        mode: impl Into<CreateMode>,
        parents: bool,
    ) -> FsResult<FileStatus> {
        let mode = self.made_mode(mode.into());
        match self.propose(origin, Edit::Mkdir { path, mode, parents }).await? {
            Outcome::Status(status) => Ok(status),
            other => Err(reused_request(&other)),
        }
    }

    /// What the cluster's umask leaves of it, and its level can keep. A default ACL takes the place of the client's umask alone.
    pub(super) fn made_mode(&self, asked: CreateMode) -> CreateMode {
        let settings = self.cluster_settings();
        let (mode, unmasked) = (settings.masked(asked.mode), settings.masked(asked.unmasked()));
        let counts = unmasked != mode && self.store.level() >= ATTRIBUTES;
        CreateMode { mode, unmasked: counts.then_some(unmasked) }
    }

    /// Moves a file or directory; with `overwrite` an existing file or empty directory of the same kind gives
    /// way.
    pub async fn rename(&self, origin: Origin, from: FsPath, to: FsPath, overwrite: bool) -> FsResult<()> {
        self.propose_done(origin, Edit::Rename { from, to, overwrite }).await
    }

    /// Removes a file or directory; answers whether there was one. With `expected` only that inode is removed: where it
    /// is now, if the directory of `path` was moved meanwhile, but under no other name than the last of `path`.
    ///
    /// A tree goes at once, unless it has so many directories that looking at the caller's rights on them would hold others
    /// up: then all are looked at first, and the tree is taken away from below.
    pub async fn delete(
        &self,
        origin: Origin,
        path: FsPath,
        recursive: bool,
        expected: Option<InodeId>,
    ) -> FsResult<bool> {
        let path = match expected {
            Some(inode) => self.present_path(path, inode).await?,
            None => path,
        };
        let caller = origin.caller.clone();
        match self.propose(origin, Edit::Delete { path: path.clone(), recursive, expected }).await? {
            Outcome::Deleted(existed) => Ok(existed),
            Outcome::DeleteInParts => self.delete_in_parts(&caller, path, expected).await.map(|()| true),
            other => Err(reused_request(&other)),
        }
    }

    /// Removes the tree that begins with `expected`, or with what is at `path` now. Only the directories that were looked
    /// at are removed, and not what took their places since.
    pub(super) async fn delete_in_parts(
        &self,
        caller: &Caller,
        path: FsPath,
        expected: Option<InodeId>,
    ) -> FsResult<()> {
        let found = self.store.check_removal(caller, &path).await?;
        let Some(top) = expected.or(found) else { return Ok(()) };
        let mut todo = vec![(path, top)];
        while let Some(directory) = todo.pop() {
            if self.delete_part(caller, directory.clone()).await? {
                continue;
            }
            let (path, inode) = &directory;
            let parts = self.store.parts(caller, path, *inode, PARTS).await?;
            if parts.is_empty() {
                // Others may have emptied it meanwhile.
                if self.delete_part(caller, directory.clone()).await? {
                    continue;
                }
                return Err(FsError::invalid(format!(
                    "{path} has directories so deep that no path can name them: move them up, or let a superuser \
                     delete it"
                )));
            }
            todo.push(directory);
            let deleted: Vec<((FsPath, InodeId), FsResult<bool>)> = stream::iter(parts)
                .map(|part| async move { (part.clone(), self.delete_part(caller, part).await) })
                .buffer_unordered(CONCURRENT_PARTS)
                .collect()
                .await;
            for (part, deleted) in deleted {
                if !deleted? {
                    todo.push(part);
                }
            }
        }
        Ok(())
    }

    /// Removes a part of a tree, if it is still there; `false`: it is too large for one edit itself.
    async fn delete_part(&self, caller: &Caller, (path, inode): (FsPath, InodeId)) -> FsResult<bool> {
        let origin = Origin { request: None, caller: caller.clone() };
        let edit = Edit::Delete { path, recursive: true, expected: Some(inode) };
        match self.propose(origin, edit).await? {
            Outcome::Deleted(_) => Ok(true),
            Outcome::DeleteInParts => Ok(false),
            other => Err(reused_request(&other)),
        }
    }

    /// Where `inode`, which was at `path`, is after moves of the directories above it. What is not there any more under
    /// that name is answered with `path`.
    async fn present_path(&self, path: FsPath, inode: InodeId) -> FsResult<FsPath> {
        let now = self.store.path_of(inode).await?;
        Ok(now.filter(|now| now.name() == path.name()).unwrap_or(path))
    }

    /// Limits what the tree at a directory may take; for superusers.
    pub async fn set_quota(
        &self,
        origin: Origin,
        path: FsPath,
        names: LimitChange,
        space: LimitChange,
    ) -> FsResult<()> {
        self.propose_done(origin, Edit::SetQuota { path, names, space }).await
    }

    /// Sets how many replicas the file's chunks shall have.
    pub async fn set_replication(&self, origin: Origin, path: FsPath, replication: u32) -> FsResult<()> {
        check_replication(replication)?;
        self.propose_done(origin, Edit::SetReplication { path, replication }).await
    }

    /// Sets permission bits.
    pub async fn set_mode(&self, origin: Origin, path: FsPath, mode: Mode) -> FsResult<()> {
        self.propose_done(origin, Edit::SetMode { path, mode }).await
    }

    /// Sets owner and group, each only if given.
    pub async fn set_owner(
        &self,
        origin: Origin,
        path: FsPath,
        owner: Option<String>,
        group: Option<String>,
    ) -> FsResult<()> {
        for (what, name) in [("owner", &owner), ("group", &group)] {
            if let Some(name) = name {
                dfs_types::attributes::check_principal(what, name)?;
            }
        }
        self.propose_done(origin, Edit::SetOwner { path, owner, group }).await
    }

    /// Sets times (Unix), each only if given.
    pub async fn set_times(
        &self,
        origin: Origin,
        path: FsPath,
        mtime: Option<Millis>,
        atime: Option<Millis>,
    ) -> FsResult<()> {
        check_times([mtime, atime])?;
        self.propose_done(origin, Edit::SetTimes { path, mtime, atime }).await
    }

    /// Sets the times to the present one.
    pub async fn touch(&self, origin: Origin, path: FsPath) -> FsResult<()> {
        self.propose_done(origin, Edit::Touch { path }).await
    }

    /// Proposes a change that has nothing to tell.
    pub(super) async fn propose_done(&self, origin: Origin, edit: Edit) -> FsResult<()> {
        match self.propose(origin, edit).await? {
            Outcome::Done => Ok(()),
            other => Err(reused_request(&other)),
        }
    }
}

/// Checks times that somebody wants to be set.
pub(super) fn check_times(times: [Option<Millis>; 2]) -> FsResult<()> {
    match times.into_iter().flatten().find(|time| i64::try_from(time.0).is_err()) {
        Some(time) => Err(FsError::invalid(format!("the time {time} ms is out of range"))),
        None => Ok(()),
    }
}
