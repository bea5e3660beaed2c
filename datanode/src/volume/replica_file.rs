//! The two files of a replica: their names, the header of the `.crc` file, and positioned reading and writing.
//!
//! ```text
//! current/<2 hex>/<chunk>_<generation>.chunk     the bytes, nothing else
//! current/<2 hex>/<chunk>_<generation>.crc       header, then one big-endian CRC32C for each 512 bytes
//! rbw/<chunk>_<generation>.{chunk,crc}           the same while a client writes
//! tmp/<chunk>_<generation>.{chunk,crc}           the same while another DataNode sends a copy; emptied at start
//! ```
//!
//! Header of the `.crc` file, all numbers big-endian. The parts that change in place (generation, length, checksum, synced
//! ends) lie within the first 512 bytes, which a disk writes as a whole. All else changes with the whole file (`rewrite`).
//!
//! ```text
//! offset  bytes
//!      0      8  magic "DFSCRC\r\n"
//!      8      2  format version: 1, or 2 since feature level 2; in place it stays as it is
//!     10      2  checksum type, 1 = CRC32C
//!     12      4  bytes per checksum, 512
//!     16     16  cluster id
//!     32      8  chunk id
//!     40      8  generation stamp
//!     48      8  inode id of the file
//!     56      8  index of the chunk in the file
//!     64      8  length of the chunk; all ones while it is being written
//!     72      4  size of the header H: where the first checksum begins, a multiple of 128
//!     76      4  length of the path P
//!     80      4  CRC32C of bytes 0..H, these four taken as zero
//!     84     12  last synced end that is no multiple of 512: length (8), CRC32C of the odd bytes (4); zeros: none
//!     96     12  the one before it
//!    108      4  length of the origin O; 0: the namespace has not told it yet, or version 1
//!    128      P  path of the file when the chunk was opened, or as told with the origin; UTF-8
//!  128+P      O  what else the namespace told of the file: `Origin` of `replica.proto`; zeros up to H
//! ```
//!
//! The namespace group of the file is in the ids: see `ChunkId::group`.
//!
//! An origin that can't be read, or has fields unknown here, is kept as it is: what is said of the file never decides whether
//! its bytes can be read.
//!
//! Synced ends are noted because what follows overwrites the checksum of the odd bytes: should the disk get that and not
//! the bytes, nothing else would prove those that were synced. The note of an end is synced together with it, so the one
//! before is needed until then.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::{Buf, BufMut, Bytes};
use dfs_types::checksum::crc32c;
use dfs_types::format::{ORIGINS, REPLICA_CHECKSUMS};
use dfs_types::limits::{BYTES_PER_CHECKSUM, CHECKSUM_BYTES, MAX_PATH_BYTES};
use dfs_types::{ChunkId, ChunkOrigin, ClusterId, GenStamp, InodeId, Millis};

use super::origin::{MAX_ORIGIN_BYTES, OriginError, Told};

const MAGIC: &[u8; 8] = b"DFSCRC\r\n";
const CHECKSUM_CRC32C: u16 = 1;
/// Size of the header without the path, and the unit its size is a multiple of.
pub(super) const FIXED_BYTES: usize = 128;
/// What a disk writes as a whole, in bytes.
const SECTOR: usize = 512;
/// Where the header's own checksum stands.
const SUM_AT: usize = 80;
const LENGTH_OPEN: u64 = u64::MAX;
/// Size of the largest header.
pub(super) const MAX_HEADER_BYTES: usize =
    (FIXED_BYTES + MAX_PATH_BYTES + MAX_ORIGIN_BYTES).next_multiple_of(FIXED_BYTES);

/// Suffix of the file with the data.
pub(crate) const DATA_SUFFIX: &str = "chunk";
/// Suffix of the file with the checksums.
pub(crate) const SUMS_SUFFIX: &str = "crc";

/// An end of the data that is no multiple of 512, and the checksum of the odd bytes before it. With length 0 it is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct OddEnd {
    /// Bytes of the chunk up to there.
    pub(crate) length: u64,
    /// Checksum of those that follow the last whole unit.
    pub(crate) sum: [u8; CHECKSUM_BYTES],
}

/// A version of the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    /// Without an origin.
    One = 1,
    /// With one, once it is told.
    Two = 2,
}

impl Version {
    /// The one that is written for new replicas in a cluster of this feature level: one that its programs can read.
    pub(crate) fn at(level: u16) -> Self {
        if level >= ORIGINS { Self::Two } else { Self::One }
    }

    fn known(number: u16) -> Option<Self> {
        [Self::One, Self::Two].into_iter().find(|version| *version as u16 == number)
    }
}

const _: () = assert!(
    Version::One as u32 == REPLICA_CHECKSUMS.oldest && Version::Two as u32 == REPLICA_CHECKSUMS.version,
    "all versions between these are read"
);

