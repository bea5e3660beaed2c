//! Many small files on small disks: what is promised to writers is given back, and no more than they write.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use dfs_client::{CreateOptions, Dfs};
use dfs_e2e::{content, long_form};
use dfs_local::{Daemon, LocalCluster, Options};
use futures_util::future::try_join_all;

use crate::faults::{SmallDisk, get, path, put};
use crate::protocol::http_get;

/// Writers at the same time.
const WRITERS: usize = 32;

/// Requests of this method that the NameNode answered with this error.
async fn answered(cluster: &LocalCluster, method: &str, code: &str) -> Result<u64> {
    let status = cluster.status().await?;
    let is_namenode = |daemon: &Daemon| matches!(daemon, Daemon::NameNode(_));
    let namenode = status.iter().find(|status| is_namenode(&status.daemon)).context("a NameNode runs")?;
    let (_, text) = http_get(namenode.http.as_deref().context("it serves")?, "/metrics").await?;
    let label = |name: &str, value: &str| format!("{name}=\"{value}\"");
    let counted = text.lines().find(|line| {
        line.contains("requests_total")
            && line.contains(&label("method", method))
            && line.contains(&label("code", code))
    });
    Ok(counted.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_default())
}

async fn write_all(dfs: &Dfs, count: usize) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let writers = (0..WRITERS).map(|_| {
        let (dfs, next) = (dfs.clone(), Arc::clone(&next));
        async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return anyhow::Ok(());
                }
                let at = path(&format!("/small/{}/{number}", number % 16));
                let options = CreateOptions { parents: true, ..CreateOptions::default() };
                put(&dfs, &at, &content::bytes(number as u64, 1 << 10), options).await?;
            }
        }
    });
    try_join_all(writers).await?;
    Ok(())
}

/// Chunks may have 64 MiB: on disks with room for one or two of them nobody waits, as every writer's file is short.
#[tokio::test(flavor = "multi_thread")]
async fn small_files_need_no_more_room_than_they_take() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: mounting a small file system needs root");
        return Ok(());
    }
    let (count, mebibytes) = if long_form() { (20_000, 2_048) } else { (400, 96) };
    let folder = tempfile::tempdir()?;
    let options = Options {
        datanodes: 3,
        lifetime: dfs_local::Lifetime::Scoped,
        datanode_args: ["--reserve", "1048576"].map(str::to_owned).to_vec(),
        ..Options::default()
    };
    let cluster = LocalCluster::new(folder.path(), &options)?;
    let mut disks = Vec::new();
    for number in 1..=3 {
        disks.push(SmallDisk::mount(&cluster.directory(Daemon::DataNode(number)), mebibytes)?);
    }
    cluster.up(&options).await?;
    let outcome = fill(&cluster, count).await;
    cluster.down().await?;
    outcome
}

async fn fill(cluster: &LocalCluster, count: usize) -> Result<()> {
    let dfs = cluster.client().await?;
    write_all(&dfs, count).await?;
    // A file whose length is told beforehand; and one that grows beyond it.
    for (name, told) in [("/told", 3 << 20), ("/more-than-told", 1)] {
        let options = CreateOptions { expected_length: Some(told), ..CreateOptions::default() };
        let mut writer = dfs.create(&path(name), options).await?;
        let data = Bytes::from(content::bytes(told, 3 << 20));
        writer.write_bytes(data.clone()).await?;
        writer.close().await?;
        ensure!(get(&dfs, &path(name)).await? == data, "{name}");
    }
    let refused = answered(cluster, "AddChunk", "not_enough_nodes").await?;
    ensure!(refused == 0, "{refused} chunks were refused, though there was room");
    ensure!(answered(cluster, "AddChunk", "ok").await? >= count as u64, "the requests are counted");
    Ok(())
}
