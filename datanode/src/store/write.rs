//! Creating, continuing and finishing replicas.

use std::sync::Arc;
use std::time::Duration;

use dfs_types::{ChunkId, GenStamp, InodeId, StorageType, VolumeHealth};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{REPORT_LIMIT, Store};
use crate::reports::{Change, Told};
use crate::volume::index::{Index, Slot};
use crate::volume::layout::Place;
use crate::volume::replica::{Replica, State};
use crate::volume::replica_file::{Header, OddEnd, Version};
use crate::volume::space::{choose, stored_bytes};
use crate::volume::writer::{Files, Packet, Progress, Readable};
use crate::volume::{Error, Reservation, Volume};

/// How long a session that was told to stop may take: what it does meanwhile is at most one fsync.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// The right to change a replica's files; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    store: Arc<Store>,
    chunk: ChunkId,
    slot: Arc<Slot>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut index = self.store.index();
        let writer = index.open(self.chunk).and_then(|open| open.writer.as_ref());
        if writer.is_some_and(|writer| Arc::ptr_eq(writer, &self.slot)) {
            let open = index.open_mut(self.chunk);
            open.writer = None;
            let promised = open.promised > GenStamp(0);
            match index.get(self.chunk).map(|replica| replica.state) {
                // A copy that was not completed is worth nothing; its files go at the next start at the latest.
                Some(State::Incoming) => drop(index.remove(self.chunk)),
                Some(State::Finalized | State::Corrupt | State::Rwr) if !promised => index.close(self.chunk),
                Some(State::Finalized | State::Corrupt | State::Rwr | State::Rbw) | None => {}
            }
        }
        drop(index);
        self.slot.released.cancel();
    }
}

impl Claim {
    /// Changes what the index says of the replica. `None`, and nothing is changed, if its volume failed meanwhile: the
    /// replica is gone then, and another one may be in its place.
    pub(super) fn note<T>(&self, change: impl FnOnce(&mut Index) -> T) -> Option<T> {
        let mut index = self.store.index();
        let writer = index.open(self.chunk).and_then(|open| open.writer.as_ref());
        let holds = writer.is_some_and(|writer| Arc::ptr_eq(writer, &self.slot));
        holds.then(|| change(&mut index))
    }

    /// Lets readers see what is written.
    fn publish(&self, readable: Readable) -> Result<(), Error> {
        let published = self.note(|index| {
            index.change(self.chunk, |replica| replica.length = readable.length);
            index.open_mut(self.chunk).tail = readable.tail;
        });
        published.ok_or(Error::OutOfUse(self.chunk))
    }

    /// Notes that the replica is complete, or as far as it goes for now, and reports it.
    fn settle(&self, state: State, place: Place) -> Result<Option<Told>, Error> {
        let settled = self.note(|index| {
            let settled = index.change(self.chunk, |replica| {
                replica.state = state;
                replica.place = place;
            });
            if state == State::Finalized {
                index.close(self.chunk);
                self.store.wanted.add(self.chunk);
            }
            let record = settled.and_then(|replica| self.store.record_of(self.chunk, &replica));
            record.map(|replica| self.store.reports.push_awaited(Change { replica, deleted: false }))
        });
        settled.ok_or(Error::OutOfUse(self.chunk))
    }

    /// Notes that the replica's files are gone, and reports it.
    fn forget(&self) {
        let forgotten = self.note(|index| {
            let removed = index.remove(self.chunk);
            self.store.push(removed.and_then(|replica| self.store.record_of(self.chunk, &replica)), true);
        });
        // If it was not there any more, the failure of its volume has told of it.
        forgotten.unwrap_or_default();
    }
}

/// The claim of a replica whose files are to be created; unless they were, it is forgotten when this is dropped.
#[derive(Debug)]
struct Attempt(Option<Claim>);

impl Drop for Attempt {
    fn drop(&mut self) {
        if let Some(claim) = self.0.take() {
            claim.forget();
        }
    }
}

/// A replica to be created.
#[derive(Debug, Clone)]
pub(crate) struct NewReplica {
    /// The chunk.
    pub(crate) chunk: ChunkId,
    /// Its generation.
    pub(crate) generation: GenStamp,
    /// The file.
    pub(crate) inode: InodeId,
    /// Which of the file's chunks this is.
    pub(crate) index: u64,
    /// The file's path.
    pub(crate) path: String,
    /// Bytes at most.
    pub(crate) chunk_size: u64,
    /// Bytes to reserve room for.
    pub(crate) expected_length: u64,
    /// Storage that it shall be on, if there is room; `None`: any.
    pub(crate) storage: Option<StorageType>,
    /// Another DataNode sends it: nobody is told of it before it is complete.
    pub(crate) copy: bool,
}

#[derive(Debug)]
struct Held {
    // In this order: the files are closed before somebody else may open them.
    files: Files,
    claim: Claim,
}

