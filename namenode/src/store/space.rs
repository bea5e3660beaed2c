//! Room on the disk of the directory: how much there is, when the namespace may not grow any more, and a reserve that
//! is given up for what must still be written then.
//!
//! A full disk is a state of a NameNode, not its end. While little is left ([`Room::is_low`]) growth is refused, which
//! leaves the rest for deletions, closing files, votes and handing over. When even that is gone, the log and the
//! database ask for the reserve ([`Room::make_room`]), and then wait. When there is room again all goes on, and the
//! reserve is made again.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// The reserve's file in the directory.
const RESERVE_FILE: &str = "reserve";
/// How often the disk is looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Bytes of zeros written at once.
const PIECE: usize = 512 << 10;
/// Room below which trying again on a full disk is in vain.
const LEAST: u64 = 256 << 10;
/// Bytes that opening the database may need: SQLite's index of its log, and some pages of that.
const START_BYTES: u64 = 1 << 20;
/// Share of the disk that is kept free, and the bounds of that in bytes.
const FREE_SHARE: u64 = 20;
const FREE_BYTES: (u64, u64) = (32 << 20, 1 << 30);
/// Share of a small disk that is kept free at most.
const FREE_SHARE_OF_SMALL: u64 = 8;
/// Share of the disk that the reserve takes, and the bounds of that in bytes.
const RESERVE_SHARE: u64 = 64;
const RESERVE_BYTES: (u64, u64) = (1 << 20, 32 << 20);

/// Bytes of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    /// All of them.
    pub capacity: u64,
    /// Those that this process may still write.
    pub available: u64,
}

impl Space {
    /// Of the disk that a directory is on. Blocks for as long as the disk likes.
    pub fn of(directory: &Path) -> io::Result<Self> {
        let found = rustix::fs::statvfs(directory)?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Ok(Self { capacity: bytes(found.f_blocks), available: bytes(found.f_bavail) })
    }

    /// Free bytes below which the namespace may not grow, unless somebody said another number.
    pub fn usual_min_free(self) -> u64 {
        let (least, most) = FREE_BYTES;
        (self.capacity / FREE_SHARE).clamp(least, most).min(self.capacity / FREE_SHARE_OF_SMALL)
    }

    fn reserve(self) -> u64 {
        let (least, most) = RESERVE_BYTES;
        (self.capacity / RESERVE_SHARE).clamp(least, most)
    }
}

/// Whether growth is refused, with so many bytes available: from below the limit until there is a quarter more, so that
/// it does not change with every file.
fn is_low(was_low: bool, available: u64, min_free: u64) -> bool {
    available < if was_low { min_free.saturating_add(min_free / 4) } else { min_free }
}

#[derive(Debug)]
struct Seen {
    space: Space,
    at: Instant,
    low: bool,
}

/// The room there is. Cheap to ask, whatever the disk does.
#[derive(Debug)]
pub(crate) struct Room {
    directory: PathBuf,
    /// What was said instead of [`Space::usual_min_free`].
    min_free: Option<u64>,
    seen: Mutex<Seen>,
    /// The thread that makes the reserve. Where that takes writing it must not look as if the disk stood still.
    maker: Mutex<Option<JoinHandle<()>>>,
}

