//! Closing files whose writer is gone, and what that waits for.

use dfs_proto::v1;
use dfs_types::{FsPath, FsResult, LeaseRecovery};

use crate::handle::Dfs;

impl Dfs {
    /// Closes a file whose writer is gone, taking its lease, and tells what that waits for: ask again until it is closed.
    ///
    /// With `accept_loss`, which is for superusers, the file may end with less than was acknowledged, once no node that can
    /// be asked has all of it. Another NameNode that comes to lead forgets that: give it each time.
    pub async fn lease_recovery(&self, path: &FsPath, accept_loss: bool) -> FsResult<LeaseRecovery> {
        let holder = self.inner.leases.holder();
        self.inner
            .namenode
            .namespace(self.inner.settings.call(), |mut client, context| {
                let request = v1::RecoverLeaseRequest {
                    context: Some(context),
                    path: path.to_string(),
                    holder: holder.to_owned(),
                    accept_loss,
                };
                async move { client.recover_lease(request).await }
            })
            .await?
            .try_into()
    }
}
