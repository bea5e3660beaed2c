//! A whole cluster in virtual time: nodes crash, hang, restart and lose disks, orders get lost, bytes rot, while
//! chunks are written and deleted; NameNodes take over from each other, lag behind, restart, and go on believing that
//! they lead. Then the faults end, and everything must become as it should be.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail by panicking")]

mod balancing;
mod group;
mod operator;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dfs_namenode_core::{
    Address, Command, Config, Event, NodeState, NodeStats, PlacementRequest, Totals, Volume,
};
use dfs_types::{
    ChunkId, GenStamp, Layout, Millis, NodeId, ReplicaRecord, ReplicaState, StorageType, VolumeHealth,
    VolumeId,
};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use group::{Reports, SimNamenode};
use operator::Site;

const STEP: Duration = Duration::from_millis(500);
const LENGTH: u64 = 40 << 20;
const GENERATION: GenStamp = GenStamp(1_001);
/// Chunks there are before anything happens begin here.
const FIRST: u64 = 1_000;

fn node_id(n: usize) -> NodeId {
    NodeId::from_bytes(&(n as u128).to_be_bytes()).unwrap()
}

fn finalized(chunk: ChunkId) -> ReplicaRecord {
    let state = ReplicaState::Finalized;
    ReplicaRecord { chunk, generation: GENERATION, length: LENGTH, state, volume: None }
}

/// What a node's process is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Process {
    Up,
    /// Running, but nobody hears of it until then.
    CutOff(Millis),
    /// Not running until then.
    Down(Millis),
    /// Never to come back.
    Lost,
}

/// A replica's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bytes {
    Intact,
    /// A reader found them damaged while this process ran; the next one finds out itself.
    Rotten(u128),
}

/// A DataNode: its disk, and what it still has to do.
#[derive(Debug)]
struct SimNode {
    process: Process,
    incarnation: u128,
    stopping: bool,
    disk: BTreeMap<ChunkId, Bytes>,
    /// Every change of its replicas since its process began.
    history: Vec<(ReplicaRecord, bool)>,
    /// What each NameNode was told of it.
    reports: Vec<Reports>,
    /// Deletions it was told, when it gets round to them, and in which term.
    deletions: Vec<(Millis, ChunkId, u64)>,
    /// Highest term of a leader that this process has heard of.
    fence: u64,
    /// The process that lost the disk.
    disk_lost: Option<u128>,
    site: Site,
}

/// A copy under way.
#[derive(Debug)]
struct Transfer {
    chunk: ChunkId,
    source: usize,
    target: usize,
    done: Millis,
}

struct World {
    seed: u64,
    rng: Xoshiro256PlusPlus,
    config: Config,
    namenodes: Vec<SimNamenode>,
    /// Which NameNode leads, in which term, and the edits it has committed.
    leader: usize,
    term: u64,
    log: Vec<Event>,
    now: Millis,
    nodes: Vec<SimNode>,
    /// Committed chunks and the replicas wanted.
    chunks: BTreeMap<ChunkId, u32>,
    /// Chunks being written, and where.
    open: BTreeMap<ChunkId, (u32, Vec<usize>)>,
    transfers: Vec<Transfer>,
    next: u64,
}

impl World {
    fn new(seed: u64, namenodes: usize, nodes: usize, chunks: u64) -> Self {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
        let now = Millis(rng.random_range(0..1_000_000));
        let mut world = Self {
            seed,
            rng,
            config: Config::default(),
            namenodes: Vec::new(),
            leader: 0,
            term: 0,
            log: Vec::new(),
            now,
            nodes: Vec::new(),
            chunks: BTreeMap::new(),
            open: BTreeMap::new(),
            transfers: Vec::new(),
            next: FIRST,
        };
        world.build(namenodes, nodes, chunks);
        for _ in 0..chunks {
            let (id, replication) = world.new_chunk();
            world.chunks.insert(id, replication);
            for n in world.some_nodes(replication as usize) {
                world.nodes[n].disk.insert(id, Bytes::Intact);
            }
            let (generation, length) = (GENERATION, Some(LENGTH));
            world.log.push(Event::ChunkLoaded {
                chunk: id,
                generation,
                length,
                layout: Layout::Replicated { replicas: replication },
            });
        }
        for _ in 0..namenodes {
            let namenode = world.start_namenode();
            world.namenodes.push(namenode);
        }
        world.lead(0);
        world
    }

