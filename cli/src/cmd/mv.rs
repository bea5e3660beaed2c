//! `dfs mv`.

use crate::args::Context;
use crate::exit::{Failure, Failures, Outcome};
use crate::remote;
use crate::transfer::target::RemoteTarget;

/// How `dfs mv` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  dfs mv /a.txt /b.txt         rename
  dfs mv /a.txt /b.txt /docs   move into an existing directory
  dfs mv -f /new /current      replace an existing file")]
pub(crate) struct Args {
    /// What to move; patterns are fine.
    #[arg(value_name = "SOURCE", required = true)]
    sources: Vec<String>,
    /// New name, or an existing directory.
    #[arg(value_name = "TARGET")]
    target: String,
    /// Replace an existing file.
    #[arg(short, long)]
    force: bool,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let mut failures = Failures::of("mv");
        let sources = remote::expand_all(&dfs, &self.sources, &mut failures).await?;
        let target = RemoteTarget::look(&dfs, &self.target, sources.len() > 1).await?;
        for (source, _) in sources {
            let outcome = match target.path_for(source.name()) {
                Ok(path) => dfs.rename(&source, &path, self.force).await.map_err(Failure::from),
                Err(failure) => Err(failure),
            };
            failures.keep(outcome)?;
        }
        failures.finish()
    }
}
