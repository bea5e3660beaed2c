//! `dfs admin node`: what DataNodes are used for.

mod names;
mod wait;

use std::collections::BTreeSet;
use std::time::Duration;

use dfs_client::{Dfs, Duty, DutyState, NodeReport, Volume};
use dfs_types::{NodeId, StorageType, VolumeHealth};
use serde::Serialize;

use crate::confirm::confirm;
use crate::context::Context;
use crate::exit::{Outcome, print_error};
use crate::global::Format;
use crate::output::{Out, second, table};
use crate::size;
use wait::Waiting;

/// How `dfs admin node` is typed.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A NODE is its id, the beginning of its id if no other begins so, or HOST:PORT.

Examples:
  dfs admin node list -o wide
  dfs admin node decommission dn-4:9001 --wait     take it out for good, when nothing depends on it any more
  dfs admin node maintenance 3f2a --for 2h --wait  it may be stopped then; its silence costs no copying for two hours
  dfs admin node recommission dn-4:9001
  dfs admin node forget dn-4:9001 --yes            it is dead and will never be back")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Shows the DataNodes and what they are used for.
    List,
    /// Takes DataNodes out for good: what they hold is copied elsewhere first.
    Decommission(Leave),
    /// Takes DataNodes back into service, whatever they were being taken out for.
    Recommission {
        /// Which ones.
        #[arg(value_name = "NODE", required = true)]
        nodes: Vec<String>,
    },
    /// Takes DataNodes out for a while: chunks that are nowhere else are copied first.
    Maintenance {
        /// How long it lasts from now on; then they are in service again by themselves.
        #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration, default_value = "1h")]
        lasts: Duration,
        #[command(flatten)]
        leave: Leave,
    },
    /// Forgets stopped DataNodes for good: nothing waits for what they had, and they can't come back with it.
    Forget {
        /// Which ones.
        #[arg(value_name = "NODE", required = true)]
        nodes: Vec<String>,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
    },
    /// Announces that the disks of stopped DataNodes are gone for good: what they held is copied at once.
    Lost {
        /// Which ones.
        #[arg(value_name = "NODE", required = true)]
        nodes: Vec<String>,
        /// Do not ask.
        #[arg(short, long)]
        yes: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Leave {
    /// Which ones.
    #[arg(value_name = "NODE", required = true)]
    nodes: Vec<String>,
    /// Wait until they may be stopped.
    #[arg(short, long)]
    wait: bool,
    /// How long to wait at most.
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "24h")]
    timeout: Duration,
}

#[derive(Serialize)]
struct Shown<'a> {
    nodes: Vec<ShownNode<'a>>,
    warnings: &'a [String],
}

#[derive(Serialize)]
struct ShownNode<'a> {
    id: String,
    address: String,
    topology: &'a str,
    state: &'static str,
    duty: &'static str,
    depending_chunks: u64,
    maintenance_until_ms: Option<u64>,
    capacity: u64,
    used: u64,
    replicas: u64,
    failed_volumes: usize,
    suspect_volumes: usize,
    silent_ms: u64,
    release: &'a str,
    volumes: Vec<ShownVolume<'a>>,
}

#[derive(Serialize)]
struct ShownVolume<'a> {
    id: String,
    path: &'a str,
    storage_type: StorageType,
    health: VolumeHealth,
    capacity: u64,
    used: u64,
    available: u64,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let nodes = dfs.report().await?.nodes;
        let format = context.global.output;
        match self.command {
            Command::List => print(&nodes, &[], format),
            Command::Decommission(leave) => leave.run(&dfs, &nodes, Duty::Decommission, format).await,
            Command::Recommission { nodes: names } => {
                let ids = names::resolve(&nodes, &names)?;
                let report = dfs.set_node_duty(&ids, Duty::InService).await?;
                print(&report.nodes, &report.warnings, format)
            }
            Command::Maintenance { lasts, leave } => {
                leave.run(&dfs, &nodes, Duty::Maintenance { lasts }, format).await
            }
            Command::Forget { nodes: names, yes } => {
                let ids = names::resolve(&nodes, &names)?;
                let what = format!(
                    "{} will be forgotten: what only they have is lost for good, and they join again with empty volumes \
                     only",
                    names.join(", ")
                );
                confirm(what, yes).await?;
                dfs.forget_nodes(&ids, true).await?;
                print(&dfs.report().await?.nodes, &[], format)
            }
            Command::Lost { nodes: names, yes } => {
                let ids = names::resolve(&nodes, &names)?;
                let what = format!("the disks of {} are taken for gone for good", names.join(", "));
                confirm(what, yes).await?;
                dfs.announce_loss(&ids).await?;
                print(&chosen(dfs.report().await?.nodes, &ids), &[], format)
            }
        }
    }
}

impl Leave {
    async fn run(self, dfs: &Dfs, nodes: &[NodeReport], duty: Duty, format: Format) -> Outcome {
        let ids = names::resolve(nodes, &self.nodes)?;
        let mut report = dfs.set_node_duty(&ids, duty).await?;
        if format != Format::Json {
            for warning in &report.warnings {
                print_error("admin", &format!("warning: {warning}"));
            }
        }
        if self.wait {
            report.nodes = Waiting { dfs, ids: &ids, limit: self.timeout }.until_free().await?;
        }
        print(&report.nodes, &report.warnings, format)
    }
}

