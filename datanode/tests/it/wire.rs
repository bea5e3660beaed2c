//! A client that speaks the wire protocol, and nothing more.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use dfs_proto::convert;
use dfs_proto::v1;
use dfs_proto::v1::chunks_client::ChunksClient;
use dfs_types::checksum::{compute, verify};
use dfs_types::{ClusterId, ErrorCode, FsError};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::cluster::Node;

/// First generation in these tests.
pub(crate) const GENERATION: u64 = 1_001;
/// Chunk size in these tests.
pub(crate) const CHUNK_SIZE: u64 = 8 << 20;
const LIMIT: Duration = Duration::from_mins(1);

/// Bytes that differ everywhere.
pub(crate) fn bytes(length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| (at.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

/// A connection to a node.
pub(crate) async fn connect(node: &Node) -> ChunksClient<Channel> {
    let client = ChunksClient::connect(format!("http://{}", node.data)).await.unwrap();
    client.max_decoding_message_size(64 << 20).max_encoding_message_size(64 << 20)
}

/// The header of a write through `nodes`.
pub(crate) fn header(cluster: ClusterId, nodes: &[&Node], chunk: u64) -> v1::WriteHeader {
    v1::WriteHeader {
        cluster: cluster.as_bytes().to_vec(),
        chunk,
        generation: GENERATION,
        inode: 20_000,
        index: 0,
        path: "/some/file".to_owned(),
        chunk_size: CHUNK_SIZE,
        stage: v1::WriteStage::Create.into(),
        min_length: 0,
        sync: true,
        target: nodes[0].id.as_bytes().to_vec(),
        downstream: nodes[1..].iter().map(|node| node.endpoint()).collect(),
        holder: "test".to_owned(),
        bytes_per_checksum: 512,
        patience_ms: 0,
        expected_length: 0,
        storage_type: None,
    }
}

/// A packet with right checksums.
pub(crate) fn packet(sequence: u64, offset: usize, data: &[u8]) -> v1::Packet {
    v1::Packet {
        sequence,
        offset: offset as u64,
        data: Bytes::copy_from_slice(data),
        checksums: compute(data),
        last: false,
        flush: false,
        sync: false,
    }
}

/// An error and the position of the node that it is about.
pub(crate) type Failed = (FsError, u32);

/// A write stream.
pub(crate) struct Writing {
    requests: Option<mpsc::Sender<v1::WriteRequest>>,
    replies: Streaming<v1::WriteReply>,
}

impl Writing {
    /// Opens a write stream to `node` and waits for the setup's outcome.
    pub(crate) async fn open(node: &Node, header: v1::WriteHeader) -> Result<Self, Failed> {
        let mut writing =
            Self::begin(node, v1::WriteRequest { kind: Some(v1::write_request::Kind::Header(header)) }).await;
        match writing.reply().await {
            Some(v1::write_reply::Kind::Setup(setup)) => match setup.error {
                None => Ok(writing),
                Some(error) => Err((convert::from_detail(&error), setup.failed)),
            },
            other => panic!("{other:?}"),
        }
    }

    /// Opens a write stream with any first message.
    pub(crate) async fn begin(node: &Node, first: v1::WriteRequest) -> Self {
        let (requests, queue) = mpsc::channel(16);
        requests.send(first).await.unwrap();
        let replies = connect(node).await.write(ReceiverStream::new(queue)).await.unwrap().into_inner();
        Self { requests: Some(requests), replies }
    }

    /// Sends a packet.
    pub(crate) async fn send(&self, packet: v1::Packet) {
        let request = v1::WriteRequest { kind: Some(v1::write_request::Kind::Packet(packet)) };
        // The other side may have ended; the replies tell.
        let _ = self.requests.as_ref().unwrap().send(request).await;
    }

    /// The next reply; `None` when the stream has ended.
    pub(crate) async fn reply(&mut self) -> Option<v1::write_reply::Kind> {
        let reply = tokio::time::timeout(LIMIT, self.replies.message()).await.unwrap();
        reply.ok().flatten().and_then(|reply| reply.kind)
    }

    /// The acknowledgement of a packet.
    pub(crate) async fn ack(&mut self, sequence: u64) -> Result<(), Failed> {
        match self.reply().await {
            Some(v1::write_reply::Kind::Ack(ack)) => match ack.error {
                None => {
                    assert_eq!(ack.sequence, sequence);
                    Ok(())
                }
                Some(error) => Err((convert::from_detail(&error), ack.failed)),
            },
            other => panic!("{other:?}"),
        }
    }

    /// Sends a packet and waits for its acknowledgement.
    pub(crate) async fn put(&mut self, packet: v1::Packet) -> Result<(), Failed> {
        let sequence = packet.sequence;
        self.send(packet).await;
        self.ack(sequence).await
    }

    /// Sends `data` from `offset` on in packets of `size` bytes, the last one marked as such, and waits for all
    /// acknowledgements.
    pub(crate) async fn finish(
        &mut self,
        sequence: u64,
        offset: usize,
        data: &[u8],
        size: usize,
    ) -> Result<(), Failed> {
        let mut pieces: Vec<&[u8]> = data.chunks(size).collect();
        if pieces.is_empty() {
            pieces.push(&[]);
        }
        let mut at = offset;
        let requests = self.requests.clone().unwrap();
        let count = pieces.len();
        let packets: Vec<_> = pieces
            .into_iter()
            .zip(sequence..)
            .map(|(piece, number)| {
                let last = number == sequence + count as u64 - 1;
                let packet = v1::Packet { last, ..packet(number, at, piece) };
                at += piece.len();
                packet
            })
            .collect();
        // Sending and receiving at once, as a client does: both directions are bounded.
        let sending = tokio::spawn(async move {
            for packet in packets {
                let kind = Some(v1::write_request::Kind::Packet(packet));
                if requests.send(v1::WriteRequest { kind }).await.is_err() {
                    break;
                }
            }
        });
        for number in sequence..sequence + count as u64 {
            self.ack(number).await?;
        }
        sending.await.unwrap();
        Ok(())
    }

    /// Hangs up.
    pub(crate) fn hang_up(&mut self) {
        self.requests = None;
    }
}

/// Writes a whole chunk through `nodes`.
pub(crate) async fn write(cluster: ClusterId, nodes: &[&Node], chunk: u64, data: &[u8]) {
    let mut writing = Writing::open(nodes[0], header(cluster, nodes, chunk)).await.unwrap();
    writing.finish(0, 0, data, 64 << 10).await.unwrap();
}

/// A read request for a whole chunk.
pub(crate) fn read_request(cluster: ClusterId, node: &Node, chunk: u64) -> v1::ReadRequest {
    v1::ReadRequest {
        cluster: cluster.as_bytes().to_vec(),
        target: node.id.as_bytes().to_vec(),
        chunk,
        generation: GENERATION,
        offset: 0,
        length: 0,
        packet_bytes: 0,
        background: false,
    }
}

/// Reads, checks every packet, and answers with the bytes from the requested offset on.
pub(crate) async fn read_range(node: &Node, request: v1::ReadRequest) -> Result<Vec<u8>, FsError> {
    let (offset, length) = (request.offset as usize, request.length as usize);
    let replies = connect(node).await.read(request).await;
    let mut replies = replies.map_err(|status| convert::from_status(&status))?.into_inner();
    let mut data = Vec::new();
    let mut start = None;
    loop {
        let reply = tokio::time::timeout(LIMIT, replies.message()).await.unwrap();
        let Some(reply) = reply.map_err(|status| convert::from_status(&status))? else { break };
        let at = *start.get_or_insert(reply.offset as usize);
        assert_eq!(reply.offset as usize, at + data.len());
        verify(&reply.data, &reply.checksums)
            .map_err(|mismatch| FsError::new(ErrorCode::Corrupt, format!("client: {mismatch}")))?;
        data.extend_from_slice(&reply.data);
    }
    if data.is_empty() {
        return Ok(data);
    }
    let skip = offset - start.unwrap();
    let mut wanted = data.split_off(skip);
    if length > 0 {
        wanted.truncate(length);
    }
    Ok(wanted)
}

/// Reads a whole chunk.
pub(crate) async fn read(cluster: ClusterId, node: &Node, chunk: u64) -> Result<Vec<u8>, FsError> {
    read_range(node, read_request(cluster, node, chunk)).await
}

/// Flips a bit of a file.
pub(crate) fn flip(file: &Path, at: u64) {
    let file = File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}
