//! Who asks, and which groups users are in.

use dfs_types::attributes::check_principal;
use dfs_types::limits::MAX_USERS_ASKED;
use dfs_types::names::SUPERGROUP;
use dfs_types::{Caller, FsError, FsResult, GroupOrigin, GroupReport, Superusers};

use super::Namenode;

impl Namenode {
    /// Who asks, with the groups that he is in here. Whoever takes a request from outside calls this before anything is done
    /// on the caller's behalf: what a client says of its groups may not count.
    pub fn identify(&self, claim: Caller) -> Caller {
        self.groups.resolve(claim)
    }

    /// Where groups come from.
    pub fn group_origin(&self) -> GroupOrigin {
        self.groups.origin()
    }

    /// The groups of users; with none named of who asks.
    pub fn groups_of(&self, caller: &Caller, users: Vec<String>) -> FsResult<GroupReport> {
        if users.len() > MAX_USERS_ASKED {
            return Err(FsError::invalid(format!(
                "the groups of {} users were asked for: at most {MAX_USERS_ASKED} are allowed at once",
                users.len()
            )));
        }
        users.iter().try_for_each(|user| check_principal("user", user))?;
        let users = if users.is_empty() { vec![caller.user.clone()] } else { users };
        Ok(GroupReport { users: self.groups.of(caller, users), origin: self.groups.origin() })
    }

    /// Who may do anything.
    pub fn superusers(&self) -> Superusers {
        Superusers {
            user: self.superuser.clone(),
            group: SUPERGROUP.to_owned(),
            members: self.groups.members_of(SUPERGROUP),
            origin: self.groups.origin(),
        }
    }
}
