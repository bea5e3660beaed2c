//! What the operator sees.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// Types of conditions.
pub mod condition {
    /// Files can be written and read.
    pub const AVAILABLE: &str = "Available";
    /// What was asked for is being made. `False` with a reason other than `Complete`: it is not, and somebody has to look.
    pub const PROGRESSING: &str = "Progressing";
    /// Something is lost or about to be lost: replicas, nodes, volumes.
    pub const DEGRADED: &str = "Degraded";
}

/// Reasons of conditions and events.
pub mod reason {
    /// Available: a leader serves, and DataNodes are there.
    pub const SERVING: &str = "Serving";
    /// Available: nothing has been reported yet.
    pub const STARTING: &str = "Starting";
    /// Available: no NameNode leads, or none can be reached.
    pub const NO_LEADER: &str = "NoLeader";
    /// Available: replicas are being counted, nothing can be written.
    pub const SAFE_MODE: &str = "SafeMode";
    /// Available: fewer DataNodes are there than a file needs to be closed.
    pub const TOO_FEW_DATA_NODES: &str = "TooFewDataNodes";
    /// All conditions: the NameNodes serve another file system than the one whose chunks the DataNodes hold.
    pub const CLUSTER_ID_CHANGED: &str = "ClusterIdChanged";
    /// Progressing: everything is as asked for.
    pub const COMPLETE: &str = "Complete";
    /// Progressing: pods are on their way.
    pub const PODS_STARTING: &str = "PodsStarting";
    /// Progressing: pods are replaced one by one.
    pub const ROLLING: &str = "Rolling";
    /// Progressing: claims grow.
    pub const RESIZING: &str = "Resizing";
    /// Progressing: the operator changes nothing.
    pub const PAUSED: &str = "Paused";
    /// Progressing: fewer DataNodes are asked for than there are.
    pub const SCALE_DOWN_REFUSED: &str = "ScaleDownRefused";
    /// Progressing: what is asked for can't be.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// Progressing: the API server or the file system refused something; it is tried again.
    pub const RECONCILE_FAILED: &str = "ReconcileFailed";
    /// Degraded: nothing is.
    pub const HEALTHY: &str = "Healthy";
    /// Degraded: the file system did not tell yet.
    pub const UNKNOWN: &str = "Unknown";
    /// Degraded: chunks have no replica.
    pub const CHUNKS_MISSING: &str = "ChunksMissing";
    /// Degraded: chunks have no good replica.
    pub const CHUNKS_CORRUPT: &str = "ChunksCorrupt";
    /// Degraded: chunks have too few replicas.
    pub const UNDER_REPLICATED: &str = "UnderReplicated";
    /// Degraded: volumes failed.
    pub const VOLUME_FAILED: &str = "VolumeFailed";
    /// Degraded: NameNodes are down.
    pub const NAME_NODE_DOWN: &str = "NameNodeDown";
    /// Degraded: DataNodes are down.
    pub const DATA_NODE_DOWN: &str = "DataNodeDown";
}

/// What the operator sees of a cluster.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DfsClusterStatus {
    /// Generation of the spec that the rest tells of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Id of the file system, which it keeps for life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// Image that the pods run, or are being brought to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// What the operator waits for, in words; not there when it waits for nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<String>,
    /// Whether the file system is in safe mode: it counts replicas and takes no writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safe_mode: Option<bool>,
    /// The NameNodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name_nodes: Option<NameNodeStatus>,
    /// The DataNodes of all pools.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_nodes: Option<DataNodeStatus>,
    /// The DataNodes of each pool.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_owned()]))]
    pub pools: Vec<PoolStatus>,
    /// Space.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<Capacity>,
    /// Chunks of files and how many of them are in want.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunks: Option<Chunks>,
    /// Available, Progressing and Degraded, with reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_owned()]))]
    pub conditions: Vec<Condition>,
}

