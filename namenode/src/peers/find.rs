//! How a NameNode with an empty directory finds its group.

use std::time::Duration;

use dfs_proto::convert::{cluster_id, from_status};
use dfs_proto::v1;
use dfs_types::{ClusterId, ErrorCode, FsError, FsResult};
use futures_util::future::join_all;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use crate::store::known_level;

/// Time a peer has to say what it is.
const PROBE_LIMIT: Duration = Duration::from_secs(2);
/// Time a leader has to take a member in.
const JOIN_LIMIT: Duration = Duration::from_secs(12);
/// Pause between two rounds.
const PAUSE: Duration = Duration::from_millis(200);

/// What to begin with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// There is no group, and it is this NameNode's part to begin one.
    Nobody,
    /// A leader took this NameNode in.
    Group {
        /// Its cluster.
        cluster: ClusterId,
        /// This member's id.
        id: u64,
    },
}

/// Looks for a group among `peers`, of which `own` is one, until there is an answer; `waiting` is told what is waited for.
///
/// A group is begun only when every peer is reachable and has nothing, and only by the first of the list: so a NameNode
/// that lost its directory never begins a second one beside the others.
pub async fn find_group(own: &str, peers: &[String], waiting: impl Fn(String)) -> Found {
    let others: Vec<&String> = peers.iter().filter(|peer| *peer != own).collect();
    loop {
        let answers = join_all(others.iter().map(|peer| probe(peer))).await;
        let mut silent = Vec::new();
        let mut members = Vec::new();
        for (peer, answer) in others.iter().zip(answers) {
            match answer {
                Ok(reply) if !reply.vacant => {
                    let leads =
                        if reply.leader_address.is_empty() { (*peer).clone() } else { reply.leader_address };
                    members.push(leads);
                }
                Ok(_) => {}
                Err(_) => silent.push(peer.as_str()),
            }
        }
        if let Some(leader) = members.first() {
            match join(leader, own).await {
                Ok(found) => return found,
                Err(error) => {
                    warn!(leader, %error, "the group does not take this namenode in yet");
                    waiting(format!("the NameNodes' group to take this one in: {}", error.message));
                }
            }
        } else if !silent.is_empty() {
            waiting(format!("an answer of the NameNodes at {}", silent.join(", ")));
        } else if peers.first().is_some_and(|first| first == own) {
            info!(?peers, "no namenode has anything: beginning a new group");
            return Found::Nobody;
        } else {
            waiting(format!("the NameNode at {} to begin a group", peers.first().map_or("", String::as_str)));
        }
        sleep(PAUSE).await;
    }
}

async fn probe(peer: &str) -> FsResult<v1::ProbeReply> {
    let mut client = super::client(peer)?;
    match timeout(PROBE_LIMIT, client.probe(v1::ProbeRequest {})).await {
        Ok(Ok(reply)) => Ok(reply.into_inner()),
        Ok(Err(status)) => Err(from_status(&status)),
        Err(_) => Err(silent(peer)),
    }
}

async fn join(leader: &str, own: &str) -> FsResult<Found> {
    let mut client = super::client(leader)?;
    let request =
        v1::JoinRequest { cluster: Vec::new(), address: own.to_owned(), level: known_level().into() };
    let reply = match timeout(JOIN_LIMIT, client.join(request)).await {
        Ok(Ok(reply)) => reply.into_inner(),
        Ok(Err(status)) => return Err(from_status(&status)),
        Err(_) => return Err(silent(leader)),
    };
    Ok(Found::Group { cluster: cluster_id(&reply.cluster)?, id: reply.id })
}

fn silent(peer: &str) -> FsError {
    FsError::new(ErrorCode::TimedOut, format!("the NameNode at {peer} does not answer"))
}
