//! Edits of what is remembered of DataNodes.

use dfs_namenode_core::{Address, Event, NodeRecord, VolumeRecord};
use dfs_proto::stored;
use dfs_types::{ErrorCode, FsError, Millis, NodeDuty, NodeId};
use rusqlite::OptionalExtension;

use super::Step;
use crate::store::edit::{Change, NodeSeen, Outcome};
use crate::store::stop::Stop;

/// Most nodes remembered, as many as have a place in the decisions.
const MAX_NODES: i64 = 1 << 16;
/// Most nodes of which it is known that they were forgotten.
const MAX_FORGOTTEN: i64 = 1 << 16;

impl Step<'_, '_> {
    pub(super) fn record_nodes(&mut self, nodes: &[NodeSeen]) -> Result<Outcome, Stop> {
        self.authority.check_super("recording DataNodes")?;
        let mut room = MAX_NODES - self.count("SELECT count(*) FROM node WHERE forgotten IS NULL")?;
        for NodeSeen { id, record, seen } in nodes {
            match self.is_forgotten(*id)? {
                Some(true) => continue,
                Some(false) => self.record_node(*id, record, *seen)?,
                // Beyond that one is not remembered longer than this NameNode runs, as before there was a registry.
                None if room > 0 => {
                    room -= 1;
                    self.record_node(*id, record, *seen)?;
                }
                None => {}
            }
            self.emit(Change::NodeRecorded { node: *id, record: record.clone(), seen: *seen });
        }
        Ok(Outcome::Done)
    }

    fn record_node(&mut self, id: NodeId, record: &NodeRecord, seen: Millis) -> Result<(), Stop> {
        let NodeRecord { address, machine, release, volumes } = record;
        let Address { host, data_port, http_port, location } = address;
        self.write(
            "INSERT INTO node (id, host, data_port, http_port, location, machine, release, first_seen, seen) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) \
             ON CONFLICT (id) DO UPDATE SET host = ?2, data_port = ?3, http_port = ?4, location = ?5, machine = ?6, \
             release = ?7, seen = ?9",
            (
                id.as_bytes(),
                host,
                data_port,
                http_port,
                location,
                machine,
                release,
                self.now.0 as i64,
                seen.0 as i64,
            ),
        )?;
        self.record_volumes(id, volumes)
    }

    /// A volume that is known already keeps its first time, and its capacity if it has none now.
    fn record_volumes(&mut self, node: NodeId, volumes: &[VolumeRecord]) -> Result<(), Stop> {
        let known: Vec<Vec<u8>> = self
            .connection
            .prepare_cached("SELECT id FROM volume WHERE node = ?1")?
            .query_map([node.as_bytes()], |row| row.get(0))?
            .collect::<rusqlite::Result<_>>()?;
        let is_there =
            |id: &Vec<u8>| volumes.iter().any(|volume| volume.id.as_bytes().as_slice() == id.as_slice());
        for gone in known.iter().filter(|id| !is_there(id)) {
            self.write("DELETE FROM volume WHERE node = ?1 AND id = ?2", (node.as_bytes(), gone))?;
        }
        for VolumeRecord { id, path, storage, capacity } in volumes {
            self.write(
                "INSERT INTO volume (node, id, path, storage, capacity, first_seen) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
                 ON CONFLICT (node, id) DO UPDATE SET path = excluded.path, storage = excluded.storage, \
                 capacity = CASE excluded.capacity WHEN 0 THEN capacity ELSE excluded.capacity END",
                (
                    node.as_bytes(),
                    id.as_bytes(),
                    path,
                    stored::StorageType::from(*storage) as i32,
                    *capacity as i64,
                    self.now.0 as i64,
                ),
            )?;
        }
        Ok(())
    }

    /// What is left says that they are not to come back.
    pub(super) fn forget_nodes(&mut self, nodes: &[NodeId]) -> Result<Outcome, Stop> {
        self.authority.check_super("forgetting DataNodes")?;
        let forgotten = self.count("SELECT count(*) FROM node WHERE forgotten IS NOT NULL")?;
        if forgotten + nodes.len() as i64 > MAX_FORGOTTEN {
            let text = format!(
                "{forgotten} DataNodes are forgotten already: there can't be more than {MAX_FORGOTTEN}"
            );
            return Err(FsError::new(ErrorCode::NoSpace, text).into());
        }
        for id in nodes {
            self.write("DELETE FROM volume WHERE node = ?1", [id.as_bytes()])?;
            self.write(
                "INSERT OR REPLACE INTO node (id, host, data_port, http_port, location, machine, release, first_seen, \
                 seen, forgotten) VALUES (?1, '', 0, 0, '', '', '', 0, 0, ?2)",
                (id.as_bytes(), self.now.0 as i64),
            )?;
            if self.write("DELETE FROM duty WHERE node = ?1", [id.as_bytes()])? == 1 {
                self.emit(Change::DutySet { node: *id, duty: NodeDuty::InService });
            }
            self.emit(Event::NodeForgotten { node: *id });
        }
        Ok(Outcome::Done)
    }

    fn count(&self, sql: &str) -> Result<i64, Stop> {
        Ok(self.connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?)
    }

    /// Whether a node was forgotten; `None` if it was never recorded.
    fn is_forgotten(&self, id: NodeId) -> Result<Option<bool>, Stop> {
        let forgotten = self
            .connection
            .prepare_cached("SELECT forgotten IS NOT NULL FROM node WHERE id = ?1")?
            .query_row([id.as_bytes()], |row| row.get(0))
            .optional()?;
        Ok(forgotten)
    }
}
