//! What trees take, counted anew whenever it is asked for, and quotas.

use dfs_types::{ContentSummary, ErrorCode, FileKind, FsPath, LimitChange, Quota};

use super::{CHUNK, Model, ModelResult, Node, path};
use crate::store::edit::Outcome;

impl Node {
    /// Bytes that its chunks can have: a full chunk for the one that is being written.
    fn charged(&self) -> u64 {
        let open = self.chunks.iter().filter(|chunk| chunk.length.is_none()).count() as u64;
        self.chunks.iter().filter_map(|chunk| chunk.length).sum::<u64>() + open * CHUNK
    }

    /// Those times its replicas.
    pub(super) fn space(&self) -> u64 {
        self.charged() * u64::from(self.replication)
    }
}

impl Model {
    /// What is at a path and below it.
    pub(super) fn summary(&self, at: &FsPath) -> ContentSummary {
        let mut sum = ContentSummary { quota: self.nodes[at.as_str()].quota, ..ContentSummary::default() };
        for (_, node) in self.nodes.iter().filter(|(key, _)| path(key).starts_with(at)) {
            match node.kind {
                FileKind::File => sum.files += 1,
                FileKind::Directory => sum.directories += 1,
            }
            sum.length += node.length();
            sum.space += node.space();
        }
        sum
    }

    pub(super) fn set_quota(
        &mut self,
        at: &FsPath,
        names: LimitChange,
        space: LimitChange,
    ) -> ModelResult<Option<Outcome>> {
        if names == LimitChange::Set(0) {
            return Err(ErrorCode::InvalidArgument);
        }
        if self.get(at)?.kind == FileKind::File {
            return Err(ErrorCode::NotADirectory);
        }
        let quota = &mut self.nodes.get_mut(at.as_str()).unwrap().quota;
        *quota = Quota { names: names.after(quota.names), space: space.after(quota.space) };
        Ok(Some(Outcome::Done))
    }

    /// Whether so much more may be in a directory, and so in all above it but those that `beside` is below.
    pub(super) fn check_quota(
        &self,
        directory: &FsPath,
        names: i64,
        space: i64,
        beside: Option<&FsPath>,
    ) -> ModelResult<()> {
        let mut at = Some(directory.clone());
        while let Some(here) = at {
            at = here.parent();
            let Some(node) = self.nodes.get(here.as_str()) else { continue };
            if beside.is_some_and(|beside| beside.starts_with(&here)) {
                return Ok(());
            }
            let sum = self.summary(&here);
            let too_much = |more: i64, used: u64, limit: Option<u64>| {
                more > 0 && limit.is_some_and(|limit| used as i64 + more > limit as i64)
            };
            if too_much(names, sum.files + sum.directories, node.quota.names)
                || too_much(space, sum.space, node.quota.space)
            {
                return Err(ErrorCode::QuotaExceeded);
            }
        }
        Ok(())
    }

    /// Directories that are missing above a path, and itself.
    pub(super) fn missing(&self, at: &FsPath) -> i64 {
        let here = i64::from(!self.nodes.contains_key(at.as_str()));
        here + at.parent().map_or(0, |above| self.missing(&above))
    }
}
