//! The operator comes, is upgraded and goes: clusters stay.

use anyhow::{Result, ensure};
use dfs_failure::Scenario;
use dfs_failure::health::patience;
use dfs_failure::stage::{Played, Stage, done, told};
use dfs_kubernetes::names::Component;
use serde_json::json;

use super::{SMALL, cluster};
use crate::pods::Pods;

pub(super) fn list() -> Vec<Scenario> {
    vec![Scenario {
        name: "chart",
        group: "Chart",
        title: "helm upgrades, tests, uninstalls and installs the operator: no pod of the cluster is touched",
        needs: &[],
        shape: SMALL,
        leaves_whole: true,
        play: |stage| Box::pin(chart(stage)),
    }]
}

async fn same_pods(stage: &Stage, before: &[std::collections::BTreeMap<String, String>; 2]) -> Result<()> {
    let pods = cluster(stage)?;
    let now = [pods.uids(Component::NameNode).await?, pods.uids(Component::DataNode).await?];
    ensure!(now == *before, "pods were replaced");
    Ok(())
}

/// Waits until an operator has seen a change that no pod is replaced for.
async fn is_looked_after(pods: &Pods, since: &str) -> Result<()> {
    pods.change(json!({ "commonMetadata": { "labels": { "e2e": since } } })).await?;
    pods.settle(patience()).await
}

async fn chart(stage: &Stage) -> Played {
    stage.fill_with(2, 300_000).await?;
    let before = stage
        .step("helm upgrade, with two operators", async {
            let pods = cluster(stage)?;
            let before = [pods.uids(Component::NameNode).await?, pods.uids(Component::DataNode).await?];
            pods.ground.chart.upgrade(&["replicas=2"]).await?;
            is_looked_after(pods, "upgraded").await?;
            same_pods(stage, &before).await?;
            done(before)
        })
        .await?;
    stage.step("helm test", async { done(cluster(stage)?.ground.chart.test().await?) }).await?;
    stage
        .step("helm uninstall: the cluster stays", async {
            let pods = cluster(stage)?;
            pods.ground.chart.uninstall().await?;
            let name = pods.resource().await?.metadata.name.unwrap_or_default();
            same_pods(stage, &before).await?;
            told((), format!("the DfsCluster {name} is there"))
        })
        .await?;
    stage.all_is_there("files are read without an operator").await?;
    stage
        .step("helm install: the operator finds the cluster", async {
            let pods = cluster(stage)?;
            pods.ground.chart.install().await?;
            is_looked_after(pods, "installed").await?;
            same_pods(stage, &before).await?;
            done(())
        })
        .await
}
