//! The whole cluster and its virtual time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use dfs_namenode_core::{Effect, Event, NodeState};
use dfs_types::{ChunkId, DutyState, GenStamp, Millis, ReplicaRecord, ReplicaState};
use rand::SeedableRng;
use rand::rngs::Xoshiro256PlusPlus;

use crate::disk::Disk;
use crate::layout;
use crate::namenode::{Decisions, Meter};
use crate::network::{Ended, Network, Transfer};
use crate::node::{DataNode, Process, number_of};
use crate::rules::Rules;
use crate::settings::{Settings, mix};
use crate::truth::Truth;

/// Time passes in steps of this length.
pub(crate) const STEP: Duration = Duration::from_millis(100);
/// Steps between two ticks of the NameNode.
const TICK: u64 = 5;
/// The term in which the NameNode leads.
pub(crate) const TERM: u64 = 1;
/// The version of every chunk.
pub(crate) const GENERATION: GenStamp = GenStamp(1_001);
/// Ids of chunks begin here.
const FIRST: u64 = 1_000;
/// Replicas a node deletes per step.
const DELETED: usize = 100;

/// The id of a chunk.
pub(crate) fn chunk_id(chunk: u32) -> ChunkId {
    ChunkId(FIRST + u64::from(chunk))
}

/// The number of a chunk.
pub(crate) fn chunk_number(id: ChunkId) -> u32 {
    id.0.wrapping_sub(FIRST) as u32
}

/// Something that happens later.
#[derive(Debug, Clone)]
pub(crate) enum Timer {
    /// The node's process ends.
    Stop(usize),
    /// The node runs again, as a new process if it was stopped.
    Start(usize),
    /// A chunk was written to these nodes.
    Written(u32, Vec<usize>),
}

/// What happened, besides what the parts count themselves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    /// Copies that arrived.
    pub(crate) copies: u64,
    /// Copies that broke off, or whose target did not run or had the chunk.
    pub(crate) failed_copies: u64,
    /// Replicas deleted.
    pub(crate) deletions: u64,
    /// Full reports taken in.
    pub(crate) reports: u64,
    /// When nodes were first and last declared dead, and how often.
    pub(crate) first_death: Option<Millis>,
    pub(crate) last_death: Option<Millis>,
    pub(crate) deaths: u64,
    /// Nodes on which nothing depends any more.
    pub(crate) decommissioned: u64,
    /// Whether all nodes were as even as wanted when the balancer ended, if it did.
    pub(crate) balanced: Option<bool>,
    /// When safe mode ended last.
    pub(crate) safe_mode_ended: Option<Millis>,
    /// Most chunks that had too few replicas on disks at a time.
    pub(crate) most_short: u64,
    /// When chunks with too few replicas on disks were seen last.
    pub(crate) last_short: Option<Millis>,
    /// Depends on all that happened, and on its order.
    pub(crate) digest: u64,
}

pub(crate) struct World {
    pub(crate) settings: Settings,
    pub(crate) decisions: Box<dyn Decisions>,
    pub(crate) meter: Meter,
    pub(crate) now: Millis,
    pub(crate) nodes: Vec<DataNode>,
    pub(crate) truth: Truth,
    pub(crate) network: Network,
    pub(crate) rules: Rules,
    pub(crate) rng: Xoshiro256PlusPlus,
    pub(crate) tally: Tally,
    /// Nodes whose full report is on its way, in this order.
    pub(crate) report_queue: VecDeque<usize>,
    /// Replicas that the NameNode has time for; less than none after a long report.
    pub(crate) report_credit: i64,
    /// Nodes with changes to tell, and with replicas to delete.
    pub(crate) changed: BTreeSet<usize>,
    deleting: BTreeSet<usize>,
    timers: BTreeMap<(Millis, u64), Timer>,
    timers_set: u64,
}

