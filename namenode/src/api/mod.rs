//! [`Namenode`]: everything the NameNode can do, as typed methods; the one door for all protocols.
//!
//! Methods check what a store edit cannot know (safe mode, limits, live DataNodes), stamp the time, and join
//! what the store and the engine know. Whoever calls a method for a client calls [`Namenode::admit`] first: what a
//! member that does not lead knows may be old; and takes the caller from [`Namenode::identify`]. They are split by topic:
//! [`namespace`], [`attributes`], [`trash`], [`writing`], [`reading`], [`recovery`], [`cluster`], [`admin`], [`duty`],
//! [`settings`], [`users`], [`upgrade`] and [`quarantine`].

mod access_times;
pub mod admin;
pub mod attributes;
pub mod cluster;
pub mod duty;
pub mod group;
pub mod namespace;
pub mod quarantine;
pub mod reading;
pub mod recovery;
mod registry;
pub mod settings;
pub mod trash;
pub mod upgrade;
pub mod users;
pub mod writing;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use dfs_namenode_core::{Core, Target};
use dfs_types::names::SUPERGROUP;
use dfs_types::{Caller, ClusterId, Endpoint, ErrorCode, FsError, FsResult, NodeReport, RequestId};
use tokio::sync::{Notify, Semaphore};

use crate::config::Settings;
use crate::engine::{Clock, Handle, unix_now};
use crate::groups::Groups;
use crate::peers::Peers;
use crate::store::edit::{Edit, Outcome, Proposal};
use crate::store::group::Group;
use crate::store::{Disk, DiskState, Store};

/// Who asks for a change, and which of its requests this is.
#[derive(Debug, Clone)]
pub struct Origin {
    /// Names the request, so that a retry gets the first answer; `None` if the protocol has no such thing.
    pub request: Option<RequestId>,
    /// On whose behalf.
    pub caller: Caller,
}

/// The NameNode's methods. Shared by all protocols.
pub struct Namenode {
    cluster: ClusterId,
    settings: Settings,
    superuser: String,
    groups: Arc<Groups>,
    store: Store,
    engine: Handle,
    peers: Arc<Peers>,
    /// For one backup at a time: each takes the room of the whole database.
    backups: Arc<Semaphore>,
    /// For one question at a time which files chunks are of: readers are there for clients first.
    descriptions: Semaphore,
    left_out: group::LeftOut,
    accesses: access_times::Accesses,
    /// A DataNode has registered.
    registered: Notify,
    /// What is removed somewhere is kept for another time.
    trash_set: Notify,
}

impl fmt::Debug for Namenode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Namenode").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl Namenode {
    /// A NameNode over an open store and a running engine.
    pub fn new(
        settings: Settings,
        superuser: String,
        groups: Arc<Groups>,
        store: Store,
        engine: Handle,
        peers: Arc<Peers>,
    ) -> Self {
        let (cluster, backups) = (store.cluster(), Arc::new(Semaphore::new(1)));
        let (descriptions, left_out) = (Semaphore::new(1), group::LeftOut::default());
        let (registered, trash_set) = (Notify::new(), Notify::new());
        let accesses = access_times::Accesses::default();
        Self {
            cluster,
            settings,
            superuser,
            groups,
            store,
            engine,
            peers,
            backups,
            descriptions,
            left_out,
            accesses,
            registered,
            trash_set,
        }
    }

    /// The clock of the engine's decisions.
    fn clock(&self) -> Clock {
        self.engine.clock()
    }

    /// This member of the group.
    pub(crate) fn group(&self) -> &Group {
        self.store.group()
    }

    /// The ways to the other members.
    pub(crate) fn peers(&self) -> &Peers {
        &self.peers
    }

    /// The directory of this NameNode.
    pub(crate) fn directory(&self) -> &Path {
        self.store.directory()
    }

    /// Proposes a change on behalf of a client.
    async fn propose(&self, origin: Origin, edit: Edit) -> FsResult<Outcome> {
        self.check_writable()?;
        if edit.grows() {
            self.check_room()?;
        }
        let Origin { request, caller } = origin;
        self.propose_as(request, Some(caller), edit).await
    }

    /// Proposes what an administrator wants, which safe mode does not keep from being done.
    async fn administer(&self, origin: Origin, edit: Edit) -> FsResult<()> {
        let Origin { request, caller } = origin;
        match self.propose_as(request, Some(caller), edit).await? {
            Outcome::Done => Ok(()),
            other => Err(reused_request(&other)),
        }
    }

    /// Proposes one of the NameNode's own changes.
    async fn propose_own(&self, edit: Edit) -> FsResult<Outcome> {
        self.propose_as(None, None, edit).await
    }

    async fn propose_as(
        &self,
        request: Option<RequestId>,
        caller: Option<Caller>,
        edit: Edit,
    ) -> FsResult<Outcome> {
        self.store.propose(Proposal { request, caller, now: unix_now(), edit }).await
    }

    fn check_writable(&self) -> FsResult<()> {
        if self.engine.safe_mode() {
            return Err(FsError::new(
                ErrorCode::SafeMode,
                "the NameNode is in safe mode and takes no changes: wait until enough DataNodes have reported",
            ));
        }
        Ok(())
    }

    /// Whether the namespace may grow: not on a disk that is nearly full.
    fn check_room(&self) -> FsResult<()> {
        let Disk { state, note, .. } = self.disk();
        if !matches!(state, DiskState::Low | DiskState::Full) {
            return Ok(());
        }
        let note = note.unwrap_or_default();
        if self.better_leader().is_some() {
            let text = format!("another NameNode takes over, as {note}: try again shortly");
            return Err(FsError::new(ErrorCode::Busy, text));
        }
        Err(FsError::new(ErrorCode::NoSpace, format!("NameNode {}: {note}", self.store.group().id())))
    }

    fn check_superuser(&self, caller: &Caller) -> FsResult<()> {
        if caller.user == self.superuser || caller.groups.iter().any(|group| group == SUPERGROUP) {
            return Ok(());
        }
        Err(FsError::new(
            ErrorCode::PermissionDenied,
            format!(
                "user {} may not do this: only {} and the group {SUPERGROUP} may",
                caller.user, self.superuser
            ),
        ))
    }

    /// Finalized replicas a chunk of a file with this replication needs before the file may be closed.
    fn needed_replicas(&self, replication: u32) -> usize {
        self.settings.min_replicas.min(replication).max(1) as usize
    }
}

/// The nodes with their present addresses; those the cluster forgot are left out.
fn resolve<T: Into<Target>>(core: &Core, nodes: impl IntoIterator<Item = T>) -> Vec<Endpoint> {
    let endpoint = |Target { node, storage }| {
        core.endpoint(node).map(|at| Endpoint { id: node, at: at.clone(), storage })
    };
    nodes.into_iter().map(Into::into).filter_map(endpoint).collect()
}

/// What the engine says of DataNodes, with the times that its clock shows as Unix times.
fn in_unix_time(clock: Clock, mut nodes: Vec<NodeReport>) -> Vec<NodeReport> {
    for report in &mut nodes {
        report.maintenance_until = report.maintenance_until.map(|until| clock.to_unix(until));
    }
    nodes
}

/// The store answered a retry with the outcome of another kind of request.
fn reused_request(outcome: &Outcome) -> FsError {
    FsError::invalid(format!(
        "the request id was used before, by a request that got the answer {outcome:?}: take a new id"
    ))
}
