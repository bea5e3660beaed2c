//! Whatever happens in whatever order, no rule is ever broken and no last good replica is ordered to be deleted.

#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use dfs_namenode_core::{
    Address, Balancing, Command, Config, Core, Effect, Event, NodeState, NodeStats, Placement,
    PlacementRequest, Report, Slice, Volume,
};
use dfs_types::{
    ChunkId, DutyState, GenStamp, InodeId, Layout, Millis, NodeDuty, NodeId, ReplicaRecord, ReplicaState,
    StorageType, VolumeHealth, VolumeId,
};
use proptest::prelude::*;

const NODES: u8 = 6;

fn node(n: u8) -> NodeId {
    NodeId::from_bytes(&u128::from(n).to_be_bytes()).unwrap()
}

/// One of a node's two volumes.
fn volume(n: u8, at: u8) -> VolumeId {
    VolumeId::from_bytes(&(u128::from(n) << 8 | u128::from(at)).to_be_bytes()).unwrap()
}

/// What a node says while its second volume is like that.
fn ailing(n: u8, stopping: bool, health: VolumeHealth) -> NodeStats {
    let mut stats = stats(n, stopping);
    let like = stats.volumes[0].clone();
    stats.volumes.push(Volume { id: volume(n, 1), storage: StorageType::Ssd, health, ..like });
    stats
}

fn stats(n: u8, stopping: bool) -> NodeStats {
    NodeStats {
        address: Address {
            host: format!("host-{}", n / 2),
            data_port: 1,
            http_port: 2,
            location: format!("/z/{}", n / 3),
        },
        machine: String::new(),
        volumes: vec![Volume {
            id: volume(n, 0),
            path: "/data".into(),
            file_system: None,
            storage: StorageType::Disk,
            health: VolumeHealth::Healthy,
            capacity: 1 << 30,
            used: u64::from(n) << 26,
            available: (1 << 30) - (u64::from(n) << 26),
            replicas: 0,
        }],
        active_writes: 0,
        active_reads: u32::from(n),
        active_copies: 0,
        stopping,
        as_of: 0,
    }
}

fn a_node() -> impl Strategy<Value = NodeId> {
    (0..NODES).prop_map(node)
}

fn a_chunk() -> impl Strategy<Value = ChunkId> {
    (1_u64..8).prop_map(ChunkId)
}

fn a_generation() -> impl Strategy<Value = GenStamp> {
    prop_oneof![6 => Just(2_u64), 1 => Just(1), 1 => Just(3)].prop_map(GenStamp)
}

fn a_length() -> impl Strategy<Value = u64> {
    prop_oneof![6 => Just(10_u64), 1 => Just(9)]
}

fn a_replica() -> impl Strategy<Value = ReplicaRecord> {
    let state = prop_oneof![
        6 => Just(ReplicaState::Finalized),
        1 => Just(ReplicaState::Rbw),
        1 => Just(ReplicaState::Rwr),
        1 => Just(ReplicaState::Corrupt),
    ];
    // Ids from 8 on are of no chunk.
    (1_u64..10, a_generation(), a_length(), state, a_volume()).prop_map(
        |(chunk, generation, length, state, volume)| ReplicaRecord {
            chunk: ChunkId(chunk),
            generation,
            length,
            state,
            volume,
        },
    )
}

/// Of whichever node: one that does not have it is as if it had said nothing.
fn a_volume() -> impl Strategy<Value = Option<VolumeId>> {
    prop::option::weighted(0.9, (0..NODES, 0_u8..2).prop_map(|(n, at)| volume(n, at)))
}

fn a_health() -> impl Strategy<Value = VolumeHealth> {
    prop_oneof![4 => Just(VolumeHealth::Healthy), 1 => Just(VolumeHealth::Suspect), 1 => Just(VolumeHealth::Failed)]
}

fn a_wish() -> impl Strategy<Value = Vec<StorageType>> {
    use StorageType::{Archive, Disk, Ssd};
    prop::sample::select(vec![vec![], vec![Ssd], vec![Disk], vec![Archive, Ssd], vec![Ssd, Disk]])
}

fn a_duty() -> impl Strategy<Value = NodeDuty> {
    prop_oneof![
        2 => Just(NodeDuty::InService),
        1 => Just(NodeDuty::Decommission),
        1 => (5_000_u64..90_000).prop_map(|until| NodeDuty::Maintenance { until: Millis(until) }),
    ]
}

/// Terms of leaders.
fn a_fence() -> impl Strategy<Value = u64> {
    prop_oneof![4 => Just(2_u64), 1 => Just(1), 1 => Just(0)]
}

/// A slice of a full report, most often all of it.
fn a_slice() -> impl Strategy<Value = Option<Slice>> {
    let ids = prop_oneof![
        3 => Just((0, u64::MAX)),
        1 => (1_u64..10).prop_map(|last| (0, last)),
        1 => (1_u64..10, 1_u64..10),
        1 => (1_u64..10).prop_map(|first| (first, u64::MAX)),
    ];
    let slice = (a_fence(), ids, prop::collection::vec(a_replica(), 0..8)).prop_map(
        |(fence, (first, last), replicas)| Slice {
            first: ChunkId(first),
            last: ChunkId(last),
            fence,
            replicas,
        },
    );
    prop::option::of(slice)
}

