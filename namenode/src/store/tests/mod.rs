//! Tests of the store as a whole; what they share.

mod acl;
mod append;
mod directory;
mod durability;
mod golden;
mod group;
mod levels;
mod linearizability;
mod model;
mod namespace;
mod poison;
mod reading;
mod settings;
mod shared;
mod temporary;
mod trash;
mod usage;
mod writing;
mod xattr;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use dfs_namenode_core::Event;
use dfs_types::format::LEVEL;
use dfs_types::{
    CallId, Caller, ClientId, ClusterId, ErrorCode, FsPath, FsResult, InodeId, Millis, Mode, RequestId,
};
use rusqlite::Connection;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::counters::FIRST_MEMBER;
use super::directory::Directory;
use super::edit::{ATTRIBUTES, Change, Edit, Outcome, PIPELINES, Proposal, QUOTAS};
use super::{Options, Store, schema};

const SUPERUSER: &str = "hdfs";
const NOW: Millis = Millis(1_700_000_000_000);

fn options() -> Options {
    Options {
        superuser: SUPERUSER.to_owned(),
        readers: 2,
        cache_entries: 1_000,
        max_batch: 64,
        min_free: None,
        group: super::group::Options::default(),
        observer: None,
    }
}

fn path(text: &str) -> FsPath {
    FsPath::parse(text).unwrap()
}

fn user(name: &str, groups: &[&str]) -> Caller {
    Caller::new(name.to_owned(), groups.iter().map(|&group| group.to_owned()).collect()).unwrap()
}

fn root() -> Caller {
    user(SUPERUSER, &[])
}

fn mkdir(at: &str) -> Edit {
    Edit::Mkdir { path: path(at), mode: Mode::DIRECTORY.into(), parents: true }
}

fn create(at: &str, holder: &str) -> Edit {
    Edit::Create {
        path: path(at),
        holder: holder.to_owned(),
        mode: Mode::FILE.into(),
        replication: 3,
        chunk_size: 1_024,
        overwrite: false,
        parents: true,
        temporary: false,
    }
}

fn rename(from: &str, to: &str, overwrite: bool) -> Edit {
    Edit::Rename { from: path(from), to: path(to), overwrite }
}

fn delete(at: &str) -> Edit {
    Edit::Delete { path: path(at), recursive: true, expected: None }
}

fn by(caller: Option<Caller>, edit: Edit) -> Proposal {
    Proposal { request: None, caller, now: NOW, edit }
}

fn request(call: u64) -> RequestId {
    let client = ClientId::from_bytes(&[7; 16]).unwrap();
    RequestId { client, call: CallId(call), lowest_unanswered: CallId(0) }
}

/// A store in a temporary directory, driven from synchronous tests.
struct Fixture {
    home: TempDir,
    store: Option<Store>,
    changes: Arc<Mutex<Vec<Change>>>,
    runtime: Runtime,
}

impl Fixture {
    fn new() -> Self {
        Self::at_level(LEVEL)
    }

    /// A namespace that a program of an earlier release has begun.
    fn at_level(level: u16) -> Self {
        let home = tempfile::tempdir().unwrap();
        format_at(level, &home.path().join("nn"), ClusterId::random());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut fixture = Self { home, store: None, changes: Arc::default(), runtime };
        fixture.open();
        fixture
    }

    fn directory(&self) -> PathBuf {
        self.home.path().join("nn")
    }

    fn open(&mut self) {
        let changes = self.changes.clone();
        let sink = Box::new(move |new: Vec<Change>| changes.lock().unwrap().extend(new));
        let store = Store::open(Directory::open(&self.directory()).unwrap(), options(), sink).unwrap();
        self.wait(store.group().lead()).unwrap();
        self.store = Some(store);
    }

    fn close(&mut self) {
        self.store = None;
    }

