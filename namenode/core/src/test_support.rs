//! A small cluster for tests, driven by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use dfs_types::{
    ChunkId, GenStamp, Layout, Millis, NodeId, ReplicaRecord, ReplicaState, StorageType, VolumeHealth,
    VolumeId,
};

use crate::{Address, Command, Config, Core, Effect, Event, NodeStats, Placement, Report, Slice, Volume};

/// Length of every chunk in these tests.
pub(crate) const LENGTH: u64 = 1 << 20;
/// Generation of every chunk in these tests.
pub(crate) const GENERATION: GenStamp = GenStamp(1_001);

/// The term in which the cluster leads.
pub(crate) const TERM: u64 = 1;

/// The id of the `n`th node.
pub(crate) fn node_id(n: u16) -> NodeId {
    NodeId::from_bytes(&u128::from(n).to_be_bytes()).unwrap()
}

/// The number of a node.
pub(crate) fn number(id: NodeId) -> u16 {
    u16::try_from(u128::from_be_bytes(*id.as_bytes())).unwrap()
}

/// An idle node with one large empty volume on a host of its own.
pub(crate) fn stats(n: u16) -> NodeStats {
    let volume = VolumeId::from_bytes(node_id(n).as_bytes()).unwrap();
    NodeStats {
        address: Address {
            host: format!("host-{n}"),
            data_port: 9_001,
            http_port: 9_864,
            location: String::new(),
        },
        machine: String::new(),
        volumes: vec![Volume {
            id: volume,
            path: "/data".into(),
            file_system: None,
            storage: StorageType::Disk,
            health: VolumeHealth::Healthy,
            capacity: 1 << 40,
            used: 0,
            available: 1 << 40,
            replicas: 0,
        }],
        active_writes: 0,
        active_reads: 0,
        active_copies: 0,
        stopping: false,
        as_of: 0,
    }
}

/// A replica of the usual generation and length.
pub(crate) fn record(chunk: u64, state: ReplicaState) -> ReplicaRecord {
    ReplicaRecord { chunk: ChunkId(chunk), generation: GENERATION, length: LENGTH, state, volume: None }
}

/// A cluster that leads, and its time.
pub(crate) struct Rig {
    pub(crate) core: Core,
    pub(crate) now: Millis,
    /// What the nodes say they obey.
    pub(crate) fence: u64,
    /// Copies made by [`Rig::obey`].
    pub(crate) copied: usize,
    /// How many changes each node has told.
    numbers: BTreeMap<u16, u64>,
}

impl Default for Rig {
    fn default() -> Self {
        Self::seeded(1)
    }
}

impl Rig {
    pub(crate) fn new(config: Config, seed: u64) -> Self {
        let now = Millis(1_000_000);
        let core = Core::new(config, seed, now);
        let mut rig = Self { core, now, fence: TERM, copied: 0, numbers: BTreeMap::new() };
        rig.apply(Event::LeadershipTaken { term: TERM });
        rig
    }

    pub(crate) fn seeded(seed: u64) -> Self {
        Self::new(Config::default(), seed)
    }

    /// Registered and reported nodes `0..count`.
    pub(crate) fn with_nodes(count: u16) -> Self {
        let mut rig = Self::default();
        rig.join_all(count);
        rig
    }

    pub(crate) fn join_all(&mut self, count: u16) {
        for n in 0..count {
            self.join(n, stats(n));
            self.report(n, vec![]);
        }
    }

    pub(crate) fn apply(&mut self, event: Event) -> Vec<Effect> {
        self.core.apply(event, self.now)
    }

    pub(crate) fn join(&mut self, n: u16, stats: NodeStats) {
        let (node, version) = (node_id(n), "1".to_owned());
        self.apply(Event::Registered { node, incarnation: 1, version, stats });
        self.beat(&[n]);
    }

    /// Another process of the node.
    pub(crate) fn rejoin(&mut self, n: u16, incarnation: u128) {
        let (node, version) = (node_id(n), "1".to_owned());
        self.apply(Event::Registered { node, incarnation, version, stats: stats(n) });
        self.beat(&[n]);
    }

    /// The node's full report, in one piece.
    pub(crate) fn report(&mut self, n: u16, replicas: Vec<ReplicaRecord>) -> Vec<Effect> {
        self.report_as(n, self.fence, replicas)
    }

    /// The same from before the node heard of later leaders.
    pub(crate) fn report_as(&mut self, n: u16, fence: u64, replicas: Vec<ReplicaRecord>) -> Vec<Effect> {
        self.tell(n, vec![], Some(Slice::whole(fence, replicas)))
    }

    /// The number of the last change that the node has told.
    pub(crate) fn number(&self, n: u16) -> u64 {
        self.numbers.get(&n).copied().unwrap_or_default()
    }

    pub(crate) fn tell(
        &mut self,
        n: u16,
        changes: Vec<(ReplicaRecord, bool)>,
        slice: Option<Slice>,
    ) -> Vec<Effect> {
        let after = self.number(n);
        self.numbers.insert(n, after + changes.len() as u64);
        self.apply(Event::Reported { node: node_id(n), report: Report { after, changes, slice } })
    }

    pub(crate) fn changed(&mut self, n: u16, record: ReplicaRecord) {
        self.tell(n, vec![(record, false)], None);
    }

