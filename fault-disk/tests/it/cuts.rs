//! Power cuts: what was synced is there, of the rest anything may be.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use dfs_fault_disk::Settings;
use rustix::fs::OFlags;

use super::{Stage, sync_names};

const PAGE: usize = 4096;
const SECTOR: usize = 512;

fn write_synced(path: &Path, bytes: &[u8]) {
    let mut file = File::create(path).unwrap();
    file.write_all(bytes).unwrap();
    file.sync_all().unwrap();
}

#[test]
fn what_was_synced_is_kept_and_the_rest_is_lost_sometimes() {
    let Some(stage) = Stage::set_up(Settings::default()) else { return };
    let (synced, unsynced) = (stage.root().join("synced"), stage.root().join("unsynced"));
    let (mut kept, mut lost) = (0, 0);
    for seed in 0..40 {
        let bytes = vec![seed as u8 + 1; 3 * PAGE + 100];
        write_synced(&synced, &bytes);
        fs::write(&unsynced, &bytes).unwrap();
        sync_names(stage.root());
        // In the same page as what was synced, and in a new one.
        let longer = OpenOptions::new().append(true).open(&synced).unwrap();
        (&longer).write_all(&[0xee; PAGE]).unwrap();
        stage.cut(seed);
        let found = fs::read(&synced).unwrap();
        assert_eq!(found[..bytes.len()], bytes, "seed {seed}: bytes that were synced changed");
        assert!(found[bytes.len()..].iter().all(|byte| [0, 0xee].contains(byte)), "seed {seed}");
        let found = fs::read(&unsynced).unwrap();
        if found == bytes {
            kept += 1;
        } else {
            lost += 1;
        }
        fs::remove_file(&unsynced).unwrap();
        sync_names(stage.root());
    }
    assert!(kept > 3 && lost > 3, "{kept} times all was kept, {lost} times not");
}

#[test]
fn a_handle_that_was_open_fails() {
    let Some(stage) = Stage::set_up(Settings::default()) else { return };
    let path = stage.root().join("file");
    write_synced(&path, b"old");
    sync_names(stage.root());
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    stage.cut(1);
    assert!(file.write_all_at(b"new", 0).is_err());
    assert!(file.sync_all().is_err());
    assert!(file.read_at(&mut [0; 3], 0).is_err());
    assert_eq!(fs::read(&path).unwrap(), b"old");
}

#[test]
fn a_torn_page_is_of_whole_sectors_and_only_among_the_unsynced() {
    let Some(stage) = Stage::set_up(Settings::default()) else { return };
    let path = stage.root().join("file");
    write_synced(&path, &[1; 8 * PAGE]);
    sync_names(stage.root());
    let mut torn = 0;
    for seed in 0..60 {
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&[1; 8 * PAGE], 0).unwrap();
        file.sync_all().unwrap();
        file.write_all_at(&[2; 4 * PAGE], 4 * PAGE as u64).unwrap();
        stage.cut(seed);
        let found = fs::read(&path).unwrap();
        assert_eq!(found.len(), 8 * PAGE);
        assert!(found[..4 * PAGE].iter().all(|byte| *byte == 1), "seed {seed}: a synced page changed");
        for sector in found.chunks(SECTOR) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "seed {seed}: a sector is torn");
        }
        torn += found.chunks(PAGE).filter(|page| page[0] != page[PAGE - 1]).count();
    }
    assert!(torn > 0, "no page was torn");
}

#[test]
fn a_rename_is_there_or_not_but_never_half() {
    let Some(stage) = Stage::set_up(Settings::default()) else { return };
    let (a, b) = (stage.root().join("a"), stage.root().join("b"));
    fs::create_dir(&a).unwrap();
    fs::create_dir(&b).unwrap();
    sync_names(stage.root());
    let (mut done, mut undone) = (0, 0);
    for seed in 0..40 {
        write_synced(&a.join("new"), b"new");
        write_synced(&b.join("name"), b"old");
        sync_names(&a);
        sync_names(&b);
        fs::rename(a.join("new"), b.join("name")).unwrap();
        stage.cut(seed);
        match fs::read(b.join("name")).unwrap().as_slice() {
            b"new" => {
                done += 1;
                assert!(!a.join("new").exists(), "seed {seed}: it has both names");
            }
            found => {
                undone += 1;
                assert_eq!(found, b"old", "seed {seed}");
                assert_eq!(fs::read(a.join("new")).unwrap(), b"new", "seed {seed}");
            }
        }
    }
    assert!(done > 3 && undone > 3, "{done} renames were kept, {undone} lost");
}

