//! A group of members in virtual time, its network, its clients, and what must hold.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dfs_namenode_raft::{
    ConfState, Envelope, Member, MembershipChange, MessageType, Nanos, Outlet, Position, Role, Settings,
    Snapshot, Status, log,
};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::disk::{MemoryLog, State};

pub(crate) const TICK: Duration = Duration::from_millis(50);
const ELECTION_TICKS: u16 = 10;
/// Entries that members keep in their logs behind what they applied.
const KEPT: u64 = 20;

/// What is under way.
#[derive(Debug)]
enum Event {
    Tick,
    /// The disk has done one more write.
    Written,
    Message(Box<Envelope>, Option<State>),
}

/// One process.
struct Process {
    member: Member<MemoryLog>,
    /// State as the process sees it.
    state: State,
    /// How far the state on the disk is behind, at most.
    synced: State,
    /// Own clock: speed and offset against the world's.
    speed: f64,
    offset: u64,
    paused_until: Nanos,
    inbox: Vec<Event>,
    /// State that a snapshot offered belongs to.
    offered: Option<State>,
    waiting: Vec<(Position, Vec<u8>)>,
    /// Term led, and the entry that this leader began it with, as the NameNode does.
    opening: Option<Position>,
    reads: Vec<(Nanos, u64)>,
    /// How long a write takes.
    write_time: Duration,
}

/// What stays when a process is gone.
#[derive(Default)]
struct Disk {
    log: MemoryLog,
    state: State,
}

enum Node {
    Up(Box<Process>),
    Down(Box<Disk>),
}

/// Faults of the network.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Weather {
    pub(crate) lost: f64,
    pub(crate) doubled: f64,
    pub(crate) late: f64,
}

/// What was seen in a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) acknowledged: u64,
    pub(crate) reads: u64,
    pub(crate) elections: u64,
    pub(crate) crashes: u64,
    pub(crate) snapshots: u64,
    /// Of everything applied, for comparing runs.
    pub(crate) hash: u64,
}

/// The group.
pub(crate) struct World {
    pub(crate) rng: Xoshiro256PlusPlus,
    pub(crate) now: Nanos,
    nodes: BTreeMap<u64, Node>,
    queue: BTreeMap<(Nanos, u64), (u64, Event)>,
    number: u64,
    pub(crate) cut: BTreeSet<(u64, u64)>,
    pub(crate) weather: Weather,
    /// What is committed at each index, as the first to apply it saw it.
    truth: BTreeMap<u64, (u64, Vec<u8>)>,
    /// Highest index that was acknowledged to a client.
    acknowledged: u64,
    leaders: BTreeMap<u64, u64>,
    pub(crate) seen: Seen,
    next_id: u64,
    /// The broken rule, if one is.
    pub(crate) broken: Option<String>,
}

/// Collects what a member sends.
#[derive(Default)]
struct Collected {
    sent: Vec<Envelope>,
    installed: Option<State>,
    incoming: Option<State>,
}

impl Outlet for Collected {
    fn send(&mut self, envelope: Envelope) {
        self.sent.push(envelope);
    }

    fn install(&mut self, snapshot: &Snapshot) -> Result<(), log::Error> {
        let state = self.incoming.take().expect("a snapshot's state travels with its message");
        assert_eq!(state.applied.0, snapshot.get_metadata().index);
        self.installed = Some(state);
        Ok(())
    }
}

fn settings(id: u64, seed: u64) -> Settings {
    Settings { id, tick: TICK, election_ticks: ELECTION_TICKS, heartbeat_ticks: 2, seed }
}

impl Process {
    fn clock(&self, now: Nanos) -> Nanos {
        Nanos((now.0 as f64 * self.speed) as u64 + self.offset)
    }

    fn status(&self, now: Nanos) -> Status {
        self.member.status(self.clock(now))
    }

    /// Leads, and has applied all that was committed before.
    fn serves(&self, status: &Status) -> bool {
        status.role == Role::Leader
            && self.opening.is_some_and(|at| at.term == status.term && self.state.applied.0 >= at.index)
    }
}

