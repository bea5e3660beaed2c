//! Whole racks.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use dfs_client::NodeState;

use super::Scenario;
use crate::cluster::{Capability, Daemon, Shape};
use crate::files::options;
use crate::health::{self, Fsck};
use crate::stage::{Played, Stage, done, told};
use crate::traffic::Traffic;

/// Three racks of two.
const RACKS: [&str; 6] = ["/east/a", "/east/a", "/east/b", "/east/b", "/west/c", "/west/c"];
const SHAPE: Shape = Shape { topology: &RACKS, ..Shape::new(1, 6) };

pub(super) fn list() -> Vec<Scenario> {
    vec![Scenario {
        name: "whole-rack",
        group: "Racks",
        title: "a whole rack loses power: every chunk has a replica elsewhere",
        needs: &[Capability::Topology],
        shape: SHAPE,
        leaves_whole: true,
        play: |stage| Box::pin(whole_rack(stage)),
    }]
}

/// Fails unless every chunk lies in at least so many racks; answers with how many chunks there are.
async fn spread(stage: &Stage, fsck: &Fsck, least: usize) -> Result<usize> {
    for (path, chunk) in &fsck.chunks {
        let mut racks = BTreeSet::new();
        for node in &chunk.nodes {
            let Daemon::DataNode(number) = health::daemon_at(stage.cluster.as_ref(), &node.address()).await?
            else {
                bail!("a NameNode holds a chunk");
            };
            racks.insert(RACKS.get(usize::from(number) - 1).context("there are six DataNodes")?);
        }
        ensure!(racks.len() >= least, "chunk {} of {path} lies in {} racks", chunk.chunk, racks.len());
    }
    Ok(fsck.chunks.len())
}

async fn whole_rack(stage: &Stage) -> Played {
    let before = stage.fill_with(8, 700_000).await?;
    stage
        .step("every chunk lies in more than one rack", async {
            told((), format!("{} chunks", spread(stage, &before, 2).await?))
        })
        .await?;
    let traffic = Traffic::begin(stage, "meanwhile", 1).await?;
    let rack = [Daemon::DataNode(1), Daemon::DataNode(2)];
    stage
        .step("both DataNodes of a rack are killed at once", async {
            stage.cluster.kill(&rack).await?;
            told((), RACKS[0])
        })
        .await?;
    let since = Instant::now();
    stage.all_is_there("every file can be read").await?;
    stage.recovered(since);
    stage
        .step("new files are taken", async {
            let path = stage.path("without-a-rack")?;
            stage.files.put(&stage.dfs, &path, stage.content(700_000), options()).await?;
            done(())
        })
        .await?;
    stage
        .step("both are given up", async {
            for node in rack {
                health::until_state(&stage.dfs, stage.cluster.as_ref(), node, NodeState::Dead).await?;
            }
            stage.measure(|measures| measures.detection = Some(since.elapsed()));
            done(())
        })
        .await?;
    traffic.end(stage).await?;
    stage.replicated_again(since, &before).await?;
    stage
        .step("the rack is back, and every chunk lies in more than one rack again", async {
            stage.cluster.start(&rack).await?;
            stage.cluster.wait_ready().await?;
            let fsck = health::until_clean(&stage.dfs).await?;
            told((), format!("{} chunks", spread(stage, &fsck, 2).await?))
        })
        .await
}