    fn new_chunk(&mut self) -> (ChunkId, u32) {
        let id = ChunkId(self.next);
        self.next += 1;
        (id, self.rng.random_range(1..=4))
    }

    fn some_nodes(&mut self, count: usize) -> Vec<usize> {
        let mut chosen = BTreeSet::new();
        while chosen.len() < count {
            chosen.insert(self.rng.random_range(0..self.nodes.len()));
        }
        chosen.into_iter().collect()
    }

    fn number(id: NodeId) -> usize {
        usize::try_from(u128::from_be_bytes(*id.as_bytes())).unwrap()
    }

    fn some_chunk(&mut self) -> Option<ChunkId> {
        let at = self.rng.random_range(0..self.chunks.len().max(1));
        self.chunks.keys().nth(at).copied()
    }

    /// Nodes with an intact replica, running or not.
    fn intact(&self, id: ChunkId) -> Vec<usize> {
        let has =
            |node: &SimNode| node.disk.get(&id) == Some(&Bytes::Intact) && node.process != Process::Lost;
        (0..self.nodes.len()).filter(|n| has(&self.nodes[*n])).collect()
    }

    /// Nodes with an intact replica that the cluster knows and that no order will delete.
    fn counted(&self, id: ChunkId) -> Vec<usize> {
        let known = self.core().locate(id, None, self.now);
        let stays = |n: &usize| self.nodes[*n].deletions.iter().all(|(_, chunk, _)| *chunk != id);
        self.intact(id).into_iter().filter(|n| known.contains(&node_id(*n).into()) && stays(n)).collect()
    }

    /// Whether a disk was lost and somebody who decides still believes in it.
    fn has_unnoticed_loss(&self) -> bool {
        self.believers().any(|k| {
            let core = &self.namenodes[k].core;
            let dead = core.nodes(self.now).into_iter().filter(|report| report.state == NodeState::Dead);
            let dead: Vec<NodeId> = dead.map(|report| report.node.id).collect();
            self.nodes.iter().enumerate().any(|(n, node)| {
                let believed = |process: u128| core.is_current(node_id(n), process);
                node.disk_lost.is_some_and(believed) && !dead.contains(&node_id(n))
            })
        })
    }

    /// Whether losing this disk is within what is promised: one loss at a time, and no only replica.
    fn can_lose(&self, n: usize) -> bool {
        let elsewhere = |id: &ChunkId| self.counted(*id).iter().any(|other| *other != n);
        !self.has_unnoticed_loss()
            && self.nodes[n]
                .disk
                .keys()
                .filter_map(|id| Some((id, self.chunks.get(id)?)))
                .all(|(id, replication)| *replication > 1 && elsewhere(id))
    }

    /// Half a second passes.
    fn step(&mut self, faults: bool) {
        self.now = self.now.plus(STEP);
        if faults {
            self.inject();
            if self.namenodes.len() > 1 {
                self.trouble_namenodes();
            }
            self.write();
        }
        self.follow(faults);
        self.wake();
        self.transfer();
        for n in 0..self.nodes.len() {
            self.run_node(n);
        }
        self.finish_writes();
        for k in 0..self.namenodes.len() {
            self.tell(k, Event::Tick);
        }
    }

    fn inject(&mut self) {
        let n = self.rng.random_range(0..self.nodes.len());
        let later = self.now.plus(Duration::from_secs(self.rng.random_range(1..60)));
        let up = self.nodes[n].process == Process::Up;
        match self.rng.random_range(0..60) {
            0 if up => self.stop(n, Process::Down(later), false),
            1 if up => self.stop(n, Process::CutOff(later), false),
            2 if up => {
                let (mut stats, fence) = (self.stats(n), self.nodes[n].fence);
                stats.stopping = true;
                for k in 0..self.namenodes.len() {
                    if !self.is_cut(n, k) {
                        let stats = stats.clone();
                        self.tell(k, Event::HeartbeatSeen { node: node_id(n), fence, stats });
                    }
                }
                self.stop(n, Process::Down(later), false);
            }
            3 if up && self.can_lose(n) => {
                self.stop(n, Process::Down(later), true);
                self.announce_loss(n);
            }
            4 if up
                && self.can_lose(n)
                && self.count(|node| node.process == Process::Lost) < 3
                && (self.has_duty(n) || self.in_service() > 5) =>
            {
                self.stop(n, Process::Lost, true);
                self.announce_loss(n);
            }
            5 | 6 => self.rot(n),
            7 => {
                if let Some(id) = self.some_chunk() {
                    self.chunks.remove(&id);
                    // Nodes may go on for a moment, but such copies no longer count.
                    self.transfers.retain(|transfer| transfer.chunk != id);
                    self.commit(Event::ChunkRemoved { chunk: id });
                }
            }
            8 => self.change_replication(),
            9..=19 => self.operate(n, later),
            _ => {}
        }
    }

