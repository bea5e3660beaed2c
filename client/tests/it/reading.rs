//! Reading, with and without failures.

use std::io::SeekFrom;
use std::time::Duration;

use dfs_client::{CreateOptions, Dfs};
use dfs_types::{ErrorCode, checksum};
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use crate::datanode::Faults;
use crate::fake::{CHUNK, Chunk, Cluster, content, path};

/// Longest wait for what is to happen at all.
const LIMIT: Duration = Duration::from_mins(1);
const LENGTH: usize = 3 * CHUNK as usize + 12_345;

async fn stored(nodes: u8) -> (Cluster, Dfs, Vec<u8>) {
    let cluster = Cluster::start(nodes).await;
    let dfs = cluster.builder().stall_timeout(Duration::from_millis(500)).connect().await.unwrap();
    let data = content(LENGTH);
    let mut writer = dfs.create(&path("/a"), CreateOptions::default()).await.unwrap();
    writer.write_all(&data).await.unwrap();
    writer.close().await.unwrap();
    (cluster, dfs, data)
}

#[tokio::test]
async fn every_way_of_reading_gives_the_bytes() {
    let (_cluster, dfs, data) = stored(3).await;
    let mut reader = dfs.open(&path("/a")).await.unwrap();
    assert!(reader.read_all().await.unwrap() == data);
    let mut copy = Vec::new();
    assert_eq!(reader.copy_to(&mut copy).await.unwrap(), LENGTH as u64);
    assert!(copy == data);
    let mut read = Vec::new();
    reader.read_to_end(&mut read).await.unwrap();
    assert!(read == data);
    let sum = dfs.checksum(&path("/a")).await.unwrap();
    assert_eq!((sum.crc32c, sum.length), (checksum::crc32c(&data), LENGTH as u64));
}

/// A file of one chunk.
async fn stored_in_one() -> (Cluster, Dfs, Vec<u8>) {
    let cluster = Cluster::start(3).await;
    let dfs = cluster.builder().connect().await.unwrap();
    let data = content(100_000);
    let mut writer = dfs.create(&path("/a"), CreateOptions::default()).await.unwrap();
    writer.write_all(&data).await.unwrap();
    writer.close().await.unwrap();
    (cluster, dfs, data)
}

fn only_chunk(cluster: &Cluster, change: impl FnOnce(&mut Chunk)) {
    let mut names = cluster.names.lock().unwrap();
    let file = names.files.get_mut("/a").unwrap();
    change(&mut file.chunks[0]);
}

#[tokio::test]
async fn a_file_may_be_a_part_of_a_chunk() {
    let (cluster, dfs, data) = stored_in_one().await;
    // Neither end lies where a checksum begins or ends.
    let part = 1_000..99_001;
    only_chunk(&cluster, |chunk| {
        chunk.begins_at = part.start as u64;
        chunk.readable = part.len() as u64;
        chunk.length = Some(chunk.readable);
    });
    let data = &data[part];
    let reader = dfs.open(&path("/a")).await.unwrap();
    assert!(reader.read_all().await.unwrap() == data);
    assert!(reader.read_at(70_001, 1_234).await.unwrap() == data[70_001..71_235]);
    let error = dfs.checksum(&path("/a")).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Unsupported, "{error}");
}

#[tokio::test]
async fn a_chunk_that_lies_in_an_unknown_way_is_not_read() {
    let (cluster, dfs, _) = stored_in_one().await;
    only_chunk(&cluster, |chunk| chunk.lies_otherwise = true);
    let read = async { dfs.open(&path("/a")).await?.read_all().await };
    let error = read.await.unwrap_err();
    assert!(error.message.contains("use a later release"), "{error}");
}

#[tokio::test]
async fn positioned_reads_run_concurrently_and_end_with_the_file() {
    let (_cluster, dfs, data) = stored(3).await;
    let reader = dfs.open(&path("/a")).await.unwrap();
    let ranges = [(0, 1), (511, 2), (CHUNK - 100, 200), (1_000_000, 2_000_000), (LENGTH as u64 - 5, 50)];
    let reads = ranges.map(|(offset, length)| reader.read_at(offset, length));
    for ((offset, length), read) in ranges.into_iter().zip(futures_util::future::join_all(reads).await) {
        let end = (offset as usize + length).min(LENGTH);
        assert!(read.unwrap() == data[offset as usize..end], "{offset} {length}");
    }
    assert!(reader.read_at(LENGTH as u64, 10).await.unwrap().is_empty());
    assert!(reader.read_at(u64::MAX, 10).await.unwrap().is_empty());
}

