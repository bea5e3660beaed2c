//! A writer's way through a file: create, add chunks, repair the pipeline, close.

use std::collections::HashSet;
use std::time::Duration;

use dfs_namenode_core::{Core, Event, Placement, PlacementRequest, Target};
use dfs_types::attributes::check_principal;
use dfs_types::checksum::stored_bytes;
use dfs_types::limits::MAX_PIPELINE;
use dfs_types::{
    ChunkId, CreateMode, Endpoint, ErrorCode, FileStatus, FsError, FsPath, FsResult, GenStamp, InodeId,
    Layout, LocatedChunk, NodeId,
};
use tokio::time::Instant;

use super::namespace::check_times;
use super::{Namenode, Origin, resolve, reused_request};
use crate::engine::Need;
use crate::store::edit::{
    Edit, Extent, Outcome, PIPELINES, Publication, check_chunk_size, check_replication,
};

/// How long closing a file waits for finalized replicas: well below the deadline of a request.
const COMPLETE_WAIT: Duration = Duration::from_secs(15);
/// How long it waits for the reports of those that were written, which are due at once, before others get copies.
const REPORTS_WAIT: Duration = Duration::from_secs(1);
/// Most nodes a request may exclude; a writer meets a handful.
const MAX_EXCLUDED: usize = 1_024;

/// What a new file shall be like.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// Where.
    pub path: FsPath,
    /// Who writes.
    pub holder: String,
    /// Permission bits.
    pub mode: CreateMode,
    /// Replicas of each chunk; `None`: the default.
    pub replication: Option<u32>,
    /// Bytes of a full chunk; `None`: the default.
    pub chunk_size: Option<u64>,
    /// Whether an existing file gives way.
    pub overwrite: bool,
    /// Whether missing directories above it are made.
    pub parents: bool,
    /// Whether it goes away, instead of being closed, when its writer does before it is closed.
    pub temporary: bool,
}

/// A file that was opened to be appended to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Its attributes.
    pub status: FileStatus,
    /// Its last chunk, which the first new one follows.
    pub last: Option<Extent>,
    /// How many it has.
    pub chunks: u64,
}

/// An open file and the writer that says it has its lease.
#[derive(Debug, Clone)]
pub struct OpenedBy {
    /// The file.
    pub inode: InodeId,
    /// The writer.
    pub holder: String,
}

impl OpenedBy {
    /// Checks the holder's name.
    pub fn new(inode: InodeId, holder: String) -> FsResult<Self> {
        check_principal("lease holder", &holder)?;
        Ok(Self { inode, holder })
    }
}

impl Namenode {
    /// Opens a new file for writing.
    ///
    /// If the file exists, is open, its writer is silent for longer than the soft limit, and it may not be
    /// overwritten, its recovery is started and the error is `RecoveryInProgress`: try again.
    pub async fn create(&self, origin: Origin, file: NewFile) -> FsResult<FileStatus> {
        check_principal("lease holder", &file.holder)?;
        let replication = file.replication.unwrap_or(self.settings.default_replication);
        check_replication(replication)?;
        let chunk_size = file.chunk_size.unwrap_or(self.settings.default_chunk_size);
        check_chunk_size(chunk_size)?;
        let NewFile { path, holder, mode, overwrite, parents, temporary, .. } = file;
        let edit = Edit::Create {
            path: path.clone(),
            holder,
            mode: self.made_mode(mode),
            replication,
            chunk_size,
            overwrite,
            parents,
            temporary,
        };
        self.open(origin, path, edit, overwrite).await
    }

    /// Opens a closed file for writing at its end. One whose writer is silent is closed first, as by [`Namenode::create`].
    pub async fn append(&self, origin: Origin, path: FsPath, holder: String) -> FsResult<Appended> {
        check_principal("lease holder", &holder)?;
        let edit = Edit::Append { path: path.clone(), holder };
        let status = self.open(origin, path, edit, false).await?;
        let end = self.store.end_of(status.inode).await?;
        let (last, chunks) = end.map_or((None, 0), |(last, chunks)| (Some(last), chunks));
        Ok(Appended { status, last, chunks })
    }

