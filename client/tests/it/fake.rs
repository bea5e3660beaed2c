//! A NameNode in memory, and the cluster around it.

use std::collections::{BTreeMap, HashMap};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use dfs_client::{Builder, Connector, Dfs};
use dfs_proto::convert::{to_status, wire_layout};
use dfs_proto::v1;
use dfs_types::{Address, Endpoint, ErrorCode, FsError, FsPath, Layout, NodeId};
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt as _};
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::server::{Router, TcpIncoming};
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status};
use tower::service_fn;

use crate::datanode::{DataNode, Faults, Node, Replica, serve};
use crate::group::{Administration, Gate, Member, Mode};

pub(crate) const CHUNK: u64 = 1 << 20;

#[derive(Debug, Clone)]
pub(crate) struct Chunk {
    pub(crate) id: u64,
    pub(crate) generation: u64,
    pub(crate) length: Option<u64>,
    pub(crate) readable: u64,
    pub(crate) offset: u64,
    /// Where in the chunk the file's bytes begin.
    pub(crate) begins_at: u64,
    /// It has a layout that the client does not know.
    pub(crate) lies_otherwise: bool,
    pub(crate) nodes: Vec<NodeId>,
}

#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) inode: u64,
    pub(crate) open: bool,
    pub(crate) chunk_size: u64,
    pub(crate) replication: u32,
    pub(crate) chunks: Vec<Chunk>,
}

/// State of the NameNode.
#[derive(Debug, Default)]
pub(crate) struct Names {
    pub(crate) files: BTreeMap<String, File>,
    counter: u64,
    /// Answers to creations by call, for retries.
    created: HashMap<(Vec<u8>, u64), v1::FileStatus>,
    /// Every creation's call number, retries included.
    pub(crate) create_calls: Vec<u64>,
    /// So many answers to creations get lost after the work is done.
    pub(crate) lose_create_answers: u32,
    /// The next creations fail like this.
    pub(crate) create_errors: Vec<ErrorCode>,
    /// How long a creation takes.
    pub(crate) create_takes: Duration,
    pub(crate) bad: Vec<(u64, NodeId)>,
    pub(crate) renewals: u64,
    /// Locations that `locate` leaves out the next so many times.
    pub(crate) hide_locations: u32,
    /// Most chunks in one answer; 0: all.
    pub(crate) located_at_once: usize,
}

#[derive(Clone)]
struct NameNode {
    member: Arc<Member>,
    names: Arc<Mutex<Names>>,
    nodes: Arc<Vec<Arc<Node>>>,
    listed: Arc<Mutex<Vec<Arc<Member>>>>,
}

pub(crate) struct Cluster {
    pub(crate) address: String,
    pub(crate) names: Arc<Mutex<Names>>,
    pub(crate) nodes: Arc<Vec<Arc<Node>>>,
    /// The NameNodes, of which the first leads at first.
    pub(crate) members: Vec<Arc<Member>>,
    /// What a backup sends.
    pub(crate) backup: Arc<Mutex<Vec<Result<v1::BackupPart, Status>>>>,
    group: Group,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

pub(crate) fn path(text: &str) -> FsPath {
    FsPath::parse(text).unwrap()
}

/// Bytes that differ from each other everywhere.
pub(crate) fn content(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .collect()
}

/// What all NameNodes of a cluster share.
#[derive(Clone)]
struct Group {
    names: Arc<Mutex<Names>>,
    nodes: Arc<Vec<Arc<Node>>>,
    listed: Arc<Mutex<Vec<Arc<Member>>>>,
    backup: Arc<Mutex<Vec<Result<v1::BackupPart, Status>>>>,
}

impl Group {
    /// What one of them answers with.
    fn router(&self, member: &Arc<Member>) -> Router {
        let Self { names, nodes, listed, backup } = self.clone();
        let service = NameNode { member: Arc::clone(member), names, nodes, listed: Arc::clone(&listed) };
        let administration = Administration { member: Arc::clone(member), members: listed, backup };
        let namespace = v1::namespace_server::NamespaceServer::new(service);
        let group = v1::namenodes_server::NamenodesServer::new(administration);
        Server::builder()
            .add_service(Gate { inner: namespace, member: Arc::clone(member) })
            .add_service(Gate { inner: group, member: Arc::clone(member) })
    }
}

/// The way to the NameNodes without a network: nothing on it waits for anything but the other end.
pub(crate) struct InMemory(Group);

impl std::fmt::Debug for InMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InMemory").finish_non_exhaustive()
    }
}

