//! `dfs concat`.

use crate::context::Context;
use crate::exit::{Failure, Outcome};
use crate::remote_path::RemotePath;

/// How `dfs concat` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Nothing is copied, and the files whose contents are moved are gone then. All are in one directory.

Examples:
  dfs concat /data/all /data/part-1 /data/part-2")]
pub(crate) struct Args {
    /// The file that gets the contents of the others at its end.
    #[arg(value_name = "TARGET")]
    target: String,
    /// The others, in order.
    #[arg(value_name = "SOURCE", required = true)]
    sources: Vec<String>,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let target = RemotePath::parse(&self.target)?.path;
        let sources: Vec<_> = self
            .sources
            .iter()
            .map(|text| RemotePath::parse(text).map(|typed| typed.path))
            .collect::<Outcome<_>>()?;
        let dfs = context.dfs().await?;
        dfs.concat(&target, &sources).await.map_err(Failure::from)
    }
}
