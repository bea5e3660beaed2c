//! Chunks that several files have a part of. No edit makes such files yet: their rows are written by hand.

use dfs_namenode_core::Event;
use dfs_types::{ChunkId, GenStamp, InodeId, Layout};
use rusqlite::Connection;

use super::{Fixture, delete, path, root};
use crate::store::ChunkRow;
use crate::store::edit::{Edit, Extent};

const CHUNK: ChunkId = ChunkId::FIRST;

/// `/whole` has a chunk of 9 bytes, of which `/part` has 4 from the third on.
fn shared() -> Fixture {
    let mut fixture = Fixture::new();
    let whole = fixture.new_file("/whole", "w");
    let part = fixture.new_file("/part", "w");
    fixture.ok(Edit::AddChunk { inode: whole, holder: "w".into(), previous: None, pipeline: vec![] });
    let last = Some(Extent { chunk: CHUNK, generation: GenStamp::FIRST, length: 9 });
    let complete = |inode: InodeId, last| Edit::Complete { inode, holder: "w".into(), last, publish: None };
    fixture.ok(complete(whole, last));
    fixture.ok(complete(part, None));
    fixture.close();
    let database = Connection::open(fixture.directory().join("namespace.db")).unwrap();
    let inode = part.0 as i64;
    database.execute("INSERT INTO extent VALUES (?1, 0, ?2, 0, 2, 4)", (inode, CHUNK.0 as i64)).unwrap();
    database.execute("UPDATE chunk SET refs = 2", []).unwrap();
    database.execute("UPDATE inode SET length = 4 WHERE id = ?1", [inode]).unwrap();
    let counted = "UPDATE usage SET length = length + 4, space = space + 4 * 3 WHERE inode = ?1";
    database.execute(counted, [InodeId::ROOT.0 as i64]).unwrap();
    drop(database);
    fixture.open();
    fixture.check_invariants();
    fixture.take_events();
    fixture
}

fn replicas(replicas: u32) -> Event {
    Event::LayoutChanged { chunk: CHUNK, layout: Layout::Replicated { replicas } }
}

#[test]
fn a_chunk_goes_with_the_last_file_that_has_a_part_of_it() {
    for order in [["/whole", "/part"], ["/part", "/whole"]] {
        let fixture = shared();
        let [first, last] = order;
        fixture.ok(delete(first));
        assert_eq!(fixture.take_events(), [], "{first}");
        assert_eq!(fixture.number("SELECT refs FROM chunk"), 1);
        fixture.check_invariants();
        let (_, rows) = fixture.wait(fixture.store().file(&root(), &path(last), 0, u64::MAX)).unwrap();
        assert_eq!(rows.len(), 1);
        fixture.ok(delete(last));
        assert_eq!(fixture.take_events(), [Event::ChunkRemoved { chunk: CHUNK }]);
        assert_eq!(fixture.number("SELECT count(*) FROM chunk"), 0);
        fixture.check_invariants();
    }
}

#[test]
fn a_part_tells_where_in_the_chunk_it_lies() {
    let fixture = shared();
    let row = |chunk_offset, length| ChunkRow {
        chunk: CHUNK,
        generation: GenStamp::FIRST,
        index: 0,
        offset: 0,
        chunk_offset,
        length: Some(length),
        readable: length,
        layout: Layout::Replicated { replicas: 3 },
    };
    for (at, expected) in [("/whole", row(0, 9)), ("/part", row(2, 4))] {
        let (_, rows) = fixture.wait(fixture.store().file(&root(), &path(at), 0, u64::MAX)).unwrap();
        assert_eq!(rows, [expected], "{at}");
        let (_, beyond) = fixture.wait(fixture.store().file(&root(), &path(at), 9, u64::MAX)).unwrap();
        assert_eq!(beyond, [], "{at}");
    }
}

#[test]
fn a_chunk_has_the_replicas_that_the_most_demanding_file_wants() {
    let fixture = shared();
    let set = |at: &str, replication| {
        fixture.ok(Edit::SetReplication { path: path(at), replication });
        fixture.check_invariants();
        fixture.take_events()
    };
    assert_eq!(set("/part", 5), [replicas(5)]);
    assert_eq!(set("/whole", 2), []);
    assert_eq!(set("/part", 1), [replicas(2)]);
    assert_eq!(set("/whole", 4), [replicas(4)]);
    fixture.ok(delete("/whole"));
    assert_eq!(fixture.take_events(), [replicas(1)], "who wanted more is gone");
    fixture.check_invariants();
}
