//! The trash.

use dfs_types::{FsResult, InodeId, Millis, Removed, Trash, TrashContent};

use super::values::path;
use crate::v1;

impl From<Removed> for v1::MoveToTrashReply {
    fn from(removed: Removed) -> Self {
        match removed {
            Removed::Nothing => Self { existed: false, moved_to: String::new() },
            Removed::Deleted => Self { existed: true, moved_to: String::new() },
            Removed::Trashed(to) => Self { existed: true, moved_to: to.to_string() },
        }
    }
}

/// What became of something that was to be removed.
pub fn removed(reply: v1::MoveToTrashReply) -> FsResult<Removed> {
    let v1::MoveToTrashReply { existed, moved_to } = reply;
    Ok(match (existed, moved_to.as_str()) {
        (false, _) => Removed::Nothing,
        (true, "") => Removed::Deleted,
        (true, to) => Removed::Trashed(path(to)?),
    })
}

impl From<Trash> for v1::GetTrashReply {
    fn from(Trash { root, keep }: Trash) -> Self {
        Self { root: root.to_string(), keep_ms: keep.0 }
    }
}

/// A user's trash.
pub fn trash(v1::GetTrashReply { root, keep_ms }: v1::GetTrashReply) -> FsResult<Trash> {
    Ok(Trash { root: path(&root)?, keep: Millis(keep_ms) })
}

impl From<TrashContent> for v1::TrashContent {
    fn from(TrashContent { path, inode, owner, age, left }: TrashContent) -> Self {
        let millis = |time: Option<Millis>| time.map(|time| time.0);
        Self { path: path.to_string(), inode: inode.0, owner, age_ms: millis(age), left_ms: millis(left) }
    }
}

/// What is in a trash.
pub fn trash_content(content: v1::TrashContent) -> FsResult<TrashContent> {
    let v1::TrashContent { path: at, inode, owner, age_ms, left_ms } = content;
    Ok(TrashContent {
        path: path(&at)?,
        inode: InodeId(inode),
        owner,
        age: age_ms.map(Millis),
        left: left_ms.map(Millis),
    })
}

#[cfg(test)]
mod tests {
    use dfs_types::FsPath;

    use super::*;

    #[test]
    fn everything_comes_as_it_was_sent() {
        let at = FsPath::parse("/user/ann/.Trash/Current").unwrap();
        for what in [Removed::Nothing, Removed::Deleted, Removed::Trashed(at.clone())] {
            assert_eq!(removed(what.clone().into()), Ok(what));
        }
        let kept = Trash { root: at.clone(), keep: Millis(5) };
        assert_eq!(trash(kept.clone().into()), Ok(kept));
        let content = TrashContent {
            path: at,
            inode: InodeId(7),
            owner: "ann".into(),
            age: None,
            left: Some(Millis(0)),
        };
        assert_eq!(trash_content(content.clone().into()), Ok(content));
    }
}
