//! This NameNode as a member of its group: proposals go through the replicated log before they are applied.
//!
//! One thread ([`thread`]) owns the member and its log; the writer's thread applies what is committed. While the one
//! syncs the next batch, the other applies the last. A group of one takes the same way.

mod thread;
mod transport;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dfs_namenode_raft::log::Gauge;
use dfs_namenode_raft::{Envelope, FileLog, Nanos, Role};
use dfs_types::{ErrorCode, FsError, FsResult};
use tokio::sync::{mpsc, oneshot, watch};

use super::disk::{Disk, Look, judge, no_room, waits_for_room};
use super::edit::{Edit, Outcome, Proposal};
use super::position::{Members, Position};
use super::space::Room;
use super::writer::{Progress, Writer};
use super::{DiskState, Error, Observer, PartFile, Residences};
use thread::Thread;
pub use transport::{Alone, Transport};

/// Proposals that wait for the log before further proposers wait themselves.
const PROPOSALS: usize = 4_096;
/// Messages and requests that wait for the log's thread. What does not fit is lost, which the protocol bears.
const INPUTS: usize = 4_096;
/// Longest wait for room in the queue. Then thousands wait already, and the caller's own deadline is near.
const MAX_WAIT: Duration = Duration::from_secs(10);
/// Longest wait for the others to confirm a leader, or for another leader.
const CONFIRM_LIMIT: Duration = Duration::from_secs(5);
/// The same for those who must not be kept long: a DataNode's heartbeat counts only when it is taken in.
const ASK_LIMIT: Duration = Duration::from_secs(1);
/// Longest wait of a follower until it has applied what a reader has seen elsewhere.
const CATCH_UP_LIMIT: Duration = Duration::from_millis(500);

/// How the group works.
#[derive(Clone)]
pub struct Options {
    /// A leader that is not heard of for so long, up to twice, is replaced. The same for all members.
    pub election_timeout: Duration,
    /// How often a leader is heard of, at most half of that.
    pub heartbeat_interval: Duration,
    /// Bytes of entries in the log above which it is trimmed.
    pub log_bytes: u64,
    /// How messages reach the others.
    pub transport: Arc<dyn Transport>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            election_timeout: Duration::from_millis(500),
            heartbeat_interval: Duration::from_millis(100),
            log_bytes: 32 << 20,
            transport: Arc::new(Alone),
        }
    }
}

/// What this member knows of its group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// This member.
    pub id: u64,
    /// What it is.
    pub role: Role,
    /// Its term.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<u64>,
    /// It leads and has applied all that was committed before its term.
    pub leads: bool,
    /// The members as of the last entry handed over.
    pub members: Members,
    /// For a leader: members that were not heard of lately.
    pub silent: BTreeSet<u64>,
    /// It was a member and is none any more.
    pub removed: bool,
    /// Why members that are far behind get no copy of the database from this one.
    pub no_copy: Option<String>,
    /// For a leader: why members did not take the copy that they were sent last.
    pub refusals: BTreeMap<u64, String>,
}

/// A change of the group that its leader is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Take in a new member at this address, without a vote until it has caught up; answers its id. A dead member of that
    /// address leaves when it votes.
    Join(String),
    /// A member leaves.
    Remove(u64),
    /// A member has another address.
    Move(u64, String),
}

/// What the log's thread is told besides proposals.
pub(crate) enum Input {
    Message(Envelope),
    /// A snapshot arrived: its message, and the file it is in.
    Snapshot(Envelope, PartFile),
    /// The others shall confirm that this member leads.
    Confirm(oneshot::Sender<FsResult<()>>),
    Request(Request, oneshot::Sender<FsResult<u64>>),
    HandOver(u64),
    Unreachable(u64),
    SnapshotSent {
        to: u64,
        /// Why it did not arrive, unless it did.
        refusal: Option<String>,
    },
    /// A copy of the database was made to be sent, or why not.
    Copied(Result<(Position, PartFile), String>),
    /// The database is synced up to this entry, or can't be.
    Synced(std::io::Result<u64>),
}

/// A proposal and who waits for it.
pub(crate) struct Waiting {
    pub(crate) proposal: Proposal,
    pub(crate) answer: super::writer::Answer,
}

