//! The namespace: which files and directories exist, which chunks a file has, and who writes it; in SQLite.
//!
//! * [`directory`]: formatting, locking and identifying the directory it is in.
//! * [`edit`]: every change as a value.
//! * [`group`]: the replicated log that edits go through; `writer` applies what is committed, `apply` turns it into SQL.
//! * `settings`: what administrators decided: duties of DataNodes, the balancer, safe mode.
//! * `space`, `disk`: room on the disk, and what this NameNode says of it.
//! * `backup`: copies of the database for members that are far behind, and for people.
//! * `reader`: a pool of threads for queries (`snapshot`, `walk`), beside a `cache` that serves `stat` in place.
//!
//! Where replicas are is not stored: DataNodes report it.

mod access;
mod apply;
pub(crate) mod backup;
mod cache;
mod checkpoint;
mod chunk;
mod column;
mod counters;
pub mod directory;
mod disk;
pub mod edit;
mod format;
pub mod group;
mod inode;
mod lease;
mod origin;
mod part;
mod pipeline;
mod position;
mod reader;
mod record;
mod registry;
mod removal;
mod resolve;
pub mod schema;
mod settings;
mod snapshot;
mod space;
mod stop;
#[cfg(test)]
mod tests;
mod trash;
mod usage;
mod walk;
mod writer;
mod xattr;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use dfs_types::{
    AclStatus, Caller, ChunkId, ChunkOrigin, ClusterId, ClusterSettings, ContentSummary, ErrorCode, Extent,
    FileStatus, FsError, FsPath, FsResult, GenStamp, InodeId, Layout, Millis, NodeDuty, NodeId, Trash,
    TrashContent, Xattr, XattrName,
};
use rusqlite::Connection;

use access::Authority;
use apply::State;
pub(crate) use apply::broken_edits;
use cache::Cache;
use column::number;
use dfs_namenode_raft::FileLog;
use directory::Directory;
pub use disk::{Disk, DiskState};
use edit::{APPENDS, Balancing, Change, Outcome, Proposal, QUOTAS, TRASHES};
pub(crate) use format::known_level;
use group::Group;
pub use part::PartFile;
pub use position::Members;
use reader::Readers;
pub use registry::KnownNode;
use resolve::resolve;
pub use space::Space;
use space::{Lookout, Room};
use stop::Stop;
pub use trash::TrashReport;
use writer::Writer;

/// Takes what edits did, in order, before their proposers are answered. Runs on the writer's thread, so everything
/// else waits for it; it must not wait for the store.
pub type Sink = Box<dyn FnMut(Vec<Change>) + Send>;

/// Told of every commit.
pub trait Observer: Send + Sync {
    /// `edits` proposals were applied in one transaction, which took `took`.
    fn on_commit(&self, edits: usize, took: Duration);

    /// Entries were written to the log and synced, which took `took`.
    fn on_sync(&self, took: Duration);
}

/// Why a store can't be opened.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database can't be used.
    #[error(transparent)]
    Database(#[from] schema::Error),
    /// What the database holds can't be read.
    #[error(
        "reading the namespace database {path} failed: check the disk, and replace this NameNode \
         (docs/operations/namenodes.md) or restore a backup"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rusqlite::Error,
    },
    /// The database was put here from another directory.
    #[error(
        "{path} is the namespace of cluster {found} and not of {expected}, as VERSION beside it says: put the files of one \
         directory together again"
    )]
    OtherCluster {
        /// The database.
        path: PathBuf,
        /// Its cluster.
        found: ClusterId,
        /// The directory's.
        expected: ClusterId,
    },
    /// The system gives no thread.
    #[error("starting a thread of the namespace failed: raise the limit of threads")]
    Thread(#[source] io::Error),
    /// The disk can't be looked at.
    #[error("looking at the disk of the directory failed: check that it is mounted")]
    Disk(#[source] io::Error),
    /// The log can't be used.
    #[error(transparent)]
    Log(#[from] dfs_namenode_raft::log::Error),
    /// Log and database do not belong together: one of them was lost or is from another time.
    #[error(
        "the log has entries {first} to {last} and the database is at entry {applied}: replace this NameNode: remove its \
         directory and start it again with the addresses of the others, or restore a backup"
    )]
    Apart {
        /// First entry of the log.
        first: u64,
        /// Last entry of the log.
        last: u64,
        /// Entry applied last.
        applied: u64,
    },
    /// The member can't begin.
    #[error("the state of this member of the group makes no sense ({0}): replace this NameNode")]
    Group(String),
}

