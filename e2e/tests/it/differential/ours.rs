//! A cluster of ours, by the client library.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use dfs_client::{AppendOptions, Builder, CreateOptions, Dfs, FileWriter};
use dfs_local::{Options, TestCluster};
use dfs_types::names::SUPERGROUP;
use dfs_types::{
    Acl, AclChange, AclEntry, AclKey, ErrorCode, FileStatus, FsPath, FsResult, Millis, Mode, Xattr,
};
use futures_util::TryStreamExt as _;

use super::answer::{Node, State, Summary, Value};
use super::operation::{AclWish, Operation, USERS, hexadecimal, written};

/// A cluster of ours with its users.
#[derive(Debug)]
pub(super) struct Ours {
    _cluster: TestCluster,
    superuser: Dfs,
    /// The superuser's.
    name: String,
    users: Vec<Dfs>,
}

fn names<T>(of: impl IntoIterator<Item = T>, name: impl Fn(T) -> String) -> Value {
    Value::Names(of.into_iter().map(name).collect())
}

impl Ours {
    /// Starts a cluster with this superuser.
    pub(super) async fn start(superuser: &str) -> Result<Self> {
        let namenode_args = ["--superuser", superuser, "--min-replicas", "1"].map(str::to_owned).to_vec();
        let cluster =
            TestCluster::start(Options { datanodes: 1, namenode_args, ..Options::default() }).await?;
        let addresses = cluster.namenode_addresses().await?;
        let client = |name: &str, groups: &[&str]| {
            let groups = groups.iter().map(|group| (*group).to_owned()).collect();
            let builder = Dfs::builder().user(name).groups(groups);
            addresses.iter().fold(builder, Builder::namenode).connect()
        };
        let mut users = Vec::new();
        for user in USERS {
            users.push(client(user.name, user.groups).await?);
        }
        Ok(Self {
            superuser: client(superuser, &[SUPERGROUP]).await?,
            users,
            name: superuser.to_owned(),
            _cluster: cluster,
        })
    }

    /// Makes a directory that everybody may write.
    pub(super) async fn make_base(&self, base: &FsPath) -> Result<()> {
        self.superuser.mkdir(base, Mode::truncate(0o777)).await?;
        Ok(self.superuser.set_owner(base, Some(&self.name), Some(SUPERGROUP)).await?)
    }

    fn client(&self, user: Option<usize>) -> &Dfs {
        user.and_then(|user| self.users.get(user)).unwrap_or(&self.superuser)
    }

