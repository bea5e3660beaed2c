//! Consistent copies of the database while it is in use: for members that are too far behind, and for people.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use dfs_types::checksum::{combine, crc32c};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::apply::Counters;
use super::position::Position;
use super::schema::{self, Error};

/// Terms that a restored group skips, so that DataNodes obey it although they knew later terms than the backup has.
const TERMS_SKIPPED: u64 = 1 << 20;

/// Copies the database to a new file, synced and by itself, as of one moment. Blocks as long as that takes; neither
/// readers nor the writer wait for it. Answers what moment that is.
pub(crate) fn copy(database: &Path, target: &Path) -> Result<Position, Error> {
    let source = schema::open_reader(database)?;
    let mut copy = Connection::open(target)?;
    complete(&source, &mut copy)?;
    let position = Position::load(&copy)?;
    close(copy, target)?;
    Ok(position)
}

/// Makes a snapshot that was received fit to be taken over: what it tells as its beginning is itself.
pub(crate) fn prepare_snapshot(file: &Path, index: u64, term: u64) -> Result<(), Error> {
    let connection = open_copy(file)?;
    let mut position = Position::load(&connection)?;
    if (position.applied, position.term) != (index, term) {
        let found = position.applied;
        return Err(Error::Backup(format!("it ends at entry {found} and not at {index} as its sender says")));
    }
    (position.installed, position.installed_term) = (index, term);
    position.insert(&connection)?;
    close(connection, file)
}

/// Makes the database of a group of one from a backup; answers the new member's id.
pub(crate) fn restore(backup: &Path, database: &Path) -> Result<u64, Error> {
    let source = open_copy(backup)?;
    let mut connection = Connection::open(database)?;
    complete(&source, &mut connection)?;
    let mut counters = Counters::load(&connection)?;
    let member = counters.next_member;
    counters.next_member += 1;
    counters.save(&connection)?;
    let Position { applied, term, .. } = Position::load(&connection)?;
    // One more entry than the backup has: members of the former group can't take its log for theirs.
    Position::alone(member, applied + 1, term + TERMS_SKIPPED).insert(&connection)?;
    connection.execute("DELETE FROM member", [])?;
    close(connection, database)?;
    Ok(member)
}

fn complete(source: &Connection, target: &mut Connection) -> Result<(), Error> {
    let backup = Backup::new(source, target)?;
    match backup.step(-1)? {
        StepResult::Done => Ok(()),
        _ => Err(Error::Backup("the database is held by another process".to_owned())),
    }
}

/// Opens a copy and checks that it is whole.
fn open_copy(file: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    schema::migrate(&connection)?;
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(connection) } else { Err(Error::Backup(verdict)) }
}

/// Puts everything into the file itself and syncs it.
fn close(connection: Connection, file: &Path) -> Result<(), Error> {
    connection.pragma_update(None, "journal_mode", "DELETE")?;
    connection.close().map_err(|(_, error)| error)?;
    File::open(file)
        .and_then(|file| file.sync_all())
        .map_err(|error| Error::Backup(format!("syncing it failed ({error})")))
}

/// Reads a file piece by piece: tells its length, then pieces of at most `piece` bytes; answers the CRC32C of all of
/// it, or nothing if `begin` or `tell` did not want to go on.
pub(crate) fn read_parts(
    file: &Path,
    piece: usize,
    begin: impl FnOnce(u64) -> bool,
    mut tell: impl FnMut(Vec<u8>) -> bool,
) -> io::Result<Option<u32>> {
    let mut file = File::open(file)?;
    let mut left = file.metadata()?.len();
    let mut sum = 0;
    if !begin(left) {
        return Ok(None);
    }
    while left > 0 {
        let mut data = vec![0; piece.min(left as usize)];
        file.read_exact(&mut data)?;
        sum = combine(sum, crc32c(&data), data.len() as u64);
        left -= data.len() as u64;
        if !tell(data) {
            return Ok(None);
        }
    }
    Ok(Some(sum))
}