    fn change_replication(&mut self) {
        if !self.has_unnoticed_loss()
            && let Some(id) = self.some_chunk()
        {
            let replication = self.rng.random_range(1..=4);
            self.chunks.insert(id, replication);
            self.commit(Event::LayoutChanged {
                chunk: id,
                layout: Layout::Replicated { replicas: replication },
            });
        }
    }

    fn count(&self, what: impl Fn(&SimNode) -> bool) -> usize {
        self.nodes.iter().filter(|node| what(node)).count()
    }

    fn stop(&mut self, n: usize, process: Process, disk_lost: bool) {
        self.transfers.retain(|transfer| transfer.source != n && transfer.target != n);
        let node = &mut self.nodes[n];
        node.process = process;
        if disk_lost {
            node.disk_lost = Some(node.incarnation);
            node.disk.clear();
        }
        if !matches!(process, Process::CutOff(_)) {
            node.deletions.clear();
            node.fence = 0;
            node.history.clear();
            for reports in &mut node.reports {
                *reports = Reports { cut: reports.cut, ..Reports::default() };
            }
        }
    }

    /// A replica's bytes rot, and a reader finds out; never the last intact one.
    fn rot(&mut self, n: usize) {
        let intact = |(id, bytes): (&ChunkId, &Bytes)| (*bytes == Bytes::Intact).then_some(*id);
        let held: Vec<ChunkId> = self.nodes[n].disk.iter().filter_map(intact).collect();
        let Some(id) = held.get(self.rng.random_range(0..held.len().max(1))).copied() else {
            return;
        };
        // What a reader tells one NameNode is lost when another takes over: the node must know, and tell whoever
        // decides before they rely on the replica.
        let alone = self.namenodes.len() == 1;
        if !alone && self.believers().any(|k| self.is_cut(n, k) || !self.nodes[n].reports[k].sent.is_empty())
        {
            return;
        }
        let readable = self.core().locate(id, None, self.now).contains(&node_id(n).into());
        if readable && self.chunks.contains_key(&id) && self.counted(id).len() > 1 {
            let node = &mut self.nodes[n];
            node.disk.insert(id, Bytes::Rotten(node.incarnation));
            let copying = |transfer: &Transfer| transfer.chunk == id && transfer.source == n;
            self.transfers.retain(|transfer| !copying(transfer));
            self.apply(Event::ReplicaCorrupt { chunk: id, generation: GENERATION, node: node_id(n) });
            if !alone || self.core().locate(id, None, self.now).contains(&node_id(n).into()) {
                // The other replicas may go any moment, so the reader is not believed; the node looks for itself.
                let found = ReplicaRecord { state: ReplicaState::Corrupt, ..finalized(id) };
                self.nodes[n].changed(found, false);
            }
        }
    }

    /// Sometimes a writer adds a chunk.
    fn write(&mut self) {
        if self.core().safe_mode().on || self.rng.random_range(0..4) > 0 {
            return;
        }
        let (id, replication) = self.new_chunk();
        let request = PlacementRequest {
            count: replication,
            bytes: LENGTH,
            writer_host: None,
            existing: vec![],
            exclude: vec![],
            storage: vec![],
        };
        let now = self.now;
        let core = &mut self.namenodes[self.leader].core;
        let Ok(placement) = core.choose_targets(&request, now) else {
            return;
        };
        let (nodes, ticket) = (placement.nodes(), placement.ticket);
        assert!(nodes.len() <= replication as usize);
        self.commit(Event::ChunkAdded {
            chunk: id,
            generation: GENERATION,
            layout: Layout::Replicated { replicas: replication },
        });
        self.namenodes[self.leader].core.bind_placement(ticket, id);
        self.apply(Event::PipelineSet { chunk: id, nodes: nodes.clone() });
        self.open.insert(id, (replication, nodes.into_iter().map(Self::number).collect()));
    }

