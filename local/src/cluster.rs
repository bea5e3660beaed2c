//! The driver: starts, watches and stops the daemons of one data directory.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use std::os::unix::process::CommandExt;

use dfs_client::Dfs;
use rustix::process::Signal;
use serde::Serialize;

use crate::error::{LocalError, Result};
use crate::options::{Lifetime, MAX_DATANODES, Options, PortPair};
use crate::process::{Identity, ProcessState};
use crate::record::{Addresses, Cluster, Daemon, Layout, Record, file_error};

/// How often a condition is looked at again.
const POLL: Duration = Duration::from_millis(50);
/// How long a daemon may take to stop after SIGTERM before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// How long a process may take to vanish after SIGKILL.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// A cluster of processes in one data directory. Cheap to clone; the state is on disk.
#[derive(Debug, Clone)]
pub struct LocalCluster {
    layout: Layout,
    bin_dir: PathBuf,
    lifetime: Lifetime,
}

/// What [`LocalCluster::up`] did.
#[derive(Debug, Clone, Serialize)]
pub struct Up {
    /// Daemons that were started.
    pub started: Vec<Daemon>,
    /// Daemons that ran already.
    pub running: Vec<Daemon>,
    /// `HOST:PORT` of the NameNode.
    pub namenode: String,
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
    /// gRPC address; absent before the first start.
    pub address: Option<String>,
    /// HTTP address; absent before the first start.
    pub http: Option<String>,
    /// Its directory.
    pub directory: PathBuf,
    /// Its log file.
    pub log: PathBuf,
}

impl LocalCluster {
    /// The cluster in `data`, whether it exists already or not. Of `options` only the programs' folder and the lifetime
    /// matter here.
    pub fn new(data: &Path, options: &Options) -> Result<Self> {
        let bin_dir = match &options.bin_dir {
            Some(folder) => std::path::absolute(folder).map_err(file_error("resolve", folder))?,
            None => default_bin_dir()?,
        };
        Ok(Self { layout: Layout::new(data)?, bin_dir, lifetime: options.lifetime })
    }

    /// The data directory, absolute.
    pub fn data(&self) -> &Path {
        self.layout.root()
    }

    /// A daemon's directory (for a DataNode with several volumes, the folder that holds them).
    pub fn directory(&self, daemon: Daemon) -> PathBuf {
        self.layout.directory(daemon)
    }

    /// Starts what does not run yet and waits until every DataNode is live and safe mode is off. If that fails, what
    /// this call started is killed again.
    pub async fn up(&self, options: &Options) -> Result<Up> {
        let _lock = self.blocking(|this| this.layout.lock()).await?;
        let (this, wanted) = (self.clone(), options.clone());
        let (started, running) = tokio::task::spawn_blocking(move || this.plan(&wanted)).await??;
        let outcome = async {
            let deadline = Instant::now() + options.ready_within;
            for daemon in &started {
                self.launch(*daemon, deadline).await?;
            }
            self.wait_ready(options.ready_within).await
        }
        .await;
        if let Err(error) = outcome {
            self.blocking(move |this| {
                started.into_iter().try_for_each(|daemon| this.end(daemon, Signal::KILL))
            })
            .await?;
            return Err(error);
        }
        Ok(Up { started, running, namenode: self.namenode_address().await? })
    }