/// What the `.crc` file says of its replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    /// Its version in the file.
    pub(crate) version: Version,
    /// The cluster the chunk belongs to.
    pub(crate) cluster: ClusterId,
    /// The chunk.
    pub(crate) chunk: ChunkId,
    /// Its generation when the header was last written.
    pub(crate) generation: GenStamp,
    /// The file.
    pub(crate) inode: InodeId,
    /// Which of the file's chunks this is.
    pub(crate) index: u64,
    /// Path of the file when the chunk was opened, or as told with the origin.
    pub(crate) path: String,
    /// What else was told of the file, as [`Told::encode`] has it; empty: nothing yet.
    pub(crate) origin: Vec<u8>,
    /// Bytes of the chunk; `None` while it is being written.
    pub(crate) length: Option<u64>,
    /// Where the data ended when it was synced last, and the time before.
    pub(crate) synced: [OddEnd; 2],
}

/// Why bytes are no header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    /// The file is too short to hold it.
    #[error("the header of the .crc file is cut off")]
    Short,
    /// It does not begin as one.
    #[error("the .crc file does not begin with a header")]
    Magic,
    /// Written by another version of the software.
    #[error(
        "the .crc file has format {version}, checksum type {kind} over {unit} bytes, which is not known here"
    )]
    Format {
        /// Format version.
        version: u16,
        /// Checksum type.
        kind: u16,
        /// Bytes per checksum.
        unit: u32,
    },
    /// Its own checksum or an inner length is wrong.
    #[error("the header of the .crc file is damaged")]
    Damaged,
}

impl Header {
    /// Bytes the header takes in the file.
    pub(crate) fn size(&self) -> usize {
        (FIXED_BYTES + self.path.len() + self.origin.len()).next_multiple_of(FIXED_BYTES)
    }

    /// What was told of the file; `None`: nothing yet.
    pub(crate) fn told(&self) -> Result<Option<Told>, OriginError> {
        if self.origin.is_empty() { Ok(None) } else { Told::decode(&self.origin, &self.path).map(Some) }
    }

    /// Whether nothing was told of the file since the chunk became what it is now, or that can't be read.
    pub(crate) fn lacks_origin(&self) -> bool {
        !self.told().is_ok_and(|told| told.is_some_and(|told| told.generation == self.generation))
    }

    /// Whether it says exactly this, whenever that was told.
    pub(crate) fn says(&self, of: &ChunkOrigin) -> bool {
        let ChunkOrigin { chunk, generation, length, inode, index, origin } = of;
        let told = self.told().ok().flatten();
        (self.chunk, self.generation, self.length) == (*chunk, *generation, Some(*length))
            && (self.inode, self.index) == (*inode, *index)
            && told.is_some_and(|told| told.generation == *generation && told.origin == *origin)
    }

    /// The header of the same replica that says this.
    pub(crate) fn with_origin(self, of: &ChunkOrigin, told: Millis) -> Self {
        let ChunkOrigin { chunk: _, generation, length: _, inode, index, origin } = of;
        let path = origin.path.as_str().to_owned();
        let told = Told { generation: *generation, at: told, origin: origin.clone() };
        Self { version: Version::Two, inode: *inode, index: *index, path, origin: told.encode(), ..self }
    }

