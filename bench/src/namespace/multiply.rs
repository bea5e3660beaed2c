//! A large namespace out of a smaller one: its rows again, with other names and ids.
//!
//! Making ten million files takes thirty million edits, half an hour of two processors; what is measured is how a NameNode
//! starts with them. Each further part has the rows that the same edits would have left: directories with the next numbers
//! at the root, and inodes, chunks and generations that go on where those before end.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use dfs_types::InodeId;
use rusqlite::{Connection, params};

/// The namespace database within a NameNode's directory.
const DATABASE: &str = "namespace.db";

/// What there is once, and is to be there several times.
struct Part {
    root: i64,
    /// The first inode below the root, and how many there are.
    first_inode: i64,
    inodes: i64,
    chunks: i64,
    directories: i64,
}

impl Part {
    fn of(database: &Connection) -> Result<Self> {
        let root = i64::try_from(InodeId::ROOT.0)?;
        let (next_inode, chunks, directories) = database.query_row(
            "SELECT next_inode, (SELECT count(*) FROM chunk), (SELECT count(*) FROM inode WHERE parent = ?1) FROM counter",
            [root],
            |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?)),
        )?;
        let first_inode = root + 1;
        Ok(Self { root, first_inode, inodes: next_inode - first_inode, chunks, directories })
    }

    /// Adds the rows of this part for the `nth` time, counted from 1.
    fn add(&self, database: &Connection, nth: i64) -> Result<()> {
        let (inodes, chunks) = (nth * self.inodes, nth * self.chunks);
        let end = self.first_inode + self.inodes;
        database.execute(
            "INSERT INTO inode SELECT ?1, 'd' || (CAST(substr(name, 2) AS INTEGER) + ?2), id + ?3, kind, owner, grp, mode, \
             mtime, atime, replication, chunk_size, length, children, open, below, extras, acl FROM inode \
             WHERE parent = ?1 AND id < ?4",
            params![self.root, nth * self.directories, inodes, end],
        )?;
        database.execute(
            "INSERT INTO inode SELECT parent + ?1, name, id + ?1, kind, owner, grp, mode, mtime, atime, replication, \
             chunk_size, length, children, open, below, extras, acl FROM inode WHERE parent >= ?2 AND parent < ?3",
            params![inodes, self.first_inode, end],
        )?;
        database.execute(
            "INSERT INTO usage SELECT inode + ?1, files, directories, length, space FROM usage \
             WHERE inode >= ?2 AND inode < ?3",
            params![inodes, self.first_inode, end],
        )?;
        database.execute(
            "INSERT INTO extent SELECT inode + ?1, idx, chunk + ?2, start, at, length FROM extent WHERE inode < ?3",
            params![inodes, chunks, end],
        )?;
        database.execute(
            "INSERT INTO chunk SELECT id + ?1, generation + ?1, length, readable, recovery, refs, layout, replicas \
             FROM chunk WHERE id < (SELECT min(id) FROM chunk) + ?2",
            params![chunks, self.chunks],
        )?;
        Ok(())
    }

    /// Brings the sums up to date.
    fn count(&self, database: &Connection, times: i64) -> Result<()> {
        let more = times - 1;
        database.execute(
            "UPDATE counter SET next_inode = next_inode + ?1 * ?2, next_chunk = next_chunk + ?1 * ?3, \
             next_generation = next_generation + ?1 * ?3, files = files * ?4, \
             directories = directories + ?1 * ?5",
            params![more, self.inodes, self.chunks, times, self.directories],
        )?;
        database.execute(
            "UPDATE inode SET children = children + ?1 * ?2 WHERE id = ?3",
            params![more, self.directories, self.root],
        )?;
        database.execute(
            "UPDATE usage SET files = files * ?1, directories = directories * ?1, length = length * ?1, \
             space = space * ?1 WHERE inode = ?2",
            params![times, self.root],
        )?;
        Ok(())
    }
}

/// Makes the namespace in the directory of a NameNode that is not running so many times as large.
pub(crate) fn multiply(directory: &Path, times: u64) -> Result<()> {
    let mut database =
        Connection::open(directory.join(DATABASE)).context("opening the namespace database")?;
    database.pragma_update(None, "synchronous", "OFF")?;
    database.pragma_update(None, "cache_size", -(512 << 10))?;
    let part = Part::of(&database)?;
    let times = i64::try_from(times)?;
    for nth in 1..times {
        let transaction = database.transaction()?;
        part.add(&transaction, nth)?;
        transaction.commit()?;
    }
    let transaction = database.transaction()?;
    part.count(&transaction, times)?;
    transaction.commit()?;
    let chunks: i64 = database.query_row("SELECT count(*) FROM chunk", [], |row| row.get(0))?;
    ensure!(chunks == times * part.chunks, "there are {chunks} chunks instead of {}", times * part.chunks);
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    Ok(())
}
