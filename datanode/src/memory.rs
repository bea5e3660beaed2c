//! What sessions cost of the process's budget of memory.
//!
//! A session is admitted when what it needs at least is free, counting all that may wait for it anywhere: in the flow control
//! window of its stream, on its way to the disk, in the connection to the next node. It keeps that until it ends, so that a
//! session that has begun never waits for memory. While much is free it gets more, and is faster.

use std::time::Duration;

use dfs_daemon::budget::{Asked, Budget, Class, Exhausted, Grant, Line, Share};
use dfs_daemon::{Meter, limits};
use dfs_types::limits::{
    BYTES_PER_CHECKSUM, CHECKSUM_BYTES, DATA_SESSIONS, DATA_STREAM_WINDOW, DEFAULT_REPLICATION,
    MAX_PACKET_BYTES, MAX_PIPELINE, MEMORY_WAIT, PACKET_BYTES, STREAMS_PER_CONNECTION,
};
use dfs_types::{ErrorCode, FsError, FsResult};

/// Bytes of the largest packet with its checksums.
const PACKET: u64 = with_sums(MAX_PACKET_BYTES as u64);
/// Packets between arrival and acknowledgement for which there is room at least and at most.
const IN_FLIGHT: (u64, u64) = (1, 8);
/// Bytes of a packet that is read while memory is scarce.
const SMALL_PACKET: u64 = 128 << 10;
/// What hyper buffers of a stream before it asks for more: as a server and as a client.
const SEND_BUFFER: (u64, u64) = (400 << 10, 1 << 20);
/// Parts of the budget that each class of sessions has for itself.
const SHARES: u64 = 32;
/// Parts of the budget that one stream's window may be.
const WINDOWS: u64 = 256;
/// The smallest window of a stream with which a connection is of use, in bytes.
const MIN_WINDOW: u64 = 128 << 10;
/// How long a copy waits for memory, for which nobody waits.
const COPY_WAIT: Duration = Duration::from_secs(10);
/// Descriptors that a session may need: two files, twice when its replica moves.
const SESSION_FILES: u64 = 4;
/// Descriptors for everything else: volumes, NameNodes, other DataNodes.
const OTHER_FILES: u64 = 64;
/// Sessions for which there are always descriptors.
const MIN_SESSIONS: u64 = 8;

/// Readers, who wait for nobody.
const READ: Class = Class { line: 0, place: 0 };
/// Copies, which wait for the nodes that they go to: for writers with fewer nodes after them than always have a share.
const COPY: Class = Class { line: 2, place: 0 };
/// Nodes of a pipeline for which there is always room.
const USUAL_PIPELINE: usize = DEFAULT_REPLICATION as usize;

/// Writers by how many nodes come after them, for which they wait.
const fn write_class(downstream: usize) -> Class {
    Class { line: 1, place: if downstream < MAX_PIPELINE { downstream } else { MAX_PIPELINE - 1 } }
}

const fn with_sums(bytes: u64) -> u64 {
    bytes + bytes / BYTES_PER_CHECKSUM as u64 * CHECKSUM_BYTES as u64
}

/// The memory that sessions share.
#[derive(Debug, Clone)]
pub(crate) struct Memory {
    budget: Budget,
    window: u64,
}

/// How a replica is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReadAhead {
    /// Bytes of a packet.
    pub(crate) packet: u64,
    /// Packets read ahead of the one that is sent.
    pub(crate) packets: usize,
}

impl ReadAhead {
    const FULL: Self = Self { packet: PACKET_BYTES as u64, packets: 2 };
    const SCARCE: Self = Self { packet: SMALL_PACKET, packets: 1 };

    /// What is held of a replica on its way from the disk into a connection with this buffer: read ahead, waiting to be
    /// sent, being encoded, and the one that exceeds the buffer.
    const fn cost(self, send_buffer: u64) -> u64 {
        with_sums(self.packet) * (self.packets as u64 + 4) + send_buffer
    }

