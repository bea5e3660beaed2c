//! Numbers that belong to the whole namespace.

use dfs_types::{ChunkId, GenStamp};
use rusqlite::Connection;

use crate::store::directory::FIRST_MEMBER;
use crate::store::inode::{FIRST_INODE, number};

/// Counters as of the last edit; part of the database, written once a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counters {
    /// Id of the next inode.
    pub next_inode: u64,
    /// Id of the next chunk.
    pub next_chunk: u64,
    /// The next generation stamp.
    pub next_generation: u64,
    /// Files, those of deleted trees included until they are reaped.
    pub files: u64,
    /// Directories, those of deleted trees included until they are reaped.
    pub directories: u64,
    /// Files being written.
    pub open_files: u64,
    /// Deleted trees that wait to be reaped.
    pub garbage: u64,
    /// Edits that changed something.
    pub edits: u64,
    /// Number of the next outcome kept for retries.
    pub next_outcome: u64,
    /// Time in milliseconds that the group has had a leader: the age of outcomes kept for retries, which no wrong clock
    /// can change.
    pub clock: u64,
    /// Id of the next NameNode that joins the group.
    pub next_member: u64,
}

impl Default for Counters {
    /// Those of an empty namespace, which has a root directory.
    fn default() -> Self {
        Self {
            next_inode: FIRST_INODE.0,
            next_chunk: ChunkId::FIRST.0,
            next_generation: GenStamp::FIRST.0,
            files: 0,
            directories: 1,
            open_files: 0,
            garbage: 0,
            edits: 0,
            next_outcome: 1,
            clock: 0,
            next_member: FIRST_MEMBER + 1,
        }
    }
}

impl Counters {
    /// Reads them.
    pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut statement = connection.prepare(
            "SELECT next_inode, next_chunk, next_generation, files, directories, open_files, garbage, edits, next_outcome, \
             clock, next_member FROM counter",
        )?;
        statement.query_row([], |row| {
            Ok(Self {
                next_inode: number(row, 0)?,
                next_chunk: number(row, 1)?,
                next_generation: number(row, 2)?,
                files: number(row, 3)?,
                directories: number(row, 4)?,
                open_files: number(row, 5)?,
                garbage: number(row, 6)?,
                edits: number(row, 7)?,
                next_outcome: number(row, 8)?,
                clock: number(row, 9)?,
                next_member: number(row, 10)?,
            })
        })
    }

    /// Writes them.
    pub(crate) fn save(self, connection: &Connection) -> rusqlite::Result<()> {
        let Self {
            next_inode,
            next_chunk,
            next_generation,
            files,
            directories,
            open_files,
            garbage,
            edits,
            next_outcome,
            clock,
            next_member,
        } = self;
        let values = [
            next_inode,
            next_chunk,
            next_generation,
            files,
            directories,
            open_files,
            garbage,
            edits,
            next_outcome,
            clock,
            next_member,
        ];
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO counter (only, next_inode, next_chunk, next_generation, files, directories, \
                 open_files, garbage, edits, next_outcome, clock, next_member) \
                 VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
            )?
            .execute(values.map(|value| value as i64))?;
        Ok(())
    }
}
