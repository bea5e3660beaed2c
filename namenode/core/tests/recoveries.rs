//! A file whose writer is gone, DataNodes that come and go, and NameNodes that know only the namespace: the file never ends
//! with less than was acknowledged and anybody may still have, its replicas are never deleted meanwhile, and as soon as one
//! with everything is back, or all that were written to have said that they have less, it is closed.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::time::Duration;

use dfs_namenode_core::{Address, Command, Config, Core, Effect, Event, NodeStats, Report, Slice, Volume};
use dfs_types::{
    ChunkId, GenStamp, Layout, Millis, NodeId, ReplicaRecord, ReplicaState, StorageType, VolumeHealth,
    VolumeId,
};
use proptest::prelude::*;

const NODES: u8 = 4;
/// One that is never heard of.
const AWAY: u8 = 99;
const CHUNK: ChunkId = ChunkId(10);
const GENERATION: GenStamp = GenStamp(5);
/// Bytes of the longest replica.
const WRITTEN: u64 = 9;

fn id(n: u8) -> NodeId {
    NodeId::from_bytes(&u128::from(n).to_be_bytes()).unwrap()
}

fn number(node: NodeId) -> u8 {
    u8::try_from(u128::from_be_bytes(*node.as_bytes())).unwrap()
}

fn stats(n: u8) -> NodeStats {
    let volume = Volume {
        id: VolumeId::from_bytes(id(n).as_bytes()).unwrap(),
        path: "/data".into(),
        file_system: None,
        storage: StorageType::Disk,
        health: VolumeHealth::Healthy,
        capacity: 1 << 30,
        used: 0,
        available: 1 << 30,
        replicas: 0,
    };
    NodeStats {
        address: Address { host: format!("host-{n}"), data_port: 1, http_port: 2, location: String::new() },
        machine: String::new(),
        volumes: vec![volume],
        active_writes: 0,
        active_reads: 0,
        active_copies: 0,
        stopping: false,
        as_of: 0,
    }
}

#[derive(Debug, Clone)]
struct DataNode {
    up: bool,
    incarnation: u128,
    replica: Option<ReplicaRecord>,
    /// How many changes it has told.
    told: u64,
}

/// What happens.
#[derive(Debug, Clone)]
enum Step {
    /// A DataNode stops, or starts again with what it has on its disk.
    Switch(u8),
    /// The NameNode is restarted: of DataNodes it knows nothing.
    Restart,
    /// Another NameNode leads, which has heard what this one has.
    Failover,
    /// Seconds pass.
    Wait(u8),
}

fn a_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..NODES).prop_map(Step::Switch),
        1 => Just(Step::Restart),
        1 => Just(Step::Failover),
        4 => (1_u8..100).prop_map(Step::Wait),
    ]
}

struct World {
    core: Core,
    now: Millis,
    term: u64,
    /// The last stamp that a recovery took.
    stamp: u64,
    acknowledged: u64,
    /// Bytes that must be left: all that are acknowledged, or as many as the nodes that were written to have on their disks.
    least: u64,
    /// The nodes that it was written to, as the namespace has them.
    pipeline: Vec<NodeId>,
    nodes: Vec<DataNode>,
    /// With which length the file was closed.
    closed: Option<u64>,
}

fn config() -> Config {
    Config {
        restart_grace: Duration::from_secs(30),
        forget_after: Duration::from_mins(1),
        recovery_timeout: Duration::from_secs(5),
        delete_retry: Duration::from_secs(5),
        ..Config::default()
    }
}

