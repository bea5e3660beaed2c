//! Bytes that rot, files that are cut, disks that fail or fill, processes that die.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::Command;

use dfs_proto::v1;
use dfs_types::ErrorCode;
use dfs_types::ReplicaState::{Corrupt, Finalized, Rbw, Rwr};

use crate::cluster::{FakeNamenode, Node, cluster, until};
use crate::wire::{CHUNK_SIZE, GENERATION, Writing, bytes, flip, header, packet, read, write};

#[tokio::test]
async fn a_rotten_byte_is_seen_by_the_reader_and_found_by_the_scrubber() {
    let namenode = FakeNamenode::start().await;
    let plain = Node::start(&namenode).await;
    let scrubbed =
        Node::start_with(&namenode, 1, &["--scrub-rate", "64m", "--scrub-interval", "200ms"]).await;
    let data = bytes(1 << 20);
    write(namenode.cluster, &[&plain, &scrubbed], 1, &data).await;
    write(namenode.cluster, &[&plain, &scrubbed], 2, &data).await;

    flip(&plain.data_file(1), 700_000);
    let error = read(namenode.cluster, &plain, 1).await.unwrap_err();
    assert!(error.message.starts_with("client:"), "{error}");

    flip(&scrubbed.data_file(1), 700_000);
    namenode.told(&scrubbed, 1, Some((GENERATION, 1 << 20, Corrupt))).await;
    let error = read(namenode.cluster, &scrubbed, 1).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Corrupt);
    assert!(!error.message.starts_with("client:"), "{error}");
    assert!(scrubbed.data_file(1).exists(), "it is not deleted");
    assert_eq!(namenode.replica(&scrubbed, 2), Some((GENERATION, 1 << 20, Finalized)));
    assert!(read(namenode.cluster, &scrubbed, 2).await.unwrap() == data);
}

#[tokio::test]
async fn a_cut_file_is_reported_when_it_is_read() {
    let (namenode, nodes) = cluster(1).await;
    let node = &nodes[0];
    for (chunk, damage) in (1..).zip(["data", "sums", "header", "gone"]) {
        write(namenode.cluster, &[node], chunk, &bytes(100_000)).await;
        let data = node.data_file(chunk);
        let sums = data.with_extension("crc");
        match damage {
            "data" => File::options().write(true).open(&data).unwrap().set_len(50_000).unwrap(),
            "sums" => File::options().write(true).open(&sums).unwrap().set_len(300).unwrap(),
            "header" => flip(&sums, 40),
            _ => fs::remove_file(&data).unwrap(),
        }
        assert!(read(namenode.cluster, node, chunk).await.is_err(), "{damage}");
        namenode.told(node, chunk, Some((GENERATION, 100_000, Corrupt))).await;
        assert_eq!(read(namenode.cluster, node, chunk).await.unwrap_err().code, ErrorCode::Corrupt);
    }
}

#[tokio::test]
async fn a_restart_finds_what_is_there_and_what_is_torn() {
    let (namenode, mut nodes) = cluster(1).await;
    let mut node = nodes.remove(0);
    let data = bytes(1 << 20);
    for chunk in 1..=4 {
        write(namenode.cluster, &[&node], chunk, &data).await;
    }
    let mut open = Vec::new();
    for chunk in 11..=14 {
        let mut writing = Writing::open(&node, header(namenode.cluster, &[&node], chunk)).await.unwrap();
        let flushed = v1::Packet { flush: true, ..packet(0, 0, &data[..10_100]) };
        writing.put(flushed).await.unwrap();
        open.push(writing);
    }
    node.kill();
    let file = |chunk: u64| File::options().write(true).open(node.data_file(chunk)).unwrap();
    let sums = |chunk: u64| node.data_file(chunk).with_extension("crc");
    file(2).set_len(1_000).unwrap();
    // A crash between the renames of a replica: its checksums are ahead.
    let (moved, to) = (sums(12), node.volumes[0].join(format!("dfs/current/0c/12_{GENERATION}.crc")));
    fs::rename(moved, to).unwrap();
    // A crash within the last write, and a rotten unit in the middle.
    file(13).write_all_at(&[7; 900], 10_000).unwrap();
    flip(&node.data_file(14), 5_000);
    // A crash within a deletion, and one within a copy.
    fs::remove_file(node.data_file(4)).unwrap();
    fs::write(node.volumes[0].join("dfs/tmp/99_1001.chunk"), b"half a copy").unwrap();

    let node = node.restart(&namenode).await;
    namenode.told(&node, 1, Some((GENERATION, 1 << 20, Finalized))).await;
    for (chunk, expected) in [
        (2, Some((GENERATION, 1_000, Corrupt))),
        (3, Some((GENERATION, 1 << 20, Finalized))),
        (4, None),
        (11, Some((GENERATION, 10_100, Rwr))),
        (12, Some((GENERATION, 10_100, Rwr))),
        (13, Some((GENERATION, 9_728, Rwr))),
        (14, Some((GENERATION, 4_608, Rwr))),
        (99, None),
    ] {
        assert_eq!(namenode.replica(&node, chunk), expected, "{chunk}");
    }
    assert!(node.files(4).is_empty() && node.files(99).is_empty());
    assert!(read(namenode.cluster, &node, 3).await.unwrap() == data);
    assert_eq!(read(namenode.cluster, &node, 2).await.unwrap_err().code, ErrorCode::Corrupt);
    assert_eq!(read(namenode.cluster, &node, 11).await.unwrap(), data[..10_100]);

    // Its writer goes on where it was.
    let recover = v1::WriteHeader {
        generation: GENERATION + 1,
        stage: v1::WriteStage::Recover.into(),
        min_length: 10_100,
        ..header(namenode.cluster, &[&node], 12)
    };
    let mut writing = Writing::open(&node, recover).await.unwrap();
    writing.finish(0, 9_728, &data[9_728..], 64 << 10).await.unwrap();
    assert!(read(namenode.cluster, &node, 12).await.unwrap() == data);
}

