//! Writes one chunk: allocates it, streams its packets, recovers its pipeline. One task a chunk.

use std::sync::Arc;
use std::time::Duration;

use dfs_proto::v1;
use dfs_types::limits::SYNC_PATIENCE;
use dfs_types::{Endpoint, ErrorCode, Extent, FsError, FsResult, LocatedChunk};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use crate::error::context;
use crate::pipeline::{Acked, Packet, Pipeline, Verdict};
use crate::retry::{Backoff, pause_after};
use crate::session::{Failure, Session, Written, wire_packet};
use crate::write_target::{Phase, Progress, WriteTarget, outdated};

/// How long a new chunk waits for enough DataNodes: about the time one takes to restart.
const NODES_PATIENCE: Duration = Duration::from_secs(20);
/// How many times longer than for anything else a writer waits for nodes that are well but have no room for it now.
const BUSY_PATIENCE: u32 = 5;
/// How often the nodes of a new chunk are asked for room, each time for as long as they let it wait, before others are.
const BUSY_TRIES: u32 = 3;
/// Most nodes excluded from a new chunk.
const MAX_EXCLUDED: usize = 64;
/// Time for a node to send a started replica to another one.
const TRANSFER_TIMEOUT: Duration = Duration::from_mins(1);
/// Time for a question to a DataNode.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence of the writer after which it says that it is alive: DataNodes take it for gone after a minute.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// Time for a node to end its stream after the last acknowledgement.
const GOODBYE: Duration = Duration::from_secs(1);

/// The chunk before a new one, whose length is committed with the new one's allocation.
#[derive(Debug)]
pub(crate) struct Previous {
    pub(crate) progress: watch::Receiver<Progress>,
    /// Its final length.
    pub(crate) length: u64,
}

/// One chunk to write.
#[derive(Debug)]
pub(crate) struct ChunkWriter {
    pub(crate) file: Arc<WriteTarget>,
    pub(crate) index: u64,
    /// Bytes that it will most likely have.
    pub(crate) expected_length: u64,
    pub(crate) previous: Option<Previous>,
    /// Bounded by the writer's memory window.
    pub(crate) packets: mpsc::UnboundedReceiver<Packet>,
    pub(crate) progress: watch::Sender<Progress>,
    /// Given back when the chunk and the one before are finalized.
    pub(crate) slot: Option<OwnedSemaphorePermit>,
}

impl ChunkWriter {
    /// Writes the chunk; a failure is left in the file's `failed`.
    pub(crate) async fn run(mut self) {
        if let Err(error) = self.write().await {
            let error = context(&format!("writing {}", self.file.path), error);
            // An earlier failure of another chunk is the one to tell.
            let _ = self.file.failed.set(error);
        }
    }

    async fn write(&mut self) -> FsResult<()> {
        let mut pipeline = Pipeline::default();
        let (mut extent, mut session) = self.open(&mut pipeline).await?;
        loop {
            self.publish(extent, &pipeline, Phase::Streaming);
            let failure = match self.stream(&mut pipeline, &mut session, &mut extent).await {
                Ok(()) => {
                    extent.length = pipeline.acked_bytes();
                    self.publish(extent, &pipeline, Phase::Finished);
                    let (given_back, ()) = tokio::join!(self.give_slot_back(), session.finish(GOODBYE));
                    return given_back;
                }
                Err(failure) => failure,
            };
            drop(session);
            if failure.error.code == ErrorCode::Busy {
                self.until_needed(&mut pipeline).await;
            }
            (extent, session) = self.recover(&mut pipeline, extent, failure).await?;
        }
    }

    /// Makes room for another chunk as soon as the one before is finalized too: a writer can recover the last two chunks
    /// and no earlier one, so all others must be finalized.
    async fn give_slot_back(&mut self) -> FsResult<()> {
        if let Some(Previous { progress, .. }) = &mut self.previous {
            self.file.wait(progress, |progress| progress.phase == Phase::Finished).await?;
        }
        self.slot = None;
        Ok(())
    }

