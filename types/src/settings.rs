//! Settings of the cluster as a whole, which administrators change while it runs.

use std::time::Duration;

use crate::limits::{MAX_ACCESS_TIME_PRECISION, MIN_ACCESS_TIME_PRECISION};
use crate::{FsError, FsResult, Mode};

/// Permission bits that a umask may have.
const UMASK: u64 = 0o777;

/// One of the settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClusterSetting {
    /// Permission bits that nothing which is made gets; none by default.
    Umask,
    /// How old, in milliseconds, a file's access time may be when it is read without being set; 0, the default: however old
    /// (HDFS's `dfs.namenode.accesstime.precision`).
    AccessTimePrecision,
}

impl ClusterSetting {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Umask, Self::AccessTimePrecision];

    /// What it is called on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Umask => "umask",
            Self::AccessTimePrecision => "access-time-precision",
        }
    }

    /// The value that counts while none is set.
    pub const fn default_value(self) -> u64 {
        match self {
            Self::Umask | Self::AccessTimePrecision => 0,
        }
    }

    /// Whether it can have this value.
    pub fn check(self, value: u64) -> FsResult<()> {
        let is_possible = match self {
            Self::Umask => value & !UMASK == 0,
            Self::AccessTimePrecision => {
                let time = Duration::from_millis(value);
                value == 0 || (MIN_ACCESS_TIME_PRECISION..=MAX_ACCESS_TIME_PRECISION).contains(&time)
            }
        };
        if is_possible {
            return Ok(());
        }
        let text = match self {
            Self::Umask => format!("a umask of {value:o} is not possible: use 0 to {UMASK:o} (octal)"),
            Self::AccessTimePrecision => format!(
                "a precision of access times of {value} ms is not possible: use 0 for none, or {} s to {} days",
                MIN_ACCESS_TIME_PRECISION.as_secs(),
                MAX_ACCESS_TIME_PRECISION.as_secs() / (24 * 3_600)
            ),
        };
        Err(FsError::invalid(text))
    }
}

/// What all settings are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ClusterSettings {
    umask: Option<u64>,
    access_time_precision: Option<u64>,
}

impl ClusterSettings {
    /// What a setting was set to; `None`: it has its default.
    pub const fn get(&self, setting: ClusterSetting) -> Option<u64> {
        match setting {
            ClusterSetting::Umask => self.umask,
            ClusterSetting::AccessTimePrecision => self.access_time_precision,
        }
    }

    /// With another value of a setting.
    #[must_use]
    pub const fn with(mut self, setting: ClusterSetting, value: Option<u64>) -> Self {
        match setting {
            ClusterSetting::Umask => self.umask = value,
            ClusterSetting::AccessTimePrecision => self.access_time_precision = value,
        }
        self
    }

    /// The value that counts.
    pub fn value(&self, setting: ClusterSetting) -> u64 {
        self.get(setting).unwrap_or(setting.default_value())
    }

    /// The permission bits that something gets for which these are asked.
    pub fn masked(&self, mode: Mode) -> Mode {
        Mode::truncate(mode.bits() & !(self.value(ClusterSetting::Umask) as u32))
    }

    /// How old the access time of a file that is read may be; `None`: however old.
    pub fn access_time_precision(&self) -> Option<Duration> {
        let value = self.value(ClusterSetting::AccessTimePrecision);
        (value != 0).then(|| Duration::from_millis(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_have_values_within_bounds() {
        for (setting, good, bad) in [
            (ClusterSetting::Umask, [0, 0o22, 0o777], [0o1000, 0o1022, u64::MAX]),
            (ClusterSetting::AccessTimePrecision, [0, 1_000, 3_600_000], [1, 999, u64::MAX]),
        ] {
            assert!(good.into_iter().all(|value| setting.check(value).is_ok()), "{setting:?}");
            assert!(bad.into_iter().all(|value| setting.check(value).is_err()), "{setting:?}");
            setting.check(setting.default_value()).unwrap();
        }
    }

    #[test]
    fn what_is_not_set_has_its_default() {
        let mode = Mode::new(0o1777).unwrap();
        let none = ClusterSettings::default();
        assert_eq!((none.masked(mode), none.access_time_precision()), (mode, None));
        let set = none
            .with(ClusterSetting::Umask, Some(0o27))
            .with(ClusterSetting::AccessTimePrecision, Some(60_000));
        assert_eq!(set.masked(mode).bits(), 0o1750, "the sticky bit is no permission");
        assert_eq!(set.access_time_precision(), Some(Duration::from_mins(1)));
        assert_eq!(set.with(ClusterSetting::AccessTimePrecision, Some(0)).access_time_precision(), None);
        let reset =
            ClusterSetting::ALL.into_iter().fold(set, |settings, setting| settings.with(setting, None));
        assert_eq!(reset, none);
    }
}
