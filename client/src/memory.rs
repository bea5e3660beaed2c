//! Bounds on the memory that data in flight may take.

use std::sync::Arc;

use dfs_types::limits::{DATA_STREAM_WINDOW, PACKET_BYTES};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that one permit stands for.
const UNIT: usize = 1 << 10;

/// Bytes of packets that all writers of one client may have unacknowledged, or all read-aheads may hold, at most.
const MOST_BYTES: u64 = 96 << 20;
/// The same at least: with less, a single transfer would be slow.
const LEAST_BYTES: u64 = 8 << 20;
/// Bytes of packets that one writer may have unacknowledged, and the part of all writers' bytes that it may have.
const WINDOW_BYTES: (usize, usize) = (16 << 20, 2);
/// Parts of the bytes for reading that one stream's flow control window may be.
const STREAM_WINDOWS: u64 = 32;
/// The smallest window of a stream with which a connection is of use, in bytes.
const MIN_STREAM_WINDOW: u64 = 128 << 10;
/// Packets one read-ahead may hold; one is allowed without any permit, so that readers never wait for each other.
const READ_AHEAD_PACKETS: usize = 8;

/// The budgets of one client. Writers and readers have separate ones, or copying could deadlock.
#[derive(Debug)]
pub(crate) struct Memory {
    write: Arc<Semaphore>,
    read: Arc<Semaphore>,
    /// Bytes of each.
    half: u64,
}

impl Memory {
    /// Shares out `bytes`, half for writing and half for reading, within what is sensible; `None`: as much as that.
    pub(crate) fn new(bytes: Option<u64>) -> Self {
        let half = bytes.map_or(MOST_BYTES, |bytes| (bytes / 2).clamp(LEAST_BYTES, MOST_BYTES));
        let semaphore = || Arc::new(Semaphore::new(half as usize / UNIT));
        Self { write: semaphore(), read: semaphore(), half }
    }

    /// Flow control window of a stream that is read, in bytes.
    pub(crate) fn stream_window(&self) -> u32 {
        (self.half / STREAM_WINDOWS).clamp(MIN_STREAM_WINDOW, DATA_STREAM_WINDOW.into()) as u32
    }

    /// The budget of one writer.
    pub(crate) fn writer_window(&self) -> Arc<Semaphore> {
        let (most, part) = WINDOW_BYTES;
        Arc::new(Semaphore::new(most.min(self.half as usize / part) / UNIT))
    }

    /// One packet that each writer may have without regard to the others: who has been let in by the DataNodes, and has
    /// nothing on its way, must not wait for those who wait to be let in. Those would wait for it, too.
    pub(crate) fn writers_own() -> Arc<Semaphore> {
        Arc::new(Semaphore::new(units(PACKET_BYTES) as usize))
    }

    /// The budget that all writers share.
    pub(crate) fn writers(&self) -> Arc<Semaphore> {
        Arc::clone(&self.write)
    }

    /// How many packets of `packet_bytes` a new read-ahead may queue, and the permit for them and for what the
    /// connection buffers for its stream.
    pub(crate) fn read_ahead(&self, packet_bytes: usize) -> (usize, Option<OwnedSemaphorePermit>) {
        let mut packets = READ_AHEAD_PACKETS;
        while packets > 1 {
            let permits = units(packets * packet_bytes + self.stream_window() as usize);
            if let Ok(permit) = Arc::clone(&self.read).try_acquire_many_owned(permits) {
                return (packets, Some(permit));
            }
            packets /= 2;
        }
        (1, None)
    }
}

/// Permits for `bytes`; an empty packet takes one too.
pub(crate) fn units(bytes: usize) -> u32 {
    (bytes / UNIT + 1) as u32
}

/// What a packet holds of the budgets until it is acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Reserved {
    /// Of its writer's window.
    pub(crate) _window: Option<OwnedSemaphorePermit>,
    /// Of its writer's own packet or of the budget that all writers share.
    pub(crate) _bytes: Option<OwnedSemaphorePermit>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_ahead_shrinks_but_never_to_nothing() {
        let memory = Memory::new(None);
        let mut held = Vec::new();
        let mut sizes = Vec::new();
        for _ in 0..60 {
            let (packets, permit) = memory.read_ahead(512 << 10);
            sizes.push(packets);
            held.push(permit);
        }
        assert_eq!(sizes.first(), Some(&8));
        assert_eq!(sizes.last(), Some(&1));
        drop(held);
        assert_eq!(memory.read_ahead(512 << 10).0, 8);
    }

    #[test]
    fn little_memory_makes_everything_smaller_but_a_packet_always_fits() {
        let memory = Memory::new(Some(1));
        assert_eq!(memory.writers().available_permits() * UNIT, 8 << 20);
        assert_eq!(memory.writer_window().available_permits() * UNIT, 4 << 20);
        assert_eq!(memory.stream_window(), 256 << 10);
        assert_eq!(Memory::new(Some(u64::MAX)).stream_window(), DATA_STREAM_WINDOW);
    }
}
