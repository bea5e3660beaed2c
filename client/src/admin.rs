//! What administrators ask.

use dfs_proto::convert::{cluster_id, from_status, incomplete};
use dfs_proto::v1;
use dfs_types::{
    BalancerStatus, ClusterId, FsPath, FsResult, FsckEntry, NodeReport, SafeModeStatus, WaitingChunk,
};
use futures_util::stream::{BoxStream, StreamExt as _};

use crate::handle::Dfs;

/// The whole cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClusterReport {
    /// The cluster's id.
    pub cluster: ClusterId,
    /// State of safe mode.
    pub safe_mode: SafeModeStatus,
    /// Every DataNode known.
    pub nodes: Vec<NodeReport>,
    /// Number of files.
    pub files: u64,
    /// Number of directories.
    pub directories: u64,
    /// Number of chunks.
    pub chunks: u64,
    /// Chunks with too few replicas.
    pub under_replicated: u64,
    /// Those of them that can have more on the DataNodes that are there.
    pub healable: u64,
    /// Chunks with too many.
    pub over_replicated: u64,
    /// Chunks without any.
    pub missing: u64,
    /// Chunks of which only corrupt replicas are known.
    pub corrupt: u64,
    /// Copies ordered and not done.
    pub pending_copies: u64,
    /// Deletions ordered and not done.
    pub pending_deletions: u64,
    /// Files open for writing.
    pub open_files: u64,
    /// Chunks with a single good replica where more are wanted.
    pub only_one_copy: u64,
    /// Version of the NameNode's software.
    pub version: String,
    /// Chunks that have their replicas, but share a host, rack or zone without need.
    pub misplaced: u64,
    /// Replicas of chunks that the namespace does not know, kept until a person decides.
    pub quarantined: u64,
    /// How the balancer gets on.
    pub balancer: BalancerStatus,
    /// Chunks whose recovery waits for a replica with everything that was acknowledged.
    pub waiting_recoveries: u64,
    /// The first of them; empty for all but superusers.
    pub waiting: Vec<WaitingChunk>,
}

/// What to do about safe mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SafeModeAction {
    /// Only tell.
    Get,
    /// Switch it on.
    Enter,
    /// Switch it off.
    Leave,
}

impl Dfs {
    /// The cluster's nodes and numbers.
    pub async fn report(&self) -> FsResult<ClusterReport> {
        let report = self
            .inner
            .namenode
            .admin(self.inner.settings.call(), |mut client, context| async move {
                client.report(v1::ReportRequest { context: Some(context) }).await
            })
            .await?;
        Ok(ClusterReport {
            cluster: cluster_id(&report.cluster)?,
            safe_mode: report.safe_mode.ok_or_else(|| incomplete("safe_mode"))?.into(),
            nodes: report.nodes.into_iter().map(NodeReport::try_from).collect::<FsResult<_>>()?,
            files: report.files,
            directories: report.directories,
            chunks: report.chunks,
            under_replicated: report.under_replicated,
            healable: report.healable,
            over_replicated: report.over_replicated,
            missing: report.missing,
            corrupt: report.corrupt,
            pending_copies: report.pending_copies,
            pending_deletions: report.pending_deletions,
            open_files: report.open_files,
            only_one_copy: report.only_one_copy,
            version: report.version,
            misplaced: report.misplaced,
            quarantined: report.quarantined,
            balancer: report.balancer.ok_or_else(|| incomplete("balancer"))?.into(),
            waiting_recoveries: report.waiting_recoveries,
            waiting: report.waiting.into_iter().map(WaitingChunk::try_from).collect::<FsResult<_>>()?,
        })
    }

    /// Checks every file at and below `path` against what the NameNode knows of its replicas: one entry a file, the
    /// summary last. An error ends the stream.
    pub async fn fsck(&self, path: &FsPath) -> FsResult<BoxStream<'static, FsResult<FsckEntry>>> {
        let replies = self
            .inner
            .namenode
            .admin(self.inner.settings.call(), |mut client, context| {
                let request = v1::FsckRequest { context: Some(context), path: path.to_string() };
                async move { client.fsck(request).await }
            })
            .await?;
        Ok(replies.map(|reply| reply.map_err(|status| from_status(&status))?.try_into()).boxed())
    }

    /// Tells about safe mode after switching it as `action` says.
    pub async fn safe_mode(&self, action: SafeModeAction) -> FsResult<SafeModeStatus> {
        let action = match action {
            SafeModeAction::Get => v1::SafeModeAction::Get,
            SafeModeAction::Enter => v1::SafeModeAction::Enter,
            SafeModeAction::Leave => v1::SafeModeAction::Leave,
        };
        let status = self
            .inner
            .namenode
            .admin(self.inner.settings.call(), |mut client, context| {
                let request = v1::SetSafeModeRequest { context: Some(context), action: action.into() };
                async move { client.set_safe_mode(request).await }
            })
            .await?;
        Ok(status.into())
    }
}
