//! Headers of replicas say what files these are of, once the cluster's feature level has it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dfs_proto::v1;
use dfs_types::format::LEVEL;
use serde_json::Value;

use crate::cluster::{FakeNamenode, Node, until};
use crate::wire::{GENERATION, bytes, read, write};

/// The first chunk of the golden directory, and its bytes.
const NUMBERS: (u64, u64) = (1_073_741_825, 8_893);

fn origin(chunk: u64, generation: u64, length: u64, path: &str) -> v1::ChunkOrigin {
    v1::ChunkOrigin {
        extent: Some(v1::ChunkExtent { chunk, generation, length }),
        inode: 16_388,
        index: 0,
        offset: 0,
        file_length: length,
        path: path.to_owned(),
        owner: "ann".to_owned(),
        group: "staff".to_owned(),
        mode: 0o640,
        mtime: 1_800_000_000_000,
        replication: 2,
        chunk_size: 64 << 20,
    }
}

/// What the program says of the headers in these volumes, by chunk.
fn headers(volumes: &[PathBuf]) -> BTreeMap<u64, Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dfs-datanode"));
    let output = command.args(["headers", "-o", "json"]).args(volumes).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let values = lines.map(|line| serde_json::from_slice::<Value>(line).unwrap());
    values.map(|value| (value["chunk"].as_u64().unwrap(), value)).collect()
}

fn says(header: &Value, origin: &v1::ChunkOrigin) -> bool {
    let extent = origin.extent.as_ref().unwrap();
    header["version"] == 2
        && header["told_generation"] == extent.generation
        && (&header["generation"], &header["length"]) == (&extent.generation.into(), &extent.length.into())
        && (&header["inode"], &header["index"]) == (&origin.inode.into(), &origin.index.into())
        && (&header["offset"], &header["file_length"]) == (&origin.offset.into(), &origin.file_length.into())
        && header["path"] == origin.path.as_str()
        && header["owner"] == origin.owner.as_str()
        && header["group"] == origin.group.as_str()
        && header["mode"] == format!("{:04o}", origin.mode)
        && (&header["mtime"], &header["replication"]) == (&origin.mtime.into(), &origin.replication.into())
        && header["chunk_size"] == origin.chunk_size
}

/// Waits until the header of a chunk says this.
async fn said(node: &Node, origin: &v1::ChunkOrigin) {
    let chunk = origin.extent.as_ref().unwrap().chunk;
    let says = || headers(&node.volumes).get(&chunk).is_some_and(|header| says(header, origin));
    until(&format!("chunk {chunk} says {}", origin.path), says).await;
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).unwrap();
        }
    }
}

