//! A disk that has no room or is gone.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::{DiskLog, EntryLog, Error, FileLog, Hooks, Options, content, entry, open, segments};

/// Waits until `check` holds.
fn until(what: &str, check: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !check() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn no_hooks() -> Hooks {
    Hooks { progress: Box::new(|_| {}), make_room: Box::new(|| false) }
}

/// A small file system in memory.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` where mounting is not allowed.
    fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(dir.path()).status();
        mounted.is_ok_and(|status| status.success()).then(|| Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[test]
fn a_full_disk_is_told_and_nothing_acknowledged_is_lost() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: this test mounts a small tmpfs, which is not allowed here");
        return;
    };
    let path = disk.0.path().join("log");
    let options = Options { segment_bytes: 192 << 10 };
    let mut log = FileLog::open(&path, options).unwrap();
    let mut index = 0;
    let error = loop {
        let given = [entry(index + 1, 1, 10_000)];
        match log.append(None, &given) {
            Ok(()) => index += 1,
            Err(error) => break error,
        }
        assert!(index < 200);
    };
    assert!(matches!(error, Error::Full { .. }), "{error}");
    // So close to the end there are only small segments, of 6 frames each: nobody else is kept from the last room for
    // longer than one takes.
    assert!((14 * 6..=16 * 6).contains(&index), "{index}");
    assert!(segments(&path).iter().all(|segment| fs::metadata(segment).unwrap().len() == 64 << 10));
    assert!(!path.join("spare").exists());
    let acknowledged = content(&log);
    let again = log.append(None, &[entry(index + 1, 1, 10_000)]);
    assert!(matches!(again, Err(Error::Full { .. })), "told as often as it is tried");
    drop(log);
    // No room is needed to open it, and trimming makes some.
    let mut log = FileLog::open(&path, options).unwrap();
    assert_eq!(content(&log), acknowledged);
    log.append(None, &[entry(index + 1, 1, 10_000)]).unwrap_err();
    log.trim(index).unwrap();
    for more in 1..50 {
        log.append(None, &[entry(index + more, 1, 10_000)]).unwrap();
    }
}

#[test]
fn on_a_full_disk_appends_wait_for_room_and_nothing_is_lost() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: this test mounts a small tmpfs, which is not allowed here");
        return;
    };
    let (path, other) = (disk.0.path().join("log"), disk.0.path().join("other"));
    let options = Options { segment_bytes: 192 << 10 };
    let asked = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&asked);
    let make_room = Box::new(move || {
        seen.store(true, Ordering::SeqCst);
        false
    });
    let hooks = Hooks { make_room, ..no_hooks() };
    let mut log = DiskLog::start(FileLog::open(&path, options).unwrap(), hooks).unwrap();
    log.append(None, &[entry(1, 1, 10_000)]).unwrap();
    until("the first append", || log.durable() == 1);
    assert!(fs::write(&other, vec![1; 2 << 20]).is_err(), "somebody else takes what is left");
    for index in 2..60 {
        log.append(None, &[entry(index, 1, 10_000)]).unwrap();
    }
    assert_eq!(log.last_index(), 59, "whoever gives them does not wait");
    until("the disk to be full", || log.condition().full);
    let durable = log.durable();
    assert!((2..59).contains(&durable), "{durable}");
    assert!(asked.load(Ordering::SeqCst), "what is kept for this case is asked for");
    assert!(log.condition().backlog >= (59 - durable) * 10_000 && log.condition().failure.is_none());

    fs::remove_file(&other).unwrap();
    until("everything to be durable", || log.durable() == 59);
    until("the disk to be idle", || log.condition().busy.is_none());
    assert!(!log.condition().full && log.condition().backlog == 0);
    drop(log);
    assert_eq!(FileLog::open(&path, options).unwrap().last_index(), 59);
}

#[test]
fn trimming_makes_room_for_what_waits() {
    let Some(disk) = SmallDisk::mount() else {
        eprintln!("skipped: this test mounts a small tmpfs, which is not allowed here");
        return;
    };
    let path = disk.0.path().join("log");
    let options = Options { segment_bytes: 192 << 10 };
    let mut log = DiskLog::start(FileLog::open(&path, options).unwrap(), no_hooks()).unwrap();
    for index in 1..150 {
        log.append(None, &[entry(index, 1, 10_000)]).unwrap();
    }
    until("the disk to be full", || log.condition().full);
    log.trim(log.durable()).unwrap();
    until("everything to be durable", || log.durable() == 149);
    drop(log);
    assert_eq!(FileLog::open(&path, options).unwrap().last_index(), 149);
}

#[test]
fn a_disk_that_fails_makes_nothing_more_durable_and_says_why() {
    let dir = tempfile::tempdir().unwrap();
    let (path, away) = (dir.path().join("log"), dir.path().join("away"));
    let mut log = DiskLog::start(open(&path), no_hooks()).unwrap();
    log.append(None, &[entry(1, 1, 4000)]).unwrap();
    until("the first append", || log.durable() == 1);
    fs::rename(&path, &away).unwrap();
    log.append(None, &[entry(2, 1, 4000)]).unwrap();
    until("the failure", || log.condition().failure.is_some());
    log.append(None, &[entry(3, 1, 4000)]).unwrap();
    log.trim(1).unwrap();
    assert_eq!((log.durable(), log.last_index()), (1, 3));
    assert!(log.condition().busy.is_none());
    drop(log);
    assert_eq!(open(&away).last_index(), 1);
}

#[test]
fn after_an_error_everything_fails_until_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let (path, away) = (dir.path().join("log"), dir.path().join("away"));
    let mut log = open(&path);
    log.append(None, &[entry(1, 1, 4000)]).unwrap();
    let acknowledged = content(&log);
    fs::rename(&path, &away).unwrap();
    let error = log.append(None, &[entry(2, 1, 4000)]).unwrap_err();
    assert!(matches!(&error, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound));
    fs::rename(&away, &path).unwrap();
    for again in [log.append(None, &[entry(2, 1, 1)]), log.trim(1), log.reset(5, 5)] {
        assert_eq!(again.unwrap_err().to_string(), error.to_string());
    }
    assert_eq!(content(&log), acknowledged);
    drop(log);
    let mut log = open(&path);
    assert_eq!(content(&log), acknowledged);
    log.append(None, &[entry(2, 1, 4000)]).unwrap();
    assert_eq!(log.last_index(), 2);
}
