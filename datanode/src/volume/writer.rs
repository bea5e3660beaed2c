//! The files of one replica that is being written, and the rules its packets must follow.

use std::fs::File;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use dfs_types::checksum::{checksum_length, crc32c, verify};
use dfs_types::limits::{BYTES_PER_CHECKSUM, CHECKSUM_BYTES, MAX_PACKET_BYTES};
use dfs_types::{ChunkId, GenStamp};
use rustix::fs::{Advice, fadvise};

use super::layout::{Place, sync_directory};
use super::replica_file::{Header, OddEnd, read_exact, sum_position, write_header};
use super::space::stored_bytes;
use super::{Error, ReplicaPaths, Reservation, Volume};
use crate::disk_pool::disk_answered;
use crate::metrics::Metrics;

/// Bytes after which the kernel is asked to begin writing to the disk, so that the fsync at the end is short: large
/// enough for efficient requests, small enough that several are under way within one chunk.
const WRITEBACK_BYTES: u64 = 8 << 20;
const UNIT: u64 = BYTES_PER_CHECKSUM as u64;

/// One packet of a chunk stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    /// 0, 1, 2 … within the stream.
    pub(crate) sequence: u64,
    /// Where in the chunk the data belongs.
    pub(crate) offset: u64,
    /// The data.
    pub(crate) data: Bytes,
    /// Its checksums.
    pub(crate) checksums: Bytes,
    /// The chunk ends with this packet.
    pub(crate) last: bool,
    /// The data may end at an odd byte and is readable when acknowledged.
    pub(crate) flush: bool,
    /// The same, and durable.
    pub(crate) sync: bool,
}

/// How far a replica is written, and which packet may come next. Pure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Bytes written and readable.
    length: u64,
    /// Where the previous packet of this stream ended; `None` before the first of one that continues a broken one.
    end: Option<u64>,
    /// Bytes that must never be cut off.
    min_length: u64,
    /// Bytes at most.
    chunk_size: u64,
}

/// What a packet does to the replica's length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    /// The replica is (at least) this long afterwards.
    Extends(u64),
    /// Bytes beyond this are cut off.
    Cuts(u64),
}

impl Progress {
    /// A new replica.
    pub(crate) fn create(chunk_size: u64) -> Self {
        Self { length: 0, end: Some(0), min_length: 0, chunk_size }
    }

    /// A replica of `length` bytes whose bytes from `min_length` on may be sent again.
    pub(crate) fn recover(length: u64, min_length: u64, chunk_size: u64) -> Self {
        Self { length, end: None, min_length, chunk_size }
    }

    fn judge(&self, packet: &Packet) -> Result<Effect, String> {
        let length = packet.data.len() as u64;
        let end = packet.offset.saturating_add(length);
        if packet.data.len() > MAX_PACKET_BYTES {
            return Err(format!("it has {length} bytes: at most {MAX_PACKET_BYTES} are allowed"));
        }
        if end > self.chunk_size {
            return Err(format!("it ends at {end}, beyond the chunk size {}", self.chunk_size));
        }
        let odd = !end.is_multiple_of(UNIT);
        if length > 0 {
            if !packet.offset.is_multiple_of(UNIT) {
                return Err(format!("its offset {} is no multiple of {UNIT}", packet.offset));
            }
            if odd && !(packet.last || packet.flush || packet.sync) {
                return Err(format!("it ends at {end}, no multiple of {UNIT}, without being flushed"));
            }
        }
        match self.end {
            Some(before) => {
                let expected = if length > 0 { before - before % UNIT } else { before };
                if packet.offset != expected || end < before {
                    return Err(format!("it covers {}..{end}, but {expected} follows", packet.offset));
                }
            }
            None if packet.offset > self.length => {
                return Err(format!("it begins at {}, beyond the {} bytes here", packet.offset, self.length));
            }
            None => {}
        }
        let cuts = end < self.length && (packet.last || (odd && length > 0));
        match cuts {
            true if end < self.min_length => {
                Err(format!("it would cut the replica to {end} of {} acknowledged bytes", self.min_length))
            }
            true => Ok(Effect::Cuts(end)),
            false => Ok(Effect::Extends(end.max(self.length))),
        }
    }
}