impl Connector for InMemory {
    fn connect<'a>(
        &'a self,
        endpoint: tonic::transport::Endpoint,
        address: &'a str,
    ) -> BoxFuture<'a, Result<Channel, tonic::transport::Error>> {
        Box::pin(async move {
            let (ours, theirs) = tokio::io::duplex(1 << 16);
            let served = stream::iter([Ok::<_, std::io::Error>(theirs)]).chain(stream::pending());
            let listed = self.0.listed.lock().unwrap().clone();
            let member = listed.iter().find(|member| member.address == address).unwrap();
            tokio::spawn(self.0.router(member).serve_with_incoming(served));
            let mut ours = Some(ours);
            let open = service_fn(move |_| {
                let taken = ours.take().ok_or_else(|| std::io::Error::other("the connection is used up"));
                async move { taken.map(TokioIo::new) }
            });
            endpoint.connect_with_connector(open).await
        })
    }
}

impl Cluster {
    /// One NameNode and `count` DataNodes.
    pub(crate) async fn start(count: u8) -> Self {
        Self::start_group(count, 1).await
    }

    /// Several NameNodes, which share one namespace, and `count` DataNodes.
    pub(crate) async fn start_group(count: u8, namenodes: u64) -> Self {
        let mut listeners = Vec::new();
        let mut nodes = Vec::new();
        for number in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let endpoint = Endpoint {
                id: NodeId::from_bytes(&[number + 1; 16]).unwrap(),
                at: Address {
                    host: "127.0.0.1".into(),
                    data_port: listener.local_addr().unwrap().port(),
                    http_port: 1,
                    location: String::new(),
                },
                storage: None,
            };
            listeners.push(listener);
            nodes.push(Arc::new(Node {
                endpoint,
                faults: Mutex::default(),
                replicas: Mutex::default(),
                packets: Mutex::default(),
                reads: Mutex::default(),
            }));
        }
        let nodes = Arc::new(nodes);
        let mut tasks = Vec::new();
        for (listener, me) in listeners.into_iter().zip(nodes.iter()) {
            let node = DataNode { me: Arc::clone(me), all: Arc::clone(&nodes) };
            tasks.push(AbortOnDropHandle::new(tokio::spawn(serve(listener, node))));
        }
        let names = Arc::new(Mutex::new(Names { counter: 1_000, ..Names::default() }));
        let (mut listeners, mut members) = (Vec::new(), Vec::new());
        for id in 1..=namenodes {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            members.push(Arc::new(Member {
                id,
                address: listener.local_addr().unwrap().to_string(),
                mode: Mutex::new(Mode::Follows(None)),
                applied: Mutex::new(1),
                calls: Mutex::default(),
                reads: Mutex::default(),
                connections: Arc::default(),
            }));
            listeners.push(listener);
        }
        members[0].set(Mode::Leads);
        let group = Group {
            names: Arc::clone(&names),
            nodes: Arc::clone(&nodes),
            listed: Arc::new(Mutex::new(members.clone())),
            backup: Arc::default(),
        };
        for (listener, member) in listeners.into_iter().zip(&members) {
            let router = group.router(member);
            let connections = Arc::clone(&member.connections);
            let incoming = TcpIncoming::from(listener)
                .with_nodelay(Some(true))
                .inspect(move |_| *connections.lock().unwrap() += 1);
            tasks.push(AbortOnDropHandle::new(tokio::spawn(async move {
                router.serve_with_incoming(incoming).await.unwrap();
            })));
        }
        let backup = Arc::clone(&group.backup);
        Self { address: members[0].address.clone(), names, nodes, members, backup, group, _tasks: tasks }
    }

    /// Lets this member lead; the others know of it if `told`.
    pub(crate) fn elect(&self, leader: usize, told: bool) {
        let address = &self.members[leader].address;
        for (number, member) in self.members.iter().enumerate() {
            let follows = || Mode::Follows(told.then(|| address.clone()));
            member.set(if number == leader { Mode::Leads } else { follows() });
        }
    }

    pub(crate) fn builder(&self) -> Builder {
        Dfs::builder()
            .namenode(&self.address)
            .user("tester")
            .groups(vec![])
            .transfer_budget(Duration::from_secs(3))
    }

    /// The way to the NameNodes without a network.
    pub(crate) fn in_memory(&self) -> InMemory {
        InMemory(self.group.clone())
    }

    pub(crate) async fn connect(&self) -> Dfs {
        self.builder().connect().await.unwrap()
    }

    pub(crate) fn set(&self, node: usize, faults: Faults) {
        *self.nodes[node].faults.lock().unwrap() = faults;
    }

    pub(crate) fn file(&self, path: &str) -> Option<File> {
        self.names.lock().unwrap().files.get(path).cloned()
    }

    /// Good replicas of a chunk: finalized, of its generation and length, on living nodes.
    pub(crate) fn good(&self, chunk: &Chunk) -> Vec<Replica> {
        let living = self.nodes.iter().filter(|node| !node.faults.lock().unwrap().dead);
        living
            .filter_map(|node| node.replicas.lock().unwrap().get(&chunk.id).cloned())
            .filter(|replica| {
                replica.finalized
                    && replica.generation == chunk.generation
                    && Some(replica.data.len() as u64) == chunk.length
            })
            .collect()
    }

    /// Checks that a closed file has this content in at least `replicas` replicas of each chunk.
    pub(crate) fn assert_stored(&self, path: &str, content: &[u8], replicas: usize) {
        let file = self.file(path).expect("the file exists");
        assert!(!file.open);
        let mut stored = Vec::new();
        for chunk in &file.chunks {
            let good = self.good(chunk);
            assert!(good.len() >= replicas, "chunk {chunk:?} has {} good replicas", good.len());
            assert!(good.iter().all(|replica| replica.data == good[0].data));
            stored.extend_from_slice(&good[0].data);
        }
        assert!(stored == content, "{} bytes are stored, {} were written", stored.len(), content.len());
    }
}

