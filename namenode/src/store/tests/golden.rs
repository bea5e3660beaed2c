//! Directories that programs of each release left behind after `kill -9`, with a log that is longer than the database: they
//! are read as they were, and brought to the present level.

use std::fs;
use std::path::{Path, PathBuf};

use dfs_types::format::LEVEL;
use dfs_types::{ChunkId, FileKind, Mode};
use rusqlite::Connection;

use super::{Fixture, mkdir, path, root};
use crate::store::edit::{Edit, Outcome};

/// Bytes of a segment of the log; what follows the last entry is kept free, as zeros, and not in the golden file.
const SEGMENT: u64 = 8 << 20;

fn golden(level: u16) -> PathBuf {
    // Asked at run time: a target directory shared by two clones would keep the other's path.
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
    Path::new(&here).join(format!("tests/golden/level-{level}"))
}

/// A directory as it was left.
fn left_by(level: u16, target: &Path) {
    let from = golden(level);
    fs::create_dir_all(target.join("log")).unwrap();
    for file in ["VERSION", "namespace.db"] {
        fs::copy(from.join(file), target.join(file)).unwrap();
    }
    fs::write(target.join("lock"), "").unwrap();
    for segment in fs::read_dir(from.join("log")).unwrap() {
        let segment = segment.unwrap();
        let copy = target.join("log").join(segment.file_name());
        fs::copy(segment.path(), &copy).unwrap();
        fs::File::options().write(true).open(copy).unwrap().set_len(SEGMENT).unwrap();
    }
}

fn check(fixture: &Fixture) {
    assert_eq!(fixture.names("/"), ["kept"]);
    assert_eq!(fixture.names("/kept"), ["dir", "numbers", "open"]);
    assert_eq!(fixture.names("/kept/dir"), ["moved"]);
    let directory = fixture.stat("/kept/dir").unwrap();
    assert_eq!((directory.kind, directory.mode), (FileKind::Directory, Mode::new(0o700).unwrap()));
    let numbers = fixture.stat("/kept/numbers").unwrap();
    assert_eq!((numbers.length, numbers.replication, numbers.open), (8_893, 1, false));
    let (_, chunks) =
        fixture.wait(fixture.store().file(&root(), &path("/kept/numbers"), 0, u64::MAX)).unwrap();
    assert_eq!((chunks[0].chunk, chunks[0].length), (ChunkId::FIRST, Some(8_893)));
    let open = fixture.stat("/kept/open").unwrap();
    assert_eq!((open.length, open.open), (5_000, true), "as it was synced");
    assert_eq!(fixture.store().counts().open_files, 1);
    let contents = fixture.store().contents();
    assert_eq!(contents.duties(), Ok(vec![]));
    assert_eq!(contents.balancer().unwrap().unwrap().threshold_permille, 50);
    fixture.check_invariants();
}

/// The statements that make a database's tables and indexes.
fn tables(database: &Path) -> Vec<String> {
    let connection = Connection::open(database).unwrap();
    let mut statement =
        connection.prepare("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY sql").unwrap();
    let rows = statement.query_map([], |row| row.get(0)).unwrap();
    rows.collect::<rusqlite::Result<_>>().unwrap()
}

#[test]
fn the_tables_of_a_level_never_change() {
    for level in 1..LEVEL {
        let fixture = Fixture::at_level(level);
        let expected = tables(&golden(level).join("namespace.db"));
        assert_eq!(tables(&fixture.directory().join("namespace.db")), expected, "level {level}");
    }
}

#[test]
fn what_a_release_left_is_read_and_brought_to_the_present_level() {
    for level in 1..LEVEL {
        let mut fixture = Fixture::at_level(level);
        fixture.close();
        fs::remove_dir_all(fixture.directory()).unwrap();
        left_by(level, &fixture.directory());
        fixture.open();
        assert_eq!(fixture.store().level(), level);
        check(&fixture);

        fixture.ok(Edit::RaiseLevel { to: LEVEL });
        check(&fixture);
        fixture.close();
        fixture.open();
        assert_eq!(fixture.store().level(), LEVEL);
        check(&fixture);
        let open = fixture.stat("/kept/open").unwrap().inode;
        assert!(matches!(
            fixture.ok(Edit::BeginRecovery { inode: open, holder: None }),
            Outcome::Recovery { closed: false, .. }
        ));
        fixture.ok(mkdir("/later"));
        fixture.check_invariants();
    }
}
