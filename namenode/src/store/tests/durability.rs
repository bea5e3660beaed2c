//! What survives: crashes, retries, other batch sizes.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use dfs_namenode_core::Event;
use dfs_types::format::{FIRST_LEVEL, LEVEL};
use dfs_types::limits::RETRY_TTL;
use dfs_types::{CallId, ClusterId, ErrorCode, InodeId, Millis, NodeId, RequestId};
use proptest::prelude::*;
use rusqlite::Connection;

use super::model::{Model, ops};
use super::{
    Fixture, NOW, SUPERUSER, by, create, delete, dump, format_at, mkdir, options, path, rename, request, root,
};
use crate::store::apply::{State, apply_entries};
use crate::store::cache::Cache;
use crate::store::directory::Directory;
use crate::store::edit::{Change, Edit, Outcome, Proposal};
use crate::store::record::{Batch, Content, LogEntry, Record};
use crate::store::{Observer, Store, schema};

/// Applies proposals in batches of these sizes, again and again, and dumps the database.
fn applied_in_batches(proposals: &[Proposal], sizes: &[usize]) -> Vec<String> {
    let home = tempfile::tempdir().unwrap();
    format_at(FIRST_LEVEL, &home.path().join("nn"), ClusterId::random());
    let directory = Directory::open(&home.path().join("nn")).unwrap();
    let connection = schema::open_writer(&directory.database()).unwrap();
    connection.pragma_update(None, "synchronous", "OFF").unwrap();
    let mut state = State::load(connection).unwrap();
    let cache = Cache::new(10);
    let mut rest = proposals;
    for size in sizes.iter().cycle() {
        let (batch, after) = rest.split_at((*size).min(rest.len()));
        // One entry a proposal, and as many entries a transaction as the size says.
        let first = state.position().applied + 1;
        let entries: Vec<LogEntry> = batch
            .iter()
            .zip(first..)
            .map(|(proposal, index)| {
                let batch = Batch {
                    clock: proposal.now,
                    superuser: SUPERUSER.to_owned(),
                    proposals: vec![proposal.clone()],
                };
                LogEntry { index, term: 2, content: Content::Record(Record::Edits(batch)) }
            })
            .collect();
        apply_entries(&mut state, &cache, &entries).unwrap();
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    dump(&directory.database())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn the_same_proposals_give_the_same_database(
        script in ops(80),
        sizes in proptest::collection::vec(1..20_usize, 1..5),
    ) {
        // With a change of the level somewhere in most scripts.
        let mut model = Model::new(FIRST_LEVEL);
        let proposals: Vec<Proposal> = script
            .iter()
            .enumerate()
            .map(|(call, op)| {
                let edit = op.edit(&model);
                let now = Millis(NOW.0 + call as u64);
                let _ = model.apply(&edit, now);
                Proposal { request: (call % 3 > 0).then(|| request(call as u64 / 2)), ..Proposal { now, ..by(None, edit) } }
            })
            .collect();
        let singly = applied_in_batches(&proposals, &[1]);
        prop_assert_eq!(&singly, &applied_in_batches(&proposals, &sizes));
        prop_assert_eq!(&singly, &applied_in_batches(&proposals, &[1_000]));
    }
}

#[test]
fn what_comes_after_a_raise_in_one_batch_is_of_the_new_level() {
    let file = InodeId(InodeId::ROOT.0 + 1);
    let nodes = vec![NodeId::from_bytes(&[7; 16]).unwrap()];
    let edits = [
        create("/f", "w"),
        Edit::RaiseLevel { to: LEVEL },
        Edit::AddChunk { inode: file, holder: "w".into(), previous: None, pipeline: nodes },
    ];
    let proposals = edits.map(|edit| by(None, edit));
    let together = applied_in_batches(&proposals, &[proposals.len()]);
    let pipelines = together.iter().filter(|row| row.starts_with("pipeline:")).count();
    assert_eq!(pipelines, 1, "{together:?}");
    assert_eq!(together, applied_in_batches(&proposals, &[1]));
}

/// Copies that must be taken while edits go on.
const ENOUGH_COPIES: usize = 5;
/// Round in which the tables are brought to another level.
const RAISED: u32 = 20;

#[test]
fn every_acknowledged_edit_is_in_a_copy_taken_at_any_moment() {
    let fixture = Fixture::at_level(FIRST_LEVEL);
    let (acknowledged, made) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let written = Arc::new(AtomicBool::new(false));
    let copies = fixture.home.path().join("copies");
    fs::create_dir(&copies).unwrap();
    fixture.wait(async {
        let writing = async {
            let mut round = 0;
            // However slow copying is beside this.
            while round < 40 || made.load(Ordering::SeqCst) < ENOUGH_COPIES {
                round += 1;
                if round == RAISED {
                    let raise = Edit::RaiseLevel { to: LEVEL };
                    fixture.store().propose(by(None, raise)).await.unwrap();
                }
                let mut all = tokio::task::JoinSet::new();
                for index in 0..5 {
                    let store = fixture.store().clone();
                    all.spawn(async move {
                        store.propose(by(None, create(&format!("/{round}/{index}"), "w"))).await
                    });
                }
                while let Some(done) = all.join_next().await {
                    done.unwrap().unwrap();
                    acknowledged.fetch_add(1, Ordering::SeqCst);
                }
            }
            written.store(true, Ordering::SeqCst);
        };
        let (seen, from, to) = (acknowledged.clone(), fixture.directory(), copies.clone());
        let (count, ended) = (made.clone(), written.clone());
        // As a crash would find the files: without the store's knowledge, while it writes.
        let copying = std::thread::spawn(move || {
            let mut expected = Vec::new();
            while !ended.load(Ordering::SeqCst) {
                let at_least = seen.load(Ordering::SeqCst);
                let copy = to.join(expected.len().to_string());
                fs::create_dir(&copy).unwrap();
                // The log last: it then reaches at least as far as the database.
                for file in ["VERSION", "namespace.db", "namespace.db-wal"] {
                    fs::copy(from.join(file), copy.join(file)).unwrap();
                }
                fs::create_dir(copy.join("log")).unwrap();
                for segment in fs::read_dir(from.join("log")).unwrap() {
                    let segment = segment.unwrap().path();
                    fs::copy(&segment, copy.join("log").join(segment.file_name().unwrap())).unwrap();
                }
                expected.push(at_least);
                count.fetch_add(1, Ordering::SeqCst);
            }
            expected
        });
        writing.await;
        let expected = copying.join().unwrap();
        let step = expected.len().div_ceil(20);
        for (index, at_least) in expected.into_iter().enumerate().step_by(step) {
            let directory = Directory::open(&copies.join(index.to_string())).unwrap();
            let store = Store::open(directory, options(), Box::new(|_| {})).unwrap();
            store.group().lead().await.unwrap();
            let summary = store.content_summary(&root(), &path("/")).await.unwrap();
            assert!(summary.files as usize >= at_least, "{} of {at_least} files", summary.files);
            assert_eq!(store.counts().files, summary.files);
        }
    });
}

#[test]
fn a_retry_gets_the_first_answer() {
    let fixture = Fixture::new();
    let ask = |call, edit| fixture.propose(Proposal { request: Some(request(call)), ..by(None, edit) });
    let created = ask(1, create("/f", "w")).unwrap();
    let first = fixture.take_changes();
    assert_eq!(ask(1, create("/f", "w")).unwrap(), created);
    assert_eq!(fixture.take_changes(), [], "nothing happened: {first:?}");
    let Outcome::Status(status) = &created else { panic!("{created:?}") };
    let add =
        || Edit::AddChunk { inode: status.inode, holder: "w".into(), previous: None, pipeline: Vec::new() };
    assert_eq!(ask(2, add()).unwrap(), ask(2, add()).unwrap());
    ask(3, rename("/f", "/g", false)).unwrap();
    ask(3, rename("/f", "/g", false)).unwrap();
    assert_eq!(ask(4, delete("/g")).unwrap(), Outcome::Deleted(true));
    fixture.ok(create("/g", "w"));
    assert_eq!(ask(4, delete("/g")).unwrap(), Outcome::Deleted(true));
    fixture.stat("/g").unwrap();

    // A refusal is not kept: what was wrong may be right by now.
    assert_eq!(ask(5, rename("/x", "/y", false)).unwrap_err().code, ErrorCode::NotFound);
    fixture.ok(mkdir("/x"));
    ask(5, rename("/x", "/y", false)).unwrap();
    // What gives the same twice does not if somebody undoes it in between.
    let made = ask(6, mkdir("/y/z")).unwrap();
    fixture.ok(delete("/y/z"));
    assert_eq!(ask(6, mkdir("/y/z")).unwrap(), made);
    assert_eq!(fixture.stat("/y/z").unwrap_err().code, ErrorCode::NotFound);
    assert_eq!(fixture.number("SELECT count(*) FROM retry"), 6);
    fixture.check_invariants();
}

#[test]
fn a_retry_in_the_same_batch_and_after_a_restart_gets_the_first_answer() {
    let mut fixture = Fixture::new();
    let ask = || Proposal { request: Some(request(1)), ..by(None, create("/f", "w")) };
    let (first, second) = fixture.wait(async {
        let store = fixture.store();
        tokio::join!(store.propose(ask()), store.propose(ask()))
    });
    assert_eq!(first.as_ref().unwrap(), second.as_ref().unwrap());
    let taken = fixture
        .take_changes()
        .iter()
        .filter(|change| matches!(change, Change::Event(Event::LeaseTaken { .. })))
        .count();
    assert_eq!(taken, 1);
    fixture.close();
    fixture.open();
    assert_eq!(fixture.propose(ask()).unwrap(), first.unwrap());
}

/// Applies an edit with this call at a time of the group's clock.
fn apply_at(state: &mut State, call: u64, edit: Edit, clock: Millis) -> Outcome {
    let proposal = Proposal { request: Some(request(call)), ..by(None, edit) };
    let batch = Batch { clock, superuser: SUPERUSER.to_owned(), proposals: vec![proposal] };
    let index = state.position().applied + 1;
    let entry = LogEntry { index, term: 2, content: Content::Record(Record::Edits(batch)) };
    apply_entries(state, &Cache::new(10), &[entry]).unwrap().remove(0).unwrap().0
}

/// Applies renames with these calls at a time of the group's clock.
fn rename_at(state: &mut State, calls: std::ops::Range<u64>, clock: Millis) {
    for call in calls {
        apply_at(state, call, rename("/a", "/a", false), clock);
    }
}

#[test]
fn a_retry_after_a_snapshot_was_taken_over_gets_the_first_answer() {
    let mut fixture = Fixture::new();
    fixture.ok(mkdir("/a"));
    fixture.close();
    let open = |database: &Path| State::load(schema::open_writer(database).unwrap()).unwrap();
    let mut leader = open(&fixture.directory().join("namespace.db"));
    let deleted = apply_at(&mut leader, 1, delete("/a"), NOW);
    assert_eq!(deleted, Outcome::Deleted(true));
    let home = tempfile::tempdir().unwrap();
    let snapshot = home.path().join("snapshot.db");
    crate::store::backup::copy(&fixture.directory().join("namespace.db"), &snapshot).unwrap();
    let behind = Directory::format(&home.path().join("nn"), ClusterId::random()).unwrap();
    let mut behind = open(&behind.database());
    behind.replace(&Cache::new(10), &snapshot).unwrap();
    assert_eq!(apply_at(&mut behind, 1, delete("/a"), NOW), deleted);
    assert_eq!(apply_at(&mut behind, 2, delete("/a"), NOW), Outcome::Deleted(false));
}

#[test]
fn old_outcomes_are_forgotten_by_the_groups_clock() {
    let mut fixture = Fixture::new();
    fixture.ok(mkdir("/a"));
    fixture.close();
    let database = fixture.directory().join("namespace.db");
    let mut state = State::load(schema::open_writer(&database).unwrap()).unwrap();
    let begin = Millis(state.counters().clock + 1_000);
    rename_at(&mut state, 0..100, begin);
    rename_at(&mut state, 100..200, begin.plus(RETRY_TTL / 2));
    assert_eq!(fixture.number("SELECT count(*) FROM retry"), 200);
    rename_at(&mut state, 200..300, begin.plus(RETRY_TTL + Duration::from_millis(1)));
    assert_eq!(fixture.number("SELECT count(*) FROM retry"), 200, "the first hundred are gone");
    assert_eq!(fixture.number(&format!("SELECT count(*) FROM retry WHERE at = {}", begin.0)), 0);
    // A leader whose clock is behind does not turn it back; a request that was forgotten is a new one.
    rename_at(&mut state, 0..1, begin);
    let kept = format!("SELECT at FROM retry WHERE call = {}", request(0).call.0);
    assert_eq!(fixture.number(&kept) as u64, state.counters().clock);
    assert_eq!(state.counters().clock, begin.plus(RETRY_TTL + Duration::from_millis(1)).0);
}

#[test]
fn a_client_that_says_what_it_waits_for_leaves_one_outcome() {
    let mut fixture = Fixture::new();
    for call in 1..=50 {
        let request = RequestId { lowest_unanswered: CallId(call), ..request(call) };
        let edit = by(None, mkdir(&format!("/{call}")));
        fixture.propose(Proposal { request: Some(request), ..edit }).unwrap();
    }
    assert_eq!(fixture.number("SELECT count(*) FROM retry"), 1);
    let again = |call| Proposal { request: Some(request(call)), ..by(None, mkdir(&format!("/{call}"))) };
    for _ in 0..2 {
        assert!(fixture.propose(again(50)).is_ok(), "its answer may have been lost");
        let late = fixture.propose(again(49)).unwrap_err();
        assert_eq!(late.code, ErrorCode::InvalidArgument, "{late}");
        assert!(late.message.contains("look whether it was done"), "{late}");
        fixture.close();
        fixture.open();
    }
    assert_eq!(fixture.names("/").len(), 50);
}

#[test]
fn outcomes_of_clients_that_say_nothing_are_bounded() {
    let mut fixture = Fixture::new();
    fixture.ok(mkdir("/a"));
    fixture.close();
    let database = fixture.directory().join("namespace.db");
    let mut state = State::load(schema::open_writer(&database).unwrap()).unwrap();
    let clock = Millis(state.counters().clock);
    rename_at(&mut state, 0..5_000, clock);
    assert_eq!(fixture.number("SELECT count(*) FROM retry"), 4_096, "of one client");
    assert_eq!(fixture.number("SELECT min(call) FROM retry"), 5_000 - 4_096);
}

#[test]
fn old_outcomes_go_without_other_edits_too() {
    let mut fixture = Fixture::new();
    fixture.ok(mkdir("/a"));
    fixture.close();
    let database = fixture.directory().join("namespace.db");
    let mut state = State::load(schema::open_writer(&database).unwrap()).unwrap();
    let begin = Millis(state.counters().clock);
    rename_at(&mut state, 0..100, begin);
    let purge = |state: &mut State, clock: Millis| {
        let proposals = vec![by(None, Edit::PurgeOutcomes { limit: 60 })];
        let batch = Batch { clock, superuser: SUPERUSER.to_owned(), proposals };
        let index = state.position().applied + 1;
        let entry = LogEntry { index, term: 2, content: Content::Record(Record::Edits(batch)) };
        apply_entries(state, &Cache::new(10), &[entry]).unwrap();
        state.oldest_outcome().is_some()
    };
    assert!(purge(&mut state, begin.plus(RETRY_TTL)), "none is too old");
    assert_eq!(fixture.number("SELECT count(*) FROM retry"), 100);
    let late = begin.plus(RETRY_TTL + Duration::from_millis(1));
    assert!(purge(&mut state, late));
    assert_eq!(fixture.number("SELECT count(*) FROM retry"), 40);
    assert!(!purge(&mut state, late), "nothing is left, and nothing more is to be proposed");
}

#[test]
fn after_a_failure_nothing_is_written_but_reads_go_on() {
    let fixture = Fixture::new();
    fixture.ok(mkdir("/kept"));
    assert_eq!(fixture.store().health(), Ok(()));
    // Stands for any error of SQLite in the middle of an edit.
    let vandal = Connection::open(fixture.directory().join("namespace.db")).unwrap();
    vandal.execute_batch("DROP TABLE lease").unwrap();
    let failed = fixture.run(create("/f", "w")).unwrap_err();
    assert_eq!(failed.code, ErrorCode::Unavailable, "another NameNode may know what became of it");
    assert!(failed.message.contains("replace this NameNode"), "{}", failed.message);
    let after = fixture.run(mkdir("/innocent")).unwrap_err();
    assert_eq!(after.code, ErrorCode::Unavailable, "{after}");
    assert!(fixture.store().health().unwrap_err().contains("no such table"));
    assert_eq!(fixture.names("/"), ["kept"], "half an edit is never seen");
    // What stopped the writer is in the log: a restart meets it again, and the database is what must be replaced.
}

#[test]
fn commits_are_shared_and_observed() {
    struct Count(AtomicUsize, AtomicUsize);
    impl Observer for Count {
        fn on_commit(&self, edits: usize, _took: Duration) {
            self.0.fetch_add(1, Ordering::SeqCst);
            self.1.fetch_add(edits, Ordering::SeqCst);
        }

        fn on_sync(&self, _took: Duration) {}
    }
    let mut fixture = Fixture::new();
    fixture.close();
    let count = Arc::new(Count(AtomicUsize::new(0), AtomicUsize::new(0)));
    let observed = crate::store::Options { observer: Some(count.clone()), ..options() };
    let directory = Directory::open(&fixture.directory()).unwrap();
    let store = Store::open(directory, observed, Box::new(|_| {})).unwrap();
    fixture.wait(async {
        store.group().lead().await.unwrap();
        let mut all = tokio::task::JoinSet::new();
        for index in 0..500 {
            let store = store.clone();
            all.spawn(async move { store.propose(by(None, mkdir(&format!("/{index}")))).await });
        }
        while let Some(done) = all.join_next().await {
            done.unwrap().unwrap();
        }
    });
    let metrics = store.metrics();
    assert_eq!((metrics.edits, count.1.load(Ordering::SeqCst)), (500, 500));
    assert_eq!(metrics.commits as usize, count.0.load(Ordering::SeqCst));
    assert!(metrics.commits < 250, "{} commits for 500 edits", metrics.commits);
}

#[test]
fn dropping_the_store_finishes_what_was_proposed() {
    let mut fixture = Fixture::new();
    fixture.wait(async {
        for index in 0..50 {
            let store = fixture.store();
            let edit = by(None, mkdir(&format!("/{index}")));
            // Polled once, which queues it; then nobody waits for the answer.
            let proposing = store.propose(edit);
            tokio::select! {
                biased;
                _ = proposing => {}
                () = std::future::ready(()) => {}
            }
        }
    });
    fixture.close();
    fixture.open();
    assert_eq!(fixture.names("/").len(), 50);
}