impl World {
    /// Where nobody has all that was acknowledged, `lost` says whether that is so, or somebody is away who may.
    fn new(acknowledged: u64, lengths: &[Option<u64>], lost: bool) -> Self {
        let now = Millis(1_000_000);
        let replica = |length| ReplicaRecord {
            chunk: CHUNK,
            generation: GENERATION,
            length,
            state: ReplicaState::Rwr,
            volume: None,
        };
        let node = |length: &Option<u64>| DataNode {
            up: true,
            incarnation: 1,
            replica: length.map(replica),
            told: 0,
        };
        let nodes = lengths.iter().map(node).collect();
        let mut pipeline: Vec<NodeId> =
            (0..).map(id).zip(lengths).filter_map(|(id, length)| length.map(|_| id)).collect();
        let longest = lengths.iter().flatten().max().copied();
        let least = match longest.filter(|_| lost) {
            Some(longest) => acknowledged.min(longest),
            None => acknowledged,
        };
        if least == acknowledged && longest.is_none_or(|longest| longest < acknowledged) {
            // Who has everything is away all the time.
            pipeline.push(id(AWAY));
        }
        let core = Core::new(config(), 1, now);
        let mut world =
            Self { core, now, term: 0, stamp: 100, acknowledged, least, pipeline, nodes, closed: None };
        world.restart();
        world
    }

    fn apply(&mut self, event: Event) {
        for effect in self.core.apply(event, self.now) {
            if let Effect::NothingToRecover { chunk, .. } = effect {
                assert_eq!(self.least, 0, "{chunk} is dropped though bytes of it were acknowledged");
                self.close(0);
            }
        }
    }

    fn close(&mut self, length: u64) {
        assert!(length >= self.least, "{length} bytes are left of {}", self.least);
        let may_lose = self.core.recovery_may_lose(CHUNK, length);
        assert!(length >= self.acknowledged || may_lose, "{length} bytes would be refused");
        self.closed = Some(length);
        let generation = GenStamp(self.stamp);
        let closed = if length == 0 {
            Event::ChunkRemoved { chunk: CHUNK }
        } else {
            Event::ChunkCommitted { chunk: CHUNK, generation, length }
        };
        self.apply(closed);
    }

    fn restart(&mut self) {
        self.core = Core::new(config(), self.stamp, self.now);
        let (generation, length) = match self.closed {
            None => (GENERATION, None),
            Some(length) => (GenStamp(self.stamp), Some(length)),
        };
        if length != Some(0) {
            self.apply(Event::ChunkLoaded {
                chunk: CHUNK,
                generation,
                length,
                layout: Layout::Replicated { replicas: 3 },
            });
        }
        self.core.set_next_chunk(ChunkId(11));
        self.core.loaded(self.now);
        self.apply(Event::SafeModeSet { on: false });
        self.lead();
        for n in 0..NODES {
            self.greet(n);
        }
    }

    fn lead(&mut self) {
        self.term += 1;
        self.apply(Event::LeadershipTaken { term: self.term });
        if self.closed.is_none() {
            self.stamp += 1;
            let (new_generation, acknowledged) = (GenStamp(self.stamp), self.acknowledged);
            let pipeline = self.pipeline.clone();
            self.apply(Event::RecoveryWanted { chunk: CHUNK, new_generation, acknowledged, pipeline });
        }
    }

    /// A DataNode that is up registers and reports.
    fn greet(&mut self, n: u8) {
        let DataNode { up, incarnation, replica, told } = self.nodes[usize::from(n)].clone();
        if up {
            let (node, version) = (id(n), "1".to_owned());
            self.apply(Event::Registered { node, incarnation, version, stats: stats(n) });
            self.apply(Event::HeartbeatSeen { node, fence: self.term, stats: stats(n) });
            let slice = Some(Slice::whole(self.term, replica.into_iter().collect()));
            let report = Report { after: told, changes: vec![], slice };
            self.apply(Event::Reported { node, report });
        }
    }

    /// A DataNode tells that its replica came or (`true`) went.
    fn tell(&mut self, n: u8, change: (ReplicaRecord, bool)) {
        let node = &mut self.nodes[usize::from(n)];
        let report = Report { after: node.told, changes: vec![change], slice: None };
        node.told += 1;
        self.apply(Event::Reported { node: id(n), report });
    }

