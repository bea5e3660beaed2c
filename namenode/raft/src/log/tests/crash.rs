//! States that a crash leaves, and states that it can't leave.

use std::fs::{self, OpenOptions};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{
    Content, EntryLog, Error, FileLog, SECTOR, SMALL, content, copy, entries, entry, frames, hard_state,
    open, segments,
};

/// A log of three segments.
struct Built {
    dir: tempfile::TempDir,
    /// Without the last append.
    before: Content,
    after: Content,
    /// The last append's frame, six sectors.
    last: Range<usize>,
}

impl Built {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path());
        let mut index = 1;
        while segments(dir.path()).len() < 3 || frames(&segments(dir.path())[2]).len() < 2 {
            log.append(Some(&hard_state(index, 1, index)), &[entry(index, 1, 900)]).unwrap();
            index += 1;
        }
        let before = content(&log);
        // The last entry is all zeros: its sectors must not be taken for unwritten ones.
        let given = [entry(index, 2, 40), entry(index + 1, 2, 2600)];
        log.append(Some(&hard_state(99, 2, index)), &given).unwrap();
        let after = content(&log);
        drop(log);
        let last = frames(&segments(dir.path())[2]).pop().unwrap();
        assert_eq!(last.len(), 6 * SECTOR);
        Self { dir, before, after, last }
    }

    fn last_segment(&self) -> PathBuf {
        segments(self.dir.path()).pop().unwrap()
    }
}

fn overwrite(path: &Path, at: usize, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, at as u64).unwrap();
}

/// The damage that opening finds.
fn damage(dir: &Path) -> (PathBuf, u64, String) {
    match FileLog::open(dir, SMALL) {
        Err(Error::Damaged { path, offset, what }) => (path, offset, what),
        Err(other) => panic!("not damage: {other}"),
        Ok(log) => panic!("it opened with {:?}", content(&log)),
    }
}

/// Flips one bit of every byte of a range, one at a time, and wants each to be found.
fn every_flip_is_found(dir: &Path, segment: &Path, range: Range<usize>) {
    let bytes = fs::read(segment).unwrap();
    for at in range {
        overwrite(segment, at, &[bytes[at] ^ (1 << (at % 8))]);
        let (path, _, what) = damage(dir);
        assert_eq!(path, segment, "byte {at}: {what}");
        overwrite(segment, at, &bytes[at..=at]);
    }
}

#[test]
fn an_unfinished_append_goes_as_a_whole_whichever_of_its_sectors_were_written() {
    let built = Built::new();
    let written = fs::read(built.last_segment()).unwrap();
    // Also every state that cutting can leave: it only makes more sectors blank.
    for mask in 0..1 << 6 {
        let copy = copy(built.dir.path());
        let segment = segments(copy.path()).pop().unwrap();
        for sector in (0..6).filter(|sector| mask & (1 << sector) == 0) {
            overwrite(&segment, built.last.start + sector * SECTOR, &[0; SECTOR]);
        }
        let mut log = open(copy.path());
        if mask == (1 << 6) - 1 {
            assert_eq!(content(&log), built.after);
            assert_eq!(fs::read(&segment).unwrap(), written);
            continue;
        }
        assert_eq!(content(&log), built.before, "mask {mask:06b}");
        assert!(fs::read(&segment).unwrap()[built.last.start..].iter().all(|byte| *byte == 0));
        // A smaller one in its place.
        let next = entry(built.before.entries.len() as u64 + 1, 3, 10);
        log.append(None, std::slice::from_ref(&next)).unwrap();
        drop(log);
        let expected = [built.before.entries.clone(), vec![next]].concat();
        assert_eq!(content(&open(copy.path())).entries, expected);
    }
}

#[test]
fn a_flipped_byte_is_found_wherever_it_is() {
    let built = Built::new();
    for segment in segments(built.dir.path()) {
        let end = frames(&segment).last().unwrap().end;
        every_flip_is_found(built.dir.path(), &segment, 0..end);
    }
    assert_eq!(content(&open(built.dir.path())), built.after);
}