    /// The header as it stands in the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let size = self.size();
        let mut bytes = Vec::with_capacity(size);
        bytes.put_slice(MAGIC);
        bytes.put_u16(self.version as u16);
        bytes.put_u16(CHECKSUM_CRC32C);
        bytes.put_u32(BYTES_PER_CHECKSUM as u32);
        bytes.put_slice(self.cluster.as_bytes());
        bytes.put_u64(self.chunk.0);
        bytes.put_u64(self.generation.0);
        bytes.put_u64(self.inode.0);
        bytes.put_u64(self.index);
        bytes.put_u64(self.length.unwrap_or(LENGTH_OPEN));
        bytes.put_u32(size as u32);
        bytes.put_u32(self.path.len() as u32);
        bytes.put_u32(0);
        for OddEnd { length, sum } in self.synced {
            bytes.put_u64(length);
            bytes.put_slice(&sum);
        }
        bytes.put_u32(self.origin.len() as u32);
        bytes.resize(FIXED_BYTES, 0);
        bytes.put_slice(self.path.as_bytes());
        bytes.put_slice(&self.origin);
        bytes.resize(size, 0);
        let sum = crc32c(&bytes).to_be_bytes();
        bytes[SUM_AT..SUM_AT + CHECKSUM_BYTES].copy_from_slice(&sum);
        bytes
    }

    /// Reads a header from the start of `bytes`, which may go on after it.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut fixed = bytes.get(..FIXED_BYTES).ok_or(HeaderError::Short)?;
        if fixed.get(..MAGIC.len()) != Some(MAGIC.as_slice()) {
            return Err(HeaderError::Magic);
        }
        fixed.advance(MAGIC.len());
        let (number, kind, unit) = (fixed.get_u16(), fixed.get_u16(), fixed.get_u32());
        let known = (kind, unit) == (CHECKSUM_CRC32C, BYTES_PER_CHECKSUM as u32);
        let Some(version) = Version::known(number).filter(|_| known) else {
            return Err(HeaderError::Format { version: number, kind, unit });
        };
        let cluster = ClusterId::from_bytes(&fixed.copy_to_bytes(16)).ok_or(HeaderError::Damaged)?;
        let chunk = ChunkId(fixed.get_u64());
        let generation = GenStamp(fixed.get_u64());
        let inode = InodeId(fixed.get_u64());
        let index = fixed.get_u64();
        let length = fixed.get_u64();
        let (size, path_length) = (fixed.get_u32() as usize, fixed.get_u32() as usize);
        let sum = fixed.get_u32();
        let synced =
            std::array::from_fn(|_| OddEnd { length: fixed.get_u64(), sum: fixed.get_u32().to_be_bytes() });
        let origin_length = match version {
            Version::One => 0,
            Version::Two => fixed.get_u32() as usize,
        };
        if path_length > MAX_PATH_BYTES || origin_length > MAX_ORIGIN_BYTES {
            return Err(HeaderError::Damaged);
        }
        let (path_end, origin_end) = (FIXED_BYTES + path_length, FIXED_BYTES + path_length + origin_length);
        if size != origin_end.next_multiple_of(FIXED_BYTES) {
            return Err(HeaderError::Damaged);
        }
        let mut whole = bytes.get(..size).ok_or(HeaderError::Short)?.to_vec();
        whole[SUM_AT..SUM_AT + CHECKSUM_BYTES].fill(0);
        if crc32c(&whole) != sum {
            return Err(HeaderError::Damaged);
        }
        let path = whole.get(FIXED_BYTES..path_end).ok_or(HeaderError::Damaged)?;
        let path = std::str::from_utf8(path).map_err(|_| HeaderError::Damaged)?.to_owned();
        let origin = whole.get(path_end..origin_end).ok_or(HeaderError::Damaged)?.to_vec();
        let length = (length != LENGTH_OPEN).then_some(length);
        Ok(Self { version, cluster, chunk, generation, inode, index, path, origin, length, synced })
    }

    /// Reads the header of an open `.crc` file.
    pub(crate) fn read(sums: &File) -> io::Result<Result<Self, HeaderError>> {
        Ok(Self::decode(&read_up_to(sums, 0, MAX_HEADER_BYTES)?))
    }

    /// Whether an open `.crc` file has zeros, or nothing, where its header begins: then none ever reached the disk.
    pub(crate) fn is_blank(sums: &File) -> io::Result<bool> {
        Ok(read_up_to(sums, 0, SECTOR)?.iter().all(|byte| *byte == 0))
    }
}

/// The name of a replica's file, without its suffix.
pub(crate) fn stem(chunk: ChunkId, generation: GenStamp) -> String {
    format!("{chunk}_{generation}")
}

/// Reads the name of a replica's file: chunk, generation and suffix. `None` if it is no such name.
pub(crate) fn parse_name(name: &str) -> Option<(ChunkId, GenStamp, &str)> {
    let (stem, suffix) = name.split_once('.')?;
    let (chunk, generation) = stem.split_once('_')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse::<u64>().ok()).flatten()
    };
    Some((ChunkId(number(chunk)?), GenStamp(number(generation)?), suffix))
}

/// Reads from `offset` on until `length` bytes are there or the file ends, without zeroing the memory first.
pub(crate) fn read_up_to(file: &File, offset: u64, length: usize) -> io::Result<Bytes> {
    let mut bytes = Vec::with_capacity(length);
    while bytes.len() < length {
        let at = offset + bytes.len() as u64;
        match rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), at) {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    // The allocator may have given more room than was asked for.
    bytes.truncate(length);
    Ok(Bytes::from(bytes))
}

/// Reads exactly `length` bytes from `offset` on.
pub(crate) fn read_exact(file: &File, offset: u64, length: usize) -> io::Result<Bytes> {
    let bytes = read_up_to(file, offset, length)?;
    if bytes.len() == length { Ok(bytes) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Where the checksum of the unit that begins at byte `offset` of the chunk stands in the `.crc` file.
pub(crate) const fn sum_position(header_bytes: u64, offset: u64) -> u64 {
    header_bytes + offset / BYTES_PER_CHECKSUM as u64 * CHECKSUM_BYTES as u64
}

/// Replaces the header, whose size does not change.
pub(crate) fn write_header(sums: &File, header: &Header) -> io::Result<()> {
    sums.write_all_at(&header.encode(), 0)
}

#[cfg(test)]
mod tests;
