//! The replicas of this node: the one door to volumes and index for sessions, commands, reports and the scrubber.
//!
//! The index is locked for moments only and never across an await; disk work runs on the volumes' threads. Whoever
//! changes a replica's files holds its [`Claim`](write::Claim), so that no two do so at once. As a disk may hang, nobody
//! waits for it without a limit: the job that changed the files also notes in the index what it changed, whether or not
//! anybody still waits for it.

mod disks;
pub(crate) mod duplicates;
pub(crate) mod headers;
mod recovery;
#[cfg(test)]
mod tests;
pub(crate) mod write;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU16;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use dfs_types::limits::REPORT_PAGE;
use dfs_types::{ChunkId, ClusterId, GenStamp, NodeId, ReplicaRecord, StorageType, VolumeHealth, VolumeId};
use futures_util::future::join_all;
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{error, info, warn};

use crate::fence::Fence;
use crate::metrics::Metrics;
use crate::origins::wanted::Wanted;
use crate::reports::{Batch, Change, Queue, Reports};
use crate::volume::index::{DeletionOrder, Index};
use crate::volume::reader::Reader;
use crate::volume::replica::{Replica, State};
use crate::volume::scan::{Found, scan};
use crate::volume::second::Duplicate;
use crate::volume::space::stored_bytes;
use crate::volume::writer::Readable;
use crate::volume::{Error, Volume, is_device_error, is_process_error};

/// How long the NameNodes may take to learn of a finalized replica before its writer is answered all the same: the
/// bytes are durable by then, and the report stays queued.
const REPORT_LIMIT: Duration = Duration::from_secs(3);

/// How often a volume is scanned at start if the process lacks descriptors or memory for it, and the pause in between.
const SCANS: usize = 60;
const SCAN_PAUSE: Duration = Duration::from_secs(1);

/// Every replica here of the chunks in a range of ids.
#[derive(Debug)]
pub(crate) struct Slice {
    /// The first id.
    pub(crate) first: ChunkId,
    /// The last id; the largest there is in the last slice.
    pub(crate) last: ChunkId,
    /// No leader of an older term was obeyed when this was looked at.
    pub(crate) fence: u64,
    /// Sorted by chunk.
    pub(crate) replicas: Vec<ReplicaRecord>,
}

/// All replicas of this node.
#[derive(Debug)]
pub(crate) struct Store {
    /// The cluster the node belongs to.
    pub(crate) cluster: ClusterId,
    /// This node.
    pub(crate) node: NodeId,
    volumes: Vec<Arc<Volume>>,
    /// Volumes that could not even be opened.
    lost: Vec<(VolumeId, PathBuf)>,
    /// What the storage of volumes is, as far as somebody said.
    storage: BTreeMap<PathBuf, StorageType>,
    index: Mutex<Index>,
    /// A volume has failed.
    failed: Notify,
    reports: Reports,
    /// The cluster's feature level, as the leader said last; 0 before.
    level: AtomicU16,
    /// Chunks whose files are to be asked for.
    pub(crate) wanted: Wanted,
    metrics: Arc<Metrics>,
    started: Instant,
}

