//! `dfs chmod`.

use crate::context::Context;
use crate::exit::{Failure, Failures, Outcome};
use crate::glob::Reading;
use crate::mode::ModeChange;
use crate::remote;

/// How `dfs chmod` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  dfs chmod 640 /a.txt
  dfs chmod -R u+rwX,go-w /shared")]
pub(crate) struct Args {
    /// Octal bits, or changes such as u+x,go-w,a=rX.
    #[arg(value_name = "MODE", allow_hyphen_values = true)]
    mode: ModeChange,
    /// Files, directories or patterns.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    /// Directories with everything in them.
    #[arg(short = 'R', long, short_alias = 'r')]
    recursive: bool,
    #[command(flatten)]
    reading: Reading,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let mut failures = Failures::of("chmod");
        for entry in remote::expand_all(&dfs, &self.paths, self.reading, &mut failures).await? {
            remote::for_each(&dfs, entry, self.recursive, &mut failures, async |path, status| {
                let mode = self.mode.apply(status.mode, status.is_directory());
                dfs.set_mode(path, mode).await.map_err(Failure::from)
            })
            .await?;
        }
        failures.finish()
    }
}
