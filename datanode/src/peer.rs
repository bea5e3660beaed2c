//! What this node says to other DataNodes: pipelines onward, copies of replicas, steps of a recovery.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use dfs_proto::convert;
use dfs_proto::pool::{Lease, Pool};
use dfs_proto::v1;
use dfs_proto::v1::chunks_client::ChunksClient;
use dfs_types::limits::{
    CONNECT_TIMEOUT, MAX_DATA_MESSAGE_BYTES, MAX_STREAMS, MIN_CHUNK_SIZE, SYNC_PATIENCE, pipeline_setup_limit,
};
use dfs_types::{ChunkId, ClusterId, Endpoint, ErrorCode, FsError, FsResult, GenStamp, ReplicaRecord};
use futures_util::stream::{self, StreamExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Streaming};

use crate::metrics::Active;
use crate::pace::Pace;
use crate::session::write::Context;
use crate::session::{Failure, Header, Reply, Stage};
use crate::volume::reader::{Reader, split};
use crate::volume::writer::Packet;
use crate::wire::{self, DEFAULT_PATIENCE};

/// Flow control window of a stream of acknowledgements, in bytes.
const ACKS_WINDOW: u32 = 64 << 10;
/// Silence on a busy connection after which its peer is asked for a sign of life, and how long that may take.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(10));
/// HTTP/2 frame size: fewer, larger frames cost less.
pub(crate) const FRAME_BYTES: u32 = 1 << 20;
/// How long one step of a recovery may take on another node: it stops a writer, which may be in an fsync, and syncs.
const STEP_LIMIT: Duration = Duration::from_secs(25);

/// Connections to other DataNodes, opened when needed and shared by all sessions.
#[derive(Debug, Default)]
pub(crate) struct Peers(Pool<Channel>);

impl Peers {
    /// A client for one stream or call, during which the lease is to be kept.
    fn client(&self, endpoint: &Endpoint) -> FsResult<(ChunksClient<Channel>, Lease<Channel>)> {
        let address = endpoint.address();
        let lease = self.0.lease(&address, || connection(&address))?;
        let client = ChunksClient::new(lease.connection().clone())
            .max_decoding_message_size(MAX_DATA_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_DATA_MESSAGE_BYTES);
        Ok((client, lease))
    }

    /// Asks a holder to stop its writer and to say what it has; `None` if it has nothing.
    pub(crate) async fn prepare_recovery(
        &self,
        cluster: ClusterId,
        holder: &Endpoint,
        chunk: ChunkId,
        new_generation: GenStamp,
    ) -> FsResult<Option<ReplicaRecord>> {
        let mut request = Request::new(v1::PrepareRecoveryRequest {
            cluster: cluster.as_bytes().to_vec(),
            target: holder.id.as_bytes().to_vec(),
            chunk: chunk.0,
            new_generation: new_generation.0,
        });
        request.set_timeout(STEP_LIMIT);
        let (mut client, _lease) = self.client(holder)?;
        let reply = client.prepare_recovery(request).await;
        let reply = reply.map_err(|status| convert::from_status(&status))?.into_inner();
        reply.replica.map(|replica| convert::replica_record(replica, &[])).transpose()
    }

    /// Asks a holder to finalize its replica with the agreed length.
    pub(crate) async fn finish_recovery(
        &self,
        cluster: ClusterId,
        holder: &Endpoint,
        chunk: ChunkId,
        new_generation: GenStamp,
        length: u64,
    ) -> FsResult<()> {
        let mut request = Request::new(v1::FinishRecoveryRequest {
            cluster: cluster.as_bytes().to_vec(),
            target: holder.id.as_bytes().to_vec(),
            chunk: chunk.0,
            new_generation: new_generation.0,
            length,
        });
        request.set_timeout(STEP_LIMIT);
        let (mut client, _lease) = self.client(holder)?;
        let reply = client.finish_recovery(request).await;
        reply.map(|_| ()).map_err(|status| convert::from_status(&status))
    }
}

