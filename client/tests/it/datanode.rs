//! A DataNode in memory. A pipeline's further nodes are reached directly, not over the network.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use dfs_proto::convert::{to_detail, to_status};
use dfs_proto::v1;
use dfs_types::limits::{BYTES_PER_CHECKSUM, MAX_DATA_MESSAGE_BYTES};
use dfs_types::{Endpoint, ErrorCode, FsError, NodeId, checksum};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};

/// What goes wrong on one node.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// Nothing works.
    pub(crate) dead: bool,
    /// A pipeline can't be set up over this node.
    pub(crate) refuse_setup: bool,
    /// Has no room for a new chunk now.
    pub(crate) busy: bool,
    /// Dies when it gets this packet (counted over all its streams).
    pub(crate) die_at_packet: Option<u64>,
    /// Dies when it gets a last packet, before finalizing.
    pub(crate) die_at_last: bool,
    /// As the first node: finalizes everywhere, then breaks the stream instead of acknowledging, once.
    pub(crate) lose_last_ack: bool,
    /// As the first node: takes packets but never acknowledges.
    pub(crate) mute: bool,
    /// As the first node: does not acknowledge the last packet of the chunk with this index as long as this is set.
    pub(crate) hold_last_of: Option<u64>,
    /// Reads: flips a bit of every packet.
    pub(crate) corrupt: bool,
    /// Reads: breaks the stream after so many packets.
    pub(crate) break_read_after: Option<usize>,
    /// Reads: ends the stream after so many packets.
    pub(crate) end_read_after: Option<usize>,
    /// Reads: stands still after so many packets, as a stopped process.
    pub(crate) hang_read_after: Option<usize>,
    /// Reads: waits so long before the first packet.
    pub(crate) delay: Duration,
}

#[derive(Debug, Clone)]
pub(crate) struct Replica {
    pub(crate) generation: u64,
    pub(crate) data: Vec<u8>,
    pub(crate) finalized: bool,
}

#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) endpoint: Endpoint,
    pub(crate) faults: Mutex<Faults>,
    pub(crate) replicas: Mutex<HashMap<u64, Replica>>,
    pub(crate) packets: Mutex<u64>,
    pub(crate) reads: Mutex<u64>,
}

impl Node {
    fn faults(&self) -> Faults {
        self.faults.lock().unwrap().clone()
    }

    fn die(&self) {
        self.faults.lock().unwrap().dead = true;
    }

    /// Prepares a replica for a write.
    fn open(&self, header: &v1::WriteHeader) -> Result<(), FsError> {
        let faults = self.faults();
        if faults.dead || faults.refuse_setup {
            return Err(FsError::new(ErrorCode::Unavailable, "setup refused"));
        }
        let mut replicas = self.replicas.lock().unwrap();
        if header.stage() == v1::WriteStage::Create {
            if faults.busy {
                return Err(FsError::new(ErrorCode::Busy, "no room"));
            }
            let new = Replica { generation: header.generation, data: Vec::new(), finalized: false };
            replicas.insert(header.chunk, new);
            return Ok(());
        }
        let stale = || FsError::new(ErrorCode::StaleChunk, "no such replica to recover");
        let replica = replicas.get_mut(&header.chunk).ok_or_else(stale)?;
        if replica.generation > header.generation || (replica.data.len() as u64) < header.min_length {
            return Err(stale());
        }
        replica.generation = header.generation;
        replica.finalized = false;
        Ok(())
    }

    /// Takes a packet; an error means that the node just died.
    fn take(&self, header: &v1::WriteHeader, packet: &v1::Packet) -> Result<(), FsError> {
        let faults = self.faults();
        let count = {
            let mut packets = self.packets.lock().unwrap();
            *packets += 1;
            *packets - 1
        };
        if faults.dead || faults.die_at_packet == Some(count) || (faults.die_at_last && packet.last) {
            self.die();
            return Err(FsError::new(ErrorCode::Unavailable, "died"));
        }
        checksum::verify(&packet.data, &packet.checksums).expect("the writer's checksums match");
        let begins = packet.data.is_empty() || packet.offset.is_multiple_of(BYTES_PER_CHECKSUM as u64);
        assert!(begins, "packets with data begin at a unit");
        let aligned = packet.data.len().is_multiple_of(BYTES_PER_CHECKSUM);
        assert!(aligned || packet.last || packet.flush, "only flushed and last packets end inside a unit");
        let mut replicas = self.replicas.lock().unwrap();
        let replica = replicas.get_mut(&header.chunk).expect("opened before");
        let offset = packet.offset as usize;
        assert!(offset <= replica.data.len(), "no gaps");
        replica.data.truncate(offset);
        replica.data.extend_from_slice(&packet.data);
        assert!(replica.data.len() as u64 <= header.chunk_size);
        replica.finalized |= packet.last;
        Ok(())
    }
}

