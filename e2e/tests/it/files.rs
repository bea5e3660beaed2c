//! Real files go in and come back identical, with a DataNode killed halfway.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use dfs_client::{CreateOptions, Dfs};
use dfs_e2e::content::{self, Stream};
use dfs_local::{Daemon, Options, TestCluster};
use dfs_types::FsPath;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;

/// Files of the tree.
const FILES: usize = 5_000;
/// Bytes of the large file.
const LARGE: u64 = 2 << 30;
/// Files under way at once.
const PARALLEL: usize = 16;

/// Regular files below `root` whose names and sizes suit the test, in a fixed order.
fn real_files(root: &Path, wanted: usize) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let mut entries: Vec<_> = entries.filter_map(Result::ok).collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let kind = entry.file_type()?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && entry.path().to_str().is_some() && entry.metadata()?.len() < 4 << 20 {
                files.push(entry.path());
                if files.len() == wanted {
                    return Ok(files);
                }
            }
        }
    }
    Ok(files)
}

/// The sources of this build's own dependencies and the toolchain: thousands of real files on every machine that
/// builds this.
fn tree() -> Result<Vec<PathBuf>> {
    let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(
        || std::env::home_dir().context("a home directory").map(|home| home.join(".cargo")),
        |home| Ok(PathBuf::from(home)),
    )?;
    let mut files = real_files(&cargo_home.join("registry/src"), FILES)?;
    if files.len() < FILES {
        let sysroot = Command::new("rustc").args(["--print", "sysroot"]).output()?.stdout;
        let sysroot = PathBuf::from(String::from_utf8(sysroot)?.trim());
        files.extend(real_files(&sysroot, FILES - files.len())?);
    }
    if files.len() < FILES {
        files.extend(real_files(Path::new("/usr"), FILES - files.len())?);
    }
    ensure!(files.len() >= FILES, "this machine has only {} suitable files", files.len());
    Ok(files)
}

async fn read_local(file: PathBuf) -> Result<Vec<u8>> {
    Ok(tokio::task::spawn_blocking(move || fs::read(file)).await??)
}

fn remote(local: &Path) -> Result<FsPath> {
    let text = local.to_str().context("names are UTF-8")?;
    Ok(FsPath::parse(&format!("/tree{text}"))?)
}

/// Runs `work` for every file, [`PARALLEL`] at a time; calls `halfway` when half are done.
async fn for_all<F>(
    files: &[PathBuf],
    halfway: oneshot::Sender<()>,
    work: impl Fn(PathBuf) -> F,
) -> Result<()>
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let slots = Arc::new(Semaphore::new(PARALLEL));
    let mut tasks = JoinSet::new();
    let mut halfway = Some(halfway);
    for (index, file) in files.iter().enumerate() {
        let slot = slots.clone().acquire_owned().await?;
        let task = work(file.clone());
        tasks.spawn(async move {
            let _slot = slot;
            task.await
        });
        if index == files.len() / 2
            && let Some(halfway) = halfway.take()
        {
            // The receiver is gone only if the test failed already.
            let _ = halfway.send(());
        }
        while let Some(done) = tasks.try_join_next() {
            done??;
        }
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

async fn kill_when(cluster: &TestCluster, signal: oneshot::Receiver<()>, daemon: Daemon) -> Result<()> {
    signal.await?;
    Ok(cluster.kill(daemon).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tree_of_real_files_survives_a_killed_datanode() -> Result<()> {
    let files = tree()?;
    let cluster = TestCluster::start(Options::default()).await?;
    let dfs = cluster.client().await?;

    let (half, signal) = oneshot::channel();
    let put = for_all(&files, half, |file| {
        let dfs = dfs.clone();
        async move {
            let data = read_local(file.clone()).await?;
            let options = CreateOptions { parents: true, ..CreateOptions::default() };
            let mut writer = dfs.create(&remote(&file)?, options).await?;
            writer.write_all(&data).await?;
            writer.close().await.with_context(|| format!("closing {}", file.display()))?;
            Ok(())
        }
    });
    tokio::try_join!(put, kill_when(&cluster, signal, Daemon::DataNode(2)))?;
    cluster.start(Daemon::DataNode(2)).await?;
    cluster.wait_ready(Duration::from_mins(2)).await?;

    let (half, signal) = oneshot::channel();
    let get = for_all(&files, half, |file| {
        let dfs = dfs.clone();
        async move {
            let mut found = Vec::new();
            dfs.open(&remote(&file)?).await?.read_to_end(&mut found).await?;
            let expected = read_local(file.clone()).await?;
            ensure!(content::digest(&found) == content::digest(&expected), "{} differs", file.display());
            Ok(())
        }
    });
    tokio::try_join!(get, kill_when(&cluster, signal, Daemon::DataNode(1)))?;

    let summary = dfs.content_summary(&FsPath::parse("/tree")?).await?;
    ensure!(summary.files == files.len() as u64, "{} files are there", summary.files);
    Ok(())
}

async fn write_large(dfs: &Dfs, path: &FsPath, halfway: oneshot::Sender<()>) -> Result<[u8; 32]> {
    let mut writer = dfs.create(path, CreateOptions::default()).await?;
    let mut stream = Stream::new(7);
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut halfway = Some(halfway);
    for done in 0..LARGE / (1 << 20) {
        stream.fill(&mut buffer);
        hash.update(&buffer);
        writer.write_all(&buffer).await?;
        if done == LARGE / (2 << 20)
            && let Some(halfway) = halfway.take()
        {
            let _ = halfway.send(());
        }
    }
    let status = writer.close().await?;
    ensure!(status.length == LARGE, "{} bytes were stored", status.length);
    Ok(hash.finalize().into())
}

async fn read_large(dfs: &Dfs, path: &FsPath, halfway: oneshot::Sender<()>) -> Result<[u8; 32]> {
    let mut reader = dfs.open(path).await?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut halfway = Some(halfway);
    let mut done = 0;
    loop {
        let read = reader.read(&mut buffer).await?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        done += read as u64;
        if done > LARGE / 2
            && let Some(halfway) = halfway.take()
        {
            let _ = halfway.send(());
        }
    }
    ensure!(done == LARGE, "{done} bytes came back");
    Ok(hash.finalize().into())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_two_gibibytes_survives_a_killed_datanode() -> Result<()> {
    let cluster = TestCluster::start(Options { datanodes: 4, ..Options::default() }).await?;
    let dfs = cluster.client().await?;
    let path = FsPath::parse("/large")?;

    let (half, signal) = oneshot::channel();
    let (written, ()) =
        tokio::try_join!(write_large(&dfs, &path, half), kill_when(&cluster, signal, Daemon::DataNode(1)))?;
    let (half, signal) = oneshot::channel();
    let (read, ()) =
        tokio::try_join!(read_large(&dfs, &path, half), kill_when(&cluster, signal, Daemon::DataNode(2)))?;
    ensure!(written == read, "what came back is not what was written");
    Ok(())
}
