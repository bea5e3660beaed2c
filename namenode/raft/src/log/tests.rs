//! Tests of the log in files.

mod crash;
mod disk;
mod model;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use raft::eraftpb::{Entry, EntryType, HardState};

use super::frame::{Frame, FrameHeader, SECTOR, encode};
use super::{DiskLog, EntryLog, Error, FileLog, Hooks, Options};

/// Small segments, so that few entries fill several.
const SMALL: Options = Options { segment_bytes: 8 << 10 };

/// An entry with `size` bytes of data; every other one is all zeros.
fn entry(index: u64, term: u64, size: usize) -> Entry {
    let byte = if index.is_multiple_of(2) { 0 } else { index as u8 };
    Entry { index, term, data: vec![byte; size].into(), ..Entry::default() }
}

fn entries(indexes: Range<u64>, term: u64, size: usize) -> Vec<Entry> {
    indexes.map(|index| entry(index, term, size)).collect()
}

fn hard_state(term: u64, vote: u64, commit: u64) -> HardState {
    HardState { term, vote, commit, ..HardState::default() }
}

fn open(dir: &Path) -> FileLog {
    FileLog::open(dir, SMALL).unwrap()
}

/// All that a log tells.
#[derive(Debug, Clone, PartialEq)]
struct Content {
    start: (u64, u64),
    hard_state: HardState,
    entries: Vec<Entry>,
}

fn content(log: &FileLog) -> Content {
    let entries = log.entries(0, u64::MAX, u64::MAX);
    assert_eq!(log.last_index(), log.start().0 + entries.len() as u64);
    assert_eq!(
        log.bytes(),
        entries.iter().map(|entry| (entry.data.len() + entry.context.len()) as u64).sum()
    );
    Content { start: log.start(), hard_state: log.hard_state(), entries }
}

/// Files with the names of segments, in order.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "seg"));
    paths.sort();
    paths
}

/// Where the frames of a segment are.
fn frames(segment: &Path) -> Vec<Range<usize>> {
    let bytes = fs::read(segment).unwrap();
    let mut found = Vec::new();
    let mut at = SECTOR;
    while let Some(header) = bytes.get(at..).and_then(FrameHeader::decode) {
        found.push(at..at + header.extent() as usize);
        at += header.extent() as usize;
    }
    found
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.path().join(entry.file_name())).unwrap();
    }
    to
}

#[test]
fn a_frame_says_what_was_put_into_it_whatever_its_length() {
    for size in (0..40).chain(420..480).chain(930..1000).chain([70_000]) {
        let mut put = vec![entry(7, 3, size), entry(8, 3, 0), entry(9, 4, 1)];
        put[0].context = vec![0; size % 7].into();
        put[1].entry_type = EntryType::EntryConfChange;
        put[2].entry_type = EntryType::EntryConfChangeV2;
        for hard_state in [None, Some(hard_state(4, 2, 6))] {
            let bytes = encode(5, hard_state.as_ref(), &put);
            assert!(bytes.len().is_multiple_of(SECTOR));
            assert!(bytes.chunks(SECTOR).all(|sector| sector[0] != 0));
            let header = FrameHeader::decode(&bytes).unwrap();
            assert_eq!((header.number, header.extent()), (5, bytes.len() as u64));
            let frame = Frame::decode(&header, &bytes).unwrap();
            assert_eq!(frame, Frame { hard_state, entries: put.clone() });
        }
    }
}

#[test]
fn a_new_log_is_empty_also_when_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    for _ in 0..2 {
        let log = open(&path);
        assert_eq!(
            content(&log),
            Content { start: (0, 0), hard_state: HardState::default(), entries: Vec::new() }
        );
        assert_eq!((log.term(0), log.term(1)), (Some(0), None));
    }
    assert!(FileLog::open(&dir.path().join("no/log"), SMALL).is_err());
}

#[test]
fn what_is_appended_and_replaced_is_there_when_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    log.append(Some(&hard_state(1, 1, 0)), &entries(1..6, 1, 100)).unwrap();
    log.append(None, &entries(4..9, 2, 50)).unwrap();
    assert!(log.last_sync() > std::time::Duration::ZERO);
    let expected = Content {
        start: (0, 0),
        hard_state: hard_state(1, 1, 0),
        entries: [entries(1..4, 1, 100), entries(4..9, 2, 50)].concat(),
    };
    assert_eq!(content(&log), expected);
    drop(log);
    let log = open(dir.path());
    assert_eq!(content(&log), expected);
    assert_eq!((log.term(3), log.term(4), log.term(8), log.term(9)), (Some(1), Some(2), Some(2), None));
}

#[test]
fn entries_are_handed_out_as_far_as_they_fit_but_at_least_one() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    log.append(None, &entries(1..11, 1, 100)).unwrap();
    let indexes =
        |low, high, room| log.entries(low, high, room).iter().map(|entry| entry.index).collect::<Vec<_>>();
    assert_eq!(indexes(3, 7, 1000), [3, 4, 5, 6]);
    assert_eq!(indexes(3, 7, 300), [3, 4, 5]);
    assert_eq!(indexes(3, 7, 299), [3, 4]);
    assert_eq!(indexes(3, 7, 0), [3]);
    assert_eq!(indexes(0, 3, 1000), [1, 2]);
    assert_eq!(indexes(9, 99, 1000), [9, 10]);
    assert!(
        indexes(11, 99, 1000).is_empty() && indexes(5, 5, 1000).is_empty() && indexes(6, 5, 9).is_empty()
    );
}

