//! Which of a DataNode's messages are new, and how far its full report has come.
//!
//! A process numbers the changes of its replicas 1, 2, 3 …, and each message brings the changes after a number, all of
//! them and in order, and perhaps a slice of the full report: every replica of the chunks in a range of ids, *as of* the
//! last of these changes. So each number is taken in once and in turn, and a slice only if nothing newer is known:
//!
//! ```text
//!  taken ──────── 7 ──────────────────> 9 ─────────────> 12
//!     message: after 7, changes 8 9, slice as of 9     after 9, changes 10 11 12
//!     the same again (its answer was lost): after 7 …: 8 and 9 are skipped, the slice is older than 12: skipped
//!     after 20, change 21: some are missing: a full report is owed, from the first chunk
//! ```
//!
//! When slices that join each other have covered every id, what is known of the node is what it had as of the last one.

use dfs_types::ChunkId;

/// How far a node's account of its replicas has come in.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Intake {
    /// The changes up to this number are known; `None` before the process's first message.
    taken: Option<u64>,
    /// The full report under way, if one is.
    covered: Option<Covered>,
}

/// A part of a full report: slices that join each other, from the first id on.
#[derive(Debug, Clone, Copy)]
struct Covered {
    /// The first id that no slice has covered.
    next: ChunkId,
    /// The lowest fence that any of them told.
    fence: u64,
}

/// What of a message's changes is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fresh {
    /// So many of them at the start are known already.
    pub(super) known: usize,
    /// Changes before them never came.
    pub(super) gap: bool,
}

impl Intake {
    /// A message brings `count` changes after number `after`.
    pub(super) fn changes(&mut self, after: u64, count: usize) -> Fresh {
        let last = after.saturating_add(count as u64);
        let before = self.taken.unwrap_or(after);
        self.taken = Some(before.max(last));
        let gap = after > before;
        if gap {
            self.covered = None;
        }
        let known = usize::try_from(before.saturating_sub(after)).unwrap_or(usize::MAX).min(count);
        Fresh { known, gap }
    }

    /// Whether the changes up to this number are known.
    pub(super) fn has_taken(&self, number: u64) -> bool {
        self.taken.is_some_and(|taken| taken >= number)
    }

    /// Whether a slice as of the change `number` tells what nobody knows better.
    pub(super) fn is_newest(&self, number: u64) -> bool {
        self.taken.is_none_or(|taken| taken <= number)
    }

    /// A slice covers the ids from `first` to `last`; `fence` is what the node obeyed before it looked. Answers the
    /// fence of the report if it is complete now.
    pub(super) fn cover(&mut self, first: ChunkId, last: ChunkId, fence: u64) -> Option<u64> {
        let begun = if first == ChunkId(0) { Some(Covered { next: first, fence }) } else { self.covered };
        let Covered { next, fence: lowest } = begun.filter(|covered| first <= covered.next)?;
        let fence = lowest.min(fence);
        let Some(after) = last.0.checked_add(1) else {
            self.covered = None;
            return Some(fence);
        };
        self.covered = Some(Covered { next: next.max(ChunkId(after)), fence });
        None
    }

    /// Where the full report is to go on.
    pub(super) fn next(&self) -> ChunkId {
        self.covered.map(|covered| covered.next).unwrap_or_default()
    }

    /// The report under way is not worth going on with.
    pub(super) fn begin_again(&mut self) {
        self.covered = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: ChunkId = ChunkId(u64::MAX);

    #[test]
    fn each_change_is_taken_in_once_and_a_gap_is_noticed() {
        let mut intake = Intake::default();
        assert_eq!(
            intake.changes(7, 2),
            Fresh { known: 0, gap: false },
            "the first message may begin anywhere"
        );
        assert_eq!(intake.changes(7, 2), Fresh { known: 2, gap: false }, "the same again");
        assert_eq!(intake.changes(7, 4), Fresh { known: 2, gap: false }, "and with more behind it");
        assert_eq!(intake.changes(3, 1), Fresh { known: 1, gap: false }, "an old one comes late");
        assert_eq!(intake.changes(11, 0), Fresh { known: 0, gap: false });
        assert_eq!(intake.changes(12, 0), Fresh { known: 0, gap: true }, "12 never came");
        assert_eq!(intake.changes(u64::MAX, 9), Fresh { known: 0, gap: true });
        assert_eq!(intake.changes(0, 3), Fresh { known: 3, gap: false });
    }

    #[test]
    fn slices_that_join_are_a_report_with_the_lowest_fence() {
        let mut intake = Intake::default();
        assert_eq!(intake.cover(ChunkId(5), LAST, 9), None, "nobody covered what is before");
        assert_eq!(intake.cover(ChunkId(0), ChunkId(9), 2), None);
        assert_eq!(intake.next(), ChunkId(10));
        assert_eq!(intake.cover(ChunkId(12), LAST, 3), None, "10 and 11 lack");
        assert_eq!(intake.cover(ChunkId(10), ChunkId(20), 3), None);
        assert_eq!(intake.cover(ChunkId(10), ChunkId(15), 3), None, "the same again covers no less");
        assert_eq!(intake.next(), ChunkId(21));
        assert_eq!(intake.cover(ChunkId(21), LAST, 3), Some(2));
        assert_eq!(intake.next(), ChunkId(0), "the next one begins at the start");
        assert_eq!(intake.cover(ChunkId(0), LAST, 3), Some(3));
    }

    #[test]
    fn a_gap_makes_the_report_begin_again() {
        let mut intake = Intake::default();
        intake.changes(0, 5);
        intake.cover(ChunkId(0), ChunkId(9), 1);
        intake.changes(6, 1);
        assert_eq!(intake.next(), ChunkId(0));
        assert_eq!(intake.cover(ChunkId(10), LAST, 1), None);
    }

    #[test]
    fn a_slice_older_than_what_is_known_is_not_taken() {
        let mut intake = Intake::default();
        assert!(intake.is_newest(3));
        intake.changes(3, 2);
        assert!(intake.is_newest(5) && !intake.is_newest(4));
    }
}
