//! A copy of the metadata in a file that checks itself, whole and in parts.
//!
//! ```text
//! file     header, parts, trailer; nothing follows
//! header   magic 8 bytes, version u32, CRC32C u32 of the rest of the header,
//!          cluster 16 bytes, index of the last log entry in it u64, bytes of the copied database u64
//! part     CRC32C u32 of the header's CRC, of the part's number (u64, from 0) and of its data; data:
//!          [`PART`] bytes of the database, or what is left of it
//! trailer  magic 8 bytes, CRC32C u32 of the header's CRC and of all data, CRC32C u32 of that
//! ```
//!
//! All numbers are little-endian. The header's checksum is in all others, so parts of two files can't be mixed. [`Packer`]
//! makes such a file; [`Unpacker`] takes one piece by piece, whatever the pieces are, and lets out only what it has
//! checked. What comes out is surely what went in only when [`Unpacker::finish`] has said so.

use crate::ClusterId;
use crate::checksum::{combine, crc32c};
use crate::format::BACKUP;

/// Bytes of the database in one part.
pub const PART: usize = 256 << 10;

/// Version of the layout.
const VERSION: u32 = BACKUP.version;
const MAGIC: [u8; 8] = *b"dfs-bkup";
const END_MAGIC: [u8; 8] = *b"dfs-bend";
const HEADER: usize = 48;
const PART_HEADER: usize = 4;
const TRAILER: usize = 16;
/// First bytes of an SQLite database, which is what backups were before they had a version.
const SQLITE: &[u8] = b"SQLite format 3\0";

/// What a backup says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The cluster it is of.
    pub cluster: ClusterId,
    /// Index of the last log entry in it.
    pub applied: u64,
    /// Bytes of the copied database.
    pub length: u64,
}

impl Header {
    /// Bytes of the whole file.
    pub fn file_length(&self) -> u64 {
        let parts = self.length.div_ceil(PART as u64);
        let around = parts.saturating_mul(PART_HEADER as u64).saturating_add((HEADER + TRAILER) as u64);
        self.length.saturating_add(around)
    }

    fn encode(&self) -> Vec<u8> {
        let mut rest = self.cluster.as_bytes().to_vec();
        rest.extend_from_slice(&self.applied.to_le_bytes());
        rest.extend_from_slice(&self.length.to_le_bytes());
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&crc32c(&rest).to_le_bytes());
        bytes.extend_from_slice(&rest);
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<(Self, u32), Invalid> {
        let cut = |range: std::ops::Range<usize>| bytes.get(range).unwrap_or_default();
        if cut(0..8) != MAGIC {
            return Err(if bytes.starts_with(SQLITE) { Invalid::Unchecked } else { Invalid::Foreign });
        }
        let version = u32_of(cut(8..12));
        if version != VERSION {
            return Err(Invalid::Version(version));
        }
        let sum = u32_of(cut(12..16));
        if sum != crc32c(cut(16..HEADER)) {
            return Err(Invalid::Header);
        }
        let cluster = ClusterId::from_bytes(cut(16..32)).ok_or(Invalid::Header)?;
        Ok((Self { cluster, applied: u64_of(cut(32..40)), length: u64_of(cut(40..48)) }, sum))
    }
}

fn u32_of(bytes: &[u8]) -> u32 {
    bytes.try_into().map_or(0, u32::from_le_bytes)
}

fn u64_of(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

fn sum_of_part(header: u32, number: u64, data: &[u8]) -> u32 {
    let before = [header.to_le_bytes().as_slice(), &number.to_le_bytes()].concat();
    combine(crc32c(&before), crc32c(data), data.len() as u64)
}

/// Why something is no backup that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It is something else.
    #[error("it is no backup")]
    Foreign,
    /// It was made before backups had checksums.
    #[error("it is a backup of an earlier version of this program, without checksums")]
    Unchecked,
    /// Another version of the layout.
    #[error("it has backup format version {0} and this program reads {VERSION}")]
    Version(u32),
    /// The header is not what was written.
    #[error("its first bytes are not what was written")]
    Header,
    /// A part is not what was written.
    #[error("part {number}, from byte {offset} on, is not what was written")]
    Part {
        /// Its number, from 0.
        number: u64,
        /// Where in the file it begins.
        offset: u64,
    },
    /// Every part is as it was written, but not all of them together.
    #[error("its parts do not belong together, or its last bytes are not what was written")]
    Whole,
    /// It ends too early.
    #[error("it ends at byte {found} of {expected}")]
    Short {
        /// Bytes that are there.
        found: u64,
        /// Bytes that there should be.
        expected: u64,
    },
    /// Something follows its end.
    #[error("there are more than its {0} bytes, as if something had been put behind it")]
    Long(u64),
}

