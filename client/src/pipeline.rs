//! The pipeline of one chunk as a state machine without I/O: what to send, what is acknowledged, what to do when
//! a node fails.
//!
//! ```text
//!          setup ok                        last packet acknowledged
//!  Fresh ----------> Streaming ----------------------------------------> Finished
//!    |  ^             |     ^
//!    |  | new chunk   |     | RECOVER over the remaining nodes set up,
//!    v  |             v     | packets sent again from the first unacknowledged one
//!  Abandon           Recover ------> GiveUp: no node left, or too many failures without progress
//! ```

use std::collections::VecDeque;

use bytes::Bytes;
use dfs_types::{Endpoint, NodeId};

use crate::memory::Reserved;

/// Failures in a row, without an acknowledgement in between, after which a chunk is given up.
const MAX_FAILURES: u32 = 12;

/// Data of one packet, kept until it is acknowledged.
#[derive(Debug, Default)]
pub(crate) struct Packet {
    /// Where `data` begins in the chunk.
    pub(crate) offset: u64,
    pub(crate) data: Bytes,
    pub(crate) sums: Bytes,
    /// Nothing follows; finalize.
    pub(crate) last: bool,
    /// An early acknowledgement is wanted.
    pub(crate) flush: bool,
    /// It shall be on disk when acknowledged.
    pub(crate) sync: bool,
    /// It only says that the writer is alive.
    pub(crate) sign_of_life: bool,
    /// Given back when this packet is dropped.
    pub(crate) _memory: Reserved,
}

impl Packet {
    fn end(&self) -> u64 {
        self.offset + self.data.len() as u64
    }
}

/// What an acknowledgement changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Acked {
    /// One packet less to wait for.
    Progress,
    /// It was the last one: the chunk is finalized.
    Finished,
}

/// An acknowledgement that fits no packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnexpectedAck {
    /// The sequence number that would fit; `None` if nothing is under way.
    pub(crate) expected: Option<u64>,
}

/// What to do after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// No byte is acknowledged: give the chunk back and ask for another one without the failed node.
    Abandon,
    /// Go on with the remaining nodes under a new generation.
    Recover,
    /// Nothing can be done.
    GiveUp,
}

/// State of one chunk's pipeline.
#[derive(Debug, Default)]
pub(crate) struct Pipeline {
    /// In the order of the stream; the first is the one we talk to.
    nodes: Vec<Endpoint>,
    /// Nodes that were in the pipeline and failed; they may hold all acknowledged bytes.
    dropped: Vec<Endpoint>,
    /// Unacknowledged packets, oldest first; the first `sent` of them are on the stream.
    queue: VecDeque<Packet>,
    sent: usize,
    /// Sequence number of the queue's head on the present stream.
    head: u64,
    /// Where the last packet ends.
    end: u64,
    acked_bytes: u64,
    acked_packets: u64,
    streaming: bool,
    failures: u32,
}

impl Pipeline {
    /// The nodes in use, in order.
    pub(crate) fn nodes(&self) -> &[Endpoint] {
        &self.nodes
    }

    /// Ids of the nodes that failed.
    pub(crate) fn failed(&self) -> Vec<NodeId> {
        self.dropped.iter().map(|node| node.id).collect()
    }

    /// Bytes of the chunk that every node of the pipeline has.
    pub(crate) fn acked_bytes(&self) -> u64 {
        self.acked_bytes
    }

    /// Packets acknowledged so far, over all streams, without signs of life.
    pub(crate) fn acked_packets(&self) -> u64 {
        self.acked_packets
    }

    /// Failures since the last acknowledgement.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Whether packets are on the stream that no acknowledgement came for.
    pub(crate) fn awaits_ack(&self) -> bool {
        self.sent > 0
    }

    /// Whether what is on the stream makes the nodes sync, which takes longer.
    pub(crate) fn awaits_sync(&self) -> bool {
        self.queue.iter().take(self.sent).any(|packet| packet.last || packet.sync)
    }

    /// Whether a packet waits to be sent.
    pub(crate) fn has_unsent(&self) -> bool {
        self.sent < self.queue.len()
    }

    /// A packet to send after those before it.
    pub(crate) fn push(&mut self, packet: Packet) {
        self.end = packet.end();
        self.queue.push_back(packet);
    }

    /// An empty packet, for a writer that has had nothing to say for a while.
    pub(crate) fn push_sign_of_life(&mut self) {
        self.push(Packet { offset: self.end, sign_of_life: true, ..Packet::default() });
    }

