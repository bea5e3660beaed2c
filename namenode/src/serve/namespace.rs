//! The `Namespace` service.

use std::sync::Arc;

use dfs_proto::convert::{empty_as_none, limit_change, missing, node_id, path, wire_file_status};
use dfs_proto::v1;
use dfs_proto::v1::namespace_server::Namespace;
use dfs_types::{
    AclChange, ChunkId, CreateMode, FileStatus, FsResult, GenStamp, InodeId, Millis, Mode, Xattr,
    XattrSetFlag,
};

use super::wire::{node_ids, origin, reader, required_extent, unary, wire_nodes};
use crate::api::Namenode;
use crate::api::reading::BadReplica;
use crate::api::writing::{Appended, NewFile, OpenedBy};
use crate::store::edit::{Extent, Publication};

/// The service over the API.
#[derive(Debug)]
pub(super) struct Service(pub(super) Arc<Namenode>);

type Peer = Option<String>;

unary! {
    impl Namespace {
        get_defaults: GetDefaultsRequest -> GetDefaultsReply,
        stat: StatRequest -> StatReply,
        list: ListRequest -> ListReply,
        locate: LocateRequest -> LocateReply,
        content_summary: ContentSummaryRequest -> ContentSummaryReply,
        fs_stats: FsStatsRequest -> FsStatsReply,
        mkdir: MkdirRequest -> StatusReply,
        rename: RenameRequest -> Empty,
        delete: DeleteRequest -> DeleteReply,
        move_to_trash: MoveToTrashRequest -> MoveToTrashReply,
        get_trash: GetTrashRequest -> GetTrashReply,
        list_trash: ListTrashRequest -> ListTrashReply,
        set_trash: SetTrashRequest -> Empty,
        set_quota: SetQuotaRequest -> Empty,
        set_replication: SetReplicationRequest -> Empty,
        set_mode: SetModeRequest -> Empty,
        set_owner: SetOwnerRequest -> Empty,
        set_times: SetTimesRequest -> Empty,
        touch: TouchRequest -> Empty,
        get_acl: GetAclRequest -> GetAclReply,
        change_acl: ChangeAclRequest -> Empty,
        get_xattrs: GetXattrsRequest -> GetXattrsReply,
        set_xattr: SetXattrRequest -> Empty,
        remove_xattr: RemoveXattrRequest -> Empty,
        create: CreateRequest -> StatusReply,
        append: AppendRequest -> AppendReply,
        truncate: TruncateRequest -> Empty,
        concat: ConcatRequest -> Empty,
        release_lease: ReleaseLeaseRequest -> Empty,
        add_chunk: AddChunkRequest -> LocatedChunk,
        abandon_chunk: AbandonChunkRequest -> Empty,
        commit_length: CommitLengthRequest -> Empty,
        complete: CompleteRequest -> StatusReply,
        discard: DiscardRequest -> Empty,
        new_generation: NewGenerationRequest -> NewGenerationReply,
        update_pipeline: UpdatePipelineRequest -> Empty,
        additional_nodes: AdditionalNodesRequest -> AdditionalNodesReply,
        renew_lease: RenewLeaseRequest -> Empty,
        recover_lease: RecoverLeaseRequest -> RecoverLeaseReply,
        report_bad_replicas: ReportBadReplicasRequest -> Empty,
    }
}

fn status_reply(status: FileStatus) -> v1::StatusReply {
    v1::StatusReply { status: Some(wire_file_status(status)) }
}

fn create_mode(mode: u32, unmasked: Option<u32>) -> FsResult<CreateMode> {
    Ok(CreateMode { mode: Mode::new(mode)?, unmasked: unmasked.map(Mode::new).transpose()? })
}

fn opened(inode: u64, holder: String) -> FsResult<OpenedBy> {
    OpenedBy::new(InodeId(inode), holder)
}

