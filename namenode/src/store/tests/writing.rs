//! Leases, chunks, recovery, reaping.

use dfs_namenode_core::Event;
use dfs_types::{ChunkId, ErrorCode, GenStamp, InodeId, Layout};

use super::{Fixture, create, delete, mkdir, path, rename, root};
use crate::store::edit::{Change, Edit, Extent, Outcome, RECOVERY_HOLDER};

use ErrorCode::{InvalidArgument, LeaseConflict, NotFound, StaleChunk};

const FIRST: ChunkId = ChunkId::FIRST;
const SECOND: ChunkId = ChunkId(ChunkId::FIRST.0 + 1);
const GEN: GenStamp = GenStamp::FIRST;

fn extent(chunk: ChunkId, generation: u64, length: u64) -> Extent {
    Extent { chunk, generation: GenStamp(GEN.0 + generation), length }
}

fn add(inode: InodeId, previous: Option<Extent>) -> Edit {
    Edit::AddChunk { inode, holder: "w".into(), previous, pipeline: Vec::new() }
}

fn complete(inode: InodeId, last: Option<Extent>) -> Edit {
    Edit::Complete { inode, holder: "w".into(), last, publish: None }
}

fn pipeline(inode: InodeId, extent: Extent) -> Edit {
    Edit::UpdatePipeline { inode, holder: "w".into(), extent, pipeline: Vec::new() }
}

fn commit_length(inode: InodeId, extent: Extent) -> Edit {
    Edit::CommitLength { inode, holder: "w".into(), extent }
}

fn new_generation(inode: InodeId, chunk: ChunkId) -> Edit {
    Edit::NewGeneration { inode, holder: "w".into(), chunk }
}

fn abandon(inode: InodeId, chunk: ChunkId) -> Edit {
    Edit::AbandonChunk { inode, holder: "w".into(), chunk }
}

#[test]
fn a_file_from_create_to_complete() {
    let fixture = Fixture::new();
    let inode = fixture.new_file("/f", "w");
    let added = fixture.ok(add(inode, None));
    assert_eq!(added, Outcome::ChunkAdded { chunk: FIRST, generation: GEN, index: 0, offset: 0 });
    let first = extent(FIRST, 0, 1_000);
    let added = fixture.ok(add(inode, Some(first)));
    let generation = GenStamp(GEN.0 + 1);
    assert_eq!(added, Outcome::ChunkAdded { chunk: SECOND, generation, index: 1, offset: 1_000 });
    fixture.ok(commit_length(inode, extent(SECOND, 1, 10)));
    assert_eq!(fixture.stat("/f").unwrap().length, 1_010);
    fixture.ok(commit_length(inode, extent(SECOND, 1, 5)));
    assert_eq!(fixture.stat("/f").unwrap().length, 1_010, "an older call changes nothing");
    fixture.take_events();

    let last = extent(SECOND, 1, 24);
    let closed = fixture.ok(complete(inode, Some(last)));
    assert!(matches!(&closed, Outcome::Status(status) if !status.open && status.length == 1_024));
    assert_eq!(
        fixture.take_events(),
        [Event::ChunkCommitted { chunk: SECOND, generation, length: 24 }, Event::LeaseReleased { inode }]
    );
    assert_eq!(fixture.ok(complete(inode, Some(last))), closed, "the call again succeeds");
    assert_eq!(fixture.code(complete(inode, Some(extent(SECOND, 1, 25)))), LeaseConflict);
    assert_eq!(fixture.code(add(inode, Some(last))), LeaseConflict);
    assert_eq!(fixture.take_events(), []);
    fixture.check_invariants();
}

#[test]
fn only_the_holder_writes() {
    let fixture = Fixture::new();
    let inode = fixture.new_file("/f", "somebody else");
    for edit in [
        add(inode, None),
        abandon(inode, FIRST),
        commit_length(inode, extent(FIRST, 0, 1)),
        complete(inode, None),
        new_generation(inode, FIRST),
        pipeline(inode, extent(FIRST, 0, 1)),
    ] {
        let error = fixture.run(edit).unwrap_err();
        assert_eq!(error.code, LeaseConflict);
        assert!(error.message.contains("being written by somebody else"), "{}", error.message);
    }
    let error = fixture.wait(fixture.store().open_file(inode, "w")).unwrap_err();
    assert_eq!(error.code, LeaseConflict);
    let open = fixture.wait(fixture.store().open_file(inode, "somebody else")).unwrap();
    assert_eq!((open.status.inode, open.chunks.len()), (inode, 0));
}

