//! Starting and stopping the operator; the only place that spawns.
//!
//! Start: the HTTP port, the API server, the Lease; whoever holds it watches and reconciles. When the Lease is lost the process
//! ends with an error, and its successor begins as everybody does.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, ensure};
use dfs_daemon::{Admin, Log, LogFormat, Memory, Readiness, Room, Shutdown, limits, telemetry};
use dfs_kubernetes::ClusterName;
use dfs_kubernetes::forward::said;
use dfs_kubernetes::names::FIELD_MANAGER;
use futures_util::{FutureExt as _, StreamExt as _};
use kube::runtime::controller::{self, applier};
use kube::runtime::events::{Recorder, Reporter};
use kube::{Client, Config};
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio_stream::wrappers::ReceiverStream;
use tracing::{debug, info, warn};

use crate::apply::Applier;
use crate::config::{LogStyle, RunArgs};
use crate::controller::{Context, Memories, after_failure, reconcile};
use crate::filesystem::{FileSystems, Way};
use crate::lease::Candidate;
use crate::metrics::Metrics;
use crate::watch::{self, Scope};

/// Longest that the API server may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long changes of one cluster are collected before they are looked at.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// Clusters that are looked at at once.
const CONCURRENCY: u16 = 32;
/// Time that everything has to end.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// Starts the log.
pub fn logs(args: &RunArgs) -> Result<Log, telemetry::Error> {
    let format = match args.log_format {
        LogStyle::Text => LogFormat::Text,
        LogStyle::Json => LogFormat::Json,
    };
    telemetry::init(args.log.as_deref(), format, None)
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    let default_image = args.default_image().map_err(|error| anyhow!(error))?;
    let shutdown = Shutdown::new();
    shutdown.on_signals().context("signals can't be watched for")?;
    let registry = Registry::new();
    let meter = Metrics::meter(&registry);
    let metrics = Metrics::on(&meter).context("metrics can't be registered")?;
    limits::raise_open_files();
    let connections = limits::connections(limits::open_files(), Memory::of_process().bytes());
    let room = Room::new(connections, &meter).context("metrics can't be registered")?;
    let readiness = Readiness::default();
    let listener = TcpListener::bind(&args.http)
        .await
        .with_context(|| format!("{} can't be listened on: choose another --http", args.http))?;
    info!(http = %listener.local_addr()?, version = env!("CARGO_PKG_VERSION"), image = args.image, "started");
    let pages = Admin::new(registry, readiness.clone());
    let stop = shutdown.clone();
    let incoming = room.accept("http", listener, &shutdown)?;
    shutdown.spawn(async move {
        if let Err(error) = pages.serve(incoming, stop.clone()).await {
            stop.request();
            warn!(%error, "the HTTP port failed");
        }
    });

    // It ends by itself when a stop is asked for, and gives the Lease back.
    let result = work(&args, default_image, metrics, &readiness, &shutdown).await;
    readiness.waiting("stopping");
    shutdown.finish(STOP_LIMIT).await;
    result
}

async fn work(
    args: &RunArgs,
    default_image: crate::build::DefaultImage,
    metrics: Metrics,
    readiness: &Readiness,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    readiness.waiting("looking for the API server");
    let mut config = Config::infer().await.context("there is no way to an API server: set KUBECONFIG")?;
    config.connect_timeout = Some(CONNECT);
    // Whatever fails is tried again here, after another look. An eviction that a budget does not allow would be repeated for
    // minutes.
    config.default_retry = false;
    let namespace = args.lease_namespace.clone().unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config).context("the way to the API server can't be used")?;
    let identity = identity();
    // Whoever stands by is ready to take over.
    readiness.ready();
    let candidate = Candidate::new(client.clone(), &namespace, &args.lease_name, identity.clone());
    if !args.no_lease && !candidate.acquire(shutdown).await {
        return Ok(());
    }
    metrics.leading(true);
    readiness.waiting("reading what is there");
    let scope = args.namespace.clone().map_or(Scope::Everywhere, Scope::Namespace);
    let working = control(args, client, scope, default_image, metrics.clone(), identity, readiness, shutdown);
    let result = if args.no_lease {
        working.await
    } else {
        tokio::select! {
            result = working => result,
            () = candidate.hold(shutdown) => {
                if shutdown.is_requested() { Ok(()) } else { Err(anyhow!("the Lease was lost: another operator works")) }
            }
        }
    };
    metrics.leading(false);
    if !args.no_lease {
        candidate.release().await;
    }
    result
}

