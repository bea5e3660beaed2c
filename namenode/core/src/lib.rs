//! The NameNode's decisions, without I/O, clock or threads.
//!
//! [`Cluster`] owns the chunk map, the DataNodes' states, leases and plans. It is told what happened
//! ([`Cluster::apply`]), answers with what follows ([`Effect`]), and hands out orders to DataNodes
//! ([`Cluster::take_commands`]). The time is an argument, randomness comes from a seeded generator inside: the same
//! calls in the same order decide the same.
//!
//! ```text
//!  reports ───> reports ──> chunk_map ──> refile ──> replication, copies ─┐
//!  heartbeats ─> liveness ──> review ───────┴──────> deletion <─ balancer ─┼──> commands ──> heartbeat replies
//!  leases ────> lease ──> LeaseExpired … RecoveryWanted ──> recovery ──────┘
//! ```
//!
//! It starts as a follower that decides nothing, until it is told that its NameNode leads (`leadership`).

mod balancer;
mod chunk_map;
mod chunk_set;
mod chunk_table;
mod cluster;
mod commands;
mod config;
mod copies;
mod deletion;
mod duty;
mod event;
mod hash;
mod intake;
mod invariants;
mod leadership;
mod lease;
mod liveness;
mod node;
mod node_list;
mod placement;
mod promises;
mod quarantine;
mod recovery;
mod registry;
mod replication;
mod reports;
mod review;
mod ring;
mod safemode;
mod tally;
mod targets;
#[cfg(test)]
mod test_support;
mod topology;
mod view;

pub use cluster::Cluster;
pub use config::Config;
pub use dfs_types::{NodeState, Volume};
pub use event::{
    Address, Balancing, Command, Effect, Event, NodeRecord, NodeStats, Report, Slice, VolumeRecord,
};
pub use placement::{Placement, PlacementError, PlacementRequest};
pub use promises::Ticket;
pub use quarantine::QuarantinedChunk;
pub use recovery::WaitingRecovery;
pub use view::{BalancerView, ChunkView, NodeView, Queues, SafeModeView, Totals};