#[test]
fn the_last_chunk_must_be_known() {
    let fixture = Fixture::new();
    let inode = fixture.new_file("/f", "w");
    assert_eq!(fixture.code(add(inode, Some(extent(FIRST, 0, 1)))), StaleChunk);
    assert_eq!(fixture.code(complete(inode, Some(extent(FIRST, 0, 1)))), StaleChunk);
    fixture.ok(add(inode, None));
    for (edit, code) in [
        (add(inode, None), StaleChunk),
        (complete(inode, None), StaleChunk),
        (add(inode, Some(extent(FIRST, 1, 1))), StaleChunk),
        (add(inode, Some(extent(FIRST, 0, 0))), InvalidArgument),
        (add(inode, Some(extent(FIRST, 0, 1_025))), InvalidArgument),
        (abandon(inode, SECOND), StaleChunk),
        (commit_length(inode, extent(FIRST, 1, 1)), StaleChunk),
        (commit_length(inode, extent(FIRST, 0, 1_025)), InvalidArgument),
    ] {
        assert_eq!(fixture.code(edit), code);
    }
    fixture.ok(commit_length(inode, extent(FIRST, 0, 100)));
    assert_eq!(fixture.code(add(inode, Some(extent(FIRST, 0, 99)))), StaleChunk);
    assert_eq!(fixture.code(abandon(inode, FIRST)), StaleChunk);
    fixture.check_invariants();
}

#[test]
fn an_abandoned_chunk_leaves_the_one_before() {
    let fixture = Fixture::new();
    let inode = fixture.new_file("/f", "w");
    fixture.ok(add(inode, None));
    let first = extent(FIRST, 0, 7);
    fixture.ok(add(inode, Some(first)));
    fixture.take_events();
    fixture.ok(abandon(inode, SECOND));
    assert_eq!(fixture.take_events(), [Event::ChunkRemoved { chunk: SECOND }]);
    assert_eq!(fixture.code(complete(inode, Some(extent(FIRST, 0, 8)))), StaleChunk);
    let third = ChunkId(SECOND.0 + 1);
    let added = fixture.ok(add(inode, Some(first)));
    assert!(matches!(added, Outcome::ChunkAdded { chunk, index: 1, offset: 7, .. } if chunk == third));
    fixture.ok(abandon(inode, third));
    fixture.take_events();
    fixture.ok(complete(inode, Some(first)));
    assert_eq!(fixture.take_events(), [Event::LeaseReleased { inode }], "the length was fixed before");
    fixture.check_invariants();
}

#[test]
fn a_broken_pipeline_gets_a_new_generation() {
    let fixture = Fixture::new();
    let inode = fixture.new_file("/f", "w");
    fixture.ok(add(inode, None));
    fixture.ok(commit_length(inode, extent(FIRST, 0, 50)));
    assert_eq!(fixture.code(pipeline(inode, extent(FIRST, 1, 60))), InvalidArgument, "never given out");
    assert_eq!(fixture.ok(new_generation(inode, FIRST)), Outcome::Generation(GenStamp(GEN.0 + 1)));
    assert_eq!(fixture.code(pipeline(inode, extent(FIRST, 0, 60))), StaleChunk);
    assert_eq!(fixture.code(pipeline(inode, extent(FIRST, 1, 49))), StaleChunk, "readers count on more");
    fixture.take_events();
    fixture.ok(pipeline(inode, extent(FIRST, 1, 60)));
    let generation = GenStamp(GEN.0 + 1);
    assert_eq!(fixture.take_events(), [Event::GenerationChanged { chunk: FIRST, generation }]);
    assert_eq!(fixture.stat("/f").unwrap().length, 60);

    // The chunk before the last: its length is fixed, but its replicas may still be finished anew.
    fixture.ok(add(inode, Some(extent(FIRST, 1, 100))));
    fixture.ok(new_generation(inode, FIRST));
    assert_eq!(fixture.code(pipeline(inode, extent(FIRST, 3, 101))), StaleChunk);
    fixture.take_events();
    fixture.ok(pipeline(inode, extent(FIRST, 3, 80)));
    let generation = GenStamp(GEN.0 + 3);
    assert_eq!(
        fixture.take_events(),
        [
            Event::GenerationChanged { chunk: FIRST, generation },
            Event::ChunkCommitted { chunk: FIRST, generation, length: 100 },
        ]
    );
    fixture.ok(add(inode, Some(extent(SECOND, 2, 1))));
    assert_eq!(fixture.code(new_generation(inode, FIRST)), StaleChunk, "settled");
    fixture.check_invariants();
}

