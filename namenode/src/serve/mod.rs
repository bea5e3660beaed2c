//! The NameNode's ports: wire messages in, [`Namenode`]'s methods, wire messages out. Wire types stop here.

mod admin;
mod cluster;
mod gate;
pub mod http;
mod large;
mod namenodes;
mod namespace;
mod raft;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use dfs_daemon::accept::{CountRequests, Incoming};
use dfs_daemon::{Memory, Shutdown};
use dfs_proto::v1::admin_server::AdminServer;
use dfs_proto::v1::cluster_server::ClusterServer;
use dfs_proto::v1::namenodes_server::NamenodesServer;
use dfs_proto::v1::namespace_server::NamespaceServer;
use dfs_proto::v1::raft_server::RaftServer;
use dfs_types::limits::MAX_NAMENODE_MESSAGE_BYTES;
use tonic::transport::Server;
use tower::layer::util::{Identity, Stack};

use crate::api::Namenode;
use crate::metrics::Metrics;
use gate::GateLayer;

/// Requests under way on one connection; a client that has more waits.
const MAX_STREAMS: u32 = 1_024;
/// Silence after which a connection's peer is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Time it has to answer.
const KEEPALIVE_ANSWER: Duration = Duration::from_secs(10);
/// Largest set of headers of a request, in bytes.
const MAX_HEADERS: u32 = 16 << 10;

/// Serves gRPC until a stop is requested and the requests under way are answered.
pub async fn grpc(
    incoming: Incoming,
    namenode: Arc<Namenode>,
    metrics: Metrics,
    shutdown: Shutdown,
) -> Result<(), tonic::transport::Error> {
    let namespace = NamespaceServer::new(namespace::Service(Arc::clone(&namenode)))
        .max_decoding_message_size(MAX_NAMENODE_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_NAMENODE_MESSAGE_BYTES);
    let cluster = ClusterServer::new(cluster::Service(Arc::clone(&namenode)))
        .max_decoding_message_size(MAX_NAMENODE_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_NAMENODE_MESSAGE_BYTES);
    let admin = AdminServer::new(admin::Service(Arc::clone(&namenode)))
        .max_decoding_message_size(MAX_NAMENODE_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_NAMENODE_MESSAGE_BYTES);
    let namenodes = NamenodesServer::new(namenodes::Service(Arc::clone(&namenode)));
    let raft = RaftServer::new(raft::Service { namenode: Some(namenode), shutdown: shutdown.clone() })
        .max_decoding_message_size(MAX_NAMENODE_MESSAGE_BYTES);
    builder()
        .layer(GateLayer::new(metrics, Memory::of_process().bytes()))
        .add_service(namespace)
        .add_service(cluster)
        .add_service(admin)
        .add_service(namenodes)
        .add_service(raft)
        .serve_with_incoming_shutdown(incoming, async move { shutdown.requested().await })
        .await
}

/// As long as this NameNode belongs to no group it says only that, until a stop is requested.
pub async fn vacant(incoming: Incoming, shutdown: Shutdown) -> Result<(), tonic::transport::Error> {
    let raft = RaftServer::new(raft::Service { namenode: None, shutdown: shutdown.clone() });
    builder()
        .add_service(raft)
        .serve_with_incoming_shutdown(incoming, async move { shutdown.requested().await })
        .await
}

fn builder() -> Server<Stack<CountRequests, Identity>> {
    Server::builder()
        .layer(CountRequests)
        .max_concurrent_streams(MAX_STREAMS)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_ANSWER))
        .http2_max_header_list_size(MAX_HEADERS)
}
