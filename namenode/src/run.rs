//! Starting and stopping the NameNode; the only place that spawns.
//!
//! Start: listen on both ports (so that a port in use is found before the directory is touched), lock and
//! open the directory, load the chunk map, start the engine, serve. Stop: accept no more, answer what is
//! under way, close the store, stop the engine.

use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dfs_daemon::{Admin, LogFormat, Readiness, Shutdown, telemetry};
use dfs_namenode_core::{Cluster, Event};
use dfs_types::{ClusterId, FsError, FsResult, InodeId};
use prometheus::Registry;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{error, info, warn};

use crate::api::Namenode;
use crate::config::{Config, FormatArgs, LogStyle, Times};
use crate::engine::{self, Clock, Engine};
use crate::metrics::Metrics;
use crate::serve;
use crate::store::directory::{self, Directory};
use crate::store::edit::RECOVERY_HOLDER;
use crate::store::{self, Store};

/// File in the directory that tells the addresses while the process serves.
pub const ADDRESSES_FILE: &str = "addresses.json";
/// Time in which requests under way are answered after a stop was asked for.
const STOP_LIMIT: Duration = Duration::from_secs(10);
/// Time the engine has to stop after everything else has.
const ENGINE_STOP_LIMIT: Duration = Duration::from_secs(5);
/// How often gauges and readiness are brought up to date.
const WATCH: Duration = Duration::from_secs(1);
/// Inodes the store keeps in memory, a few hundred bytes each.
const CACHE_ENTRIES: usize = 200_000;
/// Edits that may share a commit.
const MAX_BATCH: usize = 1_024;
/// Bounds of the number of threads that read the database.
const READERS: std::ops::RangeInclusive<usize> = 2..=16;

/// Why the process could not start or serve.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Logs could not be set up.
    #[error("setting up the log failed")]
    Telemetry(#[from] telemetry::Error),
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

/// Formats a directory.
pub fn format(args: &FormatArgs) -> Result<(), Error> {
    let cluster = args.cluster_id.unwrap_or_else(ClusterId::random);
    Directory::format(&args.dir, cluster)?;
    println!("formatted {} for cluster {cluster}", args.dir.display());
    Ok(())
}

/// Serves until SIGTERM or SIGINT.
pub fn run(config: Config) -> Result<(), Error> {
    let format = match config.log_style {
        LogStyle::Text => LogFormat::Text,
        LogStyle::Json => LogFormat::Json,
    };
    telemetry::init(config.log.as_deref(), format)?;
    dfs_daemon::limits::raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::Process(error.into()))?;
    runtime.block_on(async {
        let shutdown = Shutdown::new();
        shutdown.on_signals().map_err(|error| Error::Process(error.into()))?;
        let running = Running::start(config, shutdown.clone()).await?;
        shutdown.requested().await;
        running.stop().await
    })
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
        let metrics = Metrics::new(&registry).map_err(|error| Error::Process(error.into()))?;
        let readiness = Readiness::default();
        let failure = Failure::default();
        let slot = serve::http::Slot::default();
        let pages =
            Admin::new(registry, readiness.clone()).with_routes(serve::http::routes(Arc::clone(&slot)));
        spawn_server(&shutdown, &failure, "the HTTP port", pages.serve(http, shutdown.clone()));

        readiness.waiting("loading the namespace");
        let (handle, inbox) = engine::channel();
        let (clock, sink, observer) = (inbox.clock(), handle.clone(), metrics.clone());
        let dir = config.dir.clone();
        let settings = config.settings;
        let superuser = config.superuser.clone();
        let opened = tokio::task::spawn_blocking(move || open(&config, sink, observer, clock)).await;
        let Opened { store, cluster, interrupted } = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(error)) => return abort(&shutdown, error).await,
            Err(error) => return abort(&shutdown, Error::Process(error.into())).await,
        };

        let engine_stop = Shutdown::new();
        let (engine, follow_ups) = Engine::new(cluster, inbox);
        spawn_engine(engine, &engine_stop, &shutdown, &failure);
        let namenode = Arc::new(Namenode::new(settings, superuser, store, handle));
        shutdown.spawn(Arc::clone(&namenode).perform_follow_ups(interrupted, follow_ups, shutdown.clone()));
        shutdown.spawn(Arc::clone(&namenode).reap_garbage(shutdown.clone()));
        shutdown.spawn(watch(Arc::clone(&namenode), metrics.clone(), readiness.clone(), shutdown.clone()));
        // The slot is new: nobody else can have filled it.
        let _first = slot.set(Arc::clone(&namenode));
        let server = serve::grpc(rpc, Arc::clone(&namenode), metrics, shutdown.clone());
        spawn_server(&shutdown, &failure, "the RPC port", server);
        let running = Self { addresses, dir, namenode, readiness, shutdown, engine_stop, failure };
        if let Err(error) = running.write_addresses().await {
            // What went wrong while stopping matters less than why it has to.
            let _stopped = running.stop().await;
            return Err(error);
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
        shutdown.finish(STOP_LIMIT).await;
        let closed = tokio::task::spawn_blocking(move || {
            remove_addresses(&dir);
            // Ends the store: nobody else has it any more, unless a request did not end in time.
            drop(namenode);
        })
        .await;
        if let Err(error) = closed {
            warn!(%error, "closing the store failed");
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
        let addresses = self.addresses.clone();
        let target = path.clone();
        let written = tokio::task::spawn_blocking(move || write_atomically(&target, &addresses)).await;
        let result = match written {
            Ok(result) => result,
            Err(error) => Err(io::Error::other(error)),
        };
        result.map_err(|source| Error::Addresses { path, source })
    }
}

