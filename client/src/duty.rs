//! What DataNodes are used for, how evenly they are filled, and what is kept on them without being known.

use dfs_proto::v1;
use dfs_types::{
    BalancerAction, BalancerStatus, ChunkId, Duty, DutyReport, FsResult, NodeId, QuarantinedChunk,
};

use crate::handle::Dfs;

fn ids(nodes: &[NodeId]) -> Vec<Vec<u8>> {
    nodes.iter().map(|node| node.as_bytes().to_vec()).collect()
}

impl Dfs {
    /// Sets what DataNodes are used for: of all that are named, or of none.
    pub async fn set_node_duty(&self, nodes: &[NodeId], duty: Duty) -> FsResult<DutyReport> {
        let request = v1::SetNodeDutyRequest { nodes: ids(nodes), ..duty.into() };
        let reply = self
            .inner
            .namenode
            .admin(self.inner.settings.call(), |mut client, context| {
                let request = v1::SetNodeDutyRequest { context: Some(context), ..request.clone() };
                async move { client.set_node_duty(request).await }
            })
            .await?;
        reply.try_into()
    }

    /// Announces that the disks of stopped DataNodes are gone for good: what they held is copied at once.
    pub async fn announce_loss(&self, nodes: &[NodeId]) -> FsResult<()> {
        self.inner
            .namenode
            .admin(self.inner.settings.call(), |mut client, context| {
                let request = v1::AnnounceLossRequest { context: Some(context), nodes: ids(nodes) };
                async move { client.announce_loss(request).await }
            })
            .await
            .map(|v1::Empty {}| ())
    }

    /// Forgets stopped DataNodes for good: nothing waits for what they had, and they are not taken in again. Without
    /// `accept_loss` it is refused for nodes that open files were written to.
    pub async fn forget_nodes(&self, nodes: &[NodeId], accept_loss: bool) -> FsResult<()> {
        self.inner
            .namenode
            .admin(self.inner.settings.call(), |mut client, context| {
                let request =
                    v1::ForgetNodesRequest { context: Some(context), nodes: ids(nodes), accept_loss };
                async move { client.forget_nodes(request).await }
            })
            .await
            .map(|v1::Empty {}| ())
    }

    /// Tells about the balancer after doing as `action` says.
    pub async fn balancer(&self, action: BalancerAction) -> FsResult<BalancerStatus> {
        let request = v1::BalancerRequest::from(action);
        let status = self
            .inner
            .namenode
            .admin(self.inner.settings.call(), |mut client, context| {
                let request = v1::BalancerRequest { context: Some(context), ..request.clone() };
                async move { client.balancer(request).await }
            })
            .await?;
        Ok(status.into())
    }

    /// A page of the quarantined chunks after `after` (`None`: from the first), ordered by id, and whether there are more.
    pub async fn quarantine(&self, after: Option<ChunkId>) -> FsResult<(Vec<QuarantinedChunk>, bool)> {
        let after = after.map_or(0, |chunk| chunk.0);
        let reply = self
            .inner
            .namenode
            .admin(self.inner.settings.call(), |mut client, context| {
                let request = v1::ListQuarantineRequest { context: Some(context), after, limit: 0 };
                async move { client.list_quarantine(request).await }
            })
            .await?;
        Ok((reply.chunks.into_iter().map(QuarantinedChunk::try_from).collect::<FsResult<_>>()?, reply.more))
    }

    /// Deletes the replicas of these quarantined chunks, or with no chunk named of all that DataNodes have reported;
    /// answers how many. There is no way back.
    pub async fn delete_quarantined(&self, chunks: &[ChunkId]) -> FsResult<u64> {
        let chunks: Vec<u64> = chunks.iter().map(|chunk| chunk.0).collect();
        let reply = self
            .inner
            .namenode
            .admin(self.inner.settings.call(), |mut client, context| {
                let request = v1::DeleteQuarantinedRequest { context: Some(context), chunks: chunks.clone() };
                async move { client.delete_quarantined(request).await }
            })
            .await?;
        Ok(reply.replicas)
    }
}
