//! CRC32C over every 512 bytes of data, the unit that is stored, sent and checked.
//!
//! The layout is HDFS's: one big-endian CRC32C (Castagnoli, RFC 3720 appendix B.4) for each
//! [`BYTES_PER_CHECKSUM`] bytes, the last one over what remains.

use bytes::{BufMut, Bytes, BytesMut};

use crate::limits::{BYTES_PER_CHECKSUM, CHECKSUM_BYTES};

/// CRC32C of `data`.
pub fn crc32c(data: &[u8]) -> u32 {
    crc_fast::checksum(crc_fast::CrcAlgorithm::Crc32Iscsi, data) as u32
}

/// CRC32C of two pieces of data one after the other, from theirs; `second_length` is the second's bytes.
pub fn combine(first: u32, second: u32, second_length: u64) -> u32 {
    let algorithm = crc_fast::CrcAlgorithm::Crc32Iscsi;
    crc_fast::checksum_combine(algorithm, first.into(), second.into(), second_length) as u32
}

/// Bytes of checksums that belong to `data_length` bytes of data.
pub const fn checksum_length(data_length: u64) -> u64 {
    data_length.div_ceil(BYTES_PER_CHECKSUM as u64) * CHECKSUM_BYTES as u64
}

/// Bytes that a replica of `length` bytes takes, with its checksums.
pub const fn stored_bytes(length: u64) -> u64 {
    length.saturating_add(checksum_length(length))
}

/// The checksums of `data`, which starts at a multiple of [`BYTES_PER_CHECKSUM`].
pub fn compute(data: &[u8]) -> Bytes {
    let mut sums = BytesMut::with_capacity(checksum_length(data.len() as u64) as usize);
    for unit in data.chunks(BYTES_PER_CHECKSUM) {
        sums.put_u32(crc32c(unit));
    }
    sums.freeze()
}

/// Data and checksums do not belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The number of checksums does not fit the length of the data.
    #[error("{data} bytes of data came with {sums} bytes of checksums")]
    Length {
        /// Bytes of data.
        data: usize,
        /// Bytes of checksums.
        sums: usize,
    },
    /// A checksum differs from its data's.
    #[error("the checksum at byte {offset} does not match")]
    Value {
        /// Where the unit begins, in bytes from the start of the data.
        offset: usize,
    },
}

/// Checks `data`, which starts at a multiple of [`BYTES_PER_CHECKSUM`], against its checksums.
pub fn verify(data: &[u8], sums: &[u8]) -> Result<(), Mismatch> {
    if sums.len() as u64 != checksum_length(data.len() as u64) {
        return Err(Mismatch::Length { data: data.len(), sums: sums.len() });
    }
    let units = data.chunks(BYTES_PER_CHECKSUM).zip(sums.chunks_exact(CHECKSUM_BYTES));
    for (index, (unit, sum)) in units.enumerate() {
        if crc32c(unit).to_be_bytes() != sum {
            return Err(Mismatch::Value { offset: index * BYTES_PER_CHECKSUM });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn matches_the_vectors_of_rfc_3720() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&ascending), 0x46dd_794e);
    }

    proptest! {
        #[test]
        fn combined_checksums_are_those_of_the_whole(data in proptest::collection::vec(any::<u8>(), 0..3_000), at in any::<usize>()) {
            let (first, second) = data.split_at(at % (data.len() + 1));
            prop_assert_eq!(combine(crc32c(first), crc32c(second), second.len() as u64), crc32c(&data));
        }

        #[test]
        fn every_flipped_bit_is_found(mut data in proptest::collection::vec(any::<u8>(), 1..3_000), at in any::<usize>()) {
            let sums = compute(&data);
            prop_assert_eq!(verify(&data, &sums), Ok(()));
            let bit = at % (data.len() * 8);
            data[bit / 8] ^= 1 << (bit % 8);
            let unit = bit / 8 / BYTES_PER_CHECKSUM * BYTES_PER_CHECKSUM;
            prop_assert_eq!(verify(&data, &sums), Err(Mismatch::Value { offset: unit }));
        }

        #[test]
        fn wrong_number_of_checksums_is_refused(data in proptest::collection::vec(any::<u8>(), 0..2_000), sums in proptest::collection::vec(any::<u8>(), 0..20)) {
            if sums.len() as u64 != checksum_length(data.len() as u64) {
                let refused = matches!(verify(&data, &sums), Err(Mismatch::Length { .. }));
                prop_assert!(refused);
            }
        }
    }
}