#[derive(Clone)]
pub(crate) struct DataNode {
    pub(crate) me: Arc<Node>,
    pub(crate) all: Arc<Vec<Arc<Node>>>,
}

pub(crate) async fn serve(listener: TcpListener, node: DataNode) {
    let service = v1::chunks_server::ChunksServer::new(node)
        .max_decoding_message_size(MAX_DATA_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_DATA_MESSAGE_BYTES);
    tonic::transport::Server::builder()
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .add_service(service)
        .serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true)))
        .await
        .unwrap();
}

impl DataNode {
    fn find(&self, id: &[u8]) -> Arc<Node> {
        let id = NodeId::from_bytes(id).unwrap();
        Arc::clone(self.all.iter().find(|node| node.endpoint.id == id).expect("a node of the cluster"))
    }

    fn alive(&self) -> Result<(), Status> {
        if self.me.faults().dead { Err(Status::unavailable("dead")) } else { Ok(()) }
    }

    async fn session(
        &self,
        mut requests: Streaming<v1::WriteRequest>,
        replies: mpsc::Sender<Result<v1::WriteReply, Status>>,
    ) {
        let first = requests.message().await.unwrap().unwrap();
        let Some(v1::write_request::Kind::Header(header)) = first.kind else { panic!("header first") };
        assert_eq!(header.target, self.me.endpoint.id.as_bytes());
        let mut chain = vec![Arc::clone(&self.me)];
        chain.extend(header.downstream.iter().map(|node| self.find(&node.id)));
        let mut setup = v1::SetupReply::default();
        for (position, node) in chain.iter().enumerate() {
            if let Err(error) = node.open(&header) {
                setup = v1::SetupReply { error: Some(to_detail(&error)), failed: position as u32 };
                break;
            }
        }
        let failed = setup.error.is_some();
        let reply = v1::WriteReply { kind: Some(v1::write_reply::Kind::Setup(setup)) };
        if replies.send(Ok(reply)).await.is_err() || failed {
            return;
        }
        while let Ok(Some(request)) = requests.message().await {
            let Some(v1::write_request::Kind::Packet(packet)) = request.kind else { panic!("a packet") };
            let mut ack = v1::PacketAck { sequence: packet.sequence, ..v1::PacketAck::default() };
            for (position, node) in chain.iter().enumerate() {
                if let Err(error) = node.take(&header, &packet) {
                    if position == 0 {
                        return;
                    }
                    ack = v1::PacketAck { error: Some(to_detail(&error)), failed: position as u32, ..ack };
                    break;
                }
            }
            if packet.last && std::mem::take(&mut self.me.faults.lock().unwrap().lose_last_ack) {
                return;
            }
            if self.me.faults().mute {
                continue;
            }
            while packet.last && self.me.faults().hold_last_of == Some(header.index) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let failed = ack.error.is_some();
            let reply = v1::WriteReply { kind: Some(v1::write_reply::Kind::Ack(ack)) };
            if replies.send(Ok(reply)).await.is_err() || failed {
                return;
            }
        }
    }
}

#[tonic::async_trait]
impl v1::chunks_server::Chunks for DataNode {
    type WriteStream = ReceiverStream<Result<v1::WriteReply, Status>>;
    type ReadStream = ReceiverStream<Result<v1::ReadReply, Status>>;

