//! The driver of one member: inputs, then [`Member::turn`], which makes durable, sends and hands over.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use protobuf::Message as _;
use raft::eraftpb::{
    ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState, Entry, EntryType,
    HardState, Message, MessageType, Snapshot,
};
use raft::{Config, INVALID_ID, RawNode, SnapshotStatus, StateRole};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::lease::Lease;
use crate::storage::LogStorage;
use crate::{EntryLog, Nanos, log};

/// Bytes of entries in one message.
const MAX_MESSAGE_BYTES: u64 = 1 << 20;
/// Appends under way to one member before its answers are waited for.
const MAX_INFLIGHT: usize = 256;
/// Bytes of proposals that are not committed yet before further ones are refused.
const MAX_UNCOMMITTED_BYTES: u64 = 64 << 20;
/// Bytes of committed entries handed over at a time.
const MAX_HANDED_OVER_BYTES: u64 = 16 << 20;
/// Share of the election timeout that a lease lasts: what is left covers clocks of different speed.
const LEASE_SHARE: f64 = 0.9;

/// How a member works. All members of a group should have the same times.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// This member. Never zero, never used before by another.
    pub id: u64,
    /// Unit of time of the protocol.
    pub tick: Duration,
    /// Ticks without a word from the leader after which others may be voted for; an election begins after up to twice
    /// as many.
    pub election_ticks: u16,
    /// Ticks between two heartbeats of the leader.
    pub heartbeat_ticks: u16,
    /// For the spread of election times.
    pub seed: u64,
}

/// What this member is in its group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It leads.
    Leader,
    /// It follows a leader, or waits for one.
    Follower,
    /// It looks for votes.
    Candidate,
}

/// A message and what travels with it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Envelope {
    /// The library's message.
    pub message: Message,
    /// The sender's clock; echoed and never interpreted by the receiver.
    pub stamp: Nanos,
    /// The latest stamp that the receiver sent as leader in this term; zero for none.
    pub echo: Nanos,
}

/// Where a proposal was put in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The leader's term.
    pub term: u64,
    /// The entry's index. Committed is what has this index with this term.
    pub index: u64,
}

/// A proposal was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotLeading {
    /// Another member leads, or none, or the leadership is being handed over.
    #[error("this member does not lead")]
    Elsewhere,
    /// Too much waits to be committed.
    #[error("too many proposals wait to be committed")]
    Overloaded,
    /// An earlier change of the members is not finished, or this one makes no sense.
    #[error("the members can't be changed now")]
    Members,
}

/// A change of the group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MembershipChange {
    /// A new member that does not vote yet.
    AddLearner(u64),
    /// A learner votes from now on; in the same step `replaced` leaves.
    Promote {
        /// The learner.
        id: u64,
        /// Who leaves.
        replaced: Option<u64>,
    },
    /// A member leaves.
    Remove(u64),
}

/// A committed entry, in order without gaps.
#[derive(Debug, Clone, PartialEq)]
pub struct Committed {
    /// Its index.
    pub index: u64,
    /// Its term.
    pub term: u64,
    /// What was proposed; empty for the library's own entries.
    pub data: Bytes,
    /// The members from this entry on, if it changed them, and what was proposed with the change.
    pub members: Option<(ConfState, Bytes)>,
}

/// Where a member's messages and snapshots go.
pub trait Outlet {
    /// Sends a message, or loses it. Must not wait.
    fn send(&mut self, envelope: Envelope);

    /// Replaces the state that entries were applied to by a snapshot that was received; durable when it returns.
    fn install(&mut self, snapshot: &Snapshot) -> Result<(), log::Error>;
}

/// A member's state as others may see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// What it is.
    pub role: Role,
    /// Its term.
    pub term: u64,
    /// Who leads in that term, as far as it knows.
    pub leader: Option<u64>,
    /// Until when reads are linearizable without asking anybody.
    pub lease_until: Nanos,
    /// The last moment at which a majority surely followed this leader.
    pub followed_at: Nanos,
    /// Index of the last entry known to be committed.
    pub committed: u64,
    /// Who belongs to the group.
    pub members: ConfState,
}

