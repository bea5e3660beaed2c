//! All at once.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::Scenario;
use crate::cluster::{Capability, Shape};
use crate::files::{CHUNK, options};
use crate::health;
use crate::stage::{Played, Stage, done, told};
use crate::traffic::Traffic;

/// Three NameNodes and as many DataNodes as replicas and one, which all have disks that forget.
const POWER: Shape = Shape { disks: true, ..Shape::new(3, 4) };
/// How long clients write before everything ends.
const BUSY: Duration = Duration::from_secs(2);
/// How often everything ends.
const TIMES: u32 = 2;

pub(super) fn list() -> Vec<Scenario> {
    const NAME: &str = "All at once";
    vec![
        Scenario {
            name: "kill-everything",
            group: NAME,
            title: "kill -9 of every process during writes: nothing acknowledged is lost",
            needs: &[],
            shape: super::GROUP,
            leaves_whole: true,
            play: |stage| Box::pin(everything_ends(stage, End::Killed)),
        },
        Scenario {
            name: "power-cut",
            group: NAME,
            title: "power cut of every machine during writes, disks forget what was never synced: nothing is lost",
            needs: &[Capability::PowerCut],
            shape: POWER,
            leaves_whole: true,
            play: |stage| Box::pin(everything_ends(stage, End::PowerCut)),
        },
    ]
}

/// How everything ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Killed,
    PowerCut,
}

async fn everything_ends(stage: &Stage, end: End) -> Played {
    stage.fill_with(4, 700_000).await?;
    for time in 1..=TIMES {
        let traffic = Traffic::begin(stage, &format!("meanwhile-{time}"), 3).await?;
        let path = stage.path(&format!("synced-{time}")).map_err(|_| crate::stage::Stopped)?;
        let kept = stage.content(2 * CHUNK as usize);
        let synced = CHUNK as usize + 50_000;
        let writer = stage
            .step("one file is open, and was synced in its middle", async {
                let mut writer = stage.dfs.create(&path, options()).await?;
                writer.write_bytes(kept.content().slice(..synced)).await?;
                writer.hsync().await?;
                done(writer)
            })
            .await?;
        stage
            .step(
                match end {
                    End::Killed => "kill -9 of every process at the same moment",
                    End::PowerCut => "the power goes, everywhere at the same moment",
                },
                async {
                    // What is tried here is a moment in the middle of work, not a condition.
                    tokio::time::sleep(BUSY).await;
                    let all = stage.cluster.daemons().await?;
                    match end {
                        End::Killed => stage.cluster.kill(&all).await?,
                        End::PowerCut => stage.cluster.power_cut(&all).await?,
                    }
                    told((), format!("{} processes", all.len()))
                },
            )
            .await?;
        let since = Instant::now();
        // Its client was on a machine that has no power either.
        drop(writer);
        stage
            .step("everything starts again", async {
                let all = stage.cluster.daemons().await?;
                stage.cluster.start(&all).await?;
                stage.cluster.wait_ready().await?;
                told((), format!("serving after {:.1} s", stage.recovered(since).as_secs_f64()))
            })
            .await?;
        stage
            .step("clients that went on all the time are served again", async {
                let tally = traffic.stop(stage).await?;
                ensure!(tally.written > 0, "nothing was written: {}", tally.words());
                let wrong = tally.errors.iter().find(|error| error.contains("WRONG BYTES"));
                ensure!(wrong.is_none(), "{wrong:?}");
                told((), tally.words())
            })
            .await?;
        stage.all_is_there("every file that was acknowledged is there").await?;
        stage
            .step("what was synced of the open file is there", async {
                let found = recovered_length(stage, &path, kept.content(), synced).await?;
                told((), format!("{found} bytes, {synced} were synced"))
            })
            .await?;
    }
    Ok(())
}

/// Closes a file whose writer is gone; it must begin as it was written, and reach as far as it was synced.
pub(super) async fn recovered_length(
    stage: &Stage,
    path: &dfs_types::FsPath,
    content: bytes::Bytes,
    synced: usize,
) -> Result<usize> {
    dfs_e2e::wait::until("the file is closed", health::patience(), || async {
        ensure!(stage.dfs.recover_lease(path).await?, "recovery is under way");
        anyhow::Ok(())
    })
    .await?;
    let found = stage.dfs.open(path).await?.read_all().await?;
    ensure!(found.len() >= synced, "{} bytes are left, and {synced} were synced", found.len());
    ensure!(found.len() <= content.len() && found == content.slice(..found.len()), "it has WRONG BYTES");
    Ok(found.len())
}