impl World {
    /// A group of one.
    pub(crate) fn new(seed: u64) -> Self {
        let mut world = Self {
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            now: Nanos(1_000_000_000),
            nodes: BTreeMap::new(),
            queue: BTreeMap::new(),
            number: 0,
            cut: BTreeSet::new(),
            weather: Weather::default(),
            truth: BTreeMap::new(),
            acknowledged: 0,
            leaders: BTreeMap::new(),
            seen: Seen::default(),
            next_id: 2,
            broken: None,
        };
        let members = ConfState { voters: vec![1], ..ConfState::default() };
        let state = State { applied: (1, 1), installed: (1, 1), members, ..State::default() };
        world.nodes.insert(1, Node::Down(Box::new(Disk { log: MemoryLog::default(), state })));
        world.start(1);
        world
    }

    pub(crate) fn up(&self) -> Vec<u64> {
        self.nodes.iter().filter(|(_, node)| matches!(node, Node::Up(_))).map(|(id, _)| *id).collect()
    }

    pub(crate) fn down(&self) -> Vec<u64> {
        self.nodes.iter().filter(|(_, node)| matches!(node, Node::Down(_))).map(|(id, _)| *id).collect()
    }

    /// Members as the most advanced leader sees them, and that leader.
    pub(crate) fn leader(&self) -> Option<(u64, ConfState)> {
        let leaders = self.nodes.iter().filter_map(|(id, node)| match node {
            Node::Up(process) => {
                let status = process.status(self.now);
                process.serves(&status).then_some((status.term, *id, status.members))
            }
            Node::Down(_) => None,
        });
        leaders.max_by_key(|(term, ..)| *term).map(|(_, id, members)| (id, members))
    }

    /// Starts a process on what its disk has, as the NameNode does.
    pub(crate) fn start(&mut self, id: u64) {
        let seed = self.rng.random();
        let (speed, offset) =
            (self.rng.random_range(0.98..1.02), self.rng.random_range(0..1_000_000_000_000));
        let Some(Node::Down(disk)) = self.nodes.remove(&id) else { panic!("{id} is not down") };
        let Disk { mut log, state } = *disk;
        use dfs_namenode_raft::EntryLog;
        log.crash = None;
        if log.last_index() < state.installed.0 {
            log.reset(state.installed.0, state.installed.1).unwrap();
        }
        assert!(log.last_index() >= state.applied.0, "{id} applied more than its log has");
        let clock = Nanos((self.now.0 as f64 * speed) as u64 + offset);
        let member =
            Member::new(settings(id, seed), log, state.applied.0, state.members.clone(), clock).unwrap();
        let process = Process {
            member,
            synced: state.clone(),
            state,
            speed,
            offset,
            paused_until: Nanos(0),
            inbox: Vec::new(),
            offered: None,
            waiting: Vec::new(),
            opening: None,
            reads: Vec::new(),
            write_time: Duration::ZERO,
        };
        self.nodes.insert(id, Node::Up(Box::new(process)));
        self.turn(id, None);
        self.schedule(id, Duration::from_millis(1), Event::Tick);
    }

    /// Ends a process at once. Its log stays; its state falls back to what was synced.
    pub(crate) fn crash(&mut self, id: u64) {
        let Some(Node::Up(process)) = self.nodes.remove(&id) else { panic!("{id} is not up") };
        self.seen.crashes += 1;
        let Process { member, synced, .. } = *process;
        let mut log = member.into_log();
        log.write(self.rng.random_range(0..=log.waiting()));
        log.lose();
        self.nodes.insert(id, Node::Down(Box::new(Disk { log, state: synced })));
        self.queue.retain(|_, (to, event)| !(*to == id && matches!(event, Event::Tick | Event::Written)));
    }

    /// Lets a process crash in one of its next appends.
    pub(crate) fn crash_in_append(&mut self, id: u64) {
        let crash = (self.rng.random_range(0..3), self.rng.random());
        if let Some(Node::Up(process)) = self.nodes.get_mut(&id) {
            process.member.log_mut().crash = Some(crash);
        }
    }

    /// From now on each write of a process's log takes so long; zero: as fast as memory.
    pub(crate) fn slow_disk(&mut self, id: u64, write_time: Duration) {
        if let Some(Node::Up(process)) = self.nodes.get_mut(&id) {
            process.write_time = write_time;
            let log = process.member.log_mut();
            log.slow = !write_time.is_zero();
            if !log.slow {
                log.write(usize::MAX);
            }
            self.turn(id, None);
        }
    }

