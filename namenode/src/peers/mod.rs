//! The ways to the other NameNodes: one connection to each, on which this member's messages go; theirs come on their own.

mod find;
mod link;
mod snapshot;
pub(crate) mod wire;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use dfs_daemon::Shutdown;
use dfs_namenode_raft::Envelope;
use dfs_proto::v1;
use dfs_proto::v1::raft_client::RaftClient;
use dfs_types::limits::MAX_NAMENODE_MESSAGE_BYTES;
use dfs_types::{ClusterId, ErrorCode, FsError, FsResult, address};
use tokio::runtime::Handle;
use tokio::time::{MissedTickBehavior, interval};
use tonic::transport::{Channel, Endpoint};

use crate::store::group::{Group, Request, Transport};
use crate::store::{DiskState, Residences, known_level};
pub use find::{Found, find_group};
use link::Link;

/// How often the list of members is compared with the connections.
const LOOK: Duration = Duration::from_millis(100);
/// Time within which a connection must be open.
const CONNECT_LIMIT: Duration = Duration::from_secs(1);
/// Silence after which a connection's peer is asked whether it is there, and the time it has to answer.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(2));

/// Members that are remembered; more than a group ever has.
const MAX_SEEN: usize = 64;
/// Characters that are kept of what another member says of its disk.
const MAX_NOTE: usize = 500;
/// Characters that are kept of its release.
const MAX_RELEASE: usize = 64;

/// What another member said of itself with its last message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its process.
    pub pid: u32,
    /// Index of the entry it applied last.
    pub applied: u64,
    /// `HOST:PORT` of it.
    pub address: String,
    /// How its disk is.
    pub disk: DiskState,
    /// A sentence about its disk; empty while that is good.
    pub note: String,
    /// The highest feature level that it knows.
    pub level: u16,
    /// The release of its program.
    pub release: String,
    /// When it said so.
    pub heard: Instant,
}

/// All connections to other members.
pub struct Peers {
    cluster: ClusterId,
    /// `HOST:PORT` of this member.
    address: String,
    runtime: Handle,
    shutdown: Shutdown,
    links: Mutex<BTreeMap<u64, Link>>,
    seen: Mutex<BTreeMap<u64, Seen>>,
    /// Known once the group has started, which needs this first.
    group: OnceLock<Weak<Group>>,
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peers").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Peers {
    /// Connections of the member at `address`; none yet. Must be called on the runtime that shall carry them.
    pub fn new(cluster: ClusterId, address: String, shutdown: Shutdown) -> Arc<Self> {
        Arc::new(Self {
            cluster,
            address,
            runtime: Handle::current(),
            shutdown,
            links: Mutex::default(),
            seen: Mutex::default(),
            group: OnceLock::new(),
        })
    }