    /// Takes everything after a place from a closed file.
    pub async fn truncate(&self, origin: Origin, path: FsPath, length: u64) -> FsResult<()> {
        match self.change_closed(origin, &path, Edit::Truncate { path: path.clone(), length }, false).await? {
            Outcome::Done => Ok(()),
            other => Err(reused_request(&other)),
        }
    }

    /// Moves the contents of closed files to the end of another in their directory.
    pub async fn concat(&self, origin: Origin, target: FsPath, sources: Vec<FsPath>) -> FsResult<()> {
        self.propose_done(origin, Edit::Concat { target, sources }).await
    }

    async fn open(&self, origin: Origin, path: FsPath, edit: Edit, gives_way: bool) -> FsResult<FileStatus> {
        match self.change_closed(origin, &path, edit, gives_way).await? {
            Outcome::Status(status) => Ok(status),
            other => Err(reused_request(&other)),
        }
    }

    /// Does what an open file is in the way of. If it is open, its writer silent for longer than the soft limit, and it does
    /// not give way, its recovery is started and the error is `RecoveryInProgress`: try again.
    async fn change_closed(
        &self,
        origin: Origin,
        path: &FsPath,
        edit: Edit,
        gives_way: bool,
    ) -> FsResult<Outcome> {
        let caller = origin.caller.clone();
        let error = match self.propose(origin.clone(), edit.clone()).await {
            Err(error) => error,
            done => return done,
        };
        let occupied = matches!(error.code, ErrorCode::AlreadyExists | ErrorCode::LeaseConflict);
        if gives_way || !occupied {
            return Err(error);
        }
        // What is in the way may be gone by now, and with it what there was to recover: the answer stays what it was.
        let Ok(status) = self.store.stat(&caller, path).await else { return Err(error) };
        let inode = status.inode;
        // Looked up before his silence is judged: who comes after him is not silent.
        let holder = self.store.holder(inode).await?;
        let abandoned = status.open
            && self.engine.with(move |turn| turn.core.lease_expired_soft(inode, turn.now)).await?;
        if !abandoned {
            return Err(error);
        }
        match self.begin_recovery(inode, None, holder.and_then(|holder| self.alone(holder))).await {
            Ok(false) => Err(FsError::new(
                ErrorCode::RecoveryInProgress,
                format!("{path} is being closed because its writer is gone: try again shortly"),
            )),
            // A temporary file has made room; one that was closed is still in the way of a new one.
            Ok(true) => self.propose(origin, edit).await,
            Err(_) => Err(error),
        }
    }

