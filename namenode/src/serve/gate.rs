//! What every request passes: a limit of requests under way, a deadline, and its metrics.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use dfs_proto::convert::to_status;
use dfs_types::{ErrorCode, FsError};
use http::{Request, Response};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use crate::metrics::Metrics;
use crate::serve::large::Large;

/// Clients' requests under way; most of them only wait for a commit.
const MAX_CLIENT_REQUESTS: usize = 8_192;
/// Clients' requests that wait for replicas, for many seconds if DataNodes are ill. They have their own limit: nobody
/// else's requests are to be refused because of them.
const MAX_WAITING_REQUESTS: usize = 8_192;
/// DataNodes' requests under way. They have their own limit: clients must not be able to make nodes look
/// dead.
const MAX_NODE_REQUESTS: usize = 8_192;
/// Time until a request must be answered; a client may ask for less with `grpc-timeout`.
const DEADLINE: Duration = Duration::from_secs(30);
/// Other NameNodes' requests under way.
const MAX_MEMBER_REQUESTS: usize = 64;
/// Time in which a backup must begin: all of the metadata is copied before.
const BACKUP_DEADLINE: Duration = Duration::from_mins(10);
/// Time that a snapshot may take.
const SNAPSHOT_DEADLINE: Duration = Duration::from_hours(1);

const CLUSTER_PREFIX: &str = "/dfs.v1.Cluster/";
const RAFT_PREFIX: &str = "/dfs.v1.Raft/";
const COMPLETE: &str = "/dfs.v1.Namespace/Complete";

/// Time until a request must be answered; `None` for a stream that lives as long as its connection, which is asked
/// whether it is alive.
fn deadline(path: &str) -> Option<Duration> {
    match path {
        "/dfs.v1.Raft/Deliver" => None,
        "/dfs.v1.Raft/InstallSnapshot" => Some(SNAPSHOT_DEADLINE),
        "/dfs.v1.Namenodes/Backup" => Some(BACKUP_DEADLINE),
        _ => Some(DEADLINE),
    }
}

/// Whether a request is a stream of messages, each of which is done with when the next one comes; there are few of them.
fn streams(path: &str) -> bool {
    matches!(path, "/dfs.v1.Raft/Deliver" | "/dfs.v1.Raft/InstallSnapshot")
}

/// What all requests share.
#[derive(Debug)]
struct Shared {
    metrics: Metrics,
    clients: Semaphore,
    waiting: Semaphore,
    nodes: Semaphore,
    members: Semaphore,
    large: Large,
}

impl Shared {
    /// The limit of a request, and from whom it is.
    fn class(&self, path: &str) -> (&Semaphore, &'static str) {
        if path.starts_with(CLUSTER_PREFIX) {
            (&self.nodes, "datanode")
        } else if path.starts_with(RAFT_PREFIX) {
            (&self.members, "namenode")
        } else if path == COMPLETE {
            (&self.waiting, "client")
        } else {
            (&self.clients, "client")
        }
    }
}

/// Puts a [`Gate`] before the services. Cheap to clone: every request does.
#[derive(Debug, Clone)]
pub(super) struct GateLayer(Arc<Shared>);

impl GateLayer {
    /// For a process with so much memory.
    pub(super) fn new(metrics: Metrics, memory: u64) -> Self {
        Self(Arc::new(Shared {
            metrics,
            large: Large::new(memory),
            clients: Semaphore::new(MAX_CLIENT_REQUESTS),
            waiting: Semaphore::new(MAX_WAITING_REQUESTS),
            nodes: Semaphore::new(MAX_NODE_REQUESTS),
            members: Semaphore::new(MAX_MEMBER_REQUESTS),
        }))
    }
}

impl<S> Layer<S> for GateLayer {
    type Service = Gate<S>;

    fn layer(&self, inner: S) -> Gate<S> {
        Gate { layer: self.clone(), inner }
    }
}

/// A service behind limit, deadline and metrics.
#[derive(Debug, Clone)]
pub(super) struct Gate<S> {
    layer: GateLayer,
    inner: S,
}