/// How a store works.
#[derive(Clone)]
pub struct Options {
    /// The user who may do anything: the one who runs the NameNode. Owns the root of a new namespace.
    pub superuser: String,
    /// Threads that read.
    pub readers: usize,
    /// Inodes kept in memory, some 250 bytes each.
    pub cache_entries: usize,
    /// Most proposals in one entry of the log, and about as many in one transaction.
    pub max_batch: usize,
    /// Free bytes of the disk below which the namespace may not grow; `None`: [`Space::usual_min_free`].
    pub min_free: Option<u64>,
    /// How the group of NameNodes works.
    pub group: group::Options,
    /// Told of every commit.
    pub observer: Option<Arc<dyn Observer>>,
}

/// A chunk of a file, as far as the file has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkRow {
    /// The chunk.
    pub chunk: ChunkId,
    /// Its version.
    pub generation: GenStamp,
    /// Its number within the file, from 0.
    pub index: u64,
    /// Where in the file it begins, in bytes.
    pub offset: u64,
    /// Where in the chunk the file's bytes begin.
    pub chunk_offset: u64,
    /// Its length in bytes; `None` while it is being written.
    pub length: Option<u64>,
    /// Bytes of it that readers may count on; all of them once the length is known.
    pub readable: u64,
    /// How the chunk's bytes lie.
    pub layout: Layout,
}

/// A file being written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenFile {
    /// Its attributes.
    pub status: FileStatus,
    /// Its chunks in order, without those that it had before its writer began to append.
    pub chunks: Vec<ChunkRow>,
}

/// The open file that a chunk belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenOwner {
    /// The chunk.
    pub chunk: ChunkId,
    /// Where the file is.
    pub path: FsPath,
    /// Since which Unix time its lease is held by who holds it now.
    pub held_since: Millis,
}

/// A file met by [`Store::walk_files`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalkedFile {
    /// Where it is.
    pub path: FsPath,
    /// Its attributes.
    pub status: FileStatus,
    /// All its chunks, in order.
    pub chunks: Vec<ChunkRow>,
    /// Since which Unix time its lease is held by who holds it now; `None` if it is closed.
    pub held_since: Option<Millis>,
}

/// Numbers of the whole namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Files; those of deleted trees count until they are reaped.
    pub files: u64,
    /// Directories, the root included; those of deleted trees count until they are reaped.
    pub directories: u64,
    /// Files being written.
    pub open_files: u64,
    /// The id the next chunk will get.
    pub next_chunk: ChunkId,
    /// Whether deleted trees wait to be reaped.
    pub garbage: bool,
}

/// What the writer did since the start, and in the namespace's whole life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metrics {
    /// Batches committed since the start.
    pub commits: u64,
    /// Edits that changed something, since the directory was formatted.
    pub edits: u64,
}

/// A handle of the namespace; cheap to clone.
///
/// Dropping the last one finishes what is queued and waits for the threads, some milliseconds: do it where blocking
/// is allowed.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
}

/// The members of the group and where they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Residences {
    /// Who belongs to it.
    pub members: Members,
    /// `HOST:PORT` by id.
    pub addresses: BTreeMap<u64, String>,
}

impl Residences {
    fn of(state: &State) -> Self {
        Self { members: state.position().members.clone(), addresses: state.addresses().clone() }
    }
}

/// In the order in which it must end: readers, the log, then the writer with its closing checkpoint, then the lock.
struct Shared {
    readers: Readers,
    group: Arc<Group>,
    writer: Writer,
    _lookout: Lookout,
    cache: Arc<Cache>,
    superuser: Arc<str>,
    directory: Directory,
}

/// A walk through the cache can't be finished there.
enum NotCached {
    Missing,
    Refused(FsError),
}

impl From<FsError> for NotCached {
    fn from(error: FsError) -> Self {
        Self::Refused(error)
    }
}

