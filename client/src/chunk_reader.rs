//! Reads a range of one chunk from whichever replica delivers it.

use std::sync::Arc;

use bytes::Bytes;
use dfs_proto::v1;
use dfs_types::{Endpoint, ErrorCode, FsError, FsResult, Layout, LocatedChunk, NodeId};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tracing::{debug, warn};

use crate::locate::ReadSource;
use crate::replica_stream::ReplicaStream;
use crate::retry::{Backoff, Patience};

/// Rounds over all replicas when each of them is damaged: waiting can't help, a repaired copy might.
const CORRUPT_ROUNDS: u32 = 3;
/// How many times longer than for anything else a reader waits for nodes that are well but have no room for it now.
const BUSY_PATIENCE: u32 = 5;
/// Time for telling the NameNode about a bad replica.
const REPORT_PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
/// Replicas of one chunk asked at the same time.
const HEDGES: usize = 2;
/// A replica that delivered before may be silent for so many times longer than one that was just asked before another is
/// asked as well: that one's disk has to begin anew, and the silence may be a moment's.
const MORE_PATIENCE: u32 = 4;

/// Reads from a byte of a file up to the end of a range or of that byte's chunk, whichever comes first.
#[derive(Debug)]
pub(crate) struct ChunkReader {
    source: Arc<ReadSource>,
    chunk: LocatedChunk,
    /// Next byte to read and end of the range, as offsets in the file.
    position: u64,
    end: u64,
    /// End of the wanted range, of which this reads one chunk.
    wanted_end: u64,
    stream: Option<ReplicaStream>,
    /// Replicas of this round that failed, and why.
    failures: Vec<(Endpoint, FsError)>,
    rounds: u32,
    backoff: Option<Backoff>,
}

impl ChunkReader {
    /// A reader from `position`, which lies before `wanted_end`, which is not beyond the source's length.
    pub(crate) async fn new(source: Arc<ReadSource>, position: u64, wanted_end: u64) -> FsResult<Self> {
        let chunk = source.chunk_at(position, false).await?;
        let end = source.end_of(&chunk).min(wanted_end);
        Ok(Self {
            source,
            chunk,
            position,
            end,
            wanted_end,
            stream: None,
            failures: Vec::new(),
            rounds: 0,
            backoff: None,
        })
    }

    /// Where this reader ends, as an offset in the file.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Ends the stream; the next call of [`ChunkReader::next`] opens another one.
    pub(crate) fn pause(&mut self) {
        self.stream = None;
    }

    /// The next bytes; `None` at the end.
    pub(crate) async fn next(&mut self) -> FsResult<Option<Bytes>> {
        while self.position < self.end {
            let mut stream = match self.stream.take() {
                Some(stream) => stream,
                None => match self.open().await? {
                    Some(stream) => stream,
                    None => continue,
                },
            };
            match self.next_of(&mut stream).await {
                Ok(Some(bytes)) => {
                    self.position += bytes.len() as u64;
                    self.stream = Some(stream);
                    self.rounds = 0;
                    self.backoff = None;
                    return Ok(Some(bytes));
                }
                Ok(None) => {}
                Err(error) => self.failed(stream.node, error),
            }
        }
        Ok(None)
    }

    /// Opens a stream from the present byte on. `None`: the locations were refreshed, try again.
    async fn open(&mut self) -> FsResult<Option<ReplicaStream>> {
        let failed: Vec<NodeId> = self.failures.iter().map(|(node, _)| node.id).collect();
        let mut candidates = self.source.dfs.nodes.ranked(&self.chunk.nodes);
        candidates.retain(|node| !failed.contains(&node.id));
        if candidates.is_empty() {
            self.next_round().await?;
            return Ok(None);
        }
        let (stream, failures) = self.race(candidates).await;
        for (node, error) in failures {
            self.failed(node, error);
        }
        Ok(stream)
    }

    /// The next bytes of `stream`. If they do not come soon, another replica is asked as well, and takes the place of
    /// `stream` if it delivers first.
    async fn next_of(&mut self, stream: &mut ReplicaStream) -> FsResult<Option<Bytes>> {
        let soon = self.source.dfs.settings.hedge_after * MORE_PATIENCE;
        if let Ok(next) = tokio::time::timeout(soon, stream.next()).await {
            return next;
        }
        let failed = |id: NodeId| self.failures.iter().any(|(node, _)| node.id == id);
        let mut others = self.source.dfs.nodes.ranked(&self.chunk.nodes);
        others.retain(|node| node.id != stream.node.id && !failed(node.id));
        if others.is_empty() {
            return stream.next().await;
        }
        debug!(path = %self.source.path, chunk = %self.chunk.chunk, node = %stream.node, "a read stands still, asking another replica");
        let (other, failures) = tokio::select! {
            next = stream.next() => return next,
            raced = self.race(others) => raced,
        };
        for (node, error) in failures {
            self.failed(node, error);
        }
        if let Some(other) = other {
            self.source.dfs.nodes.overtaken(stream.node.id);
            *stream = other;
        }
        stream.next().await
    }

