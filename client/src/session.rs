//! One stream of a pipeline: set up over the network, then packets out and acknowledgements in.

use std::time::Duration;

use dfs_proto::convert::{from_detail, from_status};
use dfs_proto::v1;
use dfs_types::limits::{BYTES_PER_CHECKSUM, pipeline_setup_limit};
use dfs_types::{Endpoint, ErrorCode, Extent, FsError, FsResult};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::datanodes::Place;
use crate::pipeline::Packet;
use crate::write_target::WriteTarget;

/// Packets between the state machine and the connection.
const OUTGOING: usize = 2;

/// A failure and the position in the pipeline of the node that failed, if known.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) position: Option<usize>,
    pub(crate) error: FsError,
}

impl Failure {
    /// A failure of an unknown node.
    pub(crate) fn unknown(error: FsError) -> Self {
        Self { position: None, error }
    }
}

/// What a pipeline writes: one chunk of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written<'a> {
    pub(crate) file: &'a WriteTarget,
    pub(crate) index: u64,
    /// Bytes that the chunk will most likely have.
    pub(crate) expected_length: u64,
    pub(crate) extent: Extent,
}

/// An open stream to the first node of a pipeline.
#[derive(Debug)]
pub(crate) struct Session {
    /// Towards the node.
    pub(crate) outgoing: mpsc::Sender<v1::WriteRequest>,
    incoming: Streaming<v1::WriteReply>,
    place: Place,
}

impl Session {
    /// Sets up a pipeline over `nodes` for what is `written` (the length of whose extent is what every node must have,
    /// if `recover`).
    pub(crate) async fn open(
        written: Written<'_>,
        nodes: &[Endpoint],
        recover: bool,
    ) -> Result<Self, Failure> {
        let file = written.file;
        let Some((first, downstream)) = nodes.split_first() else {
            let error = FsError::new(ErrorCode::NotEnoughNodes, "the pipeline has no node");
            return Err(Failure::unknown(error));
        };
        // Every node dials the next one and waits for it a little less long, so that the one that waits for the failed
        // node says which it is.
        let limit = pipeline_setup_limit(nodes.len() as u32);
        let opened = tokio::time::timeout(limit, async {
            let (mut client, place) = file.dfs.nodes.client(first).await.map_err(Failure::unknown)?;
            let (outgoing, requests) = mpsc::channel(OUTGOING);
            let header = header(written, first, downstream, recover);
            let header = v1::WriteRequest { kind: Some(v1::write_request::Kind::Header(header)) };
            // The channel is new and has room for it; the receiver is at hand.
            let _ = outgoing.send(header).await;
            let incoming = client
                .write(ReceiverStream::new(requests))
                .await
                .map_err(|status| Failure::unknown(from_status(&status)))?
                .into_inner();
            let mut session = Self { outgoing, incoming, place };
            match session.reply().await.map_err(Failure::unknown)? {
                v1::write_reply::Kind::Setup(v1::SetupReply { error: None, .. }) => Ok(session),
                v1::write_reply::Kind::Setup(v1::SetupReply { error: Some(detail), failed }) => {
                    Err(Failure { position: Some(failed as usize), error: from_detail(&detail) })
                }
                v1::write_reply::Kind::Ack(_) => Err(Failure::unknown(FsError::internal(
                    "an acknowledgement came before the setup's answer",
                ))),
            }
        })
        .await;
        let result = opened.unwrap_or_else(|_| {
            let text = format!("the pipeline was not set up within {limit:?}");
            Err(Failure::unknown(FsError::new(ErrorCode::TimedOut, text)))
        });
        if let Err(failure) = &result
            && failure.position.is_none()
        {
            file.dfs.nodes.blame(first, &failure.error);
        }
        result
    }

    /// The next acknowledged sequence number. Safe to cancel.
    pub(crate) async fn ack(&mut self) -> Result<u64, Failure> {
        match self.reply().await.map_err(Failure::unknown)? {
            v1::write_reply::Kind::Ack(v1::PacketAck { sequence, error: None, .. }) => Ok(sequence),
            v1::write_reply::Kind::Ack(v1::PacketAck { error: Some(detail), failed, .. }) => {
                Err(Failure { position: Some(failed as usize), error: from_detail(&detail) })
            }
            v1::write_reply::Kind::Setup(_) => {
                Err(Failure::unknown(FsError::internal("the setup was answered twice")))
            }
        }
    }

    /// Ends the stream and lets the node end its side, for at most `limit`: a reset would look like a failure there.
    pub(crate) async fn finish(self, limit: Duration) {
        let Self { outgoing, mut incoming, place } = self;
        drop(outgoing);
        // Whatever comes now, the chunk is finalized.
        let _ = tokio::time::timeout(limit, incoming.message()).await;
        drop(place);
    }

    async fn reply(&mut self) -> FsResult<v1::write_reply::Kind> {
        match self.incoming.message().await {
            Ok(Some(v1::WriteReply { kind: Some(kind) })) => Ok(kind),
            Ok(Some(v1::WriteReply { kind: None })) => Err(FsError::internal("a write's answer is empty")),
            Ok(None) => Err(FsError::new(ErrorCode::Unavailable, "the node ended the stream")),
            Err(status) => Err(from_status(&status)),
        }
    }
}

fn header(written: Written<'_>, first: &Endpoint, downstream: &[Endpoint], recover: bool) -> v1::WriteHeader {
    let Written { file, index, expected_length, extent } = written;
    let stage = if recover { v1::WriteStage::Recover } else { v1::WriteStage::Create };
    v1::WriteHeader {
        cluster: file.dfs.cluster.as_bytes().to_vec(),
        chunk: extent.chunk.0,
        generation: extent.generation.0,
        inode: file.inode.0,
        index,
        path: file.path.to_string(),
        chunk_size: file.chunk_size,
        expected_length,
        storage_type: first.storage.map(|storage| v1::StorageType::from(storage).into()),
        stage: stage.into(),
        min_length: if recover { extent.length } else { 0 },
        sync: file.sync,
        target: first.id.as_bytes().to_vec(),
        downstream: downstream.iter().cloned().map(Into::into).collect(),
        holder: file.dfs.leases.holder().to_owned(),
        bytes_per_checksum: BYTES_PER_CHECKSUM as u32,
        patience_ms: u32::try_from(file.dfs.settings.ack_timeout.as_millis()).unwrap_or(u32::MAX),
    }
}

/// The message for a packet; shares its data.
pub(crate) fn wire_packet(sequence: u64, packet: &Packet) -> v1::WriteRequest {
    let packet = v1::Packet {
        sequence,
        offset: packet.offset,
        data: packet.data.clone(),
        checksums: packet.sums.clone(),
        last: packet.last,
        flush: packet.flush,
        sync: packet.sync,
    };
    v1::WriteRequest { kind: Some(v1::write_request::Kind::Packet(packet)) }
}
