//! Command lines and environments as people and charts write them.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use dfs_client::Dfs;
use dfs_e2e::wait;
use dfs_local::{Options, TestCluster, programs};
use dfs_types::ErrorCode;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

const PATIENCE: Duration = Duration::from_mins(1);
const ANY: &str = "127.0.0.1:0";

/// Calls a program of ours with these variables and no others of ours.
fn call(program: &str, words: &[impl AsRef<OsStr>], variables: &[(&str, &str)]) -> Result<Output> {
    let mut command = Command::new(programs()?.join(program));
    command.args(words).stdin(Stdio::null());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_bytes().starts_with(b"DFS_")) {
        command.env_remove(name);
    }
    // There is no Kubernetes, wherever this runs.
    Ok(command.env("KUBECONFIG", "/nowhere").envs(variables.iter().copied()).output()?)
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The variables that a help names.
fn variables(help: &str) -> BTreeSet<String> {
    let parts = help.split("[env: ").skip(1);
    parts.filter_map(|part| part.split(['=', ']']).next()).map(str::to_owned).collect()
}

#[test]
fn a_variable_that_is_set_to_nothing_is_not_set() -> Result<()> {
    let mut tried = 0;
    // Calls that end by themselves, as something is missing: variables are read before that is noticed.
    for (program, words) in [
        ("dfs", &["local", "status", "--data", "/nowhere"][..]),
        ("dfs-namenode", &["run"][..]),
        ("dfs-namenode", &["format"][..]),
        ("dfs-namenode", &["restore"][..]),
        ("dfs-datanode", &["run"][..]),
        ("dfs-operator", &["run", "--http", ANY][..]),
    ] {
        let help = call(program, &[words, &["--help"]].concat(), &[])?;
        let without = call(program, words, &[])?;
        ensure!(!without.status.success(), "{program} {words:?} has nothing to complain of");
        // Of the operator only the last line has no time in it.
        let end = |output: &Output| said(output).lines().last().unwrap_or_default().to_owned();
        for name in
            variables(&String::from_utf8_lossy(&help.stdout)).iter().map(String::as_str).chain(["DFS_LOG"])
        {
            let empty = call(program, words, &[(name, "")])?;
            ensure!(
                empty.status == without.status && end(&empty) == end(&without),
                "{program} {words:?} with {name}= says: {}",
                said(&empty)
            );
            tried += 1;
        }
    }
    ensure!(tried > 45, "only {tried} variables are known");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_address_is_a_usage_error_at_once() -> Result<()> {
    for wrong in ["host", "host:", "host:99999", "host:0", ":9000", "http://host:9000", "a:1,b", "::1:9000"] {
        let output = call("dfs", &["ls", "/", "--namenode", wrong], &[])?;
        ensure!(output.status.code() == Some(2), "{wrong}: {} and {}", output.status, said(&output));
        ensure!(said(&output).contains("--namenode"), "{wrong}: {}", said(&output));
        let output = call("dfs", &["ls", "/"], &[("DFS_NAMENODE", wrong)])?;
        ensure!(output.status.code() == Some(2), "DFS_NAMENODE={wrong}: {}", said(&output));
    }
    // The library, which others use too.
    let error = Dfs::connect("host").await.err().context("'host' is an address")?;
    ensure!(error.code == ErrorCode::InvalidArgument && error.message.contains("'host'"), "{error:?}");
    Ok(())
}

/// Starts a cluster with `dfs local up` and ends it with the test.
struct Up(std::path::PathBuf);

impl Up {
    fn start(data: &Path, further: &[&str]) -> Result<Self> {
        let this = Self(data.to_owned());
        let words =
            ["local", "up", "--free-ports", "--datanodes", "1", "--namenode-arg=--min-replicas=1", "--data"];
        let words: Vec<&OsStr> = words.iter().map(OsStr::new).chain([data.as_os_str()]).collect();
        let words: Vec<&OsStr> = words.into_iter().chain(further.iter().map(OsStr::new)).collect();
        let output = call("dfs", &words, &[])?;
        ensure!(output.status.success(), "local up: {}", said(&output));
        Ok(this)
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // Nothing else can be done here.
        let _ = call(
            "dfs",
            &[OsStr::new("local"), OsStr::new("down"), OsStr::new("--data"), self.0.as_os_str()],
            &[],
        );
    }
}

/// Names of what is in a folder.
fn names(folder: &Path) -> Result<BTreeSet<String>> {
    let names = fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    names.collect()
}

#[test]
fn a_comma_is_a_letter_of_a_folder() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("Backups, 2026/c");
    fs::create_dir(folder.path().join("Backups, 2026"))?;
    let up = Up::start(&data, &["--volumes", "2"])?;
    let volumes = names(&data.join("datanode-1"))?;
    ensure!(volumes == ["volume-1", "volume-2"].map(str::to_owned).into(), "{volumes:?}");
    ensure!(names(folder.path())?.len() == 1, "there are folders elsewhere: {:?}", names(folder.path())?);
    drop(up);
    Ok(())
}

#[test]
fn a_folder_that_is_not_utf8_is_shown_whole() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join(OsStr::from_bytes(b"bad\xff"));
    let _up = Up::start(&data, &[])?;
    let status = ["local", "status", "-o", "json", "--data"];
    let words: Vec<&OsStr> = status.iter().map(OsStr::new).chain([data.as_os_str()]).collect();
    let output = call("dfs", &words, &[])?;
    ensure!(output.status.success(), "{}", said(&output));
    let shown: Value = serde_json::from_slice(&output.stdout)?;
    let directory = shown[0]["directory"].as_str().context("no directory")?;
    ensure!(
        directory.starts_with("file:///") && directory.ends_with("/bad%FF/namenode-1/meta"),
        "{directory}"
    );
    Ok(())
}

