//! Permission bits and times of copies, as `cp` gives them.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use dfs_types::{CreateMode, FileStatus, Millis, Mode};

use crate::exit::Failure;

/// What an owner needs to fill a directory.
pub(crate) const OWNER_USES: u32 = 0o700;
/// Bits that a copy of a file takes over without being told to keep all.
pub(crate) const FILE_BITS: u32 = 0o777;
/// Likewise of a directory.
pub(crate) const DIRECTORY_BITS: u32 = 0o1777;
/// Permission bits that nothing new in the cluster gets: as with Hadoop's clients (`fs.permissions.umask-mode`) not those of
/// this process's umask, which is about this machine's users.
const CLUSTER_UMASK: u32 = 0o022;

/// Bits of a new directory before the umask.
pub(crate) const NEW_DIRECTORY: Mode = Mode::truncate(0o777);
/// Bits of a new file before the umask.
pub(crate) const NEW_FILE: Mode = Mode::truncate(0o666);

/// The bits that something new in the cluster gets, and those that count where there is a default ACL.
pub(crate) fn less_umask(mode: Mode) -> CreateMode {
    CreateMode { mode: Mode::truncate(mode.bits() & !CLUSTER_UMASK), unmasked: Some(mode) }
}

/// What a copy is to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// Permission bits.
    pub(crate) mode: CreateMode,
    /// The bits are the source's, also for what is replaced; else that keeps its own.
    pub(crate) exact: bool,
    /// The source's times.
    pub(crate) times: Option<Times>,
}

/// Times that are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) mtime: Millis,
    pub(crate) atime: Millis,
}

/// How attributes of sources become those of copies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Keep {
    /// Everything (`-p`), not only permission bits.
    pub(crate) all: bool,
}

impl Attributes {
    /// Of something that has no source to take permission bits from.
    pub(crate) fn fresh(mode: Mode) -> Self {
        Self { mode: less_umask(mode), exact: false, times: None }
    }
}

impl Keep {
    /// Of a copy of what has this mode, of which these bits are taken over without being told to.
    fn attributes(self, mode: u32, bits: u32, times: Option<Times>) -> Attributes {
        let mode =
            if self.all { Mode::truncate(mode).into() } else { less_umask(Mode::truncate(mode & bits)) };
        Attributes { mode, exact: self.all, times }
    }

    /// Of a copy of something in the cluster.
    pub(crate) fn of_remote(self, status: &FileStatus) -> Attributes {
        let times = self.all.then_some(Times { mtime: status.mtime, atime: status.atime });
        let bits = if status.is_directory() { DIRECTORY_BITS } else { FILE_BITS };
        self.attributes(status.mode.bits(), bits, times)
    }

    /// Of a copy of a local file or folder; and the failure to report when it is done, if the times can't be kept.
    pub(crate) fn of_local(self, path: &Path, metadata: &Metadata) -> (Attributes, Option<Failure>) {
        let bits = if metadata.is_dir() { DIRECTORY_BITS } else { FILE_BITS };
        if !self.all {
            return (self.attributes(metadata.mode(), bits, None), None);
        }
        let mtime = millis(metadata.mtime(), metadata.mtime_nsec());
        // A time of access says little: where it can't be kept it is the other.
        let times = mtime.map(|mtime| Times {
            mtime,
            atime: millis(metadata.atime(), metadata.atime_nsec()).unwrap_or(mtime),
        });
        let lost = times.is_none().then(|| {
            Failure::Other(format!(
                "{}: its time of modification, before 1970, can't be kept: the copy has the present time",
                path.display()
            ))
        });
        (self.attributes(metadata.mode(), bits, times), lost)
    }
}

/// A Unix time as the cluster keeps it, which knows none before 1970.
fn millis(seconds: i64, nanos: i64) -> Option<Millis> {
    let millis = seconds.checked_mul(1_000)?.checked_add(nanos / 1_000_000)?;
    u64::try_from(millis).ok().map(Millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_kept_or_not_but_never_changed() {
        for (seconds, nanos, expected) in [
            (0, 0, Some(0)),
            (1, 999_999_999, Some(1_999)),
            // The ends of 32 bits, signed and not, and the year 3000.
            (2_147_483_648, 0, Some(2_147_483_648_000)),
            (4_294_967_296, 5_000_000, Some(4_294_967_296_005)),
            (32_503_680_000, 0, Some(32_503_680_000_000)),
            (-1, 0, None),
            (-1, 999_000_000, None),
            (i64::MIN, 0, None),
            (i64::MAX, 0, None),
        ] {
            assert_eq!(millis(seconds, nanos), expected.map(Millis), "{seconds}");
        }
    }

    #[test]
    fn the_umask_takes_its_part_unless_everything_is_kept() {
        let keep = |all| Keep { all };
        let mode = |all, mode, bits| keep(all).attributes(mode, bits, None).mode.mode;
        assert_eq!(mode(false, 0o105_777, FILE_BITS), Mode::truncate(0o755));
        assert_eq!(mode(false, 0o041_777, DIRECTORY_BITS), Mode::truncate(0o1755));
        assert_eq!(mode(false, 0o575, FILE_BITS), Mode::truncate(0o555));
        assert_eq!(mode(true, 0o101_777, FILE_BITS), Mode::truncate(0o1777));
        assert_eq!(
            Attributes::fresh(NEW_FILE).mode,
            CreateMode { mode: Mode::FILE, unmasked: Some(NEW_FILE) }
        );
    }
}
