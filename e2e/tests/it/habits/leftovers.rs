//! What is not completed leaves nothing: neither in the cluster nor here, whatever ended it.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use dfs_local::Daemon;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;

use super::shell::{PATIENCE, Shell, ended};

/// Bytes that a writer is fed before it is disturbed: more than it holds back.
const FED: usize = 3 << 20;

/// Before a program: also where what runs the tests ignores signals, as jobs in the background of a script do.
const OBEYS: &str = "exec env --default-signal=INT,TERM,HUP";

fn send(child: &Child, signal: Signal) -> Result<()> {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    Ok(kill_process(pid.context("it ended by itself")?, signal)?)
}

/// Waits until there is what is looked for.
async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let waiting = async {
        loop {
            if let Some(found) = look().await? {
                return Ok(found);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, waiting).await {
        Ok(found) => found,
        Err(_) => bail!("{what}: nothing after {PATIENCE:?}"),
    }
}

/// The hidden file of a writer under way, somewhere below `root`.
async fn hidden(shell: &Shell, root: &str) -> Result<String> {
    until("a hidden file", async || {
        Ok(shell.tree(root).await?.into_iter().find(|path| path.ends_with("._COPYING_")))
    })
    .await
}

/// A named pipe that a writer reads from and that is held open.
struct Feed {
    path: PathBuf,
}

impl Feed {
    async fn new(shell: &Shell, name: &str) -> Result<Self> {
        shell.ok(&format!("rm -f {name}; mkfifo {name}")).await?;
        Ok(Self { path: shell.local(name) })
    }

    /// Gives the reader some bytes; the pipe stays open until what comes back is dropped.
    async fn begin(&self) -> Result<File> {
        let path = self.path.clone();
        tokio::task::spawn_blocking(move || {
            let mut pipe = File::options().write(true).open(path)?;
            pipe.write_all(&vec![7; FED])?;
            Ok(pipe)
        })
        .await?
    }
}

pub(super) async fn signals(shell: &Shell) -> Result<()> {
    shell
        .ok("dfs mkdir /sig; mkdir sig; head -c 2000000 /dev/zero > sig/file; dfs put sig/file /here")
        .await?;
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        // Writers: one file with directories yet to be made, standard input, a tree.
        let feed = Feed::new(shell, "feed").await?;
        for script in ["put feed /sig/new/dir/file", "put - /sig/file < feed", "put -f - /here < feed"] {
            let child = shell.command(&format!("{OBEYS} dfs {script}"))?.spawn()?;
            let pipe = feed.begin().await?;
            hidden(shell, "/").await?;
            send(&child, signal)?;
            let how = ended(child).await?;
            ensure!(how.status == Some(130), "{script}: {signal:?}: {how:?}");
            drop(pipe);
            let tree = shell.tree("/").await?;
            ensure!(tree == ["/here", "/sig/"].map(str::to_owned).into(), "{script}, {signal:?}: {tree:?}");
        }
        // Readers, which wait for nodes that hang. (A pipe nobody reads from is waited for too.)
        shell.ok("rm -rf out; mkdir out; mkfifo out/pipe").await?;
        for script in ["get /here out/file", "get /here out/pipe", "cp /here /sig/copy"] {
            pause(shell, true).await?;
            let child = shell.command(&format!("{OBEYS} dfs {script}"))?.spawn()?;
            if script.ends_with("file") {
                until("a partial file", async || Ok((shell.local_names("out")?.len() > 1).then_some(())))
                    .await?;
            } else if script.ends_with("copy") {
                hidden(shell, "/sig").await?;
            } else {
                is_caught(&child, signal).await?;
            }
            send(&child, signal)?;
            let how = ended(child).await;
            pause(shell, false).await?;
            let how = how?;
            ensure!(how.status == Some(130), "{script}: {signal:?}: {how:?}");
            let left = shell.local_names("out")?;
            ensure!(left == ["pipe".to_owned()].into(), "{script}, {signal:?}: {left:?}");
            let tree = shell.tree("/").await?;
            ensure!(tree == ["/here", "/sig/"].map(str::to_owned).into(), "{script}, {signal:?}: {tree:?}");
        }
    }
    shell.prints("dfs get /here - | cmp - sig/file && dfs ls -d '/sig/.*' 2>/dev/null | wc -l", "0").await
}

async fn pause(shell: &Shell, on: bool) -> Result<()> {
    for node in (1..=3).map(Daemon::DataNode) {
        if on {
            shell.cluster.pause(node).await?;
        } else {
            shell.cluster.resume(node).await?;
        }
    }
    if !on {
        shell.cluster.wait_ready(PATIENCE).await?;
    }
    Ok(())
}

/// Waits until the process has a handler for this signal.
async fn is_caught(child: &Child, signal: Signal) -> Result<()> {
    let bit = 1 << (signal.as_raw() - 1);
    let status = format!("/proc/{}/status", child.id().context("it ended by itself")?);
    until("a handler of signals", async || {
        let status = std::fs::read_to_string(&status)?;
        let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).context("a mask")?;
        Ok((u64::from_str_radix(mask.trim(), 16)? & bit != 0).then_some(()))
    })
    .await
}

