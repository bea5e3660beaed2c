//! `dfs put`.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::num::NonZeroU16;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dfs_client::{CreateOptions, Durability};
use dfs_types::limits::MAX_REPLICATION;
use dfs_types::{ErrorCode, FsError, FsPath, Millis, Mode};
use tokio::sync::mpsc;

use crate::args::Context;
use crate::exit::{Failure, Failures, Outcome, print_error};
use crate::size;
use crate::transfer::DEFAULT_PARALLEL;
use crate::transfer::jobs::Jobs;
use crate::transfer::local_tree::{self, Found, utf8_name};
use crate::transfer::progress::Progress;
use crate::transfer::target::RemoteTarget;
use crate::transfer::upload::{Preserved, Source, Upload};

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
A file appears under its name when it is complete, never before. Symbolic links are followed; sockets, pipes and
devices are skipped with a warning.

Examples:
  dfs put report.pdf /docs/            into an existing directory
  dfs put -f report.pdf /docs/new.pdf  under another name, replacing what is there
  dfs put -r photos /home/ann          a folder: becomes /home/ann/photos if /home/ann exists
  tar c . | dfs put - /backup.tar      from a pipe")]
pub(crate) struct Args {
    /// Files or folders; '-' is standard input.
    #[arg(value_name = "LOCAL", required = true)]
    sources: Vec<PathBuf>,
    /// A new name, or an existing directory.
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
        let target = RemoteTarget::look(&dfs, &self.target, self.sources.len() > 1).await?;
        let progress = Progress::new(true);
        let upload = Upload {
            dfs,
            create: self.write.options(),
            force: self.force,
            progress: progress.clone(),
            stop: context.stop.clone(),
        };
        let mut failures = Failures::of("put");
        for source in &self.sources {
            let outcome = self.put(&upload, source, &target, &mut failures).await;
            progress.around(|| failures.keep(outcome))?;
        }
        progress.clear();
        failures.finish()
    }

    async fn put(
        &self,
        upload: &Upload,
        source: &Path,
        target: &RemoteTarget,
        failures: &mut Failures,
    ) -> Outcome {
        if source == Path::new("-") {
            let RemoteTarget::As(path, _) = target else {
                return Err(Failure::Usage(format!(
                    "standard input has no name to get in the directory {}: name a file",
                    self.target
                )));
            };
            upload.progress.expect(0);
            return upload.run(Source::Stdin, path, None).await;
        }
        let looked = source.to_owned();
        let metadata =
            tokio::task::spawn_blocking(move || fs::metadata(&looked)).await?.map_err(|error| match error
                .kind()
            {
                std::io::ErrorKind::NotFound => Failure::Fs(FsError::not_found(&source.display())),
                _ => Failure::file(source, &error),
            })?;
        if metadata.is_dir() {
            if !self.recursive {
                let message = format!("{} is a folder: add -r to copy it", source.display());
                return Err(FsError::new(ErrorCode::IsADirectory, message).into());
            }
            return self.put_tree(upload, source, &Self::tree_root(source, target)?, failures).await;
        }
        if !metadata.is_file() {
            print_error("put", &format!("{}: skipped, it is no regular file", source.display()));
            return Ok(());
        }
        let path = target.path_for(utf8_name(source)?)?;
        upload.progress.expect(metadata.len());
        upload.run(Source::File(source.to_owned()), &path, self.preserved(&metadata)).await
    }

    /// Where the folder `source` goes. `.` and the like have no name of their own: what is in them goes into the target.
    fn tree_root(source: &Path, target: &RemoteTarget) -> Outcome<FsPath> {
        match (target, utf8_name(source)?) {
            (RemoteTarget::As(path, Some(_)), _) => {
                let message = format!("{path} is a file: the folder {} can't replace it", source.display());
                Err(FsError::new(ErrorCode::NotADirectory, message).into())
            }
            (RemoteTarget::Into(path), None) | (RemoteTarget::As(path, None), _) => Ok(path.clone()),
            (RemoteTarget::Into(_), name) => target.path_for(name),
        }
    }

    async fn put_tree(
        &self,
        upload: &Upload,
        source: &Path,
        root: &FsPath,
        failures: &mut Failures,
    ) -> Outcome {
        let (sender, mut found) = mpsc::channel(FOUND_AHEAD);
        let walked = source.to_owned();
        tokio::task::spawn_blocking(move || local_tree::walk(&walked, &sender));
        let upload = Arc::new(upload.clone());
        let mut jobs = Jobs::new(self.parallel, &upload.progress, failures);
        let mut made = Directories::default();
        while let Some(found) = found.recv().await {
            let go_on = match found {
                Found::Folder { relative, metadata } => {
                    let preserved = self.preserved(&metadata);
                    let outcome = make_directory(&upload, root, &relative, &mut made, preserved).await;
                    jobs.note(outcome)
                }
                Found::File { path, relative, metadata } => match below(root, &relative) {
                    Ok(target) => {
                        let (upload, preserved) = (Arc::clone(&upload), self.preserved(&metadata));
                        upload.progress.expect(metadata.len());
                        jobs.start(async move { upload.run(Source::File(path), &target, preserved).await })
                            .await
                    }
                    Err(failure) => jobs.note(Err(failure)),
                },
                Found::Skipped(why) => {
                    upload.progress.around(|| print_error("put", &format!("skipped {why}")));
                    true
                }
                Found::Failed(failure) => jobs.note(Err(failure)),
            };
            if !go_on || upload.stop.is_cancelled() {
                jobs.note(Err(Failure::Interrupted));
                break;
            }
        }
        jobs.finish().await?;
        made.preserve(&upload).await
    }

    fn preserved(&self, metadata: &Metadata) -> Option<Preserved> {
        let millis = |seconds: i64, nanos: i64| {
            Millis(u64::try_from(seconds * 1_000 + nanos / 1_000_000).unwrap_or_default())
        };
        self.preserve.then(|| Preserved {
            mode: Mode::truncate(metadata.mode()),
            mtime: millis(metadata.mtime(), metadata.mtime_nsec()),
            atime: millis(metadata.atime(), metadata.atime_nsec()),
        })
    }
}

/// Directories that get their attributes when everything is in them.
#[derive(Default)]
struct Directories(HashMap<FsPath, Preserved>);

impl Directories {
    async fn preserve(&self, upload: &Upload) -> Outcome {
        for (path, Preserved { mode, mtime, atime: _ }) in &self.0 {
            upload.dfs.set_mode(path, *mode).await?;
            upload.dfs.set_times(path, Some(*mtime), None).await?;
        }
        Ok(())
    }
}

async fn make_directory(
    upload: &Upload,
    root: &FsPath,
    relative: &[String],
    made: &mut Directories,
    preserved: Option<Preserved>,
) -> Outcome {
    let path = below(root, relative)?;
    if relative.is_empty() {
        // Only the root's own parent must be there already, as for a file.
        match upload.dfs.mkdir(&path, Mode::DIRECTORY).await {
            Err(error) if error.code == ErrorCode::AlreadyExists => {}
            made => drop(made?),
        }
    } else {
        upload.dfs.mkdir_all(&path, Mode::DIRECTORY).await?;
    }
    if let Some(preserved) = preserved {
        made.0.insert(path, preserved);
    }
    Ok(())
}

fn below(root: &FsPath, relative: &[String]) -> Outcome<FsPath> {
    relative.iter().try_fold(root.clone(), |path, name| Ok(path.join(name)?))
}
