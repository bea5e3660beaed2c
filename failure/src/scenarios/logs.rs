//! Logs that can't be written.

use anyhow::{Context as _, ensure};
use dfs_e2e::wait;

use super::{GROUP as MEMBERS, Scenario};
use crate::cluster::{Capability, Daemon, Shape};
use crate::files::options;
use crate::health::patience;
use crate::stage::{Played, Stage, done, told};

/// Said in a log in the place of lines that are not there.
const DROPPED: &str = "log lines were dropped";

pub(super) fn list() -> Vec<Scenario> {
    vec![Scenario {
        name: "log-disk-full",
        group: "Logs",
        title: "the disk with all logs is full: the cluster serves, obeys SIGTERM and starts again, without an error",
        needs: &[Capability::FullLogDisk],
        shape: Shape { log_disk: true, ..MEMBERS },
        leaves_whole: true,
        play: |stage| Box::pin(log_disk_full(stage)),
    }]
}

async fn put(stage: &Stage, name: &str) -> anyhow::Result<()> {
    for number in 1..=4 {
        let path = stage.path(&format!("{name}-{number}"))?;
        stage.files.put(&stage.dfs, &path, stage.content(700_000), options()).await?;
    }
    Ok(())
}

async fn log_disk_full(stage: &Stage) -> Played {
    stage.fill_with(4, 700_000).await?;
    let victim = Daemon::DataNode(1);
    stage
        .step(
            "not one byte more can be logged, and a DataNode is killed, of which all have something to say",
            async {
                stage.cluster.fill_logs().await?;
                stage.cluster.kill(&[victim]).await?;
                put(stage, "without-logs").await?;
                done(())
            },
        )
        .await?;
    stage.all_is_there("every file is read").await?;
    stage
        .step("it starts again, and every other daemon obeys SIGTERM and starts again", async {
            stage.cluster.start(&[victim]).await?;
            stage.cluster.wait_ready().await?;
            let daemons = stage.cluster.daemons().await?;
            for daemon in daemons.iter().copied().filter(|daemon| *daemon != victim) {
                stage.cluster.stop(daemon).await?;
                stage.cluster.start(&[daemon]).await?;
                stage.cluster.wait_ready().await?;
            }
            put(stage, "after-restarts").await?;
            told((), format!("{} daemons", daemons.len()))
        })
        .await?;
    stage
        .step("when there is room again, the logs go on, and say that lines are missing", async {
            stage.cluster.heal().await?;
            let folder = stage.folder.join("logs");
            wait::until("a log goes on", patience(), || async {
                // The new leader has something to say.
                stage.dfs.transfer_leader(None).await?;
                stage.cluster.save_logs(&folder).await?;
                let mut missing = 0;
                for entry in std::fs::read_dir(&folder)? {
                    let text = std::fs::read(entry?.path()).context("a log that was copied")?;
                    missing += usize::from(String::from_utf8_lossy(&text).contains(DROPPED));
                }
                ensure!(missing > 0, "no log says '{DROPPED}'");
                anyhow::Ok(missing)
            })
            .await?;
            done(())
        })
        .await
}
