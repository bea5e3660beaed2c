//! Standard streams that are full, closed, or that nobody reads: what is done and the exit status do not depend on standard
//! error, and do depend on standard output and input where these are what is asked for.

use std::collections::BTreeSet;
use std::fs;
use std::io::{PipeReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use dfs_client::{CreateOptions, Dfs};
use dfs_e2e::{content, wait};
use dfs_local::{Options, TestCluster, programs};
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::faults::{get, path, put};

const PATIENCE: Duration = Duration::from_mins(1);
const ANY: &str = "127.0.0.1:0";

/// A standard error that takes nothing.
#[derive(Debug, Clone, Copy)]
enum Useless {
    /// Its disk is full.
    Full,
    /// Its reader is gone.
    Deaf,
    /// Its reader is there and does not read.
    Stuck,
}

impl Useless {
    const ALL: [Self; 3] = [Self::Full, Self::Deaf, Self::Stuck];

    /// The stream, and what must live as long as it.
    fn open(self) -> Result<(Stdio, Option<PipeReader>)> {
        if matches!(self, Self::Full) {
            return Ok((fs::OpenOptions::new().write(true).open("/dev/full")?.into(), None));
        }
        let (reader, mut writer) = std::io::pipe()?;
        if matches!(self, Self::Deaf) {
            return Ok((writer.into(), None));
        }
        let flags = rustix::fs::fcntl_getfl(&writer)?;
        rustix::fs::fcntl_setfl(&writer, flags | OFlags::NONBLOCK)?;
        while writer.write(&[b'x'; 4_096]).is_ok() {}
        rustix::fs::fcntl_setfl(&writer, flags)?;
        Ok((writer.into(), Some(reader)))
    }
}

/// A daemon that ends with the test.
struct Process(Child);

impl Process {
    fn start(program: &str, arguments: &[&str], stderr: Stdio) -> Result<Self> {
        let mut command = Command::new(programs()?.join(program));
        command.arg("run").args(arguments).args(["--http", ANY, "--log", "trace"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        Ok(Self(command.spawn().with_context(|| format!("{program} can't be started"))?))
    }

    /// What its `addresses.json` in `folder` says.
    async fn addresses(&mut self, folder: &Path) -> Result<Value> {
        wait::until("it listens", PATIENCE, || {
            let ended = self.0.try_wait();
            async {
                ensure!(ended?.is_none(), "it has ended");
                Ok::<Value, anyhow::Error>(serde_json::from_slice(&fs::read(folder.join("addresses.json"))?)?)
            }
        })
        .await
    }

    /// Sends SIGTERM and waits for the end.
    async fn stop(mut self) -> Result<ExitStatus> {
        kill_process(Pid::from_child(&self.0), Signal::TERM)?;
        wait::until("it obeys SIGTERM", PATIENCE, || {
            let ended = self.0.try_wait();
            async { ended?.context("it runs") }
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended, and then there is nothing to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The value of a metric without labels.
fn metric(http: &str, name: &str) -> Result<f64> {
    let mut stream = TcpStream::connect(http)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(line.with_context(|| format!("{name} is not in: {text}"))?.trim().parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn daemons_serve_and_stop_where_their_log_can_not_be_written() -> Result<()> {
    for useless in Useless::ALL {
        let folder = tempfile::tempdir()?;
        let (meta, volume) = (folder.path().join("meta"), folder.path().join("volume"));
        let (meta_text, volume_text) = (meta.display().to_string(), volume.display().to_string());
        let (stderr, _reader) = useless.open()?;
        let arguments = ["--dir", &meta_text, "--format-if-empty", "--listen", ANY, "--min-replicas", "1"];
        let mut namenode = Process::start("dfs-namenode", &arguments, stderr)?;
        let addresses = namenode.addresses(&meta).await?;
        let text = |value: &Value| value.as_str().map(str::to_owned).context("no address");
        let (rpc, http) = (text(&addresses["rpc"])?, text(&addresses["http"])?);
        let (stderr, _reader) = useless.open()?;
        let arguments = ["--volume", &volume_text, "--namenode", &rpc, "--listen", ANY];
        let mut datanode = Process::start("dfs-datanode", &arguments, stderr)?;
        let data_http = text(&datanode.addresses(&volume).await?["http"])?;

        let dfs = Dfs::connect(rpc.as_str()).await?;
        let (file, bytes) = (path("/file"), content::bytes(9, 3 << 20));
        let options = || CreateOptions { replication: Some(1), overwrite: true, ..CreateOptions::default() };
        wait::until("a file is taken", PATIENCE, || put(&dfs, &file, &bytes, options())).await?;
        ensure!(get(&dfs, &file).await? == bytes, "{useless:?}: other bytes");
        for (http, name) in [(&http, "namenode"), (&data_http, "datanode")] {
            let name = format!("dfs_{name}_log_lines_dropped_total");
            if matches!(useless, Useless::Stuck) {
                // Lines wait until their queue is full.
                wait::until("lines are dropped", PATIENCE, || async {
                    for _ in 0..500 {
                        dfs.stat(&file).await?;
                    }
                    get(&dfs, &file).await?;
                    let dropped = metric(http, &name)?;
                    ensure!(dropped > 0.0, "{name} is {dropped}");
                    anyhow::Ok(())
                })
                .await?;
            } else {
                let dropped = metric(http, &name)?;
                ensure!(dropped > 0.0, "{useless:?}: {name} is {dropped}");
            }
        }
        drop(dfs);
        for (process, name) in [(datanode, "datanode"), (namenode, "namenode")] {
            let status = process.stop().await.with_context(|| format!("{name}, {useless:?}"))?;
            ensure!(status.success(), "{useless:?}: the {name} ended with {status}");
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operator_stops_where_its_log_can_not_be_written() -> Result<()> {
    for useless in Useless::ALL {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("config");
        // Nobody listens there: every try is a warning.
        let kubeconfig = "{apiVersion: v1, kind: Config, current-context: x, users: [{name: x, user: {}}], \
            clusters: [{name: x, cluster: {server: 'http://127.0.0.1:1'}}], \
            contexts: [{name: x, context: {cluster: x, user: x}}]}";
        fs::write(&config, kubeconfig)?;
        let (stderr, _reader) = useless.open()?;
        let mut command = Command::new(programs()?.join("dfs-operator"));
        command.args(["run", "--no-lease", "--node-labels=false", "--log", "trace", "--http", ANY]);
        command.env("KUBECONFIG", &config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
        let operator = Process(command.spawn().context("dfs-operator can't be started")?);
        wait::until("it serves, and lines are dropped", PATIENCE, || async {
            let http = format!("127.0.0.1:{}", listening(operator.0.id())?);
            let dropped = metric(&http, "dfs_operator_log_lines_dropped_total")?;
            // Of a reader that hangs lines wait until their queue is full.
            ensure!(dropped > 0.0 || matches!(useless, Useless::Stuck), "{dropped}");
            anyhow::Ok(())
        })
        .await?;
        let status = operator.stop().await.with_context(|| format!("{useless:?}"))?;
        ensure!(status.success(), "{useless:?}: it ended with {status}");
    }
    Ok(())
}

/// The port that a process listens on, which has no other way to tell it.
fn listening(process: u32) -> Result<u16> {
    let folder = format!("/proc/{process}");
    let mut sockets = BTreeSet::new();
    for descriptor in fs::read_dir(format!("{folder}/fd"))? {
        // One that was closed meanwhile is of no interest.
        let Ok(link) = fs::read_link(descriptor?.path()) else { continue };
        let socket = link.to_str().and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']'));
        sockets.extend(socket.map(str::to_owned));
    }
    let table = fs::read_to_string(format!("{folder}/net/tcp"))?;
    let found = table.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let listens = fields.get(3) == Some(&"0A") && sockets.contains(*fields.get(9)?);
        let port = fields.get(1)?.rsplit(':').next().filter(|_| listens)?;
        u16::from_str_radix(port, 16).ok()
    });
    found.context("it does not listen")
}

/// Calls a program of ours by a shell, whose words `redirections` are.
fn shell(program: &str, arguments: &[&str], redirections: &str, namenode: &str) -> Result<Output> {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("exec \"$0\" \"$@\" {redirections}")).arg(programs()?.join(program));
    command.args(arguments).env("DFS_NAMENODE", namenode).stdin(Stdio::null());
    Ok(command.output()?)
}

/// Calls `dfs` with such a standard error.
fn dfs(arguments: &[&str], useless: Useless, namenode: &str) -> Result<ExitStatus> {
    let (stderr, _reader) = useless.open()?;
    let mut command = Command::new(programs()?.join("dfs"));
    command.args(arguments).env("DFS_NAMENODE", namenode).stdin(Stdio::null());
    Ok(command.stdout(Stdio::null()).stderr(stderr).status()?)
}

async fn started() -> Result<(TestCluster, String, Dfs)> {
    let cluster = TestCluster::start(Options::default()).await?;
    let namenode = cluster.namenode_addresses().await?.remove(0);
    let dfs = cluster.client().await?;
    Ok((cluster, namenode, dfs))
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_do_the_same_where_their_errors_can_not_be_told() -> Result<()> {
    let (_cluster, namenode, client) = started().await?;
    let folder = tempfile::tempdir()?;
    let tree = folder.path().join("t");
    fs::create_dir(&tree)?;
    for number in 0..20 {
        std::os::unix::fs::symlink("nowhere", tree.join(format!("a{number}")))?;
        fs::write(tree.join(format!("z{number}")), "z")?;
    }
    let tree = tree.display().to_string();
    // Of a pipe whose reader does not read, writers wait: that is what pipes are for.
    for useless in [Useless::Full, Useless::Deaf] {
        let target = format!("/{useless:?}");
        let status = dfs(&["ls", "/nowhere"], useless, &namenode)?;
        ensure!(status.code() == Some(3), "{useless:?}: ls of nothing ended with {status}");
        let status = dfs(&["-v", "put", "-r", &tree, &target], useless, &namenode)?;
        ensure!(status.code() == Some(1), "{useless:?}: put of a tree with broken links ended with {status}");
        for number in 0..20 {
            client.stat(&path(&format!("{target}/z{number}"))).await?;
        }
        let first = format!("{target}/z1");
        let status = dfs(&["rm", "/nowhere", "/nowhere/else", &first], useless, &namenode)?;
        ensure!(status.code() == Some(3), "{useless:?}: rm ended with {status}");
        ensure!(
            client.stat(&path(&first)).await.is_err(),
            "{useless:?}: rm stopped at what it could not tell"
        );
    }
    let output = shell("dfs", &["ls", "/nowhere"], "2>&-", &namenode)?;
    ensure!(output.status.code() == Some(3), "closed: ls of nothing ended with {}", output.status);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn output_that_can_not_be_written_is_a_failure() -> Result<()> {
    let (_cluster, namenode, client) = started().await?;
    put(&client, &path("/f"), b"data", CreateOptions::default()).await?;
    let calls: [(&str, &[&str]); 14] = [
        ("dfs", &["--help"]),
        ("dfs", &["--version"]),
        ("dfs", &["help", "put"]),
        ("dfs", &["completions", "bash"]),
        ("dfs", &["cat", "/f"]),
        ("dfs", &["get", "/f", "-"]),
        ("dfs", &["tail", "/f"]),
        ("dfs", &["ls", "/"]),
        ("dfs", &["ls", "/", "-o", "json"]),
        ("dfs", &["report"]),
        ("dfs-namenode", &["--version"]),
        ("dfs-datanode", &["run", "--help"]),
        ("dfs-operator", &["--help"]),
        ("dfs-operator", &["crd"]),
    ];
    for (program, arguments) in calls {
        for wrong in ["> /dev/full", ">&-", "1< /dev/null"] {
            let output = shell(program, arguments, wrong, &namenode)?;
            let said = String::from_utf8_lossy(&output.stderr);
            ensure!(
                output.status.code() == Some(1) && said.contains("standard output"),
                "{program} {arguments:?} {wrong} ended with {} and said: {said}",
                output.status
            );
        }
        // Somebody who does not want it says so like this; Python does it in the second way.
        for right in ["> /dev/null", "1<> /dev/null"] {
            let output = shell(program, arguments, right, &namenode)?;
            ensure!(output.status.success(), "{program} {arguments:?} {right} ended with {}", output.status);
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn input_that_can_not_be_read_is_a_failure() -> Result<()> {
    let (_cluster, namenode, client) = started().await?;
    let folder = tempfile::tempdir()?;
    put(&client, &path("/f"), b"data", CreateOptions::default()).await?;
    for wrong in ["<&-", "0> /dev/null", "< /tmp"] {
        let output = shell("dfs", &["put", "-f", "-", "/f"], wrong, &namenode)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(1) && said.contains("standard input"),
            "{wrong}: put ended with {} and said: {said}",
            output.status
        );
        ensure!(get(&client, &path("/f")).await? == b"data", "{wrong}: the file was replaced");
    }
    // All of them closed: whatever takes their numbers, files keep their bytes.
    let target = folder.path().join("got");
    let output = shell("dfs", &["get", "/f", &target.display().to_string()], "<&- >&- 2>&-", &namenode)?;
    ensure!(output.status.success() && fs::read(&target)? == b"data", "get ended with {}", output.status);
    for empty in ["< /dev/null", "0<> /dev/null"] {
        let output = shell("dfs", &["put", "-f", "-", "/f"], empty, &namenode)?;
        ensure!(output.status.success(), "{empty}: {}", String::from_utf8_lossy(&output.stderr));
        ensure!(get(&client, &path("/f")).await?.is_empty(), "{empty}: there are bytes from nowhere");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_stream_that_is_named_as_a_file_is_a_failure() -> Result<()> {
    let (_cluster, namenode, client) = started().await?;
    let folder = tempfile::tempdir()?;
    put(&client, &path("/f"), b"data", CreateOptions::default()).await?;
    let link = folder.path().join("link");
    std::os::unix::fs::symlink("/dev/stdout", &link)?;
    let link = link.display().to_string();
    let calls: [(&[&str], &str); 10] = [
        (&["put", "-f", "/dev/stdin", "/f"], "<&-"),
        (&["put", "-f", "/dev/fd/0", "/f"], "<&-"),
        (&["put", "-f", "/proc/self/fd/0", "/f"], "<&-"),
        (&["get", "/f", "/dev/stdout"], ">&-"),
        (&["get", "-f", "/f", "/dev/fd/1"], ">&-"),
        (&["get", "/f", &link], ">&-"),
        (&["get", "/f", "/dev/fd/0"], "<&-"),
        (&["admin", "backup", "/dev/stdout"], ">&-"),
        (&["admin", "backup", "-f", &link], ">&-"),
        (&["admin", "backup", "/dev/stdin"], "<&-"),
    ];
    for (arguments, closed) in calls {
        let output = shell("dfs", arguments, closed, &namenode)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(1) && said.contains("closed: open it") && said.lines().count() == 1,
            "{arguments:?} {closed} ended with {} and said: {said}",
            output.status
        );
        ensure!(get(&client, &path("/f")).await? == b"data", "{arguments:?}: the file was replaced");
    }
    let output = shell("dfs", &["get", "/f", "/dev/stderr"], "2>&-", &namenode)?;
    ensure!(output.status.code() == Some(1), "get to a closed error stream: {}", output.status);
    // Those that are open are read and written; a backup is nothing but a backup.
    let output = shell("dfs", &["get", "/f", "/dev/stdout"], "", &namenode)?;
    ensure!(output.status.success() && output.stdout == b"data", "{output:?}");
    let output = shell("dfs", &["admin", "backup", "/dev/stdout"], "", &namenode)?;
    let end = String::from_utf8_lossy(&output.stdout[output.stdout.len().saturating_sub(100)..]).into_owned();
    ensure!(output.status.success() && !end.contains("log entry"), "a word follows the backup: {end:?}");
    Ok(())
}

#[test]
fn a_useless_stream_is_useless() -> Result<()> {
    for useless in [Useless::Full, Useless::Deaf] {
        let (stdout, _reader) = useless.open()?;
        let status = Command::new("sh").args(["-c", "echo x 2> /dev/null"]).stdout(stdout).status()?;
        if status.success() {
            return Err(anyhow!("{useless:?} took a line"));
        }
    }
    Ok(())
}
