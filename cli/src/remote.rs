//! Looking around in the cluster: statuses, patterns, trees.

use std::collections::BTreeMap;
use std::pin::pin;

use dfs_client::Dfs;
use dfs_types::{ErrorCode, FileStatus, FsPath};
use futures_util::TryStreamExt;

use crate::exit::{Failure, Failures, Outcome};
use crate::glob::{Expansion, Pattern, Reading, Tree};
use crate::remote_path::{RemotePath, not_a_directory};

impl Tree for Dfs {
    async fn status(&self, path: &FsPath) -> Outcome<Option<FileStatus>> {
        status(self, path).await
    }

    async fn entries(&self, path: &FsPath) -> Outcome<Vec<(String, FileStatus)>> {
        entries(self, path).await
    }
}

/// The status of a path, `None` if there is none.
pub(crate) async fn status(dfs: &Dfs, path: &FsPath) -> Outcome<Option<FileStatus>> {
    match dfs.stat(path).await {
        Ok(status) => Ok(Some(status)),
        // A path below a file does not exist either.
        Err(error) if matches!(error.code, ErrorCode::NotFound | ErrorCode::NotADirectory) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl RemotePath {
    /// The status of what is there, `None` if nothing is. A file where a directory was asked for is an error.
    pub(crate) async fn look(&self, dfs: &Dfs) -> Outcome<Option<FileStatus>> {
        let status = status(dfs, &self.path).await?;
        match &status {
            Some(status) if self.directory && !status.is_directory() => {
                Err(not_a_directory(&self.path).into())
            }
            Some(_) | None => Ok(status),
        }
    }
}

/// A directory's entries by name.
pub(crate) async fn entries(dfs: &Dfs, path: &FsPath) -> Outcome<Vec<(String, FileStatus)>> {
    let mut entries = pin!(dfs.list(path));
    let mut all = Vec::new();
    while let Some(entry) = entries.try_next().await? {
        all.push((entry.name, entry.status));
    }
    Ok(all)
}

/// What a path or pattern means; what it misses is noted as failures.
pub(crate) async fn expand(
    dfs: &Dfs,
    pattern: &Pattern,
    failures: &mut Failures,
) -> Outcome<BTreeMap<FsPath, FileStatus>> {
    let Expansion { found, missed } = failures.keep(pattern.expand(dfs).await)?.unwrap_or_default();
    for error in missed {
        failures.note(error.into())?;
    }
    Ok(found)
}

/// What several paths and patterns mean, all of which must be possible ones.
pub(crate) async fn expand_all(
    dfs: &Dfs,
    texts: &[String],
    reading: Reading,
    failures: &mut Failures,
) -> Outcome<Vec<(FsPath, FileStatus)>> {
    let mut all = Vec::new();
    for pattern in reading.patterns(texts)? {
        all.extend(expand(dfs, &pattern, failures).await?);
    }
    Ok(all)
}

/// Something that is to be copied or moved.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) path: FsPath,
    pub(crate) status: FileStatus,
    /// Its name in the directory it gets into; none if it was named as `/`, or by `.` or `..` at the end.
    pub(crate) name: Option<String>,
}

/// What several paths and patterns mean as sources, all of which must be possible ones.
pub(crate) async fn sources(
    dfs: &Dfs,
    texts: &[String],
    reading: Reading,
    failures: &mut Failures,
) -> Outcome<Vec<Source>> {
    let mut all = Vec::new();
    for pattern in reading.patterns(texts)? {
        let found = expand(dfs, &pattern, failures).await?;
        all.extend(found.into_iter().map(|(path, status)| {
            let name = path.name().filter(|_| !pattern.is_nameless()).map(str::to_owned);
            Source { path, status, name }
        }));
    }
    Ok(all)
}

/// What a path or pattern means that must stand for one thing only.
pub(crate) async fn one(dfs: &Dfs, text: &str, reading: Reading) -> Outcome<(FsPath, FileStatus)> {
    let Expansion { mut found, missed } = reading.pattern(text)?.expand(dfs).await?;
    if let Some(error) = missed.into_iter().next() {
        return Err(error.into());
    }
    match (found.pop_first(), found.len()) {
        (Some(one), 0) => Ok(one),
        (_, others) => {
            Err(Failure::Usage(format!("'{text}' stands for {} paths: name one of them", others + 1)))
        }
    }
}

/// Goes through a tree, each directory before what is in it, in the order of names.
///
/// Holds the entries of the directories on the way down, not the tree.
pub(crate) struct Walk {
    dfs: Dfs,
    stack: Vec<(FsPath, FileStatus)>,
    /// The directory that was handed out last, not yet listed.
    descend: Option<FsPath>,
}

impl Walk {
    /// Starts at `path`, which comes first.
    pub(crate) fn new(dfs: &Dfs, path: FsPath, status: FileStatus) -> Self {
        Self { dfs: dfs.clone(), stack: vec![(path, status)], descend: None }
    }

    /// The next entry; after an error the walk goes on beside the directory that could not be listed.
    pub(crate) async fn next(&mut self) -> Option<Outcome<(FsPath, FileStatus)>> {
        if let Some(directory) = self.descend.take()
            && let Err(failure) = self.push_entries(&directory).await
        {
            return Some(Err(failure));
        }
        let (path, status) = self.stack.pop()?;
        if status.is_directory() {
            self.descend = Some(path.clone());
        }
        Some(Ok((path, status)))
    }

    /// Does not go into the directory that came last.
    pub(crate) fn skip(&mut self) {
        self.descend = None;
    }

    async fn push_entries(&mut self, directory: &FsPath) -> Outcome {
        for (name, status) in entries(&self.dfs, directory).await?.into_iter().rev() {
            self.stack.push((directory.join(&name)?, status));
        }
        Ok(())
    }
}

/// The entries at and below `path` that `recursive` asks for, in order; for commands that change one after the other.
pub(crate) async fn for_each<F>(
    dfs: &Dfs,
    (path, status): (FsPath, FileStatus),
    recursive: bool,
    failures: &mut Failures,
    mut change: F,
) -> Outcome
where
    F: AsyncFnMut(&FsPath, &FileStatus) -> Outcome,
{
    if !recursive {
        let outcome = change(&path, &status).await;
        return failures.keep(outcome).map(drop);
    }
    let mut walk = Walk::new(dfs, path, status);
    while let Some(next) = walk.next().await {
        if let Some((path, status)) = failures.keep(next)? {
            let outcome = change(&path, &status).await;
            failures.keep(outcome)?;
        }
    }
    Ok(())
}
