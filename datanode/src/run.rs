//! Putting a DataNode together: the only place that starts its long-running tasks, and that stops them in order.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dfs_daemon::{Admin, Readiness, Room, Shutdown, limits};
use dfs_types::address::Addresses;
use dfs_types::limits::HEARTBEAT_INTERVAL;
use dfs_types::{Address, ClusterId, Endpoint, ErrorCode, NodeId};
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};

use crate::commands;
use crate::config::Config;
pub use crate::ending::Error;
use crate::fence::Fence;
use crate::group::{Group, Shared};
use crate::memory::{self, Memory};
use crate::metrics::Metrics;
use crate::namenode::{Namenode, Speaker};
use crate::origins::Keeper;
use crate::peer::Peers;
use crate::place::Place;
use crate::reporter::{self, Backoff};
use crate::reports::Reports;
use crate::scrub;
use crate::serve::data;
use crate::session::write::Context;
use crate::store::Store;
use crate::store::duplicates;
use crate::volume::is_full;
use crate::volume::layout::reserve_of;
use crate::volumes::{self, Candidate, Lost, aside};

/// How long sessions may go on after a stop was asked for.
const SESSION_GRACE: Duration = Duration::from_secs(5);
/// How long they may take to end when they are told to.
const SESSION_END: Duration = Duration::from_secs(5);
/// How long readers and idle connections may take to end.
const SERVER_END: Duration = Duration::from_secs(2);
/// How long a node waits to be listed in the topology before it starts without a place. A machine that is new may get
/// its line a moment after its first pod; replicas that cannot be read meanwhile would be worse than badly placed ones.
const PLACE_PATIENCE: Duration = Duration::from_secs(15);
/// How long writing and removing the file with the addresses may take.
const ADDRESSES_LIMIT: Duration = Duration::from_secs(5);
/// File in the first volume that tells where the process listens.
const ADDRESSES: &str = "addresses.json";

/// A DataNode that listens.
#[derive(Debug)]
pub struct DataNode {
    data: SocketAddr,
    http: SocketAddr,
    ended: JoinHandle<Result<(), Error>>,
}

/// A DataNode that has its ports and looks for its volumes. Its HTTP port says so: a disk may take as long as it likes, and
/// nobody is to take the process for dead meanwhile.
#[derive(Debug)]
pub struct Listening {
    config: Config,
    shutdown: Shutdown,
    metrics: Arc<Metrics>,
    memory: Memory,
    room: Room,
    sessions: usize,
    readiness: Readiness,
    data: TcpListener,
    data_address: SocketAddr,
    http_address: SocketAddr,
    pages: AbortOnDropHandle<()>,
}

impl Listening {
    /// Opens the ports, and answers on that for HTTP.
    pub async fn open(config: Config, registry: Registry, shutdown: Shutdown) -> Result<Self, Error> {
        let meter = Metrics::meter(&registry);
        let metrics = Arc::new(Metrics::on(&meter)?);
        let usable = dfs_daemon::Memory::of_process();
        let memory = Memory::new(config.memory.unwrap_or(usable.for_data()), &meter)?;
        let connections = limits::connections(limits::open_files(), usable.bytes());
        let room = Room::new(connections, &meter)?;
        let sessions = memory::sessions_of_process(connections);
        let data = listen(config.listen, "data", "--listen").await?;
        let http = listen(config.http, "HTTP", "--http").await?;
        let (data_address, http_address) = (local(&data, "data")?, local(&http, "HTTP")?);
        info!(data = %data_address, http = %http_address, "listening");

        let readiness = Readiness::default();
        readiness.waiting("its volumes are being opened");
        let admin = Admin::new(registry, readiness.clone());
        let accepted = room.accept("http", http, &shutdown).map_err(unknown("HTTP"))?;
        let stop = shutdown.clone();
        let pages = AbortOnDropHandle::new(tokio::spawn(async move {
            if let Err(error) = admin.serve(accepted, stop).await {
                error!(%error, "the HTTP port failed");
            }
        }));
        Ok(Self {
            config,
            shutdown,
            metrics,
            memory,
            room,
            sessions,
            readiness,
            data,
            data_address,
            http_address,
            pages,
        })
    }

