//! Files and directories: everything but their content.

use dfs_proto::convert::{file_status, incomplete, wire_limit_change};
use dfs_proto::v1;
use dfs_types::{
    AclChange, AclStatus, ContentSummary, CreateMode, Defaults, ErrorCode, FileStatus, FsPath, FsResult,
    FsStats, InodeId, LimitChange, Millis, Mode, Xattr, XattrName, XattrSetFlag,
};
use futures_util::stream::{self, Stream};

use crate::handle::Dfs;
use crate::namenode::NameNode;
use crate::retry::Patience;

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryEntry {
    /// Its name; empty when a file lists as itself.
    pub name: String,
    /// Its attributes.
    pub status: FileStatus,
}

pub(crate) fn status(status: Option<v1::FileStatus>) -> FsResult<FileStatus> {
    file_status(status.ok_or_else(|| incomplete("status"))?)
}

/// Asks the NameNode for [`Defaults`], and where it believes the NameNodes of its group to be.
pub(crate) async fn fetch_defaults(
    namenode: &NameNode,
    patience: Patience,
) -> FsResult<(Defaults, Vec<String>)> {
    let mut reply = namenode
        .namespace(
            patience,
            |mut client, _| async move { client.get_defaults(v1::GetDefaultsRequest {}).await },
        )
        .await?;
    let members = std::mem::take(&mut reply.namenodes);
    Ok((reply.try_into()?, members))
}

/// Sends one request of the namespace with its context and answers with the reply: the leader's, or, `looking`, that of
/// any NameNode if this client reads from followers.
macro_rules! ask {
    ($dfs:expr, $method:ident, $request:ident { $($field:ident : $value:expr),* $(,)? }) => {
        ask!(@namespace, $dfs, $method, $request { $($field : $value),* })
    };
    (looking $dfs:expr, $method:ident, $request:ident { $($field:ident : $value:expr),* $(,)? }) => {
        ask!(@look, $dfs, $method, $request { $($field : $value),* })
    };
    (@$way:ident, $dfs:expr, $method:ident, $request:ident { $($field:ident : $value:expr),* }) => {
        $dfs.inner.namenode.$way($dfs.inner.settings.call(), |mut client, context| {
            let request = v1::$request { context: Some(context), $($field: $value),* };
            async move { client.$method(request).await }
        })
    };
}
pub(crate) use ask;

impl Dfs {
    /// What the cluster is and uses by default.
    pub async fn defaults(&self) -> FsResult<Defaults> {
        Ok(fetch_defaults(&self.inner.namenode, self.inner.settings.call()).await?.0)
    }

