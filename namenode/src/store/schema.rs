//! The namespace database: tables, migrations, and how connections are set up.
//!
//! ```text
//! inode    one row a file or directory, clustered by (parent, name): listing is one range, lookup one descent.
//!          An index has the directories by themselves, to find those of a tree without its files.
//!          The root is (0, ''). Deleted trees are moved under parent 1 with their id as name, until reaped.
//!          `below` is how much longer than a directory's own path one below it may be: see `apply::reach`.
//!          `extras`, since level 3: what else there is of it in other tables, see `inode::Extras`. `acl`, since level 3:
//!          what its ACL has beside the mode, NULL if nothing.
//! xattr    since level 3: one row an extended attribute. `space` is the number of its prefix.
//! extent   one row a piece of a file, clustered by (inode, idx): which `chunk` has its bytes, where it begins in the file
//!          (`start`) and in the chunk (`at`), and its `length`, NULL if it goes on to the chunk's end. Several extents can
//!          be of one chunk; an index finds those of a chunk.
//! chunk    one row a chunk. `length` is NULL while it is written, `readable` is what readers may count on, `recovery` the
//!          stamp of a recovery under way, `refs` how many extents are of it: it goes with the last one. `layout` and
//!          `replicas` say how its bytes lie; `replicas` is the most that a file it belongs to wants.
//! lease    one row a file being written: who holds it, and since which Unix time; `temporary` if the file goes away with
//!          its writer instead of being closed. `inherited`, since level 3: the extents that a file had when it was opened to
//!          be appended to, which are no business of its writer; NULL if he made it.
//! retry    outcomes of requests, for retries: appended in order; most go when their client has asked for something
//!          else, so that a batch of edits changes few pages of it. `floor`: earlier calls of the client without an
//!          outcome are refused. The writer knows by heart which row is whose: see `apply::retry`.
//! cluster  id of the cluster; one row, written when the database is made.
//! lost     ranges of chunk ids that may have been given away after a backup was made that this namespace was then
//!          restored from: nobody knows what is in such chunks.
//! member   addresses of the group's NameNodes.
//! pipeline since level 2: one row an open chunk among the last two of a file, with the ids of the nodes that it is
//!          written to; none if they are not known.
//! node     since level 2: one row a DataNode that ever registered, with what was last known of it; `seen` is when it was
//!          heard of last, as of the last change. One that was forgotten for good keeps a row that only says so.
//! volume   since level 2: one row a volume of those DataNodes.
//! usage    since level 3: one row a directory, with what is below it: files, directories, their bytes (`length`), and bytes
//!          times replicas (`space`, where a chunk being written counts as a full one). Those of deleted trees say nothing.
//! quota    since level 3: one row a directory that has limits: names (itself among them) and space; NULL is no limit.
//! trash    since level 3: one row a directory of which it was said how long what is removed below it is kept, in ms.
//! checkpoint since level 3: one row a directory in a trash whose time is counted: since when, by the group's clock.
//! xattr    since level 3: extended attributes of files and directories.
//! duty     one row a DataNode that is not simply in service: 1 decommission, 2 maintenance until a Unix time.
//! setting  what else administrators decided: see `settings`. What is not there is not set.
//! position how far the replicated log is applied, and the members of the group as of then; one row.
//! counter  next ids and stamps, numbers of files and directories; one row, written once a transaction.
//! ```
//!
//! Statements that run often take a number of rows instead of binding it to `LIMIT`: SQLite plans a statement anew
//! whenever such a parameter is bound.
//!
//! Numbers are unsigned 64-bit values stored as SQLite's signed ones with the same bits. Names compare by bytes.

use std::path::Path;
use std::time::Duration;

use dfs_daemon::Memory;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::counters::Counters;
use super::format::known_level;
use super::inode::{ABOVE_ROOT, kind_number};
use super::position::Position;
use super::usage;
use dfs_types::format::{FIRST_LEVEL, database_version, level_of_database};
use dfs_types::{ClusterId, FileKind, InodeId, Mode};

