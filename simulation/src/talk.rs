//! What DataNodes say to the NameNode, and what they do with its answers.

use std::time::Duration;

use dfs_namenode_core::{Command, Event, Report, Slice};
use dfs_types::limits::REPORT_PAGE;
use dfs_types::{ChunkId, NodeId};
use rand::RngExt;

use crate::network::clients;
use crate::node::{DataNode, Process, id_of, number_of};
use crate::world::{STEP, TERM, World, chunk_number};

/// Steps between two heartbeats of a node; a second.
const BEAT: u64 = 10;
/// By this much later than dead a node may still take part in an order: until the next tick.
const MARGIN: Duration = Duration::from_secs(1);
/// Dead nodes that are asked per tick whether the NameNode has orders for them.
const PROBED: usize = 64;

impl World {
    /// A node's process introduces itself.
    pub(crate) fn register(&mut self, node: usize) {
        let now = self.now;
        let clients = clients(&self.settings, node, now);
        let Some(it) = self.nodes.get_mut(node) else {
            return;
        };
        (it.registered, it.heard) = (true, Some(now));
        it.came_back |= std::mem::take(&mut it.dead);
        let event = Event::Registered {
            node: it.id,
            incarnation: it.incarnation,
            version: "1".to_owned(),
            stats: it.stats(&self.settings, clients, 0),
        };
        let effects = self.meter.registrations.measure(1, || self.decisions.apply(event, now));
        self.follow(effects);
    }

    /// Heartbeats of a tenth of the nodes, and what they are told.
    pub(crate) fn beat(&mut self, step: u64) {
        let turn = (step % BEAT) as usize;
        let beating: Vec<usize> =
            (turn..self.nodes.len()).step_by(BEAT as usize).filter(|node| self.is_up(*node)).collect();
        for node in &beating {
            if self.nodes.get(*node).is_some_and(|node| !node.registered) {
                self.register(*node);
            }
        }
        let events: Vec<(NodeId, Event)> = beating.iter().filter_map(|node| self.heartbeat(*node)).collect();
        let (now, decisions) = (self.now, &mut self.decisions);
        let calls = events.len() as u64;
        let (effects, replies) = self.meter.heartbeats.measure(calls, || {
            let (mut effects, mut replies) = (Vec::new(), Vec::new());
            for (node, event) in events {
                effects.extend(decisions.apply(event, now));
                let commands = decisions.take_commands(node, now);
                let wants_report = decisions.wants_report(node, now).is_some();
                replies.push((number_of(node), commands, wants_report));
            }
            (effects, replies)
        });
        self.follow(effects);
        for (node, commands, wants_report) in replies {
            self.answered(node, commands, wants_report);
        }
    }

    fn heartbeat(&mut self, node: usize) -> Option<(NodeId, Event)> {
        let clients = clients(&self.settings, node, self.now);
        let copies = self.network.streams(node).sending;
        let it = self.nodes.get_mut(node)?;
        it.heard = Some(self.now);
        it.came_back |= std::mem::take(&mut it.dead);
        let stats = it.stats(&self.settings, clients, copies);
        Some((it.id, Event::HeartbeatSeen { node: it.id, fence: it.fence, stats }))
    }

    fn answered(&mut self, node: usize, commands: Vec<Command>, wants_report: bool) {
        if let Some(it) = self.nodes.get_mut(node) {
            it.fence = TERM;
            if wants_report && !it.reporting {
                it.reporting = true;
                self.report_queue.push_back(node);
            }
        }
        let mut concerned = Vec::new();
        for command in commands {
            self.obey(node, command, &mut concerned);
        }
        if !concerned.is_empty() {
            concerned.push(node);
            self.rules.check_streams(&self.settings, &self.network, &concerned, self.now);
        }
    }

    fn obey(&mut self, node: usize, command: Command, concerned: &mut Vec<usize>) {
        match command {
            Command::Copy { chunk, targets, bytes_per_second, .. } => {
                for target in targets.into_iter().map(number_of) {
                    self.check_alive(target);
                    self.copy(node, target, chunk_number(chunk), bytes_per_second);
                    concerned.push(target);
                }
            }
            Command::Delete { replicas } => {
                for (chunk, _) in replicas {
                    self.delete_later(node, chunk_number(chunk));
                }
            }
            Command::Recover { chunk, .. } => {
                self.rules
                    .broken(self.now, || format!("chunk {chunk} is to be recovered, which nobody wants"));
            }
        }
    }

    fn copy(&mut self, source: usize, target: usize, chunk: u32, limit: u64) {
        self.note(7, target, chunk);
        let holds = |node: usize| self.nodes.get(node).is_some_and(|node| node.disk.contains(chunk));
        if !holds(source) || holds(target) || !self.is_up(target) || !self.has_room(target) {
            self.tally.failed_copies += 1;
            return;
        }
        let breaks = self.rng.random_range(0..1_000) < self.settings.failing_copies;
        self.network.start(&self.settings, (chunk, source, target), limit, breaks, self.now);
    }