fn connection(address: &str) -> FsResult<Channel> {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| FsError::invalid(format!("'{address}' is not an address: {error}")))?;
    let (interval, limit) = KEEP_ALIVE;
    Ok(endpoint
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .initial_stream_window_size(ACKS_WINDOW)
        .initial_connection_window_size(MAX_STREAMS * ACKS_WINDOW)
        .max_frame_size(FRAME_BYTES)
        .http2_keep_alive_interval(interval)
        .keep_alive_timeout(limit)
        .connect_lazy())
}

/// The pipeline from the next node on.
#[derive(Debug)]
pub(crate) struct Downstream {
    packets: mpsc::Sender<Packet>,
    acks: Acks,
}

/// Acknowledgements of the pipeline from the next node on.
#[derive(Debug)]
pub(crate) struct Acks {
    replies: Streaming<v1::WriteReply>,
    node: String,
    _lease: Lease<Channel>,
}

impl Downstream {
    /// Connects and waits until every node from there on is ready. `ahead` packets may wait for the connection. Positions of
    /// failures count from the next node.
    pub(crate) async fn open(
        peers: &Peers,
        next: &Endpoint,
        header: Header,
        ahead: usize,
    ) -> Result<Self, Failure> {
        let limit = pipeline_setup_limit(header.downstream.len() as u32 + 1);
        let node = next.address();
        let late =
            |_| Failure::here(FsError::new(ErrorCode::TimedOut, format!("{node} is not ready in time")));
        let setup = async {
            let (packets, queue) = mpsc::channel(ahead);
            let first = stream::once(std::future::ready(wire::header_message(header)));
            let requests = first.chain(ReceiverStream::new(queue).map(wire::packet_message));
            let (mut client, lease) = peers.client(next).map_err(Failure::here)?;
            let replies = client.write(requests).await.map_err(|status| failed(&node, &status))?;
            let mut acks = Acks { replies: replies.into_inner(), node: node.clone(), _lease: lease };
            match acks.reply().await? {
                Reply::Setup(ready) => ready.map(|()| Self { packets, acks }),
                Reply::Ack { .. } => Err(acks.unexpected()),
            }
        };
        timeout(limit, setup).await.map_err(late)?
    }

    /// The sending and the receiving half.
    pub(crate) fn split(self) -> (mpsc::Sender<Packet>, Acks) {
        (self.packets, self.acks)
    }
}

impl Acks {
    async fn reply(&mut self) -> Result<Reply, Failure> {
        match self.replies.message().await {
            Ok(Some(reply)) => wire::read_reply(reply).map_err(Failure::here),
            Ok(None) => Err(Failure::here(FsError::new(
                ErrorCode::Unavailable,
                format!("{} ended the stream", self.node),
            ))),
            Err(status) => Err(failed(&self.node, &status)),
        }
    }

    fn unexpected(&self) -> Failure {
        Failure::here(FsError::internal(format!("{} answered out of order", self.node)))
    }

    /// Waits until all further nodes have the packet, at most `limit`.
    pub(crate) async fn next(&mut self, sequence: u64, limit: Duration) -> Result<(), Failure> {
        let reply = timeout(limit, self.reply()).await.map_err(|_| {
            let why = format!("{} has not acknowledged packet {sequence} for {limit:?}", self.node);
            Failure::here(FsError::new(ErrorCode::TimedOut, why))
        })?;
        match reply? {
            Reply::Ack { sequence: acked, result } if acked == sequence || result.is_err() => result,
            Reply::Ack { .. } | Reply::Setup(_) => Err(self.unexpected()),
        }
    }
}

fn failed(node: &str, status: &tonic::Status) -> Failure {
    let error = convert::from_status(status);
    Failure::here(FsError::new(error.code, format!("{node}: {}", error.message)))
}