/// Of all nodes those with these ids, in their order.
fn chosen(nodes: Vec<NodeReport>, ids: &[NodeId]) -> Vec<NodeReport> {
    nodes.into_iter().filter(|node| ids.contains(&node.node.id)).collect()
}

/// A duty's name.
pub(super) fn duty_name(duty: DutyState) -> &'static str {
    match duty {
        DutyState::InService => "in-service",
        DutyState::Decommissioning => "decommissioning",
        DutyState::Decommissioned => "decommissioned",
        DutyState::EnteringMaintenance => "entering-maintenance",
        DutyState::InMaintenance => "in-maintenance",
    }
}

fn print(nodes: &[NodeReport], warnings: &[String], format: Format) -> Outcome {
    let mut out = Out::new();
    let shown: Vec<ShownNode<'_>> = nodes.iter().map(shown).collect();
    match format {
        Format::Json => out.json(&Shown { nodes: shown, warnings })?,
        Format::Table | Format::Wide => out.line(&text(&shown, format == Format::Wide))?,
    }
    out.flush()
}

fn shown(node: &NodeReport) -> ShownNode<'_> {
    let space = node.space();
    ShownNode {
        id: node.node.id.to_string(),
        address: node.node.address(),
        topology: &node.node.at.location,
        state: node.state.name(),
        duty: duty_name(node.duty),
        depending_chunks: node.depending_chunks,
        maintenance_until_ms: node.maintenance_until.map(|until| until.0),
        capacity: space.capacity,
        used: space.used,
        replicas: node.replicas,
        failed_volumes: node.volumes_that_are(VolumeHealth::Failed),
        suspect_volumes: node.volumes_that_are(VolumeHealth::Suspect),
        silent_ms: u64::try_from(node.silent.as_millis()).unwrap_or(u64::MAX),
        release: &node.version,
        volumes: node.volumes.iter().map(shown_volume).collect(),
    }
}

fn shown_volume(volume: &Volume) -> ShownVolume<'_> {
    let Volume { id, path, file_system: _, storage, health, capacity, used, available, replicas: _ } = volume;
    ShownVolume {
        id: id.to_string(),
        path,
        storage_type: *storage,
        health: *health,
        capacity: *capacity,
        used: *used,
        available: *available,
    }
}

/// What storage it has, each type once.
fn storage(node: &ShownNode<'_>) -> String {
    let types: BTreeSet<StorageType> = node.volumes.iter().map(|volume| volume.storage_type).collect();
    let names: Vec<&str> = types.into_iter().map(StorageType::name).collect();
    if names.is_empty() { "-".to_owned() } else { names.join("+") }
}

/// Whether it is heard of, and what is wrong with its disks.
fn state(node: &ShownNode<'_>) -> String {
    let wrong = [(node.failed_volumes, "failed"), (node.suspect_volumes, "suspect")];
    let wrong = wrong.iter().filter(|(count, _)| *count > 0);
    wrong.fold(node.state.to_owned(), |text, (count, what)| {
        let volumes = if *count == 1 { "volume" } else { "volumes" };
        format!("{text}, {count} {volumes} {what}")
    })
}

fn text(nodes: &[ShownNode<'_>], wide: bool) -> String {
    let mut header = vec!["NODE", "STATE", "DUTY", "DEPENDING", "REPLICAS", "USED", "USE%"];
    if wide {
        header.extend(["ID", "TOPOLOGY", "STORAGE", "MAINTENANCE UNTIL"]);
    }
    let row = |node: &ShownNode<'_>| {
        let permille = (u128::from(node.used) * 1_000).checked_div(u128::from(node.capacity));
        let percent = permille.unwrap_or_default() as f64 / 10.0;
        let mut cells = vec![
            node.address.clone(),
            state(node),
            node.duty.to_owned(),
            node.depending_chunks.to_string(),
            node.replicas.to_string(),
            size::human(node.used),
            format!("{percent:.1}%"),
        ];
        if wide {
            let until = node.maintenance_until_ms.map(|until| second(dfs_types::Millis(until)));
            cells.extend([
                node.id.clone(),
                node.topology.to_owned(),
                storage(node),
                until.unwrap_or_else(|| "-".to_owned()),
            ]);
        }
        cells
    };
    table(header, nodes.iter().map(row).collect(), &[3, 4, 5, 6])
}

#[cfg(test)]
mod tests {
    use super::names::tests::node;
    use super::*;

    #[test]
    fn nodes_are_shown_as_a_table() {
        let id = "0a000000-0000-4000-8000-000000000001";
        let mut leaving = node(id, "dn-a", DutyState::EnteringMaintenance, 12);
        leaving.maintenance_until = Some(dfs_types::Millis(1_738_346_759_999));
        let nodes = [leaving];
        let rows: Vec<ShownNode<'_>> = nodes.iter().map(shown).collect();
        assert_eq!(
            text(&rows, true),
            "NODE       STATE  DUTY                  DEPENDING  REPLICAS  USED  USE%  \
             ID                                    TOPOLOGY  STORAGE  MAINTENANCE UNTIL\n\
             dn-a:9001  live   entering-maintenance         12         3   0 B  0.0%  \
             0a000000-0000-4000-8000-000000000001  /z/r      -        2025-01-31 18:05:59Z"
        );
        assert!(!text(&rows, false).contains("TOPOLOGY"));
    }
}