/// `PRAGMA application_id`: "dfsn".
const APPLICATION: i64 = 0x6466_736e;

/// Page cache of the writer, in KiB: it must hold the inner pages of large trees.
const WRITER_CACHE_KIB: i64 = 64 << 10;
/// Page cache of each reader, in KiB.
const READER_CACHE_KIB: i64 = 16 << 10;
/// Parts of the process's memory that the page cache of one connection may be: with little memory all caches are small.
const CACHE_PARTS: u64 = 32;
/// Pages in SQLite's log after which they are copied into the database (64 MiB): many, as hot pages are then copied
/// once for many commits.
pub(crate) const CHECKPOINT_PAGES: i32 = 16 << 10;
/// The same on a disk with little room (4 MiB).
pub(crate) const CHECKPOINT_PAGES_WITHOUT_ROOM: i32 = 1 << 10;
/// Bytes the log file keeps after a checkpoint: all of it, as overwriting syncs faster than appending.
const LOG_KEEPS_BYTES: i64 = 128 << 20;
/// How long a connection waits for another one's lock; only checkpoints and start-up ever hold one.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Prepared statements kept by a connection; there are about fifty in this module.
const STATEMENTS: usize = 96;

/// The tables as they were at the first level. `PRAGMA user_version` is the level's version.
const TABLES: &str = "
CREATE TABLE inode (
    parent INTEGER NOT NULL,
    name TEXT NOT NULL COLLATE BINARY,
    id INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    owner TEXT NOT NULL,
    grp TEXT NOT NULL,
    mode INTEGER NOT NULL,
    mtime INTEGER NOT NULL,
    atime INTEGER NOT NULL,
    replication INTEGER NOT NULL,
    chunk_size INTEGER NOT NULL,
    length INTEGER NOT NULL,
    children INTEGER NOT NULL,
    open INTEGER NOT NULL,
    below INTEGER NOT NULL,
    PRIMARY KEY (parent, name)
) WITHOUT ROWID;
CREATE UNIQUE INDEX inode_id ON inode (id);
CREATE INDEX inode_directory ON inode (parent) WHERE kind = 1;
CREATE TABLE extent (
    inode INTEGER NOT NULL,
    idx INTEGER NOT NULL,
    chunk INTEGER NOT NULL,
    start INTEGER NOT NULL,
    at INTEGER NOT NULL,
    length INTEGER,
    PRIMARY KEY (inode, idx)
) WITHOUT ROWID;
CREATE INDEX extent_chunk ON extent (chunk);
CREATE TABLE chunk (
    id INTEGER PRIMARY KEY,
    generation INTEGER NOT NULL,
    length INTEGER,
    readable INTEGER NOT NULL,
    recovery INTEGER,
    refs INTEGER NOT NULL,
    layout INTEGER NOT NULL,
    replicas INTEGER NOT NULL
);
CREATE TABLE lease (
    inode INTEGER PRIMARY KEY,
    holder TEXT NOT NULL,
    since INTEGER NOT NULL,
    temporary INTEGER NOT NULL
);
CREATE TABLE retry (
    number INTEGER PRIMARY KEY,
    client BLOB NOT NULL,
    call INTEGER NOT NULL,
    at INTEGER NOT NULL,
    floor INTEGER NOT NULL,
    outcome BLOB NOT NULL
);
CREATE TABLE cluster (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    id BLOB NOT NULL
);
CREATE TABLE lost (
    first INTEGER PRIMARY KEY,
    beyond INTEGER NOT NULL
);
CREATE TABLE member (
    id INTEGER PRIMARY KEY,
    address TEXT NOT NULL
);
CREATE TABLE duty (
    node BLOB PRIMARY KEY,
    kind INTEGER NOT NULL,
    until INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE setting (
    name TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE position (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    applied INTEGER NOT NULL,
    term INTEGER NOT NULL,
    installed INTEGER NOT NULL,
    installed_term INTEGER NOT NULL,
    members BLOB NOT NULL
);
CREATE TABLE counter (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    next_inode INTEGER NOT NULL,
    next_chunk INTEGER NOT NULL,
    next_generation INTEGER NOT NULL,
    files INTEGER NOT NULL,
    directories INTEGER NOT NULL,
    open_files INTEGER NOT NULL,
    garbage INTEGER NOT NULL,
    edits INTEGER NOT NULL,
    next_outcome INTEGER NOT NULL,
    clock INTEGER NOT NULL,
    next_member INTEGER NOT NULL
);
";

/// What fills new tables from those that were there.
type Fill = fn(&Connection) -> rusqlite::Result<()>;

/// What brings the tables from one level to the next: the level reached, and the change. All of them run in the
/// transaction that raises the level, at the same entry of the log on every member.
const STEPS: [(u16, &str, Fill); 2] = [
    (
        2,
        "CREATE TABLE pipeline (
        inode INTEGER NOT NULL,
        chunk INTEGER NOT NULL,
        nodes BLOB NOT NULL,
        PRIMARY KEY (inode, chunk)
    ) WITHOUT ROWID;
    CREATE TABLE node (
        id BLOB PRIMARY KEY,
        host TEXT NOT NULL,
        data_port INTEGER NOT NULL,
        http_port INTEGER NOT NULL,
        location TEXT NOT NULL,
        machine TEXT NOT NULL,
        release TEXT NOT NULL,
        first_seen INTEGER NOT NULL,
        seen INTEGER NOT NULL,
        forgotten INTEGER
    ) WITHOUT ROWID;
    CREATE TABLE volume (
        node BLOB NOT NULL,
        id BLOB NOT NULL,
        path TEXT NOT NULL,
        storage INTEGER NOT NULL,
        capacity INTEGER NOT NULL,
        first_seen INTEGER NOT NULL,
        PRIMARY KEY (node, id)
    ) WITHOUT ROWID;",
        |_| Ok(()),
    ),
    (
        3,
        "ALTER TABLE lease ADD COLUMN inherited INTEGER;
    ALTER TABLE inode ADD COLUMN extras INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE inode ADD COLUMN acl BLOB;
    CREATE TABLE xattr (
        inode INTEGER NOT NULL,
        space INTEGER NOT NULL,
        name TEXT NOT NULL COLLATE BINARY,
        value BLOB NOT NULL,
        PRIMARY KEY (inode, space, name)
    ) WITHOUT ROWID;
    CREATE TABLE usage (
        inode INTEGER PRIMARY KEY,
        files INTEGER NOT NULL,
        directories INTEGER NOT NULL,
        length INTEGER NOT NULL,
        space INTEGER NOT NULL
    );
    CREATE TABLE quota (
        inode INTEGER PRIMARY KEY,
        names INTEGER,
        space INTEGER
    );
    CREATE TABLE trash (
        inode INTEGER PRIMARY KEY,
        keep INTEGER NOT NULL
    );
    CREATE TABLE checkpoint (
        inode INTEGER PRIMARY KEY,
        since INTEGER NOT NULL
    );",
        usage::count_all,
    ),
];

/// Why a database can't be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// SQLite refused; most often the file is damaged.
    #[error(
        "opening the namespace database failed: check the disk, and replace this NameNode \
         (docs/operations/namenodes.md) or restore a backup"
    )]
    Sqlite(#[from] rusqlite::Error),
    /// The file is an SQLite database of something else.
    #[error(
        "the file is not a namespace database (application id {found:#x}): restore the directory from a backup"
    )]
    Foreign {
        /// Its application id.
        found: i64,
    },
    /// What a copy of a database holds makes no sense.
    #[error("the copy of the namespace database can't be used: {0}: take another one")]
    Copy(String),
    /// A page of the database is not what was written.
    #[error(
        "the namespace database is damaged ({0}): replace this NameNode (docs/operations/namenodes.md) or restore a \
         backup"
    )]
    Damaged(String),
    /// The tables are of a version this program does not know.
    #[error(
        "the namespace database has version {found}, and this program (release {release}) knows versions {oldest} to \
         {newest}: start the release that it is from or a later one",
        release = env!("CARGO_PKG_VERSION"),
        oldest = database_version(FIRST_LEVEL),
        newest = database_version(known_level())
    )]
    Version {
        /// Its version.
        found: i64,
    },
    /// The cluster's level is later than what this program knows.
    #[error(
        "the namespace is at feature level {found}, and this program (release {release}) knows levels {FIRST_LEVEL} to \
         {known}: start a release that knows level {found}",
        release = env!("CARGO_PKG_VERSION"),
        known = known_level()
    )]
    Level {
        /// Its level.
        found: u32,
    },
}

