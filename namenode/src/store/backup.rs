//! Consistent copies of the database while it is in use: for members that are too far behind, and for people.

use std::fs::File;
use std::io::{self, Read, Write};
use std::ops::Range;
use std::path::Path;

use dfs_types::backup::{Header, Invalid, PART, Packer, Unpacker};
use dfs_types::checksum::{combine, crc32c};
use dfs_types::{ChunkId, ClusterId};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, Row};

use super::column::number;
use super::counters::Counters;
use super::edit::PIPELINES;
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

/// Bytes that a copy of a database takes at most.
pub(crate) fn size(database: &Path) -> io::Result<u64> {
    let mut wal = database.to_owned().into_os_string();
    wal.push("-wal");
    let wal = std::fs::metadata(wal).map_or(0, |found| found.len());
    Ok(std::fs::metadata(database)?.len() + wal)
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
    let header = unpack(backup, database)?;
    let mut connection = open_copy(database)?;
    let found = (schema::cluster(&connection)?, Position::load(&connection)?.applied);
    if found != (header.cluster, header.applied) {
        return Err(Error::Copy("the database in it is not the one that it says".to_owned()));
    }
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
    if schema::level(&transaction)? >= PIPELINES {
        // Open chunks may have gone on to other nodes in what is lost.
        transaction.execute("DELETE FROM pipeline", [])?;
    }
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
    schema::check_version(&connection)?;
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

/// Reads a copy of the database packed as [`dfs_types::backup`] says, piece by piece; `tell` answers whether to go on.
/// Answers the CRC32C of all that was told, or nothing if `tell` did not want to go on.
pub(crate) fn read_packed(
    copy: &Path,
    header: &Header,
    mut tell: impl FnMut(Vec<u8>) -> bool,
) -> io::Result<Option<u32>> {
    let mut file = File::open(copy)?;
    let (mut packer, first) = Packer::begin(header);
    let mut sum = crc32c(b"");
    let mut pass_on = |piece: Vec<u8>| {
        sum = combine(sum, crc32c(&piece), piece.len() as u64);
        tell(piece)
    };
    let mut goes_on = pass_on(first);
    let (mut left, mut part) = (header.length, vec![0; PART]);
    while goes_on && left > 0 {
        let data = &mut part[..left.min(PART as u64) as usize];
        file.read_exact(data)?;
        left -= data.len() as u64;
        goes_on = pass_on(packer.part(data));
    }
    goes_on = goes_on && pass_on(packer.end());
    Ok(goes_on.then_some(sum))
}

/// What the backup of a copy says of itself.
pub(crate) fn header(copy: &Path, cluster: ClusterId, applied: u64) -> io::Result<Header> {
    Ok(Header { cluster, applied, length: std::fs::metadata(copy)?.len() })
}

/// Checks all of a backup, and only then makes the database in it a new file, checking it once more on the way: what was
/// read a moment ago may be read differently now.
fn unpack(backup: &Path, database: &Path) -> Result<Header, Error> {
    read_through(backup, |_| Ok(()))?;
    let failed = |error: io::Error| Error::Copy(format!("writing {} failed ({error})", database.display()));
    let mut target = File::create_new(database).map_err(failed)?;
    let header = read_through(backup, |data| target.write_all(data))?;
    target.sync_all().map_err(failed)?;
    Ok(header)
}

/// Reads a backup to its end and tells what is in it as far as that is checked.
fn read_through(backup: &Path, mut tell: impl FnMut(&[u8]) -> io::Result<()>) -> Result<Header, Error> {
    let failed = |error: io::Error| Error::Copy(format!("{}: {error}", backup.display()));
    let refused = |invalid: Invalid| Error::Copy(format!("{}: {invalid}", backup.display()));
    let mut file = File::open(backup).map_err(failed)?;
    let (mut unpacker, mut piece) = (Unpacker::default(), vec![0; PART]);
    loop {
        let read = match file.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            read => read.map_err(failed)?,
        };
        if read == 0 {
            return unpacker.finish().map_err(refused);
        }
        let data = unpacker.push(&piece[..read]).map_err(refused)?;
        tell(&data).map_err(failed)?;
    }
}
