//! `Edit` → SQL.
//!
//! **All or nothing.** Within an edit every check comes before the first write, so a refused edit has nothing to
//! undo and its neighbours in the transaction go on; this saves two statements and a page journal per edit against
//! a savepoint. [`Step::write`] notes the first write, and a refusal after it breaks the whole batch, which is then
//! rolled back: half an edit is never committed, whatever bug there is.
//!
//! **Deterministic.** Nothing here reads a clock or a random generator, and nothing depends on how proposals are
//! cut into batches.

mod append;
mod attributes;
mod chunks;
mod namespace;
mod reach;
mod reap;
mod recovery;
mod registry;
mod retry;
mod settings;
mod trash;
mod tree;
mod usage;
mod view;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use dfs_types::{ChunkId, ClusterSettings, FileStatus, FsError, FsPath, GenStamp, InodeId, Millis};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, Params, TransactionBehavior};

use super::access::Authority;
use super::cache::Cache;
use super::checkpoint::{Checkpointer, copy_what_fits};
use super::counters::Counters;
use super::edit::{Applied, Change, Edit, Outcome, Proposal};
use super::inode::Inode;
use super::position::{self, Position};
use super::record::{Content, LogEntry, Record, Residence};
use super::resolve::{Resolved, resolve};
use super::stop::Stop;
use super::{backup, schema, settings as stored_settings};
use retry::Kept;
use usage::Ledger;
use view::View;

/// Entries that change nothing after which it is tried to note how far it went on a disk with little room, too: the log
/// can't be trimmed before.
const MOST_UNNOTED: u64 = 1_024;

/// Edits that broke a rule and were refused, since the start.
static REFUSED: AtomicU64 = AtomicU64::new(0);

/// How many edits broke a rule and were refused since the start: each is a bug.
pub(crate) fn broken_edits() -> u64 {
    REFUSED.load(Ordering::Relaxed)
}

