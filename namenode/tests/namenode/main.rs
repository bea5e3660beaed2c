//! The whole NameNode over a real directory, with DataNodes that only talk.

mod admin;
mod cluster;
mod process;
mod recovery;
mod rpc;
mod support;
mod writing;
