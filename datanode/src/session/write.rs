//! A write session: packets come from the client or the node before, go to the node after and to the disk, and are
//! acknowledged in order when both have them.
//!
//! ```text
//!            receive ──────────────> downstream node ──acks──┐
//!  packets ──>  │                                            v
//!               ├──> disk (write) ──own result──> acknowledge ──> acks
//!               └──────── sequence ───────────────────^
//! ```
//!
//! Three loops run concurrently within one task. A packet is forwarded before it is written. What may be between
//! arrival and acknowledgement is bounded in bytes and in number, which pushes back to the sender.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dfs_daemon::budget::Grant;
use dfs_types::limits::{MAX_CHUNK_SIZE, MAX_PACKET_BYTES, MAX_PIPELINE, MIN_CHUNK_SIZE, SYNC_PATIENCE};
use dfs_types::{ClusterId, ErrorCode, FsError, FsResult, GenStamp, NodeId};
use futures_util::stream::{Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::{Failure, Header, Reply, Stage};
use crate::memory::Memory;
use crate::metrics::{Active, Metrics};
use crate::peer::{Acks, Downstream, Peers};
use crate::store::Store;
use crate::store::write::{NewReplica, Writer};
use crate::volume::Error;
use crate::volume::writer::Packet;

/// Silence of the sender after which it is taken for gone. One that has nothing to say sends an empty packet.
pub(crate) const PACKET_LIMIT: Duration = Duration::from_mins(1);
/// How long a sender may have nothing to say while others wait for memory. It begins again when it goes on.
const IDLE_LIMIT: Duration = Duration::from_secs(10);
/// Packets between the session and the connection to the next node; their data counts as between arrival and
/// acknowledgement.
const FORWARD_PACKETS: usize = 4;
/// Packets between arrival and acknowledgement: bounds small ones.
const IN_FLIGHT_PACKETS: usize = 64;

/// What sessions work with.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    /// This node's replicas.
    pub(crate) store: Arc<Store>,
    /// Connections to other nodes.
    pub(crate) peers: Arc<Peers>,
    /// The metrics.
    pub(crate) metrics: Arc<Metrics>,
    /// The memory that sessions share.
    pub(crate) memory: Memory,
    /// Asks every session to end, late in a clean stop.
    pub(crate) cancel: CancellationToken,
}

/// Checks that a request is meant for this node.
pub(crate) fn check_target(store: &Store, cluster: ClusterId, target: NodeId) -> FsResult<()> {
    if cluster != store.cluster {
        return Err(FsError::new(
            ErrorCode::WrongCluster,
            format!("this node belongs to cluster {}, not to {cluster}", store.cluster),
        ));
    }
    if target != store.node {
        return Err(FsError::new(
            ErrorCode::WrongCluster,
            format!("this is node {}, not {target}: ask the NameNode where that is now", store.node),
        ));
    }
    Ok(())
}

fn check(store: &Store, header: &Header) -> FsResult<()> {
    check_target(store, header.cluster, header.target)?;
    if header.downstream.len() >= MAX_PIPELINE {
        return Err(FsError::invalid(format!("a pipeline may have at most {MAX_PIPELINE} nodes")));
    }
    if !(MIN_CHUNK_SIZE..=MAX_CHUNK_SIZE).contains(&header.chunk_size) {
        return Err(FsError::invalid(format!(
            "chunk size {} is out of range: use {MIN_CHUNK_SIZE} to {MAX_CHUNK_SIZE}",
            header.chunk_size
        )));
    }
    if header.generation == GenStamp(0) {
        return Err(FsError::invalid("the generation must be positive"));
    }
    Ok(())
}

async fn open_own(store: &Arc<Store>, header: &Header) -> Result<Writer, Error> {
    let create = |copy| {
        store.create(NewReplica {
            chunk: header.chunk,
            generation: header.generation,
            inode: header.inode,
            index: header.index,
            path: header.path.clone(),
            chunk_size: header.chunk_size,
            expected_length: header.expected_length,
            storage: header.storage,
            copy,
        })
    };
    match header.stage {
        Stage::Create => create(false).await,
        Stage::Copy | Stage::Transfer => create(true).await,
        Stage::Recover { min_length } => {
            let room = (header.chunk_size, header.expected_length);
            store.reopen(header.chunk, header.generation, min_length, room).await
        }
    }
}

