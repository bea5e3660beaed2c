//! The gRPC protocol of the file system.
//!
//! [`v1`] is generated from the files under `proto/` and committed; a test keeps it current. [`convert`] is the only
//! place that knows both wire messages and domain values: wire types stop at the servers' `serve` modules and at the
//! client library.

pub mod convert;
pub mod pool;

/// Generated messages, clients and servers of package `dfs.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated; the meaning of each message stands in the .proto file"
)]
pub mod v1 {
    include!("gen/dfs.v1.rs");
}

/// Generated messages of package `dfs.stored`: what NameNodes store and replicate. Only the NameNode knows them.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated; the meaning of each message stands in the .proto file"
)]
pub mod stored {
    include!("gen/dfs.stored.rs");
}

/// Generated messages of package `dfs.replica`: what DataNodes store beside replicas. Only the DataNode knows them.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated; the meaning of each message stands in the .proto file"
)]
pub mod replica {
    include!("gen/dfs.replica.rs");
}
