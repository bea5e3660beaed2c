//! Disks that hang, are full, empty, or not the ones they were; and what two of them hold twice.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use dfs_daemon::Shutdown;
use dfs_datanode::run::Listening;
use dfs_proto::v1;
use dfs_types::ErrorCode;
use dfs_types::ReplicaState::Finalized;

use crate::cluster::{FakeNamenode, Node, config, until};
use crate::lifecycle::{get, get_from};
use crate::wire::{GENERATION, Writing, bytes, flip, header, read, write};

/// A file that nobody can open for reading before somebody opens it for writing: who reads it hangs as on a dead disk.
struct Hanging(PathBuf);

impl Hanging {
    fn instead_of(file: &Path) -> Self {
        fs::remove_file(file).unwrap();
        assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
        Self(file.to_owned())
    }

    /// Lets go on who hangs.
    fn go_on(&self) {
        drop(File::options().read(true).write(true).open(&self.0).unwrap());
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.go_on();
    }
}

fn health(namenode: &FakeNamenode, node: &Node, volume: usize) -> v1::VolumeHealth {
    namenode.with(|known| known.heartbeats[&node.id].volumes[volume].health())
}

async fn until_health(namenode: &FakeNamenode, node: &Node, expected: [v1::VolumeHealth; 2]) {
    let told = || [0, 1].map(|volume| health(namenode, node, volume)) == expected;
    until(&format!("the volumes are {expected:?}"), told).await;
}

/// Writes chunks from 1 on until each of two volumes has some; answers which are where.
async fn on_both(namenode: &FakeNamenode, node: &Node) -> [Vec<u64>; 2] {
    let mut on = [Vec::new(), Vec::new()];
    for chunk in 1.. {
        write(namenode.cluster, &[node], chunk, &bytes(10_000)).await;
        let volume = usize::from(node.data_file(chunk).starts_with(&node.volumes[1]));
        on[volume].push(chunk);
        if on.iter().all(|chunks| chunks.len() > 1) {
            break;
        }
    }
    on
}

fn delete(chunks: &[u64]) -> v1::command::Kind {
    let replica = |chunk: &u64| v1::DeletedReplica { chunk: *chunk, generation: GENERATION };
    v1::command::Kind::Delete(v1::DeleteCommand { replicas: chunks.iter().map(replica).collect() })
}

const IMPATIENT: [&str; 6] = ["--threads-per-volume", "1", "--suspect-after", "500ms", "--fail-after", "4s"];

#[tokio::test]
async fn a_disk_that_hangs_costs_only_its_volume() {
    use v1::VolumeHealth::{Failed, Healthy, Suspect};
    let namenode = FakeNamenode::start().await;
    let mut node = Node::start_with(&namenode, 2, &IMPATIENT).await;
    let [here, hung] = on_both(&namenode, &node).await;
    let hanging = Hanging::instead_of(&node.data_file(hung[0]));

    let error = read(namenode.cluster, &node, hung[0]).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable, "{error}");
    until_health(&namenode, &node, [Healthy, Suspect]).await;
    let error = read(namenode.cluster, &node, hung[1]).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable, "it is refused: {error}");
    let line = format!("dfs_datanode_volume_suspect{{volume=\"{}\"}} 1", node.volumes[1].display());
    let told = async {
        while !get(&node, "/metrics").await.contains(&line) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_mins(1), told).await.expect("the metric tells it");

    // The other volume goes on with everything, also what was ordered after something for the hung one.
    namenode.order(&node, delete(&[hung[1]]));
    namenode.order(&node, delete(&[here[0]]));
    namenode.told(&node, here[0], None).await;
    for chunk in 1_000..1_005 {
        write(namenode.cluster, &[&node], chunk, &bytes(1_000)).await;
        assert!(node.data_file(chunk).starts_with(&node.volumes[0]));
    }
    assert_eq!(read(namenode.cluster, &node, here[1]).await.unwrap(), bytes(10_000));

    until_health(&namenode, &node, [Healthy, Failed]).await;
    for chunk in &hung {
        namenode.told(&node, *chunk, None).await;
    }
    node.stop().await;
    drop(hanging);
}

#[tokio::test]
async fn a_disk_that_answers_again_is_healthy_by_itself() {
    use v1::VolumeHealth::{Healthy, Suspect};
    let namenode = FakeNamenode::start().await;
    let patient = ["--threads-per-volume", "1", "--suspect-after", "500ms", "--fail-after", "1h"];
    let node = Node::start_with(&namenode, 2, &patient).await;
    let [_, hung] = on_both(&namenode, &node).await;
    let hanging = Hanging::instead_of(&node.data_file(hung[0]));
    read(namenode.cluster, &node, hung[0]).await.unwrap_err();
    until_health(&namenode, &node, [Healthy, Suspect]).await;
    hanging.go_on();
    until_health(&namenode, &node, [Healthy, Healthy]).await;
    assert_eq!(read(namenode.cluster, &node, hung[1]).await.unwrap(), bytes(10_000));
    assert_eq!(namenode.replica(&node, hung[1]), Some((GENERATION, 10_000, Finalized)), "nothing was lost");
}

