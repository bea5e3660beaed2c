//! The thread that owns this member of the group and its log. [`Thread::run`] alone waits; everything else is plain
//! code over exclusively owned state. The other modules are rooms of their own.

mod backlog;
mod members;
mod sick;
mod upkeep;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Instant;

use dfs_namenode_raft::{
    Committed, DiskLog, EntryLog, Envelope, FileLog, Member, MessageType, Nanos, NotLeading, Outlet, Role,
    Settings, Snapshot, log,
};
use dfs_types::{ErrorCode, FsError, FsResult, Millis};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc, oneshot, watch};

use super::{Beginning, Input, Options, Shared, Status, Waiting, not_leader};
use crate::store::position::{Members, Position};
use crate::store::record::{Batch, Content, LogEntry, Record};
use crate::store::space::Room;
use crate::store::writer::{Answer, Progress, Work, Writer};
use crate::store::{Error, PartFile};
use backlog::{Backlog, Ended};

/// Parts of the election timeout that the protocol counts in.
const ELECTION_TICKS: u16 = 10;
/// Inputs handled before the log is synced.
const INPUTS_AT_ONCE: usize = 256;
/// Largest entry, in bytes: far below what a message between members may have.
const MAX_ENTRY: usize = 4 << 20;
/// Entries of edits that may be under way, in the log or being applied: one is synced while another is applied. More
/// would only make them smaller, and each costs an fsync and a transaction.
const ENTRIES_AT_ONCE: usize = 2;

/// A proposal in the log that is not committed yet.
struct Pending {
    at: dfs_namenode_raft::Position,
    record: Record,
    answers: Vec<Answer>,
}

/// A snapshot that can be sent.
struct Offered {
    file: PartFile,
    index: u64,
    since: Instant,
}

/// The state of the thread.
pub(super) struct Thread {
    id: u64,
    member: Member<DiskLog>,
    runtime: Runtime,
    options: Options,
    inputs: mpsc::Receiver<Input>,
    own_inputs: mpsc::Sender<Input>,
    writer: SyncSender<Work>,
    progress: Arc<Progress>,
    applied: watch::Receiver<u64>,
    status: watch::Sender<Status>,
    shared: Arc<Shared>,
    directory: PathBuf,
    database: PathBuf,
    superuser: String,
    max_batch: usize,
    pending: VecDeque<Pending>,
    /// Entries of edits in the log that are not applied yet.
    under_way: VecDeque<u64>,
    backlog: Backlog,
    confirms: Vec<(Nanos, oneshot::Sender<FsResult<()>>)>,
    /// Requests in the log: the entry to be applied, and the answer.
    requests: Vec<(u64, u64, oneshot::Sender<FsResult<u64>>)>,
    /// Term led, and the entry this leader began it with.
    opening: Option<(u64, u64)>,
    /// The group's clock when this leader began, and when that was.
    clock: (Millis, Instant),
    /// Snapshots that arrived in this step, and the indexes they are of.
    incoming: Vec<(u64, PartFile)>,
    offered: Option<Offered>,
    copying: bool,
    /// Before this time no copy is made: the last one failed.
    copy_after: Instant,
    syncing: bool,
    /// Index of the last entry handed over that changed the members.
    members_at: u64,
    /// Somebody waits for the others to confirm that this member leads.
    asks: bool,
    removed: bool,
    housekept: Instant,
    /// When each other member was heard of last.
    heard: BTreeMap<u64, Instant>,
    room: Arc<Room>,
    /// The log's disk has gone on.
    disk_moved: Arc<Notify>,
    /// The disk was full when what is in the queue came, or may have been.
    waited_for_room: bool,
    /// The log's disk or the database failed: when that was noticed.
    leaving: Option<Instant>,
}

/// Sends what the member sends, and takes snapshots over.
struct Ways<'a> {
    id: u64,
    options: &'a Options,
    offered: Option<&'a Path>,
    /// What the library ignores of it goes with this value.
    incoming: Vec<(u64, PartFile)>,
    backlog: &'a mut Backlog,
    writer: &'a SyncSender<Work>,
}

