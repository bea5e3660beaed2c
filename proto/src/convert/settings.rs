//! Settings of the cluster as a whole.

use dfs_types::{ClusterSetting, ClusterSettings, FsError, FsResult};

use crate::{stored, v1};

impl From<ClusterSetting> for v1::Setting {
    fn from(setting: ClusterSetting) -> Self {
        match setting {
            ClusterSetting::Umask => Self::Umask,
            ClusterSetting::AccessTimePrecision => Self::AccessTimePrecision,
        }
    }
}

/// The setting; `None` if this program does not know it.
fn known(setting: v1::Setting) -> Option<ClusterSetting> {
    match setting {
        v1::Setting::Umask => Some(ClusterSetting::Umask),
        v1::Setting::AccessTimePrecision => Some(ClusterSetting::AccessTimePrecision),
        v1::Setting::Unspecified => None,
    }
}

impl From<ClusterSetting> for stored::Setting {
    fn from(setting: ClusterSetting) -> Self {
        match setting {
            ClusterSetting::Umask => Self::Umask,
            ClusterSetting::AccessTimePrecision => Self::AccessTimePrecision,
        }
    }
}

impl TryFrom<stored::Setting> for ClusterSetting {
    type Error = String;

    fn try_from(setting: stored::Setting) -> Result<Self, String> {
        match setting {
            stored::Setting::Umask => Ok(Self::Umask),
            stored::Setting::AccessTimePrecision => Ok(Self::AccessTimePrecision),
            stored::Setting::Unspecified => Err("the setting is missing".to_owned()),
        }
    }
}

/// What a setting is to be.
pub fn wire_setting(setting: ClusterSetting, value: Option<u64>) -> v1::SettingValue {
    v1::SettingValue { setting: v1::Setting::from(setting).into(), value }
}

/// Which setting is to be what; the value is not checked.
pub fn setting(wire: Option<v1::SettingValue>) -> FsResult<(ClusterSetting, Option<u64>)> {
    let wire = wire.ok_or_else(|| FsError::invalid("the request lacks 'setting'"))?;
    let setting = known(wire.setting()).ok_or_else(|| {
        FsError::invalid("the request lacks 'setting.setting', or names one that is not known here")
    })?;
    Ok((setting, wire.value))
}

impl From<ClusterSettings> for v1::Settings {
    fn from(settings: ClusterSettings) -> Self {
        let value = |setting| wire_setting(setting, settings.get(setting));
        Self { settings: ClusterSetting::ALL.into_iter().map(value).collect() }
    }
}

/// Settings of a later release, which are not known here, are left out.
impl From<v1::Settings> for ClusterSettings {
    fn from(settings: v1::Settings) -> Self {
        settings.settings.iter().fold(Self::default(), |all, wire| match known(wire.setting()) {
            Some(setting) => all.with(setting, wire.value),
            None => all,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_come_as_they_were_sent() {
        let mut all = ClusterSettings::default();
        for (number, of) in ClusterSetting::ALL.into_iter().enumerate() {
            for value in [None, Some(0), Some(number as u64)] {
                all = all.with(of, value);
                assert_eq!(ClusterSettings::from(v1::Settings::from(all)), all);
                assert_eq!(setting(Some(wire_setting(of, value))), Ok((of, value)));
            }
            assert_eq!(ClusterSetting::try_from(stored::Setting::from(of)), Ok(of));
        }
        let later = v1::SettingValue { setting: 1_000, value: Some(1) };
        assert!(setting(Some(later)).is_err() && setting(None).is_err());
        let with_later = v1::Settings { settings: [v1::Settings::from(all).settings, vec![later]].concat() };
        assert_eq!(ClusterSettings::from(with_later), all);
    }
}
