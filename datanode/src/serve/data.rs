//! The gRPC service `Chunks`.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use dfs_daemon::Shutdown;
use dfs_daemon::accept::{CountRequests, Incoming, Info};
use dfs_proto::convert::{self, to_status};
use dfs_proto::v1;
use dfs_proto::v1::chunks_server::{Chunks, ChunksServer};
use dfs_types::limits::{MAX_DATA_MESSAGE_BYTES, MAX_STREAMS};
use dfs_types::{ChunkId, ErrorCode, FsError, FsResult, GenStamp};
use futures_util::stream::{self, Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::metrics::Counted;
use crate::peer::FRAME_BYTES;
use crate::sending::{self, Sending};
use crate::session::read::{self, Wanted};
use crate::session::write::{self, Context};
use crate::session::{Failure, Reply, Stage};
use crate::volume::reader::Piece;
use crate::wire;

/// Of the sessions, reads for copies, which thus leave the disks to readers.
const MAX_BACKGROUND: usize = 16;
/// Replies that may wait for a slow receiver.
const REPLIES: usize = 64;
/// How long the first message may be on its way.
const HEADER_LIMIT: Duration = Duration::from_secs(10);
/// Silence on a busy connection after which its peer is asked for a sign of life, and how long that may take.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(20));

/// Time in which a reader must take something: our own client closes a stream that its user leaves alone after seconds, and
/// opens it again when he goes on.
const STALL_LIMIT: Duration = Duration::from_mins(1);

/// The service.
#[derive(Debug)]
pub(crate) struct Service {
    context: Context,
    shutdown: Shutdown,
    sessions: Arc<Semaphore>,
    background: Arc<Semaphore>,
}

type Boxed<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Serves the data port until a stop is requested and the streams under way have ended. At most `sessions` write and read
/// sessions are open at once.
pub(crate) async fn serve(
    incoming: Incoming,
    context: Context,
    sessions: usize,
    shutdown: Shutdown,
) -> Result<(), tonic::transport::Error> {
    let window = context.memory.stream_window();
    let service = Service {
        context,
        shutdown: shutdown.clone(),
        sessions: Arc::new(Semaphore::new(sessions)),
        background: Arc::new(Semaphore::new(MAX_BACKGROUND)),
    };
    let chunks = ChunksServer::new(service)
        .max_decoding_message_size(MAX_DATA_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_DATA_MESSAGE_BYTES);
    let (interval, limit) = KEEP_ALIVE;
    Server::builder()
        .layer(CountRequests)
        .initial_stream_window_size(window)
        // Never smaller than those of its streams together. Otherwise streams whose packets wait for other nodes could
        // fill it and block the very ones these wait for, around a circle of nodes.
        .initial_connection_window_size(MAX_STREAMS * window)
        .max_concurrent_streams(MAX_STREAMS)
        .max_frame_size(FRAME_BYTES.min(window))
        .http2_keepalive_interval(Some(interval))
        .http2_keepalive_timeout(Some(limit))
        .add_service(chunks)
        .serve_with_incoming_shutdown(incoming, async move { shutdown.requested().await })
        .await
}

fn permit(semaphore: &Arc<Semaphore>, what: &str) -> FsResult<OwnedSemaphorePermit> {
    Arc::clone(semaphore).try_acquire_owned().map_err(|_| {
        FsError::new(ErrorCode::Busy, format!("too many {what} at once: try again or ask another node"))
    })
}

impl Service {
    /// Checks that the request is meant for this node.
    fn meant_for_me(&self, cluster: &[u8], target: &[u8]) -> FsResult<()> {
        write::check_target(&self.context.store, convert::cluster_id(cluster)?, convert::node_id(target)?)
    }

    /// Answers a request and counts it.
    async fn counted<T>(
        &self,
        method: &'static str,
        answer: impl Future<Output = FsResult<T>>,
    ) -> Result<Response<T>, Status> {
        let mut counted = Counted::begin(&self.context.metrics, method);
        let answer = answer.await;
        counted.ends(answer.as_ref().err());
        answer.map(Response::new).map_err(to_status)
    }

    /// What a reader is sent.
    async fn open(
        &self,
        request: v1::ReadRequest,
        connection: Option<Info>,
    ) -> FsResult<impl Stream<Item = FsResult<v1::ReadReply>> + Send + 'static> {
        self.meant_for_me(&request.cluster, &request.target)?;
        let background = request.background.then(|| permit(&self.background, "copies")).transpose()?;
        let permits = (permit(&self.sessions, "sessions")?, background);
        let (grant, ahead) = self.context.memory.read().await?;
        let grant = Arc::new(grant);
        let wanted = Wanted {
            chunk: ChunkId(request.chunk),
            generation: GenStamp(request.generation),
            offset: request.offset,
            length: request.length,
            packet_bytes: request.packet_bytes.into(),
        };
        let (store, metrics) = (Arc::clone(&self.context.store), Arc::clone(&self.context.metrics));
        let memory = (Arc::clone(&grant), ahead);
        let (readable, pieces) = read::open(store, metrics, wanted, memory, permits).await?;
        let mut pieces = self.watched(pieces, connection);
        // The first message tells how much there is, even if nothing of it is wanted.
        let first = match pieces.recv().await {
            Some(piece) => read_reply(piece?, readable),
            None => v1::ReadReply { readable, ..v1::ReadReply::default() },
        };
        let rest = stream::unfold((pieces, grant), |(mut pieces, grant)| async move {
            let piece = pieces.recv().await?;
            Some((piece.map(|piece| read_reply(piece, 0)), (pieces, grant)))
        });
        Ok(stream::iter([Ok(first)]).chain(rest))
    }

    /// Reads on while the reader takes what is read. One that takes nothing for long loses its connection: nothing else
    /// frees what it holds.
    fn watched<S>(&self, pieces: S, connection: Option<Info>) -> mpsc::Receiver<FsResult<Piece>>
    where
        S: Stream<Item = FsResult<Piece>> + Send + 'static,
    {
        let (taken, to_reader) = mpsc::channel(1);
        let metrics = Arc::clone(&self.context.metrics);
        tokio::spawn(async move {
            let mut pieces = pin!(pieces);
            while let Some(piece) = pieces.next().await {
                match timeout(STALL_LIMIT, taken.reserve()).await {
                    Ok(Ok(room)) => room.send(piece),
                    Ok(Err(_)) => return,
                    Err(_) => {
                        metrics.stalled.inc();
                        if let Some(connection) = connection {
                            connection.close();
                        }
                        // Kept until then, so that the end of the stream is not taken for the end of the data.
                        return taken.closed().await;
                    }
                }
            }
        });
        to_reader
    }

    fn replica(&self, request: &v1::GetReplicaRequest) -> FsResult<v1::GetReplicaReply> {
        self.meant_for_me(&request.cluster, &request.target)?;
        let record = self.context.store.record(ChunkId(request.chunk))?;
        Ok(v1::GetReplicaReply { replica: Some(convert::wire_replica_alone(record)) })
    }

    async fn checksum(&self, request: v1::ChecksumRequest) -> FsResult<v1::ChecksumReply> {
        self.meant_for_me(&request.cluster, &request.target)?;
        let store = &self.context.store;
        let chunk = ChunkId(request.chunk);
        let reader = store.reader(chunk, GenStamp(request.generation)).await?;
        let length = if request.length == 0 { reader.length() } else { request.length };
        if length > reader.length() {
            let why = format!("chunk {chunk} has {} bytes here, fewer than {length}", reader.length());
            return Err(FsError::new(ErrorCode::StaleChunk, why));
        }
        let crc32c = store.read_with(&Arc::new(reader), move |reader| reader.crc(length)).await?;
        Ok(v1::ChecksumReply { crc32c, length })
    }

    async fn transfer(&self, request: v1::TransferRequest) -> FsResult<v1::TransferReply> {
        self.meant_for_me(&request.cluster, &request.target)?;
        let _permit = permit(&self.sessions, "sessions")?;
        let sending = Sending {
            chunk: ChunkId(request.chunk),
            generation: GenStamp(request.generation),
            new_generation: GenStamp(request.new_generation),
            stage: Stage::Transfer,
            targets: convert::pipeline(request.to)?,
            bytes_per_second: 0,
        };
        let length = sending::send(&self.context, sending).await?;
        Ok(v1::TransferReply { length })
    }

    async fn prepare_recovery(
        &self,
        request: v1::PrepareRecoveryRequest,
    ) -> FsResult<v1::PrepareRecoveryReply> {
        self.meant_for_me(&request.cluster, &request.target)?;
        let (chunk, generation) = (ChunkId(request.chunk), GenStamp(request.new_generation));
        let replica = self.context.store.prepare_recovery(chunk, generation).await?;
        Ok(v1::PrepareRecoveryReply { replica: replica.map(convert::wire_replica_alone) })
    }

    async fn finish_recovery(&self, request: v1::FinishRecoveryRequest) -> FsResult<v1::FinishRecoveryReply> {
        self.meant_for_me(&request.cluster, &request.target)?;
        let (chunk, generation) = (ChunkId(request.chunk), GenStamp(request.new_generation));
        self.context.store.finish_recovery(chunk, generation, request.length).await?;
        Ok(v1::FinishRecoveryReply {})
    }
}