    fn store(&self) -> &Store {
        self.store.as_ref().unwrap()
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    fn propose(&self, proposal: Proposal) -> FsResult<Outcome> {
        self.wait(self.store().propose(proposal))
    }

    /// As the NameNode itself.
    fn run(&self, edit: Edit) -> FsResult<Outcome> {
        self.propose(by(None, edit))
    }

    fn ok(&self, edit: Edit) -> Outcome {
        let text = format!("{edit:?}");
        self.run(edit).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    fn code(&self, edit: Edit) -> ErrorCode {
        let text = format!("{edit:?}");
        match self.run(edit) {
            Ok(outcome) => panic!("{text}: {outcome:?}"),
            Err(error) => error.code,
        }
    }

    fn stat(&self, at: &str) -> FsResult<dfs_types::FileStatus> {
        self.wait(self.store().stat(&root(), &path(at)))
    }

    /// Names in a directory.
    fn names(&self, at: &str) -> Vec<String> {
        let (entries, more) = self.wait(self.store().list(&root(), &path(at), "", 1_000)).unwrap();
        assert!(!more);
        entries.into_iter().map(|(name, _)| name).collect()
    }

    /// Creates a file, open, and tells its id.
    fn new_file(&self, at: &str, holder: &str) -> InodeId {
        match self.ok(create(at, holder)) {
            Outcome::Status(status) => status.inode,
            other => panic!("{other:?}"),
        }
    }

    fn take_changes(&self) -> Vec<Change> {
        std::mem::take(&mut self.changes.lock().unwrap())
    }

    /// What the decisions were told; nothing else happened.
    fn take_events(&self) -> Vec<Event> {
        let event = |change| match change {
            Change::Event(event) => event,
            other => panic!("{other:?}"),
        };
        self.take_changes().into_iter().map(event).collect()
    }

    fn connection(&self) -> Connection {
        schema::open_reader(&self.directory().join("namespace.db")).unwrap()
    }

    fn number(&self, sql: &str) -> i64 {
        self.connection().query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// What must hold between the tables after any edits.
    fn check_invariants(&self) {
        for (what, sql) in [
            (
                "children are counted",
                "SELECT count(*) FROM inode d WHERE kind = 1 AND children != \
                 (SELECT count(*) FROM inode e WHERE e.parent = d.id) \
                 AND NOT EXISTS (SELECT 1 FROM inode g WHERE g.parent = 1)",
            ),
            (
                "only directories that exist have entries",
                "SELECT count(*) FROM inode e WHERE parent > 1 AND NOT EXISTS \
                 (SELECT 1 FROM inode d WHERE d.id = e.parent AND d.kind = 1)",
            ),
            (
                "a file's length is what readers may count on",
                "SELECT count(*) FROM inode f WHERE kind = 0 AND parent != 1 AND length != \
                 (SELECT coalesce(sum(coalesce(e.length, c.readable - e.at)), 0) \
                 FROM extent e JOIN chunk c ON c.id = e.chunk WHERE e.inode = f.id)",
            ),
            (
                "chunks follow one another",
                "WITH piece AS (SELECT inode, idx, start, coalesce(e.length, c.length - e.at) AS length \
                 FROM extent e JOIN chunk c ON c.id = e.chunk) \
                 SELECT count(*) FROM piece e JOIN piece p ON p.inode = e.inode AND p.idx = e.idx - 1 \
                 WHERE p.length IS NULL OR e.start != p.start + p.length",
            ),
            (
                "only the last chunk of an open file has no length",
                "SELECT count(*) FROM chunk c JOIN extent e ON e.chunk = c.id JOIN inode f ON f.id = e.inode \
                 WHERE c.length IS NULL AND (c.refs > 1 OR NOT f.open)",
            ),
            (
                "a chunk's references are counted",
                "SELECT count(*) FROM chunk c WHERE refs != (SELECT count(*) FROM extent e WHERE e.chunk = c.id)",
            ),
            (
                "an extent lies within its chunk",
                "SELECT count(*) FROM extent e LEFT JOIN chunk c ON c.id = e.chunk \
                 WHERE c.id IS NULL OR e.at + coalesce(e.length, 0) > coalesce(c.length, c.readable)",
            ),
            (
                "a chunk has the replicas that the most demanding of its files wants",
                "SELECT count(*) FROM chunk c WHERE replicas != (SELECT max(f.replication) \
                 FROM extent e JOIN inode f ON f.id = e.inode WHERE e.chunk = c.id)",
            ),
            (
                "every open file has a lease",
                "SELECT count(*) FROM inode f WHERE open AND parent != 1 \
                 AND NOT EXISTS (SELECT 1 FROM lease l WHERE l.inode = f.id)",
            ),
            (
                "every directory knows how far what is below it reaches",
                "WITH RECURSIVE way(above, length) AS (\
                 SELECT parent, 1 + length(CAST(name AS BLOB)) FROM inode WHERE parent > 1 \
                 UNION ALL SELECT d.parent, way.length + 1 + length(CAST(d.name AS BLOB)) \
                 FROM way JOIN inode d ON d.id = way.above WHERE d.parent > 1) \
                 SELECT count(*) FROM way JOIN inode d ON d.id = way.above WHERE d.parent > 1 AND d.below < way.length",
            ),
            (
                "every extent has a file",
                "SELECT count(*) FROM extent e WHERE NOT EXISTS \
                 (SELECT 1 FROM inode f WHERE f.id = e.inode AND f.kind = 0)",
            ),
            (
                "every lease has an open file",
                "SELECT count(*) FROM lease l WHERE NOT EXISTS \
                 (SELECT 1 FROM inode f WHERE f.id = l.inode AND f.open)",
            ),
        ] {
            assert_eq!(self.number(sql), 0, "{what}");
        }
        if self.store().level() >= PIPELINES {
            let strays = "SELECT count(*) FROM pipeline p WHERE NOT EXISTS (SELECT 1 FROM extent e \
                          JOIN lease l ON l.inode = e.inode WHERE e.inode = p.inode AND e.chunk = p.chunk)";
            assert_eq!(self.number(strays), 0, "only open files have pipelines");
        }
        if self.store().level() >= QUOTAS {
            assert_eq!(self.number(MISCOUNTED), 0, "what directories take is as counted anew");
            for (table, bit) in [("quota", 1), ("trash", 2), ("checkpoint", 8)] {
                let said = format!(
                    "SELECT (SELECT count(*) FROM {table}) - (SELECT count(*) FROM inode i JOIN {table} t \
                     ON t.inode = i.id WHERE extras & {bit}) + (SELECT count(*) FROM inode i WHERE extras & {bit} \
                     AND NOT EXISTS (SELECT 1 FROM {table} t WHERE t.inode = i.id))"
                );
                assert_eq!(
                    self.number(&said),
                    0,
                    "who has a row in {table} says so, and nobody else has one"
                );
            }
        }
        if self.store().level() >= ATTRIBUTES {
            let strays =
                "SELECT count(*) FROM xattr x WHERE NOT EXISTS (SELECT 1 FROM inode f WHERE f.id = x.inode)";
            assert_eq!(self.number(strays), 0, "every extended attribute has a file or directory");
            let wrong = "SELECT count(*) FROM inode f WHERE (extras & 4 != 0) != \
                         EXISTS (SELECT 1 FROM xattr x WHERE x.inode = f.id)";
            assert_eq!(self.number(wrong), 0, "a row says whether there are extended attributes");
        }
        let counts = self.store().counts();
        assert_eq!(counts.files as i64, self.number("SELECT count(*) FROM inode WHERE kind = 0"));
        assert_eq!(counts.directories as i64, self.number("SELECT count(*) FROM inode WHERE kind = 1"));
        assert_eq!(counts.open_files as i64, self.number("SELECT count(*) FROM lease"));
        assert_eq!(counts.garbage, self.number("SELECT count(*) FROM inode WHERE parent = 1") > 0);
    }
}

/// Directories of which the usage that is noted is not what a count finds.
const MISCOUNTED: &str = "
WITH RECURSIVE
tree(id) AS (
    SELECT id FROM inode WHERE parent = 0
    UNION ALL SELECT i.id FROM tree JOIN inode i ON i.parent = tree.id WHERE i.kind = 1),
below(top, id) AS (
    SELECT id, id FROM tree
    UNION ALL SELECT top, i.id FROM below JOIN inode i ON i.parent = below.id WHERE i.kind = 1),
weight AS (
    SELECT parent, kind = 0 AS files, kind = 1 AS directories, length, replication * CASE
        WHEN open THEN coalesce((
            SELECT e.start + coalesce(e.length, c.length - e.at, f.chunk_size)
            FROM extent e JOIN chunk c ON c.id = e.chunk WHERE e.inode = f.id ORDER BY e.idx DESC LIMIT 1), 0)
        ELSE length END AS space
    FROM inode f)
SELECT count(*) FROM tree LEFT JOIN usage u ON u.inode = tree.id
WHERE u.inode IS NULL OR (u.files, u.directories, u.length, u.space) IS NOT (
    SELECT coalesce(sum(w.files), 0), coalesce(sum(w.directories), 0), coalesce(sum(w.length), 0),
        coalesce(sum(w.space), 0)
    FROM below b JOIN weight w ON w.parent = b.id WHERE b.top = tree.id)";

/// A bug on purpose.
#[derive(Debug, Clone, Copy)]
pub(super) enum Poison {
    /// Refuses after it has written something.
    Refused,
    /// Breaks a constraint of the database.
    Constraint,
}

/// The bug that an edit has.
pub(super) fn poison_of(edit: &Edit) -> Option<Poison> {
    match edit {
        Edit::Touch { path } if path.as_str() == "/poison/refused" => Some(Poison::Refused),
        Edit::Touch { path } if path.as_str() == "/poison/constraint" => Some(Poison::Constraint),
        _ => None,
    }
}

/// Formats a directory as a program does that knows feature levels up to this one.
fn format_at(level: u16, directory: &Path, cluster: ClusterId) {
    drop(Directory::format(directory, cluster).unwrap());
    let database = directory.join("namespace.db");
    std::fs::remove_file(&database).unwrap();
    schema::create_at(level, &database, cluster, Some(FIRST_MEMBER)).unwrap();
}

/// Every row of every table, to compare databases.
fn dump(database: &Path) -> Vec<String> {
    let connection = Connection::open(database).unwrap();
    let mut rows = Vec::new();
    let mut tables = vec!["inode", "extent", "chunk", "lease", "retry", "counter", "duty", "setting"];
    if schema::level(&connection).unwrap() >= PIPELINES {
        tables.extend(["pipeline", "node", "volume"]);
    }
    if schema::level(&connection).unwrap() >= QUOTAS {
        tables.extend(["usage", "quota", "trash", "checkpoint", "xattr"]);
    }
    for table in tables {
        // The group's clock goes on even if everything is refused.
        let columns = match table {
            "counter" => {
                "next_inode, next_chunk, next_generation, files, directories, open_files, garbage, edits, \
                 next_outcome, next_member"
            }
            _ => "*",
        };
        let query = format!("SELECT {columns} FROM {table} ORDER BY 1, 2");
        let mut statement = connection.prepare(&query).unwrap();
        let columns = statement.column_count();
        let mut found = statement.query([]).unwrap();
        while let Some(row) = found.next().unwrap() {
            let values: Vec<String> =
                (0..columns).map(|at| format!("{:?}", row.get_ref(at).unwrap())).collect();
            rows.push(format!("{table}: {}", values.join(" ")));
        }
    }
    rows
}