/// What becomes of a placement.
#[derive(Debug, Clone)]
enum Fate {
    Bound(ChunkId),
    GivenUp,
    Forgotten,
}

fn a_fate() -> impl Strategy<Value = Fate> {
    prop_oneof![4 => a_chunk().prop_map(Fate::Bound), 1 => Just(Fate::GivenUp), 1 => Just(Fate::Forgotten)]
}

/// What is done to the core.
#[derive(Debug, Clone)]
enum Step {
    Event(Event),
    /// A writer asks for nodes.
    Place(u32, Vec<StorageType>, Fate),
    /// A node is asked whether it shall report.
    Report(NodeId),
    Wait(u64),
    HeartbeatReply(NodeId),
}

fn a_step() -> impl Strategy<Value = Step> {
    let event = prop_oneof![
        (0..NODES, 1_u128..3, any::<bool>()).prop_map(|(n, incarnation, stopping)| Event::Registered {
            node: node(n),
            incarnation,
            version: "1".into(),
            stats: stats(n, stopping),
        }),
        (0..NODES, 0_u8..8, a_fence(), 0_u64..12, a_health()).prop_map(|(n, calm, fence, as_of, health)| {
            Event::HeartbeatSeen {
                node: node(n),
                fence,
                stats: NodeStats { as_of, ..ailing(n, calm == 0, health) },
            }
        }),
        (
            a_node(),
            0_u64..12,
            prop::collection::vec((a_replica(), prop::bool::weighted(0.2)), 0..4),
            a_slice()
        )
            .prop_map(|(node, after, changes, slice)| Event::Reported {
                node,
                report: Report { after, changes, slice }
            }),
        (a_chunk(), a_generation(), a_node()).prop_map(|(chunk, generation, node)| Event::ReplicaCorrupt {
            chunk,
            generation,
            node
        }),
        (a_chunk(), 1_u32..4).prop_map(|(chunk, replication)| Event::ChunkAdded {
            chunk,
            generation: GenStamp(2),
            layout: Layout::Replicated { replicas: replication },
        }),
        (a_chunk(), a_generation(), a_length())
            .prop_map(|(chunk, generation, length)| Event::ChunkCommitted { chunk, generation, length }),
        (a_chunk(), a_generation())
            .prop_map(|(chunk, generation)| Event::GenerationChanged { chunk, generation }),
        a_chunk().prop_map(|chunk| Event::ChunkRemoved { chunk }),
        (a_chunk(), 1_u32..5).prop_map(|(chunk, replication)| Event::LayoutChanged {
            chunk,
            layout: Layout::Replicated { replicas: replication }
        }),
        (a_chunk(), prop::collection::vec(a_node(), 0..3))
            .prop_map(|(chunk, nodes)| Event::PipelineSet { chunk, nodes }),
        (0_u64..4, "[ab]").prop_map(|(inode, holder)| Event::LeaseTaken { inode: InodeId(inode), holder }),
        "[ab]".prop_map(|holder| Event::LeaseRenewed { holder }),
        (0_u64..4).prop_map(|inode| Event::LeaseReleased { inode: InodeId(inode) }),
        (a_chunk(), 0_u64..12, prop::collection::vec(a_node(), 0..3)).prop_map(
            |(chunk, acknowledged, pipeline)| Event::RecoveryWanted {
                chunk,
                new_generation: GenStamp(3),
                acknowledged,
                pipeline
            }
        ),
        a_chunk().prop_map(|chunk| Event::LossAccepted { chunk }),
        prop::option::weighted(0.8, 1_u64..3).prop_map(|term| match term {
            Some(term) => Event::LeadershipTaken { term },
            None => Event::LeadershipLost,
        }),
        prop::bool::weighted(0.3).prop_map(|on| Event::SafeModeSet { on }),
        (a_node(), a_duty()).prop_map(|(node, duty)| Event::DutySet { node, duty }),
        prop::option::weighted(0.7, 0_u32..200).prop_map(|threshold| Event::BalancerSet {
            settings: threshold
                .map(|threshold_permille| Balancing { threshold_permille, ..Balancing::default() }),
        }),
        a_node().prop_map(|node| Event::LossAnnounced { node }),
    ];
    prop_oneof![
        12 => event.prop_map(Step::Event),
        2 => (1_u32..4, a_wish(), a_fate()).prop_map(|(count, wish, fate)| Step::Place(count, wish, fate)),
        2 => a_node().prop_map(Step::Report),
        4 => (1_u64..8).prop_map(Step::Wait),
        3 => a_node().prop_map(Step::HeartbeatReply),
    ]
}

/// What was said of recoveries: the bytes of each that are to be kept, and where less was accepted.
#[derive(Debug, Default)]
struct Promises {
    kept: BTreeMap<ChunkId, u64>,
    accepted: BTreeSet<ChunkId>,
}