    async fn write(
        &self,
        request: Request<Streaming<v1::WriteRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        self.alive()?;
        let (replies, stream) = mpsc::channel(64);
        let node = self.clone();
        tokio::spawn(async move { node.session(request.into_inner(), replies).await });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn read(&self, request: Request<v1::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        *self.me.reads.lock().unwrap() += 1;
        self.alive()?;
        let request = request.into_inner();
        let faults = self.me.faults();
        let replica = self.me.replicas.lock().unwrap().get(&request.chunk).cloned();
        let replica = replica
            .filter(|replica| replica.generation >= request.generation)
            .ok_or_else(|| to_status(FsError::new(ErrorCode::NotFound, "no such replica")))?;
        let unit = BYTES_PER_CHECKSUM as u64;
        let start = request.offset / unit * unit;
        let end = (request.offset + request.length).min(replica.data.len() as u64);
        let (replies, stream) = mpsc::channel(4);
        tokio::spawn(async move {
            tokio::time::sleep(faults.delay).await;
            let data = Bytes::from(replica.data);
            let size = (request.packet_bytes as usize).clamp(BYTES_PER_CHECKSUM, 64 << 10);
            for (index, offset) in (start..end).step_by(size).enumerate() {
                if faults.break_read_after == Some(index) {
                    let _ = replies.send(Err(Status::unavailable("broken"))).await;
                    return;
                }
                if faults.end_read_after == Some(index) {
                    return;
                }
                if faults.hang_read_after == Some(index) {
                    replies.closed().await;
                    return;
                }
                let part = data.slice(offset as usize..(offset as usize + size).min(data.len()));
                let checksums = checksum::compute(&part);
                let mut part = part.to_vec();
                if faults.corrupt {
                    part[0] ^= 1;
                }
                let reply = v1::ReadReply { offset, data: part.into(), checksums, readable: end };
                if replies.send(Ok(reply)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn get_replica(
        &self,
        request: Request<v1::GetReplicaRequest>,
    ) -> Result<Response<v1::GetReplicaReply>, Status> {
        self.alive()?;
        let chunk = request.into_inner().chunk;
        let replica = self.me.replicas.lock().unwrap().get(&chunk).map(|replica| v1::ReplicaRecord {
            chunk,
            generation: replica.generation,
            length: replica.data.len() as u64,
            state: if replica.finalized { v1::ReplicaState::Finalized } else { v1::ReplicaState::Rbw }.into(),
            volume: 0,
        });
        Ok(Response::new(v1::GetReplicaReply { replica }))
    }

    async fn checksum(
        &self,
        request: Request<v1::ChecksumRequest>,
    ) -> Result<Response<v1::ChecksumReply>, Status> {
        self.alive()?;
        let request = request.into_inner();
        let replicas = self.me.replicas.lock().unwrap();
        let replica = replicas.get(&request.chunk).ok_or_else(|| Status::not_found("no replica"))?;
        let data = &replica.data[..request.length as usize];
        Ok(Response::new(v1::ChecksumReply { crc32c: checksum::crc32c(data), length: request.length }))
    }

    async fn transfer(
        &self,
        request: Request<v1::TransferRequest>,
    ) -> Result<Response<v1::TransferReply>, Status> {
        self.alive()?;
        let request = request.into_inner();
        let replica = self.me.replicas.lock().unwrap().get(&request.chunk).cloned();
        let replica = replica
            .filter(|replica| replica.generation == request.generation)
            .ok_or_else(|| to_status(FsError::new(ErrorCode::StaleChunk, "another generation")))?;
        let length = replica.data.len() as u64;
        for target in &request.to {
            let copy = Replica { generation: request.new_generation, ..replica.clone() };
            self.find(&target.id).replicas.lock().unwrap().insert(request.chunk, copy);
        }
        Ok(Response::new(v1::TransferReply { length }))
    }

    async fn prepare_recovery(
        &self,
        _: Request<v1::PrepareRecoveryRequest>,
    ) -> Result<Response<v1::PrepareRecoveryReply>, Status> {
        Err(Status::unimplemented("no client asks for it"))
    }

    async fn finish_recovery(
        &self,
        _: Request<v1::FinishRecoveryRequest>,
    ) -> Result<Response<v1::FinishRecoveryReply>, Status> {
        Err(Status::unimplemented("no client asks for it"))
    }
}
