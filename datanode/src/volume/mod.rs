//! One directory that holds replicas: its space, its health, its threads.

pub(crate) mod health;
pub(crate) mod index;
pub(crate) mod layout;
pub(crate) mod origin;
pub(crate) mod reader;
pub(crate) mod replica;
pub(crate) mod replica_file;
pub(crate) mod rewrite;
pub(crate) mod scan;
pub(crate) mod second;
pub(crate) mod space;
pub(crate) mod writer;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use dfs_types::{ChunkId, ErrorCode, FileSystemId, FsError, GenStamp, VolumeHealth, VolumeId};
use rustix::fs::FallocateFlags;
use tokio::time::timeout;
use tracing::{debug, info, warn};
use uuid::Uuid;

use crate::disk_pool::DiskPool;
use health::{NoAnswer, Patience};
use layout::{Directory, Identity, Paths, Place, Sibling};
use replica_file::{DATA_SUFFIX, SUMS_SUFFIX, stem};
use space::{Space, default_reserve};

/// Bytes that are kept for moving and removing replicas when the disk is full: some blocks for directories.
const RESERVE_BYTES: u64 = 1 << 20;
/// The reserve is made when this much is free.
const RESERVE_FROM: u64 = 8 * RESERVE_BYTES;
/// How often the disk is written and synced, whether or not anybody else does: a disk that is only looked at answers from
/// memory, also when it is gone.
const PROBE_EVERY: Duration = Duration::from_secs(10);
/// How long a read may take while the disk is suspect: another replica is quicker.
const SUSPECT_READ: Duration = Duration::from_millis(500);

/// Why something cannot be done with a replica.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is no replica of the chunk.
    #[error("chunk {0} has no replica on this node: read another one")]
    NotFound(ChunkId),
    /// The replica has another version than asked for.
    #[error("chunk {chunk} has generation {here} on this node, but {asked} is asked for")]
    Stale {
        /// The chunk.
        chunk: ChunkId,
        /// The replica's generation.
        here: GenStamp,
        /// The generation asked for.
        asked: GenStamp,
    },
    /// The replica's state or length does not allow it.
    #[error("chunk {chunk}: {why}")]
    Unfit {
        /// The chunk.
        chunk: ChunkId,
        /// What does not fit.
        why: String,
    },
    /// There is a replica already.
    #[error("chunk {chunk} has a replica with generation {generation} on this node already")]
    Exists {
        /// The chunk.
        chunk: ChunkId,
        /// The replica's generation.
        generation: GenStamp,
    },
    /// No volume has room.
    #[error("no volume of this node has {0} bytes left: write to another node")]
    NoSpace(u64),
    /// A write found the disk full.
    #[error("volume {} is full: write to another node", .0.display())]
    Full(PathBuf),
    /// Bytes on disk are not what they should be.
    #[error("the replica of chunk {chunk} is damaged: {why}")]
    Corrupt {
        /// The chunk.
        chunk: ChunkId,
        /// What was found.
        why: String,
    },
    /// Bytes from the network are not what their checksums say.
    #[error("packet {sequence} of chunk {chunk} arrived damaged: {source}")]
    DamagedPacket {
        /// The chunk.
        chunk: ChunkId,
        /// The packet.
        sequence: u64,
        /// What differs.
        source: dfs_types::checksum::Mismatch,
    },
    /// A packet breaks the protocol.
    #[error("packet {sequence}: {why}")]
    BadPacket {
        /// The packet.
        sequence: u64,
        /// Which rule it breaks.
        why: String,
    },
    /// Another writer does not let go of the replica, or its files are being removed.
    #[error("chunk {0} is still being written or deleted by somebody else: try again")]
    Held(ChunkId),
    /// A recovery with a higher generation is under way.
    #[error("chunk {chunk} is being recovered under generation {promised}")]
    Promised {
        /// The chunk.
        chunk: ChunkId,
        /// Its coming generation.
        promised: GenStamp,
    },
    /// The operating system refuses.
    #[error("cannot {what} on volume {}: {source}", volume.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// The volume's directory.
        volume: PathBuf,
        /// Why not.
        source: io::Error,
        /// Whether something was to be changed.
        writing: bool,
    },
    /// The volume was taken out or the process stops.
    #[error("the volume of chunk {0} is out of use: read or write another replica")]
    OutOfUse(ChunkId),
    /// The disk takes too long; what was to be done may still be done.
    #[error("the disk of volume {} does not answer: read or write another replica", .0.display())]
    Silent(PathBuf),
}

