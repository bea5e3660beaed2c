//! Connections to DataNodes, short calls to them, and which of them failed lately.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dfs_proto::convert::from_status;
use dfs_proto::pool::{Lease, Pool};
use dfs_proto::v1::chunks_client::ChunksClient;
use dfs_types::limits::MAX_DATA_MESSAGE_BYTES;
use dfs_types::{Endpoint, ErrorCode, FsError, FsResult, NodeId};
use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::dial::{Connector, dial};

/// How long a node that failed is the last choice.
const SUSPECT_FOR: Duration = Duration::from_secs(30);
/// Nodes remembered as suspects at most.
const MAX_REMEMBERED: usize = 4_096;

/// A connection that is open or being opened; all that wait for it share what comes of it.
type Opening = Shared<BoxFuture<'static, FsResult<Channel>>>;

/// A client for one stream or call, and the place on a connection that it takes as long as that goes on.
pub(crate) type Reserved = (ChunksClient<Channel>, Place);
/// A stream's place on a connection.
pub(crate) type Place = Lease<Opening>;

/// The DataNodes as this client knows them.
#[derive(Debug)]
pub(crate) struct DataNodes {
    connector: Arc<dyn Connector>,
    connect_timeout: Duration,
    /// Flow control window of a stream, in bytes.
    window: u32,
    connections: Pool<Opening>,
    suspects: Mutex<HashMap<NodeId, Suspect>>,
}

/// A node that is the last choice.
#[derive(Debug, Clone, Copy)]
struct Suspect {
    until: Instant,
    /// It can't be used, or the way to it; otherwise it was only slow.
    broken: bool,
}

impl DataNodes {
    pub(crate) fn new(connector: Arc<dyn Connector>, connect_timeout: Duration, window: u32) -> Self {
        Self {
            connector,
            connect_timeout,
            window,
            connections: Pool::default(),
            suspects: Mutex::new(HashMap::new()),
        }
    }

    /// A client on a connection to `node` that has room for another stream.
    pub(crate) async fn client(&self, node: &Endpoint) -> FsResult<Reserved> {
        let address = node.address();
        let lease = self.connections.lease(&Self::key(node), || {
            let (connector, limit, window) = (Arc::clone(&self.connector), self.connect_timeout, self.window);
            Ok(async move { dial(connector.as_ref(), &address, limit, window).await }.boxed().shared())
        })?;
        let channel = lease.connection().clone().await?;
        let client = ChunksClient::new(channel)
            .max_decoding_message_size(MAX_DATA_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_DATA_MESSAGE_BYTES);
        Ok((client, lease))
    }

    /// A node that comes back elsewhere, or another one at its address, gets connections of its own.
    fn key(node: &Endpoint) -> String {
        format!("{}@{}", node.id, node.address())
    }

    /// One call that answers with one message, within `limit`. A node that can't be reached becomes a suspect.
    pub(crate) async fn call<T, F, Fut>(&self, node: &Endpoint, limit: Duration, call: F) -> FsResult<T>
    where
        F: FnOnce(ChunksClient<Channel>) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let whole = async {
            let (client, _place) = self.client(node).await?;
            call(client).await.map(Response::into_inner).map_err(|status| from_status(&status))
        };
        let answer = tokio::time::timeout(limit, whole).await.unwrap_or_else(|_| {
            Err(FsError::new(ErrorCode::TimedOut, format!("{node} did not answer within {limit:?}")))
        });
        if let Err(error) = &answer {
            self.blame(node, error);
        }
        answer
    }

    /// Draws the consequences of a node's `error`: if it says that the node or the way to it is broken, the
    /// connection is dropped and the node is the last choice for a while.
    pub(crate) fn blame(&self, node: &Endpoint, error: &FsError) {
        if !matches!(error.code, ErrorCode::Unavailable | ErrorCode::TimedOut | ErrorCode::WrongCluster) {
            return;
        }
        self.connections.forget(&Self::key(node));
        self.suspect(node.id, true);
    }

    /// Another node answered before this one: it is the last choice for reads for a while.
    pub(crate) fn overtaken(&self, node: NodeId) {
        self.suspect(node, false);
    }

    fn suspect(&self, node: NodeId, broken: bool) {
        let now = Instant::now();
        let mut suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        suspects.retain(|_, suspect| suspect.until > now);
        if suspects.len() < MAX_REMEMBERED {
            suspects.insert(node, Suspect { until: now + SUSPECT_FOR, broken });
        }
    }

    /// The nodes that could not be used lately.
    pub(crate) fn broken(&self) -> Vec<NodeId> {
        self.suspects_where(|suspect| suspect.broken)
    }

    fn suspects_where(&self, wanted: impl Fn(&Suspect) -> bool) -> Vec<NodeId> {
        let now = Instant::now();
        let suspects = self.suspects.lock().unwrap_or_else(PoisonError::into_inner);
        suspects
            .iter()
            .filter(|(_, suspect)| suspect.until > now && wanted(suspect))
            .map(|(node, _)| *node)
            .collect()
    }

    /// `nodes` in their order, those that failed or were slow lately last.
    pub(crate) fn ranked(&self, nodes: &[Endpoint]) -> Vec<Endpoint> {
        let suspects = self.suspects_where(|_| true);
        let mut nodes = nodes.to_vec();
        nodes.sort_by_key(|node| suspects.contains(&node.id));
        nodes
    }
}