#[test]
fn recovery_takes_the_file_from_its_writer() {
    let fixture = Fixture::new();
    let inode = fixture.new_file("/f", "w");
    fixture.ok(add(inode, None));
    fixture.ok(commit_length(inode, extent(FIRST, 0, 50)));
    fixture.take_events();
    let begin = || Edit::BeginRecovery { inode, holder: None };
    let wanted =
        |generation: u64| Outcome::Recovery { closed: false, chunks: vec![extent(FIRST, generation, 50)] };
    assert_eq!(fixture.code(Edit::CommitRecovery { extent: extent(FIRST, 0, 50), lossy: false }), StaleChunk);
    assert_eq!(fixture.ok(begin()), wanted(1));
    assert_eq!(fixture.ok(begin()), wanted(2));
    let taken = Event::LeaseTaken { inode, holder: RECOVERY_HOLDER.into() };
    assert_eq!(fixture.take_events(), [taken]);
    assert_eq!(fixture.code(complete(inode, Some(extent(FIRST, 0, 50)))), LeaseConflict);
    let holder = RECOVERY_HOLDER.to_owned();
    let pretender = Edit::Complete { inode, holder, last: Some(extent(FIRST, 0, 50)), publish: None };
    assert_eq!(fixture.code(pretender), LeaseConflict, "nobody can call himself that");
    let commit =
        |generation, length| Edit::CommitRecovery { extent: extent(FIRST, generation, length), lossy: false };
    assert_eq!(fixture.code(commit(1, 60)), StaleChunk, "an older attempt");
    assert_eq!(fixture.code(commit(2, 1_025)), InvalidArgument);
    for lost in [0, 49] {
        assert_eq!(fixture.code(commit(2, lost)), StaleChunk, "50 bytes were acknowledged");
    }
    fixture.ok(commit(2, 60));
    let generation = GenStamp(GEN.0 + 2);
    assert_eq!(
        fixture.take_events(),
        [Event::ChunkCommitted { chunk: FIRST, generation, length: 60 }, Event::LeaseReleased { inode },]
    );
    fixture.ok(commit(2, 60));
    assert_eq!(fixture.code(commit(2, 61)), StaleChunk);
    assert_eq!(fixture.ok(begin()), Outcome::Recovery { closed: true, chunks: Vec::new() });
    let status = fixture.stat("/f").unwrap();
    assert!(!status.open && status.length == 60);
    assert_eq!(fixture.take_events(), []);
    fixture.check_invariants();
}

#[test]
fn recovery_without_replicas_drops_the_chunk() {
    let fixture = Fixture::new();
    let inode = fixture.new_file("/f", "w");
    fixture.ok(add(inode, None));
    fixture.ok(add(inode, Some(extent(FIRST, 0, 9))));
    let begun = Outcome::Recovery { closed: false, chunks: vec![extent(FIRST, 2, 9), extent(SECOND, 3, 0)] };
    assert_eq!(fixture.ok(Edit::BeginRecovery { inode, holder: None }), begun);
    fixture.take_events();
    fixture.ok(Edit::CommitRecovery { extent: extent(SECOND, 3, 0), lossy: false });
    assert_eq!(fixture.take_events(), [Event::ChunkRemoved { chunk: SECOND }]);
    assert!(fixture.stat("/f").unwrap().open, "the chunk before it is not known to be complete");
    assert_eq!(fixture.code(Edit::CommitRecovery { extent: extent(SECOND, 3, 0), lossy: false }), NotFound);
    fixture.ok(Edit::CommitRecovery { extent: extent(FIRST, 0, 9), lossy: false });
    let committed = Event::ChunkCommitted { chunk: FIRST, generation: GEN, length: 9 };
    assert_eq!(fixture.take_events(), [committed, Event::LeaseReleased { inode }]);
    let status = fixture.stat("/f").unwrap();
    assert!(!status.open && status.length == 9);

    let empty = fixture.new_file("/empty", "w");
    fixture.take_events();
    let closed = Outcome::Recovery { closed: true, chunks: Vec::new() };
    assert_eq!(fixture.ok(Edit::BeginRecovery { inode: empty, holder: None }), closed);
    assert_eq!(fixture.take_events(), [Event::LeaseReleased { inode: empty }]);
    fixture.check_invariants();
}