    /// Commits the previous chunk's length and adds the next chunk, with nodes for it that have room for its
    /// `expected_length` (0: a full chunk). A node on `writer_host` is preferred for the first replica.
    pub async fn add_chunk(
        &self,
        origin: Origin,
        file: OpenedBy,
        previous: Option<Extent>,
        exclude: Vec<NodeId>,
        expected_length: u64,
        writer_host: Option<String>,
    ) -> FsResult<LocatedChunk> {
        self.check_writable()?;
        check_exclude(&exclude)?;
        let open = self.store.open_status(file.inode, &file.holder).await?;
        let replication = open.replication;
        let wish = PlacementRequest {
            count: replication.min(MAX_PIPELINE as u32),
            bytes: room_for(expected_length, open.chunk_size),
            writer_host,
            existing: Vec::new(),
            exclude,
            storage: Vec::new(),
        };
        let needed = self.needed_replicas(replication).min(MAX_PIPELINE);
        let placement = self.engine.with(move |turn| choose(turn.core, &wish, needed, turn.now)).await??;
        let pipeline = self.recorded(&placement.nodes());
        let Placement { targets, ticket } = placement;

        let OpenedBy { inode, holder } = file;
        let next = self.store.counts().next_chunk;
        let added = match self.propose(origin, Edit::AddChunk { inode, holder, previous, pipeline }).await {
            Ok(Outcome::ChunkAdded { chunk, generation, index, offset }) => {
                Ok((chunk, generation, index, offset))
            }
            Ok(other) => Err(reused_request(&other)),
            Err(error) => Err(error),
        };
        let (chunk, generation, index, offset) = match added {
            Ok(added) => added,
            Err(error) => {
                self.engine.with(move |turn| turn.core.give_up_placement(ticket)).await?;
                return Err(error);
            }
        };
        // A chunk that was there before is the answer to an earlier try, perhaps of another leader: its nodes are recorded, and
        // no others may be written to.
        let recorded = if chunk < next { self.pipeline_of(inode, chunk).await } else { Ok(None) };
        let targets = match recorded {
            // Which storage was wished for is not recorded: a retry takes any.
            Ok(Some(recorded)) => recorded.into_iter().map(Target::from).collect(),
            Ok(None) => targets,
            Err(error) => {
                self.engine.with(move |turn| turn.core.give_up_placement(ticket)).await?;
                return Err(error);
            }
        };
        let needed = needed.min(targets.len());
        let nodes = self
            .engine
            .with(move |turn| {
                // A retry of a request that was answered before gets the pipeline it got then.
                let earlier = turn.core.chunk(chunk).map(|view| view.pipeline).unwrap_or_default();
                let pipeline = if earlier.is_empty() {
                    turn.core.bind_placement(ticket, chunk);
                    let nodes = targets.iter().map(|target| target.node).collect();
                    turn.apply(Event::PipelineSet { chunk, nodes });
                    targets
                } else {
                    turn.core.give_up_placement(ticket);
                    earlier.into_iter().map(Target::from).collect()
                };
                resolve(turn.core, pipeline)
            })
            .await?;
        if nodes.len() < needed {
            let text = format!(
                "{} of the DataNodes of chunk {chunk} have registered here yet: try again shortly",
                nodes.len()
            );
            return Err(FsError::new(ErrorCode::Busy, text));
        }
        Ok(LocatedChunk {
            chunk,
            generation,
            index,
            offset,
            chunk_offset: 0,
            layout: Layout::Replicated { replicas: replication },
            length: 0,
            nodes,
            under_construction: true,
            corrupt: false,
        })
    }

    /// The nodes of a pipeline as an edit has them: below the level that knows pipelines none.
    fn recorded(&self, nodes: &[NodeId]) -> Vec<NodeId> {
        if self.store.level() >= PIPELINES { nodes.to_vec() } else { Vec::new() }
    }

    /// The nodes that an open chunk is written to as the namespace has them, if it does.
    async fn pipeline_of(&self, inode: InodeId, chunk: ChunkId) -> FsResult<Option<Vec<NodeId>>> {
        if self.store.level() < PIPELINES {
            return Ok(None);
        }
        let pipelines = self.store.pipelines(inode).await?;
        Ok(pipelines.into_iter().find(|(id, _)| *id == chunk).map(|(_, nodes)| nodes))
    }

    /// Gives back the last chunk, into which nothing acknowledged was written.
    pub async fn abandon_chunk(&self, origin: Origin, file: OpenedBy, chunk: ChunkId) -> FsResult<()> {
        let OpenedBy { inode, holder } = file;
        self.propose_done(origin, Edit::AbandonChunk { inode, holder, chunk }).await
    }

    /// Records how much of an open chunk readers may count on.
    pub async fn commit_length(&self, origin: Origin, file: OpenedBy, extent: Extent) -> FsResult<()> {
        let OpenedBy { inode, holder } = file;
        self.propose_done(origin, Edit::CommitLength { inode, holder, extent }).await
    }

