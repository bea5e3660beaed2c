//! One NameNode as this node sees it: the calls of the `Cluster` service with their deadlines.

use std::fmt;
use std::time::Duration;

use dfs_proto::convert;
use dfs_proto::v1;
use dfs_proto::v1::cluster_client::ClusterClient;
use dfs_types::limits::{CONNECT_TIMEOUT, MAX_NAMENODE_MESSAGE_BYTES};
use dfs_types::{
    Address, ChunkId, ChunkOrigin, ClusterId, Command, Endpoint, ErrorCode, FsError, FsResult, GenStamp,
    Millis, NodeId, Volume, VolumeId,
};
use tonic::Request;
use tonic::transport::Channel;

use crate::place::Place;
use crate::recovery::Agreement;
use crate::reports::Batch;
use crate::store::Slice;

/// Deadline of short calls.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// Deadline of a report, which waits for the slices of other nodes.
const REPORT_LIMIT: Duration = Duration::from_secs(10);
/// How often a recovery's outcome is told again if the answer is lost.
const COMMIT_TRIES: usize = 3;
/// As [`CALL_LIMIT`], for a silent connection.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(5));

/// Who speaks.
#[derive(Debug, Clone)]
pub(crate) struct Speaker {
    /// Where this node is reached, and what it is.
    pub(crate) endpoint: Endpoint,
    /// Where it stands.
    pub(crate) place: Place,
    /// This process.
    pub(crate) incarnation: [u8; 16],
}

impl Speaker {
    fn node(&self) -> v1::Node {
        let location = self.place.location().to_owned();
        let at = Address { location, ..self.endpoint.at.clone() };
        Endpoint { at, ..self.endpoint.clone() }.into()
    }
}

/// What a heartbeat tells besides who speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pulse {
    /// The volumes.
    pub(crate) volumes: Vec<Volume>,
    /// Write sessions under way.
    pub(crate) writes: u32,
    /// Read sessions under way.
    pub(crate) reads: u32,
    /// Copies being sent.
    pub(crate) copies: u32,
    /// The process is stopping cleanly.
    pub(crate) stopping: bool,
    /// No leader of an older term is obeyed.
    pub(crate) fence: u64,
    /// The number of a change that the volumes' free space already tells.
    pub(crate) as_of: u64,
}

/// What a NameNode wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wishes {
    /// It does not know this process.
    pub(crate) register: bool,
    /// It wants a full report, and now: its next slice begins with this chunk.
    pub(crate) report_from: Option<ChunkId>,
}

/// What a NameNode answers to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// What it wants.
    pub(crate) wishes: Wishes,
    /// Its orders; an error stands for one that cannot be understood.
    pub(crate) orders: Vec<FsResult<Command<Endpoint>>>,
    /// The term in which it leads, if it does.
    pub(crate) leads: Option<u64>,
    /// Addresses of all NameNodes of its group; none if it does not say.
    pub(crate) namenodes: Vec<String>,
    /// The cluster's feature level; 0 if it does not say.
    pub(crate) level: u16,
}

/// What a NameNode says of the files that chunks are of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Described {
    /// Unix time at which it was so.
    pub(crate) told: Millis,
    /// The chunks of closed files among those that it was asked for.
    pub(crate) origins: Vec<ChunkOrigin>,
}

/// What a NameNode answers to the first words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Welcome {
    /// The cluster.
    pub(crate) cluster: ClusterId,
    /// How often it wants heartbeats.
    pub(crate) heartbeat_interval: Duration,
    /// What it calls itself; empty if it does not say.
    pub(crate) address: String,
    /// Addresses of all NameNodes of its group; none if it does not say.
    pub(crate) namenodes: Vec<String>,
    /// As in [`Wishes`].
    pub(crate) report_from: Option<ChunkId>,
}

/// A NameNode.
#[derive(Debug)]
pub(crate) struct Namenode {
    address: String,
    client: ClusterClient<Channel>,
    speaker: Speaker,
}

