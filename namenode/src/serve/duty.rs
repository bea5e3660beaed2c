//! Duties and the balancer: wire → API.

use std::time::Duration;

use dfs_namenode_core::Balancing;
use dfs_proto::v1;
use dfs_types::{FsError, FsResult};

use crate::api::duty::{BalancerAction, Duty};

/// Reads a duty.
pub(super) fn duty(request: &v1::SetNodeDutyRequest) -> FsResult<Duty> {
    match request.duty() {
        v1::NodeDuty::InService => Ok(Duty::InService),
        v1::NodeDuty::Decommission => Ok(Duty::Decommission),
        v1::NodeDuty::Maintenance => {
            Ok(Duty::Maintenance { lasts: Duration::from_millis(request.maintenance_ms) })
        }
        v1::NodeDuty::Unspecified => Err(FsError::invalid("the request lacks 'duty'")),
    }
}

/// Reads what to do about the balancer.
pub(super) fn balancer_action(request: &v1::BalancerRequest) -> FsResult<BalancerAction> {
    match request.action() {
        v1::BalancerAction::Status => Ok(BalancerAction::Status),
        v1::BalancerAction::Stop => Ok(BalancerAction::Stop),
        v1::BalancerAction::Start => {
            let mut settings = Balancing::default();
            if request.threshold_permille != 0 {
                settings.threshold_permille = request.threshold_permille;
            }
            if request.bytes_per_second != 0 {
                settings.bytes_per_second = request.bytes_per_second;
            }
            Ok(BalancerAction::Start(settings))
        }
        v1::BalancerAction::Unspecified => Err(FsError::invalid("the request lacks 'action'")),
    }
}
