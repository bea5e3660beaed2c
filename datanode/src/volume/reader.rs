//! Reading a replica: packets of data with their stored checksums.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use dfs_types::checksum::{checksum_length, crc32c, verify};
use dfs_types::limits::{BYTES_PER_CHECKSUM, CHECKSUM_BYTES};
use dfs_types::{ChunkId, GenStamp};
use rustix::fs::{Advice, fadvise};

use super::replica_file::{Header, read_up_to, sum_position};
use super::writer::Readable;
use super::{Error, ReplicaPaths, Volume};
use crate::crc_combine;
use crate::disk_pool::disk_answered;

/// Bytes of checksums read at once when only they are read: those of 8 MiB of data.
const SUMS_AT_ONCE: usize = 64 << 10;
const UNIT: u64 = BYTES_PER_CHECKSUM as u64;

/// A piece of a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Where it begins in the chunk.
    pub(crate) offset: u64,
    /// The data.
    pub(crate) data: Bytes,
    /// Its checksums.
    pub(crate) checksums: Bytes,
}

/// An open replica, readable up to a length that was fixed when it was opened. All methods block.
#[derive(Debug)]
pub(crate) struct Reader {
    /// The chunk.
    pub(crate) chunk: ChunkId,
    /// The replica's generation.
    pub(crate) generation: GenStamp,
    /// Whether the replica is complete; what is missing is damage only then.
    pub(crate) finalized: bool,
    /// What its header says.
    pub(crate) header: Header,
    readable: Readable,
    /// Data and checksums; absent only while this is dropped.
    files: Option<(File, File)>,
    volume: Arc<Volume>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.volume.pool.drop_later(self.files.take());
    }
}

impl Reader {
    /// Opens the files and checks that they are this chunk's.
    pub(crate) fn open(
        volume: Arc<Volume>,
        paths: &ReplicaPaths,
        chunk: ChunkId,
        generation: GenStamp,
        readable: Readable,
        finalized: bool,
    ) -> Result<Self, Error> {
        let open = || Ok((File::open(&paths.data)?, File::open(&paths.sums)?));
        let (data, sums) = open().map_err(volume.read_error("open a replica"))?;
        let header = Header::read(&sums)
            .map_err(volume.read_error("read a replica's header"))?
            .map_err(|error| Error::Corrupt { chunk, why: error.to_string() })?;
        let fits = !finalized || (header.length == Some(readable.length) && header.generation == generation);
        if header.chunk != chunk || !fits {
            let why = format!(
                "its header is that of chunk {} generation {} with {:?} bytes, not of generation {generation} with {}",
                header.chunk, header.generation, header.length, readable.length
            );
            return Err(Error::Corrupt { chunk, why });
        }
        // Doubles the kernel's read-ahead; without it reading is only slower.
        let _ = fadvise(&data, 0, None, Advice::Sequential);
        Ok(Self { chunk, generation, finalized, header, readable, files: Some((data, sums)), volume })
    }

    fn files(&self) -> Result<&(File, File), Error> {
        self.files.as_ref().ok_or(Error::OutOfUse(self.chunk))
    }

    /// The volume it is on.
    pub(crate) fn volume(&self) -> &Arc<Volume> {
        &self.volume
    }

    /// Bytes that can be read.
    pub(crate) fn length(&self) -> u64 {
        self.readable.length
    }

    /// Reads the bytes of `range`, which begins at a multiple of 512 and ends at one or at the readable length.
    pub(crate) fn read(&self, range: Range<u64>) -> Result<Piece, Error> {
        let size = (range.end - range.start) as usize;
        let (data, _) = self.files()?;
        let data = read_up_to(data, range.start, size).map_err(self.volume.read_error("read data"))?;
        let checksums = self.sums_of(&range)?;
        if data.len() < size {
            return Err(self.cut_off(range.start + data.len() as u64));
        }
        #[cfg(feature = "seeded-bug")]
        if crate::seeded::has(crate::seeded::Bug::NoChecksums) {
            let checksums = dfs_types::checksum::compute(&data);
            return Ok(Piece { offset: range.start, data, checksums });
        }
        Ok(Piece { offset: range.start, data, checksums })
    }

