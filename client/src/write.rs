//! [`FileWriter`]: cuts what is written into packets and chunks.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use dfs_proto::v1;
use dfs_types::limits::{BYTES_PER_CHECKSUM, PACKET_BYTES};
use dfs_types::{
    CreateMode, ErrorCode, Extent, FileStatus, FsError, FsPath, FsResult, InodeId, Mode, Publication,
    checksum,
};
use futures_util::future::{BoxFuture, FutureExt as _, poll_fn};
use tokio::io::AsyncWrite;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio_util::sync::PollSemaphore;
use tokio_util::task::AbortOnDropHandle;
use tracing::warn;

use crate::chunk_writer::{ChunkWriter, Previous};
use crate::error::to_io;
use crate::handle::{Dfs, Inner};
use crate::lease::LeaseGuard;
use crate::memory::{Memory, Reserved, units};
use crate::namespace::status;
use crate::pipeline::Packet;
use crate::retry::{Backoff, Patience};
use crate::write_target::{Phase, Progress, WriteTarget, outdated};

/// Chunks of one file that are written or finalized at the same time: the NameNode lets a writer recover the last two.
const CHUNKS_IN_FLIGHT: usize = 2;
/// Time for removing what an abandoned writer left.
const ABORT_PATIENCE: Duration = Duration::from_secs(10);

/// What is promised of data when its file is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// On the disks of the DataNodes: survives a power failure of all of them.
    #[default]
    Fsync,
    /// In the memory of the DataNodes' machines: survives the processes, not a power failure of all machines.
    Buffered,
}

/// How [`Dfs::create`] makes a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateOptions {
    /// Replace an existing file.
    pub overwrite: bool,
    /// Make missing directories above it.
    pub parents: bool,
    /// Permission bits.
    pub mode: CreateMode,
    /// Replicas of each chunk; `None`: the cluster's default.
    pub replication: Option<u32>,
    /// Bytes of a full chunk, a multiple of 512; `None`: the cluster's default.
    pub chunk_size: Option<u64>,
    /// What closing the file promises.
    pub durability: Durability,
    /// Bytes that will be written, if that is known: room is looked for and promised for no more. More or fewer are fine.
    pub expected_length: Option<u64>,
    /// The file is only there to be published: if its writer goes away before, so does the file, whatever of it was
    /// flushed. Otherwise what was flushed is kept, and the file is closed by lease recovery.
    pub temporary: bool,
}

impl Default for CreateOptions {
    fn default() -> Self {
        Self {
            overwrite: false,
            parents: false,
            mode: Mode::FILE.into(),
            replication: None,
            chunk_size: None,
            durability: Durability::Fsync,
            expected_length: None,
            temporary: false,
        }
    }
}

/// How [`Dfs::append`] opens a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AppendOptions {
    /// What closing the file promises of what was appended.
    pub durability: Durability,
    /// Bytes that will be appended, if that is known: room is looked for and promised for no more. More or fewer are fine.
    pub expected_length: Option<u64>,
}

/// A chunk that has a task.
#[derive(Debug)]
struct ChunkHandle {
    packets: mpsc::UnboundedSender<Packet>,
    pushed: u64,
    progress: watch::Receiver<Progress>,
    /// Bytes given to the task.
    length: u64,
    _task: AbortOnDropHandle<()>,
}

/// What to do with the bytes in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seal {
    /// The buffer is full.
    Full,
    /// Readers shall see it.
    Flush,
    /// It shall be on disk.
    Sync,
    /// Nothing follows in this file.
    Last,
}

/// What becomes of the file if its writer gives up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Opening {
    /// This writer made it: it goes, unless something of it was flushed and it is not temporary.
    Created { temporary: bool },
    /// It was there before: it is closed as it is.
    Appended,
}

