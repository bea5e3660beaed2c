//! Headers of replicas: in which version they are written, and bringing them up to what the namespace says.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use dfs_types::{ChunkId, ChunkOrigin, GenStamp, Millis, VolumeHealth};

use super::Store;
use crate::volume::replica::{Replica, State};
use crate::volume::rewrite::Rewriting;
use crate::volume::{Error, Reservation};

/// What became of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Renewed {
    /// It said so already.
    Current,
    /// It says so now.
    Written,
}

impl Store {
    /// The cluster's feature level; 0: no leader has said it yet, or it is of a release that does not.
    pub(crate) fn level(&self) -> u16 {
        self.level.load(Ordering::Relaxed)
    }

    /// A leader says the cluster's feature level. It may be lower than before: a backup was restored.
    pub(crate) fn set_level(&self, level: u16) {
        self.level.store(level, Ordering::Relaxed);
    }

    /// Whether a chunk has a finalized replica here.
    pub(crate) fn is_finalized(&self, chunk: ChunkId) -> bool {
        self.index().get(chunk).is_some_and(|replica| replica.state == State::Finalized)
    }

    /// Makes the header of a finalized replica say what its file is, as it was told then. Fails if the replica is another
    /// one than that was told of, if somebody else has it, and if its disk is not well: all of that can wait.
    pub(crate) async fn renew_header(
        self: &Arc<Self>,
        of: ChunkOrigin,
        told: Millis,
    ) -> Result<Renewed, Error> {
        let chunk = of.chunk;
        let allowed = |replica: &Replica, promised: GenStamp| {
            if replica.state != State::Finalized {
                Err(Error::Held(chunk))
            } else if replica.generation != of.generation {
                Err(Error::Stale { chunk, here: replica.generation, asked: of.generation })
            } else if replica.length != of.length {
                let why = format!("its replica has {} bytes, and its file {}", replica.length, of.length);
                Err(Error::Unfit { chunk, why })
            } else if promised > replica.generation {
                Err(Error::Promised { chunk, promised })
            } else {
                Ok(())
            }
        };
        let (claim, replica) = self.try_claim(chunk, allowed)?;
        let volume = Arc::clone(self.volume(replica.volume));
        if volume.health() != VolumeHealth::Healthy {
            return Err(Error::Silent(volume.path.clone()));
        }
        let on = Arc::clone(&volume);
        // A job that nobody waits for any more need not begin; one that has begun ends, and its claim with it.
        volume
            .ask(chunk, move || {
                let _until_renewed = claim;
                let Some(rewriting) = Rewriting::begin(&on, &of, told)? else { return Ok(Renewed::Current) };
                let bytes = rewriting.bytes();
                let _room = Reservation::take(&on, bytes).ok_or(Error::NoSpace(bytes))?;
                rewriting.finish(&on)?;
                Ok(Renewed::Written)
            })
            .await
    }
}
