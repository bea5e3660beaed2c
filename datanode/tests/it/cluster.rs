//! A fake NameNode, and DataNodes that can be killed.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser;
use dfs_daemon::Shutdown;
use dfs_datanode::{Config, DataNode};
use dfs_proto::convert;
use dfs_proto::v1;
use dfs_proto::v1::cluster_server::{Cluster, ClusterServer};
use dfs_types::{Address, ClusterId, Endpoint, NodeId, ReplicaRecord, ReplicaState};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

/// Longest wait for anything in these tests.
const LIMIT: Duration = Duration::from_mins(1);

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + LIMIT;
    while !condition() {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What the fake NameNode knows and is told to do.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Processes that have introduced themselves.
    pub(crate) incarnations: HashMap<NodeId, Vec<u8>>,
    /// Replicas by node and chunk.
    pub(crate) replicas: HashMap<NodeId, BTreeMap<u64, ReplicaRecord>>,
    /// The last heartbeat of each node.
    pub(crate) heartbeats: HashMap<NodeId, v1::HeartbeatRequest>,
    /// Orders to be given with the next heartbeat.
    pub(crate) orders: HashMap<NodeId, Vec<v1::Command>>,
    /// Recoveries that were committed.
    pub(crate) commits: Vec<v1::CommitRecoveryRequest>,
    /// Nodes that reported everything since they registered.
    pub(crate) reported: HashSet<NodeId>,
    /// Up to which change each process has told.
    pub(crate) told: HashMap<(NodeId, Vec<u8>), u64>,
    /// The fence of each node's last full report.
    pub(crate) fences: HashMap<NodeId, u64>,
    /// How often a process introduced itself.
    pub(crate) registrations: usize,
    /// How many heartbeats there were.
    pub(crate) beats: usize,
    /// Its term, and whether it leads.
    pub(crate) term: u64,
    pub(crate) leads: bool,
    /// The NameNodes it tells of, and what it calls itself.
    pub(crate) namenodes: Vec<String>,
    pub(crate) name: String,
    /// The cluster's feature level.
    pub(crate) level: u32,
    /// The files of chunks, as far as they are closed, and how often it was asked for any.
    pub(crate) origins: HashMap<u64, v1::ChunkOrigin>,
    pub(crate) questions: usize,
    /// It asks for a full report.
    pub(crate) wants_report: bool,
    /// It answers no report, or nothing at all.
    pub(crate) hangs_on_reports: bool,
    pub(crate) hangs: bool,
    /// Heartbeats that came while it answered nothing.
    pub(crate) hanging_beats: usize,
}

#[derive(Debug)]
struct Fake {
    cluster: ClusterId,
    known: Arc<Mutex<Known>>,
}

