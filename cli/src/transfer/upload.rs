//! One file into the cluster.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use dfs_client::{CreateOptions, Dfs, FileWriter, Publication};
use dfs_program::streams;
use dfs_types::{AclChange, AclStatus, ErrorCode, FileStatus, FsError, FsPath, FsResult, Mode};
use futures_util::stream::{BoxStream, StreamExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::attributes::{Attributes, Keep, NEW_DIRECTORY, less_umask};
use super::progress::Progress;
use super::target::exists_already;
use super::{PIECES, READ_BYTES, hidden_name};
use crate::exit::{Failure, Outcome};
use crate::remote;

/// Where the bytes come from.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    /// A local file, or a device, named pipe or descriptor that is read to its end.
    File(PathBuf),
    /// Standard input.
    Stdin,
    /// A file of the cluster.
    Remote(FsPath),
}

/// How files are written.
#[derive(Debug, Clone)]
pub(crate) struct Upload {
    pub(crate) dfs: Dfs,
    /// Replication, chunk size, durability; the rest is this module's.
    pub(crate) create: CreateOptions,
    /// Replace an existing file.
    pub(crate) force: bool,
    /// How attributes are taken over.
    pub(crate) keep: Keep,
    pub(crate) progress: Progress,
    pub(crate) stop: CancellationToken,
}

/// Whether directories above a file may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Above {
    /// Whoever named the file meant them too.
    Make,
    /// They are there, as far as this command could make them.
    Need,
}

impl Upload {
    /// Copies `source` to the file `target`: under a hidden name first, so that nobody sees half a file, and only a
    /// complete one replaces what was there and makes missing directories. What is not completed is removed.
    pub(crate) async fn run(
        &self,
        source: Source,
        target: &FsPath,
        mut attributes: Attributes,
        above: Above,
    ) -> Outcome {
        match remote::status(&self.dfs, target).await? {
            Some(status) if status.is_directory() => {
                let message = format!("{target} is a directory: it can't be replaced by a file");
                return Err(FsError::new(ErrorCode::IsADirectory, message).into());
            }
            Some(_) if !self.force => return Err(exists_already(target)),
            Some(status) if !attributes.exact => {
                attributes.mode = self.own_mode(target, &status).await?.into();
            }
            Some(_) | None => {}
        }
        let (Some(directory), Some(name)) = (target.parent(), target.name()) else {
            return Err(Failure::Usage("the root directory can't be a file".to_owned()));
        };
        let (bytes, length) = self.open(source).await?;
        let (mode, create) = (attributes.mode, self.create.clone());
        let options = CreateOptions { mode, temporary: true, expected_length: length, ..create };
        let (hidden, mut writer) = self.create(&directory, name, options, above).await?;
        let outcome = tokio::select! {
            outcome = self.write(bytes, &mut writer, &hidden, target, attributes) => outcome,
            () = self.stop.cancelled() => Err(Failure::Interrupted),
        };
        if let Err(failure) = outcome {
            // The first failure is the one to tell; what can't be removed now goes when the lease expires.
            let _ = writer.abort().await;
            return Err(failure);
        }
        self.progress.file();
        Ok(())
    }

    /// The permission bits of a file that gives way, whose ACL goes with it: what its group may do, and not the mask.
    async fn own_mode(&self, path: &FsPath, status: &FileStatus) -> Outcome<Mode> {
        if !status.has_acl {
            return Ok(status.mode);
        }
        let AclStatus { status, acl } = self.dfs.acl(path).await?;
        Ok(AclChange::Remove.apply(status.mode, acl.as_ref(), status.is_directory())?.0)
    }