#[expect(clippy::too_many_arguments, reason = "called once, by the function that has them all")]
async fn control(
    args: &RunArgs,
    client: Client,
    scope: Scope,
    default_image: crate::build::DefaultImage,
    metrics: Metrics,
    identity: String,
    readiness: &Readiness,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    // Asked for and not allowed is an error: to go on without would take the zones from all DataNodes that have them, by a roll.
    if args.node_labels {
        watch::may_read_machines(&client).await.map_err(|error| anyhow!(without_machines(&error)))?;
    }
    let (caches, triggers) = watch::start(&client, &scope, args.node_labels, &metrics, shutdown);
    let way = if args.port_forward { Way::Forward(client.clone()) } else { Way::Direct };
    let clusters = caches.clusters.clone();
    let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: Some(identity) };
    let context = Arc::new(Context {
        applier: Applier::new(client.clone(), metrics.clone()),
        recorder: Recorder::new(client.clone(), reporter),
        files: FileSystems::new(way),
        metrics,
        default_image,
        memories: Memories::default(),
        caches,
        client,
    });
    // Triggers wait in their queue meanwhile; before all is read, objects that are there would seem to be missing.
    let mut triggers = std::pin::pin!(ReceiverStream::new(triggers).peekable());
    let ready = tokio::select! {
        ready = context.caches.ready() => ready,
        () = shutdown.requested() => return Ok(()),
    };
    if !ready {
        // The watches end with the process, and may be the first to.
        ensure!(shutdown.is_requested(), "a watch ended before it had begun");
        return Ok(());
    }
    readiness.ready();
    info!(clusters = clusters.len(), ?scope, "reconciling");
    let stop = shutdown.clone();
    let queue = triggers.as_mut().map(Ok::<_, Infallible>).take_until(async move { stop.requested().await });
    let reconciler = |cluster, context| reconcile(cluster, context).boxed();
    let config = controller::Config::default().debounce(DEBOUNCE).concurrency(CONCURRENCY);
    let results = applier(reconciler, after_failure, Arc::clone(&context), clusters.clone(), queue, config);
    let mut results = std::pin::pin!(results);
    while let Some(result) = results.next().await {
        context.metrics.clusters(clusters.len());
        match result {
            // Failures were told where they happened.
            Ok(_) | Err(controller::Error::ReconcilerFailed(..)) => {}
            Err(controller::Error::ObjectNotFound(object)) => {
                let name = ClusterName::new(object.namespace.unwrap_or_default(), object.name);
                debug!(cluster = %name, "a cluster is gone");
                context.forget(&name);
            }
            Err(error) => warn!(%error, "the queue of clusters failed"),
        }
    }
    if shutdown.is_requested() { Ok(()) } else { Err(anyhow!("the queue of clusters ended")) }
}

fn without_machines(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => format!(
            "the labels of machines may not be read ({}): give the right to list and watch nodes, or --node-labels=false \
             (the chart's nodeLabels), without which DataNodes know no zones and racks",
            status.message
        ),
        error => format!("the API server can't be asked about machines: {}", said(error)),
    }
}

/// Tells this process from all others, and from itself in another life.
fn identity() -> String {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    format!("{host}_{}", uuid::Uuid::new_v4())
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    #[test]
    fn a_missing_right_is_told_with_its_remedy() {
        let refused =
            |code| kube::Error::Api(Box::new(Status { code, message: "no".to_owned(), ..Status::default() }));
        assert!(without_machines(&refused(403)).contains("--node-labels=false"));
        assert!(!without_machines(&refused(500)).contains("--node-labels=false"));
    }
}
