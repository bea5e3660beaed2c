//! Replacing the `.crc` file of a finalized replica by one whose header says more of its file, with the same checksums.
//!
//! The new file is written beside, synced, and renamed over the old one: at any moment one of both is there, and whole. Who
//! reads goes on with the one that he opened. Whoever calls this has the replica's claim. It blocks.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use dfs_types::checksum::checksum_length;
use dfs_types::{ChunkOrigin, Millis};

use super::layout::{Place, sync_directory};
use super::replica_file::{Header, read_exact, stem};
use super::{Error, ReplicaPaths, Volume};
use crate::disk_pool::disk_answered;

/// Suffix of the new file until it takes the old one's place; it lies among the copies, which are emptied at start.
const SUFFIX: &str = "header";
/// Bytes of checksums copied at once.
const COPIED_AT_ONCE: u64 = 64 << 10;

/// A `.crc` file that is to be replaced.
#[derive(Debug)]
pub(crate) struct Rewriting {
    old: File,
    /// Where in the old file the checksums begin.
    old_sums_at: u64,
    sums_bytes: u64,
    new: Header,
    /// The new file, once there is one.
    beside: Option<File>,
    temporary: PathBuf,
    paths: ReplicaPaths,
}

/// A step of it. What a crash leaves after any of them is either the old file or the new one.
type Step = (&'static str, fn(&mut Rewriting) -> io::Result<()>);

impl Rewriting {
    /// In this order.
    const STEPS: [Step; 4] = [
        ("write a replica's new header", Self::write_beside),
        ("sync a replica's new header", Self::sync),
        ("put a replica's new header in place", Self::put_in_place),
        ("sync a directory", Self::sync_name),
    ];

    /// Looks at the file of the replica that this was told of; `None` if it says so already.
    pub(crate) fn begin(volume: &Volume, of: &ChunkOrigin, told: Millis) -> Result<Option<Self>, Error> {
        let ChunkOrigin { chunk, generation, length, .. } = *of;
        let paths = volume.replica(Place::Current, chunk, generation);
        let corrupt = |why: String| Error::Corrupt { chunk, why };
        let open = || {
            let old = File::open(&paths.sums)?;
            let (header, size) = (Header::read(&old)?, old.metadata()?.len());
            Ok((old, header, size))
        };
        let (old, header, size) = open().map_err(volume.read_error("read a replica's header"))?;
        let header = header.map_err(|error| corrupt(error.to_string()))?;
        if header.says(of) {
            return Ok(None);
        }
        if (header.chunk, header.generation, header.length) != (chunk, generation, Some(length)) {
            return Err(corrupt("its header is that of another replica".to_owned()));
        }
        let (old_sums_at, sums_bytes) = (header.size() as u64, checksum_length(length));
        if size != old_sums_at + sums_bytes {
            return Err(corrupt(format!("its .crc file has {size} bytes")));
        }
        let place = volume.replica(Place::Tmp, chunk, generation).directory;
        let temporary = place.join(format!("{}.{SUFFIX}", stem(chunk, generation)));
        let new = header.with_origin(of, told);
        Ok(Some(Self { old, old_sums_at, sums_bytes, new, beside: None, temporary, paths }))
    }

    /// Bytes of the new file.
    pub(crate) fn bytes(&self) -> u64 {
        self.new.size() as u64 + self.sums_bytes
    }

    /// Does all of it. What was begun is taken back if it fails before the new file is in place.
    pub(crate) fn finish(mut self, volume: &Volume) -> Result<(), Error> {
        for (what, step) in Self::STEPS {
            disk_answered();
            if let Err(error) = step(&mut self) {
                // After the renaming it is not there any more; what can't be removed goes at the next start.
                let _ = fs::remove_file(&self.temporary);
                return Err(volume.write_error(what)(error));
            }
        }
        Ok(())
    }

    fn write_beside(&mut self) -> io::Result<()> {
        let header = self.new.encode();
        let beside = File::create(&self.temporary)?;
        let beside = self.beside.insert(beside);
        beside.write_all_at(&header, 0)?;
        let mut done = 0;
        while done < self.sums_bytes {
            disk_answered();
            let more = COPIED_AT_ONCE.min(self.sums_bytes - done);
            let sums = read_exact(&self.old, self.old_sums_at + done, more as usize)?;
            beside.write_all_at(&sums, header.len() as u64 + done)?;
            done += more;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.beside.as_ref().map_or(Ok(()), File::sync_all)
    }

    fn put_in_place(&mut self) -> io::Result<()> {
        fs::rename(&self.temporary, &self.paths.sums)
    }

    fn sync_name(&mut self) -> io::Result<()> {
        sync_directory(&self.paths.directory)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use dfs_types::checksum::compute;
    use dfs_types::{ChunkId, ClusterId, GenStamp, InodeId};

    use super::super::origin::example;
    use super::super::reader::Reader;
    use super::super::replica::State;
    use super::super::replica_file::{OddEnd, Version};
    use super::super::scan::scan;
    use super::super::writer::Readable;
    use super::*;

    /// More checksums than are copied at once.
    const LENGTH: u64 = (COPIED_AT_ONCE / 4 + 3) * 512 + 100;
    const PATH: &str = "/a/file/with/a/name/that/is/longer/than/it/was/when/it/was/opened";
    const OLD: &str = "/opened";
    const CHUNK: u64 = 7;

    fn of(path: &str) -> ChunkOrigin {
        example(path, CHUNK, 9, LENGTH)
    }

    fn data() -> Vec<u8> {
        (0..LENGTH).map(|byte| (byte * 31 % 251) as u8).collect()
    }

    /// A volume with one complete replica, whose header is of version 1.
    fn volume(at: &Path) -> Volume {
        let volume = Volume::for_test(at);
        let header = Header {
            version: Version::One,
            cluster: ClusterId::random(),
            chunk: ChunkId(CHUNK),
            generation: GenStamp(9),
            inode: InodeId(1),
            index: 0,
            path: OLD.to_owned(),
            origin: Vec::new(),
            length: Some(LENGTH),
            synced: <[OddEnd; 2]>::default(),
        };
        let paths = volume.replica(Place::Current, header.chunk, header.generation);
        fs::write(&paths.data, data()).unwrap();
        fs::write(&paths.sums, [header.encode(), compute(&data()).to_vec()].concat()).unwrap();
        volume
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).unwrap();
        for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                copy(&entry.path(), &target);
            } else {
                fs::copy(entry.path(), &target).unwrap();
            }
        }
    }

    /// Starts on a copy of a directory as it is now: all of the replica can be read, and nothing else is left. Answers the
    /// path that its header says.
    fn comes_up(at: &Path) -> String {
        let folder = tempfile::tempdir().unwrap();
        copy(&at.join("dfs"), &folder.path().join("dfs"));
        let directory = super::super::layout::Directory::lock(folder.path()).unwrap();
        let identity = directory.identity().unwrap().unwrap();
        let pool = crate::disk_pool::DiskPool::start("disk", 1).unwrap();
        let patience = super::super::health::Patience {
            suspect_after: std::time::Duration::from_hours(1),
            fail_after: std::time::Duration::from_hours(2),
        };
        let formatted = super::super::Formatted::look(directory, identity).unwrap();
        let volume = Arc::new(Volume::open(formatted, Some(0), pool, patience));
        let found = scan(&volume).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].length, found[0].state), (LENGTH, State::Finalized));
        let header = read_all(&volume).header.clone();
        let copies = fs::read_dir(folder.path().join("dfs/tmp")).unwrap().count();
        assert_eq!(copies, 0, "what was begun is removed");
        header.path
    }

    fn open(volume: &Arc<Volume>) -> Reader {
        let paths = volume.replica(Place::Current, ChunkId(CHUNK), GenStamp(9));
        let readable = Readable { length: LENGTH, tail: None };
        Reader::open(Arc::clone(volume), &paths, ChunkId(CHUNK), GenStamp(9), readable, true).unwrap()
    }

    fn check(reader: &Reader) {
        assert_eq!(reader.read_verified(0..LENGTH).unwrap().data, data());
    }

    fn read_all(volume: &Arc<Volume>) -> Reader {
        let reader = open(volume);
        check(&reader);
        reader
    }

    #[test]
    fn a_directory_that_it_was_interrupted_in_comes_up() {
        for steps in 0..=Rewriting::STEPS.len() {
            let folder = tempfile::tempdir().unwrap();
            let volume = Arc::new(volume(folder.path()));
            let before = open(&volume);
            let mut rewriting = Rewriting::begin(&volume, &of(PATH), Millis(5)).unwrap().unwrap();
            assert_eq!(comes_up(folder.path()), OLD);
            for (_, step) in &Rewriting::STEPS[..steps] {
                step(&mut rewriting).unwrap();
            }
            // From the renaming on it is the new one.
            let new = steps >= 3;
            assert_eq!(comes_up(folder.path()), if new { PATH } else { OLD }, "{steps} steps");
            check(&before);
            assert_eq!(read_all(&volume).header.says(&of(PATH)), new);
        }
    }

    #[test]
    fn half_a_file_is_removed_at_start() {
        let folder = tempfile::tempdir().unwrap();
        let volume = Arc::new(volume(folder.path()));
        let mut rewriting = Rewriting::begin(&volume, &of(PATH), Millis(5)).unwrap().unwrap();
        rewriting.write_beside().unwrap();
        for bytes in [0, 1, 200, rewriting.bytes() - 1] {
            File::options().write(true).open(&rewriting.temporary).unwrap().set_len(bytes).unwrap();
            assert_eq!(comes_up(folder.path()), OLD);
        }
    }

    #[test]
    fn it_is_done_once_and_again_when_the_file_changes() {
        let folder = tempfile::tempdir().unwrap();
        let volume = Arc::new(volume(folder.path()));
        for path in [PATH, "/", "/renamed"] {
            let rewriting = Rewriting::begin(&volume, &of(path), Millis(5)).unwrap().unwrap();
            let bytes = rewriting.bytes();
            rewriting.finish(&volume).unwrap();
            let header = read_all(&volume).header.clone();
            assert!(header.says(&of(path)) && header.version == Version::Two);
            assert_eq!(header.size() as u64 + checksum_length(LENGTH), bytes);
            assert!(Rewriting::begin(&volume, &of(path), Millis(6)).unwrap().is_none(), "it says so");
        }
    }

    #[test]
    fn what_is_damaged_or_of_another_replica_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let volume = Arc::new(volume(folder.path()));
        let paths = volume.replica(Place::Current, ChunkId(CHUNK), GenStamp(9));
        let good = fs::read(&paths.sums).unwrap();
        let begin = |bytes: &[u8]| {
            fs::write(&paths.sums, bytes).unwrap();
            Rewriting::begin(&volume, &of(PATH), Millis(5)).map(|begun| begun.is_some())
        };
        assert!(begin(&good).unwrap());
        let mut damaged = good.clone();
        damaged[130] ^= 1;
        for bad in [&good[..good.len() - 1], &[&good[..], &[0]].concat(), &good[..100], &damaged] {
            assert!(matches!(begin(bad), Err(Error::Corrupt { .. })), "{} bytes", bad.len());
        }
        fs::write(&paths.sums, &good).unwrap();
        let shorter = ChunkOrigin { length: LENGTH - 1, ..of(PATH) };
        assert!(matches!(Rewriting::begin(&volume, &shorter, Millis(5)), Err(Error::Corrupt { .. })));
    }

    #[test]
    fn what_fails_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let volume = Arc::new(volume(folder.path()));
        let rewriting = Rewriting::begin(&volume, &of(PATH), Millis(5)).unwrap().unwrap();
        // The checksums get fewer while they are copied.
        let paths = volume.replica(Place::Current, ChunkId(CHUNK), GenStamp(9));
        let whole = fs::read(&paths.sums).unwrap();
        File::options().write(true).open(&paths.sums).unwrap().set_len(200).unwrap();
        assert!(rewriting.finish(&volume).is_err());
        fs::write(&paths.sums, whole).unwrap();
        assert_eq!(fs::read_dir(folder.path().join("dfs/tmp")).unwrap().count(), 0);
        read_all(&volume);
    }
}
