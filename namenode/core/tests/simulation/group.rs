//! NameNodes that take over from each other, and what nodes tell each of them.

use std::time::Duration;

use dfs_namenode_core::{Cluster, Event};
use dfs_types::{ChunkId, Millis, ReplicaRecord, ReplicaState};
use rand::RngExt;

use super::{Bytes, Process, World, finalized, node_id};

/// A NameNode.
pub(crate) struct SimNamenode {
    pub(crate) cluster: Cluster,
    /// How much of the log it has applied.
    pub(crate) applied: usize,
    /// Another one leads, which it will not know until then; and the processes that nodes had when that began.
    pub(crate) deposed: Option<(Millis, Vec<u128>)>,
}

/// What one node has to tell one NameNode.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    /// Changes not reported yet, in order.
    pub(crate) changes: Vec<(ReplicaRecord, bool)>,
    /// A full report is wanted.
    pub(crate) due: bool,
    /// A full report on its way, and when it arrives; what changes meanwhile waits.
    pub(crate) sent: Option<(Millis, u64, Vec<ReplicaRecord>)>,
    /// Nothing comes through until then.
    pub(crate) cut: Millis,
}

impl World {
    /// A NameNode process that has loaded what was committed.
    pub(crate) fn start_namenode(&self) -> SimNamenode {
        let mut cluster = Cluster::new(self.config.clone(), self.seed, self.now);
        for event in &self.log {
            cluster.apply(event.clone(), self.now);
        }
        cluster.set_next_chunk(ChunkId(self.next));
        cluster.loaded(self.now);
        SimNamenode { cluster, applied: self.log.len(), deposed: None }
    }

    pub(crate) fn cluster(&self) -> &Cluster {
        &self.namenodes[self.leader].cluster
    }

    /// Something happened that only the leader is told of.
    pub(crate) fn apply(&mut self, event: Event) {
        self.tell(self.leader, event);
    }

    pub(crate) fn tell(&mut self, k: usize, event: Event) {
        let now = self.now;
        self.namenodes[k].cluster.apply(event, now);
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
            namenode.cluster.apply(event.clone(), now);
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
        (0..self.namenodes.len()).filter(|k| self.namenodes[*k].cluster.leads().is_some())
    }

    pub(crate) fn is_cut(&self, n: usize, k: usize) -> bool {
        self.nodes[n].process != Process::Up || self.nodes[n].reports[k].cut > self.now
    }

    /// What a node says to a NameNode in half a second.
    pub(crate) fn talk(&mut self, n: usize, k: usize) {
        let (id, incarnation, fence) = (node_id(n), self.nodes[n].incarnation, self.nodes[n].fence);
        if !self.namenodes[k].cluster.is_current(id, incarnation) {
            let (version, stats) = ("1".to_owned(), self.stats(n));
            self.tell(k, Event::Registered { node: id, incarnation, version, stats });
            // What was on its way was for the process that is no more.
            self.nodes[n].reports[k] = Reports::default();
            return;
        }
        self.report(n, k);
        // One heartbeat a second.
        if !(self.now.0 / 500 + n as u64).is_multiple_of(2) {
            return;
        }
        let stats = self.stats(n);
        self.tell(k, Event::HeartbeatSeen { node: id, fence, stats });
        let cluster = &mut self.namenodes[k].cluster;
        self.nodes[n].reports[k].due |= cluster.wants_report(id);
        let Some(term) = cluster.leads() else {
            assert_eq!(cluster.take_commands(id, self.now), [], "seed {}", self.seed);
            return;
        };
        // A leader makes sure that it still leads after a heartbeat came in. So one that is deposed can only have
        // orders for processes that were there before.
        if self.namenodes[k].deposed.as_ref().is_some_and(|(_, processes)| processes[n] != incarnation) {
            return;
        }
        let orders = self.namenodes[k].cluster.take_commands(id, self.now);
        self.nodes[n].fence = fence.max(term);
        if term >= fence {
            for order in orders {
                self.obey(n, order, term);
            }
        }
    }

    /// A node's report to a NameNode: never two at once.
    fn report(&mut self, n: usize, k: usize) {
        let (id, incarnation, fence) = (node_id(n), self.nodes[n].incarnation, self.nodes[n].fence);
        let alone = self.namenodes.len() == 1;
        let delay = if alone { 0 } else { self.rng.random_range(0..3_000) };
        let node = &mut self.nodes[n];
        let reports = &mut node.reports[k];
        if reports.due && reports.sent.is_none() {
            let replicas = node.disk.iter().map(|(id, bytes)| {
                let found = matches!(bytes, Bytes::Rotten(since) if *since != incarnation || !alone);
                let state = if found { ReplicaState::Corrupt } else { ReplicaState::Finalized };
                ReplicaRecord { state, ..finalized(*id) }
            });
            let arrives = self.now.plus(Duration::from_millis(delay));
            reports.sent = Some((arrives, fence, replicas.collect()));
            (reports.due, reports.changes) = (false, Vec::new());
        }
        let now = self.now;
        let reports = &mut self.nodes[n].reports[k];
        if let Some((_, fence, replicas)) = reports.sent.take_if(|(arrives, _, _)| *arrives <= now) {
            self.tell(k, Event::FullReport { node: id, fence, replicas });
        }
        let reports = &mut self.nodes[n].reports[k];
        if reports.sent.is_none() && !reports.changes.is_empty() {
            let changes = std::mem::take(&mut reports.changes);
            self.tell(k, Event::ReplicasChanged { node: id, changes });
        }
    }
}