/// One member of a group.
pub struct Member<L: EntryLog> {
    raw: RawNode<LogStorage<L>>,
    settings: Settings,
    rng: Xoshiro256PlusPlus,
    members: ConfState,
    lease: Lease,
    /// Latest stamp of this term's leader.
    heard: (u64, Nanos),
    /// Term, role and the election timeout drawn for them.
    drawn: (u64, StateRole, usize),
    next_tick: Nanos,
    /// Before this time no vote is given: an earlier process may have followed a leader a moment ago.
    abstains_until: Nanos,
    /// Index up to which entries were handed over.
    handed_over: u64,
    /// What the log has taken and not made durable yet, in order.
    unwritten: VecDeque<Unwritten>,
    /// The append with the latest change of term or vote.
    promised: u64,
}

/// A step of the library that waits for the disk.
struct Unwritten {
    /// The library's number of it.
    number: u64,
    /// The append that must be durable.
    append: u64,
    /// What may be sent only then.
    messages: Vec<Message>,
}

impl<L: EntryLog> std::fmt::Debug for Member<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Member")
            .field("id", &self.settings.id)
            .field("status", &self.status(Nanos(0)))
            .finish_non_exhaustive()
    }
}

impl<L: EntryLog> Member<L> {
    /// A member whose state has applied everything up to `applied`, after which `members` were its group.
    pub fn new(
        settings: Settings,
        log: L,
        applied: u64,
        members: ConfState,
        now: Nanos,
    ) -> raft::Result<Self> {
        let election = usize::from(settings.election_ticks.max(2));
        let config = Config {
            id: settings.id,
            election_tick: election,
            heartbeat_tick: usize::from(settings.heartbeat_ticks.max(1)),
            applied,
            max_size_per_msg: MAX_MESSAGE_BYTES,
            max_inflight_msgs: MAX_INFLIGHT,
            check_quorum: true,
            pre_vote: true,
            max_uncommitted_size: MAX_UNCOMMITTED_BYTES,
            max_committed_size_per_ready: MAX_HANDED_OVER_BYTES,
            // What is committed is told with the next entries or heartbeat: half the messages, and nobody waits for it.
            skip_bcast_commit: true,
            ..Config::default()
        };
        let storage = LogStorage {
            log,
            members: members.clone(),
            applied,
            offered: None,
            wanted: std::cell::Cell::new(false),
        };
        let raw = RawNode::new(&config, storage, &slog::Logger::root(slog::Discard, slog::o!()))?;
        let alone = members.voters == [settings.id] && members.voters_outgoing.is_empty();
        let mut member = Self {
            raw,
            settings,
            rng: Xoshiro256PlusPlus::seed_from_u64(settings.seed),
            members,
            lease: Lease::default(),
            heard: (0, Nanos::default()),
            drawn: (0, StateRole::Follower, 0),
            next_tick: now.plus(settings.tick),
            abstains_until: now.plus(settings.tick * u32::from(settings.election_ticks)),
            handed_over: applied,
            unwritten: VecDeque::new(),
            promised: 0,
        };
        if alone {
            member.raw.campaign()?;
        }
        member.settle();
        Ok(member)
    }

    /// When [`Member::tick`] is due.
    pub fn next_tick(&self) -> Nanos {
        self.next_tick
    }

    /// Lets time pass; at most one tick however late it comes, so that a process that stood still does not think that
    /// everybody else was silent.
    pub fn tick(&mut self, now: Nanos) {
        if now >= self.next_tick {
            // Who can't make its own vote durable must not look for those of others, and an election that was won before
            // the log is durable would rest on what may be lost.
            if self.unwritten.is_empty() || self.term_led().is_some() {
                self.raw.tick();
            }
            self.next_tick = now.plus(self.settings.tick);
            self.settle();
        }
    }

    /// Takes in a message. One that makes no sense is dropped.
    pub fn receive(&mut self, envelope: Envelope, now: Nanos) {
        let Envelope { message, stamp, echo } = envelope;
        let (from, term, kind) = (message.from, message.term, message.get_msg_type());
        if message.to != self.settings.id || from == self.settings.id || from == INVALID_ID {
            return;
        }
        let asks_for_vote = matches!(kind, MessageType::MsgRequestVote | MessageType::MsgRequestPreVote);
        if asks_for_vote && now < self.abstains_until {
            return;
        }
        if let Err(error) = self.raw.step(message) {
            tracing::debug!(from, ?kind, %error, "raft message not taken");
        }
        self.settle();
        let raft = &self.raw.raft;
        if term != raft.term {
            return;
        }
        let from_leader =
            matches!(kind, MessageType::MsgAppend | MessageType::MsgHeartbeat | MessageType::MsgSnapshot);
        // Answers to pre-votes carry the term that was asked about, and an echo of the term before.
        let from_follower =
            matches!(kind, MessageType::MsgAppendResponse | MessageType::MsgHeartbeatResponse);
        if raft.state == StateRole::Leader && from_follower {
            self.lease.echo(from, echo);
        } else if from_leader && raft.leader_id == from {
            let latest = if self.heard.0 == term { self.heard.1.max(stamp) } else { stamp };
            self.heard = (term, latest);
        }
    }