/// Runs a session to its end. `packets` ends when the sender does.
pub(crate) async fn run<S>(
    context: &Context,
    header: Header,
    packets: S,
    replies: mpsc::Sender<Reply>,
) -> FsResult<()>
where
    S: Stream<Item = FsResult<Packet>> + Send,
{
    let Header { chunk, generation, stage, .. } = header;
    let _active = Active::count(&context.metrics, "write");
    debug!(%chunk, %generation, ?stage, holder = header.holder, path = header.path, "write session begins");
    let Ready { writer, downstream, grant, in_flight } = match set_up(context, &header, &replies).await {
        Ok(ready) => ready,
        Err(failure) => {
            info!(%chunk, %generation, ?stage, position = failure.position, error = %failure.error,
                "write session refused");
            let error = failure.error.clone();
            // A sender that is gone needs no answer.
            let _ = replies.send(Reply::Setup(Err(failure))).await;
            return Err(error);
        }
    };
    if replies.send(Reply::Setup(Ok(()))).await.is_err() {
        if !matches!(stage, Stage::Recover { .. }) {
            discard(writer).await;
        }
        return Err(ended("the sender has gone"));
    }
    let session = Session { context, header: &header, stop: writer.stop(), grant, in_flight };
    let outcome = session.stream(writer, downstream, packets, &replies).await;
    match &outcome {
        Ok(()) => debug!(%chunk, %generation, "write session complete"),
        Err(error) => info!(%chunk, %generation, ?stage, %error, "write session broken"),
    }
    outcome
}

/// What a session has before it asks for packets.
struct Ready {
    writer: Writer,
    downstream: Option<Downstream>,
    grant: Arc<Grant>,
    /// Bytes of packets for which there is room between arrival and acknowledgement.
    in_flight: usize,
}

/// Takes memory, and opens the replica here and the pipeline from here on, at the same time.
async fn set_up(context: &Context, header: &Header, replies: &mpsc::Sender<Reply>) -> Result<Ready, Failure> {
    check(&context.store, header).map_err(Failure::here)?;
    let granted = tokio::select! {
        granted = context.memory.write(header.downstream.len()) => granted,
        // Only while nothing has begun: what has is brought to its end.
        () = replies.closed() => Err(ended("the sender has gone")),
    };
    let (grant, in_flight) = granted.map_err(Failure::here)?;
    let grant = Arc::new(grant);
    let further = async {
        match header.downstream.split_first() {
            None => Ok(None),
            Some((next, rest)) => {
                let onward = Header {
                    target: next.id,
                    storage: next.storage,
                    patience: header.patience_onward(),
                    downstream: rest.to_vec(),
                    ..header.clone()
                };
                Downstream::open(&context.peers, next, onward, FORWARD_PACKETS).await.map(Some)
            }
        }
    };
    let (own, further) = tokio::join!(open_own(&context.store, header), further);
    match (own, further) {
        (Ok(writer), Ok(downstream)) => Ok(Ready { writer, downstream, grant, in_flight }),
        (Ok(writer), Err(failure)) => {
            if !matches!(header.stage, Stage::Recover { .. }) {
                discard(writer).await;
            }
            Err(failure.one_further())
        }
        (Err(error), _) => Err(Failure::here(error)),
    }
}

/// Removes a replica that this session created and that is worth nothing.
async fn discard(writer: Writer) {
    if let Err(error) = writer.remove().await {
        info!(%error, "a useless replica could not be removed");
    }
}

/// A packet on its way to the disk.
struct Queued {
    packet: Packet,
    written: oneshot::Sender<Result<(), Error>>,
}

/// A packet that is to be acknowledged.
struct Pending {
    sequence: u64,
    /// Bytes of its data.
    bytes: usize,
    last: bool,
    /// The nodes sync before they acknowledge it.
    syncs: bool,
    arrived: Instant,
    own: Own,
    _in_flight: Option<OwnedSemaphorePermit>,
}

/// How a packet fares on this node.
enum Own {
    /// The disk says so when it is done.
    Written(oneshot::Receiver<Result<(), Error>>),
    /// It is not wanted.
    Refused(FsError),
}

struct Session<'a> {
    context: &'a Context,
    header: &'a Header,
    stop: CancellationToken,
    grant: Arc<Grant>,
    in_flight: usize,
}

