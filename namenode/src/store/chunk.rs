//! Rows of the tables `extent` and `chunk`, and how they are found.

use dfs_types::{ChunkId, GenStamp, InodeId, Layout};
use rusqlite::types::Type;
use rusqlite::{Connection, Error, OptionalExtension, Row};

use super::column::number;

/// A chunk as one of a file's extents shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// Number of the extent within the file, from 0.
    pub index: u64,
    /// The chunk's id.
    pub id: ChunkId,
    /// Its version.
    pub generation: GenStamp,
    /// Where in the file the extent begins, in bytes; fixed, as those before it have their lengths.
    pub start: u64,
    /// Where in the chunk it begins, in bytes.
    pub at: u64,
    /// Its length; `None` while it is being written.
    pub length: Option<u64>,
    /// Bytes of it that readers may count on; the length once that is known.
    pub readable: u64,
    /// Bytes of the whole chunk, of which the extent may show a part; `None` while it is being written.
    pub whole: Option<u64>,
    /// The stamp the chunk's recovery runs under, if one does.
    pub recovery: Option<GenStamp>,
    /// How the chunk's bytes lie.
    pub layout: Layout,
}

/// The columns of a file's extents `e` with their chunks `c`, in the order of [`Chunk::from_row`], and the tables.
macro_rules! chunk_columns {
    () => {
        "e.idx, c.id, c.generation, e.start, e.at, coalesce(e.length, c.length - e.at), \
         coalesce(e.length, c.readable - e.at), c.recovery, c.layout, c.replicas, c.length \
         FROM extent e CROSS JOIN chunk c ON c.id = e.chunk"
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
            at: number(row, 4)?,
            length: row.get::<_, Option<i64>>(5)?.map(|length| length as u64),
            readable: number(row, 6)?,
            recovery: row.get::<_, Option<i64>>(7)?.map(|stamp| GenStamp(stamp as u64)),
            layout: layout(row, 8)?,
            whole: row.get::<_, Option<i64>>(10)?.map(|length| length as u64),
        })
    }

    /// The last chunks of a file, at most two, the last one first.
    pub(crate) fn last_two(connection: &Connection, inode: InodeId) -> rusqlite::Result<Vec<Self>> {
        connection
            .prepare_cached(concat!(
                "SELECT ",
                chunk_columns!(),
                " WHERE e.inode = ?1 ORDER BY e.idx DESC LIMIT 2"
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
                " WHERE e.inode = ?1 ORDER BY e.idx DESC LIMIT 1"
            ))?
            .query_row([inode.0 as i64], Self::from_row)
            .optional()
    }

    /// The chunk of a number within a file.
    pub(crate) fn at(connection: &Connection, inode: InodeId, index: u64) -> rusqlite::Result<Option<Self>> {
        connection
            .prepare_cached(concat!("SELECT ", chunk_columns!(), " WHERE e.inode = ?1 AND e.idx = ?2"))?
            .query_row((inode.0 as i64, index as i64), Self::from_row)
            .optional()
    }

    /// What a file shows of a chunk.
    pub(crate) fn of(connection: &Connection, inode: InodeId, id: ChunkId) -> rusqlite::Result<Option<Self>> {
        connection
            .prepare_cached(concat!("SELECT ", chunk_columns!(), " WHERE e.inode = ?1 AND e.chunk = ?2"))?
            .query_row((inode.0 as i64, id.0 as i64), Self::from_row)
            .optional()
    }

    /// A file that a chunk belongs to, the oldest if there are several, and its number there. One that is still written
    /// belongs to one file.
    pub(crate) fn owner(connection: &Connection, id: ChunkId) -> rusqlite::Result<Option<(InodeId, u64)>> {
        connection
            .prepare_cached("SELECT inode, idx FROM extent WHERE chunk = ?1 ORDER BY inode, idx LIMIT 1")?
            .query_row([id.0 as i64], |row| Ok((InodeId(number(row, 0)?), number(row, 1)?)))
            .optional()
    }

    /// Where in the file it ends for readers, in bytes.
    pub(crate) fn end(&self) -> u64 {
        self.start.saturating_add(self.readable)
    }
}

/// The layout in the columns `layout` and `replicas` from `index` on.
pub(crate) fn layout(row: &Row<'_>, index: usize) -> rusqlite::Result<Layout> {
    let unknown =
        || Error::FromSqlConversionFailure(index, Type::Integer, "a layout that is not known".into());
    Layout::from_stored(row.get(index)?, row.get(index + 1)?).ok_or_else(unknown)
}
