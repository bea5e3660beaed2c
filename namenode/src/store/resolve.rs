//! Walking a path from the root down, with the permission checks on the way.

use std::sync::Arc;

use dfs_types::{ErrorCode, FsError, FsPath, FsResult, InodeId};

use super::access::{Access, Authority, Place};
use super::inode::{ABOVE_ROOT, Inode};

/// How far a path exists.
#[derive(Debug)]
pub(crate) struct Resolved<'a> {
    path: &'a FsPath,
    /// The root and the inodes found below it, in the path's order; never empty.
    chain: Vec<Arc<Inode>>,
    /// Number of parts of the path.
    parts: usize,
}

/// Walks `path` as far as it exists. `lookup` finds the entry of a directory. Fails if the walk meets a file or a
/// directory that the caller may not search.
pub(crate) fn resolve<'a, E: From<FsError>>(
    path: &'a FsPath,
    authority: Authority<'_>,
    mut lookup: impl FnMut(InodeId, &str) -> Result<Option<Arc<Inode>>, E>,
) -> Result<Resolved<'a>, E> {
    let root = lookup(ABOVE_ROOT, "")?
        .ok_or_else(|| FsError::internal("the namespace has no root directory: restore it from a backup"))?;
    let mut chain = vec![root.clone()];
    let mut directory = root;
    for (depth, part) in path.parts().enumerate() {
        let place = Place { path, depth };
        check_directory(&directory, place)?;
        authority.check(&directory, Access::Execute, place)?;
        let Some(entry) = lookup(directory.id, part)? else {
            break;
        };
        chain.push(entry.clone());
        directory = entry;
    }
    Ok(Resolved { path, chain, parts: path.parts().count() })
}

/// Refuses what is not a directory.
fn check_directory(inode: &Inode, place: Place<'_>) -> FsResult<()> {
    if inode.is_directory() {
        return Ok(());
    }
    Err(FsError::new(ErrorCode::NotADirectory, format!("{} is a file, not a directory", place.text())))
}

impl<'a> Resolved<'a> {
    /// What is at the path.
    pub(crate) fn target(&self) -> Option<&Arc<Inode>> {
        self.chain.get(self.parts)
    }

    /// The directory that holds, or would hold, the path's last part. `None` for the root and if it is missing.
    pub(crate) fn parent(&self) -> Option<&Arc<Inode>> {
        self.chain.get(self.parts.checked_sub(1)?)
    }

    /// The directories above the path that exist, without the root, each with the bytes by which the path is longer than
    /// its own.
    pub(crate) fn directories_above(&self) -> impl Iterator<Item = (&Arc<Inode>, u64)> {
        let whole = self.path.as_str().len();
        let mut own = 0;
        let above = self.chain.iter().skip(1).zip(self.path.parts()).take(self.parts.saturating_sub(1));
        above.map(move |(inode, part)| {
            own += 1 + part.len();
            (inode, (whole - own) as u64)
        })
    }

    /// The path.
    pub(crate) fn path(&self) -> &'a FsPath {
        self.path
    }

    /// How many parts it has.
    pub(crate) fn depth(&self) -> usize {
        self.parts
    }

    /// What exists of the path, from the root down.
    pub(crate) fn chain(&self) -> impl Iterator<Item = &Arc<Inode>> {
        self.chain.iter()
    }

    /// The deepest inode that exists.
    pub(crate) fn deepest(&self) -> &Arc<Inode> {
        self.chain.last().expect("the chain starts with the root")
    }

    /// The deepest inode's place.
    pub(crate) fn deepest_place(&self) -> Place<'a> {
        Place { path: self.path, depth: self.chain.len() - 1 }
    }

    /// The names that are missing, from above to below.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &'a str> {
        self.path.parts().skip(self.chain.len() - 1)
    }

    /// The path's own place.
    pub(crate) fn place(&self) -> Place<'a> {
        Place { path: self.path, depth: self.parts }
    }

    /// The place of the directory above the path.
    pub(crate) fn parent_place(&self) -> Place<'a> {
        Place { path: self.path, depth: self.parts.saturating_sub(1) }
    }

    /// What is at the path, or the error that nothing is.
    pub(crate) fn existing(&self) -> FsResult<&Arc<Inode>> {
        self.target().ok_or_else(|| FsError::not_found(self.path))
    }

    /// The file at the path.
    pub(crate) fn existing_file(&self) -> FsResult<&Arc<Inode>> {
        let inode = self.existing()?;
        if inode.is_directory() {
            return Err(is_a_directory(self.path));
        }
        Ok(inode)
    }

    /// The directory at the path.
    pub(crate) fn existing_directory(&self) -> FsResult<&Arc<Inode>> {
        let inode = self.existing()?;
        check_directory(inode, self.place())?;
        Ok(inode)
    }

    /// The directory that is to take a new entry.
    pub(crate) fn existing_parent(&self) -> FsResult<&Arc<Inode>> {
        self.parent().ok_or_else(|| {
            FsError::new(
                ErrorCode::NotFound,
                format!("no such directory: {}: make it first", self.parent_place().text()),
            )
        })
    }
}

/// The error that `path` is a directory where a file is needed.
pub(crate) fn is_a_directory(path: &FsPath) -> FsError {
    FsError::new(ErrorCode::IsADirectory, format!("{path} is a directory, not a file"))
}