fn io_failure(action: &'static str, path: &Path, what: impl ToString) -> log::Error {
    log::Error::Io { action, path: path.to_owned(), source: std::io::Error::other(what.to_string()) }
}

impl Outlet for Ways<'_> {
    fn send(&mut self, envelope: Envelope) {
        let is_snapshot = envelope.message.get_msg_type() == MessageType::MsgSnapshot;
        match self.offered.filter(|_| is_snapshot) {
            Some(file) => self.options.transport.send_snapshot(envelope, file.to_owned()),
            None => self.options.transport.send(envelope),
        }
    }

    fn install(&mut self, snapshot: &Snapshot) -> Result<(), log::Error> {
        let index = snapshot.get_metadata().index;
        let Some((_, file)) = self.incoming.extract_if(.., |(arrived, _)| *arrived == index).next() else {
            return Err(io_failure("installing", Path::new("a snapshot"), "its file is not there"));
        };
        answer_all(self.backlog.give_up(), &not_leader(self.id, None));
        let file = file.path();
        let (done, installed) = sync_channel(1);
        let stopped = || io_failure("installing", file, "the writer of the namespace has stopped");
        self.writer.send(Work::Install(file.to_owned(), done)).map_err(|_| stopped())?;
        match installed.recv() {
            Ok(Ok(position)) if position.applied == index => {}
            Ok(Ok(position)) => {
                let what = format!("it ends at entry {} and not at {index}", position.applied);
                return Err(io_failure("installing", file, what));
            }
            Ok(Err(error)) => return Err(io_failure("installing", file, error.message)),
            Err(_) => return Err(stopped()),
        }
        Ok(())
    }
}

impl Thread {
    /// A member over its log; the writer applies what it commits.
    pub(super) fn new(
        beginning: Beginning,
        options: Options,
        writer: &Writer,
        inputs: mpsc::Receiver<Input>,
        own_inputs: mpsc::Sender<Input>,
        shared: Arc<Shared>,
    ) -> Result<(Self, watch::Receiver<Status>, log::Gauge), Error> {
        let Beginning { id, directory, database, mut log, position, superuser, max_batch, observer, room } =
            beginning;
        fit(&mut log, &position)?;
        let disk_moved = Arc::new(Notify::new());
        let (moved, keeper) = (Arc::clone(&disk_moved), Arc::clone(&room));
        let progress = move |took| {
            if let (Some(took), Some(observer)) = (took, &observer) {
                observer.on_sync(took);
            }
            moved.notify_one();
        };
        let hooks =
            log::Hooks { progress: Box::new(progress), make_room: Box::new(move || keeper.make_room()) };
        let log = DiskLog::start(log, hooks).map_err(Error::Thread)?;
        let gauge = log.gauge();
        let settings = Settings {
            id,
            tick: options.election_timeout / u32::from(ELECTION_TICKS),
            election_ticks: ELECTION_TICKS,
            heartbeat_ticks: heartbeat_ticks(&options),
            seed: uuid::Uuid::new_v4().as_u64_pair().0,
        };
        let Position { applied, members, .. } = position;
        let member = Member::new(settings, log, applied, members.clone().into(), shared.now())
            .map_err(|error| Error::Group(error.to_string()))?;
        let (status, seen) = watch::channel(Status {
            id,
            role: Role::Follower,
            term: 0,
            leader: None,
            leads: false,
            members,
            silent: BTreeSet::new(),
            removed: false,
            no_copy: None,
            refusals: BTreeMap::new(),
        });
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(Error::Thread)?;
        let progress = Arc::clone(writer.progress());
        let this = Self {
            id,
            member,
            runtime,
            options,
            inputs,
            own_inputs,
            writer: writer.queue().ok_or_else(|| Error::Group("the writer has stopped".to_owned()))?,
            applied: progress.applied(),
            progress,
            status,
            shared,
            directory,
            database,
            superuser,
            max_batch: max_batch.max(1),
            pending: VecDeque::new(),
            under_way: VecDeque::new(),
            backlog: Backlog::default(),
            confirms: Vec::new(),
            requests: Vec::new(),
            opening: None,
            clock: (Millis(0), Instant::now()),
            incoming: Vec::new(),
            offered: None,
            copying: false,
            copy_after: Instant::now(),
            syncing: false,
            members_at: 0,
            asks: false,
            removed: false,
            housekept: Instant::now(),
            heard: BTreeMap::new(),
            room,
            disk_moved,
            waited_for_room: false,
            leaving: None,
        };
        Ok((this, seen, gauge))
    }

