//! Starting and stopping the NameNode; the only place that spawns.
//!
//! Start: listen on both ports (so that a port in use is found before the directory is touched), find the group if the
//! directory is empty, lock and open it, load the chunk map, start the engine, serve. Stop: hand the leadership over,
//! accept no more, answer what is under way, close the store, stop the engine.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::CommandFactory;
use clap::error::ErrorKind;
use dfs_daemon::{Admin, LogFormat, Memory, Readiness, Room, Shutdown, limits, telemetry};
use dfs_namenode_core::{Core, Event};
use dfs_program::{command_line, panics, streams};
use dfs_types::error::sentence;
use dfs_types::{ClusterId, FsError, FsResult, GroupSource};
use prometheus::Registry;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use crate::api::Namenode;
use crate::config::{Cli, Command, Config, FormatArgs, LogStyle, RestoreArgs, Times};
use crate::engine::{self, Clock, Engine, FollowUp};
use crate::groups::{self, Groups};
use crate::metrics::Metrics;
use crate::peers::{Found, Peers, find_group};
use crate::serve;
use crate::store::directory::{self, Beginning, Directory};
use crate::store::edit::Change;
use crate::store::{self, Contents, Disk, DiskState, KnownNode, Store, group};

/// File in the directory that tells the addresses while the process serves.
pub const ADDRESSES_FILE: &str = "addresses.json";
/// Time in which requests under way are answered after a stop was asked for.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Time the engine has to stop after everything else has.
const ENGINE_STOP_LIMIT: Duration = Duration::from_secs(5);
/// Longest that closing the store is waited for, and in the end the threads that work on its disk: what is not closed is
/// replayed at the next start.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);
/// How often a leader looks whether another NameNode's disk is better than its own.
const DISK_LOOK: Duration = Duration::from_millis(250);
/// Pause after the leadership was to be handed over, so that it has time to be.
const YIELD_PAUSE: Duration = Duration::from_secs(1);
/// How often gauges and readiness are brought up to date.
const WATCH: Duration = Duration::from_secs(1);
/// Inodes the store keeps in memory, at least and at most.
const CACHE_ENTRIES: std::ops::RangeInclusive<u64> = 10_000..=200_000;
/// Bytes of memory for one of them, about, and the part of the process's memory that all may take.
const CACHE_ENTRY: (u64, u64) = (512, 16);
/// Edits that may share a commit.
const MAX_BATCH: usize = 1_024;
/// Bounds of the number of threads that read the database.
const READERS: std::ops::RangeInclusive<usize> = 2..=16;

