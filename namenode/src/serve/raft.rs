//! The `Raft` service: what the other NameNodes say.

use std::pin::pin;
use std::sync::Arc;

use dfs_daemon::Shutdown;
use dfs_proto::convert::{cluster_id, to_status};
use dfs_proto::v1;
use dfs_proto::v1::raft_server::Raft;
use dfs_types::{ErrorCode, FsError, FsResult};
use tonic::{Request, Response, Status, Streaming};

use crate::api::Namenode;
use crate::api::group::Identity;
use crate::peers;

/// The service; without a NameNode behind it, that is one with an empty directory.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) namenode: Option<Arc<Namenode>>,
    pub(super) shutdown: Shutdown,
}

impl Service {
    fn namenode(&self) -> FsResult<&Arc<Namenode>> {
        self.namenode.as_ref().ok_or_else(|| {
            FsError::new(ErrorCode::Unavailable, "this NameNode belongs to no group yet: try again shortly")
        })
    }
}

#[tonic::async_trait]
impl Raft for Service {
    async fn deliver(
        &self,
        request: Request<Streaming<v1::RaftEnvelope>>,
    ) -> Result<Response<v1::DeliverReply>, Status> {
        let namenode = self.namenode().map_err(to_status)?;
        let mut envelopes = request.into_inner();
        let mut stop = pin!(self.shutdown.requested());
        loop {
            let envelope = tokio::select! {
                envelope = envelopes.message() => envelope?,
                () = &mut stop => None,
            };
            match envelope {
                Some(envelope) => namenode.hear(envelope).map_err(to_status)?,
                None => return Ok(Response::new(v1::DeliverReply {})),
            }
        }
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<v1::SnapshotPart>>,
    ) -> Result<Response<v1::InstallSnapshotReply>, Status> {
        let namenode = self.namenode().map_err(to_status)?;
        namenode.take_snapshot(request.into_inner()).await.map_err(to_status)?;
        Ok(Response::new(v1::InstallSnapshotReply {}))
    }

    async fn probe(&self, _: Request<v1::ProbeRequest>) -> Result<Response<v1::ProbeReply>, Status> {
        let reply = match &self.namenode {
            None => v1::ProbeReply { vacant: true, ..v1::ProbeReply::default() },
            Some(namenode) => {
                let Identity { cluster, id, leader } = namenode.identity();
                v1::ProbeReply {
                    vacant: false,
                    cluster: cluster.as_bytes().to_vec(),
                    id,
                    leader_address: leader,
                }
            }
        };
        Ok(Response::new(reply))
    }

    async fn join(&self, request: Request<v1::JoinRequest>) -> Result<Response<v1::JoinReply>, Status> {
        let joined = async {
            let namenode = self.namenode()?;
            let v1::JoinRequest { cluster, address, level } = request.into_inner();
            let cluster = if cluster.is_empty() { None } else { Some(cluster_id(&cluster)?) };
            let id = namenode.join(cluster, address, peers::wire::level(level)).await?;
            Ok(v1::JoinReply { cluster: namenode.identity().cluster.as_bytes().to_vec(), id })
        };
        joined.await.map(Response::new).map_err(to_status)
    }
}

impl Namenode {
    /// Takes in a message of another member.
    fn hear(&self, envelope: v1::RaftEnvelope) -> FsResult<()> {
        let envelope = self.peers().receive(envelope)?;
        self.group().deliver(envelope);
        Ok(())
    }

    /// Takes in a snapshot of the leader.
    async fn take_snapshot(&self, parts: Streaming<v1::SnapshotPart>) -> FsResult<()> {
        let (envelope, file) =
            peers::receive_snapshot(self.peers(), self.group(), self.directory(), parts).await?;
        self.group().deliver_snapshot(envelope, file).await
    }
}
