//! Real HDFS, by WebHDFS.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use dfs_e2e::wait;
use dfs_types::{CreateMode, FsPath, LimitChange, Mode, XattrSetFlag, checksum};
use serde_json::Value as Json;

use super::answer::{Node, RemoteException, State, Summary, Value};
use super::http::{Reply, request};
use super::operation::{AclWish, Operation, hexadecimal, written};

/// Time for a file to be closed after a truncation or by its writer.
const PATIENCE: Duration = Duration::from_mins(1);
/// In place of a quota: it stays as it is, or there is none.
const KEEP: &str = "9223372036854775807";
const CLEAR: &str = "-1";
/// No bytes in hexadecimal.
const NO_BYTES: &str = "0x";

type Answer<T> = Result<std::result::Result<T, RemoteException>>;
type Parameters<'a> = &'a [(&'a str, String)];

/// A NameNode of HDFS.
#[derive(Debug)]
pub(super) struct WebHdfs {
    /// Where its web server is: `http://HOST:PORT`.
    address: String,
    /// Who owns its root directory.
    pub(super) superuser: String,
}

fn taken(Reply { status, body }: Reply) -> Answer<Vec<u8>> {
    if status < 300 {
        return Ok(Ok(body));
    }
    let json: Json = serde_json::from_slice(&body)
        .with_context(|| format!("status {status}: {}", String::from_utf8_lossy(&body)))?;
    let text = |name: &str| Some(json["RemoteException"][name].as_str()?.to_owned());
    let class = text("exception").with_context(|| format!("no exception in {json}"))?;
    Ok(Err(RemoteException { class, message: text("message").unwrap_or_default() }))
}

fn number(json: &Json) -> Result<u64> {
    json.as_u64().with_context(|| format!("{json} is not a number"))
}

fn text(json: &Json) -> Result<String> {
    Ok(json.as_str().with_context(|| format!("{json} is not text"))?.to_owned())
}

fn array(json: &Json) -> Result<&[Json]> {
    Ok(json.as_array().with_context(|| format!("{json} is not a list"))?)
}

/// A quota, which is -1 if there is none.
fn quota(json: &Json) -> Result<Option<u64>> {
    Ok(u64::try_from(json.as_i64().with_context(|| format!("{json} is not a quota"))?).ok())
}

fn limit(change: LimitChange) -> String {
    match change {
        LimitChange::Keep => KEEP.to_owned(),
        LimitChange::Clear => CLEAR.to_owned(),
        LimitChange::Set(limit) => limit.to_string(),
    }
}

fn octal(mode: Mode) -> String {
    format!("{:o}", mode.bits())
}

/// Modes of something new.
fn modes(mode: CreateMode) -> Vec<(&'static str, String)> {
    let unmasked = mode.unmasked.map(|unmasked| ("unmaskedpermission", octal(unmasked)));
    [("permission", octal(mode.mode))].into_iter().chain(unmasked).collect()
}

impl WebHdfs {
    /// The NameNode at an address.
    pub(super) async fn connect(address: &str) -> Result<Self> {
        let mut this = Self { address: address.trim_end_matches('/').to_owned(), superuser: String::new() };
        let root = this.status("dr.who", "/").await?;
        this.superuser = text(&root["owner"])?;
        Ok(this)
    }

    /// Sends an operation. Nothing in these scripts has a character that a URL must not have.
    async fn call(
        &self,
        method: &str,
        user: &str,
        path: &str,
        op: &str,
        parameters: Parameters<'_>,
    ) -> Answer<Vec<u8>> {
        taken(request(method, &self.url(user, path, op, parameters), b"").await?)
    }

    fn url(&self, user: &str, path: &str, op: &str, parameters: Parameters<'_>) -> String {
        let Self { address, .. } = self;
        let start = format!("{address}/webhdfs/v1{path}?op={op}&user.name={user}");
        parameters.iter().fold(start, |url, (name, value)| format!("{url}&{name}={value}"))
    }

    /// Sends an operation of which a DataNode does the second part.
    async fn call_datanode(
        &self,
        method: &str,
        user: &str,
        path: &str,
        op: &str,
        parameters: Parameters<'_>,
        body: &[u8],
    ) -> Answer<Vec<u8>> {
        let parameters: Vec<_> =
            parameters.iter().cloned().chain([("noredirect", "true".to_owned())]).collect();
        let location = match self.call(method, user, path, op, &parameters).await? {
            Ok(answer) => text(&serde_json::from_slice::<Json>(&answer)?["Location"])?,
            Err(exception) => return Ok(Err(exception)),
        };
        taken(request(method, &location, body).await?)
    }

    /// What a superuser is told of a path.
    async fn ask(&self, path: &str, op: &str, parameters: Parameters<'_>) -> Result<Json> {
        match self.call("GET", &self.superuser, path, op, parameters).await? {
            Ok(answer) => Ok(serde_json::from_slice(&answer)?),
            Err(exception) => bail!("{op} of {path}: {exception:?}"),
        }
    }

    async fn status(&self, user: &str, path: &str) -> Result<Json> {
        match self.call("GET", user, path, "GETFILESTATUS", &[]).await? {
            Ok(answer) => Ok(serde_json::from_slice::<Json>(&answer)?["FileStatus"].clone()),
            Err(exception) => bail!("{path}: {exception:?}"),
        }
    }

    async fn is_open(&self, path: &FsPath) -> Result<bool> {
        let located = self.ask(path.as_str(), "GET_BLOCK_LOCATIONS", &[]).await?;
        located["LocatedBlocks"]["isUnderConstruction"].as_bool().with_context(|| format!("{located}"))
    }

    /// Waits until a file is closed.
    async fn wait_closed(&self, path: &FsPath) -> Result<()> {
        wait::until(&format!("{path} to be closed"), PATIENCE, || async {
            ensure!(!self.is_open(path).await?, "{path} is open");
            Ok(())
        })
        .await
    }

    /// Makes a directory that everybody may write; its group is that of the root directory.
    pub(super) async fn make_base(&self, base: &FsPath) -> Result<()> {
        let mode = CreateMode::from(Mode::truncate(0o777));
        let make = Operation::MakeDirectories { path: base.clone(), mode };
        match self.perform(&self.superuser, &make).await? {
            Ok(_) => Ok(()),
            Err(exception) => bail!("{base} can't be made: {exception:?}"),
        }
    }

    /// Removes a tree, which may be gone.
    pub(super) async fn remove(&self, path: &FsPath) -> Result<()> {
        let delete = Operation::Delete { path: path.clone(), recursive: true };
        match self.perform(&self.superuser, &delete).await? {
            Ok(_) => Ok(()),
            Err(exception) => bail!("{path} can't be removed: {exception:?}"),
        }
    }

    /// Does what an operation says.
    pub(super) async fn perform(&self, user: &str, operation: &Operation) -> Answer<Value> {
        match operation {
            Operation::Create { path, overwrite, mode, replication, chunk_size, content } => {
                let parameters: Vec<_> = [
                    ("overwrite", overwrite.to_string()),
                    ("replication", replication.to_string()),
                    ("blocksize", chunk_size.to_string()),
                ]
                .into_iter()
                .chain(modes(*mode))
                .collect();
                let made = self
                    .call_datanode("PUT", user, path.as_str(), "CREATE", &parameters, &written(*content))
                    .await?;
                Ok(made.map(|_| Value::Done))
            }
            Operation::Append { path, content } => {
                let made = self
                    .call_datanode("POST", user, path.as_str(), "APPEND", &[], &written(*content))
                    .await?;
                Ok(made.map(|_| Value::Done))
            }
            Operation::Read { path } => Ok(self
                .call_datanode("GET", user, path.as_str(), "OPEN", &[], b"")
                .await?
                .map(Value::Content)),
            Operation::Stat { path } => self.done("GET", user, path, "GETFILESTATUS", &[]).await,
            Operation::List { path } => self.names(user, path, "LISTSTATUS", &[]).await,
            Operation::Xattrs { path } => {
                self.names(user, path, "GETXATTRS", &[("encoding", "hex".to_owned())]).await
            }
            Operation::Delete { path, recursive } => {
                let parameters = [("recursive", recursive.to_string())];
                let deleted = self.call("DELETE", user, path.as_str(), "DELETE", &parameters).await?;
                Ok(match deleted {
                    Ok(answer) => Ok(Value::Existed(said_true(&answer)?)),
                    Err(exception) => Err(exception),
                })
            }
            Operation::Truncate { path, length } => {
                let parameters = [("newlength", length.to_string())];
                let truncated = self.done("POST", user, path, "TRUNCATE", &parameters).await?;
                if truncated.is_ok() {
                    self.wait_closed(path).await?;
                }
                Ok(truncated)
            }
            Operation::SetReplication { path, replication } => {
                let parameters = [("replication", replication.to_string())];
                let set = self.call("PUT", user, path.as_str(), "SETREPLICATION", &parameters).await?;
                Ok(match set {
                    // HDFS has no other way to say that there is no such file.
                    Ok(answer) if !said_true(&answer)? => Err(RemoteException {
                        class: "FileNotFoundException".to_owned(),
                        message: "SETREPLICATION answers false".to_owned(),
                    }),
                    other => other.map(|_| Value::Done),
                })
            }
            other => {
                let (method, path, op, parameters) = simple(other);
                self.done(method, user, path, op, &parameters).await
            }
        }
    }

    async fn done(
        &self,
        method: &str,
        user: &str,
        path: &FsPath,
        op: &str,
        parameters: Parameters<'_>,
    ) -> Answer<Value> {
        Ok(self.call(method, user, path.as_str(), op, parameters).await?.map(|_| Value::Done))
    }

    /// Names of entries or extended attributes.
    async fn names(&self, user: &str, path: &FsPath, op: &str, parameters: Parameters<'_>) -> Answer<Value> {
        let answer = match self.call("GET", user, path.as_str(), op, parameters).await? {
            Ok(answer) => serde_json::from_slice::<Json>(&answer)?,
            Err(exception) => return Ok(Err(exception)),
        };
        let (list, name) = match op {
            "LISTSTATUS" => (&answer["FileStatuses"]["FileStatus"], "pathSuffix"),
            _ => (&answer["XAttrs"], "name"),
        };
        Ok(Ok(Value::Names(array(list)?.iter().map(|entry| text(&entry[name])).collect::<Result<_>>()?)))
    }

    /// All below a directory.
    pub(super) async fn state(&self, base: &FsPath) -> Result<State> {
        let mut state = State::new();
        let mut waiting = vec![(base.to_string(), self.status(&self.superuser, base.as_str()).await?)];
        while let Some((path, status)) = waiting.pop() {
            let node = self.node(&path, &status).await?;
            if node.is_directory {
                let listed = self.ask(&path, "LISTSTATUS", &[]).await?;
                for entry in array(&listed["FileStatuses"]["FileStatus"])? {
                    waiting.push((format!("{path}/{}", text(&entry["pathSuffix"])?), entry.clone()));
                }
            }
            state.insert(path, node);
        }
        Ok(state)
    }

    async fn node(&self, path: &str, status: &Json) -> Result<Node> {
        let is_directory = status["type"] == "DIRECTORY";
        let acl = self.ask(path, "GETACLSTATUS", &[]).await?;
        let acl = array(&acl["AclStatus"]["entries"])?.iter().map(text).collect::<Result<_>>()?;
        let found = self.ask(path, "GETXATTRS", &[("encoding", "hex".to_owned())]).await?;
        let mut xattrs = BTreeMap::new();
        for xattr in array(&found["XAttrs"])? {
            // An empty value is none in JSON.
            let value = xattr["value"].as_str().unwrap_or(NO_BYTES);
            xattrs.insert(text(&xattr["name"])?, value.to_owned());
        }
        let (summary, checksum) = if is_directory {
            (Some(self.summary(path).await?), None)
        } else {
            (None, Some(self.checksum(path).await?))
        };
        Ok(Node {
            is_directory,
            owner: text(&status["owner"])?,
            group: text(&status["group"])?,
            mode: text(&status["permission"])?,
            length: number(&status["length"])?,
            replication: number(&status["replication"])?,
            chunk_size: number(&status["blockSize"])?,
            mtime: number(&status["modificationTime"])?.into(),
            atime: if is_directory { None } else { Some(number(&status["accessTime"])?.into()) },
            has_acl: status["aclBit"] == true,
            acl,
            xattrs,
            summary,
            checksum,
        })
    }

    async fn summary(&self, path: &str) -> Result<Summary> {
        let sums = self.ask(path, "GETCONTENTSUMMARY", &[]).await?;
        let sums = &sums["ContentSummary"];
        Ok(Summary {
            files: number(&sums["fileCount"])?,
            directories: number(&sums["directoryCount"])?,
            length: number(&sums["length"])?,
            space: number(&sums["spaceConsumed"])?,
            names_quota: quota(&sums["quota"])?,
            space_quota: quota(&sums["spaceQuota"])?,
        })
    }

    /// Of all bytes, which are read: HDFS's own by WebHDFS depends on blocks.
    async fn checksum(&self, path: &str) -> Result<String> {
        match self.call_datanode("GET", &self.superuser, path, "OPEN", &[], b"").await? {
            Ok(content) => Ok(format!("{:08x}", checksum::crc32c(&content))),
            Err(exception) => bail!("{path} can't be read: {exception:?}"),
        }
    }
}

fn said_true(answer: &[u8]) -> Result<bool> {
    let json: Json = serde_json::from_slice(answer)?;
    json["boolean"].as_bool().with_context(|| format!("{json} is neither true nor false"))
}

type Request<'a> = (&'static str, &'a FsPath, &'static str, Vec<(&'static str, String)>);

/// How those operations are said that one request to the NameNode does.
fn simple(operation: &Operation) -> Request<'_> {
    match operation {
        Operation::MakeDirectories { path, mode } => ("PUT", path, "MKDIRS", modes(*mode)),
        Operation::Concat { target, sources } => {
            let sources: Vec<&str> = sources.iter().map(FsPath::as_str).collect();
            ("POST", target, "CONCAT", vec![("sources", sources.join(","))])
        }
        Operation::Rename { from, to, overwrite } => {
            let options = if *overwrite { "OVERWRITE" } else { "NONE" };
            let parameters = vec![("destination", to.to_string()), ("renameoptions", options.to_owned())];
            ("PUT", from, "RENAME", parameters)
        }
        Operation::SetMode { path, mode } => {
            ("PUT", path, "SETPERMISSION", vec![("permission", octal(*mode))])
        }
        Operation::SetOwner { path, owner, group } => {
            let said = |name, value: Option<&str>| value.map(|value| (name, value.to_owned()));
            (
                "PUT",
                path,
                "SETOWNER",
                said("owner", *owner).into_iter().chain(said("group", *group)).collect(),
            )
        }
        Operation::SetTimes { path, mtime, atime } => {
            let time = |time: Option<u64>| time.map_or_else(|| "-1".to_owned(), |time| time.to_string());
            let parameters = vec![("modificationtime", time(*mtime)), ("accesstime", time(*atime))];
            ("PUT", path, "SETTIMES", parameters)
        }
        Operation::ChangeAcl { path, wish } => {
            let spec = |entries: &String| vec![("aclspec", entries.clone())];
            match wish {
                AclWish::Set(entries) => ("PUT", path, "SETACL", spec(entries)),
                AclWish::Modify(entries) => ("PUT", path, "MODIFYACLENTRIES", spec(entries)),
                AclWish::RemoveEntries(keys) => {
                    let keys = keys.split(',').map(|key| format!("{key}:")).collect::<Vec<_>>().join(",");
                    ("PUT", path, "REMOVEACLENTRIES", spec(&keys))
                }
                AclWish::Remove => ("PUT", path, "REMOVEACL", Vec::new()),
                AclWish::RemoveDefault => ("PUT", path, "REMOVEDEFAULTACL", Vec::new()),
            }
        }
        Operation::SetXattr { path, name, value, flag } => {
            let flag = match flag {
                XattrSetFlag::CreateOrReplace => "CREATE,REPLACE",
                XattrSetFlag::Create => "CREATE",
                XattrSetFlag::Replace => "REPLACE",
            };
            let parameters = vec![
                ("xattr.name", (*name).to_owned()),
                ("xattr.value", hexadecimal(value)),
                ("flag", flag.to_owned()),
            ];
            ("PUT", path, "SETXATTR", parameters)
        }
        Operation::RemoveXattr { path, name } => {
            ("PUT", path, "REMOVEXATTR", vec![("xattr.name", (*name).to_owned())])
        }
        Operation::SetQuota { path, names, space } => {
            let parameters = vec![("namespacequota", limit(*names)), ("storagespacequota", limit(*space))];
            ("PUT", path, "SETQUOTA", parameters)
        }
        Operation::Create { .. }
        | Operation::Append { .. }
        | Operation::Truncate { .. }
        | Operation::Delete { .. }
        | Operation::SetReplication { .. }
        | Operation::Stat { .. }
        | Operation::List { .. }
        | Operation::Read { .. }
        | Operation::Xattrs { .. } => unreachable!("these are done otherwise"),
    }
}