    /// Asks the candidates one after the other, the next one as soon as one fails or is slow; the first to deliver
    /// wins.
    async fn race(&self, candidates: Vec<Endpoint>) -> (Option<ReplicaStream>, Vec<(Endpoint, FsError)>) {
        let dfs = &self.source.dfs;
        // Every replica has all bytes.
        let Layout::Replicated { .. } = self.chunk.layout;
        let in_chunk = |position: u64| position - self.chunk.offset + self.chunk.chunk_offset;
        let (from, to) = (in_chunk(self.position), in_chunk(self.end));
        let mut waiting = candidates.into_iter().peekable();
        let mut running = FuturesUnordered::new();
        let mut failures: Vec<(Endpoint, FsError)> = Vec::new();
        let mut asked = Vec::new();
        loop {
            if running.is_empty() {
                let Some(node) = waiting.next() else { return (None, failures) };
                asked.push(node.id);
                running.push(ReplicaStream::open(dfs, &self.chunk, node, from, to));
            }
            let hedge = running.len() < HEDGES && waiting.peek().is_some();
            tokio::select! {
                Some(opened) = running.next() => match opened {
                    Ok(stream) => {
                        // One that was asked after the winner had no time to show how fast it is.
                        asked.truncate(asked.iter().position(|id| *id == stream.node.id).unwrap_or(0));
                        asked.retain(|id| failures.iter().all(|(node, _)| node.id != *id));
                        for slow in asked {
                            dfs.nodes.overtaken(slow);
                        }
                        return (Some(stream), failures);
                    }
                    Err(failure) => failures.push(failure),
                },
                () = tokio::time::sleep(dfs.settings.hedge_after), if hedge => {
                    if let Some(node) = waiting.next() {
                        debug!(path = %self.source.path, chunk = %self.chunk.chunk, %node, "slow read, asking another replica");
                        asked.push(node.id);
                        running.push(ReplicaStream::open(dfs, &self.chunk, node, from, to));
                    }
                }
            }
        }
    }

    fn failed(&mut self, node: Endpoint, error: FsError) {
        warn!(
            path = %self.source.path, chunk = %self.chunk.chunk, %node, %error, position = self.position,
            "reading a replica failed"
        );
        if error.code == ErrorCode::Corrupt {
            self.report(&node);
        }
        self.source.dfs.nodes.blame(&node, &error);
        self.failures.push((node, error));
    }

    /// Tells the NameNode about a bad replica, in the background.
    fn report(&self, node: &Endpoint) {
        let dfs = Arc::clone(&self.source.dfs);
        let bad = v1::BadReplica {
            chunk: self.chunk.chunk.0,
            generation: self.chunk.generation.0,
            node: node.id.as_bytes().to_vec(),
        };
        tokio::spawn(async move {
            let reported = dfs
                .namenode
                .namespace(Patience::steady(REPORT_PATIENCE), |mut client, context| {
                    let request =
                        v1::ReportBadReplicasRequest { context: Some(context), replicas: vec![bad.clone()] };
                    async move { client.report_bad_replicas(request).await }
                })
                .await;
            if let Err(error) = reported {
                warn!(chunk = bad.chunk, %error, "a bad replica was not reported");
            }
        });
    }

    /// All replicas failed: waits, asks the NameNode where the chunk is now, and begins anew. Fails when there is no
    /// hope or no time left.
    async fn next_round(&mut self) -> FsResult<()> {
        self.rounds += 1;
        let damaged = !self.failures.is_empty()
            && self.failures.iter().all(|(_, error)| error.code == ErrorCode::Corrupt);
        if damaged && self.rounds >= CORRUPT_ROUNDS {
            return Err(self.given_up());
        }
        let busy =
            !self.failures.is_empty() && self.failures.iter().all(|(_, error)| error.code == ErrorCode::Busy);
        let budget = self.source.dfs.settings.transfer_budget * if busy { BUSY_PATIENCE } else { 1 };
        if !self.backoff.get_or_insert_with(|| Backoff::new(budget)).pause().await {
            return Err(self.given_up());
        }
        self.chunk = self.source.chunk_at(self.position, true).await?;
        self.end = self.source.end_of(&self.chunk).min(self.wanted_end);
        // The reasons of an empty round are those of the round before.
        if !self.chunk.nodes.is_empty() {
            self.failures.clear();
        }
        Ok(())
    }

    fn given_up(&self) -> FsError {
        let damaged = !self.failures.is_empty()
            && self.failures.iter().all(|(_, error)| error.code == ErrorCode::Corrupt);
        let mut reasons: Vec<String> =
            self.failures.iter().map(|(node, error)| format!("{node}: {error}")).collect();
        if reasons.is_empty() {
            reasons.push("no DataNode has it".to_owned());
        }
        let code = if damaged { ErrorCode::Corrupt } else { ErrorCode::Unavailable };
        let text = format!(
            "{} can't be read at byte {}: chunk {} (generation {}) failed on every node ({}): see 'dfs fsck'",
            self.source.path,
            self.position,
            self.chunk.chunk,
            self.chunk.generation,
            reasons.join("; ")
        );
        FsError::new(code, text)
    }
}
