//! `dfs get`.

use std::fs::{self, File};
use std::io;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dfs_types::{ErrorCode, FileStatus, FsError, FsPath};

use super::put::default_parallel;
use crate::args::Context;
use crate::exit::{Failure, Failures, Outcome};
use crate::remote::{self, Walk};
use crate::transfer::download::{Download, preserve};
use crate::transfer::jobs::Jobs;
use crate::transfer::progress::Progress;

/// How `dfs get` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A file appears under its name when it is complete, never before.

Examples:
  dfs get /docs/report.pdf .           into the working folder
  dfs get '/logs/*.log' ./logs         what matches, into an existing folder
  dfs get -r /home/ann .               a directory with everything in it
  dfs get /backup.tar - | tar x        to a pipe")]
pub(crate) struct Args {
    /// Files, directories or patterns.
    #[arg(value_name = "REMOTE", required = true)]
    sources: Vec<String>,
    /// A new name, or an existing folder; '-' is standard output.
    #[arg(value_name = "LOCAL")]
    target: PathBuf,
    /// Copy directories with everything in them.
    #[arg(short, long, short_alias = 'R')]
    recursive: bool,
    /// Replace existing files.
    #[arg(short, long)]
    force: bool,
    /// Keep permission bits and times.
    #[arg(short, long)]
    preserve: bool,
    /// Files copied at the same time.
    #[arg(short = 'j', long, value_name = "N", default_value_t = default_parallel())]
    parallel: NonZeroU16,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.until_stop(context.dfs()).await?;
        let mut failures = Failures::of("get");
        let sources = remote::expand_all(&dfs, &self.sources, &mut failures).await?;
        if self.target == Path::new("-") {
            let sources = sources.into_iter();
            context.until_stop(super::cat::write_all(&dfs, sources, &mut failures)).await?;
            return failures.finish();
        }
        let target = &self.target;
        let into = local_target(target, sources.len() > 1).await?;
        let progress = Progress::new(true);
        let download = Arc::new(Download {
            dfs,
            force: self.force,
            preserve: self.preserve,
            progress: progress.clone(),
            stop: context.stop.clone(),
        });
        let mut jobs = Jobs::new(self.parallel, &progress, &mut failures);
        let mut folders = Vec::new();
        for (path, status) in sources {
            let local = match (into, path.name()) {
                (true, Some(name)) => target.join(name),
                (_, _) => target.clone(),
            };
            if !status.is_directory() {
                if !start(&mut jobs, &download, path, status, local).await {
                    break;
                }
            } else if self.recursive {
                self.tree(&download, (path, status), &local, &mut jobs, &mut folders).await;
            } else {
                let message = format!("{path} is a directory: add -r to copy it");
                jobs.note(Err(FsError::new(ErrorCode::IsADirectory, message).into()));
            }
        }
        let finished = jobs.finish().await;
        progress.clear();
        finished?;
        if self.preserve {
            failures.keep(preserve_folders(folders).await)?;
        }
        failures.finish()
    }

    /// Copies a directory; notes the folders it makes.
    async fn tree(
        &self,
        download: &Arc<Download>,
        (root, status): (FsPath, FileStatus),
        local: &Path,
        jobs: &mut Jobs<'_>,
        folders: &mut Vec<(PathBuf, FileStatus)>,
    ) {
        let depth = root.parts().count();
        let mut walk = Walk::new(&download.dfs, root, status);
        while let Some(next) = walk.next().await {
            let go_on = match next {
                Err(failure) => jobs.note(Err(failure)),
                Ok((path, status)) => {
                    // Names are checked when a path is made: none of them leads out of the target.
                    let place =
                        path.parts().skip(depth).fold(local.to_owned(), |place, name| place.join(name));
                    if status.is_directory() {
                        let made = make_folder(place.clone()).await;
                        if made.is_err() {
                            walk.skip();
                        } else {
                            folders.push((place, status));
                        }
                        jobs.note(made)
                    } else {
                        start(jobs, download, path, status, place).await
                    }
                }
            };
            if !go_on || download.stop.is_cancelled() {
                jobs.note(Err(Failure::Interrupted));
                return;
            }
        }
    }
}

async fn start(
    jobs: &mut Jobs<'_>,
    download: &Arc<Download>,
    path: FsPath,
    status: FileStatus,
    place: PathBuf,
) -> bool {
    let download = Arc::clone(download);
    download.progress.expect(status.length);
    jobs.start(async move { download.run(&path, &status, place).await }).await
}

/// Whether the target is an existing folder, in which sources keep their names. With `several` it must be one.
async fn local_target(target: &Path, several: bool) -> Outcome<bool> {
    let looked = target.to_owned();
    let is_folder = tokio::task::spawn_blocking(move || looked.is_dir()).await?;
    let ends_with_slash = target.as_os_str().as_encoded_bytes().ends_with(b"/");
    if !is_folder && (several || ends_with_slash) {
        return Err(Failure::Other(format!("the target {} is no folder: make it first", target.display())));
    }
    Ok(is_folder)
}

async fn make_folder(place: PathBuf) -> Outcome {
    tokio::task::spawn_blocking(move || match fs::create_dir(&place) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && place.is_dir() => Ok(()),
        made => made.map_err(|error| Failure::file(&place, &error)),
    })
    .await?
}

/// Folders get their times last: every file that was put into them changed those.
async fn preserve_folders(folders: Vec<(PathBuf, FileStatus)>) -> Outcome {
    tokio::task::spawn_blocking(move || {
        folders.iter().rev().try_for_each(|(place, status)| {
            let folder = File::open(place).map_err(|error| Failure::file(place, &error))?;
            preserve(&folder, status).map_err(|error| Failure::file(place, &error))
        })
    })
    .await?
}
