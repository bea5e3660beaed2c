//! Files get another end, or are removed, while something fails.

use anyhow::ensure;
use dfs_client::AppendOptions;
use dfs_types::NodeState;
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};

use super::{Scenario, USUAL, busiest};
use crate::cluster::{Capability, Shape};
use crate::files::{CHUNK, Files, Kept};
use crate::health;
use crate::stage::{Played, Stage, done, told};

/// Three NameNodes and as many DataNodes as replicas and one, which all have disks that forget.
const POWER: Shape = Shape { disks: true, ..Shape::new(3, 4) };
/// Files of which some are removed.
const FILES: usize = 12;

pub(super) fn list() -> Vec<Scenario> {
    const NAME: &str = "Ends of files";
    vec![
        Scenario {
            name: "truncate-while-away",
            group: NAME,
            title: "files are truncated and appended to while a DataNode with their chunks is away, which comes back with all",
            needs: &[],
            shape: USUAL,
            leaves_whole: true,
            play: |stage| Box::pin(truncate_while_away(stage)),
        },
        Scenario {
            name: "trash-power-cut",
            group: NAME,
            title: "files are moved to the trash and deleted, and the power goes: what was moved comes back, nothing else does",
            needs: &[Capability::PowerCut],
            shape: POWER,
            leaves_whole: true,
            play: |stage| Box::pin(removed_before_a_power_cut(stage)),
        },
    ]
}

async fn truncate_while_away(stage: &Stage) -> Played {
    const LENGTH: usize = CHUNK as usize * 5 / 2;
    /// In the middle of the second chunk.
    const CUT: usize = CHUNK as usize * 3 / 2;
    let before = stage.fill_with(FILES, LENGTH).await?;
    let victim = stage
        .step("the DataNode with most replicas is killed", async {
            let victim = busiest(stage, &before).await?;
            stage.cluster.kill(&[victim]).await?;
            health::until_state(&stage.dfs, stage.cluster.as_ref(), victim, NodeState::Dead).await?;
            told(victim, victim.to_string())
        })
        .await?;
    stage
        .step("every file is truncated in its second chunk, and half of them are appended to", async {
            for (number, (path, kept)) in stage.files.all().into_iter().enumerate() {
                stage.files.let_go(&path);
                stage.dfs.truncate(&path, CUT as u64).await?;
                let mut now = Kept { length: CUT, ..kept };
                if number % 2 == 0 {
                    let mut writer = stage.dfs.append(&path, AppendOptions::default()).await?;
                    writer.write_bytes(kept.content().slice(CUT..)).await?;
                    writer.close().await?;
                    now = kept;
                }
                Files::compare(&stage.dfs, &path, now).await?;
                stage.files.keep(path, now);
            }
            told((), format!("{FILES} files, to {CUT} of {LENGTH} bytes"))
        })
        .await?;
    stage
        .step("the DataNode comes back with what it had", async {
            stage.cluster.start(&[victim]).await?;
            stage.cluster.wait_ready().await?;
            done(())
        })
        .await?;
    stage.all_is_there("every file ends where it was said to").await
}

async fn removed_before_a_power_cut(stage: &Stage) -> Played {
    stage.fill_with(FILES, 300_000).await?;
    let (trashed, deleted) = stage
        .step("a third of the files is moved to the trash, a third is deleted", async {
            let (mut trashed, mut deleted) = (Vec::new(), Vec::new());
            for (number, (path, kept)) in stage.files.all().into_iter().enumerate() {
                match number % 3 {
                    0 => {
                        stage.files.let_go(&path);
                        stage.dfs.move_to_trash(&path, false, None).await?;
                        trashed.push((path, kept));
                    }
                    1 => {
                        stage.files.let_go(&path);
                        stage.dfs.delete(&path, false).await?;
                        deleted.push(path);
                    }
                    _ => {}
                }
            }
            let note = format!("{} are in the trash, {} are gone", trashed.len(), deleted.len());
            told((trashed, deleted), note)
        })
        .await?;
    stage
        .step("the power goes, everywhere at the same moment, and comes back", async {
            let all = stage.cluster.daemons().await?;
            stage.cluster.power_cut(&all).await?;
            stage.cluster.start(&all).await?;
            stage.cluster.wait_ready().await?;
            told((), format!("{} processes", all.len()))
        })
        .await?;
    stage
        .step("what was moved to the trash comes back, what was deleted does not", async {
            for path in &deleted {
                ensure!(!stage.dfs.exists(path).await?, "{path} is there again");
                let undeleted = stage.dfs.undelete(path).await;
                ensure!(undeleted.is_err(), "{path} came back from the trash");
            }
            let back = stream::iter(&trashed).then(|(path, kept)| async move {
                ensure!(!stage.dfs.exists(path).await?, "{path} is there again by itself");
                stage.dfs.undelete(path).await?;
                stage.files.keep(path.clone(), *kept);
                anyhow::Ok(())
            });
            back.try_collect::<Vec<()>>().await?;
            told((), format!("{} files are back", trashed.len()))
        })
        .await?;
    stage.all_is_there("every file is there, byte by byte").await
}
