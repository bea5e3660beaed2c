//! A client in a process of its own, that can be killed in the middle of a file.

use std::io::Write as _;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use dfs_client::{Builder, Dfs};
use dfs_types::FsPath;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::files::{Kept, options};

/// What it says when it has done its work and only waits.
const READY: &str = "ready to die";
/// How long it may take to get there.
const PATIENCE: Duration = Duration::from_mins(1);

/// Writes the start of a file and then waits for its end.
#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// NameNodes, with commas between them.
    #[arg(long, value_delimiter = ',')]
    namenodes: Vec<String>,
    /// The file.
    #[arg(long)]
    path: String,
    /// What its content is made from.
    #[arg(long)]
    seed: u64,
    /// Bytes to write and sync.
    #[arg(long)]
    synced: usize,
    /// Bytes to write after them, in vain.
    #[arg(long)]
    unsynced: usize,
}

/// What the process does: it never ends by itself.
pub async fn run(args: Args) -> Result<()> {
    let builder = args.namenodes.iter().fold(Dfs::builder(), Builder::namenode);
    let dfs = builder.connect().await?;
    let content = Kept { seed: args.seed, length: args.synced + args.unsynced }.content();
    let mut writer = dfs.create(&FsPath::parse(&args.path)?, options()).await?;
    writer.write_bytes(content.slice(..args.synced)).await?;
    writer.hsync().await?;
    writer.write_bytes(content.slice(args.synced..)).await?;
    let mut out = std::io::stdout();
    writeln!(out, "{READY}").and_then(|()| out.flush())?;
    std::future::pending().await
}

/// Starts such a process and waits until the first `synced` bytes of `kept` are synced and the rest is on its way. It
/// is killed when the answer is dropped.
pub async fn start(namenodes: &[String], path: &FsPath, kept: Kept, synced: usize) -> Result<Child> {
    let program = dfs_local::programs()?.join("dfs-failure-test");
    let mut child = Command::new(&program)
        .arg("writer")
        .args(["--namenodes", &namenodes.join(","), "--path", path.as_str()])
        .args(["--seed", &kept.seed.to_string(), "--synced", &synced.to_string()])
        .args(["--unsynced", &(kept.length - synced).to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting {}", program.display()))?;
    let output = child.stdout.take().context("its output is piped")?;
    let mut lines = BufReader::new(output).lines();
    match tokio::time::timeout(PATIENCE, lines.next_line()).await.context("a writer did not get ready")?? {
        Some(line) if line == READY => Ok(child),
        other => bail!("a writer said {other:?}"),
    }
}