fn fail<T>(code: ErrorCode, message: &str) -> Result<T, Status> {
    Err(to_status(FsError::new(code, message)))
}

fn ids(bytes: &[Vec<u8>]) -> Vec<NodeId> {
    bytes.iter().map(|id| NodeId::from_bytes(id).unwrap()).collect()
}

impl Names {
    fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    fn by_inode(&mut self, inode: u64) -> Result<&mut File, Status> {
        let found = self.files.values_mut().find(|file| file.inode == inode && file.open);
        found.ok_or_else(|| to_status(FsError::new(ErrorCode::LeaseConflict, "not open")))
    }

    fn rename(&mut self, inode: u64, to: String) {
        let from = self.files.iter().find(|(_, file)| file.inode == inode).map(|(from, _)| from.clone());
        if let Some(file) = from.and_then(|from| self.files.remove(&from)) {
            self.files.insert(to, file);
        }
    }

    /// One of the last two chunks, which a writer may change.
    fn recent(&mut self, inode: u64, chunk: u64) -> Result<&mut Chunk, Status> {
        let found = self.by_inode(inode)?.chunks.iter_mut().rev().take(2).find(|found| found.id == chunk);
        found.ok_or_else(|| to_status(FsError::new(ErrorCode::StaleChunk, "not one of the last two")))
    }

    fn commit(&mut self, inode: u64, extent: Option<v1::ChunkExtent>) -> Result<u64, Status> {
        let file = self.by_inode(inode)?;
        match (file.chunks.last_mut(), extent) {
            (None, None) => Ok(0),
            (Some(last), Some(extent)) if last.id == extent.chunk && last.generation == extent.generation => {
                assert!(extent.length > 0 && extent.length <= file.chunk_size);
                assert!(last.length.is_none_or(|length| length == extent.length));
                last.length = Some(extent.length);
                last.readable = extent.length;
                Ok(last.offset + extent.length)
            }
            (_, _) => fail(ErrorCode::StaleChunk, "not the last chunk as it is"),
        }
    }
}

