//! A disk for tests: a file system in memory, mounted through FUSE, that can lose what was not synced.
//!
//! `kill -9` does not show a missing `fsync`, as the kernel keeps what the process wrote. [`FaultDisk::power_cut`] does:
//! of what was written since the last `fsync` an arbitrary part is gone, of the names made, changed or removed since the
//! last `fsync` of their directory likewise. Beyond that the disk can be full, fail, be slow, rot and lie.
//!
//! ```no_run
//! use std::path::Path;
//!
//! use dfs_fault_disk::{FaultDisk, Settings};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let disk = FaultDisk::mount(Path::new("/tmp/disk"), Settings::default())?;
//! std::fs::write("/tmp/disk/file", "never synced")?;
//! disk.power_cut(7)?; // kill the processes that use it first
//! disk.restore()?;
//! # Ok(())
//! # }
//! ```
//!
//! The process that mounts a disk answers for it, so it must not map the disk's files writably itself, as SQLite's WAL
//! mode does: the kernel would wait for an answer of a process whose memory it has locked. Other processes may.
//!
//! What is promised and what may happen otherwise is in [`Settings`] and ADR 0015. Mounting needs root and `/dev/fuse`:
//! [`FaultDisk::available`] says why not, for a test that is skipped then.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "only for tests and measurements: it may end where nobody takes what it says"
)]

mod disk;
mod error;
mod mount;
mod pace;
mod serve;
mod settings;
mod tree;

pub use disk::{FaultDisk, Usage};
pub use error::Error;
pub use settings::{Settings, Throttle};
pub use tree::Lost;