/// A replica of this node that is to be sent to others.
#[derive(Debug, Clone)]
pub(crate) struct Sending {
    /// The chunk.
    pub(crate) chunk: ChunkId,
    /// The replica's generation here.
    pub(crate) generation: GenStamp,
    /// The generation of the copies.
    pub(crate) new_generation: GenStamp,
    /// [`Stage::Copy`] or [`Stage::Transfer`].
    pub(crate) stage: Stage,
    /// Whereto, as one pipeline.
    pub(crate) targets: Vec<Endpoint>,
    /// How fast at most; 0 for no limit.
    pub(crate) bytes_per_second: u64,
}

/// Sends a replica, checked against its checksums, to other nodes. Answers its length when all of them have it.
pub(crate) async fn send(context: &Context, sending: Sending) -> FsResult<u64> {
    let Sending { chunk, generation, new_generation, stage, targets, bytes_per_second } = sending;
    let Some((next, rest)) = targets.split_first() else {
        return Err(FsError::invalid("no node is given to send the replica to"));
    };
    let (grant, ahead) = context.memory.copy(targets.len()).await?;
    let grant = Arc::new(grant);
    let _active = Active::count(&context.metrics, "copy");
    let reader = Arc::new(context.store.reader(chunk, generation).await?);
    if reader.generation != generation || (stage == Stage::Copy && !reader.finalized) {
        let why = format!("chunk {chunk} has no finalized replica of generation {generation} here");
        return Err(FsError::new(ErrorCode::StaleChunk, why));
    }
    let length = reader.length();
    let header = Header {
        cluster: context.store.cluster,
        target: next.id,
        chunk,
        generation: new_generation,
        inode: reader.header.inode,
        index: reader.header.index,
        path: reader.header.path.clone(),
        chunk_size: length.max(MIN_CHUNK_SIZE),
        expected_length: length,
        stage,
        sync: true,
        downstream: rest.to_vec(),
        storage: next.storage,
        holder: String::new(),
        patience: DEFAULT_PATIENCE,
    };
    let at = |failure: Failure| {
        let node = targets.get(failure.position as usize).map_or_else(String::new, Endpoint::address);
        FsError::new(failure.error.code, format!("{node}: {}", failure.error.message))
    };
    let (packets, mut acks) = Downstream::open(&context.peers, next, header, 1).await.map_err(at)?.split();
    let mut ranges: Vec<_> = split(length, 0, 0, ahead.packet).collect();
    if ranges.is_empty() {
        ranges.push(0..0);
    }
    let count = ranges.len() as u64;
    let push = async {
        let read = |range| {
            let (reader, memory) = (Arc::clone(&reader), Arc::downgrade(&grant));
            let verified = move |reader: &Reader| {
                let _until_read = memory.upgrade();
                reader.read_verified(range)
            };
            async move { context.store.read_with(&reader, verified).await }
        };
        let mut pieces = pin!(stream::iter(ranges.into_iter().map(read)).buffered(ahead.packets));
        let mut pace = Pace::new(bytes_per_second);
        for sequence in 0.. {
            let Some(piece) = pieces.next().await else { break };
            let piece = piece.inspect_err(|_| {
                context.metrics.checksum_failures.with_label_values(&["copy"]).inc();
            })?;
            pace.take(piece.data.len() as u64).await;
            let packet = Packet {
                sequence,
                offset: piece.offset,
                data: piece.data,
                checksums: piece.checksums,
                last: sequence + 1 == count,
                flush: false,
                sync: false,
            };
            if packets.send(packet).await.is_err() {
                // The acknowledgements say why.
                break;
            }
        }
        Ok::<(), FsError>(())
    };
    let confirm = async {
        for sequence in 0..count {
            let limit =
                if sequence + 1 == count { DEFAULT_PATIENCE * SYNC_PATIENCE } else { DEFAULT_PATIENCE };
            acks.next(sequence, limit).await.map_err(at)?;
        }
        Ok(())
    };
    tokio::try_join!(push, confirm)?;
    Ok(length)
}