impl Store {
    /// Opens the namespace in a directory and starts its threads. Blocks. Nothing can be proposed before this member leads:
    /// wait for it with [`Group::lead`], which in a group of one takes some milliseconds.
    pub fn open(directory: Directory, options: Options, sink: Sink) -> Result<Self, Error> {
        let Options { superuser, readers, cache_entries, max_batch, min_free, group, observer } = options;
        let path = directory.database();
        let room = Room::new(directory.path(), min_free).map(Arc::new).map_err(Error::Disk)?;
        let connection = schema::open_writer(&path)?;
        let found = schema::cluster(&connection)?;
        if found != directory.cluster() {
            return Err(Error::OtherCluster { path, found, expected: directory.cluster() });
        }
        let state = State::load(connection).map_err(|source| Error::Read { path: path.clone(), source })?;
        let beginning = group::Beginning {
            id: directory.member(),
            directory: directory.path().to_owned(),
            database: path.clone(),
            log: FileLog::open(&directory.log(), dfs_namenode_raft::log::Options::default())?,
            position: state.position().clone(),
            superuser: superuser.clone(),
            max_batch,
            observer: observer.clone(),
            room: Arc::clone(&room),
        };
        let cache = Arc::new(Cache::new(cache_entries));
        let superuser: Arc<str> = superuser.into();
        let writer = Writer::start(state, cache.clone(), max_batch, sink, observer, Arc::clone(&room))?;
        let readers = Readers::start(&path, readers, &cache, &superuser, writer.progress())?;
        let group = Arc::new(Group::start(beginning, group, &writer)?);
        let lookout = Lookout::start(room).map_err(Error::Thread)?;
        Ok(Self {
            shared: Arc::new(Shared {
                readers,
                group,
                writer,
                _lookout: lookout,
                cache,
                superuser,
                directory,
            }),
        })
    }

    /// This member of the group of NameNodes.
    pub fn group(&self) -> &Arc<Group> {
        &self.shared.group
    }

    /// Copies the database as of one moment to a new file and checks the copy; answers the index of the last entry in it. Blocks, and
    /// nothing else waits for it.
    pub fn back_up(&self, target: &Path) -> FsResult<u64> {
        let database = self.shared.directory.database();
        let no_room = |why| FsError::new(ErrorCode::NoSpace, format!("no backup is made: {why}"));
        let bytes = backup::size(&database).map_err(|error| FsError::internal(error.to_string()))?;
        self.group().room().check(bytes).map_err(no_room)?;
        let copied = backup::copy(&database, target);
        // Now, and not only when it is needed.
        let checked = copied.and_then(|position| backup::check(target).map(|()| position.applied));
        checked.map_err(|error| FsError::internal(dfs_types::error::sentence(&error)))
    }

    /// The directory it is in.
    pub fn directory(&self) -> &Path {
        self.shared.directory.path()
    }

    /// The cluster the namespace is of.
    pub fn cluster(&self) -> ClusterId {
        self.shared.directory.cluster()
    }

    /// Applies a change; answers when it is durable and the sink was told. The change may be applied even if the
    /// caller stops waiting.
    pub async fn propose(&self, proposal: Proposal) -> FsResult<Outcome> {
        self.shared.group.propose(proposal).await
    }

    /// Attributes of a file or directory. Needs the right to search the directories above it.
    pub async fn stat(&self, caller: &Caller, path: &FsPath) -> FsResult<FileStatus> {
        if let Some(answer) = self.cached_stat(caller, path) {
            return answer;
        }
        let (caller, path) = (caller.clone(), path.clone());
        self.shared.readers.run(move |snapshot| snapshot.stat(&caller, &path)).await
    }

    /// The answer to `stat` if the cache has every inode on the way, all of one state.
    fn cached_stat(&self, caller: &Caller, path: &FsPath) -> Option<FsResult<FileStatus>> {
        let cache = &self.shared.cache;
        let authority = Authority { caller: Some(caller), superuser: &self.shared.superuser };
        let answer = cache.in_one_state(|| {
            let lookup = |parent, name: &str| cache.get(parent, name).map(Some).ok_or(NotCached::Missing);
            resolve(path, authority, lookup).and_then(|found| Ok(found.existing()?.status()))
        })?;
        match answer {
            Ok(status) => Some(Ok(status)),
            Err(NotCached::Refused(error)) => Some(Err(error)),
            Err(NotCached::Missing) => None,
        }
    }

    /// The ACL of a file or directory. Needs the right to search the directories above it.
    pub async fn acl(&self, caller: &Caller, path: &FsPath) -> FsResult<AclStatus> {
        let (caller, path) = (caller.clone(), path.clone());
        self.shared.readers.run(move |snapshot| snapshot.acl(&caller, &path)).await
    }

