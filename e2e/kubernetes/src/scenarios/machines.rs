//! Machines that are drained, and machines that lose power with all their pods.

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};
use dfs_client::{CreateOptions, MemberRole, NodeState};
use dfs_e2e::wait;
use dfs_failure::cluster::{Capability, Daemon};
use dfs_failure::files::options;
use dfs_failure::health::{self, patience};
use dfs_failure::stage::{Played, Stage, degraded, done, told};
use dfs_failure::traffic::Traffic;
use dfs_failure::{Cluster as _, Scenario};
use dfs_kubernetes::names::Component;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{EvictParams, ListParams};
use serde_json::json;

use super::{GROUP, cluster};
use crate::ground::ZONE_LABEL;
use crate::pods::Pods;

pub(super) fn list() -> Vec<Scenario> {
    const NAME: &str = "Machines";
    vec![
        Scenario {
            name: "node-drained",
            group: NAME,
            title: "a node is cordoned and its pods evicted: never more than the cluster can spare",
            needs: &[],
            shape: GROUP,
            leaves_whole: true,
            play: |stage| Box::pin(drained(stage)),
        },
        Scenario {
            name: "node-stopped",
            group: NAME,
            title: "a machine loses power with all its pods, and comes back",
            needs: &[Capability::Pause],
            shape: GROUP,
            leaves_whole: true,
            play: |stage| Box::pin(stopped(stage)),
        },
        Scenario {
            name: "zones",
            group: NAME,
            title: "machines are labelled with zones: each file is in two of them",
            needs: &[],
            shape: GROUP,
            leaves_whole: true,
            play: |stage| Box::pin(zones(stage)),
        },
    ]
}

/// The cluster's pods on a machine.
async fn pods_on(pods: &Pods, machine: &str) -> Result<Vec<String>> {
    let wanted =
        ListParams::default().labels(&pods.name.selector()).fields(&format!("spec.nodeName={machine}"));
    let listed = pods.api::<Pod>().list(&wanted).await?;
    Ok(listed.items.iter().map(kube::ResourceExt::name_any).collect())
}

/// The machine with most pods of the cluster, but not the operator's if there is another: it shall tell what happens.
async fn busiest_machine(pods: &Pods) -> Result<(String, Vec<String>)> {
    let operators = pods.ground.operator_machines().await?;
    let mut found = Vec::new();
    for machine in pods.ground.workers().await? {
        let there = pods_on(pods, &machine).await?;
        found.push((!operators.contains(&machine), there.len(), machine, there));
    }
    let (_, count, machine, there) = found.into_iter().max().context("there are no workers")?;
    ensure!(count > 0, "no pod of the cluster runs on a worker");
    Ok((machine, there))
}

/// Evicts a pod as `kubectl drain` does; answers with whether its budget allows it now.
async fn evict(pods: &Pods, pod: &str) -> Result<bool> {
    match pods.api::<Pod>().evict(pod, &EvictParams::default()).await {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 429 => Ok(false),
        Err(error) => Err(error).with_context(|| format!("evicting {pod}")),
    }
}

async fn drained(stage: &Stage) -> Played {
    stage.fill_with(6, 700_000).await?;
    let traffic = Traffic::begin(stage, "meanwhile", 1).await?;
    let (machine, gone) = stage
        .step("a node is cordoned, and all its pods are to be evicted", async {
            let pods = cluster(stage)?;
            let (machine, there) = busiest_machine(pods).await?;
            let mut before = pods.uids(Component::NameNode).await?;
            before.extend(pods.uids(Component::DataNode).await?);
            pods.ground.cordon(&machine).await?;
            let (mut gone, mut kept) = (Vec::new(), Vec::new());
            for pod in there {
                if evict(pods, &pod).await? { gone.push(pod) } else { kept.push(pod) }
            }
            ensure!(!gone.is_empty(), "no pod may leave: the budgets block every drain");
            let of =
                |component: &str, pods: &[String]| pods.iter().filter(|pod| pod.contains(component)).count();
            ensure!(of("-namenode-", &gone) <= 1, "two NameNodes of three were let go");
            ensure!(of("-datanode-", &gone) <= 1, "two DataNodes were let go at once");
            // Others of the same names come at once, and find no room.
            wait::until("those that were let go have ended", patience(), || async {
                let mut now = pods.uids(Component::NameNode).await?;
                now.extend(pods.uids(Component::DataNode).await?);
                let left: Vec<_> = gone.iter().filter(|pod| now.get(*pod) == before.get(*pod)).collect();
                ensure!(left.is_empty(), "{left:?} run");
                anyhow::Ok(())
            })
            .await?;
            let note = format!("{machine}: gone {}; kept back {}", gone.join(", "), kept.join(", "));
            told((machine, gone), note)
        })
        .await?;
    let since = Instant::now();
    stage.all_is_there("every file is read meanwhile").await?;
    stage
        .step("the node takes pods again, and they return", async {
            let pods = cluster(stage)?;
            pods.ground.uncordon(&machine).await?;
            pods.wait_ready().await?;
            for pod in &gone {
                let Some(daemon) = pods.daemon(pod) else { bail!("{pod} is no pod of the cluster") };
                ensure!(
                    pods.machine(&pods.pod(daemon)).await? == machine,
                    "{pod} runs elsewhere, without its volume"
                );
            }
            let took = stage.recovered(since);
            told((), format!("{:.1} s", took.as_secs_f64()))
        })
        .await?;
    traffic.end(stage).await
}

