//! `dfs cluster status`.

use std::time::Duration;

use dfs_kubernetes::access::{Access, answer};
use dfs_kubernetes::crd::{DfsCluster, DfsClusterStatus, condition};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde::Serialize;
use tokio::time::Instant;

use super::age::age;
use super::{name_of, named};
use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::global::Format;
use crate::output::{Out, table};
use crate::size;

/// How often `--wait` looks.
const POLL: Duration = Duration::from_secs(1);

/// How `dfs cluster status` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 if the cluster is available; with --wait, if it is also as asked for and nothing is lost.

Examples:
  dfs cluster status main -n prod
  dfs cluster status main --wait --timeout 2m")]
pub(super) struct Args {
    /// The DfsCluster [default: --cluster, or the only one].
    name: Option<String>,
    /// Wait until it is available, everything asked for is there and nothing is degraded.
    #[arg(short, long)]
    wait: bool,
    /// How long to wait.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "5m", requires = "wait")]
    timeout: Duration,
}

#[derive(Serialize)]
struct Shown<'a> {
    namespace: &'a str,
    name: &'a str,
    status: &'a DfsClusterStatus,
    pods: Vec<ShownPod>,
}

#[derive(Debug, PartialEq, Serialize)]
struct ShownPod {
    name: String,
    ready: bool,
    state: String,
    restarts: i32,
    node: Option<String>,
    #[serde(skip)]
    age: String,
}

impl Args {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let access = context.global.access().await?;
        let name = named(self.name.as_deref(), context);
        let deadline = Instant::now() + self.timeout;
        let cluster = loop {
            let cluster = access.cluster(name).await?;
            if !self.wait || is_settled(&cluster) || Instant::now() >= deadline {
                break cluster;
            }
            tokio::time::sleep(POLL).await;
        };
        let status = cluster.status.clone().unwrap_or_default();
        show(context, &access, &cluster, &status).await?;
        let good = if self.wait { is_settled(&cluster) } else { status.is(condition::AVAILABLE) };
        if good { Ok(()) } else { Err(Failure::Reported(1)) }
    }
}

/// Whether everything is as asked for.
fn is_settled(cluster: &DfsCluster) -> bool {
    cluster.status.as_ref().is_some_and(|status| status.settled(cluster.metadata.generation).is_ok())
}

async fn show(
    context: &Context,
    access: &Access,
    cluster: &DfsCluster,
    status: &DfsClusterStatus,
) -> Outcome {
    let name = name_of(cluster);
    let api: Api<Pod> = Api::namespaced(access.client.clone(), &name.namespace);
    let listed = answer(api.list(&ListParams::default().labels(&name.selector()))).await?;
    let pods: Vec<_> = listed.items.iter().map(shown_pod).collect();
    let mut out = Out::new();
    if context.global.output == Format::Json {
        out.json(&Shown { namespace: &name.namespace, name: &name.name, status, pods })?;
        return out.flush();
    }
    let rows = sentences(&name.to_string(), status).into_iter();
    out.line(&table(Vec::new(), rows.map(|(what, text)| vec![format!("{what}:"), text]).collect(), &[]))?;
    if !pods.is_empty() {
        let rows = pods.into_iter().map(|pod| {
            let ready = if pod.ready { "yes" } else { "no" }.to_owned();
            let node = pod.node.unwrap_or_else(|| "-".to_owned());
            vec![pod.name, ready, pod.state, pod.restarts.to_string(), pod.age, node]
        });
        out.line("")?;
        out.line(&table(vec!["POD", "READY", "STATE", "RESTARTS", "AGE", "NODE"], rows.collect(), &[3]))?;
    }
    out.flush()
}

/// What there is to say, a line each.
fn sentences(name: &str, status: &DfsClusterStatus) -> Vec<(&'static str, String)> {
    let id = status.cluster_id.as_ref().map_or_else(String::new, |id| format!(", id {id}"));
    let mut rows = vec![("Cluster", format!("{name}{id}"))];
    rows.extend(status.image.clone().map(|image| ("Image", image)));
    for kind in [condition::AVAILABLE, condition::PROGRESSING, condition::DEGRADED] {
        let text = status.condition(kind).map_or_else(
            || "the operator has not said anything yet".to_owned(),
            |found| {
                let says = match found.status.as_str() {
                    "True" => "yes",
                    "False" => "no",
                    _ => "unknown",
                };
                let message = if found.message.is_empty() { &found.reason } else { &found.message };
                format!("{says} for {}: {message}", age(Some(found.last_transition_time.0)))
            },
        );
        rows.push((kind, text));
    }
    rows.extend(status.waiting_for.clone().map(|what| ("Waiting for", what)));
    if status.safe_mode == Some(true) {
        rows.push(("Safe mode", "on: replicas are counted, nothing can be written".to_owned()));
    }
    if let Some(nodes) = &status.name_nodes {
        let leader =
            nodes.leader.as_deref().map_or_else(|| "none leads".to_owned(), |pod| format!("{pod} leads"));
        let text =
            format!("{} of {} ready, {} up to date, {leader}", nodes.ready, nodes.desired, nodes.updated);
        rows.push(("NameNodes", text));
    }
    if let Some(nodes) = &status.data_nodes {
        let pools: Vec<_> = status
            .pools
            .iter()
            .map(|pool| format!("{} {} of {}", pool.name, pool.ready, pool.desired))
            .collect();
        let pools = if pools.len() > 1 { format!(" ({})", pools.join(", ")) } else { String::new() };
        let text = format!("{} of {} ready, {} up to date{pools}", nodes.ready, nodes.desired, nodes.updated);
        rows.push(("DataNodes", text));
    }
    if let Some(space) = &status.capacity {
        let (used, total) = (size::human(space.used_bytes), size::human(space.total_bytes));
        rows.push(("Space", format!("{used} used of {total} ({} %)", space.used_percent)));
    }
    if let Some(chunks) = &status.chunks {
        rows.push((
            "Chunks",
            format!(
                "{}, {} under-replicated ({} with one copy), {} missing, {} corrupt",
                chunks.total, chunks.under_replicated, chunks.only_one_copy, chunks.missing, chunks.corrupt
            ),
        ));
    }
    rows
}

