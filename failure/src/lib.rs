//! The failure suite: what a cluster survives, shown to a person.
//!
//! One list of [`scenarios`], written once. A scenario knows only the trait [`Cluster`] and the public client; a driver
//! implements the trait: [`local`] with processes on this machine, and others with pods. What a driver cannot do it
//! says ([`Site::lacks`]), and the scenarios that need it are skipped with that reason.
//!
//! ```text
//! runner ── for each scenario ──> Site::build (or the cluster of the one before, if it is whole and of the same shape)
//!    │                                │
//!    │                             Stage: steps, measures, files that were acknowledged
//!    │                                │ the scenario's own steps
//!    │                             Stage::finish: heal, compare every acknowledged byte, fsck
//!    └─> table, Markdown, JSON, JUnit; the exit status follows what was wrong
//! ```

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "only for tests and measurements: it may end where nobody takes what it says"
)]

pub mod cluster;
pub mod files;
pub mod health;
pub mod local;
pub mod menu;
pub mod outcome;
pub mod report;
pub mod runner;
pub mod scenarios;
pub mod show;
pub mod stage;
pub mod traffic;
pub mod writer;

pub use cluster::{Capability, Cluster, Shape, Site};
pub use outcome::{Mark, Outcome};
pub use runner::{Plan, run};
pub use scenarios::Scenario;
pub use stage::Stage;
