//! What an ordinary file system does, this one does too.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

use dfs_fault_disk::Settings;
use rustix::fs::{FallocateFlags, FlockOperation, RenameFlags};
use rustix::io::Errno;

use super::Stage;

#[test]
fn files_are_read_as_written() {
    let Some(stage) = Stage::set_up(Settings::default()) else { return };
    let path = stage.root().join("file");
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|number| (number * 7 / 5) as u8).collect();
    fs::write(&path, &bytes).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes);
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    file.write_all_at(b"across a page", 4_090).unwrap();
    let mut found = [0; 13];
    file.read_exact_at(&mut found, 4_090).unwrap();
    assert_eq!(&found, b"across a page");
    let pieces = [IoSlice::new(b"one"), IoSlice::new(b"two")];
    assert_eq!(rustix::io::pwritev(&file, &pieces, 100).unwrap(), 6);
    let mut found = [0; 6];
    file.read_exact_at(&mut found, 100).unwrap();
    assert_eq!(&found, b"onetwo");
    let mut longer = OpenOptions::new().append(true).open(&path).unwrap();
    longer.write_all(b"end").unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 3_000_003);
}

#[test]
fn lengths_holes_and_reservations() {
    let Some(stage) = Stage::set_up(Settings::default()) else { return };
    let path = stage.root().join("file");
    let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path).unwrap();
    file.write_all(&[1; 10_000]).unwrap();
    file.set_len(5_000).unwrap();
    file.set_len(20_000).unwrap();
    let mut expected = vec![0; 20_000];
    expected[..5_000].fill(1);
    assert_eq!(fs::read(&path).unwrap(), expected);
    let free = stage.disk.usage().free;
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, 40_960).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), 40_960);
    assert!(stage.disk.usage().free < free);
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(&file, flags, 1_000, 1_000).unwrap();
    expected.resize(40_960, 0);
    expected[1_000..2_000].fill(0);
    assert_eq!(fs::read(&path).unwrap(), expected);
    let _ = rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed);
    let mut found = Vec::new();
    File::open(&path).unwrap().read_to_end(&mut found).unwrap();
    assert_eq!(found, expected);
}

#[test]
fn names_behave() {
    let Some(stage) = Stage::set_up(Settings::default()) else { return };
    let at = |name: &str| stage.root().join(name);
    fs::create_dir(at("d")).unwrap();
    assert_eq!(fs::create_dir(at("d")).unwrap_err().kind(), ErrorKind::AlreadyExists);
    for number in 0..2_000 {
        File::create_new(at(&format!("d/{number}"))).unwrap();
    }
    assert_eq!(fs::read_dir(at("d")).unwrap().count(), 2_000);
    assert_eq!(fs::remove_dir(at("d")).unwrap_err().kind(), ErrorKind::DirectoryNotEmpty);
    assert_eq!(fs::remove_file(at("none")).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(fs::read(at("d/0/below")).unwrap_err().kind(), ErrorKind::NotADirectory);
    fs::write(at("a"), "a").unwrap();
    fs::write(at("b"), "b").unwrap();
    let root = File::open(stage.root()).unwrap();
    let refused = rustix::fs::renameat_with(&root, "a", &root, "b", RenameFlags::NOREPLACE);
    assert_eq!(refused.unwrap_err(), Errno::EXIST);
    rustix::fs::renameat_with(&root, "a", &root, "b", RenameFlags::EXCHANGE).unwrap();
    assert_eq!(fs::read_to_string(at("a")).unwrap(), "b");
    fs::rename(at("a"), at("b")).unwrap();
    assert_eq!(fs::read_to_string(at("b")).unwrap(), "b");
    fs::rename(at("d"), at("e")).unwrap();
    fs::remove_dir_all(at("e")).unwrap();
    assert_eq!(fs::read_dir(stage.root()).unwrap().count(), 1);
}

#[test]
fn a_removed_file_lives_as_long_as_it_is_open() {
    let Some(stage) = Stage::set_up(Settings::default()) else { return };
    let path = stage.root().join("file");
    fs::write(&path, "bytes").unwrap();
    let mut file = File::open(&path).unwrap();
    fs::remove_file(&path).unwrap();
    let mut found = String::new();
    file.read_to_string(&mut found).unwrap();
    assert_eq!(found, "bytes");
    assert_eq!(file.metadata().unwrap().nlink(), 0);
}

#[test]
fn locks_and_permissions() {
    let Some(stage) = Stage::set_up(Settings::default()) else { return };
    let path = stage.root().join("file");
    let first = File::create(&path).unwrap();
    rustix::fs::flock(&first, FlockOperation::NonBlockingLockExclusive).unwrap();
    let second = File::open(&path).unwrap();
    let refused = rustix::fs::flock(&second, FlockOperation::NonBlockingLockExclusive);
    assert_eq!(refused.unwrap_err(), Errno::WOULDBLOCK);
    drop(first);
    rustix::fs::flock(&second, FlockOperation::NonBlockingLockExclusive).unwrap();
    let lock = File::open(stage.root()).unwrap();
    rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o640);
}

#[test]
fn many_threads_use_it_at_once() {
    let Some(stage) = Stage::set_up(Settings { threads: 4, ..Settings::default() }) else { return };
    std::thread::scope(|scope| {
        for number in 0..8_u8 {
            let path = stage.root().join(number.to_string());
            scope.spawn(move || {
                for round in 0..20 {
                    let bytes = vec![number ^ round; 100_000];
                    let mut file = File::create(&path).unwrap();
                    file.write_all(&bytes).unwrap();
                    file.sync_data().unwrap();
                    assert_eq!(fs::read(&path).unwrap(), bytes);
                }
            });
        }
    });
}
