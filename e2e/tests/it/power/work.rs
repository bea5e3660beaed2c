//! A client that writes, and keeps account of what was acknowledged.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::{Result, ensure};
use bytes::Bytes;
use dfs_client::{CreateOptions, Dfs, FileWriter};
use dfs_e2e::{content, wait};
use dfs_types::{ErrorCode, FsPath, Mode};
use futures_util::TryStreamExt;
use futures_util::future::try_join_all;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::io::AsyncReadExt;
use tokio::sync::watch;

use super::PATIENCE;

/// So that a file of some megabytes has several chunks.
const CHUNK: u64 = 1 << 20;
/// Longest file, in bytes.
const LONGEST: usize = 5 << 19;
/// Most files that a client holds open.
const MAX_OPEN: usize = 3;

/// What a file's bytes are made from, and how many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Content {
    seed: u64,
    length: usize,
}

impl Content {
    fn bytes(self) -> Bytes {
        content::bytes(self.seed, self.length).into()
    }
}

/// What one client knows.
#[derive(Debug)]
pub(super) struct Account {
    root: FsPath,
    /// Closed, with all of these bytes.
    closed: BTreeMap<FsPath, Content>,
    /// Synced and never closed, as far as anyone knows: begins with so many bytes of the content.
    synced: BTreeMap<FsPath, (Content, usize)>,
    /// Deleted.
    gone: BTreeSet<FsPath>,
    /// Under one of two names, as the answer to a rename never came.
    moving: Vec<(FsPath, FsPath, Content)>,
    /// Operations that succeeded, and that did not.
    pub(super) done: u64,
    pub(super) failed: u64,
}

struct Client {
    dfs: Dfs,
    random: SmallRng,
    account: Account,
    open: VecDeque<FileWriter>,
    number: u64,
}

fn options() -> CreateOptions {
    CreateOptions { chunk_size: Some(CHUNK), ..CreateOptions::default() }
}

/// Works below a directory of its own until told to stop.
pub(super) async fn work(
    dfs: Dfs,
    name: &str,
    seed: u64,
    mut stop: watch::Receiver<bool>,
) -> Result<Account> {
    let root = FsPath::parse(name)?;
    dfs.mkdir(&root, Mode::DIRECTORY).await?;
    let account = Account {
        root,
        closed: BTreeMap::new(),
        synced: BTreeMap::new(),
        gone: BTreeSet::new(),
        moving: Vec::new(),
        done: 0,
        failed: 0,
    };
    let random = SmallRng::seed_from_u64(seed);
    let mut client = Client { dfs, random, account, open: VecDeque::new(), number: 0 };
    while !*stop.borrow_and_update() {
        if client.step().await? {
            client.account.done += 1;
        } else {
            client.account.failed += 1;
        }
    }
    Ok(client.account)
}

impl Client {
    fn fresh(&mut self) -> Result<(FsPath, Content)> {
        self.number += 1;
        let content = Content { seed: self.random.random(), length: self.random.random_range(1..LONGEST) };
        Ok((self.account.root.join(&format!("f{}", self.number))?, content))
    }

    fn pick(&mut self) -> Option<(FsPath, Content)> {
        let count = self.account.closed.len();
        let index = (count > 0).then(|| self.random.random_range(0..count))?;
        self.account.closed.iter().nth(index).map(|(path, content)| (path.clone(), *content))
    }

    /// One operation; whether it succeeded. An error is one that no fault excuses.
    async fn step(&mut self) -> Result<bool> {
        match (self.random.random_range(0..12), self.pick()) {
            (0..=2, Some((path, content))) => self.read(&path, content).await,
            (3, Some((path, content))) => self.rename(path, content).await,
            (4, Some((path, _))) => Ok(self.delete(path).await),
            (5..=7, _) => self.write_synced().await,
            _ => self.put().await,
        }
    }

    async fn put(&mut self) -> Result<bool> {
        let (path, content) = self.fresh()?;
        let dfs = self.dfs.clone();
        let written = async {
            let mut writer = dfs.create(&path, options()).await?;
            writer.write_bytes(content.bytes()).await?;
            writer.close().await
        };
        let closed = written.await.is_ok();
        if closed {
            self.account.closed.insert(path, content);
        }
        Ok(closed)
    }

