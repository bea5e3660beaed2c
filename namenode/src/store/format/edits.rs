//! Entries of the log as protobuf.

use dfs_namenode_core::{Address, NodeRecord, VolumeRecord};
use dfs_proto::convert::xattr_name;
use dfs_proto::stored;
use dfs_proto::stored::proposal::Edit as Stored;
use dfs_types::{
    CallId, Caller, ChunkId, ClientId, CreateMode, FsPath, InodeId, LimitChange, Millis, Mode, NodeDuty,
    NodeId, RequestId, VolumeId, Xattr, XattrName,
};

use super::super::edit::{Balancing, Edit, Extent, NodeSeen, Proposal, Publication};
use super::super::position::Members;
use super::super::record::{Batch, Record, Residence};

/// Why stored fields are no value.
pub(super) type Why = String;

fn missing(what: &str) -> impl FnOnce() -> Why {
    let why = format!("{what} is missing");
    move || why
}

pub(super) fn path(text: &str) -> Result<FsPath, Why> {
    FsPath::parse(text).map_err(|error| error.to_string())
}

pub(super) fn mode(bits: u32) -> Result<Mode, Why> {
    Mode::new(bits).map_err(|error| error.to_string())
}

fn create_mode(bits: u32, unmasked: Option<u32>) -> Result<CreateMode, Why> {
    Ok(CreateMode { mode: mode(bits)?, unmasked: unmasked.map(mode).transpose()? })
}

fn xattr(space: Result<stored::XattrSpace, prost::UnknownEnumValue>, name: String) -> Result<XattrName, Why> {
    let space = space.map_err(|error| error.to_string())?;
    xattr_name(space, name).map_err(|error| error.to_string())
}

