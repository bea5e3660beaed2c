//! `dfs put`.

use std::fs::{self, Metadata};
use std::io;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dfs_client::{CreateOptions, Durability};
use dfs_types::limits::MAX_REPLICATION;
use dfs_types::{ErrorCode, FsError, FsPath};
use tokio::sync::mpsc;

use crate::context::Context;
use crate::exit::{Failure, Failures, Outcome, print_error};
use crate::size;
use crate::transfer::DEFAULT_PARALLEL;
use crate::transfer::attributes::{Attributes, Keep, NEW_DIRECTORY, NEW_FILE, less_umask};
use crate::transfer::claims::{Claim, Claims, Place, decide_by_root};
use crate::transfer::directories::Directories;
use crate::transfer::jobs::Jobs;
use crate::transfer::local_tree::{self, Found, utf8_name};
use crate::transfer::progress::Progress;
use crate::transfer::standard_streams;
use crate::transfer::target::RemoteTarget;
use crate::transfer::upload::{Above, Source, Upload};

/// Things found in a local tree that wait to be copied.
const FOUND_AHEAD: usize = 256;

/// How new files are written.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct WriteArgs {
    /// Replicas of each chunk [default: the cluster's].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_REPLICATION)))]
    replication: Option<u32>,
    /// Bytes of a chunk, such as 64MiB; a multiple of 512 [default: the cluster's].
    #[arg(long, value_name = "SIZE", value_parser = size::parse)]
    chunk_size: Option<u64>,
    /// Do not wait until the data is on the disks: a power failure of all nodes may lose it.
    #[arg(long)]
    no_sync: bool,
}

impl WriteArgs {
    pub(super) fn options(&self) -> CreateOptions {
        CreateOptions {
            replication: self.replication,
            chunk_size: self.chunk_size,
            durability: if self.no_sync { Durability::Buffered } else { Durability::Fsync },
            ..CreateOptions::default()
        }
    }
}

/// How `dfs put` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A file appears under its name when it is complete, never before. Missing directories are made. Copies have the
permission bits of what is copied, less the cluster's umask 022; what is replaced keeps its own. Symbolic links are
followed. Devices, named pipes and <(command) are read to their end if they are named; in a folder they are skipped, with
exit status 1.

Examples:
  dfs put report.pdf /docs/            into a directory
  dfs put -f report.pdf /docs/new.pdf  under another name, replacing what is there
  dfs put -r photos /home/ann          a folder: becomes /home/ann/photos if /home/ann exists
  tar c . | dfs put - /backup.tar      from a pipe")]
pub(crate) struct Args {
    /// Files or folders; '-' is standard input.
    #[arg(value_name = "LOCAL", required = true)]
    sources: Vec<PathBuf>,
    /// A new name, or a directory: one that exists, ends in a slash, or is the target of several.
    #[arg(value_name = "REMOTE")]
    target: String,
    /// Copy folders with everything in them.
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
    write: WriteArgs,
}

/// [`DEFAULT_PARALLEL`] for clap.
pub(super) fn default_parallel() -> NonZeroU16 {
    NonZeroU16::new(DEFAULT_PARALLEL).unwrap_or(NonZeroU16::MIN)
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.until_stop(context.dfs()).await?;
        let target =
            context.until_stop(RemoteTarget::look(&dfs, &self.target, self.sources.len() > 1)).await?;
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
            upload,
            args: &self,
            claims: Claims::new(self.sources.len()),
            directories: Directories::default(),
            failures: Failures::of("put"),
        };
        for source in &self.sources {
            let outcome = copy.put(source, &target).await;
            progress.around(|| copy.failures.keep(outcome))?;
        }
        for failure in copy.directories.finish(&copy.upload.dfs).await {
            progress.around(|| copy.failures.note(failure))?;
        }
        progress.clear();
        copy.failures.finish()
    }
}

/// A copy under way.
struct Copying<'a> {
    args: &'a Args,
    upload: Arc<Upload>,
    claims: Claims<FsPath, Place>,
    directories: Directories,
    failures: Failures,
}

