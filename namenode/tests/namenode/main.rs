//! The whole NameNode over a real directory, with DataNodes that only talk.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test fails by panicking, also in its support functions"
)]

mod admin;
mod cluster;
mod duty;
mod follower;
mod full;
mod group;
mod hang;
mod no_room;
mod origins;
mod process;
mod recovery;
mod registry;
mod restore;
mod rpc;
mod settings;
mod support;
mod trash;
mod users;
mod writing;
