//! The cluster's feature level: what is replicated is only written in a way that every NameNode can read.

use std::time::Duration;

use dfs_types::format::LEVELS;
use dfs_types::{FsError, FsResult, MemberRole, NamenodeMember, Upgrade};
use tracing::info;

use super::group::MemberView;
use super::{Namenode, Origin};
use crate::store::edit::Edit;
use crate::store::known_level;

/// How old what a member said of itself may be, unless leaders are heard of less often: it may be another program by now.
const FRESH: Duration = Duration::from_secs(1);
/// Heartbeats of a leader that a member may have left unanswered.
const UNANSWERED: u32 = 3;

impl Namenode {
    /// How far the upgrade of the cluster is.
    pub fn upgrade(&self) -> Upgrade {
        let (level, highest, views) = (self.store.level(), known_level(), self.views());
        let group = self.store.group();
        let (own, fresh) = (group.id(), FRESH.max(group.heartbeat_interval() * UNANSWERED));
        let mut others = views.iter().filter(|member| member.told.id != own && level < highest);
        let changes = level < highest && group.status().borrow().members != group.residences().members;
        let hindrance = others.find_map(|member| hindrance_of(member, highest, fresh)).or_else(|| {
            changes.then(|| "a NameNode is just joining or leaving: try again shortly".to_owned())
        });
        let members = views.into_iter().map(|view| view.told).collect();
        Upgrade { level: level.into(), highest: highest.into(), hindrance, members }
    }

    /// Raises the level to the highest that this NameNode, which leads, knows, if all members know it. There is no way back.
    pub async fn finalize_upgrade(&self, origin: Origin) -> FsResult<Upgrade> {
        self.check_superuser(&origin.caller)?;
        let (level, highest) = (self.store.level(), known_level());
        if let Some(hindrance) = self.upgrade().hindrance {
            return Err(FsError::invalid(format!("the upgrade can't be finalized: {hindrance}")));
        }
        if level < highest {
            self.administer(origin, Edit::RaiseLevel { to: highest }).await?;
            let brought = LEVELS.iter().filter(|(of, _)| (level + 1..=highest).contains(of));
            let brought: Vec<_> = brought.map(|(_, brought)| *brought).collect();
            info!(from = level, to = highest, ?brought, "the upgrade is finalized");
        }
        Ok(self.upgrade())
    }

    /// Whether a NameNode that knows feature levels up to this one may belong to the group.
    pub(super) fn check_level_of(&self, address: &str, known: u16) -> FsResult<()> {
        let level = self.store.level();
        if known >= level {
            return Ok(());
        }
        Err(FsError::invalid(format!(
            "the NameNode at {address} knows feature levels up to {known}, and the cluster is at {level}: start it with \
             release {} or a later one",
            env!("CARGO_PKG_VERSION")
        )))
    }
}

/// Why a member keeps the level from being raised.
fn hindrance_of(member: &MemberView, to: u16, fresh: Duration) -> Option<String> {
    let MemberView { told: NamenodeMember { id, address, role, level, release, .. }, heard, .. } = member;
    let (level, release) = (level.unwrap_or(0), release.as_deref().unwrap_or_default());
    if *role == MemberRole::Unreachable || heard.is_none_or(|heard| heard > fresh) {
        return Some(format!(
            "NameNode {id} at {address} is not heard of, and so it is not known which release it is: start it, or remove \
             it with `dfs admin remove-namenode {id}`"
        ));
    }
    (level < u32::from(to)).then(|| {
        format!(
            "NameNode {id} at {address} is of release {release} and knows feature levels up to {level}, not {to}: start it \
             with release {} or a later one",
            env!("CARGO_PKG_VERSION")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::DiskState;

    fn member(level: u32, heard: Option<Duration>, role: MemberRole) -> MemberView {
        let told = NamenodeMember {
            id: 2,
            address: "nn-2:9000".into(),
            pid: Some(7),
            role,
            term: 1,
            applied: 1,
            lag: 0,
            note: None,
            level: Some(level),
            release: Some("0.9.0".into()),
        };
        MemberView { told, disk: DiskState::Good, heard }
    }

    #[test]
    fn only_what_a_member_says_now_is_a_proof() {
        let now = Some(Duration::ZERO);
        assert_eq!(hindrance_of(&member(2, now, MemberRole::Follower), 2, FRESH), None);
        assert_eq!(hindrance_of(&member(3, now, MemberRole::Learner), 2, FRESH), None);
        let old = hindrance_of(&member(1, now, MemberRole::Follower), 2, FRESH).unwrap();
        for word in ["nn-2:9000", "release 0.9.0", "up to 1", env!("CARGO_PKG_VERSION")] {
            assert!(old.contains(word), "{old}");
        }
        for silent in [
            member(2, now, MemberRole::Unreachable),
            member(2, None, MemberRole::Follower),
            member(2, Some(FRESH * 2), MemberRole::Follower),
        ] {
            let why = hindrance_of(&silent, 2, FRESH).unwrap();
            assert!(why.contains("not heard of"), "{why}");
        }
    }
}