    /// Starts one daemon that was started before and waits until it listens.
    pub async fn start(&self, daemon: Daemon) -> Result<()> {
        let _lock = self.blocking(|this| this.layout.lock()).await?;
        if self.blocking(move |this| Ok(this.known(daemon)?.is_alive())).await? {
            return Ok(());
        }
        self.launch(daemon, Instant::now() + STOP_PATIENCE).await
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

    /// Stops one daemon as Kubernetes does: SIGTERM, and SIGKILL if it takes too long.
    pub async fn stop(&self, daemon: Daemon) -> Result<()> {
        self.locked(move |this| this.end(daemon, Signal::TERM)).await
    }

    /// Ends one daemon at once, as a crash does, and waits until its process is gone.
    pub async fn kill(&self, daemon: Daemon) -> Result<()> {
        self.locked(move |this| this.end(daemon, Signal::KILL)).await
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

    /// `HOST:PORT` of the NameNode.
    pub async fn namenode_address(&self) -> Result<String> {
        self.blocking(|this| {
            let record = this.known(Daemon::NameNode)?;
            record.addresses.map(|addresses| addresses.rpc).ok_or(LocalError::NotRunning(Daemon::NameNode))
        })
        .await
    }

    /// A client of this cluster, as the user who runs this process.
    pub async fn client(&self) -> Result<Dfs> {
        let address = self.namenode_address().await?;
        Dfs::connect(&address).await.map_err(|source| LocalError::Client { address, source })
    }

    /// Waits until every DataNode whose process runs is live and has reported, and safe mode is off.
    pub async fn wait_ready(&self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            let Some(behind) = self.what_is_missing().await? else { return Ok(()) };
            if Instant::now() >= deadline {
                return self.blocking(move |this| Err(this.not_ready(behind, within))).await;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Kills every process that is this cluster's, without waiting for other commands: for the end of a test.
    pub(crate) fn kill_all(&self) -> Result<()> {
        self.end_all(Signal::KILL).map(drop)
    }

    async fn blocking<T: Send + 'static>(
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

    /// Notes how everything that does not run shall be started; returns what to start and what runs.
    fn plan(&self, options: &Options) -> Result<(Vec<Daemon>, Vec<Daemon>)> {
        let logs = self.layout.root().join("logs");
        fs::create_dir_all(&logs).map_err(file_error("create", &logs))?;
        let mut cluster = self.layout.load()?;
        for record in cluster.daemons.values_mut().filter(|record| !record.is_alive()) {
            // A daemon that died and is not wanted any more is nothing to wait for.
            record.process = None;
        }
        let wanted = std::iter::once(Daemon::NameNode)
            .chain((1..=options.datanodes.min(MAX_DATANODES)).map(Daemon::DataNode));
        let (mut started, mut running) = (Vec::new(), Vec::new());
        for daemon in wanted {
            let former = cluster.daemons.get(&daemon);
            if former.is_some_and(Record::is_alive) {
                running.push(daemon);
                continue;
            }
            let (ports, args) = match daemon {
                Daemon::NameNode => (options.ports.namenode()?, &options.namenode_args),
                Daemon::DataNode(number) => (options.ports.datanode(number)?, &options.datanode_args),
            };
            let addresses = former.and_then(|record| record.addresses.clone());
            let record = Record {
                ports,
                volumes: options.volumes.max(1),
                args: args.clone(),
                process: None,
                addresses,
                log_start: 0,
            };
            cluster.daemons.insert(daemon, record);
            started.push(daemon);
        }
        self.layout.save(&cluster)?;
        Ok((started, running))
    }

    /// Starts a daemon's process and waits until it says where it listens.
    async fn launch(&self, daemon: Daemon, deadline: Instant) -> Result<()> {
        let began = Instant::now();
        self.blocking(move |this| this.spawn(daemon)).await?;
        loop {
            if self.blocking(move |this| this.note_addresses(daemon)).await? {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let what = (daemon, format!("{daemon} did not say where it listens"));
                return self.blocking(move |this| Err(this.not_ready(what, began.elapsed()))).await;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    fn spawn(&self, daemon: Daemon) -> Result<()> {
        let mut cluster = self.layout.load()?;
        let namenode = cluster
            .daemons
            .get(&Daemon::NameNode)
            .and_then(|record| record.addresses.as_ref())
            .map(|addresses| addresses.rpc.clone());
        let record = cluster.daemons.get_mut(&daemon).ok_or(LocalError::NotRunning(daemon))?;
        if let (Daemon::NameNode, PortPair { rpc: 0, .. }, Some(addresses)) =
            (daemon, record.ports, &record.addresses)
        {
            // Its DataNodes and clients know it by the port it had.
            record.ports = recorded_ports(addresses);
        }
        let mut command = self.command(daemon, record, namenode.as_deref())?;
        let log = self.layout.log(daemon);
        let output =
            OpenOptions::new().create(true).append(true).open(&log).map_err(file_error("open", &log))?;
        record.log_start = output.metadata().map_err(file_error("read", &log))?.len();
        let errors = output.try_clone().map_err(file_error("open", &log))?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        if self.lifetime == Lifetime::Detached {
            command.process_group(0);
        }
        let failed = |action| move |source| LocalError::Process { action, daemon, source };
        let child = command.spawn().map_err(failed("start"))?;
        record.process = Some(Identity::of(child.id()).map_err(failed("watch"))?);
        self.layout.save(&cluster)
    }

    fn command(&self, daemon: Daemon, record: &Record, namenode: Option<&str>) -> Result<Command> {
        let listen = format!("127.0.0.1:{}", record.ports.rpc);
        let http = format!("127.0.0.1:{}", record.ports.http);
        let name = match daemon {
            Daemon::NameNode => "dfs-namenode",
            Daemon::DataNode(_) => "dfs-datanode",
        };
        let program = self.bin_dir.join(name);
        if !program.is_file() {
            return Err(LocalError::NoProgram { name, directory: self.bin_dir.clone() });
        }
        let mut command = Command::new(program);
        command.arg("run").args(["--listen", &listen, "--http", &http]);
        match daemon {
            Daemon::NameNode => {
                let directory = self.layout.directory(daemon);
                remove_stale(&directory.join("addresses.json"))?;
                command.arg("--dir").arg(directory).arg("--format-if-empty");
            }
            Daemon::DataNode(_) => {
                command.args(["--namenode", namenode.ok_or(LocalError::NotRunning(Daemon::NameNode))?]);
                for volume in self.layout.volumes(daemon, record.volumes) {
                    fs::create_dir_all(&volume).map_err(file_error("create", &volume))?;
                    remove_stale(&volume.join("addresses.json"))?;
                    command.arg("--volume").arg(volume);
                }
            }
        }
        command.args(&record.args);
        Ok(command)
    }

    /// Takes over where a started daemon listens; `false` if it has not said so yet.
    fn note_addresses(&self, daemon: Daemon) -> Result<bool> {
        let mut cluster = self.layout.load()?;
        let record = cluster.daemons.get_mut(&daemon).ok_or(LocalError::NotRunning(daemon))?;
        let directories = match daemon {
            Daemon::NameNode => vec![self.layout.directory(daemon)],
            // In the first volume that can be used.
            Daemon::DataNode(_) => self.layout.volumes(daemon, record.volumes),
        };
        let mut paths = directories.into_iter().map(|directory| directory.join("addresses.json"));
        let first = paths.next().unwrap_or_default();
        let path = if first.exists() { first } else { paths.find(|path| path.exists()).unwrap_or(first) };
        match fs::read_to_string(&path) {
            Ok(text) => {
                let addresses: Addresses =
                    serde_json::from_str(&text).map_err(|source| LocalError::Damaged { path, source })?;
                record.addresses = Some(addresses);
                self.layout.save(&cluster)?;
                Ok(true)
            }
            Err(_) if !record.is_alive() => Err(self.died(daemon, record.log_start)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(LocalError::File { action: "read", path, source }),
        }
    }

    /// Who is behind and how; `None` when all is as it should be. Fails at once when a process has died.
    async fn what_is_missing(&self) -> Result<Option<(Daemon, String)>> {
        let wanted = self
            .blocking(|this| {
                let cluster: Cluster = this.layout.load()?;
                let mut wanted = Vec::new();
                for (daemon, record) in &cluster.daemons {
                    match (&record.process, &record.addresses) {
                        (Some(process), Some(addresses)) if process.is_alive() => {
                            wanted.push((*daemon, addresses.rpc.clone()));
                        }
                        (Some(_), _) => return Err(this.died(*daemon, record.log_start)),
                        (None, _) => {}
                    }
                }
                Ok(wanted)
            })
            .await?;
        let report = match self.client().await {
            Ok(client) => client.report().await,
            Err(LocalError::Client { source, .. }) => Err(source),
            Err(error) => return Err(error),
        };
        let report = match report {
            Ok(report) => report,
            Err(error) => {
                return Ok(Some((Daemon::NameNode, format!("the NameNode does not answer ({error})"))));
            }
        };
        for (daemon, address) in wanted {
            let live = report.nodes.iter().any(|node| {
                node.node.address() == address && node.state == dfs_client::NodeState::Live && node.reported
            });
            if daemon != Daemon::NameNode && !live {
                return Ok(Some((daemon, format!("the NameNode did not see {daemon} live"))));
            }
        }
        let safe_mode = report.safe_mode;
        Ok(safe_mode.on.then(|| {
            let what = format!(
                "safe mode did not end ({} of {} chunks are reported)",
                safe_mode.reported, safe_mode.needed
            );
            (Daemon::NameNode, what)
        }))
    }

    fn known(&self, daemon: Daemon) -> Result<Record> {
        self.layout.load()?.daemons.remove(&daemon).ok_or(LocalError::NotRunning(daemon))
    }

    /// Ends every process with this signal, DataNodes first: each can still say goodbye to the NameNode.
    fn end_all(&self, signal: Signal) -> Result<Vec<Daemon>> {
        let cluster = self.layout.load()?;
        let (namenode, datanodes): (Vec<_>, Vec<_>) = cluster
            .daemons
            .iter()
            .filter(|(_, record)| record.is_alive())
            .map(|(daemon, _)| *daemon)
            .partition(|daemon| *daemon == Daemon::NameNode);
        for daemon in &datanodes {
            // All are asked before the first is waited for.
            self.ask_to_end(*daemon, signal)?;
        }
        for daemon in datanodes.iter().chain(&namenode) {
            self.end(*daemon, signal)?;
        }
        Ok(namenode.into_iter().chain(datanodes).collect())
    }

    fn ask_to_end(&self, daemon: Daemon, signal: Signal) -> Result<Option<Identity>> {
        let Some(process) = self.known(daemon)?.process else { return Ok(None) };
        let failed = |source| LocalError::Process { action: "stop", daemon, source };
        process.signal(signal).map_err(failed)?;
        // A paused process would not see SIGTERM.
        process.signal(Signal::CONT).map_err(failed)?;
        Ok(Some(process))
    }

    /// Ends one process with this signal, by SIGKILL if that does not help, and forgets it.
    fn end(&self, daemon: Daemon, signal: Signal) -> Result<()> {
        if let Some(process) = self.ask_to_end(daemon, signal)? {
            let failed = |source| LocalError::Process { action: "stop", daemon, source };
            if !process.wait_end(STOP_PATIENCE).map_err(failed)? {
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
        self.layout.save(&cluster)
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
            address: record.addresses.as_ref().map(|addresses| addresses.rpc.clone()),
            http: record.addresses.as_ref().map(|addresses| addresses.http.clone()),
            directory: self.layout.directory(daemon),
            log: self.layout.log(daemon),
        }
    }

    fn died(&self, daemon: Daemon, log_start: u64) -> LocalError {
        let tail = self.layout.log_tail(daemon, log_start);
        LocalError::Died { daemon, log: self.layout.log(daemon), tail }
    }

    fn not_ready(&self, (daemon, what): (Daemon, String), within: Duration) -> LocalError {
        let start = self.known(daemon).map_or(0, |record| record.log_start);
        let tail = self.layout.log_tail(daemon, start);
        LocalError::NotReady { what, within, log: self.layout.log(daemon), tail }
    }
}

fn recorded_ports(addresses: &Addresses) -> PortPair {
    let port = |address: &str| address.rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(0);
    PortPair { rpc: port(&addresses.rpc), http: port(&addresses.http) }
}

/// A file of an earlier run would be taken for this one's.
fn remove_stale(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(file_error("remove", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Beside this program; a test program lies one folder deeper, in `deps`.
fn default_bin_dir() -> Result<PathBuf> {
    let program = std::env::current_exe().map_err(file_error("find", Path::new("this program")))?;
    let folder = program.parent().unwrap_or(Path::new("/"));
    Ok(if folder.ends_with("deps") { folder.parent().unwrap_or(folder) } else { folder }.to_owned())
}