#[tokio::test]
async fn a_disk_that_hangs_at_start_does_not_keep_the_node_from_answering() {
    let namenode = FakeNamenode::start().await;
    let mut node = Node::start(&namenode).await;
    node.stop().await;
    let hanging = Hanging::instead_of(&node.volumes[0].join("dfs/VERSION"));
    let config = config(namenode.address, &[&node.volumes[0]], &[]);
    let listening = Listening::open(config, prometheus::Registry::new(), Shutdown::new()).await.unwrap();
    let http = listening.http_address();
    let starting = tokio::spawn(listening.start());
    assert!(get_from(http, "/livez").await.starts_with("HTTP/1.1 200"));
    let page = get_from(http, "/readyz").await;
    assert!(page.starts_with("HTTP/1.1 503") && page.contains("volumes are being opened"), "{page}");
    hanging.go_on();
    assert!(starting.await.unwrap().is_err(), "what is there says nothing");
}

#[tokio::test]
async fn a_full_disk_is_read_and_deleted_from_after_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let mounted =
        Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(dir.path()).status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("skipped: this test mounts a small tmpfs, which is not allowed here");
        return;
    }
    let namenode = FakeNamenode::start().await;
    let mut node = Node::start_on(&namenode, vec![dir.path().to_owned()], &[], None).await;
    for chunk in [1, 2] {
        write(namenode.cluster, &[&node], chunk, &bytes(100_000)).await;
    }
    node.stop().await;
    // Not even the node's own reserve is left.
    let _ = fs::remove_file(dir.path().join("dfs/reserve"));
    let mut other = File::create(dir.path().join("other")).unwrap();
    let mut piece = 1 << 20;
    while piece > 0 {
        if other.write_all(&vec![1; piece]).is_err() {
            piece /= 2;
        }
    }
    assert_eq!(rustix::fs::statvfs(dir.path()).unwrap().f_bavail, 0);

    let mut node = node.restart(&namenode).await;
    assert_eq!(read(namenode.cluster, &node, 1).await.unwrap(), bytes(100_000));
    namenode.order(&node, delete(&[2]));
    namenode.told(&node, 2, None).await;
    until("its files are gone", || node.files(2).is_empty()).await;
    node.stop().await;
    drop((node, other));
    assert!(Command::new("umount").arg(dir.path()).status().unwrap().success());
}

#[tokio::test]
async fn an_emptied_volume_is_not_used_until_somebody_says_so() {
    use v1::VolumeHealth::{Failed, Healthy};
    let namenode = FakeNamenode::start().await;
    let mut node = Node::start_with(&namenode, 2, &[]).await;
    until_health(&namenode, &node, [Healthy; 2]).await;
    let volumes = |node: &Node| namenode.with(|known| known.heartbeats[&node.id].volumes.clone());
    let before = volumes(&node)[1].id.clone();
    node.stop().await;
    fs::remove_dir_all(node.volumes[1].join("dfs")).unwrap();

    let mut node = node.restart(&namenode).await;
    // It is told last, as one that could not be opened, under the id that it had.
    until_health(&namenode, &node, [Healthy, Failed]).await;
    assert_eq!(volumes(&node)[1].id, before);
    assert_eq!(fs::read_dir(&node.volumes[1]).unwrap().count(), 0, "nothing is written there");
    node.stop().await;

    let replaced = node.volumes[1].to_string_lossy().into_owned();
    let dir = node.take_dir();
    let paths = node.volumes.clone();
    drop(node);
    let mut node = Node::start_on(&namenode, paths, &["--replaced-volume", &replaced], dir).await;
    until_health(&namenode, &node, [Healthy; 2]).await;
    assert_ne!(volumes(&node)[1].id, before);
    node.stop().await;
}

#[tokio::test]
async fn what_is_put_in_a_volumes_place_is_not_used() {
    use v1::VolumeHealth::{Failed, Healthy};
    let namenode = FakeNamenode::start().await;
    let node = Node::start_with(&namenode, 2, &[]).await;
    // Another formatted volume, which would take anything.
    let mut other = Node::start(&namenode).await;
    other.stop().await;
    let (place, aside) = (&node.volumes[1], node.volumes[1].with_extension("aside"));
    fs::rename(place, aside).unwrap();
    fs::rename(&other.volumes[0], place).unwrap();
    until_health(&namenode, &node, [Healthy, Failed]).await;
    for chunk in 1..=10 {
        write(namenode.cluster, &[&node], chunk, &bytes(1_000)).await;
        assert!(!node.data_file(chunk).starts_with(place));
    }
}

