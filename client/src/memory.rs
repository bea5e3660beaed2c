//! Bounds on the memory that data in flight may take.

use std::sync::Arc;

use dfs_types::limits::DATA_STREAM_WINDOW;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes that one permit stands for.
const UNIT: usize = 1 << 10;

/// Bytes of packets that all writers of one client may have unacknowledged.
const WRITE_BYTES: usize = 96 << 20;
/// Bytes of packets that all read-aheads of one client may hold.
const READ_BYTES: usize = 96 << 20;
/// Bytes of packets that one writer may have unacknowledged.
const WINDOW_BYTES: usize = 16 << 20;
/// Packets one read-ahead may hold; one is allowed without any permit, so that readers never wait for each other.
const READ_AHEAD_PACKETS: usize = 8;

/// The budgets of one client. Writers and readers have separate ones, or copying could deadlock.
#[derive(Debug)]
pub(crate) struct Memory {
    write: Arc<Semaphore>,
    read: Arc<Semaphore>,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            write: Arc::new(Semaphore::new(WRITE_BYTES / UNIT)),
            read: Arc::new(Semaphore::new(READ_BYTES / UNIT)),
        }
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
            let permits = units(packets * packet_bytes + DATA_STREAM_WINDOW as usize);
            if let Ok(permit) = Arc::clone(&self.read).try_acquire_many_owned(permits) {
                return (packets, Some(permit));
            }
            packets /= 2;
        }
        (1, None)
    }
}

/// The budget of one writer.
pub(crate) fn writer_window() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(WINDOW_BYTES / UNIT))
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
    /// Of the budget all writers share.
    pub(crate) _shared: Option<OwnedSemaphorePermit>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_ahead_shrinks_but_never_to_nothing() {
        let memory = Memory::new();
        let mut held = Vec::new();
        let mut sizes = Vec::new();
        for _ in 0..40 {
            let (packets, permit) = memory.read_ahead(512 << 10);
            sizes.push(packets);
            held.push(permit);
        }
        assert_eq!(sizes.first(), Some(&8));
        assert_eq!(sizes.last(), Some(&1));
        drop(held);
        assert_eq!(memory.read_ahead(512 << 10).0, 8);
    }
}
