//! The trash: what was removed, and how it comes back.

use dfs_proto::convert::{removed, trash, trash_content, wire_limit_change};
use dfs_proto::v1;
use dfs_types::trash::CURRENT;
use dfs_types::{ErrorCode, FsError, FsPath, FsResult, LimitChange, Removed, Trash, TrashContent};
use futures_util::TryStreamExt as _;

use crate::handle::Dfs;
use crate::namespace::ask;

/// Digits of the time that something gets as an ending whose name was in the trash already, at least.
const TIME_DIGITS: usize = 13;

impl Dfs {
    /// Moves a file or directory, with everything below it, into the user's trash; removes it if nothing is kept there, or if
    /// it is in a trash already.
    pub async fn move_to_trash(&self, path: &FsPath) -> FsResult<Removed> {
        removed(ask!(self, move_to_trash, MoveToTrashRequest { path: path.to_string() }).await?)
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
        let (Some(above), Some(name)) = (path.parent(), path.name()) else { return Ok(None) };
        let mut times: Vec<String> = self.names(root).await?;
        // The newest first, and before all of them what was not put aside yet.
        times.sort_by_key(|time| (time != CURRENT, std::cmp::Reverse(time.clone())));
        for time in times {
            let mut directory = root.join(&time)?;
            for part in above.parts() {
                directory = directory.join(part)?;
            }
            let names = self.names(&directory).await?.into_iter();
            let newest = names.filter_map(|found| Some((ending(&found, name)?, found))).max();
            if let Some((_, newest)) = newest {
                return directory.join(&newest).map(Some).map_err(FsError::from);
            }
        }
        Ok(None)
    }

    /// The names in a directory; none if it is not there.
    async fn names(&self, directory: &FsPath) -> FsResult<Vec<String>> {
        match self.list(directory).map_ok(|entry| entry.name).try_collect().await {
            Err(error) if matches!(error.code, ErrorCode::NotFound | ErrorCode::NotADirectory) => {
                Ok(Vec::new())
            }
            names => names,
        }
    }
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
