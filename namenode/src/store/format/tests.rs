//! Golden bytes: what was stored once is read for ever.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use dfs_namenode_core::{Address, NodeRecord, VolumeRecord};
use dfs_types::format::LEVEL;
use dfs_types::{
    Acl, AclChange, AclEntry, AclKey, CallId, Caller, ChunkId, ClientId, ClusterSetting, CreateMode,
    FileKind, FileStatus, FsPath, GenStamp, InodeId, LimitChange, Millis, Mode, NodeDuty, NodeId, RequestId,
    StorageType, VolumeId, Xattr, XattrSetFlag,
};

use super::super::edit::{Balancing, Edit, Extent, NodeSeen, Outcome, Proposal, Publication};
use super::super::position::Members;
use super::super::record::{Batch, Record, Residence};
use super::envelope::{Kind, seal};
use super::{FormatError, decode_acl, encode_acl};

/// What was encoded by the first program of each level, one value a line: its name and its bytes. Lines are only added, and
/// only for values that need the latest level.
const GOLDEN: [(u16, &str); LEVEL as usize] = [
    (1, include_str!("golden/level-1.txt")),
    (2, include_str!("golden/level-2.txt")),
    (3, include_str!("golden/level-3.txt")),
];

fn path(text: &str) -> FsPath {
    FsPath::parse(text).unwrap()
}

fn extent(number: u64) -> Extent {
    Extent {
        chunk: ChunkId(1_073_741_825 + number),
        generation: GenStamp(1_001 + number),
        length: 67_108_864 - number,
    }
}

fn node(byte: u8) -> NodeId {
    NodeId::from_bytes(&[byte; 16]).unwrap()
}

fn node_seen() -> NodeSeen {
    let volume = |byte, storage| VolumeRecord {
        id: VolumeId::from_bytes(&[byte; 16]).unwrap(),
        path: format!("/data/{byte}"),
        storage,
        capacity: 1 << 40,
    };
    let address = Address {
        host: "dn-1.example".into(),
        data_port: 9_001,
        http_port: 9_101,
        location: "/zone/rack".into(),
    };
    let volumes =
        vec![volume(1, StorageType::Disk), volume(2, StorageType::Ssd), volume(3, StorageType::Archive)];
    let record = NodeRecord { address, machine: "worker-1".into(), release: "0.1.0".into(), volumes };
    NodeSeen { id: node(9), record, seen: Millis(1_700_000_000_000) }
}

/// A name for each kind of edit: a new kind does not compile until it has one, and fails until it has golden bytes.
fn name(edit: &Edit) -> &'static str {
    match edit {
        Edit::Mkdir { .. } => "mkdir",
        Edit::Create { .. } => "create",
        Edit::Append { .. } => "append",
        Edit::Truncate { .. } => "truncate",
        Edit::Concat { .. } => "concat",
        Edit::SetQuota { .. } => "set-quota",
        Edit::Trash { .. } => "trash",
        Edit::SetTrash { .. } => "set-trash",
        Edit::TendTrash { .. } => "tend-trash",
        Edit::ChangeAcl { .. } => "change-acl",
        Edit::SetXattr { .. } => "set-xattr",
        Edit::RemoveXattr { .. } => "remove-xattr",
        Edit::AddChunk { .. } => "add-chunk",
        Edit::AbandonChunk { .. } => "abandon-chunk",
        Edit::CommitLength { .. } => "commit-length",
        Edit::CommitChunk { .. } => "commit-chunk",
        Edit::Complete { .. } => "complete",
        Edit::Discard { .. } => "discard",
        Edit::NewGeneration { .. } => "new-generation",
        Edit::UpdatePipeline { .. } => "update-pipeline",
        Edit::Rename { .. } => "rename",
        Edit::Delete { .. } => "delete",
        Edit::SetReplication { .. } => "set-replication",
        Edit::SetMode { .. } => "set-mode",
        Edit::SetOwner { .. } => "set-owner",
        Edit::SetTimes { .. } => "set-times",
        Edit::Touch { .. } => "touch",
        Edit::BeginRecovery { .. } => "begin-recovery",
        Edit::CommitRecovery { .. } => "commit-recovery",
        Edit::Reap { .. } => "reap",
        Edit::SetNodeDuty { .. } => "set-node-duty",
        Edit::SetBalancer { .. } => "set-balancer",
        Edit::EndBalancer { .. } => "end-balancer",
        Edit::SetSafeMode { .. } => "set-safe-mode",
        Edit::SetSetting { .. } => "set-setting",
        Edit::PurgeOutcomes { .. } => "purge-outcomes",
        Edit::RaiseLevel { .. } => "raise-level",
        Edit::RecordNodes { .. } => "record-nodes",
        Edit::ForgetNodes { .. } => "forget-nodes",
    }
}

