//! Whether the cluster is as it should be, and who leads it.

use std::time::{Duration, Instant};

use dfs_client::{ClusterReport, MemberRole, NamenodeGroup, NodeState};

use crate::cluster::{LocalCluster, POLL};
use crate::daemon::Daemon;
use crate::error::{LocalError, Result};

/// How long a group of NameNodes may take to have a leader: many elections.
const LEADER_PATIENCE: Duration = Duration::from_secs(15);

/// The daemons that run, each with the gRPC address that others know.
type Running = Vec<(Daemon, String)>;

impl LocalCluster {
    /// The NameNode that leads, as it says itself; of a single one that it runs. Waits for the end of an election.
    pub async fn leader(&self) -> Result<Daemon> {
        let deadline = Instant::now() + LEADER_PATIENCE;
        loop {
            if let Some(leader) = self.leads_now().await? {
                return Ok(leader);
            }
            if Instant::now() >= deadline {
                return Err(LocalError::NoLeader(LEADER_PATIENCE));
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn leads_now(&self) -> Result<Option<Daemon>> {
        let namenodes: Vec<(Daemon, String, bool)> = self
            .blocking(|this| {
                let cluster = this.layout.load()?;
                let shown = cluster
                    .namenodes()
                    .map(|(daemon, record)| (daemon, record.advertised(), record.is_alive()));
                Ok(shown.collect())
            })
            .await?;
        if let [(daemon, _, runs)] = namenodes[..] {
            return if runs { Ok(Some(daemon)) } else { Err(LocalError::NotRunning(daemon)) };
        }
        let group = match self.client().await {
            Ok(client) => client.namenodes().await,
            // None leads, or none runs.
            Err(LocalError::Client { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Ok(group @ NamenodeGroup { by_leader: true, .. }) = group else { return Ok(None) };
        let leader = namenodes.into_iter().find(|(_, address, runs)| {
            *runs && group.leader().is_some_and(|leader| leader.address == *address)
        });
        Ok(leader.map(|(daemon, _, _)| daemon))
    }

    /// Waits until every DataNode whose process runs is live and has reported at the NameNode that leads, safe mode is
    /// off, and every further NameNode that runs votes in the leader's group.
    pub async fn wait_ready(&self, within: Duration) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            let Some(behind) = self.what_is_missing().await? else { return Ok(()) };
            if Instant::now() >= deadline {
                return self.blocking(move |this| Err(this.not_ready(behind, within))).await;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Who is behind and how; `None` when all is as it should be. Fails at once when a process has died.
    async fn what_is_missing(&self) -> Result<Option<(Daemon, String)>> {
        let (running, in_group) = self
            .blocking(|this| {
                let cluster = this.layout.load()?;
                let mut running = Running::new();
                for (daemon, record) in &cluster.daemons {
                    match (&record.process, &record.addresses) {
                        (Some(process), Some(addresses)) if process.is_alive() => {
                            running
                                .push((*daemon, record.known_as().unwrap_or_else(|| addresses.rpc.clone())));
                        }
                        (Some(_), _) => return Err(this.died(*daemon, record.log_start)),
                        (None, _) => {}
                    }
                }
                Ok((running, cluster.namenodes().count() > 1))
            })
            .await?;
        let asked = match self.client().await {
            Ok(client) => {
                async {
                    let report = client.report().await?;
                    let group = if in_group { Some(client.namenodes().await?) } else { None };
                    Ok((report, group))
                }
                .await
            }
            Err(LocalError::Client { source, .. }) => Err(source),
            Err(error) => return Err(error),
        };
        Ok(match asked {
            Ok((report, group)) => {
                unseen(&running, &report).or_else(|| group.and_then(|group| outside(&running, &group)))
            }
            Err(error) => Some((Daemon::NameNode(1), format!("no NameNode answers as leader ({error})"))),
        })
    }

    pub(crate) fn died(&self, daemon: Daemon, log_start: u64) -> LocalError {
        let log = self.layout.log(daemon);
        let said = self.layout.last_words(daemon);
        if said.is_empty() {
            let tail = self.layout.log_tail(daemon, log_start);
            return LocalError::Died { daemon, log, tail };
        }
        LocalError::Ended { daemon, said, log }
    }

    pub(crate) fn not_ready(&self, (daemon, what): (Daemon, String), within: Duration) -> LocalError {
        let start = self.known(daemon).map_or(0, |record| record.log_start);
        let tail = self.layout.log_tail(daemon, start);
        LocalError::NotReady { what, within, log: self.layout.log(daemon), tail }
    }
}

/// A DataNode that the leader does not know as live, or else safe mode.
fn unseen(running: &Running, report: &ClusterReport) -> Option<(Daemon, String)> {
    for (daemon, address) in running {
        let live = report
            .nodes
            .iter()
            .any(|node| node.node.address() == *address && node.state == NodeState::Live && node.reported);
        if matches!(daemon, Daemon::DataNode(_)) && !live {
            return Some((*daemon, format!("the NameNode did not see {daemon} live")));
        }
    }
    let safe_mode = report.safe_mode;
    safe_mode.on.then(|| {
        let what = format!(
            "safe mode did not end ({} of {} chunks are reported)",
            safe_mode.reported, safe_mode.needed
        );
        (Daemon::NameNode(1), what)
    })
}

/// A NameNode that does not vote in the group.
fn outside(running: &Running, group: &NamenodeGroup) -> Option<(Daemon, String)> {
    let votes = |address: &str| {
        group.members.iter().any(|member| {
            member.address == *address && matches!(member.role, MemberRole::Leader | MemberRole::Follower)
        })
    };
    let (daemon, _) = running.iter().find(|(daemon, address)| {
        matches!(daemon, Daemon::NameNode(_)) && !(group.by_leader && votes(address))
    })?;
    Some((*daemon, format!("{daemon} did not become a voter of the group")))
}

#[cfg(test)]
mod tests {
    use dfs_client::NamenodeMember;

    use super::*;

    fn member(id: u64, role: MemberRole) -> NamenodeMember {
        let address = format!("127.0.0.1:{id}");
        NamenodeMember {
            id,
            address,
            pid: None,
            role,
            term: 1,
            applied: 1,
            lag: 0,
            note: None,
            level: None,
            release: None,
        }
    }

    #[test]
    fn a_namenode_that_does_not_vote_is_waited_for() {
        let running: Running = vec![
            (Daemon::NameNode(1), "127.0.0.1:1".into()),
            (Daemon::NameNode(2), "127.0.0.1:2".into()),
            (Daemon::DataNode(1), "127.0.0.1:9".into()),
        ];
        let group = |second, by_leader| NamenodeGroup {
            members: vec![member(1, MemberRole::Leader), second, member(3, MemberRole::Unreachable)],
            by_leader,
        };
        let who = |group| outside(&running, &group).map(|(daemon, _)| daemon);
        assert_eq!(who(group(member(2, MemberRole::Follower), true)), None);
        assert_eq!(who(group(member(2, MemberRole::Learner), true)), Some(Daemon::NameNode(2)));
        assert_eq!(who(group(member(4, MemberRole::Follower), true)), Some(Daemon::NameNode(2)));
        assert_eq!(who(group(member(2, MemberRole::Follower), false)), Some(Daemon::NameNode(1)));
    }
}
