//! The trash.

use dfs_types::{ErrorCode, FileKind, FsPath, InodeId, LimitChange, Millis};

use super::super::{SUPERUSER, path};
use super::{Model, ModelResult};
use crate::store::edit::Outcome;

/// How long nothing that was said otherwise is kept.
const DAY: u64 = 24 * 60 * 60 * 1_000;

impl Model {
    /// The trash of what is removed at a path, and how long that keeps.
    pub(super) fn trash_of(&self, at: &FsPath) -> (FsPath, u64) {
        let mut above = at.parent();
        while let Some(here) = above {
            let keep = self.nodes.get(here.as_str()).and_then(|node| node.keep);
            if let Some(keep) = keep.filter(|_| !here.is_root()) {
                return (path(&format!("{here}/.Trash/{SUPERUSER}")), keep);
            }
            above = here.parent();
        }
        let keep = self.nodes["/"].keep.unwrap_or(DAY);
        (path(&format!("/user/{SUPERUSER}/.Trash")), keep)
    }

    pub(super) fn delete(
        &mut self,
        at: &FsPath,
        recursive: bool,
        expected: Option<InodeId>,
        now: Millis,
    ) -> ModelResult<Option<Outcome>> {
        if at.is_root() {
            return Err(ErrorCode::InvalidArgument);
        }
        self.check_above(at)?;
        let there = self.nodes.get(at.as_str());
        let existed = there.is_some_and(|node| expected.is_none_or(|expected| expected == node.id));
        if existed {
            if !recursive && self.entries(at.as_str()).next().is_some() {
                return Err(ErrorCode::NotEmpty);
            }
            self.remove(at, now);
        }
        Ok(Some(Outcome::Deleted(existed)))
    }

    pub(super) fn trash(
        &mut self,
        at: &FsPath,
        recursive: bool,
        expected: Option<InodeId>,
        now: Millis,
    ) -> ModelResult<Option<Outcome>> {
        let (root, keep) = self.trash_of(at);
        let is_meant = self
            .get(at)
            .is_ok_and(|node| !at.is_root() && expected.is_none_or(|expected| expected == node.id));
        if keep == 0 || !is_meant {
            return self.delete(at, recursive, expected, now);
        }
        if !recursive && self.entries(at.as_str()).next().is_some() {
            return Err(ErrorCode::NotEmpty);
        }
        let mut to = path(&format!("{root}/Current"));
        let parts: Vec<&str> = at.parts().collect();
        for (depth, part) in parts.iter().enumerate() {
            let in_the_way = |at: &FsPath| {
                let node = self.nodes.get(at.as_str());
                node.is_some_and(|node| node.kind == FileKind::File || depth + 1 == parts.len())
            };
            let plain = path(&format!("{to}/{part}"));
            to = if in_the_way(&plain) { path(&format!("{plain}{}", now.0)) } else { plain };
        }
        let sum = self.summary(at);
        let made = self.missing(&to) - 1;
        self.check_quota(&to, made, 0, None)?;
        let names = (sum.files + sum.directories) as i64 + made;
        self.check_quota(&to.parent().unwrap(), names, sum.space as i64, Some(at))?;
        self.make_missing(&to.parent().unwrap(), now);
        self.rename(at, &to, false, now)?;
        Ok(Some(Outcome::Trashed(to)))
    }

    pub(super) fn set_trash(
        &mut self,
        at: &FsPath,
        keep: LimitChange,
        now: Millis,
    ) -> ModelResult<Option<Outcome>> {
        if self.get(at)?.kind == FileKind::File {
            return Err(ErrorCode::NotADirectory);
        }
        if matches!(keep, LimitChange::Set(1..)) && !at.is_root() {
            let all = path(&format!("{at}/.Trash"));
            self.check_quota(at, self.missing(&all), 0, None)?;
            self.make_missing(&all, now);
        }
        let node = self.nodes.get_mut(at.as_str()).unwrap();
        node.keep = keep.after(node.keep);
        Ok(Some(Outcome::Done))
    }
}
