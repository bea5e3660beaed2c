//! Content of any length that is cheap to make, never repeats, and is known by its seed.

use sha2::{Digest, Sha256};

/// `length` bytes that only `seed` determines.
pub fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut stream = Stream::new(seed);
    let mut data = vec![0; length];
    stream.fill(&mut data);
    data
}

/// SHA-256 of `data`.
pub fn digest(data: &[u8]) -> [u8; 32] {
    Sha256::digest(data).into()
}

/// Content that is made as it is written, for files larger than memory.
#[derive(Debug)]
pub struct Stream {
    state: u64,
}

impl Stream {
    /// The content of `seed` from its first byte.
    pub fn new(seed: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1 }
    }

    /// The next `buffer.len()` bytes. Filling in pieces gives the same bytes only if all pieces but the last are
    /// multiples of 8.
    pub fn fill(&mut self, buffer: &mut [u8]) {
        for word in buffer.chunks_mut(8) {
            self.state ^= self.state << 13;
            self.state ^= self.state >> 7;
            self.state ^= self.state << 17;
            let bytes = self.state.to_le_bytes();
            word.copy_from_slice(&bytes[..word.len()]);
        }
    }
}
