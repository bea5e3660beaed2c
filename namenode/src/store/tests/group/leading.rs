//! Who leads, and what members that were away find.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use dfs_namenode_raft::{Envelope, Message, MessageType, Snapshot};
use dfs_types::{ClusterSetting, ErrorCode};
use rusqlite::Connection;

use super::{LIMIT, SHORT_LOG, World, is_passing, until};
use crate::store::edit::Edit;
use crate::store::tests::{by, create, mkdir};
use crate::store::{DiskState, PartFile};

/// Longer than two elections take.
const LONG: Duration = Duration::from_millis(2_500);

#[test]
fn a_new_member_is_brought_up_while_edits_go_on() {
    let mut world = World::new(SHORT_LOG);
    world.fill("before", 3_000);
    let (stop, made) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let (stopped, count, store) = (stop.clone(), made.clone(), world.lead().clone());
    let writing = world.runtime.spawn(async move {
        while !stopped.load(Ordering::SeqCst) {
            let number = count.fetch_add(1, Ordering::SeqCst);
            store.propose(by(None, mkdir(&format!("/meanwhile/{number}")))).await.unwrap();
        }
    });
    world.join("two:1");
    world.join("three:1");
    world.await_voters(&[1, 2, 3]);
    stop.store(true, Ordering::SeqCst);
    world.wait(writing).unwrap();
    assert!(made.load(Ordering::SeqCst) > 10, "edits went on");
    assert_eq!(world.leader(), 1, "nobody was disturbed");
    world.check_all_equal();
}

#[test]
fn a_member_that_missed_what_was_trimmed_gets_a_snapshot() {
    let mut world = World::of_three(SHORT_LOG);
    let away = (1..=3).find(|id| *id != world.leader()).unwrap();
    let first = world.installed(away);
    // Until the log was trimmed meanwhile, which takes its moment: each time more.
    let rounds = std::cell::Cell::new(0);
    until("a second snapshot", || {
        rounds.set(rounds.get() + 1);
        world.stop(away);
        // The log is kept for those who are there.
        let is_gone = || world.status(world.leader()).silent.contains(&away);
        until("its absence to be noticed", || is_gone().then_some(()));
        world.ok(&Edit::SetSetting { setting: ClusterSetting::Umask, value: Some(rounds.get() as u64) });
        world.fill(&format!("round-{}", rounds.get()), 2_000 * rounds.get());
        world.start(away);
        world.check_all_equal();
        (world.installed(away) > first).then_some(())
    });
    world.await_voters(&[1, 2, 3]);
    // What came in that way is as good as any: it leads.
    let leader = world.leader();
    world.wait(world.members[&leader].group().hand_over(away)).unwrap();
    assert_eq!(world.leader(), away);
    world.check_all_equal();
}

#[test]
fn one_that_comes_back_disturbs_nobody() {
    let mut world = World::of_three(u64::MAX);
    let leader = world.leader();
    let term = world.status(leader).term;
    let away = (1..=3).find(|id| *id != leader).unwrap();
    world.cut(away);
    let begun = std::time::Instant::now();
    until("elections that it could have lost", || {
        world.ok(&mkdir("/cut"));
        (begun.elapsed() > LONG).then_some(())
    });
    world.heal();
    world.check_all_equal();
    world.stop(away);
    world.fill("stopped", 100);
    world.start(away);
    world.check_all_equal();
    assert_eq!(world.leader(), leader);
    assert_eq!(world.status(leader).term, term, "no election was held");
}

#[test]
fn a_leader_that_is_cut_off_acknowledges_nothing() {
    let world = World::of_three(u64::MAX);
    let old = world.leader();
    world.fill("before", 10);
    world.cut(old);
    let store = world.members[&old].clone();
    let lonely = world.runtime.spawn({
        let store = store.clone();
        async move { store.propose(by(None, mkdir("/lonely"))).await }
    });
    let new = world.leader();
    assert_ne!(new, old);
    assert!(world.status(new).term > 1);
    world.ok(&mkdir("/new"));
    assert_eq!(world.wait(lonely).unwrap().unwrap_err().code, ErrorCode::NotLeader);
    assert_eq!(store.group().surely_leads(), None);
    assert_eq!(world.wait(store.group().lead()).unwrap_err().code, ErrorCode::NotLeader);
    let ahead = *world.members[&new].group().applied().borrow();
    let behind = world.wait(store.group().catch_up(ahead)).unwrap_err();
    assert_eq!(behind.code, ErrorCode::NotLeader, "it does not have what a reader has seen elsewhere");
    world.heal();
    world.check_all_equal();
    world.wait(store.group().catch_up(ahead)).unwrap();
    let names = world.wait(store.list(&super::super::root(), &super::super::path("/"), "", 100)).unwrap().0;
    let names: Vec<_> = names.into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["before", "last", "new"], "nobody was told that /lonely was made");
}

