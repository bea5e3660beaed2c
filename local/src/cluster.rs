//! The driver: starts, watches and stops the daemons of one data directory.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dfs_client::Dfs;
use rustix::process::Signal;
use serde::Serialize;

use crate::daemon::Daemon;
use crate::error::{LocalError, Result};
use crate::options::{Lifetime, Options};
use crate::path_text;
use crate::process::{Identity, ProcessState};
use crate::record::{Layout, Record, file_error};

/// How often a condition is looked at again.
pub(crate) const POLL: Duration = Duration::from_millis(50);
/// How long a daemon may take to stop after SIGTERM before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// How long a daemon that is started again may take until it listens: a NameNode may have to fetch the others' state.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// How long a process may take to vanish after SIGKILL.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// A cluster of processes in one data directory. Cheap to clone; the state is on disk.
#[derive(Debug, Clone)]
pub struct LocalCluster {
    pub(crate) layout: Layout,
    pub(crate) bin_dir: PathBuf,
    pub(crate) lifetime: Lifetime,
}

/// What [`LocalCluster::up`] did.
#[derive(Debug, Clone, Serialize)]
pub struct Up {
    /// Daemons that were started.
    pub started: Vec<Daemon>,
    /// Daemons that ran already.
    pub running: Vec<Daemon>,
    /// `HOST:PORT` of every NameNode.
    pub namenodes: Vec<String>,
}

/// One line of [`LocalCluster::status`].
#[derive(Debug, Clone, Serialize)]
pub struct DaemonStatus {
    /// Which daemon.
    pub daemon: Daemon,
    /// What its process does.
    pub state: ProcessState,
    /// Its process id; absent if it does not run.
    pub pid: Option<u32>,
    /// Where it listens for gRPC; of a DataNode absent before the first start.
    pub address: Option<String>,
    /// Where others find it, which may be a proxy.
    pub known_as: Option<String>,
    /// HTTP address; absent before the first start.
    pub http: Option<String>,
    /// Its directory; as text see [`path_text`](crate::path_text).
    #[serde(serialize_with = "path_text::serialize")]
    pub directory: PathBuf,
    /// Its log file, likewise.
    #[serde(serialize_with = "path_text::serialize")]
    pub log: PathBuf,
}

impl LocalCluster {
    /// The cluster in `data`, whether it exists already or not. Of `options` only the programs' folder and the lifetime
    /// matter here.
    pub fn new(data: &Path, options: &Options) -> Result<Self> {
        let bin_dir = match &options.bin_dir {
            Some(folder) => std::path::absolute(folder).map_err(file_error("resolve", folder))?,
            None => programs()?,
        };
        Ok(Self { layout: Layout::new(data)?, bin_dir, lifetime: options.lifetime })
    }

    /// The data directory, absolute.
    pub fn data(&self) -> &Path {
        self.layout.root()
    }

    /// Where a disk may be mounted for a daemon alone before it is started.
    pub fn disk(&self, daemon: Daemon) -> PathBuf {
        self.layout.disk(daemon)
    }

    /// Where all daemons log; a disk may be mounted there before any is started.
    pub fn logs(&self) -> PathBuf {
        self.layout.logs()
    }

    /// The volumes of a DataNode that was started before.
    pub async fn volumes(&self, daemon: Daemon) -> Result<Vec<PathBuf>> {
        self.blocking(move |this| Ok(this.layout.volumes(daemon, this.known(daemon)?.volumes))).await
    }

    /// A daemon's directory (for a DataNode with several volumes, the folder that holds them).
    pub fn directory(&self, daemon: Daemon) -> PathBuf {
        self.layout.directory(daemon)
    }

    /// Starts what does not run yet and waits until it is ready, as [`LocalCluster::wait_ready`] does. If that fails,
    /// what this call started is killed again.
    ///
    /// More NameNodes than the cluster has join its group while it serves. None leaves it in this way: NameNodes that
    /// the cluster has are started whatever `options` says.
    pub async fn up(&self, options: &Options) -> Result<Up> {
        let _lock = self.blocking(|this| this.layout.lock()).await?;
        let (this, wanted) = (self.clone(), options.clone());
        let (started, running) = tokio::task::spawn_blocking(move || this.plan(&wanted)).await??;
        let outcome = async {
            let deadline = Instant::now() + options.ready_within;
            let (namenodes, datanodes): (Vec<_>, Vec<_>) =
                started.iter().partition(|daemon| matches!(daemon, Daemon::NameNode(_)));
            self.launch(&namenodes, deadline).await?;
            self.launch(&datanodes, deadline).await?;
            self.wait_ready(options.ready_within).await
        }
        .await;
        if let Err(error) = outcome {
            self.blocking(move |this| {
                started.into_iter().try_for_each(|daemon| this.end(daemon, Signal::KILL).map(drop))
            })
            .await?;
            return Err(error);
        }
        Ok(Up { started, running, namenodes: self.namenode_addresses().await? })
    }

