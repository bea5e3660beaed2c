//! One file out of the cluster.

use std::fs::{self, File, FileTimes, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use dfs_client::Dfs;
use dfs_types::{FileStatus, FsPath, Millis};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::PIECES;
use super::progress::Progress;
use super::target::exists_already;
use crate::exit::{Failure, Outcome};

/// How files are fetched.
#[derive(Debug, Clone)]
pub(crate) struct Download {
    pub(crate) dfs: Dfs,
    /// Replace an existing file.
    pub(crate) force: bool,
    /// Take over mode and times.
    pub(crate) preserve: bool,
    pub(crate) progress: Progress,
    pub(crate) stop: CancellationToken,
}

impl Download {
    /// Copies the file `source` to `target`: into a hidden file beside it first, so that nobody sees half a file.
    pub(crate) async fn run(&self, source: &FsPath, status: &FileStatus, target: PathBuf) -> Outcome {
        let (sender, receiver) = mpsc::channel(PIECES);
        let (force, preserved) = (self.force, self.preserve.then(|| status.clone()));
        let writing =
            tokio::task::spawn_blocking(move || write(receiver, &target, force, preserved.as_ref()));
        let fetched = tokio::select! {
            fetched = self.fetch(source, sender) => fetched,
            () = self.stop.cancelled() => Err(Failure::Interrupted),
        };
        // The channel is closed now: the writer ends, and if the file is not complete, it removes the hidden one.
        let written = writing.await?;
        fetched.and(written)?;
        self.progress.file();
        Ok(())
    }

    /// Sends every byte of the file, and at last that it is complete.
    async fn fetch(&self, source: &FsPath, sender: mpsc::Sender<Piece>) -> Outcome {
        let reader = self.dfs.open(source).await?;
        let mut stream = reader.stream(0..reader.len());
        while let Some(bytes) = stream.next().await {
            let bytes = bytes?;
            let length = bytes.len();
            if sender.send(Piece::Bytes(bytes)).await.is_err() {
                // The writer has failed and says why.
                return Ok(());
            }
            self.progress.bytes(length);
        }
        // Likewise.
        let _ = sender.send(Piece::End).await;
        Ok(())
    }
}

/// What goes from the network to the disk.
enum Piece {
    Bytes(Bytes),
    /// The file is complete; a channel that closes without it means that it is not.
    End,
}

fn write(
    mut pieces: mpsc::Receiver<Piece>,
    target: &Path,
    force: bool,
    preserved: Option<&FileStatus>,
) -> Outcome {
    let failed = |error: std::io::Error| Failure::file(target, &error);
    if target.is_dir() {
        return Err(Failure::Other(format!(
            "{} is a folder: it can't be replaced by a file",
            target.display()
        )));
    }
    if !force && fs::symlink_metadata(target).is_ok() {
        return Err(exists_already(&target.display()));
    }
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // As for any new file, the umask takes its part of these bits.
    let mut file = tempfile::Builder::new()
        .prefix(".dfs-get-")
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(failed)?;
    loop {
        match pieces.blocking_recv() {
            Some(Piece::Bytes(bytes)) => file.as_file_mut().write_all(&bytes).map_err(failed)?,
            Some(Piece::End) => break,
            None => return Err(Failure::Interrupted),
        }
    }
    if let Some(status) = preserved {
        preserve(file.as_file(), status).map_err(failed)?;
    }
    if force {
        file.persist(target).map_err(|error| failed(error.error))?;
    } else {
        file.persist_noclobber(target).map_err(|error| match error.error.kind() {
            std::io::ErrorKind::AlreadyExists => exists_already(&target.display()),
            _ => failed(error.error),
        })?;
    }
    Ok(())
}

/// Gives a local file or folder the mode and times of the remote one.
pub(crate) fn preserve(file: &File, status: &FileStatus) -> std::io::Result<()> {
    file.set_permissions(Permissions::from_mode(status.mode.bits()))?;
    let time = |time: Millis| SystemTime::UNIX_EPOCH + Duration::from_millis(time.0);
    let mut times = FileTimes::new().set_modified(time(status.mtime));
    if status.atime > Millis(0) {
        times = times.set_accessed(time(status.atime));
    }
    file.set_times(times)
}
