//! Closing files whose writer is gone, and what that waits for.

use dfs_proto::convert::incomplete;
use dfs_proto::v1;
use dfs_types::{ChunkId, Endpoint, FsPath, FsResult, Millis, NodeId};

use crate::handle::Dfs;

/// What the recovery of a chunk waits for: no replica with all that readers count on is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecoveryWait {
    /// Unix time at which the file was taken from its writer.
    pub since: Millis,
    /// Bytes that a replica must have.
    pub expected: u64,
    /// Where the longest replica known is, and its bytes; `None` if no node has told of any.
    pub best: Option<(Endpoint, u64)>,
    /// The nodes it was written to that have not said what they hold: their addresses, or else their ids.
    pub missing: Vec<String>,
    /// Whether an administrator accepted that the recovery ends with that.
    pub loss_accepted: bool,
}

/// A chunk whose recovery waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingChunk {
    /// Its file.
    pub path: String,
    /// The chunk.
    pub chunk: ChunkId,
    /// For what.
    pub wait: RecoveryWait,
}

/// How far the recovery of a file is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRecovery {
    /// The file is closed.
    pub closed: bool,
    /// Those of its chunks whose recovery waits.
    pub waiting: Vec<WaitingChunk>,
}

pub(crate) fn recovery_wait(wait: v1::RecoveryWait) -> FsResult<RecoveryWait> {
    let v1::RecoveryWait {
        since_ms,
        expected,
        best_node,
        best_length,
        loss_accepted,
        missing,
        missing_nodes,
    } = wait;
    let best = best_node.map(|node| FsResult::Ok((node.try_into()?, best_length))).transpose()?;
    let known: Vec<Endpoint> = missing_nodes.into_iter().map(TryInto::try_into).collect::<FsResult<_>>()?;
    let name = |id: Vec<u8>| {
        let id = NodeId::from_bytes(&id).ok_or_else(|| incomplete("waiting.missing"))?;
        let known = known.iter().find(|node| node.id == id);
        Ok(known.map_or_else(|| id.to_string(), Endpoint::address))
    };
    let missing = missing.into_iter().map(name).collect::<FsResult<_>>()?;
    Ok(RecoveryWait { since: Millis(since_ms), expected, best, missing, loss_accepted })
}

pub(crate) fn waiting_chunks(chunks: Vec<v1::WaitingChunk>) -> FsResult<Vec<WaitingChunk>> {
    let chunk = |v1::WaitingChunk { path, chunk, wait }| {
        let wait = recovery_wait(wait.ok_or_else(|| incomplete("waiting.wait"))?)?;
        Ok(WaitingChunk { path, chunk: ChunkId(chunk), wait })
    };
    chunks.into_iter().map(chunk).collect()
}

impl Dfs {
    /// Closes a file whose writer is gone, taking its lease, and tells what that waits for: ask again until it is closed.
    ///
    /// With `accept_loss`, which is for superusers, the file may end with less than was acknowledged, once no node that can
    /// be asked has all of it. Another NameNode that comes to lead forgets that: give it each time.
    pub async fn lease_recovery(&self, path: &FsPath, accept_loss: bool) -> FsResult<LeaseRecovery> {
        let holder = self.inner.leases.holder();
        let reply = self
            .inner
            .namenode
            .namespace(self.inner.settings.call(), |mut client, context| {
                let request = v1::RecoverLeaseRequest {
                    context: Some(context),
                    path: path.to_string(),
                    holder: holder.to_owned(),
                    accept_loss,
                };
                async move { client.recover_lease(request).await }
            })
            .await?;
        let v1::RecoverLeaseReply { closed, waiting } = reply;
        Ok(LeaseRecovery { closed, waiting: waiting_chunks(waiting)? })
    }
}
