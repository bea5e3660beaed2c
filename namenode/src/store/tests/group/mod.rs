//! Several members in one process, connected without sockets.

mod backups;
mod damage;
mod leading;
mod levels;
mod members;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use dfs_namenode_raft::Envelope;
use dfs_types::format::LEVEL;
use dfs_types::{CallId, ClientId, ClusterId, ErrorCode, FsResult, RequestId};
use tempfile::TempDir;
use tokio::runtime::{Handle, Runtime};
use tokio::task::JoinSet;

use super::{by, dump, format_at, mkdir, options};
use crate::store::counters::FIRST_MEMBER;
use crate::store::directory::{Beginning, Directory};
use crate::store::edit::{Edit, Outcome, Proposal};
use crate::store::group::{Group, Request, Status, Transport};
use crate::store::position::Position;
use crate::store::{Options, PartFile, Store, backup, group, schema};

/// Longest wait for a condition.
const LIMIT: Duration = Duration::from_mins(1);
/// A log that is trimmed after some hundred edits.
const SHORT_LOG: u64 = 32 << 10;

/// Waits until `check` answers something.
fn until<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Some(value) = check() {
            return value;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What connects the members.
struct Net {
    cluster: ClusterId,
    runtime: Handle,
    groups: Mutex<BTreeMap<u64, (Weak<Group>, PathBuf)>>,
    /// Members that nobody reaches and that reach nobody.
    cut: Mutex<BTreeSet<u64>>,
    /// Why nobody takes a snapshot.
    refusal: Mutex<Option<String>>,
}

impl Net {
    fn group(&self, id: u64) -> Option<(Arc<Group>, PathBuf)> {
        let groups = self.groups.lock().unwrap();
        let (group, directory) = groups.get(&id)?;
        Some((group.upgrade()?, directory.clone()))
    }

    fn reach(&self, from: u64, to: u64) -> Option<(Arc<Group>, PathBuf)> {
        let cut = self.cut.lock().unwrap();
        if cut.contains(&from) || cut.contains(&to) { None } else { self.group(to) }
    }
}

/// A member's end of it.
struct End {
    net: Arc<Net>,
    own: u64,
}

impl Transport for End {
    fn send(&self, envelope: Envelope) {
        let to = envelope.message.to;
        match (self.net.reach(self.own, to), self.net.group(self.own)) {
            (Some((group, _)), _) => group.deliver(envelope),
            (None, Some((own, _))) => own.unreachable(to),
            (None, None) => {}
        }
    }

    fn send_snapshot(&self, envelope: Envelope, file: PathBuf) {
        let (net, own, to) = (Arc::clone(&self.net), self.own, envelope.message.to);
        std::thread::spawn(move || {
            let refusal = net.refusal.lock().unwrap().clone();
            let target = net.reach(own, to).filter(|_| refusal.is_none());
            let arrived = target.is_some_and(|(group, directory)| {
                let metadata = envelope.message.get_snapshot().get_metadata().clone();
                let copy = PartFile::new(&directory, "incoming");
                let (path, index, term) = (copy.path(), metadata.index, metadata.term);
                fs::copy(file, path).is_ok()
                    && backup::prepare_snapshot(path, net.cluster, index, term).is_ok()
                    && net.runtime.block_on(group.deliver_snapshot(envelope, copy)).is_ok()
            });
            if let Some((group, _)) = net.group(own) {
                let why = refusal.unwrap_or_else(|| "nobody took it".to_owned());
                group.snapshot_sent(to, Some(why).filter(|_| !arrived));
            }
        });
    }
}

/// A group whose members come and go.
pub(super) struct World {
    home: TempDir,
    net: Arc<Net>,
    pub(super) members: BTreeMap<u64, Store>,
    log_bytes: u64,
    // After the members, whose end it may be needed for.
    runtime: Runtime,
}

impl World {
    /// The first member, which leads.
    fn new(log_bytes: u64) -> Self {
        Self::at_level(LEVEL, log_bytes)
    }

    /// Of a group that programs of an earlier release have begun.
    fn at_level(level: u16, log_bytes: u64) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let net = Net {
            cluster: ClusterId::random(),
            runtime: runtime.handle().clone(),
            groups: Mutex::default(),
            cut: Mutex::default(),
            refusal: Mutex::default(),
        };
        let home = tempfile::tempdir().unwrap();
        let mut world = Self { home, net: Arc::new(net), members: BTreeMap::new(), log_bytes, runtime };
        format_at(level, &world.directory(FIRST_MEMBER), world.net.cluster);
        world.start(FIRST_MEMBER);
        world.wait(world.members[&FIRST_MEMBER].group().lead()).unwrap();
        // The others say theirs when they join.
        world.request(&Request::Move(FIRST_MEMBER, "one:1".to_owned())).unwrap();
        world
    }

    /// Three that vote.
    pub(super) fn of_three(log_bytes: u64) -> Self {
        let mut world = Self::new(log_bytes);
        world.join("two:1");
        world.join("three:1");
        world.await_voters(&[1, 2, 3]);
        world
    }

    fn directory(&self, id: u64) -> PathBuf {
        self.home.path().join(format!("nn-{id}"))
    }

    pub(super) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    fn options(&self, id: u64) -> Options {
        let group = group::Options {
            log_bytes: self.log_bytes,
            transport: Arc::new(End { net: Arc::clone(&self.net), own: id }),
            ..group::Options::default()
        };
        Options { group, ..options() }
    }

    pub(super) fn start(&mut self, id: u64) {
        let path = self.directory(id);
        let store = Store::open(Directory::open(&path).unwrap(), self.options(id), Box::new(|_| {})).unwrap();
        self.net.groups.lock().unwrap().insert(id, (Arc::downgrade(store.group()), path));
        self.members.insert(id, store);
    }

    pub(super) fn stop(&mut self, id: u64) {
        drop(self.members.remove(&id).unwrap());
    }

    fn cut(&self, id: u64) {
        self.net.cut.lock().unwrap().insert(id);
    }

    fn heal(&self) {
        self.net.cut.lock().unwrap().clear();
    }

    fn status(&self, id: u64) -> Status {
        self.members[&id].group().status().borrow().clone()
    }

    /// Who leads, once somebody does that is not cut off.
    pub(super) fn leader(&self) -> u64 {
        until("a leader", || {
            let cut = self.net.cut.lock().unwrap().clone();
            self.members.keys().copied().find(|id| !cut.contains(id) && self.status(*id).leads)
        })
    }

    pub(super) fn lead(&self) -> &Store {
        &self.members[&self.leader()]
    }

    /// Asks whoever leads until there is an answer that another try would not change.
    fn request(&self, request: &Request) -> FsResult<u64> {
        until("an answer of the leader", || match self.wait(self.lead().group().request(request.clone())) {
            Err(error) if matches!(error.code, ErrorCode::NotLeader | ErrorCode::Busy) => None,
            answer => Some(answer),
        })
    }

    /// Takes a new member in; answers its id.
    fn join(&mut self, address: &str) -> u64 {
        let id = self.request(&Request::Join(address.to_owned())).unwrap();
        let beginning = Beginning::Member { cluster: self.net.cluster, id };
        drop(Directory::make(&self.directory(id), beginning).unwrap());
        self.start(id);
        id
    }

    /// Waits until exactly these vote, as all of them that run know.
    fn await_voters(&self, ids: &[u64]) {
        until(&format!("{ids:?} to vote"), || {
            let knows = |store: &Store| {
                let mut members = store.group().residences().members;
                members.voters.sort_unstable();
                members.voters == ids && members.all() == ids
            };
            ids.iter().filter_map(|id| self.members.get(id)).all(knows).then_some(())
        });
    }

    /// As a client: one request, asked again until somebody answers it.
    fn ok(&self, edit: &Edit) -> Outcome {
        let client = ClientId::random();
        let request = RequestId { client, call: CallId(1), lowest_unanswered: CallId(1) };
        until("an edit's answer", || {
            let proposal = Proposal { request: Some(request), ..by(None, edit.clone()) };
            match self.wait(self.lead().propose(proposal)) {
                Ok(outcome) => Some(outcome),
                Err(error) if is_passing(error.code) => None,
                Err(error) => panic!("{edit:?}: {error}"),
            }
        })
    }

    /// Many directories `/<name>/<number>` at once.
    pub(super) fn fill(&self, name: &str, count: usize) {
        let store = self.lead().clone();
        let name = name.to_owned();
        self.wait(async move {
            let mut all = JoinSet::new();
            for number in 0..count {
                let (store, edit) = (store.clone(), mkdir(&format!("/{name}/{number}")));
                all.spawn(async move { store.propose(by(None, edit)).await });
            }
            while let Some(done) = all.join_next().await {
                done.unwrap().unwrap();
            }
        });
    }

    /// Waits until all that run have applied the same, and compares what they have.
    pub(super) fn check_all_equal(&self) {
        self.ok(&mkdir("/last"));
        let applied = |store: &Store| *store.group().applied().borrow();
        until("everybody to have everything", || {
            let most = self.members.values().map(applied).max();
            self.members.values().all(|store| Some(applied(store)) == most).then_some(())
        });
        let mut dumps = self.members.keys().map(|id| (id, dump(&self.directory(*id).join("namespace.db"))));
        let (first, expected) = dumps.next().unwrap();
        for (id, found) in dumps {
            assert!(found == expected, "NameNodes {first} and {id} have different databases");
        }
        let settings = self.lead().settings();
        assert!(self.members.values().all(|store| store.settings() == settings), "as the databases say");
    }

    /// Entry that the member's database began with.
    fn installed(&self, id: u64) -> u64 {
        let database = self.directory(id).join("namespace.db");
        Position::load(&schema::open_reader(&database).unwrap()).unwrap().installed
    }
}

/// Whether a client asks again.
fn is_passing(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::NotLeader | ErrorCode::Busy | ErrorCode::Unavailable)
}
