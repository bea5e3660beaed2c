//! What administrators ask.

use std::collections::VecDeque;
use std::sync::Arc;

use dfs_namenode_core::{Core, Totals};
use dfs_types::{
    BalancerStatus, Caller, ClusterId, ClusterReport, ContentSummary, DutyState, FsPath, FsResult, FsStats,
    FsckChunk, FsckEntry, FsckFile, FsckSummary, NodeReport, SafeModeAction, SafeModeStatus, WaitingChunk,
};
use futures_util::stream::{BoxStream, StreamExt, try_unfold};
use tracing::info;

use super::recovery::recovery_wait;
use super::{Namenode, Origin, in_unix_time, resolve};
use crate::store::edit::Edit;
use crate::store::{ChunkRow, Counts, WalkedFile};

/// Most chunks of a file in one entry of a check; a larger file has several entries.
const FSCK_CHUNKS: usize = 1_000;
/// Most files the walk reads at once.
const FSCK_FILES: usize = 1_000;

/// Everything about the cluster's state.
#[derive(Debug, Clone)]
pub struct Report {
    /// The cluster.
    pub cluster: ClusterId,
    /// Whether changes are refused, and until when.
    pub safe_mode: SafeModeStatus,
    /// Every known node; the end of its maintenance in Unix time.
    pub nodes: Vec<NodeReport>,
    /// Chunks, bytes and pending work.
    pub totals: Totals,
    /// What the namespace holds.
    pub counts: Counts,
    /// How the balancer gets on.
    pub balancer: BalancerStatus,
}

impl Report {
    /// What clients are told, with recoveries that wait.
    pub fn for_clients(self, waiting: Vec<WaitingChunk>) -> ClusterReport {
        let Self { cluster, safe_mode, nodes, totals, counts, balancer } = self;
        ClusterReport {
            cluster,
            safe_mode,
            nodes,
            files: counts.files,
            directories: counts.directories,
            chunks: totals.chunks,
            under_replicated: totals.under_replicated,
            healable: totals.healable,
            over_replicated: totals.over_replicated,
            missing: totals.missing,
            corrupt: totals.corrupt,
            pending_copies: totals.pending_copies,
            pending_deletions: totals.pending_deletions,
            open_files: counts.open_files,
            only_one_copy: totals.only_one_copy,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            misplaced: totals.misplaced,
            quarantined: totals.quarantined,
            balancer,
            waiting_recoveries: totals.waiting_recoveries,
            waiting,
        }
    }
}

impl Namenode {
    /// Capacity and health of the whole.
    pub async fn fs_stats(&self) -> FsResult<FsStats> {
        self.engine
            .with(|turn| {
                let totals = turn.core.totals(turn.now);
                FsStats {
                    capacity: totals.capacity,
                    used: totals.used,
                    remaining: totals.available,
                    under_replicated: totals.under_replicated,
                    missing: totals.missing,
                    corrupt: totals.corrupt,
                    chunks: totals.chunks,
                    live_nodes: totals.live_nodes + totals.stale_nodes,
                    dead_nodes: totals.dead_nodes,
                }
            })
            .await
    }

    /// Everything about the cluster's state.
    pub async fn report(&self) -> FsResult<Report> {
        let counts = self.store.counts();
        let cluster = self.cluster;
        let clock = self.clock();
        self.engine
            .with(move |turn| Report {
                cluster,
                safe_mode: turn.core.safe_mode(),
                nodes: in_unix_time(clock, turn.core.nodes(turn.now)),
                totals: turn.core.totals(turn.now),
                counts,
                balancer: turn.core.balancer(),
            })
            .await
    }

    /// Whether the store can take edits; the error says why not.
    pub fn health(&self) -> Result<(), String> {
        self.store.health()
    }

    /// Tells or switches safe mode, whoever leads from then on; switching is for superusers.
    pub async fn safe_mode(&self, origin: Origin, action: SafeModeAction) -> FsResult<SafeModeStatus> {
        let switch = match action {
            SafeModeAction::Get => None,
            SafeModeAction::Enter => Some(true),
            SafeModeAction::Leave => Some(false),
        };
        if let Some(on) = switch {
            self.check_superuser(&origin.caller)?;
            info!(on, user = origin.caller.user, "safe mode switched");
            self.administer(origin, Edit::SetSafeMode { on }).await?;
        }
        self.engine.with(|turn| turn.core.safe_mode()).await
    }

    /// Bytes, files and directories at and below a path.
    pub async fn content_summary(&self, caller: &Caller, path: &FsPath) -> FsResult<ContentSummary> {
        self.store.content_summary(caller, path).await
    }

    /// Checks every file at and below a path. Findings are made as they are taken. The caller needs the right
    /// to list every directory met.
    pub fn fsck(self: Arc<Self>, caller: Caller, path: FsPath) -> BoxStream<'static, FsResult<FsckEntry>> {
        let check = Fsck {
            namenode: self,
            caller,
            path,
            page: Page::After(None),
            walked: VecDeque::new(),
            ready: VecDeque::new(),
            summary: FsckSummary::default(),
        };
        let findings = try_unfold(Some(check), |check| async move {
            let Some(mut check) = check else { return Ok(None) };
            match check.next_file().await? {
                Some(file) => Ok(Some((FsckEntry::File(file), Some(check)))),
                None => Ok(Some((FsckEntry::Summary(check.summary().await?), None))),
            }
        });
        findings.boxed()
    }
}

