//! `dfs put`.

use std::fs;
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dfs_client::{CreateOptions, Durability};
use dfs_types::limits::MAX_REPLICATION;
use dfs_types::{ErrorCode, FsError, FsPath, Mode};
use tokio::sync::mpsc;

use crate::args::Context;
use crate::exit::{Failure, Failures, Outcome, print_error};
use crate::size;
use crate::transfer::DEFAULT_PARALLEL;
use crate::transfer::attributes::Keep;
use crate::transfer::claims::Claims;
use crate::transfer::directories::Directories;
use crate::transfer::jobs::Jobs;
use crate::transfer::local_tree::{self, Found, utf8_name};
use crate::transfer::progress::Progress;
use crate::transfer::target::RemoteTarget;
use crate::transfer::upload::{Above, Source, Upload};

/// Things found in a local tree that wait to be copied.
const FOUND_AHEAD: usize = 256;
/// What programs give new files that are no copies, before the umask.
const ANY_FILE: Mode = Mode::truncate(0o666);

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
permission bits of what is copied, less the umask; what is replaced keeps its own. Symbolic links are followed. Devices,
named pipes and <(command) are read to their end if they are named; in a folder they are skipped, with exit status 1.

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
            keep: Keep { all: self.preserve, umask: context.umask },
            progress: progress.clone(),
            stop: context.stop.clone(),
        });
        let mut failures = Failures::of("put");
        let mut claims = Claims::new(self.sources.len());
        for source in &self.sources {
            let outcome = self.put(&upload, source, &target, &mut claims, &mut failures).await;
            progress.around(|| failures.keep(outcome))?;
        }
        progress.clear();
        failures.finish()
    }

    async fn put(
        &self,
        upload: &Arc<Upload>,
        source: &Path,
        target: &RemoteTarget,
        claims: &mut Claims<FsPath>,
        failures: &mut Failures,
    ) -> Outcome {
        let shown = source.display();
        if source == Path::new("-") {
            let path = target.for_file(|| {
                Err(Failure::Usage(format!(
                    "standard input has no name to get in the directory {}: name a file",
                    self.target
                )))
            })?;
            upload.progress.expect(0);
            return upload.run(Source::Stdin, &path, upload.keep.fresh(ANY_FILE), Above::Make).await;
        }
        let looked = source.to_owned();
        let metadata =
            tokio::task::spawn_blocking(move || fs::metadata(&looked)).await?.map_err(|error| match error
                .kind()
            {
                std::io::ErrorKind::NotFound => Failure::Fs(FsError::not_found(&shown)),
                _ => Failure::file(source, &error),
            })?;
        if metadata.is_dir() {
            if !self.recursive {
                let message = format!("{shown} is a folder: add -r to copy it");
                return Err(FsError::new(ErrorCode::IsADirectory, message).into());
            }
            let root = target.for_directory(&shown, || utf8_name(source))?;
            if !claims.merge(root.clone(), &shown) {
                upload.progress.around(|| print_error("put", &twice(&shown)));
                return Ok(());
            }
            return self.put_tree(upload, source, &root, claims, failures).await;
        }
        let path = target.for_file(|| utf8_name(source))?;
        if !claims.take(path.clone(), &shown)? {
            upload.progress.around(|| print_error("put", &twice(&shown)));
            return Ok(());
        }
        upload.progress.expect(metadata.len());
        // What is read from a device or pipe is not what its permission bits are about.
        let (attributes, lost) = if metadata.is_file() {
            upload.keep.of_local(source, &metadata)
        } else {
            (upload.keep.fresh(ANY_FILE), None)
        };
        upload.run(Source::File(source.to_owned()), &path, attributes, Above::Make).await?;
        lost.map_or(Ok(()), Err)
    }

    async fn put_tree(
        &self,
        upload: &Arc<Upload>,
        source: &Path,
        root: &FsPath,
        claims: &mut Claims<FsPath>,
        failures: &mut Failures,
    ) -> Outcome {
        let (sender, mut found) = mpsc::channel(FOUND_AHEAD);
        let walked = source.to_owned();
        tokio::task::spawn_blocking(move || local_tree::walk(&walked, &sender));
        let mut jobs = Jobs::new(self.parallel, &upload.progress, failures);
        let mut directories = Directories::default();
        let mut refused: Option<Vec<String>> = None;
        while let Some(found) = found.recv().await {
            let go_on = match found {
                Found::Folder { relative, .. } | Found::File { relative, .. }
                    if refused.as_ref().is_some_and(|refused| relative.starts_with(refused)) =>
                {
                    true
                }
                Found::Folder { path, relative, metadata } => {
                    let (attributes, lost) = upload.keep.of_local(&path, &metadata);
                    let above = relative.is_empty().then(|| upload.keep.fresh(Mode::DIRECTORY).mode);
                    let made = match below(root, &relative) {
                        Ok(place) => directories.make(&upload.dfs, place, attributes, above).await,
                        Err(failure) => Err(failure),
                    };
                    if made.is_err() {
                        refused = Some(relative);
                    }
                    jobs.note(made) && jobs.note(lost.map_or(Ok(()), Err))
                }
                Found::File { path, relative, metadata } => {
                    let target = below(root, &relative);
                    match target.and_then(|to| Ok((claims.take(to.clone(), &path.display())?, to))) {
                        Ok((true, to)) => {
                            upload.progress.expect(metadata.len());
                            let (upload, keep) = (Arc::clone(upload), upload.keep);
                            jobs.start(async move {
                                let (attributes, lost) = keep.of_local(&path, &metadata);
                                upload.run(Source::File(path), &to, attributes, Above::Need).await?;
                                lost.map_or(Ok(()), Err)
                            })
                            .await
                        }
                        Ok((false, _)) => true,
                        Err(failure) => jobs.note(Err(failure)),
                    }
                }
                Found::Skipped(why) => jobs.note(Err(Failure::Other(format!("skipped {why}")))),
                Found::Failed(failure) => jobs.note(Err(failure)),
            };
            if !go_on || upload.stop.is_cancelled() {
                jobs.note(Err(Failure::Interrupted));
                break;
            }
        }
        jobs.finish().await?;
        for failure in directories.finish(&upload.dfs).await {
            upload.progress.around(|| failures.note(failure))?;
        }
        Ok(())
    }
}

/// The warning of a source that is named again.
pub(super) fn twice(source: &impl std::fmt::Display) -> String {
    format!("{source} is named more than once: it is copied once")
}

fn below(root: &FsPath, relative: &[String]) -> Outcome<FsPath> {
    relative.iter().try_fold(root.clone(), |path, name| Ok(path.join(name)?))
}
