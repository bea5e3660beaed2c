//! How evenly DataNodes are filled, and what is done about it.

/// How the balancer gets on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BalancerStatus {
    /// Whether it moves chunks.
    pub running: bool,
    /// How far a node's used share of its space may lie from the mean, in thousandths.
    pub threshold_permille: u32,
    /// Most bytes a second that a node sends, and most that it receives, for balancing.
    pub bytes_per_second: u64,
    /// Chunks moved since it was started or this NameNode began to lead.
    pub moved_chunks: u64,
    /// Bytes of them.
    pub moved_bytes: u64,
    /// Moves under way.
    pub pending_moves: u64,
    /// Bytes that lie above or below the threshold, about.
    pub bytes_to_move: u64,
    /// Used share of the space of all nodes in service, in thousandths.
    pub mean_permille: u32,
    /// The same of the emptiest of them.
    pub lowest_permille: u32,
    /// The same of the fullest of them.
    pub highest_permille: u32,
    /// Whether every node in service is within the threshold.
    pub balanced: bool,
}

/// What to do about the balancer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BalancerAction {
    /// Only tell.
    Status,
    /// Start it, or let it go on with other settings.
    Start {
        /// How far a node's used share may lie from the average, in thousandths; `None`: the NameNode's default.
        threshold_permille: Option<u32>,
        /// Most bytes a second that a node sends or receives for it; `None`: the NameNode's default.
        bytes_per_second: Option<u64>,
    },
    /// Stop it.
    Stop,
}
