//! Files that are appended to, truncated and concatenated.

use dfs_types::{ErrorCode, InodeId, Layout, Mode};

use super::{Fixture, by, mkdir, path, root, user};
use crate::store::edit::{Edit, Extent, Outcome};

const CHUNK: u64 = 64 << 20;

/// Opens a file, new or not, writes chunks of these lengths and closes it.
fn write(fixture: &Fixture, opened: Edit, lengths: &[u64]) -> InodeId {
    let Outcome::Status(status) = fixture.ok(opened) else { panic!("opening answers with a status") };
    let (inode, holder) = (status.inode, "w".to_owned());
    let mut previous = fixture.wait(fixture.store().end_of(inode)).unwrap().map(|(last, _)| last);
    for length in lengths {
        let add = Edit::AddChunk { inode, holder: holder.clone(), previous, pipeline: Vec::new() };
        let Outcome::ChunkAdded { chunk, generation, .. } = fixture.ok(add) else { panic!("no chunk") };
        previous = Some(Extent { chunk, generation, length: *length });
    }
    fixture.ok(Edit::Complete { inode, holder, last: previous, publish: None });
    inode
}

fn made(at: &str, replication: u32) -> Edit {
    Edit::Create {
        path: path(at),
        holder: "w".into(),
        mode: Mode::FILE.into(),
        replication,
        chunk_size: CHUNK,
        overwrite: false,
        parents: true,
        temporary: false,
    }
}

fn appended(at: &str) -> Edit {
    Edit::Append { path: path(at), holder: "w".into() }
}

fn truncated(at: &str, length: u64) -> Edit {
    Edit::Truncate { path: path(at), length }
}

fn concatenated(target: &str, sources: &[&str]) -> Edit {
    Edit::Concat { target: path(target), sources: sources.iter().map(|source| path(source)).collect() }
}

/// Offset, offset in the chunk and length of each of a file's chunks.
fn pieces(fixture: &Fixture, at: &str) -> Vec<(u64, u64, Option<u64>)> {
    let (_, rows) = fixture.wait(fixture.store().file(&root(), &path(at), 0, u64::MAX)).unwrap();
    rows.iter().map(|row| (row.offset, row.chunk_offset, row.length)).collect()
}

#[test]
fn what_is_appended_goes_into_new_chunks() {
    let fixture = Fixture::new();
    write(&fixture, made("/f", 3), &[1_000]);
    write(&fixture, appended("/f"), &[5]);
    write(&fixture, appended("/f"), &[]);
    assert_eq!(fixture.stat("/f").unwrap().length, 1_005);
    assert_eq!(pieces(&fixture, "/f"), [(0, 0, Some(1_000)), (1_000, 0, Some(5))]);
    fixture.check_invariants();
}

#[test]
fn a_file_that_was_there_before_is_not_discarded_and_its_chunks_are_not_recovered() {
    let fixture = Fixture::new();
    let inode = write(&fixture, made("/f", 3), &[CHUNK, 7]);
    fixture.ok(appended("/f"));
    assert_eq!(fixture.code(Edit::Discard { inode, holder: "w".into() }), ErrorCode::InvalidArgument);
    let (_, chunks) = fixture.wait(fixture.store().file(&root(), &path("/f"), 0, u64::MAX)).unwrap();
    for chunk in &chunks {
        let renewed = Edit::NewGeneration { inode, holder: "w".into(), chunk: chunk.chunk };
        assert_eq!(fixture.code(renewed), ErrorCode::StaleChunk);
    }
    assert_eq!(fixture.wait(fixture.store().open_file(inode, "w")).unwrap().chunks, []);
    // Its writer goes away before it has written anything: there is nothing to ask any node for.
    let closed = Outcome::Recovery { closed: true, chunks: Vec::new() };
    assert_eq!(fixture.ok(Edit::BeginRecovery { inode, holder: None }), closed);
    let status = fixture.stat("/f").unwrap();
    assert_eq!((status.length, status.open), (CHUNK + 7, false));

    // And after: only what is new is recovered.
    fixture.ok(appended("/f"));
    let previous = fixture.wait(fixture.store().end_of(inode)).unwrap().map(|(last, _)| last);
    let add = Edit::AddChunk { inode, holder: "w".into(), previous, pipeline: Vec::new() };
    let Outcome::ChunkAdded { chunk, .. } = fixture.ok(add) else { panic!("no chunk") };
    let Outcome::Recovery { closed: false, chunks } = fixture.ok(Edit::BeginRecovery { inode, holder: None })
    else {
        panic!("there is something to recover")
    };
    let [Extent { chunk: only, generation, length: 0 }] = chunks[..] else { panic!("{chunks:?}") };
    assert_eq!(only, chunk);
    let nothing = Extent { chunk, generation, length: 0 };
    fixture.ok(Edit::CommitRecovery { extent: nothing, lossy: false });
    assert_eq!(fixture.stat("/f").unwrap().length, CHUNK + 7);
    fixture.check_invariants();
}

