//! Readers that use the cache never see the past.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use dfs_types::{ErrorCode, FileStatus, Millis};

use super::{Fixture, NOW, by, create, delete, mkdir, path, rename, root};
use crate::store::Store;
use crate::store::edit::{Edit, Proposal};

/// What readers of one value share: nobody may see less than was acknowledged, or seen, before he asked.
#[derive(Default)]
struct Register {
    floor: AtomicU64,
    from_cache: AtomicU64,
    done: AtomicBool,
}

impl Register {
    async fn read(&self, store: &Store, at: &str, value: impl Fn(&FileStatus) -> u64) {
        while !self.done.load(Ordering::SeqCst) {
            let floor = self.floor.load(Ordering::SeqCst);
            let status = match store.cached_stat(&root(), &path(at)) {
                Some(status) => {
                    self.from_cache.fetch_add(1, Ordering::SeqCst);
                    status.unwrap()
                }
                None => store.stat(&root(), &path(at)).await.unwrap(),
            };
            let seen = value(&status);
            assert!(seen >= floor, "{at}: saw {seen} after {floor}");
            self.floor.fetch_max(seen, Ordering::SeqCst);
            tokio::task::yield_now().await;
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap()
}

#[test]
fn a_value_never_goes_back() {
    let fixture = Fixture::new();
    fixture.new_file("/d/e/f", "w");
    let store = fixture.store().clone();
    let runtime = runtime();
    let (times, children) = (Arc::new(Register::default()), Arc::new(Register::default()));
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (own, register) = (store.clone(), times.clone());
        let read = async move { register.read(&own, "/d/e/f", |status| status.mtime.0).await };
        readers.spawn_on(read, runtime.handle());
        let (own, register) = (store.clone(), children.clone());
        let read = async move { register.read(&own, "/d", |status| status.children).await };
        readers.spawn_on(read, runtime.handle());
    }
    runtime.block_on(async {
        let start = store.stat(&root(), &path("/d/e/f")).await.unwrap().mtime.0;
        for step in 1..=300 {
            let now = start + step;
            let edit = Edit::SetTimes { path: path("/d/e/f"), mtime: Some(Millis(now)), atime: None };
            let other = mkdir(&format!("/d/{step}"));
            let (set, made) = tokio::join!(store.propose(by(None, edit)), store.propose(by(None, other)));
            set.unwrap();
            made.unwrap();
            times.floor.fetch_max(now, Ordering::SeqCst);
            children.floor.fetch_max(step + 1, Ordering::SeqCst);
            if step % 10 == 0 {
                // Gives the cache a moment without commits, to be filled and used.
                wait_for_hits(&times).await;
                wait_for_hits(&children).await;
            }
        }
        times.done.store(true, Ordering::SeqCst);
        children.done.store(true, Ordering::SeqCst);
        while let Some(reader) = readers.join_next().await {
            reader.unwrap();
        }
    });
    drop(store);
}

/// Waits until the cache served another read.
async fn wait_for_hits(register: &Register) {
    let before = register.from_cache.load(Ordering::SeqCst);
    let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
    while register.from_cache.load(Ordering::SeqCst) == before {
        assert!(tokio::time::Instant::now() < deadline, "the cache served nothing");
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_path_that_never_existed_is_never_seen() {
    let fixture = Fixture::new();
    fixture.ok(mkdir("/a/kept"));
    let store = fixture.store().clone();
    let runtime = runtime();
    let done = Arc::new(AtomicBool::new(false));
    let mut readers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (store, done) = (store.clone(), done.clone());
        let read = async move {
            while !done.load(Ordering::SeqCst) {
                // `c` is only ever in the directory while that is called `/x`.
                let error = store.stat(&root(), &path("/a/c")).await.unwrap_err();
                assert_eq!(error.code, ErrorCode::NotFound);
                // Fills the cache with `/x` and `/x/c`.
                let _ = store.stat(&root(), &path("/x/c")).await;
                let _ = store.stat(&root(), &path("/a/kept")).await;
            }
        };
        readers.spawn_on(read, runtime.handle());
    }
    runtime.block_on(async {
        for _ in 0..100 {
            for edit in
                [rename("/a", "/x", false), create("/x/c", "w"), delete("/x/c"), rename("/x", "/a", false)]
            {
                store.propose(by(None, edit)).await.unwrap();
            }
        }
        done.store(true, Ordering::SeqCst);
        while let Some(reader) = readers.join_next().await {
            reader.unwrap();
        }
    });
}

#[test]
fn the_cache_drops_what_an_edit_touches_and_keeps_directories_as_they_are_now() {
    let fixture = Fixture::new();
    for at in ["/d/f", "/e/g"] {
        fixture.new_file(at, "w");
        fixture.stat(at).unwrap();
    }
    let cached = |at: &str| fixture.store().cached_stat(&root(), &path(at)).map(Result::unwrap);
    assert!(cached("/d/f").is_some() && cached("/e/g").is_some());
    fixture.ok(Edit::SetReplication { path: path("/d/f"), replication: 2 });
    assert_eq!(cached("/d/f"), None);
    assert!(cached("/e/g").is_some());
    assert_eq!(fixture.stat("/d/f").unwrap().replication, 2);
    // A new entry changes its directory, which is on the way to the others.
    let (before, later) = (cached("/e").unwrap(), NOW.plus(Duration::from_secs(1)));
    fixture.propose(Proposal { now: later, ..by(None, mkdir("/e/new")) }).unwrap();
    let now = cached("/e").unwrap();
    assert_eq!(now, FileStatus { children: 2, mtime: later, ..before });
    assert_eq!(fixture.number("SELECT children FROM inode WHERE name = 'e'"), 2);
    assert!(cached("/e/g").is_some() && cached("/d/f").is_some());
    // Moved with all below it.
    fixture.ok(rename("/e", "/d/e", false));
    assert_eq!((cached("/e"), cached("/e/g")), (None, None));
    assert!(cached("/d/e/g").is_some());
    fixture.ok(Edit::Delete { path: path("/d/e"), recursive: true, expected: None });
    assert_eq!((cached("/d/e"), cached("/d/e/g")), (None, None));
}