/// Makes the tables of an empty namespace in a new file; everything is in the file itself, without a log beside it.
/// `alone` is the only member of a new group; without it another group's leader is waited for. It begins at the highest
/// feature level: further members get all of it as a snapshot.
pub(crate) fn create(path: &Path, cluster: ClusterId, alone: Option<u64>) -> Result<(), Error> {
    create_at(known_level(), path, cluster, alone)
}

/// As [`create`], at a feature level.
pub(crate) fn create_at(
    level: u16,
    path: &Path,
    cluster: ClusterId,
    alone: Option<u64>,
) -> Result<(), Error> {
    let mut connection = Connection::open(path)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(TABLES)?;
    // The owner of the root is the superuser, whom the first leader names: see `adopt_root`.
    transaction.execute(
        "INSERT INTO inode (parent, name, id, kind, owner, grp, mode, mtime, atime, replication, chunk_size, length, \
         children, open, below) VALUES (?1, '', ?2, ?3, '', ?4, ?5, 0, 0, 0, 0, 0, 0, 0, 0)",
        (
            ABOVE_ROOT.0 as i64,
            InodeId::ROOT.0 as i64,
            kind_number(FileKind::Directory),
            dfs_types::names::SUPERGROUP,
            Mode::DIRECTORY.bits(),
        ),
    )?;
    migrate(&transaction, FIRST_LEVEL, level)?;
    Counters::default().save(&transaction)?;
    transaction.execute("INSERT INTO cluster VALUES (1, ?1)", [cluster.as_bytes()])?;
    let position = alone.map_or_else(Position::default, Position::of_new_group);
    position.insert(&transaction)?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.commit()?;
    connection.close().map_err(|(_, error)| Error::Sqlite(error))
}

