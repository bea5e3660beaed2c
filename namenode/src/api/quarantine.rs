//! Replicas that are kept although this namespace does not know their chunks.

use dfs_types::limits::LIST_PAGE;
use dfs_types::{Caller, ChunkId, Endpoint, ErrorCode, FsError, FsResult, NodeId, QuarantinedChunk};
use tracing::info;

use super::Namenode;

/// Most chunks named in one request.
const MAX_CHUNKS: usize = 100_000;
/// Replicas ordered to be deleted in one turn of the engine.
const SLICE: usize = 10_000;

impl Namenode {
    /// A page of the chunks whose replicas are kept although they are not known, after `after`, ordered by id; and
    /// whether there are more. `limit` 0 and those above the server's page mean the server's page. For superusers.
    pub async fn quarantine(
        &self,
        caller: &Caller,
        after: ChunkId,
        limit: usize,
    ) -> FsResult<(Vec<QuarantinedChunk>, bool)> {
        self.check_superuser(caller)?;
        let limit = if limit == 0 { LIST_PAGE } else { limit.min(LIST_PAGE) };
        self.engine
            .with(move |turn| {
                let (chunks, more) = turn.core.quarantine(after, limit);
                let resolve = |(id, record)| {
                    let at = turn.core.endpoint(id)?.clone();
                    Some((Endpoint { id, at, storage: None }, record))
                };
                let strange = |QuarantinedChunk::<NodeId> { chunk, replicas }| {
                    let replicas = replicas.into_iter().filter_map(resolve).collect();
                    QuarantinedChunk { chunk, replicas }
                };
                (chunks.into_iter().map(strange).collect(), more)
            })
            .await
    }

    /// Orders the replicas of these unknown chunks to be deleted, or with no chunk named those of all of them, as far as
    /// DataNodes have reported them; answers how many. For superusers; refused in safe mode.
    pub async fn delete_quarantined(&self, caller: &Caller, mut chunks: Vec<ChunkId>) -> FsResult<u64> {
        self.check_superuser(caller)?;
        self.check_writable()?;
        if chunks.len() > MAX_CHUNKS {
            return Err(FsError::invalid(format!(
                "the request names {} chunks: at most {MAX_CHUNKS} at a time",
                chunks.len()
            )));
        }
        chunks.sort_unstable();
        chunks.dedup();
        let named = chunks.len();
        let mut ordered = 0;
        loop {
            let chunks = chunks.clone();
            let some = self.engine.with(move |turn| turn.core.delete_quarantined(&chunks, SLICE)).await?;
            ordered += some as u64;
            if some < SLICE {
                break;
            }
        }
        if ordered == 0 && named > 0 {
            return Err(FsError::new(
                ErrorCode::NotFound,
                "no replica of these chunks is quarantined: see `dfs admin quarantine list`",
            ));
        }
        info!(replicas = ordered, chunks = named, user = caller.user, "quarantined replicas are deleted");
        Ok(ordered)
    }
}