    /// Removes a member's disk for good; a new member takes its place.
    pub(crate) fn wipe(&mut self, id: u64) {
        self.nodes.remove(&id);
        self.queue.retain(|_, (to, _)| *to != id);
    }

    /// Holds a process for a while.
    pub(crate) fn pause(&mut self, id: u64, time: Duration) {
        let until = self.now.plus(time);
        if let Some(Node::Up(process)) = self.nodes.get_mut(&id) {
            process.paused_until = until;
        }
    }

    /// A new member with an empty disk, which the leader is asked to take in.
    pub(crate) fn join(&mut self) -> Option<u64> {
        let (leader, _) = self.leader()?;
        let id = self.next_id;
        let Some(Node::Up(process)) = self.nodes.get_mut(&leader) else { return None };
        process.member.change(MembershipChange::AddLearner(id), Vec::new()).ok()?;
        self.next_id += 1;
        self.turn(leader, None);
        self.nodes.insert(id, Node::Down(Box::default()));
        self.start(id);
        Some(id)
    }

    /// Asks the leader to change its members.
    pub(crate) fn change(&mut self, change: MembershipChange) -> bool {
        let Some((leader, _)) = self.leader() else { return false };
        let Some(Node::Up(process)) = self.nodes.get_mut(&leader) else { return false };
        let taken = process.member.change(change, Vec::new()).is_ok();
        self.turn(leader, None);
        taken
    }

    /// Whether a member has what its leader has, nearly.
    pub(crate) fn is_caught_up(&self, id: u64) -> bool {
        let Some((leader, _)) = self.leader() else { return false };
        let Some(Node::Up(process)) = self.nodes.get(&leader) else { return false };
        let matched = process.member.matched(id).unwrap_or_default();
        matched + 5 >= process.state.applied.0
    }

    pub(crate) fn hand_over(&mut self, to: u64) {
        if let Some((leader, _)) = self.leader()
            && let Some(Node::Up(process)) = self.nodes.get_mut(&leader)
        {
            process.member.hand_over(to);
            self.turn(leader, None);
        }
    }

    /// A client proposes at a member that says it leads.
    pub(crate) fn propose(&mut self, id: u64) {
        let data = self.rng.random::<u64>().to_le_bytes().to_vec();
        let Some(Node::Up(process)) = self.nodes.get_mut(&id) else { return };
        if process.paused_until > self.now {
            return;
        }
        if let Ok(position) = process.member.propose(data.clone()) {
            process.waiting.push((position, data));
            self.turn(id, None);
        }
    }

    /// A client reads at a member that says it leads: by its lease, or after asking the others.
    pub(crate) fn read(&mut self, id: u64) {
        let (now, acknowledged) = (self.now, self.acknowledged);
        let Some(Node::Up(process)) = self.nodes.get_mut(&id) else { return };
        let status = process.status(now);
        if process.paused_until > now || !process.serves(&status) {
            return;
        }
        let clock = process.clock(now);
        if clock < status.lease_until {
            let applied = process.state.applied.0;
            self.check_read(id, applied, acknowledged);
        } else {
            process.reads.push((clock, acknowledged));
            process.member.ask_to_confirm();
            self.turn(id, None);
        }
    }

    fn check_read(&mut self, id: u64, applied: u64, acknowledged: u64) {
        self.seen.reads += 1;
        if applied < acknowledged {
            self.broken
                .get_or_insert(format!("{id} read state {applied} after {acknowledged} was acknowledged"));
        }
    }

    fn schedule(&mut self, to: u64, after: Duration, event: Event) {
        self.number += 1;
        self.queue.insert((self.now.plus(after), self.number), (to, event));
    }

    fn is_ticking(&self, id: u64) -> bool {
        self.queue.values().any(|(to, event)| *to == id && matches!(event, Event::Tick))
    }

    /// Runs until a time.
    pub(crate) fn run_until(&mut self, end: Nanos) {
        while let Some(entry) = self.queue.first_entry()
            && entry.key().0 <= end
        {
            let ((at, _), (to, event)) = entry.remove_entry();
            self.now = at;
            self.deliver(to, event);
            if self.broken.is_some() {
                return;
            }
        }
        self.now = end;
    }

