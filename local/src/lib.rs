//! A cluster of processes on this machine: start, watch, stop.
//!
//! [`LocalCluster`] drives one data directory, whose `cluster.json` remembers what was started ([`record`]). Every
//! process is remembered by its pid *and* its start time ([`process`]): only processes this driver started are ever
//! signalled, even if a pid has been given to something else meanwhile. [`TestCluster`] is one in a temporary
//! directory, on free ports, that ends with its owner. Its network ([`Network`]) and clocks ([`Clocks`]) can be disturbed.

pub mod clocks;
pub mod cluster;
pub mod daemon;
pub mod error;
mod launch;
pub mod network;
pub mod options;
pub mod path_text;
mod ports;
pub mod process;
mod ready;
pub mod record;
pub mod test_cluster;

pub use clocks::{Clocks, Earlier, Programs};
pub use cluster::{DaemonStatus, LocalCluster, Up, programs};
pub use daemon::Daemon;
pub use error::LocalError;
pub use network::{Link, Network, Party};
pub use options::{Lifetime, Options, Ports};
pub use path_text::path_text;
pub use process::ProcessState;
pub use test_cluster::TestCluster;
