//! What the store makes of errors and of what it finds at start.

use std::fs;
use std::io;
use std::path::Path;

use dfs_types::ReplicaState::{Corrupt, Finalized};
use dfs_types::{ChunkId, ReplicaState, checksum};
use prometheus::Registry;
use rustix::io::Errno;
use tempfile::TempDir;

use super::*;
use crate::volume::index::DeletionOrder;
use crate::volume::layout::Place;

const GENERATION: GenStamp = GenStamp(7);
const CHUNK: ChunkId = ChunkId(1);

/// Puts the files of a complete replica on a volume; only their sizes matter to the scan.
fn put(volume: &Volume, chunk: ChunkId, damaged: bool) {
    let paths = volume.replica(Place::Current, chunk, GENERATION);
    let sums = 128 + checksum::checksum_length(600) as usize - usize::from(damaged);
    fs::write(paths.data, [5; 600]).unwrap();
    fs::write(paths.sums, vec![0; sums]).unwrap();
}

async fn open(volumes: Vec<Volume>) -> Arc<Store> {
    let metrics = Arc::new(Metrics::on(&Metrics::meter(&Registry::new())).unwrap());
    Store::open(ClusterId::random(), NodeId::random(), volumes, Vec::new(), Reports::default(), metrics).await
}

/// A store with one complete replica.
async fn with_one_replica(dir: &Path) -> Arc<Store> {
    let volume = Volume::for_test(dir);
    put(&volume, CHUNK, false);
    open(vec![volume]).await
}

fn state(store: &Store, chunk: ChunkId) -> ReplicaState {
    store.record(chunk).unwrap().state
}

#[tokio::test]
async fn a_damaged_replica_hides_no_good_one() {
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let volumes = dirs.iter().map(|dir| Volume::for_test(dir.path())).collect::<Vec<_>>();
    let (first, second) = (ChunkId(1), ChunkId(2));
    for (volume, damaged) in volumes.iter().zip([first, second]) {
        put(volume, first, damaged == first);
        put(volume, second, damaged == second);
    }
    let store = open(volumes).await;
    assert_eq!([state(&store, first), state(&store, second)], [Finalized; 2]);
    let counts: Vec<_> = store.volume_states().iter().map(|volume| volume.replicas).collect();
    assert_eq!(counts, [1, 1]);
}

#[tokio::test]
async fn what_the_process_lacks_is_no_damage() {
    let dir = TempDir::new().unwrap();
    let store = with_one_replica(dir.path()).await;
    let volume = Arc::clone(store.volume(0));
    let met = |errno: Errno, writing| Error::Io {
        what: "open a replica",
        volume: volume.path.clone(),
        source: io::Error::from(errno),
        writing,
    };
    for errno in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN, Errno::INTR] {
        for writing in [false, true] {
            store.examine(CHUNK, GENERATION, &volume, met(errno, writing)).await;
            assert!(!volume.has_failed(), "{errno}");
            assert_eq!(state(&store, CHUNK), Finalized, "{errno}");
        }
    }
    store.examine(CHUNK, GENERATION, &volume, met(Errno::NOENT, false)).await;
    assert_eq!(state(&store, CHUNK), Corrupt);
}

#[tokio::test]
async fn a_claimed_replica_is_its_writers_to_judge() {
    let dir = TempDir::new().unwrap();
    let store = with_one_replica(dir.path()).await;
    let (claim, _) = store.claim(CHUNK, |_, _| Ok(())).await.unwrap();
    store.mark_corrupt(CHUNK, GENERATION, "its files are not where a reader looked");
    assert_eq!(state(&store, CHUNK), Finalized);
    drop(claim);
    store.mark_corrupt(CHUNK, GENERATION, "it is damaged");
    assert_eq!(state(&store, CHUNK), Corrupt);
}

#[tokio::test]
async fn a_deletion_is_carried_out_once_and_for_the_newest_leader() {
    let dir = TempDir::new().unwrap();
    let store = with_one_replica(dir.path()).await;
    let (fence, order) = (Fence::default(), [(CHUNK, GENERATION)]);
    assert!(fence.heard(5));
    let by = |term| DeletionOrder { term, births: store.births() };
    assert_eq!(store.order_deletions(&order, by(5)), [CHUNK]);
    assert_eq!(store.order_deletions(&order, by(5)), [], "told twice");
    assert!(fence.heard(6));
    assert!(
        !store.delete_ordered(CHUNK, &fence).await.unwrap(),
        "by the time it is looked at, another one leads"
    );
    assert!(!store.delete(CHUNK, GENERATION, || fence.allows(5)).await.unwrap(), "or at the last moment");
    assert_eq!(state(&store, CHUNK), Finalized);
    assert_eq!(store.order_deletions(&order, by(6)), [CHUNK]);
    assert!(store.delete_ordered(CHUNK, &fence).await.unwrap());
    assert!(store.record(CHUNK).is_err());
    assert_eq!(store.order_deletions(&order, by(6)), [], "nothing is here");
    assert!(!store.delete_ordered(CHUNK, &fence).await.unwrap());
}
