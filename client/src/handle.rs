//! [`Dfs`], the handle, and what its clones share.

use std::sync::Arc;
use std::time::Duration;

use dfs_types::ClusterId;
use tokio_util::task::AbortOnDropHandle;

use crate::datanodes::DataNodes;
use crate::lease::Leases;
use crate::memory::Memory;
use crate::namenode::NameNode;
use crate::retry::Patience;

/// Longest that "safe mode" delays a call that is not part of a transfer.
const SAFE_MODE_PATIENCE: Duration = Duration::from_secs(5);

/// A file system. Cheap to clone; all clones share connections, the lease renewal and the memory limits.
#[derive(Debug, Clone)]
pub struct Dfs {
    pub(crate) inner: Arc<Inner>,
}

/// What all clones share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) namenode: Arc<NameNode>,
    pub(crate) nodes: DataNodes,
    pub(crate) leases: Arc<Leases>,
    pub(crate) memory: Memory,
    pub(crate) settings: Settings,
    /// This machine's name, to prefer a DataNode on it.
    pub(crate) host: String,
    pub(crate) cluster: ClusterId,
    pub(crate) min_replicas: u32,
    /// The task that learns the addresses of further NameNodes, which ends with the client.
    pub(crate) _learning: AbortOnDropHandle<()>,
}

/// The times that a [`Builder`](crate::Builder) sets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settings {
    pub(crate) connect_timeout: Duration,
    pub(crate) call_budget: Duration,
    pub(crate) transfer_budget: Duration,
    pub(crate) ack_timeout: Duration,
    pub(crate) stall_timeout: Duration,
    pub(crate) hedge_after: Duration,
}

impl Settings {
    /// For calls by themselves.
    pub(crate) fn call(&self) -> Patience {
        Patience { total: self.call_budget, safe_mode: SAFE_MODE_PATIENCE.min(self.call_budget) }
    }

    /// For calls that a running transfer depends on.
    pub(crate) fn transfer(&self) -> Patience {
        Patience::steady(self.transfer_budget)
    }
}