    /// Opens a hidden file in `directory`, or as near above it as there is a directory.
    async fn create(
        &self,
        directory: &FsPath,
        name: &str,
        options: CreateOptions,
        above: Above,
    ) -> Outcome<(FsPath, FileWriter)> {
        let mut place = directory.clone();
        loop {
            let hidden = place.join(&hidden_name(name, random()))?;
            match self.dfs.create(&hidden, options.clone()).await {
                Ok(writer) => return Ok((hidden, writer)),
                Err(error) if above == Above::Make && error.code == ErrorCode::NotFound => {
                    place = place.parent().ok_or(error)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Writes a whole file and gives it its name and times in one step.
    async fn write(
        &self,
        mut bytes: BoxStream<'static, Outcome<Bytes>>,
        writer: &mut FileWriter,
        hidden: &FsPath,
        target: &FsPath,
        attributes: Attributes,
    ) -> Outcome {
        while let Some(piece) = bytes.next().await {
            let piece = piece?;
            let length = piece.len();
            writer.write_bytes(piece).await?;
            self.progress.bytes(length);
        }
        if let Some(directory) = target.parent()
            && hidden.parent().as_ref() != Some(&directory)
        {
            self.dfs.mkdir_all(&directory, less_umask(NEW_DIRECTORY)).await?;
        }
        let publication = Publication {
            to: target.clone(),
            overwrite: self.force,
            mtime: attributes.times.map(|times| times.mtime),
            atime: attributes.times.map(|times| times.atime),
        };
        writer.publish(publication).await.map(drop).map_err(|error| match error.code {
            ErrorCode::AlreadyExists => exists_already(target),
            ErrorCode::NotFound => {
                let message = format!("{target}: its directory was moved or removed meanwhile: try again");
                FsError::new(ErrorCode::NotFound, message).into()
            }
            _ => error.into(),
        })
    }

    /// What the source has, and how many bytes that most likely are.
    async fn open(&self, source: Source) -> Outcome<(BoxStream<'static, Outcome<Bytes>>, Option<u64>)> {
        Ok(match source {
            Source::File(path) => {
                // Whatever is wrong with it is found out when it is read.
                let regular = tokio::fs::metadata(&path).await.ok().filter(Metadata::is_file);
                let length = regular.map(|regular| regular.len());
                (file_bytes(path), length)
            }
            Source::Stdin => (stdin_bytes(), None),
            Source::Remote(path) => {
                let reader = self.dfs.open(&path).await?;
                let pieces = reader.stream(0..reader.len());
                let pieces = pieces.map(|piece: FsResult<Bytes>| piece.map_err(Failure::from));
                (pieces.boxed(), Some(reader.len()))
            }
        })
    }
}

/// What a local file has, piece by piece.
pub(crate) fn file_bytes(path: PathBuf) -> BoxStream<'static, Outcome<Bytes>> {
    read_in_background(path, |path| File::open(path))
}

/// What comes from standard input, piece by piece.
pub(crate) fn stdin_bytes() -> BoxStream<'static, Outcome<Bytes>> {
    let open = |_: &Path| streams::check_input().map(|()| io::stdin().lock());
    read_in_background(PathBuf::from("standard input"), open)
}

/// Reads on a thread of its own, a few pieces ahead of whoever takes them.
fn read_in_background<R: Read>(
    path: PathBuf,
    open: impl FnOnce(&Path) -> io::Result<R> + Send + 'static,
) -> BoxStream<'static, Outcome<Bytes>> {
    let (sender, receiver) = mpsc::channel(PIECES);
    tokio::task::spawn_blocking(move || {
        let mut source = match open(&path) {
            Ok(source) => source,
            Err(error) => {
                // Nobody listens: nobody needs to know.
                let _ = sender.blocking_send(Err(Failure::file(&path, &error)));
                return;
            }
        };
        loop {
            let mut piece = Vec::with_capacity(READ_BYTES);
            let outcome = match source.by_ref().take(READ_BYTES as u64).read_to_end(&mut piece) {
                Ok(0) => return,
                Ok(_) => Ok(Bytes::from(piece)),
                Err(error) => Err(Failure::file(&path, &error)),
            };
            let failed = outcome.is_err();
            if sender.blocking_send(outcome).is_err() || failed {
                return;
            }
        }
    });
    futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|piece| (piece, receiver))
    })
    .boxed()
}

/// 64 random bits.
fn random() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}
