//! A volume's directory: formatting it, recognising it, and keeping other processes out.
//!
//! ```text
//! <volume>/                 locked (flock) while in use; may be a mount point
//! <volume>/addresses.json   first volume only: where the running process listens
//! <volume>/dfs/             appears complete, by one rename of <volume>/.dfs.tmp-<random>
//! <volume>/dfs/VERSION      one line of JSON, then the CRC32C of that line in hexadecimal
//! <volume>/dfs/SIBLINGS     the same: which volumes the node has, and where
//! <volume>/dfs/reserve      room that is given up when the disk is full and something has to be moved or removed
//! <volume>/dfs/current/xx/  finalized replicas, by the last byte of the chunk id
//! <volume>/dfs/rbw/         replicas being written
//! <volume>/dfs/tmp/         copies coming in; emptied at start
//! ```
//!
//! All paths lead through the open descriptor of the volume's directory (`/proc/self/fd`). So what is mounted over it, or
//! put in its place, while a process uses it is never written into.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use dfs_types::checksum::crc32c;
use dfs_types::format::VOLUME;
use dfs_types::{ChunkId, ClusterId, NodeId, VolumeId};
use rustix::fs::FlockOperation;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The format this version of the software writes and reads.
const FORMAT_VERSION: u32 = VOLUME.version;
const ROOT: &str = "dfs";
const TEMPORARY: &str = ".dfs.tmp-";
const VERSION: &str = "VERSION";
const CURRENT: &str = "current";
const RBW: &str = "rbw";
const TMP: &str = "tmp";
const SIBLINGS: &str = "SIBLINGS";
const RESERVE: &str = "reserve";
/// Longest VERSION file that is read, in bytes.
const MAX_VERSION_BYTES: u64 = 4_096;
/// The same for SIBLINGS: thousands of volumes.
const MAX_SIBLINGS_BYTES: u64 = 1 << 20;

/// Whose volume a directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    format_version: u32,
    /// The cluster.
    pub(crate) cluster_id: ClusterId,
    /// The node.
    pub(crate) node_id: NodeId,
    /// The volume itself.
    pub(crate) volume_id: VolumeId,
}

impl Identity {
    /// A new volume of a node.
    pub(crate) fn new(cluster_id: ClusterId, node_id: NodeId) -> Self {
        Self { format_version: FORMAT_VERSION, cluster_id, node_id, volume_id: VolumeId::random() }
    }
}

/// One of a node's volumes, as the others remember it: so that a directory whose disk is not mounted, or was emptied, is
/// not taken for a new one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sibling {
    /// The volume.
    pub(crate) volume_id: VolumeId,
    /// Its directory, as configured.
    pub(crate) path: PathBuf,
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Another process has it.
    #[error(
        "volume {0} is in use by another process or given twice: stop that process or choose another --volume"
    )]
    Locked(PathBuf),
    /// The operating system refuses.
    #[error("volume {path:?}: cannot {what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The volume.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The VERSION file, or another one, is not what it should be.
    #[error("volume {path}: {path}/dfs/{file} is damaged ({why}): restore it or choose another --volume")]
    Damaged {
        /// The volume.
        path: PathBuf,
        /// The file.
        file: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Written by another version of the software.
    #[error("volume {path} has format {found}, but this version reads only {FORMAT_VERSION}")]
    Format {
        /// The volume.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// It belongs elsewhere.
    #[error(
        "volume {path} belongs to {what} {found}, but this node's is {expected}: remove it from --volume"
    )]
    Stranger {
        /// The volume.
        path: PathBuf,
        /// "cluster" or "node".
        what: &'static str,
        /// The id found.
        found: String,
        /// The id of the other volumes.
        expected: String,
    },
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Io { source, .. } => source,
            other => Self::other(other.to_string()),
        }
    }
}

/// A directory that no other process uses.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// Leads to the directory itself, whatever is at `path` by now.
    anchor: PathBuf,
    /// Its device and inode.
    place: (u64, u64),
    /// The directory itself; its lock goes when this is closed.
    _lock: File,
}