    /// Works until nobody proposes any more, or something is broken for good.
    pub(super) fn run(mut self, mut waiting: mpsc::Receiver<Waiting>) {
        let (mut inputs, mut proposals) = (Vec::new(), Vec::new());
        let mut closed = false;
        while self.step(&mut inputs, &mut proposals) && !(closed && self.is_done()) {
            let tick = self.member.next_tick().since(self.shared.now());
            // What comes while the log is being synced shares the next sync.
            let is_full = self.member.term_led().is_some()
                && (self.under_way.len() >= ENTRIES_AT_ONCE || self.member.is_writing());
            let waits = is_full || !self.requests.is_empty() || self.opens() || self.backlog.waits();
            self.shared.busy_since.store(0, Ordering::Release);
            let Self { runtime, inputs: queue, applied, max_batch, disk_moved, .. } = &mut self;
            runtime.block_on(async {
                tokio::select! {
                    biased;
                    _ = queue.recv_many(&mut inputs, INPUTS_AT_ONCE) => {}
                    taken = waiting.recv_many(&mut proposals, *max_batch), if !closed && !is_full => closed = taken == 0,
                    _ = applied.changed(), if waits => {}
                    () = disk_moved.notified() => {}
                    () = tokio::time::sleep(tick) => {}
                }
            });
            self.shared.busy_since.store(self.shared.now().0, Ordering::Release);
            // While the log is full nobody looks at the queue, and on a disk without room that may be for hours.
            closed |= waiting.is_closed() && (waiting.is_empty() || self.is_stuck());
            self.refuse_without_room(&mut waiting);
            while !proposals.is_empty()
                && proposals.len() < self.max_batch
                && let Ok(another) = waiting.try_recv()
            {
                proposals.push(another);
            }
            if self.waited_for_room {
                // They may have been here for as long as the disk was full, and nobody wants them any more.
                proposals.retain(|waiting: &Waiting| !waiting.answer.is_closed());
            }
            self.waited_for_room =
                self.waits_for_room().is_some() || (self.waited_for_room && !waiting.is_empty());
        }
        self.end();
    }

    /// Nobody waits for anything that this member can still do.
    fn is_done(&self) -> bool {
        let has_nothing = self.pending.is_empty() && !self.backlog.waits();
        has_nothing || !self.status.borrow().leads || self.is_stuck()
    }

    /// Leads, but has not applied its first entry yet.
    fn opens(&self) -> bool {
        self.opening.is_some() && !self.status.borrow().leads
    }

    /// Handles what came and lets the member work; `false` ends the thread.
    fn step(&mut self, inputs: &mut Vec<Input>, proposals: &mut Vec<Waiting>) -> bool {
        for input in inputs.drain(..) {
            self.handle(input);
        }
        if self.shared.failure.get().is_some() {
            return false;
        }
        if !proposals.is_empty() {
            self.propose(std::mem::take(proposals));
        }
        let now = self.shared.now();
        if std::mem::take(&mut self.asks) {
            self.member.ask_to_confirm();
        }
        self.member.tick(now);
        if let Err(error) = self.work() {
            self.fail(&dfs_types::error::sentence(&error));
            return false;
        }
        self.keep_house();
        self.publish();
        if self.must_leave() {
            return false;
        }
        !self.removed && self.shared.failure.get().is_none()
    }

