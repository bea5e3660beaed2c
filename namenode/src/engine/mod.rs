//! The loop around [`Core`]: one task, on a thread of its own, owns it; everybody else sends messages.
//!
//! Deciding never waits: a message is applied to the core in one go, and what follows from it is put into
//! queues that others empty ([`FollowUp`]s, garbage, waiters). The store's changes travel through the same
//! inbox as questions and are put there before the client that caused them is answered, so whoever knows of a
//! change finds the core knowing it too.

mod clock;
mod waiters;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dfs_daemon::Shutdown;
use dfs_namenode_core::{Core, Effect, Event, WaitingRecovery};
use dfs_types::{ChunkId, ErrorCode, FsError, FsResult, GenStamp, InodeId, Millis};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use tracing::{info, warn};

use crate::store::edit::{Balancing, Change};
pub use clock::Clock;
pub(crate) use clock::unix_now;
pub use waiters::Need;
use waiters::Waiters;

/// Messages that may wait for the engine; the senders of more wait themselves.
const INBOX: usize = 8_192;
/// Follow-ups handed out but not taken yet; further ones wait inside the engine, at most one of each kind for
/// an open file.
const OUTBOX: usize = 256;
/// How often time passes for the core.
const TICK: Duration = Duration::from_millis(500);
/// How often abandoned waiters are forgotten.
const SWEEP: Duration = Duration::from_secs(5);
/// After this time a recovery of which nothing was heard may be started once more.
const RECOVERY_RETRY: Duration = Duration::from_mins(1);
/// Chunks looked up in one turn of the engine: keeps a turn far below a millisecond.
const SLICE: usize = 2_048;

/// Exclusive use of the core for the length of one message.
#[derive(Debug)]
pub struct Turn<'a> {
    /// The core; use [`Turn::apply`] for events, so that what follows from them is performed.
    pub core: &'a mut Core,
    /// Now, by the engine's clock.
    pub now: Millis,
    effects: Vec<Effect>,
}

impl Turn<'_> {
    /// Applies an event.
    pub fn apply(&mut self, event: Event) {
        self.effects.extend(self.core.apply(event, self.now));
    }
}

/// What the engine asks others to do, because it takes an edit of the namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum FollowUp {
    /// A writer is gone: recover its file.
    Expired {
        /// Which file.
        inode: InodeId,
        /// Whose lease.
        holder: String,
    },
    /// The balancer has no more to do: the next leader need not start it again.
    BalancerEnded {
        /// How it worked.
        settings: Balancing,
    },
    /// A chunk's recovery found no replica and needs none: drop the chunk.
    NothingLeft {
        /// Which chunk.
        chunk: ChunkId,
        /// The recovery's generation.
        generation: GenStamp,
    },
    /// A committed chunk that was to be recovered is complete: end its recovery.
    Complete {
        /// Which chunk.
        chunk: ChunkId,
        /// Its generation.
        generation: GenStamp,
        /// Its length.
        length: u64,
    },
}

/// Works on the core; what it answers is called after everything that follows from it is performed, so
/// that whoever asked finds it done.
type Job = Box<dyn for<'a> FnOnce(&mut Turn<'a>) -> Reply + Send>;
type Reply = Box<dyn FnOnce() + Send>;

enum Message {
    Changes(Vec<Change>),
    Job(Job),
    Wait { needs: Vec<Need>, done: oneshot::Sender<()> },
    ClaimRecovery { inode: InodeId, claimed: oneshot::Sender<bool> },
    DropRecovery { inode: InodeId },
    ForgetRecoveries,
    Replace(Box<Core>),
}

#[derive(Debug, Default)]
struct Shared {
    safe_mode: AtomicBool,
    garbage: Notify,
}

/// The way to the engine. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    inbox: mpsc::Sender<Message>,
    shared: Arc<Shared>,
    clock: Clock,
}

/// The engine's end of the channel, until the core is loaded.
#[derive(Debug)]
pub struct Inbox {
    messages: mpsc::Receiver<Message>,
    shared: Arc<Shared>,
    clock: Clock,
}

/// A channel to an engine that does not run yet. Messages wait in it.
pub fn channel() -> (Handle, Inbox) {
    let (inbox, messages) = mpsc::channel(INBOX);
    let shared = Arc::new(Shared::default());
    let clock = Clock::start();
    let inbox_end = Inbox { messages, shared: Arc::clone(&shared), clock };
    (Handle { inbox, shared, clock }, inbox_end)
}

fn stopping() -> FsError {
    FsError::new(ErrorCode::Unavailable, "the NameNode is stopping: try again shortly")
}

