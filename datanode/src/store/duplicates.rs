//! Second replicas of a chunk, found at start: a volume that had failed comes back after its replicas were copied, to
//! another volume of the same node among others.
//!
//! The better one counts (see `adopt`). The other stays until the better one has been read from its first byte to its last
//! and is found to be right and no less; until then nothing proves that it is better. Should the better one turn out to
//! be damaged, or be deleted, the other takes its place, and the NameNode decides about it as about any replica.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use dfs_types::{GenStamp, VolumeHealth};
use tokio::time::sleep;
use tracing::{debug, info};

use super::Store;
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::scrub::verify;
use crate::volume::Error;
use crate::volume::replica::{Replica, State};
use crate::volume::second::Duplicate;
use crate::volume::space::stored_bytes;

/// How often it is looked what became of them.
const LOOK: Duration = Duration::from_secs(1);
/// Chunks whose duplicates are looked at at once.
const PAGE: usize = 256;

/// What is to be done about a duplicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing for now.
    Wait,
    /// It is the only one: it counts.
    Adopt,
    /// The one that counts is damaged, and this one seems not to be: they change places.
    Swap,
    /// The one that counts is no worse: if that is proven, this one goes.
    Prove,
}

/// Decides from the replica that counts; `None`: there is none, nor is one just being removed.
fn step(counts: Option<&Replica>, duplicate: &Replica) -> Step {
    let Some(counts) = counts else { return Step::Adopt };
    let seems_good = duplicate.state == State::Finalized && duplicate.generation >= counts.generation;
    let no_worse = match counts.generation.cmp(&duplicate.generation) {
        Ordering::Greater => true,
        Ordering::Equal => counts.length >= duplicate.length || duplicate.state == State::Corrupt,
        Ordering::Less => false,
    };
    match counts.state {
        State::Corrupt if seems_good => Step::Swap,
        State::Finalized if no_worse => Step::Prove,
        State::Incoming | State::Rbw | State::Rwr | State::Corrupt | State::Finalized => Step::Wait,
    }
}

/// Settles what becomes of the duplicates, without end, reading at most `rate` bytes a second.
pub(crate) async fn run(store: Arc<Store>, metrics: Arc<Metrics>, rate: u64) {
    let mut pace = Pace::new(rate);
    loop {
        let mut after = None;
        loop {
            let page = store.index().duplicates.page(after, PAGE);
            let Some(last) = page.last() else { break };
            after = Some(last.chunk);
            for duplicate in page {
                store.settle_duplicate(duplicate, &metrics, &mut pace).await;
            }
        }
        sleep(LOOK).await;
    }
}

impl Store {
    /// Does what is to be done about one now.
    async fn settle_duplicate(self: &Arc<Self>, duplicate: Duplicate, metrics: &Metrics, pace: &mut Pace) {
        let Duplicate { chunk, replica } = duplicate;
        match self.place_duplicate(duplicate) {
            Step::Wait => {}
            Step::Adopt | Step::Swap => {
                info!(%chunk, generation = %replica.generation, "a second replica counts now");
            }
            Step::Prove => match self.remove_duplicate(duplicate, metrics, pace).await {
                Ok(()) => info!(%chunk, generation = %replica.generation, "a second replica is removed"),
                Err(error) => debug!(%chunk, %error, "a second replica stays for now"),
            },
        }
    }

    /// Decides, and puts the duplicate into the index if it is to count.
    pub(super) fn place_duplicate(&self, duplicate: Duplicate) -> Step {
        let Duplicate { chunk, replica } = duplicate;
        let mut index = self.index();
        // Its volume may have failed since the list was read: then nothing would ever take it out of the index again.
        let is_here = index.duplicates.contains(&duplicate) && !self.volume(replica.volume).has_failed();
        let has_writer = index.open(chunk).is_some_and(|open| open.writer.is_some());
        if !is_here || index.is_leaving(chunk) || has_writer {
            return Step::Wait;
        }
        let counts = index.get(chunk).copied();
        let step = step(counts.as_ref(), &replica);
        if let Step::Adopt | Step::Swap = step {
            index.insert(chunk, replica);
            self.push(self.record_of(chunk, &replica), false);
            index.duplicates.remove(&duplicate);
            if let Some(replica) = counts.filter(|counts| !self.volume(counts.volume).has_failed()) {
                index.duplicates.insert(Duplicate { chunk, replica });
            }
        }
        step
    }