/// Looking at the namespace.
#[allow(clippy::unused_async, reason = "every method of a service has the same shape")]
impl Service {
    async fn get_defaults(&self, _: v1::GetDefaultsRequest, _: Peer) -> FsResult<v1::GetDefaultsReply> {
        // Whoever asks first looks for the leader.
        self.0.admit(None).await?;
        let namenodes = self.0.namenode_addresses();
        Ok(v1::GetDefaultsReply { namenodes, ..self.0.defaults().into() })
    }

    async fn stat(&self, request: v1::StatRequest, _: Peer) -> FsResult<v1::StatReply> {
        let caller = reader(&self.0, request.context).await?;
        let status = self.0.stat(&caller, &path(&request.path)?).await?;
        Ok(v1::StatReply { status: Some(wire_file_status(status)) })
    }

    async fn list(&self, request: v1::ListRequest, _: Peer) -> FsResult<v1::ListReply> {
        let caller = reader(&self.0, request.context).await?;
        let start_after = empty_as_none(request.start_after);
        let (entries, more) = self
            .0
            .list(&caller, &path(&request.path)?, start_after.as_deref(), request.limit as usize)
            .await?;
        let entries = entries
            .into_iter()
            .map(|(name, status)| v1::DirectoryEntry { name, status: Some(wire_file_status(status)) })
            .collect();
        Ok(v1::ListReply { entries, more })
    }

    async fn locate(&self, request: v1::LocateRequest, peer: Peer) -> FsResult<v1::LocateReply> {
        let caller = reader(&self.0, request.context).await?;
        let path = path(&request.path)?;
        let v1::LocateRequest { offset, length, inode, .. } = request;
        let (status, chunks) = if inode == 0 {
            self.0.locate(&caller, &path, offset, length, peer).await?
        } else {
            self.0.locate_open(&caller, (&path, InodeId(inode)), offset, length, peer).await?
        };
        Ok(v1::LocateReply {
            status: Some(wire_file_status(status)),
            chunks: chunks.into_iter().map(v1::LocatedChunk::from).collect(),
        })
    }

    async fn content_summary(
        &self,
        request: v1::ContentSummaryRequest,
        _: Peer,
    ) -> FsResult<v1::ContentSummaryReply> {
        let caller = reader(&self.0, request.context).await?;
        Ok(self.0.content_summary(&caller, &path(&request.path)?).await?.into())
    }

    async fn fs_stats(&self, request: v1::FsStatsRequest, _: Peer) -> FsResult<v1::FsStatsReply> {
        reader(&self.0, request.context).await?;
        Ok(self.0.fs_stats().await?.into())
    }
}

/// Changing names and attributes.
impl Service {
    async fn mkdir(&self, request: v1::MkdirRequest, _: Peer) -> FsResult<v1::StatusReply> {
        let (origin, path) = (origin(&self.0, request.context).await?, path(&request.path)?);
        let mode = create_mode(request.mode, request.unmasked)?;
        self.0.mkdir(origin, path, mode, request.parents).await.map(status_reply)
    }

    async fn rename(&self, request: v1::RenameRequest, _: Peer) -> FsResult<v1::Empty> {
        let (from, to) = (path(&request.from)?, path(&request.to)?);
        self.0.rename(origin(&self.0, request.context).await?, from, to, request.overwrite).await?;
        Ok(v1::Empty {})
    }

    async fn delete(&self, request: v1::DeleteRequest, _: Peer) -> FsResult<v1::DeleteReply> {
        let (origin, path) = (origin(&self.0, request.context).await?, path(&request.path)?);
        let expected = (request.expected_inode != 0).then_some(InodeId(request.expected_inode));
        let existed = self.0.delete(origin, path, request.recursive, expected).await?;
        Ok(v1::DeleteReply { existed })
    }

    async fn set_quota(&self, request: v1::SetQuotaRequest, _: Peer) -> FsResult<v1::Empty> {
        let (origin, path) = (origin(&self.0, request.context).await?, path(&request.path)?);
        self.0.set_quota(origin, path, limit_change(request.names)?, limit_change(request.space)?).await?;
        Ok(v1::Empty {})
    }

