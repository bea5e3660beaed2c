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
    fn named(&mut self) -> [(&'static str, &mut u64); 11] {
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
            ("next_inode", next_inode),
            ("next_chunk", next_chunk),
            ("next_generation", next_generation),
            ("files", files),
            ("directories", directories),
            ("open_files", open_files),
            ("garbage", garbage),
            ("edits", edits),
            ("next_outcome", next_outcome),
            ("clock", clock),
            ("next_member", next_member),
        ]
    }

    /// Reads them; a missing one is an error.
    pub(crate) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut counters = Self::default();
        let mut statement = connection.prepare_cached("SELECT value FROM counter WHERE name = ?1")?;
        for (name, value) in counters.named() {
            *value = statement.query_row([name], |row| number(row, 0))?;
        }
        Ok(counters)
    }

    /// Writes all of them.
    pub(crate) fn save(mut self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement =
            connection.prepare_cached("INSERT OR REPLACE INTO counter (name, value) VALUES (?1, ?2)")?;
        for (name, value) in self.named() {
            statement.execute((name, *value as i64))?;
        }
        Ok(())
    }

    /// Writes those that differ from `before`.
    pub(crate) fn save_changed(mut self, mut before: Self, connection: &Connection) -> rusqlite::Result<()> {
        let mut statement = connection.prepare_cached("UPDATE counter SET value = ?2 WHERE name = ?1")?;
        for ((name, value), (_, old)) in self.named().into_iter().zip(before.named()) {
            if value != old {
                statement.execute((name, *value as i64))?;
            }
        }
        Ok(())
    }
}