    /// Where the HTTP port is.
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Locks the volumes and starts working until a stop is requested.
    pub async fn start(self) -> Result<DataNode, Error> {
        let (candidates, lost) = volumes::lock_all(&self.config).await?;
        let owner = volumes::owner(&candidates)?;
        let first = candidates.first().map(|candidate| candidate.path().join(ADDRESSES));
        let addresses = first.ok_or_else(|| Error::Volume("no volume can be used".to_owned()))?;
        let (data, http) = (self.data_address, self.http_address);
        // Whoever looks for it there does without; readers of what lies on a full disk can't.
        if let Err(error) = write_addresses(addresses.clone(), data, http).await {
            warn!(path = %addresses.display(), %error, "the file with the addresses cannot be written");
        }
        self.readiness.waiting("not every replica is known to the leading NameNode yet");
        let (node, listener, pages) = self.node(owner.unzip())?;
        let ended = tokio::spawn(async move {
            let result = node.run(listener, candidates, lost).await;
            drop(pages);
            // The next process writes its own; a file that lies is worse than none.
            if let Err(error) = aside(ADDRESSES_LIMIT, move || std::fs::remove_file(addresses)).await {
                warn!(%error, "addresses.json could not be removed");
            }
            result
        });
        Ok(DataNode { data, http, ended })
    }

    /// The node of this cluster and id, if its volumes have any, with its data port and the server of its pages.
    fn node(
        self,
        (cluster, id): (Option<ClusterId>, Option<NodeId>),
    ) -> Result<(Node, TcpListener, AbortOnDropHandle<()>), Error> {
        let Self { config, shutdown, metrics, memory, room, sessions, readiness, .. } = self;
        let id = id.unwrap_or_else(NodeId::random);
        let endpoint = Endpoint {
            id,
            at: Address {
                host: config.advertise_host.clone().unwrap_or_else(|| default_host(self.data_address)),
                data_port: self.data_address.port(),
                http_port: self.http_address.port(),
                location: String::new(),
            },
            storage: None,
        };
        let machine = config.host.clone().unwrap_or_default();
        let place = match config.topology_file.clone() {
            Some(file) => Place::listed(machine, file),
            None => Place::known(machine, config.topology.clone()),
        };
        let speaker = Speaker { endpoint, place, incarnation: *uuid::Uuid::new_v4().as_bytes() };
        let namenodes = config
            .namenodes
            .iter()
            .flat_map(|Addresses(list)| list)
            .map(|address| Namenode::new(address, speaker.clone()).map(Arc::new))
            .collect::<Result<Vec<_>, _>>()?;
        let node = Node {
            config,
            metrics,
            memory,
            room,
            sessions,
            readiness,
            shutdown,
            speaker,
            namenodes,
            id,
            cluster,
        };
        Ok((node, self.data, self.pages))
    }
}

impl DataNode {
    /// Listens, locks the volumes and starts working until `shutdown` is requested. Where it listens is written to
    /// `addresses.json` in the first volume. Ready (see `/readyz`) is the node when the leading NameNode knows all its
    /// replicas.
    pub async fn start(config: Config, registry: Registry, shutdown: Shutdown) -> Result<Self, Error> {
        Listening::open(config, registry, shutdown).await?.start().await
    }

    /// Where the data port is.
    pub fn data_address(&self) -> SocketAddr {
        self.data
    }

    /// Where the HTTP port is.
    pub fn http_address(&self) -> SocketAddr {
        self.http
    }

    /// Waits until the node has stopped, cleanly or because it cannot go on.
    pub async fn ended(self) -> Result<(), Error> {
        self.ended.await?
    }
}

async fn listen(address: SocketAddr, what: &'static str, flag: &str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| {
        let reason = if source.kind() == io::ErrorKind::AddrInUse {
            format!("the port is in use: stop the other process or choose another {flag}")
        } else {
            format!("choose another {flag}")
        };
        Error::Listen { address, what, reason, source }
    })
}

