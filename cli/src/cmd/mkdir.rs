//! `dfs mkdir`.

use dfs_types::{ErrorCode, FsError};

use crate::context::Context;
use crate::exit::{Failure, Failures, Outcome};
use crate::mode::ModeChange;
use crate::remote_path::RemotePath;
use crate::transfer::attributes::{NEW_DIRECTORY, less_umask};

/// How `dfs mkdir` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  dfs mkdir /data
  dfs mkdir -p /data/2025/01   with all directories on the way; those that exist are fine")]
pub(crate) struct Args {
    /// Directories to make.
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
    /// Make missing parents; no error if the directory exists.
    #[arg(short, long)]
    parents: bool,
    /// Permission bits, such as 750 or g-w.
    #[arg(short, long, value_name = "MODE")]
    mode: Option<ModeChange>,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let paths: Vec<_> = self.paths.iter().map(|text| RemotePath::parse(text)).collect::<Outcome<_>>()?;
        let dfs = context.dfs().await?;
        let fresh = less_umask(NEW_DIRECTORY);
        let mode = self.mode.map_or(fresh, |change| change.apply(fresh.mode, true).into());
        let mut failures = Failures::of("mkdir");
        for RemotePath { path, .. } in paths {
            let made = if self.parents {
                dfs.mkdir_all(&path, mode).await
            } else {
                dfs.mkdir(&path, mode).await.map_err(|error| match error.code {
                    ErrorCode::NotFound => FsError::new(error.code, format!("{}, or add -p", error.message)),
                    _ => error,
                })
            };
            failures.keep(made.map(drop).map_err(Failure::from))?;
        }
        failures.finish()
    }
}
