//! Where a copy goes: to a new name, or into a directory under the source's name.

use dfs_client::Dfs;
use dfs_types::{ErrorCode, FileStatus, FsError, FsPath};

use crate::exit::{Failure, Outcome};
use crate::glob::remote_path;
use crate::remote;

/// A remote target as `cp` understands it.
#[derive(Debug)]
pub(crate) enum RemoteTarget {
    /// An existing directory: sources keep their names in it.
    Into(FsPath),
    /// A name for the one source; with its status if it exists (a file).
    As(FsPath, Option<FileStatus>),
}

impl RemoteTarget {
    /// Looks what is at `text`. With `several` sources it must be a directory.
    pub(crate) async fn look(dfs: &Dfs, text: &str, several: bool) -> Outcome<Self> {
        let path = remote_path(text)?;
        let status = remote::status(dfs, &path).await?;
        if status.as_ref().is_some_and(FileStatus::is_directory) {
            return Ok(Self::Into(path));
        }
        if several || (text.ends_with('/') && text.len() > 1) {
            let (code, why) = match status {
                None => (ErrorCode::NotFound, "does not exist: make it with 'dfs mkdir -p'"),
                Some(_) => (ErrorCode::NotADirectory, "is a file, not a directory"),
            };
            return Err(FsError::new(code, format!("the target {path} {why}")).into());
        }
        Ok(Self::As(path, status))
    }

    /// The path for a source of this name.
    pub(crate) fn path_for(&self, name: Option<&str>) -> Outcome<FsPath> {
        match (self, name) {
            (Self::As(path, _), _) => Ok(path.clone()),
            (Self::Into(directory), Some(name)) => Ok(directory.join(name)?),
            (Self::Into(directory), None) => Err(Failure::Usage(format!(
                "the source has no name to get in {directory}: name the target in full"
            ))),
        }
    }
}

/// The error for a file that is there already.
pub(crate) fn exists_already(path: &impl std::fmt::Display) -> Failure {
    FsError::new(ErrorCode::AlreadyExists, format!("{path} exists: add -f to replace it")).into()
}