fn local(listener: &TcpListener, what: &'static str) -> Result<SocketAddr, Error> {
    listener.local_addr().map_err(unknown(what))
}

fn unknown(what: &'static str) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Listen {
        address: SocketAddr::from(([0, 0, 0, 0], 0)),
        what,
        reason: "its own address is unknown".to_owned(),
        source,
    }
}

fn default_host(data: SocketAddr) -> String {
    if data.ip().is_unspecified() {
        rustix::system::uname().nodename().to_string_lossy().into_owned()
    } else {
        data.ip().to_string()
    }
}

async fn write_addresses(path: PathBuf, data: SocketAddr, http: SocketAddr) -> io::Result<()> {
    let json = serde_json::json!({
        "rpc": data.to_string(),
        "http": http.to_string(),
        "pid": std::process::id(),
    });
    aside(ADDRESSES_LIMIT, move || {
        let temporary = path.with_extension("json.tmp");
        let write = || {
            std::fs::write(&temporary, format!("{json}\n"))?;
            std::fs::rename(&temporary, &path)
        };
        let written = match (write(), path.parent().map(reserve_of)) {
            (Err(error), Some(reserve)) if is_full(&error) && std::fs::remove_file(&reserve).is_ok() => {
                write()
            }
            (written, _) => written,
        };
        if written.is_err() {
            // One of an earlier process would lie; and half a file takes room.
            let _ = std::fs::remove_file(&temporary);
            let _ = std::fs::remove_file(&path);
        }
        written
    })
    .await
}

/// A DataNode on its way from locked directories to a clean end.
struct Node {
    config: Config,
    metrics: Arc<Metrics>,
    memory: Memory,
    room: Room,
    sessions: usize,
    readiness: Readiness,
    shutdown: Shutdown,
    speaker: Speaker,
    namenodes: Vec<Arc<Namenode>>,
    id: NodeId,
    cluster: Option<ClusterId>,
}

impl Node {
    async fn run(self, listener: TcpListener, candidates: Vec<Candidate>, lost: Lost) -> Result<(), Error> {
        let (place, patience) = (&self.speaker.place, PLACE_PATIENCE);
        if let Some(missing) = place.missing() {
            self.readiness.waiting(missing);
        }
        tokio::select! {
            found = timeout(patience, place.find()) => if let Ok(found) = found {
                found.map_err(Error::Place)?;
            } else {
                warn!(reason = place.missing(), "starting without a place in the topology");
            },
            () = self.shutdown.requested() => return Ok(()),
        }
        let cluster = match self.cluster {
            Some(cluster) => cluster,
            None => match self.join().await? {
                Some(cluster) => cluster,
                None => return Ok(()),
            },
        };
        let node = self.id;
        let (volumes, lost) = volumes::open_all(&self.config, candidates, lost, (cluster, node)).await?;
        let reports = Reports::default();
        let metrics = Arc::clone(&self.metrics);
        let storage =
            self.config.volumes.iter().map(|volume| (volume.path.clone(), volume.storage)).collect();
        let store = Store::open(cluster, node, volumes, lost, storage, reports.clone(), metrics).await;
        info!(%cluster, %node, "serving");
        let result = self.serve(listener, Arc::clone(&store), reports).await;
        store.close().await;
        result
    }

    /// Asks the NameNodes which cluster this new node is to join. `None` if a stop is requested first.
    async fn join(&self) -> Result<Option<ClusterId>, Error> {
        let mut backoff = Backoff::new();
        loop {
            for namenode in &self.namenodes {
                match namenode.register(None, &[]).await {
                    Ok(welcome) => return Ok(Some(welcome.cluster)),
                    Err(error) if error.code == ErrorCode::WrongCluster => return Err(error.into()),
                    Err(error) => warn!(%namenode, %error, "cannot join yet"),
                }
            }
            tokio::select! {
                () = sleep(backoff.next(rand::random())) => {}
                () = self.shutdown.requested() => return Ok(None),
            }
        }
    }