#[test]
fn what_no_append_can_leave_behind_the_frames_is_damage() {
    let built = Built::new();
    let paths = segments(built.dir.path());
    for segment in &paths {
        let (end, size) =
            (frames(segment).last().unwrap().end, fs::metadata(segment).unwrap().len() as usize);
        for at in (end..size).step_by(61) {
            let copy = copy(built.dir.path());
            overwrite(&copy.path().join(segment.file_name().unwrap()), at, &[1]);
            damage(copy.path());
        }
    }
    // A frame that is unfinished, but longer than its first sector says.
    let copy = copy(built.dir.path());
    let segment = segments(copy.path()).pop().unwrap();
    overwrite(&segment, built.last.start + 3 * SECTOR, &[0; SECTOR]);
    overwrite(&segment, built.last.end, &[0xa7; 9]);
    let (path, offset, what) = damage(copy.path());
    assert_eq!((path, offset), (segment, built.last.start as u64));
    assert!(what.contains("does not end where it should"), "{what}");
    // A sector that continues a frame whose first one was not written is what an append can leave.
    overwrite(paths.last().unwrap(), built.last.end + SECTOR, &[0xa7; 9]);
    assert_eq!(content(&open(built.dir.path())), built.after);
}

#[test]
fn a_lost_sector_of_an_earlier_frame_is_found() {
    let built = Built::new();
    let all: Vec<_> = segments(built.dir.path())
        .into_iter()
        .flat_map(|s| frames(&s).into_iter().map(move |f| (s.clone(), f)))
        .collect();
    let (_, earlier) = all.split_last().unwrap();
    for (segment, frame) in earlier {
        let bytes = fs::read(segment).unwrap();
        let mut holes: Vec<_> = frame.clone().step_by(SECTOR).map(|at| at..at + SECTOR).collect();
        holes.push(frame.clone());
        for hole in holes {
            overwrite(segment, hole.start, &vec![0; hole.len()]);
            damage(built.dir.path());
            overwrite(segment, hole.start, &bytes[hole]);
        }
    }
    assert_eq!(content(&open(built.dir.path())), built.after);
}

#[test]
fn a_lost_vote_at_the_end_of_an_earlier_segment_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    log.append(None, &[entry(1, 1, 100)]).unwrap();
    log.append(Some(&hard_state(2, 3, 0)), &[]).unwrap();
    log.append(None, &[entry(2, 1, 8000)]).unwrap();
    drop(log);
    let paths = segments(dir.path());
    overwrite(&paths[0], frames(&paths[0])[1].start, &[0; SECTOR]);
    let (path, _, what) = damage(dir.path());
    assert_eq!(path, paths[1]);
    assert!(what.contains("missing"), "{what}");
}

#[test]
fn a_segment_of_another_member_is_damage() {
    let ours = tempfile::tempdir().unwrap();
    let theirs = tempfile::tempdir().unwrap();
    for (dir, term) in [(&ours, 1), (&theirs, 2)] {
        let mut log = open(dir.path());
        log.append(None, &[entry(1, term, 6000)]).unwrap();
        log.append(None, &[entry(2, term, 6000)]).unwrap();
    }
    let replaced = segments(ours.path()).remove(1);
    fs::copy(&segments(theirs.path())[1], &replaced).unwrap();
    assert_eq!(damage(ours.path()).0, replaced);
}

#[test]
fn a_last_frame_with_a_lost_sector_and_a_later_one_behind_it_is_damage() {
    let built = Built::new();
    let mut log = open(built.dir.path());
    log.append(Some(&hard_state(100, 1, 1)), &[]).unwrap();
    drop(log);
    for sector in 0..6 {
        let copy = copy(built.dir.path());
        let segment = segments(copy.path()).pop().unwrap();
        overwrite(&segment, built.last.start + sector * SECTOR, &[0; SECTOR]);
        let (path, offset, what) = damage(copy.path());
        assert_eq!((path, offset), (segment, built.last.start as u64));
        assert!(what.contains("later ones follow"), "{what}");
    }
}

#[test]
fn a_shorter_or_longer_segment_is_damage() {
    let built = Built::new();
    for segment in segments(built.dir.path()) {
        let bytes = fs::read(&segment).unwrap();
        for length in (0..bytes.len()).step_by(SECTOR / 2).chain([bytes.len() - 1, bytes.len() + 1]) {
            let file = OpenOptions::new().write(true).open(&segment).unwrap();
            file.set_len(length as u64).unwrap();
            assert_eq!(damage(built.dir.path()).0, segment);
            fs::write(&segment, &bytes).unwrap();
        }
    }
    assert_eq!(content(&open(built.dir.path())), built.after);
}

