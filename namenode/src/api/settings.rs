//! Settings of the cluster as a whole.

use dfs_types::{ClusterSetting, ClusterSettings, FsResult};
use tracing::info;

use super::{Namenode, Origin};
use crate::store::edit::Edit;

impl Namenode {
    /// What all settings are.
    pub fn cluster_settings(&self) -> ClusterSettings {
        self.store.settings()
    }

    /// Changes a setting, or with `None` brings it back to its default; answers all. For superusers.
    pub async fn set_setting(
        &self,
        origin: Origin,
        setting: ClusterSetting,
        value: Option<u64>,
    ) -> FsResult<ClusterSettings> {
        self.check_superuser(&origin.caller)?;
        value.map_or(Ok(()), |value| setting.check(value))?;
        let user = origin.caller.user.clone();
        self.administer(origin, Edit::SetSetting { setting, value }).await?;
        info!(setting = setting.name(), value, user, "a setting of the cluster was changed");
        Ok(self.cluster_settings())
    }
}
