//! What closing files whose writer is gone waits for.

use dfs_types::{ChunkId, Endpoint, FsError, FsResult, LeaseRecovery, Millis, RecoveryWait, WaitingChunk};

use super::error::incomplete;
use super::values::{node_id, path};
use crate::v1;

impl TryFrom<v1::RecoveryWait> for RecoveryWait {
    type Error = FsError;

    fn try_from(wait: v1::RecoveryWait) -> FsResult<Self> {
        let v1::RecoveryWait { since_ms, expected, best_node, best_length, loss_accepted, .. } = wait;
        let best = best_node.map(|node| FsResult::Ok((node.try_into()?, best_length))).transpose()?;
        let known = wait.missing_nodes.into_iter().map(Endpoint::try_from).collect::<FsResult<Vec<_>>>()?;
        let missing = |id: Vec<u8>| {
            let id = node_id(&id)?;
            Ok((id, known.iter().find(|node| node.id == id).cloned()))
        };
        let missing = wait.missing.into_iter().map(missing).collect::<FsResult<_>>()?;
        Ok(Self { since: Millis(since_ms), expected, best, missing, loss_accepted })
    }
}

impl From<RecoveryWait> for v1::RecoveryWait {
    fn from(wait: RecoveryWait) -> Self {
        let RecoveryWait { since, expected, best, missing, loss_accepted } = wait;
        let (ids, nodes): (Vec<_>, Vec<_>) = missing.into_iter().unzip();
        let (best_node, best_length) = best.map_or((None, 0), |(node, length)| (Some(node.into()), length));
        Self {
            since_ms: since.0,
            expected,
            best_node,
            best_length,
            loss_accepted,
            missing: ids.into_iter().map(|id| id.as_bytes().to_vec()).collect(),
            missing_nodes: nodes.into_iter().flatten().map(v1::Node::from).collect(),
        }
    }
}

impl TryFrom<v1::WaitingChunk> for WaitingChunk {
    type Error = FsError;

    fn try_from(chunk: v1::WaitingChunk) -> FsResult<Self> {
        let v1::WaitingChunk { path: at, chunk, wait } = chunk;
        let wait = wait.ok_or_else(|| incomplete("waiting.wait"))?.try_into()?;
        Ok(Self { path: path(&at)?, chunk: ChunkId(chunk), wait })
    }
}

impl From<WaitingChunk> for v1::WaitingChunk {
    fn from(chunk: WaitingChunk) -> Self {
        let WaitingChunk { path, chunk, wait } = chunk;
        Self { path: path.into(), chunk: chunk.0, wait: Some(wait.into()) }
    }
}

impl TryFrom<v1::RecoverLeaseReply> for LeaseRecovery {
    type Error = FsError;

    fn try_from(reply: v1::RecoverLeaseReply) -> FsResult<Self> {
        let v1::RecoverLeaseReply { closed, waiting } = reply;
        Ok(Self {
            closed,
            waiting: waiting.into_iter().map(WaitingChunk::try_from).collect::<FsResult<_>>()?,
        })
    }
}

impl From<LeaseRecovery> for v1::RecoverLeaseReply {
    fn from(recovery: LeaseRecovery) -> Self {
        let LeaseRecovery { closed, waiting } = recovery;
        Self { closed, waiting: waiting.into_iter().map(v1::WaitingChunk::from).collect() }
    }
}

#[cfg(test)]
mod tests {
    use dfs_types::{Address, FsPath, NodeId};

    use super::*;

    #[test]
    fn recoveries_come_as_they_were_sent() {
        let at = Address { host: "h".into(), data_port: 1, http_port: 2, location: "/z/r".into() };
        let node = |host: &str| Endpoint {
            id: NodeId::random(),
            at: Address { host: host.into(), ..at.clone() },
            storage: None,
        };
        let (best, known, unknown) = (node("best"), node("known"), NodeId::random());
        let wait = RecoveryWait {
            since: Millis(1),
            expected: 2,
            best: Some((best, 3)),
            missing: vec![(unknown, None), (known.id, Some(known))],
            loss_accepted: true,
        };
        assert_eq!(wait.missing_names(), [unknown.to_string(), "known:1".to_owned()]);
        let path = FsPath::parse("/half").unwrap();
        let chunk = |wait| WaitingChunk { path: path.clone(), chunk: ChunkId(7), wait };
        let nothing = RecoveryWait { best: None, missing: Vec::new(), loss_accepted: false, ..wait.clone() };
        let recovery = LeaseRecovery { closed: true, waiting: vec![chunk(wait), chunk(nothing)] };
        let reply = v1::RecoverLeaseReply::from(recovery.clone());
        assert_eq!(LeaseRecovery::try_from(reply.clone()), Ok(recovery));
        let waiting = || reply.waiting[0].clone();
        let wait = || waiting().wait.unwrap();
        for bad in [
            v1::WaitingChunk { path: "half".into(), ..waiting() },
            v1::WaitingChunk { wait: None, ..waiting() },
            v1::WaitingChunk {
                wait: Some(v1::RecoveryWait { missing: vec![vec![7; 15]], ..wait() }),
                ..waiting()
            },
            v1::WaitingChunk {
                wait: Some(v1::RecoveryWait { best_node: Some(v1::Node::default()), ..wait() }),
                ..waiting()
            },
        ] {
            let reply = v1::RecoverLeaseReply { closed: false, waiting: vec![bad] };
            assert!(LeaseRecovery::try_from(reply).is_err());
        }
    }
}
