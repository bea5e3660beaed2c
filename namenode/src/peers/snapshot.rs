//! Sending and receiving a database.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use dfs_namenode_raft::Envelope;
use dfs_proto::convert::{cluster_id, from_status};
use dfs_proto::v1;
use dfs_proto::v1::snapshot_part::Kind;
use dfs_types::backup::{Invalid, PART, Unpacker};
use dfs_types::checksum::{combine, crc32c};
use dfs_types::{ErrorCode, FsError, FsResult};
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;

use super::Peers;
use crate::store::group::Group;
use crate::store::{PartFile, backup};

/// Parts read ahead of the connection.
const AHEAD: usize = 8;
/// Longest that a whole transfer may take.
const LIMIT: Duration = Duration::from_hours(1);
/// Longest silence of a sender.
const SILENCE: Duration = Duration::from_secs(30);

/// Sends a message with the snapshot it belongs to.
pub(super) async fn send(address: &str, envelope: v1::RaftEnvelope, file: PathBuf) -> FsResult<()> {
    let mut client = super::client(address)?;
    let (parts, stream) = mpsc::channel(AHEAD);
    let reading = spawn_blocking(move || read_parts(&file, envelope, &parts));
    let sent = timeout(LIMIT, client.install_snapshot(ReceiverStream::new(stream))).await;
    let read = reading.await.map_err(|error| FsError::internal(error.to_string()))?;
    match sent {
        // A broken connection ends the reading too; its error says less.
        Ok(Err(status)) => Err(from_status(&status)),
        Ok(Ok(_)) => read,
        Err(_) => Err(FsError::new(ErrorCode::TimedOut, "the snapshot took too long")),
    }
}

fn read_parts(
    file: &Path,
    envelope: v1::RaftEnvelope,
    parts: &mpsc::Sender<v1::SnapshotPart>,
) -> FsResult<()> {
    let send = |kind| parts.blocking_send(v1::SnapshotPart { kind: Some(kind) }).is_ok();
    let failed = |error| FsError::new(ErrorCode::Io, format!("reading the snapshot failed ({error})"));
    let cluster = cluster_id(&envelope.cluster)?;
    let metadata = envelope.message.as_ref().and_then(|message| message.snapshot.as_ref());
    let applied = metadata.map_or(0, |metadata| metadata.index);
    let header = backup::header(file, cluster, applied).map_err(failed)?;
    let (length, cluster) = (header.file_length(), envelope.cluster.clone());
    if !send(Kind::Header(v1::SnapshotHeader { cluster, envelope: Some(envelope), length })) {
        return Err(FsError::new(ErrorCode::Unavailable, "the connection broke"));
    }
    let read = backup::read_packed(file, &header, |data| send(Kind::Data(data))).map_err(failed)?;
    match read {
        Some(crc32c) if send(Kind::Trailer(v1::SnapshotTrailer { crc32c })) => Ok(()),
        Some(_) | None => Err(FsError::new(ErrorCode::Unavailable, "the connection broke")),
    }
}

/// Takes a snapshot in: its message, and the file below `directory` that holds it, checked and synced. Nothing stays
/// behind after an error. Without room for it, it is refused before it is sent.
pub async fn receive<S>(
    peers: &Peers,
    group: &Group,
    directory: &Path,
    mut parts: S,
) -> FsResult<(Envelope, PartFile)>
where
    S: Stream<Item = Result<v1::SnapshotPart, tonic::Status>> + Unpin,
{
    let Some(Kind::Header(header)) = next(&mut parts).await? else {
        return Err(FsError::invalid("the snapshot does not begin with a header"));
    };
    let envelope = header.envelope.ok_or_else(|| FsError::invalid("the snapshot lacks 'envelope'"))?;
    let envelope = peers.receive(envelope)?;
    // Taking it over writes all of it once more, into SQLite's log, while the file is still there.
    group.room().check(header.length.saturating_mul(2)).map_err(|why| {
        FsError::new(ErrorCode::NoSpace, format!("a copy of the namespace is not taken: {why}"))
    })?;
    let file = PartFile::new(directory, "incoming");
    let (data, stream) = mpsc::channel(AHEAD);
    let (target, length) = (file.path().to_owned(), header.length);
    let writing = spawn_blocking(move || write_parts(&target, length, stream));
    let sum = pass_on(&mut parts, data).await;
    let written = writing.await.map_err(|error| FsError::internal(error.to_string()))?;
    let metadata = envelope.message.get_snapshot().get_metadata();
    let (index, term) = (metadata.index, metadata.term);
    let (path, cluster) = (file.path().to_owned(), peers.cluster);
    let checked = spawn_blocking(move || {
        let (sum, written) = (sum?, written?);
        if sum != written {
            return Err(FsError::new(
                ErrorCode::Corrupt,
                "the snapshot's checksum does not match: send it again",
            ));
        }
        backup::prepare_snapshot(&path, cluster, index, term)
            .map_err(|error| FsError::internal(dfs_types::error::sentence(&error)))
    });
    let checked =
        checked.await.map_err(|error| FsError::internal(error.to_string())).and_then(|checked| checked);
    checked.map(|()| (envelope, file))
}