impl Fake {
    /// Hangs as long as it is to.
    async fn hang(&self, report: bool) {
        while {
            let known = self.known.lock().unwrap();
            known.hangs || (report && known.hangs_on_reports)
        } {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn reply(&self, node: NodeId, incarnation: &[u8]) -> v1::ReportReply {
        let known = self.known.lock().unwrap();
        let register = known.incarnations.get(&node).map(Vec::as_slice) != Some(incarnation);
        let wanted = known.wants_report || !known.reported.contains(&node);
        v1::ReportReply { register, report_from: wanted.then_some(0) }
    }
}

fn id(bytes: &[u8]) -> NodeId {
    NodeId::from_bytes(bytes).unwrap()
}

#[tonic::async_trait]
impl Cluster for Fake {
    async fn register(
        &self,
        request: Request<v1::RegisterRequest>,
    ) -> Result<Response<v1::RegisterReply>, Status> {
        self.hang(false).await;
        let request = request.into_inner();
        if !request.cluster.is_empty() && request.cluster != self.cluster.as_bytes() {
            let error = dfs_types::FsError::new(
                dfs_types::ErrorCode::WrongCluster,
                format!("this NameNode leads cluster {}", self.cluster),
            );
            return Err(convert::to_status(error));
        }
        let node = id(&request.node.unwrap().id);
        let mut known = self.known.lock().unwrap();
        known.registrations += 1;
        let process = request.incarnation;
        if known.incarnations.insert(node, process.clone()).is_none_or(|before| before != process) {
            known.replicas.remove(&node);
            known.reported.remove(&node);
        }
        let cluster = self.cluster.as_bytes().to_vec();
        let (namenodes, address) = (known.namenodes.clone(), known.name.clone());
        let report_from = (!known.reported.contains(&node)).then_some(0);
        let heartbeat_interval_ms = 50;
        Ok(Response::new(v1::RegisterReply {
            cluster,
            heartbeat_interval_ms,
            namenodes,
            address,
            report_from,
        }))
    }

    async fn heartbeat(
        &self,
        request: Request<v1::HeartbeatRequest>,
    ) -> Result<Response<v1::HeartbeatReply>, Status> {
        {
            let mut known = self.known.lock().unwrap();
            known.hanging_beats += usize::from(known.hangs);
        }
        self.hang(false).await;
        let request = request.into_inner();
        let node = id(&request.node.as_ref().unwrap().id);
        let v1::ReportReply { register, report_from } = self.reply(node, &request.incarnation);
        let mut known = self.known.lock().unwrap();
        known.heartbeats.insert(node, request);
        known.beats += 1;
        let commands = known.orders.remove(&node).unwrap_or_default();
        let (term, leads, namenodes) = (known.term, known.leads, known.namenodes.clone());
        let feature_level = known.level;
        Ok(Response::new(v1::HeartbeatReply {
            register,
            report_from,
            commands,
            term,
            leads,
            namenodes,
            feature_level,
        }))
    }

    async fn report_replicas(
        &self,
        request: Request<v1::ReplicaReport>,
    ) -> Result<Response<v1::ReportReply>, Status> {
        self.hang(true).await;
        let request = request.into_inner();
        let node = id(&request.node);
        let mut known = self.known.lock().unwrap();
        let count = request.changes.len() as u64;
        let told = known.told.insert((node, request.incarnation.clone()), request.after + count);
        assert!(told.is_none_or(|told| told == request.after), "no change is missing or told twice");
        let volumes = convert::report_volumes(&request.volumes).unwrap();
        let replicas = known.replicas.entry(node).or_default();
        for event in request.changes {
            let record = convert::replica_record(event.replica.unwrap(), &volumes).unwrap();
            assert!(record.volume.is_some(), "a node says on which volume each replica is");
            if event.deleted {
                replicas.remove(&record.chunk.0);
            } else {
                replicas.insert(record.chunk.0, record);
            }
        }
        if let Some(slice) = request.slice {
            assert_eq!((slice.first, slice.last), (0, u64::MAX), "it has few replicas");
            let read = |record| convert::replica_record(record, &volumes).unwrap();
            let records = slice.replicas.into_iter().map(read);
            *replicas = records.map(|record| (record.chunk.0, record)).collect();
            known.reported.insert(node);
            known.fences.insert(node, slice.fence);
            known.wants_report = false;
        }
        drop(known);
        Ok(Response::new(self.reply(node, &request.incarnation)))
    }

    async fn commit_recovery(
        &self,
        request: Request<v1::CommitRecoveryRequest>,
    ) -> Result<Response<v1::ReportReply>, Status> {
        self.known.lock().unwrap().commits.push(request.into_inner());
        Ok(Response::new(v1::ReportReply::default()))
    }

    async fn describe_chunks(
        &self,
        request: Request<v1::DescribeChunksRequest>,
    ) -> Result<Response<v1::DescribeChunksReply>, Status> {
        self.hang(false).await;
        let mut known = self.known.lock().unwrap();
        known.questions += 1;
        let chunks = request.into_inner().chunks;
        let origins = chunks.iter().filter_map(|chunk| known.origins.get(chunk).cloned()).collect();
        Ok(Response::new(v1::DescribeChunksReply { register: false, told_ms: 1, origins }))
    }
}

/// A NameNode that believes everything.
pub(crate) struct FakeNamenode {
    pub(crate) cluster: ClusterId,
    pub(crate) address: SocketAddr,
    known: Arc<Mutex<Known>>,
}

impl FakeNamenode {
    pub(crate) async fn start() -> Self {
        Self::start_in(ClusterId::random()).await
    }

    /// Starts one that leads a cluster in term 1, until told otherwise.
    pub(crate) async fn start_in(cluster: ClusterId) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let known = Arc::new(Mutex::new(Known { term: 1, leads: true, ..Known::default() }));
        let fake = Fake { cluster, known: Arc::clone(&known) };
        let service = ClusterServer::new(fake).max_decoding_message_size(16 << 20);
        let server = tonic::transport::Server::builder().add_service(service);
        tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));
        Self { cluster, address, known }
    }

    /// Looks at or changes what the NameNode knows.
    pub(crate) fn with<T>(&self, with: impl FnOnce(&mut Known) -> T) -> T {
        with(&mut self.known.lock().unwrap())
    }

    /// Leads, or follows, in this term from now on.
    pub(crate) fn set(&self, term: u64, leads: bool) {
        self.with(|known| (known.term, known.leads) = (term, leads));
    }

    /// Waits for this many more heartbeats: what was said with earlier ones has been heard.
    pub(crate) async fn beats(&self, more: usize) {
        let before = self.with(|known| known.beats);
        until("more heartbeats", || self.with(|known| known.beats >= before + more)).await;
    }

    /// Waits until `node` has told this fence.
    pub(crate) async fn fenced(&self, node: &Node, fence: u64) {
        let told =
            || self.with(|known| known.heartbeats.get(&node.id).is_some_and(|beat| beat.fence == fence));
        until(&format!("fence {fence} is told"), told).await;
    }

    /// What `node` said of its replica of `chunk`: generation, length and state.
    pub(crate) fn replica(&self, node: &Node, chunk: u64) -> Option<(u64, u64, ReplicaState)> {
        self.with(|known| {
            let record = known.replicas.get(&node.id)?.get(&chunk)?;
            Some((record.generation.0, record.length, record.state))
        })
    }

    /// Waits until `node` has said this of its replica of `chunk`.
    pub(crate) async fn told(&self, node: &Node, chunk: u64, expected: Option<(u64, u64, ReplicaState)>) {
        until(&format!("chunk {chunk} is {expected:?}"), || self.replica(node, chunk) == expected).await;
    }

    /// Gives `node` an order.
    pub(crate) fn order(&self, node: &Node, kind: v1::command::Kind) {
        self.with(|known| {
            known.orders.entry(node.id).or_default().push(v1::Command { kind: Some(kind) });
        });
    }
}

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    config: Config,
}

