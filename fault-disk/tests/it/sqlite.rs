//! SQLite in WAL mode: with every commit synced no acknowledged row is lost, and without it one is.
//!
//! Rows are written by a process of its own, as SQLite maps a file then: see the crate's first page.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use dfs_fault_disk::Settings;
use rusqlite::Connection;

use super::{Stage, sync_names};

/// Tells the writing process which database to write to, and how it syncs.
const DATABASE: &str = "DFS_FAULT_DISK_DATABASE";
const SYNCHRONOUS: &str = "DFS_FAULT_DISK_SYNCHRONOUS";
/// Begins a line that acknowledges a row.
const ROW: &str = "row ";

fn open(path: &Path, synchronous: &str, locking: &str) -> rusqlite::Result<Connection> {
    let database = Connection::open(path)?;
    database.pragma_update(None, "locking_mode", locking)?;
    database.pragma_update(None, "journal_mode", "wal")?;
    database.pragma_update(None, "synchronous", synchronous)?;
    // Checkpoints often: they are where the order of syncs matters most.
    database.pragma_update(None, "wal_autocheckpoint", 20)?;
    Ok(database)
}

/// The process that writes: it inserts rows until its disk fails, and says each that is committed.
#[test]
#[ignore = "it is a process of the other tests"]
fn writer() {
    let path = PathBuf::from(std::env::var_os(DATABASE).expect("the other tests start this one"));
    let database = open(&path, &std::env::var(SYNCHRONOUS).unwrap(), "normal").unwrap();
    let mut row: i64 = database.query_row("SELECT count(*) FROM rows", (), |row| row.get(0)).unwrap();
    loop {
        row += 1;
        if database.execute("INSERT INTO rows VALUES (?1, ?2)", (row, vec![row as u8; 700])).is_err() {
            return;
        }
        let mut output = std::io::stdout().lock();
        if writeln!(output, "\n{ROW}{row}").and_then(|()| output.flush()).is_err() {
            return;
        }
    }
}

/// A process that is killed with its owner.
struct Writer(Child);

impl Drop for Writer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Writer {
    fn start(database: &Path, synchronous: &str) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "sqlite::writer", "--ignored", "--nocapture"]);
        command.env(DATABASE, database).env(SYNCHRONOUS, synchronous);
        Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap())
    }

    /// Lets it write so many rows, cuts the power, and answers the last row that was acknowledged.
    fn cut_after(mut self, rows: usize, stage: &Stage, seed: u64) -> i64 {
        let mut lines = BufReader::new(self.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut acknowledged = lines.by_ref().filter_map(|line| line.strip_prefix(ROW)?.parse().ok());
        let mut last = acknowledged.nth(rows).expect("the writer ended before the power was cut");
        if seed.is_multiple_of(2) {
            self.0.kill().unwrap();
        }
        stage.disk.power_cut(seed).unwrap();
        // What it could still acknowledge counts.
        last = acknowledged.last().unwrap_or(last);
        assert!(self.0.wait().is_ok());
        last
    }
}

/// The number of rows, if all up to it are there and whole.
fn rows(path: &Path) -> Result<i64, String> {
    let database = open(path, "full", "exclusive").map_err(|error| error.to_string())?;
    let sound: String = database
        .query_row("PRAGMA integrity_check", (), |row| row.get(0))
        .map_err(|error| error.to_string())?;
    if sound != "ok" {
        return Err(sound);
    }
    let (count, last): (i64, Option<i64>) = database
        .query_row("SELECT count(*), max(id) FROM rows", (), |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(|error| error.to_string())?;
    let last = last.unwrap_or(0);
    if count == last { Ok(count) } else { Err(format!("{count} rows, and the last one is {last}")) }
}

fn make(stage: &Stage) -> PathBuf {
    let path = stage.root().join("test.db");
    let made = open(&path, "full", "exclusive").unwrap();
    made.execute_batch("CREATE TABLE rows (id INTEGER PRIMARY KEY, bytes BLOB)").unwrap();
    drop(made);
    sync_names(stage.root());
    path
}

/// Cuts the power so many times while a process inserts; answers the first loss, if there is one. Of what a cut takes,
/// `excused` last rows are none.
fn storm(stage: &Stage, synchronous: &str, cuts: u64, excused: i64) -> Option<String> {
    let path = make(stage);
    for seed in 0..cuts {
        let writer = Writer::start(&path, synchronous);
        let last = writer.cut_after((seed * 7 % 30) as usize, stage, seed);
        stage.disk.restore().unwrap();
        match rows(&path) {
            // One more may have been on its way to its acknowledgement.
            Ok(found) if (last - excused..=last + 1).contains(&found) => {}
            Ok(found) => return Some(format!("cut {seed}: {found} rows of {last}")),
            Err(why) => return Some(format!("cut {seed}: {why}")),
        }
    }
    None
}

#[test]
fn with_every_commit_synced_no_acknowledged_row_is_lost() {
    let Some(stage) = Stage::set_up(Settings::default()) else { return };
    assert_eq!(storm(&stage, "full", 200, 0), None);
}

/// What the NameNode's database relies on.
#[test]
fn with_checkpoints_synced_only_last_rows_are_lost() {
    let Some(stage) = Stage::set_up(Settings::default()) else { return };
    assert_eq!(storm(&stage, "normal", 200, i64::MAX / 2), None);
}

#[test]
fn without_syncing_a_loss_is_found() {
    let Some(stage) = Stage::set_up(Settings::default()) else { return };
    let found = storm(&stage, "off", 200, 0).expect("nothing was lost although nothing was synced");
    println!("{found}");
}

#[test]
fn on_a_disk_that_lies_a_loss_is_found() {
    let Some(stage) = Stage::set_up(Settings::default()) else { return };
    let path = make(&stage);
    for seed in 0..20 {
        stage.disk.ignore_sync(true);
        let last = Writer::start(&path, "full").cut_after(40, &stage, seed);
        stage.disk.restore().unwrap();
        match rows(&path) {
            Ok(found) if found >= last => {}
            found => return println!("cut {seed}: {found:?} of {last}"),
        }
    }
    panic!("no cut of 20 showed that the disk lied");
}