/// The replies, once the first message has come and the session is under way.
async fn session(
    context: Context,
    mut requests: Streaming<v1::WriteRequest>,
    replies: mpsc::Sender<Reply>,
) -> FsResult<()> {
    let first = match timeout(HEADER_LIMIT, requests.message()).await {
        Ok(Ok(Some(v1::WriteRequest { kind: Some(v1::write_request::Kind::Header(header)) }))) => {
            wire::read_header(header)
        }
        Ok(Ok(_)) => Err(FsError::invalid("the first message is no header")),
        Ok(Err(status)) => Err(convert::from_status(&status)),
        Err(_) => Err(FsError::new(ErrorCode::TimedOut, "the header did not come in time")),
    };
    match first {
        Ok(header) => {
            let packets = requests.map(|request| match request {
                Ok(request) => wire::read_packet(request),
                Err(status) => Err(convert::from_status(&status)),
            });
            write::run(&context, header, packets, replies).await
        }
        Err(error) => {
            // A sender that is gone needs no answer.
            let _ = replies.send(Reply::Setup(Err(Failure::here(error.clone())))).await;
            Err(error)
        }
    }
}

#[tonic::async_trait]
impl Chunks for Service {
    type WriteStream = Boxed<v1::WriteReply>;
    type ReadStream = Boxed<v1::ReadReply>;