/// A file being written, by this writer only. [`FileWriter::close`] (or `shutdown` of [`AsyncWrite`]) must be called:
/// a writer dropped without it, or after a failure, removes the unfinished file in the background, unless some of it
/// was flushed and the file is not temporary: then what was flushed is kept and the file is closed by lease recovery.
///
/// `flush` of [`AsyncWrite`] does nothing: data is sent in packets by itself. Use [`FileWriter::hflush`] to make what
/// was written so far readable.
pub struct FileWriter {
    file: Arc<WriteTarget>,
    /// Chunks in order; the last one may take packets, unless `boundary`.
    chunks: VecDeque<ChunkHandle>,
    /// The next byte begins a new chunk.
    boundary: bool,
    next_index: u64,
    /// Begins at a multiple of 512 of the chunk.
    buffer: BytesMut,
    buffer_offset: u64,
    /// Bytes at the start of the buffer that were flushed before.
    flushed_tail: usize,
    window: PollSemaphore,
    own: PollSemaphore,
    shared: PollSemaphore,
    slots: PollSemaphore,
    held_window: Option<OwnedSemaphorePermit>,
    held_bytes: Option<OwnedSemaphorePermit>,
    /// What closing the file does besides.
    publish: Option<Publication>,
    closing: Option<BoxFuture<'static, FsResult<FileStatus>>>,
    closed: Option<FileStatus>,
    /// Nothing is to be removed when this is dropped.
    keep: bool,
    opening: Opening,
    lease: Arc<LeaseGuard>,
}

impl std::fmt::Debug for FileWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileWriter").field("path", &self.file.path).finish_non_exhaustive()
    }
}

impl Dfs {
    /// Opens a new file for writing.
    ///
    /// ```no_run
    /// # async fn example(dfs: dfs_client::Dfs) -> Result<(), Box<dyn std::error::Error>> {
    /// use dfs_client::CreateOptions;
    /// use tokio::io::AsyncWriteExt as _;
    /// let path = dfs_types::FsPath::parse("/a")?;
    /// let mut writer = dfs.create(&path, CreateOptions::default()).await?;
    /// writer.write_all(b"first line\n").await?;
    /// writer.hflush().await?; // readers see it now
    /// let status = writer.close().await?;
    /// assert_eq!(status.length, 11);
    /// # Ok(())
    /// # }
    /// ```
    pub async fn create(&self, path: &FsPath, options: CreateOptions) -> FsResult<FileWriter> {
        let CreateOptions {
            overwrite,
            parents,
            mode,
            replication,
            chunk_size,
            durability,
            expected_length,
            temporary,
        } = options;
        let inner = &self.inner;
        let lease = Arc::new(LeaseGuard::new(Arc::clone(&inner.leases)));
        let reply = inner
            .namenode
            .namespace(inner.settings.call(), |mut client, context| {
                let request = v1::CreateRequest {
                    context: Some(context),
                    path: path.to_string(),
                    holder: inner.leases.holder().to_owned(),
                    mode: mode.mode.bits(),
                    replication,
                    chunk_size,
                    overwrite,
                    parents,
                    temporary,
                    unmasked: mode.unmasked.map(Mode::bits),
                };
                async move { client.create(request).await }
            })
            .await?;
        let created = status(reply.status)?;
        if created.chunk_size == 0 {
            return Err(FsError::internal("the NameNode made a file with a chunk size of 0"));
        }
        let opened = Opened { path, status: created, inherited: (0, None), lease };
        FileWriter::new(inner, opened, durability, expected_length, Opening::Created { temporary })
    }

    /// Opens a closed file for writing at its end; `NotFound` if there is none. What is written goes into new chunks.
    ///
    /// A writer dropped without [`FileWriter::close`] leaves the file with what was flushed, and perhaps with more of what it
    /// wrote.
    pub async fn append(&self, path: &FsPath, options: AppendOptions) -> FsResult<FileWriter> {
        let AppendOptions { durability, expected_length } = options;
        let inner = &self.inner;
        let lease = Arc::new(LeaseGuard::new(Arc::clone(&inner.leases)));
        let reply = inner
            .namenode
            .namespace(inner.settings.call(), |mut client, context| {
                let request = v1::AppendRequest {
                    context: Some(context),
                    path: path.to_string(),
                    holder: inner.leases.holder().to_owned(),
                };
                async move { client.append(request).await }
            })
            .await?;
        let inherited = (reply.chunks, reply.last.map(Extent::from));
        let opened = Opened { path, status: status(reply.status)?, inherited, lease };
        FileWriter::new(inner, opened, durability, expected_length, Opening::Appended)
    }
}

