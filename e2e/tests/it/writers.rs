//! Writers that die with a file open: lease recovery closes it, and it ends at the last hsync at least.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use dfs_client::{CreateOptions, Dfs, FsckEntry, NodeState};
use dfs_e2e::{content, wait};
use dfs_local::{Daemon, Options, TestCluster, programs};
use dfs_types::{ErrorCode, FsPath};
use futures_util::TryStreamExt;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// Recovery is quick here because silence is judged quickly; the rest is margin for slow machines.
const PATIENCE: Duration = Duration::from_mins(2);
const DATANODES: [Daemon; 3] = [Daemon::DataNode(1), Daemon::DataNode(2), Daemon::DataNode(3)];
const CHUNK: usize = 1 << 20;

/// Arguments of a NameNode that is quick to judge nodes, with these limits of leases.
fn quick(soft: &str, hard: &str, grace: &str) -> Vec<String> {
    let times = ["--heartbeat-interval", "200ms", "--stale-after", "1s", "--dead-after", "3s"];
    // A chunk that was allocated and that no node has begun is given up after that time.
    let leases = ["--lease-soft-limit", soft, "--lease-hard-limit", hard, "--restart-grace", grace];
    [&times[..], &leases[..]].concat().into_iter().map(str::to_owned).collect()
}

async fn cluster(soft: &str, hard: &str) -> Result<TestCluster> {
    let namenode_args = quick(soft, hard, "10s");
    Ok(TestCluster::start(Options { namenode_args, ..Options::default() }).await?)
}

