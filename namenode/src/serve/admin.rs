//! The `Admin` service.

use std::sync::Arc;

use dfs_proto::convert::{path, setting, to_status};
use dfs_proto::v1;
use dfs_proto::v1::admin_server::Admin;
use dfs_types::{BalancerAction, ChunkId, Duty, FsResult, SafeModeAction};
use futures_util::stream::{BoxStream, StreamExt};
use tonic::{Request, Response, Status};

use super::wire::{admitted, node_ids, origin, reader, unary};
use crate::api::{Namenode, Origin};

/// Most waiting recoveries that a report names.
const WAITING_LISTED: usize = 100;

/// The service over the API.
#[derive(Debug)]
pub(super) struct Service(pub(super) Arc<Namenode>);

type Peer = Option<String>;

unary! {
    impl Admin {
        report: ReportRequest -> ClusterReport,
        set_safe_mode: SetSafeModeRequest -> SafeModeStatus,
        set_node_duty: SetNodeDutyRequest -> SetNodeDutyReply,
        balancer: BalancerRequest -> BalancerStatus,
        announce_loss: AnnounceLossRequest -> Empty,
        forget_nodes: ForgetNodesRequest -> Empty,
        list_quarantine: ListQuarantineRequest -> ListQuarantineReply,
        delete_quarantined: DeleteQuarantinedRequest -> DeleteQuarantinedReply,
        get_groups: GetGroupsRequest -> GetGroupsReply,
        get_superusers: GetSuperusersRequest -> Superusers,
        get_settings: GetSettingsRequest -> Settings,
        set_setting: SetSettingRequest -> Settings,
    }

    type FsckStream = BoxStream<'static, Result<v1::FsckReply, Status>>;

    async fn fsck(&self, request: Request<v1::FsckRequest>) -> Result<Response<Self::FsckStream>, Status> {
        let request = request.into_inner();
        let caller = admitted(&self.0, reader(&self.0, request.context).await)?;
        let path = path(&request.path).map_err(to_status)?;
        let entries = Arc::clone(&self.0).fsck(caller, path);
        let reply = |entry: FsResult<_>| entry.map(v1::FsckReply::from).map_err(to_status);
        Ok(Response::new(entries.map(reply).boxed()))
    }
}

impl Service {
    async fn report(&self, request: v1::ReportRequest, _: Peer) -> FsResult<v1::ClusterReport> {
        let caller = reader(&self.0, request.context).await?;
        let waiting = self.0.waiting_chunks(&caller, WAITING_LISTED).await?;
        Ok(self.0.report().await?.for_clients(waiting).into())
    }

    async fn set_safe_mode(&self, request: v1::SetSafeModeRequest, _: Peer) -> FsResult<v1::SafeModeStatus> {
        let action = SafeModeAction::try_from(request.action())?;
        let origin = self.origin(request.context, action != SafeModeAction::Get).await?;
        Ok(self.0.safe_mode(origin, action).await?.into())
    }

    async fn set_node_duty(
        &self,
        request: v1::SetNodeDutyRequest,
        _: Peer,
    ) -> FsResult<v1::SetNodeDutyReply> {
        let (nodes, duty) = (node_ids(&request.nodes)?, Duty::try_from(&request)?);
        let origin = self.origin(request.context, true).await?;
        Ok(self.0.set_node_duty(origin, nodes, duty).await?.into())
    }

    async fn balancer(&self, request: v1::BalancerRequest, _: Peer) -> FsResult<v1::BalancerStatus> {
        let action = BalancerAction::try_from(&request)?;
        let origin = self.origin(request.context, action != BalancerAction::Status).await?;
        Ok(self.0.balancer(origin, action).await?.into())
    }

    async fn announce_loss(&self, request: v1::AnnounceLossRequest, _: Peer) -> FsResult<v1::Empty> {
        let nodes = node_ids(&request.nodes)?;
        let Origin { caller, .. } = self.origin(request.context, true).await?;
        self.0.announce_loss(&caller, nodes).await.map(|()| v1::Empty {})
    }

    async fn forget_nodes(&self, request: v1::ForgetNodesRequest, _: Peer) -> FsResult<v1::Empty> {
        let nodes = node_ids(&request.nodes)?;
        let origin = self.origin(request.context, true).await?;
        self.0.forget_nodes(origin, nodes, request.accept_loss).await.map(|()| v1::Empty {})
    }

    async fn list_quarantine(
        &self,
        request: v1::ListQuarantineRequest,
        _: Peer,
    ) -> FsResult<v1::ListQuarantineReply> {
        let Origin { caller, .. } = self.origin(request.context, false).await?;
        let (after, limit) = (ChunkId(request.after), request.limit as usize);
        let (chunks, more) = self.0.quarantine(&caller, after, limit).await?;
        Ok(v1::ListQuarantineReply {
            chunks: chunks.into_iter().map(v1::QuarantinedChunk::from).collect(),
            more,
        })
    }

    async fn delete_quarantined(
        &self,
        request: v1::DeleteQuarantinedRequest,
        _: Peer,
    ) -> FsResult<v1::DeleteQuarantinedReply> {
        let Origin { caller, .. } = self.origin(request.context, true).await?;
        let chunks = request.chunks.into_iter().map(ChunkId).collect();
        let replicas = self.0.delete_quarantined(&caller, chunks).await?;
        Ok(v1::DeleteQuarantinedReply { replicas })
    }

    async fn get_groups(&self, request: v1::GetGroupsRequest, _: Peer) -> FsResult<v1::GetGroupsReply> {
        let Origin { caller, .. } = self.origin(request.context, false).await?;
        Ok(self.0.groups_of(&caller, request.users)?.into())
    }

    async fn get_superusers(&self, request: v1::GetSuperusersRequest, _: Peer) -> FsResult<v1::Superusers> {
        self.origin(request.context, false).await?;
        Ok(self.0.superusers().into())
    }

    async fn get_settings(&self, request: v1::GetSettingsRequest, _: Peer) -> FsResult<v1::Settings> {
        self.origin(request.context, false).await?;
        Ok(self.0.cluster_settings().into())
    }

    async fn set_setting(&self, request: v1::SetSettingRequest, _: Peer) -> FsResult<v1::Settings> {
        let (setting, value) = setting(request.setting)?;
        let origin = self.origin(request.context, true).await?;
        Ok(self.0.set_setting(origin, setting, value).await?.into())
    }

    /// Who asks, only at the leader; a request that changes something needs an id.
    async fn origin(&self, context: Option<v1::Context>, changes: bool) -> FsResult<Origin> {
        if changes {
            return origin(&self.0, context).await;
        }
        let caller =
            reader(&self.0, context.map(|context| v1::Context { follower_read_at: None, ..context }));
        Ok(Origin { request: None, caller: caller.await? })
    }
}
