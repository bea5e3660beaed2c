//! Closing files whose writer is gone, and freeing what was deleted.
//!
//! A recovery never ends with less than the namespace has recorded as readable: it waits for a replica that has it, and
//! `fsck`, `report` and a metric tell so. It ends with less only when every node that the chunk was written to has said that
//! it has no more, or when [`Namenode::recover_lease`] with `accept_loss` lets it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use dfs_namenode_core::{Core, Event, WaitingRecovery};
use dfs_types::attributes::check_principal;
use dfs_types::limits::RETRY_TTL;
use dfs_types::{
    Caller, ChunkId, ErrorCode, FsError, FsPath, FsResult, GenStamp, InodeId, LeaseRecovery, Millis, NodeId,
    RecoveryWait, WaitingChunk,
};
use futures_util::StreamExt;
use futures_util::stream::{iter, poll_fn};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};
use tracing::{debug, info, warn};

use super::writing::OpenedBy;
use super::{Namenode, resolve, reused_request};
use crate::engine::FollowUp;
use crate::store::OpenOwner;
use crate::store::edit::{APPENDS, Edit, Extent, Outcome, RECOVERY_HOLDER};

/// Follow-ups of the engine under way at the same time: they share commits.
const CONCURRENT_FOLLOW_UPS: usize = 32;
/// Inodes freed by one edit: a commit stays short, so that clients do not notice.
const REAP_LIMIT: u32 = 200;
/// How often it is looked whether outcomes kept for retries are too old.
const PURGE_INTERVAL: Duration = Duration::from_secs(30);
/// Outcomes forgotten by one edit.
const PURGE_LIMIT: u32 = 4_096;
/// Pause before a recovery that an earlier leader began is tried again.
const RESUME_RETRY: Duration = Duration::from_secs(5);
/// Pause after a failed attempt to free what was deleted.
const REAP_RETRY: Duration = Duration::from_secs(5);

impl Namenode {
    /// Closes a file whose writer is gone. Not closed means that it is under way: ask again.
    ///
    /// With `accept_loss` the recovery may end with less than readers count on, once no node that can be asked has all of
    /// it. That is for superusers, and forgotten when another NameNode leads.
    pub async fn recover_lease(
        &self,
        caller: &Caller,
        path: &FsPath,
        holder: &str,
        accept_loss: bool,
    ) -> FsResult<LeaseRecovery> {
        if accept_loss {
            self.check_superuser(caller)?;
        }
        check_principal("lease holder", holder)?;
        self.check_writable()?;
        let status = self.store.stat(caller, path).await?;
        if status.is_directory() {
            return Err(dfs_types::FsError::new(
                ErrorCode::IsADirectory,
                format!("{path} is a directory: only a file has a lease"),
            ));
        }
        if !status.open {
            return Ok(LeaseRecovery { closed: true, waiting: Vec::new() });
        }
        info!(%path, holder, "lease recovery asked for");
        let closed = self.begin_recovery(status.inode, Some(caller.clone()), None).await?;
        if closed {
            return Ok(LeaseRecovery { closed, waiting: Vec::new() });
        }
        let chunks = self.store.recent_chunks(status.inode).await?;
        if accept_loss {
            self.accept_loss(caller, path, &chunks).await?;
        }
        Ok(LeaseRecovery { closed, waiting: self.waits_of(chunks).await? })
    }

    /// Lets recoveries end with less than readers count on, and writes down who wanted that of what.
    async fn accept_loss(&self, caller: &Caller, path: &FsPath, chunks: &[ChunkId]) -> FsResult<()> {
        for chunk in chunks.iter().copied() {
            let waiting = self
                .engine
                .with(move |turn| {
                    turn.apply(Event::LossAccepted { chunk });
                    turn.core.waiting_recovery(chunk)
                })
                .await?;
            if let Some(WaitingRecovery { acknowledged, best, .. }) = waiting {
                let found = best.map_or(0, |(_, length)| length);
                warn!(user = caller.user, %path, %chunk, acknowledged, found, "loss of acknowledged bytes accepted");
            }
        }
        Ok(())
    }

    /// Those of these chunks whose recovery waits, and for what.
    async fn waits_of(&self, chunks: Vec<ChunkId>) -> FsResult<Vec<WaitingChunk>> {
        let mut owners: HashMap<ChunkId, OpenOwner> = self
            .store
            .open_owners(chunks.clone())
            .await?
            .into_iter()
            .map(|owner| (owner.chunk, owner))
            .collect();
        self.engine
            .with(move |turn| {
                let core = &*turn.core;
                let waits = chunks.into_iter().filter_map(|chunk| {
                    let (waiting, owner) = (core.waiting_recovery(chunk)?, owners.remove(&chunk)?);
                    let wait = recovery_wait(core, waiting, owner.held_since);
                    Some(WaitingChunk { path: owner.path, chunk, wait })
                });
                waits.collect()
            })
            .await
    }