    /// As [`Reader::read`], and checks the data.
    pub(crate) fn read_verified(&self, range: Range<u64>) -> Result<Piece, Error> {
        let piece = self.read(range)?;
        match verify(&piece.data, &piece.checksums) {
            Ok(()) => Ok(piece),
            Err(mismatch) => {
                let why = format!("in what begins at byte {}, {mismatch}", piece.offset);
                Err(Error::Corrupt { chunk: self.chunk, why })
            }
        }
    }

    /// The checksums of `range`, the last one over the readable part of its unit.
    fn sums_of(&self, range: &Range<u64>) -> Result<Bytes, Error> {
        let size = checksum_length(range.end - range.start) as usize;
        let at = sum_position(self.header.size() as u64, range.start);
        let (_, sums) = self.files()?;
        let sums = read_up_to(sums, at, size).map_err(self.volume.read_error("read checksums"))?;
        if sums.len() < size {
            return Err(self.cut_off(range.start));
        }
        match self.readable.tail {
            Some(tail) if range.end == self.readable.length && size >= CHECKSUM_BYTES => {
                // The file may have one over more bytes already.
                let mut sums = BytesMut::from(sums);
                sums[size - CHECKSUM_BYTES..].copy_from_slice(&tail);
                Ok(sums.freeze())
            }
            Some(_) | None => Ok(sums),
        }
    }

    fn cut_off(&self, at: u64) -> Error {
        let why = format!("its files end near byte {at} of {}", self.readable.length);
        if self.finalized {
            Error::Corrupt { chunk: self.chunk, why }
        } else {
            // A writer that goes on after a failure may have cut off what nobody acknowledged.
            Error::Unfit { chunk: self.chunk, why }
        }
    }

    /// The CRC32C of the first `length` bytes, composed from the stored checksums.
    pub(crate) fn crc(&self, length: u64) -> Result<u32, Error> {
        let whole = length - length % UNIT;
        let mut crc = 0;
        let mut at = 0;
        let step = (SUMS_AT_ONCE / CHECKSUM_BYTES) as u64 * UNIT;
        while at < whole {
            let end = whole.min(at + step);
            disk_answered();
            for sum in self.sums_of(&(at..end))?.as_chunks::<CHECKSUM_BYTES>().0 {
                crc = crc_combine::append_unit(crc, u32::from_be_bytes(*sum));
            }
            at = end;
        }
        if length > whole {
            let unit = self.read_verified(whole..self.readable.length.min(whole + UNIT))?;
            let odd = (length - whole) as usize;
            let rest = unit.data.get(..odd).ok_or_else(|| self.cut_off(whole))?;
            crc = crc_combine::append(crc, crc32c(rest), odd);
        }
        Ok(crc)
    }
}

/// Splits the bytes from `offset`, at most `length` (zero: all), of a replica of `readable` bytes into ranges of
/// about `packet` bytes that [`Reader::read`] takes.
pub(crate) fn split(
    readable: u64,
    offset: u64,
    length: u64,
    packet: u64,
) -> impl Iterator<Item = Range<u64>> + Send {
    let end = if length == 0 { readable } else { offset.saturating_add(length).min(readable) };
    let end = end.checked_next_multiple_of(UNIT).map_or(readable, |end| end.min(readable));
    let step = packet.next_multiple_of(UNIT).max(UNIT);
    let mut at = offset - offset % UNIT;
    std::iter::from_fn(move || {
        (at < end).then(|| {
            let range = at..end.min(at + step);
            at = range.end;
            range
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_cover_what_is_asked(readable in 0_u64..20_000, offset in 0_u64..20_000, length in 0_u64..20_000, packet in 0_u64..3_000) {
            prop_assume!(offset <= readable);
            let ranges: Vec<_> = split(readable, offset, length, packet).collect();
            let end = if length == 0 { readable } else { readable.min(offset + length) };
            let mut at = offset - offset % UNIT;
            for range in &ranges {
                prop_assert_eq!(range.start, at);
                prop_assert!(range.end > range.start);
                prop_assert!(range.end % UNIT == 0 || range.end == readable);
                at = range.end;
            }
            prop_assert!(at >= end && at <= readable.max(offset));
        }
    }
}
