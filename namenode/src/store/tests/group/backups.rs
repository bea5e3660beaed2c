//! Backups made while edits go on, and groups that begin with them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use dfs_types::{ChunkId, GenStamp, InodeId};
use rusqlite::Connection;

use super::{SHORT_LOG, World};
use crate::store::directory::{Beginning, Directory, Error};
use crate::store::edit::{Edit, Outcome};
use crate::store::position::Position;
use crate::store::tests::{by, create, mkdir, options, path, root};
use crate::store::{Contents, Store, backup, schema};

/// A file with one open chunk.
fn new_chunk(world: &World, at: &str) -> (InodeId, ChunkId, GenStamp) {
    let Outcome::Status(status) = world.ok(&create(at, "w")) else { panic!("no status") };
    let add =
        Edit::AddChunk { inode: status.inode, holder: "w".into(), previous: None, pipeline: Vec::new() };
    match world.ok(&add) {
        Outcome::ChunkAdded { chunk, generation, .. } => (status.inode, chunk, generation),
        other => panic!("{other:?}"),
    }
}

fn backed_up(world: &World, name: &str) -> PathBuf {
    let file = world.home.path().join(name);
    back_up(world.lead(), &file);
    file
}

/// A backup as people have it.
fn back_up(store: &Store, to: &Path) {
    let copy = to.with_extension("copy");
    let applied = store.back_up(&copy).unwrap();
    let header = backup::header(&copy, store.cluster(), applied).unwrap();
    let mut packed = Vec::new();
    let whole = backup::read_packed(&copy, &header, |piece| {
        packed.extend(piece);
        true
    });
    assert!(whole.unwrap().is_some());
    std::fs::write(to, packed).unwrap();
    std::fs::remove_file(copy).unwrap();
}

/// A group of one over a backup.
fn restored(world: &World, backup: &Path, name: &str) -> (Store, u64) {
    let directory = Directory::make(&world.home.path().join(name), Beginning::Backup(backup)).unwrap();
    assert_eq!(directory.cluster(), world.net.cluster, "the backup says whose it is");
    let member = directory.member();
    drop(directory);
    let directory = Directory::open(&world.home.path().join(name)).unwrap();
    let store = Store::open(directory, options(), Box::new(|_| {})).unwrap();
    world.wait(store.group().lead()).unwrap();
    (store, member)
}

