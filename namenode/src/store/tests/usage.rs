//! What directories take, and quotas.

use dfs_types::{ContentSummary, ErrorCode, InodeId, LimitChange, Quota};
use rusqlite::Connection;

use super::{Fixture, MISCOUNTED, by, create, delete, mkdir, path, rename, root, user};
use crate::store::edit::{Edit, Extent, Outcome, QUOTAS};

fn quota(at: &str, names: Option<u64>, space: Option<u64>) -> Edit {
    let set = |limit: Option<u64>| limit.map_or(LimitChange::Keep, LimitChange::Set);
    Edit::SetQuota { path: path(at), names: set(names), space: set(space) }
}

/// Adds a chunk after the last one that a file has, which was finished with so many bytes.
fn add(fixture: &Fixture, inode: InodeId, previous: Option<Extent>) -> Extent {
    let edit = Edit::AddChunk { inode, holder: "w".into(), previous, pipeline: vec![] };
    let Outcome::ChunkAdded { chunk, generation, .. } = fixture.ok(edit) else { panic!("no chunk") };
    Extent { chunk, generation, length: 10 }
}

impl Fixture {
    fn sum(&self, at: &str) -> ContentSummary {
        self.wait(self.store().content_summary(&root(), &path(at))).unwrap()
    }
}

#[test]
fn a_directory_takes_no_more_than_its_quota() {
    let fixture = Fixture::new();
    fixture.ok(mkdir("/q/d"));
    fixture.ok(quota("/q", Some(3), None));
    fixture.ok(create("/q/f", "w"));
    for edit in [create("/q/g", "w"), create("/q/d/e/g", "w"), mkdir("/q/d/e")] {
        let error = fixture.run(edit).unwrap_err();
        assert_eq!(error.code, ErrorCode::QuotaExceeded);
        assert!(error.message.contains("/q is 3 files and directories"), "{error}");
        assert!(error.message.contains("dfs quota show /q"), "{error}");
    }
    // Within it things move; into it nothing does.
    fixture.ok(mkdir("/other"));
    assert_eq!(fixture.code(rename("/other", "/q/other", false)), ErrorCode::QuotaExceeded);
    fixture.ok(rename("/q/f", "/q/d/f", false));
    fixture.ok(delete("/q/d/f"));
    fixture.ok(rename("/other", "/q/other", false));
    assert_eq!(fixture.sum("/q").quota, Quota { names: Some(3), space: None });

    // A limit below what is there: nothing more comes, but what is there goes.
    fixture.ok(quota("/q", Some(1), None));
    assert_eq!(fixture.code(mkdir("/q/x")), ErrorCode::QuotaExceeded);
    fixture.ok(delete("/q/other"));
    fixture.ok(Edit::SetQuota { path: path("/q"), names: LimitChange::Clear, space: LimitChange::Keep });
    fixture.ok(mkdir("/q/x"));
    assert_eq!(fixture.sum("/q").quota, Quota::default());
    fixture.check_invariants();
}

#[test]
fn a_chunk_that_is_written_takes_a_full_one() {
    let fixture = Fixture::new();
    fixture.ok(mkdir("/q"));
    // Chunks have up to 1024 bytes, and 3 replicas.
    fixture.ok(quota("/q", None, Some(2 * 3_072)));
    let file = fixture.new_file("/q/f", "w");
    let first = add(&fixture, file, None);
    assert_eq!((fixture.sum("/q").space, fixture.sum("/q").length), (3_072, 0));
    let second = add(&fixture, file, Some(first));
    assert_eq!((fixture.sum("/q").space, fixture.sum("/q").length), (30 + 3_072, 10));
    let third = add(&fixture, file, Some(second));
    let more = Edit::AddChunk {
        inode: file,
        holder: "w".into(),
        previous: Some(Extent { length: 1_024, ..third }),
        pipeline: vec![],
    };
    let error = fixture.run(more).unwrap_err();
    assert_eq!(error.code, ErrorCode::QuotaExceeded);
    assert!(error.message.contains("6144 bytes"), "{error}");
    let last = Some(Extent { length: 1_024, ..third });
    fixture.ok(Edit::Complete { inode: file, holder: "w".into(), last, publish: None });
    let length = 10 + 10 + 1_024;
    assert_eq!((fixture.sum("/q").length, fixture.sum("/q").space), (length, length * 3));
    let set = |replication| Edit::SetReplication { path: path("/q/f"), replication };
    assert_eq!(fixture.code(set(6)), ErrorCode::QuotaExceeded);
    fixture.ok(set(5));
    assert_eq!(fixture.sum("/").space, length * 5);
    fixture.check_invariants();
}

#[test]
fn only_a_superuser_sets_quotas_and_only_of_directories() {
    let fixture = Fixture::new();
    fixture.ok(mkdir("/d"));
    fixture.ok(create("/f", "w"));
    let own = by(Some(user("ann", &[])), quota("/d", Some(5), None));
    assert_eq!(fixture.propose(own).unwrap_err().code, ErrorCode::PermissionDenied);
    assert_eq!(fixture.code(quota("/f", Some(5), None)), ErrorCode::NotADirectory);
    assert_eq!(fixture.code(quota("/none", Some(5), None)), ErrorCode::NotFound);
    assert_eq!(fixture.code(quota("/d", Some(0), None)), ErrorCode::InvalidArgument);
    // Below the level that has them.
    let old = Fixture::at_level(QUOTAS - 1);
    assert_eq!(old.code(quota("/", Some(5), None)), ErrorCode::Unsupported);
}

#[test]
fn what_an_earlier_level_left_is_counted_when_it_is_raised() {
    let mut fixture = Fixture::at_level(QUOTAS - 1);
    let file = fixture.new_file("/a/b/f", "w");
    add(&fixture, file, None);
    fixture.ok(mkdir("/z/y"));
    // An older directory below a younger one, and what is deleted and not freed.
    fixture.ok(rename("/a", "/z/y/a", false));
    fixture.ok(mkdir("/gone/with/all"));
    fixture.ok(delete("/gone"));
    fixture.ok(Edit::RaiseLevel { to: QUOTAS });
    assert_eq!(fixture.number(MISCOUNTED), 0);
    let all = ContentSummary { files: 1, directories: 5, space: 3_072, ..ContentSummary::default() };
    assert_eq!(fixture.sum("/"), all);
    fixture.ok(quota("/z", Some(5), None));
    assert_eq!(fixture.code(mkdir("/z/more")), ErrorCode::QuotaExceeded);
    fixture.close();
    fixture.open();
    assert_eq!(fixture.sum("/z").quota.names, Some(5));
    fixture.check_invariants();
}

#[test]
fn a_count_that_is_wrong_is_found() {
    let mut fixture = Fixture::new();
    fixture.ok(mkdir("/a/b"));
    fixture.close();
    let database = Connection::open(fixture.directory().join("namespace.db")).unwrap();
    database.execute("UPDATE usage SET directories = directories + 1 WHERE inode = (SELECT id FROM inode WHERE name = 'a')", []).unwrap();
    drop(database);
    fixture.open();
    assert_eq!(fixture.number(MISCOUNTED), 1);
}
