//! `dfs tail`.

use std::time::Duration;

use dfs_types::{ErrorCode, FsError};

use super::cat::{standard_output, write_range};
use crate::context::Context;
use crate::exit::Outcome;
use crate::glob::Reading;
use crate::{remote, size};

/// How `dfs tail` is typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// A file, or a pattern that stands for one.
    #[arg(value_name = "PATH")]
    path: String,
    /// How much of its end to show.
    #[arg(short = 'c', long, value_name = "SIZE", value_parser = size::parse, default_value = "1KiB")]
    bytes: u64,
    /// Go on and show what is appended, until interrupted.
    #[arg(short, long)]
    follow: bool,
    /// How often to look whether the file has grown.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "1s")]
    interval: Duration,
    #[command(flatten)]
    reading: Reading,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let (path, _) = remote::one(&dfs, &self.path, self.reading).await?;
        let mut stdout = standard_output()?;
        let mut shown = None;
        loop {
            let status = dfs.stat(&path).await?;
            if status.is_directory() {
                let message = format!("{path} is a directory: only files have an end to show");
                return Err(FsError::new(ErrorCode::IsADirectory, message).into());
            }
            // The reader knows how much of an open file can be read; the status may not yet.
            let reader = dfs.open(&path).await?;
            let length = reader.len();
            let start = match shown {
                None => length.saturating_sub(self.bytes),
                // A file that became shorter was replaced: begin again.
                Some(shown) if shown > length => 0,
                Some(shown) => shown,
            };
            write_range(&reader, start..length, &mut stdout).await?;
            shown = Some(length);
            if !self.follow {
                return Ok(());
            }
            tokio::time::sleep(self.interval).await;
        }
    }
}