    /// Whether another chunk fits on a node's disks.
    fn has_room(&self, node: usize) -> bool {
        let coming = self.network.streams(node).receiving as usize + 1;
        let fits = |it: &DataNode| (it.disk.len() + coming) as u64 * self.settings.chunk_bytes <= it.capacity;
        self.nodes.get(node).is_some_and(fits)
    }

    /// A node that takes part in an order is not dead, as far as the NameNode can know.
    fn check_alive(&mut self, node: usize) {
        let Some(it) = self.nodes.get(node) else {
            self.rules.broken(self.now, || format!("an order involves node {node}, which does not exist"));
            return;
        };
        let patience = self.patience(it);
        let silence = it.heard.map(|heard| self.now.since(heard));
        self.rules.ordered(silence, patience + MARGIN, node, self.now);
    }

    fn patience(&self, node: &DataNode) -> Duration {
        let config = &self.settings.config;
        if node.stopping || node.came_back {
            config.restart_grace.max(config.dead_after)
        } else {
            config.dead_after
        }
    }

    /// The NameNode has no orders for dead nodes.
    pub(crate) fn probe_dead(&mut self) {
        let now = self.now;
        let dead = self.nodes.iter().enumerate().filter(|(_, node)| {
            let silence = node.heard.map(|heard| now.since(heard));
            node.process != Process::Up
                && silence.is_some_and(|silence| silence > self.patience(node) + MARGIN)
        });
        let dead: Vec<usize> = dead.map(|(node, _)| node).collect();
        // All in turn.
        let first = (now.0 / STEP.as_millis() as u64) as usize * PROBED;
        for at in 0..dead.len().min(PROBED) {
            let Some(node) = dead.get((first + at) % dead.len()).copied() else {
                return;
            };
            let orders = self.decisions.take_commands(id_of(node), now);
            if !orders.is_empty() {
                self.rules.broken(now, || format!("node {node} is dead and has {} orders", orders.len()));
            }
        }
    }

    /// Replicas that came and went are told.
    pub(crate) fn tell_changes(&mut self) {
        let now = self.now;
        let telling: Vec<usize> = self.changed.iter().copied().filter(|node| self.can_talk(*node)).collect();
        let mut events = Vec::with_capacity(telling.len());
        for node in telling {
            self.changed.remove(&node);
            if let Some(report) = self.untold(node) {
                events.push(Event::Reported { node: id_of(node), report });
            }
        }
        let (calls, decisions) = (events.len() as u64, &mut self.decisions);
        let effects = self
            .meter
            .changes
            .measure(calls, || events.into_iter().flat_map(|event| decisions.apply(event, now)).collect());
        self.follow(effects);
    }

    fn can_talk(&self, node: usize) -> bool {
        self.nodes.get(node).is_some_and(|node| node.process == Process::Up && node.registered)
    }

    /// What became of a node's replicas since its last report.
    fn untold(&mut self, node: usize) -> Option<Report> {
        let it = self.node(node)?;
        let (after, changes) = (it.told, std::mem::take(&mut it.changes));
        it.told += changes.len() as u64;
        let changes = changes.into_iter().map(|(chunk, gone)| (self.record(chunk), gone)).collect();
        Some(Report { after, changes, slice: None })
    }

    /// Full reports are taken in, as many as the NameNode gets done.
    pub(crate) fn take_reports(&mut self) {
        let most = i64::from(self.settings.report_rate);
        self.report_credit = (self.report_credit + most / BEAT as i64).min(most);
        while self.report_credit > 0
            && let Some(node) = self.report_queue.pop_front()
        {
            self.report_credit -= self.report(node) as i64;
        }
    }

    /// A node's full report is taken in; answers its length.
    pub(crate) fn report(&mut self, node: usize) -> usize {
        let now = self.now;
        self.note(8, node, 0);
        self.changed.remove(&node);
        let Some(mut report) = self.untold(node) else {
            return 0;
        };
        let Some(it) = self.node(node) else {
            return 0;
        };
        it.reporting = false;
        let (fence, told, disk): (_, _, Vec<u32>) = (it.fence, it.told, it.disk.iter().collect());
        let mut first = ChunkId(0);
        // At least one slice, even without a replica.
        let mut slices = disk.chunks(REPORT_PAGE).peekable();
        loop {
            let slice = slices.next().unwrap_or_default();
            let replicas: Vec<_> = slice.iter().map(|chunk| self.record(*chunk)).collect();
            let ends = slices.peek().is_none();
            let last = replicas.last().filter(|_| !ends).map_or(ChunkId(u64::MAX), |record| record.chunk);
            report.slice = Some(Slice { first, last, fence, replicas });
            let event = Event::Reported { node: id_of(node), report };
            let effects = self.meter.reports.measure(1, || self.decisions.apply(event, now));
            self.follow(effects);
            if ends {
                break;
            }
            first = ChunkId(last.0 + 1);
            report = Report { after: told, ..Report::default() };
        }
        self.tally.reports += 1;
        disk.len()
    }
}