impl From<Error> for FsError {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::NotFound(_) => ErrorCode::NotFound,
            Error::Stale { .. } | Error::Unfit { .. } | Error::Promised { .. } => ErrorCode::StaleChunk,
            Error::Exists { .. } => ErrorCode::AlreadyExists,
            Error::NoSpace(_) | Error::Full(_) => ErrorCode::NoSpace,
            Error::Corrupt { .. } | Error::DamagedPacket { .. } => ErrorCode::Corrupt,
            Error::BadPacket { .. } => ErrorCode::InvalidArgument,
            Error::Io { .. } => ErrorCode::Io,
            // Not busy, which says that the node is well: who holds it for so long may hang on its disk.
            Error::Held(_) | Error::OutOfUse(_) | Error::Silent(_) => ErrorCode::Unavailable,
        };
        Self::new(code, error.to_string())
    }
}

/// Both files of a replica, by path.
#[derive(Debug, Clone)]
pub(crate) struct ReplicaPaths {
    /// The data.
    pub(crate) data: PathBuf,
    /// The checksums.
    pub(crate) sums: PathBuf,
    /// The directory of both.
    pub(crate) directory: PathBuf,
}

/// A formatted, locked volume in use.
#[derive(Debug)]
pub(crate) struct Volume {
    /// Its id.
    pub(crate) id: VolumeId,
    /// Its directory, as configured.
    pub(crate) path: PathBuf,
    /// The file system it is on.
    pub(crate) file_system: FileSystemId,
    /// Its threads.
    pub(crate) pool: DiskPool,
    patience: Patience,
    paths: Paths,
    /// Shared by the volumes of one file system.
    space: Arc<Mutex<Space>>,
    /// Bytes of replicas with their checksums.
    used: AtomicU64,
    failure: OnceLock<String>,
    probed: Mutex<Instant>,
    /// How often the reserve was given up.
    given_up: Mutex<u64>,
    directory: Arc<Directory>,
    identity: Identity,
}

/// What the file system says: bytes in all, and free for this process.
fn file_system(path: &Path) -> io::Result<(u64, u64)> {
    let status = rustix::fs::statvfs(path)?;
    Ok((status.f_blocks.saturating_mul(status.f_frsize), status.f_bavail.saturating_mul(status.f_frsize)))
}

/// A directory that is to become a volume in use: what its disk has to be asked for.
#[derive(Debug)]
pub(crate) struct Formatted {
    directory: Directory,
    identity: Identity,
    capacity: u64,
    free: u64,
    machine: Uuid,
}

impl Formatted {
    /// Looks at a formatted directory. Blocks.
    pub(crate) fn look(directory: Directory, identity: Identity) -> io::Result<Self> {
        let (capacity, free) = file_system(directory.path())?;
        // All that runs under one kernel has the same, whatever it believes to be its machine.
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
        let machine = Uuid::parse_str(boot.trim()).map_err(io::Error::other)?;
        Ok(Self { directory, identity, capacity, free, machine })
    }
}

/// The device as its number on this machine, and the machine as its kernel's start: no two of either are the same.
fn file_system_id(machine: Uuid, device: u64) -> FileSystemId {
    FileSystemId(Uuid::from_u128(machine.as_u128() ^ u128::from(device)))
}

