//! What a NameNode tells beside its answers about the group it belongs to.

use dfs_types::{ClusterId, FsError, FsResult, MemberRole, address};
use tonic::Status;
use tonic::metadata::{MetadataMap, MetadataValue};

use crate::v1;

/// Metadata key of a [`NotLeader`](dfs_types::ErrorCode::NotLeader) status: `HOST:PORT` of the leader.
const LEADER_KEY: &str = "dfs-leader";
/// Metadata key of every answer: index of the last log entry in the answering NameNode's database.
const APPLIED_KEY: &str = "dfs-applied";
/// Metadata key of every answer: id of the answering NameNode's cluster.
const CLUSTER_KEY: &str = "dfs-cluster";

/// The status with the leader's address. One that can't be written in a header is left out: it is only a hint.
#[must_use]
pub fn with_leader(mut status: Status, address: &str) -> Status {
    if let Ok(value) = MetadataValue::try_from(address) {
        status.metadata_mut().insert(LEADER_KEY, value);
    }
    status
}

/// Where the leader is according to a NameNode that does not lead, if it knows.
pub fn leader(status: &Status) -> Option<String> {
    let address = status.metadata().get(LEADER_KEY)?.to_str().ok()?;
    address::check(address).is_ok().then(|| address.to_owned())
}

/// Notes in an answer's metadata of which cluster its sender is.
pub fn set_cluster(metadata: &mut MetadataMap, cluster: ClusterId) {
    if let Ok(value) = MetadataValue::try_from(cluster.to_string()) {
        metadata.insert(CLUSTER_KEY, value);
    }
}

/// Of which cluster the sender of an answer is; `None` if it does not say.
pub fn cluster(metadata: &MetadataMap) -> Option<ClusterId> {
    metadata.get(CLUSTER_KEY)?.to_str().ok()?.parse().ok()
}

/// Notes in an answer's metadata what its sender had applied.
pub fn set_applied(metadata: &mut MetadataMap, index: u64) {
    metadata.insert(APPLIED_KEY, MetadataValue::from(index));
}

/// What the sender of an answer had applied; `None` if it does not say.
pub fn applied(metadata: &MetadataMap) -> Option<u64> {
    metadata.get(APPLIED_KEY)?.to_str().ok()?.parse().ok()
}

/// The message for a member's role.
pub fn wire_member_role(role: MemberRole) -> v1::MemberRole {
    match role {
        MemberRole::Leader => v1::MemberRole::Leader,
        MemberRole::Follower => v1::MemberRole::Follower,
        MemberRole::Learner => v1::MemberRole::Learner,
        MemberRole::Candidate => v1::MemberRole::Candidate,
        MemberRole::Unreachable => v1::MemberRole::Unreachable,
    }
}

/// Reads a member's role.
pub fn member_role(role: v1::MemberRole) -> FsResult<MemberRole> {
    match role {
        v1::MemberRole::Leader => Ok(MemberRole::Leader),
        v1::MemberRole::Follower => Ok(MemberRole::Follower),
        v1::MemberRole::Learner => Ok(MemberRole::Learner),
        v1::MemberRole::Candidate => Ok(MemberRole::Candidate),
        v1::MemberRole::Unreachable => Ok(MemberRole::Unreachable),
        v1::MemberRole::Unspecified => Err(FsError::invalid("a NameNode's role is missing")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_is_told_and_nonsense_is_not_believed() {
        let status = || Status::failed_precondition("another one leads");
        assert_eq!(leader(&with_leader(status(), "nn-1.nn:9000")).as_deref(), Some("nn-1.nn:9000"));
        assert_eq!(leader(&with_leader(status(), "[::1]:9000")).as_deref(), Some("[::1]:9000"));
        assert_eq!(leader(&status()), None);
        let long = format!("{}:1", "n".repeat(300));
        for wrong in
            ["", "nn", ":9000", "nn:0", "nn:99999", "nn/x:1", "a@b:1", "a b:1", "line\nbreak:1", &long]
        {
            assert_eq!(leader(&with_leader(status(), wrong)), None, "{wrong:?}");
        }
    }

    #[test]
    fn the_applied_index_is_told() {
        let mut metadata = MetadataMap::new();
        assert_eq!(applied(&metadata), None);
        set_applied(&mut metadata, u64::MAX);
        assert_eq!(applied(&metadata), Some(u64::MAX));
        metadata.insert(APPLIED_KEY, MetadataValue::from_static("-1"));
        assert_eq!(applied(&metadata), None);
    }
}