    /// The first chunks whose recovery waits, at most `limit`. None for who may not know all paths.
    pub async fn waiting_chunks(&self, caller: &Caller, limit: usize) -> FsResult<Vec<WaitingChunk>> {
        if self.check_superuser(caller).is_err() {
            return Ok(Vec::new());
        }
        let first = move |core: &Core| -> Vec<ChunkId> {
            core.waiting_recoveries().take(limit).map(|waiting| waiting.chunk).collect()
        };
        let chunks = self.engine.with(move |turn| first(turn.core)).await?;
        self.waits_of(chunks).await
    }

    /// A writer gives a file up that was there before he appended to it: it is closed with what was acknowledged at least.
    /// Nothing happens if it is not his any more.
    pub async fn release_lease(&self, file: OpenedBy) -> FsResult<()> {
        let OpenedBy { inode, holder } = file;
        match self.begin_recovery(inode, None, Some(holder)).await {
            Err(error) if matches!(error.code, ErrorCode::NotFound | ErrorCode::LeaseConflict) => Ok(()),
            begun => begun.map(|_closed| ()),
        }
    }

    /// The holder whose lease alone the NameNode's own recovery is to take, as far as the cluster's level knows that.
    /// Recoveries are nobody's in particular: one that is begun anew takes the place of the one before.
    pub(super) fn alone(&self, holder: String) -> Option<String> {
        (self.store.level() >= APPENDS && holder != RECOVERY_HOLDER).then_some(holder)
    }

    /// Starts the recovery of an open file unless it is under way already. Answers whether the file is
    /// closed. `caller` must be allowed to write the file; `None` is the NameNode itself. With `holder` only while it is he
    /// who has the lease.
    pub(super) async fn begin_recovery(
        &self,
        inode: InodeId,
        caller: Option<Caller>,
        holder: Option<String>,
    ) -> FsResult<bool> {
        if !self.engine.claim_recovery(inode).await? {
            return Ok(false);
        }
        let begun = self.propose_as(None, caller, Edit::BeginRecovery { inode, holder }).await;
        let begun = match begun {
            Ok(Outcome::Recovery { closed: false, chunks }) => {
                self.with_pipelines(inode, chunks).await.map(|chunks| (false, chunks))
            }
            Ok(Outcome::Recovery { closed: true, .. }) => Ok((true, Vec::new())),
            Ok(other) => Err(reused_request(&other)),
            Err(error) => Err(error),
        };
        match begun {
            Ok((closed, chunks)) => {
                for (Extent { chunk, generation: new_generation, length: acknowledged }, pipeline) in chunks {
                    #[cfg(feature = "seeded-bug")]
                    let acknowledged = if crate::seeded::forgets_synced() { 0 } else { acknowledged };
                    let wanted = Event::RecoveryWanted { chunk, new_generation, acknowledged, pipeline };
                    self.engine.tell(wanted).await?;
                }
                if closed {
                    // It may have been closed before, and then nothing else tells the engine.
                    self.engine.drop_recovery(inode).await?;
                }
                Ok(closed)
            }
            Err(error) => {
                self.engine.drop_recovery(inode).await?;
                Err(error)
            }
        }
    }

    /// The chunks of a file, each with the nodes that it was written to; none where they are not known.
    async fn with_pipelines(
        &self,
        inode: InodeId,
        chunks: Vec<Extent>,
    ) -> FsResult<Vec<(Extent, Vec<NodeId>)>> {
        let mut known: HashMap<_, _> = self.store.pipelines(inode).await?.into_iter().collect();
        Ok(chunks
            .into_iter()
            .map(|extent| (extent, known.remove(&extent.chunk).unwrap_or_default()))
            .collect())
    }

    /// Ends the recovery of a chunk; length 0 drops it. The last one closes the file.
    pub(super) async fn end_recovery(
        &self,
        chunk: ChunkId,
        generation: GenStamp,
        length: u64,
    ) -> FsResult<()> {
        let extent = Extent { chunk, generation, length };
        let lossy = self.engine.with(move |turn| turn.core.recovery_may_lose(chunk, length)).await?;
        #[cfg(feature = "seeded-bug")]
        let lossy = lossy || crate::seeded::forgets_synced();
        self.propose_own(Edit::CommitRecovery { extent, lossy }).await?;
        if lossy {
            warn!(
                %chunk, %generation, length,
                "acknowledged bytes are lost, as was accepted or as no node that they were written to has them: the chunk ends \
                 here"
            );
        }
        Ok(())
    }

    /// What a leader does by itself: starts the recoveries again that were under way, performs what the engine asks for,
    /// frees what was deleted, and sets access times. Never ends.
    pub async fn perform_duties(self: Arc<Self>, follow_ups: &mut mpsc::Receiver<FollowUp>) {
        let contents = self.store.contents();
        let interrupted = match tokio::task::spawn_blocking(move || contents.leases()).await {
            Ok(Ok(leases)) => leases,
            Ok(Err(error)) => {
                warn!(%error, "reading the leases failed: recoveries under way are not started again");
                Vec::new()
            }
            Err(error) => {
                warn!(%error, "reading the leases failed: recoveries under way are not started again");
                Vec::new()
            }
        };
        let interrupted = interrupted.into_iter().filter(|(_, holder)| holder == RECOVERY_HOLDER);
        let interrupted = interrupted.map(|(inode, _)| inode).collect();
        let perform = poll_fn(|context| follow_ups.poll_recv(context)).for_each_concurrent(
            CONCURRENT_FOLLOW_UPS,
            |follow_up| {
                let this = Arc::clone(&self);
                async move { this.perform(follow_up).await }
            },
        );
        let resume = self.resume_recoveries(interrupted);
        let housekeeping = async {
            tokio::join!(
                self.reap_garbage(),
                self.purge_outcomes(),
                self.keep_registry(),
                self.set_access_times(),
                self.keep_trash()
            )
        };
        tokio::join!(perform, resume, housekeeping);
    }