/// Why the process could not start or serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The work is done, but what there is to say of it could not be written.
    #[error("it is done, but standard output can't be written")]
    Output(#[source] io::Error),
    /// Threads, signals or metrics could not be set up.
    #[error("starting the process failed")]
    Process(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another process has the port.
    #[error(
        "{address} is in use: stop the process that listens there, or choose another address with {flag}"
    )]
    InUse {
        /// The address.
        address: String,
        /// The flag that sets it.
        flag: &'static str,
    },
    /// The address can't be used.
    #[error("listening on {address} failed: give {flag} an address of this machine as HOST:PORT")]
    Listen {
        /// The address.
        address: String,
        /// The flag that sets it.
        flag: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The directory can't be used.
    #[error(transparent)]
    Directory(#[from] directory::Error),
    /// The store can't be opened.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// Nobody's groups are known.
    #[error(transparent)]
    Groups(#[from] groups::Unusable),
    /// The chunk map can't be filled.
    #[error("loading the chunks of the namespace failed")]
    Load(#[source] FsError),
    /// The addresses can't be written into the directory.
    #[error("writing {path} failed: check the permissions and the disk")]
    Addresses {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The store does nothing any more.
    #[error("{0}")]
    Broken(String),
    /// Serving ended with an error.
    #[error("serving {port} failed")]
    Serve {
        /// Which port.
        port: &'static str,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// What a running NameNode tells about itself in [`ADDRESSES_FILE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// Where clients and DataNodes find it.
    pub rpc: SocketAddr,
    /// Where the HTTP port is.
    pub http: SocketAddr,
    /// The process.
    pub pid: u32,
}

/// The process: performs the command line.
pub fn main() -> ExitCode {
    panics::told_by(streams::tell_and_go);
    let cli: Cli = match command_line::parse() {
        Ok(cli) => cli,
        Err(status) => return status,
    };
    let result = match cli.command {
        Command::Format(args) => format(&args),
        Command::Restore(args) => restore(&args),
        Command::Run(args) => match Config::new(*args) {
            Ok(config) => return logged(config),
            Err(error) => {
                return command_line::refused(Cli::command().error(ErrorKind::ValueValidation, error));
            }
        },
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            streams::tell_and_go(format!("error: {}", sentence(&error)));
            ExitCode::FAILURE
        }
    }
}

/// Serves, with a log.
fn logged(config: Config) -> ExitCode {
    let format = match config.log_style {
        LogStyle::Text => LogFormat::Text,
        LogStyle::Json => LogFormat::Json,
    };
    let log = match telemetry::init(config.log.as_deref(), format, config.log_file.clone()) {
        Ok(log) => log,
        Err(error) => {
            streams::tell_and_go(format!("error: {}", sentence(&error)));
            return ExitCode::FAILURE;
        }
    };
    match run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            log.last_word(&sentence(&error));
            ExitCode::FAILURE
        }
    }
}

/// Formats a directory.
pub fn format(args: &FormatArgs) -> Result<(), Error> {
    let cluster = args.cluster_id.unwrap_or_else(ClusterId::random);
    Directory::format(&args.dir, cluster)?;
    streams::print(&format!("formatted {} for cluster {cluster}\n", args.dir.display()))
        .map_err(Error::Output)
}

/// Makes a directory from a backup.
pub fn restore(args: &RestoreArgs) -> Result<(), Error> {
    let RestoreArgs { dir, backup } = args;
    let directory = Directory::make(dir, Beginning::Backup(backup))?;
    let text = format!(
        "restored {} of cluster {} as NameNode {}: start it, then add others with --peers\n",
        dir.display(),
        directory.cluster(),
        directory.member()
    );
    streams::print(&text).map_err(Error::Output)
}

/// Serves until SIGTERM or SIGINT.
pub fn run(config: Config) -> Result<(), Error> {
    limits::raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Process(error.into()))?;
    let ended = runtime.block_on(async {
        // A signal asks to stop, which begins with handing the leadership over; only then does everything end.
        let asked = Shutdown::new();
        asked.on_signals().map_err(|error| Error::Process(error.into()))?;
        let shutdown = Shutdown::new();
        let running = tokio::select! {
            started = Running::start(config, shutdown.clone()) => started?,
            () = asked.requested() => {
                shutdown.finish(STOP_LIMIT).await;
                return Ok(());
            }
        };
        tokio::select! {
            () = asked.requested() => {}
            () = shutdown.requested() => {}
        }
        running.stop().await
    });
    // A disk that stands still must not keep the process.
    runtime.shutdown_timeout(CLOSE_LIMIT);
    ended
}

/// A NameNode that serves.
#[derive(Debug)]
pub struct Running {
    addresses: Addresses,
    dir: PathBuf,
    namenode: Arc<Namenode>,
    readiness: Readiness,
    shutdown: Shutdown,
    engine_stop: Shutdown,
    failure: Failure,
}

/// The first error of a server, if one failed.
type Failure = Arc<OnceLock<Error>>;

impl Running {
    /// Starts everything; answers when both ports serve.
    pub async fn start(config: Config, shutdown: Shutdown) -> Result<Self, Error> {
        let rpc = listen(&config.listen, "--listen").await?;
        let http = listen(&config.http, "--http").await?;
        let addresses = Addresses {
            rpc: rpc.local_addr().map_err(|error| Error::Process(error.into()))?,
            http: http.local_addr().map_err(|error| Error::Process(error.into()))?,
            pid: std::process::id(),
        };
        let registry = Registry::new();
        let meter = Metrics::meter(&registry);
        let metrics = Metrics::on(&meter).map_err(|error| Error::Process(error.into()))?;
        let connections = limits::connections(limits::open_files(), Memory::of_process().bytes());
        let room = Room::new(connections, &meter).map_err(|error| Error::Process(error.into()))?;
        let readiness = Readiness::default();
        let failure = Failure::default();
        let slot = serve::http::Slot::default();
        let pages =
            Admin::new(registry, readiness.clone()).with_routes(serve::http::routes(Arc::clone(&slot)));
        let accepted = room.accept("http", http, &shutdown).map_err(|error| Error::Process(error.into()))?;
        spawn_server(&shutdown, &failure, "the HTTP port", pages.serve(accepted, shutdown.clone()));

        let groups = match load_groups(config.groups.clone()).await {
            Ok(groups) => groups,
            Err(error) => return abort(&shutdown, error).await,
        };
        shutdown.spawn(Arc::clone(&groups).keep(shutdown.clone()));
        let own = config.advertise.clone().unwrap_or_else(|| reachable(addresses.rpc));
        let (rpc, prepared) = match prepare(&config, &own, rpc, &room, &readiness).await {
            Ok(prepared) => prepared,
            Err(error) => return abort(&shutdown, error).await,
        };
        readiness.waiting("loading the namespace");
        let (handle, inbox) = engine::channel();
        let (clock, sink, observer) = (handle.clock(), handle.clone(), metrics.clone());
        let dir = config.dir.clone();
        let settings = config.settings;
        let superuser = config.superuser.clone();
        let peers = Peers::new(prepared.cluster(), own, shutdown.clone());
        let group = group::Options {
            election_timeout: config.election_timeout,
            heartbeat_interval: config.leader_heartbeat_interval,
            transport: Arc::clone(&peers) as Arc<dyn group::Transport>,
            ..group::Options::default()
        };
        let ending = (Arc::clone(&failure), shutdown.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let sink = tell_engine(config.clone(), Contents::of(&prepared), sink, clock, ending);
            open(&config, prepared, group, sink, observer, clock)
        })
        .await;
        let Opened { store, core } = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return abort(&shutdown, error).await,
            Err(error) => return abort(&shutdown, Error::Process(error.into())).await,
        };

        let engine_stop = Shutdown::new();
        let (engine, follow_ups) = Engine::new(core, inbox);
        if let Err(error) = spawn_engine(engine, &engine_stop, &shutdown, &failure) {
            return abort(&shutdown, Error::Process(error.into())).await;
        }
        shutdown.spawn(Arc::clone(&peers).follow(Arc::downgrade(store.group())));
        let namenode = Arc::new(Namenode::new(settings, superuser, groups, store, handle.clone(), peers));
        shutdown.spawn(follow_leadership(Arc::clone(&namenode), handle, follow_ups, shutdown.clone()));
        let watching = watch(
            Arc::clone(&namenode),
            metrics.clone(),
            readiness.clone(),
            Arc::clone(&failure),
            shutdown.clone(),
        );
        shutdown.spawn(watching);
        shutdown.spawn(yield_lead(Arc::clone(&namenode), shutdown.clone()));
        // The slot is new: nobody else can have filled it.
        let _first = slot.set(Arc::clone(&namenode));
        let accepted = room.accept("rpc", rpc, &shutdown).map_err(|error| Error::Process(error.into()))?;
        let server = serve::grpc(accepted, Arc::clone(&namenode), metrics, shutdown.clone());
        spawn_server(&shutdown, &failure, "the RPC port", server);
        let running = Self { addresses, dir, namenode, readiness, shutdown, engine_stop, failure };
        match running.write_addresses().await {
            Err(Error::Addresses { path, source }) if is_full(&source) => {
                warn!(path = %path.display(), "the disk is full: the addresses are written when there is room");
                running.write_addresses_later();
            }
            Err(error) => {
                // What went wrong while stopping matters less than why it has to.
                let _stopped = running.stop().await;
                return Err(error);
            }
            Ok(()) => {}
        }
        let Addresses { rpc, http, pid: _ } = running.addresses;
        info!(cluster = %running.namenode.defaults().cluster, %rpc, %http, "serving");
        Ok(running)
    }

    /// Where it serves.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The API.
    pub fn namenode(&self) -> &Arc<Namenode> {
        &self.namenode
    }

    /// Stops cleanly. The error of a server that failed before is answered now.
    pub async fn stop(self) -> Result<(), Error> {
        let Self { addresses: _, dir, namenode, readiness, shutdown, engine_stop, failure } = self;
        readiness.waiting("stopping");
        if let Err(reason) = namenode.health() {
            // Only the first failure is the cause.
            let _second = failure.set(Error::Broken(reason));
        }
        if failure.get().is_none() {
            namenode.resign().await;
        }
        shutdown.finish(STOP_LIMIT).await;
        let closing = tokio::task::spawn_blocking(move || {
            remove_addresses(&dir);
            // Ends the store: nobody else has it any more, unless a request did not end in time.
            drop(namenode);
        });
        match tokio::time::timeout(CLOSE_LIMIT, closing).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "closing the store failed"),
            Err(_) => warn!("closing the store takes too long and is given up: look at its disk"),
        }
        engine_stop.finish(ENGINE_STOP_LIMIT).await;
        info!("stopped");
        match Arc::into_inner(failure).and_then(OnceLock::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    async fn write_addresses(&self) -> Result<(), Error> {
        let path = self.dir.join(ADDRESSES_FILE);
        let result = write_addresses(path.clone(), self.addresses.clone()).await;
        result.map_err(|source| Error::Addresses { path, source })
    }

    fn write_addresses_later(&self) {
        let (path, addresses) = (self.dir.join(ADDRESSES_FILE), self.addresses.clone());
        let shutdown = self.shutdown.clone();
        self.shutdown.spawn(async move {
            loop {
                tokio::select! {
                    () = tokio::time::sleep(WATCH) => {}
                    () = shutdown.requested() => return,
                }
                if write_addresses(path.clone(), addresses.clone()).await.is_ok() {
                    return;
                }
            }
        });
    }
}

