//! `dfs touch`.

use dfs_client::{CreateOptions, Dfs};
use dfs_types::{ErrorCode, FsError};

use crate::context::Context;
use crate::exit::{Failure, Failures, Outcome};
use crate::remote_path::RemotePath;
use crate::transfer::attributes::{NEW_FILE, less_umask};

/// How `dfs touch` is typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files to make, with missing directories; those that exist, and directories, get the present time.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    /// Do not make files.
    #[arg(short = 'c', long)]
    no_create: bool,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let paths: Vec<_> = self.paths.iter().map(|text| RemotePath::parse(text)).collect::<Outcome<_>>()?;
        let dfs = context.until_stop(context.dfs()).await?;
        let mut failures = Failures::of("touch");
        for path in paths {
            // Not cut off in the middle, which could leave a file that nobody closes.
            let outcome = self.touch(&dfs, path).await;
            failures.keep(outcome)?;
            if context.stop.is_cancelled() {
                return Err(Failure::Interrupted);
            }
        }
        failures.finish()
    }

    async fn touch(&self, dfs: &Dfs, typed: RemotePath) -> Outcome {
        match typed.look(dfs).await? {
            Some(_) => dfs.touch(&typed.path).await.map_err(Failure::from),
            None if self.no_create => Ok(()),
            None if typed.directory => {
                let message = format!("there is no directory {}: make it with 'dfs mkdir -p'", typed.path);
                Err(FsError::new(ErrorCode::NotFound, message).into())
            }
            None => {
                let mode = less_umask(NEW_FILE);
                let options = CreateOptions { parents: true, mode, ..CreateOptions::default() };
                match dfs.create(&typed.path, options).await {
                    Ok(file) => file.close().await.map(drop).map_err(Failure::from),
                    // Somebody else made it meanwhile.
                    Err(error) if error.code == ErrorCode::AlreadyExists => {
                        dfs.touch(&typed.path).await.map_err(Failure::from)
                    }
                    Err(error) => Err(error.into()),
                }
            }
        }
    }
}
