//! What the store makes of errors and of what it finds at start.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Sender, channel};

use dfs_types::ReplicaState::{Corrupt, Finalized, Rbw};
use dfs_types::{ChunkId, ChunkOrigin, InodeId, Millis, ReplicaState, checksum};
use futures_util::FutureExt as _;
use prometheus::Registry;
use rustix::io::Errno;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::headers::Renewed;
use super::write::NewReplica;
use super::*;
use crate::pace::Pace;
use crate::volume::Reservation;
use crate::volume::health::Patience;
use crate::volume::index::DeletionOrder;
use crate::volume::layout::Place;
use crate::volume::replica_file::{Header, OddEnd, Version};
use crate::volume::writer::{Files, Packet};

const GENERATION: GenStamp = GenStamp(7);
const CHUNK: ChunkId = ChunkId(1);

/// Puts the files of a complete replica on a volume; only their sizes matter to the scan.
fn put(volume: &Volume, chunk: ChunkId, damaged: bool) {
    let paths = volume.replica(Place::Current, chunk, GENERATION);
    let sums = 128 + checksum::checksum_length(600) as usize - usize::from(damaged);
    fs::write(paths.data, [5; 600]).unwrap();
    fs::write(paths.sums, vec![0; sums]).unwrap();
}

/// Puts a complete replica on a volume whose bytes are what its checksums say.
fn put_good(volume: Volume, chunk: ChunkId) -> Volume {
    let volume = Arc::new(volume);
    let header = Header {
        version: Version::One,
        cluster: ClusterId::random(),
        chunk,
        generation: GENERATION,
        inode: InodeId(1),
        index: 0,
        path: "/file".to_owned(),
        origin: Vec::new(),
        length: None,
        synced: <[OddEnd; 2]>::default(),
    };
    let reservation = Reservation::take(&volume, 1 << 20).unwrap();
    let metrics = Arc::new(Metrics::on(&Metrics::meter(&Registry::new())).unwrap());
    let (place, on) = (Place::Rbw, Arc::clone(&volume));
    let mut files = Files::create(on, place, header, 1 << 20, reservation, metrics).unwrap();
    let data = vec![5; 600];
    let checksums = checksum::compute(&data);
    let data = data.into();
    let packet = Packet { sequence: 0, offset: 0, data, checksums, last: true, flush: false, sync: false };
    files.write(&packet, false).unwrap();
    files.finalize(false).unwrap();
    drop(files);
    Arc::into_inner(volume).unwrap()
}

/// A store whose two volumes both have a complete replica of the chunk. That of the first one counts.
async fn with_a_duplicate(dirs: &[TempDir; 2], patience: Patience, threads: usize) -> Arc<Store> {
    let volume = |dir: &TempDir| put_good(Volume::custom_for_test(dir.path(), patience, threads), CHUNK);
    let store = open(dirs.iter().map(volume).collect()).await;
    assert_eq!(store.index().get(CHUNK).unwrap().volume, 0);
    store
}

fn new_replica() -> NewReplica {
    NewReplica {
        chunk: CHUNK,
        generation: GENERATION,
        inode: InodeId(1),
        index: 0,
        path: "/file".to_owned(),
        chunk_size: 1 << 20,
        expected_length: 1 << 20,
        storage: None,
        copy: false,
    }
}

/// Keeps a thread of a volume from working until the answer is dropped.
async fn hang(volume: &Arc<Volume>) -> (Sender<()>, JoinHandle<()>) {
    let (go, wait) = channel::<()>();
    let (began, begins) = oneshot::channel();
    let volume = Arc::clone(volume);
    let job = move || {
        began.send(()).unwrap();
        // The other end is dropped when it is to go on.
        let _ = wait.recv();
    };
    let hangs = tokio::spawn(async move { volume.pool.run(job).await.unwrap() });
    begins.await.unwrap();
    (go, hangs)
}

const PATIENT: Patience =
    Patience { suspect_after: Duration::from_hours(1), fail_after: Duration::from_hours(2) };