#[test]
fn every_backup_is_of_one_moment() {
    let world = World::of_three(SHORT_LOG);
    let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (stopped, count, store) = (stop.clone(), made.clone(), world.lead().clone());
    let writing = world.runtime.spawn(async move {
        while !stopped.load(Ordering::SeqCst) {
            let number = count.load(Ordering::SeqCst);
            store.propose(by(None, mkdir(&format!("/{number}")))).await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let backups: Vec<(usize, PathBuf, usize)> = (0..5)
        .map(|round| {
            let before = made.load(Ordering::SeqCst);
            let file = backed_up(&world, &format!("backup-{round}"));
            (before, file, made.load(Ordering::SeqCst))
        })
        .collect();
    stop.store(true, Ordering::SeqCst);
    world.wait(writing).unwrap();
    for (before, file, after) in backups {
        let name = format!("restored-{}", file.file_name().unwrap().to_str().unwrap());
        let (store, member) = restored(&world, &file, &name);
        let (entries, _) = world.wait(store.list(&root(), &path("/"), "", 10_000)).unwrap();
        let mut numbers: Vec<usize> = entries.iter().map(|(name, _)| name.parse().unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..entries.len()).collect::<Vec<_>>(), "nothing is missing in between");
        assert!(entries.len() >= before && entries.len() <= after + 1, "{before} {} {after}", entries.len());
        assert_eq!(store.counts().directories as usize, entries.len() + 1);
        let status = store.group().status().borrow().clone();
        assert_eq!((status.id, status.members.voters.as_slice()), (member, &[member][..]));
        assert!(status.term > world.status(world.leader()).term, "DataNodes obey it");
    }
    world.check_all_equal();
}

#[test]
fn nothing_is_given_away_twice_by_groups_of_one_backup() {
    let world = World::new(u64::MAX);
    let (inode, chunk, generation) = new_chunk(&world, "/kept");
    let file = backed_up(&world, "backup");
    // The future that is lost.
    let after = new_chunk(&world, "/lost");
    assert!(after.1 > chunk);

    let database = world.home.path().join("again.db");
    let now = 2_000_000_000;
    let (cluster, first) = backup::restore(&file, &database, now).unwrap();
    assert_eq!(cluster, world.net.cluster);
    let term = Position::load(&schema::open_reader(&database).unwrap()).unwrap().term;
    std::fs::remove_file(&database).unwrap();
    let (_, second) = backup::restore(&file, &database, now + 1).unwrap();
    assert!(second > first && first > 1);
    let connection = schema::open_reader(&database).unwrap();
    assert!(Position::load(&connection).unwrap().term > term);
    let lost = backup::lost(&connection).unwrap();
    assert_eq!(lost, [after.1..ChunkId((now + 1) << backup::BITS_PER_SECOND)]);
    drop(connection);
    // A clock that stands at 1970 is no excuse.
    std::fs::remove_file(&database).unwrap();
    backup::restore(&file, &database, 0).unwrap();
    let lost = backup::lost(&schema::open_reader(&database).unwrap()).unwrap();
    assert_eq!(lost, [after.1..ChunkId(after.1.0 + backup::SKIPPED)]);

    let (store, member) = restored(&world, &file, "restored");
    assert!(member > 1);
    let propose = |edit| world.wait(store.propose(by(None, edit))).unwrap();
    let Outcome::Status(status) = propose(create("/new", "v")) else { panic!("no status") };
    let add =
        Edit::AddChunk { inode: status.inode, holder: "v".into(), previous: None, pipeline: Vec::new() };
    let Outcome::ChunkAdded { chunk: new, generation: newer, .. } = propose(add) else { panic!("no chunk") };
    assert!(status.inode > after.0 && new > after.1 && newer > after.2);
    let stat = |at: &str| world.wait(store.stat(&root(), &path(at)));
    assert_eq!(stat("/kept").unwrap().inode, inode);
    assert!(stat("/lost").is_err());
    let Outcome::Generation(next) = propose(Edit::NewGeneration { inode, holder: "w".into(), chunk }) else {
        panic!("no generation")
    };
    assert!(next > generation && next > after.2);

    // Its own backup remembers what was lost before.
    let again = world.home.path().join("backup-2");
    back_up(&store, &again);
    drop(store);
    let (twice, _) = restored(&world, &again, "restored-twice");
    let lost = Contents::lost_chunks(&twice.contents()).unwrap();
    assert_eq!(lost.len(), 2);
    assert!(lost[0].contains(&after.1) && !lost[0].contains(&new) && !lost[1].contains(&new));
    assert!(lost[1].start > new && twice.counts().next_chunk == lost[1].end);
}

#[test]
fn what_is_no_backup_is_refused() {
    let world = World::new(u64::MAX);
    let refused = |backup: &Path| {
        let made = Directory::make(&world.home.path().join("none"), Beginning::Backup(backup));
        assert!(!world.home.path().join("none").exists());
        let error: Error = made.unwrap_err();
        dfs_types::error::sentence(&error)
    };
    let strange = world.home.path().join("strange");
    std::fs::write(&strange, "a shopping list, but a very long one\n".repeat(1_000)).unwrap();
    assert!(refused(&strange).contains("no backup"));
    Connection::open(world.home.path().join("theirs")).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert!(refused(&world.home.path().join("theirs")).contains("without checksums"));
    assert!(refused(&world.home.path().join("nowhere")).contains("nowhere"));

    world.fill("much", 2_000);
    let good = backed_up(&world, "good");
    let (bytes, bad) = (std::fs::read(&good).unwrap(), world.home.path().join("bad"));
    // Four bytes in the middle of a name hurt no structure of the database.
    let name = bytes.windows(4).rposition(|bytes| bytes == b"1999").unwrap();
    for at in [0, 20, name, bytes.len() - 1] {
        let mut flipped = bytes.clone();
        flipped[at..(at + 4).min(bytes.len())].iter_mut().for_each(|byte| *byte ^= 1);
        std::fs::write(&bad, &flipped).unwrap();
        let said = refused(&bad);
        assert!(said.contains("not what was written") || said.contains("no backup"), "byte {at}: {said}");
    }
    std::fs::write(&bad, &bytes[..bytes.len() - 1]).unwrap();
    assert!(refused(&bad).contains("it ends at byte"));
    std::fs::write(&bad, [&bytes[..], &bytes].concat()).unwrap();
    assert!(refused(&bad).contains("put behind it"));
    drop(Directory::make(&world.home.path().join("fine"), Beginning::Backup(&good)).unwrap());
}

#[test]
fn a_snapshot_of_another_cluster_or_moment_is_refused() {
    let (world, other) = (World::new(u64::MAX), World::new(u64::MAX));
    let file = other.home.path().join("theirs");
    other.lead().back_up(&file).unwrap();
    let position = Position::load(&schema::open_reader(&file).unwrap()).unwrap();
    let prepare = |cluster, index| {
        let prepared = backup::prepare_snapshot(&file, cluster, index, position.term);
        prepared.map_err(|error| error.to_string())
    };
    assert!(prepare(world.net.cluster, position.applied).unwrap_err().contains("of cluster"));
    assert!(prepare(other.net.cluster, position.applied + 1).unwrap_err().contains("ends at entry"));
    assert_eq!(prepare(other.net.cluster, position.applied), Ok(()));
}