    /// Follows the members of the group until a stop is requested.
    pub async fn follow(self: Arc<Self>, group: Weak<Group>) {
        // Only one group is ever followed.
        let _first = self.group.set(group);
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                () = self.shutdown.requested() => break,
            }
            let Some(group) = self.group() else { break };
            let Residences { members, addresses: known } = group.residences();
            let mut addresses = known.clone();
            // What a member says of itself is newer. One that was just taken in knows only who speaks to it.
            let seen = self.seen();
            addresses.extend(seen.into_iter().map(|(id, seen)| (id, seen.address)));
            addresses.insert(group.id(), self.address.clone());
            // Where there is no room this waits, and everything else with it.
            if !group.is_out_of_room() && group.term_led().await.is_some() {
                let moved =
                    addresses.iter().find(|(id, at)| members.all().contains(id) && known.get(id) != Some(at));
                if let Some((id, address)) = moved {
                    self.tell_moved(&group, *id, address).await;
                }
            }
            addresses.remove(&group.id());
            self.connect(&addresses);
        }
        self.links.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Lets the group know where a member is: DataNodes and clients find it there. Tried again at the next look.
    async fn tell_moved(&self, group: &Group, id: u64, address: &str) {
        match group.request(Request::Move(id, address.to_owned())).await {
            Ok(_) => tracing::info!(id, address, "a namenode is at another address"),
            Err(error) => {
                tracing::debug!(id, address, %error, "the group does not know yet where a namenode is");
            }
        }
    }

    fn connect(self: &Arc<Self>, addresses: &BTreeMap<u64, String>) {
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        links.retain(|id, link| addresses.get(id) == Some(&link.address));
        for (id, address) in addresses {
            if !links.contains_key(id) {
                links.insert(*id, Link::start(*id, address.clone(), Arc::clone(self)));
            }
        }
    }

    fn group(&self) -> Option<Arc<Group>> {
        self.group.get().and_then(Weak::upgrade)
    }

    /// Takes in what another member sent; refuses another cluster's.
    pub fn receive(&self, wire: v1::RaftEnvelope) -> FsResult<Envelope> {
        if wire.cluster != self.cluster.as_bytes() {
            return Err(FsError::new(
                ErrorCode::WrongCluster,
                format!("a NameNode of another cluster speaks to {}: check its --peers", self.address),
            ));
        }
        if address::check(&wire.address).is_err() {
            return Err(FsError::invalid(format!(
                "'{}' is no NameNode's address: write HOST:PORT",
                wire.address
            )));
        }
        let note = wire.note.chars().take(MAX_NOTE).collect();
        let (pid, applied, disk) = (wire.pid, wire.applied, DiskState::from_number(wire.disk));
        let seen = Seen {
            pid,
            applied,
            address: wire.address.clone(),
            disk,
            note,
            level: wire::level(wire.level),
            release: wire.release.chars().take(MAX_RELEASE).collect(),
            heard: Instant::now(),
        };
        let envelope = wire::envelope(wire)?;
        let from = envelope.message.from;
        let mut all = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if all.contains_key(&from) || all.len() < MAX_SEEN {
            all.insert(from, seen);
        }
        Ok(envelope)
    }

    /// What the others said of themselves.
    pub fn seen(&self) -> BTreeMap<u64, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A message did not reach a member. Told without waiting: the log's thread, which may be who calls this, must not
    /// wait for room in its own queue.
    fn lost(&self, to: u64) {
        if let Some(group) = self.group() {
            group.unreachable(to);
        }
    }

    /// The message for an envelope of this member.
    fn sealed(&self, envelope: Envelope) -> v1::RaftEnvelope {
        let group = self.group();
        let applied = group.as_ref().map_or(0, |group| group.applied_now());
        let disk = group.map(|group| group.disk()).unwrap_or_default();
        v1::RaftEnvelope {
            cluster: self.cluster.as_bytes().to_vec(),
            pid: std::process::id(),
            applied,
            address: self.address.clone(),
            disk: disk.state.number(),
            note: disk.note.unwrap_or_default(),
            level: known_level().into(),
            release: env!("CARGO_PKG_VERSION").to_owned(),
            ..wire::wire_envelope(envelope)
        }
    }
}

impl Transport for Peers {
    fn send(&self, envelope: Envelope) {
        let to = envelope.message.to;
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = links.get(&to).map(|link| link.queue.clone());
        drop(links);
        if queue.is_none_or(|queue| queue.try_send(self.sealed(envelope)).is_err()) {
            self.lost(to);
        }
    }

    fn send_snapshot(&self, envelope: Envelope, file: PathBuf) {
        let to = envelope.message.to;
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let address = links.get(&to).map(|link| link.address.clone());
        drop(links);
        let (sealed, group) = (self.sealed(envelope), self.group.get().cloned());
        self.runtime.spawn(async move {
            let arrived = match address {
                Some(address) => snapshot::send(&address, sealed, file).await,
                None => Err(FsError::invalid("its address is not known")),
            };
            if let Err(error) = &arrived {
                tracing::warn!(to, %error, "a snapshot did not arrive");
            }
            if let Some(group) = group.and_then(|group| group.upgrade()) {
                group.snapshot_sent(to, arrived.err().map(|error| error.message));
            }
        });
    }
}

/// A connection that is made when first used.
pub(crate) fn client(address: &str) -> FsResult<RaftClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|_| FsError::invalid(format!("'{address}' is no NameNode's address: write HOST:PORT")))?;
    let (interval, limit) = KEEP_ALIVE;
    let channel = endpoint
        .connect_timeout(CONNECT_LIMIT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(interval)
        .keep_alive_timeout(limit)
        .keep_alive_while_idle(true)
        .connect_lazy();
    Ok(RaftClient::new(channel)
        .max_decoding_message_size(MAX_NAMENODE_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_NAMENODE_MESSAGE_BYTES))
}

pub use snapshot::receive as receive_snapshot;