fn file_status(file: &File) -> v1::FileStatus {
    let length = file.chunks.last().map_or(0, |last| last.offset + last.readable);
    v1::FileStatus {
        inode: file.inode,
        kind: v1::FileKind::File.into(),
        owner: "tester".into(),
        group: "tester".into(),
        mode: 0o644,
        length,
        replication: file.replication,
        chunk_size: file.chunk_size,
        open: file.open,
        ..v1::FileStatus::default()
    }
}

impl NameNode {
    fn node(&self, id: NodeId) -> v1::Node {
        let node = self.nodes.iter().find(|node| node.endpoint.id == id).unwrap();
        node.endpoint.clone().into()
    }

    fn choose(&self, count: usize, not: &[NodeId]) -> Vec<NodeId> {
        let ids = self.nodes.iter().map(|node| node.endpoint.id);
        ids.filter(|id| !not.contains(id)).take(count).collect()
    }

    fn located(&self, index: usize, chunk: &Chunk) -> v1::LocatedChunk {
        v1::LocatedChunk {
            chunk_offset: chunk.begins_at,
            layout: (!chunk.lies_otherwise).then(|| wire_layout(Layout::Replicated { replicas: 3 })),
            chunk: chunk.id,
            generation: chunk.generation,
            index: index as u64,
            offset: chunk.offset,
            length: chunk.length.unwrap_or(chunk.readable),
            nodes: chunk.nodes.iter().map(|id| self.node(*id)).collect(),
            under_construction: chunk.length.is_none(),
            corrupt: false,
        }
    }
}

macro_rules! absent {
    ($($method:ident: $request:ident -> $reply:ident),* $(,)?) => {$(
        // As `async_trait` would write it: it does not see what a macro makes.
        fn $method<'life0, 'async_trait>(
            &'life0 self,
            _: Request<v1::$request>,
        ) -> Pin<Box<dyn Future<Output = Result<Response<v1::$reply>, Status>> + Send + 'async_trait>>
        where
            'life0: 'async_trait,
            Self: 'async_trait,
        {
            Box::pin(async { Err(Status::unimplemented("no test needs it")) })
        }
    )*};
}

#[tonic::async_trait]
impl v1::namespace_server::Namespace for NameNode {
    async fn get_defaults(
        &self,
        _: Request<v1::GetDefaultsRequest>,
    ) -> Result<Response<v1::GetDefaultsReply>, Status> {
        Ok(Response::new(v1::GetDefaultsReply {
            cluster: vec![9; 16],
            chunk_size: CHUNK,
            replication: 3,
            min_replicas: 2,
            safe_mode: false,
            namenodes: self.listed.lock().unwrap().iter().map(|member| member.address.clone()).collect(),
        }))
    }

    async fn stat(&self, request: Request<v1::StatRequest>) -> Result<Response<v1::StatReply>, Status> {
        let request = request.into_inner();
        self.member.check_read(request.context)?;
        match self.names.lock().unwrap().files.get(&request.path) {
            Some(file) => Ok(Response::new(v1::StatReply { status: Some(file_status(file)) })),
            None => fail(ErrorCode::NotFound, "no such file"),
        }
    }

    async fn list(&self, request: Request<v1::ListRequest>) -> Result<Response<v1::ListReply>, Status> {
        let request = request.into_inner();
        self.member.check_read(request.context)?;
        let names = self.names.lock().unwrap();
        let mut entries: Vec<_> = names
            .files
            .iter()
            .map(|(path, file)| v1::DirectoryEntry {
                name: path[1..].into(),
                status: Some(file_status(file)),
            })
            .filter(|entry| entry.name > request.start_after)
            .collect();
        let more = entries.len() > 2;
        entries.truncate(2);
        Ok(Response::new(v1::ListReply { entries, more }))
    }

    async fn locate(&self, request: Request<v1::LocateRequest>) -> Result<Response<v1::LocateReply>, Status> {
        let request = request.into_inner();
        self.member.check_read(request.context)?;
        let mut names = self.names.lock().unwrap();
        let hide = names.hide_locations > 0;
        names.hide_locations = names.hide_locations.saturating_sub(1);
        let Some(file) = names.files.get(&request.path) else {
            return fail(ErrorCode::NotFound, "no such file");
        };
        let end = request.offset + request.length;
        let chunks = file
            .chunks
            .iter()
            .enumerate()
            .filter(|(_, chunk)| {
                chunk.offset < end && chunk.length.is_none_or(|length| chunk.offset + length > request.offset)
            })
            .take(if names.located_at_once == 0 { usize::MAX } else { names.located_at_once })
            .map(|(index, chunk)| self.located(index, chunk))
            .map(|chunk| if hide { v1::LocatedChunk { nodes: vec![], ..chunk } } else { chunk })
            .collect();
        Ok(Response::new(v1::LocateReply { status: Some(file_status(file)), chunks }))
    }