#[tokio::test]
async fn all_volumes_of_a_disk_say_which_it_is() {
    let namenode = FakeNamenode::start().await;
    let nodes = [Node::start_with(&namenode, 2, &[]).await, Node::start_with(&namenode, 1, &[]).await];
    let ids = namenode.with(|known| {
        let told = nodes.iter().flat_map(|node| &known.heartbeats[&node.id].volumes);
        told.map(|volume| volume.file_system.clone()).collect::<Vec<_>>()
    });
    assert_eq!((ids.len(), ids[0].len()), (3, 16));
    assert!(ids.iter().all(|id| *id == ids[0]), "temporary directories are on one file system: {ids:?}");
}

/// Puts a replica's files on the other volume of the node too.
fn copy_to_other(node: &Node, chunk: u64) {
    for file in node.files(chunk) {
        let from = usize::from(file.starts_with(&node.volumes[1]));
        let within = file.strip_prefix(&node.volumes[from]).unwrap();
        fs::copy(&file, node.volumes[1 - from].join(within)).unwrap();
    }
}

#[tokio::test]
async fn of_two_replicas_the_proven_one_stays() {
    let namenode = FakeNamenode::start().await;
    let mut node = Node::start_with(&namenode, 2, &[]).await;
    for chunk in [1, 2] {
        write(namenode.cluster, &[&node], chunk, &bytes(10_000)).await;
    }
    node.stop().await;
    for chunk in [1, 2] {
        copy_to_other(&node, chunk);
    }
    // The one that is found first counts first, and nobody knows yet that it is damaged.
    let of_first = node.files(2).into_iter().find(|file| {
        file.starts_with(&node.volumes[0]) && file.extension().is_some_and(|suffix| suffix == "chunk")
    });
    flip(&of_first.unwrap(), 5_000);

    let node = node.restart(&namenode).await;
    for chunk in [1, 2] {
        until("one of two stays", || node.files(chunk).len() == 2).await;
        assert_eq!(read(namenode.cluster, &node, chunk).await.unwrap(), bytes(10_000));
        namenode.told(&node, chunk, Some((GENERATION, 10_000, Finalized))).await;
    }
    assert!(node.data_file(2).starts_with(&node.volumes[1]), "the good one");
}

#[tokio::test]
async fn heartbeats_say_what_the_storage_of_each_volume_is() {
    let (namenode, dir) = (FakeNamenode::start().await, tempfile::tempdir().unwrap());
    let second = format!("[SSD]{}", dir.path().join("fast").display());
    let node = Node::start_with(&namenode, 1, &["--volume", &second]).await;
    let beat = namenode.with(|known| known.heartbeats.get(&node.id).cloned()).unwrap();
    let types: Vec<_> = beat.volumes.iter().map(v1::VolumeStatus::storage_type).collect();
    assert_eq!(types, [v1::StorageType::Disk, v1::StorageType::Ssd]);
    assert!(beat.volumes[1].path.ends_with("/fast"), "{}", beat.volumes[1].path);
}

/// On which of its volumes, by the heartbeat's order, a node says that a replica is.
fn told_volume(namenode: &FakeNamenode, node: &Node, chunk: u64) -> usize {
    namenode.with(|known| {
        let on = known.replicas[&node.id][&chunk].volume.unwrap();
        known.heartbeats[&node.id].volumes.iter().position(|volume| volume.id == on.as_bytes()).unwrap()
    })
}

#[tokio::test]
async fn a_replica_goes_on_the_storage_that_is_wished_for_if_there_is_room() {
    let (namenode, dir) = (FakeNamenode::start().await, tempfile::tempdir().unwrap());
    let fast = |name: &str| format!("[SSD]{}", dir.path().join(name).display());
    let first = Node::start_with(&namenode, 1, &["--volume", &fast("a")]).await;
    let second = Node::start_with(&namenode, 1, &["--volume", &fast("b")]).await;
    let (disk, ssd) = (v1::StorageType::Disk.into(), v1::StorageType::Ssd.into());
    for (chunk, wished) in (1..).zip([[ssd, disk], [disk, ssd], [ssd, ssd], [disk, disk]]) {
        let onward = v1::Node { storage_type: Some(wished[1]), ..second.endpoint() };
        let header = header(namenode.cluster, &[&first, &second], chunk);
        let header = v1::WriteHeader { storage_type: Some(wished[0]), downstream: vec![onward], ..header };
        Writing::open(&first, header).await.unwrap().finish(0, 0, b"some", 512).await.unwrap();
        for (node, wished) in [&first, &second].into_iter().zip(wished) {
            assert_eq!(told_volume(&namenode, node, chunk), wished as usize, "of chunk {chunk}");
        }
        assert_eq!(first.files(chunk).is_empty(), wished[0] == ssd, "they are not on its first volume");
    }
    let nowhere = v1::WriteHeader {
        storage_type: Some(v1::StorageType::Archive.into()),
        ..header(namenode.cluster, &[&first], 9)
    };
    Writing::open(&first, nowhere).await.unwrap().finish(0, 0, b"some", 512).await.unwrap();
    assert!(told_volume(&namenode, &first, 9) < 2, "it takes what it has");
}
