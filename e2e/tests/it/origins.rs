//! The headers on the DataNodes' disks say of every file what the namespace says: one could be made again from them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use dfs_client::{CreateOptions, Dfs};
use dfs_e2e::{content, wait};
use dfs_local::{Daemon, Options, TestCluster, programs};
use dfs_types::{FsPath, Millis, Mode};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::faults::{get, path, put};

const PATIENCE: Duration = Duration::from_mins(2);
const CHUNK_SIZE: u64 = 64 << 10;
const DATANODES: u16 = 3;

/// Arguments of DataNodes that look at every replica each second.
pub(crate) const EAGER: [&str; 4] = ["--scrub-interval", "1s", "--scrub-rate", "256m"];

/// What the headers of all replicas of a cluster say, by chunk.
pub(crate) async fn headers(cluster: &TestCluster, datanodes: u16) -> Result<BTreeMap<u64, Vec<Value>>> {
    let mut command = Command::new(programs()?.join("dfs-datanode"));
    command.args(["headers", "-o", "json"]);
    for daemon in (1..=datanodes).map(Daemon::DataNode) {
        command.args(cluster.volumes(daemon).await?);
    }
    let output = command.output().await?;
    ensure!(output.status.success(), "{output:?}");
    let mut headers = BTreeMap::<u64, Vec<Value>>::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let header: Value = serde_json::from_str(line)?;
        headers.entry(header["chunk"].as_u64().context("a chunk")?).or_default().push(header);
    }
    Ok(headers)
}

/// Fails unless every replica of these files, all of which have as many as they want, says what `stat` says.
async fn check(cluster: &TestCluster, datanodes: u16, dfs: &Dfs, files: &[FsPath]) -> Result<()> {
    let headers = headers(cluster, datanodes).await?;
    for path in files {
        let located = dfs.locate(path, 0..u64::MAX).await?;
        let (status, mut end) = (located.status, 0);
        for chunk in located.chunks {
            end += chunk.length;
            let expected = json!({
                "version": 2,
                "namespace_group": 0,
                "inode": status.inode.0,
                "chunk": chunk.chunk.0,
                "generation": chunk.generation.0,
                "told_generation": chunk.generation.0,
                "index": chunk.index,
                "length": chunk.length,
                "path": path.as_str(),
                "offset": chunk.offset,
                "file_length": status.length,
                "owner": status.owner,
                "group": status.group,
                "mode": format!("{:04o}", status.mode.bits()),
                "mtime": status.mtime.0,
                "replication": status.replication,
                "chunk_size": status.chunk_size,
            });
            let replicas = headers.get(&chunk.chunk.0).map(Vec::as_slice).unwrap_or_default();
            ensure!(replicas.len() == status.replication as usize, "{path}: {} replicas", replicas.len());
            for header in replicas {
                for (name, value) in expected.as_object().context("an object")? {
                    ensure!(header[name] == *value, "{path}: {name} is {value}: {header}");
                }
            }
        }
        ensure!(end == status.length, "{path} has {} bytes in chunks with {end}", status.length);
    }
    Ok(())
}

/// Waits until every replica of these files says what `stat` says.
pub(crate) async fn say_what_stat_says(
    cluster: &TestCluster,
    datanodes: u16,
    dfs: &Dfs,
    files: &[FsPath],
) -> Result<()> {
    let what = format!("the headers of {} files to say what stat says", files.len());
    wait::until(&what, PATIENCE, || check(cluster, datanodes, dfs, files)).await
}

/// Nothing lies among the copies coming in but what is coming in.
fn ensure_tidy(volume: &Path) -> Result<()> {
    for entry in std::fs::read_dir(volume.join("dfs/tmp"))? {
        let entry = entry?.path();
        if entry.extension().is_some_and(|suffix| suffix == "header") {
            bail!("{} is left over", entry.display());
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disks_say_what_stat_says() -> Result<()> {
    let datanode_args = EAGER.map(str::to_owned).to_vec();
    let options = Options { datanodes: DATANODES, datanode_args, ..Options::default() };
    let cluster = TestCluster::start(options).await?;
    let dfs = cluster.client().await?;
    let sizes = [("/a/one", 10), ("/a/b/three", 2 * CHUNK_SIZE + 5_000), ("/a/b/empty", 0), ("/c ü", 512)];
    for (seed, (at, size)) in (1..).zip(sizes) {
        let options = CreateOptions {
            parents: true,
            replication: Some(2),
            chunk_size: Some(CHUNK_SIZE),
            mode: Mode::new(0o640)?.into(),
            ..CreateOptions::default()
        };
        put(&dfs, &path(at), &content::bytes(seed, size as usize), options).await?;
    }
    say_what_stat_says(&cluster, DATANODES, &dfs, &sizes.map(|(at, _)| path(at))).await?;

    dfs.rename(&path("/a"), &path("/directory with a much longer name"), false).await?;
    let now =
        ["one", "b/three", "b/empty"].map(|name| path(&format!("/directory with a much longer name/{name}")));
    let [one, three, _] = &now;
    dfs.set_owner(one, Some("ann"), Some("staff")).await?;
    dfs.set_mode(three, Mode::new(0o1600)?).await?;
    dfs.set_times(three, Some(Millis(1)), None).await?;
    dfs.set_replication(one, 3).await?;
    dfs.rename(&path("/c ü"), &path("/d"), false).await?;
    let files = [&now[..], &[path("/d")]].concat();
    say_what_stat_says(&cluster, DATANODES, &dfs, &files).await?;

    // Whatever they were doing: all comes up, and says the same or soon will.
    dfs.rename(&path("/d"), &path("/e"), false).await?;
    let daemons: Vec<_> = (1..=DATANODES).map(Daemon::DataNode).collect();
    cluster.kill_all(&daemons).await?;
    cluster.start_all(&daemons).await?;
    let files = [&now[..], &[path("/e")]].concat();
    say_what_stat_says(&cluster, DATANODES, &dfs, &files).await?;
    for (seed, (path, (_, size))) in (1..).zip(files.iter().zip(sizes)) {
        ensure!(get(&dfs, path).await? == content::bytes(seed, size as usize), "{path} has other bytes");
    }
    cluster.kill_all(&daemons).await?;
    cluster.start_all(&daemons).await?;
    for daemon in daemons {
        for volume in cluster.volumes(daemon).await? {
            wait::until("nothing to be left over", PATIENCE, || std::future::ready(ensure_tidy(&volume)))
                .await?;
        }
    }
    Ok(())
}
