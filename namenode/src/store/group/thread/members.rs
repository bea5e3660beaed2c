//! Who belongs to the group: taking members in, giving them a vote, letting them go.

use std::time::Duration;

use dfs_namenode_raft::{MembershipChange, NotLeading, log};
use dfs_types::{ErrorCode, FsError, FsResult};

use super::super::{Request, not_leader};
use super::{Thread, io_failure};
use crate::store::position::Members;
use crate::store::record::{Content, Record, Residence};

/// Entries that a learner may be behind when it begins to vote.
const CAUGHT_UP: u64 = 500;
/// Most members of a group.
const MAX_MEMBERS: usize = 7;
/// Silence after which a member counts as gone.
const ACTIVE: Duration = Duration::from_secs(2);

impl Thread {
    /// Proposes what a request asks for; answers the entry to wait for and the member's id.
    pub(super) fn take_request(&mut self, request: Request) -> FsResult<(u64, u64)> {
        if !self.status.borrow().leads {
            return Err(not_leader(self.id, self.status.borrow().leader));
        }
        if *self.applied.borrow() < self.members_at {
            // Who is a member, and which ids are taken, is known when the writer has applied that.
            return Err(self.explain(NotLeading::Members));
        }
        let residences = self.progress.residences();
        match request {
            Request::Join(address) => {
                let known = residences.addresses.iter().find(|(_, at)| **at == address).map(|(id, _)| *id);
                if let Some(known) = known.filter(|id| self.is_active(*id)) {
                    return Err(FsError::new(
                        ErrorCode::AlreadyExists,
                        format!("NameNode {known} at {address} is alive: give the new one another address"),
                    ));
                }
                if residences.members.all().len() >= MAX_MEMBERS {
                    return Err(FsError::invalid(format!(
                        "the group has {MAX_MEMBERS} members: remove one with `dfs admin remove-namenode` first"
                    )));
                }
                if let Some(learner) = known.filter(|id| residences.members.learners.contains(id)) {
                    // It never voted; its place is needed by the one that comes now, who asks again.
                    let _proposed = self.member.change(MembershipChange::Remove(learner), Vec::new());
                    return Err(self.explain(NotLeading::Members));
                }
                let id = self.progress.counters().next_member;
                let residence = Residence { id, address };
                let context = residence
                    .encode()
                    .map_err(|error| FsError::internal(format!("an address can't be encoded: {error}")))?;
                let at = self.member.change(MembershipChange::AddLearner(id), context);
                at.map(|at| (at.index, id)).map_err(|refusal| self.explain(refusal))
            }
            Request::Remove(id) => {
                let all = residences.members.all();
                if !all.contains(&id) {
                    return Err(FsError::new(
                        ErrorCode::NotFound,
                        format!("there is no NameNode {id} in the group"),
                    ));
                }
                if id == self.id {
                    return Err(FsError::invalid(format!(
                        "NameNode {id} leads: hand the leadership over with `dfs admin transfer-leader` first"
                    )));
                }
                let at = self.member.change(MembershipChange::Remove(id), Vec::new());
                at.map(|at| (at.index, id)).map_err(|refusal| self.explain(refusal))
            }
            Request::Move(id, address) => {
                if !residences.members.all().contains(&id) {
                    return Err(FsError::new(
                        ErrorCode::NotFound,
                        format!("there is no NameNode {id} in the group"),
                    ));
                }
                let at = self.append(&Record::Moved(Residence { id, address }))?;
                Ok((at.index, id))
            }
        }
    }

    pub(super) fn is_active(&self, id: u64) -> bool {
        id == self.id || self.heard.get(&id).is_some_and(|heard| heard.elapsed() < ACTIVE)
    }

    /// Gives learners that have caught up a vote.
    pub(super) fn look_after_members(&mut self) {
        if *self.applied.borrow() < self.members_at {
            return;
        }
        let residences = self.progress.residences();
        let members = &residences.members;
        let committed = self.member.status(self.shared.now()).committed;
        let ready = members.learners.iter().copied().find(|id| {
            let has = |matched: u64| matched > 0 && matched + CAUGHT_UP >= committed;
            self.member.matched(*id).is_some_and(has) && self.is_active(*id)
        });
        if let Some(id) = ready {
            let address = residences.addresses.get(&id);
            let same_place = |other: &u64| *other != id && residences.addresses.get(other) == address;
            let replaced =
                members.voters.iter().copied().find(same_place).filter(|other| !self.is_active(*other));
            match self.member.change(MembershipChange::Promote { id, replaced }, Vec::new()) {
                Ok(_) => tracing::info!(id, ?replaced, "a NameNode begins to vote"),
                Err(refusal) => tracing::debug!(id, %refusal, "a learner does not vote yet"),
            }
        }
    }

    /// Notes the members from entry `index` on; answers what is to be applied.
    pub(super) fn new_members(
        &mut self,
        index: u64,
        members: Members,
        context: &[u8],
    ) -> Result<Content, log::Error> {
        let was_in = self.status.borrow().members.all().contains(&self.id);
        self.removed |= was_in && !members.all().contains(&self.id);
        self.members_at = index;
        tracing::info!(voters = ?members.voters, learners = ?members.learners, "the group has changed");
        let joined: Option<Residence> = match context {
            [] => None,
            _ => Some(Residence::decode(context).map_err(|error| {
                io_failure("reading an entry of", &self.directory, format!("entry {index}: {error}"))
            })?),
        };
        Ok(Content::Members(members, joined))
    }
}
