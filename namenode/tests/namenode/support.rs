//! A NameNode in this process, and DataNodes that say what a test wants.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser;
use dfs_daemon::Shutdown;
use dfs_namenode::api::cluster::{HeartbeatAnswer, Reception, Registered, Registration, Sender};
use dfs_namenode::api::writing::{NewFile, OpenedBy};
use dfs_namenode::api::{Namenode, Origin};
use dfs_namenode::config::{Cli, Command, Config};
use dfs_namenode::run::{Error, Running};
use dfs_namenode::store::edit::Extent;
use dfs_namenode_core::{Address, NodeStats, Report, Slice, Volume};
use dfs_types::{
    CallId, Caller, ChunkId, ClientId, ClusterId, FileStatus, FsPath, FsResult, GenStamp, InodeId,
    LocatedChunk, Mode, NodeId, ReplicaRecord, ReplicaState, RequestId, StorageType, VolumeHealth, VolumeId,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

/// Longest wait for a condition.
const LIMIT: Duration = Duration::from_mins(1);

pub(crate) const HOLDER: &str = "writer-1";
pub(crate) const CHUNK_SIZE: u64 = 1 << 20;

/// Waits until `check` answers something.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut check: impl FnMut() -> F) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(value) = check().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Settings for tests: free ports, two minimum replicas, everything else as a flag.
pub(crate) fn config(dir: &Path, flags: &[&str]) -> Config {
    let dir = dir.to_str().unwrap();
    let base = ["dfs-namenode", "run", "--dir", dir, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"];
    let more = ["--format-if-empty", "--superuser", "root", "--default-chunk-size", "1048576"];
    let cli = Cli::try_parse_from(base.iter().chain(&more).chain(flags)).unwrap();
    let Command::Run(args) = cli.command else { panic!("not run") };
    Config::new(*args).unwrap()
}

pub(crate) async fn start(dir: &Path, flags: &[&str]) -> Result<Running, Error> {
    Running::start(config(dir, flags), Shutdown::new()).await
}

/// A page of the HTTP port, with its headers.
pub(crate) async fn get(address: SocketAddr, page: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {page} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// A NameNode over a new directory, out of safe mode.
pub(crate) async fn fresh(dir: &Path, flags: &[&str]) -> Running {
    let running = start(dir, flags).await.unwrap();
    writable(running.namenode()).await;
    running
}

pub(crate) async fn writable(namenode: &Namenode) {
    until("the end of safe mode", || async { (!namenode.defaults().safe_mode).then_some(()) }).await;
}

pub(crate) fn path(text: &str) -> FsPath {
    FsPath::parse(text).unwrap()
}

pub(crate) fn caller(user: &str) -> Caller {
    Caller::new(user.to_owned(), vec!["staff".to_owned()]).unwrap()
}

/// A new request of root.
pub(crate) fn origin() -> Origin {
    origin_of("root")
}

/// A new request of a user.
pub(crate) fn origin_of(user: &str) -> Origin {
    static CALLS: AtomicU64 = AtomicU64::new(1);
    let call = CallId(CALLS.fetch_add(1, Ordering::Relaxed));
    let client = ClientId::from_bytes(&[7; 16]).unwrap();
    Origin { request: Some(RequestId { client, call, lowest_unanswered: CallId(0) }), caller: caller(user) }
}

/// What a writer of one file does.
pub(crate) struct Writer<'a> {
    pub(crate) namenode: &'a Namenode,
    pub(crate) file: OpenedBy,
}

impl<'a> Writer<'a> {
    pub(crate) async fn create(namenode: &'a Namenode, at: &str) -> Self {
        let status = create(namenode, at, HOLDER).await.unwrap();
        Self { namenode, file: OpenedBy::new(status.inode, HOLDER.to_owned()).unwrap() }
    }

    pub(crate) async fn add(&self, previous: Option<Extent>) -> FsResult<LocatedChunk> {
        self.namenode.add_chunk(origin(), self.file.clone(), previous, Vec::new(), 0, None).await
    }

    pub(crate) async fn complete(&self, last: Option<Extent>) -> FsResult<FileStatus> {
        self.namenode.complete(origin(), self.file.clone(), last, None).await
    }

    pub(crate) fn inode(&self) -> InodeId {
        self.file.inode
    }
}

pub(crate) async fn create(namenode: &Namenode, at: &str, holder: &str) -> FsResult<FileStatus> {
    let file = NewFile {
        path: path(at),
        holder: holder.to_owned(),
        mode: Mode::FILE.into(),
        replication: Some(3),
        chunk_size: Some(CHUNK_SIZE),
        overwrite: false,
        parents: true,
        temporary: false,
    };
    namenode.create(origin(), file).await
}

pub(crate) fn extent(chunk: &LocatedChunk, length: u64) -> Extent {
    Extent { chunk: chunk.chunk, generation: chunk.generation, length }
}

/// A DataNode that only talks.
pub(crate) struct FakeNode {
    pub(crate) sender: Sender,
    pub(crate) stats: NodeStats,
    pub(crate) replicas: BTreeMap<ChunkId, ReplicaRecord>,
    /// Highest term of a leader it has heard of.
    fence: AtomicU64,
    /// How many changes it has told.
    told: AtomicU64,
}

impl FakeNode {
    pub(crate) fn new(number: u8) -> Self {
        let stats = NodeStats {
            address: Address {
                host: format!("10.0.0.{number}"),
                data_port: 9_001,
                http_port: 9_864,
                location: String::new(),
            },
            machine: String::new(),
            volumes: vec![Volume {
                id: VolumeId::from_bytes(&[number; 16]).unwrap(),
                path: "/data".to_owned(),
                file_system: None,
                storage: StorageType::Disk,
                health: VolumeHealth::Healthy,
                capacity: 100 << 30,
                used: 0,
                available: 90 << 30,
                replicas: 0,
            }],
            active_writes: 0,
            active_reads: 0,
            active_copies: 0,
            stopping: false,
            as_of: 0,
        };
        let node = NodeId::from_bytes(&[number; 16]).unwrap();
        let sender = Sender { node, incarnation: u128::from(number) };
        Self { sender, stats, replicas: BTreeMap::new(), fence: AtomicU64::new(0), told: AtomicU64::new(0) }
    }

    pub(crate) fn id(&self) -> NodeId {
        self.sender.node
    }

    pub(crate) async fn register(
        &self,
        namenode: &Namenode,
        cluster: Option<ClusterId>,
    ) -> FsResult<Registered> {
        namenode
            .register(Registration {
                cluster,
                sender: self.sender,
                version: "test".to_owned(),
                stats: self.stats.clone(),
            })
            .await
    }

    pub(crate) async fn heartbeat(&self, namenode: &Namenode) -> HeartbeatAnswer {
        let answer = namenode.heartbeat(self.sender, self.fence(), self.stats.clone()).await.unwrap();
        self.fence.fetch_max(answer.leads.unwrap_or_default(), Ordering::Relaxed);
        answer
    }

    fn fence(&self) -> u64 {
        self.fence.load(Ordering::Relaxed)
    }

    pub(crate) async fn report(&self, namenode: &Namenode) -> Reception {
        self.report_slice(namenode, ChunkId(0), ChunkId(u64::MAX)).await
    }

    /// Tells what it has of the chunks with these ids.
    pub(crate) async fn report_slice(&self, namenode: &Namenode, first: ChunkId, last: ChunkId) -> Reception {
        let replicas = self.replicas.range(first..=last).map(|(_, record)| *record).collect();
        let slice = Slice { first, last, fence: self.fence(), replicas };
        self.tell(namenode, Vec::new(), Some(slice)).await.unwrap()
    }

    pub(crate) async fn tell(
        &self,
        namenode: &Namenode,
        changes: Vec<(ReplicaRecord, bool)>,
        slice: Option<Slice>,
    ) -> FsResult<Reception> {
        let after = self.told.fetch_add(changes.len() as u64, Ordering::Relaxed);
        namenode.take_report(self.sender, Report { after, changes, slice }).await
    }

    /// Registers and reports all replicas.
    pub(crate) async fn join(&self, namenode: &Namenode) {
        self.register(namenode, None).await.unwrap();
        self.heartbeat(namenode).await;
        assert_eq!(self.report(namenode).await, Reception::default());
    }

    /// Has a replica in this state from now on, and says so.
    pub(crate) async fn hold(
        &mut self,
        namenode: &Namenode,
        (chunk, generation): (ChunkId, GenStamp),
        length: u64,
        state: ReplicaState,
    ) {
        let volume = self.stats.volumes.first().map(|volume| volume.id);
        let record = ReplicaRecord { chunk, generation, length, state, volume };
        self.replicas.insert(chunk, record);
        let reception = self.tell(namenode, vec![(record, false)], None).await.unwrap();
        assert!(!reception.register);
    }

    pub(crate) async fn finalize(&mut self, namenode: &Namenode, chunk: &LocatedChunk, length: u64) {
        self.hold(namenode, (chunk.chunk, chunk.generation), length, ReplicaState::Finalized).await;
    }

    /// What it has of its chunks from now on, as a power cut leaves it; told with the next full report.
    pub(crate) fn now_has(&mut self, length: u64, state: ReplicaState) {
        for replica in self.replicas.values_mut() {
            (replica.length, replica.state) = (length, state);
        }
    }

    /// Is a new process with the same replicas.
    pub(crate) fn restart(&mut self) {
        self.sender.incarnation += 1_000;
        (self.fence, self.told) = (AtomicU64::new(0), AtomicU64::new(0));
    }
}

/// Nodes that registered and have no replica.
pub(crate) async fn nodes(namenode: &Arc<Namenode>, count: u8) -> Vec<FakeNode> {
    let nodes: Vec<FakeNode> = (1..=count).map(FakeNode::new).collect();
    for node in &nodes {
        node.join(namenode).await;
    }
    nodes
}

/// Writes a file of one chunk on all nodes of its pipeline.
pub(crate) async fn put(namenode: &Namenode, nodes: &mut [FakeNode], at: &str, length: u64) -> LocatedChunk {
    let writer = Writer::create(namenode, at).await;
    let chunk = writer.add(None).await.unwrap();
    for node in nodes.iter_mut().filter(|node| chunk.nodes.iter().any(|target| target.id == node.id())) {
        node.finalize(namenode, &chunk, length).await;
    }
    writer.complete(Some(extent(&chunk, length))).await.unwrap();
    chunk
}
