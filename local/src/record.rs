//! What is remembered of a local cluster, and where everything lies.
//!
//! ```text
//! DATA/cluster.json            this record
//! DATA/cluster.lock            locked while a command changes the cluster
//! DATA/namenode-1/meta/        directory of the first NameNode
//! DATA/datanode-1/             volume of the first DataNode (further ones: datanode-1/volume-2 …)
//! DATA/logs/namenode-1.log …   what the processes log; older ones are namenode-1.log.1 …
//! DATA/logs/namenode-1.out …   what else they had to say since their last start, such as why they ended
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

pub use crate::daemon::Daemon;
use crate::error::{LocalError, Result};
use crate::options::PortPair;
use crate::process::Identity;

/// Version of `cluster.json`.
const VERSION: u32 = 3;
/// Lines of a log that an error shows.
const TAIL_LINES: usize = 15;
/// Bytes of a log that are read for them.
const TAIL_BYTES: u64 = 16 << 10;
/// Most bytes that an error shows of what a daemon said beside its log: far more than any says.
const SAID_BYTES: u64 = 64 << 10;
/// How long a command waits for another one to finish with the same directory.
const LOCK_PATIENCE: Duration = Duration::from_secs(90);

/// Where a daemon listens, `HOST:PORT` each, as its `addresses.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Addresses {
    pub(crate) rpc: String,
    pub(crate) http: String,
}

/// One daemon: how it is started and, if it was, what runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) ports: PortPair,
    /// Where others find it, if that is not where it listens.
    pub(crate) advertise: Option<String>,
    pub(crate) volumes: u16,
    /// Of a DataNode, where it is: `/ZONE/RACK`.
    pub(crate) topology: Option<String>,
    pub(crate) args: Vec<String>,
    pub(crate) process: Option<Identity>,
    pub(crate) addresses: Option<Addresses>,
    /// Where this run's lines begin in the log file.
    pub(crate) log_start: u64,
}

impl Record {
    pub(crate) fn is_alive(&self) -> bool {
        self.process.as_ref().is_some_and(Identity::is_alive)
    }

    /// Where it is told to listen; of a DataNode on any free port that says nothing.
    pub(crate) fn rpc_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.rpc)
    }

    /// Where others find this daemon; `None` of a DataNode that listens on any free port.
    pub(crate) fn known_as(&self) -> Option<String> {
        let fixed = (self.ports.rpc != 0).then(|| self.rpc_address());
        let found = self.addresses.as_ref().map(|addresses| addresses.rpc.clone());
        self.advertise.clone().or(fixed).or(found)
    }

    /// Where others find this NameNode.
    pub(crate) fn advertised(&self) -> String {
        self.advertise.clone().unwrap_or_else(|| self.rpc_address())
    }
}

/// The version of a record whose other parts may be unknown.
#[derive(Debug, Deserialize)]
struct Versioned {
    version: u32,
}

/// Everything that is remembered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Cluster {
    version: u32,
    pub(crate) daemons: BTreeMap<Daemon, Record>,
}

impl Cluster {
    /// The NameNodes by number: the member list of their group, in the same order for every one of them.
    pub(crate) fn namenodes(&self) -> impl Iterator<Item = (Daemon, &Record)> {
        let all = self.daemons.iter().map(|(daemon, record)| (*daemon, record));
        all.filter(|(daemon, _)| matches!(daemon, Daemon::NameNode(_)))
    }

    /// `HOST:PORT` of every NameNode, by number.
    pub(crate) fn namenode_addresses(&self) -> Vec<String> {
        self.namenodes().map(|(_, record)| record.advertised()).collect()
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self { version: VERSION, daemons: BTreeMap::new() }
    }
}

