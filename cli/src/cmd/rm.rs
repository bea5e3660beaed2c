//! `dfs rm`.

use dfs_client::Dfs;
use dfs_types::{ErrorCode, FileStatus, FsError, FsPath};

use crate::context::Context;
use crate::exit::{Failure, Failures, Outcome};
use crate::glob::{Expansion, Reading};

/// How `dfs rm` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
What is removed goes to the trash and is kept there for a day, unless an administrator said otherwise: 'dfs undelete' brings
it back, 'dfs trash' shows what is there.

Examples:
  dfs rm /tmp/a.txt '/tmp/*.log'
  dfs rm -r /tmp/old           a directory and everything in it
  dfs rm -rf /tmp/maybe        no error if it does not exist
  dfs find /tmp -name '*.tmp' -print0 | xargs -0 -r dfs rm --literal")]
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
    /// Remove for good, without keeping anything in the trash.
    #[arg(long)]
    skip_trash: bool,
    #[command(flatten)]
    reading: Reading,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let patterns = self.reading.patterns(&self.paths)?;
        let dfs = context.dfs().await?;
        let mut failures = Failures::of("rm");
        for pattern in patterns {
            if pattern.is_nameless() {
                let message = format!("'{}' ends in '.' or '..': name what is to be removed", pattern.text());
                failures.note(Failure::Usage(message))?;
                continue;
            }
            let Some(Expansion { found, missed }) = failures.keep(pattern.expand(&dfs).await)? else {
                continue;
            };
            for error in missed {
                if !self.force || error.code != ErrorCode::NotFound {
                    failures.note(error.into())?;
                }
            }
            for (path, status) in found {
                let outcome = self.remove(&dfs, &path, &status).await;
                failures.keep(outcome)?;
            }
        }
        failures.finish()
    }

    async fn remove(&self, dfs: &Dfs, path: &FsPath, status: &FileStatus) -> Outcome {
        if path.is_root() {
            let message = "the root directory can't be removed: name what is in it";
            return Err(Failure::Usage(message.to_owned()));
        }
        if status.is_directory() && !self.recursive {
            let message = format!("{path} is a directory: add -r to remove it and everything in it");
            return Err(FsError::new(ErrorCode::IsADirectory, message).into());
        }
        if !self.skip_trash {
            match dfs.move_to_trash(path, self.recursive, Some(status.inode)).await {
                Err(error) if error.code == ErrorCode::Unsupported => {
                    let message =
                        format!("the cluster has no trash ({error}): delete for good with --skip-trash");
                    return Err(FsError::new(error.code, message).into());
                }
                removed => return removed.map(drop).map_err(Failure::from),
            }
        }
        dfs.delete(path, self.recursive).await?;
        Ok(())
    }
}