    /// Puts a proposal into the log, if this member leads.
    pub fn propose(&mut self, data: Vec<u8>) -> Result<Position, NotLeading> {
        self.check_leads()?;
        self.raw.propose(Vec::new(), data).map_err(|error| match error {
            // The one reason for a leader that does not hand over.
            raft::Error::ProposalDropped => NotLeading::Overloaded,
            _ => NotLeading::Elsewhere,
        })?;
        Ok(self.last_position())
    }

    /// Proposes a change of the members together with what the state machine shall know of it.
    pub fn change(&mut self, change: MembershipChange, context: Vec<u8>) -> Result<Position, NotLeading> {
        self.check_leads()?;
        if self.raw.raft.has_pending_conf() || !self.members.voters_outgoing.is_empty() {
            return Err(NotLeading::Members);
        }
        let single = |kind, id| {
            let mut single = ConfChangeSingle { node_id: id, ..ConfChangeSingle::default() };
            single.set_change_type(kind);
            single
        };
        let changes = match change {
            MembershipChange::AddLearner(id) => vec![single(ConfChangeType::AddLearnerNode, id)],
            MembershipChange::Promote { id, replaced } => {
                let leaves = replaced.map(|replaced| single(ConfChangeType::RemoveNode, replaced));
                std::iter::once(single(ConfChangeType::AddNode, id)).chain(leaves).collect()
            }
            MembershipChange::Remove(id) => vec![single(ConfChangeType::RemoveNode, id)],
        };
        let mut proposal = ConfChangeV2 { changes: changes.into(), ..ConfChangeV2::default() };
        proposal.set_transition(ConfChangeTransition::Auto);
        self.raw.propose_conf_change(context, proposal).map_err(|_| NotLeading::Members)?;
        Ok(self.last_position())
    }

    fn check_leads(&self) -> Result<(), NotLeading> {
        let raft = &self.raw.raft;
        if raft.state == StateRole::Leader && raft.lead_transferee.is_none() {
            Ok(())
        } else {
            Err(NotLeading::Elsewhere)
        }
    }

    fn last_position(&self) -> Position {
        Position { term: self.raw.raft.term, index: self.raw.raft.raft_log.last_index() }
    }

    /// Hands the leadership to another voter. It is back after an election timeout if nothing came of it.
    pub fn hand_over(&mut self, to: u64) {
        let raft = &self.raw.raft;
        // The library ignores it if it is of no member; then nobody is asked to take over, and the lease goes on.
        if raft.state == StateRole::Leader && to != self.settings.id && raft.prs().get(to).is_some() {
            self.lease.hand_over();
            self.raw.transfer_leader(to);
            self.settle();
        }
    }

    /// Asks all members to confirm that they follow: [`Status::followed_at`] tells when they did.
    pub fn ask_to_confirm(&mut self) {
        self.raw.ping();
    }

    /// A message to this member was lost.
    pub fn unreachable(&mut self, id: u64) {
        self.raw.report_unreachable(id);
    }

