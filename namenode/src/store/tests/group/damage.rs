//! A member whose files are damaged says so and does nothing; the others go on, and another one takes its place.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use dfs_types::ErrorCode;

use super::{SHORT_LOG, World, until};
use crate::store::Store;
use crate::store::directory::{Beginning, Directory};
use crate::store::tests::{mkdir, path, root};

/// Bytes that a device writes as a whole; the log is made of them.
const SECTOR: usize = 512;

/// Directories of a namespace whose database has in its first quarter all that is read at a start.
const MANY: usize = 6_000;

/// The segment of a log that is written to.
fn present_segment(directory: &Path) -> PathBuf {
    let entries = fs::read_dir(directory.join("log")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "seg")).max().unwrap()
}

/// Where the last byte of the log is that was written.
fn end_of_log(directory: &Path) -> (PathBuf, usize) {
    let segment = present_segment(directory);
    let end = fs::read(&segment).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
    (segment, end)
}

fn overwrite(file: &Path, at: usize, bytes: &[u8]) {
    fs::File::options().write(true).open(file).unwrap().write_all_at(bytes, at as u64).unwrap();
}

fn flip(file: &Path, at: usize) {
    let byte = fs::read(file).unwrap()[at];
    overwrite(file, at, &[byte ^ 0x10]);
}

impl World {
    /// A follower that was stopped.
    fn stopped_follower(&mut self) -> u64 {
        let leader = self.leader();
        let id = self.members.keys().copied().find(|id| *id != leader).unwrap();
        self.stop(id);
        id
    }

    /// What is said when a member is started over its directory.
    fn refusal(&self, id: u64) -> String {
        let opened =
            Store::open(Directory::open(&self.directory(id)).unwrap(), self.options(id), Box::new(|_| {}));
        dfs_types::error::sentence(&opened.err().expect("it must not start"))
    }

    /// Replaces a member that is stopped by one with an empty directory at the same address.
    fn replace(&mut self, id: u64) {
        let address = self.lead().group().residences().addresses[&id].clone();
        fs::remove_dir_all(self.directory(id)).unwrap();
        let joined = until("the member to count as gone", || {
            self.wait(self.lead().group().request(crate::store::group::Request::Join(address.clone()))).ok()
        });
        let beginning = Beginning::Member { cluster: self.net.cluster, id: joined };
        drop(Directory::make(&self.directory(joined), beginning).unwrap());
        self.start(joined);
        let voters: Vec<u64> = self.members.keys().copied().collect();
        self.await_voters(&voters);
    }
}

#[test]
fn a_log_with_a_flipped_byte_is_refused_and_the_member_replaced() {
    let mut world = World::of_three(u64::MAX);
    world.fill("some", 300);
    let id = world.stopped_follower();
    let (segment, end) = end_of_log(&world.directory(id));
    let good = fs::read(&segment).unwrap();
    // The last frame, one in the middle, the first one, and the header.
    for at in [end, end / 2, SECTOR + 40, 60] {
        flip(&segment, at);
        let said = world.refusal(id);
        for words in ["damaged at byte", "replace this member: remove its directory", "namenodes.md"] {
            assert!(said.contains(words), "byte {at}: {said}");
        }
        fs::write(&segment, &good).unwrap();
    }
    flip(&segment, end);
    world.ok(&mkdir("/the-others-go-on"));
    world.replace(id);
    world.check_all_equal();
}

/// Stops a follower whose last entry was written to the log, as it turns out, only in part. What is torn was never
/// applied: the database is the one from before.
fn torn(world: &mut World, last: &str) -> u64 {
    let id = world.stopped_follower();
    let directory = world.directory(id);
    let database = fs::read(directory.join("namespace.db")).unwrap();
    let (_, before) = end_of_log(&directory);
    world.ok(&mkdir(last));
    world.start(id);
    until("the entry to be there", || has(world, id, last).then_some(()));
    world.stop(id);
    let (segment, end) = end_of_log(&directory);
    let first_sector = (before / SECTOR + 1) * SECTOR;
    assert!(end - first_sector > 4 * SECTOR, "it takes sectors {before} to {end}");
    overwrite(&segment, first_sector + 2 * SECTOR, &vec![0; end + 1 - first_sector - 2 * SECTOR]);
    fs::write(directory.join("namespace.db"), database).unwrap();
    id
}

fn has(world: &World, id: u64, at: &str) -> bool {
    world.wait(world.members[&id].stat(&root(), &path(at))).is_ok()
}

/// A directory whose making takes several sectors of the log.
fn long() -> String {
    format!("/{}", ["long"; 30].map(|name| name.repeat(25)).join("/"))
}

#[test]
fn a_torn_write_at_the_end_of_the_log_is_dropped_and_caught_up() {
    let mut world = World::of_three(u64::MAX);
    world.fill("some", 50);
    let id = torn(&mut world, &long());
    // A leader that was never told that the entry had arrived there.
    let old = world.leader();
    let new = world.members.keys().copied().find(|id| *id != old).unwrap();
    until("another leader", || {
        let _late = world.wait(world.members[&world.leader()].group().hand_over(new));
        (world.leader() == new).then_some(())
    });
    world.start(id);
    until("it to catch up", || has(&world, id, &long()).then_some(()));
    world.check_all_equal();
}