impl Directory {
    /// Locks `path`, which is created if it does not exist.
    pub(crate) fn lock(path: &Path) -> Result<Self, Error> {
        let failed = |what| move |source| Error::Io { what, path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(failed("create the directory"))?;
        let lock = File::open(path).map_err(failed("open the directory"))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(Error::Locked(path.to_owned())),
            Err(error) => return Err(failed("lock the directory")(error.into())),
        }
        let anchor = PathBuf::from(format!("/proc/self/fd/{}", lock.as_raw_fd()));
        let place = lock.metadata().map(device_and_inode).map_err(failed("look at the directory"))?;
        let through =
            fs::metadata(&anchor).map(device_and_inode).map_err(failed("reach it through /proc/self/fd"))?;
        if through != place {
            let source = io::Error::other("/proc is not that of this process");
            return Err(failed("reach it through /proc/self/fd")(source));
        }
        Ok(Self { path: path.to_owned(), anchor, place, _lock: lock })
    }

    /// Checks that the directory is still where it was found. Fails if it is gone, or another one is in its place.
    pub(crate) fn check_place(&self) -> io::Result<()> {
        if device_and_inode(fs::metadata(&self.path)?) == self.place {
            Ok(())
        } else {
            Err(io::Error::other("another directory is in its place"))
        }
    }

    /// The number of the device that its file system is on, as this machine counts them.
    pub(crate) fn device(&self) -> u64 {
        self.place.0
    }

    /// The volume's directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn root(&self) -> PathBuf {
        self.anchor.join(ROOT)
    }

    fn failed(&self, what: &'static str) -> impl FnOnce(io::Error) -> Error {
        let path = self.path.clone();
        move |source| Error::Io { what, path, source }
    }

    /// Reads a line of JSON that is followed by its checksum.
    fn read<T: DeserializeOwned>(&self, name: &'static str, limit: u64) -> Result<T, Error> {
        let file = self.root().join(name);
        let (open, read) = match name {
            VERSION => ("open dfs/VERSION", "read dfs/VERSION"),
            _ => ("open dfs/SIBLINGS", "read dfs/SIBLINGS"),
        };
        let size = fs::metadata(&file).map_err(self.failed(open))?.len();
        let damaged = |why: String| Error::Damaged { path: self.path.clone(), file: name, why };
        if size > limit {
            return Err(damaged(format!("it has {size} bytes")));
        }
        let bytes = fs::read(&file).map_err(self.failed(read))?;
        let text = String::from_utf8(bytes).map_err(|_| damaged("it is not text".to_owned()))?;
        let (json, sum) =
            text.trim_end().split_once('\n').ok_or_else(|| damaged("it is cut off".to_owned()))?;
        if sum != format!("{:08x}", crc32c(json.as_bytes())) {
            return Err(damaged("its checksum does not match".to_owned()));
        }
        serde_json::from_str(json).map_err(|error| damaged(error.to_string()))
    }

    /// Reads whose volume this is; `None` if it is not formatted.
    pub(crate) fn identity(&self) -> Result<Option<Identity>, Error> {
        if !self.root().try_exists().map_err(self.failed("look for the dfs directory"))? {
            return Ok(None);
        }
        let identity: Identity = self.read(VERSION, MAX_VERSION_BYTES)?;
        if identity.format_version != FORMAT_VERSION {
            return Err(Error::Format { path: self.path.clone(), found: identity.format_version });
        }
        Ok(Some(identity))
    }

    /// The volumes that the node had when this was last written; none if it never was.
    pub(crate) fn siblings(&self) -> Result<Vec<Sibling>, Error> {
        let file = self.root().join(SIBLINGS);
        if !file.try_exists().map_err(self.failed("look for dfs/SIBLINGS"))? {
            return Ok(Vec::new());
        }
        self.read(SIBLINGS, MAX_SIBLINGS_BYTES)
    }

    /// Remembers which volumes the node has.
    pub(crate) fn remember(&self, siblings: &[Sibling]) -> io::Result<()> {
        let root = self.root();
        let (temporary, file) = (root.join(TMP).join(SIBLINGS), root.join(SIBLINGS));
        let written = write_checked(&temporary, &siblings).and_then(|()| fs::rename(&temporary, &file));
        if let Err(error) = written {
            // Half a file among the copies is removed at the next start too.
            let _ = fs::remove_file(&temporary);
            return Err(error);
        }
        sync_directory(&root)
    }

    /// Makes this directory a volume. Whatever an interrupted earlier attempt left is removed.
    pub(crate) fn format(&self, identity: Identity) -> Result<(), Error> {
        for entry in fs::read_dir(&self.anchor).map_err(self.failed("list the directory"))? {
            let entry = entry.map_err(self.failed("list the directory"))?;
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                fs::remove_dir_all(entry.path()).map_err(self.failed("remove a half-formatted directory"))?;
            }
        }
        let temporary = self.anchor.join(format!("{TEMPORARY}{}", identity.volume_id));
        fill(&temporary, identity).map_err(self.failed("format"))?;
        fs::rename(&temporary, self.root()).map_err(self.failed("put the formatted directory in place"))?;
        sync_directory(&self.anchor).map_err(self.failed("sync the directory"))
    }
}

