//! Asking file systems how they are, and telling them what is decided: through the client library, as anybody does.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use dfs_client::{Builder, Dfs};
use dfs_kubernetes::ClusterName;
use dfs_kubernetes::forward::Forward;
use dfs_kubernetes::names::SUPERUSER;
use dfs_types::{FsError, FsResult, NodeId};
use kube::Client;
use tokio::time::timeout;

use crate::observe::{Files, FilesView};

/// Longest that one file system may take to answer: an election fits in, and no other cluster waits for it.
const PATIENCE: Duration = Duration::from_secs(8);
/// Longest that a connection may take.
const CONNECT: Duration = Duration::from_secs(3);
/// Longest that handing over the leadership may take.
const HAND_OVER: Duration = Duration::from_secs(20);

/// How NameNodes are reached.
#[derive(Clone)]
pub enum Way {
    /// By their names, from within the Kubernetes cluster.
    Direct,
    /// Through the API server's port-forward.
    Forward(Client),
}

/// The file systems of all clusters, each with a connection that is kept.
pub struct FileSystems {
    way: Way,
    connected: Mutex<HashMap<ClusterName, Dfs>>,
}

impl FileSystems {
    /// None connected yet.
    pub fn new(way: Way) -> Self {
        Self { way, connected: Mutex::default() }
    }

    /// How the file system is.
    pub async fn ask(&self, cluster: &ClusterName, namenodes: u32) -> Files {
        let asked = timeout(PATIENCE, async {
            let dfs = self.connection(cluster, namenodes).await?;
            let (report, group) = (dfs.report().await?, dfs.namenodes().await?);
            FsResult::Ok(FilesView::new(&report, &group))
        });
        match asked.await {
            Ok(Ok(view)) => Files::Told(Box::new(view)),
            Ok(Err(error)) => {
                self.forget(cluster);
                Files::Silent(error.message)
            }
            Err(_) => {
                self.forget(cluster);
                Files::Silent(format!("the NameNodes do not answer within {PATIENCE:?}"))
            }
        }
    }

    /// Has the NameNode that keeps up best lead.
    pub async fn move_leader(&self, cluster: &ClusterName, namenodes: u32) -> FsResult<()> {
        let dfs = self.connection(cluster, namenodes).await?;
        match timeout(HAND_OVER, dfs.transfer_leader(None)).await {
            Ok(result) => result.map(|_leader| ()),
            Err(_) => Err(FsError::internal(format!("no other NameNode led within {HAND_OVER:?}"))),
        }
    }

    /// Tells that these DataNodes never come back.
    pub async fn announce_loss(
        &self,
        cluster: &ClusterName,
        namenodes: u32,
        nodes: &[NodeId],
    ) -> FsResult<()> {
        self.connection(cluster, namenodes).await?.announce_loss(nodes).await
    }

    /// Has DataNodes that are dead and never come back forgotten.
    pub async fn forget_nodes(
        &self,
        cluster: &ClusterName,
        namenodes: u32,
        nodes: &[NodeId],
    ) -> FsResult<()> {
        self.connection(cluster, namenodes).await?.forget_nodes(nodes, false).await
    }

    /// Drops the connection to a cluster.
    pub fn forget(&self, cluster: &ClusterName) {
        self.connected.lock().unwrap_or_else(PoisonError::into_inner).remove(cluster);
    }

    async fn connection(&self, cluster: &ClusterName, namenodes: u32) -> FsResult<Dfs> {
        let known = self.connected.lock().unwrap_or_else(PoisonError::into_inner).get(cluster).cloned();
        if let Some(dfs) = known {
            return Ok(dfs);
        }
        let builder = match &self.way {
            Way::Direct => {
                cluster.namenode_addresses(namenodes).into_iter().fold(Dfs::builder(), Builder::namenode)
            }
            Way::Forward(client) => Forward::builder(client.clone(), cluster, namenodes, None),
        };
        let dfs = builder
            .user(SUPERUSER)
            .groups(Vec::new())
            .connect_timeout(CONNECT)
            .call_budget(PATIENCE)
            .connect()
            .await?;
        let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        connected.insert(cluster.clone(), dfs.clone());
        Ok(dfs)
    }
}