    /// Waits until there is something to write: a node with too little memory has ended a stream that was idle.
    async fn until_needed(&mut self, pipeline: &mut Pipeline) {
        if pipeline.awaits_ack() || pipeline.has_unsent() {
            return;
        }
        debug!(path = %self.file.path, "a node needs the memory of an idle stream, which is set up again when needed");
        if let Some(packet) = self.packets.recv().await {
            pipeline.push(packet);
        }
    }

    fn publish(&self, extent: Extent, pipeline: &Pipeline, phase: Phase) {
        let extent = Extent { length: pipeline.acked_bytes(), ..extent };
        self.progress.send_replace(Progress {
            extent: Some(extent),
            packets: pipeline.acked_packets(),
            phase,
        });
    }

    /// Allocates the chunk and sets up its pipeline, with other nodes and another chunk as long as that fails.
    async fn open(&mut self, pipeline: &mut Pipeline) -> FsResult<(Extent, Session)> {
        let budget = self.file.dfs.settings.transfer_budget;
        let patience = NODES_PATIENCE.min(budget);
        let mut nodes_wait = Backoff::new(patience);
        let mut turn = Backoff::queueing(budget * BUSY_PATIENCE);
        let mut exclude_broken = true;
        loop {
            let mut exclude = pipeline.failed();
            if exclude_broken {
                exclude.extend(self.file.dfs.nodes.broken());
            }
            exclude.truncate(MAX_EXCLUDED);
            let chunk = match self.allocate(&exclude).await {
                Ok(chunk) => chunk,
                Err(error) if error.code == ErrorCode::NotEnoughNodes => {
                    // Better a node that failed before than none.
                    exclude_broken = false;
                    pipeline.forgive();
                    if nodes_wait.pause().await {
                        continue;
                    }
                    return Err(error);
                }
                Err(error) => return Err(error),
            };
            // There were enough: what is waited for from now on is something else.
            nodes_wait = Backoff::new(patience);
            let extent = Extent { chunk: chunk.chunk, generation: chunk.generation, length: 0 };
            pipeline.allocated(chunk.nodes);
            let failure = match self.set_up(pipeline, extent, &mut turn).await {
                Ok(session) => {
                    pipeline.connected();
                    return Ok((extent, session));
                }
                Err(failure) => failure,
            };
            let verdict = match failure.error.code {
                // Perhaps others have room.
                ErrorCode::Busy if Instant::now() < turn.deadline() => Verdict::Abandon,
                ErrorCode::Busy => Verdict::GiveUp,
                _ => self.blame(pipeline, extent, &failure),
            };
            self.abandon(extent).await?;
            if verdict == Verdict::GiveUp {
                return Err(context("no pipeline could be set up", failure.error));
            }
        }
    }