/// Makes a backup from the pieces of a database.
#[derive(Debug)]
pub struct Packer {
    header: u32,
    number: u64,
    all: u32,
}

impl Packer {
    /// Begins one; answers its first bytes.
    pub fn begin(header: &Header) -> (Self, Vec<u8>) {
        let bytes = header.encode();
        let sum = u32_of(bytes.get(12..16).unwrap_or_default());
        (Self { header: sum, number: 0, all: crc32c(&sum.to_le_bytes()) }, bytes)
    }

    /// Packs the next [`PART`] bytes of the database, or its last ones.
    pub fn part(&mut self, data: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(PART_HEADER + data.len());
        bytes.extend_from_slice(&sum_of_part(self.header, self.number, data).to_le_bytes());
        bytes.extend_from_slice(data);
        self.all = combine(self.all, crc32c(data), data.len() as u64);
        self.number += 1;
        bytes
    }

    /// The last bytes.
    pub fn end(self) -> Vec<u8> {
        let all = self.all.to_le_bytes();
        [END_MAGIC.as_slice(), &all, &crc32c(&all).to_le_bytes()].concat()
    }
}

/// Checks a backup and gives the database back, as its bytes come in.
#[derive(Debug, Default)]
pub struct Unpacker {
    /// What came and is not checked yet: less than a part.
    pending: Vec<u8>,
    begun: Option<Begun>,
    /// Bytes that were checked.
    checked: u64,
    ended: bool,
}

#[derive(Debug, Clone, Copy)]
struct Begun {
    header: Header,
    sum: u32,
    number: u64,
    left: u64,
    all: u32,
}

impl Unpacker {
    /// Takes the next bytes; answers what is checked of the database with them.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>, Invalid> {
        self.pending.extend_from_slice(bytes);
        let mut out = Vec::new();
        let mut at = 0;
        while let Some(needed) = self.needed()
            && let Some(piece) = self.pending.get(at..at + needed)
        {
            let (begun, data) = check(self.begun, self.checked, piece)?;
            out.extend_from_slice(data);
            self.ended = begun.left == 0 && needed == TRAILER && self.begun.is_some_and(|was| was.left == 0);
            self.begun = Some(begun);
            self.checked += needed as u64;
            at += needed;
        }
        self.pending.drain(..at);
        if self.ended && !self.pending.is_empty() {
            return Err(Invalid::Long(self.checked));
        }
        // A wrong beginning is told at once, not only when as many bytes came as a header has.
        let shown = self.pending.len().min(MAGIC.len());
        if self.begun.is_none() && self.pending.get(..shown) != MAGIC.get(..shown) {
            return Err(Header::decode(&self.pending).err().unwrap_or(Invalid::Foreign));
        }
        Ok(out)
    }

    /// Bytes of what comes next; `None` after the end.
    fn needed(&self) -> Option<usize> {
        match self.begun {
            None => Some(HEADER),
            Some(_) if self.ended => None,
            Some(Begun { left: 0, .. }) => Some(TRAILER),
            Some(Begun { left, .. }) => Some(PART_HEADER + left.min(PART as u64) as usize),
        }
    }

    /// No more bytes come: whether the backup was whole.
    pub fn finish(self) -> Result<Header, Invalid> {
        let found = self.checked + self.pending.len() as u64;
        match self.begun {
            Some(begun) if self.ended => Ok(begun.header),
            Some(begun) => Err(Invalid::Short { found, expected: begun.header.file_length() }),
            None => Err(Invalid::Short { found, expected: HEADER as u64 }),
        }
    }
}