fn fill(root: &Path, identity: Identity) -> io::Result<()> {
    fs::create_dir(root)?;
    for name in [CURRENT, RBW, TMP] {
        fs::create_dir(root.join(name))?;
    }
    let current = root.join(CURRENT);
    for byte in 0..=u8::MAX {
        fs::create_dir(current.join(format!("{byte:02x}")))?;
    }
    sync_directory(&current)?;
    write_checked(&root.join(VERSION), &identity)?;
    sync_directory(root)
}

/// Writes a line of JSON and its checksum, durably but for the name.
fn write_checked(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_string(value).map_err(io::Error::other)?;
    let mut file = File::create(path)?;
    write!(file, "{json}\n{:08x}\n", crc32c(json.as_bytes()))?;
    file.sync_all()
}

/// Device and inode.
fn device_and_inode(metadata: fs::Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Where a replica's files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Among the finalized ones.
    Current,
    /// Among those being written.
    Rbw,
    /// Among the copies coming in.
    Tmp,
}

/// The room that a volume's directory has set aside, if it has: for those who need it before the volume is in use.
pub(crate) fn reserve_of(directory: &Path) -> PathBuf {
    directory.join(ROOT).join(RESERVE)
}

/// The directories of a volume that have replicas, whether or not anybody uses it.
pub(crate) fn replica_directories(volume: &Path) -> impl Iterator<Item = PathBuf> {
    let paths = Paths { root: volume.join(ROOT) };
    let all = paths.directories().into_iter();
    all.filter(|(place, _)| *place != Place::Tmp).map(|(_, directory)| directory)
}

/// Paths below a formatted volume.
#[derive(Debug, Clone)]
pub(crate) struct Paths {
    root: PathBuf,
}

impl Paths {
    /// Those of the volume in `directory`.
    pub(crate) fn new(directory: &Directory) -> Self {
        Self { root: directory.root() }
    }

    /// Room that is given up when it is needed.
    pub(crate) fn reserve(&self) -> PathBuf {
        self.root.join(RESERVE)
    }

    /// A file name for trying whether the volume can be written.
    pub(crate) fn probe(&self) -> PathBuf {
        self.root.join(TMP).join("probe")
    }

    /// The directory that holds `chunk` in a place.
    pub(crate) fn directory(&self, place: Place, chunk: ChunkId) -> PathBuf {
        match place {
            Place::Current => self.root.join(CURRENT).join(format!("{:02x}", chunk.0 & 0xff)),
            Place::Rbw => self.root.join(RBW),
            Place::Tmp => self.root.join(TMP),
        }
    }

    /// Every directory that may hold replicas, with its place.
    pub(crate) fn directories(&self) -> Vec<(Place, PathBuf)> {
        let current = (0..=u64::from(u8::MAX))
            .map(|byte| (Place::Current, self.directory(Place::Current, ChunkId(byte))));
        let open = [Place::Rbw, Place::Tmp].map(|place| (place, self.directory(place, ChunkId(0))));
        current.chain(open).collect()
    }
}