impl Handle {
    /// The clock the engine uses.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Runs `job` on the core and answers its result. Jobs run in the order in which they were sent.
    pub async fn with<T, F>(&self, job: F) -> FsResult<T>
    where
        T: Send + 'static,
        F: for<'a> FnOnce(&mut Turn<'a>) -> T + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |turn| {
            let result = job(turn);
            Box::new(move || {
                // The asker may have given up; what the job did to the core stands.
                let _gone = answer.send(result);
            })
        });
        self.inbox.send(Message::Job(job)).await.map_err(|_| stopping())?;
        answered.await.map_err(|_| stopping())
    }

    /// Applies one event.
    pub async fn tell(&self, event: Event) -> FsResult<()> {
        self.with(move |turn| turn.apply(event)).await
    }

    /// Hands over what the store committed. For the store's writer thread: waits while the inbox is full.
    pub fn changed(&self, changes: Vec<Change>) {
        if self.inbox.blocking_send(Message::Changes(changes)).is_err() {
            // Happens only while the process stops: the chunk map is rebuilt from the database at the next
            // start.
            warn!("engine is gone, changes of the chunk map are dropped");
        }
    }

    /// Forgets claims and wishes of an earlier leadership.
    pub async fn forget_recoveries(&self) -> FsResult<()> {
        self.inbox.send(Message::ForgetRecoveries).await.map_err(|_| stopping())
    }

    /// Puts another cluster in the place of this one: DataNodes must register and report again. For the store's writer
    /// thread, as [`Handle::changed`].
    pub fn replace(&self, core: Core) {
        if self.inbox.blocking_send(Message::Replace(Box::new(core))).is_err() {
            warn!("engine is gone, a new chunk map is dropped");
        }
    }

    /// Whether the NameNode is in safe mode, without asking the engine.
    pub fn safe_mode(&self) -> bool {
        self.shared.safe_mode.load(Ordering::Acquire)
    }

    /// Waits until a deleted tree waits to be reaped.
    pub async fn garbage(&self) {
        self.shared.garbage.notified().await;
    }

    /// Waits until every need is met, at most until `deadline`, and answers those that are not.
    pub async fn wait_finalized(&self, needs: Vec<Need>, deadline: Instant) -> FsResult<Vec<Need>> {
        let lacking = self.lacking(needs).await?;
        if lacking.is_empty() {
            return Ok(lacking);
        }
        let (done, met) = oneshot::channel();
        self.inbox.send(Message::Wait { needs: lacking.clone(), done }).await.map_err(|_| stopping())?;
        match timeout_at(deadline, met).await {
            Ok(Ok(())) => Ok(Vec::new()),
            Ok(Err(_)) => Err(stopping()),
            Err(_) => self.lacking(lacking).await,
        }
    }

    async fn lacking(&self, needs: Vec<Need>) -> FsResult<Vec<Need>> {
        let mut lacking = Vec::new();
        for slice in needs.chunks(SLICE) {
            let slice = slice.to_vec();
            let unmet = move |turn: &mut Turn<'_>| -> Vec<Need> {
                slice.into_iter().filter(|need| !need.is_met(turn.core)).collect()
            };
            lacking.extend(self.with(unmet).await?);
        }
        Ok(lacking)
    }

    /// Takes the right to start the recovery of an open file; `false` while somebody else's is under way.
    pub async fn claim_recovery(&self, inode: InodeId) -> FsResult<bool> {
        let (claimed, answer) = oneshot::channel();
        self.inbox.send(Message::ClaimRecovery { inode, claimed }).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    }

    /// Gives a claim back after the recovery could not be started.
    pub async fn drop_recovery(&self, inode: InodeId) -> FsResult<()> {
        self.inbox.send(Message::DropRecovery { inode }).await.map_err(|_| stopping())
    }
}

/// The task that owns the core. It has a thread of its own: a slice of a report or a tick may take tens of
/// milliseconds.
#[derive(Debug)]
pub struct Engine {
    core: Core,
    inbox: Inbox,
    waiters: Waiters,
    /// When the recovery of an open file was started; until the file is closed.
    recoveries: HashMap<InodeId, Millis>,
    follow_ups: VecDeque<FollowUp>,
    queued: HashSet<FollowUp>,
    outbox: mpsc::Sender<FollowUp>,
}

impl Engine {
    /// An engine over a loaded cluster, and the queue of what it asks for.
    pub fn new(core: Core, inbox: Inbox) -> (Self, mpsc::Receiver<FollowUp>) {
        let (outbox, follow_ups) = mpsc::channel(OUTBOX);
        let engine = Self {
            core,
            inbox,
            waiters: Waiters::default(),
            recoveries: HashMap::new(),
            follow_ups: VecDeque::new(),
            queued: HashSet::new(),
            outbox,
        };
        engine.publish_safe_mode();
        (engine, follow_ups)
    }

