//! The NameNode's decisions, without I/O, clock or threads.
//!
//! [`Core`] owns the DataNodes' states (`cluster`), and the chunk map, leases and plans (`namespace`). It is told what
//! happened ([`Core::apply`]), answers with what follows ([`Effect`]), and hands out orders to DataNodes
//! ([`Core::take_commands`]). The time is an argument, randomness comes from a seeded generator inside: the same
//! calls in the same order decide the same.
//!
//! ```text
//!  reports ───> reports ──> chunk_map ──> refile ──> replication, copies ─┐
//!  heartbeats ─> liveness ──> review ───────┴──────> deletion <─ balancer ─┼──> commands ──> heartbeat replies
//!  leases ────> lease ──> LeaseExpired … RecoveryWanted ──> recovery ──────┘
//! ```
//!
//! It starts as a follower that decides nothing, until it is told that its NameNode leads (`leadership`).

mod cluster;
mod config;
mod core;
mod event;
mod hash;
mod namespace;
#[cfg(test)]
mod test_support;
mod view;

pub use self::core::Core;
pub use config::Config;
pub use dfs_types::{Address, Command, NodeState, Volume};
pub use event::{
    Balancing, Effect, Event, NodeRecord, NodeStats, Report, Slice, Target, VolumeRecord, WaitingRecovery,
};
pub use namespace::{Placement, PlacementError, PlacementRequest, Ticket};
pub use view::{ChunkView, Queues, Totals};