/// Checks that the formatted ones among `volumes` belong to one cluster and node, and to those in `expected` if it is
/// known, and answers with that cluster and node.
pub(crate) fn common_owner(
    volumes: &[(PathBuf, Option<Identity>)],
    mut expected: Option<(ClusterId, NodeId)>,
) -> Result<Option<(ClusterId, NodeId)>, Error> {
    for (path, identity) in volumes {
        let Some(identity) = identity else { continue };
        let (cluster, node) = *expected.get_or_insert((identity.cluster_id, identity.node_id));
        let stranger = |what, found: String, expected: String| Error::Stranger {
            path: path.clone(),
            what,
            found,
            expected,
        };
        if identity.cluster_id != cluster {
            return Err(stranger("cluster", identity.cluster_id.to_string(), cluster.to_string()));
        }
        if identity.node_id != node {
            return Err(stranger("node", identity.node_id.to_string(), node.to_string()));
        }
    }
    Ok(expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn formatted(path: &Path) -> Identity {
        let directory = Directory::lock(path).unwrap();
        assert_eq!(directory.identity().unwrap(), None);
        let identity = Identity::new(ClusterId::random(), NodeId::random());
        directory.format(identity).unwrap();
        identity
    }

    #[test]
    fn a_formatted_volume_is_recognised() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("new/volume");
        fs::create_dir_all(path.join(".dfs.tmp-left-behind/current")).unwrap();
        let identity = formatted(&path);
        let directory = Directory::lock(&path).unwrap();
        assert_eq!(directory.identity().unwrap(), Some(identity));
        let names: Vec<_> = fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["dfs"]);
    }

    #[test]
    fn what_is_put_in_its_place_is_not_written_into() {
        let dir = tempfile::tempdir().unwrap();
        let (path, aside) = (dir.path().join("volume"), dir.path().join("aside"));
        formatted(&path);
        let directory = Directory::lock(&path).unwrap();
        directory.check_place().unwrap();
        fs::rename(&path, &aside).unwrap();
        formatted(&path);
        let replica = Paths::new(&directory).directory(Place::Rbw, ChunkId(1)).join("replica");
        fs::write(replica, "x").unwrap();
        assert!(aside.join("dfs/rbw/replica").exists() && !path.join("dfs/rbw/replica").exists());
        directory.check_place().unwrap_err();
    }

    #[test]
    fn a_second_user_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let _first = Directory::lock(dir.path()).unwrap();
        let message = Directory::lock(dir.path()).unwrap_err().to_string();
        assert!(message.contains("in use by another process"), "{message}");
    }

    #[test]
    fn damage_is_found() {
        let dir = tempfile::tempdir().unwrap();
        formatted(dir.path());
        let file = dir.path().join("dfs/VERSION");
        let good = fs::read_to_string(&file).unwrap();
        let other = good.replacen("\"format_version\":1", "\"format_version\":2", 1);
        let json = other.lines().next().unwrap();
        let newer = format!("{json}\n{:08x}\n", crc32c(json.as_bytes()));
        for (text, says) in [
            (String::new(), "cut off"),
            (other.clone(), "checksum"),
            (good.replace('\n', " "), "cut off"),
            ("x".repeat(5_000), "5000 bytes"),
            (newer, "format 2"),
        ] {
            fs::write(&file, text).unwrap();
            let message = Directory::lock(dir.path()).unwrap().identity().unwrap_err().to_string();
            assert!(message.contains(says), "{message}");
        }
    }

    #[test]
    fn strangers_among_the_volumes_are_refused() {
        let (cluster, node) = (ClusterId::random(), NodeId::random());
        let mine = Identity::new(cluster, node);
        let path = |name: &str| PathBuf::from(name);
        let owner = common_owner(&[(path("/a"), None), (path("/b"), Some(mine))], None).unwrap();
        assert_eq!(owner, Some((cluster, node)));
        for (stranger, says) in [
            (Identity::new(cluster, NodeId::random()), "/b belongs to node"),
            (Identity::new(ClusterId::random(), node), "/b belongs to cluster"),
        ] {
            let volumes = [(path("/a"), Some(mine)), (path("/b"), Some(stranger))];
            let message = common_owner(&volumes, None).unwrap_err().to_string();
            assert!(message.contains(says), "{message}");
        }
    }
}
