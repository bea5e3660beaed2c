//! Lease recovery as the primary: which replicas of a chunk without a writer are right, and how long they are.

use std::sync::Arc;

use dfs_types::{
    ChunkId, Endpoint, ErrorCode, FsError, FsResult, GenStamp, NodeId, ReplicaRecord, ReplicaState,
};
use futures_util::future::join_all;
use tracing::{info, warn};

use crate::session::write::Context;

/// What the holders agree on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Agreement {
    /// Bytes of the chunk.
    pub(crate) length: u64,
    /// The holders that finalized it; none if no replica had a byte.
    pub(crate) holders: Vec<NodeId>,
}

/// The holders (by position in `replicas`) that take part, and the length they are cut to.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Choice {
    length: u64,
    participants: Vec<usize>,
}

/// Chooses as HDFS does, among replicas that have what was acknowledged; shorter ones have lost something and take no part.
/// Only the newest generation of them counts: a chunk's bytes never change, so what was acknowledged under a later
/// generation is in any replica that is long enough.
/// A finalized replica's length is the chunk's; without one, everything acknowledged is in every replica that was being
/// written, so the shortest of them has it all. Replicas that waited since a restart count only among themselves: a
/// crash may have taken acknowledged bytes from some of them, while the writer's own checksums prove each one's length
/// from its first byte on, so the longest are right. `None`: there is no usable replica.
fn choose(replicas: &[ReplicaRecord], acknowledged: u64) -> Option<Choice> {
    let usable =
        |replica: &&ReplicaRecord| replica.state != ReplicaState::Corrupt && replica.length >= acknowledged;
    let generation = replicas.iter().filter(usable).map(|replica| replica.generation).max()?;
    let current = |state: ReplicaState| {
        replicas.iter().enumerate().filter(move |(_, replica)| {
            replica.generation == generation && replica.state == state && replica.length >= acknowledged
        })
    };
    // A shorter finalized replica of the same generation has lost something.
    if let Some(length) = current(ReplicaState::Finalized).map(|(_, replica)| replica.length).max() {
        let complete = current(ReplicaState::Finalized).chain(current(ReplicaState::Rbw));
        let participants =
            complete.filter(|(_, replica)| replica.length == length).map(|(position, _)| position).collect();
        return Some(Choice { length, participants });
    }
    if let Some(length) = current(ReplicaState::Rbw).map(|(_, replica)| replica.length).min() {
        let participants = current(ReplicaState::Rbw).map(|(position, _)| position).collect();
        return Some(Choice { length, participants });
    }
    let length = current(ReplicaState::Rwr).map(|(_, replica)| replica.length).max()?;
    let longest = current(ReplicaState::Rwr).filter(|(_, replica)| replica.length == length);
    Some(Choice { length, participants: longest.map(|(position, _)| position).collect() })
}

/// Stops the writers at all holders, agrees on the length, and finalizes the replicas under the new generation. If no
/// holder has all that was acknowledged, no replica is changed: one that has it may still come back.
pub(crate) async fn recover(
    context: &Context,
    chunk: ChunkId,
    new_generation: GenStamp,
    acknowledged: u64,
    holders: &[Endpoint],
) -> FsResult<Agreement> {
    let prepared =
        join_all(holders.iter().map(|holder| prepare(context, chunk, new_generation, holder))).await;
    let mut silent = None;
    let mut present = Vec::new();
    for (holder, replica) in holders.iter().zip(prepared) {
        match replica {
            Ok(Some(replica)) => present.push((holder, replica)),
            Ok(None) => {}
            Err(error) => {
                warn!(%chunk, %holder, %error, "holder takes no part in the recovery");
                silent = Some(error);
            }
        }
    }
    let replicas: Vec<_> = present.iter().map(|(_, replica)| *replica).collect();
    let Some(Choice { length, participants }) = choose(&replicas, acknowledged) else {
        // Only if every holder says that it has nothing is there nothing.
        return match (silent, replicas.is_empty()) {
            (None, true) => Ok(Agreement { length: 0, holders: Vec::new() }),
            (Some(error), true) => Err(error),
            (_, false) => {
                let why = format!(
                    "none of the {} replicas of chunk {chunk} that answered is sound and has the {acknowledged} bytes \
                     that were acknowledged: start the DataNodes that have the others",
                    replicas.len()
                );
                Err(FsError::new(ErrorCode::Corrupt, why))
            }
        };
    };
    if length == 0 {
        return Ok(Agreement { length: 0, holders: Vec::new() });
    }
    let finishing = participants.iter().map(|position| async {
        let (holder, _) = present[*position];
        (holder, finish(context, chunk, new_generation, length, holder).await)
    });
    let mut done = Vec::new();
    let mut failure = None;
    for (holder, result) in join_all(finishing).await {
        match result {
            Ok(()) => done.push(holder.id),
            Err(error) => {
                warn!(%chunk, %holder, %error, "holder could not finish the recovery");
                failure = Some(error);
            }
        }
    }
    match failure {
        Some(error) if done.is_empty() => Err(error),
        Some(_) | None => {
            info!(%chunk, %new_generation, length, holders = done.len(), "chunk recovered");
            Ok(Agreement { length, holders: done })
        }
    }
}

