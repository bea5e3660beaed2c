//! `dfs report`.

use clap::ArgAction;
use dfs_client::{ClusterReport, NodeReport, NodeState, Volume, WaitingChunk};
use dfs_types::{Space, VolumeHealth};
use serde::Serialize;

use super::node::duty_name;
use super::recover_lease::{self, ShownWait};
use crate::context::Context;
use crate::exit::Outcome;
use crate::global::Format;
use crate::output::{Out, name, table};
use crate::size;

/// How `dfs report` is typed.
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Args {
    /// Accepted for habit's sake: sizes always have units.
    #[arg(short, long, hide = true)]
    human: bool,
    /// Print help.
    #[arg(long, action = ArgAction::Help)]
    help: Option<bool>,
}

#[derive(Serialize)]
struct Shown<'a> {
    cluster: String,
    version: &'a str,
    safe_mode: bool,
    files: u64,
    directories: u64,
    chunks: u64,
    under_replicated: u64,
    over_replicated: u64,
    only_one_copy: u64,
    missing: u64,
    corrupt: u64,
    pending_copies: u64,
    pending_deletions: u64,
    open_files: u64,
    misplaced: u64,
    quarantined: u64,
    waiting_recoveries: u64,
    waiting: Vec<ShownWait<'a>>,
    balancer_running: bool,
    balanced: bool,
    /// What is wrong with NameNodes, a sentence each.
    namenode_notes: Vec<String>,
    nodes: Vec<ShownNode<'a>>,
}

#[derive(Serialize)]
struct ShownNode<'a> {
    id: String,
    address: String,
    http_port: u16,
    location: &'a str,
    state: &'static str,
    duty: &'static str,
    depending_chunks: u64,
    reported: bool,
    last_heartbeat_ms: u64,
    capacity: u64,
    used: u64,
    available: u64,
    replicas: u64,
    active_writes: u32,
    active_reads: u32,
    active_copies: u32,
    version: &'a str,
    volumes: Vec<ShownVolume<'a>>,
}

#[derive(Serialize)]
struct ShownVolume<'a> {
    id: String,
    path: &'a str,
    failed: bool,
    suspect: bool,
    capacity: u64,
    used: u64,
    available: u64,
    replicas: u64,
}

impl Args {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let dfs = context.dfs().await?;
        let report = dfs.report().await?;
        let namenodes = dfs.namenodes().await?;
        let notes: Vec<String> = super::admin::notes(&namenodes.members).collect();
        let nodes: Vec<ShownNode<'_>> = report.nodes.iter().map(shown_node).collect();
        let mut out = Out::new();
        match context.global.output {
            Format::Json => out.json(&shown(&report, notes, nodes))?,
            format @ (Format::Table | Format::Wide) => print(&mut out, &report, &notes, &nodes, format)?,
        }
        out.flush()
    }
}

fn shown<'a>(report: &'a ClusterReport, notes: Vec<String>, nodes: Vec<ShownNode<'a>>) -> Shown<'a> {
    Shown {
        cluster: report.cluster.to_string(),
        version: &report.version,
        safe_mode: report.safe_mode.on,
        files: report.files,
        directories: report.directories,
        chunks: report.chunks,
        under_replicated: report.under_replicated,
        over_replicated: report.over_replicated,
        only_one_copy: report.only_one_copy,
        missing: report.missing,
        corrupt: report.corrupt,
        pending_copies: report.pending_copies,
        pending_deletions: report.pending_deletions,
        open_files: report.open_files,
        misplaced: report.misplaced,
        quarantined: report.quarantined,
        waiting_recoveries: report.waiting_recoveries,
        waiting: ShownWait::all(&report.waiting),
        balancer_running: report.balancer.running,
        balanced: report.balancer.balanced,
        namenode_notes: notes,
        nodes,
    }
}

fn shown_node(node: &NodeReport) -> ShownNode<'_> {
    let Space { capacity, used, available } = node.space();
    let volumes: Vec<ShownVolume<'_>> = node
        .volumes
        .iter()
        .map(|volume| ShownVolume {
            id: volume.id.to_string(),
            path: &volume.path,
            failed: volume.health == VolumeHealth::Failed,
            suspect: volume.health == VolumeHealth::Suspect,
            capacity: volume.capacity,
            used: volume.used,
            available: volume.available,
            replicas: volume.replicas,
        })
        .collect();
    ShownNode {
        id: node.node.id.to_string(),
        address: node.node.address(),
        http_port: node.node.at.http_port,
        location: &node.node.at.location,
        state: node.state.name(),
        duty: duty_name(node.duty),
        depending_chunks: node.depending_chunks,
        reported: node.reported,
        last_heartbeat_ms: u64::try_from(node.silent.as_millis()).unwrap_or(u64::MAX),
        capacity,
        used,
        available,
        replicas: node.replicas,
        active_writes: node.active_writes,
        active_reads: node.active_reads,
        active_copies: node.active_copies,
        version: &node.version,
        volumes,
    }
}