/// A replica being written by one session.
#[derive(Debug)]
pub(crate) struct Writer {
    /// Absent after a disk job was lost, or is not waited for any more.
    held: Option<Box<Held>>,
    store: Arc<Store>,
    volume: Arc<Volume>,
    slot: Arc<Slot>,
    chunk: ChunkId,
    generation: GenStamp,
}

impl Store {
    /// Waits until nobody writes the replica and takes the right to do so, if `allowed` (which is told of promised
    /// generations) says that this is right; before that nobody is disturbed.
    pub(super) async fn claim<F>(
        self: &Arc<Self>,
        chunk: ChunkId,
        allowed: F,
    ) -> Result<(Claim, Replica), Error>
    where
        F: Fn(&Replica, GenStamp) -> Result<(), Error>,
    {
        let deadline = Instant::now() + STOP_LIMIT;
        loop {
            let writer = {
                let mut index = self.index();
                let replica = *index.get(chunk).ok_or(Error::NotFound(chunk))?;
                allowed(&replica, index.open(chunk).map_or(GenStamp(0), |open| open.promised))?;
                let open = index.open_mut(chunk);
                if let Some(writer) = &open.writer {
                    writer.stop.cancel();
                    Arc::clone(writer)
                } else {
                    let slot = Arc::new(Slot::default());
                    open.writer = Some(Arc::clone(&slot));
                    return Ok((Claim { store: Arc::clone(self), chunk, slot }, replica));
                }
            };
            if timeout_at(deadline, writer.released.cancelled()).await.is_err() {
                return Err(Error::Held(chunk));
            }
        }
    }

    /// Takes the right to change a replica's files at once, if nobody has it and `allowed` says that this is right. Whoever
    /// comes later waits until the claim is dropped: for something short that can be left for later.
    pub(super) fn try_claim<F>(
        self: &Arc<Self>,
        chunk: ChunkId,
        allowed: F,
    ) -> Result<(Claim, Replica), Error>
    where
        F: FnOnce(&Replica, GenStamp) -> Result<(), Error>,
    {
        let mut index = self.index();
        let replica = *index.get(chunk).ok_or(Error::NotFound(chunk))?;
        let promised = index.open(chunk).map_or(GenStamp(0), |open| open.promised);
        allowed(&replica, promised)?;
        if index.open(chunk).is_some_and(|open| open.writer.is_some()) {
            return Err(Error::Held(chunk));
        }
        let slot = Arc::new(Slot::default());
        index.open_mut(chunk).writer = Some(Arc::clone(&slot));
        Ok((Claim { store: Arc::clone(self), chunk, slot }, replica))
    }

    /// Makes way for a new replica: an older one that never was complete is stale since the NameNode gave the chunk
    /// a new generation, and goes.
    async fn supersede(self: &Arc<Self>, chunk: ChunkId, generation: GenStamp) -> Result<(), Error> {
        let old = {
            let index = self.index();
            let Some(old) = index.get(chunk).copied() else { return Ok(()) };
            let promised = index.open(chunk).map_or(GenStamp(0), |open| open.promised);
            if promised > generation {
                return Err(Error::Promised { chunk, promised });
            }
            old
        };
        match old.state {
            State::Rbw | State::Rwr if old.generation < generation => {
                self.delete(chunk, old.generation, || true).await.map(|_gone| ())
            }
            State::Rbw | State::Rwr | State::Incoming | State::Finalized | State::Corrupt => {
                Err(Error::Exists { chunk, generation: old.generation })
            }
        }
    }

    /// Chooses a volume and promises room on it: one with this storage, or any if none of these has room. Whoever wished for
    /// it knew the volumes as they were a while ago.
    fn reserve(&self, bytes: u64, storage: Option<StorageType>) -> Result<(u16, Reservation), Error> {
        let wanted = |volume: &Volume| storage.is_none_or(|storage| self.storage_of(&volume.path) == storage);
        match self.reserve_where(bytes, wanted) {
            Err(_) if storage.is_some() => self.reserve_where(bytes, |_| true),
            reserved => reserved,
        }
    }

    fn reserve_where(
        &self,
        bytes: u64,
        may_use: impl Fn(&Volume) -> bool,
    ) -> Result<(u16, Reservation), Error> {
        let available = |volume: &Arc<Volume>| match volume.health() {
            VolumeHealth::Healthy if may_use(volume) => volume.space(|space| space.available()),
            VolumeHealth::Healthy | VolumeHealth::Suspect | VolumeHealth::Failed => 0,
        };
        let mut available: Vec<u64> = self.volumes.iter().map(available).collect();
        while let Some(number) = choose(&available, bytes, rand::random()) {
            if let Some(reservation) = Reservation::take(&self.volumes[number], bytes) {
                return Ok((number as u16, reservation));
            }
            // Somebody else was faster.
            available[number] = 0;
        }
        Err(Error::NoSpace(bytes))
    }

