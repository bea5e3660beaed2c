//! Scripts of random steps, and the edits that they are.

use dfs_namenode_core::{Address, NodeRecord, VolumeRecord};
use dfs_types::format::LEVEL;
use dfs_types::{
    ChunkId, FsPath, GenStamp, LimitChange, Millis, Mode, NodeDuty, NodeId, StorageType, VolumeId,
};
use proptest::prelude::*;

use super::super::path;
use super::Model;
use crate::store::edit::{APPENDS, Balancing, Edit, Extent, NodeSeen, Publication, QUOTAS, REGISTRY};

/// A step of a script. Which file and chunk it is about is decided when it runs, by what exists then.
#[derive(Debug, Clone)]
pub(in crate::store::tests) enum Op {
    Mkdir { path: FsPath, parents: bool },
    Create { path: FsPath, holder: bool, overwrite: bool, parents: bool, temporary: bool },
    Rename { from: FsPath, to: FsPath, overwrite: bool },
    Delete { path: FsPath, recursive: bool, expects: Option<bool> },
    SetReplication { path: FsPath, replication: u32 },
    Trash { path: FsPath, recursive: bool, expects: Option<bool> },
    SetTrash { path: FsPath, keeps: Option<bool> },
    TendTrash(FsPath),
    SetQuota { path: FsPath, names: Option<u64>, space: Option<u64> },
    SetTimes { path: FsPath, mtime: u64 },
    Touch(FsPath),
    Append { path: FsPath, holder: bool },
    Truncate { path: FsPath, length: u64 },
    Concat { target: FsPath, sources: Vec<FsPath> },
    AddChunk(Target),
    AbandonChunk(Target),
    CommitLength(Target),
    CommitChunk(Target),
    Complete(Target),
    Publish(Target, FsPath, bool),
    Discard(Target),
    NewGeneration(Target),
    UpdatePipeline(Target),
    BeginRecovery(Target),
    CommitRecovery(Target),
    Reap { limit: u32 },
    PurgeOutcomes { limit: u32 },
    SetNodeDuty { nodes: Vec<u8>, duty: NodeDuty },
    SetBalancer(Option<(u32, u64)>),
    EndBalancer { truly: bool },
    SetSafeMode(bool),
    RaiseLevel,
    RecordNodes(Vec<(u8, u16, u64)>),
    ForgetNodes(Vec<u8>),
}

/// Which open file an edit is about, and what the writer says.
#[derive(Debug, Clone)]
pub(in crate::store::tests) struct Target {
    pub(super) file: usize,
    pub(super) length: u64,
    /// 0: says another holder; 1: another generation; 2: the chunk before the last; others: the truth.
    pub(super) lie: u8,
}

fn any_path() -> impl Strategy<Value = FsPath> {
    proptest::collection::vec("[abc]", 0..4).prop_map(|parts| path(&format!("/{}", parts.join("/"))))
}

fn target() -> impl Strategy<Value = Target> {
    (any::<usize>(), 0..1_100_u64, 0..16_u8).prop_map(|(file, length, lie)| Target { file, length, lie })
}

fn any_duty() -> impl Strategy<Value = NodeDuty> {
    prop_oneof![
        Just(NodeDuty::InService),
        Just(NodeDuty::Decommission),
        any::<u64>().prop_map(|until| NodeDuty::Maintenance { until: Millis(until) }),
    ]
}

