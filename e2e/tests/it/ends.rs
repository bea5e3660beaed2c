//! Files that are appended to, truncated and concatenated, by clients over real DataNodes.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dfs_client::{AppendOptions, CreateOptions, Dfs};
use dfs_e2e::{content, wait};
use dfs_local::{Daemon, Options, TestCluster};
use dfs_types::{ErrorCode, FsPath, checksum};
use futures_util::TryStreamExt;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::io::AsyncWriteExt;

use crate::faults::{get, path, put, quick};
use crate::writers::healthy;

/// Recovery is quick here because nodes are declared dead quickly; the rest is margin for slow machines.
const PATIENCE: Duration = Duration::from_mins(1);
const CHUNK: usize = 1 << 20;

fn options() -> CreateOptions {
    CreateOptions { chunk_size: Some(CHUNK as u64), ..CreateOptions::default() }
}

async fn append(dfs: &Dfs, file: &FsPath, data: &[u8]) -> Result<()> {
    let mut writer = dfs.append(file, AppendOptions::default()).await?;
    writer.write_all(data).await?;
    writer.close().await?;
    Ok(())
}

/// The file has these bytes, however it is asked for them.
async fn check(dfs: &Dfs, file: &FsPath, expected: &[u8]) -> Result<()> {
    ensure!(get(dfs, file).await? == expected, "{file} has other bytes than {}", expected.len());
    ensure!(dfs.stat(file).await?.length == expected.len() as u64, "{file} has another length");
    let sum = dfs.checksum(file).await?;
    ensure!(sum.crc32c == checksum::crc32c(expected), "{file} has another checksum");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn random_ends_are_what_a_vector_of_bytes_has() -> Result<()> {
    let cluster = TestCluster::start(quick()).await?;
    let dfs = cluster.client().await?;
    let seed = 20_261_201;
    let mut random = StdRng::seed_from_u64(seed);
    let mut files: BTreeMap<FsPath, Vec<u8>> = BTreeMap::new();
    for step in 0..40_u64 {
        let names: Vec<FsPath> = files.keys().cloned().collect();
        let any = |random: &mut StdRng| names.get(random.random_range(0..names.len().max(1))).cloned();
        let data = content::bytes(seed + step, random.random_range(1..CHUNK * 5 / 2));
        match (random.random_range(0..10), any(&mut random)) {
            (0..=1, _) | (_, None) => {
                let file = path(&format!("/f{step}"));
                put(&dfs, &file, &data, options()).await?;
                files.insert(file, data);
            }
            (2..=5, Some(file)) => {
                append(&dfs, &file, &data).await?;
                files.get_mut(&file).expect("it is there").extend(data);
            }
            (6..=8, Some(file)) => {
                let bytes = files.get_mut(&file).expect("it is there");
                bytes.truncate(random.random_range(0..=bytes.len()));
                dfs.truncate(&file, bytes.len() as u64).await?;
            }
            (_, Some(target)) => {
                let sources: Vec<FsPath> = names
                    .iter()
                    .filter(|name| **name != target && !files[*name].is_empty() && random.random())
                    .cloned()
                    .collect();
                if sources.is_empty() {
                    continue;
                }
                dfs.concat(&target, &sources).await?;
                for source in sources {
                    let moved = files.remove(&source).expect("it is there");
                    files.get_mut(&target).expect("it is there").extend(moved);
                }
            }
        }
        for (file, bytes) in &files {
            check(&dfs, file, bytes).await?;
        }
    }
    let all: Vec<String> = dfs
        .list(&FsPath::root())
        .try_collect::<Vec<_>>()
        .await?
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    let expected: Vec<String> = files.keys().filter_map(|file| file.name().map(str::to_owned)).collect();
    ensure!(all.len() == expected.len() && expected.iter().all(|name| all.contains(name)), "{all:?}");
    wait::until("nothing lacks a replica", PATIENCE, || async { healthy(&dfs).await }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_appending_writer_that_loses_its_pipeline_goes_on() -> Result<()> {
    let cluster = TestCluster::start(Options { datanodes: 5, ..quick() }).await?;
    let dfs = cluster.client().await?;
    let (file, before, more) =
        (path("/log"), content::bytes(1, CHUNK + 700), content::bytes(2, 3 * CHUNK + 9));
    put(&dfs, &file, &before, options()).await?;
    let mut writer = dfs.append(&file, AppendOptions::default()).await?;
    writer.write_all(&more[..CHUNK / 2]).await?;
    writer.hsync().await?;
    let located = dfs.locate(&file, 0..u64::MAX).await?.chunks;
    let open = located.into_iter().find(|chunk| chunk.under_construction).context("a chunk is open")?;
    let ports: Vec<String> =
        open.nodes.iter().take(2).map(|node| format!(":{}", node.at.data_port)).collect();
    for daemon in cluster.status().await? {
        let address = daemon.address.unwrap_or_default();
        let is_written = ports.iter().any(|port| address.ends_with(port));
        if is_written && matches!(daemon.daemon, Daemon::DataNode(_)) {
            cluster.kill(daemon.daemon).await?;
        }
    }
    writer.write_all(&more[CHUNK / 2..]).await?;
    writer.close().await?;
    check(&dfs, &file, &[before, more].concat()).await?;
    wait::until("every chunk has its replicas again", PATIENCE, || async { healthy(&dfs).await }).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_appender_that_gives_up_leaves_the_file_to_the_next_one() -> Result<()> {
    let cluster = TestCluster::start(quick()).await?;
    let dfs = cluster.client().await?;
    let (file, before) = (path("/log"), content::bytes(3, CHUNK + 5));
    put(&dfs, &file, &before, options()).await?;
    let mut first = dfs.append(&file, AppendOptions::default()).await?;
    let other = cluster.client().await?;
    let refused = other.append(&file, AppendOptions::default()).await.map(drop).unwrap_err();
    ensure!(refused.code == ErrorCode::LeaseConflict, "{refused}");
    let refused = other.truncate(&file, 1).await.unwrap_err();
    ensure!(refused.code == ErrorCode::LeaseConflict, "{refused}");
    // Nothing of this is acknowledged.
    first.write_all(&content::bytes(4, 1_000)).await?;
    first.abort().await?;
    wait::until("it is closed", PATIENCE, || async {
        let status = dfs.stat(&file).await?;
        ensure!(!status.open, "{status:?}");
        Ok(())
    })
    .await?;
    let kept = get(&dfs, &file).await?;
    ensure!(kept.starts_with(&before), "what was there before is gone");
    let last = content::bytes(5, 2_000);
    append(&other, &file, &last).await?;
    check(&dfs, &file, &[kept, last].concat()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_goes_on_where_its_file_is_now() -> Result<()> {
    /// More chunks than a reader is told of at once.
    const CHUNKS: usize = 150;
    const SMALL: usize = 1_024;
    let cluster = TestCluster::start(quick()).await?;
    let dfs = cluster.client().await?;
    let (data, file) = (content::bytes(15, CHUNKS * SMALL), path("/before/f"));
    let small = CreateOptions { chunk_size: Some(SMALL as u64), parents: true, ..CreateOptions::default() };
    put(&dfs, &file, &data, small.clone()).await?;
    let reader = dfs.open(&file).await?;
    ensure!(reader.read_at(0, SMALL).await? == data[..SMALL], "other bytes");
    // Its directory is moved, and another file takes its place.
    dfs.rename(&path("/before"), &path("/after"), false).await?;
    put(&dfs, &file, &data[SMALL..], small).await?;
    ensure!(reader.read_all().await? == data, "other bytes than those of the file that was opened");
    dfs.rename(&path("/after/f"), &path("/f"), false).await?;
    ensure!(
        reader.read_at(100 * SMALL as u64, SMALL).await? == data[100 * SMALL..101 * SMALL],
        "other bytes"
    );

    let late = dfs.open(&path("/f")).await?;
    dfs.delete(&path("/f"), false).await?;
    let gone = late.read_at(100 * SMALL as u64, SMALL).await.expect_err("it was deleted");
    ensure!(gone.code == ErrorCode::NotFound && gone.message.contains("/f was deleted"), "{gone}");
    Ok(())
}