    /// Extended attributes of a file or directory, by their names: those of `names`, all of which must be there, or if there
    /// are none all that the caller may see. Needs the right to read it.
    pub async fn xattrs(
        &self,
        caller: &Caller,
        path: &FsPath,
        names: Vec<XattrName>,
    ) -> FsResult<Vec<Xattr>> {
        let (caller, path) = (caller.clone(), path.clone());
        self.shared.readers.run(move |snapshot| snapshot.xattrs(&caller, &path, &names)).await
    }

    /// A page of a directory's entries after `start_after` (empty: from the first), ordered by the bytes of their
    /// names, and whether more follow. A file lists as itself with an empty name. At most
    /// [`dfs_types::limits::LIST_PAGE`] entries. Needs the right to read and search the directory.
    pub async fn list(
        &self,
        caller: &Caller,
        path: &FsPath,
        start_after: &str,
        limit: usize,
    ) -> FsResult<(Vec<(String, FileStatus)>, bool)> {
        let (caller, path, start_after) = (caller.clone(), path.clone(), start_after.to_owned());
        self.shared.readers.run(move |snapshot| snapshot.list(&caller, &path, &start_after, limit)).await
    }

    /// A file and its chunks that overlap `length` bytes from `offset`; an open chunk counts as endless. Needs the
    /// right to read the file.
    pub async fn file(
        &self,
        caller: &Caller,
        path: &FsPath,
        offset: u64,
        length: u64,
    ) -> FsResult<(FileStatus, Vec<ChunkRow>)> {
        let (caller, path) = (caller.clone(), path.clone());
        self.shared.readers.run(move |snapshot| snapshot.file(&caller, &path, offset, length)).await
    }

    /// The file that `holder` writes; the errors of a writer's call otherwise.
    pub async fn open_file(&self, inode: InodeId, holder: &str) -> FsResult<OpenFile> {
        let holder = holder.to_owned();
        // As of the last commit, or an earlier one: nothing was appended before that.
        let appends = self.level() >= APPENDS;
        self.shared.readers.run(move |snapshot| snapshot.open_file(inode, &holder, appends)).await
    }

    /// The status of the file that `holder` writes, without reading its chunks; errors as of [`Store::open_file`].
    pub async fn open_status(&self, inode: InodeId, holder: &str) -> FsResult<FileStatus> {
        let holder = holder.to_owned();
        self.shared.readers.run(move |snapshot| snapshot.held(inode, &holder).map(|file| file.status())).await
    }

    /// The last chunks of a file, at most two: those that its recovery concerns.
    pub async fn recent_chunks(&self, inode: InodeId) -> FsResult<Vec<ChunkId>> {
        self.shared.readers.run(move |snapshot| snapshot.recent_chunks(inode)).await
    }

    /// Who has a file's lease.
    pub async fn holder(&self, inode: InodeId) -> FsResult<Option<String>> {
        self.shared.readers.run(move |snapshot| snapshot.holder(inode)).await
    }

    /// The last chunk of a file, and how many it has.
    pub async fn end_of(&self, inode: InodeId) -> FsResult<Option<(Extent, u64)>> {
        self.shared.readers.run(move |snapshot| snapshot.end_of(inode)).await
    }

    /// A file that is open, or waits to be closed, and was written to one of these nodes, as far as that is known.
    pub async fn open_on(&self, nodes: Vec<NodeId>) -> FsResult<Option<FsPath>> {
        self.shared.readers.run(move |snapshot| snapshot.open_on(&nodes)).await
    }

    /// The nodes that the last chunks of an open file are written to, as far as they are known.
    pub async fn pipelines(&self, inode: InodeId) -> FsResult<Vec<(ChunkId, Vec<NodeId>)>> {
        self.shared.readers.run(move |snapshot| snapshot.pipelines(inode)).await
    }

    /// The cluster's feature level.
    pub fn level(&self) -> u16 {
        self.shared.writer.progress().level()
    }

    /// The settings of the cluster as a whole.
    pub fn settings(&self) -> ClusterSettings {
        self.shared.writer.progress().settings()
    }

    /// The open files of these chunks; those of closed and deleted ones are left out.
    pub async fn open_owners(&self, chunks: Vec<ChunkId>) -> FsResult<Vec<OpenOwner>> {
        self.shared.readers.run(move |snapshot| snapshot.open_owners(&chunks)).await
    }

