//! Listings, ranges of chunks, traversals.

use dfs_types::{ContentSummary, ErrorCode, FsPath};

use super::{Fixture, mkdir, path, root};
use crate::store::edit::{Edit, Extent, Outcome};

/// Writes a file of these chunk lengths; leaves it open with another chunk of 3 readable bytes if `open`.
fn write(fixture: &Fixture, at: &str, lengths: &[u64], open: bool) {
    let inode = fixture.new_file(at, "w");
    let mut previous = None;
    for &length in lengths.iter().chain(open.then_some(&3)) {
        let added = fixture.ok(Edit::AddChunk { inode, holder: "w".into(), previous, pipeline: Vec::new() });
        let Outcome::ChunkAdded { chunk, generation, .. } = added else { panic!("{added:?}") };
        previous = Some(Extent { chunk, generation, length });
    }
    let end = match previous {
        Some(extent) if open => Edit::CommitLength { inode, holder: "w".into(), extent },
        last => Edit::Complete { inode, holder: "w".into(), last, publish: None },
    };
    fixture.ok(end);
}

#[test]
fn listings_come_in_pages_ordered_by_bytes() {
    let fixture = Fixture::new();
    for name in ["b", "a", "Z", "é", "a.b", "a b", "\u{1f980}"] {
        fixture.ok(mkdir(&format!("/d/{name}")));
    }
    let mut expected = vec!["b", "a", "Z", "é", "a.b", "a b", "\u{1f980}"];
    expected.sort_unstable_by_key(|name| name.as_bytes());
    let (mut found, mut after) = (Vec::new(), String::new());
    loop {
        let (page, more) = fixture.wait(fixture.store().list(&root(), &path("/d"), &after, 2)).unwrap();
        assert!(page.len() == 2 || !more);
        found.extend(page.into_iter().map(|(name, _)| name));
        if !more {
            break;
        }
        after.clone_from(found.last().unwrap());
    }
    assert_eq!(found, expected);
    write(&fixture, "/f", &[], false);
    let (page, more) = fixture.wait(fixture.store().list(&root(), &path("/f"), "", 9)).unwrap();
    assert!(page.len() == 1 && page[0].0.is_empty() && !more);
    let missing = fixture.wait(fixture.store().list(&root(), &path("/none"), "", 9)).unwrap_err();
    assert_eq!(missing.code, ErrorCode::NotFound);
}

#[test]
fn a_range_finds_its_chunks() {
    let fixture = Fixture::new();
    let lengths = [1_024, 10, 1_024, 1, 700];
    write(&fixture, "/closed", &lengths, false);
    write(&fixture, "/open", &lengths, true);
    let total: u64 = lengths.iter().sum();
    for (file, open) in [("/closed", false), ("/open", true)] {
        for offset in
            (0..total + 60).step_by(7).chain([1_023, 1_024, 1_033, 1_034, 2_058, 2_059, total, total - 1])
        {
            for length in [0, 1, 2, 1_024, u64::MAX] {
                let (status, chunks) =
                    fixture.wait(fixture.store().file(&root(), &path(file), offset, length)).unwrap();
                assert_eq!(status.length, total + if open { 3 } else { 0 });
                let mut start = 0;
                let mut expected = Vec::new();
                for (index, &size) in lengths.iter().enumerate() {
                    if length > 0 && start < offset.saturating_add(length) && start + size > offset {
                        expected.push(index as u64);
                    }
                    start += size;
                }
                if open && length > 0 && start < offset.saturating_add(length) {
                    expected.push(lengths.len() as u64);
                }
                let found: Vec<u64> = chunks.iter().map(|chunk| chunk.index).collect();
                assert_eq!(found, expected, "{file} {offset}+{length}");
            }
        }
    }
    let (_, chunks) = fixture.wait(fixture.store().file(&root(), &path("/open"), total, 1)).unwrap();
    assert_eq!((chunks[0].length, chunks[0].readable, chunks[0].offset), (None, 3, total));
    let directory = fixture.wait(fixture.store().file(&root(), &path("/"), 0, 1)).unwrap_err();
    assert_eq!(directory.code, ErrorCode::IsADirectory);
}

