//! Outcomes kept for retries of the same request.

use std::collections::{BTreeMap, HashMap};

use dfs_types::limits::RETRY_TTL;
use dfs_types::{CallId, ClientId, RequestId};
use rusqlite::types::Type;
use rusqlite::{Connection, Row};

use super::Step;
use crate::store::edit::{Edit, Outcome};
use crate::store::inode::number;
use crate::store::stop::Stop;

/// Every so many-th edit purges old outcomes, which spares the other edits the statement.
const PURGE_EVERY: u64 = 64;
/// Most outcomes purged at a time; more than [`PURGE_EVERY`], so that purging keeps up with any rate of edits.
const PURGE_LIMIT: usize = 4 * PURGE_EVERY as usize;

/// Which row of `retry` has the outcome of which request. In memory only: requests come from many clients in turn, so an
/// index in the database would have every edit change a page of its own. A second of 10,000 edits takes some 300 KiB, for
/// [`RETRY_TTL`].
#[derive(Debug, Default)]
pub(super) struct Kept {
    rows: HashMap<ClientId, BTreeMap<CallId, u64>>,
}

impl Kept {
    /// Reads where they all are.
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let mut kept = Self::default();
        let mut statement = connection.prepare("SELECT number, client, call FROM retry ORDER BY number")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            kept.insert(request(row)?, number(row, 0)?);
        }
        Ok(kept)
    }

    fn get(&self, request: RequestId) -> Option<u64> {
        self.rows.get(&request.client)?.get(&request.call).copied()
    }

    fn insert(&mut self, request: RequestId, number: u64) {
        self.rows.entry(request.client).or_default().insert(request.call, number);
    }

    fn remove(&mut self, request: RequestId) {
        let Some(calls) = self.rows.get_mut(&request.client) else { return };
        calls.remove(&request.call);
        if calls.is_empty() {
            self.rows.remove(&request.client);
        }
    }
}

/// Columns 1 and 2 of a row.
fn request(row: &Row<'_>) -> rusqlite::Result<RequestId> {
    let client = row.get_ref(1)?.as_blob()?;
    let client = ClientId::from_bytes(client).ok_or_else(|| {
        rusqlite::Error::FromSqlConversionFailure(1, Type::Blob, "a client's id has 16 bytes".into())
    })?;
    Ok(RequestId { client, call: CallId(number(row, 2)?) })
}

/// Whether running the edit twice, with others' edits in between, differs from running it once.
pub(super) fn is_kept(edit: &Edit) -> bool {
    match edit {
        Edit::Mkdir { .. }
        | Edit::Create { .. }
        | Edit::AddChunk { .. }
        | Edit::AbandonChunk { .. }
        | Edit::NewGeneration { .. }
        | Edit::UpdatePipeline { .. }
        | Edit::Rename { .. }
        | Edit::Delete { .. }
        | Edit::SetReplication { .. }
        | Edit::SetMode { .. }
        | Edit::SetOwner { .. }
        | Edit::SetTimes { .. }
        | Edit::SetNodeDuty { .. }
        | Edit::SetBalancer { .. }
        | Edit::SetSafeMode { .. } => true,
        Edit::CommitLength { .. }
        | Edit::CommitChunk { .. }
        | Edit::Complete { .. }
        | Edit::BeginRecovery { .. }
        | Edit::CommitRecovery { .. }
        | Edit::Reap { .. }
        | Edit::EndBalancer { .. } => false,
    }
}

impl Step<'_, '_> {
    /// The outcome of an earlier try.
    pub(super) fn outcome_of(&self, request: RequestId) -> Result<Option<Outcome>, Stop> {
        let Some(number) = self.kept.get(request) else { return Ok(None) };
        let outcome = self
            .connection
            .prepare_cached("SELECT outcome FROM retry WHERE number = ?1")?
            .query_row([number as i64], |row| {
                let bytes = row.get_ref(0)?.as_blob()?;
                postcard::from_bytes(bytes).map_err(|error| {
                    rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, Box::new(error))
                })
            })?;
        Ok(Some(outcome))
    }

    /// Stores the outcome of an edit that succeeded.
    pub(super) fn keep_for_retries(&mut self, request: RequestId, outcome: &Outcome) -> Result<(), Stop> {
        let bytes = postcard::to_stdvec(outcome)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))?;
        let number = self.counters.next_outcome;
        self.counters.next_outcome += 1;
        self.write(
            "INSERT INTO retry (number, client, call, at, outcome) VALUES (?1, ?2, ?3, ?4, ?5)",
            (
                number as i64,
                request.client.as_bytes(),
                request.call.0 as i64,
                self.counters.clock as i64,
                bytes,
            ),
        )?;
        self.kept.insert(request, number);
        Ok(())
    }

    /// Forgets some outcomes that are too old for retries, if it is this edit's turn.
    pub(super) fn purge_old_outcomes(&mut self) -> Result<(), Stop> {
        if !self.counters.edits.is_multiple_of(PURGE_EVERY) {
            return Ok(());
        }
        let oldest_kept = self.counters.clock.saturating_sub(RETRY_TTL.as_millis() as u64);
        let mut last = None;
        {
            // The oldest are at the front, so only they are looked at.
            let mut statement = self
                .connection
                .prepare_cached("SELECT number, client, call, at FROM retry ORDER BY number")?;
            let mut rows = statement.query([])?;
            for _ in 0..PURGE_LIMIT {
                let Some(row) = rows.next()? else { break };
                if number(row, 3)? >= oldest_kept {
                    break;
                }
                self.kept.remove(request(row)?);
                last = Some(number(row, 0)?);
            }
        }
        if let Some(last) = last {
            self.write("DELETE FROM retry WHERE number <= ?1", [last as i64])?;
        }
        Ok(())
    }
}
