//! A disk that is full, fails, is slow or rots.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use dfs_fault_disk::{FaultDisk, Settings, Throttle};
use rustix::io::Errno;

use super::Stage;

fn small() -> Settings {
    Settings { capacity: 1 << 20, ..Settings::default() }
}

#[test]
fn a_full_disk_says_so_and_has_room_again() {
    let Some(stage) = Stage::set_up(small()) else { return };
    let (kept, more) = (stage.root().join("kept"), stage.root().join("more"));
    fs::write(&kept, vec![1; 512 << 10]).unwrap();
    stage.disk.fill();
    assert_eq!(stage.disk.usage().free, 0);
    assert_eq!(fs::write(&more, [2; 100]).unwrap_err().kind(), ErrorKind::StorageFull);
    // What has its place is written nevertheless, synced or not.
    let file = OpenOptions::new().write(true).open(&kept).unwrap();
    file.write_all_at(&vec![3; 512 << 10], 0).unwrap();
    stage.disk.free();
    fs::write(&more, [2; 100]).unwrap();
    assert_eq!(fs::write(&more, vec![2; 1 << 20]).unwrap_err().kind(), ErrorKind::StorageFull);
    fs::remove_file(&more).unwrap();
    fs::write(&more, vec![2; 256 << 10]).unwrap();
    assert_eq!(fs::read(&kept).unwrap(), vec![3; 512 << 10]);
    stage.disk.set_capacity(4 << 20);
    fs::write(&more, vec![2; 2 << 20]).unwrap();
}

#[test]
fn the_room_is_told_right() {
    let Some(stage) = Stage::set_up(small()) else { return };
    let room = || rustix::fs::statvfs(stage.root()).unwrap();
    let before = room();
    assert_eq!(before.f_blocks * before.f_frsize, 1 << 20);
    assert_eq!(before.f_bavail, before.f_blocks);
    fs::write(stage.root().join("file"), vec![1; 100 << 10]).unwrap();
    assert_eq!(before.f_bavail - room().f_bavail, 25);
    assert_eq!(before.f_ffree - room().f_ffree, 1);
    fs::remove_file(stage.root().join("file")).unwrap();
    // The kernel tells of the last close some time later.
    let deadline = Instant::now() + Duration::from_mins(1);
    while room().f_bavail != before.f_bavail {
        assert!(Instant::now() < deadline, "the room of a removed file is not free again");
        std::thread::yield_now();
    }
}

fn is_eio<T: std::fmt::Debug>(result: std::io::Result<T>) {
    assert_eq!(result.unwrap_err().raw_os_error(), Some(Errno::IO.raw_os_error()));
}

#[test]
fn a_disk_that_fails_fails_everything() {
    let Some(stage) = Stage::set_up(small()) else { return };
    let path = stage.root().join("file");
    fs::write(&path, b"bytes").unwrap();
    let mut file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    file.read_to_end(&mut Vec::new()).unwrap();
    stage.disk.fail_io(true).unwrap();
    file.rewind().unwrap();
    is_eio(file.read_to_end(&mut Vec::new()));
    is_eio(file.write_all_at(b"x", 0));
    is_eio(file.sync_all());
    is_eio(File::open(&path));
    is_eio(fs::metadata(&path));
    is_eio(fs::read_dir(stage.root()));
    is_eio(fs::create_dir(stage.root().join("new")));
    assert_eq!(rustix::fs::statvfs(stage.root()).err(), Some(Errno::IO));
    stage.disk.fail_io(false).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"bytes");
}