#[test]
fn a_truncated_file_shows_less_of_its_last_chunk_and_grows_again_behind_it() {
    let fixture = Fixture::new();
    write(&fixture, made("/f", 3), &[CHUNK, CHUNK, 100]);
    fixture.ok(truncated("/f", CHUNK + 10));
    assert_eq!(pieces(&fixture, "/f"), [(0, 0, Some(CHUNK)), (CHUNK, 0, Some(10))]);
    write(&fixture, appended("/f"), &[5]);
    assert_eq!(pieces(&fixture, "/f")[2], (CHUNK + 10, 0, Some(5)));
    fixture.ok(truncated("/f", CHUNK + 3));
    fixture.ok(truncated("/f", CHUNK));
    assert_eq!(pieces(&fixture, "/f"), [(0, 0, Some(CHUNK))]);
    assert_eq!(fixture.code(truncated("/f", CHUNK + 1)), ErrorCode::InvalidArgument);
    fixture.ok(truncated("/f", 0));
    assert_eq!((fixture.stat("/f").unwrap().length, pieces(&fixture, "/f")), (0, vec![]));
    fixture.check_invariants();
}

#[test]
fn many_chunks_that_are_cut_off_wait_to_be_reaped() {
    let fixture = Fixture::new();
    write(&fixture, made("/f", 3), &[512; 300]);
    fixture.ok(truncated("/f", 520));
    assert_eq!(pieces(&fixture, "/f"), [(0, 0, Some(512)), (512, 0, Some(8))]);
    let before = fixture.store().counts();
    assert_eq!((before.files, before.garbage), (2, true));
    fixture.check_invariants();
    assert_eq!(fixture.ok(Edit::Reap { limit: 10 }), Outcome::Reaped { inodes: 1, more: false });
    let after = fixture.store().counts();
    assert_eq!((after.files, after.garbage), (1, false));
    assert_eq!(pieces(&fixture, "/f").len(), 2);
    fixture.check_invariants();
}

#[test]
fn concatenated_files_hand_their_chunks_over() {
    let fixture = Fixture::new();
    write(&fixture, made("/d/a", 3), &[10]);
    write(&fixture, made("/d/b", 2), &[CHUNK, 20]);
    write(&fixture, made("/d/c", 3), &[30]);
    fixture.ok(truncated("/d/b", CHUNK + 1));
    fixture.ok(concatenated("/d/a", &["/d/c", "/d/b"]));
    assert_eq!(fixture.names("/d"), ["a"]);
    assert_eq!(
        pieces(&fixture, "/d/a"),
        [(0, 0, Some(10)), (10, 0, Some(30)), (40, 0, Some(CHUNK)), (40 + CHUNK, 0, Some(1))]
    );
    let status = fixture.stat("/d/a").unwrap();
    assert_eq!((status.length, fixture.stat("/d").unwrap().children), (41 + CHUNK, 1));
    let (_, rows) = fixture.wait(fixture.store().file(&root(), &path("/d/a"), 0, u64::MAX)).unwrap();
    assert!(rows.iter().all(|row| row.layout == Layout::Replicated { replicas: 3 }), "{rows:?}");
    write(&fixture, appended("/d/a"), &[9]);
    assert_eq!(fixture.stat("/d/a").unwrap().length, 50 + CHUNK);
    fixture.check_invariants();
}