async fn open(volumes: Vec<Volume>) -> Arc<Store> {
    let metrics = Arc::new(Metrics::on(&Metrics::meter(&Registry::new())).unwrap());
    let (cluster, node, storage) = (ClusterId::random(), NodeId::random(), BTreeMap::new());
    Store::open(cluster, node, volumes, Vec::new(), storage, Reports::default(), metrics).await
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
    store.mark_corrupt(CHUNK, GENERATION, store.volume(0), "its files are not where a reader looked");
    assert_eq!(state(&store, CHUNK), Finalized);
    drop(claim);
    store.mark_corrupt(CHUNK, GENERATION, store.volume(0), "it is damaged");
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
        let store = open(vec![Volume::custom_for_test(dir.path(), patience, 1)]).await;
        let volume = Arc::clone(store.volume(0));
        let mut writer = store.create(new_replica()).await.unwrap();
        // Its only thread hangs.
        let (go, hangs) = hang(&volume).await;
        let error = writer.finalize(false).await.unwrap_err();
        assert!(matches!(error, Error::Silent(_)), "{error}");
        assert_eq!(state(&store, CHUNK), Rbw);
        if fails {
            volume.fail("a test says so".to_owned());
            store.take_out(0).await;
        }
        drop(go);
        hangs.await.unwrap();
        // Jobs are begun in order, and there is one thread.
        volume.pool.run(|| ()).await.unwrap();
        let noted = store.record(CHUNK).ok().map(|record| record.state);
        assert_eq!(noted, if fails { None } else { Some(Finalized) });
    }
}

#[tokio::test]
async fn a_duplicate_of_a_failed_volume_never_counts() {
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let store = with_a_duplicate(&dirs, PATIENT, 1).await;
    // Whoever settles duplicates has looked which there are, and takes long for the first ones.
    let listed = store.index().duplicates.page(None, 10);
    assert_eq!(listed.len(), 1);
    store.volume(1).fail("a test says so".to_owned());
    store.take_out(1).await;
    store.mark_corrupt(CHUNK, GENERATION, store.volume(0), "a test says so");
    store.place_duplicate(listed[0]);
    assert_eq!(state(&store, CHUNK), Corrupt, "it is on a volume that is gone");
    assert!(store.delete(CHUNK, GENERATION, || true).await.unwrap());
    store.place_duplicate(listed[0]);
    assert!(store.record(CHUNK).is_err(), "it is on a volume that is gone");
}

#[tokio::test]
async fn damage_is_that_of_the_replica_that_was_read() {
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let store = with_a_duplicate(&dirs, PATIENT, 1).await;
    let duplicate = store.index().duplicates.page(None, 1)[0];
    store.mark_corrupt(CHUNK, GENERATION, store.volume(0), "the first reader says so");
    store.place_duplicate(duplicate);
    assert_eq!(state(&store, CHUNK), Finalized, "the other one counts");
    store.mark_corrupt(CHUNK, GENERATION, store.volume(0), "another reader of the first one says so too");
    assert_eq!(state(&store, CHUNK), Finalized);
    store.mark_corrupt(CHUNK, GENERATION, store.volume(1), "and this one is damaged too");
    assert_eq!(state(&store, CHUNK), Corrupt);
}

fn has_files(store: &Store, volume: u16) -> bool {
    store.volume(volume).replica(Place::Current, CHUNK, GENERATION).data.exists()
}

#[tokio::test]
async fn a_duplicate_stays_while_the_disk_of_the_other_does_not_answer() {
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let patience = Patience { suspect_after: Duration::from_millis(100), ..PATIENT };
    let store = with_a_duplicate(&dirs, patience, 2).await;
    let duplicate = store.index().duplicates.page(None, 1)[0];
    let counting = Arc::clone(store.volume(0));
    let (go, hangs) = hang(&counting).await;
    while counting.health() != VolumeHealth::Suspect {
        tokio::task::yield_now().await;
    }
    // Its other thread reads all of it, from memory.
    let mut pace = Pace::new(0);
    let error = store.remove_duplicate(duplicate, &store.metrics, &mut pace).await.unwrap_err();
    assert!(matches!(error, Error::Silent(_)), "{error}");
    assert!(has_files(&store, 1));
    drop(go);
    hangs.await.unwrap();
    // The disk of a busy machine may seem silent too: it is tried again, as ever.
    while has_files(&store, 1) {
        match store.remove_duplicate(duplicate, &store.metrics, &mut pace).await {
            Ok(()) => assert!(!has_files(&store, 1)),
            Err(error) => assert!(matches!(error, Error::Silent(_)), "{error}"),
        }
    }
    assert!(has_files(&store, 0));
}