/// Why a batch came to nothing.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BatchError {
    /// SQLite failed; whether the commit reached the disk is not known.
    #[error("the namespace database failed")]
    Sqlite(#[from] rusqlite::Error),
    /// An edit was refused after it had written something: a bug.
    #[error("an edit was refused half way")]
    HalfDone(#[source] FsError),
    /// Entries of the log are missing: a bug.
    #[error("entry {found} of the log came where {expected} was expected")]
    Gap {
        /// The next one.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// What was committed could not be copied from SQLite's log into the database.
    #[error("writing the namespace database failed: {0}")]
    Checkpoint(String),
    /// A snapshot that was taken over could not be synced.
    #[error("syncing the namespace database failed")]
    Sync(#[source] std::io::Error),
    /// A snapshot could not be taken over because something holds the database.
    #[error("the namespace database is held by another process")]
    Busy,
}

/// The namespace as its one writer has it.
pub(crate) struct State {
    checkpointer: Checkpointer,
    connection: Connection,
    counters: Counters,
    kept: Kept,
    position: Position,
    /// Index of the last entry that the database itself has noted.
    stored: u64,
    /// Whether entries that change nothing are not noted by themselves, to write nothing.
    spares: bool,
    addresses: BTreeMap<u64, String>,
    /// The cluster's feature level.
    level: u16,
    settings: ClusterSettings,
    /// Whether the root has an owner, which the first batch of a new namespace gives it.
    root_is_owned: bool,
}

impl BatchError {
    /// Whether one edit is to blame, on every member and at every try.
    fn is_of_an_edit(&self) -> bool {
        match self {
            Self::HalfDone(_) => true,
            Self::Sqlite(error) => {
                error.sqlite_error_code() == Some(rusqlite::ErrorCode::ConstraintViolation)
            }
            _ => false,
        }
    }

    /// Whether there was only no room: nothing was changed, and after [`State::roll_back`] the same can be tried again.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Sqlite(error) if schema::is_full(error))
    }
}

impl State {
    /// Takes over the writing connection.
    pub(crate) fn load(mut connection: Connection) -> rusqlite::Result<Self> {
        let counters = Counters::load(&connection)?;
        let kept = Kept::load(&connection)?;
        let position = Position::load(&connection)?;
        let addresses = position::addresses(&connection)?;
        let level = schema::level(&connection)?;
        let settings = stored_settings::cluster(&connection)?;
        let checkpointer = Checkpointer::start(&mut connection, schema::CHECKPOINT_PAGES)?;
        let (stored, spares, root_is_owned) = (position.applied, false, false);
        Ok(Self {
            checkpointer,
            connection,
            counters,
            kept,
            position,
            stored,
            spares,
            addresses,
            level,
            settings,
            root_is_owned,
        })
    }

    /// The counters as of the last commit.
    pub(crate) fn counters(&self) -> Counters {
        self.counters
    }

    /// When the oldest outcome was kept, by the group's clock.
    pub(crate) fn oldest_outcome(&self) -> Option<u64> {
        self.kept.oldest()
    }

    /// How far the log is applied.
    pub(crate) fn position(&self) -> &Position {
        &self.position
    }

    /// Index of the last entry that the database itself has noted: what the log still needs is what comes after. On a disk
    /// with little room that may be less than [`State::position`], by entries that changed nothing.
    pub(crate) fn stored(&self) -> u64 {
        self.stored
    }

    /// The cluster's feature level.
    pub(crate) fn level(&self) -> u16 {
        self.level
    }

    /// The settings of the cluster as a whole.
    pub(crate) fn settings(&self) -> ClusterSettings {
        self.settings
    }

    /// Where the members are.
    pub(crate) fn addresses(&self) -> &BTreeMap<u64, String> {
        &self.addresses
    }

    /// Replaces everything by the database in a file, in one transaction; readers see all of the old or all of the new.
    pub(crate) fn replace(&mut self, cache: &Cache, snapshot: &Path) -> Result<(), BatchError> {
        let source = Connection::open(snapshot)?;
        let fence = cache.fence_all();
        {
            let backup = Backup::new(&source, &mut self.connection)?;
            let copied = backup.step(-1)?;
            if copied != StepResult::Done {
                return Err(BatchError::Busy);
            }
        }
        drop(fence);
        // Its sender and the log rely on it from now on, and such a commit syncs nothing.
        backup::sync(Path::new(self.connection.path().unwrap_or_default())).map_err(BatchError::Sync)?;
        self.counters = Counters::load(&self.connection)?;
        self.kept = Kept::load(&self.connection)?;
        self.position = Position::load(&self.connection)?;
        self.stored = self.position.applied;
        self.addresses = position::addresses(&self.connection)?;
        self.level = schema::level(&self.connection)?;
        self.settings = stored_settings::cluster(&self.connection)?;
        Ok(())
    }

    /// Forgets what a batch that came to nothing noted, and copies what SQLite's log has into the database, so that the log
    /// can begin anew.
    pub(crate) fn roll_back(&mut self) -> Result<(), BatchError> {
        copy_what_fits(&self.connection)?;
        self.kept = Kept::load(&self.connection)?;
        Ok(())
    }

    /// Lets SQLite's log be short on a disk with little room, and writes nothing for entries that change nothing: on a full
    /// disk a leader can begin to serve reads only when the entry that it begins with is applied.
    pub(crate) fn spare_room(&mut self, low: bool) {
        self.spares = low && self.position.applied - self.stored < MOST_UNNOTED;
        let limit = if low { schema::CHECKPOINT_PAGES_WITHOUT_ROOM } else { schema::CHECKPOINT_PAGES };
        self.checkpointer.set_limit(limit);
    }

    /// There was no room: lets what changes nothing be applied all the same. Answers whether that is news.
    pub(crate) fn begin_sparing(&mut self) -> bool {
        !std::mem::replace(&mut self.spares, true)
    }

    /// Ends the writing: copies SQLite's own log into the database so that the next start has nothing to replay.
    pub(crate) fn close(self) -> rusqlite::Result<()> {
        drop(self.checkpointer);
        self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        self.connection.close().map_err(|(_, error)| error)
    }
}

/// Applies committed entries, which must follow the last one without a gap, in one transaction that also notes how far
/// it went, unless there is little room and they change nothing: then the next start applies them again. Answers what became
/// of each proposal in order. After an error apply nothing more: whether it was committed may not be known.
///
/// An edit that breaks a rule of ours must not stop every member for ever, as it would at every start: then the same entries
/// are applied again with a way back from each edit, and that one is refused. Every member refuses it.
pub(crate) fn apply_entries(
    state: &mut State,
    cache: &Cache,
    entries: &[LogEntry],
) -> Result<Vec<Applied>, BatchError> {
    match apply_with(state, cache, entries, Way::Straight) {
        Err(broken) if broken.is_of_an_edit() => {
            tracing::error!(error = %broken, "an edit broke a rule: it is looked for and refused");
            state.kept = Kept::load(&state.connection)?;
            // An index that is damaged here breaks rules that the others see kept: then this member must stop.
            if matches!(broken, BatchError::Sqlite(_)) && !schema::is_sound(&state.connection)? {
                return Err(broken);
            }
            apply_with(state, cache, entries, Way::BackFromEach)
        }
        done => done,
    }
}

/// How entries are applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// An edit that breaks a rule breaks the batch.
    Straight,
    /// Each edit has a savepoint, which costs two statements and a journal of pages.
    BackFromEach,
}

fn apply_with(
    state: &mut State,
    cache: &Cache,
    entries: &[LogEntry],
    way: Way,
) -> Result<Vec<Applied>, BatchError> {
    let Some(last) = entries.last() else { return Ok(Vec::new()) };
    let (mut counters, mut level) = (state.counters, state.level);
    let mut view = View::new(cache);
    let mut ledger = Ledger::default();
    let mut applied = Vec::new();
    let mut expected = state.position.applied;
    let mut members = None;
    let transaction = state.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let before = transaction.total_changes();
    for entry in entries {
        expected += 1;
        if entry.index != expected {
            return Err(BatchError::Gap { expected, found: entry.index });
        }
        match &entry.content {
            Content::Nothing => {}
            Content::Record(Record::Moved(residence)) => {
                position::set_address(&transaction, residence.id, &residence.address)?;
            }
            Content::Members(now, joined) => {
                if let Some(Residence { id, address }) = joined {
                    position::set_address(&transaction, *id, address)?;
                    counters.next_member = counters.next_member.max(id + 1);
                }
                position::set_members(&transaction, now)?;
                members = Some(now.clone());
            }
            Content::Record(Record::Edits(batch)) => {
                counters.clock = counters.clock.max(batch.clock.0);
                if !state.root_is_owned {
                    view.forget_root();
                    schema::adopt_root(&transaction, &batch.superuser)?;
                }
                for proposal in &batch.proposals {
                    let (so_far, level_so_far) = (counters, level);
                    if way == Way::BackFromEach {
                        transaction.execute_batch("SAVEPOINT edit")?;
                    }
                    let step = Step {
                        connection: &transaction,
                        counters: &mut counters,
                        level: &mut level,
                        kept: &mut state.kept,
                        view: &mut view,
                        ledger: &mut ledger,
                        authority: Authority {
                            caller: proposal.caller.as_ref(),
                            superuser: &batch.superuser,
                        },
                        now: proposal.now,
                        wrote: false,
                        changes: Vec::new(),
                    };
                    let done = match step.finish(proposal) {
                        Err(broken) if way == Way::BackFromEach && broken.is_of_an_edit() => {
                            transaction.execute_batch("ROLLBACK TO edit")?;
                            (counters, level) = (so_far, level_so_far);
                            state.kept = Kept::load(&transaction)?;
                            view.doubt();
                            ledger.doubt();
                            Err(refused(entry.index, proposal, &broken))
                        }
                        done => done?,
                    };
                    if way == Way::BackFromEach {
                        ledger.store(&transaction)?;
                        transaction.execute_batch("RELEASE edit")?;
                    }
                    applied.push(done);
                }
            }
        }
    }
    ledger.store(&transaction)?;
    let is_quiet = transaction.total_changes() == before
        && Counters { clock: state.counters.clock, ..counters } == state.counters;
    let stores = !(state.spares && is_quiet);
    if stores {
        // Both or none: the clock goes on from where the entries that are not noted are applied again.
        counters.save(&transaction)?;
        Position::advance(&transaction, last.index, last.term)?;
    }
    let moved = entries
        .iter()
        .any(|entry| matches!(entry.content, Content::Members(..) | Content::Record(Record::Moved(_))));
    let addresses = if moved { Some(position::addresses(&transaction)?) } else { None };
    let settings = if entries.iter().any(changes_settings) {
        Some(stored_settings::cluster(&transaction)?)
    } else {
        None
    };
    let adopts = entries.iter().any(|entry| matches!(entry.content, Content::Record(Record::Edits(_))));
    let fence = view.fence();
    transaction.commit()?;
    drop(fence);
    view.committed();
    state.checkpointer.after_commit(&state.connection).map_err(BatchError::Checkpoint)?;
    state.root_is_owned |= adopts;
    (state.counters, state.level) = (counters, level);
    (state.position.applied, state.position.term) = (last.index, last.term);
    state.stored = if stores { last.index } else { state.stored };
    state.position.members = members.unwrap_or_else(|| std::mem::take(&mut state.position.members));
    state.addresses = addresses.unwrap_or_else(|| std::mem::take(&mut state.addresses));
    state.settings = settings.unwrap_or(state.settings);
    Ok(applied)
}

fn changes_settings(entry: &LogEntry) -> bool {
    let Content::Record(Record::Edits(batch)) = &entry.content else { return false };
    batch.proposals.iter().any(|proposal| matches!(proposal.edit, Edit::SetSetting { .. }))
}

/// What the proposer of an edit that broke a rule is told.
fn refused(index: u64, proposal: &Proposal, broken: &BatchError) -> FsError {
    let why = dfs_types::error::sentence(broken);
    tracing::error!(index, edit = ?proposal.edit, why, "an edit broke a rule and is refused, which is a bug: report it");
    REFUSED.fetch_add(1, Ordering::Relaxed);
    FsError::internal(format!(
        "the change broke a rule of the namespace and was refused ({why}): report this bug"
    ))
}

/// One edit being applied.
struct Step<'a, 'c> {
    connection: &'a Connection,
    counters: &'a mut Counters,
    level: &'a mut u16,
    kept: &'a mut Kept,
    view: &'a mut View<'c>,
    ledger: &'a mut Ledger,
    authority: Authority<'a>,
    now: Millis,
    /// Whether something was written already.
    wrote: bool,
    changes: Vec<Change>,
}

impl Step<'_, '_> {
    /// Applies a proposal; a refusal after something was written breaks the batch.
    fn finish(mut self, proposal: &Proposal) -> Result<Applied, BatchError> {
        match self.apply(proposal) {
            Ok(outcome) => Ok(Ok((outcome, self.changes))),
            Err(Stop::Refused(error)) if self.wrote => Err(BatchError::HalfDone(error)),
            Err(Stop::Refused(error)) => Ok(Err(error)),
            Err(Stop::Broken(error)) => Err(error.into()),
        }
    }

    fn apply(&mut self, proposal: &Proposal) -> Result<Outcome, Stop> {
        let needed = proposal.edit.level();
        if needed > *self.level && !matches!(proposal.edit, Edit::RaiseLevel { .. }) {
            // Refused before it is proposed, so this is a bug; and the same on every member.
            let why =
                format!("the change needs feature level {needed}, and the cluster is at {}", self.level);
            return Err(Stop::Refused(FsError::internal(why)));
        }
        let request = proposal.request.filter(|_| retry::is_kept(&proposal.edit));
        if let Some(request) = request
            && let Some(outcome) = self.outcome_of(request)?
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
        #[cfg(test)]
        if let Some(poison) = super::tests::poison_of(edit) {
            return self.take_poison(poison);
        }
        match edit {
            Edit::Mkdir { path, mode, parents } => self.mkdir(path, *mode, *parents),
            Edit::Create { path, holder, mode, replication, chunk_size, overwrite, parents, temporary } => {
                let file = namespace::NewFile {
                    holder,
                    mode: *mode,
                    replication: *replication,
                    chunk_size: *chunk_size,
                    temporary: *temporary,
                };
                self.create(path, &file, *overwrite, *parents)
            }
            Edit::Append { path, holder } => self.append(path, holder),
            Edit::Truncate { path, length } => self.truncate(path, *length),
            Edit::Concat { target, sources } => self.concat(target, sources),
            Edit::AddChunk { inode, holder, previous, pipeline } => {
                self.add_chunk(*inode, holder, *previous, pipeline)
            }
            Edit::AbandonChunk { inode, holder, chunk } => self.abandon_chunk(*inode, holder, *chunk),
            Edit::CommitLength { inode, holder, extent } => self.commit_length(*inode, holder, *extent),
            Edit::CommitChunk { inode, holder, extent } => self.commit_chunk(*inode, holder, *extent),
            Edit::Complete { inode, holder, last, publish } => {
                self.complete(*inode, holder, *last, publish.as_ref())
            }
            Edit::Discard { inode, holder } => self.discard(*inode, holder),
            Edit::NewGeneration { inode, holder, chunk } => self.new_generation(*inode, holder, *chunk),
            Edit::UpdatePipeline { inode, holder, extent, pipeline } => {
                self.update_pipeline(*inode, holder, *extent, pipeline)
            }
            Edit::Rename { from, to, overwrite } => self.rename(from, to, *overwrite),
            Edit::Delete { path, recursive, expected } => self.delete(path, *recursive, *expected),
            Edit::SetReplication { path, replication } => self.set_replication(path, *replication),
            Edit::SetMode { path, mode } => self.set_mode(path, *mode),
            Edit::SetOwner { path, owner, group } => self.set_owner(path, owner.as_deref(), group.as_deref()),
            Edit::SetTimes { path, mtime, atime } => self.set_times(path, *mtime, *atime),
            Edit::Touch { path } => self.touch(path),
            Edit::ChangeAcl { path, change } => self.change_acl(path, change),
            Edit::SetXattr { path, xattr, flag } => self.set_xattr(path, xattr, *flag),
            Edit::RemoveXattr { path, name } => self.remove_xattr(path, name),
            Edit::BeginRecovery { inode, holder } => self.begin_recovery(*inode, holder.as_deref()),
            Edit::CommitRecovery { extent, lossy } => self.commit_recovery(*extent, *lossy),
            Edit::SetQuota { path, names, space } => self.set_quota(path, *names, *space),
            Edit::Trash { path, recursive, expected } => self.trash(path, *recursive, *expected),
            Edit::SetTrash { path, keep } => self.set_trash(path, *keep),
            Edit::TendTrash { root, checkpoint } => self.tend_trash(root, checkpoint),
            Edit::Reap { limit } => self.reap(*limit),
            Edit::SetNodeDuty { nodes, duty } => self.set_node_duty(nodes, *duty),
            Edit::SetBalancer { settings } => self.set_balancer(*settings),
            Edit::EndBalancer { settings } => self.end_balancer(*settings),
            Edit::SetSafeMode { on } => self.set_safe_mode(*on),
            Edit::SetSetting { setting, value } => self.set_setting(*setting, *value),
            Edit::PurgeOutcomes { limit } => self.purge_outcomes(*limit),
            Edit::RecordNodes { nodes } => self.record_nodes(nodes),
            Edit::ForgetNodes { nodes } => self.forget_nodes(nodes),
            Edit::RaiseLevel { to } => self.raise_level(*to),
        }
    }

    /// A bug on purpose: writes, and then breaks a rule.
    #[cfg(test)]
    fn take_poison(&mut self, poison: super::tests::Poison) -> Result<Outcome, Stop> {
        let root = self.status(InodeId::ROOT)?;
        let _taken = self.take_inode();
        self.write("UPDATE inode SET children = 99 WHERE parent = 0", [])?;
        match poison {
            super::tests::Poison::Refused => Err(FsError::invalid("refused half way").into()),
            super::tests::Poison::Constraint => {
                self.write("INSERT INTO cluster VALUES (1, ?1)", [root.owner])?;
                Ok(Outcome::Done)
            }
        }
    }

    /// Executes a statement that changes something. Every change goes through here.
    fn write(&mut self, sql: &'static str, params: impl Params) -> rusqlite::Result<usize> {
        self.wrote = true;
        self.connection.prepare_cached(sql)?.execute(params)
    }

    fn emit(&mut self, change: impl Into<Change>) {
        self.changes.push(change.into());
    }

    fn resolve<'p>(&self, path: &'p FsPath) -> Result<Resolved<'p>, Stop> {
        resolve(path, self.authority, |parent, name| Ok(self.view.entry(self.connection, parent, name)?))
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