/// A check under way.
struct Fsck {
    namenode: Arc<Namenode>,
    caller: Caller,
    path: FsPath,
    page: Page,
    /// Files met but not looked up yet; those with very many chunks in parts.
    walked: VecDeque<WalkedFile>,
    ready: VecDeque<FsckFile>,
    summary: FsckSummary,
}

/// Where the walk goes on.
enum Page {
    After(Option<FsPath>),
    End,
}

impl Fsck {
    async fn next_file(&mut self) -> FsResult<Option<FsckFile>> {
        loop {
            if let Some(file) = self.ready.pop_front() {
                file.chunks.iter().for_each(|chunk| count(&mut self.summary, chunk));
                return Ok(Some(file));
            }
            if !self.walked.is_empty() {
                self.look_up().await?;
                continue;
            }
            let Page::After(after) = &self.page else { return Ok(None) };
            let store = &self.namenode.store;
            let (files, next) =
                store.walk_files(&self.caller, &self.path, after.as_ref(), FSCK_FILES).await?;
            self.page = next.map_or(Page::End, |next| Page::After(Some(next)));
            for file in files {
                self.summary.files += 1;
                self.summary.bytes += file.status.length;
                self.summary.open_files += u64::from(file.status.open);
                self.walked.extend(parts(file));
            }
        }
    }

    /// Asks the engine about some of the files met, in one turn.
    async fn look_up(&mut self) -> FsResult<()> {
        let mut chunks = 0;
        let mut batch = Vec::new();
        while let Some(file) =
            self.walked.pop_front_if(|file| chunks == 0 || chunks + file.chunks.len() <= FSCK_CHUNKS)
        {
            chunks += file.chunks.len();
            batch.push(file);
        }
        let checked: Vec<FsckFile> = self
            .namenode
            .engine
            .with(move |turn| batch.into_iter().map(|file| check_file(turn.core, file)).collect())
            .await?;
        self.ready.extend(checked);
        Ok(())
    }

    async fn summary(&self) -> FsResult<FsckSummary> {
        let sum = self.namenode.store.content_summary(&self.caller, &self.path).await?;
        let FsckSummary { missing, corrupt, waiting, .. } = self.summary;
        let healthy = missing == 0 && corrupt == 0 && waiting == 0;
        Ok(FsckSummary { directories: sum.directories, healthy, ..self.summary })
    }
}

fn count(sum: &mut FsckSummary, chunk: &FsckChunk) {
    let good = chunk.nodes.len() as u64;
    let expected = u64::from(chunk.expected);
    sum.chunks += 1;
    sum.waiting += u64::from(chunk.wait.is_some());
    if chunk.under_construction {
        return;
    }
    sum.replicas += good;
    sum.missing += u64::from(good == 0 && chunk.corrupt == 0);
    sum.corrupt += u64::from(good == 0 && chunk.corrupt > 0);
    let counting = good.saturating_sub(u64::from(chunk.leaving));
    sum.under_replicated += u64::from(good > 0 && counting < expected);
    sum.over_replicated += u64::from(counting > expected);
    sum.misplaced += u64::from(chunk.misplaced);
}

/// A file in parts of at most [`FSCK_CHUNKS`] chunks; at least one.
fn parts(file: WalkedFile) -> Vec<WalkedFile> {
    if file.chunks.len() <= FSCK_CHUNKS {
        return vec![file];
    }
    let WalkedFile { path, status, chunks, held_since } = file;
    let part = |chunks: &[ChunkRow]| WalkedFile {
        path: path.clone(),
        status: status.clone(),
        chunks: chunks.to_vec(),
        held_since,
    };
    chunks.chunks(FSCK_CHUNKS).map(part).collect()
}

fn check_file(core: &Core, file: WalkedFile) -> FsckFile {
    let WalkedFile { path, status, chunks, held_since } = file;
    let check = |row: &ChunkRow| FsckChunk {
        wait: held_since
            .and_then(|since| Some(recovery_wait(core, core.waiting_recovery(row.chunk)?, since))),
        ..check_chunk(core, row, status.replication)
    };
    let chunks = chunks.iter().map(check).collect();
    FsckFile { path, status, chunks }
}

fn check_chunk(core: &Core, row: &ChunkRow, expected: u32) -> FsckChunk {
    let view = core.chunk(row.chunk);
    let (good, pipeline, corrupt, misplaced) = view
        .map_or_else(Default::default, |view| (view.good, view.pipeline, view.corrupt.len(), view.misplaced));
    let leaves = |duty| matches!(duty, DutyState::Decommissioning | DutyState::Decommissioned);
    let leaving = good.iter().filter(|node| leaves(core.duty(**node))).count();
    FsckChunk {
        chunk: row.chunk,
        generation: row.generation,
        length: row.length.unwrap_or(row.readable),
        expected,
        nodes: resolve(core, if row.length.is_none() { pipeline } else { good }),
        leaving: leaving as u32,
        corrupt: corrupt as u32,
        misplaced,
        under_construction: row.length.is_none(),
        wait: None,
    }
}
