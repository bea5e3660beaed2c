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
}

/// Whether this process has it.
pub(crate) fn has(bug: Bug) -> bool {
    static CHOSEN: LazyLock<Option<Bug>> =
        LazyLock::new(|| match std::env::var("DFS_SEEDED_BUG").as_deref() {
            Ok("no-sync") => Some(Bug::NoSync),
            Ok("no-checksums") => Some(Bug::NoChecksums),
            Ok(_) | Err(_) => None,
        });
    *CHOSEN == Some(bug)
}
