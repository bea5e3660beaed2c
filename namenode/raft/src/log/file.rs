//! The log in files.
//!
//! A directory of segments, `<sequence number in 16 hex digits>.seg`; [`super::frame`] has their layout. One append is one
//! frame, one write and one sync of data. A segment is made of *written* zeros beforehand, by a thread while the one
//! before it is still in use: overwriting them changes neither size nor extents of the file, so that syncing data costs no
//! transaction of the file system. [`super::recovery`] tells which states a crash can leave and what is made of them.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use raft::eraftpb::{Entry, HardState};

use super::frame::{self, SECTOR, SegmentHeader};
use super::recovery::{Older, Recovered, recover};
use super::segment::{self, Blanks, Segment, broken, refused, remove, sync_names};
use super::view::View;
use super::{EntryLog, Error};

/// How a log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes of a segment, rounded up to whole sectors. Trimming frees whole segments.
    pub segment_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { segment_bytes: 8 << 20 }
    }
}

/// An [`EntryLog`] in a directory of its own. All entries are in memory too: its user keeps it short.
#[derive(Debug)]
pub struct FileLog {
    dir: PathBuf,
    pub(super) view: View,
    pub(super) hard_state: HardState,
    /// Number of the next frame.
    next_frame: u64,
    older: VecDeque<Older>,
    present: Segment,
    blanks: Blanks,
    last_sync: Duration,
    /// Why nothing may be appended any more.
    failed: Option<Error>,
}

impl FileLog {
    /// Opens the log in `dir`, or begins one if there is none. The directory itself is made, its parent must exist.
    ///
    /// Whoever calls this sees to it that nobody else has it open, and knows whether a log must be there: a new one has
    /// no vote.
    ///
    /// A log that is opened again may have entries that were trimmed, because they are in a segment with others that
    /// were not.
    pub fn open(dir: &Path, options: Options) -> Result<Self, Error> {
        match fs::create_dir(dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(refused("making", dir)(error));
            }
            _ => {}
        }
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        sync_names(parent.unwrap_or(Path::new(".")))?;
        let segment_bytes = options.segment_bytes.next_multiple_of(SECTOR as u64).max(2 * SECTOR as u64);
        let mut blanks = Blanks::open(dir, segment_bytes)?;
        let recovered = match recover(dir)? {
            Some(recovered) => recovered,
            None => begin_first(&mut blanks)?,
        };
        let Recovered { view, hard_state, next_frame, older, present } = recovered;
        let mut log = Self {
            dir: dir.to_owned(),
            view,
            hard_state,
            next_frame,
            older,
            present,
            blanks,
            last_sync: Duration::ZERO,
            failed: None,
        };
        log.raise_commit();
        Ok(log)
    }

    /// How long the last append took to write and sync.
    pub fn last_sync(&self) -> Duration {
        self.last_sync
    }

    /// Does `work` unless something failed before. After a failure it is not known what is on disk; that a disk is full
    /// is told before anything has changed.
    fn unless_failed(&mut self, work: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<(), Error> {
        if let Some(error) = &self.failed {
            return Err(repeat(error));
        }
        let result = work(self);
        self.failed = result.as_ref().err().filter(|error| !matches!(error, Error::Full { .. })).map(repeat);
        result
    }

    fn commits_change(&self, hard_state: Option<&HardState>) -> bool {
        hard_state.is_some_and(|given| self.view.changes_members(self.hard_state.commit, given.commit))
    }

    /// What is before the start was committed.
    fn raise_commit(&mut self) {
        self.hard_state.commit = self.hard_state.commit.max(self.view.start().0);
    }

    /// Writes one frame and syncs it.
    fn write(&mut self, hard_state: Option<&HardState>, entries: &[Entry]) -> Result<(), Error> {
        let frame = frame::encode(self.next_frame, hard_state, entries);
        let length = frame.len() as u64;
        if length > self.present.room() {
            self.begin_segment(self.view.last(), false, length)?;
        }
        let Segment { path, file, end, .. } = &self.present;
        let begun = Instant::now();
        file.write_all_at(&frame, *end).map_err(refused("writing", path))?;
        file.sync_data().map_err(broken("syncing", path))?;
        self.last_sync = begun.elapsed();
        self.next_frame += 1;
        self.present.end += length;
        self.present.last_entry = entries.last().map_or(self.present.last_entry, |entry| entry.index);
        if self.present.room() <= self.present.size / 2 {
            self.blanks.prepare();
        }
        Ok(())
    }

    /// Goes on in a new segment with room for a frame of `length` bytes.
    fn begin_segment(&mut self, start: (u64, u64), anew: bool, length: u64) -> Result<(), Error> {
        let header = SegmentHeader {
            sequence: self.present.sequence + 1,
            size: 0,
            first_frame: self.next_frame,
            start,
            hard_state: self.hard_state.clone(),
            anew,
        };
        let begun = self.blanks.begin(header, length)?;
        let Segment { sequence, last_entry, .. } = std::mem::replace(&mut self.present, begun);
        self.older.push_back(Older { sequence, last_entry });
        Ok(())
    }

    /// Removes the oldest segments as long as their last entry is at or before `index`.
    fn remove_older(&mut self, index: u64) -> Result<(), Error> {
        while let Some(oldest) = self.older.front().filter(|oldest| oldest.last_entry <= index) {
            remove(&segment::path(&self.dir, oldest.sequence))?;
            self.older.pop_front();
            // One at a time: if a later one were gone and an earlier one not, the log would seem to have a hole.
            sync_names(&self.dir)?;
        }
        Ok(())
    }

    /// Whether entries can be appended: one after the other, and the first after the last one here or in its place.
    fn check_order(&self, entries: &[Entry]) -> Result<(), Error> {
        let Some(first) = entries.first() else { return Ok(()) };
        let (start, last) = (self.view.start().0, self.view.last().0);
        let fits = first.index > start && first.index <= last + 1;
        if fits && entries.is_sorted_by(|one, next| one.index + 1 == next.index) {
            return Ok(());
        }
        let what = format!("entries from {} on do not follow entries {start} to {last}", first.index);
        let source = io::Error::new(io::ErrorKind::InvalidInput, what);
        Err(Error::Io { action: "appending to", path: self.present.path.clone(), source })
    }
}

