//! This node's part in the recovery of a chunk whose writer is gone.

use std::sync::Arc;

use dfs_types::limits::MAX_CHUNK_SIZE;
use dfs_types::{ChunkId, GenStamp, ReplicaRecord};

use super::Store;
use crate::volume::Error;
use crate::volume::replica::{Replica, State};
use crate::volume::writer::Progress;

impl Store {
    /// Stops any writer of the replica, promises to take part in no older recovery, and answers what is here.
    pub(crate) async fn prepare_recovery(
        self: &Arc<Self>,
        chunk: ChunkId,
        new_generation: GenStamp,
    ) -> Result<Option<ReplicaRecord>, Error> {
        let allowed = |replica: &Replica, promised: GenStamp| {
            if replica.state == State::Incoming {
                Err(Error::NotFound(chunk))
            } else if replica.generation > new_generation {
                Err(Error::Stale { chunk, here: replica.generation, asked: new_generation })
            } else if promised > new_generation {
                Err(Error::Promised { chunk, promised })
            } else {
                Ok(())
            }
        };
        let claim = match self.claim(chunk, allowed).await {
            Ok((claim, _)) => claim,
            Err(Error::NotFound(_)) => return Ok(None),
            Err(error) => return Err(error),
        };
        let record = {
            let mut index = self.index();
            index.open_mut(chunk).promised = new_generation;
            index.get(chunk).and_then(|replica| self.record_of(chunk, replica))
        };
        drop(claim);
        Ok(record)
    }

    /// Cuts the replica to the agreed length, gives it the new generation and finalizes it durably.
    pub(crate) async fn finish_recovery(
        self: &Arc<Self>,
        chunk: ChunkId,
        new_generation: GenStamp,
        length: u64,
    ) -> Result<(), Error> {
        let is_done = |replica: &Replica| {
            replica.state == State::Finalized
                && replica.generation == new_generation
                && replica.length == length
        };
        let allowed = |replica: &Replica, promised: GenStamp| {
            let unfit = |why: String| Err(Error::Unfit { chunk, why });
            match replica.state {
                State::Incoming => return Err(Error::NotFound(chunk)),
                State::Corrupt => {
                    return Err(Error::Corrupt { chunk, why: "this was found earlier".to_owned() });
                }
                State::Finalized | State::Rbw | State::Rwr => {}
            }
            if is_done(replica) {
                Ok(())
            } else if promised != new_generation {
                unfit(format!("its recovery under generation {new_generation} was not prepared here"))
            } else if replica.generation > new_generation {
                Err(Error::Stale { chunk, here: replica.generation, asked: new_generation })
            } else if replica.length < length {
                unfit(format!("its replica has {} bytes, fewer than the agreed {length}", replica.length))
            } else {
                Ok(())
            }
        };
        let (claim, replica) = self.claim(chunk, allowed).await?;
        if is_done(&replica) {
            return Ok(());
        }
        // Recovery only cuts, so it needs no room beyond what the replica has.
        let progress = Progress::recover(replica.length, length, MAX_CHUNK_SIZE);
        let mut writer = self.open_claimed(claim, replica, new_generation, progress, replica.length).await?;
        writer.cut(length).await?;
        writer.finalize(true).await
    }
}
