//! Where a copy goes: to a new name, or into a directory under the source's name.

use dfs_client::Dfs;
use dfs_types::{ErrorCode, FsError, FsPath};

use crate::exit::{Failure, Outcome};
use crate::remote_path::RemotePath;

/// A remote target as `cp` understands it.
#[derive(Debug)]
pub(crate) enum RemoteTarget {
    /// An existing directory: sources keep their names in it.
    Into(FsPath),
    /// A directory that is to be made, as several sources go there.
    New(FsPath),
    /// A directory that is to be made, as a slash follows its name: a file goes into it, a directory becomes it.
    NewSlash(FsPath),
    /// A name for the one source.
    As {
        path: FsPath,
        /// A file has it.
        exists: bool,
    },
}

impl RemoteTarget {
    /// Looks what is at `text`. With `several` sources it must be a directory, or nothing yet.
    pub(crate) async fn look(dfs: &Dfs, text: &str, several: bool) -> Outcome<Self> {
        let typed = RemotePath::parse(text)?;
        let status = typed.look(dfs).await?;
        let RemotePath { path, directory } = typed;
        match status {
            Some(status) if status.is_directory() => Ok(Self::Into(path)),
            Some(_) if several => {
                let message = format!("the target {path} is a file, not a directory");
                Err(FsError::new(ErrorCode::NotADirectory, message).into())
            }
            None if several => Ok(Self::New(path)),
            None if directory => Ok(Self::NewSlash(path)),
            status => Ok(Self::As { path, exists: status.is_some() }),
        }
    }

    /// The path for a file of this name, which is asked for only if it is needed.
    pub(crate) fn for_file<'a>(&self, name: impl FnOnce() -> Outcome<Option<&'a str>>) -> Outcome<FsPath> {
        match self {
            Self::As { path, .. } => Ok(path.clone()),
            Self::Into(directory) | Self::New(directory) | Self::NewSlash(directory) => match name()? {
                Some(name) => Ok(directory.join(name)?),
                None => Err(Failure::Usage(format!(
                    "the source has no name to get in {directory}: name the target in full"
                ))),
            },
        }
    }

    /// The path for a directory of this name; what is in one without a name goes into the target itself.
    pub(crate) fn for_directory<'a>(
        &self,
        source: &impl std::fmt::Display,
        name: impl FnOnce() -> Outcome<Option<&'a str>>,
    ) -> Outcome<FsPath> {
        match self {
            Self::As { path, exists: true } => {
                let message = format!("{path} is a file: the directory {source} can't replace it");
                Err(FsError::new(ErrorCode::NotADirectory, message).into())
            }
            Self::As { path, exists: false } | Self::NewSlash(path) => Ok(path.clone()),
            Self::Into(directory) | Self::New(directory) => match name()? {
                Some(name) => Ok(directory.join(name)?),
                None => Ok(directory.clone()),
            },
        }
    }
}

/// The error for a file that is there already.
pub(crate) fn exists_already(path: &impl std::fmt::Display) -> Failure {
    FsError::new(ErrorCode::AlreadyExists, format!("{path} exists: add -f to replace it")).into()
}