    fn handle(&mut self, input: Input) {
        let now = self.shared.now();
        match input {
            // Without its file a snapshot is of no use.
            Input::Message(envelope) if envelope.message.get_msg_type() == MessageType::MsgSnapshot => {}
            // The leader tells every member only what that member has acknowledged; the library would panic.
            Input::Message(envelope) if self.has_forgotten(&envelope) => self.fail(
                "the log has lost entries that were synced: check the disk, and replace this NameNode: remove its \
                 directory and start it again with the addresses of the others (docs/operations/namenodes.md)",
            ),
            // As if it were lost: the leader sends it again.
            Input::Message(envelope) if self.has_too_much_to_write(&envelope) => {}
            Input::Message(envelope) => {
                self.heard.insert(envelope.message.from, Instant::now());
                self.member.receive(envelope, now);
            }
            Input::Snapshot(envelope, file) => {
                // The member handles it in this step, or never.
                let index = envelope.message.get_snapshot().get_metadata().index;
                self.incoming.push((index, file));
                self.member.receive(envelope, now);
            }
            Input::Confirm(answer) => {
                self.confirms.push((now, answer));
                self.asks = true;
            }
            Input::Request(request, answer) => match self.take_request(request) {
                Ok((index, id)) => self.requests.push((index, id, answer)),
                Err(error) => {
                    // The asker may have given up.
                    let _gone = answer.send(Err(error));
                }
            },
            Input::HandOver(to) => self.member.hand_over(to),
            Input::Unreachable(id) => self.member.unreachable(id),
            Input::SnapshotSent { to, refusal } => {
                self.member.snapshot_sent(to, refusal.is_none());
                self.note_refusal(to, refusal);
            }
            Input::Copied(copied) => self.offer(copied),
            Input::Synced(index) => self.trim(index),
        }
    }

    fn has_forgotten(&self, envelope: &Envelope) -> bool {
        let message = &envelope.message;
        message.get_msg_type() == MessageType::MsgHeartbeat
            && message.to == self.id
            && message.term == self.member.status(self.shared.now()).term
            && message.commit > self.member.log().last_index()
    }

    /// Puts proposals into the log as one entry.
    fn propose(&mut self, waiting: Vec<Waiting>) {
        let (proposals, answers): (Vec<_>, Vec<_>) =
            waiting.into_iter().map(|Waiting { proposal, answer }| (proposal, answer)).unzip();
        let clock = self.clock.0.plus(self.clock.1.elapsed());
        let record = Record::Edits(Batch { clock, superuser: self.superuser.clone(), proposals });
        self.append_batch(record, answers);
    }

    /// Appends a batch as one entry, or as several where that would be too large for a message between members.
    fn append_batch(&mut self, record: Record, mut answers: Vec<Answer>) {
        let data = match record.encode() {
            Ok(data) => data,
            Err(error) => {
                let error = FsError::internal(format!("an edit can't be encoded: {error}"));
                return answer_all(answers, &error);
            }
        };
        if data.len() <= MAX_ENTRY {
            return match self.member.propose(data) {
                Ok(at) => {
                    self.under_way.push_back(at.index);
                    self.pending.push_back(Pending { at, record, answers });
                }
                Err(refusal) => answer_all(answers, &self.explain(refusal)),
            };
        }
        let Record::Edits(Batch { clock, superuser, mut proposals }) = record else {
            return answer_all(answers, &too_large(data.len()));
        };
        if proposals.len() < 2 {
            return answer_all(answers, &too_large(data.len()));
        }
        let half = proposals.len() / 2;
        let (later, later_answers) = (proposals.split_off(half), answers.split_off(half));
        self.append_batch(Record::Edits(Batch { clock, superuser: superuser.clone(), proposals }), answers);
        self.append_batch(Record::Edits(Batch { clock, superuser, proposals: later }), later_answers);
    }

    fn append(&mut self, record: &Record) -> FsResult<dfs_namenode_raft::Position> {
        let data = record
            .encode()
            .map_err(|error| FsError::internal(format!("an edit can't be encoded: {error}")))?;
        self.member.propose(data).map_err(|refusal| self.explain(refusal))
    }

