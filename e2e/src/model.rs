//! A namespace in memory, to compare the real one with.

use std::collections::BTreeMap;

use dfs_types::{ErrorCode, FsPath};

/// What the model knows of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entry {
    /// A closed, empty file.
    File,
    /// A directory.
    Directory,
}

/// One operation of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Create and close an empty file.
    Create(FsPath),
    /// Make a directory; its parent must exist.
    Mkdir(FsPath),
    /// Rename without overwriting.
    Rename(FsPath, FsPath),
    /// Delete, recursively.
    Delete(FsPath),
}

/// The entries below one directory that one client has for itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Model {
    /// Every entry by its path.
    pub entries: BTreeMap<FsPath, Entry>,
}

impl Model {
    /// A model with one directory.
    pub fn with_root(root: FsPath) -> Self {
        Self { entries: BTreeMap::from([(root, Entry::Directory)]) }
    }

    fn check_free(&self, path: &FsPath) -> Result<(), ErrorCode> {
        let parent = path.parent().ok_or(ErrorCode::InvalidArgument)?;
        match self.entries.get(&parent) {
            None => Err(ErrorCode::NotFound),
            Some(Entry::File) => Err(ErrorCode::NotADirectory),
            Some(Entry::Directory) if self.entries.contains_key(path) => Err(ErrorCode::AlreadyExists),
            Some(Entry::Directory) => Ok(()),
        }
    }

    /// Does what the file system shall do. A delete answers whether there was something.
    pub fn apply(&mut self, operation: &Operation) -> Result<bool, ErrorCode> {
        match operation {
            Operation::Create(path) => {
                if self.entries.get(path) == Some(&Entry::Directory) {
                    return Err(ErrorCode::IsADirectory);
                }
                self.check_free(path)?;
                self.entries.insert(path.clone(), Entry::File);
                Ok(true)
            }
            Operation::Mkdir(path) => {
                self.check_free(path)?;
                self.entries.insert(path.clone(), Entry::Directory);
                Ok(true)
            }
            Operation::Rename(from, to) => {
                if !self.entries.contains_key(from) {
                    return Err(ErrorCode::NotFound);
                }
                if to.starts_with(from) && to != from {
                    return Err(ErrorCode::InvalidArgument);
                }
                if from == to {
                    return Ok(true);
                }
                self.check_free(to)?;
                let moved: Vec<FsPath> =
                    self.entries.keys().filter(|path| path.starts_with(from)).cloned().collect();
                for path in moved {
                    let kind = self.entries.remove(&path).ok_or(ErrorCode::Internal)?;
                    let below = &path.as_str()[from.as_str().len()..];
                    let path =
                        FsPath::parse(&format!("{to}{below}")).map_err(|_| ErrorCode::InvalidArgument)?;
                    self.entries.insert(path, kind);
                }
                Ok(true)
            }
            Operation::Delete(path) => {
                if path.parent().is_some_and(|parent| self.entries.get(&parent) == Some(&Entry::File)) {
                    return Err(ErrorCode::NotADirectory);
                }
                let before = self.entries.len();
                self.entries.retain(|entry, _| !entry.starts_with(path));
                Ok(self.entries.len() < before)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> FsPath {
        FsPath::parse(text).unwrap()
    }

    #[test]
    fn renaming_a_directory_moves_what_is_below() {
        let mut model = Model::with_root(path("/c"));
        for operation in [
            Operation::Mkdir(path("/c/a")),
            Operation::Create(path("/c/a/f")),
            Operation::Rename(path("/c/a"), path("/c/b")),
        ] {
            assert_eq!(model.apply(&operation), Ok(true));
        }
        let paths: Vec<&str> = model.entries.keys().map(FsPath::as_str).collect();
        assert_eq!(paths, ["/c", "/c/b", "/c/b/f"]);
        let below = Operation::Rename(path("/c/b"), path("/c/b/x"));
        assert_eq!(model.apply(&below), Err(ErrorCode::InvalidArgument));
        for below_a_file in [Operation::Create(path("/c/b/f/x")), Operation::Delete(path("/c/b/f/x"))] {
            assert_eq!(model.apply(&below_a_file), Err(ErrorCode::NotADirectory));
        }
    }
}