    /// A snapshot was sent to this member, or could not be.
    pub fn snapshot_sent(&mut self, id: u64, arrived: bool) {
        let status = if arrived { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        self.raw.report_snapshot(id, status);
        self.settle();
    }

    /// Whether a member needs a snapshot and none is offered. Asking forgets it.
    pub fn wants_snapshot(&mut self) -> bool {
        self.raw.mut_store().wanted.take()
    }

    /// Offers a snapshot for members that are too far behind, or none any more.
    pub fn offer_snapshot(&mut self, snapshot: Option<Snapshot>) {
        self.raw.mut_store().offered = snapshot;
    }

    /// Gives the log what must be durable, sends what may be sent, and answers what was committed, to be applied in this
    /// order. What waits for the log is done in a later turn, once the log is as far.
    ///
    /// A leader's messages never wait (Ongaro's dissertation, 10.2.1): its own copy counts when it is durable, as
    /// anybody's. What a follower says does, but for answers to heartbeats: they acknowledge no entry and no vote, so a
    /// slow disk must not make it look dead. They wait for its term and vote only.
    pub fn turn(&mut self, outlet: &mut impl Outlet, now: Nanos) -> Result<Vec<Committed>, log::Error> {
        let mut committed = Vec::new();
        self.note_durable(outlet, now);
        while self.raw.has_ready() {
            let mut ready = self.raw.ready();
            self.send(outlet, ready.take_messages(), now);
            if !ready.snapshot().is_empty() {
                self.install(outlet, ready.snapshot())?;
            }
            let hard_state = ready.hs().cloned();
            let entries = ready.take_entries();
            let log = &mut self.raw.mut_store().log;
            if hard_state.is_some() || !entries.is_empty() {
                let (known, last) = (log.hard_state(), log.last_index());
                let promises = |given: &HardState| (given.term, given.vote) != (known.term, known.vote);
                let promises = hard_state.as_ref().is_some_and(promises);
                log.append(hard_state.as_ref(), &entries)?;
                self.promised = if promises { log.appended() } else { self.promised };
                if entries.first().is_some_and(|first| first.index <= last) {
                    // What it replaces is durable only until this is written: it must not count in between.
                    let append = log.appended();
                    self.unwritten.iter_mut().for_each(|earlier| earlier.append = append);
                }
            }
            // That a change of the members is committed must be known after a crash before it takes effect: the former
            // members could elect somebody otherwise. This is rare, and waited for.
            let changes = |entry: &Entry| entry.get_entry_type() != EntryType::EntryNormal;
            if ready.committed_entries().iter().any(changes) {
                log.flush()?;
            }
            let (append, is_promised) = (log.appended(), log.durable() >= self.promised);
            let (early, messages) = ready.take_persisted_messages().into_iter().partition(|message| {
                is_promised && message.get_msg_type() == MessageType::MsgHeartbeatResponse
            });
            self.send(outlet, early, now);
            self.unwritten.push_back(Unwritten { number: ready.number(), append, messages });
            #[cfg(feature = "seeded-bug")]
            self.hand_over_uncommitted(&entries, &mut committed);
            self.hand_over_entries(ready.take_committed_entries(), &mut committed);
            self.raw.advance_append_async(ready);
            self.settle();
            self.note_durable(outlet, now);
        }
        Ok(committed)
    }

    /// Goes on with what waited for the disk, as far as that is.
    fn note_durable(&mut self, outlet: &mut impl Outlet, now: Nanos) {
        let durable = self.raw.store().log.durable();
        while let Some(written) = self.unwritten.pop_front_if(|unwritten| unwritten.append <= durable) {
            self.raw.on_persist_ready(written.number);
            self.send(outlet, written.messages, now);
        }
        // A snapshot is applied before the term that came with it is durable; the library wants to hear of it after.
        let log = &self.raw.raft.raft_log;
        let applied = self.handed_over.min(log.persisted).min(log.committed).max(log.applied);
        self.raw.advance_apply_to(applied);
    }

    /// Whether the log still makes something durable that it was given.
    pub fn is_writing(&self) -> bool {
        !self.unwritten.is_empty()
    }

    fn send(&mut self, outlet: &mut impl Outlet, messages: Vec<Message>, now: Nanos) {
        for message in messages {
            // One that waited for the disk may be of an earlier term, whose leader must not take the next one's stamp for
            // its own.
            let echo = if self.heard.0 == message.term { self.heard.1 } else { Nanos::default() };
            outlet.send(Envelope { message, stamp: now, echo });
        }
    }

    fn install(&mut self, outlet: &mut impl Outlet, snapshot: &Snapshot) -> Result<(), log::Error> {
        outlet.install(snapshot)?;
        let metadata = snapshot.get_metadata();
        self.raw.mut_store().log.reset(metadata.index, metadata.term)?;
        self.members = metadata.get_conf_state().clone();
        self.handed_over = metadata.index;
        Ok(())
    }

    /// The bug that the history checker must find: what this leader wrote counts as committed. The program of an earlier
    /// release, which `DFS_SEEDED_BUG=level-N` stands for, does not have it.
    #[cfg(feature = "seeded-bug")]
    fn hand_over_uncommitted(&mut self, entries: &[Entry], committed: &mut Vec<Committed>) {
        static IS_EARLIER: std::sync::LazyLock<bool> = std::sync::LazyLock::new(|| {
            std::env::var("DFS_SEEDED_BUG").is_ok_and(|chosen| chosen.starts_with("level-"))
        });
        if self.raw.raft.state == StateRole::Leader && !*IS_EARLIER {
            let plain = |entry: &&Entry| entry.get_entry_type() == EntryType::EntryNormal;
            let early: Vec<_> = entries.iter().take_while(plain).cloned().collect();
            // A new leader's first entry may come after some that are not handed over yet: those are waited for.
            if early.first().is_some_and(|entry| entry.index == self.handed_over + 1) {
                self.hand_over_entries(early, committed);
            }
        }
    }

    fn hand_over_entries(&mut self, entries: Vec<Entry>, committed: &mut Vec<Committed>) {
        for mut entry in entries {
            if entry.index <= self.handed_over {
                continue;
            }
            self.handed_over = entry.index;
            let members = self.apply_change(&entry).map(|members| (members, entry.take_context()));
            let data = if members.is_some() { Bytes::new() } else { entry.take_data() };
            committed.push(Committed { index: entry.index, term: entry.term, data, members });
        }
    }

    /// The members after an entry that changes them.
    fn apply_change(&mut self, entry: &Entry) -> Option<ConfState> {
        if entry.get_entry_type() == EntryType::EntryNormal {
            return None;
        }
        // Changes of the older kind are never proposed: read as this one they are void on every member alike.
        let change = ConfChangeV2::parse_from_bytes(entry.get_data());
        let applied = change.map_err(|error| error.to_string());
        let applied =
            applied.and_then(|change| self.raw.apply_conf_change(&change).map_err(|error| error.to_string()));
        match applied {
            Ok(members) => self.members = members,
            // The leader checked it against the members of its own time; all members refuse it alike.
            Err(error) => tracing::warn!(index = entry.index, error, "a change of the members is void"),
        }
        Some(self.members.clone())
    }

    /// Keeps what is drawn, counted or published in step with the library's state.
    fn settle(&mut self) {
        let raft = &mut self.raw.raft;
        let (term, role) = (raft.term, raft.state);
        self.lease.enter(term);
        if (term, role) != (self.drawn.0, self.drawn.1) || self.drawn.2 == 0 {
            let base = usize::from(self.settings.election_ticks.max(2));
            self.drawn = (term, role, self.rng.random_range(base..2 * base));
        }
        // The library draws from the thread's generator, which no simulation can repeat.
        if raft.randomized_election_timeout() != self.drawn.2 {
            raft.set_randomized_election_timeout(self.drawn.2);
        }
    }

    /// The term this member leads in.
    pub fn term_led(&self) -> Option<u64> {
        let raft = &self.raw.raft;
        (raft.state == StateRole::Leader).then_some(raft.term)
    }

    /// What this member is.
    pub fn status(&self, now: Nanos) -> Status {
        let raft = &self.raw.raft;
        let leads = raft.state == StateRole::Leader;
        let election = self.settings.tick * u32::from(self.settings.election_ticks.saturating_sub(1));
        let length = election.mul_f64(LEASE_SHARE);
        let lease = |until: Nanos| if leads { until } else { Nanos::default() };
        Status {
            role: match raft.state {
                StateRole::Leader => Role::Leader,
                StateRole::Follower => Role::Follower,
                StateRole::Candidate | StateRole::PreCandidate => Role::Candidate,
            },
            term: raft.term,
            leader: Some(raft.leader_id).filter(|id| *id != INVALID_ID),
            lease_until: lease(self.lease.until(self.settings.id, &self.members, length, now)),
            followed_at: lease(self.lease.followed_at(self.settings.id, &self.members, now)),
            committed: raft.raft_log.committed,
            members: self.members.clone(),
        }
    }

    /// Index of the last entry that another member surely has; known to a leader only.
    pub fn matched(&self, id: u64) -> Option<u64> {
        let raft = &self.raw.raft;
        raft.prs().get(id).filter(|_| raft.state == StateRole::Leader).map(|progress| progress.matched)
    }

    /// The log.
    pub fn log(&self) -> &L {
        &self.raw.store().log
    }

    /// The log, for a simulation that lets it fail.
    pub fn log_mut(&mut self) -> &mut L {
        &mut self.raw.mut_store().log
    }

    /// Lets go of entries up to `index`; entries that are not handed over stay.
    pub fn trim(&mut self, index: u64) -> Result<(), log::Error> {
        let index = index.min(self.handed_over);
        self.raw.mut_store().log.trim(index)
    }

    /// Ends the member and gives its log back.
    pub fn into_log(self) -> L {
        let RawNode { raft, .. } = self.raw;
        raft.r.raft_log.store.log
    }
}
