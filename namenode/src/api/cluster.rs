//! What DataNodes say.

use dfs_namenode_core::{Command, Event, NodeStats, Report, Slice, Volume};
use dfs_types::limits::{DESCRIBED_CHUNKS, REPORT_PAGE};
use dfs_types::{
    ChunkId, ChunkOrigin, ClusterId, Endpoint, ErrorCode, FsError, FsResult, GenStamp, Millis, NodeId,
};
use std::time::Duration;
use tracing::info;

use super::{Namenode, resolve};
use crate::engine::{Turn, unix_now};

/// Most volumes of one DataNode.
const MAX_VOLUMES: usize = 1_024;
/// Most bytes of the paths of one DataNode's volumes together: what is remembered of it is one entry of the log.
const MAX_PATHS: usize = 1 << 20;
/// Longest path of a volume and longest version text, in bytes.
const MAX_TEXT: usize = 4_096;

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
    /// As in a [`Reception`].
    pub report_from: Option<ChunkId>,
}

/// The answer to a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reception {
    /// The process is not known: it must register again. Nothing of the message was taken in.
    pub register: bool,
    /// A full report is wanted, and it is this node's turn: its next slice begins with this chunk.
    pub report_from: Option<ChunkId>,
}

/// The answer to a heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HeartbeatAnswer {
    /// As for a report.
    pub reception: Reception,
    /// What the node shall do.
    pub commands: Vec<Command<Endpoint>>,
    /// The term in which this NameNode leads; `None` while it follows.
    pub leads: Option<u64>,
}

/// The answer to the question which files chunks are of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Description {
    /// The process is not known: it must register again.
    pub register: bool,
    /// All of it was so at this Unix time, or a moment later.
    pub told: Millis,
    /// The chunks of closed files.
    pub origins: Vec<ChunkOrigin>,
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
        let report_from = self
            .engine
            .with(move |turn| {
                if turn.core.is_forgotten(node) {
                    return Err(forgotten(node));
                }
                turn.apply(Event::Registered { node, incarnation, version, stats });
                Ok(turn.core.wants_report(node, turn.now))
            })
            .await??;
        self.registered.notify_one();
        let heartbeat_interval = self.settings.heartbeat_interval;
        Ok(Registered { cluster: self.cluster, heartbeat_interval, report_from })
    }

    /// A DataNode is alive, and obeys no leader of a term before `fence`; the answer carries its orders.
    pub async fn heartbeat(&self, sender: Sender, fence: u64, stats: NodeStats) -> FsResult<HeartbeatAnswer> {
        check_volumes(&stats.volumes)?;
        let Sender { node, incarnation } = sender;
        // After the heartbeat came: a new process of a DataNode knows of no later leader that could have deposed this one.
        let sure = self.store.group().term_led().await;
        self.engine
            .with(move |turn| {
                if !turn.core.is_current(node, incarnation) {
                    return HeartbeatAnswer { reception: UNKNOWN, ..HeartbeatAnswer::default() };
                }
                turn.apply(Event::HeartbeatSeen { node, fence, stats });
                let leads = turn.core.leads().filter(|term| sure == Some(*term));
                #[cfg(feature = "seeded-bug")]
                crate::seeded::before_commands(turn.core);
                let commands =
                    if leads.is_some() { turn.core.take_commands(node, turn.now) } else { Vec::new() };
                #[cfg(feature = "seeded-bug")]
                let commands = crate::seeded::commands(commands);
                let resolved = |nodes: Vec<NodeId>| resolve(turn.core, nodes);
                let commands = commands.into_iter().map(|command| command.map_nodes(resolved)).collect();
                HeartbeatAnswer { reception: reception(turn, node), commands, leads }
            })
            .await
    }

    /// Takes in what became of a node's replicas, and a slice of its full report.
    pub async fn take_report(&self, sender: Sender, report: Report) -> FsResult<Reception> {
        let Report { changes, slice, .. } = &report;
        slice.as_ref().map_or(Ok(()), check_slice)?;
        let replicas = slice.as_ref().map_or(0, |slice| slice.replicas.len());
        if changes.len().max(replicas) > REPORT_PAGE {
            return Err(FsError::invalid(format!(
                "the report has {} changes and a slice of {replicas} replicas: at most {REPORT_PAGE} of each are \
                 allowed",
                changes.len()
            )));
        }
        let ends = slice.as_ref().is_some_and(|slice| slice.last == ChunkId(u64::MAX));
        let Sender { node, incarnation } = sender;
        let reception = self
            .engine
            .with(move |turn| {
                if !turn.core.is_current(node, incarnation) {
                    return UNKNOWN;
                }
                turn.apply(Event::Reported { node, report });
                reception(turn, node)
            })
            .await?;
        if ends && reception == Reception::default() {
            info!(%node, "full report is in");
        }
        Ok(reception)
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
        let current = self.engine.with(move |turn| turn.core.is_current(node, incarnation)).await?;
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
        self.engine.with(move |turn| reception(turn, node)).await
    }

    /// Which closed files these chunks are of. Fails with `Busy` while another node asks, and with `NotLeader` if this NameNode
    /// may not know the latest.
    pub async fn describe_chunks(&self, sender: Sender, chunks: Vec<ChunkId>) -> FsResult<Description> {
        if chunks.len() > DESCRIBED_CHUNKS {
            return Err(FsError::invalid(format!(
                "{} chunks are asked for: at most {DESCRIBED_CHUNKS} are allowed",
                chunks.len()
            )));
        }
        let Sender { node, incarnation } = sender;
        if !self.engine.with(move |turn| turn.core.is_current(node, incarnation)).await? {
            return Ok(Description { register: true, ..Description::default() });
        }
        self.admit(None).await?;
        let _one_at_a_time = self.descriptions.try_acquire().map_err(|_| {
            FsError::new(ErrorCode::Busy, "another node is just being told of its chunks: ask again shortly")
        })?;
        let told = unix_now();
        let origins = self.store.origins(chunks).await?;
        Ok(Description { register: false, told, origins })
    }

    /// The cluster's feature level, as far as this NameNode has applied the log.
    pub fn level(&self) -> u16 {
        self.store.level()
    }
}

