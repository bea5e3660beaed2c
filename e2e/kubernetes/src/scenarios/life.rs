//! A cluster's first life: made, used, damaged, grown; and made again over the volumes of a former one.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use dfs_e2e::content;
use dfs_e2e::wait;
use dfs_failure::health::{self, patience};
use dfs_failure::stage::{Played, Stage, degraded, done, told};
use dfs_failure::{Scenario, cluster::Daemon};
use dfs_kubernetes::crd::condition;
use dfs_kubernetes::names::Component;
use kube::api::DeleteParams;

use super::program::{dfs, digest, kubectl_dfs};
use super::{GROUP, SMALL, cluster};

/// Bytes of the large file.
const LARGE: u64 = 1 << 30;
/// Bytes that are made at a time.
const PIECE: u64 = 8 << 20;
/// A cluster that takes longer than this to be ready, with its images there, is too slow.
const READY_WITHIN: Duration = Duration::from_mins(1);

pub(super) fn list() -> Vec<Scenario> {
    const GROUP_NAME: &str = "A cluster's life";
    vec![
        Scenario {
            name: "first-life",
            group: GROUP_NAME,
            title: "a cluster is made, takes 1 GiB by kubeconfig alone, loses a DataNode with its claim, heals and grows",
            needs: &[],
            shape: SMALL,
            leaves_whole: false,
            play: |stage| Box::pin(first_life(stage)),
        },
        Scenario {
            name: "every-operation",
            group: GROUP_NAME,
            title: "every operation of the command line, through the API server's port-forward",
            needs: &[],
            shape: SMALL,
            leaves_whole: true,
            play: |stage| Box::pin(every_operation(stage)),
        },
        Scenario {
            name: "made-anew",
            group: GROUP_NAME,
            title: "a DfsCluster is deleted and made anew over the claims it left: every file is there",
            needs: &[],
            shape: GROUP,
            leaves_whole: true,
            play: |stage| Box::pin(made_anew(stage)),
        },
    ]
}

/// Makes a file that no other is like.
async fn large_file(folder: &Path) -> Result<PathBuf> {
    let path = folder.join("large");
    let made = path.clone();
    tokio::task::spawn_blocking(move || {
        let mut file = std::fs::File::create(made)?;
        for piece in 0..LARGE / PIECE {
            file.write_all(&content::bytes(piece + 1_000, PIECE as usize))?;
        }
        anyhow::Ok(())
    })
    .await??;
    Ok(path)
}

fn speed(bytes: u64, took: Duration) -> String {
    format!("{:.1} s, {:.0} MB/s", took.as_secs_f64(), bytes as f64 / took.as_secs_f64() / 1e6)
}

