//! More writers, readers and connections than there is room for: they wait, nobody is blamed, and nothing ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dfs_client::{CreateOptions, Dfs};
use dfs_e2e::{content, long_form, wait};
use dfs_local::{Daemon, Options, TestCluster, programs};
use futures_util::StreamExt;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use crate::faults::{get, path, put};

/// Margin for slow machines.
const PATIENCE: Duration = Duration::from_mins(2);
/// Files open for writing in one process: more than the streams that one connection to each of three nodes has.
const OPEN: usize = 400;
const MIB: usize = 1 << 20;

fn small_chunks() -> CreateOptions {
    CreateOptions { chunk_size: Some(4 << 20), ..CreateOptions::default() }
}

/// The value of a metric of a daemon, summed over its labels.
async fn metric(http: &str, name: &str) -> Result<u64> {
    let ask = async {
        let mut stream = TcpStream::connect(http).await?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await?;
        let mut page = String::new();
        stream.read_to_string(&mut page).await?;
        let values = page.lines().filter_map(|line| {
            let rest = line.strip_prefix(name)?;
            rest.starts_with([' ', '{']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok()).flatten()
        });
        let values: Vec<f64> = values.collect();
        ensure!(!values.is_empty(), "{http} has no {name}: {page}");
        Ok(values.iter().sum::<f64>() as u64)
    };
    tokio::time::timeout(PATIENCE, ask).await?
}

/// Where a daemon's HTTP port is, and its process.
async fn process(cluster: &TestCluster, daemon: Daemon) -> Result<(String, u32, PathBuf)> {
    let status = cluster.status().await?.into_iter().find(|status| status.daemon == daemon);
    let status = status.context("it belongs to the cluster")?;
    Ok((status.http.context("it has a port")?, status.pid.context("it runs")?, status.log))
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_open_writers_and_readers_of_one_process_all_go_on() -> Result<()> {
    let datanode_args = ["--memory", "4g"].map(str::to_owned).to_vec();
    let cluster = TestCluster::start(Options { datanode_args, ..Options::default() }).await?;
    let dfs = cluster.client().await?;
    let all_open = Arc::new(Barrier::new(OPEN));
    let mut writers = JoinSet::new();
    for number in 0..OPEN {
        let (dfs, all_open) = (dfs.clone(), Arc::clone(&all_open));
        writers.spawn(async move {
            let data = content::bytes(number as u64, 70_000);
            let mut writer = dfs.create(&path(&format!("/f{number}")), small_chunks()).await?;
            writer.write_all(&data[..40_000]).await?;
            // Every node of its pipeline has it: the stream is open, and stays so.
            writer.hflush().await?;
            all_open.wait().await;
            writer.write_all(&data[40_000..]).await?;
            writer.close().await?;
            anyhow::Ok(())
        });
    }
    while let Some(written) = writers.join_next().await {
        written??;
    }
    for daemon in (1..=3).map(Daemon::DataNode) {
        let (http, ..) = process(&cluster, daemon).await?;
        let opened = metric(&http, "dfs_datanode_connections").await?;
        ensure!(opened < 100, "{opened} connections to {daemon}: they are to be shared");
    }
    // Readers that take a little and stand still do not keep the bytes of others back.
    let large = content::bytes(7, 32 * MIB);
    put(&dfs, &path("/large"), &large, CreateOptions::default()).await?;
    let mut standing = Vec::new();
    for _ in 0..64 {
        let reader = dfs.open(&path("/large")).await?;
        let mut stream = reader.stream(0..large.len() as u64);
        ensure!(stream.next().await.is_some_and(|first| first.is_ok()), "nothing comes");
        standing.push(stream);
    }
    for number in 0..OPEN {
        let data = get(&dfs, &path(&format!("/f{number}"))).await?;
        ensure!(data == content::bytes(number as u64, 70_000), "/f{number} is not what was written");
    }
    ensure!(get(&dfs, &path("/large")).await? == large);
    for mut stream in standing.into_iter().take(8) {
        let mut length = large.len() - dfs_types::limits::PACKET_BYTES;
        while let Some(bytes) = stream.next().await {
            length = length.saturating_sub(bytes?.len());
        }
        ensure!(length == 0, "a reader that stood still misses {length} bytes");
    }
    Ok(())
}

/// Lets a process open only a few more files than it has open now. Answers the limits it had.
fn starve(pid: u32, more: u64) -> Result<(Pid, Rlimit)> {
    let open = fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("a process id")?;
    let maximum = getrlimit(Resource::Nofile).maximum;
    let before = prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(open + more), maximum })?;
    Ok((pid, before))
}