#[test]
fn a_slow_disk_takes_its_time_and_no_more_once_it_is_told() {
    let Some(stage) = Stage::set_up(small()) else { return };
    let path = stage.root().join("file");
    let slow = Throttle { bytes_per_second: 1 << 20, latency: Duration::from_millis(20) };
    stage.disk.throttle(Some(slow));
    let begun = Instant::now();
    fs::write(&path, vec![1; 256 << 10]).unwrap();
    // At least, which no other load can change.
    assert!(begun.elapsed() >= Duration::from_millis(250));
    stage.disk.throttle(Some(Throttle { latency: Duration::from_hours(1), ..slow }));
    std::thread::scope(|scope| {
        let stuck = scope.spawn(|| fs::write(&path, b"x"));
        assert!(!stuck.is_finished());
        stage.disk.throttle(None);
        stuck.join().unwrap().unwrap();
    });
    assert_eq!(fs::read(&path).unwrap(), b"x");
}

#[test]
fn a_disk_that_hangs_answers_nobody_until_it_goes_on() {
    let Some(stage) = Stage::set_up(small()) else { return };
    let [path, other] = ["file", "other"].map(|name| stage.root().join(name));
    fs::write(&path, b"before").unwrap();
    stage.disk.hang(true);
    let (done, answers) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let [write, make] = [done.clone(), done];
        scope.spawn(move || write.send(fs::write(&path, b"x")));
        scope.spawn(move || make.send(fs::create_dir(&other)));
        assert!(answers.recv_timeout(Duration::from_millis(200)).is_err(), "something was answered");
        stage.disk.hang(false);
        for _ in 0..2 {
            answers.recv().unwrap().unwrap();
        }
    });
    assert_eq!(fs::read(stage.root().join("file")).unwrap(), b"x");
    assert!(stage.root().join("other").is_dir());
}

#[test]
fn a_slow_disk_loses_power_too() {
    let Some(stage) = Stage::set_up(small()) else { return };
    let path = stage.root().join("file");
    stage.disk.throttle(Some(Throttle { bytes_per_second: 0, latency: Duration::from_hours(1) }));
    std::thread::scope(|scope| {
        let stuck = scope.spawn(|| fs::write(&path, b"x"));
        stage.disk.power_cut(1).unwrap();
        // It got its error, or it came too late and wrote below the mount point.
        let _ = stuck.join().unwrap();
    });
    stage.disk.restore().unwrap();
    fs::write(&path, b"y").unwrap();
}

#[test]
fn rot_is_read_at_once_and_survives_everything() {
    let Some(stage) = Stage::set_up(small()) else { return };
    let path = stage.root().join("file");
    fs::write(&path, [0; 10_000]).unwrap();
    assert_eq!(fs::read(&path).unwrap(), [0; 10_000]);
    stage.disk.flip_bit(&path, 5_000).unwrap();
    let rotten = |bytes: &[u8]| bytes[5_000] == 1 && bytes.iter().filter(|byte| **byte != 0).count() == 1;
    assert!(rotten(&fs::read(&path).unwrap()));
    File::open(&path).unwrap().sync_all().unwrap();
    super::sync_names(stage.root());
    stage.cut(3);
    assert!(rotten(&fs::read(&path).unwrap()));
    stage.disk.flip_bit(Path::new("file"), 5_000).unwrap();
    assert_eq!(fs::read(&path).unwrap(), [0; 10_000]);
    let error = stage.disk.flip_bit(Path::new("file"), 10_000).unwrap_err().to_string();
    assert!(error.contains("has no byte 10000"), "{error}");
    assert!(stage.disk.flip_bit(Path::new("other"), 0).is_err());
}

#[test]
fn it_is_unmounted_even_when_its_owner_panics() {
    let Some(stage) = Stage::set_up(small()) else { return };
    let at = stage.root().join("inner");
    let mounted = || fs::read_to_string("/proc/self/mountinfo").unwrap().contains(at.to_str().unwrap());
    let owner = std::thread::spawn({
        let at = at.clone();
        move || {
            let disk = FaultDisk::mount(&at, small()).unwrap();
            let _open = File::create(disk.path().join("file")).unwrap();
            assert!(disk.usage().inodes == 0, "this panics on purpose");
        }
    });
    assert!(owner.join().is_err());
    assert!(!mounted());
    assert_eq!(fs::read_dir(&at).unwrap().count(), 0);
}