async fn first_life(stage: &Stage) -> Played {
    stage
        .step("the cluster is ready", async {
            let took = cluster(stage)?.ready_after().unwrap_or_default();
            let note = format!("{:.1} s after it was asked for", took.as_secs_f64());
            if took <= READY_WITHIN { told((), note) } else { degraded((), note) }
        })
        .await?;
    let (file, sum) = stage
        .step("put 1 GiB with nothing but a kubeconfig", async {
            let file = large_file(&stage.folder).await?;
            let sum = digest(&file).await?;
            let name = file.display().to_string();
            let (_, took) = dfs(cluster(stage)?, &["put", &name, "/large"]).await?;
            told((file, sum), speed(LARGE, took))
        })
        .await?;
    let before = stage
        .step("every chunk has its replicas", async { done(health::until_clean(&stage.dfs).await?) })
        .await?;
    let since = stage
        .step("a DataNode's pod is deleted, and its claim", async {
            let (pods, victim) = (cluster(stage)?, Daemon::DataNode(1));
            pods.lose(victim).await?;
            told(Instant::now(), pods.pod(victim))
        })
        .await?;
    stage
        .step("the status says Degraded", async {
            let (reason, message) =
                cluster(stage)?.until_condition(condition::DEGRADED, "True", patience()).await?;
            stage.measure(|measures| measures.detection = Some(since.elapsed()));
            told((), format!("{reason}: {message}"))
        })
        .await?;
    stage
        .step("get it back meanwhile", async {
            let copy = stage.folder.join("copy");
            let (_, took) = dfs(cluster(stage)?, &["get", "/large", &copy.display().to_string()]).await?;
            ensure!(digest(&copy).await? == sum, "it has WRONG BYTES");
            tokio::fs::remove_file(&copy).await?;
            tokio::fs::remove_file(&file).await?;
            told((), format!("{}, every byte as it was", speed(LARGE, took)))
        })
        .await?;
    stage
        .step("the status says that nothing is degraded any more", async {
            cluster(stage)?.settle(2 * patience()).await?;
            stage.recovered(since);
            told((), format!("{:.1} s after the loss", since.elapsed().as_secs_f64()))
        })
        .await?;
    stage.replicated_again(since, &before).await?;
    stage
        .step("3 DataNodes become 5", async {
            let (pods, began) = (cluster(stage)?, Instant::now());
            pods.scale(5).await?;
            pods.settle(patience()).await?;
            let live = stage.dfs.fs_stats().await?.live_nodes;
            ensure!(live == 5, "{live} DataNodes are live");
            told((), format!("{:.1} s", began.elapsed().as_secs_f64()))
        })
        .await?;
    stage
        .step("'dfs cluster' lists it, knows its status and tells what happened", async {
            let pods = cluster(stage)?;
            for (words, wanted) in [
                (["cluster", "list", "-A"].as_slice(), pods.name.name.as_str()),
                (&["cluster", "status", "--wait", "--timeout", "1m"], "DataNodes:    5 of 5 ready"),
                (&["cluster", "events"], "DfsCluster/"),
                // The one that lost its volume is remembered.
                (&["report"], "5 live of 6"),
            ] {
                let (said, _) = dfs(pods, words).await?;
                let said = String::from_utf8_lossy(&said);
                ensure!(
                    said.contains(wanted),
                    "'dfs {}' says nothing of '{wanted}': {said}",
                    words.join(" ")
                );
            }
            done(())
        })
        .await?;
    stage
        .step("'kubectl dfs' is the same program", async {
            let pods = cluster(stage)?;
            let said = kubectl_dfs(pods, &stage.folder, &["ls", "/"]).await?;
            ensure!(said.contains("large"), "it does not list the file: {said}");
            done(())
        })
        .await?;
    stage
        .step("the file is removed", async {
            done(dfs(cluster(stage)?, &["rm", "--skip-trash", "/large"]).await.map(drop)?)
        })
        .await
}

async fn every_operation(stage: &Stage) -> Played {
    stage
        .step("'dfs local test-ops' finds nothing wrong", async {
            let (said, took) = dfs(cluster(stage)?, &["local", "test-ops"]).await?;
            let said = String::from_utf8_lossy(&said);
            let last = said.lines().next_back().unwrap_or_default().to_owned();
            told((), format!("{last}, {:.1} s", took.as_secs_f64()))
        })
        .await
}

async fn made_anew(stage: &Stage) -> Played {
    stage.fill_with(6, 700_000).await?;
    let id = stage
        .step("the DfsCluster is deleted", async {
            let pods = cluster(stage)?;
            let id = pods.resource().await?.status.and_then(|status| status.cluster_id);
            crate::objects::delete(&pods.clusters(), &pods.name.name, &DeleteParams::default()).await?;
            wait::until("all pods are gone", patience(), || async {
                let left =
                    pods.uids(Component::NameNode).await?.len() + pods.uids(Component::DataNode).await?.len();
                ensure!(left == 0, "{left} are left");
                anyhow::Ok(())
            })
            .await?;
            told(id, "its pods are gone, its claims are left")
        })
        .await?;
    stage
        .step("it is made anew, with the same name", async {
            let (pods, began) = (cluster(stage)?, Instant::now());
            pods.apply(pods.spec()).await?;
            pods.settle(patience()).await?;
            stage.recovered(began);
            let now = pods.resource().await?.status.and_then(|status| status.cluster_id);
            ensure!(now == id, "it is the file system {now:?} now, and was {id:?}");
            told((), format!("{:.1} s", began.elapsed().as_secs_f64()))
        })
        .await?;
    stage.all_is_there("every file is there").await
}