    /// Whether what HDFS makes of a step is meant to be other than what this cluster does: WebHDFS makes missing directories above
    /// a file, and gives them other modes, and who may set times is not the same.
    pub(super) async fn is_left_out(&self, user: Option<usize>, operation: &Operation) -> Result<bool> {
        let path = match operation {
            Operation::SetTimes { .. } => return Ok(user.is_some()),
            Operation::Create { path, .. } => path,
            _ => return Ok(false),
        };
        match self.superuser.stat(&path.parent().unwrap_or_else(FsPath::root)).await {
            Err(error) if error.code == ErrorCode::NotFound => Ok(true),
            Ok(_) => Ok(false),
            Err(error) if error.code == ErrorCode::NotADirectory => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes a tree, which may be gone.
    pub(super) async fn remove(&self, path: &FsPath) -> Result<()> {
        self.superuser.delete(path, true).await?;
        Ok(())
    }

    /// Does what an operation says.
    pub(super) async fn perform(&self, user: Option<usize>, operation: &Operation) -> FsResult<Value> {
        let dfs = self.client(user);
        match operation {
            Operation::MakeDirectories { path, mode } => {
                dfs.mkdir_all(path, *mode).await.map(|_| Value::Done)
            }
            Operation::Create { path, overwrite, mode, replication, chunk_size, content } => {
                let options = CreateOptions {
                    overwrite: *overwrite,
                    mode: *mode,
                    replication: Some(*replication),
                    chunk_size: Some(*chunk_size),
                    ..CreateOptions::default()
                };
                write(dfs.create(path, options).await?, *content).await
            }
            Operation::Append { path, content } => {
                write(dfs.append(path, AppendOptions::default()).await?, *content).await
            }
            Operation::Truncate { path, length } => done(dfs.truncate(path, *length).await),
            Operation::Concat { target, sources } => done(dfs.concat(target, sources).await),
            Operation::Rename { from, to, overwrite } => done(dfs.rename(from, to, *overwrite).await),
            Operation::Delete { path, recursive } => dfs.delete(path, *recursive).await.map(Value::Existed),
            Operation::SetMode { path, mode } => done(dfs.set_mode(path, *mode).await),
            Operation::SetOwner { path, owner, group } => done(dfs.set_owner(path, *owner, *group).await),
            Operation::SetReplication { path, replication } => {
                done(dfs.set_replication(path, *replication).await)
            }
            Operation::SetTimes { path, mtime, atime } => {
                done(dfs.set_times(path, mtime.map(Millis), atime.map(Millis)).await)
            }
            Operation::ChangeAcl { path, wish } => done(dfs.change_acl(path, change(wish)?).await),
            Operation::SetXattr { path, name, value, flag } => {
                let xattr = Xattr { name: name.parse()?, value: value.clone() };
                done(dfs.set_xattr(path, xattr, *flag).await)
            }
            Operation::RemoveXattr { path, name } => done(dfs.remove_xattr(path, &name.parse()?).await),
            Operation::SetQuota { path, names, space } => done(dfs.set_quota(path, *names, *space).await),
            Operation::Stat { path } => dfs.stat(path).await.map(|_| Value::Done),
            Operation::List { path } => {
                let (entries, _) = dfs.list_page(path, "", 0).await?;
                Ok(names(entries, |entry| entry.name))
            }
            Operation::Read { path } => {
                let content: Bytes = dfs.open(path).await?.read_all().await?;
                Ok(Value::Content(content.into()))
            }
            Operation::Xattrs { path } => {
                Ok(names(dfs.xattrs(path, &[]).await?, |xattr| xattr.name.to_string()))
            }
        }
    }

    /// All below a directory.
    pub(super) async fn state(&self, base: &FsPath) -> Result<State> {
        let mut state = State::new();
        let mut waiting = vec![(base.clone(), self.superuser.stat(base).await?)];
        while let Some((path, status)) = waiting.pop() {
            if status.is_directory() {
                let mut entries = std::pin::pin!(self.superuser.list(&path));
                while let Some(entry) = entries.try_next().await? {
                    waiting.push((path.join(&entry.name)?, entry.status));
                }
            }
            let node = self.node(&path, status).await.with_context(|| path.to_string())?;
            state.insert(path.to_string(), node);
        }
        Ok(state)
    }

    async fn node(&self, path: &FsPath, status: FileStatus) -> Result<Node> {
        let dfs = &self.superuser;
        let acl: BTreeSet<String> =
            dfs.acl(path).await?.acl.iter().flat_map(Acl::entries).map(ToString::to_string).collect();
        let xattrs = dfs.xattrs(path, &[]).await?;
        let xattrs = xattrs.iter().map(|xattr| (xattr.name.to_string(), hexadecimal(&xattr.value))).collect();
        let (summary, checksum) = if status.is_directory() {
            (Some(self.summary(path).await?), None)
        } else {
            (None, Some(format!("{:08x}", dfs.checksum(path).await?.crc32c)))
        };
        Ok(Node {
            is_directory: status.is_directory(),
            mode: format!("{:o}", status.mode.bits()),
            length: status.length,
            replication: status.replication.into(),
            chunk_size: status.chunk_size,
            mtime: status.mtime.0.into(),
            atime: (!status.is_directory()).then(|| status.atime.0.into()),
            has_acl: status.has_acl,
            acl,
            xattrs,
            summary,
            checksum,
            owner: status.owner,
            group: status.group,
        })
    }

    async fn summary(&self, path: &FsPath) -> Result<Summary> {
        let sums = self.superuser.content_summary(path).await?;
        Ok(Summary {
            files: sums.files,
            directories: sums.directories,
            length: sums.length,
            space: sums.space,
            names_quota: sums.quota.names,
            space_quota: sums.quota.space,
        })
    }
}

fn done(result: FsResult<()>) -> FsResult<Value> {
    result.map(|()| Value::Done)
}

async fn write(mut writer: FileWriter, length: usize) -> FsResult<Value> {
    writer.write_bytes(written(length).into()).await?;
    writer.close().await.map(|_| Value::Done)
}

fn change(wish: &AclWish) -> FsResult<AclChange> {
    Ok(match wish {
        AclWish::Set(entries) => AclChange::Set(AclEntry::parse_list(entries)?),
        AclWish::Modify(entries) => AclChange::Modify(AclEntry::parse_list(entries)?),
        AclWish::RemoveEntries(keys) => AclChange::RemoveEntries(AclKey::parse_list(keys)?),
        AclWish::Remove => AclChange::Remove,
        AclWish::RemoveDefault => AclChange::RemoveDefault,
    })
}