    /// Starts one daemon that was started before and waits until it listens.
    pub async fn start(&self, daemon: Daemon) -> Result<()> {
        self.start_all(&[daemon]).await
    }

    /// Starts those of these daemons that do not run, all at once, and waits until they listen. Each was started before.
    pub async fn start_all(&self, daemons: &[Daemon]) -> Result<()> {
        let _lock = self.blocking(|this| this.layout.lock()).await?;
        let wanted = daemons.to_vec();
        let down = self.blocking(move |this| {
            let mut down = Vec::new();
            for daemon in wanted {
                if !this.known(daemon)?.is_alive() {
                    down.push(daemon);
                }
            }
            Ok(down)
        });
        let down = down.await?;
        self.launch(&down, Instant::now() + START_PATIENCE).await
    }

    /// Stops every process, DataNodes first; data stays. Returns those that ran.
    pub async fn down(&self) -> Result<Vec<Daemon>> {
        self.blocking(|this| {
            if !this.layout.exists() {
                return Err(LocalError::NoCluster(this.layout.root().to_owned()));
            }
            let _lock = this.layout.lock()?;
            this.end_all(Signal::TERM)
        })
        .await
    }

    /// Stops one daemon as Kubernetes does: SIGTERM, and SIGKILL if it takes too long, which is an error.
    pub async fn stop(&self, daemon: Daemon) -> Result<()> {
        self.locked(move |this| {
            if this.end(daemon, Signal::TERM)? {
                Ok(())
            } else {
                Err(LocalError::Disobeyed(daemon, STOP_PATIENCE))
            }
        })
        .await
    }

    /// Ends one daemon at once, as a crash does, and waits until its process is gone.
    pub async fn kill(&self, daemon: Daemon) -> Result<()> {
        self.locked(move |this| this.end(daemon, Signal::KILL).map(drop)).await
    }

    /// Ends these daemons at the same moment, as a power failure does, and waits until their processes are gone.
    pub async fn kill_all(&self, daemons: &[Daemon]) -> Result<()> {
        let daemons = daemons.to_vec();
        self.locked(move |this| {
            for daemon in &daemons {
                this.ask_to_end(*daemon, Signal::KILL)?;
            }
            daemons.iter().try_for_each(|daemon| this.end(*daemon, Signal::KILL).map(drop))
        })
        .await
    }

    /// Holds a daemon's process (SIGSTOP): it keeps its connections and says nothing.
    pub async fn pause(&self, daemon: Daemon) -> Result<()> {
        self.locked(move |this| this.signal_running(daemon, Signal::STOP)).await
    }

    /// Lets a paused daemon go on.
    pub async fn resume(&self, daemon: Daemon) -> Result<()> {
        self.locked(move |this| this.signal_running(daemon, Signal::CONT)).await
    }

    /// Every daemon that was ever started here.
    pub async fn status(&self) -> Result<Vec<DaemonStatus>> {
        self.blocking(|this| {
            if !this.layout.exists() {
                return Err(LocalError::NoCluster(this.layout.root().to_owned()));
            }
            let cluster = this.layout.load()?;
            Ok(cluster.daemons.iter().map(|(daemon, record)| this.describe(*daemon, record)).collect())
        })
        .await
    }

    /// Removes the data directory of a cluster that does not run.
    pub async fn clean(&self) -> Result<()> {
        self.blocking(|this| {
            let root = this.layout.root();
            if !this.layout.exists() {
                return Err(LocalError::NoCluster(root.to_owned()));
            }
            let _lock = this.layout.lock()?;
            if this.layout.load()?.daemons.values().any(Record::is_alive) {
                return Err(LocalError::StillRuns(root.to_owned()));
            }
            fs::remove_dir_all(root).map_err(file_error("remove", root))
        })
        .await
    }

    /// Takes a stopped daemon's disk away, with all that is on it: it finds an empty one at its next start.
    pub async fn replace_disk(&self, daemon: Daemon) -> Result<()> {
        self.locked(move |this| {
            if this.known(daemon)?.is_alive() {
                return Err(LocalError::Runs(daemon));
            }
            // What is on the disk, not the disk: it may be mounted there.
            let directory = this.layout.disk(daemon);
            remove_all_below(&directory).map_err(file_error("empty", &directory))
        })
        .await
    }

    /// `HOST:PORT` of every NameNode that was ever started, by number.
    pub async fn namenode_addresses(&self) -> Result<Vec<String>> {
        self.blocking(|this| {
            let addresses = this.layout.load()?.namenode_addresses();
            if addresses.is_empty() {
                Err(LocalError::NotRunning(Daemon::NameNode(1)))
            } else {
                Ok(addresses)
            }
        })
        .await
    }