    fn asked(send_buffer: u64) -> Asked {
        Asked { least: Self::SCARCE.cost(send_buffer), most: Self::FULL.cost(send_buffer) }
    }

    fn of(grant: &Grant, asked: Asked) -> Self {
        if grant.bytes() >= asked.most { Self::FULL } else { Self::SCARCE }
    }
}

impl Memory {
    /// Shares out `bytes`, or a little more if no session would fit into them.
    pub(crate) fn new(bytes: u64, meter: &Meter) -> prometheus::Result<Self> {
        let window = (bytes / WINDOWS).clamp(MIN_WINDOW, DATA_STREAM_WINDOW.into());
        let share = |least: u64| Share { bytes: least.max(bytes / SHARES), least };
        let write = (0..MAX_PIPELINE).map(|downstream| match write_cost(window, downstream).least {
            least if downstream < USUAL_PIPELINE => share(least),
            least => Share { bytes: least, least },
        });
        let one = |asked: Asked| Line { classes: vec![share(asked.least)], always: 1 };
        let lines = [
            one(ReadAhead::asked(SEND_BUFFER.0)),
            Line { classes: write.collect(), always: USUAL_PIPELINE },
            one(ReadAhead::asked(SEND_BUFFER.1)),
        ];
        Ok(Self { budget: Budget::new(bytes, &lines, meter)?, window })
    }

    /// Flow control window of a stream, in bytes.
    pub(crate) fn stream_window(&self) -> u32 {
        self.window as u32
    }

    /// Memory for a write session with so many nodes after this one; answers also how many bytes of packets may be between
    /// arrival and acknowledgement.
    pub(crate) async fn write(&self, downstream: usize) -> FsResult<(Grant, usize)> {
        let asked = write_cost(self.window, downstream);
        let grant = self.budget.take(write_class(downstream), asked, MEMORY_WAIT).await.map_err(busy)?;
        let packets = if grant.bytes() >= asked.most { IN_FLIGHT.1 } else { IN_FLIGHT.0 };
        Ok((grant, packets as usize * MAX_PACKET_BYTES))
    }

    /// What a write session needs of it when only its last packet, of so many bytes, is not yet acknowledged.
    pub(crate) fn write_end(&self, downstream: usize, packet: usize) -> u64 {
        let copies = if downstream == 0 { 1 } else { 3 };
        self.window + copies * with_sums(packet as u64)
    }

    /// Memory for a read session.
    pub(crate) async fn read(&self) -> FsResult<(Grant, ReadAhead)> {
        let asked = ReadAhead::asked(SEND_BUFFER.0);
        let grant = self.budget.take(READ, asked, MEMORY_WAIT).await.map_err(busy)?;
        let ahead = ReadAhead::of(&grant, asked);
        Ok((grant, ahead))
    }

    /// Memory for sending a replica to so many other nodes.
    pub(crate) async fn copy(&self, targets: usize) -> FsResult<(Grant, ReadAhead)> {
        let asked = ReadAhead::asked(SEND_BUFFER.1);
        let class = if targets <= USUAL_PIPELINE { COPY } else { write_class(targets) };
        let grant = self.budget.take(class, asked, COPY_WAIT).await.map_err(busy)?;
        let ahead = ReadAhead::of(&grant, asked);
        Ok((grant, ahead))
    }

    /// Returns when sessions wait for memory.
    pub(crate) async fn scarce(&self) {
        self.budget.scarce().await;
    }
}

/// What a write session needs: what may arrive, what is on its way to the disk, and, if there is a node after this one,
/// packets encoded for it and the one being encoded, of which the connection to it buffers so much at most.
fn write_cost(window: u64, downstream: usize) -> Asked {
    let (least, most) = IN_FLIGHT;
    let cost = |in_flight: u64| {
        let onward = ((in_flight + 1) * PACKET).min(2 * PACKET + SEND_BUFFER.1);
        window + (in_flight + 1) * PACKET + if downstream == 0 { 0 } else { onward }
    };
    Asked { least: cost(least), most: cost(most) }
}