fn shown_pod(pod: &Pod) -> ShownPod {
    let status = pod.status.clone().unwrap_or_default();
    let is_true = |kind: &str| {
        status
            .conditions
            .iter()
            .flatten()
            .any(|condition| condition.type_ == kind && condition.status == "True")
    };
    let containers = status.container_statuses.iter().flatten();
    // Why a container waits or ended says more than the pod's phase.
    let stuck = containers.clone().find_map(|container| {
        let state = container.state.as_ref()?;
        let waits = state.waiting.as_ref().and_then(|waiting| waiting.reason.clone());
        waits.or_else(|| state.terminated.as_ref().and_then(|ended| ended.reason.clone()))
    });
    let leaving = pod.metadata.deletion_timestamp.is_some().then(|| "Terminating".to_owned());
    ShownPod {
        name: pod.name_any(),
        ready: is_true("Ready"),
        state: leaving.or(stuck).or(status.phase.clone()).unwrap_or_else(|| "-".to_owned()),
        restarts: containers.map(|container| container.restart_count).sum(),
        node: pod.spec.as_ref().and_then(|spec| spec.node_name.clone()),
        age: age(pod.creation_timestamp().map(|time| time.0)),
    }
}

#[cfg(test)]
mod tests {
    use dfs_kubernetes::crd::{NameNodeStatus, PoolStatus};
    use serde_json::json;

    use super::*;

    fn status(available: &str, progressing: &str, degraded: &str) -> DfsClusterStatus {
        let condition = |kind: &str, status: &str| {
            json!({ "type": kind, "status": status, "reason": "Why", "message": "because",
                    "lastTransitionTime": "2026-01-01T00:00:00Z" })
        };
        serde_json::from_value(json!({
            "observedGeneration": 2,
            "conditions": [
                condition("Available", available), condition("Progressing", progressing), condition("Degraded", degraded),
            ],
        }))
        .unwrap()
    }

    #[test]
    fn what_is_known_is_said_and_what_is_not_is_left_out() {
        let rows = sentences("prod/main", &DfsClusterStatus::default());
        assert_eq!(rows.len(), 4);
        assert_eq!(rows[1], ("Available", "the operator has not said anything yet".to_owned()));
        let pool = |name: &str| PoolStatus { name: name.to_owned(), desired: 2, ready: 1, updated: 2 };
        let status = DfsClusterStatus {
            name_nodes: Some(NameNodeStatus {
                desired: 3,
                ready: 3,
                updated: 3,
                leader: Some("main-namenode-1".into()),
            }),
            data_nodes: Some(dfs_kubernetes::crd::DataNodeStatus { desired: 4, ready: 2, updated: 4 }),
            pools: vec![pool("hot"), pool("cold")],
            waiting_for: Some("DataNodes".to_owned()),
            ..status("True", "True", "False")
        };
        let rows = sentences("prod/main", &status);
        let text =
            |what: &str| rows.iter().find(|(name, _)| *name == what).map(|(_, text)| text.as_str()).unwrap();
        assert!(text("Available").starts_with("yes for ") && text("Available").ends_with(": because"));
        assert_eq!(text("NameNodes"), "3 of 3 ready, 3 up to date, main-namenode-1 leads");
        assert_eq!(text("DataNodes"), "2 of 4 ready, 4 up to date (hot 1 of 2, cold 1 of 2)");
        assert_eq!(text("Waiting for"), "DataNodes");
    }

    #[test]
    fn a_pod_says_what_keeps_it() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "main-datanode-hot-0" },
            "spec": { "containers": [], "nodeName": "worker" },
            "status": {
                "phase": "Running",
                "conditions": [{ "type": "Ready", "status": "False" }],
                "containerStatuses": [{
                    "name": "datanode", "image": "", "imageID": "", "ready": false, "restartCount": 4,
                    "state": { "waiting": { "reason": "CrashLoopBackOff" } },
                }],
            },
        }))
        .unwrap();
        let shown = shown_pod(&pod);
        assert_eq!((shown.state.as_str(), shown.restarts, shown.ready), ("CrashLoopBackOff", 4, false));
        assert_eq!(shown_pod(&Pod::default()).state, "-");
    }
}
