//! `dfs cp`.

use std::num::NonZeroU16;
use std::sync::Arc;

use dfs_types::{ErrorCode, FileStatus, FsError, FsPath, Mode};

use super::put::{WriteArgs, default_parallel};
use crate::args::Context;
use crate::exit::{Failure, Failures, Outcome};
use crate::remote::{self, Walk};
use crate::transfer::jobs::Jobs;
use crate::transfer::progress::Progress;
use crate::transfer::target::RemoteTarget;
use crate::transfer::upload::{Preserved, Source, Upload};

/// How `dfs cp` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The data goes through this machine.

Examples:
  dfs cp /a.txt /b.txt
  dfs cp -r /data/2025 /archive        becomes /archive/2025 if /archive exists")]
pub(crate) struct Args {
    /// What to copy; patterns are fine.
    #[arg(value_name = "SOURCE", required = true)]
    sources: Vec<String>,
    /// A new name, or an existing directory.
    #[arg(value_name = "TARGET")]
    target: String,
    /// Copy directories with everything in them.
    #[arg(short, long, short_alias = 'R')]
    recursive: bool,
    /// Replace existing files.
    #[arg(short, long)]
    force: bool,
    /// Keep permission bits and times of files.
    #[arg(short, long)]
    preserve: bool,
    /// Files copied at the same time.
    #[arg(short = 'j', long, value_name = "N", default_value_t = default_parallel())]
    parallel: NonZeroU16,
    #[command(flatten)]
    write: WriteArgs,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.until_stop(context.dfs()).await?;
        let mut failures = Failures::of("cp");
        let sources = remote::expand_all(&dfs, &self.sources, &mut failures).await?;
        let target = RemoteTarget::look(&dfs, &self.target, sources.len() > 1).await?;
        let progress = Progress::new(true);
        let upload = Arc::new(Upload {
            dfs,
            create: self.write.options(),
            force: self.force,
            progress: progress.clone(),
            stop: context.stop.clone(),
        });
        let mut jobs = Jobs::new(self.parallel, &progress, &mut failures);
        for (path, status) in sources {
            let go_on = match self.checked_target(&path, &status, &target) {
                Err(failure) => jobs.note(Err(failure)),
                Ok(to) if status.is_directory() => self.tree(&upload, (path, status), &to, &mut jobs).await,
                Ok(to) => self.start(&mut jobs, &upload, path, &status, to).await,
            };
            if !go_on {
                break;
            }
        }
        let finished = jobs.finish().await;
        progress.clear();
        finished?;
        failures.finish()
    }

    fn checked_target(&self, path: &FsPath, status: &FileStatus, target: &RemoteTarget) -> Outcome<FsPath> {
        let to = target.path_for(path.name())?;
        let refused = |code, message| Err(Failure::Fs(FsError::new(code, message)));
        if to == *path {
            return refused(ErrorCode::InvalidArgument, format!("{path} can't be copied to itself"));
        }
        if !status.is_directory() {
            return Ok(to);
        }
        if !self.recursive {
            return refused(ErrorCode::IsADirectory, format!("{path} is a directory: add -r to copy it"));
        }
        if to.starts_with(path) {
            return refused(ErrorCode::InvalidArgument, format!("{path} can't be copied into itself ({to})"));
        }
        match target {
            RemoteTarget::As(_, Some(_)) => refused(
                ErrorCode::NotADirectory,
                format!("{to} is a file: the directory {path} can't replace it"),
            ),
            RemoteTarget::As(_, None) | RemoteTarget::Into(_) => Ok(to),
        }
    }

    async fn tree(
        &self,
        upload: &Arc<Upload>,
        (root, status): (FsPath, FileStatus),
        target: &FsPath,
        jobs: &mut Jobs<'_>,
    ) -> bool {
        let depth = root.parts().count();
        let mut walk = Walk::new(&upload.dfs, root, status);
        while let Some(next) = walk.next().await {
            let placed = next.and_then(|(path, status)| {
                let to = path.parts().skip(depth).try_fold(target.clone(), |to, name| to.join(name))?;
                Ok((path, status, to))
            });
            let go_on = match placed {
                Err(failure) => jobs.note(Err(failure)),
                Ok((_, status, to)) if status.is_directory() => {
                    let mode = if self.preserve { status.mode } else { Mode::DIRECTORY };
                    let made = upload.dfs.mkdir_all(&to, mode).await;
                    jobs.note(made.map(drop).map_err(Failure::from))
                }
                Ok((path, status, to)) => self.start(jobs, upload, path, &status, to).await,
            };
            if !go_on || upload.stop.is_cancelled() {
                return jobs.note(Err(Failure::Interrupted));
            }
        }
        true
    }

    async fn start(
        &self,
        jobs: &mut Jobs<'_>,
        upload: &Arc<Upload>,
        path: FsPath,
        status: &FileStatus,
        to: FsPath,
    ) -> bool {
        let upload = Arc::clone(upload);
        let preserved = self.preserve.then_some(Preserved {
            mode: status.mode,
            mtime: status.mtime,
            atime: status.atime,
        });
        upload.progress.expect(status.length);
        jobs.start(async move { upload.run(Source::Remote(path), &to, preserved).await }).await
    }
}