/// How far a replica is readable, and the checksum of its odd last bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Readable {
    /// Bytes.
    pub(crate) length: u64,
    /// Checksum of those after the last multiple of 512, if there are any.
    pub(crate) tail: Option<[u8; CHECKSUM_BYTES]>,
}

/// An open replica. All methods block; dropping it closes the files and gives reserved space back.
#[derive(Debug)]
pub(crate) struct Files {
    volume: Arc<Volume>,
    chunk: ChunkId,
    generation: GenStamp,
    place: Place,
    data: File,
    sums: File,
    header: Header,
    progress: Progress,
    tail: Option<[u8; CHECKSUM_BYTES]>,
    reservation: Reservation,
    /// Bytes from here on were not yet pushed towards the disk.
    pushed: u64,
    /// The names of the files are durable; until then a power cut takes even synced bytes away.
    named: bool,
    metrics: Arc<Metrics>,
}

impl Files {
    /// Creates the files of a new replica.
    pub(crate) fn create(
        volume: Arc<Volume>,
        place: Place,
        header: Header,
        chunk_size: u64,
        reservation: Reservation,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        let (chunk, generation) = (header.chunk, header.generation);
        let paths = volume.replica(place, chunk, generation);
        let open = |path| File::options().read(true).write(true).create(true).truncate(true).open(path);
        let create = || {
            // Checksums first: data never stands alone.
            let sums = open(&paths.sums)?;
            write_header(&sums, &header)?;
            Ok((open(&paths.data)?, sums))
        };
        let (data, sums) = create().map_err(volume.write_error("create a replica"))?;
        let progress = Progress::create(chunk_size);
        Ok(Self {
            volume,
            chunk,
            generation,
            place,
            data,
            sums,
            header,
            progress,
            tail: None,
            reservation,
            pushed: 0,
            named: false,
            metrics,
        })
    }

    /// Opens the files of a replica that exists under `old` and goes on as `generation` among those being written. The
    /// new names are durable: once the NameNode has committed the generation, a replica that a power cut brings back
    /// under the old one is stale.
    pub(crate) fn reopen(
        volume: Arc<Volume>,
        chunk: ChunkId,
        old: (Place, GenStamp),
        generation: GenStamp,
        progress: Progress,
        reservation: Reservation,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        let paths = volume.replica(Place::Rbw, chunk, generation);
        let before = volume.replica(old.0, chunk, old.1);
        let moves = old != (Place::Rbw, generation);
        if moves {
            volume.rename(&before, &paths).map_err(volume.write_error("move a replica"))?;
        }
        let back = Arc::clone(&volume);
        let mut opened = Self::open_moved(volume, chunk, generation, &paths, progress, reservation, metrics);
        if moves {
            // Last, so that what is moved back was never made durable.
            opened = opened.and_then(|mut files| files.sync_names().map(|()| files));
            if opened.is_err() {
                back.rename(&paths, &before).map_err(back.write_error("move a replica back"))?;
            }
        }
        opened
    }

    fn open_moved(
        volume: Arc<Volume>,
        chunk: ChunkId,
        generation: GenStamp,
        paths: &ReplicaPaths,
        progress: Progress,
        reservation: Reservation,
        metrics: Arc<Metrics>,
    ) -> Result<Self, Error> {
        let open = |path| File::options().read(true).write(true).open(path);
        let open_both = || Ok((open(&paths.data)?, open(&paths.sums)?));
        let (data, sums) = open_both().map_err(volume.read_error("open a replica"))?;
        let corrupt = |why: String| Error::Corrupt { chunk, why };
        let header = Header::read(&sums)
            .map_err(volume.read_error("read a replica's header"))?
            .map_err(|error| corrupt(error.to_string()))?;
        let size = data.metadata().map_err(volume.read_error("measure a replica"))?.len();
        if header.chunk != chunk || size < progress.length {
            return Err(corrupt(format!("{size} bytes are there, {} are known", progress.length)));
        }
        let mut files = Self {
            volume,
            chunk,
            generation,
            place: Place::Rbw,
            data,
            sums,
            header: Header { length: None, ..header },
            progress,
            tail: None,
            reservation,
            pushed: progress.length,
            named: false,
            metrics,
        };
        files.tail = files.prove_tail(progress.length)?;
        Ok(files)
    }

    /// How far it is readable.
    pub(crate) fn readable(&self) -> Readable {
        Readable { length: self.progress.length, tail: self.tail }
    }