fn acl_entries() -> Vec<AclEntry> {
    AclEntry::parse_list("user:bob:r-x,group::-w-,group:crew:rwx,d:user::rwx,d:group::r,d:mask::r,d:other::-")
        .unwrap()
}

/// Those of ACLs and extended attributes.
fn edits_of_attributes() -> Vec<Edit> {
    let change = |change| Edit::ChangeAcl { path: path("/b"), change };
    let set = |name: &str, value: &[u8], flag| Edit::SetXattr {
        path: path("/b"),
        xattr: Xattr { name: name.parse().unwrap(), value: value.to_vec() },
        flag,
    };
    let masked = CreateMode { mode: Mode::new(0o750).unwrap(), unmasked: Some(Mode::new(0o777).unwrap()) };
    vec![
        Edit::Mkdir { path: path("/a"), mode: masked, parents: true },
        Edit::Create {
            path: path("/a/ü"),
            holder: "client-1".into(),
            mode: masked,
            replication: 3,
            chunk_size: 67_108_864,
            overwrite: true,
            parents: true,
            temporary: true,
        },
        change(AclChange::Set(acl_entries())),
        change(AclChange::Set(vec![])),
        change(AclChange::Modify(acl_entries())),
        change(AclChange::RemoveEntries(AclKey::parse_list("user:bob,default:mask").unwrap())),
        change(AclChange::Remove),
        change(AclChange::RemoveDefault),
        set("user.a", b"", XattrSetFlag::CreateOrReplace),
        set("trusted.a", &[0, 255], XattrSetFlag::Create),
        set("security.a", b"v", XattrSetFlag::Replace),
        set("system.a", b"v", XattrSetFlag::Replace),
        Edit::RemoveXattr { path: path("/b"), name: "raw.a".parse().unwrap() },
    ]
}