/// Opens the one connection that writes.
pub(crate) fn open_writer(path: &Path) -> Result<Connection, Error> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    set_up(&connection, WRITER_CACHE_KIB)?;
    check_version(&connection)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // NORMAL: commits are not synced, which the replicated log makes good; checkpoints are, so nothing is ever torn.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "journal_size_limit", LOG_KEEPS_BYTES)?;
    Ok(connection)
}

/// Opens a connection that copies SQLite's log into the database, and does nothing else; the writer's must be open.
pub(crate) fn open_checkpointer(path: &Path) -> Result<Connection, Error> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    set_up(&connection, READER_CACHE_KIB)?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    Ok(connection)
}

/// Opens a connection that reads; the writer's must be open.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, Error> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    set_up(&connection, READER_CACHE_KIB)?;
    Ok(connection)
}

/// The cluster that the namespace is of.
pub(crate) fn cluster(connection: &Connection) -> Result<ClusterId, Error> {
    let id: Vec<u8> = connection.query_row("SELECT id FROM cluster", [], |row| row.get(0))?;
    ClusterId::from_bytes(&id).ok_or_else(|| Error::Damaged("its cluster has no id".to_owned()))
}

/// Looks for damage in every page; takes as long as reading them does.
pub(crate) fn check(connection: &Connection) -> Result<(), Error> {
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" { Ok(()) } else { Err(Error::Damaged(verdict.replace('\n', ", "))) }
}

/// Whether every table and index is as it should be; takes as long as reading all of them.
pub(crate) fn is_sound(connection: &Connection) -> rusqlite::Result<bool> {
    let verdict: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    Ok(verdict == "ok")
}