async fn prepare(
    context: &Context,
    chunk: ChunkId,
    new_generation: GenStamp,
    holder: &Endpoint,
) -> FsResult<Option<ReplicaRecord>> {
    let Context { store, peers, .. } = context;
    if holder.id == store.node {
        Ok(Arc::clone(store).prepare_recovery(chunk, new_generation).await?)
    } else {
        peers.prepare_recovery(store.cluster, holder, chunk, new_generation).await
    }
}

async fn finish(
    context: &Context,
    chunk: ChunkId,
    new_generation: GenStamp,
    length: u64,
    holder: &Endpoint,
) -> FsResult<()> {
    let Context { store, peers, .. } = context;
    if holder.id == store.node {
        Ok(Arc::clone(store).finish_recovery(chunk, new_generation, length).await?)
    } else {
        peers.finish_recovery(store.cluster, holder, chunk, new_generation, length).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ReplicaState::{Corrupt, Finalized, Rbw, Rwr};

    fn check(replicas: &[(u64, u64, ReplicaState)], expected: Option<(u64, &[usize])>) {
        check_with(0, replicas, expected);
    }

    fn check_with(
        acknowledged: u64,
        replicas: &[(u64, u64, ReplicaState)],
        expected: Option<(u64, &[usize])>,
    ) {
        let records: Vec<_> = replicas
            .iter()
            .map(|(generation, length, state)| ReplicaRecord {
                chunk: ChunkId(1),
                generation: GenStamp(*generation),
                length: *length,
                state: *state,
                volume: None,
            })
            .collect();
        let expected =
            expected.map(|(length, positions)| Choice { length, participants: positions.to_vec() });
        assert_eq!(choose(&records, acknowledged), expected, "{replicas:?}");
    }

    #[test]
    fn the_best_state_decides_and_then_the_length() {
        check(&[], None);
        check(&[(1, 9, Corrupt)], None);
        check(&[(1, 9, Rbw), (1, 7, Rbw), (1, 8, Rbw)], Some((7, &[0, 1, 2])));
        check(&[(1, 9, Rbw), (1, 7, Rwr)], Some((9, &[0])));
        check(&[(1, 9, Rwr), (1, 7, Rwr), (1, 9, Rwr)], Some((9, &[0, 2])));
        check(&[(1, 0, Rwr), (1, 7, Rwr)], Some((7, &[1])));
        check(&[(1, 9, Rwr), (2, 7, Rwr)], Some((7, &[1])));
        check(&[(1, 9, Finalized), (1, 7, Rbw), (1, 9, Rbw), (1, 9, Rwr)], Some((9, &[0, 2])));
        check(&[(1, 9, Finalized), (1, 8, Finalized)], Some((9, &[0])));
        check(&[(1, 9, Finalized), (2, 8, Rbw), (2, 10, Rbw)], Some((8, &[1, 2])));
        check(&[(3, 1, Corrupt), (2, 8, Rbw)], Some((8, &[1])));
        check(&[(2, 0, Rbw), (2, 8, Rbw)], Some((0, &[0, 1])));
    }
    #[test]
    fn what_was_acknowledged_is_never_given_up() {
        check_with(8, &[(1, 9, Rbw), (1, 7, Rbw), (1, 8, Rbw)], Some((8, &[0, 2])));
        check_with(8, &[(1, 7, Finalized), (1, 9, Rwr)], Some((9, &[1])));
        check_with(8, &[(1, 7, Rwr), (1, 7, Rbw)], None);
        check_with(8, &[(2, 7, Rwr), (1, 9, Rwr)], Some((9, &[1])));
        check_with(8, &[(2, 7, Rwr), (1, 7, Rwr)], None);
    }
}
