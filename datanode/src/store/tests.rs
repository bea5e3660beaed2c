//! What the store makes of errors and of what it finds at start.

use std::fs;
use std::io;
use std::path::Path;

use dfs_types::ReplicaState::{Corrupt, Finalized, Rbw};
use dfs_types::{ChunkId, InodeId, ReplicaState, checksum};
use prometheus::Registry;
use rustix::io::Errno;
use tempfile::TempDir;

use super::write::NewReplica;
use super::*;
use crate::volume::Reservation;
use crate::volume::health::Patience;
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
    assert_eq!(store.order_deletions(&order, by(5)), [[CHUNK]]);
    assert_eq!(store.order_deletions(&order, by(5)), [Vec::<ChunkId>::new()], "told twice");
    assert!(fence.heard(6));
    assert!(
        !store.delete_ordered(CHUNK, &fence).await.unwrap(),
        "by the time it is looked at, another one leads"
    );
    assert!(!store.delete(CHUNK, GENERATION, || fence.allows(5)).await.unwrap(), "or at the last moment");
    assert_eq!(state(&store, CHUNK), Finalized);
    assert_eq!(store.order_deletions(&order, by(6)), [[CHUNK]]);
    assert!(store.delete_ordered(CHUNK, &fence).await.unwrap());
    assert!(store.record(CHUNK).is_err());
    assert_eq!(store.order_deletions(&order, by(6)), [Vec::<ChunkId>::new()], "nothing is here");
    assert!(!store.delete_ordered(CHUNK, &fence).await.unwrap());
}

#[tokio::test]
async fn volumes_of_one_disk_promise_its_room_once() {
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let store = open(dirs.iter().map(|dir| Volume::for_test(dir.path())).collect()).await;
    let available = || store.volume_states()[1].available;
    let before = available();
    let promised = Reservation::take(store.volume(0), 1 << 20).unwrap();
    assert_eq!(available(), before - (1 << 20));
    drop(promised);
    assert_eq!(available(), before);
}

#[tokio::test]
async fn what_is_done_late_is_noted_unless_the_volume_has_failed() {
    for fails in [false, true] {
        let dir = TempDir::new().unwrap();
        let patience =
            Patience { suspect_after: Duration::from_millis(100), fail_after: Duration::from_millis(500) };
        let store = open(vec![Volume::patient_for_test(dir.path(), patience)]).await;
        let volume = Arc::clone(store.volume(0));
        let new = NewReplica {
            chunk: CHUNK,
            generation: GENERATION,
            inode: InodeId(1),
            index: 0,
            path: "/file".to_owned(),
            chunk_size: 1 << 20,
            expected_length: 1 << 20,
            copy: false,
        };
        let mut writer = store.create(new).await.unwrap();
        // Its only thread hangs.
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let (began, begins) = tokio::sync::oneshot::channel();
        let hangs = {
            let volume = Arc::clone(&volume);
            let hang = move || {
                began.send(()).unwrap();
                wait.recv()
            };
            tokio::spawn(async move { volume.pool.run(hang).await })
        };
        begins.await.unwrap();
        let error = writer.finalize(false).await.unwrap_err();
        assert!(matches!(error, Error::Silent(_)), "{error}");
        assert_eq!(state(&store, CHUNK), Rbw);
        if fails {
            volume.fail("a test says so".to_owned());
            store.take_out(0).await;
        }
        go.send(()).unwrap();
        hangs.await.unwrap().unwrap().unwrap();
        // Jobs are begun in order, and there is one thread.
        volume.pool.run(|| ()).await.unwrap();
        let noted = store.record(CHUNK).ok().map(|record| record.state);
        assert_eq!(noted, if fails { None } else { Some(Finalized) });
    }
}