/// What readers look at without asking the thread.
#[derive(Debug)]
struct Shared {
    started: Instant,
    /// The term led, all that was committed before being applied; 0 for none.
    leads: AtomicU64,
    lease_until: AtomicU64,
    /// Since when the thread has been at what it does; 0 while it waits for something to do.
    busy_since: AtomicU64,
    failure: OnceLock<String>,
}

impl Shared {
    /// How long the thread has been at what it does.
    fn busy(&self) -> Option<Duration> {
        let since = self.busy_since.load(Ordering::Acquire);
        (since > 0).then(|| self.now().since(Nanos(since)))
    }

    fn now(&self) -> Nanos {
        // From one, as zero means never.
        Nanos(1 + self.started.elapsed().as_nanos() as u64)
    }
}

/// The handle of the group. Dropping the last one ends the thread after all that was proposed is answered.
pub struct Group {
    id: u64,
    proposals: Option<mpsc::Sender<Waiting>>,
    inputs: mpsc::Sender<Input>,
    thread: Option<JoinHandle<()>>,
    status: watch::Receiver<Status>,
    progress: Arc<Progress>,
    shared: Arc<Shared>,
    directory: PathBuf,
    log: Gauge,
    room: Arc<Room>,
    heartbeat_interval: Duration,
}

impl std::fmt::Debug for Group {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What a member begins with.
pub(crate) struct Beginning {
    pub(crate) id: u64,
    pub(crate) directory: PathBuf,
    pub(crate) database: PathBuf,
    pub(crate) log: FileLog,
    pub(crate) position: Position,
    pub(crate) superuser: String,
    pub(crate) max_batch: usize,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) room: Arc<Room>,
}

impl Group {
    /// Starts the thread.
    pub(crate) fn start(beginning: Beginning, options: Options, writer: &Writer) -> Result<Self, Error> {
        let id = beginning.id;
        let (proposals, waiting) = mpsc::channel(PROPOSALS);
        let (inputs, queue) = mpsc::channel(INPUTS);
        let shared = Arc::new(Shared {
            started: Instant::now(),
            leads: AtomicU64::new(0),
            lease_until: AtomicU64::new(0),
            busy_since: AtomicU64::new(0),
            failure: OnceLock::new(),
        });
        let progress = Arc::clone(writer.progress());
        let died = Arc::clone(&shared);
        let (directory, room) = (beginning.directory.clone(), Arc::clone(&beginning.room));
        let heartbeat_interval = options.heartbeat_interval;
        let (thread, status, log) =
            Thread::new(beginning, options, writer, queue, inputs.clone(), Arc::clone(&shared))?;
        let thread = std::thread::Builder::new()
            .name("meta-log".to_owned())
            .spawn(move || {
                // The library panics where its own rules are broken: going on would be worse.
                if catch_unwind(AssertUnwindSafe(|| thread.run(waiting))).is_err() {
                    died.failure.get_or_init(|| {
                        "the thread of the replicated log has died of a broken rule (see the log): start this NameNode \
                         again, and replace it if that happens again"
                            .to_owned()
                    });
                }
            })
            .map_err(Error::Thread)?;
        Ok(Self {
            id,
            proposals: Some(proposals),
            inputs,
            thread: Some(thread),
            status,
            progress,
            shared,
            directory,
            log,
            room,
            heartbeat_interval,
        })
    }

    /// Which member this is.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How often a leader is heard of.
    pub fn heartbeat_interval(&self) -> Duration {
        self.heartbeat_interval
    }

    /// What this member knows of its group, and its changes.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Index of the entry applied last.
    pub fn applied_now(&self) -> u64 {
        self.progress.applied_now()
    }

