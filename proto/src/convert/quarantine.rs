//! Replicas that are kept although the namespace does not know their chunks.

use dfs_types::{ChunkId, FsError, FsResult, QuarantinedChunk};

use super::error::incomplete;
use super::values::{replica_record, wire_replica_alone};
use crate::v1;

impl TryFrom<v1::QuarantinedChunk> for QuarantinedChunk {
    type Error = FsError;

    fn try_from(chunk: v1::QuarantinedChunk) -> FsResult<Self> {
        let v1::QuarantinedChunk { chunk, replicas } = chunk;
        let replica = |v1::QuarantinedReplica { node, replica }| {
            let node = node.ok_or_else(|| incomplete("quarantine.node"))?.try_into()?;
            let replica = replica.ok_or_else(|| incomplete("quarantine.replica"))?;
            Ok((node, replica_record(replica, &[])?))
        };
        let replicas = replicas.into_iter().map(replica).collect::<FsResult<_>>()?;
        Ok(Self { chunk: ChunkId(chunk), replicas })
    }
}

/// On which of the nodes' volumes the replicas are is not told.
impl From<QuarantinedChunk> for v1::QuarantinedChunk {
    fn from(chunk: QuarantinedChunk) -> Self {
        let QuarantinedChunk { chunk, replicas } = chunk;
        let replicas = replicas.into_iter().map(|(node, record)| v1::QuarantinedReplica {
            node: Some(node.into()),
            replica: Some(wire_replica_alone(record)),
        });
        Self { chunk: chunk.0, replicas: replicas.collect() }
    }
}

#[cfg(test)]
mod tests {
    use dfs_types::{Address, Endpoint, GenStamp, NodeId, ReplicaRecord, ReplicaState, VolumeId};

    use super::*;

    #[test]
    fn quarantined_chunks_come_as_they_were_sent() {
        let at = Address { host: "h".into(), data_port: 1, http_port: 2, location: "/z/r".into() };
        let node = Endpoint { id: NodeId::random(), at, storage: None };
        let record = ReplicaRecord {
            chunk: ChunkId(7),
            generation: GenStamp(1_001),
            length: 5,
            state: ReplicaState::Rwr,
            volume: None,
        };
        let chunk = QuarantinedChunk { chunk: ChunkId(7), replicas: vec![(node.clone(), record)] };
        assert_eq!(QuarantinedChunk::try_from(v1::QuarantinedChunk::from(chunk.clone())), Ok(chunk.clone()));
        let on = ReplicaRecord { volume: VolumeId::from_bytes(&[7; 16]), ..record };
        let told = QuarantinedChunk { replicas: vec![(node, on)], ..chunk.clone() };
        assert_eq!(QuarantinedChunk::try_from(v1::QuarantinedChunk::from(told)), Ok(chunk.clone()));
        let replica = v1::QuarantinedChunk::from(chunk).replicas.remove(0);
        for bad in [
            v1::QuarantinedReplica { node: None, ..replica.clone() },
            v1::QuarantinedReplica { replica: None, ..replica.clone() },
            v1::QuarantinedReplica { replica: Some(v1::ReplicaRecord::default()), ..replica },
        ] {
            let bad = v1::QuarantinedChunk { chunk: 7, replicas: vec![bad] };
            assert!(QuarantinedChunk::try_from(bad).is_err());
        }
    }
}
