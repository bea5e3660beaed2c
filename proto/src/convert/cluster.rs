//! What clients are told of the whole cluster.

use dfs_types::{Defaults, FsError, FsResult, FsStats};

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

#[cfg(test)]
mod tests {
    use dfs_types::ClusterId;

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
}
