//! Renews this client's leases while it writes.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use dfs_proto::v1;
use dfs_types::limits::LEASE_RENEW_INTERVAL;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use crate::connect::Inner;
use crate::retry::Patience;

/// Counts open writers; while there are any, one task renews the leases of all of them.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<Renewal>);

#[derive(Debug, Default)]
struct Renewal {
    writers: usize,
    task: Option<AbortOnDropHandle<()>>,
}

/// One open writer.
#[derive(Debug)]
pub(crate) struct LeaseGuard(Arc<Inner>);

impl LeaseGuard {
    /// Starts the renewal if this is the first writer.
    pub(crate) fn new(dfs: Arc<Inner>) -> Self {
        let mut renewal = dfs.leases.0.lock().unwrap_or_else(PoisonError::into_inner);
        renewal.writers += 1;
        if renewal.task.is_none() {
            let task = tokio::spawn(renew(Arc::downgrade(&dfs)));
            renewal.task = Some(AbortOnDropHandle::new(task));
        }
        drop(renewal);
        Self(dfs)
    }
}

impl Drop for LeaseGuard {
    fn drop(&mut self) {
        let mut renewal = self.0.leases.0.lock().unwrap_or_else(PoisonError::into_inner);
        renewal.writers -= 1;
        if renewal.writers == 0 {
            renewal.task = None;
        }
    }
}

async fn renew(dfs: Weak<Inner>) {
    let mut ticks = tokio::time::interval(LEASE_RENEW_INTERVAL);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let Some(dfs) = dfs.upgrade() else { return };
        let holder = &dfs.holder;
        let renewed = dfs
            .namenode
            .namespace(Patience::steady(LEASE_RENEW_INTERVAL), |mut client, context| {
                let request = v1::RenewLeaseRequest { context: Some(context), holder: holder.clone() };
                async move { client.renew_lease(request).await }
            })
            .await;
        if let Err(error) = renewed {
            warn!(%error, "leases were not renewed, trying again at the next interval");
        }
    }
}