impl Volume {
    /// Takes a formatted directory into use, on the threads of `pool`. `reserve` bytes are left free; by default a share of
    /// the capacity.
    pub(crate) fn open(
        formatted: Formatted,
        reserve: Option<u64>,
        pool: DiskPool,
        patience: Patience,
    ) -> Self {
        let Formatted { directory, identity, capacity, free, machine } = formatted;
        let space = Space::new(capacity, free, reserve.unwrap_or_else(|| default_reserve(capacity)));
        Self {
            id: identity.volume_id,
            path: directory.path().to_owned(),
            file_system: file_system_id(machine, directory.device()),
            pool,
            patience,
            paths: Paths::new(&directory),
            space: Arc::new(Mutex::new(space)),
            used: AtomicU64::new(0),
            failure: OnceLock::new(),
            probed: Mutex::new(Instant::now()),
            given_up: Mutex::default(),
            directory: Arc::new(directory),
            identity,
        }
    }

    /// A new volume in an empty directory, with one thread.
    #[cfg(test)]
    pub(crate) fn for_test(path: &Path) -> Self {
        let patience =
            Patience { suspect_after: Duration::from_secs(5), fail_after: Duration::from_secs(50) };
        Self::custom_for_test(path, patience, 1)
    }

    /// The same with another patience, and so many threads.
    #[cfg(test)]
    pub(crate) fn custom_for_test(path: &Path, patience: Patience, threads: usize) -> Self {
        let directory = Directory::lock(path).unwrap();
        let identity = Identity::new(dfs_types::ClusterId::random(), dfs_types::NodeId::random());
        directory.format(identity).unwrap();
        let pool = DiskPool::start("disk", threads).unwrap();
        Self::open(Formatted::look(directory, identity).unwrap(), Some(0), pool, patience)
    }

    /// Lets volumes of one file system share their account of bytes: what is free there is there once.
    pub(crate) fn share_disks(volumes: &mut [Self]) {
        for number in 1..volumes.len() {
            let (before, [volume, ..]) = volumes.split_at_mut(number) else { continue };
            let same = before.iter().find(|other| other.file_system == volume.file_system);
            if let Some(other) = same {
                volume.space = Arc::clone(&other.space);
            }
        }
    }

    /// Where the files of a replica are, or would be.
    pub(crate) fn replica(&self, place: Place, chunk: ChunkId, generation: GenStamp) -> ReplicaPaths {
        let directory = self.paths.directory(place, chunk);
        let stem = stem(chunk, generation);
        ReplicaPaths {
            data: directory.join(format!("{stem}.{DATA_SUFFIX}")),
            sums: directory.join(format!("{stem}.{SUMS_SUFFIX}")),
            directory,
        }
    }

    /// The directories to walk at start.
    pub(crate) fn directories(&self) -> Vec<(Place, PathBuf)> {
        self.paths.directories()
    }