    async fn delete(&self, request: Request<v1::DeleteRequest>) -> Result<Response<v1::DeleteReply>, Status> {
        let existed = self.names.lock().unwrap().files.remove(&request.into_inner().path).is_some();
        Ok(Response::new(v1::DeleteReply { existed }))
    }

    async fn create(&self, request: Request<v1::CreateRequest>) -> Result<Response<v1::StatusReply>, Status> {
        let request = request.into_inner();
        let id = request.context.unwrap().id.unwrap();
        let takes = self.names.lock().unwrap().create_takes;
        tokio::time::sleep(takes).await;
        let mut names = self.names.lock().unwrap();
        names.create_calls.push(id.call);
        if let Some(code) = names.create_errors.pop() {
            return fail(code, "not now");
        }
        let key = (id.client, id.call);
        if !names.created.contains_key(&key) {
            if names.files.contains_key(&request.path) && !request.overwrite {
                return fail(ErrorCode::AlreadyExists, "it exists");
            }
            let file = File {
                inode: names.next(),
                open: true,
                chunk_size: request.chunk_size.unwrap_or(CHUNK),
                replication: request.replication.unwrap_or(3),
                chunks: Vec::new(),
            };
            names.created.insert(key.clone(), file_status(&file));
            names.files.insert(request.path, file);
        }
        if names.lose_create_answers > 0 {
            names.lose_create_answers -= 1;
            return Err(Status::unavailable("the connection broke"));
        }
        Ok(Response::new(v1::StatusReply { status: names.created.get(&key).cloned() }))
    }

    async fn add_chunk(
        &self,
        request: Request<v1::AddChunkRequest>,
    ) -> Result<Response<v1::LocatedChunk>, Status> {
        let request = request.into_inner();
        let exclude = ids(&request.exclude);
        let mut names = self.names.lock().unwrap();
        let replication = names.by_inode(request.inode)?.replication as usize;
        let nodes = self.choose(replication, &exclude);
        if nodes.len() < replication.min(2) {
            return fail(ErrorCode::NotEnoughNodes, "too few nodes");
        }
        let offset = names.commit(request.inode, request.previous)?;
        let (id, generation) = (names.next(), names.next());
        let file = names.by_inode(request.inode)?;
        file.chunks.push(Chunk {
            id,
            generation,
            length: None,
            readable: 0,
            offset,
            begins_at: 0,
            lies_otherwise: false,
            nodes,
        });
        let index = file.chunks.len() - 1;
        Ok(Response::new(self.located(index, &file.chunks[index])))
    }

    async fn abandon_chunk(
        &self,
        request: Request<v1::AbandonChunkRequest>,
    ) -> Result<Response<v1::Empty>, Status> {
        let request = request.into_inner();
        let mut names = self.names.lock().unwrap();
        let file = names.by_inode(request.inode)?;
        match file.chunks.pop() {
            Some(last) if last.id == request.chunk && last.readable == 0 => Ok(Response::new(v1::Empty {})),
            other => panic!("{} is not the last, unread chunk: {other:?}", request.chunk),
        }
    }

    async fn commit_length(
        &self,
        request: Request<v1::CommitLengthRequest>,
    ) -> Result<Response<v1::Empty>, Status> {
        let request = request.into_inner();
        let extent = request.extent.unwrap();
        let mut names = self.names.lock().unwrap();
        let chunk = names.recent(request.inode, extent.chunk)?;
        if chunk.generation != extent.generation {
            return fail(ErrorCode::StaleChunk, "another generation");
        }
        chunk.readable = chunk.readable.max(extent.length);
        Ok(Response::new(v1::Empty {}))
    }