fn forgotten(node: NodeId) -> FsError {
    FsError::invalid(format!(
        "DataNode {node} was forgotten for good with `dfs admin node forget`: give it empty volumes, and it joins as a new one"
    ))
}

const UNKNOWN: Reception = Reception { register: true, report_from: None };

fn reception(turn: &mut Turn<'_>, node: NodeId) -> Reception {
    Reception { register: false, report_from: turn.core.wants_report(node, turn.now) }
}

fn check_slice(slice: &Slice) -> FsResult<()> {
    let Slice { first, last, fence: _, replicas } = slice;
    let within = replicas.iter().all(|record| (*first..=*last).contains(&record.chunk));
    if first > last || !within || !replicas.is_sorted_by_key(|record| record.chunk) {
        return Err(FsError::invalid(format!(
            "the report's slice must have replicas of the chunks {first} to {last} only, sorted by chunk"
        )));
    }
    Ok(())
}

fn check_volumes(volumes: &[Volume]) -> FsResult<()> {
    if volumes.len() > MAX_VOLUMES {
        return Err(FsError::invalid(format!(
            "the node has {} volumes: at most {MAX_VOLUMES} are allowed",
            volumes.len()
        )));
    }
    volumes.iter().try_for_each(|volume| check_text("volume's path", &volume.path))?;
    let bytes: usize = volumes.iter().map(|volume| volume.path.len()).sum();
    if bytes > MAX_PATHS {
        return Err(FsError::invalid(format!(
            "the paths of the node's volumes have {bytes} bytes together: at most {MAX_PATHS} are allowed"
        )));
    }
    Ok(())
}

fn check_text(what: &str, text: &str) -> FsResult<()> {
    if text.len() > MAX_TEXT {
        return Err(FsError::invalid(format!("the {what} has {} bytes: at most {MAX_TEXT}", text.len())));
    }
    Ok(())
}
