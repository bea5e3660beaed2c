//! `dfs get`.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io;
use std::num::NonZeroU16;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dfs_types::{ErrorCode, FileStatus, FsError, FsPath};

use super::put::{default_parallel, twice};
use crate::context::Context;
use crate::exit::{Failure, Failures, Outcome, print_error};
use crate::glob::Reading;
use crate::remote::{self, Walk};
use crate::transfer::attributes::{DIRECTORY_BITS, OWNER_USES};
use crate::transfer::claims::{Claims, Place, decide_by_root};
use crate::transfer::download::{Download, preserve};
use crate::transfer::is_under_way;
use crate::transfer::jobs::Jobs;
use crate::transfer::progress::Progress;
use crate::transfer::standard_streams;

/// How `dfs get` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A file appears under its name when it is complete, never before. Copies have the permission bits of what is copied, less
the umask; a file that is named, and not found in a directory, may also be written by those who may read it. What is
replaced keeps its own, and other names (hard links) of it keep the old content. A symbolic link is followed. A device,
named pipe or /dev/fd/N as LOCAL is written to, never replaced.

Examples:
  dfs get /docs/report.pdf .           into the working folder
  dfs get '/logs/*.log' ./logs         what matches, into an existing folder
  dfs get -r /home/ann .               a directory with everything in it
  dfs get /backup.tar - | tar x        to a pipe
  dfs get /backup.tar /dev/null        can it be read?")]
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
    #[command(flatten)]
    reading: Reading,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.until_stop(context.dfs()).await?;
        let mut failures = Failures::of("get");
        let sources =
            context.until_stop(remote::sources(&dfs, &self.sources, self.reading, &mut failures)).await?;
        if self.target == Path::new("-") {
            let sources = sources.into_iter().map(|source| (source.path, source.status));
            context.until_stop(super::cat::write_all(&dfs, sources, &mut failures)).await?;
            return failures.finish();
        }
        let target = self.target.clone();
        tokio::task::spawn_blocking(move || standard_streams::check_given(&target)).await??;
        let several = sources.len() > 1 || self.sources.len() > 1;
        let one_folder = !several && sources.first().is_some_and(|source| source.status.is_directory());
        let into = local_target(&self.target, several, one_folder).await?;
        let progress = Progress::new(true);
        let mut copy = Copying {
            claims: Claims::new(sources.len()),
            folders: BTreeMap::new(),
            download: Arc::new(Download {
                dfs,
                force: self.force,
                preserve: self.preserve,
                progress: progress.clone(),
                stop: context.stop.clone(),
            }),
            jobs: Jobs::new(self.parallel, &progress, &mut failures),
            target: self.target.clone(),
        };
        for remote::Source { path, status, name } in sources {
            let place = match (into, &name) {
                (true, Some(name)) => self.target.join(name),
                (_, _) => self.target.clone(),
            };
            let go_on = if !status.is_directory() {
                copy.file(path, status, place).await
            } else if self.recursive {
                copy.tree(path, status, place).await
            } else {
                let message = format!("{path} is a directory: add -r to copy it");
                copy.jobs.note(Err(FsError::new(ErrorCode::IsADirectory, message).into()))
            };
            if !go_on {
                break;
            }
        }
        let finished = copy.jobs.finish().await;
        progress.clear();
        finished?;
        let folders = copy.folders;
        let umask = context.umask;
        for failure in tokio::task::spawn_blocking(move || finish_folders(folders, umask)).await? {
            failures.note(failure)?;
        }
        failures.finish()
    }
}

/// A copy under way.
struct Copying<'a> {
    download: Arc<Download>,
    jobs: Jobs<'a>,
    claims: Claims<Place, FsPath>,
    folders: BTreeMap<PathBuf, Folder>,
    target: PathBuf,
}

/// A folder that gets its attributes when everything is in it: of several that become one the last one's, as with
/// `cp -rp`.
struct Folder {
    status: FileStatus,
    /// Everything is kept, not only permission bits.
    exact: bool,
}

