//! `Edit` → SQL.
//!
//! **All or nothing.** Within an edit every check comes before the first write, so a refused edit has nothing to
//! undo and its neighbours in the transaction go on; this saves two statements and a page journal per edit against
//! a savepoint. [`Step::write`] notes the first write, and a refusal after it breaks the whole batch, which is then
//! rolled back: half an edit is never committed, whatever bug there is.
//!
//! **Deterministic.** Nothing here reads a clock or a random generator, and nothing depends on how proposals are
//! cut into batches.

mod chunks;
mod counters;
mod namespace;
mod reap;
mod recovery;
mod retry;
mod tree;

use std::sync::Arc;

use dfs_types::{ChunkId, FileStatus, FsError, FsPath, GenStamp, InodeId, Millis};
use rusqlite::{Connection, Params, TransactionBehavior};

use super::access::Authority;
use super::cache::{Cache, Key};
use super::edit::{Applied, Change, Edit, Outcome, Proposal};
use super::inode::Inode;
use super::resolve::{Resolved, resolve};
use super::stop::Stop;

pub(crate) use counters::Counters;

/// Why a batch came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BatchError {
    /// SQLite failed; whether the commit reached the disk is not known.
    #[error("the namespace database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// An edit was refused after it had written something: a bug.
    #[error("an edit was refused half way")]
    HalfDone(#[source] FsError),
}

/// The namespace as its one writer has it.
pub(crate) struct State {
    connection: Connection,
    counters: Counters,
    superuser: String,
}

impl State {
    /// Takes over the writing connection.
    pub(crate) fn load(connection: Connection, superuser: String) -> rusqlite::Result<Self> {
        let counters = Counters::load(&connection)?;
        Ok(Self { connection, counters, superuser })
    }

    /// The counters as of the last commit.
    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// Ends the writing: copies the log into the database so that the next start has nothing to replay.
    pub(crate) fn close(self) -> rusqlite::Result<()> {
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        self.connection.close().map_err(|(_, error)| error)
    }
}

/// Applies proposals in order in one transaction and commits it; `Ok` means that all of it is durable. After an
/// error the state is as before the call or, if the commit itself failed, unknown: apply nothing more.
pub(crate) fn apply_batch(
    state: &mut State,
    cache: &Cache,
    proposals: &[Proposal],
) -> Result<Vec<Applied>, BatchError> {
    let before = state.counters;
    let mut counters = before;
    let mut touched = Vec::new();
    let mut applied = Vec::with_capacity(proposals.len());
    let transaction = state.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for proposal in proposals {
        let mut step = Step {
            connection: &transaction,
            counters: &mut counters,
            touched: &mut touched,
            authority: Authority { caller: proposal.caller.as_ref(), superuser: &state.superuser },
            now: proposal.now,
            wrote: false,
            changes: Vec::new(),
        };
        applied.push(match step.apply(proposal) {
            Ok(outcome) => Ok((outcome, step.changes)),
            Err(Stop::Refused(error)) if step.wrote => return Err(BatchError::HalfDone(error)),
            Err(Stop::Refused(error)) => Err(error),
            Err(Stop::Broken(error)) => return Err(error.into()),
        });
    }
    if counters.edits == before.edits {
        // Only refusals and questions: nothing to make durable.
        transaction.rollback()?;
        return Ok(applied);
    }
    counters.save_changed(before, &transaction)?;
    let fence = cache.fence(&touched);
    transaction.commit()?;
    drop(fence);
    state.counters = counters;
    Ok(applied)
}

/// One edit being applied.
struct Step<'a> {
    connection: &'a Connection,
    counters: &'a mut Counters,
    /// Cache keys whose rows changed.
    touched: &'a mut Vec<Key>,
    authority: Authority<'a>,
    now: Millis,
    /// Whether something was written already.
    wrote: bool,
    changes: Vec<Change>,
}

