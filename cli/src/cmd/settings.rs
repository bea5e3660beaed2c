//! `dfs admin settings`: settings of the cluster as a whole.

use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use dfs_client::{ClusterSetting, ClusterSettings};
use serde::Serialize;

use crate::context::Context;
use crate::exit::Outcome;
use crate::global::Format;
use crate::output::{Out, table};

/// What stands for a precision of access times that reading does not set.
const OFF: &str = "off";

/// How `dfs admin settings` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Without a command it shows all settings. They count for the whole cluster at once and are kept by its NameNodes; only
superusers change them.

Examples:
  dfs admin settings
  dfs admin settings set umask 027
  dfs admin settings set access-time-precision 1h
  dfs admin settings reset umask")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Changes a setting.
    Set {
        #[command(subcommand)]
        change: Change,
    },
    /// Brings a setting back to its default.
    Reset {
        /// Which one.
        #[arg(value_name = "NAME", value_parser = setting_parser())]
        setting: ClusterSetting,
    },
}

#[derive(Debug, clap::Subcommand)]
enum Change {
    /// Permission bits that no new file or directory gets, whatever its maker asks for.
    Umask {
        /// The bits, in octal digits.
        #[arg(value_name = "BITS", value_parser = umask)]
        value: u64,
    },
    /// How old the access time of a file that is read may be before it is set to now.
    AccessTimePrecision {
        /// The time, or 'off' for access times that reading leaves alone.
        #[arg(value_name = "TIME", value_parser = precision)]
        value: u64,
    },
}

#[derive(Serialize)]
struct Shown {
    settings: Vec<ShownSetting>,
}

#[derive(Serialize)]
struct ShownSetting {
    name: &'static str,
    value: String,
    default: String,
    meaning: &'static str,
}

fn setting_parser() -> impl clap::builder::TypedValueParser<Value = ClusterSetting> {
    PossibleValuesParser::new(ClusterSetting::ALL.map(ClusterSetting::name)).try_map(|name| {
        let named = ClusterSetting::ALL.into_iter().find(|setting| setting.name() == name);
        named.ok_or_else(|| format!("there is no setting {name}"))
    })
}

fn umask(text: &str) -> Result<u64, String> {
    let bits = u64::from_str_radix(text, 8)
        .map_err(|_| format!("umask '{text}' is not octal: use digits 0 to 7, such as 027"))?;
    checked(ClusterSetting::Umask, bits)
}

fn precision(text: &str) -> Result<u64, String> {
    let time = match text {
        OFF => Duration::ZERO,
        _ => humantime::parse_duration(text)
            .map_err(|error| format!("'{text}' is no time ({error}): write one such as 1h, or {OFF}"))?,
    };
    checked(ClusterSetting::AccessTimePrecision, u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn checked(setting: ClusterSetting, value: u64) -> Result<u64, String> {
    setting.check(value).map(|()| value).map_err(|error| error.message)
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let settings = match self.command {
            None => dfs.cluster_settings().await?,
            Some(Command::Set { change }) => {
                let (setting, value) = match change {
                    Change::Umask { value } => (ClusterSetting::Umask, value),
                    Change::AccessTimePrecision { value } => (ClusterSetting::AccessTimePrecision, value),
                };
                dfs.set_setting(setting, Some(value)).await?
            }
            Some(Command::Reset { setting }) => dfs.set_setting(setting, None).await?,
        };
        let mut out = Out::new();
        if context.global.output == Format::Json {
            out.json(&shown(&settings))?;
        } else {
            out.line(&text(&settings))?;
        }
        out.flush()
    }
}

/// A value as it is typed.
fn typed(setting: ClusterSetting, value: u64) -> String {
    match setting {
        ClusterSetting::Umask => format!("{value:03o}"),
        ClusterSetting::AccessTimePrecision if value == 0 => OFF.to_owned(),
        ClusterSetting::AccessTimePrecision => {
            humantime::format_duration(Duration::from_millis(value)).to_string()
        }
    }
}

const fn meaning(setting: ClusterSetting) -> &'static str {
    match setting {
        ClusterSetting::Umask => "permission bits that no new file or directory gets",
        ClusterSetting::AccessTimePrecision => "how old an access time may be before a read sets it",
    }
}

fn shown(settings: &ClusterSettings) -> Shown {
    let setting = |setting: ClusterSetting| ShownSetting {
        name: setting.name(),
        value: typed(setting, settings.value(setting)),
        default: typed(setting, setting.default_value()),
        meaning: meaning(setting),
    };
    Shown { settings: ClusterSetting::ALL.into_iter().map(setting).collect() }
}

fn text(settings: &ClusterSettings) -> String {
    let row = |ShownSetting { name, value, default, meaning }| {
        vec![name.to_owned(), value, default, meaning.to_owned()]
    };
    let rows = shown(settings).settings.into_iter().map(row).collect();
    table(vec!["NAME", "VALUE", "DEFAULT", "MEANING"], rows, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_typed_as_they_are_shown() {
        for (text, value) in [("022", 0o22), ("000", 0), ("777", 0o777)] {
            assert_eq!(umask(text), Ok(value));
            assert_eq!(typed(ClusterSetting::Umask, value), text);
        }
        for (text, value) in [("off", 0), ("1h", 3_600_000), ("1m 30s", 90_000)] {
            assert_eq!(precision(text), Ok(value));
            assert_eq!(typed(ClusterSetting::AccessTimePrecision, value), text);
        }
        for text in ["", "8", "1000", "u=rwx", "-1"] {
            assert!(umask(text).is_err(), "{text}");
        }
        for text in ["", "never", "1ms", "99y"] {
            assert!(precision(text).is_err(), "{text}");
        }
    }

    #[test]
    fn settings_are_shown_both_ways() {
        let settings = ClusterSettings::default().with(ClusterSetting::Umask, Some(0o27));
        assert_eq!(
            text(&settings),
            "NAME                   VALUE  DEFAULT  MEANING\n\
             umask                  027    000      permission bits that no new file or directory gets\n\
             access-time-precision  off    off      how old an access time may be before a read sets it"
        );
        let shown = serde_json::to_value(shown(&settings)).unwrap();
        let expected = serde_json::json!({ "name": "umask", "value": "027", "default": "000",
            "meaning": "permission bits that no new file or directory gets" });
        assert_eq!(shown["settings"][0], expected);
    }
}
