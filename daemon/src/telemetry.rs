//! Logs: levels by flag or environment, text for people or JSON for machines, always to standard error.

use std::io::IsTerminal;

use dfs_types::names::ENV_LOG;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::SubscriberBuilder;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The filter or the subscriber could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The directives are not understood.
    #[error(
        "the log filter '{directives}' is not understood: write for example 'info' or 'info,dfs_datanode=debug'"
    )]
    Filter {
        /// What was given.
        directives: String,
        /// Why not.
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    /// Another subscriber is installed already.
    #[error("logging is set up already in this process")]
    Installed(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Installs the process's log subscriber. `directives` (a flag) wins over the environment's [`ENV_LOG`]; without both
/// the level is `info`.
pub fn init(directives: Option<&str>, format: LogFormat) -> Result<(), Error> {
    let from_env = std::env::var(ENV_LOG).ok();
    let directives = directives.or(from_env.as_deref()).unwrap_or("info");
    let filter = EnvFilter::builder()
        .parse(directives)
        .map_err(|source| Error::Filter { directives: directives.to_owned(), source })?;
    let builder = SubscriberBuilder::default()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(Error::Installed)
}
