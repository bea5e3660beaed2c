//! The directory a NameNode keeps its state in.
//!
//! ```text
//! <path>/VERSION        line 1: JSON {format_version, cluster_id, member_id, created}; line 2: crc32c:<8 hex digits> of it
//! <path>/namespace.db   SQLite (and its -wal and -shm while in use), see `schema`
//! <path>/log/           the member's part of the replicated log, see `dfs_namenode_raft::log`
//! <path>/*.part         what is being received or sent; of no use after a crash
//! <path>/lock           locked (flock) while in use; holds the pid of the process that uses it
//! ```
//!
//! Formatting builds all of it in `.<name>.formatting` beside `path`, locked, and renames that into place: a crash
//! leaves either no directory or a whole one. What such a crash leaves beside is removed by the next formatting.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dfs_types::checksum::crc32c;
use dfs_types::format::{FIRST_LEVEL, NAMENODE_DIRECTORY};
use dfs_types::{ClusterId, Millis};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::counters::FIRST_MEMBER;
use super::{backup, schema, space};

/// Version of the directory's layout that this program writes and reads.
const FORMAT_VERSION: u32 = NAMENODE_DIRECTORY.version;
const VERSION_FILE: &str = "VERSION";
const DATABASE_FILE: &str = "namespace.db";
const LOCK_FILE: &str = "lock";
const LOG_DIRECTORY: &str = "log";
/// Longest `VERSION` or `lock` file read, in bytes; ours have some 150.
const MAX_SMALL_FILE: u64 = 4 << 10;

/// Why a directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing is there, or an empty directory.
    #[error("{path} is not a NameNode directory yet: format it first")]
    NotFormatted {
        /// The directory.
        path: PathBuf,
    },
    /// Formatting would overwrite a namespace.
    #[error("{path} holds the namespace of cluster {cluster}: to format it anyway, remove it first")]
    AlreadyFormatted {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        cluster: ClusterId,
    },
    /// Formatting would overwrite something else.
    #[error("{path} is not empty and not a NameNode directory: name another one or empty it")]
    NotEmpty {
        /// The directory.
        path: PathBuf,
    },
    /// Another process has it.
    #[error("{path} is in use by process {pid}: stop that one first")]
    Locked {
        /// The directory.
        path: PathBuf,
        /// The pid in the lock file, or `(unknown)`.
        pid: String,
    },
    /// A file is missing or is not what it should be.
    #[error(
        "{path} is damaged: {what}: replace this NameNode (docs/operations/namenodes.md) or restore a backup"
    )]
    Damaged {
        /// The directory.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Written by another version of this program.
    #[error(
        "{path} has format version {found}, this program knows {FORMAT_VERSION}: use the program it is from"
    )]
    FormatVersion {
        /// The directory.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The path can't be a directory's.
    #[error("{path} can't be formatted: name a directory below an existing one")]
    NoName {
        /// The path.
        path: PathBuf,
    },
    /// The operating system refused something.
    #[error("{action} {path} failed: check that it exists, the permissions and the disk")]
    Io {
        /// What was done.
        action: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// The database of a new directory could not be made.
    #[error("making the database in {path} failed")]
    Database {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: schema::Error,
    },
}

/// Adds what was done to an I/O error.
fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Io { action, path, source }
}

/// First line of `VERSION`.
#[derive(Debug, Serialize, Deserialize)]
struct Identity {
    format_version: u32,
    cluster_id: ClusterId,
    member_id: u64,
    created: Millis,
}

/// A formatted directory that this process has locked.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    cluster: ClusterId,
    member: u64,
    /// Keeps the lock.
    _lock: File,
}

/// What a new directory begins with.
#[derive(Debug, Clone, Copy)]
pub enum Beginning<'a> {
    /// An empty namespace of a cluster whose only NameNode this is.
    First(ClusterId),
    /// Nothing: the group that took this member in sends everything.
    Member {
        /// The group's cluster.
        cluster: ClusterId,
        /// This member's id.
        id: u64,
    },
    /// A backup, which tells its cluster; this is the only NameNode again.
    Backup(&'a Path),
}

