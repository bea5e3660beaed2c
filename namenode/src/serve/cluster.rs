//! The `Cluster` service.

use std::sync::Arc;

use dfs_namenode_core::{NodeStats, Report, Slice};
use dfs_proto::convert::{cluster_id, node_id, replica_record, report_volumes, volume, wire_chunk_origin};
use dfs_proto::v1;
use dfs_proto::v1::cluster_server::Cluster;
use dfs_types::limits::MAX_MACHINE_BYTES;
use dfs_types::{ChunkId, Endpoint, FsError, FsResult, GenStamp, ReplicaRecord, VolumeId};

use super::wire::{node, node_ids, unary};
use crate::api::Namenode;
use crate::api::cluster::{Description, Reception, Registration, Sender};

/// The service over the API.
#[derive(Debug)]
pub(super) struct Service(pub(super) Arc<Namenode>);

type Peer = Option<String>;

unary! {
    impl Cluster {
        register: RegisterRequest -> RegisterReply,
        heartbeat: HeartbeatRequest -> HeartbeatReply,
        report_replicas: ReplicaReport -> ReportReply,
        commit_recovery: CommitRecoveryRequest -> ReportReply,
        describe_chunks: DescribeChunksRequest -> DescribeChunksReply,
    }
}

impl Service {
    async fn register(&self, request: v1::RegisterRequest, _: Peer) -> FsResult<v1::RegisterReply> {
        let Endpoint { id, at: address, .. } = node(request.node)?;
        let registration = Registration {
            cluster: if request.cluster.is_empty() { None } else { Some(cluster_id(&request.cluster)?) },
            sender: Sender { node: id, incarnation: incarnation(&request.incarnation)? },
            version: request.version,
            stats: NodeStats {
                address,
                machine: machine(request.machine)?,
                volumes: request.volumes.into_iter().map(volume).collect::<FsResult<_>>()?,
                active_writes: 0,
                active_reads: 0,
                active_copies: 0,
                stopping: false,
                as_of: 0,
            },
        };
        let registered = self.0.register(registration).await?;
        Ok(v1::RegisterReply {
            cluster: registered.cluster.as_bytes().to_vec(),
            heartbeat_interval_ms: registered.heartbeat_interval.as_millis() as u64,
            namenodes: self.0.namenode_addresses(),
            address: self.0.own_address(),
            report_from: registered.report_from.map(|from| from.0),
        })
    }

    async fn heartbeat(&self, request: v1::HeartbeatRequest, _: Peer) -> FsResult<v1::HeartbeatReply> {
        let Endpoint { id, at: address, .. } = node(request.node)?;
        let sender = Sender { node: id, incarnation: incarnation(&request.incarnation)? };
        let stats = NodeStats {
            address,
            machine: machine(request.machine)?,
            volumes: request.volumes.into_iter().map(volume).collect::<FsResult<_>>()?,
            active_writes: request.active_writes,
            active_reads: request.active_reads,
            active_copies: request.active_copies,
            stopping: request.stopping,
            as_of: request.as_of,
        };
        let answer = self.0.heartbeat(sender, request.fence, stats).await?;
        Ok(v1::HeartbeatReply {
            register: answer.reception.register,
            report_from: answer.reception.report_from.map(|from| from.0),
            commands: answer.commands.into_iter().map(v1::Command::from).collect(),
            term: answer.leads.unwrap_or_default(),
            leads: answer.leads.is_some(),
            namenodes: self.0.namenode_addresses(),
            feature_level: self.0.level().into(),
        })
    }

    async fn report_replicas(&self, request: v1::ReplicaReport, _: Peer) -> FsResult<v1::ReportReply> {
        let sender = sender(&request.node, &request.incarnation)?;
        let volumes = report_volumes(&request.volumes)?;
        let changes = request.changes.into_iter().map(|event| change(event, &volumes));
        let report = Report {
            after: request.after,
            changes: changes.collect::<FsResult<_>>()?,
            slice: request.slice.map(|wire| slice(wire, &volumes)).transpose()?,
        };
        self.0.take_report(sender, report).await.map(report_reply)
    }

    async fn commit_recovery(
        &self,
        request: v1::CommitRecoveryRequest,
        _: Peer,
    ) -> FsResult<v1::ReportReply> {
        let sender = sender(&request.node, &request.incarnation)?;
        let holders = node_ids(&request.holders)?;
        let (chunk, generation) = (ChunkId(request.chunk), GenStamp(request.new_generation));
        self.0.commit_recovery(sender, chunk, generation, request.length, &holders).await.map(report_reply)
    }

    async fn describe_chunks(
        &self,
        request: v1::DescribeChunksRequest,
        _: Peer,
    ) -> FsResult<v1::DescribeChunksReply> {
        let sender = sender(&request.node, &request.incarnation)?;
        let chunks = request.chunks.into_iter().map(ChunkId).collect();
        let Description { register, told, origins } = self.0.describe_chunks(sender, chunks).await?;
        let origins = origins.into_iter().map(wire_chunk_origin).collect();
        Ok(v1::DescribeChunksReply { register, told_ms: told.0, origins })
    }
}

fn machine(name: String) -> FsResult<String> {
    if name.len() > MAX_MACHINE_BYTES {
        return Err(FsError::invalid(format!("the machine's name has more than {MAX_MACHINE_BYTES} bytes")));
    }
    Ok(name)
}

fn incarnation(bytes: &[u8]) -> FsResult<u128> {
    let bytes: [u8; 16] = bytes
        .try_into()
        .map_err(|_| FsError::invalid(format!("the incarnation has {} bytes: 16 are needed", bytes.len())))?;
    Ok(u128::from_be_bytes(bytes))
}

fn sender(node: &[u8], process: &[u8]) -> FsResult<Sender> {
    Ok(Sender { node: node_id(node)?, incarnation: incarnation(process)? })
}

fn slice(wire: v1::ReportSlice, volumes: &[VolumeId]) -> FsResult<Slice> {
    let v1::ReportSlice { first, last, replicas, fence } = wire;
    let replicas =
        replicas.into_iter().map(|record| replica_record(record, volumes)).collect::<FsResult<_>>()?;
    Ok(Slice { first: ChunkId(first), last: ChunkId(last), fence, replicas })
}

fn change(event: v1::ReplicaEvent, volumes: &[VolumeId]) -> FsResult<(ReplicaRecord, bool)> {
    let record = event.replica.ok_or_else(|| FsError::invalid("the request lacks 'event.replica'"))?;
    Ok((replica_record(record, volumes)?, event.deleted))
}

fn report_reply(reception: Reception) -> v1::ReportReply {
    let Reception { register, report_from } = reception;
    v1::ReportReply { register, report_from: report_from.map(|from| from.0) }
}