    /// Checks one packet against its checksums and the rules, and writes it.
    pub(crate) fn write(&mut self, packet: &Packet, sync: bool) -> Result<(), Error> {
        let sequence = packet.sequence;
        let effect = self.progress.judge(packet).map_err(|why| Error::BadPacket { sequence, why })?;
        verify(&packet.data, &packet.checksums).map_err(|source| {
            self.metrics.checksum_failures.with_label_values(&["write"]).inc();
            Error::DamagedPacket { chunk: self.chunk, sequence, source }
        })?;
        let end = packet.offset + packet.data.len() as u64;
        // A batch is many packets: it is as old as the one that is being written.
        disk_answered();
        if let Effect::Extends(length) = effect {
            let grown = stored_bytes(length).saturating_sub(stored_bytes(self.progress.length));
            if !self.reservation.ensure(grown) {
                return Err(Error::Full(self.volume.path.clone()));
            }
        }
        if !packet.data.is_empty() {
            let sums_at = sum_position(self.header.size() as u64, packet.offset);
            self.data
                .write_all_at(&packet.data, packet.offset)
                .map_err(self.volume.write_error("write data"))?;
            self.sums
                .write_all_at(&packet.checksums, sums_at)
                .map_err(self.volume.write_error("write checksums"))?;
            self.metrics.written_bytes.inc_by(packet.data.len() as u64);
        }
        self.metrics.packets_written.inc();
        match effect {
            Effect::Extends(length) => {
                let grown = stored_bytes(length).saturating_sub(stored_bytes(self.progress.length));
                self.reservation.wrote(grown);
                if end == length && !packet.data.is_empty() {
                    self.tail = last_sum(length, &packet.checksums);
                }
                self.progress.length = length;
            }
            Effect::Cuts(length) => {
                // The packet's own checksums, if it has any, are already those of the shorter tail.
                self.tail = if packet.data.is_empty() {
                    self.prove_cut_tail(length)?
                } else {
                    last_sum(length, &packet.checksums)
                };
                self.cut_files(length)?;
            }
        }
        self.progress.end = Some(end);
        if packet.sync {
            self.note_end()?;
            self.sync()?;
            if !self.named {
                self.sync_names()?;
            }
        } else if sync {
            self.push(end);
        }
        Ok(())
    }

    /// Cuts the replica to `length` bytes, which it must have.
    pub(crate) fn cut(&mut self, length: u64) -> Result<(), Error> {
        if length < self.progress.length {
            self.tail = self.prove_cut_tail(length)?;
            self.cut_files(length)?;
        }
        Ok(())
    }

    fn cut_files(&mut self, length: u64) -> Result<(), Error> {
        let removed = stored_bytes(self.progress.length) - stored_bytes(length);
        self.set_sizes(length)?;
        self.volume.removed(removed);
        self.progress.length = length;
        Ok(())
    }

    /// Makes both files exactly as long as `length` bytes of data need.
    fn set_sizes(&self, length: u64) -> Result<(), Error> {
        let sums = self.header.size() as u64 + checksum_length(length);
        self.data.set_len(length).map_err(self.volume.write_error("cut data"))?;
        self.sums.set_len(sums).map_err(self.volume.write_error("cut checksums"))
    }

    /// The checksum of the odd bytes before `length`, which must match the stored one.
    fn prove_tail(&self, length: u64) -> Result<Option<[u8; CHECKSUM_BYTES]>, Error> {
        if length.is_multiple_of(UNIT) {
            return Ok(None);
        }
        let (bytes, sum) = self.unit(length, length)?;
        if crc32c(&bytes).to_be_bytes() != sum {
            return Err(self.damaged_at(length - length % UNIT));
        }
        Ok(Some(sum))
    }

    /// Writes and answers with the checksum of the odd bytes before `length`, which lies before the present end; the
    /// unit must match its checksum as it is now.
    fn prove_cut_tail(&self, length: u64) -> Result<Option<[u8; CHECKSUM_BYTES]>, Error> {
        if length.is_multiple_of(UNIT) {
            return Ok(None);
        }
        let (bytes, sum) = self.unit(length, self.progress.length)?;
        if crc32c(&bytes).to_be_bytes() != sum {
            return Err(self.damaged_at(length - length % UNIT));
        }
        let kept = (length % UNIT) as usize;
        let sum = crc32c(&bytes[..kept]).to_be_bytes();
        let at = sum_position(self.header.size() as u64, length);
        self.sums.write_all_at(&sum, at).map_err(self.volume.write_error("write checksums"))?;
        Ok(Some(sum))
    }