impl Promises {
    fn hear(&mut self, event: &Event) {
        match event {
            Event::RecoveryWanted { chunk, acknowledged, .. } => {
                self.kept.insert(*chunk, *acknowledged);
            }
            Event::LossAccepted { chunk } => {
                self.accepted.insert(*chunk);
            }
            Event::LeadershipTaken { .. } | Event::LeadershipLost => self.accepted.clear(),
            _ => {}
        }
    }

    fn of(&self, chunk: ChunkId) -> u64 {
        self.kept.get(&chunk).copied().filter(|_| !self.accepted.contains(&chunk)).unwrap_or_default()
    }

    fn check(&self, effects: &[Effect], orders: &[Command]) -> Result<(), TestCaseError> {
        for effect in effects {
            if let Effect::NothingToRecover { chunk, .. } = effect {
                prop_assert_eq!(self.of(*chunk), 0, "{} is dropped", chunk);
            }
        }
        for order in orders {
            if let Command::Recover { chunk, acknowledged, .. } = order {
                prop_assert!(*acknowledged >= self.of(*chunk), "{} may be cut", chunk);
            }
        }
        Ok(())
    }
}

/// Committed chunks of which an order deletes replicas keep a good one on another node that can be relied on, and is not
/// to be stopped.
fn check_orders(
    core: &Core,
    (node, orders): (NodeId, &[Command]),
    config: &Config,
    now: Millis,
) -> Result<(), TestCaseError> {
    let stays = |duty| !matches!(duty, DutyState::EnteringMaintenance | DutyState::InMaintenance);
    let live = core
        .nodes(now)
        .into_iter()
        .filter(|view| view.reported && view.state != NodeState::Dead && stays(view.duty));
    let live: Vec<NodeId> = live.map(|view| view.node.id).collect();
    prop_assert!(orders.is_empty() || core.leads().is_some(), "a follower orders {orders:?}");
    for order in orders {
        let replicas = match order {
            Command::Delete { replicas } => replicas,
            Command::Copy { chunk, targets, .. } => {
                prop_assert!(!targets.contains(&node), "{chunk} is copied to its source");
                continue;
            }
            Command::Recover { .. } => continue,
        };
        prop_assert!(replicas.len() <= config.delete_batch);
        for (id, _) in replicas {
            if let Some(chunk) = core.chunk(*id) {
                let kept = chunk.good.iter().any(|other| *other != node && live.contains(other));
                prop_assert!(chunk.length.is_some() && kept, "{id}: {chunk:?}");
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    #[test]
    fn no_rule_is_ever_broken(
        seed in any::<u64>(),
        joined in 0..=NODES,
        steps in prop::collection::vec(a_step(), 1..150),
    ) {
        // Short times and tight limits, so that they are met within a few steps.
        let config = Config {
            restart_grace: Duration::from_secs(30),
            forget_after: Duration::from_mins(1),
            max_copies_per_node: 2,
            max_copy_bytes_per_node: 25,
            max_copies: 5,
            max_copy_bytes: 60,
            balancer_patience: Duration::from_secs(20),
            lease_hard_limit: Duration::from_secs(20),
            delete_batch: 2,
            delete_retry: Duration::from_secs(10),
            ..Config::default()
        };
        let mut now = Millis(5_000);
        let mut core = Core::new(config.clone(), seed, now);
        core.loaded(now);
        core.apply(Event::LeadershipTaken { term: 1 }, now);
        for n in 0..joined {
            let (node, version) = (node(n), "1".to_owned());
            core.apply(Event::Registered { node, incarnation: 1, version, stats: stats(n, false) }, now);
            core.apply(Event::HeartbeatSeen { node, fence: 1, stats: stats(n, false) }, now);
            let report = Report { slice: Some(Slice::whole(1, vec![])), ..Report::default() };
            core.apply(Event::Reported { node, report }, now);
        }
        let mut promises = Promises::default();
        for step in steps {
            match step.clone() {
                Step::Event(event) => {
                    promises.hear(&event);
                    promises.check(&core.apply(event, now), &[])?;
                }
                Step::Wait(seconds) => {
                    for _ in 0..2 * seconds {
                        now = now.plus(Duration::from_millis(500));
                        promises.check(&core.apply(Event::Tick, now), &[])?;
                    }
                }
                Step::Place(count, storage, fate) => {
                    let request = PlacementRequest {
                        count, bytes: 20, writer_host: None, existing: vec![], exclude: vec![], storage
                    };
                    if let Ok(Placement { ticket, .. }) = core.choose_targets(&request, now) {
                        match fate {
                            Fate::Bound(chunk) => core.bind_placement(ticket, chunk),
                            Fate::GivenUp => core.give_up_placement(ticket),
                            Fate::Forgotten => {}
                        }
                    }
                }
                Step::Report(node) => {
                    let wanted = core.wants_report(node, now);
                    prop_assert!(wanted.is_none() || core.owes_report(node));
                }
                Step::HeartbeatReply(node) => {
                    let orders = core.take_commands(node, now);
                    promises.check(&[], &orders)?;
                    check_orders(&core, (node, &orders), &config, now)?;
                }
            }
            prop_assert_eq!(core.violations(), Vec::<String>::new(), "after {:?}", step);
        }
    }
}
