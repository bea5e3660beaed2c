//! What can go wrong with a disk as a whole; programs that use it see errors of the operating system.

use std::io;
use std::path::PathBuf;

/// Why a disk can't do what it was told to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// It can't be mounted here at all.
    #[error("a file system can't be mounted here: {0}")]
    Unavailable(String),
    /// The operating system refused to mount or unmount it.
    #[error("{action} {path} failed: {source}")]
    Mount {
        /// What was tried.
        action: &'static str,
        /// The mount point, or the file that was needed for it.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Between a power cut and the disk's return.
    #[error("the disk of {0} has no power: restore() it first")]
    NoPower(PathBuf),
    /// Nothing to restore.
    #[error("the disk of {0} has power: power_cut() it first")]
    HasPower(PathBuf),
    /// A bit of what is not there was to be flipped.
    #[error("{path} has no byte {offset}: name a regular file of the disk, from its root, and a byte in it")]
    NoByte {
        /// The file.
        path: PathBuf,
        /// The byte.
        offset: u64,
    },
}