impl Copying<'_> {
    /// Copies a directory; notes the folders it makes.
    async fn tree(&mut self, root: FsPath, status: FileStatus, local: PathBuf) -> bool {
        let mut claim = self.claims.merge(Place(local.clone()), root.clone()).await;
        if claim.is_none() {
            self.download.progress.around(|| print_error("get", &twice(&root)));
            return true;
        }
        let depth = root.parts().count();
        let mut walk = Walk::new(&self.download.dfs, root, status);
        while let Some(next) = walk.next().await {
            let go_on = match next {
                Err(failure) => self.jobs.note(Err(failure)),
                Ok((path, status)) => {
                    // Names are checked when a path is made: none of them leads out of the target.
                    let place = path.parts().skip(depth).fold(local.clone(), |place, name| place.join(name));
                    if status.is_directory() {
                        let made = self.folder(place, status).await;
                        decide_by_root(&mut claim, made.is_ok());
                        if made.is_err() {
                            walk.skip();
                        }
                        self.jobs.note(made)
                    } else if is_under_way(&path, &status) {
                        true
                    } else {
                        self.file(path, status, place).await
                    }
                }
            };
            if !go_on || self.download.stop.is_cancelled() {
                return self.jobs.note(Err(Failure::Interrupted));
            }
        }
        true
    }

    async fn folder(&mut self, place: PathBuf, status: FileStatus) -> Outcome {
        let (made, mode) = (place.clone(), status.mode.bits());
        let follow = place == self.target;
        let is_new = tokio::task::spawn_blocking(move || make_folder(&made, mode, follow)).await??;
        let exact = self.download.preserve;
        if exact || (is_new && mode & OWNER_USES != OWNER_USES) {
            self.folders.insert(place, Folder { status, exact });
        }
        Ok(())
    }

    async fn file(&mut self, path: FsPath, status: FileStatus, place: PathBuf) -> bool {
        let claim = match self.claims.take(Place(place.clone()), path.clone()).await {
            Ok(Some(claim)) => claim,
            Ok(None) => {
                self.download.progress.around(|| print_error("get", &twice(&path)));
                return true;
            }
            Err(failure) => return self.jobs.note(Err(failure)),
        };
        let download = Arc::clone(&self.download);
        let named = place == self.target;
        download.progress.expect(status.length);
        let copied = async move {
            let lost = download.run(&path, &status, place, named).await?;
            claim.keep();
            lost.map_or(Ok(()), Err)
        };
        self.jobs.start(copied).await
    }
}

/// Whether the target is an existing folder, in which sources keep their names. With `several` it must be one; a slash
/// at the end asks for one, unless the source is `one_folder`, which may become it.
async fn local_target(target: &Path, several: bool, one_folder: bool) -> Outcome<bool> {
    let looked = target.to_owned();
    let is_folder = tokio::task::spawn_blocking(move || looked.is_dir()).await?;
    let ends_with_slash = target.as_os_str().as_encoded_bytes().ends_with(b"/");
    if !is_folder && (several || (ends_with_slash && !one_folder)) {
        return Err(Failure::Other(format!("the target {} is no folder: make it first", target.display())));
    }
    Ok(is_folder)
}

/// Makes a folder that can be filled; answers whether it is new. One that exists is fine; a link to one only if that is
/// the target itself.
fn make_folder(place: &Path, mode: u32, follow: bool) -> Outcome<bool> {
    match DirBuilder::new().mode(mode & DIRECTORY_BITS | OWNER_USES).create(place) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let there = if follow { fs::metadata(place) } else { fs::symlink_metadata(place) };
            if there.is_ok_and(|there| there.is_dir()) {
                return Ok(false);
            }
            let message = format!("{} is no folder: a directory can't replace it", place.display());
            Err(FsError::new(ErrorCode::NotADirectory, message).into())
        }
        Err(error) => Err(Failure::file(place, &error)),
    }
}

/// Gives folders their attributes, those below before those above: every file that was put into them changed their
/// times, and above, the way to them may be closed then. Answers with what failed.
fn finish_folders(folders: BTreeMap<PathBuf, Folder>, umask: u32) -> Vec<Failure> {
    let finish = |(place, Folder { status, exact }): (PathBuf, Folder)| {
        let failed = |error: io::Error| Failure::file(&place, &error);
        if exact {
            let folder = File::open(&place).map_err(failed)?;
            return preserve(&folder, &status, &place);
        }
        let mode = Permissions::from_mode(status.mode.bits() & DIRECTORY_BITS & !umask);
        fs::set_permissions(&place, mode).map_err(failed)
    };
    folders.into_iter().rev().filter_map(|folder| finish(folder).err()).collect()
}