    async fn serve(&self, listener: TcpListener, store: Arc<Store>, reports: Reports) -> Result<(), Error> {
        let (fatal, mut ends) = mpsc::channel(1);
        let (cancel, end) = (CancellationToken::new(), CancellationToken::new());
        let context = Context {
            store: Arc::clone(&store),
            peers: Arc::new(Peers::default()),
            metrics: Arc::clone(&self.metrics),
            memory: self.memory.clone(),
            cancel: cancel.clone(),
        };
        let fence = Arc::new(Fence::default());
        let (inbox, worker) =
            commands::queues(Arc::clone(&store), Arc::clone(&fence), Arc::clone(&self.metrics));
        // The first account of space goes with the registration.
        store.refresh().await;

        let incoming = self.room.accept("data", listener, &self.shutdown).map_err(unknown("data"))?;
        let serving = data::serve(incoming, context.clone(), self.sessions, self.shutdown.clone());
        let mut server = tokio::spawn(serving);
        let shared = Shared {
            speaker: self.speaker.clone(),
            store: Arc::clone(&store),
            inbox,
            fence,
            interval: self.config.heartbeat_interval,
            readiness: self.readiness.clone(),
            shutdown: self.shutdown.clone(),
            end: end.clone(),
            fatal,
            metrics: Arc::clone(&self.metrics),
        };
        let group = Group::start(shared, reports, reporter::report, &self.namenodes);
        let mut background = JoinSet::new();
        background.spawn(worker.run(context));
        background.spawn(Arc::clone(&store).watch());
        let (keeper, verified) =
            Keeper::new(Arc::clone(&store), Arc::clone(&group), Arc::clone(&self.metrics));
        background.spawn(keeper.run());
        let rate = self.config.scrub_rate;
        background.spawn(duplicates::run(Arc::clone(&store), Arc::clone(&self.metrics), rate));
        let refreshed = Arc::clone(&store);
        let every = self.config.heartbeat_interval.unwrap_or(HEARTBEAT_INTERVAL);
        background.spawn(async move {
            let mut ticks = interval(every);
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                refreshed.refresh().await;
            }
        });
        if self.speaker.place.missing().is_some() {
            let place = self.speaker.place.clone();
            background.spawn(async move {
                if let Err(error) = place.find().await {
                    error!(%error, "this node stays without a place in the topology");
                }
            });
        }
        if self.config.scrub_rate > 0 {
            let (rate, interval) = (self.config.scrub_rate, self.config.scrub_interval);
            background.spawn(scrub::run(store, Arc::clone(&self.metrics), rate, interval, verified));
        }

        let result = tokio::select! {
            // The server ends too when a stop is requested.
            biased;
            () = self.shutdown.requested() => Ok(()),
            Some(error) = ends.recv() => Err(Error::Refused(error)),
            ended = &mut server => return self.broken_off(ended),
        };
        self.stop(server, background, &group, &cancel, &end).await;
        result
    }

    /// The data port ended without being asked to.
    fn broken_off(
        &self,
        ended: Result<Result<(), tonic::transport::Error>, tokio::task::JoinError>,
    ) -> Result<(), Error> {
        self.shutdown.request();
        Ok(ended??)
    }

    /// Stops in order: no new sessions, those under way end, their replicas are reported, and then silence.
    async fn stop(
        &self,
        mut server: JoinHandle<Result<(), tonic::transport::Error>>,
        mut background: JoinSet<()>,
        group: &Group,
        cancel: &CancellationToken,
        end: &CancellationToken,
    ) {
        self.readiness.waiting("stopping");
        self.shutdown.request();
        background.shutdown().await;
        let in_time = self.shutdown.finish(SESSION_GRACE).await;
        cancel.cancel();
        if !in_time {
            self.shutdown.finish(SESSION_END).await;
        }
        // Readers and idle connections do not hold the process up.
        if timeout(SERVER_END, &mut server).await.is_err() {
            server.abort();
        }
        end.cancel();
        // Each gives up in time by itself.
        group.ended().await;
        info!("stopped");
    }
}
