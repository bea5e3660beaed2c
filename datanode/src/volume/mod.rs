//! One directory that holds replicas: its space, its health, its threads.

pub(crate) mod index;
pub(crate) mod layout;
pub(crate) mod reader;
pub(crate) mod replica_file;
pub(crate) mod scan;
pub(crate) mod space;
pub(crate) mod writer;

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use dfs_types::{ChunkId, ErrorCode, FsError, GenStamp, VolumeId};

use crate::disk_pool::{DiskPool, Stopped};
use layout::{Directory, Identity, Paths, Place};
use replica_file::{DATA_SUFFIX, SUMS_SUFFIX, stem};
use space::{Space, default_reserve};

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
            Error::Held(_) => ErrorCode::Busy,
            Error::Io { .. } => ErrorCode::Io,
            Error::OutOfUse(_) => ErrorCode::Unavailable,
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

impl ReplicaPaths {
    /// Moves both files to `to`. The checksums go first: a data file never stands alone among the finalized ones.
    pub(crate) fn rename(&self, to: &Self) -> io::Result<()> {
        fs::rename(&self.sums, &to.sums)?;
        fs::rename(&self.data, &to.data)
    }

    /// Removes both files; those that are gone already are no error. Data goes first, so that what an interruption
    /// leaves is a checksum file alone, which the scan at start removes.
    pub(crate) fn remove(&self) -> io::Result<()> {
        for file in [&self.data, &self.sums] {
            match fs::remove_file(file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// A formatted, locked volume in use.
#[derive(Debug)]
pub(crate) struct Volume {
    /// Its id.
    pub(crate) id: VolumeId,
    /// Its directory, as configured.
    pub(crate) path: PathBuf,
    /// Its threads.
    pub(crate) pool: DiskPool,
    paths: Paths,
    space: Mutex<Space>,
    failure: OnceLock<String>,
    _directory: Directory,
}

/// What the file system says: bytes in all, and free for this process.
fn file_system(path: &Path) -> io::Result<(u64, u64)> {
    let status = rustix::fs::statvfs(path)?;
    Ok((status.f_blocks.saturating_mul(status.f_frsize), status.f_bavail.saturating_mul(status.f_frsize)))
}

impl Volume {
    /// Takes a formatted directory into use. `reserve` bytes are left free; by default a share of the capacity.
    pub(crate) fn open(
        directory: Directory,
        identity: Identity,
        reserve: Option<u64>,
        threads: usize,
    ) -> io::Result<Self> {
        let (capacity, free) = file_system(directory.path())?;
        let space = Space::new(capacity, free, reserve.unwrap_or_else(|| default_reserve(capacity)));
        let pool = DiskPool::start("disk", threads)?;
        Ok(Self {
            id: identity.volume_id,
            path: directory.path().to_owned(),
            pool,
            paths: Paths::new(&directory),
            space: Mutex::new(space),
            failure: OnceLock::new(),
            _directory: directory,
        })
    }

    /// A new volume in an empty directory.
    #[cfg(test)]
    pub(crate) fn for_test(path: &Path) -> Self {
        let directory = Directory::lock(path).unwrap();
        let identity = Identity::new(dfs_types::ClusterId::random(), dfs_types::NodeId::random());
        directory.format(identity).unwrap();
        Self::open(directory, identity, None, 1).unwrap()
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

    /// Asks the file system how much is free, and whether the volume is still there. Blocks.
    pub(crate) fn refresh(&self) -> io::Result<()> {
        fs::metadata(self.paths.version())?;
        let (capacity, free) = file_system(&self.path)?;
        self.space(|space| space.refresh(capacity, free));
        Ok(())
    }

    /// Tries whether the volume can be written and read. A full disk is no failure. Blocks.
    pub(crate) fn probe(&self) -> io::Result<()> {
        fs::read(self.paths.version())?;
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

    /// Takes the volume out of use; answers whether it was in use before.
    pub(crate) fn fail(&self, why: String) -> bool {
        self.failure.set(why).is_ok()
    }

    /// Whether it was taken out of use.
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.get().is_some()
    }

    /// Runs blocking work about `chunk` on the volume's threads, unless it was taken out of use.
    pub(crate) async fn run<T, F>(self: &Arc<Self>, chunk: ChunkId, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, Error> + Send + 'static,
    {
        if self.has_failed() {
            return Err(Error::OutOfUse(chunk));
        }
        self.pool.run(job).await.unwrap_or_else(|Stopped| Err(Error::OutOfUse(chunk)))
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

    /// `bytes` were written and count as used from now on.
    pub(crate) fn wrote(&mut self, bytes: u64) {
        let promised = bytes.min(self.left);
        self.left -= promised;
        self.volume.space(|space| {
            space.release(promised);
            space.wrote(bytes);
        });
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.volume.space(|space| space.release(self.left));
    }
}