/// Whether there is no room for a file, on the disk or for this user.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

async fn write_addresses(path: PathBuf, addresses: Addresses) -> io::Result<()> {
    let written = tokio::task::spawn_blocking(move || write_atomically(&path, &addresses)).await;
    written.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// Stops what was started already and passes the error on.
async fn abort(shutdown: &Shutdown, error: Error) -> Result<Running, Error> {
    shutdown.finish(STOP_LIMIT).await;
    Err(error)
}

fn write_atomically(path: &Path, addresses: &Addresses) -> std::io::Result<()> {
    let draft = path.with_extension("json.new");
    let text = format!("{}\n", serde_json::to_string(addresses)?);
    fs::write(&draft, text)?;
    fs::rename(&draft, path)
}

fn remove_addresses(dir: &Path) {
    let path = dir.join(ADDRESSES_FILE);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            warn!(path = %path.display(), %error, "removing the addresses failed");
        }
        Ok(()) | Err(_) => {}
    }
}

async fn listen(address: &str, flag: &'static str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => Error::InUse { address: address.to_owned(), flag },
        _ => Error::Listen { address: address.to_owned(), flag, source },
    })
}

/// Runs a server; if it fails, the process stops and tells why.
fn spawn_server<E>(
    shutdown: &Shutdown,
    failure: &Failure,
    port: &'static str,
    server: impl Future<Output = Result<(), E>> + Send + 'static,
) where
    E: Into<Box<dyn std::error::Error + Send + Sync>> + Send,
{
    let (stop, failure) = (shutdown.clone(), Arc::clone(failure));
    shutdown.spawn(async move {
        if let Err(source) = server.await {
            let source: Box<dyn std::error::Error + Send + Sync> = source.into();
            let reason = source.to_string();
            // Only the first failure is the cause.
            let _second = failure.set(Error::Serve { port, source });
            stop.request();
            error!(port, error = reason, "serving failed");
        }
    });
}