/// A file that was opened for writing.
struct Opened<'a> {
    path: &'a FsPath,
    status: FileStatus,
    inherited: (u64, Option<Extent>),
    lease: Arc<LeaseGuard>,
}

impl FileWriter {
    fn new(
        dfs: &Arc<Inner>,
        opened: Opened<'_>,
        durability: Durability,
        expected_length: Option<u64>,
        opening: Opening,
    ) -> FsResult<Self> {
        let Opened { path, status, inherited, lease } = opened;
        if status.chunk_size == 0 {
            return Err(FsError::internal("the NameNode opened a file with a chunk size of 0"));
        }
        let file = WriteTarget {
            dfs: Arc::clone(dfs),
            path: path.clone(),
            inode: status.inode,
            chunk_size: status.chunk_size,
            inherited,
            replication: status.replication,
            sync: durability == Durability::Fsync,
            expected_length,
            failed: OnceLock::new(),
        };
        Ok(Self {
            file: Arc::new(file),
            chunks: VecDeque::new(),
            boundary: true,
            next_index: inherited.0,
            buffer: BytesMut::new(),
            buffer_offset: 0,
            flushed_tail: 0,
            window: PollSemaphore::new(dfs.memory.writer_window()),
            own: PollSemaphore::new(Memory::writers_own()),
            shared: PollSemaphore::new(dfs.memory.writers()),
            slots: PollSemaphore::new(Arc::new(Semaphore::new(CHUNKS_IN_FLIGHT))),
            held_window: None,
            held_bytes: None,
            publish: None,
            closing: None,
            closed: None,
            keep: false,
            opening,
            lease,
        })
    }

    /// The file's path.
    pub fn path(&self) -> &FsPath {
        &self.file.path
    }

    /// Writes all of `bytes`; whole packets of it are sent without being copied first.
    pub async fn write_bytes(&mut self, mut bytes: Bytes) -> FsResult<()> {
        while !bytes.is_empty() {
            if self.buffer.is_empty() && bytes.len() >= self.packet_room() {
                let packet = bytes.split_to(self.packet_room());
                poll_fn(|cx| self.poll_send(cx, packet.clone(), Seal::Full)).await?;
            } else {
                let written = poll_fn(|cx| self.poll_copy(cx, &bytes)).await?;
                bytes.advance(written);
            }
        }
        Ok(())
    }

    /// The file's identity, whatever becomes of its name.
    pub fn inode(&self) -> InodeId {
        self.file.inode
    }

    /// Makes everything written so far readable: it is in the memory of every DataNode of the pipeline, and the
    /// NameNode knows its length.
    pub async fn hflush(&mut self) -> FsResult<()> {
        self.flush_with(Seal::Flush).await
    }

    /// Like [`FileWriter::hflush`], and on the disks of the DataNodes. With [`Durability::Buffered`] that is true of
    /// the present chunk only.
    pub async fn hsync(&mut self) -> FsResult<()> {
        self.flush_with(Seal::Sync).await
    }

    /// Writes what is left, waits until every chunk is finalized and closes the file. Errors: why the file could not
    /// be written.
    pub async fn close(mut self) -> FsResult<FileStatus> {
        poll_fn(|cx| self.poll_close(cx)).await
    }

    /// Like [`FileWriter::close`], and gives the file another path at the same moment: it is seen there complete, and
    /// never without its name. After a failure nothing can be written any more: [`FileWriter::abort`] removes what there is.
    pub async fn publish(&mut self, publication: Publication) -> FsResult<FileStatus> {
        self.publish.get_or_insert(publication);
        poll_fn(|cx| self.poll_close(cx)).await
    }