impl fmt::Display for Namenode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

fn timed<T>(message: T, limit: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(limit);
    request
}

fn wishes(reply: v1::ReportReply) -> Wishes {
    let v1::ReportReply { register, report_from } = reply;
    Wishes { register, report_from: report_from.map(ChunkId) }
}

fn slice_message(slice: Slice, volumes: &mut Vec<VolumeId>) -> v1::ReportSlice {
    let Slice { first, last, fence, replicas } = slice;
    let replicas = replicas.into_iter().map(|record| convert::wire_replica_record(record, volumes)).collect();
    v1::ReportSlice { first: first.0, last: last.0, replicas, fence }
}

impl Namenode {
    /// The NameNode at `address`; connects when first needed.
    pub(crate) fn new(address: &str, speaker: Speaker) -> FsResult<Self> {
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
            .map_err(|_| FsError::invalid(format!("'{address}' is no NameNode address: write HOST:PORT")))?;
        let (interval, limit) = KEEP_ALIVE;
        let channel = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(interval)
            .keep_alive_timeout(limit)
            .connect_lazy();
        let client = ClusterClient::new(channel).max_encoding_message_size(MAX_NAMENODE_MESSAGE_BYTES);
        Ok(Self { address: address.to_owned(), client, speaker })
    }

    /// Waits for the answer, at most `limit`: the server may be there and yet not answer.
    async fn call<T, F>(&self, limit: Duration, call: F) -> FsResult<T>
    where
        F: Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(response)) => Ok(response.into_inner()),
            Ok(Err(status)) => Err(convert::from_status(&status)),
            Err(_) => Err(FsError::new(
                ErrorCode::TimedOut,
                format!("NameNode {} does not answer within {limit:?}", self.address),
            )),
        }
    }

    /// Where it is: HOST:PORT.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    fn node(&self) -> Vec<u8> {
        self.speaker.endpoint.id.as_bytes().to_vec()
    }

    fn incarnation(&self) -> Vec<u8> {
        self.speaker.incarnation.to_vec()
    }

    /// The first words. Without a cluster the node asks to join the NameNode's.
    pub(crate) async fn register(&self, cluster: Option<ClusterId>, volumes: &[Volume]) -> FsResult<Welcome> {
        let message = v1::RegisterRequest {
            cluster: cluster.map_or_else(Vec::new, |cluster| cluster.as_bytes().to_vec()),
            node: Some(self.speaker.node()),
            machine: self.speaker.place.machine().to_owned(),
            incarnation: self.incarnation(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            volumes: volumes.iter().cloned().map(convert::wire_volume).collect(),
        };
        let mut client = self.client.clone();
        let reply = self.call(CALL_LIMIT, client.register(timed(message, CALL_LIMIT))).await?;
        let theirs = convert::cluster_id(&reply.cluster)?;
        match cluster {
            Some(ours) if ours != theirs => Err(FsError::new(
                ErrorCode::WrongCluster,
                format!("NameNode {self} leads cluster {theirs}, but this node's volumes belong to {ours}"),
            )),
            Some(_) | None => Ok(Welcome {
                cluster: theirs,
                heartbeat_interval: Duration::from_millis(reply.heartbeat_interval_ms),
                address: reply.address,
                namenodes: reply.namenodes,
                report_from: reply.report_from.map(ChunkId),
            }),
        }
    }

    /// Says that this node is alive.
    pub(crate) async fn heartbeat(&self, pulse: &Pulse) -> FsResult<Answer> {
        let Pulse { volumes, writes, reads, copies, stopping, fence, as_of } = pulse;
        let message = v1::HeartbeatRequest {
            node: Some(self.speaker.node()),
            machine: self.speaker.place.machine().to_owned(),
            incarnation: self.incarnation(),
            volumes: volumes.iter().cloned().map(convert::wire_volume).collect(),
            active_writes: *writes,
            active_reads: *reads,
            active_copies: *copies,
            stopping: *stopping,
            fence: *fence,
            as_of: *as_of,
        };
        let mut client = self.client.clone();
        let reply = self.call(CALL_LIMIT, client.heartbeat(timed(message, CALL_LIMIT))).await?;
        let v1::HeartbeatReply { register, report_from, commands, term, leads, namenodes, feature_level } =
            reply;
        Ok(Answer {
            wishes: Wishes { register, report_from: report_from.map(ChunkId) },
            orders: commands.into_iter().map(Command::try_from).collect(),
            leads: leads.then_some(term),
            namenodes,
            level: u16::try_from(feature_level).unwrap_or(u16::MAX),
        })
    }

    /// Tells of changes, and of a slice of the full report as of the last of them.
    pub(crate) async fn report(&self, batch: &Batch, slice: Option<Slice>) -> FsResult<Wishes> {
        let mut volumes = Vec::new();
        let changes = batch.changes().map(|change| v1::ReplicaEvent {
            replica: Some(convert::wire_replica_record(change.replica, &mut volumes)),
            deleted: change.deleted,
        });
        let changes = changes.collect();
        let slice = slice.map(|slice| slice_message(slice, &mut volumes));
        let message = v1::ReplicaReport {
            node: self.node(),
            incarnation: self.incarnation(),
            after: batch.after,
            changes,
            slice,
            volumes: volumes.iter().map(|id| id.as_bytes().to_vec()).collect(),
        };
        let mut client = self.client.clone();
        let reply = client.report_replicas(timed(message, REPORT_LIMIT));
        Ok(wishes(self.call(REPORT_LIMIT, reply).await?))
    }

    /// Asks which files chunks are of, [`DESCRIBED_CHUNKS`](dfs_types::limits::DESCRIBED_CHUNKS) at most.
    pub(crate) async fn describe(&self, chunks: &[ChunkId]) -> FsResult<Described> {
        let message = v1::DescribeChunksRequest {
            node: self.node(),
            incarnation: self.incarnation(),
            chunks: chunks.iter().map(|chunk| chunk.0).collect(),
        };
        let mut client = self.client.clone();
        let reply = self.call(CALL_LIMIT, client.describe_chunks(timed(message, CALL_LIMIT))).await?;
        let v1::DescribeChunksReply { register, told_ms, origins } = reply;
        if register {
            let why = format!("NameNode {self} does not know this process");
            return Err(FsError::new(ErrorCode::NotRegistered, why));
        }
        let asked = |origin: &FsResult<ChunkOrigin>| {
            origin.as_ref().is_ok_and(|origin| chunks.contains(&origin.chunk))
        };
        // One that makes no sense costs only itself.
        let origins = origins.into_iter().take(chunks.len()).map(convert::chunk_origin).filter(asked);
        Ok(Described { told: Millis(told_ms), origins: origins.collect::<FsResult<_>>()? })
    }

    /// Tells what the holders of a chunk agreed on.
    pub(crate) async fn commit_recovery(
        &self,
        chunk: ChunkId,
        new_generation: GenStamp,
        agreement: &Agreement,
    ) -> FsResult<()> {
        let message = v1::CommitRecoveryRequest {
            node: self.node(),
            incarnation: self.incarnation(),
            chunk: chunk.0,
            new_generation: new_generation.0,
            length: agreement.length,
            holders: agreement.holders.iter().map(|node: &NodeId| node.as_bytes().to_vec()).collect(),
        };
        let mut tries = 0;
        loop {
            let mut client = self.client.clone();
            let reply = client.commit_recovery(timed(message.clone(), CALL_LIMIT));
            tries += 1;
            match self.call(CALL_LIMIT, reply).await {
                // Another leader orders its own recovery.
                Err(error) if error.code == ErrorCode::NotLeader => return Err(error),
                Err(error) if error.code.is_transient() && tries < COMMIT_TRIES => {
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
                reply => return reply.map(|_| ()),
            }
        }
    }
}