#[test]
fn a_rename_is_kept_once_either_directory_is_synced() {
    let Some(stage) = Stage::set_up(Settings::default()) else { return };
    let (a, b) = (stage.root().join("a"), stage.root().join("b"));
    fs::create_dir(&a).unwrap();
    fs::create_dir(&b).unwrap();
    sync_names(stage.root());
    for seed in 0..20 {
        write_synced(&a.join("file"), b"x");
        fs::rename(a.join("file"), b.join("file")).unwrap();
        sync_names(if seed % 2 == 0 { &a } else { &b });
        stage.cut(seed);
        assert!(b.join("file").exists() && !a.join("file").exists(), "seed {seed}");
        fs::remove_file(b.join("file")).unwrap();
    }
}

#[test]
fn names_need_their_directory_synced() {
    let Some(stage) = Stage::set_up(Settings::default()) else { return };
    let mut outcomes = BTreeSet::new();
    for seed in 0..30 {
        let directory = stage.root().join(format!("d{seed}"));
        fs::create_dir(&directory).unwrap();
        write_synced(&directory.join("file"), b"x");
        sync_names(&directory);
        // The directory's own name is in its parent, which nobody synced.
        stage.cut(seed);
        outcomes.insert(directory.exists());
        assert_eq!(directory.join("file").exists(), directory.exists(), "seed {seed}");
    }
    assert_eq!(outcomes.len(), 2, "a name that was not synced was always the same");
}

#[test]
fn names_go_with_files_if_the_disk_is_so() {
    let settings = Settings { names_with_files: true, ..Settings::default() };
    let Some(stage) = Stage::set_up(settings) else { return };
    for seed in 0..20 {
        let path = stage.root().join(format!("f{seed}"));
        write_synced(&path, b"x");
        stage.cut(seed);
        assert_eq!(fs::read(&path).unwrap(), b"x", "seed {seed}");
    }
}

#[test]
fn a_removal_may_be_undone_with_all_bytes() {
    let Some(stage) = Stage::set_up(Settings::default()) else { return };
    let mut back = 0;
    for seed in 0..30 {
        let path = stage.root().join("file");
        write_synced(&path, &[7; 5 * PAGE]);
        sync_names(stage.root());
        fs::remove_file(&path).unwrap();
        stage.cut(seed);
        if path.exists() {
            back += 1;
            assert_eq!(fs::read(&path).unwrap(), [7; 5 * PAGE], "seed {seed}");
        }
    }
    assert!((4..27).contains(&back), "{back} of 30 removals were undone");
}

#[test]
fn synchronous_writes_need_no_fsync() {
    let Some(stage) = Stage::set_up(Settings::default()) else { return };
    for (seed, flag) in [OFlags::SYNC, OFlags::DSYNC].into_iter().cycle().take(12).enumerate() {
        let path = stage.root().join("file");
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).custom_flags(flag.bits() as i32);
        options.open(&path).unwrap().write_all(&[9; 3 * PAGE]).unwrap();
        sync_names(stage.root());
        stage.cut(seed as u64);
        assert_eq!(fs::read(&path).unwrap(), [9; 3 * PAGE], "seed {seed}");
    }
}

#[test]
fn a_disk_that_lies_loses_what_was_synced() {
    let Some(stage) = Stage::set_up(Settings::default()) else { return };
    let path = stage.root().join("file");
    write_synced(&path, b"old");
    sync_names(stage.root());
    let mut lost = 0;
    for seed in 0..20 {
        stage.disk.ignore_sync(true);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(b"new", 0).unwrap();
        file.sync_all().unwrap();
        stage.cut(seed);
        lost += u32::from(fs::read(&path).unwrap() == b"old");
        write_synced(&path, b"old");
    }
    assert!(lost > 3, "only {lost} of 20 lies were seen");
}

#[test]
fn power_is_cut_once_and_given_back_once() {
    let Some(stage) = Stage::set_up(Settings::default()) else { return };
    assert!(stage.disk.restore().unwrap_err().to_string().contains("has power"));
    stage.disk.power_cut(1).unwrap();
    assert!(stage.disk.power_cut(1).unwrap_err().to_string().contains("no power"));
    stage.disk.restore().unwrap();
    fs::write(stage.root().join("file"), "x").unwrap();
}