#[test]
fn leadership_is_handed_over_while_edits_go_on() {
    let world = World::of_three(u64::MAX);
    let stop = Arc::new(AtomicBool::new(false));
    let made = Arc::new(AtomicU64::new(0));
    let (stopped, making, stores) = (stop.clone(), made.clone(), world.members.clone());
    let writing = world.runtime.spawn(async move {
        let mut number = 0;
        while !stopped.load(Ordering::SeqCst) {
            number += 1;
            let edit = mkdir(&format!("/busy/{number}"));
            for store in stores.values().cycle() {
                match store.propose(by(None, edit.clone())).await {
                    Ok(_) => break,
                    Err(error) => assert!(is_passing(error.code), "{error}"),
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            making.fetch_add(1, Ordering::SeqCst);
        }
    });
    let mut term = 0;
    for round in 0..6 {
        let from = world.leader();
        let to = (0..3).map(|step| 1 + (round + step) % 3).find(|id| *id != from).unwrap();
        // A member may be a little behind when it is asked; then the leader keeps it.
        until("the leadership to go over", || {
            let leader = world.leader();
            let handed = world.wait(world.members[&leader].group().hand_over(to));
            (handed.is_ok() && world.leader() == to).then_some(())
        });
        let now = world.status(to).term;
        assert!(now > term);
        term = now;
        let before = made.load(Ordering::SeqCst);
        until("an edit since the leadership went over", || {
            (made.load(Ordering::SeqCst) > before).then_some(())
        });
    }
    stop.store(true, Ordering::SeqCst);
    world.wait(writing).unwrap();
    world.check_all_equal();
    let nobody = world.lead().group().hand_over(99);
    let refused = world.wait(nobody).unwrap_err();
    assert!(refused.message.contains("NameNode 99 did not take the leadership over"), "{refused}");
    world.ok(&mkdir("/still"));
}

#[test]
fn after_a_hand_over_that_nobody_took_the_leader_is_sure_again_when_it_asks() {
    let world = World::of_three(u64::MAX);
    let leader = world.leader();
    let term = world.status(leader).term;
    let (away, other) = (1 + leader % 3, 1 + (leader + 1) % 3);
    let group = |id: u64| world.members[&id].group();
    assert_eq!(world.wait(group(leader).term_led()), Some(term));
    world.cut(away);
    world.wait(group(leader).hand_over(away)).unwrap_err();
    world.ok(&mkdir("/still"));
    assert_eq!((world.leader(), world.status(leader).term), (leader, term), "it leads as before");
    assert_eq!(group(leader).surely_leads(), None, "without asking it can't be sure");
    assert_eq!(world.wait(group(leader).term_led()), Some(term));
    assert_eq!(world.wait(group(other).term_led()), None);
    // Of nobody it gets an answer.
    world.cut(other);
    assert_eq!(world.wait(group(leader).term_led()), None);
    world.heal();
    world.check_all_equal();
}

#[test]
fn a_leader_whose_database_fails_hands_over_before_it_ends() {
    let world = World::of_three(u64::MAX);
    let old = world.leader();
    let term = world.status(old).term;
    world.fill("kept", 10);
    // Stands for any error of SQLite in the middle of an edit.
    let vandal = Connection::open(world.directory(old).join("namespace.db")).unwrap();
    vandal.execute_batch("DROP TABLE lease").unwrap();
    let failed = world.wait(world.members[&old].propose(by(None, create("/f", "w")))).unwrap_err();
    assert_eq!(failed.code, ErrorCode::Unavailable, "{failed}");
    until("it to end", || world.members[&old].health().err());
    until("it to see that another is elected", || (world.status(old).term > term).then_some(()));
    let disk = world.members[&old].group().disk();
    assert_eq!(disk.state, DiskState::Failed, "others see it, too");
    world.cut(old);
    world.ok(&mkdir("/without-it"));
}

#[test]
fn a_snapshot_that_is_ignored_leaves_no_file() {
    let world = World::of_three(u64::MAX);
    let (leader, term) = (world.leader(), world.status(world.leader()).term);
    let other = 1 + leader % 3;
    // Of a past that it has applied long ago; several may come in one step.
    let files: Vec<PathBuf> = (1..=3)
        .map(|index| {
            let file = PartFile::new(&world.directory(other), "incoming");
            let path = file.path().to_owned();
            std::fs::write(&path, "a database").unwrap();
            let mut snapshot = Snapshot::default();
            (snapshot.mut_metadata().index, snapshot.mut_metadata().term) = (index, 1);
            let mut message = Message { from: leader, to: other, term, ..Message::default() };
            message.set_msg_type(MessageType::MsgSnapshot);
            message.set_snapshot(snapshot);
            let envelope = Envelope { message, ..Envelope::default() };
            world.wait(world.members[&other].group().deliver_snapshot(envelope, file)).unwrap();
            path
        })
        .collect();
    until("the files to go", || files.iter().all(|file| !file.exists()).then_some(()));
    assert_eq!(world.members[&other].health(), Ok(()));
    world.check_all_equal();
}

#[test]
fn why_a_member_gets_no_copy_is_told_until_it_has_one() {
    let mut world = World::new(SHORT_LOG);
    world.fill("before", 100);
    *world.net.refusal.lock().unwrap() = Some("its disk has no room".to_owned());
    let id = world.join("two:1");
    let told = until("the reason", || world.status(1).refusals.get(&id).cloned());
    assert_eq!(told, "its disk has no room");
    *world.net.refusal.lock().unwrap() = None;
    world.await_voters(&[1, id]);
    until("it to be over", || world.status(1).refusals.is_empty().then_some(()));
    world.check_all_equal();
}

#[test]
fn without_a_majority_nothing_is_promised_and_with_it_everything_goes_on() {
    let mut world = World::of_three(u64::MAX);
    let leader = world.leader();
    let others: Vec<u64> = (1..=3).filter(|id| *id != leader).collect();
    for id in &others {
        world.stop(*id);
    }
    let store = world.members[&leader].clone();
    let waiting = world.wait(async {
        tokio::time::timeout(LIMIT, store.propose(by(None, mkdir("/nobody")))).await.unwrap()
    });
    assert_eq!(waiting.unwrap_err().code, ErrorCode::NotLeader);
    until("the leader to see that nobody follows", || (!world.status(leader).leads).then_some(()));
    assert_eq!(store.health(), Ok(()), "it waits for the others");
    world.start(others[0]);
    world.ok(&mkdir("/two-are-enough"));
    world.start(others[1]);
    world.check_all_equal();
}