/// Stops what was started already and passes the error on.
async fn abort(shutdown: &Shutdown, error: Error) -> Result<Running, Error> {
    shutdown.finish(STOP_LIMIT).await;
    Err(error)
}

fn write_atomically(path: &Path, addresses: &Addresses) -> io::Result<()> {
    let draft = path.with_extension("json.new");
    let mut file = fs::File::create(&draft)?;
    serde_json::to_writer(&mut file, addresses)?;
    file.write_all(b"\n")?;
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
            let source = source.into();
            error!(port, error = %source, "serving failed");
            // Only the first failure is the cause.
            let _second = failure.set(Error::Serve { port, source });
            stop.request();
        }
    });
}

/// Runs the engine; if it dies, the process stops, because nobody would decide anything any more.
fn spawn_engine(engine: Engine, engine_stop: &Shutdown, shutdown: &Shutdown, failure: &Failure) {
    let running = tokio::spawn(engine.run(engine_stop.clone()));
    let (stop, failure) = (shutdown.clone(), Arc::clone(failure));
    engine_stop.spawn(async move {
        if let Err(panic) = running.await {
            error!(error = %panic, "the engine died");
            // Only the first failure is the cause.
            let _second = failure.set(Error::Process(panic.into()));
            stop.request();
        }
    });
}

struct Opened {
    store: Store,
    cluster: Cluster,
    /// Files whose recovery was under way when the last process ended.
    interrupted: Vec<InodeId>,
}

/// Opens the directory and loads the chunk map.
fn open(config: &Config, sink: engine::Handle, metrics: Metrics, clock: Clock) -> Result<Opened, Error> {
    let directory = if config.format_if_empty {
        Directory::format_if_empty(&config.dir, ClusterId::random())?
    } else {
        Directory::open(&config.dir)?
    };
    // A process that was killed left them; nobody may take them for ours before both ports serve.
    remove_addresses(&config.dir);
    let readers = std::thread::available_parallelism().map_or(*READERS.start(), usize::from);
    let options = store::Options {
        superuser: config.superuser.clone(),
        readers: readers.clamp(*READERS.start(), *READERS.end()),
        cache_entries: CACHE_ENTRIES,
        max_batch: MAX_BATCH,
        observer: Some(Arc::new(metrics)),
    };
    let store = Store::open(directory, options, Box::new(move |changes| sink.changed(changes)))?;
    let (cluster, interrupted) = load(config, &store, clock).map_err(Error::Load)?;
    Ok(Opened { store, cluster, interrupted })
}

/// Fills the chunk map and the leases from the store; answers also the files that are being recovered.
fn load(config: &Config, store: &Store, clock: Clock) -> FsResult<(Cluster, Vec<InodeId>)> {
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
    let mut cluster = Cluster::new(decisions, seed, clock.now());
    store.load_chunks(|chunk, generation, length, replication| {
        cluster.apply(Event::ChunkLoaded { chunk, generation, length, replication }, clock.now());
    })?;
    let mut interrupted = Vec::new();
    for (inode, holder) in store.leases()? {
        if holder == RECOVERY_HOLDER {
            interrupted.push(inode);
        }
        cluster.apply(Event::LeaseTaken { inode, holder }, clock.now());
    }
    cluster.set_next_chunk(store.counts().next_chunk);
    cluster.loaded(clock.now());
    cluster.apply(Event::LeadershipTaken { term: 1 }, clock.now());
    Ok((cluster, interrupted))
}

/// Keeps gauges and readiness up to date until a stop is requested.
async fn watch(namenode: Arc<Namenode>, metrics: Metrics, readiness: Readiness, shutdown: Shutdown) {
    let mut tick = interval(WATCH);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = shutdown.requested() => return,
        }
        match namenode.health() {
            Ok(()) => readiness.ready(),
            Err(reason) => readiness.waiting(reason),
        }
        if let Ok(report) = namenode.report().await {
            metrics.cluster(&report.totals, report.safe_mode.on);
            metrics.namespace(&report.counts);
        }
    }
}

/// An error with its causes in one sentence.
pub fn sentence(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