#[test]
fn what_can_not_be_concatenated_stays_as_it_is() {
    let fixture = Fixture::new();
    fixture.ok(mkdir("/d"));
    for file in ["/d/a", "/d/b", "/e/far", "/d/open"] {
        write(&fixture, made(file, 3), &[10]);
    }
    write(&fixture, made("/d/empty", 3), &[]);
    fixture.ok(appended("/d/open"));
    for (sources, code) in [
        (&["/d/a"][..], ErrorCode::InvalidArgument),
        (&[], ErrorCode::InvalidArgument),
        (&["/d/b", "/d/b"], ErrorCode::InvalidArgument),
        (&["/d/b", "/e/far"], ErrorCode::InvalidArgument),
        (&["/d/b", "/d/empty"], ErrorCode::InvalidArgument),
        (&["/d/b", "/d/open"], ErrorCode::LeaseConflict),
        (&["/d/b", "/d"], ErrorCode::IsADirectory),
        (&["/d/b", "/d/none"], ErrorCode::NotFound),
    ] {
        let refused = fixture.propose(by(None, concatenated("/d/a", sources))).unwrap_err();
        assert_eq!(refused.code, code, "{refused}");
    }
    assert_eq!(fixture.names("/d"), ["a", "b", "empty", "open"]);
    fixture.check_invariants();
}

#[test]
fn who_may_not_write_neither_appends_nor_truncates_nor_concatenates() {
    let fixture = Fixture::new();
    write(&fixture, made("/d/a", 3), &[10]);
    write(&fixture, made("/d/b", 3), &[10]);
    for edit in [appended("/d/a"), truncated("/d/a", 1), concatenated("/d/a", &["/d/b"])] {
        let refused = fixture.propose(by(Some(user("eve", &[])), edit.clone())).unwrap_err();
        assert_eq!(refused.code, ErrorCode::PermissionDenied, "{edit:?}");
    }
}

#[test]
fn a_close_whose_answer_was_lost_is_answered_again_and_closes_nothing_else() {
    let fixture = Fixture::new();
    let inode = write(&fixture, made("/f", 3), &[1_000]);
    let (last, _) = fixture.wait(fixture.store().end_of(inode)).unwrap().unwrap();
    let again = || Edit::Complete { inode, holder: "w".into(), last: Some(last), publish: None };
    fixture.ok(Edit::Append { path: path("/f"), holder: "v".into() });
    assert!(matches!(fixture.ok(again()), Outcome::Status(_)));
    assert!(fixture.stat("/f").unwrap().open, "the next writer has it open");
    fixture.ok(Edit::Complete { inode, holder: "v".into(), last: None, publish: None });
    fixture.ok(truncated("/f", 10));
    assert!(matches!(fixture.ok(again()), Outcome::Status(status) if status.length == 10));
    let other = Extent { length: 10, ..last };
    fixture.ok(Edit::Append { path: path("/f"), holder: "v".into() });
    let lie = Edit::Complete { inode, holder: "w".into(), last: Some(other), publish: None };
    assert_eq!(fixture.code(lie), ErrorCode::LeaseConflict);
}

#[test]
fn who_gives_a_file_up_does_not_take_it_from_the_next_writer() {
    let fixture = Fixture::new();
    let inode = write(&fixture, made("/f", 3), &[1_000]);
    fixture.ok(appended("/f"));
    let given_up = |holder: &str| Edit::BeginRecovery { inode, holder: Some(holder.into()) };
    assert_eq!(fixture.code(given_up("v")), ErrorCode::LeaseConflict);
    assert!(fixture.stat("/f").unwrap().open);
    let closed = Outcome::Recovery { closed: true, chunks: Vec::new() };
    assert_eq!(fixture.ok(given_up("w")), closed);
    assert_eq!(fixture.ok(given_up("v")), closed, "nobody has it");
}

#[test]
fn the_origin_of_a_truncated_chunk_has_the_chunk_s_own_length() {
    let fixture = Fixture::new();
    let inode = write(&fixture, made("/f", 3), &[1_000]);
    fixture.ok(truncated("/f", 10));
    let (last, _) = fixture.wait(fixture.store().end_of(inode)).unwrap().unwrap();
    assert_eq!(last.length, 10);
    let [told] = &fixture.wait(fixture.store().origins(vec![last.chunk])).unwrap()[..] else { panic!("one") };
    assert_eq!((told.length, told.origin.file_length, told.origin.offset), (1_000, 10, 0));
}
