//! The library against a NameNode and DataNodes that live in memory and fail on demand.

#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic,
    reason = "a failure here fails the test; clippy.toml allows it only inside of test functions"
)]

mod backup;
mod connecting;
mod datanode;
mod failover;
mod fake;
mod group;
mod reading;
mod recovery;
mod writing;
