//! The files that were acknowledged: what must be there, byte by byte, when all is over.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use dfs_client::{AppendOptions, CreateOptions, Dfs};
use dfs_e2e::content;
use dfs_types::{ErrorCode, FsError, FsPath, FsResult};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

/// Bytes of a chunk, so that small files have several.
pub const CHUNK: u64 = 256 << 10;
/// Files that are compared at the same time.
const READERS: usize = 4;

/// A file that was acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// What its content is made from.
    pub seed: u64,
    /// Its bytes.
    pub length: usize,
}

impl Kept {
    /// Its content.
    pub fn content(self) -> Bytes {
        content::bytes(self.seed, self.length).into()
    }
}

/// The files of one scenario.
#[derive(Debug, Default)]
pub struct Files {
    kept: Mutex<BTreeMap<FsPath, Kept>>,
}

/// Files and bytes that were compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Compared {
    /// Files.
    pub files: usize,
    /// Bytes.
    pub bytes: u64,
}

/// How the suite makes files: with small chunks, and directories where they are missing.
pub fn options() -> CreateOptions {
    CreateOptions { chunk_size: Some(CHUNK), parents: true, ..CreateOptions::default() }
}

async fn write(dfs: &Dfs, path: &FsPath, content: Bytes, options: CreateOptions) -> FsResult<()> {
    let mut writer = dfs.create(path, options).await?;
    writer.write_bytes(content).await?;
    writer.close().await?;
    Ok(())
}

impl Files {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<FsPath, Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them.
    pub fn all(&self) -> Vec<(FsPath, Kept)> {
        self.lock().iter().map(|(path, kept)| (path.clone(), *kept)).collect()
    }

    /// Writes a file; from when it is acknowledged on it must be there.
    pub async fn put(&self, dfs: &Dfs, path: &FsPath, kept: Kept, options: CreateOptions) -> FsResult<()> {
        write(dfs, path, kept.content(), options).await?;
        self.keep(path.clone(), kept);
        Ok(())
    }

    /// The same, in all ways in which a file gets its end: it is appended to, truncated, and gets the contents of another; and
    /// it is removed and comes back from the trash. While the cluster's level does not have them, it is written at once.
    pub async fn put_in_parts(
        &self,
        dfs: &Dfs,
        path: &FsPath,
        kept: Kept,
        options: CreateOptions,
    ) -> FsResult<()> {
        let content = kept.content();
        let third = content.len() / 3;
        write(dfs, path, content.slice(..third), options.clone()).await?;
        let mut writer = match dfs.append(path, AppendOptions::default()).await {
            Err(error) if error.code == ErrorCode::Unsupported => {
                return self.put(dfs, path, kept, CreateOptions { overwrite: true, ..options }).await;
            }
            opened => opened?,
        };
        writer.write_bytes(content.slice(third..)).await?;
        writer.close().await?;
        dfs.truncate(path, 2 * third as u64).await?;
        let rest =
            FsPath::parse(&format!("{path}.rest")).map_err(|error| FsError::invalid(error.to_string()))?;
        write(dfs, &rest, content.slice(2 * third..), options).await?;
        dfs.concat(path, &[rest]).await?;
        dfs.move_to_trash(path, false, None).await?;
        dfs.undelete(path).await?;
        self.keep(path.clone(), kept);
        Ok(())
    }

    /// Takes a file that was acknowledged.
    pub fn keep(&self, path: FsPath, kept: Kept) {
        self.lock().insert(path, kept);
    }

    /// Takes a file out: it is going to be deleted, or may be lost.
    pub fn let_go(&self, path: &FsPath) -> Option<Kept> {
        self.lock().remove(path)
    }

    /// Reads a file and compares every byte.
    pub async fn compare(dfs: &Dfs, path: &FsPath, kept: Kept) -> Result<()> {
        let found = dfs.open(path).await?.read_all().await?;
        let expected = kept.content();
        if found == expected {
            return Ok(());
        }
        let at = found.iter().zip(&expected).position(|(found, expected)| found != expected);
        ensure!(at.is_none(), "{path} has WRONG BYTES from byte {} on", at.unwrap_or_default());
        ensure!(found.len() == expected.len(), "{path} has {} bytes, not {}", found.len(), expected.len());
        Ok(())
    }

    /// Reads all files and compares every byte.
    pub async fn compare_all(&self, dfs: &Dfs) -> Result<Compared> {
        let reads = self.all().into_iter().map(|(path, kept)| async move {
            Self::compare(dfs, &path, kept).await.with_context(|| format!("reading {path}"))?;
            anyhow::Ok(kept.length as u64)
        });
        stream::iter(reads)
            .buffer_unordered(READERS)
            .try_fold(Compared::default(), async |sum, length| {
                Ok(Compared { files: sum.files + 1, bytes: sum.bytes + length })
            })
            .await
    }
}