    /// Works until `stop` is requested.
    pub async fn run(mut self, stop: Shutdown) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let outbox = self.outbox.clone();
        loop {
            tokio::select! {
                message = self.inbox.messages.recv() => match message {
                    Some(message) => self.handle(message),
                    None => return,
                },
                _ = tick.tick() => self.apply(vec![Event::Tick]),
                _ = sweep.tick() => self.waiters.sweep(),
                permit = outbox.reserve(), if !self.follow_ups.is_empty() => {
                    if let (Ok(permit), Some(follow_up)) = (permit, self.follow_ups.pop_front()) {
                        self.queued.remove(&follow_up);
                        permit.send(follow_up);
                    }
                }
                () = stop.requested() => return,
            }
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Changes(changes) => {
                let events = changes.into_iter().filter_map(|change| self.event(change)).collect();
                self.apply(events);
            }
            Message::Job(job) => {
                let mut turn =
                    Turn { core: &mut self.core, now: self.inbox.clock.now(), effects: Vec::new() };
                let reply = job(&mut turn);
                let effects = turn.effects;
                self.perform(effects);
                reply();
            }
            Message::Wait { needs, done } => self.waiters.add(needs, done, &self.core),
            Message::ClaimRecovery { inode, claimed } => {
                let now = self.inbox.clock.now();
                let free =
                    self.recoveries.get(&inode).is_none_or(|started| now.since(*started) >= RECOVERY_RETRY);
                if free {
                    self.recoveries.insert(inode, now);
                }
                if claimed.send(free).is_err() && free {
                    self.recoveries.remove(&inode);
                }
            }
            Message::DropRecovery { inode } => {
                self.recoveries.remove(&inode);
            }
            Message::ForgetRecoveries => {
                self.recoveries.clear();
                self.follow_ups.clear();
                self.queued.clear();
            }
            Message::Replace(core) => {
                self.core = *core;
                self.recoveries.clear();
                self.publish_safe_mode();
            }
        }
    }

    /// The cluster's event for a change of the store, if it has one.
    fn event(&mut self, change: Change) -> Option<Event> {
        match change {
            Change::Event(event) => {
                if let Event::LeaseReleased { inode } = &event {
                    self.recoveries.remove(inode);
                }
                Some(event)
            }
            // The sink brings a whole new cluster with it.
            Change::Replaced => None,
            Change::DutySet { node, duty } => {
                Some(Event::DutySet { node, duty: self.inbox.clock.duty(duty) })
            }
            Change::NodeRecorded { node, record, seen } => {
                Some(Event::NodeRecorded { node, record, silence: unix_now().since(seen) })
            }
            Change::Garbage => {
                self.inbox.shared.garbage.notify_one();
                None
            }
        }
    }

    fn apply(&mut self, events: Vec<Event>) {
        let now = self.inbox.clock.now();
        for event in events {
            let effects = self.core.apply(event, now);
            self.perform(effects);
        }
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::ReplicaGained { chunk } => self.waiters.gained(chunk, &self.core),
                Effect::LeaseExpired { inode, holder } => {
                    self.follow_up(FollowUp::Expired { inode, holder });
                }
                Effect::NothingToRecover { chunk, new_generation } => {
                    self.follow_up(FollowUp::NothingLeft { chunk, generation: new_generation });
                }
                Effect::RecoveryWaits {
                    waiting: WaitingRecovery { chunk, acknowledged, best, missing, .. },
                } => {
                    let (node, found) = best.unzip();
                    warn!(
                        %chunk, acknowledged, found, ?node, ?missing,
                        "no replica with all acknowledged bytes is known: the recovery of the file waits for one"
                    );
                }
                Effect::RecoveryNeedless { chunk, generation, length } => {
                    self.follow_up(FollowUp::Complete { chunk, generation, length });
                }
                Effect::NodeChanged { node, state } => info!(%node, ?state, "datanode changed"),
                Effect::DutyChanged { node, state } => info!(%node, ?state, "datanode's duty changed"),
                Effect::BalancerEnded { balanced } => {
                    info!(balanced, "balancer ended");
                    let view = self.core.balancer();
                    let settings = Balancing {
                        threshold_permille: view.threshold_permille,
                        bytes_per_second: view.bytes_per_second,
                    };
                    self.follow_up(FollowUp::BalancerEnded { settings });
                }
                Effect::SafeModeChanged { on } => info!(on, "safe mode changed"),
            }
        }
        self.publish_safe_mode();
    }

    /// Tells everyone by the core's word: effects tell of changes only, and some happen before the first
    /// of them.
    fn publish_safe_mode(&self) {
        self.inbox.shared.safe_mode.store(self.core.safe_mode().on, Ordering::Release);
    }

    fn follow_up(&mut self, follow_up: FollowUp) {
        if self.queued.insert(follow_up.clone()) {
            self.follow_ups.push_back(follow_up);
        }
    }
}
