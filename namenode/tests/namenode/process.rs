//! The binary: exit codes, sentences, one process a directory, a clean stop.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use dfs_namenode::run::{ADDRESSES_FILE, Addresses};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::tempdir;

use crate::support::until;

fn namenode(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dfs-namenode"));
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn run_flags(dir: &Path) -> Vec<String> {
    let dir = dir.display().to_string();
    ["run", "--dir", &dir, "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"].map(str::to_owned).to_vec()
}

fn output(arguments: &[String]) -> Output {
    namenode(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).output().unwrap()
}

fn sentence(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).lines().last().unwrap_or_default().to_owned()
}

/// Ends the process also when a test fails.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// Starts a process and waits until it serves.
async fn serving(dir: &Path) -> (Running, Addresses) {
    let arguments = run_flags(dir);
    let mut command = namenode(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let child = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let addresses = until("the addresses", || async {
        let text = fs::read_to_string(dir.join(ADDRESSES_FILE)).ok()?;
        let addresses: Addresses = serde_json::from_str(&text).unwrap();
        (addresses.pid == child.0.id()).then_some(addresses)
    })
    .await;
    (child, addresses)
}

#[tokio::test]
async fn one_process_serves_a_directory_and_stops_cleanly() {
    let dir = tempdir().unwrap();
    let place = dir.path().join("nn");
    let formatted = output(&["format".into(), "--dir".into(), place.display().to_string()]);
    assert!(formatted.status.success(), "{}", sentence(&formatted));
    let again = output(&["format".into(), "--dir".into(), place.display().to_string()]);
    assert_eq!(again.status.code(), Some(1));
    assert!(sentence(&again).starts_with("error: "), "{}", sentence(&again));

    let (mut first, addresses) = serving(&place).await;
    assert_eq!(addresses.pid, first.0.id());
    assert!(addresses.rpc.port() != 0 && addresses.http.port() != 0);
    assert!(std::net::TcpStream::connect(addresses.rpc).is_ok());

    let second = output(&run_flags(&place));
    assert_eq!(second.status.code(), Some(1));
    let said = sentence(&second);
    assert!(said.starts_with("error: ") && said.contains(&format!("process {}", first.0.id())), "{said}");
    assert!(place.join(ADDRESSES_FILE).exists(), "the second process leaves the first one's file alone");

    kill_process(Pid::from_child(&first.0), Signal::TERM).unwrap();
    let status = until("the process to end", || {
        let ended = first.0.try_wait().unwrap();
        async move { ended }
    })
    .await;
    assert!(status.success(), "{status}");
    assert!(!place.join(ADDRESSES_FILE).exists());
    assert!(
        output(&run_flags(&dir.path().join("none"))).status.code() == Some(1),
        "nothing is formatted there"
    );
}

#[tokio::test]
async fn a_killed_process_leaves_a_directory_that_serves_again() {
    let dir = tempdir().unwrap();
    let place = dir.path().join("nn");
    output(&["format".into(), "--dir".into(), place.display().to_string()]);
    let (first, _) = serving(&place).await;
    drop(first);
    assert!(place.join(ADDRESSES_FILE).exists(), "a killed process leaves its addresses");
    let (second, addresses) = serving(&place).await;
    assert_eq!(addresses.pid, second.0.id());
    assert!(std::net::TcpStream::connect(addresses.rpc).is_ok());
}

#[test]
fn a_port_in_use_is_told_before_the_directory_is_touched() {
    let dir = tempdir().unwrap();
    let place = dir.path().join("nn");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut arguments = run_flags(&place);
    arguments[4].clone_from(&address);
    arguments.push("--format-if-empty".to_owned());
    let failed = output(&arguments);
    assert_eq!(failed.status.code(), Some(1));
    let said = sentence(&failed);
    assert!(said.contains(&address) && said.contains("in use") && said.contains("--listen"), "{said}");
    assert!(!place.exists());
}

#[test]
fn usage_errors_have_their_own_exit_code() {
    for flags in [
        vec!["run"],
        vec!["run", "--dir", "d", "--min-replicas", "0"],
        vec!["run", "--dir", "d", "--dead-after", "1s"],
        vec!["format", "--dir", "d", "--cluster-id", "7"],
    ] {
        let output = namenode(&flags).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{flags:?}");
    }
    assert!(namenode(&["--version"]).output().unwrap().status.success());
}