impl Directory {
    /// Formats a directory for an empty namespace with one NameNode and keeps it locked. `path` must not exist or be
    /// empty, and it must not be a mount point itself, as a directory is renamed to it.
    pub fn format(path: &Path, cluster: ClusterId) -> Result<Self, Error> {
        Self::make(path, Beginning::First(cluster))
    }

    /// Formats a directory as [`Directory::format`] does, with whatever it begins with.
    pub fn make(path: &Path, beginning: Beginning<'_>) -> Result<Self, Error> {
        check_vacant(path)?;
        let (Some(name), Some(parent)) = (path.file_name(), path.parent()) else {
            return Err(Error::NoName { path: path.to_owned() });
        };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        let draft = parent.join(format!(".{}.formatting", name.to_string_lossy()));
        remove_leftover(&draft)?;
        fs::create_dir(&draft).map_err(io_error("making directory", &draft))?;
        let lock = lock(&draft)?;
        let database = draft.join(DATABASE_FILE);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (cluster, member) = match beginning {
            Beginning::First(cluster) => {
                schema::create(&database, cluster, Some(FIRST_MEMBER)).map(|()| (cluster, FIRST_MEMBER))
            }
            Beginning::Member { cluster, id } => {
                // The first snapshot replaces it. Until then an earlier release must be able to start here.
                schema::create_at(FIRST_LEVEL, &database, cluster, None).map(|()| (cluster, id))
            }
            Beginning::Backup(backup) => backup::restore(backup, &database, now.as_secs()),
        }
        .map_err(|source| Error::Database { path: path.to_owned(), source })?;
        write_version(&draft.join(VERSION_FILE), cluster, member, now)?;
        fs::create_dir(draft.join(LOG_DIRECTORY))
            .map_err(io_error("making directory", &draft.join(LOG_DIRECTORY)))?;
        for file in [&database, &draft.join(LOCK_FILE), &draft] {
            sync(file)?;
        }
        fs::rename(&draft, path).map_err(io_error("renaming the new directory to", path))?;
        sync(parent)?;
        Ok(Self { path: path.to_owned(), cluster, member, _lock: lock })
    }

    /// Locks and checks a formatted directory.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if is_vacant(path)? {
            return Err(Error::NotFormatted { path: path.to_owned() });
        }
        let identity = read_version(path)?;
        let lock = lock(path)?;
        if !path.join(DATABASE_FILE).is_file() {
            return Err(damaged(path, format!("{DATABASE_FILE} is missing")));
        }
        // An empty log is a member that forgot its vote: it must not be made anew.
        if !path.join(LOG_DIRECTORY).is_dir() {
            return Err(damaged(path, format!("{LOG_DIRECTORY} is missing")));
        }
        remove_parts(path)?;
        space::make_room_for_the_start(path, &path.join(LOG_DIRECTORY));
        let Identity { cluster_id: cluster, member_id: member, .. } = identity;
        Ok(Self { path: path.to_owned(), cluster, member, _lock: lock })
    }

    /// Opens a formatted directory whatever its cluster; formats one that is missing or empty for `cluster`.
    pub fn format_if_empty(path: &Path, cluster: ClusterId) -> Result<Self, Error> {
        if is_vacant(path)? { Self::format(path, cluster) } else { Self::open(path) }
    }

    /// The cluster it was formatted for.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Whether nothing is at `path`, or an empty directory.
    pub fn is_vacant(path: &Path) -> Result<bool, Error> {
        is_vacant(path)
    }

    /// Which member of the group of NameNodes it is.
    pub fn member(&self) -> u64 {
        self.member
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The replicated log's directory.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join(LOG_DIRECTORY)
    }

    /// The namespace's database.
    pub(crate) fn database(&self) -> PathBuf {
        self.path.join(DATABASE_FILE)
    }
}

/// Removes what an earlier process was receiving or sending.
fn remove_parts(path: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(path).map_err(io_error("reading directory", path))? {
        let entry = entry.map_err(io_error("reading directory", path))?.path();
        if entry.extension().is_some_and(|extension| extension == "part") {
            fs::remove_file(&entry).map_err(io_error("removing", &entry))?;
        }
    }
    Ok(())
}

fn damaged(path: &Path, what: impl Into<String>) -> Error {
    Error::Damaged { path: path.to_owned(), what: what.into() }
}