impl Copying<'_> {
    async fn put(&mut self, source: &Path, target: &RemoteTarget) -> Outcome {
        if source == Path::new("-") {
            return self.put_input(target).await;
        }
        let metadata = look(source).await?;
        let from = Place(source.to_owned());
        if metadata.is_dir() {
            if !self.args.recursive {
                let message = format!("{from} is a folder: add -r to copy it");
                return Err(FsError::new(ErrorCode::IsADirectory, message).into());
            }
            let root = target.for_directory(&from, || utf8_name(source))?;
            let Some(claim) = self.claims.merge(root.clone(), from.clone()).await else {
                self.upload.progress.around(|| print_error("put", &twice(&from)));
                return Ok(());
            };
            return self.put_tree(source, &root, claim).await;
        }
        let path = target.for_file(|| utf8_name(source))?;
        let Some(claim) = self.claims.take(path.clone(), from.clone()).await? else {
            self.upload.progress.around(|| print_error("put", &twice(&from)));
            return Ok(());
        };
        let upload = &self.upload;
        upload.progress.expect(metadata.len());
        // What is read from a device or pipe is not what its permission bits are about.
        let (attributes, lost) = if metadata.is_file() {
            upload.keep.of_local(source, &metadata)
        } else {
            (Attributes::fresh(NEW_FILE), None)
        };
        upload.run(Source::File(source.to_owned()), &path, attributes, Above::Make).await?;
        claim.keep();
        lost.map_or(Ok(()), Err)
    }

    async fn put_input(&self, target: &RemoteTarget) -> Outcome {
        let path = target.for_file(|| {
            Err(Failure::Usage(format!(
                "standard input has no name to get in the directory {}: name a file",
                self.args.target
            )))
        })?;
        self.upload.progress.expect(0);
        self.upload.run(Source::Stdin, &path, Attributes::fresh(NEW_FILE), Above::Make).await
    }

    async fn put_tree(&mut self, source: &Path, root: &FsPath, claim: Claim<FsPath, Place>) -> Outcome {
        let (sender, mut found) = mpsc::channel(FOUND_AHEAD);
        let walked = source.to_owned();
        tokio::task::spawn_blocking(move || local_tree::walk(&walked, &sender));
        let Self { args, upload, claims, directories, failures } = self;
        let mut jobs = Jobs::new(args.parallel, &upload.progress, failures);
        let mut refused: Option<Vec<String>> = None;
        let mut claim = Some(claim);
        while let Some(found) = found.recv().await {
            let go_on = match found {
                Found::Folder { relative, .. } | Found::File { relative, .. }
                    if refused.as_ref().is_some_and(|refused| relative.starts_with(refused)) =>
                {
                    true
                }
                Found::Folder { path, relative, metadata } => {
                    let (attributes, lost) = upload.keep.of_local(&path, &metadata);
                    let above = relative.is_empty().then(|| less_umask(NEW_DIRECTORY));
                    let made = match below(root, &relative) {
                        Ok(place) => directories.make(&upload.dfs, place, attributes, above).await,
                        Err(failure) => Err(failure),
                    };
                    decide_by_root(&mut claim, made.is_ok());
                    if made.is_err() {
                        refused = Some(relative);
                    }
                    jobs.note(made) && jobs.note(lost.map_or(Ok(()), Err))
                }
                Found::File { path, relative, metadata } => {
                    upload_file(upload, claims, &mut jobs, path, below(root, &relative), metadata).await
                }
                Found::Skipped(why) => jobs.note(Err(Failure::Other(format!("skipped {why}")))),
                Found::Failed(failure) => jobs.note(Err(failure)),
            };
            if !go_on || upload.stop.is_cancelled() {
                jobs.note(Err(Failure::Interrupted));
                break;
            }
        }
        jobs.finish().await
    }
}

/// Starts to copy a file of a tree; `false` if the command is to end.
async fn upload_file(
    upload: &Arc<Upload>,
    claims: &Claims<FsPath, Place>,
    jobs: &mut Jobs<'_>,
    path: PathBuf,
    target: Outcome<FsPath>,
    metadata: Metadata,
) -> bool {
    let to = match target {
        Ok(to) => to,
        Err(failure) => return jobs.note(Err(failure)),
    };
    let claim = match claims.take(to.clone(), Place(path.clone())).await {
        Ok(Some(claim)) => claim,
        Ok(None) => return true,
        Err(failure) => return jobs.note(Err(failure)),
    };
    upload.progress.expect(metadata.len());
    let upload = Arc::clone(upload);
    let copied = async move {
        let (attributes, lost) = upload.keep.of_local(&path, &metadata);
        upload.run(Source::File(path), &to, attributes, Above::Need).await?;
        claim.keep();
        lost.map_or(Ok(()), Err)
    };
    jobs.start(copied).await
}

/// What is at a local path that was named.
async fn look(source: &Path) -> Outcome<Metadata> {
    let looked = source.to_owned();
    let look = move || {
        standard_streams::check_given(&looked)?;
        fs::metadata(&looked).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Failure::Fs(FsError::not_found(&looked.display())),
            _ => Failure::file(&looked, &error),
        })
    };
    tokio::task::spawn_blocking(look).await?
}

/// The warning of a source that is named again.
pub(super) fn twice(source: &impl std::fmt::Display) -> String {
    format!("{source} is named more than once: it is copied once")
}

fn below(root: &FsPath, relative: &[String]) -> Outcome<FsPath> {
    relative.iter().try_fold(root.clone(), |path, name| Ok(path.join(name)?))
}