    /// The unit that `at` lies in, as far as it goes in a replica of `length` bytes, and its stored checksum.
    fn unit(&self, at: u64, length: u64) -> Result<(Bytes, [u8; CHECKSUM_BYTES]), Error> {
        let start = at - at % UNIT;
        let size = UNIT.min(length - start) as usize;
        let bytes = read_exact(&self.data, start, size).map_err(self.volume.read_error("read data"))?;
        let at = sum_position(self.header.size() as u64, start);
        let mut sum = [0; CHECKSUM_BYTES];
        self.sums.read_exact_at(&mut sum, at).map_err(self.volume.read_error("read checksums"))?;
        Ok((bytes, sum))
    }

    fn damaged_at(&self, offset: u64) -> Error {
        self.metrics.checksum_failures.with_label_values(&["write"]).inc();
        let why = format!("the bytes at {offset} do not match their checksum");
        Error::Corrupt { chunk: self.chunk, why }
    }

    /// Asks the kernel to begin writing what was not yet pushed. `DONTNEED` starts writing dirty pages without
    /// waiting, as `sync_file_range` would, and drops only pages that are clean already. Advice that is not taken
    /// costs nothing but a longer fsync, so errors are none.
    fn push(&mut self, end: u64) {
        if let Some(length) = NonZeroU64::new(end.saturating_sub(self.pushed))
            && length.get() >= WRITEBACK_BYTES
        {
            let _ = fadvise(&self.data, self.pushed, Some(length), Advice::DontNeed);
            self.pushed = end;
        }
    }

    /// Notes in the header where the data ends, if that is within a unit, to be synced with it.
    fn note_end(&mut self) -> Result<(), Error> {
        let Some(sum) = self.tail else { return Ok(()) };
        let end = OddEnd { length: self.progress.length, sum };
        let [last, _] = self.header.synced;
        if end == last {
            return Ok(());
        }
        self.header.synced = [end, last];
        write_header(&self.sums, &self.header).map_err(self.volume.write_error("write a replica's header"))
    }

    /// Makes everything written durable.
    fn sync(&self) -> Result<(), Error> {
        #[cfg(feature = "seeded-bug")]
        if crate::seeded::has(crate::seeded::Bug::NoSync) {
            return Ok(());
        }
        let start = Instant::now();
        let sync = || {
            self.data.sync_data()?;
            self.sums.sync_data()
        };
        sync().map_err(self.volume.write_error("sync a replica"))?;
        self.metrics.fsync_seconds.observe(start.elapsed().as_secs_f64());
        Ok(())
    }

    /// Makes the names of the files durable.
    fn sync_names(&mut self) -> Result<(), Error> {
        let directory = self.volume.replica(self.place, self.chunk, self.generation).directory;
        sync_directory(&directory).map_err(self.volume.write_error("sync a directory"))?;
        self.named = true;
        Ok(())
    }

    /// Writes the final header and moves the replica among the finalized ones, durably if `sync`.
    pub(crate) fn finalize(&mut self, sync: bool) -> Result<(), Error> {
        let length = self.progress.length;
        self.header.generation = self.generation;
        self.header.length = Some(length);
        write_header(&self.sums, &self.header)
            .map_err(self.volume.write_error("write a replica's header"))?;
        self.settle(Place::Current, sync)
    }

    /// Moves a copy that came in among the replicas being written, where it waits for its writer.
    pub(crate) fn keep_open(&mut self, sync: bool) -> Result<(), Error> {
        self.settle(Place::Rbw, sync)
    }

    fn settle(&mut self, place: Place, sync: bool) -> Result<(), Error> {
        // A write that failed halfway may have left more bytes than are known.
        self.set_sizes(self.progress.length)?;
        if sync {
            self.sync()?;
            disk_answered();
        }
        let from = self.volume.replica(self.place, self.chunk, self.generation);
        let to = self.volume.replica(place, self.chunk, self.generation);
        self.volume.rename(&from, &to).map_err(self.volume.write_error("move a replica"))?;
        self.place = place;
        self.named = false;
        // Before anybody is told of it: a node's free space is as of the changes it has told.
        self.reservation.end();
        if sync { self.sync_names() } else { Ok(()) }
    }

