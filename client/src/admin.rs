//! What administrators ask.

use dfs_proto::convert::from_status;
use dfs_proto::v1;
use dfs_types::{ClusterReport, FsPath, FsResult, FsckEntry, SafeModeAction, SafeModeStatus};
use futures_util::stream::{BoxStream, StreamExt as _};

use crate::handle::Dfs;

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
        report.try_into()
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
        let action = v1::SafeModeAction::from(action);
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