impl Step<'_> {
    fn apply(&mut self, proposal: &Proposal) -> Result<Outcome, Stop> {
        let request = proposal.request.filter(|_| retry::is_kept(&proposal.edit));
        if let Some(request) = request
            && let Some(outcome) = retry::find(self.connection, request)?
        {
            return Ok(outcome);
        }
        let outcome = self.run(&proposal.edit)?;
        if let Some(request) = request {
            self.keep_for_retries(request, &outcome)?;
        }
        if self.wrote {
            self.counters.edits += 1;
            self.purge_old_outcomes()?;
        }
        Ok(outcome)
    }

    fn run(&mut self, edit: &Edit) -> Result<Outcome, Stop> {
        match edit {
            Edit::Mkdir { path, mode, parents } => self.mkdir(path, *mode, *parents),
            Edit::Create { path, holder, mode, replication, chunk_size, overwrite, parents } => {
                let file = namespace::NewFile {
                    holder,
                    mode: *mode,
                    replication: *replication,
                    chunk_size: *chunk_size,
                };
                self.create(path, &file, *overwrite, *parents)
            }
            Edit::AddChunk { inode, holder, previous } => self.add_chunk(*inode, holder, *previous),
            Edit::AbandonChunk { inode, holder, chunk } => self.abandon_chunk(*inode, holder, *chunk),
            Edit::CommitLength { inode, holder, extent } => self.commit_length(*inode, holder, *extent),
            Edit::Complete { inode, holder, last } => self.complete(*inode, holder, *last),
            Edit::NewGeneration { inode, holder, chunk } => self.new_generation(*inode, holder, *chunk),
            Edit::UpdatePipeline { inode, holder, extent } => self.update_pipeline(*inode, holder, *extent),
            Edit::Rename { from, to, overwrite } => self.rename(from, to, *overwrite),
            Edit::Delete { path, recursive } => self.delete(path, *recursive),
            Edit::SetReplication { path, replication } => self.set_replication(path, *replication),
            Edit::SetMode { path, mode } => self.set_mode(path, *mode),
            Edit::SetOwner { path, owner, group } => self.set_owner(path, owner.as_deref(), group.as_deref()),
            Edit::SetTimes { path, mtime, atime } => self.set_times(path, *mtime, *atime),
            Edit::BeginRecovery { inode } => self.begin_recovery(*inode),
            Edit::CommitRecovery { extent } => self.commit_recovery(*extent),
            Edit::Reap { limit } => self.reap(*limit),
        }
    }

    /// Executes a statement that changes something. Every change goes through here.
    fn write(&mut self, sql: &'static str, params: impl Params) -> rusqlite::Result<usize> {
        self.wrote = true;
        self.connection.prepare_cached(sql)?.execute(params)
    }

    /// Notes that an inode's row changes, moves or goes.
    fn touch(&mut self, inode: &Inode) {
        self.touched.push(Key { parent: inode.parent, name: inode.name.as_str().into() });
    }

    fn emit(&mut self, change: Change) {
        self.changes.push(change);
    }

    fn resolve<'p>(&self, path: &'p FsPath) -> Result<Resolved<'p>, Stop> {
        resolve(path, self.authority, |parent, name| {
            Ok(Inode::by_name(self.connection, parent, name)?.map(Arc::new))
        })
    }

    /// The status of an inode as it is after the writes of this edit.
    fn status(&self, id: InodeId) -> Result<FileStatus, Stop> {
        let inode = Inode::by_id(self.connection, id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        Ok(inode.status())
    }

    fn take_inode(&mut self) -> InodeId {
        let id = self.counters.next_inode;
        self.counters.next_inode += 1;
        InodeId(id)
    }

    fn take_chunk(&mut self) -> ChunkId {
        let id = self.counters.next_chunk;
        self.counters.next_chunk += 1;
        ChunkId(id)
    }

    /// Takes a generation stamp. A stamp that was answered must never be given again, so this counts as a write.
    fn take_generation(&mut self) -> GenStamp {
        self.wrote = true;
        let stamp = self.counters.next_generation;
        self.counters.next_generation += 1;
        GenStamp(stamp)
    }
}
