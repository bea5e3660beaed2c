//! `dfs cluster list`.

use dfs_kubernetes::crd::{DfsCluster, DfsClusterStatus, condition};
use kube::ResourceExt as _;
use serde::Serialize;

use super::age::age;
use crate::context::Context;
use crate::exit::Outcome;
use crate::global::Format;
use crate::output::List;
use crate::size;

/// How `dfs cluster list` is typed.
#[derive(Debug, clap::Args)]
#[command(
    visible_alias = "ls",
    after_help = "\
Examples:
  dfs cluster list
  dfs cluster list -A -o json"
)]
pub(super) struct Args {
    /// Of all namespaces.
    #[arg(short = 'A', long)]
    all_namespaces: bool,
}

#[derive(Serialize)]
struct Shown<'a> {
    namespace: String,
    name: String,
    status: Option<&'a DfsClusterStatus>,
}

impl Args {
    pub(super) async fn run(self, context: &Context) -> Outcome {
        let access = context.global.access().await?;
        let clusters = access.clusters((!self.all_namespaces).then_some(access.namespace.as_str())).await?;
        let wide = context.global.output == Format::Wide;
        let mut list = match context.global.output {
            Format::Json => List::json(),
            Format::Table | Format::Wide => {
                let mut header =
                    vec!["NAME", "AVAILABLE", "DEGRADED", "NAMENODES", "DATANODES", "SIZE", "USED"];
                if self.all_namespaces {
                    header.insert(0, "NAMESPACE");
                }
                if wide {
                    header.extend([
                        "PROGRESSING",
                        "LEADER",
                        "CHUNKS",
                        "UNDER-REPLICATED",
                        "MISSING",
                        "IMAGE",
                    ]);
                }
                header.push("AGE");
                List::table(&header, &[])
            }
        };
        for cluster in &clusters {
            let shown = Shown {
                namespace: cluster.namespace().unwrap_or_default(),
                name: cluster.name_any(),
                status: cluster.status.as_ref(),
            };
            list.push(&shown, || row(cluster, self.all_namespaces, wide))?;
        }
        list.finish()
    }
}

fn row(cluster: &DfsCluster, with_namespace: bool, wide: bool) -> Vec<String> {
    let unknown = || "-".to_owned();
    let status = cluster.status.clone().unwrap_or_default();
    let says = |kind: &str| {
        status.condition(kind).map_or_else(unknown, |condition| match condition.status.as_str() {
            "True" => "yes".to_owned(),
            "False" => "no".to_owned(),
            _ => "?".to_owned(),
        })
    };
    let mut row = Vec::new();
    if with_namespace {
        row.push(cluster.namespace().unwrap_or_default());
    }
    let (names, data, space) = (&status.name_nodes, &status.data_nodes, &status.capacity);
    row.extend([
        cluster.name_any(),
        says(condition::AVAILABLE),
        says(condition::DEGRADED),
        names.as_ref().map_or_else(unknown, |nodes| format!("{}/{}", nodes.ready, nodes.desired)),
        data.as_ref().map_or_else(unknown, |nodes| format!("{}/{}", nodes.ready, nodes.desired)),
        space.as_ref().map_or_else(unknown, |space| size::human(space.total_bytes)),
        space.as_ref().map_or_else(unknown, |space| size::human(space.used_bytes)),
    ]);
    if wide {
        let chunks = status.chunks.as_ref();
        let progressing = status.condition(condition::PROGRESSING);
        row.extend([
            progressing.map_or_else(unknown, |condition| condition.reason.clone()),
            names.as_ref().and_then(|nodes| nodes.leader.clone()).unwrap_or_else(unknown),
            chunks.map_or_else(unknown, |chunks| chunks.total.to_string()),
            chunks.map_or_else(unknown, |chunks| chunks.under_replicated.to_string()),
            chunks.map_or_else(unknown, |chunks| chunks.missing.to_string()),
            status.image.clone().unwrap_or_else(unknown),
        ]);
    }
    row.push(age(cluster.creation_timestamp().map(|time| time.0)));
    row
}

#[cfg(test)]
mod tests {
    use dfs_kubernetes::crd::{DfsClusterSpec, NameNodeStatus};

    use super::*;

    #[test]
    fn a_cluster_without_a_status_is_shown_too() {
        let mut cluster = DfsCluster::new("main", DfsClusterSpec::new(Vec::new()));
        cluster.metadata.namespace = Some("prod".to_owned());
        assert_eq!(row(&cluster, true, false), ["prod", "main", "-", "-", "-", "-", "-", "-", "-"]);
        assert_eq!(row(&cluster, false, true).len(), 14);
        cluster.status = Some(DfsClusterStatus {
            name_nodes: Some(NameNodeStatus { desired: 3, ready: 2, updated: 3, leader: None }),
            ..DfsClusterStatus::default()
        });
        assert_eq!(row(&cluster, false, false)[3], "2/3");
    }
}