impl Room {
    /// Looks at the disk of a directory.
    pub(crate) fn new(directory: &Path, min_free: Option<u64>) -> io::Result<Self> {
        let space = Space::of(directory)?;
        let limit = min_free.unwrap_or_else(|| space.usual_min_free());
        let seen = Seen { space, at: Instant::now(), low: is_low(false, space.available, limit) };
        let (seen, maker) = (Mutex::new(seen), Mutex::default());
        Ok(Self { directory: directory.to_owned(), min_free, seen, maker })
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was seen last, and how long ago.
    pub(crate) fn space(&self) -> (Space, Duration) {
        let seen = self.seen();
        (seen.space, seen.at.elapsed())
    }

    /// Free bytes below which the namespace may not grow.
    pub(crate) fn min_free(&self) -> u64 {
        self.min_free.unwrap_or_else(|| self.seen().space.usual_min_free())
    }

    /// Whether the namespace may not grow.
    pub(crate) fn is_low(&self) -> bool {
        self.seen().low
    }

    /// Whether there is hardly anything left.
    pub(crate) fn is_out(&self) -> bool {
        self.seen().space.available < LEAST
    }

    /// Whether a file of so many bytes may be written for somebody's convenience, and if not, why.
    pub(crate) fn check(&self, bytes: u64) -> Result<(), String> {
        let available = self.space().0.available;
        let needed = bytes.saturating_add(self.min_free());
        if available >= needed {
            return Ok(());
        }
        Err(format!(
            "it takes {} besides the {} that are kept free, and the disk of {} has {}: make room there",
            mebibytes(bytes),
            mebibytes(self.min_free()),
            self.directory.display(),
            mebibytes(available)
        ))
    }

    /// The disk is full: whether there is likely to be some room now, because others made it or the reserve was given up.
    pub(crate) fn make_room(&self) -> bool {
        match give_up_reserve(&self.directory) {
            Ok(()) => true,
            Err(_) => Space::of(&self.directory).is_ok_and(|space| space.available >= LEAST),
        }
    }

    /// On a full disk the next start needs what closing has made free: SQLite removes its log and the index of that, and
    /// makes both again. So that nobody else takes it, it becomes the reserve.
    fn keep_for_the_start(&self) {
        self.await_maker();
        let reserve = self.reserve();
        if reserve.exists() {
            return;
        }
        let kept = Space::of(&self.directory).and_then(|space| {
            let bytes = space.reserve().min(space.available);
            if bytes == 0 { Ok(()) } else { make(&reserve, bytes) }
        });
        if let Err(error) = kept {
            tracing::warn!(directory = %self.directory.display(), %error, "nothing is kept for the next start");
        }
    }

    fn reserve(&self) -> PathBuf {
        self.directory.join(RESERVE_FILE)
    }

    /// Looks at the disk, and makes the reserve if there is none and room for it.
    fn look(&self) {
        let space = match Space::of(&self.directory) {
            Ok(space) => space,
            Err(error) => {
                tracing::warn!(directory = %self.directory.display(), %error, "the disk can't be looked at");
                return;
            }
        };
        let limit = self.min_free.unwrap_or_else(|| space.usual_min_free());
        let low = {
            let mut seen = self.seen();
            let low = is_low(seen.low, space.available, limit);
            *seen = Seen { space, at: Instant::now(), low };
            low
        };
        let fits = space.available >= space.reserve().saturating_add(limit).saturating_add(limit / 4);
        if !low && fits && !self.reserve().exists() {
            self.make_reserve(space.reserve());
        }
    }

    /// Begins to make the reserve, unless that has begun.
    fn make_reserve(&self, bytes: u64) {
        let mut maker = self.maker.lock().unwrap_or_else(PoisonError::into_inner);
        if maker.as_ref().is_some_and(|maker| !maker.is_finished()) {
            return;
        }
        let reserve = self.reserve();
        let work = move || {
            if let Err(error) = make(&reserve, bytes) {
                tracing::warn!(reserve = %reserve.display(), %error, "the reserve could not be made");
            }
        };
        // Tried again at the next look.
        *maker = std::thread::Builder::new().name("meta-reserve".to_owned()).spawn(work).ok();
    }

    fn await_maker(&self) {
        let maker = self.maker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if maker.is_some_and(|maker| maker.join().is_err()) {
            tracing::error!("the thread that makes the reserve had panicked");
        }
    }
}

/// Before the database of a directory is opened, which must be locked: gives up what can be if there is hardly any room.
/// That is the reserve, and the blank segments in the log's directory, which opening the log removes anyway.
pub(crate) fn make_room_for_the_start(directory: &Path, log: &Path) {
    if !Space::of(directory).is_ok_and(|space| space.available < START_BYTES) {
        return;
    }
    for gone in [give_up_reserve(directory), dfs_namenode_raft::log::remove_blanks(log)] {
        match gone {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(directory = %directory.display(), %error, "room could not be made for the start");
            }
            Ok(()) | Err(_) => {}
        }
    }
}

