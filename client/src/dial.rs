//! How connections are opened.

use std::error::Error as _;
use std::fmt;
use std::time::Duration;

use dfs_types::limits::MAX_STREAMS;
use dfs_types::{ErrorCode, FsError, FsResult};
use futures_util::future::BoxFuture;
use tonic::transport::{Channel, Endpoint, Error};

/// Interval of HTTP/2 pings on a connection with calls under way, and how long an answer may take: finds peers that
/// vanished without a word.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Largest HTTP/2 frame the client accepts, in bytes: fewer, larger frames cost less per byte.
const MAX_FRAME: u32 = 1 << 20;

/// Opens connections to NameNodes and DataNodes. The default, [`TcpConnector`], dials the address; another one may
/// tunnel (a Kubernetes port-forward, for example).
pub trait Connector: Send + Sync + fmt::Debug {
    /// Connects to `address` (`host:port`). `endpoint` carries the address and all settings: an implementation ends
    /// with one of its `connect` functions.
    fn connect<'a>(&'a self, endpoint: Endpoint, address: &'a str) -> BoxFuture<'a, Result<Channel, Error>>;
}

/// Dials the address with TCP.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpConnector;

impl Connector for TcpConnector {
    fn connect<'a>(&'a self, endpoint: Endpoint, _address: &'a str) -> BoxFuture<'a, Result<Channel, Error>> {
        Box::pin(async move { endpoint.connect().await })
    }
}

/// Opens a connection within `limit`, each stream of which may have `window` bytes under way.
pub(crate) async fn dial(
    connector: &dyn Connector,
    address: &str,
    limit: Duration,
    window: u32,
) -> FsResult<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| FsError::invalid(format!("'{address}' is not an address: write HOST:PORT")))?
        .connect_timeout(limit)
        .tcp_nodelay(true)
        .initial_stream_window_size(window)
        // Room for all streams, or those that nobody reads would stop the others.
        .initial_connection_window_size(MAX_STREAMS * window)
        .max_frame_size(MAX_FRAME.min(window))
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE);
    let unreachable =
        |why: String| FsError::new(ErrorCode::Unavailable, format!("{address} can't be reached: {why}"));
    match tokio::time::timeout(limit, connector.connect(endpoint, address)).await {
        Ok(Ok(channel)) => Ok(channel),
        Ok(Err(error)) => Err(unreachable(root_cause(&error))),
        Err(_) => Err(unreachable(format!("no connection within {limit:?}"))),
    }
}

/// The innermost reason: tonic's own text is only "transport error".
fn root_cause(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = cause.to_string();
        source = cause.source();
    }
    text
}