/// Runs the engine on a thread of its own: deciding takes many milliseconds at times, and no connection is to wait for
/// that. If it dies, the process stops, because nobody would decide anything any more.
fn spawn_engine(
    engine: Engine,
    engine_stop: &Shutdown,
    shutdown: &Shutdown,
    failure: &Failure,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (ended, end) = oneshot::channel();
    let until = engine_stop.clone();
    std::thread::Builder::new().name("engine".to_owned()).spawn(move || {
        runtime.block_on(engine.run(until));
        // Nobody listens any more if the process is about to end.
        let _gone = ended.send(());
    })?;
    let (stop, failure) = (shutdown.clone(), Arc::clone(failure));
    engine_stop.spawn(async move {
        if end.await.is_err() {
            // Only the first failure is the cause.
            let _second = failure.set(Error::Process("the engine died".into()));
            stop.request();
            error!("the engine died");
        }
    });
    Ok(())
}

async fn load_groups(source: GroupSource) -> Result<Arc<Groups>, Error> {
    let loaded = tokio::task::spawn_blocking(move || Groups::load(source)).await;
    Ok(Arc::new(loaded.map_err(|error| Error::Process(error.into()))??))
}

/// Where others reach this machine's port, if nobody said so: every address is none.
fn reachable(listening: SocketAddr) -> String {
    if listening.ip().is_unspecified() {
        let host = rustix::system::uname();
        format!("{}:{}", host.nodename().to_string_lossy(), listening.port())
    } else {
        listening.to_string()
    }
}

