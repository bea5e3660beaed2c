//! How a disk is to be.

use std::time::Duration;

/// What a new [`FaultDisk`](crate::FaultDisk) is like.
///
/// Whatever the settings: `fsync`, `fdatasync`, `msync` and writing with `O_SYNC` or `O_DSYNC` make a file's bytes and
/// its length durable. `sync` and `syncfs` do nothing here, as the kernel does not tell a FUSE file system of them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bytes that files can hold, and with them the memory the disk uses at most, but for what was overwritten or
    /// removed and is not synced yet (64 MiB more at most). A write beyond it fails with `ENOSPC`.
    pub capacity: u64,
    /// Whether syncing any file makes all names durable, as ext4's journal does. Otherwise, and by default, a name is
    /// durable only when its directory was synced: POSIX promises no more, so nothing may rely on more.
    pub names_with_files: bool,
    /// Threads that answer the kernel.
    pub threads: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { capacity: 1 << 30, names_with_files: false, threads: 2 }
    }
}

/// How slow a disk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// Bytes read and written in a second; 0: not limited.
    pub bytes_per_second: u64,
    /// What each read, write and sync takes at least.
    pub latency: Duration,
}