    /// Index of the entry applied last, and its changes.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.progress.applied()
    }

    /// The members and where they are, as of the entry applied last.
    pub fn residences(&self) -> Residences {
        self.progress.residences()
    }

    /// `Err` says why this member does nothing any more.
    pub fn health(&self) -> Result<(), String> {
        self.progress.health()?;
        self.shared.failure.get().map_or(Ok(()), |failure| Err(failure.clone()))
    }

    /// How the disk of this member is. Never waits for it.
    pub fn disk(&self) -> Disk {
        let log = self.log.condition();
        let task = self.progress.task();
        let look = Look {
            space: self.room.space(),
            min_free: self.room.min_free(),
            low: self.room.is_low(),
            log: log.busy,
            database: task.0,
            full: waits_for_room(&log, task),
            failure: log
                .failure
                .as_ref()
                .map(|error| dfs_types::error::sentence(error))
                .or_else(|| self.progress.health().err()),
        };
        judge(&look, &self.directory)
    }

    /// Whether that disk has hardly any room for what may as well be done later.
    pub fn is_out_of_room(&self) -> bool {
        self.room.is_out()
    }

    /// The room on that disk.
    pub(crate) fn room(&self) -> &Room {
        &self.room
    }

    /// Fails if a change would wait for a disk that does nothing, or for room that this leader has not had for long.
    fn check_disk(&self) -> FsResult<()> {
        let Disk { state, note, busy, full, .. } = self.disk();
        if state == DiskState::Full && full >= MAX_WAIT && self.shared.leads.load(Ordering::Acquire) > 0 {
            return Err(no_room(self.id, &note.unwrap_or_default()));
        }
        let waits_long = state == DiskState::Stalled && busy >= MAX_WAIT;
        if !waits_long && state != DiskState::Failed {
            return Ok(());
        }
        Err(FsError::new(ErrorCode::Unavailable, note.unwrap_or_default()))
    }

    /// Applies a proposal; answers after a majority has it and this member applied it and told the sink.
    pub(crate) async fn propose(&self, proposal: Proposal) -> FsResult<Outcome> {
        let queue = self.proposals.as_ref().ok_or_else(|| self.stopped())?;
        self.check_level(&proposal)?;
        self.check_disk()?;
        let room = match queue.try_reserve() {
            Ok(room) => room,
            Err(mpsc::error::TrySendError::Full(())) => tokio::time::timeout(MAX_WAIT, queue.reserve())
                .await
                .map_err(|_| {
                    FsError::new(
                        ErrorCode::Busy,
                        format!("{PROPOSALS} changes of the namespace wait already: try again shortly"),
                    )
                })?
                .map_err(|_| self.stopped())?,
            Err(mpsc::error::TrySendError::Closed(())) => return Err(self.stopped()),
        };
        let (answer, answered) = oneshot::channel();
        room.send(Waiting { proposal, answer });
        answered.await.map_err(|_| self.stopped())?
    }

    /// An edit of a later level than the cluster's must not get into the log: a member may not know it.
    fn check_level(&self, proposal: &Proposal) -> FsResult<()> {
        if matches!(proposal.edit, Edit::RaiseLevel { .. }) {
            return Ok(());
        }
        self.check_has(proposal.edit.level())
    }

    /// Refuses what needs a later level than the cluster's.
    pub(crate) fn check_has(&self, needed: u16) -> FsResult<()> {
        let level = self.progress.level();
        if needed <= level {
            return Ok(());
        }
        Err(FsError::new(
            ErrorCode::Unsupported,
            format!(
                "this needs feature level {needed}, and the cluster is at level {level}: when all NameNodes are of this \
                 release, use `dfs admin upgrade finalize`"
            ),
        ))
    }

    /// Waits until this member surely leads, so that what it reads now is the latest; fails with `NotLeader` if it does
    /// not. Costs nothing while the leader's lease lasts.
    pub async fn lead(&self) -> FsResult<()> {
        if self.surely_leads().is_some() {
            return Ok(());
        }
        if self.shared.busy().is_some_and(|busy| busy > CONFIRM_LIMIT) {
            return Err(not_leader(self.id, None));
        }
        let (answer, answered) = oneshot::channel();
        self.ask(Input::Confirm(answer)).await?;
        tokio::time::timeout(CONFIRM_LIMIT, answered)
            .await
            .map_err(|_| not_leader(self.id, None))?
            .map_err(|_| self.stopped())?
    }

    /// The term that this member surely leads in at this moment, without asking anybody.
    pub fn surely_leads(&self) -> Option<u64> {
        let term = self.shared.leads.load(Ordering::Acquire);
        let leased = self.shared.now().0 < self.shared.lease_until.load(Ordering::Acquire);
        (term > 0 && leased).then_some(term)
    }

    /// The term that this member surely led in at a moment after the call. It asks the others if there is no lease, as
    /// after a hand-over that nobody took; a follower asks nobody.
    pub async fn term_led(&self) -> Option<u64> {
        if let Some(term) = self.surely_leads() {
            return Some(term);
        }
        let led = || self.shared.leads.load(Ordering::Acquire);
        let term = led();
        if term == 0 {
            return None;
        }
        let confirmed = tokio::time::timeout(ASK_LIMIT, self.lead()).await;
        // Confirmed was what it led in then, which must be the same term.
        (matches!(confirmed, Ok(Ok(()))) && led() == term).then_some(term)
    }

    /// Waits a moment until this member has applied an entry; fails with `NotLeader` if it does not get there.
    pub async fn catch_up(&self, index: u64) -> FsResult<()> {
        if self.applied_now() >= index {
            return Ok(());
        }
        let mut applied = self.applied();
        let reached = applied.wait_for(|applied| *applied >= index);
        match tokio::time::timeout(CATCH_UP_LIMIT, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(self.stopped()),
            Err(_) => Err(not_leader(self.id, None)),
        }
    }

    /// Asks the leader, which this member must be, for a change of the group; answers the member's id when the change
    /// is applied.
    pub async fn request(&self, request: Request) -> FsResult<u64> {
        let (answer, answered) = oneshot::channel();
        self.ask(Input::Request(request, answer)).await?;
        tokio::time::timeout(MAX_WAIT, answered)
            .await
            .map_err(|_| {
                FsError::new(
                    ErrorCode::TimedOut,
                    "the group did not agree in time: look at its members and try again",
                )
            })?
            .map_err(|_| self.stopped())?
    }

    /// Hands the leadership to another member; answers the new leader.
    pub async fn hand_over(&self, to: u64) -> FsResult<u64> {
        let mut status = self.status();
        self.ask(Input::HandOver(to)).await?;
        let own = self.id;
        let other = status.wait_for(|status| status.leader.is_some_and(|leader| leader != own));
        let leader = match tokio::time::timeout(CONFIRM_LIMIT, other).await {
            Ok(Ok(status)) => status.leader,
            Ok(Err(_)) => return Err(self.stopped()),
            Err(_) => None,
        };
        leader.ok_or_else(|| {
            FsError::new(
                ErrorCode::Unavailable,
                format!(
                    "NameNode {to} did not take the leadership over: see whether it runs and is not behind"
                ),
            )
        })
    }

    /// Takes in a message of another member; it may be lost.
    pub fn deliver(&self, envelope: Envelope) {
        self.try_tell(Input::Message(envelope));
    }

    /// Takes in a snapshot that arrived in a file of this member's directory.
    pub async fn deliver_snapshot(&self, envelope: Envelope, file: PartFile) -> FsResult<()> {
        self.ask(Input::Snapshot(envelope, file)).await
    }

    /// A message to a member could not be sent.
    pub fn unreachable(&self, id: u64) {
        self.try_tell(Input::Unreachable(id));
    }

    /// A snapshot was sent, or could not be, because of `refusal`.
    pub fn snapshot_sent(&self, to: u64, refusal: Option<String>) {
        self.try_tell(Input::SnapshotSent { to, refusal });
    }

    fn try_tell(&self, input: Input) {
        if self.inputs.try_send(input).is_err() {
            tracing::debug!("a message between members is lost: too many wait");
        }
    }

    async fn ask(&self, input: Input) -> FsResult<()> {
        match tokio::time::timeout(MAX_WAIT, self.inputs.send(input)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.stopped()),
            Err(_) => Err(FsError::new(ErrorCode::Busy, "the NameNode's log is stuck: look at its disk")),
        }
    }

    fn stopped(&self) -> FsError {
        let why = self.health().err();
        FsError::new(
            ErrorCode::Unavailable,
            why.unwrap_or_else(|| "the NameNode is stopping: try again shortly".to_owned()),
        )
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.proposals = None;
        // Whoever waits for room is not waited for.
        self.progress.close();
        let Some(thread) = self.thread.take() else {
            return;
        };
        if thread.thread().id() != std::thread::current().id() && thread.join().is_err() {
            tracing::error!("the log's thread had panicked");
        }
    }
}

/// This member does not lead.
pub(crate) fn not_leader(id: u64, leader: Option<u64>) -> FsError {
    let who = leader.map_or("no leader is known".to_owned(), |leader| format!("NameNode {leader} does"));
    FsError::new(ErrorCode::NotLeader, format!("NameNode {id} does not lead, {who}: ask the leader"))
}
