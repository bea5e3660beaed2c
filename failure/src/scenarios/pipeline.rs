//! A DataNode dies while a chunk is written through it, at every place and every stage.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use dfs_client::{AppendOptions, Dfs, FileWriter};
use dfs_e2e::wait;
use dfs_types::FsPath;
use tokio::task::JoinHandle;

use super::{Scenario, USUAL};
use crate::cluster::{Capability, Cut, Daemon, Party};
use crate::files::{CHUNK, Kept, options};
use crate::health::{self, Fsck, patience};
use crate::stage::{Played, Stage, told};

/// Bytes of each file: a chunk that is left open, so that the pipeline is still there.
const LENGTH: usize = CHUNK as usize * 3 / 4;
/// A writer whose pipeline stands still takes it for broken after this long.
const ACK_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) fn list() -> Vec<Scenario> {
    let scenario = |name, title, play| Scenario {
        name,
        group: "Pipelines",
        title,
        needs: &[Capability::Network, Capability::Pause],
        shape: USUAL,
        leaves_whole: true,
        play,
    };
    vec![
        scenario(
            "pipeline-setup",
            "the first, middle and last DataNode of a pipeline is killed while it is set up",
            |stage| Box::pin(at_every_place(stage, Phase::Setup)),
        ),
        scenario(
            "pipeline-data",
            "the first, middle and last DataNode of a pipeline is killed while data flows",
            |stage| Box::pin(at_every_place(stage, Phase::Data)),
        ),
        scenario(
            "pipeline-close",
            "the first, middle and last DataNode of a pipeline is killed while the file is closed",
            |stage| Box::pin(at_every_place(stage, Phase::Close)),
        ),
        scenario(
            "pipeline-append",
            "the first, middle and last DataNode of a pipeline is killed while a file is appended to",
            |stage| Box::pin(at_every_place(stage, Phase::Append)),
        ),
    ]
}

/// When the DataNode dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Setup,
    Data,
    Close,
    Append,
}

const PLACES: [&str; 3] = ["first", "middle", "last"];

async fn at_every_place(stage: &Stage, phase: Phase) -> Played {
    stage.fill_with(2, 300_000).await?;
    for (place, name) in PLACES.into_iter().enumerate() {
        stage
            .step(&format!("the {name} of three dies: the writer goes on"), async {
                let path = stage.path(&format!("through-{name}"))?;
                let kept = stage.content(LENGTH);
                let victim = match phase {
                    Phase::Setup => in_setup(stage, &path, kept, place).await?,
                    Phase::Data => in_data(stage, &path, kept, place).await?,
                    Phase::Close => in_close(stage, &path, kept, place).await?,
                    Phase::Append => in_append(stage, &path, kept, place).await?,
                };
                stage.files.keep(path, kept);
                stage.cluster.start(&[victim]).await?;
                stage.cluster.wait_ready().await?;
                told((), format!("{victim} was killed, the file is closed"))
            })
            .await?;
    }
    Ok(())
}

/// A client whose connections are its own and which soon finds a pipeline that stands still.
async fn client(stage: &Stage) -> Result<Dfs> {
    Ok(stage.cluster.client().await?.ack_timeout(ACK_TIMEOUT).connect().await?)
}

/// The DataNode at this place of the pipeline of the open chunk of a file, once there is one.
async fn at_place(stage: &Stage, path: &FsPath, place: usize) -> Result<Daemon> {
    let address = wait::until("the file has a pipeline of three", patience(), || async {
        let fsck = Fsck::run(&stage.dfs).await?;
        let chunk = fsck.chunks.iter().find(|(of, chunk)| of == path.as_str() && chunk.under_construction);
        let (_, chunk) = chunk.context("it has no open chunk")?;
        ensure!(chunk.nodes.len() == PLACES.len(), "it has {} nodes", chunk.nodes.len());
        Ok::<_, anyhow::Error>(chunk.nodes[place].address())
    })
    .await?;
    health::daemon_at(stage.cluster.as_ref(), &address).await
}

type Running = JoinHandle<Result<()>>;

async fn ended(running: Running) -> Result<()> {
    tokio::time::timeout(patience(), running).await.context("the writer hangs")??.context("the writer failed")
}

/// Nothing of a client reaches any DataNode until the chunk has its nodes and one of them is dead.
async fn in_setup(stage: &Stage, path: &FsPath, kept: Kept, place: usize) -> Result<Daemon> {
    let dfs = client(stage).await?;
    let nodes: Vec<_> = stage.datanodes().await?.into_iter().map(Party::Daemon).collect();
    stage.cluster.part(&[Party::Clients], &nodes, Cut::BothWays).await?;
    let running: Running = {
        let path = path.clone();
        tokio::spawn(async move {
            let mut writer = dfs.create(&path, options()).await?;
            writer.write_bytes(kept.content()).await?;
            writer.close().await?;
            Ok(())
        })
    };
    let victim = at_place(stage, path, place).await?;
    ensure!(!running.is_finished(), "the file was written though no DataNode could be reached");
    stage.cluster.kill(&[victim]).await?;
    stage.cluster.heal().await?;
    ended(running).await?;
    Ok(victim)
}

/// A writer that has flushed the first third of a file.
async fn begun(stage: &Stage, path: &FsPath, kept: Kept) -> Result<FileWriter> {
    let mut writer = client(stage).await?.create(path, options()).await?;
    writer.write_bytes(kept.content().slice(..LENGTH / 3)).await?;
    writer.hflush().await?;
    Ok(writer)
}

async fn in_data(stage: &Stage, path: &FsPath, kept: Kept, place: usize) -> Result<Daemon> {
    let mut writer = begun(stage, path, kept).await?;
    let victim = at_place(stage, path, place).await?;
    stage.cluster.kill(&[victim]).await?;
    writer.write_bytes(kept.content().slice(LENGTH / 3..)).await?;
    writer.close().await?;
    Ok(victim)
}

/// The DataNode is held before the file is closed, so that closing waits for it, and killed then.
async fn in_close(stage: &Stage, path: &FsPath, kept: Kept, place: usize) -> Result<Daemon> {
    let mut writer = begun(stage, path, kept).await?;
    writer.write_bytes(kept.content().slice(LENGTH / 3..)).await?;
    writer.hflush().await?;
    let victim = at_place(stage, path, place).await?;
    stage.cluster.pause(victim).await?;
    let running: Running = tokio::spawn(async move {
        writer.close().await?;
        Ok(())
    });
    // The last packet has to be on its way; that nothing comes of it is what is to be seen.
    tokio::time::sleep(Duration::from_millis(300)).await;
    if running.is_finished() {
        bail!("the file was closed though {victim} stands still");
    }
    stage.cluster.kill(&[victim]).await?;
    ended(running).await?;
    Ok(victim)
}

/// What was there before the writer came is finished, and stays as it is.
async fn in_append(stage: &Stage, path: &FsPath, kept: Kept, place: usize) -> Result<Daemon> {
    let (dfs, content) = (client(stage).await?, kept.content());
    let mut writer = dfs.create(path, options()).await?;
    writer.write_bytes(content.slice(..LENGTH / 3)).await?;
    writer.close().await?;
    let mut writer = dfs.append(path, AppendOptions::default()).await?;
    writer.write_bytes(content.slice(LENGTH / 3..LENGTH * 2 / 3)).await?;
    writer.hflush().await?;
    let victim = at_place(stage, path, place).await?;
    stage.cluster.kill(&[victim]).await?;
    writer.write_bytes(content.slice(LENGTH * 2 / 3..)).await?;
    writer.close().await?;
    Ok(victim)
}