    /// Goes on with the recoveries of these files, which an earlier leader began, until all are under way again or over. The
    /// engine learns of them by this, so that nobody else asks again.
    async fn resume_recoveries(&self, mut interrupted: Vec<InodeId>) {
        while !interrupted.is_empty() {
            let tried = iter(interrupted).map(|inode| async move {
                info!(%inode, "going on with the recovery of a file");
                let error =
                    self.begin_recovery(inode, None, None).await.err().filter(|error| !is_over(error))?;
                warn!(%inode, %error, "going on with a recovery failed, it is tried again");
                Some(inode)
            });
            let failed = tried.buffer_unordered(CONCURRENT_FOLLOW_UPS).filter_map(std::future::ready);
            interrupted = failed.collect().await;
            if !interrupted.is_empty() {
                sleep(RESUME_RETRY).await;
            }
        }
    }

    /// Forgets outcomes kept for retries that are too old, also while no clients' edits come along. Proposes nothing as
    /// long as there are none: an idle group writes nothing. Never ends.
    async fn purge_outcomes(&self) {
        loop {
            let is_due = || self.store.oldest_outcome().is_some_and(|age| age > RETRY_TTL);
            while is_due() && !self.store.group().is_out_of_room() {
                if let Err(error) = self.propose_own(Edit::PurgeOutcomes { limit: PURGE_LIMIT }).await {
                    debug!(%error, "forgetting old outcomes failed");
                    break;
                }
            }
            sleep(PURGE_INTERVAL).await;
        }
    }

    async fn perform(&self, follow_up: FollowUp) {
        let result = match &follow_up {
            FollowUp::Expired { inode, holder } => {
                info!(%inode, holder, "lease expired, closing the file");
                self.begin_recovery(*inode, None, self.alone(holder.clone())).await.map(|_closed| ())
            }
            FollowUp::NothingLeft { chunk, generation } => {
                warn!(%chunk, "a chunk being written has no replica left, dropping it");
                self.end_recovery(*chunk, *generation, 0).await
            }
            FollowUp::BalancerEnded { settings } => {
                self.propose_own(Edit::EndBalancer { settings: *settings }).await.map(|_outcome| ())
            }
            FollowUp::Complete { chunk, generation, length } => {
                self.end_recovery(*chunk, *generation, *length).await
            }
        };
        match result {
            Ok(()) => {}
            Err(error) if is_over(&error) => {
                debug!(?follow_up, %error, "nothing to recover any more");
            }
            Err(error) => warn!(?follow_up, %error, "recovery failed, the engine asks again"),
        }
    }

    /// Frees what was deleted, in small steps. Begins with what an earlier leader left. Never ends. On a full disk it waits:
    /// what the log has must be applied, and everybody would wait for room with it, also after the next start.
    async fn reap_garbage(&self) {
        loop {
            if self.store.group().is_out_of_room() {
                sleep(REAP_RETRY).await;
                continue;
            }
            let begun = Instant::now();
            let pause = match self.propose_own(Edit::Reap { limit: REAP_LIMIT }).await {
                Ok(Outcome::Reaped { more: true, inodes }) => {
                    debug!(inodes, "freed deleted inodes");
                    // Clients' edits share a commit with this one: take half of the writer's time at most.
                    Some(begun.elapsed())
                }
                Ok(_) => None,
                Err(error) => {
                    debug!(%error, "freeing deleted files failed");
                    Some(REAP_RETRY)
                }
            };
            match pause {
                Some(pause) => sleep(pause).await,
                None => self.engine.garbage().await,
            }
        }
    }
}

/// What a recovery waits for since its file was taken from its writer, as others are told it.
pub(super) fn recovery_wait(core: &Core, waiting: WaitingRecovery, since: Millis) -> RecoveryWait {
    let WaitingRecovery { chunk: _, acknowledged, best, missing, loss_accepted } = waiting;
    let best = best.and_then(|(node, length)| Some((resolve(core, [node]).pop()?, length)));
    let missing = missing.into_iter().map(|node| (node, resolve(core, [node]).pop())).collect();
    RecoveryWait { since, expected: acknowledged, best, missing, loss_accepted }
}

/// Whether a recovery that could not be proposed is none any more: the file was closed, deleted or opened by another writer,
/// another recovery began, or another NameNode leads, meanwhile.
fn is_over(error: &FsError) -> bool {
    let over = [ErrorCode::NotFound, ErrorCode::StaleChunk, ErrorCode::LeaseConflict, ErrorCode::NotLeader];
    over.contains(&error.code)
}