    async fn write(
        &self,
        request: Request<Streaming<v1::WriteRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        let mut counted = Counted::begin(&self.context.metrics, "Write");
        let permit = permit(&self.sessions, "sessions");
        counted.ends(permit.as_ref().err());
        let permit = permit.map_err(to_status)?;
        let (replies, queue) = mpsc::channel(REPLIES);
        let context = self.context.clone();
        // A task of its own, so that what the session began is brought to an end even if the sender disappears.
        self.shutdown.spawn(async move {
            counted.ends(session(context, request.into_inner(), replies).await.err().as_ref());
            drop(permit);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(queue).map(|reply| Ok(wire::reply_message(reply))))))
    }

    async fn read(&self, request: Request<v1::ReadRequest>) -> Result<Response<Self::ReadStream>, Status> {
        let mut counted = Counted::begin(&self.context.metrics, "Read");
        let connection = request.extensions().get::<Info>().cloned();
        let opened = self.open(request.into_inner(), connection).await;
        counted.ends(opened.as_ref().err());
        let replies = opened.map_err(to_status)?.scan(counted, |counted, reply| {
            counted.ends(reply.as_ref().err());
            std::future::ready(Some(reply.map_err(to_status)))
        });
        Ok(Response::new(Box::pin(replies)))
    }

    async fn get_replica(
        &self,
        request: Request<v1::GetReplicaRequest>,
    ) -> Result<Response<v1::GetReplicaReply>, Status> {
        let request = request.into_inner();
        self.counted("GetReplica", async { self.replica(&request) }).await
    }

    async fn checksum(
        &self,
        request: Request<v1::ChecksumRequest>,
    ) -> Result<Response<v1::ChecksumReply>, Status> {
        self.counted("Checksum", self.checksum(request.into_inner())).await
    }

    async fn transfer(
        &self,
        request: Request<v1::TransferRequest>,
    ) -> Result<Response<v1::TransferReply>, Status> {
        self.counted("Transfer", self.transfer(request.into_inner())).await
    }

    async fn prepare_recovery(
        &self,
        request: Request<v1::PrepareRecoveryRequest>,
    ) -> Result<Response<v1::PrepareRecoveryReply>, Status> {
        self.counted("PrepareRecovery", self.prepare_recovery(request.into_inner())).await
    }

    async fn finish_recovery(
        &self,
        request: Request<v1::FinishRecoveryRequest>,
    ) -> Result<Response<v1::FinishRecoveryReply>, Status> {
        self.counted("FinishRecovery", self.finish_recovery(request.into_inner())).await
    }
}

fn read_reply(piece: Piece, readable: u64) -> v1::ReadReply {
    v1::ReadReply { offset: piece.offset, data: piece.data, checksums: piece.checksums, readable }
}