/// Every kind, each with all its fields and, where some may be missing, without them.
fn edits() -> Vec<Edit> {
    let (inode, holder) = (InodeId(16_386), "client-1".to_owned());
    let settings = Balancing { threshold_permille: 100, bytes_per_second: 10_000_000 };
    let mut all = vec![
        Edit::Mkdir { path: path("/a"), mode: Mode::DIRECTORY.into(), parents: true },
        Edit::Create {
            path: path("/a/ü"),
            holder: holder.clone(),
            mode: Mode::FILE.into(),
            replication: 3,
            chunk_size: 67_108_864,
            overwrite: true,
            parents: true,
            temporary: true,
        },
        Edit::Append { path: path("/a/ü"), holder: holder.clone() },
        Edit::Truncate { path: path("/a/ü"), length: 67_108_865 },
        Edit::Concat { target: path("/a/ü"), sources: vec![path("/a/b"), path("/a/c")] },
        Edit::Trash { path: path("/a/ü"), recursive: true, expected: Some(inode) },
        Edit::SetTrash { path: path("/a"), keep: LimitChange::Set(86_400_000) },
        Edit::TendTrash { root: path("/user/ann/.Trash"), checkpoint: "251201144039".into() },
        Edit::SetQuota { path: path("/a"), names: LimitChange::Set(3), space: LimitChange::Clear },
        Edit::SetQuota { path: path("/a"), names: LimitChange::Keep, space: LimitChange::Set(0) },
        Edit::AddChunk { inode, holder: holder.clone(), previous: Some(extent(0)), pipeline: vec![] },
        Edit::AddChunk { inode, holder: holder.clone(), previous: None, pipeline: vec![] },
        Edit::AbandonChunk { inode, holder: holder.clone(), chunk: ChunkId(1_073_741_825) },
        Edit::CommitLength { inode, holder: holder.clone(), extent: extent(1) },
        Edit::CommitChunk { inode, holder: holder.clone(), extent: extent(2) },
        Edit::Complete {
            inode,
            holder: holder.clone(),
            last: Some(extent(3)),
            publish: Some(Publication {
                to: path("/b"),
                overwrite: true,
                mtime: Some(Millis(1)),
                atime: Some(Millis(0)),
            }),
        },
        Edit::Complete { inode, holder: holder.clone(), last: None, publish: None },
        Edit::Discard { inode, holder: holder.clone() },
        Edit::NewGeneration { inode, holder: holder.clone(), chunk: ChunkId(1_073_741_825) },
        Edit::UpdatePipeline { inode, holder, extent: extent(4), pipeline: vec![] },
        Edit::Rename { from: path("/a"), to: path("/b"), overwrite: true },
        Edit::Delete { path: path("/"), recursive: true, expected: Some(InodeId(0)) },
        Edit::Delete { path: path("/b"), recursive: false, expected: None },
        Edit::SetReplication { path: path("/b"), replication: 2 },
        Edit::SetMode { path: path("/b"), mode: Mode::new(0o1777).unwrap() },
        Edit::SetOwner { path: path("/b"), owner: Some("ann".into()), group: None },
        Edit::SetOwner { path: path("/b"), owner: None, group: Some(String::new()) },
        Edit::SetTimes { path: path("/b"), mtime: Some(Millis(u64::MAX)), atime: None },
        Edit::SetTimes { path: path("/b"), mtime: None, atime: Some(Millis(0)) },
        Edit::Touch { path: path("/b") },
        Edit::BeginRecovery { inode, holder: None },
        Edit::BeginRecovery { inode, holder: Some("client-1".into()) },
        Edit::CommitRecovery { extent: extent(5), lossy: true },
        Edit::Reap { limit: 1_000 },
        Edit::SetNodeDuty { nodes: vec![node(1), node(2)], duty: NodeDuty::Decommission },
        Edit::SetNodeDuty { nodes: vec![node(3)], duty: NodeDuty::Maintenance { until: Millis(0) } },
        Edit::SetNodeDuty { nodes: vec![], duty: NodeDuty::InService },
        Edit::SetBalancer { settings: Some(settings) },
        Edit::SetBalancer { settings: None },
        Edit::EndBalancer { settings },
        Edit::SetSafeMode { on: true },
        Edit::SetSetting { setting: ClusterSetting::Umask, value: Some(0o27) },
        Edit::SetSetting { setting: ClusterSetting::AccessTimePrecision, value: Some(3_600_000) },
        Edit::SetSetting { setting: ClusterSetting::Umask, value: None },
        Edit::PurgeOutcomes { limit: 64 },
        Edit::AddChunk {
            inode,
            holder: "client-1".into(),
            previous: Some(extent(0)),
            pipeline: vec![node(4), node(5), node(6)],
        },
        Edit::UpdatePipeline { inode, holder: "client-1".into(), extent: extent(4), pipeline: vec![node(5)] },
        Edit::RaiseLevel { to: 2 },
        Edit::RecordNodes { nodes: vec![node_seen()] },
        Edit::ForgetNodes { nodes: vec![node(7), node(8)] },
    ];
    all.append(&mut edits_of_attributes());
    all
}