#[tokio::test]
async fn a_duplicate_is_not_removed_when_the_other_went_while_it_waited() {
    let dirs = [TempDir::new().unwrap(), TempDir::new().unwrap()];
    let store = with_a_duplicate(&dirs, PATIENT, 1).await;
    let duplicate = store.index().duplicates.page(None, 1)[0];
    let (go, hangs) = hang(store.volume(1)).await;
    let removing = {
        let store = Arc::clone(&store);
        tokio::spawn(
            async move { store.remove_duplicate(duplicate, &store.metrics, &mut Pace::new(0)).await },
        )
    };
    // It waits behind the job that hangs.
    while store.volume(1).pool.jobs() < 2 {
        tokio::task::yield_now().await;
    }
    store.volume(0).fail("a test says so".to_owned());
    store.take_out(0).await;
    drop(go);
    hangs.await.unwrap();
    let error = removing.await.unwrap().unwrap_err();
    assert!(matches!(error, Error::OutOfUse(_)), "{error}");
    assert!(has_files(&store, 1));
    store.place_duplicate(duplicate);
    assert_eq!((state(&store, CHUNK), store.index().get(CHUNK).unwrap().volume), (Finalized, 1));
}

#[tokio::test(start_paused = true)]
async fn a_scan_waits_for_what_the_process_lacks() {
    let mut errors = vec![Errno::IO, Errno::NOMEM, Errno::MFILE];
    let mut attempt = || {
        let met = errors.pop().map_or(Ok(()), |errno| Err(io::Error::from(errno)));
        std::future::ready(Ok::<_, ()>(met))
    };
    let met = with_resources(&mut attempt).await.unwrap().unwrap_err();
    assert_eq!(Errno::from_io_error(&met), Some(Errno::IO), "that is the disk's");
    assert!(with_resources(&mut attempt).await.unwrap().is_ok());
}

#[tokio::test]
async fn packets_that_a_disk_keeps_keep_their_memory() {
    let dir = TempDir::new().unwrap();
    let patience =
        Patience { suspect_after: Duration::from_millis(100), fail_after: Duration::from_millis(500) };
    let store = open(vec![Volume::custom_for_test(dir.path(), patience, 1)]).await;
    let volume = Arc::clone(store.volume(0));
    let mut writer = store.create(new_replica()).await.unwrap();
    let (go, hangs) = hang(&volume).await;
    let memory = Arc::new(());
    let (written, result) = writer.write(Vec::new(), false, Arc::clone(&memory)).await;
    assert!(written == 0 && matches!(result, Err(Error::Silent(_))), "{result:?}");
    assert_eq!(Arc::strong_count(&memory), 2, "its job still has the packets");
    drop(go);
    hangs.await.unwrap();
    volume.pool.run(|| ()).await.unwrap();
    assert_eq!(Arc::strong_count(&memory), 1);
}

fn told_of(length: u64) -> ChunkOrigin {
    crate::volume::origin::example("/renamed", CHUNK.0, GENERATION.0, length)
}

async fn header(store: &Arc<Store>) -> Header {
    store.reader(CHUNK, GENERATION).await.unwrap().header.clone()
}

#[tokio::test]
async fn a_header_is_renewed_unless_somebody_has_the_replica() {
    let dir = TempDir::new().unwrap();
    let store = open(vec![put_good(Volume::for_test(dir.path()), CHUNK)]).await;
    for (claimed, told) in [(true, Millis(1)), (false, Millis(2)), (false, Millis(3))] {
        let writer = claimed.then(|| store.try_claim(CHUNK, |_, _| Ok(())).unwrap());
        let renewed = store.renew_header(told_of(600), told).await;
        match (claimed, told.0) {
            (true, _) => assert!(matches!(renewed, Err(Error::Held(_))), "{renewed:?}"),
            (false, 2) => assert_eq!(renewed.unwrap(), Renewed::Written),
            (false, _) => assert_eq!(renewed.unwrap(), Renewed::Current),
        }
        if let Some((claim, _)) = &writer {
            assert!(claim.note(|_| ()).is_some(), "nobody was disturbed");
        }
    }
    assert!(header(&store).await.says(&told_of(600)));
    assert_eq!(state(&store, CHUNK), Finalized);
    assert!(store.try_claim(CHUNK, |_, _| Ok(())).is_ok(), "it was let go");
}