impl<S> Service<Request<Body>> for Gate<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The clone takes the place of the service that was made ready, as tower's documentation asks for.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        let GateLayer(shared) = self.layer.clone();
        Box::pin(async move {
            let path = request.uri().path().to_owned();
            let (limit, from) = shared.class(&path);
            let _in_flight = shared.metrics.in_flight(from);
            let deadline = deadline(&path);
            let mut measured =
                Measured { shared: Arc::clone(&shared), path, started: Instant::now(), code: None };
            let Ok(_place) = limit.try_acquire() else {
                let busy = FsError::new(
                    ErrorCode::Busy,
                    "the NameNode has too many requests under way: try again in a moment",
                );
                measured.code = Some(Answered::Error(busy.code));
                return Ok(to_status(busy).into_http());
            };
            let (request, _place) = if streams(&measured.path) {
                (request, None)
            } else {
                let (parts, body) = request.into_parts();
                let (body, place) = shared.large.watch(body);
                (Request::from_parts(parts, body), Some(place))
            };
            let answer = inner.call(request);
            let result = match deadline {
                None => Some(answer.await),
                Some(deadline) => timeout(deadline, answer).await.ok(),
            };
            let Some(result) = result else {
                let late = FsError::new(
                    ErrorCode::TimedOut,
                    format!(
                        "the NameNode did not answer within {} s: try again",
                        deadline.unwrap_or_default().as_secs()
                    ),
                );
                measured.code = Some(Answered::Error(late.code));
                return Ok(to_status(late).into_http());
            };
            if let Ok(response) = &result {
                measured.code = Some(answered(response));
            }
            result
        })
    }
}

#[derive(Debug, Clone, Copy)]
enum Answered {
    Ok,
    Error(ErrorCode),
    UnknownMethod,
}

/// How a request was answered, by the headers of a response that has no body.
fn answered(response: &Response<Body>) -> Answered {
    let Some(status) = Status::from_header_map(response.headers()) else { return Answered::Ok };
    if status.code() == Code::Ok {
        return Answered::Ok;
    }
    let error = dfs_proto::convert::from_status(&status);
    // No method of ours answers this, so the path is not one of ours either.
    if status.code() == Code::Unimplemented { Answered::UnknownMethod } else { Answered::Error(error.code) }
}

/// Counts a request when it is over, also when its client went away and the request was dropped.
#[derive(Debug)]
struct Measured {
    shared: Arc<Shared>,
    path: String,
    started: Instant,
    code: Option<Answered>,
}

impl Drop for Measured {
    fn drop(&mut self) {
        let method = self.path.rsplit('/').next().unwrap_or_default();
        let (method, code) = match self.code {
            Some(Answered::Ok) => (method, "ok"),
            Some(Answered::Error(code)) => (method, code.name()),
            // A label made from a path we do not know would let anyone fill the registry.
            Some(Answered::UnknownMethod) => ("unknown", ErrorCode::Unsupported.name()),
            None => ("unknown", "cancelled"),
        };
        self.shared.metrics.rpc(method, code, self.started.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_files_takes_no_place_of_any_other_request() {
        let metrics = Metrics::on(&Metrics::meter(&prometheus::Registry::new())).unwrap();
        let GateLayer(shared) = GateLayer::new(metrics, 1 << 30);
        let places: Vec<_> =
            std::iter::from_fn(|| shared.class("/dfs.v1.Namespace/Complete").0.try_acquire().ok()).collect();
        assert_eq!(places.len(), MAX_WAITING_REQUESTS);
        for path in [
            "/dfs.v1.Namespace/Stat",
            "/dfs.v1.Namespace/Create",
            "/dfs.v1.Cluster/Heartbeat",
            "/dfs.v1.Cluster/ReportReplicas",
            "/dfs.v1.Raft/Deliver",
            "/dfs.v1.Admin/Report",
        ] {
            assert!(shared.class(path).0.try_acquire().is_ok(), "{path}");
        }
    }
}