    /// The closed files of these chunks; those of open and deleted ones are left out.
    pub async fn origins(&self, chunks: Vec<ChunkId>) -> FsResult<Vec<ChunkOrigin>> {
        self.shared.readers.run(move |snapshot| snapshot.origins(&chunks)).await
    }

    /// Age of the oldest outcome kept for retries; only at the leader.
    pub fn oldest_outcome(&self) -> Option<Duration> {
        self.shared.writer.progress().oldest_outcome()
    }

    /// Where an inode is; `None` if it was deleted.
    pub async fn path_of(&self, inode: InodeId) -> FsResult<Option<FsPath>> {
        self.shared.readers.run(move |snapshot| snapshot.path_of(inode)).await
    }

    /// What a tree holds, for who may list the directory at its top. Below the level that has its sums ready, it is counted in
    /// steps, which needs the right to read and search every directory of it; what changes meanwhile may be counted or not.
    pub async fn content_summary(&self, caller: &Caller, path: &FsPath) -> FsResult<ContentSummary> {
        let (first_caller, path) = (caller.clone(), path.clone());
        let (readers, counted) = (&self.shared.readers, self.level() >= QUOTAS);
        let mut summing =
            readers.run(move |snapshot| snapshot.begin_summary(&first_caller, &path, counted)).await?;
        while !summing.is_done() {
            let caller = caller.clone();
            summing = readers.run(move |snapshot| snapshot.go_on_summing(&caller, summing)).await?;
        }
        Ok(summing.sum)
    }

    /// Where what a user removes at a path goes, and how long it is kept there.
    pub async fn trash_of(&self, caller: &Caller, path: &FsPath) -> FsResult<Trash> {
        self.group().check_has(TRASHES)?;
        let (caller, path) = (caller.clone(), path.clone());
        self.shared.readers.run(move |snapshot| snapshot.trash_of(&caller, &path)).await
    }

    /// What is in the trash of one user at a time of the group's clock.
    pub async fn trash_of_user(&self, user: &str, clock: Millis) -> FsResult<Vec<TrashContent>> {
        self.group().check_has(TRASHES)?;
        let user = user.to_owned();
        self.shared.readers.run(move |snapshot| snapshot.trash_of_user(&user, clock.0)).await
    }

    /// What is in the trash of all users and what is due there at a time of the group's clock, looked for in steps.
    pub async fn trash(&self, clock: Millis) -> FsResult<TrashReport> {
        self.group().check_has(TRASHES)?;
        let readers = &self.shared.readers;
        let mut search = readers.run(move |snapshot| snapshot.begin_trash(clock.0)).await?;
        while !search.is_done() {
            search = readers.run(move |snapshot| snapshot.go_on_with_trash(search)).await?;
        }
        Ok(search.report)
    }

    /// The group's clock: the time that it has had a leader; only at the leader.
    pub fn clock(&self) -> Millis {
        self.shared.writer.progress().clock()
    }

    /// Whether the caller may remove the tree at a path, wherever it is now; answers the directory that it begins with, if
    /// there is one. Checked in steps, so that it is no proof for later.
    pub async fn check_removal(&self, caller: &Caller, path: &FsPath) -> FsResult<Option<InodeId>> {
        let (first_caller, path) = (caller.clone(), path.clone());
        let readers = &self.shared.readers;
        let mut removal = readers.run(move |snapshot| snapshot.begin_removal(&first_caller, &path)).await?;
        let top = removal.top();
        while !removal.is_done() {
            let caller = caller.clone();
            removal = readers.run(move |snapshot| snapshot.go_on_removing(&caller, removal)).await?;
        }
        Ok(top)
    }

    /// At most `limit` parts of a directory that is too large to be removed by one edit, and which they are; none if
    /// something else is at its path.
    pub async fn parts(
        &self,
        caller: &Caller,
        path: &FsPath,
        directory: InodeId,
        limit: usize,
    ) -> FsResult<Vec<(FsPath, InodeId)>> {
        let (caller, path) = (caller.clone(), path.clone());
        self.shared.readers.run(move |snapshot| snapshot.parts(&caller, &path, directory, limit)).await
    }

