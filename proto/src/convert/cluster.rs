//! What clients are told of the whole cluster.

use dfs_types::{
    ClusterReport, ContentSummary, Defaults, FsError, FsResult, FsStats, NodeReport, Quota, WaitingChunk,
};

use super::error::incomplete;
use super::values::cluster_id;
use crate::v1;

/// Without the addresses of the NameNodes, which say where to ask and not what the cluster is.
impl TryFrom<v1::GetDefaultsReply> for Defaults {
    type Error = FsError;

    fn try_from(reply: v1::GetDefaultsReply) -> FsResult<Self> {
        let v1::GetDefaultsReply { cluster, chunk_size, replication, min_replicas, safe_mode, namenodes: _ } =
            reply;
        let cluster = cluster_id(&cluster)?;
        Ok(Self { cluster, chunk_size, replication, min_replicas, safe_mode })
    }
}

/// Without addresses of NameNodes.
impl From<Defaults> for v1::GetDefaultsReply {
    fn from(defaults: Defaults) -> Self {
        let Defaults { cluster, chunk_size, replication, min_replicas, safe_mode } = defaults;
        let (cluster, namenodes) = (cluster.as_bytes().to_vec(), Vec::new());
        Self { cluster, chunk_size, replication, min_replicas, safe_mode, namenodes }
    }
}

impl From<v1::FsStatsReply> for FsStats {
    fn from(reply: v1::FsStatsReply) -> Self {
        let v1::FsStatsReply { capacity, used, remaining, chunks, live_nodes, dead_nodes, .. } = reply;
        let v1::FsStatsReply { under_replicated, missing, corrupt, .. } = reply;
        Self { capacity, used, remaining, under_replicated, missing, corrupt, chunks, live_nodes, dead_nodes }
    }
}

impl From<FsStats> for v1::FsStatsReply {
    fn from(stats: FsStats) -> Self {
        let FsStats { capacity, used, remaining, chunks, live_nodes, dead_nodes, .. } = stats;
        let FsStats { under_replicated, missing, corrupt, .. } = stats;
        Self { capacity, used, remaining, under_replicated, missing, corrupt, chunks, live_nodes, dead_nodes }
    }
}

impl From<v1::ContentSummaryReply> for ContentSummary {
    fn from(reply: v1::ContentSummaryReply) -> Self {
        let v1::ContentSummaryReply { length, files, directories, space, names_quota, space_quota } = reply;
        let quota = Quota { names: names_quota, space: space_quota };
        Self { length, files, directories, space, quota }
    }
}

impl From<ContentSummary> for v1::ContentSummaryReply {
    fn from(summary: ContentSummary) -> Self {
        let ContentSummary { length, files, directories, space, quota } = summary;
        let Quota { names: names_quota, space: space_quota } = quota;
        Self { length, files, directories, space, names_quota, space_quota }
    }
}

impl TryFrom<v1::ClusterReport> for ClusterReport {
    type Error = FsError;

    fn try_from(report: v1::ClusterReport) -> FsResult<Self> {
        let v1::ClusterReport { cluster, safe_mode, nodes, balancer, waiting, version, .. } = report;
        let v1::ClusterReport { files, directories, open_files, chunks, .. } = report;
        let v1::ClusterReport { under_replicated, healable, over_replicated, only_one_copy, .. } = report;
        let v1::ClusterReport { missing, corrupt, misplaced, quarantined, .. } = report;
        let v1::ClusterReport { pending_copies, pending_deletions, waiting_recoveries, .. } = report;
        Ok(Self {
            cluster: cluster_id(&cluster)?,
            safe_mode: safe_mode.ok_or_else(|| incomplete("safe_mode"))?.into(),
            nodes: nodes.into_iter().map(NodeReport::try_from).collect::<FsResult<_>>()?,
            files,
            directories,
            chunks,
            under_replicated,
            healable,
            over_replicated,
            missing,
            corrupt,
            pending_copies,
            pending_deletions,
            open_files,
            only_one_copy,
            version,
            misplaced,
            quarantined,
            balancer: balancer.ok_or_else(|| incomplete("balancer"))?.into(),
            waiting_recoveries,
            waiting: waiting.into_iter().map(WaitingChunk::try_from).collect::<FsResult<_>>()?,
        })
    }
}