impl Session<'_> {
    /// Moves packets until the last is acknowledged (`Ok`) or something fails.
    async fn stream<S>(
        &self,
        writer: Writer,
        downstream: Option<Downstream>,
        packets: S,
        replies: &mpsc::Sender<Reply>,
    ) -> FsResult<()>
    where
        S: Stream<Item = FsResult<Packet>> + Send,
    {
        let (to_disk, disk) = mpsc::channel(IN_FLIGHT_PACKETS);
        let (to_acks, pending) = mpsc::channel(IN_FLIGHT_PACKETS);
        let (forward, acks) = match downstream.map(Downstream::split) {
            Some((forward, acks)) => (Some(forward), Some(acks)),
            None => (None, None),
        };
        // The first loop that ends with an error, or the acknowledgement of the last packet, ends the others; only
        // the disk loop always finishes the job it has begun.
        let end = CancellationToken::new();
        let network = async {
            let result = {
                let mut receive = pin!(self.receive(packets, forward, to_disk, to_acks));
                let mut acknowledge = pin!(self.acknowledge(pending, acks, replies));
                tokio::select! {
                    acknowledged = &mut acknowledge => acknowledged,
                    received = &mut receive => match received {
                        Ok(()) => acknowledge.await,
                        Err(error) => Err(error),
                    },
                    () = self.stop.cancelled() => Err(ended("another session took the replica over")),
                    () = self.context.cancel.cancelled() => Err(ended("this node is stopping")),
                }
            };
            end.cancel();
            result
        };
        let (result, (writer, complete)) = tokio::join!(network, self.write(writer, disk, &end));
        // What a client has begun stays, even without a byte: it may go on under the next generation.
        let useless = match self.header.stage {
            Stage::Copy | Stage::Transfer => true,
            Stage::Create | Stage::Recover { .. } => false,
        };
        if !complete && useless {
            discard(writer).await;
        }
        result
    }

    /// Takes packets in until the last one.
    async fn receive<S>(
        &self,
        packets: S,
        mut forward: Option<mpsc::Sender<Packet>>,
        to_disk: mpsc::Sender<Queued>,
        to_acks: mpsc::Sender<Pending>,
    ) -> FsResult<()>
    where
        S: Stream<Item = FsResult<Packet>> + Send,
    {
        let in_flight = Arc::new(Semaphore::new(self.in_flight));
        let mut packets = pin!(packets);
        let mut expected = 0;
        let mut last_data = tokio::time::Instant::now();
        loop {
            let idle = async {
                sleep_until(last_data + IDLE_LIMIT).await;
                // What is under way is always brought to its end.
                let nothing_under_way = in_flight.acquire_many(self.in_flight as u32).await;
                self.context.memory.scarce().await;
                drop(nothing_under_way);
            };
            let packet = tokio::select! {
                biased;
                next = timeout(PACKET_LIMIT, packets.next()) => match next {
                    Err(_) => {
                        return Err(FsError::new(ErrorCode::TimedOut, "the sender has been silent for too long"));
                    }
                    Ok(None) => return Err(ended("the sender went away before its last packet")),
                    Ok(Some(packet)) => packet?,
                },
                () = idle => return self.make_way(expected, to_acks).await,
            };
            if !packet.data.is_empty() {
                last_data = tokio::time::Instant::now();
            }
            if packet.sequence != expected {
                let why = format!("packet {} came where {expected} was due", packet.sequence);
                return Err(FsError::invalid(why));
            }
            expected += 1;
            let last = packet.last;
            // A packet over the limit is refused when it is judged; it must not wait for permits that cannot exist.
            let bytes = packet.data.len().min(MAX_PACKET_BYTES) as u32;
            let closed = |_| ended("the session ended");
            let permit = Arc::clone(&in_flight)
                .acquire_many_owned(bytes)
                .await
                .map_err(|_| ended("the session ended"))?;
            let (written, is_written) = oneshot::channel();
            let pending = Pending {
                sequence: packet.sequence,
                bytes: packet.data.len(),
                last,
                syncs: last || packet.sync,
                arrived: Instant::now(),
                own: Own::Written(is_written),
                _in_flight: Some(permit),
            };
            to_acks.send(pending).await.map_err(|_| ended("the session ended"))?;
            if let Some(next) = &forward
                && next.send(packet.clone()).await.is_err()
            {
                // The acknowledgements say what happened; this node keeps what it has got.
                forward = None;
            }
            to_disk.send(Queued { packet, written }).await.map_err(closed)?;
            if last {
                return Ok(());
            }
        }
    }

    /// Ends a session that only waits for its sender, because others wait for its memory; the sender is told instead of
    /// the acknowledgement of its next packet.
    async fn make_way(&self, next: u64, to_acks: mpsc::Sender<Pending>) -> FsResult<()> {
        self.context.metrics.made_way.inc();
        let why = "the sender was idle and others wait for memory: begin again when there is more to write";
        let busy = FsError::new(ErrorCode::Busy, why);
        let end = Pending {
            sequence: next,
            bytes: 0,
            last: true,
            syncs: false,
            arrived: Instant::now(),
            own: Own::Refused(busy),
            _in_flight: None,
        };
        to_acks.send(end).await.map_err(|_| ended("the session ended"))
    }

    /// Writes what has arrived, as much at once as waits. Answers whether the replica was completed.
    async fn write(
        &self,
        mut writer: Writer,
        mut disk: mpsc::Receiver<Queued>,
        end: &CancellationToken,
    ) -> (Writer, bool) {
        let mut waiting = Vec::with_capacity(IN_FLIGHT_PACKETS);
        loop {
            let received = tokio::select! {
                biased;
                () = end.cancelled() => 0,
                received = disk.recv_many(&mut waiting, IN_FLIGHT_PACKETS) => received,
            };
            if received == 0 {
                return (writer, false);
            }
            let (packets, written): (Vec<_>, Vec<_>) =
                waiting.drain(..).map(|queued| (queued.packet, queued.written)).unzip();
            let last = packets.last().is_some_and(|packet| packet.last);
            let held = Arc::clone(&self.grant);
            let (done, mut result) = writer.write(packets, self.header.sync, held).await;
            let complete = last && result.is_ok();
            // The last packet is done only when the replica is complete.
            let done = if complete { done - 1 } else { done };
            let mut written = written.into_iter();
            for sender in written.by_ref().take(done) {
                // Whoever waits for it may have gone.
                let _ = sender.send(Ok(()));
            }
            if complete {
                result = match self.header.stage {
                    Stage::Create | Stage::Recover { .. } | Stage::Copy => {
                        writer.finalize(self.header.sync).await
                    }
                    Stage::Transfer => writer.keep_open(self.header.sync).await,
                };
            }
            let ends = last || result.is_err();
            let complete = complete && result.is_ok();
            if let Some(sender) = written.next() {
                let _ = sender.send(result);
            }
            if ends {
                return (writer, complete);
            }
        }
    }

    /// Acknowledges packets in order. Ends well after the last one.
    async fn acknowledge(
        &self,
        mut pending: mpsc::Receiver<Pending>,
        mut acks: Option<Acks>,
        replies: &mpsc::Sender<Reply>,
    ) -> FsResult<()> {
        let gone = |_| ended("the sender went away");
        let patience = self.header.patience_onward();
        while let Some(next) = pending.recv().await {
            let Pending { sequence, bytes, last, syncs, arrived, own, _in_flight } = next;
            if last {
                // All before it are acknowledged, and syncs and reports need no memory.
                let needed = self.context.memory.write_end(self.header.downstream.len(), bytes);
                self.grant.shrink(needed);
            }
            let own = match own {
                Own::Written(written) => match written.await {
                    Ok(own) => own.map_err(Failure::here),
                    Err(_) => Err(Failure::here(ended("the session ended"))),
                },
                Own::Refused(why) => Err(Failure::here(why)),
            };
            let result = match (own, &mut acks) {
                (Ok(()), Some(acks)) => {
                    let limit = if syncs { patience * SYNC_PATIENCE } else { patience };
                    acks.next(sequence, limit).await.map_err(Failure::one_further)
                }
                (own, _) => own,
            };
            self.context.metrics.write_seconds.observe(arrived.elapsed().as_secs_f64());
            let error = result.as_ref().err().map(|failure| failure.error.clone());
            let sent = timeout(PACKET_LIMIT, replies.send(Reply::Ack { sequence, result })).await;
            sent.map_err(|_| {
                FsError::new(ErrorCode::TimedOut, "the sender has taken no acknowledgement for too long")
            })?
            .map_err(gone)?;
            match error {
                Some(error) => return Err(error),
                None if last => return Ok(()),
                None => {}
            }
        }
        Err(ended("the session ended"))
    }
}

fn ended(why: &str) -> FsError {
    FsError::new(ErrorCode::Unavailable, why)
}