fn print(
    out: &mut Out,
    report: &ClusterReport,
    notes: &[String],
    nodes: &[ShownNode<'_>],
    format: Format,
) -> Outcome {
    let live = nodes.iter().filter(|node| node.state == "live");
    // Over all nodes at once: several may be on one disk.
    let there = report.nodes.iter().filter(|node| node.state == NodeState::Live);
    let space = Space::sum(there.flat_map(|node| &node.volumes).map(Volume::space));
    let rows = [
        ("Cluster:", report.cluster.to_string()),
        (
            "NameNode:",
            format!("version {}, {}", report.version, super::safemode::sentence(&report.safe_mode)),
        ),
        (
            "Space:",
            format!(
                "{} used, {} available of {}",
                size::human(space.used),
                size::human(space.available),
                size::human(space.capacity)
            ),
        ),
        (
            "Namespace:",
            format!(
                "{} files ({} open), {} directories, {} chunks",
                report.files, report.open_files, report.directories, report.chunks
            ),
        ),
        (
            "Chunks:",
            format!(
                "{} under-replicated ({} with one copy), {} over-replicated, {} misplaced, {} missing, {} corrupt",
                report.under_replicated,
                report.only_one_copy,
                report.over_replicated,
                report.misplaced,
                report.missing,
                report.corrupt
            ),
        ),
        ("Pending:", format!("{} copies, {} deletions", report.pending_copies, report.pending_deletions)),
        ("Quarantined:", quarantined(report.quarantined)),
        ("Recovery:", waiting(report.waiting_recoveries)),
        ("Balancer:", super::balancer::sentence(&report.balancer)),
        ("DataNodes:", format!("{} live of {}", live.clone().count(), nodes.len())),
    ];
    let rows = rows.into_iter().map(|(name, value)| vec![name.to_owned(), value]).collect();
    out.line(&table(Vec::new(), rows, &[]))?;
    for WaitingChunk { path, chunk, wait } in &report.waiting {
        out.line(&format!("  {}: chunk {chunk} {}", name(path.as_str()), recover_lease::sentence(wait)))?;
    }
    for note in notes {
        out.line(note)?;
    }
    if nodes.is_empty() {
        return Ok(());
    }
    let mut header = vec!["NODE", "STATE", "DUTY", "CAPACITY", "USED", "AVAILABLE", "REPLICAS", "HEARTBEAT"];
    if format == Format::Wide {
        header.extend(["ID", "LOCATION", "VOLUMES", "WRITES", "READS", "COPIES", "VERSION"]);
    }
    let rows = nodes.iter().map(|node| row(node, format)).collect();
    out.line("")?;
    out.line(&table(header, rows, &[3, 4, 5, 6, 7, 10, 11, 12, 13]))
}

fn waiting(chunks: u64) -> String {
    match chunks {
        0 => "no file without a writer waits for its bytes".to_owned(),
        count => format!("{count} chunks of files without a writer wait for acknowledged bytes"),
    }
}

fn quarantined(replicas: u64) -> String {
    match replicas {
        0 => "no replicas".to_owned(),
        count => format!("{count} replicas of unknown chunks: see 'dfs admin quarantine list'"),
    }
}

/// How many volumes there are, and what is wrong with some of them.
fn volumes(all: &[ShownVolume<'_>]) -> String {
    let count = |is: fn(&ShownVolume<'_>) -> bool| all.iter().filter(|volume| is(volume)).count();
    let wrong = [(count(|volume| volume.failed), "failed"), (count(|volume| volume.suspect), "suspect")];
    let wrong: Vec<_> = wrong.iter().filter(|(count, _)| *count > 0).collect();
    let words: Vec<_> = wrong.iter().map(|(count, what)| format!("{count} {what}")).collect();
    if words.is_empty() { all.len().to_string() } else { format!("{} ({})", all.len(), words.join(", ")) }
}

fn row(node: &ShownNode<'_>, format: Format) -> Vec<String> {
    let mut cells = vec![
        node.address.clone(),
        if node.reported { node.state.to_owned() } else { format!("{}, not reported", node.state) },
        node.duty.to_owned(),
        size::human(node.capacity),
        size::human(node.used),
        size::human(node.available),
        node.replicas.to_string(),
        format!("{:.1} s ago", node.last_heartbeat_ms as f64 / 1_000.0),
    ];
    if format == Format::Wide {
        cells.extend([
            node.id.clone(),
            node.location.to_owned(),
            volumes(&node.volumes),
            node.active_writes.to_string(),
            node.active_reads.to_string(),
            node.active_copies.to_string(),
            node.version.to_owned(),
        ]);
    }
    cells
}
