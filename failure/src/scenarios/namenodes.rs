//! NameNodes that stop, die and come back.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::BytesMut;
use dfs_e2e::wait;
use dfs_types::FsPath;
use futures_util::StreamExt as _;

use super::{GROUP, Scenario, USUAL, tree};
use crate::cluster::{Capability, Daemon};
use crate::files::{CHUNK, options};
use crate::health::patience;
use crate::stage::{Played, Stage, done, told};
use crate::traffic::Traffic;

/// Bytes of the file that is being read: more than a client reads ahead, and no more chunks than it asks about at once.
const LONG: usize = 12 << 20;
/// How long a NameNode is away: long enough for every client to notice.
const AWAY: Duration = Duration::from_secs(2);

pub(super) fn list() -> Vec<Scenario> {
    const NAME: &str = "NameNodes";
    vec![
        Scenario {
            name: "namenode",
            group: NAME,
            title: "the only NameNode is killed and started again: transfers wait and go on",
            needs: &[],
            shape: USUAL,
            leaves_whole: true,
            play: |stage| Box::pin(namenode(stage)),
        },
        Scenario {
            name: "namenode-failover",
            group: NAME,
            title: "of three NameNodes the leader is killed, stopped and held: no client sees an error",
            needs: &[Capability::Pause],
            shape: GROUP,
            leaves_whole: true,
            play: |stage| Box::pin(failover(stage)),
        },
    ]
}

/// The first NameNode, the only one where there is one.
const ONLY: Daemon = Daemon::NameNode(1);

async fn namenode(stage: &Stage) -> Played {
    stage.fill_with(6, 700_000).await?;
    let names = stage
        .step("note the namespace", async {
            let names = tree(&stage.dfs, &FsPath::root()).await?;
            let count = names.len();
            told(names, format!("{count} names"))
        })
        .await?;
    let (mut reading, mut read, kept) = stage
        .step("begin to read a file, and to write one", async {
            let (path, kept) = (stage.path("long")?, stage.content(LONG));
            stage.files.put(&stage.dfs, &path, kept, options()).await?;
            let reader = stage.dfs.open(&path).await?;
            let mut reading = reader.stream(0..reader.len());
            let first = reading.next().await.context("the file is empty")??;
            done((reading, BytesMut::from(&first[..]), kept))
        })
        .await?;
    let mut writer = stage
        .step("the file that is written is flushed once", async {
            let path = stage.path("running")?;
            let mut writer = stage.dfs.create(&path, options()).await?;
            let kept = stage.content(3 * CHUNK as usize);
            writer.write_bytes(kept.content().slice(..100_000)).await?;
            writer.hflush().await?;
            done((writer, path, kept))
        })
        .await?;
    stage.step("kill -9 the NameNode", async { done(stage.cluster.kill(&[ONLY]).await?) }).await?;
    let since = Instant::now();
    stage
        .step("the running read ends without it", async {
            let before = read.len();
            while let Some(bytes) = reading.next().await {
                read.extend_from_slice(&bytes?);
            }
            ensure!(read == kept.content(), "other bytes were read");
            told((), format!("{} bytes before, {} after", before, read.len() - before))
        })
        .await?;
    let waiting = stage
        .step("the running write waits, and so do new requests", async {
            let dfs = stage.dfs.clone();
            let path = stage.path("made-while-away")?;
            let request = tokio::spawn(async move { dfs.mkdir(&path, dfs_types::Mode::DIRECTORY).await });
            let more = writer.2.content().slice(100_000..);
            let (ended, written) = tokio::join!(
                async {
                    // Nobody can be asked how long a NameNode is away: that is what is tried here.
                    tokio::time::sleep(AWAY).await;
                    let early = request.is_finished();
                    stage.cluster.start(&[ONLY]).await?;
                    anyhow::Ok((request, early))
                },
                writer.0.write_bytes(more),
            );
            let (request, early) = ended?;
            ensure!(!early, "a request was answered though nobody could");
            written?;
            done(request)
        })
        .await?;
    stage
        .step("the NameNode is back and both end without an error", async {
            waiting.await??;
            let (writer, path, kept) = writer;
            writer.close().await?;
            stage.files.keep(path, kept);
            stage.dfs.delete(&stage.path("made-while-away")?, false).await?;
            let took = stage.recovered(since);
            told((), format!("{:.1} s after it was killed", took.as_secs_f64()))
        })
        .await?;
    stage
        .step("the namespace is the same", async {
            let mut now = tree(&stage.dfs, &FsPath::root()).await?;
            for name in ["running", "long"] {
                now.remove(&stage.path(name)?);
            }
            let (root, before) = (now.remove(&stage.root), names.get(&stage.root));
            ensure!(
                root.map(|root| root.inode) == before.map(|root| root.inode),
                "the directory is another one"
            );
            let same = now.iter().all(|(path, status)| names.get(path) == Some(status));
            ensure!(same && now.len() + 1 == names.len(), "what is there differs from what was there");
            told((), format!("{} names with all their attributes", names.len()))
        })
        .await
}

/// How a leader is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    Killed,
    Stopped,
    Held,
}

async fn failover(stage: &Stage) -> Played {
    stage.fill_with(4, 700_000).await?;
    let names =
        stage.step("note the namespace", async { done(tree(&stage.dfs, &FsPath::root()).await?) }).await?;
    let traffic = Traffic::begin(stage, "meanwhile", 3).await?;
    for (loss, title) in [
        (Loss::Killed, "the leader is killed: another one leads"),
        (Loss::Stopped, "the leader is stopped: another one leads"),
        (Loss::Held, "the leader is held: another one leads, and the old one finds out"),
    ] {
        stage
            .step(title, async {
                let took = depose(stage, loss).await?;
                told((), format!("after {:.1} s", took.as_secs_f64()))
            })
            .await?;
    }
    traffic.end(stage).await?;
    stage
        .step("what was there before is the same", async {
            let now = tree(&stage.dfs, &FsPath::root()).await?;
            let files = names.iter().filter(|(_, status)| !status.is_directory());
            for (path, status) in files {
                ensure!(now.get(path) == Some(status), "{path} changed");
            }
            told((), format!("{} names, and {} new ones", names.len(), now.len() - names.len()))
        })
        .await
}

/// Takes the leader away, waits until another NameNode serves clients, and brings the first one back. Answers with how
/// long nobody served.
async fn depose(stage: &Stage, loss: Loss) -> Result<Duration> {
    let cluster = stage.cluster.as_ref();
    let leader = cluster.leader().await?;
    let since = Instant::now();
    match loss {
        Loss::Killed => cluster.kill(&[leader]).await?,
        Loss::Stopped => cluster.stop(leader).await?,
        Loss::Held => cluster.pause(leader).await?,
    }
    let path = stage.path(&format!("by-another-{loss:?}"))?;
    stage.files.put(&stage.dfs, &path, stage.content(1_000), options()).await?;
    let took = stage.recovered(since);
    stage.measure(|measures| measures.detection = Some(took));
    wait::until("another NameNode leads", patience(), || async {
        let now = cluster.leader().await?;
        ensure!(now != leader, "{leader} is still taken for the leader");
        anyhow::Ok(())
    })
    .await?;
    if loss == Loss::Held {
        cluster.resume(leader).await?;
    }
    cluster.start(&[leader]).await?;
    cluster.wait_ready().await?;
    Ok(took)
}
