//! `dfs truncate`.

use crate::context::Context;
use crate::exit::{Failure, Failures, Outcome};
use crate::glob::Reading;
use crate::{remote, size};

/// How `dfs truncate` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  dfs truncate 0 /logs/all.log
  dfs truncate 64MiB /data/a.bin")]
pub(crate) struct Args {
    /// Bytes that stay, such as 1000 or 64MiB; files that have fewer are left alone, with exit status 1.
    #[arg(value_name = "LENGTH", value_parser = size::parse)]
    length: u64,
    /// Files or patterns.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    /// Accepted for hdfs's sake: what is truncated is so at once.
    #[arg(short, hide = true)]
    wait: bool,
    #[command(flatten)]
    reading: Reading,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let mut failures = Failures::of("truncate");
        let found = remote::expand_all(&dfs, &self.paths, self.reading, &mut failures).await?;
        for (path, _) in &found {
            let truncated = dfs.truncate(path, self.length).await.map_err(Failure::from);
            failures.keep(truncated)?;
        }
        failures.finish()
    }
}
