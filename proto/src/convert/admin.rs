//! What administrators are told of the cluster and its DataNodes.

use std::time::Duration;

use dfs_types::{
    BalancerAction, BalancerStatus, Duty, DutyReport, DutyState, FsError, FsResult, Millis, NodeReport,
    SafeModeAction, SafeModeStatus,
};

use super::error::incomplete;
use super::values::{node_state, volume, wire_node_state, wire_volume};
use crate::v1;

impl From<v1::BalancerStatus> for BalancerStatus {
    fn from(status: v1::BalancerStatus) -> Self {
        let v1::BalancerStatus { running, threshold_permille, bytes_per_second, .. } = status;
        let v1::BalancerStatus { moved_chunks, moved_bytes, pending_moves, bytes_to_move, .. } = status;
        let v1::BalancerStatus { mean_permille, lowest_permille, highest_permille, balanced, .. } = status;
        Self {
            running,
            threshold_permille,
            bytes_per_second,
            moved_chunks,
            moved_bytes,
            pending_moves,
            bytes_to_move,
            mean_permille,
            lowest_permille,
            highest_permille,
            balanced,
        }
    }
}

impl From<BalancerStatus> for v1::BalancerStatus {
    fn from(status: BalancerStatus) -> Self {
        let BalancerStatus { running, threshold_permille, bytes_per_second, .. } = status;
        let BalancerStatus { moved_chunks, moved_bytes, pending_moves, bytes_to_move, .. } = status;
        let BalancerStatus { mean_permille, lowest_permille, highest_permille, balanced, .. } = status;
        Self {
            running,
            threshold_permille,
            bytes_per_second,
            moved_chunks,
            moved_bytes,
            pending_moves,
            bytes_to_move,
            mean_permille,
            lowest_permille,
            highest_permille,
            balanced,
        }
    }
}

impl From<v1::SafeModeStatus> for SafeModeStatus {
    fn from(status: v1::SafeModeStatus) -> Self {
        let v1::SafeModeStatus { on, manual, reported, needed } = status;
        Self { on, manual, reported, needed }
    }
}

impl From<SafeModeStatus> for v1::SafeModeStatus {
    fn from(status: SafeModeStatus) -> Self {
        let SafeModeStatus { on, manual, reported, needed } = status;
        Self { on, manual, reported, needed }
    }
}

fn lacks(field: &str) -> FsError {
    FsError::invalid(format!("the request lacks '{field}'"))
}

/// Without who asks.
impl From<BalancerAction> for v1::BalancerRequest {
    fn from(action: BalancerAction) -> Self {
        let (action, threshold, rate) = match action {
            BalancerAction::Status => (v1::BalancerAction::Status, None, None),
            BalancerAction::Start { threshold_permille, bytes_per_second } => {
                (v1::BalancerAction::Start, threshold_permille, bytes_per_second)
            }
            BalancerAction::Stop => (v1::BalancerAction::Stop, None, None),
        };
        Self {
            context: None,
            action: action.into(),
            threshold_permille: threshold.unwrap_or_default(),
            bytes_per_second: rate.unwrap_or_default(),
        }
    }
}

impl TryFrom<&v1::BalancerRequest> for BalancerAction {
    type Error = FsError;

    fn try_from(request: &v1::BalancerRequest) -> FsResult<Self> {
        match request.action() {
            v1::BalancerAction::Status => Ok(Self::Status),
            v1::BalancerAction::Stop => Ok(Self::Stop),
            v1::BalancerAction::Start => Ok(Self::Start {
                threshold_permille: (request.threshold_permille != 0).then_some(request.threshold_permille),
                bytes_per_second: (request.bytes_per_second != 0).then_some(request.bytes_per_second),
            }),
            v1::BalancerAction::Unspecified => Err(lacks("action")),
        }
    }
}

impl From<SafeModeAction> for v1::SafeModeAction {
    fn from(action: SafeModeAction) -> Self {
        match action {
            SafeModeAction::Get => Self::Get,
            SafeModeAction::Enter => Self::Enter,
            SafeModeAction::Leave => Self::Leave,
        }
    }
}

impl TryFrom<v1::SafeModeAction> for SafeModeAction {
    type Error = FsError;

    fn try_from(action: v1::SafeModeAction) -> FsResult<Self> {
        match action {
            v1::SafeModeAction::Get => Ok(Self::Get),
            v1::SafeModeAction::Enter => Ok(Self::Enter),
            v1::SafeModeAction::Leave => Ok(Self::Leave),
            v1::SafeModeAction::Unspecified => Err(lacks("action")),
        }
    }
}