async fn stopped(stage: &Stage) -> Played {
    let before = stage.fill_with(6, 700_000).await?;
    let traffic = Traffic::begin(stage, "meanwhile", 1).await?;
    let (machine, there, since) = stage
        .step("a machine loses power", async {
            let pods = cluster(stage)?;
            let (machine, there) = busiest_machine(pods).await?;
            pods.ground.machines.context("the machines can't be touched")?.stop(&machine).await?;
            let note = format!("{machine} with {}", there.join(", "));
            told((machine, there, Instant::now()), note)
        })
        .await?;
    // Whatever goes wrong from here on, the machine must run again for those who come after.
    let played = without_it(stage, &there, since, traffic).await;
    stage
        .step("the machine has power again", async {
            let pods = cluster(stage)?;
            pods.ground.machines.context("the machines can't be touched")?.start(&machine).await?;
            let began = Instant::now();
            wait::until("every node is ready and so are the pods", 2 * patience(), || async {
                pods.ground.nodes_ready().await?;
                pods.wait_ready().await
            })
            .await?;
            // Kubernetes may not have noticed at all: who serves is known to the file system.
            serve(stage, &there).await?;
            told((), format!("all pods serve {:.1} s later", began.elapsed().as_secs_f64()))
        })
        .await?;
    played?;
    stage.replicated_again(since, &before).await.map(drop)
}

/// Waits until the file system knows all daemons of these pods as members that take part.
async fn serve(stage: &Stage, there: &[String]) -> Result<()> {
    let pods = cluster(stage)?;
    for daemon in there.iter().filter_map(|pod| pods.daemon(pod)) {
        match daemon {
            Daemon::DataNode(_) => health::until_state(&stage.dfs, pods, daemon, NodeState::Live).await?,
            Daemon::NameNode(_) => {
                let address = pods.address(daemon).await?;
                wait::until(&format!("{daemon} takes part"), patience(), || async {
                    let group = stage.dfs.namenodes().await?;
                    let role =
                        group.members.iter().find(|member| member.address == address).map(|it| it.role);
                    let takes_part = matches!(role, Some(MemberRole::Leader | MemberRole::Follower));
                    ensure!(takes_part && group.by_leader, "it is {role:?}");
                    anyhow::Ok(())
                })
                .await?;
            }
        }
    }
    Ok(())
}

async fn without_it(stage: &Stage, there: &[String], since: Instant, traffic: Traffic) -> Played {
    stage
        .step("a new file is taken", async {
            let path = stage.path("without-it")?;
            stage.files.put(&stage.dfs, &path, stage.content(700_000), options()).await?;
            let took = stage.recovered(since);
            told((), format!("{:.1} s after the failure", took.as_secs_f64()))
        })
        .await?;
    stage.all_is_there("every file is read").await?;
    stage
        .step("its DataNodes are given up", async {
            let pods = cluster(stage)?;
            let lost: Vec<_> = there
                .iter()
                .filter_map(|pod| pods.daemon(pod))
                .filter(|daemon| matches!(daemon, Daemon::DataNode(_)))
                .collect();
            for node in &lost {
                health::until_state(&stage.dfs, pods, *node, NodeState::Dead).await?;
            }
            stage.measure(|measures| measures.detection = Some(since.elapsed()));
            let report = stage.dfs.report().await?;
            let note =
                format!("{} DataNodes; {} chunks are below target", lost.len(), report.under_replicated);
            if report.under_replicated > 0 { degraded((), note) } else { told((), note) }
        })
        .await?;
    traffic.end(stage).await
}

/// Files that are written when the zones are known. Placed by machine alone, about a third would be in one zone.
const FILES: usize = 16;

async fn zones(stage: &Stage) -> Played {
    let near = stage
        .step("machines get labels, and the cluster is told which label is the zone's", async {
            let pods = cluster(stage)?;
            let mut machines = pods.ground.workers().await?;
            let far = machines.pop().filter(|_| machines.len() >= 2).context("this takes three workers")?;
            for machine in &machines {
                pods.ground.set_zone(machine, Some("near")).await?;
            }
            pods.ground.set_zone(&far, Some("far")).await?;
            pods.change(json!({ "placement": { "zoneLabel": ZONE_LABEL } })).await?;
            pods.settle(3 * patience()).await?;
            let note = format!("{} are near, {far} is far", machines.join(" and "));
            told(machines, note)
        })
        .await?;
    stage
        .step("every DataNode says the zone of its machine", async {
            let pods = cluster(stage)?;
            for daemon in stage.datanodes().await? {
                let machine = pods.machine(&pods.pod(daemon)).await?;
                let zone = if near.contains(&machine) { "near" } else { "far" };
                let found = health::node(&stage.dfs, stage.cluster.as_ref(), daemon).await?.node.at.location;
                ensure!(found == format!("/{zone}"), "{daemon} on {machine} says it is in '{found}'");
            }
            done(())
        })
        .await?;
    stage
        .step("files with two replicas are in both zones, each of them", async {
            let folder = stage.path("two")?;
            let options = CreateOptions { replication: Some(2), ..options() };
            for number in 0..FILES {
                let path = folder.join(&number.to_string())?;
                stage.files.put(&stage.dfs, &path, stage.content(10_000), options.clone()).await?;
            }
            let fsck = health::until_clean(&stage.dfs).await?;
            let new = fsck.chunks.iter().filter(|(path, _)| path.starts_with(folder.as_str()));
            let mut count = 0;
            for (path, chunk) in new {
                let zones: BTreeSet<_> =
                    chunk.nodes.iter().filter_map(|node| node.at.location.split('/').nth(1)).collect();
                ensure!(zones == BTreeSet::from(["far", "near"]), "{path} is in {zones:?} only");
                count += 1;
            }
            ensure!(count == FILES, "only {count} of {FILES} files were found");
            told((), format!("{count} files"))
        })
        .await?;
    stage.all_is_there("every file is there").await
}