#[test]
fn recovery_of_a_committed_chunk_ends_with_exactly_its_length() {
    let fixture = Fixture::new();
    let inode = fixture.new_file("/f", "w");
    fixture.ok(add(inode, None));
    fixture.ok(add(inode, Some(extent(FIRST, 0, 1_000))));
    fixture.ok(commit_length(inode, extent(SECOND, 1, 7)));
    let begun =
        Outcome::Recovery { closed: false, chunks: vec![extent(FIRST, 2, 1_000), extent(SECOND, 3, 7)] };
    assert_eq!(fixture.ok(Edit::BeginRecovery { inode, holder: None }), begun);
    fixture.take_events();
    let commit = |chunk, generation, length| Edit::CommitRecovery {
        extent: extent(chunk, generation, length),
        lossy: false,
    };
    for wrong in [0, 999, 1_001] {
        assert_eq!(fixture.code(commit(FIRST, 2, wrong)), StaleChunk);
    }
    fixture.ok(commit(FIRST, 2, 1_000));
    let generation = GenStamp(GEN.0 + 2);
    let committed = Event::ChunkCommitted { chunk: FIRST, generation, length: 1_000 };
    assert_eq!(fixture.take_events(), [committed]);
    fixture.ok(commit(FIRST, 2, 1_000));
    assert_eq!(fixture.take_events(), [], "a repeated call changes nothing");
    fixture.ok(commit(SECOND, 3, 20));
    let status = fixture.stat("/f").unwrap();
    assert!(!status.open && status.length == 1_020);
    fixture.check_invariants();
}

#[test]
fn a_chunk_that_lost_its_end_ends_the_file() {
    let fixture = Fixture::new();
    let inode = fixture.new_file("/f", "w");
    fixture.ok(add(inode, None));
    fixture.ok(add(inode, Some(extent(FIRST, 0, 1_000))));
    fixture.ok(commit_length(inode, extent(SECOND, 1, 7)));
    fixture.ok(Edit::BeginRecovery { inode, holder: None });
    fixture.take_events();
    let commit = |length, lossy| Edit::CommitRecovery { extent: extent(FIRST, 2, length), lossy };
    assert_eq!(fixture.code(commit(600, false)), StaleChunk);
    assert_eq!(fixture.code(commit(1_001, true)), StaleChunk);
    fixture.ok(commit(600, true));
    let committed = Event::ChunkCommitted { chunk: FIRST, generation: GenStamp(GEN.0 + 2), length: 600 };
    let changes = [Event::ChunkRemoved { chunk: SECOND }, committed, Event::LeaseReleased { inode }];
    assert_eq!(fixture.take_events(), changes);
    let status = fixture.stat("/f").unwrap();
    assert!(!status.open && status.length == 600);
    fixture.check_invariants();
}

#[test]
fn writing_goes_on_after_a_rename_and_ends_with_a_delete() {
    let fixture = Fixture::new();
    let inode = fixture.new_file("/d/f", "w");
    fixture.ok(rename("/d", "/e", false));
    fixture.ok(add(inode, None));
    assert_eq!(fixture.wait(fixture.store().path_of(inode)).unwrap(), Some(path("/e/f")));
    fixture.take_events();
    fixture.ok(delete("/e"));
    assert_eq!(fixture.take_changes(), [Change::Garbage]);
    for edit in [
        add(inode, Some(extent(FIRST, 0, 1))),
        complete(inode, Some(extent(FIRST, 0, 1))),
        Edit::BeginRecovery { inode, holder: None },
    ] {
        assert_eq!(fixture.code(edit), NotFound);
    }
    assert_eq!(fixture.wait(fixture.store().path_of(inode)).unwrap(), None);
    assert_eq!(fixture.wait(fixture.store().open_file(inode, "w")).unwrap_err().code, NotFound);
    // Another file is not disturbed by what waits to be reaped.
    let other = fixture.new_file("/other", "w");
    fixture.ok(add(other, None));
    fixture.check_invariants();
}