    /// Pipelines finish: the nodes that are up finalize, and the chunk is committed if that is enough.
    fn finish_writes(&mut self) {
        let open: Vec<ChunkId> = self.open.keys().copied().collect();
        for id in open {
            if self.rng.random_range(0..4) > 0 {
                continue;
            }
            let (replication, pipeline) = self.open.remove(&id).unwrap();
            let up: Vec<usize> =
                pipeline.into_iter().filter(|n| self.nodes[*n].process == Process::Up).collect();
            for n in &up {
                self.nodes[*n].disk.insert(id, Bytes::Intact);
                self.nodes[*n].changed(finalized(id), false);
            }
            if up.len() >= replication.min(self.config.min_replicas) as usize {
                self.chunks.insert(id, replication);
                self.commit(Event::ChunkCommitted { chunk: id, generation: GENERATION, length: LENGTH });
            } else {
                self.commit(Event::ChunkRemoved { chunk: id });
            }
        }
    }

    fn wake(&mut self) {
        for node in &mut self.nodes {
            match node.process {
                Process::Down(until) if until <= self.now => {
                    node.process = Process::Up;
                    node.incarnation += 1;
                }
                Process::CutOff(until) if until <= self.now => node.process = Process::Up,
                Process::Up | Process::Down(_) | Process::CutOff(_) | Process::Lost => {}
            }
        }
    }

    /// Copies arrive.
    fn transfer(&mut self) {
        let (done, going): (Vec<Transfer>, Vec<Transfer>) =
            std::mem::take(&mut self.transfers).into_iter().partition(|transfer| transfer.done <= self.now);
        self.transfers = going;
        for Transfer { chunk, source, target, .. } in done {
            // A copy is checked on its way, and a node that has something of the chunk refuses it.
            if self.nodes[source].disk.get(&chunk) == Some(&Bytes::Intact)
                && !self.nodes[target].disk.contains_key(&chunk)
            {
                self.nodes[target].disk.insert(chunk, Bytes::Intact);
                self.nodes[target].changed(finalized(chunk), false);
            }
        }
    }

    fn stats(&mut self, n: usize) -> NodeStats {
        let node = &self.nodes[n];
        let used = node.disk.len() as u64 * LENGTH;
        let capacity = node.site.capacity;
        // Other writers come and go, so that no two NameNodes find the same node the fullest.
        let taken = if self.namenodes.len() > 1 { self.rng.random_range(0..capacity / 200) } else { 0 };
        let sessions = if self.seed.is_multiple_of(3) { self.rng.random_range(0..6) } else { 0 };
        let node = &self.nodes[n];
        NodeStats {
            address: Address {
                host: node.site.host.clone(),
                data_port: 9_001,
                http_port: 9_864,
                location: node.site.location.clone(),
            },
            machine: String::new(),
            volumes: vec![Volume {
                id: VolumeId::from_bytes(node_id(n).as_bytes()).unwrap(),
                path: "/data".into(),
                file_system: None,
                storage: StorageType::Disk,
                health: VolumeHealth::Healthy,
                capacity,
                used,
                available: capacity.saturating_sub(used + taken),
                replicas: node.disk.len() as u64,
            }],
            active_writes: 0,
            active_reads: sessions,
            active_copies: 0,
            stopping: node.stopping,
            as_of: node.history.len() as u64,
        }
    }