    fn explain(&self, refusal: NotLeading) -> FsError {
        match refusal {
            NotLeading::Elsewhere => not_leader(self.id, self.status.borrow().leader),
            NotLeading::Overloaded => FsError::new(
                ErrorCode::Busy,
                "too many changes wait for a majority of the NameNodes: try again",
            ),
            NotLeading::Members => FsError::new(
                ErrorCode::Busy,
                "another change of the NameNodes is under way: look at `dfs admin namenodes` and try again",
            ),
        }
    }

    /// Lets the member sync, send and hand over.
    fn work(&mut self) -> Result<(), log::Error> {
        self.open_term();
        let now = self.shared.now();
        let mut ways = Ways {
            id: self.id,
            options: &self.options,
            offered: self.offered.as_ref().map(|offered| offered.file.path()),
            incoming: std::mem::take(&mut self.incoming),
            backlog: &mut self.backlog,
            writer: &self.writer,
        };
        for committed in self.member.turn(&mut ways, now)? {
            self.hand_over(committed)?;
        }
        self.backlog
            .pass_on(&self.writer)
            .map_err(|Ended| io_failure("applying", &self.database, "its writer has stopped"))?;
        // Becoming leader may have been among what happened.
        if self.open_term() { self.work() } else { Ok(()) }
    }

    /// A new leader begins with an entry of its own: when that is applied, so is everything before.
    fn open_term(&mut self) -> bool {
        let Some(led) = self.member.term_led() else {
            self.opening = None;
            return false;
        };
        if self.opening.is_some_and(|(term, _)| term == led) {
            return false;
        }
        self.clock = (Millis(self.progress.counters().clock), Instant::now());
        let batch = Batch { clock: self.clock.0, superuser: self.superuser.clone(), proposals: Vec::new() };
        // Refused while the leadership is being handed on already: then in the next step, if it is still needed.
        let Ok(at) = self.append(&Record::Edits(batch)) else { return false };
        self.opening = Some((led, at.index));
        tracing::info!(id = self.id, term = led, "this NameNode leads");
        true
    }

    /// Gives a committed entry to the writer, with those who wait for it.
    fn hand_over(&mut self, committed: Committed) -> Result<(), log::Error> {
        let Committed { index, term, data, members } = committed;
        let bytes = data.len() as u64;
        while let Some(lost) = self.pending.pop_front_if(|pending| pending.at.index < index) {
            answer_all(lost.answers, &not_leader(self.id, None));
        }
        let own = self.pending.pop_front_if(|pending| pending.at.index == index);
        let (content, answers) = match (members, own) {
            (Some((members, context)), lost) => {
                answer_all(lost.map(|lost| lost.answers).unwrap_or_default(), &not_leader(self.id, None));
                (self.new_members(index, members.into(), &context)?, Vec::new())
            }
            (None, Some(pending)) if pending.at.term == term => {
                (Content::Record(pending.record), pending.answers)
            }
            (None, lost) => {
                answer_all(lost.map(|lost| lost.answers).unwrap_or_default(), &not_leader(self.id, None));
                (self.read(index, &data)?, Vec::new())
            }
        };
        let urgent = self.opening.is_some();
        let work = Work::Entry { entry: LogEntry { index, term, content }, answers, urgent };
        self.backlog.add(index, bytes, work);
        Ok(())
    }

    fn read(&self, index: u64, data: &[u8]) -> Result<Content, log::Error> {
        if data.is_empty() {
            return Ok(Content::Nothing);
        }
        Record::decode(data).map(Content::Record).map_err(|error| {
            io_failure("reading an entry of", &self.directory, format!("entry {index}: {error}"))
        })
    }

