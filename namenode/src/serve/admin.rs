//! The `Admin` service.

use std::sync::Arc;

use dfs_namenode_core::{NodeState, NodeView, SafeModeView};
use dfs_proto::convert::{path, to_status, wire_file_status};
use dfs_proto::v1;
use dfs_proto::v1::admin_server::Admin;
use dfs_types::{FsError, FsResult};
use futures_util::stream::{BoxStream, StreamExt};
use tonic::{Request, Response, Status};

use super::wire::{admitted, reader, unary, wire_node, wire_nodes, wire_volume};
use crate::api::admin::{Finding, FsckChunk, FsckFile, FsckSummary, Report, SafeModeAction};
use crate::api::{Namenode, Node};

/// The service over the API.
#[derive(Debug)]
pub(super) struct Service(pub(super) Arc<Namenode>);

type Peer = Option<String>;

unary! {
    impl Admin {
        report: ReportRequest -> ClusterReport,
        set_safe_mode: SetSafeModeRequest -> SafeModeStatus,
    }

    type FsckStream = BoxStream<'static, Result<v1::FsckReply, Status>>;

    async fn fsck(&self, request: Request<v1::FsckRequest>) -> Result<Response<Self::FsckStream>, Status> {
        let request = request.into_inner();
        let caller = admitted(&self.0, reader(&self.0, request.context).await)?;
        let path = path(&request.path).map_err(to_status)?;
        let findings = Arc::clone(&self.0).fsck(caller, path);
        Ok(Response::new(findings.map(|finding| finding.map(wire_finding).map_err(to_status)).boxed()))
    }
}

impl Service {
    async fn report(&self, request: v1::ReportRequest, _: Peer) -> FsResult<v1::ClusterReport> {
        reader(&self.0, request.context).await?;
        self.0.report().await.map(wire_report)
    }

    async fn set_safe_mode(&self, request: v1::SetSafeModeRequest, _: Peer) -> FsResult<v1::SafeModeStatus> {
        let action = match request.action() {
            v1::SafeModeAction::Get => SafeModeAction::Get,
            v1::SafeModeAction::Enter => SafeModeAction::Enter,
            v1::SafeModeAction::Leave => SafeModeAction::Leave,
            v1::SafeModeAction::Unspecified => return Err(FsError::invalid("the request lacks 'action'")),
        };
        let caller = reader(&self.0, request.context).await?;
        self.0.safe_mode(&caller, action).await.map(wire_safe_mode)
    }
}

fn wire_safe_mode(view: SafeModeView) -> v1::SafeModeStatus {
    let SafeModeView { on, manual, reported, needed } = view;
    v1::SafeModeStatus { on, manual, reported, needed }
}

fn wire_report(report: Report) -> v1::ClusterReport {
    let Report { cluster, safe_mode, nodes, totals, counts } = report;
    v1::ClusterReport {
        cluster: cluster.as_bytes().to_vec(),
        safe_mode: Some(wire_safe_mode(safe_mode)),
        nodes: nodes.into_iter().map(wire_node_report).collect(),
        files: counts.files,
        directories: counts.directories,
        chunks: totals.chunks,
        under_replicated: totals.under_replicated,
        over_replicated: totals.over_replicated,
        missing: totals.missing,
        corrupt: totals.corrupt,
        pending_copies: totals.pending_copies,
        pending_deletions: totals.pending_deletions,
        open_files: counts.open_files,
        only_one_copy: totals.only_one_copy,
        version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn wire_node_report(view: NodeView) -> v1::NodeReport {
    let state = match view.state {
        NodeState::Live => v1::NodeState::Live,
        NodeState::Stale => v1::NodeState::Stale,
        NodeState::Dead => v1::NodeState::Dead,
    };
    v1::NodeReport {
        node: Some(wire_node(Node { id: view.id, address: view.address })),
        state: state.into(),
        silent_ms: view.silence.as_millis() as u64,
        volumes: view.volumes.into_iter().map(wire_volume).collect(),
        replicas: view.replicas,
        active_writes: view.active_writes,
        active_reads: view.active_reads,
        active_copies: view.active_copies,
        version: view.version,
        reported: view.reported,
    }
}

fn wire_finding(finding: Finding) -> v1::FsckReply {
    use v1::fsck_reply::Kind;
    let kind = match finding {
        Finding::File(FsckFile { path, status, chunks }) => Kind::File(v1::FsckFile {
            path: path.into(),
            status: Some(wire_file_status(status)),
            chunks: chunks.into_iter().map(wire_chunk).collect(),
        }),
        Finding::Summary(summary) => Kind::Summary(wire_summary(summary)),
    };
    v1::FsckReply { kind: Some(kind) }
}

fn wire_chunk(chunk: FsckChunk) -> v1::FsckChunk {
    let FsckChunk { chunk, generation, length, expected, nodes, corrupt, under_construction } = chunk;
    v1::FsckChunk {
        chunk: chunk.0,
        generation: generation.0,
        length,
        expected,
        nodes: wire_nodes(nodes),
        corrupt,
        under_construction,
    }
}

fn wire_summary(summary: FsckSummary) -> v1::FsckSummary {
    let healthy = summary.is_healthy();
    let FsckSummary {
        files,
        directories,
        chunks,
        bytes,
        under_replicated,
        over_replicated,
        missing,
        corrupt,
        open_files,
        replicas,
    } = summary;
    v1::FsckSummary {
        files,
        directories,
        chunks,
        bytes,
        under_replicated,
        over_replicated,
        missing,
        corrupt,
        open_files,
        replicas,
        healthy,
    }
}