fn outcomes() -> Vec<(&'static str, Outcome)> {
    let status = FileStatus {
        inode: InodeId(16_386),
        kind: FileKind::File,
        owner: "ann".into(),
        group: "staff".into(),
        mode: Mode::FILE,
        mtime: Millis(1_700_000_000_000),
        atime: Millis(1),
        length: 5,
        replication: 3,
        chunk_size: 67_108_864,
        children: 0,
        open: true,
        has_acl: false,
    };
    let directory = FileStatus { kind: FileKind::Directory, children: 7, open: false, ..status.clone() };
    let with_acl = FileStatus { has_acl: true, ..directory.clone() };
    let all = vec![
        Outcome::Done,
        Outcome::Status(status),
        Outcome::Status(directory),
        Outcome::ChunkAdded {
            chunk: ChunkId(1_073_741_825),
            generation: GenStamp(1_001),
            index: 2,
            offset: 134_217_728,
        },
        Outcome::Generation(GenStamp(1_002)),
        Outcome::Deleted(true),
        Outcome::Trashed(path("/user/ann/.Trash/Current/ü")),
        Outcome::Deleted(false),
        Outcome::DeleteInParts,
        Outcome::Recovery { closed: false, chunks: vec![extent(1), extent(2)] },
        Outcome::Recovery { closed: true, chunks: vec![] },
        Outcome::Reaped { inodes: 12, more: true },
        Outcome::Status(with_acl),
    ];
    let name = |outcome: &Outcome| match outcome {
        Outcome::Done => "done",
        Outcome::Status(_) => "status",
        Outcome::ChunkAdded { .. } => "chunk-added",
        Outcome::Generation(_) => "generation",
        Outcome::Deleted(_) => "deleted",
        Outcome::Trashed(_) => "trashed",
        Outcome::DeleteInParts => "delete-in-parts",
        Outcome::Recovery { .. } => "recovery",
        Outcome::Reaped { .. } => "reaped",
    };
    all.into_iter().map(|outcome| (name(&outcome), outcome)).collect()
}

fn acl() -> Acl {
    Acl::from_entries(acl_entries()).unwrap().unwrap()
}

fn members() -> Members {
    Members {
        voters: vec![1, 2],
        learners: vec![3],
        voters_outgoing: vec![4],
        learners_next: vec![5, u64::MAX],
        auto_leave: true,
    }
}

fn residence() -> Residence {
    Residence { id: 3, address: "nn-3:9000".into() }
}

fn records() -> Vec<(&'static str, Record)> {
    let proposal = |edit: Edit| Proposal {
        request: Some(RequestId {
            client: ClientId::from_bytes(&[7; 16]).unwrap(),
            call: CallId(9),
            lowest_unanswered: CallId(8),
        }),
        caller: Some(Caller { user: "ann".into(), groups: vec!["staff".into(), "wheel".into()] }),
        now: Millis(1_700_000_000_000),
        edit,
    };
    let batch = |proposals| Record::Edits(Batch { clock: Millis(11), superuser: "root".into(), proposals });
    let mut all: Vec<_> =
        edits().into_iter().map(|edit| (name(&edit), batch(vec![proposal(edit)]))).collect();
    let own = Proposal { request: None, caller: None, now: Millis(0), edit: Edit::Reap { limit: 1 } };
    all.push(("batch", batch(vec![own, proposal(Edit::Touch { path: path("/") })])));
    all.push(("moved", Record::Moved(residence())));
    all
}

/// Numbers values of one name and level.
#[derive(Default)]
struct Numbers(BTreeMap<(u16, String), u32>);

impl Numbers {
    fn name(&mut self, level: u16, name: String) -> String {
        let count = self.0.entry((level, name.clone())).and_modify(|count| *count += 1).or_insert(1);
        format!("{name} {count}")
    }
}

/// The level in a value's envelope.
fn level_of(sealed: &[u8]) -> u16 {
    u16::from_le_bytes([sealed[6], sealed[7]])
}