fn give_up_reserve(directory: &Path) -> io::Result<()> {
    fs::remove_file(directory.join(RESERVE_FILE))?;
    tracing::warn!(directory = %directory.display(), "the disk is full: its reserve is given up");
    Ok(())
}

/// Makes a file that takes so many bytes of the disk, all of it or nothing.
fn make(reserve: &Path, bytes: u64) -> io::Result<()> {
    let draft = reserve.with_extension("part");
    let written = File::create(&draft).and_then(|file| {
        match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            // Not every file system can do it without writing.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeros(&file, bytes)?,
            allocated => allocated?,
        }
        file.sync_all()
    });
    match written.and_then(|()| fs::rename(&draft, reserve)) {
        Ok(()) => Ok(()),
        Err(error) => {
            // It must not keep the last room on the disk. If it stays, the next start removes it.
            let _ = fs::remove_file(&draft);
            Err(error)
        }
    }
}

fn write_zeros(mut file: &File, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; PIECE];
    let mut left = bytes;
    while left > 0 {
        let piece = left.min(PIECE as u64);
        file.write_all(&zeros[..piece as usize])?;
        left -= piece;
    }
    Ok(())
}

/// Bytes for people.
pub(crate) fn mebibytes(bytes: u64) -> String {
    match bytes {
        0..1_048_576 => format!("{} KiB", bytes >> 10),
        _ => format!("{} MiB", bytes >> 20),
    }
}

/// Looks at the disk from time to time, in a thread of its own. Dropping it ends that; to be done when the database is
/// closed, as what that has made free is then kept for the next start.
#[derive(Debug)]
pub(crate) struct Lookout {
    room: Arc<Room>,
    ended: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Lookout {
    /// Starts the thread.
    pub(crate) fn start(room: Arc<Room>) -> io::Result<Self> {
        let (ended, end) = sync_channel(0);
        let seen = Arc::clone(&room);
        let thread =
            std::thread::Builder::new().name("meta-room".to_owned()).spawn(move || look_out(&seen, &end))?;
        Ok(Self { room, ended: Some(ended), thread: Some(thread) })
    }
}

fn look_out(room: &Room, end: &Receiver<()>) {
    loop {
        room.look();
        if end.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.ended = None;
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the thread that looks at the disk had panicked");
        }
        self.room.keep_for_the_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1 << 30;

    #[test]
    fn what_is_kept_free_suits_the_disk() {
        for (capacity, min_free) in
            [(40 << 20, 5 << 20), (GIB, GIB / 20), (10 * GIB, GIB / 2), (1_000 * GIB, GIB)]
        {
            let space = Space { capacity, available: 0 };
            assert_eq!(space.usual_min_free(), min_free, "{capacity}");
            assert!(space.reserve() <= min_free, "{capacity}");
        }
    }

    #[test]
    fn growth_begins_again_only_with_a_little_more_room_than_it_ended_with() {
        let states = [100, 99, 100, 124, 125, 100, 99].iter().scan(false, |low, available| {
            *low = is_low(*low, *available, 100);
            Some(*low)
        });
        assert_eq!(states.collect::<Vec<_>>(), [false, true, true, true, false, false, true]);
    }

    #[test]
    fn the_reserve_is_made_given_up_once_and_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let room = Room::new(dir.path(), Some(0)).unwrap();
        let size = || fs::metadata(room.reserve()).map(|found| found.len()).ok();
        room.look();
        room.await_maker();
        assert_eq!(size(), Some(room.space().0.reserve()));
        assert!(room.make_room());
        assert_eq!(size(), None);
        room.look();
        room.await_maker();
        assert_eq!(size(), Some(room.space().0.reserve()));
        assert!(!dir.path().join("reserve.part").exists());
    }

    #[test]
    fn on_a_disk_with_too_little_there_is_no_reserve_and_nothing_is_written_for_convenience() {
        let dir = tempfile::tempdir().unwrap();
        let room = Room::new(dir.path(), Some(u64::MAX / 2)).unwrap();
        room.look();
        assert!(room.is_low() && !room.reserve().exists());
        assert!(room.check(1).unwrap_err().contains("make room there"));
    }
}