impl EntryLog for FileLog {
    fn hard_state(&self) -> HardState {
        self.hard_state.clone()
    }

    fn start(&self) -> (u64, u64) {
        self.view.start()
    }

    fn last_index(&self) -> u64 {
        self.view.last().0
    }

    fn term(&self, index: u64) -> Option<u64> {
        self.view.term(index)
    }

    fn entries(&self, low: u64, high: u64, max_bytes: u64) -> Vec<Entry> {
        self.view.entries(low, high, max_bytes)
    }

    /// A commit index alone is kept in memory only: it is known again from the others, or from the next append. But not that
    /// a change of the members is committed: a member that forgot that could be elected by those who were members before.
    fn append(&mut self, hard_state: Option<&HardState>, entries: &[Entry]) -> Result<(), Error> {
        self.unless_failed(|log| {
            log.check_order(entries)?;
            let promise = |hard_state: &HardState| (hard_state.term, hard_state.vote);
            let promises = hard_state.is_some_and(|given| promise(given) != promise(&log.hard_state));
            if promises || !entries.is_empty() || log.commits_change(hard_state) {
                log.write(hard_state, entries)?;
            }
            if let Some(hard_state) = hard_state {
                log.hard_state = hard_state.clone();
                log.raise_commit();
            }
            for entry in entries {
                // `check_order` has seen that there is no gap.
                let _ = log.view.put(entry.clone());
            }
            Ok(())
        })
    }

    fn reset(&mut self, index: u64, term: u64) -> Result<(), Error> {
        self.unless_failed(|log| {
            log.begin_segment((index, term), true, 0)?;
            log.view = View::new((index, term));
            log.raise_commit();
            log.remove_older(u64::MAX)
        })
    }

    /// Up to `index` in memory, whole segments on disk. The present segment goes too, for a new one, if all of it is to
    /// be forgotten.
    fn trim(&mut self, index: u64) -> Result<(), Error> {
        self.unless_failed(|log| {
            let index = index.min(log.view.last().0);
            // First what is free at once: on a full disk this makes room for the new segment.
            log.remove_older(index)?;
            if (1..=index).contains(&log.present.last_entry) {
                log.begin_segment(log.view.last(), false, 0)?;
                log.remove_older(index)?;
            }
            log.view.trim(index);
            log.raise_commit();
            Ok(())
        })
    }

    fn bytes(&self) -> u64 {
        self.view.bytes()
    }
}

/// The first segment of a new log.
fn begin_first(blanks: &mut Blanks) -> Result<Recovered, Error> {
    let hard_state = HardState::default();
    let header = SegmentHeader {
        sequence: 1,
        size: 0,
        first_frame: 1,
        start: (0, 0),
        hard_state: hard_state.clone(),
        anew: false,
    };
    let present = blanks.begin(header, 0)?;
    Ok(Recovered { view: View::new((0, 0)), hard_state, next_frame: 1, older: VecDeque::new(), present })
}

/// The same error once more.
pub(super) fn repeat(error: &Error) -> Error {
    match error {
        Error::Damaged { path, offset, what } => {
            Error::Damaged { path: path.clone(), offset: *offset, what: what.clone() }
        }
        Error::Full { path } => Error::Full { path: path.clone() },
        Error::Io { action, path, source } => {
            let source = match source.raw_os_error() {
                Some(code) => io::Error::from_raw_os_error(code),
                None => io::Error::new(source.kind(), source.to_string()),
            };
            Error::Io { action, path: path.clone(), source }
        }
    }
}
