//! The NameNode of the file system.
//!
//! ```text
//!  gRPC ─ serve ─> api ──propose(Edit)──> store::group (batch → log entry → fsync → majority)
//!                   │                        │ committed ──> store::writer (one SQLite transaction) ─ answer, only now
//!                   │                        │ Change
//!                   │<── locate, choose ──> engine (one task owns core::Core)
//! ```
//!
//! * [`config`] reads the command line, [`run`] starts and stops the process and alone spawns;
//! * [`serve`] turns wire messages into calls of [`api::Namenode`], the one door for all protocols;
//! * [`engine`] owns the chunk map and its decisions, [`store`] the namespace and the log it is replicated by;
//! * [`groups`] says which groups a user is in;
//! * [`metrics`] names everything that is counted.

pub mod api;
pub mod config;
pub mod engine;
pub mod groups;
pub mod metrics;
pub mod peers;
pub mod run;
#[cfg(feature = "seeded-bug")]
mod seeded;
pub mod serve;
pub mod store;