    pub(crate) fn gone(&mut self, n: u16, record: ReplicaRecord) {
        self.tell(n, vec![(record, true)], None);
    }

    /// A chunk of this length is written where room was promised, and committed.
    pub(crate) fn write_chunk(&mut self, chunk: u64, placement: Placement, length: u64) {
        let (id, generation, nodes, ticket) =
            (ChunkId(chunk), GENERATION, placement.nodes(), placement.ticket);
        self.apply(Event::ChunkAdded {
            chunk: id,
            generation,
            layout: Layout::Replicated { replicas: nodes.len() as u32 },
        });
        self.core.bind_placement(ticket, id);
        self.apply(Event::PipelineSet { chunk: id, nodes: nodes.clone() });
        for state in [ReplicaState::Rbw, ReplicaState::Finalized] {
            for node in &nodes {
                self.changed(number(*node), ReplicaRecord { length, ..record(chunk, state) });
            }
        }
        self.apply(Event::ChunkCommitted { chunk: id, generation, length });
    }

    pub(crate) fn corrupt(&mut self, chunk: u64, n: u16) {
        let (chunk, generation, node) = (ChunkId(chunk), GENERATION, node_id(n));
        self.apply(Event::ReplicaCorrupt { chunk, generation, node });
    }

    /// A committed chunk without replicas.
    pub(crate) fn add_chunk(&mut self, chunk: u64, length: u64, replication: u32) {
        let (chunk, generation) = (ChunkId(chunk), GENERATION);
        self.apply(Event::ChunkLoaded {
            chunk,
            generation,
            length: Some(length),
            layout: Layout::Replicated { replicas: replication },
        });
    }

    /// A committed chunk with good replicas on these nodes.
    pub(crate) fn chunk(&mut self, chunk: u64, replication: u32, on: &[u16]) {
        self.add_chunk(chunk, LENGTH, replication);
        for n in on {
            self.changed(*n, record(chunk, ReplicaState::Finalized));
        }
    }

    /// A chunk being written to these nodes.
    pub(crate) fn open_chunk(&mut self, chunk: u64, replication: u32, pipeline: &[u16]) {
        let (chunk, generation) = (ChunkId(chunk), GENERATION);
        self.apply(Event::ChunkAdded {
            chunk,
            generation,
            layout: Layout::Replicated { replicas: replication },
        });
        let nodes = pipeline.iter().map(|n| node_id(*n)).collect();
        self.apply(Event::PipelineSet { chunk, nodes });
    }

    pub(crate) fn commit(&mut self, chunk: u64) -> Vec<Effect> {
        self.commit_as(chunk, GENERATION)
    }

    pub(crate) fn commit_as(&mut self, chunk: u64, generation: GenStamp) -> Vec<Effect> {
        self.apply(Event::ChunkCommitted { chunk: ChunkId(chunk), generation, length: LENGTH })
    }

    /// Ends safe mode and the quiet time after it.
    pub(crate) fn out_of_safe_mode(&mut self) {
        self.core.loaded(self.now);
        self.apply(Event::SafeModeSet { on: false });
        self.core.end_quiet_time(self.now);
        assert!(!self.core.safe_mode().on);
    }

    /// Heartbeats of these nodes.
    pub(crate) fn beat(&mut self, nodes: &[u16]) {
        for n in nodes {
            let known = self.core.said(node_id(*n));
            let (node, fence) = (node_id(*n), self.fence);
            self.apply(Event::HeartbeatSeen { node, fence, stats: known.unwrap_or_else(|| stats(*n)) });
        }
    }

    /// Lets time pass with two ticks a second and heartbeats of these nodes.
    pub(crate) fn run(&mut self, time: Duration, alive: &[u16]) -> Vec<Effect> {
        let (end, mut effects) = (self.now.plus(time), Vec::new());
        while self.now < end {
            self.now = self.now.plus(Duration::from_millis(500));
            self.beat(alive);
            effects.extend(self.apply(Event::Tick));
        }
        effects
    }

    /// Lets seconds pass in which these nodes do at once whatever they are told: copies arrive, replicas are deleted.
    pub(crate) fn obey(&mut self, seconds: u64, alive: &[u16]) -> Vec<Effect> {
        let (end, mut effects) = (self.now.plus(Duration::from_secs(seconds)), Vec::new());
        while self.now < end {
            effects.extend(self.run(Duration::from_millis(500), alive));
            for n in alive {
                for command in self.core.take_commands(node_id(*n), self.now) {
                    self.carry_out(*n, command);
                }
            }
            self.check();
        }
        effects
    }

    fn carry_out(&mut self, n: u16, command: Command) {
        match command {
            Command::Copy { chunk, length, targets, .. } => {
                self.copied += targets.len();
                for target in targets {
                    let replica = ReplicaRecord { length, ..record(chunk.0, ReplicaState::Finalized) };
                    self.changed(number(target), replica);
                }
            }
            Command::Delete { replicas } => {
                for (id, generation) in replicas {
                    self.gone(n, ReplicaRecord { generation, ..record(id.0, ReplicaState::Finalized) });
                }
            }
            Command::Recover { chunk, .. } => unreachable!("nobody wanted {chunk} to be recovered"),
        }
    }

    /// No rule is broken.
    pub(crate) fn check(&self) {
        assert_eq!(self.core.violations(), Vec::<String>::new());
    }
}