/// Scripts of up to `most` steps.
pub(in crate::store::tests) fn ops(most: usize) -> impl Strategy<Value = Vec<Op>> {
    let any_bool = any::<bool>;
    let op = prop_oneof![
        3 => (any_path(), any_bool()).prop_map(|(path, parents)| Op::Mkdir { path, parents }),
        6 => (any_path(), any_bool(), any_bool(), any_bool(), any_bool())
            .prop_map(|(path, holder, overwrite, parents, temporary)| {
                Op::Create { path, holder, overwrite, parents, temporary }
            }),
        3 => (any_path(), any_path(), any_bool()).prop_map(|(from, to, overwrite)| Op::Rename { from, to, overwrite }),
        2 => (any_path(), any_bool(), any::<Option<bool>>())
            .prop_map(|(path, recursive, expects)| Op::Delete { path, recursive, expects }),
        1 => (any_path(), 0..4_u32).prop_map(|(path, replication)| Op::SetReplication { path, replication }),
        3 => (any_path(), any_bool(), any::<Option<bool>>())
            .prop_map(|(path, recursive, expects)| Op::Trash { path, recursive, expects }),
        1 => (any_path(), any::<Option<bool>>()).prop_map(|(path, keeps)| Op::SetTrash { path, keeps }),
        1 => any_path().prop_map(Op::TendTrash),
        2 => (any_path(), proptest::option::of(0..6_u64), proptest::option::of(0..12_000_u64))
            .prop_map(|(path, names, space)| Op::SetQuota { path, names, space }),
        1 => (any_path(), any::<u64>()).prop_map(|(path, mtime)| Op::SetTimes { path, mtime }),
        1 => any_path().prop_map(Op::Touch),
        4 => (any_path(), any_bool()).prop_map(|(path, holder)| Op::Append { path, holder }),
        3 => (any_path(), 0..2_200_u64).prop_map(|(path, length)| Op::Truncate { path, length }),
        3 => (any_path(), proptest::collection::vec(any_path(), 0..4))
            .prop_map(|(target, sources)| Op::Concat { target, sources }),
        6 => target().prop_map(Op::AddChunk),
        1 => target().prop_map(Op::AbandonChunk),
        2 => target().prop_map(Op::CommitLength),
        1 => target().prop_map(Op::CommitChunk),
        2 => target().prop_map(Op::Complete),
        2 => (target(), any_path(), any_bool())
            .prop_map(|(target, to, overwrite)| Op::Publish(target, to, overwrite)),
        1 => target().prop_map(Op::Discard),
        2 => target().prop_map(Op::NewGeneration),
        2 => target().prop_map(Op::UpdatePipeline),
        1 => target().prop_map(Op::BeginRecovery),
        2 => target().prop_map(Op::CommitRecovery),
        1 => (0..5_u32).prop_map(|limit| Op::Reap { limit }),
        1 => (0..5_u32).prop_map(|limit| Op::PurgeOutcomes { limit }),
        2 => (proptest::collection::vec(0..5_u8, 0..4), any_duty())
            .prop_map(|(nodes, duty)| Op::SetNodeDuty { nodes, duty }),
        1 => any::<Option<(u32, u64)>>().prop_map(Op::SetBalancer),
        1 => any_bool().prop_map(|truly| Op::EndBalancer { truly }),
        1 => any_bool().prop_map(Op::SetSafeMode),
        1 => Just(Op::RaiseLevel),
        3 => proptest::collection::vec((0..5_u8, any::<u16>(), 0..3_u64), 0..4).prop_map(Op::RecordNodes),
        1 => proptest::collection::vec(0..5_u8, 0..3).prop_map(Op::ForgetNodes),
    ];
    proptest::collection::vec(op, 1..most)
}