impl From<&Record> for stored::Record {
    fn from(record: &Record) -> Self {
        let kind = match record {
            Record::Edits(Batch { clock, superuser, proposals }) => {
                stored::record::Kind::Edits(stored::Batch {
                    clock_ms: clock.0,
                    superuser: superuser.clone(),
                    proposals: proposals.iter().map(Into::into).collect(),
                })
            }
            Record::Moved(residence) => stored::record::Kind::Moved(residence.into()),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<stored::Record> for Record {
    type Error = Why;

    fn try_from(record: stored::Record) -> Result<Self, Why> {
        match record.kind.ok_or_else(missing("what it does"))? {
            stored::record::Kind::Edits(stored::Batch { clock_ms, superuser, proposals }) => {
                let proposals = proposals.into_iter().map(TryInto::try_into).collect::<Result<_, Why>>()?;
                Ok(Self::Edits(Batch { clock: Millis(clock_ms), superuser, proposals }))
            }
            stored::record::Kind::Moved(residence) => Ok(Self::Moved(residence.into())),
        }
    }
}

impl From<&Residence> for stored::Residence {
    fn from(Residence { id, address }: &Residence) -> Self {
        Self { id: *id, address: address.clone() }
    }
}

impl From<stored::Residence> for Residence {
    fn from(stored::Residence { id, address }: stored::Residence) -> Self {
        Self { id, address }
    }
}

impl From<&Members> for stored::Members {
    fn from(members: &Members) -> Self {
        let Members { voters, learners, voters_outgoing, learners_next, auto_leave } = members.clone();
        Self { voters, learners, voters_outgoing, learners_next, auto_leave }
    }
}

impl From<stored::Members> for Members {
    fn from(members: stored::Members) -> Self {
        let stored::Members { voters, learners, voters_outgoing, learners_next, auto_leave } = members;
        Self { voters, learners, voters_outgoing, learners_next, auto_leave }
    }
}

fn extent(extent: Option<stored::Extent>) -> Result<Extent, Why> {
    Ok(extent.ok_or_else(missing("the extent"))?.into())
}

fn stored_limit(change: LimitChange) -> Option<stored::LimitChange> {
    let change = match change {
        LimitChange::Keep => return None,
        LimitChange::Clear => stored::limit_change::Change::Clear(true),
        LimitChange::Set(limit) => stored::limit_change::Change::Set(limit),
    };
    Some(stored::LimitChange { change: Some(change) })
}

fn limit(change: Option<stored::LimitChange>) -> Result<LimitChange, Why> {
    let Some(change) = change else { return Ok(LimitChange::Keep) };
    Ok(match change.change.ok_or_else(missing("what becomes of the limit"))? {
        stored::limit_change::Change::Clear(_) => LimitChange::Clear,
        stored::limit_change::Change::Set(limit) => LimitChange::Set(limit),
    })
}

impl From<&NodeSeen> for stored::NodeRecord {
    fn from(NodeSeen { id, record, seen }: &NodeSeen) -> Self {
        let NodeRecord { address, machine, release, volumes } = record.clone();
        let Address { host, data_port, http_port, location } = address;
        let volume = |VolumeRecord { id, path, storage, capacity }: VolumeRecord| stored::VolumeRecord {
            id: id.as_bytes().to_vec(),
            path,
            storage_type: stored::StorageType::from(storage).into(),
            capacity,
        };
        Self {
            id: id.as_bytes().to_vec(),
            host,
            data_port: u32::from(data_port),
            http_port: u32::from(http_port),
            location,
            machine,
            release,
            seen_ms: seen.0,
            volumes: volumes.into_iter().map(volume).collect(),
        }
    }
}

impl TryFrom<stored::NodeRecord> for NodeSeen {
    type Error = Why;

    fn try_from(node: stored::NodeRecord) -> Result<Self, Why> {
        let port = |port: u32| u16::try_from(port).map_err(|_| format!("there is no port {port}"));
        let volume = |volume: stored::VolumeRecord| {
            Ok(VolumeRecord {
                id: VolumeId::from_bytes(&volume.id).ok_or_else(missing("a volume's id of 16 bytes"))?,
                storage: volume.storage_type().into(),
                path: volume.path,
                capacity: volume.capacity,
            })
        };
        Ok(Self {
            id: NodeId::from_bytes(&node.id).ok_or_else(missing("a node's id of 16 bytes"))?,
            record: NodeRecord {
                address: Address {
                    host: node.host,
                    data_port: port(node.data_port)?,
                    http_port: port(node.http_port)?,
                    location: node.location,
                },
                machine: node.machine,
                release: node.release,
                volumes: node.volumes.into_iter().map(volume).collect::<Result<_, Why>>()?,
            },
            seen: Millis(node.seen_ms),
        })
    }
}

// Values of other crates: functions, as neither side is defined here.

const fn stored_balancing(
    Balancing { threshold_permille, bytes_per_second }: Balancing,
) -> stored::Balancing {
    stored::Balancing { threshold_permille, bytes_per_second }
}

const fn balancing(
    stored::Balancing { threshold_permille, bytes_per_second }: stored::Balancing,
) -> Balancing {
    Balancing { threshold_permille, bytes_per_second }
}

fn stored_publication(Publication { to, overwrite, mtime, atime }: &Publication) -> stored::Publication {
    stored::Publication {
        to: to.to_string(),
        overwrite: *overwrite,
        mtime_ms: mtime.map(|time| time.0),
        atime_ms: atime.map(|time| time.0),
    }
}

fn publication(
    stored::Publication { to, overwrite, mtime_ms, atime_ms }: stored::Publication,
) -> Result<Publication, Why> {
    Ok(Publication { to: path(&to)?, overwrite, mtime: mtime_ms.map(Millis), atime: atime_ms.map(Millis) })
}

fn stored_request(RequestId { client, call, lowest_unanswered }: &RequestId) -> stored::Request {
    stored::Request {
        client: client.as_bytes().to_vec(),
        call: call.0,
        lowest_unanswered: lowest_unanswered.0,
    }
}

fn request(stored::Request { client, call, lowest_unanswered }: stored::Request) -> Result<RequestId, Why> {
    let client = ClientId::from_bytes(&client).ok_or_else(missing("a client's id of 16 bytes"))?;
    Ok(RequestId { client, call: CallId(call), lowest_unanswered: CallId(lowest_unanswered) })
}

fn stored_nodes(nodes: &[NodeId]) -> Vec<Vec<u8>> {
    nodes.iter().map(|node| node.as_bytes().to_vec()).collect()
}

fn nodes(stored: Vec<Vec<u8>>) -> Result<Vec<NodeId>, Why> {
    let node = |bytes: Vec<u8>| NodeId::from_bytes(&bytes).ok_or_else(missing("a node's id of 16 bytes"));
    stored.into_iter().map(node).collect()
}

fn stored_duty(duty: NodeDuty) -> stored::Duty {
    let kind = match duty {
        NodeDuty::InService => stored::duty::Kind::InService(stored::Nothing {}),
        NodeDuty::Decommission => stored::duty::Kind::Decommission(stored::Nothing {}),
        NodeDuty::Maintenance { until } => stored::duty::Kind::MaintenanceUntilMs(until.0),
    };
    stored::Duty { kind: Some(kind) }
}

fn duty(duty: Option<stored::Duty>) -> Result<NodeDuty, Why> {
    Ok(match duty.and_then(|duty| duty.kind).ok_or_else(missing("the duty"))? {
        stored::duty::Kind::InService(_) => NodeDuty::InService,
        stored::duty::Kind::Decommission(_) => NodeDuty::Decommission,
        stored::duty::Kind::MaintenanceUntilMs(until) => NodeDuty::Maintenance { until: Millis(until) },
    })
}

impl From<&Proposal> for stored::Proposal {
    fn from(Proposal { request, caller, now, edit }: &Proposal) -> Self {
        Self {
            request: request.as_ref().map(stored_request),
            caller: caller
                .as_ref()
                .map(|Caller { user, groups }| stored::Caller { user: user.clone(), groups: groups.clone() }),
            now_ms: now.0,
            edit: Some(edit.into()),
        }
    }
}

impl TryFrom<stored::Proposal> for Proposal {
    type Error = Why;

    fn try_from(
        stored::Proposal { request: id, caller, now_ms, edit }: stored::Proposal,
    ) -> Result<Self, Why> {
        Ok(Self {
            request: id.map(request).transpose()?,
            caller: caller.map(|stored::Caller { user, groups }| Caller { user, groups }),
            now: Millis(now_ms),
            edit: edit.ok_or_else(missing("the edit"))?.try_into()?,
        })
    }
}

impl From<&Edit> for Stored {
    fn from(edit: &Edit) -> Self {
        let of_extent = |inode: &InodeId, holder: &String, extent: &Extent| stored::OfExtent {
            inode: inode.0,
            holder: holder.clone(),
            extent: Some((*extent).into()),
            pipeline: Vec::new(),
        };
        match edit {
            Edit::Mkdir { path, mode, parents } => Self::Mkdir(stored::Mkdir {
                path: path.to_string(),
                mode: mode.mode.bits(),
                parents: *parents,
                unmasked: mode.unmasked.map(Mode::bits),
            }),
            Edit::Create { path, holder, mode, replication, chunk_size, overwrite, parents, temporary } => {
                Self::Create(stored::Create {
                    path: path.to_string(),
                    holder: holder.clone(),
                    mode: mode.mode.bits(),
                    replication: *replication,
                    chunk_size: *chunk_size,
                    overwrite: *overwrite,
                    parents: *parents,
                    temporary: *temporary,
                    unmasked: mode.unmasked.map(Mode::bits),
                })
            }
            Edit::Append { path, holder } => {
                Self::Append(stored::Append { path: path.to_string(), holder: holder.clone() })
            }
            Edit::Truncate { path, length } => {
                Self::Truncate(stored::Truncate { path: path.to_string(), length: *length })
            }
            Edit::Concat { target, sources } => Self::Concat(stored::Concat {
                target: target.to_string(),
                sources: sources.iter().map(ToString::to_string).collect(),
            }),
            Edit::SetQuota { path, names, space } => Self::SetQuota(stored::SetQuota {
                path: path.to_string(),
                names: stored_limit(*names),
                space: stored_limit(*space),
            }),
            Edit::Trash { path, recursive, expected } => Self::Trash(stored::Trash {
                path: path.to_string(),
                recursive: *recursive,
                expected: expected.map(|inode| inode.0),
            }),
            Edit::SetTrash { path, keep } => {
                Self::SetTrash(stored::SetTrash { path: path.to_string(), keep_ms: stored_limit(*keep) })
            }
            Edit::TendTrash { root, checkpoint } => {
                Self::TendTrash(stored::TendTrash { root: root.to_string(), checkpoint: checkpoint.clone() })
            }
            Edit::ChangeAcl { path, change } => Self::ChangeAcl(stored::ChangeAcl {
                path: path.to_string(),
                change: Some(change.clone().into()),
            }),
            Edit::SetXattr { path, xattr: Xattr { name, value }, flag } => Self::SetXattr(stored::SetXattr {
                path: path.to_string(),
                space: stored::XattrSpace::from(name.space()).into(),
                name: name.name().to_owned(),
                value: value.clone(),
                flag: stored::XattrSetFlag::from(*flag).into(),
            }),
            Edit::RemoveXattr { path, name } => Self::RemoveXattr(stored::RemoveXattr {
                path: path.to_string(),
                space: stored::XattrSpace::from(name.space()).into(),
                name: name.name().to_owned(),
            }),
            Edit::AddChunk { inode, holder, previous, pipeline } => Self::AddChunk(stored::AddChunk {
                inode: inode.0,
                holder: holder.clone(),
                previous: previous.map(Into::into),
                pipeline: stored_nodes(pipeline),
            }),
            Edit::AbandonChunk { inode, holder, chunk } => Self::AbandonChunk(stored::AbandonChunk {
                inode: inode.0,
                holder: holder.clone(),
                chunk: chunk.0,
            }),
            Edit::CommitLength { inode, holder, extent } => {
                Self::CommitLength(of_extent(inode, holder, extent))
            }
            Edit::CommitChunk { inode, holder, extent } => {
                Self::CommitChunk(of_extent(inode, holder, extent))
            }
            Edit::UpdatePipeline { inode, holder, extent, pipeline } => {
                let pipeline = stored_nodes(pipeline);
                Self::UpdatePipeline(stored::OfExtent { pipeline, ..of_extent(inode, holder, extent) })
            }
            Edit::Complete { inode, holder, last, publish } => Self::Complete(stored::Complete {
                inode: inode.0,
                holder: holder.clone(),
                last: last.map(Into::into),
                publish: publish.as_ref().map(stored_publication),
            }),
            Edit::Discard { inode, holder } => {
                Self::Discard(stored::Discard { inode: inode.0, holder: holder.clone() })
            }
            Edit::NewGeneration { inode, holder, chunk } => Self::NewGeneration(stored::NewGeneration {
                inode: inode.0,
                holder: holder.clone(),
                chunk: chunk.0,
            }),
            Edit::Rename { from, to, overwrite } => Self::Rename(stored::Rename {
                from: from.to_string(),
                to: to.to_string(),
                overwrite: *overwrite,
            }),
            Edit::Delete { path, recursive, expected } => Self::Delete(stored::Delete {
                path: path.to_string(),
                recursive: *recursive,
                expected: expected.map(|inode| inode.0),
            }),
            Edit::SetReplication { path, replication } => Self::SetReplication(stored::SetReplication {
                path: path.to_string(),
                replication: *replication,
            }),
            Edit::SetMode { path, mode } => {
                Self::SetMode(stored::SetMode { path: path.to_string(), mode: mode.bits() })
            }
            Edit::SetOwner { path, owner, group } => Self::SetOwner(stored::SetOwner {
                path: path.to_string(),
                owner: owner.clone(),
                group: group.clone(),
            }),
            Edit::SetTimes { path, mtime, atime } => Self::SetTimes(stored::SetTimes {
                path: path.to_string(),
                mtime_ms: mtime.map(|time| time.0),
                atime_ms: atime.map(|time| time.0),
            }),
            Edit::Touch { path } => Self::Touch(stored::Touch { path: path.to_string() }),
            Edit::BeginRecovery { inode, holder } => {
                Self::BeginRecovery(stored::BeginRecovery { inode: inode.0, holder: holder.clone() })
            }
            Edit::CommitRecovery { extent, lossy } => {
                Self::CommitRecovery(stored::CommitRecovery { extent: Some((*extent).into()), lossy: *lossy })
            }
            Edit::Reap { limit } => Self::Reap(stored::Limited { limit: *limit }),
            Edit::SetNodeDuty { nodes, duty } => Self::SetNodeDuty(stored::SetNodeDuty {
                nodes: stored_nodes(nodes),
                duty: Some(stored_duty(*duty)),
            }),
            Edit::SetBalancer { settings } => {
                Self::SetBalancer(stored::SetBalancer { settings: settings.map(stored_balancing) })
            }
            Edit::EndBalancer { settings } => Self::EndBalancer(stored_balancing(*settings)),
            Edit::SetSafeMode { on } => Self::SetSafeMode(stored::SetSafeMode { on: *on }),
            Edit::SetSetting { setting, value } => Self::SetSetting(stored::SetSetting {
                setting: stored::Setting::from(*setting).into(),
                value: *value,
            }),
            Edit::PurgeOutcomes { limit } => Self::PurgeOutcomes(stored::Limited { limit: *limit }),
            Edit::RecordNodes { nodes } => {
                Self::RecordNodes(stored::RecordNodes { nodes: nodes.iter().map(Into::into).collect() })
            }
            Edit::ForgetNodes { nodes } => {
                Self::ForgetNodes(stored::ForgetNodes { nodes: stored_nodes(nodes) })
            }
            Edit::RaiseLevel { to } => Self::RaiseLevel(stored::RaiseLevel { to: u32::from(*to) }),
        }
    }
}

impl TryFrom<Stored> for Edit {
    type Error = Why;

    fn try_from(stored: Stored) -> Result<Self, Why> {
        Ok(match stored {
            Stored::Mkdir(stored::Mkdir { path: at, mode: bits, parents, unmasked }) => {
                Self::Mkdir { path: path(&at)?, mode: create_mode(bits, unmasked)?, parents }
            }
            Stored::Create(create) => Self::Create {
                path: path(&create.path)?,
                holder: create.holder,
                mode: create_mode(create.mode, create.unmasked)?,
                replication: create.replication,
                chunk_size: create.chunk_size,
                overwrite: create.overwrite,
                parents: create.parents,
                temporary: create.temporary,
            },
            Stored::Append(stored::Append { path: of, holder }) => Self::Append { path: path(&of)?, holder },
            Stored::Truncate(stored::Truncate { path: of, length }) => {
                Self::Truncate { path: path(&of)?, length }
            }
            Stored::Concat(stored::Concat { target, sources }) => Self::Concat {
                target: path(&target)?,
                sources: sources.iter().map(|source| path(source)).collect::<Result<_, Why>>()?,
            },
            Stored::SetQuota(stored::SetQuota { path: of, names, space }) => {
                Self::SetQuota { path: path(&of)?, names: limit(names)?, space: limit(space)? }
            }
            Stored::Trash(stored::Trash { path: of, recursive, expected }) => {
                Self::Trash { path: path(&of)?, recursive, expected: expected.map(InodeId) }
            }
            Stored::SetTrash(stored::SetTrash { path: of, keep_ms }) => {
                Self::SetTrash { path: path(&of)?, keep: limit(keep_ms)? }
            }
            Stored::TendTrash(stored::TendTrash { root, checkpoint }) => {
                Self::TendTrash { root: path(&root)?, checkpoint }
            }
            Stored::ChangeAcl(stored::ChangeAcl { path: of, change }) => {
                let change = change.ok_or_else(missing("the change"))?.try_into();
                Self::ChangeAcl {
                    path: path(&of)?,
                    change: change.map_err(|error: dfs_types::FsError| error.to_string())?,
                }
            }
            Stored::SetXattr(set) => {
                let (space, flag) = (stored::XattrSpace::try_from(set.space), set.flag().into());
                let xattr = Xattr { name: xattr(space, set.name)?, value: set.value };
                Self::SetXattr { path: path(&set.path)?, xattr, flag }
            }
            Stored::RemoveXattr(stored::RemoveXattr { path: of, space, name }) => {
                let space = stored::XattrSpace::try_from(space);
                Self::RemoveXattr { path: path(&of)?, name: xattr(space, name)? }
            }
            Stored::AddChunk(stored::AddChunk { inode, holder, previous, pipeline }) => Self::AddChunk {
                inode: InodeId(inode),
                holder,
                previous: previous.map(Into::into),
                pipeline: nodes(pipeline)?,
            },
            Stored::AbandonChunk(stored::AbandonChunk { inode, holder, chunk }) => {
                Self::AbandonChunk { inode: InodeId(inode), holder, chunk: ChunkId(chunk) }
            }
            Stored::CommitLength(of) => {
                Self::CommitLength { inode: InodeId(of.inode), holder: of.holder, extent: extent(of.extent)? }
            }
            Stored::CommitChunk(of) => {
                Self::CommitChunk { inode: InodeId(of.inode), holder: of.holder, extent: extent(of.extent)? }
            }
            Stored::UpdatePipeline(of) => Self::UpdatePipeline {
                inode: InodeId(of.inode),
                holder: of.holder,
                extent: extent(of.extent)?,
                pipeline: nodes(of.pipeline)?,
            },
            Stored::Complete(stored::Complete { inode, holder, last, publish }) => Self::Complete {
                inode: InodeId(inode),
                holder,
                last: last.map(Into::into),
                publish: publish.map(publication).transpose()?,
            },
            Stored::Discard(stored::Discard { inode, holder }) => {
                Self::Discard { inode: InodeId(inode), holder }
            }
            Stored::NewGeneration(stored::NewGeneration { inode, holder, chunk }) => {
                Self::NewGeneration { inode: InodeId(inode), holder, chunk: ChunkId(chunk) }
            }
            Stored::Rename(stored::Rename { from, to, overwrite }) => {
                Self::Rename { from: path(&from)?, to: path(&to)?, overwrite }
            }
            Stored::Delete(stored::Delete { path: at, recursive, expected }) => {
                Self::Delete { path: path(&at)?, recursive, expected: expected.map(InodeId) }
            }
            Stored::SetReplication(stored::SetReplication { path: of, replication }) => {
                Self::SetReplication { path: path(&of)?, replication }
            }
            Stored::SetMode(stored::SetMode { path: of, mode: bits }) => {
                Self::SetMode { path: path(&of)?, mode: mode(bits)? }
            }
            Stored::SetOwner(stored::SetOwner { path: of, owner, group }) => {
                Self::SetOwner { path: path(&of)?, owner, group }
            }
            Stored::SetTimes(stored::SetTimes { path: of, mtime_ms, atime_ms }) => {
                Self::SetTimes { path: path(&of)?, mtime: mtime_ms.map(Millis), atime: atime_ms.map(Millis) }
            }
            Stored::Touch(stored::Touch { path: of }) => Self::Touch { path: path(&of)? },
            Stored::BeginRecovery(stored::BeginRecovery { inode, holder }) => {
                Self::BeginRecovery { inode: InodeId(inode), holder }
            }
            Stored::CommitRecovery(stored::CommitRecovery { extent: of, lossy }) => {
                Self::CommitRecovery { extent: extent(of)?, lossy }
            }
            Stored::Reap(stored::Limited { limit }) => Self::Reap { limit },
            Stored::SetNodeDuty(stored::SetNodeDuty { nodes: of, duty: wanted }) => {
                Self::SetNodeDuty { nodes: nodes(of)?, duty: duty(wanted)? }
            }
            Stored::SetBalancer(stored::SetBalancer { settings }) => {
                Self::SetBalancer { settings: settings.map(balancing) }
            }
            Stored::EndBalancer(settings) => Self::EndBalancer { settings: balancing(settings) },
            Stored::SetSafeMode(stored::SetSafeMode { on }) => Self::SetSafeMode { on },
            Stored::SetSetting(of) => Self::SetSetting { setting: of.setting().try_into()?, value: of.value },
            Stored::PurgeOutcomes(stored::Limited { limit }) => Self::PurgeOutcomes { limit },
            Stored::RecordNodes(stored::RecordNodes { nodes }) => Self::RecordNodes {
                nodes: nodes.into_iter().map(TryInto::try_into).collect::<Result<_, Why>>()?,
            },
            Stored::ForgetNodes(stored::ForgetNodes { nodes: of }) => Self::ForgetNodes { nodes: nodes(of)? },
            Stored::RaiseLevel(stored::RaiseLevel { to }) => {
                Self::RaiseLevel { to: u16::try_from(to).map_err(|_| format!("there is no level {to}"))? }
            }
        })
    }
}
