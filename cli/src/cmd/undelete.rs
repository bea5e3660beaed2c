//! `dfs undelete`.

use crate::context::Context;
use crate::exit::{Failure, Failures, Outcome};
use crate::remote_path::RemotePath;

/// How `dfs undelete` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What was removed last at a path comes back from the trash, if nothing is there now. What is in a removed directory comes back
with it.

Examples:
  dfs undelete /docs/report.pdf")]
pub(crate) struct Args {
    /// Where the files or directories were.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let paths =
            self.paths.iter().map(|text| Ok(RemotePath::parse(text)?.path)).collect::<Outcome<Vec<_>>>()?;
        let dfs = context.dfs().await?;
        let mut failures = Failures::of("undelete");
        for path in paths {
            let undeleted = dfs.undelete(&path).await.map_err(Failure::from);
            failures.keep(undeleted)?;
        }
        failures.finish()
    }
}
