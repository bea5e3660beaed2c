//! The disk through the kernel: what programs see of it.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::large_stack_arrays,
    reason = "a test fails by panicking; clippy.toml allows it only inside of test functions"
)]

mod cuts;
mod faults;
mod posix;
mod sqlite;

use std::path::Path;

use dfs_fault_disk::{FaultDisk, Settings};
use tempfile::TempDir;

/// A disk in a folder of its own. The disk goes before the folder.
struct Stage {
    disk: FaultDisk,
    _folder: TempDir,
}

impl Stage {
    /// A mounted disk; `None`, and the reason printed, where there can't be one.
    fn set_up(settings: Settings) -> Option<Self> {
        if let Err(reason) = FaultDisk::available() {
            println!("skipped: {reason}");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let disk = match FaultDisk::mount(&folder.path().join("disk"), settings) {
            Err(reason @ dfs_fault_disk::Error::Unavailable(_)) => {
                println!("skipped: {reason}");
                return None;
            }
            mounted => mounted.unwrap(),
        };
        Some(Self { disk, _folder: folder })
    }

    fn root(&self) -> &Path {
        self.disk.path()
    }

    fn cut(&self, seed: u64) -> dfs_fault_disk::Lost {
        let lost = self.disk.power_cut(seed).unwrap();
        self.disk.restore().unwrap();
        lost
    }
}

/// Makes the names in a directory durable.
fn sync_names(directory: &Path) {
    std::fs::File::open(directory).unwrap().sync_all().unwrap();
}