    /// Tells what changed, and answers those who wait for it.
    fn publish(&mut self) {
        let now = self.shared.now();
        let applied = *self.applied.borrow_and_update();
        let status = self.member.status(now);
        let is_leader = status.role == Role::Leader;
        self.backlog.applied(applied);
        // What a deposed leader put into its log may never be applied.
        self.under_way.retain(|index| is_leader && *index > applied);
        let leads = is_leader && self.opening.is_some_and(|(_, index)| applied >= index);
        self.shared.lease_until.store(status.lease_until.0, Ordering::Release);
        self.shared.leads.store(if leads { status.term } else { 0 }, Ordering::Release);
        if !is_leader && self.is_waited_for() {
            self.refuse(&not_leader(self.id, status.leader));
        }
        if leads {
            let sure = |asked: &Nanos| status.followed_at >= *asked || status.lease_until > now;
            for (_, answer) in self.confirms.extract_if(.., |(asked, _)| sure(asked)) {
                let _gone = answer.send(Ok(()));
            }
        }
        for (_, id, answer) in self.requests.extract_if(.., |(index, _, _)| *index <= applied) {
            let _gone = answer.send(Ok(id));
        }
        let members = Members::from(status.members);
        self.status.send_if_modified(|published| {
            // Every step comes here, and most change nothing.
            let Status {
                id: _,
                role,
                term,
                leader,
                leads: led,
                members: known,
                silent: _,
                removed,
                no_copy: _,
                refusals,
            } = published;
            if !is_leader {
                refusals.clear();
            }
            let now = (status.role, status.term, status.leader, leads, self.removed);
            if (*role, *term, *leader, *led, *removed) == now && *known == members {
                return false;
            }
            (*role, *term, *leader, *led, *removed) = now;
            *known = members;
            true
        });
    }

    /// Somebody waits for an answer.
    fn is_waited_for(&self) -> bool {
        !(self.pending.is_empty() && self.confirms.is_empty() && self.requests.is_empty())
    }

    /// Answers everybody who waits.
    fn refuse(&mut self, error: &FsError) {
        let pending = self.pending.drain(..).flat_map(|pending| pending.answers).collect();
        answer_all(pending, error);
        // Those who asked may have given up.
        for (_, answer) in self.confirms.drain(..) {
            let _gone = answer.send(Err(error.clone()));
        }
        for (_, _, answer) in self.requests.drain(..) {
            let _gone = answer.send(Err(error.clone()));
        }
    }

    /// Nothing is done any more.
    fn fail(&mut self, why: &str) {
        tracing::error!(id = self.id, why, "this NameNode can't go on");
        let why = self.shared.failure.get_or_init(|| why.to_owned()).clone();
        self.refuse(&FsError::new(ErrorCode::Unavailable, why));
    }

    fn end(mut self) {
        if self.removed {
            self.fail(
                "this NameNode was removed from its group: remove its directory, and start it with the addresses of the \
                 others if it shall join again",
            );
        }
        self.shared.lease_until.store(0, Ordering::Release);
        self.shared.leads.store(0, Ordering::Release);
        self.refuse(&FsError::new(ErrorCode::Unavailable, "the NameNode is stopping: try again shortly"));
        self.status.send_modify(|status| (status.leads, status.role) = (false, Role::Follower));
    }
}

/// Ticks between heartbeats, rounded down: rather too often than too seldom.
fn heartbeat_ticks(options: &Options) -> u16 {
    let share = options.heartbeat_interval.as_secs_f64() / options.election_timeout.as_secs_f64();
    ((share * f64::from(ELECTION_TICKS)) as u16).clamp(1, ELECTION_TICKS / 2)
}

/// Lets the log begin where the database began, and checks that nothing is missing between them.
fn fit(log: &mut FileLog, position: &Position) -> Result<(), Error> {
    // A crash between the two, or a log that goes on from another past than the snapshot's.
    let forked =
        log.start().0 <= position.installed && log.term(position.installed) != Some(position.installed_term);
    if log.last_index() < position.installed || forked {
        log.reset(position.installed, position.installed_term)?;
    }
    let (start, last) = (log.start().0, log.last_index());
    if last < position.applied || start > position.applied {
        return Err(Error::Apart { first: start + 1, last, applied: position.applied });
    }
    Ok(())
}

fn answer_all(answers: Vec<Answer>, error: &FsError) {
    for answer in answers {
        // The proposer may have stopped waiting.
        let _gone = answer.send(Err(error.clone()));
    }
}

fn too_large(bytes: usize) -> FsError {
    FsError::invalid(format!(
        "the change takes {bytes} bytes, of which at most {MAX_ENTRY} are taken: give fewer groups or a shorter path"
    ))
}