/// A process that writes a file as it is told.
struct HeldWriter {
    process: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl HeldWriter {
    async fn start(cluster: &TestCluster, path: &str, chunk_size: usize, seed: u64) -> Result<Self> {
        let namenode = cluster.namenode_addresses().await?.remove(0);
        let mut process = Command::new(programs()?.join("examples/held_writer"))
            .args([&namenode, path, &chunk_size.to_string(), &seed.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("the example held_writer is built with the tests")?;
        let commands = process.stdin.take().context("its input is piped")?;
        let answers = BufReader::new(process.stdout.take().context("its output is piped")?).lines();
        let mut this = Self { process, commands, answers };
        this.answer().await?;
        Ok(this)
    }

    async fn answer(&mut self) -> Result<usize> {
        let answer = tokio::time::timeout(PATIENCE, self.answers.next_line()).await??;
        Ok(answer.context("the writer ended")?.parse()?)
    }

    /// Has a command carried out; answers how many bytes are written then.
    async fn tell(&mut self, command: &str) -> Result<usize> {
        self.begin(command).await?;
        self.answer().await
    }

    /// Gives a command without waiting for its end.
    async fn begin(&mut self, command: &str) -> Result<()> {
        Ok(self.commands.write_all(format!("{command}\n").as_bytes()).await?)
    }

    async fn kill(mut self) -> Result<()> {
        Ok(self.process.kill().await?)
    }
}

fn path(text: &str) -> FsPath {
    FsPath::parse(text).expect("a valid path")
}

async fn closed(dfs: &Dfs, file: &FsPath) -> Result<u64> {
    wait::until("the file is closed", PATIENCE, || async {
        let status = dfs.stat(file).await?;
        ensure!(!status.open, "{status:?}");
        Ok(status.length)
    })
    .await
}

/// The file's content is the start of what was written, and all that was synced is in it.
async fn check_content(dfs: &Dfs, file: &FsPath, seed: u64, synced: usize, written: usize) -> Result<usize> {
    let mut data = Vec::new();
    dfs.open(file).await?.read_to_end(&mut data).await?;
    ensure!((synced..=written).contains(&data.len()), "{} bytes of {synced}..={written}", data.len());
    ensure!(data == content::bytes(seed, written)[..data.len()], "other bytes than were written");
    Ok(data.len())
}

pub(crate) async fn healthy(dfs: &Dfs) -> Result<()> {
    let last = dfs.fsck(&FsPath::root()).await?.try_fold(None, async |_, entry| Ok(Some(entry))).await?;
    let Some(FsckEntry::Summary(summary)) = last else { bail!("fsck ended without a summary") };
    ensure!(summary.healthy && summary.under_replicated == 0 && summary.corrupt == 0, "{summary:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn another_client_gets_the_file_of_a_killed_writer_closed() -> Result<()> {
    let cluster = cluster("1s", "1h").await?;
    let dfs = cluster.client().await?;
    let file = path("/soft");
    let mut writer = HeldWriter::start(&cluster, "/soft", CHUNK, 1).await?;
    let synced = {
        writer.tell(&format!("write {}", 2 * CHUNK + 304)).await?;
        writer.tell("hsync").await?
    };
    let written = writer.tell(&format!("write {}", CHUNK / 2)).await?;
    writer.kill().await?;
    wait::until("another client finds the file closed", PATIENCE, || async {
        match dfs.create(&file, CreateOptions::default()).await {
            Ok(writer) => {
                writer.abort().await?;
                bail!("a file that exists was created")
            }
            Err(error) if error.code == ErrorCode::AlreadyExists && !dfs.stat(&file).await?.open => Ok(()),
            Err(error) => Err(error.into()),
        }
    })
    .await?;
    let length = check_content(&dfs, &file, 1, synced, written).await?;
    ensure!(dfs.stat(&file).await?.length == length as u64);
    wait::until("the file is healthy", PATIENCE, || healthy(&dfs)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_namenode_closes_the_file_of_a_killed_writer() -> Result<()> {
    let cluster = cluster("1s", "2s").await?;
    let dfs = cluster.client().await?;
    let mut synced = HeldWriter::start(&cluster, "/synced", CHUNK, 2).await?;
    synced.tell("write 808").await?;
    let length = synced.tell("hsync").await?;
    let mut empty = HeldWriter::start(&cluster, "/empty", CHUNK, 3).await?;
    // Less than a packet, which the writer keeps.
    empty.tell("write 8").await?;
    synced.kill().await?;
    empty.kill().await?;
    ensure!(closed(&dfs, &path("/empty")).await? == 0);
    ensure!(closed(&dfs, &path("/synced")).await? == length as u64);
    check_content(&dfs, &path("/synced"), 2, length, length).await?;
    wait::until("the files are healthy", PATIENCE, || healthy(&dfs)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_outlives_its_writer_and_all_its_nodes() -> Result<()> {
    let cluster = cluster("1s", "2s").await?;
    let dfs = cluster.client().await?;
    let mut writer = HeldWriter::start(&cluster, "/all", CHUNK, 4).await?;
    writer.tell(&format!("write {}", CHUNK + CHUNK / 2)).await?;
    let synced = writer.tell("hsync").await?;
    let written = writer.tell(&format!("write {CHUNK}")).await?;
    let nodes = async { Ok::<_, anyhow::Error>(cluster.kill_all(&DATANODES).await?) };
    tokio::try_join!(writer.kill(), nodes)?;
    cluster.start_all(&DATANODES).await?;
    closed(&dfs, &path("/all")).await?;
    check_content(&dfs, &path("/all"), 4, synced, written).await?;
    wait::until("the file is healthy", PATIENCE, || healthy(&dfs)).await
}

/// With chunks this small the writer is between two of them most of the time: the one before is acknowledged and not yet
/// finalized, and the next is allocated.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_outlives_its_writer_and_its_nodes_between_two_chunks() -> Result<()> {
    let small = 64 << 10;
    let rounds: u64 = if dfs_e2e::long_form() { 20 } else { 4 };
    let cluster = cluster("1s", "2s").await?;
    let dfs = cluster.client().await?;
    for round in 0..rounds {
        let file = format!("/between{round}");
        let mut writer = HeldWriter::start(&cluster, &file, small, round).await?;
        writer.tell(&format!("write {}", (3 + round as usize) * small)).await?;
        let synced = writer.tell("hsync").await?;
        // It is killed somewhere in here.
        let more = 64 * small;
        writer.begin(&format!("write {more}")).await?;
        wait::until("the writer goes on", PATIENCE, || async {
            let length = dfs.stat(&path(&file)).await?.length;
            ensure!(length > (synced + 2 * small) as u64, "{length} bytes");
            Ok(())
        })
        .await?;
        let nodes = async { Ok::<_, anyhow::Error>(cluster.kill_all(&DATANODES).await?) };
        tokio::try_join!(writer.kill(), nodes)?;
        cluster.start_all(&DATANODES).await?;
        closed(&dfs, &path(&file)).await?;
        check_content(&dfs, &path(&file), round, synced, synced + more).await?;
    }
    wait::until("the files are healthy", PATIENCE, || healthy(&dfs)).await
}

/// What `dfs admin recover-lease` answers in JSON, and its exit status.
async fn recover_lease(cluster: &TestCluster, file: &str, more: &[&str]) -> Result<(Option<i32>, Value)> {
    let namenode = cluster.namenode_addresses().await?.remove(0);
    let output = Command::new(programs()?.join("dfs"))
        .args(["--namenode", &namenode, "-o", "json", "admin", "recover-lease", file])
        .args(more)
        .output()
        .await?;
    let answer = serde_json::from_slice(&output.stdout)
        .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok((output.status.code(), answer))
}

/// One DataNode with the only replicas, and a NameNode that is restarted while it is away. Answers with a file whose writer
/// had synced so many bytes and is gone.
async fn away() -> Result<(TestCluster, &'static str, usize)> {
    let mut namenode_args = quick("1s", "2s", "2s");
    namenode_args.extend(["--min-replicas", "1", "--default-replication", "1"].map(str::to_owned));
    let cluster = TestCluster::start(Options { namenode_args, datanodes: 1, ..Options::default() }).await?;
    let (synced, unsynced) = ("/synced", "/unsynced");
    let mut writer = HeldWriter::start(&cluster, synced, CHUNK, 5).await?;
    writer.tell(&format!("write {}", CHUNK / 2)).await?;
    let length = writer.tell("hsync").await?;
    let mut other = HeldWriter::start(&cluster, unsynced, CHUNK, 6).await?;
    // A packet leaves by itself, so there is a chunk.
    other.tell(&format!("write {}", CHUNK - 8)).await?;
    let dfs = cluster.client().await?;
    wait::until("the other file has a chunk", PATIENCE, || async {
        ensure!(dfs.report().await?.chunks == 2, "it has none");
        Ok(())
    })
    .await?;
    let all = [Daemon::DataNode(1), Daemon::NameNode(1)];
    // At once: a NameNode that still has the DataNode could close the files.
    let daemons = async { Ok::<_, anyhow::Error>(cluster.kill_all(&all).await?) };
    tokio::try_join!(writer.kill(), other.kill(), daemons)?;
    cluster.start_all(&all[1..]).await?;
    // Every time that the NameNode gives is over when it drops what nobody counts on.
    ensure!(closed(&cluster.client().await?, &path(unsynced)).await? == 0);
    Ok((cluster, synced, length))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_synced_is_waited_for_while_its_only_datanode_is_away() -> Result<()> {
    let (cluster, file, synced) = away().await?;
    let dfs = cluster.client().await?;
    let status = dfs.stat(&path(file)).await?;
    ensure!(status.open && status.length == synced as u64, "{status:?}");
    let report = dfs.report().await?;
    let [waiting] = &report.waiting[..] else { bail!("the report names {:?}", report.waiting) };
    ensure!(waiting.path.as_str() == file && waiting.wait.expected == synced as u64, "{waiting:?}");
    ensure!(waiting.wait.best.is_none() && report.waiting_recoveries == 1, "{waiting:?}");
    ensure!(waiting.wait.missing.len() == 1, "the node that has it is not named: {waiting:?}");
    // By where it was, although this NameNode has never heard of it.
    let [node] = &report.nodes[..] else { bail!("the report lists {:?}", report.nodes) };
    ensure!(waiting.wait.missing_names() == [node.node.address()], "{waiting:?} {node:?}");
    let (exit, told) = recover_lease(&cluster, file, &["--timeout", "0s"]).await?;
    ensure!(exit == Some(1) && told["closed"] == false && told["waiting"][0]["expected"] == synced, "{told}");
    let checked: Vec<_> = dfs.fsck(&path(file)).await?.try_collect().await?;
    let Some(FsckEntry::Summary(summary)) = checked.last() else { bail!("fsck ended without a summary") };
    ensure!(summary.waiting == 1 && !summary.healthy, "{summary:?}");

    cluster.start_all(&[Daemon::DataNode(1)]).await?;
    ensure!(closed(&dfs, &path(file)).await? == synced as u64);
    check_content(&dfs, &path(file), 5, synced, synced).await?;
    wait::until("the file is healthy", PATIENCE, || healthy(&dfs)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_none_of_its_nodes_has_any_more_is_not_waited_for() -> Result<()> {
    let (cluster, file, _) = away().await?;
    let node = Daemon::DataNode(1);
    let being_written = cluster.directory(node).join("dfs/rbw");
    let mut removed = 0;
    for replica in std::fs::read_dir(&being_written)? {
        std::fs::remove_file(replica?.path())?;
        removed += 1;
    }
    ensure!(removed > 0, "nothing was in {}", being_written.display());
    let dfs = cluster.client().await?;
    ensure!(dfs.report().await?.waiting_recoveries == 1, "it is not waited for");
    cluster.start_all(&[node]).await?;
    ensure!(closed(&dfs, &path(file)).await? == 0);
    ensure!(dfs.report().await?.waiting_recoveries == 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_datanode_that_was_forgotten_is_not_waited_for() -> Result<()> {
    let (cluster, file, _) = away().await?;
    let dfs = cluster.client().await?;
    wait::until("the DataNode is dead", PATIENCE, || async {
        let nodes = dfs.report().await?.nodes;
        ensure!(nodes.iter().all(|node| node.state == NodeState::Dead), "{nodes:?}");
        Ok(())
    })
    .await?;
    ensure!(dfs.report().await?.waiting_recoveries == 1, "it is not waited for");
    let id = dfs.report().await?.nodes[0].node.id;
    let refused = dfs.forget_nodes(&[id], false).await;
    ensure!(refused.is_err_and(|error| error.code == ErrorCode::Busy), "it has what is waited for");
    dfs.forget_nodes(&[id], true).await?;
    ensure!(closed(&dfs, &path(file)).await? == 0);
    let report = dfs.report().await?;
    ensure!(report.waiting_recoveries == 0 && report.nodes.is_empty(), "{report:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn only_an_accepted_loss_ends_the_waiting_without_the_datanode() -> Result<()> {
    let (cluster, file, _) = away().await?;
    let (exit, told) = recover_lease(&cluster, file, &["--accept-loss", "--timeout", "1m"]).await?;
    ensure!(exit == Some(0) && told["closed"] == true && told["length"] == 0, "{told}");
    let report = cluster.client().await?.report().await?;
    ensure!(report.waiting_recoveries == 0 && report.waiting.is_empty(), "{:?}", report.waiting);
    Ok(())
}
