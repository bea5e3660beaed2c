//! The trash: what was removed, and how it comes back.

use std::cmp::Reverse;

use dfs_proto::convert::{removed, trash, trash_content, wire_limit_change};
use dfs_proto::v1;
use dfs_types::trash::CURRENT;
use dfs_types::{ErrorCode, FsError, FsPath, FsResult, InodeId, LimitChange, Removed, Trash, TrashContent};
use futures_util::TryStreamExt as _;

use crate::handle::Dfs;
use crate::namespace::ask;

/// Digits of the time that something gets as an ending whose name was in the trash already, at least.
const TIME_DIGITS: usize = 13;

impl Dfs {
    /// Moves a file or directory into the user's trash; removes it if nothing is kept there, or if it is in a trash already.
    /// A directory that has entries only if `recursive`; with `expected` only that inode, and another one is nothing.
    pub async fn move_to_trash(
        &self,
        path: &FsPath,
        recursive: bool,
        expected: Option<InodeId>,
    ) -> FsResult<Removed> {
        let inode = expected.unwrap_or_default().0;
        let request = ask!(
            self,
            move_to_trash,
            MoveToTrashRequest { path: path.to_string(), recursive: recursive, expected_inode: inode }
        );
        removed(request.await?)
    }

    /// Removes what is in a part of the trash for good, if it is still what was told of it.
    pub async fn empty_trash(&self, content: &TrashContent) -> FsResult<bool> {
        self.remove(&content.path, true, content.inode.0).await
    }

    /// Where what the user removes at a path goes, and how long it is kept there.
    pub async fn trash(&self, path: &FsPath) -> FsResult<Trash> {
        trash(ask!(looking self, get_trash, GetTrashRequest { path: path.to_string() }).await?)
    }

    /// What is in the user's trash, the newest first; for a superuser what is in that of `all` users.
    pub async fn trash_contents(&self, all: bool) -> FsResult<Vec<TrashContent>> {
        let reply = ask!(looking self, list_trash, ListTrashRequest { all: all }).await?;
        reply.contents.into_iter().map(trash_content).collect()
    }

    /// Says how long, in milliseconds, what is removed below a directory is kept in the trash; 0: it is not. For superusers.
    pub async fn set_trash(&self, path: &FsPath, keep: LimitChange) -> FsResult<()> {
        let request = ask!(
            self,
            set_trash,
            SetTrashRequest { path: path.to_string(), keep_ms: wire_limit_change(keep) }
        );
        request.await.map(|v1::Empty {}| ())
    }

    /// Brings back what the user removed last at a path, and answers where it was in the trash. The directory that it was in
    /// must be there, and nothing may be at the path.
    pub async fn undelete(&self, path: &FsPath) -> FsResult<FsPath> {
        let Trash { root, .. } = self.trash(path).await?;
        let found = self.newest_in_trash(&root, path).await?.ok_or_else(|| {
            let text = format!("{path} is not in the trash {root}: see what is there with 'dfs trash list'");
            FsError::new(ErrorCode::NotFound, text)
        })?;
        self.rename(&found, path, false).await?;
        Ok(found)
    }

    async fn newest_in_trash(&self, root: &FsPath, path: &FsPath) -> FsResult<Option<FsPath>> {
        let mut times: Vec<String> = self.names(root).await?;
        // The newest first, and before all of them what was not put aside yet.
        times.sort_by_key(|time| (time != CURRENT, Reverse(time.clone())));
        let parts: Vec<&str> = path.parts().collect();
        for time in times {
            if let Some(found) = self.newest_below(root.join(&time)?, &parts).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The newest below a directory of the trash. What was in the way of something gave it, or a directory above it, its
    /// time as an ending.
    async fn newest_below(&self, directory: FsPath, parts: &[&str]) -> FsResult<Option<FsPath>> {
        let Some((part, rest)) = parts.split_first() else { return Ok(Some(directory)) };
        let mut called: Vec<(u64, String)> = Vec::new();
        match self.stat(&directory.join(part)?).await {
            Err(error) if is_nothing(&error) => {}
            there => called.push((0, there.map(|_| (*part).to_owned())?)),
        }
        // Times begin with a digit, and what follows the name itself is in their order.
        match self.list_page(&directory, &format!("{part}/"), 0).await {
            Err(error) if is_nothing(&error) => {}
            page => {
                let (entries, _) = page?;
                let names = entries.into_iter().map(|entry| entry.name);
                called.extend(names.filter_map(|name| Some((ending(&name, part)?, name))));
            }
        }
        called.sort_by_key(|(time, _)| Reverse(*time));
        for (_, name) in called {
            let found = Box::pin(self.newest_below(directory.join(&name)?, rest)).await?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The names in a directory; none if it is not there.
    async fn names(&self, directory: &FsPath) -> FsResult<Vec<String>> {
        match self.list(directory).map_ok(|entry| entry.name).try_collect().await {
            Err(error) if is_nothing(&error) => Ok(Vec::new()),
            names => names,
        }
    }
}

/// Whether something is not there, perhaps because a file is above it.
fn is_nothing(error: &FsError) -> bool {
    matches!(error.code, ErrorCode::NotFound | ErrorCode::NotADirectory)
}

/// The time that something called `name` got as an ending in the trash, 0 if none; `None` if it is called otherwise.
fn ending(found: &str, name: &str) -> Option<u64> {
    match found.strip_prefix(name)? {
        "" => Some(0),
        digits if digits.len() >= TIME_DIGITS && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::ending;

    #[test]
    fn what_was_removed_again_has_a_time_as_its_ending() {
        assert_eq!(ending("a.log", "a.log"), Some(0));
        assert_eq!(ending("a.log1764600039000", "a.log"), Some(1_764_600_039_000));
        for other in ["a", "a.log1", "a.log176460003900x", "b.log"] {
            assert_eq!(ending(other, "a.log"), None, "{other}");
        }
    }
}
