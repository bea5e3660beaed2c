//! `dfs cp`.

use std::num::NonZeroU16;
use std::sync::Arc;

use dfs_types::{ErrorCode, FileStatus, FsError, FsPath};

use super::put::{WriteArgs, default_parallel, twice};
use crate::context::Context;
use crate::exit::{Failure, Failures, Outcome, print_error};
use crate::glob::Reading;
use crate::remote::{self, Walk};
use crate::transfer::attributes::{Keep, NEW_DIRECTORY, less_umask};
use crate::transfer::claims::{Claims, decide_by_root};
use crate::transfer::directories::Directories;
use crate::transfer::is_under_way;
use crate::transfer::jobs::Jobs;
use crate::transfer::progress::Progress;
use crate::transfer::target::RemoteTarget;
use crate::transfer::upload::{Above, Source, Upload};

/// How `dfs cp` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The data goes through this machine. Missing directories are made. Copies have the permission bits of what is copied, less
the cluster's umask 022; what is replaced keeps its own.

Examples:
  dfs cp /a.txt /b.txt
  dfs cp -r /data/2025 /archive        becomes /archive/2025 if /archive exists
  dfs cp -r /data/2025/. /archive      what is in it, without itself")]
pub(crate) struct Args {
    /// What to copy; patterns are fine.
    #[arg(value_name = "SOURCE", required = true)]
    sources: Vec<String>,
    /// A new name, or a directory: one that exists, ends in a slash, or is the target of several.
    #[arg(value_name = "TARGET")]
    target: String,
    /// Copy directories with everything in them.
    #[arg(short, long, short_alias = 'R')]
    recursive: bool,
    /// Replace existing files.
    #[arg(short, long)]
    force: bool,
    /// Keep all permission bits and times.
    #[arg(short, long)]
    preserve: bool,
    /// Files copied at the same time.
    #[arg(short = 'j', long, value_name = "N", default_value_t = default_parallel())]
    parallel: NonZeroU16,
    #[command(flatten)]
    write: WriteArgs,
    #[command(flatten)]
    reading: Reading,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.until_stop(context.dfs()).await?;
        let mut failures = Failures::of("cp");
        let sources =
            context.until_stop(remote::sources(&dfs, &self.sources, self.reading, &mut failures)).await?;
        let several = sources.len() > 1 || self.sources.len() > 1;
        let target = context.until_stop(RemoteTarget::look(&dfs, &self.target, several)).await?;
        let progress = Progress::new(true);
        let upload = Arc::new(Upload {
            dfs,
            create: self.write.options(),
            force: self.force,
            keep: Keep { all: self.preserve },
            progress: progress.clone(),
            stop: context.stop.clone(),
        });
        let mut copy = Copying {
            claims: Claims::new(sources.len()),
            directories: Directories::default(),
            jobs: Jobs::new(self.parallel, &progress, &mut failures),
            upload,
        };
        for source in sources {
            let go_on = match self.place(&source, &target) {
                Err(failure) => copy.jobs.note(Err(failure)),
                Ok(to) if source.status.is_directory() => copy.tree(source.path, source.status, to).await,
                Ok(to) => copy.file(source.path, &source.status, to, Above::Make).await,
            };
            if !go_on {
                break;
            }
        }
        let finished = copy.jobs.finish().await;
        progress.clear();
        finished?;
        for failure in copy.directories.finish(&copy.upload.dfs).await {
            failures.note(failure)?;
        }
        failures.finish()
    }

    /// Where a source goes.
    fn place(&self, source: &remote::Source, target: &RemoteTarget) -> Outcome<FsPath> {
        let remote::Source { path, status, name } = source;
        let refused = |code, message| Err(Failure::Fs(FsError::new(code, message)));
        let name = || Ok(name.as_deref());
        if !status.is_directory() {
            let to = target.for_file(name)?;
            if to == *path {
                return refused(ErrorCode::InvalidArgument, format!("{path} can't be copied to itself"));
            }
            return Ok(to);
        }
        if !self.recursive {
            return refused(ErrorCode::IsADirectory, format!("{path} is a directory: add -r to copy it"));
        }
        let to = target.for_directory(path, name)?;
        if to.starts_with(path) {
            return refused(ErrorCode::InvalidArgument, format!("{path} can't be copied into itself ({to})"));
        }
        Ok(to)
    }
}

/// A copy under way.
struct Copying<'a> {
    upload: Arc<Upload>,
    jobs: Jobs<'a>,
    claims: Claims<FsPath, FsPath>,
    directories: Directories,
}

impl Copying<'_> {
    async fn tree(&mut self, root: FsPath, status: FileStatus, target: FsPath) -> bool {
        let mut claim = self.claims.merge(target.clone(), root.clone()).await;
        if claim.is_none() {
            self.upload.progress.around(|| print_error("cp", &twice(&root)));
            return true;
        }
        let depth = root.parts().count();
        let mut walk = Walk::new(&self.upload.dfs, root, status);
        while let Some(next) = walk.next().await {
            let placed = next.and_then(|(path, status)| {
                let to = path.parts().skip(depth).try_fold(target.clone(), |to, name| to.join(name))?;
                Ok((path, status, to))
            });
            let go_on = match placed {
                Err(failure) => self.jobs.note(Err(failure)),
                Ok((_, status, to)) if status.is_directory() => {
                    let made = self.directory(&status, to, &target).await;
                    decide_by_root(&mut claim, made.is_ok());
                    if made.is_err() {
                        walk.skip();
                    }
                    self.jobs.note(made)
                }
                Ok((path, status, _)) if is_under_way(&path, &status) => true,
                Ok((path, status, to)) => self.file(path, &status, to, Above::Need).await,
            };
            if !go_on || self.upload.stop.is_cancelled() {
                return self.jobs.note(Err(Failure::Interrupted));
            }
        }
        true
    }

    async fn directory(&mut self, status: &FileStatus, to: FsPath, target: &FsPath) -> Outcome {
        let keep = self.upload.keep;
        let above = (to == *target).then(|| less_umask(NEW_DIRECTORY));
        self.directories.make(&self.upload.dfs, to, keep.of_remote(status), above).await
    }

    async fn file(&mut self, path: FsPath, status: &FileStatus, to: FsPath, above: Above) -> bool {
        let claim = match self.claims.take(to.clone(), path.clone()).await {
            Ok(Some(claim)) => claim,
            Ok(None) => {
                self.upload.progress.around(|| print_error("cp", &twice(&path)));
                return true;
            }
            Err(failure) => return self.jobs.note(Err(failure)),
        };
        let upload = Arc::clone(&self.upload);
        let attributes = upload.keep.of_remote(status);
        upload.progress.expect(status.length);
        let copied = async move {
            upload.run(Source::Remote(path), &to, attributes, above).await?;
            claim.keep();
            Ok(())
        };
        self.jobs.start(copied).await
    }
}
