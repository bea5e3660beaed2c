//! One file out of the cluster.

use std::fs::{File, FileTimes, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use dfs_client::{Destination, DestinationOptions, Dfs};
use dfs_types::{ErrorCode, FileStatus, FsError, FsPath, Millis};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::PIECES;
use super::attributes::FILE_BITS;
use super::progress::Progress;
use super::target::exists_already;
use crate::exit::{Failure, Outcome};
use crate::output::second;

/// No file system counts times more coarsely (FAT: two seconds).
const COARSEST_CLOCK: Duration = Duration::from_secs(2);

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
    /// Copies the file `source` to `target`: into a hidden file beside it first, so that nobody sees half a file. A device
    /// or pipe is written to if it was `named`, not come across in a tree. Answers, when the copy is made, with what could
    /// not be kept of mode and times.
    pub(crate) async fn run(
        &self,
        source: &FsPath,
        status: &FileStatus,
        target: PathBuf,
        named: bool,
    ) -> Outcome<Option<Failure>> {
        let mode = of_new_file(status.mode.bits() & FILE_BITS, named);
        let options = DestinationOptions { replace: self.force, special: named, mode };
        let shown = target.clone();
        let opening = tokio::task::spawn_blocking(move || Destination::open(&target, options));
        let destination = tokio::select! {
            opened = opening => opened?.map_err(|error| self.refused(&shown, error))?,
            // One that is opened after this is dropped, and so removed, at once.
            () = self.stop.cancelled() => return Err(Failure::Interrupted),
        };
        let special = destination.is_special();
        let (sender, receiver) = mpsc::channel(PIECES);
        let preserved = self.preserve.then(|| status.clone());
        let mut writing =
            tokio::task::spawn_blocking(move || write(receiver, destination, preserved.as_ref()));
        let fetched = tokio::select! {
            fetched = self.fetch(source, sender) => fetched,
            () = self.stop.cancelled() => Err(Failure::Interrupted),
        };
        // The channel is closed now: the writer ends, and if the file is not complete, it removes the hidden one. Who
        // reads from a pipe may make it wait for ever, and there is nothing to remove.
        let written = tokio::select! {
            written = &mut writing => written?,
            () = self.stop.cancelled(), if special => return Err(Failure::Interrupted),
        };
        let written = written.map_err(|failure| match failure {
            Failure::Fs(error) => self.refused(&shown, error),
            failure => failure,
        });
        let lost = fetched.and(written)?;
        self.progress.file();
        Ok(lost)
    }

    fn refused(&self, target: &Path, error: FsError) -> Failure {
        match error.code {
            ErrorCode::AlreadyExists if !self.force => exists_already(&target.display()),
            _ => error.into(),
        }
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
    mut destination: Destination,
    preserved: Option<&FileStatus>,
) -> Outcome<Option<Failure>> {
    loop {
        match pieces.blocking_recv() {
            Some(Piece::Bytes(bytes)) => destination.write(&bytes)?,
            Some(Piece::End) => break,
            None => return Err(Failure::Interrupted),
        }
    }
    // What was there before and is not replaced keeps what it has.
    let preserved = preserved.filter(|_| !destination.is_special());
    let lost = preserved.and_then(|status| preserve(destination.file(), status, destination.target()).err());
    destination.publish(false)?;
    Ok(lost)
}

/// Permission bits that a new local file gets, less the umask. In a tree they are the source's; of a file that was `named`
/// who may read may write too, as far as the umask lets them: write permission in the cluster says nothing about this folder,
/// and Hadoop's `-get` does the same.
fn of_new_file(source: u32, named: bool) -> u32 {
    if named { source | (source & 0o444) >> 1 } else { source }
}

/// Gives a local file or folder the mode and times of the remote one.
pub(crate) fn preserve(file: &File, status: &FileStatus, shown: &Path) -> Outcome {
    let failed = |error: std::io::Error| Failure::file(shown, &error);
    file.set_permissions(Permissions::from_mode(status.mode.bits())).map_err(failed)?;
    let time = |time: Millis| SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(time.0));
    let lost = || {
        Failure::Other(format!(
            "{}: the file system here can't keep its time of modification, {}",
            shown.display(),
            second(status.mtime)
        ))
    };
    let mtime = time(status.mtime).ok_or_else(lost)?;
    let mut times = FileTimes::new().set_modified(mtime);
    if let Some(atime) = time(status.atime).filter(|_| status.atime > Millis(0)) {
        times = times.set_accessed(atime);
    }
    file.set_times(times).map_err(failed)?;
    // A time out of a file system's range is moved into it without a word.
    let kept = file.metadata().and_then(|metadata| metadata.modified()).map_err(failed)?;
    let apart = kept.duration_since(mtime).unwrap_or_else(|error| error.duration());
    if apart > COARSEST_CLOCK { Err(lost()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::of_new_file;

    #[test]
    fn who_may_read_a_file_that_was_named_may_write_it() {
        for (source, named, tree) in [
            (0o644, 0o666, 0o644),
            (0o755, 0o777, 0o755),
            (0o600, 0o600, 0o600),
            (0o440, 0o660, 0o440),
            (0o111, 0o111, 0o111),
        ] {
            assert_eq!((of_new_file(source, true), of_new_file(source, false)), (named, tree), "{source:o}");
        }
    }
}