impl World {
    /// A cluster whose nodes hold their chunks and do not run, and a NameNode that knows nothing.
    pub(crate) fn new(settings: Settings, decisions: Box<dyn Decisions>) -> Self {
        let disks = layout::fill(&settings);
        let usual = settings.capacity();
        let node = |(node, disk): (usize, Disk)| {
            let capacity = capacity_of(&settings, node, usual);
            DataNode::new(&settings, node, disk, capacity)
        };
        Self {
            nodes: disks.into_iter().enumerate().map(node).collect(),
            truth: Truth::new(settings.chunks, settings.replication),
            network: Network::new(&settings, Settings::BEGINNING),
            rng: Xoshiro256PlusPlus::seed_from_u64(settings.seed),
            settings,
            decisions,
            meter: Meter::default(),
            now: Settings::BEGINNING,
            rules: Rules::default(),
            tally: Tally::default(),
            report_queue: VecDeque::new(),
            report_credit: 0,
            changed: BTreeSet::new(),
            deleting: BTreeSet::new(),
            timers: BTreeMap::new(),
            timers_set: 0,
        }
    }

    pub(crate) fn node(&mut self, node: usize) -> Option<&mut DataNode> {
        self.nodes.get_mut(node)
    }

    pub(crate) fn is_up(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|node| node.process == Process::Up)
    }

    /// What a node would report of a chunk.
    pub(crate) fn record(&self, chunk: u32) -> ReplicaRecord {
        ReplicaRecord {
            chunk: chunk_id(chunk),
            generation: GENERATION,
            length: self.settings.chunk_bytes,
            state: ReplicaState::Finalized,
            volume: None,
        }
    }

    /// Lets something happen in `after`.
    pub(crate) fn set_timer(&mut self, after: Duration, timer: Timer) {
        self.timers_set += 1;
        self.timers.insert((self.now.plus(after), self.timers_set), timer);
    }

    /// Whether nothing is going to happen by itself.
    pub(crate) fn has_timers(&self) -> bool {
        !self.timers.is_empty()
    }

    /// Notes that something happened.
    pub(crate) fn note(&mut self, what: u64, node: usize, chunk: u32) {
        let event = mix(what ^ mix(node as u64 ^ mix(u64::from(chunk))));
        self.tally.digest = mix(self.tally.digest ^ event ^ mix(self.now.0));
    }

    /// A tenth of a second passes.
    pub(crate) fn step(&mut self) {
        self.now = self.now.plus(STEP);
        while let Some(((at, _), _)) = self.timers.first_key_value()
            && *at <= self.now
            && let Some((_, timer)) = self.timers.pop_first()
        {
            self.fire(timer);
        }
        self.move_bytes();
        self.delete_some();
        self.tell_changes();
        self.take_reports();
        let step = self.now.0 / STEP.as_millis() as u64;
        self.beat(step);
        if step.is_multiple_of(TICK) {
            self.tick();
            self.probe_dead();
        }
        if self.truth.short() > 0 {
            self.tally.last_short = Some(self.now);
            self.tally.most_short = self.tally.most_short.max(self.truth.short());
        }
    }

    fn fire(&mut self, timer: Timer) {
        match timer {
            Timer::Stop(node) => self.stop(node, Process::Down),
            Timer::Start(node) => self.start(node),
            Timer::Written(chunk, nodes) => self.written(chunk, &nodes),
        }
    }

    /// A node's process ends, or the node is cut off.
    pub(crate) fn stop(&mut self, node: usize, process: Process) {
        self.note(1, node, 0);
        self.tally.failed_copies += self.network.cut(&self.settings, node).len() as u64;
        let Some(it) = self.nodes.get_mut(node) else {
            return;
        };
        it.process = process;
        it.reporting = false;
        self.report_queue.retain(|queued| *queued != node);
        if process != Process::CutOff {
            it.changes.clear();
            it.told = 0;
            it.deleting.drain(..).for_each(|chunk| self.rules.deletion_over(chunk));
            self.changed.remove(&node);
            self.deleting.remove(&node);
        }
    }

    /// A node and all that is on its disks is gone.
    pub(crate) fn lose(&mut self, node: usize) {
        self.stop(node, Process::Lost);
        if let Some(node) = self.nodes.get_mut(node) {
            node.disk.take().into_iter().for_each(|chunk| self.truth.lose(chunk));
        }
    }

    /// A node runs or is heard of again.
    pub(crate) fn start(&mut self, node: usize) {
        self.note(2, node, 0);
        let Some(node) = self.nodes.get_mut(node) else {
            return;
        };
        match node.process {
            Process::Down => {
                node.incarnation += 1;
                (node.registered, node.fence, node.stopping) = (false, 0, false);
            }
            Process::CutOff => {}
            Process::Up | Process::Lost => return,
        }
        node.process = Process::Up;
    }

    fn move_bytes(&mut self) {
        for ended in self.network.advance(&self.settings, STEP, self.now) {
            match ended {
                Ended::Arrived(Transfer { chunk, target, .. }) => {
                    self.note(3, target, chunk);
                    self.tally.copies += 1;
                    self.gain(target, chunk);
                }
                Ended::Broken(transfer) => {
                    self.note(4, transfer.target, transfer.chunk);
                    self.tally.failed_copies += 1;
                }
            }
        }
    }

    /// A replica is complete on a node's disk.
    pub(crate) fn gain(&mut self, node: usize, chunk: u32) {
        if let Some(it) = self.nodes.get_mut(node)
            && it.disk.insert(chunk)
        {
            it.changes.push((chunk, false));
            self.truth.gain(chunk);
            self.changed.insert(node);
        }
    }

    /// A node is told to delete a replica.
    pub(crate) fn delete_later(&mut self, node: usize, chunk: u32) {
        if let Some(it) = self.nodes.get_mut(node)
            && it.disk.contains(chunk)
            && !it.deleting.contains(&chunk)
        {
            it.deleting.push_back(chunk);
            self.deleting.insert(node);
            self.rules.deletion_told(&self.truth, chunk, node, self.now);
        }
    }

    fn delete_some(&mut self) {
        for node in self.deleting.clone() {
            let Some(it) = self.nodes.get_mut(node) else {
                continue;
            };
            let due: Vec<u32> = it.deleting.drain(..it.deleting.len().min(DELETED)).collect();
            if it.deleting.is_empty() {
                self.deleting.remove(&node);
            }
            for chunk in due {
                self.rules.deletion_over(chunk);
                if it.disk.contains(chunk) {
                    self.rules.deleting(&self.truth, chunk, node, self.now);
                    it.disk.remove(chunk);
                    it.changes.push((chunk, true));
                    self.truth.lose(chunk);
                    self.tally.deletions += 1;
                }
            }
            self.changed.insert(node);
            self.note(5, node, 0);
        }
    }

    fn tick(&mut self) {
        let now = self.now;
        let effects = self.meter.ticks.measure(1, || self.decisions.apply(Event::Tick, now));
        self.follow(effects);
    }

    /// Keeps what the NameNode says happened.
    pub(crate) fn follow(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::NodeChanged { node, state: NodeState::Dead } => {
                    self.note(6, number_of(node), 0);
                    self.tally.deaths += 1;
                    self.tally.first_death.get_or_insert(self.now);
                    self.tally.last_death = Some(self.now);
                    if let Some(node) = self.nodes.get_mut(number_of(node)) {
                        node.dead = true;
                    }
                }
                Effect::SafeModeChanged { on: false } => self.tally.safe_mode_ended = Some(self.now),
                Effect::DutyChanged { state: DutyState::Decommissioned, .. } => {
                    self.tally.decommissioned += 1;
                }
                Effect::BalancerEnded { balanced } => self.tally.balanced = Some(balanced),
                // Told to clients and administrators, of whom there are none here.
                _ => {}
            }
        }
    }
}

/// One node in five (or as settings say) is not of the usual size: larger and smaller ones in turn.
fn capacity_of(settings: &Settings, node: usize, usual: u64) -> u64 {
    let drawn = mix(settings.seed ^ mix(!(node as u64)));
    if drawn % 100 >= u64::from(settings.uneven_percent) {
        usual
    } else if (drawn >> 32).is_multiple_of(2) {
        usual * 2
    } else {
        usual * 7 / 10
    }
}
