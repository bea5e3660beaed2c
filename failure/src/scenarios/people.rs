//! Writers that die, and administrators who restore what is old.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use dfs_e2e::wait;

use super::crash::recovered_length;
use super::{Scenario, USUAL};
use crate::cluster::{Capability, Daemon, StoredReplica};
use crate::files::{CHUNK, Kept, options};
use crate::health::{self, Fsck, patience};
use crate::stage::{Played, Stage, degraded, done, told};
use crate::writer;

pub(super) fn list() -> Vec<Scenario> {
    const GROUP: &str = "Writers and administrators";
    vec![
        Scenario {
            name: "writer-dies",
            group: GROUP,
            title: "a writer is killed with an open file: the file ends at its last hsync or later, and others go on",
            needs: &[Capability::Addresses],
            shape: USUAL,
            leaves_whole: true,
            play: |stage| Box::pin(writer_dies(stage)),
        },
        Scenario {
            name: "synced-tail-away",
            group: GROUP,
            title: "a writer dies, all its DataNodes are away and the NameNode restarts: what was synced is waited for",
            needs: &[Capability::Addresses],
            shape: USUAL,
            leaves_whole: true,
            play: |stage| Box::pin(synced_tail_away(stage)),
        },
        Scenario {
            name: "old-backup",
            group: GROUP,
            title: "the NameNode gets an old backup: chunks that it does not know are kept and told, not deleted",
            needs: &[Capability::Restore, Capability::Disk],
            shape: USUAL,
            leaves_whole: false,
            play: |stage| Box::pin(old_backup(stage)),
        },
    ]
}

async fn writer_dies(stage: &Stage) -> Played {
    stage.fill_with(2, 300_000).await?;
    // In its first chunk, on a boundary, and in a later one.
    for (synced, what) in [
        (CHUNK as usize / 2, "in the first chunk"),
        (CHUNK as usize, "at the end of a chunk"),
        (2 * CHUNK as usize + 12_345, "in the third chunk"),
    ] {
        stage
            .step(&format!("a writer that synced {what} is killed"), async {
                let path = stage.path(&format!("cut-off-{synced}"))?;
                let kept = stage.content(synced + 100_000);
                let addresses = namenodes(stage).await?;
                let mut child = writer::start(&addresses, &path, kept, synced).await?;
                let since = Instant::now();
                child.kill().await?;
                let found = recovered_length(stage, &path, kept.content(), synced).await?;
                let took = stage.recovered(since);
                stage.files.keep(path.clone(), Kept { length: found, ..kept });
                told(
                    (),
                    format!(
                        "closed after {:.1} s with {found} bytes, {synced} were synced",
                        took.as_secs_f64()
                    ),
                )
            })
            .await?;
    }
    stage
        .step("another client may write the file anew", async {
            let path = stage.path(&format!("cut-off-{CHUNK}"))?;
            let options = dfs_client::CreateOptions { overwrite: true, ..options() };
            stage.files.put(&stage.dfs, &path, stage.content(300_000), options).await?;
            done(())
        })
        .await
}

/// Of the file's nodes a NameNode that was just started knows nothing.
async fn synced_tail_away(stage: &Stage) -> Played {
    let synced = CHUNK as usize / 2 + 77;
    // The other's writer dies in its first chunk and has flushed nothing: nobody counts on a byte of it.
    let (kept, unsynced) = (stage.content(synced + 100_000), stage.content(CHUNK as usize));
    let (path, other) = stage
        .step("a writer that synced half a chunk is killed", async {
            let (path, other) = (stage.path("away")?, stage.path("unsynced")?);
            let mut child = writer::start(&namenodes(stage).await?, &path, kept, synced).await?;
            let mut second = writer::start(&namenodes(stage).await?, &other, unsynced, 0).await?;
            wait::until("both files have a chunk", patience(), || async {
                let chunks = stage.dfs.report().await?.chunks;
                ensure!(chunks == 2, "{chunks} chunks are there");
                anyhow::Ok(())
            })
            .await?;
            child.kill().await?;
            second.kill().await?;
            done((path, other))
        })
        .await?;
    stage
        .step("every DataNode and the NameNode are killed, and only the NameNode starts again", async {
            let all = stage.cluster.daemons().await?;
            stage.cluster.kill(&all).await?;
            stage.cluster.start(&[ONLY]).await?;
            told((), format!("{} processes", all.len()))
        })
        .await?;
    stage
        .step("the file of which nothing was synced is closed", async {
            // Whatever time the NameNode gives to DataNodes is over then, for both.
            stage.dfs.lease_recovery(&path, false).await?;
            wait::until("the file is closed", patience(), || async {
                ensure!(stage.dfs.recover_lease(&other).await?, "recovery is under way");
                anyhow::Ok(())
            })
            .await?;
            done(())
        })
        .await?;
    stage
        .step("the other waits, and the cluster says for what", async {
            let waiting = wait::until("the report names it", patience(), || async {
                let status = stage.dfs.stat(&path).await?;
                ensure!(status.open, "it is closed with {} bytes", status.length);
                let mut waiting = stage.dfs.report().await?.waiting;
                match (waiting.pop(), waiting.is_empty()) {
                    (Some(waiting), true) if waiting.path == path => anyhow::Ok(waiting),
                    other => bail!("the report names {other:?}"),
                }
            })
            .await?;
            let expected = waiting.wait.expected;
            ensure!(expected == synced as u64, "{expected} bytes are expected, and {synced} were synced");
            told((), format!("chunk {} waits for {expected} bytes", waiting.chunk))
        })
        .await?;
    stage
        .step("its DataNodes start, and the file ends where it was synced at least", async {
            let all = stage.cluster.daemons().await?;
            stage.cluster.start(&all).await?;
            let since = Instant::now();
            let found = recovered_length(stage, &path, kept.content(), synced).await?;
            let took = stage.recovered(since);
            stage.files.keep(path.clone(), Kept { length: found, ..kept });
            told(
                (),
                format!("closed after {:.1} s with {found} bytes, {synced} were synced", took.as_secs_f64()),
            )
        })
        .await
}