/// Opens the directory, or formats an empty one for the group it finds. Answers the listener again, which says meanwhile
/// that there is nothing here yet.
async fn prepare(
    config: &Config,
    own: &str,
    rpc: TcpListener,
    room: &Room,
    readiness: &Readiness,
) -> Result<(TcpListener, Directory), Error> {
    let dir = config.dir.clone();
    let begin = |make: fn(&Path, Found) -> Result<Directory, directory::Error>, found: Found| {
        let dir = dir.clone();
        async move {
            let made = tokio::task::spawn_blocking(move || make(&dir, found)).await;
            made.map_err(|error| Error::Process(error.into()))?.map_err(Error::Directory)
        }
    };
    let open = |path: &Path, _| Directory::open(path);
    if !config.format_if_empty || !Directory::is_vacant(&config.dir)? {
        return Ok((rpc, begin(open, Found::Nobody).await?));
    }
    if config.peers.iter().all(|peer| peer == own) {
        return Ok((rpc, begin(format_for, Found::Nobody).await?));
    }
    let failed = |error: io::Error| Error::Process(error.into());
    let listener = rpc.into_std().map_err(failed)?;
    let again = listener.try_clone().map_err(failed)?;
    let vacant = Shutdown::new();
    let again = TcpListener::from_std(again).map_err(failed)?;
    let again = room.accept("rpc", again, &vacant).map_err(failed)?;
    let saying = tokio::spawn(serve::vacant(again, vacant.clone()));
    let found = find_group(own, &config.peers, |what| readiness.waiting(format!("waiting for {what}"))).await;
    vacant.finish(STOP_LIMIT).await;
    let said = saying.await.map_err(|error| Error::Process(error.into()))?;
    said.map_err(|error| Error::Serve { port: "the RPC port", source: error.into() })?;
    let directory = begin(format_for, found).await?;
    Ok((TcpListener::from_std(listener).map_err(failed)?, directory))
}

