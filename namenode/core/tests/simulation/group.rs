//! NameNodes that take over from each other, and what nodes tell each of them.

use std::time::Duration;

use dfs_namenode_core::{Core, Event, Report, Slice};
use dfs_types::{ChunkId, Millis, ReplicaRecord, ReplicaState};
use rand::RngExt;

use super::{Bytes, Process, World, finalized, node_id};

/// Replicas in one slice of a full report.
const SLICE: usize = 5;

/// A NameNode.
pub(crate) struct SimNamenode {
    pub(crate) core: Core,
    /// How much of the log it has applied.
    pub(crate) applied: usize,
    /// Another one leads, which it will not know until then; and the processes that nodes had when that began.
    pub(crate) deposed: Option<(Millis, Vec<u128>)>,
}

/// What one node told one NameNode.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    /// So many changes were sent, and answered or given up.
    pub(crate) told: usize,
    /// From which chunk on the NameNode wants a full report.
    pub(crate) wanted: Option<ChunkId>,
    /// Messages on their way, and when each arrives. The node waits for the answer to the last one only; earlier ones may
    /// come after it.
    pub(crate) sent: Vec<Sent>,
    /// Nothing comes through until then.
    pub(crate) cut: Millis,
}

/// A message on its way.
#[derive(Debug)]
pub(crate) struct Sent {
    arrives: Millis,
    report: Report,
    /// The node has given up waiting for the answer.
    given_up: bool,
}

impl World {
    /// A NameNode process that has loaded what was committed.
    pub(crate) fn start_namenode(&self) -> SimNamenode {
        let mut core = Core::new(self.config.clone(), self.seed, self.now);
        for event in &self.log {
            core.apply(event.clone(), self.now);
        }
        core.set_next_chunk(ChunkId(self.next));
        core.loaded(self.now);
        SimNamenode { core, applied: self.log.len(), deposed: None }
    }

    pub(crate) fn core(&self) -> &Core {
        &self.namenodes[self.leader].core
    }

    /// Something happened that only the leader is told of.
    pub(crate) fn apply(&mut self, event: Event) {
        self.tell(self.leader, event);
    }

    pub(crate) fn tell(&mut self, k: usize, event: Event) {
        let now = self.now;
        self.namenodes[k].core.apply(event, now);
    }

    /// The leader commits an edit; the others hear of it later.
    pub(crate) fn commit(&mut self, event: Event) {
        self.log.push(event);
        self.catch_up(self.leader, usize::MAX);
    }

    /// A NameNode applies up to this many edits.
    fn catch_up(&mut self, k: usize, most: usize) {
        let (now, namenode) = (self.now, &mut self.namenodes[k]);
        for event in self.log.iter().skip(namenode.applied).take(most) {
            namenode.core.apply(event.clone(), now);
            namenode.applied += 1;
        }
    }

    /// A NameNode begins to lead.
    pub(crate) fn lead(&mut self, k: usize) {
        self.catch_up(k, usize::MAX);
        self.namenodes[k].deposed = None;
        (self.leader, self.term) = (k, self.term + 1);
        self.tell(k, Event::LeadershipTaken { term: self.term });
    }

    /// Followers catch up, deposed leaders find out.
    pub(crate) fn follow(&mut self, faults: bool) {
        for k in 0..self.namenodes.len() {
            let knows = |(until, _): &mut (Millis, Vec<u128>)| !faults || *until <= self.now;
            if self.namenodes[k].deposed.take_if(knows).is_some() {
                self.tell(k, Event::LeadershipLost);
            }
            if k != self.leader && self.namenodes[k].deposed.is_none() {
                let most = if faults { self.rng.random_range(0..3) } else { usize::MAX };
                self.catch_up(k, most);
            }
        }
    }

    /// Another NameNode takes over, one restarts, or one and a node no longer hear of each other for a while.
    pub(crate) fn trouble_namenodes(&mut self) {
        let k = self.rng.random_range(0..self.namenodes.len());
        let time = Duration::from_secs(self.rng.random_range(0..40));
        match self.rng.random_range(0..60) {
            0 | 1 if k == self.leader => self.lead(k),
            0 | 1 => {
                let processes = self.nodes.iter().map(|node| node.incarnation).collect();
                self.namenodes[self.leader].deposed = Some((self.now.plus(time), processes));
                self.lead(k);
            }
            2 => {
                self.namenodes[k] = self.start_namenode();
                if k == self.leader {
                    self.lead((k + 1) % self.namenodes.len());
                }
            }
            3..=9 => {
                let n = self.rng.random_range(0..self.nodes.len());
                self.nodes[n].reports[k].cut = self.now.plus(time);
            }
            // Leaders that decide for themselves which replicas are too many.
            10..=30 => self.change_replication(),
            _ => {}
        }
    }

    /// NameNodes that believe that they lead.
    pub(crate) fn believers(&self) -> impl Iterator<Item = usize> {
        (0..self.namenodes.len()).filter(|k| self.namenodes[*k].core.leads().is_some())
    }