    /// A node's half second.
    fn run_node(&mut self, n: usize) {
        let now = self.now;
        let node = &mut self.nodes[n];
        if matches!(node.process, Process::Down(_) | Process::Lost) {
            return;
        }
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut node.deletions).into_iter().partition(|(at, _, _)| *at <= now);
        node.deletions = later;
        for (_, id, term) in due {
            if term >= node.fence && node.disk.remove(&id).is_some() {
                node.changed(finalized(id), true);
            }
        }
        for k in 0..self.namenodes.len() {
            if !self.is_cut(n, k) {
                self.talk(n, k);
            }
        }
    }

    fn obey(&mut self, n: usize, command: Command, term: u64) {
        // One in twenty orders is lost.
        let lost = self.rng.random_range(0..20) == 0;
        match command {
            Command::Copy { chunk, generation, length, targets, bytes_per_second } => {
                assert_eq!((generation, length), (GENERATION, LENGTH));
                for target in targets.into_iter().map(Self::number) {
                    assert_ne!(target, n);
                    // A process that has just begun breaks off what comes for the one before it.
                    let current = self.core().is_current(node_id(target), self.nodes[target].incarnation);
                    let up = self.nodes[target].process == Process::Up && current;
                    if !lost && up && self.nodes[n].disk.get(&chunk) == Some(&Bytes::Intact) {
                        let least = (length * 1_000).checked_div(bytes_per_second).unwrap_or(200);
                        let time = Duration::from_millis(least + self.rng.random_range(0..4_000));
                        let done = self.now.plus(time);
                        self.transfers.push(Transfer { chunk, source: n, target, done });
                    }
                }
                self.check_streams();
            }
            Command::Delete { replicas } => {
                for (chunk, _) in replicas.into_iter().filter(|_| !lost) {
                    // One in ten takes so long that it is ordered again or recalled.
                    let longest = if self.rng.random_range(0..10) == 0 { 150_000 } else { 5_000 };
                    let time = Duration::from_millis(self.rng.random_range(0..longest));
                    let node = &mut self.nodes[n];
                    node.deletions.retain(|(_, _, ordered)| *ordered >= term);
                    if node.deletions.iter().all(|(_, there, _)| *there != chunk) {
                        node.deletions.push((self.now.plus(time), chunk, term));
                    }
                }
            }
            Command::Recover { chunk, .. } => panic!("nobody asked for a recovery of {chunk}"),
        }
    }

    fn check_streams(&self) {
        // Each leader bounds its own.
        if self.namenodes.len() > 1 {
            return;
        }
        let most = self.config.max_copies as usize;
        assert!(self.transfers.len() <= most, "seed {}: {} copies", self.seed, self.transfers.len());
        for n in 0..self.nodes.len() {
            let sent = self.transfers.iter().filter(|transfer| transfer.source == n).count();
            let received = self.transfers.iter().filter(|transfer| transfer.target == n).count();
            let bound = (self.config.max_copy_bytes_per_node / LENGTH) as usize;
            assert!(
                sent <= bound && received <= bound,
                "seed {}: node {n} sends {sent}, receives {received}",
                self.seed
            );
        }
    }

    /// Nothing but faults destroys the last intact replica of a chunk, and they never do.
    fn check_kept(&self) {
        for id in self.chunks.keys() {
            assert!(
                !self.intact(*id).is_empty(),
                "seed {}: the last replica of chunk {id} was deleted",
                self.seed
            );
        }
    }

    /// Whether every node that can be has been heard of, and all is as it should be.
    fn is_converged(&self) -> bool {
        let heard = |(n, node): (usize, &SimNode)| {
            let known = |(k, reports): (usize, &Reports)| {
                let core = &self.namenodes[k].core;
                let current = core.is_current(node_id(n), node.incarnation);
                let told = reports.told == node.history.len() && reports.sent.is_empty();
                current && told && reports.cut <= self.now && !core.owes_report(node_id(n))
            };
            match node.process {
                Process::Up => node.reports.iter().enumerate().all(known),
                Process::Lost => true,
                Process::CutOff(_) | Process::Down(_) => false,
            }
        };
        if !self.open.is_empty() || !self.nodes.iter().enumerate().all(heard) {
            return false;
        }
        let wrong = |namenode: &SimNamenode| {
            let totals = namenode.core.totals(self.now);
            let Totals { under_replicated, over_replicated, missing, corrupt, pending_copies, .. } = totals;
            let pending = pending_copies + totals.pending_deletions + totals.misplaced;
            under_replicated + over_replicated + missing + corrupt + pending
        };
        self.namenodes.iter().map(wrong).sum::<u64>() == 0
            && self.duties_are_done()
            && !self.core().balancer().running
    }

    /// Every chunk has exactly the intact replicas wanted, and nothing else is on any disk.
    fn check_converged(&self) {
        for (id, replication) in &self.chunks {
            let serving = |nodes: Vec<usize>| nodes.into_iter().filter(|n| !self.has_duty(*n)).count();
            assert_eq!(serving(self.intact(*id)), *replication as usize, "chunk {id}");
            for namenode in &self.namenodes {
                let located = namenode.core.locate(*id, None, self.now);
                let located = located.into_iter().map(|target| Self::number(target.node)).collect();
                assert_eq!(serving(located), *replication as usize, "chunk {id}");
            }
        }
        let serving = |(n, node): &(usize, &SimNode)| node.process != Process::Lost && !self.has_duty(*n);
        for (_, node) in self.nodes.iter().enumerate().filter(serving) {
            for (id, bytes) in &node.disk {
                assert!(*bytes == Bytes::Intact && self.chunks.contains_key(id), "chunk {id} is left over");
            }
        }
    }
}