    /// Stops writing. A file that this writer made is removed, wherever it is by now; one that was appended to is closed,
    /// with what was flushed and perhaps more.
    pub async fn abort(mut self) -> FsResult<()> {
        self.keep = true;
        self.chunks.clear();
        self.closing = None;
        give_up(&self.file, self.opening).await
    }

    async fn flush_with(&mut self, seal: Seal) -> FsResult<()> {
        self.check()?;
        let fresh = self.buffer.len() > self.flushed_tail;
        if fresh || (seal == Seal::Sync && !self.boundary) {
            poll_fn(|cx| self.poll_seal(cx, seal)).await?;
        }
        let file = Arc::clone(&self.file);
        let last = self.chunks.len().saturating_sub(1);
        for (index, chunk) in self.chunks.iter_mut().enumerate() {
            let pushed = chunk.pushed;
            let whole = (index < last || self.boundary) && seal == Seal::Sync;
            let done = |progress: &Progress| {
                progress.phase == Phase::Finished || (!whole && progress.packets >= pushed)
            };
            file.wait(&mut chunk.progress, done).await?;
        }
        let Some(chunk) = self.chunks.back_mut() else { return Ok(()) };
        loop {
            let extent = file.acknowledged(&mut chunk.progress, chunk.length).await?;
            let committed = file
                .call(|mut client, context| {
                    let request = v1::CommitLengthRequest {
                        context: Some(context),
                        inode: file.inode.0,
                        holder: file.dfs.leases.holder().to_owned(),
                        extent: Some(extent.into()),
                    };
                    async move { client.commit_length(request).await }
                })
                .await;
            match committed {
                Err(error) if outdated(&error, &chunk.progress, extent) => {}
                other => break other.map(|v1::Empty {}| ())?,
            }
        }
        self.keep = matches!(self.opening, Opening::Created { temporary: false });
        Ok(())
    }

    /// Fails if nothing can be written any more.
    fn check(&self) -> FsResult<()> {
        if let Some(error) = self.file.failed.get() {
            return Err(error.clone());
        }
        if self.closing.is_some() || self.closed.is_some() {
            return Err(FsError::invalid(format!("{} is closed: nothing can be written", self.file.path)));
        }
        Ok(())
    }

    /// Bytes a packet that begins at the buffer's offset may have.
    fn packet_room(&self) -> usize {
        let left = self.file.chunk_size - self.buffer_offset;
        usize::try_from(left).unwrap_or(PACKET_BYTES).min(PACKET_BYTES)
    }

