//! The table `pipeline`: every node that the last chunks of an open file are, or were, written to.

use dfs_types::{ChunkId, InodeId, NodeId};
use rusqlite::types::Type;
use rusqlite::{Connection, Error, OptionalExtension};

use super::column::number;
use super::edit::PIPELINES;
use super::schema;

/// Bytes of a node's id.
const ID: usize = 16;

/// Ids as they are stored, one after the other.
pub(crate) fn packed(nodes: &[NodeId]) -> Vec<u8> {
    nodes.iter().flat_map(NodeId::as_bytes).copied().collect()
}

/// The nodes that each of a file's last chunks is written to, as far as they are known.
pub(crate) fn of_file(
    connection: &Connection,
    file: InodeId,
) -> rusqlite::Result<Vec<(ChunkId, Vec<NodeId>)>> {
    if schema::level(connection)? < PIPELINES {
        return Ok(Vec::new());
    }
    connection
        .prepare_cached("SELECT chunk, nodes FROM pipeline WHERE inode = ?1")?
        .query_map([file.0 as i64], |row| {
            Ok((ChunkId(number(row, 0)?), unpacked(row.get_ref(1)?.as_blob()?)?))
        })?
        .collect()
}

/// A file that is open, or waits to be closed, and was written to one of these nodes.
pub(crate) fn written_to(connection: &Connection, nodes: &[NodeId]) -> rusqlite::Result<Option<InodeId>> {
    if schema::level(connection)? < PIPELINES {
        return Ok(None);
    }
    let mut statement = connection.prepare_cached("SELECT inode, nodes FROM pipeline")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if unpacked(row.get_ref(1)?.as_blob()?)?.iter().any(|node| nodes.contains(node)) {
            return Ok(Some(InodeId(number(row, 0)?)));
        }
    }
    Ok(None)
}

/// The nodes that a chunk is written to, if they are known; only at a level that has them.
pub(crate) fn of_chunk(
    connection: &Connection,
    file: InodeId,
    chunk: ChunkId,
) -> rusqlite::Result<Option<Vec<NodeId>>> {
    connection
        .prepare_cached("SELECT chunk, nodes FROM pipeline WHERE inode = ?1 AND chunk = ?2")?
        .query_row((file.0 as i64, chunk.0 as i64), |row| unpacked(row.get_ref(1)?.as_blob()?))
        .optional()
}

fn unpacked(bytes: &[u8]) -> rusqlite::Result<Vec<NodeId>> {
    let foreign = || Error::FromSqlConversionFailure(1, Type::Blob, "not the ids of nodes".into());
    let (ids, rest) = bytes.as_chunks::<ID>();
    if !rest.is_empty() {
        return Err(foreign());
    }
    ids.iter().map(|id| NodeId::from_bytes(id).ok_or_else(foreign)).collect()
}