/// A configuration for tests: any free port, no scrubbing, all space.
pub(crate) fn config(namenode: SocketAddr, volumes: &[&Path], more: &[&str]) -> Config {
    let mut flags: Vec<String> =
        ["x", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"].map(String::from).to_vec();
    for volume in volumes {
        flags.extend(["--volume".to_owned(), volume.to_string_lossy().into_owned()]);
    }
    flags.extend(["--namenode".to_owned(), namenode.to_string()]);
    for (flag, value) in [("--scrub-rate", "0"), ("--reserve", "0"), ("--heartbeat-interval", "50ms")] {
        if !more.contains(&flag) {
            flags.extend([flag.to_owned(), value.to_owned()]);
        }
    }
    flags.extend(more.iter().map(|flag| (*flag).to_owned()));
    Flags::try_parse_from(flags).unwrap().config
}

/// A DataNode with a runtime of its own, so that it can be killed like a process.
pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) data: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) volumes: Vec<PathBuf>,
    flags: Vec<String>,
    shutdown: Shutdown,
    ended: Option<tokio::task::JoinHandle<Result<(), dfs_datanode::run::Error>>>,
    runtime: Option<Runtime>,
    dir: Option<TempDir>,
}

impl Node {
    /// Starts a node with one volume and waits until it has reported.
    pub(crate) async fn start(namenode: &FakeNamenode) -> Self {
        Self::start_with(namenode, 1, &[]).await
    }

