//! `dfs local demo`: what the file system does, for someone who sees it the first time.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use dfs_client::NodeState;
use dfs_local::{Daemon, Options, TestCluster};
use dfs_program::streams;
use sha2::{Digest, Sha256};

use super::program::Program;
use crate::exit::{Failure, Outcome};
use crate::size::human;

/// Silence after which the demonstration's NameNode gives a DataNode up; a real cluster waits longer.
const DEAD_AFTER: &str = "5s";
/// Silence after which no new data is sent to a DataNode.
const STALE_AFTER: &str = "2s";
/// DataNodes: one more than replicas, so that there is a place for new ones when a node is lost.
const DATANODES: u16 = 4;
/// The DataNode that is killed.
const VICTIM: Daemon = Daemon::DataNode(2);
/// Size of the large file, at least.
const LARGE_BYTES: u64 = 256 << 20;
/// How long the copies that replace the lost ones may take.
const REPLICATION_PATIENCE: Duration = Duration::from_mins(5);
/// How often the progress of copying is looked at.
const POLL: Duration = Duration::from_millis(250);

/// How `dfs local demo` is typed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Folder whose files are stored [default: the library folder of the Rust toolchain].
    #[arg(long, value_name = "DIR")]
    from: Option<PathBuf>,
}

/// Relative path and SHA-256 of every file of a tree.
type Digests = BTreeMap<PathBuf, [u8; 32]>;

/// Runs the demonstration.
pub(crate) async fn run(args: &Args) -> Outcome {
    let began = Instant::now();
    let mut steps = Steps::default();
    let source = match &args.from {
        Some(folder) => folder.clone(),
        None => toolchain_libraries().await?,
    };
    say(&format!(
        "This stores real files of this machine in a cluster of {DATANODES} DataNodes, reads them back, kills a\n\
         DataNode with 'kill -9' and watches the cluster heal itself. A DataNode counts as dead after {DEAD_AFTER}\n\
         here, so that nobody has to wait; the default is longer. All of it is removed again at the end.\n"
    ))?;

    let folder = blocking(|| tempfile::Builder::new().prefix("dfs-demo-").tempdir()).await?;
    let cluster = steps
        .step(&format!("start a NameNode and {DATANODES} DataNodes on free ports"), async {
            let limits = [format!("--dead-after={DEAD_AFTER}"), format!("--stale-after={STALE_AFTER}")];
            let options =
                Options { datanodes: DATANODES, namenode_args: limits.to_vec(), ..Options::default() };
            Ok((TestCluster::start(options).await?, None))
        })
        .await?;
    let program =
        Program::new(vec![format!("--namenode={}", cluster.namenode_addresses().await?.join(","))], None)?;

    let large = folder.path().join("large.bin");
    let (tree, large_digest) = steps
        .step("take checksums (SHA-256) of the files, and put a large one together from them", async {
            let (source, large) = (source.clone(), large.clone());
            let (tree, bytes, digest) = blocking(move || {
                let (tree, bytes) = digests(&source)?;
                assemble(&source, &tree, &large)?;
                let digest = digest(&large)?;
                Ok((tree, bytes, digest))
            })
            .await?;
            let note = format!("{} files, {}; large file {}", tree.len(), human(bytes), human(LARGE_BYTES));
            Ok(((tree, digest), Some(note)))
        })
        .await?;

    let source_text = source.display().to_string();
    let large_text = large.display().to_string();
    let out = folder.path().join("back");
    let out_text = out.display().to_string();
    steps.call(&program, &["mkdir", "/demo"]).await?;
    steps.call(&program, &["put", "-r", &source_text, "/demo/lib"]).await?;
    steps.call(&program, &["put", &large_text, "/demo/large.bin"]).await?;
    steps.call(&program, &["fsck", "/"]).await?;
    steps.call(&program, &["get", "-r", "/demo", &out_text]).await?;
    compare(&mut steps, &out, &tree, large_digest).await?;

    let lost = steps
        .step(&format!("kill -9 {VICTIM}, without a warning"), async {
            let lost = replicas_of_victim(&cluster).await?;
            cluster.kill(VICTIM).await?;
            Ok((lost, Some(format!("it held {lost} replicas"))))
        })
        .await?;
    let at_once = folder.path().join("at-once.bin");
    steps.call(&program, &["get", "/demo/large.bin", &at_once.display().to_string()]).await?;
    steps
        .step("compare it with its checksum", async {
            if blocking(move || digest(&at_once)).await? != large_digest {
                return Err(Failure::Other("what came back differs from what was stored".to_owned()));
            }
            Ok(((), None))
        })
        .await?;
    steps
        .step("wait until every chunk has three replicas again", async {
            heal(&cluster).await?;
            Ok(((), Some(format!("{lost} replicas were made anew on the other DataNodes"))))
        })
        .await?;
    blocking(move || fs::remove_dir_all(&out)).await?;
    steps.call(&program, &["get", "-r", "/demo", &out_text]).await?;
    compare(&mut steps, &folder.path().join("back"), &tree, large_digest).await?;
    steps.call(&program, &["fsck", "/"]).await?;
    steps
        .step("stop the cluster and remove its files", async {
            cluster.down().await?;
            drop(cluster);
            blocking(move || folder.close()).await?;
            Ok(((), None))
        })
        .await?;
    say(&format!("\nAll {} steps succeeded in {:.1} s.", steps.count, began.elapsed().as_secs_f64()))
}

