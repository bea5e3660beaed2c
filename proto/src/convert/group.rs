//! What a NameNode tells beside its answers about the group it belongs to.

use dfs_types::{ClusterId, FsError, FsResult, MemberRole, NamenodeMember, Upgrade, address};
use tonic::Status;
use tonic::metadata::{MetadataMap, MetadataValue};

use super::values::empty_as_none;
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

impl TryFrom<v1::MemberRole> for MemberRole {
    type Error = FsError;

    fn try_from(role: v1::MemberRole) -> FsResult<Self> {
        match role {
            v1::MemberRole::Leader => Ok(Self::Leader),
            v1::MemberRole::Follower => Ok(Self::Follower),
            v1::MemberRole::Learner => Ok(Self::Learner),
            v1::MemberRole::Candidate => Ok(Self::Candidate),
            v1::MemberRole::Unreachable => Ok(Self::Unreachable),
            v1::MemberRole::Unspecified => Err(FsError::invalid("a NameNode's role is missing")),
        }
    }
}

impl From<MemberRole> for v1::MemberRole {
    fn from(role: MemberRole) -> Self {
        match role {
            MemberRole::Leader => Self::Leader,
            MemberRole::Follower => Self::Follower,
            MemberRole::Learner => Self::Learner,
            MemberRole::Candidate => Self::Candidate,
            MemberRole::Unreachable => Self::Unreachable,
        }
    }
}

impl TryFrom<v1::NamenodeMember> for NamenodeMember {
    type Error = FsError;

    fn try_from(member: v1::NamenodeMember) -> FsResult<Self> {
        let role = member.role().try_into()?;
        let v1::NamenodeMember { id, address, pid, role: _, term, applied, lag, note, level, release } =
            member;
        let (note, release) = (empty_as_none(note), empty_as_none(release));
        let (pid, level) = ((pid > 0).then_some(pid), (level > 0).then_some(level));
        Ok(Self { id, address, pid, role, term, applied, lag, note, level, release })
    }
}

impl From<NamenodeMember> for v1::NamenodeMember {
    fn from(member: NamenodeMember) -> Self {
        let NamenodeMember { id, address, pid, role, term, applied, lag, note, level, release } = member;
        let (note, release) = (note.unwrap_or_default(), release.unwrap_or_default());
        let (pid, level, role) = (pid.unwrap_or(0), level.unwrap_or(0), v1::MemberRole::from(role).into());
        Self { id, address, pid, role, term, applied, lag, note, level, release }
    }
}

impl TryFrom<v1::Upgrade> for Upgrade {
    type Error = FsError;

    fn try_from(upgrade: v1::Upgrade) -> FsResult<Self> {
        let v1::Upgrade { level, highest, hindrance, members } = upgrade;
        let members = members.into_iter().map(NamenodeMember::try_from).collect::<FsResult<_>>()?;
        Ok(Self { level, highest, hindrance: empty_as_none(hindrance), members })
    }
}

impl From<Upgrade> for v1::Upgrade {
    fn from(upgrade: Upgrade) -> Self {
        let Upgrade { level, highest, hindrance, members } = upgrade;
        let members = members.into_iter().map(v1::NamenodeMember::from).collect();
        Self { level, highest, hindrance: hindrance.unwrap_or_default(), members }
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

    #[test]
    fn members_come_as_they_were_sent() {
        let member = |role| NamenodeMember {
            id: 1,
            address: "nn-1:9000".into(),
            pid: Some(2),
            role,
            term: 3,
            applied: 4,
            lag: 5,
            note: Some("its disk is full".into()),
            level: Some(6),
            release: Some("1.0.0".into()),
        };
        let unknown = NamenodeMember {
            pid: None,
            note: None,
            level: None,
            release: None,
            ..member(MemberRole::Unreachable)
        };
        let roles = [MemberRole::Leader, MemberRole::Follower, MemberRole::Learner, MemberRole::Candidate];
        let members = roles.into_iter().map(member).chain([unknown]).collect();
        let upgrade = Upgrade { level: 1, highest: 2, hindrance: Some("one is old".into()), members };
        for upgrade in [upgrade.clone(), Upgrade { hindrance: None, ..upgrade.clone() }] {
            assert_eq!(Upgrade::try_from(v1::Upgrade::from(upgrade.clone())), Ok(upgrade));
        }
        for role in [0, 99] {
            let bad = v1::NamenodeMember { role, ..member(MemberRole::Leader).into() };
            let bad = v1::Upgrade { members: vec![bad], ..upgrade.clone().into() };
            assert!(Upgrade::try_from(bad).is_err(), "{role}");
        }
    }
}
