//! A disk that has no room or is gone.

use std::fs;
use std::process::Command;

use super::{EntryLog, Error, FileLog, Options, content, entry, open};

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
    // Five segments fit, of 19 frames each.
    assert_eq!(index, 5 * 19);
    let acknowledged = content(&log);
    for error in [log.append(None, &[entry(index + 1, 1, 1)]), log.trim(index), log.reset(index, 1)] {
        assert!(matches!(error, Err(Error::Full { .. })));
    }
    drop(log);
    // No room is needed to open it, and trimming makes some.
    let mut log = FileLog::open(&path, options).unwrap();
    assert_eq!(content(&log), acknowledged);
    log.trim(index).unwrap();
    for more in 1..50 {
        log.append(None, &[entry(index + more, 1, 10_000)]).unwrap();
    }
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