    async fn set_replication(&self, request: v1::SetReplicationRequest, _: Peer) -> FsResult<v1::Empty> {
        let (origin, path) = (origin(&self.0, request.context).await?, path(&request.path)?);
        self.0.set_replication(origin, path, request.replication).await?;
        Ok(v1::Empty {})
    }

    async fn set_mode(&self, request: v1::SetModeRequest, _: Peer) -> FsResult<v1::Empty> {
        let (origin, path) = (origin(&self.0, request.context).await?, path(&request.path)?);
        self.0.set_mode(origin, path, Mode::new(request.mode)?).await?;
        Ok(v1::Empty {})
    }

    async fn set_owner(&self, request: v1::SetOwnerRequest, _: Peer) -> FsResult<v1::Empty> {
        let (origin, path) = (origin(&self.0, request.context).await?, path(&request.path)?);
        self.0.set_owner(origin, path, request.owner, request.group).await?;
        Ok(v1::Empty {})
    }

    async fn set_times(&self, request: v1::SetTimesRequest, _: Peer) -> FsResult<v1::Empty> {
        let (origin, path) = (origin(&self.0, request.context).await?, path(&request.path)?);
        self.0.set_times(origin, path, request.mtime.map(Millis), request.atime.map(Millis)).await?;
        Ok(v1::Empty {})
    }

    async fn touch(&self, request: v1::TouchRequest, _: Peer) -> FsResult<v1::Empty> {
        let (origin, path) = (origin(&self.0, request.context).await?, path(&request.path)?);
        self.0.touch(origin, path).await?;
        Ok(v1::Empty {})
    }
}

/// The trash.
impl Service {
    async fn move_to_trash(
        &self,
        request: v1::MoveToTrashRequest,
        _: Peer,
    ) -> FsResult<v1::MoveToTrashReply> {
        let (origin, path) = (origin(&self.0, request.context).await?, path(&request.path)?);
        let expected = (request.expected_inode != 0).then_some(InodeId(request.expected_inode));
        Ok(self.0.move_to_trash(origin, path, request.recursive, expected).await?.into())
    }

    async fn get_trash(&self, request: v1::GetTrashRequest, _: Peer) -> FsResult<v1::GetTrashReply> {
        let caller = reader(&self.0, request.context).await?;
        Ok(self.0.trash_of(&caller, &path(&request.path)?).await?.into())
    }

    async fn list_trash(&self, request: v1::ListTrashRequest, _: Peer) -> FsResult<v1::ListTrashReply> {
        let caller = reader(&self.0, request.context).await?;
        let contents = self.0.trash_contents(&caller, request.all).await?;
        Ok(v1::ListTrashReply { contents: contents.into_iter().map(Into::into).collect() })
    }

    async fn set_trash(&self, request: v1::SetTrashRequest, _: Peer) -> FsResult<v1::Empty> {
        let (origin, path) = (origin(&self.0, request.context).await?, path(&request.path)?);
        self.0.set_trash(origin, path, limit_change(request.keep_ms)?).await?;
        Ok(v1::Empty {})
    }
}

/// ACLs and extended attributes.
impl Service {
    async fn get_acl(&self, request: v1::GetAclRequest, _: Peer) -> FsResult<v1::GetAclReply> {
        let caller = reader(&self.0, request.context).await?;
        Ok(self.0.acl(&caller, &path(&request.path)?).await?.into())
    }

    async fn change_acl(&self, request: v1::ChangeAclRequest, _: Peer) -> FsResult<v1::Empty> {
        let (origin, path) = (origin(&self.0, request.context).await?, path(&request.path)?);
        let change = request.change.ok_or_else(|| missing("change"))?;
        self.0.change_acl(origin, path, AclChange::try_from(change)?).await?;
        Ok(v1::Empty {})
    }