/// Prints the steps while they are done.
#[derive(Default)]
struct Steps {
    count: u32,
}

impl Steps {
    /// Does one step; its work answers with a value and a note for the line.
    async fn step<T>(
        &mut self,
        title: &str,
        work: impl Future<Output = Outcome<(T, Option<String>)>>,
    ) -> Outcome<T> {
        self.count += 1;
        let began = Instant::now();
        let outcome = work.await;
        let seconds = began.elapsed().as_secs_f64();
        match outcome {
            Ok((value, note)) => {
                let note = note.map(|note| format!(": {note}")).unwrap_or_default();
                say(&format!("✅ {:>2}. {title}{note} ({seconds:.1} s)", self.count))?;
                Ok(value)
            }
            Err(failure) => {
                say(&format!("❌ {:>2}. {title} ({seconds:.1} s)", self.count))?;
                Err(failure)
            }
        }
    }

    /// One step that is a call of this program.
    async fn call(&mut self, program: &Program, arguments: &[&str]) -> Outcome {
        let words: Vec<String> = arguments.iter().map(ToString::to_string).collect();
        self.step(&format!("dfs {}", arguments.join(" ")), async {
            let ended = program.run(&words, b"").await.map_err(Failure::Other)?;
            if ended.status != Some(0) {
                return Err(Failure::Other(format!(
                    "it ended with status {:?}: {}",
                    ended.status, ended.stderr
                )));
            }
            // What a command says last is what it found out.
            let said = String::from_utf8_lossy(&ended.stdout);
            Ok(((), said.lines().last().map(str::to_owned)))
        })
        .await
    }
}

async fn compare(steps: &mut Steps, back: &Path, tree: &Digests, large: [u8; 32]) -> Outcome {
    let back = back.to_owned();
    steps
        .step("compare what came back with the checksums", async {
            let (found, large_found) =
                blocking(move || Ok((digests(&back.join("lib"))?.0, digest(&back.join("large.bin"))?)))
                    .await?;
            if found != *tree || large_found != large {
                return Err(Failure::Other("what came back differs from what was stored".to_owned()));
            }
            Ok(((), Some(format!("all {} files are the same", tree.len() + 1))))
        })
        .await
}

/// How many replicas are on the DataNode that will be killed.
async fn replicas_of_victim(cluster: &TestCluster) -> Outcome<u64> {
    let daemons = cluster.status().await?;
    let address =
        daemons.into_iter().find(|status| status.daemon == VICTIM).and_then(|status| status.address);
    let report = cluster.client().await?.report().await?;
    let node = report.nodes.into_iter().find(|node| Some(node.node.address()) == address);
    node.map(|node| node.replicas)
        .ok_or_else(|| Failure::Other(format!("the NameNode does not know {VICTIM}: see 'dfs report'")))
}