    /// Takes the next packet to send, with its sequence number on the present stream.
    pub(crate) fn send(&mut self) -> Option<(u64, &Packet)> {
        let packet = self.queue.get(self.sent)?;
        let sequence = self.head + self.sent as u64;
        self.sent += 1;
        Some((sequence, packet))
    }

    /// The packet `sequence` is on every node.
    pub(crate) fn ack(&mut self, sequence: u64) -> Result<Acked, UnexpectedAck> {
        if self.sent == 0 {
            return Err(UnexpectedAck { expected: None });
        }
        if sequence != self.head {
            return Err(UnexpectedAck { expected: Some(self.head) });
        }
        let Some(packet) = self.queue.pop_front() else {
            return Err(UnexpectedAck { expected: None });
        };
        self.sent -= 1;
        self.head += 1;
        self.acked_packets += u64::from(!packet.sign_of_life);
        self.acked_bytes = self.acked_bytes.max(packet.end());
        self.failures = 0;
        Ok(if packet.last { Acked::Finished } else { Acked::Progress })
    }

    /// A fresh chunk was allocated on these nodes.
    pub(crate) fn allocated(&mut self, nodes: Vec<Endpoint>) {
        self.nodes = nodes;
    }

    /// The stream is set up, anew or for the first time: everything unacknowledged is to be sent on it.
    pub(crate) fn connected(&mut self) {
        self.streaming = true;
        self.sent = 0;
        self.head = 0;
    }

    /// The node at `position` failed; without a position the one we talk to.
    pub(crate) fn fail(&mut self, position: Option<usize>) -> Verdict {
        self.failures += 1;
        let position = position.filter(|position| *position < self.nodes.len()).unwrap_or(0);
        if position < self.nodes.len() {
            self.dropped.push(self.nodes.remove(position));
        }
        if self.failures > MAX_FAILURES {
            return Verdict::GiveUp;
        }
        if !self.streaming {
            self.nodes.clear();
            return Verdict::Abandon;
        }
        if self.nodes.is_empty() {
            if self.acked_packets == 0 {
                self.streaming = false;
                return Verdict::Abandon;
            }
            // Each may have been blamed for another's fault. A replica that lacks acknowledged bytes refuses to be
            // recovered, so trying them again risks nothing.
            self.nodes = std::mem::take(&mut self.dropped);
        }
        Verdict::Recover
    }

    /// Nothing but the nodes that failed is left: they may be chosen again.
    pub(crate) fn forgive(&mut self) {
        self.dropped.clear();
        self.failures = 0;
    }

    /// These nodes have a copy of what is acknowledged and join at the end.
    pub(crate) fn join(&mut self, nodes: Vec<Endpoint>) {
        self.dropped.retain(|dropped| !nodes.iter().any(|node| node.id == dropped.id));
        self.nodes.extend(nodes);
    }
}

#[cfg(test)]
mod tests {
    use dfs_types::Address;

    use super::*;

    fn node(number: u8) -> Endpoint {
        Endpoint {
            id: NodeId::from_bytes(&[number; 16]).unwrap(),
            at: Address { host: "h".into(), data_port: 1, http_port: 1, location: String::new() },
            storage: None,
        }
    }

    fn packet(offset: u64, length: usize, last: bool) -> Packet {
        Packet { offset, data: vec![1; length].into(), last, ..Packet::default() }
    }

    fn streaming(nodes: u8) -> Pipeline {
        let mut pipeline = Pipeline::default();
        pipeline.allocated((0..nodes).map(node).collect());
        pipeline.connected();
        pipeline
    }

    fn send_all(pipeline: &mut Pipeline) -> Vec<(u64, u64)> {
        let mut sent = Vec::new();
        while let Some((sequence, packet)) = pipeline.send() {
            sent.push((sequence, packet.offset));
        }
        sent
    }

    #[test]
    fn acknowledges_in_order_until_finished() {
        let mut pipeline = streaming(3);
        pipeline.push(packet(0, 1024, false));
        pipeline.push(packet(1024, 100, true));
        assert_eq!(send_all(&mut pipeline), [(0, 0), (1, 1024)]);
        assert!(pipeline.awaits_sync());
        assert_eq!(pipeline.ack(1), Err(UnexpectedAck { expected: Some(0) }));
        assert_eq!(pipeline.ack(0), Ok(Acked::Progress));
        assert_eq!(pipeline.acked_bytes(), 1024);
        assert_eq!(pipeline.ack(1), Ok(Acked::Finished));
        assert_eq!(pipeline.acked_bytes(), 1124);
        assert_eq!(pipeline.ack(2), Err(UnexpectedAck { expected: None }));
    }

