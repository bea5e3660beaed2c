//! Writing without failures.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dfs_client::CreateOptions;
use dfs_types::limits::{LEASE_RENEW_INTERVAL, PACKET_BYTES};
use dfs_types::{ErrorCode, FsError};
use tokio::io::AsyncWriteExt as _;
use tokio::task::JoinSet;

use crate::datanode::{Faults, Replica};
use crate::fake::{CHUNK, Cluster, content, path};

/// Longest wait for what is to happen at all.
const LIMIT: Duration = Duration::from_mins(1);

#[tokio::test]
async fn what_is_written_is_stored_on_every_node() {
    let cluster = Cluster::start(4).await;
    let dfs = cluster.connect().await;
    for length in [0, 1, 511, 512, 513, CHUNK as usize - 1, CHUNK as usize, CHUNK as usize + 1, 3_500_000] {
        let name = format!("/{length}");
        let data = content(length);
        let mut writer = dfs.create(&path(&name), CreateOptions::default()).await.unwrap();
        writer.write_all(&data).await.unwrap();
        let status = writer.close().await.unwrap();
        assert_eq!((status.length, status.open), (length as u64, false));
        cluster.assert_stored(&name, &data, 3);
    }
}

#[tokio::test]
async fn whole_packets_are_sent_without_a_copy_and_mix_with_small_writes() {
    let cluster = Cluster::start(3).await;
    let dfs = cluster.connect().await;
    let data = Bytes::from(content(5_000_000));
    let mut writer = dfs.create(&path("/a"), CreateOptions::default()).await.unwrap();
    writer.write_bytes(data.slice(..3_000_000)).await.unwrap();
    writer.write_all(&data[3_000_000..3_000_100]).await.unwrap();
    writer.write_bytes(data.slice(3_000_100..)).await.unwrap();
    writer.shutdown().await.unwrap();
    assert_eq!(writer.write(b"x").await.unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    cluster.assert_stored("/a", &data, 3);
}

#[tokio::test]
async fn tiny_and_odd_chunks_work() {
    let cluster = Cluster::start(3).await;
    let dfs = cluster.connect().await;
    for chunk_size in [512, 1_000, 1_536] {
        let name = format!("/{chunk_size}");
        let options = CreateOptions { chunk_size: Some(chunk_size), ..CreateOptions::default() };
        let data = content(20_000);
        let mut writer = dfs.create(&path(&name), options).await.unwrap();
        for part in data.chunks(333) {
            writer.write_all(part).await.unwrap();
        }
        writer.close().await.unwrap();
        assert_eq!(cluster.file(&name).unwrap().chunks.len(), 20_000_usize.div_ceil(chunk_size as usize));
        cluster.assert_stored(&name, &data, 3);
    }
}

/// Only the last two chunks of a file can be recovered: all others must be finalized.
#[tokio::test]
async fn a_chunk_is_not_begun_before_all_but_the_last_are_finalized() {
    let cluster = Cluster::start(3).await;
    let hold = |index| {
        for node in 0..3 {
            cluster.set(node, Faults { hold_last_of: index, ..Faults::default() });
        }
    };
    hold(Some(0));
    let dfs = cluster.connect().await;
    let data = content(4 * CHUNK as usize);
    let mut writer = dfs.create(&path("/a"), CreateOptions::default()).await.unwrap();
    let write = async {
        writer.write_all(&data).await.unwrap();
        writer.close().await.unwrap();
    };
    let watch = async {
        let begun = || cluster.members[0].calls("AddChunk");
        let second_is_finalized = || {
            let second = cluster.file("/a").and_then(|file| file.chunks.get(1).cloned());
            let Some(second) = second else { return false };
            let finalized =
                |replicas: &HashMap<u64, Replica>| replicas.get(&second.id).is_some_and(|one| one.finalized);
            cluster.nodes.iter().all(|node| finalized(&node.replicas.lock().unwrap()))
        };
        while !second_is_finalized() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The writer would go on now, if it did.
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(begun(), 2, "the first chunk is not finalized yet");
        hold(None);
    };
    tokio::time::timeout(LIMIT, async { tokio::join!(write, watch) }).await.unwrap();
    cluster.assert_stored("/a", &data, 3);
}

/// Those who wait for room at the DataNodes have all the memory of the client's writers: who has room goes on.
#[tokio::test]
async fn a_writer_that_was_let_in_does_not_wait_for_those_who_were_not() {
    let cluster = Cluster::start(3).await;
    let all_are = |busy| (0..3).for_each(|node| cluster.set(node, Faults { busy, ..Faults::default() }));
    let dfs = cluster.builder().memory(16 << 20).transfer_budget(LIMIT).connect().await.unwrap();
    let options = CreateOptions { chunk_size: Some(64 << 20), ..CreateOptions::default() };
    let mut inside = dfs.create(&path("/inside"), options.clone()).await.unwrap();
    inside.write_all(&content(10)).await.unwrap();
    inside.hflush().await.unwrap();
    all_are(true);
    let mut outside = JoinSet::new();
    for number in 0..3 {
        let (dfs, options) = (dfs.clone(), options.clone());
        outside.spawn(async move {
            let mut writer = dfs.create(&path(&format!("/outside{number}")), options).await.unwrap();
            writer.write_all(&content(8 * PACKET_BYTES)).await.unwrap();
            writer.close().await.unwrap();
        });
    }
    let all_ask = async {
        while cluster.members[0].calls("AddChunk") < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, all_ask).await.unwrap();
    let more = async {
        for _ in 0..3 {
            inside.write_all(&content(PACKET_BYTES)).await.unwrap();
            inside.hflush().await.unwrap();
        }
    };
    tokio::time::timeout(LIMIT, more).await.expect("it waits for those who wait");
    inside.close().await.unwrap();
    all_are(false);
    tokio::time::timeout(LIMIT, async { while outside.join_next().await.transpose().unwrap().is_some() {} })
        .await
        .unwrap();
    for number in 0..3 {
        cluster.assert_stored(&format!("/outside{number}"), &content(8 * PACKET_BYTES), 3);
    }
}

#[tokio::test]
async fn flushed_bytes_can_be_read_while_the_file_is_open() {
    let cluster = Cluster::start(3).await;
    let dfs = cluster.connect().await;
    let data = content(2_500_000);
    let mut writer = dfs.create(&path("/log"), CreateOptions::default()).await.unwrap();
    let mut written = 0;
    for until in [100, 700, 1_024, 5_000, CHUNK as usize, CHUNK as usize + 3, 2_400_000] {
        writer.write_all(&data[written..until]).await.unwrap();
        if until % 2 == 0 {
            writer.hsync().await.unwrap();
        }
        writer.hflush().await.unwrap();
        written = until;
        let reader = dfs.open(&path("/log")).await.unwrap();
        assert_eq!(reader.len(), until as u64);
        assert!(reader.read_all().await.unwrap() == data[..until]);
    }
    writer.write_all(&data[written..]).await.unwrap();
    writer.close().await.unwrap();
    cluster.assert_stored("/log", &data, 3);
}

#[tokio::test]
async fn an_aborted_writer_leaves_no_file() {
    let cluster = Cluster::start(3).await;
    let dfs = cluster.connect().await;
    let mut writer = dfs.create(&path("/a"), CreateOptions::default()).await.unwrap();
    writer.write_all(&content(2_000_000)).await.unwrap();
    writer.abort().await.unwrap();
    assert!(cluster.file("/a").is_none());
}

#[tokio::test]
async fn a_dropped_writer_leaves_no_file_but_a_flushed_one_does() {
    let cluster = Cluster::start(3).await;
    let dfs = cluster.connect().await;
    let mut kept = dfs.create(&path("/kept"), CreateOptions::default()).await.unwrap();
    kept.write_all(b"important").await.unwrap();
    kept.hflush().await.unwrap();
    drop(kept);
    let mut lost = dfs.create(&path("/lost"), CreateOptions::default()).await.unwrap();
    lost.write_all(b"nothing").await.unwrap();
    drop(lost);
    let gone = async {
        while cluster.file("/lost").is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, gone).await.expect("the file is removed");
    assert!(cluster.file("/kept").unwrap().open);
}

/// Writes as much as the writer takes, and counts it.
async fn fill(mut writer: dfs_client::FileWriter, taken: &AtomicUsize) {
    let part = vec![1; 256 << 10];
    loop {
        writer.write_all(&part).await.unwrap();
        taken.fetch_add(part.len(), Ordering::SeqCst);
    }
}

#[tokio::test]
async fn unacknowledged_data_is_bounded_per_writer_and_over_all() {
    let cluster = Cluster::start(3).await;
    cluster.set(0, Faults { mute: true, ..Faults::default() });
    let dfs = cluster.connect().await;
    let mut writers = Vec::new();
    for index in 0..8 {
        let options = CreateOptions { chunk_size: Some(64 << 20), ..CreateOptions::default() };
        writers.push(dfs.create(&path(&format!("/{index}")), options).await.unwrap());
    }
    let taken: Vec<AtomicUsize> = writers.iter().map(|_| AtomicUsize::new(0)).collect();
    let each = || taken.iter().map(|taken| taken.load(Ordering::SeqCst));
    let filling = futures_util::future::join_all(
        writers.into_iter().zip(&taken).map(|(writer, taken)| fill(writer, taken)),
    );
    let looking = async {
        let full = async {
            while each().sum::<usize>() < 80 << 20 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LIMIT, full).await.expect("as much is taken as is allowed");
        // What is not bounded would go on.
        tokio::time::sleep(Duration::from_millis(400)).await;
    };
    tokio::select! {
        _ = filling => panic!("a writer ended"),
        () = looking => {}
    }
    assert!(each().all(|taken| taken <= 17 << 20), "{taken:?}");
    // 96 MiB that all share, and of each writer a packet of its own and one that waits.
    assert!(each().sum::<usize>() <= (96 << 20) + 8 * 2 * PACKET_BYTES, "{taken:?}");
}

#[tokio::test]
async fn an_io_error_carries_the_code() {
    let cluster = Cluster::start(3).await;
    let dfs = cluster.connect().await;
    let mut writer = dfs.create(&path("/a"), CreateOptions::default()).await.unwrap();
    cluster.names.lock().unwrap().files.clear();
    writer.write_all(b"x").await.unwrap();
    let error = writer.shutdown().await.unwrap_err();
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<FsError>()).unwrap();
    assert_eq!(inner.code, ErrorCode::LeaseConflict);
    assert!(inner.message.contains("/a"), "{inner}");
}