fn format_for(path: &Path, found: Found) -> Result<Directory, directory::Error> {
    match found {
        Found::Nobody => Directory::format(path, ClusterId::random()),
        Found::Group { cluster, id } => Directory::make(path, Beginning::Member { cluster, id }),
    }
}

struct Opened {
    store: Store,
    core: Core,
}

/// Opens the store and loads the chunk map.
fn open(
    config: &Config,
    directory: Directory,
    group: group::Options,
    sink: store::Sink,
    metrics: Metrics,
    clock: Clock,
) -> Result<Opened, Error> {
    // A process that was killed left them; nobody may take them for ours before both ports serve.
    remove_addresses(&config.dir);
    let core = load(config, &Contents::of(&directory), clock).map_err(Error::Load)?;
    let readers = std::thread::available_parallelism().map_or(*READERS.start(), usize::from);
    let options = store::Options {
        superuser: config.superuser.clone(),
        readers: readers.clamp(*READERS.start(), *READERS.end()),
        cache_entries: cache_entries(Memory::of_process().bytes()),
        max_batch: MAX_BATCH,
        min_free: config.min_free,
        group,
        observer: Some(Arc::new(metrics)),
    };
    let store = Store::open(directory, options, sink)?;
    Ok(Opened { store, core })
}

/// How many inodes are kept in memory by a process that has so much of it.
fn cache_entries(memory: u64) -> usize {
    let (bytes, part) = CACHE_ENTRY;
    (memory / part / bytes).clamp(*CACHE_ENTRIES.start(), *CACHE_ENTRIES.end()) as usize
}

/// Hands changes to the engine, and a whole new core after a snapshot took the place of everything.
fn tell_engine(
    config: Config,
    contents: Contents,
    engine: engine::Handle,
    clock: Clock,
    (failure, shutdown): (Failure, Shutdown),
) -> store::Sink {
    Box::new(move |changes| {
        if changes != [Change::Replaced] {
            engine.changed(changes);
            return;
        }
        match load(&config, &contents, clock) {
            Ok(core) => engine.replace(core),
            Err(error) => {
                // With an old map of a new namespace replicas would be taken for garbage.
                engine.replace(Core::new(dfs_namenode_core::Config::default(), 0, clock.now()));
                let reason =
                    format!("reading the chunks of a snapshot failed ({}): check the disk", error.message);
                // Only the first failure is the cause.
                let _second = failure.set(Error::Broken(reason));
                shutdown.request();
                error!(%error, "reading a snapshot's chunks failed, this namenode stops");
            }
        }
    })
}

/// Fills the chunk map and the leases.
fn load(config: &Config, contents: &Contents, clock: Clock) -> FsResult<Core> {
    let Times { stale_after, dead_after, restart_grace, lease_soft_limit, lease_hard_limit } = config.times;
    let decisions = dfs_namenode_core::Config {
        stale_after,
        dead_after,
        restart_grace,
        lease_soft_limit,
        lease_hard_limit,
        min_replicas: config.settings.min_replicas,
        ..dfs_namenode_core::Config::default()
    };
    let seed = uuid::Uuid::new_v4().as_u64_pair().0;
    let mut core = Core::new(decisions, seed, clock.now());
    contents.chunks(|chunk, generation, length, layout| {
        core.apply(Event::ChunkLoaded { chunk, generation, length, layout }, clock.now());
    })?;
    for (node, duty) in contents.duties()? {
        core.apply(Event::DutySet { node, duty: clock.duty(duty) }, clock.now());
    }
    for KnownNode { id, record } in contents.nodes()? {
        let event = match record {
            Some((record, seen)) => {
                Event::NodeRecorded { node: id, record, silence: engine::unix_now().since(seen) }
            }
            None => Event::NodeForgotten { node: id },
        };
        core.apply(event, clock.now());
    }
    if let Some(settings) = contents.balancer()? {
        core.apply(Event::BalancerSet { settings: Some(settings) }, clock.now());
    }
    if contents.safe_mode()? {
        core.apply(Event::SafeModeSet { on: true }, clock.now());
    }
    for (inode, holder) in contents.leases()? {
        core.apply(Event::LeaseTaken { inode, holder }, clock.now());
    }
    core.set_next_chunk(contents.next_chunk()?);
    for ids in contents.lost_chunks()? {
        core.add_lost_chunks(ids);
    }
    core.loaded(clock.now());
    Ok(core)
}