    /// A page of the files below a path, or that file itself, depth first in the order of names, with their chunks;
    /// and where to go on: give it as `after` for the next page, `None` means that this was the last. A page may
    /// have fewer than `limit` files, even none, and not be the last. Needs the right to read and search every
    /// directory met.
    pub async fn walk_files(
        &self,
        caller: &Caller,
        path: &FsPath,
        after: Option<&FsPath>,
        limit: usize,
    ) -> FsResult<(Vec<WalkedFile>, Option<FsPath>)> {
        let (caller, path, after) = (caller.clone(), path.clone(), after.cloned());
        self.shared.readers.run(move |snapshot| snapshot.walk(&caller, &path, after.as_ref(), limit)).await
    }

    /// Every DataNode that is not simply in service; see [`Contents::duties`].
    pub async fn duties(&self) -> FsResult<Vec<(NodeId, NodeDuty)>> {
        self.shared.readers.run(|snapshot| Ok(settings::duties(snapshot.connection)?)).await
    }

    /// Numbers of the whole namespace.
    pub fn counts(&self) -> Counts {
        let counters = self.shared.writer.progress().counters();
        Counts {
            files: counters.files,
            directories: counters.directories,
            open_files: counters.open_files,
            next_chunk: ChunkId(counters.next_chunk),
            garbage: counters.garbage > 0,
        }
    }

    /// `Err` says why this NameNode does nothing any more.
    pub fn health(&self) -> Result<(), String> {
        self.shared.group.health()
    }

    /// What the writer did.
    pub fn metrics(&self) -> Metrics {
        let progress = self.shared.writer.progress();
        Metrics { commits: progress.commits(), edits: progress.counters().edits }
    }

    /// What is read all at once, at the start and after a snapshot took the place of everything.
    pub fn contents(&self) -> Contents {
        Contents(self.shared.directory.database())
    }
}

/// A database as a whole. Every call blocks and has a connection of its own, so that a long read takes no reader away.
#[derive(Debug, Clone)]
pub struct Contents(PathBuf);

impl Contents {
    /// Of a directory that is not open yet, or is.
    pub fn of(directory: &Directory) -> Self {
        Self(directory.database())
    }

    /// Tells every chunk of the namespace, those of deleted trees included: id, generation stamp, length (`None`
    /// while it is being written), layout.
    pub fn chunks(&self, mut tell: impl FnMut(ChunkId, GenStamp, Option<u64>, Layout)) -> FsResult<()> {
        self.read(|connection| {
            let mut statement =
                connection.prepare("SELECT id, generation, length, layout, replicas FROM chunk")?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let length = row.get::<_, Option<i64>>(2)?.map(|length| length as u64);
                tell(ChunkId(number(row, 0)?), GenStamp(number(row, 1)?), length, chunk::layout(row, 3)?);
            }
            Ok(())
        })
    }

    /// Every lease and its holder.
    pub fn leases(&self) -> FsResult<Vec<(InodeId, String)>> {
        self.read(|connection| Ok(lease::all(connection)?))
    }

    /// The id the next chunk will get.
    pub fn next_chunk(&self) -> FsResult<ChunkId> {
        self.read(|connection| Ok(ChunkId(counters::Counters::load(connection)?.next_chunk)))
    }

    /// Every DataNode that is not simply in service, and what it is to be used for, with Unix times.
    pub fn duties(&self) -> FsResult<Vec<(NodeId, NodeDuty)>> {
        self.read(|connection| Ok(settings::duties(connection)?))
    }

    /// Every DataNode that is remembered or was forgotten for good.
    pub fn nodes(&self) -> FsResult<Vec<KnownNode>> {
        self.read(|connection| Ok(registry::all(connection)?))
    }

    /// How the balancer works; `None` while it is off.
    pub fn balancer(&self) -> FsResult<Option<Balancing>> {
        self.read(|connection| Ok(settings::balancer(connection)?))
    }

    /// Whether safe mode is on by command.
    pub fn safe_mode(&self) -> FsResult<bool> {
        self.read(|connection| Ok(settings::safe_mode(connection)?))
    }

    /// Ids of chunks that may have been made after the backup that this namespace was restored from.
    pub fn lost_chunks(&self) -> FsResult<Vec<Range<ChunkId>>> {
        self.read(|connection| Ok(backup::lost(connection)?))
    }

    fn read<T>(&self, read: impl FnOnce(&Connection) -> Result<T, Stop>) -> FsResult<T> {
        let open = || -> Result<T, Stop> {
            let connection = schema::open_reader(&self.0).map_err(|error| {
                FsError::internal(format!("opening the namespace database failed: {error}"))
            })?;
            read(&connection)
        };
        open().map_err(Stop::into_answer)
    }
}