/// Checks a header, part or trailer at `offset`; answers where that leaves the reader, and the data in it.
fn check(begun: Option<Begun>, offset: u64, piece: &[u8]) -> Result<(Begun, &[u8]), Invalid> {
    let Some(begun) = begun else {
        let (header, sum) = Header::decode(piece)?;
        let all = crc32c(&sum.to_le_bytes());
        return Ok((Begun { header, sum, number: 0, left: header.length, all }, &[]));
    };
    if begun.left == 0 {
        let all = begun.all.to_le_bytes();
        let expected = [END_MAGIC.as_slice(), &all, &crc32c(&all).to_le_bytes()].concat();
        return if piece == expected { Ok((begun, &[])) } else { Err(Invalid::Whole) };
    }
    let (sum, data) = piece.split_at(PART_HEADER);
    if u32_of(sum) != sum_of_part(begun.sum, begun.number, data) {
        return Err(Invalid::Part { number: begun.number, offset });
    }
    let length = data.len() as u64;
    let all = combine(begun.all, crc32c(data), length);
    Ok((Begun { number: begun.number + 1, left: begun.left - length, all, ..begun }, data))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pack(data: &[u8], applied: u64) -> Vec<u8> {
        let header = Header { cluster: ClusterId::random(), applied, length: data.len() as u64 };
        let (mut packer, mut file) = Packer::begin(&header);
        for part in data.chunks(PART) {
            file.extend(packer.part(part));
        }
        file.extend(packer.end());
        assert_eq!(file.len() as u64, header.file_length());
        file
    }

    fn unpack(file: &[u8], piece: usize) -> Result<(Header, Vec<u8>), Invalid> {
        let mut unpacker = Unpacker::default();
        let mut data = Vec::new();
        for piece in file.chunks(piece) {
            data.extend(unpacker.push(piece)?);
        }
        unpacker.finish().map(|header| (header, data))
    }

    fn database(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at / 7 + at / 4_099) as u8).collect()
    }

    #[test]
    fn what_went_in_comes_out_however_it_is_cut() {
        for length in [0, 1, PART - 1, PART, PART + 1, 3 * PART] {
            let data = database(length);
            let file = pack(&data, 77);
            for piece in [1_000, PART, PART + 4, usize::MAX] {
                let (header, found) = unpack(&file, piece).unwrap();
                assert_eq!((header.applied, header.length), (77, length as u64));
                assert!(found == data, "{length} bytes in pieces of {piece}");
            }
        }
    }

    #[test]
    fn what_is_too_short_too_long_or_something_else_says_so() {
        let file = pack(&database(2 * PART + 5), 1);
        let length = file.len() as u64;
        for short in [HEADER, HEADER + 3, file.len() / 2, file.len() - 1] {
            let said = unpack(&file[..short], 9_999).unwrap_err();
            assert_eq!(said, Invalid::Short { found: short as u64, expected: length });
        }
        assert_eq!(unpack(&[], 1).unwrap_err(), Invalid::Short { found: 0, expected: HEADER as u64 });
        for more in [&file[..], b"x"] {
            assert_eq!(unpack(&[&file, more].concat(), 9_999).unwrap_err(), Invalid::Long(length));
        }
        assert_eq!(unpack(b"SQLite format 3\0 and so on", 99).unwrap_err(), Invalid::Unchecked);
        assert_eq!(unpack(b"#!/bin/sh", 99).unwrap_err(), Invalid::Foreign);
        let mut later = file.clone();
        later[8] = 2;
        assert_eq!(unpack(&later, 99).unwrap_err(), Invalid::Version(2));
    }

    #[test]
    fn parts_of_two_backups_can_not_be_mixed() {
        let data = database(2 * PART);
        let (one, other) = (pack(&data, 1), pack(&data, 2));
        let second = HEADER + PART_HEADER + PART;
        let mixed = [&one[..second], &other[second..]].concat();
        assert_eq!(unpack(&mixed, 9_999).unwrap_err(), Invalid::Part { number: 1, offset: second as u64 });
        let mut swapped = one.clone();
        let (first, rest) = swapped[HEADER..].split_at_mut(PART_HEADER + PART);
        first.swap_with_slice(&mut rest[..PART_HEADER + PART]);
        assert!(matches!(unpack(&swapped, 9_999).unwrap_err(), Invalid::Part { number: 0, .. }));
        let end = one.len() - TRAILER;
        let foreign_end = [&one[..end], &other[end..]].concat();
        assert_eq!(unpack(&foreign_end, 9_999).unwrap_err(), Invalid::Whole);
    }

    proptest! {
        #[test]
        fn no_flipped_bit_goes_unseen(at in any::<prop::sample::Index>(), bit in 0..8_u8, length in 0..3_000_usize) {
            let mut file = pack(&database(length), 5);
            let at = at.index(file.len());
            file[at] ^= 1 << bit;
            prop_assert!(unpack(&file, 777).is_err());
        }

        #[test]
        fn nonsense_is_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 1..50_usize) {
            prop_assert!(unpack(&bytes, cut).is_err());
            let mut file = pack(&database(100), 5);
            file.truncate(HEADER);
            file.extend(bytes);
            prop_assert!(unpack(&file, cut).is_err());
        }
    }
}
