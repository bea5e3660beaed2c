//! Segment files: how one is made and begun, so that a crash in between leaves nothing to repair.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use super::Error;
use super::frame::{SECTOR, SegmentHeader};

/// Name of the blank file that a thread prepares.
pub(super) const SPARE: &str = "spare";
/// Name of the blank file that is made while an append waits for it.
pub(super) const NEXT: &str = "next";
/// Bytes of zeros written at once. Each piece is synced, so that an append meanwhile waits for one piece at most.
const PIECE: u64 = 512 << 10;
/// Bytes of a segment on a disk that has no room for a usual one.
const SMALL: u64 = 64 << 10;

/// Path of a segment.
pub(super) fn path(dir: &Path, sequence: u64) -> PathBuf {
    dir.join(format!("{sequence:016x}.seg"))
}

/// Sequence number of a segment with this file name.
pub(super) fn sequence(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let number = u64::from_str_radix(digits, 16).ok()?;
    (format!("{number:016x}") == digits).then_some(number)
}

/// Turns what the operating system said into an [`Error`].
pub(super) fn refused(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full { path: path.to_owned() },
        _ => Error::Io { action, path: path.to_owned(), source },
    }
}

/// As [`refused`], where it is not known what was done: also a lack of room can't be tried again then.
pub(super) fn broken(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { action, path: path.to_owned(), source }
}

/// Makes the names in a directory durable.
pub(super) fn sync_names(dir: &Path) -> Result<(), Error> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(broken("syncing", dir))
}

/// Removes a file that may not be there.
pub(super) fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(refused("removing", path)(error)),
        _ => Ok(()),
    }
}

/// The segment that is appended to.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) file: File,
    pub(super) sequence: u64,
    /// Bytes of the file.
    pub(super) size: u64,
    /// Where the next frame goes.
    pub(super) end: u64,
    /// Index of the last entry in it; zero if there is none.
    pub(super) last_entry: u64,
}

impl Segment {
    /// Bytes left for frames.
    pub(super) fn room(&self) -> u64 {
        self.size - self.end
    }
}

/// Bytes that must be free besides a usual segment before one is written. What comes close would take the last room from
/// the database next to the log, which it needs at any moment.
const MARGIN: u64 = 1 << 20;

/// Whether a segment of `size` bytes fits well. If it can't be known, trying tells.
fn fits(dir: &Path, size: u64) -> bool {
    rustix::fs::statvfs(dir)
        .map_or(true, |disk| disk.f_bavail.saturating_mul(disk.f_frsize) >= size.saturating_add(MARGIN))
}

/// Makes a file of `size` zeros.
fn make_blank(path: &Path, size: u64) -> Result<File, Error> {
    let written = OpenOptions::new().write(true).create(true).truncate(true).open(path).and_then(|file| {
        let zeros = vec![0; PIECE.min(size) as usize];
        let mut at = 0;
        while at < size {
            let piece = &zeros[..PIECE.min(size - at) as usize];
            file.write_all_at(piece, at)?;
            file.sync_data()?;
            at += piece.len() as u64;
        }
        file.sync_all()?;
        Ok(file)
    });
    if written.is_err() {
        // It must not keep the last room on the disk. If it stays, the next start removes it.
        let _ = fs::remove_file(path);
    }
    written.map_err(refused("writing", path))
}

/// Removes blank files from the directory of a log that nobody has open, as opening it does.
pub fn remove_blanks(dir: &Path) -> io::Result<()> {
    for name in [SPARE, NEXT] {
        match fs::remove_file(dir.join(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Where blank files come from: at most one is prepared ahead by a thread.
#[derive(Debug)]
pub(super) struct Blanks {
    dir: PathBuf,
    size: u64,
    spare: Option<JoinHandle<Result<File, Error>>>,
}

impl Blanks {
    /// Removes what an earlier process prepared: whether it was synced is not known.
    pub(super) fn open(dir: &Path, size: u64) -> Result<Self, Error> {
        remove_blanks(dir).map_err(refused("removing a blank segment from", dir))?;
        Ok(Self { dir: dir.to_owned(), size, spare: None })
    }

    /// Sees to it that the next segment will not have to be waited for. If this can't be done, it is only later that it
    /// matters.
    pub(super) fn prepare(&mut self) {
        if self.spare.is_none() && fits(&self.dir, self.size) {
            let (path, size) = (self.dir.join(SPARE), self.size);
            self.spare = std::thread::Builder::new()
                .name("log-spare".to_owned())
                .spawn(move || make_blank(&path, size))
                .ok();
        }
    }

    /// A segment that begins with `header`, but for its size: that is set here, large enough for `frame` bytes of
    /// frames. Durable when this returns.
    pub(super) fn begin(&mut self, mut header: SegmentHeader, frame: u64) -> Result<Segment, Error> {
        let needed = frame + SECTOR as u64;
        let prepared = if needed <= self.size { self.take_spare() } else { None };
        header.size = self.size;
        let (blank, file) = if let Some(file) = prepared {
            (self.dir.join(SPARE), file)
        } else {
            let blank = self.dir.join(NEXT);
            let small = needed.max(SMALL);
            header.size = if fits(&self.dir, self.size) { needed.max(self.size) } else { small };
            let file = match make_blank(&blank, header.size) {
                Err(Error::Full { .. }) if small < header.size => {
                    header.size = small;
                    make_blank(&blank, header.size)?
                }
                made => made?,
            };
            (blank, file)
        };
        let path = path(&self.dir, header.sequence);
        // Its header is durable before its name is: a file with the name of a segment has always been a segment.
        file.write_all_at(&header.encode(), 0).map_err(refused("writing", &blank))?;
        file.sync_data().map_err(broken("syncing", &blank))?;
        fs::rename(&blank, &path).map_err(|error| {
            // It must not keep room that is needed for another try.
            let _ = fs::remove_file(&blank);
            refused("naming", &path)(error)
        })?;
        sync_names(&self.dir)?;
        let SegmentHeader { sequence, size, .. } = header;
        Ok(Segment { path, file, sequence, size, end: SECTOR as u64, last_entry: 0 })
    }

    /// The prepared file, waiting for it if it is not ready: beginning another one would take longer.
    fn take_spare(&mut self) -> Option<File> {
        match self.spare.take()?.join() {
            Ok(Ok(file)) => Some(file),
            Ok(Err(error)) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, "the log's next segment was not prepared: it is tried once more now");
                None
            }
            Err(_) => None,
        }
    }
}

impl Drop for Blanks {
    /// Whoever opens this directory next must not meet the thread.
    fn drop(&mut self) {
        if let Some(spare) = self.spare.take() {
            // What it made is removed by the next one to open the directory.
            let _ = spare.join();
        }
    }
}