    async fn complete(
        &self,
        request: Request<v1::CompleteRequest>,
    ) -> Result<Response<v1::StatusReply>, Status> {
        let request = request.into_inner();
        let mut names = self.names.lock().unwrap();
        names.commit(request.inode, request.last)?;
        if let Some(publication) = request.publish {
            names.rename(request.inode, publication.to);
        }
        let file = names.by_inode(request.inode)?;
        file.open = false;
        Ok(Response::new(v1::StatusReply { status: Some(file_status(file)) }))
    }

    async fn discard(&self, request: Request<v1::DiscardRequest>) -> Result<Response<v1::Empty>, Status> {
        let inode = request.into_inner().inode;
        self.names.lock().unwrap().files.retain(|_, file| file.inode != inode);
        Ok(Response::new(v1::Empty {}))
    }

    async fn new_generation(
        &self,
        request: Request<v1::NewGenerationRequest>,
    ) -> Result<Response<v1::NewGenerationReply>, Status> {
        let request = request.into_inner();
        let mut names = self.names.lock().unwrap();
        names.recent(request.inode, request.chunk)?;
        Ok(Response::new(v1::NewGenerationReply { generation: names.next() }))
    }

    async fn update_pipeline(
        &self,
        request: Request<v1::UpdatePipelineRequest>,
    ) -> Result<Response<v1::Empty>, Status> {
        let request = request.into_inner();
        let extent = request.extent.unwrap();
        let mut names = self.names.lock().unwrap();
        let chunk = names.recent(request.inode, extent.chunk)?;
        assert!(extent.generation > chunk.generation);
        chunk.generation = extent.generation;
        chunk.nodes = ids(&request.nodes);
        Ok(Response::new(v1::Empty {}))
    }

    async fn additional_nodes(
        &self,
        request: Request<v1::AdditionalNodesRequest>,
    ) -> Result<Response<v1::AdditionalNodesReply>, Status> {
        let request = request.into_inner();
        let mut not = ids(&request.existing);
        not.extend(ids(&request.exclude));
        let nodes = self.choose(request.count as usize, &not);
        if nodes.is_empty() {
            return fail(ErrorCode::NotEnoughNodes, "no further node");
        }
        let nodes = nodes.into_iter().map(|id| self.node(id)).collect();
        Ok(Response::new(v1::AdditionalNodesReply { nodes }))
    }

    async fn renew_lease(&self, _: Request<v1::RenewLeaseRequest>) -> Result<Response<v1::Empty>, Status> {
        self.names.lock().unwrap().renewals += 1;
        Ok(Response::new(v1::Empty {}))
    }

    async fn report_bad_replicas(
        &self,
        request: Request<v1::ReportBadReplicasRequest>,
    ) -> Result<Response<v1::Empty>, Status> {
        let mut names = self.names.lock().unwrap();
        for bad in request.into_inner().replicas {
            names.bad.push((bad.chunk, NodeId::from_bytes(&bad.node).unwrap()));
        }
        Ok(Response::new(v1::Empty {}))
    }

    absent! {
        content_summary: ContentSummaryRequest -> ContentSummaryReply,
        fs_stats: FsStatsRequest -> FsStatsReply,
        mkdir: MkdirRequest -> StatusReply,
        rename: RenameRequest -> Empty,
        move_to_trash: MoveToTrashRequest -> MoveToTrashReply,
        get_trash: GetTrashRequest -> GetTrashReply,
        list_trash: ListTrashRequest -> ListTrashReply,
        set_trash: SetTrashRequest -> Empty,
        set_quota: SetQuotaRequest -> Empty,
        set_replication: SetReplicationRequest -> Empty,
        set_mode: SetModeRequest -> Empty,
        set_owner: SetOwnerRequest -> Empty,
        set_times: SetTimesRequest -> Empty,
        touch: TouchRequest -> Empty,
        get_acl: GetAclRequest -> GetAclReply,
        change_acl: ChangeAclRequest -> Empty,
        get_xattrs: GetXattrsRequest -> GetXattrsReply,
        set_xattr: SetXattrRequest -> Empty,
        remove_xattr: RemoveXattrRequest -> Empty,
        append: AppendRequest -> AppendReply,
        truncate: TruncateRequest -> Empty,
        concat: ConcatRequest -> Empty,
        release_lease: ReleaseLeaseRequest -> Empty,
        recover_lease: RecoverLeaseRequest -> RecoverLeaseReply,
    }
}
