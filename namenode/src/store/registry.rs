//! The tables `node` and `volume`: every DataNode that registered, until an administrator forgets it.

use dfs_namenode_core::{Address, NodeRecord, VolumeRecord};
use dfs_types::{Millis, NodeId, StorageType, VolumeId};
use rusqlite::types::Type;
use rusqlite::{Connection, Error, Row};

use super::edit::REGISTRY;
use super::inode::number;
use super::schema;

/// What the namespace knows of a DataNode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownNode {
    /// The node.
    pub id: NodeId,
    /// What it was last, with the Unix time when it was heard of; `None`: an administrator has forgotten it for good.
    pub record: Option<(NodeRecord, Millis)>,
}

/// A storage type's number in the tables; 3 is kept for `PROVIDED`.
pub(super) const fn storage_number(storage: StorageType) -> u8 {
    match storage {
        StorageType::Disk => 0,
        StorageType::Ssd => 1,
        StorageType::Archive => 2,
    }
}

fn storage(row: &Row<'_>, index: usize) -> rusqlite::Result<StorageType> {
    let stored: u8 = row.get(index)?;
    let known = StorageType::ALL.into_iter().find(|storage| storage_number(*storage) == stored);
    known.ok_or_else(|| foreign(index, Type::Integer, "a storage type that is not known"))
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