    /// A client of this cluster, as the user who runs this process.
    pub async fn client(&self) -> Result<Dfs> {
        let addresses = self.namenode_addresses().await?;
        let builder = addresses.iter().fold(Dfs::builder(), dfs_client::Builder::namenode);
        builder.connect().await.map_err(|source| LocalError::Client { address: addresses.join(", "), source })
    }

    /// Kills every process that is this cluster's, without waiting for other commands, and blocks until they are gone:
    /// for the end of a test.
    pub fn wipe_out(&self) -> Result<()> {
        self.end_all(Signal::KILL).map(drop)
    }

    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || work(&this)).await?
    }

    async fn locked(&self, work: impl FnOnce(&Self) -> Result<()> + Send + 'static) -> Result<()> {
        self.blocking(move |this| {
            let _lock = this.layout.lock()?;
            work(this)
        })
        .await
    }

    pub(crate) fn known(&self, daemon: Daemon) -> Result<Record> {
        self.layout.load()?.daemons.remove(&daemon).ok_or(LocalError::NotRunning(daemon))
    }

    /// Ends every process with this signal, DataNodes first: each can still say goodbye to the NameNodes.
    fn end_all(&self, signal: Signal) -> Result<Vec<Daemon>> {
        let cluster = self.layout.load()?;
        let (namenodes, datanodes): (Vec<_>, Vec<_>) = cluster
            .daemons
            .iter()
            .filter(|(_, record)| record.is_alive())
            .map(|(daemon, _)| *daemon)
            .partition(|daemon| matches!(daemon, Daemon::NameNode(_)));
        for kind in [&datanodes, &namenodes] {
            for daemon in kind {
                // All are asked before the first is waited for.
                self.ask_to_end(*daemon, signal)?;
            }
            for daemon in kind {
                self.end(*daemon, signal)?;
            }
        }
        Ok(namenodes.into_iter().chain(datanodes).collect())
    }

    fn ask_to_end(&self, daemon: Daemon, signal: Signal) -> Result<Option<Identity>> {
        let Some(process) = self.known(daemon)?.process else { return Ok(None) };
        let failed = |source| LocalError::Process { action: "stop", daemon, source };
        process.signal(signal).map_err(failed)?;
        // A paused process would not see SIGTERM.
        process.signal(Signal::CONT).map_err(failed)?;
        Ok(Some(process))
    }

    /// Ends one process with this signal, by SIGKILL if that does not help, and forgets it. Answers whether it helped.
    fn end(&self, daemon: Daemon, signal: Signal) -> Result<bool> {
        let mut obeyed = true;
        if let Some(process) = self.ask_to_end(daemon, signal)? {
            let failed = |source| LocalError::Process { action: "stop", daemon, source };
            obeyed = process.wait_end(STOP_PATIENCE).map_err(failed)?;
            if !obeyed {
                process.signal(Signal::KILL).map_err(failed)?;
                if !process.wait_end(KILL_PATIENCE).map_err(failed)? {
                    return Err(LocalError::Unkillable(daemon, process.pid));
                }
            }
        }
        let mut cluster = self.layout.load()?;
        if let Some(record) = cluster.daemons.get_mut(&daemon) {
            record.process = None;
        }
        self.layout.save(&cluster)?;
        Ok(obeyed)
    }

    fn signal_running(&self, daemon: Daemon, signal: Signal) -> Result<()> {
        let process = self.known(daemon)?.process.ok_or(LocalError::NotRunning(daemon))?;
        match process.signal(signal) {
            Ok(true) => Ok(()),
            Ok(false) => Err(LocalError::NotRunning(daemon)),
            Err(source) => Err(LocalError::Process { action: "signal", daemon, source }),
        }
    }

    fn describe(&self, daemon: Daemon, record: &Record) -> DaemonStatus {
        let state = record.process.as_ref().map_or(ProcessState::Stopped, Identity::state);
        let runs = state != ProcessState::Stopped;
        DaemonStatus {
            daemon,
            state,
            pid: record.process.as_ref().filter(|_| runs).map(|process| process.pid),
            address: match daemon {
                Daemon::NameNode(_) => Some(record.rpc_address()),
                Daemon::DataNode(_) => record.addresses.as_ref().map(|addresses| addresses.rpc.clone()),
            },
            known_as: record.known_as(),
            http: record.addresses.as_ref().map(|addresses| addresses.http.clone()),
            directory: self.layout.directory(daemon),
            log: self.layout.log(daemon),
        }
    }
}

/// Empties a directory, if it is there.
fn remove_all_below(directory: &Path) -> std::io::Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The folder of the programs that were built with this one: beside it; a test program lies one folder deeper, in `deps`.
pub fn programs() -> Result<PathBuf> {
    let program = std::env::current_exe().map_err(file_error("find", Path::new("this program")))?;
    let folder = program.parent().unwrap_or(Path::new("/"));
    Ok(if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder }.to_owned())
}
