//! What DataNodes say.

use dfs_namenode_core::{Cluster, Command, Event, NodeStats, Volume};
use dfs_types::limits::REPORT_PAGE;
use dfs_types::{ChunkId, ClusterId, ErrorCode, FsError, FsResult, GenStamp, NodeId, ReplicaRecord};
use std::time::Duration;
use tokio::sync::SemaphorePermit;
use tracing::info;

use super::{Namenode, Node, resolve};

/// Most volumes of one DataNode.
const MAX_VOLUMES: usize = 1_024;
/// Longest path of a volume and longest version text, in bytes.
const MAX_TEXT: usize = 4_096;
/// Most replicas of one DataNode: a report of so many takes half a gigabyte while it is read.
const MAX_REPORT: usize = 16_000_000;

/// One process of a DataNode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// The node.
    pub node: NodeId,
    /// The process: a random number it took at its start.
    pub incarnation: u128,
}

/// First words of a DataNode process.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The cluster on its volumes; `None` if none is formatted.
    pub cluster: Option<ClusterId>,
    /// Who it is.
    pub sender: Sender,
    /// Its software's version.
    pub version: String,
    /// Its state.
    pub stats: NodeStats,
}

/// The answer to a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Registered {
    /// This cluster.
    pub cluster: ClusterId,
    /// How often heartbeats are expected.
    pub heartbeat_interval: Duration,
}

/// The answer to a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reception {
    /// The process is not known: it must register again. Nothing of the message was taken in.
    pub register: bool,
    /// A full report is wanted.
    pub report: bool,
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeartbeatAnswer {
    /// As for a report.
    pub reception: Reception,
    /// What the node shall do.
    pub orders: Vec<Order>,
    /// The term in which this NameNode leads; `None` while it follows.
    pub leads: Option<u64>,
}

/// A [`Command`] with addresses instead of ids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Send your finalized replica to these nodes.
    Copy {
        /// Which chunk.
        chunk: ChunkId,
        /// Its version.
        generation: GenStamp,
        /// Its length in bytes.
        length: u64,
        /// Whereto.
        targets: Vec<Node>,
        /// Its pace; 0: as fast as it goes.
        bytes_per_second: u64,
    },
    /// Delete these replicas.
    Delete {
        /// Chunk and version of each.
        replicas: Vec<(ChunkId, GenStamp)>,
    },
    /// Agree with the other holders on the chunk's length and finalize it under the new version.
    Recover {
        /// Which chunk.
        chunk: ChunkId,
        /// The new version.
        new_generation: GenStamp,
        /// Bytes that the chunk has at least.
        acknowledged: u64,
        /// All holders, the receiver among them.
        holders: Vec<Node>,
    },
}

/// A full report while its pages come in; holds one of the few places for that.
#[derive(Debug)]
pub struct FullReport<'a> {
    sender: Sender,
    fence: u64,
    replicas: Vec<ReplicaRecord>,
    _place: SemaphorePermit<'a>,
}

impl FullReport<'_> {
    /// Adds a page, whose replicas must follow the last page's in the order of their chunks.
    pub fn add(&mut self, sender: Sender, page: Vec<ReplicaRecord>) -> FsResult<()> {
        if sender != self.sender {
            return Err(FsError::invalid("the pages of a report name different nodes or processes"));
        }
        if page.len() > REPORT_PAGE {
            return Err(FsError::invalid(format!(
                "a page of the report has {} replicas: at most {REPORT_PAGE} are allowed",
                page.len()
            )));
        }
        if self.replicas.len() + page.len() > MAX_REPORT {
            return Err(FsError::invalid(format!("the report has more than {MAX_REPORT} replicas")));
        }
        let sorted = self.replicas.last().into_iter().chain(&page).is_sorted_by_key(|record| record.chunk);
        if !sorted {
            return Err(FsError::invalid("the report is not sorted by chunk"));
        }
        self.replicas.extend(page);
        Ok(())
    }
}

impl Namenode {
    /// Takes a DataNode process in, unless it belongs to another cluster.
    pub async fn register(&self, registration: Registration) -> FsResult<Registered> {
        let Registration { cluster, sender, version, stats } = registration;
        if let Some(theirs) = cluster
            && theirs != self.cluster
        {
            return Err(FsError::new(
                ErrorCode::WrongCluster,
                format!(
                    "DataNode {} has volumes of cluster {theirs}, but this is cluster {}: point it to its own \
                     NameNode, or give it empty volumes",
                    sender.node, self.cluster
                ),
            ));
        }
        check_text("version", &version)?;
        check_volumes(&stats.volumes)?;
        let Sender { node, incarnation } = sender;
        let (host, port) = (&stats.address.host, stats.address.data_port);
        info!(%node, host, port, version, "datanode registers");
        self.engine.tell(Event::Registered { node, incarnation, version, stats }).await?;
        Ok(Registered { cluster: self.cluster, heartbeat_interval: self.settings.heartbeat_interval })
    }

