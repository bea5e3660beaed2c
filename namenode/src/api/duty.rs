//! What DataNodes are used for, and how evenly they are filled.

use std::collections::HashSet;
use std::time::Duration;

use dfs_namenode_core::{Balancing, Core, Event, NodeState, Volume};
use dfs_types::{
    BalancerAction, BalancerStatus, Caller, Duty, DutyReport, DutyState, ErrorCode, FsError, FsResult,
    NodeDuty, NodeId, NodeReport, Space,
};
use tracing::info;

use super::{Namenode, Origin, in_unix_time};
use crate::engine::unix_now;
use crate::store::edit::Edit;

/// Most nodes named in one request.
const MAX_NODES: usize = 4_096;
/// Longest maintenance: beyond it a typing error is likelier than a wish.
const MAX_MAINTENANCE: Duration = Duration::from_hours(90 * 24);
/// Widest threshold of the balancer, in thousandths.
const MAX_THRESHOLD: u32 = 1_000;
/// Slowest pace of the balancer, in bytes a second: below it a chunk takes hours.
const MIN_BALANCING: u64 = 64 << 10;

impl Namenode {
    /// Sets what DataNodes are used for, of all that are named or of none. For superusers.
    pub async fn set_node_duty(
        &self,
        origin: Origin,
        nodes: Vec<NodeId>,
        duty: Duty,
    ) -> FsResult<DutyReport> {
        self.check_superuser(&origin.caller)?;
        let nodes = distinct(nodes)?;
        self.check_known(&nodes).await?;
        let stored = stored(duty)?;
        info!(?nodes, ?duty, user = origin.caller.user, "duty of datanodes set");
        let edit = Edit::SetNodeDuty { nodes: nodes.clone(), duty: stored };
        self.administer(origin, edit).await?;
        let (wanted, clock) = (self.settings.default_replication, self.clock());
        self.engine
            .with(move |turn| {
                let all = turn.core.nodes(turn.now);
                let warnings = warnings(&all, &nodes, duty, wanted);
                let named = |id: &NodeId| all.iter().find(|view| view.node.id == *id).cloned();
                let nodes = nodes.iter().filter_map(named).collect();
                DutyReport { nodes: in_unix_time(clock, nodes), warnings }
            })
            .await
    }

    /// Takes DataNodes' disks for gone: what they held is copied at once. For superusers; refused for a node that is
    /// alive. A new leader does not know of it and waits until the node is dead.
    pub async fn announce_loss(&self, caller: &Caller, nodes: Vec<NodeId>) -> FsResult<()> {
        self.check_superuser(caller)?;
        let nodes = distinct(nodes)?;
        self.check_known(&nodes).await?;
        info!(?nodes, user = caller.user, "loss of datanodes announced");
        self.engine
            .with(move |turn| {
                let all = turn.core.nodes(turn.now);
                let lives =
                    |view: &&NodeReport| view.state == NodeState::Live && nodes.contains(&view.node.id);
                if let Some(view) = all.iter().find(lives) {
                    return Err(alive(view));
                }
                for node in nodes {
                    turn.apply(Event::LossAnnounced { node });
                }
                Ok(())
            })
            .await?
    }

    /// Tells how the balancer gets on after doing something about it; that is for superusers.
    pub async fn balancer(&self, origin: Origin, action: BalancerAction) -> FsResult<BalancerStatus> {
        let settings = match action {
            BalancerAction::Status => None,
            BalancerAction::Start { threshold_permille, bytes_per_second } => {
                let usual = Balancing::default();
                let wished = Balancing {
                    threshold_permille: threshold_permille.unwrap_or(usual.threshold_permille),
                    bytes_per_second: bytes_per_second.unwrap_or(usual.bytes_per_second),
                };
                Some(Some(checked(wished)?))
            }
            BalancerAction::Stop => Some(None),
        };
        if let Some(settings) = settings {
            self.check_superuser(&origin.caller)?;
            info!(?settings, user = origin.caller.user, "balancer switched");
            self.administer(origin, Edit::SetBalancer { settings }).await?;
        }
        self.engine.with(|turn| turn.core.balancer()).await
    }

