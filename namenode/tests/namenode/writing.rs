//! Writing files.

use dfs_namenode::api::writing::NewFile;
use dfs_namenode_core::Command;
use dfs_types::{ErrorCode, FsPath, Mode, ReplicaState, StorageType};
use futures_util::future::join_all;
use tempfile::tempdir;

use crate::support::{
    CHUNK_SIZE, FakeNode, HOLDER, Writer, caller, create, extent, fresh, nodes, origin, origin_of, path, put,
    start, until, writable,
};

#[tokio::test]
async fn a_file_of_two_chunks_is_written_and_located() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let mut nodes = nodes(namenode, 4).await;

    let writer = Writer::create(namenode, "/a/b").await;
    let first = writer.add(None).await.unwrap();
    assert_eq!((first.nodes.len(), first.index, first.offset), (3, 0, 0));
    for node in &mut nodes {
        if first.nodes.iter().any(|target| target.id == node.id()) {
            node.finalize(namenode, &first, CHUNK_SIZE).await;
        }
    }
    let second = writer.add(Some(extent(&first, CHUNK_SIZE))).await.unwrap();
    assert_eq!((second.index, second.offset), (1, CHUNK_SIZE));
    assert!(second.generation > first.generation);

    // While it is open, readers find the pipeline of the last chunk.
    let (status, open) = namenode.locate(&caller("root"), &path("/a/b"), 0, u64::MAX, None).await.unwrap();
    assert!(status.open);
    let last = open.last().unwrap();
    assert!(last.under_construction && last.nodes.len() == 3, "{last:?}");

    for node in &mut nodes {
        if second.nodes.iter().any(|target| target.id == node.id()) {
            node.finalize(namenode, &second, 10).await;
        }
    }
    let status = writer.complete(Some(extent(&second, 10))).await.unwrap();
    assert_eq!((status.length, status.open), (CHUNK_SIZE + 10, false));

    let reader = Some(second.nodes[2].at.host.clone());
    let (_, tail) =
        namenode.locate(&caller("root"), &path("/a/b"), CHUNK_SIZE, 1, reader.clone()).await.unwrap();
    assert_eq!(tail.len(), 1);
    assert_eq!((tail[0].chunk, tail[0].length, tail[0].under_construction), (second.chunk, 10, false));
    assert_eq!(Some(tail[0].nodes[0].at.host.clone()), reader, "the reader's own host comes first");
    let storage: Vec<_> = tail[0].nodes.iter().map(|node| node.storage).collect();
    assert_eq!(storage, [Some(StorageType::Disk); 3], "as their reports and heartbeats say");
    assert!(second.nodes.iter().all(|node| node.storage.is_none()), "nobody asked for any");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_file_that_can_not_be_named_is_not_closed_without_its_replicas() {
    let dir = tempdir().unwrap();
    let place = dir.path().join("nn");
    let running = fresh(&place, &[]).await;
    let deep = format!("/{}", "x".repeat(200)).repeat(20);
    let first = nodes(running.namenode(), 4).await;
    let writer = Writer::create(running.namenode(), &format!("/a{deep}/f")).await;
    let (file, chunk) = (writer.file.clone(), writer.add(None).await.unwrap());
    assert_eq!((first.len(), chunk.nodes.len()), (4, 3));
    running.stop().await.unwrap();
    // Every name is fine; only together, now that the first is longer, they are more than a path may have.
    let database = rusqlite::Connection::open(place.join("namespace.db")).unwrap();
    let changed = database.execute("UPDATE inode SET name = ?1 WHERE name = 'a'", ["y".repeat(250)]);
    assert_eq!(changed.unwrap(), 1);
    database.close().unwrap();

    let running = start(&place, &[]).await.unwrap();
    let namenode = running.namenode();
    writable(namenode).await;
    let nodes = nodes(namenode, 4).await;
    let writer = Writer { namenode, file };
    let written: Vec<_> = chunk.nodes.iter().map(|node| node.id).collect();
    let further = namenode
        .additional_nodes(&writer.file, chunk.chunk, written[..1].to_vec(), written[1..].to_vec(), 1, 0)
        .await
        .unwrap();
    assert!(nodes.iter().any(|node| node.id() == further[0].id) && !written.contains(&further[0].id));
    let refused = writer.complete(Some(extent(&chunk, 10))).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::NotEnoughNodes, "{refused}");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn closing_waits_for_the_minimum_of_replicas() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let mut nodes = nodes(namenode, 3).await;
    let writer = Writer::create(namenode, "/f").await;
    let chunk = writer.add(None).await.unwrap();
    nodes[0].finalize(namenode, &chunk, 5).await;
    // A replica that is still being written does not count.
    nodes[1].hold(namenode, (chunk.chunk, chunk.generation), 5, ReplicaState::Rbw).await;

    let mut closing = Box::pin(writer.complete(Some(extent(&chunk, 5))));
    let early = tokio::time::timeout(std::time::Duration::from_millis(300), &mut closing).await;
    assert!(early.is_err(), "closed with one replica: {early:?}");
    nodes[1].finalize(namenode, &chunk, 5).await;
    assert!(!closing.as_mut().await.unwrap().open);
    drop(closing);
    // A writer that did not get the answer closes once more, as a retry or anew.
    assert!(!writer.complete(Some(extent(&chunk, 5))).await.unwrap().open);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_file_whose_nodes_are_gone_but_one_is_closed_after_a_copy() {
    let dir = tempdir().unwrap();
    let flags = ["--heartbeat-interval", "50ms", "--stale-after", "300ms", "--dead-after", "600ms"];
    let running = fresh(&dir.path().join("nn"), &flags).await;
    let namenode = running.namenode();
    let mut nodes = nodes(namenode, 4).await;
    let writer = Writer::create(namenode, "/f").await;
    let chunk = writer.add(None).await.unwrap();
    let is_target = |node: &FakeNode| chunk.nodes.iter().any(|target| target.id == node.id());
    let mut one = nodes.remove(nodes.iter().position(is_target).unwrap());
    let mut other = nodes.into_iter().find(|node| !is_target(node)).unwrap();
    one.finalize(namenode, &chunk, 5).await;

    // The writer waits; whoever is left obeys.
    let obey = async {
        let copies = until("the order to copy", || async {
            other.heartbeat(namenode).await;
            let commands = one.heartbeat(namenode).await.commands;
            commands.into_iter().find(|order| matches!(order, Command::Copy { .. }))
        });
        let Command::Copy { chunk: copied, length, targets, .. } = copies.await else { unreachable!() };
        other.finalize(namenode, &chunk, length).await;
        (copied, length, targets.into_iter().map(|node| node.id).collect::<Vec<_>>())
    };
    let (closed, ordered) = tokio::join!(writer.complete(Some(extent(&chunk, 5))), obey);
    assert_eq!(ordered, (chunk.chunk, 5, vec![other.id()]));
    assert_eq!(closed.map(|status| (status.open, status.length)), Ok((false, 5)));
    running.stop().await.unwrap();
}