/// Without who asks, and for which nodes.
impl From<Duty> for v1::SetNodeDutyRequest {
    fn from(duty: Duty) -> Self {
        let (duty, lasts) = match duty {
            Duty::InService => (v1::NodeDuty::InService, Duration::ZERO),
            Duty::Decommission => (v1::NodeDuty::Decommission, Duration::ZERO),
            Duty::Maintenance { lasts } => (v1::NodeDuty::Maintenance, lasts),
        };
        let maintenance_ms = u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX);
        Self { context: None, nodes: Vec::new(), duty: duty.into(), maintenance_ms }
    }
}

impl TryFrom<&v1::SetNodeDutyRequest> for Duty {
    type Error = FsError;

    fn try_from(request: &v1::SetNodeDutyRequest) -> FsResult<Self> {
        match request.duty() {
            v1::NodeDuty::InService => Ok(Self::InService),
            v1::NodeDuty::Decommission => Ok(Self::Decommission),
            v1::NodeDuty::Maintenance => {
                Ok(Self::Maintenance { lasts: Duration::from_millis(request.maintenance_ms) })
            }
            v1::NodeDuty::Unspecified => Err(lacks("duty")),
        }
    }
}

impl TryFrom<v1::NodeDutyState> for DutyState {
    type Error = FsError;

    fn try_from(state: v1::NodeDutyState) -> FsResult<Self> {
        match state {
            v1::NodeDutyState::InService => Ok(Self::InService),
            v1::NodeDutyState::Decommissioning => Ok(Self::Decommissioning),
            v1::NodeDutyState::Decommissioned => Ok(Self::Decommissioned),
            v1::NodeDutyState::EnteringMaintenance => Ok(Self::EnteringMaintenance),
            v1::NodeDutyState::InMaintenance => Ok(Self::InMaintenance),
            v1::NodeDutyState::Unspecified => Err(incomplete("node.duty")),
        }
    }
}

impl From<DutyState> for v1::NodeDutyState {
    fn from(state: DutyState) -> Self {
        match state {
            DutyState::InService => Self::InService,
            DutyState::Decommissioning => Self::Decommissioning,
            DutyState::Decommissioned => Self::Decommissioned,
            DutyState::EnteringMaintenance => Self::EnteringMaintenance,
            DutyState::InMaintenance => Self::InMaintenance,
        }
    }
}

impl TryFrom<v1::NodeReport> for NodeReport {
    type Error = FsError;

    fn try_from(report: v1::NodeReport) -> FsResult<Self> {
        let (duty, state) = (report.duty().try_into()?, node_state(report.state())?);
        let v1::NodeReport { node, silent_ms, volumes, replicas, version, reported, .. } = report;
        let v1::NodeReport { active_writes, active_reads, active_copies, .. } = report;
        let v1::NodeReport { depending_chunks, maintenance_until_ms, .. } = report;
        Ok(Self {
            node: node.ok_or_else(|| incomplete("node.node"))?.try_into()?,
            state,
            silent: Duration::from_millis(silent_ms),
            volumes: volumes.into_iter().map(volume).collect::<FsResult<_>>()?,
            replicas,
            active_writes,
            active_reads,
            active_copies,
            version,
            reported,
            duty,
            depending_chunks,
            maintenance_until: (maintenance_until_ms != 0).then_some(Millis(maintenance_until_ms)),
        })
    }
}

impl From<NodeReport> for v1::NodeReport {
    fn from(report: NodeReport) -> Self {
        let NodeReport { node, state, silent, volumes, replicas, version, reported, .. } = report;
        let NodeReport { active_writes, active_reads, active_copies, .. } = report;
        let NodeReport { duty, depending_chunks, maintenance_until, .. } = report;
        Self {
            node: Some(node.into()),
            state: wire_node_state(state).into(),
            silent_ms: silent.as_millis() as u64,
            volumes: volumes.into_iter().map(wire_volume).collect(),
            replicas,
            active_writes,
            active_reads,
            active_copies,
            version,
            reported,
            duty: v1::NodeDutyState::from(duty).into(),
            depending_chunks,
            maintenance_until_ms: maintenance_until.map_or(0, |until| until.0),
        }
    }
}

impl TryFrom<v1::SetNodeDutyReply> for DutyReport {
    type Error = FsError;

    fn try_from(reply: v1::SetNodeDutyReply) -> FsResult<Self> {
        let v1::SetNodeDutyReply { nodes, warnings } = reply;
        Ok(Self { nodes: nodes.into_iter().map(NodeReport::try_from).collect::<FsResult<_>>()?, warnings })
    }
}

impl From<DutyReport> for v1::SetNodeDutyReply {
    fn from(report: DutyReport) -> Self {
        let DutyReport { nodes, warnings } = report;
        Self { nodes: nodes.into_iter().map(v1::NodeReport::from).collect(), warnings }
    }
}