#[tokio::test]
async fn seeks_go_anywhere() {
    let (_cluster, dfs, data) = stored(3).await;
    let mut reader = dfs.open(&path("/a")).await.unwrap();
    let mut four = [0; 4];
    for (to, at) in [
        (SeekFrom::Start(10), 10),
        (SeekFrom::Current(6), 20),
        (SeekFrom::End(-4), LENGTH - 4),
        (SeekFrom::Start(CHUNK - 2), CHUNK as usize - 2),
    ] {
        assert_eq!(reader.seek(to).await.unwrap(), at as u64);
        reader.read_exact(&mut four).await.unwrap();
        assert_eq!(four, data[at..at + 4]);
    }
    assert!(reader.seek(SeekFrom::Current(-99_999_999)).await.is_err());
    reader.seek(SeekFrom::Start(u64::MAX)).await.unwrap();
    assert_eq!(reader.read(&mut four).await.unwrap(), 0);
}

async fn read_despite(faults: Faults) -> Cluster {
    let (cluster, dfs, data) = stored(3).await;
    cluster.set(0, faults);
    assert!(dfs.open(&path("/a")).await.unwrap().read_all().await.unwrap() == data);
    assert!(*cluster.nodes[0].reads.lock().unwrap() > 0, "the bad node was asked first");
    cluster
}

#[tokio::test]
async fn another_replica_continues_at_the_exact_byte() {
    read_despite(Faults { break_read_after: Some(0), ..Faults::default() }).await;
    read_despite(Faults { break_read_after: Some(5), ..Faults::default() }).await;
    read_despite(Faults { end_read_after: Some(0), ..Faults::default() }).await;
    read_despite(Faults { end_read_after: Some(3), ..Faults::default() }).await;
    read_despite(Faults { dead: true, ..Faults::default() }).await;
}

#[tokio::test]
async fn a_bad_replica_is_reported_and_never_returned() {
    let cluster = read_despite(Faults { corrupt: true, ..Faults::default() }).await;
    let expected = cluster.file("/a").unwrap().chunks.len();
    let reported = async {
        while cluster.names.lock().unwrap().bad.len() < expected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, reported).await.expect("each bad replica is reported");
    let names = cluster.names.lock().unwrap();
    assert!(names.bad.iter().all(|(_, node)| *node == cluster.nodes[0].endpoint.id));
}

#[tokio::test]
async fn a_slow_replica_is_overtaken() {
    let (cluster, _, data) = stored(3).await;
    cluster.set(0, Faults { delay: Duration::from_hours(1), ..Faults::default() });
    let hedging = cluster.builder().hedge_after(Duration::from_millis(50)).connect().await.unwrap();
    let reader = hedging.open(&path("/a")).await.unwrap();
    let read = tokio::time::timeout(LIMIT, reader.read_at(0, 1_000)).await;
    assert!(read.expect("it does not wait for the slow one").unwrap() == data[..1_000]);
    assert_eq!(*cluster.nodes[0].reads.lock().unwrap(), 1);
    assert!(reader.read_all().await.unwrap() == data);
    assert_eq!(*cluster.nodes[0].reads.lock().unwrap(), 1, "the slow node is avoided");
}

#[tokio::test]
async fn a_replica_that_stands_still_is_overtaken_at_the_exact_byte() {
    let (cluster, _, data) = stored(3).await;
    let patient =
        cluster.builder().hedge_after(Duration::from_millis(20)).stall_timeout(Duration::from_hours(1));
    for packets in [1, 7] {
        cluster.set(0, Faults { hang_read_after: Some(packets), ..Faults::default() });
        let dfs = patient.clone().connect().await.unwrap();
        let before = *cluster.nodes[0].reads.lock().unwrap();
        let read = async { dfs.open(&path("/a")).await.unwrap().read_all().await.unwrap() };
        let read = tokio::time::timeout(LIMIT, read).await;
        assert!(read.expect("it does not wait for the silent one") == data);
        assert!(*cluster.nodes[0].reads.lock().unwrap() > before, "the silent node was asked");
    }
}

