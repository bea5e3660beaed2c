//! Bugs on purpose, one of which the environment variable `DFS_SEEDED_BUG` chooses: for the tests that show that the
//! failure suite finds them. The one in the replicated log is always there beside it; a NameNode alone does not show it.

use std::sync::LazyLock;

use dfs_namenode_core::{Command, Core};
use dfs_types::format::LEVEL;

/// A bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    /// No replica is made anew.
    NoCopies,
    /// No replica is deleted.
    NoDeletions,
    /// Replicas of no known chunk are deleted, whatever they may be.
    NoQuarantine,
    /// A recovery ends with whatever the DataNodes that are known have, as if nothing had been acknowledged.
    ForgetsSynced,
}

/// The feature level that the program shall know at most, if `DFS_SEEDED_BUG` is `level-N`, or `level-before`, which is that
/// of the release before: to try upgrades with.
static KNOWN: LazyLock<Option<u16>> =
    LazyLock::new(|| match std::env::var("DFS_SEEDED_BUG").ok()?.strip_prefix("level-")? {
        "before" => Some(LEVEL - 1),
        number => number.parse().ok(),
    });

static CHOSEN: LazyLock<Option<Bug>> = LazyLock::new(|| match std::env::var("DFS_SEEDED_BUG").as_deref() {
    Ok("no-copies") => Some(Bug::NoCopies),
    Ok("no-deletions") => Some(Bug::NoDeletions),
    Ok("no-quarantine") => Some(Bug::NoQuarantine),
    Ok("forgets-synced") => Some(Bug::ForgetsSynced),
    Ok(_) | Err(_) => None,
});

/// The highest feature level that this program shall know, if it is not what it knows in truth.
pub(crate) fn known_level() -> Option<u16> {
    *KNOWN
}

/// Called before a DataNode gets its commands.
pub(crate) fn before_commands(core: &mut Core) {
    if *CHOSEN == Some(Bug::NoQuarantine) {
        core.delete_quarantined(&[], usize::MAX);
    }
}

/// Whether what was acknowledged is forgotten.
pub(crate) fn forgets_synced() -> bool {
    *CHOSEN == Some(Bug::ForgetsSynced)
}

/// The commands that a DataNode gets in truth.
pub(crate) fn commands(mut commands: Vec<Command>) -> Vec<Command> {
    commands.retain(|command| match (*CHOSEN, command) {
        (Some(Bug::NoCopies), Command::Copy { .. }) | (Some(Bug::NoDeletions), Command::Delete { .. }) => {
            false
        }
        (Some(_) | None, _) => true,
    });
    commands
}