    /// What a pipeline for the chunk, as it is with `extent`, writes.
    fn written(&self, extent: Extent) -> Written<'_> {
        Written { file: &self.file, index: self.index, expected_length: self.expected_length, extent }
    }

    /// Sets up the pipeline of a new chunk; asks the same nodes again a few times if one has no room yet.
    async fn set_up(
        &self,
        pipeline: &Pipeline,
        extent: Extent,
        turn: &mut Backoff,
    ) -> Result<Session, Failure> {
        for _ in 1..BUSY_TRIES {
            match Session::open(self.written(extent), pipeline.nodes(), false).await {
                Err(failure) if failure.error.code == ErrorCode::Busy => {
                    debug!(path = %self.file.path, chunk = %extent.chunk, error = %failure.error, "waiting for room");
                    if !turn.pause().await {
                        return Err(failure);
                    }
                }
                other => return other,
            }
        }
        Session::open(self.written(extent), pipeline.nodes(), false).await
    }

    /// Drops the failed node and says in the log which one it is.
    fn blame(&self, pipeline: &mut Pipeline, extent: Extent, failure: &Failure) -> Verdict {
        let position = failure.position.unwrap_or(0);
        let node = pipeline.nodes().get(position).map(Endpoint::address).unwrap_or_default();
        let verdict = pipeline.fail(failure.position);
        warn!(
            path = %self.file.path, chunk = %extent.chunk, generation = %extent.generation, %node,
            error = %failure.error, acked = pipeline.acked_bytes(), then = ?verdict, "pipeline failed"
        );
        verdict
    }

    async fn allocate(&mut self, exclude: &[dfs_types::NodeId]) -> FsResult<LocatedChunk> {
        let file = Arc::clone(&self.file);
        let chunk = match &mut self.previous {
            None => add_chunk(&file, file.inherited.1, self.expected_length, exclude).await?,
            // A length is committed only when every byte of it is acknowledged; syncing and finalizing the previous
            // chunk go on while this one is written.
            Some(Previous { progress, length }) => loop {
                let extent = file.acknowledged(progress, *length).await?;
                match add_chunk(&file, Some(extent), self.expected_length, exclude).await {
                    Err(error) if outdated(&error, progress, extent) => {}
                    other => break other?,
                }
            },
        };
        if chunk.nodes.is_empty() {
            return Err(FsError::new(ErrorCode::NotEnoughNodes, "the NameNode chose no node for the chunk"));
        }
        Ok(chunk)
    }

    async fn abandon(&self, extent: Extent) -> FsResult<()> {
        let file = &self.file;
        file.call(|mut client, context| {
            let request = v1::AbandonChunkRequest {
                context: Some(context),
                inode: file.inode.0,
                holder: file.dfs.leases.holder().to_owned(),
                chunk: extent.chunk.0,
            };
            async move { client.abandon_chunk(request).await }
        })
        .await
        .map(|v1::Empty {}| ())
    }

    /// Sends packets and takes acknowledgements until the last one.
    async fn stream(
        &mut self,
        pipeline: &mut Pipeline,
        session: &mut Session,
        extent: &mut Extent,
    ) -> Result<(), Failure> {
        let limit = self.file.dfs.settings.ack_timeout;
        let outgoing = session.outgoing.clone();
        let mut waiting_since = Instant::now();
        let mut input_open = true;
        loop {
            let idle = !pipeline.awaits_ack() && !pipeline.has_unsent();
            let patience = if pipeline.awaits_sync() { limit * SYNC_PATIENCE } else { limit };
            tokio::select! {
                acked = session.ack() => {
                    let sequence = acked?;
                    let acked = pipeline.ack(sequence).map_err(|unexpected| {
                        Failure::unknown(FsError::internal(format!(
                            "packet {sequence} was acknowledged, expected was {:?}", unexpected.expected
                        )))
                    })?;
                    waiting_since = Instant::now();
                    match acked {
                        Acked::Progress => self.publish(*extent, pipeline, Phase::Streaming),
                        Acked::Finished => return Ok(()),
                    }
                }
                packet = self.packets.recv(), if input_open => match packet {
                    Some(packet) => {
                        if idle {
                            waiting_since = Instant::now();
                        }
                        pipeline.push(packet);
                    }
                    None => input_open = false,
                },
                room = outgoing.reserve(), if pipeline.has_unsent() => match room {
                    Ok(room) => {
                        if let Some((sequence, packet)) = pipeline.send() {
                            room.send(wire_packet(sequence, packet));
                        }
                    }
                    Err(_) => return Err(last_words(session).await),
                },
                () = tokio::time::sleep_until(waiting_since + SIGN_OF_LIFE), if idle => {
                    waiting_since = Instant::now();
                    pipeline.push_sign_of_life();
                }
                () = tokio::time::sleep_until(waiting_since + patience), if !idle => {
                    let text = format!("nothing was acknowledged for {patience:?}");
                    return Err(Failure::unknown(FsError::new(ErrorCode::TimedOut, text)));
                }
            }
        }
    }

    /// Brings the pipeline up again after `failure`: without the failed node, under a new generation, with further
    /// nodes if too few remain.
    async fn recover(
        &mut self,
        pipeline: &mut Pipeline,
        mut extent: Extent,
        mut failure: Failure,
    ) -> FsResult<(Extent, Session)> {
        let budget = self.file.dfs.settings.transfer_budget;
        let mut deadline = Instant::now() + budget;
        let mut turn = Backoff::queueing(budget * BUSY_PATIENCE);
        loop {
            extent.length = pipeline.acked_bytes();
            self.publish(extent, pipeline, Phase::Recovering);
            let verdict = if failure.error.code == ErrorCode::Busy && turn.pause().await {
                // It is well and says when it has room; time spent waiting for that is no failure.
                deadline = Instant::now() + budget;
                Verdict::Recover
            } else {
                self.blame(pipeline, extent, &failure)
            };
            match verdict {
                Verdict::Recover if Instant::now() < deadline => {}
                Verdict::Abandon => {
                    self.abandon(extent).await?;
                    return self.open(pipeline).await;
                }
                Verdict::Recover | Verdict::GiveUp => {
                    return Err(context(&format!("chunk {} was given up", extent.chunk), failure.error));
                }
            }
            if pipeline.failures() > 1 {
                pause_after(pipeline.failures() - 1).await;
            }
            let generation = self.new_generation(extent).await?;
            let renewed = Extent { generation, ..extent };
            self.replace_lost(pipeline, renewed).await?;
            match Session::open(self.written(renewed), pipeline.nodes(), true).await {
                Ok(session) => {
                    self.update_pipeline(renewed, pipeline.nodes()).await?;
                    info!(
                        path = %self.file.path, chunk = %renewed.chunk, generation = %renewed.generation,
                        nodes = pipeline.nodes().len(), "pipeline recovered"
                    );
                    pipeline.connected();
                    return Ok((renewed, session));
                }
                Err(again) => failure = again,
            }
        }
    }

    async fn new_generation(&self, extent: Extent) -> FsResult<dfs_types::GenStamp> {
        let file = &self.file;
        let reply = file
            .call(|mut client, context| {
                let request = v1::NewGenerationRequest {
                    context: Some(context),
                    inode: file.inode.0,
                    holder: file.dfs.leases.holder().to_owned(),
                    chunk: extent.chunk.0,
                };
                async move { client.new_generation(request).await }
            })
            .await?;
        Ok(dfs_types::GenStamp(reply.generation))
    }

    async fn update_pipeline(&self, extent: Extent, nodes: &[Endpoint]) -> FsResult<()> {
        let file = &self.file;
        file.call(|mut client, context| {
            let request = v1::UpdatePipelineRequest {
                context: Some(context),
                inode: file.inode.0,
                holder: file.dfs.leases.holder().to_owned(),
                extent: Some(extent.into()),
                nodes: nodes.iter().map(|node| node.id.as_bytes().to_vec()).collect(),
            };
            async move { client.update_pipeline(request).await }
        })
        .await
        .map(|v1::Empty {}| ())
    }

    /// If fewer nodes remain than the chunk needs to be closed, copies what is there to further ones. Without any to
    /// be had the writer goes on with those that remain: the NameNode decides at the end whether they are enough.
    async fn replace_lost(&self, pipeline: &mut Pipeline, renewed: Extent) -> FsResult<()> {
        let file = &self.file;
        let needed = file.dfs.min_replicas.min(file.replication) as usize;
        let remaining = pipeline.nodes().to_vec();
        if remaining.len() >= needed || remaining.is_empty() {
            return Ok(());
        }
        let ids = |nodes: &[Endpoint]| nodes.iter().map(|node| node.id.as_bytes().to_vec()).collect();
        let found = file
            .call(|mut client, context| {
                let request = v1::AdditionalNodesRequest {
                    context: Some(context),
                    inode: file.inode.0,
                    holder: file.dfs.leases.holder().to_owned(),
                    chunk: renewed.chunk.0,
                    existing: ids(&remaining),
                    exclude: pipeline.failed().iter().map(|id| id.as_bytes().to_vec()).collect(),
                    count: (needed - remaining.len()) as u32,
                    expected_length: self.expected_length,
                };
                async move { client.additional_nodes(request).await }
            })
            .await;
        let nodes = match found {
            Ok(reply) => reply.nodes.into_iter().map(Endpoint::try_from).collect::<FsResult<Vec<_>>>()?,
            Err(error) if error.code == ErrorCode::NotEnoughNodes => Vec::new(),
            Err(error) => return Err(error),
        };
        if nodes.is_empty() {
            warn!(path = %file.path, chunk = %renewed.chunk, remaining = remaining.len(), "no node can join");
            return Ok(());
        }
        for source in &remaining {
            match self.transfer(source, renewed, &nodes).await {
                Ok(()) => {
                    pipeline.join(nodes);
                    return Ok(());
                }
                Err(error) => {
                    warn!(path = %file.path, chunk = %renewed.chunk, %source, %error, "transfer failed");
                }
            }
        }
        Ok(())
    }

    async fn transfer(&self, source: &Endpoint, renewed: Extent, to: &[Endpoint]) -> FsResult<()> {
        let dfs = &self.file.dfs;
        let cluster = dfs.cluster.as_bytes().to_vec();
        let target = source.id.as_bytes().to_vec();
        // An earlier recovery that went wrong half-way may have given the replica a newer generation.
        let question = v1::GetReplicaRequest {
            cluster: cluster.clone(),
            target: target.clone(),
            chunk: renewed.chunk.0,
        };
        let reply = dfs
            .nodes
            .call(source, QUESTION_TIMEOUT, |mut client| async move { client.get_replica(question).await })
            .await?;
        let generation = reply.replica.map(|replica| replica.generation).ok_or_else(|| {
            FsError::new(ErrorCode::NotFound, format!("{source} has no replica of chunk {}", renewed.chunk))
        })?;
        let request = v1::TransferRequest {
            cluster,
            target,
            chunk: renewed.chunk.0,
            generation,
            new_generation: renewed.generation.0,
            to: to.iter().cloned().map(Into::into).collect(),
        };
        let sent = dfs
            .nodes
            .call(source, TRANSFER_TIMEOUT, |mut client| async move { client.transfer(request).await })
            .await?;
        if sent.length < renewed.length {
            return Err(FsError::new(
                ErrorCode::StaleChunk,
                format!("{source} sent {} bytes, {} are acknowledged", sent.length, renewed.length),
            ));
        }
        Ok(())
    }
}

/// The stream's own error, if the node sent one before it closed its end.
async fn last_words(session: &mut Session) -> Failure {
    let ended = || Failure::unknown(FsError::new(ErrorCode::Unavailable, "the node closed the stream"));
    loop {
        match tokio::time::timeout(GOODBYE, session.ack()).await {
            Ok(Ok(_)) => {}
            Ok(Err(failure)) => return failure,
            Err(_) => return ended(),
        }
    }
}

async fn add_chunk(
    file: &WriteTarget,
    previous: Option<Extent>,
    expected_length: u64,
    exclude: &[dfs_types::NodeId],
) -> FsResult<LocatedChunk> {
    file.call(|mut client, context| {
        let request = v1::AddChunkRequest {
            context: Some(context),
            inode: file.inode.0,
            holder: file.dfs.leases.holder().to_owned(),
            previous: previous.map(Into::into),
            exclude: exclude.iter().map(|node| node.as_bytes().to_vec()).collect(),
            writer_host: file.dfs.host.clone(),
            expected_length,
        };
        async move { client.add_chunk(request).await }
    })
    .await?
    .try_into()
}