    fn run(&mut self, seconds: u64) {
        for _ in 0..2 * seconds {
            self.now = self.now.plus(Duration::from_millis(500));
            self.apply(Event::Tick);
            for n in 0..NODES {
                if !self.nodes[usize::from(n)].up {
                    continue;
                }
                self.apply(Event::HeartbeatSeen { node: id(n), fence: self.term, stats: stats(n) });
                if self.core.wants_report(id(n), self.now).is_some() {
                    self.greet(n);
                }
                for command in self.core.take_commands(id(n), self.now) {
                    self.obey(n, command);
                }
            }
            assert_eq!(self.core.violations(), Vec::<String>::new());
        }
    }

    fn obey(&mut self, n: u8, command: Command) {
        match command {
            Command::Delete { .. } => {
                assert!(
                    self.closed.is_some() || self.acknowledged == 0,
                    "node {n} is to delete what is waited for"
                );
                let replica = self.nodes[usize::from(n)].replica.take().unwrap();
                self.tell(n, (replica, true));
            }
            Command::Copy { generation, length, targets, .. } => {
                let state = ReplicaState::Finalized;
                for target in targets {
                    self.hold(
                        number(target),
                        ReplicaRecord { chunk: CHUNK, generation, length, state, volume: None },
                    );
                }
            }
            Command::Recover { new_generation, acknowledged, holders, .. } => {
                assert!((self.least..=self.acknowledged).contains(&acknowledged), "nobody accepted a loss");
                self.recover(new_generation, acknowledged, &holders);
            }
        }
    }

    fn hold(&mut self, n: u8, record: ReplicaRecord) {
        let node = &mut self.nodes[usize::from(n)];
        if node.up {
            node.replica = Some(record);
            self.tell(n, (record, false));
        }
    }

    /// As DataNodes do it: the longest replicas of those that have what was acknowledged.
    fn recover(&mut self, generation: GenStamp, acknowledged: u64, holders: &[NodeId]) {
        let there = holders.iter().map(|holder| number(*holder)).filter_map(|n| {
            let node = &self.nodes[usize::from(n)];
            Some((n, node.replica.filter(|replica| node.up && replica.length >= acknowledged)?.length))
        });
        let there: Vec<(u8, u64)> = there.collect();
        let Some(length) = there.iter().map(|(_, length)| *length).max() else { return };
        if length > 0 {
            for (n, _) in there.iter().filter(|(_, has)| *has == length) {
                let state = ReplicaState::Finalized;
                self.hold(*n, ReplicaRecord { chunk: CHUNK, generation, length, state, volume: None });
            }
        }
        if generation == GenStamp(self.stamp) {
            self.close(length);
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Switch(n) => {
                let node = &mut self.nodes[usize::from(*n)];
                node.up = !node.up;
                node.incarnation += 1;
                self.greet(*n);
            }
            Step::Restart => self.restart(),
            Step::Failover => {
                self.apply(Event::LeadershipLost);
                self.lead();
            }
            Step::Wait(seconds) => self.run(u64::from(*seconds)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn nothing_acknowledged_is_dropped(
        acknowledged in 0..=WRITTEN,
        lengths in prop::collection::vec(prop::option::of(0..=WRITTEN), usize::from(NODES)),
        lost in any::<bool>(),
        steps in prop::collection::vec(a_step(), 1..30),
    ) {
        let mut world = World::new(acknowledged, &lengths, lost);
        for step in &steps {
            world.step(step);
        }
        let waited = world.closed.is_none();
        for n in 0..NODES {
            if !world.nodes[usize::from(n)].up {
                world.step(&Step::Switch(n));
            }
        }
        world.run(120);
        let there = lengths.iter().flatten().any(|length| *length >= acknowledged);
        if acknowledged == 0 || there || world.least < acknowledged {
            prop_assert!(world.closed.is_some(), "waited before: {}", waited);
        } else {
            prop_assert_eq!(world.closed, None);
            let waiting = world.core.waiting_recovery(CHUNK).unwrap();
            prop_assert_eq!(waiting.acknowledged, acknowledged);
            let best = lengths.iter().flatten().max().copied();
            prop_assert_eq!(waiting.best.map(|(_, length)| length), best);
        }
    }
}
