//! Bugs on purpose, one of which the environment variable `DFS_SEEDED_BUG` chooses: for the tests that show that the
//! failure suite finds them.

use std::sync::LazyLock;

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bug {
    /// Data is acknowledged that was never synced.
    NoSync,
    /// What is read is given checksums that fit, whatever it is.
    NoChecksums,
    /// A disk may take as long as it likes.
    NoDiskLimit,
    /// An empty directory becomes a volume, whatever it was before.
    FormatsAnything,
    /// A volume is what it was at the start, whatever is in its place.
    TrustsPlace,
}

/// Whether this process has it.
pub(crate) fn has(bug: Bug) -> bool {
    static CHOSEN: LazyLock<Option<Bug>> =
        LazyLock::new(|| match std::env::var("DFS_SEEDED_BUG").as_deref() {
            Ok("no-sync") => Some(Bug::NoSync),
            Ok("no-checksums") => Some(Bug::NoChecksums),
            Ok("no-disk-limit") => Some(Bug::NoDiskLimit),
            Ok("formats-anything") => Some(Bug::FormatsAnything),
            Ok("trusts-place") => Some(Bug::TrustsPlace),
            Ok(_) | Err(_) => None,
        });
    *CHOSEN == Some(bug)
}