/// Watches the cluster until it has noticed the loss and made up for it.
async fn heal(cluster: &TestCluster) -> Outcome {
    let client = cluster.client().await?;
    let deadline = Instant::now() + REPLICATION_PATIENCE;
    let mut shown = String::new();
    loop {
        let report = client.report().await?;
        let noticed = report.nodes.iter().any(|node| node.state == NodeState::Dead);
        let left = report.under_replicated;
        let line = if noticed {
            format!("{left} of {} chunks have too few replicas", report.chunks)
        } else {
            "the NameNode waits whether the DataNode comes back".to_owned()
        };
        if shown != line {
            show_progress(&line)?;
            shown = line;
        }
        if noticed && left == 0 && report.pending_copies == 0 {
            return show_progress("");
        }
        if Instant::now() >= deadline {
            return Err(Failure::Other(format!(
                "{left} chunks still have too few replicas after {REPLICATION_PATIENCE:?}"
            )));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// On a terminal one line that changes, otherwise a line each time; an empty text ends it.
fn show_progress(text: &str) -> Outcome {
    let mut stdout = io::stdout();
    let written = match (stdout.is_terminal(), text.is_empty()) {
        (true, _) => write!(stdout, "\r\x1b[K{text}").and_then(|()| stdout.flush()),
        (false, false) => writeln!(stdout, "       {text}"),
        (false, true) => Ok(()),
    };
    written.map_err(Failure::output)
}

fn say(text: &str) -> Outcome {
    streams::print(&format!("{text}\n")).map_err(Failure::output)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> Outcome<T> {
    let outcome = tokio::task::spawn_blocking(work).await?;
    outcome.map_err(|error| Failure::Other(format!("a local file can't be used: {error}")))
}

/// The library folder of the toolchain that `rustc` belongs to.
async fn toolchain_libraries() -> Outcome<PathBuf> {
    let unknown = |why: String| {
        Failure::Other(format!(
            "the Rust toolchain's folder is not known ({why}): name files with --from DIR"
        ))
    };
    let asked = tokio::process::Command::new("rustc").args(["--print", "sysroot"]).output().await;
    let output = asked.map_err(|error| unknown(format!("rustc: {error}")))?;
    let text = String::from_utf8(output.stdout).map_err(|error| unknown(error.to_string()))?;
    let folder = Path::new(text.trim()).join("lib");
    if output.status.success() && folder.is_dir() {
        Ok(folder)
    } else {
        Err(unknown(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

/// Digests of all files of a tree, and their bytes together.
fn digests(root: &Path) -> io::Result<(Digests, u64)> {
    let (mut all, mut bytes) = (BTreeMap::new(), 0);
    let mut todo = vec![root.to_owned()];
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let metadata = fs::metadata(&path)?;
            if metadata.is_dir() {
                todo.push(path);
            } else if metadata.is_file() {
                let relative = path.strip_prefix(root).map_err(io::Error::other)?.to_owned();
                bytes += metadata.len();
                all.insert(relative, digest(&path)?);
            }
        }
    }
    Ok((all, bytes))
}

fn digest(path: &Path) -> io::Result<[u8; 32]> {
    let mut file = File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let length = file.read(&mut buffer)?;
        if length == 0 {
            return Ok(hash.finalize().into());
        }
        hash.update(&buffer[..length]);
    }
}

/// Writes the tree's files one after the other, over and over, until there are [`LARGE_BYTES`].
fn assemble(root: &Path, tree: &Digests, large: &Path) -> io::Result<()> {
    let mut target = File::create(large)?;
    let mut left = LARGE_BYTES;
    while left > 0 {
        let before = left;
        for relative in tree.keys() {
            left -= io::copy(&mut File::open(root.join(relative))?.take(left), &mut target)?;
        }
        if left == before {
            return Err(io::Error::other(format!("{} holds no bytes: name another folder", root.display())));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_byte_changes_the_digests() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("inner/a"), "one").unwrap();
        let (before, bytes) = digests(folder.path()).unwrap();
        assert_eq!((before.len(), bytes), (1, 3));
        fs::write(folder.path().join("inner/a"), "onf").unwrap();
        assert_ne!(digests(folder.path()).unwrap().0, before);
    }

    #[test]
    fn nothing_can_be_assembled_from_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("empty"), "").unwrap();
        let (tree, _) = digests(folder.path()).unwrap();
        assert!(assemble(folder.path(), &tree, &folder.path().join("large")).is_err());
    }
}
