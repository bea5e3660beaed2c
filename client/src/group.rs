//! The group of NameNodes: who belongs to it, who leads, and changing that.

use std::sync::Weak;
use std::time::Duration;

use dfs_proto::v1;
use dfs_types::{ErrorCode, FsResult, MemberRole, NamenodeMember, Upgrade};
use tracing::debug;

use crate::handle::Dfs;
use crate::namenode::NameNode;
use crate::peers::Address;
use crate::retry::Patience;

/// How often a client asks for the group's addresses.
const LEARN_INTERVAL: Duration = Duration::from_secs(30);
/// How soon it asks again after the first try that failed; each further one doubles it.
const LEARN_AGAIN: Duration = Duration::from_secs(1);
/// Longest that the leader itself is asked when another one answered first.
const LEADER_LIMIT: Duration = Duration::from_secs(1);

/// The NameNodes of a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamenodeGroup {
    /// Ordered by id.
    pub members: Vec<NamenodeMember>,
    /// Whether the leader tells this. Otherwise it is what another member knows: it may be old, and how far the others
    /// are is not known.
    pub by_leader: bool,
}

impl NamenodeGroup {
    /// The member that leads, if one is known.
    pub fn leader(&self) -> Option<&NamenodeMember> {
        self.members.iter().find(|member| member.role == MemberRole::Leader)
    }
}

fn members(reply: v1::NamenodesReply) -> FsResult<Vec<NamenodeMember>> {
    reply.members.into_iter().map(NamenodeMember::try_from).collect()
}

/// The group as the leader tells it, or as the first member to answer does if the leader does not.
pub(crate) async fn group(namenode: &NameNode, patience: Patience) -> FsResult<NamenodeGroup> {
    let (from, reply) = namenode.members(patience).await?;
    let group = NamenodeGroup { members: members(reply)?, by_leader: false };
    let Some(leader) = group.leader().map(|leader| leader.address.clone()) else { return Ok(group) };
    if *leader == *from {
        return Ok(NamenodeGroup { by_leader: true, ..group });
    }
    let address = Address::from(leader.as_str());
    match namenode.members_at(&address, LEADER_LIMIT).await.and_then(members) {
        Ok(members) => {
            let told = NamenodeGroup { members, by_leader: true };
            let still = told.leader().is_some_and(|member| member.address == leader);
            Ok(if still { told } else { group })
        }
        Err(error) => {
            debug!(%error, %leader, "the leader was not asked for the members");
            Ok(group)
        }
    }
}

/// Takes over the addresses of the group's members now and then, so that the client finds every one of them even if
/// it was given but one. Never fails anything; ends with the client.
pub(crate) async fn learn_members(namenode: Weak<NameNode>, patience: Patience) {
    let mut again = LEARN_AGAIN;
    loop {
        let Some(namenode) = namenode.upgrade() else { return };
        let pause = match group(&namenode, patience).await {
            Ok(group) => {
                let mut addresses: Vec<String> =
                    group.members.into_iter().map(|member| member.address).collect();
                if addresses.len() == 1 {
                    // It is the one that answered, whatever it is called: under two names it would be asked twice.
                    addresses.clear();
                }
                namenode.peers().learn(&addresses);
                again = LEARN_AGAIN;
                LEARN_INTERVAL
            }
            Err(error) => {
                debug!(%error, "the members of the group are not known");
                let pause = if error.code == ErrorCode::Unsupported { LEARN_INTERVAL } else { again };
                again = (again * 2).min(LEARN_INTERVAL);
                pause
            }
        };
        drop(namenode);
        tokio::time::sleep(pause).await;
    }
}

impl Dfs {
    /// The NameNodes of the cluster. Answers also while none of them leads, if any can be reached.
    ///
    /// ```no_run
    /// # async fn example(dfs: dfs_client::Dfs) -> dfs_types::FsResult<()> {
    /// let group = dfs.namenodes().await?;
    /// println!("{} NameNodes, leader {:?}", group.members.len(), group.leader());
    /// # Ok(())
    /// # }
    /// ```
    pub async fn namenodes(&self) -> FsResult<NamenodeGroup> {
        group(&self.inner.namenode, self.inner.settings.call()).await
    }

    /// Hands the leadership to the member with the id `to` (`None`: to the one that is least behind); answers with the
    /// new leader's id once it leads.
    pub async fn transfer_leader(&self, to: Option<u64>) -> FsResult<u64> {
        let reply = self
            .inner
            .namenode
            .group(self.inner.settings.call(), |mut client, context| async move {
                let request = v1::TransferLeaderRequest { context: Some(context), to: to.unwrap_or(0) };
                client.transfer_leader(request).await
            })
            .await?;
        Ok(reply.leader)
    }

    /// The cluster's feature level, and what its NameNodes know.
    pub async fn upgrade(&self) -> FsResult<Upgrade> {
        self.inner
            .namenode
            .group(self.inner.settings.call(), |mut client, context| async move {
                client.get_upgrade(v1::GetUpgradeRequest { context: Some(context) }).await
            })
            .await?
            .try_into()
    }

    /// Raises the cluster's feature level to the highest that its leader knows. There is no way back: programs of earlier
    /// releases are refused from then on. Fails with `InvalidArgument` while not all NameNodes are known
    /// to know that level.
    pub async fn finalize_upgrade(&self) -> FsResult<Upgrade> {
        self.inner
            .namenode
            .group(self.inner.settings.call(), |mut client, context| async move {
                client.finalize_upgrade(v1::FinalizeUpgradeRequest { context: Some(context) }).await
            })
            .await?
            .try_into()
    }

    /// Takes the member with this id out of the group for good; answers with those that remain. Its directory is of no
    /// use afterwards.
    pub async fn remove_namenode(&self, id: u64) -> FsResult<Vec<NamenodeMember>> {
        let reply = self
            .inner
            .namenode
            .group(self.inner.settings.call(), |mut client, context| async move {
                client.remove(v1::RemoveNamenodeRequest { context: Some(context), id }).await
            })
            .await?;
        members(reply)
    }
}
