//! `dfs touch`.

use dfs_client::{CreateOptions, Dfs};

use crate::args::Context;
use crate::exit::{Failure, Failures, Outcome};
use crate::glob::remote_path;
use crate::{output, remote};

/// How `dfs touch` is typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files to make; those that exist, and directories, get the present time.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    /// Do not make files.
    #[arg(short = 'c', long)]
    no_create: bool,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let mut failures = Failures::of("touch");
        for text in &self.paths {
            let outcome = self.touch(&dfs, text).await;
            failures.keep(outcome)?;
        }
        failures.finish()
    }

    async fn touch(&self, dfs: &Dfs, text: &str) -> Outcome {
        let path = remote_path(text)?;
        match remote::status(dfs, &path).await? {
            Some(_) => {
                let now = Some(output::now());
                dfs.set_times(&path, now, now).await.map_err(Failure::from)
            }
            None if self.no_create => Ok(()),
            None => {
                dfs.create(&path, CreateOptions::default()).await?.close().await?;
                Ok(())
            }
        }
    }
}
