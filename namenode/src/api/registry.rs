//! DataNodes that are remembered until an administrator forgets them.

use std::time::Duration;

use dfs_namenode_core::{NodeState, NodeView};
use dfs_types::{ErrorCode, FsError, FsResult, Millis, NodeId};
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
const BATCH: usize = 64;

impl Namenode {
    /// Forgets stopped DataNodes for good, all that are named or none. For superusers.
    pub async fn forget_nodes(&self, origin: Origin, nodes: Vec<NodeId>) -> FsResult<()> {
        self.check_superuser(&origin.caller)?;
        if self.store.level() < REGISTRY {
            let text = "DataNodes can be forgotten when the upgrade of the cluster is finalized: see `dfs admin upgrade status`";
            return Err(FsError::new(ErrorCode::Unsupported, text));
        }
        let nodes = distinct(nodes)?;
        self.check_known(&nodes).await?;
        let asked = nodes.clone();
        self.engine
            .with(move |turn| {
                let all = turn.cluster.nodes(turn.now);
                let there = |view: &&NodeView| view.state != NodeState::Dead && asked.contains(&view.id);
                all.iter().find(there).map_or(Ok(()), |view| Err(not_dead(view)))
            })
            .await??;
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

    async fn record_nodes(&self) -> FsResult<()> {
        while self.store.level() >= REGISTRY && !self.store.group().is_out_of_room() {
            let news = self.engine.with(|turn| turn.cluster.to_record(BATCH, turn.now)).await?;
            if news.is_empty() {
                break;
            }
            let now = unix_now();
            let nodes = news.into_iter().map(|(id, record, silence)| {
                let seen = Millis(now.0.saturating_sub(silence.as_millis() as u64));
                NodeSeen { id, record, seen }
            });
            self.propose_own(Edit::RecordNodes { nodes: nodes.collect() }).await?;
        }
        Ok(())
    }
}

fn not_dead(view: &NodeView) -> FsError {
    let (host, port, silence) = (&view.address.host, view.address.data_port, view.silence.as_secs_f64());
    FsError::new(
        ErrorCode::Busy,
        format!(
            "DataNode {} at {host}:{port} was heard of {silence:.1} s ago, nothing was changed: stop it and wait until it is \
             dead; to take a running one out use `dfs admin node decommission` first",
            view.id
        ),
    )
}
