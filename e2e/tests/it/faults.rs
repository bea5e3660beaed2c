//! Faults of disks, nodes and clocks, one at a time.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use dfs_client::{CreateOptions, Dfs, FsckEntry};
use dfs_e2e::{content, wait};
use dfs_local::{Clocks, Daemon, LocalCluster, Options, Programs, TestCluster, programs};
use dfs_types::{ErrorCode, FsPath};
use futures_util::TryStreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;

/// Recovery is quick here because nodes are declared dead quickly; the rest is margin for slow machines.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) fn quick() -> Options {
    let namenode_args = ["--heartbeat-interval", "200ms", "--stale-after", "1s", "--dead-after", "3s"]
        .map(str::to_owned)
        .to_vec();
    Options { namenode_args, ..Options::default() }
}

pub(crate) fn path(text: &str) -> FsPath {
    FsPath::parse(text).expect("a valid path")
}

pub(crate) async fn put(dfs: &Dfs, path: &FsPath, data: &[u8], options: CreateOptions) -> Result<()> {
    let mut writer = dfs.create(path, options).await?;
    writer.write_all(data).await?;
    writer.close().await?;
    Ok(())
}

pub(crate) async fn get(dfs: &Dfs, path: &FsPath) -> Result<Vec<u8>> {
    let mut data = Vec::new();
    dfs.open(path).await?.read_to_end(&mut data).await?;
    Ok(data)
}

/// Every finalized replica file of a DataNode.
fn replica_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "chunk") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

