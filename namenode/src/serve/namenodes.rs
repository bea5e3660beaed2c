//! The `Namenodes` service: the group, for administrators.

use std::sync::Arc;
use std::time::Duration;

use dfs_proto::convert::to_status;
use dfs_proto::v1;
use dfs_proto::v1::backup_part::Kind;
use dfs_proto::v1::namenodes_server::Namenodes;
use dfs_types::backup::Header;
use dfs_types::{ErrorCode, FsError, FsResult, NamenodeMember};
use futures_util::stream::{BoxStream, StreamExt};
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::wire::{admitted, origin, reader, unary};
use crate::api::Namenode;
use crate::api::group::Backup;

/// Longest that a client may take for one part of a backup.
const PATIENCE: Duration = Duration::from_mins(1);
/// Parts read ahead of the client.
const AHEAD: usize = 8;

/// The service over the API.
#[derive(Debug)]
pub(super) struct Service(pub(super) Arc<Namenode>);

type Peer = Option<String>;

unary! {
    impl Namenodes {
        list: NamenodesRequest -> NamenodesReply,
        transfer_leader: TransferLeaderRequest -> TransferLeaderReply,
        remove: RemoveNamenodeRequest -> NamenodesReply,
        get_upgrade: GetUpgradeRequest -> Upgrade,
        finalize_upgrade: FinalizeUpgradeRequest -> Upgrade,
    }

    type BackupStream = BoxStream<'static, Result<v1::BackupPart, Status>>;

    async fn backup(
        &self,
        request: Request<v1::BackupRequest>,
    ) -> Result<Response<Self::BackupStream>, Status> {
        let begun = async {
            let caller = reader(&self.0, request.into_inner().context).await?;
            self.0.back_up(&caller).await
        };
        let backup = admitted(&self.0, begun.await)?;
        let (parts, stream) = mpsc::channel(AHEAD);
        // Ends by itself when the client goes away.
        let runtime = Handle::current();
        let _reading = tokio::task::spawn_blocking(move || send_parts(&backup, &parts, &runtime));
        Ok(Response::new(ReceiverStream::new(stream).boxed()))
    }
}

#[allow(clippy::unused_async, reason = "every method of a service has the same shape")]
impl Service {
    async fn list(&self, request: v1::NamenodesRequest, _: Peer) -> FsResult<v1::NamenodesReply> {
        // Every member answers, with what it knows: this is how one finds out why there is no leader.
        dfs_proto::convert::context(request.context)?;
        Ok(reply(self.0.members()))
    }

    async fn transfer_leader(
        &self,
        request: v1::TransferLeaderRequest,
        _: Peer,
    ) -> FsResult<v1::TransferLeaderReply> {
        let caller = reader(&self.0, request.context).await?;
        let leader = self.0.transfer_leader(&caller, request.to).await?;
        Ok(v1::TransferLeaderReply { leader })
    }

    async fn remove(&self, request: v1::RemoveNamenodeRequest, _: Peer) -> FsResult<v1::NamenodesReply> {
        let caller = reader(&self.0, request.context).await?;
        self.0.remove_namenode(&caller, request.id).await.map(reply)
    }

    async fn get_upgrade(&self, request: v1::GetUpgradeRequest, _: Peer) -> FsResult<v1::Upgrade> {
        reader(&self.0, request.context).await?;
        Ok(self.0.upgrade().into())
    }

    async fn finalize_upgrade(&self, request: v1::FinalizeUpgradeRequest, _: Peer) -> FsResult<v1::Upgrade> {
        let origin = origin(&self.0, request.context).await?;
        Ok(self.0.finalize_upgrade(origin).await?.into())
    }
}

fn reply(members: Vec<NamenodeMember>) -> v1::NamenodesReply {
    v1::NamenodesReply { members: members.into_iter().map(v1::NamenodeMember::from).collect() }
}

/// Reads the backup into the stream; without a trailer the client knows that it is incomplete. A client that takes
/// nothing for long is given up, as it keeps others from making a backup.
fn send_parts(backup: &Backup, parts: &mpsc::Sender<Result<v1::BackupPart, Status>>, runtime: &Handle) {
    let give = |part| runtime.block_on(timeout(PATIENCE, parts.send(part))).is_ok_and(|sent| sent.is_ok());
    let send = |kind| give(Ok(v1::BackupPart { kind: Some(kind) }));
    let Header { cluster, applied, .. } = *backup.header();
    let (cluster, length) = (cluster.as_bytes().to_vec(), backup.header().file_length());
    if !send(Kind::Header(v1::BackupHeader { cluster, applied, length })) {
        return;
    }
    match backup.read(|data| send(Kind::Data(data))) {
        Ok(Some(crc32c)) => {
            let _gone = send(Kind::Trailer(v1::BackupTrailer { crc32c }));
        }
        // The client went away.
        Ok(None) => {}
        Err(error) => {
            let error =
                FsError::new(ErrorCode::Io, format!("reading the backup failed ({error}): try again"));
            let _gone = give(Err(to_status(error)));
        }
    }
}
