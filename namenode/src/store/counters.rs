//! Numbers that belong to the whole namespace.

use dfs_types::{ChunkId, GenStamp};
use rusqlite::Connection;

use crate::store::column::number;
use crate::store::inode::FIRST_INODE;

/// The id of the first NameNode of a new group.
pub(crate) const FIRST_MEMBER: u64 = 1;

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

/// The columns of `counter` in the order of [`Counters::columns`].
macro_rules! counter_columns {
    () => {
        "next_inode, next_chunk, next_generation, files, directories, open_files, garbage, edits, next_outcome, clock, \
         next_member"
    };
}

impl Counters {
    fn columns(&mut self) -> [&mut u64; 11] {
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
        [
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
        ]
    }

    /// Reads them.
    pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut statement = connection.prepare(concat!("SELECT ", counter_columns!(), " FROM counter"))?;
        statement.query_row([], |row| {
            let mut counters = Self::default();
            for (column, value) in counters.columns().into_iter().enumerate() {
                *value = number(row, column)?;
            }
            Ok(counters)
        })
    }

    /// Writes them.
    pub(crate) fn save(mut self, connection: &Connection) -> rusqlite::Result<()> {
        connection
            .prepare_cached(concat!(
                "INSERT OR REPLACE INTO counter (only, ",
                counter_columns!(),
                ") VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)"
            ))?
            .execute(self.columns().map(|value| *value as i64))?;
        Ok(())
    }
}
