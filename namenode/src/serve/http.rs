//! The NameNode's own pages of the HTTP port.

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use dfs_types::{BalancerStatus, DutyState, NamenodeMember, NodeReport};
use serde_json::{Value, json};

use crate::api::Namenode;
use crate::api::admin::Report;

/// The API once the namespace is loaded; the HTTP port answers before that.
pub type Slot = Arc<OnceLock<Arc<Namenode>>>;

/// `GET /api/v1/status`: the cluster report as JSON.
pub fn routes(namenode: Slot) -> Router {
    Router::new().route("/api/v1/status", get(status)).with_state(namenode)
}

async fn status(State(slot): State<Slot>) -> Response {
    let Some(namenode) = slot.get() else {
        return answer(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": "the namespace is being loaded" }));
    };
    match namenode.report().await {
        Ok(report) => {
            let mut body = report_json(&report);
            body["namenodes"] = namenode.members().iter().map(member_json).collect();
            answer(StatusCode::OK, &body)
        }
        Err(error) => answer(StatusCode::SERVICE_UNAVAILABLE, &json!({ "error": error.message })),
    }
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
}

fn report_json(report: &Report) -> Value {
    let Report { cluster, safe_mode, nodes, totals, counts, balancer } = report;
    json!({
        "cluster": cluster,
        "version": env!("CARGO_PKG_VERSION"),
        "safe_mode": {
            "on": safe_mode.on,
            "manual": safe_mode.manual,
            "reported": safe_mode.reported,
            "needed": safe_mode.needed,
        },
        "namespace": {
            "files": counts.files,
            "directories": counts.directories,
            "open_files": counts.open_files,
        },
        "chunks": {
            "all": totals.chunks,
            "under_replicated": totals.under_replicated,
            "healable": totals.healable,
            "over_replicated": totals.over_replicated,
            "only_one_copy": totals.only_one_copy,
            "missing": totals.missing,
            "corrupt": totals.corrupt,
            "pending_copies": totals.pending_copies,
            "pending_deletions": totals.pending_deletions,
            "misplaced": totals.misplaced,
            "quarantined": totals.quarantined,
            "waiting_recoveries": totals.waiting_recoveries,
        },
        "balancer": balancer_json(balancer),
        "bytes": { "capacity": totals.capacity, "used": totals.used, "available": totals.available },
        "nodes": nodes.iter().map(node_json).collect::<Vec<_>>(),
    })
}

fn member_json(member: &NamenodeMember) -> Value {
    let NamenodeMember { id, address, applied, lag, note, level, release, .. } = member;
    let (level, release) = (level.unwrap_or(0), release.as_deref().unwrap_or_default());
    json!({
        "id": id, "address": address, "applied": applied, "lag": lag, "note": note, "level": level, "release": release,
    })
}

fn balancer_json(balancer: &BalancerStatus) -> Value {
    json!({
        "running": balancer.running,
        "balanced": balancer.balanced,
        "threshold_permille": balancer.threshold_permille,
        "bytes_per_second": balancer.bytes_per_second,
        "moved_chunks": balancer.moved_chunks,
        "moved_bytes": balancer.moved_bytes,
        "pending_moves": balancer.pending_moves,
        "bytes_to_move": balancer.bytes_to_move,
        "mean_permille": balancer.mean_permille,
        "lowest_permille": balancer.lowest_permille,
        "highest_permille": balancer.highest_permille,
    })
}

/// A duty's name on this port and in metrics.
pub(crate) fn duty_name(state: DutyState) -> &'static str {
    match state {
        DutyState::InService => "in_service",
        DutyState::Decommissioning => "decommissioning",
        DutyState::Decommissioned => "decommissioned",
        DutyState::EnteringMaintenance => "entering_maintenance",
        DutyState::InMaintenance => "in_maintenance",
    }
}

fn node_json(report: &NodeReport) -> Value {
    let state = report.state.name();
    let address = &report.node.at;
    let volumes: Vec<Value> = report
        .volumes
        .iter()
        .map(|volume| {
            json!({
                "id": volume.id,
                "path": volume.path,
                "health": volume.health.name(),
                "capacity": volume.capacity,
                "used": volume.used,
                "available": volume.available,
                "replicas": volume.replicas,
            })
        })
        .collect();
    json!({
        "id": report.node.id,
        "host": address.host,
        "data_port": address.data_port,
        "http_port": address.http_port,
        "location": address.location,
        "state": state,
        "duty": duty_name(report.duty),
        "depending_chunks": report.depending_chunks,
        "silent_ms": report.silent.as_millis() as u64,
        "version": report.version,
        "reported": report.reported,
        "replicas": report.replicas,
        "volumes": volumes,
    })
}