#[test]
fn a_log_that_lost_what_was_acknowledged_ends_the_member() {
    let mut world = World::of_three(u64::MAX);
    world.fill("some", 50);
    let id = torn(&mut world, &long());
    world.start(id);
    let said = until("the leader to tell", || world.members[&id].health().err());
    assert!(said.contains("has lost entries that were synced") && said.contains("namenodes.md"), "{said}");
    world.stop(id);
    world.replace(id);
    world.check_all_equal();
}

#[test]
fn a_log_that_does_not_belong_to_the_database_is_refused() {
    let mut world = World::of_three(SHORT_LOG);
    world.fill("some", 100);
    let id = world.stopped_follower();
    let directory = world.directory(id);
    let database = fs::read(directory.join("namespace.db")).unwrap();

    // A database from before the log begins.
    let other = world.home.path().join("other");
    let beginning = Beginning::Member { cluster: world.net.cluster, id };
    drop(Directory::make(&other, beginning).unwrap());
    fs::copy(other.join("namespace.db"), directory.join("namespace.db")).unwrap();
    let said = world.refusal(id);
    assert!(said.contains("and the database is at entry 0: replace this NameNode"), "{said}");
    fs::write(directory.join("namespace.db"), &database).unwrap();

    // A log that was emptied.
    for entry in fs::read_dir(directory.join("log")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let said = world.refusal(id);
    assert!(said.contains("replace this NameNode"), "{said}");

    // No log at all.
    fs::remove_dir_all(directory.join("log")).unwrap();
    let said = Directory::open(&directory).unwrap_err().to_string();
    assert!(said.contains("log is missing") && said.contains("namenodes.md"), "{said}");
    world.replace(id);
    world.check_all_equal();
}

#[test]
fn a_damaged_database_is_refused_or_ends_the_member_when_it_is_met() {
    let mut world = World::of_three(u64::MAX);
    world.fill("many", MANY);
    let id = world.stopped_follower();
    let database = world.directory(id).join("namespace.db");
    let good = fs::read(&database).unwrap();
    overwrite(&database, 0, &[0; 100]);
    let said = world.refusal(id);
    assert!(said.contains("replace this NameNode"), "{said}");
    fs::write(&database, &good).unwrap();

    // In the middle, where only the reading of everything or chance meets it.
    let (from, to) = (good.len() / 4, good.len() * 3 / 4);
    overwrite(&database, from, &vec![0x5a; to - from]);
    world.start(id);
    let store = world.members[&id].clone();
    let error =
        world.wait(store.walk_files(&root(), &path("/"), None, 9_999)).expect_err("half of it is gone");
    assert_eq!(error.code, ErrorCode::Internal);
    for words in ["is damaged", "replace this NameNode", "namenodes.md"] {
        assert!(error.message.contains(words), "{error}");
    }
    let health = store.health().unwrap_err();
    assert_eq!(health, error.message);
    let stopped = world.wait(store.propose(super::by(None, mkdir("/x")))).unwrap_err();
    assert!(matches!(stopped.code, ErrorCode::Unavailable | ErrorCode::NotLeader), "{stopped}");
    drop(store);
    world.stop(id);
    world.ok(&mkdir("/the-others-go-on"));
    world.replace(id);
    world.check_all_equal();
}

#[test]
fn a_leader_with_a_damaged_database_is_followed_by_another() {
    let mut world = World::of_three(u64::MAX);
    world.fill("many", MANY);
    let (leader, database) = (world.leader(), world.directory(world.leader()).join("namespace.db"));
    world.stop(leader);
    let good = fs::read(&database).unwrap();
    // Where what it takes to lead is not: the pages that everything needs come first.
    overwrite(&database, good.len() / 2, &vec![0x5a; good.len() / 4]);
    world.start(leader);
    until("it to lead again", || {
        let other = world.leader();
        if other != leader {
            let _behind = world.wait(world.members[&other].group().hand_over(leader));
        }
        world.status(leader).leads.then_some(())
    });
    let walk = world.wait(world.members[&leader].walk_files(&root(), &path("/"), None, 9_999));
    let error = walk.expect_err("half of it is gone");
    assert!(error.message.contains("is damaged"), "{error}");
    until("another leader", || {
        let leads = |id: &u64| *id != leader && world.status(*id).leads;
        world.members.keys().any(leads).then_some(())
    });
    assert!(!world.status(leader).leads);
    world.stop(leader);
    world.replace(leader);
    world.check_all_equal();
}

#[test]
fn a_backup_of_a_damaged_database_is_refused_when_it_is_made() {
    let mut world = World::new(u64::MAX);
    world.fill("many", 3_000);
    world.stop(1);
    let database = world.directory(1).join("namespace.db");
    let length = fs::metadata(&database).unwrap().len() as usize;
    overwrite(&database, length / 2, &vec![0x5a; length / 4]);
    world.start(1);
    let file = world.home.path().join("backup");
    let error = world.lead().back_up(&file).unwrap_err();
    assert!(error.message.contains("damaged") || error.message.contains("malformed"), "{error}");
}