    /// A DataNode is alive, and obeys no leader of a term before `fence`; the answer carries its orders.
    pub async fn heartbeat(&self, sender: Sender, fence: u64, stats: NodeStats) -> FsResult<HeartbeatAnswer> {
        check_volumes(&stats.volumes)?;
        let Sender { node, incarnation } = sender;
        // After the heartbeat came: a new process of a DataNode knows of no later leader that could have deposed this one.
        let sure = self.store.group().surely_leads();
        self.engine
            .with(move |turn| {
                if !turn.cluster.is_current(node, incarnation) {
                    return HeartbeatAnswer { reception: UNKNOWN, ..HeartbeatAnswer::default() };
                }
                turn.apply(Event::HeartbeatSeen { node, fence, stats });
                let leads = turn.cluster.leads().filter(|term| sure == Some(*term));
                #[cfg(feature = "seeded-bug")]
                crate::seeded::before_commands(turn.cluster);
                let commands =
                    if leads.is_some() { turn.cluster.take_commands(node, turn.now) } else { Vec::new() };
                #[cfg(feature = "seeded-bug")]
                let commands = crate::seeded::commands(commands);
                let orders = commands.into_iter().map(|command| order(turn.cluster, command)).collect();
                HeartbeatAnswer { reception: reception(turn.cluster, node), orders, leads }
            })
            .await
    }

    /// Begins to take in a full report, before which the node had the `fence` of a heartbeat. Waits while too many
    /// others are under way.
    pub async fn begin_report(&self, sender: Sender, fence: u64) -> FsResult<FullReport<'_>> {
        let place = self.reports.acquire().await.map_err(|_| {
            FsError::new(ErrorCode::Unavailable, "the NameNode is stopping: try again shortly")
        })?;
        Ok(FullReport { sender, fence, replicas: Vec::new(), _place: place })
    }

    /// Takes in a complete report.
    pub async fn finish_report(&self, report: FullReport<'_>) -> FsResult<Reception> {
        let FullReport { sender, fence, replicas, _place: place } = report;
        let Sender { node, incarnation } = sender;
        let count = replicas.len();
        let taken = self.if_current(node, incarnation, Event::FullReport { node, fence, replicas }).await;
        drop(place);
        info!(%node, replicas = count, "full report");
        taken
    }

    /// Takes in what came, changed or (`true`) went, in order.
    pub async fn incremental_report(
        &self,
        sender: Sender,
        changes: Vec<(ReplicaRecord, bool)>,
    ) -> FsResult<Reception> {
        if changes.len() > REPORT_PAGE {
            return Err(FsError::invalid(format!(
                "the report has {} changes: at most {REPORT_PAGE} are allowed",
                changes.len()
            )));
        }
        let Sender { node, incarnation } = sender;
        self.if_current(node, incarnation, Event::ReplicasChanged { node, changes }).await
    }

    /// The recovery of a chunk is done: `holders` finalized it under the new generation with this length.
    /// Without holders no replica had a byte, and the chunk is dropped.
    pub async fn commit_recovery(
        &self,
        sender: Sender,
        chunk: ChunkId,
        generation: GenStamp,
        length: u64,
        holders: &[NodeId],
    ) -> FsResult<Reception> {
        let Sender { node, incarnation } = sender;
        let current = self.engine.with(move |turn| turn.cluster.is_current(node, incarnation)).await?;
        if !current {
            return Ok(UNKNOWN);
        }
        if holders.is_empty() != (length == 0) {
            return Err(FsError::invalid(format!(
                "recovery of chunk {chunk} with {} holders and length {length}: either both are zero or none",
                holders.len()
            )));
        }
        self.end_recovery(chunk, generation, length).await?;
        info!(%chunk, length, holders = holders.len(), "chunk recovered");
        self.engine.with(move |turn| reception(turn.cluster, node)).await
    }

    async fn if_current(&self, node: NodeId, incarnation: u128, event: Event) -> FsResult<Reception> {
        self.engine
            .with(move |turn| {
                if !turn.cluster.is_current(node, incarnation) {
                    return UNKNOWN;
                }
                turn.apply(event);
                reception(turn.cluster, node)
            })
            .await
    }
}

const UNKNOWN: Reception = Reception { register: true, report: false };

fn reception(cluster: &Cluster, node: NodeId) -> Reception {
    Reception { register: false, report: cluster.wants_report(node) }
}

fn order(cluster: &Cluster, command: Command) -> Order {
    match command {
        Command::Copy { chunk, generation, length, targets, bytes_per_second } => {
            let targets = resolve(cluster, targets);
            Order::Copy { chunk, generation, length, targets, bytes_per_second }
        }
        Command::Delete { replicas } => Order::Delete { replicas },
        Command::Recover { chunk, new_generation, acknowledged, holders } => {
            Order::Recover { chunk, new_generation, acknowledged, holders: resolve(cluster, holders) }
        }
    }
}

fn check_volumes(volumes: &[Volume]) -> FsResult<()> {
    if volumes.len() > MAX_VOLUMES {
        return Err(FsError::invalid(format!(
            "the node has {} volumes: at most {MAX_VOLUMES} are allowed",
            volumes.len()
        )));
    }
    volumes.iter().try_for_each(|volume| check_text("volume's path", &volume.path))
}

fn check_text(what: &str, text: &str) -> FsResult<()> {
    if text.len() > MAX_TEXT {
        return Err(FsError::invalid(format!("the {what} has {} bytes: at most {MAX_TEXT}", text.len())));
    }
    Ok(())
}