fn busy(Exhausted(waited): Exhausted) -> FsError {
    let why = format!(
        "this node had no memory for another session within {waited:?}: try again or ask another node"
    );
    FsError::new(ErrorCode::Busy, why)
}

/// Write and read sessions that may be open at once: each needs descriptors.
pub(crate) fn sessions(open_files: u64, connections: usize) -> usize {
    let outgoing = (DATA_SESSIONS / STREAMS_PER_CONNECTION) as u64;
    let free = open_files.saturating_sub(connections as u64 + OTHER_FILES + outgoing);
    (free / SESSION_FILES).clamp(MIN_SESSIONS, DATA_SESSIONS as u64) as usize
}

/// As [`sessions`], with the limits of this process.
pub(crate) fn sessions_of_process(connections: usize) -> usize {
    sessions(limits::open_files(), connections)
}

#[cfg(test)]
mod tests {
    use prometheus::Registry;

    use super::*;

    fn memory(bytes: u64) -> Memory {
        Memory::new(bytes, &Meter::new(&Registry::new(), "dfs_test")).unwrap()
    }

    #[tokio::test]
    async fn a_small_budget_has_room_for_each_kind_and_gives_the_least() {
        let memory = memory(1);
        let read = memory.read().await.unwrap();
        let copy = memory.copy(1).await.unwrap();
        assert_eq!((read.1, copy.1), (ReadAhead::SCARCE, ReadAhead::SCARCE));
        let mut held = Vec::new();
        for downstream in [0, 1, 2] {
            let (grant, in_flight) = memory.write(downstream).await.unwrap();
            assert_eq!(in_flight, MAX_PACKET_BYTES, "a packet always fits");
            held.push(grant);
        }
        assert_eq!(memory.budget.peak(), memory.budget.total());
        assert_eq!(memory.stream_window(), 128 << 10);
        drop((read, copy, held));
        // The longest pipeline is an exception for which there is room all the same, one after the other.
        let mut held = Vec::new();
        for downstream in (0..MAX_PIPELINE).rev() {
            held.push(memory.write(downstream).await.unwrap());
        }
    }

    /// Pipelines of three nodes that begin in turn at each of three nodes, all at once, as many as there can be.
    #[tokio::test(start_paused = true)]
    async fn pipelines_that_begin_are_not_stuck_behind_each_other() {
        let nodes = [memory(32 << 20), memory(32 << 20), memory(32 << 20)];
        let mut begun: Vec<Vec<Grant>> = Vec::new();
        for number in 0..15 {
            begun.push(nodes[number % 3].write(2).await.map(|(grant, _)| vec![grant]).unwrap_or_default());
        }
        let heads = begun.iter().filter(|pipeline| !pipeline.is_empty()).count();
        assert!(heads >= 9, "{heads} of 15 hold memory");
        for (hop, downstream) in [(1, 1), (2, 0)] {
            for (number, pipeline) in
                begun.iter_mut().enumerate().filter(|(_, pipeline)| !pipeline.is_empty())
            {
                let (grant, _) = nodes[(number + hop) % 3].write(downstream).await.unwrap();
                pipeline.push(grant);
            }
        }
    }

    #[tokio::test]
    async fn a_large_one_gives_the_most_and_half_of_64_mib_serves_several_pipelines() {
        let large = memory(4 << 30);
        assert_eq!(large.read().await.unwrap().1, ReadAhead::FULL);
        assert_eq!(large.write(2).await.unwrap().1, 8 * MAX_PACKET_BYTES);
        assert_eq!(large.stream_window(), DATA_STREAM_WINDOW);
        let small = memory(32 << 20);
        let mut held = Vec::new();
        for number in 0..6 {
            held.push(small.write(number % 3).await.unwrap());
        }
        assert!(small.budget.peak() <= 32 << 20);
    }

    #[test]
    fn descriptors_bound_the_sessions() {
        assert_eq!(sessions(256, 96), 16);
        assert_eq!((sessions(0, 96), sessions(1 << 20, 16_384)), (8, DATA_SESSIONS));
    }
}