#[tokio::test]
async fn without_enough_nodes_no_chunk_is_added() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let writer = Writer::create(namenode, "/f").await;
    let none = writer.add(None).await.unwrap_err();
    assert_eq!(none.code, ErrorCode::NotEnoughNodes, "{none}");
    let _one = nodes(namenode, 1).await;
    let one = writer.add(None).await.unwrap_err();
    assert_eq!(one.code, ErrorCode::NotEnoughNodes);
    assert!(one.message.contains("at least 2"), "{one}");
    let (_, chunks) = namenode.locate(&caller("root"), &path("/f"), 0, u64::MAX, None).await.unwrap();
    assert!(chunks.is_empty(), "a refused request leaves nothing: {chunks:?}");

    let _two = nodes(namenode, 2).await;
    assert_eq!(writer.add(None).await.unwrap().nodes.len(), 2);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_retry_gets_the_same_chunk_and_pipeline() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let _nodes = nodes(namenode, 12).await;
    let writer = Writer::create(namenode, "/f").await;
    let request = origin();
    let first =
        namenode.add_chunk(request.clone(), writer.file.clone(), None, Vec::new(), 0, None).await.unwrap();
    for _ in 0..4 {
        let again = namenode
            .add_chunk(request.clone(), writer.file.clone(), None, Vec::new(), 0, None)
            .await
            .unwrap();
        assert_eq!(again, first);
    }
    // The same id for something else is the client's mistake.
    let wrong = namenode.delete(request, path("/f"), false, None).await.unwrap_err();
    assert_eq!(wrong.code, ErrorCode::InvalidArgument, "{wrong}");
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_pipeline_is_repaired_under_a_new_generation() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let mut nodes = nodes(namenode, 4).await;
    let writer = Writer::create(namenode, "/f").await;
    let mut chunk = writer.add(None).await.unwrap();
    let kept: Vec<_> = chunk.nodes.iter().take(2).map(|node| node.id).collect();
    let lost = chunk.nodes[2].id;

    let generation = namenode.new_generation(origin(), writer.file.clone(), chunk.chunk).await.unwrap();
    let more =
        namenode.additional_nodes(&writer.file, chunk.chunk, kept.clone(), vec![lost], 1, 0).await.unwrap();
    assert_eq!(more.len(), 1);
    assert!(!kept.contains(&more[0].id) && more[0].id != lost);
    let pipeline: Vec<_> = kept.iter().copied().chain([more[0].id]).collect();
    chunk.generation = generation;
    let acknowledged = extent(&chunk, 100);
    namenode.update_pipeline(origin(), writer.file.clone(), acknowledged, pipeline.clone()).await.unwrap();

    let (_, located) = namenode.locate(&caller("root"), &path("/f"), 0, u64::MAX, None).await.unwrap();
    assert_eq!((located[0].generation, located[0].length), (generation, 100));
    let mut seen: Vec<_> = located[0].nodes.iter().map(|node| node.id).collect();
    let mut wanted = pipeline.clone();
    seen.sort();
    wanted.sort();
    assert_eq!(seen, wanted);

    for node in nodes.iter_mut().filter(|node| pipeline.contains(&node.id())) {
        node.finalize(namenode, &chunk, 200).await;
    }
    assert_eq!(writer.complete(Some(extent(&chunk, 200))).await.unwrap().length, 200);

    let twice = vec![kept[0], kept[0]];
    let error =
        namenode.update_pipeline(origin(), writer.file.clone(), acknowledged, twice).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn what_a_file_can_not_be_is_refused() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let file = |replication, chunk_size, holder: &str| NewFile {
        path: path("/f"),
        holder: holder.to_owned(),
        mode: Mode::FILE.into(),
        replication,
        chunk_size,
        overwrite: false,
        parents: false,
        temporary: false,
    };
    for bad in [
        file(Some(513), None, "h"),
        file(Some(0), None, "h"),
        file(Some(1), Some(1_000), "h"),
        file(Some(1), Some(0), "h"),
        file(Some(1), Some(4 << 30), "h"),
        file(Some(1), None, ""),
        file(Some(1), None, "a:b"),
    ] {
        let error = namenode.create(origin(), bad.clone()).await.unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidArgument, "{bad:?}: {error}");
    }
    let status = namenode.create(origin(), file(None, None, "h")).await.unwrap();
    assert_eq!((status.replication, status.chunk_size), (3, 1 << 20), "the defaults");
    let error = namenode.set_replication(origin(), path("/f"), 0).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArgument);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_restart_keeps_what_was_acknowledged_and_waits_for_reports() {
    let dir = tempdir().unwrap();
    let place = dir.path().join("nn");
    let running = fresh(&place, &[]).await;
    let mut datanodes = nodes(running.namenode(), 3).await;
    let chunk = put(running.namenode(), &mut datanodes, "/kept", 77).await;
    let open = Writer::create(running.namenode(), "/open").await.inode();
    running.stop().await.unwrap();

    let running = start(&place, &[]).await.unwrap();
    let namenode = running.namenode();
    assert!(namenode.defaults().safe_mode);
    // Reads are served, changes are not.
    assert_eq!(namenode.stat(&caller("root"), &path("/kept")).await.unwrap().length, 77);
    assert_eq!(namenode.stat(&caller("root"), &path("/open")).await.unwrap().inode, open);
    let root = FsPath::root();
    let (entries, more) = namenode.list(&caller("root"), &root, None, 0).await.unwrap();
    assert_eq!((entries.len(), more), (2, false));
    let refused = create(namenode, "/new", HOLDER).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::SafeMode);
    let refused = namenode.delete(origin(), path("/kept"), false, None).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::SafeMode);

    for node in &mut datanodes {
        node.restart();
        assert!(node.heartbeat(namenode).await.reception.register, "the new process is not known yet");
        node.register(namenode, Some(namenode.defaults().cluster)).await.unwrap();
        assert!(node.heartbeat(namenode).await.reception.report_from.is_some(), "its replicas are wanted");
        node.report(namenode).await;
        assert!(node.heartbeat(namenode).await.reception.report_from.is_none());
    }
    writable(namenode).await;
    let (_, located) = namenode.locate(&caller("root"), &path("/kept"), 0, 100, None).await.unwrap();
    assert_eq!((located[0].chunk, located[0].nodes.len()), (chunk.chunk, 3));
    let stranger = FakeNode::new(9);
    assert!(stranger.heartbeat(namenode).await.reception.register);
    create(namenode, "/new", HOLDER).await.unwrap();
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_writer_removes_its_file_wherever_its_directory_went_but_not_under_another_name() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let delete =
        async |at: &str, inode| namenode.delete(origin(), path(at), false, Some(inode)).await.unwrap();
    let rename =
        async |from: &str, to: &str| namenode.rename(origin(), path(from), path(to), false).await.unwrap();

    let moved = Writer::create(namenode, "/a/b/.hidden").await;
    rename("/a", "/c").await;
    rename("/c/b", "/d").await;
    assert!(delete("/a/b/.hidden", moved.inode()).await);
    assert_eq!(namenode.stat(&caller("root"), &path("/d")).await.unwrap().children, 0);
    assert!(!delete("/a/b/.hidden", moved.inode()).await, "it is gone");

    // Once it has another name, it is somebody's file.
    let published = Writer::create(namenode, "/d/.hidden").await;
    rename("/d/.hidden", "/d/file").await;
    assert!(!delete("/d/.hidden", published.inode()).await);
    // What took its place is not meant.
    let other = Writer::create(namenode, "/d/.hidden").await;
    assert!(!delete("/d/.hidden", published.inode()).await);
    assert_ne!(other.inode(), published.inode());
    assert_eq!(namenode.stat(&caller("root"), &path("/d")).await.unwrap().children, 2);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn a_tree_of_many_directories_is_removed_by_whom_it_belongs_to() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let alice = caller("alice");
    namenode.mkdir(origin(), path("/alice"), Mode::DIRECTORY, false).await.unwrap();
    let all = Mode::new(0o777).unwrap();
    namenode.set_mode(origin(), path("/alice"), all).await.unwrap();
    let mkdir = |at: String| async move {
        namenode.mkdir(origin_of("alice"), path(&at), Mode::DIRECTORY, true).await.unwrap();
    };
    // More than one edit looks at, wide and deep.
    join_all((0..2_200).map(|number| mkdir(format!("/alice/tree/{number}/x")))).await;
    mkdir(format!("/alice/tree/deep{}", "/a".repeat(300))).await;
    namenode.set_owner(origin(), path("/alice/tree/1999"), Some("bob".into()), None).await.unwrap();

    let remove = || namenode.delete(origin_of("alice"), path("/alice/tree"), true, None);
    let refused = remove().await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::PermissionDenied);
    assert!(refused.message.contains("/alice/tree/1999"), "{refused}");
    let left = namenode.content_summary(&alice, &path("/alice/tree")).await.unwrap();
    assert_eq!(left.directories, 1 + 2 * 2_200 + 301, "nothing was removed");
    namenode.set_owner(origin(), path("/alice/tree/1999"), Some("alice".into()), None).await.unwrap();
    assert!(remove().await.unwrap());
    assert!(!remove().await.unwrap());
    assert_eq!(namenode.stat(&alice, &path("/alice")).await.unwrap().children, 0);
    running.stop().await.unwrap();
}