/// Every value with the level that it needs, its name, and what it is stored as.
fn encoded() -> Vec<(u16, String, Vec<u8>)> {
    let mut all: Vec<(String, Vec<u8>)> = Vec::new();
    for (name, record) in records() {
        all.push((format!("record {name}"), record.encode().unwrap()));
    }
    for (name, outcome) in outcomes() {
        all.push((format!("outcome {name}"), outcome.encode().unwrap()));
    }
    all.push(("members all".into(), members().encode().unwrap()));
    all.push(("residence all".into(), residence().encode().unwrap()));
    all.push(("acl all".into(), encode_acl(&acl()).unwrap()));
    let mut numbers = Numbers::default();
    let numbered = all.into_iter().map(|(name, bytes)| {
        let level = level_of(&bytes);
        (level, numbers.name(level, name), bytes)
    });
    numbered.collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn bytes(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn golden() -> BTreeMap<(u16, String), Vec<u8>> {
    let of_level = |(level, text): (u16, &'static str)| {
        text.lines()
            .map(|line| line.rsplit_once(' ').unwrap())
            .map(move |(name, hex)| ((level, name.to_owned()), bytes(hex)))
    };
    GOLDEN.into_iter().flat_map(of_level).collect()
}

/// With `DFS_WRITE_GOLDEN=1` the latest level's file is written, while that level is not released.
#[test]
fn what_is_stored_is_what_was_stored() {
    for (level, golden) in GOLDEN {
        let mut now = String::new();
        for (_, name, bytes) in encoded().into_iter().filter(|(of, ..)| *of == level) {
            writeln!(now, "{name} {}", hexadecimal(&bytes)).unwrap();
        }
        if level == LEVEL && std::env::var_os("DFS_WRITE_GOLDEN").is_some() {
            let file = Path::new(&std::env::var_os("CARGO_MANIFEST_DIR").unwrap())
                .join(format!("src/store/format/golden/level-{level}.txt"));
            std::fs::write(file, &now).unwrap();
            return;
        }
        for (now, golden) in now.lines().zip(golden.lines()) {
            assert_eq!(
                now, golden,
                "a stored type changed: it needs a new feature level and a sample of its own"
            );
        }
        assert_eq!(now, golden, "a kind is missing in golden/level-{level}.txt");
    }
}

#[test]
fn what_was_stored_is_read() {
    let (mut golden, mut numbers) = (golden(), Numbers::default());
    let mut take = |level, name: &str| {
        let name = numbers.name(level, name.to_owned());
        golden.remove(&(level, name.clone())).unwrap_or_else(|| panic!("{name} is missing at level {level}"))
    };
    for (name, record) in records() {
        let bytes = take(record.level(), &format!("record {name}"));
        assert_eq!(Record::decode(&bytes).unwrap(), record);
    }
    for (name, outcome) in outcomes() {
        let bytes = take(outcome.level(), &format!("outcome {name}"));
        assert_eq!(Outcome::decode(&bytes).unwrap(), outcome);
    }
    assert_eq!(Members::decode(&take(1, "members all")).unwrap(), members());
    assert_eq!(Residence::decode(&take(1, "residence all")).unwrap(), residence());
    assert_eq!(decode_acl(&take(3, "acl all")).unwrap(), Some(acl()));
    assert!(golden.is_empty(), "no sample is left for {:?}", golden.keys());
}

#[test]
fn what_is_damaged_or_of_another_kind_or_later_is_refused() {
    let whole = residence().encode().unwrap();
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        assert!(matches!(Residence::decode(&flipped), Err(FormatError::Damaged { .. })), "byte {at}");
        assert!(matches!(Residence::decode(&whole[..at]), Err(FormatError::Damaged { .. })), "{at} bytes");
    }
    assert!(
        matches!(Members::decode(&whole), Err(FormatError::Damaged { .. })),
        "an address is no list of members"
    );
    let later = LEVEL + 1;
    let later = seal(Kind::Record, later, &dfs_proto::stored::Record::from(&records()[0].1)).unwrap();
    let error = Record::decode(&later).unwrap_err();
    assert!(matches!(error, FormatError::TooNew { needed, .. } if needed > LEVEL), "{error}");
    for word in [format!("level {}", LEVEL + 1), format!("up to {LEVEL}"), env!("CARGO_PKG_VERSION").into()] {
        assert!(error.to_string().contains(&word), "{error}");
    }
    // The kind of an edit that is not known here, at a level that is.
    let unknown = dfs_proto::stored::Batch {
        proposals: vec![dfs_proto::stored::Proposal::default()],
        ..Default::default()
    };
    let unknown = dfs_proto::stored::Record { kind: Some(dfs_proto::stored::record::Kind::Edits(unknown)) };
    let error = Record::decode(&seal(Kind::Record, 1, &unknown).unwrap()).unwrap_err();
    assert!(matches!(error, FormatError::Damaged { .. }), "{error}");
}
