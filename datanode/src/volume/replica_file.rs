//! The two files of a replica: their names, the header of the `.crc` file, and positioned reading and writing.
//!
//! ```text
//! current/<2 hex>/<chunk>_<generation>.chunk     the bytes, nothing else
//! current/<2 hex>/<chunk>_<generation>.crc       header, then one big-endian CRC32C for each 512 bytes
//! rbw/<chunk>_<generation>.{chunk,crc}           the same while a client writes
//! tmp/<chunk>_<generation>.{chunk,crc}           the same while another DataNode sends a copy; emptied at start
//! ```
//!
//! Header of the `.crc` file, all numbers big-endian. The parts that ever change (generation, length, checksum, synced
//! ends) lie within the first 512 bytes, which a disk writes as a whole.
//!
//! ```text
//! offset  bytes
//!      0      8  magic "DFSCRC\r\n"
//!      8      2  format version, 1
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
//!    128      P  path of the file when the chunk was opened, UTF-8; zeros up to H
//! ```
//!
//! Synced ends are noted because what follows overwrites the checksum of the odd bytes: should the disk get that and not
//! the bytes, nothing else would prove those that were synced. The note of an end is synced together with it, so the one
//! before is needed until then.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::{Buf, BufMut, Bytes};
use dfs_types::checksum::crc32c;
use dfs_types::format::REPLICA_CHECKSUMS;
use dfs_types::limits::{BYTES_PER_CHECKSUM, CHECKSUM_BYTES, MAX_PATH_BYTES};
use dfs_types::{ChunkId, ClusterId, GenStamp, InodeId};

const MAGIC: &[u8; 8] = b"DFSCRC\r\n";
const FORMAT_VERSION: u16 = REPLICA_CHECKSUMS.version as u16;
const CHECKSUM_CRC32C: u16 = 1;
/// Size of the header without the path, and the unit its size is a multiple of.
const FIXED_BYTES: usize = 128;
/// What a disk writes as a whole, in bytes.
const SECTOR: usize = 512;
/// Where the header's own checksum stands.
const SUM_AT: usize = 80;
const LENGTH_OPEN: u64 = u64::MAX;
const MAX_HEADER_BYTES: usize = (FIXED_BYTES + MAX_PATH_BYTES).next_multiple_of(FIXED_BYTES);

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

/// What the `.crc` file says of its replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
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
    /// Path of the file when the chunk was opened.
    pub(crate) path: String,
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
        (FIXED_BYTES + self.path.len()).next_multiple_of(FIXED_BYTES)
    }

    /// The header as it stands in the file.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let size = self.size();
        let mut bytes = Vec::with_capacity(size);
        bytes.put_slice(MAGIC);
        bytes.put_u16(FORMAT_VERSION);
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
        bytes.resize(FIXED_BYTES, 0);
        bytes.put_slice(self.path.as_bytes());
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
        let (version, kind, unit) = (fixed.get_u16(), fixed.get_u16(), fixed.get_u32());
        if (version, kind, unit) != (FORMAT_VERSION, CHECKSUM_CRC32C, BYTES_PER_CHECKSUM as u32) {
            return Err(HeaderError::Format { version, kind, unit });
        }
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
        if size > MAX_HEADER_BYTES || size != (FIXED_BYTES + path_length).next_multiple_of(FIXED_BYTES) {
            return Err(HeaderError::Damaged);
        }
        let mut whole = bytes.get(..size).ok_or(HeaderError::Short)?.to_vec();
        whole[SUM_AT..SUM_AT + CHECKSUM_BYTES].fill(0);
        if crc32c(&whole) != sum {
            return Err(HeaderError::Damaged);
        }
        let path = whole.get(FIXED_BYTES..FIXED_BYTES + path_length).ok_or(HeaderError::Damaged)?;
        let path = std::str::from_utf8(path).map_err(|_| HeaderError::Damaged)?.to_owned();
        let length = (length != LENGTH_OPEN).then_some(length);
        Ok(Self { cluster, chunk, generation, inode, index, path, length, synced })
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(path: &str, length: Option<u64>) -> Header {
        Header {
            cluster: ClusterId::random(),
            chunk: ChunkId(1_073_741_825),
            generation: GenStamp(1_001),
            inode: InodeId(16_386),
            index: 3,
            path: path.to_owned(),
            length,
            synced: [OddEnd { length: 700, sum: [1, 2, 3, 4] }, OddEnd::default()],
        }
    }

    #[test]
    fn headers_come_back() {
        for path in ["/", "/a/b c/ü", &format!("/{}", "x".repeat(4_000))] {
            for length in [None, Some(0), Some(64 << 20)] {
                let header = header(path, length);
                let bytes = header.encode();
                assert_eq!(bytes.len(), header.size());
                assert_eq!(Header::decode(&bytes), Ok(header));
            }
        }
    }

    #[test]
    fn the_changing_parts_lie_in_the_first_sector() {
        let old = header(&format!("/{}", "x".repeat(4_000)), None);
        let synced = [OddEnd { length: u64::MAX, sum: [255; 4] }; 2];
        let new = Header { generation: GenStamp(1_002), length: Some(77), synced, ..old.clone() };
        assert_eq!(old.encode()[512..], new.encode()[512..]);
    }

    #[test]
    fn names_come_back_and_strangers_are_refused() {
        let name = format!("{}.{DATA_SUFFIX}", stem(ChunkId(5), GenStamp(1_001)));
        assert_eq!(parse_name(&name), Some((ChunkId(5), GenStamp(1_001), DATA_SUFFIX)));
        for name in
            ["", "5.chunk", "5_.chunk", "_7.chunk", "5_+7.chunk", "5_99999999999999999999.chunk", "a_b.c"]
        {
            assert_eq!(parse_name(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn damaged_headers_are_found(at in 0_usize..256, flip in 1_u8..) {
            let mut bytes = header("/some/where", Some(9)).encode();
            prop_assume!(at < bytes.len());
            bytes[at] ^= flip;
            prop_assert!(Header::decode(&bytes).is_err());
        }

        #[test]
        fn garbage_is_no_header(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(Header::decode(&bytes).is_err());
        }
    }
}