    /// Attributes of a file or directory; `NotFound` if there is none.
    ///
    /// ```no_run
    /// # async fn example(dfs: dfs_client::Dfs) -> dfs_types::FsResult<()> {
    /// let status = dfs.stat(&dfs_types::FsPath::parse("/data")?).await?;
    /// println!("{} {} {}", status.mode, status.owner, status.length);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn stat(&self, path: &FsPath) -> FsResult<FileStatus> {
        status(ask!(looking self, stat, StatRequest { path: path.to_string() }).await?.status)
    }

    /// Whether there is a file or directory.
    pub async fn exists(&self, path: &FsPath) -> FsResult<bool> {
        match self.stat(path).await {
            Ok(_) => Ok(true),
            Err(error) if error.code == ErrorCode::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// One page of a directory, ordered by name: at most `limit` entries (0: the server's page) after the name
    /// `start_after` (empty: from the first). The flag says whether more follow. A file lists as itself.
    pub async fn list_page(
        &self,
        path: &FsPath,
        start_after: &str,
        limit: u32,
    ) -> FsResult<(Vec<DirectoryEntry>, bool)> {
        let request = ask!(
            looking self,
            list,
            ListRequest { path: path.to_string(), start_after: start_after.to_owned(), limit: limit }
        );
        let v1::ListReply { entries, more } = request.await?;
        let entries = entries
            .into_iter()
            .map(|entry| Ok(DirectoryEntry { name: entry.name, status: status(entry.status)? }))
            .collect::<FsResult<_>>()?;
        Ok((entries, more))
    }

    /// The entries of a directory, ordered by name, fetched page by page as they are taken.
    ///
    /// ```no_run
    /// # async fn example(dfs: dfs_client::Dfs) -> dfs_types::FsResult<()> {
    /// use futures_util::TryStreamExt as _;
    /// let mut entries = std::pin::pin!(dfs.list(&dfs_types::FsPath::root()));
    /// while let Some(entry) = entries.try_next().await? {
    ///     println!("{}", entry.name);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn list(&self, path: &FsPath) -> impl Stream<Item = FsResult<DirectoryEntry>> + Send + use<> {
        let start = (self.clone(), path.clone(), Vec::new().into_iter(), Some(String::new()));
        stream::try_unfold(start, |(dfs, path, mut page, mut next)| async move {
            loop {
                if let Some(entry) = page.next() {
                    return Ok(Some((entry, (dfs, path, page, next))));
                }
                let Some(start_after) = next.take() else { return Ok(None) };
                let (entries, more) = dfs.list_page(&path, &start_after, 0).await?;
                next = entries.last().filter(|_| more).map(|entry| entry.name.clone());
                page = entries.into_iter();
            }
        })
    }

    /// Makes one directory; its parent must exist and it must not.
    pub async fn mkdir(&self, path: &FsPath, mode: impl Into<CreateMode>) -> FsResult<FileStatus> {
        self.make_directory(path, mode.into(), false).await
    }

    /// Makes a directory and those above it that are missing; an existing one is fine.
    pub async fn mkdir_all(&self, path: &FsPath, mode: impl Into<CreateMode>) -> FsResult<FileStatus> {
        self.make_directory(path, mode.into(), true).await
    }

    async fn make_directory(&self, path: &FsPath, mode: CreateMode, parents: bool) -> FsResult<FileStatus> {
        let request = ask!(
            self,
            mkdir,
            MkdirRequest {
                path: path.to_string(),
                mode: mode.mode.bits(),
                parents: parents,
                unmasked: mode.unmasked.map(Mode::bits)
            }
        );
        status(request.await?.status)
    }

    /// Moves a file or directory; with `overwrite` an existing file or empty directory of the same kind gives way.
    pub async fn rename(&self, from: &FsPath, to: &FsPath, overwrite: bool) -> FsResult<()> {
        let request = ask!(
            self,
            rename,
            RenameRequest { from: from.to_string(), to: to.to_string(), overwrite: overwrite }
        );
        request.await.map(|v1::Empty {}| ())
    }

    /// Removes a file, or a directory, with everything below it if `recursive`. Answers whether there was one.
    pub async fn delete(&self, path: &FsPath, recursive: bool) -> FsResult<bool> {
        self.remove(path, recursive, 0).await
    }

    /// Removes the file `inode`, which was made at `path`: also where it is after a move of a directory above it, but
    /// nothing that has another name by now. Answers whether it was there.
    pub async fn delete_file(&self, path: &FsPath, inode: InodeId) -> FsResult<bool> {
        self.remove(path, false, inode.0).await
    }

    pub(crate) async fn remove(&self, path: &FsPath, recursive: bool, expected_inode: u64) -> FsResult<bool> {
        let request = ask!(
            self,
            delete,
            DeleteRequest { path: path.to_string(), recursive: recursive, expected_inode: expected_inode }
        );
        Ok(request.await?.existed)
    }

    /// Sets the replicas wanted of a file's chunks. They are copied or deleted in the background.
    pub async fn set_replication(&self, path: &FsPath, replication: u32) -> FsResult<()> {
        let request = ask!(
            self,
            set_replication,
            SetReplicationRequest { path: path.to_string(), replication: replication }
        );
        request.await.map(|v1::Empty {}| ())
    }

    /// Sets permission bits.
    pub async fn set_mode(&self, path: &FsPath, mode: Mode) -> FsResult<()> {
        let request = ask!(self, set_mode, SetModeRequest { path: path.to_string(), mode: mode.bits() });
        request.await.map(|v1::Empty {}| ())
    }

    /// Sets owner and group; `None` leaves one as it is.
    pub async fn set_owner(&self, path: &FsPath, owner: Option<&str>, group: Option<&str>) -> FsResult<()> {
        let request = ask!(
            self,
            set_owner,
            SetOwnerRequest {
                path: path.to_string(),
                owner: owner.map(str::to_owned),
                group: group.map(str::to_owned)
            }
        );
        request.await.map(|v1::Empty {}| ())
    }

    /// Sets the times of modification and access, which only the owner may; `None` leaves one as it is.
    pub async fn set_times(
        &self,
        path: &FsPath,
        mtime: Option<Millis>,
        atime: Option<Millis>,
    ) -> FsResult<()> {
        let request = ask!(
            self,
            set_times,
            SetTimesRequest {
                path: path.to_string(),
                mtime: mtime.map(|time| time.0),
                atime: atime.map(|time| time.0)
            }
        );
        request.await.map(|v1::Empty {}| ())
    }

    /// Sets the times of modification and access to the NameNode's present time; a directory has only the former.
    pub async fn touch(&self, path: &FsPath) -> FsResult<()> {
        ask!(self, touch, TouchRequest { path: path.to_string() }).await.map(|v1::Empty {}| ())
    }

    /// The ACL of a file or directory.
    pub async fn acl(&self, path: &FsPath) -> FsResult<AclStatus> {
        ask!(looking self, get_acl, GetAclRequest { path: path.to_string() }).await?.try_into()
    }

    /// Changes the ACL of a file or directory, which only the owner may.
    ///
    /// ```no_run
    /// # async fn example(dfs: dfs_client::Dfs) -> dfs_types::FsResult<()> {
    /// use dfs_types::{AclChange, AclEntry};
    /// let entries = AclEntry::parse_list("user:bob:r-x,default:user:bob:r-x")?;
    /// dfs.change_acl(&dfs_types::FsPath::parse("/shared")?, AclChange::Modify(entries)).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub async fn change_acl(&self, path: &FsPath, change: AclChange) -> FsResult<()> {
        let request = ask!(
            self,
            change_acl,
            ChangeAclRequest { path: path.to_string(), change: Some(change.clone().into()) }
        );
        request.await.map(|v1::Empty {}| ())
    }

    /// Extended attributes of a file or directory, in the order of their names: those of `names`, all of which must be there,
    /// or if there are none all that the user may see.
    pub async fn xattrs(&self, path: &FsPath, names: &[XattrName]) -> FsResult<Vec<Xattr>> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let request = ask!(
            looking self,
            get_xattrs,
            GetXattrsRequest { path: path.to_string(), names: names.clone() }
        );
        request.await?.xattrs.into_iter().map(TryInto::try_into).collect()
    }

    /// Sets an extended attribute of a file or directory.
    pub async fn set_xattr(&self, path: &FsPath, xattr: Xattr, flag: XattrSetFlag) -> FsResult<()> {
        let request = ask!(
            self,
            set_xattr,
            SetXattrRequest {
                path: path.to_string(),
                xattr: Some(xattr.clone().into()),
                flag: v1::XattrSetFlag::from(flag).into()
            }
        );
        request.await.map(|v1::Empty {}| ())
    }

    /// Removes an extended attribute, which must be there.
    pub async fn remove_xattr(&self, path: &FsPath, name: &XattrName) -> FsResult<()> {
        let request =
            ask!(self, remove_xattr, RemoveXattrRequest { path: path.to_string(), name: name.to_string() });
        request.await.map(|v1::Empty {}| ())
    }

    /// Takes everything after the first `length` bytes from a closed file; more than it has are refused.
    pub async fn truncate(&self, path: &FsPath, length: u64) -> FsResult<()> {
        let request = ask!(self, truncate, TruncateRequest { path: path.to_string(), length: length });
        request.await.map(|v1::Empty {}| ())
    }

    /// Moves the contents of closed files to the end of another one in the same directory, in order, without copying a byte;
    /// the files that had them are gone then.
    pub async fn concat(&self, target: &FsPath, sources: &[FsPath]) -> FsResult<()> {
        let sources: Vec<String> = sources.iter().map(ToString::to_string).collect();
        let request =
            ask!(self, concat, ConcatRequest { target: target.to_string(), sources: sources.clone() });
        request.await.map(|v1::Empty {}| ())
    }

    /// Limits what the tree at a directory may take; for superusers. What is there already stays, even if it is more.
    pub async fn set_quota(&self, path: &FsPath, names: LimitChange, space: LimitChange) -> FsResult<()> {
        let request = ask!(
            self,
            set_quota,
            SetQuotaRequest {
                path: path.to_string(),
                names: wire_limit_change(names),
                space: wire_limit_change(space),
            }
        );
        request.await.map(|v1::Empty {}| ())
    }

    /// Sums over a tree, and the quota of its top.
    pub async fn content_summary(&self, path: &FsPath) -> FsResult<ContentSummary> {
        let reply =
            ask!(looking self, content_summary, ContentSummaryRequest { path: path.to_string() }).await?;
        Ok(reply.into())
    }

    /// Space and health of the whole file system.
    pub async fn fs_stats(&self) -> FsResult<FsStats> {
        Ok(ask!(looking self, fs_stats, FsStatsRequest {}).await?.into())
    }

    /// Closes a file whose writer is gone, taking its lease. `false`: recovery is under way, ask again.
    pub async fn recover_lease(&self, path: &FsPath) -> FsResult<bool> {
        Ok(self.lease_recovery(path, false).await?.closed)
    }
}
