//! Feature levels of one NameNode.

use dfs_types::format::{FIRST_LEVEL, LEVEL, database_version};
use dfs_types::{ErrorCode, NodeId};
use rusqlite::Connection;

use super::{Fixture, by, mkdir, user};
use crate::store::directory::Directory;
use crate::store::edit::{Edit, Extent, Outcome, PIPELINES};
use crate::store::{Store, schema};

/// The tables and indexes as SQLite has them.
fn schema_of(fixture: &Fixture) -> Vec<(String, String)> {
    let connection = fixture.connection();
    let mut statement =
        connection.prepare("SELECT name, coalesce(sql, '') FROM sqlite_schema ORDER BY name").unwrap();
    // How it was written down does not matter.
    let words = |sql: String| sql.split_whitespace().collect::<Vec<_>>().join(" ");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, words(row.get(1)?)))).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[test]
fn a_namespace_of_an_earlier_level_stays_there_until_it_is_raised() {
    let mut fixture = Fixture::at_level(FIRST_LEVEL);
    assert_eq!(fixture.store().level(), FIRST_LEVEL);
    let file = fixture.new_file("/f", "w");
    let add = |pipeline| Edit::AddChunk { inode: file, holder: "w".into(), previous: None, pipeline };
    let nodes = vec![NodeId::from_bytes(&[1; 16]).unwrap(), NodeId::from_bytes(&[2; 16]).unwrap()];
    assert_eq!(fixture.code(add(nodes.clone())), ErrorCode::Unsupported, "no such edit gets into the log");
    fixture.ok(mkdir("/a"));
    let own = by(Some(user("ann", &[])), Edit::RaiseLevel { to: LEVEL });
    assert_eq!(fixture.propose(own).unwrap_err().code, ErrorCode::PermissionDenied);
    fixture.close();
    fixture.open();
    assert_eq!(fixture.store().level(), FIRST_LEVEL);

    fixture.ok(Edit::RaiseLevel { to: LEVEL });
    assert_eq!(fixture.store().level(), LEVEL);
    assert_eq!(fixture.number("PRAGMA user_version"), i64::from(database_version(LEVEL)));
    assert_eq!(schema_of(&fixture), schema_of(&Fixture::new()), "as a new one");
    assert_eq!(fixture.ok(Edit::RaiseLevel { to: PIPELINES }), Outcome::Done, "it is there already");
    let Outcome::ChunkAdded { chunk, .. } = fixture.ok(add(nodes.clone())) else { panic!("no chunk") };
    let known = vec![(chunk, nodes)];
    assert_eq!(fixture.wait(fixture.store().pipelines(file)).unwrap(), known);
    fixture.close();
    fixture.open();
    assert_eq!(fixture.store().level(), LEVEL);
    assert_eq!(fixture.wait(fixture.store().pipelines(file)).unwrap(), known);
    fixture.check_invariants();
}

#[test]
fn who_was_written_to_once_is_remembered() {
    let fixture = Fixture::at_level(FIRST_LEVEL);
    let node = |byte| NodeId::from_bytes(&[byte; 16]).unwrap();
    let add = |inode, pipeline| Edit::AddChunk { inode, holder: "w".into(), previous: None, pipeline };
    let go_on = |inode, chunk, nodes: &[NodeId]| {
        let Outcome::Generation(generation) =
            fixture.ok(Edit::NewGeneration { inode, holder: "w".into(), chunk })
        else {
            panic!("no generation")
        };
        let extent = Extent { chunk, generation, length: 10 };
        fixture.ok(Edit::UpdatePipeline { inode, holder: "w".into(), extent, pipeline: nodes.to_vec() });
        fixture.wait(fixture.store().pipelines(inode)).unwrap()
    };
    let old = fixture.new_file("/old", "w");
    let Outcome::ChunkAdded { chunk: of_old, .. } = fixture.ok(add(old, vec![])) else { panic!("no chunk") };
    fixture.ok(Edit::RaiseLevel { to: LEVEL });
    assert_eq!(go_on(old, of_old, &[node(1)]), [], "nobody knows who else has it");

    let new = fixture.new_file("/new", "w");
    let all = vec![node(1), node(2), node(3)];
    let Outcome::ChunkAdded { chunk, .. } = fixture.ok(add(new, all.clone())) else { panic!("no chunk") };
    assert_eq!(go_on(new, chunk, &[node(1)]), [(chunk, all.clone())], "2 and 3 may have all of it");
    let more = [all, vec![node(4)]].concat();
    assert_eq!(go_on(new, chunk, &[node(1), node(4)]), [(chunk, more)]);
    fixture.check_invariants();
}

#[test]
fn a_later_level_is_refused_in_words() {
    let mut fixture = Fixture::new();
    fixture.close();
    let database = fixture.directory().join("namespace.db");
    let set = |version: u32| {
        Connection::open(&database).unwrap().pragma_update(None, "user_version", version).unwrap();
    };
    let refused = || {
        let directory = Directory::open(&fixture.directory()).unwrap();
        Store::open(directory, super::options(), Box::new(|_| {})).err().unwrap()
    };
    set(database_version(LEVEL + 1));
    let error = refused();
    assert!(
        matches!(error, crate::store::Error::Database(schema::Error::Level { found }) if found == u32::from(LEVEL) + 1)
    );
    let release = env!("CARGO_PKG_VERSION");
    let (text, later) = (error.to_string(), LEVEL + 1);
    for word in [format!("level {later}"), format!("to {LEVEL}"), release.to_owned()] {
        assert!(text.contains(&word), "{text}");
    }
    set(database_version(FIRST_LEVEL) - 1);
    let text = refused().to_string();
    for version in [database_version(FIRST_LEVEL) - 1, database_version(FIRST_LEVEL), database_version(LEVEL)]
    {
        assert!(text.contains(&version.to_string()), "{text}");
    }
}