/// Tells the engine when this member leads and when it does not, and performs a leader's duties meanwhile.
async fn follow_leadership(
    namenode: Arc<Namenode>,
    engine: engine::Handle,
    mut follow_ups: mpsc::Receiver<FollowUp>,
    shutdown: Shutdown,
) {
    let mut status = namenode.group_status();
    loop {
        let term = tokio::select! {
            status = status.wait_for(|status| status.leads) => status.map(|status| status.term).ok(),
            () = shutdown.requested() => None,
        };
        let Some(term) = term else { return };
        info!(term, "leading");
        let taken = async {
            engine.forget_recoveries().await?;
            engine.tell(Event::LeadershipTaken { term }).await
        };
        if let Err(error) = taken.await {
            warn!(%error, "the engine does not know that this namenode leads");
        }
        tokio::select! {
            () = Arc::clone(&namenode).perform_duties(&mut follow_ups) => {}
            _ = status.wait_for(|status| !status.leads || status.term != term) => {}
            () = shutdown.requested() => return,
        }
        info!(term, "not leading any more");
        if let Err(error) = engine.tell(Event::LeadershipLost).await {
            warn!(%error, "the engine does not know that this namenode leads no more");
        }
    }
}

/// Lets another NameNode lead while its disk is better than this one's, until a stop is requested.
async fn yield_lead(namenode: Arc<Namenode>, shutdown: Shutdown) {
    let mut pause = DISK_LOOK;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = shutdown.requested() => return,
        }
        pause = if namenode.yield_lead().await { YIELD_PAUSE } else { DISK_LOOK };
    }
}

/// What `/readyz` says. Whoever can't write what the group commits is not ready, so that nobody takes another NameNode
/// away meanwhile; but one that leads serves what can be served.
fn tell_readiness(readiness: &Readiness, disk: &Disk, status: &group::Status) {
    let is_lost = disk.state >= DiskState::Stalled || (disk.state == DiskState::Full && !status.leads);
    match &disk.note {
        Some(note) if is_lost => readiness.waiting(note),
        _ if status.leader.is_none() => readiness.waiting("waiting for a leader among the NameNodes"),
        Some(note) => readiness.ready_but(note),
        None => readiness.ready(),
    }
}

/// Keeps gauges and readiness up to date until a stop is requested; asks for one when the store is broken.
async fn watch(
    namenode: Arc<Namenode>,
    metrics: Metrics,
    readiness: Readiness,
    failure: Failure,
    shutdown: Shutdown,
) {
    let mut tick = interval(WATCH);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut status = namenode.group_status();
    loop {
        let due = tokio::select! {
            _ = tick.tick() => true,
            changed = status.changed() => {
                if changed.is_err() {
                    // Its thread is gone: why, is known in a moment.
                    tick.tick().await;
                }
                false
            }
            () = shutdown.requested() => return,
        };
        if let Err(reason) = namenode.health() {
            readiness.waiting(reason.clone());
            // Only the first failure is the cause.
            let _second = failure.set(Error::Broken(reason));
            shutdown.request();
            return;
        }
        let disk = namenode.disk();
        tell_readiness(&readiness, &disk, &status.borrow_and_update());
        metrics.group(&namenode);
        metrics.disk(&disk);
        // Counts all nodes: often enough once a tick, whatever changes in the group.
        if due && let Ok(report) = namenode.report().await {
            metrics.cluster(&report);
        }
    }
}
