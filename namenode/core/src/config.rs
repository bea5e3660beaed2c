//! Every number the decisions depend on.

use std::time::Duration;

use dfs_types::limits;

/// Times, thresholds and limits of the decisions.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Silence after which a node is stale.
    pub stale_after: Duration,
    /// Silence after which a node is dead.
    pub dead_after: Duration,
    /// Silence that an announced restart may take, and how long copying is held back after many nodes vanish at
    /// once.
    pub restart_grace: Duration,
    /// How long a node that registered again, or all nodes after safe mode, may take to report before what they
    /// had is copied elsewhere.
    pub report_grace: Duration,
    /// Most nodes that send their full reports at the same time.
    pub report_turns: usize,
    /// Time without a slice of its report after which a node's turn passes to another.
    pub report_patience: Duration,
    /// Time without a [`Tick`](crate::Event::Tick) that means that this process stood still: such time is not
    /// counted as the nodes' silence.
    pub stall_after: Duration,
    /// Age at which a dead node is forgotten altogether.
    pub forget_after: Duration,
    /// Good replicas (capped by the chunk's replication) that must exist before a bad one is deleted.
    pub min_replicas: u32,
    /// Share of the committed chunks that must have a good replica before safe mode ends by itself.
    pub safe_mode_threshold: f64,
    /// Most copies a node sends, and most it receives, at a time.
    pub max_copies_per_node: u32,
    /// Most bytes of the copies a node sends, and of those it receives, at a time. A single larger copy is fine.
    pub max_copy_bytes_per_node: u64,
    /// Most copies under way in the whole cluster.
    pub max_copies: u32,
    /// Most bytes of the copies under way in the whole cluster. A single larger copy is fine.
    pub max_copy_bytes: u64,
    /// Most bytes a second of one copy from or to a node that clients use; the more they do, the less.
    pub busy_copy_bytes_per_second: u64,
    /// Good replicas on nodes that are not in maintenance (capped by the chunk's replication) without which a chunk's
    /// replicas on those that are do not suffice.
    pub maintenance_min_replicas: u32,
    /// Most chunks the balancer moves at a time.
    pub max_moves: u32,
    /// Time without any move after which the balancer ends although not all is balanced.
    pub balancer_patience: Duration,
    /// Time after which a copy of an empty chunk is given up; longer chunks get a second for each 8 MiB.
    pub copy_timeout: Duration,
    /// How long a chunk just committed is left alone because its pipeline may still be finalizing it.
    pub finalize_grace: Duration,
    /// Time a node has for recovering a chunk before another is asked.
    pub recovery_timeout: Duration,
    /// Age of a lease from which another client may take the file over.
    pub lease_soft_limit: Duration,
    /// Age of a lease from which the file is to be recovered.
    pub lease_hard_limit: Duration,
    /// Most replicas one heartbeat's reply orders to be deleted.
    pub delete_batch: usize,
    /// Time after which an order to delete a replica that is still there is repeated.
    pub delete_retry: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            stale_after: limits::STALE_AFTER,
            dead_after: limits::DEAD_AFTER,
            restart_grace: limits::RESTART_GRACE,
            // A report of a million replicas takes a few seconds to send and apply.
            report_grace: Duration::from_secs(15),
            // Enough that one slice is applied while others are on their way; each waits for those before it.
            report_turns: 4,
            report_patience: Duration::from_secs(10),
            // Ticks come twice a second.
            stall_after: Duration::from_secs(3),
            forget_after: Duration::from_hours(24),
            min_replicas: limits::DEFAULT_MIN_REPLICAS,
            safe_mode_threshold: limits::SAFE_MODE_THRESHOLD,
            // Two full chunks at a time leave room for clients; small chunks would otherwise wait for heartbeats.
            max_copies_per_node: 16,
            max_copy_bytes_per_node: 2 * limits::DEFAULT_CHUNK_SIZE,
            // Each of 5,000 nodes sends a full chunk and receives one, and some a second: racks' uplinks are shared.
            max_copies: 32_768,
            max_copy_bytes: 8_192 * limits::DEFAULT_CHUNK_SIZE,
            // Half of what a single hard disk does.
            busy_copy_bytes_per_second: 64 << 20,
            maintenance_min_replicas: 1,
            max_moves: 2_048,
            balancer_patience: Duration::from_mins(5),
            copy_timeout: Duration::from_secs(30),
            finalize_grace: Duration::from_secs(10),
            recovery_timeout: Duration::from_secs(30),
            lease_soft_limit: limits::LEASE_SOFT_LIMIT,
            lease_hard_limit: limits::LEASE_HARD_LIMIT,
            delete_batch: 1_000,
            delete_retry: Duration::from_mins(1),
        }
    }
}
