//! Messages of `values.proto`.

use dfs_types::limits::{MAX_LOCATION_BYTES, MAX_PIPELINE};
use dfs_types::{
    Address, CallId, Caller, ChunkId, ClientId, ClusterId, Endpoint, Extent, FileKind, FileStatus,
    FileSystemId, FsError, FsPath, FsResult, GenStamp, InodeId, Layout, LocatedChunk, Millis, Mode, NodeId,
    NodeState, Publication, ReplicaRecord, ReplicaState, RequestId, StorageType, Volume, VolumeHealth,
    VolumeId,
};

use crate::{stored, v1};

/// The error that a request lacks a part.
pub fn missing(what: &str) -> FsError {
    FsError::invalid(format!("the request lacks '{what}'"))
}

macro_rules! id_from_bytes {
    ($($(#[$doc:meta])* $function:ident: $type:ident),*) => {$(
        $(#[$doc])*
        pub fn $function(bytes: &[u8]) -> FsResult<$type> {
            $type::from_bytes(bytes).ok_or_else(|| {
                FsError::invalid(format!("{} has {} bytes: 16 are needed", stringify!($function), bytes.len()))
            })
        }
    )*};
}

id_from_bytes! {
    /// Reads a node id.
    node_id: NodeId,
    /// Reads a cluster id.
    cluster_id: ClusterId,
    /// Reads a volume id.
    volume_id: VolumeId,
    /// Reads a client id.
    client_id: ClientId
}

/// Reads how a chunk's bytes lie.
pub fn layout(layout: Option<v1::Layout>) -> FsResult<Layout> {
    match layout.and_then(|layout| layout.kind) {
        Some(v1::layout::Kind::Replicated(v1::Replicated { replicas })) => {
            Ok(Layout::Replicated { replicas })
        }
        None => Err(FsError::internal(
            "a chunk lies in a way that this program does not know: use a later release",
        )),
    }
}

/// The wire's value for how a chunk's bytes lie.
pub fn wire_layout(layout: Layout) -> v1::Layout {
    let kind = match layout {
        Layout::Replicated { replicas } => v1::layout::Kind::Replicated(v1::Replicated { replicas }),
    };
    v1::Layout { kind: Some(kind) }
}

/// Reads how a volume is.
pub fn volume_health(health: v1::VolumeHealth) -> FsResult<VolumeHealth> {
    match health {
        v1::VolumeHealth::Healthy => Ok(VolumeHealth::Healthy),
        v1::VolumeHealth::Suspect => Ok(VolumeHealth::Suspect),
        v1::VolumeHealth::Failed => Ok(VolumeHealth::Failed),
        v1::VolumeHealth::Unspecified => Err(missing("volume.health")),
    }
}

/// The wire's value for how a volume is.
pub fn wire_volume_health(health: VolumeHealth) -> v1::VolumeHealth {
    match health {
        VolumeHealth::Healthy => v1::VolumeHealth::Healthy,
        VolumeHealth::Suspect => v1::VolumeHealth::Suspect,
        VolumeHealth::Failed => v1::VolumeHealth::Failed,
    }
}

macro_rules! storage_types {
    ($($wire:path),*) => {$(
        impl From<$wire> for StorageType {
            fn from(storage: $wire) -> Self {
                match storage {
                    <$wire>::Disk => Self::Disk,
                    <$wire>::Ssd => Self::Ssd,
                    <$wire>::Archive => Self::Archive,
                }
            }
        }

        impl From<StorageType> for $wire {
            fn from(storage: StorageType) -> Self {
                match storage {
                    StorageType::Disk => Self::Disk,
                    StorageType::Ssd => Self::Ssd,
                    StorageType::Archive => Self::Archive,
                }
            }
        }
    )*};
}

storage_types!(v1::StorageType, stored::StorageType);

/// Reads a wish for storage, or what is known of it. Of a type that only a later release knows nothing is known.
pub fn known_storage(wire: Option<i32>) -> Option<StorageType> {
    wire.and_then(|wire| v1::StorageType::try_from(wire).ok()).map(StorageType::from)
}

/// Reads the id of the file system a volume is on; empty: its node does not know.
pub fn volume_file_system(bytes: &[u8]) -> FsResult<Option<FileSystemId>> {
    let wrong = || FsError::invalid(format!("the file system's id has {} bytes: 16 are needed", bytes.len()));
    if bytes.is_empty() { Ok(None) } else { FileSystemId::from_bytes(bytes).ok_or_else(wrong).map(Some) }
}

/// The wire's bytes for it.
pub fn wire_file_system(id: Option<FileSystemId>) -> Vec<u8> {
    id.map_or_else(Vec::new, |id| id.as_bytes().to_vec())
}

/// `None` for an empty text, which stands for an absent one in proto3.
pub fn empty_as_none(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// Checks a path.
pub fn path(text: &str) -> FsResult<FsPath> {
    Ok(FsPath::parse(text)?)
}

/// Reads who asks and, on mutations, which request it is.
pub fn context(context: Option<v1::Context>) -> FsResult<(Option<RequestId>, Caller)> {
    let context = context.ok_or_else(|| missing("context"))?;
    let id = context.id.map(request_id).transpose()?;
    Ok((id, caller(context.caller.ok_or_else(|| missing("context.caller"))?)?))
}

/// Reads a request id.
pub fn request_id(id: v1::RequestId) -> FsResult<RequestId> {
    Ok(RequestId {
        client: client_id(&id.client)?,
        call: CallId(id.call),
        lowest_unanswered: CallId(id.lowest_unanswered),
    })
}

impl From<RequestId> for v1::RequestId {
    fn from(id: RequestId) -> Self {
        let RequestId { client, call, lowest_unanswered } = id;
        let client = client.as_bytes().to_vec();
        Self { client, call: call.0, lowest_unanswered: lowest_unanswered.0 }
    }
}

/// Reads and checks a caller.
pub fn caller(caller: v1::Caller) -> FsResult<Caller> {
    Caller::new(caller.user, caller.groups)
}

impl From<Caller> for v1::Caller {
    fn from(caller: Caller) -> Self {
        Self { user: caller.user, groups: caller.groups }
    }
}

/// The message for a status.
pub fn wire_file_status(status: FileStatus) -> v1::FileStatus {
    let FileStatus {
        inode,
        kind,
        owner,
        group,
        mode,
        mtime,
        atime,
        length,
        replication,
        chunk_size,
        children,
        open,
        has_acl,
    } = status;
    let kind = match kind {
        FileKind::File => v1::FileKind::File,
        FileKind::Directory => v1::FileKind::Directory,
    };
    v1::FileStatus {
        inode: inode.0,
        kind: kind.into(),
        owner,
        group,
        mode: mode.bits(),
        mtime: mtime.0,
        atime: atime.0,
        length,
        replication,
        chunk_size,
        children,
        open,
        has_acl,
    }
}

/// Reads a status.
pub fn file_status(status: v1::FileStatus) -> FsResult<FileStatus> {
    let kind = match status.kind() {
        v1::FileKind::File => FileKind::File,
        v1::FileKind::Directory => FileKind::Directory,
        v1::FileKind::Unspecified => return Err(missing("status.kind")),
    };
    Ok(FileStatus {
        inode: InodeId(status.inode),
        kind,
        owner: status.owner,
        group: status.group,
        mode: Mode::new(status.mode)?,
        mtime: Millis(status.mtime),
        atime: Millis(status.atime),
        length: status.length,
        replication: status.replication,
        chunk_size: status.chunk_size,
        children: status.children,
        open: status.open,
        has_acl: status.has_acl,
    })
}

impl From<v1::ChunkExtent> for Extent {
    fn from(extent: v1::ChunkExtent) -> Self {
        Self { chunk: ChunkId(extent.chunk), generation: GenStamp(extent.generation), length: extent.length }
    }
}

impl From<Extent> for v1::ChunkExtent {
    fn from(extent: Extent) -> Self {
        Self { chunk: extent.chunk.0, generation: extent.generation.0, length: extent.length }
    }
}

impl From<stored::Extent> for Extent {
    fn from(extent: stored::Extent) -> Self {
        Self { chunk: ChunkId(extent.chunk), generation: GenStamp(extent.generation), length: extent.length }
    }
}

impl From<Extent> for stored::Extent {
    fn from(extent: Extent) -> Self {
        Self { chunk: extent.chunk.0, generation: extent.generation.0, length: extent.length }
    }
}

impl TryFrom<v1::Publication> for Publication {
    type Error = FsError;

    fn try_from(publication: v1::Publication) -> FsResult<Self> {
        let v1::Publication { to, overwrite, mtime, atime } = publication;
        Ok(Self { to: path(&to)?, overwrite, mtime: mtime.map(Millis), atime: atime.map(Millis) })
    }
}

impl From<Publication> for v1::Publication {
    fn from(publication: Publication) -> Self {
        let Publication { to, overwrite, mtime, atime } = publication;
        Self {
            to: to.to_string(),
            overwrite,
            mtime: mtime.map(|time| time.0),
            atime: atime.map(|time| time.0),
        }
    }
}

/// Reads whether a DataNode is heard of.
pub fn node_state(state: v1::NodeState) -> FsResult<NodeState> {
    match state {
        v1::NodeState::Live => Ok(NodeState::Live),
        v1::NodeState::Stale => Ok(NodeState::Stale),
        v1::NodeState::Dead => Ok(NodeState::Dead),
        v1::NodeState::Unspecified => Err(missing("node.state")),
    }
}

/// The wire's value for whether a DataNode is heard of.
pub fn wire_node_state(state: NodeState) -> v1::NodeState {
    match state {
        NodeState::Live => v1::NodeState::Live,
        NodeState::Stale => v1::NodeState::Stale,
        NodeState::Dead => v1::NodeState::Dead,
    }
}

/// Reads a volume.
pub fn volume(volume: v1::VolumeStatus) -> FsResult<Volume> {
    Ok(Volume {
        id: volume_id(&volume.id)?,
        file_system: volume_file_system(&volume.file_system)?,
        storage: volume.storage_type().into(),
        health: volume_health(volume.health())?,
        path: volume.path,
        capacity: volume.capacity,
        used: volume.used,
        available: volume.available,
        replicas: volume.replicas,
    })
}

/// The message for a volume.
pub fn wire_volume(volume: Volume) -> v1::VolumeStatus {
    let Volume { id, path, file_system, storage, health, capacity, used, available, replicas } = volume;
    v1::VolumeStatus {
        id: id.as_bytes().to_vec(),
        path,
        health: wire_volume_health(health).into(),
        capacity,
        used,
        available,
        replicas,
        file_system: wire_file_system(file_system),
        storage_type: v1::StorageType::from(storage).into(),
    }
}

impl TryFrom<v1::Node> for Endpoint {
    type Error = FsError;

    fn try_from(node: v1::Node) -> FsResult<Self> {
        let port = |name: &str, port: u32| {
            u16::try_from(port).map_err(|_| FsError::invalid(format!("{name} {port} is not a port number")))
        };
        if node.host.is_empty() || node.host.len() > 255 {
            return Err(FsError::invalid(format!("a node's host has {} bytes: 1 to 255", node.host.len())));
        }
        if node.location.len() > MAX_LOCATION_BYTES {
            return Err(FsError::invalid(format!(
                "a node's location has more than {MAX_LOCATION_BYTES} bytes"
            )));
        }
        let storage = known_storage(node.storage_type);
        let (data_port, http_port) = (port("data_port", node.data_port)?, port("http_port", node.http_port)?);
        let at = Address { host: node.host, data_port, http_port, location: node.location };
        Ok(Self { id: node_id(&node.id)?, at, storage })
    }
}

/// Reads the nodes of a pipeline; more than one may have are refused.
pub fn pipeline(nodes: Vec<v1::Node>) -> FsResult<Vec<Endpoint>> {
    if nodes.len() > MAX_PIPELINE {
        return Err(FsError::invalid(format!("{} nodes are given: at most {MAX_PIPELINE}", nodes.len())));
    }
    nodes.into_iter().map(Endpoint::try_from).collect()
}

impl From<Endpoint> for v1::Node {
    fn from(endpoint: Endpoint) -> Self {
        let Endpoint { id, at: Address { host, data_port, http_port, location }, storage } = endpoint;
        Self {
            id: id.as_bytes().to_vec(),
            host,
            data_port: data_port.into(),
            http_port: http_port.into(),
            location,
            storage_type: storage.map(|storage| v1::StorageType::from(storage).into()),
        }
    }
}

/// Largest file offset.
const MAX_OFFSET: u64 = i64::MAX as u64;

impl TryFrom<v1::LocatedChunk> for LocatedChunk {
    type Error = FsError;

    fn try_from(chunk: v1::LocatedChunk) -> FsResult<Self> {
        let v1::LocatedChunk {
            chunk,
            generation,
            index,
            offset,
            chunk_offset,
            layout: lies,
            length,
            nodes,
            under_construction,
            corrupt,
        } = chunk;
        let ends = |begin: u64| begin.checked_add(length).is_some_and(|end| end <= MAX_OFFSET);
        if !ends(offset) || !ends(chunk_offset) {
            return Err(FsError::internal(format!("chunk {chunk} lies outside of any file")));
        }
        Ok(Self {
            chunk: ChunkId(chunk),
            generation: GenStamp(generation),
            index,
            offset,
            chunk_offset,
            layout: layout(lies)?,
            length,
            nodes: nodes.into_iter().map(Endpoint::try_from).collect::<FsResult<_>>()?,
            under_construction,
            corrupt,
        })
    }
}

impl From<LocatedChunk> for v1::LocatedChunk {
    fn from(located: LocatedChunk) -> Self {
        let LocatedChunk { chunk, generation, index, offset, chunk_offset, layout, .. } = located;
        let LocatedChunk { length, nodes, under_construction, corrupt, .. } = located;
        Self {
            chunk: chunk.0,
            generation: generation.0,
            index,
            offset,
            chunk_offset,
            layout: Some(wire_layout(layout)),
            length,
            nodes: nodes.into_iter().map(v1::Node::from).collect(),
            under_construction,
            corrupt,
        }
    }
}

/// Most volumes that a report names.
const MAX_VOLUMES: usize = 1_024;

/// Reads the list of volumes that the lines of a report point into.
pub fn report_volumes(volumes: &[Vec<u8>]) -> FsResult<Vec<VolumeId>> {
    if volumes.len() > MAX_VOLUMES {
        return Err(FsError::invalid(format!(
            "a report names {} volumes: at most {MAX_VOLUMES}",
            volumes.len()
        )));
    }
    volumes.iter().map(|id| volume_id(id)).collect()
}

/// Reads what is said of a replica, in a message with this list of volumes.
pub fn replica_record(record: v1::ReplicaRecord, volumes: &[VolumeId]) -> FsResult<ReplicaRecord> {
    let state = match record.state() {
        v1::ReplicaState::Finalized => ReplicaState::Finalized,
        v1::ReplicaState::Rbw => ReplicaState::Rbw,
        v1::ReplicaState::Rwr => ReplicaState::Rwr,
        v1::ReplicaState::Corrupt => ReplicaState::Corrupt,
        v1::ReplicaState::Unspecified => return Err(missing("replica.state")),
    };
    let unlisted =
        || FsError::invalid(format!("a replica is on volume {} of {}", record.volume, volumes.len()));
    let volume = match (record.volume as usize).checked_sub(1) {
        None => None,
        Some(at) => Some(*volumes.get(at).ok_or_else(unlisted)?),
    };
    Ok(ReplicaRecord {
        chunk: ChunkId(record.chunk),
        generation: GenStamp(record.generation),
        length: record.length,
        state,
        volume,
    })
}

/// The message for a replica, in one with this list of volumes: its own is added if it is not there.
pub fn wire_replica_record(record: ReplicaRecord, volumes: &mut Vec<VolumeId>) -> v1::ReplicaRecord {
    let state = match record.state {
        ReplicaState::Finalized => v1::ReplicaState::Finalized,
        ReplicaState::Rbw => v1::ReplicaState::Rbw,
        ReplicaState::Rwr => v1::ReplicaState::Rwr,
        ReplicaState::Corrupt => v1::ReplicaState::Corrupt,
    };
    let volume = record.volume.map_or(0, |volume| {
        let at = volumes.iter().position(|there| *there == volume).unwrap_or_else(|| {
            volumes.push(volume);
            volumes.len() - 1
        });
        at as u32 + 1
    });
    v1::ReplicaRecord {
        chunk: record.chunk.0,
        generation: record.generation.0,
        length: record.length,
        state: state.into(),
        volume,
    }
}

/// The message for a replica, in one that names no volumes.
pub fn wire_replica_alone(record: ReplicaRecord) -> v1::ReplicaRecord {
    wire_replica_record(ReplicaRecord { volume: None, ..record }, &mut Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_nodes_are_refused() {
        let good = v1::Node {
            id: vec![7; 16],
            host: "10.0.0.1".into(),
            data_port: 9_001,
            http_port: 9_864,
            location: String::new(),
            storage_type: None,
        };
        let read = Endpoint::try_from(good.clone()).unwrap();
        assert_eq!((read.address().as_str(), read.storage), ("10.0.0.1:9001", None));
        let on_ssd = Endpoint { storage: Some(StorageType::Ssd), ..read };
        assert_eq!(Endpoint::try_from(v1::Node::from(on_ssd.clone())).unwrap(), on_ssd);
        let later = v1::Node { storage_type: Some(3), ..good.clone() };
        assert_eq!(Endpoint::try_from(later).unwrap().storage, None, "not DISK");
        for bad in [
            v1::Node { id: vec![7; 15], ..good.clone() },
            v1::Node { host: String::new(), ..good.clone() },
            v1::Node { data_port: 70_000, ..good.clone() },
            v1::Node { location: "/r".repeat(200), ..good.clone() },
        ] {
            assert!(Endpoint::try_from(bad).is_err());
        }
        let v6 = v1::Node { host: "::1".into(), ..good };
        assert_eq!(Endpoint::try_from(v6).unwrap().address(), "[::1]:9001");
    }

    #[test]
    fn replicas_point_into_the_list_of_volumes() {
        let volume = |n: u8| VolumeId::from_bytes(&[n; 16]).unwrap();
        let record = |volume| ReplicaRecord {
            chunk: ChunkId(1),
            generation: GenStamp(1_001),
            length: 5,
            state: ReplicaState::Finalized,
            volume,
        };
        let mut list = Vec::new();
        for (on, at) in [(Some(volume(2)), 1), (Some(volume(1)), 2), (None, 0), (Some(volume(2)), 1)] {
            let wire = wire_replica_record(record(on), &mut list);
            assert_eq!(wire.volume, at);
            assert_eq!(replica_record(wire, &list).unwrap(), record(on));
        }
        assert_eq!(list, [volume(2), volume(1)]);
        let beyond = wire_replica_record(record(Some(volume(1))), &mut list);
        assert!(replica_record(beyond, &list[..1]).is_err());
        assert_eq!(wire_replica_alone(record(Some(volume(1)))).volume, 0);
        assert!(report_volumes(&vec![vec![7; 16]; MAX_VOLUMES + 1]).is_err());
        assert!(report_volumes(&[vec![7; 15]]).is_err());
    }

    #[test]
    fn a_mutation_without_caller_is_refused() {
        assert!(context(None).is_err());
        assert!(context(Some(v1::Context::default())).is_err());
    }
}