pub(super) async fn ignored_signals(shell: &Shell) -> Result<()> {
    for (name, signal) in [("HUP", Signal::HUP), ("INT", Signal::INT), ("TERM", Signal::TERM)] {
        let feed = Feed::new(shell, "feed").await?;
        // Another one, which is obeyed, tells when it watches for signals.
        let (other, watched) = if name == "TERM" { ("HUP", Signal::HUP) } else { ("TERM", Signal::TERM) };
        let script = format!("trap '' {name}; exec env --default-signal={other} dfs put feed /sig/{name}");
        let child = shell.command(&script)?.spawn()?;
        let pipe = feed.begin().await?;
        hidden(shell, "/sig").await?;
        is_caught(&child, watched).await?;
        send(&child, signal)?;
        drop(pipe);
        let how = ended(child).await?;
        ensure!(how.status == Some(0), "{name}: {how:?}");
        shell.prints(&format!("dfs cat /sig/{name} | wc -c; dfs rm /sig/{name}"), &FED.to_string()).await?;
    }
    Ok(())
}

/// As `sh -c 'dfs put … &'` starts it, and as an interruption of that script reaches it.
pub(super) async fn interrupted_jobs(shell: &Shell) -> Result<()> {
    let feed = Feed::new(shell, "feed").await?;
    let script = "trap '' INT QUIT; exec env --default-signal=TERM dfs put feed /job/file";
    let child = shell.command(script)?.spawn()?;
    let pipe = feed.begin().await?;
    hidden(shell, "/").await?;
    is_caught(&child, Signal::INT).await?;
    send(&child, Signal::INT)?;
    let how = ended(child).await?;
    drop(pipe);
    ensure!(how.status == Some(130), "{how:?}");
    shell.prints("dfs ls /", "").await
}

pub(super) async fn others_transfers(shell: &Shell) -> Result<()> {
    // One that is closed is a file like any other, whatever it is called.
    shell.ok("set -e; echo x > local; dfs put local /hid/d/file; dfs put local /hid/d/.a._COPYING_").await?;
    let feed = Feed::new(shell, "feed").await?;
    let child = shell.command("exec dfs put feed /hid/d/new")?.spawn()?;
    let pipe = feed.begin().await?;
    until("a hidden file", async || Ok((shell.tree("/hid/d").await?.len() == 3).then_some(()))).await?;
    shell.ok("set -e; dfs cp -r /hid/d /hid/copy; rm -rf got; dfs get -r /hid/d got").await?;
    let copy = shell.tree("/hid/copy").await?;
    ensure!(copy == ["/hid/copy/.a._COPYING_", "/hid/copy/file"].map(str::to_owned).into(), "{copy:?}");
    let got = shell.local_names("got")?;
    ensure!(got == [".a._COPYING_", "file"].map(str::to_owned).into(), "{got:?}");
    drop(pipe);
    let how = ended(child).await?;
    ensure!(how.status == Some(0), "{how:?}");
    shell.prints("dfs ls /hid/d", ".a._COPYING_ file new").await
}

pub(super) async fn moved_parents(shell: &Shell) -> Result<()> {
    for (from, to) in [("/mv/a/b", "/mv/a/c"), ("/mv/a", "/mv/d")] {
        for end in ["complete", "interrupted"] {
            shell.ok("dfs rm -rf /mv; dfs mkdir -p /mv/a/b").await?;
            let feed = Feed::new(shell, "feed").await?;
            let child = shell.command(&format!("{OBEYS} dfs put feed /mv/a/b/file"))?.spawn()?;
            let pipe = feed.begin().await?;
            hidden(shell, "/mv").await?;
            shell.ok(&format!("dfs mv {from} {to}")).await?;
            if end == "interrupted" {
                send(&child, Signal::TERM)?;
            }
            drop(pipe);
            let how = ended(child).await?;
            let expected = if end == "interrupted" { 130 } else { 3 };
            ensure!(how.status == Some(expected), "{from} to {to}, {end}: {how:?}");
            let tree = shell.tree("/mv").await?;
            ensure!(tree.iter().all(|path| path.ends_with('/')), "{from} to {to}, {end}: {tree:?}");
        }
    }
    // Here it is as with cp: the file comes where its folder is now.
    shell.ok("rm -rf out; mkdir out").await?;
    pause(shell, true).await?;
    let child = shell.command("exec dfs get /here out/file")?.spawn()?;
    until("a partial file", async || Ok((!shell.local_names("out")?.is_empty()).then_some(()))).await?;
    std::fs::rename(shell.local("out"), shell.local("moved"))?;
    pause(shell, false).await?;
    let how = ended(child).await?;
    ensure!(how.status == Some(0), "{how:?}");
    shell.prints("cmp moved/file sig/file; ls -A moved", "file").await
}

pub(super) async fn no_room(shell: &Shell) -> Result<()> {
    // A limit on a file's size is to the program what a full disk is.
    let limited = "trap '' XFSZ; ulimit -f 8";
    shell
        .fails(1, &format!("rm -rf out; mkdir out; ({limited}; dfs get /here out/file)"), "out/file")
        .await?;
    shell.fails(1, &format!("({limited}; dfs admin backup out/backup)"), "out/backup").await?;
    shell.prints("ls -A out | wc -l", "0").await?;
    // Who reads the output is gone.
    let how = shell.run("dfs get /here - | head -c 10 | wc -c; exit ${PIPESTATUS[0]}").await?;
    ensure!(how.status == Some(141) && how.stdout.trim() == "10", "{how:?}");
    Ok(())
}