    /// Whether each of these DataNodes is known, be it from its duty.
    pub(super) async fn check_known(&self, nodes: &[NodeId]) -> FsResult<()> {
        let asked = nodes.to_vec();
        let is_unknown = |core: &Core, id: &NodeId| !core.is_known(*id);
        let strange: Vec<NodeId> = self
            .engine
            .with(move |turn| asked.into_iter().filter(|id| is_unknown(turn.core, id)).collect())
            .await?;
        if strange.is_empty() {
            return Ok(());
        }
        let duties = self.store.duties().await?;
        let unknown = strange.into_iter().find(|id| duties.iter().all(|(node, _)| node != id));
        unknown.map_or(Ok(()), |id| {
            Err(FsError::new(
                ErrorCode::NotFound,
                format!("no DataNode {id} is known, nothing was changed: see `dfs admin node list`"),
            ))
        })
    }
}

pub(super) fn distinct(mut nodes: Vec<NodeId>) -> FsResult<Vec<NodeId>> {
    if nodes.is_empty() {
        return Err(FsError::invalid("the request names no DataNode"));
    }
    if nodes.len() > MAX_NODES {
        return Err(FsError::invalid(format!(
            "the request names {} DataNodes: at most {MAX_NODES} at a time",
            nodes.len()
        )));
    }
    let mut seen = HashSet::new();
    nodes.retain(|node| seen.insert(*node));
    Ok(nodes)
}

fn stored(duty: Duty) -> FsResult<NodeDuty> {
    match duty {
        Duty::InService => Ok(NodeDuty::InService),
        Duty::Decommission => Ok(NodeDuty::Decommission),
        Duty::Maintenance { lasts } if lasts.is_zero() || lasts > MAX_MAINTENANCE => {
            Err(FsError::invalid(format!(
                "maintenance of {} s is not possible: at least a millisecond and at most {} days",
                lasts.as_secs(),
                MAX_MAINTENANCE.as_secs() / (24 * 60 * 60)
            )))
        }
        Duty::Maintenance { lasts } => Ok(NodeDuty::Maintenance { until: unix_now().plus(lasts) }),
    }
}

fn checked(balancing: Balancing) -> FsResult<Balancing> {
    let Balancing { threshold_permille, bytes_per_second } = balancing;
    if !(1..=MAX_THRESHOLD).contains(&threshold_permille) {
        return Err(FsError::invalid(format!(
            "a threshold of {threshold_permille} thousandths is not possible: use 1 to {MAX_THRESHOLD}"
        )));
    }
    if bytes_per_second < MIN_BALANCING {
        return Err(FsError::invalid(format!(
            "{bytes_per_second} bytes a second are too few to balance with: use at least {MIN_BALANCING}"
        )));
    }
    Ok(balancing)
}

fn alive(view: &NodeReport) -> FsError {
    let (host, port, silence) = (&view.node.at.host, view.node.at.data_port, view.silent.as_secs_f64());
    FsError::new(
        ErrorCode::Busy,
        format!(
            "DataNode {} at {host}:{port} was heard of {silence:.1} s ago, nothing was changed: only the loss of one that is \
             stopped can be announced; to take a running one out use `dfs admin node decommission`",
            view.node.id
        ),
    )
}

/// Why the nodes named may not get as far as they shall.
fn warnings(all: &[NodeReport], named: &[NodeId], duty: Duty, wanted: u32) -> Vec<String> {
    let in_service = || all.iter().filter(|view| view.duty == DutyState::InService && is_there(view));
    let (staying, mut warnings) = (in_service().count(), Vec::new());
    if duty == Duty::InService {
        return warnings;
    }
    if staying < wanted as usize {
        warnings.push(format!(
            "only {staying} DataNodes stay in service: files with more than {staying} replicas can't be kept up, and new \
             ones have fewer, until others are added"
        ));
    }
    let leaving =
        |view: &&NodeReport| named.contains(&view.node.id) && view.duty == DutyState::Decommissioning;
    let space = |views: &mut dyn Iterator<Item = &NodeReport>| {
        Space::sum(views.flat_map(|view| &view.volumes).map(Volume::space))
    };
    let moving = space(&mut all.iter().filter(leaving)).used;
    let room = space(&mut in_service()).available;
    if moving > room {
        warnings.push(format!(
            "the DataNodes that leave hold {moving} bytes and those that stay have room for {room}: decommissioning may not \
             end until others are added"
        ));
    }
    warnings
}

fn is_there(view: &NodeReport) -> bool {
    view.state != NodeState::Dead
}
