//! Backups: all of one or nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use dfs_proto::v1;
use dfs_proto::v1::backup_part::Kind;
use dfs_types::backup::{Header, PART, Packer};
use dfs_types::{ClusterId, ErrorCode, checksum};
use tonic::Status;

use crate::fake::{Cluster, content};

type Parts = Vec<Result<v1::BackupPart, Status>>;

/// A backup of a database.
fn packed(data: &[u8]) -> Vec<u8> {
    let cluster = ClusterId::from_bytes(&[9; 16]).unwrap();
    let (mut packer, mut file) = Packer::begin(&Header { cluster, applied: 77, length: data.len() as u64 });
    for part in data.chunks(PART) {
        file.extend(packer.part(part));
    }
    file.extend(packer.end());
    file
}

/// The backup of a database in pieces.
fn parts(data: &[u8]) -> Parts {
    pieces(&packed(data))
}

/// What the NameNode calls a backup, in pieces.
fn pieces(data: &[u8]) -> Parts {
    let header = v1::BackupHeader { cluster: vec![9; 16], applied: 77, length: data.len() as u64 };
    let pieces = data.chunks(100_000).map(|piece| Kind::Data(piece.to_vec()));
    let trailer = v1::BackupTrailer { crc32c: checksum::crc32c(data) };
    std::iter::once(Kind::Header(header))
        .chain(pieces)
        .chain([Kind::Trailer(trailer)])
        .map(|kind| Ok(v1::BackupPart { kind: Some(kind) }))
        .collect()
}

fn entries(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[tokio::test]
async fn a_backup_is_written_as_it_was_sent() {
    let cluster = Cluster::start(0).await;
    let dfs = cluster.connect().await;
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("backup");
    for data in [content(1_234_567), Vec::new()] {
        *cluster.backup.lock().unwrap() = parts(&data);
        let summary = dfs.backup(&target, true).await.unwrap();
        let data = packed(&data);
        assert_eq!((summary.applied, summary.length), (77, data.len() as u64));
        assert!(fs::read(&target).unwrap() == data);
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(entries(folder.path()), 1);
    }
}

#[tokio::test]
async fn an_existing_file_is_kept_unless_told_otherwise() {
    let cluster = Cluster::start(0).await;
    let dfs = cluster.connect().await;
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("backup");
    fs::write(&target, "former").unwrap();
    *cluster.backup.lock().unwrap() = parts(b"new");
    let error = dfs.backup(&target, false).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::AlreadyExists);
    assert!(error.message.contains("backup"), "{error}");
    assert_eq!(fs::read(&target).unwrap(), b"former");
    assert_eq!(cluster.members[0].calls("Backup"), 0, "the NameNode was not troubled");
    dfs.backup(&target, true).await.unwrap();
    assert!(fs::read(&target).unwrap() == packed(b"new"));
}

#[tokio::test]
async fn a_backup_that_is_not_whole_leaves_nothing() {
    let cluster = Cluster::start(0).await;
    let dfs = cluster.connect().await;
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("backup");
    let good = parts(&content(500_000));
    let mut flipped = packed(&content(500_000));
    flipped[333_333] ^= 4;
    let changed = |change: &dyn Fn(&mut Parts)| {
        let mut parts = good.clone();
        change(&mut parts);
        parts
    };
    let cases = [
        (changed(&|parts| parts.truncate(4)), ErrorCode::Unavailable),
        (changed(&|parts| parts[3] = Err(Status::unavailable("gone"))), ErrorCode::Unavailable),
        (changed(&|parts| drop(parts.remove(2))), ErrorCode::Corrupt),
        (changed(&|parts| parts.insert(2, parts[2].clone())), ErrorCode::Corrupt),
        (changed(&|parts| parts.swap(1, 2)), ErrorCode::Corrupt),
        (changed(&|parts| drop(parts.remove(0))), ErrorCode::Internal),
        (Vec::new(), ErrorCode::Unavailable),
        // Its checksum on the way is right: what was sent was wrong already.
        (pieces(&flipped), ErrorCode::Corrupt),
        (pieces(&[packed(b"one"), packed(b"another")].concat()), ErrorCode::Corrupt),
    ];
    for (number, (parts, code)) in cases.into_iter().enumerate() {
        *cluster.backup.lock().unwrap() = parts;
        let error = dfs.backup(&target, true).await.unwrap_err();
        assert_eq!(error.code, code, "case {number}: {error}");
        assert_eq!(entries(folder.path()), 0, "case {number} left something");
    }
}

#[tokio::test]
async fn an_abandoned_backup_leaves_nothing() {
    let cluster = Cluster::start(0).await;
    let dfs = cluster.connect().await;
    let folder = tempfile::tempdir().unwrap();
    let mut silent = parts(&content(500_000));
    silent[3] = Ok(v1::BackupPart { kind: None });
    *cluster.backup.lock().unwrap() = silent;
    let target = folder.path().join("backup");
    let mut backup = Box::pin(dfs.backup(&target, false));
    let deadline = Instant::now() + Duration::from_mins(1);
    while entries(folder.path()) == 0 {
        assert!(Instant::now() < deadline, "the backup did not begin");
        let going_on = tokio::time::timeout(Duration::from_millis(10), &mut backup).await;
        assert!(going_on.is_err(), "it ended without the rest");
    }
    assert!(!target.exists(), "it has its name only when it is whole");
    drop(backup);
    while entries(folder.path()) > 0 {
        assert!(Instant::now() < deadline, "something of it is left");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_bad_target_is_a_clear_error() {
    let cluster = Cluster::start(0).await;
    let dfs = cluster.connect().await;
    let folder = tempfile::tempdir().unwrap();
    *cluster.backup.lock().unwrap() = parts(b"x");
    let error = dfs.backup(folder.path(), true).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::IsADirectory);
    let error = dfs.backup(&folder.path().join("none/backup"), false).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Io);
    assert!(error.message.contains("none/backup"), "{error}");
}