#[tokio::test(flavor = "multi_thread")]
async fn without_descriptors_daemons_wait_and_serve_those_they_have() -> Result<()> {
    let cluster = TestCluster::start(Options::default()).await?;
    let dfs = cluster.client().await?;
    let data = content::bytes(3, 3 * MIB);
    put(&dfs, &path("/before"), &data, CreateOptions::default()).await?;
    let mut starved = Vec::new();
    let mut floods = Vec::new();
    for daemon in [Daemon::NameNode(1), Daemon::DataNode(1)] {
        let (http, pid, _) = process(&cluster, daemon).await?;
        let status = cluster.status().await?.into_iter().find(|status| status.daemon == daemon);
        let address = status.and_then(|status| status.address).context("it has an address")?;
        starved.push((http.clone(), starve(pid, 30)?));
        for port in [&address, &http] {
            for _ in 0..100 {
                // The kernel takes them in, whether or not the process does.
                floods.push(TcpStream::connect(port.as_str()).await?);
            }
        }
    }
    // Who is connected is served. A node without descriptors may refuse a replica's files; the others have it as well.
    for _ in 0..20 {
        ensure!(dfs.stat(&path("/before")).await?.length == data.len() as u64);
        ensure!(get(&dfs, &path("/before")).await? == data);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    floods.clear();
    for (http, (pid, before)) in starved {
        prlimit(Some(pid), Resource::Nofile, before)?;
        // It answers again, and it did not try to accept without pause: that would be hundreds of thousands of times.
        let prefix =
            if http == process(&cluster, Daemon::NameNode(1)).await?.0 { "namenode" } else { "datanode" };
        let errors = metric(&http, &format!("dfs_{prefix}_accept_errors_total")).await?;
        ensure!((1..2_000).contains(&errors), "{prefix}: {errors} failed accepts");
    }
    let after = content::bytes(4, 3 * MIB);
    wait::until("writing works again", PATIENCE, || async {
        put(&dfs, &path("/after"), &after, CreateOptions { overwrite: true, ..CreateOptions::default() })
            .await
    })
    .await?;
    ensure!(get(&dfs, &path("/after")).await? == after);
    let report = dfs.report().await?;
    let failed = report
        .nodes
        .iter()
        .flat_map(|node| &node.volumes)
        .any(|volume| volume.health == dfs_types::VolumeHealth::Failed);
    ensure!(report.nodes.len() == 3 && !failed, "a volume was blamed: {report:?}");
    Ok(())
}

/// A control group that limits memory and that may be made here.
fn memory_groups() -> Option<(PathBuf, &'static str)> {
    let (one, two) = (Path::new("/sys/fs/cgroup/memory"), Path::new("/sys/fs/cgroup"));
    let controllers = fs::read_to_string(two.join("cgroup.subtree_control")).unwrap_or_default();
    let (root, limit) = if one.join("memory.limit_in_bytes").exists() {
        (one, "memory.limit_in_bytes")
    } else if controllers.split_whitespace().any(|controller| controller == "memory") {
        (two, "memory.max")
    } else {
        return None;
    };
    let group = root.join(format!("dfs-test-{}", std::process::id()));
    fs::create_dir(&group).ok()?;
    fs::remove_dir(&group).ok()?;
    Some((group, limit))
}

/// Programs whose DataNodes run in a control group each, with so many bytes of memory.
struct Confined {
    folder: TempDir,
    group: PathBuf,
}

impl Confined {
    fn new(group: PathBuf, limit_file: &str, bytes: usize) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let programs = programs()?;
        std::os::unix::fs::symlink(programs.join("dfs-namenode"), folder.path().join("dfs-namenode"))?;
        let script = format!(
            "#!/bin/sh\nset -e\ngroup='{}'-$$\nmkdir \"$group\"\necho {bytes} >\"$group/{limit_file}\"\n\
             echo $$ >\"$group/cgroup.procs\"\nexec '{}' \"$@\"\n",
            group.display(),
            programs.join("dfs-datanode").display()
        );
        let program = folder.path().join("dfs-datanode");
        fs::write(&program, script)?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        Ok(Self { folder, group })
    }

    fn groups(&self) -> Result<Vec<PathBuf>> {
        let (root, name) = (self.group.parent(), self.group.file_name());
        let name = format!("{}-", name.context("it has a name")?.to_string_lossy());
        let mut groups = Vec::new();
        for entry in fs::read_dir(root.context("it has a parent")?)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&name) {
                groups.push(entry.path());
            }
        }
        Ok(groups)
    }
}

impl Drop for Confined {
    fn drop(&mut self) {
        for group in self.groups().unwrap_or_default() {
            // A group goes when its process is gone; nothing depends on it.
            let _ = fs::remove_dir(group);
        }
    }
}

async fn write_at_once(dfs: &Dfs, writers: usize, seed: u64) -> Result<()> {
    let mut running = JoinSet::new();
    for number in 0..writers as u64 {
        let dfs = dfs.clone();
        running.spawn(async move {
            let name = path(&format!("/{seed}-{number}"));
            put(&dfs, &name, &content::bytes(seed + number, 2 * MIB), small_chunks()).await
        });
    }
    while let Some(written) = running.join_next().await {
        written??;
    }
    for number in (0..writers as u64).step_by(7) {
        let data = get(dfs, &path(&format!("/{seed}-{number}"))).await?;
        ensure!(data == content::bytes(seed + number, 2 * MIB), "/{seed}-{number} is not what was written");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn datanodes_with_64_mib_of_memory_outlive_many_writers() -> Result<()> {
    let Some((group, limit)) = memory_groups() else {
        println!("skipped: no control group that limits memory can be made here");
        return Ok(());
    };
    let confined = Confined::new(group, limit, 64 * MIB)?;
    let cluster = TestCluster::start(Options {
        bin_dir: Some(confined.folder.path().to_owned()),
        datanodes: 3,
        ..Options::default()
    })
    .await?;
    ensure!(confined.groups()?.len() == 3, "each DataNode has its group");
    let mut before = Vec::new();
    for number in 1..=3 {
        before.push((number, process(&cluster, Daemon::DataNode(number)).await?));
    }
    let dfs = cluster.client().await?;
    write_at_once(&dfs, 32, 1_000).await?;
    let many = if long_form() { 200 } else { 48 };
    write_at_once(&dfs, many, 2_000).await?;
    for (number, (http, pid, _)) in before {
        let now = process(&cluster, Daemon::DataNode(number)).await?;
        ensure!(now.1 == pid, "DataNode {number} was ended and started again");
        let budget = metric(&http, "dfs_datanode_memory_budget_bytes").await?;
        let peak = metric(&http, "dfs_datanode_memory_peak_bytes").await?;
        ensure!(budget == 32 * MIB as u64 && peak <= budget, "{peak} of {budget}");
    }
    Ok(())
}
