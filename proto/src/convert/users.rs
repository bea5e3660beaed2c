//! Which groups users are in, and who may do anything.

use dfs_types::{FsError, FsResult, GroupOrigin, GroupReport, Superusers, UserGroups};

use super::error::incomplete;
use crate::v1;

impl From<GroupOrigin> for v1::GroupOrigin {
    fn from(GroupOrigin { source, problem }: GroupOrigin) -> Self {
        Self { source: source.to_string(), problem: problem.unwrap_or_default() }
    }
}

impl TryFrom<v1::GroupOrigin> for GroupOrigin {
    type Error = FsError;

    fn try_from(v1::GroupOrigin { source, problem }: v1::GroupOrigin) -> FsResult<Self> {
        let source = source.parse().map_err(|_| incomplete("origin.source"))?;
        Ok(Self { source, problem: (!problem.is_empty()).then_some(problem) })
    }
}

fn origin(origin: Option<v1::GroupOrigin>) -> FsResult<GroupOrigin> {
    origin.ok_or_else(|| incomplete("origin"))?.try_into()
}

impl From<UserGroups> for v1::UserGroups {
    fn from(UserGroups { user, groups }: UserGroups) -> Self {
        Self { user, known: groups.is_some(), groups: groups.unwrap_or_default() }
    }
}

impl From<v1::UserGroups> for UserGroups {
    fn from(v1::UserGroups { user, known, groups }: v1::UserGroups) -> Self {
        Self { user, groups: known.then_some(groups) }
    }
}

impl From<GroupReport> for v1::GetGroupsReply {
    fn from(GroupReport { users, origin }: GroupReport) -> Self {
        Self { users: users.into_iter().map(Into::into).collect(), origin: Some(origin.into()) }
    }
}

impl TryFrom<v1::GetGroupsReply> for GroupReport {
    type Error = FsError;

    fn try_from(reply: v1::GetGroupsReply) -> FsResult<Self> {
        let users = reply.users.into_iter().map(Into::into).collect();
        Ok(Self { users, origin: origin(reply.origin)? })
    }
}

impl From<Superusers> for v1::Superusers {
    fn from(Superusers { user, group, members, origin }: Superusers) -> Self {
        let known = members.is_some();
        Self { user, group, known, members: members.unwrap_or_default(), origin: Some(origin.into()) }
    }
}

impl TryFrom<v1::Superusers> for Superusers {
    type Error = FsError;

    fn try_from(superusers: v1::Superusers) -> FsResult<Self> {
        let v1::Superusers { user, group, known, members, origin: of } = superusers;
        Ok(Self { user, group, members: known.then_some(members), origin: origin(of)? })
    }
}

#[cfg(test)]
mod tests {
    use dfs_types::GroupSource;

    use super::*;

    #[test]
    fn groups_come_as_they_were_sent() {
        let file = GroupOrigin {
            source: GroupSource::File("/etc/dfs/groups".into()),
            problem: Some("line 3 is no group".into()),
        };
        for origin in [file, GroupOrigin { source: GroupSource::Caller, problem: None }] {
            let user = |groups| UserGroups { user: "ann".into(), groups };
            let users = vec![user(Some(vec!["staff".into(), "ops".into()])), user(Some(vec![])), user(None)];
            let report = GroupReport { users, origin: origin.clone() };
            assert_eq!(GroupReport::try_from(v1::GetGroupsReply::from(report.clone())), Ok(report));
            for members in [None, Some(vec![]), Some(vec!["ann".to_owned()])] {
                let all = Superusers {
                    user: "hdfs".into(),
                    group: "supergroup".into(),
                    members,
                    origin: origin.clone(),
                };
                assert_eq!(Superusers::try_from(v1::Superusers::from(all.clone())), Ok(all));
            }
        }
        assert!(GroupReport::try_from(v1::GetGroupsReply::default()).is_err());
        let unknown = v1::GroupOrigin { source: "ldap".into(), problem: String::new() };
        assert!(GroupOrigin::try_from(unknown).is_err());
        assert!(Superusers::try_from(v1::Superusers::default()).is_err());
    }
}
