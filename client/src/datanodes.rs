//! Connections to DataNodes, short calls to them, and which of them failed lately.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use dfs_proto::convert::{Endpoint, from_status};
use dfs_proto::v1::chunks_client::ChunksClient;
use dfs_types::limits::MAX_DATA_MESSAGE_BYTES;
use dfs_types::{ErrorCode, FsError, FsResult, NodeId};
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::dial::{Connector, dial};

/// How long a node that failed is the last choice.
const SUSPECT_FOR: Duration = Duration::from_secs(30);
/// Nodes remembered as suspects, and connections kept, at most.
const MAX_REMEMBERED: usize = 4_096;

/// The DataNodes as this client knows them.
#[derive(Debug)]
pub(crate) struct DataNodes {
    connector: Arc<dyn Connector>,
    connect_timeout: Duration,
    channels: Mutex<HashMap<(NodeId, String), Channel>>,
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
    pub(crate) fn new(connector: Arc<dyn Connector>, connect_timeout: Duration) -> Self {
        Self {
            connector,
            connect_timeout,
            channels: Mutex::new(HashMap::new()),
            suspects: Mutex::new(HashMap::new()),
        }
    }

    /// A client on the cached connection to `node`, or on a new one.
    pub(crate) async fn client(&self, node: &Endpoint) -> FsResult<ChunksClient<Channel>> {
        let key = (node.id, node.address());
        let cached = self.channels.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let channel = if let Some(channel) = cached {
            channel
        } else {
            let channel = dial(self.connector.as_ref(), &key.1, self.connect_timeout).await?;
            let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
            if channels.len() >= MAX_REMEMBERED {
                channels.clear();
            }
            channels.insert(key, channel.clone());
            channel
        };
        Ok(ChunksClient::new(channel)
            .max_decoding_message_size(MAX_DATA_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_DATA_MESSAGE_BYTES))
    }

    /// One call that answers with one message, within `limit`. A node that can't be reached becomes a suspect.
    pub(crate) async fn call<T, F, Fut>(&self, node: &Endpoint, limit: Duration, call: F) -> FsResult<T>
    where
        F: FnOnce(ChunksClient<Channel>) -> Fut,
        Fut: Future<Output = Result<Response<T>, Status>>,
    {
        let whole = async {
            let client = self.client(node).await?;
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
        let key = (node.id, node.address());
        self.channels.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
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
