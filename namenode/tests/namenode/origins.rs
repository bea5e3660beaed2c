//! DataNodes ask which files their chunks are of.

use dfs_types::format::LEVEL;
use dfs_types::limits::DESCRIBED_CHUNKS;
use dfs_types::{ChunkId, ChunkOrigin, ErrorCode, Mode, Origin};
use tempfile::tempdir;

use crate::group::Place;
use crate::support::{
    CHUNK_SIZE, FakeNode, Writer, extent, fresh, nodes, origin, path, put, until, writable,
};

#[tokio::test]
async fn closed_files_are_told_and_others_left_out() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    assert_eq!(namenode.level(), LEVEL);
    let mut nodes = nodes(namenode, 3).await;
    let sender = nodes[0].sender;

    let writer = Writer::create(namenode, "/a/two").await;
    let first = writer.add(None).await.unwrap();
    for node in &mut nodes {
        node.finalize(namenode, &first, CHUNK_SIZE).await;
    }
    let second = writer.add(Some(extent(&first, CHUNK_SIZE))).await.unwrap();
    let gone = put(namenode, &mut nodes, "/gone", 5).await;
    namenode.delete(origin(), path("/gone"), false, None).await.unwrap();
    let asked = vec![second.chunk, gone.chunk, ChunkId(5), first.chunk];
    let described = namenode.describe_chunks(sender, asked.clone()).await.unwrap();
    assert_eq!((described.register, described.origins), (false, vec![]), "open, deleted, unknown");

    for node in &mut nodes {
        node.finalize(namenode, &second, 700).await;
    }
    writer.complete(Some(extent(&second, 700))).await.unwrap();
    namenode.rename(origin(), path("/a"), path("/b"), false).await.unwrap();
    namenode.set_mode(origin(), path("/b/two"), Mode::new(0o600).unwrap()).await.unwrap();
    let owner = (Some("ann".to_owned()), Some("staff".to_owned()));
    namenode.set_owner(origin(), path("/b/two"), owner.0, owner.1).await.unwrap();
    let status = namenode.stat(&crate::support::caller("root"), &path("/b/two")).await.unwrap();
    let described = namenode.describe_chunks(sender, asked).await.unwrap();
    let told = |chunk: &dfs_types::LocatedChunk, offset, length| ChunkOrigin {
        chunk: chunk.chunk,
        generation: chunk.generation,
        length,
        inode: writer.inode(),
        index: chunk.index,
        origin: Origin {
            path: path("/b/two"),
            owner: "ann".to_owned(),
            group: "staff".to_owned(),
            mode: Mode::new(0o600).unwrap(),
            mtime: status.mtime,
            replication: 3,
            chunk_size: CHUNK_SIZE,
            file_length: CHUNK_SIZE + 700,
            offset,
        },
    };
    assert_eq!(described.origins, [told(&second, CHUNK_SIZE, 700), told(&first, 0, CHUNK_SIZE)]);
    assert!(described.told >= status.mtime);
    running.stop().await.unwrap();
}

#[tokio::test]
async fn strangers_and_long_questions_are_refused() {
    let dir = tempdir().unwrap();
    let running = fresh(&dir.path().join("nn"), &[]).await;
    let namenode = running.namenode();
    let stranger = FakeNode::new(1);
    let described = namenode.describe_chunks(stranger.sender, vec![ChunkId(1)]).await.unwrap();
    assert!(described.register && described.origins.is_empty());
    stranger.join(namenode).await;
    let many = vec![ChunkId(1); DESCRIBED_CHUNKS + 1];
    let refused = namenode.describe_chunks(stranger.sender, many).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::InvalidArgument);
    running.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_leader_tells() {
    let place = Place::new(3);
    let all = place.group().await;
    let lead = until("a leader", || async { all.iter().position(|nn| nn.namenode().term().1) }).await;
    writable(all[lead].namenode()).await;
    let node = FakeNode::new(1);
    for (index, running) in all.iter().enumerate() {
        node.register(running.namenode(), None).await.unwrap();
        let told = running.namenode().describe_chunks(node.sender, vec![ChunkId(1)]).await;
        if index == lead {
            assert!(!told.unwrap().register);
        } else {
            assert_eq!(told.unwrap_err().code, ErrorCode::NotLeader);
        }
    }
    for running in all {
        running.stop().await.unwrap();
    }
}