    /// Whether a volume's disk answers, as far as is known now.
    fn answers(&self, volume: u16) -> Result<(), Error> {
        let volume = self.volume(volume);
        match volume.health() {
            VolumeHealth::Healthy => Ok(()),
            VolumeHealth::Suspect | VolumeHealth::Failed => Err(Error::Silent(volume.path.clone())),
        }
    }

    /// Reads the replica that counts, and removes the duplicate if all of it is right.
    pub(super) async fn remove_duplicate(
        self: &Arc<Self>,
        duplicate: Duplicate,
        metrics: &Metrics,
        pace: &mut Pace,
    ) -> Result<(), Error> {
        let Duplicate { chunk, replica } = duplicate;
        let proven = self.index().get(chunk).copied().ok_or(Error::NotFound(chunk))?;
        verify(self, metrics, chunk, proven.generation, pace).await?;
        self.tries(proven.volume).await?;
        // Nobody changes, deletes or replaces it from here on until the other is gone.
        let same = |counts: &Replica, _promised: GenStamp| {
            let proven = Replica { verified: counts.verified, ..proven };
            if *counts == proven { Ok(()) } else { Err(Error::Held(chunk)) }
        };
        let (claim, _) = self.claim(chunk, same).await?;
        self.answers(replica.volume)?;
        let volume = Arc::clone(self.volume(replica.volume));
        let (on, store) = (Arc::clone(&volume), Arc::clone(self));
        volume
            .run(chunk, move || {
                // The job has waited for its disk; meanwhile that of the other may have gone, and all replicas with it.
                claim.note(|_| ()).ok_or(Error::OutOfUse(chunk))?;
                store.answers(proven.volume)?;
                let paths = on.replica(replica.place, chunk, replica.generation);
                on.remove(&paths).map_err(on.write_error("remove a second replica"))?;
                on.removed(stored_bytes(replica.length));
                store.index().duplicates.remove(&duplicate);
                drop(claim);
                Ok(())
            })
            .await
    }

    /// Has a volume written and synced: what was read from it may have come from memory, also if its disk is gone.
    async fn tries(&self, number: u16) -> Result<(), Error> {
        let volume = Arc::clone(self.volume(number));
        let on = Arc::clone(&volume);
        match volume.examine(move || on.probe()).await {
            Some(tried) => tried.map_err(volume.read_error("try a volume")),
            None => Err(Error::Silent(volume.path.clone())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::volume::layout::Place;

    #[test]
    fn only_what_is_no_worse_may_be_proven() {
        use State::{Corrupt, Finalized, Rbw, Rwr};
        let of = |generation, length, state| Replica {
            volume: 0,
            generation: GenStamp(generation),
            length,
            state,
            place: Place::Current,
            verified: None,
            birth: 0,
        };
        assert_eq!(step(None, &of(1, 1, Corrupt)), Step::Adopt);
        for (counts, duplicate, expected) in [
            (of(2, 5, Finalized), of(2, 5, Finalized), Step::Prove),
            (of(2, 5, Finalized), of(1, 9, Finalized), Step::Prove),
            (of(2, 5, Finalized), of(2, 9, Corrupt), Step::Prove),
            (of(2, 5, Finalized), of(2, 9, Rwr), Step::Wait),
            (of(2, 5, Finalized), of(3, 1, Finalized), Step::Wait),
            (of(2, 5, Rwr), of(1, 5, Finalized), Step::Wait),
            (of(2, 5, Rbw), of(1, 5, Corrupt), Step::Wait),
            (of(2, 5, Corrupt), of(2, 5, Finalized), Step::Swap),
            (of(2, 5, Corrupt), of(1, 5, Finalized), Step::Wait),
            (of(2, 5, Corrupt), of(2, 5, Corrupt), Step::Wait),
        ] {
            assert_eq!(step(Some(&counts), &duplicate), expected, "{counts:?} {duplicate:?}");
        }
    }
}