#[test]
fn a_missing_or_misnamed_segment_is_damage() {
    let built = Built::new();
    let copied = copy(built.dir.path());
    let middle = segments(copied.path()).remove(1);
    fs::remove_file(&middle).unwrap();
    let (path, _, what) = damage(copied.path());
    assert_eq!(path, middle);
    assert!(what.contains("missing"), "{what}");

    let copied = copy(built.dir.path());
    let paths = segments(copied.path());
    fs::rename(&paths[1], copied.path().join("swap")).unwrap();
    fs::rename(&paths[2], &paths[1]).unwrap();
    fs::rename(copied.path().join("swap"), &paths[2]).unwrap();
    damage(copied.path());

    // One that follows itself by its numbers, but under another name.
    let single = tempfile::tempdir().unwrap();
    drop(open(single.path()));
    let other = single.path().join("0000000000000009.seg");
    fs::rename(&segments(single.path())[0], &other).unwrap();
    assert_eq!(damage(single.path()).0, other);

    // A file with a segment's name has always been one, if only to tell a vote.
    let copied = copy(built.dir.path());
    let fourth = copied.path().join("0000000000000004.seg");
    fs::write(&fourth, vec![0; 8 << 10]).unwrap();
    assert_eq!(damage(copied.path()).0, fourth);
}

#[test]
fn a_crash_while_a_segment_is_begun_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    log.append(Some(&hard_state(4, 1, 2)), &entries(1..4, 4, 1500)).unwrap();
    let before = content(&log);
    let old = copy(dir.path());
    log.append(None, &[entry(4, 4, 5000)]).unwrap();
    let after = content(&log);
    drop(log);
    let paths = segments(dir.path());
    assert_eq!(paths.len(), 2);
    let whole = fs::read(&paths[1]).unwrap();
    let mut empty = whole.clone();
    empty[SECTOR..].fill(0);
    let mut half = whole.clone();
    half[4 * SECTOR..].fill(0);
    for name in ["spare", "next"] {
        for bytes in [&[][..], &[0; 1000], &[0; 8 << 10], &empty] {
            let crashed = copy(old.path());
            fs::write(crashed.path().join(name), bytes).unwrap();
            assert_eq!(content(&open(crashed.path())), before);
            assert!(!crashed.path().join(name).exists());
        }
    }
    for (bytes, expected) in [(&empty, &before), (&half, &before), (&whole, &after)] {
        let crashed = copy(old.path());
        fs::write(crashed.path().join(paths[1].file_name().unwrap()), bytes).unwrap();
        let mut log = open(crashed.path());
        assert_eq!(&content(&log), expected);
        log.append(None, &[entry(expected.entries.len() as u64 + 1, 5, 3000)]).unwrap();
        let more = content(&log);
        drop(log);
        assert_eq!(content(&open(crashed.path())), more);
    }
}

#[test]
fn a_crash_in_a_reset_leaves_all_or_nothing() {
    let built = Built::new();
    let old = copy(built.dir.path());
    let mut log = open(built.dir.path());
    log.reset(1000, 50).unwrap();
    let after = content(&log);
    drop(log);
    let begun = segments(built.dir.path()).remove(0);

    let crashed = copy(old.path());
    fs::copy(&begun, crashed.path().join("next")).unwrap();
    assert_eq!(content(&open(crashed.path())), built.after);

    let older = segments(old.path());
    // Each set of older segments that are still there.
    for mask in 0..1 << older.len() {
        let crashed = copy(old.path());
        fs::copy(&begun, crashed.path().join(begun.file_name().unwrap())).unwrap();
        for (at, path) in segments(crashed.path()).iter().enumerate().take(older.len()) {
            if mask & (1 << at) == 0 {
                fs::remove_file(path).unwrap();
            }
        }
        assert_eq!(content(&open(crashed.path())), after);
        assert_eq!(segments(crashed.path()).len(), 1);
    }

    // What it forgot must not come back when its own file is damaged.
    every_flip_is_found(built.dir.path(), &begun, 0..SECTOR);
}

#[test]
fn a_crash_in_a_trim_leaves_what_was_not_trimmed() {
    let built = Built::new();
    let old = copy(built.dir.path());
    let mut log = open(built.dir.path());
    let index = log.last_index();
    log.trim(index).unwrap();
    let after = content(&log);
    drop(log);
    let begun = segments(built.dir.path()).remove(0);
    let crashed = copy(old.path());
    fs::copy(&begun, crashed.path().join(begun.file_name().unwrap())).unwrap();
    for path in segments(crashed.path()) {
        let log = open(crashed.path());
        assert_eq!((log.last_index(), log.term(index)), (after.start.0, Some(after.start.1)));
        assert_eq!((log.hard_state().term, log.hard_state().vote), (99, 2));
        drop(log);
        fs::remove_file(path).unwrap();
    }
}