#[test]
fn only_a_promise_or_entries_are_written() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    log.append(Some(&hard_state(1, 2, 0)), &entries(1..4, 1, 10)).unwrap();
    let written = fs::read(&segments(dir.path())[0]).unwrap();
    log.append(Some(&hard_state(1, 2, 3)), &[]).unwrap();
    log.append(None, &[]).unwrap();
    assert_eq!(log.hard_state(), hard_state(1, 2, 3));
    assert_eq!(fs::read(&segments(dir.path())[0]).unwrap(), written);
    log.append(Some(&hard_state(2, 0, 3)), &[]).unwrap();
    drop(log);
    assert_eq!(open(dir.path()).hard_state(), hard_state(2, 0, 3));
}

#[test]
fn a_frame_larger_than_a_segment_has_one_for_itself() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    log.append(None, &entries(1..3, 1, 100)).unwrap();
    log.append(None, &[entry(3, 1, 100_001)]).unwrap();
    log.append(None, &entries(4..6, 1, 100)).unwrap();
    let expected = content(&log);
    drop(log);
    let log = open(dir.path());
    assert_eq!(content(&log), expected);
    assert_eq!(log.entries(3, 4, 0), [entry(3, 1, 100_001)]);
    assert_eq!(segments(dir.path()).len(), 3);
}

#[test]
fn the_next_segment_is_prepared_once_half_of_the_present_one_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    log.append(None, &[entry(1, 1, 2000)]).unwrap();
    log.append(None, &[entry(2, 1, 2000)]).unwrap();
    drop(log);
    assert_eq!(fs::read(dir.path().join("spare")).unwrap(), vec![0; 8 << 10]);
    let mut log = open(dir.path());
    assert!(!dir.path().join("spare").exists());
    log.append(None, &[entry(3, 1, 2000)]).unwrap();
    log.append(None, &[entry(4, 1, 2000)]).unwrap();
    assert_eq!((segments(dir.path()).len(), dir.path().join("spare").exists()), (2, false));
}

#[test]
fn trimming_frees_segments_and_forgets_up_to_the_index() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    for index in 1..21 {
        log.append(None, &[entry(index, index, 2000)]).unwrap();
    }
    assert_eq!(segments(dir.path()).len(), 7);
    log.trim(10).unwrap();
    assert_eq!((log.start(), log.last_index(), log.bytes()), ((10, 10), 20, 20_000));
    assert_eq!(segments(dir.path()).len(), 4);
    drop(log);
    let mut log = open(dir.path());
    assert_eq!((log.start(), log.last_index()), ((9, 9), 20));
    assert_eq!(log.hard_state().commit, 9);
    // All of it: the present segment goes as well. More than there is is as much as there is.
    log.trim(99).unwrap();
    assert_eq!((log.start(), log.last_index(), log.bytes()), ((20, 20), 20, 0));
    assert_eq!((segments(dir.path()).len(), frames(&segments(dir.path())[0]).len()), (1, 0));
    // Nothing is left to free, so no segment is begun.
    let only = segments(dir.path());
    log.trim(20).unwrap();
    assert_eq!(segments(dir.path()), only);
    drop(log);
    let mut log = open(dir.path());
    assert_eq!((log.start(), log.last_index(), log.hard_state().commit), ((20, 20), 20, 20));
    log.append(None, &[entry(21, 21, 9)]).unwrap();
    drop(log);
    assert_eq!(open(dir.path()).term(21), Some(21));
}

#[test]
fn a_segment_that_replaced_entries_of_a_dropped_one_can_be_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    log.append(None, &entries(1..11, 1, 700)).unwrap();
    log.append(None, &entries(6..13, 2, 700)).unwrap();
    log.trim(10).unwrap();
    assert_eq!((log.start(), segments(dir.path()).len()), ((10, 2), 1));
    drop(log);
    let log = open(dir.path());
    assert_eq!((log.start(), log.entries(0, 99, u64::MAX)), ((6, 2), entries(7..13, 2, 700)));
}

#[test]
fn a_reset_forgets_everything_but_the_vote() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    for index in 1..11 {
        log.append(Some(&hard_state(3, 2, 0)), &[entry(index, 1, 2000)]).unwrap();
    }
    log.reset(500, 3).unwrap();
    let expected = Content { start: (500, 3), hard_state: hard_state(3, 2, 500), entries: Vec::new() };
    assert_eq!((content(&log), segments(dir.path()).len()), (expected.clone(), 1));
    drop(log);
    let mut log = open(dir.path());
    assert_eq!(content(&log), expected);
    log.append(None, &entries(501..503, 3, 10)).unwrap();
    drop(log);
    assert_eq!(open(dir.path()).last_index(), 502);
}

#[test]
fn entries_that_leave_a_gap_are_refused_and_so_is_everything_after() {
    let dir = tempfile::tempdir().unwrap();
    for wrong in [vec![entry(5, 1, 1)], vec![entry(0, 1, 1)], vec![entry(4, 1, 1), entry(6, 1, 1)]] {
        let mut log = FileLog::open(&dir.path().join(wrong[0].index.to_string()), SMALL).unwrap();
        log.append(None, &entries(1..4, 1, 1)).unwrap();
        let refused = log.append(None, &wrong).unwrap_err();
        assert!(matches!(&refused, Error::Io { source, .. } if source.to_string().contains("do not follow")));
        let repeated = log.append(None, &[entry(4, 1, 1)]).unwrap_err();
        assert_eq!(repeated.to_string(), refused.to_string());
        assert!(log.trim(1).is_err() && log.reset(9, 9).is_err());
        assert_eq!(log.last_index(), 3);
    }
}