/// The data directory.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout below `root`, which is made absolute: daemons may have another working directory.
    pub(crate) fn new(root: &Path) -> Result<Self> {
        let root = std::path::absolute(root).map_err(file_error("resolve", root))?;
        Ok(Self { root })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// What a daemon may have a disk of its own for: nothing else is written by it.
    pub(crate) fn disk(&self, daemon: Daemon) -> PathBuf {
        self.root.join(daemon.to_string())
    }

    pub(crate) fn directory(&self, daemon: Daemon) -> PathBuf {
        match daemon {
            // It replaces its directory as a whole, which can't be done to a mount point.
            Daemon::NameNode(_) => self.disk(daemon).join("meta"),
            Daemon::DataNode(_) => self.disk(daemon),
        }
    }

    /// The directories a DataNode stores chunks in.
    pub(crate) fn volumes(&self, daemon: Daemon, count: u16) -> Vec<PathBuf> {
        let directory = self.directory(daemon);
        match count {
            0 | 1 => vec![directory],
            _ => (1..=count).map(|number| directory.join(format!("volume-{number}"))).collect(),
        }
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub(crate) fn log(&self, daemon: Daemon) -> PathBuf {
        self.logs().join(format!("{daemon}.log"))
    }

    pub(crate) fn said(&self, daemon: Daemon) -> PathBuf {
        self.logs().join(format!("{daemon}.out"))
    }

    fn record(&self) -> PathBuf {
        self.root.join("cluster.json")
    }

    /// Whether a cluster was ever started here.
    pub(crate) fn exists(&self) -> bool {
        self.record().exists()
    }

    /// The record, or an empty one if there is none yet.
    pub(crate) fn load(&self) -> Result<Cluster> {
        let path = self.record();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Cluster::default()),
            Err(source) => return Err(LocalError::File { action: "read", path, source }),
        };
        let damaged = |source| LocalError::Damaged { path: path.clone(), source };
        let Versioned { version } = serde_json::from_str(&text).map_err(damaged)?;
        if version != VERSION {
            return Err(LocalError::Version { path, found: version, known: VERSION });
        }
        serde_json::from_str(&text).map_err(damaged)
    }

    /// Replaces the record as a whole: a crash leaves the old one or the new one.
    pub(crate) fn save(&self, cluster: &Cluster) -> Result<()> {
        let path = self.record();
        let text = serde_json::to_string_pretty(cluster)
            .map_err(|source| LocalError::Damaged { path: path.clone(), source })?;
        let mut file = tempfile::NamedTempFile::new_in(&self.root).map_err(file_error("write", &path))?;
        io::Write::write_all(&mut file, text.as_bytes()).map_err(file_error("write", &path))?;
        file.persist(&path).map_err(|error| LocalError::File {
            action: "replace",
            path,
            source: error.error,
        })?;
        Ok(())
    }

    /// Makes the directory and takes the right to change the cluster; it ends with the returned file.
    ///
    /// It is a lock between processes, held while an `up` waits for its daemons.
    pub(crate) fn lock(&self) -> Result<File> {
        let path = self.root.join("cluster.lock");
        fs::create_dir_all(&self.root).map_err(file_error("create", &self.root))?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(file_error("open", &path))?;
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(file),
                Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(50));
                }
                Err(Errno::WOULDBLOCK | Errno::INTR) => return Err(LocalError::Locked(self.root.clone())),
                Err(error) => return Err(LocalError::File { action: "lock", path, source: error.into() }),
            }
        }
    }

    /// All that a daemon said beside its log since it was started.
    pub(crate) fn last_words(&self, daemon: Daemon) -> String {
        let mut bytes = Vec::new();
        // What can't be read is nothing.
        let _read =
            File::open(self.said(daemon)).and_then(|file| file.take(SAID_BYTES).read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }

    /// The last lines a daemon wrote since byte `start` of its log.
    pub(crate) fn log_tail(&self, daemon: Daemon, start: u64) -> String {
        read_tail(&self.log(daemon), start)
            .unwrap_or_else(|error| format!("  (the log can't be read: {error})"))
    }
}

fn read_tail(path: &Path, start: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let end = file.metadata()?.len();
    // A log that is shorter was begun anew meanwhile.
    let start = if start > end { 0 } else { start };
    file.seek(SeekFrom::Start(start.max(end.saturating_sub(TAIL_BYTES)).min(end)))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let shown = &lines[lines.len().saturating_sub(TAIL_LINES)..];
    if shown.is_empty() {
        return Ok("  (it is empty)".to_owned());
    }
    Ok(shown.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n"))
}

/// For `map_err`: names the file and what was tried.
pub(crate) fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LocalError {
    let path = path.to_owned();
    move |source| LocalError::File { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            ports: PortPair { rpc: 1, http: 2 },
            advertise: None,
            volumes: 1,
            topology: None,
            args: vec!["--x".to_owned()],
            process: Identity::of(std::process::id()).ok(),
            addresses: None,
            log_start: 0,
        }
    }

    #[test]
    fn the_record_survives_and_a_strange_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path()).unwrap();
        assert!(!layout.exists());
        let mut cluster = layout.load().unwrap();
        cluster.daemons.insert(Daemon::DataNode(2), record());
        layout.save(&cluster).unwrap();
        let again = layout.load().unwrap();
        assert!(again.daemons[&Daemon::DataNode(2)].is_alive());

        cluster.version = VERSION + 1;
        layout.save(&cluster).unwrap();
        assert!(matches!(layout.load(), Err(LocalError::Version { .. })));
        fs::write(layout.record(), "{").unwrap();
        assert!(matches!(layout.load(), Err(LocalError::Damaged { .. })));
    }

    #[test]
    fn the_lock_excludes_a_second_holder() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout::new(folder.path()).unwrap();
        let held = layout.lock().unwrap();
        let second = OpenOptions::new().write(true).open(folder.path().join("cluster.lock")).unwrap();
        assert_eq!(flock(&second, FlockOperation::NonBlockingLockExclusive), Err(Errno::WOULDBLOCK));
        drop(held);
        assert_eq!(flock(&second, FlockOperation::NonBlockingLockExclusive), Ok(()));
    }

    #[test]
    fn a_tail_shows_only_the_last_lines_of_this_run() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "old\n").unwrap();
        assert!(read_tail(&path, 4).unwrap().contains("empty"));
        let lines = (0..100).map(|line| format!("line {line}\n")).collect::<Vec<_>>().concat();
        fs::write(&path, format!("old\n{lines}")).unwrap();
        let tail = read_tail(&path, 4).unwrap();
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.ends_with("line 99"));
        fs::write(&path, "new\n").unwrap();
        assert!(read_tail(&path, 1 << 20).unwrap().contains("new"), "another file took its place");
    }
}
