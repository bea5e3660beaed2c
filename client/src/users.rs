//! Which groups users are in, and who may do anything.

use dfs_proto::v1;
use dfs_types::limits::MAX_USERS_ASKED;
use dfs_types::{FsResult, GroupReport, Superusers};

use crate::handle::Dfs;

impl Dfs {
    /// The groups of users as the NameNode has them; with none named of who asks.
    pub async fn groups(&self, users: &[String]) -> FsResult<GroupReport> {
        let (first, further) = users.split_at(users.len().min(MAX_USERS_ASKED));
        let mut report = self.some_groups(first).await?;
        for users in further.chunks(MAX_USERS_ASKED) {
            report.users.extend(self.some_groups(users).await?.users);
        }
        Ok(report)
    }

    async fn some_groups(&self, users: &[String]) -> FsResult<GroupReport> {
        let reply = self
            .inner
            .namenode
            .admin(self.inner.settings.call(), |mut client, context| {
                let request = v1::GetGroupsRequest { context: Some(context), users: users.to_vec() };
                async move { client.get_groups(request).await }
            })
            .await?;
        reply.try_into()
    }

    /// Who may do anything.
    pub async fn superusers(&self) -> FsResult<Superusers> {
        let superusers = self
            .inner
            .namenode
            .admin(self.inner.settings.call(), |mut client, context| async move {
                client.get_superusers(v1::GetSuperusersRequest { context: Some(context) }).await
            })
            .await?;
        superusers.try_into()
    }
}
