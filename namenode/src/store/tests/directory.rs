//! Formatting, locking, and what is said of damaged directories.

use std::fs;
use std::path::Path;

use dfs_types::ClusterId;
use dfs_types::checksum::crc32c;

use super::{Fixture, mkdir, options};
use crate::store::directory::{Directory, Error};
use crate::store::{Store, schema};

fn formatted() -> (tempfile::TempDir, std::path::PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("nn");
    drop(Directory::format(&path, ClusterId::random()).unwrap());
    (home, path)
}

fn says(path: &Path, words: &[&str]) {
    let message = Directory::open(path).unwrap_err().to_string();
    for word in words {
        assert!(message.contains(word), "{message}");
    }
}

#[test]
fn a_formatted_directory_opens_with_its_cluster() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("nn");
    says(&path, &["format it first"]);
    let cluster = ClusterId::random();
    drop(Directory::format(&path, cluster).unwrap());
    assert_eq!(Directory::open(&path).unwrap().cluster(), cluster);
    let other = ClusterId::random();
    assert!(
        matches!(Directory::format(&path, other), Err(Error::AlreadyFormatted { cluster: found, .. }) if found == cluster)
    );
    assert_eq!(Directory::format_if_empty(&path, other).unwrap().cluster(), cluster);
    let left: Vec<_> = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["nn"]);
}

#[test]
fn an_empty_directory_is_formatted_and_a_strange_one_is_not() {
    let home = tempfile::tempdir().unwrap();
    let empty = home.path().join("empty");
    fs::create_dir(&empty).unwrap();
    drop(Directory::format_if_empty(&empty, ClusterId::random()).unwrap());
    drop(Directory::open(&empty).unwrap());

    let strange = home.path().join("strange");
    fs::create_dir(&strange).unwrap();
    fs::write(strange.join("thesis.tex"), "years of work").unwrap();
    assert!(matches!(Directory::format(&strange, ClusterId::random()), Err(Error::NotEmpty { .. })));
    assert!(matches!(Directory::format_if_empty(&strange, ClusterId::random()), Err(Error::Damaged { .. })));
    assert!(strange.join("thesis.tex").exists());
}

#[test]
fn one_process_at_a_time_and_the_error_names_it() {
    let (_home, path) = formatted();
    let held = Directory::open(&path).unwrap();
    says(&path, &["in use by process", &std::process::id().to_string()]);
    drop(held);
    drop(Directory::open(&path).unwrap());
}

#[test]
fn what_an_interrupted_format_left_is_replaced() {
    let home = tempfile::tempdir().unwrap();
    let leftover = home.path().join(".nn.formatting");
    fs::create_dir(&leftover).unwrap();
    fs::write(leftover.join("namespace.db"), "half a database").unwrap();
    drop(Directory::format(&home.path().join("nn"), ClusterId::random()).unwrap());
    assert!(!leftover.exists());
}

#[test]
fn a_format_under_way_is_not_disturbed() {
    let home = tempfile::tempdir().unwrap();
    let (path, draft) = (home.path().join("nn"), home.path().join(".nn.formatting"));
    drop(Directory::format(&path, ClusterId::random()).unwrap());
    fs::rename(&path, &draft).unwrap();
    let other = Directory::open(&draft).unwrap();
    assert!(matches!(Directory::format(&path, ClusterId::random()), Err(Error::Locked { .. })));
    drop(other);
}

#[test]
fn damage_is_named() {
    let (_home, path) = formatted();
    let version = path.join("VERSION");
    let good = fs::read_to_string(&version).unwrap();

    fs::write(&version, good.replace("\"format_version\":", "\"format_version\":7")).unwrap();
    says(&path, &["checksum of VERSION does not match", "backup"]);
    let json = r#"{"format_version":9,"something":"new"}"#;
    fs::write(&version, format!("{json}\ncrc32c:{:08x}\n", crc32c(json.as_bytes()))).unwrap();
    assert!(matches!(Directory::open(&path), Err(Error::FormatVersion { found: 9, .. })));
    fs::write(&version, "").unwrap();
    says(&path, &["no checksum line"]);
    fs::write(&version, [0xff, 0xfe, b'\n']).unwrap();
    says(&path, &["not text"]);
    fs::remove_file(&version).unwrap();
    says(&path, &["VERSION is missing"]);

    fs::write(&version, good).unwrap();
    fs::rename(path.join("namespace.db"), path.join("elsewhere")).unwrap();
    says(&path, &["namespace.db is missing"]);
    fs::rename(path.join("elsewhere"), path.join("namespace.db")).unwrap();
    fs::remove_dir_all(path.join("log")).unwrap();
    says(&path, &["log is missing", "replace this NameNode"]);
}

#[test]
fn a_database_that_is_none_or_another_ones_is_refused() {
    let (_home, path) = formatted();
    let database = path.join("namespace.db");
    let set = |pragma: &str, value: i64| {
        let connection = rusqlite::Connection::open(&database).unwrap();
        connection.pragma_update(None, pragma, value).unwrap();
    };
    let refused = || {
        let opened = Store::open(Directory::open(&path).unwrap(), options(), Box::new(|_| {}));
        opened.err().expect("the database is not ours")
    };
    set("application_id", 5);
    assert!(matches!(refused(), crate::store::Error::Database(schema::Error::Foreign { found: 5 })));
    fs::write(&database, "no database at all, but long enough to be looked at".repeat(100)).unwrap();
    assert!(matches!(refused(), crate::store::Error::Database(schema::Error::Sqlite(_))));
}

#[test]
fn a_database_from_another_directory_is_refused() {
    let (_home, path) = formatted();
    let (_other_home, other) = formatted();
    fs::copy(other.join("namespace.db"), path.join("namespace.db")).unwrap();
    let directory = Directory::open(&path).unwrap();
    let error = Store::open(directory, options(), Box::new(|_| {})).err().expect("it is another cluster's");
    assert!(error.to_string().contains("put the files of one directory together again"), "{error}");
}

#[test]
fn the_root_belongs_to_the_first_superuser() {
    let mut fixture = Fixture::new();
    let status = fixture.stat("/").unwrap();
    assert_eq!((status.owner.as_str(), status.group.as_str()), ("hdfs", "supergroup"));
    fixture.ok(mkdir("/kept"));
    fixture.close();
    assert!(
        !fixture.directory().join("namespace.db-wal").exists(),
        "the log is in the database after a clean end"
    );
    fixture.open();
    assert_eq!(fixture.names("/"), ["kept"]);
}