#[tokio::test]
async fn a_volume_that_disappears_is_taken_out_and_the_node_goes_on() {
    let namenode = FakeNamenode::start().await;
    let node = Node::start_with(&namenode, 2, &[]).await;
    let on = |volume: usize, chunk: u64| node.data_file(chunk).starts_with(&node.volumes[volume]);
    let mut chunk = 0;
    // Volumes are chosen at random; both get some soon.
    while !((1..=chunk).any(|chunk| on(0, chunk)) && (1..=chunk).any(|chunk| on(1, chunk))) {
        chunk += 1;
        write(namenode.cluster, &[&node], chunk, &bytes(1_000)).await;
    }
    let lost: Vec<u64> = (1..=chunk).filter(|chunk| on(1, *chunk)).collect();
    let kept: Vec<u64> = (1..=chunk).filter(|chunk| on(0, *chunk)).collect();
    // A file in place of the directory: permissions would not stop the superuser.
    fs::rename(node.volumes[1].join("dfs"), node.volumes[1].join("gone")).unwrap();
    fs::write(node.volumes[1].join("dfs"), b"not a directory").unwrap();
    for chunk in lost {
        namenode.told(&node, chunk, None).await;
        assert_eq!(read(namenode.cluster, &node, chunk).await.unwrap_err().code, ErrorCode::NotFound);
    }
    until("a heartbeat tells of the failure", || {
        let volumes = namenode.with(|known| known.heartbeats[&node.id].volumes.clone());
        let failed = i32::from(v1::VolumeHealth::Failed);
        volumes.iter().filter(|volume| volume.health == failed).count() == 1
    })
    .await;
    for chunk in kept {
        assert_eq!(read(namenode.cluster, &node, chunk).await.unwrap(), bytes(1_000));
    }
    for chunk in 1_000..1_005 {
        write(namenode.cluster, &[&node], chunk, &bytes(1_000)).await;
        assert!(on(0, chunk));
    }
}

#[tokio::test]
async fn a_disk_that_fills_up_is_an_error_for_the_writer_only() {
    let dir = tempfile::tempdir().unwrap();
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=12m", "tmpfs"]).arg(dir.path()).status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this test mounts a small tmpfs, which is not allowed here");
        return;
    }
    let namenode = FakeNamenode::start().await;
    let mut small = Node::start_on(&namenode, vec![dir.path().to_owned()], &[], None).await;
    let roomy = Node::start(&namenode).await;
    let data = bytes(CHUNK_SIZE as usize);
    let mut writing = Writing::open(&roomy, header(namenode.cluster, &[&roomy, &small], 1)).await.unwrap();
    writing.put(packet(0, 0, &data[..512 << 10])).await.unwrap();
    // Somebody else takes the room that was promised.
    let _ = fs::write(dir.path().join("other"), bytes(12 << 20));
    let (error, failed) = writing.finish(1, 512 << 10, &data[512 << 10..], 512 << 10).await.unwrap_err();
    assert_eq!((error.code, failed), (ErrorCode::NoSpace, 1));
    let heartbeat = namenode.with(|known| known.heartbeats[&small.id].clone());
    assert_eq!(heartbeat.volumes[0].health, i32::from(v1::VolumeHealth::Healthy));
    // With room again, the same replica goes on.
    fs::remove_file(dir.path().join("other")).unwrap();
    let length = namenode.replica(&small, 1).map(|(_, _, state)| state);
    assert_eq!(length, Some(Rbw));
    until("the room is seen", || {
        namenode.with(|known| known.heartbeats[&small.id].volumes[0].available > 7 << 20)
    })
    .await;
    let recover = v1::WriteHeader {
        generation: GENERATION + 1,
        stage: v1::WriteStage::Recover.into(),
        min_length: 512 << 10,
        ..header(namenode.cluster, &[&small], 1)
    };
    let mut writing = Writing::open(&small, recover).await.unwrap();
    writing.finish(0, 512 << 10, &data[512 << 10..], 512 << 10).await.unwrap();
    assert!(read(namenode.cluster, &small, 1).await.unwrap() == data);
    small.stop().await;
    drop(small);
    let unmounted = Command::new("umount").arg(dir.path()).status().unwrap();
    assert!(unmounted.success());
}
