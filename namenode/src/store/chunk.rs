//! One row of the table `chunk`, and how rows are found.

use dfs_types::{ChunkId, GenStamp, InodeId};
use rusqlite::{Connection, OptionalExtension, Row};

use super::inode::number;

/// A chunk of a file as the database has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Number within the file, from 0.
    pub index: u64,
    /// Its id.
    pub id: ChunkId,
    /// Its version.
    pub generation: GenStamp,
    /// Where in the file it begins, in bytes; fixed, as the chunks before it have their lengths.
    pub start: u64,
    /// Its length; `None` while it is being written.
    pub length: Option<u64>,
    /// Bytes readers may count on; the length once that is known.
    pub readable: u64,
    /// The stamp its recovery runs under, if one does.
    pub recovery: Option<GenStamp>,
}

/// The columns of `chunk` in the order of [`Chunk::from_row`].
macro_rules! chunk_columns {
    () => {
        "idx, id, generation, start, length, readable, recovery"
    };
}
pub(crate) use chunk_columns;

impl Chunk {
    /// Reads a row of [`chunk_columns`].
    pub(crate) fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            index: number(row, 0)?,
            id: ChunkId(number(row, 1)?),
            generation: GenStamp(number(row, 2)?),
            start: number(row, 3)?,
            length: row.get::<_, Option<i64>>(4)?.map(|length| length as u64),
            readable: number(row, 5)?,
            recovery: row.get::<_, Option<i64>>(6)?.map(|stamp| GenStamp(stamp as u64)),
        })
    }

    /// The last chunks of a file, at most two, the last one first.
    pub(crate) fn last_two(connection: &Connection, inode: InodeId) -> rusqlite::Result<Vec<Self>> {
        connection
            .prepare_cached(concat!(
                "SELECT ",
                chunk_columns!(),
                " FROM chunk WHERE inode = ?1 ORDER BY idx DESC LIMIT 2"
            ))?
            .query_map([inode.0 as i64], Self::from_row)?
            .collect()
    }

    /// The last chunk of a file.
    pub(crate) fn last(connection: &Connection, inode: InodeId) -> rusqlite::Result<Option<Self>> {
        connection
            .prepare_cached(concat!(
                "SELECT ",
                chunk_columns!(),
                " FROM chunk WHERE inode = ?1 ORDER BY idx DESC LIMIT 1"
            ))?
            .query_row([inode.0 as i64], Self::from_row)
            .optional()
    }

    /// The chunk of a number within a file.
    pub(crate) fn at(connection: &Connection, inode: InodeId, index: u64) -> rusqlite::Result<Option<Self>> {
        connection
            .prepare_cached(concat!(
                "SELECT ",
                chunk_columns!(),
                " FROM chunk WHERE inode = ?1 AND idx = ?2"
            ))?
            .query_row((inode.0 as i64, index as i64), Self::from_row)
            .optional()
    }

    /// The file a chunk belongs to, and its number there.
    pub(crate) fn owner(connection: &Connection, id: ChunkId) -> rusqlite::Result<Option<(InodeId, u64)>> {
        connection
            .prepare_cached("SELECT inode, idx FROM chunk WHERE id = ?1")?
            .query_row([id.0 as i64], |row| Ok((InodeId(number(row, 0)?), number(row, 1)?)))
            .optional()
    }

    /// Where in the file it ends for readers, in bytes.
    pub(crate) fn end(&self) -> u64 {
        self.start.saturating_add(self.readable)
    }
}