async fn next<S>(parts: &mut S) -> FsResult<Option<Kind>>
where
    S: Stream<Item = Result<v1::SnapshotPart, tonic::Status>> + Unpin,
{
    match timeout(SILENCE, parts.next()).await {
        Ok(Some(Ok(part))) => Ok(part.kind),
        Ok(Some(Err(status))) => Err(from_status(&status)),
        Ok(None) => Ok(None),
        Err(_) => Err(FsError::new(ErrorCode::TimedOut, "the snapshot's sender fell silent")),
    }
}

/// Hands the data to the writing thread; answers the checksum that the sender tells at the end.
async fn pass_on<S>(parts: &mut S, data: mpsc::Sender<Bytes>) -> FsResult<u32>
where
    S: Stream<Item = Result<v1::SnapshotPart, tonic::Status>> + Unpin,
{
    loop {
        match next(parts).await? {
            Some(Kind::Data(part)) => {
                data.send(part.into())
                    .await
                    .map_err(|_| FsError::new(ErrorCode::Io, "the snapshot can't be written"))?;
            }
            Some(Kind::Trailer(trailer)) => return Ok(trailer.crc32c),
            Some(Kind::Header(_)) | None => return Err(FsError::invalid("the snapshot is incomplete")),
        }
    }
}

/// Writes the database in what comes, syncs it, reads it again, and answers the checksum of what came.
fn write_parts(target: &Path, length: u64, mut data: mpsc::Receiver<Bytes>) -> FsResult<u32> {
    let failed = |error: std::io::Error| {
        FsError::new(ErrorCode::Io, format!("writing a snapshot failed ({error}): check the disk"))
    };
    let mut file = File::create_new(target).map_err(failed)?;
    let (mut sum, mut came) = (crc32c(b""), 0);
    let (mut unpacker, mut written) = (Unpacker::default(), crc32c(b""));
    let damaged = |invalid: Invalid| {
        FsError::new(ErrorCode::Corrupt, format!("the snapshot can't be used: {invalid}: send it again"))
    };
    while let Some(part) = data.blocking_recv() {
        let checked = unpacker.push(&part).map_err(damaged)?;
        file.write_all(&checked).map_err(failed)?;
        written = combine(written, crc32c(&checked), checked.len() as u64);
        sum = combine(sum, crc32c(&part), part.len() as u64);
        came += part.len() as u64;
        if came > length {
            break;
        }
    }
    if came != length {
        return Err(FsError::invalid(format!("the snapshot has {came} bytes and not {length}")));
    }
    unpacker.finish().map_err(damaged)?;
    file.sync_all().map_err(failed)?;
    if sum_of(target).map_err(failed)? != written {
        let text = "the snapshot is not what was written when it is read again: check the disk";
        return Err(FsError::new(ErrorCode::Corrupt, text));
    }
    Ok(sum)
}

/// CRC32C of a file.
fn sum_of(file: &Path) -> std::io::Result<u32> {
    let (mut file, mut piece, mut sum) = (File::open(file)?, vec![0; PART], crc32c(b""));
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(sum),
            Ok(read) => sum = combine(sum, crc32c(&piece[..read]), read as u64),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