#[test]
fn logs_of_a_local_cluster_are_bounded() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("c");
    let bounds = ["--log=trace", "--log-max-bytes=65536", "--log-files=2"];
    let bounds: Vec<String> = bounds.iter().map(|bound| format!("--namenode-arg={bound}")).collect();
    let _up = Up::start(&data, &bounds.iter().map(String::as_str).collect::<Vec<_>>())?;
    let logs = data.join("logs");
    let deadline = Instant::now() + PATIENCE;
    while !logs.join("namenode-1.log.1").exists() {
        // Heartbeats alone fill it.
        ensure!(Instant::now() < deadline, "the log was not renamed: {:?}", names(&logs)?);
        std::thread::sleep(Duration::from_millis(50));
    }
    for name in names(&logs)? {
        let length = fs::metadata(logs.join(&name))?.len();
        ensure!(!name.starts_with("namenode-1") || length <= 65_536, "{name} has {length} bytes");
        ensure!(!name.contains(".log.2"), "{name} is one too many");
    }
    Ok(())
}

#[test]
fn why_a_daemon_does_not_start_is_told_whole() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("c");
    let long = format!("--namenode-arg=--log-format={}", "n".repeat(2_000));
    let words = ["local", "up", "--free-ports", &long, "--data"];
    let words: Vec<&OsStr> = words.iter().map(OsStr::new).chain([data.as_os_str()]).collect();
    let output = call("dfs", &words, &[])?;
    ensure!(output.status.code() == Some(1), "{}: {}", output.status, said(&output));
    ensure!(
        said(&output).contains(&"n".repeat(2_000)) && said(&output).contains("possible values"),
        "{}",
        said(&output)
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn clusters_are_not_mixed() -> Result<()> {
    let options = || Options { datanodes: 1, ..Options::default() };
    let (one, other) = (TestCluster::start(options()).await?, TestCluster::start(options()).await?);
    let addresses = [one.namenode_addresses().await?, other.namenode_addresses().await?].concat();
    let ids = [
        one.client().await?.defaults().await?.cluster.to_string(),
        other.client().await?.defaults().await?.cluster.to_string(),
    ];
    for list in [addresses.join(","), addresses.iter().rev().cloned().collect::<Vec<_>>().join(",")] {
        let output = call("dfs", &["ls", "/", "--namenode", &list], &[])?;
        let said = said(&output);
        ensure!(output.status.code() == Some(1), "{}: {said}", output.status);
        ensure!(
            ids.iter().chain(&addresses).all(|part| said.contains(part)),
            "it does not name both: {said}"
        );
    }
    // The same NameNode by two names is one cluster.
    let twice = format!("{},{}", addresses[0], addresses[0].replace("127.0.0.1", "localhost"));
    let output = call("dfs", &["ls", "/", "--namenode", &twice], &[])?;
    ensure!(output.status.success(), "{twice}: {}", said(&output));
    let _patience = wait::until("a client of one of them works", PATIENCE, || one.client()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_told_of_whatever_its_name_is() -> Result<()> {
    let cluster = TestCluster::start(Options { datanodes: 1, ..Options::default() }).await?;
    let namenode = cluster.namenode_addresses().await?.join(",");
    let folder = tempfile::tempdir()?;
    for (name, shown) in [(&b"plain"[..], "/plain"), (b"bad\xff", "/bad%FF")] {
        let file = folder.path().join(OsStr::from_bytes(name));
        let words = ["admin", "backup", "-o", "json", "--namenode", &namenode].map(OsStr::new);
        let words = [&words[..], &[file.as_os_str()]].concat();
        let output = call("dfs", &words, &[])?;
        ensure!(output.status.success(), "{shown}: {}", said(&output));
        let told: Value = serde_json::from_slice(&output.stdout)?;
        ensure!(told["file"].as_str().is_some_and(|file| file.ends_with(shown)), "{told}");
        ensure!(told["length"] == fs::metadata(&file)?.len(), "{told}");
    }
    Ok(())
}

/// Passes connections on to `to` and counts them.
async fn counted(to: String) -> Result<(String, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind(ANY).await?;
    let (address, count) = (listener.local_addr()?.to_string(), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            let to = to.clone();
            tokio::spawn(async move {
                let mut to = TcpStream::connect(to).await?;
                tokio::io::copy_bidirectional(&mut from, &mut to).await
            });
        }
    });
    Ok((address, count))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_connects_once() -> Result<()> {
    let cluster = TestCluster::start(Options { datanodes: 1, ..Options::default() }).await?;
    for words in
        [&["ls", "/"][..], &["report"], &["report", "-o", "json"], &["fsck", "/"], &["admin", "namenodes"]]
    {
        let (address, count) = counted(cluster.namenode_addresses().await?.remove(0)).await?;
        let words = [words, &["--namenode", &address]].concat();
        let called = words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let output = tokio::task::spawn_blocking(move || call("dfs", &called, &[])).await??;
        ensure!(output.status.success(), "{words:?}: {}", said(&output));
        let count = count.load(Ordering::SeqCst);
        ensure!(count == 1, "{words:?} made {count} connections");
    }
    Ok(())
}
