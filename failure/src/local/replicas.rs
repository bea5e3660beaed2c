//! What lies in a DataNode's directories.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use dfs_types::{ChunkId, GenStamp};

use crate::cluster::StoredReplica;

/// Bytes that are flipped in a row: more than one checksum covers.
const DAMAGE: usize = 600;

/// The finalized replicas below a directory, with their data files.
fn files(directory: &Path) -> Result<Vec<(StoredReplica, PathBuf)>> {
    let (mut found, mut folders) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(folder) = folders.pop() {
        let entries = match fs::read_dir(&folder) {
            // A running DataNode makes and removes folders meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            entries => entries?,
        };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if let Some(replica) = replica(&path) {
                found.push((replica, path));
            }
        }
    }
    found.sort();
    Ok(found)
}

/// What `current/xx/<chunk>_<generation>.chunk` is.
fn replica(path: &Path) -> Option<StoredReplica> {
    let current = path.parent()?.parent()?.file_name()?;
    let name = path.file_name()?.to_str()?.strip_suffix(".chunk")?;
    let (chunk, generation) = name.split_once('_')?;
    let length = fs::metadata(path).ok()?.len();
    (current == "current").then_some(StoredReplica {
        chunk: ChunkId(chunk.parse().ok()?),
        generation: GenStamp(generation.parse().ok()?),
        length,
    })
}

/// All finalized replicas.
pub(super) fn finalized(directory: &Path) -> Result<Vec<StoredReplica>> {
    Ok(files(directory)?.into_iter().map(|(replica, _)| replica).collect())
}

/// The bytes of a chunk's replica of the latest generation.
pub(super) fn stored(directory: &Path, chunk: ChunkId) -> Result<Option<Vec<u8>>> {
    let latest = files(directory)?.into_iter().rfind(|(replica, _)| replica.chunk == chunk);
    match latest.map(|(_, path)| fs::read(path)).transpose() {
        // It was deleted meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        read => Ok(read?),
    }
}

/// Flips bits in the middle of every replica of a chunk.
pub(super) fn corrupt(directory: &Path, chunk: ChunkId) -> Result<()> {
    let all: Vec<_> = files(directory)?.into_iter().filter(|(replica, _)| replica.chunk == chunk).collect();
    ensure!(!all.is_empty(), "there is none");
    for (replica, path) in all {
        ensure!(replica.length > 0, "it is empty");
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let mut bytes = vec![0; DAMAGE.min(replica.length as usize)];
        let at = (replica.length - bytes.len() as u64) / 2;
        file.read_exact_at(&mut bytes, at)?;
        for byte in &mut bytes {
            *byte ^= 0x40;
        }
        file.write_all_at(&bytes, at)?;
    }
    Ok(())
}

/// Removes both files of every replica of a chunk.
pub(super) fn remove(directory: &Path, chunk: ChunkId) -> Result<()> {
    let all: Vec<_> = files(directory)?.into_iter().filter(|(replica, _)| replica.chunk == chunk).collect();
    ensure!(!all.is_empty(), "there is none");
    for (_, path) in all {
        fs::remove_file(path.with_extension("crc"))?;
        fs::remove_file(&path)?;
    }
    Ok(())
}

/// Removes all that is below a directory, also what is made there meanwhile.
pub(super) fn empty(directory: &Path) -> Result<()> {
    while let Some(entry) = fs::read_dir(directory)?.next() {
        let path = entry?.path();
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {}
            removed => removed?,
        }
    }
    Ok(())
}

/// The names of what is in a directory.
pub(super) fn names(directory: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(directory)?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finalized_replicas_are_found_and_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let current = folder.path().join("volume-1/dfs/current/05");
        fs::create_dir_all(&current).unwrap();
        fs::create_dir_all(folder.path().join("volume-1/dfs/rbw")).unwrap();
        fs::write(current.join("5_7.chunk"), [1; 2_000]).unwrap();
        fs::write(current.join("5_7.crc"), "x").unwrap();
        fs::write(folder.path().join("volume-1/dfs/rbw/6_7.chunk"), "x").unwrap();
        let found = StoredReplica { chunk: ChunkId(5), generation: GenStamp(7), length: 2_000 };
        assert_eq!(finalized(folder.path()).unwrap(), [found]);
        assert_eq!(stored(folder.path(), ChunkId(5)).unwrap().unwrap(), [1; 2_000]);
        assert_eq!(stored(folder.path(), ChunkId(6)).unwrap(), None);
        corrupt(folder.path(), ChunkId(5)).unwrap();
        let bytes = fs::read(current.join("5_7.chunk")).unwrap();
        assert_eq!((bytes.len(), bytes.iter().filter(|byte| **byte != 1).count()), (2_000, DAMAGE));
        assert!(corrupt(folder.path(), ChunkId(6)).is_err());
    }
}