    async fn get_xattrs(&self, request: v1::GetXattrsRequest, _: Peer) -> FsResult<v1::GetXattrsReply> {
        let caller = reader(&self.0, request.context).await?;
        let names = request.names.iter().map(|name| name.parse()).collect::<FsResult<_>>()?;
        let found = self.0.xattrs(&caller, &path(&request.path)?, names).await?;
        Ok(v1::GetXattrsReply { xattrs: found.into_iter().map(Into::into).collect() })
    }

    async fn set_xattr(&self, request: v1::SetXattrRequest, _: Peer) -> FsResult<v1::Empty> {
        let flag = XattrSetFlag::from(request.flag());
        let (origin, path) = (origin(&self.0, request.context).await?, path(&request.path)?);
        let xattr = Xattr::try_from(request.xattr.ok_or_else(|| missing("xattr"))?)?;
        self.0.set_xattr(origin, path, xattr, flag).await?;
        Ok(v1::Empty {})
    }

    async fn remove_xattr(&self, request: v1::RemoveXattrRequest, _: Peer) -> FsResult<v1::Empty> {
        let (origin, path) = (origin(&self.0, request.context).await?, path(&request.path)?);
        self.0.remove_xattr(origin, path, request.name.parse()?).await?;
        Ok(v1::Empty {})
    }
}

/// Writing a file.
impl Service {
    async fn create(&self, request: v1::CreateRequest, _: Peer) -> FsResult<v1::StatusReply> {
        let file = NewFile {
            path: path(&request.path)?,
            holder: request.holder,
            mode: create_mode(request.mode, request.unmasked)?,
            replication: request.replication,
            chunk_size: request.chunk_size,
            overwrite: request.overwrite,
            parents: request.parents,
            temporary: request.temporary,
        };
        self.0.create(origin(&self.0, request.context).await?, file).await.map(status_reply)
    }

    async fn append(&self, request: v1::AppendRequest, _: Peer) -> FsResult<v1::AppendReply> {
        let (origin, path) = (origin(&self.0, request.context).await?, path(&request.path)?);
        let Appended { status, last, chunks } = self.0.append(origin, path, request.holder).await?;
        Ok(v1::AppendReply { status: Some(wire_file_status(status)), last: last.map(Into::into), chunks })
    }

    async fn truncate(&self, request: v1::TruncateRequest, _: Peer) -> FsResult<v1::Empty> {
        let (origin, path) = (origin(&self.0, request.context).await?, path(&request.path)?);
        self.0.truncate(origin, path, request.length).await?;
        Ok(v1::Empty {})
    }

    async fn concat(&self, request: v1::ConcatRequest, _: Peer) -> FsResult<v1::Empty> {
        let (origin, target) = (origin(&self.0, request.context).await?, path(&request.target)?);
        let sources = request.sources.iter().map(|source| path(source)).collect::<FsResult<_>>()?;
        self.0.concat(origin, target, sources).await?;
        Ok(v1::Empty {})
    }

    async fn release_lease(&self, request: v1::ReleaseLeaseRequest, _: Peer) -> FsResult<v1::Empty> {
        let file = opened(request.inode, request.holder)?;
        origin(&self.0, request.context).await?;
        self.0.release_lease(file).await?;
        Ok(v1::Empty {})
    }

    async fn add_chunk(&self, request: v1::AddChunkRequest, peer: Peer) -> FsResult<v1::LocatedChunk> {
        let file = opened(request.inode, request.holder)?;
        let writer_host = empty_as_none(request.writer_host).or(peer);
        let exclude = node_ids(&request.exclude)?;
        let previous = request.previous.map(Extent::from);
        let (origin, expected) = (origin(&self.0, request.context).await?, request.expected_length);
        let added = self.0.add_chunk(origin, file, previous, exclude, expected, writer_host).await?;
        Ok(added.into())
    }

    async fn abandon_chunk(&self, request: v1::AbandonChunkRequest, _: Peer) -> FsResult<v1::Empty> {
        let file = opened(request.inode, request.holder)?;
        self.0.abandon_chunk(origin(&self.0, request.context).await?, file, ChunkId(request.chunk)).await?;
        Ok(v1::Empty {})
    }