    /// Changes or reads the account of bytes.
    pub(crate) fn space<T>(&self, with: impl FnOnce(&mut Space) -> T) -> T {
        with(&mut self.space.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Bytes of its replicas.
    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// So many bytes of replicas were found.
    pub(crate) fn found(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// `bytes` of a replica were removed or cut off.
    pub(crate) fn removed(&self, bytes: u64) {
        self.space(|space| space.removed(bytes));
        let less = |used: u64| Some(used.saturating_sub(bytes));
        // It always succeeds, as there is always a new value.
        let _ = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Asks the file system how much is free, and whether the volume is still there and the same; now and then also
    /// whether it can be written. Blocks.
    pub(crate) fn refresh(&self) -> io::Result<()> {
        self.check_identity()?;
        let (capacity, free) = file_system(&self.path)?;
        self.space(|space| space.refresh(capacity, free));
        self.make_reserve(free);
        let due = {
            let mut probed = self.probed.lock().unwrap_or_else(PoisonError::into_inner);
            let due = probed.elapsed() >= PROBE_EVERY;
            if due {
                *probed = Instant::now();
            }
            due
        };
        if due { self.probe() } else { Ok(()) }
    }

    /// Checks that what is at the volume's path is this volume: nobody emptied it, or put another one there.
    fn check_identity(&self) -> io::Result<()> {
        #[cfg(feature = "seeded-bug")]
        if crate::seeded::has(crate::seeded::Bug::TrustsPlace) {
            return Ok(());
        }
        self.directory.check_place()?;
        match self.directory.identity().map_err(io::Error::from)? {
            Some(identity) if identity == self.identity => Ok(()),
            Some(identity) => Err(io::Error::other(format!("it is volume {} now", identity.volume_id))),
            None => Err(io::Error::new(io::ErrorKind::NotFound, "it was emptied: its directory dfs is gone")),
        }
    }

    /// Tries whether the volume can be written and read. A full disk is no failure. Blocks.
    pub(crate) fn probe(&self) -> io::Result<()> {
        self.check_identity()?;
        for (_, directory) in self.directories() {
            fs::metadata(&directory).map_err(|error| {
                let gone = directory.file_name().unwrap_or_default().to_string_lossy();
                io::Error::new(error.kind(), format!("its directory {gone} cannot be reached: {error}"))
            })?;
        }
        let path = self.paths.probe();
        let written = File::create(&path).and_then(|mut file| {
            file.write_all(b"probe")?;
            file.sync_all()
        });
        match written {
            Err(error) if !is_full(&error) => return Err(error),
            Ok(()) | Err(_) => {}
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Sets room aside, if there is enough and it is not there.
    fn make_reserve(&self, free: u64) {
        let path = self.paths.reserve();
        if free < RESERVE_FROM || path.exists() {
            return;
        }
        let made = File::create(&path).and_then(|mut file| {
            let allocated = rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES);
            if allocated.is_err() {
                file.write_all(&vec![0; RESERVE_BYTES as usize])?;
            }
            file.sync_all()
        });
        if let Err(error) = made {
            debug!(volume = %self.path.display(), %error, "no reserve could be made");
            // Part of one is none.
            let _ = fs::remove_file(&path);
        }
    }

    /// Gives up the room that was set aside. Answers whether there is any since it was given up `before` times.
    fn give_up_reserve(&self, before: u64) -> bool {
        // Whoever comes meanwhile waits until it is gone.
        let mut given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        if fs::remove_file(self.paths.reserve()).is_ok() {
            info!(volume = %self.path.display(), "the disk is full: its reserve is given up");
            *given_up += 1;
        }
        *given_up > before
    }

    /// Does something that must also be possible on a full disk, if need be with the reserve.
    pub(crate) fn with_room<T>(&self, mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        let before = *self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        match work() {
            Err(error) if is_full(&error) && self.give_up_reserve(before) => work(),
            done => done,
        }
    }

    /// Moves both files of a replica. The checksums go first: a data file never stands alone among the finalized ones.
    pub(crate) fn rename(&self, from: &ReplicaPaths, to: &ReplicaPaths) -> io::Result<()> {
        self.with_room(|| fs::rename(&from.sums, &to.sums))?;
        self.with_room(|| fs::rename(&from.data, &to.data))
    }

    /// Removes both files of a replica; those that are gone already are no error. Data goes first, so that what an
    /// interruption leaves is a checksum file alone, which the scan at start removes.
    pub(crate) fn remove(&self, paths: &ReplicaPaths) -> io::Result<()> {
        for file in [&paths.data, &paths.sums] {
            match self.with_room(|| fs::remove_file(file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// How its disk is.
    pub(crate) fn health(&self) -> VolumeHealth {
        if self.has_failed() {
            return VolumeHealth::Failed;
        }
        self.patience.judge(self.pool.age(Instant::now()))
    }

    /// Takes the volume out of use; answers whether it was in use before.
    pub(crate) fn fail(&self, why: String) -> bool {
        self.failure.set(why).is_ok()
    }

    /// Why it was taken out of use.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Whether it was taken out of use.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.get().is_some()
    }

    fn unanswered(&self, chunk: ChunkId, why: NoAnswer) -> Error {
        match why {
            NoAnswer::Silent => Error::Silent(self.path.clone()),
            NoAnswer::Stopped(_) => Error::OutOfUse(chunk),
        }
    }

    /// Runs blocking work about `chunk` on the volume's threads, unless it was taken out of use. The caller waits until the
    /// disk has failed at most. The work is done to its end in any case, and must itself note what it changed.
    pub(crate) async fn run<T, F>(&self, chunk: ChunkId, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, Error> + Send + 'static,
    {
        if self.has_failed() {
            return Err(Error::OutOfUse(chunk));
        }
        let done = self.patience.wait(&self.pool, VolumeHealth::Failed, self.pool.run(job)).await;
        done.unwrap_or_else(|why| Err(self.unanswered(chunk, why)))
    }

    /// The same for work that changes nothing: the caller waits only as long as the disk answers, as there are other
    /// replicas.
    pub(crate) async fn ask<T, F>(&self, chunk: ChunkId, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, Error> + Send + 'static,
    {
        let silent = || Err(Error::Silent(self.path.clone()));
        match self.health() {
            VolumeHealth::Failed => Err(Error::OutOfUse(chunk)),
            VolumeHealth::Suspect if !self.pool.has_idle_thread() => silent(),
            // One request that hangs, or syncs for long, need not be the end of the others.
            VolumeHealth::Suspect => match timeout(SUSPECT_READ, self.pool.ask(job)).await {
                Ok(done) => done.unwrap_or_else(|_| Err(Error::OutOfUse(chunk))),
                Err(_) => silent(),
            },
            VolumeHealth::Healthy => {
                let done = self.patience.wait(&self.pool, VolumeHealth::Suspect, self.pool.ask(job)).await;
                done.unwrap_or_else(|why| Err(self.unanswered(chunk, why)))
            }
        }
    }

    /// Asks the disk something about the volume itself; `None`: it does not answer, or need not be asked any more.
    pub(crate) async fn examine<T, F>(&self, job: F) -> Option<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        if self.health() != VolumeHealth::Healthy {
            return None;
        }
        self.patience.wait(&self.pool, VolumeHealth::Suspect, self.pool.ask(job)).await.ok()
    }

    /// Does something at start that takes long, like a scan, as long as the disk answers.
    pub(crate) async fn begin<T, F>(&self, job: F) -> Result<T, NoAnswer>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        self.patience.wait_on(&self.pool, VolumeHealth::Failed, self.pool.run(job)).await
    }

    /// Notes on the disk which volumes the node has. Nothing depends on it now: on a disk that is full or does not answer it
    /// is left for the next start.
    pub(crate) async fn remember(&self, siblings: &[Sibling]) {
        let (directory, all) = (Arc::clone(&self.directory), siblings.to_vec());
        match self.examine(move || directory.remember(&all)).await {
            Some(Ok(())) => {}
            Some(Err(error)) => {
                warn!(volume = %self.path.display(), %error, "the node's volumes are not noted");
            }
            None => {
                warn!(volume = %self.path.display(), "the node's volumes are not noted: the disk is silent");
            }
        }
    }

    /// Ends the threads when what was submitted is done; not if the disk does not answer. Answers whether they have ended.
    pub(crate) async fn close(&self) -> bool {
        if self.health() != VolumeHealth::Healthy {
            return false;
        }
        let closed = async {
            self.pool.close().await;
            Ok(())
        };
        self.patience.wait(&self.pool, VolumeHealth::Suspect, closed).await.is_ok()
    }

    /// The error for a system call that failed to read.
    pub(crate) fn read_error(&self, what: &'static str) -> impl FnOnce(io::Error) -> Error {
        let volume = self.path.clone();
        move |source| Error::Io { what, volume, source, writing: false }
    }

    /// The error for a system call that failed to change something.
    pub(crate) fn write_error(&self, what: &'static str) -> impl FnOnce(io::Error) -> Error {
        let volume = self.path.clone();
        move |source| {
            if is_full(&source) {
                Error::Full(volume)
            } else {
                Error::Io { what, volume, source, writing: true }
            }
        }
    }
}

/// Whether the error means that the disk or a quota is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether the error says that this process or the machine lacks something for the moment, and nothing about the disk.
pub(crate) fn is_process_error(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let passing = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN, Errno::INTR];
    Errno::from_io_error(error).is_some_and(|errno| passing.contains(&errno))
}

/// Whether the error of a write condemns the whole volume without further trial.
pub(crate) fn is_device_error(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = rustix::io::Errno::from_io_error(error);
    errno.is_some_and(|errno| {
        [Errno::IO, Errno::ROFS, Errno::NODEV, Errno::NXIO, Errno::UCLEAN, Errno::STALE].contains(&errno)
    })
}

/// Bytes that a writer is promised beyond what it said it would write, at a time.
const GROWTH: u64 = 4 << 20;

/// Room promised to one replica that is being written; what is left of it goes back when this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    volume: Arc<Volume>,
    left: u64,
}

impl Reservation {
    /// Promises `bytes`, or `None` if there is not so much.
    pub(crate) fn take(volume: &Arc<Volume>, bytes: u64) -> Option<Self> {
        volume.space(|space| space.reserve(bytes)).then(|| Self { volume: Arc::clone(volume), left: bytes })
    }

    /// Makes sure that `bytes` more can be written: beyond what was promised some more is, if there is room.
    pub(crate) fn ensure(&mut self, bytes: u64) -> bool {
        let lacking = bytes.saturating_sub(self.left);
        if lacking == 0 {
            return true;
        }
        let granted = |more: &u64| self.volume.space(|space| space.reserve(*more));
        let more = [lacking.max(GROWTH), lacking].into_iter().find(granted);
        self.left = self.left.saturating_add(more.unwrap_or_default());
        more.is_some()
    }

    /// Gives back what was not written: nothing more will be.
    pub(crate) fn end(&mut self) {
        let left = std::mem::take(&mut self.left);
        self.volume.space(|space| space.release(left));
    }

    /// `bytes` were written and count as used from now on.
    pub(crate) fn wrote(&mut self, bytes: u64) {
        let promised = bytes.min(self.left);
        self.left -= promised;
        self.volume.space(|space| {
            space.release(promised);
            space.wrote(bytes);
        });
        self.volume.used.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_meet_a_full_disk_have_the_reserve() {
        let folder = tempfile::tempdir().unwrap();
        let volume = Volume::for_test(folder.path());
        fs::write(volume.paths.reserve(), b"room").unwrap();
        let full = || Err(io::Error::from(io::ErrorKind::StorageFull));
        let (mut tries, mut others) = (0, 0);
        let done = volume.with_room(|| {
            tries += 1;
            if tries > 1 {
                return Ok(());
            }
            // Meanwhile another thread meets it too, and is faster.
            volume.with_room(|| {
                others += 1;
                if others > 1 { Ok(()) } else { full() }
            })?;
            full()
        });
        assert!(done.is_ok());
        assert_eq!((tries, others), (2, 2));
        assert!(volume.with_room(full).is_err(), "there is none any more");
    }

    #[test]
    fn a_reservation_grows_as_long_as_there_is_room() {
        let folder = tempfile::tempdir().unwrap();
        let volume = Arc::new(Volume::for_test(folder.path()));
        let free = 2 * GROWTH + 5_000;
        volume.space(|space| *space = Space::new(1 << 30, free, 0));
        let available = || volume.space(|space| space.available());
        let mut reservation = Reservation::take(&volume, 1_000).unwrap();
        assert!(reservation.ensure(1_000));
        assert_eq!(available(), free - 1_000, "that was promised");
        reservation.wrote(1_000);
        for promised in 1..=2 {
            assert!(reservation.ensure(GROWTH));
            assert_eq!(available(), free - 1_000 - promised * GROWTH);
            reservation.wrote(GROWTH);
        }
        assert!(reservation.ensure(10), "less than it grows by at a time is left");
        assert_eq!(available(), 3_990);
        assert!(!reservation.ensure(4_001));
        reservation.end();
        assert_eq!(available(), 4_000);
    }
}