    fn deliver(&mut self, to: u64, event: Event) {
        let now = self.now;
        let Some(Node::Up(process)) = self.nodes.get_mut(&to) else { return };
        if process.paused_until > now {
            let wait = process.paused_until.since(now);
            process.inbox.push(event);
            // Wakes the process; what came meanwhile is handled then.
            if !self.is_ticking(to) {
                self.schedule(to, wait, Event::Tick);
            }
            return;
        }
        let missed = std::mem::take(&mut process.inbox);
        for event in missed.into_iter().chain([event]) {
            self.handle(to, event);
        }
    }

    fn handle(&mut self, to: u64, event: Event) {
        let now = self.now;
        let Some(Node::Up(process)) = self.nodes.get_mut(&to) else { return };
        let clock = process.clock(now);
        match event {
            Event::Tick => {
                process.member.tick(clock);
                let next = process.member.next_tick().since(clock);
                let ticking =
                    self.queue.values().any(|(id, event)| *id == to && matches!(event, Event::Tick));
                if !ticking {
                    self.schedule(to, next.max(Duration::from_micros(100)), Event::Tick);
                }
                self.turn(to, None);
            }
            Event::Written => {
                process.member.log_mut().write(1);
                self.turn(to, None);
            }
            Event::Message(envelope, state) => {
                process.member.receive(*envelope, clock);
                self.turn(to, state);
            }
        }
    }

    /// Lets a member do what it has to, and sees what comes of it.
    fn turn(&mut self, id: u64, incoming: Option<State>) {
        let now = self.now;
        let Some(Node::Up(process)) = self.nodes.get_mut(&id) else { return };
        let mut outlet = Collected { incoming, ..Collected::default() };
        let clock = process.clock(now);
        let turned = process.member.turn(&mut outlet, clock);
        let Collected { sent, installed, .. } = outlet;
        if let Some(mut state) = installed {
            state.installed = state.applied;
            process.synced = state.clone();
            process.state = state;
            self.seen.snapshots += 1;
        }
        let offered = process.offered.clone();
        for envelope in sent {
            let is_snapshot = envelope.message.get_msg_type() == MessageType::MsgSnapshot;
            self.post(id, envelope, offered.clone().filter(|_| is_snapshot));
        }
        match turned {
            Ok(all) => {
                for committed in all {
                    self.apply(
                        id,
                        committed.index,
                        committed.term,
                        committed.data.to_vec(),
                        committed.members.map(|m| m.0),
                    );
                }
                self.after_turn(id);
                if self.open_term(id) {
                    self.turn(id, None);
                }
            }
            Err(_) => self.crash(id),
        }
    }

    /// A new leader begins with an entry of its own, as the NameNode does: when that is applied, so is all before.
    fn open_term(&mut self, id: u64) -> bool {
        let now = self.now;
        let Some(Node::Up(process)) = self.nodes.get_mut(&id) else { return false };
        let Some(term) = process.member.term_led() else { return false };
        if process.opening.is_some_and(|at| at.term == term) || process.paused_until > now {
            return false;
        }
        process.opening = process.member.propose(b"opening".to_vec()).ok();
        process.opening.is_some()
    }

    fn apply(&mut self, id: u64, index: u64, term: u64, data: Vec<u8>, members: Option<ConfState>) {
        let known = self.truth.entry(index).or_insert_with(|| (term, data.clone()));
        if *known != (term, data.clone()) {
            self.broken.get_or_insert(format!("{id} applied another entry {index} than others"));
        }
        let Some(Node::Up(process)) = self.nodes.get_mut(&id) else { return };
        if index != process.state.applied.0 + 1 {
            let applied = process.state.applied.0;
            self.broken.get_or_insert(format!("{id} was given entry {index} after {applied}"));
            return;
        }
        process.state.applied = (index, term);
        process.state.history.push((index, term, data.clone()));
        if let Some(members) = members {
            process.state.members = members;
        }
        let position = Position { term, index };
        if let Some(found) = process.waiting.iter().position(|(waits, _)| *waits == position) {
            let (_, proposed) = process.waiting.swap_remove(found);
            if proposed != data {
                self.broken.get_or_insert(format!("entry {index} is not what was proposed"));
            }
            self.acknowledged = self.acknowledged.max(index);
            self.seen.acknowledged += 1;
        }
        self.seen.hash = (self.seen.hash ^ index ^ (id << 32)).wrapping_mul(0x100_0000_01b3);
    }

