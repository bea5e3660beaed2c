//! What a NameNode says of the disk of its directory.

use std::path::Path;
use std::time::Duration;

use dfs_namenode_raft::log::Condition;
use dfs_types::{ErrorCode, FsError};

use super::space::{Space, mebibytes};

/// Time after which a write that is not finished makes a disk count as standing still. A sync of a megabyte takes
/// milliseconds; of a slow network disk under load, half a second.
const WRITE_LIMIT: Duration = Duration::from_secs(3);
/// The same of a transaction of the database, which may wait for the copying of SQLite's log.
const TRANSACTION_LIMIT: Duration = Duration::from_secs(12);

/// How a disk is, the better the less.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum DiskState {
    /// As it should be.
    #[default]
    Good,
    /// So little room is left that the namespace may not grow.
    Low,
    /// Something waits for room.
    Full,
    /// A write is not finished for seconds.
    Stalled,
    /// A write failed: this NameNode ends.
    Failed,
}

impl DiskState {
    const ALL: [Self; 5] = [Self::Good, Self::Low, Self::Full, Self::Stalled, Self::Failed];

    /// The number that stands for it between NameNodes.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// What a number stands for; one that is not known is worse than what is.
    pub fn from_number(number: u32) -> Self {
        Self::ALL.get(number as usize).copied().unwrap_or(Self::Failed)
    }
}

/// What was seen of a disk.
#[derive(Debug, Default)]
pub(crate) struct Look {
    /// Its room, and how long ago that was.
    pub space: (Space, Duration),
    /// Free bytes below which the namespace may not grow.
    pub min_free: u64,
    /// Whether it may not.
    pub low: bool,
    /// How long the log has been at a write; `None`: it is not.
    pub log: Option<Duration>,
    /// How long the database has been at a transaction; `None`: it is not.
    pub database: Option<Duration>,
    /// How long the log or the database have waited for room; `None`: they do not.
    pub full: Option<Duration>,
    /// Why nothing is written any more.
    pub failure: Option<String>,
}

/// A disk for those who decide and for people.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Disk {
    /// How it is.
    pub state: DiskState,
    /// A sentence about it, unless it is good.
    pub note: Option<String>,
    /// Its room.
    pub space: Space,
    /// Free bytes below which the namespace may not grow.
    pub min_free: u64,
    /// How long the oldest write under way has taken. A wait for room is none.
    pub busy: Duration,
    /// How long something has waited for room.
    pub full: Duration,
}

/// How long something has waited for room: the log, or the database, of which is told how long it has been at a transaction
/// and whether that waits.
pub(crate) fn waits_for_room(
    log: &Condition,
    (database, is_full): (Option<Duration>, bool),
) -> Option<Duration> {
    log.busy.filter(|_| log.full).max(database.filter(|_| is_full))
}

/// A sentence about a full disk.
pub(crate) fn full_note(space: Space, directory: &Path) -> String {
    format!(
        "the metadata disk is full ({} free), and changes wait: make room on the disk of {}",
        mebibytes(space.available),
        directory.display()
    )
}

/// What is answered to a change that the disk has no room for.
pub(crate) fn no_room(id: u64, note: &str) -> FsError {
    FsError::new(ErrorCode::NoSpace, format!("NameNode {id}: {note}"))
}

/// What is to be said of the disk of `directory`.
pub(crate) fn judge(look: &Look, directory: &Path) -> Disk {
    let Look { space: (space, age), min_free, low, log, database, full, failure } = look;
    let at = directory.display();
    let free = || mebibytes(space.available);
    // A wait for room is no write.
    let writes = |busy: Option<Duration>| busy.filter(|_| full.is_none());
    let stalled = |busy: Option<Duration>, limit| writes(busy).filter(|busy| *busy >= limit);
    let stalled = stalled(*log, WRITE_LIMIT)
        .max(stalled(*database, TRANSACTION_LIMIT))
        .max(Some(*age).filter(|age| *age >= WRITE_LIMIT));
    let (state, note) = if let Some(failure) = failure {
        (DiskState::Failed, Some(failure.clone()))
    } else if let Some(stalled) = stalled {
        let seconds = stalled.as_secs();
        let note =
            format!("the metadata disk has not finished a write for {seconds} s: check the disk of {at}");
        (DiskState::Stalled, Some(note))
    } else if full.is_some() {
        (DiskState::Full, Some(full_note(*space, directory)))
    } else if *low {
        let note = format!(
            "the metadata disk is nearly full ({} free, {} are kept), so nothing new can be made: make room on the \
             disk of {at}, or delete files",
            free(),
            mebibytes(*min_free)
        );
        (DiskState::Low, Some(note))
    } else {
        (DiskState::Good, None)
    };
    let busy = stalled.max(writes(*log)).max(writes(*database)).unwrap_or_default();
    Disk { state, note, space: *space, min_free: *min_free, busy, full: full.unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look() -> Look {
        let space = Space { capacity: 1 << 30, available: 20 << 20 };
        Look { space: (space, Duration::ZERO), min_free: 51 << 20, ..Look::default() }
    }

    #[test]
    fn the_worst_is_told() {
        let long = Some(Duration::from_secs(30));
        let short = Some(Duration::from_millis(400));
        for (look, state, says) in [
            (look(), DiskState::Good, ""),
            (Look { log: short, database: short, ..look() }, DiskState::Good, ""),
            (Look { low: true, ..look() }, DiskState::Low, "(20 MiB free, 51 MiB are kept)"),
            (Look { low: true, full: short, ..look() }, DiskState::Full, "changes wait"),
            // Who waits for room has no write under way, however long it waits.
            (Look { full: long, log: long, database: long, ..look() }, DiskState::Full, "make room"),
            (Look { log: long, ..look() }, DiskState::Stalled, "for 30 s"),
            (Look { database: long, low: true, ..look() }, DiskState::Stalled, "check the disk of /meta"),
            (Look { space: (Space::default(), Duration::from_secs(9)), ..look() }, DiskState::Stalled, "9 s"),
            (Look { log: long, failure: Some("it is gone".into()), ..look() }, DiskState::Failed, "gone"),
        ] {
            let disk = judge(&look, Path::new("/meta"));
            assert_eq!(disk.state, state, "{look:?}");
            assert_eq!(disk.note.is_none(), state == DiskState::Good);
            assert!(disk.note.unwrap_or_default().contains(says), "{look:?}");
            assert!(
                state != DiskState::Full || disk.busy.is_zero() && disk.full > Duration::ZERO,
                "{look:?}"
            );
        }
    }

    #[test]
    fn states_survive_the_wire_and_what_is_unknown_is_not_good() {
        for state in DiskState::ALL {
            assert_eq!(DiskState::from_number(state.number()), state);
        }
        assert!(DiskState::from_number(77) > DiskState::Good);
    }
}