#[tokio::test]
async fn what_was_told_of_another_replica_is_not_written() {
    let dir = TempDir::new().unwrap();
    let store = open(vec![put_good(Volume::for_test(dir.path()), CHUNK)]).await;
    let before = header(&store).await;
    let newer = ChunkOrigin { generation: GenStamp(8), ..told_of(600) };
    let gone = ChunkOrigin { chunk: ChunkId(99), ..told_of(600) };
    let longer = store.renew_header(told_of(601), Millis(1)).await;
    assert!(matches!(longer, Err(Error::Unfit { .. })), "{longer:?}");
    let newer = store.renew_header(newer, Millis(1)).await;
    assert!(matches!(newer, Err(Error::Stale { .. })), "{newer:?}");
    let gone = store.renew_header(gone, Millis(1)).await;
    assert!(matches!(gone, Err(Error::NotFound(_))), "{gone:?}");
    store.volume(0).space(|space| *space = crate::volume::space::Space::new(1 << 30, 0, 0));
    let full = store.renew_header(told_of(600), Millis(1)).await;
    assert!(matches!(full, Err(Error::NoSpace(_))), "{full:?}");
    assert_eq!(header(&store).await, before);
    // A recovery that has begun will change it.
    store.index().open_mut(CHUNK).promised = GenStamp(8);
    let promised = store.renew_header(told_of(600), Millis(1)).await;
    assert!(matches!(promised, Err(Error::Promised { .. })), "{promised:?}");
}

#[tokio::test]
async fn a_disk_that_is_not_well_is_left_alone() {
    let dir = TempDir::new().unwrap();
    let patience = Patience { suspect_after: Duration::from_millis(100), ..PATIENT };
    let store = open(vec![put_good(Volume::custom_for_test(dir.path(), patience, 2), CHUNK)]).await;
    let volume = Arc::clone(store.volume(0));
    let (go, hangs) = hang(&volume).await;
    while volume.health() != VolumeHealth::Suspect {
        tokio::task::yield_now().await;
    }
    let silent = store.renew_header(told_of(600), Millis(1)).await;
    assert!(matches!(silent, Err(Error::Silent(_))), "{silent:?}");
    drop(go);
    hangs.await.unwrap();
    assert!(store.try_claim(CHUNK, |_, _| Ok(())).is_ok(), "it was let go");
}

/// Appending keeps what was told, which is old from then on, and the new bytes are where the larger header ends.
#[tokio::test]
async fn a_replica_whose_origin_is_told_can_be_appended_to() {
    let dir = TempDir::new().unwrap();
    let store = open(vec![put_good(Volume::for_test(dir.path()), CHUNK)]).await;
    store.renew_header(told_of(600), Millis(1)).await.unwrap();
    store.wanted.due(10).now_or_never();
    let next = GenStamp(8);
    let mut writer = store.reopen(CHUNK, next, 600, (1 << 20, 1_000)).await.unwrap();
    let data = vec![5; 488];
    let checksums = checksum::compute(&data);
    let packet = Packet {
        sequence: 0,
        offset: 512,
        data: data.into(),
        checksums,
        last: true,
        flush: false,
        sync: true,
    };
    let (written, result) = writer.write(vec![packet], true, ()).await;
    assert!(written == 1 && result.is_ok(), "{result:?}");
    writer.finalize(true).await.unwrap();
    drop(writer);
    assert_eq!(store.wanted.count(), 1, "its file is asked for anew");
    let reader = Arc::new(store.reader(CHUNK, next).await.unwrap());
    let piece = store.read_with(&reader, |reader| reader.read_verified(0..1_000)).await.unwrap();
    assert_eq!(piece.data, vec![5; 1_000]);
    let told = reader.header.told().unwrap().unwrap();
    assert_eq!((told.origin, told.generation), (told_of(600).origin, GENERATION));
    assert!(reader.header.lacks_origin());
    let of = ChunkOrigin { generation: next, ..told_of(1_000) };
    assert_eq!(store.renew_header(of.clone(), Millis(2)).await.unwrap(), Renewed::Written);
    assert!(store.reader(CHUNK, next).await.unwrap().header.says(&of));
}

#[tokio::test]
async fn new_headers_are_of_the_version_that_the_cluster_has() {
    for (level, version) in [(0, Version::One), (1, Version::One), (2, Version::Two), (3, Version::Two)] {
        let dir = TempDir::new().unwrap();
        let store = open(vec![Volume::for_test(dir.path())]).await;
        store.set_level(level);
        let mut writer = store.create(new_replica()).await.unwrap();
        writer.finalize(false).await.unwrap();
        assert_eq!(header(&store).await.version, version, "level {level}");
    }
}
