//! Settings of the cluster as a whole.

use dfs_proto::convert::wire_setting;
use dfs_proto::v1;
use dfs_types::{ClusterSetting, ClusterSettings, FsResult};

use crate::handle::Dfs;

impl Dfs {
    /// What all settings are.
    pub async fn cluster_settings(&self) -> FsResult<ClusterSettings> {
        let settings = self
            .inner
            .namenode
            .admin(self.inner.settings.call(), |mut client, context| async move {
                client.get_settings(v1::GetSettingsRequest { context: Some(context) }).await
            })
            .await?;
        Ok(settings.into())
    }

    /// Changes a setting, or with `None` brings it back to its default; answers all.
    pub async fn set_setting(
        &self,
        setting: ClusterSetting,
        value: Option<u64>,
    ) -> FsResult<ClusterSettings> {
        let settings = self
            .inner
            .namenode
            .admin(self.inner.settings.call(), |mut client, context| {
                let setting = Some(wire_setting(setting, value));
                let request = v1::SetSettingRequest { context: Some(context), setting };
                async move { client.set_setting(request).await }
            })
            .await?;
        Ok(settings.into())
    }
}