impl Store {
    /// Walks all volumes, in parallel, and takes them into use. One that cannot be read is out of use at once.
    pub(crate) async fn open(
        cluster: ClusterId,
        node: NodeId,
        volumes: Vec<Volume>,
        lost: Vec<(VolumeId, PathBuf)>,
        storage: BTreeMap<PathBuf, StorageType>,
        reports: Reports,
        metrics: Arc<Metrics>,
    ) -> Arc<Self> {
        let mut volumes = volumes;
        Volume::share_disks(&mut volumes);
        let volumes: Vec<Arc<Volume>> = volumes.into_iter().map(Arc::new).collect();
        let scans = volumes.iter().map(|volume| {
            with_resources(move || {
                let on = Arc::clone(volume);
                volume.begin(move || scan(&on))
            })
        });
        let scans = join_all(scans).await;
        let mut index = Index::default();
        for (number, (volume, scanned)) in volumes.iter().zip(scans).enumerate() {
            match scanned {
                Ok(Ok(found)) => {
                    info!(volume = %volume.path.display(), replicas = found.len(), "volume scanned");
                    volume.found(found.iter().map(|found| stored_bytes(found.length)).sum());
                    adopt(&mut index, number as u16, found);
                }
                Ok(Err(source)) => {
                    error!(volume = %volume.path.display(), error = %source, "volume cannot be scanned");
                    volume.fail(source.to_string());
                }
                Err(why) => {
                    error!(volume = %volume.path.display(), reason = %why, "volume cannot be scanned");
                    volume.fail(why.to_string());
                }
            }
        }
        Arc::new(Self {
            cluster,
            node,
            volumes,
            lost,
            storage,
            index: Mutex::new(index),
            failed: Notify::new(),
            reports,
            level: AtomicU16::new(0),
            wanted: Wanted::default(),
            metrics,
            started: Instant::now(),
        })
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn volume(&self, number: u16) -> &Arc<Volume> {
        &self.volumes[usize::from(number)]
    }

    /// The storage of the volume in this directory.
    fn storage_of(&self, path: &Path) -> StorageType {
        self.storage.get(path).copied().unwrap_or_default()
    }

    /// The line of a report about a replica; `None` for one that is not reported.
    fn record_of(&self, chunk: ChunkId, replica: &Replica) -> Option<ReplicaRecord> {
        replica.record(chunk, self.volume(replica.volume).id)
    }

    /// What a report would say of a chunk's replica.
    pub(crate) fn record(&self, chunk: ChunkId) -> Result<ReplicaRecord, Error> {
        self.index()
            .get(chunk)
            .and_then(|replica| self.record_of(chunk, replica))
            .ok_or(Error::NotFound(chunk))
    }

    /// What a NameNode's queue holds and, as of then, the slice of a full report that begins with `first`. If the queue
    /// holds too much for one message there is none.
    pub(crate) fn slice(&self, queue: &Queue, first: ChunkId, fence: u64) -> (Batch, Option<Slice>) {
        // Changes are pushed under this lock.
        let index = self.index();
        let (batch, all) = queue.take(REPORT_PAGE);
        let slice = all.then(|| {
            let replicas = index.page(first, REPORT_PAGE, |volume| self.volume(volume).id);
            let last = replicas.last().filter(|_| replicas.len() == REPORT_PAGE);
            let last = last.map_or(ChunkId(u64::MAX), |record| record.chunk);
            Slice { first, last, fence, replicas }
        });
        (batch, slice)
    }

    /// How many changes of replicas there were so far.
    pub(crate) fn changes(&self) -> u64 {
        self.reports.count()
    }

    /// Opens a replica of at least this generation for reading.
    pub(crate) async fn reader(
        self: &Arc<Self>,
        chunk: ChunkId,
        generation: GenStamp,
    ) -> Result<Reader, Error> {
        let mut before = None;
        loop {
            let (replica, tail) = {
                let index = self.index();
                let replica = *index.get(chunk).ok_or(Error::NotFound(chunk))?;
                (replica, index.open(chunk).and_then(|open| open.tail))
            };
            let finalized = match replica.state {
                State::Incoming => return Err(Error::NotFound(chunk)),
                State::Corrupt => {
                    return Err(Error::Corrupt { chunk, why: "this was found earlier".to_owned() });
                }
                State::Rbw | State::Rwr => false,
                State::Finalized => true,
            };
            if replica.generation < generation {
                return Err(Error::Stale { chunk, here: replica.generation, asked: generation });
            }
            let volume = Arc::clone(self.volume(replica.volume));
            let on = Arc::clone(&volume);
            let readable = Readable { length: replica.length, tail };
            let opened = volume.ask(chunk, move || {
                let paths = on.replica(replica.place, chunk, replica.generation);
                Reader::open(on, &paths, chunk, replica.generation, readable, finalized)
            });
            let at = (replica.place, replica.generation);
            match opened.await {
                Ok(reader) => return Ok(reader),
                Err(error @ (Error::Silent(_) | Error::OutOfUse(_))) => return Err(error),
                // It may have moved between the look into the index and the opening.
                Err(_) if before != Some(at) => before = Some(at),
                Err(error) => return Err(self.examine(chunk, replica.generation, &volume, error).await),
            }
        }
    }

    /// Runs `job` with an open replica on its volume's threads. Damage that the job finds is noted and reported.
    pub(crate) async fn read_with<T, F>(&self, reader: &Arc<Reader>, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&Reader) -> Result<T, Error> + Send + 'static,
    {
        let with = Arc::clone(reader);
        match reader.volume().ask(reader.chunk, move || job(&with)).await {
            Ok(value) => Ok(value),
            Err(error) => Err(self.examine(reader.chunk, reader.generation, reader.volume(), error).await),
        }
    }

    /// Finds out what an error means for the replica and for its volume: damage is reported, and a volume that no
    /// longer works is taken out of use. An error of the process itself means nothing for either. Answers with the
    /// error.
    async fn examine(
        &self,
        chunk: ChunkId,
        generation: GenStamp,
        volume: &Arc<Volume>,
        error: Error,
    ) -> Error {
        match &error {
            Error::Corrupt { why, .. } => self.mark_corrupt(chunk, generation, volume, why),
            Error::Io { source, .. } if is_process_error(source) => {
                warn!(%chunk, %generation, %error, "the process lacks resources");
            }
            Error::Io { source, writing, .. } => {
                let on = Arc::clone(volume);
                match volume.examine(move || on.probe()).await {
                    Some(Err(probe)) if is_process_error(&probe) => {
                        warn!(%chunk, %generation, %error, %probe, "the volume cannot be tried now");
                    }
                    Some(Err(probe)) => self.fail_volume(volume, probe.to_string()),
                    Some(Ok(())) if *writing && is_device_error(source) => {
                        self.fail_volume(volume, source.to_string());
                    }
                    Some(Ok(())) => self.mark_corrupt(chunk, generation, volume, &error.to_string()),
                    // A disk that does not answer says nothing about one replica.
                    None => warn!(%chunk, %generation, %error, "the volume does not answer"),
                }
            }
            Error::NotFound(_)
            | Error::Stale { .. }
            | Error::Unfit { .. }
            | Error::Exists { .. }
            | Error::NoSpace(_)
            | Error::Full(_)
            | Error::DamagedPacket { .. }
            | Error::BadPacket { .. }
            | Error::Held(_)
            | Error::Promised { .. }
            | Error::OutOfUse(_)
            | Error::Silent(_) => {}
        }
        error
    }

    /// Notes and reports that the replica on this volume is damaged. One that has a writer is the writer's to judge.
    pub(crate) fn mark_corrupt(&self, chunk: ChunkId, generation: GenStamp, on: &Arc<Volume>, why: &str) {
        let mut index = self.index();
        // Whatever its state: who reopens a complete replica moves its files away from where a reader looks.
        if index.open(chunk).is_some_and(|open| open.writer.is_some()) {
            return;
        }
        let Some(replica) = index.get(chunk) else { return };
        match replica.state {
            State::Incoming | State::Corrupt => return,
            State::Rbw | State::Rwr | State::Finalized => {}
        }
        // Another one of the same generation may have taken its place meanwhile.
        if replica.generation == generation && Arc::ptr_eq(self.volume(replica.volume), on) {
            warn!(%chunk, %generation, reason = why, "replica is corrupt");
            let corrupt = index.change(chunk, |replica| replica.state = State::Corrupt);
            self.push(corrupt.and_then(|replica| self.record_of(chunk, &replica)), false);
        }
    }

    /// Must be called while the index is locked, so that the order of reports is that of the changes.
    fn push(&self, record: Option<ReplicaRecord>, deleted: bool) {
        if let Some(replica) = record {
            self.reports.push(Change { replica, deleted });
        }
    }

    /// How many replicas have come so far; to be asked for before a leader is asked for orders.
    pub(crate) fn births(&self) -> u64 {
        self.index().births()
    }

    /// Notes which of these versions of replicas are to be deleted. Answers, for each volume by its number, the chunks to
    /// call [`delete_ordered`](Self::delete_ordered) for; those not here, and those ordered before, are not among them.
    pub(crate) fn order_deletions(
        &self,
        replicas: &[(ChunkId, GenStamp)],
        order: DeletionOrder,
    ) -> Vec<Vec<ChunkId>> {
        let mut chunks = vec![Vec::new(); self.volumes.len()];
        let mut index = self.index();
        for (chunk, generation) in replicas {
            if index.order_deletion(*chunk, *generation, order)
                && let Some(replica) = index.get(*chunk)
            {
                chunks[usize::from(replica.volume)].push(*chunk);
            }
        }
        chunks
    }

    /// How many volumes there are, in use or not.
    pub(crate) fn volume_count(&self) -> usize {
        self.volumes.len()
    }

    /// Forgets orders to delete that cannot be carried out.
    pub(crate) fn drop_deletions(&self, chunks: &[ChunkId]) {
        let mut index = self.index();
        for chunk in chunks {
            index.take_order(*chunk);
        }
    }

    /// Deletes a chunk's replica as it was ordered. `false` if there is nothing to be done any more, or the order is of
    /// a leader who has been replaced.
    pub(crate) async fn delete_ordered(
        self: &Arc<Self>,
        chunk: ChunkId,
        fence: &Fence,
    ) -> Result<bool, Error> {
        let order = self.index().take_order(chunk);
        match order {
            Some((generation, term)) if fence.allows(term) => {
                self.delete(chunk, generation, || fence.allows(term)).await
            }
            Some(_) | None => Ok(false),
        }
    }

    /// Deletes exactly this version of a replica, if `may` says so at the last moment. `false` if it is not here, or
    /// may not be deleted.
    pub(crate) async fn delete(
        self: &Arc<Self>,
        chunk: ChunkId,
        generation: GenStamp,
        may: impl FnOnce() -> bool + Send,
    ) -> Result<bool, Error> {
        let exact = |replica: &Replica, _promised: GenStamp| {
            if replica.generation == generation && replica.state != State::Incoming {
                Ok(())
            } else {
                Err(Error::Stale { chunk, here: replica.generation, asked: generation })
            }
        };
        let (claim, replica) = match self.claim(chunk, exact).await {
            Ok(claimed) => claimed,
            Err(Error::NotFound(_) | Error::Stale { .. }) => return Ok(false),
            Err(error) => return Err(error),
        };
        let volume = Arc::clone(self.volume(replica.volume));
        if volume.health() == VolumeHealth::Suspect {
            // It stays, and is ordered again: who knows when its files are gone.
            return Err(Error::Silent(volume.path.clone()));
        }
        let leaving = {
            let mut index = self.index();
            // Asked together with the index: a report that tells a newer fence does not tell of this replica.
            if !may() {
                return Ok(false);
            }
            // From here on nobody reads it; it is reported as gone when its bytes are.
            index.leave(chunk);
            Leaving { store: Arc::clone(self), chunk, replica }
        };
        let on = Arc::clone(&volume);
        let removed = volume.run(chunk, move || {
            let _until_removed = (leaving, claim);
            let paths = on.replica(replica.place, chunk, generation);
            on.remove(&paths).map_err(on.write_error("remove a replica"))?;
            on.removed(stored_bytes(replica.length));
            Ok(())
        });
        match removed.await {
            Ok(()) => Ok(true),
            Err(error) => Err(self.examine(chunk, generation, &volume, error).await),
        }
    }

    /// Seconds since the process started, the clock of [`Replica::verified`].
    fn now(&self) -> u32 {
        self.started.elapsed().as_secs() as u32
    }

    /// The replicas that the scrubber should look at next: never yet, or not for `interval`.
    pub(crate) fn due_for_verification(&self, interval: Duration, limit: usize) -> Vec<(ChunkId, GenStamp)> {
        let due = self.now().saturating_sub(interval.as_secs() as u32);
        let index = self.index();
        let (total, verified) = index.verified_count();
        self.metrics.scrub_total.set(total as i64);
        self.metrics.scrub_verified.set(verified as i64);
        index.due_for_verification(due, limit)
    }

    /// Notes that a replica's checksums were looked at.
    pub(crate) fn mark_verified(&self, chunk: ChunkId, generation: GenStamp) {
        let now = self.now();
        self.index().change(chunk, |replica| {
            if replica.generation == generation {
                replica.verified = Some(now);
            }
        });
    }
}

/// A replica whose files are being removed. When this is dropped they are, or can't be, and it is reported as gone.
#[derive(Debug)]
struct Leaving {
    store: Arc<Store>,
    chunk: ChunkId,
    replica: Replica,
}

impl Drop for Leaving {
    fn drop(&mut self) {
        let mut index = self.store.index();
        if index.left(self.chunk, self.replica.birth) {
            self.store.push(self.store.record_of(self.chunk, &self.replica), true);
        }
    }
}

/// Does something at start again while this process lacks what it needs for it, for a minute at most.
async fn with_resources<T, E, F>(mut attempt: impl FnMut() -> F) -> Result<io::Result<T>, E>
where
    F: Future<Output = Result<io::Result<T>, E>>,
{
    for _ in 1..SCANS {
        match attempt().await {
            Ok(Err(error)) if is_process_error(&error) => {
                warn!(%error, "the process lacks resources to read a volume: it is tried again");
                sleep(SCAN_PAUSE).await;
            }
            done => return done,
        }
    }
    attempt().await
}

/// Takes what a scan found on a volume into the index. Of two replicas of a chunk the newer one counts, and of equally new
/// ones one that is not damaged; the others are duplicates.
fn adopt(index: &mut Index, number: u16, found: Vec<Found>) {
    for found in found {
        let chunk = found.chunk;
        let new = Duplicate { chunk, replica: replica_of(number, &found) };
        if let Some(other) = index.get(chunk).copied() {
            warn!(%chunk, generation = %found.generation, other = %other.generation, "chunk has two replicas on this node");
            let rank = |replica: &Replica| (replica.generation, replica.state != State::Corrupt);
            if rank(&other) >= rank(&new.replica) {
                index.duplicates.insert(new);
                continue;
            }
            index.duplicates.insert(Duplicate { chunk, replica: other });
        }
        index.insert(chunk, new.replica);
    }
}

fn replica_of(volume: u16, found: &Found) -> Replica {
    let Found { chunk: _, generation, place, length, state } = *found;
    Replica { volume, generation, length, state, place, verified: None, birth: 0 }
}