#[tokio::test]
async fn a_pause_of_the_writer_is_no_failure() {
    let cluster = Cluster::start(3).await;
    let dfs = cluster.builder().ack_timeout(Duration::from_secs(10)).connect().await.unwrap();
    for round in 0..10 {
        let name = format!("/{round}");
        let mut writer = dfs.create(&path(&name), CreateOptions::default()).await.unwrap();
        writer.write_all(b"before").await.unwrap();
        writer.hflush().await.unwrap();
        let generation = cluster.file(&name).unwrap().chunks[0].generation;
        pass(Duration::from_secs(10)).await;
        writer.write_all(b", after").await.unwrap();
        writer.close().await.unwrap();
        cluster.assert_stored(&name, b"before, after", 3);
        assert_eq!(cluster.file(&name).unwrap().chunks[0].generation, generation, "no recovery");
    }
}

/// Lets the clock jump a little further than `time`.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time + Duration::from_secs(1)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn an_idle_writer_says_that_it_is_alive() {
    let cluster = Cluster::start(3).await;
    let dfs = cluster.connect().await;
    let mut writer = dfs.create(&path("/a"), CreateOptions::default()).await.unwrap();
    writer.write_all(b"odd").await.unwrap();
    writer.hflush().await.unwrap();
    pass(Duration::from_secs(20)).await;
    let said = async {
        while *cluster.nodes[2].packets.lock().unwrap() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, said).await.expect("an empty packet comes");
    writer.write_all(b" end").await.unwrap();
    writer.hflush().await.unwrap();
    assert_eq!(dfs.open(&path("/a")).await.unwrap().read_all().await.unwrap(), "odd end");
    writer.close().await.unwrap();
    cluster.assert_stored("/a", b"odd end", 3);
}

#[tokio::test]
async fn leases_are_renewed_while_a_file_is_open_and_not_after() {
    let cluster = Cluster::start(3).await;
    let dfs = cluster.connect().await;
    let renewals = || cluster.names.lock().unwrap().renewals;
    let writer = dfs.create(&path("/a"), CreateOptions::default()).await.unwrap();
    // The renewal's task notes the time when it first runs.
    tokio::task::yield_now().await;
    pass(LEASE_RENEW_INTERVAL).await;
    let renewed = async {
        while renewals() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LIMIT, renewed).await.expect("the lease is renewed");
    writer.close().await.unwrap();
    let before = renewals();
    pass(LEASE_RENEW_INTERVAL).await;
    // A renewal under way would be there before the answer to this later call.
    assert!(dfs.exists(&path("/a")).await.unwrap());
    assert_eq!(renewals(), before);
}