    /// Creates a replica and its files.
    pub(crate) async fn create(self: &Arc<Self>, new: NewReplica) -> Result<Writer, Error> {
        let NewReplica { chunk, generation, inode, index: number_in_file, .. } = new;
        let NewReplica { path, chunk_size, expected_length, storage, copy, .. } = new;
        self.supersede(chunk, generation).await?;
        let (number, reservation) = self.reserve(stored_bytes(expected_length.min(chunk_size)), storage)?;
        let volume = Arc::clone(self.volume(number));
        let (place, state) = if copy { (Place::Tmp, State::Incoming) } else { (Place::Rbw, State::Rbw) };
        let slot = Arc::new(Slot::default());
        {
            let mut index = self.index();
            if let Some(other) = index.get(chunk) {
                return Err(Error::Exists { chunk, generation: other.generation });
            }
            if index.is_leaving(chunk) {
                return Err(Error::Held(chunk));
            }
            let replica =
                Replica { volume: number, generation, length: 0, state, place, verified: None, birth: 0 };
            index.insert(chunk, replica);
            index.open_mut(chunk).writer = Some(Arc::clone(&slot));
            self.push(self.record_of(chunk, &replica), false);
        }
        let claim = Claim { store: Arc::clone(self), chunk, slot: Arc::clone(&slot) };
        let mut attempt = Attempt(Some(claim));
        let header = Header {
            version: Version::at(self.level()),
            cluster: self.cluster,
            chunk,
            generation,
            inode,
            index: number_in_file,
            path,
            origin: Vec::new(),
            length: None,
            synced: <[OddEnd; 2]>::default(),
        };
        let (on, metrics) = (Arc::clone(&volume), Arc::clone(&self.metrics));
        let created = volume.run(chunk, move || {
            let files = Files::create(on, place, header, chunk_size, reservation, metrics)?;
            let claim = attempt.0.take().ok_or(Error::OutOfUse(chunk))?;
            Ok(Box::new(Held { files, claim }))
        });
        match created.await {
            Ok(held) => {
                let store = Arc::clone(self);
                Ok(Writer { held: Some(held), store, volume, slot, chunk, generation })
            }
            Err(error) => Err(self.examine(chunk, generation, &volume, error).await),
        }
    }

    /// Goes on with a replica whose pipeline broke, under a new generation; with a chunk size, and bytes in all to reserve
    /// room for.
    pub(crate) async fn reopen(
        self: &Arc<Self>,
        chunk: ChunkId,
        generation: GenStamp,
        min_length: u64,
        (chunk_size, expected_length): (u64, u64),
    ) -> Result<Writer, Error> {
        let allowed = |replica: &Replica, promised: GenStamp| {
            if promised > generation {
                return Err(Error::Promised { chunk, promised });
            }
            let stale = Error::Stale { chunk, here: replica.generation, asked: generation };
            match replica.state {
                State::Incoming => return Err(Error::NotFound(chunk)),
                State::Corrupt => {
                    return Err(Error::Corrupt { chunk, why: "this was found earlier".to_owned() });
                }
                State::Finalized if generation <= replica.generation => return Err(stale),
                State::Rbw | State::Rwr if generation < replica.generation => return Err(stale),
                State::Finalized | State::Rbw | State::Rwr => {}
            }
            if replica.length < min_length || replica.length > chunk_size {
                let why = format!("its replica has {} of {min_length} acknowledged bytes", replica.length);
                return Err(Error::Unfit { chunk, why });
            }
            Ok(())
        };
        let (claim, replica) = self.claim(chunk, allowed).await?;
        let progress = Progress::recover(replica.length, min_length, chunk_size);
        self.open_claimed(claim, replica, generation, progress, expected_length).await
    }