    /// Closes the file, and moves it at the same moment if it is published. Waits until each of its chunks has enough finalized replicas; if that takes too long,
    /// the error is `NotEnoughNodes` and says what lacks.
    ///
    /// Replicas may not come at all, when their nodes can't reach this NameNode. So the last chunk is committed after
    /// a moment: then what there is of it is copied to others.
    pub async fn complete(
        &self,
        origin: Origin,
        file: OpenedBy,
        last: Option<Extent>,
        publish: Option<Publication>,
    ) -> FsResult<FileStatus> {
        self.check_writable()?;
        if let Some(Publication { mtime, atime, .. }) = &publish {
            check_times([*mtime, *atime])?;
        }
        match self.store.open_file(file.inode, &file.holder).await {
            Ok(open) => {
                let count = self.needed_replicas(open.status.replication);
                let needs: Vec<Need> = open
                    .chunks
                    .iter()
                    .map(|row| {
                        let written = last.filter(|last| last.chunk == row.chunk);
                        let generation = written.map_or(row.generation, |last| last.generation);
                        Need { chunk: row.chunk, generation, count }
                    })
                    .collect();
                let begun = Instant::now();
                let lacking = self.engine.wait_finalized(needs, begun + REPORTS_WAIT).await?;
                if !lacking.is_empty() {
                    if let Some(extent) = last {
                        let OpenedBy { inode, holder } = file.clone();
                        self.propose_done(origin.clone(), Edit::CommitChunk { inode, holder, extent })
                            .await?;
                    }
                    self.wait_replicated(lacking, begun + COMPLETE_WAIT).await?;
                }
            }
            // Not open for this writer: nothing can close it, but the store may know the answer to a first
            // try.
            Err(error) if matches!(error.code, ErrorCode::NotFound | ErrorCode::LeaseConflict) => {}
            Err(error) => return Err(error),
        }
        let OpenedBy { inode, holder } = file;
        match self.propose(origin, Edit::Complete { inode, holder, last, publish }).await? {
            Outcome::Status(status) => Ok(status),
            other => Err(reused_request(&other)),
        }
    }

    /// Removes the file that a writer has open.
    pub async fn discard(&self, origin: Origin, file: OpenedBy) -> FsResult<()> {
        let OpenedBy { inode, holder } = file;
        self.propose_done(origin, Edit::Discard { inode, holder }).await
    }

    async fn wait_replicated(&self, needs: Vec<Need>, deadline: Instant) -> FsResult<()> {
        let lacking = self.engine.wait_finalized(needs, deadline).await?;
        let Some(first) = lacking.first().copied() else { return Ok(()) };
        let (finalized, nodes) = self
            .engine
            .with(move |turn| {
                let known = turn.core.locate(first.chunk, None, turn.now);
                let hosts: Vec<String> =
                    resolve(turn.core, known).into_iter().map(|node| node.at.host).collect();
                (turn.core.finalized(first.chunk, first.generation), hosts.join(", "))
            })
            .await?;
        let place = if nodes.is_empty() { "no node".to_owned() } else { nodes };
        Err(FsError::new(
            ErrorCode::NotEnoughNodes,
            format!(
                "chunk {} has {finalized} of {} finalized replicas (on {place}), and {} chunks lack replicas: \
                 check the DataNodes and close the file again",
                first.chunk,
                first.count,
                lacking.len()
            ),
        ))
    }

    /// Takes a new generation stamp for a chunk whose pipeline broke.
    pub async fn new_generation(&self, origin: Origin, file: OpenedBy, chunk: ChunkId) -> FsResult<GenStamp> {
        let OpenedBy { inode, holder } = file;
        match self.propose(origin, Edit::NewGeneration { inode, holder, chunk }).await? {
            Outcome::Generation(generation) => Ok(generation),
            other => Err(reused_request(&other)),
        }
    }

