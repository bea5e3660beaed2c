//! A copy of the metadata in a local file.

use std::path::Path;
use std::time::Duration;

use dfs_proto::convert::{cluster_id, from_status, incomplete};
use dfs_proto::v1;
use dfs_proto::v1::backup_part::Kind;
use dfs_types::backup::{Invalid, Unpacker};
use dfs_types::checksum::{combine, crc32c};
use dfs_types::{ClusterId, ErrorCode, FsError, FsResult};
use tokio::sync::mpsc;
use tonic::Streaming;

use crate::destination::{Destination, DestinationOptions};
use crate::error::context;
use crate::handle::Dfs;

/// Parts between the network and the disk.
const PARTS: usize = 8;
/// Longest silence in the middle of a backup.
const STALL: Duration = Duration::from_mins(1);

/// What a backup holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupSummary {
    /// The cluster it is of.
    pub cluster: ClusterId,
    /// Index of the last log entry in it.
    pub applied: u64,
    /// Bytes of the file.
    pub length: u64,
}

/// What goes from the network to the disk.
enum Piece {
    Bytes(Vec<u8>),
    /// All came, of this cluster and up to this entry; a channel that closes without it means that it did not.
    End(ClusterId, u64),
}

impl Dfs {
    /// Writes a consistent copy of the metadata, as of one moment after the call, to the new file `target`, which only
    /// its owner may read. With `replace` an existing file gives way, and keeps its permission bits; a device or pipe is
    /// written through.
    ///
    /// What comes is checked as a whole and in each part, and the file is synced before it gets its name: there is either
    /// all of the backup or nothing (what was written through is good if this succeeds). Errors: `AlreadyExists`; `Io` for
    /// the local file; `Unavailable` if the NameNode went away in
    /// the middle; `Corrupt` if what came is not what was sent.
    pub async fn backup(&self, target: &Path, replace: bool) -> FsResult<BackupSummary> {
        let (sender, receiver) = mpsc::channel(PARTS);
        let target = target.to_owned();
        let (opened, file_is_open) = tokio::sync::oneshot::channel();
        let writing = tokio::task::spawn_blocking(move || {
            let file = open(&target, replace)?;
            // Whoever waits for this may be gone; then so is the channel of the pieces.
            let _ = opened.send(());
            write(file, receiver)
        });
        // A target that can't be written is found out before the NameNode is troubled.
        let fetched = match file_is_open.await {
            Ok(()) => self.fetch(sender).await,
            Err(_) => Err(FsError::internal("the backup's file was not opened")),
        };
        let written = writing
            .await
            .map_err(|error| FsError::internal(format!("writing the backup failed: {error}")))?;
        match (fetched, written) {
            (Ok(summary), Ok(true)) => Ok(summary),
            // The disk's failure ended the fetching.
            (_, Err(error)) | (Err(error), Ok(_)) => Err(error),
            (Ok(_), Ok(false)) => Err(FsError::internal("the backup's end was lost")),
        }
    }

    /// Sends the backup to the disk piece by piece and checks it on the way.
    async fn fetch(&self, sender: mpsc::Sender<Piece>) -> FsResult<BackupSummary> {
        let mut parts = self
            .inner
            .namenode
            .group(self.inner.settings.call(), |mut client, context| async move {
                client.backup(v1::BackupRequest { context: Some(context) }).await
            })
            .await?;
        let Kind::Header(header) = next(&mut parts).await? else { return Err(incomplete("header")) };
        let v1::BackupHeader { cluster, applied, length } = header;
        let cluster = cluster_id(&cluster)?;
        let (mut received, mut sum) = (0_u64, crc32c(b""));
        let trailer = loop {
            match next(&mut parts).await? {
                Kind::Data(bytes) => {
                    received += bytes.len() as u64;
                    sum = combine(sum, crc32c(&bytes), bytes.len() as u64);
                    // A disk that failed says why itself.
                    if received > length || sender.send(Piece::Bytes(bytes)).await.is_err() {
                        return Err(differs(received, length));
                    }
                }
                Kind::Trailer(trailer) => break trailer,
                Kind::Header(_) => return Err(FsError::internal("the backup began twice")),
            }
        };
        if received != length {
            return Err(differs(received, length));
        }
        if trailer.crc32c != sum {
            let text =
                format!("the backup's checksum is {sum:08x} instead of {:08x}: try again", trailer.crc32c);
            return Err(FsError::new(ErrorCode::Corrupt, text));
        }
        // The writer's own error is the one to tell if it is gone.
        let _ = sender.send(Piece::End(cluster, applied)).await;
        Ok(BackupSummary { cluster, applied, length })
    }
}

fn differs(received: u64, length: u64) -> FsError {
    FsError::new(
        ErrorCode::Corrupt,
        format!("the backup has {received} bytes instead of {length}: try again"),
    )
}

async fn next(parts: &mut Streaming<v1::BackupPart>) -> FsResult<Kind> {
    let broken = |why: String| {
        FsError::new(
            ErrorCode::Unavailable,
            format!("the backup broke off and was discarded ({why}): try again"),
        )
    };
    match tokio::time::timeout(STALL, parts.message()).await {
        Ok(Ok(Some(v1::BackupPart { kind }))) => kind.ok_or_else(|| incomplete("backup.kind")),
        Ok(Ok(None)) => Err(broken("the end is missing".to_owned())),
        Ok(Err(status)) => {
            let error = from_status(&status);
            Err(if error.code == ErrorCode::Unavailable { broken(error.message) } else { error })
        }
        Err(_) => Err(broken(format!("nothing came for {STALL:?}"))),
    }
}

/// A new file is its owner's only; a device or pipe named as the target is written to.
fn open(target: &Path, replace: bool) -> FsResult<Destination> {
    let options = DestinationOptions { replace, special: true, mode: 0o600 };
    Destination::open(target, options).map_err(|error| match error.code {
        ErrorCode::AlreadyExists => FsError::new(
            ErrorCode::AlreadyExists,
            format!("{}: choose another name or allow replacing it", error.message),
        ),
        _ => context("the backup can't be written", error),
    })
}

/// Writes the pieces and gives the file its name; `false` if the end did not come.
fn write(mut target: Destination, mut pieces: mpsc::Receiver<Piece>) -> FsResult<bool> {
    let damaged = |invalid: Invalid| {
        FsError::new(ErrorCode::Corrupt, format!("the backup can't be used: {invalid}: try again"))
    };
    let mut unpacker = Unpacker::default();
    let said = loop {
        match pieces.blocking_recv() {
            Some(Piece::Bytes(bytes)) => {
                unpacker.push(&bytes).map_err(damaged)?;
                target.write(&bytes).map_err(|error| context("the backup can't be written", error))?;
            }
            Some(Piece::End(cluster, applied)) => break (cluster, applied),
            None => return Ok(false),
        }
    };
    let header = unpacker.finish().map_err(damaged)?;
    if (header.cluster, header.applied) != said {
        let text = "the backup is not the one that was asked for: try again";
        return Err(FsError::new(ErrorCode::Corrupt, text));
    }
    target.publish(true).map_err(|error| context("the backup can't be written", error))?;
    Ok(true)
}