impl SimNode {
    fn new(namenodes: usize, site: Site) -> Self {
        Self {
            site,
            process: Process::Up,
            incarnation: 1,
            stopping: false,
            disk: BTreeMap::new(),
            history: Vec::new(),
            reports: (0..namenodes).map(|_| Reports::default()).collect(),
            deletions: Vec::new(),
            fence: 0,
            disk_lost: None,
        }
    }

    /// A replica came, changed or went: every NameNode is to know.
    fn changed(&mut self, replica: ReplicaRecord, deleted: bool) {
        self.history.push((replica, deleted));
    }
}

/// Runs one world through faults for `faulty` and then to convergence; answers how long that took and what is there.
fn run(mut world: World, faulty: Duration) -> (Duration, Totals) {
    let seed = world.seed;
    let check_rules = |world: &World| {
        for namenode in &world.namenodes {
            assert_eq!(namenode.core.violations(), Vec::<String>::new(), "seed {seed}");
        }
    };
    let steps = faulty.as_millis() / STEP.as_millis();
    for step in 0..steps {
        world.step(true);
        world.check_kept();
        if step % 16 == 0 {
            check_rules(&world);
        }
    }
    world.calm_operator();
    let calm = world.now;
    // Pipelines under way end, everyone returns, storms pass, lost orders are given again.
    while !world.is_converged() {
        world.step(false);
        world.check_kept();
        assert!(
            world.now.since(calm) < Duration::from_mins(20),
            "seed {seed}: {:?} {:?}",
            world.core().totals(world.now),
            world.core().balancer()
        );
    }
    check_rules(&world);
    world.check_converged();
    (world.now.since(calm), world.core().totals(world.now))
}

fn is_long() -> bool {
    std::env::var_os("DFS_LONG").is_some_and(|long| long == "1")
}

/// Seeds from `first` on, each in a world of its own size with one NameNode.
fn run_seeds(first: u64, count: u64) {
    let times = if is_long() { 20 } else { 1 };
    for seed in first * times..(first + count) * times {
        let world = World::new(seed, 1, 10 + seed as usize % 15, 30 + seed * 7 % 60);
        run(world, Duration::from_secs(90));
    }
}

/// The same with two or three NameNodes, and ten times as many seeds if there is time (`DFS_LONG=1`).
fn run_groups(first: u64, count: u64) {
    let times = if is_long() { 10 } else { 1 };
    for seed in first * times..(first + count) * times {
        let world = World::new(seed, 2 + seed as usize % 2, 6 + seed as usize % 7, 20 + seed * 7 % 30);
        run(world, Duration::from_mins(3));
    }
}

#[test]
fn faults_lose_nothing_and_leave_no_trace_first_half() {
    run_seeds(0, 52);
}

#[test]
fn faults_lose_nothing_and_leave_no_trace_second_half() {
    run_seeds(52, 52);
}

#[test]
fn no_takeover_loses_anything_first_half() {
    run_groups(0, 60);
}

#[test]
fn no_takeover_loses_anything_second_half() {
    run_groups(60, 60);
}

#[test]
fn thousands_of_chunks_converge() {
    run(World::new(7, 1, 40, 3_000), Duration::from_secs(30));
}

#[test]
fn the_same_seed_does_the_same() {
    for namenodes in [1, 3] {
        let twice = [(); 2].map(|()| run(World::new(11, namenodes, 20, 50), Duration::from_mins(1)));
        assert_eq!(twice[0], twice[1]);
    }
}