    fn after_turn(&mut self, id: u64) {
        let now = self.now;
        let synced = self.rng.random_bool(0.05);
        let is_writing = self.queue.values().any(|(to, event)| *to == id && matches!(event, Event::Written));
        let Some(Node::Up(process)) = self.nodes.get_mut(&id) else { return };
        let write_time = process.write_time;
        if !is_writing && process.member.log().waiting() > 0 {
            self.schedule(id, write_time, Event::Written);
        }
        let Some(Node::Up(process)) = self.nodes.get_mut(&id) else { return };
        let status = process.status(now);
        if synced {
            process.synced = process.state.clone();
            // As the NameNode: only what the synced database has is let go.
            let until = process.synced.applied.0.saturating_sub(KEPT);
            process.member.trim(until).unwrap();
        }
        if process.member.wants_snapshot() {
            let state = process.state.clone();
            process.member.offer_snapshot(Some(snapshot_of(&state)));
            process.offered = Some(state);
        }
        let serves = process.serves(&status);
        let done: Vec<(Nanos, u64)> = if serves {
            process.reads.extract_if(.., |(asked, _)| *asked <= status.followed_at).collect()
        } else {
            process.reads.clear();
            process.waiting.clear();
            Vec::new()
        };
        let applied = process.state.applied.0;
        for (_, acknowledged) in done {
            self.check_read(id, applied, acknowledged);
        }
        if status.role == Role::Leader {
            let other = *self.leaders.entry(status.term).or_insert_with(|| {
                self.seen.elections += 1;
                id
            });
            if other != id {
                self.broken.get_or_insert(format!("{id} and {other} both lead in term {}", status.term));
            }
        }
    }

    fn post(&mut self, from: u64, envelope: Envelope, state: Option<State>) {
        let to = envelope.message.to;
        if self.cut.contains(&(from, to)) || self.rng.random_bool(self.weather.lost) {
            let lost_snapshot = state.is_some();
            if let Some(Node::Up(process)) = self.nodes.get_mut(&from)
                && lost_snapshot
            {
                process.member.snapshot_sent(to, false);
            }
            return;
        }
        if let Some(Node::Up(process)) = self.nodes.get_mut(&from)
            && state.is_some()
        {
            process.member.snapshot_sent(to, true);
        }
        let copies = 1 + usize::from(self.rng.random_bool(self.weather.doubled));
        for _ in 0..copies {
            let slow = self.rng.random_bool(self.weather.late);
            let delay =
                if slow { self.rng.random_range(1_000..2_000_000) } else { self.rng.random_range(50..3_000) };
            let event = Event::Message(Box::new(envelope.clone()), state.clone());
            self.schedule(to, Duration::from_micros(delay), event);
        }
    }

    /// Whether everybody who belongs to the group has applied the same, everything acknowledged included.
    pub(crate) fn is_agreed(&self) -> bool {
        let Some((leader, members)) = self.leader() else { return false };
        let Some(Node::Up(leading)) = self.nodes.get(&leader) else { return false };
        leading.state.applied.0 >= self.acknowledged
            && members.voters.iter().all(|id| match self.nodes.get(id) {
                Some(Node::Up(process)) => process.state.applied == leading.state.applied,
                Some(Node::Down(_)) | None => false,
            })
    }

    pub(crate) fn describe(&self) -> String {
        let nodes = self.nodes.iter().map(|(id, node)| match node {
            Node::Up(process) => {
                let status = process.status(self.now);
                format!("{id}: {:?} term {} applied {:?}", status.role, status.term, process.state.applied)
            }
            Node::Down(_) => format!("{id}: down"),
        });
        nodes.collect::<Vec<_>>().join("; ")
    }
}

fn snapshot_of(state: &State) -> Snapshot {
    let mut snapshot = Snapshot::default();
    let metadata = snapshot.mut_metadata();
    (metadata.index, metadata.term) = state.applied;
    metadata.set_conf_state(state.members.clone());
    snapshot
}
