//! A cluster of thousands of DataNodes and up to a hundred million chunks in virtual time, around the decisions of a
//! real NameNode ([`dfs_namenode_core::Core`]).
//!
//! ```text
//!  scenario ──> world ── heartbeats, reports, changes ──> Decisions (core::Core)
//!                │  ^                                        │
//!                │  └── network <── copies ──────────────────┤
//!                │      disks   <── deletions ───────────────┘
//!                └─ rules: what is really on the disks and wires, after every step
//! ```
//!
//! DataNodes are modelled compactly (four bytes a replica); their disks, network cards and racks have bandwidths that
//! copies and clients share. Everything random follows from one seed: the same settings give the same outcome, but for
//! [`Costs`].

mod disk;
mod layout;
mod namenode;
mod network;
mod node;
mod outcome;
mod rules;
mod run;
mod scenario;
mod settings;
mod start;
mod talk;
mod truth;
mod world;
mod writers;

pub use namenode::Decisions;
pub use outcome::{Balance, Costs, Outcome, Work};
pub use run::run;
pub use scenario::Scenario;
pub use settings::Settings;
