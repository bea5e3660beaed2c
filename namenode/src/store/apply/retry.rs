//! Outcomes kept for retries of the same request.

use dfs_types::RequestId;
use dfs_types::limits::RETRY_TTL;
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension};

use super::Step;
use crate::store::edit::{Edit, Outcome};
use crate::store::stop::Stop;

/// Every so many-th edit purges old outcomes, which spares the other edits the statement.
const PURGE_EVERY: u64 = 64;
/// Most outcomes purged at a time; more than [`PURGE_EVERY`], so that purging keeps up with any rate of edits.
const PURGE_LIMIT: i64 = 4 * PURGE_EVERY as i64;

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

/// The outcome of an earlier try.
pub(super) fn find(connection: &Connection, request: RequestId) -> Result<Option<Outcome>, Stop> {
    let kept = connection
        .prepare_cached("SELECT outcome FROM retry WHERE client = ?1 AND call = ?2")?
        .query_row((request.client.as_bytes(), request.call.0 as i64), |row| {
            let bytes = row.get_ref(0)?.as_blob()?;
            postcard::from_bytes(bytes)
                .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, Box::new(error)))
        })
        .optional()?;
    Ok(kept)
}

impl Step<'_> {
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
        Ok(())
    }

    /// Forgets some outcomes that are too old for retries, if it is this edit's turn.
    pub(super) fn purge_old_outcomes(&mut self) -> Result<(), Stop> {
        if !self.counters.edits.is_multiple_of(PURGE_EVERY) {
            return Ok(());
        }
        let oldest_kept = self.counters.clock.saturating_sub(RETRY_TTL.as_millis() as u64);
        self.write(
            // The oldest are at the front, so only they are looked at.
            "DELETE FROM retry WHERE number IN \
             (SELECT number FROM (SELECT number, at FROM retry ORDER BY number LIMIT ?2) WHERE at < ?1)",
            (oldest_kept as i64, PURGE_LIMIT),
        )?;
        Ok(())
    }
}