    pub(crate) fn is_cut(&self, n: usize, k: usize) -> bool {
        self.nodes[n].process != Process::Up || self.nodes[n].reports[k].cut > self.now
    }

    /// What a node says to a NameNode in half a second.
    pub(crate) fn talk(&mut self, n: usize, k: usize) {
        let (id, incarnation, fence) = (node_id(n), self.nodes[n].incarnation, self.nodes[n].fence);
        if !self.namenodes[k].core.is_current(id, incarnation) {
            let (version, stats) = ("1".to_owned(), self.stats(n));
            self.tell(k, Event::Registered { node: id, incarnation, version, stats });
            // What was on its way was for the process that is no more. The NameNode knows nothing of this one.
            let told = self.nodes[n].history.len();
            self.nodes[n].reports[k] = Reports { told, ..Reports::default() };
            return;
        }
        self.report(n, k);
        // One heartbeat a second.
        if !(self.now.0 / 500 + n as u64).is_multiple_of(2) {
            return;
        }
        let stats = self.stats(n);
        self.tell(k, Event::HeartbeatSeen { node: id, fence, stats });
        let core = &mut self.namenodes[k].core;
        let wanted = core.wants_report(id, self.now);
        let reports = &mut self.nodes[n].reports[k];
        reports.wanted = reports.wanted.or(wanted);
        let Some(term) = core.leads() else {
            assert_eq!(core.take_commands(id, self.now), [], "seed {}", self.seed);
            return;
        };
        // A leader makes sure that it still leads after a heartbeat came in. So one that is deposed can only have
        // orders for processes that were there before.
        if self.namenodes[k].deposed.as_ref().is_some_and(|(_, processes)| processes[n] != incarnation) {
            return;
        }
        let orders = self.namenodes[k].core.take_commands(id, self.now);
        self.nodes[n].fence = fence.max(term);
        if term >= fence {
            for order in orders {
                self.obey(n, order, term);
            }
        }
    }

    /// What is to be told: all changes since the last message, and the next few replicas of a full report.
    fn next_report(&self, n: usize, k: usize) -> Option<Report> {
        let node = &self.nodes[n];
        let Reports { told, wanted, .. } = node.reports[k];
        let changes = node.history[told..].to_vec();
        if changes.is_empty() && wanted.is_none() {
            return None;
        }
        let alone = self.namenodes.len() == 1;
        let slice = wanted.map(|first| {
            let mut replicas = Vec::new();
            for (id, bytes) in node.disk.range(first..).take(SLICE) {
                let found = matches!(bytes, Bytes::Rotten(since) if *since != node.incarnation || !alone);
                let state = if found { ReplicaState::Corrupt } else { ReplicaState::Finalized };
                replicas.push(ReplicaRecord { state, ..finalized(*id) });
            }
            let last = replicas.get(SLICE - 1).map_or(ChunkId(u64::MAX), |record| record.chunk);
            Slice { first, last, fence: node.fence, replicas }
        });
        Some(Report { after: told as u64, changes, slice })
    }

    /// A message arrives, and its answer if somebody waits for it.
    fn arrive(&mut self, n: usize, k: usize, sent: Sent) {
        let (id, now) = (node_id(n), self.now);
        let Sent { report, given_up, .. } = sent;
        let told = report.after as usize + report.changes.len();
        self.tell(k, Event::Reported { node: id, report });
        if !given_up {
            let wanted = self.namenodes[k].core.wants_report(id, now);
            let reports = &mut self.nodes[n].reports[k];
            (reports.told, reports.wanted) = (told, wanted);
        }
    }

    /// A node's reports to a NameNode: one at a time. Slices take time, and now and then the node gives one up, sends the
    /// same once more, and the first arrives after it.
    fn report(&mut self, n: usize, k: usize) {
        let now = self.now;
        let sent = std::mem::take(&mut self.nodes[n].reports[k].sent);
        let (arrived, under_way): (Vec<Sent>, Vec<Sent>) =
            sent.into_iter().partition(|sent| sent.arrives <= now);
        self.nodes[n].reports[k].sent = under_way;
        for sent in arrived {
            self.arrive(n, k, sent);
        }
        let given_up = !self.nodes[n].reports[k].sent.is_empty() && self.rng.random_range(0..4) == 0;
        for sent in &mut self.nodes[n].reports[k].sent {
            sent.given_up |= given_up;
        }
        if self.nodes[n].reports[k].sent.iter().any(|sent| !sent.given_up) {
            return;
        }
        while let Some(report) = self.next_report(n, k) {
            let slow = self.namenodes.len() > 1 && report.slice.is_some();
            let delay = if slow { self.rng.random_range(0..1_500) } else { 0 };
            let arrives = now.plus(Duration::from_millis(delay));
            let sent = Sent { arrives, report, given_up: false };
            if slow {
                self.nodes[n].reports[k].sent.push(sent);
                return;
            }
            self.arrive(n, k, sent);
        }
    }
}
