//! The DataNode: volumes, replicas and the data path.
//!
//! ```text
//!  serve::data ──> session::{write,read} ──> store ──> volume::{writer,reader} on disk_pool threads
//!                        │ peer                │ index, claims
//!                        v                     v reports
//!                  next DataNode           reporter ──> namenode        commands <── orders
//! ```
//!
//! * `volume` knows files and one directory each: formats, rules of packets, the scan at start. It blocks.
//! * `store` is the one door to all replicas: it owns the index, says who may change a replica, and reports changes.
//! * `session` moves packets, independent of the wire; `wire`, `serve`, `peer` and `namenode` are the only modules that
//!   know gRPC messages.
//! * `origins` has the headers of replicas say what files they are of.
//! * `group` knows the NameNodes, a `reporter` keeps one of them informed, `fence` says whose orders count.
//! * `run` starts every long-running task and stops them in order.

pub mod cli;
mod commands;
pub mod config;
mod crc_combine;
mod disk_pool;
mod ending;
mod fence;
mod group;
mod headers;
mod memory;
pub mod metrics;
mod namenode;
mod origins;
mod pace;
mod peer;
mod place;
mod recovery;
mod reporter;
mod reports;
pub mod run;
mod scrub;
#[cfg(feature = "seeded-bug")]
mod seeded;
mod sending;
mod serve;
mod session;
mod store;
mod volume;
mod volumes;
mod wire;

pub use config::Config;
pub use run::DataNode;