    /// Makes a generation stamp taken before and the remaining nodes the chunk's.
    pub async fn update_pipeline(
        &self,
        origin: Origin,
        file: OpenedBy,
        extent: Extent,
        nodes: Vec<NodeId>,
    ) -> FsResult<()> {
        let distinct: HashSet<NodeId> = nodes.iter().copied().collect();
        if nodes.is_empty() || nodes.len() > MAX_PIPELINE || distinct.len() != nodes.len() {
            return Err(FsError::invalid(format!(
                "the pipeline has {} nodes, {} of them distinct: 1 to {MAX_PIPELINE} distinct ones are needed",
                nodes.len(),
                distinct.len()
            )));
        }
        let OpenedBy { inode, holder } = file;
        let pipeline = self.recorded(&nodes);
        self.propose_done(origin, Edit::UpdatePipeline { inode, holder, extent, pipeline }).await?;
        self.engine
            .with(move |turn| {
                // A late retry of an earlier request is answered, but must not bring its nodes back.
                let chunk = turn.core.chunk(extent.chunk);
                if chunk.is_some_and(|view| view.generation == extent.generation) {
                    turn.apply(Event::PipelineSet { chunk: extent.chunk, nodes });
                }
            })
            .await
    }

    /// Chooses further nodes for a pipeline that lost some: `count` or fewer, at least one, with room for the chunk's
    /// `expected_length` (0: a full chunk).
    pub async fn additional_nodes(
        &self,
        file: &OpenedBy,
        chunk: ChunkId,
        existing: Vec<NodeId>,
        exclude: Vec<NodeId>,
        count: u32,
        expected_length: u64,
    ) -> FsResult<Vec<Endpoint>> {
        check_exclude(&exclude)?;
        if count == 0 || existing.len().saturating_add(count as usize) > MAX_PIPELINE {
            return Err(FsError::invalid(format!(
                "{count} nodes beside {} are asked for: a pipeline has 1 to {MAX_PIPELINE}",
                existing.len()
            )));
        }
        let open = self.store.open_file(file.inode, &file.holder).await?;
        if !open.chunks.iter().any(|row| row.chunk == chunk) {
            return Err(FsError::new(
                ErrorCode::NotFound,
                format!("chunk {chunk} is not one of file {}: ask for the file's own chunk", file.inode),
            ));
        }
        let wish = PlacementRequest {
            count,
            bytes: room_for(expected_length, open.status.chunk_size),
            writer_host: None,
            existing,
            exclude,
            storage: Vec::new(),
        };
        self.engine
            .with(move |turn| {
                let Placement { targets, ticket } = choose(turn.core, &wish, 1, turn.now)?;
                turn.core.bind_placement(ticket, chunk);
                Ok(resolve(turn.core, targets))
            })
            .await?
    }

    /// A writer is alive: all its leases are renewed.
    pub async fn renew_lease(&self, holder: String) -> FsResult<()> {
        check_principal("lease holder", &holder)?;
        self.engine.tell(Event::LeaseRenewed { holder }).await
    }
}

/// Bytes that a replica of a chunk of this expected length may take; 0 for a full one.
fn room_for(expected_length: u64, chunk_size: u64) -> u64 {
    stored_bytes(if expected_length == 0 { chunk_size } else { expected_length.min(chunk_size) })
}

/// Chooses nodes; fewer than `needed` are an error.
fn choose(
    core: &mut Core,
    wish: &PlacementRequest,
    needed: usize,
    now: dfs_types::Millis,
) -> FsResult<Placement> {
    let placement = core
        .choose_targets(wish, now)
        .map_err(|error| FsError::new(ErrorCode::NotEnoughNodes, error.to_string()))?;
    let chosen = placement.targets.len();
    if chosen < needed {
        core.give_up_placement(placement.ticket);
        return Err(FsError::new(
            ErrorCode::NotEnoughNodes,
            format!(
                "a chunk could go to {} nodes only instead of at least {needed} (of {} wanted); {} nodes are \
                 excluded by the writer: start DataNodes or free space on them",
                chosen,
                wish.count,
                wish.exclude.len()
            ),
        ));
    }
    Ok(placement)
}

fn check_exclude(exclude: &[NodeId]) -> FsResult<()> {
    if exclude.len() > MAX_EXCLUDED {
        return Err(FsError::invalid(format!(
            "{} nodes are excluded: at most {MAX_EXCLUDED} may be",
            exclude.len()
        )));
    }
    Ok(())
}