/// `HOST:PORT` of the NameNodes, as one of them says.
async fn namenodes(stage: &Stage) -> Result<Vec<String>> {
    Ok(stage.dfs.namenodes().await?.members.into_iter().map(|member| member.address).collect())
}

const ONLY: Daemon = Daemon::NameNode(1);

/// Every replica on every disk.
async fn on_disks(stage: &Stage) -> Result<BTreeSet<(Daemon, StoredReplica)>> {
    let mut all = BTreeSet::new();
    for node in stage.datanodes().await? {
        all.extend(stage.cluster.replicas(node).await?.into_iter().map(|replica| (node, replica)));
    }
    Ok(all)
}

async fn old_backup(stage: &Stage) -> Played {
    stage.fill_with(4, 700_000).await?;
    let backup = stage.folder.join("old.backup");
    stage
        .step("back the metadata up", async { done(stage.dfs.backup(&backup, false).await.map(drop)?) })
        .await?;
    let newer = stage
        .step("store files that the backup does not know", async {
            let before = on_disks(stage).await?;
            stage.put_files("newer", 4, 700_000).await?;
            health::until_clean(&stage.dfs).await?;
            let newer: BTreeSet<_> = on_disks(stage).await?.difference(&before).copied().collect();
            ensure!(!newer.is_empty(), "nothing lies on any disk");
            let note = format!("{} replicas", newer.len());
            told(newer, note)
        })
        .await?;
    stage
        .step("the NameNode loses its disk and gets the backup", async {
            stage.cluster.kill(&[ONLY]).await?;
            stage.cluster.restore(ONLY, &backup).await?;
            stage.cluster.start(&[ONLY]).await?;
            stage.cluster.wait_ready().await?;
            for number in 1..=4 {
                stage.files.let_go(&stage.path(&format!("newer-{number}"))?);
            }
            done(())
        })
        .await?;
    stage.all_is_there("what the backup knows is there").await?;
    stage
        .step("files are written and deleted as if nothing had happened", async {
            stage.put_files("after", 3, 700_000).await?;
            let path = stage.path("after-1")?;
            stage.files.let_go(&path);
            stage.dfs.delete(&path, false).await?;
            // When these are gone from the disks, orders to delete were carried out: others would have been too.
            wait::until("what was deleted is gone", patience(), || async {
                let (report, fsck) = (stage.dfs.report().await?, Fsck::run(&stage.dfs).await?);
                ensure!(report.pending_deletions == 0, "{} deletions are pending", report.pending_deletions);
                let known: BTreeSet<_> = fsck.chunks.iter().map(|(_, chunk)| chunk.chunk).collect();
                let all = on_disks(stage).await?;
                let stray = all
                    .iter()
                    .filter(|found| !known.contains(&found.1.chunk) && !newer.contains(found))
                    .count();
                ensure!(stray == 0, "{stray} replicas of deleted chunks are left");
                anyhow::Ok(())
            })
            .await?;
            done(())
        })
        .await?;
    stage
        .step("the newer chunks are still on every disk", async {
            let all = on_disks(stage).await?;
            let gone = newer.difference(&all).count();
            ensure!(gone == 0, "{gone} of {} replicas WERE DELETED", newer.len());
            let quarantined = stage.dfs.report().await.context("the NameNode reports")?.quarantined;
            ensure!(quarantined >= newer.len() as u64, "only {quarantined} of {} are told", newer.len());
            degraded((), format!("{} replicas kept, {quarantined} told as quarantined", newer.len()))
        })
        .await
}