    /// Writes a file and syncs it once or twice on the way; then it is closed, or stays open for a while and is given
    /// up, as if its client had lost power too.
    async fn write_synced(&mut self) -> Result<bool> {
        let (path, content) = self.fresh()?;
        let bytes = content.bytes();
        let Ok(mut writer) = self.dfs.create(&path, options()).await else { return Ok(false) };
        let mut synced = 0;
        for _ in 0..self.random.random_range(1..=2) {
            let end = self.random.random_range(synced..=content.length);
            let step = async {
                writer.write_bytes(bytes.slice(synced..end)).await?;
                writer.hsync().await
            };
            if step.await.is_err() {
                return Ok(false);
            }
            synced = end;
            self.account.synced.insert(path.clone(), (content, synced));
        }
        if writer.write_bytes(bytes.slice(synced..)).await.is_err() {
            return Ok(false);
        }
        if self.random.random_bool(0.5) {
            let closed = writer.close().await.is_ok();
            if closed {
                self.account.synced.remove(&path);
                self.account.closed.insert(path, content);
            }
            return Ok(closed);
        }
        self.open.push_back(writer);
        if self.open.len() > MAX_OPEN {
            self.open.pop_front();
        }
        Ok(true)
    }

    async fn read(&mut self, path: &FsPath, content: Content) -> Result<bool> {
        match read(&self.dfs, path).await {
            Ok(found) => {
                ensure!(found == content.bytes(), "{path} was read with other bytes than were written");
                Ok(true)
            }
            Err(_) => Ok(false),
        }
    }

    async fn rename(&mut self, path: FsPath, content: Content) -> Result<bool> {
        let (to, _) = self.fresh()?;
        let renamed = self.dfs.rename(&path, &to, false).await.is_ok();
        self.account.closed.remove(&path);
        if renamed {
            self.account.gone.insert(path);
            self.account.closed.insert(to, content);
        } else {
            self.account.moving.push((path, to, content));
        }
        Ok(renamed)
    }

    async fn delete(&mut self, path: FsPath) -> bool {
        let deleted = self.dfs.delete(&path, false).await.is_ok();
        // Without an answer it may be there or not.
        self.account.closed.remove(&path);
        if deleted {
            self.account.gone.insert(path);
        }
        deleted
    }
}

async fn read(dfs: &Dfs, path: &FsPath) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    dfs.open(path).await?.read_to_end(&mut data).await?;
    Ok(data)
}

/// What the NameNode knows of a file's chunks, in words.
async fn chunks(dfs: &Dfs, path: &FsPath) -> Result<String> {
    let found: Vec<_> = dfs.fsck(path).await?.try_collect().await?;
    Ok(format!("{found:?}"))
}

impl Account {
    /// Compares what was acknowledged with what is there, now that everything runs.
    pub(super) async fn check(&self, dfs: &Dfs) -> Result<()> {
        for (path, content) in &self.closed {
            let found = wait::until("an acknowledged file is read", PATIENCE, || read(dfs, path)).await?;
            ensure!(found == content.bytes(), "{path} has other bytes than were acknowledged");
        }
        // Each waits for a recovery of its own.
        let synced = self.synced.iter();
        try_join_all(synced.map(|(path, (content, synced))| check_synced(dfs, path, *content, *synced)))
            .await?;
        for (one, other, content) in &self.moving {
            let mut names = Vec::new();
            for path in [one, other] {
                if dfs.exists(path).await? {
                    names.push(path);
                }
            }
            ensure!(names.len() == 1, "a file that was being renamed from {one} to {other} is at {names:?}");
            ensure!(read(dfs, names[0]).await? == content.bytes(), "{one} changed while it was renamed");
        }
        let listed: BTreeSet<String> = dfs.list(&self.root).map_ok(|entry| entry.name).try_collect().await?;
        for path in &self.gone {
            let name = path.as_str().rsplit('/').next().unwrap_or_default();
            ensure!(!listed.contains(name), "{path} is back although its removal was acknowledged");
            let found = dfs.stat(path).await.err().map(|error| error.code);
            ensure!(
                found == Some(ErrorCode::NotFound),
                "{path} is not listed, and asked for it answers {found:?}"
            );
        }
        Ok(())
    }
}

/// A file whose writer is gone ends where it was synced at least. What readers could see of it and nobody had synced may be
/// gone for good: then it waits until that is accepted, which must not cost a synced byte.
async fn check_synced(dfs: &Dfs, path: &FsPath, content: Content, synced: usize) -> Result<()> {
    let what = format!("{path}, {synced} bytes of which were synced, is closed by lease recovery");
    wait::until(&what, PATIENCE, || async {
        let recovery = dfs.lease_recovery(path, false).await?;
        if !recovery.waiting.is_empty() {
            dfs.lease_recovery(path, true).await?;
        }
        ensure!(recovery.closed, "its lease is being recovered: {}", chunks(dfs, path).await?);
        anyhow::Ok(())
    })
    .await?;
    let what = format!("{path}, {synced} bytes of which were synced, is read");
    let found = wait::until(&what, PATIENCE, || read(dfs, path)).await?;
    ensure!(found.len() >= synced, "{path} has {} bytes, but {synced} were synced", found.len());
    ensure!(content.bytes().starts_with(&found), "{path} has other bytes than were written");
    Ok(())
}