    /// Removes the files.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        let paths = self.volume.replica(self.place, self.chunk, self.generation);
        self.volume.remove(&paths).map_err(self.volume.write_error("remove a replica"))?;
        self.volume.removed(stored_bytes(self.progress.length));
        Ok(())
    }
}

/// The checksum of the odd bytes at the end of `length`, being the last of `sums`.
fn last_sum(length: u64, sums: &[u8]) -> Option<[u8; CHECKSUM_BYTES]> {
    if length.is_multiple_of(UNIT) { None } else { sums.last_chunk().copied() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(offset: u64, length: usize) -> Packet {
        Packet {
            sequence: 0,
            offset,
            data: Bytes::from(vec![0; length]),
            checksums: Bytes::new(),
            last: false,
            flush: false,
            sync: false,
        }
    }

    fn flushed(offset: u64, length: usize) -> Packet {
        Packet { flush: true, ..packet(offset, length) }
    }

    fn last(offset: u64, length: usize) -> Packet {
        Packet { last: true, ..packet(offset, length) }
    }

    /// Judges the packets in turn; answers with the last effect.
    fn run(mut progress: Progress, packets: &[Packet]) -> Result<Effect, String> {
        let mut effect = Effect::Extends(progress.length);
        for packet in packets {
            effect = progress.judge(packet)?;
            let (Effect::Extends(length) | Effect::Cuts(length)) = effect;
            progress.length = length;
            progress.end = Some(packet.offset + packet.data.len() as u64);
        }
        Ok(effect)
    }

    #[test]
    fn a_plain_stream_extends() {
        let new = Progress::create(4_096);
        let packets = [packet(0, 1_024), flushed(1_024, 100), flushed(1_024, 100), last(1_024, 700)];
        assert_eq!(run(new, &packets), Ok(Effect::Extends(1_724)));
        assert_eq!(run(new, &[packet(0, 512), last(512, 0)]), Ok(Effect::Extends(512)));
        assert_eq!(run(new, &[flushed(0, 5), packet(5, 0), last(5, 0)]), Ok(Effect::Extends(5)));
    }

    #[test]
    fn what_breaks_the_rules_is_refused() {
        let new = Progress::create(4_096);
        for (packets, says) in [
            (vec![packet(0, MAX_PACKET_BYTES + 512)], "at most"),
            (vec![packet(0, 4_096), packet(4_096, 512)], "beyond the chunk size"),
            (vec![packet(u64::MAX, 512)], "beyond the chunk size"),
            (vec![flushed(0, 5), flushed(5, 5)], "no multiple"),
            (vec![packet(0, 5)], "without being flushed"),
            (vec![packet(512, 512)], "0 follows"),
            (vec![flushed(0, 50), flushed(0, 40)], "0 follows"),
            (vec![packet(0, 512), packet(0, 512)], "512 follows"),
            (vec![packet(0, 512), last(0, 0)], "512 follows"),
        ] {
            let refused = run(new, &packets).unwrap_err();
            assert!(refused.contains(says), "{packets:?}: {refused}");
        }
        let huge = Progress::create(u64::MAX);
        assert!(run(huge, &[packet(0, MAX_PACKET_BYTES + 512)]).unwrap_err().contains("at most"));
    }

    #[test]
    fn a_continued_stream_may_repeat_but_never_cut_what_was_acknowledged() {
        let broken = Progress::recover(2_000, 1_000, 4_096);
        assert_eq!(run(broken, &[packet(512, 512)]), Ok(Effect::Extends(2_000)));
        assert_eq!(run(broken, &[flushed(512, 600)]), Ok(Effect::Cuts(1_112)));
        assert_eq!(run(broken, &[last(1_500, 0)]), Ok(Effect::Cuts(1_500)));
        assert_eq!(run(broken, &[packet(512, 512), last(1_024, 2_000)]), Ok(Effect::Extends(3_024)));
        assert!(run(broken, &[last(512, 100)]).unwrap_err().contains("612 of 1000 acknowledged"));
        assert!(run(broken, &[packet(2_048, 512)]).unwrap_err().contains("beyond the 2000 bytes"));
    }
}