impl Op {
    /// The edit this step is, given what exists.
    pub(in crate::store::tests) fn edit(&self, model: &Model) -> Edit {
        let said = |target: &Target| model.said(target);
        match self {
            Self::Mkdir { path, parents } => {
                Edit::Mkdir { path: path.clone(), mode: Mode::DIRECTORY.into(), parents: *parents }
            }
            Self::Create { path, holder, overwrite, parents, temporary } => Edit::Create {
                path: path.clone(),
                holder: if *holder { "alice" } else { "bob" }.to_owned(),
                mode: Mode::FILE.into(),
                replication: 3,
                chunk_size: 1_024,
                overwrite: *overwrite,
                parents: *parents,
                temporary: *temporary,
            },
            Self::Rename { from, to, overwrite } => {
                Edit::Rename { from: from.clone(), to: to.clone(), overwrite: *overwrite }
            }
            Self::Delete { path, recursive, expects } => {
                let expected = model.expected(path, *expects);
                Edit::Delete { path: path.clone(), recursive: *recursive, expected }
            }
            Self::SetReplication { path, replication } => {
                Edit::SetReplication { path: path.clone(), replication: *replication }
            }
            Self::SetTimes { path, mtime } => {
                Edit::SetTimes { path: path.clone(), mtime: Some(Millis(*mtime)), atime: None }
            }
            Self::Touch(path) => Edit::Touch { path: path.clone() },
            Self::SetQuota { .. } | Self::Trash { .. } | Self::SetTrash { .. } | Self::TendTrash(_)
                if model.level < QUOTAS =>
            {
                Edit::PurgeOutcomes { limit: 1 }
            }
            Self::Trash { path, recursive, expects } => {
                let expected = model.expected(path, *expects);
                Edit::Trash { path: path.clone(), recursive: *recursive, expected }
            }
            Self::SetTrash { path, keeps } => {
                // Longer than any script takes.
                let hour = 60 * 60 * 1_000;
                let keep = keeps.map(|keeps| if keeps { hour } else { 0 });
                Edit::SetTrash { path: path.clone(), keep: change_to(keep, LimitChange::Clear) }
            }
            Self::TendTrash(path) => {
                Edit::TendTrash { root: model.trash_of(path).0, checkpoint: "251201144039".to_owned() }
            }
            Self::SetQuota { path, names, space } => Edit::SetQuota {
                path: path.clone(),
                names: change_to(*names, LimitChange::Keep),
                space: change_to(*space, LimitChange::Clear),
            },
            Self::Append { .. } | Self::Truncate { .. } | Self::Concat { .. } if model.level < APPENDS => {
                Edit::PurgeOutcomes { limit: 1 }
            }
            Self::Append { path, holder } => {
                Edit::Append { path: path.clone(), holder: if *holder { "alice" } else { "bob" }.to_owned() }
            }
            Self::Truncate { path, length } => Edit::Truncate { path: path.clone(), length: *length },
            Self::Concat { target, sources } => {
                Edit::Concat { target: target.clone(), sources: sources.clone() }
            }
            Self::AddChunk(target) => {
                let (inode, holder, previous) = said(target);
                Edit::AddChunk { inode, holder, previous, pipeline: model.nodes_for(target) }
            }
            Self::AbandonChunk(target) => {
                let (inode, holder, extent) = said(target);
                let chunk = extent.map_or(ChunkId(1), |extent| extent.chunk);
                Edit::AbandonChunk { inode, holder, chunk }
            }
            Self::CommitLength(target) => {
                let (inode, holder, extent) = said(target);
                Edit::CommitLength { inode, holder, extent: extent.unwrap_or(NO_CHUNK) }
            }
            Self::CommitChunk(target) => {
                let (inode, holder, extent) = said(target);
                Edit::CommitChunk { inode, holder, extent: extent.unwrap_or(NO_CHUNK) }
            }
            Self::Complete(target) => {
                let (inode, holder, last) = said(target);
                Edit::Complete { inode, holder, last, publish: None }
            }
            Self::Publish(target, to, overwrite) => {
                let (inode, holder, last) = said(target);
                let mtime = Some(Millis(target.length)).filter(|_| target.lie > 8);
                let publish = Publication { to: to.clone(), overwrite: *overwrite, mtime, atime: None };
                Edit::Complete { inode, holder, last, publish: Some(publish) }
            }
            Self::Discard(target) => {
                let (inode, holder, _) = said(target);
                Edit::Discard { inode, holder }
            }
            Self::NewGeneration(target) => {
                let (inode, holder, extent) = said(target);
                Edit::NewGeneration { inode, holder, chunk: extent.unwrap_or(NO_CHUNK).chunk }
            }
            Self::UpdatePipeline(target) => {
                let (inode, holder, extent) = said(target);
                // The stamp taken last, whoever took it.
                let generation = GenStamp(model.next_generation - u64::from(target.lie != 1));
                Edit::UpdatePipeline {
                    inode,
                    holder,
                    extent: Extent { generation, ..extent.unwrap_or(NO_CHUNK) },
                    pipeline: model.nodes_for(target),
                }
            }
            Self::BeginRecovery(target) => {
                let (inode, holder, _) = said(target);
                let holder = Some(holder).filter(|_| model.level >= APPENDS && target.lie % 2 == 0);
                Edit::BeginRecovery { inode, holder }
            }
            Self::CommitRecovery(target) => {
                let (inode, _, extent) = said(target);
                let chunks = model.node_by_id(inode).map_or(&[][..], |node| &node.chunks[..]);
                let before = chunks.len().checked_sub(2).filter(|_| target.file % 2 == 0);
                let chunk = before.map_or(chunks.last(), |before| chunks.get(before));
                let said = extent.unwrap_or(NO_CHUNK);
                let extent = Extent {
                    chunk: chunk.map_or(said.chunk, |chunk| chunk.id),
                    generation: chunk.and_then(|chunk| chunk.recovery).unwrap_or(GenStamp(1)),
                    ..said
                };
                Edit::CommitRecovery { extent, lossy: target.lie % 3 == 0 }
            }
            Self::Reap { limit } => Edit::Reap { limit: *limit },
            Self::PurgeOutcomes { limit } => Edit::PurgeOutcomes { limit: *limit },
            Self::SetNodeDuty { nodes, duty } => {
                let nodes = nodes.iter().map(|byte| node_of(*byte)).collect();
                Edit::SetNodeDuty { nodes, duty: *duty }
            }
            Self::SetBalancer(settings) => {
                let settings = settings.map(|(threshold_permille, bytes_per_second)| Balancing {
                    threshold_permille,
                    bytes_per_second,
                });
                Edit::SetBalancer { settings }
            }
            Self::EndBalancer { truly } => {
                let other = Balancing { threshold_permille: 1, bytes_per_second: 1 };
                Edit::EndBalancer { settings: model.balancer.filter(|_| *truly).unwrap_or(other) }
            }
            Self::RaiseLevel => Edit::RaiseLevel { to: LEVEL },
            // Below the level that has them no leader lets them into the log.
            Self::RecordNodes(_) | Self::ForgetNodes(_) if model.level < REGISTRY => {
                Edit::PurgeOutcomes { limit: 1 }
            }
            Self::RecordNodes(nodes) => Edit::RecordNodes { nodes: nodes.iter().map(seen).collect() },
            Self::ForgetNodes(nodes) => {
                Edit::ForgetNodes { nodes: nodes.iter().map(|byte| node_of(*byte)).collect() }
            }
            Self::SetSafeMode(on) => Edit::SetSafeMode { on: *on },
        }
    }
}

fn change_to(limit: Option<u64>, otherwise: LimitChange) -> LimitChange {
    limit.map_or(otherwise, LimitChange::Set)
}

fn node_of(byte: u8) -> NodeId {
    NodeId::from_bytes(&[byte; 16]).unwrap()
}

/// A node with as many volumes as its port has bits, up to three.
fn seen((byte, port, capacity): &(u8, u16, u64)) -> NodeSeen {
    let volume = |number: u8| VolumeRecord {
        id: VolumeId::from_bytes(&[*byte ^ number; 16]).unwrap(),
        path: format!("/v{number}"),
        storage: StorageType::ALL[usize::from(number) % 3],
        capacity: *capacity,
    };
    let address =
        Address { host: format!("h{byte}"), data_port: *port, http_port: 1, location: String::new() };
    let volumes = (0..port.count_ones().min(3) as u8).map(volume).collect();
    let record = NodeRecord { address, machine: String::new(), release: "1".to_owned(), volumes };
    NodeSeen { id: node_of(*byte), record, seen: Millis(u64::from(*port)) }
}

const NO_CHUNK: Extent = Extent { chunk: ChunkId(1), generation: GenStamp(1), length: 1 };
