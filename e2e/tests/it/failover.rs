//! The leader of three NameNodes is killed while clients work: none of them sees more than a pause.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dfs_client::{CreateOptions, Dfs};
use dfs_e2e::content::{self, Stream};
use dfs_e2e::{long_form, wait};
use dfs_local::{Options, TestCluster};
use dfs_types::FsPath;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;

use crate::crash::{CLIENTS, all_is_there, storm};

/// Bytes written at once.
const PIECE: usize = 128 << 10;
/// Bytes of a chunk: the NameNode is asked for another one often.
const CHUNK: u64 = 1 << 20;
/// Bytes of the file that is read.
const LENGTH: usize = 8 << 20;
/// Pause between two pieces, so that a file is written for as long as leaders are killed.
const PACE: Duration = Duration::from_millis(20);
/// How long the group may take to be whole again.
const PATIENCE: Duration = Duration::from_mins(1);

fn options() -> CreateOptions {
    CreateOptions { chunk_size: Some(CHUNK), ..CreateOptions::default() }
}

/// Writes one file until told to stop, and reads it back. Answers its length.
async fn put(dfs: Dfs, stop: watch::Receiver<bool>) -> Result<usize> {
    let path = FsPath::parse("/put")?;
    let mut writer = dfs.create(&path, options()).await?;
    let (mut stream, mut piece, mut expected) = (Stream::new(1), vec![0; PIECE], Vec::new());
    while !*stop.borrow() {
        stream.fill(&mut piece);
        writer.write_all(&piece).await.context("a running put failed")?;
        expected.extend_from_slice(&piece);
        tokio::time::sleep(PACE).await;
    }
    writer.close().await.context("closing after the kills failed")?;
    let found = dfs.open(&path).await?.read_all().await?;
    ensure!(found == expected, "what was put is not what is there");
    Ok(expected.len())
}

/// Reads one file again and again until told to stop. Answers how often.
async fn get(dfs: Dfs, stop: watch::Receiver<bool>) -> Result<u64> {
    let (path, expected) = (FsPath::parse("/get")?, content::bytes(2, LENGTH));
    let mut times = 0;
    while !*stop.borrow() {
        let mut reader = dfs.open(&path).await.context("a get did not begin")?;
        let mut found = Vec::new();
        reader.read_to_end(&mut found).await.context("a running get failed")?;
        ensure!(found == expected, "other bytes were read");
        times += 1;
    }
    Ok(times)
}

/// Kills the leader, waits for another one, and lets the killed one come back.
async fn depose(cluster: &TestCluster) -> Result<()> {
    let leader = cluster.leader().await?;
    cluster.kill(leader).await?;
    wait::until("another NameNode leads", PATIENCE, || async {
        let now = cluster.leader().await?;
        ensure!(now != leader, "{leader} was killed and is still taken for the leader");
        Ok(())
    })
    .await?;
    cluster.start(leader).await?;
    Ok(cluster.wait_ready(PATIENCE).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_go_on_when_the_leader_is_killed() -> Result<()> {
    let kills = if long_form() { 30 } else { 3 };
    let cluster = TestCluster::start(Options { namenodes: 3, ..Options::default() }).await?;
    let dfs = cluster.client().await?;
    let mut writer = dfs.create(&FsPath::parse("/get")?, options()).await?;
    writer.write_all(&content::bytes(2, LENGTH)).await?;
    writer.close().await?;

    let (stop, stopped) = watch::channel(false);
    let mut storms = Vec::new();
    for client in 0..CLIENTS {
        let dfs = cluster.client().await?;
        storms.push(tokio::spawn(storm(dfs, client, client, stopped.clone())));
    }
    let put = tokio::spawn(put(cluster.client().await?, stopped.clone()));
    let get = tokio::spawn(get(cluster.client().await?, stopped));
    for _ in 0..kills {
        depose(&cluster).await?;
    }
    stop.send(true)?;
    let (bytes, times) = (put.await??, get.await??);
    let operations = all_is_there(&dfs, storms).await?;
    println!("{operations} operations, {bytes} bytes put, {times} times got over {kills} kills");
    ensure!(bytes > 0 && times > 0 && operations > kills, "hardly anything was done");
    Ok(())
}
