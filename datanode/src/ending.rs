//! Why a DataNode does not start, or ended.

use std::io;
use std::net::SocketAddr;

use dfs_types::FsError;

/// Why a DataNode does not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A port cannot be listened on.
    #[error("cannot listen on {address} for {what}: {reason}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Which port it is.
        what: &'static str,
        /// What to do about it.
        reason: String,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A volume cannot be used.
    #[error("{0}")]
    Volume(String),
    /// A setting is wrong, or the NameNode refuses this node for good.
    #[error(transparent)]
    Refused(#[from] FsError),
    /// The file with the topology is wrong.
    #[error("{0}")]
    Place(String),
    /// The metrics cannot be registered.
    #[error("metrics cannot be registered")]
    Metrics(#[from] prometheus::Error),
    /// The data port broke.
    #[error("the data port failed")]
    Serve(#[from] tonic::transport::Error),
    /// A task of the process ended where it should not: a bug.
    #[error("a task of the process broke off")]
    Task(#[from] tokio::task::JoinError),
}