#[cfg(test)]
mod tests {
    use dfs_types::{
        Address, Endpoint, FileSystemId, NodeId, NodeState, StorageType, Volume, VolumeHealth, VolumeId,
    };

    use super::*;

    #[test]
    fn the_balancer_comes_as_it_was_sent() {
        let status = BalancerStatus {
            running: true,
            threshold_permille: 1,
            bytes_per_second: 2,
            moved_chunks: 3,
            moved_bytes: 4,
            pending_moves: 5,
            bytes_to_move: 6,
            mean_permille: 7,
            lowest_permille: 8,
            highest_permille: 9,
            balanced: true,
        };
        assert_eq!(BalancerStatus::from(v1::BalancerStatus::from(status)), status);
    }

    #[test]
    fn safe_mode_comes_as_it_was_sent() {
        for (on, manual) in [(true, false), (false, true)] {
            let status = SafeModeStatus { on, manual, reported: 3, needed: 4 };
            assert_eq!(SafeModeStatus::from(v1::SafeModeStatus::from(status)), status);
        }
    }

    #[test]
    fn what_is_asked_for_comes_as_it_was_sent() {
        let start = |threshold_permille, bytes_per_second| BalancerAction::Start {
            threshold_permille,
            bytes_per_second,
        };
        for action in
            [BalancerAction::Status, BalancerAction::Stop, start(None, None), start(Some(1), Some(2))]
        {
            assert_eq!(BalancerAction::try_from(&v1::BalancerRequest::from(action)), Ok(action));
        }
        assert!(BalancerAction::try_from(&v1::BalancerRequest::default()).is_err());
        for action in [SafeModeAction::Get, SafeModeAction::Enter, SafeModeAction::Leave] {
            assert_eq!(SafeModeAction::try_from(v1::SafeModeAction::from(action)), Ok(action));
        }
        assert!(SafeModeAction::try_from(v1::SafeModeAction::Unspecified).is_err());
        for duty in
            [Duty::InService, Duty::Decommission, Duty::Maintenance { lasts: Duration::from_millis(1) }]
        {
            assert_eq!(Duty::try_from(&v1::SetNodeDutyRequest::from(duty)), Ok(duty));
        }
        assert!(Duty::try_from(&v1::SetNodeDutyRequest::default()).is_err());
    }

    #[test]
    fn duties_come_as_they_were_sent() {
        for state in [
            DutyState::InService,
            DutyState::Decommissioning,
            DutyState::Decommissioned,
            DutyState::EnteringMaintenance,
            DutyState::InMaintenance,
        ] {
            assert_eq!(DutyState::try_from(v1::NodeDutyState::from(state)), Ok(state));
        }
        assert!(DutyState::try_from(v1::NodeDutyState::Unspecified).is_err());
    }

    #[test]
    fn nodes_come_as_they_were_sent() {
        let at = Address { host: "h".into(), data_port: 1, http_port: 2, location: "/z/r".into() };
        let volume = Volume {
            id: VolumeId::from_bytes(&[7; 16]).unwrap(),
            path: "/data".into(),
            file_system: FileSystemId::from_bytes(&[8; 16]),
            storage: StorageType::Ssd,
            health: VolumeHealth::Suspect,
            capacity: 9,
            used: 10,
            available: 11,
            replicas: 12,
        };
        let report = NodeReport {
            node: Endpoint { id: NodeId::random(), at, storage: None },
            state: NodeState::Stale,
            silent: Duration::from_millis(1),
            volumes: vec![volume],
            replicas: 2,
            active_writes: 3,
            active_reads: 4,
            active_copies: 5,
            version: "6".into(),
            reported: true,
            duty: DutyState::EnteringMaintenance,
            depending_chunks: 7,
            maintenance_until: Some(Millis(8)),
        };
        for report in [report.clone(), NodeReport { maintenance_until: None, ..report.clone() }] {
            assert_eq!(NodeReport::try_from(v1::NodeReport::from(report.clone())), Ok(report));
        }
        let wire = || v1::NodeReport::from(report.clone());
        for bad in [
            v1::NodeReport { node: None, ..wire() },
            v1::NodeReport { state: 0, ..wire() },
            v1::NodeReport { duty: 0, ..wire() },
            v1::NodeReport { duty: 99, ..wire() },
            v1::NodeReport { volumes: vec![v1::VolumeStatus::default()], ..wire() },
        ] {
            assert!(NodeReport::try_from(bad).is_err());
        }
        let of_duty = DutyReport { nodes: vec![report], warnings: vec!["slow".into()] };
        assert_eq!(DutyReport::try_from(v1::SetNodeDutyReply::from(of_duty.clone())), Ok(of_duty));
    }
}
