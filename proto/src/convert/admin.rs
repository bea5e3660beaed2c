//! What administrators are told of the cluster and its DataNodes.

use dfs_types::{BalancerStatus, DutyState, FsError, FsResult, SafeModeStatus};

use super::error::incomplete;
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

#[cfg(test)]
mod tests {
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
}
