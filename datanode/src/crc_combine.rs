//! The CRC32C of a range, composed from the stored CRC32C of each 512 bytes without reading the data.
//!
//! A CRC is linear: `crc(A ‖ B) = shift(crc(A), |B|) ⊕ crc(B)`, where `shift` moves a CRC over that many zero bytes.
//! For whole units the shift is one table lookup per byte of the CRC.

use std::sync::LazyLock;

use dfs_types::limits::BYTES_PER_CHECKSUM;

/// Castagnoli's polynomial, bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// `shift` by one unit, for each value of each byte of a CRC.
static UNIT_SHIFT: LazyLock<[[u32; 256]; 4]> = LazyLock::new(|| {
    let mut tables = [[0; 256]; 4];
    for (byte, table) in tables.iter_mut().enumerate() {
        // The shift of a sum of bits is the sum of their shifts.
        let bits: [u32; 8] = std::array::from_fn(|bit| shift(1 << (8 * byte + bit), BYTES_PER_CHECKSUM));
        for (value, entry) in table.iter_mut().enumerate() {
            *entry = (0..8).filter(|bit| value >> bit & 1 == 1).fold(0, |sum, bit| sum ^ bits[bit]);
        }
    }
    tables
});

/// Moves a CRC over `bytes` zero bytes, bit by bit.
fn shift(crc: u32, bytes: usize) -> u32 {
    (0..bytes * 8).fold(crc, |crc, _| (crc >> 1) ^ if crc & 1 == 1 { POLYNOMIAL } else { 0 })
}

/// Appends the CRC32C `next` of one whole unit of 512 bytes to `crc`.
pub(crate) fn append_unit(crc: u32, next: u32) -> u32 {
    let tables = &*UNIT_SHIFT;
    let [a, b, c, d] = crc.to_le_bytes();
    tables[0][usize::from(a)]
        ^ tables[1][usize::from(b)]
        ^ tables[2][usize::from(c)]
        ^ tables[3][usize::from(d)]
        ^ next
}

/// Appends the CRC32C `next` of `bytes` bytes, at most one unit, to `crc`.
pub(crate) fn append(crc: u32, next: u32, bytes: usize) -> u32 {
    shift(crc, bytes) ^ next
}

#[cfg(test)]
mod tests {
    use dfs_types::checksum::crc32c;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn composed_is_computed(data in proptest::collection::vec(any::<u8>(), 0..5_000)) {
            let mut crc = 0;
            for unit in data.chunks(BYTES_PER_CHECKSUM) {
                crc = if unit.len() == BYTES_PER_CHECKSUM {
                    append_unit(crc, crc32c(unit))
                } else {
                    append(crc, crc32c(unit), unit.len())
                };
            }
            prop_assert_eq!(crc, crc32c(&data));
        }
    }
}
