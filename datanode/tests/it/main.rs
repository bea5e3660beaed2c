//! Real DataNodes in this process, a fake NameNode, and clients that speak the wire protocol.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, reason = "a test fails by panicking")]

mod budget;
mod cluster;
mod damage;
mod disks;
mod leaders;
mod lifecycle;
mod orders;
mod origins;
mod pipeline;
mod refusals;
mod wire;
