//! DataNodes that are remembered until an administrator forgets them.

use std::time::Duration;

use dfs_namenode_core::{NodeRecord, NodeState};
use dfs_types::{ErrorCode, FsError, FsResult, Millis, NodeId, NodeReport};
use tokio::time::sleep;
use tracing::{info, warn};

use super::duty::distinct;
use super::{Namenode, Origin};
use crate::engine::unix_now;
use crate::store::edit::{Edit, NodeSeen, REGISTRY};

/// How often what DataNodes say is compared with what is remembered of them.
const LOOK: Duration = Duration::from_secs(1);
/// Longest pause after a failure.
const MAX_PAUSE: Duration = Duration::from_mins(1);
/// Most nodes of one edit.
const BATCH: usize = 1_024;
/// Most bytes of one edit, unless one node takes more; entries of the log may have four times as many.
const BATCH_BYTES: usize = 1 << 20;
/// Bytes of a volume's record without its path, at most.
const VOLUME_BYTES: usize = 64;

impl Namenode {
    /// Forgets stopped DataNodes for good, all that are named or none. For superusers. Without `accept_loss` not those
    /// that open files were written to: they may have what nobody else has.
    pub async fn forget_nodes(&self, origin: Origin, nodes: Vec<NodeId>, accept_loss: bool) -> FsResult<()> {
        self.check_superuser(&origin.caller)?;
        if self.store.level() < REGISTRY {
            let text = "DataNodes can be forgotten when the upgrade of the cluster is finalized: see `dfs admin upgrade status`";
            return Err(FsError::new(ErrorCode::Unsupported, text));
        }
        let asked = distinct(nodes)?;
        let nodes = self
            .engine
            .with(move |turn| {
                let all = turn.core.nodes(turn.now);
                // Those that were forgotten are: it is the same request again.
                let left: Vec<NodeId> =
                    asked.into_iter().filter(|node| !turn.core.is_forgotten(*node)).collect();
                let there =
                    |view: &&NodeReport| view.state != NodeState::Dead && left.contains(&view.node.id);
                all.iter().find(there).map_or(Ok(left.clone()), |view| Err(not_dead(view)))
            })
            .await??;
        self.check_known(&nodes).await?;
        if nodes.is_empty() {
            return Ok(());
        }
        if !accept_loss && let Some(path) = self.store.open_on(nodes.clone()).await? {
            let text = format!(
                "{path} is open and was written to such a DataNode, nothing was changed: close it, or see `dfs admin \
                 recover-lease`"
            );
            return Err(FsError::new(ErrorCode::Busy, text));
        }
        info!(?nodes, user = origin.caller.user, "datanodes forgotten");
        self.administer(origin, Edit::ForgetNodes { nodes }).await
    }

    /// Has the namespace remember what DataNodes are, whenever that changes. Never ends.
    pub(super) async fn keep_registry(&self) {
        let mut pause = LOOK;
        loop {
            tokio::select! {
                () = sleep(pause) => {}
                () = self.registered.notified(), if pause == LOOK => {}
            }
            pause = match self.record_nodes().await {
                Ok(()) => LOOK,
                Err(error) => {
                    warn!(%error, "what DataNodes are could not be recorded, it is tried again");
                    pause.saturating_mul(2).min(MAX_PAUSE)
                }
            };
        }
    }

    /// Proposes one edit at most: what does not fit, or would never be seen as recorded, is for the next look.
    async fn record_nodes(&self) -> FsResult<()> {
        if self.store.level() < REGISTRY || self.store.group().is_out_of_room() {
            return Ok(());
        }
        let news = self.engine.with(|turn| turn.core.to_record(BATCH, turn.now)).await?;
        let (now, mut bytes) = (unix_now(), 0);
        // The first in any case, and of the others what fits into an entry of the log.
        let news = news.into_iter().take_while(|(_, record, _)| {
            let is_first = bytes == 0;
            bytes += size(record);
            is_first || bytes <= BATCH_BYTES
        });
        let nodes: Vec<NodeSeen> = news
            .map(|(id, record, silence)| {
                let seen = Millis(now.0.saturating_sub(silence.as_millis() as u64));
                NodeSeen { id, record, seen }
            })
            .collect();
        if nodes.is_empty() {
            return Ok(());
        }
        self.propose_own(Edit::RecordNodes { nodes }).await.map(drop)
    }
}

/// About how many bytes a record takes.
fn size(record: &NodeRecord) -> usize {
    let volumes = record.volumes.iter().map(|volume| volume.path.len() + VOLUME_BYTES);
    record.address.host.len() + record.machine.len() + record.release.len() + volumes.sum::<usize>()
}

fn not_dead(view: &NodeReport) -> FsError {
    let (host, port, silence) = (&view.node.at.host, view.node.at.data_port, view.silent.as_secs_f64());
    FsError::new(
        ErrorCode::Busy,
        format!(
            "DataNode {} at {host}:{port} was heard of {silence:.1} s ago, nothing was changed: stop it and wait until it is \
             dead; to take a running one out use `dfs admin node decommission` first",
            view.node.id
        ),
    )
}