/// Whether an error tells that the file or its disk is damaged, and not that a statement could not be carried out.
pub(crate) fn is_damage(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, SystemIoFailure};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase | SystemIoFailure))
}

/// Whether an error only tells that the disk has no room: nothing is lost, and the same can be tried again.
pub(crate) fn is_full(error: &rusqlite::Error) -> bool {
    // The second: SQLite's index of its log could not grow.
    const NO_ROOM_FOR_INDEX: i32 = rusqlite::ffi::SQLITE_IOERR_SHMSIZE;
    error.sqlite_error().is_some_and(|error| {
        error.code == rusqlite::ErrorCode::DiskFull || error.extended_code == NO_ROOM_FOR_INDEX
    })
}

/// Gives the root of a new namespace its owner.
pub(crate) fn adopt_root(connection: &Connection, superuser: &str) -> rusqlite::Result<()> {
    connection
        .prepare_cached("UPDATE inode SET owner = ?1 WHERE parent = 0 AND name = '' AND owner = ''")?
        .execute([superuser])?;
    Ok(())
}

fn set_up(connection: &Connection, cache_kib: i64) -> rusqlite::Result<()> {
    let share = Memory::of_process().bytes() / CACHE_PARTS / 1_024;
    let cache_kib = cache_kib.min(i64::try_from(share).unwrap_or(i64::MAX));
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "cache_size", -cache_kib)?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // One plan for all values. Otherwise SQLite looks at the values that are bound, to choose by them what there is no choice
    // of here, and so parses each statement with a LIMIT anew whenever it is used.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(())
}

/// The feature level of the cluster whose namespace it is.
pub(crate) fn level(connection: &Connection) -> rusqlite::Result<u16> {
    let version: i64 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let level = u32::try_from(version).ok().and_then(level_of_database);
    // Looked at when the database was opened.
    level.ok_or(rusqlite::Error::IntegralValueOutOfRange(0, version))
}

/// Refuses what is no namespace database, or one that this program does not know.
pub(crate) fn check_version(connection: &Connection) -> Result<(), Error> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let found = pragma("application_id")?;
    if found != APPLICATION {
        return Err(Error::Foreign { found });
    }
    let found = pragma("user_version")?;
    let first = i64::from(database_version(FIRST_LEVEL));
    if found < first {
        return Err(Error::Version { found });
    }
    if found > i64::from(database_version(known_level())) {
        let above = u32::try_from(found - first).map_err(|_| Error::Version { found })?;
        return Err(Error::Level { found: above.saturating_add(u32::from(FIRST_LEVEL)) });
    }
    Ok(())
}

/// Brings the tables of one level to a later one, within the transaction that is open.
pub(crate) fn migrate(connection: &Connection, from: u16, to: u16) -> rusqlite::Result<()> {
    for (_, change, fill) in STEPS.iter().filter(|(level, ..)| (from + 1..=to).contains(level)) {
        connection.execute_batch(change)?;
        fill(connection)?;
    }
    connection.pragma_update(None, "user_version", database_version(to))
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;

    #[test]
    fn a_statement_is_parsed_once_whatever_is_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("namespace.db");
        create(&path, ClusterId::random(), Some(1)).unwrap();
        let writer = open_writer(&path).unwrap();
        let reader = open_reader(&path).unwrap();
        let page = "SELECT name FROM inode WHERE parent = ?1 AND name > ?2 ORDER BY name LIMIT ?3";
        for connection in [&writer, &reader] {
            for limit in 1..=5 {
                let mut statement = connection.prepare_cached(page).unwrap();
                let names = statement.query_map((limit, "", limit), |row| row.get::<_, String>(0)).unwrap();
                assert_eq!(names.count(), 0);
            }
            let statement = connection.prepare_cached(page).unwrap();
            assert_eq!(statement.get_status(StatementStatus::Run), 5, "it was kept");
            assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
        }
    }
}