#[test]
fn walks_meet_every_file_once_in_order_whatever_the_page() {
    let fixture = Fixture::new();
    let mut expected = Vec::new();
    for directory in ["/w", "/w/a", "/w/a.b", "/w/a/deep", "/w/b", "/wx"] {
        for file in ["f", "g"] {
            let at = format!("{directory}/{file}");
            write(&fixture, &at, &[5, 6], false);
            if at.starts_with("/w/") {
                expected.push(path(&at));
            }
        }
    }
    fixture.ok(mkdir("/w/empty"));
    expected.sort_by(|a, b| a.parts().cmp(b.parts()));
    for limit in [1, 2, 3, 100] {
        let (mut found, mut after): (Vec<FsPath>, Option<FsPath>) = (Vec::new(), None);
        loop {
            let (caller, base) = (root(), path("/w"));
            let walk = fixture.store().walk_files(&caller, &base, after.as_ref(), limit);
            let (page, next) = fixture.wait(walk).unwrap();
            assert!(page.iter().all(|file| file.chunks.len() == 2 && file.status.length == 11));
            found.extend(page.into_iter().map(|file| file.path));
            match next {
                Some(next) => after = Some(next),
                None => break,
            }
        }
        assert_eq!(found, expected, "pages of {limit}");
    }
    let (one, next) = fixture.wait(fixture.store().walk_files(&root(), &path("/w/f"), None, 9)).unwrap();
    assert_eq!((one.len(), next), (1, None));
}

#[test]
fn a_walk_goes_on_after_what_was_deleted() {
    let fixture = Fixture::new();
    for at in ["/a/f", "/b/f", "/b/g", "/c/f"] {
        write(&fixture, at, &[], false);
    }
    let (_, next) = fixture.wait(fixture.store().walk_files(&root(), &path("/"), None, 2)).unwrap();
    assert_eq!(next, Some(path("/b/f")));
    fixture.ok(super::delete("/b"));
    let (rest, next) =
        fixture.wait(fixture.store().walk_files(&root(), &path("/"), next.as_ref(), 9)).unwrap();
    assert_eq!(next, None);
    assert_eq!(rest.into_iter().map(|file| file.path).collect::<Vec<_>>(), [path("/c/f")]);
}

#[test]
fn summaries_count_more_than_one_step_holds() {
    let fixture = Fixture::new();
    let runtime = &fixture.runtime;
    // In one go, so that the commits are shared: more entries than one step looks at.
    runtime.block_on(async {
        let mut all = tokio::task::JoinSet::new();
        for index in 0..5_000 {
            let store = fixture.store().clone();
            let edit = mkdir(&format!("/many/d{}/d{index}", index % 10));
            all.spawn(async move { store.propose(super::by(None, edit)).await });
        }
        while let Some(done) = all.join_next().await {
            done.unwrap().unwrap();
        }
    });
    write(&fixture, "/many/d3/f", &[1_000, 24], false);
    write(&fixture, "/many/g", &[], false);
    let summary = |at| fixture.wait(fixture.store().content_summary(&root(), &path(at))).unwrap();
    assert_eq!(
        summary("/many"),
        ContentSummary {
            length: 1_024,
            files: 2,
            directories: 5_011,
            space: 3_072,
            ..ContentSummary::default()
        }
    );
    assert_eq!(summary("/many/g"), ContentSummary { files: 1, ..ContentSummary::default() });
    assert_eq!(
        summary("/"),
        ContentSummary {
            length: 1_024,
            files: 2,
            directories: 5_012,
            space: 3_072,
            ..ContentSummary::default()
        }
    );
}
