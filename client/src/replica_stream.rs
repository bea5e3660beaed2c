//! Reads a range of one replica and checks every packet.

use std::time::Duration;

use bytes::Bytes;
use dfs_proto::convert::from_status;
use dfs_proto::v1;
use dfs_types::limits::{BYTES_PER_CHECKSUM, PACKET_BYTES};
use dfs_types::{Endpoint, ErrorCode, FsError, FsResult, LocatedChunk, checksum};
use tokio::time::timeout;
use tonic::Streaming;

use crate::datanodes::Place;
use crate::handle::Inner;

/// A range of a chunk under way from one node.
#[derive(Debug)]
pub(crate) struct ReplicaStream {
    pub(crate) node: Endpoint,
    incoming: Streaming<v1::ReadReply>,
    /// The next byte of the chunk to come, and where the range ends.
    next: u64,
    end: u64,
    /// The first packet, which opening waited for.
    first: Option<Bytes>,
    stall: Duration,
    _place: Place,
}

impl ReplicaStream {
    /// Opens a stream of the chunk's bytes `next..end` (not empty) and waits for the first of them.
    pub(crate) async fn open(
        dfs: &Inner,
        chunk: &LocatedChunk,
        node: Endpoint,
        next: u64,
        end: u64,
    ) -> Result<Self, (Endpoint, FsError)> {
        let stall = dfs.settings.stall_timeout;
        let request = v1::ReadRequest {
            cluster: dfs.cluster.as_bytes().to_vec(),
            target: node.id.as_bytes().to_vec(),
            chunk: chunk.chunk.0,
            generation: chunk.generation.0,
            offset: next,
            length: end - next,
            packet_bytes: PACKET_BYTES as u32,
            background: false,
        };
        let opened = timeout(stall, async {
            let (mut client, place) = dfs.nodes.client(&node).await?;
            let response = client.read(request).await.map_err(|status| from_status(&status))?;
            Ok((response.into_inner(), place))
        })
        .await
        .unwrap_or_else(|_| Err(stalled(stall)));
        let (incoming, place) = match opened {
            Ok(opened) => opened,
            Err(error) => return Err((node, error)),
        };
        let mut stream = Self { node, incoming, next, end, first: None, stall, _place: place };
        match stream.receive().await {
            Ok(first) => {
                stream.first = Some(first);
                Ok(stream)
            }
            Err(error) => Err((stream.node, error)),
        }
    }

    /// The next checked bytes of the range; `None` at its end.
    pub(crate) async fn next(&mut self) -> FsResult<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        if self.next == self.end {
            return Ok(None);
        }
        self.receive().await.map(Some)
    }

    async fn receive(&mut self) -> FsResult<Bytes> {
        let Self { incoming, next, end, stall, .. } = self;
        let packet = timeout(*stall, async {
            loop {
                match incoming.message().await {
                    Ok(Some(reply)) if reply.data.is_empty() => {}
                    Ok(Some(reply)) => return check(reply, *next),
                    Ok(None) => {
                        let text = format!("the replica ended at byte {next} of {end}");
                        return Err(FsError::new(ErrorCode::StaleChunk, text));
                    }
                    Err(status) => return Err(from_status(&status)),
                }
            }
        })
        .await
        .unwrap_or_else(|_| Err(stalled(*stall)))?;
        let wanted = usize::try_from(*end - *next).unwrap_or(usize::MAX).min(packet.len());
        *next += wanted as u64;
        Ok(packet.slice(..wanted))
    }
}

fn stalled(limit: Duration) -> FsError {
    FsError::new(ErrorCode::TimedOut, format!("no data came for {limit:?}"))
}

/// Checks a packet that shall contain the chunk's byte `next`, and answers with its data from that byte on.
fn check(reply: v1::ReadReply, next: u64) -> FsResult<Bytes> {
    let unit = BYTES_PER_CHECKSUM as u64;
    let skip =
        next.checked_sub(reply.offset).filter(|skip| reply.offset.is_multiple_of(unit) && *skip < unit);
    let skip = skip.and_then(|skip| usize::try_from(skip).ok()).filter(|skip| *skip < reply.data.len());
    let Some(skip) = skip else {
        return Err(FsError::internal(format!(
            "the node sent {} bytes at {} where byte {next} was due",
            reply.data.len(),
            reply.offset
        )));
    };
    checksum::verify(&reply.data, &reply.checksums)
        .map_err(|mismatch| FsError::new(ErrorCode::Corrupt, mismatch.to_string()))?;
    Ok(reply.data.slice(skip..))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(offset: u64, length: usize) -> v1::ReadReply {
        let data = Bytes::from(vec![7; length]);
        v1::ReadReply { offset, checksums: checksum::compute(&data), data, readable: 0 }
    }

    #[test]
    fn trims_what_lies_before_the_wanted_byte() {
        assert_eq!(check(reply(512, 600), 512).unwrap().len(), 600);
        assert_eq!(check(reply(512, 600), 1_000).unwrap().len(), 112);
    }

    #[test]
    fn refuses_gaps_overlaps_and_bad_sums() {
        for (reply, next) in
            [(reply(1_024, 512), 512), (reply(0, 1_024), 512), (reply(5, 512), 5), (reply(512, 100), 700)]
        {
            assert_eq!(check(reply, next).unwrap_err().code, ErrorCode::Internal);
        }
        let bad = v1::ReadReply { checksums: Bytes::from_static(&[0; 4]), ..reply(0, 512) };
        assert_eq!(check(bad, 0).unwrap_err().code, ErrorCode::Corrupt);
    }
}