/// The volume that a DataNode of a release left, by the feature level of that release, and its cluster.
fn golden(level: u16, at: &Path) -> dfs_types::ClusterId {
    let here = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
    copy(&Path::new(&here).join(format!("tests/golden/level-{level}")), at);
    // Directories without files are not kept in a repository.
    for directory in (0..=255).map(|number| format!("current/{number:02x}")).chain(["tmp".to_owned()]) {
        fs::create_dir_all(at.join("dfs").join(directory)).unwrap();
    }
    let version = fs::read_to_string(at.join("dfs/VERSION")).unwrap();
    let identity: Value = serde_json::from_str(version.lines().next().unwrap()).unwrap();
    identity["cluster_id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_scrub_migrates_the_headers_of_the_release_before_once_the_level_is_raised() {
    let dir = tempfile::tempdir().unwrap();
    let volume = dir.path().join("v0");
    let namenode = FakeNamenode::start_in(golden(1, &volume)).await;
    let (chunk, length) = NUMBERS;
    let origins = [
        origin(chunk, 1_001, length, "/kept/numbers"),
        origin(chunk + 1, 1_002, 6, "/kept/dir/moved"),
        origin(chunk + 2, 1_003, 6, "/kept/gone"),
    ];
    namenode.with(|known| {
        known.level = 1;
        known.origins = origins.iter().map(|of| (of.extent.as_ref().unwrap().chunk, of.clone())).collect();
    });
    let before = headers(std::slice::from_ref(&volume));
    assert_eq!(before.len(), 4);
    assert!(before.values().all(|header| header["version"] == 1));
    let flags = ["--scrub-rate", "64m", "--scrub-interval", "100ms"];
    let node = Node::start_on(&namenode, vec![volume.clone()], &flags, Some(dir)).await;
    // What is written now is as a program of that level reads it, and scrubbed like all that was there.
    let data = bytes(100_000);
    write(namenode.cluster, &[&node], 7, &data).await;
    namenode.with(|known| known.origins.insert(7, origin(7, GENERATION, 100_000, "/new")));
    scrubbed(&node, 3 * (100_000 + length)).await;
    let still = headers(&node.volumes);
    assert_eq!(still[&7]["version"], 1);
    assert!(before.iter().all(|(chunk, header)| *header == still[chunk]), "{still:?}");
    assert_eq!(namenode.with(|known| known.questions), 0);

    namenode.with(|known| known.level = 2);
    for origin in &origins {
        said(&node, origin).await;
    }
    said(&node, &origin(7, GENERATION, 100_000, "/new")).await;
    // What was renamed is found too.
    let renamed = origin(chunk, 1_001, length, "/kept/a name that is longer than the other one was/numbers");
    namenode.with(|known| known.origins.insert(chunk, renamed.clone()));
    said(&node, &renamed).await;
    assert_eq!(headers(&node.volumes)[&(chunk + 3)]["version"], 1, "nobody knows the file of the open one");
    assert!(read(namenode.cluster, &node, 7).await.unwrap() == data);

    let mut node = node.restart(&namenode).await;
    let numbers: Vec<_> = (1..=2_000).map(|number| format!("{number}\n")).collect();
    let at = volume.join(format!("dfs/current/01/{chunk}_1001.chunk"));
    assert_eq!(fs::read_to_string(at).unwrap(), numbers.concat());
    scrubbed(&node, 3 * (100_000 + length)).await;
    for chunk in [7, chunk, chunk + 1, chunk + 2] {
        let (_, _, state) = namenode.replica(&node, chunk).unwrap();
        assert_eq!(state, dfs_types::ReplicaState::Finalized);
    }
    node.stop().await;
}

#[tokio::test]
async fn the_volume_of_every_release_is_served() {
    let numbers: Vec<_> = (1..=2_000).map(|number| format!("{number}\n")).collect();
    let numbers = numbers.concat();
    for level in 1..LEVEL {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("v0");
        let namenode = FakeNamenode::start_in(golden(level, &volume)).await;
        assert_eq!(headers(std::slice::from_ref(&volume)).len(), 4, "level {level}");
        let mut node = Node::start_on(&namenode, vec![volume], &[], Some(dir)).await;
        // Its generation is the one that tests write with.
        assert_eq!(read(namenode.cluster, &node, NUMBERS.0).await.unwrap(), numbers.as_bytes());
        for chunk in NUMBERS.0..NUMBERS.0 + 3 {
            let (_, _, state) = namenode.replica(&node, chunk).unwrap();
            assert_eq!(state, dfs_types::ReplicaState::Finalized, "level {level}, chunk {chunk}");
        }
        node.stop().await;
    }
}

/// Waits until the scrubber has read so many bytes.
async fn scrubbed(node: &Node, bytes: u64) {
    let read = || {
        let page = get(node, "/metrics");
        let line = page.lines().find(|line| line.starts_with("dfs_datanode_scrubbed_bytes_total"));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).unwrap_or_default()
    };
    until("the scrubber has read all", || read() >= bytes).await;
}

fn get(node: &Node, page: &str) -> String {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(node.http).unwrap();
    write!(stream, "GET {page} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test]
async fn a_replica_is_asked_for_until_its_file_is_closed() {
    let namenode = FakeNamenode::start().await;
    namenode.with(|known| known.level = 2);
    let node = Node::start(&namenode).await;
    namenode.beats(2).await;
    let data = bytes(100_000);
    write(namenode.cluster, &[&node], 1, &data).await;
    until("a question", || namenode.with(|known| known.questions > 0)).await;
    let header = &headers(&node.volumes)[&1];
    assert_eq!((&header["version"], header.get("told")), (&2.into(), None));
    let closed = origin(1, GENERATION, 100_000, "/closed");
    namenode.with(|known| known.origins.insert(1, closed.clone()));
    said(&node, &closed).await;
    assert!(read(namenode.cluster, &node, 1).await.unwrap() == data);
}

#[tokio::test]
async fn what_cannot_be_read_is_told_and_the_others_are_printed() {
    let dir = tempfile::tempdir().unwrap();
    golden(1, dir.path());
    let damaged = dir.path().join("dfs/current/02/1073741826_1002.crc");
    fs::write(&damaged, vec![0xff; 5_000]).unwrap();
    fs::write(damaged.with_file_name("1_2.crc"), []).unwrap();
    fs::write(damaged.with_file_name("no\u{1b}header.crc"), []).unwrap();
    let run = |words: &[&Path]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dfs-datanode"));
        let output = command.arg("headers").args(words).output().unwrap();
        let [stdout, stderr] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        (output.status.code(), stdout, stderr)
    };
    let (status, printed, told) = run(&[dir.path()]);
    assert_eq!((status, printed.lines().count(), told.lines().count()), (Some(1), 4, 3), "{printed}{told}");
    assert!(printed.contains(" no /kept/.numbers.f13281a5f469401d._COPYING_\n"), "{printed}");
    assert!(told.contains("1073741826_1002.crc: the .crc file does not begin with a header\n"), "{told}");
    assert!(told.contains("1_2.crc: the header of the .crc file is cut off\n"), "{told}");
    let (status, _, told) = run(&[&dir.path().join("dfs")]);
    assert_eq!(status, Some(1));
    assert!(told.contains("it is no volume"), "{told}");
}