impl From<ClusterReport> for v1::ClusterReport {
    fn from(report: ClusterReport) -> Self {
        let ClusterReport { cluster, safe_mode, nodes, balancer, waiting, version, .. } = report;
        let ClusterReport { files, directories, open_files, chunks, .. } = report;
        let ClusterReport { under_replicated, healable, over_replicated, only_one_copy, .. } = report;
        let ClusterReport { missing, corrupt, misplaced, quarantined, .. } = report;
        let ClusterReport { pending_copies, pending_deletions, waiting_recoveries, .. } = report;
        Self {
            cluster: cluster.as_bytes().to_vec(),
            safe_mode: Some(safe_mode.into()),
            nodes: nodes.into_iter().map(v1::NodeReport::from).collect(),
            files,
            directories,
            chunks,
            under_replicated,
            over_replicated,
            missing,
            corrupt,
            pending_copies,
            pending_deletions,
            open_files,
            only_one_copy,
            version,
            misplaced,
            balancer: Some(balancer.into()),
            quarantined,
            healable,
            waiting_recoveries,
            waiting: waiting.into_iter().map(v1::WaitingChunk::from).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use dfs_types::{BalancerStatus, ClusterId, SafeModeStatus};

    use super::*;

    #[test]
    fn defaults_come_as_they_were_sent() {
        let defaults = Defaults {
            cluster: ClusterId::random(),
            chunk_size: 1,
            replication: 2,
            min_replicas: 3,
            safe_mode: true,
        };
        let reply = v1::GetDefaultsReply::from(defaults);
        assert_eq!(Defaults::try_from(reply.clone()), Ok(defaults));
        assert!(Defaults::try_from(v1::GetDefaultsReply { cluster: Vec::new(), ..reply }).is_err());
    }

    #[test]
    fn statistics_come_as_they_were_sent() {
        let stats = FsStats {
            capacity: 1,
            used: 2,
            remaining: 3,
            under_replicated: 4,
            missing: 5,
            corrupt: 6,
            chunks: 7,
            live_nodes: 8,
            dead_nodes: 9,
        };
        assert_eq!(FsStats::from(v1::FsStatsReply::from(stats)), stats);
    }

    #[test]
    fn summaries_and_reports_come_as_they_were_sent() {
        let summary = ContentSummary {
            length: 1,
            files: 2,
            directories: 3,
            space: 4,
            quota: Quota { names: Some(5), space: None },
        };
        assert_eq!(ContentSummary::from(v1::ContentSummaryReply::from(summary)), summary);
        let report = ClusterReport {
            cluster: ClusterId::random(),
            safe_mode: SafeModeStatus { on: true, manual: false, reported: 1, needed: 2 },
            nodes: Vec::new(),
            files: 3,
            directories: 4,
            chunks: 5,
            under_replicated: 6,
            healable: 7,
            over_replicated: 8,
            missing: 9,
            corrupt: 10,
            pending_copies: 11,
            pending_deletions: 12,
            open_files: 13,
            only_one_copy: 14,
            version: "15".into(),
            misplaced: 16,
            quarantined: 17,
            balancer: BalancerStatus { moved_chunks: 18, ..BalancerStatus::default() },
            waiting_recoveries: 19,
            waiting: Vec::new(),
        };
        let wire = || v1::ClusterReport::from(report.clone());
        assert_eq!(ClusterReport::try_from(wire()), Ok(report.clone()));
        for bad in [
            v1::ClusterReport { safe_mode: None, ..wire() },
            v1::ClusterReport { balancer: None, ..wire() },
            v1::ClusterReport { cluster: vec![1], ..wire() },
        ] {
            assert!(ClusterReport::try_from(bad).is_err());
        }
    }
}
