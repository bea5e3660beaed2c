//! Consistent copies of the database while it is in use: for members that are too far behind, and for people.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use dfs_types::checksum::{combine, crc32c};
use dfs_types::{ChunkId, ClusterId};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, Row};

use super::apply::Counters;
use super::inode::number;
use super::position::Position;
use super::schema::{self, Error};

/// What is skipped of a number that counts up, if the clock is no help because it is behind. The group that was lost has
/// surely not got as far.
pub(crate) const SKIPPED: u64 = 1 << 32;
/// Numbers given away in a second, at most, as a power of two: no group gets near.
pub(crate) const BITS_PER_SECOND: u32 = 20;

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

/// Looks for damage in every page of a copy.
pub(crate) fn check(copy: &Path) -> Result<(), Error> {
    open_copy(copy).map(drop)
}

/// Makes everything that was committed to a database survive a power loss.
pub(crate) fn sync(database: &Path) -> io::Result<()> {
    let mut wal = database.to_owned().into_os_string();
    wal.push("-wal");
    File::open(wal)?.sync_all()?;
    File::open(database)?.sync_all()?;
    // SQLite syncs the name of its log only with the first checkpoint, and without it the log is not there.
    File::open(database.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Makes a snapshot that was received fit to be taken over: what it tells as its beginning is itself.
pub(crate) fn prepare_snapshot(file: &Path, cluster: ClusterId, index: u64, term: u64) -> Result<(), Error> {
    let connection = open_copy(file)?;
    let theirs = schema::cluster(&connection)?;
    if theirs != cluster {
        return Err(Error::Copy(format!("it is of cluster {theirs} and not of {cluster}")));
    }
    let mut position = Position::load(&connection)?;
    if (position.applied, position.term) != (index, term) {
        let found = position.applied;
        return Err(Error::Copy(format!("it ends at entry {found} and not at {index} as its sender says")));
    }
    (position.installed, position.installed_term) = (index, term);
    position.insert(&connection)?;
    close(connection, file)
}

/// Makes the database of a group of one from a backup, at a time in seconds since 1970; answers the cluster and the new
/// member's id.
///
/// What happened after the backup was made is lost, but DataNodes and clients have seen it. So every number that counts
/// up goes on where nobody has been, not even another group that was restored from the same backup.
pub(crate) fn restore(backup: &Path, database: &Path, now: u64) -> Result<(ClusterId, u64), Error> {
    let source = open_copy(backup)?;
    let mut connection = Connection::open(database)?;
    complete(&source, &mut connection)?;
    let transaction = connection.transaction()?;
    let mut counters = Counters::load(&transaction)?;
    let lost = counters.next_chunk;
    for number in [&mut counters.next_inode, &mut counters.next_chunk, &mut counters.next_generation] {
        *number = beyond(*number, now << BITS_PER_SECOND);
    }
    let member = beyond(counters.next_member, now);
    counters.next_member = member + 1;
    counters.save(&transaction)?;
    transaction.execute("INSERT INTO lost VALUES (?1, ?2)", (lost as i64, counters.next_chunk as i64))?;
    let Position { applied, term, .. } = Position::load(&transaction)?;
    // DataNodes obey the latest term they know, which may be later than the backup's. And one more entry than the backup
    // has: members of the former group can't take its log for theirs.
    Position::alone(member, applied + 1, beyond(term, now)).insert(&transaction)?;
    transaction.execute("DELETE FROM member", [])?;
    let cluster = schema::cluster(&transaction)?;
    transaction.commit()?;
    close(connection, database)?;
    Ok((cluster, member))
}

/// A number that one which began at the latest with the clock has not reached.
fn beyond(number: u64, clock: u64) -> u64 {
    if number < clock { clock } else { number + SKIPPED }
}

/// Ranges of chunk ids that may have been given away in a future that was lost.
pub(crate) fn lost(connection: &Connection) -> rusqlite::Result<Vec<Range<ChunkId>>> {
    let mut statement = connection.prepare("SELECT first, beyond FROM lost")?;
    let range = |row: &Row<'_>| Ok(ChunkId(number(row, 0)?)..ChunkId(number(row, 1)?));
    statement.query_map([], range)?.collect()
}

fn complete(source: &Connection, target: &mut Connection) -> Result<(), Error> {
    let backup = Backup::new(source, target)?;
    match backup.step(-1)? {
        StepResult::Done => Ok(()),
        _ => Err(Error::Copy("the database is held by another process".to_owned())),
    }
}

/// Opens a copy and checks that it is whole.
fn open_copy(file: &Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(file, flags)?;
    schema::migrate(&connection)?;
    schema::check(&connection)?;
    Ok(connection)
}

/// Puts everything into the file itself and syncs it.
fn close(connection: Connection, file: &Path) -> Result<(), Error> {
    connection.pragma_update(None, "journal_mode", "DELETE")?;
    connection.close().map_err(|(_, error)| error)?;
    File::open(file)
        .and_then(|file| file.sync_all())
        .map_err(|error| Error::Copy(format!("syncing it failed ({error})")))
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
