//! What this node says to other DataNodes: pipelines onward, copies of replicas, steps of a recovery.

use std::time::Duration;

use dfs_proto::convert;
use dfs_proto::pool::{Lease, Pool};
use dfs_proto::v1;
use dfs_proto::v1::chunks_client::ChunksClient;
use dfs_types::limits::{CONNECT_TIMEOUT, MAX_DATA_MESSAGE_BYTES, MAX_STREAMS, pipeline_setup_limit};
use dfs_types::{ChunkId, ClusterId, Endpoint, ErrorCode, FsError, FsResult, GenStamp, ReplicaRecord};
use futures_util::stream::{self, StreamExt};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Streaming};

use crate::session::{Failure, Header, Reply};
use crate::volume::writer::Packet;
use crate::wire;

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
