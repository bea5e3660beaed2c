//! `dfs rm`.

use dfs_types::{ErrorCode, FsError};

use crate::args::Context;
use crate::exit::{Failure, Failures, Outcome};
use crate::glob::Pattern;

/// How `dfs rm` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  dfs rm /tmp/a.txt '/tmp/*.log'
  dfs rm -r /tmp/old           a directory and everything in it
  dfs rm -rf /tmp/maybe        no error if it does not exist")]
pub(crate) struct Args {
    /// Files, directories or patterns.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    /// Remove directories and everything in them.
    #[arg(short, long, short_alias = 'R')]
    recursive: bool,
    /// What does not exist is no error.
    #[arg(short, long)]
    force: bool,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let mut failures = Failures::of("rm");
        for text in &self.paths {
            let pattern = Pattern::parse(text)?;
            if pattern.is_nameless() {
                let message = format!("'{text}' ends in '.' or '..': name what is to be removed");
                failures.note(Failure::Usage(message))?;
                continue;
            }
            let found = match pattern.expand(&dfs).await {
                Err(Failure::Fs(error)) if self.force && error.code == ErrorCode::NotFound => continue,
                found => failures.keep(found)?.unwrap_or_default(),
            };
            for (path, status) in found {
                let outcome = if path.is_root() {
                    Err(Failure::Usage("the root directory can't be removed: name what is in it".to_owned()))
                } else if status.is_directory() && !self.recursive {
                    let message = format!("{path} is a directory: add -r to remove it and everything in it");
                    Err(FsError::new(ErrorCode::IsADirectory, message).into())
                } else {
                    dfs.delete(&path, self.recursive).await.map(drop).map_err(Failure::from)
                };
                failures.keep(outcome)?;
            }
        }
        failures.finish()
    }
}