/// Whether nothing is at `path`, or an empty directory.
fn is_vacant(path: &Path) -> Result<bool, Error> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(io_error("reading directory", path)(error)),
    }
}

fn check_vacant(path: &Path) -> Result<(), Error> {
    if is_vacant(path)? {
        return Ok(());
    }
    match read_version(path) {
        Ok(identity) => Err(Error::AlreadyFormatted { path: path.to_owned(), cluster: identity.cluster_id }),
        Err(Error::Damaged { .. }) if !path.join(VERSION_FILE).exists() => {
            Err(Error::NotEmpty { path: path.to_owned() })
        }
        Err(error) => Err(error),
    }
}

/// Removes what a crash during formatting left; a formatting that still runs has it locked.
fn remove_leftover(draft: &Path) -> Result<(), Error> {
    if !draft.exists() {
        return Ok(());
    }
    let _lock = lock(draft)?;
    tracing::warn!(path = %draft.display(), "removing what an interrupted format left");
    fs::remove_dir_all(draft).map_err(io_error("removing the leftover directory", draft))
}

/// Takes the directory's lock and writes our pid into it.
fn lock(directory: &Path) -> Result<File, Error> {
    let path = directory.join(LOCK_FILE);
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(io_error("opening", &path))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let pid = read_small(&mut file).unwrap_or_default();
            let pid = pid.trim();
            let known = !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit());
            let pid = if known { pid.to_owned() } else { "(unknown)".to_owned() };
            return Err(Error::Locked { path: directory.to_owned(), pid });
        }
        Err(error) => return Err(io_error("locking", &path)(error.into())),
    }
    // For people only: on a full disk it is not written, and the lock holds.
    let written =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    if let Err(error) = written {
        tracing::warn!(path = %path.display(), %error, "the process id could not be written into the lock file");
    }
    Ok(file)
}

fn read_small(file: &mut File) -> io::Result<String> {
    let mut text = String::new();
    file.take(MAX_SMALL_FILE).read_to_string(&mut text)?;
    Ok(text)
}

fn write_version(path: &Path, cluster: ClusterId, member: u64, created: Duration) -> Result<(), Error> {
    let identity = Identity {
        format_version: FORMAT_VERSION,
        cluster_id: cluster,
        member_id: member,
        created: Millis(created.as_millis() as u64),
    };
    let write = || -> io::Result<()> {
        let json = serde_json::to_string(&identity)?;
        let mut file = File::create_new(path)?;
        file.write_all(format!("{json}\ncrc32c:{:08x}\n", crc32c(json.as_bytes())).as_bytes())?;
        file.sync_all()
    };
    write().map_err(io_error("writing", path))
}

fn read_version(directory: &Path) -> Result<Identity, Error> {
    let path = directory.join(VERSION_FILE);
    let text = match File::open(&path).and_then(|mut file| read_small(&mut file)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(damaged(directory, format!("{VERSION_FILE} is missing")));
        }
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(damaged(directory, format!("{VERSION_FILE} is not text")));
        }
        Err(error) => return Err(io_error("reading", &path)(error)),
    };
    let (json, sum) = text
        .split_once('\n')
        .ok_or_else(|| damaged(directory, format!("{VERSION_FILE} has no checksum line")))?;
    if sum.trim_end() != format!("crc32c:{:08x}", crc32c(json.as_bytes())) {
        return Err(damaged(directory, format!("the checksum of {VERSION_FILE} does not match")));
    }
    // The version alone first: another version may have other fields.
    #[derive(Deserialize)]
    struct Head {
        format_version: u32,
    }
    let unreadable =
        |error: serde_json::Error| damaged(directory, format!("{VERSION_FILE} can't be read ({error})"));
    let head: Head = serde_json::from_str(json).map_err(unreadable)?;
    if head.format_version != FORMAT_VERSION {
        return Err(Error::FormatVersion { path: directory.to_owned(), found: head.format_version });
    }
    serde_json::from_str(json).map_err(unreadable)
}

/// Makes a file's content, or a directory's entries, survive a power loss.
fn sync(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|file| file.sync_all()).map_err(io_error("syncing", path))
}