    /// Copies the start of `bytes` into the buffer; answers how much.
    fn poll_copy(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<FsResult<usize>> {
        self.check()?;
        if self.buffer.len() >= self.packet_room() {
            ready!(self.poll_seal(cx, Seal::Full))?;
        }
        let room = self.packet_room();
        if self.buffer.capacity() < room {
            self.buffer.reserve(room - self.buffer.len());
        }
        let taken = bytes.len().min(room - self.buffer.len());
        let (now, _) = bytes.split_at(taken);
        self.buffer.extend_from_slice(now);
        if self.buffer.len() == room
            && let Poll::Ready(sealed) = self.poll_seal(cx, Seal::Full)
        {
            sealed?;
        }
        Poll::Ready(Ok(taken))
    }

    /// Sends what is in the buffer.
    fn poll_seal(&mut self, cx: &mut Context<'_>, seal: Seal) -> Poll<FsResult<()>> {
        let last = (seal == Seal::Last).then_some(self.buffer.len() as u64);
        ready!(self.poll_reserve(cx, self.buffer.len(), last))?;
        let data = std::mem::take(&mut self.buffer).freeze();
        self.poll_send(cx, data, seal)
    }

    /// Waits for memory for a packet and, at a boundary, for room for another chunk; starts that chunk. `last`: the file
    /// ends with the packet, so that such a chunk has these bytes.
    fn poll_reserve(&mut self, cx: &mut Context<'_>, length: usize, last: Option<u64>) -> Poll<FsResult<()>> {
        let gone = || FsError::internal("the writer's memory budget was closed");
        self.check()?;
        if self.held_window.is_none() {
            let permit = ready!(self.window.poll_acquire_many(cx, units(length)));
            self.held_window = Some(permit.ok_or_else(gone)?);
        }
        if self.held_bytes.is_none() {
            self.held_bytes = Some(ready!(self.poll_bytes(cx, units(length))).ok_or_else(gone)?);
        }
        if self.boundary {
            let slot = ready!(self.slots.poll_acquire(cx)).ok_or_else(gone)?;
            self.start_chunk(slot, last);
        }
        self.check()?;
        Poll::Ready(Ok(()))
    }

    /// Waits for `units` of this writer's own packet or of what all writers share, whichever comes first.
    fn poll_bytes(&mut self, cx: &mut Context<'_>, units: u32) -> Poll<Option<OwnedSemaphorePermit>> {
        // Who does not get it must not stay in the queue, or it is given what nobody takes.
        if let Poll::Ready(permit) = self.own.poll_acquire_many(cx, units) {
            self.shared = PollSemaphore::new(self.shared.clone_inner());
            return Poll::Ready(permit);
        }
        let permit = ready!(self.shared.poll_acquire_many(cx, units));
        self.own = PollSemaphore::new(self.own.clone_inner());
        Poll::Ready(permit)
    }

    /// Gives `data`, which begins at the buffer's offset, to the chunk's task.
    fn poll_send(&mut self, cx: &mut Context<'_>, data: Bytes, seal: Seal) -> Poll<FsResult<()>> {
        ready!(self.poll_reserve(cx, data.len(), None))?;
        let memory = Reserved { _window: self.held_window.take(), _bytes: self.held_bytes.take() };
        let offset = self.buffer_offset;
        let end = offset + data.len() as u64;
        let tail = data.slice(data.len() - data.len() % BYTES_PER_CHECKSUM..);
        let full = end >= self.file.chunk_size;
        // A full chunk is finalized by an empty packet of its own: its data is acknowledged before, so that the next
        // chunk can be allocated while this one is synced.
        let separate = full && tail.is_empty() && !data.is_empty();
        let packet = Packet {
            offset,
            sums: checksum::compute(&data),
            data,
            last: (full && !separate) || (seal == Seal::Last && !full),
            flush: seal != Seal::Full,
            sync: seal == Seal::Sync,
            sign_of_life: false,
            _memory: memory,
        };
        self.push(packet, end)?;
        if separate {
            self.push(Packet { offset: end, last: true, ..Packet::default() }, end)?;
        }
        if full {
            self.boundary = true;
            self.buffer_offset = 0;
            self.flushed_tail = 0;
        } else {
            self.buffer_offset = end - tail.len() as u64;
            self.flushed_tail = tail.len();
            if !tail.is_empty() {
                self.buffer = BytesMut::from(&tail[..]);
            }
        }
        Poll::Ready(Ok(()))
    }

    fn push(&mut self, packet: Packet, end: u64) -> FsResult<()> {
        let file = &self.file;
        let Some(chunk) = self.chunks.back_mut() else { return Err(file.failure()) };
        chunk.length = end;
        chunk.pushed += 1;
        chunk.packets.send(packet).map_err(|_| file.failure())
    }

    fn start_chunk(&mut self, slot: OwnedSemaphorePermit, length: Option<u64>) {
        while self.chunks.len() > 1
            && self.chunks.front().is_some_and(|chunk| chunk.progress.borrow().phase == Phase::Finished)
        {
            self.chunks.pop_front();
        }
        let (packets, receiver) = mpsc::unbounded_channel();
        let (sender, progress) = watch::channel(Progress::new());
        let writer = ChunkWriter {
            file: Arc::clone(&self.file),
            index: self.next_index,
            expected_length: length.unwrap_or_else(|| self.file.expected_length_of(self.next_index)),
            previous: self
                .chunks
                .back()
                .map(|chunk| Previous { progress: chunk.progress.clone(), length: chunk.length }),
            packets: receiver,
            progress: sender,
            slot: Some(slot),
        };
        self.chunks.push_back(ChunkHandle {
            packets,
            pushed: 0,
            progress,
            length: 0,
            _task: AbortOnDropHandle::new(tokio::spawn(writer.run())),
        });
        self.next_index += 1;
        self.boundary = false;
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<FsResult<FileStatus>> {
        if let Some(status) = &self.closed {
            return Poll::Ready(Ok(status.clone()));
        }
        if self.closing.is_none() {
            self.check()?;
            if !self.boundary || !self.buffer.is_empty() {
                ready!(self.poll_seal(cx, Seal::Last))?;
                self.boundary = true;
            }
            let chunks = self.chunks.iter().map(|chunk| chunk.progress.clone()).collect();
            let publish = self.publish.clone();
            self.closing = Some(complete(Arc::clone(&self.file), chunks, publish).boxed());
        }
        let Some(closing) = &mut self.closing else { return Poll::Pending };
        let status = ready!(closing.poll_unpin(cx))?;
        self.closed = Some(status.clone());
        Poll::Ready(Ok(status))
    }
}

/// Waits for all chunks and closes the file.
async fn complete(
    file: Arc<WriteTarget>,
    chunks: Vec<watch::Receiver<Progress>>,
    publish: Option<Publication>,
) -> FsResult<FileStatus> {
    // None of this writer's own: it ends where it did.
    let mut last = None;
    for mut progress in chunks {
        last = file.wait(&mut progress, |progress| progress.phase == Phase::Finished).await?.extent;
    }
    let mut backoff = Backoff::new(file.dfs.settings.transfer_budget);
    loop {
        let reply = file
            .call(|mut client, context| {
                let request = v1::CompleteRequest {
                    context: Some(context),
                    inode: file.inode.0,
                    holder: file.dfs.leases.holder().to_owned(),
                    last: last.map(Into::into),
                    publish: publish.clone().map(Into::into),
                };
                async move { client.complete(request).await }
            })
            .await;
        match reply {
            Ok(reply) => return status(reply.status),
            // Replicas are not reported, or not copied, yet.
            Err(error) if error.code == ErrorCode::NotEnoughNodes => {
                if !backoff.pause().await {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
    }
}

async fn give_up(file: &WriteTarget, opening: Opening) -> FsResult<()> {
    match opening {
        Opening::Created { .. } => discard(file).await,
        Opening::Appended => release(file).await,
    }
}

/// Lets the NameNode close the file if this writer still has it open.
async fn release(file: &WriteTarget) -> FsResult<()> {
    file.dfs
        .namenode
        .namespace(Patience::steady(ABORT_PATIENCE), |mut client, context| {
            let request = v1::ReleaseLeaseRequest {
                context: Some(context),
                inode: file.inode.0,
                holder: file.dfs.leases.holder().to_owned(),
            };
            async move { client.release_lease(request).await }
        })
        .await
        .map(|v1::Empty {}| ())
}

/// Removes the file if this writer still has it open.
async fn discard(file: &WriteTarget) -> FsResult<()> {
    let discarded = file
        .dfs
        .namenode
        .namespace(Patience::steady(ABORT_PATIENCE), |mut client, context| {
            let request = v1::DiscardRequest {
                context: Some(context),
                inode: file.inode.0,
                holder: file.dfs.leases.holder().to_owned(),
            };
            async move { client.discard(request).await }
        })
        .await;
    match discarded {
        // It is gone, closed, or another's.
        Err(error) if matches!(error.code, ErrorCode::NotFound | ErrorCode::LeaseConflict) => Ok(()),
        other => other.map(|v1::Empty {}| ()),
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        if self.closed.is_some() || self.keep {
            return;
        }
        self.chunks.clear();
        let file = Arc::clone(&self.file);
        let (lease, opening) = (Arc::clone(&self.lease), self.opening);
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = give_up(&file, opening).await {
                    warn!(path = %file.path, %error, "an unfinished file was neither removed nor closed");
                }
                drop(lease);
            });
        }
    }
}

impl AsyncWrite for FileWriter {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_copy(cx, bytes).map_err(to_io)
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_close(cx).map_ok(|_| ()).map_err(to_io)
    }
}