    /// Opens the files of a claimed replica under a new generation, with room for so many bytes in all.
    pub(super) async fn open_claimed(
        self: &Arc<Self>,
        claim: Claim,
        replica: Replica,
        generation: GenStamp,
        progress: Progress,
        expected_length: u64,
    ) -> Result<Writer, Error> {
        let chunk = claim.chunk;
        let slot = Arc::clone(&claim.slot);
        let volume = Arc::clone(self.volume(replica.volume));
        if volume.health() == VolumeHealth::Suspect {
            return Err(Error::Silent(volume.path.clone()));
        }
        let more = stored_bytes(expected_length).saturating_sub(stored_bytes(replica.length));
        let reservation = Reservation::take(&volume, more).ok_or(Error::NoSpace(more))?;
        let (on, metrics) = (Arc::clone(&volume), Arc::clone(&self.metrics));
        let old = (replica.place, replica.generation);
        let opened = volume.run(chunk, move || {
            let files = Files::reopen(on, chunk, old, generation, progress, reservation, metrics)?;
            let tail = files.readable().tail;
            let reopened = claim.note(|index| {
                let reopened = index.change(chunk, |replica| {
                    replica.generation = generation;
                    replica.state = State::Rbw;
                    replica.place = Place::Rbw;
                    replica.verified = None;
                });
                index.open_mut(chunk).tail = tail;
                claim.store.push(reopened.and_then(|replica| claim.store.record_of(chunk, &replica)), false);
            });
            reopened.ok_or(Error::OutOfUse(chunk))?;
            Ok(Box::new(Held { files, claim }))
        });
        let held = match opened.await {
            Ok(held) => held,
            Err(error) => return Err(self.examine(chunk, replica.generation, &volume, error).await),
        };
        Ok(Writer { held: Some(held), store: Arc::clone(self), volume, slot, chunk, generation })
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.let_go();
    }
}

impl Writer {
    /// Cancelled when somebody else wants the replica.
    pub(crate) fn stop(&self) -> CancellationToken {
        self.slot.stop.clone()
    }

    /// Runs `job` with the open files on the volume's threads. It notes by the claim what it changed: nobody may be waiting
    /// for it by then.
    async fn with<T, F>(&mut self, job: F) -> Result<T, Error>
    where
        T: Send + 'static,
        F: FnOnce(&mut Files, &Claim) -> Result<T, Error> + Send + 'static,
    {
        let mut held = self.held.take().ok_or(Error::OutOfUse(self.chunk))?;
        let done = self.volume.run(self.chunk, move || {
            let result = job(&mut held.files, &held.claim);
            Ok((held, result))
        });
        let (held, result) = done.await?;
        self.held = Some(held);
        match result {
            Ok(value) => Ok(value),
            Err(error) => Err(self.store.examine(self.chunk, self.generation, &self.volume, error).await),
        }
    }

    /// Writes packets in order up to the first that fails. Answers how many were written, and the error. `held` is kept as
    /// long as the packets are: a disk that hangs keeps them after their session has ended.
    pub(crate) async fn write<H: Send + 'static>(
        &mut self,
        packets: Vec<Packet>,
        sync: bool,
        held: H,
    ) -> (usize, Result<(), Error>) {
        let written = self.with(move |files, claim| {
            let _until_written = held;
            let (mut done, mut result) = (0, Ok(()));
            for packet in &packets {
                result = files.write(packet, sync);
                if result.is_err() {
                    break;
                }
                done += 1;
            }
            claim.publish(files.readable())?;
            Ok((done, result))
        });
        match written.await {
            Ok((done, Ok(()))) => (done, Ok(())),
            Ok((done, Err(error))) => {
                let examined = self.store.examine(self.chunk, self.generation, &self.volume, error).await;
                (done, Err(examined))
            }
            Err(error) => (0, Err(error)),
        }
    }

    /// Cuts the replica to `length` bytes.
    pub(super) async fn cut(&mut self, length: u64) -> Result<(), Error> {
        let cut = move |files: &mut Files, claim: &Claim| {
            files.cut(length)?;
            claim.publish(files.readable())
        };
        self.with(cut).await
    }

    /// Completes the replica, reports it, and waits (within limits) until the NameNodes know.
    pub(crate) async fn finalize(&mut self, sync: bool) -> Result<(), Error> {
        let finalized = self.with(move |files, claim| {
            files.finalize(sync)?;
            claim.settle(State::Finalized, Place::Current)
        });
        let told = finalized.await?;
        self.told(told).await;
        Ok(())
    }

    /// Completes a copy that stays open for its writer to come.
    pub(crate) async fn keep_open(&mut self, sync: bool) -> Result<(), Error> {
        let kept = self.with(move |files, claim| {
            files.keep_open(sync)?;
            claim.settle(State::Rbw, Place::Rbw)
        });
        let told = kept.await?;
        self.told(told).await;
        Ok(())
    }

    /// Closes the files, and then others may have the replica.
    fn let_go(&mut self) {
        if let Some(held) = self.held.take() {
            self.volume.pool.drop_later(held);
        }
    }

    async fn told(&mut self, told: Option<Told>) {
        // Whoever waits for this replica need not wait for the NameNode too.
        self.let_go();
        if let Some(told) = told
            && !told.wait(REPORT_LIMIT).await
        {
            tracing::warn!(chunk = %self.chunk, "no NameNode took the report of the replica in time");
        }
    }

    /// Removes a replica that is worth nothing: empty, or an incomplete copy.
    pub(crate) async fn remove(mut self) -> Result<(), Error> {
        let remove = |files: &mut Files, claim: &Claim| {
            files.remove()?;
            claim.forget();
            Ok(())
        };
        self.with(remove).await
    }
}
