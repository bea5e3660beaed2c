//! Renews this client's leases while it writes.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use dfs_proto::v1;
use dfs_types::limits::LEASE_RENEW_INTERVAL;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use crate::namenode::NameNode;
use crate::retry::Patience;

/// Counts open writers; while there are any, one task renews the leases of all of them.
#[derive(Debug)]
pub(crate) struct Leases {
    namenode: Arc<NameNode>,
    holder: String,
    renewal: Mutex<Renewal>,
}

#[derive(Debug, Default)]
struct Renewal {
    writers: usize,
    task: Option<AbortOnDropHandle<()>>,
}

impl Leases {
    /// The leases of the client that talks to `namenode`; none yet.
    pub(crate) fn new(namenode: Arc<NameNode>) -> Self {
        let holder = format!("dfs-client-{}", namenode.client());
        Self { namenode, holder, renewal: Mutex::default() }
    }

    /// Name under which this client holds leases.
    pub(crate) fn holder(&self) -> &str {
        &self.holder
    }
}

/// One open writer.
#[derive(Debug)]
pub(crate) struct LeaseGuard(Arc<Leases>);

impl LeaseGuard {
    /// Starts the renewal if this is the first writer.
    pub(crate) fn new(leases: Arc<Leases>) -> Self {
        let mut renewal = leases.renewal.lock().unwrap_or_else(PoisonError::into_inner);
        renewal.writers += 1;
        if renewal.task.is_none() {
            let task = tokio::spawn(renew(Arc::downgrade(&leases)));
            renewal.task = Some(AbortOnDropHandle::new(task));
        }
        drop(renewal);
        Self(leases)
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        let mut renewal = self.0.renewal.lock().unwrap_or_else(PoisonError::into_inner);
        renewal.writers -= 1;
        if renewal.writers == 0 {
            renewal.task = None;
        }
    }
}

async fn renew(leases: Weak<Leases>) {
    let mut ticks = tokio::time::interval(LEASE_RENEW_INTERVAL);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Some(leases) = leases.upgrade() else { return };
        let holder = leases.holder();
        let renewed = leases
            .namenode
            .namespace(Patience::steady(LEASE_RENEW_INTERVAL), |mut client, context| {
                let request = v1::RenewLeaseRequest { context: Some(context), holder: holder.to_owned() };
                async move { client.renew_lease(request).await }
            })
            .await;
        if let Err(error) = renewed {
            warn!(%error, "leases were not renewed, trying again at the next interval");
        }
    }
}