impl DfsClusterStatus {
    /// The condition of this type.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.type_ == kind)
    }

    /// Whether the condition of this type is `True`.
    pub fn is(&self, kind: &str) -> bool {
        self.condition(kind).is_some_and(|condition| condition.status == "True")
    }

    /// Fails with what is not as asked for yet, unless this tells of the spec of that generation, everything asked for is
    /// there, and nothing is degraded.
    pub fn settled(&self, generation: Option<i64>) -> Result<(), String> {
        if self.observed_generation != generation {
            return Err("the operator has not seen the present spec yet".to_owned());
        }
        // "Not progressing" alone may also mean that it can't: only one reason says that it is done.
        let wanted = [
            (condition::AVAILABLE, "True", None),
            (condition::PROGRESSING, "False", Some(reason::COMPLETE)),
            (condition::DEGRADED, "False", None),
        ];
        for (kind, status, because) in wanted {
            let Some(found) = self.condition(kind) else {
                return Err(format!("there is no condition {kind} yet"));
            };
            if found.status != status || because.is_some_and(|reason| reason != found.reason) {
                return Err(format!(
                    "{kind} is {} ({}: {}), waiting for {:?}",
                    found.status, found.reason, found.message, self.waiting_for
                ));
            }
        }
        Ok(())
    }
}

/// The NameNodes.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NameNodeStatus {
    /// How many are asked for.
    pub desired: u32,
    /// How many serve.
    pub ready: u32,
    /// How many run what the spec asks for.
    pub updated: u32,
    /// Pod of the one that leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
}

/// The DataNodes of all pools.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DataNodeStatus {
    /// How many are asked for.
    pub desired: u32,
    /// How many serve and have reported all they hold.
    pub ready: u32,
    /// How many run what the spec asks for.
    pub updated: u32,
}

/// The DataNodes of one pool.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolStatus {
    /// Name of the pool.
    pub name: String,
    /// How many are asked for.
    pub desired: u32,
    /// How many serve and have reported all they hold.
    pub ready: u32,
    /// How many run what the spec asks for.
    pub updated: u32,
}

/// Space of all DataNodes that are there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Capacity {
    /// Bytes of all volumes.
    pub total_bytes: u64,
    /// Bytes of replicas.
    pub used_bytes: u64,
    /// Share of the volumes that replicas take, in percent.
    pub used_percent: u32,
}

/// Chunks of files.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Chunks {
    /// All of them.
    pub total: u64,
    /// Those with fewer replicas than asked for.
    pub under_replicated: u64,
    /// Those with one replica left, though more are asked for.
    pub only_one_copy: u64,
    /// Those without any replica.
    pub missing: u64,
    /// Those of which every replica is corrupt.
    pub corrupt: u64,
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::*;

    fn status(available: &str, progressing: (&str, &str), degraded: &str) -> DfsClusterStatus {
        let told = [
            (condition::AVAILABLE, available, reason::SERVING),
            (condition::PROGRESSING, progressing.0, progressing.1),
            (condition::DEGRADED, degraded, reason::HEALTHY),
        ];
        let conditions = told.map(|(kind, status, reason)| Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message: "because".to_owned(),
            observed_generation: Some(2),
            last_transition_time: Time(Timestamp::UNIX_EPOCH),
        });
        DfsClusterStatus {
            observed_generation: Some(2),
            conditions: conditions.into(),
            ..DfsClusterStatus::default()
        }
    }

    #[test]
    fn only_a_complete_spec_is_settled() {
        let complete = ("False", reason::COMPLETE);
        assert_eq!(status("True", complete, "False").settled(Some(2)), Ok(()));
        for (status, says) in [
            (DfsClusterStatus::default(), "not seen"),
            (
                DfsClusterStatus { observed_generation: Some(1), ..status("True", complete, "False") },
                "not seen",
            ),
            (
                DfsClusterStatus { observed_generation: Some(2), ..DfsClusterStatus::default() },
                "no condition Available",
            ),
            (status("False", complete, "False"), "Available is False"),
            (status("True", ("True", reason::ROLLING), "False"), "Progressing is True"),
            (status("True", ("False", reason::SCALE_DOWN_REFUSED), "False"), "ScaleDownRefused"),
            (status("True", ("False", reason::RECONCILE_FAILED), "False"), "ReconcileFailed"),
            (status("True", complete, "True"), "Degraded is True"),
            (status("True", complete, "Unknown"), "Degraded is Unknown"),
        ] {
            let why = status.settled(Some(2)).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
    }
}