#[tokio::test]
async fn locations_are_refreshed_when_none_is_good() {
    let (cluster, dfs, data) = stored(3).await;
    cluster.names.lock().unwrap().hide_locations = 3;
    assert!(dfs.open(&path("/a")).await.unwrap().read_all().await.unwrap() == data);
}

#[tokio::test]
async fn all_chunks_are_located_however_few_one_answer_has() {
    let (cluster, dfs, _) = stored(3).await;
    let all = dfs.locate(&path("/a"), 0..u64::MAX).await.unwrap().chunks;
    assert!(all.len() > 2, "{}", all.len());
    cluster.names.lock().unwrap().located_at_once = 1;
    assert_eq!(dfs.locate(&path("/a"), 0..u64::MAX).await.unwrap().chunks, all);
    let end = all[1].offset + 1;
    assert_eq!(dfs.locate(&path("/a"), 0..end).await.unwrap().chunks, all[..2]);
}

#[tokio::test]
async fn the_final_error_names_chunk_nodes_and_reasons() {
    let (cluster, dfs, _) = stored(3).await;
    for node in 0..3 {
        cluster.set(node, Faults { corrupt: true, ..Faults::default() });
    }
    let error = dfs.open(&path("/a")).await.unwrap().read_at(0, 10).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::Corrupt);
    let chunk = cluster.file("/a").unwrap().chunks[0].id.to_string();
    assert!(error.message.contains(&chunk), "{error}");
    for node in cluster.nodes.iter() {
        assert!(error.message.contains(&node.endpoint.address()), "{error}");
    }
}

#[tokio::test]
async fn dead_nodes_end_in_an_error_within_the_budget() {
    let (cluster, _, _) = stored(3).await;
    for node in 0..3 {
        cluster.set(node, Faults { dead: true, ..Faults::default() });
    }
    let dfs = cluster.builder().transfer_budget(Duration::from_millis(700)).connect().await.unwrap();
    let read = async { dfs.open(&path("/a")).await.unwrap().read_all().await };
    let error = tokio::time::timeout(LIMIT, read).await.expect("it gives up").unwrap_err();
    assert_eq!(error.code, ErrorCode::Unavailable);
}

#[tokio::test]
async fn a_checksum_comes_from_the_next_node() {
    let (cluster, dfs, data) = stored(3).await;
    cluster.set(0, Faults { dead: true, ..Faults::default() });
    let sum = dfs.checksum(&path("/a")).await.unwrap();
    assert_eq!(sum.crc32c, checksum::crc32c(&data));
    let chunks = &dfs.locate(&path("/a"), 0..u64::MAX).await.unwrap().chunks;
    let parts = chunks.iter().map(|chunk| {
        let start = chunk.offset as usize;
        checksum::crc32c(&data[start..start + chunk.length as usize])
    });
    assert_eq!(sum.chunks, parts.collect::<Vec<_>>());
}

#[tokio::test]
async fn a_reader_that_pauses_does_not_lose_its_place() {
    let (cluster, dfs, data) = stored(3).await;
    let mut reader = dfs.open(&path("/a")).await.unwrap();
    let mut read = vec![0; 1_000];
    reader.read_exact(&mut read).await.unwrap();
    let before = *cluster.nodes[0].reads.lock().unwrap();
    let mut rest = Vec::new();
    // Longer than the stream is kept open for nobody.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    reader.read_to_end(&mut rest).await.unwrap();
    read.extend(rest);
    assert!(read == data);
    assert!(*cluster.nodes[0].reads.lock().unwrap() > before);
}

#[tokio::test]
async fn many_idle_readers_do_not_block_another_one() {
    let (_cluster, dfs, data) = stored(3).await;
    let mut idle = Vec::new();
    for _ in 0..40 {
        let mut reader = dfs.open(&path("/a")).await.unwrap();
        reader.read_exact(&mut [0; 10]).await.unwrap();
        idle.push(reader);
    }
    let other = dfs.open(&path("/a")).await.unwrap();
    let all = tokio::time::timeout(LIMIT, other.read_all()).await;
    assert!(all.unwrap().unwrap() == data);
    for mut reader in idle {
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).await.unwrap();
        assert!(rest == data[10..]);
    }
}