    /// Starts a node with this many volumes and further flags.
    pub(crate) async fn start_with(namenode: &FakeNamenode, volumes: usize, flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let paths = (0..volumes).map(|number| dir.path().join(format!("v{number}"))).collect();
        Self::start_on(namenode, paths, flags, Some(dir)).await
    }

    /// Starts a node on these volumes.
    pub(crate) async fn start_on(
        namenode: &FakeNamenode,
        volumes: Vec<PathBuf>,
        flags: &[&str],
        dir: Option<TempDir>,
    ) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let shutdown = Shutdown::new();
        let paths: Vec<&Path> = volumes.iter().map(PathBuf::as_path).collect();
        let config = config(namenode.address, &paths, flags);
        let (stop, registry) = (shutdown.clone(), prometheus::Registry::new());
        let node = runtime.spawn(DataNode::start(config, registry, stop)).await.unwrap().unwrap();
        let (data, http) = (node.data_address(), node.http_address());
        let ended = Some(runtime.spawn(node.ended()));
        let is_this = |request: &v1::HeartbeatRequest| {
            request.node.as_ref().is_some_and(|node| node.data_port == u32::from(data.port()))
        };
        let mut id = None;
        until("the node has reported", || {
            id = namenode.with(|known| {
                let (id, _) = known.heartbeats.iter().find(|(_, request)| is_this(request))?;
                known.reported.contains(id).then_some(*id)
            });
            id.is_some()
        })
        .await;
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let (id, runtime) = (id.unwrap(), Some(runtime));
        Self { id, data, http, volumes, flags, shutdown, ended, runtime, dir }
    }

    /// Stops it in the middle of whatever it does.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }

    /// Stops it cleanly.
    pub(crate) async fn stop(&mut self) {
        self.shutdown.request();
        if let Some(ended) = self.ended.take() {
            tokio::time::timeout(LIMIT, ended).await.unwrap().unwrap().unwrap();
        }
        self.kill();
    }

    /// Starts it again on the same volumes, after a kill or a stop.
    pub(crate) async fn restart(mut self, namenode: &FakeNamenode) -> Self {
        self.kill();
        // What the killed process still does on its disk threads ends soon.
        for volume in &self.volumes {
            until("the volume is free", || {
                let lock = std::fs::File::open(volume).unwrap();
                rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok()
            })
            .await;
        }
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        Self::start_on(namenode, self.volumes.clone(), &flags, self.dir.take()).await
    }

    /// Keeps the directory of its volumes when it goes.
    pub(crate) fn take_dir(&mut self) -> Option<TempDir> {
        self.dir.take()
    }

    /// The node as others are told of it.
    pub(crate) fn endpoint(&self) -> v1::Node {
        let endpoint = Endpoint {
            id: self.id,
            at: Address {
                host: self.data.ip().to_string(),
                data_port: self.data.port(),
                http_port: self.http.port(),
                location: String::new(),
            },
            storage: None,
        };
        endpoint.into()
    }

    /// The files of a chunk's replica, wherever they are.
    pub(crate) fn files(&self, chunk: u64) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let mut directories: Vec<PathBuf> = self.volumes.iter().map(|volume| volume.join("dfs")).collect();
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(directory).into_iter().flatten() {
                let path = entry.unwrap().path();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                if path.is_dir() {
                    directories.push(path);
                } else if name.starts_with(&format!("{chunk}_")) {
                    found.push(path);
                }
            }
        }
        found.sort();
        found
    }

    /// The file with a chunk's data.
    pub(crate) fn data_file(&self, chunk: u64) -> PathBuf {
        let mut files = self.files(chunk);
        files.retain(|file| file.extension().is_some_and(|extension| extension == "chunk"));
        assert_eq!(files.len(), 1, "{files:?}");
        files.remove(0)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A fake NameNode and some nodes with one volume each.
pub(crate) async fn cluster(nodes: usize) -> (FakeNamenode, Vec<Node>) {
    let namenode = FakeNamenode::start().await;
    let mut started = Vec::new();
    for _ in 0..nodes {
        started.push(Node::start(&namenode).await);
    }
    (namenode, started)
}