async fn fsck_healthy(dfs: &Dfs, replicas: u64) -> Result<()> {
    let last = dfs.fsck(&FsPath::root()).await?.try_fold(None, async |_, entry| Ok(Some(entry))).await?;
    let Some(FsckEntry::Summary(summary)) = last else { bail!("fsck ended without a summary") };
    ensure!(summary.healthy, "not healthy: {summary:?}");
    ensure!(summary.replicas == replicas, "{} replicas, not {replicas}: {summary:?}", summary.replicas);
    ensure!(
        summary.under_replicated == 0 && summary.over_replicated == 0 && summary.corrupt == 0,
        "{summary:?}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_is_never_returned_and_is_replaced() -> Result<()> {
    let cluster = TestCluster::start(Options { datanodes: 4, ..quick() }).await?;
    let dfs = cluster.client().await?;
    let file = path("/precious");
    let data = content::bytes(1, 3 << 20);
    put(&dfs, &file, &data, CreateOptions { chunk_size: Some(1 << 20), ..CreateOptions::default() }).await?;

    let holder = (1..=4)
        .map(Daemon::DataNode)
        .find(|daemon| replica_files(&cluster.directory(*daemon)).is_ok_and(|files| !files.is_empty()))
        .context("some node holds a chunk")?;
    for replica in replica_files(&cluster.directory(holder))? {
        let mut chunk = fs::OpenOptions::new().write(true).open(&replica)?;
        chunk.seek(SeekFrom::Start(700_000))?;
        chunk.write_all(&[data[0] ^ 0x40, 1, 2, 3])?;
    }
    // Each reader may start with another replica: all must get the right bytes, and one of them meets the bad one.
    wait::until("the damage is noticed, replaced and gone", PATIENCE, || async {
        ensure!(get(&dfs, &file).await? == data, "damaged bytes were returned");
        let bad = replica_files(&cluster.directory(holder))?
            .into_iter()
            .map(fs::read)
            .collect::<std::io::Result<Vec<_>>>()?
            .iter()
            .filter(|bytes| !data.chunks(1 << 20).any(|chunk| chunk == bytes.as_slice()))
            .count();
        ensure!(bad == 0, "{bad} damaged replicas are still there");
        fsck_healthy(&dfs, 9).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_chunk_is_replaced() -> Result<()> {
    let cluster = TestCluster::start(quick()).await?;
    let dfs = cluster.client().await?;
    let file = path("/cut");
    let data = content::bytes(2, 900_000);
    put(&dfs, &file, &data, CreateOptions { replication: Some(2), ..CreateOptions::default() }).await?;
    let holder = (1..=3)
        .map(Daemon::DataNode)
        .find(|daemon| replica_files(&cluster.directory(*daemon)).is_ok_and(|files| !files.is_empty()))
        .context("some node holds the chunk")?;
    cluster.stop(holder).await?;
    for replica in replica_files(&cluster.directory(holder))? {
        fs::OpenOptions::new().write(true).open(replica)?.set_len(123_456)?;
    }
    cluster.start(holder).await?;
    wait::until("the chunk has two good replicas again", PATIENCE, || async {
        ensure!(get(&dfs, &file).await? == data, "wrong bytes were returned");
        fsck_healthy(&dfs, 2).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_returning_node_brings_back_neither_deleted_nor_stale_data() -> Result<()> {
    let cluster = TestCluster::start(quick()).await?;
    let dfs = cluster.client().await?;
    let (old, kept) = (path("/old"), path("/kept"));
    put(&dfs, &old, &content::bytes(3, 500_000), CreateOptions::default()).await?;

    // A pipeline loses this node in the middle of a chunk: its replica keeps the old generation.
    let data = content::bytes(4, 2 << 20);
    let mut writer = dfs.create(&kept, CreateOptions::default()).await?;
    writer.write_all(&data[..1 << 20]).await?;
    writer.hflush().await?;
    cluster.kill(Daemon::DataNode(3)).await?;
    writer.write_all(&data[1 << 20..]).await?;
    writer.close().await?;
    dfs.delete(&old, false).await?;

    cluster.start(Daemon::DataNode(3)).await?;
    wait::until("the node holds what it should and nothing else", PATIENCE, || async {
        let mut lengths: Vec<u64> = replica_files(&cluster.directory(Daemon::DataNode(3)))?
            .iter()
            .map(|replica| Ok(fs::metadata(replica)?.len()))
            .collect::<Result<_>>()?;
        lengths.sort_unstable();
        ensure!(lengths == [2 << 20], "replicas of {lengths:?} bytes");
        fsck_healthy(&dfs, 3).await
    })
    .await?;
    ensure!(get(&dfs, &kept).await? == data);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_of_a_dead_node_are_copied() -> Result<()> {
    let cluster = TestCluster::start(Options { datanodes: 4, ..quick() }).await?;
    let dfs = cluster.client().await?;
    let options = || CreateOptions { chunk_size: Some(256 << 10), ..CreateOptions::default() };
    let data = content::bytes(5, 4 << 20);
    put(&dfs, &path("/healed"), &data, options()).await?;
    cluster.kill(Daemon::DataNode(2)).await?;
    wait::until("every chunk has three live replicas", PATIENCE, || async {
        let report = dfs.report().await?;
        ensure!(report.under_replicated == 0, "{} chunks are under-replicated", report.under_replicated);
        let dead = report.nodes.iter().filter(|node| node.state == dfs_client::NodeState::Dead).count();
        ensure!(dead == 1, "{dead} nodes are dead");
        fsck_healthy(&dfs, 48).await
    })
    .await?;
    cluster.start(Daemon::DataNode(2)).await?;
    wait::until("surplus replicas go", PATIENCE, || fsck_healthy(&dfs, 48)).await?;
    ensure!(get(&dfs, &path("/healed")).await? == data);
    Ok(())
}

/// A small file system in memory, gone with its owner.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    pub(crate) fn mount(at: &Path, mebibytes: u32) -> Result<Self> {
        fs::create_dir_all(at)?;
        let size = format!("size={mebibytes}m");
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at).status()?;
        ensure!(status.success(), "mounting a small file system failed");
        Ok(Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the daemon that uses it may still be ending.
        let unmounted = Command::new("umount").arg("-l").arg(&self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("{} stays mounted", self.0.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_an_error_in_words_and_writers_avoid_it() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: mounting a small file system needs root");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let options = Options {
        datanodes: 3,
        lifetime: dfs_local::Lifetime::Scoped,
        datanode_args: ["--reserve", "1048576"].map(str::to_owned).to_vec(),
        ..quick()
    };
    let cluster = LocalCluster::new(folder.path(), &options)?;
    let mut disks = Vec::new();
    for number in 1..=3 {
        disks.push(SmallDisk::mount(&cluster.directory(Daemon::DataNode(number)), 48)?);
    }
    cluster.up(&options).await?;
    let outcome = fill(&cluster).await;
    cluster.down().await?;
    outcome
}

async fn fill(cluster: &LocalCluster) -> Result<()> {
    let dfs = cluster.client().await?;
    let options = || CreateOptions { chunk_size: Some(4 << 20), ..CreateOptions::default() };
    let kept = content::bytes(6, 8 << 20);
    put(&dfs, &path("/kept"), &kept, options()).await?;
    let error = match put(&dfs, &path("/too-much"), &content::bytes(7, 200 << 20), options()).await {
        Ok(()) => bail!("200 MiB fit on disks of 48 MiB"),
        Err(error) => format!("{error:#}"),
    };
    ensure!(error.contains("space") || error.contains("room") || error.contains("full"), "{error}");
    ensure!(get(&dfs, &path("/kept")).await? == kept, "what was there before was lost");
    dfs.delete(&path("/too-much"), false).await?;
    wait::until("the space is there again", PATIENCE, || async {
        put(&dfs, &path("/again"), &kept, CreateOptions { overwrite: true, ..options() }).await
    })
    .await?;
    ensure!(get(&dfs, &path("/again")).await? == kept);
    Ok(())
}

/// Runs a daemon that must refuse to start, and returns what it says.
fn refused(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(programs()?.join(program)).args(arguments).stdin(Stdio::null()).output()?;
    ensure!(output.status.code() == Some(1), "{program} ended with {}", output.status);
    let said = String::from_utf8(output.stderr)?;
    let last = said.lines().last().unwrap_or_default().to_owned();
    ensure!(last.starts_with("error: "), "{said}");
    Ok(last)
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_refuse_what_is_not_theirs() -> Result<()> {
    let cluster = TestCluster::start(Options { datanodes: 1, ..Options::default() }).await?;
    let namenode = cluster.namenode_addresses().await?.remove(0);
    let directory = cluster.directory(Daemon::NameNode(1)).display().to_string();
    let any = "127.0.0.1:0";

    let said = refused("dfs-namenode", &["run", "--dir", &directory, "--listen", any, "--http", any])?;
    ensure!(said.contains("in use"), "{said}");

    let other = tempfile::tempdir()?;
    let fresh = other.path().join("nn").display().to_string();
    let said = refused(
        "dfs-namenode",
        &["run", "--dir", &fresh, "--format-if-empty", "--listen", &namenode, "--http", any],
    )?;
    ensure!(said.contains("in use") && said.contains(&namenode), "{said}");

    let said = refused("dfs-namenode", &["run", "--dir", &fresh, "--listen", any, "--http", any])?;
    ensure!(said.contains("format"), "{said}");

    let volume = cluster.directory(Daemon::DataNode(1)).display().to_string();
    let run = ["run", "--namenode", &namenode, "--listen", any, "--http", any, "--volume"];
    let said = refused("dfs-datanode", &[&run[..], &[&volume]].concat())?;
    ensure!(said.contains("in use"), "{said}");

    // A volume of another cluster.
    let stranger = TestCluster::start(Options { datanodes: 1, ..Options::default() }).await?;
    stranger.stop(Daemon::DataNode(1)).await?;
    let volume = stranger.directory(Daemon::DataNode(1)).display().to_string();
    let said = refused("dfs-datanode", &[&run[..], &[&volume]].concat())?;
    ensure!(said.contains("cluster"), "{said}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreachable_namenode_is_an_error_and_no_wait() -> Result<()> {
    // Bound, so that nobody else listens there, and not listening.
    let refusing = TcpSocket::new_v4()?;
    refusing.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    // A port that listens and never answers is worse than one that refuses.
    let silent = TcpListener::bind("127.0.0.1:0")?;
    for address in [refusing.local_addr()?, silent.local_addr()?] {
        let asking = async { Dfs::connect(&address.to_string()).await?.stat(&FsPath::root()).await };
        let result = tokio::time::timeout(Duration::from_mins(1), asking).await.context("it waits on")?;
        let error = result.expect_err("nobody serves there");
        ensure!(
            matches!(error.code, ErrorCode::Unavailable | ErrorCode::TimedOut)
                && error.message.contains(&address.to_string()),
            "{error:?}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_jumping_clock_declares_nobody_dead() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let clocks = Clocks::new(folder.path(), &Programs::usual(programs()?))?;
    let cluster = TestCluster::start(Options { bin_dir: Some(clocks.bin_dir()), ..quick() }).await?;
    let dfs = cluster.client().await?;
    let data = content::bytes(8, 1 << 20);
    put(&dfs, &path("/before"), &data, CreateOptions::default()).await?;
    let mut writer = dfs.create(&path("/during"), CreateOptions::default()).await?;
    writer.write_all(&data[..1 << 19]).await?;
    writer.hflush().await?;

    let mut last = dfs.stat(&path("/before")).await?.mtime;
    for hours in [10_i64, -10, 0] {
        clocks.set(Daemon::NameNode(1), hours * 3_600)?;
        let probe = path(&format!("/probe{hours}"));
        put(&dfs, &probe, &data, CreateOptions::default()).await?;
        let now = dfs.stat(&probe).await?.mtime;
        ensure!(now.0.abs_diff(last.0) > 5 * 3_600_000, "the clock did not jump: {last} to {now}");
        last = now;
        let report = dfs.report().await?;
        ensure!(
            report.nodes.iter().all(|node| node.state == dfs_client::NodeState::Live),
            "a jump of {hours} hours: {report:?}"
        );
        ensure!(get(&dfs, &path("/before")).await? == data);
    }
    // The lease of the open file has outlived the jumps.
    writer.write_all(&data[1 << 19..]).await?;
    writer.close().await?;
    ensure!(get(&dfs, &path("/during")).await? == data);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announced_stop_keeps_data_and_the_cluster_comes_back_whole() -> Result<()> {
    let options = quick();
    let cluster = TestCluster::start(options.clone()).await?;
    let dfs = cluster.client().await?;
    let data = content::bytes(9, 2 << 20);
    put(&dfs, &path("/kept"), &data, CreateOptions::default()).await?;
    let before = dfs.stat(&path("/kept")).await?;
    cluster.down().await?;
    cluster.up(&options).await?;
    let dfs = cluster.client().await?;
    ensure!(dfs.stat(&path("/kept")).await? == before);
    ensure!(get(&dfs, &path("/kept")).await? == data);
    fsck_healthy(&dfs, 3).await
}
