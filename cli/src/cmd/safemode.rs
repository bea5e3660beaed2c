//! `dfs safemode`.

use std::time::{Duration, Instant};

use clap::ValueEnum;
use dfs_client::{SafeModeAction, SafeModeStatus};
use dfs_types::{ErrorCode, FsError};
use serde::Serialize;

use crate::context::Context;
use crate::exit::Outcome;
use crate::global::Format;
use crate::output::Out;

/// How often safe mode is looked at while waiting.
const POLL: Duration = Duration::from_millis(250);

/// How `dfs safemode` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
In safe mode the NameNode takes no changes and copies nothing. It starts in it and leaves it by itself when the
DataNodes have reported their chunks.")]
pub(crate) struct Args {
    /// What to do.
    #[arg(value_enum)]
    action: Action,
    /// How long 'wait' waits at most.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "10m")]
    timeout: Duration,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Action {
    /// Show whether it is on.
    Get,
    /// Switch it on.
    Enter,
    /// Switch it off.
    Leave,
    /// Wait until it is off.
    Wait,
}

#[derive(Serialize)]
struct Shown {
    on: bool,
    manual: bool,
    reported: u64,
    needed: u64,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let status = match self.action {
            Action::Get => dfs.safe_mode(SafeModeAction::Get).await?,
            Action::Enter => dfs.safe_mode(SafeModeAction::Enter).await?,
            Action::Leave => dfs.safe_mode(SafeModeAction::Leave).await?,
            Action::Wait => {
                let deadline = Instant::now() + self.timeout;
                loop {
                    let status = dfs.safe_mode(SafeModeAction::Get).await?;
                    if !status.on {
                        break status;
                    }
                    if Instant::now() >= deadline {
                        let message =
                            format!("safe mode is still on after {:?}: {}", self.timeout, sentence(&status));
                        return Err(FsError::new(ErrorCode::TimedOut, message).into());
                    }
                    tokio::time::sleep(POLL).await;
                }
            }
        };
        let mut out = Out::new();
        if context.global.output == Format::Json {
            let SafeModeStatus { on, manual, reported, needed } = status;
            out.json(&Shown { on, manual, reported, needed })?;
        } else {
            out.line(&sentence(&status))?;
        }
        out.flush()
    }
}

/// Safe mode in one line.
pub(super) fn sentence(status: &SafeModeStatus) -> String {
    match (status.on, status.manual) {
        (false, _) => "safe mode is off".to_owned(),
        (true, true) => "safe mode is on by command: 'dfs safemode leave' ends it".to_owned(),
        (true, false) => format!(
            "safe mode is on: {} of the {} chunks it waits for are reported",
            status.reported, status.needed
        ),
    }
}