#[test]
fn deleted_trees_are_reaped_in_bounded_steps() {
    let fixture = Fixture::new();
    for directory in 0..5 {
        for file in 0..10 {
            fixture.new_file(&format!("/t/d{directory}/deep/f{file}"), "w");
        }
    }
    fixture.ok(mkdir("/t/empty"));
    let inode = fixture.new_file("/t/d0/open", "w");
    fixture.ok(add(inode, None));
    fixture.new_file("/keep", "w");
    let (files, directories) = (51, 1 + 5 + 5 + 1);
    fixture.ok(delete("/t"));
    fixture.take_changes();
    assert_eq!(fixture.names("/"), ["keep"]);
    assert!(fixture.store().counts().garbage);

    let mut freed = 0;
    for _ in 0..1_000 {
        let (inodes, more) = match fixture.ok(Edit::Reap { limit: 7 }) {
            Outcome::Reaped { inodes, more } => (inodes, more),
            other => panic!("{other:?}"),
        };
        assert!(inodes <= 7);
        freed += inodes;
        fixture.check_invariants();
        if !more {
            break;
        }
    }
    assert_eq!(freed, files + directories);
    let changes = fixture.take_changes();
    let is_released = |change: &&Change| matches!(change, Change::Event(Event::LeaseReleased { .. }));
    assert_eq!(changes.iter().filter(is_released).count(), files as usize);
    assert!(changes.contains(&Event::ChunkRemoved { chunk: FIRST }.into()));
    let counts = fixture.store().counts();
    assert_eq!((counts.files, counts.directories, counts.garbage), (1, 1, false));
    assert_eq!(fixture.ok(Edit::Reap { limit: 7 }), Outcome::Reaped { inodes: 0, more: false });
    assert_eq!(fixture.wait(fixture.store().content_summary(&root(), &path("/"))).unwrap().files, 1);
}

#[test]
fn a_file_of_many_chunks_waits_to_be_reaped_but_its_lease_does_not() {
    let fixture = Fixture::new();
    let inode = fixture.new_file("/f", "w");
    fixture.ok(add(inode, None));
    for index in 0..300 {
        fixture.ok(add(inode, Some(extent(ChunkId(FIRST.0 + index), index, 512))));
    }
    fixture.take_events();
    fixture.ok(delete("/f"));
    let changes = fixture.take_changes();
    assert_eq!(changes.first(), Some(&Change::Event(Event::LeaseReleased { inode })));
    assert_eq!(changes.last(), Some(&Change::Garbage));
    assert_eq!(changes.len(), 2 + 256, "some chunks at once");
    assert_eq!(fixture.store().contents().leases().unwrap(), []);
    fixture.new_file("/f", "w");
    assert_eq!(fixture.ok(Edit::Reap { limit: 1 }), Outcome::Reaped { inodes: 1, more: false });
    assert_eq!(fixture.take_events().len(), 1 + 45, "the new lease, the other chunks");
    fixture.check_invariants();
}

#[test]
fn the_start_finds_chunks_and_leases() {
    let mut fixture = Fixture::new();
    let inode = fixture.new_file("/f", "w");
    fixture.ok(add(inode, None));
    fixture.ok(add(inode, Some(extent(FIRST, 0, 9))));
    fixture.ok(create("/g", "v"));
    fixture.close();
    fixture.open();
    let mut chunks = Vec::new();
    fixture
        .store()
        .contents()
        .chunks(|chunk, generation, length, layout| chunks.push((chunk, generation, length, layout)))
        .unwrap();
    let three = Layout::Replicated { replicas: 3 };
    assert_eq!(chunks, [(FIRST, GEN, Some(9), three), (SECOND, GenStamp(GEN.0 + 1), None, three)]);
    let leases = fixture.store().contents().leases().unwrap();
    assert_eq!(leases, [(inode, "w".to_owned()), (InodeId(inode.0 + 1), "v".to_owned())]);
    let counts = fixture.store().counts();
    assert_eq!((counts.files, counts.open_files, counts.next_chunk), (2, 2, ChunkId(SECOND.0 + 1)));
    let next = fixture.ok(add(inode, Some(extent(SECOND, 1, 9))));
    assert!(matches!(next, Outcome::ChunkAdded { chunk, .. } if chunk == ChunkId(SECOND.0 + 1)));
}

/// A deleted tree may wait long to be reaped. Until then its files are as they were, but nowhere.
#[test]
fn chunks_are_described_as_long_as_their_file_is_closed_and_somewhere() {
    let fixture = Fixture::new();
    let inode = fixture.new_file("/d/f", "w");
    fixture.ok(add(inode, None));
    let described = || fixture.wait(fixture.store().origins(vec![FIRST])).unwrap();
    assert_eq!(described(), []);
    fixture.ok(complete(inode, Some(extent(FIRST, 0, 7))));
    let told = described();
    assert_eq!((told[0].chunk, told[0].inode, told[0].length), (FIRST, inode, 7));
    fixture.ok(rename("/d", "/e", false));
    assert_eq!(described()[0].origin.path, path("/e/f"));
    fixture.ok(delete("/e"));
    assert!(fixture.store().counts().garbage);
    assert_eq!(described(), []);
}
