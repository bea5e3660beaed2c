//! `dfs setrep`.

use std::time::{Duration, Instant};

use dfs_client::Dfs;
use dfs_types::limits::MAX_REPLICATION;
use dfs_types::{ErrorCode, FsError, FsPath};

use crate::context::Context;
use crate::exit::{Failure, Failures, Outcome};
use crate::glob::Reading;
use crate::remote;

/// How often the replicas are counted while waiting.
const POLL: Duration = Duration::from_millis(250);

/// How `dfs setrep` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  dfs setrep 2 /data           every file in /data
  dfs setrep -w 3 /a.bin       and wait until the replicas are there")]
pub(crate) struct Args {
    /// Replicas of each chunk.
    #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_REPLICATION)))]
    replication: u32,
    /// Files, patterns, or directories (then every file in them).
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    /// Wait until every chunk has that many.
    #[arg(short, long)]
    wait: bool,
    /// How long to wait at most.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "10m")]
    timeout: Duration,
    /// Accepted for hdfs's sake: directories are always gone through.
    #[arg(short = 'R', long, short_alias = 'r', hide = true)]
    recursive: bool,
    #[command(flatten)]
    reading: Reading,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let mut failures = Failures::of("setrep");
        let found = remote::expand_all(&dfs, &self.paths, self.reading, &mut failures).await?;
        for (path, status) in &found {
            let entry = (path.clone(), status.clone());
            remote::for_each(&dfs, entry, true, &mut failures, async |path, status| {
                if status.is_directory() {
                    return Ok(());
                }
                dfs.set_replication(path, self.replication).await.map_err(Failure::from)
            })
            .await?;
        }
        if self.wait {
            let deadline = Instant::now() + self.timeout;
            for (path, _) in &found {
                let outcome = self.wait_for(&dfs, path, deadline).await;
                failures.keep(outcome)?;
            }
        }
        failures.finish()
    }

    async fn wait_for(&self, dfs: &Dfs, path: &FsPath, deadline: Instant) -> Outcome {
        loop {
            let summary = super::fsck::summary(dfs, path).await?;
            let wrong = summary.under_replicated + summary.over_replicated;
            if wrong == 0 {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let message = format!(
                    "{path}: {wrong} chunks have another number of replicas after {:?}",
                    self.timeout
                );
                return Err(FsError::new(ErrorCode::TimedOut, message).into());
            }
            tokio::time::sleep(POLL).await;
        }
    }
}