    async fn commit_length(&self, request: v1::CommitLengthRequest, _: Peer) -> FsResult<v1::Empty> {
        let file = opened(request.inode, request.holder)?;
        let extent = required_extent(request.extent, "extent")?;
        self.0.commit_length(origin(&self.0, request.context).await?, file, extent).await?;
        Ok(v1::Empty {})
    }

    async fn complete(&self, request: v1::CompleteRequest, _: Peer) -> FsResult<v1::StatusReply> {
        let file = opened(request.inode, request.holder)?;
        let last = request.last.map(Extent::from);
        let publish = request.publish.map(Publication::try_from).transpose()?;
        self.0.complete(origin(&self.0, request.context).await?, file, last, publish).await.map(status_reply)
    }

    async fn discard(&self, request: v1::DiscardRequest, _: Peer) -> FsResult<v1::Empty> {
        let file = opened(request.inode, request.holder)?;
        self.0.discard(origin(&self.0, request.context).await?, file).await?;
        Ok(v1::Empty {})
    }

    async fn new_generation(
        &self,
        request: v1::NewGenerationRequest,
        _: Peer,
    ) -> FsResult<v1::NewGenerationReply> {
        let file = opened(request.inode, request.holder)?;
        let taken = self
            .0
            .new_generation(origin(&self.0, request.context).await?, file, ChunkId(request.chunk))
            .await?;
        Ok(v1::NewGenerationReply { generation: taken.0 })
    }

    async fn update_pipeline(&self, request: v1::UpdatePipelineRequest, _: Peer) -> FsResult<v1::Empty> {
        let file = opened(request.inode, request.holder)?;
        let extent = required_extent(request.extent, "extent")?;
        let nodes = node_ids(&request.nodes)?;
        self.0.update_pipeline(origin(&self.0, request.context).await?, file, extent, nodes).await?;
        Ok(v1::Empty {})
    }

    async fn additional_nodes(
        &self,
        request: v1::AdditionalNodesRequest,
        _: Peer,
    ) -> FsResult<v1::AdditionalNodesReply> {
        reader(&self.0, request.context).await?;
        let file = opened(request.inode, request.holder)?;
        let (existing, exclude) = (node_ids(&request.existing)?, node_ids(&request.exclude)?);
        let (chunk, count, expected) = (ChunkId(request.chunk), request.count, request.expected_length);
        let nodes = self.0.additional_nodes(&file, chunk, existing, exclude, count, expected).await?;
        Ok(v1::AdditionalNodesReply { nodes: wire_nodes(nodes) })
    }

    async fn renew_lease(&self, request: v1::RenewLeaseRequest, _: Peer) -> FsResult<v1::Empty> {
        reader(&self.0, request.context).await?;
        self.0.renew_lease(request.holder).await?;
        Ok(v1::Empty {})
    }

    async fn recover_lease(
        &self,
        request: v1::RecoverLeaseRequest,
        _: Peer,
    ) -> FsResult<v1::RecoverLeaseReply> {
        let caller = reader(&self.0, request.context).await?;
        let path = path(&request.path)?;
        let recovered = self.0.recover_lease(&caller, &path, &request.holder, request.accept_loss).await?;
        Ok(recovered.into())
    }

    async fn report_bad_replicas(
        &self,
        request: v1::ReportBadReplicasRequest,
        _: Peer,
    ) -> FsResult<v1::Empty> {
        reader(&self.0, request.context).await?;
        let replicas = request.replicas.into_iter().map(bad_replica).collect::<FsResult<_>>()?;
        self.0.report_bad_replicas(replicas).await?;
        Ok(v1::Empty {})
    }
}

fn bad_replica(wire: v1::BadReplica) -> FsResult<BadReplica> {
    Ok(BadReplica {
        chunk: ChunkId(wire.chunk),
        generation: GenStamp(wire.generation),
        node: node_id(&wire.node)?,
    })
}
