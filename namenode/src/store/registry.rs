//! The tables `node` and `volume`: every DataNode that registered, until an administrator forgets it.

use dfs_namenode_core::{Address, NodeRecord, VolumeRecord};
use dfs_proto::stored;
use dfs_types::{Millis, NodeId, StorageType, VolumeId};
use rusqlite::types::Type;
use rusqlite::{Connection, Error, Row};

use super::column::number;
use super::edit::REGISTRY;
use super::schema;

/// What the namespace knows of a DataNode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownNode {
    /// The node.
    pub id: NodeId,
    /// What it was last, with the Unix time when it was heard of; `None`: an administrator has forgotten it for good.
    pub record: Option<(NodeRecord, Millis)>,
}

/// Numbers are those of `stored.proto`.
fn storage(row: &Row<'_>, index: usize) -> rusqlite::Result<StorageType> {
    let known = stored::StorageType::try_from(row.get::<_, i32>(index)?);
    let unknown = |_| foreign(index, Type::Integer, "a storage type that is not known");
    known.map(StorageType::from).map_err(unknown)
}

fn foreign(index: usize, kind: Type, why: &'static str) -> Error {
    Error::FromSqlConversionFailure(index, kind, why.into())
}

/// Every DataNode that is remembered or was forgotten, ordered by id.
pub(super) fn all(connection: &Connection) -> rusqlite::Result<Vec<KnownNode>> {
    if schema::level(connection)? < REGISTRY {
        return Ok(Vec::new());
    }
    let mut statement = connection.prepare_cached(
        "SELECT id, forgotten, host, data_port, http_port, location, machine, release, seen FROM node ORDER BY id",
    )?;
    let rows = statement.query_map([], |row| {
        let id = NodeId::from_bytes(row.get_ref(0)?.as_blob()?);
        let id = id.ok_or_else(|| foreign(0, Type::Blob, "not a node's id"))?;
        if row.get::<_, Option<i64>>(1)?.is_some() {
            return Ok(KnownNode { id, record: None });
        }
        let address = Address {
            host: row.get(2)?,
            data_port: row.get(3)?,
            http_port: row.get(4)?,
            location: row.get(5)?,
        };
        let volumes = volumes(connection, id)?;
        let record = NodeRecord { address, machine: row.get(6)?, release: row.get(7)?, volumes };
        Ok(KnownNode { id, record: Some((record, Millis(number(row, 8)?))) })
    })?;
    rows.collect()
}

fn volumes(connection: &Connection, node: NodeId) -> rusqlite::Result<Vec<VolumeRecord>> {
    let mut statement = connection
        .prepare_cached("SELECT id, path, storage, capacity FROM volume WHERE node = ?1 ORDER BY path, id")?;
    let rows = statement.query_map([node.as_bytes()], |row| {
        let id = VolumeId::from_bytes(row.get_ref(0)?.as_blob()?);
        Ok(VolumeRecord {
            id: id.ok_or_else(|| foreign(0, Type::Blob, "not a volume's id"))?,
            path: row.get(1)?,
            storage: storage(row, 2)?,
            capacity: number(row, 3)?,
        })
    })?;
    rows.collect()
}