    #[test]
    fn a_packet_not_sent_cannot_be_acknowledged() {
        let mut pipeline = streaming(1);
        pipeline.push(packet(0, 512, false));
        assert_eq!(pipeline.ack(0), Err(UnexpectedAck { expected: None }));
    }

    #[test]
    fn setup_failure_abandons_and_keeps_every_packet() {
        let mut pipeline = Pipeline::default();
        pipeline.allocated((0..3).map(node).collect());
        pipeline.push(packet(0, 512, false));
        assert_eq!(pipeline.fail(Some(1)), Verdict::Abandon);
        assert_eq!(pipeline.failed(), [node(1).id]);
        pipeline.allocated(vec![node(0), node(2), node(3)]);
        pipeline.connected();
        assert_eq!(send_all(&mut pipeline), [(0, 0)]);
    }

    #[test]
    fn recovery_drops_the_failed_node_and_sends_unacknowledged_packets_again() {
        let mut pipeline = streaming(3);
        for index in 0..4 {
            pipeline.push(packet(index * 512, 512, false));
        }
        send_all(&mut pipeline);
        pipeline.ack(0).unwrap();
        assert_eq!(pipeline.fail(Some(2)), Verdict::Recover);
        assert_eq!(pipeline.nodes(), [node(0), node(1)]);
        pipeline.join(vec![node(7)]);
        pipeline.connected();
        assert_eq!(pipeline.acked_bytes(), 512);
        assert_eq!(send_all(&mut pipeline), [(0, 512), (1, 1024), (2, 1536)]);
        assert_eq!(pipeline.ack(0), Ok(Acked::Progress));
        assert_eq!(pipeline.failures(), 0);
    }

    #[test]
    fn a_failure_without_position_or_with_a_wrong_one_is_the_first_nodes() {
        for position in [None, Some(9)] {
            let mut pipeline = streaming(2);
            assert_eq!(pipeline.fail(position), Verdict::Recover);
            assert_eq!(pipeline.nodes(), [node(1)]);
        }
    }

    #[test]
    fn without_a_node_left_all_are_tried_again_but_not_forever() {
        let mut pipeline = streaming(2);
        pipeline.push(packet(0, 512, false));
        send_all(&mut pipeline);
        pipeline.ack(0).unwrap();
        assert_eq!(pipeline.fail(None), Verdict::Recover);
        assert_eq!(pipeline.fail(None), Verdict::Recover);
        assert_eq!(pipeline.nodes().len(), 2);
        let mut verdicts = Vec::new();
        for _ in 0..MAX_FAILURES {
            verdicts.push(pipeline.fail(None));
        }
        assert_eq!(verdicts.last(), Some(&Verdict::GiveUp));
    }

    #[test]
    fn without_a_node_left_and_nothing_acknowledged_the_chunk_is_abandoned() {
        let mut pipeline = streaming(1);
        pipeline.push(packet(0, 512, true));
        send_all(&mut pipeline);
        assert_eq!(pipeline.fail(None), Verdict::Abandon);
        pipeline.allocated(vec![node(5)]);
        pipeline.connected();
        assert_eq!(send_all(&mut pipeline), [(0, 0)]);
        assert_eq!(pipeline.ack(0), Ok(Acked::Finished));
    }

    #[test]
    fn a_sign_of_life_is_acknowledged_but_not_counted() {
        let mut pipeline = streaming(1);
        pipeline.push(packet(0, 700, false));
        pipeline.push_sign_of_life();
        assert_eq!(send_all(&mut pipeline), [(0, 0), (1, 700)]);
        pipeline.ack(0).unwrap();
        assert_eq!(pipeline.ack(1), Ok(Acked::Progress));
        assert_eq!((pipeline.acked_packets(), pipeline.acked_bytes()), (1, 700));
    }

    #[test]
    fn a_resent_tail_does_not_move_the_length_back() {
        let mut pipeline = streaming(1);
        pipeline.push(packet(0, 700, false));
        pipeline.push(packet(512, 188, true));
        send_all(&mut pipeline);
        pipeline.ack(0).unwrap();
        pipeline.ack(1).unwrap();
        assert_eq!(pipeline.acked_bytes(), 700);
    }
}
